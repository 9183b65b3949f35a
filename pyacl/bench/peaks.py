"""What a chip can do at best, to hold measured throughput against.

Figures of the boards' data sheets: dense float16 operations and memory bandwidth of one chip. They can be given on the
command line instead, and must be for a chip that is not here.
"""

from __future__ import annotations

import argparse
from typing import Any, Mapping

from .report import above_zero

# aclrtGetSocName -> float16 FLOP/s, bytes/s.
_CHIPS = {
    "Ascend910A": (256e12, 1.2e12), "Ascend910B2": (376e12, 1.6e12), "Ascend910B3": (313e12, 1.6e12),
    "Ascend910B4": (280e12, 0.8e12), "Ascend310P3": (70e12, 0.2048e12),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """``--peak-flops`` and ``--peak-bytes``."""
    rate = above_zero("rate such as 1.6e12")
    group = parser.add_argument_group("the chip's peak, to compare with")
    group.add_argument("--peak-flops", type=rate, metavar="RATE", help="operations per second, such as 313e12")
    group.add_argument("--peak-bytes", type=rate, metavar="RATE", help="memory bytes per second, such as 1.6e12")


def of(environment: Mapping[str, Any], args: argparse.Namespace) -> dict[str, float]:
    """The peaks to compare with: those given, else the chip's. The emulator is not compared with a chip."""
    found: dict[str, float] = {}
    if environment.get("backend") != "emulator":
        chip = _CHIPS.get(str(environment.get("soc", "")))
        if chip is not None:
            found = {"flops": chip[0], "bytes": chip[1]}
    if args.peak_flops:
        found["flops"] = args.peak_flops
    if args.peak_bytes:
        found["bytes"] = args.peak_bytes
    return found
