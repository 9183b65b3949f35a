"""Sliding windows."""

from __future__ import annotations

from typing import Any

from ..oracle import Draw, Oracle, torch

F = torch.nn.functional


def windows(d: Draw) -> tuple[Any, ...]:
    return tuple((d.integer(low, high), d.integer(low, high)) for low, high in ((1, 3), (1, 2), (0, 1), (1, 2)))


def images(d: Draw) -> list[Any]:
    lead = (d.integer(1, 2),) if d.flag() else ()
    return [d.array((*lead, d.integer(1, 3), 6, 7), d.dtype("f32 f16 bf16")), *windows(d)]


def unfold(x: Any, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    return F.unfold(x, kernel, dilation, padding, stride)


def columns(d: Draw) -> list[Any]:
    kernel, dilation, padding, stride = windows(d)
    n = F.unfold(torch.zeros(1, 1, 6, 7), kernel, dilation, padding, stride).shape[-1]
    lead = (2,) if d.flag() else ()
    grad = d.array((*lead, 2 * kernel[0] * kernel[1], n), d.dtype("f32 f16"))
    return [grad, (6, 7), kernel, dilation, padding, stride]


def unfolded(d: Draw) -> list[Any]:
    sizes = [d.integer(1, 3), d.integer(4, 8), d.integer(4, 8)]
    dim, size, step = d.choice([1, 2]), d.integer(1, 4), d.integer(1, 3)
    shape = [*sizes, size]
    shape[dim] = (sizes[dim] - size) // step + 1
    return [d.array(tuple(shape), d.dtype("f32 f16")), tuple(sizes), dim, size, step]


ORACLES = {
    "Im2col": Oracle(unfold, images, exact=True),
    "Im2colBackward": Oracle(F.fold, columns, atol=1e-5),
    "UnfoldGrad": Oracle(torch.ops.aten.unfold_backward, unfolded, atol=1e-5),
}
