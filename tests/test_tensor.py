"""Tensors: made from and fetched as numpy arrays, views as numpy makes them, DLPack, lists."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from helpers import Gate, alive, upload, waits_for_work
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import pyacl
from pyacl import dtypes
from pyacl.capi import ffi, lib

DTYPES = ["float32", "float16", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
          "uint64", "bool", "complex64", "complex128", "float8_e5m2", "float8_e4m3fn", "float8_e8m0fnu", "int4",
          "float4_e2m1fn", "float6_e3m2fn", "float6_e2m3fn"]

ordinary = settings(deadline=None, max_examples=60)
shapes = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5)


@pytest.fixture(autouse=True)
def current(device: Any) -> None:
    device.set_current()


def same(tensor: Any, array: Any) -> None:
    """The tensor is, in all that can be seen, the array."""
    assert tensor.shape == array.shape
    assert tensor.dtype == array.dtype
    found = tensor.numpy()
    assert found.shape == array.shape
    assert found.dtype == array.dtype
    assert found.tobytes() == np.ascontiguousarray(array).tobytes()


# Making and fetching

@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (0,), (2, 0, 3)])
def test_there_and_back_in_every_dtype(name: str, shape: Any) -> None:
    kind = dtypes.to_dtype(name)
    array = (np.arange(int(np.prod(shape))).reshape(shape) % 7).astype(kind)
    tensor = upload(array)
    same(tensor, array)
    assert tensor.nbytes == dtypes.nbytes(kind, array.size)
    assert tensor.acl_dtype == dtypes.to_acl(name)
    assert tensor.itemsize == kind.itemsize
    assert (tensor.ndim, tensor.size) == (array.ndim, array.size)


@ordinary
@given(st.data())
def test_arrays_that_are_not_contiguous_arrive_whole(data: Any) -> None:
    base = np.arange(240).reshape(4, 3, 5, 4).astype(data.draw(st.sampled_from(["i4", "f8", ml_dtypes.bfloat16, ">i2"])))
    array = base.transpose(data.draw(st.permutations(range(4))))
    array = array[tuple(slice(None, None, data.draw(st.sampled_from([1, 2, -1, -2]))) for _ in range(4))]
    if data.draw(st.booleans()):
        array = np.broadcast_to(array[:, :1], array.shape)
    tensor = upload(array)
    assert tensor.contiguous
    assert tensor.dtype.isnative
    assert np.array_equal(tensor.numpy().astype(np.float64), array.astype(np.float64))


def test_what_numpy_takes_is_taken() -> None:
    same(upload([[1, 2], [3, 4]]), np.array([[1, 2], [3, 4]]))
    same(upload(3.5), np.array(3.5))
    same(upload(np.float32(3.5)), np.array(3.5, np.float32))
    same(upload([1, 2], dtype="bfloat16"), np.array([1, 2], ml_dtypes.bfloat16))
    frozen = np.arange(3)
    frozen.flags.writeable = False
    same(upload(frozen), frozen)


@pytest.mark.parametrize("wrong", [["a"], [None], [{}], np.array(["2020-01-01"], "M8[D]"), [b"x"]])
def test_what_has_no_dtype_on_the_device(wrong: Any) -> None:
    with pytest.raises(TypeError, match="no counterpart|data type"):
        upload(np.array(wrong))


def test_factories() -> None:
    same(pyacl.Tensor.zeros((2, 3), "float16"), np.zeros((2, 3), np.float16))
    same(pyacl.Tensor.full((2,), 7, np.int8), np.full(2, 7, np.int8))
    empty = pyacl.Tensor.empty(5)
    assert (empty.shape, empty.dtype) == ((5,), np.dtype("float32"))
    assert pyacl.Tensor.empty(()).shape == ()
    sizes: Any = [2, np.int64(3)]
    assert pyacl.Tensor.empty(sizes).shape == (2, 3)
    for shape in ((-1,), (2, -3)):
        with pytest.raises(ValueError, match="no negative sizes"):
            pyacl.Tensor.empty(shape)
    for wrong in ("ab", 1.5, (1.5,), None):
        with pytest.raises(TypeError):
            pyacl.Tensor.empty(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="'float23' is not a data type"):
        pyacl.Tensor.empty(3, "float23")


def test_on_a_stream(stream: Any) -> None:
    x = pyacl.Tensor.zeros(4, stream=stream)
    y = upload(np.arange(4, dtype=np.float32), stream=stream)
    pyacl.ops.aclnnAdd(x, y, 1, x, stream=stream)
    assert np.array_equal(x.numpy(stream=stream), np.arange(4))
    with pyacl.HostBuffer.from_numpy(np.arange(4, dtype=np.float32)) as pinned:
        z = upload(pinned.numpy.view(np.float32), stream=stream)
        stream.synchronize()
        assert np.array_equal(z.numpy(), np.arange(4))


def test_numpy_does_not_wait_for_queued_work(stream: Any) -> None:
    x = pyacl.Tensor.zeros(4)
    gate = Gate(stream)
    pyacl.ops.aclnnAdds(x, 1.0, 1, x, stream=stream)
    assert not x.numpy().any()
    gate.open()
    stream.synchronize()
    assert x.numpy().all()
    gate.close()


def test_it_says_what_it_is() -> None:
    x = upload(np.zeros((2, 3), np.float32))
    assert repr(x) == "<pyacl.Tensor (2, 3) float32>"
    assert repr(x.T) == "<pyacl.Tensor (3, 2) float32 strides (1, 3)>"
    assert "offset 3" in repr(x[1])
    image = pyacl.Tensor.empty((1, 3, 4, 4), format="NCHW")
    assert image.format is pyacl.Format.NCHW
    assert "NCHW" in repr(image)
    assert x.device_id == 0
    with pytest.raises(ValueError, match="no tensor format"):
        pyacl.Tensor.empty(3, format="NHCW")


# Over a buffer

def test_a_tensor_over_a_buffer() -> None:
    with pyacl.DeviceBuffer(48) as buffer:
        buffer.copy_from(np.arange(12, dtype=np.float32))
        x = pyacl.Tensor(buffer, (2, 3), "float32", strides=(1, 4), offset=1)
        assert np.array_equal(x.numpy(), np.lib.stride_tricks.as_strided(np.arange(1, 12, dtype=np.float32), (2, 3),
                                                                         (4, 16)))
        assert x.address == buffer.address + 4
        same(pyacl.Tensor.from_buffer(buffer, 12, np.float32), np.arange(12, dtype=np.float32))
        x.close()
        assert not buffer.closed
        for bad, words in (({"shape": 13}, "needs 52 bytes, but its buffer has 48"), ({"shape": 12, "offset": 1}, "52"),
                           ({"shape": 3, "strides": (6,)}, "52"), ({"shape": 3, "strides": (-1,)}, "reversed"),
                           ({"shape": 3, "offset": -1}, "negative"), ({"shape": 3, "strides": (1, 1)}, "2 strides")):
            with pytest.raises(ValueError, match=words):
                pyacl.Tensor(buffer, dtype="float32", **bad)
    with pytest.raises(pyacl.ClosedError):
        pyacl.Tensor(buffer, 3, "float32")


class Foreign:
    """A tensor of another library on the NPU."""

    def __init__(self, tensor: Any, where: str = "npu") -> None:
        self.tensor, self.shape = tensor, tensor.shape
        self.dtype = f"torch.{tensor.dtype}"
        self.device = type("Device", (), {"type": where})()

    def data_ptr(self) -> int:
        return int(self.tensor.address)

    def stride(self) -> Any:
        return self.tensor.strides


def test_a_tensor_of_another_library() -> None:
    owner = Foreign(upload(np.arange(12.0).reshape(3, 4)).T)
    gone = weakref.ref(owner)
    view = pyacl.Tensor.from_data_ptr(owner)
    del owner
    gc.collect()
    assert np.array_equal(view.numpy(), np.arange(12.0).reshape(3, 4).T)
    assert gone() is not None
    view.close()
    del view
    assert not alive(gone)
    with pytest.raises(ValueError, match=r"on 'cpu', not on an NPU"):
        pyacl.Tensor.from_data_ptr(Foreign(upload([1.0]), "cpu"))


class ForeignView(Foreign):
    """One that tells its storage, as PyTorch's tensors do."""

    def untyped_storage(self) -> Any:
        buffer = self.tensor.buffer
        return type("Storage", (), {"data_ptr": lambda _: buffer.address, "nbytes": lambda _: buffer.nbytes})()

    def storage_offset(self) -> int:
        return int(self.tensor.offset)


