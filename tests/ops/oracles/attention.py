"""Attention against PyTorch's, member by member, with explicit masks; its autograd for the backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.signature import signature
from pyacl.emulator.ops.types import BF16, F16, F32

from ..oracle import Draw, Oracle, torch

NEVER = float("-inf")


def named(d: Draw) -> list[str]:
    return [p.name for p in d.signature.inputs]


def values(d: Draw, given: dict[str, Any]) -> list[Any]:
    """The drawn values in the prototype's order, 0, None or True for the others."""
    plain = {"int64_t": 0, "bool": False, "double": 1.0}
    kinds = {p.name: p.kind for p in d.signature.inputs}
    prototype = {p.name: p.type.replace("const ", "") for p in _prototype(d.name).params}
    assert set(given) <= set(kinds), set(given) - set(kinds)
    return [given[n] if n in given else plain.get(prototype[n]) for n in kinds]


def _prototype(name: str) -> Any:
    from pyacl.capi import operator

    return operator(name)


def shape(layout: str, b: int, n: int, s: int, dim: int) -> tuple[int, ...]:
    return {"BNSD": (b, n, s, dim), "BSND": (b, s, n, dim), "BSH": (b, s, n * dim), "SBH": (s, b, n * dim),
            "TND": (b * s, n, dim)}[layout]


def bnsd(x: Any, layout: str, n: int) -> Any:
    if layout == "BSND":
        return x.permute(0, 2, 1, 3)
    if layout == "BSH":
        return x.reshape(x.shape[0], x.shape[1], n, -1).permute(0, 2, 1, 3)
    if layout == "SBH":
        return x.reshape(x.shape[0], x.shape[1], n, -1).permute(1, 2, 0, 3)
    if layout == "TND":
        return x.permute(1, 0, 2)[None]
    return x


def back(x: Any, layout: str) -> Any:
    if layout == "BSND":
        return x.permute(0, 2, 1, 3)
    if layout == "BSH":
        return x.permute(0, 2, 1, 3).flatten(2)
    if layout == "SBH":
        return x.permute(2, 0, 1, 3).flatten(2)
    return x[0].permute(1, 0, 2) if layout == "TND" else x


def allowed(q: int, k: int, mode: int, before: int, after: int, mask: Any, prefix: int) -> Any:
    """What may be seen, element by element: the definition, not the emulator's formula."""
    seen = torch.ones(q, k, dtype=torch.bool)
    for i in range(q):
        for j in range(k):
            right = j - i - (k - q)
            if mode == 0 and mask is not None:
                seen[i, j] = -before <= j - i <= after
            elif mode == 2:
                seen[i, j] = j <= i
            elif mode == 3:
                seen[i, j] = right <= 0
            elif mode == 4:
                seen[i, j] = -before <= right <= after
            elif mode in (5, 6):
                seen[i, j] = right <= 0 or j < prefix
    return seen


