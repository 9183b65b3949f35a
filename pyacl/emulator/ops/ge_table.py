"""Which aclnn operator computes each graph-engine type, and with which arguments.

The functions' parameters are called as the type's inputs, outputs and attributes in ``ge.json``. Outputs that are None
are those of an inference, where only inputs are known.
"""

from __future__ import annotations

from math import prod
from typing import Any, Optional

import numpy as np

from ...capi import lib
from . import rules
from .ge import Use, View, ge, ge_compute
from .ge_layout import trans_data, trans_data_shape
from .rules import reject
from .tensor import Tensor
from .types import F32


def ints(values: Any) -> tuple[int, ...]:
    """The numbers of a value input or attribute."""
    return () if values is None else tuple(int(v) for v in np.asarray(values).reshape(-1))


def number(values: Any) -> int:
    """The one number of a value input."""
    found = ints(values)
    if len(found) != 1:
        reject(f"one number is expected, not {list(found)}")
    return found[0]


def element(values: Any) -> Any:
    """The one element of a value input as a numpy scalar."""
    found = np.asarray(values).reshape(-1)
    if found.size != 1:
        reject(f"one value is expected, not {found.size}")
    return found[0]


def code(y: Optional[Tensor], x: Tensor) -> int:
    """The output's type where it is known, else the input's."""
    return x.code if y is None else y.code


def reshaped(tensor: Optional[Tensor], shape: tuple[int, ...]) -> Any:
    """The same dense memory in another shape."""
    return None if tensor is None else View(tensor, shape)


def swapped(tensor: Tensor, swap: bool) -> Tensor:
    """A matrix, or a stack of them, taken transposed."""
    if not swap:
        return tensor
    shape, strides = list(tensor.shape), list(tensor.strides)
    shape[-2:], strides[-2:] = shape[:-3:-1], strides[:-3:-1]
    return View(tensor, tuple(shape), tuple(strides))


def copied(x: Tensor, y: Optional[Tensor], shape: tuple[int, ...]) -> Use:
    """The output is the input's elements in another shape."""
    return Use((reshaped(x, shape), code(y, x)), "aclnnCast")


# Elementwise

for _type, _operator in (("Mul", "Mul"), ("Maximum", "Maximum"), ("Minimum", "Minimum"), ("Pow", "PowTensorTensor"),
                         ("FloorDiv", "FloorDivide"), ("FloorMod", "RemainderTensorTensor"), ("Mod", "FmodTensor"),
                         ("Equal", "EqTensor"), ("NotEqual", "NeTensor"), ("Greater", "GtTensor"),
                         ("GreaterEqual", "GeTensor"), ("Less", "LtTensor"), ("LessEqual", "LeTensor"),
                         ("LogicalAnd", "LogicalAnd"), ("LogicalOr", "LogicalOr"), ("Atan2", "Atan2"),
                         ("BitwiseAnd", "BitwiseAndTensor"), ("BitwiseOr", "BitwiseOrTensor"),
                         ("BitwiseXor", "BitwiseXorTensor"), ("Xlogy", "XLogYTensor")):
    ge(_type, f"aclnn{_operator}", lambda x1, x2: (x1, x2), loose=True)
ge("Add AddV2", "aclnnAdd", lambda x1, x2: (x1, x2, 1))
ge("Sub", "aclnnSub", lambda x1, x2: (x1, x2, 1))
ge("Axpy", "aclnnAdd", lambda x1, x2, alpha: (x1, x2, alpha), loose=True)
ge("Div TruncateDiv", "aclnnDivMod", lambda x1, x2: (x1, x2, 1 if x1.dtype.kind in "iu" else 0), loose=True)
ge("RealDiv", "aclnnDiv", lambda x1, x2: (x1, x2))
ge("Adds", "aclnnAdds", lambda x, value: (x, value, 1), loose=True)
ge("Muls", "aclnnMuls", lambda x, value: (x, value), loose=True)
ge("BiasAdd", "aclnnAdd", lambda x, bias, data_format: (x, _bias(x, bias, data_format), 1))
ge("AddN", "aclnnSum", lambda x: (x,), loose=True)
ge("Lerp", "aclnnLerp", lambda start, end, weight: (start, end, weight))
ge_compute("Addcmul", lambda x, a, b, v: x + v * a * b, "tensor tensor tensor tensor -> tensor",
           lambda input_data, x1, x2, value: (input_data, x1, x2, value), shape=rules.broadcast, result=rules.first)
ge_compute("Addcdiv", lambda x, a, b, v: x + v * a / b, "tensor tensor tensor tensor -> tensor",
           lambda input_data, x1, x2, value: (input_data, x1, x2, value), shape=rules.broadcast, result=rules.first)
