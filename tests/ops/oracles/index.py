"""Indexing, sorting, masks."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from pyacl.emulator.ops.types import DTYPES

from ..oracle import COMMON, Draw, Oracle, elementwise, torch


def exact(call: Callable[..., Any], draw: Callable[[Draw], list[Any]], room: Any = None) -> Oracle:
    return Oracle(call, draw, exact=True, room=room)


def tensor(d: Draw, low: int = 1, high: int = 4, names: str = COMMON, **how: Any) -> Any:
    return d.array(d.shape(low, high), d.dtype(names), -9, 9, **how)


def indices(d: Draw, shape: tuple[int, ...], limit: int) -> Any:
    return d.array(shape, DTYPES[d.choice(["s64", "s32"])], 0, limit - 1)


def smaller(d: Draw, shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return tuple(d.integer(1, n) if i != dim % len(shape) else d.integer(1, 4) for i, n in enumerate(shape))


def gathered(d: Draw) -> list[Any]:
    x = tensor(d)
    dim = d.axis(x.ndim)
    return [x, dim, indices(d, smaller(d, x.shape, dim), x.shape[dim])]


def selected(d: Draw) -> list[Any]:
    x = tensor(d)
    dim = d.axis(x.ndim)
    high = 1 if d.name == "aclnnIndexSelect" else 2
    return [x, dim, indices(d, d.shape(1, high), x.shape[dim])]


def select(x: Any, dim: int, index: Any) -> Any:
    a = dim % x.ndim
    found = torch.index_select(x, a, index.reshape(-1).long())
    return found.reshape(*x.shape[:a], *index.shape, *x.shape[a + 1:])


def batched(d: Draw) -> list[Any]:
    x = d.array((2, 3, 4), d.dtype("f32 f16 s32 s64"))
    return [x, 1, indices(d, (2, 3), 3), 1, 0] if d.flag() else [x, 2, indices(d, (3,), 4), 0, 0]


def select_batched(x: Any, dim: int, index: Any, batch: int, mode: int) -> Any:
    if not batch:
        return select(x, dim, index)
    return torch.stack([select(a, dim - 1, i) for a, i in zip(x, index)])


def coordinates(d: Draw, x: Any) -> Any:
    """Different points of x, so that the order of updates does not matter."""
    depth = d.integer(1, x.ndim)
    count = int(np.prod(x.shape[:depth]))
    chosen = d.rng.permutation(count)[:d.integer(1, min(count, 4))]
    return np.stack(np.unravel_index(chosen, x.shape[:depth]), -1).astype(np.int64)


def points(x: Any, index: Any) -> Any:
    return x[tuple(index.long().movedim(-1, 0))]


def nd(d: Draw) -> list[Any]:
    x = tensor(d, 1, 3)
    return [x, coordinates(d, x), d.flag()]


def nd_updates(d: Draw) -> list[Any]:
    x = tensor(d, 1, 3)
    where = coordinates(d, x)
    return [x, where, d.array((len(where), *x.shape[where.shape[1]:]), x.dtype)]


def scatter_nd(x: Any, index: Any, updates: Any) -> Any:
    found = x.clone()
    found[tuple(index.long().movedim(-1, 0))] = updates
    return found


def advanced(d: Draw) -> list[Any]:
    x = d.array((3, 4, 5), d.dtype("f32 f16 bf16 s32 s64 bool"), -9, 9)
    kind = d.integer(0, 3)
    if kind == 0:
        return [x, [indices(d, (2,), 3)]]
    if kind == 1:
        return [x, [indices(d, (2, 1), 3), indices(d, (4,), 4)]]
    if kind == 2:
        return [x, [None, indices(d, (3,), 4)]]
    return [x, [d.array((3, 4), np.bool_)]]


def where_of(index: Any) -> Any:
    return tuple(slice(None) if i is None else i if i.dtype == torch.bool else i.long() for i in index)


def put(d: Draw) -> list[Any]:
    x = d.array((5, 4), d.dtype("f32 f16 s32 s64"), -9, 9)
    accumulate = d.flag()
    rows = indices(d, (3,), 5) if accumulate else d.rng.permutation(5)[:3].astype(np.int64)
    return [x, [rows], d.array((3, 4), x.dtype, -9, 9), accumulate, False]


def scattered(d: Draw) -> list[Any]:
    """(self, dim, index, src or value[, reduce[, includeSelf]]); no index twice where the last one would win."""
    names = "f32" if "Reduce" in d.name else "f32 f16 s32 s64"
    x = d.array(d.shape(1, 3, 4), d.dtype(names), -4, 4)
    dim = d.axis(x.ndim)
    last = d.signature.inputs[-1].name
    reduce = 1 if last in ("includeSelf",) or "Add" in d.name else d.integer(0, 2)
    n = x.shape[dim]
    if reduce:
        index = indices(d, smaller(d, x.shape, dim), n)
    else:
        order = np.argsort(d.rng.random(x.shape), axis=dim)
        keep = smaller(d, x.shape, dim)
        index = order[tuple(slice(min(k, m)) for k, m in zip(keep, x.shape))].astype(np.int64)
    if "Value" in d.name:
        values: Any = d.scalar(x.dtype)
    else:
        values = d.array(tuple(n + d.integer(0, 1) for n in index.shape), x.dtype, -2, 2)
    result = [x, dim, index, values]
    if "Add" not in d.name:
        result.append(reduce)
    if last == "includeSelf":
        result.append(True)
    return result


def scatter(x: Any, dim: int, index: Any, values: Any, reduce: int = 1, include: bool = True) -> Any:
    if isinstance(values, torch.Tensor):
        values = values[tuple(slice(n) for n in index.shape)]
    else:
        values = torch.full(index.shape, values, dtype=x.dtype)
    if reduce == 0:
        return torch.scatter(x, dim, index.long(), values)
    return torch.scatter_reduce(x, dim, index.long(), values, {1: "sum", 2: "prod"}[reduce])


def added(d: Draw) -> list[Any]:
    x = d.array(d.shape(1, 3), d.dtype("f32 f16 s32 s64"), -9, 9)
    dim = d.axis(x.ndim)
    shape = list(x.shape)
    shape[dim] = d.integer(1, 4)
    values = [x, dim, indices(d, (shape[dim],), x.shape[dim]), d.array(tuple(shape), x.dtype, -9, 9), d.scalar(x.dtype)]
    return [*values, 0] if d.name.endswith("V2") else values


def copied(d: Draw) -> list[Any]:
    x = d.array(d.shape(1, 3), d.dtype("f32 f16 s32 s64"), -9, 9)
    dim = d.axis(x.ndim)
    order = d.rng.permutation(x.shape[dim])[:d.integer(1, x.shape[dim])].astype(np.int64)
    shape = list(x.shape)
    shape[dim] = len(order)
    return [x, dim, order, d.array(tuple(shape), x.dtype, -9, 9)]


def filled(d: Draw) -> list[Any]:
    x = tensor(d)
    dim = d.axis(x.ndim)
    index = indices(d, (d.integer(1, 3),), x.shape[dim])
    return [x, dim, tuple(index.tolist()) if d.signature.inputs[2].kind == "ints" else index, d.scalar("s32", 0, 9)]


def positions(d: Draw) -> list[Any]:
    x = tensor(d, names="f32 f16 s32 s64")
    accumulate = d.flag()
    n = d.integer(1, x.size)
    where = indices(d, (n,), x.size) if accumulate else d.rng.permutation(x.size)[:n].astype(np.int64)
    return [x, where, d.array((n,), x.dtype, -4, 4), accumulate]


def rows(d: Draw) -> list[Any]:
    x = d.array((4, 3), d.dtype("f32 f16 s32"), 1, 9)
    index = indices(d, (d.integer(1, 5),), 4)
    values = [x, index, d.array((index.size, 3), x.dtype, 1, 3)]
    return values if d.name == "aclnnTfScatterAdd" else [*values, False]


def row_by_row(function: Any) -> Any:
    def call(x: Any, index: Any, updates: Any, locking: bool = False) -> Any:
        found = x.clone()
        for i, row in zip(index.tolist(), updates):
            found[i] = function(found[i], row)
        return found

    return call


def divide(x: Any, y: Any) -> Any:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="floor")


def updated(d: Draw) -> list[Any]:
    x = d.array((3, 2, 6, 4), d.dtype("f32 f16 s32 s8"), -9, 9)
    return [x, indices(d, (3,), 4), d.array((3, 2, 2, 4), x.dtype, -9, 9), d.choice([-2, 2])]


def update(x: Any, index: Any, updates: Any, dim: int) -> Any:
    found = x.clone()
    for batch, start in enumerate(index.tolist()):
        found[batch, :, start:start + 2] = updates[batch]
    return found


def masked(d: Draw) -> list[Any]:
    x = tensor(d, 0, names="f32 f16 bf16 s32 s64 bool")
    value = d.scalar("s32", 0, 9) if "Scalar" in d.name else d.array((), x.dtype, 0, 9)
    return [x, d.array(x.shape[d.integer(0, x.ndim):], np.bool_), value]


def mask_scattered(d: Draw) -> list[Any]:
    x = tensor(d, 0, names="f32 f16 s32 s64")
    return [x, d.array(x.shape, np.bool_), d.array((x.size + 2,), x.dtype)]


def searched(d: Draw) -> list[Any]:
    dtype = d.dtype("f32 f16 s32 s64", 0)
    lead = d.shape(0, 1)
    sequence = np.sort(d.array((*lead, 6), dtype, -9, 9), -1)
    values = d.scalar(dtype) if d.signature.inputs[1].kind == "scalar" else d.array((*lead, 4), dtype, -9, 9)
    if isinstance(values, np.generic):
        sequence = sequence.reshape(-1)[:6].copy()
        sequence.sort()
    return [sequence, values, d.flag(), d.flag(), None]


def bucketed(d: Draw) -> list[Any]:
    dtype = d.dtype("f32 f16 s32", 0, 1)
    return [d.array(d.shape(), dtype, -9, 9), np.unique(d.array((6,), dtype, -9, 9)), d.flag(), d.flag()]


def counted(d: Draw) -> list[Any]:
    x = d.array((d.integer(1, 9),), d.dtype("s32 s64 u8"), 0, 5)
    return [x, d.array(x.shape, np.float32, 0, 2) if d.flag() else None, d.choice([0, 9])]


def sorted_by(names: str, *flags: str) -> Callable[[Draw], list[Any]]:
    def draw(d: Draw) -> list[Any]:
        x = d.array(d.shape(1, 3, 7), d.dtype(names), -100, 100, distinct=True)
        return [x, *(d.axis(x.ndim) if f == "dim" else d.flag() for f in flags)]

    return draw


def top(d: Draw) -> list[Any]:
    x = d.array((*d.shape(0, 1), d.choice([5, 60])), d.dtype("f32 f16 s32 s64"), -100, 100, distinct=True)
    return [x, d.integer(0, 4), -1, d.flag(), True]


def repeated(names: str, *rest: Any) -> Callable[[Draw], list[Any]]:
    return lambda d: [d.array(d.shape(1, 2, 6), d.dtype(names), 0, 3), *rest]


def consecutive(d: Draw) -> list[Any]:
    x = d.array(d.shape(1, 2, 6), d.dtype("f32 s32 s64"), 0, 2)
    return [x, True, True, d.choice([1000, 0, -1])]


def unique_consecutive(x: Any, inverse: bool, counts: bool, dim: int) -> Any:
    return torch.unique_consecutive(x, inverse, counts, None if dim == 1000 else dim)


def whole(count: int) -> Callable[..., Any]:
    return lambda x, *_: [(x.size,), x.shape, (x.size,)][:count]


ORACLES = {
    "Gather": exact(lambda x, dim, i: torch.gather(x, dim, i.long()), gathered),
    "GatherV2": exact(select, selected),
    "IndexSelect": exact(select, selected),
    "GatherV3": exact(select_batched, batched),
    "GatherNd": exact(lambda x, i, n: points(x, i), nd),
    "Take": exact(lambda x, i: torch.take(x, i.long()), lambda d: [x := tensor(d), indices(d, d.shape(1, 2), x.size)]),
    "Index": exact(lambda x, i: x[where_of(i)], advanced),
    "IndexPutImpl": Oracle(lambda x, i, v, a, u: x.index_put(where_of(i), v, a), put, atol=1e-5),
    "Scatter": Oracle(scatter, scattered, atol=1e-5),
    "ScatterValue": Oracle(scatter, scattered, atol=1e-5),
    "ScatterAdd": Oracle(scatter, scattered, atol=1e-5),
    "ScatterReduce": Oracle(scatter, scattered, atol=1e-5),
    "IndexAdd": Oracle(lambda x, dim, i, s, a: torch.index_add(x, dim, i, s, alpha=a), added, atol=1e-5),
    "IndexAddV2": Oracle(lambda x, dim, i, s, a, m: torch.index_add(x, dim, i, s, alpha=a), added, atol=1e-5),
    "IndexCopy": exact(torch.index_copy, copied),
    "IndexFill": exact(lambda x, dim, i, v: torch.index_fill(x, dim, i.long(), v), filled),
    "IndexFillTensor": exact(lambda x, dim, i, v: torch.index_fill(x, dim, torch.tensor(i), v), filled),
    "InplacePut": Oracle(lambda x, i, s, a: x.put(i.long(), s, a), positions, atol=1e-5),
    "ScatterNd": exact(scatter_nd, nd_updates),
    "ScatterNdUpdate": exact(scatter_nd, nd_updates),
    "ScatterMul": Oracle(row_by_row(torch.mul), rows),
    "ScatterMax": exact(row_by_row(torch.maximum), rows),
    "ScatterMin": exact(row_by_row(torch.minimum), rows),
    "ScatterDiv": Oracle(row_by_row(divide), rows),
    "TfScatterAdd": Oracle(row_by_row(torch.add), rows),
    "InplaceScatterUpdate": exact(update, updated),
    "InplaceMaskedFillScalar": exact(torch.masked_fill, masked),
    "InplaceMaskedFillTensor": exact(torch.masked_fill, masked),
    "InplaceMaskedScatter": exact(torch.masked_scatter, mask_scattered),
    "MaskedSelect": exact(torch.masked_select, lambda d: [x := tensor(d), d.array(x.shape, np.bool_)],
                          lambda x, mask: [(x.size,)]),
    "Nonzero": exact(torch.nonzero, lambda d: [tensor(d, names="f32 f16 s32 bool")], lambda x: [(x.size, x.ndim)]),
    "NonzeroV2": exact(lambda x: torch.nonzero(x).T, lambda d: [tensor(d, names="f32 f16 s32 bool")],
                       lambda x: [(x.ndim, x.size)]),
    "MaskedScale": Oracle(lambda x, m, s: x * m * s, elementwise(names="f32 f16 bf16", mixed=False, scale=(0.5, 2.0))),
    "SearchSorted": exact(lambda s, v, i, r, _: torch.searchsorted(s, v, out_int32=i, right=r), searched),
    "SearchSorteds": exact(lambda s, v, i, r, _: torch.searchsorted(s, v, out_int32=i, right=r), searched),
    "Bucketize": exact(lambda x, b, i, r: torch.bucketize(x, b, out_int32=i, right=r), bucketed),
    "Bincount": Oracle(torch.bincount, counted),
    "Histc": exact(torch.histc, lambda d: [tensor(d, names="f32"), d.integer(1, 6), np.float32(-5), np.float32(5)]),
    "IsInTensorScalar": exact(lambda x, y, u, i: torch.isin(x, y, invert=i), lambda d: [
        tensor(d, names="f32 s32 s64"), d.scalar("s32"), False, d.flag()]),
    "IsInScalarTensor": exact(lambda y, x, u, i: torch.isin(torch.as_tensor(y), x, invert=i), lambda d: [
        d.scalar("s32"), d.array(d.shape(1), d.dtype("s32 s64", 1)), False, d.flag()]),
    "Sort": exact(lambda x, stable, dim, desc: torch.sort(x, dim=dim, descending=desc, stable=True),
                  sorted_by("f32 f16 s32 s64", "stable", "dim", "descending")),
    "Argsort": exact(torch.argsort, sorted_by("f32 f16 s32 s64", "dim", "descending")),
    "Topk": exact(torch.topk, top),
    "SortWithIndex": exact(
        lambda x, i, dim, desc, stable: (
            (found := torch.sort(x, dim=-1, descending=desc))[0], torch.gather(i, -1, found[1])),
        lambda d: [x := d.array(d.shape(1, 3), d.dtype("f32 f16 s32"), -100, 100, distinct=True),
                   d.array(x.shape, np.int32, 0, 99), -1, d.flag(), True]),
    "Unique": exact(lambda x, s, i: torch.unique(x, True, True), repeated("f32 s32 s64", True, True), whole(2)),
    "Unique2": exact(lambda x, s, i, c: torch.unique(x, True, True, True), repeated("f32 s32 s64", True, True, True),
                     whole(3)),
    "UniqueDim": exact(lambda x, s, i, dim: torch.unique(x, True, True, True, dim=dim),
                       repeated("f32 s32 s64", True, True, 0), lambda x, *_: [x.shape, x.shape[:1], x.shape[:1]]),
    "UniqueConsecutive": exact(
        unique_consecutive, consecutive, lambda x, i, c, dim: [(x.size,), x.shape, (x.size,)] if dim == 1000 else
        [x.shape, (x.shape[dim],), (x.shape[dim],)]),
}
