"""Large operators: computed piece by piece, with sums by BLAS, halves with or without the compiled loops."""

from __future__ import annotations

import tracemalloc
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pyacl
from pyacl.emulator import half
from pyacl.emulator.ops import choice, pieces, sums

rng = np.random.default_rng(0)


@pytest.mark.parametrize(("shape", "leading"), [((7,), 1), ((3, 4, 5), 1), ((3, 4, 5), 2), ((3, 4, 5), 3), ((1, 1, 9), 3),
                                                ((2, 1, 3, 2), 3), ((4, 0, 2), 2)])
@pytest.mark.parametrize("size", [1, 4, 11, 1000])
def test_pieces_have_every_element_once(shape: Any, leading: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "SIZE", size)
    count, behind = np.zeros(shape, int), int(np.prod(shape[leading:]))
    for piece in pieces.pieces(shape, leading):
        assert count[piece].size <= max(size, behind)
        count[piece] += 1
    assert (count == 1).all()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "SIZE", 8)


def run(stream: Any, name: str, *arguments: Any) -> None:
    getattr(pyacl.ops, name)(*arguments, stream=stream)
    stream.synchronize()


def test_an_output_that_overlaps_its_input(stream: Any, small: None) -> None:
    """What one piece writes is not what the next one reads."""
    values = rng.standard_normal(101).astype(np.float16)
    memory = pyacl.Tensor.from_numpy(values)
    run(stream, "aclnnSilu", memory[:-1], memory[1:])
    x = values[:-1].astype(np.float64)
    np.testing.assert_allclose(memory.numpy()[1:].astype(np.float64), x / (1 + np.exp(-x)), rtol=2e-3, atol=1e-6)


def test_in_place_and_broadcast(stream: Any, small: None) -> None:
    x, y = rng.standard_normal((9, 5)).astype(np.float16), rng.standard_normal((9, 1)).astype(np.float16)
    memory = pyacl.Tensor.from_numpy(x)
    run(stream, "aclnnInplaceMul", memory, pyacl.Tensor.from_numpy(y))
    np.testing.assert_array_equal(memory.numpy(), (x.astype(np.float32) * y.astype(np.float32)).astype(np.float16))
    run(stream, "aclnnInplaceMul", memory, memory[:1])  # all rows are multiplied with the first, as it was
    once = (x.astype(np.float32) * y.astype(np.float32)).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(memory.numpy(), (once * once[:1]).astype(np.float16))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_without_the_compiled_loops_all_bits_are_the_same(stream: Any, dtype: Any, small: None,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    x = rng.standard_normal((12, 16)).astype(dtype)
    special = np.array([np.inf, -np.inf, np.nan, 0, -0.0, 1e-7, 60000, -60000], np.float32).astype(dtype)
    x[3, :8] = special
    one = pyacl.Tensor.from_numpy(np.ones(16, dtype))

    def bits() -> list[Any]:
        a = pyacl.Tensor.from_numpy(x)
        outs = [pyacl.Tensor.empty(x.shape, dtype) for _ in range(3)]
        rstd = pyacl.Tensor.empty((12, 1), np.float32)
        run(stream, "aclnnAdd", a, a, 1.0, outs[0])
        run(stream, "aclnnGelu", a, outs[1])
        run(stream, "aclnnRmsNorm", a, one, 1e-6, outs[2], rstd)
        return [t.numpy().view(np.uint16) for t in outs]

    compiled = bits()
    monkeypatch.setattr(half, "_loops", None)
    for a, b in zip(compiled, bits()):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("shape", "axes"), [((5, 1000), (1,)), ((4, 3, 50), (1, 2)), ((3, 4096), (1,)), ((2, 16384), (1,)),
                                             ((2, 5000), (1,)), ((4, 6, 8), (0, 2)), ((4, 6, 8), (0, 1)), ((7,), None),
                                             ((2, 3, 0), (2,)), ((1 << 18,), None), ((3, 1), (1,))])
@pytest.mark.parametrize("keepdims", [False, True])
def test_sums(shape: Any, axes: Any, keepdims: bool) -> None:
    x = rng.random(shape, np.float32)
    expected = np.sum(x, axis=axes, keepdims=keepdims, dtype=np.float64)
    found = sums.total(x, axes, keepdims)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(sums.total(x.astype(np.float64), axes, keepdims), expected)
    if x.size:
        np.testing.assert_allclose(sums.mean(x, axes, keepdims), x.mean(axis=axes, keepdims=keepdims), rtol=1e-6)


def test_numpys_buffer_is_left_as_it_was(stream: Any) -> None:
    before = np.getbufsize()
    x = pyacl.Tensor.from_numpy(np.ones(pieces.LARGE, np.float32))
    run(stream, "aclnnAbs", x, x)
    assert np.getbufsize() == before


@pytest.mark.parametrize("sparse", [0, 2])
def test_attention_does_not_hold_all_scores(stream: Any, sparse: int) -> None:
    shape = (1, 16, 1024, 16)
    q = pyacl.Tensor.from_numpy(rng.standard_normal(shape, np.float32))
    mask = pyacl.Tensor.from_numpy(np.triu(np.ones((2048, 2048), np.uint8), 1)) if sparse else None
    outs = [pyacl.Tensor.empty(s, np.float32) for s in ((1, 16, 1024, 8), (1, 16, 1024, 8), shape)]
    tracemalloc.start()
    run(stream, "aclnnFlashAttentionScore", q, q, q, None, None, None, mask, None, 0.25, 1.0, 65536, 65536, 16, "BNSD",
        0, sparse, outs[0], outs[1], None, outs[2])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20  # all scores are 64 MiB


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, ml_dtypes.bfloat16, np.int32, np.float32, np.int64, np.float64,
                                   np.complex64, np.complex128, bool], ids=str)
def test_choose_keeps_all_bits(dtype: Any) -> None:
    """NaNs with their bits, and shapes that broadcast."""
    size = 3 * choice.SMALL
    high = 2 if dtype is bool else 256
    x, y = (rng.integers(0, high, size * np.dtype(dtype).itemsize, np.uint8).view(dtype) for _ in range(2))
    mask = rng.random(size) < 0.5
    a: Any
    b: Any
    for a, b in ((x, y), (x[:1], y), (x, y[0]), (x[:1], y[:1])):
        found, expected = choice.choose(mask, a, b), np.where(mask, a, b)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found.view(np.uint8), expected.view(np.uint8))
