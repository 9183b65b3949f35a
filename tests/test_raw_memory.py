"""Memory through the C functions: allocating, copying, setting, asking."""

from __future__ import annotations

import gc
from typing import Any, Callable

import numpy as np
import pytest
from raw import (
    NULL,
    at,
    blocked,
    current,
    device_memory,
    make,
    number,
    ok,
    out,
    program,
    read,
    release,
    runtime,
    stream,
)

from pyacl.capi import ffi, lib

__all__ = ["current", "make", "runtime", "stream"]

KINDS = {name: getattr(lib, f"ACL_MEMCPY_{name}") for name in (
    "HOST_TO_HOST", "HOST_TO_DEVICE", "DEVICE_TO_HOST", "DEVICE_TO_DEVICE", "DEFAULT", "HOST_TO_BUF_TO_DEVICE",
    "INNER_DEVICE_TO_DEVICE")}
H2D, D2H, D2D = (KINDS[k] for k in ("HOST_TO_DEVICE", "DEVICE_TO_HOST", "DEVICE_TO_DEVICE"))


@pytest.fixture
def page() -> np.ndarray:
    """A page of pageable memory, aligned as registering wants it."""
    raw = np.zeros(3 * 4096, np.uint8)
    start = -raw.ctypes.data % 4096
    return raw[start:start + 4096]


# Allocating and freeing

