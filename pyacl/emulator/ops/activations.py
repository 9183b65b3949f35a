"""Activations and their gradients, element by element.

Scalars are numbers here, not rounded to the tensor's type: the device takes them as float attributes.
"""

from __future__ import annotations

import functools
from typing import Any, Callable

import numpy as np

from . import rules
from .choice import choose
from .glu import gelu, gelu_slope, half_shape, halves, silu_slope, whole
from .registry import define, elementwise, family
from .rules import is_tensor, reject
from .types import COMPLEXES, U8
from .unary import gated, relu, sigmoid

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def tensors_meet(*inputs: Any) -> Any:
    """The type in which the tensors meet; scalars and attributes have no say."""
    return rules.common(*(t for t in inputs if is_tensor(t)))


def real_scalars(*inputs: Any) -> None:
    if any(isinstance(v, np.generic) and v.dtype in COMPLEXES for v in inputs):
        reject("a complex scalar cannot be converted to float")


def alike(*inputs: Any) -> None:
    """Tensors of one shape and one type, real scalars."""
    real_scalars(*inputs)
    tensors = [t for t in inputs if is_tensor(t)]
    for t in tensors[1:]:
        if tuple(t.shape) != tuple(tensors[0].shape):
            reject(f"shapes {list(tensors[0].shape)} and {list(t.shape)} differ")
        if t.dtype != tensors[0].dtype:
            reject(f"data types {tensors[0].dtype} and {t.dtype} differ")


def numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Scalars as Python numbers, which leave the tensors' type alone."""
    @functools.wraps(function)
    def compute(*inputs: Any, **out: Any) -> Any:
        return function(*(v.item() if isinstance(v, np.generic) else v for v in inputs), **out)

    return compute


def pointwise(names: str, compute: Callable[..., Any], oracle: str, check: Any = real_scalars, **rest: Any) -> None:
    """Tensors broadcast and meet; the result has the type they meet in."""
    define(names, numbers(compute), shape=rest.pop("shape", rules.broadcast), result=tensors_meet, elementwise=True,
           inplace=True, check=check, oracle=oracle, **rest)


# ---- forward

def log_sigmoid(x: Any) -> Any:
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


def softplus(x: Any, beta: Any, threshold: Any) -> Any:
    scaled = x * float(beta)
    return choose(scaled > float(threshold), x, np.log1p(np.exp(np.minimum(scaled, float(threshold)))) / float(beta))


def mish(x: Any) -> Any:
    return x * tanh_of_softplus(x)


def tanh_of_softplus(x: Any) -> Any:
    """w / (w + 2) with w = n (n + 2), n = exp(x); from 20 on it is 1."""
    n = np.exp(np.minimum(x, x.dtype.type(20)))
    w = n * (n + 2)
    return w / (w + 2)


def elu(x: Any, alpha: Any, scale: Any, slope: Any) -> Any:
    low = np.expm1(np.minimum(x, 0) * float(slope)) * (float(alpha) * float(scale))
    return np.maximum(x, 0) * float(scale) + low


def celu(x: Any, alpha: Any) -> Any:
    return np.maximum(x, 0) + np.expm1(np.minimum(x, 0) / float(alpha)) * float(alpha)


def float_inside(function: Callable[..., Any]) -> Callable[..., Any]:
    """Integers are computed in float32; the result is cut off when stored."""
    def compute(*inputs: Any) -> Any:
        return function(*(v.astype(np.float32) if is_tensor(v) and v.dtype.kind in "iu" else v for v in inputs))

    return compute


def selu(x: Any) -> Any:
    return elu(x, SELU_ALPHA, SELU_SCALE, 1)


def hardsigmoid(x: Any) -> Any:
    return np.clip(x * (1 / 6) + 0.5, 0, 1)


def hardswish(x: Any) -> Any:
    return x * np.clip(x + 3, 0, 6) / 6


def clamp(x: Any, low: Any, high: Any) -> Any:
    if x.dtype.kind in "iu":
        bounds = np.iinfo(x.dtype)
        low, high = (int(min(max(v, bounds.min), bounds.max)) for v in (low, high))
    return np.clip(x, low, high)


