"""Products with activations and sums, by PyTorch, expert by expert and row by row."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.types import BF16, F16, F32, INT4

from ..oracle import Draw, Oracle, torch
from .quant_matmul import hardware, int8, word
from .quantise import functional, given, named, rounded

HALVES = [F16, BF16]


def draw_fused(d: Draw) -> list[Any]:
    kind = d.choice(["", "add", "mul", "gelu_tanh", "gelu_erf", "relu"])
    dtype = d.choice([F32, *HALVES] if kind in ("", "add", "mul", "relu") else HALVES)
    batch = (2,) if kind in ("", "add", "mul", "relu") and d.flag() else ()
    m, k, n = d.integer(1, 5), d.integer(1, 5), d.integer(1, 5)
    x3 = d.array((*d.choice([batch, (1,) * len(batch), ()]), m, n), dtype) if kind in ("add", "mul") else None
    bias = None if kind[:4] == "gelu" or d.flag() else d.array(d.choice([(n,), (1, n)]), dtype)
    return [d.array((*batch, m, k), dtype), d.array((*batch, k, n), dtype), bias, x3, kind, 3 if dtype == F32 else 0]


def fused(x: Any, y: Any, bias: Any, x3: Any, kind: str, cube: int) -> Any:
    found = x @ y + (0 if bias is None else bias)
    if kind in ("add", "mul"):
        return found + x3 if kind == "add" else found * x3
    if kind[:4] == "gelu":
        return functional.gelu(found, approximate="tanh" if kind == "gelu_tanh" else "none")
    return torch.relu(found) if kind == "relu" else found


def draw_gelu(d: Draw) -> list[Any]:
    dtype, k, n = d.choice(HALVES), d.integer(1, 5), d.integer(1, 5)
    return [d.array((*d.shape(0, 2), k), dtype), d.array((n, k), dtype), d.array((n,), dtype) if d.flag() else None, 1]


def gelu(x: Any, weight: Any, bias: Any, approximate: int) -> Any:
    return functional.gelu(functional.linear(x, weight, bias), approximate="tanh")


def draw_lora(d: Draw) -> list[Any]:
    rows, w, layers, rank, wide = d.integer(1, 6), d.integer(1, 3), d.integer(1, 2), 16, 16 * d.integer(1, 2)
    with_a = d.flag()
    h1 = 16 * d.integer(1, 2) if with_a else rank
    a = d.array((w, layers, rank, h1), F16, -1, 1) if with_a else None
    return [d.array((rows, 48), F16), d.array((rows, h1), F16, -1, 1), d.array((w, layers, wide, rank), F16, -1, 1),
            d.array((rows,), np.int32, 0, w - 1), a, d.integer(0, layers - 1), 0.5, d.integer(0, 48 - wide), wide]


def lora(y: Any, x: Any, b: Any, indices: Any, a: Any, layer: int, scale: float, offset: int, size: int) -> Any:
    out = y.clone()
    for row, i in enumerate(indices.tolist()):
        inner = x[row] if a is None else a[i, layer] @ x[row]
        out[row, offset:offset + size] += b[i, layer] @ inner * scale
    return out


# ---- feed-forward

def draw_ffn(d: Draw) -> list[Any]:
    names = [p.name for p in d.signature.inputs]
    way, experts = d.choice(["float", "int", "antiquant"]), d.integer(1, 3) if d.flag() else 0
    counts = d.rng.integers(1, 4, max(experts, 1))
    m, k, n, dtype = int(counts.sum()), d.integer(1, 4) * 2, d.integer(1, 4) * 2, d.choice(HALVES)
    lead = (experts,) if experts else ()
    values: dict[str, Any] = {"activation": d.choice(["gelu", "fastgelu", "relu", "silu"]), "innerPrecise": 0}

    def put(name: str, value: Any) -> None:
        values[name if name in names else f"{name}Optional"] = value

    if experts:
        flag = "tokensIndexFlag" in names and d.flag()
        sizes = np.cumsum(counts) if flag else counts
        put("expertTokens", sizes if "expertTokensOptional" in names else tuple(int(c) for c in sizes))
        values.update({"tokensIndexFlag": flag} if "tokensIndexFlag" in names else {})
    elif "tokensIndexFlag" in names:
        values["tokensIndexFlag"] = False
    rows = (m,) if experts else (2, m)
    shapes = {"1": (*lead, k, n), "2": (*lead, n, k)}
    values["x"] = int8(d, *rows, k) if way == "int" else d.array((*rows, k), dtype, -1, 1)
    four, grouped = d.flag(), d.flag()
    for i, shape in shapes.items():
        wide = (*lead, shape[-1])
        if way == "float":
            values[f"weight{i}"] = d.array(shape, dtype, -1, 1)
        elif way == "int":
            values[f"weight{i}"] = int8(d, *shape)
            scale = hardware(d.rng.uniform(1e-4, 1e-3, int(np.prod(wide)))).reshape(wide)
            put(f"deqScale{i}", scale if d.flag() else d.array(wide, F32, 1e-4, 1e-3))
        else:
            values[f"weight{i}"] = d.array(shape, np.int32, -8, 7).astype(INT4) if four else int8(d, *shape)
            groups = (*lead, 2, shape[-1]) if four and grouped else wide
            put(f"antiquantScale{i}", d.array(groups, dtype, 0.01, 0.1))
            put(f"antiquantOffset{i}", d.array(groups, dtype) if d.flag() else None)
        if d.flag():
            kind = np.int32 if way == "int" else F16 if dtype == F16 else F32
            put(f"bias{i}", d.array(wide, kind, -99 if way == "int" else -1, 99 if way == "int" else 1))
    if way == "int":
        put("scale", d.array((*lead, n) if d.flag() else (experts or 1,), F32, 5, 50))
        put("offset", d.array((experts or 1,), F32, -9, 9) if d.flag() else None)
    return given(d, **values)


def ffn(g: dict[str, Any]) -> Any:
    run = {"gelu": lambda t: functional.gelu(t, approximate="tanh"), "fastgelu": lambda t: t * torch.sigmoid(1.702 * t),
           "relu": torch.relu, "silu": functional.silu}[g["activation"]]

    def of(name: str, i: int) -> Any:
        value = g.get(name) if g.get(name) is not None else g.get(f"{name}Optional")
        return value if value is None or tokens is None else value[i]

    tokens = g["expertTokens"] if "expertTokens" in g else g["expertTokensOptional"]
    x = g["x"].reshape(-1, g["x"].shape[-1])
    if tokens is None:
        ends = [len(x)]
    else:
        sizes = torch.as_tensor(tokens)
        ends = (sizes if g.get("tokensIndexFlag") else sizes.cumsum(0)).tolist()
    parts = []
    for i, (a, b) in enumerate(zip([0, *ends], ends)):
        rows = x[a:b]
        if not x.is_floating_point():
            for which in "12":
                sums = rows.int() @ of(f"weight{which}", i).int()
                bias = of(f"bias{which}", i)
                y = (sums if bias is None else sums + bias).float() * word(of(f"deqScale{which}", i))
                if which == "1":
                    rows = rounded(run(y) * of("scale", i) + (0 if of("offset", i) is None else of("offset", i)))
            parts.append(y)
            continue
        for which in "12":
            weight, scale = of(f"weight{which}", i).float(), of(f"antiquantScale{which}", i)
            if scale is not None:
                offset, lines = of(f"antiquantOffset{which}", i), []
                for j, line in enumerate(weight):
                    at = (j * len(scale) // len(weight),) if scale.ndim == 2 else ()
                    lines.append((line if offset is None else line + offset[at]) * scale[at])
                weight = torch.stack(lines)
            rows = rows @ weight + (0 if of(f"bias{which}", i) is None else of(f"bias{which}", i))
            rows = run(rows) if which == "1" else rows
        parts.append(rows)
    return torch.cat(parts).reshape(*g["x"].shape[:-1], -1)


ORACLES = {
    "FusedMatmul": Oracle(fused, draw_fused, cases=14), "FusedMatmulGelu": Oracle(gelu, draw_gelu),
    "AddLora": Oracle(lora, draw_lora, atol=1e-3),
    **{n: Oracle(named(ffn)(n), draw_ffn, rtol=1e-4, atol=1e-3, cases=12) for n in ("FFN", "FFNV2", "FFNV3")},
}
