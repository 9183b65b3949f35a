"""Losses and their gradients. `reduction` is 0 (none), 1 (mean), 2 (sum); KlDiv has 3 (mean over the batch), too."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from ...capi import lib
from . import rules
from .activations import log_sigmoid, tensors_meet
from .registry import define
from .rules import is_tensor, reject
from .types import F32
from .unary import sigmoid

WORKSPACE = 4096
MEAN, SUM, BATCH = 1, 2, 3
_THREE = "f32 f16 bf16"


def reduced(x: Any, reduction: int) -> Any:
    if reduction == 0:
        return x
    total = x.sum(dtype=x.dtype)
    return total if reduction == SUM else total / x.dtype.type(x.size if reduction == MEAN else x.shape[0])


def share(reduction: int, x: Any) -> Any:
    """What the gradient of a reduced loss is divided by."""
    return {MEAN: max(x.size, 1), BATCH: x.shape[0] if x.ndim else 1}.get(reduction, 1)


def check_reduction(reduction: int, most: int = 2) -> None:
    if not 0 <= reduction <= most:
        reject(f"reduction is {reduction}, outside of [0, {most}]")


def tensors(inputs: Any) -> list[Any]:
    return [t for t in inputs if is_tensor(t)]


def reduction_of(inputs: Any) -> int:
    """The first plain number among the inputs."""
    return int(next(v for v in inputs if isinstance(v, int) and not isinstance(v, bool)))


def loss_shape(most: int = 2) -> Callable[..., Any]:
    def shape(*inputs: Any) -> Any:
        reduction = reduction_of(inputs)
        check_reduction(reduction, most)
        whole = rules.broadcast(*inputs)
        return () if reduction else whole

    return shape


def grad_shape(position: int = 1, most: int = 2) -> Callable[..., Any]:
    """All inputs broadcast; with `position` they must not exceed that input's shape."""
    def shape(*inputs: Any) -> Any:
        check_reduction(reduction_of(inputs), most)
        whole = rules.broadcast(*inputs)
        if position >= 0 and whole != tuple(inputs[position].shape):
            reject(f"an input does not broadcast to the shape {list(inputs[position].shape)}")
        return whole

    return shape


def loss(names: str, compute: Callable[..., Any], oracle: str, most: int = 2, **more: Any) -> None:
    """compute(self, target, ...) without the reduction gives the loss of each element."""
    def call(*inputs: Any) -> Any:
        at = next(i for i, v in enumerate(inputs) if isinstance(v, int) and not isinstance(v, bool))
        return reduced(compute(*inputs[:at], *inputs[at + 1:]), inputs[at])

    define(names, call, shape=loss_shape(most), result=tensors_meet, workspace=WORKSPACE, oracle=oracle, **more)


def slope(names: str, compute: Callable[..., Any], oracle: str, most: int = 2, position: int = -1, **more: Any) -> None:
    """compute(dy, self, target, ...) without the reduction; a mean's gradient is divided by the number of elements."""
    def call(*inputs: Any) -> Any:
        at = next(i for i, v in enumerate(inputs) if isinstance(v, int) and not isinstance(v, bool))
        found = compute(*inputs[:at], *inputs[at + 1:])
        n = share(inputs[at], inputs[1])
        return found if n == 1 else found / found.dtype.type(n)

    define(names, call, shape=grad_shape(position, most), result=more.pop("result", tensors_meet), workspace=WORKSPACE,
           oracle=oracle, **more)


# ---- of pairs of elements

def mse(x: Any, y: Any) -> Any:
    return np.square(x - y)


def l1(x: Any, y: Any) -> Any:
    return np.abs(x - y)


def smooth(x: Any, y: Any, beta: float) -> Any:
    d = np.abs(x - y)
    return np.where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta) if beta else d


def smooth_slope(dy: Any, x: Any, y: Any, beta: float) -> Any:
    d = x - y
    return dy * (np.clip(d / beta, -1, 1) if beta else np.sign(d))


def soft_margin(x: Any, y: Any) -> Any:
    return np.logaddexp(x.dtype.type(0), -x * y)


def kl(x: Any, y: Any, log: bool) -> Any:
    if log:
        return np.exp(y) * (y - x)
    return np.where(y == 0, -y * x, y * (np.log(y) - x))


def kl_slope(dy: Any, x: Any, y: Any, log: bool) -> Any:
    return -dy * (np.exp(y) if log else np.where(y > 0, y, y.dtype.type(0)))


def kl_target_slope(dy: Any, x: Any, y: Any, log: bool) -> Any:
    if log:
        return dy * np.exp(y) * (y - x + 1)
    return np.where(y > 0, dy * (np.log(np.where(y > 0, y, 1)) - x + 1), dy.dtype.type(0))


