"""Host functions, subscriptions, and who is told of faults and changes of state."""

from __future__ import annotations

from typing import Any

from ...capi import ffi, lib
from ..failure import Failure
from ..machine import callback as _callback
from ..machine import device as _device
from ..machine import exception
from ..machine import stream as _stream
from . import arguments

# Calling the host from a stream

def aclrtLaunchHostFunc(stream: Any, fn: Any, args: Any) -> None:
    arguments.not_null(fn, "fn")
    found = _stream.resolve(stream)
    if found in _callback.reports.by_stream:
        raise arguments.refused(f"{found!r} is served by aclrtProcessReport: do not mix that with aclrtLaunchHostFunc")
    _callback.launch(lambda: fn(args), found)


def aclrtLaunchCallback(fn: Any, userData: Any, blockType: int, stream: Any) -> None:
    arguments.not_null(fn, "fn")
    if blockType not in (lib.ACL_CALLBACK_NO_BLOCK, lib.ACL_CALLBACK_BLOCK):
        raise arguments.invalid(f"there is no block type {blockType}")
    found = _stream.resolve(stream)
    if found not in _callback.reports.by_stream:
        raise Failure(lib.ACL_ERROR_RT_STREAM_NO_CB_REG, f"no thread serves {found!r}: call aclrtSubscribeReport first")
    _callback.reports.queue(_callback.Call(lambda: fn(userData), found), blockType == lib.ACL_CALLBACK_BLOCK,
                            "aclrtLaunchCallback")


def aclrtSubscribeReport(threadId: int, stream: Any) -> None:
    _callback.reports.subscribe(threadId, _stream.resolve(stream))


def aclrtUnSubscribeReport(threadId: int, stream: Any) -> None:
    _callback.reports.unsubscribe(threadId, _stream.resolve(stream))


def aclrtProcessReport(timeout: int) -> None:
    _callback.reports.serve(timeout)


def aclrtSubscribeHostFunc(hostFuncThreadId: int, exeStream: Any) -> None:
    _callback.host_functions.subscribe(hostFuncThreadId, _stream.resolve(exeStream))


def aclrtUnSubscribeHostFunc(hostFuncThreadId: int, exeStream: Any) -> None:
    _callback.host_functions.unsubscribe(hostFuncThreadId, _stream.resolve(exeStream))


def aclrtProcessHostFunc(timeout: int) -> None:
    _callback.host_functions.serve(timeout)


# Being told

def aclrtRegDeviceStateCallback(regName: Any, callback: Any, args: Any) -> None:
    name = arguments.text(regName, "regName")
    registered = _device.state_callbacks()
    if callback == ffi.NULL:
        registered.pop(name, None)
        return
    if name in registered:
        raise arguments.refused(f"a device state callback {name!r} is already registered")
    registered[name] = lambda device, state: callback(device, state, args)


def aclrtSetDeviceTaskAbortCallback(regName: Any, callback: Any, args: Any) -> None:
    name = arguments.text(regName, "regName")
    if callback == ffi.NULL:
        _callback.abort_callbacks.pop(name, None)
        return
    _callback.abort_callbacks[name] = lambda device, stage, timeout: int(callback(device, stage, timeout, args))


def aclrtSetExceptionInfoCallback(callback: Any) -> None:
    exception.callback = None if callback == ffi.NULL else callback


def aclrtExceptionInfoCallbackRegister(callback: Any) -> None:
    if callback == ffi.NULL:
        raise arguments.refused("the callback is NULL")
    exception.registered.setdefault(int(ffi.cast("uintptr_t", callback)), callback)


def aclrtExceptionInfoCallbackUnregister(callback: Any) -> None:
    if callback == ffi.NULL:
        raise arguments.refused("the callback is NULL")
    exception.registered.pop(int(ffi.cast("uintptr_t", callback)), None)
