"""One case of ``bench op``: an operator with shapes, dtypes and values for all its parameters, as numpy arrays.

Shapes are written ``1024x1024``, ``8`` (one axis) or ``scalar`` (no axis). Several tensors are separated by commas, in
the prototype's order or by name (``self=8x16,mat2=16x4``); an operator's other inputs follow from the first. A list of
tensors is ``tensors=3*8x16`` or ``tensors=8x16+8x4``. Dtypes are written the same way (``float16``, ``index=int32``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Sequence, Union

import ml_dtypes  # noqa: F401  registers bfloat16 and others with numpy
import numpy as np

from ..arguments import plan
from ..capi import Prototype, cdefs
from ..cli import CommandError
from ..dtypes import to_dtype
from . import operators

Shape = tuple[int, ...]
ShapeOrList = Union[Shape, list[Shape]]

@dataclass
class Case:
    """What one operator is run with.

    ``inputs`` holds an array (a list of arrays for a tensor list, None for an input that is not used) for each input
    tensor, ``values`` the attributes, ``outputs`` the shape and dtype of each output (several
    for a tensor list). ``inplace`` are outputs that are
    inputs too. ``expected`` has the reference's result for each output, where there is one.
    """

    name: str
    prototype: Prototype
    inputs: dict[str, Any]
    values: dict[str, Any]
    outputs: dict[str, list[tuple[Shape, Any]]]
    inplace: list[str]
    expected: Optional[dict[str, Any]] = None
    flops: float = 0.0
    bytes: float = 0.0
    parameters: dict[str, Any] = field(default_factory=dict)


def parse_shape(text: str) -> Shape:
    """``8x16`` -> (8, 16)."""
    if text == "scalar":
        return ()
    if not re.fullmatch(r"\d+(x\d+)*", text):
        raise CommandError(f"{text!r} is not a shape: write 1024x1024, 8, or scalar")
    return tuple(int(n) for n in text.split("x"))


def _parse_shapes(text: str) -> ShapeOrList:
    if "+" not in text and "*" not in text:
        return parse_shape(text)
    shapes: list[Shape] = []
    for part in text.split("+"):
        count, star, shape = part.rpartition("*")
        if star and not count.isdecimal():
            raise CommandError(f"{part!r} is not a list of shapes: write 3*8x16")
        shapes += [parse_shape(shape)] * (int(count) if star else 1)
    return shapes


def assign(text: str, names: Sequence[str], what: str) -> dict[str, str]:
    """``a,b`` or ``x=a,y=b`` -> by parameter name."""
    found: dict[str, str] = {}
    for i, part in enumerate(p.strip() for p in text.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            if i >= len(names):
                raise CommandError(f"{what} {text!r} is for more than the operator's {len(names)} tensors")
            name, value = names[i], part
        if name not in names:
            raise CommandError(f"{what} {text!r}: no tensor {name}; there are {', '.join(names)}")
        found[name] = value
    return found


def parse_dtype(text: str) -> Any:
    """A numpy dtype by name, bfloat16 and the small floats included."""
    try:
        return to_dtype(text)
    except TypeError:
        raise CommandError(f"{text!r} is not a dtype: write float16, bfloat16, float32, int64, bool, ...") from None


def prototype(name: str) -> Prototype:
    """The operator's declaration; for a name that is not declared, an error with the nearest ones."""
    found = cdefs.operator(name) or cdefs.operator(f"aclnn{name}")
    if found is None:
        import difflib

        near = difflib.get_close_matches(name, cdefs.operators(), 3, 0.6)
        raise CommandError(f"no operator {name}" + (f": did you mean {', '.join(near)}?" if near else ""))
    return found


def is_tensor(type_name: str) -> bool:
    """Whether a parameter's type is a tensor or a list of them."""
    return "aclTensor" in type_name


def roles(proto: Prototype) -> tuple[list[str], list[str], list[str]]:
    """The names of a prototype's input tensors, output tensors, and those that are both; inputs include the latter."""
    found = plan(proto.name)
    inputs = [proto.params[i].name for i in found.inputs]
    outputs = [proto.params[i].name for i in found.outputs]
    return inputs, outputs, [n for n in outputs if n in inputs]


