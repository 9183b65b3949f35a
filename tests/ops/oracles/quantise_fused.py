"""Fused quantisation: PyTorch's norms and activations, rows one at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.capi import lib
from pyacl.emulator.ops.types import BF16, DTYPES, F16, F32

from ..oracle import Draw, Oracle, torch
from .quantise import (
    CLOSE,
    by_row,
    draw_dequant_swiglu,
    draw_dynamic,
    dynamic,
    functional,
    given,
    half_silu,
    named,
    quarters,
    rounded,
)

INT8, F8 = lib.ACL_INT8, lib.ACL_FLOAT8_E4M3FN


def draw_gelu(d: Draw) -> list[Any]:
    shape, dtype = d.shape(2, 3), d.choice([F32, F16, BF16])
    static = d.flag()
    scale = d.array(shape[-1:], dtype, 4, 9) if static or d.flag() else None
    return given(d, self=d.array(shape, dtype), inputScaleOptional=scale,
                 inputOffsetOptional=d.array(shape[-1:], dtype) if static else None,
                 approximate=d.choice(["none", "tanh"]), quantMode="static" if static else "dynamic", roundMode="rint",
                 dstType=INT8)


def gelu(g: dict[str, Any]) -> Any:
    y = functional.gelu(g["self"], approximate=g["approximate"])
    if g["inputScaleOptional"] is not None:
        y = y * g["inputScaleOptional"]
    if g["quantMode"] == "dynamic":
        return by_row(y)
    return rounded(y + g["inputOffsetOptional"]), torch.full(y.shape[:-1], 3.0)


def clamped(a: Any, b: Any, limit: float, alpha: float, bias: float) -> Any:
    a, b = a.clamp(max=limit), b.clamp(-limit, limit)
    return a * torch.sigmoid(alpha * a) * (b + bias)


def draw_clipped(d: Draw) -> list[Any]:
    shape = [*d.shape(1, 3), 2 * d.integer(1, 3), *d.shape(0, 1)]
    dim = d.choice([i for i, n in enumerate(shape) if n % 2 == 0])
    rows = int(np.prod(shape[:dim]))
    counts = None if d.flag() or rows < 2 else np.array([1, d.integer(0, rows - 1)])
    return [d.array(tuple(shape), d.choice([F32, F16, BF16])), counts, dim - len(shape) * d.flag(), 1.702, 2.0, 0.5,
            d.flag()]


def clipped(x: Any, counts: Any, dim: int, alpha: float, limit: float, bias: float, interleaved: bool) -> Any:
    shape = list(x.shape)
    dim %= x.ndim
    rows = x.reshape(int(np.prod(shape[:dim])), -1)
    out = torch.zeros(rows.shape[0], rows.shape[1] // 2)
    for i in range(rows.shape[0] if counts is None else int(counts.sum())):
        h = rows.shape[1] // 2
        a, b = (rows[i, ::2], rows[i, 1::2]) if interleaved else (rows[i, :h], rows[i, h:])
        out[i] = clamped(a, b, limit, alpha, bias)
    shape[dim] //= 2
    return out.reshape(shape)


def draw_dequant(d: Draw) -> list[Any]:
    values = dict(zip((p.name for p in d.signature.inputs), draw_dequant_swiglu(d)))
    return given(d, **{**values, "dstType": INT8, "roundModeOptional": "rint", "activateDim": -1, "clampLimit": 2.0,
                       "swigluMode": d.integer(0, 3), "gluAlpha": 1.702, "gluBias": 1.0})


def dequant(g: dict[str, Any]) -> Any:
    bias, mode = g["biasOptional"], g["swigluMode"]
    whole = bias is not None and not bias.is_floating_point()
    y = (g["x"] + bias if whole else g["x"]).float() * g["weightScaleOptional"] * g["activationScaleOptional"][:, None]
    y = y if bias is None or whole else y + bias
    a, b = (y[:, ::2], y[:, 1::2]) if mode == 1 else y.chunk(2, -1)
    if mode == 0:
        y = half_silu(y, g["activateLeft"])
    elif mode == 3:
        y = functional.silu(a).clamp(max=2) * b.clamp(-2, 2)
    else:
        y = clamped(a, b, 2.0, 1.702, 1.0)
    if g["quantModeOptional"] == "dynamic":
        return by_row(y * g["quantScaleOptional"])
    return rounded(y / g["quantScaleOptional"] + g["quantOffsetOptional"]), torch.full(y.shape[:1], 3.0)


def draw_channels(d: Draw) -> list[Any]:
    values = dict(zip((p.name for p in d.signature.inputs), draw_dynamic(d)))
    values["dstTypeMax"] = 0.0
    if d.flag():
        values.update(quantMode="perchannel", x=d.array(d.shape(2, 3), F16), smoothScalesOptional=None)
    return given(d, **values)


def channels(g: dict[str, Any]) -> Any:
    if g["quantMode"] == "pertoken":
        return dynamic(g)
    y, *rest = dynamic({**g, "x": g["x"].transpose(-1, -2)})
    return y.transpose(-1, -2), *rest


# ---- norms

def draw_norm(d: Draw) -> list[Any]:
    dtype, shape = d.choice([F16, BF16]), (d.integer(1, 4), d.integer(2, 6))
    last = shape[1:]
    values: dict[str, Any] = {"gamma": d.array(last, dtype, 0.5, 2), "epsilon": 1e-3}
    values["betaOptional"] = d.array(last, dtype) if d.flag() else None

    def smooth() -> Any:
        return d.array(last, dtype, 0.5, 2) if d.flag() else None

    if d.name == "aclnnRmsNormDynamicQuant":
        return given(d, x=quarters(d, shape, dtype), smoothScalesOptional=smooth(), dstType=INT8, **values)
    values["x1"], values["x2"] = quarters(d, shape, dtype), quarters(d, shape, dtype)
    if "Dynamic" in d.name:
        return given(d, smoothScale1Optional=smooth(), smoothScale2Optional=smooth(),
                     outputMask=d.choice([None, (True, True), (True, False), (False, True)]), **values)
    both, zero = d.flag(), d.array(last, np.int32, -9, 9)
    return given(d, scales1=d.array(last, F32, 4, 9), scales2Optional=d.array(last, F32, 4, 9) if both else None,
                 zeroPoints1Optional=zero, zeroPoints2Optional=zero if both else None, axis=-1, divMode=False,
                 **values)


def rms(x: Any, g: dict[str, Any]) -> tuple[Any, Any]:
    plain = functional.rms_norm(x, [x.shape[-1]], g["gamma"], g["epsilon"])
    return (plain if g["betaOptional"] is None else plain + g["betaOptional"]), plain


def norm(g: dict[str, Any]) -> Any:
    y, _ = rms(g["x"], g)
    return by_row(y if g["smoothScalesOptional"] is None else y * g["smoothScalesOptional"])


def add_norm_dynamic(g: dict[str, Any]) -> Any:
    x = g["x1"] + g["x2"]
    y, _ = rms(x, g)
    smooth = [g["smoothScale1Optional"], g["smoothScale2Optional"]]
    mask = g["outputMask"] or (True, all(s is not None for s in smooth))
    untouched = torch.full(x.shape, 3, dtype=torch.int8), torch.full(x.shape[:1], 3.0)
    (a, s), (b, t) = (by_row(y if f is None else y * f) if m else untouched for m, f in zip(mask, smooth))
    return a, b, x, s, t


def add_norm(g: dict[str, Any]) -> Any:
    x = g["x1"] + g["x2"]
    y, plain = rms(x, g)
    first = rounded(y * g["scales1"] + g["zeroPoints1Optional"])
    second = torch.full_like(first, 3) if g["scales2Optional"] is None else \
        rounded(y * g["scales2Optional"] + g["zeroPoints2Optional"])
    return first, second, x, plain


# ---- others

def draw_group(d: Draw) -> list[Any]:
    groups, n, dtype = d.integer(1, 3), d.integer(1, 5), d.choice([F32, F16, BF16])
    ends = np.cumsum(d.rng.integers(0, 3, groups))
    ends[-1] += 1
    return [quarters(d, (int(ends[-1]), n), dtype), np.full((groups, n), 2 ** d.integer(-1, 2)).astype(dtype),
            ends, np.full(1, 3).astype(dtype) if d.flag() else None, INT8]


def group(x: Any, scale: Any, ends: Any, offset: Any, dst: int) -> Any:
    rows = []
    for i, row in enumerate(x):
        rows.append(row * scale[next(j for j, e in enumerate(ends.tolist()) if i < e)])
    y = torch.stack(rows)
    return rounded(y if offset is None else y + offset)


def draw_maximum(d: Draw) -> list[Any]:
    return [d.array(d.shape(1, 3), d.choice([F32, F16, BF16]), -9, 9), np.full(1, 2, F32), "rint", F8]


def maximum(x: Any, scale: Any, mode: str, dst: int) -> Any:
    y = (x * scale).to(torch.float8_e4m3fn)
    return y.float().numpy().astype(DTYPES["f8e4m3"]), x.abs().max().reshape(1)


def draw_scatter(d: Draw) -> list[Any]:
    dtype, batch, heads, width = d.choice([F16, BF16]), d.integer(1, 3), d.integer(1, 2), 4
    room, length = d.integer(4, 6), d.integer(1, 3)
    starts = d.rng.integers(0, room - length + 1, batch).astype(np.int32)
    values = [d.array((batch, heads, room, width), np.int8, -99, 99), starts,
              quarters(d, (batch, heads, length, width), dtype), np.full((1, 1, 1, width), 0.25).astype(
                  BF16 if dtype == BF16 else F32), None, -2, -1, 1]
    return [*values, "rint"] if "V2" in d.name else values


def scatter(x: Any, starts: Any, updates: Any, scales: Any, zeros: Any, axis: int, quant: int, reduction: int,
            mode: str = "") -> Any:
    found = x.clone()
    for i, start in enumerate(starts.tolist()):
        for head in range(x.shape[1]):
            for row in range(updates.shape[2]):
                found[i, head, start + row] = rounded(updates[i, head, row] / scales.reshape(-1))
    return found


ORACLES = {
    "GeluQuant": Oracle(named(gelu)("GeluQuant"), draw_gelu, **CLOSE),
    "ClippedSwiglu": Oracle(clipped, draw_clipped),
    "DequantSwigluQuantV2": Oracle(named(dequant)("DequantSwigluQuantV2"), draw_dequant, **CLOSE, cases=12),
    "DynamicQuantV4": Oracle(named(channels)("DynamicQuantV4"), draw_channels, **CLOSE, cases=12),
    "RmsNormDynamicQuant": Oracle(named(norm)("RmsNormDynamicQuant"), draw_norm, **CLOSE),
    "AddRmsNormDynamicQuantV2": Oracle(named(add_norm_dynamic)("AddRmsNormDynamicQuantV2"), draw_norm, **CLOSE,
                                       cases=12),
    "AddRmsNormQuantV2": Oracle(named(add_norm)("AddRmsNormQuantV2"), draw_norm),
    "GroupQuant": Oracle(group, draw_group), "QuantMax": Oracle(maximum, draw_maximum),
    "InplaceQuantScatter": Oracle(scatter, draw_scatter), "InplaceQuantScatterV2": Oracle(scatter, draw_scatter),
}
