"""Argument lists: what the aclrtKernelArgs functions build, and the block of memory that a launch hands to the kernel.

A block is laid out as the runtime lays it out: the system slots (slot 0 is the inter-core synchronisation address where
the kernel needs one), the arguments (each aligned to 8 bytes; packed for AI CPU), then the placeholders' data. A
placeholder's own slot gets the data's address at the launch.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any, Optional

from ...capi import ffi, lib
from ..api.arguments import refused
from ..failure import Failure
from ..machine import context
from ..machine import memory as _memory
from ..machine.device import Device
from .binary import Function
from .block import Argument, HostBlock

MAX_ARGUMENTS = 128
RUNTIME_BYTES = 64 * 1024  # of the list that the runtime keeps for each thread

# The handle's memory holds a header and one record for each argument; a record's address is the argument's handle.
_HEADER = 96
_RECORD = 32
_SYSTEM_SLOTS = 8  # that aclrtKernelArgsGetMemSize makes room for


def _too_late(text: str) -> Failure:
    return Failure(lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT, text)


class ArgumentList:
    """A list between its Init and the next Init on the same memory."""

    def __init__(self, function: Function, handle: int, buffer: int, nbytes: int, limit: int,
                 owner: Any = None) -> None:
        self.function = function
        self.owner = owner  # of the memory, where it is the runtime's
        self.handle = handle
        self.buffer = buffer
        self.capacity = nbytes
        self.limit = limit
        self.alignment = 1 if function.ai_cpu else 8
        self.system_bytes = function.system_bytes
        self.used = self.system_bytes
        self.arguments: list[Argument] = []
        self.buffers_taken = False
        self.finalized = False
        self.updating = False

    def _open(self, what: str) -> None:
        if self.finalized:
            raise _too_late(f"{what} after aclrtKernelArgsFinalize: append all arguments, fill the placeholders, then "
                            "finalize; later only aclrtKernelArgsParaUpdate is allowed")

    def _reserve(self, size: int, what: str) -> int:
        start = -(-self.used // self.alignment) * self.alignment
        if start + size > self.capacity:
            raise refused(f"{what} of {size} bytes does not fit: the list has {self.capacity} bytes of memory, "
                          f"{self.used} of them used")
        self.used = start + size
        return start

    def append(self, size: int, placeholder: bool = False) -> int:
        """Where in the block a new argument lies; a placeholder's own slot has 8 bytes."""
        self._open("an argument was appended")
        if self.buffers_taken:
            raise _too_late("an argument was appended after a placeholder's buffer was fetched: append all arguments "
                            "first, because the placeholders' data follows them")
        if len(self.arguments) >= self.limit:
            raise refused(f"argument {len(self.arguments) + 1} is one too many: the list takes {self.limit}")
        offset = self._reserve(size, "an argument")
        self.arguments.append(Argument(offset, size, placeholder))
        return offset

    def take_buffer(self, index: int, size: int) -> int:
        """The address of a placeholder's data."""
        argument = self.arguments[index]
        if not argument.placeholder:
            raise refused("the argument has no buffer: only those of aclrtKernelArgsAppendPlaceHolder do")
        self._open("a placeholder's buffer was fetched")
        start = self._reserve(size, "placeholder data")
        self.arguments[index] = argument._replace(data_offset=start, data_size=size)
        self.buffers_taken = True
        return self.buffer + start

    def update(self, index: int, source: int, size: int) -> None:
        argument = self.arguments[index]
        if argument.placeholder:
            raise refused("a placeholder cannot be updated: write to its buffer instead")
        if argument.size != size:
            raise refused(f"the argument has {argument.size} bytes and cannot be updated with {size}")
        ctypes.memmove(self.buffer + argument.offset, source, size)
        self.updating = True

    @property
    def last(self) -> int:
        """The handle of the argument that was appended last."""
        return self.handle + _HEADER + (len(self.arguments) - 1) * _RECORD

    def index(self, handle: int) -> int:
        """Which argument a handle stands for."""
        index, rest = divmod(handle - self.handle - _HEADER, _RECORD)
        if rest or not 0 <= index < len(self.arguments):
            raise Failure(lib.ACL_ERROR_RT_INVALID_HANDLE,
                          f"{handle:#x} is no argument of the list at {self.handle:#x}")
        return index

    def finalize(self) -> None:
        device = context.current().device
        if self.function.needs_sync_address:
            ctypes.memmove(self.buffer, sync_address(device).to_bytes(8, "little"), 8)
        self.finalized = True
        self.updating = False

    def block(self) -> HostBlock:
        """A copy of the block as it is now."""
        if not self.finalized or self.updating:
            state = "being updated" if self.finalized else "not finalized"
            raise refused(f"the arguments are {state}: call aclrtKernelArgsFinalize before the launch")
        if not self.used:
            raise refused("the list has no arguments")
        places = tuple((a.offset, a.data_offset) for a in self.arguments if a.placeholder)
        if not all(data for _, data in places):
            raise refused("a placeholder has no data: fetch its buffer with aclrtKernelArgsGetPlaceHolderBuffer and "
                          "fill it before finalizing")
        return HostBlock(ctypes.string_at(self.buffer, self.used), places, tuple(self.arguments))


