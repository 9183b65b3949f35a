"""Convolutions, by PyTorch's and by its autograd."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..oracle import Draw, Oracle, torch

functional = torch.nn.functional
THREE = "f32 f32 f16 bf16"


def coarse(d: Draw, shape: tuple[int, ...], dtype: Any) -> Any:
    """Quarters of [-2, 2], so that sums of products are exact."""
    return (d.array(shape, np.int32, -8, 8).astype(np.float32) / 4).astype(dtype)


def geometry(d: Draw, with_bias: bool = True) -> list[Any]:
    k = d.integer(1, 3)
    groups, dtype, transposed = d.choice([1, 1, 2, 3]), d.dtype(THREE), d.flag()
    inner, outer = groups * d.integer(1, 3), groups * d.integer(1, 3)
    kernel = tuple(d.integer(1, 3) for _ in range(k))
    stride = tuple(d.integer(1, 3) for _ in range(k))
    dilation = tuple(d.integer(1, 2) for _ in range(k))
    padding = tuple(d.integer(0, 1) for _ in range(k))
    x = coarse(d, (d.integer(0 if d.seed == 0 and not transposed else 1, 3), inner,
                   *(d.integer(5, 7) for _ in range(k))), dtype)
    weight = coarse(d, (inner, outer // groups, *kernel) if transposed else (outer, inner // groups, *kernel), dtype)
    bias = coarse(d, (outer,), dtype) if d.flag() and with_bias else None
    extra = tuple(d.integer(0, max(a, b) - 1) if transposed else 0 for a, b in zip(stride, dilation))
    return [x, weight, bias, stride, padding, dilation, transposed, extra, groups, 0]


def convolution(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, extra: Any,
                groups: int, cube: int) -> Any:
    return torch.convolution(x, weight, bias, stride, padding, dilation, transposed, extra, groups)


def backward_inputs(d: Draw) -> list[Any]:
    x, weight, _, stride, padding, dilation, transposed, extra, groups, cube = geometry(d, False)
    shape = tuple(torch.convolution(torch.zeros(x.shape), torch.zeros(weight.shape), None, stride, padding, dilation,
                                    transposed, extra, groups).shape)
    return [coarse(d, shape, x.dtype), x, weight, (shape[1],), stride, padding, dilation, transposed, extra, groups,
            (d.flag(), d.flag(), d.flag()), cube]


def convolution_backward(dy: Any, x: Any, weight: Any, sizes: Any, *rest: Any) -> Any:
    leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_(), torch.zeros(sizes, requires_grad=True)]
    torch.convolution(*leaves, *rest[:-2]).backward(dy)
    return tuple(t.grad if m else None for t, m in zip(leaves, rest[-2]))


def depthwise_inputs(d: Draw) -> list[Any]:
    dtype, channels, kernel = d.dtype(THREE), d.integer(1, 4), (d.integer(1, 3), d.integer(1, 3))
    out = channels * d.integer(1, 2)
    return [coarse(d, (2, channels, 6, 7), dtype), coarse(d, (out, 1, *kernel), dtype), kernel,
            coarse(d, (out,), dtype) if d.flag() else None, (d.integer(1, 2), 1), (d.integer(0, 2), 1),
            (1, d.integer(1, 2)), 0]


def tbc_inputs(d: Draw) -> list[Any]:
    dtype, pad, kernel = d.dtype(THREE), d.integer(0, 2), d.integer(1, 3)
    time, batch, inner, outer = d.integer(3, 6), *(d.integer(1, 3) for _ in range(3))
    found = [coarse(d, (time, batch, inner), dtype), coarse(d, (kernel, inner, outer), dtype),
             coarse(d, (outer,), dtype), pad, 0]
    grad = coarse(d, (time + 2 * pad - kernel + 1, batch, outer), dtype)
    return [grad, *found] if "Backward" in d.name else found


def tbc_backward(dy: Any, x: Any, weight: Any, bias: Any, pad: int, cube: int) -> Any:
    leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
    torch.conv_tbc(*leaves, pad).backward(dy)
    return tuple(t.grad for t in leaves)


ORACLES = {
    "Convolution": Oracle(convolution, geometry, atol=1e-5, cases=16),
    "ConvolutionBackward": Oracle(convolution_backward, backward_inputs, atol=1e-5, cases=12),
    "ConvDepthwise2d": Oracle(lambda x, w, kernel, bias, stride, padding, dilation, cube: functional.conv2d(
        x, w, bias, stride, padding, dilation, x.shape[1]), depthwise_inputs, atol=1e-5),
    "ConvTbc": Oracle(lambda x, w, bias, pad, cube: torch.conv_tbc(x, w, bias, pad), tbc_inputs, atol=1e-5),
    "ConvTbcBackward": Oracle(tbc_backward, tbc_inputs, atol=1e-5),
}
