"""Native sparse attention: query by query, key by key, in float64; gradients by autograd."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from ..oracle import Draw, Oracle, torch

HALF = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]


def pairs(ends: Any) -> list[tuple[int, int]]:
    return list(zip([0, *ends[:-1]], ends))


# ---- compression

def compress_inputs(d: Draw) -> list[Any]:
    size, step, n, depth, dtype = d.choice([32, 48]), 16, d.integer(1, 3), 16 * d.integer(1, 2), d.choice(HALF)
    ends = np.cumsum([d.integer(20, 90) for _ in range(d.integer(1, 3))])
    ends[-1] += 64
    x, weight = d.array((int(ends[-1]), n, depth), dtype, -1, 1), d.array((size, n), dtype, -1, 1)
    lengths = tuple(int(e) for e in ends)
    if "Grad" not in d.name:
        return [x, weight, lengths, "TND", size, step, 0]
    rows = sum(max((b - a - size) // step + 1, 0) for a, b in pairs(lengths))
    return [d.array((rows, n, depth), dtype), x, weight, lengths, size, step, 0, "TND"]


def compress(x: Any, weight: Any, ends: Any, layout: str, size: int, step: int, kind: int) -> Any:
    """Each head's channels are a batch of signals under one filter."""
    found = []
    for a, b in pairs(ends):
        if b - a >= size:
            signals = x[a:b].permute(2, 1, 0)
            found.append(torch.nn.functional.conv1d(signals, weight.T[:, None], stride=step, groups=x.shape[1])
                         .permute(2, 1, 0))
    return torch.cat(found)


def compress_back(grad: Any, x: Any, weight: Any, ends: Any, size: int, step: int, kind: int, layout: str) -> Any:
    x, weight = x.clone().requires_grad_(), weight.clone().requires_grad_()
    compress(x, weight, ends, layout, size, step, kind).backward(grad)
    return x.grad, weight.grad


def last_inputs(d: Draw) -> list[Any]:
    size, step, n, depth, dtype, b, page = 32, 16, d.integer(1, 2), 16, d.choice(HALF), d.integer(1, 4), 64
    lengths = tuple(d.choice([20, 32, 33, 48, 80, 96]) for _ in range(b))
    weight, cache = d.array((size, n), dtype, -1, 1), d.array((9, n, depth), dtype, -1, 1)
    slots = d.rng.permutation(9)[:b].astype(np.int32)
    if d.flag():
        table = d.rng.permutation(2 * b).reshape(b, 2).astype(np.int32)
        return [d.array((2 * b, page, n, depth), dtype, -1, 1), weight, slots, lengths, table, None, size, step, 1, page,
                cache]
    return [d.array((sum(lengths), n, depth), dtype, -1, 1), weight, slots, lengths, None, "TND", size, step, 1, page,
            cache]


def last(x: Any, weight: Any, slots: Any, lengths: Any, table: Any, layout: Any, size: int, step: int, kind: int,
         page: int, cache: Any) -> Any:
    found, start = cache.clone(), 0
    for i, length in enumerate(lengths):
        sequence = x[start:start + length] if table is None else x[table[i].long()].flatten(0, 1)[:length]
        start += length
        if length in range(size, length + 1, step):
            found[int(slots[i])] = (sequence[-size:] * weight[..., None]).sum(0)
    return found


# ---- attention over compressed keys

