"""Permuted batches, one product after the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.types import BF16, DTYPES, F16, F32

from ..oracle import Draw, Fractal, Oracle, torch
from .quant_matmul import blockwise, hardware, numpy, powers
from .quantise import given, named, rounded


def laid(array: Any, turn: bool, axes: tuple[int, ...]) -> Any:
    return np.ascontiguousarray(array.transpose(axes)) if turn else array


def draw_quantised(d: Draw) -> list[Any]:
    nz, right = d.name.endswith("Nz"), d.flag()
    blocks = nz or d.flag()
    m, b = d.integer(1, 3), d.integer(1, 3)
    k, n = (64 * d.integer(1, 2), d.integer(2, 20)) if blocks else (512, 128)
    kind = DTYPES["f8e4m3"] if blocks else d.choice([DTYPES["f8e4m3"], DTYPES["f8e5m2"]])
    y = laid(d.array((b, k, n), kind), right, (0, 2, 1))
    scales = (powers(d, m, b, k // 64, 2), laid(powers(d, b, k // 64, n, 2), right, (0, 2, 1, 3))) if blocks else \
        (d.array((m,), F32, 0.1, 1), d.array((n,), F32, 0.1, 1))
    return given(d, x1=d.array((m, b, k), kind), x2=Fractal(y) if nz else y, x1Scale=scales[0], x2Scale=scales[1],
                 dtype=1, groupSize=32 if blocks else 0, permX1=(1, 0, 2), permX2=(0, 2, 1) if right else (0, 1, 2),
                 permY=(1, 0, 2), batchSplitFactor=1)


def quantised(g: dict[str, Any]) -> Any:
    right, parts = tuple(g["permX2"]) == (0, 2, 1), []
    for i in range(g["x2"].shape[0]):
        x, y = g["x1"][:, i], g["x2"][i].T if right else g["x2"][i]
        if g["x1Scale"].ndim == 1:
            parts.append(numpy(x) @ numpy(y) * numpy(g["x1Scale"])[:, None] * numpy(g["x2Scale"]))
        else:
            b = g["x2Scale"][i].transpose(0, 1) if right else g["x2Scale"][i]
            parts.append(blockwise(x, y, g["x1Scale"][:, i], b))
    return torch.from_numpy(np.stack(parts, axis=1)).half()


def draw_products(d: Draw) -> list[Any]:
    b, m, k, n = 2 * d.integer(1, 2), d.integer(1, 4), d.integer(2, 20), d.integer(2, 20)
    left, right, scaled = d.flag(), d.flag(), d.flag()
    dtype = F16 if scaled else d.choice([F16, BF16])
    y = laid(d.array((b, k, n), dtype, -1, 1), right, (0, 2, 1))
    return [laid(d.array((b, m, k), dtype, -1, 1), left, (1, 0, 2)), Fractal(y), None,
            hardware(d.rng.uniform(4, 9, b * n)) if scaled else None, (1, 0, 2) if left else (0, 1, 2),
            (0, 2, 1) if right else (0, 1, 2), (1, 0, 2), 0, 1 if scaled else d.choice([1, 2])]


def products(x: Any, y: Any, bias: Any, scale: Any, perm_x: Any, perm_y: Any, perm_out: Any, cube: int,
             split: int) -> Any:
    b = y.shape[0]
    parts = [(x[:, i] if perm_x[0] == 1 else x[i]) @ (y[i].T if perm_y[1] == 2 else y[i]) for i in range(b)]
    if scale is not None:
        words = torch.from_numpy((scale.numpy() & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.float32))
        return rounded(torch.cat(parts, dim=1) * words)[:, None]
    if split == 1:
        return torch.stack(parts, dim=1)
    each = b // split
    return torch.stack([torch.cat(parts[i * each:(i + 1) * each], dim=1) for i in range(split)])


ORACLES = {
    "TransposeBatchMatMulWeightNz": Oracle(products, draw_products, cases=10),
    **{n: Oracle(named(quantised)(n), draw_quantised, rtol=1e-3)
       for n in ("TransposeQuantBatchMatMul", "TransposeQuantBatchMatMulWeightNz")},
}
