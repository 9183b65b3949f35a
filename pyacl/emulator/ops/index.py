"""Indexing: gather, scatter, index, masks, look-ups. An index out of range fails the task."""

from __future__ import annotations

from typing import Any, Callable, Optional

import numpy as np

from . import rules
from .choice import choose
from .places import along, checked, points, slices, update, update_runs
from .registry import define, elementwise, family
from .rules import axis, broadcast_shapes, reject
from .types import BOOL, S32, S64, U8, cast, wide

Shape = tuple[int, ...]
WORKSPACE = 8192


def at_least_1d(x: Any) -> Any:
    return x.reshape(1) if x.ndim == 0 else x


def in_common(x: Any, dim: int, *others: Any) -> int:
    """How many dimensions in front of `dim` all tensors have in common."""
    shapes = [t.shape for t in others if rules.is_tensor(t)]
    count = 0
    while count < axis(dim, x.ndim) and all(s[count] == x.shape[count] for s in shapes):
        count += 1
    return count


# ---- gather

def gather(x: Any, dim: int, index: Any) -> Any:
    """The elements of `x` at `index` along `dim`; in other dimensions the index may be smaller than x."""
    where = at_least_1d(index)
    return x.reshape(-1).take(along(where, axis(dim, x.ndim), at_least_1d_shape(x)), mode="clip").reshape(index.shape)


def check_gather(x: Any, dim: int, index: Any, *_: Any) -> None:
    a = axis(dim, x.ndim)
    if max(x.ndim, 1) != max(index.ndim, 1):
        reject(f"self has {x.ndim} dimensions, index {index.ndim}")
    if any(i != a and n > m for i, (n, m) in enumerate(zip(index.shape, x.shape))):
        reject(f"index of shape {list(index.shape)} is larger than self of {list(x.shape)}")


def take(x: Any, dim: int, index: Any, out: Any = None, negative: bool = True) -> Any:
    # Checked here: numpy buffers `out` where it checks.
    source, a = at_least_1d(x), axis(dim, x.ndim)
    return np.take(source, checked(index, source.shape[a], negative), a, out=out, mode="clip")


def take_shape(x: Any, dim: int, index: Any) -> Shape:
    a = axis(dim, x.ndim)
    return (*x.shape[:a], *index.shape, *x.shape[a + 1:])


def index_select_shape(x: Any, dim: int, index: Any) -> Shape:
    if index.ndim > 1:
        reject(f"index has {index.ndim} dimensions, more than 1")
    a = axis(dim, x.ndim)
    return (*x.shape[:a], index.size, *x.shape[a + 1:]) if x.ndim else ()


def index_select(x: Any, dim: int, index: Any, out: Any = None) -> Any:
    return take(x, dim, index.reshape(-1), out, negative=False) if x.ndim else x


def gather_v3(x: Any, dim: int, index: Any, batch: int, mode: int) -> Any:
    if not batch:
        return take(x, dim, index)
    a, lead = axis(dim, x.ndim), x.shape[:batch]
    source = np.moveaxis(x.reshape(-1, *x.shape[batch:]), a - batch + 1, 1)
    count, size = source.shape[:2]
    where = checked(index, size).reshape(count, *index.shape[batch:])
    where = where + (np.arange(count) * size).reshape(-1, *(1,) * (where.ndim - 1))
    found = source.reshape(count * size, *source.shape[2:]).take(where, 0)
    # The dimensions of the index come behind those that stood before the axis.
    found = np.moveaxis(found, range(1, where.ndim), range(1 + a - batch, a - batch + where.ndim))
    return found.reshape(*lead, *found.shape[1:])


def gather_v3_shape(x: Any, dim: int, index: Any, batch: int, mode: int) -> Shape:
    a = axis(dim, x.ndim)
    return (*x.shape[:a], *index.shape[batch:], *x.shape[a + 1:])


def gather_nd(x: Any, indices: Any, negative: bool) -> Any:
    return x[tuple(np.moveaxis(indices, -1, 0))]


