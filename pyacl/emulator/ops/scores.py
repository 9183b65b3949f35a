"""The scores of attention, block by block: some heads, some queries, the keys these may see.

So memory for them stays small however long the sequences are, and within a block they stay in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from . import pieces, rules
from .sums import total as total_of

Array = Any


# ---- masks

@dataclass
class Sparse:
    """Where a query may see a key, by the sparse mode; `given` says whether there is a mask as well."""

    mode: int
    before: int
    after: int
    given: bool
    prefix: Optional[int] = None

    def visible(self, rows: slice, q: int, k: int) -> Optional[Array]:
        """For the queries `rows` of q, [rows, k]; None for everywhere."""
        mode = self.mode
        if mode in (1, 7, 8) or (mode == 0 and not self.given):
            return None
        row, column = np.arange(rows.start, rows.stop)[:, None], np.arange(k)[None]
        if mode == 0:
            return (column >= row - self.before) & (column <= row + self.after)
        shift = 0 if mode == 2 else k - q  # 2 is causal from the upper left corner, the others from the lower right
        if mode in (2, 3):
            return column <= row + shift
        if mode == 4:
            return (column >= row + shift - self.before) & (column <= row + shift + self.after)
        if mode in (5, 6):
            return (column <= row + shift) | (column < (self.prefix or 0))
        return rules.reject(f"sparseMode is {mode}: choose 0 to 8")


def hidden(mask: Optional[Array], mode: int, batch: int, q: int, k: int) -> Optional[Array]:
    """The given mask's part for one batch member, as [N or 1, q, k], not 0 where a key is hidden.

    In the modes 2, 3, 4, 6 the mask is the fixed triangular one, which the mode itself says already.
    """
    if mask is None or mode in (2, 3, 4, 6, 7, 8):
        return None
    if mask.ndim == 2:
        mask = mask[None, None]
    elif mask.ndim == 3:
        mask = mask[:, None]
    return mask[min(batch, mask.shape[0] - 1)][:, :q, :k]


def bias(shift: Optional[Array], batch: int, q: int, k: int) -> Optional[Array]:
    if shift is None:
        return None
    return shift[min(batch, shift.shape[0] - 1)][:, :q, :k]


# ---- softmax

def exponentials(s: Array) -> tuple[Array, Array, Array]:
    """exp(s - maximum), written over s, the maxima and the sums over the last dimension; rows of -inf are all zero."""
    top = s.max(axis=-1, keepdims=True, initial=-np.inf)
    s -= np.where(np.isfinite(top), top, np.float32(0))
    np.exp(s, out=s)
    return s, top, total_of(s, (s.ndim - 1,), True)


def softmax(s: Array) -> tuple[Array, Array, Array]:
    """Probabilities, maxima and sums over the last dimension; rows without any key are all zero."""
    e, top, total = exponentials(np.array(s))
    e /= divisor(total)
    return e, top, total


def divisor(total: Array) -> Array:
    return np.where(total == 0, total.dtype.type(1), total)


# ---- one batch member

@dataclass
class Block:
    """Key heads, queries and keys as slices; arrays of it are [key heads, heads that share one, queries, ...]."""

    groups: slice
    rows: slice
    keys: slice
    seen: Optional[Array]


class Member:
    """One batch member: q [N, Sq, D], k [G, Sk, D], v [G, Sk, Dv], each key head for N / G query heads."""

    def __init__(self, q: Array, k: Array, v: Array, scale: float, sparse: Sparse, masked: Optional[Array] = None,
                 shift: Optional[Array] = None, add_first: bool = False, drop: Optional[tuple[Array, float, int]] = None
                 ) -> None:
        if q.shape[0] % k.shape[0]:
            rules.reject(f"{q.shape[0]} query heads are not a multiple of {k.shape[0]} key heads")
        self.q, self.k, self.v = q, k, v
        self.scale, self.sparse, self.masked = np.float32(scale), sparse, masked
        self.shift, self.add_first = shift, add_first  # added before it is scaled, or behind
        self.drop = drop  # the bits, the probability to keep, the number of the bits' first
        self.share = q.shape[0] // k.shape[0]

    def blocks(self) -> Iterator[Block]:
        """Those in which any query sees any key."""
        n, m = self.q.shape[1], self.k.shape[1]
        step = max(pieces.SIZE // max(self.share * n * m, 1), 1)
        length = n if step > 1 else max(pieces.SIZE // max(self.share * m, 1), 1)
        for start in range(0, n, length):
            rows = slice(start, min(start + length, n))
            seen, keys = self.sparse.visible(rows, n, m), slice(0, m)
            if seen is not None:
                some = np.flatnonzero(seen.any(axis=0))
                if not some.size:
                    continue
                keys = slice(int(some[0]), int(some[-1]) + 1)
                seen = seen[:, keys]
                if seen.all():
                    seen = None
            for group in range(0, self.k.shape[0], step):
                yield Block(slice(group, group + step), rows, keys, seen)

    def heads(self, x: Array, block: Block) -> Array:
        """[N or 1, Sq or 1, ...] as the block has it."""
        x = x[:, block.rows] if x.shape[1] != 1 else x
        return x[None] if x.shape[0] == 1 != self.q.shape[0] else \
            x.reshape(-1, self.share, *x.shape[1:])[block.groups]

    def rows(self, x: Array, block: Block) -> Array:
        """[N, Sq, D] as [key heads, queries of all heads that share one, D]."""
        part = self.heads(x, block)
        return part.reshape(part.shape[0], -1, part.shape[3])

    def scores(self, block: Block) -> Array:
        q = self.rows(self.q, block)
        if self.shift is None:
            q = q * self.scale
        s = np.matmul(q, self.k[block.groups, block.keys].swapaxes(1, 2))
        s = s.reshape(s.shape[0], self.share, -1, s.shape[2])
        if self.shift is not None:
            shift = self.heads(self.shift, block)[..., block.keys]
            s = (s + shift) * self.scale if self.add_first else s * self.scale + shift
        if block.seen is not None:
            np.copyto(s, -np.inf, where=~block.seen)
        if self.masked is not None:
            np.copyto(s, -np.inf, where=self.heads(self.masked, block)[..., block.keys].astype(bool))
        return s

    def kept(self, block: Block) -> Optional[Array]:
        """What probabilities are multiplied with: the mask has one bit for each, lowest bit first."""
        if self.drop is None or self.drop[1] >= 1:
            return None
        bits, keep, first = self.drop
        n, m = self.q.shape[1], self.k.shape[1]
        heads = range(self.q.shape[0])[block.groups.start * self.share:block.groups.stop * self.share]

        def of(head: int) -> Array:
            start, stop = (first + (head * n + row) * m for row in (block.rows.start, block.rows.stop))
            flags = np.unpackbits(bits[start // 8:-(-stop // 8)], bitorder="little")
            return flags[start % 8:start % 8 + stop - start].reshape(-1, m)[:, block.keys]

        found = np.stack([of(head) for head in heads]) / np.float32(keep)
        return found.reshape(-1, self.share, *found.shape[1:])

    def attend(self, out: Array, top: Array, total: Array) -> None:
        """Fills out [N, Sq, Dv] and the maxima and sums, [N, Sq, 1]; queries that see nothing are left alone."""
        for block in self.blocks():
            e, highest, sums = exponentials(self.scores(block))
            kept = self.kept(block)
            if kept is not None:
                e *= kept
            found = np.matmul(e.reshape(e.shape[0], -1, e.shape[3]), self.v[block.groups, block.keys])
            found = found.reshape(*e.shape[:3], -1)
            found /= divisor(sums)
            for whole, part in ((out, found), (top, highest), (total, sums)):
                self.heads(whole, block)[...] = part

    def backward(self, dy: Array, dq: Array, dk: Array, dv: Array, dshift: Optional[Array]) -> None:
        """Adds to the gradients, which have the shapes of what they belong to."""
        for block in self.blocks():
            p, _, sums = exponentials(self.scores(block))
            p /= divisor(sums)
            kept, g, where = self.kept(block), self.rows(dy, block), (block.groups, block.keys)
            merged = (p.shape[0], -1, p.shape[3])
            dropped = p if kept is None else p * kept
            dv[where] += np.matmul(dropped.reshape(merged).swapaxes(1, 2), g)
            dp = np.matmul(g, self.v[where].swapaxes(1, 2)).reshape(p.shape)
            if kept is not None:
                dp *= kept
            dp -= total_of(dp * p, (3,), True)
            ds = np.multiply(p, dp, out=dp)
            scaled = ds * self.scale
            if dshift is not None:
                target = self.heads(dshift, block)[..., block.keys]
                part = scaled if self.add_first else ds
                one = tuple(i for i in range(3) if target.shape[i] == 1 != part.shape[i])
                target += part.sum(axis=one, keepdims=True) if one else part
            scaled = scaled.reshape(merged)
            self.heads(dq, block)[...] = np.matmul(scaled, self.k[where]).reshape(*p.shape[:3], -1)
            dk[where] += np.matmul(scaled.swapaxes(1, 2), self.rows(self.q, block))