def hardshrink(x: Any, bound: Any) -> Any:
    return choose((x >= -bound) & (x <= bound), x.dtype.type(0), x)


def shrink(x: Any, bound: Any, bias: Any) -> Any:
    return choose(x > bound, x - bias, choose(x < -bound, x + bias, choose(np.isnan(x), x, x.dtype.type(0))))


def leaky_relu(x: Any, slope: Any) -> Any:
    scaled = x * float(slope)
    return np.maximum(x, scaled) if 0 <= slope <= 1 else choose(x > 0, x, scaled)


def threshold(x: Any, bound: Any, value: Any) -> Any:
    return choose(x <= bound, np.asarray(value).astype(x.dtype), x)


def fast_gelu(x: Any, out: Any = None) -> Any:
    return gated(x, 1.702 * x, out)


def swish(x: Any, beta: Any, out: Any = None) -> Any:
    return gated(x, x * (1.0 if beta is None else float(beta)), out)


def logit(x: Any, eps: float) -> Any:
    z = x if eps < 0 else np.clip(x, eps, 1 - eps)
    return np.log(z / (1 - z))


def add_relu(x: Any, y: Any, alpha: Any) -> Any:
    return relu(x + y * alpha)


def fused_bias(x: Any, bias: Any, slope: float, scale: float) -> Any:
    return leaky_relu(x + bias, slope) * scale


# ---- backward

def softplus_grad(dy: Any, x: Any, beta: Any, threshold: Any) -> Any:
    scaled = x * float(beta)
    return choose(scaled > float(threshold), dy, dy * sigmoid(scaled))


def mish_grad(dy: Any, x: Any) -> Any:
    t = tanh_of_softplus(x)
    return dy * (t + x * sigmoid(x) * (1 - t * t))


def elu_grad(dy: Any, alpha: Any, scale: Any, slope: Any, is_result: bool, x: Any) -> Any:
    a, s, i = float(alpha), float(scale), float(slope)
    low = i * (x + a * s) if is_result else (a * s * i) * np.exp(x * i)
    return dy * choose(x > 0, x.dtype.type(s), low)


def selu_grad(dy: Any, y: Any) -> Any:
    return dy * choose(y >= 0, y.dtype.type(SELU_SCALE), y + SELU_SCALE * SELU_ALPHA)


def hardsigmoid_grad(dy: Any, x: Any) -> Any:
    return choose((x > -3) & (x < 3), dy * (1 / 6), dy.dtype.type(0))


def hardswish_grad(dy: Any, x: Any) -> Any:
    return dy * choose(x <= -3, x.dtype.type(0), choose(x < 3, x / 3 + 0.5, x.dtype.type(1)))


def hardtanh_grad(dy: Any, x: Any, low: Any, high: Any) -> Any:
    return choose((x < low) | (x > high), dy.dtype.type(0), dy)


def hardshrink_grad(dy: Any, x: Any, bound: Any) -> Any:
    return choose((x >= -bound) & (x <= bound), dy.dtype.type(0), dy)


def leaky_relu_grad(dy: Any, x: Any, slope: Any, is_result: bool) -> Any:
    return choose(x > 0, dy, dy * float(slope))


def threshold_grad(dy: Any, x: Any, bound: Any) -> Any:
    return choose(x <= bound, dy.dtype.type(0), dy)


def log_sigmoid_grad(dy: Any, x: Any, buffer: Any) -> Any:
    return dy * sigmoid(-x)


def logit_grad(x: Any, dy: Any, eps: float) -> Any:
    low, outside = (0.0, np.nan) if eps < 0 else (eps, 0.0)
    inside = dy / (x * (1 - x))
    return choose((x < low) | (x > 1 - low), x.dtype.type(outside), inside)


def fast_gelu_grad(dy: Any, x: Any) -> Any:
    s = sigmoid(1.702 * x)
    return dy * s * (1 + 1.702 * x * (1 - s))


