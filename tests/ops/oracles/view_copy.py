"""Copies between described views: torch.as_strided."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..oracle import Draw, Oracle, torch


def described(d: Draw, size: tuple[int, ...], kind: Any) -> tuple[list[Any], int]:
    """(size, stride, offset) of a view whose elements do not overlap, and how many elements its storage has."""
    strides, step = [0] * len(size), 1
    for axis in d.rng.permutation(len(size)):
        strides[axis] = step
        step *= size[axis] + d.integer(0, 1)
    offset = d.integer(0, 3)
    return [np.array(v, kind) for v in (size, strides, [offset])], offset + step


def draw(d: Draw) -> list[Any]:
    size, kind = d.shape(1, 4, 3), d.choice([np.int32, np.int64])
    (target, room), (source, length) = described(d, size, kind), described(d, size, kind)
    dtype = d.dtype("f32 f16 bf16 s8 u8 s16 s32 s64 bool")
    return [d.array((room,), dtype), *target, d.array((length,), dtype), *source]


def view_copy(target: Any, size: Any, stride: Any, offset: Any, source: Any, *view: Any) -> Any:
    found = target.clone()
    from_size, from_stride, from_offset = (v.tolist() for v in view)
    torch.as_strided(found, size.tolist(), stride.tolist(), int(offset)).copy_(
        torch.as_strided(source.contiguous(), from_size, from_stride, from_offset[0]))
    return found


ORACLES = {"ViewCopy": Oracle(view_copy, draw, exact=True)}
