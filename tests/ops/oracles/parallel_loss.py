"""A vocabulary cut between devices: row by row, and PyTorch's cross entropy over the whole of it."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from ..oracle import Draw, Oracle, torch
from .moe import TYPES

HALF = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]


def online_inputs(d: Draw) -> list[Any]:
    n, k, v, dtype, first = d.integer(1, 11), d.integer(1, 5), d.integer(1, 6), d.choice(HALF), d.integer(0, 3)
    return [d.array((n, k), dtype, -2, 2), d.array((v, k), dtype, -2, 2),
            d.array((n,), d.choice([np.int32, np.int64]), 0, first + v + 3), first, first + v]


def online(x: Any, weight: Any, target: Any, first: int, end: int) -> Any:
    logits = torch.nn.functional.linear(x.double(), weight.double())
    top = logits.max(1)[0]
    picked, places, other = [], [], []
    for row, best, t in zip(logits, top, target.tolist()):
        other.append(not first <= t < end)
        places.append(0 if other[-1] else t - first)
        picked.append(0.0 if other[-1] else float(row[t - first] - best))
    other += [True] * (-len(other) % 8)
    octets = [sum(bit << i for i, bit in enumerate(other[k:k + 8])) for k in range(0, len(other), 8)]
    return (top.float(), torch.exp(torch.logsumexp(logits, 1) - top).float(), torch.tensor(picked),
            torch.tensor(octets, dtype=torch.uint8), torch.tensor(places).to(target.dtype), logits.float())


def sum_inputs(d: Draw) -> list[Any]:
    dtype, width, first = d.choice([np.dtype(np.float32), HALF[1]]), 16 * d.integer(1, 2), d.integer(0, 5)
    lead = (d.integer(1, 4), d.integer(1, 3))[:d.integer(1, 2)]
    return [d.array((*lead, width), dtype), d.array(lead, np.int32, 0, first + width + 5), d.array(lead, dtype, 3, 4),
            first, first + width]


def sums(logits: Any, target: Any, top: Any, first: int, end: int) -> Any:
    less = logits - top[..., None]
    inside = (target >= first) & (target < end)
    places = torch.where(inside, target - first, 0)
    picked = torch.stack([row[int(p)] if ours else torch.zeros(()) for row, p, ours in zip(
        less.flatten(0, -2), places.reshape(-1), inside.reshape(-1))]).reshape(target.shape)
    return picked, less.exp().sum(-1), less.exp(), places.int(), (~inside).int()


def loss_inputs(d: Draw) -> list[Any]:
    n, v = d.integer(1, 5), d.integer(1, 6)
    logits = d.array((n, v), d.choice(TYPES))
    wide = logits.astype(np.float32)
    top = wide.max(1)
    sums = np.exp(wide - top[:, None]).sum(1)
    picked = (wide - top[:, None])[:, 0]
    return [top, sums, picked, 0.0, None, None, logits if d.flag() else None]


def loss(top: Any, sums: Any, picked: Any, smoothing: float, x: Any, weight: Any, logits: Any) -> Any:
    if logits is None:
        return torch.log(sums) - picked, None
    target = torch.zeros(len(top), dtype=torch.int64)
    return torch.nn.functional.cross_entropy(logits, target, reduction="none"), torch.softmax(logits, 1)


def back_inputs(d: Draw) -> list[Any]:
    n, k, v, dtype = d.integer(1, 11), d.integer(1, 4), 128, d.choice(HALF)
    x, weight = d.array((n, k), dtype, -1, 1), d.array((v, k), dtype, -1, 1)
    logits = x.astype(np.float32) @ weight.astype(np.float32).T
    top = logits.max(1)
    powers = np.exp(logits - top[:, None])
    total = powers.sum(1)
    other = d.rng.random(n) < 0.3
    target = np.where(other, 0, d.rng.integers(0, v, n)).astype(d.choice([np.int32, np.int64]))
    given = [top, total, None] if d.flag() else [None, None, powers / total[:, None]]
    return [d.array((n,), np.float32), x, weight, np.packbits(np.append(other, [True] * (-n % 8)), bitorder="little"),
            target, 0.0, *given]


def loss_back(grad: Any, x: Any, weight: Any, mask: Any, target: Any, smoothing: float, *rest: Any) -> Any:
    """Autograd of the cross entropy; rows whose target is elsewhere have the logarithm of the sum only."""
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    logits = torch.nn.functional.linear(x, weight)
    for i, (row, t) in enumerate(zip(logits, target.tolist())):
        elsewhere = int(mask[i // 8]) >> (i % 8) & 1
        ((torch.logsumexp(row, 0) - (0 if elsewhere else row[t])) * grad[i]).backward(retain_graph=True)
    return x.grad, weight.grad


ORACLES = {
    "FusedLinearOnlineMaxSum": Oracle(online, online_inputs, rtol=1e-4, atol=1e-4, cases=8),
    "CrossEntropySumExpAndIndexLogit": Oracle(sums, sum_inputs, rtol=1e-4, atol=1e-5, cases=8),
    "FusedCrossEntropyLossWithMaxSum": Oracle(loss, loss_inputs, rtol=1e-4, atol=1e-5),
    "FusedLinearCrossEntropyLossGrad": Oracle(loss_back, back_inputs, rtol=1e-3, atol=1e-4),
}