def gather_nd_shape(x: Any, indices: Any, negative: bool) -> Shape:
    if not indices.ndim or indices.shape[-1] > x.ndim:
        reject(f"the last dimension of indices, {list(indices.shape)}, exceeds self's {x.ndim} dimensions")
    return (*indices.shape[:-1], *x.shape[indices.shape[-1]:])


def flat_take(x: Any, index: Any) -> Any:
    return np.take(x.reshape(-1), index)


# ---- numpy's own kind of index

def selection(indices: Any) -> tuple[Any, ...]:
    """A list of index tensors as numpy takes it: a NULL or empty one selects everything."""
    return tuple(slice(None) if i is None or i.size == 0 else i.astype(bool) if i.dtype == np.uint8 else i
                 for i in indices)


def index(x: Any, indices: Any) -> Any:
    return x[selection(indices)]


def index_put(x: Any, indices: Any, values: Any, accumulate: bool, unsafe: bool) -> Any:
    if not accumulate:
        x[selection(indices)] = values
        return None
    total = cast(x, wide(x.dtype)).copy()
    values = cast(values, total.dtype)
    if all(i is not None and i.size and i.dtype.kind == "i" for i in indices):
        where = points(indices, total.shape)
        return update_runs(total, where, np.broadcast_to(values, where.shape + total.shape[len(indices):]), 1)
    np.add.at(total, selection(indices), values)
    return total


def index_shape(x: Any, indices: Any, *_: Any) -> Optional[tuple[Optional[int], ...]]:
    """Of the selection; as many rows as a mask has ones are not known, and nothing of masks among other indices."""
    if len(indices) > max(x.ndim, 1):
        reject(f"{len(indices)} indices for {x.ndim} dimensions")
    kept: list[Optional[int]] = []
    places, shapes, masks, d = [], [], 0, 0
    for i in indices:
        if i is None or i.size == 0:
            kept.append(x.shape[d])
            d += 1
            continue
        mask = i.dtype in (BOOL, U8)
        if mask and tuple(i.shape) != tuple(x.shape[d:d + i.ndim]):
            reject(f"a mask of shape {list(i.shape)} does not fit dimension {d} of {list(x.shape)}")
        places.append((d, len(kept)))
        masks += mask
        shapes.append(tuple(i.shape))
        d += i.ndim if mask else 1
    kept += x.shape[d:]
    if d > max(x.ndim, 1):
        reject(f"the indices are for {d} dimensions, self has {x.ndim}")
    if not places:
        return tuple(kept)
    if masks:
        return None if len(places) > 1 else (*kept[:places[0][1]], None, *kept[places[0][1]:])
    beside = all(b[0] == a[0] + 1 for a, b in zip(places, places[1:]))
    at = places[0][1] if beside else 0  # numpy's rule: apart from each other, they come first
    return (*kept[:at], *broadcast_shapes(*shapes), *kept[at:])


def check_index_put(x: Any, indices: Any, values: Any, *_: Any) -> None:
    found = index_shape(x, indices)
    shape = tuple(n for n in found or () if n is not None)
    if found == shape and broadcast_shapes(tuple(values.shape), shape) != shape:
        reject(f"values of shape {list(values.shape)} do not fit the selection {list(shape)}")


# ---- scatter

def scatter(x: Any, dim: int, index: Any, source: Any, reduce: int = 0) -> Any:
    """reduce: 0 replaces, 1 adds, 2 multiplies, 3 maximum, 4 minimum."""
    found, where = at_least_1d(x.copy()), at_least_1d(index)
    if rules.is_tensor(source):
        source = at_least_1d(source)[tuple(slice(n) for n in where.shape)]
    else:
        source = cast(np.asarray(source), x.dtype)
    return update(found, along(where, axis(dim, x.ndim), found.shape), source, reduce).reshape(x.shape)


