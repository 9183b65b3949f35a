"""The smaller functions of devices, streams, events and the process, through the C functions."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from raw import NULL, current, device_memory, make, ok, out, program, read, runtime, stream

from pyacl.capi import ffi, lib

__all__ = ["current", "make", "runtime", "stream"]

INVALID = lib.ACL_ERROR_INVALID_PARAM


# Devices

def test_numberings_of_devices() -> None:
    told = program("""
        lib.aclInit(NULL)
        def one(function, number):
            cell = ffi.new("int32_t *")
            assert function(number, cell) == 0
            return cell[0]
        for user in range(2):
            physical = one(lib.aclrtGetLogicDevIdByUserDevId, user)
            assert one(lib.aclrtGetUserDevIdByLogicDevId, physical) == user
            assert one(lib.aclrtGetUserDevIdByPhyDevId, physical) == user
            assert one(lib.aclrtGetPhyDevIdByUserDevId, user) == physical
            # Despite their names these two deal in user ids.
            assert one(lib.aclrtGetLogicDevIdByPhyDevId, user) == one(lib.aclrtGetPhyDevIdByLogicDevId, user) == user
            print(physical)
        print(all(f(9, ffi.new("int32_t *")) for f in (
            lib.aclrtGetLogicDevIdByUserDevId, lib.aclrtGetPhyDevIdByLogicDevId, lib.aclrtGetLogicDevIdByPhyDevId,
            lib.aclrtGetUserDevIdByLogicDevId, lib.aclrtGetUserDevIdByPhyDevId)))
    """, PYACL_EMULATOR_DEVICES="3", ASCEND_RT_VISIBLE_DEVICES="2,0")
    assert told.split() == ["2", "0", "True"]


def test_names_of_a_device() -> None:
    text = ffi.new("char[32]")
    ok(lib.aclrtDeviceGetPCIBusId(0, text, 32))
    name = ffi.string(text)
    assert name.count(b":") == 2
    assert out("int32_t *", lambda o: lib.aclrtDeviceGetByPCIBusId(name, o)) == 0
    assert lib.aclrtDeviceGetByPCIBusId(b"ffff:ff:ff.f", ffi.new("int32_t *")) != 0
    assert lib.aclrtDeviceGetPCIBusId(0, text, 3) != 0
    assert lib.aclrtDeviceGetPCIBusId(99, text, 32) == lib.ACL_ERROR_RT_INVALID_DEVICEID
    uuid = ffi.new("aclrtUuid *")
    ok(lib.aclrtDeviceGetUuid(0, uuid))
    assert any(bytes(ffi.buffer(uuid)))
    assert out("int32_t *", lib.aclrtDeviceGetBareTgid) > 0


def test_topology_needs_two_devices() -> None:
    assert lib.aclrtGetDevicesTopo(0, 0, ffi.new("uint64_t *")) != 0
    assert program("""
        lib.aclInit(NULL)
        value = ffi.new("uint64_t *")
        print(lib.aclrtGetDevicesTopo(0, 1, value), value[0] != 0)
    """, PYACL_EMULATOR_DEVICES="2").split() == ["0", "True"]


def test_limits_are_those_that_were_set() -> None:
    limit = lib.ACL_RT_DEV_LIMIT_SIMD_STACK_SIZE
    before = out("size_t *", lambda o: lib.aclrtDeviceGetLimit(limit, o))
    ok(lib.aclrtDeviceSetLimit(limit, 65536))
    assert out("size_t *", lambda o: lib.aclrtDeviceGetLimit(limit, o)) == 65536
    ok(lib.aclrtDeviceSetLimit(limit, before))
    assert lib.aclrtDeviceSetLimit(77, 1) == lib.aclrtDeviceGetLimit(77, ffi.new("size_t *")) != 0


def test_architectures() -> None:
    name = ffi.string(lib.aclrtGetSocName())
    assert out("int32_t *", lambda o: lib.aclrtCheckArchCompatibility(name, o)) == 1
    assert out("int32_t *", lambda o: lib.aclrtCheckArchCompatibility(b"Ascend310", o)) == 0
    assert lib.aclrtCheckArchCompatibility(NULL, ffi.new("int32_t *")) != 0


def test_groups() -> None:
    assert out("uint32_t *", lib.aclrtGetGroupCount) == 1
    info = lib.aclrtCreateGroupInfo()
    cell, size = ffi.new("int32_t *"), ffi.new("size_t *")
    assert lib.aclrtGetGroupInfoDetail(info, 0, lib.ACL_GROUP_AIV_INT, cell, 4, size) == lib.ACL_ERROR_RT_GROUP_NOT_CREATE
    ok(lib.aclrtGetAllGroupInfo(info))
    ok(lib.aclrtGetGroupInfoDetail(info, 0, lib.ACL_GROUP_AIV_INT, cell, 4, size))
    cores = out("int64_t *", lambda o: lib.aclrtGetDeviceInfo(0, lib.ACL_DEV_ATTR_VECTOR_CORE_NUM, o))
    assert (cell[0], size[0]) == (cores, 4)
    assert lib.aclrtGetGroupInfoDetail(info, 0, 99, cell, 4, size) == INVALID
    assert lib.aclrtGetGroupInfoDetail(info, 0, lib.ACL_GROUP_AIV_INT, cell, 2, size) == INVALID
    assert lib.aclrtGetGroupInfoDetail(info, 3, lib.ACL_GROUP_AIV_INT, cell, 4, size) != 0
    ok(lib.aclrtSetGroup(0))
    assert lib.aclrtSetGroup(5) == lib.ACL_ERROR_RT_GROUP_NOT_CREATE
    ok(lib.aclrtDestroyGroupInfo(info))
    assert lib.aclrtDestroyGroupInfo(info) != 0
    ok(lib.aclrtSetTsDevice(lib.ACL_TS_ID_AIVECTOR))
    assert lib.aclrtSetTsDevice(lib.ACL_TS_ID_RESERVED) == INVALID


def test_a_sound_device_has_nothing_to_repair() -> None:
    info = ffi.new("aclrtErrorInfo *")
    ok(lib.aclrtGetErrorVerbose(0, info))
    assert info.errorType == lib.ACL_RT_NO_ERROR
    ok(lib.aclrtRepairError(0, info))
    assert lib.aclrtRepairError(0, NULL) != 0
    several, found = ffi.new("aclrtMemUceInfo[4]"), ffi.new("size_t *", 9)
    ok(lib.aclrtGetMemUceInfo(0, several, 4, found))
    assert found[0] == 0
    assert lib.aclrtGetMemUceInfo(99, several, 4, found) == lib.ACL_ERROR_RT_INVALID_DEVICEID


def test_time_outs_are_multiples_of_an_interval() -> None:
    interval = out("uint64_t *", lib.aclrtGetOpTimeOutInterval)
    actual = ffi.new("uint64_t *")
    for asked in (1, interval, interval + 1, 3 * interval):
        ok(lib.aclrtSetOpExecuteTimeOutV2(asked, actual))
        assert actual[0] == -(-asked // interval) * interval
        assert out("uint32_t *", lib.aclrtGetOpExecuteTimeout) == actual[0] // 1000
    ok(lib.aclrtSetOpExecuteTimeOutWithMs(10_000))
    assert out("uint32_t *", lib.aclrtGetOpExecuteTimeout) >= 10_000
    ok(lib.aclrtSetOpExecuteTimeOut(60))
    assert out("uint32_t *", lib.aclrtGetOpExecuteTimeout) >= 60_000
    ok(lib.aclrtSetOpExecuteTimeOutV2(0, actual))  # the longest
    assert actual[0] == 254 * interval
    ok(lib.aclrtSetOpWaitTimeout(5))
    ok(lib.aclrtSetOpWaitTimeout(0))


def test_overflow_flags(make: Any, stream: Any) -> None:
    status = device_memory(make, np.full(512, 9, np.uint8))
    gets = (lambda size: lib.aclrtGetFloatOverflowStatus(status, size, stream),
            lambda size: lib.aclrtNpuGetFloatOverFlowStatus(status, size, 0, stream))
    clears = (lambda: lib.aclrtResetFloatOverflowStatus(stream), lambda: lib.aclrtNpuClearFloatOverFlowStatus(0, stream))
    for get, clear in zip(gets, clears):
        ok(lib.aclrtMemset(status, 512, 9, 512))
        ok(clear())
        ok(get(512))
        assert read(status, 512).any()  # not before the stream gets there
        ok(lib.aclrtSynchronizeStream(stream))
        assert not read(status, 1)[0]
        assert get(8) != 0
    address = out("void **", lib.aclrtCtxGetFloatOverflowAddr)
    assert address != NULL
    assert not read(address, 512).any()
    assert lib.aclrtCtxGetFloatOverflowAddr(NULL) != 0
    ok(lib.aclrtDeviceL2CacheFlush(NULL))


def test_callbacks_of_a_devices_state() -> None:
    assert program("""
        seen = []
        @ffi.callback("aclrtDeviceStateCallback")
        def note(device, state, args): seen.append((device, state))
        lib.aclInit(NULL)
        assert lib.aclrtRegDeviceStateCallback(b"mine", note, NULL) == 0
        assert lib.aclrtRegDeviceStateCallback(b"mine", note, NULL) != 0
        assert lib.aclrtRegDeviceStateCallback(NULL, note, NULL) != 0
        assert lib.aclrtSetDevice(0) == lib.aclrtResetDevice(0) == 0
        print([state for _, state in seen] == [lib.ACL_RT_DEVICE_STATE_SET_PRE, lib.ACL_RT_DEVICE_STATE_SET_POST,
            lib.ACL_RT_DEVICE_STATE_RESET_PRE, lib.ACL_RT_DEVICE_STATE_RESET_POST])
        assert lib.aclrtRegDeviceStateCallback(b"mine", NULL, NULL) == 0
        assert lib.aclrtSetDevice(0) == lib.aclrtResetDevice(0) == 0
        print(len(seen))
    """).split() == ["True", "4"]


def test_callbacks_of_an_abort() -> None:
    assert program("""
        seen = []
        @ffi.callback("aclrtDeviceTaskAbortCallback")
        def note(device, stage, timeout, args):
            seen.append((device, stage, timeout))
            return 0
        lib.aclInit(NULL); lib.aclrtSetDevice(0)
        assert lib.aclrtSetDeviceTaskAbortCallback(b"mine", note, NULL) == 0
        assert lib.aclrtDeviceTaskAbort(0, 100) == 0
        assert lib.aclrtSetDeviceTaskAbortCallback(b"mine", NULL, NULL) == 0
        assert lib.aclrtDeviceTaskAbort(0, 100) == 0
        print([(d, s) for d, s, _ in seen] == [(0, lib.ACL_RT_DEVICE_TASK_ABORT_PRE), (0, lib.ACL_RT_DEVICE_TASK_ABORT_POST)])
    """).split() == ["True"]


# The process

def test_attributes() -> None:
    names, count = ffi.new("const aclCannAttr **"), ffi.new("size_t *")
    ok(lib.aclGetCannAttributeList(names, count))
    found = {names[0][i]: out("int32_t *", lambda o, i=i: lib.aclGetCannAttribute(names[0][i], o))
             for i in range(count[0])}
    assert found[lib.ACL_CANN_ATTR_BF16] == 1
    assert set(found.values()) <= {0, 1}
    assert lib.aclGetCannAttribute(9999, ffi.new("int32_t *")) == INVALID
    assert lib.aclGetCannAttributeList(NULL, count) != 0


def test_log_lines_go_to_stdout_on_demand() -> None:
    code = """
        lib.aclAppLog(lib.ACL_ERROR, b"main", b"main.cpp", 7, b"it went wrong")
        lib.aclAppLog(lib.ACL_INFO, NULL, NULL, 0, NULL)
        import sys; sys.stdout.flush()
    """
    assert "it went wrong" in program(code, ASCEND_SLOG_PRINT_TO_STDOUT="1")
    assert program(code, ASCEND_SLOG_PRINT_TO_STDOUT="0") == ""


def test_a_finalize_callback_can_be_taken_back() -> None:
    assert program("""
        seen = []
        @ffi.callback("aclFinalizeCallbackFunc")
        def note(user):
            seen.append(1)
            return 0
        lib.aclInit(NULL)
        kind = lib.ACL_REG_TYPE_OTHER
        assert lib.aclFinalizeCallbackRegister(kind, note, NULL) == 0
        assert lib.aclFinalizeCallbackUnRegister(kind, note) == 0
        lib.aclFinalize()
        print(len(seen))
    """).split() == ["0"]


# Streams, events, notifies

def test_numbers_of_tasks_grow(make: Any, stream: Any) -> None:
    cell = device_memory(make, np.zeros(4, np.uint8))
    ok(lib.aclrtMemsetAsync(cell, 4, 1, 4, stream))
    first = out("uint32_t *", lib.aclrtGetThreadLastTaskId)
    ok(lib.aclrtMemsetAsync(cell, 4, 1, 4, stream))
    assert out("uint32_t *", lib.aclrtGetThreadLastTaskId) > first
    ok(lib.aclrtSynchronizeStream(stream))


def test_a_persistent_stream_is_emptied(make: Any, stream: Any) -> None:
    cell = device_memory(make, np.zeros(4, np.uint8))
    lasting = make("stream with", 0, lib.ACL_STREAM_PERSISTENT)
    ok(lib.aclrtMemsetAsync(cell, 4, 1, 4, lasting))
    ok(lib.aclrtPersistentTaskClean(lasting))
    ok(lib.aclrtSynchronizeDevice())
    assert not read(cell, 4).any()
    assert lib.aclrtPersistentTaskClean(stream) != 0


def test_streams_of_no_model_do_not_switch(make: Any, stream: Any) -> None:
    other = make("stream")
    cell = device_memory(make, np.zeros(1, np.int64))
    assert lib.aclrtActiveStream(other, stream) != 0
    assert lib.aclrtSwitchStream(cell, lib.ACL_RT_EQUAL, cell, lib.ACL_RT_SWITCH_INT64, other, NULL, stream) != 0
    assert lib.aclrtSwitchStream(cell, lib.ACL_RT_EQUAL, cell, lib.ACL_RT_SWITCH_INT64, other, other, stream) != 0


def test_events_are_counted_and_notifies_numbered(make: Any) -> None:
    before = out("uint32_t *", lib.aclrtGetEventAvailNum)
    make("event")
    make("event")
    assert out("uint32_t *", lib.aclrtGetEventAvailNum) == before - 2
    ids = {out("uint32_t *", lambda o, n=n: lib.aclrtCntNotifyGetId(n, o)) for n in (make("counting", 0),
                                                                                    make("counting", 0))}
    assert len(ids) == 2
    assert lib.aclrtCntNotifyGetId(NULL, ffi.new("uint32_t *")) != 0


def test_labels(make: Any, stream: Any) -> None:
    labels = ffi.new("aclrtLabel[2]", [out("aclrtLabel *", lib.aclrtCreateLabel) for _ in range(2)])
    several = out("aclrtLabelList *", lambda o: lib.aclrtCreateLabelList(labels, 2, o))
    assert lib.aclrtCreateLabelList(labels, 0, ffi.new("aclrtLabelList *")) == INVALID
    index = device_memory(make, np.zeros(1, np.uint32))
    # Labels are for streams that are bound to a model.
    assert lib.aclrtSetLabel(labels[0], stream) != 0
    assert lib.aclrtSwitchLabelByIndex(index, 2, several, stream) != 0
    assert lib.aclrtSwitchLabelByIndex(NULL, 2, several, stream) == INVALID
    assert lib.aclrtDestroyLabel(labels[0]) != 0  # the list has it
    ok(lib.aclrtDestroyLabelList(several))
    for label in labels:
        ok(lib.aclrtDestroyLabel(label))
        assert lib.aclrtDestroyLabel(label) != 0
    assert lib.aclrtSetLabel(NULL, stream) != 0


def test_host_functions_on_a_thread_of_ones_own(stream: Any) -> None:
    seen: list[int] = []
    ready, finish = threading.Event(), threading.Event()

    @ffi.callback("aclrtHostFunc")
    def note(args: Any) -> None:
        seen.append(threading.get_ident())

    def serve() -> None:
        ready.wait()
        while not finish.is_set():
            lib.aclrtProcessHostFunc(10)

    thread = threading.Thread(target=serve)
    thread.start()
    assert thread.ident is not None
    try:
        ok(lib.aclrtSubscribeHostFunc(thread.ident, stream))
        ready.set()
        ok(lib.aclrtLaunchHostFunc(stream, note, NULL))
        ok(lib.aclrtSynchronizeStream(stream))
        assert seen == [thread.ident]
        ok(lib.aclrtUnSubscribeHostFunc(thread.ident, stream))
        assert lib.aclrtUnSubscribeHostFunc(thread.ident, stream) != 0
    finally:
        ready.set()
        finish.set()
        thread.join()


# Memory

def test_host_memory_with_attributes(make: Any) -> None:
    pinned = out("void **", lambda o: lib.aclrtMallocHostWithCfg(o, 64, NULL))
    ffi.memmove(pinned, bytes(range(64)), 64)
    cell = device_memory(make, np.zeros(64, np.uint8))
    ok(lib.aclrtMemcpy(cell, 64, pinned, 64, lib.ACL_MEMCPY_HOST_TO_DEVICE))
    assert np.array_equal(read(cell, 64), np.arange(64))
    ok(lib.aclrtFreeHostWithDevSync(pinned))
    assert lib.aclrtFreeHostWithDevSync(pinned) != 0
    assert lib.aclrtMallocHostWithCfg(ffi.new("void **"), 0, NULL) != 0
    where = out("aclrtHostMemMapCapability *", lambda o: lib.aclrtHostMemMapCapabilities(0, 0, o))
    assert where in (lib.ACL_RT_HOST_MEM_MAP_SUPPORTED, lib.ACL_RT_HOST_MEM_MAP_NOT_SUPPORTED)


def test_memory_for_the_task_scheduler() -> None:
    found = out("void **", lambda o: lib.aclrtMallocForTaskScheduler(o, 64, lib.ACL_MEM_MALLOC_HUGE_FIRST, NULL))
    ok(lib.aclrtFree(found))
    assert lib.aclrtMallocForTaskScheduler(NULL, 64, lib.ACL_MEM_MALLOC_HUGE_FIRST, NULL) != 0


def test_caches(make: Any, stream: Any) -> None:
    cell = device_memory(make, np.arange(64, dtype=np.uint8))
    for function in (lib.aclrtMemFlush, lib.aclrtMemInvalidate):
        ok(function(cell, 64))
        assert function(cell, 0) != 0
        assert function(cell, 1 << 40) != 0
    for kind in (lib.ACL_RT_CMO_TYPE_PREFETCH, lib.ACL_RT_CMO_TYPE_FLUSH):
        ok(lib.aclrtCmoAsync(cell, 64, kind, stream))
    assert lib.aclrtCmoAsync(cell, 64, 99, stream) != 0
    ok(lib.aclrtSynchronizeStream(stream))
    assert np.array_equal(read(cell, 64), np.arange(64))


def test_managed_memory_is_advised(stream: Any) -> None:
    managed = out("void **", lambda o: lib.aclrtMemAllocManaged(o, 64, lib.ACL_RT_MEM_ATTACH_GLOBAL))
    place = ffi.new("aclrtMemManagedLocation *", {"type": lib.ACL_MEM_LOCATIONTYPE_DEVICE, "id": 0})[0]
    ok(lib.aclrtMemManagedAdvise(managed, 64, lib.ACL_MEM_ADVISE_SET_READ_MOSTLY, place))
    ok(lib.aclrtMemManagedPrefetchAsync(managed, 64, place, 0, stream))
    ok(lib.aclrtSynchronizeStream(stream))
    assert lib.aclrtMemManagedAdvise(managed, 64, 99, place) != 0
    assert lib.aclrtMemManagedAdvise(managed, 1 << 40, lib.ACL_MEM_ADVISE_SET_READ_MOSTLY, place) != 0
    assert lib.aclrtMemManagedPrefetchAsync(managed, 64, place, 5, stream) != 0
    ok(lib.aclrtFree(managed))
    assert lib.aclrtMemManagedPrefetchAsync(managed, 64, place, 0, stream) != 0


@pytest.fixture
def mapped() -> Any:
    """Physical memory behind a reserved address that nobody may touch yet: address, physical handle, size."""
    prop = ffi.new("aclrtPhysicalMemProp *", {
        "handleType": lib.ACL_MEM_HANDLE_TYPE_NONE, "allocationType": lib.ACL_MEM_ALLOCATION_TYPE_PINNED,
        "memAttr": lib.ACL_HBM_MEM_HUGE, "location": {"id": 0, "type": lib.ACL_MEM_LOCATION_TYPE_DEVICE}})
    size = out("size_t *", lambda o: lib.aclrtMemGetAllocationGranularity(
        prop, lib.ACL_RT_MEM_ALLOC_GRANULARITY_MINIMUM, o))
    where = out("void **", lambda o: lib.aclrtReserveMemAddress(o, size, 0, NULL, 0))
    handle = out("aclrtDrvMemHandle *", lambda o: lib.aclrtMallocPhysical(o, size, prop, 0))
    ok(lib.aclrtMemMapNoAccess(where, size, 0, handle, 0))
    yield where, handle, size
    ok(lib.aclrtUnmapMem(where))
    ok(lib.aclrtFreePhysical(handle))
    ok(lib.aclrtReleaseMemAddress(where))


def test_access_to_mapped_memory(mapped: Any) -> None:
    where, handle, size = mapped
    place = ffi.new("aclrtMemLocation *", {"id": 0, "type": lib.ACL_MEM_LOCATION_TYPE_DEVICE})
    rule = ffi.new("aclrtMemAccessDesc *", {"flags": lib.ACL_RT_MEM_ACCESS_FLAGS_READWRITE, "location": place[0]})

    def access() -> int:
        return int(out("uint64_t *", lambda o: lib.aclrtMemGetAccess(where, place, o)))

    assert access() == lib.ACL_RT_MEM_ACCESS_FLAGS_NONE
    assert lib.aclrtMemset(where, 64, 1, 64) != 0
    ok(lib.aclrtMemSetAccess(where, size, rule, 1))
    assert access() == lib.ACL_RT_MEM_ACCESS_FLAGS_READWRITE
    ok(lib.aclrtMemset(where, 64, 1, 64))
    assert (read(where, 64) == 1).all()
    rule.flags = 77
    assert lib.aclrtMemSetAccess(where, size, rule, 1) != 0
    assert lib.aclrtMemSetAccess(where, size, rule, 0) != 0
    prop = ffi.new("aclrtPhysicalMemProp *")
    ok(lib.aclrtMemGetAllocationPropertiesFromHandle(handle, prop))
    assert (prop.memAttr, prop.location.id) == (lib.ACL_HBM_MEM_HUGE, 0)
    again = out("aclrtDrvMemHandle *", lambda o: lib.aclrtMemRetainAllocationHandle(where, o))
    ok(lib.aclrtFreePhysical(again))  # the first holder still has it
    assert (read(where, 64) == 1).all()


def test_copies_on_condition_and_in_batches(make: Any, stream: Any) -> None:
    target, source = (device_memory(make, data) for data in (np.zeros(8, np.uint8), np.arange(8, dtype=np.uint8)))
    kind = lib.ACL_MEMCPY_DEVICE_TO_DEVICE
    ok(lib.aclrtMemcpyAsyncWithCondition(target, 8, source, 8, kind, stream))
    assert lib.aclrtMemcpyAsyncWithCondition(target, 4, source, 8, kind, stream) != 0
    ok(lib.aclrtSynchronizeStream(stream))
    assert np.array_equal(read(target, 8), np.arange(8))
    host = make("host", 8)
    ffi.memmove(host, bytes(range(10, 18)), 8)
    step = ffi.cast("char *", host)
    rule = ffi.new("aclrtMemcpyBatchAttr *", {"dstLoc": {"id": 0, "type": lib.ACL_MEM_LOCATION_TYPE_DEVICE},
                                              "srcLoc": {"id": 0, "type": lib.ACL_MEM_LOCATION_TYPE_HOST}})
    sizes, fail, first = ffi.new("size_t[]", [4, 4]), ffi.new("size_t *"), ffi.new("size_t[]", [0])
    to = ffi.new("void *[]", [ffi.cast("char *", target), ffi.cast("char *", target) + 4])
    ok(lib.aclrtMemcpyBatchAsync(to, sizes, ffi.new("void *[]", [step + 4, step]), sizes, 2, rule, first, 1, fail,
                                 stream))
    ok(lib.aclrtSynchronizeStream(stream))
    assert read(target, 8).tolist() == [14, 15, 16, 17, 10, 11, 12, 13]
    # Item 1 is too large for its target.
    assert lib.aclrtMemcpyBatchAsync(to, ffi.new("size_t[]", [4, 2]), ffi.new("void *[]", [step, step]), sizes, 2, rule,
                                     first, 1, fail, stream) != 0
    assert fail[0] == 1


def test_an_allocator_may_take_advice() -> None:
    @ffi.callback("aclrtAllocatorAllocAdviseFunc")
    def advise(obj: Any, size: int, address: Any) -> Any:
        return NULL

    desc = lib.aclrtAllocatorCreateDesc()
    ok(lib.aclrtAllocatorSetAllocAdviseFuncToDesc(desc, advise))
    assert lib.aclrtAllocatorSetAllocAdviseFuncToDesc(NULL, advise) != 0
    ok(lib.aclrtAllocatorDestroyDesc(desc))
