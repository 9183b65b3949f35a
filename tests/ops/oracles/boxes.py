"""Boxes: plain loops, and grid_sample for what lies under them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..oracle import Draw, Oracle, torch


def corners(d: Draw, n: int, size: float) -> Any:
    low = d.rng.uniform(0, size * 0.6, (n, 2))
    return np.concatenate((low, low + d.rng.uniform(0.5, size * 0.35, (n, 2))), 1).astype(np.float32)


def iou_inputs(d: Draw) -> list[Any]:
    aligned, n = d.flag(), d.integer(1, 4)
    return [corners(d, n, 8), corners(d, n if aligned else d.integer(1, 4), 8), d.choice(["iou", "iof"]), 0.0, aligned]


def iou(boxes: Any, truth: Any, mode: str, eps: float, aligned: bool) -> Any:
    def one(a: Any, b: Any) -> float:
        w = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
        h = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
        own, other = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
        return w * h / (other if mode == "iof" else own + other - w * h)

    rows, columns = boxes.tolist(), truth.tolist()
    found = [[one(a, b)] for a, b in zip(rows, columns)] if aligned else [[one(a, b) for b in columns] for a in rows]
    return torch.tensor(found)


def roi_inputs(d: Draw) -> list[Any]:
    n, k, size = d.integer(1, 2), d.integer(1, 3), 8
    boxes = np.concatenate((d.rng.integers(0, n, (k, 1)), corners(d, k, size) * 2), 1).astype(np.float32)
    x = d.array((n, d.integer(1, 3), size, size), np.float32)
    return [x, boxes, d.integer(1, 3), d.integer(1, 3), 0.5, d.integer(0, 2), d.flag()]


def roi_align(x: Any, boxes: Any, height: int, width: int, scale: float, ratio: int, aligned: bool) -> Any:
    """Samples of each bin by grid_sample, which takes coordinates of the whole picture as [-1, 1]."""
    found = []
    for image, x1, y1, x2, y2 in boxes.tolist():
        shift = 0.5 if aligned else 0.0
        left, top, right, bottom = (v * scale - shift for v in (x1, y1, x2, y2))
        w, h = right - left, bottom - top
        if not aligned:
            w, h = max(w, 1.0), max(h, 1.0)
        ny, nx = ratio or int(np.ceil(h / height)), ratio or int(np.ceil(w / width))
        ys = torch.tensor([top + h / height * (i + 0.5) / ny for i in range(height * ny)])
        xs = torch.tensor([left + w / width * (i + 0.5) / nx for i in range(width * nx)])
        sides = x.shape[2] - 1, x.shape[3] - 1
        grid = torch.stack(torch.broadcast_tensors(2 * xs[None] / sides[1] - 1, 2 * ys[:, None] / sides[0] - 1), -1)
        values = torch.nn.functional.grid_sample(x[int(image)][None], grid[None], padding_mode="border",
                                                 align_corners=True)
        found.append(torch.nn.functional.avg_pool2d(values, (ny, nx))[0])
    return torch.stack(found)


ORACLES = {
    "Iou": Oracle(iou, iou_inputs, atol=1e-5),
    "RoiAlignV2": Oracle(roi_align, roi_inputs, rtol=1e-4, atol=1e-4),
}
