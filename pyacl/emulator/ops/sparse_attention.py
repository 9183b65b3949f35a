"""Native sparse attention: keys compressed block by block, attention over them, attention over the blocks it chose.

Sequences lie behind one another (TND); `ends` are their cumulative lengths.
"""

from __future__ import annotations

from typing import Any, Iterator

import numpy as np

from ...capi import lib
from . import rules
from .registry import by_name, define
from .rules import reject
from .scores import softmax

TILING = lib.ACLNN_ERR_INNER_TILING_ERROR
Given = dict[str, Any]
_GATHERED = 1 << 21  # elements of keys at once: memory that is used again and again is faster than fresh one
_LOWEST = np.float32(-3e38)


def spans(ends: Any) -> Iterator[slice]:
    start = 0
    for end in ends:
        yield slice(start, end)
        start = end


def sixteens(*values: int) -> bool:
    return all(v > 0 and v % 16 == 0 for v in values)


# ---- compression: weighted sums of overlapping blocks

def blocks(x: Any, size: int, step: int) -> Any:
    """[block, N, D, place in the block]; none where the sequence is shorter than a block."""
    if len(x) < size:
        return np.zeros((0, *x.shape[1:], size), x.dtype)
    return np.lib.stride_tricks.sliding_window_view(x, size, axis=0)[::step]


