"""Quantising, dequantising, and what is fused with them.

Quantised values are rounded to nearest even and clamped to the type of the output. int4 may come packed in int32, eight
to an element, as the device takes it.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from . import rms_norm, rules
from .registry import by_name, define
from .types import DTYPES, F32, INT4, INTEGERS, cast
from .unary import gated

Array = Any
ROUND = {"round": np.rint, "rint": np.rint, "ceil": np.ceil, "floor": np.floor, "trunc": np.trunc, "": np.rint}


def limits(dtype: Any) -> tuple[float, float]:
    """The smallest and the largest value of a quantised type."""
    if dtype == INT4:
        return -8, 7
    if dtype in INTEGERS:
        info = np.iinfo(dtype)
        return int(info.min), int(info.max)
    top = {"f8e5m2": 57344.0, "f8e4m3": 448.0}[next(n for n, d in DTYPES.items() if d == dtype)]
    return -top, top


def quantised(x: Array, dtype: Any, mode: str = "round") -> Array:
    """Float values as `dtype`."""
    low, high = limits(dtype)
    if dtype in INTEGERS or dtype == INT4:
        x = ROUND[mode](x)
        return np.clip(x, low, high, out=x).astype(dtype if dtype != INT4 else np.int8).astype(dtype, copy=False)
    return np.clip(x, low, high).astype(dtype if dtype != INT4 else np.int8).astype(dtype)


def stored(x: Array, out: Any, mode: str = "round") -> Array:
    """Quantised for an output tensor: an int32 of an eighth of the columns takes eight int4 an element."""
    if out.dtype == DTYPES["s32"] and x.shape and out.shape[-1] * 8 == x.shape[-1]:
        return packed_int4(quantised(x, INT4, mode))
    return quantised(x, out.dtype, mode)


def packed_int4(x: Array) -> Array:
    nibbles = x.astype(np.int8).astype(np.uint32).reshape(*x.shape[:-1], -1, 8) & 15
    return (nibbles << np.arange(0, 32, 4, dtype=np.uint32)).sum(axis=-1).astype(np.uint32).view(np.int32)


def opened(x: Array) -> Array:
    """The int4 values of int32 elements, eight each; other types as they are."""
    if x.dtype != DTYPES["s32"]:
        return x
    nibbles = np.ascontiguousarray(x).view(np.uint32)[..., None] >> np.arange(0, 32, 4, dtype=np.uint32) & 15
    return (nibbles.astype(np.int8) ^ 8).reshape(*x.shape[:-1], -1) - np.int8(8)


def along(v: Optional[Array], x: Array, axis: int) -> Any:
    """A vector of scales, one for each index of `axis` or one for all, so that it broadcasts against x."""
    if v is None or v.ndim != 1 or x.ndim == 1:
        return v
    shape = [1] * x.ndim
    shape[axis] = v.size
    return v.reshape(shape)


def f32(x: Any) -> Any:
    return None if x is None else cast(x, F32)


# ---- static

def ascend_quant(x: Any, scale: Any, offset: Any, root: bool, mode: str, dst: int, axis: int = -1, *, outs: Any) -> Any:
    scale = along(f32(scale), x, axis)
    y = f32(x) * (scale * scale if root else scale)
    if offset is not None:
        y = y + along(f32(offset), x, axis)
    return stored(y, outs[0], mode)


def quant_shape(x: Any, scale: Any, offset: Any, root: bool, mode: str, dst: int, *_: Any) -> Any:
    if mode not in ROUND:
        rules.reject(f"roundMode is {mode!r}: choose one of round, ceil, floor, trunc")
    return (*x.shape[:-1], x.shape[-1] // 8) if dst == 3 else tuple(x.shape)


def anti_quant(x: Any, scale: Any, offset: Any, dst: int, root: bool) -> Any:
    y = f32(opened(x))
    if offset is not None:
        y = y + f32(offset)
    scale = f32(scale)
    return y * (scale * scale if root else scale)


def quantize(x: Any, scales: Any, zeros: Any, dtype: Any, axis: int, *, outs: Any) -> Any:
    y = x / along(f32(scales), x, axis)
    if zeros is not None:
        y = y + along(f32(zeros), x, axis)
    return quantised(y, outs[0].dtype)


def fake_quant(x: Any, scale: Any, zero: Any, low: int, high: int) -> tuple[Any, Any]:
    value = np.rint(x / scale) + zero
    return (np.clip(value, low, high) - zero) * scale, (value >= low) & (value <= high)


def fake_per_tensor(x: Any, scale: Any, zero: Any, enabled: float, low: int, high: int) -> Any:
    if enabled < 1:
        return x.copy(), np.ones(x.shape, bool)
    return fake_quant(x, scale.reshape(-1)[0], f32(zero).reshape(-1)[0], low, high)


def fake_per_channel(x: Any, scale: Any, zero: Any, axis: int, low: int, high: int) -> Any:
    return fake_quant(x, along(scale, x, axis), along(f32(zero), x, axis), low, high)


def hardware_scale(scale: Any, offset: Any, mode: int = 0) -> Any:
    """A float32 scale as the matrix unit reads it: its upper 19 bits, a marker, the offset in 9 bits."""
    bits = np.ascontiguousarray(f32(scale)).view(np.uint32)
    if mode == 1:  # rounded instead of cut
        bits = bits + np.uint32(0x1000)
    out = (bits & np.uint32(0xFFFFE000)).astype(np.uint64) | np.uint64(1 << 46)
    if offset is not None:
        nine = np.clip(np.rint(f32(offset)), -256, 255).astype(np.int64).astype(np.uint64) & np.uint64(0x1FF)
        out = (out & np.uint64(0x4000FFFFFFFF)) | (nine << np.uint64(37))
    return out


def plain_scale(scale: Any) -> Any:
    """A scale in any of its forms as float32."""
    if scale is None or scale.dtype not in (DTYPES["u64"], DTYPES["s64"]):
        return f32(scale)
    return (np.ascontiguousarray(scale).view(np.uint64) & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.float32)


# ---- dynamic

def group_rows(ends: Any, rows: int) -> Any:
    """The group of each row, from cumulative ends; rows behind the last end belong to the last group."""
    return np.minimum(np.searchsorted(ends.astype(np.int64), np.arange(rows), side="right"), ends.size - 1)


def smoothed(x: Any, scales: Any, groups: Any) -> Any:
    """x times the smoothing scales: one row of them, or one a group of rows."""
    if scales is None:
        return x
    scales = f32(scales)
    if groups is None:
        return x * scales
    flat = x.reshape(-1, x.shape[-1])
    rows = scales[group_rows(groups, flat.shape[0])]
    return (flat * (rows if rows.ndim == 2 else rows[:, None])).reshape(x.shape)


def symmetric(x: Any, dtype: Any) -> tuple[Any, Any]:
    """(values / scale, scale) row by row, so that the largest becomes the type's largest."""
    top = limits(dtype)[1]
    scale = np.abs(x).max(axis=-1, keepdims=True) / np.float32(top)
    return x / np.where(scale == 0, np.float32(1), scale), scale


