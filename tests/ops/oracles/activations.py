"""Activations and their gradients, by PyTorch's functions and its autograd."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable

import numpy as np

from ..oracle import Draw, Oracle, elementwise, torch

functional = torch.nn.functional
THREE = "f32 f32 f16 bf16"


def reals(low: float = -4, high: float = 4, special: bool = True, names: str = THREE, alike: bool = False,
          kinks: tuple[float, ...] = (), same: bool = True, **values: Any) -> Callable[[Draw], list[Any]]:
    """Tensors of one type; `values` are the other parameters' ranges (a tuple) or choices (a list), by name.

    With `alike` all have one shape. No element is one of `kinks`, where the gradient is anybody's choice.
    """
    def draw(d: Draw) -> list[Any]:
        shape, found = d.shape(0, 4, empty=True), []
        tensors = [i for i, p in enumerate(d.signature.inputs) if p.kind == "tensor"]
        dtype = d.dtype(names, *tensors)
        for i, p in enumerate(d.signature.inputs):
            if p.kind == "tensor":
                own = tuple(1 if not alike and i != tensors[0] and d.rng.random() < 0.2 and n else n for n in shape)
                x = d.array(own, dtype, low, high, special)
                away = 1 if x.dtype.kind in "iu" else 0.25
                for kink in kinks:
                    x = np.where(np.abs(x.astype(np.float32) - kink) < 0.05, x.dtype.type(kink + away), x)
                found.append(x)
            elif isinstance(values[p.name], list):
                found.append(d.choice(values[p.name]))
            else:
                found.append(d.scalar("f32", *values[p.name]))
        return found

    return draw


one_shape = partial(reals, alike=True)


def backward(function: Callable[..., Any]) -> Callable[..., Any]:
    """(dy, x, ...) -> the gradient of function(x, ...), at the shape that dy and x broadcast to."""
    def call(dy: Any, x: Any, *rest: Any) -> Any:
        dy, x = torch.broadcast_tensors(dy, x)
        x = x.clone().requires_grad_()
        function(x, *rest).backward(dy)
        return x.grad

    return call


def gelu_tanh(x: Any) -> Any:
    return functional.gelu(x, approximate="tanh")


def elu(x: Any, alpha: float, scale: float, slope: float) -> Any:
    return torch.ops.aten.elu(x, alpha, scale, slope)


def elu_backward(dy: Any, alpha: float, scale: float, slope: float, is_result: bool, x: Any) -> Any:
    return torch.ops.aten.elu_backward(dy, alpha, scale, slope, is_result, x)


def through_float(function: Callable[..., Any]) -> Callable[..., Any]:
    """Integers: computed in float32 and cut off."""
    return lambda *xs: function(*(x.float() for x in xs)).to(xs[0].dtype)


def shrink(x: Any, bound: float, bias: float) -> Any:
    return torch.where(x > bound, x - bias, torch.where(x < -bound, x + bias, torch.where(x.isnan(), x, 0.0)))


def halves(d: Draw) -> list[Any]:
    dtype = d.dtype(THREE)
    shape = (*d.shape(1, 3), 2 * d.integer(1, 4))
    last = d.choice(["none", "tanh", None]) if "Gelu" in d.name else d.array((1,), dtype)
    return [d.array(shape, dtype), last]


def situ_inputs(d: Draw) -> list[Any]:
    shape = list(d.shape(1, 4))
    dim, dtype = d.axis(len(shape)), d.dtype(THREE)
    half = list(shape)
    shape[dim] *= 2
    x = [d.array(tuple(shape), dtype), dim, float(d.rng.uniform(0.5, 3)), d.choice([0.0, 1.5]), d.flag()]
    return [d.array(tuple(half), dtype), *x] if "Grad" in d.name else x


def situ(x: Any, dim: int, beta: float, linear: float, left: bool) -> Any:
    gate, up = x.chunk(2, dim) if left else x.chunk(2, dim)[::-1]
    return beta * torch.tanh(gate / beta) * torch.sigmoid(gate) * (linear * torch.tanh(up / linear) if linear else up)


def situ_grad(dy: Any, x: Any, *rest: Any) -> Any:
    x = x.clone().requires_grad_()
    situ(x, *rest).backward(dy)
    return x.grad


def prelu_inputs(d: Draw) -> list[Any]:
    shape, dtype = d.shape(1, 4), d.dtype(THREE)
    weight = d.array((shape[1] if len(shape) > 1 and d.flag() else 1,), dtype)
    x = [d.array(shape, dtype), weight]
    return [d.array(shape, dtype), *x] if "Backward" in d.name else x


def prelu_grad(dy: Any, x: Any, weight: Any) -> Any:
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    functional.prelu(x, weight).backward(dy)
    return x.grad, weight.grad


def mask_inputs(d: Draw) -> list[Any]:
    shape = d.shape()
    return [d.array(shape, d.dtype("f32 f16 bf16 s32 s8 u8")), d.array(shape, np.uint8, 0, 1), np.int32(0)]


def owned(d: Draw) -> list[Any]:
    """Threshold: scalars of the tensor's own type."""
    dtype = d.dtype("f32 f16 bf16 s32 s8 u8 s16 s64")
    return [d.array(d.shape(empty=True), dtype, -4, 4, True), d.scalar(dtype), d.scalar(dtype)]