def compressed_counts(ends: Any, size: int, step: int) -> list[int]:
    return [max((s.stop - s.start - size) // step + 1, 0) for s in spans(ends)]


def compress(x: Any, weight: Any, ends: Any, layout: str, size: int, step: int, kind: int) -> Any:
    return np.concatenate([np.einsum("bndl,ln->bnd", blocks(x[s], size, step), weight) for s in spans(ends)])


def compress_back(grad: Any, x: Any, weight: Any, ends: Any, size: int, step: int, kind: int, layout: str) -> Any:
    dx, dw = np.zeros(x.shape, np.float32), np.zeros(weight.shape, np.float32)
    parts = spans(np.cumsum(compressed_counts(ends, size, step)).tolist())
    for own, part in zip(spans(ends), parts):
        g = grad[part]
        dw += np.einsum("bnd,bndl->ln", g, blocks(x[own], size, step))
        places = own.start + np.arange(len(g)) * step
        for i in range(size):
            dx[places + i] += g * weight[i, :, None]
    return dx, dw


def compress_shape(x: Any, weight: Any, ends: Any, layout: str, size: int, step: int, kind: int) -> Any:
    if layout != "TND" or kind != 0 or ends is None:
        reject(f"layout {layout} must be TND, actSeqLenType {kind} 0, actSeqLen there")
    if x.ndim != 3 or weight.ndim != 2 or weight.dtype != x.dtype or weight.shape[1] != x.shape[1] \
            or x.shape[0] != ends[-1] or x.shape[1] > 128 or x.shape[2] % 16 or not 0 < x.shape[2] <= 256:
        reject(f"input {list(x.shape)} must be (T, N, D) with T {ends[-1]}, N up to 128, D a multiple of 16 up to 256, "
               f"weight {list(weight.shape)} (compressBlockSize, N) of its type")
    if not sixteens(size, step) or size < step or size > 128 or weight.shape[0] != size:
        reject(f"compressBlockSize {size} must be weight's length, a multiple of 16 up to 128, compressStride {step} a "
               "multiple of 16 and not above it")
    return (sum(compressed_counts(ends, size, step)), *x.shape[1:])


def compress_back_shape(grad: Any, x: Any, weight: Any, ends: Any, size: int, step: int, kind: int, layout: str) -> Any:
    wanted = compress_shape(x, weight, ends, layout, size, step, kind)
    if tuple(grad.shape) != wanted:
        reject(f"outputGrad has the shape {list(grad.shape)}; it must have {list(wanted)}")
    return tuple(x.shape), tuple(weight.shape)


def compress_last(x: Any, weight: Any, slots: Any, lengths: Any, table: Any, layout: str, size: int, step: int,
                  kind: int, page: int, cache: Any) -> Any:
    """The last block of each sequence whose length has just completed one, into its slot of the cache."""
    found = cache.copy()
    for i, (length, end) in enumerate(zip(lengths, np.cumsum(lengths))):
        if length < size or (length - size) % step:
            continue
        at = np.arange(length - size, length)
        rows = x[end - length + at] if table is None else x[table[i, at // page], at % page]
        found[slots[i]] = np.einsum("lnd,ln->nd", rows, weight)
    return found


def compress_last_check(x: Any, weight: Any, slots: Any, lengths: Any, table: Any, layout: str, size: int, step: int,
                        kind: int, page: int, cache: Any) -> None:
    if lengths is None or table is None and layout != "TND" or kind != 1 or page not in (64, 128):
        reject(f"actSeqLen must be there, layout {layout} be TND, actSeqLenType {kind} 1, pageBlockSize {page} 64 or "
               "128", TILING)
    if x.ndim != (3 if table is None else 4) or weight.ndim != 2 or tuple(cache.shape[1:]) != tuple(x.shape[-2:]) \
            or tuple(weight.shape) != (size, x.shape[-2]) or x.shape[-1] % 16 or not 0 < x.shape[-1] <= 256 \
            or not weight.dtype == cache.dtype == x.dtype or tuple(slots.shape) != (len(lengths),):
        reject(f"input {list(x.shape)}, weight {list(weight.shape)}, outputCache {list(cache.shape)} and slotMapping "
               f"{list(slots.shape)} do not fit one another", TILING)
    if not sixteens(size, step) or not step <= size <= 64:
        reject(f"compressBlockSize {size} and compressStride {step} must be multiples of 16 up to 64, the stride not "
               "above the block", TILING)


# ---- attention over compressed keys, and the blocks it finds important

def by_group(x: Any, heads: int) -> Any:
    """[S, N, D] as [heads, N / heads, S, D]"""
    return x.reshape(x.shape[0], heads, -1, x.shape[2]).transpose(1, 2, 0, 3)


def importance(p: Any, taken: int, wide: int) -> Any:
    """Of [.., compressed keys] the blocks' scores: what the compressed keys that touch a block add up to.

    A block spans `taken` strides, a compressed key `wide`. Blocks count from 1 in the documented formula.
    """
    weights = np.convolve(np.ones(taken), np.ones(wide)).astype(np.float32)
    count = -(-p.shape[-1] // taken)
    index = taken * np.arange(1, count + 1)[:, None] - np.arange(weights.size)
    inside = (index >= 0) & (index < p.shape[-1])
    return (p[..., np.where(inside, index, 0)] * np.where(inside, weights, np.float32(0))).sum(axis=-1)


def compress_attention(given: Given) -> Any:
    q, k, v, mask, forced = (given[n] for n in ("query", "key", "value", "attenMaskOptional", "topkMaskOptional"))
    heads, step, chosen = k.shape[1], given["compressStride"], given["selectBlockCount"]
    top, total = np.zeros((2, *q.shape[:2], 8), np.float32)
    out = np.zeros((*q.shape[:2], v.shape[2]), np.float32)
    found = np.zeros((q.shape[0], heads, chosen), np.int64)
    for own, keys in zip(spans(given["actualSeqQLenOptional"]), spans(given["actualCmpSeqKvLenOptional"])):
        s = np.matmul(by_group(q[own], heads), k[keys].transpose(1, 2, 0)[:, None]) * np.float32(given["scaleValue"])
        if mask is not None:
            s = np.where(mask[:s.shape[2], :s.shape[3]], _LOWEST, s)
        p, highest, sums = softmax(s)
        for target, value in ((top, highest), (total, sums), (out, np.matmul(p, v[keys].transpose(1, 0, 2)[:, None]))):
            target[own] = value.transpose(2, 0, 1, 3).reshape(value.shape[2], -1, value.shape[3])
        score = importance(p, given["selectBlockSize"] // step, given["compressBlockSize"] // step).sum(axis=1)
        if forced is not None:
            score = np.where(forced[:score.shape[1], :score.shape[2]], np.inf, score)
        found[own] = np.argsort(-score, axis=-1, kind="stable")[..., :chosen].transpose(1, 0, 2)
    return top, total, out, found


def compress_attention_shape(given: Given) -> Any:
    q, k, v = given["query"], given["key"], given["value"]
    size, step, wide, chosen = (given[n] for n in ("compressBlockSize", "compressStride", "selectBlockSize",
                                                   "selectBlockCount"))
    ends = [given[n] for n in ("actualSeqQLenOptional", "actualCmpSeqKvLenOptional", "actualSelSeqKvLenOptional")]
    if given["inputLayout"] != "TND" or given["sparseMode"] not in (0, 1):
        reject(f"inputLayout {given['inputLayout']} must be TND, sparseMode {given['sparseMode']} 0 or 1")
    check_heads(q, k, v, given["headNum"], 127)
    if not sixteens(size, step, wide) or not step <= size <= wide <= 128 or size > 128 or step > 64 or wide % step \
            or not 1 <= chosen <= 32:
        reject(f"compressBlockSize {size}, compressStride {step} (up to 64) and selectBlockSize {wide} (up to 128) "
               "must be multiples of 16, in order, the last one of the stride, selectBlockCount "
               f"{chosen} lie in [1, 32]")
    if any(e is None for e in ends) or len({len(e) for e in ends}) > 1 or ends[0][-1] != q.shape[0] \
            or ends[1][-1] != k.shape[0]:
        reject("the three actual lengths must be there, as many, and end with the lengths of query and key")
    counts = [-(-(s.stop - s.start) // (wide // step)) for s in spans(ends[1])]
    if [s.stop - s.start for s in spans(ends[2])] != counts or chosen > min(counts):
        reject(f"actualSelSeqKvLen must be the lengths {counts}, cumulated, and selectBlockCount {chosen} above none")
    soft = (*q.shape[:2], 8)
    return soft, soft, (*q.shape[:2], v.shape[2]), (q.shape[0], k.shape[1], chosen)


def check_heads(q: Any, k: Any, v: Any, heads: int, most: int) -> None:
    """(T, N, D) of one type, queries in groups of up to `most` to a key's head."""
    if any(t.ndim != 3 or t.dtype != q.dtype for t in (q, k, v)) or q.shape[2] != k.shape[2] \
            or v.shape[2] > k.shape[2] or k.shape[:2] != v.shape[:2] or q.shape[1] != heads or not k.shape[1] \
            or heads % k.shape[1] or heads // k.shape[1] > most:
        reject(f"query {list(q.shape)}, key {list(k.shape)} and value {list(v.shape)} must be (T, N, D) of one type, "
               f"query's and key's D alike and value's not above, headNum {heads} query's N, a multiple of key's up to "
               f"{most} times")


# ---- attention over chosen blocks

def picked(chosen: Any, size: int) -> Any:
    """[query, head, block, key]: the places of the keys in the chosen blocks."""
    return chosen[..., None].astype(np.int64) * size + np.arange(size)


def with_keys(x: Any, keys: Any) -> Any:
    """[query, head, group, D] times each key of [query, head, block, key, D]: products that need no second thread."""
    found = np.matmul(x[:, :, None], keys.swapaxes(-1, -2)).swapaxes(2, 3)
    return found.reshape(*x.shape[:3], -1)


def of_keys(p: Any, values: Any) -> Any:
    """The sums of [query, head, block, key, D] weighed by [query, head, group, keys]."""
    return np.matmul(parts(p, values), values).sum(axis=2)


def parts(p: Any, values: Any) -> Any:
    """[query, head, group, keys] as [query, head, block, group, key]"""
    return p.reshape(*p.shape[:3], *values.shape[2:4]).swapaxes(2, 3)


class Chosen:
    """Some queries of a sequence beside the keys of their blocks: [query, head, group, ...]."""

    def __init__(self, given: Given, rows: slice, keys: slice, first: int) -> None:
        q, k, v = given["query"], given["key"], given["value"]
        self.heads = np.arange(k.shape[1])[:, None, None]
        self.places = keys.start + picked(given["topkIndices"][rows], given["selectedBlockSize"])
        self.q = q[rows].reshape(-1, k.shape[1], q.shape[1] // k.shape[1], q.shape[2])
        self.k, self.v = (t[self.places, self.heads] for t in (k, v))
        self.scale = np.float32(given["scaleValue"])
        self.s = with_keys(self.q, self.k) * self.scale
        if given["attenMaskOptional"] is not None:  # sparseMode 2: no query sees what comes behind it
            at = first + np.arange(len(self.q))[:, None, None, None]
            places = self.places.reshape(*self.s.shape[:2], 1, -1) - keys.start
            self.s = np.where(places > at, _LOWEST, self.s)

    def add(self, total: Any, p: Any, rows: Any) -> None:
        """To the rows of its keys: [query, head, group, D] weighed by [query, head, group, keys]."""
        found = np.matmul(parts(p, self.k).swapaxes(-1, -2), rows[:, :, None])
        for i, head, block in np.ndindex(found.shape[:3]):
            first = self.places[i, head, block, 0]
            total[first:first + found.shape[3], head] += found[i, head, block]


def chunks(given: Given) -> Iterator[tuple[slice, Chosen]]:
    _, heads, count = given["topkIndices"].shape
    step = max(_GATHERED // (heads * count * given["selectedBlockSize"] * given["key"].shape[2]), 1)
    for own, keys in zip(spans(given["actualSeqQLenOptional"]), spans(given["actualSeqKvLenOptional"])):
        for start in range(own.start, own.stop, step):
            rows = slice(start, min(start + step, own.stop))
            yield rows, Chosen(given, rows, keys, start - own.start)


def selected_attention(given: Given) -> Any:
    q, v = given["query"], given["value"]
    top, total = np.zeros((2, *q.shape[:2], 8), np.float32)
    out = np.zeros((*q.shape[:2], v.shape[2]), np.float32)
    for rows, part in chunks(given):
        p, highest, sums = softmax(part.s)
        for target, value in ((top, highest), (total, sums), (out, of_keys(p, part.v))):
            target[rows] = value.reshape(len(value), -1, value.shape[-1])
    return top, total, out


def selected_attention_back(given: Given) -> Any:
    q, k, v = given["query"], given["key"], given["value"]
    dq, dk, dv = (np.zeros(t.shape, np.float32) for t in (q, k, v))
    for rows, part in chunks(given):
        def grouped(name: str, part: Chosen = part, rows: slice = rows) -> Any:
            value = given[name][rows]
            return value.reshape(*part.q.shape[:3], value.shape[-1])

        dy = grouped("attentionOutGrad")
        p = np.exp(part.s - grouped("softmaxMax")[..., :1]) / grouped("softmaxSum")[..., :1]
        level = (dy * grouped("attentionOut")).sum(axis=-1, keepdims=True)
        ds = p * (with_keys(dy, part.v) - level) * part.scale
        dq[rows] = of_keys(ds, part.k).reshape(dq[rows].shape)
        part.add(dk, ds, part.q)
        part.add(dv, p, dy)
    return dq, dk, dv


def check_selected(given: Given) -> Any:
    """The shape of softmaxMax; refuses what does not fit."""
    q, k, v, chosen = given["query"], given["key"], given["value"], given["topkIndices"]
    size, count = given["selectedBlockSize"], given["selectedBlockCount"]
    ends = given["actualSeqQLenOptional"], given["actualSeqKvLenOptional"]
    if given["inputLayout"] != "TND" or given["sparseMode"] not in (0, 2):
        reject(f"inputLayout {given['inputLayout']} must be TND, sparseMode {given['sparseMode']} 0 or 2")
    if given["attenMaskOptional"] is not None and given["sparseMode"] != 2:
        reject("attenMask with sparseMode 0 is not emulated")
    check_heads(q, k, v, given["headNum"], 32)
    if not sixteens(size) or size > 128 or not 1 <= count <= 32 \
            or tuple(chosen.shape) != (q.shape[0], k.shape[1], count):
        reject(f"selectedBlockSize {size} must be a multiple of 16 up to 128, selectedBlockCount {count} 32 at most, "
               f"topkIndices {list(chosen.shape)} (T, key's N, selectedBlockCount)")
    if None in ends or len(ends[0]) != len(ends[1]) or ends[0][-1] != q.shape[0] or ends[1][-1] != k.shape[0] \
            or any((s.stop - s.start) % size or s.stop - s.start < size * count for s in spans(ends[1])):
        reject("the actual lengths must be there, as many, and end with the lengths of query and key; those of keys be "
               "multiples of the block, not below what is chosen")
    return (*q.shape[:2], 8)


def selected_shape(given: Given) -> Any:
    soft = check_selected(given)
    return soft, soft, (*soft[:2], given["value"].shape[2])


def selected_back_shape(given: Given) -> Any:
    soft = check_selected(given)
    out = (*soft[:2], given["value"].shape[2])
    wanted = {"attentionOut": out, "attentionOutGrad": out, "softmaxMax": soft, "softmaxSum": soft}
    for name, shape in wanted.items():
        if tuple(given[name].shape) != shape:
            reject(f"{name} has the shape {list(given[name].shape)}; it must have {list(shape)}")
    return tuple(tuple(given[n].shape) for n in ("query", "key", "value"))


def selected_infer(given: Given) -> Any:
    """One query a sequence, keys in pages of a cache."""
    table, lengths = given["blockTableOptional"], given["actualKvSeqLenOptional"]
    heads, page = given["numKeyValueHeads"], given["pageBlockSize"]
    k, v = (t.reshape(*t.shape[:2], heads, -1) for t in (given["key"], given["value"]))
    q = given["query"].reshape(len(table), heads, -1, k.shape[3])
    at = picked(given["topkIndices"].reshape(len(table), heads, -1), given["selectBlockSize"])
    seen = (at >= 0) & (at < np.array(lengths)[:, None, None, None])
    at = np.where(seen, at, 0)
    index = table[np.arange(len(table))[:, None, None, None], at // page], at % page, np.arange(heads)[:, None, None]
    s = with_keys(q, k[index]) * np.float32(given["scaleValue"])
    p, _, _ = softmax(np.where(seen.reshape(*s.shape[:2], 1, -1), s, _LOWEST))
    return of_keys(p, v[index]).reshape(given["outs"][0].shape)


def selected_infer_shape(given: Given) -> Any:
    q, k, v, chosen, table = (given[n] for n in ("query", "key", "value", "topkIndices", "blockTableOptional"))
    layout, heads, own = given["layoutOptional"] or "BSND", given["numHeads"], given["numKeyValueHeads"]
    lengths = given["actualKvSeqLenOptional"]
    if table is None or lengths is None or table.ndim != 2 or len(lengths) != table.shape[0]:
        reject("blockTable and actualKvSeqLen must be there, one row and one number a sequence")
    lead = {"BSND": (table.shape[0], 1), "BSH": (table.shape[0], 1), "TND": (table.shape[0],)}.get(layout)
    if lead is None or tuple(q.shape[:len(lead)]) != lead or q.ndim != len(lead) + (1 if layout == "BSH" else 2):
        reject(f"layout {layout} must be BSND, BSH or TND, and query {list(q.shape)} have one token a sequence; more "
               "are not emulated")
    size, count, page = given["selectBlockSize"], given["selectBlockCount"], given["pageBlockSize"]
    if heads < 1 or own < 1 or heads % own or heads // own > 16 or own > 256 or not sixteens(size) or size > 128 \
            or page not in (64, 128) or count < 1 or count * size > max(lengths):
        reject(f"numHeads {heads} must be a multiple of numKeyValueHeads {own} up to 16 times, selectBlockSize {size} "
               f"of 16 up to 128, pageBlockSize {page} 64 or 128, {count} blocks not be above the lengths")
    for name, t, depth in (("key", k, 192), ("value", v, 128)):
        if t.dtype != q.dtype or tuple(t.shape[:2]) != (k.shape[0], page) or tuple(t.shape[2:]) not in (
                (own * depth,), (own, depth)):
            reject(f"{name} {list(t.shape)} must be (blocks, {page}, {own} * {depth}) or (blocks, {page}, {own}, "
                   f"{depth}) of query's type")
    if int(np.prod(q.shape)) != lead[0] * heads * 192 or tuple(chosen.shape) != (*lead, own, count):
        reject(f"query {list(q.shape)} must have {heads} heads of 192, topkIndices {list(chosen.shape)} the shape "
               f"{[*lead, own, count]}")
    return (*lead, heads * 128) if layout == "BSH" else (*lead, heads, 128)


_ALL = "f16 bf16"
define("NsaCompress", compress, shape=compress_shape, result=rules.first, exact=True, workspace=8192,
       oracle="torch.nn.functional.conv1d")
define("NsaCompressGrad", compress_back, shape=compress_back_shape, workspace=8192, result=lambda g, *_: (g.dtype,) * 2,
       oracle="torch.nn.functional.conv1d, backward", dtypes={"inputGradOut": _ALL, "weightGradOut": _ALL})
define("NsaCompressWithCache", compress_last, check=compress_last_check, roles={"outputCache": "io"},
       dtypes={"outputCache": _ALL}, oracle="sequence by sequence")
by_name("NsaCompressAttention", compress_attention, compress_attention_shape, workspace=8192,
        oracle="query by query in float64", dtypes={"attentionOutOut": _ALL})
by_name("NsaSelectedAttention", selected_attention, selected_shape, workspace=8192, oracle="query by query in float64",
        deviations="attenMask with sparseMode 0 is not emulated")
by_name("NsaSelectedAttentionGrad", selected_attention_back, selected_back_shape, workspace=8192,
        oracle="torch, query by query, backward", deviations="attenMask with sparseMode 0 is not emulated",
        roles={"attentionOut": "i", "dqOut": "o", "dkOut": "o", "dvOut": "o"},
        dtypes={**dict.fromkeys(("attentionOut", "attentionOutGrad", "dqOut", "dkOut", "dvOut"), _ALL),
                "softmaxMax": "f32", "softmaxSum": "f32"})
by_name("NsaSelectedAttentionInfer", selected_infer, selected_infer_shape, workspace=8192,
        oracle="sequence by sequence in float64", deviations="one token a sequence; attenMask is not used")
