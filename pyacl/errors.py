"""C statuses as exceptions that say which call failed, why, and what to do.

`check` turns a status into an `AclError` subclass that is also the builtin a Python user would catch: `ValueError`,
`MemoryError`, `TimeoutError` and so on. The driver's own text (``aclGetRecentErrMsg``) is read at once, because reading
clears it and later calls replace it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Optional

from .capi import BackendError, EmulatorWarning, ForkError, MissingSymbolError, ffi, lib

__all__ = [
    "AbortedError", "AclError", "AclFileError", "AclFileNotFoundError", "AclTimeoutError", "BackendError",
    "CaptureError", "ClosedError", "ContextError", "DeviceFaultError", "EmulatorWarning", "FileContentError",
    "ForkError", "InternalError", "InvalidArgumentError", "MissingSymbolError", "ModelError", "NoDeviceError",
    "NotEmulatedError", "NotInitializedError", "OperatorError", "OperatorNotFoundError", "OutOfMemoryError",
    "ResourceExhaustedError", "StateError", "SyncTimeoutError", "UnsupportedError", "check", "error", "explain",
]


class ClosedError(ValueError):
    """The object was closed, so it cannot be used any more."""


class AclError(Exception):
    """A C function of CANN returned a status other than success.

    ``code``      the status
    ``name``      its name in CANN, such as ``ACL_ERROR_RT_CONTEXT_NULL``
    ``function``  the C function that returned it
    ``text``      the driver's own text, or ""
    ``cause``     what the code means
    ``remedy``    what to do, in one line
    """

    def __init__(self, code: int, name: str, function: str, text: str = "", remedy: str = "", cause: str = "") -> None:
        self.code, self.name, self.function = code, name, function
        self.text, self.remedy, self.cause = text, remedy, cause
        self.args = (code, name, function, text, remedy, cause)

    def __str__(self) -> str:
        lines = [f"{self.function} failed with {self.code} ({self.name}){f': {self.cause}' if self.cause else ''}"]
        if self.text:
            lines.append(f"  driver: {self.text.strip()}")
        if self.remedy:
            lines.append(f"  remedy: {self.remedy}")
        return "\n".join(lines)

    def __reduce__(self) -> Any:
        return type(self), self.args, {k: v for k, v in self.__dict__.items() if k == "__notes__"} or None


class InvalidArgumentError(AclError, ValueError):
    """An argument was refused."""


class StateError(AclError, RuntimeError):
    """The call is not allowed in this state."""


class NotInitializedError(StateError):
    """Something was used before its initialisation."""


class ContextError(AclError, RuntimeError):
    """The thread has no context, or another one than the object's."""


class CaptureError(AclError, RuntimeError):
    """The call is not allowed while a stream is being captured, or only then."""


class AbortedError(AclError, RuntimeError):
    """The work was aborted."""


class AclTimeoutError(AclError, TimeoutError):
    """Something took longer than it was given."""


class SyncTimeoutError(AclTimeoutError):
    """A synchronise ended before the work did; the work goes on."""


class OutOfMemoryError(AclError, MemoryError):
    """Device or host memory is exhausted."""


class ResourceExhaustedError(AclError, RuntimeError):
    """Streams, events, queues or the like are exhausted."""


class UnsupportedError(AclError, NotImplementedError):
    """This hardware, driver or release does not support the call."""


class NotEmulatedError(UnsupportedError):
    """The emulator does not have this function."""


class NoDeviceError(AclError, RuntimeError):
    """No usable device."""


class AclFileError(AclError, OSError):
    """A file cannot be read or written."""


class AclFileNotFoundError(AclFileError, FileNotFoundError):
    """A file or folder is missing."""


class FileContentError(AclError, ValueError):
    """A file's content is not what it should be."""


class ModelError(AclError, RuntimeError):
    """A model cannot be loaded or run."""


class OperatorError(AclError, RuntimeError):
    """An operator failed in one of its phases."""


class OperatorNotFoundError(AclError, LookupError):
    """There is no such operator or kernel."""


class DeviceFaultError(AclError, RuntimeError):
    """A task failed on the device."""


class InternalError(AclError, RuntimeError):
    """CANN failed inside."""


@cache
def _table() -> dict[int, tuple[str, type[AclError], str, str]]:
    """code -> name, class, cause, remedy."""
    from .error_codes import DEPRECATED, TABLE

    found: dict[int, tuple[str, type[AclError], str, str]] = {}
    cls: type[AclError] = AclError
    default = ""
    for line in TABLE.strip().splitlines():
        if line.startswith("["):
            heading, _, default = line.strip("[]").partition(": ")
            cls = globals()[heading]
        elif line:
            name, cause, remedy = (part.strip() for part in line.split("|"))
            if name in DEPRECATED:
                cause += f" (old code of {DEPRECATED[name]})"
            found[getattr(lib, name)] = (name, cls, cause, (remedy or default).strip("-"))
    return found


def explain(code: int) -> tuple[str, str, str]:
    """The name, the cause and the remedy of a status; unknown ones are explained by their first digit."""
    name, _, cause, remedy = _look_up(code)
    return name, cause, remedy


def _look_up(code: int) -> tuple[str, type[AclError], str, str]:
    if code == 0:
        return "ACL_SUCCESS", AclError, "success", ""
    found = _table().get(code)
    if found is not None:
        return found
    from .error_codes import FIRST_DIGIT

    cls, cause, remedy = FIRST_DIGIT.get(
        str(abs(code))[0], ("AclError", "a code that pyacl does not know", "look it up in CANN's documentation"))
    return f"unknown code {code}", globals()[cls], cause, remedy


def recent_text() -> str:
    """The driver's text since the last call, and clears it; "" for none or where the library has no such function."""
    try:
        pointer = lib.aclGetRecentErrMsg()
    except Exception:  # an old library without it must not hide the error that is being reported
        return ""
    if not pointer:
        return ""
    raw: bytes = ffi.string(pointer)
    return raw.decode(errors="replace").strip()


def error(code: int, function: str, text: Optional[str] = None, remedy: str = "") -> AclError:
    """The exception for a status that `function` returned; `text` instead of the driver's, `remedy` instead of ours."""
    name, cls, cause, usual = _look_up(code)
    if text is None:
        text = recent_text()
    if "not emulated: " in text:
        cls = NotEmulatedError
        missing = text.split("not emulated: ", 1)[1].split()[0]
        cause = f"the emulator does not have {missing}"
        usual = "run this on an NPU, or leave it out of the emulated run"
    return cls(code, name, function, text, remedy or usual, cause)


def check(code: int, function: str) -> None:
    """Raises the `AclError` for a status other than success, with the driver's own text."""
    if code:
        raise error(code, function)


def note(first: BaseException, later: BaseException) -> None:
    """Adds a clean-up's error to the error that came first, which stays the one that is raised."""
    add_note(first, f"while cleaning up: {type(later).__name__}: {later}")


def add_note(error: BaseException, text: str) -> None:
    """``error.add_note(text)``, also before Python 3.11, which keeps the same attribute for whoever shows it."""
    error.__notes__ = [*getattr(error, "__notes__", []), text]  # type: ignore[attr-defined, unused-ignore]
