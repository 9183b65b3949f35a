"""Devices."""

from __future__ import annotations

import struct
from typing import Any

from ...capi import ffi, lib
from .. import failure, handles
from ..failure import Failure
from ..machine import callback as _callback
from ..machine import context as _context
from ..machine import cores, options, process, settings, timeouts
from ..machine import device as _device
from ..machine import memory as _memory
from ..machine import stream as _stream
from . import arguments

OVERFLOW_BYTES = 64


def _current() -> _device.Device:
    return _context.current().device


# Choosing a device

def aclrtSetDevice(deviceId: int) -> None:
    process.require()
    _context.set_device(deviceId)


def aclrtResetDevice(deviceId: int) -> None:
    _context.reset_device(deviceId, force=False)


def aclrtResetDeviceForce(deviceId: int) -> None:
    _context.reset_device(deviceId, force=True)


def aclrtGetDevice(deviceId: Any) -> None:
    arguments.not_null(deviceId, "deviceId")
    deviceId[0] = _current().id


def aclrtGetDeviceCount(count: Any) -> None:
    arguments.not_null(count, "count")
    count[0] = len(_device.devices)


def aclrtGetRunMode(runMode: Any) -> None:
    arguments.not_null(runMode, "runMode")
    runMode[0] = lib.ACL_HOST


def aclrtSetTsDevice(tsId: int) -> None:
    if not 0 <= tsId < lib.ACL_TS_ID_RESERVED:
        raise arguments.invalid(f"there is no task scheduler {tsId}")


_soc_name = ffi.new("char[]", settings.soc_name.encode())


def aclrtGetSocName() -> Any:
    return _soc_name if _device.devices else ffi.NULL


def aclrtCheckArchCompatibility(socVersion: Any, canCompatible: Any) -> None:
    name = arguments.text(socVersion, "socVersion")
    arguments.not_null(canCompatible, "canCompatible")
    canCompatible[0] = int(name == settings.soc_name)


def aclrtGetVersion(majorVersion: Any, minorVersion: Any, patchVersion: Any) -> None:
    for pointer, value in ((majorVersion, lib.ACL_MAJOR_VERSION), (minorVersion, lib.ACL_MINOR_VERSION),
                           (patchVersion, lib.ACL_PATCH_VERSION)):
        arguments.not_null(pointer, "a version")
        pointer[0] = value


# Waiting

def aclrtSynchronizeDevice() -> None:
    _synchronize(-1, "aclrtSynchronizeDevice")


def aclrtSynchronizeDeviceWithTimeout(timeout: int) -> None:
    _synchronize(timeout, "aclrtSynchronizeDeviceWithTimeout")


def _synchronize(timeout: int, what: str) -> None:
    deadline = _stream.deadline_after(timeout)
    device = _current()
    streams = [s for context in list(device.contexts) for s in list(context.streams)]
    for stream in streams:
        if stream.capture is not None:
            stream.refuse_synchronisation()
    fault = None
    for stream in streams:
        try:
            stream.drain(deadline, what)
        except Failure as failed:
            if failed.code == lib.ACL_ERROR_RT_STREAM_SYNC_TIMEOUT:
                raise
            fault = fault or failed
    if fault is not None:
        raise fault


def aclrtDeviceTaskAbort(deviceId: int, timeout: int) -> None:
    if timeout > 36 * 60 * 1000:
        raise arguments.refused(f"the timeout is {timeout} ms: at most 36 minutes")
    device = _device.get(deviceId)
    for stage in (lib.ACL_RT_DEVICE_TASK_ABORT_PRE, lib.ACL_RT_DEVICE_TASK_ABORT_POST):
        if stage == lib.ACL_RT_DEVICE_TASK_ABORT_POST:
            for context in list(device.contexts):
                for stream in list(context.streams):
                    stream.abort()
        for call in list(_callback.abort_callbacks.values()):
            code = call(deviceId, stage, timeout)
            if code:
                raise Failure(lib.ACL_ERROR_RT_TASK_ABORT_STOP, f"an abort callback returned {code}")


# What a device is

