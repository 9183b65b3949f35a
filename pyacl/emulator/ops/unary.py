"""Operators of one tensor, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules, special
from .registry import define, elementwise, family
from .types import C64, C128, COMPLEXES, F32, F64, U8


def rsqrt(x: Any, out: Any = None) -> Any:
    return np.divide(1, np.sqrt(x), out=out)


def reciprocal(x: Any, out: Any = None) -> Any:
    return np.divide(x.dtype.type(1), x, out=out)


def sigmoid(x: Any, out: Any = None) -> Any:
    return np.divide(1, _one_plus_exp_of_minus(x), out=out)


def gated(x: Any, gate: Any, out: Any = None) -> Any:
    """x sigmoid(gate)"""
    return np.divide(x, _one_plus_exp_of_minus(gate), out=out)


def _one_plus_exp_of_minus(x: Any) -> Any:
    y = np.asarray(np.negative(x))
    np.exp(y, out=y)
    y += 1
    return y


def relu(x: Any, out: Any = None) -> Any:
    return np.clip(x, *bounds(x.dtype, low=0), out=out)  # NaN stays


def bounds(dtype: Any, low: Any = None) -> tuple[Any, Any]:
    """The type's own, for numpy's clip: of all its loops between an array and a number it is the fast one."""
    least, most = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return dtype.type(least if low is None else low), dtype.type(most)


def sign(x: Any) -> Any:
    if x.dtype.kind == "b":
        return x.copy()
    return np.subtract(x > 0, x < 0, dtype=np.int8).astype(x.dtype)  # NaN gives 0


def frac(x: Any) -> Any:
    return x - np.trunc(x)


def round_half_even(x: Any, out: Any = None) -> Any:
    return x.copy() if x.dtype.kind in "iub" else np.rint(x, out=out)


def keep_integers(function: Any) -> Any:
    """A rounding function that leaves integers as they are."""
    def compute(x: Any, out: Any = None) -> Any:
        return x.copy() if x.dtype.kind in "iub" else function(x, out=out)

    return compute


def silu(x: Any, out: Any = None) -> Any:
    return gated(x, x, out)


def nan_to_num(x: Any, nan: float, posinf: float, neginf: float) -> Any:
    if x.dtype.kind in "iub":
        return x.copy()
    if np.isfinite(x).all():
        return x
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


def sinc(x: Any) -> Any:
    return np.sinc(x).astype(x.dtype)


def ndtri(x: Any) -> Any:
    """The quantile function of the normal distribution."""
    return (np.sqrt(2) * special.erfinv(2 * x - 1)).astype(x.dtype)


def digamma(x: Any) -> Any:
    return special.digamma(x)


def round_decimals(x: Any, decimals: int) -> Any:
    """Half to even after scaling; integers stay as they are, for a negative number of decimals too."""
    if x.dtype.kind in "iub":
        return x.copy()
    if decimals == 0:
        return np.rint(x)
    scale = x.dtype.type(10.0 ** abs(decimals))
    return np.rint(x * scale) / scale if decimals > 0 else np.rint(x / scale) * scale


def angle(x: Any) -> Any:
    return np.angle(x) if x.dtype.kind == "c" else np.where(np.isnan(x), x, np.where(x < 0, np.pi, 0)).astype(x.dtype)


def real_type(x: Any) -> Any:
    return F32 if x.dtype == C64 else F64 if x.dtype == C128 else rules.floating(x)


def magnitude(x: Any, *_: Any) -> Any:
    return real_type(x) if x.dtype in COMPLEXES else x.dtype


def sign_bits_pack(x: Any, size: int) -> Any:
    """A bit for each element, 1 where it is not negative, eight a byte, the first in the lowest; 0 fills up."""
    return np.packbits(x >= 0, bitorder="little").reshape(size, -1)


def pack_shape(x: Any, size: int) -> Any:
    count = -(-x.size // 8)
    if x.ndim != 1 or size <= 0 or count % size:
        rules.reject(f"self has {x.ndim} dimensions, not 1, or its {count} bytes do not divide by size {size}")
    return (size, count // size)


def sign_bits_unpack(x: Any, size: int, dtype: Any) -> Any:
    return np.where(np.unpackbits(x, bitorder="little"), 1, -1).astype(dtype).reshape(size, -1)


def unpack_shape(x: Any, size: int, dtype: Any) -> Any:
    if x.ndim != 1 or size <= 0 or 8 * x.size % size:
        rules.reject(f"self has {x.ndim} dimensions, not 1, or its {8 * x.size} bits do not divide by size {size}")
    return (size, 8 * x.size // size)


# Integers and bool become float32.
family(elementwise, (
    ("Sin", np.sin, "torch.sin"), ("Cos", np.cos, "torch.cos"), ("Tan", np.tan, "torch.tan"),
    ("Asin", np.arcsin, "torch.asin"), ("Acos", np.arccos, "torch.acos"), ("Atan", np.arctan, "torch.atan"),
    ("Sinh", np.sinh, "torch.sinh"), ("Cosh", np.cosh, "torch.cosh"), ("Tanh", np.tanh, "torch.tanh"),
    ("Asinh", np.arcsinh, "torch.asinh"), ("Acosh", np.arccosh, "torch.acosh"), ("Atanh", np.arctanh, "torch.atanh"),
    ("Exp", np.exp, "torch.exp"), ("Exp2", np.exp2, "torch.exp2"), ("Expm1", np.expm1, "torch.expm1"),
    ("Log", np.log, "torch.log"), ("Log2", np.log2, "torch.log2"), ("Log10", np.log10, "torch.log10"),
    ("Log1p", np.log1p, "torch.log1p"), ("Sqrt", np.sqrt, "torch.sqrt"), ("Rsqrt", rsqrt, "torch.rsqrt"),
    ("Reciprocal", reciprocal, "torch.reciprocal"), ("Sigmoid", sigmoid, "torch.sigmoid"),
    ("Erf", special.erf, "torch.erf"), ("Erfc", special.erfc, "torch.erfc"), ("Erfinv", special.erfinv, "torch.erfinv"),
    ("Lgamma", special.lgamma, "torch.lgamma"), ("Digamma", digamma, "torch.digamma"), ("Sinc", sinc, "torch.sinc"),
    ("Ndtri", ndtri, "torch.special.ndtri"), ("AsinhV2 AsinhWithAgent", np.arcsinh, "torch.asinh"),
    ("AsinWithAgent", np.arcsin, "torch.asin"),
), meet=rules.floating)

# The result has the input's type.
family(elementwise, (
    ("Neg", np.negative, "torch.neg"), ("Square", np.square, "torch.square"),
    ("Sign", sign, "torch.sign"), ("Silu", silu, "torch.nn.functional.silu"),
    ("Floor", keep_integers(np.floor), "torch.floor"), ("Ceil", keep_integers(np.ceil), "torch.ceil"),
    ("Trunc", keep_integers(np.trunc), "torch.trunc"), ("Frac", frac, "torch.frac"),
    ("Round", round_half_even, "torch.round"), ("BitwiseNot", np.invert, "torch.bitwise_not"),
))

elementwise("Relu", relu, one_pass=True, oracle="torch.relu")
elementwise("Abs", np.absolute, result=magnitude, oracle="torch.abs")
elementwise("RoundDecimals", round_decimals, promote=(0,), oracle="torch.round")
elementwise("AngleV2", angle, meet=rules.floating, result=real_type, oracle="torch.angle")
define("Real", lambda x: x.real, shape=rules.same, result=real_type, oracle="torch.real")
elementwise("NanToNum", nan_to_num, promote=(0,), oracle="torch.nan_to_num")

# The result is bool.
family(elementwise, (
    ("LogicalNot", np.logical_not, "torch.logical_not"), ("IsFinite", np.isfinite, "torch.isfinite"),
    ("IsInf", np.isinf, "torch.isinf"), ("IsPosInf", np.isposinf, "torch.isposinf"),
    ("IsNegInf", np.isneginf, "torch.isneginf"), ("Signbit", np.signbit, "torch.signbit"),
), result=rules.boolean)

define("SignBitsPack", sign_bits_pack, shape=pack_shape, result=lambda *_: U8, exact=True, oracle="bit by bit")
define("SignBitsUnpack", sign_bits_unpack, shape=unpack_shape, result=lambda x, size, dtype: dtype, exact=True,
       oracle="bit by bit")
