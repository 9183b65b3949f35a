"""Rotations in float32 by PyTorch, then token by token."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.types import BF16, F16, INT4

from ..oracle import Draw, Oracle, torch
from .mx import along
from .quantise import CLOSE, given, named, rounded

HALVES = [F16, BF16]


def draw_flat(d: Draw) -> list[Any]:
    m, n1, n2, dtype = d.integer(1, 5), d.integer(1, 6), 2 * d.integer(1, 9), d.choice(HALVES)
    newer = {} if d.name.endswith("Quant") else {"dstTypeMax": d.choice([0.0, 6.0, 9.0])}
    if d.name.endswith("V3"):
        kind = d.integer(0, 2)
        counts = d.rng.integers(0, 2, 2)
        groups = [np.cumsum(counts), counts, np.stack([np.arange(2), counts], axis=1)][kind] if d.flag() else None
        newer.update(groupListOptional=groups, groupListType=kind)
    p2 = d.array((n2, n2), dtype, -1, 1) if d.name.endswith("V2") or d.flag() else np.zeros((0, 0), dtype)
    return given(d, x=d.array((m, n1, n2), dtype), kroneckerP1=d.array((n1, n1), dtype, -1, 1), kroneckerP2=p2,
                 clipRatio=d.choice([1.0, 0.5]), **newer)


def flat(g: dict[str, Any]) -> Any:
    """Version 2, and what has no second matrix, to float4; the others to int4."""
    x, groups = g["x"], g.get("groupListOptional")
    tokens = [g["kroneckerP1"] @ (t @ g["kroneckerP2"] if g["kroneckerP2"].numel() else t) for t in x]
    if groups is not None:
        total = int({0: groups[-1], 1: groups.sum(), 2: groups.reshape(-1)[1::2].sum()}[g["groupListType"]])
        tokens = [t if i < total else torch.zeros_like(t) for i, t in enumerate(tokens)]
    if g["kroneckerP2"].numel() == 0 or ("dstTypeMax" in g and "groupListType" not in g):
        y, largest = torch.stack(tokens).reshape(len(tokens), -1).numpy(), g.get("dstTypeMax", 0)
        return along(y, 1, "f4e2m1", algorithm=2 if largest else 0, largest=largest)
    scales = torch.stack([t.abs().max() / (7 / g["clipRatio"]) for t in tokens])
    values = [rounded(t / s if s else t, -8, 7).numpy() for t, s in zip(tokens, scales)]
    return np.stack(values).astype(INT4), scales


def draw_rotate(d: Draw) -> list[Any]:
    dtype = d.choice(HALVES)
    if d.flag():  # to int8
        k = d.integer(1, 4)
        return [d.array((d.integer(1, 5), 8 * k * d.integer(1, 2)), dtype), d.array((k, k), dtype, -1, 1), None, -1,
                d.choice([None, "rint"]), 0, 0.0, False]
    blocks, shape = d.integer(1, 3), d.shape(0, 2, 3)
    several = (blocks,) if d.flag() else ()
    algorithm = d.integer(0, 1)
    alpha = np.full(1, d.choice([0.5, 2.0]), BF16) if d.flag() else None
    return [d.array((*shape, 32 * blocks), dtype), d.array((*several, 32, 32), dtype, -1, 1), alpha, len(shape), None,
            algorithm, 0.0, False]


def rotate(x: Any, rotation: Any, alpha: Any, axis: int, mode: Any, algorithm: int, largest: float, trans: bool) -> Any:
    """Matrices of 32 go to float8."""
    k = rotation.shape[-1]
    parts = [p @ (rotation[i] if rotation.ndim == 3 else rotation) for i, p in enumerate(x.split(k, dim=-1))]
    y = torch.cat(parts, dim=-1)
    if k < 32:
        scale = y.abs().amax(-1) / 127
        return rounded(y / scale[:, None]), scale
    if alpha is not None and float(alpha) < 1:
        limits = [p.abs().amax(-1, keepdim=True) * float(alpha) for p in y.split(32, dim=-1)]
        y = torch.cat([p.clamp(-s, s) for p, s in zip(y.split(32, dim=-1), limits)], dim=-1)
    return along(y.numpy(), y.ndim - 1, "f8e4m3", algorithm=algorithm)


ORACLES = {
    **{n: Oracle(named(flat)(n), draw_flat, **CLOSE, cases=10) for n in ("FlatQuant", "FlatQuantV2", "FlatQuantV3")},
    "RotateQuant": Oracle(rotate, draw_rotate, **CLOSE, cases=12),
}
