"""Reductions: sums, means, norms, extremes, tests, variance, medians; and cumulative operators."""

from __future__ import annotations

import math
from typing import Any, Callable, Optional

import numpy as np

from . import rules, sums
from .registry import define, family
from .rules import axes, axis, reject
from .types import COMPLEXES, cast, castable, wide

ROWS = rules.before_reduced
WORKSPACE = 4096  # arbitrary; on the device reductions ask for some


def along(x: Any, dims: Optional[tuple[int, ...]]) -> Optional[tuple[int, ...]]:
    """The axes numpy reduces over."""
    return axes(dims, x.ndim)


def wanted(x: Any, dtype: Any) -> Any:
    """`x` in the type asked for, widened for computing."""
    return x if dtype is None else cast(x, wide(dtype))


# ---- rules

def norm_rows(x: Any, order: Any, dims: Any, *_: Any) -> int:
    return ROWS(x, dims)



def keyed(dims: int, keep: int) -> Callable[..., Any]:
    """A shape rule from the positions of dims and keepDim."""
    def rule(x: Any, *rest: Any) -> Any:
        given = rest[dims - 1]
        given = (given,) if isinstance(given, int) else given
        return rules.reduced_shape(x.shape, axes(given, x.ndim), bool(rest[keep - 1]))

    return rule


def asked(position: int) -> Callable[..., Any]:
    """A type rule: the aclDataType at `position`, which the output must have; the input's where it is undefined."""
    def rule(x: Any, *rest: Any) -> Any:
        dtype = rest[position - 1]
        if x.size == 0 and (dtype or x.dtype) in COMPLEXES:
            reject("an empty tensor is not reduced to complex numbers")
        if dtype is None:
            return x.dtype
        if not castable(x.dtype, dtype):
            reject(f"{x.dtype} cannot be converted to dtype {dtype}")
        return dtype

    return rule


def not_empty(x: Any, dims: Any = None, *_: Any) -> None:
    dims = (dims,) if isinstance(dims, int) else dims
    if 0 in [x.shape[a] for a in axes(dims, x.ndim)]:
        reject("a dimension to be reduced has size 0")


def checked_axis(x: Any, dim: int, *_: Any) -> None:
    axis(dim, x.ndim)


# ---- sums and means

def reduce_sum(x: Any, dims: Any, keep: bool, dtype: Any) -> Any:
    return sums.total(wanted(x, dtype), along(x, dims), keep, None if dtype is None else wide(dtype))


def mean(x: Any, dims: Any, keep: bool, dtype: Any) -> Any:
    return sums.mean(wanted(x, dtype), along(x, dims), keep)


def nansum(x: Any, dims: Any, keep: bool, dtype: Any) -> Any:
    return np.nansum(wanted(x, dtype), axis=along(x, dims), keepdims=keep)


def prod(x: Any, dtype: Any) -> Any:
    return np.prod(wanted(x, dtype), dtype=None if dtype is None else wide(dtype)).reshape(1)


def prod_dim(x: Any, dim: int, keep: bool, dtype: Any) -> Any:
    return np.prod(wanted(x, dtype), axis=axis(dim, x.ndim) if x.ndim else None, keepdims=keep,
                   dtype=None if dtype is None else wide(dtype))


def no_op_when_empty(function: Callable[..., Any]) -> Callable[..., Any]:
    """(self, axes, keepDims, noopWithEmptyAxes): with the flag set, no axes mean no reduction."""
    def compute(x: Any, dims: Any, keep: bool, noop: bool) -> Any:
        return x if noop and not dims else function(x, along(x, dims), keep)

    return compute


def no_op_shape(x: Any, dims: Any, keep: bool, noop: bool) -> Any:
    return tuple(x.shape) if noop and not dims else rules.reduction(x, dims, keep)


def log_sum_exp(x: Any, dims: Any, keep: bool) -> Any:
    over = along(x, dims)
    top = np.max(x, axis=over, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, x.dtype.type(0))
    result = np.log(sums.total(np.exp(x - top), over, True)) + top
    return result.astype(x.dtype) if keep else np.squeeze(result, over).astype(x.dtype)


# ---- norms

def vector_norm(x: Any, order: Any, dims: Any, keep: bool, dtype: Any = None) -> Any:
    x, p, over = np.abs(wanted(x, dtype)), float(order), along(x, dims)
    if p == np.inf:
        return np.max(x, axis=over, keepdims=keep, initial=0)
    if p == -np.inf:
        return np.min(x, axis=over, keepdims=keep, initial=np.inf)
    if p == 0:
        return np.sum(x != 0, axis=over, keepdims=keep).astype(x.dtype)
    if p == 1:
        return sums.total(x, over, keep)
    if p == 2:
        return np.sqrt(sums.total(x * x, over, keep))
    return np.power(sums.total(np.power(x, p), over, keep), 1 / p).astype(x.dtype)


