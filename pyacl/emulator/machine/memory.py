"""Memory the runtime knows: what was allocated on a device, pinned on the host, or registered.

Every allocation is a `Region`. A region's memory is real and its address is what C code gets, so everything that can be
said about an address is found here: whether it is a device's, pinned, freed, or none of ours (pageable host memory).
"""

from __future__ import annotations

import bisect
import ctypes
import errno
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Optional

import numpy as np
import numpy.typing as npt

from ...capi import ffi, lib
from ..failure import Failure
from .arena import HUGE_PAGE, PAGE, Arena, round_up

if TYPE_CHECKING:
    from .device import Device

Bytes = npt.NDArray[np.uint8]

HOST_WINDOW = 1 << 40
GIANT_PAGE = 1 << 30
_REMEMBERED = 100_000  # freed addresses, for the messages


class Region:
    """One allocation. `size` is what may be accessed: the requested size and the padding CANN adds behind it."""

    __slots__ = ("address", "bytes", "charged", "device", "freed", "kind", "mapped", "owner", "requested", "size",
                 "source")

    def __init__(self, address: int, size: int, requested: int, kind: str, device: Optional[Device], source: str,
                 view: Bytes) -> None:
        self.address = address
        self.size = size
        self.requested = requested
        self.kind = kind  # "device" or "host"
        self.device = device
        self.source = source  # which function made it, and so which one frees it
        self.bytes = view
        self.charged = 0  # bytes of the device's memory it uses up
        self.mapped = kind == "device"  # whether the device may access it
        self.owner: Any = None  # a memory pool
        self.freed = False

    def __repr__(self) -> str:
        where = f"device {self.device.id}" if self.kind == "device" and self.device else self.kind
        return f"<{self.requested} bytes from {self.source} at {self.address:#x} on {where}{', freed' * self.freed}>"


_lock = threading.RLock()  # collected garbage may free memory while its thread is inside
_by_start: dict[int, Region] = {}
_starts: list[int] = []
_freed: OrderedDict[int, Region] = OrderedDict()
_host: Optional[Arena] = None
_windows: list[tuple[int, int, str]] = []  # addresses that are never pageable host memory


def add_window(start: int, end: int, what: str) -> None:
    _windows.append((start, end, what))


def remove_window(start: int) -> None:
    _windows[:] = [w for w in _windows if w[0] != start]


def add(region: Region) -> Region:
    """Makes a region known."""
    with _lock:
        bisect.insort(_starts, region.address)
        _by_start[region.address] = region
        _freed.pop(region.address, None)
    return region


def remove(region: Region) -> bool:
    """Forgets a region: it counts as freed, though views of its bytes stay readable.

    False if another thread was faster.
    """
    with _lock:
        if region.freed:
            return False
        region.freed = True
        del _starts[bisect.bisect_left(_starts, region.address)]
        del _by_start[region.address]
        _freed[region.address] = region
        _freed.move_to_end(region.address)
        if len(_freed) > _REMEMBERED:
            _freed.popitem(last=False)
    return True


def find(address: int) -> Optional[Region]:
    """The live region that holds `address`, or None."""
    region = _by_start.get(address)
    if region is not None:
        return region
    i = bisect.bisect_right(_starts, address)
    if i:
        try:
            region = _by_start[_starts[i - 1]]
        except (IndexError, KeyError):  # another thread changed the table in between
            with _lock:
                i = bisect.bisect_right(_starts, address)
                region = _by_start[_starts[i - 1]] if i else None
        if region is not None and address < region.address + region.size:
            return region
    return None


def describe(address: int) -> str:
    """What is known about an address at which no live region begins."""
    region = find(address)
    if region is not None:
        return f"it lies {address - region.address} bytes inside {region!r}"
    gone = _freed.get(address)
    if gone is not None:
        return f"it was already freed: {gone!r}"
    for start, end, what in _windows:
        if start <= address < end:
            return f"it lies in {what}, where nothing is allocated (freed?)"
    return "no memory can be there" if _is_nowhere(address) else "the runtime did not allocate it"