def test_a_view_of_another_library_starts_where_its_storage_does() -> None:
    """Addresses are to be aligned to 32 bytes; what a view begins with is said by its offset."""
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    there = upload(array)
    for part, wanted in ((there, array), (there[1:, 1:], array[1:, 1:]), (there.T[2], array.T[2])):
        view = pyacl.Tensor.from_data_ptr(ForeignView(part))
        assert (view.buffer.address, view.offset) == (there.buffer.address, part.offset)
        assert view.address == part.address
        assert np.array_equal(view.numpy(), wanted)
        out = pyacl.Tensor.zeros(wanted.shape)
        pyacl.ops.aclnnNeg(ForeignView(part), out)  # type: ignore[arg-type]
        pyacl.Stream.default().synchronize()
        assert np.array_equal(out.numpy(), -wanted)
    with pyacl.Executor("aclnnNeg", there[1], pyacl.Tensor.zeros(4), repeatable=True) as neg:
        neg.set_input(0, pyacl.Tensor.from_data_ptr(ForeignView(upload(array)[1])))


# Views: numpy says what they must be

@st.composite
def views(draw: Any) -> Any:
    """An array, a tensor of it, and the same view of both."""
    shape = draw(shapes)
    kind = draw(st.sampled_from(["float32", "int64", "bfloat16", "uint8"]))
    array = np.arange(int(np.prod(shape))).reshape(shape).astype(dtypes.to_dtype(kind))
    tensor = upload(array)
    for _ in range(draw(st.integers(1, 4))):
        what = draw(st.sampled_from(["index", "transpose", "expand", "reshape", "unsqueeze", "squeeze", "swap"]))
        if what == "index":
            key = draw(hnp.basic_indices(array.shape, allow_newaxis=True, allow_ellipsis=True, max_dims=7))
            if any(isinstance(k, slice) and (k.step or 1) < 0 for k in (key if isinstance(key, tuple) else (key,))):
                continue
            array, tensor = np.asarray(array[key]), tensor[key]
        elif what == "transpose":
            axes = draw(st.permutations(range(array.ndim)))
            array, tensor = array.transpose(axes), tensor.transpose(*axes)
        elif what == "swap" and array.ndim > 1:
            array, tensor = array.swapaxes(0, -1), tensor.swapaxes(0, -1)
        elif what == "expand" and array.ndim < 6:
            wanted = tuple(draw(st.integers(0, 3)) if n == 1 else n for n in array.shape)
            wanted = (*draw(st.lists(st.integers(0, 2), max_size=1)), *wanted)
            array, tensor = np.broadcast_to(array, wanted), tensor.expand(*wanted)
        elif what == "unsqueeze" and array.ndim < 6:
            axis = draw(st.integers(-array.ndim - 1, array.ndim))
            array, tensor = np.expand_dims(array, axis), tensor.unsqueeze(axis)
        elif what == "squeeze":
            array, tensor = array.squeeze(), tensor.squeeze()
        elif what == "reshape" and array.size:
            wanted = draw(st.sampled_from([(-1,), (array.size,), (1, array.size, 1), (2, -1), (-1, 2),
                                           array.shape[::-1]]))
            if -1 in wanted and array.size % 2:
                continue
            view = array.view()
            try:
                view.shape = tuple(array.size // 2 if n == -1 and 2 in wanted else array.size if n == -1 else n
                                   for n in wanted)
            except AttributeError:
                with pytest.raises(ValueError, match="without a copy"):
                    tensor.reshape(*wanted)
                continue
            array, tensor = view, tensor.reshape(wanted)
    return array, tensor


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")
@ordinary
@given(views())
def test_views_are_those_of_numpy(pair: Any) -> None:
    array, tensor = pair
    same(tensor, array)
    assert all(n >= 0 for n in tensor.strides)
    if array.size:
        assert tensor.contiguous == array.flags.c_contiguous
        for size, mine, step in zip(array.shape, tensor.strides, array.strides):
            assert size == 1 or mine * array.itemsize == step


@pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")
@ordinary
@given(views())
def test_operators_read_views(pair: Any) -> None:
    array, tensor = pair
    if not array.size or array.ndim > 8:
        return
    out = pyacl.Tensor.empty(array.shape, array.dtype)
    pyacl.ops.aclnnAdd(tensor, tensor, 1, out)
    pyacl.Stream.default().synchronize()
    assert np.array_equal(out.numpy(), array + array)


@ordinary
@given(st.data())
def test_writing_to_a_view_changes_that_part_alone(data: Any) -> None:
    array = np.arange(60).reshape(3, 4, 5)
    tensor = upload(array)
    key = data.draw(hnp.basic_indices(array.shape).filter(
        lambda k: all(not isinstance(p, slice) or (p.step or 1) > 0 for p in (k if isinstance(k, tuple) else (k,)))))
    part = array[key]
    values = np.asarray(-part - 1)
    assert tensor[key].copy_(values) is not None
    array[key] = values
    same(tensor, array)
    if values.size:
        tensor[key].transpose().copy_(upload(-values.T))
        array[key] = -values
        same(tensor, array)


def test_views_of_reversed_steps_and_by_lists_are_refused() -> None:
    x = upload(np.arange(12).reshape(3, 4))
    with pytest.raises(ValueError, match="aclnnFlip"):
        x[::-1]
    for key in ([0, 1], np.array([0]), True, "a", 1.0, x, slice("a", None)):
        with pytest.raises(TypeError):
            x[key]
    for key in (3, (0, 4), (0, 0, 0), -4):
        with pytest.raises(IndexError):
            x[key]
    with pytest.raises(ValueError):
        x.transpose(0, 0)
    with pytest.raises(ValueError):
        x.expand(2, 4)
    for shape in ((5, -1), (13,), (-1, -1), (-2, -6)):
        with pytest.raises(ValueError):
            x.reshape(shape)
    with pytest.raises(ValueError):
        x.squeeze(0)


