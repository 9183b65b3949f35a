"""Running a host kernel in a child process first (``PYACL_EMULATOR_KERNEL_ISOLATE=1``).

If it crashes there, or hangs longer than its launch's time-out, that is the kernel's fault, and this process lives on;
otherwise it runs here for its results.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import time
import warnings
from typing import TYPE_CHECKING, Callable, Optional

from ..failure import Failure

if TYPE_CHECKING:
    from .binary import Function

wanted = os.environ.get("PYACL_EMULATOR_KERNEL_ISOLATE", "0") not in ("", "0")
_SHORTEST_TIMEOUT = 1.0  # seconds; an emulated kernel is not as fast as a device's


def rehearse(run: Callable[[], None], timeout: Optional[float], function: Function) -> None:
    """Runs a kernel in a child process, whose memory is a copy of this one's, to see whether it survives."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking with threads: the child calls the kernel and nothing else
        child = os.fork()
    if child == 0:
        _rehearse_in_child(run, write_end)
    os.close(write_end)
    text = b""
    try:
        limit = None if not timeout else time.monotonic() + max(timeout, _SHORTEST_TIMEOUT)
        ended = False
        while not ended:
            ready, _, _ = select.select([read_end], [], [], None if limit is None else max(0, limit - time.monotonic()))
            if not ready:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                raise Failure(function.timeout, f"it ran longer than the {timeout} s it was given")
            chunk = os.read(read_end, 4096)
            text += chunk
            ended = not chunk
    finally:
        os.close(read_end)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        raise Failure(function.fault, f"it crashed with {signal.Signals(number).name}")
    if os.WEXITSTATUS(status):
        raise Failure(function.fault, text.decode(errors="replace")
                      or f"it ended its process with status {os.WEXITSTATUS(status)}")


def _rehearse_in_child(run: Callable[[], None], write_end: int) -> None:
    status = 1
    try:
        faulthandler.disable()
        for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE):
            signal.signal(number, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)  # what it prints, it prints again in the parent
        run()
        status = 0
    except Failure as failure:
        os.write(write_end, failure.text.encode())
    except BaseException as error:
        os.write(write_end, repr(error).encode())
    finally:
        os._exit(status)