def bce(x: Any, y: Any, weight: Any) -> Any:
    """Logarithms are held above -100, as PyTorch does."""
    found = (y - 1) * np.maximum(np.log1p(-x), -100) - y * np.maximum(np.log(x), -100)
    return found if weight is None else found * weight


def bce_slope(dy: Any, x: Any, y: Any, weight: Any) -> Any:
    found = dy * (x - y) / np.maximum(x * (1 - x), x.dtype.type(1e-12))
    return found if weight is None else found * weight


def logits(x: Any, y: Any, weight: Any, positive: Any) -> Any:
    p = 1 if positive is None else positive
    found = (1 - y) * x - (1 + (p - 1) * y) * log_sigmoid(x)
    return found if weight is None else found * weight


def logits_slope(dy: Any, x: Any, y: Any, weight: Any, positive: Any) -> Any:
    p = 1 if positive is None else positive
    t = p * y
    found = dy * ((t + 1 - y) * sigmoid(x) - t)
    return found if weight is None else found * weight


def logits_target_slope(dy: Any, x: Any, y: Any, weight: Any, positive: Any) -> Any:
    found = -dy * x if positive is None else dy * (log_sigmoid(-x) - positive * log_sigmoid(x))
    return found if weight is None else found * weight


# ---- of classes: self is (N, C, ...), target (N, ...)

def check_classes(target: Any, count: int, ignore: int) -> None:
    if ((target != ignore) & ((target < 0) | (target >= count))).any():
        reject(f"target has a class outside of [0, {count - 1}]")


def picked(x: Any, target: Any, weight: Any, ignore: int) -> tuple[Any, Any, Any, Any]:
    """As (N, C, rest): self's values at the targets, their weights, the indices, the shape of the targets."""
    shape = target.shape
    flat = x.reshape((1, -1, 1) if x.ndim == 1 else (*x.shape[:2], -1))
    target = target.astype(np.int64).reshape(flat.shape[0], 1, flat.shape[2])
    check_classes(target, flat.shape[1], ignore)
    kept = target != ignore
    where = np.where(kept, target, 0)
    one = np.ones(flat.shape[1], flat.dtype) if weight is None else weight
    return np.take_along_axis(flat, where, 1), np.where(kept, one[where], one.dtype.type(0)), where, shape


def nll(x: Any, target: Any, weight: Any, reduction: int, ignore: int) -> Any:
    values, weights, _, shape = picked(x, target, weight, ignore)
    each = np.where(weights != 0, -values * weights, x.dtype.type(0))
    if reduction == 0:
        return each.reshape(shape), None
    total = weights.sum(dtype=weights.dtype)
    return (each.sum(dtype=each.dtype) / (total if reduction == MEAN else 1)), total


def nll_backward(dy: Any, x: Any, target: Any, weight: Any, reduction: int, ignore: int, total: Any) -> Any:
    values, weights, where, _ = picked(x, target, weight, ignore)
    dy = dy.reshape(weights.shape) if reduction == 0 else dy.reshape(())
    found = -dy * weights
    if reduction == MEAN:
        found = found / total.reshape(())
    out = np.zeros((1, x.shape[0], 1) if x.ndim == 1 else (*x.shape[:2], weights.shape[2]), found.dtype)
    np.put_along_axis(out, where, np.where(weights != 0, found, found.dtype.type(0)), 1)
    return out.reshape(x.shape)


def class_shapes(dims: tuple[int, ...]) -> Callable[..., Any]:
    def shape(x: Any, target: Any, weight: Any, reduction: int, *_: Any) -> Any:
        check_reduction(reduction)
        if x.ndim not in dims:
            reject(f"self has {x.ndim} dimensions; it takes {' or '.join(map(str, dims))}")
        wanted = () if x.ndim == 1 else (x.shape[0], *x.shape[2:])
        if tuple(target.shape) != wanted and not (x.ndim == 1 and target.size == 1):
            reject(f"target of shape {list(target.shape)} must have {list(wanted)}")
        if weight is not None and tuple(weight.shape) != (x.shape[1 if x.ndim > 1 else 0],):
            reject(f"weight of shape {list(weight.shape)} must have one number for each class of self {list(x.shape)}")
        return (wanted if reduction == 0 else ()), ()

    return shape


def class_back_shape(dims: tuple[int, ...]) -> Callable[..., Any]:
    def shape(dy: Any, x: Any, target: Any, weight: Any, reduction: int, *_: Any) -> Any:
        wanted = class_shapes(dims)(x, target, weight, reduction)[0]
        if tuple(dy.shape) != wanted and not (wanted == () and dy.size == 1):
            reject(f"gradOutput of shape {list(dy.shape)} must have {list(wanted)}")
        return tuple(x.shape)

    return shape