# Lists, by the address of their handle's memory.
_lists: dict[int, ArgumentList] = {}


class _Thread(threading.local):
    def __init__(self) -> None:
        self.memory: Optional[object] = None
        self.handle = 0
        self.buffer = 0


_thread = _Thread()


def handle_bytes(function: Function) -> int:
    return _HEADER + _RECORD * function.max_arguments


def memory_bytes(function: Function, argument_bytes: int) -> int:
    """What aclrtKernelArgsGetMemSize answers: room for system slots, and for the alignment of placeholders' data."""
    if function.ai_cpu:
        return argument_bytes
    return argument_bytes + 8 * _SYSTEM_SLOTS + 8 * function.max_arguments


def init_runtime(function: Function) -> int:
    """A list in the memory that the runtime keeps for this thread; the one before it is gone."""
    if not _thread.handle:
        size = _HEADER + _RECORD * MAX_ARGUMENTS
        memory = _thread.memory = ffi.new("uint64_t[]", (size + RUNTIME_BYTES) // 8)
        _thread.handle = int(ffi.cast("uintptr_t", memory))
        _thread.buffer = _thread.handle + size
    _new(ArgumentList(function, _thread.handle, _thread.buffer, RUNTIME_BYTES, MAX_ARGUMENTS, _thread.memory))
    return _thread.handle


def init_user(function: Function, handle: int, buffer: int, nbytes: int) -> None:
    _new(ArgumentList(function, handle, buffer, nbytes, function.max_arguments))


def _new(arguments: ArgumentList) -> None:
    _lists[arguments.handle] = arguments


def find(handle: int, what: str = "argument list") -> ArgumentList:
    """The list behind a handle."""
    found = _lists.get(handle)
    if found is None:
        if not handle:
            raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"{what} is NULL")
        raise Failure(lib.ACL_ERROR_RT_INVALID_HANDLE, f"{what} {handle:#x} was not initialised: call "
                      "aclrtKernelArgsInit or aclrtKernelArgsInitByUserMem first")
    if not found.function.binary.loaded:
        raise Failure(lib.ACL_ERROR_RT_INVALID_HANDLE, f"{what} {handle:#x} belongs to kernel {found.function.name}, "
                      "whose binary was unloaded")
    return found


def forget(function: Function) -> None:
    """Drops a function's lists when its binary is unloaded. Their memory belongs to somebody else."""
    for handle in [h for h, a in list(_lists.items()) if a.function is function]:
        del _lists[handle]


_sync: dict[int, _memory.Region] = {}


def sync_address(device: Device) -> int:
    """The address over which a device's cores synchronise (aclrtGetHardwareSyncAddr)."""
    region = _sync.get(device.id)
    if region is None or region.freed:
        region = _sync[device.id] = _memory.malloc(device, 64, "the inter-core synchronisation address")
    return region.address
