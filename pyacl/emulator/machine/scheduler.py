"""When queued work runs.

A stream is a queue of tasks, oldest first. A task is plain work, or has a gate that must open before it (an event, a
notify, a value in memory). Tasks of one stream run one at a time and in order, outside every lock.

deferred   (default) nothing runs until somebody waits for it or polls it. The waiting thread runs just the work that
           leads to what it waits for: its stream's, and that of the streams whose gates stand before it.
inline     work runs as soon as it is queued, as far as gates allow.
threaded   every stream has a thread that runs its work.

The head of a queue stays in it while it runs, so an empty queue means that all is done.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Callable, Optional

from . import settings
from .clock import monotonic

if TYPE_CHECKING:
    from .stream import Stream

PATIENCE = 5.0  # seconds without progress after which a wait says what it waits for
GRACE = 1.0  # seconds after which a host function runs although nothing waits for it

_changed = threading.Condition()
_waiters = 0
running: set[Any] = set()  # host functions that run now: what they hold back comes by itself


class Gate:
    """What stands before a task. `deadline` (monotonic seconds) is when it opens by failing."""

    seconds: float = 0.0  # how long it may stay shut once it stands at the head of its stream; 0 for ever
    deadline: Optional[float] = None

    def open(self) -> bool:
        raise NotImplementedError

    def sources(self) -> Iterable[Stream]:
        """The streams whose work may open it."""
        raise NotImplementedError

    def __str__(self) -> str:
        return "something"


def announce() -> None:
    """Says that something changed that waiting threads may wait for."""
    if _waiters:
        with _changed:
            _changed.notify_all()


def passes(gate: Gate) -> bool:
    """Whether the task behind a gate at the head of its stream may run now (its time-out counts as yes)."""
    if gate.open():
        return True
    if gate.seconds:
        if gate.deadline is None:
            gate.deadline = monotonic() + gate.seconds
        return monotonic() >= gate.deadline
    return False


def runnable(streams: Iterable[Stream], deadlines: list[float]) -> Optional[Stream]:
    """The stream whose next task must run for one of `streams` to get on, or None.

    Adds the time-outs on the way to `deadlines`.
    """
    stack = list(streams)
    seen = set(stack)
    while stack:
        candidate = stack.pop()
        queue = candidate.queue
        if candidate.idle.locked() or candidate.parked:
            continue
        try:
            gate = queue[0][2]
        except IndexError:
            continue
        if gate is None or passes(gate):
            return candidate
        if gate.deadline is not None:
            deadlines.append(gate.deadline)
        for source in gate.sources():
            if source not in seen:
                seen.add(source)
                stack.append(source)
    return None


def step(stream: Stream) -> bool:
    """Runs the next task that leads `stream` on, if there is one that can run now."""
    ready = runnable((stream,), [])
    return ready is not None and ready.run_next()


def wait(done: Callable[[], Any], stream: Stream, deadline: Optional[float], what: str) -> bool:
    """Runs work of `stream` and of those it depends on until `done()`; False when the deadline passed before."""
    return wait_for(done, lambda: (stream,), deadline, what)


def wait_for(done: Callable[[], Any], streams: Callable[[], Iterable[Stream]], deadline: Optional[float], what: str,
             subject: str = "") -> bool:
    """`wait` for what any of several streams may bring about. `subject` is what is waited for, for people."""
    own = settings.schedule != "threaded"
    while not done():
        if deadline is not None and monotonic() >= deadline:
            return False
        deadlines: list[float] = []
        if own:
            ready = runnable(streams(), deadlines)
            if ready is not None:
                ready.run_next()
                continue
        _block(done, streams, deadline, deadlines, what, own, subject)
    return True


def _block(done: Callable[[], Any], streams: Callable[[], Iterable[Stream]], deadline: Optional[float],
           deadlines: list[float], what: str, own: bool, subject: str) -> None:
    """Sleeps until another thread changes something, a gate's time is over, or the deadline has come."""
    global _waiters
    began = monotonic()
    said = False
    with _changed:
        _waiters += 1
        try:
            while not done() and not (own and runnable(streams(), deadlines) is not None):
                now = monotonic()
                ends = [t for t in (deadline, *deadlines) if t is not None]
                if ends and now >= min(ends):
                    return
                if not said:
                    ends.append(began + PATIENCE)
                    if now - began >= PATIENCE:
                        said = True
                        why = "; ".join(explain(stream) for stream in streams()) or subject
                        sys.stderr.write(f"pyacl emulator: {what} has been waiting for {PATIENCE:.0f} s: {why}\n")
                        continue
                _changed.wait(max(0.0, min(ends) - now) if ends else None)
        finally:
            _waiters -= 1


def explain(stream: Stream) -> str:
    """What `stream` waits for, for people."""
    if not stream.queue:
        return f"{stream!r} has nothing to do"
    task = stream.queue[0]
    if stream.idle.locked():
        return f"{task[1]} runs on {stream!r}"
    return f"{task[1]} on {stream!r} waits for {task[2] or 'its turn'}"


def queued(stream: Stream) -> None:
    """Called after a task was queued, on the schedules that do not leave it at that."""
    if settings.schedule == "inline":
        while step(stream):
            pass
        from .stream import all_streams

        progress = True
        while progress:  # what ran may have opened gates elsewhere
            progress = False
            for other in all_streams():
                while other.queue and step(other):
                    progress = True
    else:
        if stream.worker is None:
            stream.worker = threading.Thread(target=_work, args=(stream,), daemon=True,
                                             name=f"pyacl stream {stream.id}")
            stream.worker.start()
        announce()


def _work(stream: Stream) -> None:
    """A stream's thread on the threaded schedule."""
    global _waiters
    while True:
        with _changed:
            _waiters += 1
            try:
                while stream.alive:
                    ends: list[float] = []
                    if stream.queue and not stream.parked:
                        gate = stream.queue[0][2]
                        if gate is None or passes(gate):
                            break
                        if gate.deadline is not None:
                            ends.append(max(0.0, gate.deadline - monotonic()))
                    _changed.wait(min(ends) if ends else None)
                else:
                    return
            finally:
                _waiters -= 1
        stream.run_next()
