"""Devices, and the initialisation of the whole library."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Mapping, NamedTuple, Optional, Union

from . import context as contexts
from . import errors, resource
from .capi import MissingSymbolError, ffi, lib
from .context import Context, switched
from .resource import Resource

Config = Union[str, "os.PathLike[str]", Mapping[str, Any]]

_lock = threading.RLock()
_initialized = False
_open: dict[int, list[weakref.ref[Device]]] = {}  # the Devices of each id that were not closed


class MemInfo(NamedTuple):
    """Bytes of one kind of device memory."""

    free: int
    total: int


def init(config: Optional[Config] = None) -> None:
    """Initialises CANN once for the process (aclInit); `Device` and `Context` do it by themselves.

    `config`: the path of a JSON file, or its content as a dict. A second call does nothing; with a config it raises
    StateError, because the first one holds for the process.
    """
    global _initialized
    if _initialized and config is None:
        return
    with _lock:
        if _initialized:
            if config is not None:
                raise errors.error(lib.ACL_ERROR_REPEAT_INITIALIZE, "aclInit", "pyacl is initialised already",
                                   "give the config before the first Device is made")
            return
        code = _aclinit(config)
        # Another library in this process was first: that is good enough, and its config holds.
        if code == lib.ACL_ERROR_REPEAT_INITIALIZE:
            errors.recent_text()
        else:
            errors.check(code, "aclInit")
        _initialized = True
        if _finalize_quietly not in resource.at_end:
            resource.at_end.append(_finalize_quietly)


def _aclinit(config: Optional[Config]) -> int:
    if config is None:
        return int(lib.aclInit(ffi.NULL))
    if not isinstance(config, Mapping):
        path = os.fspath(config)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"no configuration file {path}")
        return int(lib.aclInit(os.fsencode(path)))
    import json
    import tempfile  # 3 ms that few need

    file, path = tempfile.mkstemp(suffix=".json", prefix="pyacl")
    try:
        with os.fdopen(file, "w") as out:
            json.dump(dict(config), out)
        return int(lib.aclInit(os.fsencode(path)))
    finally:
        os.unlink(path)


def finalize() -> None:
    """Closes everything that is open and ends CANN (aclFinalizeReference); at exit it happens by itself.

    `init` may be called again afterwards.
    """
    global _initialized
    with _lock:
        if not _initialized:
            return
        resource.close_everything()
        _initialized = False
        errors.check(*_aclfinalize())


def _aclfinalize() -> tuple[int, str]:
    """Ends our initialisation only: other libraries of the process may have theirs."""
    try:
        return lib.aclFinalizeReference(ffi.NULL), "aclFinalizeReference"
    except MissingSymbolError:
        return lib.aclFinalize(), "aclFinalize"


def _finalize_quietly() -> None:
    global _initialized
    if _initialized:
        _initialized = False
        _aclfinalize()


def device_count() -> int:
    """Usable devices (aclrtGetDeviceCount); ASCEND_RT_VISIBLE_DEVICES restricts them."""
    out = ffi.new("uint32_t *")
    code = lib.aclrtGetDeviceCount(out)
    if code == lib.ACL_ERROR_UNINITIALIZE:
        init()
        code = lib.aclrtGetDeviceCount(out)
    errors.check(code, "aclrtGetDeviceCount")
    return int(out[0])


def soc_name() -> str:
    """The chip's name, such as ``Ascend910B3`` (aclrtGetSocName)."""
    pointer = lib.aclrtGetSocName()
    if not pointer:
        init()
        pointer = lib.aclrtGetSocName()
    if not pointer:
        raise errors.error(lib.ACL_ERROR_RT_SOC_VERSION, "aclrtGetSocName")
    name: bytes = ffi.string(pointer)
    return name.decode()


def mem_info(kind: str = "hbm_mem") -> MemInfo:
    """Free and total bytes of the current device (aclrtGetMemInfo); `kind` is an aclrtMemAttr's name after ACL_."""
    free, total = ffi.new("size_t *"), ffi.new("size_t *")
    errors.check(lib.aclrtGetMemInfo(_constant("ACL_", kind), free, total), "aclrtGetMemInfo")
    return MemInfo(free[0], total[0])


