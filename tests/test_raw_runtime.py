"""The runtime's C functions, called as C programs call them: `pyacl.lib` and nothing else."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import pytest

from pyacl.capi import ffi, lib

NULL = ffi.NULL


def ok(code: int) -> None:
    """Fails with the driver's own words."""
    if code:
        text = lib.aclGetRecentErrMsg()
        raise AssertionError(f"{code}: {ffi.string(text).decode() if text != NULL else 'no text'}")


@pytest.fixture(scope="module", autouse=True)
def _runtime() -> Iterator[None]:
    assert lib.aclInit(NULL) in (0, lib.ACL_ERROR_REPEAT_INITIALIZE)
    ok(lib.aclrtSetDevice(0))
    yield
    ok(lib.aclrtSetDevice(0))
    ok(lib.aclrtResetDevice(0))
    ok(lib.aclrtResetDevice(0))


@pytest.fixture(autouse=True)
def _current() -> None:
    context = out("aclrtContext *", lib.aclrtGetCurrentContext)
    ok(lib.aclrtSetCurrentContext(context))


def out(kind: str, function: Callable[..., int], *args: Any, first: bool = True) -> Any:
    """What `function` writes through its first (or last) parameter."""
    cell = ffi.new(kind)
    ok(function(cell, *args) if first else function(*args, cell))
    return cell[0]


@pytest.fixture
def make() -> Iterator[Callable[..., Any]]:
    """make("Stream"), make("Event") ...: an object that the fixture destroys, if it still exists."""
    made: list[tuple[Callable[[Any], int], Any]] = []

    def create(name: str, *args: Any) -> Any:
        kind, function, destroy = {
            "stream": ("aclrtStream *", lib.aclrtCreateStream, lib.aclrtDestroyStreamForce),
            "stream with": ("aclrtStream *", lib.aclrtCreateStreamWithConfig, lib.aclrtDestroyStreamForce),
            "event": ("aclrtEvent *", lib.aclrtCreateEvent, lib.aclrtDestroyEvent),
            "role event": ("aclrtEvent *", lib.aclrtCreateEventWithFlag, lib.aclrtDestroyEvent),
            "extended event": ("aclrtEvent *", lib.aclrtCreateEventExWithFlag, lib.aclrtDestroyEvent),
            "notify": ("aclrtNotify *", lib.aclrtCreateNotify, lib.aclrtDestroyNotify),
            "counting": ("aclrtCntNotify *", lib.aclrtCntNotifyCreate, lib.aclrtCntNotifyDestroy),
            "device": ("void **", lib.aclrtMalloc, lib.aclrtFree),
            "host": ("void **", lib.aclrtMallocHost, lib.aclrtFreeHost),
        }[name]
        found = out(kind, function, *args)
        made.append((destroy, found))
        return found

    yield create
    for destroy, found in reversed(made):
        destroy(found)


@pytest.fixture
def stream(make: Any) -> Any:
    return make("stream")


def device_memory(make: Any, data: np.ndarray) -> Any:
    """Device memory with the contents of an array."""
    pointer = make("device", data.nbytes, 0)
    ok(lib.aclrtMemcpy(pointer, data.nbytes, at(data), data.nbytes, lib.ACL_MEMCPY_HOST_TO_DEVICE))
    return pointer


def at(array: np.ndarray) -> Any:
    return ffi.cast("void *", array.ctypes.data)


def number(pointer: Any) -> int:
    return int(ffi.cast("uintptr_t", pointer))


def read(pointer: Any, count: int, dtype: Any = np.uint8) -> np.ndarray:
    found = np.empty(count, dtype)
    ok(lib.aclrtMemcpy(at(found), found.nbytes, pointer, found.nbytes, lib.ACL_MEMCPY_DEVICE_TO_HOST))
    return found