def aclrtGetDeviceInfo(deviceId: int, attr: int, value: Any) -> None:
    arguments.not_null(value, "value")
    device = _device.get(deviceId)
    soc = device.soc
    values = {
        lib.ACL_DEV_ATTR_AICPU_CORE_NUM: soc.aicpus, lib.ACL_DEV_ATTR_AICORE_CORE_NUM: soc.aicores,
        lib.ACL_DEV_ATTR_CUBE_CORE_NUM: soc.aicores, lib.ACL_DEV_ATTR_VECTOR_CORE_NUM: soc.vector_cores,
        lib.ACL_DEV_ATTR_TOTAL_GLOBAL_MEM_SIZE: device.capacity, lib.ACL_DEV_ATTR_L2_CACHE_SIZE: soc.l2_bytes,
        lib.ACL_DEV_ATTR_LOCAL_MEM_PER_VECTOR_CORE: 192 << 10, lib.ACL_DEV_ATTR_PHY_CHIP_ID: device.physical_id,
        lib.ACL_DEV_ATTR_IS_VIRTUAL: 0,
    }
    if attr not in values:
        raise arguments.refused(f"device attribute {attr} is unknown on {settings.soc_name}")
    value[0] = values[attr]


def aclrtGetDeviceCapability(deviceId: int, devFeatureType: int, value: Any) -> None:
    arguments.not_null(value, "value")
    _device.get(deviceId)
    if devFeatureType not in (lib.ACL_FEATURE_TSCPU_TASK_UPDATE_SUPPORT_AIC_AIV,
                              lib.ACL_FEATURE_SYSTEM_MEMQ_EVENT_CROSS_DEV):
        raise arguments.invalid(f"there is no feature {devFeatureType}")
    value[0] = lib.ACL_DEV_FEATURE_NOT_SUPPORT


def aclrtQueryDeviceStatus(deviceId: int, deviceStatus: Any) -> None:
    arguments.not_null(deviceStatus, "deviceStatus")
    _device.get(deviceId)
    deviceStatus[0] = lib.ACL_RT_DEVICE_STATUS_NORMAL


def aclrtGetDeviceUtilizationRate(deviceId: int, utilizationInfo: Any) -> None:
    arguments.not_null(utilizationInfo, "utilizationInfo")
    device = _device.get(deviceId)
    if utilizationInfo.utilizationExtend != ffi.NULL:
        raise arguments.invalid("utilizationExtend must be NULL")
    busy = any(s.queue for context in device.contexts for s in context.streams)
    utilizationInfo.cubeUtilization = utilizationInfo.vectorUtilization = 100 * busy
    utilizationInfo.aicpuUtilization = 0
    utilizationInfo.memoryUtilization = 100 * device.used // device.capacity


def aclrtDeviceGetUuid(deviceId: int, uuid: Any) -> None:
    arguments.not_null(uuid, "uuid")
    ffi.memmove(uuid, b"pyacl-emu" + struct.pack(">IHx", _device.get(deviceId).physical_id, 0), 16)


def aclrtDeviceGetBareTgid(pid: Any) -> None:
    import os

    arguments.not_null(pid, "pid")
    pid[0] = os.getpid()


_BUS = "0000:{:02x}:00.0"


def aclrtDeviceGetPCIBusId(deviceId: int, pciBusId: Any, len: int) -> None:
    arguments.not_null(pciBusId, "pciBusId")
    text = _BUS.format(0x81 + _device.get(deviceId).physical_id).encode() + b"\0"
    if len < text.__len__():
        raise arguments.refused(f"a bus id needs {text.__len__()} bytes, not {len}")
    ffi.memmove(pciBusId, text, text.__len__())


def aclrtDeviceGetByPCIBusId(pciBusId: Any, deviceId: Any) -> None:
    name = arguments.text(pciBusId, "pciBusId")
    arguments.not_null(deviceId, "deviceId")
    for device in _device.devices:
        if _BUS.format(0x81 + device.physical_id) == name.lower():
            deviceId[0] = device.id
            return
    raise arguments.refused(f"no device has the bus id {name!r}")


def _same_id(given: int, found: Any) -> None:
    # Despite their names these deal in user ids.
    arguments.not_null(found, "the id")
    found[0] = _device.get(given).id


def aclrtGetLogicDevIdByPhyDevId(phyDevId: int, logicDevId: Any) -> None:
    _same_id(phyDevId, logicDevId)