def log_probabilities(x: Any) -> Any:
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


_REDUCTIONS = {"none": 0, "mean": MEAN, "sum": SUM}


def cross_entropy(x: Any, target: Any, weight: Any, reduction: Any, ignore: int, smoothing: float, z: float,
                  give_z: bool) -> Any:
    log = log_probabilities(x)
    how = _REDUCTIONS[reduction or "mean"]
    main, total = nll(log, target, weight, how, ignore)
    if smoothing:
        one = np.ones(x.shape[1], x.dtype) if weight is None else weight
        kept = target != ignore
        each = np.where(kept, -(log * one).sum(axis=1), x.dtype.type(0))
        even = each if how == 0 else each.sum() / (total if how == MEAN else 1)
        main = (1 - smoothing) * main + smoothing / x.shape[1] * even
    return main, log, None, None


def cross_entropy_grad(dy: Any, log: Any, target: Any, weight: Any, grad_z: Any, lse: Any, reduction: Any, ignore: int,
                       smoothing: float, z: float) -> Any:
    how = _REDUCTIONS[reduction or "mean"]
    _, weights, where, _ = picked(log, target, weight, ignore)
    dy = (dy.reshape(-1, 1) if how == 0 else dy.reshape(1, 1)) * (target != ignore).reshape(-1, 1)
    if how == MEAN:
        dy = dy / weights.sum(dtype=np.float32)
    main = dy * (1 - smoothing) * weights[..., 0]
    out = np.exp(log) * main
    out[np.arange(len(out)), where[:, 0, 0]] -= main[:, 0]
    if smoothing:
        even = dy * (smoothing / log.shape[1]) * (1 if weight is None else weight) * np.ones_like(log)
        out += np.exp(log) * even.sum(axis=1, keepdims=True) - even
    return out


def check_entropy(x: Any, target: Any, weight: Any, reduction: Any, smoothing: float) -> None:
    if reduction not in (None, *_REDUCTIONS) or not 0 <= smoothing <= 1:
        reject(f'reduction "{reduction}" is not mean, sum or none, or labelSmoothing {smoothing} not in [0, 1]',
               lib.ACLNN_ERR_INNER_TILING_ERROR)
    if x.ndim != 2 or tuple(target.shape) != (x.shape[0],) or weight is not None and tuple(weight.shape) != x.shape[1:]:
        reject(f"input {list(x.shape)} must be (N, C), target {list(target.shape)} (N), the weight (C)",
               lib.ACLNN_ERR_INNER_TILING_ERROR)


def entropy_shapes(x: Any, target: Any, weight: Any, reduction: Any, ignore: int, smoothing: float, *_: Any) -> Any:
    check_entropy(x, target, weight, reduction, smoothing)
    lost = (x.shape[0],) if reduction == "none" else ()
    return lost, tuple(x.shape), lost, (x.shape[0],)


def entropy_grad_shape(dy: Any, log: Any, target: Any, weight: Any, grad_z: Any, lse: Any, reduction: Any, ignore: int,
                       smoothing: float, z: float) -> Any:
    check_entropy(log, target, weight, reduction, smoothing)
    return tuple(log.shape)


def softmax_entropy(x: Any, labels: Any) -> Any:
    log = log_probabilities(x)
    return -(labels * log).sum(axis=1), np.exp(log) - labels


def check_labels(x: Any, labels: Any) -> None:
    if x.ndim != 2 or tuple(labels.shape) != tuple(x.shape):
        reject(f"features {list(x.shape)} and labels {list(labels.shape)} must both be (N, C)")


def multilabel_margin(x: Any, target: Any, reduction: int) -> Any:
    rows, wanted = x.reshape(-1, x.shape[-1]), target.reshape(-1, x.shape[-1]).astype(np.int64)
    valid = np.logical_and.accumulate(wanted >= 0, axis=1)
    check_classes(np.where(valid, wanted, 0), rows.shape[1], -1)
    inside = np.zeros(rows.shape, bool)
    n = np.arange(len(rows))[:, None].repeat(rows.shape[1], 1)
    inside[n[valid], wanted[valid]] = True
    # Each pair of a target and a class that is none; a target named twice counts twice.
    chosen = np.take_along_axis(rows, np.where(valid, wanted, 0), 1)
    gaps = np.maximum(1 - chosen[:, :, None] + rows[:, None, :], 0) * (valid[:, :, None] & ~inside[:, None, :])
    each = gaps.sum(axis=(1, 2), dtype=np.float32) / rows.shape[1]
    return reduced(each.reshape(x.shape[:-1]), reduction), inside.reshape(x.shape).astype(F32)


