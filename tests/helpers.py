"""Helpers for tests of the classes: work that waits until a test lets it go, and programs of their own process."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from typing import Any, Callable

import numpy as np

import pyacl

# Work runs as soon as it is queued.
INLINE = os.environ.get("PYACL_EMULATOR_SCHEDULE") == "inline"


class Gate:
    """Holds back what is queued on a stream behind it, on any backend and schedule.

    A stream waits for a resettable event until somebody records it, which `open` does on another stream.
    """

    def __init__(self, stream: Any) -> None:
        self.context = pyacl.Context.current()
        self.event, self.other = pyacl.Event(resettable=True), pyacl.Stream()
        stream.wait(self.event)
        self.timer: Any = None

    def open(self) -> None:
        self.context.set_current()
        self.event.record(self.other)
        self.other.synchronize()

    def open_soon(self, before: Callable[[], Any] = lambda: None, seconds: float = 0.1) -> None:
        """Opens from another thread a little later, after calling `before`."""

        def run() -> None:
            before()
            self.open()

        self.timer = threading.Timer(seconds, run)
        self.timer.start()

    def close(self) -> None:
        if self.timer is not None:
            self.timer.join()
        self.event.close()
        self.other.close()


def in_thread(function: Callable[[], Any]) -> Any:
    """What `function` returns in a new thread, which has no context; its exception is raised here."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.extend((function(), None))
        except BaseException as error:
            found.extend((None, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if found[1] is not None:
        raise found[1]
    return found[0]


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program that has pyacl for itself, with leaks shown as warnings."""
    return subprocess.run([sys.executable, "-X", "dev", "-c", textwrap.dedent(code)], capture_output=True, text=True,
                          timeout=60, env={**os.environ, **environment})


def python(code: str, **environment: str) -> str:
    """What a program prints; it must end well and say nothing on stderr."""
    done = run("import numpy as np, pyacl\n" + textwrap.dedent(code), **environment)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


def upload(array: Any, **options: Any) -> Any:
    return pyacl.Tensor.from_numpy(np.asarray(array), **options)


def free_memory() -> int:
    """Bytes that the device has left, without what other tests dropped in circles."""
    gc.collect()
    return pyacl.mem_info().free


def alive(ref: weakref.ref[Any]) -> bool:
    """Whether something still keeps what `ref` refers to, circles aside."""
    gc.collect()
    return ref() is not None


def waits_for_work(gate: Gate, close: Callable[[], None]) -> bool:
    """Whether `close` returns only after the gate, which opens soon."""
    order: list[str] = []
    gate.open_soon(lambda: order.append("opened"))
    close()
    order.append("closed")
    gate.close()
    return order == ["opened", "closed"]