ge_compute("DivNoNan", lambda a, b: np.where(b == 0, 0, np.divide(a, np.where(b == 0, 1, b))).astype(a.dtype),
           "tensor tensor -> tensor", lambda x1, x2: (x1, x2), shape=rules.broadcast, result=rules.first)
ge_compute("SquaredDifference", lambda a, b: np.square(a - b), "tensor tensor -> tensor", lambda x1, x2: (x1, x2),
           shape=rules.broadcast, result=rules.first)
ge_compute("Power", lambda x, power, scale, shift: np.power(x * scale + shift, power),
           "tensor plain plain plain -> tensor", lambda x, power, scale, shift: (x, power, scale, shift),
           shape=rules.same, result=rules.first)

for _type, _operator in (("Abs", "Abs"), ("Neg", "Neg"), ("Sign", "Sign"), ("Expm1", "Expm1"), ("Log1p", "Log1p"),
                         ("Sqrt", "Sqrt"), ("Rsqrt", "Rsqrt"), ("Square", "Square"), ("Reciprocal", "Reciprocal"),
                         ("Inv", "Reciprocal"), ("Floor", "Floor"), ("Ceil", "Ceil"), ("Rint", "Round"), ("Sin", "Sin"),
                         ("Cos", "Cos"), ("Tan", "Tan"), ("Asin", "Asin"), ("Acos", "Acos"), ("Atan", "Atan"),
                         ("Sinh", "Sinh"), ("Cosh", "Cosh"), ("Tanh", "Tanh"), ("Asinh", "Asinh"), ("Acosh", "Acosh"),
                         ("Atanh", "Atanh"), ("Erf", "Erf"), ("Erfc", "Erfc"), ("Sigmoid", "Sigmoid"), ("Relu", "Relu"),
                         ("Gelu", "Gelu"), ("FastGelu", "FastGelu"), ("HardSwish", "Hardswish"), ("Mish", "Mish"),
                         ("Selu", "Selu"), ("IsInf", "IsInf"), ("IsFinite", "IsFinite"),
                         ("LogicalNot", "LogicalNot"), ("Invert", "BitwiseNot")):
    ge(_type, f"aclnn{_operator}", lambda x: x, loose=True)
ge("Trunc", "aclnnTrunc", lambda input_x: input_x, loose=True)
ge("Round", "aclnnRoundDecimals", lambda x, decimals: (x, decimals), loose=True)
ge("LeakyRelu", "aclnnLeakyRelu", lambda x, negative_slope: (x, negative_slope), loose=True)
ge("Elu", "aclnnElu", lambda x, alpha, scale, input_scale: (x, alpha, scale, input_scale), loose=True)
ge("Swish", "aclnnSwish", lambda x, scale: (x, scale), loose=True)
ge("GeluV2", "aclnnGeluV2", lambda x, approximate: (x, int(approximate == "tanh")), loose=True)
ge("PRelu", "aclnnPrelu", lambda x, weight: (x, weight), loose=True)
ge("SoftplusV2", "aclnnSoftplus", lambda x, beta, threshold: (x, beta, threshold), loose=True)
ge("NanToNum", "aclnnNanToNum", lambda x, nan, posinf, neginf: (x, nan, posinf, neginf))
ge_compute("IsNan", np.isnan, "tensor -> tensor", lambda x: x, shape=rules.same, result=rules.boolean)
ge_compute("Relu6", lambda x: np.clip(x, 0, 6), "tensor -> tensor", lambda x: x, shape=rules.same, result=rules.first)
ge_compute("Softplus", lambda x: np.logaddexp(x, np.zeros((), x.dtype)), "tensor -> tensor", lambda x: x,
           shape=rules.same, result=rules.first)
ge_compute("Softsign", lambda x: x / (1 + np.abs(x)), "tensor -> tensor", lambda x: x, shape=rules.same,
           result=rules.first)
ge_compute("HardSigmoid", lambda x, alpha, beta: np.clip(x * x.dtype.type(alpha) + x.dtype.type(beta), 0, 1),
           "tensor plain plain -> tensor", lambda input_x, alpha, beta: (input_x, alpha, beta), shape=rules.same,
           result=rules.first)


def scaled(function: Any) -> Any:
    """exp and log of scale * x + shift in a base; -1 stands for e."""
    def compute(x: Any, base: float, scale: float, shift: float) -> Any:
        return function(x if (scale, shift) == (1, 0) else x * x.dtype.type(scale) + x.dtype.type(shift), base)

    return compute


ge_compute("Exp", scaled(lambda x, base: np.exp(x) if base == -1 else np.power(x.dtype.type(base), x)),
           "tensor plain plain plain -> tensor", lambda x, base, scale, shift: (x, base, scale, shift),
           shape=rules.same, result=rules.first)
