"""Grouped products with what follows them: SwiGlu and quantisation, the way back to the tokens, accumulation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...capi import lib
from . import rules
from .matmul import nz_weight
from .quantise import f32, plain_scale, product, quantised, swiglu_of, symmetric, turned
from .registry import by_name, define
from .types import INT4, S8

Array = Any
WORKSPACE = 4096
HALVES = "f16 bf16"


def bounds(groups: Any, counts: bool = False) -> list[tuple[int, int]]:
    """Each group's first row and the one behind its last, from cumulative ends or from counts."""
    ends = (np.cumsum(groups) if counts else groups).tolist()
    return list(zip([0, *ends[:-1]], ends))


# ---- accumulated

def add(x: Any, weight: Any, groups: Any, y: Any, turn_x: bool, turn_weight: bool, kind: int) -> Array:
    """y += one product for each part of the inner dimension, one below the other."""
    x, weight = turned(f32(x), turn_x), turned(f32(weight), turn_weight)
    parts = [x[:, a:b] @ weight[a:b] for a, b in bounds(groups)]
    return y + np.stack(parts).reshape(y.shape)


def add_shape(x: Any, weight: Any, groups: Any, y: Any, turn_x: bool, turn_weight: bool, kind: int) -> Any:
    if x.ndim != 2 or weight.ndim != 2 or groups.ndim != 1 or not groups.size or x.dtype != weight.dtype:
        rules.reject(f"x of shape {list(x.shape)} and weight of {list(weight.shape)} are matrices of one type, "
                     f"groupList of {list(groups.shape)} is a vector")
    if kind != 2:
        rules.reject(f"groupType is {kind}, not 2: the inner dimension is cut")
    k, m = x.shape if turn_x else x.shape[::-1]
    n, inner = weight.shape if turn_weight else weight.shape[::-1]
    if k != inner or tuple(y.shape) not in ((groups.size * m, n), (groups.size, m, n)):
        rules.reject(f"x of shape {list(x.shape)}, weight of {list(weight.shape)} and yRef of {list(y.shape)} do not "
                     "fit")
    return tuple(y.shape)


# ---- SwiGlu and quantisation

def swiglu(x: Any, weight: Any, bias: Any, offset: Any, w_scale: Any, x_scale: Any, groups: Any) -> Any:
    """The rows behind the last group are not written on the device; here they become 0."""
    half = weight.shape[-1] // 2
    values, scales = np.zeros((x.shape[0], half), S8), np.zeros(x.shape[0], np.float32)
    for i, (a, b) in enumerate(bounds(groups)):
        if b > a:
            y = product(x[a:b], weight[i]).astype(np.float32) * x_scale[a:b, None] * f32(w_scale[i])
            y, scale = symmetric(swiglu_of(y, True), S8)
            values[a:b], scales[a:b] = quantised(y, S8), scale[:, 0]
    return values, scales, None


