"""Sampling at places that are inputs themselves: deformable convolution, deformable attention, their gradients."""

from __future__ import annotations

from typing import Any, Iterator

import numpy as np

from . import rules
from .registry import define
from .rules import reject

Ints = tuple[int, ...]


def corners(y: Any, x: Any, height: Any, width: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
    """The four pixels around each place: flat index, weight, its derivatives by y and x; weights outside are 0."""
    y0, x0 = np.floor(y), np.floor(x)
    ly, lx = y - y0, x - x0
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = y0.astype(np.int64) + dy, x0.astype(np.int64) + dx
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            wy, wx = (ly if dy else 1 - ly), (lx if dx else 1 - lx)
            index = np.where(inside, row * width + column, 0)
            yield (index, np.where(inside, wy * wx, 0), np.where(inside, wx if dy else -wx, 0),
                   np.where(inside, wy if dx else -wy, 0))


# ---- convolution

class Places:
    """Where a deformable convolution samples, as [N, deformable group, tap of the kernel, place of the output]."""

    def __init__(self, x: Any, offset: Any, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints,
                 groups: int) -> None:
        n, _, self.height, self.width = x.shape
        rows, columns = offset.shape[2:]
        self.out, self.kernel, self.groups = (rows, columns), kernel, groups
        parts = offset.reshape(n, 3, groups, kernel[0] * kernel[1], rows * columns)
        taps = np.indices(kernel).reshape(2, -1, 1)
        at = np.indices((rows, columns)).reshape(2, 1, -1)
        grid = at * np.array(stride[2:]).reshape(2, 1, 1) + taps * np.array(dilation[2:]).reshape(2, 1, 1)
        self.y = parts[:, 1] + (grid[0] - padding[0])
        self.x = parts[:, 0] + (grid[1] - padding[2])
        self.mask = parts[:, 2]
        self.image = x.reshape(n, groups, -1, self.height * self.width)

    def corners(self) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Of `corners`, each [N, group, 1, all samples]."""
        for values in corners(self.y, self.x, self.height, self.width):
            yield tuple(v.reshape(*v.shape[:2], 1, -1) for v in values)

    def pixels(self, index: Any) -> Any:
        """[N, group, channel of the group, all samples]"""
        return np.take_along_axis(self.image, index, axis=-1)

    def samples(self) -> Any:
        """[N, channel, tap, place], the mask not applied."""
        found: Any = 0
        for index, weight, _, _ in self.corners():
            found = found + self.pixels(index) * weight
        return found.reshape(len(found), -1, *self.y.shape[2:])

    def by_channel(self, values: Any) -> Any:
        """Values of each deformable group for each of its channels."""
        return np.repeat(values, self.image.shape[2], axis=1)

    def spread(self, columns: Any) -> Any:
        """[N, channel, tap, place] as a picture of kernels side by side."""
        (kh, kw), (h, w) = self.kernel, self.out
        return columns.reshape(*columns.shape[:2], kh, kw, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(
            *columns.shape[:2], h * kh, w * kw)


def grouped(columns: Any, groups: int) -> Any:
    """[N, channel, tap, place] as [N, group, channel and tap, place]."""
    return columns.reshape(len(columns), groups, -1, columns.shape[-1])


def deformable(x: Any, weight: Any, offset: Any, bias: Any, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints,
               groups: int, parts: int, modulated: bool) -> Any:
    places = Places(x, offset, kernel, stride, padding, dilation, parts)
    columns = places.samples() * places.by_channel(places.mask)
    found = np.matmul(weight.reshape(groups, weight.shape[0] // groups, -1), grouped(columns, groups))
    found = found.reshape(len(x), weight.shape[0], *offset.shape[2:])
    return found if bias is None else found + bias[:, None, None], places.spread(columns)


def deformable_back(x: Any, dy: Any, sampled: Any, weight: Any, offset: Any, kernel: Ints, stride: Ints, padding: Ints,
                    dilation: Ints, groups: int, parts: int, modulated: bool) -> Any:
    places = Places(x, offset, kernel, stride, padding, dilation, parts)
    n, out = len(x), weight.shape[0]
    dy = dy.reshape(n, groups, out // groups, -1)
    plain, mask = places.samples(), places.by_channel(places.mask)
    columns = grouped(plain * mask, groups)
    d_weight = np.matmul(dy, columns.swapaxes(-1, -2)).sum(axis=0).reshape(weight.shape)
    kernels = weight.reshape(groups, out // groups, -1)
    d_columns = np.matmul(kernels.swapaxes(-1, -2), dy).reshape(plain.shape)
    by_group = (n, parts, -1, *plain.shape[2:])
    d_mask = (d_columns * plain).reshape(by_group).sum(axis=2)
    grads = (d_columns * mask).reshape(n, parts, -1, plain.shape[2] * plain.shape[3])
    dx = np.zeros(places.image.shape, np.float32)
    d_y, d_x = np.zeros((2, n, parts, grads.shape[-1]), np.float32)
    lead = np.ix_(*map(np.arange, dx.shape[:3]))
    for index, share, by_y, by_x in places.corners():
        np.add.at(dx, (*(i[..., None] for i in lead), index), grads * share)
        pixels = places.pixels(index)
        d_y += (grads * pixels * by_y).sum(axis=2)
        d_x += (grads * pixels * by_x).sum(axis=2)
    d_offset = np.stack((d_x.reshape(d_mask.shape), d_y.reshape(d_mask.shape), d_mask), axis=1)
    return dx.reshape(x.shape), d_weight, d_offset.reshape(offset.shape), dy.sum(axis=(0, 3)).reshape(-1)


def geometry(x: Any, weight: Any, offset: Any, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int,
             parts: int, modulated: bool) -> Ints:
    """The sides of the output; refuses what does not fit."""
    if any(t.ndim != 4 or 0 in t.shape or t.dtype != x.dtype for t in (x, weight, offset)):
        reject("x, weight and offset must have 4 dimensions, none of size 0, and one type")
    if len(kernel) != 2 or min(kernel) < 1 or any(len(v) != 4 for v in (stride, padding, dilation)) \
            or min(*stride, *dilation) < 1 or (*stride[:2], *dilation[:2]) != (1, 1, 1, 1):
        reject(f"kernelSize {list(kernel)} must have 2 numbers, stride {list(stride)}, padding {list(padding)} and "
               f"dilation {list(dilation)} 4, all above 0 but the padding; stride and dilation begin with 1, 1")
    channels = x.shape[1]
    if groups < 1 or parts < 1 or channels % groups or weight.shape[0] % groups or channels % parts or not modulated:
        reject(f"{channels} channels do not divide into {groups} groups and {parts} deformable ones, as do "
               f"{weight.shape[0]} outputs, or modulated is false")
    if tuple(weight.shape[1:]) != (channels // groups, *kernel) or kernel[0] * kernel[1] > 2048 \
            or kernel[0] * kernel[1] * weight.shape[1] > 65535:
        reject(f"weight {list(weight.shape)} does not fit {channels} channels, {groups} groups and kernelSize "
               f"{list(kernel)}, or the kernel is too large")
    sides = tuple((x.shape[2 + a] + padding[2 * a] + padding[2 * a + 1] - (kernel[a] - 1) * dilation[2 + a] - 1)
                  // stride[2 + a] + 1 for a in range(2))
    wanted = (x.shape[0], 3 * parts * kernel[0] * kernel[1], *sides)
    if min(sides) < 1 or tuple(offset.shape) != wanted:
        reject(f"offset has the shape {list(offset.shape)}; it must have {list(wanted)}")
    return sides


def deformable_shape(x: Any, weight: Any, offset: Any, bias: Any, kernel: Ints, *rest: Any) -> Any:
    h, w = geometry(x, weight, offset, kernel, *rest)
    if bias is not None and (tuple(bias.shape) != (weight.shape[0],) or bias.dtype != x.dtype):
        reject(f"bias has the shape {list(bias.shape)}; it must have [{weight.shape[0]}] and x's type")
    return (x.shape[0], weight.shape[0], h, w), (*x.shape[:2], h * kernel[0], w * kernel[1])


def deformable_back_shape(x: Any, dy: Any, sampled: Any, weight: Any, offset: Any, kernel: Ints, *rest: Any) -> Any:
    h, w = geometry(x, weight, offset, kernel, *rest)
    wanted = (x.shape[0], weight.shape[0], h, w), (*x.shape[:2], h * kernel[0], w * kernel[1])
    if (tuple(dy.shape), tuple(sampled.shape)) != wanted or dy.dtype != x.dtype or sampled.dtype != x.dtype:
        reject(f"gradOutput {list(dy.shape)} and offsetOut {list(sampled.shape)} must have {[list(s) for s in wanted]}")
    return tuple(x.shape), tuple(weight.shape), tuple(offset.shape), (weight.shape[0],)


# ---- attention over pictures of several scales

def levels(value: Any, sizes: Any, starts: Any, places: Any) -> Iterator[tuple[int, slice, Any, Any, Any]]:
    """(level, its keys, its values [batch, head, channel, key], corners, (width, height)) for each level.

    Corners are [batch, head, 1, query and point].
    """
    b, q, heads, _, points, _ = places.shape
    for i, ((height, width), start) in enumerate(zip(sizes.tolist(), starts.tolist())):
        keys = slice(start, start + height * width)
        at = places[:, :, :, i].transpose(0, 2, 1, 3, 4).reshape(b, heads, 1, q * points, 2)
        yield (i, keys, value[:, keys].transpose(0, 2, 3, 1), list(corners(
            at[..., 1] * np.float32(height) - np.float32(0.5), at[..., 0] * np.float32(width) - np.float32(0.5),
            height, width)), (width, height))


def flat_weights(weights: Any, level: int) -> Any:
    """[batch, query, head, level, point] -> [batch, head, 1, query and point]"""
    b, q, heads, _, points = weights.shape
    return weights[:, :, :, level].transpose(0, 2, 1, 3).reshape(b, heads, 1, q * points)


def scales_attention(value: Any, sizes: Any, starts: Any, places: Any, weights: Any) -> Any:
    b, q, heads, _, points = weights.shape
    total = np.zeros((b, heads, value.shape[3], q), np.float32)
    for i, _, image, around, _ in levels(value, sizes, starts, places):
        found: Any = 0
        for index, share, _, _ in around:
            found = found + np.take_along_axis(image, index, axis=-1) * share
        total += (found * flat_weights(weights, i)).reshape(b, heads, -1, q, points).sum(axis=-1)
    return total.transpose(0, 3, 1, 2).reshape(b, q, -1)


def scales_attention_back(value: Any, sizes: Any, starts: Any, places: Any, weights: Any, grad: Any) -> Any:
    b, q, heads, _, points = weights.shape
    dv, dp, dw = (np.zeros(t.shape, np.float32) for t in (value, places, weights))
    grads = np.repeat(grad.reshape(b, q, heads, -1).transpose(0, 2, 3, 1), points, axis=-1)
    for i, keys, image, around, sides in levels(value, sizes, starts, places):
        weight = flat_weights(weights, i)
        by_value = np.zeros(image.shape, np.float32)
        lead = [t[..., None] for t in np.ix_(*map(np.arange, image.shape[:3]))]
        by_place, by_weight = (np.zeros((*n, b, heads, q * points), np.float32) for n in ((2,), ()))
        for index, share, by_y, by_x in around:
            np.add.at(by_value, (*lead, index), grads * weight * share)
            products = grads * np.take_along_axis(image, index, axis=-1)
            by_weight += (products * share).sum(axis=2)
            by_place[0] += (products * weight * by_x).sum(axis=2)
            by_place[1] += (products * weight * by_y).sum(axis=2)
        dv[:, keys] += by_value.transpose(0, 3, 1, 2)
        for a in range(2):
            dp[:, :, :, i, :, a] = (by_place[a] * np.float32(sides[a])).reshape(b, heads, q, points).swapaxes(1, 2)
        dw[:, :, :, i] = by_weight.reshape(b, heads, q, points).swapaxes(1, 2)
    return dv, dp, dw


def scales_shape(value: Any, sizes: Any, starts: Any, places: Any, weights: Any, least: int = 32) -> Ints:
    """`least` queries there must be."""
    if value.ndim != 4 or sizes.ndim != 2 or sizes.shape[1] != 2 or starts.ndim != 1 or places.ndim != 6 \
            or weights.ndim != 5 or places.shape[5] != 2:
        reject("value has 4 dimensions, spatialShape 2, levelStartIndex 1, location 6, attnWeight 5; the last of "
               "spatialShape and location is 2")
    (b, _, heads, channels), (n, q) = value.shape, (sizes.shape[0], places.shape[1])
    wanted = (b, q, heads, n, weights.shape[4])
    if tuple(weights.shape) != wanted or tuple(places.shape) != (*wanted, 2) or tuple(starts.shape) != (n,):
        reject(f"location {list(places.shape)}, attnWeight {list(weights.shape)} and levelStartIndex "
               f"{list(starts.shape)} do not fit value {list(value.shape)} and {n} levels")
    if not value.dtype == places.dtype == weights.dtype:
        reject("value, location and attnWeight must be of one type")
    if channels % 8 or channels > 256 or not least <= q < 500000 or max(n, heads, weights.shape[4]) > 16:
        reject(f"channels {channels} must be a multiple of 8 up to 256, queries {q} lie in [{least}, 500000), levels "
               f"{n}, heads {heads} and points {weights.shape[4]} be 16 at most")
    return (b, q, heads * channels)


def scales_back_shape(value: Any, sizes: Any, starts: Any, places: Any, weights: Any, grad: Any) -> Any:
    wanted = scales_shape(value, sizes, starts, places, weights, 1)
    if tuple(grad.shape) != wanted:
        reject(f"gradOutput has the shape {list(grad.shape)}; it must have {list(wanted)}")
    return tuple(value.shape), tuple(places.shape), tuple(weights.shape)


define("DeformableConv2d", deformable, shape=deformable_shape, result=rules.first, exact=True, workspace=8192,
       optional="deformOutOptional", oracle="torch.nn.functional.grid_sample and conv2d")
define("DeformableConv2dBackward", deformable_back, shape=deformable_back_shape, result=rules.first, exact=True,
       workspace=8192, oracle="torch.nn.functional.grid_sample and conv2d, backward",
       roles={"offsetOut": "i"})
define("MultiScaleDeformableAttnFunction", scales_attention, workspace=8192, result=rules.first, exact=True,
       shape=scales_shape, rehearsed=False, oracle="torch.nn.functional.grid_sample")
define("MultiScaleDeformableAttentionGrad", scales_attention_back, shape=scales_back_shape, result=rules.first,
       exact=True, workspace=8192, rehearsed=False, oracle="torch.nn.functional.grid_sample, backward")
