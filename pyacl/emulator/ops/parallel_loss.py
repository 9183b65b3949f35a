"""Cross entropy of a vocabulary that is cut between devices: one device's part of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...capi import lib
from .registry import by_name, define
from .rules import reject
from .types import BF16

Given = dict[str, Any]


def owned(target: Any, first: int, end: int) -> tuple[Any, Any]:
    """Which targets are not ours, and where ours lie in our part; 0 for the others."""
    other = (target < first) | (target >= end)
    return other, np.where(other, 0, target - first)


def picked(logits: Any, places: Any, other: Any) -> Any:
    return np.where(other, np.float32(0), np.take_along_axis(logits, places[..., None].astype(np.int64), -1)[..., 0])


# ---- what the devices exchange

def online_max_sum(x: Any, weight: Any, target: Any, first: int, end: int) -> Any:
    """Logits' maximum, sum of exponents, the target's logit; who has the target, one bit each, the first bit lowest."""
    logits = x @ weight.T
    top = logits.max(axis=1)
    less = logits - top[:, None]
    other, places = owned(target, first, end)
    bits = np.ones(-(-target.size // 8) * 8, bool)
    bits[:target.size] = other
    return (top, np.exp(less).sum(axis=1), picked(less, places, other), np.packbits(bits, bitorder="little"), places,
            logits)


def online_max_sum_shape(x: Any, weight: Any, target: Any, first: int, end: int) -> Any:
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1] or weight.dtype != x.dtype \
            or tuple(target.shape) != (x.shape[0],) or weight.shape[0] < 1 or x.shape[1] > 65534:
        reject(f"input {list(x.shape)} and weight {list(weight.shape)} must be (n, k) and (v, k) of one type, target "
               f"{list(target.shape)} (n), v above 0 and k 65534 at most")
    if not 0 <= first <= end:
        reject(f"vocabStartIndex {first} must not be below 0, vocabEndIndex {end} not below it")
    n = x.shape[0]
    return (n,), (n,), (n,), ((n + 7) // 8,), (n,), (n, weight.shape[0])


def sum_exp(logits: Any, target: Any, top: Any, first: int, end: int) -> Any:
    less = logits - top[..., None]
    powers = np.exp(less)
    other, places = owned(target, first, end)
    return picked(less, places, other), powers.sum(axis=-1), powers, places, other


def sum_exp_shape(logits: Any, target: Any, top: Any, first: int, end: int) -> Any:
    if logits.ndim not in (2, 3) or not tuple(target.shape) == tuple(top.shape) == tuple(logits.shape[:-1]) \
            or top.dtype != logits.dtype:
        reject(f"vocabParallelLogits {list(logits.shape)} must have 2 or 3 dimensions, target {list(target.shape)} and "
               f"globalLogitsMax {list(top.shape)} all but the last, the latter of its type")
    width, step = logits.shape[-1], 16 if logits.dtype == BF16 else 8
    if first < 0 or end <= first or end - first != width or width % step or not 16 <= width <= 200 << 10 \
            or not 1 <= target.size <= 32 << 10:
        reject(f"the vocabulary [{first}, {end}) must have the width {width}, a multiple of {step} of [16, 200K], and "
               f"there must be 1 to 32K targets, not {target.size}")
    shape = tuple(target.shape)
    return shape, shape, tuple(logits.shape), shape, shape


# ---- what each has in the end

def loss(given: Given) -> Any:
    logits, total = given["vocabParallelLogitsOptional"], given["sumExpLogits"]
    found = np.log(total) - given["predictedLogits"]
    if logits is None:
        return found, None
    return found, np.exp(logits - given["logitsMax"][:, None]) / total[:, None]


def loss_shape(given: Given) -> Any:
    top, logits = given["logitsMax"], given["vocabParallelLogitsOptional"]
    if top.ndim != 1 or any(given[n].shape != top.shape for n in ("sumExpLogits", "predictedLogits")) \
            or logits is not None and (logits.ndim != 2 or logits.shape[0] != top.shape[0]):
        reject(f"logitsMax {list(top.shape)}, sumExpLogits and predictedLogits must be alike, of one dimension, "
               "vocabParallelLogits have as many rows")
    if given["labelSmoothing"] != 0 or given["inputOptional"] is not None or given["weightOptional"] is not None:
        reject("labelSmoothing must be 0, input and weight NULL")
    return tuple(top.shape), None if logits is None else tuple(logits.shape)


def loss_back(given: Given) -> Any:
    x, weight, target = given["input"], given["weight"], given["maskedTarget"]
    chances = given["softmaxOptional"]
    if chances is None:
        chances = np.exp(x @ weight.T - given["logitsMaxOptional"][:, None]) / given["sumExpLogitsOptional"][:, None]
    other = np.unpackbits(given["targetMask"], bitorder="little")[:target.size]
    grads = chances.copy()
    grads[np.arange(target.size), target] -= 1 - other.astype(np.float32)
    grads *= given["grad"][:, None]
    return grads @ weight, grads.T @ x


def loss_back_shape(given: Given) -> Any:
    grad, x, weight, chances = (given[n] for n in ("grad", "input", "weight", "softmaxOptional"))
    if chances is None and (given["logitsMaxOptional"] is None or given["sumExpLogitsOptional"] is None):
        reject("without softmax logitsMax and sumExpLogits must be there", lib.ACLNN_ERR_PARAM_NULLPTR)
    rows = [given[n] for n in ("maskedTarget", "logitsMaxOptional", "sumExpLogitsOptional") if given[n] is not None]
    if given["labelSmoothing"] != 0 or grad.ndim != 1 or x.ndim != 2 or x.shape[0] != grad.shape[0] \
            or weight.ndim != 2 or weight.shape[1] != x.shape[1] or weight.shape[0] < 128 or weight.dtype != x.dtype \
            or any(t.shape != grad.shape for t in rows) or given["targetMask"].size * 8 < grad.size \
            or chances is not None and tuple(chances.shape) != (grad.shape[0], weight.shape[0]):
        reject(f"labelSmoothing {given['labelSmoothing']} must be 0, grad {list(grad.shape)} have one dimension, input "
               f"{list(x.shape)} as many rows, weight {list(weight.shape)} 128 rows or more and input's columns and "
               "type; targetMask a bit for each row; the others fit")
    return (grad.shape[0], weight.shape[1]), tuple(weight.shape)


define("FusedLinearOnlineMaxSum", online_max_sum, shape=online_max_sum_shape, workspace=8192,
       oracle="torch, row by row", deviations="the vocabulary ends before vocabEndIndex, as the device takes it")
define("CrossEntropySumExpAndIndexLogit", sum_exp, shape=sum_exp_shape, oracle="torch, row by row",
       dtypes={"globalLogitsMax": "f32 bf16", "predictedLogitsOut": "f32", "sumExpLogitsOut": "f32",
               "expLogitsOut": "f32", "targetOffsetOut": "s32", "targetMaskOut": "s32"})
by_name("FusedCrossEntropyLossWithMaxSum", loss, loss_shape, oracle="torch.nn.functional.cross_entropy",
        roles={"vocabParallelLogitsOptional": "i"})
by_name("FusedLinearCrossEntropyLossGrad", loss_back, loss_back_shape, workspace=8192,
        oracle="torch.nn.functional.cross_entropy, backward")
