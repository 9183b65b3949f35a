"""Device memory, pinned host memory, and copies of all kinds."""

from __future__ import annotations

import gc
import warnings
import weakref
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from helpers import Gate, alive, python, upload
from hypothesis import given, settings
from hypothesis import strategies as st

import pyacl
from pyacl.capi import ffi, lib


def fetch(buffer: Any, nbytes: int) -> Any:
    out = np.empty(nbytes, np.uint8)
    buffer.copy_to(out)
    return out


def bytes_of(n: int) -> Any:
    return (np.arange(n) % 251).astype(np.uint8)


# Device memory

@pytest.mark.parametrize("nbytes", [1, 7, 4096, 1 << 21, np.int64(9)])
def test_a_device_buffer(device: Any, nbytes: int) -> None:
    with pyacl.DeviceBuffer(nbytes) as buffer:
        assert buffer.nbytes == nbytes
        assert buffer.address % 64 == 0
        assert buffer.address == int(ffi.cast("uintptr_t", buffer.pointer))
        assert repr(buffer) == f"<pyacl.DeviceBuffer {nbytes} bytes at {buffer.address:#x}>"
        data = bytes_of(nbytes)
        buffer.copy_from(data)
        assert np.array_equal(fetch(buffer, nbytes), data)
    with pytest.raises(pyacl.ClosedError):
        buffer.pointer  # noqa: B018


def test_an_empty_buffer(device: Any) -> None:
    with pyacl.DeviceBuffer(0) as buffer:
        assert buffer.nbytes == 0
        buffer.copy_from(b"")
        pyacl.memset(buffer, 0)
        with pytest.raises(ValueError, match="do not fit"):
            buffer.copy_from(b"x")


@pytest.mark.parametrize("wrong", [-1, -(1 << 40)])
def test_a_negative_size(device: Any, wrong: int) -> None:
    for cls in (pyacl.DeviceBuffer, pyacl.HostBuffer):
        with pytest.raises(ValueError, match="negative"):
            cls(wrong)


@pytest.mark.parametrize("wrong", [1.5, "8", None, True, [8]])
def test_a_size_that_is_no_int(device: Any, wrong: Any) -> None:
    for cls in (pyacl.DeviceBuffer, pyacl.HostBuffer):
        with pytest.raises(TypeError, match="a size in bytes is an int"):
            cls(wrong)


@pytest.mark.parametrize("policy", ["huge_first", "huge_only", "NORMAL_ONLY", 0])
def test_policies(device: Any, policy: Any) -> None:
    pyacl.DeviceBuffer(64, policy=policy).close()
    with pytest.raises(ValueError, match="not known"):
        pyacl.DeviceBuffer(64, policy="nowhere")


def test_out_of_memory_says_how_much_there_is(device: Any) -> None:
    free, total = device.memory
    with pytest.raises(MemoryError) as caught:
        pyacl.DeviceBuffer(total + 1)
    assert isinstance(caught.value, pyacl.OutOfMemoryError)
    notes = caught.value.__notes__  # type: ignore[attr-defined, unused-ignore]
    assert f"{total + 1} bytes were asked for" in notes[0]
    assert str(total) in notes[0]
    assert device.memory.free == free


def test_out_of_memory_by_many_and_room_again_after_closing() -> None:
    assert python("""
    device = pyacl.Device(0)
    kept = []
    try:
        while True: kept.append(pyacl.DeviceBuffer(1 << 20))
    except pyacl.OutOfMemoryError: print(3 < len(kept) <= 8)
    try: pyacl.Tensor.empty((1 << 20,))
    except MemoryError: print("tensor too")
    kept.pop().close()
    pyacl.DeviceBuffer(1 << 20).close()
    device.close()
    """, PYACL_EMULATOR_MEMORY="8M") == "True\ntensor too\n"


def test_a_buffer_of_another_library(device: Any) -> None:
    class Owner:
        pass

    owner = Owner()
    gone = weakref.ref(owner)
    with pyacl.DeviceBuffer(16) as mine:
        mine.copy_from(bytes_of(16))
        borrowed = pyacl.DeviceBuffer.from_address(mine.address, 16, owner=owner)
        del owner
        assert not borrowed.owned
        assert "not owned" in repr(borrowed)
        assert np.array_equal(fetch(borrowed, 16), bytes_of(16))
        assert gone() is not None
        borrowed.close()
        assert not alive(gone)
        assert np.array_equal(fetch(mine, 16), bytes_of(16))  # not freed
    with pytest.raises(ValueError, match="address 0"):
        pyacl.DeviceBuffer.from_address(0, 16)


