"""Allocating, freeing, copying, setting and asking about memory."""

from __future__ import annotations

from typing import Any, Callable

from ...capi import ffi, lib
from ..failure import Failure
from ..machine import context as _context
from ..machine import copy, device, memory
from ..machine import stream as _stream
from ..machine.copy import DEVICE, PAGEABLE, Place
from . import arguments

SYS_DMA = lib.ACL_ERROR_RT_SYS_DMA
_uint = ffi.typeof("uintptr_t")


def _number(pointer: Any) -> int:
    return int(ffi.cast(_uint, pointer))


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


# Copies

_KINDS = range(lib.ACL_MEMCPY_HOST_TO_HOST, lib.ACL_MEMCPY_INTER_DEVICE_TO_DEVICE + 1)


def _check_kind(kind: int) -> None:
    if kind not in _KINDS:
        raise arguments.invalid(f"there is no memcpy kind {kind}")


def _places(dst: Any, dest_max: int, src: Any, count: int) -> tuple[Place, Place]:
    to, origin = arguments.address(dst, "dst"), arguments.address(src, "src")
    if count > dest_max:
        raise arguments.refused(f"{count} bytes do not fit into the {dest_max} bytes at dst")
    places = copy.locate(to, count, "dst"), copy.locate(origin, count, "src")
    copy.pair(*places)
    return places


def aclrtMemcpy(dst: Any, destMax: int, src: Any, count: int, kind: int) -> None:
    if not count:
        return
    _check_kind(kind)
    _context.current()
    to, origin = _places(dst, destMax, src, count)
    copy.move(to.address, origin.address, count)


def _queue(run: Callable[[], None], places: tuple[Place, ...], stream: _stream.Stream, function: str) -> None:
    """Queues a copy; one that touches pageable memory returns only after it, and so after all work before it."""
    def checked() -> None:
        for place in places:
            place.check()
        run()

    stream.submit(checked, function, fault=SYS_DMA)
    if any(place.kind == PAGEABLE for place in places):
        stream.drain(None, function)


def aclrtMemcpyAsync(dst: Any, destMax: int, src: Any, count: int, kind: int, stream: Any) -> None:
    _copy_async(dst, destMax, src, count, kind, stream, "aclrtMemcpyAsync")


def aclrtMemcpyAsyncWithCondition(dst: Any, destMax: int, src: Any, count: int, kind: int, stream: Any) -> None:
    _copy_async(dst, destMax, src, count, kind, stream, "aclrtMemcpyAsyncWithCondition")


def _copy_async(dst: Any, dest_max: int, src: Any, count: int, kind: int, stream: Any, function: str) -> None:
    where = _stream.resolve(stream)
    if not count:
        return
    _check_kind(kind)
    to, origin = _places(dst, dest_max, src, count)
    if kind == lib.ACL_MEMCPY_HOST_TO_HOST or (to.kind != DEVICE and origin.kind != DEVICE):
        raise Failure(lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT, f"{function} does not copy from host to host")
    if kind == lib.ACL_MEMCPY_HOST_TO_BUF_TO_DEVICE and origin.kind != DEVICE:
        staged = bytes(ffi.buffer(ffi.cast("char *", origin.address), count))  # the buffer may be used again at once

        def from_stage() -> None:
            to.check()
            ffi.memmove(ffi.cast("char *", to.address), staged, count)

        where.submit(from_stage, function, fault=SYS_DMA)
        return
    _queue(lambda: copy.move(to.address, origin.address, count), (to, origin), where, function)


def _rows(dst: Any, dpitch: int, src: Any, spitch: int, width: int, height: int, kind: int,
          kinds: tuple[int, ...]) -> tuple[Place, Place]:
    if kind not in kinds:
        raise arguments.invalid(f"a 2-D copy does not take kind {kind}")
    if width > dpitch or width > spitch:
        raise arguments.invalid(f"rows of {width} bytes do not fit the pitches {dpitch} (dst) and {spitch} (src)")
    to, origin = arguments.address(dst, "dst"), arguments.address(src, "src")
    places = (copy.locate(to, dpitch * (height - 1) + width, "dst"),
              copy.locate(origin, spitch * (height - 1) + width, "src"))
    copy.pair(*places)
    return places


_KINDS_2D = (lib.ACL_MEMCPY_HOST_TO_DEVICE, lib.ACL_MEMCPY_DEVICE_TO_HOST, lib.ACL_MEMCPY_DEVICE_TO_DEVICE,
             lib.ACL_MEMCPY_DEFAULT)
MAX_WIDTH, MAX_HEIGHT = 5_000_000, 5_242_880


def aclrtMemcpy2d(dst: Any, dpitch: int, src: Any, spitch: int, width: int, height: int, kind: int) -> None:
    _context.current()
    if not width or not height:
        return
    to, origin = _rows(dst, dpitch, src, spitch, width, height, kind, _KINDS_2D)
    copy.move_rows(to.address, dpitch, origin.address, spitch, width, height)


def aclrtMemcpy2dAsync(dst: Any, dpitch: int, src: Any, spitch: int, width: int, height: int, kind: int,
                       stream: Any) -> None:
    where = _stream.resolve(stream)
    if not width or not height:
        return
    if width > MAX_WIDTH or height > MAX_HEIGHT:
        raise arguments.invalid(f"{height} rows of {width} bytes: at most {MAX_HEIGHT} rows of {MAX_WIDTH}")
    places = to, origin = _rows(dst, dpitch, src, spitch, width, height, kind, _KINDS_2D)
    if to.kind != DEVICE and origin.kind != DEVICE:
        raise Failure(lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "aclrtMemcpy2dAsync does not copy from host to host")
    _queue(lambda: copy.move_rows(to.address, dpitch, origin.address, spitch, width, height), places, where,
           "aclrtMemcpy2dAsync")


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
    place = _fill_place(devPtr, maxCount, count)
    if count:
        _fill(place.address, count, value)


def aclrtMemsetAsync(devPtr: Any, maxCount: int, value: int, count: int, stream: Any) -> None:
    where = _stream.resolve(stream)
    place = _fill_place(devPtr, maxCount, count)
    if count:
        _queue(lambda: _fill(place.address, count, value), (place,), where, "aclrtMemsetAsync")


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
    _queue(lambda: _fill_words(place.address, N, value), (place,), where, "aclrtMemsetD32Async")


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
