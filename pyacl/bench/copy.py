"""``pyacl bench copy``: copies between host and device, from pinned and pageable memory, by size."""

from __future__ import annotations

import argparse
import re
from typing import Any

import numpy as np

from ..cli import CommandError
from . import text
from .report import add_output_options, check_outputs, deliver
from .session import Session, session

DIRECTIONS = ("h2d", "d2h", "d2d")
MEMORY = ("pinned", "pageable")
_SIZES = [4 << 10, 64 << 10, 1 << 20, 16 << 20, 64 << 20]
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mib": 1 << 20, "g": 1 << 30, "gib": 1 << 30,
          "kb": 10**3, "mb": 10**6, "gb": 10**9}


def add_parser(subparsers: Any) -> None:
    """Adds ``copy``."""
    parser = subparsers.add_parser(
        "copy", help="copies between host and device",
        description="Times aclrtMemcpyAsync. A copy from or to pageable memory returns when it is done.")
    parser.add_argument("--size", nargs="+", default=_SIZES, type=_size, metavar="SIZE",
                        help="bytes, or with a unit (default 4KiB 64KiB 1MiB 16MiB 64MiB)")
    parser.add_argument("--direction", nargs="+", default=DIRECTIONS, choices=DIRECTIONS)
    parser.add_argument("--memory", nargs="+", default=MEMORY, choices=MEMORY, help="the host's side")
    add_output_options(parser, iters=100)
    parser.set_defaults(run=run)


def _size(value: str) -> int:
    match = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", value)
    if not match or match[2].lower() not in _UNITS or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{value} is not a size: write 4096, 64KiB, 1MiB")
    return int(match[1]) * _UNITS[match[2].lower()]


def run(args: argparse.Namespace) -> int:
    """Measures every combination, and checks that the bytes arrive."""
    check_outputs(args)
    with session(args) as bench, bench.until_interrupted():
        for direction in args.direction:
            for nbytes in args.size:
                for memory in args.memory if direction != "d2d" else ("",):
                    _measure(bench, direction, nbytes, memory)
    return deliver(bench.results, bench.environment, args, interrupted=bench.interrupted)


def _measure(bench: Session, direction: str, nbytes: int, memory: str) -> None:
    from ..memory import DeviceBuffer, HostBuffer, memcpy, memcpy_async

    pattern = np.random.default_rng(0).integers(0, 256, nbytes, np.uint8)
    opened: list[Any] = []

    def device() -> Any:
        opened.append(DeviceBuffer(nbytes))
        return opened[-1]

    def host() -> Any:
        if memory == "pageable":
            return np.zeros(nbytes, np.uint8)
        opened.append(HostBuffer(nbytes))
        return opened[-1]

    try:
        source, target = (device() if side == "d" else host() for side in (direction[0], direction[2]))
        memcpy(source, pattern) if direction[0] == "d" else _view(source).__setitem__(slice(None), pattern)
        stream = bench.stream
        result = bench.measure(lambda: memcpy_async(target, source, stream), memory, iters=100, kind="copy",
                               group=f"{direction.upper()} {text.size(nbytes)}", bytes=float(nbytes),
                               parameters={"direction": direction, "bytes": nbytes, "memory": memory or "device"})
        arrived = np.empty(nbytes, np.uint8)
        memcpy(arrived, target) if direction[2] == "d" else arrived.__setitem__(slice(None), _view(target))
        result.check = "ok" if np.array_equal(arrived, pattern) else "the bytes that arrived are others"
    except MemoryError as error:
        raise CommandError(f"no memory for copies of {text.size(nbytes)}: {' '.join(str(error).split())}") from None
    finally:
        for resource in opened:
            resource.close()


def _view(side: Any) -> Any:
    """The bytes of host memory as an array."""
    return side if isinstance(side, np.ndarray) else side.numpy