def swish_grad(dy: Any, x: Any, beta: Any) -> Any:
    scaled = x * (1.0 if beta is None else float(beta))
    s = sigmoid(scaled)
    return dy * s * (1 + scaled * (1 - s))


def sigmoid_grad(dy: Any, y: Any) -> Any:
    return dy * np.conj(y * (1 - y))


# ---- not element by element

def prelu(x: Any, weight: Any) -> Any:
    return choose(x > 0, x, x * _per_channel(x, weight))


def _per_channel(x: Any, weight: Any) -> Any:
    return weight.reshape(-1) if weight.size == 1 else weight.reshape((-1, *(1,) * (x.ndim - 2)))


def prelu_grad(dy: Any, x: Any, weight: Any) -> Any:
    dx = choose(x > 0, dy, dy * _per_channel(x, weight))
    parts = choose(x > 0, x.dtype.type(0), dy * x)
    over = None if weight.size == 1 else tuple(i for i in range(x.ndim) if i != 1)
    return np.broadcast_to(dx, x.shape), parts.sum(axis=over).reshape(weight.shape)


def gelu_mul(x: Any, mode: Any) -> Any:
    a, b = halves(x, -1)
    return gelu(a, mode == "tanh") * b


def fatrelu_mul(x: Any, bound: Any) -> Any:
    a, b = halves(x, -1)
    return choose(a < bound.reshape(()), x.dtype.type(0), a) * b


def situ_halves(x: Any, dim: int, beta: float, linear: float, left: bool) -> Any:
    gate, up = halves(x, dim) if left else halves(x, dim)[::-1]
    return np.tanh(gate / beta), sigmoid(gate), np.tanh(up / linear) if linear > 0 else up


def situ_glu(x: Any, dim: int, beta: float, linear: float, left: bool) -> Any:
    t, s, up = situ_halves(x, dim, beta, linear, left)
    return beta * t * s * (linear * up if linear > 0 else up)


def situ_glu_grad(dy: Any, x: Any, dim: int, beta: float, linear: float, left: bool) -> Any:
    t, s, up = situ_halves(x, dim, beta, linear, left)
    gate = dy * (linear * up if linear > 0 else up) * s * (1 - t * t + beta * t * (1 - s))
    passed = dy * beta * t * s * (1 - up * up if linear > 0 else 1)
    return np.concatenate((gate, passed) if left else (passed, gate), axis=dim)


# ---- checks

def check_celu(x: Any, alpha: Any) -> None:
    real_scalars(alpha)
    if float(alpha) == 0:
        reject("alpha is 0")


def check_hardtanh(x: Any, low: Any, high: Any) -> None:
    real_scalars(low, high)
    if low > high:
        reject(f"clipValueMin {low} is above clipValueMax {high}")


def check_shrink(x: Any, bound: Any, bias: Any) -> None:
    real_scalars(bound, bias)
    if float(bound) < 0:
        reject(f"lambd is {float(bound)}, below 0")


def check_leaky_grad(dy: Any, x: Any, slope: Any, is_result: bool) -> None:
    real_scalars(slope)
    if is_result and float(slope) < 0:
        reject(f"negativeSlope is {float(slope)}, below 0, and self is the result")


def check_elu_grad(dy: Any, alpha: Any, scale: Any, slope: Any, is_result: bool, x: Any) -> None:
    alike(dy, alpha, scale, slope, x)
    if is_result and float(alpha) < 0:
        reject(f"alpha is {float(alpha)}, below 0, and selfOrResult is the result")


def check_gelu_grad(dy: Any, x: Any, mode: str) -> None:
    if mode not in ("none", "tanh"):
        reject(f'approximate is "{mode}"; it takes "none" and "tanh"')


def check_gelu_v2(x: Any, mode: int) -> None:
    if mode not in (0, 1):
        reject(f"approximate is {mode}; it takes 0 (none) and 1 (tanh)")


