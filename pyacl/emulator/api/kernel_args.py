"""Argument lists of kernels."""

from __future__ import annotations

import ctypes
from typing import Any

from ...capi import ffi
from .. import handles
from ..kernels import arguments as _lists
from ..kernels.binary import get_function
from .arguments import address, invalid, not_null


def aclrtKernelArgsInit(funcHandle: Any, argsHandle: Any) -> None:
    function = get_function(funcHandle)
    not_null(argsHandle, "argsHandle")
    argsHandle[0] = ffi.cast("void *", _lists.init_runtime(function))


def aclrtKernelArgsInitByUserMem(funcHandle: Any, argsHandle: Any, userHostMem: Any, actualArgsSize: int) -> None:
    function = get_function(funcHandle)
    handle, memory = address(argsHandle, "argsHandle"), address(userHostMem, "userHostMem")
    if not actualArgsSize:
        raise invalid("actualArgsSize is 0")
    _lists.init_user(function, handle, memory, actualArgsSize)


def aclrtKernelArgsGetMemSize(funcHandle: Any, userArgsSize: int, actualArgsSize: Any) -> None:
    function = get_function(funcHandle)
    not_null(actualArgsSize, "actualArgsSize")
    actualArgsSize[0] = _lists.memory_bytes(function, userArgsSize)


def aclrtKernelArgsGetHandleMemSize(funcHandle: Any, memSize: Any) -> None:
    function = get_function(funcHandle)
    not_null(memSize, "memSize")
    memSize[0] = _lists.handle_bytes(function)


def aclrtKernelArgsAppend(argsHandle: Any, param: Any, paramSize: int, paramHandle: Any) -> None:
    found = _lists.find(handles.address(argsHandle))
    source = address(param, "param")
    if not paramSize:
        raise invalid("paramSize is 0")
    not_null(paramHandle, "paramHandle")
    ctypes.memmove(found.buffer + found.append(paramSize), source, paramSize)
    paramHandle[0] = ffi.cast("void *", found.last)


def aclrtKernelArgsAppendPlaceHolder(argsHandle: Any, paramHandle: Any) -> None:
    found = _lists.find(handles.address(argsHandle))
    not_null(paramHandle, "paramHandle")
    found.append(8, placeholder=True)
    paramHandle[0] = ffi.cast("void *", found.last)


def aclrtKernelArgsGetPlaceHolderBuffer(argsHandle: Any, paramHandle: Any, dataSize: int, bufferAddr: Any) -> None:
    found = _lists.find(handles.address(argsHandle))
    index = found.index(address(paramHandle, "paramHandle"))
    if not dataSize:
        raise invalid("dataSize is 0")
    not_null(bufferAddr, "bufferAddr")
    bufferAddr[0] = ffi.cast("void *", found.take_buffer(index, dataSize))


def aclrtKernelArgsParaUpdate(argsHandle: Any, paramHandle: Any, param: Any, paramSize: int) -> None:
    found = _lists.find(handles.address(argsHandle))
    index = found.index(address(paramHandle, "paramHandle"))
    source = address(param, "param")
    if not paramSize:
        raise invalid("paramSize is 0")
    found.update(index, source, paramSize)


def aclrtKernelArgsFinalize(argsHandle: Any) -> None:
    _lists.find(handles.address(argsHandle)).finalize()