ge_compute("Log", scaled(lambda x, base: np.log(x) if base == -1 else np.log(x) / np.log(x.dtype.type(base))),
           "tensor plain plain plain -> tensor", lambda x, base, scale, shift: (x, base, scale, shift),
           shape=rules.same, result=rules.first)

ge("ClipByValue ClipByValueV2", "aclnnClampTensor", lambda x, clip_value_min, clip_value_max: (
    x, clip_value_min, clip_value_max), loose=True)
ge("Select", "aclnnSWhere", lambda condition, x1, x2: (condition, x1, x2), loose=True)
ge("SelectV2", "aclnnSWhere", lambda condition, then, else_: (condition, then, else_), loose=True)
ge("MaskedFill", "aclnnInplaceMaskedFillTensor", lambda x, mask, value: (x, mask, value), loose=True)
ge("MaskedScatter", "aclnnInplaceMaskedScatter", lambda x, mask, updates: (x, mask, updates), loose=True)


def _bias(x: Tensor, bias: Tensor, data_format: str) -> Tensor:
    """A bias of channels against a tensor of that format."""
    if data_format[-1] == "C" or x.ndim < 3:
        return bias
    return View(bias, (bias.shape[0], *(1,) * (x.ndim - 2)))


# Casts and copies

ge("Cast", "aclnnCast", lambda x, dst_type: (x, dst_type), mixed=True)
ge("Identity TensorMove", "aclnnCast", lambda x, y: (x, code(y, x)), loose=True)
ge("ZerosLike", "aclnnInplaceZero", lambda x: x, loose=True, shape=lambda x: [x.shape])
ge("OnesLike", "aclnnInplaceOne", lambda x: x, loose=True, shape=lambda x: [x.shape])
ge("Fills", "aclnnInplaceFillScalar", lambda x, value: (x, value), loose=True, shape=lambda x: [x.shape])
ge_compute("Fill", lambda dims, value: np.full(dims, value.reshape(-1)[0], value.dtype), "plain tensor -> tensor",
           lambda dims, value: (ints(dims), value), shape=lambda dims, value: dims, raw=True)

# Shapes


