"""Operators of two tensors, or of a tensor and a scalar, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .registry import elementwise, family


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


def div_result(x: Any, y: Any, mode: int) -> Any:
    return rules.floating(x, y) if mode == 0 else rules.common(x, y)


def power(x: Any, y: Any, out: Any = None) -> Any:
    kind = np.result_type(x, y).kind
    if kind == "b":
        return np.logical_or(x, np.logical_not(y))
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


def multiply(x: Any, y: Any, out: Any = None) -> Any:
    return np.multiply(x, y, out=out)


def clamp(x: Any, low: Any, high: Any, out: Any = None) -> Any:
    """Where low > high the result is high."""
    if low is not None:
        x = np.maximum(x, low, out=None if high is not None else out)
    return x if high is None else np.minimum(x, high, out=out)


elementwise("Add Adds AddV3", add, promote=(0, 1), oracle="torch.add")
elementwise("Sub Subs", sub, promote=(0, 1), oracle="torch.sub")
elementwise("Rsub Rsubs", rsub, promote=(0, 1), oracle="torch.rsub")
elementwise("Mul Muls", multiply, oracle="torch.mul")
elementwise("Div Divs", np.divide, meet=rules.floating, oracle="torch.div")
elementwise("Maximum", np.maximum, oracle="torch.maximum")
elementwise("Minimum", np.minimum, oracle="torch.minimum")
elementwise("PowTensorTensor PowTensorScalar PowScalarTensor", power, oracle="torch.pow")
elementwise("Clamp ClampTensor", clamp, optional="clipValueMin clipValueMax", oracle="torch.clamp")
elementwise("ClampMin ClampMinTensor", np.maximum, oracle="torch.clamp_min")
elementwise("ClampMax ClampMaxTensor", np.minimum, oracle="torch.clamp_max")

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