@pytest.mark.parametrize("function", ["aclrtMalloc", "aclrtMallocAlign32", "aclrtMallocCached"])
@pytest.mark.parametrize("size", [1, 32, 33, 4096, 100_000, 3 << 20])
def test_allocations_are_aligned_and_not_zero(function: str, size: int) -> None:
    pointer = out("void **", getattr(lib, function), size, lib.ACL_MEM_MALLOC_HUGE_FIRST)
    assert number(pointer) % 64 == 0
    contents = read(pointer, size)
    assert contents[0] != 0
    assert contents[-1] != 0
    padding = 0 if function == "aclrtMallocAlign32" else 32
    end = -(-size // 32) * 32 + padding
    ok(lib.aclrtMemset(pointer, end, 1, end))  # the padding may be used
    assert lib.aclrtMemset(pointer, end + 1, 1, end + 1) != 0
    ok(lib.aclrtFree(pointer))


FREES = {
    "never allocated": lambda p, h: lib.aclrtFree(ffi.cast("void *", 0x7000_0000_0000)),
    "host memory": lambda p, h: lib.aclrtFree(at(np.zeros(8))),
    "pinned memory": lambda p, h: lib.aclrtFree(h),
    "inside": lambda p, h: lib.aclrtFree(ffi.cast("char *", p) + 64),
    "a stream's handle": lambda p, h: lib.aclrtFree(out("aclrtStream *", lib.aclrtCtxGetCurrentDefaultStream)),
    "device memory as host memory": lambda p, h: lib.aclrtFreeHost(p),
    "inside pinned": lambda p, h: lib.aclrtFreeHost(ffi.cast("char *", h) + 64),
    "with device sync": lambda p, h: lib.aclrtFreeWithDevSync(h),
}


@pytest.mark.parametrize("how", FREES)
def test_what_cannot_be_freed(make: Any, how: str) -> None:
    pointer, pinned = make("device", 256, 0), make("host", 256)
    assert FREES[how](pointer, pinned) == lib.ACL_ERROR_RT_MEMORY_FREE
    assert lib.aclGetRecentErrMsg() != NULL
    ok(lib.aclrtMemset(pointer, 256, 0, 256))


def test_freeing_twice_and_using_afterwards(stream: Any) -> None:
    pointer = out("void **", lib.aclrtMalloc, 256, 0)
    pinned = out("void **", lib.aclrtMallocHost, 256)
    ok(lib.aclrtFree(pointer))
    ok(lib.aclrtFreeHost(pinned))
    for _ in range(3):
        assert lib.aclrtFree(pointer) == lib.ACL_ERROR_RT_MEMORY_FREE
        assert lib.aclrtFreeHost(pinned) == lib.ACL_ERROR_RT_MEMORY_FREE
    assert lib.aclrtMemset(pointer, 256, 0, 256) == lib.ACL_ERROR_RT_PARAM_INVALID
    assert lib.aclrtMemsetAsync(pinned, 256, 0, 256, stream) == lib.ACL_ERROR_RT_PARAM_INVALID
    assert lib.aclrtFree(NULL) == lib.aclrtFreeHost(NULL) == lib.ACL_ERROR_INVALID_PARAM


def test_an_address_is_not_used_again_at_once() -> None:
    """A stale pointer must be recognised, not be somebody else's memory."""
    seen = set()
    for size in (64, 64, 64, 5 << 20, 5 << 20):
        pointer = out("void **", lib.aclrtMalloc, size, 0)
        assert number(pointer) not in seen
        seen.add(number(pointer))
        ok(lib.aclrtFree(pointer))


def test_wrong_sizes_and_pointers() -> None:
    cell = ffi.new("void **")
    assert lib.aclrtMalloc(cell, 0, 0) == lib.aclrtMalloc(NULL, 64, 0) == lib.ACL_ERROR_INVALID_PARAM
    assert lib.aclrtMallocHost(cell, 0) == lib.aclrtMallocHost(NULL, 64) == lib.ACL_ERROR_INVALID_PARAM
    assert lib.aclrtMallocCached(cell, 64, lib.ACL_MEM_MALLOC_NORMAL_ONLY_P2P) == lib.ACL_ERROR_INVALID_PARAM
    config = ffi.new("aclrtMallocConfig *")
    assert lib.aclrtMallocWithCfg(cell, 64, 0, config) == lib.ACL_ERROR_INVALID_PARAM
    ok(lib.aclrtMallocWithCfg(cell, 64, 0, NULL))
    ok(lib.aclrtFree(cell[0]))


def memory_info() -> tuple[int, int]:
    gc.collect()  # what other tests dropped in circles
    free, total = ffi.new("size_t *"), ffi.new("size_t *")
    ok(lib.aclrtGetMemInfo(lib.ACL_HBM_MEM, free, total))
    return free[0], total[0]


def test_the_account_of_memory(make: Any) -> None:
    before, total = memory_info()
    assert 0 < before <= total
    huge = make("device", 3 << 20, lib.ACL_MEM_MALLOC_HUGE_FIRST)
    assert before - memory_info()[0] == 4 << 20  # pages of 2 MiB
    ok(lib.aclrtFree(huge))
    assert memory_info()[0] == before
    assert lib.aclrtMalloc(ffi.new("void **"), total + 1, 0) == lib.ACL_ERROR_RT_MEMORY_ALLOCATION
    assert lib.aclrtMalloc(ffi.new("void **"), 2**63, 0) == lib.ACL_ERROR_RT_MEMORY_ALLOCATION
    rows, count = ffi.new("aclrtMemUsageInfo[8]"), ffi.new("size_t *")
    kept = make("device", 1 << 20, 0)
    ok(lib.aclrtGetMemUsageInfo(0, rows, 8, count))
    assert count[0] >= 1
    assert rows[0].curMemSize >= 1 << 20
    assert number(kept)


def test_memory_runs_out() -> None:
    assert program("""
        lib.aclInit(NULL); lib.aclrtSetDevice(0)
        def malloc(size, policy=0):
            cell = ffi.new("void **"); return lib.aclrtMalloc(cell, size, policy), cell[0]
        free, total = ffi.new("size_t *"), ffi.new("size_t *")
        lib.aclrtGetMemInfo(lib.ACL_HBM_MEM, free, total); print(free[0], total[0])
        code, first = malloc(48 << 20); print(code, malloc(48 << 20)[0], malloc(65 << 20)[0])
        print(lib.aclrtFree(first), malloc(48 << 20)[0], malloc(1 << 30, lib.ACL_MEM_MALLOC_HUGE1G_ONLY)[0])
        print(lib.aclFinalize(), lib.aclInit(NULL), lib.aclrtSetDevice(0), malloc(60 << 20)[0])
    """, PYACL_EMULATOR_MEMORY="64M").split() == [
        str(64 << 20), str(64 << 20), "0", "207018", "207001", "0", "0", "207001", "0", "0", "0", "0"]


# Copies

def test_every_direction(make: Any) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 255, 10_001, np.uint8)
    one, two, pinned = make("device", data.nbytes, 0), make("device", data.nbytes, 0), make("host", data.nbytes)
    back = np.zeros_like(data)
    n = data.nbytes
    ok(lib.aclrtMemcpy(pinned, n, at(data), n, KINDS["HOST_TO_HOST"]))
    ok(lib.aclrtMemcpy(one, n, pinned, n, H2D))
    ok(lib.aclrtMemcpy(two, n, one, n, D2D))
    ok(lib.aclrtMemcpy(at(back), n, two, n, D2H))
    assert (back == data).all()
    # The addresses say where to, not the kind.
    ok(lib.aclrtMemset(two, n, 0, n))
    ok(lib.aclrtMemcpy(two, n, at(data), n, D2H))
    assert (read(two, n) == data).all()
    ok(lib.aclrtMemcpy(one, n, one, n, D2D))


