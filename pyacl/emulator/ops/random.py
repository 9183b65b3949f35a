"""Random operators: the same numbers for the same seed and offset, from a counter-based generator (Philox).

The numbers are not the device's own; their distribution is. Masks of dropout have one bit an element, lowest bit first,
padded to 128 bits; 1 keeps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .choice import choose
from .registry import define
from .types import DTYPES, F64, INTEGERS

ALIGN = 128
_MASK64 = (1 << 64) - 1


def generator(seed: int, offset: int) -> Any:
    return np.random.Generator(np.random.Philox(key=int(seed) & _MASK64, counter=int(offset) & _MASK64))


def drawn(seed: Any, offset: Any, extra: Any = 0) -> Any:
    """From numbers, or from tensors of one element (the ...Tensor forms, where another offset is added)."""
    first = [int(np.asarray(v).reshape(-1)[0]) for v in (seed, offset)]
    return generator(first[0], first[1] + int(extra))


def words(source: Any, count: int) -> Any:
    """uint32 numbers: twice as fast to draw as floats, and to turn into them."""
    return source.bit_generator.random_raw(-(-count // 2)).view(np.uint32)[:count]


def fractions(source: Any, count: int) -> Any:
    """float32 from 0 to below 1, in steps of 2^-24."""
    found = (words(source, count) >> np.uint32(8)).astype(np.float32)
    found *= np.float32(2**-24)
    return found


def bell(source: Any, count: int) -> Any:
    """float32 normally distributed, up to 6.7 deviations: two at a time, from a length and an angle."""
    length, angle = words(source, 2 * -(-count // 2)).reshape(2, -1)
    found = np.empty((2, length.size), np.float32)
    turn = angle.view(np.int32).astype(np.float32)
    turn *= np.float32(np.pi * 2**-31)
    np.cos(turn, out=found[0])
    np.sin(turn, out=found[1])
    radius = length.astype(np.float32)
    radius += np.float32(0.5)
    radius *= np.float32(2**-32)
    np.log(radius, out=radius)
    radius *= np.float32(-2)
    found *= np.sqrt(radius, out=radius)
    return found.reshape(-1)[:count]


def uniform(x: Any, low: float, high: float, *source: Any) -> Any:
    if x.dtype == F64:
        return drawn(*source).uniform(low, high, x.shape)
    found = fractions(drawn(*source), x.size).reshape(x.shape)
    if high - low != 1:
        found *= np.float32(high - low)
    if low:
        found += np.float32(low)
        np.minimum(found, np.nextafter(np.float32(high), np.float32(low)), out=found)  # rounding may reach the end
    return found


def normal(x: Any, mean: float, std: float, *source: Any) -> Any:
    if x.dtype == F64:
        return drawn(*source).normal(mean, std, x.shape)
    found = bell(drawn(*source), x.size).reshape(x.shape)
    if std != 1:
        found *= np.float32(std)
    return found + np.float32(mean) if mean else found


def check_normal(x: Any, mean: float, std: float, *_: Any) -> None:
    if std < 0:
        rules.reject(f"std is {std}, it must not be negative")


def check_uniform(x: Any, low: float, high: float, *_: Any) -> None:
    if not low <= high:
        rules.reject(f"from is {low}, to is {high}: from must not be larger")
    if x.dtype in INTEGERS and (low < np.iinfo(x.dtype).min or high > np.iinfo(x.dtype).max):
        rules.reject(f"from {low} or to {high} is outside of selfRef's type {x.dtype}")


def normal_of(mean: Any, std: Any, seed: int, offset: int, outs: Any) -> Any:
    """mean and std are numbers or tensors."""
    return mean + std * generator(seed, offset).standard_normal(outs[0].shape)


def integers(x: Any, low: int, high: int, *source: Any) -> Any:
    return drawn(*source).integers(low, high, x.shape)


def integers_check(x: Any, low: int, high: int, *_: Any) -> None:
    if low >= high:
        rules.reject(f"from is {low}, to is {high}: from must be smaller")


def any_integers(x: Any, *source: Any) -> Any:
    """Up to what the type holds exactly: a float's mantissa, an integer's largest value."""
    digits = {"f16": 11, "bf16": 8, "f32": 24, "f64": 53}
    names = {DTYPES[n]: n for n in digits}
    if x.dtype in names:
        high = 1 << digits[names[x.dtype]]
        return drawn(*source).integers(0, high, x.shape, endpoint=True)
    if x.dtype == np.bool_:
        return drawn(*source).integers(0, 2, x.shape)
    return drawn(*source).integers(0, np.iinfo(x.dtype).max, x.shape, endpoint=True)


def bernoulli(x: Any, prob: Any, *source: Any) -> Any:
    return drawn(*source).random(x.shape) < np.asarray(prob, np.float64)


def bernoulli_check(x: Any, prob: Any, *_: Any) -> None:
    if not rules.is_tensor(prob) and not 0 <= prob <= 1:
        rules.reject(f"prob is {prob}, outside of [0, 1]")
    if rules.is_tensor(prob) and rules.broadcast(x, prob) != tuple(x.shape):
        rules.reject(f"prob of shape {list(prob.shape)} does not broadcast to {list(x.shape)}")


def permutation(n: int, *source: Any) -> Any:
    return drawn(*source).permutation(n)


def multinomial(x: Any, count: int, replacement: bool, *source: Any) -> Any:
    """By Gumbel's trick: the largest of log p plus noise is drawn with probability p."""
    with np.errstate(divide="ignore"):
        log = np.log(x.astype(np.float64))
    random = drawn(*source)
    if replacement:
        total = np.cumsum(x.astype(np.float64), axis=-1)
        points = random.random((*x.shape[:-1], count)) * total[..., -1:]
        return (points[..., None] >= total[..., None, :]).sum(axis=-1)
    noise = log + random.gumbel(size=x.shape)
    return np.argsort(-noise, axis=-1)[..., :count]


