"""Pooling, by PyTorch's functions and its autograd."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from pyacl.emulator.ops.pooling import mask_length

from ..oracle import Draw, Oracle, torch

functional = torch.nn.functional
THREE = "f32 f32 f16 bf16"


def image(d: Draw, k: int, names: str = THREE, sides: tuple[int, int] = (4, 7)) -> Any:
    """Different values, so that the place of a maximum is no matter of taste."""
    lead = (d.integer(1, 2), d.integer(1, 3)) if d.flag() else (d.integer(1, 3),)
    shape = (*lead, *(d.integer(*sides) for _ in range(k)))
    return (d.rng.permutation(int(np.prod(shape))).reshape(shape) % 250).astype(d.dtype(names))


def grads(d: Draw, shape: Any, dtype: Any) -> Any:
    return (d.array(tuple(shape), np.int32, -8, 8).astype(np.float32) / 4).astype(dtype)


def geometry(d: Draw, k: int, dilation: bool) -> list[Any]:
    def numbers(low: int, high: int) -> tuple[int, ...]:
        return tuple(d.integer(low, high) for _ in range(d.choice([1, k])))

    kernel = numbers(2, 3)
    stride = d.choice([(), numbers(1, 3)])
    found = [kernel, stride, numbers(0, 1)]
    return [*found, numbers(1, 2 if dilation and max(kernel) == 2 else 1), d.flag()] if dilation else found


def max_pool(k: int) -> Callable[..., Any]:
    call = getattr(functional, f"max_pool{k}d")

    def oracle(x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Any:
        return call(x, kernel, stride or None, padding, dilation, ceil, return_indices=True)

    return oracle


def max_inputs(k: int) -> Callable[[Draw], list[Any]]:
    return lambda d: [image(d, k), *geometry(d, k, True)]


def max_back_inputs(k: int) -> Callable[[Draw], list[Any]]:
    def draw(d: Draw) -> list[Any]:
        x = image(d, k)
        how = geometry(d, k, True)
        y, index = max_pool(k)(torch.from_numpy(x.astype(np.float32)), *how)
        return [grads(d, y.shape, x.dtype), x, index.numpy().astype(d.dtype("s32 s64", 2)), *how]

    return draw


def max_back(k: int) -> Callable[..., Any]:
    def oracle(dy: Any, x: Any, index: Any, *how: Any) -> Any:
        x = x.clone().requires_grad_()
        max_pool(k)(x, *how)[0].backward(dy)
        return x.grad

    return oracle


def masked(x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Any:
    """The mask from the indices: one row for each tap, a 1 where the window's maximum is."""
    y, index = max_pool(2)(x, kernel, stride, padding, dilation, ceil)
    (kh, kw), (ph, pw) = ((v * 2)[:2] for v in (kernel, padding))
    sh, sw = ((stride or kernel) * 2)[:2]
    oh, ow = y.shape[-2:]
    mask = np.zeros((*y.shape[:-2], kh * kw, mask_length(oh * ow)), np.int8)
    for place in np.ndindex(*y.shape):
        i, j = divmod(int(index[place]), x.shape[-1])
        row = (i - place[-2] * sh + ph) * kw + j - place[-1] * sw + pw
        mask[(*place[:-2], row, place[-2] * ow + place[-1])] = 1
    return y, mask


def mask_inputs(d: Draw) -> list[Any]:
    x = image(d, 2)
    kernel, stride, padding = geometry(d, 2, False)
    return [x, kernel, stride, padding, (1,), d.flag()]


def mask_back_inputs(d: Draw) -> list[Any]:
    x, *how = mask_inputs(d)
    y, mask = masked(torch.from_numpy(x.astype(np.float32)), *how)
    return [grads(d, y.shape, x.dtype), x, mask, *how]


def avg_inputs(k: int) -> Callable[[Draw], list[Any]]:
    def draw(d: Draw) -> list[Any]:
        found = [image(d, k), *geometry(d, k, False), d.flag(), d.flag(), d.choice([0, 0, 3])]
        return [*found, 0] if k == 2 else found

    return draw


def avg_pool(k: int) -> Callable[..., Any]:
    call = getattr(functional, f"avg_pool{k}d")

    def oracle(x: Any, kernel: Any, stride: Any, padding: Any, ceil: bool, include: bool, divisor: int, *_: Any) -> Any:
        return call(x, kernel, stride or None, padding, ceil, include, divisor or None)

    return oracle


