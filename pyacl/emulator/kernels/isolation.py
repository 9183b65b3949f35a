"""Trying in a child process what may end the process: loading a host library, and running its kernels where
``PYACL_EMULATOR_KERNEL_ISOLATE=1`` asks for it. What survives there is done here for its results.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import time
import warnings
from typing import Callable, NamedTuple, Optional

from ..failure import Failure

wanted = os.environ.get("PYACL_EMULATOR_KERNEL_ISOLATE", "0") not in ("", "0")


class Outcome(NamedTuple):
    """How a rehearsal went: what ended it, empty if it went well, and whether that was a signal or an exit."""

    died: bool
    text: str


def rehearse(run: Callable[[], object], seconds: Optional[float]) -> Outcome:
    """Runs something in a child process, whose memory is a copy of this one's. Raises TimeoutError when it takes longer
    than `seconds`."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking with threads: the child does this and nothing else
        child = os.fork()
    if child == 0:
        _rehearse_in_child(run, write_end)
    os.close(write_end)
    text = b""
    try:
        limit = None if seconds is None else time.monotonic() + seconds
        ended = False
        while not ended:
            ready, _, _ = select.select([read_end], [], [], None if limit is None else max(0, limit - time.monotonic()))
            if not ready:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise TimeoutError
            chunk = os.read(read_end, 4096)
            text += chunk
            ended = not chunk
    finally:
        os.close(read_end)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return Outcome(True, f"it crashed with {signal.Signals(os.WTERMSIG(status)).name}")
    if text == _DONE:
        return Outcome(False, "")
    return Outcome(not text, text.decode(errors="replace")
                   or f"it ended its process with status {os.WEXITSTATUS(status)}")


_DONE = b"\0"


def _rehearse_in_child(run: Callable[[], object], write_end: int) -> None:
    try:
        faulthandler.disable()
        for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE):
            signal.signal(number, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)  # what it prints, it prints again in the parent
        run()
        os.write(write_end, _DONE)
    except Failure as failure:
        os.write(write_end, failure.text.encode())
    except BaseException as error:
        os.write(write_end, repr(error).encode())
    finally:
        os._exit(0)
