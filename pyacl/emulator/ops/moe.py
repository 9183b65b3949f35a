"""Mixture of experts on one device: gating, sorting tokens by expert, bringing them back; top-k and top-p sampling."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .registry import define
from .scores import softmax
from .types import DTYPES
from .unary import sigmoid

S32 = DTYPES["s32"]


def top_k(x: Any, k: int) -> tuple[Any, Any]:
    """The k largest of the last dimension and where they are; of equal ones the first."""
    order = np.argsort(-x, axis=-1, kind="stable")[..., :k]
    return np.take_along_axis(x, order, axis=-1), order


# ---- gating

def gating_softmax(x: Any, finished: Any, k: int) -> Any:
    values, experts = top_k(softmax(x)[0], k)
    if finished is not None:
        experts = np.where(finished[..., None], x.shape[-1], experts)
    rows = int(np.prod(x.shape[:-1], dtype=np.int64))
    source = np.arange(rows * k).reshape(k, rows).T.reshape(experts.shape)
    return values, experts, source


def gating_softmax_v2(x: Any, finished: Any, k: int, renorm: int, give: bool) -> Any:
    if renorm == 1:
        best, experts = top_k(x, k)
        values, whole = softmax(best)[0], None
    else:
        whole = softmax(x)[0]
        values, experts = top_k(whole, k)
    if finished is not None:
        experts = np.where(finished[..., None], x.shape[-1], experts)
    return values, experts, whole if give else None


def k_check(x: Any, other: Any, k: int, *_: Any) -> None:
    if not 0 < k <= x.shape[-1]:
        rules.reject(f"k is {k}; there are {x.shape[-1]} experts")


def gating(x: Any, bias: Any, k: int, k_group: int, groups: int, select: int, renorm: int, kind: int, give: bool,
           factor: float, epsilon: float) -> Any:
    """kind 0 is softmax, 1 sigmoid; select 0 ranks groups by their largest, 1 by the sum of their two largest."""
    scores = sigmoid(x) if kind == 1 else softmax(x)[0]
    ranked = scores if bias is None else scores + bias
    if groups > 1:
        parts = ranked.reshape(*ranked.shape[:-1], groups, -1)
        strength = parts.max(axis=-1) if select == 0 else top_k(parts, 2)[0].sum(axis=-1)
        chosen = top_k(strength, k_group)[1]
        keep = np.zeros(strength.shape, bool)
        np.put_along_axis(keep, chosen, True, axis=-1)
        ranked = np.where(np.repeat(keep, parts.shape[-1], axis=-1), ranked, -np.inf)
    experts = top_k(ranked, k)[1]
    values = np.take_along_axis(scores, experts, axis=-1)
    if kind == 1 or renorm == 1:
        values = values / (values.sum(axis=-1, keepdims=True) + np.float32(epsilon))
    return values * np.float32(factor), experts, scores if give else None


# ---- routing

def inverse(order: Any) -> Any:
    """Where each element went: the inverse of a permutation."""
    found = np.empty_like(order)
    found[order] = np.arange(order.size)
    return found


def init_routing(x: Any, rows: Any, experts: Any, active: int) -> Any:
    """Tokens copied in the order of their experts; rows count tokens first, then choices."""
    order = np.argsort(experts.reshape(-1), kind="stable")
    source = rows.reshape(-1)[order]
    count = min(active, x.shape[0]) * experts.shape[1]
    return x[source[:count] % x.shape[0]], inverse(source), experts.reshape(-1)[order]


def init_routing_v2(x: Any, experts: Any, active: int, capacity: int, number: int, pad: int, flag: int, before: bool,
                    outs: Any) -> Any:
    """Like `init_routing` with rows counting choices first; with `pad` each expert has room for `capacity` tokens."""
    flat, k = experts.reshape(-1), experts.shape[1]
    order = np.argsort(flat, kind="stable")
    counts = np.bincount(flat, minlength=max(number, 1))
    if pad == 0:
        count = min(active, flat.size) if active > 0 else flat.size
        totals = None if flag == 0 else np.cumsum(counts) if flag == 1 else counts
        return x[order[:count] // k], inverse(order), totals, None
    expanded = np.zeros((number, capacity, x.shape[1]), x.dtype)
    ranks = np.arange(flat.size) - (np.cumsum(counts) - counts)[flat[order]]
    fits = ranks < capacity
    expanded[flat[order][fits], ranks[fits]] = x[order[fits] // k]
    places = np.full(flat.size, -1)
    places[order[fits]] = flat[order][fits] * capacity + ranks[fits]
    return expanded.reshape(outs[0].shape), places, None, counts if before else None


def finalize(expanded: Any, x1: Any, x2: Any, bias: Any, scales: Any, rows: Any, experts: Any) -> Any:
    return _finalize(expanded, rows, x1, x2, bias, scales, experts, True, False)


def finalize_v2(expanded: Any, rows: Any, x1: Any, x2: Any, bias: Any, scales: Any, experts: Any, mode: int) -> Any:
    return _finalize(expanded, rows, x1, x2, bias, scales, experts, mode in (0, 1), mode in (1, 3))


def _finalize(expanded: Any, rows: Any, x1: Any, x2: Any, bias: Any, scales: Any, experts: Any, by_choice: bool,
              padded: bool) -> Any:
    """Each token's experts added up: results times scales, with bias, on top of x1 and x2."""
    flat = expanded.reshape(-1, expanded.shape[-1])
    count = scales.shape[0] if scales is not None else rows.size
    places = rows.reshape(-1, count).T if by_choice else rows.reshape(count, -1)
    part = np.where((places >= 0)[..., None], flat[np.maximum(places, 0)], 0) if padded else flat[places]
    if bias is not None:
        part = part + bias[experts]
    if scales is not None:
        part = part * scales[..., None]
    out = part.sum(axis=1)
    for x in (x1, x2):
        if x is not None:
            out = out + x
    return out


