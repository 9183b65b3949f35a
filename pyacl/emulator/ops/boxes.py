"""Boxes: how far they overlap, and what lies under them."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .registry import define
from .rules import reject


def iou(boxes: Any, truth: Any, mode: str, eps: float, aligned: bool) -> Any:
    """Intersection over union, or over the true box ("iof"); eps lengthens the sides."""
    a, b = (boxes, truth) if aligned else (boxes[:, None], truth[None])
    sides = np.maximum(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + eps, 0)
    common = sides[..., 0] * sides[..., 1]
    first, second = ((t[..., 2] - t[..., 0] + eps) * (t[..., 3] - t[..., 1] + eps) for t in (a, b))
    found = common / (second if mode == "iof" else first + second - common)
    return found[:, None] if aligned else found


def iou_shape(boxes: Any, truth: Any, mode: str, eps: float, aligned: bool) -> Any:
    if mode not in ("iou", "iof") or eps < 0:
        reject(f'mode "{mode}" is neither "iou" nor "iof", or eps {eps} is below 0')
    for t in (boxes, truth):
        if t.ndim != 2 or t.shape[1] != 4 or t.dtype != boxes.dtype:
            reject(f"boxes {list(boxes.shape)} and {list(truth.shape)} must be (n, 4) of one type")
    if aligned and boxes.shape != truth.shape:
        reject(f"aligned boxes {list(boxes.shape)} and {list(truth.shape)} differ in number")
    return (boxes.shape[0], 1 if aligned else truth.shape[0])


def sample(x: Any, y_at: Any, x_at: Any) -> Any:
    """Bilinear values of (C, H, W) at (K, ...) places; 0 further out than one pixel."""
    height, width = x.shape[1:]
    outside = (y_at < -1) | (y_at > height) | (x_at < -1) | (x_at > width)
    total: Any = 0
    y_at, x_at = np.clip(y_at, 0, height - 1), np.clip(x_at, 0, width - 1)
    y0, x0 = np.floor(y_at).astype(np.int64), np.floor(x_at).astype(np.int64)
    for y, wy in ((y0, y0 + 1 - y_at), (np.minimum(y0 + 1, height - 1), y_at - y0)):
        for z, wx in ((x0, x0 + 1 - x_at), (np.minimum(x0 + 1, width - 1), x_at - x0)):
            total = total + x[:, y, z] * np.where(outside, 0, wy * wx).astype(np.float32)
    return total


def roi_align(x: Any, boxes: Any, height: int, width: int, scale: float, ratio: int, aligned: bool) -> Any:
    """One mean for each bin of each box (image, x1, y1, x2, y2), of samples on a regular grid."""
    out = np.zeros((len(boxes), x.shape[1], height, width), np.float32)
    for k, (image, *corners) in enumerate(boxes.astype(np.float32)):
        x1, y1, x2, y2 = (c * np.float32(scale) - np.float32(0.5 if aligned else 0) for c in corners)
        sides = (y2 - y1, x2 - x1) if aligned else (max(y2 - y1, np.float32(1)), max(x2 - x1, np.float32(1)))
        places = []
        for start, side, bins in ((y1, sides[0], height), (x1, sides[1], width)):
            n = ratio if ratio > 0 else max(int(np.ceil(side / bins)), 0)
            places.append((start + (np.arange(bins * n) + 0.5) * (side / bins / max(n, 1))).astype(np.float32))
        grid = np.meshgrid(*places, indexing="ij")
        values = sample(x[int(image)], *grid)
        if values.size:
            out[k] = values.reshape(x.shape[1], height, len(places[0]) // height, width, -1).mean(axis=(2, 4))
    return out


def roi_shape(x: Any, boxes: Any, height: int, width: int, scale: float, ratio: int, aligned: bool) -> Any:
    if x.ndim != 4 or boxes.ndim != 2 or boxes.shape[1] != 5 or boxes.dtype != x.dtype:
        reject(f"self {list(x.shape)} must be (N, C, H, W), boxes {list(boxes.shape)} (K, 5) of its type")
    if scale <= 0 or ratio < 0 or height < 1 or width < 1:
        reject(f"spatialScale {scale} must be above 0, samplingRatio {ratio} not below, the pooled sides above 0")
    return (boxes.shape[0], x.shape[1], height, width)


define("Iou", iou, shape=iou_shape, result=rules.first, oracle="loops over boxes")
define("RoiAlignV2", roi_align, shape=roi_shape, result=rules.first, oracle="torch.nn.functional.grid_sample of boxes")
