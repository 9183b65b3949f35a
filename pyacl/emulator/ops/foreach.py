"""aclnnForeach*: one function applied to each tensor of a list, in the list's own type.

The second operand is another list (``...List``), one scalar for all (``...Scalar``: a tensor of one element, ``V2``: an
aclScalar) or one for each member (``...ScalarList``).
"""

from __future__ import annotations

import inspect
from typing import Any, Callable

import numpy as np

from . import binary, rules, special, unary
from .registry import define
from .types import INTEGERS

Arrays = list[Any]


def shapes(x: Any, *_: Any) -> Any:
    return tuple(tuple(t.shape) for t in x)


def types(x: Any, *_: Any) -> Any:
    return tuple(t.dtype for t in x)


def second_shapes(_: Any, x: Any) -> Any:
    return shapes(x)


def second_types(_: Any, x: Any) -> Any:
    return types(x)


def spread(value: Any, count: int) -> list[Any]:
    """One operand for each of `count` members: a list or ScalarList, a tensor's elements, one number for all."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if isinstance(value, np.ndarray):
        flat = value.reshape(-1)
        return [flat[0]] * count if flat.size == 1 else list(flat)
    return [value] * count


def as_member(value: Any, member: Any) -> Any:
    """A scalar in the type its member is computed in."""
    return member.dtype.type(value) if np.ndim(value) == 0 else value


def each(function: Callable[..., Any]) -> Callable[..., Arrays]:
    """``function(x, *operands)`` for each member of the first list, written to the outputs by functions with `out`."""
    takes_out = isinstance(function, np.ufunc) or "out" in inspect.signature(function).parameters

    def compute(x: Arrays, *operands: Any, out: Any = None) -> Arrays:
        columns = [spread(o, len(x)) for o in operands]
        found = []
        for i, member in enumerate(x):
            given = [as_member(c[i], member) for c in columns]
            found.append(function(member, *given) if out is None or not takes_out
                         else function(member, *given, out=out[i]))
        return found

    return compute


def check(*inputs: Any) -> None:
    """Lists of one call have the same length and pairwise the same shapes; ScalarLists have one value a member."""
    lists = [v for v in inputs if isinstance(v, (list, tuple)) and v and rules.is_tensor(v[0])]
    if not lists or not lists[0]:
        rules.reject("x is an empty tensor list")
    first = lists[0]
    if any(t.dtype != first[0].dtype for t in first):
        rules.reject("the tensors of x have different types")
    for other in inputs:
        if isinstance(other, (list, tuple)) and len(other) != len(first):
            rules.reject(f"the lists have {len(first)} and {len(other)} members")
    for other in lists[1:]:
        for i, (a, b) in enumerate(zip(first, other)):
            if tuple(a.shape) != tuple(b.shape):
                rules.reject(f"member {i} has the shapes {list(a.shape)} and {list(b.shape)}")


def foreach(names: str, function: Callable[..., Any], oracle: str, **rest: Any) -> None:
    define(" ".join(f"Foreach{n}" for n in names.split()), each(function),
           **{"shape": shapes, "result": types, "check": check, "oracle": f"each {oracle}", **rest})


def divide(x: Any, y: Any) -> Any:
    return binary.div_mod(x, y, 1) if x.dtype in INTEGERS else np.divide(x, y)


def addcdiv(x: Any, y: Any, z: Any, scalar: Any) -> Any:
    return x + y / z * scalar


def addcmul(x: Any, y: Any, z: Any, scalar: Any) -> Any:
    return x + y * z * scalar


def lerp(x: Any, y: Any, weight: Any) -> Any:
    return x + weight * (y - x)


def norm(x: Any, order: Any) -> Any:
    """The devices of A2 and A3 take any order; here 1, 2 and infinity are as exact as numpy's."""
    size = np.abs(x.reshape(-1))
    if np.isinf(order):
        return size.max(initial=0)
    if order == 1:
        return size.sum(dtype=np.float32)
    return np.power(np.power(size, order).sum(dtype=np.float32), 1 / order)