def test_a_sequence_of_rows() -> None:
    array = np.arange(6).reshape(3, 2)
    x = upload(array)
    assert len(x) == 3
    assert [list(row.numpy()) for row in x] == array.tolist()
    for use in (lambda: len(upload(1)), lambda: bool(x), lambda: iter(upload(1)).__next__()):
        with pytest.raises(TypeError):
            use()


def test_formats_of_views() -> None:
    x = pyacl.Tensor.empty((2, 3, 4, 5), format="NCHW")
    assert x.transpose(0, 1, 3, 2).format is pyacl.Format.NCHW
    assert x[0].format is pyacl.Format.ND
    assert x.reshape(6, 20).format is pyacl.Format.ND
    private = pyacl.Tensor.empty((16, 16), "float16", format="FRACTAL_NZ")
    with pytest.raises(ValueError, match="private layout"):
        private[0]
    assert private.numpy().shape == (16, 16)


def test_the_c_side_agrees() -> None:
    x = upload(np.arange(24, dtype=np.int16).reshape(2, 3, 4), format="NCL")[1:, :, 1:3].transpose(2, 0, 1)
    value, dtype, form = ffi.new("int64_t *"), ffi.new("aclDataType *"), ffi.new("aclFormat *")
    assert lib.aclGetViewOffset(x.handle, value) == 0
    assert lib.aclGetDataType(x.handle, dtype) == 0
    assert lib.aclGetFormat(x.handle, form) == 0
    assert (value[0], dtype[0], form[0]) == (x.offset, lib.ACL_INT16, lib.ACL_FORMAT_NCL)
    assert x.address == x.buffer.address + 2 * x.offset
    assert (x.strides, x.offset) == ((1, 12, 4), 13)


# Life

def test_views_keep_the_memory() -> None:
    x = upload(np.arange(12.0).reshape(3, 4))
    row = x[1]
    del x
    gc.collect()
    assert np.array_equal(row.numpy(), np.arange(4.0, 8))


