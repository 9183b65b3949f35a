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
        return float(w * h / (other if mode == "iof" else own + other - w * h))

    rows, columns = boxes.tolist(), truth.tolist()
    found = [[one(a, b)] for a, b in zip(rows, columns)] if aligned else [[one(a, b) for b in columns] for a in rows]
    return torch.tensor(found)


def roi_inputs(d: Draw) -> list[Any]:
    n, k, size = d.integer(1, 2), d.integer(1, 3), 8
    boxes = np.concatenate((d.rng.integers(0, n, (k, 1)), corners(d, k, size) * 2), 1).astype(np.float32)
    x = d.array((n, d.integer(1, 3), size, size), np.float32)
    return [x, boxes, d.integer(1, 3), d.integer(1, 3), 0.5, d.integer(0, 2), d.flag()]


def roi_align(x: Any, boxes: Any, height: int, width: int, scale: float, ratio: int, aligned: bool,
              pool: Any = torch.nn.functional.avg_pool2d) -> Any:
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
        found.append(pool(values, (ny, nx))[0])
    return torch.stack(found)


def roi_by_index_inputs(d: Draw) -> list[Any]:
    x, boxes, height, width, scale, ratio, _ = roi_inputs(d)
    dtype = d.choice([np.float32, np.float16])
    return [x.astype(dtype), (boxes[:, 1:]).astype(dtype), boxes[:, 0].astype(np.int32), d.choice(["avg", "max"]),
            height, width, ratio, scale]


def roi_by_index(x: Any, boxes: Any, images: Any, mode: str, height: int, width: int, ratio: int, scale: float) -> Any:
    boxes = torch.cat([images[:, None].float(), boxes], 1)
    pool = torch.nn.functional.avg_pool2d if mode == "avg" else torch.nn.functional.max_pool2d
    return roi_align(x, boxes, height, width, scale, ratio, False, pool)


def roi_back_inputs(d: Draw) -> list[Any]:
    x, boxes, height, width, *rest = roi_inputs(d)
    return [d.array((len(boxes), x.shape[1], height, width), np.float32), boxes, x.shape, height, width, *rest]


def roi_back(grad: Any, boxes: Any, size: Any, height: int, width: int, *rest: Any) -> Any:
    x = torch.zeros(size, requires_grad=True)
    roi_align(x, boxes, height, width, *rest).backward(grad)
    return x.grad


# ---- maxima of bins

def pool_inputs(d: Draw) -> list[Any]:
    n, size, dtype = 16, d.integer(4, 8), d.choice([np.float32, np.float16])
    boxes = np.concatenate((d.rng.integers(0, n, (n, 1)), corners(d, n, size) * 2), 1).astype(dtype)
    boxes[0, 3:] = boxes[0, 1:3] - 2  # an empty one
    return [d.array((n, d.integer(1, 2), size, size), dtype), boxes, d.integer(1, 3), d.integer(1, 3),
            d.choice([0.5, 0.4]), d.choice([0.5, 0.3])]


def pool(x: Any, boxes: Any, height: int, width: int, scale_h: float, scale_w: float) -> Any:
    f, rows, columns = np.float32, x.shape[2], x.shape[3]
    found = np.zeros((len(boxes), x.shape[1], height, width), f)
    index = np.full(found.shape, -1)
    for k, (image, *box) in enumerate(boxes.tolist()):
        x1, y1, x2, y2 = (f(v) for v in box)
        w, h = (x2 + 1) * f(scale_w) - x1 * f(scale_w), (y2 + 1) * f(scale_h) - y1 * f(scale_h)
        for c, i, j in np.ndindex(*found.shape[1:]):
            tops = [f(i + e) * (h / f(height)) + y1 * f(scale_h) for e in (0, 1)]
            lefts = [f(j + e) * (w / f(width)) + x1 * f(scale_w) for e in (0, 1)]
            inside = [(r, s) for r in range(max(int(np.floor(tops[0])), 0), min(int(np.ceil(tops[1])), rows))
                      for s in range(max(int(np.floor(lefts[0])), 0), min(int(np.ceil(lefts[1])), columns))]
            if w > 0 and h > 0 and inside:
                best = max(inside, key=lambda at: float(x[int(image), c, at[0], at[1]]))
                found[k, c, i, j] = x[int(image), c, best[0], best[1]]
                index[k, c, i, j] = best[0] * columns + best[1]
    return torch.from_numpy(found), torch.from_numpy(index)


def pool_back_inputs(d: Draw) -> list[Any]:
    n, c, size, k, height, width = d.integer(1, 3), d.integer(1, 2), d.integer(2, 5), d.integer(1, 3), 2, 3
    dtype, shape = d.choice([np.float32, np.float16]), (k, c, height, width)
    boxes = np.concatenate((d.rng.integers(0, n, (k, 1)), corners(d, k, size)), 1).astype(dtype)
    return [d.array(shape, dtype), np.zeros((n, c, size, size), dtype), boxes,
            d.array(shape, np.int32, -1, size * size - 1), height, width, 0.5]


def pool_back(grad: Any, old: Any, boxes: Any, index: Any, *rest: Any) -> Any:
    found = old.clone().flatten(2)
    for k, c, i, j in np.ndindex(*grad.shape):
        if index[k, c, i, j] >= 0:
            found[int(boxes[k, 0]), c, index[k, c, i, j]] += grad[k, c, i, j]
    return found.reshape(old.shape)


# ---- the complete overlap

def complete_inputs(d: Draw) -> list[Any]:
    dtype, centres = d.choice([np.float32, np.float16]), d.flag()
    pair = [corners(d, 1024, 8).T.astype(dtype) for _ in range(2)]
    return [*pair, centres, False, "iou"]


def complete(boxes: Any, truth: Any, centres: bool, cross: bool, mode: str) -> Any:
    """From the corners; the angles by atan2."""
    a, b = (t.double() for t in (boxes, truth))
    if centres:
        a, b = (torch.cat((t[:2] - t[2:] / 2, t[:2] + t[2:] / 2)) for t in (a, b))
    sides = [t[2:] - t[:2] for t in (a, b)]
    common = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0).prod(0)
    overlap = common / (sides[0].prod(0) + sides[1].prod(0) - common)
    outer = torch.maximum(a[2:], b[2:]) - torch.minimum(a[:2], b[:2])
    apart = (((a[:2] + a[2:]) - (b[:2] + b[2:])) / 2).square().sum(0) / outer.square().sum(0)
    angle = torch.atan2(*sides[1]) - torch.atan2(*sides[0])
    v = 4 / np.pi**2 * angle**2
    return (overlap - apart - v / (1 - overlap + v) * v)[None].float(), angle[None].float()


ORACLES = {
    "RoiAlign": Oracle(roi_by_index, roi_by_index_inputs, rtol=1e-4, atol=1e-3, cases=8),
    "RoiAlignV2Backward": Oracle(roi_back, roi_back_inputs, rtol=1e-4, atol=1e-4),
    "RoiPoolingWithArgMax": Oracle(pool, pool_inputs, exact=True),
    "RoiPoolingGradWithArgMax": Oracle(pool_back, pool_back_inputs, atol=1e-4),
    "CIoU": Oracle(complete, complete_inputs, rtol=1e-4, atol=1e-4),
    "Iou": Oracle(iou, iou_inputs, atol=1e-5),
    "RoiAlignV2": Oracle(roi_align, roi_inputs, rtol=1e-4, atol=1e-4),
}