def check_scatter(x: Any, dim: int, index: Any, source: Any, reduce: int = 0, *_: Any) -> None:
    a = axis(dim, x.ndim)
    if not 0 <= reduce <= 5:
        reject(f"reduce is {reduce}")
    if max(x.ndim, 1) != max(index.ndim, 1) or rules.is_tensor(source) and max(source.ndim, 1) != max(index.ndim, 1):
        reject("self, index and src differ in their number of dimensions")
    for i, n in enumerate(index.shape):
        if i != a and n > at_least_1d_shape(x)[i] or rules.is_tensor(source) and n > at_least_1d_shape(source)[i]:
            reject(f"index of shape {list(index.shape)} is larger than self or src")


def at_least_1d_shape(x: Any) -> Shape:
    return tuple(x.shape) or (1,)


def scatter_add(x: Any, dim: int, index: Any, source: Any) -> Any:
    return scatter(x, dim, index, source, 1)


def check_scatter_reduce(x: Any, dim: int, index: Any, source: Any, reduce: int, include_self: bool) -> None:
    check_scatter(x, dim, index, source, reduce)
    if x.dtype != np.float32 or reduce != 1 or not include_self:
        reject("this product takes ACL_FLOAT, reduce 1 (add) and includeSelf true only")


def index_add(x: Any, dim: int, index: Any, source: Any, alpha: Any, mode: int = 0) -> Any:
    found = at_least_1d(x.copy())
    source = source if alpha == 1 else source * alpha
    return update_runs(found, slices(index, axis(dim, x.ndim), found.shape), source, 1).reshape(x.shape)


def check_index_add(x: Any, dim: int, index: Any, source: Any, *_: Any) -> None:
    a = axis(dim, x.ndim)
    if index.ndim > 1 or source.ndim != x.ndim or x.ndim and source.shape[a] != index.size:
        reject(f"index of shape {list(index.shape)} does not fit source of {list(source.shape)}")
    if any(i != a and n != m for i, (n, m) in enumerate(zip(x.shape, source.shape))):
        reject(f"self of shape {list(x.shape)} and source of {list(source.shape)} differ beside dim")


def index_copy(x: Any, dim: int, index: Any, source: Any) -> Any:
    found = at_least_1d(x.copy())
    np.moveaxis(found, axis(dim, x.ndim), 0)[index.reshape(-1)] = np.moveaxis(at_least_1d(source), axis(dim, x.ndim), 0)
    return found.reshape(x.shape)


def index_fill(x: Any, dim: int, index: Any, value: Any) -> Any:
    found = at_least_1d(x.copy())
    chosen = np.asarray(index, np.int64).reshape(-1)
    np.moveaxis(found, axis(dim, x.ndim), 0)[chosen] = cast(np.asarray(value), x.dtype)
    return found.reshape(x.shape)


def put(x: Any, index: Any, source: Any, accumulate: bool) -> Any:
    return update(x.copy(), checked(index.reshape(-1), x.size), source.reshape(-1), int(accumulate))


def check_put(x: Any, index: Any, source: Any, accumulate: bool) -> None:
    if index.size != source.size:
        reject(f"index has {index.size} elements, source {source.size}")


def scatter_nd(x: Any, indices: Any, updates: Any) -> Any:
    found = x.copy()
    found[tuple(np.moveaxis(indices, -1, 0))] = updates
    return found


def check_scatter_nd(x: Any, indices: Any, updates: Any) -> None:
    if tuple(updates.shape) != gather_nd_shape(x, indices, False):
        reject(f"updates of shape {list(updates.shape)} do not fit indices of {list(indices.shape)}")


def scatter_rows(reduce: int) -> Callable[..., Any]:
    """varRef[indices] is combined with updates, row by row."""
    return lambda x, indices, updates, locking=False: update_rows(x, indices, updates, reduce)


def update_rows(x: Any, indices: Any, updates: Any, reduce: int) -> Any:
    return update_runs(x.copy(), slices(indices, 0, x.shape), updates, reduce)


def scatter_div(x: Any, indices: Any, updates: Any, locking: bool) -> Any:
    found = x.copy()
    (np.floor_divide if x.dtype.kind in "iu" else np.divide).at(found, indices, updates)
    return found


