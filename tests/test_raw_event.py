"""Events, notifies and awaited values through the C functions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from raw import NULL, at, blocked, current, device_memory, make, ok, out, read, release, runtime, stream

from pyacl.capi import ffi, lib

__all__ = ["current", "make", "runtime", "stream"]


def test_events_order_streams(make: Any) -> None:
    first, second = make("stream"), make("stream")
    event = make("event")
    cell = device_memory(make, np.zeros(4, np.uint8))
    gate = blocked(make, first)
    ok(lib.aclrtMemsetAsync(cell, 4, 1, 4, first))
    ok(lib.aclrtRecordEvent(event, first))
    ok(lib.aclrtStreamWaitEvent(second, event))
    ok(lib.aclrtMemsetAsync(cell, 4, 2, 2, second))
    assert lib.aclrtSynchronizeStreamWithTimeout(second, 20) == lib.ACL_ERROR_RT_STREAM_SYNC_TIMEOUT
    assert read(cell, 4).tolist() == [0] * 4
    release(gate)
    ok(lib.aclrtSynchronizeStream(second))
    assert read(cell, 4).tolist() == [2, 2, 1, 1]


def test_a_wait_keeps_the_record_it_saw(make: Any, stream: Any) -> None:
    """Later records do not disturb an earlier wait."""
    event, other = make("extended event", lib.ACL_EVENT_SYNC), make("stream")
    ok(lib.aclrtRecordEvent(event, NULL))
    ok(lib.aclrtStreamWaitEvent(stream, event))
    gate = blocked(make, other)
    ok(lib.aclrtRecordEvent(event, other))  # this one cannot be reached yet
    ok(lib.aclrtSynchronizeStreamWithTimeout(stream, 2000))
    status = ffi.new("aclrtEventRecordedStatus *")
    ok(lib.aclrtQueryEventStatus(event, status))
    assert status[0] == lib.ACL_EVENT_RECORDED_STATUS_NOT_READY
    release(gate)
    ok(lib.aclrtSynchronizeEvent(event))
    ok(lib.aclrtQueryEventStatus(event, status))
    assert status[0] == lib.ACL_EVENT_RECORDED_STATUS_COMPLETE


def test_polling_makes_progress(make: Any, stream: Any) -> None:
    event = make("event")
    cell = device_memory(make, np.zeros(4, np.uint8))
    for value in range(5):
        ok(lib.aclrtMemsetAsync(cell, 4, value, 4, stream))
    ok(lib.aclrtRecordEvent(event, stream))
    status = ffi.new("aclrtEventRecordedStatus *")
    for polls in itertools.count():
        ok(lib.aclrtQueryEventStatus(event, status))
        if status[0] == lib.ACL_EVENT_RECORDED_STATUS_COMPLETE:
            break
        assert polls < 1_000_000
    assert read(cell, 1)[0] == 4
    old = ffi.new("aclrtEventStatus *")
    ok(lib.aclrtQueryEvent(event, old))
    assert old[0] == lib.ACL_EVENT_STATUS_COMPLETE


def test_roles_of_events(make: Any, stream: Any) -> None:
    plain, extended = make("event"), make("extended event", lib.ACL_EVENT_SYNC)
    timing, syncing = (make("role event", f) for f in (lib.ACL_EVENT_TIME_LINE, lib.ACL_EVENT_SYNC))
    status = ffi.new("aclrtEventStatus *")
    waiting = ffi.new("aclrtEventWaitStatus *")
    ms = ffi.new("float *")
    for event in (plain, extended, timing, syncing):
        ok(lib.aclrtRecordEvent(event, stream))
    ok(lib.aclrtSynchronizeStream(stream))
    wrong = [
        lib.aclrtStreamWaitEvent(stream, timing), lib.aclrtResetEvent(timing, stream),
        lib.aclrtResetEvent(plain, stream), lib.aclrtResetEvent(extended, stream),
        lib.aclrtQueryEvent(extended, status), lib.aclrtQueryEventWaitStatus(extended, waiting),
        lib.aclrtEventElapsedTime(ms, syncing, syncing), lib.aclrtEventGetTimestamp(syncing, ffi.new("uint64_t *")),
    ]
    assert all(wrong), wrong
    assert wrong[-2:] == [lib.ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID] * 2
    for flags in (0, 0x1000, lib.ACL_EVENT_EXTERNAL | lib.ACL_EVENT_SYNC, lib.ACL_EVENT_IPC):
        assert lib.aclrtCreateEventWithFlag(ffi.new("aclrtEvent *"), flags) != 0
    fresh = make("extended event", lib.ACL_EVENT_SYNC)
    recorded = ffi.new("aclrtEventRecordedStatus *")
    ok(lib.aclrtQueryEventStatus(fresh, recorded))
    assert recorded[0] == lib.ACL_EVENT_RECORDED_STATUS_COMPLETE
    ok(lib.aclrtSynchronizeEvent(fresh))
    assert lib.aclrtRecordEventWithFlag(extended, stream, 1) == lib.ACL_ERROR_RT_STREAM_NOT_CAPTURED
    assert lib.aclrtRecordEventWithFlag(extended, stream, 9) == lib.ACL_ERROR_INVALID_PARAM
    assert lib.aclrtStreamWaitEventWithFlag(stream, extended, 5, 1) == lib.ACL_ERROR_INVALID_PARAM


def test_a_reset_event_waits_for_its_next_record(make: Any) -> None:
    first, second = make("stream"), make("stream")
    event = make("role event", lib.ACL_EVENT_SYNC)
    for _ in range(3):
        ok(lib.aclrtRecordEvent(event, first))
        ok(lib.aclrtStreamWaitEvent(second, event))
        ok(lib.aclrtResetEvent(event, second))
        ok(lib.aclrtSynchronizeStreamWithTimeout(second, 5000))
    waiting = ffi.new("aclrtEventWaitStatus *")
    ok(lib.aclrtQueryEventWaitStatus(event, waiting))
    assert waiting[0] == lib.ACL_EVENT_WAIT_STATUS_COMPLETE
    ok(lib.aclrtStreamWaitEvent(second, event))
    assert lib.aclrtSynchronizeStreamWithTimeout(second, 20) == lib.ACL_ERROR_RT_STREAM_SYNC_TIMEOUT
    ok(lib.aclrtQueryEventWaitStatus(event, waiting))
    assert waiting[0] == lib.ACL_EVENT_WAIT_STATUS_NOT_READY
    ok(lib.aclrtRecordEvent(event, first))
    ok(lib.aclrtSynchronizeStreamWithTimeout(second, 5000))


def test_elapsed_time(make: Any, stream: Any) -> None:
    start, end = make("event"), make("role event", lib.ACL_EVENT_TIME_LINE)
    ms, stamp = ffi.new("float *"), ffi.new("uint64_t *")
    assert lib.aclrtEventElapsedTime(ms, start, end) == lib.ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID
    cell = make("device", 1 << 22, 0)
    ok(lib.aclrtRecordEvent(start, stream))
    for _ in range(3):
        ok(lib.aclrtMemsetAsync(cell, 1 << 22, 0, 1 << 22, stream))
    ok(lib.aclrtRecordEvent(end, stream))
    ok(lib.aclrtSynchronizeStream(stream))
    ok(lib.aclrtEventElapsedTime(ms, start, end))
    assert ms[0] > 0
    stamps = []
    for event in (start, end):
        ok(lib.aclrtEventGetTimestamp(event, stamp))
        stamps.append(stamp[0])
    assert stamps[1] - stamps[0] == pytest.approx(ms[0] * 1000, abs=2)
    assert lib.aclrtEventElapsedTime(ms, end, start) == lib.ACL_ERROR_RT_EVENT_TIMESTAMP_REVERSAL


def test_an_event_may_be_destroyed_while_it_is_awaited(make: Any) -> None:
    first, second = make("stream"), make("stream")
    gate = blocked(make, first)
    event = out("aclrtEvent *", lib.aclrtCreateEvent)
    ok(lib.aclrtRecordEvent(event, first))
    ok(lib.aclrtStreamWaitEvent(second, event))
    ok(lib.aclrtDestroyEvent(event))
    assert lib.aclrtDestroyEvent(event) == lib.ACL_ERROR_RT_INVALID_HANDLE
    assert lib.aclrtDestroyEvent(NULL) == lib.ACL_ERROR_INVALID_PARAM
    release(gate)
    ok(lib.aclrtSynchronizeStreamWithTimeout(second, 5000))


def test_one_record_lets_one_wait_through(make: Any) -> None:
    first, second, third = (make("stream") for _ in range(3))
    notify = make("notify", 0)
    for waiter in (first, second):
        ok(lib.aclrtWaitAndResetNotify(notify, waiter, 0))
    ok(lib.aclrtRecordNotify(notify, third))
    results = sorted(lib.aclrtSynchronizeStreamWithTimeout(s, 50) for s in (first, second))
    assert results == [0, lib.ACL_ERROR_RT_STREAM_SYNC_TIMEOUT]
    ok(lib.aclrtRecordNotify(notify, third))
    for waiter in (first, second):
        ok(lib.aclrtSynchronizeStreamWithTimeout(waiter, 5000))
    ok(lib.aclrtWaitAndResetNotify(notify, first, 1))
    assert lib.aclrtSynchronizeStream(first) == lib.ACL_ERROR_RT_WAIT_TIMEOUT
    ids = ffi.new("uint32_t *")
    ok(lib.aclrtGetNotifyId(notify, ids))
    cells = ffi.new("aclrtNotify[]", [notify])
    ok(lib.aclrtRecordNotify(notify, third))
    ok(lib.aclrtSynchronizeStream(third))
    ok(lib.aclrtNotifyBatchReset(cells, 1))
    ok(lib.aclrtWaitAndResetNotify(notify, first, 0))
    assert lib.aclrtSynchronizeStreamWithTimeout(first, 20) == lib.ACL_ERROR_RT_STREAM_SYNC_TIMEOUT


@pytest.mark.parametrize(("mode", "awaited", "recorded"), [
    ("LESS", 3, [("SET_VALUE", 9), ("SET_VALUE", 2)]), ("EQUAL", 5, [("ADD", 2), ("ADD", 3)]),
    ("BIGGER", 4, [("SET_VALUE", 4), ("ADD", 1)]), ("BIGGER_OR_EQUAL", 4, [("SET_VALUE", 3), ("ADD", 1)]),
    ("EQUAL_WITH_BITMASK", 6, [("BIT_OR", 2), ("BIT_OR", 4)]),
])
def test_counting_notifies(make: Any, mode: str, awaited: int, recorded: list[tuple[str, int]]) -> None:
    notify, waiter, recorder = make("counting", 0), make("stream"), make("stream")
    ok(lib.aclrtCntNotifyRecord(notify, recorder, ffi.new("aclrtCntNotifyRecordInfo *", {"mode": 0, "value": 1000})))
    ok(lib.aclrtCntNotifyReset(notify, recorder))
    info = ffi.new("aclrtCntNotifyWaitInfo *")
    info.mode, info.value = getattr(lib, f"ACL_RT_CNT_NOTIFY_WAIT_{mode}_MODE"), awaited
    codes = []
    ok(lib.aclrtSynchronizeStream(recorder))
    for step, (how, value) in enumerate(recorded):
        change = ffi.new("aclrtCntNotifyRecordInfo *")
        change.mode, change.value = getattr(lib, f"ACL_RT_CNT_NOTIFY_RECORD_{how}_MODE"), value
        ok(lib.aclrtCntNotifyRecord(notify, recorder, change))
        if step == 0:
            ok(lib.aclrtSynchronizeStream(recorder))
            ok(lib.aclrtCntNotifyWaitWithTimeout(notify, waiter, info))
        codes.append(lib.aclrtSynchronizeStreamWithTimeout(waiter, 30 if step == 0 else 5000))
    assert codes == [lib.ACL_ERROR_RT_STREAM_SYNC_TIMEOUT, 0]


@pytest.mark.parametrize(("flag", "wanted", "before", "after"), [
    ("GEQ", 5, 2**64 - 1, 5), ("EQ", 7, 6, 7), ("AND", 4, 3, 12), ("NOR", 2**64 - 1, 0, None),
])
def test_values_that_streams_wait_for(make: Any, flag: str, wanted: int, before: int, after: int | None) -> None:
    cell = device_memory(make, np.array([before], np.uint64))
    waiter, writer = make("stream"), make("stream")
    ok(lib.aclrtValueWait(cell, wanted, getattr(lib, f"ACL_STREAM_WAIT_VALUE_{flag}"), waiter))
    assert lib.aclrtSynchronizeStreamWithTimeout(waiter, 20) == lib.ACL_ERROR_RT_STREAM_SYNC_TIMEOUT
    if after is not None:
        ok(lib.aclrtValueWrite(cell, after, 0, writer))
        ok(lib.aclrtSynchronizeStreamWithTimeout(waiter, 5000))
    bad = [lib.aclrtValueWrite(cell, 0, 1, writer), lib.aclrtValueWait(cell, 0, 4, waiter),
           lib.aclrtValueWrite(ffi.cast("char *", cell) + 4, 0, 0, writer),
           lib.aclrtValueWrite(at(np.zeros(1, np.uint64)), 0, 0, writer)]
    assert bad == [lib.ACL_ERROR_RT_PARAM_INVALID] * 4