def wanted_shape(x: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape in which 0 keeps a dimension and one -1 takes the rest."""
    dims = [x.shape[i] if n == 0 and i < x.ndim else n for i, n in enumerate(shape)]
    if -1 in dims:
        rest = prod(n for n in dims if n != -1)
        dims[dims.index(-1)] = x.size // rest if rest else 0
    if prod(dims) != x.size:
        reject(f"{list(x.shape)} cannot be reshaped to {list(shape)}")
    return tuple(dims)


def squeezed(x: Tensor, axis: tuple[int, ...]) -> tuple[int, ...]:
    gone = {rules.axis(a, x.ndim) for a in axis} or {i for i, n in enumerate(x.shape) if n == 1}
    if any(x.shape[i] != 1 for i in gone):
        reject(f"axis {list(axis)} of {list(x.shape)} is not 1")
    return tuple(n for i, n in enumerate(x.shape) if i not in gone)


def unsqueezed(x: Tensor, axes: tuple[int, ...]) -> tuple[int, ...]:
    shape = list(x.shape)
    for a in sorted(rules.axis(a, x.ndim + len(axes)) for a in axes):
        shape.insert(a, 1)
    return tuple(shape)


def reshape(x: Tensor, shape: Any, axis: int, num_axes: int, y: Optional[Tensor]) -> Use:
    """Of `num_axes` dimensions from `axis` on, the others stay."""
    first = rules.axis(axis, x.ndim + 1)
    last = x.ndim if num_axes == -1 else first + num_axes
    if not first <= last <= x.ndim:
        reject(f"{num_axes} dimensions from {axis} on are more than {list(x.shape)} has")
    part = View(x, x.shape[first:last])
    return copied(x, y, x.shape[:first] + wanted_shape(part, ints(shape)) + x.shape[last:])


ge("Reshape", "aclnnCast", reshape, loose=True)
ge("Squeeze", "aclnnCast", lambda x, axis, y: copied(x, y, squeezed(x, axis)), loose=True)
ge("Unsqueeze", "aclnnCast", lambda x, axes, y: copied(x, y, unsqueezed(x, axes)), loose=True)
ge("ExpandDims", "aclnnCast", lambda x, axis, y: copied(x, y, unsqueezed(x, ints(axis))), loose=True)
ge("Flatten", "aclnnCast", lambda x, axis, y: copied(x, y, (prod(x.shape[:axis]), prod(x.shape[axis:]))), loose=True)
ge("BroadcastTo Expand", "aclnnExpand", lambda x, shape: (x, ints(shape)), loose=True)
ge("ExpandD", "aclnnExpand", lambda x, shape: (x, shape), loose=True)
ge("Tile", "aclnnRepeat", lambda x, multiples: (x, ints(multiples)), loose=True)
ge("TileD", "aclnnRepeat", lambda x, multiples: (x, multiples), loose=True)
ge("Transpose", "aclnnPermute", lambda x, perm: (x, ints(perm)), loose=True)
ge("TransposeD", "aclnnPermute", lambda x, perm: (x, perm), loose=True)
ge_compute("TransData", trans_data, "tensor text text plain -> tensor",
           lambda src, dst, src_format, dst_format, groups: (src, src_format, dst_format,
                                                             src.shape if dst is None else dst.shape),
           raw=True, private_formats=True, shape=trans_data_shape, result=rules.first)
for _type, _what in (("Shape", lambda x: np.array(x.shape)), ("Size", lambda x: np.array(x.size)),
                     ("Rank", lambda x: np.array(x.ndim))):
    ge_compute(_type, _what, "tensor -> tensor", lambda x: x, raw=True,
               shape=(lambda x: (x.ndim,)) if _type == "Shape" else rules.scalar, mixed=True)

# Parts

ge("Concat ConcatV2", "aclnnCat", lambda x, concat_dim: (x, number(concat_dim)), loose=True)
ge("ConcatD ConcatV2D", "aclnnCat", lambda x, concat_dim: (x, concat_dim), loose=True)
ge("Pack", "aclnnStack", lambda x, axis: (x, axis), loose=True)
ge("SplitD", "aclnnSplitTensor", lambda x, split_dim, num_split: (
    x, x.shape[rules.axis(split_dim, x.ndim)] // num_split, split_dim), loose=True)
ge("Split", "aclnnSplitTensor", lambda x, split_dim, num_split: (
    x, x.shape[rules.axis(number(split_dim), x.ndim)] // num_split, number(split_dim)), loose=True)
ge("SplitV", "aclnnSplitWithSize", lambda x, size_splits, split_dim: (x, ints(size_splits), number(split_dim)),
   loose=True)
ge_compute("Unpack", lambda x, axis: tuple(np.moveaxis(x, axis, 0)), "tensor plain -> tensors",
           lambda x, axis: (x, axis), raw=True)
ge("Slice", "aclnnSliceV2", lambda x, offsets, size: sliced(x, ints(offsets), ints(size)), loose=True)
ge("SliceD", "aclnnSliceV2", lambda x, offsets, size: sliced(x, offsets, size), loose=True)
ge("StridedSlice", "aclnnStridedSlice",
   lambda x, begin, end, strides, begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask: (
       x, ints(begin), ints(end), ints(strides), begin_mask, end_mask, ellipsis_mask, new_axis_mask,
       shrink_axis_mask), loose=True)
ge("StridedSliceD", "aclnnStridedSlice",
   lambda x, begin, end, strides, begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask: (
       x, begin, end, strides, begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask), loose=True)
ge("StridedSliceV2", "aclnnSliceV2", lambda x, begin, end, axes, strides: (
    x, ints(begin), ints(end), ints(axes) or tuple(range(len(ints(begin)))), ints(strides) or (1,) * len(ints(begin))),
   loose=True)
ge("ReverseV2", "aclnnFlip", lambda x, axis: (x, ints(axis)), loose=True)
ge("Roll", "aclnnRoll", lambda x, shifts, dims: (x, shifts, dims), loose=True)
ge("Triu", "aclnnTriu", lambda x, diagonal: (x, diagonal), loose=True)
ge("Tril", "aclnnTril", lambda x, diagonal: (x, diagonal), loose=True)
ge("Diag", "aclnnDiag", lambda x: (x, 0), loose=True)


def sliced(x: Tensor, offsets: tuple[int, ...], size: tuple[int, ...]) -> tuple[Any, ...]:
    ends = tuple(n if s == -1 else o + s for n, o, s in zip(x.shape, offsets, size))
    if any(e > n or o < 0 for n, o, e in zip(x.shape, offsets, ends)):
        reject(f"offsets {list(offsets)} and size {list(size)} go beyond {list(x.shape)}")
    return x, offsets, ends, tuple(range(len(offsets))), (1,) * len(offsets)


def last_first(paddings: Any) -> tuple[int, ...]:
    """Pairs for each dimension, first to last, as aclnn has them: last to first."""
    rows = np.asarray(paddings).reshape(-1, 2)[::-1]
    return ints(rows)


ge("Pad", "aclnnConstantPadNd", lambda x, paddings: (x, last_first(paddings), 0), loose=True)
ge("PadV3", "aclnnConstantPadNd", lambda x, paddings, constant_values, mode: padded(x, paddings, constant_values, mode),
   loose=True)
ge_compute("MirrorPad", lambda x, paddings, mode: np.pad(x, paddings, mode), "tensor plain plain -> tensor",
           lambda x, paddings, mode: (x, np.asarray(paddings).reshape(-1, 2), {"REFLECT": "reflect",
                                                                              "SYMMETRIC": "symmetric"}[mode]),
           raw=True, shape=lambda x, paddings, mode: tuple(int(n + a + b) for n, (a, b) in zip(x.shape, paddings)),
           result=rules.first)


def padded(x: Tensor, paddings: Any, values: Any, mode: str) -> tuple[Any, ...]:
    if mode != "constant":
        raise NotImplementedError(f"PadV3 with mode {mode}")
    return x, last_first(paddings), x.dtype.type(0) if values is None else element(values)


# Reductions


def reducing(name: str) -> Any:
    """A reduction over the axes of a value input; without any it does nothing or all (`noop_with_empty_axes`)."""
    typed = name in ("aclnnReduceSum", "aclnnMean")

    def arguments(x: Tensor, axes: Any, keep_dims: bool, noop_with_empty_axes: bool, y: Optional[Tensor]) -> Any:
        dims = ints(axes)
        if not dims and noop_with_empty_axes:
            return copied(x, y, x.shape)
        return (x, dims, keep_dims, code(y, x)) if typed else (x, dims, keep_dims)

    return arguments


for _type, _operator in (("ReduceSum", "ReduceSum"), ("ReduceMean", "Mean"), ("ReduceMax", "Amax"),
                         ("ReduceMin", "Amin"), ("ReduceLogSumExp", "LogSumExp")):
    ge(_type, f"aclnn{_operator}", reducing(f"aclnn{_operator}"), loose=True)
for _type, _operator in (("ReduceSumD", "ReduceSum"), ("ReduceMeanD", "Mean")):
    ge(_type, f"aclnn{_operator}", lambda x, axes, keep_dims, y: (x, axes, keep_dims, code(y, x)), loose=True)
for _type, _operator in (("ReduceMaxD", "Amax"), ("ReduceMinD", "Amin")):
    ge(_type, f"aclnn{_operator}", lambda x, axes, keep_dims: (x, axes, keep_dims), loose=True)
for _type, _operator in (("ReduceAll", "All"), ("ReduceAny", "Any"), ("ReduceAllD", "All"), ("ReduceAnyD", "Any")):
    ge(_type, f"aclnn{_operator}", lambda x, axes, keep_dims: (x, ints(axes), keep_dims), loose=True, mixed=True)
ge_compute("ReduceProd", lambda x, axes, keep: np.prod(x, axis=axes, keepdims=keep, dtype=x.dtype),
           "tensor plain plain -> tensor",
           lambda x, axes, keep_dims, noop_with_empty_axes: (
               x, rules.axes(ints(axes), x.ndim, not noop_with_empty_axes), keep_dims),
           shape=lambda x, axes, keep: rules.reduced_shape(x.shape, axes, keep), result=rules.first)
ge_compute("ReduceProdD", lambda x, axes, keep: np.prod(x, axis=axes, keepdims=keep, dtype=x.dtype),
           "tensor plain plain -> tensor",
           lambda x, axes, keep_dims: (x, rules.axes(axes, x.ndim), keep_dims),
           shape=lambda x, axes, keep: rules.reduced_shape(x.shape, axes, keep), result=rules.first)
ge("ReduceStdV2", "aclnnStdMeanCorrection", lambda x, dim, correction, keepdim: (x, dim, correction, keepdim),
   loose=True)
ge("ReduceVar", "aclnnVarMean", lambda x, dim, correction, keepdim: (x, dim, correction, keepdim), loose=True)
ge("ArgMaxV2", "aclnnArgMax", lambda x, dimension: (x, number(dimension), False), loose=True, mixed=True)
ge("ArgMaxD", "aclnnArgMax", lambda x, dimension: (x, dimension, False), loose=True, mixed=True)
ge("ArgMin", "aclnnArgMin", lambda x, dimension: (x, number(dimension), False), loose=True, mixed=True)
ge("Cumsum", "aclnnCumsumV2", lambda x, axis, exclusive, reverse: (x, number(axis), exclusive, reverse), loose=True)
ge_compute("Cumprod", lambda x, axis, exclusive, reverse: cumulative(x, axis, exclusive, reverse),
           "tensor plain plain plain -> tensor",
           lambda x, axis, exclusive, reverse: (x, number(axis), exclusive, reverse), shape=rules.same,
           result=rules.first)
ge("LpNormV2", "aclnnNorm", lambda x, p, axes, keepdim: (x, p, axes, keepdim), loose=True)
ge_compute("L2Normalize", lambda x, axis, eps: x / np.sqrt(np.maximum(np.sum(x * x, axis=axis, keepdims=True), eps)),
           "tensor plain plain -> tensor", lambda x, axis, eps: (x, rules.axes(axis, x.ndim), x.dtype.type(eps)),
           shape=rules.same, result=rules.first)


def cumulative(x: Any, axis: int, exclusive: bool, reverse: bool) -> Any:
    x = np.flip(x, axis) if reverse else x
    found = np.cumprod(x, axis=axis, dtype=x.dtype)
    if exclusive:
        found = np.roll(found, 1, axis)
        found[(slice(None),) * (axis % x.ndim) + (0,)] = 1
    return np.flip(found, axis) if reverse else found


# Products


def product(name: str) -> Any:
    """aclnn's product of matrices or stacks of them, either side taken transposed, and a bias."""
    def arguments(x1: Tensor, x2: Tensor, bias: Optional[Tensor], one: bool, two: bool) -> Any:
        left, right = swapped(x1, one), swapped(x2, two)
        if bias is not None:
            return Use((bias, left, right, 1, 1, 0), "aclnnAddmm" if x1.ndim == 2 else "aclnnBaddbmm")
        return left, right, 0

    return arguments


_matmul, _batched = product("aclnnMatmul"), product("aclnnBatchMatMul")
ge("MatMul", "aclnnMatmul", lambda x1, x2, bias, transpose_x1, transpose_x2: _matmul(
    x1, x2, bias, transpose_x1, transpose_x2), mixed=True, loose=True)
ge("MatMulV2 MatMulV3", "aclnnMatmul", lambda x1, x2, bias, transpose_x1, transpose_x2: _matmul(
    x1, x2, bias, transpose_x1, transpose_x2), mixed=True, loose=True)
ge("BatchMatMul", "aclnnMatmul", lambda x1, x2, adj_x1, adj_x2: _batched(x1, x2, None, adj_x1, adj_x2), mixed=True,
   loose=True)
ge("BatchMatMulV2 BatchMatMulV3", "aclnnMatmul", lambda x1, x2, bias, adj_x1, adj_x2: _batched(
    x1, x2, bias, adj_x1, adj_x2), mixed=True, loose=True)
ge("Dot", "aclnnDot", lambda input_x, input_y: (input_x, input_y), loose=True)


def gemm(a: Any, b: Any, c: Any, alpha: Any, beta: Any, transpose_a: bool, transpose_b: bool) -> Any:
    """alpha op(a) op(b) + beta c; integers add up in int32."""
    a, b = a.T if transpose_a else a, b.T if transpose_b else b
    if a.dtype.kind == "i":
        found = (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int32)  # exact: far below 2**53
    else:
        found = a @ b
    alpha, beta = alpha.reshape(-1)[0], beta.reshape(-1)[0]
    kind = c.dtype if c.dtype.kind == "i" else F32
    return found.astype(kind) * alpha.astype(kind) + (c * beta.astype(kind) if beta else 0)


def gemm_shape(a: Any, b: Any, c: Any, alpha: Any, beta: Any, transpose_a: bool, transpose_b: bool) -> Any:
    if not (a.ndim == b.ndim == 2):
        reject(f"{list(a.shape)} and {list(b.shape)} are not matrices")
    (m, k), (rows, n) = (s.shape[::-1] if t else s.shape for s, t in ((a, transpose_a), (b, transpose_b)))
    if k != rows or c.shape != (m, n):
        reject(f"[{m}, {k}] by [{rows}, {n}] and {list(c.shape)} do not fit")
    return m, n


def gemm_types(a: Tensor, b: Tensor, c: Tensor, *_: Any) -> None:
    allowed = {("float16", "float16"), ("float16", "float32"), ("int8", "float32"), ("int8", "int32"),
               ("float32", "float32")}
    if a.dtype != b.dtype or (a.dtype.name, c.dtype.name) not in allowed:
        reject(f"{a.dtype} by {b.dtype} into {c.dtype} is not supported")


ge_compute("GEMM", gemm, "tensor tensor tensor tensor tensor plain plain -> tensor",
           lambda a, b, c, alpha, beta, transpose_a, transpose_b: (a, b, c, alpha, beta, transpose_a, transpose_b),
           mixed=True, shape=gemm_shape, check=gemm_types)

# Gradients, losses

for _type, _operator in (("SigmoidGrad", "SigmoidBackward"), ("TanhGrad", "TanhBackward")):
    ge(_type, f"aclnn{_operator}", lambda y, dy: (dy, y), loose=True)
ge("GeluGrad", "aclnnGeluBackward", lambda dy, x: (dy, x), loose=True)
ge("SwishGrad", "aclnnSwishBackward", lambda grad, x, scale: (grad, x, scale), loose=True)
ge_compute("ReluGrad", lambda gradients, features: gradients * (features > 0), "tensor tensor -> tensor",
           lambda gradients, features: (gradients, features), shape=rules.broadcast, result=rules.first)
ge_compute("SqrtGrad", lambda y, dy: dy / (2 * y), "tensor tensor -> tensor", lambda y, dy: (y, dy),
           shape=rules.broadcast, result=rules.first)
ge_compute("RsqrtGrad", lambda y, dy: dy * y ** 3 * y.dtype.type(-0.5), "tensor tensor -> tensor",
           lambda y, dy: (y, dy), shape=rules.broadcast, result=rules.first)
_REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}
ge("MseLoss", "aclnnMseLoss", lambda predict, label, reduction: (predict, label, _REDUCTIONS[reduction]), loose=True)
ge("SmoothL1Loss", "aclnnSmoothL1Loss", lambda predict, label, sigma: (predict, label, 0, sigma), loose=True)
ge_compute("L2Loss", lambda x: np.sum(x * x) / 2, "tensor -> tensor", lambda x: x, shape=rules.scalar,
           result=rules.first)

