"""Parts of transformer blocks: RmsNorm and its fusions, rotary embeddings, gated linear units."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from pyacl.emulator.ops.types import BF16, F16, F32

from ..oracle import Draw, Oracle, torch

functional = torch.nn.functional


def grad(function: Callable[..., Any]) -> Callable[..., Any]:
    """(dy, leaves) -> the leaves' gradients, by autograd."""
    def call(dy: Any, *leaves: Any) -> Any:
        leaves = tuple(x.clone().requires_grad_() for x in leaves)
        function(*leaves).backward(dy)
        return tuple(x.grad for x in leaves)

    return call


# ---- normalisation

def norm(x: Any, gamma: Any, epsilon: float) -> Any:
    axes = tuple(range(-gamma.ndim, 0))
    rstd = torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon)
    return functional.rms_norm(x, list(gamma.shape), gamma, epsilon), rstd


def fused(order: str) -> Callable[..., Any]:
    """The norm of a sum, its outputs in the given order: y, rstd, the sum."""
    def call(x1: Any, x2: Any, gamma: Any, epsilon: float) -> Any:
        y, rstd = norm(x1 + x2, gamma, epsilon)
        found = {"y": y, "r": rstd, "x": x1 + x2}
        return tuple(found[c] for c in order)

    return call


def rms_inputs(d: Draw, tensors: int, types: Any = (F32, F16, BF16)) -> list[Any]:
    """Quarters, so that sums are exact in every type: the device rounds them before it normalises."""
    dtype = d.choice(types)
    shape = d.shape(1, 3)
    k = d.integer(1, len(shape))
    values = [d.array(shape, np.int32, -16, 16).astype(np.float32) / 4 for _ in range(tensors)]
    return [*(v.astype(dtype) for v in values), d.array(shape[-k:], dtype, 0.5, 2), 1e-3]


def rms_grad_inputs(d: Draw) -> list[Any]:
    dtype = d.choice([F32, F16, BF16])
    shape = d.shape(2, 3)
    k = d.integer(1, len(shape) - 1)
    x = d.array(shape, dtype)
    axes = tuple(range(len(shape) - k, len(shape)))
    rstd = 1 / np.sqrt(np.square(x.astype(np.float32)).mean(axis=axes, keepdims=True) + 1e-3)
    return [d.array(shape, dtype), x, rstd.astype(np.float32), d.array(shape[-k:], F32, 0.5, 2)]


def rms_grad(dy: Any, x: Any, rstd: Any, gamma: Any) -> Any:
    return grad(lambda x, g: functional.rms_norm(x, list(g.shape), g, 1e-3))(dy, x, gamma)


def layer_inputs(d: Draw) -> list[Any]:
    dtype = d.choice([F32, F16, BF16])
    shape = d.shape(2, 3)
    bias = None if d.flag() else d.array(shape[-1:] if d.flag() else shape, dtype)
    return [d.array(shape, dtype), d.array(shape, dtype), d.array(shape[-1:], dtype, 0.5, 2),
            d.array(shape[-1:], dtype), bias, 1e-3, True]


def layer(x1: Any, x2: Any, gamma: Any, beta: Any, bias: Any, epsilon: float, give: bool) -> Any:
    x = x1 + x2 + (0 if bias is None else bias)
    mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return functional.layer_norm(x, list(gamma.shape), gamma, beta, epsilon), mean, torch.rsqrt(var + epsilon), x


def deep_inputs(d: Draw) -> list[Any]:
    dtype = d.choice([F32, F16, BF16])
    shape = d.shape(2, 3)
    return [d.array(shape, dtype), d.array(shape, dtype), d.array(shape[-1:], dtype),
            d.array(shape[-1:], dtype, 0.5, 2), 0.3, 1e-3]


def deep(x: Any, gx: Any, beta: Any, gamma: Any, alpha: float, epsilon: float) -> Any:
    y, mean, rstd, _ = layer(x * alpha, gx, gamma, beta, None, epsilon, True)
    return mean, rstd, y


# ---- rotary

