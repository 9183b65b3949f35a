"""Arrays on the host that operators take as attributes: aclIntArray, aclFloatArray, aclBoolArray."""

from __future__ import annotations

import operator
from typing import Any, Iterable, Iterator

from . import errors
from .capi import ffi, lib
from .resource import Resource


class _Array(Resource):
    """Values that were copied when it was made."""

    __slots__ = ("values",)

    _warns = False
    _name = ""
    _item = ""

    def __init__(self, values: Iterable[Any]) -> None:
        if isinstance(values, (str, bytes)):
            raise TypeError(f"{type(self).__name__} takes a sequence of numbers, not {values!r}")
        self.values = tuple(self._convert(v) for v in values)
        self._own_later()

    @staticmethod
    def _convert(value: Any) -> Any:
        raise NotImplementedError

    def _make_handle(self) -> Any:
        create = f"aclCreate{self._name}Array"
        pointer = getattr(lib, create)(ffi.new(f"{self._item}[]", self.values), len(self.values))
        if not pointer:
            raise errors.error(lib.ACLNN_ERR_PARAM_INVALID, create)
        self.handle = pointer
        return pointer

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Any:
        return self.values[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def _release(self) -> None:
        made = self._made
        if made is not None:
            destroy = f"aclDestroy{self._name}Array"
            errors.check(getattr(lib, destroy)(made), destroy)

    def _describe(self) -> str:
        return str(list(self.values))


class IntArray(_Array):
    """int64 values (aclIntArray)."""

    __slots__ = ()

    _name, _item = "Int", "int64_t"

    @staticmethod
    def _convert(value: Any) -> int:
        number = operator.index(value)
        if not -2**63 <= number < 2**63:
            raise ValueError(f"{number} does not fit int64")
        return number


class FloatArray(_Array):
    """float32 values (aclFloatArray)."""

    __slots__ = ()

    _name, _item = "Float", "float"

    @staticmethod
    def _convert(value: Any) -> float:
        if isinstance(value, (str, bytes)):
            raise TypeError(f"{value!r} is not a number")
        return float(value)


class BoolArray(_Array):
    """Truth values (aclBoolArray)."""

    __slots__ = ()

    _name, _item = "Bool", "bool"

    @staticmethod
    def _convert(value: Any) -> bool:
        if value not in (0, 1):
            raise ValueError(f"{value!r} is neither true nor false")
        return bool(value)
