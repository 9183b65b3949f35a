"""Random operators: distribution, bounds and repeatability. Seeds are fixed, so a test that passes always passes."""

from __future__ import annotations

import math
from typing import Any, Callable

import numpy as np

from pyacl.emulator.ops.types import BF16, F16, F32

from ..oracle import Draw, Oracle, torch

N = 20_000
FLOATS = "f32 f16 bf16"


def moments(x: Any, mean: float, std: float) -> None:
    """Mean and variance are those of the distribution, within five standard errors (and the type's rounding)."""
    x = np.asarray(x, np.float64).reshape(-1)
    assert abs(x.mean() - mean) < 5 * std / math.sqrt(x.size) + 1e-2 * abs(mean)
    assert abs(x.std() - std) < 0.05 * std + 1e-3
    # neighbours are not correlated
    centred = x - x.mean()
    assert abs((centred[1:] * centred[:-1]).mean()) < 5 * std * std / math.sqrt(x.size) + 1e-3


def source(d: Draw) -> list[Any]:
    """seed and offset: numbers, or tensors of one element and a third number."""
    inputs = [p.name for p in d.signature.inputs]
    if "seedTensor" in inputs:
        kind = d.dtype("s64 u64", inputs.index("seedTensor"))
        return [np.full(1, 7, kind), np.full(1, 4, kind), 8]
    return [d.integer(1, 99), 8]


