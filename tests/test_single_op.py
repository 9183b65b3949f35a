"""Single operators by description, compiling, shape inference, models from files, compile options; and their parts:
descriptions, data buffers, attributes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any, Callable

import ml_dtypes
import numpy as np
import pytest

import pyacl
from pyacl import DataBuffer, DeviceBuffer, OpAttr, OpHandle, Stream, Tensor, TensorDesc, lib, single_op
from pyacl.capi import ffi
from pyacl.single_op import compile_options

NULL = ffi.NULL
X = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture(autouse=True)
def _current(device: Any) -> None:
    device.set_current()


def code_of(action: Callable[[], Any]) -> int:
    with pytest.raises(pyacl.AclError) as caught:
        action()
    return caught.value.code


# Descriptions

def test_description() -> None:
    desc = TensorDesc((2, 3), np.float16, "NCHW", name="x")
    assert (desc.shape, desc.dtype, desc.format, desc.name) == ((2, 3), np.dtype("float16"), pyacl.Format.NCHW, "x")
    assert (desc.size, desc.nbytes, desc.dynamic, desc.shape_range) == (6, 12, False, None)
    assert repr(desc) == "<pyacl.TensorDesc float16 (2, 3) NCHW>"


def test_scalar_and_empty_descriptions() -> None:
    assert (TensorDesc((), np.int64).nbytes, TensorDesc((), np.int64).shape) == (8, ())
    assert (TensorDesc((0, 3), np.int64).nbytes, TensorDesc((0, 3), np.int64).size) == (0, 0)
    assert TensorDesc(5, "bfloat16").nbytes == 10
    assert TensorDesc((5,), "int4").nbytes == 3


def test_dynamic_descriptions() -> None:
    desc = TensorDesc((-1, 3), np.float32, shape_range=[(1, 8), (3, 3)])
    assert desc.dynamic
    assert desc.shape == (-1, 3)
    assert desc.shape_range == ((1, 8), (3, 3))
    assert (desc.nbytes, desc.size) == (0, 0)
    assert TensorDesc(None, np.float32).shape is None
    assert TensorDesc((-1,), np.float32, shape_range=[(1, -1)]).shape_range == ((1, -1),)


def test_storage_layout_is_beside_the_original_one() -> None:
    desc = TensorDesc((1, 3, 8, 8), np.float16, "NCHW", storage_format="NC1HWC0", storage_shape=(1, 1, 8, 8, 16))
    assert (desc.shape, desc.format) == ((1, 3, 8, 8), pyacl.Format.NCHW)


def test_unused_description() -> None:
    desc = TensorDesc.unused()
    assert (desc.dtype, desc.shape, desc.format) == (None, (), pyacl.Format.UNDEFINED)


@pytest.mark.parametrize("wrong", [
    lambda: TensorDesc((-3,), np.float32), lambda: TensorDesc((1,), np.float32, "NOPE"),
    lambda: TensorDesc((1,), np.float32, placement="moon"), lambda: TensorDesc((1,) * 129, np.float32),
    lambda: TensorDesc((1,), np.float32, shape_range=[(1, 2, 3)]),
    lambda: TensorDesc((-1,), np.float32, shape_range=[(1, 2), (3, 4)]),
    lambda: TensorDesc((-1,), np.float32, shape_range=[(5, 2)]),
])
def test_wrong_descriptions(wrong: Callable[[], Any]) -> None:
    with pytest.raises(ValueError):
        wrong()


def test_what_has_no_description(stream: Stream) -> None:
    x = Tensor.zeros((2, 3))
    with DeviceBuffer(24) as buffer, pytest.raises(TypeError, match="describe it with a TensorDesc"):
        pyacl.op("Add", [buffer, x], [x], stream=stream)
    with pytest.raises(TypeError, match="give numpy arrays"):
        single_op.infer_shape("Add", [x, x], 1)
    with pytest.raises(ValueError, match="cannot be cast"):
        single_op.cast(x, Tensor.zeros((3,), np.int32))
    with pytest.raises(TypeError):
        single_op.load(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="64 bits"):
        pyacl.OpAttr({"a": 1 << 70})


def test_description_in_c() -> None:
    invalid = lib.ACL_ERROR_INVALID_PARAM
    owner = TensorDesc((2, 3), np.float32)
    desc = owner.handle
    value = ffi.new("int64_t[2]")
    assert lib.aclGetTensorDescDimV2(desc, 2, value) == invalid
    assert lib.aclGetTensorDescDimV2(desc, 0, NULL) == invalid
    assert lib.aclGetTensorDescDimRange(desc, 0, 2, value) == invalid
    assert lib.aclGetTensorDescDim(desc, 9) == -1
    assert lib.aclGetTensorDescDim(desc, 1) == 3
    assert lib.aclCreateTensorDesc(lib.ACL_FLOAT, -1, NULL, lib.ACL_FORMAT_ND) == NULL
    assert lib.aclCreateTensorDesc(lib.ACL_FLOAT, 2, NULL, lib.ACL_FORMAT_ND) == NULL
    assert lib.aclGetTensorDescType(NULL) == lib.ACL_DT_UNDEFINED
    assert lib.aclGetTensorDescFormat(NULL) == lib.ACL_FORMAT_UNDEFINED
    assert lib.aclSetTensorConst(desc, NULL, 4) == invalid
    assert lib.aclSetTensorConst(desc, value, 0) == invalid
    assert lib.aclSetTensorShapeRange(NULL, 0, ffi.new("int64_t[][2]", 1)) == invalid
    huge = TensorDesc((1 << 62, 8), np.float32)
    assert (lib.aclGetTensorDescSize(huge.handle), lib.aclGetTensorDescElementCount(huge.handle)) == (0, 0)
    assert b"64 bits" in ffi.string(lib.aclGetRecentErrMsg())
    trans = ffi.new("aclTensorDesc **")
    assert lib.aclTransTensorDescFormat(desc, lib.ACL_FORMAT_NCHW, trans) != 0
    lib.aclDestroyTensorDesc(NULL)
    lib.aclGetRecentErrMsg()


# Data buffers

def test_data_buffer() -> None:
    x = Tensor.from_numpy(X)
    buffer = DataBuffer(x)
    assert (buffer.address, buffer.nbytes) == (x.address, X.nbytes)
    with DeviceBuffer(64) as memory:
        buffer.update(memory)
        assert (buffer.address, buffer.nbytes, buffer.memory) == (memory.address, 64, memory)
    buffer.update(None)
    assert (buffer.address, buffer.nbytes, buffer.memory) == (0, 0, None)
    buffer.close()
    buffer.close()


def test_data_buffer_in_c() -> None:
    memory = ffi.new("char[4]")
    buffer = lib.aclCreateDataBuffer(memory, 5 << 30)
    assert lib.aclGetDataBufferAddr(buffer) == memory
    assert lib.aclGetDataBufferSizeV2(buffer) == 5 << 30
    assert lib.aclGetDataBufferSize(buffer) == 1 << 30  # 32 bits, as ever
    assert lib.aclUpdateDataBuffer(buffer, memory, 4) == 0
    assert lib.aclGetDataBufferSizeV2(buffer) == 4
    assert lib.aclDestroyDataBuffer(buffer) == 0
    assert lib.aclDestroyDataBuffer(NULL) == lib.ACL_ERROR_INVALID_PARAM
    assert lib.aclGetDataBufferAddr(NULL) == NULL
    assert lib.aclGetDataBufferSizeV2(NULL) == 0
    assert lib.aclUpdateDataBuffer(NULL, memory, 4) == lib.ACL_ERROR_INVALID_PARAM
    lib.aclGetRecentErrMsg()


def test_constants_are_not_changed_to_fit() -> None:
    for const in ([1.5, 2], [float("nan"), 1], [1 << 40, 1], np.array([1 << 31, 0], np.uint32)):
        with pytest.raises(ValueError, match="is not one of int32"):
            TensorDesc((2,), np.int32, const=const)
    TensorDesc((2,), np.int32, const=[1.0, 2.0])
    TensorDesc((2,), np.float16, const=[0.1, 2])
    with pytest.raises(ValueError, match=r"a constant of shape \(2,\) for a description of \(3,\)"):
        TensorDesc((3,), np.float32, const=[1, 2])


def test_texts_of_descriptions_are_whole() -> None:
    for wrong in ({"name": "a\0b"}, {"dynamic_input": "a\0b"}):
        with pytest.raises(ValueError, match="NUL"):
            TensorDesc((1,), np.float32, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="smallest, largest"):
        TensorDesc((1,), np.int32, value_range=[(5, 1)])
    with pytest.raises(ValueError, match="NUL"):
        single_op.compile_options["op_debug_level"] = "0\0x"
    with pytest.raises(ValueError, match="NUL"):
        single_op.set_model_dir("/nowhere\0x")


# Attributes

def test_attributes_of_every_kind() -> None:
    attrs = OpAttr({"b": True, "i": -5, "f": 0.5, "s": "NCHW", "d": np.float16, "lb": [True, False], "li": [1, 2],
                    "lf": [1, 0.5], "ls": ["a", "bc"], "ld": [np.int8, np.dtype("float32")], "lli": [[1, 2], [3]],
                    "none": [], "typed": np.array([], np.float32), "array": np.array([[1, 2], [3, 4]]),
                    "bf": np.dtype(ml_dtypes.bfloat16)})
    assert attrs["d"] == lib.ACL_FLOAT16
    assert attrs["lf"] == [1.0, 0.5]
    assert attrs["lli"] == [[1, 2], [3]]
    assert attrs["array"] == [[1, 2], [3, 4]]
    assert len(attrs) == 15
    attrs["i"] = 7
    assert attrs["i"] == 7
    attrs.close()
    with pytest.raises(pyacl.ClosedError):
        attrs["i"] = 8


@pytest.mark.parametrize("wrong", [None, object(), [1, "a"], [[1.5]], {"a": 1}, 1j, [True, 1],
                                   np.zeros((1, 1, 1), int), np.zeros((1, 1))])
def test_what_is_no_attribute(wrong: Any) -> None:
    with pytest.raises(TypeError, match="'x'"):
        OpAttr({"x": wrong})


@pytest.mark.parametrize(("name", "value", "message"), [
    ("x", 1e39, "float"), ("x", [0.5, -1e300], "float"), ("x", np.array([1e300]), "float"), ("x", 1 << 63, "64 bits"),
    ("x", [1, 1 << 63], "64 bits"), ("x", [[1 << 63]], "64 bits"), ("x", np.array([1 << 63], np.uint64), "64 bits"),
    ("x", "a\0b", "NUL"), ("x", ["a", "b\0"], "NUL"), ("x\0y", 1, "NUL"), ("", 1, "name is empty")])
def test_attributes_that_c_would_change_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OpAttr({name: value})
    with pytest.raises(TypeError, match="an attribute's name is a str, not 5"):
        OpAttr({5: value})  # type: ignore[dict-item]
    assert OpAttr({"text": "", "infinite": float("inf")})["text"] == ""


def test_attributes_in_c() -> None:
    invalid = lib.ACL_ERROR_INVALID_PARAM
    attr = lib.aclopCreateAttr()
    assert lib.aclopSetAttrInt(NULL, b"x", 1) == invalid
    assert lib.aclopSetAttrInt(attr, NULL, 1) == invalid
    assert lib.aclopSetAttrString(attr, b"x", NULL) == invalid
    assert lib.aclopSetAttrListInt(attr, b"x", -1, [1]) == invalid
    assert lib.aclopSetAttrListInt(attr, b"x", 1, NULL) == invalid
    assert lib.aclopSetAttrListInt(attr, b"x", 0, NULL) == 0
    lib.aclopDestroyAttr(attr)
    lib.aclopDestroyAttr(NULL)
    lib.aclGetRecentErrMsg()


# One call

def test_op(stream: Stream) -> None:
    x, y, out = (Tensor.from_numpy(a) for a in (X, X * 2, X * 0))
    found, = pyacl.op("Add", [x, y], [out], stream=stream)
    assert found is out
    stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), X * 3)


def test_op_needs_a_model_or_compiles_one(stream: Stream) -> None:
    x = Tensor.from_numpy(np.zeros((11, 2), np.float32))
    with pytest.raises(pyacl.errors.OperatorNotFoundError):
        pyacl.op("Tanh", [x], [x], stream=stream, compile=False)
    single_op.compile_op("Tanh", [x], [x])
    pyacl.op("Tanh", [x], [x], stream=stream, compile=False)
    stream.synchronize()


def test_op_with_values_from_host_memory(stream: Stream) -> None:
    x, out = Tensor.from_numpy(X), Tensor.empty((4,), np.float32)
    for _ in range(2):
        pyacl.op("ReduceSum", [x, np.array([0])], [out], stream=stream)
        stream.synchronize()
        np.testing.assert_array_equal(out.numpy(), X.sum(0))


def test_host_data_is_copied_by_the_call(stream: Stream) -> None:
    x, out = Tensor.from_numpy(X), Tensor.empty((3, 4), np.float32)
    factor = np.array([2], np.float32)
    gate = threading.Event()
    stream.call(lambda: gate.wait(10))
    pyacl.op("Mul", [x, factor], [out], stream=stream)
    factor[0] = 9
    gate.set()
    stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), X * 2)


def test_memory_must_lie_where_its_description_says(stream: Stream) -> None:
    x, out = Tensor.from_numpy(X), Tensor.empty(X.shape)
    desc = TensorDesc(X.shape, np.float32)
    with pytest.raises(TypeError, match="input 1 of Add is a ndarray"):
        pyacl.op("Add", [x, X], [out], input_descs=[desc, desc], stream=stream)
    with pytest.raises(TypeError, match="output 0 of Add is a ndarray"):
        pyacl.op("Add", [x, x], [X.copy()], output_descs=[desc], stream=stream)
    for cast in ((X, out), (x, X)):
        with pytest.raises(TypeError, match="from a Tensor to a Tensor"):
            single_op.cast(*cast, stream=stream)


def test_constant_data_must_be_that_of_the_model(stream: Stream) -> None:
    x, out = Tensor.from_numpy(X[:, :2].copy()), Tensor.empty((2,), np.float32)
    axis = lambda n: TensorDesc((1,), np.int64, const=[n])  # noqa: E731
    single_op.compile_op("ReduceMax", [x, axis(0)], [out])
    pyacl.op("ReduceMax", [x, axis(0)], [out], stream=stream, compile=False)
    stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), X[:, :2].max(0))
    assert code_of(lambda: pyacl.op("ReduceMax", [x, axis(-2)], [out], stream=stream, compile=False)) == \
        lib.ACL_ERROR_OP_NOT_FOUND


def test_a_dynamic_model_serves_all_shapes_in_its_range(stream: Stream) -> None:
    dynamic = TensorDesc((-1, 5), np.float32, shape_range=[(2, 6), (5, 5)])
    single_op.compile_op("Relu", [dynamic], [dynamic])
    for rows in (2, 6):
        data = np.linspace(-1, 1, rows * 5, dtype=np.float32).reshape(rows, 5)
        x, out = Tensor.from_numpy(data), Tensor.empty(data.shape, np.float32)
        pyacl.op("Relu", [x], [out], stream=stream, compile=False)
        stream.synchronize()
        np.testing.assert_array_equal(out.numpy(), np.maximum(data, 0))
    x = Tensor.from_numpy(np.zeros((7, 5), np.float32))
    assert code_of(lambda: pyacl.op("Relu", [x], [x], stream=stream, compile=False)) == lib.ACL_ERROR_OP_NOT_FOUND


def test_a_dynamic_description_needs_ranges() -> None:
    desc = TensorDesc((-1, 5), np.float32)
    assert code_of(lambda: single_op.compile_op("Relu", [desc], [desc])) == lib.ACL_ERROR_INVALID_PARAM


def test_shapes_must_be_known_when_executing(stream: Stream) -> None:
    desc = TensorDesc((-1, 5), np.float32, shape_range=[(1, 9), (5, 5)])
    x = Tensor.from_numpy(np.zeros((2, 5), np.float32))
    assert code_of(lambda: pyacl.op("Relu", [x], [x], input_descs=[desc], stream=stream)) == \
        lib.ACL_ERROR_INVALID_PARAM


def test_a_shape_that_follows_from_data_makes_the_call_wait(stream: Stream) -> None:
    """The second mode of aclopExecuteV2: the output is the largest possible, the real shape comes back."""
    data = np.array([0, 3, 0, 5, 7], np.float32)
    x, out = Tensor.from_numpy(data), Tensor.zeros((5, 1), np.int64)
    found, = pyacl.op("NonZero", [x], [out], stream=stream)
    assert found.shape == (3, 1)
    np.testing.assert_array_equal(found.numpy(), [[1], [3], [4]])  # without a synchronise
    x.copy_(np.array([1, 1, 1, 1, 1], np.float32))
    found, = pyacl.op("NonZero", [x], [out], stream=stream)
    assert found.shape == (5, 1)


def test_a_call_that_waits_cannot_be_captured(stream: Stream) -> None:
    x, out = Tensor.from_numpy(np.array([0, 3], np.float32)), Tensor.zeros((2, 1), np.int64)
    with pytest.raises(pyacl.AclError, match="507903"), pyacl.Graph.capture(stream), \
            pytest.raises(pyacl.AclError, match="107027"):
        pyacl.op("NonZero", [x], [out], stream=stream)


def test_the_exact_shape_is_written_into_the_description(stream: Stream) -> None:
    x, mask = Tensor.from_numpy(X), Tensor.from_numpy(X > 8)
    out = Tensor.zeros((12,), np.float32)
    desc = TensorDesc.of(out)
    pyacl.op("MaskedSelect", [x, mask], [out], output_descs=[desc], stream=stream)
    assert desc.shape == (3,)
    np.testing.assert_array_equal(out.numpy()[:3], [9, 10, 11])


def test_all_outputs_empty_is_success_without_any_work(stream: Stream) -> None:
    desc = TensorDesc((0, 4), np.float32)
    pyacl.op("Relu", [None], [None], input_descs=[desc], output_descs=[desc], stream=stream, compile=False)


def test_unused_optional_input_by_description(stream: Stream) -> None:
    a, b = Tensor.from_numpy(X), Tensor.from_numpy(np.ascontiguousarray(X.T))
    out = Tensor.empty((3, 3), np.float32)
    pyacl.op("MatMul", [a, b, None], [out], stream=stream)
    stream.synchronize()
    np.testing.assert_allclose(out.numpy(), X @ X.T)


def test_device_memory_under_a_host_placement(stream: Stream) -> None:
    x, axes, out = Tensor.from_numpy(X), Tensor.from_numpy(np.array([0], np.int64)), Tensor.empty((4,), np.float32)
    placed = TensorDesc((1,), np.int64, placement="host")
    assert code_of(lambda: pyacl.op("ReduceSum", [x, axes], [out], input_descs=[x, placed], stream=stream)) == \
        lib.ACL_ERROR_INVALID_PARAM


def test_outputs_are_not_placed_on_the_host(stream: Stream) -> None:
    x = Tensor.from_numpy(X)
    out = TensorDesc((3, 4), np.float32, placement="host")
    assert code_of(lambda: pyacl.op("Relu", [x], [np.empty_like(X)], output_descs=[out], stream=stream)) == \
        lib.ACL_ERROR_API_NOT_SUPPORT


def test_compile_refuses_host_placement() -> None:
    placed = TensorDesc((1,), np.int64, placement="host")
    assert code_of(lambda: single_op.compile_op("ReduceSum", [TensorDesc((3, 4), np.float32), placed],
                                                [TensorDesc((4,), np.float32)])) == lib.ACL_ERROR_API_NOT_SUPPORT


def test_two_threads_on_one_stream(stream: Stream, device: Any) -> None:
    x, out = Tensor.from_numpy(X), Tensor.from_numpy(X)
    pyacl.op("Add", [x, x], [out], stream=stream)
    errors: list[BaseException] = []

    def second() -> None:
        device.set_current()
        try:
            pyacl.op("Add", [x, x], [out], stream=stream)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=second)
    thread.start()
    thread.join()
    assert [type(e) for e in errors] == [RuntimeError]
    stream.synchronize()


def test_descriptions_must_match_the_tensors() -> None:
    x = Tensor.from_numpy(X)
    with pytest.raises(ValueError, match="descriptions of 2"):
        pyacl.op("Relu", [x], [x], input_descs=[x, x])


def test_execution_in_c(stream: Stream) -> None:
    x = Tensor.from_numpy(X)
    desc, buffer = TensorDesc.of(x), DataBuffer(x)
    descs, buffers = [desc.handle], [buffer.handle]
    invalid = lib.ACL_ERROR_INVALID_PARAM
    system, path = lib.ACL_ENGINE_SYS, NULL

    def execute(type: Any = b"Abs", n: int = 1, ds: Any = descs, bs: Any = buffers) -> int:
        return int(lib.aclopExecuteV2(type, n, ds, bs, 1, descs, buffers, NULL, stream.handle))

    assert execute() == lib.ACL_ERROR_OP_NOT_FOUND
    assert execute(type=NULL) == invalid
    assert execute(n=-1) == invalid
    assert execute(ds=NULL) == invalid
    assert execute(bs=NULL) == invalid
    assert execute(ds=[NULL]) == invalid
    nothing = lib.aclCreateDataBuffer(NULL, 8)
    assert execute(bs=[nothing]) == invalid
    compile = lib.aclopCompile
    assert compile(b"Abs", 1, descs, 1, descs, NULL, system, lib.ACL_COMPILE_UNREGISTERED, path) != 0
    assert compile(b"Abs", 1, descs, 1, descs, NULL, lib.ACL_ENGINE_VECTOR, lib.ACL_COMPILE_SYS, path) != 0
    assert compile(b"Abs", 1, descs, 1, descs, NULL, system, lib.ACL_COMPILE_SYS, b"/some/path") != 0
    assert compile(b"Abs", 1, descs, 1, descs, NULL, system, lib.ACL_COMPILE_SYS, path) == 0
    assert execute() == 0
    assert lib.aclopExecute(b"Abs", 1, descs, buffers, 1, descs, buffers, NULL, stream.handle) == 0
    assert lib.aclopCompileAndExecute(b"Neg", 1, descs, buffers, 1, descs, buffers, NULL, system, lib.ACL_COMPILE_SYS,
                                      path, stream.handle) == 0
    stream.synchronize()
    np.testing.assert_array_equal(x.numpy(), -X)
    lib.aclGetRecentErrMsg()


# Casts

def test_cast(stream: Stream) -> None:
    x, out = Tensor.from_numpy(X + 0.5), Tensor.empty(X.shape, np.float16)
    single_op.cast(x, out, stream=stream)
    stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), (X + 0.5).astype(np.float16))
    y = Tensor.empty(X.shape, np.int8)
    assert code_of(lambda: single_op.cast(out, y, stream=stream, compile=False)) == lib.ACL_ERROR_OP_NOT_FOUND


# Shapes

def test_infer_shape_exactly() -> None:
    out, = single_op.infer_shape("Add", [np.zeros((3, 1, 4), np.float16), np.zeros((2, 4), np.float16)], 1)
    assert (out.shape, out.dtype) == ((3, 2, 4), np.dtype("float16"))
    out, = single_op.infer_shape("ReduceSum", [X, np.array([1])], 1, {"keep_dims": True})
    assert out.shape == (3, 1)
    out, = single_op.infer_shape("Reshape", [X, np.array([2, -1])], 1)
    assert out.shape == (2, 6)
    out, = single_op.infer_shape("MatMul", [X, X, None], 1, {"transpose_x2": True})
    assert out.shape == (3, 3)


def test_infer_shape_with_a_range() -> None:
    out, = single_op.infer_shape("NonZero", [X], 1)
    assert out.shape == (-1, 2)
    assert out.shape_range == ((0, 12), (2, 2))


def test_infer_shape_names() -> None:
    inputs = [np.zeros((2, 3), np.float32), np.zeros((2, 2), np.float32)]
    result = [TensorDesc((), np.float32, name="y")]
    with pytest.raises(pyacl.AclError, match="aclSetTensorDescName"):
        single_op.infer_shape("ConcatD", inputs, 1, {"concat_dim": 1}, output_descs=result)
    named = [TensorDesc.of(a, name=f"x{i}") for i, a in enumerate(inputs)]
    out, = single_op.infer_shape("ConcatD", inputs, 1, {"concat_dim": 1}, input_descs=named, output_descs=result)
    assert out.shape == (2, 5)


def test_infer_shape_wants_host_memory() -> None:
    x = Tensor.from_numpy(X)
    desc, result, buffer = TensorDesc.of(x), TensorDesc.of(x), DataBuffer(x)
    call = (b"Relu", 1, [desc.handle], [buffer.handle], 1, [result.handle], NULL)
    assert lib.aclopInferShape(*call) == lib.ACL_ERROR_INVALID_PARAM
    buffer.update(None)
    assert lib.aclopInferShape(*call) == lib.ACL_ERROR_INVALID_PARAM
    lib.aclGetRecentErrMsg()


def test_infer_shape_refuses_what_the_operator_refuses() -> None:
    with pytest.raises(pyacl.AclError, match="broadcast"):
        single_op.infer_shape("Add", [np.zeros(3, np.float32), np.zeros(4, np.float32)], 1)


# Compile options

def test_compile_options_have_defaults() -> None:
    assert {k: compile_options[k] for k in ("op_jit_compile", "op_deterministic", "op_compiler_cache_mode",
                                            "precision_mode_v2", "op_debug_level", "op_performance_mode")} == {
        "op_jit_compile": "disable", "op_deterministic": "0", "op_compiler_cache_mode": "disable",
        "precision_mode_v2": "fp16", "op_debug_level": "0", "op_performance_mode": "normal"}
    assert compile_options["debug_dir"] == str(Path("kernel_meta").absolute())
    assert compile_options["op_compiler_cache_dir"] == str(Path("~/atc_data").expanduser())
    assert set(compile_options) >= {"precision_mode", "op_select_impl_mode", "allow_hf32", "op_debug_option"}


def test_setting_a_compile_option() -> None:
    before = compile_options["op_deterministic"]
    compile_options["op_deterministic"] = "1"
    assert compile_options["ACL_OP_DETERMINISTIC"] == "1"
    compile_options["op_deterministic"] = before
    with pytest.raises(KeyError):
        compile_options["no_such_option"]
    assert code_of(lambda: compile_options.__setitem__("op_jit_compile", "maybe")) == lib.ACL_ERROR_INVALID_PARAM
    with pytest.raises(TypeError):
        del compile_options["op_deterministic"]


def test_compile_options_in_c() -> None:
    value = ffi.new("char[8]")
    assert lib.aclGetCompileoptSize(lib.ACL_OP_JIT_COMPILE) == len("disable") + 1
    assert lib.aclGetCompileopt(lib.ACL_OP_JIT_COMPILE, value, 7) == lib.ACL_ERROR_FAILURE
    assert lib.aclGetCompileopt(lib.ACL_OP_JIT_COMPILE, value, 8) == 0
    assert ffi.string(value) == b"disable"
    assert lib.aclGetCompileopt(lib.ACL_OP_JIT_COMPILE, NULL, 8) == lib.ACL_ERROR_INVALID_PARAM
    assert lib.aclSetCompileopt(lib.ACL_OP_JIT_COMPILE, NULL) == lib.ACL_ERROR_INVALID_PARAM
    assert lib.aclSetCompileopt(lib.ACL_AUTO_TUNE_MODE, b"GA") == lib.ACL_ERROR_FEATURE_UNSUPPORTED
    assert lib.aclSetCompileopt(99, b"1") != 0
    lib.aclGetRecentErrMsg()


# Models from files

def test_max_op_queue_num() -> None:
    assert lib.aclopSetMaxOpQueueNum(0) == lib.ACL_ERROR_INVALID_PARAM
    single_op.set_max_op_queue_num(2)
    try:
        descs = [TensorDesc((n, 31), np.float32) for n in (1, 2, 3)]
        for desc in descs:
            single_op.compile_op("Sign", [desc], [desc])
        assert code_of(lambda: OpHandle("Sign", [descs[0]], [descs[0]], compile=False)) == lib.ACL_ERROR_OP_NOT_FOUND
        OpHandle("Sign", [descs[2]], [descs[2]], compile=False).close()
    finally:
        single_op.set_max_op_queue_num(20000)


def test_load_refuses_what_is_no_model(tmp_path: Path) -> None:
    assert lib.aclopLoad(NULL, 5) == lib.ACL_ERROR_INVALID_PARAM
    assert lib.aclopLoad(b"abc", 0) == lib.ACL_ERROR_INVALID_PARAM
    with pytest.raises(pyacl.AclError):
        single_op.load(b"this is not a model")
    with pytest.raises(FileNotFoundError):
        single_op.load(tmp_path / "nothing.om")


def program(text: str, *args: Any) -> str:
    """What a program prints that is run by itself, for what is possible once in a process."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(text), *map(str, args)], capture_output=True,
                          text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_model_dir_once(tmp_path: Path) -> None:
    found = program("""
        import sys
        import pyacl
        with pyacl.Device(0):
            try:
                pyacl.single_op.set_model_dir(sys.argv[1] + "/missing")
            except FileNotFoundError as error:
                print(error.code)
            pyacl.single_op.set_model_dir(sys.argv[1])
            try:
                pyacl.single_op.set_model_dir(sys.argv[1])
            except pyacl.AclError as error:
                print(error.code)
    """, tmp_path)
    assert found.split() == [str(lib.ACL_ERROR_READ_MODEL_FAILURE), str(lib.ACL_ERROR_REPEAT_INITIALIZE)]


