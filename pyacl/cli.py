"""The command line: ``pyacl info | bench | model | kernel | emulator``.

Each command lives in a module of its own, with ``add_parser(subparsers)``, which adds its parser and sets ``run``, a
function from the parsed arguments to an exit code. A module is imported only when its command is used.

Exit codes: 0 done; 1 it ran and failed, or a comparison found a regression; 2 the command was wrong; 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import warnings
from typing import Any, Mapping, NoReturn, Optional, Sequence

# Command: the module that has it, and one line of help.
COMMANDS = {
    "info": ("pyacl.info", "the backend in use, why, versions, devices and their memory"),
    "bench": ("pyacl.bench.cli", "measure operators, models, kernels and copies; compare measurements"),
    "model": ("pyacl.model_cli", "look into and run offline models"),
    "kernel": ("pyacl.kernel_cli", "look into kernel binaries"),
    "emulator": ("pyacl.emulator.cli", "compile models and export libraries for the emulator"),
}


class CommandError(Exception):
    """The command cannot be carried out as given; its text is all that the user sees."""


class _Parser(argparse.ArgumentParser):
    """One that says in one line what was wrong."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message}: see {self.prog} --help")

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
        """As ever, but what a command does not know is that command's error, with its name."""
        known, unknown = super().parse_known_args(*args, **kwargs)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown


def add_commands(parser: argparse.ArgumentParser, commands: Mapping[str, tuple[str, str]],
                 argv: Sequence[str], title: str) -> None:
    """Gives `parser` the commands of a table; only the one that `argv` names is imported."""
    subparsers: Any = parser.add_subparsers(title=title, metavar="COMMAND", required=True)
    wanted = next((a for a in argv if not a.startswith("-")), None)
    subparsers.argv = argv[1:]  # for a command that has commands of its own
    for name, (module, text) in commands.items():
        if name != wanted:
            subparsers.add_parser(name, help=text, add_help=False)
        elif _exists(module):
            importlib.import_module(module).add_parser(subparsers)
        else:
            raise CommandError(f"{name}: this installation has no {module}")


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser that understands `argv`."""
    parser = _Parser(prog="pyacl", description="Ascend NPUs from Python, or an emulator without one.")
    parser.add_argument("--backend", choices=("auto", "native", "emulator"),
                        help="which implementation serves (default: PYACL_BACKEND, else auto)")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    parser.add_argument("--version", action="store_true", help="print pyacl's version")
    add_commands(parser, COMMANDS, _after_options(argv), "commands")
    return parser


def _after_options(argv: Sequence[str]) -> Sequence[str]:
    """`argv` from the command on: `--backend` takes a value that is not it."""
    for i, argument in enumerate(argv):
        if not argument.startswith("-") and (i == 0 or argv[i - 1] != "--backend"):
            return argv[i:]
    return []


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs one command; returns the exit code and never raises for bad input."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _main(argv)


def _show_warning(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
    # Not ResourceWarning: what a failed command leaves open ends with the process.
    if issubclass(category, (UserWarning, RuntimeWarning)):
        print(f"pyacl: {' '.join(str(message).split())}", file=sys.stderr)


def _main(argv: Optional[Sequence[str]]) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if "--version" in argv[:1]:
        from . import __version__

        print(f"pyacl {__version__}")
        return 0
    args: Any = argparse.Namespace(traceback="--traceback" in argv)
    try:
        args = build_parser(argv).parse_args(argv)
        if args.backend:
            from . import capi

            capi.use_backend(args.backend)
        return int(args.run(args))
    except SystemExit as left:  # --help
        return left.code if isinstance(left.code, int) else 2
    except KeyboardInterrupt:
        print("pyacl: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if args.traceback:
            raise
        print(f"pyacl: {_one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, CommandError) else 1


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, CommandError):
        return text
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


