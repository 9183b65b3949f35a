"""Streams through the C functions."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy as np
import pytest
from raw import NULL, blocked, current, device_memory, make, number, ok, out, read, release, runtime, stream

from pyacl.capi import ffi, lib

__all__ = ["current", "make", "runtime", "stream"]


@pytest.mark.parametrize("function", ["aclrtSynchronizeStream", "aclrtDestroyStream", "aclrtDestroyStreamForce"])
def test_what_is_no_stream(make: Any, function: str) -> None:
    call = getattr(lib, function)
    event = make("event")
    dead = out("aclrtStream *", lib.aclrtCreateStream)
    ok(lib.aclrtDestroyStream(dead))
    for wrong in (event, dead, ffi.cast("void *", 0x1234)):
        assert call(wrong) == lib.ACL_ERROR_RT_INVALID_HANDLE
        assert lib.aclGetRecentErrMsg() != NULL
    if function != "aclrtSynchronizeStream":
        assert call(NULL) == lib.ACL_ERROR_INVALID_PARAM


def test_stream_attributes(make: Any) -> None:
    flags = lib.ACL_STREAM_FAST_LAUNCH | lib.ACL_STREAM_FAST_SYNC
    stream = make("stream with", 3, flags)
    cell = ffi.new("uint32_t *")
    ok(lib.aclrtStreamGetFlags(stream, cell))
    assert cell[0] == flags
    ok(lib.aclrtStreamGetPriority(stream, cell))
    assert cell[0] == 3
    value = ffi.new("aclrtStreamAttrValue *")
    value.userCustomTag = 77
    ok(lib.aclrtSetStreamAttribute(stream, lib.ACL_STREAM_ATTR_USER_CUSTOM_TAG, value))
    value.userCustomTag = 0
    ok(lib.aclrtGetStreamAttribute(stream, lib.ACL_STREAM_ATTR_USER_CUSTOM_TAG, value))
    assert value.userCustomTag == 77
    ok(lib.aclrtSetStreamOverflowSwitch(stream, 1))
    ok(lib.aclrtGetStreamOverflowSwitch(stream, cell))
    assert cell[0] == 1
    ids = [make("stream") for _ in range(3)]
    numbers = set()
    for each in ids:
        found = ffi.new("int32_t *")
        ok(lib.aclrtStreamGetId(each, found))
        numbers.add(found[0])
    assert len(numbers) == 3
    ok(lib.aclrtSetStreamFailureMode(stream, lib.ACL_CONTINUE_ON_FAILURE))
    assert lib.aclrtSetStreamFailureMode(stream, lib.ACL_CONTINUE_ON_FAILURE) != 0  # once
    assert lib.aclrtCreateStreamWithConfig(ffi.new("aclrtStream *"), 8, 0) != 0
    assert lib.aclrtCreateStream(NULL) == lib.ACL_ERROR_INVALID_PARAM


def test_streams_by_configuration_handle() -> None:
    config = lib.aclrtCreateStreamConfigHandle()
    flag, priority = ffi.new("size_t *", lib.ACL_STREAM_FAST_SYNC), ffi.new("uint32_t *", 5)
    ok(lib.aclrtSetStreamConfigOpt(config, lib.ACL_RT_STREAM_FLAG, flag, 8))
    ok(lib.aclrtSetStreamConfigOpt(config, lib.ACL_RT_STREAM_PRIORITY, priority, 4))
    assert lib.aclrtSetStreamConfigOpt(config, lib.ACL_RT_STREAM_PRIORITY, priority, 8) == lib.ACL_ERROR_INVALID_PARAM
    stream = out("aclrtStream *", lib.aclrtCreateStreamV2, config)
    ok(lib.aclrtDestroyStreamConfigHandle(config))
    assert lib.aclrtDestroyStreamConfigHandle(config) != 0
    cell = ffi.new("uint32_t *")
    ok(lib.aclrtStreamGetPriority(stream, cell))
    assert cell[0] == 5
    ok(lib.aclrtDestroyStream(stream))


def test_streams_run_out() -> None:
    free = out("uint32_t *", lib.aclrtGetStreamAvailableNum)
    made = []
    try:
        for _ in range(free):
            made.append(out("aclrtStream *", lib.aclrtCreateStream))
        assert out("uint32_t *", lib.aclrtGetStreamAvailableNum) == 0
        assert lib.aclrtCreateStream(ffi.new("aclrtStream *")) == lib.ACL_ERROR_RT_NO_STREAM_RESOURCE
    finally:
        for each in made:
            ok(lib.aclrtDestroyStream(each))
    assert out("uint32_t *", lib.aclrtGetStreamAvailableNum) == free


def test_stream_state_callbacks() -> None:
    heard: list[tuple[int, int]] = []

    @ffi.callback("aclrtStreamStateCallback")
    def listen(stream: Any, state: int, args: Any) -> None:
        heard.append((number(stream), state))

    ok(lib.aclrtRegStreamStateCallback(b"test", listen, NULL))
    assert lib.aclrtRegStreamStateCallback(b"test", listen, NULL) != 0
    stream = out("aclrtStream *", lib.aclrtCreateStream)
    ok(lib.aclrtDestroyStream(stream))
    ok(lib.aclrtRegStreamStateCallback(b"test", NULL, NULL))
    ok(lib.aclrtDestroyStream(out("aclrtStream *", lib.aclrtCreateStream)))
    assert heard == [(number(stream), lib.ACL_RT_STREAM_STATE_CREATE_POST),
                     (number(stream), lib.ACL_RT_STREAM_STATE_DESTROY_PRE)]


def test_timeouts(make: Any, stream: Any) -> None:
    event = blocked(make, stream)
    later = make("event")
    ok(lib.aclrtRecordEvent(later, stream))
    assert lib.aclrtSynchronizeStreamWithTimeout(stream, 20) == lib.ACL_ERROR_RT_STREAM_SYNC_TIMEOUT
    assert lib.aclrtSynchronizeEventWithTimeout(later, 20) == lib.ACL_ERROR_RT_EVENT_SYNC_TIMEOUT
    assert lib.aclrtSynchronizeEventWithTimeout(event, 20) == lib.ACL_ERROR_RT_EVENT_SYNC_TIMEOUT
    assert lib.aclrtSynchronizeDeviceWithTimeout(20) == lib.ACL_ERROR_RT_STREAM_SYNC_TIMEOUT
    for call in (lib.aclrtSynchronizeStreamWithTimeout, lib.aclrtSynchronizeEventWithTimeout):
        assert call(stream, -2) == lib.ACL_ERROR_RT_PARAM_INVALID
    status = ffi.new("aclrtStreamStatus *")
    for _ in range(5):
        ok(lib.aclrtStreamQuery(stream, status))
        assert status[0] == lib.ACL_STREAM_STATUS_NOT_READY
    release(event)
    ok(lib.aclrtSynchronizeStreamWithTimeout(stream, -1))
    ok(lib.aclrtStreamQuery(stream, status))
    assert status[0] == lib.ACL_STREAM_STATUS_COMPLETE
    ok(lib.aclrtSynchronizeDeviceWithTimeout(1000))


def test_a_wait_that_times_out_is_the_streams_fault(make: Any, stream: Any) -> None:
    ok(lib.aclrtStreamWaitEventWithTimeout(stream, make("event"), 1))
    assert lib.aclrtStreamWaitEventWithTimeout(stream, make("event"), -1) == lib.ACL_ERROR_RT_PARAM_INVALID
    assert lib.aclrtSynchronizeStream(stream) == lib.ACL_ERROR_RT_WAIT_TIMEOUT
    ok(lib.aclrtSynchronizeStream(stream))


def test_abort_drops_what_is_queued(make: Any, stream: Any) -> None:
    cell = device_memory(make, np.zeros(8, np.uint8))
    blocked(make, stream)
    ok(lib.aclrtMemsetAsync(cell, 8, 1, 8, stream))
    ok(lib.aclrtStreamAbort(stream))
    assert lib.aclrtSynchronizeStream(stream) == lib.ACL_ERROR_RT_STREAM_ABORT
    ok(lib.aclrtMemsetAsync(cell, 4, 2, 4, stream))
    ok(lib.aclrtSynchronizeStream(stream))
    assert read(cell, 8).tolist() == [2] * 4 + [0] * 4


def test_stop_drops_only_the_first(make: Any, stream: Any) -> None:
    cell = device_memory(make, np.zeros(8, np.uint8))
    blocked(make, stream)
    ok(lib.aclrtMemsetAsync(cell, 8, 1, 8, stream))
    ok(lib.aclrtStreamStop(stream))
    ok(lib.aclrtSynchronizeStream(stream))
    assert read(cell, 8).tolist() == [1] * 8
    assert lib.aclrtStreamStop(out("aclrtStream *", lib.aclrtCtxGetCurrentDefaultStream)) != 0


def test_destroying_finishes_and_forced_destroying_drops(make: Any) -> None:
    cell = device_memory(make, np.zeros(8, np.uint8))
    for destroy, value in ((lib.aclrtDestroyStream, 1), (lib.aclrtDestroyStreamForce, 2)):
        stream = out("aclrtStream *", lib.aclrtCreateStream)
        if value == 2:
            blocked(make, stream)
        ok(lib.aclrtMemsetAsync(cell, 8, value, 8, stream))
        ok(destroy(stream))
        assert read(cell, 8).tolist() == [1] * 8


def test_several_threads_synchronise_one_stream(make: Any, stream: Any) -> None:
    cell = device_memory(make, np.zeros(1, np.int32))
    one = device_memory(make, np.ones(1, np.int32))
    context = out("aclrtContext *", lib.aclrtGetCurrentContext)
    seen: list[int] = []

    def work() -> None:
        assert lib.aclrtSetCurrentContext(context) == 0
        for _ in range(50):
            assert lib.aclrtReduceAsync(cell, one, 4, lib.ACL_RT_MEMCPY_SDMA_AUTOMATIC_SUM, lib.ACL_INT32, stream,
                                        NULL) == 0
            assert lib.aclrtSynchronizeStream(stream) == 0
        seen.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(seen), read(cell, 1, np.int32)[0]) == (4, 200)


def test_queued_work_is_not_visible_before_it_is_awaited(make: Any, stream: Any) -> None:
    cell = device_memory(make, np.zeros(16, np.uint8))
    gate = blocked(make, stream)
    ok(lib.aclrtMemsetAsync(cell, 16, 5, 16, stream))
    assert read(cell, 16).tolist() == [0] * 16  # a synchronous copy does not wait for streams
    release(gate)
    ok(lib.aclrtSynchronizeStream(stream))
    assert read(cell, 16).tolist() == [5] * 16


def test_overflow_status_is_written_on_the_stream(make: Any, stream: Any) -> None:
    status = device_memory(make, np.full(64, 7, np.uint8))
    ok(lib.aclrtResetOverflowStatus(stream))
    ok(lib.aclrtGetOverflowStatus(status, 64, stream))
    ok(lib.aclrtSynchronizeStream(stream))
    assert not read(status, 64).any()
    assert lib.aclrtGetOverflowStatus(status, 8, stream) == lib.ACL_ERROR_RT_PARAM_INVALID


def test_memory_from_ctypes_is_pageable(make: Any, stream: Any) -> None:
    source = (ctypes.c_uint8 * 32)(*range(32))
    cell = make("device", 32, 0)
    ok(lib.aclrtMemcpyAsync(cell, 32, ffi.cast("void *", ctypes.addressof(source)), 32, lib.ACL_MEMCPY_HOST_TO_DEVICE,
                            stream))
    ctypes.memset(source, 0, 32)  # the call returned after the copy
    ok(lib.aclrtSynchronizeStream(stream))
    assert read(cell, 32).tolist() == list(range(32))