def expert_tokens(experts: Any, number: int) -> Any:
    """Cumulative numbers of tokens, expert by expert, of a sorted list."""
    return np.searchsorted(experts, np.arange(number), side="right")


# ---- permutation by token

def token_permute(tokens: Any, indices: Any, count: int, padded: bool) -> Any:
    if padded:
        raise NotImplementedError("aclnnMoeTokenPermute with paddedMode")
    order = np.argsort(indices.reshape(-1), kind="stable")
    k = indices.shape[1] if indices.ndim == 2 else 1
    return tokens[order[:count or order.size] // k], inverse(order)


def token_unpermute(tokens: Any, places: Any, probs: Any, padded: bool, restore: Any) -> Any:
    if padded:
        raise NotImplementedError("aclnnMoeTokenUnpermute with paddedMode")
    part = gathered(tokens, places)
    if probs is None:
        return part
    return (part.reshape(*probs.shape, -1) * probs[..., None]).sum(axis=1)


def gathered(tokens: Any, places: Any) -> Any:
    """Rows by place; those that were dropped are zero."""
    found = tokens[np.minimum(places, tokens.shape[0] - 1)]
    return np.where((places < tokens.shape[0])[:, None], found, np.zeros((), found.dtype))


def token_permute_grad(grad: Any, places: Any, k: int, padded: bool) -> Any:
    return gathered(grad, places).reshape(-1, max(k, 1), grad.shape[-1]).sum(axis=1)


def token_unpermute_grad(tokens: Any, grad: Any, places: Any, probs: Any, padded: bool, restore: Any) -> Any:
    if probs is None:
        found = np.zeros_like(tokens)
        found[places] = grad
        return found, None
    spread = grad[:, None] * probs[..., None]
    found = np.zeros_like(tokens)
    found[places] = spread.reshape(-1, grad.shape[-1])
    return found, (tokens[places].reshape(*probs.shape, -1) * grad[:, None]).sum(axis=-1)


# ---- sampling

def top_k_top_p(logits: Any, p: Any, k: Any) -> Any:
    """Everything outside of the k largest, and of the smallest set with probability p, becomes -inf."""
    order = np.argsort(logits, axis=-1, kind="stable")
    sorted_logits = np.take_along_axis(logits, order, axis=-1)
    n = logits.shape[-1]
    if k is not None:
        limit = np.take_along_axis(sorted_logits, (n - np.clip(k, 1, n)).astype(np.int64)[:, None], axis=-1)
        sorted_logits = np.where(sorted_logits < limit, -np.inf, sorted_logits)
    if p is not None:
        total = np.cumsum(softmax(sorted_logits)[0], axis=-1)
        drop = total <= 1 - p[:, None]
        drop[:, -1] = False
        sorted_logits = np.where(drop, -np.inf, sorted_logits)
    out = np.empty_like(sorted_logits)
    np.put_along_axis(out, order, sorted_logits, axis=-1)
    return out


def chosen(x: Any, other: Any, k: int, *_: Any) -> Any:
    return ((*x.shape[:-1], k),) * 3


def chosen_of(x: Any, other: Any, k: int, *_: Any) -> Any:
    """Values, indices, and the scores of all."""
    return (*chosen(x, other, k)[:2], tuple(x.shape))


define("MoeGatingTopKSoftmax", gating_softmax, shape=chosen, result=lambda x, *_: (x.dtype, S32, S32), check=k_check,
       workspace=1024, oracle="torch.topk of softmax")
define("MoeGatingTopKSoftmaxV2", gating_softmax_v2, optional="softmaxResultOutOptional", check=k_check, workspace=1024,
       shape=chosen_of, oracle="torch.topk of softmax")
define("MoeGatingTopK", gating, optional="outOut", check=k_check, workspace=1024,
       shape=chosen_of, oracle="torch.topk, row by row")
define("MoeInitRouting", init_routing, raw=True, oracle="row by row",
       shape=lambda x, r, e, a: ((min(a, x.shape[0]) * e.shape[1], x.shape[1]), (e.size,), (e.size,)))
define("MoeInitRoutingV2", init_routing_v2, raw=True, oracle="row by row",
       optional="expertTokensCountOrCumsumOutOptional expertTokensBeforeCapacityOutOptional")
define("MoeFinalizeRouting", finalize, shape=lambda e, x1, *_: tuple(x1.shape), oracle="row by row")
define("MoeFinalizeRoutingV2", finalize_v2, oracle="row by row")
define("MoeComputeExpertTokens", expert_tokens, shape=lambda e, n: (n,), oracle="torch.bincount")
define("MoeTokenPermute", token_permute, raw=True, oracle="row by row",
       deviations="paddedMode is not emulated")
define("MoeTokenUnpermute", token_unpermute, oracle="row by row", optional="restoreShapeOptional",
       deviations="paddedMode is not emulated")
define("MoeTokenPermuteGrad", token_permute_grad, oracle="row by row")
define("MoeTokenUnpermuteGrad", token_unpermute_grad, optional="probsGradOut", oracle="row by row")
define("ApplyTopKTopP", top_k_top_p, shape=rules.same, result=rules.first, optional="p k", oracle="row by row")