def device_bytes(address: int, nbytes: int, what: str = "address", code: int = 0) -> Bytes:
    """The `nbytes` bytes of device memory at `address`, as a view.

    Fails with `code` (default ACL_ERROR_RT_PARAM_INVALID) when they are not wholly inside one live allocation that the
    device may access.
    """
    region = _by_start.get(address)
    if region is not None and region.mapped and 0 <= nbytes <= region.size:
        return region.bytes[:nbytes]
    region = find(address)
    if region is not None and region.mapped:
        start = address - region.address
        if 0 <= nbytes <= region.size - start:
            return region.bytes[start:start + nbytes]
        text = f"{nbytes} bytes from there on end behind {region!r}"
    elif region is not None and region.kind == "device":
        text = "it has no access yet: call aclrtMemSetAccess first"
    elif region is not None:
        text = f"it is host memory, which the device cannot access: {region!r}"
    else:
        text = "it is NULL" if not address else describe(address)
    raise Failure(code or lib.ACL_ERROR_RT_PARAM_INVALID, f"{what} {address:#x} is not device memory: {text}")


def may_be_pageable(address: int) -> bool:
    """Whether an address that no live region holds may be the user's own host memory."""
    return not (any(start <= address < end for start, end, _ in _windows) or _is_nowhere(address))


_mincore = ctypes.CDLL(None, use_errno=True).mincore
_mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
_residency = ctypes.create_string_buffer(1)


def is_there(address: int, nbytes: int) -> bool:
    """Whether a range of pageable memory begins and ends in pages that the process has."""
    first, last = address & -PAGE, (address + max(nbytes, 1) - 1) & -PAGE
    return all(_mincore(page, 1, _residency) == 0 or ctypes.get_errno() != errno.ENOMEM for page in {first, last})


def _is_nowhere(address: int) -> bool:
    return address < 65536 or address >> 56 != 0 or address >> 48 == 0x0ACE  # the last are handles


def malloc(device: Device, nbytes: int, source: str = "aclrtMalloc", padding: Optional[int] = None,
           page: int = 0, charged: bool = True) -> Region:
    """A new allocation on `device`, 64-byte aligned, rounded up to 32 bytes and padded as aclrtMalloc does.

    `page` is the page size it is charged by; 0 for normal pages. Fails when the device's memory does not suffice. Not
    `charged` for what somebody else (a pool) has paid.
    """
    size = round_up(nbytes, 32) + (device.soc.tail_padding if padding is None else padding)
    price = round_up(size, page or 64) if charged else 0
    with device.lock:
        if price > device.capacity:
            raise Failure(lib.ACL_ERROR_RT_MEMORY_ALLOCATION, f"{source}: {nbytes} bytes are more than device "
                          f"{device.id} has ({device.capacity})")
        address = None
        if device.used + price <= device.capacity:
            address = device.arena().take(size)
        if address is None:
            raise Failure(lib.ACL_ERROR_RT_DEVICE_OOM, f"{source}: {nbytes} bytes asked for, but device "
                          f"{device.id} has {device.capacity - device.used} of {device.capacity} bytes free")
        device.used += price
        device.peak = max(device.peak, device.used)
        arena = device.arena()
    start = address - arena.base
    region = Region(address, size, nbytes, "device", device, source, arena.bytes[start:start + size])
    region.charged = price
    device.regions[address] = region
    return add(region)


def release(region: Region) -> None:
    """Frees a region of `malloc` or `malloc_host`, whoever owns it."""
    if not remove(region):
        raise Failure(lib.ACL_ERROR_RT_MEMORY_FREE, f"{region.address:#x} was already freed: {region!r}")
    device = region.device
    if region.kind == "device" and device is not None:
        with device.lock:
            device.used -= region.charged
            device.regions.pop(region.address, None)
            device.arena().give(region.address, region.size)
    else:
        with _lock:
            assert _host is not None
            _host.give(region.address, region.size)


