"""Copies between views that tensors on the device describe."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .registry import define

_TYPES = "f16 f32 bf16 s8 u8 s16 u16 s32 u32 bool s64"


def places(size: Any, stride: Any, offset: Any, what: str, room: int) -> Any:
    """Where the elements of a view lie in its flat storage."""
    found = np.asarray(int(offset[0]))
    for n, step in zip(size.tolist(), stride.tolist()):
        found = found[..., None] + np.arange(n) * step
    if found.size and not 0 <= found.min() <= found.max() < room:
        raise IndexError(f"the view of {what} leaves its storage")
    return found


def view_copy(target: Any, size: Any, stride: Any, offset: Any, source: Any, source_size: Any, source_stride: Any,
              source_offset: Any) -> Any:
    if size.tolist() != source_size.tolist():
        raise ValueError(f"views of {size.tolist()} and {source_size.tolist()} differ")
    found = target.copy(order="C").reshape(-1)
    values = source.reshape(-1)[places(source_size, source_stride, source_offset, "src", source.size)]
    found[places(size, stride, offset, "dst", found.size)] = values
    return found.reshape(target.shape)


def view_copy_shape(target: Any, size: Any, stride: Any, offset: Any, source: Any, source_size: Any,
                    source_stride: Any, source_offset: Any) -> Any:
    described = (size, stride, offset, source_size, source_stride, source_offset)
    if target.dtype != source.dtype or any(t.dtype != size.dtype for t in described):
        rules.reject("dst and src must be of one type, and so must the six tensors that describe the views")
    if offset.size != 1 or source_offset.size != 1 or not 1 <= size.size <= 8 \
            or any(t.size != size.size or t.ndim != 1 for t in (size, stride, source_size, source_stride)):
        rules.reject("sizes and strides must have 1 to 8 elements, as many in all four, storage offsets one")
    if not target.ndim or not source.ndim:
        rules.reject("dst and src must have 1 to 8 dimensions")
    return tuple(target.shape)


define("ViewCopy", view_copy, shape=view_copy_shape, raw=True, result=rules.first, exact=True,
       oracle="torch.as_strided",
       dtypes={**dict.fromkeys(("dst", "src", "dst_out"), _TYPES), **dict.fromkeys(
           (f"{n}_{k}" for n in ("dst", "src") for k in ("size", "stride", "storage_offset")), "s32 s64")})
