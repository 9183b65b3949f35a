"""Device memory, pinned host memory, and copies between them and ordinary memory."""

from __future__ import annotations

from typing import Any, Optional, Union

import numpy as np

from . import errors
from .capi import ffi, lib
from .context import Context, flight_on
from .device import _constant, mem_info
from .resource import Resource
from .stream import Stream


def _alloc_size(nbytes: int) -> int:
    if isinstance(nbytes, bool) or not isinstance(nbytes, (int, np.integer)):
        raise TypeError(f"a size in bytes is an int, not {nbytes!r}")
    if nbytes < 0:
        raise ValueError(f"a size of {nbytes} bytes is negative")
    if nbytes >= 1 << 63:
        raise MemoryError(f"{nbytes} bytes are more than any memory has")
    return int(nbytes) or 1  # CANN refuses 0, and wants memory behind empty tensors too


class DeviceBuffer(Resource):
    """`nbytes` of memory on this thread's device, not initialised (aclrtMalloc).

    `policy` is the name after ACL_MEM_MALLOC_, such as "huge_first" or "normal_only_p2p". A size of 0 is allowed.
    Closing waits for the streams that may still use it, then frees at once (aclrtFree).
    """

    __slots__ = ("nbytes", "address", "owned", "_owner", "_explicit")

    def __init__(self, nbytes: int, *, policy: Union[str, int] = "huge_first") -> None:
        self._allocate(nbytes, _constant("ACL_MEM_MALLOC_", policy), True)

    def _allocate(self, nbytes: int, policy: int, explicit: bool) -> None:
        size = _alloc_size(nbytes)
        context = Context.current()
        out = ffi.new("void **")
        code = lib.aclrtMalloc(out, size, policy)
        if code:
            failure = errors.error(code, "aclrtMalloc")
            if isinstance(failure, MemoryError):
                errors.add_note(failure, _memory_state(nbytes))
            raise failure
        self.nbytes = int(nbytes)
        self.address = int(ffi.cast("uintptr_t", out[0]))
        self.owned, self._owner, self._explicit = True, None, explicit
        self._own(out[0], context)

    @classmethod
    def _for_pyacl(cls, nbytes: int) -> DeviceBuffer:
        """One that belongs to another object of ours and goes with it, so that nobody is told to close it."""
        buffer = cls.__new__(cls)
        buffer._allocate(nbytes, lib.ACL_MEM_MALLOC_HUGE_FIRST, False)
        return buffer

    @classmethod
    def from_address(cls, address: int, nbytes: int, *, owner: Any = None) -> DeviceBuffer:
        """Device memory that another library allocated; it is not freed here, and `owner` is kept alive."""
        _alloc_size(nbytes)
        if not 0 < address <= 2**64 - nbytes and (address or nbytes):
            raise ValueError(f"address {address:#x} cannot hold {nbytes} bytes")
        buffer = cls.__new__(cls)
        buffer.nbytes, buffer.address = int(nbytes), int(address)
        buffer.owned, buffer._owner, buffer._explicit = False, owner, False
        buffer._own(ffi.cast("void *", address), Context.current())
        return buffer

    @property
    def _warns(self) -> bool:  # type: ignore[override]
        return self._explicit

    @property
    def pointer(self) -> Any:
        """The address as a ``void *``."""
        return self.handle

    def copy_from(self, source: Any, *, stream: Optional[Stream] = None) -> None:
        """Fills it from its start with `source`: anything that `memcpy` takes."""
        _copy(self, source, None, stream)

    def copy_to(self, target: Any, *, stream: Optional[Stream] = None) -> None:
        """Fills `target`, anything writable that `memcpy` takes, from its start."""
        nbytes = target.nbytes if isinstance(target, np.ndarray) else _operand(target, True).nbytes
        _copy(target, self, min(nbytes, self.nbytes), stream)

    def _release(self) -> None:
        owner, self._owner = self._owner, None
        if self.owned:
            code = lib.aclrtFree(self.handle)
            if code:
                self._again(code, "aclrtFree", self.handle)
        del owner

    def _describe(self) -> str:
        return f"{self.nbytes} bytes at {self.address:#x}{'' if self.owned else ' (not owned)'}"


