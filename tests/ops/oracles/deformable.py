"""Deformable convolution and attention: grid_sample of what lies under each place, gradients by autograd."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..oracle import Draw, Oracle, torch
from .moe import TYPES

functional = torch.nn.functional


def sampled(x: Any, y_at: Any, x_at: Any) -> Any:
    """Of (N, C, H, W) at places (N, ...): (N, C, ...), zero outside."""
    height, width = x.shape[2:]
    grid = torch.stack(((2 * x_at + 1) / width - 1, (2 * y_at + 1) / height - 1), -1)
    flat = grid.reshape(x.shape[0], -1, 1, 2)
    return functional.grid_sample(x, flat, align_corners=False).reshape(*x.shape[:2], *y_at.shape[1:])


# ---- convolution

def draw(d: Draw) -> list[Any]:
    groups, parts, n = d.integer(1, 2), d.integer(1, 2), d.integer(1, 2)
    channels, out = groups * parts * d.integer(1, 2), groups * d.integer(1, 2)
    kernel = (d.integer(1, 3), d.integer(1, 3))
    stride, dilation = (1, 1, d.integer(1, 2), d.integer(1, 2)), (1, 1, d.integer(1, 2), d.integer(1, 2))
    padding = tuple(d.integer(0, 2) for _ in range(4))
    size = (d.integer(5, 8), d.integer(5, 8))
    sides = [(size[a] + padding[2 * a] + padding[2 * a + 1] - (kernel[a] - 1) * dilation[2 + a] - 1) // stride[2 + a] + 1
             for a in range(2)]
    back = "Backward" in d.name
    dtype, taps = np.dtype(np.float32) if back else d.choice(TYPES), kernel[0] * kernel[1]
    x, weight = d.array((n, channels, *size), dtype), d.array((out, channels // groups, *kernel), dtype, -1, 1)
    offset = d.array((n, 3 * parts * taps, *sides), dtype, -2, 2)
    geometry = [kernel, stride, padding, dilation, groups, parts, True]
    if back:
        spread = d.array((n, channels, sides[0] * kernel[0], sides[1] * kernel[1]), dtype)
        return [x, d.array((n, out, *sides), dtype), spread, weight, offset, *geometry]
    return [x, weight, offset, d.array((out,), dtype) if d.flag() else None, *geometry]


def conv(x: Any, weight: Any, offset: Any, bias: Any, kernel: Any, stride: Any, padding: Any, dilation: Any,
         groups: int, parts: int, modulated: bool) -> Any:
    """Samples tap by tap, kernels side by side, then a plain convolution that steps by the kernel's size."""
    n, channels = x.shape[:2]
    rows, columns = offset.shape[2:]
    taps = kernel[0] * kernel[1]
    shifts = offset.reshape(n, 3, parts, taps, rows, columns)
    spread = torch.zeros(n, channels, rows, kernel[0], columns, kernel[1])
    for part in range(parts):
        own = slice(part * channels // parts, (part + 1) * channels // parts)
        for i in range(kernel[0]):
            for j in range(kernel[1]):
                shift = shifts[:, :, part, i * kernel[1] + j]
                y_at = torch.arange(rows)[:, None] * stride[2] - padding[0] + i * dilation[2] + shift[:, 1]
                x_at = torch.arange(columns)[None] * stride[3] - padding[2] + j * dilation[3] + shift[:, 0]
                spread[:, own, :, i, :, j] = sampled(x[:, own], y_at, x_at) * shift[:, None, 2]
    spread = spread.reshape(n, channels, rows * kernel[0], columns * kernel[1])
    return functional.conv2d(spread, weight, bias, stride=kernel, groups=groups), spread


def conv_back(x: Any, dy: Any, spread: Any, weight: Any, offset: Any, *geometry: Any) -> Any:
    bias = torch.zeros(weight.shape[0])
    leaves = [t.clone().requires_grad_() for t in (x, weight, offset, bias)]
    conv(*leaves, *geometry)[0].backward(dy)
    return tuple(t.grad for t in leaves)


# ---- attention

def draw_scales(d: Draw) -> list[Any]:
    b, heads, channels, n, points = d.integer(1, 2), d.integer(1, 2), 8, d.integer(1, 3), d.integer(1, 2)
    back = "Grad" in d.name
    queries, dtype = d.integer(32, 34), np.dtype(np.float32) if back else d.choice(TYPES)
    sizes = np.array([[d.integer(2, 5), d.integer(2, 5)] for _ in range(n)], d.choice([np.int32, np.int64]))
    areas = sizes[:, 0] * sizes[:, 1]
    starts = (np.cumsum(areas) - areas).astype(sizes.dtype)
    values = [d.array((b, int(areas.sum()), heads, channels), dtype), sizes, starts,
              d.array((b, queries, heads, n, points, 2), dtype, -0.2, 1.2),
              d.array((b, queries, heads, n, points), dtype, 0, 1)]
    return [*values, d.array((b, queries, heads * channels), dtype)] if back else values


def scales(value: Any, sizes: Any, starts: Any, places: Any, weights: Any) -> Any:
    total: Any = 0
    for i, (height, width) in enumerate(sizes.tolist()):
        image = value[:, int(starts[i]):int(starts[i]) + height * width]
        image = image.permute(0, 2, 3, 1).flatten(0, 1).unflatten(-1, (height, width))
        grid = 2 * places[:, :, :, i].transpose(1, 2).flatten(0, 1) - 1
        found = functional.grid_sample(image, grid, align_corners=False)
        total = total + (found * weights[:, :, :, i].transpose(1, 2).flatten(0, 1)[:, None]).sum(-1)
    return total.unflatten(0, (value.shape[0], -1)).permute(0, 3, 1, 2).flatten(2)


def scales_back(value: Any, sizes: Any, starts: Any, places: Any, weights: Any, grad: Any) -> Any:
    leaves = [t.clone().requires_grad_() for t in (value, places, weights)]
    scales(leaves[0], sizes, starts, *leaves[1:]).backward(grad)
    return tuple(t.grad for t in leaves)


ORACLES = {
    "DeformableConv2d": Oracle(conv, draw, atol=1e-3, rtol=1e-4),
    "DeformableConv2dBackward": Oracle(conv_back, draw, atol=2e-3, rtol=1e-3),
    "MultiScaleDeformableAttnFunction": Oracle(scales, draw_scales, atol=1e-4, rtol=1e-4),
    "MultiScaleDeformableAttentionGrad": Oracle(scales_back, draw_scales, atol=1e-3, rtol=1e-3),
}
