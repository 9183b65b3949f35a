"""What can be said of a list of times: a summary, and whether one list is slower than another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence, Union

import numpy as np

Times = Union[Sequence[float], "np.ndarray[Any, Any]"]


@dataclass(frozen=True)
class Summary:
    """Times in the unit of the samples (microseconds everywhere in pyacl).

    ``stderr`` is the standard error of the mean, ``outliers`` how many samples lie far off the middle half (more than
    1.5 times its width, and more than 5 % of the median), ``effective`` how many independent samples these are worth:
    neighbours resemble each other on a real machine.
    """

    count: int
    min: float
    mean: float
    median: float
    p90: float
    p99: float
    max: float
    std: float
    stderr: float
    outliers: int
    effective: float


def summarise(samples: Times) -> Summary:
    """The summary of at least one time; raises ValueError for none, or for a time that is not a finite number."""
    times = np.asarray(samples, dtype=np.float64)
    if times.ndim != 1 or not len(times):
        raise ValueError("no times to summarise")
    if not np.isfinite(times).all():
        raise ValueError("a time is not a finite number")
    q1, median, q3, p90, p99 = (float(q) for q in np.percentile(times, [25, 50, 75, 90, 99]))
    std = float(times.std(ddof=1)) if len(times) > 1 else 0.0
    fence = max(1.5 * (q3 - q1), 0.05 * abs(median))
    effective = effective_count(times)
    return Summary(
        count=len(times), min=float(times.min()), mean=float(times.mean()), median=median, p90=p90, p99=p99,
        max=float(times.max()), std=std, stderr=std / float(np.sqrt(effective)),
        outliers=int(((times < q1 - fence) | (times > q3 + fence)).sum()), effective=effective)


def effective_count(samples: Times) -> float:
    """How many independent samples would tell as much about the median as these, in the order they were taken.

    The median hangs on the series "above it or not"; its autocorrelation is summed while neighbouring pairs of lags
    stay positive (Geyer's initial positive sequence).
    """
    times = np.asarray(samples, dtype=np.float64)
    n = len(times)
    if n < 4:
        return float(n)
    # Ties with the median count one half, so that a coarse clock does not look like a trend.
    above = np.sign(times - np.median(times))
    above -= above.mean()
    variance = float(above @ above)
    if variance == 0:
        return float(n)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(above, size)
    rho = np.fft.irfft(spectrum * spectrum.conj(), size)[:n] / variance
    pairs = rho[1:n - n % 2 - 1:2] + rho[2:n - n % 2:2]
    stops = np.flatnonzero(pairs <= 0)
    total = float(pairs[:stops[0] if len(stops) else len(pairs)].sum())
    return float(min(n, max(1.0, n / (1 + 2 * total))))


def bootstrap_medians(samples: Times, resamples: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Medians of bootstrap resamples.

    The k-th of n uniform numbers in order has a Beta(k, n + 1 - k) distribution, so a resample's median needs one
    random number, not n. With fewer effective samples than samples the distribution widens accordingly.
    """
    times = np.sort(np.asarray(samples, dtype=np.float64))
    half = (effective_count(samples) + 1) / 2
    at = rng.beta(half, half, resamples) * len(times)
    medians: np.ndarray[Any, Any] = times[np.minimum(at.astype(np.int64), len(times) - 1)]
    return medians


@dataclass(frozen=True)
class Comparison:
    """``ratio`` of the medians, new over old, and the interval that holds it with the given confidence."""

    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``slower`` or ``faster`` only where the whole interval says so, else ``same``."""
        return "slower" if self.low > 1 else "faster" if self.high < 1 else "same"

    def above(self, limit: float) -> bool:
        """Whether the ratio is above `limit` beyond doubt."""
        return self.low > limit


def compare(old: Times, new: Times, confidence: float = 0.95, resamples: int = 4000) -> Comparison:
    """Compares two lists of times by a bootstrap of the ratio of their medians; the same lists give the same answer."""
    rng = np.random.default_rng(0)
    medians = float(np.median(old)), float(np.median(new))
    if min(*medians, min(old), min(new)) <= 0:
        raise ValueError("a ratio needs times above zero")
    ratios = bootstrap_medians(new, resamples, rng) / bootstrap_medians(old, resamples, rng)
    tail = (1 - confidence) / 2 * 100
    low, high = (float(q) for q in np.percentile(ratios, [tail, 100 - tail]))
    ratio = medians[1] / medians[0]
    return Comparison(ratio, min(low, ratio), max(high, ratio))
