"""Quantisation fused with what comes before it: normalisation, activations, groups of rows, scatters."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import glu, rms_norm, rules
from .quantise import (
    ROUND,
    along,
    by_group,
    dequantised,
    dynamic_type,
    f32,
    group_rows,
    quantised,
    stored,
    swiglu_of,
    symmetric,
)
from .registry import by_name, define
from .types import DTYPES
from .unary import sigmoid

Array = Any


def check_round(mode: Any) -> None:
    if mode is not None and mode not in ROUND:
        rules.reject(f"roundMode is {mode!r}: choose one of round, rint, ceil, floor, trunc")


# ---- activations

def gelu_quant(given: dict[str, Any]) -> Any:
    y = glu.gelu(f32(given["self"]), given["approximate"] == "tanh")
    scale, offset, outs = given["inputScaleOptional"], given["inputOffsetOptional"], given["outs"]
    if scale is not None:
        y = y * f32(scale)
    if given["quantMode"] == "dynamic":
        y, used = symmetric(y, outs[0].dtype)
        return stored(y, outs[0], given["roundMode"]), used.reshape(y.shape[:-1])
    return stored(y if offset is None else y + f32(offset), outs[0], given["roundMode"]), None


def gelu_quant_shape(given: dict[str, Any]) -> Any:
    x = given["self"]
    check_round(given["roundMode"])
    if given["approximate"] not in ("none", "tanh") or given["quantMode"] not in ("static", "dynamic"):
        rules.reject(f"approximate is {given['approximate']!r}, quantMode {given['quantMode']!r}: choose none or tanh, "
                     "static or dynamic")
    if given["quantMode"] == "static" and given["inputScaleOptional"] is None:
        rules.reject("quantMode static needs inputScaleOptional")
    return tuple(x.shape), tuple(x.shape[:-1])


def clamped_glu(a: Array, b: Array, limit: float, alpha: float, bias: float) -> Array:
    """a is clamped from above, b on both sides."""
    a, b = np.minimum(a, np.float32(limit)), np.clip(b, -np.float32(limit), np.float32(limit))
    return a * sigmoid(np.float32(alpha) * a) * (b + np.float32(bias))


def clipped_swiglu(x: Any, counts: Any, dim: int, alpha: float, limit: float, bias: float, interleaved: bool,
                   activate: Any = clamped_glu) -> Any:
    """The rows (all dimensions before `dim`, as one) behind the groups' total stay zero."""
    d = rules.axis(dim, x.ndim)
    rows = x.reshape(int(np.prod(x.shape[:d], dtype=np.int64)), -1)
    used = rows if counts is None else rows[:int(counts.sum())]
    a, b = (used[:, ::2], used[:, 1::2]) if interleaved else np.split(used, 2, axis=1)
    out = np.zeros((rows.shape[0], rows.shape[1] // 2), x.dtype)
    out[:used.shape[0]] = activate(a, b, limit, alpha, bias)
    return out.reshape(glu.half_shape(x, dim))


def dequant_swiglu_quant(given: dict[str, Any]) -> Any:
    """swigluMode 0 is SwiGlu, 1 the clamped one of even and odd columns, 2 that of halves, 3 clamped behind SiLU."""
    mode, x, outs = given["swigluMode"], given["x"], given["outs"]
    if given["activateDim"] not in (-1, x.ndim - 1):
        raise NotImplementedError("activateDim other than the last")
    if given["weightScaleOptional"] is None and x.dtype == DTYPES["s32"]:
        rules.reject("int32 x needs weightScaleOptional")
    y = dequantised(given)
    groups, scale, offset = given["groupIndexOptional"], given["quantScaleOptional"], given["quantOffsetOptional"]
    count = y.shape[0]
    if mode == 0:
        y = swiglu_of(y, given["activateLeft"])
    elif mode in (1, 2):
        a, b = (y[:, ::2], y[:, 1::2]) if mode == 1 else np.split(y, 2, axis=1)
        y = clamped_glu(a, b, given["clampLimit"], given["gluAlpha"], given["gluBias"])
    else:
        limit = np.float32(given["clampLimit"])
        gate, up = np.split(y, 2, axis=1)
        y = np.minimum(gate * sigmoid(gate), limit) * np.clip(up, -limit, limit)
    rounding = given["roundModeOptional"] or "rint"
    shape = (*x.shape[:-1], x.shape[-1] // 2)
    if given["quantModeOptional"] == "dynamic":
        if scale is not None:
            y = y * by_group(scale, groups, count)
        y, used = symmetric(y, outs[0].dtype)
        return stored(y.reshape(shape), outs[0], rounding), used.reshape(shape[:-1])
    if scale is not None:
        y = y / by_group(scale, groups, count)
    if offset is not None:
        y = y + by_group(offset, groups, count)
    return stored(y.reshape(shape), outs[0], rounding), None


def dequant_swiglu_shape(given: dict[str, Any]) -> Any:
    x = given["x"]
    check_round(given["roundModeOptional"])
    if x.ndim < 2 or x.shape[-1] % 2:
        rules.reject(f"x of shape {list(x.shape)} has one dimension, or an odd last one")
    if given["swigluMode"] not in (0, 1, 2, 3):
        rules.reject(f"swigluMode is {given['swigluMode']}: choose 0 to 3")
    return (*x.shape[:-1], x.shape[-1] // 2), tuple(x.shape[:-1])


# ---- norms

def normalised(x: Array, given: dict[str, Any]) -> tuple[Array, Array]:
    """(with beta, without it)"""
    y, _ = rms_norm.normalise(x, given["gamma"], given["epsilon"])
    beta = given["betaOptional"]
    return (y if beta is None else y + f32(beta)), y


def rms_norm_dynamic_quant(given: dict[str, Any]) -> Any:
    y, _ = normalised(f32(given["x"]), given)
    smooth = given["smoothScalesOptional"]
    y, scale = symmetric(y if smooth is None else y * f32(smooth), given["outs"][0].dtype)
    return stored(y, given["outs"][0]), scale.reshape(scale.shape[:-1])


def add_rms_norm_dynamic_quant(given: dict[str, Any]) -> Any:
    """outputMask says which of the two are wanted; without one the second is where both smooth scales are."""
    x = rms_norm.rounded(f32(given["x1"]) + f32(given["x2"]), given["x1"])
    y, _ = normalised(x, given)
    smooth = [given["smoothScale1Optional"], given["smoothScale2Optional"]]
    wanted = given["outputMask"] or (True, smooth[0] is not None and smooth[1] is not None)
    values: list[Any] = []
    scales: list[Any] = []
    for use, factor, out in zip(wanted, smooth, given["outs"]):
        if use and out is not None:
            value, scale = symmetric(y if factor is None else y * f32(factor), dynamic_type(out, y))
            values.append(stored(value, out))
            scales.append(scale.reshape(scale.shape[:-1]))
        else:
            values.append(None)
            scales.append(None)
    return (*values, x, *scales)


def add_rms_norm_quant(given: dict[str, Any]) -> Any:
    x = rms_norm.rounded(f32(given["x1"]) + f32(given["x2"]), given["x1"])
    y, plain = normalised(x, given)

    def one(scale: Any, zero: Any, out: Any) -> Any:
        if scale is None or out is None:
            return None
        value = y / f32(scale) if given["divMode"] else y * f32(scale)
        return quantised(value if zero is None else value + f32(zero), out.dtype)

    return (one(given["scales1"], given["zeroPoints1Optional"], given["outs"][0]),
            one(given["scales2Optional"], given["zeroPoints2Optional"], given["outs"][1]), x, plain)


# ---- others

def group_quant(x: Any, scale: Any, ends: Any, offset: Any, dst: int, *, outs: Any) -> Any:
    """Rows up to each group's end are multiplied with the group's scales."""
    y = f32(x) * f32(scale)[group_rows(ends, x.shape[0])]
    return stored(y if offset is None else y + f32(offset), outs[0])


def group_quant_shape(x: Any, scale: Any, ends: Any, offset: Any, dst: int) -> Any:
    if x.ndim != 2 or scale.ndim != 2 or scale.shape[1] != x.shape[1] or tuple(ends.shape) != (scale.shape[0],):
        rules.reject(f"x of shape {list(x.shape)}, scale of {list(scale.shape)} and groupIndex of {list(ends.shape)} "
                     "do not fit")
    return (x.shape[0], x.shape[1] // 8) if dst == 3 else tuple(x.shape)


def quant_max(x: Any, scale: Any, mode: str, dst: int, *, outs: Any) -> Any:
    return stored(f32(x) * f32(scale), outs[0], mode), np.abs(f32(x)).max(initial=0).reshape(1)


def scatter_quantised(x: Any, indices: Any, updates: Any, scales: Any, zeros: Any, axis: int, quant_axis: int,
                      reduction: int, mode: str = "rint") -> Any:
    """updates, quantised along `quant_axis`, replace x from the indices on along `axis`, one a batch."""
    value = f32(updates) / along(f32(scales).reshape(-1), updates, quant_axis)
    if zeros is not None:
        value = value + along(f32(zeros).reshape(-1), updates, quant_axis)
    found, a = x.copy(), rules.axis(axis, x.ndim)
    target, parts = np.moveaxis(found, a, 1), np.moveaxis(quantised(value, x.dtype, mode), a, 1)
    rows, starts = (indices[:, 0], indices[:, 1]) if indices.ndim == 2 else (np.arange(indices.size), indices)
    target[rows[:, None], starts[:, None] + np.arange(parts.shape[1])] = parts[:len(rows)]
    return found


define("ClippedSwiglu", clipped_swiglu, shape=lambda x, counts, dim, *_: glu.half_shape(x, dim), result=rules.first,
       oracle="torch.sigmoid of clamped parts")
by_name("GeluQuant", gelu_quant, gelu_quant_shape, raw=True, oracle="torch gelu, row by row")
by_name("DequantSwigluQuantV2", dequant_swiglu_quant, dequant_swiglu_shape, raw=True, oracle="torch silu of a half",
        deviations="only the last activateDim")
by_name("RmsNormDynamicQuant", rms_norm_dynamic_quant, raw=True, oracle="torch.nn.functional.rms_norm",
        shape=lambda given: (tuple(given["x"].shape), tuple(given["x"].shape[:-1])))
by_name("AddRmsNormDynamicQuantV2", add_rms_norm_dynamic_quant, raw=True, oracle="torch.nn.functional.rms_norm",
        optional="outputMask y2Out scale2Out")
by_name("AddRmsNormQuantV2", add_rms_norm_quant, raw=True, oracle="torch.nn.functional.rms_norm",
        optional="y2Out rmsNormOut")
define("GroupQuant", group_quant, raw=True, shape=group_quant_shape, oracle="torch, row by row")
define("QuantMax", quant_max, raw=True, shape=lambda x, *_: (tuple(x.shape), (1,)), oracle="torch, in float8")
define("InplaceQuantScatter InplaceQuantScatterV2", scatter_quantised, raw=True, shape=rules.same,
       optional="quantZeroPoints", oracle="slices assigned one by one")
