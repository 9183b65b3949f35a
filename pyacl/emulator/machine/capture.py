"""Capturing streams: what is queued on them is recorded into a model instance instead, and replayed from there.

Tasks are replayed in the order in which they were recorded, which every dependency between the captured streams agrees
with. Which work leads back to the origin is told by vector clocks: each captured stream knows how much of each other
stream's work comes before its own next task.
"""

from __future__ import annotations

import threading
from _thread import get_ident
from typing import Any, Callable, Optional

from ...capi import lib
from .. import handles
from ..failure import Failure
from .event import Event, EventGate, Record
from .stream import Stream, Task


class Instance:
    """What an ``aclmdlRI`` stands for: recorded tasks that can be run again and again."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.capture: Optional[Capture] = None
        self.name = b""
        self.launched = 0
        self.finished = 0
        self.callbacks: list[tuple[Any, Any]] = []
        self.handle = handles.new(self)

    @property
    def running(self) -> bool:
        return self.launched != self.finished

    def launch(self, stream: Stream) -> None:
        """Queues one replay."""
        for run, name, gate, _, fault in self.tasks:
            stream.submit(run, name, gate, fault)
        self.launched += 1
        stream.submit(self._finish, "the end of a model instance")

    def _finish(self) -> None:
        self.finished += 1


class Capture:
    """One capture, from begin to end."""

    def __init__(self, origin: Stream, mode: int) -> None:
        self.origin = origin
        self.mode = mode
        self.thread = get_ident()
        self.instance = Instance()
        self.instance.capture = self
        self.invalid = ""  # what broke it
        self._streams: dict[Stream, Optional[Callable[[Task], None]]] = {}  # and what intercepted their tasks before
        self._clocks: dict[Stream, dict[Stream, int]] = {}
        self._records: dict[Record, dict[Stream, int]] = {}
        self.add(origin)
        _active.append(self)

    def add(self, stream: Stream) -> None:
        """Pulls a stream in."""
        self._streams[stream] = stream.intercept
        self._clocks[stream] = {stream: 0}
        stream.capture = self
        stream.intercept = lambda task: self._take(stream, task)

    def _take(self, stream: Stream, task: Task) -> None:
        clock = self._clocks[stream]
        owner = getattr(task[0], "__self__", None)
        if isinstance(owner, Record):
            self._records[owner] = dict(clock)
            return
        if isinstance(task[2], EventGate):
            self._wait(clock, task[2])
            return
        clock[stream] += 1
        self.instance.tasks.append(task)

    def _wait(self, clock: dict[Stream, int], gate: EventGate) -> None:
        if gate in gate.event.waits:
            gate.event.waits.remove(gate)
        known = None if gate.record is None else self._records.get(gate.record)
        if known is None:
            other = None if gate.record is None else gate.record.stream.capture
            if other is not None and other is not self and other.holds(gate.record):
                raise self.broken(lib.ACL_ERROR_STREAM_CAPTURE_CONFLICT,
                                  f"{gate.event} was recorded in another capture")
            raise self.broken(lib.ACL_ERROR_RT_CAPTURE_DEPENDENCY, f"{gate.event} was not recorded in this capture, "
                              "which waits for it: use an external event")
        for stream, position in known.items():
            clock[stream] = max(clock.get(stream, 0), position)

    def holds(self, record: Optional[Record]) -> bool:
        return record in self._records

    def broken(self, code: int, text: str) -> Failure:
        """The failure of a call that must not be made now; it spoils the capture."""
        self.invalid = self.invalid or text
        return Failure(code, text)

    def end(self) -> Instance:
        """Ends it; the streams work as before. Fails with 507903 when it was spoilt, 107025 when a stream that was
        pulled in has not come back."""
        apart = [s for s, clock in self._clocks.items()
                 if clock[s] > self._clocks[self.origin].get(s, 0) or (s is not self.origin
                                                                       and s not in self._clocks[self.origin])]
        for stream, intercept in self._streams.items():
            stream.capture, stream.intercept = None, intercept
        for record in self._records:
            record.done = True  # nobody can wait for what was never to run by itself
        _active.remove(self)
        self.instance.capture = None
        failure = None
        if self.invalid:
            failure = Failure(lib.ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED, f"the capture was broken: {self.invalid}")
        elif apart:
            failure = Failure(lib.ACL_ERROR_RT_STREAM_UNJOINED, f"{', '.join(map(repr, apart))} did not come back to "
                              f"{self.origin!r}: record an event there and let the first stream wait for it")
        if failure is not None:
            handles.drop(self.instance.handle)
            raise failure
        return self.instance


_active: list[Capture] = []


class _Thread(threading.local):
    mode: int = lib.ACL_MODEL_RI_CAPTURE_MODE_GLOBAL


_thread = _Thread()


def exchange(mode: int) -> int:
    """Sets this thread's mode; gives the old one."""
    old, _thread.mode = _thread.mode, mode
    return old


def join(stream: Stream, event: Event) -> None:
    """Before a stream waits for an event: pulls it into the capture in which the event was recorded."""
    record = event.latest
    capture = None if record is None else record.stream.capture
    if capture is None or stream.capture is not None or not capture.holds(record):
        return
    if stream.default:
        raise capture.broken(lib.ACL_ERROR_RT_STREAM_CAPTURE_IMPLICIT, "the default stream cannot be captured")
    if not event.form == "aclrtCreateEventExWithFlag":
        raise capture.broken(lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT, f"{event} cannot be waited for in a capture: create "
                             "events for it with aclrtCreateEventExWithFlag")
    capture.add(stream)


def forbid(function: str) -> None:
    """Refuses a function that is unsafe while streams are captured, as the captures' and the thread's modes say."""
    if not _active:
        return
    me, relaxed = get_ident(), lib.ACL_MODEL_RI_CAPTURE_MODE_RELAXED
    for capture in _active:
        if capture.mode == relaxed or _thread.mode == relaxed:
            continue
        own = capture.thread == me
        everywhere = lib.ACL_MODEL_RI_CAPTURE_MODE_GLOBAL
        if own or (capture.mode == everywhere and _thread.mode == everywhere):
            raise capture.broken(lib.ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT, f"{function} is not allowed while "
                                 f"{capture.origin!r} is being captured in this mode")
