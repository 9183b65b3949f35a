"""Memory that streams allocate and free in their order, and managed memory."""

from __future__ import annotations

from typing import Any

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure
from ..machine import context as _context
from ..machine import device, memory
from ..machine import stream as _stream
from ..machine.arena import HUGE_PAGE
from ..machine.pool import Pool, owner
from . import arguments

_SWITCHES = (lib.ACL_RT_MEM_POOL_REUSE_FOLLOW_EVENT_DEPENDENCIES, lib.ACL_RT_MEM_POOL_REUSE_ALLOW_OPPORTUNISTIC,
             lib.ACL_RT_MEM_POOL_REUSE_ALLOW_INTERNAL_DEPENDENCIES)


def _pool(pointer: Any) -> Pool:
    return handles.get(pointer, Pool, "memPool", wrong=lib.ACL_ERROR_RT_INVALID_HANDLE)


def aclrtMemPoolCreate(memPool: Any, poolProps: Any) -> None:
    arguments.not_null(memPool, "memPool")
    arguments.not_null(poolProps, "poolProps")
    if (poolProps.allocType != lib.ACL_MEM_ALLOCATION_TYPE_PINNED
            or poolProps.handleType != lib.ACL_MEM_HANDLE_TYPE_NONE
            or poolProps.location.type != lib.ACL_MEM_LOCATION_TYPE_DEVICE):
        raise arguments.invalid("a pool needs allocType PINNED, handleType NONE, and a device as its location")
    made = Pool(device.get(poolProps.location.id), int(poolProps.maxSize))
    memPool[0] = handles.pointer(made.handle)


def aclrtMemPoolDestroy(memPool: Any) -> None:
    _pool(memPool).destroy()


def aclrtMemPoolMallocAsync(ptr: Any, size: int, memPool: Any, stream: Any) -> None:
    arguments.not_null(ptr, "ptr")
    pool, where = _pool(memPool), _stream.resolve(stream)
    if not size:
        raise arguments.invalid("the size is 0")
    if pool.device is not where.device:
        raise arguments.refused(f"the pool is device {pool.device.id}'s, {where!r} is not")
    ptr[0] = ffi.cast("void *", pool.take(size).address)


def aclrtMemPoolFreeAsync(ptr: Any, stream: Any) -> None:
    address = arguments.address(ptr, "ptr")
    where = _stream.resolve(stream)
    if owner(address) is None:
        raise Failure(lib.ACL_ERROR_RT_MEMORY_FREE, f"{address:#x} was not allocated from a pool: "
                      f"{memory.describe(address)}")

    def run() -> None:
        pool, region = owner(address), memory.find(address)
        if pool is None or region is None:
            raise Failure(lib.ACL_ERROR_RT_MEMORY_FREE, f"{address:#x} was freed twice")
        pool.give(region)

    where.submit(run, "aclrtMemPoolFreeAsync")


def aclrtMemPoolTrimTo(memPool: Any, minBytesToKeep: int) -> None:
    _pool(memPool).trim(minBytesToKeep)


def aclrtMemPoolSetAttr(memPool: Any, attr: int, value: Any) -> None:
    pool = _pool(memPool)
    arguments.not_null(value, "value")
    if attr == lib.ACL_RT_MEM_POOL_ATTR_RELEASE_THRESHOLD:
        pool.threshold = int(ffi.cast("uint64_t *", value)[0])
    elif attr in _SWITCHES:
        pool.switches[attr] = int(ffi.cast("uint32_t *", value)[0])
    elif attr == lib.ACL_RT_MEM_POOL_ATTR_RESERVED_MEM_HIGH and not ffi.cast("uint64_t *", value)[0]:
        pool.reserved_high = pool.reserved
    elif attr == lib.ACL_RT_MEM_POOL_ATTR_USED_MEM_HIGH and not ffi.cast("uint64_t *", value)[0]:
        pool.used_high = pool.used
    else:
        raise arguments.invalid(f"pool attribute {attr} cannot be set so")


def aclrtMemPoolGetAttr(memPool: Any, attr: int, value: Any) -> None:
    pool = _pool(memPool)
    arguments.not_null(value, "value")
    if attr in _SWITCHES:
        ffi.cast("uint32_t *", value)[0] = pool.switches[attr]
        return
    values = {
        lib.ACL_RT_MEM_POOL_ATTR_RELEASE_THRESHOLD: pool.threshold,
        lib.ACL_RT_MEM_POOL_ATTR_RESERVED_MEM_CURRENT: pool.reserved,
        lib.ACL_RT_MEM_POOL_ATTR_RESERVED_MEM_HIGH: pool.reserved_high,
        lib.ACL_RT_MEM_POOL_ATTR_USED_MEM_CURRENT: pool.used, lib.ACL_RT_MEM_POOL_ATTR_USED_MEM_HIGH: pool.used_high,
    }
    if attr not in values:
        raise arguments.invalid(f"there is no pool attribute {attr}")
    ffi.cast("uint64_t *", value)[0] = values[attr]


# Managed memory: host and device see the same bytes

_MOST_MANAGED = 3 << 40


def aclrtMemAllocManaged(ptr: Any, size: int, flag: int) -> None:
    arguments.not_null(ptr, "ptr")
    if not size or size > _MOST_MANAGED or flag != lib.ACL_RT_MEM_ATTACH_GLOBAL:
        raise arguments.invalid(f"size {size}, flag {flag}: give 1 byte to 3 TiB and ACL_RT_MEM_ATTACH_GLOBAL")
    where = _context.current().device
    ptr[0] = ffi.cast("void *", memory.malloc(where, size, "aclrtMemAllocManaged", 0, HUGE_PAGE).address)


def _managed(pointer: Any, size: int) -> memory.Region:
    address = arguments.address(pointer, "ptr")
    region = memory.find(address)
    if region is None or region.source != "aclrtMemAllocManaged" or address + size > region.address + region.size:
        raise arguments.refused(f"{size} bytes at {address:#x} are not managed memory")
    return region


def aclrtMemManagedAdvise(ptr: Any, size: int, advise: int, location: Any) -> None:
    _managed(ptr, size)
    if not lib.ACL_MEM_ADVISE_SET_READ_MOSTLY <= advise <= lib.ACL_MEM_ADVISE_UNSET_ACCESSED_BY:
        raise arguments.invalid(f"there is no advice {advise}")


def aclrtMemManagedPrefetchAsync(ptr: Any, size: int, location: Any, flags: int, stream: Any) -> None:
    where = _stream.resolve(stream)
    _managed(ptr, size)
    if flags:
        raise arguments.invalid(f"the flags are {flags}: only 0 is supported")
    where.submit(lambda: None, "aclrtMemManagedPrefetchAsync")
