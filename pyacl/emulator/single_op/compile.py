"""Compiles single operators from their description (``pyacl emulator compile --singleop op.json``), as ``atc`` does."""

from __future__ import annotations

import json
import os
from typing import Any, Optional

import numpy as np

from ...capi import lib
from ..failure import Failure
from ..models import compile as models
from ..models.modeldef import format_code
from ..ops import types
from . import bind, om
from .attr import KINDS, Attr
from .model import OpModel, Signature

# The description's names of data types; others are CANN's own in small letters.
_TYPES = {"fp16": "FLOAT16", "half": "FLOAT16", "float32": "FLOAT", "bfloat16": "BF16"}
_OP_KEYS = ("compile_flag", "op", "name", "input_desc", "output_desc", "attr")
_TENSOR_KEYS = ("dynamic_input", "format", "origin_format", "name", "shape", "origin_shape", "type", "shape_range",
                "is_const", "const_value")


def compile_file(path: str, folder: str, soc: str = "") -> list[str]:
    """Writes an .om for each operator that the json file at `path` describes; returns their paths.

    Fails with 100006 for a file that is no such description, and with the operator's own words for what it cannot do.
    """
    try:
        with open(path, encoding="utf-8") as file:
            described = json.load(file)
    except OSError as error:
        raise Failure(lib.ACL_ERROR_INVALID_FILE, f"{path} cannot be read: {error}") from None
    except ValueError as error:
        raise Failure(lib.ACL_ERROR_PARSE_FILE, f"{path} is not json: {error}") from None
    if not isinstance(described, list) or not described:
        raise _wrong(path, "it is not a list of operators")
    os.makedirs(folder, exist_ok=True)
    written = []
    for number, entry in enumerate(described):
        where = f"{path}: operator {number}"
        model = _model(entry, where)
        bind.check(model)
        name = str(entry.get("name") or _default_name(number, model))
        written.append(os.path.join(folder, f"{name}.om"))
        models.write(written[-1], [om.write(model, name, soc)])
    return written


def _wrong(where: str, text: str) -> Failure:
    return Failure(lib.ACL_ERROR_PARSE_FILE, f"{where}: {text}")


def _only(entry: Any, keys: tuple[str, ...], where: str) -> None:
    if not isinstance(entry, dict):
        raise _wrong(where, "it is not an object")
    unknown = [k for k in entry if k not in keys]
    if unknown:
        raise _wrong(where, f"unknown key {unknown[0]!r}; there are {', '.join(keys)}")


def _model(entry: Any, where: str) -> OpModel:
    _only(entry, _OP_KEYS, where)
    if not isinstance(entry.get("op"), str):
        raise _wrong(where, "`op` names the operator's type")
    inputs = [_signature(t, f"{where}, input {i}") for i, t in enumerate(_listed(entry, "input_desc", where))]
    outputs = [_signature(t, f"{where}, output {i}") for i, t in enumerate(_listed(entry, "output_desc", where))]
    attrs = {}
    for attr in _listed(entry, "attr", where):
        _only(attr, ("name", "type", "value"), f"{where}, attr")
        attrs[str(attr.get("name"))] = _attr(attr, f"{where}, attr {attr.get('name')!r}")
    return OpModel(entry["op"], inputs, outputs, attrs, where)


def _listed(entry: Any, key: str, where: str) -> list[Any]:
    found = entry.get(key) or []
    if not isinstance(found, list):
        raise _wrong(where, f"`{key}` is not a list")
    return found


def _signature(t: Any, where: str) -> Signature:
    _only(t, _TENSOR_KEYS, where)
    missing = [k for k in ("format", "shape", "type") if k not in t]
    if missing:
        raise _wrong(where, f"it lacks {', '.join(missing)}")
    dtype = _dtype(t["type"], where)
    format = _format(t["format"], where)
    origin = _format(t["origin_format"], where) if t.get("origin_format") else format
    shape = _shape(t.get("origin_shape", t["shape"]), where)
    const = _constant(t, dtype, shape, where) if t.get("is_const") else None
    name = str(t.get("name") or t.get("dynamic_input") or "")
    return Signature(dtype, origin, None if origin == format else format, shape, _ranges(t, shape, where), const, name)


