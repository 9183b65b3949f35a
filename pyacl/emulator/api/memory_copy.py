"""Copying memory."""

from __future__ import annotations

from typing import Any, Callable

import ml_dtypes
import numpy as np

from ...capi import ffi, lib
from ..failure import Failure
from ..machine import capture, copy, memory, scheduler
from ..machine import context as _context
from ..machine import stream as _stream
from ..machine.copy import DEVICE, PAGEABLE, Place
from . import arguments

SYS_DMA = lib.ACL_ERROR_RT_SYS_DMA

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
    capture.forbid("aclrtMemcpy")
    to, origin = _places(dst, destMax, src, count)
    copy.move(to.address, origin.address, count)
    scheduler.announce()  # a stream may wait for what was written


def queue(run: Callable[[], None], places: tuple[Place, ...], stream: _stream.Stream, function: str) -> None:
    """Queues a copy; one that touches pageable memory returns only after it, and so after all work before it."""
    pageable = any(place.kind == PAGEABLE for place in places)
    if pageable and stream.capture is not None:
        raise stream.capture.broken(lib.ACL_ERROR_RT_CAPTURE_MODE_BLOCK_ASYNC, f"{function} with pageable host memory "
                                    "would have to wait, which a capture does not allow: use aclrtMallocHost")

    def checked() -> None:
        for place in places:
            place.check()
        run()

    stream.submit(checked, function, fault=SYS_DMA)
    if pageable:
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
    queue(lambda: copy.move(to.address, origin.address, count), (to, origin), where, function)


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
    capture.forbid("aclrtMemcpy2d")
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
    queue(lambda: copy.move_rows(to.address, dpitch, origin.address, spitch, width, height), places, where,
           "aclrtMemcpy2dAsync")


# Through pointers and descriptions that lie in device memory

def aclrtMemcpyAsyncWithOffset(dst: Any, destMax: int, dstDataOffset: int, src: Any, count: int, srcDataOffset: int,
                               kind: int, stream: Any) -> None:
    where = _stream.resolve(stream)
    if kind not in (lib.ACL_MEMCPY_DEVICE_TO_DEVICE, lib.ACL_MEMCPY_INNER_DEVICE_TO_DEVICE, lib.ACL_MEMCPY_DEFAULT):
        raise arguments.invalid(f"aclrtMemcpyAsyncWithOffset copies within a device, not with kind {kind}")
    to, origin = arguments.address(dst, "dst"), arguments.address(src, "src")
    if count > destMax:
        raise arguments.refused(f"{count} bytes do not fit into the {destMax} bytes at dst")
    for cell, what in ((to, "dst"), (origin, "src")):
        memory.device_bytes(cell, 8, what)

    def run() -> None:
        addresses = [int(memory.device_bytes(cell, 8, "a pointer").view("<u8")[0]) for cell in (to, origin)]
        target = memory.device_bytes(addresses[0] + dstDataOffset, count, "*dst")
        target[:] = memory.device_bytes(addresses[1] + srcDataOffset, count, "*src")

    where.submit(run, "aclrtMemcpyAsyncWithOffset", fault=SYS_DMA)


# What a description holds: source, destination, count, and this mark.
_MARK = 0x5059_4143_4C44_4553
_DESC_BYTES = 64


def aclrtGetMemcpyDescSize(kind: int, descSize: Any) -> None:
    arguments.not_null(descSize, "descSize")
    _check_desc_kind(kind)
    descSize[0] = _DESC_BYTES


def _check_desc_kind(kind: int) -> None:
    if kind != lib.ACL_MEMCPY_INNER_DEVICE_TO_DEVICE:
        raise arguments.invalid(f"a copy by description is of kind ACL_MEMCPY_INNER_DEVICE_TO_DEVICE, not {kind}")