# Making tensors

ge("Range", "aclnnArange", lambda start, limit, delta: (element(start), element(limit), element(delta)), loose=True)
ge("LinSpace", "aclnnLinspace", lambda start, stop, num: (element(start), element(stop), number(num)), loose=True,
   mixed=True, shape=lambda num: [(number(num),)])
ge("Eye", "aclnnEye", lambda num_rows, num_columns: (num_rows, num_columns or num_rows), loose=True)
ge("OneHot", "aclnnOneHot", lambda x, depth, on_value, off_value, axis: (x, number(depth), on_value, off_value, axis),
   loose=True, mixed=True)
ge("OneHotD", "aclnnOneHot", lambda x, on_value, off_value, depth, axis: (x, depth, on_value, off_value, axis),
   loose=True, mixed=True)


def random(kind: str) -> Any:
    """Numbers that follow from key and counter alone; not those of the device, but of the same distribution."""
    def compute(shape: tuple[int, ...], key: int, counter: tuple[int, ...]) -> Any:
        bits = np.random.Philox(key=key & (1 << 64) - 1, counter=sum(c << 64 * i for i, c in enumerate(counter)))
        generator = np.random.Generator(bits)
        return (generator.random if kind == "uniform" else generator.standard_normal)(shape, np.float32)

    return compute


