"""Bookkeeping of training and inference: loss scales, the next step of a batch, caches, tokens drawn from logits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...capi import lib
from . import rules
from .random import drawn
from .registry import define
from .scores import softmax

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


def advance_guessing(tokens: Any, sampled: Any, positions: Any, lengths: Any, slots: Any, blocks: Any, guesses: Any,
                     accepted: Any, count: int, queries: int, size: int) -> Any:
    """Like `advance` with guessed tokens: each sequence goes on behind those of the last step that were accepted.

    Rejected ones are -1 in `sampled`; the last before them is the next token, and the new guesses follow it.
    """
    each = guesses.shape[1] + 1
    last = np.argmax(np.concatenate((sampled, np.full((count, 1), -1)), axis=1) < 0, axis=1) - 1
    following = np.concatenate((np.take_along_axis(sampled, last[:, None], axis=1), guesses), axis=1)
    places = positions.reshape(-1) + np.repeat(accepted, each) + 1
    found = blocks[np.repeat(np.arange(count), each), places // size] * size + places % size
    return following.reshape(tokens.shape), places, places + 1, found


def check_advance_guessing(tokens: Any, sampled: Any, positions: Any, lengths: Any, slots: Any, blocks: Any,
                           guesses: Any, accepted: Any, count: int, queries: int, size: int) -> None:
    each = guesses.shape[1] + 1 if guesses.ndim == 2 else 0
    if min(count, queries, size) < 1 or count != queries:
        rules.reject(f"numSeqs {count}, numQueries {queries} and blockSize {size} must be above 0, the first two the "
                     "same", TILING)
    wanted = {"specToken": (guesses, (count, each - 1)), "sampledTokenIds": (sampled, (count, each)),
              "acceptedNum": (accepted, (count,)), "inputPositions": (positions, (count * each,)),
              "seqLens": (lengths, (count * each,)), "slotMapping": (slots, (count * each,))}
    for name, (tensor, shape) in wanted.items():
        if tuple(tensor.shape) != shape:
            rules.reject(f"{name} has the shape {list(tensor.shape)}; it must have {list(shape)}", TILING)
    if tuple(tokens.shape) not in ((count * each,), (count, each)) or blocks.ndim != 2 or blocks.shape[0] != count:
        rules.reject(f"inputTokens {list(tokens.shape)} or blockTables {list(blocks.shape)} do not fit {count} "
                     f"sequences of {each} tokens", TILING)


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


def repeat_grad_shape(grad: Any, repeats: Any, axis: int) -> Any:
    a = rules.axis(axis, grad.ndim)
    if not grad.ndim or repeats.ndim > 1:
        rules.reject(f"yGrad has {grad.ndim} dimensions and repeats {repeats.ndim}, not 1 or more and 1 at most")
    return (*grad.shape[:a], None if repeats.size == 1 else repeats.size, *grad.shape[a + 1:])


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


def top_min_sample(logits: Any, k: Any, p: Any, q: Any, least: Any, epsilon: float, keep: bool, guess: int, limit: int,
                   raw: bool, middle: bool) -> Any:
    """Like `top_sample`, then only what has `least` times the chance of the likeliest; with `middle` what is left.

    Chances stay those of the k largest; what is left is dense and in order of size, in the order of the input where
    neither k nor p chose. Logits that are not `raw` are chances already.
    """
    n = logits.shape[-1]
    rank, none = np.arange(n), np.float32(-np.inf if raw else 0)
    order = np.argsort(-logits, axis=-1, kind="stable")
    ranked = np.take_along_axis(logits, order, axis=-1)
    by_k = (k >= 1) & (k <= min(-(-limit // 8) * 8, 1024, n))
    by_p = p < 1
    left = (rank < k[:, None]) | ~by_k[:, None]
    ranked = np.where(left, ranked, none)
    chances = softmax(ranked)[0] if raw else ranked
    before = np.cumsum(chances, axis=-1) - chances
    left &= (before < p[:, None]) | ~by_p[:, None] | (p[:, None] <= 0) & (rank == 0)
    if raw:
        chances[p <= 0, 0] = 1
    if least is not None:
        floor = least[:, None]
        left &= (floor <= 0) | (chances >= chances[:, :1] * floor) & (floor < 1) | (floor >= 1) & (rank == 0)
    plain = ~(by_k | by_p | (False if least is None else least >= 1))
    place = np.where(plain[:, None], np.argsort(order, axis=-1, kind="stable"), rank)
    place = np.take_along_axis(place, np.argsort(~np.take_along_axis(left, place, axis=-1), axis=-1, kind="stable"),
                               axis=-1)
    left, chances, order = (np.take_along_axis(t, place, axis=-1) for t in (left, chances, order))
    chances, order = np.where(left, chances, 0), np.where(left, order, 0)
    kept = None
    if keep:
        kept = np.full(logits.shape, none)
        rows, columns = np.nonzero(left)
        kept[rows, order[rows, columns]] = logits[rows, order[rows, columns]]
    if middle:
        return None, kept, order, chances
    score = chances if q is None else chances / (np.abs(q) + np.float32(epsilon))
    best = np.argmax(np.where(left, score, -1), axis=-1)
    return np.take_along_axis(order, best[:, None], axis=-1)[:, 0], kept, None, None


def top_min_shape(logits: Any, k: Any, p: Any, q: Any, least: Any, epsilon: float, keep: bool, guess: int, limit: int,
                  raw: bool, middle: bool) -> Any:
    if logits.ndim != 2 or not 0 < logits.shape[1] <= 1 << 20 or not 1 <= limit <= 1024:
        rules.reject(f"logits {list(logits.shape)} must be (batch, vocabulary of up to 2^20), ksMax {limit} lie in "
                     "[1, 1024]")
    for name, tensor in (("topK", k), ("topP", p), ("minPs", least)):
        if tensor is not None and (tuple(tensor.shape) != (logits.shape[0],)
                                   or name != "topK" and tensor.dtype != logits.dtype):
            rules.reject(f"{name} {list(tensor.shape)} must have the shape [{logits.shape[0]}]; topP and minPs are of "
                         "logits' type")
    if q is not None and tuple(q.shape) != tuple(logits.shape):
        rules.reject(f"q has the shape {list(q.shape)}; it must have that of logits")
    if middle and q is not None:
        rules.reject("isNeedSampleResult is true: q must be NULL")
    return ((logits.shape[0],), *(tuple(logits.shape),) * 3)


define("AmpUpdateScale", update_scale, check=check_scale, result=lambda scale, *_: (scale.dtype, None),
       shape=lambda *_: ((1,), (1,)), oracle="torch._amp_update_scale_")
define("AdvanceStep", advance, roles={"inputTokens": "io"}, raw=True, oracle="query by query")
define("ScatterList", scatter_list, raw=True, optional="maskOptional", oracle="slices assigned one by one")
define("TransformBiasRescaleQkv", rescaled, shape=rescaled_shape, oracle="torch, head by head")
define("RepeatInterleaveGrad", repeat_grad, shape=repeat_grad_shape, result=rules.first, rehearsed=False,
       oracle="torch.repeat_interleave, backward")
define("SimThreadExponential", exponential, shape=rules.same, oracle="statistics",
       deviations="the numbers differ from the device's; their distribution does not")
define("TopKTopPSample", top_sample, optional="q", oracle="row by row", shape=lambda x, *_: ((x.shape[0],),
                                                                                       tuple(x.shape)))
define("AdvanceStepV2", advance_guessing, raw=True, check=check_advance_guessing, oracle="sequence by sequence")
define("TopKTopPSampleV2", top_min_sample, optional="q minPs logitsTopKPSelect logitsIdx logitsSortMasked",
       shape=top_min_shape, workspace=4096, oracle="row by row")
