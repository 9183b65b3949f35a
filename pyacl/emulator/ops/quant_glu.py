"""SwiGlu's relatives: with clamps, token weights and groups, quantised, backward; Situ behind dequantisation."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from ...capi import lib
from . import glu, mx, rules
from .mx_fused import halved, situ
from .quantise import f32, limits, quantised, stored, swiglu_of
from .quantise_fused import clamped_glu, clipped_swiglu
from .registry import by_name, define
from .types import DTYPES, INT4
from .unary import sigmoid

Array = Any


def tokens(x: Any) -> int:
    return int(np.prod(x.shape[:-1], dtype=np.int64))


def used_rows(counts: Optional[Any], rows: int) -> int:
    return rows if counts is None else min(int(counts.sum()), rows)


def clamp_of(limit: float) -> float:
    """No limit is infinite."""
    return limit if limit > 0 else np.inf


# ---- with a weight for each token, up to the groups' total

def group_glu(x: Array, weight: Any, counts: Any, limit: float) -> Array:
    """The rows behind the groups' total are not written on the device; here they are 0."""
    rows = f32(x).reshape(-1, x.shape[-1])
    used = used_rows(counts, len(rows))
    a, b = np.split(rows[:used], 2, axis=1)
    y = np.zeros((len(rows), rows.shape[1] // 2), np.float32)
    y[:used] = clamped_glu(a, b, clamp_of(limit), 1.0, 0.0)
    if weight is not None:
        y *= weight.reshape(-1, 1)
    return y.reshape(*x.shape[:-1], -1)


def check_group(x: Any, weight: Any, counts: Any, limit: float) -> None:
    if not x.ndim or x.shape[-1] % 2 or not (limit == -1 or limit > 0):
        rules.reject(f"x of shape {list(x.shape)} has no even last dimension, or clampLimit, {limit}, is neither -1 "
                     "nor positive")
    if weight is not None and weight.size != tokens(x):
        rules.reject(f"weightOptional has {weight.size} elements; x of shape {list(x.shape)} has {tokens(x)} tokens")
    if counts is not None and (counts.ndim != 1 or not counts.size):
        rules.reject(f"groupIndexOptional of shape {list(counts.shape)} is empty or no vector")


def group_shape(x: Any, weight: Any, counts: Any, limit: float) -> Any:
    with rules.refusing(lib.ACLNN_ERR_INNER_TILING_ERROR):
        check_group(x, weight, counts, limit)
    return (*x.shape[:-1], x.shape[-1] // 2)


def group_grad(given: dict[str, Any], cut_weight: bool) -> Any:
    """The weight's gradient too is cut off behind the groups' total with `cut_weight`."""
    dy, x, weight, limit = f32(given["gradY"]), f32(given["x"]), given["weightOptional"], given["clampLimit"]
    shape, width = x.shape, dy.shape[-1]
    dy, x = dy.reshape(-1, width), x.reshape(-1, 2 * width)
    used = used_rows(given["groupIndexOptional"], len(x))
    a, b = np.split(x, 2, axis=1)
    inner = dy if weight is None else dy * weight.reshape(-1, 1)
    c = np.float32(clamp_of(limit))
    clamped = np.concatenate([np.minimum(a, c), np.clip(b, -c, c)], axis=1)
    dx = glu.swiglu_grad(inner, clamped, -1)
    if limit > 0:
        dx *= np.concatenate([a < c, (-c < b) & (b < c)], axis=1)
    dx[used:] = 0
    d_weight = None
    if weight is not None and given["yOriginOptional"] is not None and given["outs"][1] is not None:
        d_weight = (dy * f32(given["yOriginOptional"]).reshape(dy.shape)).sum(axis=1)
        if cut_weight:
            d_weight[used:] = 0
        d_weight = d_weight.reshape(given["outs"][1].shape)
    return dx.reshape(shape), d_weight


def grad_shape(given: dict[str, Any], dims: tuple[int, int], off: float) -> Any:
    """`off` is the clampLimit that means none."""
    dy, x, weight, origin = (given[n] for n in ("gradY", "x", "weightOptional", "yOriginOptional"))
    limit = given["clampLimit"]
    if not (limit == off or limit > 0):
        rules.reject(f"clampLimit is {limit}: positive, or {off} for none")
    if x.shape[-1:] != (2 * dy.shape[-1],) or x.shape[:-1] != dy.shape[:-1] or not dims[0] <= x.ndim <= dims[1]:
        rules.reject(f"gradY of shape {list(dy.shape)} is not half of x, of {list(x.shape)}")
    if dy.dtype != x.dtype or (origin is not None and (origin.dtype != x.dtype or origin.shape != dy.shape)):
        rules.reject("gradY, x and yOriginOptional have one type; gradY and yOriginOptional one shape")
    if weight is not None and (origin is None or weight.size != tokens(x)):
        rules.reject("weightOptional needs yOriginOptional, and one element for each token")
    return tuple(x.shape), None if weight is None else tuple(weight.shape)


def group_quant(given: dict[str, Any]) -> Any:
    """quantMode 0: float32 scales for blocks of 128; 1: powers of two for blocks of 32."""
    y = group_glu(given["x"], given["weightOptional"], given["groupIndexOptional"], given["clampLimit"])
    kind, last = mx.kind_of(given["dstType"]), y.ndim - 1
    if given["quantMode"] == 1:
        values, biased = mx.quantised(y, last, kind, algorithm=2, low=1e-4)
        return values, mx.paired(biased, last), None
    blocks = mx.blocks(np.where(np.isfinite(y), y, np.float32(0)), last, 128)
    top = np.maximum(np.abs(blocks).max(axis=-1), np.float32(1e-4))
    scale, back = top / np.float32(mx.LARGEST[kind]), np.float32(mx.LARGEST[kind]) / top
    if given["roundScale"]:
        fraction, exponent = np.frexp(scale)
        exponent = exponent - (fraction == 0.5)
        scale, back = np.ldexp(np.float32(1), exponent), np.ldexp(np.float32(1), -exponent)
    found = y * mx.spread(back, last, 128, y.shape[-1])
    return mx.cast(np.where(np.isfinite(found), found, y), kind), scale, None


def group_quant_shape(given: dict[str, Any]) -> Any:
    x, mode, size = given["x"], given["quantMode"], given["blockSize"]
    check_group(x, given["weightOptional"], given["groupIndexOptional"], given["clampLimit"])
    if mode not in (0, 1, 2, 3) or x.shape[-1] % 256 or not x.size or x.ndim < 2:
        rules.reject(f"quantMode is {mode}, not 0 to 3, or x of shape {list(x.shape)} has not 2 dimensions, or no "
                     "multiple of 256 in the last")
    if mode > 1:
        raise NotImplementedError("HIFLOAT8")
    kind = mx.kind_of(given["dstType"])
    if size not in (0, (128, 32)[mode]) or (mode == 1 and not given["roundScale"]) or given["outputOrigin"]:
        rules.reject(f"blockSize is {size}, roundScale {given['roundScale']}, outputOrigin {given['outputOrigin']}; "
                     f"for quantMode {mode} they are 0 or {(128, 32)[mode]}, {'true' if mode else 'either'}, and false")
    if x.dtype == DTYPES["f32"] or (mode == 0 and kind == "f4e2m1"):
        rules.reject(f"quantMode {mode} takes float16 and bfloat16" + (" and gives float8" if mode == 0 else ""))
    if kind == "f4e2m1":
        raise NotImplementedError("float4, for which no largest value is documented")
    shape = (*x.shape[:-1], x.shape[-1] // 2)
    return (shape, mx.scale_shape(shape, len(shape) - 1) if mode else (*shape[:-1], -(-shape[-1] // 128)), shape)


def group_quant_type(given: dict[str, Any]) -> Any:
    return DTYPES[mx.kind_of(given["dstType"])], DTYPES["f8e8m0" if given["quantMode"] else "f32"], None


# ---- clamped

def clipped(x: Any, counts: Any, dim: int, alpha: float, limit: float, bias: float, interleaved: bool,
            mode: int) -> Array:
    """clampMode 1: the activated part is clamped instead of what is activated; alpha and bias do not count."""
    return clipped_swiglu(x, counts, dim, alpha, limit, bias, interleaved, silu_clamp if mode else clamped_glu)


def silu_clamp(a: Array, b: Array, limit: float, *_: float) -> Array:
    return np.minimum(a * sigmoid(a), np.float32(limit)) * np.clip(b, -np.float32(limit), np.float32(limit))


def clipped_shape(x: Any, counts: Any, dim: int, alpha: float, limit: float, bias: float, interleaved: bool,
                  mode: int) -> Any:
    if mode not in (0, 1) or not limit > 0:
        rules.reject(f"clampMode is {mode}, limit {limit}: choose 0 or 1, and a positive one")
    return glu.half_shape(x, dim)


def clipped_grad(dy: Any, x: Any, counts: Any, dim: int, alpha: float, limit: float, bias: float,
                 interleaved: bool) -> Array:
    d = rules.axis(dim, x.ndim)
    rows = x.reshape(int(np.prod(x.shape[:d], dtype=np.int64)), -1)
    dy, top, used = dy.reshape(len(rows), -1), np.float32(limit), used_rows(counts, len(rows))
    a, b = (rows[:, ::2], rows[:, 1::2]) if interleaved else np.split(rows, 2, axis=1)
    a_in, b_in = a <= top, (b >= -top) & (b <= top)
    a, b = np.minimum(a, top), np.clip(b, -top, top)
    s = sigmoid(np.float32(alpha) * a)
    da = dy * (b + np.float32(bias)) * s * (1 + np.float32(alpha) * a * (1 - s)) * a_in
    db = dy * a * s * b_in
    found = np.stack([da, db], axis=-1).reshape(rows.shape) if interleaved else np.concatenate([da, db], axis=1)
    found[used:] = 0
    return found.reshape(x.shape)


def clipped_grad_shape(dy: Any, x: Any, counts: Any, dim: int, alpha: float, limit: float, bias: float,
                       interleaved: bool) -> Any:
    with rules.refusing(lib.ACLNN_ERR_INNER_TILING_ERROR):
        if tuple(dy.shape) != glu.half_shape(x, dim) or not limit > 0:
            rules.reject(f"gradY of shape {list(dy.shape)} is not half of x, of {list(x.shape)}, or limit, {limit}, is "
                         "not positive")
    return tuple(x.shape)


def silu_clamped(x: Any, limit: float) -> Array:
    a, b = np.split(x, 2, axis=-1)
    return silu_clamp(a, b, limit)


def silu_clamped_shape(x: Any, limit: float) -> Any:
    if not limit > 0:
        rules.reject(f"limit is {limit}, not positive")
    return glu.half_shape(x, -1)


# ---- Situ, dequantised before and quantised behind

def situ_quant(given: dict[str, Any]) -> Any:
    """Rounded towards zero."""
    x, scale, out = given["x"], given["quantScaleOptional"], given["outs"][0]
    y = f32(x)
    if x.dtype in (DTYPES["s8"], DTYPES["s32"]):
        y = y * given["weightScaleOptional"]
        if x.dtype == DTYPES["s32"]:
            y = y * given["activationScaleOptional"]
        if given["biasOptional"] is not None:
            y = y + given["biasOptional"]
    y = situ(y, given["beta"], given["linearBeta"], given["activateLeft"])
    if (given["quantTypeOptional"] or "dynamic") == "static":
        y = y / scale
        if given["quantOffsetOptional"] is not None:
            y = y + given["quantOffsetOptional"]
        return quantised(y, out.dtype, "trunc"), None
    if scale is not None:
        y = y * scale
    top = np.abs(y).max(axis=-1, keepdims=True) / np.float32(127)
    return quantised(y / np.where(top == 0, np.float32(1), top), out.dtype, "trunc"), top[..., 0]


def situ_quant_shape(given: dict[str, Any]) -> Any:
    x, kind = given["x"], given["quantTypeOptional"] or "dynamic"
    names = [n for n in ("weightScale", "activationScale", "bias", "quantScale", "quantOffset", "groupIndex")
             if given[n + "Optional"] is not None]
    if kind not in ("static", "dynamic") or given["beta"] == 0 or not x.size:
        rules.reject(f"quantTypeOptional is {kind!r}, not static or dynamic; or beta is 0, or x is empty")
    integer = {DTYPES["s8"]: "int8", DTYPES["s32"]: "int32"}.get(x.dtype, "")
    needed = {"int8": ["weightScale"], "int32": ["weightScale", "activationScale"]}.get(integer, [])
    if kind == "static":
        needed = [*needed, "quantScale"]
    for name in needed:
        if name not in names:
            rules.reject(f"{name}Optional is NULL", lib.ACLNN_ERR_PARAM_NULLPTR)
    barred = {"int8": ["activationScale", "groupIndex"], "int32": ["quantScale", "quantOffset"]}.get(
        integer, [n for n in names if n != "groupIndex"])
    for name in names:
        if name in barred:
            rules.reject(f"{name}Optional is given, which {integer or 'floating'} x does not take")
    if x.ndim < 2 or (integer != "int8" and x.ndim != 2):
        rules.reject(f"x has {x.ndim} dimensions")
    if "groupIndex" in names:
        raise NotImplementedError("groups, whose part in the result is not documented")
    return halved(x), tuple(x.shape[:-1])


# ---- SwiGluQuantV2

def swiglu_quant(given: dict[str, Any]) -> Any:
    """As SwiGluQuant; groups may be counts, or be absent."""
    x, groups, out = f32(given["x"]), given["groupIndexOptional"], given["outs"][0]
    ends = None if groups is None else np.cumsum(groups) if given["groupListType"] == 1 else groups
    y = swiglu_of(x, given["activateLeft"]).reshape(-1, x.shape[-1] // 2)

    def rows(v: Any) -> Any:
        if v is None or ends is None:
            return v
        v = v if v.ndim == 2 else v[:, None]
        return v[np.minimum(np.searchsorted(ends, np.arange(len(y)), side="right"), ends.size - 1)]

    if given["smoothScalesOptional"] is not None:
        y = y * rows(given["smoothScalesOptional"])
    shape = (*x.shape[:-1], y.shape[-1])
    if given["quantModeOptional"] == "static":
        if given["offsetsOptional"] is not None:
            y = y + rows(given["offsetsOptional"])
        return stored(y.reshape(shape), out), None
    scale = np.float32(limits(out.dtype)[1]) / np.abs(y).max(axis=1)
    return stored((y * scale[:, None]).reshape(shape), out), scale.reshape(x.shape[:-1])


def swiglu_quant_shape(given: dict[str, Any]) -> Any:
    x, kind = given["x"], given["dstType"]
    if given["quantModeOptional"] not in ("static", "dynamic") or given["groupListType"] not in (0, 1) or \
            kind not in (lib.ACL_INT8, lib.ACL_INT4):
        rules.reject(f"quantModeOptional is {given['quantModeOptional']!r}, groupListType {given['groupListType']}, "
                     f"dstType {kind}: choose static or dynamic, 0 or 1, 2 or 29")
    if x.ndim < 2 or x.shape[-1] % (4 if kind == lib.ACL_INT4 else 2) or x.shape[-1] > 8192:
        rules.reject(f"x of shape {list(x.shape)} has one dimension, or the last is odd (for int4 no multiple of 4) or "
                     "longer than 8192")
    return halved(x), tuple(x.shape[:-1])


define("SwigluGroup", group_glu, shape=group_shape, result=rules.first, exact=True, oracle="torch silu of a half",
       deviations="rows behind the groups' total become 0")
by_name("SwigluGroupGrad", lambda given: group_grad(given, False), lambda given: grad_shape(given, (2, 3), 0.0),
        raw=True, oracle="torch silu of a half, backward")
by_name("SwigluGroupQuantGrad", lambda given: group_grad(given, True), lambda given: grad_shape(given, (2, 8), -1.0),
        raw=True, oracle="torch silu of a half, backward")
if mx.SUPPORTED:
    by_name("SwigluGroupQuant", group_quant, group_quant_shape, result=group_quant_type, raw=True, exact=True,
            oracle="torch silu of a half, block by block",
            deviations="no float4, no hifloat8; rows behind the groups' total as for zeros")
define("ClippedSwigluV2", clipped, shape=clipped_shape, result=rules.first, oracle="torch.sigmoid of clamped parts")
define("ClippedSwigluGrad", clipped_grad, shape=clipped_grad_shape, result=rules.first, exact=True,
       oracle="torch.sigmoid of clamped parts, backward")
define("SwigluClamp", silu_clamped, shape=silu_clamped_shape, result=rules.first, exact=True,
       dtypes={"x": "f32 f16 bf16", "y": "f32 f16 bf16"}, oracle="torch silu, clamped")
by_name("DequantSituQuant", situ_quant, situ_quant_shape, raw=True, oracle="torch tanh and sigmoid, row by row",
        deviations="no groups")
by_name("SwiGluQuantV2", swiglu_quant, swiglu_quant_shape, raw=True, exact=True,
        result=lambda given: ({lib.ACL_INT8: DTYPES["s8"]}.get(given["dstType"], INT4), DTYPES["f32"]),
        oracle="torch silu of a half")