def aclrtGetPhyDevIdByLogicDevId(logicDevId: int, phyDevId: Any) -> None:
    _same_id(logicDevId, phyDevId)


def aclrtGetLogicDevIdByUserDevId(userDevid: int, logicDevId: Any) -> None:
    arguments.not_null(logicDevId, "logicDevId")
    logicDevId[0] = _device.get(userDevid).physical_id


def aclrtGetPhyDevIdByUserDevId(userDevId: int, phyDevId: Any) -> None:
    arguments.not_null(phyDevId, "phyDevId")
    phyDevId[0] = _device.get(userDevId).physical_id


def _user_id(physical: int, found: Any) -> None:
    arguments.not_null(found, "the id")
    for device in _device.devices:
        if device.physical_id == physical:
            found[0] = device.id
            return
    raise Failure(lib.ACL_ERROR_RT_INVALID_DEVICEID, f"the process does not see device {physical}")


def aclrtGetUserDevIdByLogicDevId(logicDevId: int, userDevid: Any) -> None:
    _user_id(logicDevId, userDevid)


def aclrtGetUserDevIdByPhyDevId(phyDevId: int, userDevId: Any) -> None:
    _user_id(phyDevId, userDevId)


# Other devices

def aclrtDeviceCanAccessPeer(canAccessPeer: Any, deviceId: int, peerDeviceId: int) -> None:
    arguments.not_null(canAccessPeer, "canAccessPeer")
    if deviceId == peerDeviceId:
        raise arguments.invalid(f"device {deviceId} is no peer of itself")
    _device.get(deviceId)
    _device.get(peerDeviceId)
    canAccessPeer[0] = 1


def _peer(peerDeviceId: int) -> _device.Device:
    device = _current()
    if _device.get(peerDeviceId) is device:
        raise arguments.invalid(f"device {peerDeviceId} is no peer of itself")
    return device


def aclrtDeviceEnablePeerAccess(peerDeviceId: int, flags: int) -> None:
    if flags:
        raise Failure(lib.ACL_ERROR_FEATURE_UNSUPPORTED, f"flags are {flags}: only 0 is supported")
    _peer(peerDeviceId).peers.add(peerDeviceId)


def aclrtDeviceDisablePeerAccess(peerDeviceId: int) -> None:
    device = _peer(peerDeviceId)
    if peerDeviceId not in device.peers:
        raise arguments.refused(f"device {device.id}'s access to device {peerDeviceId} is not enabled")
    device.peers.discard(peerDeviceId)


def aclrtDevicePeerAccessStatus(deviceId: int, peerDeviceId: int, status: Any) -> None:
    arguments.not_null(status, "status")
    device = _device.get(deviceId, lib.ACL_ERROR_RT_PARAM_INVALID)
    _device.get(peerDeviceId, lib.ACL_ERROR_RT_PARAM_INVALID)
    status[0] = int(peerDeviceId in device.peers)


def aclrtGetDevicesTopo(deviceId: int, otherDeviceId: int, value: Any) -> None:
    arguments.not_null(value, "value")
    if _device.get(deviceId) is _device.get(otherDeviceId):
        raise arguments.invalid("two different devices have a topology")
    value[0] = lib.ACL_RT_DEVS_TOPOLOGY_HCCS


# Limits and modes

def aclrtSetDeviceResLimit(deviceId: int, type: int, value: int) -> None:
    device = _device.get(deviceId)
    cores.check(device, type, value)
    if device.primary is None:
        raise Failure(lib.ACL_ERROR_RT_CONTEXT_NULL, f"device {deviceId} is not set: call aclrtSetDevice first")
    device.core_limits[type] = value


def aclrtGetDeviceResLimit(deviceId: int, type: int, value: Any) -> None:
    arguments.not_null(value, "value")
    device = _device.get(deviceId)
    cores.check(device, type)
    value[0] = cores.of_device(device, type)


def aclrtResetDeviceResLimit(deviceId: int) -> None:
    _device.get(deviceId).core_limits.clear()


def aclrtGetResInCurrentThread(type: int, value: Any) -> None:
    arguments.not_null(value, "value")
    device = _current()
    cores.check(device, type)
    value[0] = cores.of_thread(device, type)


