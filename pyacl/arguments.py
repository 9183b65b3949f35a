"""Python values as the C arguments of an operator's first phase.

A prototype's parameters are sorted once into `Plan`: which kind each is, and where it stands among the inputs and
outputs whose addresses an executor can refresh.
"""

from __future__ import annotations

import keyword
import operator as operators
import re
from functools import cache
from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from .arrays import BoolArray, FloatArray, IntArray
from .c_string import c_string
from .capi import Parameter, Prototype, ffi, lib
from .capi import operator as find_operator
from .dtypes import to_acl
from .errors import ClosedError
from .resource import Resource
from .scalar import Scalar, ScalarList
from .tensor import Tensor, TensorList

_INTEGERS = {"int8_t": 8, "int16_t": 16, "int32_t": 32, "int": 32, "int64_t": 64}
_UNSIGNED = {"uint8_t": 8, "uint16_t": 16, "uint32_t": 32, "uint64_t": 64, "size_t": 64}
_OBJECTS = {"aclTensor": "tensor", "aclTensorList": "tensors", "aclScalar": "scalar", "aclScalarList": "scalars",
            "aclIntArray": "ints", "aclFloatArray": "floats", "aclBoolArray": "bools", "char": "text"}


def kind_of(parameter: Parameter) -> str:
    """tensor, tensors, scalar, scalars, ints, floats, bools, text, dtype, bool, integer, number, or "" for others."""
    base = parameter.type.replace("const", "").strip()
    if base.endswith("*"):
        return _OBJECTS.get(base[:-1].strip(), "")
    if base in _INTEGERS or base in _UNSIGNED:
        return "integer"
    return {"aclDataType": "dtype", "bool": "bool", "double": "number", "float": "number"}.get(base, "")


class Plan(NamedTuple):
    """One operator's parameters, sorted.

    `names` are those that Python takes (``from`` is ``from_``). `inputs` and `outputs` are positions of tensors and
    tensor lists among the parameters; one that is updated in place is in both.
    """

    prototype: Prototype
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def __str__(self) -> str:
        return str(self.prototype).replace("aclnnStatus ", "")


@cache
def _exceptions() -> dict[str, str]:
    """``operator.parameter`` -> role, for the few whose names and const say something else than their pages."""
    import json

    return {place: role for role, places in json.loads((Path(__file__).parent / "roles.json").read_text()).items()
            for place in places.split()}


def _role(name: str, parameter: Parameter, first: bool) -> str:
    """Whether a tensor is input, output or both: "i", "o" or "io". C says it by const, but not always."""
    known = _exceptions().get(f"{name}.{parameter.name}")
    if known:
        return known
    if parameter.name.endswith("Ref") and parameter.name != "outRef":
        return "io"
    if first and (name.startswith("aclnnInplace") or name.endswith("Inplace")):
        return "io"
    if re.search(r"([oO]ut(Optional)?|gradInput)$", parameter.name) and parameter.name != "gradOut":
        return "o"
    return "i" if parameter.type.startswith("const") else "o"


@cache
def _plan(prototype: Prototype) -> Plan:
    names = tuple(p.name + "_" * keyword.iskeyword(p.name) for p in prototype.params)
    kinds = tuple(kind_of(p) for p in prototype.params)
    tensors = [i for i, kind in enumerate(kinds) if kind in ("tensor", "tensors")]
    roles = {i: _role(prototype.name, prototype.params[i], i == tensors[0]) for i in tensors}
    if tensors and not any("o" in role for role in roles.values()):
        roles[tensors[-1]] = "o"
    return Plan(prototype, names, kinds, tuple(i for i in tensors if "i" in roles[i]),
                tuple(i for i in tensors if "o" in roles[i]))


def plan(name: str) -> Plan:
    """The plan of an operator. Raises LookupError for one that is not declared."""
    if not isinstance(name, str):
        raise TypeError(f"an operator is named by a str such as 'aclnnAdd', not {name!r}")
    prototype = find_operator(name)
    if prototype is None:
        raise LookupError(f"no operator {name} is declared{_similar(name)}; declare your own with pyacl.declare_op")
    return _plan(prototype)


def _similar(name: str) -> str:
    from .capi import operators as all_operators

    known = all_operators()
    return _close(name, known) or _close(f"aclnn{name[:1].upper()}{name[1:]}", known)


def _close(name: str, known: Sequence[str]) -> str:
    import difflib

    found = difflib.get_close_matches(name, known, 3)
    return f" (did you mean {' or '.join(found)}?)" if found else ""


