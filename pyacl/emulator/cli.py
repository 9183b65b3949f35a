"""``pyacl emulator ...``: each part of the emulator that has commands adds its own."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

# Modules with an add_parser of their own.
PARTS = ("export.cli", "ops.cli", "models.compile")


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("emulator", help="compile models and export libraries for the emulator")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for part in PARTS:
        name = f"{__package__}.{part}"
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name).add_parser(commands)
