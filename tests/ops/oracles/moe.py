"""Mixture of experts, token by token in plain Python."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.types import BF16, F16, F32

from ..oracle import Draw, Oracle, torch

TYPES = [F32, F16, BF16]


def logits(d: Draw, rows: int, columns: int, dtype: Any) -> Any:
    """Different values in each row, so that the order of choices is certain."""
    base = np.stack([d.rng.permutation(columns) for _ in range(rows)])
    return (base / 4 - columns / 8).astype(dtype)


def draw_softmax(d: Draw) -> list[Any]:
    n, e = d.integer(1, 4), d.integer(3, 6)
    finished = d.rng.random(n) < 0.3 if d.flag() else None
    values = [logits(d, n, e, d.choice(TYPES)), finished, d.integer(1, 3)]
    return [*values, d.integer(0, 1), False] if "V2" in d.name else values


def gating_softmax(x: Any, finished: Any, k: int) -> Any:
    values, experts = torch.topk(torch.softmax(x, -1), k)
    n = x.shape[0]
    for i in range(n):
        if finished is not None and finished[i]:
            experts[i] = x.shape[1]
    rows = torch.tensor([[i + j * n for j in range(k)] for i in range(n)])
    return values, experts, rows


def gating_softmax_v2(x: Any, finished: Any, k: int, renorm: int, give: bool) -> Any:
    values, experts, _ = gating_softmax(x, finished, k)
    if renorm == 1:
        values = torch.softmax(torch.topk(x, k)[0], -1)
    return values, experts, torch.full(x.shape, 3.0)


def draw_gating(d: Draw) -> list[Any]:
    n, groups = d.integer(1, 4), d.choice([1, 2])
    e = groups * d.integer(2, 4)
    dtype = d.choice(TYPES)
    bias = (d.rng.permutation(e) / 64).astype(dtype) if d.flag() else None
    select, kind = d.integer(0, 1), d.integer(0, 1)
    return [logits(d, n, e, dtype), bias, d.integer(1, 2), 1, groups, select, 0, kind, False, 2.5, 1e-6]


def gating(x: Any, bias: Any, k: int, k_group: int, groups: int, select: int, renorm: int, kind: int, give: bool,
           factor: float, epsilon: float) -> Any:
    values, experts = [], []
    for row in x:
        score = torch.sigmoid(row) if kind == 1 else torch.softmax(row, -1)
        ranked = score if bias is None else score + bias
        size = row.numel() // groups
        parts = [sorted(ranked[g * size:(g + 1) * size].tolist()) for g in range(groups)]
        strength = [sum(part[-(2 if select else 1):]) for part in parts]
        best = sorted(range(groups), key=lambda g: -strength[g])[:k_group]
        allowed = [i for i in range(row.numel()) if i // size in best] if groups > 1 else range(row.numel())
        order = sorted(allowed, key=lambda i: -ranked[i].item())[:k]
        found = score[order]
        values.append((found / (found.sum() + epsilon) if kind == 1 else found) * factor)
        experts.append(order)
    return torch.stack(values), torch.tensor(experts), torch.full(x.shape, 3.0)


def experts_of(d: Draw, n: int, k: int, number: int) -> Any:
    return np.stack([d.rng.permutation(number)[:k] for _ in range(n)]).astype(np.int32)


def draw_init(d: Draw) -> list[Any]:
    n, k = d.integer(1, 4), d.integer(1, 3)
    rows = np.arange(n * k).reshape(k, n).T.astype(np.int32)
    return [d.array((n, d.integer(1, 4)), d.choice(TYPES)), rows, experts_of(d, n, k, 4), d.integer(1, n)]


def init(x: Any, rows: Any, experts: Any, active: int) -> Any:
    n, k = experts.shape
    pairs = sorted((experts[i, j].item(), i * k + j, rows[i, j].item()) for i in range(n) for j in range(k))
    places = [0] * (n * k)
    for position, (_, _, row) in enumerate(pairs):
        places[row] = position
    picked = torch.stack([x[row % n] for _, _, row in pairs])[:min(active, n) * k]
    return picked, torch.tensor(places), torch.tensor([p[0] for p in pairs])


def draw_init_v2(d: Draw) -> list[Any]:
    n, k, number = d.integer(1, 4), d.integer(1, 3), 4
    pad = d.integer(0, 1)
    return [d.array((n, d.integer(1, 4)), d.choice(TYPES)), experts_of(d, n, k, number), 0, 2 * pad, number, pad,
            0 if pad else d.integer(1, 2), bool(pad)]


def init_v2(x: Any, experts: Any, active: int, capacity: int, number: int, pad: int, flag: int, before: bool) -> Any:
    n, k = experts.shape
    taken: list[list[int]] = [[] for _ in range(number)]
    for i in range(n):
        for j in range(k):
            taken[experts[i, j]].append(i * k + j)
    places = [-1] * (n * k)
    counts = torch.tensor([len(t) for t in taken])
    if pad:
        expanded = torch.zeros(number, capacity, x.shape[1])
        for e, members in enumerate(taken):
            for slot, source in enumerate(members[:capacity]):
                expanded[e, slot] = x[source // k]
                places[source] = e * capacity + slot
        return expanded, torch.tensor(places), None, counts
    order = [source for members in taken for source in members]
    for position, source in enumerate(order):
        places[source] = position
    return torch.stack([x[s // k] for s in order]), torch.tensor(places), \
        torch.cumsum(counts, 0) if flag == 1 else counts, None


def draw_finalize(d: Draw) -> list[Any]:
    n, k, h, number = d.integer(1, 4), d.integer(1, 3), d.integer(1, 4), 4
    dtype = d.choice(TYPES)
    expanded, rows = d.array((n * k, h), dtype), d.rng.permutation(n * k).astype(np.int32)
    x1, x2 = d.array((n, h), dtype), d.array((n, h), dtype) if d.flag() else None
    bias, scales, experts = d.array((number, h), dtype), d.array((n, k), dtype), experts_of(d, n, k, number)
    if "V2" in d.name:
        return [expanded, rows, x1, x2, bias, scales, experts, d.choice([0, 2])]
    return [expanded, x1, x2, bias, scales, rows, experts]


def finalize(expanded: Any, x1: Any, x2: Any, bias: Any, scales: Any, rows: Any, experts: Any, mode: int = 0) -> Any:
    n, k = scales.shape
    found = []
    for i in range(n):
        value = x1[i] + (0 if x2 is None else x2[i])
        for j in range(k):
            place = rows[i + j * n] if mode == 0 else rows[i * k + j]
            value = value + scales[i, j] * (expanded[place] + bias[experts[i, j].long()])
        found.append(value)
    return torch.stack(found)


def finalize_v2(expanded: Any, rows: Any, x1: Any, x2: Any, bias: Any, scales: Any, experts: Any, mode: int) -> Any:
    return finalize(expanded, x1, x2, bias, scales, rows, experts, mode)


def draw_permute(d: Draw) -> list[Any]:
    n, k = d.integer(1, 4), d.integer(1, 3)
    return [d.array((n, d.integer(1, 4)), d.choice(TYPES)), experts_of(d, n, k, 4), 0, False]


def permute(tokens: Any, indices: Any, count: int, padded: bool) -> Any:
    n, k = indices.shape
    order = sorted(range(n * k), key=lambda s: (indices[s // k, s % k].item(), s))
    places = [0] * (n * k)
    for position, source in enumerate(order):
        places[source] = position
    return torch.stack([tokens[s // k] for s in order]), torch.tensor(places)


def draw_unpermute(d: Draw) -> list[Any]:
    n, k, h = d.integer(1, 4), d.integer(1, 3), d.integer(1, 4)
    dtype = d.choice(TYPES)
    places = d.rng.permutation(n * k).astype(np.int32)
    if d.name == "aclnnMoeTokenPermuteGrad":
        return [d.array((n * k, h), dtype), places, k, False]
    tokens, probs = d.array((n * k, h), dtype), d.array((n, k), dtype)
    if "Grad" in d.name:
        return [tokens, d.array((n, h), dtype), places, probs, False, None]
    return [tokens, places, probs, False, None]


def unpermute(tokens: Any, places: Any, probs: Any, padded: bool, restore: Any) -> Any:
    n, k = probs.shape
    return torch.stack([sum(tokens[places[i * k + j].long()] * probs[i, j] for j in range(k)) for i in range(n)])


def unpermute_grad(tokens: Any, grad: Any, places: Any, probs: Any, padded: bool, restore: Any) -> Any:
    tokens, probs = tokens.clone().requires_grad_(), probs.clone().requires_grad_()
    unpermute(tokens, places, probs, padded, restore).backward(grad)
    return tokens.grad, probs.grad


def permute_grad(grad: Any, places: Any, k: int, padded: bool) -> Any:
    n = places.numel() // k
    return torch.stack([sum(grad[places[i * k + j].long()] for j in range(k)) for i in range(n)])


def draw_sampling(d: Draw) -> list[Any]:
    n, v = d.integer(1, 3), d.integer(4, 8)
    dtype = d.choice(TYPES)
    return [logits(d, n, v, dtype), d.array((n,), dtype, 0.3, 0.8) if d.flag() else None,
            d.array((n,), np.int32, 1, v) if d.flag() else None]


def sampling(x: Any, p: Any, k: Any) -> Any:
    found = torch.full(x.shape, float("-inf"))
    for i, row in enumerate(x):
        order = sorted(range(row.numel()), key=lambda j: -row[j].item())
        if k is not None:
            order = order[:int(k[i])]
        if p is not None:
            probs, total = torch.softmax(row[order], -1), 0.0
            kept: list[int] = []
            for j, q in zip(order, probs.tolist()):
                if kept and total >= p[i].item():
                    break
                kept.append(j)
                total += q
            order = kept
        found[i, order] = row[order]
    return found


ORACLES = {
    "MoeGatingTopKSoftmax": Oracle(gating_softmax, draw_softmax),
    "MoeGatingTopKSoftmaxV2": Oracle(gating_softmax_v2, draw_softmax),
    "MoeGatingTopK": Oracle(gating, draw_gating),
    "MoeInitRouting": Oracle(init, draw_init, exact=True),
    "MoeInitRoutingV2": Oracle(init_v2, draw_init_v2, exact=True),
    "MoeFinalizeRouting": Oracle(finalize, draw_finalize, atol=1e-4),
    "MoeFinalizeRoutingV2": Oracle(finalize_v2, draw_finalize, atol=1e-4),
    "MoeComputeExpertTokens": Oracle(
        lambda e, n: torch.cumsum(torch.bincount(e, minlength=n), 0),
        lambda d: [np.sort(d.array((d.integer(1, 9),), np.int32, 0, 4)), 5], exact=True),
    "MoeTokenPermute": Oracle(permute, draw_permute, exact=True),
    "MoeTokenUnpermute": Oracle(unpermute, draw_unpermute, atol=1e-4),
    "MoeTokenPermuteGrad": Oracle(permute_grad, draw_unpermute, atol=1e-4),
    "MoeTokenUnpermuteGrad": Oracle(unpermute_grad, draw_unpermute, atol=1e-4),
    "ApplyTopKTopP": Oracle(sampling, draw_sampling),
}