def test_foreign_memory_is_refused_not_read(device: Any) -> None:
    foreign = pyacl.DeviceBuffer.from_address(0x1000, 64)
    with pytest.raises(pyacl.AclError):
        foreign.copy_to(np.empty(64, np.uint8))
    foreign.close()
    gone = pyacl.DeviceBuffer(64)
    stale = pyacl.DeviceBuffer.from_address(gone.address, 64)
    gone.close()
    with pytest.raises(pyacl.AclError):
        stale.copy_to(np.empty(64, np.uint8))
    stale.close()


# Pinned memory

def test_a_host_buffer_is_a_numpy_view(device: Any) -> None:
    with pyacl.HostBuffer(32) as buffer:
        view = buffer.numpy.view(np.float32).reshape(2, 4)
        view[...] = 3
        assert buffer.numpy.nbytes == buffer.nbytes == 32
        assert buffer.numpy.flags.writeable
        assert view.ctypes.data == buffer.address == int(ffi.cast("uintptr_t", buffer.pointer))
        assert pyacl.is_pinned(buffer)
        assert pyacl.is_pinned(view)
        assert not pyacl.is_pinned(np.empty(4))
        with pyacl.DeviceBuffer(8) as device_memory:
            assert not pyacl.is_pinned(device_memory)
        kept = buffer.numpy
    kept[:] = 7  # the memory lives as long as a view of it
    assert (view.view(np.uint8) == 7).all()
    with pytest.raises(pyacl.ClosedError):
        buffer.numpy  # noqa: B018


@pytest.mark.parametrize("dtype", [np.float64, "bfloat16", np.bool_])
def test_a_host_buffer_from_numpy(device: Any, dtype: Any) -> None:
    from pyacl.dtypes import to_dtype

    array = np.arange(12).reshape(3, 4).astype(to_dtype(dtype)).T
    with pyacl.HostBuffer.from_numpy(array) as buffer:
        assert np.array_equal(buffer.numpy.view(array.dtype).reshape(4, 3), array)


# Copies

SIDES = ("device", "pinned", "tensor", "array", "bytearray", "memoryview")


def side(kind: str, data: Any) -> Any:
    """One side of a copy with the bytes `data`, and how to read them back."""
    if kind == "device":
        buffer = pyacl.DeviceBuffer(data.nbytes)
        buffer.copy_from(data)
        return buffer, lambda: fetch(buffer, data.nbytes)
    if kind == "pinned":
        host = pyacl.HostBuffer.from_numpy(data)
        return host, lambda: host.numpy.copy()
    if kind == "tensor":
        tensor = upload(data)
        return tensor, tensor.numpy
    if kind == "array":
        array = data.copy()
        return array, lambda: array
    raw = bytearray(data.tobytes())
    return (raw if kind == "bytearray" else memoryview(raw)), lambda: np.frombuffer(raw, np.uint8)


@pytest.mark.parametrize("target", SIDES)
@pytest.mark.parametrize("source", SIDES)
def test_copies_between_all_kinds(device: Any, stream: Any, target: str, source: str) -> None:
    data = bytes_of(37)
    of, _ = side(source, data)
    for mode in ("sync", "async", "part"):
        to, read = side(target, np.zeros(37, np.uint8))
        if mode == "sync":
            pyacl.memcpy(to, of)
            assert np.array_equal(read(), data)
        elif mode == "part":
            pyacl.memcpy(to, of, 5)
            assert np.array_equal(read(), np.where(np.arange(37) < 5, data, 0))
        elif source in ("device", "tensor") or target in ("device", "tensor"):
            pyacl.memcpy_async(to, of, stream)
            stream.synchronize()
            assert np.array_equal(read(), data)
        else:
            with pytest.raises(pyacl.UnsupportedError):
                pyacl.memcpy_async(to, of, stream)
        if isinstance(to, pyacl.Resource):
            to.close()
    if isinstance(of, pyacl.Resource):
        of.close()


def test_a_target_that_is_too_small(device: Any, stream: Any) -> None:
    with pyacl.DeviceBuffer(8) as small:
        for copy in (lambda: pyacl.memcpy(small, bytes(9)), lambda: pyacl.memcpy_async(small, bytes(9), stream),
                     lambda: small.copy_from(bytes(9)), lambda: small.copy_from(bytes(9), stream=stream)):
            with pytest.raises(ValueError, match="9 bytes do not fit into the target's 8"):
                copy()
        with pytest.raises(ValueError, match="10 bytes were asked for, but the source has 9"):
            pyacl.memcpy(bytearray(20), bytes(9), 10)
        with pytest.raises(ValueError, match="negative"):
            pyacl.memcpy(small, bytes(4), -1)


