"""Address ranges that are reserved first and get physical memory later.

Physical memory is a file in memory, so that mapping it at two addresses shows the same bytes twice. What is unmapped
becomes private memory that nobody uses: a stale pointer reads zeros and does not kill the process.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any, Optional

from ...capi import lib
from .. import handles
from ..failure import Failure
from . import memory
from .arena import HUGE_PAGE, round_up
from .device import Device
from .memory import Region

SOURCE = "aclrtMapMem"
GRANULARITY = HUGE_PAGE

_FIXED, _NORESERVE = 0x10, 0x4000
_ANYWHERE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_mmap = ctypes.CDLL(None, use_errno=True).mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


def _map(address: int, nbytes: int, flags: int, fd: int = -1, offset: int = 0) -> int:
    found = _mmap(address or None, nbytes, _READ_WRITE, flags, fd, offset)
    if found is None or found == ctypes.c_void_p(-1).value:
        raise Failure(lib.ACL_ERROR_RT_MEMORY_ALLOCATION, f"mapping {nbytes} bytes failed: "
                      f"{os.strerror(ctypes.get_errno())}")
    return int(found)


class Physical:
    """An aclrtDrvMemHandle."""

    def __init__(self, device: Device, nbytes: int, prop: Any) -> None:
        self.device, self.nbytes, self.prop = device, nbytes, prop
        memory.charge(device, nbytes, "aclrtMallocPhysical")
        self.fd = os.memfd_create("pyacl")
        os.truncate(self.fd, nbytes)
        self.maps = 0
        self.handle = handles.new(self)
        self.references = 1

    @property
    def freed(self) -> bool:
        return not self.references

    def retain(self) -> int:
        """One more reference, which aclrtFreePhysical gives back."""
        if self.freed:
            self.handle = handles.new(self)
        self.references += 1
        return self.handle

    def free(self) -> None:
        self.references -= 1
        if self.freed:
            handles.drop(self.handle)
            self.settle()

    def settle(self) -> None:
        """Gives the memory back once it is freed and mapped nowhere."""
        if self.freed and not self.maps:
            os.close(self.fd)
            with self.device.lock:
                self.device.used = max(0, self.device.used - self.nbytes)


class Reservation:
    """A reserved range."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        raw = _map(0, nbytes + GRANULARITY, _ANYWHERE)
        self.address = round_up(raw, GRANULARITY)
        self.mapped: Optional[Region] = None
        memory.add_window(self.address, self.address + nbytes, "a reserved address range that is not mapped")


reservations: dict[int, Reservation] = {}
_maps: dict[int, tuple[Region, Physical]] = {}


def reserve(nbytes: int) -> int:
    made = Reservation(round_up(nbytes, GRANULARITY))
    reservations[made.address] = made
    return made.address


def release(address: int) -> None:
    found = reservations.get(address)
    if found is None:
        raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{address:#x} was not reserved")
    if any(address <= start < address + found.nbytes for start in _maps):
        raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{address:#x} is still mapped: call aclrtUnmapMem first")
    del reservations[address]  # its addresses stay ours, and so stay recognised


def map_memory(address: int, nbytes: int, physical: Physical) -> None:
    holder = next((r for r in reservations.values()
                   if r.address <= address and address + nbytes <= r.address + r.nbytes), None)
    if holder is None:
        raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{nbytes} bytes at {address:#x} are not in one reserved range")
    if nbytes != physical.nbytes or nbytes % GRANULARITY or address % GRANULARITY:
        raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{nbytes} bytes at {address:#x}: the size must be the physical "
                      f"memory's ({physical.nbytes}), and both multiples of {GRANULARITY}")
    for start, (region, other) in _maps.items():
        if start < address + nbytes and address < start + region.size:
            raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{address:#x} is already mapped")
        if holder.address <= start < holder.address + holder.nbytes and other.device is not physical.device:
            raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, "one reserved range cannot hold memory of two devices")
    _map(address, nbytes, mmap.MAP_SHARED | _FIXED, physical.fd)
    view = memory.view(address, nbytes)
    region = memory.add(Region(address, nbytes, nbytes, "device", physical.device, SOURCE, view))
    region.owner = physical
    physical.maps += 1
    _maps[address] = region, physical


def unmap(address: int) -> None:
    if address not in _maps:
        raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{address:#x} is not mapped")
    region, physical = _maps.pop(address)
    memory.remove(region)
    _map(address, region.size, _ANYWHERE | _FIXED)
    physical.maps -= 1
    physical.settle()


def allow(address: int, access: bool) -> None:
    """Whether the device may access what is mapped at an address."""
    physical_at(address)
    region = memory.find(address)
    assert region is not None
    region.mapped = access


def allowed(address: int) -> bool:
    region = memory.find(address)
    return region is not None and region.mapped


def physical_at(address: int) -> Physical:
    """What is mapped at an address."""
    region = memory.find(address)
    if region is None or region.source != SOURCE:
        raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"nothing is mapped at {address:#x}")
    found: Physical = region.owner
    return found
