"""Operators that move elements about: joining, splitting, permuting, repeating, slicing, padding, casting, filling."""

from __future__ import annotations

import math
from typing import Any, Callable, Optional

import numpy as np

from . import rules
from .places import along, update
from .registry import define, family
from .rules import axes, axis, reject
from .types import F32, F64, FLOATS, INTEGERS, cast, castable, name

Shape = tuple[int, ...]


# ---- joining and splitting

def _joined(tensors: Any) -> list[Any]:
    """Empty 1-d tensors take no part."""
    return [t for t in tensors if t.shape != (0,)] or list(tensors[:1])


def cat(tensors: Any, dim: int, out: Any = None) -> Any:
    dtype = rules.common(*tensors)
    parts = [t.astype(dtype, copy=False) for t in _joined(tensors)]
    return np.concatenate(parts, axis(dim, parts[0].ndim), out=out)


def cat_shape(tensors: Any, dim: int) -> Shape:
    if not tensors:
        reject("tensors is empty")
    parts = _joined(tensors)
    first, a = parts[0], axis(dim, parts[0].ndim)
    for t in parts:
        if t.ndim != first.ndim or t.shape[:a] + t.shape[a + 1:] != first.shape[:a] + first.shape[a + 1:]:
            reject(f"shapes {list(first.shape)} and {list(t.shape)} differ in another dimension than {dim}")
    return (*first.shape[:a], sum(t.shape[a] for t in parts), *first.shape[a + 1:])


def list_type(tensors: Any, *_: Any) -> Any:
    return rules.common(*tensors)


def stack(tensors: Any, dim: int, out: Any = None) -> Any:
    dtype = rules.common(*tensors)
    return np.stack([t.astype(dtype, copy=False) for t in tensors], axis(dim, tensors[0].ndim + 1), out=out)


def stack_shape(tensors: Any, dim: int) -> Shape:
    if not tensors or any(t.shape != tensors[0].shape for t in tensors):
        reject("tensors is empty or its members' shapes differ")
    a = axis(dim, tensors[0].ndim + 1)
    return (*tensors[0].shape[:a], len(tensors), *tensors[0].shape[a:])


def split_with_size(x: Any, sizes: Shape, dim: int) -> list[Any]:
    return list(np.split(x, np.cumsum(sizes)[:-1], axis(dim, x.ndim)))


def split_shapes(x: Any, sizes: Shape, dim: int) -> Any:
    a = axis(dim, x.ndim)
    if sum(sizes) != x.shape[a]:
        reject(f"splitSize {list(sizes)} does not add up to {x.shape[a]}")
    return tuple((*x.shape[:a], n, *x.shape[a + 1:]) for n in sizes)


def pieces(x: Any, section: int, dim: int) -> Shape:
    n = x.shape[axis(dim, x.ndim)]
    if section < 1:
        reject(f"splitSections is {section}")
    return tuple(min(section, n - i) for i in range(0, n, section)) or (0,)


