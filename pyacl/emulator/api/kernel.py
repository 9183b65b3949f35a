"""Kernel binaries, argument lists and launches."""

from __future__ import annotations

import ctypes
from typing import Any, Optional

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure
from ..kernels import arguments as _lists
from ..kernels import binary as _binary
from ..kernels import execution, objects
from ..kernels.binary import Binary, Function
from ..kernels.execution import Launch, fault_of
from ..machine import context
from ..machine.exception import ExceptionInfo
from ..machine.stream import Stream, resolve
from .arguments import address, invalid, not_null, refused, text

_NULL = ffi.NULL
_MAGICS = (lib.ACL_RT_BINARY_MAGIC_ELF_AICORE, lib.ACL_RT_BINARY_MAGIC_ELF_CUBE_CORE,
           lib.ACL_RT_BINARY_MAGIC_ELF_VECTOR_CORE)
_MAX_BLOCKS = 65535
_NO_INFO = 0xFFFFFFFF


class BinaryData:
    """An aclrtBinary: memory that stays the user's."""

    def __init__(self, where: int, nbytes: int) -> None:
        self.where, self.nbytes = where, nbytes


def _bin(handle: Any) -> Binary:
    return handles.get(handle, Binary, "the binary handle", wrong=lib.ACL_ERROR_RT_INVALID_HANDLE)


def _function(handle: Any) -> Function:
    return handles.get(handle, Function, "the function handle", wrong=lib.ACL_ERROR_RT_INVALID_HANDLE)


# Binaries ---------------------------------------------------------------------------------------------------------

def _options(options: Any, from_file: bool) -> tuple[bool, Optional[int]]:
    """Whether to load lazily, and the CPU kernel mode, if any."""
    lazy, mode = False, None
    if options == _NULL:
        return lazy, mode
    if options.options == _NULL:
        raise refused("the load options have no array of options")
    for i in range(options.numOpt):
        option = options.options[i]
        if option.type == lib.ACL_RT_BINARY_LOAD_OPT_LAZY_LOAD:
            if option.value.isLazyLoad not in (0, 1):
                raise refused(f"LAZY_LOAD is {option.value.isLazyLoad}: give 0 or 1")
            lazy = bool(option.value.isLazyLoad)
        elif option.type == lib.ACL_RT_BINARY_LOAD_OPT_MAGIC:
            if from_file:
                raise refused("MAGIC is for binaries loaded from memory: a file's JSON says what it is")
            if option.value.magic not in _MAGICS:
                raise refused(f"MAGIC is {option.value.magic:#x}: give one of {', '.join(f'{m:#x}' for m in _MAGICS)}")
        elif option.type == lib.ACL_RT_BINARY_LOAD_OPT_CPU_KERNEL_MODE:
            mode = int(option.value.cpuKernelMode)
            if from_file and mode not in (0, 1):
                raise refused(f"CPU_KERNEL_MODE is {mode}: a file takes 0 (JSON only) or 1 (JSON and library)")
            if not from_file and mode != 2:
                raise refused(f"CPU_KERNEL_MODE is {mode}: memory takes 2")
        else:
            raise refused(f"there is no load option {int(option.type)}")
    return lazy, mode


def aclrtBinaryLoadFromFile(binPath: Any, options: Any, binHandle: Any) -> None:
    path = text(binPath, "binPath")
    not_null(binHandle, "binHandle")
    lazy, mode = _options(options, True)
    binHandle[0] = handles.pointer(_binary.load_file(path, mode, lazy).number)


def aclrtBinaryLoadFromData(data: Any, length: int, options: Any, binHandle: Any) -> None:
    where = address(data, "data")
    not_null(binHandle, "binHandle")
    if not length:
        raise refused("the binary has 0 bytes")
    lazy, mode = _options(options, False)
    binHandle[0] = handles.pointer(_binary.load_data(ctypes.string_at(where, length), mode, lazy).number)


def aclrtCreateBinary(data: Any, dataLen: int) -> Any:
    return handles.pointer(handles.new(BinaryData(address(data, "data"), dataLen)))


def aclrtDestroyBinary(binary: Any) -> None:
    handles.get(binary, BinaryData, "the binary")
    handles.drop(binary)


def aclrtBinaryLoad(binary: Any, binHandle: Any) -> None:
    source = handles.get(binary, BinaryData, "the binary")
    not_null(binHandle, "binHandle")
    if not source.nbytes:
        raise refused("the binary has 0 bytes")
    data = ctypes.string_at(source.where, source.nbytes)
    binHandle[0] = handles.pointer(_binary.load_data(data, None, False).number)


