"""Events."""

from __future__ import annotations

from typing import Any

from ...capi import lib
from .. import handles
from ..failure import Failure, not_emulated
from ..machine import capture, scheduler, settings, timeouts
from ..machine import context as _context
from ..machine import stream as _stream
from ..machine.event import EXTENDED, PLAIN, ROLES, Event, elapsed
from . import arguments

_ROLES = (lib.ACL_EVENT_SYNC | lib.ACL_EVENT_CAPTURE_STREAM_PROGRESS | lib.ACL_EVENT_TIME_LINE
          | lib.ACL_EVENT_DEVICE_USE_ONLY)


def resolve(pointer: Any) -> Event:
    """The event behind a handle."""
    return handles.get(pointer, Event, "event", wrong=lib.ACL_ERROR_RT_INVALID_HANDLE)


def _create(out: Any, form: str, flags: int) -> None:
    arguments.not_null(out, "event")
    context = _context.current()
    alone = lib.ACL_EVENT_EXTERNAL | lib.ACL_EVENT_IPC
    if form != PLAIN:
        if not flags or flags & ~(_ROLES | alone):
            raise arguments.refused(f"event flags {flags:#x}: combine ACL_EVENT_SYNC, _TIME_LINE, "
                                    "_CAPTURE_STREAM_PROGRESS and _DEVICE_USE_ONLY, or give one of _EXTERNAL and _IPC")
        if flags & alone and flags not in (lib.ACL_EVENT_EXTERNAL, lib.ACL_EVENT_IPC):
            raise arguments.refused("ACL_EVENT_EXTERNAL and ACL_EVENT_IPC cannot be combined with other flags")
        if flags == lib.ACL_EVENT_IPC and form != EXTENDED:
            raise arguments.refused("ACL_EVENT_IPC needs aclrtCreateEventExWithFlag")
    out[0] = handles.pointer(Event(context, form, flags).handle)


def aclrtCreateEvent(event: Any) -> None:
    _create(event, PLAIN, 0)


def aclrtCreateEventWithFlag(event: Any, flag: int) -> None:
    _create(event, ROLES, flag)


def aclrtCreateEventExWithFlag(event: Any, flag: int) -> None:
    _create(event, EXTENDED, flag)


def aclrtDestroyEvent(event: Any) -> None:
    resolve(event).destroy()


# On streams

def aclrtRecordEvent(event: Any, stream: Any) -> None:
    found = resolve(event)
    found.record(_stream.resolve(stream))


def aclrtRecordEventWithFlag(event: Any, stream: Any, flag: int) -> None:
    found, where = resolve(event), _stream.resolve(stream)
    if flag == lib.ACL_EVENT_RECORD_DEFAULT:
        found.record(where)
        return
    _external(flag, where)


def _external(flag: int, stream: _stream.Stream) -> None:
    if flag != 1:
        raise arguments.invalid(f"there is no flag {flag}")
    if stream.capture is None:
        raise Failure(lib.ACL_ERROR_RT_STREAM_NOT_CAPTURED, f"{stream!r} is not being captured, so nothing is external")
    raise not_emulated("external events of a capture")


def _wait(stream: Any, event: Any, seconds: float, function: str) -> None:
    where, found = _stream.resolve(stream), resolve(event)
    if not found.synchronises:
        raise arguments.refused(f"{function}: the event was created without ACL_EVENT_SYNC, so no stream can "
                                "wait for it")
    capture.join(where, found)
    gate = found.waiting_gate(seconds)
    if gate is not None:
        where.submit(gate.passed, function, gate, lib.ACL_ERROR_RT_WAIT_TIMEOUT)


def aclrtStreamWaitEvent(stream: Any, event: Any) -> None:
    _wait(stream, event, timeouts.event_wait, "aclrtStreamWaitEvent")


def aclrtStreamWaitEventWithTimeout(stream: Any, event: Any, timeout: int) -> None:
    if timeout < 0:
        raise arguments.refused(f"the timeout is {timeout} s: give 0 (for ever) or more")
    _wait(stream, event, timeout, "aclrtStreamWaitEventWithTimeout")


def aclrtStreamWaitEventWithFlag(stream: Any, event: Any, timeout: int, flag: int) -> None:
    if flag == lib.ACL_EVENT_WAIT_DEFAULT:
        _wait(stream, event, timeout, "aclrtStreamWaitEventWithFlag")
        return
    if timeout:
        raise arguments.invalid(f"an external wait has no timeout; {timeout} was given")
    resolve(event)
    _external(flag, _stream.resolve(stream))


