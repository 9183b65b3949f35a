"""MX quantisation with what comes before it: gated activations, RmsNorm, a first level of scales."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from ...capi import lib
from . import glu, mx, rms_norm, rules
from .quantise import f32, swiglu_of
from .quantise_fused import clamped_glu
from .registry import by_name, define
from .types import DTYPES, cast
from .unary import sigmoid

Array = Any


def situ(x: Array, beta: float, linear: float, left: bool) -> Array:
    """beta tanh(gate / beta) sigmoid(gate) up; up saturates in the same way where `linear` is positive."""
    gate, up = np.split(x, 2, axis=-1)
    if not left:
        gate, up = up, gate
    active = np.float32(beta) * np.tanh(gate / np.float32(beta)) * sigmoid(gate)
    return active * (np.float32(linear) * np.tanh(up / np.float32(linear)) if linear > 0 else up)


def halved(x: Any) -> tuple[int, ...]:
    return glu.half_shape(x, -1)  # type: ignore[no-any-return]


# ---- gated

def situ_quant(given: dict[str, Any]) -> Any:
    y = situ(f32(given["x"]), given["beta"], given["linearBeta"], given["activateLeft"])
    values, biased = mx.quantised(y, y.ndim - 1, mx.kind_of(given["dstType"]))
    return values, mx.paired(biased, y.ndim - 1)


def situ_shape(given: dict[str, Any]) -> Any:
    x, kind = given["x"], mx.kind_of(given["dstType"], allowed=(35, 36))
    mx.settings(kind, given["roundModeOptional"], 0)
    if not x.size or given["axis"] != -1 or given["beta"] == 0:
        rules.reject(f"x of shape {list(x.shape)} is empty, axis, {given['axis']}, is not -1, or beta is 0")
    shape = halved(x)
    return shape, mx.scale_shape(shape, len(shape) - 1)


def swiglu_quant(given: dict[str, Any]) -> Any:
    """Rows behind the groups' total are left as they are on the device; here they become 0."""
    x, groups = f32(given["x"]), given["groupIndexOptional"]
    axis = rules.axis(given["axis"], x.ndim)
    whole = x
    if groups is not None:
        if axis != x.ndim - 1:
            raise NotImplementedError("swiglu with groups, quantised along another axis than the last")
        total = int(groups.sum()) if given["groupMode"] == 0 else int(groups[-1])
        x = x.reshape(-1, x.shape[-1])[:total]
    if given["swigluMode"] == 1:
        y = clamped_glu(x[..., ::2], x[..., 1::2], given["clampLimit"], given["gluAlpha"], given["gluBias"])
    else:
        y = np.moveaxis(swiglu_of(np.moveaxis(x, given["activateDim"], -1), given["activateLeft"]), -1,
                        given["activateDim"])
    if groups is not None:
        shape = (*whole.shape[:-1], whole.shape[-1] // 2)
        padded = np.zeros((int(np.prod(shape[:-1])), shape[-1]), np.float32)
        padded[:y.shape[0]] = y
        y = padded.reshape(shape)
    kind, mode = mx.kind_of(given["dstType"]), given["roundModeOptional"] or "rint"
    values, biased = mx.quantised(np.ascontiguousarray(y), axis, kind, mode, given["scaleAlg"])
    return values, mx.paired(biased, axis)


def swiglu_shape(given: dict[str, Any]) -> Any:
    x, kind = given["x"], mx.kind_of(given["dstType"])
    mx.settings(kind, given["roundModeOptional"], given["scaleAlg"], (0, 1))
    dims = {-1, -2, x.ndim - 2, x.ndim - 1}
    if not 2 <= x.ndim <= 7 or given["activateDim"] not in dims or given["axis"] not in dims:
        rules.reject(f"activateDim is {given['activateDim']}, axis {given['axis']}, for x of {x.ndim} dimensions: "
                     "choose one of the last two, of 2 to 7")
    dim, axis = (rules.axis(given[n], x.ndim) for n in ("activateDim", "axis"))
    if given["swigluMode"] not in (0, 1) or given["groupMode"] not in (0, 1) or \
            (given["swigluMode"] == 1 and (dim != x.ndim - 1 or not 0 < given["clampLimit"] < np.inf)):
        rules.reject("swigluMode and groupMode are 0 or 1; swigluMode 1 needs the last activateDim and a positive "
                     "clampLimit")
    if given["groupIndexOptional"] is not None and x.ndim != 2 and not dim == axis == x.ndim - 1:
        rules.reject(f"with groupIndex x has 2 dimensions, not {x.ndim}, unless both axes are the last")
    shape = glu.half_shape(x, dim)
    if kind == "f4e2m1" and shape[-1] % 2:
        rules.reject(f"the last dimension of y, {list(shape)}, is odd; two float4 share a byte")
    return shape, mx.scale_shape(shape, axis)


def both_axes(y: Array, groups: Any, kind: str, mode: Optional[str], algorithm: int) -> Any:
    """Along the columns, and along the rows group by group."""
    if groups is None:
        return mx.two_axes(y, kind, mode or "rint", algorithm)
    values, biased = mx.quantised(y, 1, kind, mode or "rint", algorithm)
    return values, mx.paired(biased, 1), *mx.by_rows(y, groups.tolist(), kind, mode or "rint", algorithm)


def swiglu_dual(x: Any, groups: Any, left: bool, mode: Any, algorithm: int, code: int, largest: float) -> Any:
    return both_axes(swiglu_of(f32(x), left), groups, mx.kind_of(code), mode, algorithm)


def dual_shape(shape: Any, groups: Any, code: int, mode: Any, algorithm: int, algorithms: tuple[int, ...],
               largest: float) -> Any:
    kind = mx.kind_of(code)
    mx.settings(kind, mode, algorithm, algorithms)
    if largest:
        rules.reject(f"maxDtypeValue is {largest}, not 0")
    first, second, third, fourth = mx.two_shapes(shape)
    if groups is not None:
        if len(shape) != 2 or groups.ndim != 1 or not groups.size:
            rules.reject(f"groupIndex of shape {list(groups.shape)} is no vector, or x no matrix")
        fourth = (shape[0] // 64 + groups.size, shape[1], 2)
    return first, second, third, fourth


def swiglu_dual_shape(x: Any, groups: Any, left: bool, mode: Any, algorithm: int, code: int, largest: float) -> Any:
    if x.ndim != 2 or not x.size or (code in (40, 41) and x.shape[-1] % 4):
        rules.reject(f"x of shape {list(x.shape)} is empty, no matrix, or its columns are no multiple of 4 for float4")
    return dual_shape(halved(x), groups, code, mode, algorithm, (0, 1), largest)


def backward_dual(x: Any, dy: Any, groups: Any, left: bool, mode: Any, algorithm: int, code: int,
                  largest: float) -> Any:
    return both_axes(glu.swiglu_grad(f32(dy), f32(x), -1), groups, mx.kind_of(code), mode, algorithm)


def backward_shape(x: Any, dy: Any, groups: Any, left: bool, mode: Any, algorithm: int, code: int,
                   largest: float) -> Any:
    mx.kind_of(code, "dstDtype", (36,))
    if x.ndim < 2 or x.shape[-1] % 64 or not x.size or tuple(dy.shape) != halved(x) or dy.dtype != x.dtype:
        rules.reject(f"x of shape {list(x.shape)} and yGrad of {list(dy.shape)} do not fit, differ in type, or the "
                     "columns are no multiple of 64")
    if not left:
        raise NotImplementedError("the backward of swiglu with activateLeft false")
    return dual_shape(x.shape, groups, code, mode, algorithm, (1,), largest)


# ---- norms

def norm(given: dict[str, Any]) -> Any:
    """The sum of two comes out as x's type; the norm's output goes on in float32."""
    added = "x1" in given
    x = rms_norm.rounded(f32(given["x1"]) + f32(given["x2"]), given["x1"]) if added else f32(given["x"])
    y, rstd = rms_norm.normalise(x, given["gamma"], given["epsilon"])
    if given["beta"] is not None:
        y = y + f32(given["beta"])
    values, biased = mx.quantised(y, y.ndim - 1, mx.kind_of(given["dstType"]), given["roundMode"], given["scaleAlg"])
    scale, rstd = mx.paired(biased, y.ndim - 1), rstd if given["outputRstd"] else None
    return (values, x, scale, rstd) if added else (values, scale, rstd)


def norm_shape(given: dict[str, Any]) -> Any:
    x, gamma, beta = given["x1" if "x1" in given else "x"], given["gamma"], given["beta"]
    with rules.refusing(lib.ACLNN_ERR_INNER_NULLPTR):
        kind = mx.kind_of(given["dstType"])
        mx.settings(kind, given["roundMode"], given["scaleAlg"], (0, 1))
        mx.even(x, kind)
        if tuple(gamma.shape) != tuple(x.shape[-1:]) or (beta is not None and tuple(beta.shape) != tuple(gamma.shape)):
            rules.reject(f"gamma of shape {list(gamma.shape)}, and beta, have x's last dimension, of {list(x.shape)}")
        if "x1" in given and tuple(given["x2"].shape) != tuple(x.shape):
            rules.reject(f"x1 of shape {list(x.shape)} and x2 of {list(given['x2'].shape)} differ")
    shape, scale = tuple(x.shape), mx.scale_shape(x.shape, x.ndim - 1)
    rstd = (*shape[:-1], 1) if given["outputRstd"] else None
    return (shape, shape, scale, rstd) if "x1" in given else (shape, scale, rstd)


def norm_type(given: dict[str, Any]) -> Any:
    kind, scale = DTYPES[mx.kind_of(given["dstType"])], DTYPES["f8e8m0"]
    return (kind, given["x1"].dtype, scale, DTYPES["f32"]) if "x1" in given else (kind, scale, DTYPES["f32"])


# ---- two levels of scales

def two_levels(x: Any, smooth: Any, mode: Any, size0: int, size1: int) -> Any:
    """float32 scales for blocks of 512, then powers of two for blocks of 32 of what that leaves."""
    y, last = f32(x), x.ndim - 1
    if smooth is not None:
        y = rms_norm.rounded(y * f32(smooth), x)
    level0 = mx.largest_of(y, last, size0) / np.float32(mx.LARGEST["f4e2m1"])
    y = y / mx.spread(np.where(level0 == 0, np.float32(1), level0), last, size0, y.shape[-1])
    values, biased = mx.quantised(f32(cast(y, x.dtype)), last, "f4e2m1", mode or "rint")
    return values, level0, mx.paired(biased, last)


def two_level_shape(x: Any, smooth: Any, mode: Any, size0: int, size1: int) -> Any:
    mx.settings("f4e2m1", mode, 0)
    if size0 != 512 or size1 != 32 or not x.size or x.shape[-1] % 2:
        rules.reject(f"level0BlockSize and level1BlockSize are {size0} and {size1}, not 512 and 32, or x of shape "
                     f"{list(x.shape)} is empty or has an odd last dimension")
    if smooth is not None and (tuple(smooth.shape) != tuple(x.shape[-1:]) or smooth.dtype != x.dtype):
        rules.reject(f"smoothScaleOptional has the shape {list(smooth.shape)} or another type than x")
    return tuple(x.shape), (*x.shape[:-1], -(-x.shape[-1] // 512)), mx.scale_shape(x.shape, x.ndim - 1)


if mx.SUPPORTED:
    _COMMON: dict[str, Any] = {"raw": True, "exact": True, "workspace": 1024}
    by_name("SituMxQuant", situ_quant, situ_shape, result=mx.types, oracle="torch tanh and sigmoid, block by block",
            **_COMMON)
    by_name("SwigluMxQuant", swiglu_quant, swiglu_shape, result=mx.types, oracle="torch silu of a half, block by block",
            deviations="no float4_e1m2; groups only along the last axis; rows that are not processed become 0",
            **_COMMON)
    define("SwigluMxQuantWithDualAxis", swiglu_dual, swiglu_dual_shape, result=lambda *v: mx.types({"dstType": v[5]}),
           oracle="torch silu of a half, block by block", deviations="no float4_e1m2", **_COMMON)
    define("SwigluBackwardMxQuantWithDualAxis", backward_dual, backward_shape,
           result=lambda *v: mx.types({"dstType": v[6]}), oracle="torch silu of a half, backward, block by block",
           deviations="only with activateLeft", **_COMMON)
    by_name("RmsNormDynamicMxQuant AddRmsNormDynamicMxQuant", norm, norm_shape, result=norm_type,
            optional="beta rstdOut", oracle="torch.nn.functional.rms_norm, block by block",
            deviations="no float4_e1m2", **_COMMON)
    define("DynamicDualLevelMxQuant", two_levels, two_level_shape, result=lambda *_: (
        DTYPES["f4e2m1"], DTYPES["f32"], DTYPES["f8e8m0"]), oracle="numpy, block by block", **_COMMON)
