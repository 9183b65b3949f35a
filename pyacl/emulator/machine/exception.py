"""Who is told when a task fails, and what about it."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Callable, Optional

from ...capi import ffi
from .. import handles
from . import context

if TYPE_CHECKING:
    from .stream import Stream


class ExceptionInfo:
    """What aclrt*FromExceptionInfo ask about; lives during the callback."""

    def __init__(self, task: int, stream: int, thread: int, device: int, code: int, cause: BaseException) -> None:
        self.task, self.stream, self.thread, self.device, self.code = task, stream, thread, device, code
        self.cause = cause  # what the task raised


callback: Optional[Any] = None  # aclrtSetExceptionInfoCallback's one slot
registered: dict[int, Any] = {}  # by address


def thread_number(ident: int) -> int:
    """The system's number of a Python thread."""
    for thread in threading.enumerate():
        if thread.ident == ident and thread.native_id is not None:
            return thread.native_id
    return ident & 0xFFFFFFFF


def report(stream: Stream, thread: int, code: int, cause: BaseException) -> None:
    """Calls everybody who asked to hear of faults."""
    listeners: list[Callable[[Any], None]] = [*registered.values()] + ([callback] if callback is not None else [])
    if not listeners:
        return
    info = ExceptionInfo(stream.done, stream.id, thread_number(thread), stream.device.id, code, cause)
    number = handles.new(info)
    try:
        with context.inside("an exception callback"):
            for listener in listeners:
                try:
                    listener(ffi.cast("aclrtExceptionInfo *", number))
                except Exception as error:
                    sys.stderr.write(f"pyacl emulator: an exception callback raised {error!r}\n")
    finally:
        handles.drop(number)