def attention_inputs(d: Draw) -> list[Any]:
    heads, group, depth, deep, dtype = d.integer(1, 2), d.choice([1, 2]), 4, 2, d.choice(HALF)
    step, size, wide, chosen = 16, d.choice([16, 32]), d.choice([32, 64]), d.integer(1, 2)
    queries, keys = ([d.integer(1, 4), d.integer(1, 4)], [d.integer(8, 12), d.integer(8, 12)])
    blocks = [-(-k // (wide // step)) for k in keys]
    t, s = sum(queries), sum(keys)
    mask = np.zeros((max(queries), max(keys)), bool)
    mask[:, 1:] = d.rng.random(mask[:, 1:].shape) < 0.3
    forced = d.rng.random((max(queries), max(blocks))) < 0.2
    forced[:, 1:] &= ~forced[:, :1]  # one at most, so that the order is certain
    forced[:, 2:] = False
    return [d.array((t, heads * group, depth), dtype), d.array((s, heads, depth), dtype), d.array((s, heads, deep), dtype),
            mask if d.flag() else None, forced if d.flag() else None,
            *(tuple(int(e) for e in np.cumsum(v)) for v in (queries, keys, blocks)), 0.5, heads * group, "TND",
            d.integer(0, 1), size, step, wide, chosen]


def attention(q: Any, k: Any, v: Any, mask: Any, forced: Any, q_ends: Any, k_ends: Any, block_ends: Any, scale: float,
              heads: int, layout: str, mode: int, size: int, step: int, wide: int, chosen: int) -> Any:
    t, group = len(q), heads // k.shape[1]
    top, total = torch.zeros(2, t, heads, 8)
    out, found = torch.zeros(t, heads, v.shape[2]), torch.zeros(t, k.shape[1], chosen, dtype=torch.int32)
    for (a, b), (c, e) in zip(pairs(q_ends), pairs(k_ends)):
        for i in range(a, b):
            for own in range(k.shape[1]):
                scores = [0.0] * -(-(e - c) // (wide // step))
                for h in range(own * group, (own + 1) * group):
                    s = (k[c:e, own].double() @ q[i, h].double()) * scale
                    if mask is not None:
                        s[mask[i - a, :e - c]] = -np.inf
                    p = torch.softmax(s, 0)
                    top[i, h], total[i, h] = s.max(), torch.exp(s - s.max()).sum()
                    out[i, h] = (p @ v[c:e, own].double()).float()
                    for j in range(len(scores)):
                        for m in range(wide // step):
                            for n in range(size // step):
                                place = wide // step * (j + 1) - m - n
                                scores[j] += float(p[place]) if 0 <= place < e - c else 0.0
                if forced is not None:
                    scores = [np.inf if forced[i - a, j] else value for j, value in enumerate(scores)]
                found[i, own] = torch.tensor(sorted(range(len(scores)), key=lambda j: -scores[j])[:chosen])
    return top, total, out, found


# ---- attention over chosen blocks

def selected_inputs(d: Draw) -> list[Any]:
    heads, group, depth, deep, size, count, dtype = d.integer(1, 2), d.integer(1, 2), 6, 4, 16, d.integer(1, 2), d.choice(HALF)
    keys = [size * d.integer(count, count + 1) for _ in range(2)]
    queries = [d.integer(1, 5) for _ in range(2)]
    chosen = np.concatenate([np.stack([[d.rng.permutation(n // size)[:count] for _ in range(heads)] for _ in range(t)])
                             for t, n in zip(queries, keys)]).astype(np.int32)
    causal = d.flag()
    if causal:
        chosen[..., 0] = 0  # every query sees something
        chosen[..., 1:] = 1
    mask = d.array((8, 8), d.choice([np.bool_, np.uint8]), 0, 1) if causal else None
    back = d.name == "aclnnNsaSelectedAttentionGrad"
    dtype = HALF[0] if back else dtype
    q = d.array((sum(queries), heads * group, depth), dtype, -1, 1)
    k, v = d.array((sum(keys), heads, depth), dtype, -1, 1), d.array((sum(keys), heads, deep), dtype, -1, 1)
    ends = [tuple(int(e) for e in np.cumsum(n)) for n in (queries, keys)]
    rest: list[Any] = [0.5, heads * group, "TND", 2 if causal else d.choice([0, 2]), size, count]
    if not back:
        return [q, k, v, chosen, mask, *ends, *rest]
    given = [*(torch.from_numpy(t.astype(np.float32)) for t in (q, k, v)), torch.from_numpy(chosen), mask, *ends, *rest]
    top, total, out = (t.numpy() for t in selected(*given))
    return [q, k, v, out.astype(dtype), d.array(out.shape, dtype), top, total, chosen, *ends, mask, 0.5, size, count,
            heads * group, "TND", rest[3]]


def selected(q: Any, k: Any, v: Any, chosen: Any, mask: Any, q_ends: Any, k_ends: Any, scale: float, heads: int,
             layout: str, mode: int, size: int, count: int) -> Any:
    group, rows = heads // k.shape[1], []
    for (a, b), (c, e) in zip(pairs(q_ends), pairs(k_ends)):
        for i in range(a, b):
            for h in range(heads):
                own = h // group
                places = [p for block in chosen[i, own].tolist() for p in range(block * size, (block + 1) * size)
                          if mask is None or p <= i - a]
                s = (k[c:e, own][places].double() @ q[i, h].double()) * scale
                rows.append((s.max(), torch.exp(s - s.max()).sum(), torch.softmax(s, 0) @ v[c:e, own][places].double()))
    top, total = (torch.stack([r[n] for r in rows]).reshape(len(q), heads, 1).repeat(1, 1, 8).float() for n in (0, 1))
    return top, total, torch.stack([r[2] for r in rows]).reshape(len(q), heads, -1).float()


def selected_back(q: Any, k: Any, v: Any, out: Any, dy: Any, top: Any, total: Any, chosen: Any, q_ends: Any, k_ends: Any,
                  mask: Any, scale: float, size: int, count: int, heads: int, layout: str, mode: int) -> Any:
    leaves = [t.clone().requires_grad_() for t in (q, k, v)]
    found = selected(*[*leaves, chosen, mask, q_ends, k_ends, scale, heads, layout, mode, size, count])[2]
    found.backward(dy)
    return tuple(t.grad for t in leaves)


def infer_inputs(d: Draw) -> list[Any]:
    b, own, group, size, page, dtype = d.integer(1, 3), d.integer(1, 2), d.integer(1, 3), 16, 64, d.choice(HALF)
    lengths = tuple(d.integer(33, 128) for _ in range(b))
    layout, dense, heads = d.choice(["BSND", "BSH", "TND", None]), d.flag(), own * group
    lead = (b,) if layout == "TND" else (b, 1)
    table = d.rng.permutation(2 * b).reshape(b, 2).astype(np.int32)
    chosen = np.stack([[d.rng.permutation(n // size)[:2] for _ in range(own)] for n in lengths]).astype(np.int32)
    q = d.array((*lead, heads * 192) if layout == "BSH" else (*lead, heads, 192), dtype, -1, 1)
    k, v = (d.array((2 * b, page, own * n) if dense else (2 * b, page, own, n), dtype, -1, 1) for n in (192, 128))
    return [q, k, v, chosen.reshape(*lead, own, 2), None, table, None, lengths, layout, heads, own, size, 2, page, 0.05, 0]


def infer(q: Any, k: Any, v: Any, chosen: Any, mask: Any, table: Any, q_lengths: Any, lengths: Any, layout: Any,
          heads: int, own: int, size: int, count: int, page: int, scale: float, mode: int) -> Any:
    b, found = len(table), []
    queries, chosen = q.reshape(b, heads, 192), chosen.reshape(b, own, count)
    for i in range(b):
        keys, values = (t[table[i].long()].reshape(-1, own, n)[:lengths[i]] for t, n in ((k, 192), (v, 128)))
        for h in range(heads):
            places = [p for block in chosen[i, h // (heads // own)].tolist() for p in range(block * size, (block + 1) * size)
                      if p < lengths[i]]
            s = keys[places, h // (heads // own)].double() @ queries[i, h].double() * scale
            found.append(torch.softmax(s, 0) @ values[places, h // (heads // own)].double())
    return torch.stack(found).float().reshape(*q.shape[:-1], heads * 128 if layout == "BSH" else 128)


ORACLES = {
    "NsaCompress": Oracle(compress, compress_inputs, rtol=1e-3, atol=1e-3),
    "NsaCompressGrad": Oracle(compress_back, compress_inputs, rtol=1e-3, atol=2e-3),
    "NsaCompressWithCache": Oracle(last, last_inputs, atol=1e-3, cases=10),
    "NsaCompressAttention": Oracle(attention, attention_inputs, rtol=1e-3, atol=1e-3, cases=8),
    "NsaSelectedAttention": Oracle(selected, selected_inputs, rtol=1e-3, atol=1e-3, cases=8),
    "NsaSelectedAttentionGrad": Oracle(selected_back, selected_inputs, rtol=5e-3, atol=5e-3, cases=8),
    "NsaSelectedAttentionInfer": Oracle(infer, infer_inputs, rtol=1e-3, atol=1e-3),
}
