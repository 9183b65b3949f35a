"""Mixture of experts on one device, the later forms: routing with quantisation, routing maps, what flows back."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...capi import lib
from . import rules
from .moe import init_routing, init_routing_v2
from .quantise import f32, quantised, symmetric
from .registry import by_name, define
from .types import S8

TILING = lib.ACLNN_ERR_INNER_TILING_ERROR
Given = dict[str, Any]


def refuse(text: str) -> None:
    rules.reject(text, TILING)


# ---- routing with quantisation

def routing_v3(given: Given) -> Any:
    """Only the experts of [start, end) count: their tokens come first, in the order of the experts."""
    x, scale, (start, end) = given["x"], given["scaleOptional"], given["activeExpertRangeOptional"]
    flat, k = given["expertIdx"].reshape(-1), given["expertIdx"].shape[1]
    inside = (flat >= start) & (flat < end)
    count = int(inside.sum())
    order = np.argsort(np.where(inside, flat, end), kind="stable")[:count]
    experts = flat[order] - start
    numbers = np.bincount(experts, minlength=end - start)
    expanded = np.zeros((flat.size, x.shape[1]), x.dtype if given["quantMode"] < 0 else np.int8)
    scales = np.zeros(flat.size, np.float32)
    if given["quantMode"] < 0:
        np.take(x, order // k, 0, expanded[:count], mode="clip")
        if scale is not None:
            scales[:count] = scale[order // k]
    elif count:
        rows = f32(x[order // k])
        values, found = symmetric(rows if scale is None else rows * scale[experts], S8)
        expanded[:count], scales[:count] = quantised(values, S8), found[:, 0]
    if given["rowIdxType"] == 0:
        places = np.full(flat.size, -1)
        places[order] = np.arange(count)
    else:
        places = np.zeros(flat.size, np.int64)
        places[:count] = order
    if given["expertTokensNumType"] == 2:
        used = np.flatnonzero(numbers)
        pairs = np.zeros((given["expertNum"], 2), np.int64)
        pairs[:used.size] = np.stack((used + start, numbers[used]), axis=1)
        numbers = pairs
    return expanded, places, numbers, scales


def routing_v3_shape(given: Given) -> Any:
    x, experts, scale, span = (given[n] for n in ("x", "expertIdx", "scaleOptional", "activeExpertRangeOptional"))
    if x.ndim != 2 or experts.ndim != 2 or experts.shape[0] != x.shape[0]:
        refuse(f"x {list(x.shape)} must be (rows, H), expertIdx {list(experts.shape)} (rows, K)")
    if span is None or len(span) != 2 or not 0 <= span[0] < span[1] <= given["expertNum"]:
        refuse(f"activeExpertRange {span} must be a start and an end within expertNum {given['expertNum']}")
    kind, mode = given["expertTokensNumType"], given["quantMode"]
    if given["activeNum"] != experts.size:
        refuse(f"activeNum is {given['activeNum']}; it must be rows * K, {experts.size}")
    if kind not in (1, 2) or not given["expertTokensNumFlag"] or given["expertNum"] > (5120 if kind == 2 else 10240):
        refuse(f"expertTokensNumType {kind} must be 1 or 2, expertTokensNumFlag true, expertNum {given['expertNum']} "
               "not above 10240 (5120 for type 2)")
    if given["dropPadMode"] != 0 or mode not in (-1, 1) or given["rowIdxType"] not in (0, 1):
        refuse(f"dropPadMode {given['dropPadMode']} must be 0, quantMode {mode} -1 or 1, rowIdxType "
               f"{given['rowIdxType']} 0 or 1")
    if mode == 1 and x.dtype == S8:
        refuse("x is int8, which quantMode 1 does not take")
    wanted = (x.shape[0],) if mode < 0 else (span[1] - span[0], x.shape[1])
    if scale is not None and tuple(scale.shape) != wanted:
        refuse(f"scale has the shape {list(scale.shape)}; it must have {list(wanted)}")
    numbers = (given["expertNum"], 2) if kind == 2 else (span[1] - span[0],)
    return (experts.size, x.shape[1]), (experts.size,), numbers, (experts.size,)


def routing_quant(x: Any, rows: Any, experts: Any, active: int, scale: float, offset: float) -> Any:
    found, places, order = init_routing(x, rows, experts, active)
    return quantised(f32(found) * np.float32(scale) + np.float32(offset), S8), places, order


def routing_quant_shape(x: Any, rows: Any, experts: Any, active: int, *_: Any) -> Any:
    if x.ndim != 2 or experts.ndim != 2 or rows.shape != experts.shape or experts.shape[0] != x.shape[0] or active < 0:
        refuse(f"x {list(x.shape)} must be (rows, H), rowIdx {list(rows.shape)} and expertIdx {list(experts.shape)} "
               f"(rows, K), activeNum {active} not below 0")
    return ((min(active, x.shape[0]) * experts.shape[1], x.shape[1]), (experts.size,), (experts.size,))


def routing_quant_v2(given: Given) -> Any:
    """The rows are quantised after routing, since dynamic scales may belong to the experts."""
    x, experts, scale = f32(given["x"]), given["expertIdx"], given["scaleOptional"]
    outs, capacity = given["outs"], given["expertCapacity"]
    expanded, places, totals, before = init_routing_v2(
        x, experts, given["activeNum"], capacity, given["expertNum"], given["dropPadMode"],
        given["expertTokensCountOrCumsumFlag"], given["expertTokensBeforeCapacityFlag"], outs)
    found = None
    if given["quantMode"] == 0:
        values = expanded * scale + given["offsetOptional"]
        if given["dropPadMode"] == 1:  # what fills the rest of an expert's room is zero, not the quantised zero
            used = np.zeros(expanded.shape[:2], bool)
            used.reshape(-1)[places[places >= 0]] = True
            values = np.where(used[..., None], values, 0)
    else:
        if scale is not None and scale.shape[0] > 1:
            owners = np.repeat(np.arange(scale.shape[0]), capacity) if given["dropPadMode"] == 1 \
                else np.sort(experts, axis=None)[:expanded.shape[0]]
            scale = scale[owners].reshape(expanded.shape)
        values, found = symmetric(expanded if scale is None else expanded * scale, S8)
        found = found.reshape(-1)
    return quantised(values, S8), places, totals, before, found


def routing_quant_v2_shape(given: Given) -> Any:
    x, experts, number, capacity = given["x"], given["expertIdx"], given["expertNum"], given["expertCapacity"]
    active, pad, flag, mode = (given[n] for n in ("activeNum", "dropPadMode", "expertTokensCountOrCumsumFlag",
                                                  "quantMode"))
    if x.ndim != 2 or experts.ndim != 2 or experts.shape[0] != x.shape[0]:
        refuse(f"x {list(x.shape)} must be (rows, H), expertIdx {list(experts.shape)} (rows, K)")
    if min(active, capacity, number) < 0 or pad not in (0, 1) or flag not in (0, 1, 2) or mode not in (0, 1):
        refuse(f"activeNum {active}, expertCapacity {capacity} and expertNum {number} must not be below 0; dropPadMode "
               f"{pad} and quantMode {mode} are 0 or 1, expertTokensCountOrCumsumFlag {flag} is 0, 1 or 2")
    if pad == 1 and not (number > 0 and 0 < capacity <= x.shape[0]) or flag > 0 and number == 0:
        refuse(f"expertNum {number} must be above 0, expertCapacity {capacity} above 0 and not above the {x.shape[0]} "
               "rows, for what is asked for")
    scale, offset = given["scaleOptional"], given["offsetOptional"]
    if mode == 0 and (scale is None or offset is None or tuple(scale.shape) != (1,) or tuple(offset.shape) != (1,)):
        refuse("quantMode 0 needs scale and offset of shape [1]")
    if mode == 1 and scale is not None and tuple(scale.shape) not in ((1, x.shape[1]), (number, x.shape[1])):
        refuse(f"scale has the shape {list(scale.shape)}; it must be (1, H) or (expertNum, H)")
    rows = min(active, experts.size) if active > 0 else experts.size
    expanded = (number, capacity, x.shape[1]) if pad else (rows, x.shape[1])
    totals = (number,) if pad == 0 and flag > 0 else None
    before = (number,) if pad == 1 and given["expertTokensBeforeCapacityFlag"] else None
    return expanded, (experts.size,), totals, before, (number * capacity if pad else rows,) if mode == 1 else None


# ---- gradients of routing

def routing_grad(grad: Any, places: Any, k: int, pad: int, active: int) -> Any:
    """Each token's copies added up; those that were dropped count nothing."""
    flat = grad.reshape(-1, grad.shape[-1])
    left = places >= 0 if pad == 1 else places < (active if active > 0 else flat.shape[0])
    rows = np.where(left[:, None], flat[np.where(left, places, 0)], np.float32(0))
    return rows.reshape(-1, k, flat.shape[1]).sum(axis=1)


