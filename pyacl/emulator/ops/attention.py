"""Attention, forward and backward: padded and packed batches, grouped heads, sparse modes, paged and listed caches.

Everything is brought to ``[B, N, S, D]``; a batch of packed or cut sequences is a loop over its members. Scores and
softmax are float32. A row that may see nothing gives zeros.
"""

from __future__ import annotations

import math
from typing import Any, Iterator, Optional

import numpy as np

from . import rules
from .registry import by_name
from .scores import Member, Sparse, bias, hidden

Array = Any
WIDTH = 8  # the last dimension of softmaxMax and softmaxSum


# ---- layouts

def to_bnsd(x: Array, layout: str, heads: int) -> Array:
    """A view as [B, N, S, D]; a packed one (TND) is one batch."""
    if layout == "BNSD":
        return x
    if layout == "BSND":
        return x.transpose(0, 2, 1, 3)
    if layout == "TND":
        return x.transpose(1, 0, 2)[None]
    if layout == "NTD":
        return x[None]
    if layout == "BSH":
        return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(0, 2, 1, 3)
    if layout == "SBH":
        return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2, 0, 3)
    return rules.reject(f"inputLayout is {layout!r}: choose one of BSH, SBH, BSND, BNSD, TND")


def from_bnsd(x: Array, layout: str) -> Array:
    b, n, s, d = x.shape
    if layout == "BNSD":
        return x
    if layout == "BSND":
        return x.transpose(0, 2, 1, 3)
    if layout == "TND":
        return x[0].transpose(1, 0, 2)
    if layout == "NTD":
        return x[0]
    if layout == "BSH":
        return x.transpose(0, 2, 1, 3).reshape(b, s, n * d)
    return x.transpose(2, 0, 1, 3).reshape(s, b, n * d)


def layouts(text: str) -> tuple[str, str]:
    """Input's and output's layout: ``"BNSD_BSND"`` names both."""
    first, _, second = text.partition("_")
    return first, second or first


def wide(x: Array) -> Array:
    return np.repeat(x, WIDTH, axis=-1)


# ---- training

def spans(ends: Any, total: int) -> Iterator[slice]:
    """The slices of packed sequences, from their cumulative ends."""
    if not ends:
        yield slice(0, total)
        return
    start = 0
    for end in ends:
        yield slice(start, int(end))
        start = int(end)


def members(layout: str, q: Array, k: Array, q_ends: Any, k_ends: Any) -> list[tuple[int, slice, slice]]:
    """(batch index, query slice, key slice) of each member."""
    if layout == "TND":
        return [(0, a, b) for a, b in zip(spans(q_ends, q.shape[2]), spans(k_ends, k.shape[2]))]
    return [(i, slice(0, q.shape[2]), slice(0, k.shape[2])) for i in range(q.shape[0])]


def key_heads(k: Array, q: Array, layout: str, heads: int) -> int:
    return heads * k.shape[-1] // q.shape[-1] if layout in ("BSH", "SBH") else heads


