"""Events.

A record is a point in a stream's work. An event holds its newest one; what waits for the event waits for the record
that was the newest when it asked, and later records do not disturb it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

from ...capi import lib
from .. import handles
from ..failure import Failure
from . import clock, scheduler
from .context import Context
from .stream import Stream

PLAIN, ROLES, EXTENDED = "aclrtCreateEvent", "aclrtCreateEventWithFlag", "aclrtCreateEventExWithFlag"


class Record:
    """One point in a stream's work."""

    __slots__ = ("done", "nanoseconds", "reset", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.done = False
        self.reset = False  # aclrtResetEvent undid it
        self.nanoseconds = 0

    def fire(self) -> None:
        self.nanoseconds = clock.nanoseconds()
        self.done = True

    def unfire(self) -> None:
        self.done, self.reset = False, True


class Event:
    """What aclrtCreateEvent and its two sisters make; `form` says which one made it, `flags` what it is for."""

    def __init__(self, context: Context, form: str, flags: int) -> None:
        self.form, self.flags = form, flags
        self.device = context.device
        # The extended ones are not limited by the hardware.
        self.id = self.device.event_ids.take() if form != EXTENDED else -1
        self.latest: Optional[Record] = None
        self.waits: list[EventGate] = []  # those that no task has passed yet
        self.handle = handles.new(self)

    @property
    def timed(self) -> bool:
        return self.form == PLAIN or bool(self.flags & lib.ACL_EVENT_TIME_LINE)

    @property
    def synchronises(self) -> bool:
        return self.form == PLAIN or bool(self.flags & (lib.ACL_EVENT_SYNC | lib.ACL_EVENT_EXTERNAL
                                                        | lib.ACL_EVENT_IPC))

    def record(self, stream: Stream) -> None:
        record = Record(stream)
        # Before the record is queued: on the eager schedules it runs at once.
        self.latest = record
        stream.submit(record.fire, "aclrtRecordEvent")

    def waiting_gate(self, seconds: float) -> Optional[EventGate]:
        """The gate for a stream that waits for the event, or None if it need not wait."""
        if self.latest is None and self.form == EXTENDED:
            return None
        return EventGate(self, self.latest, seconds)

    def complete(self, record: Optional[Record]) -> bool:
        """Whether what somebody waits for is done: `record`, or the first one ever when there was none."""
        if record is None or record.reset:
            record = self.latest
        return record is not None and record.done

    def wait_on_host(self, deadline: Optional[float], what: str) -> bool:
        """Waits for the newest record; False when the deadline came first."""
        record = self.latest
        if record is None and self.form == EXTENDED:
            return True
        if self.complete(record):
            return True
        return scheduler.wait_for(lambda: self.complete(record), lambda: self.sources(record), deadline, what,
                                  str(self))

    def sources(self, record: Optional[Record]) -> list[Stream]:
        record = self.latest if record is None or record.reset else record
        return [record.stream] if record is not None and not record.done else []

    def destroy(self) -> None:
        handles.drop(self.handle)
        if self.id >= 0:
            self.device.event_ids.give(self.id)

    def __str__(self) -> str:
        if self.latest is None:
            return f"event {self.handle:#x}, which nothing has recorded yet"
        return f"event {self.handle:#x}, recorded on {self.latest.stream!r}"


class EventGate(scheduler.Gate):
    """Opens when a record is done."""

    def __init__(self, event: Event, record: Optional[Record], seconds: float) -> None:
        self.event, self.record, self.seconds = event, record, seconds
        event.waits.append(self)

    def open(self) -> bool:
        return self.event.complete(self.record)

    def sources(self) -> Iterable[Stream]:
        return self.event.sources(self.record)

    def passed(self) -> None:
        """The task behind the gate."""
        if self in self.event.waits:
            self.event.waits.remove(self)
        if not self.open():
            raise Failure(lib.ACL_ERROR_RT_WAIT_TIMEOUT, f"waited {self.seconds:g} s in vain for {self.event}")

    def __str__(self) -> str:
        return str(self.event)


def elapsed(start: Event, end: Event) -> float:
    """Milliseconds between two events' newest records."""
    times = []
    for event in (start, end):
        if not event.timed:
            raise Failure(lib.ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID, f"{event} takes no time: create it with "
                          "aclrtCreateEvent or with the flag ACL_EVENT_TIME_LINE")
        if event.latest is None or not event.latest.done:
            raise Failure(lib.ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID,
                          f"{event}, has no time yet: record it and synchronise its stream first")
        times.append(event.latest.nanoseconds)
    if times[1] < times[0]:
        raise Failure(lib.ACL_ERROR_RT_EVENT_TIMESTAMP_REVERSAL, "the start event was recorded after the end event")
    return (times[1] - times[0]) / 1e6