def dynamic_type(out: Any, x: Any) -> Any:
    return INT4 if out.dtype == DTYPES["s32"] else out.dtype


def dynamic_quant(given: dict[str, Any]) -> Any:
    x, out = f32(given["x"]), given["outs"][0]
    dtype = dynamic_type(out, x)
    mode = given.get("quantMode", "pertoken")
    if mode not in ("pertoken", "pertensor", "perchannel"):
        rules.reject(f"quantMode is {mode!r}: choose pertoken, pertensor or perchannel")
    x = smoothed(x, given.get("smoothScalesOptional"), given.get("groupIndexOptional"))
    if mode == "perchannel":
        x = np.swapaxes(x, -1, -2)
    rows = x.reshape(1, -1) if mode == "pertensor" else x

    def back(y: Any) -> Any:
        y = y.reshape(x.shape)
        return stored(np.ascontiguousarray(np.swapaxes(y, -1, -2)) if mode == "perchannel" else y, out)

    asymmetric = "offsetOut" in given["names"] and not given.get("isSymmetrical", given["outs"][2] is None)
    if not asymmetric:
        y, scale = symmetric(rows, dtype)
        found = [back(y), scale.reshape(given["outs"][1].shape)]
        return (*found, None) if "offsetOut" in given["names"] else tuple(found)
    low, high = limits(dtype)
    top = rows.max(axis=-1, keepdims=True)
    scale = (top - rows.min(axis=-1, keepdims=True)) / np.float32(high - low)
    offset = high - top / scale
    y = rows / scale + offset
    return back(y), scale.reshape(given["outs"][1].shape), \
        offset.reshape(given["outs"][2].shape)


# ---- fused

def swiglu_of(x: Any, left: bool) -> Any:
    a, b = np.split(x, 2, axis=-1)
    if not left:
        a, b = b, a
    return gated(a, a) * b