class Score:
    """One call's parameters by their names in the prototype, shared by forward and backward."""

    def __init__(self, given: dict[str, Any]) -> None:
        pse_type = given.get("pseType", 1)
        if pse_type not in (0, 1):
            raise NotImplementedError(f"pseType {pse_type} (positions computed inside the operator)")
        self.layout, self.heads = given["inputLayout"], given["headNum"]
        self.drop, self.keep = given["dropMaskOptional"], given["keepProb"]
        if self.drop is not None and self.layout == "TND" and self.keep < 1:
            raise NotImplementedError("dropout of packed sequences")
        q, k = given["query"], given.get("key", given.get("keyIn"))
        self.q, self.k = to_bnsd(q, self.layout, self.heads), to_bnsd(k, self.layout, key_heads(k, q, self.layout,
                                                                                                self.heads))
        self.v = to_bnsd(given["value"], self.layout, self.k.shape[1])
        self.depth = self.q.shape[3]
        rope = given.get("queryRope")
        if rope is not None:  # the part with positions stands beside the others
            k_rope = given.get("keyRope", given.get("keyInRope"))
            self.q = np.concatenate([self.q, to_bnsd(rope, self.layout, self.heads)], axis=-1)
            self.k = np.concatenate([self.k, to_bnsd(k_rope, self.layout, self.k.shape[1])], axis=-1)
        self.shift = given.get("realShiftOptional", given.get("pseShiftOptional"))
        self.mask, self.prefix, self.mode = given["attenMaskOptional"], given["prefixOptional"], given["sparseMode"]
        self.scale, self.before, self.after = given["scaleValue"], given["preTokens"], given["nextTokens"]
        self.add_first = pse_type == 1
        self.members = members(self.layout, self.q, self.k, given.get("actualSeqQLenOptional"),
                               given.get("actualSeqKvLenOptional"))

    def member(self, number: int) -> Member:
        batch, a, b = self.members[number]
        q, k, v = self.q[batch][:, a], self.k[batch][:, b], self.v[batch][:, b]
        n, m = q.shape[1], k.shape[1]
        where = number if self.layout == "TND" else batch
        prefix = None if not self.prefix else int(self.prefix[min(where, len(self.prefix) - 1)])
        return Member(q, k, v, self.scale, Sparse(self.mode, self.before, self.after, self.mask is not None, prefix),
                      hidden(self.mask, self.mode, where, n, m), bias(self.shift, where, n, m), self.add_first,
                      None if self.drop is None else (self.drop.reshape(-1), self.keep, batch * q.shape[0] * n * m))

    def forward(self) -> tuple[Array, Array, None, Array]:
        b, n, s, _ = self.q.shape
        top, total = np.zeros((b, n, s, 1), np.float32), np.zeros((b, n, s, 1), np.float32)
        out = np.zeros((b, n, s, self.v.shape[-1]), np.float32)
        for number, (batch, rows, _) in enumerate(self.members):
            self.member(number).attend(out[batch][:, rows], top[batch][:, rows], total[batch][:, rows])
        top, total = wide(np.where(np.isfinite(top), top, np.float32(0))), wide(total)
        if self.layout == "TND":
            top, total = top[0].transpose(1, 0, 2), total[0].transpose(1, 0, 2)
        return top, total, None, from_bnsd(out, self.layout)

    def backward(self, dy: Array) -> tuple[Optional[Array], ...]:
        dy = to_bnsd(dy, self.layout, self.heads)
        dq, dk, dv = (np.zeros(x.shape, np.float32) for x in (self.q, self.k, self.v))
        dpse = None if self.shift is None else np.zeros(self.shift.shape, np.float32)
        for number, (batch, rows, keys) in enumerate(self.members):
            where = number if self.layout == "TND" else batch
            n, m = dq[batch][:, rows].shape[1], dk[batch][:, keys].shape[1]
            self.member(number).backward(dy[batch][:, rows], dq[batch][:, rows], dk[batch][:, keys],
                                         dv[batch][:, keys], bias(dpse, where, n, m))
        if self.depth < dq.shape[3]:
            parts = [*np.split(dq, [self.depth], axis=3), *np.split(dk, [self.depth], axis=3), dv]
            return (*(from_bnsd(d, self.layout) for d in parts), dpse)
        return (*(from_bnsd(d, self.layout) for d in (dq, dk, dv)), dpse)


def forward(given: dict[str, Any]) -> Any:
    top, total, *rest = Score(given).forward()
    if given.get("softmaxOutLayout") == "":  # the elements in the order of NTD, whatever the tensor's shape
        top, total = (x.transpose(1, 0, 2).reshape(x.shape) for x in (top, total))
    return (top, total, *rest)


def check_layout(*inputs: Any) -> None:
    if isinstance(inputs[-1], str) and inputs[-1] not in ("", "same_as_input"):
        rules.reject(f"softmaxOutLayout is {inputs[-1]!r}: choose an empty string or same_as_input")


def backward(given: dict[str, Any]) -> Any:
    return Score(given).backward(given["dy"])


# ---- inference

def lengths(given: Any, batch: int, default: int) -> list[int]:
    """Each batch member's length; one number stands for all."""
    if not given:
        return [default] * batch
    values = [int(n) for n in given]
    return values * batch if len(values) == 1 else values[:batch]


