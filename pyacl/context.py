"""Contexts: what a thread must have before it can use a device."""

from __future__ import annotations

import operator
import weakref
from typing import TYPE_CHECKING, Any, Iterable, Optional

from . import errors
from .capi import ffi, lib
from .resource import Flight, Resource, bind, flight_of, flights

if TYPE_CHECKING:
    from .stream import Stream

def check_device_id(id: Any, function: str) -> int:
    """A device id as `function` takes it, which wants 32 bits."""
    if isinstance(id, bool) or not hasattr(id, "__index__"):
        raise TypeError(f"a device id is an int, not {id!r}")
    number = operator.index(id)
    if not -2**31 <= number < 2**31:
        raise errors.error(lib.ACL_ERROR_RT_INVALID_DEVICEID, function, f"there is no device {number}")
    return number


_known: dict[int, weakref.ref[Context]] = {}  # by the C handle's address
# Fills in the Devices behind a device's default context; set by device.py.
_devices_of: Any = None


class Context(Resource):
    """A context of device `device_id` with a default stream of its own; it becomes this thread's (aclrtCreateContext).

    A device has a default context without this class: `pyacl.Device` sets it. Threads share a context freely, but each
    thread must have one: `set_current`. Closing it closes what was made in it.
    """

    __slots__ = ("device_id", "owned", "_address", "_devices", "_flight")

    _has_children = True
    _is_context = True

    def __init__(self, device_id: int = 0) -> None:
        from .device import init

        device_id = check_device_id(device_id, "aclrtCreateContext")
        init()
        out = ffi.new("aclrtContext *")
        errors.check(lib.aclrtCreateContext(out, device_id), "aclrtCreateContext")
        self._set(out[0], device_id, True)

    def _set(self, handle: Any, device_id: int, owned: bool) -> None:
        self.device_id = device_id
        self.owned = owned
        self._address = int(ffi.cast("uintptr_t", handle))
        self._devices: list[Resource] = _devices_of(device_id) if _devices_of else []
        self._flight: Optional[Flight] = None  # of the default stream
        self._own(handle)
        _known[self._address] = weakref.ref(self)

    @property
    def _warns(self) -> bool:  # type: ignore[override]
        return self.owned

    @classmethod
    def current(cls) -> Context:
        """This thread's context (aclrtGetCurrentContext). Raises ContextError when it has none."""
        out = ffi.new("aclrtContext *")
        code = lib.aclrtGetCurrentContext(out)
        if code:
            raise errors.error(code, "aclrtGetCurrentContext")
        ref = _known.get(int(ffi.cast("uintptr_t", out[0])))
        found = None if ref is None else ref()
        if found is not None:
            return found
        device = ffi.new("int32_t *")
        errors.check(lib.aclrtGetDevice(device), "aclrtGetDevice")
        borrowed = cls.__new__(cls)
        borrowed._set(out[0], device[0], False)
        return borrowed

    def set_current(self) -> None:
        """Makes it this thread's context (aclrtSetCurrentContext)."""
        errors.check(lib.aclrtSetCurrentContext(self.handle), "aclrtSetCurrentContext")

    def default_flight(self) -> Flight:
        """The record of the default stream (aclrtCtxGetCurrentDefaultStream)."""
        if self._flight is None:
            out = ffi.new("aclrtStream *")
            with switched(self):
                errors.check(lib.aclrtCtxGetCurrentDefaultStream(out), "aclrtCtxGetCurrentDefaultStream")
            self._flight = flight_of(out[0], self)
        return self._flight

    @property
    def default_stream(self) -> Stream:
        """The stream that stands behind ``stream=None``."""
        from .stream import Stream

        return Stream._borrow(self.default_flight().handle, self)

    def get_option(self, option: str) -> int:
        """A system option of this context, such as ``"deterministic"`` (aclrtCtxGetSysParamOpt).

        Raises StateError when it was never set here.
        """
        out = ffi.new("int64_t *")
        with switched(self):
            errors.check(lib.aclrtCtxGetSysParamOpt(getattr(lib, f"ACL_OPT_{option.upper()}"), out),
                         "aclrtCtxGetSysParamOpt")
        return int(out[0])

    def set_option(self, option: str, value: int) -> None:
        """Sets a system option for this context (aclrtCtxSetSysParamOpt)."""
        with switched(self):
            errors.check(lib.aclrtCtxSetSysParamOpt(getattr(lib, f"ACL_OPT_{option.upper()}"), value),
                         "aclrtCtxSetSysParamOpt")

    def _uses(self) -> Iterable[Resource]:
        return self._devices

    def _release(self) -> None:
        _known.pop(self._address, None)
        self._devices = []
        ended = [f for f in list(flights.values()) if f.context in (self, None) and not f.busy]
        with switched(self if any(f.room for f in ended) else None):  # where their workspaces are freed
            for flight in ended:
                flight.forget()
        if self.owned:
            errors.check(lib.aclrtDestroyContext(self.handle), "aclrtDestroyContext")

    def _describe(self) -> str:
        return f"{self._address:#x} on device {self.device_id}{'' if self.owned else ' (not owned)'}"


class switched:
    """``with``: `context` is this thread's; afterwards what was there before."""

    __slots__ = ("context", "before")

    def __init__(self, context: Optional[Resource]) -> None:
        self.context = context

    def __enter__(self) -> None:
        out = ffi.new("aclrtContext *")
        self.before = ffi.NULL
        if lib.aclrtGetCurrentContext(out):
            errors.recent_text()
        else:
            self.before = out[0]
        if self.context is not None and self.before != self.context.handle:
            errors.check(lib.aclrtSetCurrentContext(self.context.handle), "aclrtSetCurrentContext")

    def __exit__(self, *_: Any) -> None:
        if self.context is not None and self.before != ffi.NULL and self.before != self.context.handle:
            lib.aclrtSetCurrentContext(self.before)


def current() -> Context:
    """This thread's context; see `Context.current`."""
    return Context.current()


def flight_on(stream: Optional[Stream], user: Optional[Resource] = None) -> Flight:
    """The record of `stream`; with None of the default stream of this thread's context.

    A thread without context gets that of `user`. Raises TypeError for what is no stream.
    """
    if stream is not None:
        try:
            return stream.flight
        except AttributeError:
            raise TypeError(f"a stream is a pyacl.Stream, or None for the default stream, not {stream!r}") from None
    try:
        return Context.current().default_flight()
    except errors.ContextError:
        if user is None or not bind(user._context()):
            raise
        return Context.current().default_flight()
