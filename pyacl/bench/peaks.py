"""What a chip can do at best, to hold measured throughput against.

Operations: dense float16 products, which is cores with a cube x clock x 2 x 16 x 16 x 16. Cores and clock are those
that the device tells, else those of CANN's platform configuration files. Memory: what data sheets say of boards with
the chip, since CANN does not. So both are approximate, and the output says "about"; the command line takes better ones.
"""

from __future__ import annotations

import argparse
from typing import Any, Mapping, NamedTuple, Optional

from .report import above_zero

# aclrtGetSocName -> cores with a cube, their clock in MHz.
_CUBES = {
    "Ascend310B1": (1, 1224), "Ascend310B2": (1, 1224), "Ascend310B3": (1, 1224), "Ascend310B4": (1, 500),
    "Ascend310P1": (10, 1060), "Ascend310P3": (8, 1060), "Ascend310P5": (8, 800), "Ascend310P7": (8, 550),
    "Ascend910A": (32, 1000), "Ascend910B": (30, 900), "Ascend910PremiumA": (32, 1220), "Ascend910ProA": (32, 1100),
    "Ascend910ProB": (30, 1150),
    "Ascend910B1": (24, 1850), "Ascend910B2": (24, 1800), "Ascend910B2C": (24, 1800), "Ascend910B3": (20, 1800),
    "Ascend910B4": (20, 1500), "Ascend910B4-1": (20, 1500),
    "Ascend910_9362": (20, 1500), "Ascend910_9363": (20, 1500), "Ascend910_9372": (20, 1800),
    "Ascend910_9381": (24, 1800), "Ascend910_9382": (24, 1800), "Ascend910_9391": (24, 1850),
    "Ascend910_9392": (24, 1850),
}
_FLOPS_PER_CYCLE = 2 * 16 * 16 * 16
# aclrtGetSocName -> bytes per second.
_MEMORY = {
    "Ascend310P3": 0.2048e12, "Ascend910A": 1.2e12, "Ascend910B1": 1.6e12, "Ascend910B2": 1.6e12,
    "Ascend910B3": 1.6e12, "Ascend910B4": 0.8e12,
}


class Peak(NamedTuple):
    """A rate per second; `about` for one that nobody gave."""

    rate: float
    about: bool


def add_options(parser: argparse.ArgumentParser) -> None:
    """``--peak-flops`` and ``--peak-bytes``."""
    rate = above_zero("rate such as 1.6e12")
    group = parser.add_argument_group("the chip's peak, to compare with (default: about what is known of the chip)")
    group.add_argument("--peak-flops", type=rate, metavar="RATE", help="operations per second, such as 295e12")
    group.add_argument("--peak-bytes", type=rate, metavar="RATE", help="memory bytes per second, such as 1.6e12")


def of(environment: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Peak]:
    """The peaks to compare with: those given, else the chip's. The emulator is not compared with a chip."""
    chip = str(environment.get("soc", "")) if environment.get("backend") != "emulator" else ""
    known = {"flops": _flops(chip, environment) if chip else None, "bytes": _MEMORY.get(chip)}
    given = {"flops": args.peak_flops, "bytes": args.peak_bytes}
    return {name: Peak(given[name] or rate or 0.0, not given[name]) for name, rate in known.items()
            if given[name] or rate}


def _flops(chip: str, environment: Mapping[str, Any]) -> Optional[float]:
    cores, clock = _CUBES.get(chip, (0, 0))
    cores = int(environment.get("cube_cores") or cores)
    told = str(environment.get("cube_clock", ""))  # MHz, as a text
    clock = int(told) if told.isdecimal() and int(told) else clock
    return float(cores * clock * 10**6 * _FLOPS_PER_CYCLE) or None