# ---- extremes

def extreme(function: Any) -> Callable[..., Any]:
    return lambda x, dims=None, keep=False: function(x, axis=along(x, dims), keepdims=keep)


def maximum_of_all(function: Any) -> Callable[..., Any]:
    return lambda x: function(x)


def one_element(*_: Any) -> Any:
    return ()  # [1] is taken as well; torch_npu passes []


def arg(function: Any) -> Callable[..., Any]:
    """The index of an extreme; the first of equal ones, and NaN counts as the extreme."""
    def compute(x: Any, dim: int, keep: bool) -> Any:
        if not x.ndim:
            return np.zeros((), np.int64)
        return function(x, axis=axis(dim, x.ndim), keepdims=keep)

    return compute


def with_index(function: Any) -> Callable[..., Any]:
    index = arg(function)

    def compute(x: Any, dim: int, keep: bool) -> Any:
        if not x.ndim:
            return x, np.zeros((), np.int64)
        a = axis(dim, x.ndim)
        found = index(x, dim, True)
        values = np.take_along_axis(x, found, a)
        return (values, found) if keep else (np.squeeze(values, a), np.squeeze(found, a))

    return compute


def one_dim(x: Any, dim: int, keep: bool, *_: Any) -> Any:
    return rules.reduced_shape(x.shape, (axis(dim, x.ndim),) if x.ndim else (), keep)


