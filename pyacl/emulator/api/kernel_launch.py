"""Launching kernels, and what callbacks may ask about those that failed."""

from __future__ import annotations

import ctypes
from typing import Any, Optional

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure
from ..kernels import arguments as _lists
from ..kernels.binary import Function, get_function
from ..kernels.block import DeviceBlock, HostBlock
from ..kernels.execution import KernelFault, Launch
from ..machine.exception import ExceptionInfo
from ..machine.stream import Stream, resolve
from .arguments import address, invalid, not_null, refused

_NULL = ffi.NULL
_MAX_BLOCKS = 65535
_NO_INFO = 0xFFFFFFFF


def _timeout(cfg: Any) -> Optional[float]:
    """Checks a launch configuration; gives its time-out in seconds, 0 for never, None when it has none."""
    if cfg == _NULL:
        return None
    if cfg.attrs == _NULL:
        raise refused("the launch configuration has no array of attributes")
    seconds: Optional[float] = None
    seen = set()
    flags = {
        lib.ACL_RT_LAUNCH_KERNEL_ATTR_SCHEM_MODE: "schemMode",
        lib.ACL_RT_LAUNCH_KERNEL_ATTR_BLOCK_TASK_PREFETCH: "isBlockTaskPrefetch",
        lib.ACL_RT_LAUNCH_KERNEL_ATTR_DATA_DUMP: "isDataDump",
        lib.ACL_RT_LAUNCH_KERNEL_ATTR_ENABLE_PROFILING: "isDataDump",
    }
    for i in range(cfg.numAttrs):
        attribute = cfg.attrs[i]
        number = int(attribute.id)
        seen.add(number)
        if not lib.ACL_RT_LAUNCH_KERNEL_ATTR_SCHEM_MODE <= number <= lib.ACL_RT_LAUNCH_KERNEL_ATTR_ENABLE_PROFILING:
            raise refused(f"there is no launch attribute {number}")
        if number in flags and getattr(attribute.value, flags[number]) > 1:
            raise refused(f"launch attribute {number} is {getattr(attribute.value, flags[number])}: give 0 or 1")
        if number == lib.ACL_RT_LAUNCH_KERNEL_ATTR_TIMEOUT:
            seconds = float(attribute.value.timeout)
        elif number == lib.ACL_RT_LAUNCH_KERNEL_ATTR_TIMEOUT_US:
            value = attribute.value.timeoutUs
            seconds = (value.timeoutHigh << 32 | value.timeoutLow) / 1e6
    if {int(lib.ACL_RT_LAUNCH_KERNEL_ATTR_TIMEOUT), int(lib.ACL_RT_LAUNCH_KERNEL_ATTR_TIMEOUT_US)} <= seen:
        raise refused("the attributes TIMEOUT and TIMEOUT_US exclude each other")
    return seconds


def _blocks(count: int, zero: Any = refused) -> None:
    if not count:
        raise zero("numBlocks is 0")
    if count > _MAX_BLOCKS:
        raise refused(f"numBlocks is {count}: at most {_MAX_BLOCKS} are possible")


def _on(stream: Any, function: Function) -> Stream:
    found = resolve(stream)
    home = function.binary.home
    if home is not None and home is not found.device:
        raise refused(f"kernel {function.name} was loaded from memory on device {home.id} and cannot run on device "
                      f"{found.device.id}: load it there, too, or from a file")
    return found


def aclrtLaunchKernelWithConfig(funcHandle: Any, numBlocks: int, stream: Any, cfg: Any, argsHandle: Any,
                                reserve: Any) -> None:
    function = get_function(funcHandle)
    _blocks(numBlocks, invalid)
    if reserve != _NULL:
        raise invalid("reserve is not NULL")
    found = _lists.find(handles.address(argsHandle), "the argument list")
    if found.function is not function:
        raise refused(f"the arguments are of kernel {found.function.name}, not of {function.name}")
    timeout = _timeout(cfg)
    target = _on(stream, function)
    Launch(function, numBlocks, target, found.block(), timeout).submit()


def aclrtLaunchKernel(funcHandle: Any, numBlocks: int, argsData: Any, argsSize: int, stream: Any) -> None:
    aclrtLaunchKernelV2(funcHandle, numBlocks, argsData, argsSize, _NULL, stream)


