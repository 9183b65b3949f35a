"""Large operators piece by piece, so that what they compute in between stays in the cache.

A piece is a tuple of slices of the leading dimensions; what lies behind these is computed together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Callable, Optional

import numpy as np

SIZE = 1 << 18  # elements of a piece, if its dimensions allow: more cost cache misses, fewer calls of Python
LARGE = 1 << 15  # elements of a tensor that is worth some microseconds of preparation

# The C library learns from a large block that is freed to keep memory of such sizes. Otherwise it would fetch what
# holds intermediate results from the system again and again, page by page: many times as slow as computing.
np.empty((1 << 25) - (1 << 16), np.uint8)

_ROW = 512  # elements

Piece = tuple[slice, ...]


def pieces(shape: tuple[int, ...], leading: int) -> Iterator[Piece]:
    """Cuts the first `leading` dimensions of a shape."""
    behind, cut = math.prod(shape[leading:]), leading
    while cut > 1 and behind * shape[cut - 1] <= SIZE:
        cut -= 1
        behind *= shape[cut]
    step = max(SIZE // max(behind, 1), 1)
    for lead in product(*(range(n) for n in shape[:cut - 1])):
        for start in range(0, shape[cut - 1], step):
            yield (*(slice(i, i + 1) for i in lead), slice(start, start + step))


def large(call: Callable[[], None]) -> Callable[[], None]:
    """For large operators: numpy copies rows that are shorter than its buffer before it broadcasts along them."""
    def run() -> None:
        old = np.setbufsize(_ROW)
        try:
            call()
        finally:
            np.setbufsize(old)

    return run


@dataclass
class Cut:
    """Inputs and outputs, the shape whose `leading` dimensions are cut, and the inputs that have it: their positions,
    and how many of its first dimensions they have not."""

    inputs: list[Any]
    outputs: list[Any]
    shape: tuple[int, ...]
    leading: int
    along: list[tuple[int, int]]

    def each(self, execute: Callable[[list[Any], list[Any]], None]) -> Callable[[], None]:
        """Calls `execute` with the parts of inputs and outputs, piece by piece."""
        def call() -> None:
            values = list(self.inputs)
            for piece in pieces(self.shape, self.leading):
                for i, skip in self.along:
                    values[i] = _part(self.inputs[i], piece, skip)
                execute(values, [None if out is None else out[piece] for out in self.outputs])

        return call


def _part(array: Any, piece: Piece, skip: int) -> Any:
    """An array's elements in a piece of a shape to which it broadcasts, or which has more dimensions at its end."""
    return array[tuple(s if n != 1 else slice(None) for s, n in zip(piece[skip:], array.shape))]


def elementwise(inputs: list[Any], outputs: list[Any]) -> Optional[Cut]:
    """All dimensions may be cut."""
    large = [i for i, v in enumerate(inputs) if isinstance(v, np.ndarray) and v.size > 1]
    shape = outputs[0].shape if outputs and outputs[0] is not None else ()
    if math.prod(shape) < 2 * SIZE or any(out is None or out.shape != shape for out in outputs) \
            or any(isinstance(v, list) for v in inputs) or not all(_fits(inputs[i].shape, shape) for i in large) \
            or not _apart(inputs, outputs, large):
        return None
    if all(a.shape == shape and a.flags.c_contiguous for a in (*outputs, *(inputs[i] for i in large))):
        inputs = [v.reshape(-1) if isinstance(v, np.ndarray) else v for v in inputs]
        outputs = [out.reshape(-1) for out in outputs]
        return Cut(inputs, outputs, outputs[0].shape, 1, [(i, 0) for i in large])
    return Cut(inputs, outputs, shape, len(shape), [(i, len(shape) - inputs[i].ndim) for i in large])


def rows(inputs: list[Any], outputs: list[Any], along: tuple[int, ...], leading: int) -> Optional[Cut]:
    """The inputs at `along` have `leading` dimensions in common, with each other and all outputs."""
    along = tuple(i for i in along if isinstance(inputs[i], np.ndarray))
    first = inputs[along[0]]
    if not leading or first.size < 2 * SIZE or not _apart(inputs, outputs, along):
        return None
    return Cut(inputs, outputs, first.shape, leading, [(i, 0) for i in along])


def _fits(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    return len(shape) <= len(full) and all(n in (1, m) for n, m in zip(shape[::-1], full[::-1]))


def _apart(inputs: list[Any], outputs: list[Any], along: Any) -> bool:
    """Whether writing a piece of the outputs leaves all other pieces of the inputs as they are."""
    def apart(out: Any, i: int, array: Any) -> bool:
        same = i in along and (out.ctypes.data, out.shape, out.strides) == (array.ctypes.data, array.shape,
                                                                            array.strides)
        return same or not np.may_share_memory(out, array)

    arrays = [(i, v) for i, v in enumerate(inputs) if isinstance(v, np.ndarray)]
    return all(apart(out, i, v) for out in outputs if out is not None for i, v in arrays)
