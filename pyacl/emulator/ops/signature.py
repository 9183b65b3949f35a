"""What an operator's parameters are: input or output, which types, how their C values become Python's.

Prototypes come from the declarations. ``parameters.json`` holds what the operators' reference pages say of each tensor
and scalar: role and data types (on Atlas A2 and A3), and which of them have one type or one shape. Where both are
silent the name decides. All of it is settled here and nowhere else.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, NoReturn, Optional

import numpy as np

from ...capi import cdefs, ffi, lib
from .. import handles
from ..failure import Failure
from .tensor import BoolArray, FloatArray, IntArray, Scalar, ScalarList, Tensor, TensorList
from .types import Dtype, from_code, name, parse


@dataclass(frozen=True)
class Parameter:
    """One parameter. `role` is "i", "o" or "io"; `dtypes` is empty where nothing is known."""

    name: str
    kind: str  # tensor tensors scalar scalars ints floats bools text dtype plain
    role: str
    dtypes: frozenset[Dtype]
    optional: bool


@dataclass(frozen=True)
class Signature:
    """An operator's parameters in the order of its prototype."""

    name: str
    parameters: tuple[Parameter, ...]

    @property
    def inputs(self) -> tuple[Parameter, ...]:
        """What `compute` gets: everything that is not purely an output."""
        return tuple(p for p in self.parameters if p.role != "o")

    @property
    def outputs(self) -> tuple[Parameter, ...]:
        return tuple(p for p in self.parameters if "o" in p.role)


_KINDS = {"aclTensor": "tensor", "aclTensorList": "tensors", "aclScalar": "scalar", "aclScalarList": "scalars",
          "aclIntArray": "ints", "aclFloatArray": "floats", "aclBoolArray": "bools", "char": "text",
          "aclDataType": "dtype"}


@cache
def documented(part: str) -> Any:
    """A part of ``parameters.json``, by operator name: "operators" with their parameters, "one type", "one shape",
    "formats" of images, status codes of "refusals"."""
    return json.loads((Path(__file__).parent / "parameters.json").read_text())[part]


def _page(name: str) -> dict[str, tuple[str, str]]:
    dtypes = documented("dtypes")
    found = {}
    for item in documented("operators").get(name, "").split():
        parameter, role, index = item.split(":")
        found[parameter] = (role, dtypes[int(index)])
    return found


def _role(operator: str, name: str, constant: bool, page: str, first: bool) -> str:
    if name.endswith("Ref") and name != "outRef":
        return "io"
    if first and (operator.startswith("aclnnInplace") or operator.endswith("Inplace")):
        return "io"
    if "o" in page:
        return page
    if page == "i" and constant:
        return "i"
    if re.search(r"([oO]ut(Optional)?|gradInput)$", name):
        return "o"
    if page == "i":
        return "i"
    return "i" if constant else "o"


def signature(name: str, roles: Optional[dict[str, str]] = None) -> Optional[Signature]:
    """The signature of a declared operator, None if there is none; `roles` overrules what is settled here."""
    prototype = cdefs.operator(name)
    if prototype is None:
        return None
    page = _page(name)
    found: list[Parameter] = []
    for p in prototype.params:
        base = p.type.replace("const", "").replace("*", "").strip()
        kind = _KINDS.get(base, "plain")
        role, dtypes = "i", ""
        if kind in ("tensor", "tensors"):
            first = not any(q.kind in ("tensor", "tensors") for q in found)
            documented, dtypes = page.get(p.name, ("", ""))
            role = _role(name, p.name, p.type.startswith("const"), documented, first)
        role = (roles or {}).get(p.name, role)
        found.append(Parameter(p.name, kind, role, parse(dtypes), "ptional" in p.name))
    if not any("o" in p.role for p in found):
        last = max((i for i, q in enumerate(found) if q.kind in ("tensor", "tensors")), default=None)
        if last is not None:
            found[last] = replace(found[last], role="o")
    return Signature(name, tuple(found))


def documented_dtypes(name: str) -> str:
    """The union of the types that the tensors of `name` may have, as the reference page has them; for tables."""
    return " ".join(dict.fromkeys(n for _, dtypes in _page(name).values() for n in dtypes.split()))


@cache
def formats(operator: str, parameter: str) -> dict[int, str]:
    """The formats that a tensor may have, with their names; empty where the page does not insist."""
    for item in documented("formats").get(operator, "").split():
        name, _, names = item.partition(":")
        if name == parameter:
            return {getattr(lib, f"ACL_FORMAT_{n}"): n for n in names.split("/")}
    return {}


