"""Fourier transforms of signals and of their pieces."""

from __future__ import annotations

from typing import Any

import numpy as np

from .registry import define
from .rules import axis, reject
from .types import C64, C128, COMPLEXES, F32, F64

_NORMS: dict[int, Any] = {1: "backward", 2: "forward", 3: "ortho"}


def parts(x: Any) -> Any:
    """Real and imaginary part in a last dimension."""
    return np.stack((x.real, x.imag), axis=-1)


def rfft(x: Any, n: int, dim: int, norm: int) -> Any:
    return parts(np.fft.rfft(x, n, axis(dim, x.ndim), _NORMS[norm]))


def rfft_shape(x: Any, n: int, dim: int, norm: int) -> Any:
    if not 1 <= x.ndim <= 7 or norm not in _NORMS or not (1 <= n <= 4096 or n <= 1 << 18 and n & n - 1 == 0):
        reject(f"self {list(x.shape)} must have 1 to 7 dimensions, norm {norm} be 1, 2 or 3, n {n} lie in [1, 4096] or "
               "be a power of 2 up to 262144")
    a = axis(dim, x.ndim)
    return (*x.shape[:a], n // 2 + 1, *x.shape[a + 1:], 2)


def stft(x: Any, window: Any, n: int, hop: int, width: int, normalized: bool, onesided: bool, split: bool) -> Any:
    """Pieces of n, `hop` apart, each times the window; the window lies in the middle of n."""
    pieces = np.lib.stride_tricks.sliding_window_view(x, n, axis=-1)[..., ::hop, :]
    whole = np.zeros(n, x.dtype)
    whole[(n - width) // 2:(n - width) // 2 + width] = 1 if window is None else window
    found = (np.fft.rfft if onesided and x.dtype not in COMPLEXES else np.fft.fft)(pieces * whole, axis=-1)
    found = np.swapaxes(found / np.sqrt(n) if normalized else found, -1, -2)
    return found if split else parts(found)


def stft_shape(x: Any, window: Any, n: int, hop: int, width: int, normalized: bool, onesided: bool, split: bool) -> Any:
    if x.ndim not in (1, 2) or 0 in x.shape or min(n, hop, width) < 1 or n > x.shape[-1] or width > n:
        reject(f"self {list(x.shape)} must have 1 or 2 dimensions, nFft {n}, hopLength {hop} and winLength {width} be "
               "above 0, nFft not above the length, winLength not above nFft")
    if window is not None and (tuple(window.shape) != (width,) or window.dtype != x.dtype):
        reject(f"window {list(window.shape)} must have the shape [{width}] and self's type")
    if onesided and x.dtype in COMPLEXES:
        reject("onesided must be false for complex numbers")
    shape = (*x.shape[:-1], n // 2 + 1 if onesided else n, (x.shape[-1] - n) // hop + 1)
    return shape if split else (*shape, 2)


def stft_type(x: Any, window: Any, n: int, hop: int, width: int, normalized: bool, onesided: bool, split: bool) -> Any:
    return (C128 if split else F64) if x.dtype in (F64, C128) else C64 if split else F32


define("aclRfft1D", rfft, shape=rfft_shape, oracle="torch.fft.rfft", workspace=4096)
define("aclStft", stft, shape=stft_shape, result=stft_type, exact=True, oracle="torch.stft", workspace=4096)
