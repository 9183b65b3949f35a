"""Losses, by PyTorch's functions and its autograd."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from pyacl.emulator.ops.types import BF16, F16, F32

from ..oracle import Draw, Oracle, torch

functional = torch.nn.functional
HOW = ("none", "mean", "sum", "batchmean")


def pairs(low: float = -4, high: float = 4, target: tuple[float, float] = (-4, 4), most: int = 2,
          extra: tuple[Any, ...] = (), weights: int = 0, floats: Any = (F32, F32, F16, BF16)) -> Callable[[Draw], Any]:
    """self, target (perhaps broadcasting), weights, reduction, extra; a gradient in front for ...Backward."""
    def draw(d: Draw) -> list[Any]:
        backward = "Backward" in d.name
        shape, dtype = d.shape(1, 3), F32 if backward else d.choice(floats)
        reduction = d.integer(0, most)
        found = [d.array(shape, dtype, low, high), d.array(shape, dtype, *target)]
        found += [d.array(shape[-1:], dtype, 0, 2) if d.flag() else None for _ in range(weights)]
        found += [reduction, *(d.choice(e) for e in extra)]
        return [d.array(shape if reduction == 0 else (), dtype), *found] if backward else found

    return draw


def forward(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y, reduction, **rest: function(x, y, reduction=HOW[reduction], **rest)


def backward(function: Callable[..., Any], leaf: int = 0) -> Callable[..., Any]:
    """(dy, self, target, ...) -> the gradient by self, or by target."""
    def call(dy: Any, *inputs: Any) -> Any:
        leaves = list(inputs)
        leaves[leaf] = inputs[leaf].clone().requires_grad_()
        function(*leaves).backward(dy)
        return leaves[leaf].grad

    return call


def smooth(x: Any, y: Any, reduction: int, beta: float) -> Any:
    return functional.smooth_l1_loss(x, y, reduction=HOW[reduction], beta=beta)


def kl(x: Any, y: Any, reduction: int, log: bool) -> Any:
    if reduction == 1:
        return functional.kl_div(x, y, reduction="sum", log_target=log) / x.numel()
    return functional.kl_div(x, y, reduction=HOW[reduction], log_target=log)


def bce(x: Any, y: Any, weight: Any, reduction: int) -> Any:
    return functional.binary_cross_entropy(x, y, weight, reduction=HOW[reduction])


def logits(x: Any, y: Any, weight: Any, positive: Any, reduction: int) -> Any:
    return functional.binary_cross_entropy_with_logits(x, y, weight, pos_weight=positive, reduction=HOW[reduction])


def classes(d: Draw, shape: Any, count: int, ignore: int = -100) -> Any:
    target = d.array(tuple(shape), np.int64, 0, count - 1)
    return np.where(d.rng.random(tuple(shape)) < 0.2, ignore, target).astype(d.choice([np.int64, np.int32]))


def nll_inputs(d: Draw) -> list[Any]:
    count, reduction = d.integer(2, 5), d.integer(0, 2)
    shape: tuple[int, ...] = (d.integer(2, 5), count, *((d.integer(1, 3), d.integer(1, 3)) if "2d" in d.name else ()))
    if "2d" not in d.name and d.rng.random() < 0.2:
        shape = (count,)
    targets = shape[:1] + shape[2:] if len(shape) > 1 else ()
    x = d.array(shape, F32)
    target = classes(d, targets, count)
    if targets:
        target.reshape(-1)[0] = 1
    else:
        target = np.array(1, np.int64)
    weight = d.array((count,), F32, 0.5, 2)
    if "Backward" not in d.name:
        return [x, target, weight, reduction, -100]
    total = np.where(target == -100, 0, weight[np.maximum(target, 0)]).sum(dtype=np.float32)
    return [d.array(targets if reduction == 0 else (), F32), x, target, weight, reduction, -100, np.asarray(total)]


def nll(x: Any, target: Any, weight: Any, reduction: int, ignore: int) -> Any:
    call = torch.ops.aten.nll_loss2d_forward if x.ndim == 4 else torch.ops.aten.nll_loss_forward
    value, total = call(x, target.long(), weight, reduction, ignore)
    return value, total if reduction else torch.tensor(3.0)


def nll_back(dy: Any, x: Any, target: Any, weight: Any, reduction: int, ignore: int, total: Any) -> Any:
    return backward(lambda x: functional.nll_loss(x, target.long(), weight, ignore_index=ignore,
                                                  reduction=HOW[reduction]))(dy, x)


def entropy_inputs(d: Draw) -> list[Any]:
    n, count = d.integer(2, 5), d.integer(2, 5)
    target = classes(d, (n,), count)
    target[0] = 1
    reduction = d.choice(["none", "mean", "sum", None])
    smoothing = d.choice([0.0, 0.2])
    weight = d.array((count,), F32, 0.5, 2) if d.flag() else None
    if "Grad" not in d.name:
        return [d.array((n, count), d.choice([F32, F16])), target, weight, reduction, -100, smoothing, 0.0, False]
    x = torch.log_softmax(torch.from_numpy(d.array((n, count), F32)), 1).numpy()
    return [d.array((n,) if reduction == "none" else (), F32), x, target.astype(np.int64), weight, None, None,
            reduction, -100, smoothing, 0.0]


def entropy(x: Any, target: Any, weight: Any, reduction: Any, ignore: int, smoothing: float, *_: Any) -> Any:
    value = functional.cross_entropy(x, target.long(), weight, ignore_index=ignore, reduction=reduction or "mean",
                                     label_smoothing=smoothing)
    blank = torch.full_like(value, 3), torch.full(x.shape[:1], 3.0)
    return value, torch.log_softmax(x, 1), *blank


def entropy_grad(dy: Any, log: Any, target: Any, weight: Any, a: Any, b: Any, reduction: Any, ignore: int,
                 smoothing: float, z: float) -> Any:
    return backward(lambda x: functional.cross_entropy(
        x, target, weight, ignore_index=ignore, reduction=reduction or "mean", label_smoothing=smoothing))(dy, log)


def soft_inputs(d: Draw) -> list[Any]:
    shape, dtype = (d.integer(1, 4), d.integer(1, 5)), d.choice([F32, F16])
    labels = d.array(shape, F32, 0.1, 1)
    return [d.array(shape, dtype), (labels / labels.sum(1, keepdims=True)).astype(dtype)]


def soft_entropy(x: Any, labels: Any) -> Any:
    return functional.cross_entropy(x, labels, reduction="none"), torch.softmax(x, 1) - labels


def margin_inputs(d: Draw) -> list[Any]:
    count = d.integer(2, 5)
    shape = (d.integer(1, 4), count) if d.flag() else (count,)
    target = np.stack([d.rng.permutation(count) for _ in range(shape[0] if len(shape) > 1 else 1)]).reshape(shape)
    target = np.where(d.rng.random(shape) < 0.3, -1, target)
    return [d.array(shape, F32), target.astype(d.choice([np.int32, np.int64])), d.integer(0, 2)]


def margin(x: Any, target: Any, reduction: int) -> Any:
    return torch.ops.aten.multilabel_margin_loss_forward(x, target.long(), reduction)


B = "binary_cross_entropy_with_logits"
UNIT: Any = {"low": 0.05, "high": 0.95, "target": (0, 1)}
ORACLES = {
    "torch.nn.functional.mse_loss": Oracle(forward(functional.mse_loss), pairs(), atol=1e-5),
    "torch mse_loss, backward": Oracle(backward(forward(functional.mse_loss)), pairs(), atol=1e-5),
    "torch.nn.functional.l1_loss": Oracle(forward(functional.l1_loss), pairs(), atol=1e-5),
    "torch l1_loss, backward": Oracle(backward(forward(functional.l1_loss)), pairs(), atol=1e-5),
    "torch.nn.functional.smooth_l1_loss": Oracle(smooth, pairs(extra=([1.0, 0.5],)), atol=1e-5),
    "torch smooth_l1_loss, backward": Oracle(backward(smooth), pairs(extra=([1.0, 0.5],)), atol=1e-5),
    "torch.nn.functional.soft_margin_loss": Oracle(forward(functional.soft_margin_loss), pairs(), atol=1e-5),
    "torch soft_margin_loss, backward": Oracle(backward(forward(functional.soft_margin_loss)), pairs(), atol=1e-5),
    "torch.nn.functional.kl_div": Oracle(kl, pairs(target=(0, 2), most=3, extra=([False, True],)), atol=1e-5),
    "KlDivBackward": Oracle(backward(kl), pairs(target=(0, 2), most=3, extra=([False, True],)), atol=1e-5),
    "KlDivTargetBackward": Oracle(backward(kl, 1), pairs(target=(0.1, 2), most=3, extra=([False, True],)), atol=1e-5),
    "torch.nn.functional.binary_cross_entropy": Oracle(bce, pairs(weights=1, **UNIT), atol=1e-5),
    "torch binary_cross_entropy, backward": Oracle(backward(bce), pairs(weights=1, **UNIT), atol=1e-5),
    f"torch.nn.functional.{B}": Oracle(logits, pairs(target=(0, 1), weights=2), atol=1e-5),
    "BinaryCrossEntropyWithLogitsBackward": Oracle(backward(logits), pairs(target=(0, 1), weights=2), atol=1e-5),
    "BinaryCrossEntropyWithLogitsTargetBackward": Oracle(
        backward(logits, 1), pairs(target=(0, 1), weights=2), atol=1e-5),
    "torch.nn.functional.nll_loss": Oracle(nll, nll_inputs, atol=1e-5),
    "torch.nn.functional.nll_loss, backward": Oracle(nll_back, nll_inputs, atol=1e-5),
    "CrossEntropyLoss": Oracle(entropy, entropy_inputs, atol=1e-5, cases=8),
    "CrossEntropyLossGrad": Oracle(entropy_grad, entropy_inputs, atol=1e-5, cases=8),
    "SoftmaxCrossEntropyWithLogits": Oracle(soft_entropy, soft_inputs, atol=1e-5),
    "MultilabelMarginLoss": Oracle(margin, margin_inputs, atol=1e-5),
}
