"""Normalisations, by PyTorch's functions and its autograd."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from pyacl.emulator.ops.types import BF16, F16, F32

from ..oracle import Draw, Oracle, torch
from .transformer import grad

functional = torch.nn.functional


def kind(d: Draw) -> Any:
    return d.choice([F32, F32, F16, BF16])




def layer_inputs(d: Draw) -> list[Any]:
    dtype, shape = kind(d), d.shape(1, 4)
    normal = shape[-d.integer(1, len(shape)):]
    weight, bias = (None if d.rng.random() < 0.3 else d.array(normal, dtype) for _ in range(2))
    found = [d.array(shape, dtype), normal, weight, bias, 1e-3]
    return [*found, 0] if "Mode" in d.name else found


def layer(x: Any, shape: Any, weight: Any, bias: Any, eps: float, mode: int = 0) -> Any:
    return torch.native_layer_norm(x, shape, weight, bias, eps)


def layer_statistics(x: Any, axes: tuple[int, ...], eps: float = 1e-3) -> Any:
    x = x.astype(np.float32)
    return x.mean(axes, keepdims=True), (1 / np.sqrt(x.var(axes, keepdims=True) + eps)).astype(np.float32)


def layer_back_inputs(d: Draw) -> list[Any]:
    shape = d.shape(1, 4)
    k = d.integer(1, len(shape))
    x = d.array(shape, F32)
    weight = None if d.flag() else d.array(shape[-k:], F32)
    return [d.array(shape, F32), x, shape[-k:], *layer_statistics(x, tuple(range(-k, 0))), weight,
            d.array(shape[-k:], F32), (True, d.flag(), d.flag())]


def layer_back(dy: Any, x: Any, shape: Any, mean: Any, rstd: Any, weight: Any, bias: Any, mask: Any) -> Any:
    weight = torch.ones(shape) if weight is None else weight
    found = grad(lambda x, w, b: functional.layer_norm(x, shape, w, b, 1e-3))(dy, x, weight, bias)
    return tuple(f if m else None for f, m in zip(found, mask))


def added_inputs(d: Draw) -> list[Any]:
    shape = d.shape(2, 3)
    x1, x2 = d.array(shape, F32), d.array(shape, F32)
    mean, rstd = layer_statistics(x1 + x2, (-1,))
    return [d.array(shape, F32), x1, x2, rstd, mean, d.array(shape[-1:], F32),
            d.array(shape, F32) if d.flag() else None]


def added_back(dy: Any, x1: Any, x2: Any, rstd: Any, mean: Any, gamma: Any, extra: Any) -> Any:
    dx, dg, db = grad(lambda x, g, b: functional.layer_norm(x, g.shape, g, b, 1e-3))(
        dy, x1 + x2, gamma, torch.zeros_like(gamma))
    return dx if extra is None else dx + extra, dg, db


def deep_inputs(d: Draw) -> list[Any]:
    shape = d.shape(2, 3)
    x, gx = d.array(shape, F32), d.array(shape, F32)
    mean, rstd = layer_statistics(x * np.float32(0.3) + gx, (-1,))
    return [d.array(shape, F32), x, gx, d.array(shape[-1:], F32), mean, rstd, 0.3]


def deep_back(dy: Any, x: Any, gx: Any, gamma: Any, mean: Any, rstd: Any, alpha: float) -> Any:
    dx, dgx, dg, db = grad(lambda x, gx, g, b: functional.layer_norm(x * alpha + gx, g.shape, g, b, 1e-3))(
        dy, x, gx, gamma, torch.zeros_like(gamma))
    return dx, dgx, db, dg


def ada_inputs(d: Draw) -> list[Any]:
    dtype, shape = kind(d), d.shape(2, 4)
    small = (*shape[:-2], *((1,) if d.flag() else ()), shape[-1])
    return [d.array(shape, dtype), d.array(small, dtype, -1, 1), d.array(small, dtype, -1, 1),
            *(d.array(shape[-1:], dtype) if d.flag() else None for _ in range(2)), 1e-3]


def ada(x: Any, scale: Any, shift: Any, weight: Any, bias: Any, eps: float) -> Any:
    y, mean, rstd = torch.native_layer_norm(x, x.shape[-1:], weight, bias, eps)
    scale, shift = (t if t.ndim == x.ndim else t.unsqueeze(-2) for t in (scale, shift))
    return y * (1 + scale) + shift, mean, rstd


def ada_back_inputs(d: Draw) -> list[Any]:
    shape = d.shape(2, 4)
    x = d.array(shape, F32)
    small = (*shape[:-2], *((1,) if d.flag() else ()), shape[-1])
    mean, rstd = layer_statistics(x, (-1,))
    return [d.array(shape, F32), x, shape[-1:], rstd, mean, d.array(small, F32, -1, 1), d.array(small, F32, -1, 1),
            *(d.array(shape[-1:], F32) if d.flag() else None for _ in range(2))]


def ada_back(dy: Any, x: Any, shape: Any, rstd: Any, mean: Any, scale: Any, shift: Any, weight: Any, bias: Any) -> Any:
    weight = torch.ones(shape) if weight is None else weight
    bias = torch.zeros(shape) if bias is None else bias
    return grad(lambda x, a, b, w, c: ada(x, a, b, w, c, 1e-3)[0])(dy, x, scale, shift, weight, bias)


def modulated_inputs(d: Draw) -> list[Any]:
    """For the gradient: two dimensions, and what the page says, grad_output times scale."""
    back = "Backward" in d.name
    dtype, (b, n, m) = F32 if back else kind(d), (d.integer(1, 3) for _ in range(3))
    small = (b, m) if back or d.flag() else (b, 1, m)
    found = [d.array((b, n, m), dtype), *(d.array(small, dtype, -1, 1) if d.flag() else None for _ in range(2))]
    return [d.array((b, n, m), dtype), *found] if back else found


def modulated(x: Any, scale: Any, shift: Any) -> Any:
    scale, shift = (torch.zeros(1) if t is None else t.reshape(t.shape[0], 1, -1) for t in (scale, shift))
    return x * (1 + scale) + shift


def modulated_back(dy: Any, x: Any, scale: Any, shift: Any) -> Any:
    return (dy if scale is None else torch.einsum("bnm,bm->bnm", dy, scale),
            None if scale is None else torch.einsum("bnm,bnm->bm", dy, x), None if shift is None else dy.sum(1))


# ---- batches

def image(d: Draw) -> tuple[int, ...]:
    return (d.integer(2, 4), d.integer(1, 4), *d.shape(0, 3))


def vectors(d: Draw, n: int, count: int, low: float = 0.5, high: float = 2) -> list[Any]:
    return [d.array((n,), F32, low, high) for _ in range(count)]


def batch_inputs(d: Draw) -> list[Any]:
    shape, training = image(d), d.flag()
    weight, bias, mean, var = vectors(d, shape[1], 4)
    if training and d.flag():
        mean = var = None
    return [d.array(shape, kind(d)), weight if d.flag() else None, bias if d.flag() else None, mean, var, training, 0.3,
            1e-3]


def batch(x: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float) -> Any:
    mean, var = (None if t is None else t.clone() for t in (mean, var))
    y, save_mean, _ = torch.native_batch_norm(x.contiguous(), weight, bias, mean, var, training, momentum, eps)
    return (mean, var, y, *((save_mean, x.var(axes(x), unbiased=False)) if training else (None, None)))


def batch_back_inputs(d: Draw) -> list[Any]:
    shape, training = image(d), d.flag()
    x = d.array(shape, F32)
    weight, mean, var = vectors(d, shape[1], 3)
    axes = (0, *range(2, len(shape)))
    saved = [x.mean(axes), x.var(axes)]
    found = [d.array(shape, F32), x, weight if d.flag() else None, mean, var, *(saved if training else (None, None)),
             training, 1e-3, (True, d.flag(), d.flag())]
    return [*found, 0] if "Fast" in d.name else found


def batch_back(dy: Any, x: Any, weight: Any, mean: Any, var: Any, m: Any, r: Any, training: bool, eps: float,
               mask: Any, *_: Any) -> Any:
    weight = torch.ones(x.shape[1]) if weight is None else weight
    found = grad(lambda x, w, b: functional.batch_norm(x, mean.clone(), var.clone(), w, b, training, 0.1, eps))(
        dy, x, weight, torch.zeros_like(weight))
    return tuple(f if m else None for f, m in zip(found, mask))


def axes(x: Any) -> Any:
    return (0, *range(2, x.ndim))


def stats(x: Any, eps: float) -> Any:
    return x.mean(axes(x)), torch.rsqrt(x.var(axes(x), unbiased=False) + eps)


def wide(t: Any, x: Any) -> Any:
    return t.reshape(-1, *(1,) * (x.ndim - 2))


def elemt_inputs(d: Draw) -> list[Any]:
    shape = image(d)
    return [d.array(shape, kind(d)), *vectors(d, shape[1], 4), 1e-3]


def elemt(x: Any, weight: Any, bias: Any, mean: Any, rstd: Any, eps: float) -> Any:
    return (x - wide(mean, x)) * wide(rstd * weight, x) + wide(bias, x)


def elemt_back_inputs(d: Draw) -> list[Any]:
    shape = image(d)
    x = d.array(shape, F32)
    return [d.array(shape, F32), x, *(t.reshape(-1) for t in layer_statistics(x, (0, *range(2, len(shape))))),
            *vectors(d, shape[1], 1), *([None] * 2), np.array([x.size // shape[1]], np.int32)]


def with_sums(draw: Callable[[Draw], list[Any]]) -> Callable[[Draw], list[Any]]:
    def call(d: Draw) -> list[Any]:
        found = draw(d)
        dy, x, mean = found[:3]
        over = (0, *range(2, x.ndim))
        found[5] = dy.sum(over)
        found[6] = (dy * (x - mean.reshape(-1, *(1,) * (x.ndim - 2)))).sum(over)
        return found

    return call


def elemt_back(dy: Any, x: Any, mean: Any, rstd: Any, weight: Any, *_: Any) -> Any:
    x = x.clone().requires_grad_()
    functional.batch_norm(x, None, None, weight, None, True, 0.1, 1e-3).backward(dy)
    return x.grad


def reduce_back_inputs(d: Draw) -> list[Any]:
    shape = image(d)
    return [d.array(shape, F32), d.array(shape, F32), *vectors(d, shape[1], 3), d.flag(), d.flag(), d.flag()]


def reduce_back(dy: Any, x: Any, mean: Any, rstd: Any, weight: Any, for_x: bool, for_w: bool, for_b: bool) -> Any:
    sums, products = dy.sum(axes(x)), (dy * (x - wide(mean, x))).sum(axes(x))
    return (sums if for_x else None, products if for_x else None, products * rstd if for_w else None,
            sums if for_b else None)


def parts(d: Draw) -> tuple[list[Any], int]:
    channels = d.integer(1, 3)
    return [d.array((d.integer(1, 4), channels, 3), F32) for _ in range(d.integer(1, 3))], channels


def gather_inputs(d: Draw) -> list[Any]:
    """Statistics of several parts; what is expected are those of all of them together."""
    found, channels = parts(d)
    mean, rstd = (np.stack([layer_statistics(p, (0, 2))[i].reshape(-1) for p in found]) for i in range(2))
    counts = np.array([p.shape[0] * 3 for p in found], np.float32)
    return [np.concatenate(found), mean, rstd, *vectors(d, channels, 2), 0.3, 1e-3, counts]


def gathered(x: Any, momentum: float, eps: float, old_mean: Any, old_var: Any) -> Any:
    mean, var = x.mean((0, 2)), x.var((0, 2))
    rstd = torch.rsqrt(x.var((0, 2), unbiased=False) + eps)
    return (old_mean * (1 - momentum) + mean * momentum, old_var * (1 - momentum) + var * momentum, mean, rstd)


def gather(x: Any, mean: Any, rstd: Any, old_mean: Any, old_var: Any, momentum: float, eps: float, counts: Any) -> Any:
    return gathered(x, momentum, eps, old_mean, old_var)


def sync_inputs(d: Draw) -> list[Any]:
    """Few numbers: quarters, so that the sums are exact."""
    channels, devices = d.integer(1, 3), d.integer(1, 3)
    x = d.array((devices, 4, channels), np.int32, -8, 8).astype(np.float32) / 4
    counts = np.full((devices,), 4, np.int32)
    return [x.sum(1), np.square(x).sum(1), counts, *vectors(d, channels, 2), 0.25, 0.5]


def sync(sums: Any, squares: Any, counts: Any, old_mean: Any, old_var: Any, momentum: float, eps: float) -> Any:
    n = counts.sum().double()
    mean = sums.double().sum(0) / n
    var = squares.double().sum(0) / n - mean * mean
    return ((old_mean * (1 - momentum) + mean * momentum).float(),
            (old_var * (1 - momentum) + var * n / (n - 1) * momentum).float(), mean.float(),
            torch.rsqrt(var + eps).float())


# ---- groups

def group_inputs(d: Draw) -> list[Any]:
    dtype, groups = kind(d), d.integer(1, 3)
    shape = (d.integer(1, 3), groups * d.integer(1, 3), *d.shape(0, 2), 2)
    x, gamma, beta = d.array(shape, dtype), d.array((shape[1],), dtype), d.array((shape[1],), dtype)
    if d.name == "aclnnGroupNorm":
        return [x, gamma, beta, *shape[:2], x.size // (shape[0] * shape[1]), groups, 1e-3]
    if "Swish" in d.name:
        return [x, gamma, beta, groups, "NCHW", 1e-3, d.flag(), 1.5]
    return [x, gamma, beta, groups, 1e-3, *([d.flag()] if "V2" in d.name else [])]


def group_norm(x: Any, gamma: Any, beta: Any, n: int, c: int, hw: int, groups: int, eps: float) -> Any:
    return torch.native_group_norm(x.contiguous(), gamma, beta, n, c, hw, groups, eps)


def swish(x: Any, gamma: Any, beta: Any, groups: int, eps: float, active: bool = True, scale: float = 1) -> Any:
    y, mean, rstd = torch.native_group_norm(x.contiguous(), gamma, beta, x.shape[0], x.shape[1],
                                            x[0, 0].numel(), groups, eps)
    return y * torch.sigmoid(y * scale) if active else y, mean, rstd


def group_back_inputs(d: Draw) -> list[Any]:
    groups = d.integer(1, 3)
    n, c, hw = d.integer(1, 3), groups * d.integer(1, 3), d.integer(2, 5)
    x = d.array((n, c, hw), F32)
    mean, rstd = (t.reshape(n, groups) for t in layer_statistics(x.reshape(n, groups, -1), (2,)))
    dy, gamma, beta = d.array(x.shape, F32), d.array((c,), F32), d.array((c,), F32)
    if "Swish" in d.name:
        return [dy, mean, rstd, x, gamma, beta, groups, "NCHW", 1.5, d.flag(), d.flag()]
    return [dy, x, mean, rstd, gamma, n, c, hw, groups, (True, d.flag(), d.flag())]


def group_back(dy: Any, x: Any, mean: Any, rstd: Any, gamma: Any, n: int, c: int, hw: int, groups: int,
               mask: Any) -> Any:
    found = grad(lambda x, g, b: functional.group_norm(x, groups, g, b, 1e-3))(dy, x, gamma, torch.zeros_like(gamma))
    return tuple(f if m else None for f, m in zip(found, mask))


def swish_back(dy: Any, mean: Any, rstd: Any, x: Any, gamma: Any, beta: Any, groups: int, layout: str, scale: float,
               for_gamma: bool, for_beta: bool) -> Any:
    dx, dg, db = grad(lambda x, g, b: swish(x, g, b, groups, 1e-3, True, scale)[0])(dy, x, gamma, beta)
    blank = torch.full_like(dg, 3)
    return dx, dg if for_gamma else blank, db if for_beta else blank


def instance_inputs(d: Draw) -> list[Any]:
    shape, layout = (d.integer(1, 3), d.integer(1, 3), d.integer(2, 4), d.integer(2, 4)), d.choice(["NCHW", "NHWC"])
    dtype, c = d.choice([F32, F16]), shape[1 if layout == "NCHW" else 3]
    return [d.array(shape, dtype), d.array((c,), dtype), d.array((c,), dtype), layout, 1e-3]


def instance(x: Any, gamma: Any, beta: Any, layout: str, eps: float) -> Any:
    there, back = ((0, 1, 2, 3), (0, 1, 2, 3)) if layout == "NCHW" else ((0, 3, 1, 2), (0, 2, 3, 1))
    x = x.permute(there)
    y = functional.instance_norm(x.contiguous(), None, None, gamma, beta, eps=eps)
    return (y.permute(back), x.mean((2, 3), keepdim=True).permute(back),
            x.var((2, 3), unbiased=False, keepdim=True).permute(back))


def loose(call: Callable[..., Any], draw: Callable[[Draw], list[Any]]) -> Oracle:
    """Statistics of few elements divide by small deviations."""
    return Oracle(call, draw, rtol=2e-4, atol=2e-4)


ORACLES = {
    "LayerNorm": loose(layer, layer_inputs), "FastLayerNorm": loose(layer, layer_inputs),
    "LayerNormWithImplMode": loose(layer, layer_inputs), "LayerNormBackward": loose(layer_back, layer_back_inputs),
    "AddLayerNormGrad": loose(added_back, added_inputs), "DeepNormGrad": loose(deep_back, deep_inputs),
    "AdaLayerNorm": loose(lambda *inputs: ada(*inputs)[0], ada_inputs), "AdaLayerNormV2": loose(ada, ada_inputs),
    "AdaLayerNormBackward": loose(ada_back, ada_back_inputs),
    "Modulate": loose(modulated, modulated_inputs), "ModulateBackward": loose(modulated_back, modulated_inputs),
    "BatchNorm": loose(batch, batch_inputs), "BatchNormBackward": loose(batch_back, batch_back_inputs),
    "FastBatchNormBackward": loose(batch_back, batch_back_inputs),
    "BatchNormStats": loose(stats, lambda d: [d.array(image(d), d.dtype("f32 f16")), 1e-3]),
    "BatchNormReduce": loose(lambda x: (x.sum(axes(x)), x.square().sum(axes(x))),
                             lambda d: [d.array(image(d), kind(d))]),
    "BatchNormElemt": loose(elemt, elemt_inputs),
    "BatchNormElemtBackward": loose(elemt_back, with_sums(elemt_back_inputs)),
    "BatchNormReduceBackward": loose(reduce_back, reduce_back_inputs),
    "BatchNormGatherStatsWithCounts": loose(gather, gather_inputs),
    "SyncBatchNormGatherStats": loose(sync, sync_inputs),
    "GroupNorm": loose(group_norm, group_inputs), "GroupNormBackward": loose(group_back, group_back_inputs),
    "GroupNormSilu": loose(swish, group_inputs), "GroupNormSiluV2": loose(swish, group_inputs),
    "GroupNormSwish": loose(lambda x, g, b, groups, layout, *rest: swish(x, g, b, groups, *rest), group_inputs),
    "GroupNormSwishGrad": loose(swish_back, group_back_inputs), "InstanceNorm": loose(instance, instance_inputs),
}
