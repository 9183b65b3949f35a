"""Quantisation: PyTorch's fake quantisation and matmul, the bits of scales by struct, rows one at a time."""

from __future__ import annotations

import struct
from typing import Any, Callable

import numpy as np

from pyacl.capi import lib
from pyacl.emulator.ops.types import BF16, F16, F32

from ..oracle import Draw, Fractal, Oracle, torch

functional = torch.nn.functional
INT8 = lib.ACL_INT8


def rounded(x: Any, low: int = -128, high: int = 127, dtype: Any = torch.int8) -> Any:
    return torch.clamp(torch.round(x), low, high).to(dtype)


def given(d: Draw, **values: Any) -> list[Any]:
    """Values by parameter name; None for the others."""
    names = [p.name for p in d.signature.inputs]
    assert set(values) <= set(names), set(values) - set(names)
    return [values.get(n) for n in names]


def named(function: Callable[..., Any]) -> Callable[[str], Callable[..., Any]]:
    """An oracle that gets its inputs by name, for one operator."""
    def bind(name: str) -> Callable[..., Any]:
        from pyacl.emulator.ops.signature import signature

        found = signature(f"aclnn{name}")
        assert found is not None
        names = [p.name for p in found.inputs]
        return lambda *values: function(dict(zip(names, values)))

    return bind


# ---- static

def draw_ascend(d: Draw) -> list[Any]:
    shape, dtype = d.shape(1, 3), d.choice([F32, F16, BF16])
    # quarters and halves, so that no value lies a rounding away from a tie
    x = (d.array(shape, np.int32, -400, 400) / 4).astype(dtype)
    scale, offset = np.full(1, 0.5).astype(dtype), np.full(1, 3).astype(dtype)
    values = [x, scale, offset if d.flag() else None, d.flag(), d.choice(["round", "floor", "ceil", "trunc"]), INT8]
    return [*values, -1] if "V3" in d.name else values


def ascend(x: Any, scale: Any, offset: Any, root: bool, mode: str, *_: Any) -> Any:
    y = x * (scale * scale if root else scale) + (0 if offset is None else offset)
    y = {"round": torch.round, "floor": torch.floor, "ceil": torch.ceil, "trunc": torch.trunc}[mode](y)
    return torch.clamp(y, -128, 127).to(torch.int8)


def draw_anti(d: Draw) -> list[Any]:
    shape = d.shape(2, 3)
    scale = d.array(shape[-1:], F32, 0.5, 2)
    return [d.array(shape, np.int8, -100, 100), scale, d.array(shape[-1:], F32) if d.flag() else None, lib.ACL_FLOAT16,
            d.flag()]


def anti(x: Any, scale: Any, offset: Any, dst: int, root: bool) -> Any:
    y = (x.float() + (0 if offset is None else offset)) * (scale * scale if root else scale)
    return y.half()


def draw_quantize(d: Draw) -> list[Any]:
    shape = d.shape(2, 3)
    axis = d.axis(len(shape))
    return [d.array(shape, F32, -9, 9), d.array((shape[axis],), F32, 0.1, 1), d.array((shape[axis],), np.int32, -5, 5),
            np.dtype(np.int8), axis]


def quantize(x: Any, scales: Any, zeros: Any, dtype: Any, axis: int) -> Any:
    shape = [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)]
    return rounded(torch.round(x / scales.reshape(shape)) + zeros.reshape(shape))


def draw_per_tensor(d: Draw) -> list[Any]:
    x = d.array(d.shape(1, 3), F32, -9, 9)
    return [x, np.full(1, 0.1, F32), np.full(1, 3, np.int32), float(d.integer(0, 1)), -20, 30]


def per_tensor(x: Any, scale: Any, zero: Any, enabled: float, low: int, high: int) -> Any:
    if enabled < 1:
        return x, torch.ones_like(x, dtype=torch.bool)
    value = torch.round(x / scale) + zero
    return (torch.fake_quantize_per_tensor_affine(x, float(scale), int(zero), low, high),
            (value >= low) & (value <= high))


def draw_per_channel(d: Draw) -> list[Any]:
    shape = d.shape(2, 3)
    axis = d.integer(0, len(shape) - 1)
    scale, zero = d.array((shape[axis],), F32, 0.1, 1), d.array((shape[axis],), np.int32, 0, 5)
    return [d.array(shape, F32, -9, 9), scale, zero, axis, -20, 30]