def tf_scatter_add(x: Any, indices: Any, updates: Any) -> Any:
    """Rows (updates: indices' shape and the rest of varRef's), or with indices' last dimension as coordinates."""
    if tuple(updates.shape) == (*indices.shape, *x.shape[1:]):
        return update_rows(x, indices, updates, 1)
    return update_runs(x.copy(), points(np.moveaxis(indices, -1, 0), x.shape), updates, 1)


def check_rows(x: Any, indices: Any, updates: Any, locking: bool = False) -> None:
    if tuple(updates.shape) != (*indices.shape, *x.shape[1:]):
        reject(f"updates of shape {list(updates.shape)} do not fit indices of {list(indices.shape)}")


def check_tf_rows(x: Any, indices: Any, updates: Any) -> None:
    coordinates = indices.ndim and indices.shape[-1] <= x.ndim and \
        tuple(updates.shape) == (*indices.shape[:-1], *x.shape[indices.shape[-1]:])
    if not coordinates:
        check_rows(x, indices, updates)


def scatter_update(x: Any, indices: Any, updates: Any, dim: int) -> Any:
    """indices[i] is where in data[i], along the axis, updates[i] begin; two columns name the row of data as well."""
    found, a = x.copy(), axis(dim, x.ndim)
    size = updates.shape[a]
    if indices.ndim == 2:
        rows, starts = indices[:, 0], indices[:, 1]
    else:
        starts = indices.reshape(-1)
        rows = np.arange(starts.size)
    target, parts = np.moveaxis(found, a, 1), np.moveaxis(updates, a, 1)
    target[rows[:, None], starts[:, None] + np.arange(size)] = parts[:len(rows)]
    return found


def check_scatter_update(x: Any, indices: Any, updates: Any, dim: int) -> None:
    if x.dtype != updates.dtype or x.ndim != updates.ndim or indices.ndim > 2 or axis(dim, x.ndim) == 0:
        reject("data and updates differ in type or number of dimensions, indices has more than 2, or axis is 0")


# ---- masks

def masked_fill(x: Any, mask: Any, value: Any) -> Any:
    return choose(mask.astype(bool), cast(np.asarray(value).reshape(-1)[:1], x.dtype)[0], x)


def check_mask(x: Any, mask: Any, *_: Any) -> None:
    if rules.broadcast(x, mask) != tuple(x.shape):
        reject(f"mask of shape {list(mask.shape)} does not broadcast to {list(x.shape)}")


def check_fill(x: Any, mask: Any, value: Any) -> None:
    check_mask(x, mask)
    if rules.is_tensor(value) and value.size != 1:
        reject(f"value has {value.size} elements, not 1")


def masked_scatter(x: Any, mask: Any, source: Any) -> Any:
    found, chosen = x.copy(), np.broadcast_to(mask.astype(bool), x.shape)
    found[chosen] = source.reshape(-1)[:int(chosen.sum())]
    return found


def masked_select(x: Any, mask: Any) -> Any:
    x, mask = np.broadcast_arrays(x, mask.astype(bool))
    return x[mask]


def all_elements(*tensors: Any) -> Shape:
    n = 1
    for d in rules.broadcast(*tensors):
        n *= d
    return (n,)


def nonzero(x: Any) -> Any:
    found = np.nonzero(at_least_1d(x))
    return np.stack(found, -1).astype(np.int64) if x.ndim else np.empty((len(found[0]), 0), np.int64)


def masked_scale(x: Any, mask: Any, scale: float) -> Any:
    return x * mask * x.dtype.type(scale)


# ---- look-ups and counts