def check_halved(x: Any, other: Any) -> None:
    """GeluMul and FatreluMul."""
    if x.ndim < 2 or x.shape[-1] % 2 or x.shape[-1] > 1024:
        reject(f"input of shape {list(x.shape)}: it takes 2 to 8 dimensions, the last even and at most 1024")
    if isinstance(other, str) and other not in ("none", "tanh"):
        reject(f'approximateOptional is "{other}"; it takes "none" and "tanh"')
    if is_tensor(other) and other.size != 1:
        reject(f"threshold has {other.size} elements, not 1")


def check_prelu(*inputs: Any) -> None:
    x, weight = inputs[-2:]
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.size not in (1, channels):
        reject(f"weight has {weight.size} elements; it takes 1 or one for each of {channels} channels")
    if any(t.dtype != x.dtype for t in inputs):
        reject("self, weight and the gradient must have one data type")
    if rules.broadcast_shapes(tuple(inputs[0].shape), tuple(x.shape)) != tuple(x.shape):
        reject(f"gradOutput of shape {list(inputs[0].shape)} does not broadcast to {list(x.shape)}")


def check_relu_mask(dy: Any, mask: Any, bound: Any) -> None:
    if tuple(dy.shape) != tuple(mask.shape) or mask.dtype != U8 or float(bound) != 0:
        reject("self must be a uint8 mask of gradOutput's shape, threshold 0")


THREE = "f32 f16 bf16"

family(pointwise, (
    ("Gelu", lambda x, out=None: gelu(x, True, out), "torch gelu, tanh"), ("Mish", mish, "torch.nn.functional.mish"),
    ("Selu", float_inside(selu), "torch.nn.functional.selu"),
    ("Hardsigmoid HardsigmoidV2", float_inside(hardsigmoid), "torch.nn.functional.hardsigmoid"),
    ("Hardswish", hardswish, "torch.nn.functional.hardswish"),
    ("LogSigmoid", log_sigmoid, "torch.nn.functional.logsigmoid"),
    ("Softsign", lambda x: x / (1 + np.abs(x)), "torch.nn.functional.softsign"),
    ("SquaredRelu", lambda x: np.square(relu(x)), "torch relu, squared"),
    ("FastGelu", fast_gelu, "torch x sigmoid(1.702 x)"),
    ("Elu", elu, "torch elu"), ("LeakyRelu", leaky_relu, "torch.nn.functional.leaky_relu"),
    ("Softplus", softplus, "torch.nn.functional.softplus"),
    ("Hardshrink", hardshrink, "torch.nn.functional.hardshrink"),
    ("Softshrink", lambda x, bound: shrink(x, bound, bound), "torch.nn.functional.softshrink"),
    ("Swish", swish, "torch x sigmoid(beta x)"), ("Logit", logit, "torch.logit"),
))
pointwise("EluV2", elu, "torch elu", dtypes={"self": THREE, "out": THREE})
pointwise("FastGeluV2", fast_gelu, "torch x sigmoid(1.702 x)", dtypes={"x": THREE, "out": THREE})
elementwise("Threshold ThresholdV2", threshold, oracle="torch.nn.functional.threshold")
elementwise("AddRelu", add_relu, oracle="torch.relu of torch.add")
pointwise("GeluV2", lambda x, mode, out=None: gelu(x, mode == 1, out), "torch.nn.functional.gelu", check_gelu_v2)
pointwise("Celu", celu, "torch.nn.functional.celu", check_celu)
pointwise("Hardtanh", clamp, "torch.nn.functional.hardtanh", check_hardtanh)
pointwise("Shrink", shrink, "torch.where of a comparison", check_shrink)
pointwise("FusedBiasLeakyRelu", fused_bias, "torch.nn.functional.leaky_relu", alike,
          dtypes={"x": "f32 f16", "bias": "f32 f16", "out": "f32 f16"})
define("LogSigmoidForward", log_sigmoid, shape=lambda x: (tuple(x.shape), None), result=lambda x: (x.dtype, None),
       optional="buffer", oracle="torch.nn.functional.logsigmoid")

