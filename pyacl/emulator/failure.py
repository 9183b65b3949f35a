"""How an emulated function fails: it raises, and the boundary turns that into a code and a text.

Every emulated function returns 0 (or None) or raises `Failure`. `guard` writes the text where ``aclGetRecentErrMsg``
finds it and returns the code; an exception that nobody foresaw is ACL_ERROR_INTERNAL_ERROR, never success.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
import traceback
from typing import Any, Callable, Optional

from ..capi import ffi, lib


class Failure(Exception):
    """A C status and the text for ``aclGetRecentErrMsg``."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


announce = False  # say on stderr, too, what is not emulated: programs that are not Python may never ask
_announced: set[str] = set()


def not_emulated(name: str) -> Failure:
    """The failure of a declared function that the emulator does not have; pyacl.errors knows its text."""
    if announce and name not in _announced:
        _announced.add(name)
        sys.stderr.write(f"pyacl emulator: not emulated: {name}\n")
    return Failure(lib.ACL_ERROR_API_NOT_SUPPORT, f"not emulated: {name}")


class _Process:
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.kept: Any = None  # the text handed out last, alive until the next call


class _Thread(threading.local):
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.kept: Any = None
        self.last_error = 0


_thread = _Thread()
_shared: Optional[_Process] = None  # all threads' texts together, where the configuration says so


def process_wide(shared: bool) -> None:
    """Whether ``aclGetRecentErrMsg`` tells of all threads' failures or only of the calling thread's."""
    global _shared
    _shared = _Process() if shared else None


def note(text: str) -> None:
    """Adds a text for the next ``aclGetRecentErrMsg``."""
    messages = (_shared or _thread).messages
    messages.append(text)
    del messages[:-64]


def take_message() -> Any:
    """The texts since the last call, newest first, as a C string that lives until the next call; NULL for none."""
    scope = _shared or _thread
    if not scope.messages:
        return ffi.NULL
    text = "\n".join(reversed(scope.messages))
    scope.messages.clear()
    scope.kept = ffi.new("char[]", text.encode(errors="surrogateescape"))
    return scope.kept


def last_error(clear: bool) -> int:
    """This thread's last runtime error (``aclrtGetLastError``, ``aclrtPeekAtLastError``)."""
    code = _thread.last_error
    if clear:
        _thread.last_error = 0
    return code


def record(failure: Failure) -> int:
    """Makes a failure the thread's last error and its newest text; returns the code."""
    note(failure.text)
    _thread.last_error = failure.code
    return failure.code


def _interrupt_when_freed() -> Any:
    """An object whose end signals the interrupt anew.

    C cannot pass an exception on. As the last local of a function that C called, this one ends after the function's
    last instruction, so the signal is seen by whoever called C.
    """
    signal = ctypes.cast(ctypes.pythonapi.PyErr_SetInterrupt, ctypes.c_void_p).value
    return ffi.gc(ffi.cast("void *", 1), ffi.cast("void(*)(void *)", signal))


def guard(name: str, function: Callable[..., Any], returns: str) -> Callable[..., Any]:
    """`function` as C sees it: a code where it returns a status, else NULL or 0 when it fails."""
    status = returns in ("aclError", "aclnnStatus")
    failed: Any = None if returns == "void" else ffi.NULL if ffi.typeof(returns).kind == "pointer" else 0

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        try:
            result = function(*args)
            return 0 if result is None and status else result
        except Failure as failure:
            code = record(failure)
        except NotImplementedError as missing:
            code = record(not_emulated(str(missing) or name))
        except KeyboardInterrupt:
            code = record(Failure(lib.ACL_ERROR_INTERNAL_ERROR, f"{name}: interrupted"))
            _again = _interrupt_when_freed()
        except Exception as error:
            sys.stderr.write(f"pyacl emulator: {name} raised\n{traceback.format_exc()}")
            code = record(Failure(lib.ACL_ERROR_INTERNAL_ERROR, f"{name}: {type(error).__name__}: {error}"))
        return code if status else failed

    return call