def test_copy_to_takes_what_fits(device: Any) -> None:
    with pyacl.DeviceBuffer(8) as buffer:
        buffer.copy_from(bytes_of(8))
        part = np.zeros(3, np.uint8)
        buffer.copy_to(part)
        assert np.array_equal(part, bytes_of(3))
        more = np.full(10, 9, np.uint8)
        buffer.copy_to(more)
        assert np.array_equal(more, [*bytes_of(8), 9, 9])


def test_read_only_targets(device: Any) -> None:
    frozen = np.zeros(8, np.uint8)
    frozen.flags.writeable = False
    with pyacl.DeviceBuffer(8) as buffer:
        for target in (bytes(8), frozen, memoryview(bytes(8))):
            with pytest.raises(ValueError, match="read-only"):
                buffer.copy_to(target)
        buffer.copy_from(frozen)


@pytest.mark.parametrize("view", [lambda a: a[:, ::2], lambda a: a.T[1:], lambda a: a[::-1, 1:3], lambda a: a[:, 0],
                                  lambda a: a.view(ml_dtypes.bfloat16)[:, 1:]])
def test_arrays_that_are_not_contiguous_are_copied_in_c_order(device: Any, stream: Any, view: Any) -> None:
    array = view(np.arange(16, dtype=np.uint8).reshape(4, 4))
    with pyacl.DeviceBuffer(64) as buffer:
        for copy in (lambda: pyacl.memcpy(buffer, array), lambda: buffer.copy_from(array),
                     lambda: buffer.copy_from(array, stream=stream)):
            pyacl.memset(buffer, 0xFF)
            copy()
            stream.synchronize()
            dense = np.empty(array.shape, array.dtype)
            buffer.copy_to(dense)
            assert dense.tobytes() == array.tobytes()
        base = np.full((4, 4), 99, np.uint8)
        around, target = base.copy(), view(base)
        buffer.copy_to(target)
        view(around)[...] = array
        assert np.array_equal(base, around)  # and nothing beside it
        target[...] = 0
        pyacl.memcpy(target, buffer, target.itemsize)
        assert target.reshape(-1)[0] == array.reshape(-1)[0]
        assert not target.reshape(-1)[1:].any()
        with pytest.raises(ValueError, match="contiguous"):  # nobody would see when it can be scattered
            pyacl.memcpy_async(target, buffer, stream, target.nbytes)


def test_memory_that_is_not_contiguous_is_refused(device: Any) -> None:
    with pyacl.DeviceBuffer(64) as buffer:
        for memory in (memoryview(bytes(8))[::2], memoryview(bytearray(8))[::-1]):
            with pytest.raises(ValueError, match="contiguous"):
                pyacl.memcpy(buffer, memory)
            with pytest.raises(ValueError, match="contiguous|read-only"):
                pyacl.memcpy(memory, buffer, 4)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, np.float16, np.complex64, np.bool_])
def test_arrays_of_any_dtype(device: Any, dtype: Any) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    with pyacl.DeviceBuffer(array.nbytes) as buffer:
        pyacl.memcpy(buffer, array)
        out = np.zeros_like(array)
        pyacl.memcpy(out, buffer)
        assert out.tobytes() == array.tobytes()


@pytest.mark.parametrize("wrong", [3, "text", None, [1, 2], object()])
def test_what_cannot_be_copied(device: Any, wrong: Any) -> None:
    with pyacl.DeviceBuffer(64) as buffer:
        with pytest.raises(TypeError, match="cannot copy from a"):
            pyacl.memcpy(buffer, wrong)
        with pytest.raises(TypeError, match="cannot copy to a"):
            pyacl.memcpy(wrong, buffer)


def test_closed_sides(device: Any) -> None:
    with pyacl.DeviceBuffer(8) as open_one:
        for make in (lambda: pyacl.DeviceBuffer(8), lambda: pyacl.HostBuffer(8),
                     lambda: upload(np.zeros(8, np.uint8))):
            closed = make()
            closed.close()
            with pytest.raises(pyacl.ClosedError):
                pyacl.memcpy(open_one, closed)
            with pytest.raises(pyacl.ClosedError):
                pyacl.memcpy(closed, open_one)