# Gradients that broadcast and promote.
family(pointwise, (
    ("TanhBackward", lambda dy, y: dy * (1 - y * y), "torch tanh, backward"),
    ("ThresholdBackward", threshold_grad, "torch threshold, backward"),
    ("SoftplusBackward", softplus_grad, "torch softplus, backward"),
    ("HardshrinkBackward SoftshrinkBackward", hardshrink_grad, "torch hardshrink, backward"),
))
pointwise("GeluBackward", lambda dy, x: dy * gelu_slope(x, True), "torch gelu, tanh, backward",
          deviations="by the formula with tanh, as Gelu; the page's own, with erf, differs by up to 9e-4 of gradOutput")
pointwise("GeluBackwardV2", lambda dy, x, mode: dy * gelu_slope(x, mode == "tanh"), "torch gelu, backward",
          check_gelu_grad)
pointwise("LeakyReluBackward", leaky_relu_grad, "torch leaky_relu, backward", check_leaky_grad)

# Gradients of tensors that are alike.
family(pointwise, (
    ("SiluBackward", lambda dy, x: dy * silu_slope(x), "torch silu, backward"),
    ("SigmoidBackward", sigmoid_grad, "torch sigmoid, backward"), ("MishBackward", mish_grad, "torch mish, backward"),
    ("SeluBackward", float_inside(selu_grad), "torch selu, backward"),
    ("HardsigmoidBackward", hardsigmoid_grad, "torch hardsigmoid, backward"),
    ("HardswishBackward HardswishBackwardV2", hardswish_grad, "torch hardswish, backward"),
    ("HardtanhBackward", hardtanh_grad, "torch hardtanh, backward"),
    ("LogSigmoidBackward", log_sigmoid_grad, "torch logsigmoid, backward"),
    ("LogitGrad", logit_grad, "torch logit, backward"),
    ("FastGeluBackward", fast_gelu_grad, "torch x sigmoid(1.702 x), backward"),
    ("SwishBackward", swish_grad, "torch x sigmoid(beta x), backward"),
    ("SoftsignBackward", lambda dy, x: dy / np.square(1 + np.abs(x)), "torch softsign, backward"),
), check=alike)
for _names, _slope, _oracle, _types in (
    ("SqrtBackward", lambda y, dy: dy / (2 * y), "torch sqrt, backward", ("y", "dy", "z")),
    ("AsinhGrad", lambda y, dy: dy / np.cosh(y), "torch asinh, backward", ("y", "dy", "z")),
    ("AtanGrad", lambda x, dy: dy / (1 + x * x), "torch atan, backward", ("x", "dy", "dx")),
    ("AcosGrad", lambda dy, x: -dy / np.sqrt(1 - x * x), "torch acos, backward", ("y_grad", "x", "x_grad")),
):
    pointwise(_names, _slope, _oracle, alike, roles={_types[2]: "o"}, dtypes=dict.fromkeys(_types, THREE))
pointwise("EluBackward", elu_grad, "torch elu, backward", check_elu_grad)
pointwise("ReluGradV4", lambda dy, mask, bound: choose(mask != 0, dy, dy.dtype.type(0)), "torch.where",
          check_relu_mask)

define("Prelu", prelu, shape=rules.same, result=rules.first, check=check_prelu, oracle="torch.nn.functional.prelu")
define("PreluBackward", prelu_grad, shape=lambda dy, x, w: (tuple(x.shape), tuple(w.shape)), result=rules.first,
       check=check_prelu, oracle="torch prelu, backward")
define("GeluMul", gelu_mul, shape=lambda x, mode: half_shape(x, -1), result=rules.first, check=check_halved,
       oracle="torch gelu of a half")
define("FatreluMul", fatrelu_mul, shape=lambda x, bound: half_shape(x, -1), result=rules.first, check=check_halved,
       oracle="torch threshold of a half")
define("SituGlu", situ_glu, shape=half_shape, result=rules.first, oracle="torch tanh and sigmoid of a half")
define("SituGluGrad", situ_glu_grad, shape=whole, result=rules.first,
       oracle="torch tanh and sigmoid of a half, backward")