def chunk_cat(tensors: Any, dim: int, chunks: int) -> Any:
    """Each tensor's first dimension padded to chunks, the chunks flattened and laid side by side."""
    rows = []
    for t in tensors:
        size = -(-t.shape[0] // chunks) * chunks
        padded = np.concatenate([t, np.zeros((size - t.shape[0], *t.shape[1:]), t.dtype)])
        rows.append(padded.reshape(chunks, -1))
    return np.concatenate(rows, 1)


# ---- shapes

def permutation(x: Any, dims: Shape) -> Shape:
    found = tuple(axis(d, x.ndim) for d in dims)
    if sorted(found) != list(range(x.ndim)):
        reject(f"dims {list(dims)} is no permutation of {x.ndim} dimensions")
    return found


def permute_shape(x: Any, dims: Shape) -> Shape:
    return tuple(x.shape[d] for d in permutation(x, dims))


def flatten_shape(x: Any, dim: int) -> Shape:
    a = axis(dim, x.ndim)
    return (math.prod(x.shape[:a]), math.prod(x.shape[a:]))


def expand_shape(x: Any, size: Shape) -> Shape:
    if len(size) < x.ndim:
        reject(f"size {list(size)} has fewer dimensions than self")
    old = (1,) * (len(size) - x.ndim) + tuple(x.shape)
    found = tuple(o if n == -1 else n for n, o in zip(size, old))
    if any(o not in (1, n) for n, o in zip(found, old)):
        reject(f"{list(x.shape)} cannot be expanded to {list(size)}")
    return found


def repeat_shape(x: Any, repeats: Shape) -> Shape:
    if len(repeats) < x.ndim or any(r < 0 for r in repeats):
        reject(f"repeats {list(repeats)} has fewer members than self has dimensions, or a negative one")
    old = (1,) * (len(repeats) - x.ndim) + tuple(x.shape)
    return tuple(r * n for r, n in zip(repeats, old))


def channel_shuffle(x: Any, groups: int) -> Any:
    n, c = x.shape[:2]
    return x.reshape(n, groups, c // groups, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape)


def confusion_transpose(x: Any, perm: Shape, shape: Shape, transpose_first: bool) -> Any:
    return x.transpose(perm).reshape(shape) if transpose_first else x.reshape(shape).transpose(perm)


def confusion_shape(x: Any, perm: Shape, shape: Shape, transpose_first: bool) -> Shape:
    return tuple(shape) if transpose_first else tuple(shape[p] for p in perm)


def roll(x: Any, shifts: Shape, dims: Shape) -> Any:
    return np.roll(x, shifts, tuple(axis(d, x.ndim) for d in dims)) if dims else np.roll(x, shifts)


def flip(x: Any, dims: Shape) -> Any:
    return np.flip(x, axes(dims, x.ndim, empty_is_all=False))


# ---- repeating elements

def interleaved(dim_at: Optional[int]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Function and shape rule of (self, repeats, [dim,] outputSize)."""
    def parts(x: Any, rest: tuple[Any, ...]) -> tuple[Any, int]:
        if dim_at is None:
            return x.shape, 0
        return x.shape, axis(rest[0], x.ndim)

    def compute(x: Any, repeats: Any, *rest: Any) -> Any:
        if dim_at is None:
            x = x.reshape(-1)
        count = repeats.reshape(-1) if rules.is_tensor(repeats) else repeats
        if rules.is_tensor(count) and count.size == 1:
            count = int(count[0])
        return np.repeat(x, count, parts(x, rest)[1])

    def shape(x: Any, repeats: Any, *rest: Any) -> Shape:
        size = rest[-1]
        a = parts(x, rest)[1]
        length = x.size if dim_at is None or not x.ndim else x.shape[a]
        if rules.is_tensor(repeats):
            if repeats.ndim > 1 or repeats.size not in (1, length):
                reject(f"repeats of shape {list(repeats.shape)}: give one number, or one for each of {length}")
        elif repeats < 0 or repeats * length != size:
            reject(f"outputSize is {size}, but repeats {repeats} gives {repeats * length}")
        if dim_at is None or not x.ndim:
            return (size,)
        return (*x.shape[:a], size, *x.shape[a + 1:])

    return compute, shape


def repeat_positions(repeats: Any, size: int) -> Any:
    return np.repeat(np.arange(repeats.size), repeats)


def positions_shape(repeats: Any, size: int) -> Shape:
    if repeats.ndim != 1:
        reject(f"repeats has {repeats.ndim} dimensions, not 1")
    return (size,)


# ---- slicing

def one_slice(x: Any, dim: int, start: int, end: int, step: int) -> Any:
    index = [slice(None)] * x.ndim
    index[axis(dim, x.ndim)] = slice(start, end, step)
    return x[tuple(index)]


def slices(x: Any, starts: Shape, ends: Shape, dims: Shape, steps: Shape) -> Any:
    index = [slice(None)] * x.ndim
    for start, end, dim, step in zip(starts, ends, dims, steps):
        index[axis(dim, x.ndim)] = slice(start, end, step)
    return x[tuple(index)]


def strided_slice(x: Any, begin: Shape, end: Shape, strides: Shape, begin_mask: int, end_mask: int, ellipsis_mask: int,
                  new_axis_mask: int, shrink_mask: int) -> Any:
    index: list[Any] = []
    for i, (first, last, step) in enumerate(zip(begin, end, strides)):
        bit = 1 << i
        if ellipsis_mask & bit:
            index.append(Ellipsis)
        elif new_axis_mask & bit:
            index.append(None)
        elif shrink_mask & bit:
            index.append(first)
        else:
            index.append(slice(None if begin_mask & bit else first, None if end_mask & bit else last, step))
    return x[tuple(index)]


def shape_of(function: Callable[..., Any]) -> Callable[..., Shape]:
    """The shape rule of a function that takes a view: try it on an array without elements of its own."""
    def rule(x: Any, *rest: Any) -> Shape:
        ghost = np.broadcast_to(np.empty((), np.uint8), x.shape)
        try:
            return tuple(function(ghost, *rest).shape)
        except (IndexError, ValueError) as error:
            reject(str(error))

    return rule


def check_steps(x: Any, *rest: Any) -> None:
    steps = rest[-1] if isinstance(rest[-1], tuple) else (rest[-1],)
    if x.ndim == 0 or any(s <= 0 for s in steps):
        reject(f"self is 0-d or a step of {list(steps)} is not positive")


def check_strides(x: Any, begin: Shape, end: Shape, strides: Shape, *_: Any) -> None:
    if not len(begin) == len(end) == len(strides) or 0 in strides:
        reject("begin, end and strides differ in length, or a stride is 0")


def slice_assign(x: Any, value: Any, begin: Shape, end: Shape, strides: Shape, dims: Optional[Shape]) -> Any:
    found = x.copy()
    slices(found, begin, end, dims if dims else tuple(range(len(begin))), strides)[...] = value
    return found


# ---- padding

def pad_widths(x: Any, pad: Shape) -> list[tuple[int, int]]:
    """numpy's widths; `pad` begins with the last dimension."""
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        reject(f"padding {list(pad)} does not fit {x.ndim} dimensions")
    widths = [(0, 0)] * x.ndim
    for i in range(len(pad) // 2):
        widths[x.ndim - 1 - i] = (pad[2 * i], pad[2 * i + 1])
    return widths


def pad_shape(x: Any, pad: Shape, *_: Any) -> Shape:
    return tuple(n + a + b for n, (a, b) in zip(x.shape, pad_widths(x, pad)))


def _cropped(x: Any, widths: list[tuple[int, int]]) -> Any:
    return x[tuple(slice(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(x.shape, widths))]


def _positive(widths: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(max(a, 0), max(b, 0)) for a, b in widths]


def constant_pad(x: Any, pad: Shape, value: Any) -> Any:
    widths = pad_widths(x, pad)
    fill = cast(np.asarray(value), x.dtype)
    return np.pad(_cropped(x, widths), _positive(widths), constant_values=fill[()])


def pad_with(mode: Any) -> Callable[..., Any]:
    def compute(x: Any, pad: Shape) -> Any:
        widths = pad_widths(x, pad)
        return np.pad(_cropped(x, widths), _positive(widths), mode=mode)

    return compute


def pad_backward(mode: Any) -> Callable[..., Any]:
    """Each border element's gradient goes to the element it was copied from."""
    def compute(grad: Any, x: Any, pad: Shape) -> Any:
        for a, (before, after) in enumerate(pad_widths(x, pad)):
            if not before and not after:
                continue
            source = np.pad(np.arange(x.shape[a]), _positive([(before, after)]), mode=mode)
            folded = np.zeros((*grad.shape[:a], x.shape[a], *grad.shape[a + 1:]), grad.dtype)
            source = source.reshape([-1 if i == a else 1 for i in range(grad.ndim)])
            update(folded, along(source, a, folded.shape, grad.shape), grad, 1)
            grad = folded
        return grad

    return compute


def check_pads(limit: Callable[[int], int]) -> Callable[..., None]:
    def check(*inputs: Any) -> None:
        x, pad = inputs[-2], inputs[-1]
        for n, (a, b) in zip(x.shape, pad_widths(x, pad)):
            if max(a, b) > limit(n) or min(a, b) < 0:
                reject(f"padding {list(pad)} is too large for self of shape {list(x.shape)}, or negative")

    return check


# ---- triangles and diagonals

def fill_diagonal(x: Any, value: Any, wrap: bool) -> Any:
    found = x.copy()
    np.fill_diagonal(found, cast(np.asarray(value), x.dtype)[()], wrap)
    return found


def diag_shape(x: Any, diagonal: int) -> Shape:
    if x.ndim == 1:
        n = x.shape[0] + abs(diagonal)
        return (n, n)
    if x.ndim != 2:
        reject(f"self has {x.ndim} dimensions, not 1 or 2")
    return tuple(np.broadcast_to(np.empty((), np.uint8), x.shape).diagonal(diagonal).shape)


def diag_flat_shape(x: Any, diagonal: int) -> Shape:
    n = x.size + abs(diagonal)
    return (n, n)


def matrices(x: Any, *_: Any) -> None:
    if x.ndim < 2:
        reject(f"self has {x.ndim} dimensions, fewer than 2")


def number_or_matrices(x: Any, *_: Any) -> None:
    if x.ndim:
        matrices(x)


def triangle(cut: Callable[..., Any]) -> Callable[..., Any]:
    """A number alone stays as it is."""
    return lambda x, diagonal: cut(x, diagonal) if x.ndim else x.copy()


# ---- casting, copying, filling

def cast_to(x: Any, dtype: Any, out: Any = None) -> Any:
    return cast(x, dtype, out)


def cast_result(x: Any, dtype: Any) -> Any:
    if dtype is None:
        reject("dtype is ACL_DT_UNDEFINED")
    return dtype


def copy(x: Any, source: Any) -> Any:
    return np.broadcast_to(source, x.shape)


def check_copy(x: Any, source: Any) -> None:
    if rules.broadcast(x, source) != tuple(x.shape):
        reject(f"src of shape {list(source.shape)} does not broadcast to selfRef of {list(x.shape)}")


def fill(x: Any, value: Any, out: Any = None) -> Any:
    value = cast(np.asarray(value).reshape(-1)[:1], x.dtype)[0]
    if out is None:
        return np.full(x.shape, value, x.dtype)
    out.fill(value)
    return out


def check_fill(x: Any, value: Any) -> None:
    if not castable(value.dtype, x.dtype) and x.dtype != np.bool_:
        reject(f"value of type {name(value.dtype)} cannot be converted to {name(x.dtype)}")
    if rules.is_tensor(value) and value.size != 1:
        reject(f"value has {value.size} elements, not 1")


def filler(value: int) -> Callable[..., Any]:
    return lambda x, out=None: fill(x, np.int32(value), out)


# ---- sequences

def _count(start: Any, end: Any, step: Any, closed: bool) -> int:
    first, last, by = float(start), float(end), float(step)
    if by == 0 or (last - first) * by < 0:
        reject(f"from {start} to {end} by steps of {step}: the step is 0 or leads away from the end")
    return math.floor((last - first) / by) + 1 if closed else math.ceil((last - first) / by)


def arange(start: Any, end: Any, step: Any, outs: Any) -> Any:
    dtype = outs[0].dtype
    kind = np.int64 if dtype in INTEGERS and all(v.dtype not in FLOATS for v in (start, end, step)) else \
        np.float64 if dtype == F64 or dtype in INTEGERS else np.float32
    steps = np.arange(outs[0].shape[0], dtype=kind)
    return cast(np.asarray(start, kind) + steps * np.asarray(step, kind), dtype)


def linspace(start: Any, end: Any, steps: int, outs: Any) -> Any:
    if outs[0].size != steps:
        reject(f"out has {outs[0].size} elements, steps is {steps}")
    kind = F64 if outs[0].dtype == F64 else F32
    values = np.linspace(float(start), float(end), steps).astype(kind)
    return cast(values, outs[0].dtype).reshape(outs[0].shape)


def log_space(start: Any, end: Any, steps: int, base: float, outs: Any) -> Any:
    values = np.power(base, np.linspace(float(start), float(end), steps))
    return cast(values, outs[0].dtype)


def check_steps_count(start: Any, end: Any, steps: int, *_: Any) -> None:
    if steps < 0:
        reject(f"steps is {steps}")


def eye(n: int, m: int, outs: Any) -> Any:
    return np.eye(n, m, dtype=np.uint8).astype(outs[0].dtype)


def eye_shape(n: int, m: int) -> Shape:
    if n < 0 or m < 0:
        reject(f"n or m is negative: {n}, {m}")
    return (n, m)


def one_hot(x: Any, classes: int, on: Any, off: Any, dim: int) -> Any:
    found = np.where(x[..., None] == np.arange(classes), on.reshape(-1)[0], off.reshape(-1)[0]).astype(on.dtype)
    return np.moveaxis(found, -1, axis(dim, x.ndim + 1))


def one_hot_shape(x: Any, classes: int, on: Any, off: Any, dim: int) -> Shape:
    if classes < 0:
        reject(f"numClasses is {classes}")
    a = axis(dim, x.ndim + 1)
    return (*x.shape[:a], classes, *x.shape[a:])


define("Cat", cat, shape=cat_shape, result=list_type, raw=True, oracle="torch.cat")
define("Stack", stack, shape=stack_shape, result=list_type, raw=True, oracle="torch.stack")
define("SplitWithSize", split_with_size, shape=split_shapes, result=rules.first, raw=True, oracle="torch.split")
define("SplitTensor", lambda x, section, dim: split_with_size(x, pieces(x, section, dim), dim),
       shape=lambda x, section, dim: split_shapes(x, pieces(x, section, dim), dim), result=rules.first, raw=True,
       oracle="torch.split")
define("ChunkCat", chunk_cat, result=list_type, raw=True, oracle="torch._chunk_cat")

define("Repeat", lambda x, repeats: np.tile(x, repeats), shape=repeat_shape, result=rules.first, raw=True,
       oracle="torch.tile")
define("Permute", lambda x, dims: x.transpose(permutation(x, dims)), shape=permute_shape, result=rules.first, raw=True,
       exact=True, oracle="torch.permute")
define("Flatten", lambda x, dim: x.reshape(flatten_shape(x, dim)), shape=flatten_shape, result=rules.first, raw=True,
       oracle="numpy's reshape")
define("Expand", lambda x, size: np.broadcast_to(x, expand_shape(x, size)), shape=expand_shape, result=rules.first,
       raw=True, oracle="torch.Tensor.expand")
define("ChannelShuffle", channel_shuffle, shape=rules.same, result=rules.first, raw=True,
       oracle="torch.channel_shuffle")
define("ConfusionTranspose", confusion_transpose, shape=confusion_shape, result=rules.first, raw=True,
       roles={"x": "i"}, oracle="numpy's transpose and reshape")
define("Roll", roll, shape=rules.same, result=rules.first, raw=True, oracle="torch.roll")
define("Flip", flip, shape=rules.same, result=rules.first, raw=True, oracle="torch.flip")

for _names, _dim in (("RepeatInterleave RepeatInterleaveInt", None),
                     ("RepeatInterleaveWithDim RepeatInterleaveIntWithDim", 1)):
    _compute, _shape = interleaved(_dim)
    define(_names, _compute, shape=_shape, result=rules.first, raw=True, rehearsed=False,
           oracle="torch.repeat_interleave")
define("RepeatInterleaveTensor", repeat_positions, shape=positions_shape, result=rules.int64,
       rehearsed=False, oracle="torch.repeat_interleave")

define("Slice", one_slice, shape=shape_of(one_slice), result=rules.first, raw=True, exact=True, check=check_steps,
       oracle="numpy's slicing")
define("SliceV2", slices, shape=shape_of(slices), result=rules.first, raw=True, exact=True, check=check_steps,
       oracle="numpy's slicing")
define("StridedSlice", strided_slice, shape=shape_of(strided_slice), result=rules.first, raw=True, exact=True,
       check=check_strides, oracle="numpy's slicing")
define("StridedSliceAssignV2", slice_assign, shape=rules.same, raw=True, oracle="numpy's slicing")

define("ConstantPadNd", constant_pad, shape=pad_shape, result=rules.first, raw=True, oracle="torch.constant_pad_nd")
for _n in "123":
    for _name, _mode, _oracle, _limit in (("Reflection", "reflect", "reflect", lambda n: n - 1),
                                          ("Replication", "edge", "replicate", lambda n: 1 << 40),
                                          ("Circular", "wrap", "circular", lambda n: n)):
        if f"{_name}{_n}" == "Circular1":
            continue
        define(f"{_name}Pad{_n}d", pad_with(_mode), shape=pad_shape, result=rules.first, raw=True,
               check=check_pads(_limit), oracle=f"torch.nn.functional.pad, {_oracle}")
        define(f"{_name}Pad{_n}dBackward", pad_backward(_mode), shape=rules.like(1), result=rules.first,
               check=check_pads(_limit), oracle=f"gradient of torch.nn.functional.pad, {_oracle}")

family(define, (
    ("Tril", triangle(np.tril), "torch.tril"), ("Triu", triangle(np.triu), "torch.triu"),
), shape=rules.same, result=rules.first, raw=True, inplace=True, check=number_or_matrices)
define("Diag", np.diag, shape=diag_shape, result=rules.first, raw=True, oracle="torch.diag")
define("DiagFlat", np.diagflat, shape=diag_flat_shape, result=rules.first, raw=True, oracle="torch.diagflat")
define("InplaceFillDiagonal", fill_diagonal, shape=rules.same, result=rules.first, raw=True, check=matrices,
       oracle="torch.Tensor.fill_diagonal_")

define("Cast", cast_to, shape=rules.same, result=cast_result, elementwise=True, raw=True, exact=True,
       oracle="torch.Tensor.to")
define("InplaceCopy", copy, check=check_copy, raw=True, oracle="torch.Tensor.copy_")
define("InplaceFillScalar InplaceFillTensor", fill, result=rules.first, raw=True, check=check_fill,
       oracle="torch.full_like")
define("InplaceZero", filler(0), result=rules.first, raw=True, oracle="torch.zeros_like")
define("InplaceOne", filler(1), result=rules.first, raw=True, oracle="torch.ones_like")

define("Arange", arange, shape=lambda start, end, step: (_count(start, end, step, False),), oracle="torch.arange")
define("Range", arange, shape=lambda start, end, step: (_count(start, end, step, True),), oracle="torch.range")
define("Linspace", linspace, check=check_steps_count, oracle="torch.linspace")
define("LogSpace", log_space, shape=lambda start, end, steps, base: (steps,), check=check_steps_count,
       oracle="torch.logspace")
define("Eye", eye, shape=eye_shape, oracle="torch.eye")
define("OneHot", one_hot, shape=one_hot_shape, oracle="torch.nn.functional.one_hot")