def build(name: str, shape: str, dtype: str, values: Mapping[str, Any]) -> Case:
    """The case that a command line or a configuration describes; raises CommandError for what does not fit."""
    proto = prototype(name)
    known = operators.known(proto.name)
    inputs, outputs, inplace = roles(proto)
    shapes = _shapes(proto, known, inputs, outputs, shape)
    first, given_dtypes = _dtypes(dtype, [*inputs, *outputs])
    fixed = {n: parse_dtype(t) for n, t in known.dtypes.items()} if known else {}
    dtypes = {n: given_dtypes.get(n) or fixed.get(n) or _usual_dtype(n, first) for n in inputs}
    arrays = _arrays(known, inputs, shapes, dtypes)
    attributes = _attributes(proto, known, values, arrays, first)
    case = Case(proto.name, proto, arrays, attributes, {}, inplace)
    results = _reference(case, known, outputs, first)
    for output in outputs:
        at, kind = shapes.get(output), given_dtypes.get(output)
        result = results.get(output) if results else None
        if output in inplace:
            array = arrays[output]
            case.outputs[output] = [(a.shape, a.dtype) for a in (array if isinstance(array, list) else [array])]
        elif result is not None and (at is None or at == result.shape):
            kind = kind or fixed.get(output) or _result_dtype(result, first, attributes)
            case.outputs[output] = [(result.shape, kind)]
        elif results is not None and result is None and at is None:
            continue  # an output that the reference leaves out is not asked for
        else:
            at = _broadcast(arrays) if at is None else at
            case.outputs[output] = [(one, kind or first) for one in (at if isinstance(at, list) else [at])]
    case.expected = results
    _cost(case, known)
    # bfloat16 and the small floats have names that only str() gives.
    case.parameters = {"op": proto.name, "shape": shape, "dtype": dtype,
                       "inputs": {n: describe(a) for n, a in arrays.items()},
                       "outputs": {n: " + ".join(f"{_x(s)} {d}" for s, d in o) for n, o in case.outputs.items()},
                       "values": {n: list(v) if isinstance(v, tuple) else str(v) if isinstance(v, np.dtype) else v
                                  for n, v in attributes.items()}}
    return case