def rotated(x: Any, mode: int) -> Any:
    """By complex multiplication's imaginary unit, pair by pair."""
    out = torch.empty_like(x)
    n = x.shape[-1]
    pairs = {0: [(i, i + n // 2) for i in range(n // 2)], 1: [(2 * i, 2 * i + 1) for i in range(n // 2)],
             2: [(i + h * n // 2, i + h * n // 2 + n // 4) for h in range(2) for i in range(n // 4)]}[mode]
    for a, b in pairs:
        out[..., a], out[..., b] = -x[..., b], x[..., a]
    return out


def rope(x: Any, cos: Any, sin: Any, mode: int) -> Any:
    if mode == 3:
        x, mode = torch.cat((x[..., ::2], x[..., 1::2]), -1), 0
    return x * cos + rotated(x, mode) * sin


def rope_inputs(d: Draw) -> list[Any]:
    dtype = d.choice([F32, F16, BF16])
    b, s, n, width = d.integer(1, 2), d.integer(1, 3), d.integer(1, 3), 4 * d.integer(1, 3)
    small = (1, s, 1, width)
    return [d.array((b, s, n, width), dtype), *(d.array(small, dtype, -1, 1) for _ in range(2)), d.integer(0, 3)]


def rope_grad_inputs(d: Draw) -> list[Any]:
    x, cos, sin, mode = rope_inputs(d)
    return [d.array(x.shape, x.dtype), cos, sin, x, mode]


def rope_grad(dy: Any, cos: Any, sin: Any, x: Any, mode: int) -> Any:
    return grad(lambda x, c, s: rope(x, c, s, mode))(dy, x, cos, sin)


def apply_inputs(d: Draw) -> list[Any]:
    dtype = d.choice([F32, F16, BF16])
    b, s, width = d.integer(1, 2), d.integer(1, 3), 128
    small = (b, s, 1, width)
    values = [d.array((b, s, n, width), dtype) for n in (d.integer(1, 3), 1)]
    values += [d.array(small, dtype, -1, 1), d.array(small, dtype, -1, 1), 1]
    return [*values, d.choice(["half", "interleave", "quarter"])] if "V2" in d.name else values


def apply(q: Any, k: Any, cos: Any, sin: Any, layout: int, mode: str = "half") -> Any:
    number = ["half", "interleave", "quarter"].index(mode)
    return rope(q, cos, sin, number), rope(k, cos, sin, number)


def interleave_inputs(d: Draw) -> list[Any]:
    dtype = d.choice([F16, BF16])
    b, n = d.integer(1, 2), d.integer(1, 3)
    return [d.array((b, n, 1, 64), dtype), *(d.array((b, 1, 1, 64), dtype, -1, 1) for _ in range(2))]


def cache_inputs(d: Draw) -> list[Any]:
    dtype = d.choice([F32, F16, BF16])
    tokens, size = d.integer(1, 4), 8
    width = d.choice([4, 8])
    return [d.array((tokens,), np.int64, 0, 5), d.array((tokens, 2 * size), dtype), d.array((tokens, size), dtype),
            d.array((6, width), dtype, -1, 1), None, size, d.flag()]


def cached(positions: Any, q: Any, k: Any, cache: Any, sections: Any, size: int, neox: bool) -> Any:
    cos, sin = cache[positions].chunk(2, -1)
    join = (lambda c: torch.cat((c, c), -1)) if neox else (lambda c: c.repeat_interleave(2, -1))
    cos, sin = join(cos)[:, None], join(sin)[:, None]

    def turn(x: Any) -> Any:
        heads = x.reshape(x.shape[0], -1, size).clone()
        width = cos.shape[-1]
        heads[..., :width] = rope(heads[..., :width], cos, sin, 0 if neox else 1)
        return heads.reshape(x.shape)

    return turn(q), turn(k)


# ---- gated units

def split(d: Draw, extra: int = 0) -> tuple[Any, tuple[int, ...], int, Any]:
    dtype = d.choice([F32, F16, BF16])
    shape = list(d.shape(1, 3))
    dim = d.axis(len(shape))
    half = tuple(shape)
    shape[dim] *= 2
    return d.array(tuple(shape), dtype), half, dim, dtype


def unit_inputs(*numbers: Any) -> Callable[[Draw], list[Any]]:
    def draw(d: Draw) -> list[Any]:
        x, _, dim, _ = split(d)
        return [x, dim, *(d.integer(0, 1) if n == "approximate" else d.flag() for n in numbers)]

    return draw


def unit_grad_inputs(*numbers: Any) -> Callable[[Draw], list[Any]]:
    def draw(d: Draw) -> list[Any]:
        x, half, dim, dtype = split(d)
        values: list[Any] = [d.integer(0, 1) if n == "approximate" else d.flag() for n in numbers]
        dy = d.array(half, dtype)
        if not numbers:
            return [dy, x, dim]
        active = geglu(torch.from_numpy(x.astype(np.float32)), dim, *values)[1].numpy().astype(dtype)
        return [dy, x, active, dim, *values]

    return draw


def geglu(x: Any, dim: int, approximate: int, left: bool = False) -> Any:
    a, b = x.chunk(2, dim)
    if left:
        a, b = b, a
    active = functional.gelu(b, approximate="tanh" if approximate == 1 else "none")
    return a * active, active


def swiglu(x: Any, dim: int) -> Any:
    a, b = x.chunk(2, dim)
    return functional.silu(a) * b


def geglu_grad(dy: Any, x: Any, active: Any, dim: int, *numbers: Any) -> Any:
    return grad(lambda x: geglu(x, dim, *numbers)[0])(dy, x)


ORACLES = {
    "RmsNorm": Oracle(norm, lambda d: rms_inputs(d, 1)),
    "GemmaRmsNorm": Oracle(lambda x, g, e: norm(x, 1 + g, e), lambda d: rms_inputs(d, 1)),
    "AddRmsNorm": Oracle(fused("yrx"), lambda d: rms_inputs(d, 2)),
    "InplaceAddRmsNorm": Oracle(fused("yxr"), lambda d: rms_inputs(d, 2)),
    # y1 is y2 back in float32, so it has the rounding of y2's type.
    "AddRmsNormCast": Oracle(fused("yyrx"), lambda d: rms_inputs(d, 2, [F16, BF16]), rtol=1e-2, atol=1e-3),
    "RmsNormGrad": Oracle(rms_grad, rms_grad_inputs, rtol=1e-4, atol=1e-5),
    "AddLayerNorm": Oracle(layer, layer_inputs, rtol=1e-4, atol=1e-5),
    "DeepNorm": Oracle(deep, deep_inputs, rtol=1e-4, atol=1e-5),
    "RotaryPositionEmbedding": Oracle(rope, rope_inputs),
    "RotaryPositionEmbeddingGrad": Oracle(rope_grad, rope_grad_inputs, atol=1e-5),
    "ApplyRotaryPosEmb": Oracle(apply, apply_inputs),
    "ApplyRotaryPosEmbV2": Oracle(apply, apply_inputs),
    "InterleaveRope": Oracle(lambda x, c, s: rope(x, c, s, 3), interleave_inputs),
    "RopeWithSinCosCache": Oracle(cached, cache_inputs),
    "Glu": Oracle(functional.glu, unit_inputs()),
    "GluBackward": Oracle(lambda dy, x, dim: grad(lambda x: functional.glu(x, dim))(dy, x), unit_grad_inputs()),
    "SwiGlu": Oracle(swiglu, unit_inputs()),
    "SwiGluGrad": Oracle(lambda dy, x, dim: grad(lambda x: swiglu(x, dim))(dy, x), unit_grad_inputs()),
    "GeGlu": Oracle(geglu, unit_inputs("approximate")),
    "GeGluV3": Oracle(geglu, unit_inputs("approximate", "left")),
    "GeGluBackward": Oracle(geglu_grad, unit_grad_inputs("approximate"), atol=1e-5),
    "GeGluV3Backward": Oracle(geglu_grad, unit_grad_inputs("approximate", "left"), atol=1e-5),
}