COPIES: dict[str, tuple[Callable[[Any, Any], int], int]] = {
    "nothing to do": (lambda d, h: lib.aclrtMemcpy(NULL, 0, NULL, 0, 0), 0),
    "NULL dst": (lambda d, h: lib.aclrtMemcpy(NULL, 8, h, 8, H2D), lib.ACL_ERROR_INVALID_PARAM),
    "NULL src": (lambda d, h: lib.aclrtMemcpy(d, 8, NULL, 8, H2D), lib.ACL_ERROR_INVALID_PARAM),
    "too small": (lambda d, h: lib.aclrtMemcpy(d, 8, h, 9, H2D), lib.ACL_ERROR_RT_PARAM_INVALID),
    "no room": (lambda d, h: lib.aclrtMemcpy(d, 0, h, 8, H2D), lib.ACL_ERROR_RT_PARAM_INVALID),
    "a lie about dst": (lambda d, h: lib.aclrtMemcpy(d, 4096, h, 4096, H2D), lib.ACL_ERROR_RT_PARAM_INVALID),
    "a lie about src": (lambda d, h: lib.aclrtMemcpy(h, 4096, d, 4096, D2H), lib.ACL_ERROR_RT_PARAM_INVALID),
    "no kind": (lambda d, h: lib.aclrtMemcpy(d, 8, h, 8, 99), lib.ACL_ERROR_INVALID_PARAM),
    "not memory": (lambda d, h: lib.aclrtMemcpy(d, 8, ffi.cast("void *", 64), 8, H2D), lib.ACL_ERROR_RT_PARAM_INVALID),
    "no memory there": (lambda d, h: lib.aclrtMemcpy(d, 8, ffi.cast("void *", 0x0000_1234_5678_9000), 8, H2D),
                        lib.ACL_ERROR_RT_PARAM_INVALID),
    "a handle": (lambda d, h: lib.aclrtMemcpy(d, 8, out("aclrtContext *", lib.aclrtGetCurrentContext), 8, H2D),
                 lib.ACL_ERROR_RT_PARAM_INVALID),
    "rows too wide": (lambda d, h: lib.aclrtMemcpy2d(d, 8, h, 16, 9, 1, H2D), lib.ACL_ERROR_INVALID_PARAM),
    "rows beyond": (lambda d, h: lib.aclrtMemcpy2d(d, 64, h, 64, 9, 99, H2D), lib.ACL_ERROR_RT_PARAM_INVALID),
    "rows of no kind": (lambda d, h: lib.aclrtMemcpy2d(d, 8, h, 8, 8, 1, 0), lib.ACL_ERROR_INVALID_PARAM),
    "no rows": (lambda d, h: lib.aclrtMemcpy2d(NULL, 8, NULL, 8, 0, 1, H2D), 0),
    "memset too long": (lambda d, h: lib.aclrtMemset(d, 8, 0, 9), lib.ACL_ERROR_RT_PARAM_INVALID),
    "memset NULL": (lambda d, h: lib.aclrtMemset(NULL, 8, 0, 8), lib.ACL_ERROR_INVALID_PARAM),
    "no words": (lambda d, h: lib.aclrtMemsetD32(d, 64, 0, 0), lib.ACL_ERROR_INVALID_PARAM),
    "too many words": (lambda d, h: lib.aclrtMemsetD32(d, 63, 0, 16), lib.ACL_ERROR_INVALID_PARAM),
}


@pytest.mark.parametrize("case", COPIES)
def test_what_copies_refuse(make: Any, case: str) -> None:
    call, code = COPIES[case]
    assert call(make("device", 1024, 0), make("host", 1024)) == code