for _type, _kind in (("StatelessRandomUniformV2", "uniform"), ("StatelessRandomNormalV2", "normal")):
    ge_compute(_type, random(_kind), "plain plain plain -> tensor",
               lambda shape, key, counter: (ints(shape), number(key), tuple(c & (1 << 64) - 1 for c in ints(counter))),
               shape=lambda shape, key, counter: shape, mixed=True)



def multinomial(logits: Any, count: int, seed: int, offset: int) -> Any:
    """Samples from the distributions of which `logits` are the logarithms."""
    weights = np.exp(logits - logits.max(-1, keepdims=True)).astype(np.float64)
    bounds = np.cumsum(weights, -1) / weights.sum(-1, keepdims=True)
    draws = np.random.Generator(np.random.Philox(key=[seed & (1 << 64) - 1, offset & (1 << 64) - 1])).random(
        (logits.shape[0], count))
    return np.minimum((draws[..., None] >= bounds[:, None]).sum(-1), logits.shape[-1] - 1)


ge_compute("Multinomial", multinomial, "tensor plain plain plain -> tensor",
           lambda logits, num_samples, seed, seed2: (logits, number(num_samples), seed, seed2), mixed=True,
           shape=lambda logits, count, seed, offset: (logits.shape[0], count))

# Picking and placing

