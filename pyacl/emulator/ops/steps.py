"""Bookkeeping of training and inference: loss scales, the next step of a batch, caches, tokens drawn from logits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...capi import lib
from . import rules
from .attention import softmax
from .random import drawn
from .registry import define

TILING = lib.ACLNN_ERR_INNER_TILING_ERROR


def update_scale(scale: Any, tracker: Any, found: Any, growth: float, backoff: float, interval: int) -> Any:
    grown = scale * np.float32(growth)
    due = tracker + 1 == interval
    bad = found != 0
    new = np.where(bad, scale * np.float32(backoff), np.where(due & np.isfinite(grown), grown, scale))
    return new, np.where(bad | due, 0, tracker + 1).astype(np.int32)


def check_scale(scale: Any, tracker: Any, found: Any, growth: float, backoff: float, interval: int) -> None:
    if not all(t.size == 1 for t in (scale, tracker, found)) or not 1 <= interval < 1 << 31:
        rules.reject(f"growthInterval is {interval}, or one of the tensors has not one element", TILING)


def advance(tokens: Any, sampled: Any, positions: Any, lengths: Any, slots: Any, blocks: Any, count: int, queries: int,
            size: int) -> Any:
    """Each query's next position is its length so far; its slot is in the block that its table names."""
    old = lengths[:queries]
    new = [t.copy() for t in (tokens, positions, lengths, slots)]
    new[0][:queries] = sampled.reshape(-1)[:queries]
    new[1].reshape(-1)[:queries] = old
    new[2][:queries] = old + 1
    new[3][:queries] = blocks[np.arange(queries), old // size] * size + old % size
    return tuple(new)


def scatter_list(variables: Any, indices: Any, updates: Any, mask: Any, reduce: Any, axis: int) -> Any:
    """updates[i] replace variables[i] from indices[i] on, along `axis` of updates; a mask of 0 leaves one alone."""
    a = rules.axis(axis, updates.ndim)
    found = []
    for i, variable in enumerate(variables):  # one slice for each tensor of the list
        variable = variable.copy()
        if mask is None or mask.reshape(-1)[i]:
            start, length = int(indices[i] if indices.ndim == 1 else indices[i, 0]), updates.shape[a]
            if indices.ndim == 2:
                length = int(indices[i, 1])
            part = np.moveaxis(updates[i], a - 1, 0)[:length]
            np.moveaxis(variable, a - 1, 0)[start:start + length] = part
        found.append(variable)
    return found


def rescaled(qkv: Any, bias: Any, heads: int) -> Any:
    """q, k, v as [B, heads, T, D], the biases added, q divided by the root of D."""
    b, t, width = qkv.shape
    parts = (qkv + bias).reshape(b, t, 3, heads, width // (3 * heads)).transpose(2, 0, 3, 1, 4)
    return parts[0] / np.float32(math.sqrt(parts.shape[-1])), parts[1], parts[2]


def rescaled_shape(qkv: Any, bias: Any, heads: int) -> Any:
    if qkv.ndim != 3 or heads <= 0 or qkv.shape[2] % (3 * heads) or tuple(bias.shape) != (qkv.shape[2],):
        rules.reject(f"qkv of shape {list(qkv.shape)} and qkvBias of {list(bias.shape)} do not fit {heads} heads")
    return ((qkv.shape[0], heads, qkv.shape[1], qkv.shape[2] // (3 * heads)),) * 3


def repeat_grad(grad: Any, repeats: Any, axis: int) -> Any:
    """Runs of `repeats` along the axis summed."""
    a = rules.axis(axis, grad.ndim)
    counts = repeats.reshape(-1).astype(np.int64)
    if counts.size == 1:
        counts = np.repeat(counts, grad.shape[a] // max(int(counts[0]), 1))
    moved = np.moveaxis(grad, a, 0)
    out = np.zeros((counts.size, *moved.shape[1:]), grad.dtype)
    if moved.shape[0]:
        filled = counts > 0  # reduceat takes an empty run for one element
        out[filled] = np.add.reduceat(moved, (np.cumsum(counts) - counts)[filled], axis=0)
    return np.moveaxis(out, 0, a)


def exponential(x: Any, count: int, rate: float, seed: int, offset: int) -> Any:
    found = x.copy()
    found.reshape(-1)[:count] = drawn(seed, offset).exponential(1 / rate, min(count, x.size))
    return found


def top_sample(logits: Any, k: Any, p: Any, q: Any, epsilon: float, keep: bool, guess: int) -> Any:
    """The index drawn for each row: of the k largest, of those the ones with probability p, of those the largest p / q.

    Without q the likeliest. With `keep` also the logits that were left, -inf for the others.
    """
    n = logits.shape[-1]
    order = np.argsort(-logits, axis=-1, kind="stable")
    ranked = np.take_along_axis(logits, order, axis=-1)
    inside = (k >= 1) & (k <= min(n, 1024))
    rank = np.arange(n)
    ranked = np.where(inside[:, None] & (rank >= k[:, None]), -np.inf, ranked)
    chances = softmax(ranked)[0]
    before = np.cumsum(chances, axis=-1) - chances
    ranked = np.where((p[:, None] < 1) & (before > p[:, None]) & (rank > 0), -np.inf, ranked)
    left = np.empty_like(ranked)
    np.put_along_axis(left, order, ranked, axis=-1)
    score = softmax(left)[0]
    if q is not None:
        score = np.where(np.isfinite(left), score / (np.abs(q) + np.float32(epsilon)), -1)
    return np.argmax(score, axis=-1), left if keep else None


define("AmpUpdateScale", update_scale, check=check_scale, result=lambda scale, *_: (scale.dtype, None),
       shape=lambda *_: ((1,), (1,)), oracle="torch._amp_update_scale_")
define("AdvanceStep", advance, roles={"inputTokens": "io"}, raw=True, oracle="query by query")
define("ScatterList", scatter_list, raw=True, optional="maskOptional", oracle="slices assigned one by one")
define("TransformBiasRescaleQkv", rescaled, shape=rescaled_shape, oracle="torch, head by head")
define("RepeatInterleaveGrad", repeat_grad, result=rules.first, oracle="torch.repeat_interleave, backward")
define("SimThreadExponential", exponential, shape=rules.same, oracle="statistics",
       deviations="the numbers differ from the device's; their distribution does not")
define("TopKTopPSample", top_sample, optional="q", oracle="row by row", shape=lambda x, *_: ((x.shape[0],),
                                                                                       tuple(x.shape)))
