"""The softmax family."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .registry import define, family
from .rules import axis, reject
from .sums import total

WORKSPACE = 4096


def _over(x: Any, dim: int) -> Any:
    return (axis(dim, x.ndim),) if x.ndim else None


def softmax(x: Any, dim: int, out: Any = None) -> Any:
    over = _over(x, dim)
    y = np.subtract(x, np.max(x, axis=over, keepdims=True, initial=-np.inf), out=out)
    y = np.exp(y, out=out)
    return np.divide(y, total(np.asarray(y), over, True), out=out)


def log_softmax(x: Any, dim: int, out: Any = None) -> Any:
    over = _over(x, dim)
    y = np.asarray(np.subtract(x, np.max(x, axis=over, keepdims=True, initial=-np.inf), out=out))
    return np.subtract(y, np.log(total(np.exp(y), over, True)), out=out)


def softmax_backward(grad: Any, y: Any, dim: int) -> Any:
    return (grad - total(np.asarray(grad * y), _over(y, dim), True)) * y


def log_softmax_backward(grad: Any, y: Any, dim: int) -> Any:
    return grad - np.exp(y) * total(grad, _over(y, dim), True)


def scaled_masked_softmax(x: Any, mask: Any, scale: float, triangle: bool) -> Any:
    """What the mask covers counts as -10000."""
    return softmax(np.where(mask, x.dtype.type(-10000), x * x.dtype.type(scale)), -1)


def scaled_masked_softmax_backward(grad: Any, y: Any, mask: Any, scale: float, triangle: bool) -> Any:
    return np.where(mask, y.dtype.type(0), softmax_backward(grad, y, -1) * y.dtype.type(scale))


def check_masked(x: Any, *rest: Any) -> None:
    mask = rest[-3]
    if x.ndim != 4 or not 0 < x.shape[3] <= 4096 or rules.broadcast(x, mask) != tuple(x.shape):
        reject(f"x of shape {list(x.shape)} is not 4-d, its last dimension is 0 or above 4096, or mask does not fit")
    if rest[-1]:
        reject("a triangular mask made by the operator is not supported: it must be false")


def check_axis(x: Any, dim: int) -> None:
    axis(dim, x.ndim)


def check_pair(grad: Any, y: Any, dim: int, *_: Any) -> None:
    axis(dim, y.ndim)
    if grad.shape != y.shape:
        reject(f"gradOutput of shape {list(grad.shape)} and output of {list(y.shape)} differ")


family(define, (
    ("Softmax", softmax, "torch.softmax"), ("LogSoftmax", log_softmax, "torch.log_softmax"),
), shape=rules.same, result=rules.first, rows=rules.before(1), check=check_axis, workspace=WORKSPACE)
family(define, (
    ("SoftmaxBackward", softmax_backward, "torch's gradient"),
    ("LogSoftmaxBackward", log_softmax_backward, "torch's gradient"),
), shape=rules.same, result=rules.common, meet=rules.common, rows=rules.before(2), along=(0, 1), check=check_pair,
   workspace=WORKSPACE)
define("ScaledMaskedSoftmax", scaled_masked_softmax, shape=rules.same, result=rules.first, check=check_masked,
       workspace=WORKSPACE, oracle="torch.softmax of masked_fill")
define("ScaledMaskedSoftmaxBackward", scaled_masked_softmax_backward, shape=rules.like(1),
       result=rules.first, check=check_masked, workspace=WORKSPACE, oracle="torch's gradient")
