"""Mixture of experts, the later forms: token by token in plain Python, gradients by autograd."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..oracle import Draw, Oracle, torch
from .moe import TYPES, experts_of


def away(x: Any) -> Any:
    """To the nearest int8, and no value is near a half where the inputs are drawn from quarters."""
    return torch.clamp(torch.round(x), -128, 127).to(torch.int8)


def routed(experts: Any) -> list[tuple[int, int]]:
    """(expert, which of all choices), expert by expert."""
    return sorted((int(e), i) for i, e in enumerate(experts.reshape(-1).tolist()))


def by_rows(row: Any) -> tuple[Any, float]:
    scale = float(row.abs().max()) / 127
    return away(row / scale), scale


# ---- routing with quantisation

def draw_v3(d: Draw) -> list[Any]:
    n, k, h, number, kind, mode = d.integer(1, 5), d.integer(1, 3), d.integer(1, 6), 6, d.integer(1, 2), d.choice([-1, 1])
    start = d.integer(0, 2)
    span = (start, d.integer(start + 1, number))
    scale = None if d.flag() else d.array((n,) if mode < 0 else (span[1] - span[0], h), np.float32, 0.5, 2)
    x = d.array((n, h), d.choice(TYPES), 0.5, 4)
    return [x, experts_of(d, n, k, number), scale, None, n * k, 0, number, 0, kind, True, mode, span, d.integer(0, 1)]


def init_v3(x: Any, experts: Any, scale: Any, offset: Any, active: int, capacity: int, number: int, pad: int, kind: int,
            flag: bool, mode: int, span: Any, row_type: int) -> Any:
    k, h = experts.shape[1], x.shape[1]
    pairs = [(e, i) for e, i in routed(experts) if span[0] <= e < span[1]]
    expanded = torch.zeros(experts.numel(), h, dtype=torch.int8 if mode == 1 else x.dtype)
    scales = torch.zeros(experts.numel())
    places = [-1 if row_type == 0 else 0] * experts.numel()
    counts = [0] * number
    for at, (e, i) in enumerate(pairs):
        row = x[i // k]
        counts[e] += 1
        if mode == 1:
            expanded[at], scales[at] = by_rows(row if scale is None else row * scale[e - span[0]])
        else:
            expanded[at] = row
            scales[at] = 0 if scale is None else scale[i // k]
        if row_type == 0:
            places[i] = at
        else:
            places[at] = i
    numbers: list[Any] = counts[span[0]:span[1]]
    if kind == 2:
        used = [[e, c] for e, c in enumerate(counts) if c]
        numbers = used + [[0, 0]] * (number - len(used))
    return expanded, torch.tensor(places), torch.tensor(numbers), scales


def draw_quant(d: Draw) -> list[Any]:
    n, k = d.integer(1, 4), d.integer(1, 3)
    rows = np.arange(n * k).reshape(k, n).T.astype(np.int32)
    return [d.array((n, d.integer(1, 4)), d.choice(TYPES)), rows, experts_of(d, n, k, 4), d.integer(1, n), 30.7, 3.3]


def init_quant(x: Any, rows: Any, experts: Any, active: int, scale: float, offset: float) -> Any:
    n, k = experts.shape
    pairs = routed(experts)
    chosen = [int(rows.reshape(-1)[i]) for _, i in pairs]
    places = [0] * (n * k)
    for at, row in enumerate(chosen):
        places[row] = at
    picked = torch.stack([away(x[row % n] * scale + offset) for row in chosen])[:min(active, n) * k]
    return picked, torch.tensor(places), torch.tensor([e for e, _ in pairs])


def draw_quant_v2(d: Draw) -> list[Any]:
    n, k, h, number, pad, mode = d.integer(2, 4), d.integer(1, 3), d.integer(1, 4), 4, d.integer(0, 1), d.integer(0, 1)
    x, experts = d.array((n, h), d.choice(TYPES), 0.5, 4), experts_of(d, n, k, number)
    scale = d.array((1,), np.float32, 3, 30) if mode == 0 else d.choice(
        [None, d.array((1, h), np.float32, 0.5, 2), d.array((number, h), np.float32, 0.5, 2)])
    offset = d.array((1,), np.float32) if mode == 0 else None
    active = d.choice([0, n * k - 1]) if pad == 0 else 0
    return [x, experts, scale, offset, active, 2 * pad, number, pad, 0 if pad else d.integer(0, 2), bool(pad), mode]


def init_quant_v2(x: Any, experts: Any, scale: Any, offset: Any, active: int, capacity: int, number: int, pad: int,
                  flag: int, before: bool, mode: int) -> Any:
    k = experts.shape[1]
    rows = number * capacity if pad else active or experts.numel()
    expanded, scales = torch.zeros(rows, x.shape[1], dtype=torch.int8), torch.zeros(rows)
    places, counts = [-1] * experts.numel(), torch.zeros(number, dtype=torch.int64)
    for position, (e, i) in enumerate(routed(experts)):
        at = e * capacity + int(counts[e]) if pad else position
        fits = not pad or counts[e] < capacity
        counts[e] += 1
        if fits:
            places[i] = at
        if not fits or at >= rows:
            continue
        if mode == 0:
            expanded[at] = away(x[i // k] * scale + offset)
        else:
            factor = torch.ones(1) if scale is None else scale[e if scale.shape[0] > 1 else 0]
            expanded[at], scales[at] = by_rows(x[i // k] * factor)
    if pad:
        expanded = expanded.reshape(number, capacity, -1)
    return (expanded, torch.tensor(places), None if pad or not flag else torch.cumsum(counts, 0) if flag == 1 else counts,
            counts if pad else None, scales if mode else None)


# ---- gradients of routing

def draw_routing_grad(d: Draw) -> list[Any]:
    n, k, h, pad = d.integer(1, 4), d.integer(1, 3), d.integer(1, 4), d.integer(0, 1)
    active = 0 if pad or d.flag() else d.integer(1, n * k)
    places = d.rng.permutation(max(n * k, 6))[:n * k].astype(np.int32) if pad else d.rng.permutation(n * k).astype(np.int32)
    if pad:
        places[d.rng.random(n * k) < 0.3] = -1
    lead = (3, max(n * k, 6) // 3 + 1) if pad else (active or n * k,)
    if d.name == "aclnnMoeInitRoutingV2Grad":
        return [d.array((*lead, h), d.choice(TYPES)), places, k, pad, active]
    return [n, k, h, pad, active, places, lead]


def routing_grad(grad: Any, places: Any, k: int, pad: int, active: int) -> Any:
    flat = grad.reshape(-1, grad.shape[-1])
    found = torch.zeros(places.numel() // k, flat.shape[1])
    for i, place in enumerate(places.tolist()):
        if 0 <= place < flat.shape[0]:
            found[i // k] += flat[place]
    return found


def draw_finalize_grad(d: Draw) -> list[Any]:
    n, k, h, pad, active, places, lead = draw_routing_grad(d)
    dtype, number = d.choice(TYPES), 4
    scaled = d.flag()
    if not scaled:
        n, k = n * k, 1
    scales = d.array((n, k), dtype) if scaled else None
    experts, bias = (d.array((n, k), np.int32, 0, number - 1), d.array((number, h), dtype)) if d.flag() else (None, None)
    return [d.array((n, h), dtype), places, d.array((*lead, h), dtype), scales, experts, bias, pad, active,
            lead[0] if pad else 0, lead[1] if pad else 0]


def finalize_grad(grad: Any, places: Any, expanded: Any, scales: Any, experts: Any, bias: Any, pad: int, active: int,
                  number: int, capacity: int) -> Any:
    """Autograd of what the forward operator adds up; a dropped copy is zero. No scales: their gradient is left alone."""
    expanded = expanded.clone().requires_grad_()
    weights = (torch.ones(grad.shape[0], 1) if scales is None else scales).clone().requires_grad_()
    flat, total = expanded.reshape(-1, grad.shape[1]), torch.zeros(())
    for i, place in enumerate(places.tolist()):
        token, choice = divmod(i, weights.shape[1])
        row = flat[place] if 0 <= place < flat.shape[0] else torch.zeros(grad.shape[1])
        if bias is not None and scales is not None:
            row = row + bias[experts[token, choice].long()]
        total = total + (grad[token] * row * weights[token, choice]).sum()
    total.backward()
    return expanded.grad, torch.full(weights.shape, 3.0) if scales is None else weights.grad


# ---- routing maps

def routing_map(d: Draw, n: int, number: int, k: int, dtype: Any) -> Any:
    found = np.zeros((n, number), dtype)
    np.put_along_axis(found, experts_of(d, n, k, number).astype(np.int64), True, axis=1)
    return found


def draw_map(d: Draw) -> list[Any]:
    n, number, h, padded = d.integer(1, 5), d.integer(2, 4), d.integer(1, 4), d.flag()
    k, dtype = d.integer(1, number), d.choice(TYPES)
    count = number * d.integer(1, n) + d.integer(0, 1) if padded else n * k
    return [d.array((n, h), dtype), routing_map(d, n, number, k, d.choice([np.int8, np.bool_])),
            d.array((n, number), dtype) if d.flag() else None, min(count, n * number), padded]


def taken(routing: Any, count: int, padded: bool) -> list[tuple[int, int]]:
    """(expert, token) of all permuted rows."""
    n, number = routing.shape
    found = []
    for e in range(number):
        own = [t for t in range(n) if routing[t, e]]
        if padded:
            own = (own + [t for t in range(n) if not routing[t, e]])[:count // number]
        found += [(e, t) for t in own]
    return found


def map_permute(tokens: Any, routing: Any, probs: Any, count: int, padded: bool) -> Any:
    rows = taken(routing, count, padded)
    places = [t for _, t in rows] if padded else sorted(range(len(rows)), key=lambda at: (rows[at][1], at))
    return (torch.stack([tokens[t] for _, t in rows]),
            None if probs is None else torch.stack([probs[t, e] for e, t in rows]), torch.tensor(places))


def draw_map_back(d: Draw) -> list[Any]:
    tokens, routing, probs, count, padded = draw_map(d)
    made = [torch.from_numpy(t.astype(np.float32)) for t in (tokens, routing)]
    _, _, places = map_permute(made[0], made[1], None, count, padded)
    places = places.numpy().astype(np.int32)
    rows = d.array((places.size, tokens.shape[1]), tokens.dtype)
    if "Unpermute" in d.name:
        restore = tokens.shape if probs is None or d.flag() else None
        return [rows, places, routing, probs, padded, restore]
    return [rows, None if probs is None else d.array((places.size,), tokens.dtype), places, routing, routing.shape[1],
            tokens.shape[0], padded]


def map_permute_grad(grad: Any, probs_grad: Any, places: Any, routing: Any, experts: int, count: int,
                     padded: bool) -> Any:
    tokens = torch.zeros(count, grad.shape[1], requires_grad=True)
    probs = torch.zeros(count, experts, requires_grad=True)
    rows, chances, _ = map_permute(tokens, routing, probs, places.numel(), padded)
    ((rows * grad).sum() + (0 if probs_grad is None else (chances * probs_grad).sum())).backward()
    return tokens.grad, None if probs_grad is None else probs.grad


def map_unpermute(tokens: Any, places: Any, routing: Any, probs: Any, padded: bool, restore: Any) -> Any:
    rows = taken(routing, places.numel(), padded)
    found, chances = torch.zeros(routing.shape[0], tokens.shape[1]), []
    for at, (e, t) in enumerate(rows):
        chances.append(torch.ones(()) if probs is None else probs[t, e])
        found[t] += tokens[at] * chances[-1]
    order = sorted(range(len(rows)), key=lambda at: (rows[at][1], at)) if padded else None
    return (found, None if order is None else torch.tensor(order),
            None if order is None else torch.tensor([rows[at][1] for at in order]),
            None if probs is None else torch.stack(chances))


# ---- balancing and pruning

def draw_update(d: Draw) -> list[Any]:
    n, k, number, world, dtype = d.integer(1, 5), d.integer(1, 4), 5, 6, d.choice(TYPES)
    table = np.concatenate((d.array((number, 1), np.int32, 1, world),
                            np.stack([d.rng.permutation(world) for _ in range(number)])), 1).astype(np.int32)
    scales = -np.sort(-d.array((n, k), dtype, 0, 1), axis=1) if d.flag() else None
    threshold = None if scales is None else d.array(d.choice([(k,), (1, k)]), np.float32, 0, 0.5)
    active = np.arange(n) < d.integer(0, n) if scales is not None and d.flag() else None
    return [d.array((n, k), d.choice([np.int32, np.int64]), 0, number - 1), table, scales, threshold, active,
            d.integer(0, world - 1), world, d.integer(0, 1)]


def update(experts: Any, table: Any, scales: Any, threshold: Any, active: Any, rank: int, world: int, mode: int) -> Any:
    found = experts.clone()
    keep = torch.zeros(experts.shape, dtype=torch.bool)
    for i, row in enumerate(experts.tolist()):
        limit = 0.0 if scales is None else float((scales[i] * threshold.reshape(-1)).sum())
        for j, e in enumerate(row):
            count = int(table[e, 0])
            place = 1 if count == 1 else rank // int(np.ceil(world / count)) + 1 if mode == 0 else i % count + 1
            found[i, j] = table[e, place]
            if scales is not None:
                keep[i, j] = bool(float(scales[i, j]) >= limit and (active is None or active[i]))
    return found, None if scales is None else keep


ORACLES = {
    "MoeInitRoutingV3": Oracle(init_v3, draw_v3, cases=12),
    "MoeInitRoutingQuant": Oracle(init_quant, draw_quant, exact=True),
    "MoeInitRoutingQuantV2": Oracle(init_quant_v2, draw_quant_v2, cases=12),
    "MoeInitRoutingV2Grad": Oracle(routing_grad, draw_routing_grad, atol=1e-5),
    "MoeFinalizeRoutingV2Grad": Oracle(finalize_grad, draw_finalize_grad, atol=1e-4, cases=10),
    "MoeTokenPermuteWithRoutingMap": Oracle(map_permute, draw_map, exact=True, cases=10),
    "MoeTokenPermuteWithRoutingMapGrad": Oracle(map_permute_grad, draw_map_back, atol=1e-4, cases=10),
    "MoeTokenUnpermuteWithRoutingMap": Oracle(map_unpermute, draw_map_back, atol=1e-4, cases=10),
    "MoeUpdateExpert": Oracle(update, draw_update, exact=True, cases=10),
}
