"""Interpolation axis by axis, grid sampling and their gradients.

Along one axis each output is a weighted sum of a few inputs: `Taps` holds their indices and weights, both (outputs,
taps). For each tap the indices ascend, so the gradient is a segmented sum.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

import numpy as np

from ...capi import lib
from . import rules
from .conv import channels_first
from .pooling import put_add
from .registry import define
from .rules import reject
from .types import F64

WORKSPACE = 8192
Ints = tuple[int, ...]
_THREE = "f32 f16 bf16"


class Taps(NamedTuple):
    index: Any
    weight: Any  # None: every weight is 1


def ratio(n: int, m: int, scale: float, align: bool, dtype: Any) -> Any:
    """How far apart outputs are, in inputs; `scale` counts where it is positive."""
    if align:
        return dtype.type((n - 1) / (m - 1) if m > 1 else 0)
    return dtype.type(1 / scale if scale > 0 else n / m)


def nearest(n: int, m: int, scale: float, align: bool, dtype: Any, shift: float = 0.0) -> Taps:
    at = np.floor((np.arange(m, dtype=dtype) + dtype.type(shift)) * ratio(n, m, scale, False, dtype))
    return Taps(np.minimum(at.astype(np.int64), n - 1)[:, None], None)


def nearest_exact(n: int, m: int, scale: float, align: bool, dtype: Any) -> Taps:
    return nearest(n, m, scale, align, dtype, 0.5)


def _centres(n: int, m: int, scale: float, align: bool, dtype: Any) -> Any:
    step, i = ratio(n, m, scale, align, dtype), np.arange(m, dtype=dtype)
    return i * step if align else (i + dtype.type(0.5)) * step - dtype.type(0.5)


def linear(n: int, m: int, scale: float, align: bool, dtype: Any) -> Taps:
    at = np.maximum(_centres(n, m, scale, align, dtype), 0)
    low = np.minimum(at.astype(np.int64), n - 1)
    high = np.clip(at - low, 0, 1)
    return Taps(np.stack((low, np.minimum(low + 1, n - 1)), 1), np.stack((1 - high, high), 1))


def cubic_weight(d: Any, a: float) -> Any:
    """The weight of an input `d` away."""
    d = np.abs(d)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, d.dtype.type(0)))


def cubic(n: int, m: int, scale: float, align: bool, dtype: Any) -> Taps:
    at = _centres(n, m, scale, align, dtype)
    low = np.floor(at).astype(np.int64)
    places = low[:, None] + np.arange(-1, 3)
    return Taps(np.clip(places, 0, n - 1), cubic_weight((at[:, None] - places).astype(dtype), -0.75))


def antialiased(kernel: Callable[[Any], Any], reach: float) -> Callable[..., Taps]:
    """Where it shrinks, the kernel is stretched so that every input counts."""
    def taps(n: int, m: int, scale: float, align: bool, dtype: Any) -> Taps:
        step = float(ratio(n, m, scale, align, dtype))
        stretch = max(step, 1.0)
        centre = step * (np.arange(m) + 0.5)
        first = np.maximum((centre - reach * stretch + 0.5).astype(np.int64), 0)
        last = np.minimum((centre + reach * stretch + 0.5).astype(np.int64), n)
        places = first[:, None] + np.arange(max(int((last - first).max()), 1))
        weight = np.where(places < last[:, None], kernel((places - centre[:, None] + 0.5) / stretch), 0)
        return Taps(np.minimum(places, n - 1), (weight / weight.sum(axis=1, keepdims=True)).astype(dtype))

    return taps


linear_aa = antialiased(lambda d: np.maximum(1 - np.abs(d), 0), 1.0)
cubic_aa = antialiased(lambda d: cubic_weight(d, -0.5), 2.0)


def _along(vector: Any, axis: int, ndim: int) -> Any:
    return vector.reshape(*(1,) * axis, -1, *(1,) * (ndim - axis - 1))


def gather(x: Any, taps: Taps, axis: int) -> Any:
    if taps.weight is None:
        return np.take(x, taps.index[:, 0], axis)
    total: Any = 0
    for i in range(taps.index.shape[1]):
        part = np.take(x, taps.index[:, i], axis)
        part *= _along(taps.weight[:, i], axis, x.ndim)
        total = part if i == 0 else np.add(total, part, out=total)
    return total


def scatter(dy: Any, taps: Taps, axis: int, n: int) -> Any:
    """The gradient of `gather` by its n inputs along the axis."""
    out = np.zeros((*dy.shape[:axis], n, *dy.shape[axis + 1:]), dy.dtype)
    for i in range(taps.index.shape[1]):
        where, starts = np.unique(taps.index[:, i], return_index=True)
        values = dy if taps.weight is None else dy * _along(taps.weight[:, i], axis, dy.ndim)
        out[(slice(None),) * axis + (where,)] += np.add.reduceat(values, starts, axis=axis)
    return out


def _type(x: Any) -> Any:
    return np.dtype(np.float64 if x.dtype == F64 else np.float32)


def define_pair(name: str, back: str, k: int, make: Callable[..., Taps], oracle: str, align: bool, scales: bool = True,
                ) -> None:
    """An interpolation of k dimensions and its gradient (its names; none for ""). `align`: it has alignCorners."""
    def options(rest: tuple[Any, ...]) -> tuple[bool, Any]:
        return bool(rest[0]) if align else False, rest[int(align):] if scales else (0,) * k

    def forward(x: Any, size: Ints, *rest: Any) -> Any:
        aligned, factors = options(rest)
        for a in range(k):
            axis = x.ndim - k + a
            if make not in (nearest, nearest_exact) or x.shape[axis] != size[a] or factors[a] > 0:
                x = gather(x, make(x.shape[axis], size[a], factors[a], aligned, _type(x)), axis)
        return x

    def backward(dy: Any, size: Ints, whole: Ints, *rest: Any) -> Any:
        aligned, factors = bool(rest[0]) if align else False, rest[int(align):]
        for a in range(k):
            axis = dy.ndim - k + a
            taps = make(whole[2 + a], size[a], factors[a], aligned, _type(dy))
            dy = scatter(dy, taps, axis, whole[2 + a])
        return dy

    def shape(x: Any, size: Ints, *_: Any) -> Any:
        channels_first(x)
        if x.ndim != k + 2 or len(size) != k or min(size) < 1 or 0 in x.shape[1:]:
            reject(f"self of shape {list(x.shape)} must have {k + 2} dimensions, outputSize {list(size)} {k} numbers")
        return (*x.shape[:2], *size)

    def back_shape(dy: Any, size: Ints, whole: Ints, *_: Any) -> Any:
        channels_first(dy)
        if len(whole) != k + 2 or len(size) != k or min(*size, *whole[2:]) < 1 \
                or tuple(dy.shape) != (*whole[:2], *size):
            reject(f"gradOut {list(dy.shape)}, outputSize {list(size)} and inputSize {list(whole)} do not fit")
        return tuple(whole)

    if name:
        define(name, forward, shape=shape, result=rules.first, exact=True, rows=lambda *_: 2, workspace=WORKSPACE,
               oracle=oracle)
    if back:
        define(back, backward, shape=back_shape, result=rules.first, rows=lambda *_: 2, workspace=WORKSPACE,
               oracle=f"{oracle}, backward")


def resize(x: Any, scales: Any, mode: str, outs: Any) -> Any:
    """Rows and columns, wherever the format has them; `scales` said the sizes, which count."""
    first = 1 if outs[0].format == lib.ACL_FORMAT_NHWC else 2
    for axis in (first, first + 1):
        make = nearest if mode == "nearest" else linear
        x = gather(x, make(x.shape[axis], outs[0].shape[axis], 0, False, _type(x)), axis)
    return x


def resize_shape(x: Any, scales: Any, mode: str) -> Any:
    if mode not in ("nearest", "bilinear") or x.ndim != 4 or 0 in x.shape or len(scales) != 4 or min(scales) <= 0:
        reject(f'mode "{mode}" must be "nearest" or "bilinear", self {list(x.shape)} have 4 dimensions, none of size '
               f"0, scales {list(scales)} be 4 numbers above 0")
    fixed = (0, 3) if getattr(x, "format", None) == lib.ACL_FORMAT_NHWC else (0, 1)
    if any(scales[a] != 1 for a in fixed):
        reject(f"scales {list(scales)} must be 1 for N and C")
    return tuple(int(np.floor(np.float32(n) * np.float32(s))) for n, s in zip(x.shape, scales))


# ---- grids

ZEROS, BORDER, REFLECTION = 0, 1, 2


def reflect(at: Any, n: int, align: bool) -> tuple[Any, Any]:
    """Coordinates reflected at the borders, and the sign of the slope."""
    low, span = (0.0, n - 1.0) if align else (-0.5, float(n))
    if span <= 0:
        return np.zeros_like(at), np.zeros_like(at)
    away = np.abs(at - low)
    flips, extra = np.floor(away / span), np.fmod(away, span)
    odd = flips % 2 == 1
    return np.where(odd, span - extra, extra) + low, np.where(odd, -1, 1) * np.where(at < low, -1, 1)


def axis_taps(at: Any, n: int, mode: int, padding: int, align: bool) -> list[tuple[Any, Any, Any]]:
    """(index, weight, slope of the weight) for each tap along one axis; `at` is in [-1, 1]."""
    at = ((at + 1) * (n - 1) if align else (at + 1) * n - 1) / 2
    unit = ((n - 1) if align else n) / 2 * np.ones_like(at)
    if mode != 2 and padding != ZEROS:
        if padding == REFLECTION:
            at, sign = reflect(at, n, align)
            unit = unit * sign
        unit = np.where((at <= 0) | (at >= n - 1), 0, unit).astype(at.dtype)
        at = np.clip(at, 0, n - 1)
    at = np.nan_to_num(at, nan=-1, posinf=n + 9, neginf=-9)
    if mode == 1:
        found = [(np.rint(at), np.ones_like(at), np.zeros_like(at))]
    elif mode == 0:
        low = np.floor(at)
        found = [(low, low + 1 - at, -unit), (low + 1, at - low, unit)]
    else:
        low = np.floor(at)
        found = []
        for i in range(-1, 3):
            d = at - (low + i)
            found.append((low + i, cubic_weight(d, -0.75), cubic_slope(d, -0.75) * unit))
    taps = []
    for index, weight, slope in found:
        if mode == 2 and padding == REFLECTION:
            index = reflect(index, n, align)[0]
        inside = (index >= 0) & (index <= n - 1) if padding == ZEROS else True
        where = np.clip(np.rint(index), 0, n - 1).astype(np.int64)
        taps.append((where, np.where(inside, weight, 0).astype(at.dtype), np.where(inside, slope, 0).astype(at.dtype)))
    return taps


def cubic_slope(d: Any, a: float) -> Any:
    size = np.abs(d)
    near = (3 * (a + 2) * size - 2 * (a + 3)) * size
    far = ((3 * size - 10) * size + 8) * a
    return np.sign(d) * np.where(size <= 1, near, np.where(size < 2, far, 0))


def grid_taps(x: Any, grid: Any, mode: int, padding: int, align: bool) -> Any:
    """For each combination of taps: the flat indices and, by axis, (weight, slope); all (N, 1, places)."""
    k = x.ndim - 2
    flat = grid.reshape(grid.shape[0], 1, -1, k)
    axes = [axis_taps(flat[..., k - 1 - a], x.shape[2 + a], mode, padding, align) for a in range(k)]
    for combination in np.ndindex(*(len(a) for a in axes)):
        chosen = [a[i] for a, i in zip(axes, combination)]
        index: Any = 0
        for (where, _, _), n in zip(chosen, x.shape[2:]):
            index = index * n + where
        yield index, [(w, s) for _, w, s in chosen]


def _product(values: Any) -> Any:
    found: Any = 1
    for v in values:
        found = found * v
    return found


def grid_sample(x: Any, grid: Any, mode: int, padding: int, align: bool) -> Any:
    flat = x.reshape(*x.shape[:2], -1)
    total: Any = 0
    for index, parts in grid_taps(x, grid, mode, padding, align):
        weight = _product(w for w, _ in parts)
        values = np.take_along_axis(flat, index, 2)
        total = total + np.where(weight != 0, values * weight, values.dtype.type(0))
    return total.reshape(*x.shape[:2], *grid.shape[1:-1])


def grid_backward(dy: Any, x: Any, grid: Any, mode: int, padding: int, align: bool, mask: Any) -> Any:
    k, plane = x.ndim - 2, int(np.prod(x.shape[2:]))
    flat, dy = x.reshape(*x.shape[:2], -1), dy.reshape(*dy.shape[:2], -1)
    dx: Any = 0
    slopes: list[Any] = [0] * k
    for index, parts in grid_taps(x, grid, mode, padding, align):
        if mask[0]:
            weight = _product(w for w, _ in parts)
            dx = dx + put_add(dy * weight, np.broadcast_to(index, dy.shape), (plane,))
        if mask[1]:
            shared = (np.take_along_axis(flat, index, 2) * dy).sum(axis=1, keepdims=True)
            for a in range(k):
                slopes[a] = slopes[a] + shared * _product(s if i == a else w for i, (w, s) in enumerate(parts))
    found = np.stack(slopes[::-1], -1).reshape(grid.shape) if mask[1] else None
    return dx.reshape(x.shape) if mask[0] else None, found


def grid_shape(k: int) -> Callable[..., Any]:
    def shape(x: Any, grid: Any, mode: int, padding: int, align: bool) -> Any:
        channels_first(x)
        if x.ndim != k + 2 or grid.ndim != k + 2 or grid.shape[-1] != k or grid.shape[0] != x.shape[0] \
                or 0 in x.shape[1:]:
            reject(f"input {list(x.shape)} must have {k + 2} dimensions, grid {list(grid.shape)} as many and {k} last")
        if not 0 <= mode <= (2 if k == 2 else 1) or not 0 <= padding <= 2:
            reject(f"interpolationMode {mode} or paddingMode {padding} is outside of its range")
        return (*x.shape[:2], *grid.shape[1:-1])

    return shape


def grid_back_shape(k: int) -> Callable[..., Any]:
    def shape(dy: Any, x: Any, grid: Any, mode: int, padding: int, align: bool, mask: Any) -> Any:
        if tuple(dy.shape) != grid_shape(k)(x, grid, mode, padding, align) or len(mask) != 2:
            reject(f"gradOutput of shape {list(dy.shape)} does not fit, or outputMask has not 2 values")
        return tuple(x.shape), tuple(grid.shape)

    return shape


def affine_grid(theta: Any, size: Ints, align: bool) -> Any:
    k = len(size) - 2
    ends = [1.0 if align else (n - 1) / n for n in size[2:]]
    lines = [np.linspace(-e, e, n) if n > 1 else np.zeros(1) for e, n in zip(ends, size[2:])]
    axes = np.meshgrid(*lines, indexing="ij")
    base = np.stack((*axes[::-1], np.ones(size[2:])), -1).astype(np.float32)
    return np.matmul(base.reshape(-1, k + 1), theta.transpose(0, 2, 1)).reshape(theta.shape[0], *size[2:], k)


def affine_shape(theta: Any, size: Ints, align: bool) -> Any:
    k = len(size) - 2
    if k not in (2, 3) or tuple(theta.shape) != (size[0], k, k + 1):
        reject(f"theta {list(theta.shape)} must be (N, {k}, {k + 1}) for a size {list(size)} of 4 or 5 numbers")
    return (size[0], *size[2:], k)


_T = "torch.nn.functional.interpolate"
for _k in (1, 2, 3):
    _plain = f"UpsampleNearest{_k}d"
    define_pair(_plain, f"{_plain}Backward", _k, nearest, f"{_T} nearest", False, _k == 3)
    if _k < 3:
        define_pair(f"{_plain}V2", "", _k, nearest, f"{_T} nearest", False)
    define_pair(f"UpsampleNearestExact{_k}d", f"UpsampleNearestExact{_k}dBackward", _k, nearest_exact,
                f"{_T} nearest-exact", False)
define_pair("UpsampleLinear1d", "UpsampleLinear1dBackward", 1, linear, f"{_T} linear", True)
define_pair("UpsampleBilinear2d", "UpsampleBilinear2dBackward UpsampleBilinear2dBackwardV2", 2, linear,
            f"{_T} bilinear", True)
define_pair("UpsampleTrilinear3d", "UpsampleTrilinear3dBackward", 3, linear, f"{_T} trilinear", True)
define_pair("UpsampleBicubic2d", "UpsampleBicubic2dBackward", 2, cubic, f"{_T} bicubic", True)
define_pair("UpsampleBilinear2dAA", "UpsampleBilinear2dAABackward", 2, linear_aa, f"{_T} bilinear, antialiased", True)
define_pair("UpsampleBicubic2dAA", "UpsampleBicubic2dAAGrad", 2, cubic_aa, f"{_T} bicubic, antialiased", True)
for _k in (2, 3):
    define(f"GridSampler{_k}D", grid_sample, shape=grid_shape(_k), result=rules.first, workspace=WORKSPACE,
           oracle="torch.nn.functional.grid_sample")
    define(f"GridSampler{_k}DBackward", grid_backward, shape=grid_back_shape(_k), result=rules.first,
           workspace=WORKSPACE, optional="inputGrad gridGrad", oracle="torch.nn.functional.grid_sample, backward")
define("Resize", resize, shape=resize_shape, result=rules.first, exact=True, workspace=WORKSPACE,
       oracle="torch.nn.functional.interpolate, nearest or bilinear")
define("AffineGrid", affine_grid, shape=affine_shape, result=rules.first, dtypes={"out": _THREE},
       oracle="torch.nn.functional.affine_grid")