def bind(plan: Plan, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    """One value for each parameter. Those called ...Optional may be left out: they are None then."""
    names = plan.names
    if len(args) > len(names):
        raise TypeError(f"{plan.prototype.name} takes {len(names)} arguments, not {len(args)}\n  {plan}")
    values: list[Any] = [*args]
    rest = dict(named)
    for name in names[:len(args)]:
        if name in rest:
            raise TypeError(f"{plan.prototype.name}: argument {name} is given twice\n  {plan}")
    missing = []
    for name in names[len(args):]:
        if name in rest:
            values.append(rest.pop(name))
        else:
            values.append(None)
            if "ptional" not in name:
                missing.append(name)
    if rest:
        near = _close(next(iter(rest)), names)
        raise TypeError(f"{plan.prototype.name} has no argument {', '.join(rest)}{near}\n  {plan}")
    if missing:
        raise TypeError(f"{plan.prototype.name}: argument {', '.join(missing)} is missing\n  {plan}")
    return values


def wrap(plan: Plan, values: list[Any]) -> list[Any]:
    """Values as pyacl's objects and plain C values: what was a number, sequence, str or dtype is converted.

    Raises TypeError or ValueError that names the argument and shows the prototype.
    """
    found = list(values)
    dtype: Optional[np.dtype[Any]] = None
    try:
        for i, kind in enumerate(plan.kinds):
            if kind == "tensor":
                found[i] = _tensor(values[i])
            elif kind == "tensors":
                found[i] = _tensors(values[i])
            else:
                continue
            if dtype is None and found[i] is not None:
                dtype = found[i].dtype if kind == "tensor" else next((t.dtype for t in found[i]), None)
        for i, kind in enumerate(plan.kinds):
            if kind not in ("tensor", "tensors"):
                found[i] = _CONVERT[kind](values[i], plan.prototype.params[i].type, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        cls = TypeError if isinstance(error, TypeError) else \
            ClosedError if isinstance(error, ClosedError) else ValueError
        raise cls(f"{plan.prototype.name}: argument {plan.names[i]}: {error}\n  {plan}") from None
    return found


def _tensor(value: Any) -> Any:
    if value is None or isinstance(value, Tensor):
        if value is not None:
            value.handle_check()
        return value
    if hasattr(value, "data_ptr"):
        return Tensor.from_data_ptr(value)
    hint = ": upload it with pyacl.Tensor.from_numpy" if isinstance(value, (np.ndarray, np.generic)) else ""
    raise TypeError(f"takes a Tensor, not {_a(value)}{hint}")


def _a(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiou" or name == "ndarray" else f"a {name}"


def _tensors(value: Any) -> Any:
    if value is None or isinstance(value, TensorList):
        return value
    if isinstance(value, Tensor) or not hasattr(value, "__iter__"):
        raise TypeError(f"takes a sequence of Tensors, not {_a(value)}")
    members = list(value)
    for i, member in enumerate(members):
        if member is None:
            raise TypeError(f"member {i} is None; a list has Tensors only")
        try:
            members[i] = _tensor(member)
        except TypeError as error:
            raise TypeError(f"member {i} {error}".replace("takes", "must be", 1)) from None
    return TensorList(members)


def _scalar(value: Any, _: str, dtype: Any) -> Any:
    if value is None or isinstance(value, Scalar):
        return value
    try:
        return Scalar.for_tensor(value, dtype)
    except TypeError:
        raise TypeError(f"takes a number or a Scalar, not {_a(value)}") from None


def _scalars(value: Any, _: str, dtype: Any) -> Any:
    if value is None or isinstance(value, ScalarList):
        return value
    _need_sequence(value)
    return ScalarList([_scalar(v, _, dtype) for v in value])


def _need_sequence(value: Any) -> None:
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise TypeError(f"takes a sequence, not {_a(value)}")


def _array(cls: Any) -> Callable[[Any, str, Any], Any]:
    def convert(value: Any, _: str, dtype: Any) -> Any:
        if value is None or isinstance(value, cls):
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            value = (value,)  # one size for a dimension, as pages write it
        _need_sequence(value)
        return cls(value)

    return convert


class Text:
    """A C string that is kept as long as the arguments are."""

    __slots__ = ("handle", "value")

    def __init__(self, value: bytes) -> None:
        self.value = value
        self.handle = ffi.new("char[]", value)


def _text(value: Any, *_: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, (str, bytes)):
        raise TypeError(f"takes a str, not {_a(value)}")
    return Text(c_string(value, "the text", empty=True))


def _bool(value: Any, *_: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)) and not (isinstance(value, (int, np.integer)) and value in (0, 1)):
        raise TypeError(f"takes a bool, not {value!r}")
    return bool(value)


def _integer(value: Any, kind: str, _: Any) -> int:
    try:
        number = operators.index(value)
    except TypeError:
        raise TypeError(f"takes an int, not {value!r}") from None
    base = kind.replace("const", "").strip()
    low, high = (0, 2 ** _UNSIGNED[base]) if base in _UNSIGNED else \
        (-2 ** (_INTEGERS[base] - 1), 2 ** (_INTEGERS[base] - 1))
    if not low <= number < high:
        raise ValueError(f"{number} does not fit {base}")
    return number


def _number(value: Any, *_: Any) -> float:
    if isinstance(value, Scalar):
        value = value.value
    if isinstance(value, (str, bytes)) or value is None:
        raise TypeError(f"takes a float, not {value!r}")
    return float(value)


def _dtype(value: Any, *_: Any) -> int:
    return int(lib.ACL_DT_UNDEFINED) if value is None else to_acl(value)


def _other(value: Any, kind: str, _: Any) -> Any:
    if value is None:
        return ffi.NULL
    return value


_CONVERT: dict[str, Callable[[Any, str, Any], Any]] = {
    "scalar": _scalar, "scalars": _scalars, "ints": _array(IntArray), "floats": _array(FloatArray),
    "bools": _array(BoolArray), "text": _text, "bool": _bool, "integer": _integer, "number": _number, "dtype": _dtype,
    "": _other,
}


def raw(value: Any) -> Any:
    """What C gets for a value that `wrap` gave."""
    if value is None:
        return ffi.NULL
    if isinstance(value, (Resource, Text)):
        return value.handle
    return value
