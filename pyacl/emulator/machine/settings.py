"""What the environment says about the emulated machine.

``PYACL_EMULATOR_DEVICES``    number of devices (1)
``PYACL_EMULATOR_SOC``        SoC name (Ascend910B3)
``PYACL_EMULATOR_MEMORY``     memory of each device in bytes, or with a suffix: 512M, 64G (64G)
``PYACL_EMULATOR_SCHEDULE``   when queued work runs: deferred, threaded or inline (deferred)
``ASCEND_RT_VISIBLE_DEVICES`` which devices the process sees, and in which order, as CANN has it
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

SCHEDULES = ("deferred", "threaded", "inline")
_SUFFIXES = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


@dataclass(frozen=True)
class Soc:
    """What depends on the product."""

    aicores: int
    vector_cores: int
    aicpus: int
    l2_bytes: int
    max_streams: int
    max_events: int
    max_notifies: int
    tail_padding: int = 32  # what aclrtMalloc adds behind the rounded size


_A2 = {"aicpus": 6, "l2_bytes": 192 << 20, "max_streams": 1984, "max_events": 65536, "max_notifies": 8192}

# Longest prefix of the SoC's name wins.
_SOCS = {
    "Ascend910B1": Soc(24, 48, **_A2),
    "Ascend910B2": Soc(24, 48, **_A2),
    "Ascend910B3": Soc(20, 40, **_A2),
    "Ascend910B4": Soc(20, 40, aicpus=6, l2_bytes=96 << 20, max_streams=1984, max_events=65536, max_notifies=8192),
    "Ascend910_93": Soc(24, 48, **_A2),
    "Ascend950": Soc(32, 64, 6, 128 << 20, 1984, 65536, 65535, tail_padding=0),
    "Ascend910": Soc(32, 32, 14, 32 << 20, 2048, 65535, 1024),
    "Ascend310P": Soc(8, 7, 7, 16 << 20, 1024, 1023, 1024),
    "Ascend310B": Soc(1, 1, 1, 4 << 20, 512, 65536, 2048),
}


def _size(variable: str, default: str) -> int:
    text = os.environ.get(variable) or default
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(?:i?B)?", text.strip(), re.I)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"{variable}={text!r}: give a number of bytes, or one with a suffix, as in 512M or 64G")
    return int(match[1]) << _SUFFIXES[match[2].upper()]


def _number(variable: str, default: int, low: int, high: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.strip().isdigit() or not low <= int(text) <= high:
        raise ValueError(f"{variable}={text!r}: give a number from {low} to {high}")
    return int(text)


def _soc(name: str) -> Soc:
    known = [prefix for prefix in _SOCS if name.startswith(prefix)]
    if not known:
        raise ValueError(f"PYACL_EMULATOR_SOC={name!r}: the emulator knows {', '.join(_SOCS)} and names that begin so")
    return _SOCS[max(known, key=len)]


def _schedule() -> str:
    name = os.environ.get("PYACL_EMULATOR_SCHEDULE") or "deferred"
    if name not in SCHEDULES:
        raise ValueError(f"PYACL_EMULATOR_SCHEDULE={name!r}: choose one of {', '.join(SCHEDULES)}")
    return name


def _visible(count: int) -> tuple[int, ...]:
    """The physical ids behind the user's ids; what follows an invalid or repeated one is not seen."""
    text = os.environ.get("ASCEND_RT_VISIBLE_DEVICES")
    if text is None:
        return tuple(range(count))
    ids: list[int] = []
    for part in text.split(","):
        if not part.strip().isdigit() or int(part) >= count or int(part) in ids:
            break
        ids.append(int(part))
    return tuple(ids)


soc_name = os.environ.get("PYACL_EMULATOR_SOC") or "Ascend910B3"
soc = _soc(soc_name)
memory = _size("PYACL_EMULATOR_MEMORY", "64G")
physical_count = _number("PYACL_EMULATOR_DEVICES", 1, 0, 64)
visible = _visible(physical_count)
schedule = _schedule()
