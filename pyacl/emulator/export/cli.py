"""``pyacl emulator build | env | run``: the emulator as libraries for programs that open CANN themselves."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path
from typing import Any


def settings(folder: Path) -> dict[str, str]:
    """The environment variables with which a program finds the libraries in `folder`."""
    libraries = str(folder / "lib64")
    others = os.environ.get("LD_LIBRARY_PATH", "")
    queue = os.environ.get("TASK_QUEUE_ENABLE", "")
    return {
        "LD_LIBRARY_PATH": f"{libraries}:{others}" if others else libraries,
        "PYACL_LIBRARY_PATH": libraries,
        "PYACL_BACKEND": "native",
        "ASCEND_HOME_PATH": str(folder),
        "ASCEND_OPP_PATH": str(folder / "opp"),
        # torch_npu's queue thread would wait for the GIL that its caller holds; `deferred.c` cures that for mode 1.
        "TASK_QUEUE_ENABLE": {"": "0", "2": "1"}.get(queue, queue),
    }


def _folder(args: argparse.Namespace) -> Path:
    from .build import build

    return build(Path(args.dir).resolve() if args.dir else None)


def _build(args: argparse.Namespace) -> int:
    print(_folder(args))
    return 0


def _env(args: argparse.Namespace) -> int:
    for name, value in settings(_folder(args)).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _run(args: argparse.Namespace) -> int:
    program = args.program[1:] if args.program[:1] == ["--"] else args.program
    if not program:
        raise ValueError("which program? pyacl emulator run -- ./program arguments")
    os.environ.update(settings(_folder(args)))
    try:
        os.execvp(program[0], program)
    except OSError as error:
        raise OSError(error.errno, error.strerror, program[0]) from None


def add_parser(subparsers: Any) -> None:
    build = subparsers.add_parser("build", help="build libascendcl.so, libopapi.so, ... and print their folder")
    env = subparsers.add_parser("env", help='print the settings: eval "$(pyacl emulator env)"')
    run = subparsers.add_parser("run", help="start a program on the libraries: run -- ./program arguments")
    for parser, command in ((build, _build), (env, _env), (run, _run)):
        parser.add_argument("--dir", help="the folder of lib64/ and include/ (default: a cached one)")
        parser.set_defaults(run=command)
    run.add_argument("program", nargs=argparse.REMAINDER, help="the program and its arguments")