def search(sequence: Any, values: Any, int32: bool, right: bool, sorter: Any) -> Any:
    side: Any = "right" if right else "left"
    if sequence.ndim <= 1:
        if sorter is not None:
            sequence = sequence[sorter]
        found = np.searchsorted(sequence, values, side)
    else:
        if sorter is not None:
            sequence = np.take_along_axis(sequence, sorter, -1)
        # Sorted together, with values before (or behind) what equals them, a value comes behind what it counts.
        count = values.shape[-1]
        both = np.concatenate((sequence, values) if right else (values, sequence), axis=-1)
        order = np.argsort(both, axis=-1, kind="stable")
        passed = np.cumsum(order < sequence.shape[-1] if right else order >= count, axis=-1)
        placed = np.empty_like(passed)
        np.put_along_axis(placed, order, passed, axis=-1)
        found = placed[..., -count:] if right else placed[..., :count]
    return np.asarray(found).astype(np.int32 if int32 else np.int64)


def search_shape(sequence: Any, values: Any, *_: Any) -> Shape:
    if rules.is_tensor(values) and sequence.ndim > 1 and values.shape[:-1] != sequence.shape[:-1]:
        reject(f"self of shape {list(values.shape)} does not fit sortedSequence of {list(sequence.shape)}")
    return tuple(values.shape) if rules.is_tensor(values) else ()


def search_type(sequence: Any, values: Any, int32: bool, *_: Any) -> Any:
    return S32 if int32 else S64


def bucketize(x: Any, boundaries: Any, int32: bool, right: bool) -> Any:
    return search(boundaries, x, int32, right, None)


def bincount(x: Any, weights: Any, least: int, outs: Any) -> Any:
    found = np.bincount(x, weights, outs[0].size)
    if found.size > outs[0].size:
        raise IndexError(f"a value of self, {found.size - 1}, exceeds out's {outs[0].size} elements")
    return cast(found, outs[0].dtype)


def histc(x: Any, bins: int, low: Any, high: Any) -> Any:
    bottom, top = float(low), float(high)
    if bottom == top:
        bottom, top = (float(x.min()), float(x.max())) if x.size else (0.0, 1.0)
        if bottom == top:
            bottom, top = bottom - 1, top + 1
    return np.histogram(x.astype(np.float64), bins, (bottom, top))[0].astype(x.dtype)


def check_histc(x: Any, bins: int, low: Any, high: Any) -> None:
    if bins <= 0 or float(low) > float(high):
        reject(f"bins is {bins}, min {low}, max {high}")


def is_in(x: Any, y: Any, unique: bool, invert: bool) -> Any:
    found = np.asarray(x == y)
    return ~found if invert else found


def is_in_scalar(x: Any, y: Any, unique: bool, invert: bool) -> Any:
    return np.asarray(bool((x == y).any()) != invert)


define("Gather", gather, shape=rules.like(2), result=rules.first, raw=True, exact=True, check=check_gather,
       rows=in_common, along=(0, 2), dtypes={"index": "s32 s64"}, oracle="torch.gather")
define("GatherV2", take, shape=take_shape, result=rules.first, raw=True, exact=True, oracle="torch.index_select")
define("IndexSelect", index_select, shape=index_select_shape, result=rules.first, raw=True, exact=True,
       oracle="torch.index_select")
define("GatherV3", gather_v3, shape=gather_v3_shape, result=rules.first, raw=True, exact=True,
       dtypes={"index": "s32 s64"}, oracle="torch.index_select by batch")
define("GatherNd", gather_nd, shape=gather_nd_shape, result=rules.first, raw=True, exact=True,
       oracle="torch indexing")
define("Take", flat_take, shape=rules.like(1), result=rules.first, raw=True, exact=True, oracle="torch.take")
define("Index", index, shape=index_shape, result=rules.first, raw=True, exact=True, optional="indices[]",
       rehearsed=False, oracle="torch indexing")
define("IndexPutImpl", index_put, raw=True, check=check_index_put, optional="indices[]", rehearsed=False,
       workspace=WORKSPACE,
       oracle="torch.Tensor.index_put")

define("Scatter ScatterValue", scatter, shape=rules.same, result=rules.first, exact=True, inplace=True,
       rows=in_common, along=(0, 2, 3), check=check_scatter, workspace=WORKSPACE, oracle="torch.scatter")
