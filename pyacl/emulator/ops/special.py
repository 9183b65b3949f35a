"""Special functions that numpy lacks: erf, erfc, erfinv, lgamma, digamma. Vectorised, to double precision.

`erfc` is ``t exp(-x^2 + P(t))`` with ``t = 2 / (2 + |x|)``; the polynomial P interpolates the standard library's erfc
once, at its first use, so no table of coefficients has to be trusted.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

_DEGREE = {8: 30, 4: 14}  # by the size of the result's elements
_NEAR = 0.5  # below, erf is summed as a series: 1 - erfc would lose digits


@cache
def _polynomial(itemsize: int) -> Any:
    def target(u: Any) -> Any:
        # u in [-1, 1] is t in (0, 1]; erfc underflows where t is small, there its asymptotic series serves.
        found = []
        for t in (np.asarray(u) + 1) / 2:
            x = 2 / t - 2
            if x < 20:
                value = math.log(math.erfc(x)) + x * x - math.log(t)
            else:
                series = sum((-1) ** n * math.prod(range(1, 2 * n, 2)) / (2 * x * x) ** n for n in range(12))
                value = math.log(series / (x * math.sqrt(math.pi))) - math.log(t)
            found.append(value)
        return np.array(found)

    return np.polynomial.chebyshev.chebinterpolate(target, _DEGREE[max(itemsize, 4)])


def _evaluate(coefficients: Any, u: Any) -> Any:
    """Clenshaw's recurrence, in place."""
    b1, b2 = np.zeros_like(u), np.zeros_like(u)
    twice = 2 * u
    for c in coefficients[:0:-1]:
        b2 *= -1
        b2 += twice * b1
        b2 += c
        b1, b2 = b2, b1
    return u * b1 - b2 + coefficients[0]


def _double(x: Any) -> tuple[Any, Any]:
    x = np.asarray(x)
    return x.astype(np.float64), x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)


def _erfc(x: Any, itemsize: int = 8) -> Any:
    size = np.abs(x)
    t = 2 / (2 + size)
    value = t * np.exp(-size * size + _evaluate(_polynomial(itemsize), 2 * t - 1))
    return np.where(x < 0, 2 - value, value)


def _erf(x: Any, itemsize: int = 8) -> Any:
    result = 1 - _erfc(x, itemsize)
    near = np.abs(x) < _NEAR
    if near.any():
        small = x[near]
        square = small * small
        term = small * (2 / math.sqrt(math.pi))
        total = term.copy()
        for n in range(1, 16 if itemsize == 8 else 8):
            term = term * -square / n
            total += term / (2 * n + 1)
        result[near] = total
    return result


_STEP = 1024  # points of erf's table to the unit


@cache
def _table() -> tuple[Any, Any]:
    """erf and its derivative (to the point) at the multiples of 1 / _STEP up to 4, where float32 reaches 1."""
    points = [i / _STEP for i in range(4 * _STEP + 1)]
    slopes = [2 / math.sqrt(math.pi) * math.exp(-p * p) / _STEP for p in points]
    return np.array([math.erf(p) for p in points], np.float32), np.array(slopes, np.float32)


def _erf_single(x: Any) -> Any:
    """float32: the Taylor series of second order about the nearest point of the table; what it leaves out is 1e-10."""
    values, slopes = _table()
    place = np.abs(x)
    np.minimum(place, np.float32(4), out=place)
    place *= np.float32(_STEP)
    near = np.rint(place)
    with np.errstate(invalid="ignore"):
        index = near.astype(np.intp)  # of NaN it is out of range, and clipped
    place -= near
    near *= place
    near *= np.float32(-1 / _STEP**2)
    near += np.float32(1)
    near *= place
    near *= slopes.take(index, mode="clip")
    near += values.take(index, mode="clip")
    return np.copysign(near, x, out=near)


def erf(x: Any) -> Any:
    """The error function."""
    if getattr(x, "dtype", None) == np.float32 and np.ndim(x):
        return _erf_single(x)
    value, dtype = _double(x)
    return _erf(np.atleast_1d(value), dtype.itemsize).reshape(value.shape).astype(dtype)


def erfc(x: Any) -> Any:
    """1 - erf(x), without losing digits where x is large."""
    value, dtype = _double(x)
    return np.asarray(_erfc(value, dtype.itemsize)).astype(dtype)


def erfinv(x: Any) -> Any:
    """The inverse of erf: infinite at -1 and 1, NaN outside."""
    value, dtype = _double(x)
    value = np.atleast_1d(value)
    with np.errstate(all="ignore"):
        # A first guess from the logarithm of 1 - x^2, then Halley's steps.
        log = np.log1p(-value * value)
        a = 0.147
        half = 2 / (math.pi * a) + log / 2
        y = np.copysign(np.sqrt(np.sqrt(half * half - log / a) - half), value)
        for _ in range(3):
            # Far out the difference of erfc is exact where that of erf is not.
            error = np.where(np.abs(value) < 0.5, _erf(y) - value,
                             np.copysign(1.0, value) * ((1 - np.abs(value)) - _erfc(np.abs(y))))
            step = error / (2 / math.sqrt(math.pi) * np.exp(-y * y))
            y = y - step / (1 + y * step)
        y = np.where(np.abs(value) == 1, np.copysign(np.inf, value), np.where(np.abs(value) > 1, np.nan, y))
        y = np.where(value == 0, value, y)
    return y.reshape(np.shape(x)).astype(dtype)


def lgamma(x: Any) -> Any:
    """The logarithm of the gamma function's absolute value."""
    value, dtype = _double(x)
    with np.errstate(all="ignore"):
        reflect = value < 0.5
        z = np.where(reflect, 1 - value, value)
        shifted = z + 8
        product = np.ones_like(z)
        for k in range(8):
            product = product * (z + k)
        inverse = 1 / shifted
        square = inverse * inverse
        series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188))))
        result = (shifted - 0.5) * np.log(shifted) - shifted + 0.5 * math.log(2 * math.pi) + series - np.log(product)
        mirrored = math.log(math.pi) - np.log(np.abs(np.sin(math.pi * np.remainder(value, 2)))) - result
        result = np.where(reflect, mirrored, result)
        result = np.where((value <= 0) & (value == np.floor(value)) | np.isinf(value), np.inf, result)
    return result.astype(dtype)


def digamma(x: Any) -> Any:
    """The logarithmic derivative of the gamma function."""
    value, dtype = _double(x)
    with np.errstate(all="ignore"):
        reflect = value < 0
        z = np.where(reflect, 1 - value, value)
        result = np.zeros_like(z)
        for k in range(8):
            result = result - 1 / (z + k)
        shifted = z + 8
        square = 1 / (shifted * shifted)
        result = result + np.log(shifted) - 0.5 / shifted - square * (
            1 / 12 - square * (1 / 120 - square * (1 / 252 - square * (1 / 240 - square / 132))))
        result = np.where(reflect, result - math.pi / np.tan(math.pi * np.remainder(value, 1)), result)
        result = np.where(reflect & (value == np.floor(value)), np.nan, result)
        result = np.where(value == 0, np.copysign(np.inf, -value), result)
    return result.astype(dtype)