def allocation(address: int, sources: tuple[str, ...], function: str) -> Region:
    """The live region that begins at `address` and that `function` may free, because one of `sources` made it."""
    region = _by_start.get(address)
    if region is None:
        raise Failure(lib.ACL_ERROR_RT_MEMORY_FREE, f"{function}: {address:#x} cannot be freed: {describe(address)}")
    if region.source not in sources:
        raise Failure(lib.ACL_ERROR_RT_MEMORY_FREE, f"{function}: {address:#x} comes from {region.source}, which has "
                      "another function to free it")
    return region


DEVICE_SOURCES = ("aclrtMalloc", "aclrtMallocAlign32", "aclrtMallocCached", "aclrtMallocWithCfg",
                  "aclrtMallocForTaskScheduler", "aclrtMemAllocManaged")
HOST_SOURCES = ("aclrtMallocHost", "aclrtMallocHostWithCfg")
REGISTERED = "aclrtHostRegister"


def free(address: int) -> None:
    """aclrtFree: the whole allocation that begins at `address`, once."""
    release(allocation(address, DEVICE_SOURCES, "aclrtFree"))


def malloc_host(nbytes: int, source: str = "aclrtMallocHost") -> Region:
    """Pinned host memory, 64-byte aligned."""
    global _host
    with _lock:
        if _host is None:
            _host = Arena(HOST_WINDOW)
            add_window(_host.base, _host.end, "pinned host memory")
        size = round_up(nbytes, 64)
        address = _host.take(size)
        if address is None:
            raise Failure(lib.ACL_ERROR_RT_MEMORY_ALLOCATION, f"{source}: no host memory left for {nbytes} bytes")
        start = address - _host.base
        view = _host.bytes[start:start + size]
    return add(Region(address, size, nbytes, "host", None, source, view))


def free_host(address: int) -> None:
    release(allocation(address, HOST_SOURCES, "aclrtFreeHost"))


def registered(address: int, nbytes: int, mapped: bool) -> Region:
    """A region over the user's own host memory, not yet known."""
    region = Region(address, nbytes, nbytes, "host", None, REGISTERED, view(address, nbytes))
    region.mapped = mapped
    return region


def view(address: int, nbytes: int) -> Bytes:
    """Any readable memory as an array, unchecked."""
    if not nbytes:
        return np.empty(0, np.uint8)
    return np.frombuffer(ffi.buffer(ffi.cast("char *", address), nbytes), np.uint8)


def charge(device: Device, nbytes: int, source: str) -> None:
    """Takes memory off a device's account; fails when it has not so much."""
    with device.lock:
        if device.used + nbytes > device.capacity:
            raise Failure(lib.ACL_ERROR_RT_DEVICE_OOM, f"{source}: {nbytes} bytes asked for, but device "
                          f"{device.id} has {device.capacity - device.used} of {device.capacity} bytes free")
        device.used += nbytes
        device.peak = max(device.peak, device.used)


def page_for(policy: int, nbytes: int) -> int:
    """The page size an aclrtMemMallocPolicy stands for; 0 for normal pages."""
    base = policy & 0xFF
    if base in (lib.ACL_MEM_MALLOC_HUGE1G_ONLY, lib.ACL_MEM_MALLOC_HUGE1G_ONLY_P2P):
        return GIANT_PAGE
    if base in (lib.ACL_MEM_MALLOC_NORMAL_ONLY, lib.ACL_MEM_MALLOC_NORMAL_ONLY_P2P):
        return 0
    if base in (lib.ACL_MEM_MALLOC_HUGE_ONLY, lib.ACL_MEM_MALLOC_HUGE_ONLY_P2P):
        return HUGE_PAGE
    if base > lib.ACL_MEM_MALLOC_HUGE1G_ONLY_P2P:
        return HUGE_PAGE if nbytes >= HUGE_PAGE else 0
    return HUGE_PAGE if nbytes > 1 << 20 else 0