def round_off(x: Any, mode: Any) -> Any:
    if x.dtype in INTEGERS:
        return x.copy()
    mode = int(mode)
    if mode == 1:
        return np.rint(x)
    if mode in (2, 3, 5):
        return {2: np.floor, 3: np.ceil, 5: np.trunc}[mode](x)
    if mode == 4:  # halves away from zero
        return np.copysign(np.floor(np.abs(x) + np.float32(0.5)), x)
    if mode == 6:  # halves to odd
        down = np.floor(x)
        return np.where(x - down == 0.5, np.where(down % 2 == 0, down + 1, down), np.rint(x))
    return x.copy()


def unscale(grads: Arrays, found: Any, inverse: Any) -> Any:
    finite = all(bool(np.isfinite(g).all()) for g in grads)
    return [g * inverse.reshape(-1)[0] for g in grads] + [found if finite else np.ones_like(found)]


_UNARY: list[tuple[str, Any, str]] = [
    ("Abs", np.absolute, "torch.abs"), ("Acos ACosInplace", np.arccos, "torch.acos"), ("Asin", np.arcsin, "torch.asin"),
    ("Atan", np.arctan, "torch.atan"), ("Copy", np.copy, "torch.clone"), ("Cos", np.cos, "torch.cos"),
    ("Cosh", np.cosh, "torch.cosh"), ("Erf", special.erf, "torch.erf"), ("Erfc", special.erfc, "torch.erfc"),
    ("Exp", np.exp, "torch.exp"), ("Expm1", np.expm1, "torch.expm1"), ("Log LogInplace", np.log, "torch.log"),
    ("Log10", np.log10, "torch.log10"), ("Log1p", np.log1p, "torch.log1p"), ("Log2", np.log2, "torch.log2"),
    ("Neg", np.negative, "torch.neg"), ("Reciprocal", unary.reciprocal, "torch.reciprocal"),
    ("Sigmoid", unary.sigmoid, "torch.sigmoid"), ("Sign", np.sign, "torch.sign"), ("Sin", np.sin, "torch.sin"),
    ("Sinh", np.sinh, "torch.sinh"), ("Sqrt", np.sqrt, "torch.sqrt"), ("Tan", np.tan, "torch.tan"),
    ("Tanh", np.tanh, "torch.tanh"), ("ZeroInplace", np.zeros_like, "torch.zeros_like"),
]
for _name, _function, _oracle in _UNARY:
    foreach(_name, _function, _oracle)

foreach("AddList AddListV2 AddListInplace", binary.add, "torch.add")
foreach("SubList SubListV2 SubListInplace", binary.sub, "torch.sub")
_FORMS: list[tuple[str, Any, str, str]] = [
    ("Add", np.add, "torch.add", "Scalar ScalarV2 ScalarList"),
    ("Sub", np.subtract, "torch.sub", "Scalar ScalarV2 ScalarList ScalarInplace"),
    ("Mul", np.multiply, "torch.mul", "List ListInplace Scalar ScalarV2 ScalarList ScalarInplace"),
    ("Div", divide, "torch.div", "List ListInplace Scalar ScalarV2 ScalarList"),
    ("Maximum", np.maximum, "torch.maximum", "List Scalar ScalarV2 ScalarList"),
    ("Minimum", np.minimum, "torch.minimum", "List Scalar ScalarV2 ScalarList"),
    ("Pow", binary.power, "torch.pow", "List Scalar ScalarV2 ScalarList"),
    ("Lerp", lerp, "torch.lerp", "List Scalar"),
    ("Addcdiv", addcdiv, "torch.addcdiv", "List Scalar ScalarV2 ScalarList"),
    ("Addcmul", addcmul, "torch.addcmul", "List Scalar ScalarV2 ScalarList"),
]
for _name, _function, _oracle, _forms in _FORMS:
    foreach(" ".join(_name + form for form in _forms.split()), _function, _oracle)

foreach("RoundOffNumber RoundOffNumberV2", round_off, "torch.round")
foreach("Norm", norm, "torch.linalg.vector_norm", shape=None)
define("ForeachPowScalarAndTensor", lambda base, x: [binary.power(as_member(base, m), m) for m in x],
       shape=second_shapes, result=second_types, check=check, oracle="each torch.pow, scalar first")
define("ForeachNonFiniteCheckAndUnscale", unscale, roles={"scaledGrads": "io", "foundInf": "io"},
       oracle="torch._amp_foreach_non_finite_check_and_unscale_")
