"""Operators by their graph-engine type: which aclnn operator computes them, and how their inputs and attributes map.

``ge.json`` holds what each type takes, one line each::

    "ReduceSum": "x:7, axes!:2 -> y:7; keep_dims: bool = False"

a name, ``?`` optional, ``*`` any number of tensors, ``!`` read as values (a shape, axes), ``:n`` the data types that
tensor may have; then the outputs; then the attributes with their kinds and defaults (none: required). `ge` (used in
`ge_table` and `ge_networks`) says which aclnn operator stands behind a type and with which arguments: a function whose
parameters are called as the type's inputs, outputs and attributes.
"""

from __future__ import annotations

import ast
import inspect
import json
import keyword
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache, partial
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Optional

import numpy as np

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure, not_emulated
from . import registry
from .executor import Plan
from .registry import Operator
from .signature import CONVERTERS, Signature
from .signature import Parameter as _Parameter
from .tensor import BoolArray, FloatArray, IntArray, Scalar, Tensor, TensorList
from .types import Dtype, name, parse

REQUIRED = object()


@dataclass(frozen=True)
class Slot:
    """A declared input or output."""

    name: str
    optional: bool
    many: bool
    value: bool
    dtypes: frozenset[Dtype]
    group: str  # slots with the same types share one


@dataclass(frozen=True)
class Attribute:
    """A declared attribute; `default` is REQUIRED where there is none."""

    name: str
    kind: str
    default: Any


