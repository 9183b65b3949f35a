"""Reserving addresses and giving them physical memory. Sharing it between processes is not emulated."""

from __future__ import annotations

from typing import Any

from ...capi import ffi, lib
from .. import handles
from ..machine import device, virtual
from ..machine.arena import round_up
from ..machine.virtual import GRANULARITY, Physical
from . import arguments

_PROPERTIES = "aclrtPhysicalMemProp"


def aclrtReserveMemAddress(virPtr: Any, size: int, alignment: int, expectPtr: Any, flags: int) -> None:
    arguments.not_null(virPtr, "virPtr")
    if not size or alignment or flags:
        raise arguments.invalid(f"size {size}, alignment {alignment}, flags {flags}: give a size, and 0 for the others")
    virPtr[0] = ffi.cast("void *", virtual.reserve(size))


def aclrtReleaseMemAddress(virPtr: Any) -> None:
    virtual.release(arguments.address(virPtr, "virPtr"))


def _check(prop: Any) -> None:
    arguments.not_null(prop, "prop")
    if (prop.handleType != lib.ACL_MEM_HANDLE_TYPE_NONE or prop.allocationType != lib.ACL_MEM_ALLOCATION_TYPE_PINNED
            or prop.location.type != lib.ACL_MEM_LOCATION_TYPE_DEVICE
            or not lib.ACL_DDR_MEM <= prop.memAttr <= lib.ACL_MEM_P2P_HUGE1G):
        raise arguments.invalid("physical memory needs handleType NONE, allocationType PINNED, a memAttr, and a device "
                                "as its location")
    device.get(prop.location.id)


def _physical(handle: Any) -> Physical:
    return handles.get(handle, Physical, "handle", wrong=lib.ACL_ERROR_RT_INVALID_HANDLE)


def aclrtMallocPhysical(handle: Any, size: int, prop: Any, flags: int) -> None:
    arguments.not_null(handle, "handle")
    _check(prop)
    if not size or flags:
        raise arguments.invalid(f"size {size}, flags {flags}: give a size, and 0 as flags")
    if size % GRANULARITY:
        raise arguments.refused(f"the size {size} is not a multiple of {GRANULARITY}: see "
                                "aclrtMemGetAllocationGranularity")
    kept = ffi.new(f"{_PROPERTIES} *", prop[0])
    handle[0] = handles.pointer(Physical(device.get(prop.location.id), round_up(size, GRANULARITY), kept).handle)


def aclrtFreePhysical(handle: Any) -> None:
    _physical(handle).free()


def aclrtMemGetAllocationGranularity(prop: Any, option: int, granularity: Any) -> None:
    arguments.not_null(granularity, "granularity")
    _check(prop)
    if option not in (lib.ACL_RT_MEM_ALLOC_GRANULARITY_MINIMUM, lib.ACL_RT_MEM_ALLOC_GRANULARITY_RECOMMENDED):
        raise arguments.invalid(f"there is no granularity option {option}")
    granularity[0] = GRANULARITY


def aclrtMapMem(virPtr: Any, size: int, offset: int, handle: Any, flags: int) -> None:
    address = arguments.address(virPtr, "virPtr")
    physical = _physical(handle)
    if offset or flags:
        raise arguments.invalid(f"offset {offset}, flags {flags}: both must be 0")
    virtual.map_memory(address, size, physical)


def aclrtMemMapNoAccess(virPtr: Any, size: int, offset: int, handle: Any, flags: int) -> None:
    aclrtMapMem(virPtr, size, offset, handle, flags)
    virtual.allow(int(ffi.cast("uintptr_t", virPtr)), False)


def aclrtMemSetAccess(virPtr: Any, size: int, desc: Any, count: int) -> None:
    address = arguments.address(virPtr, "virPtr")
    arguments.not_null(desc, "desc")
    if not count or not size:
        raise arguments.invalid(f"size {size}, {count} descriptions: give at least one")
    known = (lib.ACL_RT_MEM_ACCESS_FLAGS_NONE, lib.ACL_RT_MEM_ACCESS_FLAGS_READ, lib.ACL_RT_MEM_ACCESS_FLAGS_READWRITE)
    if any(desc[i].flags not in known for i in range(count)):
        raise arguments.invalid("there is no such access")
    virtual.allow(address, any(desc[i].flags != lib.ACL_RT_MEM_ACCESS_FLAGS_NONE for i in range(count)))


def aclrtMemGetAccess(virPtr: Any, location: Any, flag: Any) -> None:
    address = arguments.address(virPtr, "virPtr")
    arguments.not_null(location, "location")
    arguments.not_null(flag, "flag")
    same = virtual.physical_at(address).device.id == location.id
    flag[0] = (lib.ACL_RT_MEM_ACCESS_FLAGS_READWRITE if same and virtual.allowed(address)
               else lib.ACL_RT_MEM_ACCESS_FLAGS_NONE)


def aclrtUnmapMem(virPtr: Any) -> None:
    virtual.unmap(arguments.address(virPtr, "virPtr"))


def aclrtMemRetainAllocationHandle(virPtr: Any, handle: Any) -> None:
    arguments.not_null(handle, "handle")
    handle[0] = handles.pointer(virtual.physical_at(arguments.address(virPtr, "virPtr")).retain())


def aclrtMemGetAllocationPropertiesFromHandle(handle: Any, prop: Any) -> None:
    arguments.not_null(prop, "prop")
    prop[0] = _physical(handle).prop[0]
