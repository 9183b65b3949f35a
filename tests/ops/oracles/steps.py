"""Loss scales, the next step of a batch, tokens drawn from logits: PyTorch, or row by row in plain Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyacl.emulator.ops.types import BF16, F16, F32

from ..oracle import Draw, Oracle, torch


def draw_scale(d: Draw) -> list[Any]:
    scale = np.full(1, d.choice([4.0, 3e38]), F32)
    return [scale, np.full(1, d.integer(0, 3), np.int32), np.full(1, d.integer(0, 1), F32), 2.0, 0.5, d.integer(1, 4)]


def update_scale(scale: Any, tracker: Any, found: Any, *rest: Any) -> Any:
    scale, tracker = scale.clone(), tracker.clone()
    torch._amp_update_scale_(scale, tracker, found, *rest)
    return scale, tracker


def draw_advance(d: Draw) -> list[Any]:
    queries, size = d.integer(1, 3), d.integer(2, 4)
    count = queries + d.integer(0, 2)
    lengths = d.rng.integers(1, 9, count)
    return [d.rng.integers(1, 99, count), d.rng.integers(1, 99, (queries, 1)), d.rng.integers(1, 99, count), lengths,
            d.rng.integers(1, 99, count), d.rng.integers(1, 99, (count, 8)), count, queries, size]


def advance(tokens: Any, sampled: Any, positions: Any, lengths: Any, slots: Any, blocks: Any, count: int, queries: int,
            size: int) -> Any:
    found = [t.clone() for t in (tokens, positions, lengths, slots)]
    for i in range(queries):
        old = int(lengths[i])
        found[0][i], found[1][i], found[2][i] = sampled[i, 0], old, old + 1
        found[3][i] = blocks[i, old // size] * size + old % size
    return tuple(found)


def draw_rescale(d: Draw) -> list[Any]:
    dtype, heads, size = d.choice([F32, F16, BF16]), d.integer(1, 3), d.integer(1, 4)
    return [d.array((d.integer(1, 3), d.integer(1, 4), 3 * heads * size), dtype),
            d.array((3 * heads * size,), dtype), heads]


def rescale(qkv: Any, bias: Any, heads: int) -> Any:
    parts = [torch.stack(p.chunk(heads, -1), 1) for p in (qkv + bias).chunk(3, -1)]
    return parts[0] / math.sqrt(parts[0].shape[-1]), parts[1], parts[2]


def draw_repeat(d: Draw) -> list[Any]:
    shape = list(d.shape(1, 3))
    axis = d.axis(len(shape))
    counts = d.rng.integers(0, 4, d.integer(2, 4)) if d.flag() else np.array([d.integer(1, 3)])
    if counts.sum() == 0:
        counts[0] = 1
    shape[axis] = int(counts.sum()) if counts.size > 1 else shape[axis] * int(counts[0])
    return [d.array(tuple(shape), d.choice([F32, F16, BF16])), counts, axis]


def repeat(grad: Any, counts: Any, axis: int) -> Any:
    size = len(counts) if len(counts) > 1 else grad.shape[axis] // int(counts[0])
    x = torch.zeros([size if i == axis % grad.ndim else n for i, n in enumerate(grad.shape)], requires_grad=True)
    torch.repeat_interleave(x, counts, axis).backward(grad)
    return x.grad


def draw_exponential(d: Draw) -> list[Any]:
    return [np.full((40, 50), -1, F32), 1900, 2.0, d.integer(0, 99), 8]


def accept_exponential(inputs: list[Any], outputs: list[Any]) -> None:
    flat = outputs[0].reshape(-1)
    drawn = flat[:1900]
    assert (flat[1900:] == -1).all()
    assert (drawn >= 0).all()
    assert abs(drawn.mean() - 0.5) < 0.08
    assert abs((drawn > 0.5).mean() - math.exp(-1)) < 0.05


def draw_sample(d: Draw) -> list[Any]:
    rows, n, dtype = d.integer(1, 4), d.integer(2, 9), d.choice([F16, BF16])
    logits = np.stack([d.rng.permutation(n) for _ in range(rows)]) / 4
    return [logits.astype(dtype), d.rng.integers(0, n + 2, rows).astype(np.int32),
            d.rng.choice([0.25, 0.5, 0.75, 1], rows).astype(dtype),
            d.rng.exponential(1, (rows, n)).astype(F32) if d.flag() else None, 1e-6, True, 32]


def sample(logits: Any, k: Any, p: Any, q: Any, epsilon: float, keep: bool, guess: int) -> Any:
    chosen, left = [], torch.full(logits.shape, -math.inf)
    for i, row in enumerate(logits.tolist()):
        order = sorted(range(len(row)), key=lambda j: -row[j])
        if 1 <= k[i] <= len(row):
            order = order[:int(k[i])]
        weights = [math.exp(row[j]) for j in order]
        inside: list[int] = []
        total = 0.0
        for j, w in zip(order, weights):
            if p[i] >= 1 or total <= p[i] or not inside:
                inside.append(j)
            total += w / sum(weights)
        for j in inside:
            left[i, j] = row[j]
        chosen.append(max(inside, key=lambda j: math.exp(row[j]) / (1 if q is None else float(q[i, j]) + epsilon)))
    return torch.tensor(chosen), left


def draw_list(d: Draw) -> list[Any]:
    count, room, dtype = d.integer(1, 3), d.integer(4, 6), d.choice([F32, F16, BF16])
    length, shape = d.integer(1, 3), (d.integer(1, 3), d.integer(1, 3))
    starts = d.rng.integers(0, room - length + 1, count)
    if d.flag():
        starts = np.stack([starts, d.rng.integers(1, length + 1, count)], axis=1)
    return [[d.array((shape[0], room, shape[1]), dtype) for _ in range(count)], starts,
            d.array((count, shape[0], length, shape[1]), dtype),
            d.rng.integers(0, 2, count).astype(np.uint8) if d.flag() else None, "update", -2]


def scatter_list(variables: Any, starts: Any, updates: Any, mask: Any, reduce: str, axis: int) -> Any:
    for i, x in enumerate(variables):
        start, length = starts[i].tolist() if starts.ndim == 2 else (int(starts[i]), updates.shape[2])
        for row in range(length if mask is None or mask[i] else 0):
            x[:, start + row] = updates[i, :, row]
    return variables


def draw_guessing(d: Draw) -> list[Any]:
    count, guesses, size = d.integer(1, 4), d.integer(1, 3), d.integer(2, 4)
    each = guesses + 1
    sampled = d.rng.integers(1, 99, (count, each))
    for row in sampled:
        row[d.integer(1, each):] = -1
    return [d.rng.integers(1, 99, d.choice([(count * each,), (count, each)])), sampled,
            d.rng.integers(0, 9, count * each), d.rng.integers(0, 9, count * each), d.rng.integers(0, 9, count * each),
            d.rng.integers(1, 99, (count, 8)), d.rng.integers(1, 99, (count, guesses)),
            d.rng.integers(0, guesses + 1, count), count, count, size]


def guessing(tokens: Any, sampled: Any, positions: Any, lengths: Any, slots: Any, blocks: Any, guesses: Any,
             accepted: Any, count: int, queries: int, size: int) -> Any:
    following, places, found = [], [], []
    each = guesses.shape[1] + 1
    for i in range(count):
        following += [[t for t in sampled[i].tolist() if t >= 0][-1], *guesses[i].tolist()]
        for j in range(each):
            place = int(positions[i * each + j]) + int(accepted[i]) + 1
            places.append(place)
            found.append(int(blocks[i, place // size]) * size + place % size)
    return (torch.tensor(following).reshape(tokens.shape), torch.tensor(places), torch.tensor(places) + 1,
            torch.tensor(found))


def draw_min_sample(d: Draw) -> list[Any]:
    rows, n, dtype, raw = d.integer(1, 4), d.integer(2, 9), d.choice([F32, F16, BF16]), d.flag()
    logits = np.stack([d.rng.permutation(n) for _ in range(rows)]) / 4
    if not raw:
        logits = (logits + 0.5) / (logits + 0.5).sum(axis=1, keepdims=True)
    middle = d.flag()
    q = d.rng.exponential(1, (rows, n)).astype(F32) if not middle and d.flag() else None
    least = d.rng.choice([-0.5, 0.3, 0.7, 1.5], rows).astype(dtype) if d.flag() else None
    return [logits.astype(dtype), d.rng.integers(0, n + 2, rows).astype(np.int32),
            d.rng.choice([-0.5, 0.3, 0.6, 1], rows).astype(dtype), q, least, 1e-6, d.flag(), 32, d.choice([8, 1024]),
            raw, middle]


def min_sample(logits: Any, k: Any, p: Any, q: Any, least: Any, epsilon: float, keep: bool, guess: int, limit: int,
               raw: bool, middle: bool) -> Any:
    none = -math.inf if raw else 0.0
    chosen, kept = torch.zeros(logits.shape[0], dtype=torch.int64), torch.full(logits.shape, none)
    indices, values = torch.zeros(logits.shape, dtype=torch.int64), torch.zeros(logits.shape)
    for i, row in enumerate(logits):
        floor = -1.0 if least is None else float(least[i])
        order = sorted(range(row.numel()), key=lambda j: -float(row[j]))
        chooses = 1 <= k[i] <= min(limit, row.numel())
        if chooses:
            order = order[:int(k[i])]
        chances = dict(zip(order, (torch.softmax(row[order], 0) if raw else row[order]).tolist()))
        if p[i] <= 0:
            order = order[:1]
            chances[order[0]] = 1.0 if raw else chances[order[0]]
        elif p[i] < 1:
            total, inside = 0.0, []
            for j in order:
                if total < float(p[i]):
                    inside.append(j)
                total += chances[j]
            order = inside
        elif not chooses and floor < 1:
            order = list(range(row.numel()))
        if floor >= 1:
            order = order[:1]
        elif floor > 0:
            order = [j for j in order if chances[j] >= floor * max(chances.values())]
        kept[i, order] = row[order]
        indices[i, :len(order)] = torch.tensor(order)
        values[i, :len(order)] = torch.tensor([chances[j] for j in order])
        score = [chances[j] / (1 if q is None else float(q[i, at]) + epsilon) for at, j in enumerate(order)]
        chosen[i] = order[score.index(max(score))]
    return (torch.full_like(chosen, 3) if middle else chosen, kept if keep else torch.full(logits.shape, 3.0),
            *((indices, values) if middle else (torch.full_like(indices, 3), torch.full(logits.shape, 3.0))))


ORACLES = {
    "AdvanceStepV2": Oracle(guessing, draw_guessing, exact=True),
    "TopKTopPSampleV2": Oracle(min_sample, draw_min_sample, cases=24),
    "ScatterList": Oracle(scatter_list, draw_list, cases=12),
    "AmpUpdateScale": Oracle(update_scale, draw_scale, cases=12), "AdvanceStep": Oracle(advance, draw_advance),
    "TransformBiasRescaleQkv": Oracle(rescale, draw_rescale), "RepeatInterleaveGrad": Oracle(repeat, draw_repeat),
    "SimThreadExponential": Oracle(lambda x, *_: x, draw_exponential, accept=accept_exponential),
    "TopKTopPSample": Oracle(sample, draw_sample, cases=12),
}
