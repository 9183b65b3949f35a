"""Operators of two tensors, or of a tensor and a scalar, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...capi import lib
from . import rules
from .choice import choose
from .registry import define, elementwise, family
from .types import BF16, BOOL, C64, C128, COMPLEXES, DTYPES, F32, F64, INTEGERS
from .unary import bounds


def add(x: Any, y: Any, alpha: Any, out: Any = None) -> Any:
    return np.add(x, y if alpha == 1 else np.multiply(y, alpha), out=out)


def sub(x: Any, y: Any, alpha: Any, out: Any = None) -> Any:
    return np.subtract(x, y if alpha == 1 else np.multiply(y, alpha), out=out)


def rsub(x: Any, y: Any, alpha: Any, out: Any = None) -> Any:
    return sub(y, x, alpha, out)


def div_mod(x: Any, y: Any, mode: int) -> Any:
    """mode 0: true division, 1: towards zero, 2: floor."""
    if mode == 0:
        return np.divide(x, y)
    if mode == 2:
        return np.floor_divide(x, y) if np.result_type(x, y).kind in "iub" else np.floor(np.divide(x, y))
    if np.result_type(x, y).kind in "iub":
        q = np.floor_divide(x, y)
        return q + ((q < 0) & (q * y != x)).astype(q.dtype)
    return np.trunc(np.divide(x, y))


def check_mode(x: Any, y: Any, mode: int) -> None:
    if mode not in (0, 1, 2):
        rules.reject(f"mode is {mode}: choose 0 for none, 1 for trunc, 2 for floor")
    if mode and rules.common(x, y) in COMPLEXES:
        rules.reject("complex quotients are not rounded: mode must be 0")


def div_result(x: Any, y: Any, mode: int) -> Any:
    return rules.floating(x, y) if mode == 0 else rules.common(x, y)


def power(x: Any, y: Any, out: Any = None) -> Any:
    kind = np.result_type(x, y).kind
    if kind in "iu":
        # A negative exponent leaves only 1 and -1 something other than 0.
        base, exponent = np.broadcast_arrays(x, y)
        negative = exponent < 0
        result = np.power(base, np.where(negative, 0, exponent))
        if negative.any():
            odd = exponent % 2 == 1
            small = np.where(base == 1, 1, np.where(base == -1, np.where(odd, -1, 1), 0))
            result = np.where(negative, small, result).astype(result.dtype)
        return result
    return np.power(x, y, out=out)


def check_exponent(x: Any, exponent: Any) -> None:
    not_both_bool(x, exponent)
    met = rules.common(x, exponent)
    if met in INTEGERS and not 0 <= int(exponent) <= np.iinfo(met).max:
        rules.reject(f"exponent {exponent} is negative or outside of {met}, the common type")


def not_both_bool(x: Any, y: Any) -> None:
    if x.dtype == y.dtype == BOOL:
        rules.reject("self and exponent are both ACL_BOOL")


def a_bound(x: Any, low: Any, high: Any) -> None:
    if low is None and high is None:
        rules.reject("clipValueMin and clipValueMax are both NULL", lib.ACLNN_ERR_PARAM_NULLPTR)


def clamp(x: Any, low: Any, high: Any, out: Any = None) -> Any:
    """Where low > high the result is high."""
    least, most = bounds(x.dtype)
    return np.clip(x, least if low is None else low, most if high is None else high, out=out)


def clamp_min(x: Any, low: Any, out: Any = None) -> Any:
    return clamp(x, low, None, out)


def clamp_max(x: Any, high: Any, out: Any = None) -> Any:
    return clamp(x, None, high, out)


def floor_divide(x: Any, y: Any) -> Any:
    return div_mod(x, y, 2)


def remainder(x: Any, y: Any) -> Any:
    """The sign is that of y; of an integer by 0 the integer itself."""
    found = np.remainder(x, y)
    return np.where(y == 0, x, found).astype(found.dtype) if found.dtype.kind in "iu" else found


def muls_type(x: Any, y: Any) -> Any:
    """A number beside bfloat16 stays a float32; beside float16 it is rounded to it."""
    found = rules.common(x, y)
    return F32 if found == BF16 else found


def xlogy(x: Any, y: Any) -> Any:
    """0 where x is 0, unless y is NaN."""
    return np.where((x == 0) & ~np.isnan(y), 0, x * np.log(y)).astype(np.result_type(x, y))


def xlog1py(x: Any, y: Any) -> Any:
    return np.where((x == 0) & ~np.isnan(y), 0, x * np.log1p(y)).astype(np.result_type(x, y))


def mul_no_nan(x: Any, y: Any) -> Any:
    """0 where y is 0, whatever x is."""
    return np.where(y == 0, 0, x * y).astype(np.result_type(x, y))


def lerp(start: Any, end: Any, weight: Any, out: Any = None) -> Any:
    return np.add(start, weight * (end - start), out=out)


def addcmul(x: Any, a: Any, b: Any, value: Any, out: Any = None) -> Any:
    return np.add(x, a * b * value, out=out)


def addcdiv(x: Any, a: Any, b: Any, value: Any) -> Any:
    quotient = np.divide(a, b)
    return x + quotient * value


def isclose(x: Any, y: Any, rtol: float, atol: float, equal_nan: bool) -> Any:
    if np.result_type(x, y).kind in "iub":
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return np.isclose(x, y, rtol, atol, equal_nan)


def approximate_equal(x: Any, y: Any, tolerance: float) -> Any:
    return np.abs(x - y) < tolerance


def heaviside(x: Any, values: Any) -> Any:
    return np.where(x > 0, 1, np.where(x == 0, values, 0)).astype(x.dtype)


def where(condition: Any, x: Any, y: Any) -> Any:
    return choose(condition.astype(bool), x, y)


def complex_of(real: Any, imaginary: Any) -> Any:
    return real + 1j * imaginary.astype(real.dtype) if real.dtype == np.float64 else \
        (real + np.complex64(1j) * imaginary).astype(np.complex64)


def polar(magnitude: Any, angle: Any) -> Any:
    return complex_of(magnitude * np.cos(angle), magnitude * np.sin(angle))


def complex_result(real: Any, _: Any) -> Any:
    return C128 if real.dtype == F64 else C64


def aligned(x: Any, part: Any, dim: int) -> Any:
    """`part` with its first dimension at `dim` of x."""
    return part.reshape(*part.shape, *[1] * (x.ndim - rules.axis(dim, x.ndim) - part.ndim))


def scale(x: Any, factor: Any, bias: Any, dim: int, count: int, from_blob: bool) -> Any:
    found = x * aligned(x, factor, dim)
    return found if bias is None else found + aligned(x, bias, dim)


def check_scale(x: Any, factor: Any, bias: Any, dim: int, count: int, from_blob: bool) -> None:
    first = rules.axis(dim, x.ndim)
    length = (x.ndim - first if count == -1 else count) if from_blob else factor.ndim
    want = tuple(x.shape[first:first + length])
    if tuple(factor.shape) != want or bias is not None and tuple(bias.shape) != want:
        rules.reject(f"scale of shape {list(factor.shape)}, or bias, is not {list(want)}, x's dimensions from {dim} on")


def fold(function: Any) -> Any:
    """A list of tensors combined one after the other."""
    def compute(tensors: list[Any]) -> Any:
        found = tensors[0]
        for tensor in tensors[1:]:
            found = function(found, tensor)
        return found

    return compute


def list_shape(tensors: Any) -> Any:
    return rules.broadcast(*tensors)


def equal(x: Any, y: Any) -> Any:
    return np.array([x.shape == y.shape and bool((x == y).all())])


def precision_compare(golden: Any, found: Any) -> Any:
    """0, or 503 where an element differs."""
    return np.uint32(0 if (golden == found).all() else 503)


def precision_shape(golden: Any, found: Any) -> Any:
    if golden.dtype != found.dtype or golden.shape != found.shape:
        rules.reject(f"golden {golden.dtype} {list(golden.shape)} and realdata {found.dtype} {list(found.shape)} must "
                     "have the same type and shape")
    return ()


elementwise("Add Adds AddV3", add, promote=(0, 1), one_pass=True, oracle="torch.add")
elementwise("Sub Subs", sub, promote=(0, 1), one_pass=True, oracle="torch.sub")
elementwise("Rsub Rsubs", rsub, promote=(0, 1), one_pass=True, oracle="torch.rsub")
elementwise("Mul", np.multiply, oracle="torch.mul")
elementwise("Muls", np.multiply, meet=muls_type, result=rules.common, oracle="torch.mul")
elementwise("Div Divs", np.divide, meet=rules.floating, oracle="torch.div")
elementwise("Maximum", np.maximum, oracle="torch.maximum")
elementwise("Minimum", np.minimum, oracle="torch.minimum")
elementwise("PowTensorTensor PowScalarTensor", power, check=not_both_bool, oracle="torch.pow")
elementwise("PowTensorScalar", power, check=check_exponent, oracle="torch.pow")
elementwise("Clamp ClampTensor", clamp, check=a_bound, optional="clipValueMin clipValueMax", oracle="torch.clamp")
elementwise("ClampMin", clamp_min, one_pass=True, oracle="torch.clamp_min")
elementwise("ClampMax", clamp_max, one_pass=True, oracle="torch.clamp_max")
elementwise("ClampMinTensor", np.maximum, oracle="torch.clamp_min")
elementwise("ClampMaxTensor", np.minimum, oracle="torch.clamp_max")

family(elementwise, (
    ("EqTensor EqScalar", np.equal, "torch.eq"), ("NeTensor NeScalar", np.not_equal, "torch.ne"),
    ("LtTensor LtScalar", np.less, "torch.lt"), ("LeTensor LeScalar", np.less_equal, "torch.le"),
    ("GtTensor GtScalar", np.greater, "torch.gt"), ("GeTensor GeScalar", np.greater_equal, "torch.ge"),
    ("LogicalAnd", np.logical_and, "torch.logical_and"), ("LogicalOr", np.logical_or, "torch.logical_or"),
    ("LogicalXor", np.logical_xor, "torch.logical_xor"),
), result=rules.boolean)

family(elementwise, (
    ("BitwiseAndTensor BitwiseAndScalar BitwiseAndTensorOut", np.bitwise_and, "torch.bitwise_and"),
    ("BitwiseOrTensor BitwiseOrScalar", np.bitwise_or, "torch.bitwise_or"),
    ("BitwiseXorTensor BitwiseXorScalar", np.bitwise_xor, "torch.bitwise_xor"),
))

elementwise("DivMod DivMods DivV3", div_mod, promote=(0, 1), check=check_mode, result=div_result,
            oracle="torch.div_mod")
elementwise("FloorDivide FloorDivides", floor_divide, oracle="torch.floor_divide")
elementwise("RemainderTensorTensor RemainderTensorScalar RemainderScalarTensor", remainder, oracle="torch.remainder")
elementwise("FmodTensor FmodScalar", np.fmod, oracle="torch.fmod")

family(elementwise, (
    ("XLogYTensor XLogYScalarOther XLogYScalarSelf", xlogy, "torch.xlogy"),
    ("Xlog1py", xlog1py, "torch.special.xlog1py"), ("Atan2", np.arctan2, "torch.atan2"),
    ("LogAddExp", np.logaddexp, "torch.logaddexp"), ("LogAddExp2", np.logaddexp2, "torch.logaddexp2"),
), meet=rules.floating)

family(elementwise, (
    ("Lerp Lerps", lerp, "torch.lerp"), ("Addcmul", addcmul, "torch.addcmul"), ("Addcdiv", addcdiv, "torch.addcdiv"),
), promote=(0, 1, 2))

family(elementwise, (
    ("MulNoNan", mul_no_nan, "0 where y is 0"), ("Heaviside", heaviside, "torch.heaviside"),
    ("Gcd", np.gcd, "torch.gcd"), ("LeftShift LeftShifts", np.left_shift, "torch.bitwise_left_shift"),
    ("RightShift", np.right_shift, "torch.bitwise_right_shift"),
))

elementwise("IsClose", isclose, result=rules.boolean, oracle="torch.isclose")
elementwise("ApproximateEqual", approximate_equal, result=rules.boolean, oracle="|x - y| < tolerance")
elementwise("SWhere", where, promote=(1, 2), dtypes={"condition": "bool u8"}, oracle="torch.where")
elementwise("Complex", complex_of, result=complex_result, oracle="torch.complex")
elementwise("Polar", polar, result=complex_result, oracle="torch.polar")

family(define, (
    ("AddN Sum SumV2", fold(np.add), "torch sum of a list"), ("MaxN", fold(np.maximum), "torch.maximum of a list"),
    ("MinN", fold(np.minimum), "torch.minimum of a list"),
), shape=list_shape, result=rules.common, meet=rules.common)
define("Equal", equal, shape=lambda *_: (1,), result=rules.boolean, meet=rules.common, oracle="torch.equal")
define("Scale", scale, shape=rules.same, result=rules.first, check=check_scale, optional="bias",
       oracle="torch.mul and torch.add")
define("PrecisionCompare", precision_compare, raw=True, shape=precision_shape, result=lambda *_: DTYPES["u32"],
       exact=True, oracle="torch.equal")