def refusal(operator: str, situation: str) -> int:
    """The status code that the page gives for one of the situations "null" (what must be there is NULL), "ndim" (too
    many dimensions), "shape" (shapes that do not fit together) and "real" (a complex result for a real output, which
    others take); 0 where it says nothing of its own."""
    for item in documented("refusals").get(operator, "").split():
        what, _, code = item.partition(":")
        if what == situation:
            return int(code)
    return 0


# What several tensors have in common.

@cache
def _groups(kind: str, operator: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(group.split()) for group in documented(kind).get(operator, "").split(",") if group)


def agree(what: str, operator: str, values: Mapping[str, Any]) -> None:
    """Refuses arguments, given by their names, whose "type" or "shape" differs where it must not, NULL left out."""
    for group in _groups(f"one {what}", operator):
        if what == "type":
            _agree(group, values, what, lambda t: t if isinstance(t, np.dtype) else t.dtype, name)
        else:
            _agree(group, values, what, lambda t: t.shape, lambda s: str(list(s)))


def _agree(group: tuple[str, ...], values: Mapping[str, Any], what: str, get: Any, show: Any) -> None:
    given = [(n, values[n]) for n in group if values[n] is not None]
    if what == "shape" and given and all(isinstance(v, tuple) for _, v in given):  # lists: member by member
        lengths = {len(v) for _, v in given}
        if len(lengths) > 1:
            _disagree(f"{', '.join(n for n, _ in given)} are lists of different lengths")
        rows: Any = [[(f"{n}[{i}]", v[i]) for n, v in given] for i in range(lengths.pop())]
    else:
        rows = [list(_members(given))]
    for row in rows:
        first: Any = None
        for n, t in row:
            if t is not None:
                found = get(t)
                if first is None:
                    first, name_of_first = found, n
                elif found != first:
                    _disagree(f"{n} has the {what} {show(found)}, {name_of_first} {show(first)}; they must agree")


def _disagree(text: str) -> NoReturn:
    raise Failure(lib.ACLNN_ERR_PARAM_INVALID, text)


def _members(given: list[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    for n, value in given:
        if isinstance(value, tuple):
            yield from ((f"{n}[{i}]", t) for i, t in enumerate(value))
        else:
            yield n, value


# C values to Python's. A converter gets what a cffi callback gets and returns None for NULL.

def _object(kind: type) -> Callable[[Any, str], Any]:
    def convert(pointer: Any, what: str) -> Any:
        number = int(ffi.cast("uintptr_t", pointer))
        if not number:
            return None
        return handles.get(number, kind, what, lib.ACLNN_ERR_PARAM_NULLPTR, lib.ACLNN_ERR_PARAM_INVALID)

    return convert


def _values(kind: type) -> Callable[[Any, str], Any]:
    get = _object(kind)

    def convert(pointer: Any, what: str) -> Any:
        array = get(pointer, what)
        return None if array is None else array.values

    return convert


def _scalar(pointer: Any, what: str) -> Any:
    found = _get_scalar(pointer, what)
    return None if found is None else found.value


def _scalars(pointer: Any, what: str) -> Any:
    found = _get_scalars(pointer, what)
    return None if found is None else tuple(s.value for s in found.scalars)


def _tensors(pointer: Any, what: str) -> Any:
    found = _get_tensors(pointer, what)
    return None if found is None else found.tensors


def _text(pointer: Any, what: str) -> Optional[str]:
    return None if pointer == ffi.NULL else ffi.string(pointer).decode()


def _dtype(code: int, what: str) -> Dtype:
    found = from_code(code)
    if found is None and code != lib.ACL_DT_UNDEFINED:
        raise Failure(lib.ACLNN_ERR_PARAM_INVALID, f"{what}: no emulated data type has the code {code}")
    return found


_get_scalar, _get_scalars, _get_tensors = _object(Scalar), _object(ScalarList), _object(TensorList)
CONVERTERS: dict[str, Callable[[Any, str], Any]] = {
    "tensor": _object(Tensor), "tensors": _tensors, "scalar": _scalar, "scalars": _scalars, "ints": _values(IntArray),
    "floats": _values(FloatArray), "bools": _values(BoolArray), "text": _text, "dtype": _dtype,
    "plain": lambda value, what: value,
}