_LIMITS = {
    lib.ACL_RT_DEV_LIMIT_SIMT_STACK_SIZE: 32 << 10, lib.ACL_RT_DEV_LIMIT_SIMT_DVG_WARP_STACK_SIZE: 32 << 10,
    lib.ACL_RT_DEV_LIMIT_SIMD_STACK_SIZE: 32 << 10, lib.ACL_RT_DEV_LIMIT_SIMD_PRINTF_FIFO_SIZE_PER_CORE: 1 << 20,
    lib.ACL_RT_DEV_LIMIT_SIMT_PRINTF_FIFO_SIZE: 1 << 20,
}


def aclrtDeviceSetLimit(limit: int, value: int) -> None:
    if limit not in _LIMITS:
        raise arguments.invalid(f"there is no device limit {limit}")
    _current().limits[limit] = value


def aclrtDeviceGetLimit(limit: int, value: Any) -> None:
    arguments.not_null(value, "value")
    if limit not in _LIMITS:
        raise arguments.invalid(f"there is no device limit {limit}")
    value[0] = _current().limits.get(limit, _LIMITS[limit])


def aclrtSetDeviceSatMode(mode: int) -> None:
    if mode not in (lib.ACL_RT_OVERFLOW_MODE_SATURATION, lib.ACL_RT_OVERFLOW_MODE_INFNAN):
        raise arguments.invalid(f"there is no overflow mode {mode}")
    _current().sat_mode = mode


def aclrtGetDeviceSatMode(mode: Any) -> None:
    arguments.not_null(mode, "mode")
    mode[0] = _current().sat_mode


def _report_overflow(address: Any, size: int, stream: Any, function: str) -> None:
    where = arguments.address(address, "outputAddr")
    found = _stream.resolve(stream)
    if size < OVERFLOW_BYTES:
        raise arguments.refused(f"{function} writes {OVERFLOW_BYTES} bytes; the buffer has {size}")
    _memory.device_bytes(where, OVERFLOW_BYTES, "outputAddr")

    def run() -> None:
        status = _memory.device_bytes(where, OVERFLOW_BYTES, "outputAddr")
        status[:] = 0
        status[0] = found.device.overflowed

    found.submit(run, function)


def aclrtGetOverflowStatus(outputAddr: Any, outputSize: int, stream: Any) -> None:
    _report_overflow(outputAddr, outputSize, stream, "aclrtGetOverflowStatus")


def aclrtGetFloatOverflowStatus(outputAddr: Any, outputSize: int, stream: Any) -> None:
    _report_overflow(outputAddr, outputSize, stream, "aclrtGetFloatOverflowStatus")


def aclrtNpuGetFloatOverFlowStatus(outputAddr: Any, outputSize: int, checkMode: int, stream: Any) -> None:
    _report_overflow(outputAddr, outputSize, stream, "aclrtNpuGetFloatOverFlowStatus")


def _clear_overflow(stream: Any, function: str) -> None:
    found = _stream.resolve(stream)
    found.submit(lambda: setattr(found.device, "overflowed", False), function)


def aclrtResetOverflowStatus(stream: Any) -> None:
    _clear_overflow(stream, "aclrtResetOverflowStatus")


def aclrtResetFloatOverflowStatus(stream: Any) -> None:
    _clear_overflow(stream, "aclrtResetFloatOverflowStatus")


def aclrtNpuClearFloatOverFlowStatus(checkMode: int, stream: Any) -> None:
    _clear_overflow(stream, "aclrtNpuClearFloatOverFlowStatus")


def aclrtSetSysParamOpt(opt: int, value: int) -> None:
    options.check(opt, value)
    options.process[opt] = value


def aclrtGetSysParamOpt(opt: int, value: Any) -> None:
    arguments.not_null(value, "value")
    options.check(opt)
    value[0] = options.process.get(opt, 0)


# Time-outs

def aclrtSetOpWaitTimeout(timeout: int) -> None:
    timeouts.event_wait = timeout


def aclrtSetOpExecuteTimeOut(timeout: int) -> None:
    timeouts.set_execution(timeout * 1_000_000)


def aclrtSetOpExecuteTimeOutWithMs(timeout: int) -> None:
    timeouts.set_execution(timeout * 1000)


def aclrtSetOpExecuteTimeOutV2(timeout: int, actualTimeout: Any) -> None:
    arguments.not_null(actualTimeout, "actualTimeout")
    actualTimeout[0] = timeouts.set_execution(timeout)


