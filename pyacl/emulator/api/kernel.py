"""Kernel binaries, and what is known of the functions in them."""

from __future__ import annotations

import ctypes
from typing import Any, Optional

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure
from ..kernels import arguments as _lists
from ..kernels import binary as _binary
from ..kernels import objects
from ..kernels.binary import Function, get_binary, get_function
from ..machine import context
from .arguments import address, invalid, not_null, refused, text

_NULL = ffi.NULL
_MAGICS = (lib.ACL_RT_BINARY_MAGIC_ELF_AICORE, lib.ACL_RT_BINARY_MAGIC_ELF_CUBE_CORE,
           lib.ACL_RT_BINARY_MAGIC_ELF_VECTOR_CORE)


class BinaryData:
    """An aclrtBinary: memory that stays the user's."""

    def __init__(self, where: int, nbytes: int) -> None:
        self.where, self.nbytes = where, nbytes


# Binaries

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
    get_binary(binHandle).unload()


def aclrtBinaryGetFunction(binHandle: Any, kernelName: Any, funcHandle: Any) -> None:
    binary = get_binary(binHandle)
    name = text(kernelName, "kernelName")
    not_null(funcHandle, "funcHandle")
    funcHandle[0] = handles.pointer(binary.function(name).number)


def aclrtBinaryGetFunctionByEntry(binHandle: Any, funcEntry: int, funcHandle: Any) -> None:
    # Some of CANN's pages call it reserved; its runtime and its own operator library use it as it is done here.
    binary = get_binary(binHandle)
    not_null(funcHandle, "funcHandle")
    funcHandle[0] = handles.pointer(binary.by_entry(funcEntry).number)


def aclrtRegisterCpuFunc(handle: Any, funcName: Any, kernelName: Any, funcHandle: Any) -> None:
    binary = get_binary(handle)
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
    binary = get_binary(binHandle)
    not_null(binAddr, "binAddr")
    not_null(binSize, "binSize")
    device = context.current().device
    if binary.lazy and device.id not in binary.images:
        binAddr[0], binSize[0] = _NULL, 0
        return
    image = binary.image(device)
    binAddr[0], binSize[0] = ffi.cast("void *", image.address), image.requested


def aclrtBinaryGetGlobal(binHandle: Any, name: Any, dptr: Any, size: Any) -> None:
    binary = get_binary(binHandle)
    wanted = text(name, "name")
    if dptr == _NULL and size == _NULL:
        raise invalid("dptr and size are both NULL")
    where, nbytes = binary.variable(wanted, context.current().device)
    if dptr != _NULL:
        dptr[0] = ffi.cast("void *", where)
    if size != _NULL:
        size[0] = nbytes


def aclrtBinarySetExceptionCallback(binHandle: Any, callback: Any, userData: Any) -> None:
    binary = get_binary(binHandle)
    not_null(callback, "callback")
    binary.callback, binary.user_data = callback, userData


# Functions

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
    function = get_function(handle)
    if function.ai_cpu:
        raise refused("AI CPU kernels have no address on the AI cores")
    return function


def aclrtGetFunctionName(funcHandle: Any, maxLen: int, name: Any) -> None:
    function = get_function(funcHandle)
    not_null(name, "name")
    encoded = function.name.encode() + b"\0"
    if not maxLen or len(encoded) > maxLen:
        raise refused(f"the name needs {len(encoded)} bytes, but there are {maxLen}")
    ffi.memmove(name, encoded, len(encoded))


def aclrtGetFunctionAttribute(funcHandle: Any, attrType: int, attrValue: Any) -> None:
    info = get_function(funcHandle).info
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
    function = get_function(funcHandle)
    not_null(binHandle, "binHandle")
    binHandle[0] = handles.pointer(function.binary.number)


def aclrtFunctionGetParamCount(func: Any, paramCount: Any) -> None:
    params = get_function(func).known_params()
    not_null(paramCount, "paramCount")
    paramCount[0] = len(params)


def aclrtFunctionGetParamInfo(func: Any, paramIndex: int, paramOffset: Any, paramSize: Any) -> None:
    params = get_function(func).known_params()
    if paramOffset == _NULL and paramSize == _NULL:
        raise invalid("paramOffset and paramSize are both NULL")
    if paramIndex >= len(params):
        raise refused(f"there is no parameter {paramIndex}: the kernel has {len(params)}")
    offset, size = params[paramIndex]
    if paramOffset != _NULL:
        paramOffset[0] = offset
    if paramSize != _NULL:
        paramSize[0] = size


def aclrtGetHardwareSyncAddr(addr: Any) -> None:
    not_null(addr, "addr")
    addr[0] = ffi.cast("void *", _lists.sync_address(context.current().device))
