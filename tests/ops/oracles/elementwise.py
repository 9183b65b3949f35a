"""Unary and binary operators."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.types import DTYPES

from ..oracle import COMMON, Draw, Oracle, elementwise, torch

F = "f32 f32 f16 bf16 f64"
INTEGERS = "s32 s64 s16 s8 u8"
NUMBERS = "f32 f16 bf16 f64 s32 s64 s16 s8 u8"
bits = elementwise(names="s32 s64 s16 s8 u8 bool", scalar="s32 s64 bool")
numbers = elementwise(names=NUMBERS, scalar="f32 s32 s64")


def powers(d: Draw) -> list[Any]:
    """Integers to powers of 0 or more (torch refuses others); no bool."""
    values = elementwise(names=NUMBERS, scalar="f32 s32 s64", mixed=False)(d)
    if not any(v.dtype.kind in "fV" for v in values):
        values[1] = np.abs(values[1])
    return values


def divisors(d: Draw) -> list[Any]:
    """No special values, and divisors that are not 0; an in-place operator's result must fit its own type."""
    values = elementwise(names=F if d.inplace else NUMBERS, scalar="f32 s32 s64", special=False, mixed=False,
                         mode=(0, 2))(d)
    values[1] = np.where(values[1] == 0, 1, values[1]).astype(values[1].dtype)[()]
    values[1] = np.asarray(values[1]) if isinstance(values[0], np.generic) or values[1].shape else values[1]
    return values


def own_type(low: float, high: float) -> Any:
    """Floating results, which an in-place operator's bool or integers could not hold."""
    return lambda d: elementwise(low, high, names=F if d.inplace else COMMON)(d)


def close_pairs(d: Draw) -> list[Any]:
    values = elementwise(names=NUMBERS, mixed=False, rtol=(0.0, 0.1), atol=(0.0, 0.1), equalNan=(0, 1))(d)
    values[4] = bool(values[4])
    return values


def conditions(d: Draw) -> list[Any]:
    shape, dtype = d.shape(), d.dtype("f32 f16 bf16 f64 s32 s64 bool", 1, 2)
    return [d.array(shape, DTYPES[d.choice(["bool", "u8"])], 0, 1), d.array(shape, dtype, special=True),
            d.array(shape[-1:], dtype)]


def fractions(d: Draw) -> list[Any]:
    """addcdiv: no integers, which torch refuses, and no divisor near 0."""
    values = elementwise(names=F, special=False, mixed=False)(d)
    values[2] = np.asarray(np.abs(values[2].astype(np.float32)) + 0.5, values[2].dtype)
    return values


def arrays(d: Draw) -> list[Any]:
    shape, dtype = d.shape(1), d.dtype(NUMBERS)
    return [[d.array(shape, dtype, -9, 9) for _ in range(d.integer(1, 4))]]


def pairs(d: Draw) -> list[Any]:
    shape, dtype = d.shape(1, side=3), d.dtype("f32 s32 bool s64", 0, 1)
    first = d.array(shape, dtype)
    return [first, first.copy() if d.flag() else d.array(shape if d.flag() else (*shape, 2), dtype)]


def div_mod(x: Any, y: Any, mode: int) -> Any:
    return torch.div(x, y, rounding_mode=(None, "trunc", "floor")[mode])


def fold(function: Any) -> Any:
    def call(tensors: Any) -> Any:
        found = tensors[0]
        for t in tensors[1:]:
            found = function(found, t)
        return found

    return call


def pairwise_magnitudes(d: Draw) -> list[Any]:
    dtype = d.dtype("f32 f64", 0, 1)
    shape = d.shape()
    return [d.array(shape, dtype, 0, 4), d.array(shape, dtype)]


def scales(d: Draw) -> list[Any]:
    x = d.array((2, 3, 4, 5), d.dtype("f32 f16", 0, 1))
    dim, length, blob = d.choice([0, 1, 2, -2]), d.integer(1, 2), d.flag()
    first = dim % 4
    part = x.shape[first:first + length]
    return [x, d.array(part, x.dtype), d.array(part, x.dtype) if d.flag() else None, dim, length, blob]


def scale(x: Any, factor: Any, bias: Any, dim: int, count: int, blob: bool) -> Any:
    view = [1] * (dim % 4) + list(factor.shape) + [1] * (4 - dim % 4 - factor.dim())
    found = x * factor.view(view)
    return found if bias is None else found + bias.view(view)


def pack(x: Any, size: int) -> Any:
    values = [1 if v >= 0 else 0 for v in x.tolist()] + [0] * (-len(x) % 8)
    found = [sum(bit << i for i, bit in enumerate(values[k:k + 8])) for k in range(0, len(values), 8)]
    return torch.tensor(found, dtype=torch.uint8).reshape(size, -1)


def unpack(x: Any, size: int, dtype: Any) -> Any:
    found = [1 if byte >> i & 1 else -1 for byte in x.tolist() for i in range(8)]
    return torch.tensor(found).to(dtype).reshape(size, -1)


def nearly(d: Draw) -> list[Any]:
    """Two tensors that differ in one element or in none."""
    x = d.array(d.shape(1, 4), d.dtype("f32 f16 bf16"))
    y = x.copy()
    if d.flag():
        y.reshape(-1)[d.integer(0, y.size - 1)] += 1
    return [x, y]