class GeOperator:
    """A type: its declaration, and the aclnn operator behind it with a function that gives its arguments."""

    def __init__(self, type: str, declaration: str, operator: Callable[[], Operator], arguments: Callable[..., Any],
                 mixed: bool, shape: Optional[Callable[..., Any]] = None, aclnn: str = "") -> None:
        self.type = type
        self.aclnn = aclnn  # the aclnn operator's name; "" for a function of its own
        self.declaration = declaration
        self.inputs, self.outputs, self.attributes = _parse(declaration)
        self.operator = operator
        self.mixed = mixed  # whether tensors that may have the same types may differ in them
        self._arguments = arguments
        self._shape = shape
        heeded = _names(arguments)
        self._unheeded = [a for a in self.attributes if a.name not in heeded]
        self._unused = [s.name for s in self.inputs if s.optional and s.name not in heeded]

    def __str__(self) -> str:
        """The type with its inputs, outputs and attributes: ``ReduceSumD: x -> y; axes: list_int``."""
        return f"{self.type}: " + re.sub(r":\d+", "", self.declaration)

    def attribute_values(self, given: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
        """All attributes' values; fails with ACL_ERROR_OP_ATTR_NOT_MATCH for a wrong, unknown or missing one."""
        known = {a.name: a for a in self.attributes}
        values = {a.name: a.default for a in self.attributes}
        for attribute, (kind, value) in given.items():
            if attribute.startswith("_"):  # private to the graph engine
                continue
            if attribute not in known:
                has = ", ".join(known) or "none"
                raise Failure(lib.ACL_ERROR_OP_ATTR_NOT_MATCH, f"{self.type} has no attribute {attribute}, only {has}")
            want = known[attribute].kind
            if kind != want and {kind, want} != {"int", "data_type"} and not (value == () and kind.startswith("list")):
                raise Failure(lib.ACL_ERROR_OP_ATTR_NOT_MATCH, f"{self.type}: attribute {attribute} is {want}, but was "
                                                               f"set as {kind} {value!r}")
            values[attribute] = value
        missing = [n for n, v in values.items() if v is REQUIRED]
        if missing:
            raise Failure(lib.ACL_ERROR_OP_ATTR_NOT_MATCH, f"{self.type} needs the attribute {', '.join(missing)}")
        return values

    def plan(self, inputs: dict[str, Any], outputs: dict[str, Any], attributes: dict[str, Any]) -> Plan:
        """The aclnn operator's plan for these tensors; what it refuses is refused with its words."""
        with self._raw({**outputs, **inputs, **attributes}, list(outputs.values())) as (operator, raw):
            return Plan(operator, raw)

    def infer(self, inputs: dict[str, Any], outputs: dict[str, Any],
              attributes: dict[str, Any]) -> tuple[list[Any], list[Dtype]]:
        """The outputs' shapes and types; a dimension that follows from the data is a pair, its bounds."""
        values = {**outputs, **inputs, **attributes}
        if self._shape is not None:
            self._check_unheeded(values)
            shapes = _call(self._shape, values)
            return shapes, [next((t.dtype for t in inputs.values() if isinstance(t, Tensor)), None)] * len(shapes)
        with self._raw(values, []) as (operator, raw):
            given = [CONVERTERS[p.kind](r, p.name) for p, r in zip(operator.signature.parameters, raw) if "i" in p.role]
        if operator.shape is None:
            raise NotImplementedError(f"shape inference of {self.type}")
        shapes = operator.shape(*given)
        if not shapes or not (shapes[0] is None or isinstance(shapes[0], tuple)):
            shapes = [shapes]
        result = operator.result(*given) if operator.result is not None else None
        return list(shapes), list(result) if isinstance(result, tuple) else [result] * len(shapes)

    def _check_unheeded(self, values: dict[str, Any]) -> None:
        """Refuses what would change the result, but is not looked at otherwise."""
        tensors = [t for v in values.values() for t in (v if isinstance(v, list) else [v]) if isinstance(t, Tensor)]
        for given in self._unused:
            if values[given] is not None:
                raise not_emulated(f"operator {self.type} with the input {given}")
        for attribute in self._unheeded:
            value = values[attribute.name]
            if attribute.name in _HARMLESS or value == attribute.default:
                continue
            if attribute.name in _COUNTS:
                many = next(s.name for s in (*self.inputs, *self.outputs) if s.many)
                if values[many] is not None and len(values[many]) != value:
                    raise Failure(lib.ACL_ERROR_OP_ATTR_NOT_MATCH, f"{self.type}: {attribute.name} is {value}, but "
                                                                   f"{many} has {len(values[many])} tensors")
            elif attribute.name in _TYPES:
                if not any(t.code == value for t in tensors):
                    raise Failure(lib.ACL_ERROR_OP_ATTR_NOT_MATCH, f"{self.type}: {attribute.name} is {value}, but no "
                                                                   "tensor has that type")
            else:
                raise not_emulated(f"operator {self.type} with {attribute.name} = {value}")

    @contextmanager
    def _raw(self, values: dict[str, Any], outputs: list[Any]) -> Iterator[tuple[Operator, tuple[Any, ...]]]:
        """The operator and its arguments as C would give them, for the time of one call."""
        if "data_format" in values:
            pictures = [values[s.name] for s in self.inputs if not s.many and s.name != "filter"]
            values["data_format"] = next(layout_of(t, values["data_format"]) for t in pictures if isinstance(t, Tensor))
        self._check_unheeded(values)
        found = _call(self._arguments, values)
        if not isinstance(found, Use):
            found = Use(found if isinstance(found, tuple) else (found,))
        operator = self.operator() if found.operator is None else _aclnn(found.operator, False)
        feed, results = iter(found.arguments), iter(outputs if found.outputs is None else found.outputs)
        lent: list[int] = []
        kept: list[Any] = []
        try:
            yield operator, tuple(_lend(p.kind, next(results, None) if p.role == "o" else next(feed, None), lent, kept)
                                  for p in operator.signature.parameters)
        finally:
            for number in lent:
                handles.drop(number)


@dataclass(frozen=True)
class Use:
    """What `arguments` may give instead of a tuple: also another aclnn operator, or other views of the outputs."""

    arguments: tuple[Any, ...]
    operator: Optional[str] = None
    outputs: Optional[tuple[Any, ...]] = None


class View(Tensor):
    """Another view of a tensor's memory: it has no address of its own, `base` has."""

    __slots__ = ("base",)

    def __init__(self, base: Tensor, shape: tuple[int, ...], strides: Optional[tuple[int, ...]] = None,
                 format: Optional[int] = None) -> None:
        super().__init__(shape, base.code, strides, base.offset, base.format if format is None else format)
        self.base: Tensor = getattr(base, "base", base)


# Attributes that say how, not what is computed, or are reserved; that count tensors; that name a type which a
# description has, too.
_HARMLESS = {"use_locking", "validate_indices", "is_preprocessed", "enable_hf32", "opImplMode", "is_training",
             "data_format"}
_COUNTS = {"N", "num_split", "num"}
_TYPES = {"dtype", "out_idx", "y2_dtype", "indices_dtype"}


def _names(function: Callable[..., Any]) -> list[str]:
    """What a function's parameters without default name (``else_`` stands for ``else``)."""
    return [n.rstrip("_") if keyword.iskeyword(n.rstrip("_")) else n
            for n, p in inspect.signature(function).parameters.items() if p.default is p.empty]


def _call(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    return function(*[values[n] for n in _names(function)])


def _lend(kind: str, value: Any, lent: list[int], kept: list[Any]) -> Any:
    """A Python value as the C value that an operator's parameter of this kind takes, for the time of one call."""
    if kind == "plain":
        return 0 if value is None else value
    if kind == "dtype":
        return lib.ACL_DT_UNDEFINED if value is None else value
    if value is None:
        return ffi.NULL
    if kind == "text":
        kept.append(ffi.new("char[]", value.encode()))
        return kept[-1]
    if kind == "scalar" and not isinstance(value, np.generic):
        value = np.asarray(value, np.bool_ if isinstance(value, bool) else np.int64 if isinstance(value, int)
                           else np.float32)[()]
    made: Any
    if kind == "tensor":
        made = value
    elif kind == "tensors":
        made = TensorList((), tuple(value))
    elif kind == "scalar":
        made = Scalar(value)
    else:
        made = _ARRAYS[kind](tuple(int(v) for v in value) if kind == "ints" else tuple(value))
    lent.append(handles.new(made))
    return handles.pointer(lent[-1])


_ARRAYS: dict[str, Any] = {"ints": IntArray, "bools": BoolArray, "floats": FloatArray}


# Declarations

@cache
def _declarations() -> tuple[list[str], dict[str, str]]:
    table = json.loads((Path(__file__).parent / "ge.json").read_text())
    return table["dtypes"], table["operators"]


def _parse(declaration: str) -> tuple[tuple[Slot, ...], tuple[Slot, ...], tuple[Attribute, ...]]:
    tensors, *attributes = declaration.split(";")
    inputs, _, outputs = tensors.partition("->")
    return _slots(inputs), _slots(outputs), tuple(_attribute(a) for a in attributes)


def _slots(text: str) -> tuple[Slot, ...]:
    found = []
    for m in re.finditer(r"(\w+)([?*!]*):(\d+)", text):
        dtypes = parse(_declarations()[0][int(m[3])])
        found.append(Slot(m[1], "?" in m[2], "*" in m[2], "!" in m[2], dtypes, m[3]))
    return tuple(found)


def _attribute(text: str) -> Attribute:
    head, equals, default = text.partition("=")
    attribute, _, kind = head.partition(":")
    value: Any = ast.literal_eval(default.strip()) if equals else REQUIRED
    return Attribute(attribute.strip(), kind.strip(), tuple(value) if isinstance(value, list) else value)


# The table

_operators: dict[str, GeOperator] = {}
_by_aclnn: dict[str, list[str]] = {}
_lock = threading.RLock()
_loaded = False


def ge(types: str, operator: str, arguments: Callable[..., Any], mixed: bool = False, loose: bool = False,
       shape: Optional[Callable[..., Any]] = None) -> None:
    """Says that the aclnn `operator` computes these `types` with the arguments that `arguments` gives.

    mixed   tensors that may have the same types need not have equal ones
    loose   the types of the aclnn operator's reference page do not count, and what it changes in place is an input and
            an output
    shape   gives the outputs' shapes where the aclnn operator's rule does not; for what follows from the data a pair,
            the smallest and the largest it can be
    """
    for type in types.split():
        _operators[type] = GeOperator(type, _declarations()[1][type], lambda: _aclnn(operator, loose), arguments, mixed,
                                      shape, operator)


@cache
def _aclnn(name: str, loose: bool) -> Operator:
    found = registry.find(name)
    if found is None:
        raise NotImplementedError(name)
    if not loose:
        return found
    made = _Own(**{f.name: getattr(found, f.name) for f in fields(found)})
    made.exact = False
    if len(found.signature.outputs) > 1:  # indices are int32 in the graph engine
        made.result = None
    parameters = found.signature.parameters
    changed = [p for p in parameters if p.role == "io"]
    if changed:
        made.compute = _on_copies(found.compute, [i for i, p in enumerate(found.signature.inputs) if p in changed])
        made.takes_out = False
    made.declared = Signature(name, tuple(
        [_Parameter(p.name, p.kind, "i" if p in changed else p.role, frozenset(), True) for p in parameters]
        + [_Parameter(p.name + "Out", p.kind, "o", frozenset(), True) for p in changed]))
    return made


def _on_copies(compute: Callable[..., Any], changed: list[int]) -> Callable[..., Any]:
    """A function that changes its inputs in place as one that returns them changed."""
    def apart(*inputs: Any) -> Any:
        copies = [np.array(v) if i in changed else v for i, v in enumerate(inputs)]
        found = compute(*copies)
        return tuple(copies[i] for i in changed) if found is None else found

    return apart


def ge_compute(types: str, compute: Callable[..., Any], parameters: str, arguments: Callable[..., Any],
               mixed: bool = False, **rules: Any) -> None:
    """Defines types that no aclnn operator computes; `rules` are those of `registry.define`.

    `parameters` are the kinds of those of `compute`, then of the outputs: ``"tensor plain -> tensor"``.
    """
    for type in types.split():
        operator = _Own(type, compute, **rules)
        inputs, _, outputs = parameters.partition("->")
        operator.declared = Signature(type, tuple(
            _Parameter(f"{role}{i}", kind, role, frozenset(), True)
            for role, kinds in (("i", inputs), ("o", outputs)) for i, kind in enumerate(kinds.split())))
        _operators[type] = GeOperator(type, _declarations()[1][type], partial(_same, operator), arguments, mixed)


def _same(operator: Operator) -> Operator:
    return operator


class _Own(Operator):
    """An operator with a signature of its own."""

    declared: Signature

    @property
    def signature(self) -> Signature:
        return self.declared

    def allowed(self, parameter: str) -> Any:
        return frozenset()


def load() -> None:
    """Reads the table."""
    global _loaded
    if not _loaded:
        with _lock:
            if not _loaded:
                from . import ge_networks, ge_resize, ge_table  # noqa: F401

                _loaded = True


def find(type: str) -> Optional[GeOperator]:
    """The emulation of an operator type, None if there is none."""
    load()
    return _operators.get(type)


def types() -> list[str]:
    """All emulated types."""
    load()
    return sorted(_operators)


def types_of(name: str) -> list[str]:
    """The types that the aclnn operator `name` computes."""
    load()
    if not _by_aclnn:
        for operator in _operators.values():
            _by_aclnn.setdefault(operator.aclnn, []).append(operator.type)
    return sorted(_by_aclnn.get(name, ()))


def own() -> list[GeOperator]:
    """The types that no aclnn operator computes."""
    load()
    return [o for _, o in sorted(_operators.items()) if not o.aclnn]


def layout_of(tensor: Tensor, otherwise: str) -> str:
    """How an image lies: as its format says, where that names its dimensions."""
    found = {lib.ACL_FORMAT_NCHW: "NCHW", lib.ACL_FORMAT_NHWC: "NHWC", lib.ACL_FORMAT_NCDHW: "NCDHW",
             lib.ACL_FORMAT_NDHWC: "NDHWC"}.get(tensor.format, "")
    return found if len(found) == tensor.ndim else otherwise


def tensor(dtype: int, shape: tuple[int, ...], format: int) -> Tensor:
    """A dense tensor without an address; ACL_ERROR_UNSUPPORTED_DATA_TYPE for a type that is not emulated."""
    found = Tensor(shape, dtype, format=format)
    if found.dtype is None:
        raise Failure(lib.ACL_ERROR_UNSUPPORTED_DATA_TYPE, f"aclDataType {dtype} is not emulated")
    return found


def check_types(operator: GeOperator, tensors: list[tuple[Slot, Tensor]]) -> None:
    """Refuses types that are not declared, and different ones where a type wants them to be equal."""
    groups: dict[str, tuple[Slot, Tensor]] = {}
    for slot, found in tensors:
        if slot.dtypes and found.dtype not in slot.dtypes:
            takes = ", ".join(sorted(name(d) for d in slot.dtypes))
            raise Failure(lib.ACL_ERROR_UNSUPPORTED_DATA_TYPE, f"{operator.type}: {slot.name} has the type "
                                                               f"{name(found.dtype)}; it takes {takes}")
        if operator.mixed or len(slot.dtypes) < 2 or slot.value:
            continue
        first, other = groups.setdefault(slot.group, (slot, found))
        if other.dtype != found.dtype:
            raise Failure(lib.ACL_ERROR_UNSUPPORTED_DATA_TYPE, f"{operator.type}: {first.name} has the type "
                          f"{name(other.dtype)}, {slot.name} {name(found.dtype)}; they must be equal")