def routing_grad_shape(grad: Any, places: Any, k: int, pad: int, active: int) -> Any:
    if places.ndim != 1 or k <= 0 or places.size % k or pad not in (0, 1) or grad.ndim != 2 + pad or active < 0:
        refuse(f"expandedRowIdx {list(places.shape)} must be (rows * topK), topK {k} above 0, dropPadMode {pad} 0 or "
               f"1, gradExpandedX {list(grad.shape)} have {2 + pad} dimensions, activeNum {active} not be below 0")
    if pad == 0 and grad.shape[0] != (min(active, places.size) if active > 0 else places.size):
        refuse(f"gradExpandedX has {grad.shape[0]} rows, which fit neither activeNum {active} nor expandedRowIdx")
    return (places.size // k, grad.shape[-1])


def finalize_grad(grad: Any, places: Any, expanded: Any, scales: Any, experts: Any, bias: Any, pad: int, active: int,
                  number: int, capacity: int, outs: Any) -> Any:
    k = 1 if scales is None else scales.shape[1]
    rows = int(np.prod(outs[0].shape[:-1]))
    left = (places >= 0) & (places < rows)
    at, token = places[left], np.flatnonzero(left) // k
    spread = np.zeros((rows, grad.shape[1]), np.float32)
    spread[at] = grad[token] if scales is None else grad[token] * scales.reshape(-1)[left][:, None]
    if scales is None:
        return spread.reshape(outs[0].shape), None
    part = expanded.reshape(-1, grad.shape[1])[np.where(left, places, 0)] * left[:, None]
    if bias is not None:
        part = part + bias[experts.reshape(-1)]
    return spread.reshape(outs[0].shape), (part.reshape(*scales.shape, -1) * grad[:, None]).sum(axis=-1)


def finalize_grad_shape(grad: Any, places: Any, expanded: Any, scales: Any, experts: Any, bias: Any, pad: int,
                        active: int, number: int, capacity: int) -> Any:
    if grad.ndim != 2 or places.ndim != 1 or pad not in (0, 1):
        refuse(f"gradY {list(grad.shape)} must have 2 dimensions, expandedRowIdx {list(places.shape)} 1, dropPadMode "
               f"{pad} must be 0 or 1")
    if scales is not None and (expanded is None or scales.ndim != 2 or scales.shape[0] != grad.shape[0]
                               or scales.size != places.size):
        refuse("scales must be (rows, K), and need expandedX")
    if scales is None and places.size != grad.shape[0]:
        refuse(f"without scales K is 1: expandedRowIdx has {places.size} elements for {grad.shape[0]} rows")
    if bias is not None and experts is None:
        refuse("bias needs expertIdx")
    rows = min(active, places.size) if active > 0 else places.size
    first = (number, capacity, grad.shape[1]) if pad == 1 else (rows, grad.shape[1])
    if expanded is not None and tuple(expanded.shape) != first:
        refuse(f"expandedX has the shape {list(expanded.shape)}; it must have {list(first)}")
    return first, (grad.shape[0], 1) if scales is None else tuple(scales.shape)


# ---- routing maps: [tokens, experts], true where an expert takes a token

def map_permute(tokens: Any, routing: Any, probs: Any, count: int, padded: bool) -> Any:
    """Tokens expert by expert; with `padded` each expert takes as many, first those that are routed to it."""
    by_expert = routing.T.astype(bool)
    if padded:
        capacity = count // by_expert.shape[0]
        source = np.argsort(~by_expert, axis=-1, kind="stable")[:, :capacity].reshape(-1)
        places: Any = source
        experts = np.repeat(np.arange(by_expert.shape[0]), capacity)
    else:
        experts, source = np.nonzero(by_expert)
        k = count // tokens.shape[0]
        places = np.argsort(source, kind="stable")[:k * tokens.shape[0]]
        experts, source = experts[:places.size], source[:places.size]
    return tokens[source], None if probs is None else probs[source, experts], places


def map_permute_shape(tokens: Any, routing: Any, probs: Any, count: int, padded: bool) -> Any:
    if tokens.ndim != 2 or routing.ndim != 2 or routing.shape[0] != tokens.shape[0] \
            or probs is not None and tuple(probs.shape) != tuple(routing.shape):
        rules.reject(f"tokens {list(tokens.shape)} must be (tokens, H), routingMap {list(routing.shape)} and probs "
                     "(tokens, experts)")
    if not 0 <= count <= routing.size:
        rules.reject(f"numOutTokens {count} must lie in [0, {routing.size}]")
    each = max(routing.shape[1] if padded else routing.shape[0], 1)
    rows = count // each * each
    return (rows, tokens.shape[1]), None if probs is None else (rows,), (rows,)


def map_permute_grad(grad: Any, probs_grad: Any, places: Any, routing: Any, experts: int, count: int,
                     padded: bool) -> Any:
    found = np.zeros((count, grad.shape[1]), np.float32)
    chances = None
    if padded:
        np.add.at(found, places, grad)
        if probs_grad is not None:
            chances = np.zeros((count, experts), np.float32)
            chances[places, np.arange(places.size) // (places.size // experts)] = probs_grad
    else:
        found = grad[places].reshape(count, -1, grad.shape[1]).sum(axis=1)
        if probs_grad is not None:
            chances = np.zeros((experts, count), np.float32)
            chances[routing.T.astype(bool)] = probs_grad
            chances = chances.T
    return found, chances


def map_permute_grad_shape(grad: Any, probs_grad: Any, places: Any, routing: Any, experts: int, count: int,
                           padded: bool) -> Any:
    if experts <= 0 or count <= 0 or grad.ndim != 2 or places.ndim != 1 or routing is not None and routing.ndim != 2 \
            or probs_grad is not None and probs_grad.ndim != 1:
        rules.reject(f"numExperts {experts} and tokensNum {count} must be above 0, permutedTokenOutputGrad "
                     f"{list(grad.shape)} and routingMap have 2 dimensions, sortedIndices {list(places.shape)} and "
                     "permutedProbsOutputGrad 1")
    if routing is None and probs_grad is not None:
        rules.reject("permutedProbsOutputGrad needs routingMap", lib.ACLNN_ERR_PARAM_NULLPTR)
    return (count, grad.shape[1]), (count, experts)


def map_unpermute(tokens: Any, places: Any, routing: Any, probs: Any, padded: bool, restore: Any) -> Any:
    """(tokens added up where they came from, permutation and tokens in their order (padded), probs as permuted)"""
    shape, chances = restore if probs is None else (probs.shape[0], tokens.shape[1]), None
    if probs is not None:
        chances = probs[places, np.arange(places.size) // (places.size // probs.shape[1])] if padded \
            else probs.T[routing.T.astype(bool)]
        tokens = tokens * chances[:, None]
    if padded:
        order = np.argsort(places, kind="stable")
        found = np.zeros(shape, np.float32)
        np.add.at(found, places, tokens)
        return found, order, places[order], chances
    return tokens[places].reshape(shape[0], -1, shape[1]).sum(axis=1), None, None, chances


def map_unpermute_shape(tokens: Any, places: Any, routing: Any, probs: Any, padded: bool, restore: Any) -> Any:
    if probs is None and restore is None:
        rules.reject("probs and restoreShape are both NULL", lib.ACLNN_ERR_PARAM_NULLPTR)
    if tokens.ndim != 2 or places.ndim != 1:
        rules.reject(f"permutedTokens {list(tokens.shape)} must have 2 dimensions, sortedIndices {list(places.shape)} "
                     "one")
    if probs is not None and not padded and routing is None:
        rules.reject("probs need routingMap where paddedMode is false")
    shape = (probs.shape[0], tokens.shape[1]) if probs is not None else tuple(restore)
    if restore is not None and tuple(restore) != shape:
        rules.reject(f"restoreShape is {list(restore)}; the result has {list(shape)}")
    order = tuple(places.shape) if padded else None
    return shape, order, order, None if probs is None else (places.size,)


# ---- balancing and pruning

def update_expert(experts: Any, table: Any, scales: Any, threshold: Any, active: Any, rank: int, world: int,
                  mode: int) -> Any:
    """Each expert's instance by rank (mode 0) or by token (mode 1); experts with small scales are masked out."""
    rows = table[experts]
    count = rows[..., 0]
    if mode == 0:
        place = rank // -(-world // count) + 1
    else:
        place = np.arange(experts.shape[0])[:, None] % count + 1
    found = np.take_along_axis(rows, np.where(count == 1, 1, place)[..., None], axis=-1)[..., 0]
    if scales is None:
        return found, None
    keep = scales >= (scales * threshold.reshape(-1)).sum(axis=-1, keepdims=True)
    return found, keep if active is None else keep & active[:, None]


def update_expert_shape(experts: Any, table: Any, scales: Any, threshold: Any, active: Any, rank: int, world: int,
                        mode: int) -> Any:
    if experts.ndim != 2 or table.ndim != 2 or not 0 < experts.shape[0] <= 512 or not 0 < experts.shape[1] <= 16:
        refuse(f"expertIds {list(experts.shape)} must be (BS, K) with BS up to 512 and K up to 16, eplbTable "
               f"{list(table.shape)} (experts, F)")
    if mode not in (0, 1) or mode == 0 and not (2 <= world <= 768 and 0 <= rank < world) or table.shape[1] < 2:
        refuse(f"balanceMode {mode} must be 0 or 1, worldSize {world} lie in [2, 768], localRankId {rank} below it, "
               f"eplbTable {list(table.shape)} have 2 columns or more")
    if (scales is None) != (threshold is None) or active is not None and scales is None:
        refuse("expertScales and pruningThreshold belong together, and activeMask needs them")
    k = experts.shape[1]
    if scales is not None and (scales.shape != experts.shape or tuple(threshold.shape) not in ((k,), (1, k))):
        refuse(f"expertScales {list(scales.shape)} must be (BS, K), pruningThreshold {list(threshold.shape)} (K) or "
               "(1, K)")
    if active is not None and tuple(active.shape) != (experts.shape[0],):
        refuse(f"activeMask {list(active.shape)} must be (BS)")
    return (tuple(experts.shape),) * 2


_FLOATS = "f32 f16 bf16"
_UNSET = "what the device leaves unset is zero"
by_name("MoeInitRoutingV3", routing_v3, routing_v3_shape, raw=True, workspace=1024, oracle="token by token",
        deviations=_UNSET)
define("MoeInitRoutingQuant", routing_quant, shape=routing_quant_shape, workspace=1024, oracle="token by token",
       dtypes={"x": _FLOATS, "rowIdx": "s32", "expertIdx": "s32", "expandedXOut": "s8", "expandedRowIdxOut": "s32",
               "expandedExpertIdxOut": "s32"})
by_name("MoeInitRoutingQuantV2", routing_quant_v2, routing_quant_v2_shape, workspace=1024, oracle="token by token",
        dtypes={"x": _FLOATS, "expertIdx": "s32", "scaleOptional": "f32", "offsetOptional": "f32", "expandedXOut": "s8",
                "expandedRowIdxOut": "s32", "expertTokensCountOrCumsumOutOptional": "s32",
                "expertTokensBeforeCapacityOutOptional": "s32", "dynamicQuantScaleOutOptional": "f32"})
define("MoeInitRoutingV2Grad", routing_grad, shape=routing_grad_shape, result=rules.first, oracle="token by token",
       dtypes={"gradExpandedX": _FLOATS, "expandedRowIdx": "s32", "out": _FLOATS})
define("MoeFinalizeRoutingV2Grad", finalize_grad, shape=finalize_grad_shape, oracle="torch, backward",
       dtypes={**dict.fromkeys(("gradY", "expandedXOptional", "scalesOptional", "biasOptional", "gradExpandedXOut",
                                "gradScalesOut"), _FLOATS), "expandedRowIdx": "s32", "expertIdxOptional": "s32"})
define("MoeTokenPermuteWithRoutingMap", map_permute, shape=map_permute_shape, raw=True, workspace=1024,
       rehearsed=False,
       oracle="token by token", dtypes={
           "tokens": _FLOATS, "routingMap": "s8 bool", "probsOptional": _FLOATS, "permuteTokensOut": _FLOATS,
           "permuteProbsOutOptional": _FLOATS, "sortedIndicesOut": "s32"})
define("MoeTokenPermuteWithRoutingMapGrad", map_permute_grad, shape=map_permute_grad_shape, rehearsed=False,
       oracle="token by token",
       dtypes={"permutedTokenOutputGrad": _FLOATS, "permutedProbsOutputGradOptional": _FLOATS, "sortedIndices": "s32",
               "routingMapOptional": "s8 bool", "tokensGradOut": _FLOATS, "probsGradOutOptional": _FLOATS})
define("MoeTokenUnpermuteWithRoutingMap", map_unpermute, shape=map_unpermute_shape, rehearsed=False,
       oracle="token by token",
       optional="outIndex permuteTokenId permuteProbs", roles=dict.fromkeys(
           ("unpermutedTokens", "outIndex", "permuteTokenId", "permuteProbs"), "o"),
       dtypes={"permutedTokens": _FLOATS, "sortedIndices": "s32", "routingMapOptional": "s8 bool",
               "probsOptional": _FLOATS, "unpermutedTokens": _FLOATS, "outIndex": "s32", "permuteTokenId": "s32",
               "permuteProbs": _FLOATS})
define("MoeUpdateExpert", update_expert, shape=update_expert_shape, optional="balancedActiveMask",
       oracle="token by token")