def bounds(d: Draw) -> list[Any]:
    dtype = d.dtype("f32 f16 bf16 f64 s32 s8 u8 s16 s64")
    return [d.array(d.shape(empty=True), dtype, -4, 4, True), d.scalar("f32" if d.flag() else "s32", -3, 0),
            d.scalar("s32", 0, 3)]


def hardtanh(x: Any, low: float, high: float) -> Any:
    return x.clamp(low, high) if x.is_floating_point() else x.double().clamp(int(low), int(high)).to(x.dtype) \
        if x.dtype != torch.uint8 else x.double().clamp(max(int(low), 0), int(high)).to(x.dtype)


def fast_gelu(x: Any) -> Any:
    return x * torch.sigmoid(1.702 * x)


def swish(x: Any, beta: Any) -> Any:
    return x * torch.sigmoid(x * (1 if beta is None else beta))


def logit_grad(x: Any, dy: Any, eps: float) -> Any:
    return torch.ops.aten.logit_backward(dy, x, eps if eps >= 0 else None)


SLOPE: Any = {"negativeSlope": (0, 1), "selfIsResult": [False, True]}
ELU: Any = {"alpha": (0, 2), "scale": (0.5, 2), "inputScale": (0.5, 2)}
BOUND: Any = {"lambd": (0, 2), "lambda": (0, 2)}
SOFTPLUS: Any = {"beta": (0.5, 2), "threshold": (1, 8)}
one, two = reals(), one_shape(special=False)

