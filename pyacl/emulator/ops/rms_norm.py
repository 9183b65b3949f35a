"""RmsNorm and what is fused with it: float32 inside, the last dimensions normalised as gamma has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .registry import define
from .sums import mean, total
from .types import F32, HALF, cast


def normalise(x: Any, gamma: Any, epsilon: float) -> tuple[Any, Any]:
    """(x / rms(x) * gamma, 1 / rms(x)), both float32."""
    x = cast(x, F32)
    rstd = inverse_root(x, tuple(range(x.ndim - gamma.ndim, x.ndim)), epsilon)
    y = x * rstd
    y *= cast(gamma, F32)
    return y, rstd


def inverse_root(x: Any, axes: tuple[int, ...], epsilon: float) -> Any:
    """1 / sqrt(mean(x^2) + epsilon)"""
    return 1 / np.sqrt(mean(np.square(x), axes, True) + np.float32(epsilon))


def rounded(x: Any, like: Any) -> Any:
    """A float32 result as it comes back from memory of `like`'s type."""
    return cast(cast(x, like.dtype), F32) if like.dtype in HALF else x


def rms_norm(x: Any, gamma: Any, epsilon: float) -> Any:
    return normalise(x, gamma, epsilon)


def gemma(x: Any, gamma: Any, epsilon: float) -> Any:
    return normalise(x, 1 + cast(gamma, F32), epsilon)


def _sum(x1: Any, x2: Any) -> Any:
    """The sum goes through memory (xOut) before it is normalised."""
    return rounded(cast(x1, F32) + cast(x2, F32), x1)


def add_rms_norm(x1: Any, x2: Any, gamma: Any, epsilon: float) -> Any:
    x = _sum(x1, x2)
    y, rstd = normalise(x, gamma, epsilon)
    return y, rstd, x


def add_rms_norm_inplace(x1: Any, x2: Any, gamma: Any, epsilon: float) -> Any:
    y, rstd, x = add_rms_norm(x1, x2, gamma, epsilon)
    return y, x, rstd


def add_rms_norm_cast(x1: Any, x2: Any, gamma: Any, epsilon: float) -> Any:
    x = cast(x1, F32) + cast(x2, F32)
    y, rstd = normalise(x, gamma, epsilon)
    y = rounded(y, x1)
    return y, y, rstd, x


def rms_norm_grad(dy: Any, x: Any, rstd: Any, gamma: Any) -> Any:
    normal = tuple(range(x.ndim - gamma.ndim, x.ndim))
    rest = tuple(range(x.ndim - gamma.ndim))
    rstd = rstd.reshape(rstd.shape + (1,) * (x.ndim - rstd.ndim))
    scaled = x * rstd
    weighted = dy * gamma
    dx = (weighted - scaled * mean(weighted * scaled, normal, True)) * rstd
    return dx, total(dy * scaled, rest, dtype=np.float32)


def layer_norm(x: Any, gamma: Any, beta: Any, epsilon: float, axes: tuple[int, ...]) -> tuple[Any, Any, Any]:
    """(normalised, mean, rstd), all float32; gamma and beta may be None."""
    average = mean(x, axes, True)
    y = x - average
    rstd = inverse_root(y, axes, epsilon)
    y *= rstd
    if gamma is not None:
        y *= gamma
    if beta is not None:
        y += beta
    return y, average, rstd


def add_layer_norm(x1: Any, x2: Any, gamma: Any, beta: Any, bias: Any, epsilon: float, give_sum: bool) -> Any:
    x = x1 + x2 if bias is None else x1 + x2 + bias
    y, average, rstd = layer_norm(x, gamma, beta, epsilon, (x.ndim - 1,))
    return y, average, rstd, x if give_sum else None


def deep_norm(x: Any, gx: Any, beta: Any, gamma: Any, alpha: float, epsilon: float) -> Any:
    mixed = x * np.float32(alpha) + gx
    y, average, rstd = layer_norm(mixed, gamma, beta, epsilon, tuple(range(x.ndim - gamma.ndim, x.ndim)))
    return average, rstd, y


# ---- rules

def rstd_shape(x: Any, gamma: Any) -> Any:
    if gamma.ndim > x.ndim or tuple(x.shape[x.ndim - gamma.ndim:]) != tuple(gamma.shape):
        rules.reject(f"gamma has the shape {list(gamma.shape)}; it must be the last dimensions of {list(x.shape)}")
    keep = x.ndim - gamma.ndim
    return (*x.shape[:keep], *(1,) * gamma.ndim)


def check_types(x: Any, gamma: Any, *_: Any) -> None:
    if gamma.dtype not in (x.dtype, F32):
        rules.reject(f"gamma has the type {gamma.dtype}; it takes {x.dtype} as x, or float32")


def _two(x: Any, gamma: Any, *_: Any) -> Any:
    return tuple(x.shape), rstd_shape(x, gamma)


def _rows(x: Any, gamma: Any, *_: Any) -> int:
    return int(x.ndim - gamma.ndim)


def _rows_of_two(x1: Any, x2: Any, gamma: Any, *_: Any) -> int:
    return _rows(x1, gamma)


define("RmsNorm", rms_norm, shape=_two, result=lambda x, *_: (x.dtype, F32), rows=_rows, check=check_types,
       workspace=1024, oracle="torch.nn.functional.rms_norm")
define("GemmaRmsNorm", gemma, shape=_two, result=lambda x, *_: (x.dtype, F32), rows=_rows,
       workspace=1024, oracle="torch.nn.functional.rms_norm")
define("AddRmsNorm", add_rms_norm, raw=True, rows=_rows_of_two, along=(0, 1),
       workspace=1024, shape=lambda a, b, g, *_: (tuple(a.shape), rstd_shape(a, g), tuple(a.shape)),
       result=lambda a, *_: (a.dtype, F32, a.dtype), oracle="torch.nn.functional.rms_norm")
define("InplaceAddRmsNorm", add_rms_norm_inplace, raw=True, rows=_rows_of_two, along=(0, 1),
       workspace=1024, shape=lambda a, b, g, *_: (tuple(a.shape), tuple(a.shape), rstd_shape(a, g)),
       result=lambda a, *_: (a.dtype, a.dtype, F32), oracle="torch.nn.functional.rms_norm")
define("AddRmsNormCast", add_rms_norm_cast, raw=True, rows=_rows_of_two, along=(0, 1),
       workspace=1024, shape=lambda a, b, g, *_: (tuple(a.shape), tuple(a.shape), rstd_shape(a, g), tuple(a.shape)),
       result=lambda a, *_: (F32, a.dtype, F32, a.dtype), oracle="torch.nn.functional.rms_norm")
define("RmsNormGrad", rms_norm_grad, workspace=1024, shape=lambda dy, x, r, g: (tuple(x.shape), tuple(g.shape)),
       result=lambda dy, x, r, g: (x.dtype, F32), oracle="torch.nn.functional.rms_norm, backward")
define("AddLayerNorm", add_layer_norm, optional="xOut", oracle="torch.nn.functional.layer_norm", along=(0, 1),
       rows=lambda x1, x2, gamma, beta, bias, *_: x1.ndim - 1 if bias is None or bias.ndim == 1 else 0)
define("DeepNorm", deep_norm, rows=lambda x, gx, beta, gamma, *_: _rows(x, gamma), along=(0, 1),
       oracle="torch.nn.functional.layer_norm")