def aclrtLaunchKernelV2(funcHandle: Any, numBlocks: int, argsData: Any, argsSize: int, cfg: Any, stream: Any) -> None:
    function = get_function(funcHandle)
    where = address(argsData, "argsData")
    if not argsSize:
        raise refused("argsSize is 0")
    _blocks(numBlocks)
    timeout = _timeout(cfg)
    Launch(function, numBlocks, _on(stream, function), DeviceBlock(where, argsSize), timeout).submit()


def aclrtLaunchKernelWithHostArgs(funcHandle: Any, numBlocks: int, stream: Any, cfg: Any, hostArgs: Any, argsSize: int,
                                  placeHolderArray: Any, placeHolderNum: int) -> None:
    function = get_function(funcHandle)
    where = address(hostArgs, "hostArgs")
    if not argsSize:
        raise refused("argsSize is 0")
    if placeHolderNum and placeHolderArray == _NULL:
        raise refused(f"there are {placeHolderNum} placeholders, but their array is NULL")
    infos = [placeHolderArray[i] for i in range(placeHolderNum)]
    placeholders = tuple((info.addrOffset, info.dataOffset) for info in infos)
    for i, (slot, data) in enumerate(placeholders):
        if slot + 8 > argsSize or data >= argsSize:
            raise refused(f"placeholder {i} has its address at {slot} and its data at {data}, but the block has "
                          f"{argsSize} bytes")
    _blocks(numBlocks)
    timeout = _timeout(cfg)
    target = _on(stream, function)
    Launch(function, numBlocks, target, HostBlock(ctypes.string_at(where, argsSize), placeholders), timeout).submit()


def aclrtLaunchKernelWithArgsArray(func: Any, numBlocks: int, stream: Any, cfg: Any, args: Any) -> None:
    function = get_function(func)
    _blocks(numBlocks, invalid)
    params = function.known_params()
    if params:
        not_null(args, "args")
    block = bytearray(max((offset + size for offset, size in params), default=function.system_bytes))
    for i, (offset, size) in enumerate(params):
        block[offset:offset + size] = ctypes.string_at(address(args[i], f"args[{i}]"), size)
    target = _on(stream, function)
    if function.needs_sync_address:
        block[:8] = _lists.sync_address(target.device).to_bytes(8, "little")
    Launch(function, numBlocks, target, HostBlock(bytes(block)), _timeout(cfg)).submit()


def _simt() -> Failure:
    return Failure(lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "SIMT kernels are for Ascend 950, which is not emulated")


def aclrtFunctionGetAvailDynUbufPerBlock(func: Any, flags: int, dynamicUbufSize: Any) -> None:
    get_function(func)
    raise _simt()


def aclrtLaunchSIMTKernelWithArgsArray(*_: Any) -> None:
    raise _simt()


def aclrtLaunchSIMTKernelWithHostArgs(*_: Any) -> None:
    raise _simt()


# Faults

def _number(info: Any, name: str) -> int:
    found = handles.find(info, ExceptionInfo)
    return _NO_INFO if found is None else int(getattr(found, name)) & 0xFFFFFFFF


def aclrtGetTaskIdFromExceptionInfo(info: Any) -> int:
    return _number(info, "task")


def aclrtGetStreamIdFromExceptionInfo(info: Any) -> int:
    return _number(info, "stream")


def aclrtGetThreadIdFromExceptionInfo(info: Any) -> int:
    return _number(info, "thread")


def aclrtGetDeviceIdFromExceptionInfo(info: Any) -> int:
    return _number(info, "device")


def aclrtGetErrorCodeFromExceptionInfo(info: Any) -> int:
    return _number(info, "code")


def _fault(info: Any) -> KernelFault:
    cause = handles.get(info, ExceptionInfo, "the exception information").cause
    if not isinstance(cause, KernelFault):
        raise refused("the exception is not a kernel's")
    return cause


def aclrtGetArgsFromExceptionInfo(info: Any, devArgsPtr: Any, devArgsLen: Any) -> None:
    fault = _fault(info)
    not_null(devArgsPtr, "devArgsPtr")
    not_null(devArgsLen, "devArgsLen")
    devArgsPtr[0], devArgsLen[0] = ffi.cast("void *", fault.address), fault.size


def aclrtGetFuncHandleFromExceptionInfo(info: Any, func: Any) -> None:
    fault = _fault(info)
    not_null(func, "func")
    func[0] = handles.pointer(fault.function.number)
