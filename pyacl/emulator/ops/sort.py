"""Sorting and what is built on it: topk, unique."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .registry import define
from .rules import axis, reject

WORKSPACE = 16384
FLATTENED = 1000  # UniqueConsecutive's dim for no dimension


def order(x: Any, dim: int, descending: bool) -> Any:
    """Indices in sorted order, equal elements in their old order; NaN counts as the largest."""
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    n = x.shape[dim]
    return np.flip(n - 1 - np.argsort(np.flip(x, dim), axis=dim, kind="stable"), dim)


def sort(x: Any, stable: bool, dim: int, descending: bool) -> Any:
    if not x.ndim:
        return x, np.zeros((), np.int64)
    a = axis(dim, x.ndim)
    found = order(x, a, descending)
    return np.take_along_axis(x, found, a), found


def argsort(x: Any, dim: int, descending: bool) -> Any:
    return sort(x, True, dim, descending)[1]


def topk(x: Any, k: int, dim: int, largest: bool, is_sorted: bool) -> Any:
    a = axis(dim, x.ndim)
    if not x.ndim:
        return x, np.zeros((), np.int64)
    n = x.shape[a]
    if 0 < k < n // 8:  # selecting beats sorting; ties then go as they come
        found = np.argpartition(x, n - k if largest else k - 1, axis=a)
        found = np.sort(np.take(found, range(n - k, n) if largest else range(k), a), axis=a)
        inner = order(np.take_along_axis(x, found, a), a, largest)
        found = np.take_along_axis(found, inner, a)
    else:
        found = np.take(order(x, a, largest), range(k), a)
    return np.take_along_axis(x, found, a), found


def topk_shape(x: Any, k: int, dim: int, *_: Any) -> Any:
    a = axis(dim, x.ndim)
    n = x.shape[a] if x.ndim else 1
    if not 0 <= k <= n:
        reject(f"k is {k}, outside of [0, {n}]")
    shape = (*x.shape[:a], k, *x.shape[a + 1:]) if x.ndim else ()
    return shape, shape


def value_and_index(x: Any, *_: Any) -> Any:
    return x.dtype, np.dtype(np.int64)


def check_axis(x: Any, *rest: Any) -> None:
    axis(next(v for v in rest if not isinstance(v, (bool, np.bool_))), x.ndim)


def sort_with_index(x: Any, index: Any, dim: int, descending: bool, stable: bool) -> Any:
    """NaN comes first either way, as this operator's page says."""
    found = order(x, axis(dim, x.ndim), descending)
    if not descending and x.dtype.kind == "f":
        missing = np.take_along_axis(np.isnan(x), found, -1)
        found = np.take_along_axis(found, np.argsort(~missing, axis=-1, kind="stable"), -1)
    return np.take_along_axis(x, found, -1), np.take_along_axis(index, found, -1)


def check_sort_with_index(x: Any, index: Any, dim: int, *_: Any) -> None:
    if axis(dim, x.ndim) != max(x.ndim - 1, 0) or x.shape != index.shape:
        reject("axis is not the last dimension, or x and index differ in shape")


# ---- unique

def unique(x: Any, is_sorted: bool, inverse: bool) -> Any:
    values, where = np.unique(x, return_inverse=True)
    return values, where.reshape(x.shape) if inverse else None


def unique2(x: Any, is_sorted: bool, inverse: bool, counts: bool) -> Any:
    values, where, found = np.unique(x, return_inverse=True, return_counts=True)
    return values, where.reshape(x.shape) if inverse or counts else None, found if counts else None


def unique_dim(x: Any, is_sorted: bool, inverse: bool, dim: int) -> Any:
    values, where, counts = np.unique(x, return_inverse=True, return_counts=True, axis=axis(dim, x.ndim))
    return values, where.reshape(-1), counts


def unique_consecutive(x: Any, inverse: bool, counts: bool, dim: int) -> Any:
    a = 0 if dim == FLATTENED else axis(dim, x.ndim)
    rows = x.reshape(-1) if dim == FLATTENED else np.moveaxis(x, a, 0)
    flat = rows.reshape(rows.shape[0], -1)
    starts = np.concatenate([np.ones(min(1, len(flat)), bool), (flat[1:] != flat[:-1]).any(axis=1)])
    where = np.cumsum(starts) - 1
    values = rows[starts] if dim == FLATTENED else np.moveaxis(rows[starts], 0, a)
    sizes = np.diff(np.append(np.flatnonzero(starts), len(flat)))
    return values, (where.reshape(x.shape) if dim == FLATTENED else where) if inverse else None, \
        sizes if counts else None


define("Sort", sort, shape=lambda x, *_: (x.shape, x.shape), result=value_and_index, check=check_axis,
       workspace=WORKSPACE, oracle="torch.sort")
define("Argsort", argsort, shape=rules.same, result=rules.int64, check=check_axis, workspace=WORKSPACE,
       oracle="torch.argsort")
define("Topk", topk, shape=topk_shape, result=value_and_index, exact=True, workspace=WORKSPACE, oracle="torch.topk")
define("SortWithIndex", sort_with_index, shape=lambda x, *_: (x.shape, x.shape), check=check_sort_with_index,
       workspace=WORKSPACE, oracle="torch.sort and torch.gather")
define("Unique", unique, result=lambda x, *_: (x.dtype, None), dynamic=True, workspace=WORKSPACE, oracle="torch.unique")
define("Unique2", unique2, result=lambda x, *_: (x.dtype, None, None), dynamic=True, workspace=WORKSPACE,
       oracle="torch.unique")
define("UniqueDim", unique_dim, result=lambda x, *_: (x.dtype, None, None), dynamic=True, workspace=WORKSPACE,
       oracle="torch.unique")
define("UniqueConsecutive", unique_consecutive, result=lambda x, *_: (x.dtype, None, None), dynamic=True,
       workspace=WORKSPACE, oracle="torch.unique_consecutive")
