"""Layer, batch, group and instance normalisation and their gradients, float32 inside."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from . import rules
from .conv import channels_first
from .registry import define, family
from .rms_norm import layer_norm
from .rules import reject
from .sums import mean as average
from .sums import total
from .types import F32
from .unary import sigmoid

WORKSPACE = 4096
Ints = tuple[int, ...]


def gradient(weighted: Any, scaled: Any, rstd: Any, axes: Ints) -> Any:
    """The gradient of (x - mean) * rstd over `axes`: `weighted` is dy * gamma, `scaled` the normalised x."""
    found = weighted - average(weighted, axes, True)
    found -= scaled * average(weighted * scaled, axes, True)
    found *= rstd
    return found


# ---- layers: the last dimensions

def last(x: Any, count: int) -> Ints:
    return tuple(range(x.ndim - count, x.ndim))


def rest(x: Any, count: int) -> Ints:
    return tuple(range(x.ndim - count))


def layer(x: Any, shape: Ints, weight: Any, bias: Any, eps: float, mode: int = 0) -> Any:
    return layer_norm(x, weight, bias, eps, last(x, len(shape)))


def layer_backward(dy: Any, x: Any, shape: Ints, mean: Any, rstd: Any, weight: Any, bias: Any, mask: Any) -> Any:
    k = len(shape)
    mean, rstd = (t.reshape(t.shape[:x.ndim - k] + (1,) * k) for t in (mean, rstd))
    scaled = (x - mean) * rstd
    dx = gradient(dy if weight is None else dy * weight, scaled, rstd, last(x, k)) if mask[0] else None
    return (dx, total(dy * scaled, rest(x, k)) if mask[1] else None, total(dy, rest(x, k)) if mask[2] else None)


def check_layer(x: Any, shape: Ints, *tensors: Any) -> None:
    if not shape or tuple(x.shape[x.ndim - len(shape):]) != tuple(shape) or len(shape) > x.ndim:
        reject(f"normalizedShape {list(shape)} must be the last dimensions of {list(x.shape)}")
    for t in tensors:
        if rules.is_tensor(t) and tuple(t.shape) != tuple(shape):
            reject(f"weight and bias of shape {list(t.shape)} must have normalizedShape {list(shape)}")
    if len({t.dtype for t in tensors if rules.is_tensor(t)}) > 1:
        reject("weight and bias have different types")


def layer_shape(x: Any, shape: Ints, *_: Any) -> Any:
    rstd = (*x.shape[:x.ndim - len(shape)], *(1,) * len(shape))
    return tuple(x.shape), rstd, rstd


def check_layer_backward(dy: Any, x: Any, shape: Ints, mean: Any, rstd: Any, weight: Any, bias: Any, mask: Any) -> None:
    check_layer(x, shape, weight, bias)
    wanted = layer_shape(x, shape)[1]
    for what, t, expected in (("gradOut", dy, tuple(x.shape)), ("mean", mean, wanted), ("rstd", rstd, wanted)):
        if tuple(t.shape) != expected:
            reject(f"{what} of shape {list(t.shape)} must have {list(expected)}")
    check_mask(mask)


def check_mask(mask: Any) -> None:
    if len(mask) != 3:
        reject(f"outputMask has {len(mask)} values, not 3")


def add_layer_grad(dy: Any, x1: Any, x2: Any, rstd: Any, mean: Any, gamma: Any, extra: Any) -> Any:
    axes, others = last(dy, gamma.ndim), rest(dy, gamma.ndim)
    scaled = (x1 + x2 - mean) * rstd
    dx = gradient(dy * gamma, scaled, rstd, axes)
    return dx if extra is None else dx + extra, total(dy * scaled, others), total(dy, others)


def deep_grad(dy: Any, x: Any, gx: Any, gamma: Any, mean: Any, rstd: Any, alpha: float) -> Any:
    axes, others = last(x, gamma.ndim), rest(x, gamma.ndim)
    mean, rstd = (t.reshape(t.shape[:x.ndim - gamma.ndim] + (1,) * gamma.ndim) for t in (mean, rstd))
    scaled = (x * np.float32(alpha) + gx - mean) * rstd
    dgx = gradient(dy * gamma, scaled, rstd, axes)
    return dgx * np.float32(alpha), dgx, total(dy, others), total(dy * scaled, others)


def ada_layer(x: Any, scale: Any, shift: Any, weight: Any, bias: Any, eps: float) -> Any:
    y, mean, rstd = layer(x, x.shape[-1:], weight, bias, eps)
    scale, shift = (t if t.ndim == x.ndim else t[..., None, :] for t in (scale, shift))
    return y * (1 + scale) + shift, mean, rstd


def check_ada(x: Any, scale: Any, shift: Any, weight: Any, bias: Any, eps: float) -> None:
    check_layer(x, tuple(x.shape[-1:]), weight, bias)
    for t in (scale, shift):
        if x.ndim < 2 or tuple(t.shape) not in ((*x.shape[:-2], x.shape[-1]), (*x.shape[:-2], 1, x.shape[-1])):
            reject(f"scale and shift of shape {list(t.shape)} do not fit x of {list(x.shape)}")


def ada_backward(dy: Any, x: Any, shape: Ints, rstd: Any, mean: Any, scale: Any, shift: Any, weight: Any,
                 bias: Any) -> Any:
    """(dx, dscale, dshift, dweight, dbias)"""
    scaled = (x - mean) * rstd
    plain = scaled if weight is None else scaled * weight
    grown = dy * (1 + (scale if scale.ndim == x.ndim else scale[..., None, :]))
    dscale = (dy * (plain if bias is None else plain + bias)).sum(axis=-2, dtype=np.float32).reshape(scale.shape)
    return (gradient(grown if weight is None else grown * weight, scaled, rstd, (x.ndim - 1,)), dscale,
            dy.sum(axis=-2, dtype=np.float32).reshape(shift.shape), total(grown * scaled, rest(x, 1)),
            total(grown, rest(x, 1)))


def check_ada_backward(dy: Any, x: Any, shape: Ints, rstd: Any, mean: Any, scale: Any, shift: Any, weight: Any,
                       bias: Any) -> None:
    check_ada(x, scale, shift, weight, bias, 0)
    check_layer_backward(dy, x, shape, mean, rstd, weight, bias, (True,) * 3)


def modulate(x: Any, scale: Any, shift: Any) -> Any:
    """(B, L, D) by factors and offsets of (B, D) or (B, 1, D)."""
    scale, shift = (t if t is None or t.ndim == 3 else t[:, None] for t in (scale, shift))
    y = x if scale is None else x * (1 + scale)
    return y if shift is None else y + shift


def modulate_backward(dy: Any, x: Any, scale: Any, shift: Any) -> Any:
    return (dy if scale is None else dy * scale[:, None],
            None if scale is None else (dy * x).sum(axis=1, dtype=np.float32),
            None if shift is None else dy.sum(axis=1, dtype=np.float32))


def check_modulate(x: Any, *factors: Any) -> None:
    for t in factors:
        if t is not None and (x.ndim != 3 or tuple(t.shape) not in ((x.shape[0], x.shape[2]),
                                                                    (x.shape[0], 1, x.shape[2]))):
            reject(f"scale and shift of shape {list(t.shape)} do not fit {list(x.shape)}")


# ---- batches: every dimension but the second

def over(x: Any) -> Ints:
    return (0, *range(2, x.ndim))


def wide(vector: Any, x: Any) -> Any:
    """A vector of channels against x."""
    return vector.reshape((-1, *(1,) * (x.ndim - 2)))


def moments(x: Any) -> tuple[Any, Any]:
    mean = average(x, over(x))
    return mean, average(np.square(x - wide(mean, x)), over(x))


def spread(x: Any) -> int:
    """How many elements a channel has."""
    return int(x.size // max(x.shape[1], 1))


def mixed(old: Any, new: Any, momentum: float) -> Any:
    return None if old is None else old * np.float32(1 - momentum) + new * np.float32(momentum)


def unbiased(var: Any, n: Any) -> Any:
    return var * np.float32(n / (n - 1)) if n > 1 else var


def affine(x: Any, mean: Any, rstd: Any, weight: Any, bias: Any) -> Any:
    scale = rstd if weight is None else rstd * weight
    y = (x - wide(mean, x)) * wide(scale, x)
    return y if bias is None else y + wide(bias, x)


def batch(x: Any, weight: Any, bias: Any, old_mean: Any, old_var: Any, training: bool, momentum: float,
          eps: float) -> Any:
    """(running mean, running variance, output, mean, variance): the last is what Atlas A2 and A3 put in saveInvstd."""
    if not training:
        return None, None, affine(x, old_mean, 1 / np.sqrt(old_var + np.float32(eps)), weight, bias), None, None
    mean, var = moments(x)
    rstd = 1 / np.sqrt(var + np.float32(eps))
    return (mixed(old_mean, mean, momentum), mixed(old_var, unbiased(var, spread(x)), momentum),
            affine(x, mean, rstd, weight, bias), mean, var)


def batch_backward(dy: Any, x: Any, weight: Any, old_mean: Any, old_var: Any, mean: Any, var: Any, training: bool,
                   eps: float, mask: Any, version: int = 0) -> Any:
    if not training:
        mean, var = old_mean, old_var
    rstd = 1 / np.sqrt(var + np.float32(eps))
    scaled = (x - wide(mean, x)) * wide(rstd, x)
    dx = None
    if mask[0]:
        weighted = dy if weight is None else dy * wide(weight, x)
        dx = gradient(weighted, scaled, wide(rstd, x), over(x)) if training else weighted * wide(rstd, x)
    return dx, total(dy * scaled, over(x)) if mask[1] else None, total(dy, over(x)) if mask[2] else None


def batch_stats(x: Any, eps: float) -> Any:
    mean, var = moments(x)
    return mean, 1 / np.sqrt(var + np.float32(eps))


def batch_elemt(x: Any, weight: Any, bias: Any, mean: Any, rstd: Any, eps: float) -> Any:
    return affine(x, mean, rstd, weight, bias)


def batch_elemt_backward(dy: Any, x: Any, mean: Any, rstd: Any, weight: Any, sum_dy: Any, sum_xmu: Any,
                         counter: Any) -> Any:
    n = counter.sum(dtype=np.float32)
    scale = rstd if weight is None else rstd * weight
    found = dy - wide(sum_dy / n, x) - (x - wide(mean, x)) * wide(np.square(rstd) * sum_xmu / n, x)
    return found * wide(scale, x)


def batch_reduce(x: Any) -> Any:
    return total(x, over(x)), total(np.square(x.astype(np.float32, copy=False)), over(x))


def batch_reduce_backward(dy: Any, x: Any, mean: Any, rstd: Any, weight: Any, for_input: bool, for_weight: bool,
                          for_bias: bool) -> Any:
    sum_dy, sum_xmu = total(dy, over(x)), total(dy * (x - wide(mean, x)), over(x))
    return (*((sum_dy, sum_xmu) if for_input else (None, None)), sum_xmu * rstd if for_weight else None,
            sum_dy if for_bias else None)


def gather_stats(x: Any, mean: Any, rstd: Any, old_mean: Any, old_var: Any, momentum: float, eps: float,
                 counts: Any) -> Any:
    """(running mean, running variance, mean, 1 / deviation) of all devices together"""
    n, counts = counts.sum(dtype=np.float32), counts.reshape(-1, 1)
    common = (mean * counts).sum(axis=0) / n
    var = ((1 / np.square(rstd) - np.float32(eps) + np.square(mean - common)) * counts).sum(axis=0) / n
    return (mixed(old_mean, common, momentum), mixed(old_var, unbiased(var, n), momentum), common,
            1 / np.sqrt(var + np.float32(eps)))


def sync_stats(sums: Any, squares: Any, counts: Any, old_mean: Any, old_var: Any, momentum: float, eps: float) -> Any:
    n = counts.sum(dtype=np.float32)
    mean = sums.sum(axis=0) / n
    var = squares.sum(axis=0) / n - np.square(mean)
    return (mixed(old_mean, mean, momentum), mixed(old_var, unbiased(var, n), momentum), mean,
            1 / np.sqrt(var + np.float32(eps)))


def check_channels(*positions: int) -> Callable[..., Any]:
    """The tensors at `positions` have one number for each channel of the first input."""
    def check(x: Any, *others: Any) -> None:
        channels_first(x)
        if x.ndim < 2:
            reject(f"input of shape {list(x.shape)} has no channels: it takes 2 to 8 dimensions")
        for p in positions:
            t = others[p - 1]
            if t is not None and tuple(t.shape) not in ((x.shape[1],), (0,)):
                reject(f"input {p} of shape {list(t.shape)} must have one number for each of {x.shape[1]} channels")

    return check


def check_batch(x: Any, weight: Any, bias: Any, old_mean: Any, old_var: Any, training: bool, *_: Any) -> None:
    check_channels(1, 2, 3, 4)(x, weight, bias, old_mean, old_var)
    if not training and (old_mean is None or old_var is None):
        reject("runningMean and runningVar are needed where training is false")


def check_batch_backward(dy: Any, x: Any, *others: Any) -> None:
    check_channels(1, 2, 3, 4, 5)(x, *others)
    check_mask(others[-1] if isinstance(others[-1], tuple) else others[-2])
    if tuple(dy.shape) != tuple(x.shape):
        reject(f"gradOut of shape {list(dy.shape)} must have input's {list(x.shape)}")
    weight, old_mean, old_var, mean, rstd, training = others[:6]
    if (mean is None or rstd is None) if training else (old_mean is None or old_var is None):
        reject("the statistics that the gradient needs are NULL")


def channel_shapes(count: int) -> Callable[..., Any]:
    return lambda x, *_: ((x.shape[1],),) * count


def check_gather(x: Any, mean: Any, *_: Any) -> None:
    if x.ndim < 2 or mean.ndim != 2 or mean.shape[1] != x.shape[1]:
        reject(f"mean of shape {list(mean.shape)} must be (devices, channels) of input {list(x.shape)}")


# ---- groups: channels together

def group(x: Any, gamma: Any, beta: Any, groups: int, eps: float, n: int = 0) -> Any:
    """(output, mean, rstd); gamma and beta may be None."""
    n, channels = n or x.shape[0], x.shape[1]
    flat = x.reshape(n, groups, -1)
    y, mean, rstd = layer_norm(flat, None, None, eps, (2,))
    y = y.reshape(n, channels, -1)
    y = y if gamma is None else y * gamma.reshape(-1, 1)
    y = y if beta is None else y + beta.reshape(-1, 1)
    return y.reshape(x.shape), mean[..., 0], rstd[..., 0]


def group_norm(x: Any, gamma: Any, beta: Any, n: int, c: int, hw: int, groups: int, eps: float) -> Any:
    y, mean, rstd = group(x.reshape(n, c, -1), gamma, beta, groups, eps)
    return y.reshape(x.shape), mean, rstd


def group_parts(dy: Any, x: Any, mean: Any, rstd: Any, gamma: Any, n: int, c: int, groups: int) -> Any:
    """(dx, dgamma, dbeta)"""
    scaled = (x.reshape(n, groups, -1) - mean.reshape(n, groups, 1)) * rstd.reshape(n, groups, 1)
    dy = dy.reshape(n, c, -1)
    weighted = (dy if gamma is None else dy * gamma.reshape(-1, 1)).reshape(n, groups, -1)
    dx = gradient(weighted, scaled, rstd.reshape(n, groups, 1), (2,)).reshape(x.shape)
    return dx, total(dy * scaled.reshape(dy.shape), (0, 2)), total(dy, (0, 2))


def group_backward(dy: Any, x: Any, mean: Any, rstd: Any, gamma: Any, n: int, c: int, hw: int, groups: int,
                   mask: Any) -> Any:
    return tuple(p if m else None for p, m in zip(group_parts(dy, x, mean, rstd, gamma, n, c, groups), mask))


def swished(x: Any, gamma: Any, beta: Any, groups: int, eps: float, active: bool = True, scale: float = 1.0) -> Any:
    y, mean, rstd = group(x, gamma, beta, groups, eps)
    return y * sigmoid(y * np.float32(scale)) if active else y, mean, rstd


def group_swish(x: Any, gamma: Any, beta: Any, groups: int, layout: Any, eps: float, active: bool, scale: float) -> Any:
    return swished(x, gamma, beta, groups, eps, active, scale)


def group_swish_grad(dy: Any, mean: Any, rstd: Any, x: Any, gamma: Any, beta: Any, groups: int, layout: Any,
                     scale: float, for_gamma: bool, for_beta: bool) -> Any:
    n, c = x.shape[:2]
    scaled = (x.reshape(n, groups, -1) - mean.reshape(n, groups, 1)) * rstd.reshape(n, groups, 1)
    y = (scaled.reshape(n, c, -1) * gamma.reshape(-1, 1) + beta.reshape(-1, 1)).reshape(x.shape)
    s = sigmoid(y * np.float32(scale))
    dx, dgamma, dbeta = group_parts(dy * s * (1 + y * np.float32(scale) * (1 - s)), x, mean, rstd, gamma, n, c, groups)
    return dx, dgamma if for_gamma else None, dbeta if for_beta else None


def check_group(x: Any, gamma: Any, beta: Any, groups: int, eps: float, channels: int) -> None:
    if groups <= 0 or channels % groups or eps <= 0:
        reject(f"{channels} channels do not make {groups} groups, or eps {eps} is not above 0")
    for t in (gamma, beta):
        if t is not None and t.size != channels:
            reject(f"gamma and beta have {t.size} elements, not one for each of {channels} channels")


def group_shapes(x: Any, gamma: Any, beta: Any, n: int, c: int, hw: int, groups: int, eps: float) -> Any:
    if n * c * hw != x.size:
        reject(f"self of shape {list(x.shape)} does not have N * C * HxW = {n * c * hw} elements")
    check_group(x, gamma, beta, groups, eps, c)
    return tuple(x.shape), (n, groups), (n, groups)


def group_back_shapes(dy: Any, x: Any, mean: Any, rstd: Any, gamma: Any, n: int, c: int, hw: int, groups: int,
                      mask: Any) -> Any:
    group_shapes(x, gamma, None, n, c, hw, groups, 1)
    if dy.size != x.size or mean.size != n * groups or rstd.size != n * groups:
        reject("gradOut, mean or rstd have another number of elements than N, C, HxW and group say")
    check_mask(mask)
    return tuple(x.shape), (c,), (c,)


def swish_shapes(x: Any, gamma: Any, beta: Any, groups: int, *others: Any) -> Any:
    if x.ndim < 2:
        reject(f"self of shape {list(x.shape)} has no channels: it takes 2 to 8 dimensions")
    check_group(x, gamma, beta, groups, 1, x.shape[1])
    return tuple(x.shape), (x.shape[0], groups), (x.shape[0], groups)


def swish_back_shapes(dy: Any, mean: Any, rstd: Any, x: Any, gamma: Any, beta: Any, groups: int, *_: Any) -> Any:
    swish_shapes(x, gamma, beta, groups)
    return tuple(x.shape), (x.shape[1],), (x.shape[1],)


def instance_norm(x: Any, gamma: Any, beta: Any, layout: str, eps: float) -> Any:
    axes = (2, 3) if layout == "NCHW" else (1, 2)
    gamma, beta = (t.reshape(-1, 1, 1) if layout == "NCHW" else t for t in (gamma, beta))
    y, mean, _ = layer_norm(x, gamma, beta, eps, axes)
    return y, mean, average(np.square(x - mean), axes, True)


def instance_shapes(x: Any, gamma: Any, beta: Any, layout: str, eps: float) -> Any:
    if x.ndim != 4 or layout not in ("NCHW", "NHWC"):
        reject(f'x has {x.ndim} dimensions, not 4, or dataFormat "{layout}" is neither "NCHW" nor "NHWC"')
    n, c = x.shape[0], x.shape[1 if layout == "NCHW" else 3]
    if tuple(gamma.shape) != (c,) or tuple(beta.shape) != (c,):
        reject(f"gamma {list(gamma.shape)} and beta {list(beta.shape)} must have {[c]}")
    small = (n, c, 1, 1) if layout == "NCHW" else (n, 1, 1, c)
    return tuple(x.shape), small, small


define("LayerNorm FastLayerNorm LayerNormWithImplMode", layer, shape=layer_shape,
       check=lambda x, shape, *t: check_layer(x, shape, *t[:2]), result=lambda x, *_: (x.dtype, None, None),
       rows=lambda x, shape, *_: x.ndim - len(shape), workspace=WORKSPACE, oracle="torch.nn.functional.layer_norm")
define("LayerNormBackward", layer_backward, check=check_layer_backward, workspace=WORKSPACE,
       shape=lambda dy, x, shape, *_: (tuple(x.shape), tuple(shape), tuple(shape)),
       result=lambda dy, *_: (dy.dtype,) * 3,
       optional="gradInputOut gradWeightOut gradBiasOut", oracle="torch.nn.functional.layer_norm, backward")
define("AddLayerNormGrad", add_layer_grad,
       shape=lambda dy, a, b, r, m, g, d: (tuple(dy.shape),) + (tuple(g.shape),) * 2,
       result=lambda dy, *_: (dy.dtype, F32, F32), workspace=WORKSPACE,
       oracle="torch.nn.functional.layer_norm, backward")
define("DeepNormGrad", deep_grad, workspace=WORKSPACE, oracle="torch.nn.functional.layer_norm, backward",
       shape=lambda dy, x, gx, g, *_: (tuple(x.shape),) * 2 + (tuple(g.shape),) * 2,
       result=lambda dy, *_: (dy.dtype, dy.dtype, F32, F32))
define("AdaLayerNorm", lambda *inputs: ada_layer(*inputs)[0], shape=rules.same, result=rules.first, check=check_ada,
       workspace=WORKSPACE, oracle="torch.nn.functional.layer_norm")
define("AdaLayerNormV2", ada_layer, check=check_ada, result=lambda x, *_: (x.dtype, None, None), workspace=WORKSPACE,
       shape=lambda x, *_: layer_shape(x, tuple(x.shape[-1:])), oracle="torch.nn.functional.layer_norm")

define("AdaLayerNormBackward", ada_backward, check=check_ada_backward, workspace=WORKSPACE,
       shape=lambda dy, x, shape, r, m, scale, shift, *_: (tuple(x.shape), tuple(scale.shape), tuple(shift.shape),
                                                           tuple(shape), tuple(shape)),
       result=lambda dy, *_: (dy.dtype, dy.dtype, dy.dtype, None, None),
       oracle="torch.nn.functional.layer_norm, backward")
define("Modulate", modulate, shape=rules.same, result=rules.first, check=check_modulate, oracle="torch x * (1 + a) + b")
define("ModulateBackward", modulate_backward, result=lambda dy, *_: (dy.dtype,) * 3,
       check=lambda dy, x, *t: check_modulate(x, *t), optional="scale shift grad_scale grad_shift",
       shape=lambda dy, x, *_: (tuple(x.shape), *((x.shape[0], x.shape[2]),) * 2), workspace=WORKSPACE,
       oracle="torch.sum of products")

_RUNNING = {"runningMean": "io", "runningVar": "io"}
define("BatchNorm", batch, check=check_batch, roles=_RUNNING, workspace=WORKSPACE,
       shape=lambda x, *_: (None, None, tuple(x.shape), None, None),
       result=lambda x, *_: (None, None, x.dtype, None, None),
       optional="weight bias runningMean runningVar saveMean saveInvstd", oracle="torch.native_batch_norm")
define("BatchNormBackward FastBatchNormBackward", batch_backward, check=check_batch_backward, workspace=WORKSPACE,
       shape=lambda dy, x, *_: (tuple(x.shape), (x.shape[1],), (x.shape[1],)), result=lambda dy, *_: (dy.dtype,) * 3,
       optional="weight runningMean runningVar saveMean saveInvstd gradInput gradWeight gradBias",
       oracle="torch.nn.functional.batch_norm, backward")
define("BatchNormStats", batch_stats, shape=channel_shapes(2), result=lambda x, *_: F32, check=check_channels(),
       workspace=WORKSPACE, oracle="torch.mean and torch.var")
define("BatchNormReduce", batch_reduce, shape=channel_shapes(2), result=lambda x, *_: F32, check=check_channels(),
       workspace=WORKSPACE, oracle="torch.sum")
define("BatchNormElemt", batch_elemt, shape=rules.same, result=rules.first, check=check_channels(1, 2, 3, 4),
       optional="weight bias", oracle="torch.nn.functional.batch_norm")
define("BatchNormElemtBackward", batch_elemt_backward, shape=rules.like(1), result=rules.first,
       check=lambda dy, x, mean, rstd, weight, a, b, n: check_channels(1, 2, 3, 4, 5)(x, mean, rstd, weight, a, b),
       optional="weight", oracle="torch.nn.functional.batch_norm, backward")
define("BatchNormReduceBackward", batch_reduce_backward,
       shape=lambda dy, x, *_: ((x.shape[1],),) * 4, workspace=WORKSPACE,
       check=lambda dy, x, *others: check_channels(1, 2, 3)(x, *others), result=lambda dy, *_: (None,) * 4,
       optional="weight sumDy sumDyXmu gradWeight gradBias", oracle="torch.sum")
define("BatchNormGatherStatsWithCounts", gather_stats, roles=_RUNNING, check=check_gather, workspace=WORKSPACE,
       shape=lambda x, *_: (None, None, (x.shape[1],), (x.shape[1],)), optional="runningMean runningVar",
       oracle="torch.mean and torch.var of all")
define("SyncBatchNormGatherStats", sync_stats, roles={"mean": "io", "variance": "io"}, workspace=WORKSPACE,
       shape=lambda sums, *_: (None, None, (sums.shape[1],), (sums.shape[1],)),
       oracle="torch.mean and torch.var of all")

define("GroupNorm", group_norm, shape=group_shapes, result=lambda x, *_: (x.dtype, None, None), optional="gamma beta",
       workspace=WORKSPACE, oracle="torch.native_group_norm")
define("GroupNormBackward", group_backward, shape=group_back_shapes, result=lambda dy, *_: (dy.dtype, None, None),
       optional="gamma gradInput gradGammaOut gradBetaOut", workspace=WORKSPACE,
       oracle="torch.nn.functional.group_norm, backward")
family(define, (
    ("GroupNormSilu GroupNormSiluV2", swished, "torch silu of group_norm"),
    ("GroupNormSwish", group_swish, "torch swish of group_norm"),
), shape=swish_shapes, result=lambda x, *_: (x.dtype, None, None), workspace=WORKSPACE)
define("GroupNormSwishGrad", group_swish_grad, shape=swish_back_shapes, result=lambda dy, *_: (dy.dtype, None, None),
       workspace=WORKSPACE, oracle="torch swish of group_norm, backward")
define("InstanceNorm", instance_norm, shape=instance_shapes, result=lambda x, *_: (x.dtype,) * 3, workspace=WORKSPACE,
       oracle="torch.nn.functional.instance_norm")