def program(text: str, **environment: str) -> str:
    """What a program prints that has the runtime for itself."""
    head = textwrap.dedent("""
        from pyacl.capi import ffi, lib
        NULL = ffi.NULL
        def out(kind, function, *args):
            cell = ffi.new(kind)
            code = function(*args, cell) if kind.startswith("last ") else function(cell, *args)
            assert code == 0, (function, code, ffi.string(lib.aclGetRecentErrMsg()))
            return cell[0]
    """)
    done = subprocess.run([sys.executable, "-c", head + textwrap.dedent(text)], capture_output=True, text=True,
                          env={**os.environ, **environment}, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


# Initialisation

def test_a_second_init_is_counted_and_says_so() -> None:
    assert program("""
        print(lib.aclInit(NULL), lib.aclInit(NULL), lib.aclInit(NULL))
        count = ffi.new("uint64_t *")
        print(lib.aclFinalizeReference(count), count[0], lib.aclFinalizeReference(NULL))
        print(lib.aclFinalizeReference(count), count[0], lib.aclFinalizeReference(count), lib.aclFinalize())
        print(lib.aclInit(NULL), lib.aclInit(NULL), lib.aclFinalize(), lib.aclFinalize(), lib.aclInit(NULL))
        print(lib.aclrtSetDevice(0), lib.aclFinalize(), lib.aclrtSetDevice(0))
    """).split() == ["0", "100002", "100002", "0", "2", "0", "0", "0", "100037", "100037", "0", "100002", "0", "100037",
                     "0", "0", "0", "100001"]


def test_configuration_files(tmp_path: Path) -> None:
    files: dict[str, Any] = {
        "good.json": ({"err_msg_mode": "1", "max_opqueue_num": "100", "defaultDevice": {"default_device": "0"}}, 0),
        "other.json": ({"err_msg_mode": "0"}, lib.ACL_ERROR_INVALID_PARAM),
        "mode.json": ({"err_msg_mode": "7"}, lib.ACL_ERROR_FILE_ATTR_INVALID),
        "queue.json": ({"max_opqueue_num": "many"}, lib.ACL_ERROR_INVALID_MAX_OPQUEUE_NUM_CONFIG),
        "dump.json": ({"dump": {"dump_level": "everything"}}, lib.ACL_ERROR_INVALID_DUMP_CONFIG),
        "deep.json": ({"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {}}}}}}}}}}},
                      lib.ACL_ERROR_PARSE_FILE),
        "list.json": ([], lib.ACL_ERROR_PARSE_FILE),
    }
    for name, (content, _) in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "empty.json").write_text("{}")
    faults = [n for n in files if n not in ("good.json", "other.json")]
    told = program(f"""
        import os, threading
        os.chdir({str(tmp_path)!r})
        for name in {[*faults, "broken.json", "missing.json"]!r}:
            print(lib.aclInit(name.encode()))
        print(lib.aclInit(b"good.json"), lib.aclInit(b"other.json"), lib.aclInit(b"good.json"))
        print(out("int32_t *", lib.aclrtGetDevice))
        while lib.aclGetRecentErrMsg(): pass
        thread = threading.Thread(target=lambda: lib.aclrtSetDevice(77)); thread.start(); thread.join()
        print(b"77" in ffi.string(lib.aclGetRecentErrMsg()))
        print(lib.aclFinalize(), lib.aclInit(b"empty.json"), lib.aclInit(NULL))
    """).split()
    expected = [files[n][1] for n in faults] + [lib.ACL_ERROR_PARSE_FILE, lib.ACL_ERROR_INVALID_FILE,
                                               0, lib.ACL_ERROR_INVALID_PARAM, lib.ACL_ERROR_REPEAT_INITIALIZE]
    assert told == [*map(str, expected), "0", "True", "0", "0", "100002"]


def test_init_and_finalize_callbacks() -> None:
    assert program("""
        heard = []
        @ffi.callback("aclInitCallbackFunc")
        def began(config, length, data): heard.append("init"); return int(ffi.cast("intptr_t", data))
        @ffi.callback("aclFinalizeCallbackFunc")
        def ended(data): heard.append("end"); return 0
        data = lambda code: ffi.cast("void *", code)
        kind = lib.ACL_REG_TYPE_OTHER
        print(lib.aclInitCallbackRegister(kind, began, data(5)), lib.aclInit(NULL), lib.aclInitCallbackUnRegister(kind, began))
        print(lib.aclInit(NULL), heard)
        print(lib.aclInitCallbackRegister(kind, began, data(0)), heard, lib.aclFinalizeCallbackRegister(kind, ended, NULL))
        print(lib.aclFinalize(), heard, lib.aclInitCallbackRegister(kind, NULL, NULL))
    """).splitlines() == ["0 5 0", "0 ['init']", "0 ['init', 'init'] 0", "0 ['init', 'init', 'end'] 100000"]


# Devices

FORCE = {
    "set set reset reset force": [0, 0, 0, 0, 1],
    "set set force reset": [0, 0, 0, 1],
    "set force": [0, 0],
    "set set reset force": [0, 0, 0, 0],
    "reset": [1],
    "set reset set reset reset": [0, 0, 0, 0, 1],
}


def test_device_references() -> None:
    told = program(f"""
        lib.aclInit(NULL)
        calls = dict(set=lib.aclrtSetDevice, reset=lib.aclrtResetDevice, force=lib.aclrtResetDeviceForce)
        for line in {list(FORCE)!r}:
            print([int(calls[name](0) != 0) for name in line.split()])
            assert lib.aclrtResetDeviceForce(0) in (0, lib.ACL_ERROR_RT_CONTEXT_NULL)
        codes = []
        import threading
        def both(): codes.append(lib.aclrtSetDevice(0)); barrier.wait(); codes.append(lib.aclrtResetDeviceForce(0))
        barrier = threading.Barrier(2)
        threads = [threading.Thread(target=both) for _ in range(2)]
        [t.start() for t in threads]; [t.join() for t in threads]
        print([int(c != 0) for c in sorted(codes)])
    """).splitlines()
    assert told == [str(codes) for codes in FORCE.values()] + ["[0, 0, 0, 1]"]


def test_what_goes_with_the_device() -> None:
    assert program("""
        lib.aclInit(NULL)
        print(lib.aclrtSetDevice(0))
        default = out("aclrtContext *", lib.aclrtGetCurrentContext)
        stream = out("aclrtStream *", lib.aclrtCreateStream)
        memory = out("void **", lib.aclrtMalloc, 64, 0)
        made = out("aclrtContext *", lib.aclrtCreateContext, 0)
        print(lib.aclrtResetDevice(0), lib.aclrtSetDevice(0))
        print(lib.aclrtSetCurrentContext(default), lib.aclrtSetCurrentContext(made), lib.aclrtDestroyStream(stream),
              lib.aclrtFree(memory))
        print(lib.aclrtResetDevice(0), lib.aclrtGetDevice(ffi.new("int32_t *")), lib.aclrtSynchronizeDevice())
    """).split() == ["0", "0", "0", "107017", "107017", "107017", "207002", "0", "107002", "107002"]


def test_a_thread_begins_without_context(stream: Any) -> None:
    codes: list[int] = []

    def work() -> None:
        codes.append(lib.aclrtGetDevice(ffi.new("int32_t *")))
        codes.append(lib.aclrtMalloc(ffi.new("void **"), 64, 0))
        codes.append(lib.aclrtSynchronizeStream(stream))
        codes.append(lib.aclrtSetDevice(0))
        codes.append(lib.aclrtSynchronizeStream(stream))  # the default context is every thread's
        codes.append(lib.aclrtResetDevice(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert codes == [lib.ACL_ERROR_RT_CONTEXT_NULL] * 3 + [0, 0, 0]


def test_facts_about_the_device() -> None:
    count = out("uint32_t *", lib.aclrtGetDeviceCount)
    assert count >= 1
    assert out("int32_t *", lib.aclrtGetDevice) == 0
    assert out("aclrtRunMode *", lib.aclrtGetRunMode) == lib.ACL_HOST
    assert ffi.string(lib.aclrtGetSocName()).startswith(b"Ascend")
    info = ffi.new("int64_t *")
    ok(lib.aclrtGetDeviceInfo(0, lib.ACL_DEV_ATTR_AICORE_CORE_NUM, info))
    assert info[0] > 0
    older = ffi.new("int64_t *")
    ok(lib.aclGetDeviceCapability(0, lib.ACL_DEVICE_INFO_AI_CORE_NUM, older))
    assert older[0] == info[0]
    assert lib.aclrtSetDevice(count) == lib.aclrtSetDevice(-1) == lib.ACL_ERROR_RT_INVALID_DEVICEID
    assert lib.aclrtGetDeviceCount(NULL) == lib.ACL_ERROR_INVALID_PARAM
    status = ffi.new("aclrtDeviceStatus *")
    ok(lib.aclrtQueryDeviceStatus(0, status))
    assert status[0] == lib.ACL_RT_DEVICE_STATUS_NORMAL
    rates = ffi.new("aclrtUtilizationInfo *")
    ok(lib.aclrtGetDeviceUtilizationRate(0, rates))
    assert 0 <= rates.memoryUtilization <= 100


def test_versions() -> None:
    major, minor, patch = (ffi.new("int32_t *") for _ in range(3))
    ok(lib.aclrtGetVersion(major, minor, patch))
    assert major[0] == lib.ACL_MAJOR_VERSION
    package = ffi.new("aclCANNPackageVersion *")
    ok(lib.aclsysGetCANNVersion(lib.ACL_PKG_NAME_CANN, package))
    parts = [int(p) for p in ffi.string(package.version).decode().split(".")[:2]]
    numeric = ffi.new("int32_t *")
    ok(lib.aclsysGetVersionNum(b"runtime", numeric))
    assert numeric[0] // 100_000 * 100_000 == parts[0] * 10_000_000 + parts[1] * 100_000
    text = ffi.new("char[128]")
    ok(lib.aclsysGetVersionStr(b"runtime", text))
    assert ffi.string(text) == ffi.string(package.version)
    assert lib.aclsysGetVersionNum(b"nothing", numeric) == lib.ACL_ERROR_INVALID_PARAM


def test_sizes_and_halves() -> None:
    sizes = {lib.ACL_FLOAT: 4, lib.ACL_FLOAT16: 2, lib.ACL_INT8: 1, lib.ACL_INT64: 8, lib.ACL_COMPLEX128: 16,
             lib.ACL_BF16: 2, lib.ACL_BOOL: 1, lib.ACL_DT_UNDEFINED: 0}
    assert {t: lib.aclDataTypeSize(t) for t in sizes} == sizes
    for value in (0.0, 1.0, -2.5, 65504.0, 6e-8, float("inf")):
        assert lib.aclFloat16ToFloat(lib.aclFloatToFloat16(value)) == float(np.float16(value))
    assert lib.aclFloatToFloat16(1e9) == 0x7C00


def test_system_parameters() -> None:
    value = ffi.new("int64_t *")
    ok(lib.aclrtGetSysParamOpt(lib.ACL_OPT_ENABLE_DEBUG_KERNEL, value))
    assert value[0] == 0  # the process's has a default, the context's has none
    created = out("aclrtContext *", lib.aclrtCreateContext, 0)
    before = lib.aclrtCtxGetSysParamOpt(lib.ACL_OPT_DETERMINISTIC, value)
    ok(lib.aclrtCtxSetSysParamOpt(lib.ACL_OPT_DETERMINISTIC, 1))
    ok(lib.aclrtCtxGetSysParamOpt(lib.ACL_OPT_DETERMINISTIC, value))
    ok(lib.aclrtDestroyContext(created))
    ok(lib.aclrtSetDevice(0))
    ok(lib.aclrtResetDevice(0))
    assert (before, value[0]) == (lib.ACL_ERROR_RT_SYSPARAMOPT_NOT_SET, 1)
    assert lib.aclrtSetSysParamOpt(lib.ACL_OPT_DETERMINISTIC, 9) == lib.ACL_ERROR_INVALID_PARAM


def test_core_limits(stream: Any) -> None:
    value = ffi.new("uint32_t *")
    cube = lib.ACL_RT_DEV_RES_CUBE_CORE
    ok(lib.aclrtGetDeviceResLimit(0, cube, value))
    all_cores = value[0]
    assert lib.aclrtSetDeviceResLimit(0, cube, all_cores + 1) != 0
    ok(lib.aclrtSetDeviceResLimit(0, cube, 4))
    ok(lib.aclrtSetStreamResLimit(stream, cube, 2))
    seen = []
    for use in (None, lib.aclrtUseStreamResInCurrentThread, lib.aclrtUnuseStreamResInCurrentThread):
        if use is not None:
            ok(use(stream))
        ok(lib.aclrtGetResInCurrentThread(cube, value))
        seen.append(value[0])
    ok(lib.aclrtResetDeviceResLimit(0))
    ok(lib.aclrtGetDeviceResLimit(0, cube, value))
    assert (seen, value[0]) == ([4, 2, 4], all_cores)


def test_texts_and_last_errors() -> None:
    while lib.aclGetRecentErrMsg() != NULL:
        pass
    lib.aclrtGetLastError(lib.ACL_RT_THREAD_LEVEL)
    assert lib.aclrtSetDevice(1000) == lib.ACL_ERROR_RT_INVALID_DEVICEID
    assert lib.aclrtPeekAtLastError(lib.ACL_RT_THREAD_LEVEL) == lib.ACL_ERROR_RT_INVALID_DEVICEID
    assert lib.aclrtGetLastError(lib.ACL_RT_THREAD_LEVEL) == lib.ACL_ERROR_RT_INVALID_DEVICEID
    assert lib.aclrtGetLastError(lib.ACL_RT_THREAD_LEVEL) == 0
    other: list[Any] = []
    thread = threading.Thread(target=lambda: other.append(lib.aclGetRecentErrMsg()))
    thread.start()
    thread.join()
    assert other == [NULL]
    assert b"1000" in ffi.string(lib.aclGetRecentErrMsg())
    assert lib.aclGetRecentErrMsg() == NULL


# Contexts

def test_streams_belong_to_their_context(stream: Any) -> None:
    default = out("aclrtContext *", lib.aclrtGetCurrentContext)
    created = out("aclrtContext *", lib.aclrtCreateContext, 0)
    assert out("aclrtContext *", lib.aclrtGetCurrentContext) == created
    for function in (lib.aclrtSynchronizeStream, lib.aclrtDestroyStream, lib.aclrtDestroyStreamForce):
        assert function(stream) == lib.ACL_ERROR_RT_STREAM_CONTEXT
    own = out("aclrtStream *", lib.aclrtCtxGetCurrentDefaultStream)
    assert lib.aclrtDestroyStream(own) != 0
    ok(lib.aclrtSetCurrentContext(default))
    assert lib.aclrtSynchronizeStream(own) == lib.ACL_ERROR_RT_STREAM_CONTEXT
    ok(lib.aclrtDestroyContext(created))
    assert lib.aclrtDestroyContext(created) == lib.ACL_ERROR_RT_INVALID_HANDLE
    assert lib.aclrtDestroyContext(default) != 0
    assert lib.aclrtSetCurrentContext(NULL) == lib.ACL_ERROR_INVALID_PARAM
    ok(lib.aclrtSynchronizeStream(stream))
    active = ffi.new("int32_t *")
    ok(lib.aclrtGetPrimaryCtxState(0, NULL, active))
    assert active[0] == 1


# Streams

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


def blocked(make: Any, stream: Any) -> Any:
    """Makes a stream wait for an event that nobody has recorded; returns the event."""
    event = make("event")
    ok(lib.aclrtStreamWaitEvent(stream, event))
    return event


def release(event: Any) -> None:
    ok(lib.aclrtRecordEvent(event, NULL))
    ok(lib.aclrtSynchronizeStream(NULL))


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


# Events

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
        lib.aclrtResetEvent(plain, stream), lib.aclrtResetEvent(extended, stream), lib.aclrtQueryEvent(extended, status),
        lib.aclrtQueryEventWaitStatus(extended, waiting), lib.aclrtEventElapsedTime(ms, syncing, syncing),
        lib.aclrtEventGetTimestamp(syncing, ffi.new("uint64_t *")),
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


# Notifies and values

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


# Host functions and callbacks

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
    ready, finish = threading.Event(), threading.Event()

    @ffi.callback("aclrtCallback")
    def note(data: Any) -> None:
        seen.append((int(ffi.cast("intptr_t", data)), threading.get_ident()))

    def serve() -> None:
        codes.append(lib.aclrtProcessReport(10))
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
    ok(lib.aclrtSubscribeReport(thread.ident, stream))
    assert lib.aclrtSubscribeReport(thread.ident, stream) == lib.ACL_ERROR_RT_STREAM_SUBSCRIBE
    assert lib.aclrtLaunchHostFunc(stream, note, NULL) != 0, "the two schemes must not be mixed on one stream"
    while not codes:
        pass
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
        pinned, gone, cell = out("void **", lib.aclrtMallocHost, 64), *(out("void **", lib.aclrtMalloc, 64, 0) for _ in "ab")
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


# Everything is asynchronous

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