def test_an_async_copy_keeps_both_sides(device: Any, stream: Any) -> None:
    gate = Gate(stream)
    target, source = pyacl.DeviceBuffer(8), pyacl.HostBuffer.from_numpy(bytes_of(8))
    refs = weakref.ref(target), weakref.ref(source)
    copy = pyacl.HostBuffer(8)
    pyacl.memcpy_async(target, source, stream)
    pyacl.memcpy_async(copy, target, stream)
    with warnings.catch_warnings():  # about both, which nobody closes
        warnings.simplefilter("ignore", ResourceWarning)
        del target, source
        gc.collect()
        assert all(r() is not None for r in refs)
        gate.open()
        stream.synchronize()
        gc.collect()
        assert all(r() is None for r in refs)
    assert np.array_equal(copy.numpy, bytes_of(8))
    gate.close()
    copy.close()


def test_pinned_memory_is_read_when_the_copy_runs(device: Any, stream: Any) -> None:
    """Ordinary memory is taken at once, so that a program may go on writing to it only after a synchronise if pinned."""
    with pyacl.DeviceBuffer(4) as buffer, pyacl.HostBuffer(4) as host:
        host.numpy[:] = 1
        gate = Gate(stream)
        pyacl.memcpy_async(buffer, host, stream)
        host.numpy[:] = 2
        gate.open()
        stream.synchronize()
        assert (fetch(buffer, 4) == 2).all()
        gate.close()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 5), st.integers(0, 5), st.booleans())
def test_rows(device: Any, width: int, height: int, more: int, less: int, queued: bool) -> None:
    device.set_current()
    a, b = width + more, width + less
    if not a or not b:
        return
    source = np.arange(max(1, a * height), dtype=np.uint8)
    target = np.zeros(max(1, b * height), np.uint8)
    expected = target.copy()
    for row in range(height):
        expected[row * b: row * b + width] = source[row * a: row * a + width]
    with pyacl.DeviceBuffer(source.nbytes) as up, pyacl.DeviceBuffer(target.nbytes) as down, pyacl.Stream() as stream:
        up.copy_from(source)
        down.copy_from(target)
        where = stream if queued else None
        if width and height:
            pyacl.memcpy_2d(down, b, up, a, width, height, stream=where)
        stream.synchronize()
        assert np.array_equal(fetch(down, target.nbytes), expected)


def test_rows_that_do_not_fit(device: Any) -> None:
    with pyacl.DeviceBuffer(16) as one, pyacl.DeviceBuffer(15) as two:
        pyacl.memcpy_2d(one, 8, two, 8, 7, 2)
        with pytest.raises(ValueError, match="pitch of 4"):
            pyacl.memcpy_2d(one, 4, two, 8, 5, 1)
        with pytest.raises(ValueError, match="do not fit the source's 15 bytes"):
            pyacl.memcpy_2d(one, 8, two, 8, 8, 2)
        with pytest.raises(ValueError, match="do not fit the target's 16 bytes"):
            pyacl.memcpy_2d(one, 8, two, 5, 5, 3)


def test_memset(device: Any, stream: Any) -> None:
    with pyacl.DeviceBuffer(8) as buffer, pyacl.HostBuffer(8) as host:
        pyacl.memset(buffer, 255)
        pyacl.memset(buffer, 1, 3)
        assert np.array_equal(fetch(buffer, 8), [1, 1, 1, 255, 255, 255, 255, 255])
        pyacl.memset(buffer, 4, stream=stream)
        stream.synchronize()
        assert (fetch(buffer, 8) == 4).all()
        pyacl.memset(host, 6)
        assert (host.numpy == 6).all()
        x = upload(np.ones((2, 3), np.int32))
        pyacl.memset(x, 0)
        assert not x.numpy().any()
        with pytest.raises(ValueError, match="is not a byte"):
            pyacl.memset(buffer, 256)
        with pytest.raises(ValueError, match="do not lie in"):
            pyacl.memset(buffer, 0, 9)
        with pytest.raises(TypeError, match="CANN's memory"):
            pyacl.memset(np.zeros(3), 0)


def test_memory_is_counted(device: Any) -> None:
    lib.aclGetRecentErrMsg()  # what other tests left
    before = pyacl.mem_info()
    several = [pyacl.DeviceBuffer(1000) for _ in range(10)]
    for buffer in several:
        buffer.close()
    assert pyacl.mem_info() == before
    assert lib.aclGetRecentErrMsg() == ffi.NULL