def aclrtBinaryUnLoad(binHandle: Any) -> None:
    _bin(binHandle).unload()


def aclrtBinaryGetFunction(binHandle: Any, kernelName: Any, funcHandle: Any) -> None:
    binary = _bin(binHandle)
    name = text(kernelName, "kernelName")
    not_null(funcHandle, "funcHandle")
    funcHandle[0] = handles.pointer(binary.function(name).number)


def aclrtBinaryGetFunctionByEntry(binHandle: Any, funcEntry: int, funcHandle: Any) -> None:
    # Some of CANN's pages call it reserved; its runtime and its own operator library use it as it is done here.
    binary = _bin(binHandle)
    not_null(funcHandle, "funcHandle")
    funcHandle[0] = handles.pointer(binary.by_entry(funcEntry).number)


def aclrtRegisterCpuFunc(handle: Any, funcName: Any, kernelName: Any, funcHandle: Any) -> None:
    binary = _bin(handle)
    function, kernel = text(funcName, "funcName"), text(kernelName, "kernelName")
    not_null(funcHandle, "funcHandle")
    if not function or not kernel:
        raise refused("an AI CPU kernel needs a function name and a kernel name")
    funcHandle[0] = handles.pointer(binary.register_cpu(function, kernel).number)


def aclrtGetFuncBySymbol(symbol: Any, funcHandle: Any) -> None:
    not_null(symbol, "symbol")
    not_null(funcHandle, "funcHandle")
    raise Failure(lib.ACL_ERROR_RT_INVALID_DEVICE_FUNCTION, "the symbol is no kernel: only programs that the mixed "
                  "host and device compiler built have such symbols")


def aclrtBinaryGetDevAddress(binHandle: Any, binAddr: Any, binSize: Any) -> None:
    binary = _bin(binHandle)
    not_null(binAddr, "binAddr")
    not_null(binSize, "binSize")
    device = context.current().device
    if binary.lazy and device.id not in binary.images:
        binAddr[0], binSize[0] = _NULL, 0
        return
    image = binary.image(device)
    binAddr[0], binSize[0] = ffi.cast("void *", image.address), image.requested


def aclrtBinaryGetGlobal(binHandle: Any, name: Any, dptr: Any, size: Any) -> None:
    binary = _bin(binHandle)
    wanted = text(name, "name")
    if dptr == _NULL and size == _NULL:
        raise invalid("dptr and size are both NULL")
    where, nbytes = binary.variable(wanted, context.current().device)
    if dptr != _NULL:
        dptr[0] = ffi.cast("void *", where)
    if size != _NULL:
        size[0] = nbytes


def aclrtBinarySetExceptionCallback(binHandle: Any, callback: Any, userData: Any) -> None:
    binary = handles.get(binHandle, Binary, "the binary handle", wrong=lib.ACL_ERROR_RT_INVALID_HANDLE)
    not_null(callback, "callback")
    binary.callback, binary.user_data = callback, userData


# Functions --------------------------------------------------------------------------------------------------------

def aclrtGetFunctionAddr(funcHandle: Any, aicAddr: Any, aivAddr: Any) -> None:
    function = _core_function(funcHandle)
    not_null(aicAddr, "aicAddr")
    not_null(aivAddr, "aivAddr")
    base = function.binary.image(context.current().device).address
    symbols = function.info.symbols
    first, second = symbols.get("") or symbols.get("aic"), symbols.get("aiv")
    if second is None and function.info.core_type == objects.VECTOR:
        first, second = None, first
    aicAddr[0] = ffi.cast("void *", base + first.value if first else 0)
    aivAddr[0] = ffi.cast("void *", base + second.value if second else 0)


def aclrtGetFunctionSize(funcHandle: Any, aicSize: Any, aivSize: Any) -> None:
    function = _core_function(funcHandle)
    not_null(aicSize, "aicSize")
    not_null(aivSize, "aivSize")
    aicSize[0], aivSize[0] = function.info.size


def _core_function(handle: Any) -> Function:
    function = _function(handle)
    if function.ai_cpu:
        raise refused("AI CPU kernels have no address on the AI cores")
    return function


def aclrtGetFunctionName(funcHandle: Any, maxLen: int, name: Any) -> None:
    function = _function(funcHandle)
    not_null(name, "name")
    encoded = function.name.encode() + b"\0"
    if not maxLen or len(encoded) > maxLen:
        raise refused(f"the name needs {len(encoded)} bytes, but there are {maxLen}")
    ffi.memmove(name, encoded, len(encoded))