ge("GatherV2", "aclnnIndexSelect", lambda x, indices, axis, y: gathered(x, indices, number(axis), y), loose=True,
   mixed=True, shape=lambda x, indices, axis: [gathered_shape(x, indices, number(axis))])
ge("Gather", "aclnnIndexSelect", lambda x, indices, y: gathered(x, indices, 0, y), loose=True, mixed=True,
   shape=lambda x, indices: [gathered_shape(x, indices, 0)])
ge("Embedding", "aclnnEmbedding", lambda x, indices: (x, indices), loose=True, mixed=True)
ge("GatherElements", "aclnnGather", lambda x, index, dim: (x, dim, index), loose=True, mixed=True)
ge("GatherNd", "aclnnGatherNd", lambda x, indices, negative_index_support: (x, indices, negative_index_support),
   loose=True, mixed=True)


def gathered_shape(x: Tensor, indices: Tensor, axis: int) -> tuple[int, ...]:
    axis = rules.axis(axis, x.ndim)
    return x.shape[:axis] + indices.shape + x.shape[axis + 1:]


def gathered(x: Tensor, indices: Tensor, axis: int, y: Optional[Tensor]) -> Use:
    axis = rules.axis(axis, x.ndim)
    flat = x.shape[:axis] + (indices.size,) + x.shape[axis + 1:]
    if y is not None and y.shape != gathered_shape(x, indices, axis):
        reject(f"y has the shape {list(y.shape)}; the result has {list(gathered_shape(x, indices, axis))}")
    return Use((x, axis, reshaped(indices, (indices.size,))), outputs=(reshaped(y, flat),))


