"""The graph-engine types that resize images, with each way of placing the samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .ge import ge_compute, layout_of
from .ge_table import ints
from .rules import reject
from .tensor import Tensor
from .types import F32


def places(old: int, new: int, align_corners: bool, half_pixel_centers: bool) -> Any:
    """Where in `old` samples each of `new` ones lies."""
    index = np.arange(new, dtype=np.float32)
    if align_corners:
        return index * np.float32((old - 1) / (new - 1) if new > 1 else 0)
    scale = np.float32(old / new)
    return (index + np.float32(0.5)) * scale - np.float32(0.5) if half_pixel_centers else index * scale


def nearest(x: Any, axes: tuple[int, int], size: tuple[int, int], align: bool, centers: bool) -> Any:
    for axis, new in zip(axes, size):
        at = places(x.shape[axis], new, align, centers)
        # The middle between two corners belongs to the later one; a centre lies half a sample behind its beginning.
        at = np.floor(at + np.float32(0.5) if align or centers else at).astype(np.int64)
        x = np.take(x, np.clip(at, 0, x.shape[axis] - 1), axis)
    return x


def bilinear(x: Any, axes: tuple[int, int], size: tuple[int, int], align: bool, centers: bool) -> Any:
    x = x.astype(np.float32)
    for axis, new in zip(axes, size):
        last = x.shape[axis] - 1
        at = np.clip(places(x.shape[axis], new, align, centers), 0, last)
        low = np.floor(at).astype(np.int64)
        share = (at - low.astype(np.float32)).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
        left, right = np.take(x, low, axis), np.take(x, np.minimum(low + 1, last), axis)
        x = left + (right - left) * share
    return x


def arguments(x: Tensor, size: Any, align_corners: bool, half_pixel_centers: bool) -> tuple[Any, ...]:
    if x.ndim != 4 or len(ints(size)) != 2:
        reject(f"an image has 4 dimensions, not {x.ndim}, and is resized to height and width, not {list(ints(size))}")
    if align_corners and half_pixel_centers:
        reject("align_corners and half_pixel_centers exclude each other")
    layout = layout_of(x, "NCHW")
    return x, (layout.index("H"), layout.index("W")), ints(size), align_corners, half_pixel_centers


def resized_shape(x: Any, axes: tuple[int, int], size: tuple[int, int], *_: Any) -> tuple[int, ...]:
    return tuple(dict(zip(axes, size)).get(i, n) for i, n in enumerate(x.shape))


_KINDS = "tensor plain plain plain plain -> tensor"
ge_compute("ResizeNearestNeighborV2", nearest, _KINDS, arguments, shape=resized_shape, result=rules.first)
ge_compute("ResizeBilinearV2", bilinear, _KINDS, arguments, mixed=True, shape=resized_shape, result=lambda *_: F32)