def by_group(v: Any, groups: Any, rows: int) -> Any:
    """A parameter for each row: [H], or [groups, H] spread by the group list (of counts)."""
    if v is None or groups is None or v.ndim < 2:
        return v
    return f32(v)[group_rows(np.cumsum(groups.astype(np.int64)), rows)]


def dequantised(given: dict[str, Any]) -> Array:
    """x as rows of float32: an integer bias is added before the scales, another one behind them."""
    groups, bias = given["groupIndexOptional"], given["biasOptional"]
    rows = given["x"].reshape(-1, given["x"].shape[-1])
    count = rows.shape[0]
    y = f32(rows)
    if bias is not None and bias.dtype in INTEGERS:
        y = f32(rows + by_group(bias, groups, count))
    if given["weightScaleOptional"] is not None:
        weight = given["weightScaleOptional"]
        y = y * (by_group(weight, groups, count) if weight.ndim == 2 and groups is not None else weight.reshape(-1))
    if given["activationScaleOptional"] is not None:
        y = y * given["activationScaleOptional"].reshape(-1, 1)
    if bias is not None and bias.dtype not in INTEGERS:
        y = y + f32(by_group(bias, groups, count))
    return y


def dequant_swiglu_quant(given: dict[str, Any]) -> Any:
    x, groups, scale = given["x"], given["groupIndexOptional"], given["quantScaleOptional"]
    offset, out, shape = given["quantOffsetOptional"], given["outs"][0], x.shape
    y = dequantised(given)
    count = y.shape[0]
    y = swiglu_of(y, given["activateLeft"])
    if given["quantModeOptional"] == "dynamic":
        if scale is not None:
            y = y * by_group(scale, groups, count)
        y, used = symmetric(y, out.dtype)
        return stored(y.reshape(*shape[:-1], -1), out), used.reshape(given["outs"][1].shape)
    if scale is not None:
        y = y / by_group(scale, groups, count)
    if offset is not None:
        y = y + by_group(offset, groups, count)
    return stored(y.reshape(*shape[:-1], -1), out), None