def attend(q: Any, k: Any, v: Any, scale: float, shift: Any, add_first: bool, seen: Any, keep: Any = None) -> Any:
    """[N, S, D] tensors: out, maxima, sums, log of sums."""
    k, v = (x.repeat_interleave(q.shape[0] // x.shape[0], 0) for x in (k, v))
    s = q @ k.transpose(1, 2)
    if shift is not None:
        s = (s + shift) * scale if add_first else s * scale + shift
    else:
        s = s * scale
    s = s.masked_fill(~seen, NEVER)
    top = s.amax(-1, keepdim=True)
    e = torch.exp(s - top)
    p = e / e.sum(-1, keepdim=True)
    if keep is not None:
        p = p * keep
    return p @ v, top, e.sum(-1, keepdim=True)


def draw_training(d: Draw) -> list[Any]:
    packed = "VarLen" in d.name or "Unpadding" in d.name
    layout = "TND" if packed else d.choice(["BNSD", "BSND", "BSH", "SBH"])
    groups, b, dim = d.integer(1, 2), d.integer(1, 2), 8
    n, s = groups * d.integer(1, 2), d.integer(2, 5)
    t = s + d.integer(0, 3)
    dtype = d.choice([F32, F16, BF16] if "V3" not in d.name else [BF16])
    mode = d.choice([0, 1, 2, 3, 4] if packed else [0, 1, 2, 3, 4, 5])
    given: dict[str, Any] = {
        "query": d.array(shape(layout, b, n, s, dim), dtype, -2, 2), "headNum": n, "inputLayout": layout,
        "value": d.array(shape(layout, b, groups, t, dim), dtype, -2, 2), "scaleValue": 0.3, "keepProb": 1.0,
        "preTokens": d.integer(1, 6), "nextTokens": d.integer(0, 3), "sparseMode": mode}
    names = named(d)
    given["key" if "key" in names else "keyIn"] = d.array(shape(layout, b, groups, t, dim), dtype, -2, 2)
    if "queryRope" in names:
        given["queryRope"] = d.array(shape(layout, b, n, s, 4), dtype, -2, 2)
        given["keyRope" if "keyRope" in names else "keyInRope"] = d.array(shape(layout, b, groups, t, 4), dtype, -2, 2)
    for name in ("softmaxOutLayout", "softmaxInLayout"):
        if name in names:
            given[name] = d.choice(["", "same_as_input"])
    if packed:
        given["actualSeqQLenOptional"] = tuple(s * (i + 1) for i in range(b))
        given["actualSeqKvLenOptional"] = tuple(t * (i + 1) for i in range(b))
    if mode == 5:
        given["prefixOptional"] = tuple(d.integer(0, t) for _ in range(b))
    if mode in (0, 1, 5) and d.flag() or mode in (2, 3, 4):
        mask = d.rng.random((s, t)) < 0.3
        mask[:, 0] = False  # every row sees something
        given["attenMaskOptional"] = mask if mode in (0, 1, 5) else np.triu(np.ones((16, 16), bool), 1)
        if mode == 0:
            given["preTokens"] = 2**31 - 1
    shift = "realShiftOptional" if "realShiftOptional" in names else "pseShiftOptional"
    if d.flag() and not packed:
        given[shift] = d.array((b, n, s, t), dtype)
    if "pseType" in names:
        given["pseType"] = d.integer(0, 1)
    if not packed and d.flag():
        given["keepProb"] = 0.5
        given["dropMaskOptional"] = d.rng.integers(0, 256, -(-b * n * s * t // 8)).astype(np.uint8)
    if "dy" in names:
        given["dy"] = d.array(given["query"].shape, dtype, -2, 2)
    return values(d, given)


def training(name: str, inputs: Any) -> tuple[Any, Any, Any, dict[str, Any], list[Any]]:
    given: dict[str, Any] = dict(zip([p.name for p in signature(name).inputs], inputs))  # type: ignore[union-attr]
    layout, n = given["inputLayout"], given["headNum"]
    k: Any = given.get("key", given.get("keyIn"))
    groups = n * k.shape[-1] // given["query"].shape[-1] if layout in ("BSH", "SBH") else 0
    leaves = [x.clone().requires_grad_() for x in (given["query"], k, given["value"])]
    shift: Any = given.get("realShiftOptional", given.get("pseShiftOptional"))
    leaves.append(None if shift is None else shift.clone().requires_grad_())
    q, k, v = bnsd(leaves[0], layout, n), bnsd(leaves[1], layout, groups), bnsd(leaves[2], layout, groups)
    if "queryRope" in given:
        rope = given["keyRope" if "keyRope" in given else "keyInRope"]
        ropes = [x.clone().requires_grad_() for x in (given["queryRope"], rope)]
        q, k = (torch.cat((x, bnsd(y, layout, n)), -1) for x, y in zip((q, k), ropes))
        leaves = [leaves[0], ropes[0], leaves[1], ropes[1], *leaves[2:]]
    mode, mask = given["sparseMode"], given["attenMaskOptional"]
    outs, tops, sums = [], [], []
    q_ends: Any = given.get("actualSeqQLenOptional")
    k_ends: Any = given.get("actualSeqKvLenOptional")
    count = len(q_ends) if q_ends else q.shape[0]
    for i in range(count):
        if q_ends:
            a, b = slice(q_ends[i - 1] if i else 0, q_ends[i]), slice(k_ends[i - 1] if i else 0, k_ends[i])
            x, y, z = q[0][:, a], k[0][:, b], v[0][:, b]
        else:
            x, y, z = q[i], k[i], v[i]
        prefix = given["prefixOptional"][i] if given["prefixOptional"] else 0
        seen = allowed(x.shape[1], y.shape[1], mode, given["preTokens"], given["nextTokens"], mask, prefix)
        if mask is not None and mode in (0, 1, 5):
            seen = seen & ~mask
        keep = None
        if given["dropMaskOptional"] is not None:
            size = x.shape[0] * x.shape[1] * y.shape[1]
            bits = [(int(byte) >> j) & 1 for byte in given["dropMaskOptional"] for j in range(8)]
            keep = torch.tensor(bits[i * size:(i + 1) * size]).reshape(x.shape[0], x.shape[1], -1) / given["keepProb"]
        found = attend(x, y, z, given["scaleValue"], None if leaves[-1] is None else leaves[-1][i],
                       given.get("pseType", 1) == 1, seen, keep)
        outs.append(found[0])
        tops.append(found[1])
        sums.append(found[2])
    join = (lambda parts: torch.cat(parts, 1)[None]) if q_ends else torch.stack
    return join(outs), join(tops), join(sums), given, leaves


def forward(name: str) -> Any:
    def call(*inputs: Any) -> Any:
        out, top, total, given, _ = training(name, inputs)
        top, total = top.expand(*top.shape[:3], 8), total.expand(*total.shape[:3], 8)
        if given["inputLayout"] == "TND":
            order = (lambda x: x[0].reshape(-1, x.shape[1], 8)) if given.get("softmaxOutLayout") == "" else \
                lambda x: x[0].permute(1, 0, 2)
            top, total = order(top), order(total)
        return top, total, None, back(out, given["inputLayout"])

    return call


def backward(name: str) -> Any:
    def call(*inputs: Any) -> Any:
        out, _, _, given, leaves = training(name, inputs)
        back(out, given["inputLayout"]).backward(given["dy"])
        return tuple(None if x is None else x.grad for x in leaves)

    return call


def draw_infer(d: Draw) -> list[Any]:
    names = named(d)
    step = "preTokens" not in names  # one new token a sequence
    groups, b, dim = d.integer(1, 2), d.integer(1, 2), 16
    n, s = groups * d.integer(1, 2), 1 if step else d.integer(2, 4)
    t = d.integer(4, 7)
    layout = d.choice(["BNSD", "BSND", "BSH"] + ["BNSD_BSND"] * (not step and "Fused" in d.name))
    dtype = d.choice([F16, BF16] if BF16 in d.allowed(0) else [F16])
    first = layout.split("_")[0]
    cache = [d.array(shape(first, b, groups, t, dim), dtype, -2, 2) for _ in range(2)]
    lists = d.signature.inputs[1].kind == "tensors"
    given: dict[str, Any] = {"query": d.array(shape(first, b, n, s, dim), dtype, -2, 2), "numHeads": n,
                             "scaleValue": 0.25, "inputLayout": layout, "numKeyValueHeads": groups}
    given["key"], given["value"] = ([cache[0]], [cache[1]]) if lists else cache

    def put(name: str, value: Any) -> None:
        given[name if name in names else f"{name}Optional"] = value

    if step:
        given["actualSeqLengths"] = tuple(d.integer(2, t) for _ in range(b))
    else:
        if "actualSeqLengthsKv" in names or "actualSeqLengthsKvOptional" in names:
            put("actualSeqLengthsKv", tuple(d.integer(s, t) for _ in range(b)))
        given["preTokens"], given["nextTokens"] = 2**31 - 1, 2**31 - 1
        if "sparseMode" in names:
            given["sparseMode"] = d.choice([0, 3])
            if given["sparseMode"] == 3:
                put("attenMask", np.triu(np.ones((16, 16), bool), 1))
    if "softmaxLseFlag" in names:
        given["softmaxLseFlag"] = True
    return values(d, given)


def infer(name: str) -> Any:
    def call(*inputs: Any) -> Any:
        given = {p.name.replace("Optional", ""): v for p, v in
                 zip(signature(name).inputs, inputs)}  # type: ignore[union-attr]
        layout, _, result = given["inputLayout"].partition("_")
        n, groups = given["numHeads"], given["numKeyValueHeads"]
        keys, cache = (given[x][0] if isinstance(given[x], list) else given[x] for x in ("key", "value"))
        q, k, v = bnsd(given["query"], layout, n), bnsd(keys, layout, groups), bnsd(cache, layout, groups)
        sizes = given.get("actualSeqLengthsKv") or ("preTokens" not in given and given["actualSeqLengths"]) \
            or [k.shape[2]] * q.shape[0]
        outs, lses = [], []
        for i in range(q.shape[0]):
            y, z = k[i][:, :sizes[i]], v[i][:, :sizes[i]]
            seen = allowed(q.shape[2], y.shape[1], given.get("sparseMode", 0), 0, 0, None, 0)
            out, top, total = attend(q[i], y, z, given["scaleValue"], None, False, seen)
            outs.append(out)
            lses.append(top + total.log())
        found = back(torch.stack(outs), result or layout)
        return (found, torch.stack(lses)) if "softmaxLseFlag" in given else found

    return call


_TRAINING = ("FlashAttentionScore FlashAttentionScoreV2 FlashAttentionVarLenScore FlashAttentionVarLenScoreV2 "
             "FlashAttentionScoreGrad FlashAttentionScoreGradV2 FlashAttentionUnpaddingScoreGrad "
             "FlashAttentionUnpaddingScoreGradV2 FlashAttentionUnpaddingScoreGradV3 FlashAttentionUnpaddingScoreGradV4 "
             "FlashAttentionVarLenScoreV3 FlashAttentionVarLenScoreV4").split()
_INFERENCE = ("PromptFlashAttention PromptFlashAttentionV2 PromptFlashAttentionV3 IncreFlashAttention "
              "IncreFlashAttentionV2 IncreFlashAttentionV3 IncreFlashAttentionV4 FusedInferAttentionScore "
              "FusedInferAttentionScoreV2 FusedInferAttentionScoreV3 FusedInferAttentionScoreV4").split()

ORACLES = {
    **{n: Oracle((backward if "Grad" in n else forward)(f"aclnn{n}"), draw_training, rtol=1e-4, atol=1e-5, cases=8)
       for n in _TRAINING},
    **{n: Oracle(infer(f"aclnn{n}"), draw_infer, rtol=1e-4, atol=1e-5) for n in _INFERENCE},
}