def swiglu_shape(x: Any, weight: Any, bias: Any, offset: Any, w_scale: Any, x_scale: Any, groups: Any) -> Any:
    if bias is not None or offset is not None:
        rules.reject("bias and offset are not supported yet: they must be NULL")
    if x.ndim != 2 or weight.ndim != 3 or x.shape[1] != weight.shape[1] or weight.shape[2] % 2:
        rules.reject(f"x of shape {list(x.shape)} and weight of {list(weight.shape)} do not fit")
    experts, k, n = weight.shape
    if tuple(w_scale.shape) != (experts, n) or tuple(x_scale.shape) != (x.shape[0],) or \
            tuple(groups.shape) != (experts,):
        rules.reject(f"weightScale has the shape {list(w_scale.shape)}, not {[experts, n]}; xScale "
                     f"{list(x_scale.shape)}, not {[x.shape[0]]}; or groupList {list(groups.shape)}, not {[experts]}")
    if n > 10240 or k >= 65536:
        rules.reject(f"N is {n}, more than 10240, or K is {k}, not below 65536")
    return (x.shape[0], n // 2), (x.shape[0],), (-1,)  # no tensor can be outputOffset


def swiglu_nz_shape(x: Any, weight: Any, *rest: Any) -> Any:
    nz_weight(weight)
    return swiglu_shape(x, weight, *rest)


# ---- back to the tokens

def one(given: dict[str, Any], *names: str) -> Any:
    """The parameter under the name that this version of the operator has for it."""
    return next(given[n] for n in names if n in given)


def finalize(given: dict[str, Any]) -> Any:
    """Each row's product, scaled, times its logit, is added to its token's row; so is the shared experts' output.

    With an int4 weight x comes as two halves of bytes on the device, and the bias makes up for the 8 taken off.
    """
    x, weight = one(given, "x1", "x"), one(given, "x2", "w")
    scale, bias = plain_scale(one(given, "scale", "scaleOptional")), one(given, "bias", "biasOptional")
    token, logit = given["pertokenScaleOptional"], one(given, "logit", "logitOptional")
    rows, shared = one(given, "rowIndex", "rowIndexOptional"), one(given, "sharedInput", "sharedInputOptional")
    out = np.zeros(given["outs"][0].shape, np.float32)
    for i, (a, b) in enumerate(bounds(one(given, "groupList", "groupListOptional"), given["groupListType"] == 1)):
        if weight.dtype == INT4:
            w = f32(weight[i])
            blocks = scale[i].reshape(-1, w.shape[1])
            y = (f32(x[a:b]) - 8) @ (w * np.repeat(blocks, w.shape[0] // len(blocks), axis=0)) + f32(bias[i])
        else:
            y = product(x[a:b], weight[i]).astype(np.float32) * scale[i].reshape(-1)
        if token is not None:
            y = y * token[a:b, None]
        if logit is not None:
            y = y * logit[a:b, None]
        np.add.at(out, rows[a:b], y)
    if shared is not None:
        start = given["sharedInputOffset"]
        out[start:start + shared.shape[0]] += f32(shared) * np.float32(given["sharedInputWeight"])
    return out


def finalize_shape(given: dict[str, Any]) -> Any:
    x, weight = one(given, "x1", "x"), one(given, "x2", "w")
    scale, bias = one(given, "scale", "scaleOptional"), one(given, "bias", "biasOptional")
    groups, rows = one(given, "groupList", "groupListOptional"), one(given, "rowIndex", "rowIndexOptional")
    if given.get("offsetOptional") is not None:
        raise NotImplementedError("an asymmetric int4 weight")
    for name, v in (("scale", scale), ("groupList", groups), ("rowIndex", rows)):
        if v is None:
            rules.reject(f"{name} is NULL", lib.ACLNN_ERR_PARAM_NULLPTR)
    if x.ndim != 2 or weight.ndim != 3 or x.shape[1] != weight.shape[1] or not x.size or not weight.size:
        rules.reject(f"x of shape {list(x.shape)} and the weight of {list(weight.shape)} do not fit, or are empty")
    experts, _, n = weight.shape
    if weight.dtype == INT4 and (bias is None or tuple(bias.shape) != (experts, n)):
        rules.reject(f"an int4 weight needs a bias of shape {[experts, n]}")
    if scale.shape[0] != experts or scale.shape[-1] != n or (weight.dtype != INT4 and scale.size != experts * n):
        rules.reject(f"the scale has the shape {list(scale.shape)} for {experts} experts and {n} columns")
    vectors = {"pertokenScaleOptional": given["pertokenScaleOptional"], "rowIndex": rows,
               "logit": one(given, "logit", "logitOptional")}
    for name, v in vectors.items():
        if v is not None and tuple(v.shape) != (x.shape[0],):
            rules.reject(f"{name} has the shape {list(v.shape)}, not {[x.shape[0]]}")
    if tuple(groups.shape) != (experts,) or given["groupListType"] not in (0, 1) or given["dtype"] != 0 or \
            one(given, "transposeX1", "transposeX") or one(given, "transposeX2", "transposeW"):
        rules.reject(f"groupList has the shape {list(groups.shape)}, not {[experts]}; or groupListType is neither 0 "
                     "nor 1, dtype not 0, or a matrix transposed")
    return (None, n)


def finalize_nz_shape(given: dict[str, Any]) -> Any:
    nz_weight(given["x2"])
    return finalize_shape(given)


_COMMON: dict[str, Any] = {"workspace": WORKSPACE, "oracle": "torch.matmul, group by group"}
define("GroupedMatmulAdd", add, add_shape, raw=True,
       dtypes={"x": HALVES, "weight": HALVES, "groupList": "s64", "yRef": "f32"}, **_COMMON)
for _name, _shape in (("GroupedMatmulSwigluQuant", swiglu_shape),
                      ("GroupedMatmulSwigluQuantWeightNZ", swiglu_nz_shape)):
    define(_name, swiglu, _shape, raw=True, exact=True, private_formats=_name.endswith("NZ"),
           optional="bias offset outputOffset", deviations="rows behind the last group become 0",
           dtypes={"x": "s8", "weight": "s8", "weightScale": "f32 f16 bf16", "xScale": "f32", "groupList": "s64",
                   "output": "s8", "outputScale": "f32"}, **_COMMON)
by_name("GroupedMatmulFinalizeRouting GroupedMatmulFinalizeRoutingV2 GroupedMatmulFinalizeRoutingV3", finalize,
        finalize_shape, raw=True, deviations="no asymmetric int4 weights", **_COMMON)
by_name("GroupedMatmulFinalizeRoutingWeightNz GroupedMatmulFinalizeRoutingWeightNzV2", finalize, finalize_nz_shape,
        raw=True, private_formats=True, optional="bias sharedInput logit", deviations="no asymmetric int4 weights",
        dtypes={"scale": "f32 bf16 s64"}, **_COMMON)