def aclrtSetMemcpyDesc(desc: Any, kind: int, srcAddr: Any, dstAddr: Any, count: int, config: Any) -> None:
    _check_desc_kind(kind)
    if config != ffi.NULL:
        raise arguments.invalid("config must be NULL")
    _context.current()
    cell = memory.device_bytes(arguments.address(desc, "desc"), _DESC_BYTES, "desc")
    places = (arguments.address(srcAddr, "srcAddr"), arguments.address(dstAddr, "dstAddr"))
    for place, what in zip(places, ("srcAddr", "dstAddr")):
        memory.device_bytes(place, count, what)
    cell[:32].view("<u8")[:] = (*places, count, _MARK)


def aclrtMemcpyAsyncWithDesc(desc: Any, kind: int, stream: Any) -> None:
    _check_desc_kind(kind)
    where = _stream.resolve(stream)
    address = arguments.address(desc, "desc")
    memory.device_bytes(address, _DESC_BYTES, "desc")

    def run() -> None:
        source, target, count, mark = (int(x) for x in memory.device_bytes(address, 32, "desc").view("<u8"))
        if mark != _MARK:
            raise arguments.refused("desc was not filled by aclrtSetMemcpyDesc")
        memory.device_bytes(target, count, "dstAddr")[:] = memory.device_bytes(source, count, "srcAddr")

    where.submit(run, "aclrtMemcpyAsyncWithDesc", fault=SYS_DMA)


# Arithmetic of the copy engine

_REDUCTIONS = {
    lib.ACL_RT_MEMCPY_SDMA_AUTOMATIC_SUM: np.add, lib.ACL_RT_MEMCPY_SDMA_AUTOMATIC_MAX: np.maximum,
    lib.ACL_RT_MEMCPY_SDMA_AUTOMATIC_MIN: np.minimum,
}
_REDUCED = {
    lib.ACL_FLOAT: np.dtype(np.float32), lib.ACL_FLOAT16: np.dtype(np.float16), lib.ACL_INT8: np.dtype(np.int8),
    lib.ACL_INT16: np.dtype(np.int16), lib.ACL_INT32: np.dtype(np.int32), lib.ACL_BF16: np.dtype(ml_dtypes.bfloat16),
}


def aclrtReduceAsync(dst: Any, src: Any, count: int, kind: int, type: int, stream: Any, reserve: Any) -> None:
    where = _stream.resolve(stream)
    to, origin = arguments.address(dst, "dst"), arguments.address(src, "src")
    if kind not in _REDUCTIONS or type not in _REDUCED:
        raise arguments.invalid(f"the copy engine does not reduce with kind {kind} and data type {type}")
    reduction, dtype = _REDUCTIONS[kind], _REDUCED[type]
    if not count or count % dtype.itemsize or reserve != ffi.NULL:
        raise arguments.invalid(f"count {count} must be a multiple of {dtype.itemsize} bytes, reserve must be NULL")
    memory.device_bytes(to, count, "dst")
    memory.device_bytes(origin, count, "src")

    def run() -> None:
        target = memory.device_bytes(to, count, "dst").view(dtype)
        with np.errstate(all="ignore"):
            reduction(target, memory.device_bytes(origin, count, "src").view(dtype), out=target)

    where.submit(run, "aclrtReduceAsync", fault=SYS_DMA)


# Batches

_SIZE_MAX = 2**64 - 1


