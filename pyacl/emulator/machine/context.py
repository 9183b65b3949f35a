"""Contexts, and which one each thread uses."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Optional

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure
from . import device as _device
from .device import Device
from .memory import Region

if TYPE_CHECKING:
    from .stream import Stream


class Context:
    """A device's default context, which all threads share, or one that somebody created."""

    def __init__(self, device: Device, primary: bool) -> None:
        from .stream import Stream

        self.device = device
        self.primary = primary
        self.alive = True
        self.options: dict[int, int] = {}  # aclSysParamOpt
        self.overflow: Optional[Region] = None  # the flags of aclrtCtxGetFloatOverflowAddr
        self.streams: list[Stream] = []
        self.failed: Optional[Failure] = None  # the fault that stopped every stream (STOP_ON_FAILURE)
        self.default_stream = Stream(self, default=True)
        self.handle = handles.new(self)
        device.contexts.append(self)

    def release(self) -> None:
        """Frees the context and all its streams."""
        for stream in list(self.streams):
            stream.release(wait=False)
        self.alive = False
        if self in self.device.contexts:
            self.device.contexts.remove(self)
            handles.drop(self.handle)
        if _thread.context is self:
            _thread.context = None

    def __repr__(self) -> str:
        return f"<{'default' if self.primary else 'created'} context of device {self.device.id}>"


class _Thread(threading.local):
    context: Optional[Context] = None
    inside: str = ""  # which kind of callback the thread runs now


_thread = _Thread()
default_device: Optional[int] = None  # what aclInit's configuration names


def current() -> Context:
    """The calling thread's context. Fails with ACL_ERROR_RT_CONTEXT_NULL when it has none."""
    context = _thread.context
    if context is not None and context.alive:
        return context
    return _missing()


def _missing() -> Context:
    if _thread.inside:
        raise Failure(lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "the runtime was called inside "
                      f"{_thread.inside}, which must not allocate, free, launch, synchronise or change the context")
    if _thread.context is None and default_device is not None:
        return set_device(default_device)
    why = "its context was destroyed, or its device reset" if _thread.context is not None else "it never set one"
    _thread.context = None
    raise Failure(lib.ACL_ERROR_RT_CONTEXT_NULL, f"this thread has no context ({why}): call aclrtSetDevice or "
                  "aclrtSetCurrentContext in every thread that uses the runtime")


class inside:
    """While a thread runs a callback it has no context, and cannot get one."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        self._before = (_thread.context, _thread.inside)
        _thread.context, _thread.inside = None, self._what

    def __exit__(self, *_: Any) -> None:
        _thread.context, _thread.inside = self._before


def refuse_inside_callback() -> None:
    if _thread.inside:
        _missing()


def set_current(context: Optional[Context]) -> None:
    refuse_inside_callback()
    _thread.context = context


def resolve(pointer: Any) -> Context:
    """The context behind a handle."""
    if pointer == ffi.NULL:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, "the context is NULL")
    return handles.get(pointer, Context, "context", wrong=lib.ACL_ERROR_RT_INVALID_HANDLE)


_lock = threading.RLock()  # setting and resetting devices


def set_device(device_id: int) -> Context:
    """aclrtSetDevice: one reference more, and the default context becomes the thread's."""
    refuse_inside_callback()
    device = _device.get(device_id)
    with _lock:
        _device.announce(device, lib.ACL_RT_DEVICE_STATE_SET_PRE)
        if device.primary is None:
            device.primary = Context(device, primary=True)
        device.references += 1
        context = _thread.context = device.primary
        _device.announce(device, lib.ACL_RT_DEVICE_STATE_SET_POST)
    return context


def reset_device(device_id: int, force: bool) -> None:
    """aclrtResetDevice and aclrtResetDeviceForce; at no reference everything of the device goes."""
    refuse_inside_callback()
    device = _device.get(device_id)
    if not device.references:
        raise Failure(lib.ACL_ERROR_RT_CONTEXT_NULL, f"device {device_id} is reset more often than it was set")
    _device.announce(device, lib.ACL_RT_DEVICE_STATE_RESET_PRE)
    if device.references == 1 and not force:
        device.finish()  # outside the lock: its work may need a thread that sets the device
    with _lock:
        device.references = 0 if force else device.references - 1
        if not device.references:
            device.release()
    _device.announce(device, lib.ACL_RT_DEVICE_STATE_RESET_POST)


def release_all() -> None:
    """Every device as before its first use (aclFinalize)."""
    for device in _device.devices:
        device.settle()
    with _lock:
        for device in _device.devices:
            device.release()
        _thread.context = None
