"""Rotary position embeddings: pairs of elements turned by the angle of their position."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .registry import define

HALF, INTERLEAVE, QUARTER, INTERLEAVE_HALF = range(4)
MODES = {"half": HALF, "interleave": INTERLEAVE, "quarter": QUARTER}


def turned(x: Any, mode: int) -> Any:
    """The other member of each pair, with the sign of the rotation."""
    if mode == INTERLEAVE:
        return np.stack((-x[..., 1::2], x[..., ::2]), axis=-1).reshape(x.shape)
    parts = np.split(x, 4 if mode == QUARTER else 2, axis=-1)
    return np.concatenate([p for a, b in zip(parts[::2], parts[1::2]) for p in (-b, a)], axis=-1)


def turned_back(x: Any, mode: int) -> Any:
    """The transpose of `turned`, for gradients."""
    if mode == INTERLEAVE:
        return np.stack((x[..., 1::2], -x[..., ::2]), axis=-1).reshape(x.shape)
    parts = np.split(x, 4 if mode == QUARTER else 2, axis=-1)
    return np.concatenate([p for a, b in zip(parts[::2], parts[1::2]) for p in (b, -a)], axis=-1)


def halves(x: Any) -> Any:
    """Even elements first, then the odd ones."""
    return np.concatenate((x[..., ::2], x[..., 1::2]), axis=-1)


def rotate(x: Any, cos: Any, sin: Any, mode: int) -> Any:
    if mode == INTERLEAVE_HALF:
        x, mode = halves(x), HALF
    return x * cos + turned(x, mode) * sin


def rotate_part(x: Any, cos: Any, sin: Any, mode: int) -> Any:
    """cos may be narrower than x: the rest passes through."""
    width = cos.shape[-1]
    done = rotate(x[..., :width], cos, sin, mode)
    return done if width == x.shape[-1] else np.concatenate((done, x[..., width:]), axis=-1)


def rotate_grad(dy: Any, cos: Any, sin: Any, x: Any, mode: int) -> Any:
    scaled = dy * sin
    if mode == INTERLEAVE_HALF:
        found = dy * cos + turned_back(scaled, HALF)
        dx = np.empty_like(found)
        dx[..., ::2], dx[..., 1::2] = np.split(found, 2, axis=-1)
    else:
        dx = dy * cos + turned_back(scaled, mode)
    if x is None:
        return dx, None, None
    axes = tuple(i for i, (a, b) in enumerate(zip(dy.shape, cos.shape)) if b == 1 and a != 1)
    base, other = (halves(x), HALF) if mode == INTERLEAVE_HALF else (x, mode)
    return dx, (dy * base).sum(axis=axes, keepdims=True), (dy * turned(base, other)).sum(axis=axes, keepdims=True)


def mode_check(x: Any, cos: Any, sin: Any, *rest: Any) -> None:
    mode = rest[-1]
    if mode not in range(4):
        rules.reject(f"mode is {mode}: choose 0 half, 1 interleave, 2 quarter, 3 interleave-half")
    if x.shape[-1] % (4 if mode == QUARTER else 2):
        rules.reject(f"the last dimension of x is {x.shape[-1]}, which cannot be split in {4 if mode == 2 else 2}")
    if tuple(cos.shape) != tuple(sin.shape):
        rules.reject(f"cos has the shape {list(cos.shape)}, sin {list(sin.shape)}")
    rules.broadcast_shapes(tuple(x.shape), tuple(cos.shape))


def apply(query: Any, key: Any, cos: Any, sin: Any, layout: int, mode: str = "half") -> Any:
    return rotate_part(query, cos, sin, MODES[mode]), rotate_part(key, cos, sin, MODES[mode])


def apply_check(query: Any, key: Any, cos: Any, sin: Any, layout: int, mode: str = "half") -> None:
    if layout not in (1, 2, 3, 4):
        rules.reject(f"layout is {layout}: choose 1 BSND, 2 SBND, 3 BNSD, 4 TND")
    if mode not in MODES:
        rules.reject(f"rotaryMode is {mode!r}: choose one of {', '.join(MODES)}")
    if tuple(cos.shape) != tuple(sin.shape):
        rules.reject(f"cos has the shape {list(cos.shape)}, sin {list(sin.shape)}")
    if cos.shape[-1] > min(query.shape[-1], key.shape[-1]):
        rules.reject(f"cos has {cos.shape[-1]} columns, more than query or key")


def interleave_rope(x: Any, cos: Any, sin: Any) -> Any:
    return rotate(x, cos, sin, INTERLEAVE_HALF)


def with_cache(positions: Any, query: Any, key: Any, cache: Any, sections: Any, size: int, neox: bool) -> Any:
    """query and key are [tokens, heads * size]; a row of the cache is cos and sin of one position."""
    if sections and any(sections):  # multimodal: three rows of positions, each for a section of the dimensions
        rows = cache[positions]
        cos, sin = np.split(rows, 2, axis=-1)
        edges = np.cumsum(sections)[:-1]
        cos, sin = (np.concatenate([part[i] for i, part in enumerate(np.split(m, edges, axis=-1))], axis=-1)
                    for m in (cos, sin))
    else:
        cos, sin = np.split(cache[positions], 2, axis=-1)

    def turn(x: Any) -> Any:
        heads = x.reshape(x.shape[0], -1, size)
        width = 2 * cos.shape[-1]
        part = heads[..., :width]
        c, s = cos[:, None], sin[:, None]
        if neox:
            a, b = np.split(part, 2, axis=-1)
            done = np.concatenate((a * c - b * s, b * c + a * s), axis=-1)
        else:
            a, b = part[..., ::2], part[..., 1::2]
            done = np.stack((a * c - b * s, b * c + a * s), axis=-1).reshape(part.shape)
        return np.concatenate((done, heads[..., width:]), axis=-1).reshape(x.shape)

    return turn(query), turn(key)


define("RotaryPositionEmbedding", rotate, shape=rules.same, result=rules.first, check=mode_check,
       oracle="torch rotation of pairs")
define("RotaryPositionEmbeddingGrad", rotate_grad, optional="dcosOut dsinOut", check=mode_check,
       oracle="torch rotation of pairs, backward")
define("ApplyRotaryPosEmb ApplyRotaryPosEmbV2", apply, check=apply_check, oracle="torch rotation of pairs")
define("InterleaveRope", interleave_rope, shape=rules.same, result=rules.first, oracle="torch rotation of pairs")
define("RopeWithSinCosCache", with_cache, optional="mropeSection", oracle="torch rotation of pairs")