def avg_back_inputs(k: int) -> Callable[[Draw], list[Any]]:
    def draw(d: Draw) -> list[Any]:
        x, *how = avg_inputs(k)(d)
        shape = avg_pool(k)(torch.from_numpy(x.astype(np.float32)), *how).shape
        return [grads(d, shape, x.dtype), x, *how]

    return draw


def through(function: Callable[..., Any]) -> Callable[..., Any]:
    """(dy, x, ...) -> the gradient of function(x, ...)"""
    def oracle(dy: Any, x: Any, *rest: Any) -> Any:
        x = x.clone().requires_grad_()
        function(x, *rest).backward(dy)
        return x.grad

    return oracle


def adaptive_inputs(k: int) -> Callable[[Draw], list[Any]]:
    return lambda d: [image(d, k), tuple(d.integer(1, 8) for _ in range(k))]


def adaptive(k: int, what: str) -> Callable[..., Any]:
    call = getattr(functional, f"adaptive_{what}_pool{k}d")
    return lambda x, counts: call(x, counts, True) if what == "max" else call(x, counts)


def adaptive_back_inputs(k: int, what: str) -> Callable[[Draw], list[Any]]:
    def draw(d: Draw) -> list[Any]:
        x, counts = adaptive_inputs(k)(d)
        dy = grads(d, (*x.shape[:-k], *counts), x.dtype)
        if what == "avg":
            return [dy, x]
        index = adaptive(k, what)(torch.from_numpy(x.astype(np.float32)), counts)[1].numpy()
        return [dy, x, index.astype(d.dtype("s64 s32", 2))]

    return draw


def adaptive_back(k: int, what: str) -> Callable[..., Any]:
    call = getattr(functional, f"adaptive_{what}_pool{k}d")
    return lambda dy, x, *_: through(lambda x: call(x, dy.shape[-k:]))(dy, x)


