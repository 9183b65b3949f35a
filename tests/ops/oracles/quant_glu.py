"""Gated activations with clamps, groups and quantisation: PyTorch's own, differentiated by autograd, row by row."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pyacl.capi import lib
from pyacl.emulator.ops.types import BF16, DTYPES, F16, F32, INT4

from ..oracle import Draw, Oracle, torch
from .mx import NAMES, along, magnitudes, nearest
from .quantise import CLOSE, functional, given, half_silu, named, rounded

FLOATS = [F32, F16, BF16]


# ---- groups

def leading(d: Draw) -> tuple[int, ...]:
    return d.shape(1, 2, 4)


def counts_for(d: Draw, rows: int) -> Any:
    return d.rng.integers(0, rows + 1, d.integer(1, 3)) if d.flag() else None


def draw_group(d: Draw) -> list[Any]:
    lead = leading(d)
    rows, weighted = int(np.prod(lead)), d.flag()
    return given(d, x=d.array((*lead, 2 * d.integer(1, 4)), F32 if weighted else d.choice(FLOATS)),
                 weightOptional=d.array(lead, F32) if weighted else None, groupIndexOptional=counts_for(d, rows),
                 clampLimit=d.choice([-1.0, 1.5]))


def used(counts: Any, rows: int) -> int:
    return rows if counts is None else min(int(counts.sum()), rows)


def group(g: dict[str, Any]) -> Any:
    a, b = g["x"].reshape(-1, g["x"].shape[-1]).chunk(2, -1)
    if g["clampLimit"] > 0:
        a, b = a.clamp(max=g["clampLimit"]), b.clamp(-g["clampLimit"], g["clampLimit"])
    y = functional.silu(a) * b
    if g["weightOptional"] is not None:
        y = y * g["weightOptional"].reshape(-1, 1)
    y = y.clone()
    y[used(g["groupIndexOptional"], len(y)):] = 0
    return y.reshape(*g["x"].shape[:-1], -1)


def draw_grad(d: Draw) -> list[Any]:
    quant = "Quant" in d.name
    lead, width, dtype = leading(d), d.integer(1, 4), d.choice(FLOATS)
    weighted = d.flag()
    shape = lead if quant else (*lead, 1)
    return given(d, gradY=d.array((*lead, width), dtype), x=d.array((*lead, 2 * width), dtype),
                 weightOptional=d.array(shape, F32) if weighted else None,
                 yOriginOptional=d.array((*lead, width), dtype) if weighted else None,
                 groupIndexOptional=counts_for(d, int(np.prod(lead))), clampLimit=d.choice([-1.0 if quant else 0.0, 1.5]))


def grad(g: dict[str, Any], cut: bool) -> Any:
    """y = w silu(a) b, differentiated; what a clamp cuts off passes no gradient."""
    x, dy, weight = g["x"].clone().requires_grad_(), g["gradY"], g["weightOptional"]
    y = group({**g, "x": x, "groupIndexOptional": None, "clampLimit": g["clampLimit"] or -1.0})
    y.backward(dy)
    rows = used(g["groupIndexOptional"], x.reshape(-1, x.shape[-1]).shape[0])
    dx = x.grad.reshape(-1, x.shape[-1])
    dx[rows:] = 0
    if weight is None:
        return dx.reshape(x.shape), None
    dw = (dy * g["yOriginOptional"]).sum(-1).reshape(-1)
    if cut:
        dw[rows:] = 0
    return dx.reshape(x.shape), dw.reshape(weight.shape)


def draw_group_quant(d: Draw) -> list[Any]:
    mode, lead = d.integer(0, 1), (*d.shape(0, 1, 2), d.integer(1, 3))
    x = magnitudes(d, (*lead, 256 * d.integer(1, 2)), d.choice([F16, BF16]))
    first = x[(0,) * len(lead)]
    if mode == 0 and d.flag():
        first[5] = np.inf
    first[6], first[6 + len(first) // 2] = 64, 7  # the scale is then a power of two, where nothing else counts
    weight = (2.0 ** d.rng.integers(-2, 3, lead)).astype(F32)
    return given(d, x=x, weightOptional=weight if d.flag() else None,
                 groupIndexOptional=counts_for(d, int(np.prod(lead))), dstType=d.choice([35, 36]), quantMode=mode,
                 blockSize=d.choice([0, 32 if mode else 128]), roundScale=bool(mode) or d.flag(),
                 clampLimit=d.choice([-1.0, -1.0, 1.5]), dstTypeMax=15.0, outputOrigin=False)


def group_quant(g: dict[str, Any]) -> Any:
    y, name = group(g).numpy(), NAMES[g["dstType"]]
    origin = np.full(y.shape, 3, F32)
    if g["quantMode"] == 1:
        return (*along(y, y.ndim - 1, name, algorithm=1, low=1e-4), origin)
    top = {"f8e5m2": 57344.0, "f8e4m3": 448.0}[name]
    rows = y.reshape(-1, y.shape[-1])
    values, scales = np.zeros(rows.shape), np.zeros((len(rows), -(-rows.shape[1] // 128)), np.float32)
    for r, row in enumerate(rows):
        for i in range(0, len(row), 128):
            part = row[i:i + 128]
            peak = np.float32(max(np.abs(part[np.isfinite(part)]).max(initial=0), 1e-4))
            scale, back = peak / np.float32(top), np.float32(top) / peak
            if g["roundScale"]:
                scale = np.float32(2.0 ** math.ceil(math.log2(scale)))
                back = 1 / scale
            scales[r, i // 128] = scale
            for j, v in enumerate(part * back):
                values[r, i + j] = nearest(float(np.clip(v if np.isfinite(v) else part[j], -top, top)), name, "rint")
    return values.reshape(y.shape).astype(DTYPES[name]), scales.reshape(*y.shape[:-1], -1), origin


# ---- clamped

def draw_clipped(d: Draw) -> list[Any]:
    shape = [*d.shape(1, 3), 2 * d.integer(1, 3), *d.shape(0, 1)]
    dim = d.choice([i for i, n in enumerate(shape) if n % 2 == 0])
    rows = int(np.prod(shape[:dim]))
    counts = None if d.flag() or rows < 2 else np.array([1, d.integer(0, rows - 1)])
    dtype, half = d.choice(FLOATS), [n // 2 if i == dim else n for i, n in enumerate(shape)]
    values = {"x": d.array(tuple(shape), dtype), "groupIndexOptional": counts, "dim": dim - len(shape) * d.flag(),
              "alpha": 1.702, "limit": 2.0, "bias": 0.5, "interleaved": d.flag()}
    if "Grad" in d.name:
        return given(d, gradY=d.array(tuple(half), dtype), **values)
    return given(d, clampMode=d.integer(0, 1), **values)


def clipped(g: dict[str, Any]) -> Any:
    x, dim = g["x"], g["dim"] % g["x"].ndim
    rows = x.reshape(math.prod(x.shape[:dim]), -1)
    h, limit = rows.shape[1] // 2, g["limit"]
    a, b = (rows[:, ::2], rows[:, 1::2]) if g["interleaved"] else (rows[:, :h], rows[:, h:])
    b = b.clamp(-limit, limit)
    if g.get("clampMode") == 1:
        y = functional.silu(a).clamp(max=limit) * b
    else:
        a = a.clamp(max=limit)
        y = a * torch.sigmoid(g["alpha"] * a) * (b + g["bias"])
    keep = torch.arange(len(rows)) < used(g["groupIndexOptional"], len(rows))
    shape = list(x.shape)
    shape[dim] //= 2
    return (y * keep[:, None]).reshape(shape)


def clipped_grad(g: dict[str, Any]) -> Any:
    x = g["x"].clone().requires_grad_()
    clipped({**g, "x": x}).backward(g["gradY"])
    return x.grad


def silu_clamp(x: Any, limit: float) -> Any:
    a, b = x.chunk(2, -1)
    return functional.silu(a).clamp(max=limit) * b.clamp(-limit, limit)


# ---- quantised

def draw_situ(d: Draw) -> list[Any]:
    dtype = d.choice([np.dtype(np.int8), np.dtype(np.int32), F16, BF16])
    lead = (*d.shape(0, 1, 3), d.integer(1, 4)) if dtype == np.int8 else (d.integer(1, 4),)
    width, integer = d.integer(1, 5), dtype.kind == "i"
    values: dict[str, Any] = {"x": d.array((*lead, 2 * width), dtype, -50 if integer else -3, 50 if integer else 3)}
    if integer:
        values["weightScaleOptional"] = d.array((d.choice([1, 2 * width]),), F32, 0.01, 0.1)
        values["biasOptional"] = d.array((d.choice([1, 2 * width]),), F32) if d.flag() else None
    if dtype == np.int32:
        values["activationScaleOptional"] = d.array((1,), F32, 0.5, 1)
    static = dtype == np.int8 and d.flag()
    if dtype == np.int8 and (static or d.flag()):
        values["quantScaleOptional"] = d.array((d.choice([1, width]),), F32, 0.05, 0.2)
    if static and d.flag():
        values["quantOffsetOptional"] = d.array((d.choice([1, width]),), F32, -9, 9)
    return given(d, beta=4.0, linearBeta=d.choice([0.0, 25.0, 1.5]), activateLeft=d.flag(),
                 quantTypeOptional="static" if static else d.choice([None, "dynamic"]), **values)


def situ(g: dict[str, Any]) -> Any:
    y = g["x"].float()
    for name, join in (("weightScale", torch.mul), ("activationScale", torch.mul), ("bias", torch.add)):
        if g[name + "Optional"] is not None:
            y = join(y, g[name + "Optional"])
    a, b = y.chunk(2, -1)
    gate, up = (a, b) if g["activateLeft"] else (b, a)
    up = up if g["linearBeta"] <= 0 else g["linearBeta"] * torch.tanh(up / g["linearBeta"])
    y, scale = g["beta"] * torch.tanh(gate / g["beta"]) * torch.sigmoid(gate) * up, g["quantScaleOptional"]
    if g["quantTypeOptional"] == "static":
        y = y / scale + (0 if g["quantOffsetOptional"] is None else g["quantOffsetOptional"])
        return torch.trunc(y).clamp(-128, 127).to(torch.int8), torch.full(y.shape[:-1], 3.0)
    y = y if scale is None else y * scale
    top = y.abs().amax(-1, keepdim=True) / 127
    return torch.trunc(y / top).clamp(-128, 127).to(torch.int8), top[..., 0]


def draw_swiglu(d: Draw) -> list[Any]:
    int4, grouped, static = d.flag(), d.flag(), d.flag()
    width = 2 * d.integer(1, 4)
    counts = d.rng.integers(1, 4, d.integer(1, 3))
    lead = (int(counts.sum()),) if grouped else d.shape(1, 2, 4)
    kind, groups = d.integer(0, 1), len(counts) if grouped else 1
    flat = d.flag()
    scales = d.array((groups,) if flat else (groups, width), F32, 2, 5)
    offsets = d.array(scales.shape, F32) if static else None
    ends = None if not grouped else (counts if kind else np.cumsum(counts)).astype(np.int32)
    return given(d, x=d.array((*lead, 2 * width), d.choice(FLOATS)),
                 smoothScalesOptional=scales if static or d.flag() else None, offsetsOptional=offsets,
                 groupIndexOptional=ends, activateLeft=d.flag(), quantModeOptional="static" if static else "dynamic",
                 groupListType=kind, dstType=lib.ACL_INT4 if int4 else lib.ACL_INT8)


def swiglu(g: dict[str, Any]) -> Any:
    y = half_silu(g["x"], g["activateLeft"])
    rows, groups = y.reshape(-1, y.shape[-1]).clone(), g["groupIndexOptional"]
    ends = [len(rows)] if groups is None else (groups.cumsum(0) if g["groupListType"] else groups).tolist()
    for i, (start, end) in enumerate(zip([0, *ends], ends)):
        if g["smoothScalesOptional"] is not None:
            rows[start:end] *= g["smoothScalesOptional"][i]
        if g["offsetsOptional"] is not None:
            rows[start:end] += g["offsetsOptional"][i]
    int4 = g["dstType"] == lib.ACL_INT4
    top, scale = 7 if int4 else 127, torch.full(rows.shape[:1], 3.0)
    if g["quantModeOptional"] == "dynamic":
        scale = top / rows.abs().amax(-1)
        rows = rows * scale[:, None]
    values = rounded(rows, -top - 1, top).reshape(y.shape)
    return values.numpy().astype(INT4) if int4 else values, scale.reshape(y.shape[:-1])


ORACLES = {
    "SwigluGroup": Oracle(named(group)("SwigluGroup"), draw_group, cases=10),
    "SwigluGroupGrad": Oracle(named(lambda g: grad(g, False))("SwigluGroupGrad"), draw_grad, **CLOSE, cases=10),
    "SwigluGroupQuantGrad": Oracle(named(lambda g: grad(g, True))("SwigluGroupQuantGrad"), draw_grad, **CLOSE, cases=10),
    "SwigluGroupQuant": Oracle(named(group_quant)("SwigluGroupQuant"), draw_group_quant, rtol=1e-6, cases=14),
    "ClippedSwigluV2": Oracle(named(clipped)("ClippedSwigluV2"), draw_clipped),
    "ClippedSwigluGrad": Oracle(named(clipped_grad)("ClippedSwigluGrad"), draw_clipped, **CLOSE, cases=10),
    "SwigluClamp": Oracle(silu_clamp, lambda d: [d.array((*d.shape(0, 2), 2 * d.integer(1, 4)), d.choice(FLOATS)), 1.5]),
    "DequantSituQuant": Oracle(named(situ)("DequantSituQuant"), draw_situ, cases=12),
    "SwiGluQuantV2": Oracle(named(swiglu)("SwiGluQuantV2"), draw_swiglu, **CLOSE, cases=12),
}