define("ScatterAdd", scatter_add, shape=rules.same, result=rules.first, exact=True, check=check_scatter,
       rows=in_common, along=(0, 2, 3), workspace=WORKSPACE, oracle="torch.scatter_add")
define("ScatterReduce", lambda x, dim, index, source, reduce, include: scatter_add(x, dim, index, source),
       shape=rules.same, result=rules.first, exact=True, inplace=True, check=check_scatter_reduce, workspace=WORKSPACE,
       oracle="torch.scatter_reduce")
define("IndexAdd IndexAddV2", index_add, shape=rules.same, result=rules.first, check=check_index_add,
       workspace=WORKSPACE, oracle="torch.index_add")
define("IndexCopy", index_copy, shape=rules.same, result=rules.first, raw=True, check=check_index_add,
       roles={"selfRef": "i"}, oracle="torch.index_copy")
define("InplaceIndexCopy", index_copy, shape=rules.same, raw=True, check=check_index_add, oracle="torch.index_copy")
for _name in ("IndexFill", "IndexFillTensor"):
    define(_name, index_fill, shape=rules.same, result=rules.first, raw=True, inplace=True,
           repeatable=_name == "IndexFill", oracle="torch.index_fill")
define("InplacePut", put, shape=rules.same, check=check_put, oracle="torch.put")
define("ScatterNd ScatterNdUpdate", scatter_nd, shape=rules.same, raw=True, check=check_scatter_nd,
       oracle="torch indexing")
family(define, (
    ("ScatterMul", scatter_rows(2), "numpy's multiply.at"), ("ScatterMax", scatter_rows(3), "numpy's maximum.at"),
    ("ScatterMin", scatter_rows(4), "numpy's minimum.at"), ("ScatterDiv", scatter_div, "torch division"),
), shape=rules.same, check=check_rows)
define("TfScatterAdd", tf_scatter_add, shape=rules.same, check=check_tf_rows, oracle="torch.index_put, accumulating")
define("InplaceScatterUpdate", scatter_update, shape=rules.same, raw=True, check=check_scatter_update,
       roles={"data": "io"}, oracle="slices assigned one by one")

define("InplaceMaskedFillScalar InplaceMaskedFillTensor", masked_fill, shape=rules.same, result=rules.first, raw=True,
       check=check_fill, oracle="torch.masked_fill")
define("InplaceMaskedScatter", masked_scatter, shape=rules.same, raw=True, check=check_mask,
       oracle="torch.masked_scatter")
define("MaskedSelect", masked_select, shape=all_elements, result=rules.first, raw=True, exact=True, dynamic=True,
       workspace=WORKSPACE, oracle="torch.masked_select")
define("Nonzero", nonzero, shape=lambda x: (x.size, x.ndim), result=rules.int64, dynamic=True, exact=True,
       workspace=WORKSPACE, oracle="torch.nonzero")
define("NonzeroV2", lambda x: nonzero(x).T, shape=lambda x: (x.ndim, x.size), result=rules.int64, dynamic=True,
       exact=True, workspace=WORKSPACE, oracle="torch.nonzero")
elementwise("MaskedScale", masked_scale, promote=(0,), oracle="x * mask * scale")

define("SearchSorted SearchSorteds", search, shape=search_shape, result=search_type, meet=rules.common, promote=(0, 1),
       optional="sorter", exact=True, oracle="torch.searchsorted")
define("Bucketize", bucketize, shape=rules.same, result=search_type, meet=rules.common, promote=(0, 1), exact=True,
       oracle="torch.bucketize")
define("Bincount", bincount, optional="weights", workspace=WORKSPACE, oracle="torch.bincount")
define("Histc", histc, shape=lambda x, bins, low, high: (bins,), result=rules.first, check=check_histc,
       workspace=WORKSPACE, oracle="torch.histc")
elementwise("IsInTensorScalar", is_in, result=rules.boolean, promote=(0, 1), inplace=False, oracle="torch.isin")
define("IsInScalarTensor", is_in_scalar, shape=rules.scalar, result=rules.boolean, meet=rules.common, promote=(0, 1),
       oracle="torch.isin")
