"""Where elements lie in a flat array: gathers and scatters are fast over one flat index, slow over several."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Shape = tuple[int, ...]
_UPDATES: tuple[Any, ...] = (None, np.add, np.multiply, np.maximum, np.minimum)
_PAIRS = {"f": np.complex64, "d": np.complex128}  # two floats are added at once as a complex number


def checked(index: Any, size: int, negative: bool = True) -> Any:
    """The index as int64 from 0 on, negative ones counted from the end; fails when one is out of range."""
    index = np.asarray(index, np.int64)
    if index.size:
        low, least = int(index.min()), -size if negative else 0
        if low < least or int(index.max()) >= size:
            raise IndexError(f"an index lies outside of [{least}, {size})")
        if low < 0:
            index = np.where(index < 0, index + size, index)
    return index


def steps(shape: Shape) -> list[int]:
    """How far apart neighbours along each dimension are."""
    found, step = [], 1
    for n in reversed(shape):
        found.append(step)
        step *= n
    return found[::-1]


def along(index: Any, axis: int, shape: Shape, full: Any = None) -> Any:
    """Of ``[i, j, index[i, j, k]]`` (for axis 2) in an array of `shape`; `index` is broadcast to the shape `full`."""
    step, place = steps(shape), checked(index, shape[axis])
    place = place * step[axis] if step[axis] != 1 else place
    grid: Any = 0
    for d, n in enumerate(full or index.shape):
        if d != axis:
            grid = grid + (np.arange(n) * step[d]).reshape([-1 if i == d else 1 for i in range(len(shape))])
    return place + grid


def points(indices: Any, shape: Shape) -> Any:
    """Of ``[indices[0], indices[1], ...]``, which broadcast, counted in runs of what lies behind a point."""
    step = steps(shape[:len(indices)])
    return np.asarray(sum(checked(index, n) * s for index, n, s in zip(indices, shape, step)))


def slices(index: Any, axis: int, shape: Shape) -> Any:
    """Of ``[..., index]`` for one index of dimension `axis`, counted in runs of what lies behind it."""
    lead = np.arange(math.prod(shape[:axis]))[:, None]
    return lead * shape[axis] + checked(index, shape[axis]).reshape(-1)


def update(found: Any, where: Any, values: Any, reduce: int) -> Any:
    """Combines the flat places of a contiguous array with values: 0 replaces, 1 adds, 2 multiplies, 3 max, 4 min."""
    flat = found.reshape(-1)
    values = np.broadcast_to(values, where.shape).reshape(-1)
    if reduce == 0:
        flat[where.reshape(-1)] = values
    else:
        _UPDATES[reduce].at(flat, where.reshape(-1), values)
    return found


def update_runs(found: Any, number: Any, values: Any, reduce: int) -> Any:
    """`update` of whole runs of a contiguous array, by their numbers; values are one run after the other."""
    if not number.size or not values.size:
        return found
    values = np.ascontiguousarray(values).reshape(number.size, -1)
    flat, width = found.reshape(-1), values.shape[1]
    pair = _PAIRS.get(found.dtype.char) if reduce == 1 and width % 2 == 0 else None
    if pair is not None:
        flat, values, width = flat.view(pair), values.astype(found.dtype, copy=False).view(pair), width // 2
    update(flat, number.reshape(-1, 1) * width + np.arange(width), values, reduce)
    return found