def unpool_inputs(k: int) -> Callable[[Draw], list[Any]]:
    def draw(d: Draw) -> list[Any]:
        x = image(d, k, "f32 f16 s32 s16 s64", (2, 3))
        size = tuple(n + d.integer(0, 2) for n in x.shape[-k:])
        plane, room = int(np.prod(x.shape[-k:])), int(np.prod(size))
        index = np.stack([d.rng.permutation(room)[:plane] for _ in range(x.size // plane)])
        found = [x, index.reshape(x.shape).astype(np.int64), size]
        if k == 3:
            found += [(1, 1, 1), (0, 0, 0)]
        return [grads(d, (*x.shape[:-k], *size), x.dtype), *found] if "Backward" in d.name else found

    return draw


def unpool(x: Any, index: Any, size: Any, *_: Any) -> Any:
    k = len(size)
    out = torch.zeros((*x.shape[:-k], int(np.prod(size))), dtype=x.dtype)
    return out.scatter(-1, index.flatten(-k), x.flatten(-k)).reshape(*x.shape[:-k], *size)


def unpool_back(dy: Any, x: Any, index: Any, size: Any, *_: Any) -> Any:
    k = len(size)
    return dy.flatten(-k).gather(-1, index.flatten(-k)).reshape(x.shape)


def onnx_inputs(d: Draw) -> list[Any]:
    x, kernel, stride, padding, _, ceil = mask_inputs(d)
    stride = d.choice([(), stride or (2,)])
    x = (x - 100).astype(x.dtype)
    return [x, kernel, stride, 0, (padding * 2)[:2] * 2 if d.flag() else padding, (), int(ceil)]


def onnx_pool(x: Any, kernel: Any, stride: Any, auto: int, pads: Any, dilation: Any, ceil: int) -> Any:
    return functional.max_pool2d(x, kernel, stride or 1, pads[:2] if len(pads) == 4 else pads, 1, bool(ceil))


def ge_inputs(d: Draw) -> list[Any]:
    x = image(d, 2)
    x = x.reshape((1,) * (4 - x.ndim) + x.shape)
    pads = (d.integer(0, 1), d.integer(0, 1), d.integer(0, 1), d.integer(0, 1)) if d.flag() else None
    return [x, (1, 1, d.integer(2, 3), 2), (1, 1, d.integer(1, 2), 2), pads, np.int64(0)]


def ge_pool(x: Any, kernel: Any, stride: Any, pads: Any, ceil: int) -> Any:
    top, bottom, left, right = pads or (0,) * 4
    return functional.max_pool2d(functional.pad(x, (left, right, top, bottom), value=-np.inf), kernel[2:], stride[2:])


def pools(d: Draw) -> list[Any]:
    return [d.array(d.shape(4, 6, 3), d.dtype("f32 f16 f64"))]


def volume_inputs(d: Draw) -> list[Any]:
    layout, mode, size = d.choice(["NCDHW", "NDHWC", None]), d.choice(["VALID", "SAME", "CALCULATED"]), d.integer(5, 7)
    n, c = d.integer(1, 2), d.integer(1, 2)
    x = d.array((n, c, size, size, size) if layout == "NCDHW" else (n, size, size, size, c), d.dtype("f32 f16 bf16"))

    def numbers(high: int, count: int) -> tuple[int, ...]:
        own = tuple(d.integer(1, high) for _ in range(1 if count == 1 else 3))
        return own if count < 5 else (1, 1, *own) if layout == "NCDHW" else (1, *own, 1)

    kernel = numbers(3, d.choice([1, 3, 5]))
    pads = None if d.flag() else tuple(d.integer(0, 1) for _ in range(6))
    return [x, kernel, numbers(2, len(kernel)), mode, pads, None if d.flag() else numbers(2, d.choice([1, 3, 5])),
            d.integer(0, 1), layout]


def volume(x: Any, kernel: Any, stride: Any, mode: str, pads: Any, dilation: Any, ceil: int, layout: Any) -> Any:
    """Padded by hand, without ceil where the sizes are known, so that PyTorch sees plain windows."""
    x = x if layout == "NCDHW" else x.movedim(-1, 1)
    spatial = slice(2, 5) if layout == "NCDHW" else slice(1, 4)
    wide: list[Any] = [kernel, stride, dilation or (1,)]
    kernel, stride, dilation = (list(v[spatial]) if len(v) == 5 else list(v) * (3 // len(v))
                                for v in wide)
    around = [0] * 6
    if mode == "SAME":
        for a, n in enumerate(x.shape[2:]):
            total = max((-(-n // stride[a]) - 1) * stride[a] + dilation[a] * (kernel[a] - 1) + 1 - n, 0)
            around[2 * a:2 * a + 2] = [total // 2, total - total // 2]
    elif mode == "CALCULATED" and pads:
        around = list(pads)
    ends = [around[4:6], around[2:4], around[:2]]
    x = functional.pad(x, [v for pair in ends for v in pair], value=-np.inf)
    found = functional.max_pool3d(x, kernel, stride, 0, dilation, mode == "CALCULATED" and bool(ceil))
    if mode == "CALCULATED" and ceil:  # windows that begin in the padding behind the input do not count
        whole = [n - b for n, b in zip(x.shape[2:], around[1::2])]
        counts = [min(m, -(-n // s)) for m, n, s in zip(found.shape[2:], whole, stride)]
        found = found[:, :, :counts[0], :counts[1], :counts[2]]
    return found if layout == "NCDHW" else found.movedim(1, -1)


ORACLES = {
    "MaxPool3D": Oracle(volume, volume_inputs, exact=True, cases=24),
    "MaxPool2dWithMask": Oracle(masked, mask_inputs),
    "MaxPool2dWithMaskBackward": Oracle(lambda dy, x, mask, *how: max_back(2)(dy, x, None, *how), mask_back_inputs),
    "MaxPool": Oracle(onnx_pool, onnx_inputs), "MaxPoolV3": Oracle(ge_pool, ge_inputs),
    "GlobalAveragePool": Oracle(lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True), pools),
    "GlobalMaxPool": Oracle(lambda x: x.amax(tuple(range(2, x.ndim)), keepdim=True), pools),
}
for _k, _name in ((2, "MaxPool2dWithIndices"), (3, "MaxPool3dWithArgmax")):
    ORACLES[_name] = Oracle(max_pool(_k), max_inputs(_k))
    ORACLES[f"{_name}Backward"] = Oracle(max_back(_k), max_back_inputs(_k))
    ORACLES[f"AvgPool{_k}d"] = Oracle(avg_pool(_k), avg_inputs(_k))
    ORACLES[f"AvgPool{_k}dBackward"] = Oracle(through(avg_pool(_k)), avg_back_inputs(_k), atol=1e-5)
    for _what, _short in (("avg", "Avg"), ("max", "Max")):
        ORACLES[f"Adaptive{_short}Pool{_k}d"] = Oracle(adaptive(_k, _what), adaptive_inputs(_k))
        ORACLES[f"Adaptive{_short}Pool{_k}dBackward"] = Oracle(
            adaptive_back(_k, _what), adaptive_back_inputs(_k, _what), atol=1e-5)
    ORACLES[f"MaxUnpool{_k}d"] = Oracle(unpool, unpool_inputs(_k))
    ORACLES[f"MaxUnpool{_k}dBackward"] = Oracle(unpool_back, unpool_inputs(_k))
