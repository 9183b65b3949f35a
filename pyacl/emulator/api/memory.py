"""Allocating, freeing, setting, registering and asking about memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...capi import ffi, lib
from ..failure import Failure
from ..machine import capture, copy, device, memory, scheduler
from ..machine import context as _context
from ..machine import stream as _stream
from ..machine.arena import HUGE_PAGE, PAGE
from ..machine.copy import DEVICE, PAGEABLE, Place
from ..machine.memory import Region
from ..machine.stream import Stream
from . import arguments
from .memory_copy import SYS_DMA, queue

# Allocation

def _allocate(out: Any, size: int, policy: int, source: str, padded: bool = True) -> None:
    arguments.not_null(out, "devPtr")
    if size <= 0:
        raise arguments.invalid("the size is 0")
    where = _context.current().device
    page = memory.page_for(policy, size)
    padding = None if padded and page != memory.GIANT_PAGE else 0
    out[0] = ffi.cast("void *", memory.malloc(where, size, source, padding, page).address)


def aclrtMalloc(devPtr: Any, size: int, policy: int) -> None:
    _allocate(devPtr, size, policy, "aclrtMalloc")


def aclrtMallocAlign32(devPtr: Any, size: int, policy: int) -> None:
    _allocate(devPtr, size, policy, "aclrtMallocAlign32", padded=False)


def aclrtMallocCached(devPtr: Any, size: int, policy: int) -> None:
    if policy not in (lib.ACL_MEM_MALLOC_HUGE_FIRST, lib.ACL_MEM_MALLOC_HUGE_ONLY, lib.ACL_MEM_MALLOC_NORMAL_ONLY,
                      lib.ACL_MEM_MALLOC_HUGE1G_ONLY):
        raise arguments.invalid(f"aclrtMallocCached does not take policy {policy}")
    _allocate(devPtr, size, policy, "aclrtMallocCached")


def _check_config(cfg: Any) -> None:
    if cfg == ffi.NULL:
        return
    arguments.not_null(cfg.attrs, "cfg->attrs")
    for i in range(cfg.numAttrs):
        attribute = cfg.attrs[i]
        if attribute.attr == lib.ACL_RT_MEM_ATTR_DEVICE_ID:
            device.get(attribute.value.deviceId)
        elif attribute.attr not in (lib.ACL_RT_MEM_ATTR_MODULE_ID, lib.ACL_RT_MEM_ATTR_VA_FLAG):
            raise arguments.invalid(f"there is no allocation attribute {attribute.attr}")


def aclrtMallocWithCfg(devPtr: Any, size: int, policy: int, cfg: Any) -> None:
    _check_config(cfg)
    _allocate(devPtr, size, policy, "aclrtMallocWithCfg")


def aclrtMallocForTaskScheduler(devPtr: Any, size: int, policy: int, cfg: Any) -> None:
    _check_config(cfg)
    _allocate(devPtr, size, policy, "aclrtMallocForTaskScheduler")


def aclrtFree(devPtr: Any) -> None:
    address = arguments.address(devPtr, "devPtr")
    _context.current()
    memory.free(address)


def aclrtFreeWithDevSync(devPtr: Any) -> None:
    address = arguments.address(devPtr, "devPtr")
    region = memory.allocation(address, memory.DEVICE_SOURCES, "aclrtFreeWithDevSync")
    current = _context.current().device
    (region.device or current).finish()
    memory.free(address)


def _allocate_host(out: Any, size: int, source: str) -> None:
    arguments.not_null(out, "hostPtr")
    if size <= 0:
        raise arguments.invalid("the size is 0")
    _context.current()
    out[0] = ffi.cast("void *", memory.malloc_host(size, source).address)


def aclrtMallocHost(hostPtr: Any, size: int) -> None:
    _allocate_host(hostPtr, size, "aclrtMallocHost")


def aclrtMallocHostWithCfg(ptr: Any, size: int, cfg: Any) -> None:
    _check_config(cfg)
    _allocate_host(ptr, size, "aclrtMallocHostWithCfg")


def aclrtFreeHost(hostPtr: Any) -> None:
    address = arguments.address(hostPtr, "hostPtr")
    _context.current()
    memory.free_host(address)


def aclrtFreeHostWithDevSync(hostPtr: Any) -> None:
    address = arguments.address(hostPtr, "hostPtr")
    memory.allocation(address, memory.HOST_SOURCES, "aclrtFreeHostWithDevSync")
    _context.current().device.finish()
    memory.free_host(address)


# Setting

def _fill(address: int, nbytes: int, value: int) -> None:
    memory.view(address, nbytes)[:] = value & 0xFF


def _fill_place(pointer: Any, limit: int, count: int) -> Place:
    address = arguments.address(pointer, "devPtr")
    if count > limit:
        raise arguments.refused(f"{count} bytes do not fit into the {limit} bytes at devPtr")
    return copy.locate(address, count, "devPtr")


def aclrtMemset(devPtr: Any, maxCount: int, value: int, count: int) -> None:
    _context.current()
    capture.forbid("aclrtMemset")
    place = _fill_place(devPtr, maxCount, count)
    if count:
        _fill(place.address, count, value)
        scheduler.announce()


def aclrtMemsetAsync(devPtr: Any, maxCount: int, value: int, count: int, stream: Any) -> None:
    where = _stream.resolve(stream)
    place = _fill_place(devPtr, maxCount, count)
    if count:
        queue(lambda: _fill(place.address, count, value), (place,), where, "aclrtMemsetAsync")


def _words(pointer: Any, size: int, n: int) -> Place:
    address = arguments.address(pointer, "ptr")
    if not n or size < 4 * n:
        raise arguments.invalid(f"{n} words of 4 bytes in {size} bytes")
    place = copy.locate(address, 4 * n, "ptr")
    if place.kind == PAGEABLE:
        raise arguments.refused(f"ptr {address:#x} was not allocated by the runtime")
    return place


def _fill_words(address: int, n: int, value: int) -> None:
    memory.view(address, 4 * n).view("<u4")[:] = value


def aclrtMemsetD32(ptr: Any, memSize: int, value: int, N: int) -> None:
    _context.current()
    _fill_words(_words(ptr, memSize, N).address, N, value)


def aclrtMemsetD32Async(ptr: Any, memSize: int, value: int, N: int, stream: Any) -> None:
    where = _stream.resolve(stream)
    place = _words(ptr, memSize, N)
    if place.kind != DEVICE:  # host memory is filled at once, not on the stream
        _fill_words(place.address, N, value)
        return
    queue(lambda: _fill_words(place.address, N, value), (place,), where, "aclrtMemsetD32Async")


# Asking

def aclrtGetMemInfo(attr: int, free: Any, total: Any) -> None:
    arguments.not_null(free, "free")
    arguments.not_null(total, "total")
    if not 0 <= attr <= lib.ACL_MEM_P2P_HUGE1G:
        raise arguments.invalid(f"there is no memory attribute {attr}")
    where = _context.current().device
    if attr in (lib.ACL_DDR_MEM, lib.ACL_DDR_MEM_HUGE, lib.ACL_DDR_MEM_NORMAL, lib.ACL_DDR_MEM_P2P_HUGE,
                lib.ACL_DDR_MEM_P2P_NORMAL):
        free[0] = total[0] = 0  # the device has HBM
        return
    free[0], total[0] = where.capacity - where.used, where.capacity


def aclrtGetMemUsageInfo(deviceId: int, memUsageInfo: Any, inputNum: int, outputNum: Any) -> None:
    arguments.not_null(memUsageInfo, "memUsageInfo")
    arguments.not_null(outputNum, "outputNum")
    where = device.get(deviceId)
    sizes: dict[str, int] = {}
    for region in list(where.regions.values()):
        sizes[region.source] = sizes.get(region.source, 0) + region.charged
    rows = sorted(sizes.items(), key=lambda item: -item[1])[:inputNum]
    for i, (name, nbytes) in enumerate(rows):
        memUsageInfo[i].name = name.encode()[:31]
        memUsageInfo[i].curMemSize = nbytes
        memUsageInfo[i].memPeakSize = max(nbytes, where.peak if len(sizes) == 1 else nbytes)
    outputNum[0] = len(rows)


def aclrtGetMemUceInfo(deviceId: int, memUceInfoArray: Any, arraySize: int, retSize: Any) -> None:
    arguments.not_null(memUceInfoArray, "memUceInfoArray")
    arguments.not_null(retSize, "retSize")
    device.get(deviceId)
    retSize[0] = 0  # the emulated memory has no faults


def aclrtPointerGetAttributes(ptr: Any, attributes: Any) -> None:
    address = arguments.address(ptr, "ptr")
    arguments.not_null(attributes, "attributes")
    _context.current()
    region = memory.find(address)
    location = attributes.location
    location.id, attributes.pageSize = 0, PAGE
    if region is None:
        location.type = lib.ACL_MEM_LOCATION_TYPE_UNREGISTERED
        return
    if region.source == "aclrtMemAllocManaged":
        location.type = lib.ACL_MEM_LOCATION_TYPE_MANAGED
    elif region.kind == "device":
        location.type = lib.ACL_MEM_LOCATION_TYPE_DEVICE
    else:
        location.type = lib.ACL_MEM_LOCATION_TYPE_HOST
    if region.device is not None:
        location.id = region.device.id
        attributes.pageSize = HUGE_PAGE if region.charged % HUGE_PAGE == 0 else PAGE


def aclrtCheckMemType(addrList: Any, size: int, memType: int, checkResult: Any, reserve: int) -> None:
    arguments.not_null(addrList, "addrList")
    arguments.not_null(checkResult, "checkResult")
    known = lib.ACL_RT_MEM_TYPE_DEV | lib.ACL_RT_MEM_TYPE_DVPP | lib.ACL_RT_MEM_TYPE_RSVD
    if not size or reserve or not memType or memType & ~known:
        raise arguments.invalid(f"{size} addresses, memory type {memType:#x}, reserve {reserve}: give at least one "
                                "address, a known type, and reserve 0")
    regions = [memory.find(int(ffi.cast("uintptr_t", addrList[i]))) for i in range(size)]
    checkResult[0] = int(bool(memType & lib.ACL_RT_MEM_TYPE_DEV)
                         and all(r is not None and r.kind == "device" for r in regions))


def aclrtMemGetAddressRange(ptr: Any, pbase: Any, psize: Any) -> None:
    address = arguments.address(ptr, "ptr")
    region = memory.find(address)
    if region is None or region.kind != "device":
        raise arguments.refused(f"ptr {address:#x} is not device memory: {memory.describe(address)}")
    if pbase != ffi.NULL:
        pbase[0] = ffi.cast("void *", region.address)
    if psize != ffi.NULL:
        psize[0] = region.requested


# Host memory that the device may access

def _register(ptr: Any, size: int, mapped: bool, pinning: bool) -> Region:
    address = arguments.address(ptr, "ptr")
    _context.current()
    if not size:
        raise arguments.invalid("the size is 0")
    if address % PAGE:
        raise arguments.refused(f"ptr {address:#x} is not aligned to {PAGE} bytes")
    region = memory.find(address)
    if region is None:
        return memory.add(memory.registered(address, size, mapped))
    # Memory of aclrtMallocHost is pinned already; it can be mapped once.
    if region.kind != "host" or pinning or region.mapped or region.source not in memory.HOST_SOURCES:
        raise Failure(lib.ACL_ERROR_HOST_MEMORY_ALREADY_REGISTERED, f"ptr {address:#x} is already known: {region!r}")
    region.mapped = True
    return region


def aclrtHostRegister(ptr: Any, size: int, type: int, devPtr: Any) -> None:
    arguments.not_null(devPtr, "devPtr")
    if type != lib.ACL_HOST_REGISTER_MAPPED:
        raise Failure(lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT, f"register type {type} is not supported: give "
                      "ACL_HOST_REGISTER_MAPPED")
    devPtr[0] = ffi.cast("void *", _register(ptr, size, True, False).address)


def aclrtHostRegisterV2(ptr: Any, size: int, flag: int) -> None:
    known = lib.ACL_HOST_REG_MAPPED | lib.ACL_HOST_REG_PINNED
    if flag & (lib.ACL_HOST_REG_IOMEMORY | lib.ACL_HOST_REG_READONLY):
        raise Failure(lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "ACL_HOST_REG_IOMEMORY and _READONLY are not supported")
    if not flag or flag & ~known:
        raise arguments.refused(f"there are no register flags {flag:#x}")
    _register(ptr, size, bool(flag & lib.ACL_HOST_REG_MAPPED), bool(flag & lib.ACL_HOST_REG_PINNED))


def aclrtHostUnregister(ptr: Any) -> None:
    address = arguments.address(ptr, "ptr")
    region = memory.find(address)
    if region is not None and region.address == address and region.source == memory.REGISTERED:
        memory.remove(region)
    elif region is not None and region.source in memory.HOST_SOURCES and region.mapped:
        region.mapped = False
    else:
        raise Failure(lib.ACL_ERROR_HOST_MEMORY_NOT_REGISTERED, f"ptr {address:#x} is not registered: "
                      f"{memory.describe(address)}")


def aclrtHostGetDevicePointer(pHost: Any, pDevice: Any, flag: int) -> None:
    address = arguments.address(pHost, "pHost")
    arguments.not_null(pDevice, "pDevice")
    if flag:
        raise arguments.invalid(f"the flag is {flag}: only 0 is supported")
    region = memory.find(address)
    if region is None or region.kind != "host" or not region.mapped:
        raise Failure(lib.ACL_ERROR_HOST_MEMORY_NOT_REGISTERED, f"pHost {address:#x} is not registered with mapping")
    pDevice[0] = ffi.cast("void *", address)


def aclrtHostMemMapCapabilities(deviceId: int, hacType: int, capabilities: Any) -> None:
    arguments.not_null(capabilities, "capabilities")
    device.get(deviceId)
    capabilities[0] = lib.ACL_RT_HOST_MEM_MAP_SUPPORTED


# Cells that streams write and wait for

def _cell(pointer: Any, stream: Any) -> tuple[int, Stream]:
    where = _stream.resolve(stream)
    address = arguments.address(pointer, "devAddr")
    memory.device_bytes(address, 8, "devAddr")
    return address, where


def aclrtValueWrite(devAddr: Any, value: int, flag: int, stream: Any) -> None:
    address, where = _cell(devAddr, stream)
    if flag or address % 8:
        raise arguments.refused(f"flag {flag}, address {address:#x}: the flag must be 0, the address aligned to 8 "
                                "bytes")

    def run() -> None:
        memory.device_bytes(address, 8, "devAddr").view("<u8")[0] = value

    where.submit(run, "aclrtValueWrite", fault=SYS_DMA)


class _ValueGate(scheduler.Gate):
    """Opens when a cell of device memory is as wanted; any stream of the device may make it so."""

    def __init__(self, address: int, value: int, flag: int, stream: Stream) -> None:
        self.address, self.value, self.flag, self.stream = address, value, flag, stream

    def open(self) -> bool:
        try:
            now = int(memory.device_bytes(self.address, 8, "devAddr").view("<u8")[0])
        except Failure:
            return True  # the task behind says so
        if self.flag == lib.ACL_STREAM_WAIT_VALUE_GEQ:
            return (now - self.value) & (1 << 63) == 0
        if self.flag == lib.ACL_STREAM_WAIT_VALUE_EQ:
            return now == self.value
        if self.flag == lib.ACL_STREAM_WAIT_VALUE_AND:
            return now & self.value != 0
        return ~(now | self.value) & (2**64 - 1) != 0

    def sources(self) -> Iterable[Stream]:
        return [s for s in _stream.all_streams() if s.device is self.stream.device and s is not self.stream]

    def passed(self) -> None:
        memory.device_bytes(self.address, 8, "devAddr")

    def __str__(self) -> str:
        return f"the value at {self.address:#x}"


def aclrtValueWait(devAddr: Any, value: int, flag: int, stream: Any) -> None:
    address, where = _cell(devAddr, stream)
    if flag > lib.ACL_STREAM_WAIT_VALUE_NOR:
        raise arguments.refused(f"there is no wait flag {flag}")
    gate = _ValueGate(address, value, flag, where)
    where.submit(gate.passed, "aclrtValueWait", gate)


# Caches: nothing of an emulated device is cached, so only the arguments count.

def _cached(pointer: Any, size: int) -> None:
    address = arguments.address(pointer, "devPtr")
    _context.current()
    if not size:
        raise arguments.invalid("the size is 0")
    memory.device_bytes(address, size, "devPtr")


def aclrtMemFlush(devPtr: Any, size: int) -> None:
    _cached(devPtr, size)


def aclrtMemInvalidate(devPtr: Any, size: int) -> None:
    _cached(devPtr, size)


def aclrtCmoAsync(src: Any, size: int, cmoType: int, stream: Any) -> None:
    where = _stream.resolve(stream)
    if not lib.ACL_RT_CMO_TYPE_PREFETCH <= cmoType <= lib.ACL_RT_CMO_TYPE_FLUSH:
        raise arguments.invalid(f"there is no cache operation {cmoType}")
    _cached(src, size)
    where.submit(lambda: None, "aclrtCmoAsync")
