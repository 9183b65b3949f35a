"""Boxes: how far they overlap, and what lies under them."""

from __future__ import annotations

from typing import Any, Iterator

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


def corners(y_at: Any, x_at: Any, height: int, width: int) -> Iterator[tuple[Any, Any, Any]]:
    """The four pixels around each place: row, column, weight; weights further out than one pixel are 0."""
    outside = (y_at < -1) | (y_at > height) | (x_at < -1) | (x_at > width)
    y_at, x_at = np.clip(y_at, 0, height - 1), np.clip(x_at, 0, width - 1)
    y0, x0 = np.floor(y_at).astype(np.int64), np.floor(x_at).astype(np.int64)
    for y, wy in ((y0, y0 + 1 - y_at), (np.minimum(y0 + 1, height - 1), y_at - y0)):
        for x, wx in ((x0, x0 + 1 - x_at), (np.minimum(x0 + 1, width - 1), x_at - x0)):
            yield y, x, np.where(outside, 0, wy * wx).astype(np.float32)


def sample(x: Any, y_at: Any, x_at: Any) -> Any:
    """Bilinear values of (C, H, W) at places."""
    total: Any = 0
    for y, z, weight in corners(y_at, x_at, *x.shape[1:]):
        total = total + x[:, y, z] * weight
    return total


def bins(box: Any, height: int, width: int, scale: float, ratio: int, aligned: bool) -> Any:
    """The rows and columns of a regular grid of samples, as many in each of (height, width) bins of a box."""
    x1, y1, x2, y2 = (c * np.float32(scale) - np.float32(0.5 if aligned else 0) for c in box)
    sides = (y2 - y1, x2 - x1) if aligned else (max(y2 - y1, np.float32(1)), max(x2 - x1, np.float32(1)))
    places = []
    for start, side, count in ((y1, sides[0], height), (x1, sides[1], width)):
        n = ratio if ratio > 0 else max(int(np.ceil(side / count)), 0)
        places.append((start + (np.arange(count * n) + 0.5) * (side / count / max(n, 1))).astype(np.float32))
    return np.meshgrid(*places, indexing="ij")


def roi_align(x: Any, boxes: Any, height: int, width: int, scale: float, ratio: int, aligned: bool,
              reduce: Any = np.mean) -> Any:
    """One mean for each bin of each box (image, x1, y1, x2, y2), of its samples."""
    out = np.zeros((len(boxes), x.shape[1], height, width), np.float32)
    for k, (image, *box) in enumerate(boxes.astype(np.float32)):
        grid = bins(box, height, width, scale, ratio, aligned)
        values = sample(x[int(image)], *grid)
        if values.size:
            rows = grid[0].shape[0] // height
            out[k] = reduce(values.reshape(x.shape[1], height, rows, width, -1), axis=(2, 4))
    return out


def roi_align_by_index(x: Any, boxes: Any, images: Any, mode: str, height: int, width: int, ratio: int,
                       scale: float) -> Any:
    boxes = np.concatenate((images[:, None].astype(np.float32), boxes), axis=1)
    return roi_align(x, boxes, height, width, scale, ratio, False, np.mean if mode == "avg" else np.max)


def roi_align_back(grad: Any, boxes: Any, size: Any, height: int, width: int, scale: float, ratio: int,
                   aligned: bool) -> Any:
    """Each bin's gradient goes to the pixels around its samples."""
    out = np.zeros(size, np.float32)
    for k, (image, *box) in enumerate(boxes):
        grid = bins(box, height, width, scale, ratio, aligned)
        rows, columns = grid[0].shape[0] // height, grid[0].shape[1] // width
        share = grad[k].repeat(rows, axis=1).repeat(columns, axis=2) / np.float32(max(rows * columns, 1))
        channel = np.arange(out.shape[1])[:, None, None]
        for y, x, weight in corners(*grid, *out.shape[2:]):
            np.add.at(out[int(image)], (channel, y, x), share * weight)
    return out


def roi_shape(x: Any, boxes: Any, height: int, width: int, scale: float, ratio: int, aligned: bool) -> Any:
    if x.ndim != 4 or boxes.ndim != 2 or boxes.shape[1] != 5 or boxes.dtype != x.dtype:
        reject(f"self {list(x.shape)} must be (N, C, H, W), boxes {list(boxes.shape)} (K, 5) of its type")
    if scale <= 0 or ratio < 0 or height < 1 or width < 1:
        reject(f"spatialScale {scale} must be above 0, samplingRatio {ratio} not below, the pooled sides above 0")
    return (boxes.shape[0], x.shape[1], height, width)


