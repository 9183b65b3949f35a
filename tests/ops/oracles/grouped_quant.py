"""Grouped products, one group after the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.types import BF16, F16, F32, INT4

from ..oracle import Draw, Fractal, Oracle, torch
from .quant_matmul import int8
from .quantise import CLOSE, by_row, given, half_silu, named


def groups_of(d: Draw, low: int = 0, most: int = 4) -> Any:
    """Cumulative ends, the last one above 0."""
    ends = np.cumsum(d.rng.integers(low, most, d.integer(1, 4)))
    ends[-1] += 1
    return ends


def pairs(ends: Any) -> Any:
    return list(zip([0, *ends.tolist()], ends.tolist()))


def draw_add(d: Draw) -> list[Any]:
    ends, m, n, dtype = groups_of(d), d.integer(1, 5), d.integer(1, 5), d.choice([F16, BF16])
    k, left, right = int(ends[-1]), d.flag(), d.flag()
    return [d.array((k, m) if left else (m, k), dtype), d.array((n, k) if right else (k, n), dtype), ends,
            d.array((len(ends) * m, n) if d.flag() else (len(ends), m, n), F32), left, right, 2]


def add(x: Any, weight: Any, ends: Any, y: Any, left: bool, right: bool, kind: int) -> Any:
    x, weight = x.T if left else x, weight.T if right else weight
    found = torch.cat([x[:, a:b].double() @ weight[a:b].double() for a, b in pairs(ends)])
    return (y.double() + found.reshape(y.shape)).float()


def draw_swiglu(d: Draw) -> list[Any]:
    ends, k, n = groups_of(d), d.integer(2, 20), 2 * d.integer(1, 20)
    m, weight = int(ends[-1]) + d.integer(0, 2), int8(d, len(ends), k, n)
    return given(d, x=int8(d, m, k), weight=Fractal(weight) if d.name.endswith("NZ") else weight,
                 weightScale=d.array((len(ends), n), d.choice([F32, F16, BF16]), 0.001, 0.01),
                 xScale=d.array((m,), F32, 0.005, 0.01), groupList=ends)


def swiglu(g: dict[str, Any]) -> Any:
    values = torch.zeros((g["x"].shape[0], g["weight"].shape[2] // 2), dtype=torch.int8)
    scales = torch.zeros(g["x"].shape[0])
    for i, (a, b) in enumerate(pairs(g["groupList"])):
        if b > a:
            sums = (g["x"][a:b].int() @ g["weight"][i].int()).float()
            values[a:b], scales[a:b] = by_row(half_silu(sums * g["xScale"][a:b, None] * g["weightScale"][i], True))
    return values, scales, None


def draw_finalize(d: Draw) -> list[Any]:
    nz, ends, k, n, batch = "Nz" in d.name, groups_of(d), 2 * d.integer(1, 10), 2 * d.integer(1, 10), ROWS
    m, e, names = int(ends[-1]), len(ends), [p.name for p in d.signature.inputs]
    int4 = not nz or (d.name.endswith("V2") and d.flag())
    weight: Any = d.array((e, k, n), np.int32, -8, 7).astype(INT4) if int4 else int8(d, e, k, n)
    values: dict[str, Any] = {"pertokenScaleOptional": d.array((m,), F32, 0.5, 1) if d.flag() else None}

    def put(value: Any, *options: str) -> None:
        values[next(name for name in options if name in names)] = value

    if int4:
        parts = 2 if d.flag() else 1
        scale = d.array((e, parts, n), F32, 0.01, 0.1)
        put(scale.view(np.uint32).astype(np.int64), "scale", "scaleOptional")
        spread = np.repeat(scale, k // parts, axis=1) if k % parts == 0 else None
        bias = 8 * (weight.astype(np.float32) * (scale[:, :1] if spread is None else spread)).sum(axis=1)
        put(bias.astype(F32), "bias", "biasOptional")
    else:
        put(d.array((e, n) if d.flag() else (e, 1, n), d.choice([F32, BF16]), 0.001, 0.01), "scale", "scaleOptional")
    put(int8(d, m, k), "x1", "x")
    put(Fractal(weight) if nz else weight, "x2", "w")
    counts = d.integer(0, 1)
    put(np.diff(ends, prepend=0) if counts else ends, "groupList", "groupListOptional")
    if d.flag():
        put(d.array((m,), F32), "logit", "logitOptional")
    put(d.rng.integers(0, batch, m), "rowIndex", "rowIndexOptional")
    rows = d.integer(0, batch - 1)
    if rows:
        put(d.array((rows, n), BF16), "sharedInput", "sharedInputOptional")
    for name in ("transposeX", "transposeX1", "transposeX2", "transposeW"):
        if name in names:
            values[name] = False
    return given(d, dtype=0, sharedInputWeight=0.5, sharedInputOffset=d.integer(0, batch - rows), groupListType=counts,
                 **values)


ROWS = 5


def finalize(g: dict[str, Any]) -> Any:
    """What the bias takes back has no part in the result: x times the scaled weight."""
    def of(*names: str) -> Any:
        return next(g[n] for n in names if n in g)

    x, weight, scale, groups = of("x1", "x"), of("x2", "w"), of("scale", "scaleOptional"), of("groupList", "groupListOptional")
    logit, shared = of("logit", "logitOptional"), of("sharedInput", "sharedInputOptional")
    if scale.dtype == torch.int64:
        scale = torch.from_numpy(scale.numpy().astype(np.uint32).view(np.float32))
    ends = groups.cumsum(0) if g["groupListType"] else groups
    out = torch.zeros((ROWS, weight.shape[2]), dtype=torch.float64)
    for i, (a, b) in enumerate(pairs(ends)):
        for row in range(a, b):
            y = torch.zeros(weight.shape[2], dtype=torch.float64)
            each = scale[i].reshape(-1, weight.shape[2])
            for j in range(weight.shape[1]):
                y += float(x[row, j]) * weight[i, j].double() * each[j * len(each) // weight.shape[1]].double()
            y *= 1 if g["pertokenScaleOptional"] is None else float(g["pertokenScaleOptional"][row])
            out[int(of("rowIndex", "rowIndexOptional")[row])] += y * (1 if logit is None else float(logit[row]))
    if shared is not None:
        start = g["sharedInputOffset"]
        out[start:start + len(shared)] += shared * g["sharedInputWeight"]
    return out.float()


ORACLES = {
    "GroupedMatmulAdd": Oracle(add, draw_add, **CLOSE),
    **{n: Oracle(named(swiglu)(n), draw_swiglu, **CLOSE)
       for n in ("GroupedMatmulSwigluQuant", "GroupedMatmulSwigluQuantWeightNZ")},
    **{f"GroupedMatmulFinalizeRouting{n}": Oracle(named(finalize)(f"GroupedMatmulFinalizeRouting{n}"), draw_finalize,
                                                  rtol=1e-4, atol=1e-3, cases=8)
       for n in ("", "V2", "V3", "WeightNz", "WeightNzV2")},
}