def filled(*numbers: Any, names: str = FLOATS) -> Callable[[Draw], list[Any]]:
    return lambda d: [np.zeros((100, N // 100), d.dtype(names)), *numbers, *source(d)]


def uniform(inputs: Any, outputs: Any) -> None:
    x, low, high = outputs[0].astype(np.float64), inputs[1], inputs[2]
    assert x.min() >= low
    assert x.max() <= high
    moments(x, (low + high) / 2, (high - low) / math.sqrt(12))
    counts, _ = np.histogram(x, 10, (low, high))
    assert np.abs(counts - N / 10).max() < 0.15 * N / 10


def normal(inputs: Any, outputs: Any) -> None:
    moments(outputs[0], inputs[1], inputs[2])
    inside = np.abs(outputs[0].astype(np.float64) - inputs[1]) < inputs[2]
    assert abs(inside.mean() - 0.6827) < 0.02


def normal_of(inputs: Any, outputs: Any) -> None:
    mean, std = (np.asarray(v, np.float64) for v in inputs[:2])
    moments((outputs[0].astype(np.float64) - mean) / std, 0, 1)


def draw_normal_of(d: Draw) -> list[Any]:
    shape = (100, N // 100)
    kinds = [p.kind for p in d.signature.inputs]
    dtype = d.dtype(FLOATS) if kinds[0] == "tensor" else d.dtype(FLOATS, 1) if kinds[1] == "tensor" else F32
    return [d.array(shape, dtype, -2, 2) if kinds[0] == "tensor" else 1.5,
            d.array(shape, dtype, 0.5, 2) if kinds[1] == "tensor" else 0.5, *source(d)]


def integers(inputs: Any, outputs: Any) -> None:
    values, counts = np.unique(outputs[0].astype(np.int64), return_counts=True)
    assert list(values) == list(range(inputs[1], inputs[2]))
    assert np.abs(counts - N / len(values)).max() < 0.15 * N / len(values)


def any_integers(inputs: Any, outputs: Any) -> None:
    x = outputs[0].astype(np.float64)
    assert (x == np.floor(x)).all()
    dtype = outputs[0].dtype
    top = {F16: 2.0 ** 11, BF16: 2.0 ** 8, F32: 2.0 ** 24}.get(dtype) or float(np.iinfo(dtype).max)
    assert x.min() >= 0
    assert x.max() <= top
    moments(x / top, 0.5, 1 / math.sqrt(12))


def draw_bernoulli(d: Draw) -> list[Any]:
    shape = (100, N // 100)
    prob = d.array(shape, F32, 0, 1) if d.signature.inputs[1].kind == "tensor" else np.float32(0.25)
    return [np.zeros(shape, F32), prob, *source(d)]


def bernoulli(inputs: Any, outputs: Any) -> None:
    prob, found = np.asarray(inputs[1], np.float64), outputs[0].astype(np.float64)
    assert set(np.unique(found)) == {0, 1}
    assert abs((found - prob).mean()) < 0.02
    if prob.ndim:
        assert found[prob > 0.9].mean() > 0.9


def permutation(inputs: Any, outputs: Any) -> None:
    x = outputs[0].astype(np.int64)
    assert sorted(x) == list(range(inputs[0]))
    assert abs(np.corrcoef(x, np.arange(inputs[0]))[0, 1]) < 0.2


def draw_multinomial(d: Draw) -> list[Any]:
    weights = np.array([[1, 2, 3, 0, 4], [5, 0, 0, 5, 0]], d.dtype(FLOATS))
    replacement = d.flag()
    return [weights, 5000 if replacement else 2, replacement, *source(d)]


def multinomial(inputs: Any, outputs: Any) -> None:
    weights = inputs[0].astype(np.float64)
    for row, found in zip(weights / weights.sum(axis=1, keepdims=True), outputs[0]):
        assert (row[found] > 0).all()
        if inputs[2]:
            assert np.abs(np.bincount(found, minlength=5) / found.size - row).max() < 0.03
        else:
            assert len(set(found)) == found.size


def bits(mask: Any, count: int) -> Any:
    return np.array([(int(b) >> i) & 1 for b in mask for i in range(8)][:count])


def size(count: int) -> int:
    return (count + 127) // 128 * 16


def draw_mask(d: Draw) -> list[Any]:
    names = [p.name for p in d.signature.inputs]
    values: dict[str, Any] = {"shape": (50, 100), "prob": 0.3, "seed": 5, "offset": 0, "probDataType": F32,
                              "seedTensor": np.full(1, 5, np.int64), "offsetTensor": np.zeros(1, np.int64)}
    return [values[n] for n in names]


def mask(inputs: Any, outputs: Any) -> None:
    assert outputs[0].size == size(5000)
    assert abs(bits(outputs[0], 5000).mean() - 0.7) < 0.03


def draw_dropout(d: Draw) -> list[Any]:
    x = d.array((50, 101), d.dtype(FLOATS), 1, 2)
    return [x, None, 0.25, 3, 4] if "V3" in d.name else [x, 0.25, d.flag(), 3, 4]


def dropout(inputs: Any, outputs: Any) -> None:
    x, keep = inputs[0].astype(np.float64), bits(outputs[1], inputs[0].size).reshape(inputs[0].shape)
    if inputs[1] is not None and not inputs[2]:
        assert (outputs[0] == inputs[0]).all()
        assert keep.all()
        return
    assert abs(keep.mean() - 0.75) < 0.03
    assert np.allclose(outputs[0].astype(np.float64), np.where(keep, x / 0.75, 0), rtol=1e-2)


def draw_do_mask(d: Draw) -> list[Any]:
    x = d.array(d.shape(1, 3), d.dtype(FLOATS))
    given = d.rng.integers(0, 256, size(x.size)).astype(np.uint8)
    return [x, given, d.choice([0.25, 0.5, 0.0, 1.0]) if "DoMask" in d.name else 2.0]


def do_mask(x: Any, given: Any, p: float) -> Any:
    keep = torch.from_numpy(bits(given.numpy(), x.numel())).reshape(x.shape)
    return x if p == 0 else x * 0 if p == 1 else x * keep / (1 - p)


def draw_rrelu(d: Draw) -> list[Any]:
    x = d.array((100, N // 100), d.dtype(FLOATS))
    return [x, np.zeros_like(x), np.float32(0.125), np.float32(0.375), d.flag(), 3, 4]


def rrelu(first: str) -> Callable[[Any, Any], None]:
    def accept(inputs: Any, outputs: Any) -> None:
        noise, result = outputs if first == "noise" else outputs[::-1]
        x, low, high, training = inputs[0].astype(np.float64), float(inputs[2]), float(inputs[3]), inputs[4]
        slope = noise.astype(np.float64) if training else np.full(x.shape, (low + high) / 2)
        assert np.allclose(result.astype(np.float64), np.where(x <= 0, slope * x, x), rtol=2e-2)
        if training:
            assert (noise[x > 0] == 1).all()
            moments(slope[x <= 0], (low + high) / 2, (high - low) / math.sqrt(12))

    return accept


def like(*_: Any) -> Any:
    return _[0]


def _first_tensor(*values: Any) -> Any:
    found = next((v for v in values if isinstance(v, torch.Tensor) and v.numel() > 1), None)
    return torch.zeros(100, N // 100) if found is None else found


def entries() -> dict[str, Oracle]:
    found = {}
    for name in ("InplaceUniform", "InplaceUniformTensor"):
        found[name] = Oracle(like, filled(-1.0, 3.0), accept=uniform, cases=3)
    for name in ("InplaceNormal", "InplaceNormalTensor"):
        found[name] = Oracle(like, filled(0.5, 2.0), accept=normal, cases=3)
    for name in ("NormalFloatFloat", "NormalFloatTensor", "NormalTensorFloat", "NormalTensorTensor"):
        found[name] = Oracle(_first_tensor, draw_normal_of, accept=normal_of, cases=3)
    for name in ("InplaceRandom", "InplaceRandomTensor"):
        found[name] = Oracle(like, filled(-3, 4, names="f32 f16 s32 s64 s16 s8"), accept=integers, cases=3)
    for name in ("InplaceRandomWithoutFromTo", "InplaceRandomWithoutFromToTensor"):
        found[name] = Oracle(like, filled(names="f32 f16 bf16 s32 s16 u8"), accept=any_integers, cases=4)
    for name in ("Bernoulli", "BernoulliTensor", "InplaceBernoulli", "InplaceBernoulliTensor"):
        found[name] = Oracle(like, draw_bernoulli, accept=bernoulli, cases=2)
    found["Randperm"] = Oracle(lambda n, *_: torch.zeros(n, dtype=torch.int64), lambda d: [d.integer(400, 900), 3, 4],
                               accept=permutation, cases=3)
    for name in ("Multinomial", "MultinomialTensor"):
        found[name] = Oracle(lambda x, n, *_: torch.zeros(*x.shape[:-1], n, dtype=torch.int64), draw_multinomial,
                             accept=multinomial, cases=4)
    for name in ("DropoutGenMask", "DropoutGenMaskV2", "DropoutGenMaskV2Tensor"):
        found[name] = Oracle(lambda *_: torch.zeros(size(5000), dtype=torch.uint8), draw_mask, accept=mask, cases=1)
    for name in ("Dropout", "DropoutV3"):
        found[name] = Oracle(lambda x, *_: (x, torch.zeros(size(x.numel()), dtype=torch.uint8)), draw_dropout,
                             accept=dropout, cases=4)
    found["DropoutDoMask"] = Oracle(do_mask, draw_do_mask)
    for name in ("DropoutBackward", "DropoutV3Grad"):
        found[name] = Oracle(lambda g, m, scale: do_mask(g, m, 1 - 1 / scale), draw_do_mask)
    found["RReluWithNoise"] = Oracle(lambda x, noise, *_: (noise, x), draw_rrelu, accept=rrelu("noise"), cases=4)
    found["InplaceRReluWithNoise"] = Oracle(lambda x, noise, *_: (x, noise), draw_rrelu, accept=rrelu("result"))
    return found


ORACLES = entries()