ASYNC: dict[str, tuple[Callable[[Any, Any, Any], int], int]] = {
    "host to host": (lambda d, h, s: lib.aclrtMemcpyAsync(h, 8, h, 8, 0, s), lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT),
    "no kind": (lambda d, h, s: lib.aclrtMemcpyAsync(d, 8, h, 8, 88, s), lib.ACL_ERROR_INVALID_PARAM),
    "too small": (lambda d, h, s: lib.aclrtMemcpyAsync(d, 7, h, 8, H2D, s), lib.ACL_ERROR_RT_PARAM_INVALID),
    "rows too wide": (lambda d, h, s: lib.aclrtMemcpy2dAsync(d, 5_000_001, h, 5_000_001, 5_000_001, 1, H2D, s),
                      lib.ACL_ERROR_INVALID_PARAM),
    "rows of no kind": (lambda d, h, s: lib.aclrtMemcpy2dAsync(d, 8, h, 8, 8, 1, 0, s), lib.ACL_ERROR_INVALID_PARAM),
    "no stream": (lambda d, h, s: lib.aclrtMemcpyAsync(d, 8, h, 8, H2D, d), lib.ACL_ERROR_RT_INVALID_HANDLE),
}


@pytest.mark.parametrize("case", ASYNC)
def test_what_asynchronous_copies_refuse(make: Any, stream: Any, case: str) -> None:
    call, code = ASYNC[case]
    assert call(make("device", 1024, 0), make("host", 1024), stream) == code
    ok(lib.aclrtSynchronizeStream(stream))


def test_pinned_memory_is_read_when_the_stream_comes_to_it(make: Any, stream: Any) -> None:
    pinned, cell = make("host", 8), make("device", 8, 0)
    ok(lib.aclrtMemset(pinned, 8, 1, 8))
    gate = blocked(make, stream)
    ok(lib.aclrtMemcpyAsync(cell, 8, pinned, 8, H2D, stream))
    ok(lib.aclrtMemset(pinned, 8, 2, 8))
    release(gate)
    ok(lib.aclrtSynchronizeStream(stream))
    assert read(cell, 8).tolist() == [2] * 8


def test_pageable_memory_is_copied_before_the_call_returns(make: Any, stream: Any) -> None:
    data = np.arange(64, dtype=np.uint8)
    cell = device_memory(make, np.zeros(64, np.uint8))
    back = np.zeros(64, np.uint8)
    ok(lib.aclrtMemsetAsync(cell, 64, 7, 32, stream))  # earlier work of the stream comes first
    ok(lib.aclrtMemcpyAsync(at(back), 64, cell, 64, D2H, stream))
    assert back.tolist() == [7] * 32 + [0] * 32
    ok(lib.aclrtMemcpyAsync(cell, 64, at(data), 64, H2D, stream))
    assert read(cell, 64).tolist() == data.tolist()


def test_a_staged_copy_frees_the_source_at_once(make: Any, stream: Any) -> None:
    pinned, cell = make("host", 8), device_memory(make, np.zeros(8, np.uint8))
    ok(lib.aclrtMemset(pinned, 8, 1, 8))
    gate = blocked(make, stream)
    ok(lib.aclrtMemcpyAsync(cell, 8, pinned, 8, KINDS["HOST_TO_BUF_TO_DEVICE"], stream))
    ok(lib.aclrtMemset(pinned, 8, 2, 8))
    release(gate)
    ok(lib.aclrtSynchronizeStream(stream))
    assert read(cell, 8).tolist() == [1] * 8


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize(("dpitch", "spitch", "width", "height"), [
    (16, 24, 10, 5), (10, 10, 10, 5), (12, 10, 10, 1), (64, 10, 10, 7), (3, 3, 1, 9),
])
def test_rows(make: Any, stream: Any, queued: bool, dpitch: int, spitch: int, width: int, height: int) -> None:
    rng = np.random.default_rng(1)
    source = rng.integers(0, 255, spitch * height, np.uint8)
    target = rng.integers(0, 255, dpitch * height, np.uint8)
    expected = target.reshape(height, dpitch).copy()
    expected[:, :width] = source.reshape(height, spitch)[:, :width]
    cell, origin = device_memory(make, target), device_memory(make, source)
    arguments = (dpitch, origin, spitch, width, height, D2D)
    if queued:
        ok(lib.aclrtMemcpy2dAsync(cell, *arguments, stream))
        ok(lib.aclrtSynchronizeStream(stream))
    else:
        ok(lib.aclrtMemcpy2d(cell, *arguments))
    assert (read(cell, target.size).reshape(height, dpitch) == expected).all()