def twice(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A rule for two outputs alike."""
    return lambda *inputs: (rule(*inputs), rule(*inputs))


def value_and_index(x: Any, *_: Any) -> Any:
    return x.dtype, None


def aminmax(x: Any, dims: Any = None, keep: bool = False) -> Any:
    dims = (dims,) if isinstance(dims, int) else dims
    over = along(x, dims)
    return np.min(x, axis=over, keepdims=keep), np.max(x, axis=over, keepdims=keep)


def nth(position: Callable[[int], int], ignore_nan: bool = False) -> Callable[..., Any]:
    """The value of rank `position(size)` and its index: medians and the like; NaN sorts last."""
    def compute(x: Any, dim: int, keep: bool) -> Any:
        if not x.ndim:
            return x, np.zeros((), np.int64)
        a = axis(dim, x.ndim)
        order = np.argsort(x, axis=a, kind="stable")
        if x.dtype.kind == "f":
            missing = np.isnan(x)
            count = (~missing).sum(axis=a, keepdims=True)
            rank = np.maximum(count - 1, 0) // 2 if ignore_nan else np.where(missing.any(axis=a, keepdims=True), count,
                                                                            position(x.shape[a]))
        else:
            rank = np.full(rules.reduced_shape(x.shape, (a,), True), position(x.shape[a]))
        index = np.take_along_axis(order, rank, a)
        values = np.take_along_axis(x, index, a)
        return (values, index) if keep else (np.squeeze(values, a), np.squeeze(index, a))

    return compute


def median_rank(size: int) -> int:
    return (size - 1) // 2


def median(x: Any, ignore_nan: bool = False) -> Any:
    """Of all elements, without an index."""
    flat = x.reshape(-1)
    missing = np.isnan(flat) if x.dtype.kind == "f" else np.False_
    if missing.any():
        flat = flat[~missing] if ignore_nan else flat[missing]
    if not flat.size:
        return np.full((), np.nan, x.dtype)
    return np.partition(flat, median_rank(flat.size))[median_rank(flat.size)]


median_dim = nth(median_rank)
nan_median_dim = nth(median_rank, ignore_nan=True)


def kthvalue(x: Any, k: int, dim: int, keep: bool) -> Any:
    return nth(lambda size: k - 1)(x, dim, keep)


def check_k(x: Any, k: int, dim: int, *_: Any) -> None:
    n = x.shape[axis(dim, x.ndim)] if x.ndim else 1
    if not 1 <= k <= n:
        reject(f"k is {k}, outside of [1, {n}]")


# ---- variance

def variance(x: Any, dims: Any, correction: int, keep: bool) -> Any:
    over = along(x, dims)
    n = int(np.prod([x.shape[a] for a in over or ()], dtype=np.int64))
    apart = np.asarray(x - sums.mean(x, over, True))
    square = sums.total(np.square(apart, out=apart), over, keep)
    return np.divide(square, x.dtype.type(max(0, n - correction)))


def std_mean(x: Any, dims: Any, correction: int, keep: bool) -> Any:
    return np.sqrt(variance(x, dims, correction, keep)), sums.mean(x, along(x, dims), keep)


def var_mean(x: Any, dims: Any, correction: int, keep: bool) -> Any:
    return variance(x, dims, correction, keep), sums.mean(x, along(x, dims), keep)


# ---- cumulative

_SLAB = 256  # elements


def running(function: Any, x: Any, a: int) -> Any:
    """``function.accumulate``, which is slow where much lies behind the axis: there whole slabs are combined."""
    if math.prod(x.shape[a + 1:]) < _SLAB:
        return function.accumulate(x, axis=a)
    found = np.array(x)
    slabs = np.moveaxis(found, a, 0)
    for i in range(1, len(slabs)):
        function(slabs[i - 1], slabs[i], out=slabs[i])
    return found


def cumsum(x: Any, dim: int, dtype: Any) -> Any:
    x = wanted(x, dtype)
    return running(np.add, x, axis(dim, x.ndim)) if x.ndim else x


def cumprod(x: Any, dim: Any, dtype: Any = None) -> Any:
    x = wanted(x, dtype or x.dtype)
    return running(np.multiply, x, axis(int(dim), x.ndim)) if x.ndim else x


def cumsum_v2(x: Any, dim: int, exclusive: bool, reverse: bool) -> Any:
    if not x.ndim:
        return np.zeros_like(x) if exclusive else x
    a = axis(dim, x.ndim)
    source = np.flip(x, a) if reverse else x
    found = running(np.add, source, a)
    if exclusive:
        found = found - source
    return np.flip(found, a) if reverse else found


def cumulative_extreme(function: Any) -> Callable[..., Any]:
    """Running extreme and the index of its last occurrence; NaN, once met, stays."""
    def compute(x: Any, dim: int) -> Any:
        if not x.ndim:
            return x, np.zeros((), np.int64)
        a = axis(dim, x.ndim)
        values = running(function, x, a)
        here = (x == values) | (np.isnan(x) if x.dtype.kind == "f" else False)
        shape = [1] * x.ndim
        shape[a] = -1
        position = np.arange(x.shape[a]).reshape(shape)
        return values, running(np.maximum, np.where(here, position, 0), a)

    return compute


def cumulative_check(x: Any, dim: Any, *_: Any) -> None:
    axis(int(dim), x.ndim)


def exp_segsum(x: Any) -> Any:
    """exp of the sums over i+1..j of the last dimension, 0 above the diagonal."""
    n = x.shape[-1]
    sums = np.cumsum(np.where(np.tri(n, k=-1, dtype=bool), x[..., None], x.dtype.type(0)), axis=-2)
    return np.where(np.tri(n, dtype=bool), np.exp(sums), x.dtype.type(0))


def trace(x: Any) -> Any:
    return np.trace(x, dtype=np.int64 if x.dtype.kind in "iub" else x.dtype)


def two_dims(x: Any) -> None:
    if x.ndim != 2:
        reject(f"self has {x.ndim} dimensions, not 2")


family(define, (
    ("ReduceSum", reduce_sum, "torch.sum"), ("Mean", mean, "torch.mean"), ("ReduceNansum", nansum, "torch.nansum"),
), shape=rules.reduction, result=asked(3), rows=ROWS, one_pass=True, workspace=WORKSPACE)
define("ProdDim", prod_dim, shape=one_dim, result=asked(3), check=checked_axis, workspace=WORKSPACE,
       oracle="torch.prod")
define("Prod", prod, shape=one_element, result=asked(1), workspace=WORKSPACE, oracle="torch.prod of all")
define("MeanV2", no_op_when_empty(sums.mean), shape=no_op_shape, result=rules.first, rows=ROWS,
       workspace=WORKSPACE, oracle="torch.mean")
define("MaxV2", no_op_when_empty(lambda x, over, keep: np.max(x, axis=over, keepdims=keep)), shape=no_op_shape,
       result=rules.first, workspace=WORKSPACE, oracle="torch.amax")
define("ReduceLogSum", no_op_when_empty(lambda x, over, keep: np.log(sums.total(x, over, keep))),
       shape=no_op_shape, result=rules.first, workspace=WORKSPACE, oracle="torch.log of torch.sum")
define("LogSumExp", log_sum_exp, shape=rules.reduction, result=rules.floating, meet=rules.floating, rows=ROWS,
       workspace=WORKSPACE, oracle="torch.logsumexp")
define("Norm", vector_norm, shape=keyed(2, 3), result=rules.first, rows=norm_rows, workspace=WORKSPACE,
       oracle="torch.linalg.vector_norm")
define("LinalgVectorNorm", vector_norm, shape=keyed(2, 3), result=asked(4), rows=norm_rows, optional="dims",
       workspace=WORKSPACE, oracle="torch.linalg.vector_norm")

family(define, (
    ("Amax", extreme(np.max), "torch.amax"), ("Amin", extreme(np.min), "torch.amin"),
), shape=rules.reduction, result=rules.first, rows=ROWS, one_pass=True, check=not_empty, workspace=WORKSPACE)
family(define, (
    ("Any", extreme(np.any), "torch.any"), ("All", extreme(np.all), "torch.all"),
), shape=rules.reduction, result=rules.boolean, rows=ROWS, one_pass=True, workspace=WORKSPACE)
family(define, (
    ("Max", maximum_of_all(np.max), "torch.max"), ("Min", maximum_of_all(np.min), "torch.min"),
    ("Median", median, "torch.median"), ("NanMedian", lambda x: median(x, True), "torch.nanmedian"),
), shape=one_element, result=rules.first, check=not_empty, workspace=WORKSPACE)
family(define, (
    ("ArgMax", arg(np.argmax), "torch.argmax"), ("ArgMin", arg(np.argmin), "torch.argmin"),
), shape=one_dim, result=rules.int64, rows=ROWS, one_pass=True, check=not_empty, workspace=WORKSPACE)
family(define, (
    ("MaxDim", with_index(np.argmax), "torch.max"), ("MinDim", with_index(np.argmin), "torch.min"),
    ("MedianDim", median_dim, "torch.median"), ("NanMedianDim", nan_median_dim, "torch.nanmedian"),
), shape=twice(one_dim), result=value_and_index, rows=ROWS, check=not_empty, workspace=WORKSPACE)
define("Kthvalue", kthvalue, shape=lambda x, k, dim, keep: twice(one_dim)(x, dim, keep), result=value_and_index,
       check=check_k, workspace=WORKSPACE, oracle="torch.kthvalue")
define("Aminmax", aminmax, shape=twice(rules.reduction), result=rules.first, check=not_empty, workspace=WORKSPACE,
       oracle="torch.amin and torch.amax")
define("AminmaxDim", aminmax, shape=twice(one_dim), result=rules.first, check=not_empty, workspace=WORKSPACE,
       oracle="torch.aminmax")
define("AminmaxAll", aminmax, shape=lambda x: ((), ()), result=rules.first, check=not_empty, workspace=WORKSPACE,
       oracle="torch.aminmax")

define("Var", lambda x, dims, unbiased, keep: variance(x, dims, int(unbiased), keep), shape=keyed(1, 3),
       result=rules.first, rows=ROWS, optional="dim", workspace=WORKSPACE, oracle="torch.var")
define("VarCorrection", variance, shape=keyed(1, 3), result=rules.first, rows=ROWS, optional="dim", workspace=WORKSPACE,
       oracle="torch.var")
define("Std", lambda *inputs: np.sqrt(variance(*inputs)), shape=keyed(1, 3), result=rules.first, rows=ROWS,
       optional="dim", workspace=WORKSPACE, oracle="torch.std")
family(define, (
    ("VarMean", var_mean, "torch.var_mean"), ("StdMeanCorrection", std_mean, "torch.std_mean"),
), shape=twice(keyed(1, 3)), result=rules.first, rows=ROWS, optional="dim", workspace=WORKSPACE)

define("Cumsum", cumsum, shape=rules.same, result=asked(2), check=cumulative_check, exact=True, workspace=WORKSPACE,
       oracle="torch.cumsum")
define("CumsumV2", cumsum_v2, shape=rules.same, result=rules.first, check=cumulative_check, exact=True,
       workspace=WORKSPACE, oracle="torch.cumsum, shifted and flipped")
define("Cumprod", cumprod, shape=rules.same, result=asked(2), check=cumulative_check, workspace=WORKSPACE,
       oracle="torch.cumprod")
define("InplaceCumprod", cumprod, shape=rules.same, result=rules.first, check=cumulative_check, workspace=WORKSPACE,
       oracle="torch.cumprod")
family(define, (
    ("Cummax", cumulative_extreme(np.maximum), "torch.cummax"),
    ("Cummin", cumulative_extreme(np.minimum), "torch.cummin"),
), shape=twice(rules.same), result=value_and_index, check=cumulative_check, workspace=WORKSPACE)
define("Trace", trace, shape=rules.scalar, result=rules.summed, check=two_dims, oracle="torch.trace")
define("ExpSegsum", exp_segsum, shape=lambda x: (*x.shape, x.shape[-1]), result=rules.first, workspace=WORKSPACE,
       oracle="torch.cumsum of masked tensors")
