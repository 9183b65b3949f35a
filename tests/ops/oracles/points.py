"""Clouds of points: gradients by autograd."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..oracle import Draw, Oracle, torch

HALF = [np.dtype(np.float32), np.dtype(np.float16)]


def draw_interpolate(d: Draw) -> list[Any]:
    b, c, n, m, dtype = d.integer(1, 3), d.integer(1, 3), d.integer(1, 5), d.integer(1, 5), d.choice(HALF)
    return [d.array((b, c, n), dtype), d.array((b, n, 3), d.choice([np.int32, np.int64]), 0, m - 1),
            d.array((b, n, 3), dtype, 0, 1), m]


def interpolate(grad: Any, index: Any, weight: Any, m: int) -> Any:
    y = torch.zeros(*grad.shape[:2], m, requires_grad=True)
    picked = torch.stack([y[b][:, index[b].long()] for b in range(len(y))])
    ((picked * weight[:, None]).sum(-1) * grad).sum().backward()
    return y.grad


def draw_chamfer(d: Draw) -> list[Any]:
    b, sizes, dtype = d.integer(1, 3), (d.integer(1, 5), d.integer(1, 5)), d.choice(HALF)
    clouds = [d.array((b, n, 2), dtype) for n in sizes]
    distance = ((clouds[0][:, :, None].astype(np.float64) - clouds[1][:, None]) ** 2).sum(-1)
    return [*clouds, distance.argmin(2).astype(np.int32), distance.argmin(1).astype(np.int32),
            *(d.array((b, n), dtype) for n in sizes)]


def chamfer(one: Any, two: Any, near_one: Any, near_two: Any, grad_one: Any, grad_two: Any) -> Any:
    """The nearest are found again."""
    one, two = (t.clone().requires_grad_() for t in (one, two))
    distance = ((one[:, :, None] - two[:, None]) ** 2).sum(-1)
    ((distance.amin(2) * grad_one).sum() + (distance.amin(1) * grad_two).sum()).backward()
    return one.grad, two.grad


ORACLES = {
    "ThreeInterpolateBackward": Oracle(interpolate, draw_interpolate, atol=1e-4),
    "ChamferDistanceBackward": Oracle(chamfer, draw_chamfer, atol=1e-4),
}