def test_closing_the_owner_ends_its_views() -> None:
    x = upload(np.arange(4.0))
    view = x[1:]
    view.close()
    same(x, np.arange(4.0))
    view = x[1:]
    x.close()
    for use in (view.numpy, lambda: view.handle, lambda: view[0], lambda: view.address, lambda: view.copy_([1, 2, 3]),
                x.numpy, lambda: x[0], lambda: x.handle, lambda: np.from_dlpack(x),
                lambda: pyacl.ops.aclnnAdd(view, view, 1, view)):
        with pytest.raises(pyacl.ClosedError):
            use()


def test_closing_waits_while_it_is_used(stream: Any) -> None:
    x, out = upload(np.arange(4, dtype=np.float32)), pyacl.Tensor.zeros(4)
    gate = Gate(stream)
    pyacl.ops.aclnnAdd(x[...], x, 1, out, stream=stream)
    assert waits_for_work(gate, x.close)
    assert np.array_equal(out.numpy(), 2 * np.arange(4))


def test_copies() -> None:
    x, y = upload(np.arange(6.0).reshape(2, 3)), pyacl.Tensor.zeros((2, 3), np.float64)
    assert y.copy_(x) is y
    same(y, x.numpy())
    y.copy_(np.ones((2, 3), np.int8))  # arrays are cast
    same(y, np.ones((2, 3)))
    y.T.copy_(x.T)
    same(y, x.numpy())
    with pytest.raises(ValueError, match="cannot copy a float64 tensor of shape"):
        y.copy_(x[0])
    with pytest.raises(ValueError, match="cannot copy a float32 tensor"):
        y.copy_(pyacl.Tensor.zeros((2, 3)))
    with pytest.raises(ValueError, match="cannot copy an array of shape"):
        y.copy_(np.ones(3))


def test_copies_on_a_stream(stream: Any) -> None:
    x, y = upload(np.arange(6.0)), pyacl.Tensor.zeros(6, np.float64)
    gate = Gate(stream)
    y.copy_(x, stream=stream)
    assert not y.numpy().any()
    gate.open()
    stream.synchronize()
    gate.close()
    same(y, np.arange(6.0))
    y[::2].copy_(np.zeros(3), stream=stream)
    stream.synchronize()
    same(y, np.array([0, 1, 0, 3, 0, 5.0]))


def test_packed_types_are_copied_whole() -> None:
    x = upload(np.arange(6).astype(ml_dtypes.int4))
    assert x.nbytes == 3
    same(x[2:4], np.array([2, 3], ml_dtypes.int4))
    for view in (x[::2], x[1:]):
        with pytest.raises(ValueError, match="not dense"):
            view.numpy()


def test_memory_that_is_not_dense_is_not_copied_as_bytes() -> None:
    x = upload(np.arange(6.0).reshape(2, 3))
    with pytest.raises(ValueError, match="not dense"):
        pyacl.memcpy(np.zeros(6), x.T)


# DLPack

PLAIN = ["float32", "float16", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
         "bool", "complex64", "complex128"]


class OnNpu:
    """What another library gives for memory on the NPU."""

    def __init__(self, tensor: Any, **changed: Any) -> None:
        self.tensor, self.index = tensor, changed.get("index", 0)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 12, self.index

    def __dlpack__(self, **_: Any) -> Any:
        return self.tensor.__dlpack__(dl_device=(12, 0))


@pytest.mark.parametrize("name", PLAIN)
def test_numpy_takes_tensors_by_dlpack(name: str) -> None:
    array = (np.arange(12).reshape(3, 4) % 5).astype(name)
    assert np.array_equal(np.from_dlpack(upload(array)), array)
    assert np.array_equal(np.from_dlpack(upload(array).T[1:]), array.T[1:])
    same(pyacl.Tensor.from_dlpack(array[:, ::2]), array[:, ::2])
    same(pyacl.Tensor.from_dlpack(array[::-1]), array[::-1])
    same(pyacl.Tensor.from_dlpack(array[:0]), array[:0])


