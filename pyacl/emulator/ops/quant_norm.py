"""LayerNorm, GroupNorm, RmsNorm's backward and a batch norm of integers, with quantisation behind them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...capi import lib
from . import norms, rms_norm, rules
from .quantise import f32, quantised, stored, symmetric
from .registry import by_name, define
from .types import DTYPES

Array = Any


def scaled(y: Array, scale: Any, zero: Any, divide: bool) -> Array:
    y = y / f32(scale) if divide else y * f32(scale)
    return y if zero is None else y + f32(zero)


# ---- LayerNorm

def layer(x: Any, gamma: Any, beta: Any, epsilon: float) -> Array:
    """Over gamma's dimensions; leading ones of size 1, as in [1, H], are only written there."""
    while gamma.ndim > 1 and gamma.shape[0] == 1:
        gamma = gamma[0]
    beta = beta.reshape(gamma.shape)
    return rms_norm.layer_norm(x, f32(gamma), f32(beta), epsilon, tuple(range(x.ndim - gamma.ndim, x.ndim)))[0]


def layer_quant(x: Any, gamma: Any, beta: Any, scale: Any, zero: Any, mode: int, epsilon: float) -> Any:
    return quantised(scaled(layer(f32(x), gamma, beta, epsilon), scale, zero, True), DTYPES["s8"]), None


def layer_shape(x: Any, gamma: Any, beta: Any, scale: Any, zero: Any, mode: int, epsilon: float) -> Any:
    if mode != 0:
        rules.reject(f"quantMode is {mode}; only 0 is supported")
    if not x.ndim or gamma.shape[-1:] != x.shape[-1:] or tuple(gamma.shape) != tuple(beta.shape) or \
            gamma.size != x.shape[-1]:
        rules.reject(f"gamma of shape {list(gamma.shape)} and beta of {list(beta.shape)} do not fit x of "
                     f"{list(x.shape)}")
    if zero is not None and tuple(zero.shape) != tuple(scale.shape):
        rules.reject(f"scale has the shape {list(scale.shape)}, zeroPointsOptional {list(zero.shape)}")
    for t in (gamma, beta, scale):
        if t.dtype != x.dtype:
            rules.reject("gamma, beta and scale have x's type")
    return tuple(x.shape), tuple(x.shape[:-1])


def add_layer(given: dict[str, Any]) -> Any:
    x = f32(given["x1"]) + f32(given["x2"])
    if given["biasOptional"] is not None:
        x = x + f32(given["biasOptional"])
    y = layer(x, given["gamma"], given["beta"], given["epsilon"])
    values: list[Any] = []
    scales: list[Any] = []
    for i in "12":
        scale, zero = given[f"scales{i}Optional"], given[f"zeroPoints{i}Optional"]
        used = None
        if i == "2" and scale is None:
            value = None
        elif given["quantMode"] == "static":
            value = quantised(scaled(y, scale, zero, given["divMode"]), DTYPES["s8"])
        else:
            value, used = symmetric(y if scale is None else y * f32(scale), DTYPES["s8"])
            value, used = quantised(value, DTYPES["s8"]), used[..., 0]
        values.append(value)
        scales.append(used)
    extra = (y,) if "layernormRes" in given["names"] else ()
    return (*values, x if given["additionalOutput"] else None, *extra, *scales)


def add_layer_shape(given: dict[str, Any], norm_too: bool) -> Any:
    x, gamma, mode = given["x1"], given["gamma"], given["quantMode"]
    present = tuple(given[n + "Optional"] is not None for n in ("scales1", "scales2", "zeroPoints1", "zeroPoints2"))
    s1, s2, z1, z2 = present
    if mode not in ("static", "dynamic"):
        rules.reject(f"quantMode is {mode!r}: choose static or dynamic")
    if not (s1 and (z2 == (s2 and z1)) if mode == "static" else not (z1 or z2) and (s1 or not s2)):
        rules.reject(f"scales1, scales2, zeroPoints1, zeroPoints2 are present as {present}, which {mode} does not take")
    same = tuple(x.shape)
    if tuple(given["x2"].shape) != same or tuple(given["beta"].shape) != tuple(gamma.shape):
        rules.reject("x1 and x2 have one shape, gamma and beta one")
    if tuple(gamma.shape) != same[x.ndim - gamma.ndim:] and tuple(gamma.shape) != (1, *same[-1:]):
        rules.reject(f"gamma has the shape {list(gamma.shape)}; it must be the last dimensions of {list(same)}")
    bias = given["biasOptional"]
    if bias is not None and tuple(bias.shape) not in (same, tuple(gamma.shape)):
        rules.reject(f"biasOptional has the shape {list(bias.shape)}, neither x1's nor gamma's")
    if mode == "dynamic" and (x.ndim < 2 or x.dtype == DTYPES["f32"]):
        rules.reject("quantMode dynamic takes float16 and bfloat16 of at least 2 dimensions")
    rows = same[:-1] if mode == "dynamic" else None
    extra = (same,) if norm_too else ()
    return same, same if s2 else None, same, *extra, rows, rows if s2 else None