def per_channel(x: Any, scale: Any, zero: Any, axis: int, low: int, high: int) -> Any:
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    value = torch.round(x / scale.reshape(shape)) + zero.reshape(shape)
    return (torch.fake_quantize_per_channel_affine(x, scale, zero, axis, low, high), (value >= low) & (value <= high))


def draw_parameter(d: Draw) -> list[Any]:
    n = d.integer(1, 5)
    values = [d.array((n,), F32, 0.001, 3), d.array((n,), F32, -300, 300) if d.flag() else None]
    return [*values, 0] if "V3" in d.name else values


def parameter(scale: Any, offset: Any, *_: Any) -> Any:
    found = []
    for i, value in enumerate(scale.tolist()):
        bits = struct.unpack("<I", struct.pack("<f", value))[0] >> 13 << 13
        whole = bits | 1 << 46
        if offset is not None:
            nine = max(-256, min(255, round(offset[i].item()))) & 0x1FF
            whole = whole | nine << 37
        found.append(whole)
    return np.array(found, np.uint64)


# ---- dynamic

def by_row(x: Any, top: float = 127) -> tuple[Any, Any]:
    rows = x.reshape(-1, x.shape[-1])
    scales = torch.stack([r.abs().max() / top for r in rows])
    return torch.stack([rounded(r / s) for r, s in zip(rows, scales)]).reshape(x.shape), scales.reshape(x.shape[:-1])


def draw_dynamic(d: Draw) -> list[Any]:
    dtype = d.choice([F16, BF16])
    shape = d.shape(2, 3)
    values: dict[str, Any] = {"x": d.array(shape, dtype)}
    if d.flag():
        values["smoothScalesOptional"] = d.array(shape[-1:], dtype, 0.5, 2)
    names = [p.name for p in d.signature.inputs]
    if "dstType" in names:
        values["dstType"] = INT8
    if "isSymmetrical" in names:
        values["isSymmetrical"], values["quantMode"] = d.flag(), "pertoken"
    return given(d, **values)


def dynamic(g: dict[str, Any]) -> Any:
    x = g["x"] if g["smoothScalesOptional"] is None else g["x"] * g["smoothScalesOptional"]
    if "dstType" not in g:
        return by_row(x)
    if g.get("isSymmetrical", False):
        return (*by_row(x), None)
    found: list[list[Any]] = [[], [], []]
    for row in x.reshape(-1, x.shape[-1]):
        scale = (row.max() - row.min()) / 255
        offset = 127 - row.max() / scale
        for column, value in zip(found, (rounded(row / scale + offset), scale, offset)):
            column.append(value)
    y, scale, offset = (torch.stack(c) for c in found)
    return y.reshape(x.shape), scale.reshape(x.shape[:-1]), offset.reshape(x.shape[:-1])


# ---- fused

def half_silu(x: Any, left: bool) -> Any:
    a, b = x.chunk(2, -1)
    return functional.silu(a) * b if left else a * functional.silu(b)