@pytest.mark.parametrize("name", [*(n for n in PLAIN if n not in ("uint16", "uint32", "uint64")), "bfloat16"])
def test_torch_takes_and_gives_tensors_by_dlpack(name: str) -> None:
    torch = pytest.importorskip("torch")
    array = (np.arange(12).reshape(3, 4) % 5).astype(dtypes.to_dtype(name))
    there = torch.from_dlpack(upload(array))
    assert str(there.dtype) == f"torch.{name}"
    assert there.to(torch.complex128).numpy().tolist() == array.astype(complex).tolist()
    same(pyacl.Tensor.from_dlpack(there.T), array.T)


def test_memory_on_the_npu_is_shared_by_dlpack() -> None:
    x = upload(np.arange(12, dtype=np.float32).reshape(3, 4))
    for part in (x, x.T, x[1:, ::2], x[:, :1].expand(3, 5)):
        view = pyacl.Tensor.from_dlpack(OnNpu(part))
        assert (view.address, view.shape, view.dtype) == (part.address, part.shape, part.dtype)
        same(view, part.numpy())
    gone = weakref.ref(x)
    view = pyacl.Tensor.from_dlpack(OnNpu(x))
    del x, part
    assert alive(gone)
    view.copy_(np.ones((3, 4)))
    same(gone(), np.ones((3, 4), np.float32))
    del view
    assert not alive(gone)
    other = pyacl.Tensor.from_dlpack(upload([1.0]))
    same(other, np.array([1.0]))


def test_an_unused_capsule_lets_go() -> None:
    x = upload([1.0])
    gone = weakref.ref(x)
    capsule = x.__dlpack__(dl_device=(12, 0))
    del x
    assert alive(gone)
    del capsule
    assert not alive(gone)


def test_what_dlpack_cannot_do() -> None:
    x = upload(np.arange(4.0))
    with pytest.raises(BufferError, match="copy only"):
        np.from_dlpack(x, copy=False) if np.lib.NumpyVersion(np.__version__) >= "2.1.0" else x.__dlpack__(copy=False)
    with pytest.raises(BufferError, match="copy_"):
        x.__dlpack__(dl_device=(12, 0), copy=True)
    for wrong in ((2, 0), (12, 5)):
        with pytest.raises(BufferError, match="neither"):
            x.__dlpack__(dl_device=wrong)
    with pytest.raises(BufferError, match=r"cannot carry int4"):
        upload(np.arange(4).astype("int4")).__dlpack__()
    for nothing in (3, [1, 2], "abc", None):
        with pytest.raises(TypeError, match="does not speak DLPack"):
            pyacl.Tensor.from_dlpack(nothing)
    with pytest.raises(BufferError, match="device 3, but this thread uses device 0"):
        pyacl.Tensor.from_dlpack(OnNpu(x, index=3))

    class Cuda(OnNpu):
        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

    with pytest.raises(BufferError, match="neither the host nor an NPU"):
        pyacl.Tensor.from_dlpack(Cuda(x))

    class Used(OnNpu):
        capsule: Any = None

        def __dlpack__(self, **options: Any) -> Any:
            self.capsule = self.capsule or super().__dlpack__()
            return self.capsule

    used = Used(x)
    pyacl.Tensor.from_dlpack(used)
    with pytest.raises(TypeError, match="used before"):
        pyacl.Tensor.from_dlpack(used)


# Lists

def test_a_list_of_tensors() -> None:
    x, y = upload([1.0]), upload([2.0])
    both = pyacl.TensorList([x, y])
    assert len(both) == 2
    assert both[0] is x
    assert list(both) == [x, y]
    size = ffi.new("uint64_t *")
    assert lib.aclGetTensorListSize(both.handle, size) == 0
    assert size[0] == 2
    assert repr(both) == "<pyacl.TensorList of 2>"
    both.close()
    assert x.numpy()[0] == 1  # members stay usable
    gone = weakref.ref(x)
    both = pyacl.TensorList(t for t in (x, y))
    del x
    assert alive(gone)
    both.close()
    for wrong in ([1], [None], 5, "ab"):
        with pytest.raises(TypeError):
            pyacl.TensorList(wrong)  # type: ignore[arg-type]
    y.close()
    with pytest.raises(pyacl.ClosedError):
        pyacl.TensorList([y])
