"""Pooling over 1 to 3 last dimensions: fixed windows, adaptive ones, their gradients, unpooling.

Windows are gone through tap by tap: one vectorised step for each element of the kernel.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import numpy as np

from . import rules
from .conv import Ints, channels_first, scatter, taps
from .registry import define, family
from .rules import reject
from .sums import total
from .types import S8, S64

WORKSPACE = 4096
_BLOCK = 1 << 15  # results at once, so that they stay in the cache


class Windows:
    """Where the windows of a pooling lie: `kernel`, `stride`, `pads`, `dilation` and the number of windows, by axis."""

    def __init__(self, size: Ints, kernel: Ints, stride: Ints, padding: Any, dilation: Ints = (),
                 ceil: bool = False) -> None:
        k = len(size)
        self.size = tuple(size)
        self.kernel = _numbers("kernelSize", kernel, k, 1)
        self.stride = _numbers("stride", stride, k, 1, self.kernel)
        self.dilation = _numbers("dilation", dilation, k, 1, (1,) * k)
        pads = padding if padding and isinstance(padding[0], tuple) else \
            tuple((p, p) for p in _numbers("padding", padding, k, 0, (0,) * k))
        counts, found = [], []
        for n, w, s, d, (a, b) in zip(size, self.kernel, self.stride, self.dilation, pads):
            count = (n + a + b - d * (w - 1) - 1 + (s - 1 if ceil else 0)) // s + 1
            if ceil and (count - 1) * s >= n + a:
                count -= 1  # a window must start inside of the input or of its left padding
            counts.append(count)
            found.append((a, max(b, (count - 1) * s + d * (w - 1) + 1 - n - a)))
        self.counts, self.pads, self.asked = tuple(counts), tuple(found), pads
        if min(counts) < 1:
            reject(f"no window of {list(self.kernel)} fits into {list(size)}")

    def padded(self, x: Any, value: Any) -> Any:
        if not any(map(any, self.pads)):
            return x
        return np.pad(x, ((0, 0),) * (x.ndim - len(self.pads)) + self.pads, constant_values=value)

    def taps(self) -> Any:
        return taps(self.kernel, self.stride, self.dilation, self.counts)

    def starts(self, axis: int) -> Any:
        return np.arange(self.counts[axis]) * self.stride[axis] - self.asked[axis][0]


def _numbers(what: str, values: Any, k: int, low: int, default: Ints = ()) -> Ints:
    """One number for each axis; one for all and none (the default) will do."""
    values = tuple(values or ()) or default
    if len(values) not in (1, k) or min(values) < low:
        reject(f"{what} {list(values)} must be 1 or {k} numbers of {low} or more")
    return tuple(values) if len(values) == k else tuple(values) * k


def outer(vectors: Any) -> Any:
    """The products of numbers, one from each vector."""
    found: Any = 1
    for v in vectors:
        found = np.multiply.outer(found, v)
    return found


# ---- maxima

def lowest(dtype: Any) -> Any:
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def max_pool(x: Any, w: Windows) -> Any:
    whole = w.padded(x, lowest(x.dtype))
    best: Any = None
    for _, places in w.taps():
        value = whole[(..., *places)]
        best = value.copy() if best is None else np.maximum(best, value, out=best)
    return best


def max_with_index(dtype: Any, steps: Any, first: Any, missing: bool) -> Any:
    """Maxima over `steps` of (values, their flat indices) and the indices; `first` are those of the first elements.

    The first of equal ones counts, and the last NaN, if any are `missing`.
    """
    best: Any = None
    for value, index in steps:
        if best is None:
            best = np.full(value.shape, lowest(dtype), dtype)
            found = np.broadcast_to(first, value.shape).copy()
        better = value > best
        if missing:
            better |= np.isnan(value)
        np.copyto(best, value, where=better)
        np.copyto(found, index, where=better)
    return best, found


def flat(places: Any, size: Ints) -> Any:
    """The flat index of each combination of places, one vector for each axis."""
    found: Any = 0
    for p, n in zip(places, size):
        found = np.add.outer(found * n, p)
    return found


def max_pool_indices(x: Any, w: Windows) -> Any:
    k = len(w.size)
    valid = [w.starts(a) for a in range(k)]
    first = flat([s + -(-np.maximum(-s, 0) // d) * d for s, d in zip(valid, w.dilation)], w.size)
    places = [(at, flat([w.starts(a) + tap[a] * w.dilation[a] for a in range(k)], w.size)) for tap, at in w.taps()]
    whole = w.padded(x.reshape(-1, *w.size), lowest(x.dtype))
    values = np.empty((len(whole), *w.counts), x.dtype)
    index = np.empty(values.shape, np.int64)
    missing = x.dtype.kind == "f" and bool(np.isnan(x).any())
    step = max(1, _BLOCK // max(first.size, 1))
    for i in range(0, len(whole), step):
        part = whole[i:i + step]
        values[i:i + step], index[i:i + step] = max_with_index(
            x.dtype, ((part[(..., *at)], where) for at, where in places), first, missing)
    shape = (*x.shape[:x.ndim - k], *w.counts)
    return values.reshape(shape), index.reshape(shape)


def max_pool_mask(x: Any, w: Windows) -> Any:
    """For each tap of the kernel a row with a 1 where the maximum is; the rows' length is the documented one."""
    values, index = max_pool_indices(x, w)
    k, places = len(w.size), int(np.prod(w.counts))
    mask = np.zeros((*x.shape[:-k], int(np.prod(w.kernel)), mask_length(places)), S8)
    for row, (tap, _) in enumerate(w.taps()):
        here = flat([w.starts(a) + tap[a] for a in range(k)], w.size)
        mask[..., row, :places] = (index == here).reshape(*x.shape[:-k], places)
    return values, mask


