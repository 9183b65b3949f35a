"""Events: marks in the queues of streams, for waiting and for timing."""

from __future__ import annotations

from typing import Any, Optional

from . import errors
from .capi import ffi, lib
from .context import Context, flight_on
from .device import milliseconds
from .resource import Resource
from .stream import Flags, Stream, combine


class Event(Resource):
    """A mark that a stream passes.

    `sync`: streams and the host can wait for it. `timing`: it knows when it was passed, for `elapsed_time`.
    `resettable`: `reset` works; otherwise it can be recorded again and again without. `flags`: more roles, by the names
    after ACL_EVENT_, such as "external" or "ipc" (these two exclude all others).

    Stands on aclrtCreateEventExWithFlag, or aclrtCreateEventWithFlag when it is resettable.
    """

    __slots__ = ("sync", "timing", "resettable", "_recorded")

    def __init__(self, *, sync: bool = True, timing: bool = True, resettable: bool = False,
                 flags: Flags = ()) -> None:
        context = Context.current()
        self.sync, self.timing, self.resettable = sync, timing, resettable
        value = combine("ACL_EVENT_", flags)
        alone = value in (lib.ACL_EVENT_EXTERNAL, lib.ACL_EVENT_IPC)
        if not alone:
            value |= (lib.ACL_EVENT_SYNC if sync else 0) | (lib.ACL_EVENT_TIME_LINE if timing else 0)
        if not value:
            raise ValueError("an event needs a role: sync, timing or one of flags")
        out = ffi.new("aclrtEvent *")
        if resettable:
            errors.check(lib.aclrtCreateEventWithFlag(out, value), "aclrtCreateEventWithFlag")
        else:
            errors.check(lib.aclrtCreateEventExWithFlag(out, value), "aclrtCreateEventExWithFlag")
        self._recorded = False
        self._own(out[0], context)

    def record(self, stream: Optional[Stream] = None) -> None:
        """Marks the place after all work queued so far on `stream` (aclrtRecordEvent); recording again moves it."""
        flight = flight_on(stream, self)
        code = lib.aclrtRecordEvent(self.handle, flight.handle)
        if code:
            self._again(code, "aclrtRecordEvent", self.handle, flight.handle)
        self._recorded = True
        flight.held[self] = None

    def wait(self, stream: Optional[Stream] = None, timeout: Optional[float] = None) -> None:
        """Work queued later on `stream` starts only after this event; the same as ``stream.wait(event)``."""
        if not isinstance(stream, (Stream, type(None))):
            raise TypeError(f"a stream is a pyacl.Stream, or None for the default stream, not {stream!r}")
        (stream or Stream.default()).wait(self, timeout)

    def reset(self, stream: Optional[Stream] = None) -> None:
        """Makes it unrecorded again, in order with the work on `stream` (aclrtResetEvent); for resettable ones only.

        Put it after the one wait for this event: another stream that waits later never goes on.
        """
        self.handle  # noqa: B018
        if not self.resettable:
            raise errors.error(lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "aclrtResetEvent", "the event is not resettable",
                               "make it with Event(resettable=True), or just record it again")
        flight = flight_on(stream, self)
        code = lib.aclrtResetEvent(self.handle, flight.handle)
        if code:
            self._again(code, "aclrtResetEvent", self.handle, flight.handle)
        flight.hold(self)

    def query(self) -> bool:
        """Whether it was passed (aclrtQueryEventStatus); does not wait. True for one that was never recorded."""
        out = ffi.new("aclrtEventRecordedStatus *")
        code = lib.aclrtQueryEventStatus(self.handle, out)
        if code:
            self._again(code, "aclrtQueryEventStatus", self.handle, out)
        return bool(out[0] == lib.ACL_EVENT_RECORDED_STATUS_COMPLETE)

    def synchronize(self, timeout: Optional[float] = None) -> None:
        """Waits until it is passed (aclrtSynchronizeEvent); `timeout` in seconds. Raises SyncTimeoutError.

        Unlike a stream's synchronise it does not report failed tasks, nor let go of what the stream holds.
        """
        if timeout is None:
            function = "aclrtSynchronizeEvent"
            args: tuple[Any, ...] = (self.handle,)
        else:
            function = "aclrtSynchronizeEventWithTimeout"
            args = (self.handle, milliseconds(timeout))
        code = getattr(lib, function)(*args)
        if code:
            self._again(code, function, *args)

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds on the device from this event to `end` (aclrtEventElapsedTime).

        Both must be timing events, recorded, preferably on one stream, and passed: synchronise the stream first.
        """
        if not isinstance(end, Event):
            raise TypeError(f"elapsed_time() takes the end Event, not {end!r}")
        out = ffi.new("float *")
        args = (out, self.handle, end.handle)
        code = lib.aclrtEventElapsedTime(*args)
        if code in (lib.ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID, lib.ACL_ERROR_RT_EVENT_TIMESTAMP_REVERSAL,
                    lib.ACL_ERROR_RT_PARAM_INVALID, lib.ACL_ERROR_INVALID_PARAM):
            raise errors.error(code, "aclrtEventElapsedTime", None, self._why_no_time(end, code))
        if code:
            self._again(code, "aclrtEventElapsedTime", *args)
        return float(out[0])

    def _why_no_time(self, end: Event, code: int) -> str:
        for which, event in (("start", self), ("end", end)):
            if not event.timing:
                return f"the {which} event was made with timing=False: make it with timing=True"
            if not event._recorded:
                return f"the {which} event was never recorded: call record(stream) before and after the work"
            if not event.query():
                return f"the {which} event is not passed yet: synchronise its stream or the event first"
        if code == lib.ACL_ERROR_RT_EVENT_TIMESTAMP_REVERSAL:
            return "the end event was passed before the start event: swap them, as in start.elapsed_time(end)"
        return ""

    def __sub__(self, start: Event) -> float:
        """``end - start`` in milliseconds."""
        if not isinstance(start, Event):
            return NotImplemented
        return start.elapsed_time(self)

    @property
    def timestamp(self) -> int:
        """Microseconds from the chip's start to this event (aclrtEventGetTimestamp); for timing events that passed."""
        out = ffi.new("uint64_t *")
        code = lib.aclrtEventGetTimestamp(self.handle, out)
        if code == lib.ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID:
            raise errors.error(code, "aclrtEventGetTimestamp", None, self._why_no_time(self, code))
        if code:
            self._again(code, "aclrtEventGetTimestamp", self.handle, out)
        return int(out[0])

    @property
    def id(self) -> int:
        """Its number on the device (aclrtGetEventId)."""
        out = ffi.new("uint32_t *")
        code = lib.aclrtGetEventId(self.handle, out)
        if code:
            self._again(code, "aclrtGetEventId", self.handle, out)
        return int(out[0])

    def _release(self) -> None:
        code = lib.aclrtDestroyEvent(self.handle)
        if code:
            self._again(code, "aclrtDestroyEvent", self.handle)

    def _describe(self) -> str:
        roles = [r for r in ("sync", "timing", "resettable") if getattr(self, r)]
        return f"{int(ffi.cast('uintptr_t', self.handle)):#x} {' '.join(roles)}"