def by_index(x: Any, index: Any, updates: Any, how: str) -> Any:
    """`updates` at the rows of `x` that `index` names; the last axis of `index` runs over the leading axes of `x`."""
    found = np.array(x)
    place = tuple(np.moveaxis(index, -1, 0))
    if any((i < 0).any() or (i >= n).any() for i, n in zip(place, x.shape)):
        reject("an index is out of range")
    if how == "add":
        np.add.at(found, place, updates)
    else:
        found[place] = updates
    return found


for _type, _how in (("ScatterNdUpdate", "set"), ("ScatterNdAdd", "add")):
    ge_compute(_type, by_index, "tensor tensor tensor plain -> tensor",
               lambda var, indices, updates, how=_how: (var, indices, updates, how), shape=rules.same,
               result=rules.first, mixed=True)
ge_compute("TensorScatterUpdate", by_index, "tensor tensor tensor plain -> tensor",
           lambda x, indices, updates: (x, indices, updates, "set"), shape=rules.same, result=rules.first, mixed=True)
for _type, _how in (("ScatterUpdate", "set"), ("ScatterAdd", "add")):
    ge_compute(_type, lambda var, indices, updates, how: by_index(var, indices[..., None], updates, how),
               "tensor tensor tensor plain -> tensor",
               lambda var, indices, updates, how=_how: (var, indices, updates, how), shape=rules.same,
               result=rules.first, mixed=True)
ge_compute("ScatterNd", lambda index, x, shape: by_index(np.zeros(shape, x.dtype), index, x, "add"),
           "tensor tensor plain -> tensor", lambda indices, x, shape: (indices, x, ints(shape)),
           shape=lambda index, x, shape: shape, mixed=True)
ge("ScatterElements", "aclnnScatter", lambda data, indices, updates, axis, reduction: (
    data, axis, indices, updates, {"none": 0, "add": 1, "mul": 2}[reduction]), loose=True, mixed=True)
ge("Index", "aclnnIndex", lambda x, indexed_sizes, indices: (x, by_dimension(indexed_sizes, indices)), loose=True,
   mixed=True)
ge("IndexPutV2", "aclnnIndexPutImpl", lambda x, value, indexed_sizes, indices, accumulate: (
    x, by_dimension(indexed_sizes, indices), value, accumulate, False), loose=True, mixed=True)


def by_dimension(mask: Any, indices: list[Any]) -> list[Any]:
    """The index of each dimension, None for one that is not indexed; `mask` says which are."""
    given = iter(indices)
    return [next(given, None) if indexed else None for indexed in ints(mask)]


ge("SearchSorted", "aclnnSearchSorted",
   lambda sorted_sequence, values, sorter, dtype, right: (
       sorted_sequence, values, dtype == lib.ACL_INT32, right, sorter), loose=True, mixed=True)
ge("Histogram", "aclnnHistc", lambda x, bins, min, max: (x, bins, min, max), loose=True, mixed=True)
ge("TopKV2 TopK", "aclnnTopk", lambda x, k, dim, largest, sorted: (x, number(k), dim, largest, sorted), loose=True,
   mixed=True)
ge("Sort", "aclnnSort", lambda x, axis, descending, stable: (x, stable, axis, descending), loose=True, mixed=True)

# Shapes that follow from the data

ge("NonZero", "aclnnNonzero", lambda x, transpose: x if not transpose else Use((x,), "aclnnNonzeroV2"), loose=True,
   mixed=True, shape=lambda x, transpose: [(x.ndim, (0, x.size)) if transpose else ((0, x.size), x.ndim)])
ge("Where", "aclnnNonzero", lambda x: x, loose=True, mixed=True, shape=lambda x: [((0, x.size), x.ndim)])
ge("MaskedSelect", "aclnnMaskedSelect", lambda x, mask: (x, mask), loose=True, mixed=True,
   shape=lambda x, mask: [((0, prod(rules.broadcast(x, mask))),)])
ge_compute("Unique", lambda x: unique(x), "tensor -> tensor tensor", lambda x: x, raw=True, dynamic=True, mixed=True,
           shape=lambda x: (None, x.shape))


def unique(x: Any) -> tuple[Any, Any]:
    """The distinct elements in the order in which they come first, and which of them each element is."""
    values, first, inverse = np.unique(x, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    return values[order], rank[inverse.reshape(x.shape)]