def paged(cache: Array, table: Array, length: int, heads: int) -> Array:
    """One sequence [N, length, D] out of a cache of blocks, [blocks, size, H] or [blocks, N, size, D]."""
    size = cache.shape[1] if cache.ndim == 3 else cache.shape[2]
    blocks = cache[table[:math.ceil(length / size)]]
    if cache.ndim == 3:
        flat = blocks.reshape(-1, heads, cache.shape[2] // heads)
        return flat[:length].transpose(1, 0, 2)
    return blocks.transpose(1, 0, 2, 3).reshape(cache.shape[1], -1, cache.shape[3])[:, :length]


PLAIN = {"query", "key", "value", "pseShift", "attenMask", "actualSeqLengths", "actualSeqLengthsKv", "blockTable",
         "blocktable", "queryRope", "keyRope"}


def infer(given: dict[str, Any]) -> Any:
    """Attention of each batch member up to its lengths; with softmaxLseFlag also the log of the exponentials' sums."""
    given = {n.replace("Optional", ""): v for n, v in given.items()}
    refused = [n for n, v in given.items() if n not in (*PLAIN, "outs", "names")
               and (isinstance(v, (list, tuple)) or rules.is_tensor(v))]
    if refused:
        raise NotImplementedError(f"attention with {', '.join(refused)}")
    keys, values = given["key"], given["value"]
    if not isinstance(keys, list):
        keys, values = [keys], [values]
    heads, mask, shift = given["numHeads"], given["attenMask"], given["pseShift"]
    layout, result = layouts(given["inputLayout"])
    groups = given["numKeyValueHeads"] or heads
    mode = given.get("sparseMode", 1 if "preTokens" not in given else 0)
    before, after = given.get("preTokens", 2**31 - 1), given.get("nextTokens", 2**31 - 1)
    table = given.get("blockTable", given.get("blocktable"))
    q_lengths = given["actualSeqLengths"] if "preTokens" in given else None
    k_lengths = given.get("actualSeqLengthsKv", None if "preTokens" in given else given["actualSeqLengths"])
    q, k_rope = to_bnsd(given["query"], layout, heads), given.get("keyRope")
    if k_rope is not None:  # the part with positions stands beside the others
        q = np.concatenate([q, to_bnsd(given["queryRope"], layout, heads)], axis=-1)
    packed_input = layout in ("TND", "NTD")
    if packed_input:
        q_spans = list(spans(q_lengths, q.shape[2]))
        batch = len(q_spans)
    else:
        batch = q.shape[0]
        q_spans = [slice(0, n) for n in lengths(q_lengths, batch, q.shape[2])]
    if table is not None:
        sizes = lengths(k_lengths, batch, 0)
    listed = len(keys) > 1

    def sequence(cache: Any, i: int) -> Array:
        if table is not None:
            return paged(cache[0], table[i], sizes[i], groups)
        if packed_input:
            return to_bnsd(cache[0], layout, groups)[0][:, list(spans(k_lengths, cache[0].shape[0]))[i]]
        one = to_bnsd(cache[i] if listed else cache[0], layout, groups)
        one = one[0] if listed else one[i]
        return one[:, :lengths(k_lengths, batch, one.shape[1])[i]]

    depth = sequence(values, 0).shape[-1]
    out = np.zeros((*q.shape[:3], depth), np.float32)
    lse = np.full((*q.shape[:3], 1), np.inf, np.float32)
    for i in range(batch):
        k, v = sequence(keys, i), sequence(values, i)
        if k_rope is not None:
            k = np.concatenate([k, sequence([k_rope], i)], axis=-1)
        row = 0 if packed_input else i
        x = q[row][:, q_spans[i]]
        n, m = x.shape[1], k.shape[1]
        top, total = np.zeros((x.shape[0], n, 1), np.float32), np.zeros((x.shape[0], n, 1), np.float32)
        Member(x, k, v, given["scaleValue"], Sparse(mode, before, after, mask is not None),
               hidden(mask, mode, i, n, m), bias(shift, i, n, m)).attend(out[row][:, q_spans[i]], top, total)
        lse[row][:, q_spans[i]] = np.where(total > 0, top + np.log(total), np.inf)
    if "softmaxLseFlag" not in given:
        return from_bnsd(out, result)
    lse = lse[0].transpose(1, 0, 2) if packed_input else lse
    return from_bnsd(out, result), lse if given["softmaxLseFlag"] else None


by_name("FlashAttentionScore FlashAttentionScoreV2 FlashAttentionVarLenScore FlashAttentionVarLenScoreV2 "
        "FlashAttentionVarLenScoreV3 FlashAttentionVarLenScoreV4", forward, check=check_layout,
        oracle="torch attention", workspace=4096, optional="softmaxMaxOut softmaxSumOut softmaxOutOut",
        deviations="pseType 2 and 3, and dropout of packed sequences, are not emulated")
by_name("FlashAttentionScoreGrad FlashAttentionScoreGradV2 FlashAttentionUnpaddingScoreGrad "
        "FlashAttentionUnpaddingScoreGradV2 FlashAttentionUnpaddingScoreGradV3 FlashAttentionUnpaddingScoreGradV4",
        backward, oracle="torch attention, backward", workspace=4096,
        optional="dpseOut",
        deviations="pseType 2 and 3, and dropout of packed sequences, are not emulated")
by_name("PromptFlashAttention PromptFlashAttentionV2 PromptFlashAttentionV3 IncreFlashAttention IncreFlashAttentionV2 "
        "IncreFlashAttentionV3 IncreFlashAttentionV4 FusedInferAttentionScore FusedInferAttentionScoreV2 "
        "FusedInferAttentionScoreV3 FusedInferAttentionScoreV4", infer, oracle="torch attention for inference",
        workspace=4096,
        optional="pseShift attenMask actualSeqLengths actualSeqLengthsKv deqScale1 quantScale1 deqScale2 quantScale2 "
                 "quantOffset2 antiquantScale antiquantOffset blockTable blocktable queryPaddingSize kvPaddingSize "
                 "dequantScale1 dequantScale2 softmaxLse",
        deviations="quantised inputs, shared prefixes and left padding are not emulated")
