"""Special functions that numpy lacks: erf, erfc, erfinv, lgamma, digamma. Vectorised, to double precision.

`erfc` is ``t exp(-x^2 + P(t))`` with ``t = 2 / (2 + |x|)``; the polynomial P interpolates the standard library's erfc
once, at its first use, so no table of coefficients has to be trusted.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Callable

import numpy as np

from .. import half
from .choice import choose

_DEGREE = {8: 30, 4: 14}  # by the size of the result's elements
_BLOCK = 1 << 14  # elements
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
    return choose(x < 0, 2 - value, value)


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


_ONE = 4.0  # from here on erf is 1 in float32


@cache
def _slope(degree: int = 8) -> Any:
    """Coefficients in x^2, the highest first, of atanh(erf(x)) / x, which is smooth; where erf is nearly 1 the fit is
    coarse."""
    points = np.linspace(_ONE / 256, _ONE, 256)
    near, far = np.array([math.erf(p) for p in points]), np.array([math.erfc(p) for p in points])
    fit = np.polynomial.Chebyshev.fit(points * points, np.log((1 + near) / far) / (2 * points), degree,
                                      domain=[0, _ONE * _ONE], w=far * (1 + near) * points / near)
    return np.ascontiguousarray(fit.convert(kind=np.polynomial.Polynomial).coef[::-1], np.float32)


def _erf_single(x: Any, out: Any = None) -> Any:
    """float32, by a tanh of a polynomial: to 3 units in the last place."""
    x = np.clip(x, np.float32(-_ONE), np.float32(_ONE))
    y = half.polynomial(_slope(), np.square(x))
    y *= x
    return np.tanh(y, out=y if out is None else out)


def in_blocks(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Many steps in double precision: block by block they stay in the cache."""
    def compute(x: Any) -> Any:
        if np.size(x) <= _BLOCK:
            return function(x)
        flat = np.ascontiguousarray(x).reshape(-1)
        return np.concatenate([function(flat[i:i + _BLOCK]) for i in range(0, flat.size, _BLOCK)]).reshape(x.shape)

    return compute


def erf(x: Any, out: Any = None) -> Any:
    """The error function."""
    if getattr(x, "dtype", None) == np.float32 and np.ndim(x):
        return _erf_single(x, out)
    value, dtype = _double(x)
    return _erf(np.atleast_1d(value), dtype.itemsize).reshape(value.shape).astype(dtype)


@in_blocks
def erfc(x: Any) -> Any:
    """1 - erf(x), without losing digits where x is large."""
    value, dtype = _double(x)
    return np.asarray(_erfc(value, dtype.itemsize)).astype(dtype)


@in_blocks
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
        for _ in range(2):  # each triples the digits
            # Far out the difference of erfc is exact where that of erf is not.
            error = choose(np.abs(value) < 0.5, _erf(y, dtype.itemsize) - value,
                           np.copysign(1.0, value) * ((1 - np.abs(value)) - _erfc(np.abs(y), dtype.itemsize)))
            step = error / (2 / math.sqrt(math.pi) * np.exp(-y * y))
            y = y - step / (1 + y * step)
        y = choose(np.abs(value) == 1, np.copysign(np.inf, value), choose(np.abs(value) > 1, np.nan, y))
        y = choose(value == 0, value, y)
    return y.reshape(np.shape(x)).astype(dtype)


@in_blocks
def lgamma(x: Any) -> Any:
    """The logarithm of the gamma function's absolute value."""
    value, dtype = _double(x)
    with np.errstate(all="ignore"):
        reflect = value < 0.5
        z = choose(reflect, 1 - value, value)
        shifted = z + 8
        product = np.ones_like(z)
        for k in range(8):
            product = product * (z + k)
        inverse = 1 / shifted
        square = inverse * inverse
        series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188))))
        result = (shifted - 0.5) * np.log(shifted) - shifted + 0.5 * math.log(2 * math.pi) + series - np.log(product)
        mirrored = math.log(math.pi) - np.log(np.abs(np.sin(math.pi * np.remainder(value, 2)))) - result
        result = choose(reflect, mirrored, result)
        result = choose((value <= 0) & (value == np.floor(value)) | np.isinf(value), np.inf, result)
    return result.astype(dtype)


@in_blocks
def digamma(x: Any) -> Any:
    """The logarithmic derivative of the gamma function."""
    value, dtype = _double(x)
    with np.errstate(all="ignore"):
        reflect = value < 0
        z = choose(reflect, 1 - value, value)
        result = np.zeros_like(z)
        for k in range(8):
            result = result - 1 / (z + k)
        shifted = z + 8
        square = 1 / (shifted * shifted)
        result = result + np.log(shifted) - 0.5 / shifted - square * (
            1 / 12 - square * (1 / 120 - square * (1 / 252 - square * (1 / 240 - square / 132))))
        result = choose(reflect, result - math.pi / np.tan(math.pi * np.remainder(value, 1)), result)
        result = choose(reflect & (value == np.floor(value)), np.nan, result)
        result = choose(value == 0, np.copysign(np.inf, -value), result)
    return result.astype(dtype)


_CELLS = 32  # of the Fresnel integrals' table to the unit
_FAR = 6  # from here on their asymptotic series serves


@cache
def _cell_rule() -> tuple[Any, Any, Any]:
    """Nodes and weights on [0, 1], and the integrals (sine, cosine) from 0 to the table's points."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    nodes, weights = (nodes + 1) / 2, weights / 2
    angle = math.pi / 2 * ((np.arange(_FAR * _CELLS)[:, None] + nodes) / _CELLS) ** 2
    parts = np.stack((np.sin(angle) @ weights, np.cos(angle) @ weights)) / _CELLS
    return nodes, weights, np.concatenate((np.zeros((2, 1)), np.cumsum(parts, axis=1)), axis=1)


def fresnel(x: Any) -> tuple[Any, Any]:
    """The integrals of sin(pi t^2 / 2) and cos(pi t^2 / 2) from 0 to x."""
    value, dtype = _double(x)
    size = np.abs(np.atleast_1d(value))
    nodes, weights, table = _cell_rule()
    near = choose(size < _FAR, size, 0)
    cell = np.rint(near * _CELLS).astype(np.int64)
    step = near - cell / _CELLS
    angle = math.pi / 2 * ((cell / _CELLS)[..., None] + step[..., None] * nodes) ** 2
    found = [table[0][cell] + step * (np.sin(angle) @ weights), table[1][cell] + step * (np.cos(angle) @ weights)]
    with np.errstate(all="ignore"):
        far = choose(size >= _FAR, size, _FAR)
        square = math.pi * far * far
        f = (1 - 3 / square**2 + 105 / square**4) / (math.pi * far)
        g = (1 - 15 / square**2 + 945 / square**4) / (math.pi * far * square)
        turn = math.pi / 2 * np.remainder(far * far, 4)
        f, g = (choose(np.isinf(far), 0, v) for v in (f, g))
        turn = choose(np.isinf(far), 0, turn)
        ends = 0.5 - f * np.cos(turn) - g * np.sin(turn), 0.5 + f * np.sin(turn) - g * np.cos(turn)
    sine, cosine = (choose(np.isnan(size), np.nan, np.copysign(choose(size < _FAR, n, e), np.atleast_1d(value)))
                    .reshape(value.shape).astype(dtype) for n, e in zip(found, ends))
    return sine, cosine