def _dtype(name: Any, where: str) -> int:
    text = str(name)
    if text == "UNDEFINED":
        return int(lib.ACL_DT_UNDEFINED)
    found = getattr(lib, "ACL_" + _TYPES.get(text.lower(), text.upper()), None)
    if not isinstance(found, int):
        raise _wrong(where, f"{text!r} is not a data type")
    return found


def _format(name: Any, where: str) -> int:
    if name == "RESERVED":
        return int(lib.ACL_FORMAT_UNDEFINED)
    found = format_code(str(name))
    if found == lib.ACL_FORMAT_UNDEFINED:
        raise _wrong(where, f"{name!r} is not a format")
    return found


def _shape(value: Any, where: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(n) is int and n >= -2 for n in value):
        raise _wrong(where, f"{value!r} is not a shape")
    return tuple(value)


def _ranges(t: Any, shape: tuple[int, ...], where: str) -> tuple[tuple[int, int], ...]:
    """Ranges of all dimensions from those of the unknown ones."""
    given = t.get("shape_range") or []
    if -1 not in shape:
        return ()
    if not isinstance(given, list) or len(given) != shape.count(-1) or not all(
            isinstance(r, list) and len(r) == 2 and all(type(n) is int for n in r) for r in given):
        raise _wrong(where, f"the shape {list(shape)} needs a shape_range of two numbers for each -1")
    unknown = iter(given)
    return tuple((n, n) if n != -1 else tuple(next(unknown)) for n in shape)


def _constant(t: Any, dtype: int, shape: tuple[int, ...], where: str) -> bytes:
    kind = types.from_code(dtype)
    values = t.get("const_value")
    size = int(np.prod(shape)) if shape else 1
    if kind is None or not isinstance(values, list) or len(values) != size or not all(
            isinstance(v, (bool, int, float)) for v in values):
        raise _wrong(where, f"a constant of shape {list(shape)} needs a const_value of {size} numbers")
    try:
        return np.array(values).astype(kind).tobytes()
    except OverflowError:
        raise _wrong(where, f"const_value {values} does not fit {kind}") from None


def _attr(attr: Any, where: str) -> Attr:
    kind, value = attr.get("type"), attr.get("value")
    if kind not in KINDS:
        raise _wrong(where, f"{kind!r} is not a type of attributes; there are {', '.join(KINDS)}")
    try:
        if kind == "list_list_int":
            return Attr(kind, tuple(tuple(_item("int", v) for v in row) for row in value))
        if kind.startswith("list_"):
            return Attr(kind, tuple(_item(kind[5:], v) for v in value))
        return Attr(kind, _item(kind, value))
    except (TypeError, ValueError, AttributeError):
        raise _wrong(where, f"{value!r} is not a value of type {kind}") from None


def _item(kind: str, value: Any) -> Any:
    if kind == "data_type":
        name = str(value)
        return getattr(lib, "ACL_" + name[3:]) if name.startswith("DT_") else int(value)
    wanted: Any = {"bool": bool, "int": int, "float": (int, float), "string": str}[kind]
    if not isinstance(value, wanted) or (kind != "bool" and isinstance(value, bool)):
        raise TypeError(kind)
    return float(np.float32(value)) if kind == "float" else value


def _default_name(number: int, model: OpModel) -> str:
    """``0_Add_3_2_3_3_3_2_3_3_3_2_3_3``: number, type, then data type, format and shape of each tensor."""
    parts: list[Any] = [number, model.type]
    for t in (*model.inputs, *model.outputs):
        parts += [t.dtype if t.dtype >= 0 else 28, t.format if t.format >= 0 else 40, *t.shape]
    return "_".join(map(str, parts))


def main(path: str, output: Optional[str], soc: str) -> int:
    """The command; prints what was written."""
    for written in compile_file(path, output or os.path.dirname(os.path.abspath(path)), soc):
        print(f"{written}: {os.path.getsize(written)} bytes")
    return 0
