"""Rows in groups of different lengths."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...capi import lib
from . import rules
from .registry import define
from .rules import reject


def expand_permute(permute: Any, starts: Any, ends: Any, size: int) -> Any:
    """Of each group of the output the places of its elements in the input."""
    ends = ends.astype(np.int64)
    lengths = np.diff(ends)
    group = np.repeat(np.arange(lengths.size), lengths)
    return starts[permute[group]] + np.arange(size) - ends[group]


def expand_permute_shape(permute: Any, starts: Any, ends: Any, size: int) -> Any:
    if permute.ndim != 1 or tuple(starts.shape) != (permute.shape[0] + 1,) or starts.shape != ends.shape or size < 0:
        reject(f"permute {list(permute.shape)} must have one dimension, inputOffset {list(starts.shape)} and "
               f"outputOffset {list(ends.shape)} one element more, outputSize {size} not be below 0",
               lib.ACLNN_ERR_INNER_TILING_ERROR)
    return (size,)


def bias_back(grad: Any, groups: Any, kind: int = 0) -> Any:
    """Sums of each group's rows; groups are said by their ends (kind 0) or their sizes (1)."""
    if groups is None:
        return grad.sum(axis=1)
    ends = np.cumsum(groups) if kind == 1 else groups
    ends = np.arange(len(grad) + 1)[ends]  # an end behind the rows fails here
    sums = [grad[a:b].sum(axis=0, dtype=np.float64) for a, b in zip((0, *ends[:-1]), ends)]
    return np.array(sums).reshape(len(ends), grad.shape[1])


def bias_back_shape(grad: Any, groups: Any, kind: int = 0) -> Any:
    if grad.ndim != (3 if groups is None else 2) or groups is not None and (groups.ndim != 1 or groups.size > 2048):
        reject(f"gradY {list(grad.shape)} must have 2 dimensions, and groupIdx one of up to 2048 numbers; without "
               "groupIdx it must have 3")
    if kind not in (0, 1):
        reject(f"groupIdxType {kind} must be 0 or 1")
    return (grad.shape[0], grad.shape[2]) if groups is None else (groups.size, grad.shape[1])


def segsum_back(grad: Any, y: Any) -> Any:
    """The gradient of exp of the sums of segments: what lies below each place, from the diagonal's left on."""
    below = np.tri(y.shape[-1], k=-1, dtype=bool)
    products = np.where(below, grad * y, np.float32(0))
    return np.where(below, np.cumsum(products[..., ::-1, :], axis=-2)[..., ::-1, :], np.float32(0)).sum(axis=-1)


def segsum_back_shape(grad: Any, y: Any) -> Any:
    if grad.ndim not in (4, 5) or grad.shape[-1] != grad.shape[-2] or y.shape != grad.shape or y.dtype != grad.dtype:
        reject(f"gradOutput {list(grad.shape)} and gradSelf {list(y.shape)} must be the same, of 4 or 5 dimensions, "
               "the last two alike")
    return tuple(grad.shape[:-1])


define("ExpandIntoJaggedPermute", expand_permute, shape=expand_permute_shape, raw=True, rehearsed=False,
       oracle="group by group",
       dtypes=dict.fromkeys("permute inputOffset outputOffset outputPermuteOut".split(), "s32"))
define("GroupedBiasAddGrad GroupedBiasAddGradV2", bias_back, shape=bias_back_shape, result=rules.first, exact=True,
       oracle="torch.segment_reduce")
define("ExpSegsumBackward", segsum_back, shape=segsum_back_shape, result=rules.first, exact=True,
       oracle="torch, backward")
