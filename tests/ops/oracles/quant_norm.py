"""Norms with quantisation behind them: PyTorch's norms and their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.types import BF16, F16, F32

from ..oracle import Draw, Oracle, torch
from .quantise import CLOSE, by_row, functional, given, named, quarters, rounded

HALVES = [F16, BF16]


def quantise(y: Any, scale: Any, zero: Any, divide: bool) -> Any:
    y = y / scale if divide else y * scale
    return rounded(y if zero is None else y + zero)


# ---- LayerNorm

def draw_layer(d: Draw) -> list[Any]:
    dtype, shape = d.choice([F32, *HALVES]), (*d.shape(0, 2, 4), d.integer(2, 6))
    one = (1, shape[-1])
    return [quarters(d, shape, dtype), d.array(one, dtype, 0.5, 2), d.array(one, dtype), np.full(1, 0.0625, dtype),
            np.full(1, d.integer(-9, 9), np.int8) if d.flag() else None, 0, 1e-3]


def layer(x: Any, gamma: Any, beta: Any, scale: Any, zero: Any, mode: int, epsilon: float) -> Any:
    y = functional.layer_norm(x, [x.shape[-1]], gamma[0], beta[0], epsilon)
    return quantise(y, scale, zero, True), torch.full(x.shape[:-1], 3.0)


def draw_add(d: Draw) -> list[Any]:
    static, several = d.flag(), d.flag()
    dtype = d.choice([F32, *HALVES] if static else HALVES)
    shape = (*d.shape(1, 2, 4), d.integer(2, 6))
    weights = shape[1:] if several and static else (1, shape[-1]) if d.flag() else shape[-1:]
    values: dict[str, Any] = {}
    first = static or d.flag()
    second = first and d.flag()
    zeros = static and d.flag()
    for i, use in (("1", first), ("2", second)):
        if use:
            values[f"scales{i}Optional"] = d.array(weights, dtype, 4, 9)
            if zeros:
                values[f"zeroPoints{i}Optional"] = d.array(weights, dtype, -9, 9)
    bias = d.choice([None, shape, weights])
    return given(d, x1=quarters(d, shape, dtype), x2=quarters(d, shape, dtype), gamma=d.array(weights, dtype, 0.5, 2),
                 beta=d.array(weights, dtype), biasOptional=None if bias is None else quarters(d, bias, dtype),
                 quantMode="static" if static else "dynamic", epsilon=1e-3, additionalOutput=d.flag(),
                 divMode=d.flag(), **values)


def add(g: dict[str, Any], norm_too: bool) -> Any:
    x = g["x1"] + g["x2"] + (0 if g["biasOptional"] is None else g["biasOptional"])
    gamma, beta = g["gamma"], g["beta"]
    if tuple(gamma.shape) != tuple(x.shape[x.ndim - gamma.ndim:]):
        gamma, beta = gamma[0], beta[0]
    y = functional.layer_norm(x, list(gamma.shape), gamma, beta, g["epsilon"])
    values, scales = [], []
    for i in "12":
        scale, used = g[f"scales{i}Optional"], torch.full(x.shape[:-1], 3.0)
        if i == "2" and scale is None:
            value, used = None, None
        elif g["quantMode"] == "static":
            value, used = quantise(y, scale, g[f"zeroPoints{i}Optional"], g["divMode"]), None
        else:
            value, used = by_row(y if scale is None else y * scale)
        values.append(value)
        scales.append(used)
    return (*values, x if g["additionalOutput"] else None, *((y,) if norm_too else ()), *scales)


def draw_ada(d: Draw) -> list[Any]:
    dtype, lead, h = d.choice(HALVES), d.shape(0, 2, 3), d.integer(2, 6)
    s = d.integer(1, 4)

    def vector() -> Any:
        return d.array((h,), dtype, 0.5, 2) if d.flag() else None

    factor = (*lead, 1, h) if d.flag() else (*lead, h)
    return given(d, x=quarters(d, (*lead, s, h), dtype), scale=d.array(factor, dtype), shift=d.array(factor, dtype),
                 weightOptional=vector(), biasOptional=vector(), smoothScalesOptional=vector(), epsilon=1e-3,
                 quantMode="dynamic")


def ada(g: dict[str, Any]) -> Any:
    x = g["x"]
    y = functional.layer_norm(x, [x.shape[-1]], g["weightOptional"], g["biasOptional"], g["epsilon"])
    scale, shift = (t.reshape(*x.shape[:-2], 1, x.shape[-1]) for t in (g["scale"], g["shift"]))
    y = y * (1 + scale) + shift
    return (*by_row(y if g["smoothScalesOptional"] is None else y * g["smoothScalesOptional"]), None)


# ---- others

def draw_group(d: Draw) -> list[Any]:
    dtype, groups = d.choice(HALVES), d.integer(1, 3)
    c = groups * d.integer(1, 3)
    x = quarters(d, (d.integer(1, 3), c, *d.shape(0, 2, 4), 3), dtype)
    return [x, d.array((c,), dtype, 0.5, 2) if d.flag() else None, d.array((c,), dtype),
            d.array((d.choice([1, c]),), F32, 0.01, 0.1), groups, 1e-3, True]


def group(x: Any, gamma: Any, beta: Any, scale: Any, groups: int, eps: float, active: bool) -> Any:
    y = functional.silu(functional.group_norm(x, groups, gamma, beta, eps))
    if scale.numel() > 1:
        scale = scale.reshape(1, -1, *[1] * (x.ndim - 2))
    parts = x.reshape(x.shape[0], groups, -1)
    return rounded(y / scale), parts.mean(-1), torch.rsqrt(parts.var(-1, unbiased=False) + eps)


def draw_rms(d: Draw) -> list[Any]:
    dtype, shape = d.choice([F32, *HALVES]), (*d.shape(0, 2, 4), d.integer(2, 6))
    last = d.choice([shape[-1:], (1, shape[-1])])
    size = (d.choice([1, shape[-1]]),)
    offset = d.choice([None, d.array(size, dtype, -9, 9)])
    return [quarters(d, shape, dtype), d.array(last, dtype, 0.5, 2), d.array(size, dtype, 3, 9), offset,
            d.array(last, dtype) if d.flag() else None, 1e-3, d.flag(), d.flag()]


def rms(x: Any, gamma: Any, scale: Any, offset: Any, beta: Any, epsilon: float, divide: bool, give: bool) -> Any:
    y = functional.rms_norm(x, [x.shape[-1]], gamma.reshape(-1), epsilon)
    y = y if beta is None else y + beta.reshape(-1)
    return quantise(y, scale, offset, divide), torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) if give else None


def draw_rms_grad(d: Draw) -> list[Any]:
    dtype, shape = d.choice([F32, *HALVES]), (*d.shape(1, 2, 4), d.integer(2, 6))
    keep = d.integer(1, len(shape) - 1)
    x = quarters(d, shape, dtype)
    mean = np.square(x.astype(np.float64)).mean(axis=tuple(range(keep, len(shape))))
    return [quarters(d, shape, dtype), x, (1 / np.sqrt(mean + 1e-3)).astype(F32), d.array(shape[keep:], dtype, 0.5, 2),
            d.array((1,), d.choice([dtype, F32]), 0.1, 5), np.full(1, 4, np.int32) if d.flag() else None, "static",
            d.flag()]


def rms_grad(dy: Any, x: Any, rstd: Any, gamma: Any, scale: Any, zero: Any, mode: str, divide: bool) -> Any:
    x, gamma = x.double().requires_grad_(), gamma.double().requires_grad_()
    functional.rms_norm(x, list(gamma.shape), gamma, 1e-3).backward(dy.double())
    return quantise(x.grad, scale, zero, divide), gamma.grad.float()


def draw_batch(d: Draw) -> list[Any]:
    dtype = np.dtype(d.choice([np.int8, np.uint8, np.int32]))
    c = d.integer(1, 4)

    def vector(low: float, high: float) -> Any:
        return d.array((c,), F32, low, high)

    return [d.array((d.integer(1, 3), c, 2, 3), dtype, 0 if dtype.kind == "u" else -100, 100), vector(-2, 2),
            vector(0.1, 3), np.float32(0.05), np.int32(d.integer(0, 5)), np.float32(0.03), np.int32(d.integer(0, 5)),
            vector(-2, 2) if d.flag() else None, vector(-1, 1) if d.flag() else None, 1e-3]


def batch(x: Any, mean: Any, var: Any, scale: float, zero: int, out_scale: float, out_zero: int, weight: Any,
          bias: Any, epsilon: float) -> Any:
    y = functional.batch_norm((x - zero) * scale, mean, var, weight, bias, eps=epsilon)
    info = torch.iinfo(x.dtype)
    return rounded(y.double() / out_scale + out_zero, info.min, info.max, x.dtype)


ORACLES = {
    "LayerNormQuant": Oracle(layer, draw_layer),
    "AddLayerNormQuant": Oracle(named(lambda g: add(g, False))("AddLayerNormQuant"), draw_add, **CLOSE, cases=12),
    "AddLayerNormQuantV2": Oracle(named(lambda g: add(g, True))("AddLayerNormQuantV2"), draw_add, **CLOSE, cases=12),
    "AdaLayerNormQuant": Oracle(named(ada)("AdaLayerNormQuant"), draw_ada, **CLOSE),
    "GroupNormSiluQuant": Oracle(group, draw_group, **CLOSE), "RmsNormQuantV3": Oracle(rms, draw_rms, cases=10),
    "RmsNormGradQuant": Oracle(rms_grad, draw_rms_grad, **CLOSE, cases=10),
    "QuantizedBatchNorm": Oracle(batch, draw_batch),
}