def aclrtGetOpExecuteTimeout(timeoutMs: Any) -> None:
    arguments.not_null(timeoutMs, "timeoutMs")
    timeoutMs[0] = timeouts.execution // 1000


def aclrtGetOpTimeOutInterval(interval: Any) -> None:
    arguments.not_null(interval, "interval")
    interval[0] = timeouts.INTERVAL


# Errors

def _level(level: int) -> None:
    if level != lib.ACL_RT_THREAD_LEVEL:
        raise arguments.invalid(f"there is no error level {level}")


def aclrtGetLastError(level: int) -> int:
    _level(level)
    return failure.last_error(clear=True)


def aclrtPeekAtLastError(level: int) -> int:
    _level(level)
    return failure.last_error(clear=False)


def aclrtGetErrorVerbose(deviceId: int, errorInfo: Any) -> None:
    arguments.not_null(errorInfo, "errorInfo")
    _device.get(deviceId)
    ffi.memmove(errorInfo, bytes(ffi.sizeof("aclrtErrorInfo")), ffi.sizeof("aclrtErrorInfo"))
    errorInfo.errorType = lib.ACL_RT_NO_ERROR


def aclrtRepairError(deviceId: int, errorInfo: Any) -> None:
    arguments.not_null(errorInfo, "errorInfo")
    _device.get(deviceId)
    if errorInfo.errorType != lib.ACL_RT_NO_ERROR:
        raise Failure(lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "the emulated device has nothing that can be repaired")


def aclrtDeviceL2CacheFlush(rsv: Any) -> None:
    if rsv != ffi.NULL:
        raise arguments.invalid("rsv must be NULL")
    _current()


def aclrtGetThreadLastTaskId(taskId: Any) -> None:
    arguments.not_null(taskId, "taskId")
    _context.current()
    taskId[0] = _stream.last_task()


# Groups of cores: the emulated products have one.

class GroupInfo:
    """An aclrtGroupInfo."""

    filled = False


def aclrtGetGroupCount(count: Any) -> None:
    arguments.not_null(count, "count")
    _context.current()
    count[0] = 1


def aclrtCreateGroupInfo() -> Any:
    return ffi.cast("aclrtGroupInfo *", handles.new(GroupInfo()))


def aclrtDestroyGroupInfo(groupInfo: Any) -> None:
    handles.get(groupInfo, GroupInfo, "groupInfo")
    handles.drop(groupInfo)


def aclrtGetAllGroupInfo(groupInfo: Any) -> None:
    handles.get(groupInfo, GroupInfo, "groupInfo").filled = True


def aclrtSetGroup(groupId: int) -> None:
    _context.current()
    if groupId:
        raise Failure(lib.ACL_ERROR_RT_GROUP_NOT_CREATE, f"there is no group {groupId}")


def aclrtGetGroupInfoDetail(groupInfo: Any, groupIndex: int, attr: int, attrValue: Any, valueLen: int,
                            paramRetSize: Any) -> None:
    info = handles.get(groupInfo, GroupInfo, "groupInfo")
    arguments.not_null(attrValue, "attrValue")
    arguments.not_null(paramRetSize, "paramRetSize")
    if not info.filled or groupIndex:
        raise Failure(lib.ACL_ERROR_RT_GROUP_NOT_CREATE, f"there is no group {groupIndex}: aclrtGetAllGroupInfo fills "
                      "one, with index 0")
    soc = settings.soc
    values = {
        lib.ACL_GROUP_AICORE_INT: soc.aicores, lib.ACL_GROUP_AIV_INT: soc.vector_cores,
        lib.ACL_GROUP_AIC_INT: soc.aicores, lib.ACL_GROUP_SDMANUM_INT: 1, lib.ACL_GROUP_ASQNUM_INT: 1,
        lib.ACL_GROUP_GROUPID_INT: 0,
    }
    if attr not in values:
        raise arguments.invalid(f"there is no group attribute {attr}")
    if valueLen < 4:
        raise arguments.invalid(f"the attribute has 4 bytes, not {valueLen}")
    ffi.cast("int32_t *", attrValue)[0] = values[attr]
    paramRetSize[0] = 4
