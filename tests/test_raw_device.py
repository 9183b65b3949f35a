"""Initialisation, devices and contexts through the C functions."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
from raw import NULL, current, make, ok, out, program, runtime, stream

from pyacl.capi import ffi, lib

__all__ = ["current", "make", "runtime", "stream"]


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


def test_paths_are_bytes(tmp_path: Path) -> None:
    assert program(f"""
        import os
        os.chdir({str(tmp_path)!r})
        print(lib.aclInit(b"\\xa0.json"), b"\\xa0.json" in ffi.string(lib.aclGetRecentErrMsg()))
        open(b"\\xa0.json", "w").write("{{}}")
        print(lib.aclInit(b"\\xa0.json"))
    """).split() == [str(lib.ACL_ERROR_INVALID_FILE), "True", "0"]


def test_init_and_finalize_callbacks() -> None:
    assert program("""
        heard = []
        @ffi.callback("aclInitCallbackFunc")
        def began(config, length, data): heard.append("init"); return int(ffi.cast("intptr_t", data))
        @ffi.callback("aclFinalizeCallbackFunc")
        def ended(data): heard.append("end"); return 0
        data = lambda code: ffi.cast("void *", code)
        kind = lib.ACL_REG_TYPE_OTHER
        print(lib.aclInitCallbackRegister(kind, began, data(5)), lib.aclInit(NULL),
              lib.aclInitCallbackUnRegister(kind, began))
        print(lib.aclInit(NULL), heard)
        print(lib.aclInitCallbackRegister(kind, began, data(0)), heard,
              lib.aclFinalizeCallbackRegister(kind, ended, NULL))
        print(lib.aclFinalize(), heard, lib.aclInitCallbackRegister(kind, NULL, NULL))
    """).splitlines() == ["0 5 0", "0 ['init']", "0 ['init', 'init'] 0", "0 ['init', 'init', 'end'] 100000"]


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
