"""``pyacl kernel``: looks into kernel binaries, on any machine; neither CANN nor a device is needed."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from .cli import CommandError


def add_parser(subparsers: Any) -> None:
    """Adds ``kernel`` with ``inspect`` and ``include``."""
    parser = subparsers.add_parser("kernel", help="look into kernel binaries")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    inspect = commands.add_parser("inspect", help="the kernels of a binary: core type, code size, arguments")
    inspect.add_argument("files", nargs="+", metavar="FILE", help="an AI Core object (.o) or a host library (.so)")
    inspect.add_argument("--json", action="store_true", help="as JSON")
    inspect.set_defaults(run=_inspect)
    include = commands.add_parser("include", help="print the folder of pyacl_kernel.h, for kernels in C")
    include.set_defaults(run=_include)


def describe(path: str) -> dict[str, Any]:
    """What a kernel binary says about itself, as plain data. Raises CommandError for what is none."""
    from .emulator.kernels import objects

    try:
        found = objects.read_file(path)
    except objects.ObjectError as error:
        raise CommandError(f"{path}: {error}") from None
    kernels = []
    for kernel in found.kernels.values():
        cube, vector = kernel.size
        kernels.append({
            "name": kernel.name, "core": "host" if found.host else kernel.core, "key": kernel.key,
            "code_bytes": cube + vector, "cube_bytes": cube, "vector_bytes": vector,
            "ratio": list(kernel.ratio) if kernel.mixed else None, "argument_bytes": kernel.argument_bytes,
            "parameters": None if kernel.params is None else [list(p) for p in kernel.params],
            "arguments": [{"kind": a.kind, "count": a.count, "nbytes": a.nbytes} for a in kernel.arguments],
            "signature": kernel.signature})
    return {"file": path, "machine": found.elf.machine_name, "host": found.host, "kernels": kernels,
            "problems": found.problems}


def _inspect(args: argparse.Namespace) -> int:
    found = [describe(path) for path in args.files]
    if args.json:
        print(json.dumps(found if len(found) > 1 else found[0], indent=1))
        return 0
    for i, about in enumerate(found):
        count = len(about["kernels"])
        print(f"{'' if not i else chr(10)}{about['file']}: {about['machine']}, {count} kernel{'s' * (count != 1)}")
        for kernel in about["kernels"]:
            print(f"  {kernel['name']}\n    {_line(kernel)}")
        for problem in about["problems"]:
            print(f"  the JSON beside it disagrees: {problem}")
    return 0


def _line(kernel: dict[str, Any]) -> str:
    parts = [kernel["core"]]
    if kernel["ratio"]:
        parts[0] += f" {kernel['ratio'][0]}:{kernel['ratio'][1]}"
    parts.append(f"{kernel['code_bytes']} bytes of code" if not kernel["vector_bytes"] or not kernel["cube_bytes"] else
                 f"{kernel['cube_bytes']} + {kernel['vector_bytes']} bytes of code")
    if kernel["key"] is not None:
        parts.append(f"key {kernel['key']}")
    if kernel["argument_bytes"] is not None:
        parts.append(f"{kernel['argument_bytes']} bytes of arguments")
    if kernel["signature"]:
        parts.append(f"arguments {kernel['signature']}")
    elif kernel["arguments"]:
        parts.append("arguments " + ", ".join(_argument(a) for a in kernel["arguments"]))
    return ", ".join(parts)


def _argument(argument: dict[str, Any]) -> str:
    count = f" x {argument['count']}" if argument["count"] > 1 else ""
    return f"{argument['kind']}{count}" + (f" ({argument['nbytes']} bytes)" if argument["nbytes"] else "")


def _include(args: argparse.Namespace) -> int:
    print(Path(__file__).resolve().parent / "emulator" / "kernels")
    return 0
