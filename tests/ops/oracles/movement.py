"""Operators that move elements about, cast and fill."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from pyacl.emulator.ops.types import DTYPES

from ..oracle import COMMON, Draw, Oracle, torch

F = torch.nn.functional


def exact(call: Callable[..., Any], draw: Callable[[Draw], list[Any]]) -> Oracle:
    return Oracle(call, draw, exact=True)


def tensor(d: Draw, low: int = 0, high: int = 4, names: str = COMMON, **how: Any) -> Any:
    return d.array(d.shape(low, high), d.dtype(names), -9, 9, **how)


def joined(d: Draw) -> list[Any]:
    x = tensor(d, 1)
    dim = d.axis(x.ndim)
    parts = [x]
    for _ in range(d.integer(0, 3)):
        shape = list(x.shape)
        shape[dim] = d.integer(1, 4)
        parts.append(d.array(tuple(shape), x.dtype if d.flag() else d.dtype("f32 f16 s32"), -9, 9))
    return [parts, dim]


def stacked(d: Draw) -> list[Any]:
    x = tensor(d)
    return [[x, *(d.array(x.shape, x.dtype) for _ in range(d.integer(0, 3)))], d.integer(-x.ndim - 1, x.ndim)]


def split(d: Draw) -> list[Any]:
    x = d.array(d.shape(1, 3, 7), d.dtype())
    return [x, d.integer(1, 4), d.axis(x.ndim)]


def split_sizes(d: Draw) -> list[Any]:
    x = d.array(d.shape(1, 3, 7), d.dtype())
    dim = d.axis(x.ndim)
    first = d.integer(1, x.shape[dim])
    return [x, (first, x.shape[dim] - first), dim]


def chunks(d: Draw) -> list[Any]:
    dtype = d.dtype("f32 f16 bf16")
    return [[d.array(d.shape(1, 3), dtype) for _ in range(d.integer(1, 3))], 0, d.integer(1, 4)]


def permuted(d: Draw) -> list[Any]:
    x = tensor(d)
    return [x, tuple(int(i) - x.ndim * d.flag() for i in d.rng.permutation(x.ndim))]


def expanded(d: Draw) -> list[Any]:
    x = tensor(d, 0, 3)
    size = [d.integer(1, 4) if n == 1 else (-1 if d.flag() else n) for n in x.shape]
    return [x, (*([d.integer(1, 3)] if d.flag() else []), *size)]


def repeated(d: Draw) -> list[Any]:
    x = tensor(d, 0, 3)
    return [x, tuple(d.integer(1, 3) for _ in range(x.ndim + d.integer(0, 1)))]


def rolled(d: Draw) -> list[Any]:
    x = tensor(d, 1)
    dims = d.axes(x.ndim)
    return [x, tuple(d.integer(-4, 4) for _ in dims), dims]


def flipped(d: Draw) -> list[Any]:
    x = tensor(d, 1)
    return [x, d.axes(x.ndim)]


def interleave(d: Draw) -> list[Any]:
    """(self, repeats, [dim,] outputSize)"""
    x = tensor(d, 1)
    with_dim = d.name.endswith("WithDim")
    dim = d.axis(x.ndim)
    n = x.shape[dim] if with_dim else x.size
    if "Int" in d.name.replace("Interleave", ""):
        repeats: Any = d.integer(0, 3)
        size = repeats * n
    else:
        repeats = d.array((n,), np.int64, 1, 3)
        size = int(repeats.sum())
    return [x, repeats, *([dim] if with_dim else []), size]


def interleaved(x: Any, repeats: Any, *rest: Any) -> Any:
    return torch.repeat_interleave(x, repeats, rest[0] if len(rest) == 2 else None)


def sliced(d: Draw) -> list[Any]:
    x = tensor(d, 1)
    dim = d.axis(x.ndim)
    start = d.integer(0, x.shape[dim] - 1)
    return [x, dim, start - x.shape[dim] * d.flag(), d.integer(start + 1, x.shape[dim]), d.integer(1, 2)]


def slice_one(x: Any, dim: int, start: int, end: int, step: int) -> Any:
    n = x.shape[dim]
    return torch.index_select(x, dim, torch.arange(start % n, end, step))


def sliced_many(d: Draw) -> list[Any]:
    x = tensor(d, 1)
    dims = d.axes(x.ndim)
    starts = tuple(d.integer(0, x.shape[a] - 1) for a in dims)
    return [x, starts, tuple(d.integer(s + 1, x.shape[a]) for s, a in zip(starts, dims)), dims,
            tuple(d.integer(1, 2) for _ in dims)]


def slice_many(x: Any, starts: Any, ends: Any, dims: Any, steps: Any) -> Any:
    for start, end, dim, step in zip(starts, ends, dims, steps):
        x = slice_one(x, dim, start, end, step)
    return x


def strided(d: Draw) -> list[Any]:
    x = tensor(d, 1, 3)
    begin = tuple(d.integer(0, n - 1) for n in x.shape)
    end = tuple(d.integer(b + 1, n) for b, n in zip(begin, x.shape))
    return [x, begin, end, tuple(d.integer(1, 2) for _ in x.shape), d.integer(0, 7), d.integer(0, 7), 0, 0,
            d.integer(0, 1)]


def strided_slice(x: Any, begin: Any, end: Any, strides: Any, begin_mask: int, end_mask: int, _e: int, _n: int,
                  shrink: int) -> Any:
    for a in reversed(range(x.ndim)):
        if shrink >> a & 1:
            x = x.select(a, begin[a])
        else:
            x = slice_one(x, a, 0 if begin_mask >> a & 1 else begin[a], x.shape[a] if end_mask >> a & 1 else end[a],
                          strides[a])
    return x


def assigned(d: Draw) -> list[Any]:
    x = tensor(d, 1, 3)
    begin = tuple(d.integer(0, n - 1) for n in x.shape)
    end = tuple(d.integer(b + 1, n) for b, n in zip(begin, x.shape))
    return [x, d.array(tuple(e - b for b, e in zip(begin, end)), x.dtype), begin, end, (1,) * x.ndim, None]


def assign(x: Any, value: Any, begin: Any, end: Any, strides: Any, dims: Any) -> Any:
    found = x.clone()
    found[tuple(slice(b, e) for b, e in zip(begin, end))] = value
    return found


def padded(d: Draw) -> list[Any]:
    x = tensor(d, 1, 4, "f32 f16 s32 s64 bool")
    pad = tuple(d.integer(0 if i % 2 else -1 if x.shape[-1 - i // 2] > 1 else 0, 3)
                for i in range(2 * d.integer(1, x.ndim)))
    return [x, pad, d.scalar(x.dtype)]


def borders(n: int, backward: bool) -> Callable[[Draw], list[Any]]:
    def draw(d: Draw) -> list[Any]:
        x = d.array((d.integer(1, 2), d.integer(1, 3), *(d.integer(3, 6) for _ in range(n))), d.dtype("f32 f16"))
        pad = tuple(d.integer(0, 2) for _ in range(2 * n))
        if not backward:
            return [x, pad]
        shape = list(x.shape)
        for i in range(n):
            shape[-1 - i] += pad[2 * i] + pad[2 * i + 1]
        return [d.array(tuple(shape), x.dtype), x, pad]

    return draw


def border_gradient(mode: str) -> Callable[..., Any]:
    def call(grad: Any, x: Any, pad: Any) -> Any:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(F.pad(x, pad, mode=mode), x, grad)[0]

    return call


def diagonals(low: int, high: int) -> Callable[[Draw], list[Any]]:
    return lambda d: [tensor(d, low, high, "f32 f16 s32 s64 bool"), d.integer(-2, 2)]


def casts(d: Draw) -> list[Any]:
    source = d.dtype("f32 f16 bf16 f64 s32 s64 s16 s8 u8 bool")
    low = 0 if source.kind == "u" else -100
    target = d.choice(["f32", "f16", "bf16", "f64", "s32", "s64", "s16", "s8", "u8", "bool"])
    return [d.array(d.shape(), source, 0 if target == "u8" else low, 100), DTYPES[target]]


def to(x: Any, dtype: Any) -> Any:
    return x.to(dtype)


def copies(d: Draw) -> list[Any]:
    x = tensor(d, names="f32 f16 bf16 s32 s64 u8 bool")
    return [x, d.array(x.shape[d.integer(0, x.ndim):], x.dtype if d.flag() else d.dtype("f32 f16 s32", 1), 0, 9)]


def fills(d: Draw) -> list[Any]:
    x = tensor(d)
    value = d.scalar("s32", 0, 9)
    return [x, value if d.signature.inputs[1].kind == "scalar" else np.asarray(value, x.dtype)]


def steps(closed: bool) -> Callable[[Draw], list[Any]]:
    def draw(d: Draw) -> list[Any]:
        dtype = DTYPES[d.choice(["f32", "s32", "s64"])]
        start, step = d.integer(-5, 5), d.choice([1, 2, 3, -1, -2])
        end = start + step * d.integer(1, 6) + (0 if closed else d.choice([0, 1 if step > 0 else -1]))
        return [np.asarray(v, dtype)[()] for v in (start, end, step)]

    return draw


def one_hots(d: Draw) -> list[Any]:
    x = d.array(d.shape(1, 3), d.dtype("s32 s64"), 0, 3)
    dtype = d.dtype("f32 s32 s64", 2, 3)
    return [x, 4, d.array((1,), dtype, 2, 3), d.array((1,), dtype, 0, 1), d.choice([-1, 0, x.ndim])]


def one_hot(x: Any, classes: int, on: Any, off: Any, dim: int) -> Any:
    hot = F.one_hot(x.long(), classes).movedim(-1, dim)
    return torch.where(hot.bool(), on, off)


ORACLES = {
    "Cat": exact(torch.cat, joined),
    "Stack": exact(torch.stack, stacked),
    "SplitTensor": exact(torch.split, split),
    "SplitWithSize": exact(torch.split, split_sizes),
    "ChunkCat": exact(torch._chunk_cat, chunks),
    "Repeat": exact(torch.tile, repeated),
    "Permute": exact(torch.permute, permuted),
    "Flatten": exact(lambda x, dim: x.reshape(int(np.prod(x.shape[:dim % x.ndim])), -1),
                     lambda d: [x := tensor(d, 2), d.axis(x.ndim)]),
    "Expand": exact(lambda x, size: x.expand(size), expanded),
    "ChannelShuffle": exact(lambda x, g: torch.channel_shuffle(x, g), lambda d: [
        d.array((d.integer(1, 3), 6, *d.shape(1, 3)), d.dtype("f32 f16 s32")), d.choice([1, 2, 3])]),
    "ConfusionTranspose": exact(
        lambda x, perm, shape, first: x.permute(perm).reshape(shape) if first else x.reshape(shape).permute(perm),
        lambda d: [d.array((2, 3, 4), d.dtype("f32 f16 s32")), (2, 0, 1), (4, 6) if (first := d.flag()) else (4, 2, 3),
                   first]),
    "Roll": exact(torch.roll, rolled),
    "Flip": exact(torch.flip, flipped),
    "RepeatInterleave": exact(interleaved, interleave),
    "RepeatInterleaveInt": exact(interleaved, interleave),
    "RepeatInterleaveWithDim": exact(interleaved, interleave),
    "RepeatInterleaveIntWithDim": exact(interleaved, interleave),
    "RepeatInterleaveTensor": exact(lambda r, n: torch.repeat_interleave(r).to(r.dtype), lambda d: [
        r := d.array((d.integer(1, 5),), d.dtype("s64"), 0, 3), int(r.sum())]),
    "Slice": exact(slice_one, sliced),
    "SliceV2": exact(slice_many, sliced_many),
    "StridedSlice": exact(strided_slice, strided),
    "StridedSliceAssignV2": exact(assign, assigned),
    "ConstantPadNd": exact(torch.constant_pad_nd, padded),
    **{f"{name}Pad{n}d": exact(lambda x, pad, mode=mode: F.pad(x, pad, mode=mode), borders(n, False))
       for name, mode in (("Reflection", "reflect"), ("Replication", "replicate"), ("Circular", "circular"))
       for n in (1, 2, 3) if (name, n) != ("Circular", 1)},
    **{f"{name}Pad{n}dBackward": Oracle(border_gradient(mode), borders(n, True), atol=1e-5)
       for name, mode in (("Reflection", "reflect"), ("Replication", "replicate"), ("Circular", "circular"))
       for n in (1, 2, 3) if (name, n) != ("Circular", 1)},
    "Tril": exact(torch.tril, diagonals(2, 4)),
    "Triu": exact(torch.triu, diagonals(2, 4)),
    "Diag": exact(torch.diag, diagonals(1, 2)),
    "DiagFlat": exact(torch.diagflat, diagonals(1, 2)),
    "InplaceFillDiagonal": exact(lambda x, v, wrap: x.clone().fill_diagonal_(v, wrap), lambda d: [
        tensor(d, 2, 2, "f32 f16 s32 s64"), d.scalar("s32", 0, 9), d.flag()]),
    "Cast": exact(to, casts),
    "InplaceCopy": exact(lambda x, source: x.clone().copy_(source), copies),
    "InplaceFillScalar": exact(lambda x, v: torch.full_like(x, v), fills),
    "InplaceFillTensor": exact(lambda x, v: torch.full_like(x, v.item()), fills),
    "InplaceZero": exact(torch.zeros_like, lambda d: [tensor(d)]),
    "InplaceOne": exact(torch.ones_like, lambda d: [tensor(d)]),
    "Arange": Oracle(lambda a, b, s: torch.arange(a, b, s), steps(False)),
    "Range": Oracle(lambda a, b, s: torch.arange(a, b + (1 if s > 0 else -1) * 0.5, s).to(
        torch.int64 if isinstance(a, int) else torch.float32), steps(True)),
    "Linspace": Oracle(torch.linspace, lambda d: [d.scalar("f32"), d.scalar("f32"), d.integer(1, 9)], atol=1e-5),
    "LogSpace": Oracle(torch.logspace, lambda d: [d.scalar("f32", 0, 2), d.scalar("f32", 0, 2), d.integer(1, 9), 2.0],
                       rtol=1e-4),
    "Eye": exact(torch.eye, lambda d: [d.integer(0, 4), d.integer(0, 4)]),
    "OneHot": exact(one_hot, one_hots),
}