def _dtypes(text: str, names: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """The operator's dtype, which tensors have unless they are of another nature, and those given one by one."""
    if "," not in text and "=" not in text:
        return parse_dtype(text), {}
    found = {n: parse_dtype(t) for n, t in assign(text, names, "--dtype").items()}
    return found.get(names[0], parse_dtype("float32")), found


def describe(array: Any) -> str:
    """``8x16 float16``, for an array, a list of them, or None."""
    if array is None:
        return "none"
    if isinstance(array, list):
        return " + ".join(describe(a) for a in array)
    return f"{_x(array.shape)} {array.dtype}"


def _x(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape) or "scalar"


def _shapes(proto: Prototype, known: Optional[operators.Operator], inputs: Sequence[str], outputs: Sequence[str],
            text: str) -> dict[str, Any]:
    given: dict[str, Any] = {
        n: _parse_shapes(t) for n, t in assign(text, [*inputs, *outputs], "--shape").items()}
    if not inputs:
        return given
    if inputs[0] not in given:
        raise CommandError(f"--shape {text!r} gives no shape for {inputs[0]}, the first tensor of {proto.name}")
    first = given[inputs[0]]
    derived: Mapping[str, Any] = {}
    if known is not None and known.shapes is not None and isinstance(first, tuple):
        try:
            derived = known.shapes(first)
        except IndexError:
            raise CommandError(f"{proto.name} needs more axes than {_x(first)}") from None
    types = {p.name: p.type for p in proto.params}
    for name in inputs:
        listed = "TensorList" in types[name]
        if name not in given:
            if (known and name in known.absent) or (name.endswith("Optional") and name not in derived):
                given[name] = None
                continue
            given[name] = derived.get(name, first)
        shape = given[name]
        if listed and isinstance(shape, tuple):
            # One tensor of this shape for each axis indexed; otherwise two, so that there is something to join.
            given[name] = [shape] if name == "indices" else [shape, shape]
        elif not listed and isinstance(shape, list):
            raise CommandError(f"{proto.name}: {name} is one tensor, not a list")
    return given


def _usual_dtype(name: str, first: Any) -> Any:
    if re.search(r"ind(ex|ices)", name, re.I):
        return np.dtype(np.int64)
    if re.search(r"mask|condition", name, re.I):
        return np.dtype(bool)
    return first


def _arrays(known: Optional[operators.Operator], inputs: Sequence[str], shapes: Mapping[str, Any],
            dtypes: Mapping[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for name in inputs:
        shape = shapes[name]
        kind = (known.data.get(name) if known else None) or "normal"
        if shape is None:
            arrays[name] = None
        elif isinstance(shape, list):
            arrays[name] = [_random(rng, kind, s, dtypes[name], shapes) for s in shape]
        else:
            arrays[name] = _random(rng, kind, shape, dtypes[name], shapes)
    return arrays


def _random(rng: np.random.Generator, kind: str, shape: Shape, dtype: Any, shapes: Mapping[str, Any]) -> Any:
    word, _, rest = kind.partition(":")
    size = int(np.prod(shape))
    if word in ("index", "permutation"):
        other, _, where = rest.partition(":")
        extent = shapes[other][-1 if where else 0]
        if word == "permutation" and size <= extent:
            return rng.permutation(extent)[:size].reshape(shape).astype(dtype)
        return rng.integers(0, extent, shape).astype(dtype)
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(bool)
    if word == "distinct":
        # Whole numbers that a reduced precision can tell apart, as far as there are enough.
        return (rng.permutation(size) % 2048).reshape(shape).astype(dtype)
    if dtype.kind in "iu":
        return rng.integers(1, 9, shape).astype(dtype)
    if word == "positive":
        return rng.uniform(0.5, 2.0, shape).astype(dtype)
    if word == "unit":
        return rng.uniform(-0.9, 0.9, shape).astype(dtype)
    if word == "nonzero":
        return (rng.uniform(0.5, 2.0, shape) * rng.choice((-1.0, 1.0), shape)).astype(dtype)
    return rng.standard_normal(shape, dtype=np.float32).astype(dtype)


def _attributes(proto: Prototype, known: Optional[operators.Operator], values: Mapping[str, Any],
                arrays: Mapping[str, Any], dtype: Any) -> dict[str, Any]:
    parameters = {p.name: p.type for p in proto.params if not is_tensor(p.type)}
    unknown = [n for n in values if n not in parameters]
    if unknown:
        raise CommandError(f"{proto.name} has no attribute {unknown[0]}; it has {', '.join(parameters) or 'none'}")
    found: dict[str, Any] = {}
    for name, kind in parameters.items():
        if name in values:
            found[name] = _value(proto.name, name, kind, values[name])
        elif known is not None and name in known.values:
            found[name] = known.values[name]
        elif "aclDataType" in kind:
            found[name] = dtype
        elif name == "normalizedShape":
            found[name] = next(iter(arrays.values())).shape[-1:]
        elif name in ("dims", "dim") and proto.name == "aclnnPermute":
            found[name] = tuple(reversed(range(next(iter(arrays.values())).ndim)))
        else:
            found[name] = _default(proto.name, name, kind)
    return found


def _default(op: str, name: str, kind: str) -> Any:
    bare = kind.replace("const ", "")
    value = operators.DEFAULTS.get(name, operators.DEFAULTS.get(name.replace("Optional", "")))
    if name.endswith("Optional") and "*" in bare:
        return None
    if "Array" in bare or "List" in bare:
        return tuple(value) if isinstance(value, (tuple, list)) else () if value is None else (value,)
    if bare == "bool":
        return bool(value) if value is not None else False
    if isinstance(value, tuple):
        value = value[0]
    if bare in ("double", "float"):
        return float(value) if value is not None else 1.0
    if bare == "aclScalar *":
        return value if value is not None else 1.0
    if "char" in bare:
        raise CommandError(f"{op}: give a text for {name}: --set {name}=TEXT")
    return int(value) if value is not None else 0


def _value(op: str, name: str, kind: str, value: Any) -> Any:
    """A value from a command line (text) or a configuration (typed), as the attribute's C type wants it."""
    bare = kind.replace("const ", "")
    wrong = CommandError(f"{op}: {value!r} is no value for {name} ({bare})")
    if value is None or value == "none":
        if "*" not in bare:
            raise wrong
        return None
    if "char" in bare:
        return str(value)
    if "aclDataType" in bare:
        return parse_dtype(str(value))
    if "Array" in bare or "List" in bare:
        parts = value if isinstance(value, (list, tuple)) else [p for p in re.split(r"[,\s\[\]]+", str(value)) if p]
        return tuple(_number(p, "bool" if "Bool" in bare else "int64_t" if "Int" in bare else "double", wrong)
                     for p in parts)
    return _number(value, bare, wrong)


def _number(value: Any, kind: str, wrong: CommandError) -> Any:
    text = str(value).lower()
    if kind == "bool" or (kind == "aclScalar *" and text in ("true", "false")):
        if text not in ("true", "false", "1", "0"):
            raise wrong
        return text in ("true", "1")
    try:
        if kind in ("double", "float"):
            return float(text)
        return int(text) if kind != "aclScalar *" or re.fullmatch(r"[+-]?\d+", text) else float(text)
    except ValueError:
        raise wrong from None


def _wide(array: Any) -> Any:
    """Floats as float64, for the reference; others as they are."""
    if isinstance(array, list):
        return [_wide(a) for a in array]
    return array if array is None or array.dtype.kind in "biuc" else array.astype(np.float64)


def _reference(case: Case, known: Optional[operators.Operator], outputs: Sequence[str],
               dtype: Any) -> Optional[dict[str, Any]]:
    if known is None:
        return None
    arguments = []
    for p in case.prototype.params:
        if p.name in case.inputs:
            arguments.append(_wide(case.inputs[p.name]))
        elif p.name in case.values:
            value = case.values[p.name]
            arguments.append(np.float64 if isinstance(value, np.dtype) and value.kind not in "biuc" else value)
    try:
        with np.errstate(all="ignore"):
            results = known.compute(*arguments)
    except (ValueError, IndexError, TypeError) as error:
        raise CommandError(f"{case.name} does not fit these inputs: {' '.join(str(error).split())}") from None
    if results is None:
        return None
    results = results if isinstance(results, tuple) else (results,)
    return {name: np.asarray(r) for name, r in zip(outputs, results)}


def _result_dtype(result: Any, first: Any, attributes: Mapping[str, Any]) -> Any:
    if result.dtype.kind in "biu":
        return result.dtype
    for value in attributes.values():
        if isinstance(value, np.dtype):  # the operator says which
            return value
    return first if first.kind not in "biu" else np.dtype(np.float32)


def _broadcast(arrays: Mapping[str, Any]) -> Shape:
    shapes = [a.shape for a in arrays.values() if isinstance(a, np.ndarray)]
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        return tuple(shapes[0])


def _cost(case: Case, known: Optional[operators.Operator]) -> None:
    inputs = [a for v in case.inputs.values() if v is not None for a in (v if isinstance(v, list) else [v])]
    outputs = [np.broadcast_to(np.zeros((), d), s) for o in case.outputs.values() for s, d in o]
    case.bytes = float(sum(a.nbytes for a in inputs)) + sum(float(a.size * a.itemsize) for a in outputs)
    if known is None:
        return
    if known.traffic is not None:
        case.bytes = known.traffic(inputs, outputs)
    if case.expected is not None:
        case.flops = (float(known.flops(inputs, outputs)) if callable(known.flops)
                      else known.flops * outputs[0].size) if outputs else 0.0


def difference(case: Case, results: Mapping[str, Any]) -> str:
    """How results differ from the reference: "" without a reference, "ok", or one line that says where."""
    if case.expected is None:
        return ""
    for name, expected in case.expected.items():
        if name not in results:
            continue
        got = results[name]
        if got.shape != expected.shape:
            return f"{name} has shape {_x(got.shape)}, the reference {_x(expected.shape)}"
        exact = got.dtype.kind in "biu"
        wide = got if exact else got.astype(np.float64)
        with np.errstate(all="ignore"):
            if exact:
                bad = wide != expected.astype(got.dtype)
            else:
                scale = float(np.mean(np.abs(expected))) if expected.size else 0.0
                bad = ~(np.abs(wide - expected) <= _tolerance(got.dtype, case) * (np.abs(expected) + scale))
                bad &= ~((wide == expected) | (np.isnan(wide) & np.isnan(expected)))
        if bad.any():
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            return (f"{name}{list(where)} is {wide[where]}, the reference says {expected[where]:g} "
                    f"({int(bad.sum())} of {bad.size} differ)")
    return "ok"


def _tolerance(dtype: Any, case: Case) -> float:
    """What the dtype's precision allows, inputs in it included."""
    kinds = [dtype, *(a.dtype for a in case.inputs.values() if isinstance(a, np.ndarray))]
    names = {str(k) for k in kinds}
    if "bfloat16" in names:
        return 2e-2
    if "float16" in names:
        return 4e-3
    if any(n.startswith(("float8", "float4", "float6")) for n in names):
        return 0.25
    return 1e-9 if dtype == np.float64 else 2e-4
