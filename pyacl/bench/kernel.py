"""``pyacl bench kernel FILE NAME --args ... --blocks N``: latency of a custom kernel."""

from __future__ import annotations

import argparse
import re
import runpy
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cli import CommandError
from .case import parse_dtype, parse_shape
from .report import add_output_options, check_outputs, deliver
from .session import session

if TYPE_CHECKING:
    from ..kernel import Kernel


def add_parser(subparsers: Any) -> None:
    """Adds ``kernel``."""
    parser = subparsers.add_parser(
        "kernel", help="custom kernels",
        description="Times launches of a kernel: with a prepared argument list, with an updated one, and with one "
                    "built anew (update needs an argument passed by value).",
        epilog="An argument is a tensor (float32[1024x8], random), a scalar (uint32=8), or a placeholder "
               "(placeholder=64 for 64 zero bytes, placeholder:int32=1,2,3 for values).")
    parser.add_argument("file", metavar="FILE", help="the kernel binary")
    parser.add_argument("name", metavar="NAME", help="the kernel")
    parser.add_argument("--args", nargs="*", default=[], metavar="ARG", help="its arguments in order")
    parser.add_argument("--blocks", nargs="+", type=int, default=[1], metavar="N", help="how many blocks (default 1)")
    parser.add_argument("--register", metavar="FILE.py",
                        help="a script to run first, which registers Python kernels for the emulator")
    add_output_options(parser, iters=1000)
    parser.set_defaults(run=run)


def parse_argument(text: str) -> Any:
    """One argument: a numpy array (of a tensor), a numpy scalar, or ``bytes`` of a placeholder."""
    placeholder = re.fullmatch(r"placeholder(?::(\w+))?=(.+)", text)
    tensor = re.fullmatch(r"(\w+)\[([\dx,]+)\]", text)
    scalar = re.fullmatch(r"(\w+)=(.+)", text)
    try:
        if placeholder:
            if placeholder[1] is None:
                return bytes(int(placeholder[2]))
            kind = parse_dtype(placeholder[1])
            return np.array([float(v) for v in placeholder[2].split(",")]).astype(kind).tobytes()
        if tensor:
            values = np.random.default_rng(0).uniform(-1, 1, parse_shape(tensor[2].replace(",", "x")))
            dtype = parse_dtype(tensor[1])
            return (values * 100 if dtype.kind in "iu" else values).astype(dtype)
        if scalar:
            dtype = parse_dtype(scalar[1])
            return dtype.type(int(scalar[2]) if dtype.kind in "iub" else float(scalar[2]))
    except (TypeError, ValueError, OverflowError, CommandError) as error:
        raise CommandError(f"--args {text}: {error}") from None
    raise CommandError(f"--args {text}: write float32[1024], uint32=8 or placeholder=64")


def run(args: argparse.Namespace) -> int:
    """Measures every number of blocks; the exit code."""
    check_outputs(args)
    given = [parse_argument(a) for a in args.args]
    if any(n < 1 for n in args.blocks):
        raise CommandError("--blocks: at least 1")
    if args.register:
        runpy.run_path(args.register, run_name="pyacl_bench_kernel")
    with session(args) as bench, bench.until_interrupted():
        from ..binary import Binary
        from ..tensor import Tensor

        values = [Tensor.from_numpy(v) if isinstance(v, np.ndarray) else v for v in given]
        with Binary.from_file(args.file) as binary:
            kernel = binary.function(args.name)
            for blocks in args.blocks:
                for name, call in _ways(kernel, values, blocks, bench.stream).items():
                    bench.measure(
                        call, name, iters=1000, kind="kernel", group=f"{args.name} {blocks} blocks",
                        parameters={"file": args.file, "kernel": args.name, "blocks": blocks, "args": args.args})
            bench.stream.synchronize()
    return deliver(bench.results, bench.environment, args, interrupted=bench.interrupted)


def _ways(kernel: Kernel, values: list[Any], blocks: int, stream: Any) -> dict[str, Any]:
    """The ways to launch, by name."""
    from ..args_handle import ArgsHandle

    handle = ArgsHandle(kernel, nbytes=sum(_room(v) for v in values) or 8)
    scalars: list[tuple[int, Any]] = []
    places: list[tuple[int, bytes]] = []
    for value in values:
        if isinstance(value, bytes):
            places.append((handle.append_placeholder(len(value)), value))
        else:
            index = handle.append(value)
            if isinstance(value, np.generic):
                scalars.append((index, value))
    for index, data in places:
        handle.placeholder_buffer(index)[:] = data
    handle.finalize()
    ways: dict[str, Any] = {"prepared": lambda: kernel.launch(handle, blocks, stream)}
    if scalars:
        changed, scalar = scalars[0]

        def updated() -> None:
            handle.update(changed, scalar)
            handle.finalize()
            kernel.launch(handle, blocks, stream)

        ways["updated"] = updated
    plain = [v for v in values if not isinstance(v, bytes)]
    blobs = [v for v in values if isinstance(v, bytes)]
    if all(isinstance(v, bytes) for v in values[len(plain):]):  # launch_args puts placeholders last
        ways["built anew"] = lambda: kernel.launch_args(stream, blocks, *plain, placeholder=blobs or None)
    return ways


def _room(value: Any) -> int:
    return 8 + -(-len(value) // 8) * 8 if isinstance(value, bytes) else 16
