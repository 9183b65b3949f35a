"""Reductions and cumulative operators."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.types import DTYPES

from ..oracle import Draw, Oracle, torch

FLOATS = "f32 f32 f16 bf16"
NUMBERS = "f32 f32 f16 bf16 f64 s32 s64 s16 s8 u8"
WIDER = {"f16": "f32", "bf16": "f32", "s8": "s32", "u8": "s64", "s32": "s64"}


def dims_of(d: Draw, x: Any, optional: bool = False) -> Any:
    found = d.axes(x.ndim, 0)
    return None if optional and d.flag() else found


def over(d: Draw, names: str = NUMBERS, **how: Any) -> list[Any]:
    """(self, dims, keepDim)"""
    x = d.array(d.shape(), d.dtype(names), **how)
    return [x, dims_of(d, x), d.flag()]


def with_dtype(names: str, position: int, **how: Any) -> Any:
    """(self, ..., dtype): the same type, or a wider one."""
    def draw(d: Draw) -> list[Any]:
        name = d.choice(names.split())
        x, dims, keep = over(d, name, **how)
        dtype = DTYPES[name if d.flag() else WIDER.get(name, name)]
        return [x, d.axis(x.ndim) if position == 2 else dims, keep, dtype]

    return draw


def typed(function: Any) -> Any:
    """A reduction in the type asked for; halves are summed in float32 and rounded."""
    def call(x: Any, dims: Any, keep: bool, dtype: Any) -> Any:
        half = dtype in (torch.float16, torch.bfloat16)
        found = function(x.to(torch.float32 if half else dtype), dims, keep)
        return found.to(dtype)

    return call


def every(x: Any, dims: Any) -> Any:
    return tuple(dims) if dims else tuple(range(x.ndim))


def one(names: str = NUMBERS, **how: Any) -> Any:
    """(self, dim, keepDim), without equal values where an index is asked for."""
    return lambda d: [x := d.array(d.shape(1), d.dtype(names), **how), d.axis(x.ndim), d.flag()]


def alone(names: str = NUMBERS, **how: Any) -> Any:
    return lambda d: [d.array(d.shape(), d.dtype(names), **how)]


def first(function: Any) -> Any:
    return lambda x: function(x).reshape(1)


def norms(d: Draw, *dtype: Any) -> list[Any]:
    x, dims, keep = over(d, FLOATS)
    order = d.choice([0.0, 1.0, 2.0, 3.0, 0.5, np.inf, -np.inf])
    return [x, np.float32(order), dims, keep, *dtype]


def vector_norms(d: Draw) -> list[Any]:
    values = norms(d)
    return [*values, values[0].dtype]


def norm(x: Any, p: float, dims: Any, keep: bool, dtype: Any = None) -> Any:
    found = torch.linalg.vector_norm(x, p, every(x, dims) or None, keep)
    return found if dtype is None else found.to(dtype)


def noop(d: Draw) -> list[Any]:
    return [*over(d, FLOATS, low=0.5, high=3), d.flag()]


def unless_noop(function: Any) -> Any:
    return lambda x, dims, keep, flag: x if flag and not dims else function(x, every(x, dims), keep)


def corrected(d: Draw) -> list[Any]:
    x = d.array(d.shape(1), d.dtype(FLOATS))
    return [x, dims_of(d, x, optional=True), d.integer(0, 1), d.flag()]


def unbiased(d: Draw) -> list[Any]:
    x, dims, correction, keep = corrected(d)
    return [x, dims, bool(correction), keep]


def variance(function: Any) -> Any:
    return lambda x, dims, correction, keep: function(x, every(x, dims), correction=int(correction), keepdim=keep)


def cumulative(names: str, *rest: str) -> Any:
    def draw(d: Draw) -> list[Any]:
        x = d.array(d.shape(), d.dtype(names), -2, 2)
        values: list[Any] = [x, np.int64(d.axis(x.ndim)) if "scalar" in rest else d.axis(x.ndim)]
        if "dtype" in rest:
            values.append(x.dtype)
        if "flags" in rest:
            values += [d.flag(), d.flag()]
        return values

    return draw


def cumsum_v2(x: Any, dim: int, exclusive: bool, reverse: bool) -> Any:
    if not x.ndim:
        return x * 0 if exclusive else x
    y = x.flip(dim) if reverse else x
    found = torch.cumsum(y, dim, dtype=y.dtype)
    if exclusive:
        found = found.roll(1, dim).index_fill(dim, torch.tensor([0]), 0)
    return found.flip(dim) if reverse else found


def cumprod(x: Any, dim: int, dtype: Any = None) -> Any:
    return torch.cumprod(x, dim, dtype=torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype or x.dtype)


def kth(d: Draw) -> list[Any]:
    x = d.array(d.shape(1), d.dtype("f32 f16 s32 s64"), -100, 100, distinct=True)
    dim = d.axis(x.ndim)
    return [x, d.integer(1, x.shape[dim]), dim, d.flag()]


def zeros_and_ones(d: Draw) -> list[Any]:
    return over(d, low=0, high=1)


def exp_segsum(x: Any) -> Any:
    n = x.shape[-1]
    below = torch.ones(n, n, dtype=torch.bool).tril(-1)
    sums = x[..., None].expand(*x.shape, n).masked_fill(~below, 0).cumsum(-2)
    return sums.masked_fill(~torch.ones(n, n, dtype=torch.bool).tril(), -torch.inf).exp()


ORACLES = {
    "ExpSegsum": Oracle(exp_segsum, lambda d: [d.array(d.shape(3, 4), d.dtype("f32 f16"), -1, 1)], atol=1e-5),
    "ReduceSum": Oracle(typed(lambda x, dims, keep: torch.sum(x, every(x, dims), keep, dtype=x.dtype)),
                        with_dtype(NUMBERS, 1), rtol=1e-4, atol=1e-5),
    "Mean": Oracle(typed(lambda x, dims, keep: torch.mean(x, every(x, dims), keep)), with_dtype(FLOATS + " f64", 1),
                   atol=1e-5),
    "ReduceNansum": Oracle(typed(lambda x, dims, keep: torch.nansum(x, every(x, dims), keep)),
                           with_dtype(FLOATS, 1, special=True), rtol=1e-4, atol=1e-5),
    "ProdDim": Oracle(typed(lambda x, dim, keep: torch.prod(x, dim, keep, dtype=x.dtype)), with_dtype(NUMBERS, 2),
                      rtol=1e-4),
    "Prod": Oracle(lambda x, dtype: torch.prod(x, dtype=torch.float32 if dtype.itemsize == 2 and x.is_floating_point()
                                               else dtype).reshape(1).to(dtype),
                   lambda d: [x := d.array(d.shape(0, 2, 3), d.dtype(NUMBERS), -2, 2), x.dtype], rtol=1e-4),
    "MeanV2": Oracle(unless_noop(torch.mean), noop, atol=1e-5),
    "MaxV2": Oracle(unless_noop(torch.amax), noop),
    "ReduceLogSum": Oracle(unless_noop(lambda x, dims, keep: torch.log(torch.sum(x, dims, keep))), noop, atol=1e-5),
    "torch.logsumexp": Oracle(lambda x, dims, keep: torch.logsumexp(x if x.is_floating_point() else x.float(),
                                                                    every(x, dims), keep),
                              lambda d: over(d, FLOATS, special=True), atol=1e-5),
    "Norm": Oracle(norm, norms, rtol=1e-4, atol=1e-5),
    "LinalgVectorNorm": Oracle(norm, vector_norms, rtol=1e-4, atol=1e-5),
    "torch.amax": Oracle(lambda x, dims, keep: torch.amax(x, every(x, dims), keep), lambda d: over(d, special=True)),
    "torch.amin": Oracle(lambda x, dims, keep: torch.amin(x, every(x, dims), keep), lambda d: over(d, special=True)),
    "torch.any": Oracle(lambda x, dims, keep: torch.any(x != 0, every(x, dims), keep), zeros_and_ones),
    "torch.all": Oracle(lambda x, dims, keep: torch.all(x != 0, every(x, dims), keep), zeros_and_ones),
    "Max": Oracle(first(torch.max), alone(special=True)),
    "Min": Oracle(first(torch.min), alone(special=True)),
    "Median": Oracle(first(torch.median), alone("f32 f16 s32 s64 u8", special=True)),
    "NanMedian": Oracle(first(torch.nanmedian), alone("f32 f16 s32 s64 u8", special=True)),
    "ArgMax": Oracle(torch.argmax, one("f32 f16 s32 s64", low=-100, high=100, distinct=True)),
    "ArgMin": Oracle(torch.argmin, one("f32 f16 s32 s64", low=-100, high=100, distinct=True)),
    "MaxDim": Oracle(torch.max, one("f32 f16 bf16 s32 s64", low=-100, high=100, distinct=True)),
    "MinDim": Oracle(torch.min, one("f32 f16 bf16 s32 s64", low=-100, high=100, distinct=True)),
    "MedianDim": Oracle(torch.median, one("f32 f16 s32 s64", low=-100, high=100, distinct=True)),
    "NanMedianDim": Oracle(torch.nanmedian, one("f32 f16 s32 s64", low=-100, high=100, distinct=True)),
    "Kthvalue": Oracle(torch.kthvalue, kth),
    "Aminmax": Oracle(lambda x, dims, keep: (torch.amin(x, every(x, dims), keep), torch.amax(x, every(x, dims), keep)),
                      over),
    "AminmaxDim": Oracle(lambda x, dim, keep: tuple(torch.aminmax(x, dim=dim, keepdim=keep)), one()),
    "AminmaxAll": Oracle(lambda x: tuple(torch.aminmax(x)), alone()),
    "Var": Oracle(variance(torch.var), unbiased, rtol=1e-4, atol=1e-5),
    "VarCorrection": Oracle(variance(torch.var), corrected, rtol=1e-4, atol=1e-5),
    "Std": Oracle(variance(torch.std), corrected, rtol=1e-4, atol=1e-5),
    "VarMean": Oracle(variance(torch.var_mean), corrected, rtol=1e-4, atol=1e-5),
    "StdMeanCorrection": Oracle(variance(torch.std_mean), corrected, rtol=1e-4, atol=1e-5),
    "Cumsum": Oracle(lambda x, dim, dtype: torch.cumsum(x, dim, dtype=x.dtype), cumulative(NUMBERS, "dtype"),
                     atol=1e-5),
    "CumsumV2": Oracle(cumsum_v2, cumulative(NUMBERS, "flags"), atol=1e-5),
    "Cumprod": Oracle(cumprod, lambda d: cumulative(NUMBERS, "scalar")(d) + ([] if d.inplace else [None]), atol=1e-5),
    "Cummax": Oracle(torch.cummax, cumulative("f32 f16 s32 s64")),
    "Cummin": Oracle(torch.cummin, cumulative("f32 f16 s32 s64")),
    "Trace": Oracle(torch.trace, lambda d: [d.array(d.shape(2, 2), d.dtype("f32 s32 s64 f16"))], atol=1e-5),
}
