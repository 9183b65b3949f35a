"""Caches of quantised keys and values, token by token."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.types import BF16, F16, F32

from ..oracle import Draw, Oracle, torch
from .quantise import given, named, rounded


def draw_rope(d: Draw) -> list[Any]:
    b, s, nq, n, width = d.integer(1, 2), d.integer(1, 3), 2, 1, 16
    page, integer, dtype = d.flag(), d.flag(), d.choice([F16, BF16])
    blocks, room = b + 1, s + 2
    columns = (nq + 2 * n) * width
    indices = d.rng.permutation(blocks * room)[:b * s] if page else d.rng.integers(0, room - s + 1, b)
    values: dict[str, Any] = {}
    if integer:
        values["weightScaleOptional"] = d.array((columns,), F32, 0.01, 0.1)
        values["activationScaleOptional"] = d.array((b * s,), F32, 0.5, 1) if d.flag() else None
        values["biasOptional"] = d.choice([None, d.array((columns,), np.int32, -9, 9), d.array((columns,), F32)])
    for which in "KV":
        values[f"scale{which}"] = d.array((n, width), F32, 0.02, 0.1)
        values[f"offset{which}Optional"] = d.array((n, width), F32, -9, 9) if d.flag() else None
    x = d.array((b, s, columns), np.int32, -50, 50) if integer else d.array((b, s, columns), dtype)
    return given(d, x=x, cos=d.array((b, s, 1, width), dtype, -1, 1), sin=d.array((b, s, 1, width), dtype, -1, 1),
                 kCacheRef=d.array((blocks, room, n, width), np.int8, -99, 99),
                 vCacheRef=d.array((blocks, room, n, width), np.int8, -99, 99), indices=indices.astype(np.int32),
                 sizeSplits=(nq * width, n * width, n * width), quantModeOptional="static", layoutOptional="BSND",
                 kvOutput=True, cacheModeOptional="page" if page else d.choice([None, "contiguous"]), **values)


def rope(g: dict[str, Any]) -> Any:
    x, bias = g["x"].float(), g["biasOptional"]
    b, s, _ = x.shape
    if g["weightScaleOptional"] is not None:
        if bias is not None and not bias.is_floating_point():
            x = x + bias
        x = x * g["weightScaleOptional"]
        if g["activationScaleOptional"] is not None:
            x = x * g["activationScaleOptional"].reshape(b, s, 1)
        if bias is not None and bias.is_floating_point():
            x = x + bias
    q, k, v = (t.reshape(b, s, -1, 16) for t in x.split(list(g["sizeSplits"]), dim=-1))

    def turn(t: Any) -> Any:
        first, second = t.chunk(2, -1)
        return t * g["cos"] + torch.cat([-second, first], -1) * g["sin"]

    q, k = turn(q), turn(k)
    caches = [g["kCacheRef"].clone(), g["vCacheRef"].clone()]
    for cache, values, which in zip(caches, (k, v), "KV"):
        zero = g[f"offset{which}Optional"]
        for i in range(b):
            for j in range(s):
                row = rounded(values[i, j] / g[f"scale{which}"] + (0 if zero is None else zero))
                if g["cacheModeOptional"] == "page":
                    cache.reshape(-1, *cache.shape[-2:])[int(g["indices"][i * s + j])] = row
                else:
                    cache[i, int(g["indices"][i]) + j] = row
    return (*caches, *(t.half() for t in (q, k, v)))


ORACLES = {"DequantRopeQuantKvcache": Oracle(named(rope)("DequantRopeQuantKvcache"), draw_rope, atol=1e-3, cases=10)}
