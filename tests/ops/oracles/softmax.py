"""The softmax family."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..oracle import Draw, Oracle, torch

NAMES = "f32 f32 f16 bf16 f64"


def one(d: Draw) -> list[Any]:
    x = d.array(d.shape(0, 4), d.dtype(NAMES), -9, 9)
    return [x, d.axis(x.ndim)]


def pair(d: Draw) -> list[Any]:
    shape, dtype = d.shape(1, 4), d.dtype(NAMES, 0, 1)
    return [d.array(shape, dtype), d.array(shape, dtype, 0, 1), d.axis(len(shape))]


def masked(d: Draw) -> list[Any]:
    x = d.array((2, 3, 4, 4), d.dtype("f32 f16 bf16"))
    return [x, d.array((2, d.choice([1, 3]), 4, 4), np.bool_), 0.5, False]


def masked_softmax(x: Any, mask: Any, scale: float, triangle: bool) -> Any:
    return torch.softmax((x * scale).masked_fill(mask, -10000.0), -1)


def masked_backward(grad: Any, y: Any, mask: Any, scale: float, triangle: bool) -> Any:
    return (torch._softmax_backward_data(grad, y, -1, torch.float32) * scale).masked_fill(mask, 0.0)


ORACLES = {
    "Softmax": Oracle(torch.softmax, one),
    "LogSoftmax": Oracle(torch.log_softmax, one, atol=1e-5),
    "SoftmaxBackward": Oracle(lambda g, y, dim: torch._softmax_backward_data(g, y, dim, y.dtype), pair, atol=1e-5),
    "LogSoftmaxBackward": Oracle(lambda g, y, dim: torch._log_softmax_backward_data(g, y, dim, y.dtype), pair,
                                 atol=1e-5),
    "ScaledMaskedSoftmax": Oracle(masked_softmax, masked, atol=1e-5),
    "ScaledMaskedSoftmaxBackward": Oracle(masked_backward, lambda d: [
        (x := masked(d))[0], np.asarray(d.array(x[0].shape, x[0].dtype, 0, 1)), *x[1:]], atol=1e-5),
}
