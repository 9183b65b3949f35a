"""The device's clock: monotonic, as the chip's own, which starts when it boots."""

from __future__ import annotations

from time import CLOCK_MONOTONIC, clock_gettime_ns, monotonic

__all__ = ["microseconds", "monotonic", "nanoseconds"]


def nanoseconds() -> int:
    return clock_gettime_ns(CLOCK_MONOTONIC)


def microseconds() -> int:
    return nanoseconds() // 1000
