"""Users' own allocators, registered for a stream."""

from __future__ import annotations

from typing import Any, Optional

from ...capi import ffi, lib
from .. import handles
from ..machine import stream as _stream
from ..machine.stream import Stream
from . import arguments


class AllocatorDesc:
    """An aclrtAllocatorDesc: the allocator and its functions."""

    def __init__(self) -> None:
        self.object = ffi.NULL
        self.alloc: Any = ffi.NULL
        self.free: Any = ffi.NULL
        self.advise: Any = ffi.NULL
        self.address: Any = ffi.NULL

    def copy(self) -> AllocatorDesc:
        made = AllocatorDesc()
        made.__dict__.update(self.__dict__)
        return made


_registered: dict[Stream, tuple[AllocatorDesc, Any]] = {}


def registered(stream: Stream) -> Optional[AllocatorDesc]:
    """The allocator of a stream, or None."""
    found = _registered.get(stream)
    return found[0] if found else None


def _get(pointer: Any) -> AllocatorDesc:
    return handles.get(pointer, AllocatorDesc, "allocatorDesc", wrong=lib.ACL_ERROR_INVALID_PARAM)


def aclrtAllocatorCreateDesc() -> Any:
    return handles.pointer(handles.new(AllocatorDesc()))


def aclrtAllocatorDestroyDesc(allocatorDesc: Any) -> None:
    _get(allocatorDesc)
    handles.drop(allocatorDesc)


def _set(desc: Any, field: str, value: Any) -> None:
    found = _get(desc)
    arguments.not_null(value, field)
    setattr(found, field, value)


def aclrtAllocatorSetObjToDesc(allocatorDesc: Any, allocator: Any) -> None:
    _set(allocatorDesc, "object", allocator)


def aclrtAllocatorSetAllocFuncToDesc(allocatorDesc: Any, func: Any) -> None:
    _set(allocatorDesc, "alloc", func)


def aclrtAllocatorSetFreeFuncToDesc(allocatorDesc: Any, func: Any) -> None:
    _set(allocatorDesc, "free", func)


def aclrtAllocatorSetAllocAdviseFuncToDesc(allocatorDesc: Any, func: Any) -> None:
    _set(allocatorDesc, "advise", func)


def aclrtAllocatorSetGetAddrFromBlockFuncToDesc(allocatorDesc: Any, func: Any) -> None:
    _set(allocatorDesc, "address", func)


def aclrtAllocatorRegister(stream: Any, allocatorDesc: Any) -> None:
    desc = _get(allocatorDesc)
    found = _stream.named(stream)
    for field in ("object", "alloc", "free", "address"):
        if getattr(desc, field) == ffi.NULL:
            raise arguments.invalid(f"the allocator has no {field} function" if field != "object"
                                    else "the allocator has no object")
    # The description may be destroyed right after.
    _registered[found] = desc.copy(), allocatorDesc


def aclrtAllocatorUnregister(stream: Any) -> None:
    _registered.pop(_stream.named(stream), None)


def aclrtAllocatorGetByStream(stream: Any, allocatorDesc: Any, allocator: Any, allocFunc: Any, freeFunc: Any,
                              allocAdviseFunc: Any, getAddrFromBlockFunc: Any) -> None:
    entry = _registered.get(_stream.named(stream))
    if entry is None:
        raise arguments.refused("no allocator is registered for the stream")
    desc, handle = entry
    for out, value in ((allocatorDesc, handle), (allocator, desc.object), (allocFunc, desc.alloc),
                       (freeFunc, desc.free), (allocAdviseFunc, desc.advise), (getAddrFromBlockFunc, desc.address)):
        if out != ffi.NULL:
            out[0] = value
