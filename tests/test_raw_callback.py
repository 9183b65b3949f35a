"""Host functions, callbacks and faults through the C functions."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from raw import NULL, blocked, current, device_memory, make, ok, out, program, read, release, runtime, stream

from pyacl.capi import ffi, lib

__all__ = ["current", "make", "runtime", "stream"]


def test_host_functions_run_in_order_on_another_thread(make: Any, stream: Any) -> None:
    cell = device_memory(make, np.zeros(1, np.uint8))
    seen: list[Any] = []

    @ffi.callback("aclrtHostFunc")
    def look(args: Any) -> None:
        seen.append((int(ffi.cast("intptr_t", args)), threading.get_ident() != here))
        seen.append([lib.aclrtMalloc(ffi.new("void **"), 64, 0), lib.aclrtSynchronizeDevice(), lib.aclrtSetDevice(0)])

    here = threading.get_ident()
    gate = blocked(make, stream)
    ok(lib.aclrtLaunchHostFunc(stream, look, ffi.cast("void *", 42)))
    ok(lib.aclrtMemsetAsync(cell, 1, 9, 1, stream))
    assert not seen
    release(gate)
    ok(lib.aclrtSynchronizeStream(stream))
    assert seen[0] == (42, True)
    assert all(seen[1]), "the runtime must refuse calls from inside a host function"
    assert read(cell, 1)[0] == 9
    assert lib.aclrtLaunchHostFunc(stream, NULL, NULL) == lib.ACL_ERROR_INVALID_PARAM


def test_a_host_function_runs_although_nobody_synchronises(stream: Any) -> None:
    called = threading.Event()

    @ffi.callback("aclrtHostFunc")
    def tell(args: Any) -> None:
        called.set()

    ok(lib.aclrtLaunchHostFunc(stream, tell, NULL))
    assert called.wait(30)
    ok(lib.aclrtSynchronizeStream(stream))


def test_callbacks_need_a_thread_that_serves_them(stream: Any) -> None:
    seen: list[tuple[int, int]] = []
    codes: list[int] = []
    refused, ready, finish = (threading.Event() for _ in range(3))

    @ffi.callback("aclrtCallback")
    def note(data: Any) -> None:
        seen.append((int(ffi.cast("intptr_t", data)), threading.get_ident()))

    def serve() -> None:
        codes.append(lib.aclrtProcessReport(10))
        refused.set()
        ready.wait()
        codes.append(lib.aclrtProcessReport(10))
        while not finish.is_set():
            lib.aclrtProcessReport(10)
        codes.append(lib.aclrtProcessReport(0))

    block = lib.ACL_CALLBACK_BLOCK
    assert lib.aclrtLaunchCallback(note, NULL, block, stream) == lib.ACL_ERROR_RT_STREAM_NO_CB_REG
    thread = threading.Thread(target=serve)
    thread.start()
    assert thread.ident is not None
    refused.wait()
    ok(lib.aclrtSubscribeReport(thread.ident, stream))
    assert lib.aclrtSubscribeReport(thread.ident, stream) == lib.ACL_ERROR_RT_STREAM_SUBSCRIBE
    assert lib.aclrtLaunchHostFunc(stream, note, NULL) != 0, "the two schemes must not be mixed on one stream"
    ready.set()
    assert lib.aclrtLaunchCallback(note, NULL, 5, stream) == lib.ACL_ERROR_INVALID_PARAM
    for value in (1, 2, 3):
        ok(lib.aclrtLaunchCallback(note, ffi.cast("void *", value), block, stream))
    ok(lib.aclrtSynchronizeStream(stream))
    assert seen == [(value, thread.ident) for value in (1, 2, 3)]
    finish.set()
    thread.join()
    ok(lib.aclrtUnSubscribeReport(thread.ident, stream))
    assert codes[0] == lib.ACL_ERROR_RT_THREAD_SUBSCRIBE
    assert codes[1] in (0, lib.ACL_ERROR_RT_REPORT_TIMEOUT)
    assert codes[2] == lib.ACL_ERROR_INVALID_PARAM


def test_faults_are_told_once_and_to_everybody(make: Any, stream: Any) -> None:
    told: list[tuple[int, ...]] = []

    @ffi.callback("aclrtExceptionInfoCallback")
    def hear(info: Any) -> None:
        told.append((lib.aclrtGetErrorCodeFromExceptionInfo(info), lib.aclrtGetDeviceIdFromExceptionInfo(info),
                     lib.aclrtGetStreamIdFromExceptionInfo(info), lib.aclrtGetThreadIdFromExceptionInfo(info)))

    pinned, gone = make("host", 64), out("void **", lib.aclrtMalloc, 64, 0)
    ident = ffi.new("int32_t *")
    ok(lib.aclrtStreamGetId(stream, ident))
    ok(lib.aclrtSetExceptionInfoCallback(hear))
    for _ in range(2):
        ok(lib.aclrtExceptionInfoCallbackRegister(hear))
    gate = blocked(make, stream)
    ok(lib.aclrtMemcpyAsync(gone, 64, pinned, 64, lib.ACL_MEMCPY_HOST_TO_DEVICE, stream))
    ok(lib.aclrtFree(gone))  # while the copy still needs it
    release(gate)
    code = lib.aclrtSynchronizeStream(stream)
    assert code >= 500000
    ok(lib.aclrtSynchronizeStream(stream))
    assert told == [(code, 0, ident[0], threading.get_native_id())] * 2
    ok(lib.aclrtSetExceptionInfoCallback(NULL))
    ok(lib.aclrtExceptionInfoCallbackUnregister(hear))
    assert lib.aclrtExceptionInfoCallbackRegister(NULL) == lib.ACL_ERROR_RT_PARAM_INVALID
    assert lib.aclrtGetTaskIdFromExceptionInfo(NULL) == 0xFFFFFFFF


def test_a_failure_may_stop_the_context() -> None:
    assert program("""
        lib.aclInit(NULL); lib.aclrtSetDevice(0)
        context = out("aclrtContext *", lib.aclrtCreateContext, 0)
        one, two = (out("aclrtStream *", lib.aclrtCreateStream) for _ in range(2))
        print(lib.aclrtSetStreamFailureMode(one, lib.ACL_STOP_ON_FAILURE))
        pinned = out("void **", lib.aclrtMallocHost, 64)
        gone, cell = (out("void **", lib.aclrtMalloc, 64, 0) for _ in "ab")
        event = out("aclrtEvent *", lib.aclrtCreateEvent)
        lib.aclrtMemset(cell, 64, 0, 64)
        lib.aclrtStreamWaitEvent(one, event)
        lib.aclrtMemcpyAsync(gone, 64, pinned, 64, lib.ACL_MEMCPY_HOST_TO_DEVICE, one)
        lib.aclrtMemsetAsync(cell, 64, 1, 64, one)
        lib.aclrtFree(gone)
        lib.aclrtRecordEvent(event, two)
        code = lib.aclrtSynchronizeStream(one)
        seen = ffi.new("uint8_t[64]")
        lib.aclrtMemcpy(seen, 64, cell, 64, lib.ACL_MEMCPY_DEVICE_TO_HOST)
        print(code > 500000, seen[0], lib.aclrtMemsetAsync(cell, 64, 1, 64, one) == code,
              lib.aclrtMemsetAsync(cell, 64, 1, 64, two) == code, lib.aclrtSynchronizeStream(one))
    """).split() == ["0", "True", "0", "True", "True", "0"]