def mask_length(places: int) -> int:
    return (-(-places // 16) + 1) * 32


def put_add(values: Any, index: Any, size: Ints) -> Any:
    """Sums of values at flat indices into the last dimensions."""
    k, plane = len(size), int(np.prod(size))
    lead = values.shape[:values.ndim - k]
    planes = int(np.prod(lead, dtype=np.int64))
    where = index.reshape(planes, -1).astype(np.int64) + np.arange(planes)[:, None] * plane
    total = np.bincount(where.reshape(-1), values.reshape(-1).astype(np.float64), planes * plane)
    return total.reshape(*lead, *size).astype(values.dtype)


def mask_backward(dy: Any, mask: Any, w: Windows) -> Any:
    k, places = len(w.size), int(np.prod(w.counts))
    chosen = mask[..., :places].reshape(*dy.shape[:-k], *w.kernel, *w.counts)
    values = np.where(chosen != 0, dy.reshape(*dy.shape[:-k], *(1,) * k, *w.counts), dy.dtype.type(0))
    return scatter(values, w.size, w.kernel, w.stride, w.dilation, w.pads)


# ---- means

def avg_divisor(w: Windows, include: bool, divisor: int) -> Any:
    if divisor:
        return np.float32(divisor)
    lengths = []
    for a, n in enumerate(w.size):
        start = w.starts(a)
        end = np.minimum(start + w.kernel[a], n + w.asked[a][1])
        lengths.append(end - start if include else np.minimum(end, n) - np.maximum(start, 0))
    return outer(lengths).astype(np.float32)


def avg_pool(x: Any, w: Windows, include: bool, divisor: int) -> Any:
    whole = w.padded(x, 0)
    parts = (whole[(..., *places)] for _, places in w.taps())
    found = next(parts).copy()
    for part in parts:
        found += part
    found /= avg_divisor(w, include, divisor)
    return found


def avg_pool_backward(dy: Any, w: Windows, include: bool, divisor: int) -> Any:
    k = len(w.size)
    share = (dy / avg_divisor(w, include, divisor)).reshape(*dy.shape[:-k], *(1,) * k, *w.counts)
    share = np.broadcast_to(share, (*dy.shape[:-k], *w.kernel, *w.counts))
    return scatter(share, w.size, w.kernel, w.stride, w.dilation, w.pads)


# ---- adaptive windows

def spans(n: int, m: int) -> tuple[Any, Any]:
    """Where the m windows over n elements begin and end."""
    i = np.arange(m)
    return i * n // m, -(-(i + 1) * n // m)


def span_sums(x: Any, axis: int, m: int) -> Any:
    n = x.shape[axis]
    if n % m == 0:  # windows of one length, side by side
        return total(x.reshape(*x.shape[:axis], m, n // m, *x.shape[axis + 1:]), (axis + 1,))
    start, end = spans(n, m)
    pad = [(0, 0)] * x.ndim
    pad[axis] = (0, 1)
    pairs = np.stack((start, end), -1).reshape(-1)
    return np.add.reduceat(np.pad(x, pad), pairs, axis=axis)[(slice(None),) * axis + (slice(None, None, 2),)]


def span_lengths(size: Ints, counts: Ints) -> Any:
    return outer([np.subtract(*spans(n, m)[::-1]) for n, m in zip(size, counts)]).astype(np.float32)


def adaptive_avg(x: Any, counts: Ints) -> Any:
    k = len(counts)
    size = x.shape[x.ndim - k:]
    found = x
    for a in reversed(range(k)):
        found = span_sums(found, x.ndim - k + a, counts[a])
    return found / span_lengths(size, counts)


def adaptive_avg_backward(dy: Any, x: Any, k: int) -> Any:
    size = x.shape[x.ndim - k:]
    found = dy / span_lengths(size, dy.shape[dy.ndim - k:])
    for a, n in enumerate(size):  # an element belongs to a run of windows
        found = span_sums(found, x.ndim - k + a, n)
    return found


def adaptive_max(x: Any, counts: Ints) -> Any:
    k = len(counts)
    size = x.shape[x.ndim - k:]
    places = []
    for n, m in zip(size, counts):
        start, end = spans(n, m)
        places.append(np.minimum(start[:, None] + np.arange(int((end - start).max())), end[:, None] - 1))

    def steps() -> Any:
        for tap in np.ndindex(*(p.shape[1] for p in places)):
            at = [p[:, i] for p, i in zip(places, tap)]
            yield x[(..., *np.ix_(*at))], flat(at, size)

    missing = x.dtype.kind == "f" and bool(np.isnan(x).any())
    return max_with_index(x.dtype, steps(), flat([p[:, 0] for p in places], size), missing)


# ---- unpooling

def unpool(x: Any, index: Any, size: Ints, *_: Any) -> Any:
    k = len(size)
    out = np.zeros((*x.shape[:-k], int(np.prod(size))), x.dtype)
    np.put_along_axis(out, index.reshape(*x.shape[:-k], -1).astype(np.int64), x.reshape(*x.shape[:-k], -1), -1)
    return out.reshape(*x.shape[:-k], *size)


def unpool_backward(dy: Any, x: Any, index: Any, size: Ints, *_: Any) -> Any:
    k = len(size)
    where = index.reshape(*x.shape[:-k], -1).astype(np.int64)
    return np.take_along_axis(dy.reshape(*dy.shape[:-k], -1), where, -1).reshape(x.shape)


# ---- operators' shapes

def check_dims(x: Any, k: int) -> None:
    channels_first(x)
    if x.ndim not in (k + 1, k + 2) or 0 in x.shape[x.ndim - k - 1:]:
        reject(f"self of shape {list(x.shape)}: it takes {k + 1} or {k + 2} dimensions, none but the first of size 0")


def pool_windows(k: int, x: Any, kernel: Ints, stride: Ints, padding: Any, dilation: Ints = (), ceil: Any = False,
                 half: bool = True) -> Windows:
    check_dims(x, k)
    w = Windows(x.shape[x.ndim - k:], kernel, stride, padding, dilation, bool(ceil))
    if half and any(2 * a > n for (a, _), n in zip(w.asked, w.kernel)):
        reject(f"padding {list(padding)} is above half of kernelSize {list(w.kernel)}")
    return w


def _same(what: str, tensor: Any, shape: Any) -> None:
    if tuple(tensor.shape) != tuple(shape):
        reject(f"{what} of shape {list(tensor.shape)} must have {list(shape)}")


def define_max(names: str, k: int, oracle: str) -> None:
    """Maxima with indices, and the gradient."""
    def shape(x: Any, *geometry: Any) -> Any:
        found = (*x.shape[:max(x.ndim - k, 0)], *pool_windows(k, x, *geometry).counts)
        return found, found

    def back(dy: Any, x: Any, index: Any, *geometry: Any) -> Any:
        found = shape(x, *geometry)[0]
        _same("gradOutput", dy, found)
        _same("indices", index, found)
        return tuple(x.shape)

    define(names, lambda x, *geometry: max_pool_indices(x, pool_windows(k, x, *geometry)), shape=shape,
           result=lambda x, *_: (x.dtype, None), workspace=WORKSPACE, oracle=oracle)
    define(" ".join(n + "Backward" for n in names.split()),
           lambda dy, x, index, *_: put_add(dy, index, x.shape[x.ndim - k:]), shape=back, result=rules.first,
           workspace=WORKSPACE, oracle=f"{oracle}, backward")


def mask_shapes(x: Any, *geometry: Any) -> Any:
    w = pool_windows(2, x, *geometry)
    if set(w.dilation) != {1}:
        reject(f"dilation {list(w.dilation)} must be 1")
    lead = tuple(x.shape[:-2])
    return (*lead, *w.counts), (*lead, int(np.prod(w.kernel)), mask_length(int(np.prod(w.counts))))


def mask_back_shape(dy: Any, x: Any, mask: Any, *geometry: Any) -> Any:
    wanted, masks = mask_shapes(x, *geometry)
    _same("gradOutput", dy, wanted)
    _same("indices", mask, masks)
    return tuple(x.shape)


def define_avg(k: int) -> None:
    """Means and their gradient; in 2 dimensions they have a cubeMathType, which changes nothing here."""
    def split(geometry: Any) -> Any:
        kernel, stride, padding, ceil, include, divisor = geometry[:6]
        return (kernel, stride, padding, (), ceil), include, divisor

    def windows(x: Any, geometry: Any) -> Windows:
        return pool_windows(k, x, *split(geometry)[0])

    def shape(x: Any, *geometry: Any) -> Any:
        return (*x.shape[:max(x.ndim - k, 0)], *windows(x, geometry).counts)

    def back(dy: Any, x: Any, *geometry: Any) -> Any:
        _same("gradOutput", dy, shape(x, *geometry))
        return tuple(x.shape)

    name = f"AvgPool{k}d"
    define(name, lambda x, *geometry: avg_pool(x, windows(x, geometry), *split(geometry)[1:]), shape=shape,
           result=rules.first, rows=lambda x, *_: max(x.ndim - k, 0), workspace=WORKSPACE,
           oracle=f"torch.nn.functional.avg_pool{k}d")
    define(f"{name}Backward",
           lambda dy, x, *geometry: avg_pool_backward(dy, windows(x, geometry), *split(geometry)[1:]),
           shape=back, result=rules.first, workspace=WORKSPACE,
           oracle=f"torch.nn.functional.avg_pool{k}d, backward")


def adaptive_shape(k: int) -> Callable[..., Any]:
    def shape(x: Any, counts: Ints) -> Any:
        check_dims(x, k)
        if len(counts) != k or min(counts) < 0:
            reject(f"outputSize {list(counts)} must be {k} numbers of 0 or more")
        return (*x.shape[:x.ndim - k], *counts)

    return shape


def adaptive_back_shape(k: int) -> Callable[..., Any]:
    def shape(dy: Any, x: Any, index: Optional[Any] = None) -> Any:
        check_dims(x, k)
        if dy.ndim != x.ndim or tuple(dy.shape[:x.ndim - k]) != tuple(x.shape[:x.ndim - k]):
            reject(f"gradOutput of shape {list(dy.shape)} does not belong to an input of {list(x.shape)}")
        if index is not None:
            _same("indices", index, dy.shape)
        return tuple(x.shape)

    return shape


def unpool_shape(k: int) -> Callable[..., Any]:
    def shape(x: Any, index: Any, size: Ints, stride: Ints = (), padding: Ints = ()) -> Any:
        check_dims(x, k)
        _same("indices", index, x.shape)
        if len(size) != k or np.prod(size) < np.prod(x.shape[x.ndim - k:]):
            reject(f"outputSize {list(size)} must be {k} numbers with room for {list(x.shape[x.ndim - k:])}")
        if k == 3 and (len(stride) != 3 or len(padding) != 3 or min(stride) < 1):
            reject(f"stride {list(stride)} and padding {list(padding)} must be 3 numbers, stride above 0")
        return (*x.shape[:x.ndim - k], *size)

    return shape


def unpool_back_shape(k: int) -> Callable[..., Any]:
    def shape(dy: Any, x: Any, *rest: Any) -> Any:
        _same("gradOutput", dy, unpool_shape(k)(x, *rest))
        return tuple(x.shape)

    return shape


def onnx_windows(x: Any, kernel: Ints, stride: Ints, auto: int, pads: Any, dilation: Ints, ceil: int) -> Windows:
    if auto or set(dilation) - {1}:
        reject(f"autoPad {auto} must be 0 and dilations {list(dilation)} 1")
    padding: Any = tuple(pads)
    if len(pads) == 4:
        padding = ((pads[0], pads[2]), (pads[1], pads[3]))  # top, left, bottom, right
    return pool_windows(2, x, kernel, stride or (1,), padding, (), ceil)


def ge_windows(x: Any, kernel: Ints, stride: Ints, pads: Any, ceil: Any) -> Windows:
    """Four numbers each: N, C, H, W; pads are top, bottom, left, right."""
    pads = pads or (0,) * 4
    if x.ndim != 4 or len(kernel) != 4 or len(stride) != 4 or len(pads) != 4 or min(pads) < 0:
        reject(f"x {list(x.shape)}, ksize {list(kernel)}, strides {list(stride)} and pads {list(pads)} have 4 numbers")
    return pool_windows(2, x, kernel[2:], stride[2:], (tuple(pads[:2]), tuple(pads[2:])), (),
                        ceil is not None and bool(ceil), half=False)


def volume(x: Any, kernel: Ints, stride: Ints, mode: str, pads: Optional[Ints], dilation: Optional[Ints], ceil: int,
           layout: Optional[str]) -> tuple[Windows, int]:
    """The windows of MaxPool3D, and where x has its channels."""
    channels = {"NCDHW": 1, "NDHWC": 4, None: 4}.get(layout, 0)
    if x.ndim != 5 or not channels or mode not in ("VALID", "SAME", "CALCULATED") or mode == "CALCULATED" and (
            pads is not None and (len(pads) != 6 or min(pads) < 0)):
        reject(f"x {list(x.shape)} must have 5 dimensions, dataFormat {layout} be NCDHW or NDHWC, padding {mode} "
               f"VALID, SAME or CALCULATED, pads {pads} have 6 numbers, none below 0")
    first = 2 if channels == 1 else 1
    size = tuple(x.shape[first:first + 3])

    def numbers(what: str, values: Ints) -> Ints:
        if len(values) not in (1, 3, 5) or min(values) < 1 or len(values) == 5 and values[0] * values[channels] > 1:
            reject(f"{what} {list(values)} must have 1, 3 or 5 numbers above 0, those of N and C 1")
        return values[first:first + 3] if len(values) == 5 else tuple(values) * (3 // len(values))

    kernel, stride, dilation = (numbers(*v) for v in (("ksize", kernel), ("strides", stride),
                                                      ("dilation", dilation or (1,))))
    around: Any = ((0, 0),) * 3
    if mode == "SAME":
        short = [max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
                 for n, k, s, d in zip(size, kernel, stride, dilation)]
        around = tuple((n // 2, n - n // 2) for n in short)
    elif mode == "CALCULATED" and pads:
        around = tuple(zip(pads[::2], pads[1::2]))
    return Windows(size, kernel, stride, around, dilation, mode == "CALCULATED" and bool(ceil)), channels


def max_pool_volume(x: Any, *geometry: Any) -> Any:
    windows, channels = volume(x, *geometry)
    return np.moveaxis(max_pool(np.moveaxis(x, channels, 1), windows), 1, channels)


def volume_shape(x: Any, *geometry: Any) -> Any:
    windows, channels = volume(x, *geometry)
    return (x.shape[0], x.shape[1], *windows.counts) if channels == 1 else (x.shape[0], *windows.counts, x.shape[4])


def global_shape(x: Any) -> Any:
    if x.ndim < 4:
        reject(f"self has {x.ndim} dimensions; it takes 4 to 8")
    return (*x.shape[:2], *(1,) * (x.ndim - 2))


def counted(windows: Callable[..., Windows]) -> Callable[..., Any]:
    return lambda x, *geometry: (*x.shape[:-2], *windows(x, *geometry).counts)


define_max("MaxPool2dWithIndices", 2, "torch.nn.functional.max_pool2d")
define_max("MaxPool3dWithArgmax", 3, "torch.nn.functional.max_pool3d")
define("MaxPool2dWithMask", lambda x, *geometry: max_pool_mask(x, pool_windows(2, x, *geometry)), shape=mask_shapes,
       result=lambda x, *_: (x.dtype, S8), workspace=WORKSPACE, oracle="torch.nn.functional.max_pool2d",
       deviations="what is in the mask is known to aclnnMaxPool2dWithMaskBackward only")
define("MaxPool2dWithMaskBackward",
       lambda dy, x, mask, *geometry: mask_backward(dy, mask, pool_windows(2, x, *geometry)), shape=mask_back_shape,
       result=rules.first, workspace=WORKSPACE, oracle="torch.nn.functional.max_pool2d, backward")
define("MaxPool", lambda x, *geometry: max_pool(x, onnx_windows(x, *geometry)), shape=counted(onnx_windows),
       result=rules.first, exact=True, oracle="torch.nn.functional.max_pool2d")
define("MaxPoolV3", lambda x, *geometry: max_pool(x, ge_windows(x, *geometry)), shape=counted(ge_windows),
       result=rules.first, exact=True, optional="pads ceilMode", oracle="torch.nn.functional.max_pool2d")
define("MaxPool3D", max_pool_volume, shape=volume_shape, result=rules.first, exact=True, workspace=WORKSPACE,
       oracle="torch.nn.functional.max_pool3d")
define_avg(2)
define_avg(3)
for _k in (2, 3):
    define(f"AdaptiveAvgPool{_k}d", adaptive_avg, shape=adaptive_shape(_k), result=rules.first,
           rows=lambda x, *_, k=_k: x.ndim - k, workspace=WORKSPACE,
           oracle=f"torch.nn.functional.adaptive_avg_pool{_k}d")
    define(f"AdaptiveAvgPool{_k}dBackward", lambda dy, x, k=_k: adaptive_avg_backward(dy, x, k),
           shape=adaptive_back_shape(_k), result=rules.first, workspace=WORKSPACE,
           oracle=f"torch.nn.functional.adaptive_avg_pool{_k}d, backward")
    define(f"AdaptiveMaxPool{_k}d", adaptive_max, shape=lambda x, counts, k=_k: (adaptive_shape(k)(x, counts),) * 2,
           result=lambda x, *_: (x.dtype, S64), workspace=WORKSPACE,
           oracle=f"torch.nn.functional.adaptive_max_pool{_k}d")
    define(f"AdaptiveMaxPool{_k}dBackward", lambda dy, x, index, k=_k: put_add(dy, index, x.shape[x.ndim - k:]),
           shape=adaptive_back_shape(_k), result=rules.first, workspace=WORKSPACE,
           oracle=f"torch.nn.functional.adaptive_max_pool{_k}d, backward")
    define(f"MaxUnpool{_k}d", unpool, shape=unpool_shape(_k), result=rules.first, exact=True,
           oracle=f"torch.nn.functional.max_unpool{_k}d")
    define(f"MaxUnpool{_k}dBackward", unpool_backward, shape=unpool_back_shape(_k), result=rules.first, exact=True,
           oracle=f"torch.nn.functional.max_unpool{_k}d, backward")
family(define, (
    ("GlobalAveragePool", lambda x: x.mean(axis=tuple(range(2, x.ndim)), keepdims=True), "torch.mean of each channel"),
    ("GlobalMaxPool", lambda x: x.max(axis=tuple(range(2, x.ndim)), keepdims=True), "torch.amax of each channel"),
), shape=global_shape, result=rules.first, workspace=WORKSPACE)
