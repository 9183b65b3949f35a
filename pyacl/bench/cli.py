"""``pyacl bench``: the measuring commands, each in its own module."""

from __future__ import annotations

import argparse
from typing import Any

from ..cli import add_commands

COMMANDS = {
    "op": ("pyacl.bench.op", "operators: launch and device time, checked against a reference"),
    "model": ("pyacl.bench.model", "offline models"),
    "kernel": ("pyacl.bench.kernel", "custom kernels"),
    "copy": ("pyacl.bench.copy", "copies between host and device"),
    "compare": ("pyacl.bench.comparison", "two result files: faster, slower, or the same within noise"),
}


def add_parser(subparsers: Any) -> None:
    """Adds ``bench`` and the command of it that the command line names."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bench", help="measure and compare", description="Measures latency and throughput; times are per call.")
    add_commands(parser, COMMANDS, subparsers.argv, "what to measure")
