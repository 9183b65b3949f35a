"""Sums of float32 along the last dimensions, by BLAS: numpy's own loops over rows take several times as long."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_ONES = np.ones(4096, np.float32)
_LENGTH = 1024  # of the runs into which longer rows are cut: few additions in a row keep the rounding small


def total(x: Any, axes: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """``np.sum(x, axes, dtype, keepdims)``; `axes` is None or a tuple, counted from the front."""
    over = range(x.ndim) if axes is None else axes
    lead = x.ndim
    while lead - 1 in over:
        lead -= 1
    n = math.prod(x.shape[lead:])
    if lead == x.ndim or x.dtype != np.float32 or dtype not in (None, np.float32) or not x.flags.c_contiguous \
            or not n or (n > _ONES.size and n % _LENGTH):
        return np.sum(x, axis=axes, keepdims=keepdims, dtype=dtype)
    if n <= _ONES.size:
        found = x.reshape(-1, n) @ _ONES[:n]
    else:
        found = (x.reshape(-1, _LENGTH) @ _ONES[:_LENGTH]).reshape(-1, n // _LENGTH).sum(axis=1)
    found = found.reshape(x.shape[:lead] + (1,) * ((x.ndim - lead) if keepdims else 0))
    rest = tuple(a for a in over if a < lead)
    return found.sum(axis=rest, keepdims=keepdims) if rest else found


def mean(x: Any, axes: Any = None, keepdims: bool = False) -> Any:
    """``np.mean(x, axes, keepdims)``, with sums in float32 for float32."""
    if x.dtype != np.float32:
        return np.mean(x, axis=axes, keepdims=keepdims)
    count = math.prod(x.shape if axes is None else (x.shape[a] for a in axes))
    return np.divide(total(x, axes, keepdims), np.float32(count))