def _memory_state(wanted: int) -> str:
    """How much there was when an allocation failed."""
    try:
        free, total = mem_info()
    except Exception:  # this must not hide the failure that is being explained
        return f"{wanted} bytes were asked for"
    return f"{wanted} bytes were asked for; {free} of {total} are free"


class _Pinned:
    """Page-locked memory, freed when its buffer is closed and no numpy view of it is left."""

    __slots__ = ("address", "__array_interface__", "__weakref__", "context")

    def __init__(self, nbytes: int) -> None:
        self.context = Context.current()
        out = ffi.new("void **")
        errors.check(lib.aclrtMallocHost(out, _alloc_size(nbytes)), "aclrtMallocHost")
        self.address = int(ffi.cast("uintptr_t", out[0]))
        self.__array_interface__ = {"data": (self.address, False), "shape": (nbytes,), "typestr": "|u1", "version": 3}

    def __del__(self) -> None:
        try:
            if not self.context.closed and lib.aclrtFreeHost(ffi.cast("void *", self.address)):
                errors.recent_text()
        except Exception:  # shutting down, or never allocated
            pass


class HostBuffer(Resource):
    """`nbytes` of page-locked host memory (aclrtMallocHost): what asynchronous copies need to be asynchronous.

    `numpy` is a view of it. A view that outlives `close` stays valid: the memory goes when the last one does.
    """

    __slots__ = ("nbytes", "address", "_pinned", "_explicit")

    def __init__(self, nbytes: int) -> None:
        self._allocate(nbytes, True)

    def _allocate(self, nbytes: int, explicit: bool) -> None:
        _alloc_size(nbytes)
        self._pinned: Optional[_Pinned] = _Pinned(int(nbytes))
        self.nbytes, self.address, self._explicit = int(nbytes), self._pinned.address, explicit
        self._own(ffi.cast("void *", self.address), self._pinned.context)

    @classmethod
    def _for_pyacl(cls, nbytes: int) -> HostBuffer:
        """One that belongs to another object of ours, as `DeviceBuffer._for_pyacl`."""
        buffer = cls.__new__(cls)
        buffer._allocate(nbytes, False)
        return buffer

    @property
    def _warns(self) -> bool:  # type: ignore[override]
        return self._explicit

    @classmethod
    def from_numpy(cls, array: np.ndarray[Any, Any]) -> HostBuffer:
        """Pinned memory with a copy of `array`'s elements in C order."""
        if not isinstance(array, np.ndarray):
            raise TypeError(f"from_numpy() takes a numpy array, not a {type(array).__name__}")
        buffer = cls(array.nbytes)
        buffer.numpy.view(array.dtype).reshape(array.shape)[...] = array
        return buffer

    @property
    def pointer(self) -> Any:
        """The address as a ``void *``."""
        return self.handle

    @property
    def numpy(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The bytes, as a writable view; ``.view(dtype).reshape(shape)`` gives it a type."""
        self.handle  # noqa: B018
        return np.asarray(self._pinned)

    def _release(self) -> None:
        self._pinned = None

    def _describe(self) -> str:
        return f"{self.nbytes} bytes at {self.address:#x}"


class _Operand:
    """One side of a copy: where, how many bytes, whether on the device, and what must live as long as the copy."""

    __slots__ = ("pointer", "nbytes", "device", "keep")

    def __init__(self, pointer: Any, nbytes: int, device: bool, keep: Any) -> None:
        self.pointer, self.nbytes, self.device, self.keep = pointer, nbytes, device, keep


def host_bytes(obj: Any, writable: bool = False) -> Any:
    """A ``char[]`` over the bytes of an object with the buffer protocol, which it keeps."""
    if isinstance(obj, str):
        raise TypeError(f"{obj!r} is a str, which has no bytes: read the file, or use what takes a path")
    if isinstance(obj, memoryview):  # the collector crashes on one that is exported; it does not look behind an array
        obj = np.frombuffer(obj, np.uint8)
    return ffi.from_buffer(obj, require_writable=writable)


def _operand(obj: Any, writable: bool) -> _Operand:
    if isinstance(obj, DeviceBuffer):
        return _Operand(obj.handle, obj.nbytes, True, obj)
    if isinstance(obj, HostBuffer):
        return _Operand(obj.handle, obj.nbytes, False, obj)
    memory = getattr(obj, "_memory", None)
    if memory is not None and isinstance(obj, Resource):  # a Tensor
        pointer, nbytes = memory()
        return _Operand(pointer, nbytes, True, obj)
    source: Any = obj
    try:
        view = memoryview(obj)
    except (TypeError, ValueError):  # ValueError: dtypes that only numpy knows
        array = obj if isinstance(obj, np.ndarray) else None
        if array is None:
            raise TypeError(f"cannot copy {'to' if writable else 'from'} a {type(obj).__name__}: give a DeviceBuffer, "
                            "HostBuffer, Tensor, numpy array or something with the buffer protocol") from None
        if not array.flags.c_contiguous:
            raise ValueError("a numpy array must be C-contiguous to be copied as bytes: use np.ascontiguousarray") \
                from None
        source = array.view(np.uint8)
        view = memoryview(source)
    if not view.c_contiguous:
        raise ValueError("the memory must be contiguous to be copied as bytes: use np.ascontiguousarray")
    if writable and view.readonly:
        raise ValueError(f"cannot copy into a read-only {type(obj).__name__}: give a bytearray or a writable array")
    if view.nbytes == 0:
        return _Operand(ffi.NULL, 0, False, obj)
    pointer = host_bytes(source, writable)
    return _Operand(pointer, view.nbytes, False, (obj, pointer))


def _count(target: _Operand, source: _Operand, nbytes: Optional[int]) -> int:
    count = source.nbytes if nbytes is None else nbytes
    if count < 0:
        raise ValueError(f"a size of {count} bytes is negative")
    if count > source.nbytes:
        raise ValueError(f"{count} bytes were asked for, but the source has {source.nbytes}")
    if count > target.nbytes:
        raise ValueError(f"{count} bytes do not fit into the target's {target.nbytes}")
    return count


# By 2 * source.device + target.device.
_KINDS = (lib.ACL_MEMCPY_HOST_TO_HOST, lib.ACL_MEMCPY_HOST_TO_DEVICE, lib.ACL_MEMCPY_DEVICE_TO_HOST,
          lib.ACL_MEMCPY_DEVICE_TO_DEVICE)


def _call(function: str, keep: Any, *args: Any) -> None:
    """Calls, and once more after binding a thread without context to that of `keep`."""
    code = getattr(lib, function)(*args)
    if code:
        _again(code, function, keep, *args)


def _again(code: int, function: str, keep: Any, *args: Any) -> None:
    for obj in keep:
        if isinstance(obj, Resource):
            obj._again(code, function, *args)
            return
    errors.check(code, function)


def memcpy(target: Any, source: Any, nbytes: Optional[int] = None) -> None:
    """Copies `nbytes` (default: all of `source`) and returns when it is done (aclrtMemcpy).

    Both sides may be a DeviceBuffer, a HostBuffer, a contiguous Tensor, a numpy array or anything with the buffer
    protocol; the target must be writable. Arrays that are not contiguous are copied in C order, through a copy on the
    host. It is not ordered with work queued on streams: synchronise first. Raises ValueError when the target is too
    small.
    """
    _copy(target, source, nbytes, None)


def _dense(obj: Any) -> Any:
    """A copy of an array that is not contiguous, its elements in C order; anything else as it is."""
    return np.ascontiguousarray(obj) if isinstance(obj, np.ndarray) and not obj.flags.c_contiguous else obj


def _copy(target: Any, source: Any, nbytes: Optional[int], stream: Optional[Stream]) -> None:
    if stream is not None:
        memcpy_async(target, source, stream, nbytes)
        return
    dense = _dense(target)
    if dense is not target and target.flags.writeable:
        _copy(dense, source, nbytes, None)
        target[...] = dense
        return
    to, of = _operand(target, True), _operand(_dense(source), False)
    count = _count(to, of, nbytes)
    if count:
        _call("aclrtMemcpy", (to.keep, of.keep), to.pointer, to.nbytes, of.pointer, count,
              _KINDS[2 * of.device + to.device])


def memcpy_async(target: Any, source: Any, stream: Optional[Stream] = None, nbytes: Optional[int] = None) -> None:
    """Queues the copy on `stream` (aclrtMemcpyAsync); both sides are kept alive until it is synchronised.

    Only pinned host memory (HostBuffer) is copied beside the host: with ordinary memory CANN returns when the copy is
    done. From host to host it is not supported (UnsupportedError). The target must be contiguous.
    """
    to, of = _operand(target, True), _operand(_dense(source), False)
    count = _count(to, of, nbytes)
    if not count:
        return
    flight = flight_on(stream, to.keep if to.device else of.keep if of.device else None)
    args = to.pointer, to.nbytes, of.pointer, count, _KINDS[2 * of.device + to.device], flight.handle
    code = lib.aclrtMemcpyAsync(*args)
    if code:
        _again(code, "aclrtMemcpyAsync", (to.keep, of.keep, stream), *args)
    for side in (to, of):
        if side.device:
            flight.held[side.keep] = None
        else:
            flight.hold(side.keep)


def memcpy_2d(target: Any, target_pitch: int, source: Any, source_pitch: int, width: int, height: int, *,
              stream: Optional[Stream] = None) -> None:
    """Copies `height` rows of `width` bytes that lie `target_pitch` and `source_pitch` bytes apart.

    aclrtMemcpy2d, or with a stream aclrtMemcpy2dAsync. Raises ValueError for rows beyond either side.
    """
    if min(target_pitch, source_pitch, width, height) < 0:
        raise ValueError(f"{height} rows of {width} bytes, {target_pitch} and {source_pitch} bytes apart: none of that "
                         "can be negative")
    to, of = _operand(target, True), _operand(source, False)
    for name, side, pitch in (("target", to, target_pitch), ("source", of, source_pitch)):
        if width > pitch:
            raise ValueError(f"rows of {width} bytes do not fit the {name}'s pitch of {pitch}")
        if width and height and (height - 1) * pitch + width > side.nbytes:
            raise ValueError(f"{height} rows of pitch {pitch} do not fit the {name}'s {side.nbytes} bytes")
    args = (to.pointer, target_pitch, of.pointer, source_pitch, width, height, _KINDS[2 * of.device + to.device])
    if stream is None:
        _call("aclrtMemcpy2d", (to.keep, of.keep), *args)
        return
    flight = flight_on(stream)
    _call("aclrtMemcpy2dAsync", (to.keep, of.keep, stream), *args, flight.handle)
    flight.hold(to.keep)
    flight.hold(of.keep)


def memset(target: Any, value: int, nbytes: Optional[int] = None, *, stream: Optional[Stream] = None) -> None:
    """Sets `nbytes` (default: all) of a DeviceBuffer, HostBuffer or contiguous Tensor to the byte `value`.

    aclrtMemset, or with a stream aclrtMemsetAsync.
    """
    if not isinstance(target, Resource):
        raise TypeError(f"memset works on CANN's memory, not on a {type(target).__name__}")
    if not 0 <= value <= 255:
        raise ValueError(f"{value} is not a byte")
    to = _operand(target, True)
    count = to.nbytes if nbytes is None else nbytes
    if not 0 <= count <= to.nbytes:
        raise ValueError(f"{count} bytes do not lie in the target's {to.nbytes}")
    if not count:
        return
    if stream is None:
        _call("aclrtMemset", (to.keep,), to.pointer, to.nbytes, value, count)
        return
    flight = flight_on(stream)
    _call("aclrtMemsetAsync", (to.keep, stream), to.pointer, to.nbytes, value, count, flight.handle)
    flight.hold(to.keep)


def is_pinned(obj: Any) -> bool:
    """Whether host memory is page-locked (aclrtPointerGetAttributes)."""
    side = _operand(obj, False)
    if side.device:
        return False
    out = ffi.new("aclrtPtrAttributes *")
    errors.check(lib.aclrtPointerGetAttributes(side.pointer, out), "aclrtPointerGetAttributes")
    return bool(out.location.type == lib.ACL_MEM_LOCATION_TYPE_HOST)
