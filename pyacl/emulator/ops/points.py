"""Clouds of points: what flows back through their distances and interpolations."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .registry import define
from .rules import reject


def interpolate_back(grad: Any, index: Any, weight: Any, m: int) -> Any:
    """Each point's gradient goes to the three it was interpolated from."""
    found = np.zeros((*grad.shape[:2], m), np.float32)
    batch, channel = np.ix_(*map(np.arange, grad.shape[:2]))
    for i in range(3):
        np.add.at(found, (batch[..., None], channel[..., None], index[:, None, :, i]), grad * weight[:, None, :, i])
    return found


def interpolate_back_shape(grad: Any, index: Any, weight: Any, m: int) -> Any:
    if grad.ndim != 3 or tuple(index.shape) != (grad.shape[0], grad.shape[2], 3) or index.shape != weight.shape \
            or weight.dtype != grad.dtype or m < 1:
        reject(f"grad_x {list(grad.shape)} must be (b, c, n), idx {list(index.shape)} and weight {list(weight.shape)} "
               f"(b, n, 3), weight of grad_x's type, m {m} above 0")
    return (*grad.shape[:2], m)


def chamfer_back(one: Any, two: Any, near_one: Any, near_two: Any, grad_one: Any, grad_two: Any) -> Any:
    """Of squared distances to the nearest point of the other cloud, by both ends."""
    found = [np.zeros(t.shape, np.float32) for t in (one, two)]
    batch = np.arange(len(one))[:, None]
    for a, b, near, grad, (ours, theirs) in ((one, two, near_one, grad_one, found),
                                             (two, one, near_two, grad_two, found[::-1])):
        step = 2 * grad[..., None] * (a - b[batch, near])
        ours += step
        np.subtract.at(theirs, (batch, near), step)
    return tuple(found)


def chamfer_back_shape(one: Any, two: Any, near_one: Any, near_two: Any, grad_one: Any, grad_two: Any) -> Any:
    for cloud, near, grad in ((one, near_one, grad_one), (two, near_two, grad_two)):
        if cloud.ndim != 3 or cloud.shape[2] != 2 or cloud.shape[0] != one.shape[0] \
                or not tuple(near.shape) == tuple(grad.shape) == tuple(cloud.shape[:2]):
            reject(f"a cloud {list(cloud.shape)} must be (B, N, 2), its idx {list(near.shape)} and gradDist "
                   f"{list(grad.shape)} (B, N)")
    return tuple(one.shape), tuple(two.shape)


define("ThreeInterpolateBackward", interpolate_back, shape=interpolate_back_shape, result=rules.first, exact=True,
       oracle="torch, backward")
define("ChamferDistanceBackward", chamfer_back, shape=chamfer_back_shape, result=rules.first, oracle="torch, backward")
