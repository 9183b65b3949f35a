"""What is done around attention: two halves of it put together, the softmax of windows, the balance of assignments."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...capi import lib
from . import rules
from .registry import define
from .softmax import softmax

TILING = lib.ACLNN_ERR_INNER_TILING_ERROR
_FLOATS = "f32 f16 bf16"


def ring_update(old: Any, old_top: Any, old_sum: Any, new: Any, new_top: Any, new_sum: Any, ends: Any,
                layout: str) -> Any:
    """Two outputs of attention over different keys, [S, B, N * D], weighed by their sums, [B, N, S, 8]."""
    top = np.maximum(old_top, new_top)
    first, second = old_sum * np.exp(old_top - top), new_sum * np.exp(new_top - top)
    total = first + second
    s, b, _ = old.shape
    found: Any = 0
    for part, weight in ((old, first / total), (new, second / total)):
        heads = part.reshape(s, b, top.shape[1], -1)
        found = found + heads * weight[..., :1].transpose(2, 0, 1, 3)
    return found.reshape(old.shape), top, total


def ring_shape(old: Any, old_top: Any, old_sum: Any, new: Any, new_top: Any, new_sum: Any, ends: Any,
               layout: Any) -> Any:
    if layout not in (None, "", "SBH"):
        rules.reject(f"inputLayout {layout} is not emulated: use SBH", TILING)
    if old.ndim != 3 or old_top.ndim != 4 or old_top.shape[3] != 8 or old.shape[2] % max(old_top.shape[1], 1) \
            or (old_top.shape[2], old_top.shape[0]) != tuple(old.shape[:2]):
        rules.reject(f"prevAttnOut {list(old.shape)} must be (S, B, H), prevSoftmaxMax {list(old_top.shape)} "
                     "(B, N, S, 8)", TILING)
    if tuple(new.shape) != tuple(old.shape) or any(t.shape != old_top.shape for t in (old_sum, new_top, new_sum)):
        rules.reject("shapes of the two attentions differ", TILING)
    return tuple(old.shape), tuple(old_top.shape), tuple(old_top.shape)


def masked_softmax(x: Any, mask: Any, bias: Any, scale: float, mode: int) -> Any:
    """[B * W, N, S1, S2] or [B, W, N, S1, S2]: a mask for each window, a bias for each head."""
    heads, inner = bias.shape[-3], tuple(x.shape[-2:])
    scores = x * np.float32(scale) + bias.reshape(heads, *inner)
    if mask is not None:
        mask = mask.reshape(-1, 1, *inner)
        scores = (scores.reshape(-1, mask.shape[0], heads, *inner) + mask).reshape(x.shape)
    return softmax(scores, -1)


def masked_softmax_shape(x: Any, mask: Any, bias: Any, scale: float, mode: int) -> Any:
    if x.ndim not in (4, 5):
        rules.reject(f"x {list(x.shape)} must have 4 or 5 dimensions", TILING)
    heads, *inner = x.shape[-3:]
    if tuple(bias.shape) not in ((heads, *inner), (1, heads, *inner), (1, 1, heads, *inner)) or bias.dtype != x.dtype:
        rules.reject(f"relativePosBias {list(bias.shape)} must be [{heads}, {inner[0]}, {inner[1]}] of x's type, with "
                     "none, 1 or 2 dimensions of 1 in front", TILING)
    if mask is not None:
        windows = mask.shape[1 if mask.ndim == 5 else 0]
        fits = windows > 0 and (x.shape[1] == windows if x.ndim == 5 else x.shape[0] % windows == 0)
        if tuple(mask.shape) not in ((windows, *inner), (windows, 1, *inner), (1, windows, 1, *inner)) or not fits \
                or mask.dtype != x.dtype:
            rules.reject(f"attenMask {list(mask.shape)} must be [W, {inner[0]}, {inner[1]}], [W, 1, ...] or [1, W, 1, "
                         "...] of x's type, and W must fit x", TILING)
    return tuple(x.shape)


def sinkhorn(cost: Any, tol: Any) -> Any:
    """exp(cost) with its rows and columns scaled in turn, until the columns' factors change by `tol` at most."""
    limit = np.float32(1e-4) if tol is None else tol
    cost, eps = np.exp(cost), np.float32(1e-8)
    rows, columns = (np.float32(n) for n in cost.shape)
    second = np.ones(cost.shape[1], np.float32)
    while True:
        first = 1 / (rows * ((second * cost).sum(axis=1) + eps))
        old, second = second, 1 / (columns * ((first[:, None] * cost).sum(axis=0) + eps))
        if not np.abs(old - second).mean() > limit:
            return second * cost * first[:, None]


def sinkhorn_shape(cost: Any, tol: Any) -> Any:
    if cost.ndim != 2 or cost.shape[0] > 10000 or cost.shape[1] > 1024:
        rules.reject(f"cost {list(cost.shape)} must be a matrix of up to 10000 rows and 1024 columns")
    return tuple(cost.shape)


define("RingAttentionUpdate", ring_update, shape=ring_shape, oracle="torch, attention over all keys",
       roles={"prevAttnOut": "i", "curAttnOut": "i"}, deviations="inputLayout TND is not emulated",
       dtypes={**dict.fromkeys(("prevAttnOut", "curAttnOut", "attnOutOut"), _FLOATS), "actualSeqQlenOptional": "s64",
               **dict.fromkeys(("prevSoftmaxMax", "prevSoftmaxSum", "curSoftmaxMax", "curSoftmaxSum", "softmaxMaxOut",
                                "softmaxSumOut"), "f32")})
define("MaskedSoftmaxWithRelPosBias", masked_softmax, shape=masked_softmax_shape, result=rules.first,
       oracle="torch.softmax, window by window")
define("Sinkhorn", sinkhorn, shape=sinkhorn_shape, result=rules.first, exact=True, optional="tol", workspace=4096,
       oracle="torch, the iteration")