def ada_layer(given: dict[str, Any]) -> Any:
    y, _, _ = norms.ada_layer(f32(given["x"]), f32(given["scale"]), f32(given["shift"]), f32(given["weightOptional"]),
                              f32(given["biasOptional"]), given["epsilon"])
    if given["smoothScalesOptional"] is not None:
        y = y * f32(given["smoothScalesOptional"])
    y, used = symmetric(y, given["outs"][0].dtype)
    return stored(y, given["outs"][0]), used[..., 0], None


def ada_shape(given: dict[str, Any]) -> Any:
    x = given["x"]
    norms.check_ada(x, given["scale"], given["shift"], given["weightOptional"], given["biasOptional"], 0.0)
    smooth = given["smoothScalesOptional"]
    if given["quantMode"] != "dynamic" or (smooth is not None and tuple(smooth.shape) != tuple(x.shape[-1:])):
        rules.reject(f"quantMode is {given['quantMode']!r}, not dynamic, or smoothScalesOptional has not the shape "
                     f"{list(x.shape[-1:])}")
    for name in ("scale", "shift", "weightOptional", "biasOptional", "smoothScalesOptional"):
        if given[name] is not None and given[name].dtype != x.dtype:
            rules.reject(f"{name} has not x's type")
    return tuple(x.shape), tuple(x.shape[:-1]), (-1,)  # no tensor can be quantOffsetOptional


# ---- GroupNorm

def group_quant(x: Any, gamma: Any, beta: Any, scale: Any, groups: int, eps: float, active: bool) -> Any:
    y, mean, rstd = norms.swished(f32(x), f32(gamma), f32(beta), groups, eps)
    by_channel = scale.reshape(1, -1, *(1,) * (x.ndim - 2))
    return quantised(y / by_channel, DTYPES["s8"]), mean, rstd


def group_shape(x: Any, gamma: Any, beta: Any, scale: Any, groups: int, eps: float, active: bool) -> Any:
    shapes = norms.swish_shapes(x, gamma, beta, groups)
    if eps <= 0 or scale.size not in (1, x.shape[1]) or not active:
        rules.reject(f"eps is {eps}, not positive; or quantScale has {scale.size} elements, neither 1 nor "
                     f"{x.shape[1]}; or activateSilu is false")
    for t in (gamma, beta):
        if t is not None and t.dtype != x.dtype:
            rules.reject("gamma and beta have self's type")
    if beta is None:
        raise NotImplementedError("no beta: its page says that it is 1 then")
    return shapes


# ---- RmsNorm

def rms(x: Any, gamma: Any, scale: Any, offset: Any, beta: Any, epsilon: float, divide: bool, give: bool, *,
        outs: Any) -> Any:
    y, rstd = rms_norm.normalise(f32(x), f32(gamma).reshape(-1), epsilon)
    if beta is not None:
        y = y + f32(beta).reshape(-1)
    return stored(scaled(y, scale, offset, divide), outs[0]), rstd if give else None


def rms_shape(x: Any, gamma: Any, scale: Any, offset: Any, beta: Any, epsilon: float, divide: bool, give: bool) -> Any:
    if any(t is not None and t.ndim not in (1, 2) for t in (gamma, beta)) or scale.ndim != 1:
        rules.reject("gamma and beta have 1 or 2 dimensions, scale has one")
    with rules.refusing(lib.ACLNN_ERR_INNER_NULLPTR):
        for t in (gamma, beta):
            if t is not None and (t.size != x.shape[-1] or t.shape[-1] != x.shape[-1] or t.dtype != x.dtype):
                rules.reject(f"gamma and beta have x's type and its last dimension, of {list(x.shape)}")
        if scale.size not in (1, x.shape[-1]) or (offset is not None and tuple(offset.shape) != tuple(scale.shape)):
            rules.reject(f"scale of shape {list(scale.shape)} has not 1 or {x.shape[-1]} elements, or offset another "
                         "shape")
    return (*x.shape[:-1], None), (*x.shape[:-1], 1) if give else None