def roi_by_index_shape(x: Any, boxes: Any, images: Any, mode: str, height: int, width: int, ratio: int,
                       scale: float) -> Any:
    if x.ndim != 4 or boxes.ndim != 2 or boxes.shape[1] != 4 or tuple(images.shape) != (boxes.shape[0],) \
            or boxes.dtype != x.dtype:
        reject(f"self {list(x.shape)} must be (N, C, H, W), rois {list(boxes.shape)} (K, 4) of its type, batchIndices "
               f"{list(images.shape)} (K)")
    if mode not in ("avg", "max") or scale <= 0 or ratio < 0 or height < 1 or width < 1:
        reject(f'mode "{mode}" must be "avg" or "max", spatialScale {scale} above 0, samplingRatio {ratio} not below, '
               "the output's sides above 0")
    return (boxes.shape[0], x.shape[1], height, width)


def roi_back_shape(grad: Any, boxes: Any, size: Any, height: int, width: int, scale: float, ratio: int,
                   aligned: bool) -> Any:
    if boxes.ndim != 2 or boxes.shape[1] != 5 or len(size) != 4 or min(size) < 0 \
            or tuple(grad.shape) != (boxes.shape[0], size[1], height, width):
        reject(f"boxes {list(boxes.shape)} must be (K, 5), inputShape {list(size)} have 4 numbers, gradOutput "
               f"{list(grad.shape)} be (K, C, pooledHeight, pooledWidth)")
    if scale <= 0 or ratio < 0:
        reject(f"spatialScale {scale} must be above 0, samplingRatio {ratio} not below")
    return tuple(size)


# ---- maxima of bins

def roi_pool(x: Any, boxes: Any, height: int, width: int, scale_h: float, scale_w: float) -> Any:
    """Maxima and where they are in a channel; 0 and -1 of empty bins."""
    found = np.zeros((len(boxes), x.shape[1], height, width), np.float32)
    index = np.full(found.shape, -1)
    for k, (image, x1, y1, x2, y2) in enumerate(boxes.astype(np.float32)):
        edges = []
        for low, high, factor, count, limit in ((y1, y2, scale_h, height, x.shape[2]), (x1, x2, scale_w, width,
                                                                                        x.shape[3])):
            start, side = low * np.float32(factor), (high + 1) * np.float32(factor) - low * np.float32(factor)
            step, i = side / np.float32(count), np.arange(count, dtype=np.float32)
            edges.append([np.clip(v, 0, limit).astype(np.int64) for v in (
                np.floor(i * step + start), np.ceil((i + 1) * step + start))] if side > 0 else [[], []])
        for row, (top, bottom) in enumerate(zip(*edges[0])):
            for column, (left, right) in enumerate(zip(*edges[1])):
                part = x[int(image), :, top:bottom, left:right].reshape(x.shape[1], -1)
                if part.size:
                    best = part.argmax(axis=1)
                    found[k, :, row, column] = np.take_along_axis(part, best[:, None], axis=1)[:, 0]
                    down, across = np.divmod(best, right - left)
                    index[k, :, row, column] = (top + down) * x.shape[3] + left + across
    return found, index


def roi_pool_shape(x: Any, boxes: Any, height: int, width: int, scale_h: float, scale_w: float) -> Any:
    if x.ndim != 4 or boxes.ndim != 2 or boxes.shape[1] != 5 or 0 in (*x.shape, *boxes.shape):
        reject(f"x {list(x.shape)} must be (N, C, H, W), rois {list(boxes.shape)} (K, 5), neither empty")
    if x.shape[0] % 16 or max(x.shape[0], boxes.shape[0]) > 1024 or x.shape[0] != boxes.shape[0]:
        reject(f"x has {x.shape[0]} images and there are {boxes.shape[0]} rois: as many, a multiple of 16 up to 1024")
    if min(height, width) < 1 or min(scale_h, scale_w) <= 0:
        reject(f"the pooled sides {height}, {width} and the scales {scale_h}, {scale_w} must be above 0")
    return ((boxes.shape[0], x.shape[1], height, width),) * 2