def aclrtResetEvent(event: Any, stream: Any) -> None:
    found, where = resolve(event), _stream.resolve(stream)
    if found.form != ROLES or not found.synchronises:
        raise arguments.refused(f"an event of {found.form}{'' if found.synchronises else ' without ACL_EVENT_SYNC'} "
                                "cannot be reset: only those of aclrtCreateEventWithFlag with ACL_EVENT_SYNC can")
    record = found.latest
    where.submit(record.unfire if record is not None else lambda: None, "aclrtResetEvent")


# On the host

def aclrtSynchronizeEvent(event: Any) -> None:
    aclrtSynchronizeEventWithTimeout(event, -1)


def aclrtSynchronizeEventWithTimeout(event: Any, timeout: int) -> None:
    deadline = _stream.deadline_after(timeout)
    found = resolve(event)
    _context.current()
    record = found.latest
    if record is not None and record.stream.capture is not None:
        record.stream.refuse_synchronisation()
    if not found.wait_on_host(deadline, "aclrtSynchronizeEvent"):
        raise Failure(lib.ACL_ERROR_RT_EVENT_SYNC_TIMEOUT, f"aclrtSynchronizeEvent timed out waiting for {found}")
    if record is not None:
        record.stream.take_fault()


def _poll(event: Event) -> bool:
    """Whether the newest record was done when asked; asking lets one more task of its stream run."""
    _context.current()
    record = event.latest
    if record is None:
        return event.form == EXTENDED
    if record.done:
        return True
    if record.stream.capture is not None:
        record.stream.refuse_synchronisation()
    if settings.schedule != "threaded" and not record.reset:
        scheduler.step(record.stream)
    return False


def _not_extended(event: Event, function: str) -> None:
    if event.form == EXTENDED:
        raise arguments.refused(f"{function} does not take events of aclrtCreateEventExWithFlag: use "
                                "aclrtQueryEventStatus")


def aclrtQueryEventStatus(event: Any, status: Any) -> None:
    arguments.not_null(status, "status")
    done = _poll(resolve(event))
    status[0] = lib.ACL_EVENT_RECORDED_STATUS_COMPLETE if done else lib.ACL_EVENT_RECORDED_STATUS_NOT_READY


def aclrtQueryEvent(event: Any, status: Any) -> None:
    arguments.not_null(status, "status")
    found = resolve(event)
    _not_extended(found, "aclrtQueryEvent")
    status[0] = lib.ACL_EVENT_STATUS_COMPLETE if _poll(found) else lib.ACL_EVENT_STATUS_NOT_READY


def aclrtQueryEventWaitStatus(event: Any, status: Any) -> None:
    arguments.not_null(status, "status")
    found = resolve(event)
    _not_extended(found, "aclrtQueryEventWaitStatus")
    waits = list(found.waits)
    status[0] = lib.ACL_EVENT_WAIT_STATUS_NOT_READY if waits else lib.ACL_EVENT_WAIT_STATUS_COMPLETE
    if waits:
        _poll(found)
        for stream in _stream.all_streams():
            if any(task[2] in waits for task in list(stream.queue)) and settings.schedule != "threaded":
                scheduler.step(stream)


def aclrtEventElapsedTime(ms: Any, startEvent: Any, endEvent: Any) -> None:
    arguments.not_null(ms, "ms")
    ms[0] = elapsed(_not_shared(resolve(startEvent)), _not_shared(resolve(endEvent)))


def _not_shared(event: Event) -> Event:
    if event.flags & lib.ACL_EVENT_IPC:
        raise arguments.refused("an event with ACL_EVENT_IPC has neither time nor id")
    return event


def aclrtEventGetTimestamp(event: Any, timestamp: Any) -> None:
    arguments.not_null(timestamp, "timestamp")
    found = _not_shared(resolve(event))
    record = found.latest
    if not found.timed or record is None or not record.done:
        raise Failure(lib.ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID, f"{found}, has no time: it must be made by "
                      "aclrtCreateEvent or with ACL_EVENT_TIME_LINE, be recorded, and its stream synchronised")
    timestamp[0] = record.nanoseconds // 1000


def aclrtGetEventId(event: Any, eventId: Any) -> None:
    arguments.not_null(eventId, "eventId")
    found = _not_shared(resolve(event))
    eventId[0] = found.id if found.id >= 0 else (found.handle >> 4) & 0xFFFFFFFF


def aclrtGetEventAvailNum(eventCount: Any) -> None:
    arguments.not_null(eventCount, "eventCount")
    ids = _context.current().device.event_ids
    eventCount[0] = ids.limit - ids.used
