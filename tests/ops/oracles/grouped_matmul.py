"""GroupedMatmul: group by group and, where scales come for parts of the inner dimension, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.types import BF16, F16, F32, INT4

from ..oracle import Draw, Fractal, Oracle, torch
from .quant_matmul import hardware, int8, word
from .quantise import functional, given, named

NAMES = ("GroupedMatmul", "GroupedMatmulV2", "GroupedMatmulV3", "GroupedMatmulV4", "GroupedMatmulV5",
         "GroupedMatmulWeightNz")


def int4(d: Draw, *shape: int) -> Any:
    return d.array(shape, np.int32, -8, 7).astype(INT4)


def draw(d: Draw) -> list[Any]:
    names = [p.name for p in d.signature.inputs]
    newer = "perTokenScaleOptional" in names
    dtype, groups, k, n = d.choice([F16, BF16]), d.integer(2, 3), 2 * d.integer(1, 3), 2 * d.integer(1, 3)
    counts = d.rng.integers(1, 4, groups)
    listed = "groupType" not in names or d.flag()
    way = d.choice(["float", "anti", "int8", "narrow"] if newer and not listed else
                   ["float", "anti", "int8"] if newer else ["float", "anti"])
    tensor = next(p for p in d.signature.inputs if p.name == "groupListOptional").kind == "tensor"
    values: dict[str, Any] = {p.name: 0 for p in d.signature.inputs if p.kind == "plain"}

    def rows(m: int) -> Any:
        return int8(d, m, k) if way in ("int8", "narrow") else d.array((m, k), dtype, -1, 1)

    def every(*shape: int, kind: Any, low: float = -4, high: float = 4) -> Any:
        """One for each group, listed or stacked."""
        if listed:
            return [d.array(shape, kind, low, high) for _ in counts]
        return [d.array((groups, *shape), kind, low, high)]

    if listed:
        values["x"] = [rows(int(c)) for c in counts]
        values["groupType"] = -1
    else:
        values["x"], values["splitItem"] = [rows(int(counts.sum()))], 3
        kinds = (0, 1, 2) if d.name[-2:] in ("V5", "Nz") else (0, 1)
        kind = d.choice(kinds) if "groupListType" in names else 0
        sizes = [np.cumsum(counts), counts, np.stack([np.arange(groups)[::-1], counts], axis=1)][kind].astype(np.int64)
        values["groupListType"] = kind
        values["groupListOptional"] = sizes if tensor else tuple(int(e) for e in sizes)
    four = way == "narrow" or (way == "anti" and d.flag())
    lead = [()] * groups if listed else [(groups,)]
    values["weight"] = [int4(d, *s, k, n) if four else int8(d, *s, k, n) if way in ("anti", "int8") else
                        d.array((*s, k, n), dtype, -1, 1) for s in lead]
    if d.flag() and way != "narrow":
        kind = np.int32 if way == "int8" else F16 if dtype == F16 else F32
        values["biasOptional"] = every(n, kind=kind)
    parts = 2 if four and d.flag() else 1
    if way == "anti":
        shape = (2, n) if parts == 2 else (n,)
        values["antiquantScaleOptional"] = every(*shape, kind=dtype, low=0.01, high=0.1)
        values["antiquantOffsetOptional"] = every(*shape, kind=dtype) if parts == 1 or d.flag() else []
        values["antiquantOffsetOptional"] = values["antiquantOffsetOptional"] or every(*shape, kind=dtype)
    if way == "int8":
        values["scaleOptional"] = every(n, kind=d.choice([BF16, F32]), low=0.001, high=0.01)
    if way == "narrow":
        scale = d.rng.uniform(0.01, 0.1, (groups, parts, n)).astype(np.float32)
        values["scaleOptional"] = [hardware(scale.reshape(-1).tolist()).reshape(scale.shape)]
        whole = values["weight"][0].astype(np.float32) * np.repeat(scale, k // parts, axis=1)
        values["biasOptional"] = [(8 * whole.sum(axis=1)).astype(F32)]
    if way == "narrow" or (way == "int8" and d.flag()):
        lengths = counts.tolist() if listed else [int(counts.sum())]
        values["perTokenScaleOptional"] = [d.array((m,), F32, 0.5, 1) for m in lengths]
    if "actType" in names:
        values["actType"] = d.integer(0, 5)
    if d.name.endswith("Nz"):
        values["weight"] = [Fractal(w) for w in values["weight"]]
    return given(d, **{name: v for name, v in values.items() if name in names})


def grouped(g: dict[str, Any]) -> Any:
    xs, weights = g["x"], g["weight"]
    order = list(range(len(weights) if len(xs) > 1 else weights[0].shape[0]))
    if len(xs) == 1:
        sizes, kind = torch.as_tensor(g["groupListOptional"]), g.get("groupListType", 0)
        order, sizes = (sizes[:, 0].tolist(), sizes[:, 1]) if kind == 2 else (order, sizes)
        counts = torch.diff(sizes, prepend=torch.zeros(1, dtype=sizes.dtype)) if kind == 0 else sizes
        xs = torch.split(xs[0], counts.tolist())

    def of(name: str, i: int) -> Any:
        values = g.get(name)
        return None if not values else values[i] if len(weights) > 1 else values[0][i]

    tokens, start, found = g.get("perTokenScaleOptional"), 0, []
    for n, i in enumerate(order):
        x, weight = xs[n], (weights[i] if len(weights) > 1 else weights[0][i]).double()
        scale, bias = of("scaleOptional", i), of("biasOptional", i)
        narrow = scale is not None and not scale.is_floating_point()
        anti = word(scale) if narrow else of("antiquantScaleOptional", i)
        if anti is not None:
            anti, offset = anti.reshape(-1, weight.shape[1]), of("antiquantOffsetOptional", i)
            lines = [(line if offset is None else line + offset.reshape(anti.shape)[j * len(anti) // len(weight)])
                     * anti[j * len(anti) // len(weight)] for j, line in enumerate(weight)]
            weight = torch.stack(lines)
        y = x.double() @ weight + (0 if bias is None or narrow else bias)
        y = y if scale is None or narrow else y * scale
        if tokens:
            y = y * (tokens[n] if len(tokens) > 1 else tokens[0][start:start + len(x)])[:, None]
        start += len(x)
        run = [lambda t: t, torch.relu, lambda t: functional.gelu(t, approximate="tanh"), functional.gelu,
               lambda t: t * torch.sigmoid(1.702 * t), functional.silu][g.get("actType", 0)]
        found.append(run(y).float())
    outs = [found if len(g["x"]) > 1 else [torch.cat(found)]]
    return (*outs, None, None) if "actType" in g else tuple(outs)


ORACLES = {n: Oracle(named(grouped)(n), draw, rtol=1e-4, atol=2e-3, cases=14) for n in NAMES}
