"""Small formulas of several tensors, element by element, each with rules of its own; dimensions by format."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .registry import define, family
from .rules import reject
from .special import fresnel

_FLOATS = "f32 f16 bf16"


def one_type(*tensors: Any) -> None:
    if len({t.dtype for t in tensors}) > 1:
        reject(f"types {', '.join(str(t.dtype) for t in tensors)} differ")


def alike(*tensors: Any) -> Any:
    """All tensors among the inputs have one shape and one type."""
    found = [t for t in tensors if rules.is_tensor(t)]
    one_type(*found)
    if any(t.shape != found[0].shape for t in found):
        reject(f"shapes {', '.join(str(list(t.shape)) for t in found)} differ")
    return tuple(found[0].shape)


def arccos_back(y: Any, dy: Any) -> Any:
    return -dy / np.sqrt(1 - y * y)


def multiply_add(x1: Any, x2: Any, x3: Any) -> Any:
    return x1 * x3.reshape(-1)[0] + x2


def multiply_add_shape(x1: Any, x2: Any, x3: Any) -> Any:
    one_type(x1, x3)
    if x3.size != 1:
        reject(f"x3 {list(x3.shape)} must have one element")
    return alike(x1, x2)


def products(a: Any, b: Any, c: Any, alpha: Any, beta: Any) -> Any:
    return c * beta + alpha * a * b


def products_plus(c: Any, a: Any, b: Any, beta: Any, alpha: Any) -> Any:
    return products(a, b, c, alpha.reshape(-1)[0], beta.reshape(-1)[0])


def products_plus_shape(c: Any, a: Any, b: Any, beta: Any, alpha: Any) -> Any:
    one_type(c, a, b, beta, alpha)
    if beta.size != 1 or alpha.size != 1:
        reject(f"alpha {list(alpha.shape)} and beta {list(beta.shape)} must have one element")
    return rules.broadcast(a, b, c)


def dims_by_format(x: Any, source: str, target: str) -> Any:
    """Where each dimension of one format is in another; negative ones count from the end."""
    return np.array([target.index(letter) for letter in source], x.dtype)[x]


def dims_by_format_shape(x: Any, source: str, target: str) -> Any:
    if not 1 <= len(source) <= 5 or sorted(source) != sorted(target) or len(set(source)) != len(source):
        reject(f"formats {source} and {target} must have the same 1 to 5 letters")
    return tuple(x.shape)


family(define, (("FresnelSin", lambda x: fresnel(x)[0], "scipy.special.fresnel"),
                ("FresnelCos", lambda x: fresnel(x)[1], "scipy.special.fresnel")),
       shape=rules.same, result=rules.first, exact=True, dtypes={"x": _FLOATS, "out": _FLOATS})
define("AcosGradV2", arccos_back, shape=alike, result=rules.first, exact=True, oracle="torch.acos, backward",
       roles={"z": "o"}, dtypes=dict.fromkeys("y dy z".split(), _FLOATS))
define("FusedMulAddN", multiply_add, shape=multiply_add_shape, result=rules.first, exact=True, oracle="torch.add")
define("AddMatMatElements", products, shape=alike, result=rules.first, exact=True, oracle="torch.addcmul",
       dtypes=dict.fromkeys("a b c cOut".split(), _FLOATS))
define("AddMatMatElementsPlus", products_plus, shape=products_plus_shape, result=rules.first, exact=True,
       oracle="torch.addcmul", dtypes=dict.fromkeys("a b c alpha beta cOut".split(), _FLOATS))
define("DataFormatDimMap", dims_by_format, shape=dims_by_format_shape, result=rules.first, exact=True,
       oracle="str.index", roles={"y": "o"}, dtypes={"x": "s32 s64", "y": "s32 s64"})