def draw_dequant_swiglu(d: Draw) -> list[Any]:
    n, h = d.integer(1, 4), 2 * d.integer(1, 5)
    dynamic_mode = d.flag()
    bias = d.choice([None, d.array((h,), np.int32, -9, 9), d.array((h,), F32)])
    return given(d, x=d.array((n, h), np.int32, -50, 50), weightScaleOptional=d.array((h,), F32, 0.01, 0.1),
                 activationScaleOptional=d.array((n,), F32, 0.5, 1), biasOptional=bias,
                 quantScaleOptional=d.array((h // 2,), F32, 0.5, 2),
                 quantOffsetOptional=None if dynamic_mode else d.array((h // 2,), F32), activateLeft=d.flag(),
                 quantModeOptional="dynamic" if dynamic_mode else "static")


def dequant_swiglu(g: dict[str, Any]) -> Any:
    bias, x = g["biasOptional"], g["x"]
    whole = bias is not None and not bias.is_floating_point()
    y = (x + bias if whole else x).float() * g["weightScaleOptional"] * g["activationScaleOptional"][:, None]
    y = half_silu(y if bias is None or whole else y + bias, g["activateLeft"])
    if g["quantModeOptional"] == "dynamic":
        return by_row(y * g["quantScaleOptional"])
    return rounded(y / g["quantScaleOptional"] + g["quantOffsetOptional"]), torch.full(x.shape[:1], 3.0)


def draw_swiglu(d: Draw) -> list[Any]:
    groups, h = d.integer(1, 3), d.integer(1, 4)
    ends = np.cumsum(d.rng.integers(1, 3, groups))
    dynamic_mode = d.flag()
    return given(d, x=d.array((int(ends[-1]), 2 * h), F32), smoothScalesOptional=d.array((groups, h), F32, 0.5, 2),
                 offsetsOptional=None if dynamic_mode else d.array((groups, h), F32),
                 groupIndexOptional=ends.astype(np.int32), activateLeft=True,
                 quantModeOptional="dynamic" if dynamic_mode else "static")


def swiglu(g: dict[str, Any]) -> Any:
    y, start = half_silu(g["x"], True), 0
    rows = []
    for i, end in enumerate(g["groupIndexOptional"].tolist()):
        part = y[start:end] * g["smoothScalesOptional"][i]
        rows.append(part if g["offsetsOptional"] is None else part + g["offsetsOptional"][i])
        start = end
    y = torch.cat(rows)
    if g["quantModeOptional"] == "dynamic":
        q, scale = by_row(y)
        return q, 1 / scale
    return rounded(y), torch.full(y.shape[:1], 3.0)


def draw_bias(d: Draw) -> list[Any]:
    m, n = d.integer(1, 4), d.integer(1, 5)
    bias = d.choice([None, d.array((n,), np.int32, -9, 9), d.array((n,), F16)])
    return [d.array((m, n), np.int32, -90, 90), d.array((n,), F32, 0.1, 1),
            d.array((m,), F32, 0.1, 1) if d.flag() else None, bias, lib.ACL_FLOAT16]


def bias_of(x: Any, weight: Any, activation: Any, bias: Any, dst: int) -> Any:
    row = 1 if activation is None else activation[:, None]
    if bias is None:
        return (x * weight * row).half()
    if bias.is_floating_point():
        return (x * weight * row + bias).half()
    return ((x + bias) * weight * row).half()


def quarters(d: Draw, shape: tuple[int, ...], dtype: Any) -> Any:
    return (d.array(shape, np.int32, -16, 16) / 4).astype(dtype)


def draw_rms(d: Draw) -> list[Any]:
    dtype, shape = d.choice([F16, BF16]), (d.integer(1, 4), d.integer(2, 6))
    gamma = d.array(shape[1:], dtype, 0.5, 2)
    if d.name == "aclnnRmsNormQuant":
        return [quarters(d, shape, dtype), gamma, d.array(shape[1:], dtype), np.full(1, 0.0625, dtype),
                np.full(1, 3, np.int8), 1e-3]
    x1, x2 = quarters(d, shape, dtype), quarters(d, shape, dtype)
    if "Dynamic" in d.name:
        smooth = [d.array(shape[1:], dtype, 0.5, 2) if d.flag() else None]
        smooth.append(d.array(shape[1:], dtype, 0.5, 2) if smooth[0] is not None and d.flag() else None)
        return [x1, x2, gamma, *smooth, 1e-3]
    both = d.flag()
    zero = d.array(shape[1:], np.int32, -9, 9)
    return given(d, x1=x1, x2=x2, gamma=gamma, scales1=d.array(shape[1:], F32, 4, 9),
                 scales2Optional=d.array(shape[1:], F32, 4, 9) if both else None, zeroPoints1Optional=zero,
                 zeroPoints2Optional=zero if both else None, axis=-1, epsilon=1e-3, divMode=False)


def rms(x: Any, gamma: Any) -> Any:
    return functional.rms_norm(x, list(gamma.shape), gamma, 1e-3)


def add_rms(g: dict[str, Any]) -> Any:
    x = g["x1"] + g["x2"]
    y = rms(x, g["gamma"])
    first = rounded(y * g["scales1"] + g["zeroPoints1Optional"])
    second = torch.full_like(first, 3) if g["scales2Optional"] is None else \
        rounded(y * g["scales2Optional"] + g["zeroPoints2Optional"])
    return first, second, x


def add_rms_dynamic(x1: Any, x2: Any, gamma: Any, smooth1: Any, smooth2: Any, epsilon: float) -> Any:
    x = x1 + x2
    y = rms(x, gamma)
    first, scale1 = by_row(y if smooth1 is None else y * smooth1)
    if smooth2 is None:
        return first, torch.full_like(first, 3), x, scale1, torch.full_like(scale1, 3)
    second, scale2 = by_row(y * smooth2)
    return first, second, x, scale1, scale2


# ---- matmul

def draw_matmul(d: Draw) -> list[Any]:
    m, k, n = d.integer(1, 5), d.integer(1, 5), d.integer(1, 5)
    batch = (2,) if d.flag() else ()
    left, right = d.flag(), d.flag()
    values: dict[str, Any] = {
        "x1": d.array((*batch, *((k, m) if left else (m, k))), np.int8, -128, 127),
        "x2": d.array((*batch, *((n, k) if right else (k, n))), np.int8, -128, 127), "transposeX1": left,
        "transposeX2": right, "bias": d.array((n,), np.int32, -99, 99) if d.flag() else None}
    names = [p.name for p in d.signature.inputs]
    values["scale" if "scale" in names else "x2Scale"] = d.array((n,), BF16 if "scale" in names else F32, 0.001, 0.01)
    if "pertokenScaleOptional" in names:
        values["pertokenScaleOptional"] = d.array((m,), F32, 0.5, 1)
    if "groupSize" in names:
        values["groupSize"] = 0
    return given(d, **values)


def matmul(g: dict[str, Any]) -> Any:
    a = g["x1"].transpose(-1, -2) if g["transposeX1"] else g["x1"]
    b = g["x2"].transpose(-1, -2) if g["transposeX2"] else g["x2"]
    y = a.int() @ b.int()
    if g["bias"] is not None:
        y = y + g["bias"]
    y = y.float() * g.get("scale", g.get("x2Scale"))
    if g.get("pertokenScaleOptional") is not None:
        y = y * g["pertokenScaleOptional"][:, None]
    return y.bfloat16()


def draw_weight(d: Draw) -> list[Any]:
    m, k, n = d.integer(1, 5), d.integer(2, 6), d.integer(1, 5)
    dtype = d.choice([F16, BF16])
    group = d.choice([0, 2])
    shape = (-(-k // 2), n) if group else (n,)
    whole = d.array((k, n), np.int8, -9, 9)
    values = {"x": d.array((m, k), dtype, -1, 1), "weight": Fractal(whole) if min(k, n) > 1 and d.flag() else whole,
              "antiquantScale": d.array(shape, dtype, 0.1, 1), "antiquantOffsetOptional": d.array(shape, dtype, -1, 1),
              "biasOptional": d.array((n,), F16 if dtype == F16 else F32) if d.flag() else None,
              "antiquantGroupSize": group}
    if "V3" in d.name:
        values["innerPrecise"] = 0
    return given(d, **values)


def weight(g: dict[str, Any]) -> Any:
    rows = []
    for i, row in enumerate(g["weight"].float()):
        j = i // 2 if g["antiquantGroupSize"] else None
        scale, offset = (g[n] if j is None else g[n][j] for n in ("antiquantScale", "antiquantOffsetOptional"))
        rows.append((row + offset) * scale)
    y = g["x"] @ torch.stack(rows)
    return y if g["biasOptional"] is None else y + g["biasOptional"]


CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
ORACLES = {
    "AscendQuant": Oracle(ascend, draw_ascend, exact=True), "AscendQuantV3": Oracle(ascend, draw_ascend, exact=True),
    "AscendAntiQuant": Oracle(anti, draw_anti), "Quantize": Oracle(quantize, draw_quantize),
    "FakeQuantPerTensorAffineCachemask": Oracle(per_tensor, draw_per_tensor),
    "FakeQuantPerChannelAffineCachemask": Oracle(per_channel, draw_per_channel),
    **{n: Oracle(parameter, draw_parameter, exact=True) for n in ("TransQuantParamV2", "TransQuantParamV3")},
    "DequantBias": Oracle(bias_of, draw_bias),
    "RmsNormQuant": Oracle(lambda x, g, b, s, o, e: rounded((rms(x, g) + b) / s + o), draw_rms),
    "AddRmsNormQuant": Oracle(named(add_rms)("AddRmsNormQuant"), draw_rms),
    "AddRmsNormDynamicQuant": Oracle(add_rms_dynamic, draw_rms, **CLOSE),
    **{n: Oracle(named(dynamic)(n), draw_dynamic, **CLOSE)
       for n in ("DynamicQuant", "DynamicQuantV2", "DynamicQuantV3")},
    "DequantSwigluQuant": Oracle(named(dequant_swiglu)("DequantSwigluQuant"), draw_dequant_swiglu, **CLOSE),
    "SwiGluQuant": Oracle(named(swiglu)("SwiGluQuant"), draw_swiglu, **CLOSE),
    **{n: Oracle(named(matmul)(n), draw_matmul) for n in ("QuantMatmulV3", "QuantMatmulV4")},
    **{n: Oracle(named(weight)(n), draw_weight, atol=1e-2)
       for n in ("WeightQuantBatchMatmulV2", "WeightQuantBatchMatmulV3")},
}
