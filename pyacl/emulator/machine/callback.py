"""Callbacks."""

from __future__ import annotations

from typing import Callable

abort_callbacks: dict[str, Callable[[int, int, int], int]] = {}  # aclrtSetDeviceTaskAbortCallback, by name