def test_words(make: Any, stream: Any) -> None:
    cell, pinned = device_memory(make, np.zeros(8, np.uint32)), make("host", 32)
    ok(lib.aclrtMemsetD32(cell, 32, 0xDEADBEEF, 3))
    ok(lib.aclrtMemsetD32Async(cell, 32, 5, 1, stream))
    ok(lib.aclrtMemsetD32Async(pinned, 32, 6, 2, stream))
    assert read(pinned, 2, np.uint32).tolist() == [6, 6]  # host memory is filled at once
    ok(lib.aclrtSynchronizeStream(stream))
    assert read(cell, 4, np.uint32).tolist() == [5, 0xDEADBEEF, 0xDEADBEEF, 0]
    assert lib.aclrtMemsetD32(at(np.zeros(8, np.uint32)), 32, 1, 1) != 0


def test_batches(make: Any, stream: Any) -> None:
    data = [np.full(16, i, np.uint8) for i in range(4)]
    cells = [device_memory(make, np.zeros(16, np.uint8)) for _ in data]
    pointers = ffi.new("void *[]", cells)
    sources = ffi.new("void *[]", [at(d) for d in data])
    sizes = ffi.new("size_t[]", [16] * 4)
    rule = ffi.new("aclrtMemcpyBatchAttr *")
    rule.dstLoc.type, rule.srcLoc.type = lib.ACL_MEM_LOCATION_TYPE_DEVICE, lib.ACL_MEM_LOCATION_TYPE_HOST
    first, fail = ffi.new("size_t[]", [0]), ffi.new("size_t *")
    ok(lib.aclrtMemcpyBatch(pointers, sizes, sources, sizes, 4, rule, first, 1, fail))
    assert [int(read(c, 16).sum()) for c in cells] == [0, 16, 32, 48]
    assert fail[0] == 2**64 - 1
    sources[2] = cells[0]
    assert lib.aclrtMemcpyBatch(pointers, sizes, sources, sizes, 4, rule, first, 1, fail) == lib.ACL_ERROR_INVALID_PARAM
    assert fail[0] == 2
    assert lib.aclrtMemcpyBatchV2(pointers, sizes, sources, sizes, 4, rule, ffi.new("size_t[]", [1]), 1) != 0
    pinned = make("host", 64)
    ok(lib.aclrtMemset(pinned, 64, 9, 64))
    for i in range(4):
        sources[i] = ffi.cast("char *", pinned) + 16 * i
    ok(lib.aclrtMemcpyBatchAsyncV2(pointers, sizes, sources, sizes, 4, rule, first, 1, stream))
    ok(lib.aclrtSynchronizeStream(stream))
    assert [int(read(c, 16).sum()) for c in cells] == [144] * 4


def test_copies_through_pointers_and_descriptions(make: Any, stream: Any) -> None:
    data = np.arange(32, dtype=np.uint8)
    origin, target = device_memory(make, data), device_memory(make, np.zeros(32, np.uint8))
    cells = [device_memory(make, np.array([number(p)], np.uint64)) for p in (target, origin)]
    cast = [ffi.cast("void **", c) for c in cells]
    ok(lib.aclrtMemcpyAsyncWithOffset(cast[0], 4, 8, ffi.cast("const void **", cast[1]), 4, 16,
                                      KINDS["INNER_DEVICE_TO_DEVICE"], stream))
    ok(lib.aclrtSynchronizeStream(stream))
    assert read(target, 32).tolist() == [0] * 8 + [16, 17, 18, 19] + [0] * 20
    size = ffi.new("size_t *")
    kind = KINDS["INNER_DEVICE_TO_DEVICE"]
    ok(lib.aclrtGetMemcpyDescSize(kind, size))
    description = make("device", size[0], 0)
    ok(lib.aclrtSetMemcpyDesc(description, kind, origin, target, 32, NULL))
    ok(lib.aclrtMemcpyAsyncWithDesc(description, kind, stream))
    ok(lib.aclrtSynchronizeStream(stream))
    assert (read(target, 32) == data).all()
    ok(lib.aclrtMemset(description, size[0], 0, size[0]))
    ok(lib.aclrtMemcpyAsyncWithDesc(description, kind, stream))
    assert lib.aclrtSynchronizeStream(stream) != 0