def _constant(prefix: str, name: Union[str, int]) -> int:
    """An enumerator by its name after `prefix`, in any case; numbers go through."""
    if not isinstance(name, str):
        return int(name)
    full = prefix + name.upper()
    try:
        return int(getattr(lib, full))
    except AttributeError:
        raise ValueError(f"{name!r} is not known: there is no {full} in CANN") from None


class Device(Resource):
    """Device `id`, bound to this thread (aclrtSetDevice); initialises CANN at the first use.

    Another thread binds itself with `set_current`. Closing the last `Device` of an id closes whatever is still open on
    it and resets it (aclrtResetDevice). `config` goes to `init`.
    """

    __slots__ = ("id", "_before", "_thread")

    def __init__(self, id: int = 0, *, config: Optional[Config] = None) -> None:
        id = contexts.check_device_id(id, "aclrtSetDevice")
        init(config)
        try:
            self._before: Optional[weakref.ref[Context]] = weakref.ref(Context.current())
        except errors.ContextError:
            self._before = None
        self._thread = threading.get_ident()
        self.id = id
        errors.check(lib.aclrtSetDevice(id), "aclrtSetDevice")
        self._own(id)
        _open.setdefault(id, []).append(weakref.ref(self))
        context = Context.current()
        if self not in context._devices:
            context._devices.append(self)
        self._keep(context)

    def _keep(self, context: Context) -> None:
        _default[self.id] = weakref.ref(context)

    @property
    def context(self) -> Context:
        """Its default context, which all threads share."""
        self.handle  # noqa: B018 - raises when closed
        ref = _default.get(self.id)
        found = None if ref is None else ref()
        if found is None:
            # Nothing was alive in it, so the object was dropped; the C context is the device's and still there.
            errors.check(lib.aclrtSetDevice(self.id), "aclrtSetDevice")
            found = Context.current()
            errors.check(lib.aclrtResetDevice(self.id), "aclrtResetDevice")
            self._keep(found)
        return found

    def set_current(self) -> None:
        """Binds this thread to the device's default context."""
        self.context.set_current()

    def synchronize(self, timeout: Optional[float] = None) -> None:
        """Waits for all streams of the device (aclrtSynchronizeDevice); `timeout` in seconds.

        Raises SyncTimeoutError, or the error of a task that failed.
        """
        flights = [f for f in list(resource.flights.values())
                   if isinstance(f.context, Context) and f.context.device_id == self.id]
        batches = [(f, f.begin()) for f in flights]
        with switched(self.context):
            if timeout is None:
                code, function = lib.aclrtSynchronizeDevice(), "aclrtSynchronizeDevice"
            else:
                function = "aclrtSynchronizeDeviceWithTimeout"
                code = lib.aclrtSynchronizeDeviceWithTimeout(milliseconds(timeout))
        for flight, begun in batches:
            flight.end(begun, code)
        errors.check(code, function)
        for flight in flights:
            raise_failures(flight)

    # What it is

    @property
    def soc_name(self) -> str:
        """The chip's name, such as ``Ascend910B3``."""
        self.handle  # noqa: B018
        return soc_name()

    @property
    def memory(self) -> MemInfo:
        """Free and total bytes of its HBM."""
        return self.mem_info()

    def mem_info(self, kind: str = "hbm_mem") -> MemInfo:
        """Free and total bytes of one kind of memory; `kind` is an aclrtMemAttr's name after ACL_."""
        with switched(self.context):
            return mem_info(kind)

    def info(self, attribute: Union[str, int]) -> int:
        """A number about it (aclrtGetDeviceInfo), by the name after ACL_DEV_ATTR_, such as "vector_core_num"."""
        out = ffi.new("int64_t *")
        code = lib.aclrtGetDeviceInfo(self.handle, _constant("ACL_DEV_ATTR_", attribute), out)
        errors.check(code, "aclrtGetDeviceInfo")
        return int(out[0])

    @property
    def cube_cores(self) -> int:
        """Cube (matrix) cores."""
        return self.info("cube_core_num")

    @property
    def vector_cores(self) -> int:
        """Vector cores."""
        return self.info("vector_core_num")

    @property
    def l2_cache(self) -> int:
        """Bytes of the L2 cache."""
        return self.info("l2_cache_size")

    def capability(self, feature: Union[str, int]) -> bool:
        """Whether it has a feature (aclrtGetDeviceCapability), by the name after ACL_FEATURE_."""
        out = ffi.new("int32_t *")
        code = lib.aclrtGetDeviceCapability(self.handle, _constant("ACL_FEATURE_", feature), out)
        errors.check(code, "aclrtGetDeviceCapability")
        return bool(out[0] == lib.ACL_DEV_FEATURE_SUPPORT)

    @property
    def healthy(self) -> bool:
        """Whether its state is normal (aclrtQueryDeviceStatus)."""
        out = ffi.new("aclrtDeviceStatus *")
        errors.check(lib.aclrtQueryDeviceStatus(self.handle, out), "aclrtQueryDeviceStatus")
        return bool(out[0] == lib.ACL_RT_DEVICE_STATUS_NORMAL)

    @property
    def stream_priorities(self) -> tuple[int, int]:
        """The least and the greatest priority of streams (aclrtDeviceGetStreamPriorityRange); smaller is higher."""
        least, greatest = ffi.new("int32_t *"), ffi.new("int32_t *")
        with switched(self.context):
            errors.check(lib.aclrtDeviceGetStreamPriorityRange(least, greatest), "aclrtDeviceGetStreamPriorityRange")
        return least[0], greatest[0]

    @property
    def available_streams(self) -> int:
        """How many more streams can be made (aclrtGetStreamAvailableNum)."""
        out = ffi.new("uint32_t *")
        with switched(self.context):
            errors.check(lib.aclrtGetStreamAvailableNum(out), "aclrtGetStreamAvailableNum")
        return int(out[0])

    # Peers

    def can_access_peer(self, peer: Union[Device, int]) -> bool:
        """Whether it could read and write the memory of `peer` (aclrtDeviceCanAccessPeer)."""
        out = ffi.new("int32_t *")
        errors.check(lib.aclrtDeviceCanAccessPeer(out, self.handle, _id(peer)), "aclrtDeviceCanAccessPeer")
        return bool(out[0])

    def enable_peer_access(self, peer: Union[Device, int]) -> None:
        """Lets it access the memory of `peer` (aclrtDeviceEnablePeerAccess); one way, so call it for the peer too."""
        with switched(self.context):
            errors.check(lib.aclrtDeviceEnablePeerAccess(_id(peer), 0), "aclrtDeviceEnablePeerAccess")

    def disable_peer_access(self, peer: Union[Device, int]) -> None:
        """Ends what `enable_peer_access` allowed (aclrtDeviceDisablePeerAccess)."""
        with switched(self.context):
            errors.check(lib.aclrtDeviceDisablePeerAccess(_id(peer)), "aclrtDeviceDisablePeerAccess")

    def peer_access(self, peer: Union[Device, int]) -> bool:
        """Whether its access to `peer` is enabled (aclrtDevicePeerAccessStatus)."""
        out = ffi.new("int32_t *")
        errors.check(lib.aclrtDevicePeerAccessStatus(self.handle, _id(peer), out), "aclrtDevicePeerAccessStatus")
        return bool(out[0])

    # Limits and modes

    def resource_limit(self, kind: str) -> int:
        """How many cores this process may use (aclrtGetDeviceResLimit); `kind` is "cube_core" or "vector_core"."""
        out = ffi.new("uint32_t *")
        code = lib.aclrtGetDeviceResLimit(self.handle, _constant("ACL_RT_DEV_RES_", kind), out)
        errors.check(code, "aclrtGetDeviceResLimit")
        return int(out[0])

    def set_resource_limit(self, kind: str, value: int) -> None:
        """Restricts this process to `value` cores (aclrtSetDeviceResLimit); holds for work launched later."""
        code = lib.aclrtSetDeviceResLimit(self.handle, _constant("ACL_RT_DEV_RES_", kind), value)
        errors.check(code, "aclrtSetDeviceResLimit")

    def reset_resource_limit(self) -> None:
        """Lifts the restrictions (aclrtResetDeviceResLimit)."""
        errors.check(lib.aclrtResetDeviceResLimit(self.handle), "aclrtResetDeviceResLimit")

    @property
    def overflow_mode(self) -> str:
        """What floating-point overflow gives: "saturation" or "infnan" (aclrtGetDeviceSatMode, aclrtSetDeviceSatMode).

        A new mode holds for streams made afterwards.
        """
        out = ffi.new("aclrtFloatOverflowMode *")
        with switched(self.context):
            errors.check(lib.aclrtGetDeviceSatMode(out), "aclrtGetDeviceSatMode")
        modes = ("saturation", "infnan", "undef")
        return next((m for m in modes if _constant("ACL_RT_OVERFLOW_MODE_", m) == out[0]), str(int(out[0])))

    @overflow_mode.setter
    def overflow_mode(self, mode: str) -> None:
        value = _constant("ACL_RT_OVERFLOW_MODE_", mode)
        with switched(self.context):
            errors.check(lib.aclrtSetDeviceSatMode(value), "aclrtSetDeviceSatMode")

    def abort(self, timeout: float = 0) -> None:
        """Stops all tasks of the device (aclrtDeviceTaskAbort); `timeout` in seconds, 0 waits as long as needed."""
        errors.check(lib.aclrtDeviceTaskAbort(self.handle, milliseconds(timeout)), "aclrtDeviceTaskAbort")

    def close(self) -> None:
        """Closes what is open on the device, if this is the last `Device` of its id, and resets it."""
        if self.closed:
            return
        first: Optional[Exception] = None
        others = [d for d in _opened(self.id) if d is not self]
        for context in resource.live(Context):
            if context.device_id != self.id:
                continue
            if others:
                context._devices = [*others]
                continue
            try:
                context.close()
            except Exception as error:
                if first is None:
                    first = error
                else:
                    errors.note(first, error)
        try:
            if resource._forget(self):
                self._finish()
        except Exception as error:
            if first is None:
                raise
            errors.note(first, error)
        if first is not None:
            raise first

    def _release(self) -> None:
        _open[self.id] = [r for r in _open.get(self.id, []) if r() is not None and r() is not self]
        before = None if self._before is None else self._before()
        try:
            errors.check(lib.aclrtResetDevice(self.id), "aclrtResetDevice")
        finally:
            # Leaving an inner device gives the thread back what it had.
            if before is not None and not before.closed and threading.get_ident() == self._thread:
                lib.aclrtSetCurrentContext(before.handle)

    def __int__(self) -> int:
        return self.id

    __index__ = __int__

    def _describe(self) -> str:
        return str(self.id)


_default: dict[int, weakref.ref[Context]] = {}  # each device's default context


def _opened(id: int) -> list[Device]:
    return [d for d in (ref() for ref in _open.get(id, [])) if d is not None and not d.closed]


def _devices_of(device_id: int) -> list[Resource]:
    return [*_opened(device_id)]


contexts._devices_of = _devices_of


def _id(device: Union[Device, int]) -> int:
    return contexts.check_device_id(device, "aclrtDeviceCanAccessPeer")


def milliseconds(seconds: float) -> int:
    """A timeout in seconds as CANN takes it. Raises ValueError for a negative one."""
    if seconds < 0:
        raise ValueError(f"a timeout of {seconds} s is negative: give None to wait as long as it takes")
    return int(min(seconds * 1000 + 0.999, 2**31 - 1))


def raise_failures(flight: resource.Flight) -> None:
    """Raises what went wrong on a stream while nobody was waiting for it; the later ones as notes."""
    if flight.failures:
        found, flight.failures = flight.failures, []
        first = found[0]
        for other in found[1:]:
            if isinstance(other, Exception):
                errors.note(first, other)
        raise first
