"""Embedding tables: rows by index, their gradients, bags of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .places import checked, update_runs
from .registry import define

SUM, MEAN, MAX = range(3)


def embedding(weight: Any, indices: Any, out: Any = None) -> Any:
    return np.take(weight, checked(indices, weight.shape[0], negative=False), 0, out=out, mode="clip")


def embedding_shape(weight: Any, indices: Any) -> Any:
    if weight.ndim != 2:
        rules.reject(f"weight has {weight.ndim} dimensions, not 2")
    return (*indices.shape, *weight.shape[1:])


def dense_grad(grad: Any, indices: Any, count: int, padding: int, by_frequency: bool) -> Any:
    """Rows of the gradient summed by index; those of the padding index are left out."""
    flat = indices.reshape(-1).astype(np.int64)
    rows = grad.reshape(flat.size, -1)
    use = flat != (padding if padding < 1 << 63 else padding - (1 << 64))
    if not use.all():
        flat, rows = flat[use], rows[use]
    if by_frequency:
        rows = rows / np.bincount(flat, minlength=count)[flat][:, None]
    out = np.zeros((count, rows.shape[1] if rows.ndim == 2 else 0), np.float32)
    return update_runs(out, checked(flat, count), rows, 1)


def dense_grad_shape(grad: Any, indices: Any, count: int, *_: Any) -> Any:
    return count, grad.shape[-1]


def renorm(weight: Any, indices: Any, limit: float, order: float) -> Any:
    rows = np.unique(indices)
    norms = np.linalg.norm(weight[rows].astype(np.float32), ord=order, axis=1)
    factor = np.where(norms > limit, limit / (norms + 1e-7), 1).astype(np.float32)
    out = weight.copy()
    out[rows] *= factor[:, None]
    return out


def bag(weight: Any, indices: Any, offsets: Any, by_frequency: bool, mode: int, sparse: bool, per_sample: Any,
        last: bool, padding: int) -> Any:
    """(bags, the bag of each index, bag sizes, for max the rows taken): indices cut at the offsets, rows aggregated."""
    starts = offsets.astype(np.int64)
    if last:
        starts = starts[:-1]
    bags = np.searchsorted(starts, np.arange(indices.size), side="right") - 1
    use = indices != (padding if padding >= 0 else padding + weight.shape[0]) if padding != -1 else \
        np.ones(indices.shape, bool)
    rows, numbers = weight[indices], checked(bags[use], starts.size)
    sizes = np.bincount(bags[use], minlength=starts.size)
    if mode == MAX:
        out = np.full((starts.size, weight.shape[1]), -np.inf, np.float32)
        update_runs(out, numbers, rows[use], 3)
        number = np.where(rows == out[bags], np.arange(indices.size)[:, None], indices.size)  # the first of equal wins
        first = np.full(out.shape, indices.size)
        update_runs(first, numbers, number[use], 4)
        taken = np.append(indices, -1)[first]
        out[sizes == 0] = 0
        taken[sizes == 0] = 0
        return out, bags, sizes, taken
    if per_sample is not None:
        rows = rows * per_sample[:, None]
    out = np.zeros((starts.size, weight.shape[1]), np.float32)
    update_runs(out, numbers, rows[use], 1)
    if mode == MEAN:
        out = out / np.maximum(sizes, 1)[:, None]
    return out, bags, sizes, None


def bag_check(weight: Any, indices: Any, offsets: Any, by_frequency: bool, mode: int, sparse: bool, per_sample: Any,
              *_: Any) -> None:
    if mode not in (SUM, MEAN, MAX):
        rules.reject(f"mode is {mode}: choose 0 sum, 1 mean, 2 max")
    if per_sample is not None and mode != SUM:
        rules.reject("perSampleWeights go with mode 0 (sum) only")
    if weight.ndim != 2 or indices.ndim != 1 or offsets.ndim != 1:
        rules.reject("weight has 2 dimensions, indices and offsets have 1")


define("Embedding", embedding, raw=True, shape=embedding_shape, result=rules.first,
       oracle="torch.nn.functional.embedding")
define("EmbeddingDenseBackward", dense_grad, shape=dense_grad_shape, workspace=1024,
       oracle="torch.nn.functional.embedding, backward")
define("EmbeddingRenorm", renorm, oracle="torch.embedding_renorm_")
define("EmbeddingBag", bag, check=bag_check, optional="perSampleWeights", oracle="torch.nn.functional.embedding_bag")

