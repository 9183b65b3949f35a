"""Embedding tables against PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.types import BF16, F16, F32

from ..oracle import Draw, Oracle, torch

functional = torch.nn.functional


def table(d: Draw) -> Any:
    return d.array((d.integer(2, 7), d.integer(1, 5)), d.choice([F32, F16, BF16]))


def draw_rows(d: Draw) -> list[Any]:
    weight = table(d)
    return [weight, d.array(d.shape(1, 3), d.choice([np.int32, np.int64]), 0, weight.shape[0] - 1)]


def draw_grad(d: Draw) -> list[Any]:
    count = d.integer(2, 6)
    indices = d.array(d.shape(1, 3), np.int64, 0, count - 1)
    padding = d.integer(0, count - 1) if d.flag() else 2**64 - 1
    return [d.array((*indices.shape, d.integer(1, 4)), d.choice([F32, F16])), indices, count, padding, d.flag()]


def grad(g: Any, indices: Any, count: int, padding: int, by_frequency: bool) -> Any:
    weight = torch.zeros(count, g.shape[-1], requires_grad=True)
    functional.embedding(indices, weight, None if padding == 2**64 - 1 else padding,
                         scale_grad_by_freq=by_frequency).backward(g)
    return weight.grad


def draw_renorm(d: Draw) -> list[Any]:
    weight = table(d)
    return [weight, d.array((d.integer(1, 4),), np.int64, 0, weight.shape[0] - 1), 2.0, 2.0]


def renorm(weight: Any, indices: Any, limit: float, order: float) -> Any:
    return torch.embedding_renorm_(weight.clone(), indices, limit, order)


def draw_bag(d: Draw) -> list[Any]:
    weight = table(d)
    n = d.integer(2, 8)
    mode, last = d.integer(0, 2), d.flag()
    starts = np.unique(np.append(0, d.rng.integers(0, n, 2)))
    offsets = np.append(starts, n) if last else starts
    per_sample = d.array((n,), weight.dtype) if mode == 0 and d.flag() else None
    return [weight, d.array((n,), np.int64, 0, weight.shape[0] - 1), offsets.astype(np.int64), False, mode, False,
            per_sample, last, -1]


def bag(weight: Any, indices: Any, offsets: Any, by_frequency: bool, mode: int, sparse: bool, per_sample: Any,
        last: bool, padding: int) -> Any:
    starts = offsets[:-1] if last else offsets
    found = torch.embedding_bag(weight, indices, offsets, False, mode, False, per_sample, last)
    bags = torch.searchsorted(starts, torch.arange(indices.numel()), right=True) - 1
    sizes = torch.bincount(bags, minlength=starts.numel())
    taken = found[3] if mode == 2 else torch.full((starts.numel(),), 3)
    return found[0], bags, sizes, taken


ORACLES = {
    "Embedding": Oracle(lambda w, i: functional.embedding(i.long(), w), draw_rows, exact=True),
    "EmbeddingDenseBackward": Oracle(grad, draw_grad),
    "EmbeddingRenorm": Oracle(renorm, draw_renorm),
    "EmbeddingBag": Oracle(bag, draw_bag),
}