def multinomial_check(x: Any, count: int, replacement: bool, *_: Any) -> None:
    if x.ndim not in (1, 2):
        rules.reject(f"self has {x.ndim} dimensions, not 1 or 2")
    if count <= 0 or (not replacement and count > x.shape[-1]):
        rules.reject(f"numsamples is {count}; without replacement it is 1 to {x.shape[-1]}")


# ---- dropout

def mask_size(count: int) -> int:
    """Bytes of a mask for `count` elements."""
    return -(-count // ALIGN) * ALIGN // 8


def packed(keep: Any) -> Any:
    bits = np.zeros(mask_size(keep.size) * 8, np.uint8)
    bits[:keep.size] = keep.reshape(-1)
    return np.packbits(bits, bitorder="little")


def kept(mask: Any, like: Any) -> Any:
    return np.unpackbits(mask.reshape(-1), count=like.size, bitorder="little").reshape(like.shape).astype(bool)


def probability(p: float) -> None:
    if not 0 <= p <= 1:
        rules.reject(f"the probability is {p}, outside of [0, 1]")


def generate_mask(shape: Any, p: float, seed: Any, offset: Any, *rest: Any) -> Any:
    numbers = [r for r in rest if isinstance(r, int)]  # the Tensor form's offset; the data type has no effect here
    return packed(fractions(drawn(seed, offset, *numbers), int(np.prod(shape, dtype=np.int64))) >= np.float32(p))


def mask_shape(shape: Any, p: float, *_: Any) -> Any:
    probability(p)
    return (mask_size(int(np.prod(shape, dtype=np.int64))),)


def scaled(x: Any, keep: Any, p: float) -> Any:
    if p == 0:
        return x.copy()
    return np.zeros_like(x) if p == 1 else choose(keep, x * np.float32(1 / (1 - p)), np.float32(0))


def do_mask(x: Any, mask: Any, p: float) -> Any:
    return scaled(x, kept(mask, x), p)


def do_mask_check(x: Any, mask: Any, p: float) -> None:
    probability(p)
    mask_check(x, mask)


def mask_check(x: Any, mask: Any, *_: Any) -> None:
    if mask.size < mask_size(x.size):
        rules.reject(f"mask has {mask.size} bytes; {x.size} elements take {mask_size(x.size)}")


def dropout(x: Any, p: float, train: bool, seed: int, offset: int) -> Any:
    if not train:
        return x.copy(), packed(np.ones(x.shape, bool))
    keep = fractions(generator(seed, offset), x.size).reshape(x.shape) >= np.float32(p)
    return scaled(x, keep, p), packed(keep)


def dropout_shapes(x: Any, *_: Any) -> Any:
    return tuple(x.shape), (mask_size(x.size),)


def dropout_check(x: Any, *rest: Any) -> None:
    probability(next(r for r in rest if isinstance(r, float)))


def dropout_v3(x: Any, noise: Any, p: float, seed: int, offset: int) -> Any:
    return dropout(x, p, True, seed, offset)


def dropout_grad(grad: Any, mask: Any, scale: float) -> Any:
    return choose(kept(mask, grad), grad * np.float32(scale), np.float32(0))


def rrelu(x: Any, noise: Any, low: Any, high: Any, training: bool, seed: int, offset: int) -> Any:
    """(noise, result): in training the noise that was multiplied with is stored."""
    if not training:
        return noise, np.where(x <= 0, x * np.float32((low + high) / 2), x)
    slope = generator(seed, offset).uniform(low, high, x.shape).astype(np.float32)
    used = np.where(x <= 0, slope, np.float32(1))
    return used, x * used


def rrelu_inplace(*inputs: Any) -> Any:
    used, result = rrelu(*inputs)
    return result, used


_NUMBERS = "the numbers differ from the device's; their distribution does not"
define("InplaceUniform InplaceUniformTensor", uniform, raw=True, check=check_uniform, oracle="statistics",
       deviations=_NUMBERS)
define("InplaceNormal InplaceNormalTensor", normal, raw=True, check=check_normal, oracle="statistics",
       deviations=_NUMBERS)
define("NormalFloatFloat", normal_of, oracle="statistics", deviations=_NUMBERS)
define("NormalFloatTensor NormalTensorFloat NormalTensorTensor", normal_of, shape=rules.broadcast, oracle="statistics",
       deviations=_NUMBERS)
define("InplaceRandom InplaceRandomTensor", integers, raw=True, check=integers_check, oracle="statistics",
       deviations=_NUMBERS)
define("InplaceRandomWithoutFromTo InplaceRandomWithoutFromToTensor", any_integers, raw=True, oracle="statistics",
       deviations=_NUMBERS)
define("Bernoulli BernoulliTensor InplaceBernoulli InplaceBernoulliTensor", bernoulli, raw=True, shape=rules.same,
       check=bernoulli_check, oracle="statistics", deviations=_NUMBERS)
define("Randperm", permutation, shape=lambda n, *_: (n,), oracle="statistics", deviations=_NUMBERS)
define("Multinomial MultinomialTensor", multinomial, check=multinomial_check, oracle="statistics",
       shape=lambda x, n, *_: (*x.shape[:-1], n), deviations=_NUMBERS)
define("DropoutGenMask DropoutGenMaskV2 DropoutGenMaskV2Tensor", generate_mask, shape=mask_shape, oracle="statistics",
       deviations=_NUMBERS)
define("DropoutDoMask", do_mask, shape=rules.same, result=rules.first, check=do_mask_check, oracle="numpy")
define("Dropout", dropout, shape=dropout_shapes, check=dropout_check, oracle="statistics", deviations=_NUMBERS)
define("DropoutV3", dropout_v3, shape=dropout_shapes, check=dropout_check, optional="optionalNoiseShape",
       oracle="statistics", deviations=_NUMBERS)
define("DropoutBackward DropoutV3Grad", dropout_grad, shape=rules.same, result=rules.first, check=mask_check,
       oracle="numpy")
define("RReluWithNoise", rrelu, roles={"noise": "io"}, oracle="statistics", deviations=_NUMBERS)
define("InplaceRReluWithNoise", rrelu_inplace, roles={"noise": "io"}, oracle="statistics", deviations=_NUMBERS)
