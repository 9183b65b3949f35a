"""The Python side of the exported libraries: `start.c` asks it for each function's address, once."""

from __future__ import annotations

import sys
from typing import Any

from ...capi import ffi
from .. import failure
from ..table import symbol

# A C program may never read aclGetRecentErrMsg.
failure.announce = True

for _stream in (sys.stdout, sys.stderr):
    # Nobody finalises the interpreter of a C program, so nothing may wait in its buffers.
    if hasattr(_stream, "reconfigure"):
        _stream.reconfigure(line_buffering=True)

_undeclared: dict[str, Any] = {}


def _missing(name: str) -> Any:
    def missing() -> None:
        raise failure.not_emulated(name)

    return ffi.callback("int(*)(void)", failure.guard(name, missing, "aclError"))


def note(text: str) -> None:
    """Makes `text` the calling thread's newest error text."""
    failure.note(text)


def address(name: str) -> int:
    """The address of the emulator's callback for `name`; one that fails for a function without a declaration."""
    found = symbol(name)
    if not found:
        callback = _undeclared.setdefault(name, _missing(name))
        found = int(ffi.cast("uintptr_t", callback))
    return found