# Operators that users bring

def test_selectors_and_kernels() -> None:
    desc = TensorDesc((2,), np.float32)
    descs = [desc.handle]
    seen = []

    @ffi.callback("aclopCompileFunc")
    def select(inputs: int, ins: Any, outputs: int, outs: Any, attr: Any, kernel: Any) -> int:
        seen.append((inputs, outputs, lib.aclGetTensorDescSize(ins[0])))
        sizes = ffi.new("size_t[]", [64])
        assert lib.aclopSetKernelWorkspaceSizes(kernel, 1, sizes) == 0
        return int(lib.aclopSetKernelArgs(kernel, b"small", 1, b"args", 4))

    def update() -> int:
        return int(lib.aclopUpdateParams(b"MyOp", 1, descs, 1, descs, NULL))

    assert update() == lib.ACL_ERROR_BIN_SELECTOR_NOT_REGISTERED
    assert lib.aclopRegisterCompileFunc(b"MyOp", NULL) == lib.ACL_ERROR_INVALID_PARAM
    assert lib.aclopRegisterCompileFunc(b"MyOp", select) == 0
    assert lib.aclopRegisterCompileFunc(b"MyOp", select) == lib.ACL_ERROR_BIN_SELECTOR_ALREADY_REGISTERED
    assert update() == lib.ACL_ERROR_KERNEL_NOT_FOUND
    create = lib.aclopCreateKernel
    engine = lib.ACL_ENGINE_AICORE
    assert create(b"MyOp", b"small", b"kernel", NULL, 4, engine, NULL) == lib.ACL_ERROR_INVALID_PARAM
    binary = ffi.new("char[]", b"\\x7fELF")
    assert create(b"MyOp", b"small", b"kernel", binary, 4, engine, NULL) == 0
    assert create(b"MyOp", b"small", b"kernel", binary, 4, engine, NULL) == lib.ACL_ERROR_KERNEL_ALREADY_REGISTERED
    assert update() == 0
    assert seen == [(1, 1, 8)] * 2
    assert lib.aclopUnregisterCompileFunc(b"MyOp") == 0
    assert update() == lib.ACL_ERROR_BIN_SELECTOR_NOT_REGISTERED
    lib.aclGetRecentErrMsg()
