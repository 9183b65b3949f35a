"""Triangles drawn on a screen: which face each pixel shows, and where in the face it lies."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...capi import lib
from .registry import define
from .rules import reject

_DEPTHS = np.float32(1 << 18)  # depths are compared in these units


def area(a: Any, b: Any, c: Any) -> Any:
    """Twice the signed area of a triangle."""
    return (c[0] - a[0]) * (b[1] - a[1]) - (b[0] - a[0]) * (c[1] - a[1])


def inside(corners: Any, point: Any) -> Any:
    """Barycentric coordinates of points; the corners are x and y of three vertices."""
    a, b, c = corners
    whole = area(a, b, c)
    beta, gamma = area(a, point, c) / whole, area(a, b, point) / whole
    return np.stack(np.broadcast_arrays(1 - beta - gamma, beta, gamma))


def rasterize(vertices: Any, faces: Any, depth: Any, width: int, height: int, truncation: float, prior: int) -> Any:
    """Faces count from 1, 0 is the background; of equally near ones the first is seen."""
    half, w = np.float32(0.5), vertices[:, 3]
    screen = np.stack(((vertices[:, 0] / w * half + half) * np.float32(width - 1) + half,
                       (half + half * vertices[:, 1] / w) * np.float32(height - 1) + half,
                       vertices[:, 2] / w * np.float32(0.49999) + half))
    nearest = np.full((height, width), np.inf, np.float32)
    found = np.zeros((height, width), np.int32)
    lies = np.zeros((3, height, width), np.float32)
    for number, face in enumerate(faces, 1):
        corners = screen[:2, face].T
        if area(*corners) == 0:
            continue
        low = np.maximum(corners.min(axis=0), 0).astype(np.int64)
        high = np.minimum(corners.max(axis=0), (width - 1, height - 1)).astype(np.int64) + 1
        if (high <= low).any():
            continue
        part = (slice(low[1], high[1]), slice(low[0], high[0]))
        grid = np.arange(low[0], high[0], dtype=np.float32)[None] + half, \
            np.arange(low[1], high[1], dtype=np.float32)[:, None] + half
        where = inside(corners, grid)
        far = np.trunc(np.tensordot(screen[2, face], where, 1) * _DEPTHS)
        seen = (where >= 0).all(axis=0) & (far < nearest[part])
        nearest[part][seen], found[part][seen], lies[(slice(None), *part)][:, seen] = far[seen], number, where[:, seen]
    shares = lies / np.where(found, w[faces[found - 1]].transpose(2, 0, 1), np.float32(1))
    total = shares.sum(axis=0)
    return found, (shares / np.where(total == 0, np.float32(1), total)).transpose(1, 2, 0)


def rasterize_shape(vertices: Any, faces: Any, depth: Any, width: int, height: int, truncation: float,
                    prior: int) -> Any:
    if vertices.ndim != 2 or vertices.shape[1] != 4 or faces.ndim != 2 or faces.shape[1] != 3 \
            or 0 in (vertices.shape[0], faces.shape[0]) or not 1 <= min(width, height) <= max(width, height) <= 4096 \
            or prior != 0:
        reject(f"v {list(vertices.shape)} must be (vertices, 4), f {list(faces.shape)} (faces, 3), width {width} and "
               f"height {height} lie in [1, 4096], useDepthPrior {prior} be 0", lib.ACLNN_ERR_INNER_TILING_ERROR)
    return (height, width), (height, width, 3)


define("Rasterizer", rasterize, shape=rasterize_shape, workspace=8192, oracle="pixel by pixel")