def aclrtGetFunctionAttribute(funcHandle: Any, attrType: int, attrValue: Any) -> None:
    info = _function(funcHandle).info
    not_null(attrValue, "attrValue")
    if attrType == lib.ACL_FUNC_ATTR_KERNEL_TYPE:
        attrValue[0] = info.core_type
    elif attrType == lib.ACL_FUNC_ATTR_KERNEL_RATIO:
        cube, vector = info.ratio
        attrValue[0] = cube << 16 | vector
    elif attrType == lib.ACL_FUNC_ATTR_KERNEL_SCHED_MODE:
        attrValue[0] = info.sched_mode
    else:
        raise refused(f"there is no function attribute {attrType}")


def aclrtFunctionGetBinary(funcHandle: Any, binHandle: Any) -> None:
    function = _function(funcHandle)
    not_null(binHandle, "binHandle")
    binHandle[0] = handles.pointer(function.binary.number)


def _params(func: Any) -> tuple[tuple[int, int], ...]:
    function = _function(func)
    if function.ai_cpu:
        raise Failure(lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "AI CPU kernels have no parameter information")
    if function.params is None:
        raise refused(f"the binary has no parameter information for kernel {function.name}")
    return function.params


def aclrtFunctionGetParamCount(func: Any, paramCount: Any) -> None:
    params = _params(func)
    not_null(paramCount, "paramCount")
    paramCount[0] = len(params)


def aclrtFunctionGetParamInfo(func: Any, paramIndex: int, paramOffset: Any, paramSize: Any) -> None:
    params = _params(func)
    if paramOffset == _NULL and paramSize == _NULL:
        raise invalid("paramOffset and paramSize are both NULL")
    if paramIndex >= len(params):
        raise refused(f"there is no parameter {paramIndex}: the kernel has {len(params)}")
    offset, size = params[paramIndex]
    if paramOffset != _NULL:
        paramOffset[0] = offset
    if paramSize != _NULL:
        paramSize[0] = size


def aclrtFunctionGetAvailDynUbufPerBlock(func: Any, flags: int, dynamicUbufSize: Any) -> None:
    _function(func)
    raise _simt()


def aclrtGetHardwareSyncAddr(addr: Any) -> None:
    not_null(addr, "addr")
    addr[0] = ffi.cast("void *", _lists.sync_address(context.current().device))


# Argument lists ---------------------------------------------------------------------------------------------------

def aclrtKernelArgsInit(funcHandle: Any, argsHandle: Any) -> None:
    function = _function(funcHandle)
    not_null(argsHandle, "argsHandle")
    argsHandle[0] = ffi.cast("void *", _lists.init_runtime(function))


def aclrtKernelArgsInitByUserMem(funcHandle: Any, argsHandle: Any, userHostMem: Any, actualArgsSize: int) -> None:
    function = _function(funcHandle)
    handle, memory = address(argsHandle, "argsHandle"), address(userHostMem, "userHostMem")
    if not actualArgsSize:
        raise invalid("actualArgsSize is 0")
    _lists.init_user(function, handle, memory, actualArgsSize)


def aclrtKernelArgsGetMemSize(funcHandle: Any, userArgsSize: int, actualArgsSize: Any) -> None:
    function = _function(funcHandle)
    not_null(actualArgsSize, "actualArgsSize")
    actualArgsSize[0] = _lists.memory_bytes(function, userArgsSize)


def aclrtKernelArgsGetHandleMemSize(funcHandle: Any, memSize: Any) -> None:
    function = _function(funcHandle)
    not_null(memSize, "memSize")
    memSize[0] = _lists.handle_bytes(function)


def aclrtKernelArgsAppend(argsHandle: Any, param: Any, paramSize: int, paramHandle: Any) -> None:
    found = _lists.find(handles.address(argsHandle))
    source = address(param, "param")
    if not paramSize:
        raise invalid("paramSize is 0")
    not_null(paramHandle, "paramHandle")
    argument = found.append(paramSize)
    ctypes.memmove(found.buffer + argument.offset, source, paramSize)
    paramHandle[0] = ffi.cast("void *", found.handle_of(len(found.arguments) - 1))


def aclrtKernelArgsAppendPlaceHolder(argsHandle: Any, paramHandle: Any) -> None:
    found = _lists.find(handles.address(argsHandle))
    not_null(paramHandle, "paramHandle")
    found.append(8, placeholder=True)
    paramHandle[0] = ffi.cast("void *", found.handle_of(len(found.arguments) - 1))


