"""float16 and bfloat16 to float32 and back: the compiled loops, and numpy's way without them."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from pyacl.emulator import half

TYPES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]


@pytest.fixture(params=["compiled", "numpy"], autouse=True)
def way(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        monkeypatch.setattr(half, "_loops", None)
    elif half._loops is None:
        pytest.skip("the loops were not compiled, or this machine has no instructions for them")


pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in cast:RuntimeWarning")


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_value_widens_to_itself(dtype: Any) -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    np.testing.assert_array_equal(half.widen(every), np.array([float(v) for v in every], np.float32))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_rounds_to_nearest_even(dtype: Any) -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(dtype).astype(np.float64)
    finite = np.unique(every[np.isfinite(every)])
    middles = ((finite[1:] + finite[:-1]) / 2).astype(np.float32)  # exact: one bit more
    for values in (middles, np.nextafter(middles, np.float32(np.inf)), np.nextafter(middles, np.float32(-np.inf))):
        found = half.narrow(values, dtype).astype(np.float64)
        low, high = finite[:-1], finite[1:]
        bits = np.abs(low).astype(dtype).view(np.uint16)
        even = np.where(bits % 2 == 0, low, high)
        expected = np.where(values - low < high - values, low, np.where(values - low > high - values, high, even))
        wrong = found != expected
        assert not wrong.any(), values[wrong][:3]
    special = np.array([np.inf, -np.inf, 3.4e38 if dtype == np.float16 else np.inf], np.float32)
    np.testing.assert_array_equal(half.narrow(special, dtype).astype(np.float32), [np.inf, -np.inf, np.inf])
    assert np.isnan(half.narrow(np.array([np.nan, -np.nan], np.float32), dtype).astype(np.float32)).all()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_any_layout(dtype: Any) -> None:
    source = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5) - 60
    for view in (source, source.T, source[:, ::2], source[..., ::-1], np.broadcast_to(source[0], (3, 3, 4, 5)),
                 source[0, 0, 0, 0], source[:0]):
        narrowed = half.narrow(view, dtype)
        assert narrowed.dtype == dtype
        np.testing.assert_array_equal(narrowed.astype(np.float32), view)
        np.testing.assert_array_equal(half.widen(view.astype(dtype)), view)
        out = np.empty(view.shape[::-1], dtype).T
        half.narrow(view, dtype, out)
        np.testing.assert_array_equal(out.astype(np.float32), view)


@pytest.mark.parametrize("count", [0, 1, 255, 256, 1000])
def test_polynomials(count: int) -> None:
    """The same roundings in the same order, one after each product and each sum."""
    rng = np.random.default_rng(count)
    coefficients, x = rng.standard_normal(7).astype(np.float32), rng.standard_normal((2, count)).astype(np.float32)
    expected = np.full(x.shape, coefficients[0])
    for c in coefficients[1:]:
        expected = expected * x + c
    np.testing.assert_array_equal(half.polynomial(coefficients, x), expected)
    np.testing.assert_array_equal(half.polynomial(coefficients, x.T), expected.T)