def _batch(dsts: Any, dest_maxs: Any, srcs: Any, sizes: Any, n: int, attrs: Any, indexes: Any, n_attrs: int,
           fail: Any) -> list[tuple[Place, Place, int]]:
    """The copies of a batch, checked. All go one way, between host and device, and as their attributes say."""
    def failed(item: int) -> None:
        if fail is not None and fail != ffi.NULL:
            fail[0] = item

    failed(_SIZE_MAX)
    for pointer, what in ((dsts, "dsts"), (dest_maxs, "destMaxs"), (srcs, "srcs"), (sizes, "sizes"), (attrs, "attrs"),
                          (indexes, "attrsIndexes")):
        arguments.not_null(pointer, what)
    if not n or not 0 < n_attrs <= n:
        raise arguments.invalid(f"{n} copies with {n_attrs} attributes: give at least one of each, and no more "
                                "attributes than copies")
    starts = [int(indexes[i]) for i in range(n_attrs)]
    if starts[0] != 0 or starts[-1] >= n or any(a >= b for a, b in zip(starts, starts[1:])):
        raise arguments.invalid(f"attrsIndexes {starts} must begin with 0, increase, and stay below {n}")
    copies = []
    direction = None
    rule = 0
    for i in range(n):
        if rule + 1 < n_attrs and starts[rule + 1] == i:
            rule += 1
        try:
            to, origin = _places(dsts[i], dest_maxs[i], srcs[i], sizes[i])
        except Failure:
            failed(i)
            raise
        way = (origin.kind == DEVICE, to.kind == DEVICE)
        said = (attrs[rule].srcLoc.type == lib.ACL_MEM_LOCATION_TYPE_DEVICE,
                attrs[rule].dstLoc.type == lib.ACL_MEM_LOCATION_TYPE_DEVICE)
        direction = way if direction is None else direction
        if way[0] == way[1] or way != direction or way != said:
            failed(i)
            raise arguments.invalid(f"item {i} goes from {origin.kind} to {to.kind}: a batch copies only from host to "
                                    "device or only back, as its attributes say")
        copies.append((to, origin, int(sizes[i])))
    return copies


def _batch_now(copies: list[tuple[Place, Place, int]]) -> None:
    for to, origin, count in copies:
        copy.move(to.address, origin.address, count)
    scheduler.announce()


def _batch_queued(copies: list[tuple[Place, Place, int]], stream: Any, function: str) -> None:
    places = tuple(place for to, origin, _ in copies for place in (to, origin))
    queue(lambda: _batch_now(copies), places, _stream.resolve(stream), function)


def aclrtMemcpyBatch(dsts: Any, destMaxs: Any, srcs: Any, sizes: Any, numBatches: int, attrs: Any, attrsIndexes: Any,
                     numAttrs: int, failIndex: Any) -> None:
    _context.current()
    arguments.not_null(failIndex, "failIndex")
    _batch_now(_batch(dsts, destMaxs, srcs, sizes, numBatches, attrs, attrsIndexes, numAttrs, failIndex))


def aclrtMemcpyBatchV2(dsts: Any, destMaxs: Any, srcs: Any, sizes: Any, numBatches: int, attrs: Any, attrsIndexes: Any,
                       numAttrs: int) -> None:
    _context.current()
    _batch_now(_batch(dsts, destMaxs, srcs, sizes, numBatches, attrs, attrsIndexes, numAttrs, None))


def aclrtMemcpyBatchAsync(dsts: Any, destMaxs: Any, srcs: Any, sizes: Any, numBatches: int, attrs: Any,
                          attrsIndexes: Any, numAttrs: int, failIndex: Any, stream: Any) -> None:
    _stream.resolve(stream)
    arguments.not_null(failIndex, "failIndex")
    copies = _batch(dsts, destMaxs, srcs, sizes, numBatches, attrs, attrsIndexes, numAttrs, failIndex)
    _batch_queued(copies, stream, "aclrtMemcpyBatchAsync")


def aclrtMemcpyBatchAsyncV2(dsts: Any, destMaxs: Any, srcs: Any, sizes: Any, numBatches: int, attrs: Any,
                            attrsIndexes: Any, numAttrs: int, stream: Any) -> None:
    _stream.resolve(stream)
    copies = _batch(dsts, destMaxs, srcs, sizes, numBatches, attrs, attrsIndexes, numAttrs, None)
    _batch_queued(copies, stream, "aclrtMemcpyBatchAsyncV2")