def rms_grad(dy: Any, x: Any, rstd: Any, gamma: Any, scale: Any, zero: Any, mode: str, divide: bool) -> Any:
    dx, d_gamma = rms_norm.rms_norm_grad(f32(dy), f32(x), rstd, f32(gamma))
    return quantised(scaled(dx, scale, zero, divide), DTYPES["s8"]), d_gamma


def rms_grad_shape(dy: Any, x: Any, rstd: Any, gamma: Any, scale: Any, zero: Any, mode: str, divide: bool) -> Any:
    if mode != "static":
        rules.reject(f"quantMode is {mode!r}, not static")
    keep = x.ndim - gamma.ndim
    if dy.shape != x.shape or dy.dtype != x.dtype or keep < 1 or x.shape[keep:] != gamma.shape or scale.size != 1:
        rules.reject(f"dy of shape {list(dy.shape)}, x of {list(x.shape)} and gamma of {list(gamma.shape)} do not fit, "
                     "or scalesX has more than one element")
    return tuple(x.shape), tuple(gamma.shape)


# ---- batch norm

def batch(x: Any, mean: Any, var: Any, scale: Any, zero: Any, out_scale: Any, out_zero: Any, weight: Any, bias: Any,
          epsilon: float) -> Any:
    def channels(v: Any) -> Any:
        return v.reshape(1, -1, 1, 1)

    y = (f32(x) - np.float32(zero)) * np.float32(scale)
    y = (y - channels(mean)) / np.sqrt(channels(var) + np.float32(epsilon))
    y = y if weight is None else y * channels(weight)
    y = y if bias is None else y + channels(bias)
    y = np.rint(y / np.float32(out_scale) + np.float32(out_zero))
    info = np.iinfo(x.dtype)
    return np.clip(y.astype(np.float64), info.min, info.max).astype(x.dtype)


def batch_shape(x: Any, mean: Any, var: Any, scale: Any, zero: Any, out_scale: Any, out_zero: Any, weight: Any,
                bias: Any, epsilon: float) -> Any:
    if x.ndim != 4 or not x.size or any(t is not None and tuple(t.shape) != (x.shape[1],)
                                        for t in (mean, var, weight, bias)):
        rules.reject(f"input of shape {list(x.shape)} is empty or has not 4 dimensions, or mean, var, weight and bias "
                     "have not one element for each channel")
    info = np.iinfo(x.dtype)
    if not all(info.min <= int(z) <= info.max for z in (zero, out_zero)):
        rules.reject(f"a zero point, {zero} or {out_zero}, is outside of {x.dtype}")
    return tuple(x.shape)


_COMMON: dict[str, Any] = {"raw": True, "workspace": 1024}
define("LayerNormQuant", layer_quant, layer_shape, roles={"gammma": "i"}, oracle="torch.nn.functional.layer_norm",
       **_COMMON)
for _name in ("AddLayerNormQuant", "AddLayerNormQuantV2"):
    by_name(_name, add_layer, partial(add_layer_shape, norm_too=_name.endswith("V2")),
            optional="y2Out xOut outScales1Out outScales2Out", oracle="torch.nn.functional.layer_norm", **_COMMON)
by_name("AdaLayerNormQuant", ada_layer, ada_shape, oracle="torch.nn.functional.layer_norm", **_COMMON)
define("GroupNormSiluQuant", group_quant, group_shape, optional="gamma beta", oracle="torch silu of group_norm",
       deviations="not without beta", **_COMMON)
define("RmsNormQuantV3", rms, rms_shape, optional="offset beta rstd", oracle="torch.nn.functional.rms_norm", **_COMMON)
define("RmsNormGradQuant", rms_grad, rms_grad_shape, oracle="torch.nn.functional.rms_norm, backward", **_COMMON)
define("QuantizedBatchNorm", batch, batch_shape, result=rules.first, exact=True, raw=True, optional="weight bias",
       oracle="torch.nn.functional.batch_norm")
