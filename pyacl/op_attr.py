"""Attributes of a single operator (``aclopAttr``), from plain Python values."""

from __future__ import annotations

import struct
from typing import Any, Iterator, Mapping, Optional

import numpy as np

from . import errors
from .c_string import c_string
from .capi import ffi, lib
from .dtypes import to_acl
from .resource import Resource


class OpAttr(Resource):
    """An operator's attributes by name.

    The kind follows from the value: bool, int, float and str; a dtype (``np.dtype("float16")``, ``np.float16``) for a
    data type; a list or tuple of one of these; a list of lists of ints. A list that mixes ints and floats is one of
    floats. An operator that wants a float refuses an int: write ``2.0``. A numpy array goes by its own dtype, which
    also says what an empty list holds: ``np.array([], np.float32)``.

    Raises TypeError for a value that no attribute can hold. aclopCreateAttr, aclopSetAttr*, aclopDestroyAttr.
    """

    __slots__ = ("_values",)

    _warns = False

    def __init__(self, values: Optional[Mapping[str, Any]] = None) -> None:
        handle = lib.aclopCreateAttr()
        if handle == ffi.NULL:
            raise errors.error(lib.ACL_ERROR_BAD_ALLOC, "aclopCreateAttr")
        self._values: dict[str, Any] = {}
        self._own(handle)
        for name, value in (values or {}).items():
            self[name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        """Sets an attribute; a later value replaces an earlier one."""
        encoded = c_string(name, "an attribute's name")
        try:
            kind, plain = _kind(name, value)
            if kind.endswith("Float"):
                for number in plain if kind == "ListFloat" else [plain]:
                    struct.pack("<f", number)  # OverflowError for what C's float cannot hold
            _SETTERS[kind](self.handle, encoded, plain)
        except OverflowError:
            raise ValueError(f"attribute {name!r}: {value!r} does not fit C's 64 bits (32 of a float)") from None
        self._values[name] = plain

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _describe(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._values.items())

    def _release(self) -> None:
        lib.aclopDestroyAttr(self.handle)


def _kind(name: str, value: Any) -> tuple[str, Any]:
    """Which setter takes a value, and the value as that setter wants it."""
    if isinstance(value, np.ndarray):
        kind = {"b": "Bool", "i": "Int", "u": "Int", "f": "Float"}.get(value.dtype.kind)
        if kind is None or value.ndim > 2 or (value.ndim == 2 and kind != "Int"):
            raise TypeError(f"attribute {name!r}: an array of {value.ndim} dimensions of {value.dtype} is no attribute")
        return ("List" * value.ndim + kind), value.tolist()
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(v, (list, tuple, np.ndarray)) for v in value):
            return "ListListInt", [[_integer(name, i) for i in v] for v in value]
        kinds = {_scalar_kind(name, v) for v in value} or {"Int"}
        if kinds == {"Int", "Float"}:
            kinds = {"Float"}
        if len(kinds) > 1:
            raise TypeError(f"attribute {name!r}: a list holds values of one kind, not {' and '.join(sorted(kinds))}")
        kind = kinds.pop()
        return "List" + kind, [_CONVERT[kind](v) for v in value]
    kind = _scalar_kind(name, value)
    return kind, _CONVERT[kind](value)


def _integer(name: str, value: Any) -> int:
    if _scalar_kind(name, value) != "Int":
        raise TypeError(f"attribute {name!r}: a list of lists holds ints, not {value!r}")
    return int(value)


def _scalar_kind(name: str, value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "Bool"
    if isinstance(value, (int, np.integer)):
        return "Int"
    if isinstance(value, (float, np.floating)):
        return "Float"
    if isinstance(value, str):
        return "String"
    if isinstance(value, (np.dtype, type)):
        return "DataType"
    raise TypeError(f"attribute {name!r}: {value!r} is neither bool, int, float, str, a dtype nor a list of these")


_CONVERT: dict[str, Any] = {"Bool": bool, "Int": int, "Float": float, "String": str, "DataType": to_acl}


def _text(value: str) -> bytes:
    return c_string(value, "an attribute", empty=True)


def _set(kind: str) -> Any:
    function = "aclopSetAttr" + kind

    def scalar(attr: Any, name: bytes, value: Any) -> None:
        errors.check(getattr(lib, function)(attr, name, _text(value) if kind == "String" else value), function)

    def sequence(attr: Any, name: bytes, values: list[Any]) -> None:
        if kind == "ListString":
            kept = [ffi.new("char[]", _text(v)) for v in values]
            errors.check(lib.aclopSetAttrListString(attr, name, len(values), ffi.new("const char *[]", kept)), function)
        else:
            errors.check(getattr(lib, function)(attr, name, len(values), ffi.new(_ARRAYS[kind], values)), function)

    def nested(attr: Any, name: bytes, values: list[list[int]]) -> None:
        rows = [ffi.new("int64_t[]", row) for row in values]
        errors.check(lib.aclopSetAttrListListInt(attr, name, len(rows), [len(row) for row in values],
                                          ffi.new("const int64_t *[]", rows)), function)

    return nested if kind == "ListListInt" else sequence if kind.startswith("List") else scalar


_ARRAYS = {"ListBool": "uint8_t[]", "ListInt": "int64_t[]", "ListFloat": "float[]", "ListDataType": "aclDataType[]"}
_SETTERS = {kind: _set(kind) for kind in (*_CONVERT, *_ARRAYS, "ListString", "ListListInt")}