def aclrtKernelArgsGetPlaceHolderBuffer(argsHandle: Any, paramHandle: Any, dataSize: int, bufferAddr: Any) -> None:
    found = _lists.find(handles.address(argsHandle))
    argument = found.argument(address(paramHandle, "paramHandle"))
    if not dataSize:
        raise invalid("dataSize is 0")
    not_null(bufferAddr, "bufferAddr")
    bufferAddr[0] = ffi.cast("void *", found.take_buffer(argument, dataSize))


def aclrtKernelArgsParaUpdate(argsHandle: Any, paramHandle: Any, param: Any, paramSize: int) -> None:
    found = _lists.find(handles.address(argsHandle))
    argument = found.argument(address(paramHandle, "paramHandle"))
    source = address(param, "param")
    if not paramSize:
        raise invalid("paramSize is 0")
    found.update(argument, source, paramSize)


def aclrtKernelArgsFinalize(argsHandle: Any) -> None:
    _lists.find(handles.address(argsHandle)).finalize()


# Launches ---------------------------------------------------------------------------------------------------------

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
    function = _function(funcHandle)
    _blocks(numBlocks, invalid)
    if reserve != _NULL:
        raise invalid("reserve is not NULL")
    found = _lists.find(handles.address(argsHandle), "the argument list")
    if found.function is not function:
        raise refused(f"the arguments are of kernel {found.function.name}, not of {function.name}")
    timeout = _timeout(cfg)
    target = _on(stream, function)
    Launch(function, numBlocks, target, found.block(), found.placeholders(), timeout=timeout).submit()


def aclrtLaunchKernel(funcHandle: Any, numBlocks: int, argsData: Any, argsSize: int, stream: Any) -> None:
    aclrtLaunchKernelV2(funcHandle, numBlocks, argsData, argsSize, _NULL, stream)


def aclrtLaunchKernelV2(funcHandle: Any, numBlocks: int, argsData: Any, argsSize: int, cfg: Any, stream: Any) -> None:
    function = _function(funcHandle)
    where = address(argsData, "argsData")
    if not argsSize:
        raise refused("argsSize is 0")
    _blocks(numBlocks)
    timeout = _timeout(cfg)
    Launch(function, numBlocks, _on(stream, function), None, address=where, size=argsSize, timeout=timeout).submit()


def aclrtLaunchKernelWithHostArgs(funcHandle: Any, numBlocks: int, stream: Any, cfg: Any, hostArgs: Any, argsSize: int,
                                  placeHolderArray: Any, placeHolderNum: int) -> None:
    function = _function(funcHandle)
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
    Launch(function, numBlocks, target, ctypes.string_at(where, argsSize), placeholders, timeout=timeout).submit()


def aclrtLaunchKernelWithArgsArray(func: Any, numBlocks: int, stream: Any, cfg: Any, args: Any) -> None:
    function = _function(func)
    _blocks(numBlocks, invalid)
    params = _params(func)
    if params:
        not_null(args, "args")
    block = bytearray(max((offset + size for offset, size in params), default=function.system_bytes))
    for i, (offset, size) in enumerate(params):
        block[offset:offset + size] = ctypes.string_at(address(args[i], f"args[{i}]"), size)
    target = _on(stream, function)
    if function.needs_sync_address:
        block[:8] = _lists.sync_address(target.device).to_bytes(8, "little")
    Launch(function, numBlocks, target, bytes(block), timeout=_timeout(cfg)).submit()


def _simt() -> Failure:
    return Failure(lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "SIMT kernels are for Ascend 950, which is not emulated")


def aclrtLaunchSIMTKernelWithArgsArray(*_: Any) -> None:
    raise _simt()


def aclrtLaunchSIMTKernelWithHostArgs(*_: Any) -> None:
    raise _simt()


# Exceptions -------------------------------------------------------------------------------------------------------

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


def _fault(info: Any) -> execution.Fault:
    found = fault_of(handles.get(info, ExceptionInfo, "the exception information"))
    if found is None:
        raise refused("the exception is not a kernel's")
    return found


def aclrtGetArgsFromExceptionInfo(info: Any, devArgsPtr: Any, devArgsLen: Any) -> None:
    fault = _fault(info)
    not_null(devArgsPtr, "devArgsPtr")
    not_null(devArgsLen, "devArgsLen")
    devArgsPtr[0], devArgsLen[0] = ffi.cast("void *", fault.address), fault.size


def aclrtGetFuncHandleFromExceptionInfo(info: Any, func: Any) -> None:
    fault = _fault(info)
    not_null(func, "func")
    func[0] = handles.pointer(fault.function.number)