def swiglu_quant(given: dict[str, Any]) -> Any:
    x, groups, out = f32(given["x"]), given["groupIndexOptional"], given["outs"][0]
    y = smoothed(swiglu_of(x, given["activateLeft"]), given["smoothScalesOptional"], groups)
    if given["quantModeOptional"] == "dynamic":
        y, scale = symmetric(y, out.dtype)
        return stored(y, out), (1 / scale).reshape(given["outs"][1].shape)
    if given["offsetsOptional"] is not None:
        offsets = given["offsetsOptional"][group_rows(groups, x.size // x.shape[-1])]
        y = y + (offsets if offsets.ndim == 2 else offsets[:, None])
    return stored(y, out), None


def dequant_bias(x: Any, weight: Any, activation: Any, bias: Any, dst: int) -> Any:
    y = x + bias if bias is not None and bias.dtype in INTEGERS else x
    y = f32(y) * f32(weight)
    if activation is not None:
        y = y * f32(activation)[:, None]
    return y if bias is None or bias.dtype in INTEGERS else y + f32(bias)


def rms_norm_quant(x: Any, gamma: Any, beta: Any, scale: Any, offset: Any, epsilon: float, *, outs: Any) -> Any:
    y, _ = rms_norm.normalise(x, gamma.reshape(-1), epsilon)
    return quantised((y + f32(beta).reshape(-1)) / f32(scale) + f32(offset), outs[0].dtype)


def add_rms_norm_quant(given: dict[str, Any]) -> Any:
    x1, outs = given["x1"], given["outs"]
    x = rms_norm.rounded(f32(x1) + f32(given["x2"]), x1)
    y, _ = rms_norm.normalise(x, given["gamma"], given["epsilon"])

    def one(scale: Any, zero: Any, out: Any) -> Any:
        if scale is None or out is None:
            return None
        value = y / f32(scale) if given["divMode"] else y * f32(scale)
        return quantised(value if zero is None else value + f32(zero), out.dtype)

    return (one(given["scales1"], given["zeroPoints1Optional"], outs[0]),
            one(given["scales2Optional"], given["zeroPoints2Optional"], outs[1]), x)


def add_rms_norm_dynamic_quant(x1: Any, x2: Any, gamma: Any, smooth1: Any, smooth2: Any, epsilon: float, *,
                               outs: Any) -> Any:
    x = rms_norm.rounded(f32(x1) + f32(x2), x1)
    y, _ = rms_norm.normalise(x, gamma, epsilon)
    first, scale1 = symmetric(y if smooth1 is None else y * f32(smooth1), outs[0].dtype)
    if smooth2 is None:
        return stored(first, outs[0]), None, x, scale1.reshape(outs[3].shape), None
    second, scale2 = symmetric(y * f32(smooth2), outs[1].dtype)
    return (stored(first, outs[0]), stored(second, outs[1]), x, scale1.reshape(outs[3].shape),
            scale2.reshape(outs[4].shape))


# ---- matrix multiplication

def product(a: Array, b: Array) -> Array:
    """Exact sums of integer products, through BLAS: float32's for as many of them as it holds exactly."""
    largest = limits(a.dtype)[0] * limits(b.dtype)[0] if a.dtype.itemsize == b.dtype.itemsize == 1 else 1 << 24
    count, length = int((1 << 24) // max(abs(largest), 1)), a.shape[-1]
    if count < 64 or a.dtype not in (*INTEGERS, INT4):
        return np.matmul(a.astype(np.float64), b.astype(np.float64))
    a, b = a.astype(np.float32), b.astype(np.float32)
    if length <= count:
        return np.matmul(a, b).astype(np.float64)
    return sum(np.matmul(a[..., i:i + count], b[..., i:i + count, :]).astype(np.float64)
               for i in range(0, length, count))


def turned(x: Array, transpose: bool) -> Array:
    return np.swapaxes(x, -1, -2) if transpose else x


def weight_quant_matmul(given: dict[str, Any]) -> Any:
    weight, group, out = f32(opened(given["weight"])), given["antiquantGroupSize"], given["outs"][0]
    scale, offset = f32(given["antiquantScale"]), f32(given["antiquantOffsetOptional"])

    def spread(v: Any) -> Any:
        return np.repeat(v, group, axis=0)[:weight.shape[0]] if group and v is not None and v.ndim == 2 else v

    if offset is not None:
        weight = weight + spread(offset)
    y = np.matmul(f32(given["x"]), weight * spread(scale))
    if given["biasOptional"] is not None:
        y = y + f32(given["biasOptional"])
    if given["quantScaleOptional"] is not None:
        y = y * plain_scale(given["quantScaleOptional"])
        if given["quantOffsetOptional"] is not None:
            y = y + given["quantOffsetOptional"]
    return stored(y, out) if out.dtype in INTEGERS else y


define("AscendQuant AscendQuantV3", ascend_quant, raw=True, optional="offset", shape=quant_shape, oracle="numpy")
define("AscendAntiQuant", anti_quant, raw=True, optional="offset", oracle="numpy")
define("Quantize", quantize, optional="zeroPoints", shape=rules.same, oracle="torch, with each channel's scale")
define("FakeQuantPerTensorAffineCachemask", fake_per_tensor, shape=lambda x, *_: (tuple(x.shape),) * 2,
       oracle="torch.fake_quantize_per_tensor_affine")
define("FakeQuantPerChannelAffineCachemask", fake_per_channel, shape=lambda x, *_: (tuple(x.shape),) * 2,
       oracle="torch.fake_quantize_per_channel_affine")
define("TransQuantParamV2 TransQuantParamV3", hardware_scale, raw=True, optional="offset", oracle="struct")
define("DequantBias", dequant_bias, raw=True, shape=rules.same, oracle="numpy")
define("RmsNormQuant", rms_norm_quant, shape=rules.same, oracle="torch.nn.functional.rms_norm")
define("AddRmsNormDynamicQuant", add_rms_norm_dynamic_quant, raw=True, optional="y2Out scale2Out",
       oracle="torch.nn.functional.rms_norm")
by_name("DynamicQuant DynamicQuantV2 DynamicQuantV3 DynamicQuantV4", dynamic_quant, raw=True, optional="offsetOut",
        workspace=1024, oracle="torch, row by row")
by_name("DequantSwigluQuant", dequant_swiglu_quant, raw=True, oracle="torch silu of a half")
by_name("SwiGluQuant", swiglu_quant, raw=True, oracle="torch silu of a half")
by_name("AddRmsNormQuant", add_rms_norm_quant, raw=True, optional="y2Out", oracle="torch.nn.functional.rms_norm")
by_name("WeightQuantBatchMatmulV2 WeightQuantBatchMatmulV3", weight_quant_matmul, raw=True, workspace=4096,
        private_formats=True, oracle="torch.matmul")
