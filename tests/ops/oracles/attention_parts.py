"""Around attention: attention over all keys against two halves of it; windows one by one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..oracle import Draw, Oracle, torch
from .moe import TYPES


def draw_ring(d: Draw) -> list[Any]:
    b, n, s, width = (d.integer(1, 3) for _ in range(4))
    dtype = d.choice(TYPES)
    halves = []
    for _ in range(2):
        top = np.repeat(d.array((b, n, s, 1), np.float32), 8, axis=3)
        total = np.repeat(d.array((b, n, s, 1), np.float32, 1, 5), 8, axis=3)
        halves += [d.array((s, b, n * width), dtype), top, total]
    return [*halves, None, "SBH"]


def ring(old: Any, old_top: Any, old_sum: Any, new: Any, new_top: Any, new_sum: Any, ends: Any, layout: str) -> Any:
    """In float64, from the logarithms of the sums, row by row."""
    logs = torch.stack([(top.double() + total.double().log())[..., 0] for top, total in
                        ((old_top, old_sum), (new_top, new_sum))])
    weights = torch.softmax(logs, 0)
    found = torch.zeros(old.shape, dtype=torch.float64)
    width = old.shape[2] // old_top.shape[1]
    for b, n, s in np.ndindex(*old_top.shape[:3]):
        part = slice(n * width, (n + 1) * width)
        found[s, b, part] = weights[0, b, n, s] * old[s, b, part] + weights[1, b, n, s] * new[s, b, part]
    top = torch.maximum(old_top, new_top)
    total = torch.exp(torch.logsumexp(logs, 0)[..., None] - top.double())
    return found.float(), top, total.float()


def draw_masked(d: Draw) -> list[Any]:
    b, w, n, s1, s2 = (d.integer(1, 3) for _ in range(5))
    dtype, deep = d.choice(TYPES), d.flag()
    mask = None if d.flag() else d.array(d.choice([(w, s1, s2), (w, 1, s1, s2), (1, w, 1, s1, s2)]), dtype)
    bias = d.array(d.choice([(n, s1, s2), (1, n, s1, s2), (1, 1, n, s1, s2)]), dtype)
    return [d.array((b, w, n, s1, s2) if deep else (b * w, n, s1, s2), dtype), mask, bias, 0.5, 0]


def masked(x: Any, mask: Any, bias: Any, scale: float, mode: int) -> Any:
    heads, *inner = x.shape[-3:]
    windows = 1 if mask is None else mask.numel() // (inner[0] * inner[1])
    flat, found = x.reshape(-1, heads, *inner), []
    for i, window in enumerate(flat):
        shift = 0 if mask is None else mask.reshape(windows, *inner)[i % windows]
        found.append(torch.stack([torch.softmax(window[h] * scale + shift + bias.reshape(heads, *inner)[h], -1)
                                  for h in range(heads)]))
    return torch.stack(found).reshape(x.shape)


def sinkhorn(cost: Any, tol: Any) -> Any:
    """The iteration in float64; at its end rows and columns add up to the same."""
    scaled, limit = cost.double().exp(), 1e-4 if tol is None else tol
    second, error = torch.ones(cost.shape[1], dtype=torch.float64), 1.0
    while error > limit:
        first = 1 / (cost.shape[0] * (torch.mv(scaled, second) + 1e-8))
        following = 1 / (cost.shape[1] * (torch.mv(scaled.T, first) + 1e-8))
        error, second = float((second - following).abs().mean()), following
    found = torch.diag(first) @ scaled @ torch.diag(second)
    assert torch.allclose(found.sum(0), torch.full((cost.shape[1],), 1 / cost.shape[1], dtype=torch.float64))
    return found.float()


ORACLES = {
    "RingAttentionUpdate": Oracle(ring, draw_ring, atol=1e-5),
    "MaskedSoftmaxWithRelPosBias": Oracle(masked, draw_masked, atol=1e-5, cases=8),
    "Sinkhorn": Oracle(sinkhorn, lambda d: [d.array((d.integer(1, 5), d.integer(1, 5)), d.choice(TYPES), 0, 1),
                                            d.choice([None, np.float32(0.001)])], atol=1e-4),
}