ORACLES = {
    "torch gelu, tanh": Oracle(gelu_tanh, reals(special=False), atol=1e-5),
    "torch.nn.functional.gelu": Oracle(lambda x, mode: functional.gelu(x, approximate=("none", "tanh")[mode]),
                                       reals(special=False, approximate=[0, 1]), atol=1e-5),
    "torch gelu, tanh, backward": Oracle(backward(gelu_tanh), reals(special=False), atol=1e-5),
    "torch gelu, backward": Oracle(backward(lambda x, mode: functional.gelu(x, approximate=mode)),
                                   reals(special=False, approximate=["none", "tanh"]), atol=1e-5),
    "GeluMul": Oracle(lambda x, mode: functional.gelu(x.chunk(2, -1)[0], approximate=mode or "none")
                      * x.chunk(2, -1)[1], halves, atol=1e-5),
    "FatreluMul": Oracle(lambda x, bound: torch.where(x.chunk(2, -1)[0] < bound, 0.0, x.chunk(2, -1)[0])
                         * x.chunk(2, -1)[1], halves),
    "SituGlu": Oracle(situ, situ_inputs, atol=1e-5), "SituGluGrad": Oracle(situ_grad, situ_inputs, atol=1e-5),
    "torch.nn.functional.mish": Oracle(functional.mish, reals(special=False), atol=1e-5),
    "torch mish, backward": Oracle(backward(functional.mish), two, atol=1e-5),
    "torch silu, backward": Oracle(backward(functional.silu), two, atol=1e-5),
    "torch.nn.functional.selu": Oracle(through_float(functional.selu), reals(names="f32 f16 bf16 s32 s8"), atol=1e-5),
    "torch selu, backward": Oracle(
        lambda dy, y: torch.ops.aten.elu_backward(dy.float(), 1.6732632423543772, 1.0507009873554805, 1, True,
                                                  y.float()).to(dy.dtype),
        one_shape(-1.5, 4, False, names="f32 f16 bf16 s32 s8", kinks=(0,)), atol=1e-5),
    "torch.nn.functional.hardsigmoid": Oracle(through_float(functional.hardsigmoid),
                                              reals(-6, 6, False, names="f32 f16 bf16 s32"), atol=1e-6),
    "torch hardsigmoid, backward": Oracle(backward(functional.hardsigmoid), one_shape(-5, 5, False, kinks=(-3, 3))),
    "torch.nn.functional.hardswish": Oracle(functional.hardswish, reals(-6, 6, False), atol=1e-5),
    "torch hardswish, backward": Oracle(backward(functional.hardswish), one_shape(-5, 5, False, kinks=(-3, 3)),
                                        atol=1e-5),
    "torch.nn.functional.hardtanh": Oracle(hardtanh, bounds),
    "torch hardtanh, backward": Oracle(
        backward(functional.hardtanh), one_shape(special=False, kinks=(-1, 1.5), min=[np.float32(-1)],
                                                 max=[np.float32(1.5)])),
    "torch.nn.functional.logsigmoid": Oracle(functional.logsigmoid, one, atol=1e-5),
    "LogSigmoidForward": Oracle(lambda x: (functional.logsigmoid(x), None), one, atol=1e-5),
    "torch logsigmoid, backward": Oracle(lambda dy, x, buffer: backward(functional.logsigmoid)(dy, x), two, atol=1e-5),
    "torch.nn.functional.softsign": Oracle(functional.softsign, reals(special=False)),
    "torch softsign, backward": Oracle(backward(functional.softsign), two),
    "torch relu, squared": Oracle(lambda x: functional.relu(x).square(), one),
    "torch x sigmoid(1.702 x)": Oracle(fast_gelu, reals(special=False), atol=1e-5),
    "torch x sigmoid(1.702 x), backward": Oracle(backward(fast_gelu), two, atol=1e-5),
    "torch x sigmoid(beta x)": Oracle(swish, reals(special=False, betaOptional=[None, np.float32(0.5)]), atol=1e-5),
    "torch x sigmoid(beta x), backward": Oracle(
        backward(swish), one_shape(special=False, betaOptional=[None, np.float32(0.5)]), atol=1e-5),
    "torch elu": Oracle(elu, reals(**ELU), atol=1e-5),
    "torch elu, backward": Oracle(elu_backward, one_shape(special=False, kinks=(0,), isResult=[False, True], **ELU),
                                  atol=1e-5),
    "torch.nn.functional.celu": Oracle(functional.celu, reals(special=False, alpha=(0.5, 2)), atol=1e-5),
    "torch.nn.functional.leaky_relu": Oracle(functional.leaky_relu,
                                             reals(special=False, negativeSlope=(0, 1))),
    "FusedBiasLeakyRelu": Oracle(lambda x, bias, slope, scale: functional.leaky_relu(x + bias, slope) * scale,
                                 one_shape(special=False, names="f32 f16", negativeSlope=[0.2], scale=[1.5])),
    "torch leaky_relu, backward": Oracle(backward(lambda x, slope, is_result: functional.leaky_relu(x, slope)),
                                         reals(special=False, kinks=(0,), **SLOPE)),
    "torch.nn.functional.softplus": Oracle(functional.softplus, reals(**SOFTPLUS), atol=1e-5),
    "torch softplus, backward": Oracle(backward(functional.softplus), reals(special=False, **SOFTPLUS), atol=1e-5),
    "torch.nn.functional.hardshrink": Oracle(functional.hardshrink, reals(lambd=(0, 2))),
    "torch.nn.functional.softshrink": Oracle(functional.softshrink, reals(lambd=(0, 2))),
    "torch hardshrink, backward": Oracle(
        lambda dy, x, bound: torch.where(x.abs() <= bound, 0.0, dy),
        reals(special=False, **BOUND)),
    "torch.where of a comparison": Oracle(shrink, reals(names="f32 f16", lambd=(0, 2), bias=(-2, 2))),
    "torch.nn.functional.threshold": Oracle(functional.threshold, owned),
    "torch threshold, backward": Oracle(
        lambda dy, x, bound: torch.where(x <= bound, torch.zeros((), dtype=dy.dtype), dy),
        reals(special=False, names="f32 f16 bf16 s32 s8 u8 s64", threshold=(-1, 1))),
    "ReluGradV4": Oracle(lambda dy, mask, bound: torch.where(mask != 0, dy, torch.zeros((), dtype=dy.dtype)),
                         mask_inputs),
    "torch.logit": Oracle(lambda x, eps: torch.logit(x, eps if eps >= 0 else None),
                          reals(0.01, 0.99, False, eps=[-1.0, 0.25]), atol=1e-5),
    "torch logit, backward": Oracle(logit_grad, one_shape(0.05, 0.95, False, eps=[-1.0, 0.25], kinks=(0.25, 0.75)),
                                    atol=1e-5),
    "torch.relu of torch.add": Oracle(
        lambda x, y, alpha: torch.relu(x + y * alpha),
        elementwise(names="f32 f16 bf16 s32 s64 s16 s8", special=False, mixed=False, scalar="s32")),
    "torch sigmoid, backward": Oracle(torch.ops.aten.sigmoid_backward,
                                      one_shape(0, 1, False, names="f32 f16 bf16 f64 c64"), atol=1e-5),
    "torch tanh, backward": Oracle(torch.ops.aten.tanh_backward, reals(-1, 1, False, names="f32 f16 bf16 f64"),
                                   atol=1e-5),
    "torch sqrt, backward": Oracle(lambda y, dy: backward(torch.sqrt)(dy, y * y), one_shape(0.5, 4, False)),
    "torch asinh, backward": Oracle(lambda y, dy: backward(torch.asinh)(dy, torch.sinh(y)),
                                    one_shape(-2, 2, False), atol=1e-5),
    "torch atan, backward": Oracle(lambda x, dy: backward(torch.atan)(dy, x), two),
    "torch acos, backward": Oracle(backward(torch.acos), one_shape(-0.9, 0.9, False), atol=1e-5),
    "torch.nn.functional.prelu": Oracle(functional.prelu, prelu_inputs),
    "torch prelu, backward": Oracle(prelu_grad, prelu_inputs, atol=1e-5),
}