@pytest.mark.parametrize(("kind", "function"), [("SUM", np.add), ("MAX", np.maximum), ("MIN", np.minimum)])
@pytest.mark.parametrize(("code", "dtype"), [(lib.ACL_FLOAT, np.float32), (lib.ACL_FLOAT16, np.float16),
                                             (lib.ACL_INT8, np.int8), (lib.ACL_INT32, np.int32)])
def test_reductions(make: Any, stream: Any, kind: str, function: Any, code: int, dtype: Any) -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.integers(-50, 50, 33).astype(dtype) for _ in range(2))
    cell, other = device_memory(make, a), device_memory(make, b)
    ok(lib.aclrtReduceAsync(cell, other, a.nbytes, getattr(lib, f"ACL_RT_MEMCPY_SDMA_AUTOMATIC_{kind}"), code, stream,
                            NULL))
    ok(lib.aclrtSynchronizeStream(stream))
    assert (read(cell, 33, dtype) == function(a, b)).all()


# Asking

def test_what_a_pointer_is(make: Any) -> None:
    pointer, pinned = make("device", 64, 0), make("host", 64)
    managed = out("void **", lib.aclrtMemAllocManaged, 64, lib.ACL_RT_MEM_ATTACH_GLOBAL)
    gone = out("void **", lib.aclrtMalloc, 64, 0)
    ok(lib.aclrtFree(gone))
    found = ffi.new("aclrtPtrAttributes *")
    types = []
    for each in (pointer, ffi.cast("char *", pointer) + 63, pinned, managed, at(np.zeros(8)), gone):
        ok(lib.aclrtPointerGetAttributes(each, found))
        types.append(found.location.type)
    kinds = [getattr(lib, f"ACL_MEM_LOCATION_TYPE_{n}") for n in ("DEVICE", "HOST", "MANAGED", "UNREGISTERED")]
    assert types == [kinds[0], kinds[0], kinds[1], kinds[2], kinds[3], kinds[3]]
    result = ffi.new("uint32_t *")
    device_type, one = lib.ACL_RT_MEM_TYPE_DEV, ffi.new("void *[]", [pointer])
    for pointers, expected in (([pointer, managed], 1), ([pointer, pinned], 0), ([gone], 0)):
        ok(lib.aclrtCheckMemType(ffi.new("void *[]", pointers), len(pointers), device_type, result, 0))
        assert result[0] == expected
    assert lib.aclrtCheckMemType(one, 0, device_type, result, 0) == lib.ACL_ERROR_INVALID_PARAM
    base, size = ffi.new("void **"), ffi.new("size_t *")
    ok(lib.aclrtMemGetAddressRange(ffi.cast("char *", pointer) + 10, base, size))
    assert (base[0], size[0]) == (pointer, 64)
    ffi.cast("uint8_t *", managed)[5] = 77  # the host sees managed memory directly
    assert read(managed, 6)[5] == 77
    ok(lib.aclrtFree(managed))


def test_registering_host_memory(make: Any, stream: Any, page: np.ndarray) -> None:
    pointer, mapped = at(page), ffi.new("void **")
    assert lib.aclrtHostUnregister(pointer) == lib.ACL_ERROR_HOST_MEMORY_NOT_REGISTERED
    assert lib.aclrtHostRegister(pointer + 1, 64, lib.ACL_HOST_REGISTER_MAPPED, mapped) != 0
    ok(lib.aclrtHostRegister(pointer, 4096, lib.ACL_HOST_REGISTER_MAPPED, mapped))
    assert lib.aclrtHostRegister(pointer, 4096, 0, mapped) == lib.ACL_ERROR_HOST_MEMORY_ALREADY_REGISTERED
    again = ffi.new("void **")
    ok(lib.aclrtHostGetDevicePointer(pointer, again, 0))
    assert again[0] == mapped[0]
    assert lib.aclrtHostGetDevicePointer(pointer, again, 1) == lib.ACL_ERROR_INVALID_PARAM
    cell = device_memory(make, np.full(16, 3, np.uint8))
    gate = blocked(make, stream)
    ok(lib.aclrtMemcpyAsync(pointer, 16, cell, 16, D2H, stream))
    assert not page.any(), "registered memory is pinned, so the copy is asynchronous"
    release(gate)
    ok(lib.aclrtSynchronizeStream(stream))
    assert page[:16].tolist() == [3] * 16
    ok(lib.aclrtHostUnregister(pointer))
    assert lib.aclrtHostUnregister(pointer) == lib.ACL_ERROR_HOST_MEMORY_NOT_REGISTERED
    pinned = make("host", 4096)
    assert lib.aclrtHostRegisterV2(pinned, 4096, lib.ACL_HOST_REG_PINNED) != 0
    assert lib.aclrtHostRegisterV2(pointer, 4096, lib.ACL_HOST_REG_IOMEMORY) == lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT


# Addresses and memory apart

def physical(size: int) -> Any:
    prop = ffi.new("aclrtPhysicalMemProp *")
    prop.memAttr, prop.location.type = lib.ACL_HBM_MEM_HUGE, lib.ACL_MEM_LOCATION_TYPE_DEVICE
    grain = ffi.new("size_t *")
    ok(lib.aclrtMemGetAllocationGranularity(prop, lib.ACL_RT_MEM_ALLOC_GRANULARITY_MINIMUM, grain))
    assert size % grain[0] == 0
    return out("aclrtDrvMemHandle *", lib.aclrtMallocPhysical, size, prop, 0)


def test_reserve_map_use_unmap_release() -> None:
    grain = 2 << 20
    before = memory_info()[0]
    where = out("void **", lib.aclrtReserveMemAddress, 4 * grain, 0, NULL, 0)
    assert lib.aclrtMemset(where, 8, 0, 8) != 0  # nothing is mapped yet
    handle = physical(grain)
    assert before - memory_info()[0] == grain
    second = ffi.cast("void *", number(where) + grain)
    assert lib.aclrtMapMem(where, 2 * grain, 0, handle, 0) != 0
    for each in (where, second):  # the same memory at two addresses
        ok(lib.aclrtMapMem(each, grain, 0, handle, 0))
    assert lib.aclrtMapMem(where, grain, 0, handle, 0) != 0
    ok(lib.aclrtMemset(where, grain, 5, grain))
    assert read(second, 16).tolist() == [5] * 16
    assert lib.aclrtReleaseMemAddress(where) != 0
    assert lib.aclrtFree(where) != 0
    ok(lib.aclrtFreePhysical(handle))
    ok(lib.aclrtUnmapMem(where))
    assert memory_info()[0] < before  # still mapped once
    ok(lib.aclrtUnmapMem(second))
    assert memory_info()[0] == before
    assert lib.aclrtUnmapMem(second) != 0
    assert lib.aclrtMemset(where, 8, 0, 8) != 0
    ok(lib.aclrtReleaseMemAddress(where))
    assert lib.aclrtReleaseMemAddress(where) != 0
    assert lib.aclrtFreePhysical(handle) == lib.ACL_ERROR_RT_INVALID_HANDLE


def test_pools(stream: Any) -> None:
    before = memory_info()[0]
    props = ffi.new("aclrtMemPoolProps *")
    props.location.type = lib.ACL_MEM_LOCATION_TYPE_DEVICE
    pool = out("aclrtMemPool *", lib.aclrtMemPoolCreate, props)
    value = ffi.new("uint64_t *", 8 << 20)
    ok(lib.aclrtMemPoolSetAttr(pool, lib.ACL_RT_MEM_POOL_ATTR_RELEASE_THRESHOLD, value))
    pointer = out("void **", lib.aclrtMemPoolMallocAsync, 3 << 20, pool, stream)
    ok(lib.aclrtMemsetAsync(pointer, 3 << 20, 4, 3 << 20, stream))
    ok(lib.aclrtSynchronizeStream(stream))
    assert read(pointer, 4).tolist() == [4] * 4
    assert lib.aclrtFree(pointer) == lib.ACL_ERROR_RT_MEMORY_FREE
    assert lib.aclrtMemPoolDestroy(pool) != 0
    ok(lib.aclrtMemPoolFreeAsync(pointer, stream))
    # After the free, in the order of the stream: refused at once where work runs at once, else the stream's fault.
    assert lib.aclrtMemsetAsync(pointer, 8, 1, 8, stream) or lib.aclrtSynchronizeStream(stream) >= 500000
    seen = {}
    for name in ("USED_MEM_CURRENT", "USED_MEM_HIGH", "RESERVED_MEM_CURRENT"):
        ok(lib.aclrtMemPoolGetAttr(pool, getattr(lib, f"ACL_RT_MEM_POOL_ATTR_{name}"), value))
        seen[name] = value[0]
    assert seen == {"USED_MEM_CURRENT": 0, "USED_MEM_HIGH": 3 << 20, "RESERVED_MEM_CURRENT": 4 << 20}
    ok(lib.aclrtMemPoolTrimTo(pool, 0))
    assert memory_info()[0] == before
    ok(lib.aclrtMemPoolDestroy(pool))
    assert lib.aclrtMemPoolDestroy(pool) == lib.ACL_ERROR_RT_INVALID_HANDLE


