"""Gated linear units: one half of a tensor, activated, times the other half."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules, special
from .registry import define
from .unary import gated, sigmoid

ROOT = 0.7978845608028654  # sqrt(2 / pi)


def halves(x: Any, dim: int) -> Any:
    return np.split(x, 2, axis=dim)


def _bend(x: Any) -> Any:
    """tanh(sqrt(2 / pi) (x + 0.044715 x^3))"""
    y = np.asarray(np.square(x))
    y *= np.float32(ROOT * 0.044715)
    y += np.float32(ROOT)
    y *= x
    return np.tanh(y, out=y)


def _two_phi(x: Any, tanh: bool) -> Any:
    """Twice the normal distribution's function of x, exactly or by tanh."""
    y = np.asarray(_bend(x) if tanh else special.erf(x * np.float32(0.5 ** 0.5)))
    y += 1
    return y


def gelu(x: Any, tanh: bool, out: Any = None) -> Any:
    y = _two_phi(x, tanh)
    y *= x
    return np.multiply(y, np.float32(0.5), out=y if out is None else out)


def gelu_slope(x: Any, tanh: bool) -> Any:
    """The derivative of gelu."""
    if tanh:
        t = _bend(x)
        inner = np.float32(ROOT) * (1 + np.float32(3 * 0.044715) * x * x)
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner
    density = np.exp(-0.5 * x * x) * np.float32(0.3989422804014327)
    return 0.5 * _two_phi(x, tanh) + x * density


def silu_slope(x: Any) -> Any:
    s = sigmoid(x)
    slope = 1 - s
    slope *= x
    slope += 1
    slope *= s
    return slope


def glu(x: Any, dim: int) -> Any:
    return gated(*halves(x, dim))


def glu_grad(dy: Any, x: Any, dim: int) -> Any:
    a, b = halves(x, dim)
    s = sigmoid(b)
    return np.concatenate((dy * s, dy * a * s * (1 - s)), axis=dim)


def swiglu(x: Any, dim: int) -> Any:
    a, b = halves(x, dim)
    y = gated(a, a)
    y *= b
    return y


def swiglu_grad(dy: Any, x: Any, dim: int) -> Any:
    a, b = halves(x, dim)
    s = sigmoid(a)
    passed = s * a
    slope = s + passed * (1 - s)
    return np.concatenate((dy * slope * b, dy * passed), axis=dim)


def geglu(x: Any, dim: int, approximate: int, left: bool = False) -> Any:
    """(activated times the other half, activated)"""
    a, b = halves(x, dim)
    if left:
        a, b = b, a
    active = gelu(b, approximate == 1)
    return a * active, active


def geglu_grad(dy: Any, x: Any, active: Any, dim: int, approximate: int, left: bool = False) -> Any:
    a, b = halves(x, dim)
    if left:
        a, b = b, a
    passed, activated = dy * active, dy * a * gelu_slope(b, approximate == 1)
    return np.concatenate((activated, passed) if left else (passed, activated), axis=dim)


# ---- rules

def half_shape(x: Any, dim: int, *_: Any) -> Any:
    d = rules.axis(dim, x.ndim)
    if not x.ndim or x.shape[d] % 2:
        rules.reject(f"dimension {dim} of self has {x.shape[d] if x.ndim else 0} elements, not an even number")
    return (*x.shape[:d], x.shape[d] // 2, *x.shape[d + 1:])


def half_shapes(x: Any, dim: int, *_: Any) -> Any:
    shape = half_shape(x, dim)
    return shape, shape


def whole(dy: Any, x: Any, *_: Any) -> Any:
    return tuple(x.shape)


define("Glu", glu, shape=half_shape, result=rules.first, rows=rules.before(1), oracle="torch.nn.functional.glu")
define("GluBackward", glu_grad, shape=whole, result=rules.first, roles={"gradOut": "i"}, rows=rules.before(2),
       along=(0, 1), oracle="torch.nn.functional.glu, backward")
define("SwiGlu", swiglu, shape=half_shape, result=rules.first, rows=rules.before(1), oracle="torch silu of a half")
define("SwiGluGrad", swiglu_grad, shape=whole, result=rules.first, rows=rules.before(2), along=(0, 1),
       oracle="torch silu of a half, backward")
define("GeGlu GeGluV3", geglu, shape=half_shapes, result=rules.first, rows=rules.before(1),
       oracle="torch gelu of a half")
define("GeGluBackward GeGluV3Backward", geglu_grad, shape=whole, result=rules.first, rows=rules.before(3),
       along=(0, 1, 2), oracle="torch gelu of a half, backward")