ORACLES = {
    "Scale": Oracle(scale, scales, atol=1e-5),
    "SignBitsPack": Oracle(pack, lambda d: [d.array((d.choice([14, 16, 9]),), d.dtype("f32 f16")), 2]),
    "SignBitsUnpack": Oracle(unpack, lambda d: [d.array((4,), np.uint8, 0, 255), 2, DTYPES[d.choice(["f32", "f16"])]]),
    "torch.asin": Oracle(torch.asin, elementwise(-1, 1)),
    "torch.acos": Oracle(torch.acos, elementwise(-1, 1)),
    "torch.atanh": Oracle(torch.atanh, elementwise(-0.9, 0.9)),
    "torch.acosh": Oracle(torch.acosh, elementwise(1, 9)),
    "torch.erfinv": Oracle(torch.erfinv, elementwise(-1, 1)),
    "torch.special.ndtri": Oracle(torch.special.ndtri, elementwise(0.01, 0.99, special=False)),
    "torch.digamma": Oracle(torch.digamma, elementwise(0.5, 9, special=False), rtol=1e-4, atol=1e-5),
    "torch.lgamma": Oracle(torch.lgamma, elementwise(0.5, 9, special=False), atol=1e-5),
    "torch.sinc": Oracle(torch.sinc, elementwise(special=False), atol=1e-5),
    "torch.abs": Oracle(lambda x: x if x.dtype == torch.bool else torch.abs(x)),
    "torch.sign": Oracle(lambda x: x if x.dtype == torch.bool else torch.sign(x)),
    "torch.frac": Oracle(lambda x: x - torch.trunc(x), elementwise(names=NUMBERS)),
    "RoundDecimals": Oracle(lambda x, n: torch.round(x, decimals=n) if x.is_floating_point() else x,
                            elementwise(decimals=(-1, 3), special=False)),
    "Real": Oracle(torch.real, lambda d: [d.array(d.shape(), np.complex64)]),
    "torch.nan_to_num": Oracle(torch.nan_to_num,
                               lambda d: [d.array(d.shape(), d.dtype(F), special=True), 0.5, 100.0, -100.0]),
    "torch.pow": Oracle(torch.pow, powers, rtol=1e-4),
    "torch.bitwise_and": Oracle(torch.bitwise_and, bits),
    "torch.bitwise_or": Oracle(torch.bitwise_or, bits),
    "torch.bitwise_xor": Oracle(torch.bitwise_xor, bits),
    "torch.add": Oracle(lambda x, y, alpha: x + y * alpha),
    "torch.sub": Oracle(lambda x, y, alpha: x - y * alpha, numbers),
    "torch.rsub": Oracle(lambda x, y, alpha: torch.as_tensor(y) - x * alpha, numbers),
    "torch.div_mod": Oracle(div_mod, divisors),
    "torch.floor_divide": Oracle(torch.floor_divide, divisors),
    "torch.remainder": Oracle(torch.remainder, divisors, atol=1e-5),
    "torch.fmod": Oracle(torch.fmod, divisors, atol=1e-5),
    "RemainderScalarTensor": Oracle(torch.remainder, divisors, atol=1e-5),
    "torch.gcd": Oracle(torch.gcd, elementwise(-60, 60, names=INTEGERS, mixed=False)),
    "torch.bitwise_left_shift": Oracle(torch.bitwise_left_shift,
                                       elementwise(0, 5, names=INTEGERS, scalar="s32 s64", mixed=False)),
    "torch.bitwise_right_shift": Oracle(torch.bitwise_right_shift,
                                        elementwise(0, 5, names=INTEGERS, scalar="s32 s64", mixed=False)),
    "torch.heaviside": Oracle(torch.heaviside, elementwise(special=False, mixed=False)),
    "torch.special.xlog1py": Oracle(torch.special.xlog1py, elementwise(0.1, 4, names=F, mixed=False)),
    "torch.xlogy": Oracle(torch.xlogy, own_type(0.1, 4)),
    "torch.atan2": Oracle(torch.atan2, own_type(-4, 4)),
    "torch.logaddexp": Oracle(torch.logaddexp, elementwise(names=F)),
    "torch.logaddexp2": Oracle(torch.logaddexp2, elementwise(names=F)),
    "torch.lerp": Oracle(torch.lerp, elementwise(names=F, mixed=False, special=False), atol=1e-5),
    "torch.addcmul": Oracle(lambda x, a, b, value: torch.addcmul(x, a, b, value=value),
                            elementwise(names="f32 f16 bf16 f64", mixed=False)),
    "torch.addcdiv": Oracle(lambda x, a, b, value: torch.addcdiv(x, a, b, value=value), fractions),
    "torch.isclose": Oracle(torch.isclose, close_pairs),
    "ApproximateEqual": Oracle(lambda x, y, t: (x - y).abs() < t,
                               elementwise(names="f32", mixed=False, special=False, tolerance=(0.1, 3.0))),
    "MulNoNan": Oracle(lambda x, y: torch.where(y == 0, torch.zeros_like(x * y), x * y),
                       elementwise(names="f32 f16 bf16 s32", mixed=False)),
    "torch.where": Oracle(lambda c, x, y: torch.where(c.bool(), x, y), conditions),
    "torch.complex": Oracle(torch.complex, pairwise_magnitudes),
    "torch.polar": Oracle(torch.polar, pairwise_magnitudes),
    "torch sum of a list": Oracle(fold(torch.add), arrays),
    "torch.maximum of a list": Oracle(fold(torch.maximum), arrays),
    "torch.minimum of a list": Oracle(fold(torch.minimum), arrays),
    "torch.equal": Oracle(lambda x, y: torch.tensor([torch.equal(x, y)]), pairs),
    "PrecisionCompare": Oracle(lambda x, y: np.uint32(0 if torch.equal(x, y) else 503), nearly, cases=8),
}