def test_users_allocators(stream: Any) -> None:
    @ffi.callback("aclrtAllocatorAllocFunc")
    def alloc(allocator: Any, size: int) -> Any:
        return NULL

    @ffi.callback("aclrtAllocatorFreeFunc")
    def free(allocator: Any, block: Any) -> None:
        pass

    @ffi.callback("aclrtAllocatorGetAddrFromBlockFunc")
    def address(block: Any) -> Any:
        return NULL

    desc = lib.aclrtAllocatorCreateDesc()
    assert lib.aclrtAllocatorRegister(stream, desc) == lib.ACL_ERROR_INVALID_PARAM  # it has no functions yet
    me = ffi.cast("void *", 0x1000)
    ok(lib.aclrtAllocatorSetObjToDesc(desc, me))
    ok(lib.aclrtAllocatorSetAllocFuncToDesc(desc, alloc))
    ok(lib.aclrtAllocatorSetFreeFuncToDesc(desc, free))
    ok(lib.aclrtAllocatorSetGetAddrFromBlockFuncToDesc(desc, address))
    assert lib.aclrtAllocatorRegister(NULL, desc) == lib.ACL_ERROR_INVALID_PARAM
    ok(lib.aclrtAllocatorRegister(stream, desc))
    found, function = ffi.new("aclrtAllocator *"), ffi.new("aclrtAllocatorAllocFunc *")
    ok(lib.aclrtAllocatorGetByStream(stream, NULL, found, function, NULL, NULL, NULL))
    assert (found[0], function[0]) == (me, alloc)
    ok(lib.aclrtAllocatorDestroyDesc(desc))
    for _ in range(2):
        ok(lib.aclrtAllocatorUnregister(stream))
    assert lib.aclrtAllocatorDestroyDesc(desc) != 0


# Several devices

def test_copies_between_devices_need_access() -> None:
    assert program("""
        lib.aclInit(NULL)
        print(out("uint32_t *", lib.aclrtGetDeviceCount))
        memory = []
        for device in (0, 1):
            lib.aclrtSetDevice(device); memory.append(out("void **", lib.aclrtMalloc, 64, 0))
        can = ffi.new("int32_t *")
        print(lib.aclrtDeviceCanAccessPeer(can, 0, 1), can[0], lib.aclrtDeviceCanAccessPeer(can, 1, 1))
        copy = lambda: lib.aclrtMemcpy(memory[0], 64, memory[1], 64, lib.ACL_MEMCPY_DEVICE_TO_DEVICE)
        print(copy(), lib.aclrtDeviceEnablePeerAccess(0, 1), lib.aclrtDeviceEnablePeerAccess(0, 0), copy())
        print(lib.aclrtDevicePeerAccessStatus(1, 0, can), can[0], lib.aclrtDevicePeerAccessStatus(0, 1, can), can[0])
        print(lib.aclrtDeviceDisablePeerAccess(0), copy(), lib.aclrtDeviceDisablePeerAccess(0))
        print(lib.aclrtResetDevice(1), lib.aclrtFree(memory[0]), lib.aclrtSetDevice(0), lib.aclrtFree(memory[0]))
    """, PYACL_EMULATOR_DEVICES="2").split() == [
        "2", "0", "1", "100000", "107000", "200006", "0", "0", "0", "1", "0", "0", "0", "107000", "107000",
        "0", "107002", "0", "0"]
