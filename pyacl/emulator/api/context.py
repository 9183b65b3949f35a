"""Contexts."""

from __future__ import annotations

from typing import Any

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure
from ..machine import context as _context
from ..machine import device as _device
from ..machine import memory, options, process
from ..machine.context import Context
from . import arguments


def aclrtCreateContext(context: Any, deviceId: int) -> None:
    arguments.not_null(context, "context")
    process.require()
    created = Context(_device.get(deviceId), primary=False)
    _context.set_current(created)
    context[0] = handles.pointer(created.handle)


def aclrtDestroyContext(context: Any) -> None:
    found = _context.resolve(context)
    _context.refuse_inside_callback()
    if found.primary:
        raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, "the default context is not destroyed by aclrtDestroyContext but "
                      "by the last aclrtResetDevice")
    for stream in list(found.streams):
        stream.finish(what="aclrtDestroyContext")
    found.release()


def aclrtSetCurrentContext(context: Any) -> None:
    _context.set_current(_context.resolve(context))


def aclrtGetCurrentContext(context: Any) -> None:
    arguments.not_null(context, "context")
    context[0] = handles.pointer(_context.current().handle)


def aclrtGetPrimaryCtxState(deviceId: int, flags: Any, active: Any) -> None:
    if flags != ffi.NULL:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, "flags must be NULL")
    arguments.not_null(active, "active")
    active[0] = int(_device.get(deviceId).primary is not None)


def aclrtCtxSetSysParamOpt(opt: int, value: int) -> None:
    options.check(opt, value)
    _context.current().options[opt] = value


def aclrtCtxGetSysParamOpt(opt: int, value: Any) -> None:
    arguments.not_null(value, "value")
    options.check(opt)
    found = _context.current().options.get(opt)
    if found is None:
        raise Failure(lib.ACL_ERROR_RT_SYSPARAMOPT_NOT_SET, f"option {opt} was never set in this context")
    value[0] = found


def aclrtCtxGetFloatOverflowAddr(overflowAddr: Any) -> None:
    arguments.not_null(overflowAddr, "overflowAddr")
    context = _context.current()
    if context.overflow is None:
        context.overflow = memory.malloc(context.device, 512, "the context's overflow flags")
        context.overflow.bytes[:] = 0
    overflowAddr[0] = ffi.cast("void *", context.overflow.address)