def roi_pool_back(grad: Any, old: Any, boxes: Any, index: Any, height: int, width: int, scale: float) -> Any:
    """Sums where a maximum was; what was there stays elsewhere."""
    found, touched = np.zeros(old.shape, np.float32), np.zeros(old.shape, bool)
    roi, channel, *_ = there = np.nonzero(index >= 0)
    where = (boxes[roi, 0].astype(np.int64), channel, index[there])
    np.add.at(found.reshape(*old.shape[:2], -1), where, grad[there])
    touched.reshape(*old.shape[:2], -1)[where] = True
    return np.where(touched, found, old)


def roi_pool_back_check(grad: Any, old: Any, boxes: Any, index: Any, height: int, width: int, scale: float) -> None:
    if old.ndim != 4 or boxes.ndim != 2 or boxes.shape[1] != 5 or min(height, width) < 1 or boxes.shape[0] > 1024 \
            or grad.dtype != old.dtype \
            or not tuple(grad.shape) == tuple(index.shape) == (boxes.shape[0], old.shape[1], height, width):
        reject(f"gradOutput {list(grad.shape)} and argmax {list(index.shape)} must be (K, C, pooledH, pooledW), rois "
               f"{list(boxes.shape)} (K, 5) with K up to 1024, gradInputRef {list(old.shape)} (N, C, H, W) of "
               "gradOutput's type")


# ---- the complete overlap

def complete_iou(boxes: Any, truth: Any, centres: bool, cross: bool, mode: str) -> Any:
    """Overlap less the distance of the centres and the difference of the shapes; the difference of the angles."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = (middle(t, centres) for t in (boxes, truth))
    low = [np.maximum(p - m / 2, q - n / 2) for p, m, q, n in ((ax, aw, bx, bw), (ay, ah, by, bh))]
    high = [np.minimum(p + m / 2, q + n / 2) for p, m, q, n in ((ax, aw, bx, bw), (ay, ah, by, bh))]
    common = np.maximum(high[0] - low[0], 0) * np.maximum(high[1] - low[1], 0)
    overlap = common / (aw * ah + bw * bh - common)
    outer = [np.maximum(p + m / 2, q + n / 2) - np.minimum(p - m / 2, q - n / 2)
             for p, m, q, n in ((ax, aw, bx, bw), (ay, ah, by, bh))]
    apart = ((ax - bx) ** 2 + (ay - by) ** 2) / (outer[0] ** 2 + outer[1] ** 2)
    angle = np.arctan(bw / bh) - np.arctan(aw / ah)
    v = np.float32(4 / np.pi**2) * angle**2
    return (overlap - apart - np.where(v > 0, v * v / (1 - overlap + v), 0))[None], angle[None]


def middle(box: Any, centres: bool) -> Any:
    """Centres and sides of rows x, y, w, h, or of the corners' x0, y0, x1, y1."""
    a, b, c, d = box
    return (a, b, c, d) if centres else ((a + c) / 2, (b + d) / 2, c - a, d - b)


def complete_iou_shape(boxes: Any, truth: Any, centres: bool, cross: bool, mode: str) -> Any:
    if cross or mode not in ("iou", "iof"):
        reject(f'isCross must be false, mode "{mode}" "iou" or "iof"')
    if mode == "iof":
        reject('mode "iof" is not emulated')
    if boxes.ndim != 2 or boxes.shape[0] != 4 or truth.shape != boxes.shape or boxes.shape[1] % 1024 \
            or truth.dtype != boxes.dtype:
        reject(f"bBoxes {list(boxes.shape)} and gtBoxes {list(truth.shape)} must be (4, N) of one type, N a multiple "
               "of 1024")
    return ((1, boxes.shape[1]),) * 2


define("Iou", iou, shape=iou_shape, result=rules.first, oracle="loops over boxes")
define("RoiAlignV2", roi_align, shape=roi_shape, result=rules.first, oracle="torch.nn.functional.grid_sample of boxes")
define("RoiAlign", roi_align_by_index, shape=roi_by_index_shape, result=rules.first, exact=True,
       oracle="torch.nn.functional.grid_sample of boxes")
define("RoiAlignV2Backward", roi_align_back, shape=roi_back_shape, result=rules.first,
       oracle="torch.nn.functional.grid_sample of boxes, backward")
define("RoiPoolingWithArgMax", roi_pool, shape=roi_pool_shape, result=lambda x, *_: (x.dtype, None),
       oracle="bin by bin in plain Python")
define("RoiPoolingGradWithArgMax", roi_pool_back, check=roi_pool_back_check, oracle="maximum by maximum")
define("CIoU", complete_iou, shape=complete_iou_shape, result=rules.first, exact=True, oracle="torch, in float64",
       deviations='mode "iof" is not emulated')