def multilabel_shapes(x: Any, target: Any, reduction: int) -> Any:
    check_reduction(reduction)
    if x.ndim not in (1, 2) or tuple(target.shape) != tuple(x.shape):
        reject(f"self {list(x.shape)} and target {list(target.shape)} must both be (N, C) or (C)")
    return () if reduction or x.ndim == 1 else tuple(x.shape[:1]), tuple(x.shape)


loss("MseLoss MseLossOut", mse, "torch.nn.functional.mse_loss")
loss("L1Loss", l1, "torch.nn.functional.l1_loss")
loss("SmoothL1Loss", smooth, "torch.nn.functional.smooth_l1_loss")
loss("SoftMarginLoss", soft_margin, "torch.nn.functional.soft_margin_loss")
loss("KlDiv", kl, "torch.nn.functional.kl_div", 3)
loss("BinaryCrossEntropy", bce, "torch.nn.functional.binary_cross_entropy", optional="weight",
     dtypes=dict.fromkeys(("self", "target", "weight", "out"), _THREE))
loss("BinaryCrossEntropyWithLogits", logits, "torch.nn.functional.binary_cross_entropy_with_logits",
     dtypes=dict.fromkeys(("self", "target", "weightOptional", "posWeightOptional", "out"), _THREE))

slope("MseLossBackward", lambda dy, x, y: dy * (x - y) * 2, "torch mse_loss, backward",
      dtypes=dict.fromkeys(("gradOutput", "target"), _THREE))
slope("L1LossBackward", lambda dy, x, y: dy * np.sign(x - y), "torch l1_loss, backward")
slope("SmoothL1LossBackward", smooth_slope, "torch smooth_l1_loss, backward")
slope("SoftMarginLossBackward", lambda dy, x, y: -dy * y * sigmoid(-x * y), "torch soft_margin_loss, backward")
slope("KlDivBackward", kl_slope, "torch kl_div, backward", 3, dtypes={"out": _THREE})
slope("KlDivTargetBackward", kl_target_slope, "torch kl_div, backward", 3, dtypes={"gradTarget": _THREE})
slope("BinaryCrossEntropyBackward", bce_slope, "torch binary_cross_entropy, backward", 2, 1)
slope("BinaryCrossEntropyWithLogitsBackward", logits_slope, "torch binary_cross_entropy_with_logits, backward", 2, 1,
      dtypes=dict.fromkeys(("target", "weightOptional", "posWeightOptional", "out"), _THREE))
slope("BinaryCrossEntropyWithLogitsTargetBackward", logits_target_slope,
      "torch binary_cross_entropy_with_logits, backward", 2, 1)

for _name, _dims in (("NLLLoss", (1, 2)), ("NLLLoss2d", (4,))):
    define(_name, nll, shape=class_shapes(_dims), result=lambda x, *_: (x.dtype, None), workspace=WORKSPACE,
           dtypes=dict.fromkeys(("weight", "out", "totalWeightOut"), _THREE), oracle="torch.nn.functional.nll_loss")
    define(f"{_name}Backward", nll_backward, shape=class_back_shape(_dims), result=rules.first, workspace=WORKSPACE,
           roles={"totalWeight": "i", "out": "o"}, oracle="torch.nn.functional.nll_loss, backward",
           dtypes=dict.fromkeys(("weight", "totalWeight", "out"), _THREE))
define("CrossEntropyLoss", cross_entropy, shape=entropy_shapes, result=lambda x, *_: (x.dtype, x.dtype, None, None),
       roles=dict.fromkeys(("lossOut", "logProbOut", "zlossOut", "lseForZlossOut"), "o"), workspace=WORKSPACE,
       dtypes=dict.fromkeys(("lossOut", "logProbOut", "zlossOut", "lseForZlossOut"), _THREE),
       oracle="torch.nn.functional.cross_entropy")
define("CrossEntropyLossGrad", cross_entropy_grad, shape=entropy_grad_shape, result=rules.first, workspace=WORKSPACE,
       dtypes={"out": _THREE}, oracle="torch.nn.functional.cross_entropy, backward")
define("SoftmaxCrossEntropyWithLogits", softmax_entropy, shape=lambda x, y: ((x.shape[0],), tuple(x.shape)),
       result=rules.first, check=check_labels, roles={"labels": "i", "loss": "o", "backprop": "o"},
       dtypes=dict.fromkeys(("features", "labels", "loss", "backprop"), _THREE), workspace=WORKSPACE,
       oracle="torch.nn.functional.cross_entropy of probabilities")
define("MultilabelMarginLoss", multilabel_margin, shape=multilabel_shapes, result=rules.first, workspace=WORKSPACE,
       dtypes={"out": _THREE}, oracle="torch.nn.functional.multilabel_margin_loss")
