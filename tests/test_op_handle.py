"""Single operators by handle: every parameter and constraint of aclopCreateHandle and aclopExecWithHandle."""

from __future__ import annotations

import functools
import gc
import importlib.util
import os
import threading
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest

import pyacl
from pyacl import DataBuffer, DeviceBuffer, OpAttr, OpHandle, Stream, Tensor, TensorDesc, lib
from pyacl.capi import ffi

NULL = ffi.NULL
EXAMPLES = Path(__file__).parent.parent / "examples"
X = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture(autouse=True)
def _current(device: Any) -> None:
    device.set_current()


@pytest.fixture
def add(device: Any) -> Any:
    desc = TensorDesc((3, 4), np.float32)
    with OpHandle("Add", [desc, desc], [desc]) as handle:
        yield handle


def tensors(*arrays: Any) -> list[Tensor]:
    return [Tensor.from_numpy(a) for a in arrays]


# Using it

def test_add(add: OpHandle, stream: Stream) -> None:
    x, y, out = tensors(X, X * 2, X * 0)
    add.launch([x, y], [out], stream)
    stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), X * 3)


def test_execute_waits(add: OpHandle) -> None:
    x, out = tensors(X, X * 0)
    add.execute([x, x], [out])
    np.testing.assert_array_equal(out.numpy(), X * 2)


def test_many_times_on_refreshed_buffers(add: OpHandle, stream: Stream) -> None:
    one, = tensors(np.ones_like(X))
    a, b = tensors(X, X * 0)
    for _ in range(50):
        add.launch([a, one], [b], stream)
        a, b = b, a
    stream.synchronize()
    np.testing.assert_array_equal(a.numpy(), X + 50)


def test_same_buffer_with_other_content(add: OpHandle, stream: Stream) -> None:
    x, y, out = tensors(X, X, X)
    for k in range(3):
        x.copy_(X * k)
        add.launch([x, y], [out], stream)
        stream.synchronize()
        np.testing.assert_array_equal(out.numpy(), X * (k + 1))


@pytest.mark.skipif(os.environ.get("PYACL_EMULATOR_SCHEDULE") == "inline", reason="work runs at once")
def test_it_is_asynchronous(add: OpHandle, stream: Stream) -> None:
    """What was launched is ordered after what the stream already has to do."""
    x, y, out = tensors(X, X, X * 0)
    gate = threading.Event()
    stream.call(lambda: gate.wait(10))
    add.launch([x, y], [out], stream)
    np.testing.assert_array_equal(out.numpy(), X * 0)
    gate.set()
    stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), X * 2)


def test_one_handle_on_two_streams(add: OpHandle) -> None:
    x, out, other = tensors(X, X * 0, X * 0)
    with Stream() as one, Stream() as two:
        add.launch([x, x], [out], one)
        add.launch([x, x], [other], two)
        one.synchronize()
        two.synchronize()
    np.testing.assert_array_equal(out.numpy(), other.numpy())


def test_device_buffers(add: OpHandle, stream: Stream) -> None:
    with DeviceBuffer(X.nbytes) as x, DeviceBuffer(X.nbytes) as out:
        x.copy_from(X)
        add.launch([x, x], [out], stream)
        stream.synchronize()
        found = np.empty_like(X)
        out.copy_to(found)
    np.testing.assert_array_equal(found, X * 2)


def test_a_view_that_is_dense_begins_at_its_offset(stream: Stream) -> None:
    x, out = tensors(X, X[0])
    with OpHandle("Add", [x[0], x[1]], [out]) as add:
        add.launch([x[1], x[2]], [out], stream)
        stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), X[1] + X[2])


def test_a_strided_view_is_refused(add: OpHandle, stream: Stream) -> None:
    x, out = tensors(np.ascontiguousarray(X.T), X * 0)
    with pytest.raises(ValueError, match="not dense"):
        add.launch([x.T if hasattr(x, "T") else x.permute(1, 0), out], [out], stream)


def test_buffers_live_until_the_stream_is_synchronised(add: OpHandle, stream: Stream) -> None:
    out, = tensors(X * 0)
    add.launch(tensors(X, X), [out], stream)
    gc.collect()
    keep = [Tensor.from_numpy(X * 9) for _ in range(4)]  # would land in memory that was freed too early
    stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), X * 2)
    assert keep


def test_closing_waits_for_the_work(stream: Stream) -> None:
    x, out = tensors(X, X * 0)
    handle = OpHandle("Add", [x, x], [out])
    handle.launch([x, x], [out], stream)
    handle.close()
    np.testing.assert_array_equal(out.numpy(), X * 2)
    with pytest.raises(pyacl.ClosedError):
        handle.launch([x, x], [out], stream)
    handle.close()


def test_descriptions_and_attributes_may_go_after_creation(stream: Stream) -> None:
    x, = tensors(X)
    out = Tensor.empty((3,), np.float32)
    attrs = OpAttr({"axes": [1]})
    descs = TensorDesc.of(x), TensorDesc.of(out)
    with OpHandle("ReduceSumD", [descs[0]], [descs[1]], attrs) as handle:
        for resource in (*descs, attrs):
            resource.close()
        handle.launch([x], [out], stream)
        stream.synchronize()
    np.testing.assert_array_equal(out.numpy(), X.sum(1))


def test_attributes_make_the_operator(stream: Stream) -> None:
    x, = tensors(X)
    for axis, keep in ((0, False), (1, True)):
        want = X.sum(axis, keepdims=keep)
        out = Tensor.empty(want.shape, np.float32)
        with OpHandle("ReduceSumD", [x], [out], {"axes": [axis], "keep_dims": keep}) as handle:
            handle.execute([x], [out], stream)
        np.testing.assert_array_equal(out.numpy(), want)


def test_a_forgotten_handle_is_released_with_a_warning(device: Any) -> None:
    x, = tensors(X)
    with pytest.warns(ResourceWarning, match="OpHandle"):
        OpHandle("Add", [x, x], [x])


# Optional inputs and constants

def test_an_optional_input_that_is_not_used(stream: Stream) -> None:
    a, b = tensors(X, np.ascontiguousarray(X.T))
    out = Tensor.empty((3, 3), np.float32)
    with OpHandle("MatMulV2", [a, b, None, None], [out]) as matmul:
        assert matmul.inputs[2].dtype is None
        for _ in range(2):  # the empty buffer is used again, and nothing behind it is freed
            matmul.launch([a, b, None, None], [out], stream)
            stream.synchronize()
    np.testing.assert_allclose(out.numpy(), X @ X.T)


def test_an_optional_input_that_is_used(stream: Stream) -> None:
    a, b, bias = tensors(X, np.ascontiguousarray(X.T), np.array([1, 2, 3], np.float32))
    out = Tensor.empty((3, 3), np.float32)
    with OpHandle("MatMulV2", [a, b, bias], [out]) as matmul:
        matmul.execute([a, b, bias], [out], stream)
    np.testing.assert_allclose(out.numpy(), X @ X.T + np.array([1, 2, 3], np.float32))


def test_none_for_an_input_that_is_needed(add: OpHandle, stream: Stream) -> None:
    x, out = tensors(X, X)
    with pytest.raises(pyacl.AclError) as caught:
        add.launch([x, None], [out], stream)
    assert caught.value.code == lib.ACL_ERROR_GE_PARAM_INVALID


def test_a_constant_input(stream: Stream) -> None:
    x, = tensors(X)
    out = Tensor.empty((4,), np.float32)
    axes = TensorDesc((1,), np.int64, const=[0])
    with OpHandle("ReduceSum", [x, axes], [out], {"keep_dims": False}) as handle:
        handle.execute([x, None], [out], stream)
        np.testing.assert_array_equal(out.numpy(), X.sum(0))
        handle.execute([x, axes], [out], stream)


def test_value_inputs_may_lie_on_the_device(stream: Stream) -> None:
    """Without a constant the operator reads the values when it runs."""
    x, axes = tensors(X, np.array([1], np.int64))
    out = Tensor.empty((3,), np.float32)
    with OpHandle("ReduceSum", [x, axes], [out]) as handle:
        handle.execute([x, axes], [out], stream)
    np.testing.assert_array_equal(out.numpy(), X.sum(1))


@pytest.mark.parametrize("placement", ["host", "host_compile_independent"])
def test_host_placement_without_a_constant_is_refused(placement: str) -> None:
    x = TensorDesc((3, 4), np.float32)
    axes = TensorDesc((1,), np.int64, placement=placement)
    out = TensorDesc((4,), np.float32)
    with pytest.raises(pyacl.errors.UnsupportedError) as caught:
        OpHandle("ReduceSum", [x, axes], [out])
    assert caught.value.code == lib.ACL_ERROR_API_NOT_SUPPORT
    with pytest.raises(pyacl.errors.UnsupportedError):
        OpHandle("Relu", [x], [TensorDesc((3, 4), np.float32, placement=placement)])


def test_host_placement_with_a_constant(stream: Stream) -> None:
    x, = tensors(X)
    out = Tensor.empty((4,), np.float32)
    axes = TensorDesc((1,), np.int64, placement="host", const=[0])
    with OpHandle("ReduceSum", [x, axes], [out]) as handle:
        handle.execute([x, None], [out], stream)
    np.testing.assert_array_equal(out.numpy(), X.sum(0))


# Refusals

def code_of(action: Callable[[], Any]) -> int:
    with pytest.raises(pyacl.AclError) as caught:
        action()
    return caught.value.code


@pytest.mark.parametrize(("inputs", "outputs", "code"), [
    (1, 1, lib.ACL_ERROR_OP_INPUT_NOT_MATCH), (3, 1, lib.ACL_ERROR_OP_INPUT_NOT_MATCH),
    (2, 2, lib.ACL_ERROR_OP_OUTPUT_NOT_MATCH), (2, 0, lib.ACL_ERROR_OP_OUTPUT_NOT_MATCH),
])
def test_counts_must_be_the_handles(add: OpHandle, stream: Stream, inputs: int, outputs: int, code: int) -> None:
    x, = tensors(X)
    assert code_of(lambda: add.launch([x] * inputs, [x] * outputs, stream)) == code


def test_no_model() -> None:
    desc = TensorDesc((7, 7), np.float32)
    with pytest.raises(pyacl.errors.OperatorNotFoundError) as caught:
        OpHandle("Sigmoid", [desc], [desc], compile=False)
    assert caught.value.code == lib.ACL_ERROR_OP_NOT_FOUND
    assert "Sigmoid" in caught.value.text
    with OpHandle("Sigmoid", [desc], [desc]):  # compiles it
        pass
    with OpHandle("Sigmoid", [desc], [desc], compile=False):
        pass


def test_a_model_is_for_its_shapes_types_and_attributes() -> None:
    def handle(shape: tuple[int, ...], dtype: Any, attrs: Any) -> None:
        out = TensorDesc(shape[:1], dtype)
        OpHandle("ReduceSumD", [TensorDesc(shape, dtype)], [out], attrs, compile=False).close()

    x, y = TensorDesc((5, 2), np.float32), TensorDesc((5,), np.float32)
    OpHandle("ReduceSumD", [x], [y], {"axes": [1]}).close()
    handle((5, 2), np.float32, {"axes": [1]})
    for shape, dtype, attrs in (((5, 3), np.float32, {"axes": [1]}), ((5, 2), np.float16, {"axes": [1]}),
                                ((5, 2), np.float32, {"axes": [-1]}),
                                ((5, 2), np.float32, {"axes": [1], "keep_dims": False})):
        assert code_of(functools.partial(handle, shape, dtype, attrs)) == lib.ACL_ERROR_OP_NOT_FOUND


@pytest.mark.parametrize("desc", [((-1, 4), {"shape_range": [(1, 8), (4, 4)]}), (None, {})])
def test_static_shapes_only(desc: Any) -> None:
    shape, more = desc
    with pytest.raises(ValueError, match="aclopExecuteV2"):
        OpHandle("Relu", [TensorDesc(shape, np.float32, **more)], [TensorDesc((3, 4), np.float32)])


def test_static_shapes_only_in_c() -> None:
    dynamic = TensorDesc((-1, 4), np.float32, shape_range=[(1, 8), (4, 4)])
    static = TensorDesc((3, 4), np.float32)
    pyacl.single_op.compile_op("Selu", [dynamic], [dynamic])
    out = ffi.new("aclopHandle **")
    for given in (dynamic, static):  # neither a dynamic description nor a dynamic model behind a static one
        code = lib.aclopCreateHandle(b"Selu", 1, [given.handle], 1, [given.handle], NULL, out)
        assert code == lib.ACL_ERROR_OP_UNSUPPORTED_DYNAMIC
        assert b"aclopExecuteV2" in ffi.string(lib.aclGetRecentErrMsg())


def test_a_shape_that_follows_from_data_is_dynamic_too() -> None:
    x, y = TensorDesc((4,), np.float32), TensorDesc((4, 1), np.int64)
    with pytest.raises(pyacl.AclError, match="aclopExecuteV2"):
        OpHandle("NonZero", [x], [y])


def test_what_the_operator_cannot_do_is_refused_when_compiling() -> None:
    x, y = TensorDesc((3, 4), np.float32), TensorDesc((4, 5), np.float32)
    assert code_of(lambda: OpHandle("Add", [x, y], [x])) == lib.ACL_ERROR_GE_FAILURE
    assert code_of(lambda: OpHandle("Add", [x], [x])) == lib.ACL_ERROR_OP_INPUT_NOT_MATCH
    assert code_of(lambda: OpHandle("Add", [x, x], [x, x])) == lib.ACL_ERROR_OP_OUTPUT_NOT_MATCH
    assert code_of(lambda: OpHandle("Add", [x, TensorDesc((3, 4), np.float16)], [x])) == \
        lib.ACL_ERROR_UNSUPPORTED_DATA_TYPE
    assert code_of(lambda: OpHandle("Relu", [x], [x], {"alpha": 1.0})) == lib.ACL_ERROR_OP_ATTR_NOT_MATCH
    assert code_of(lambda: OpHandle("Muls", [x], [x])) == lib.ACL_ERROR_OP_ATTR_NOT_MATCH
    assert code_of(lambda: OpHandle("Muls", [x], [x], {"value": 2})) == lib.ACL_ERROR_OP_ATTR_NOT_MATCH
    with pytest.raises(pyacl.errors.NotEmulatedError, match="NoSuchOperator"):
        OpHandle("NoSuchOperator", [x], [x])


def test_a_buffer_that_is_too_small(add: OpHandle, stream: Stream) -> None:
    x, out = tensors(X, X)
    with DeviceBuffer(X.nbytes - 4) as small:
        assert code_of(lambda: add.launch([x, small], [out], stream)) == lib.ACL_ERROR_GE_PARAM_INVALID
        assert code_of(lambda: add.launch([x, x], [small], stream)) == lib.ACL_ERROR_GE_PARAM_INVALID


def test_a_tensor_unlike_its_description_is_refused(add: OpHandle, stream: Stream) -> None:
    x, out, other, turned = tensors(X, X, X.astype(np.int32), X.T.copy())
    for inputs, outputs in (([x, other], [out]), ([x, x], [other])):
        with pytest.raises(TypeError, match="made for float32"):
            add.launch(inputs, outputs, stream)
    for inputs, outputs in (([turned, x], [out]), ([x, x], [turned])):
        with pytest.raises(ValueError, match=r"made for the shape \(3, 4\)"):
            add.launch(inputs, outputs, stream)
    with pytest.raises(TypeError, match="every output needs memory"):
        add.launch([x, x], [None], stream)
    add.execute([x, x], [out], stream)
    np.testing.assert_array_equal(out.numpy(), X + X)


def test_a_tensor_for_a_sequence_of_them_is_refused() -> None:
    x, = tensors(X)
    with pytest.raises(TypeError, match="even of one tensor"):
        OpHandle("Relu", x, [x])


def test_a_closed_tensor_is_refused(add: OpHandle, stream: Stream) -> None:
    x, y, out = tensors(X, X, X)
    add.execute([x, y], [out], stream)
    y.close()
    with pytest.raises(pyacl.ClosedError):
        add.launch([x, y], [out], stream)


def test_host_memory_is_refused_at_the_launch(add: OpHandle, stream: Stream) -> None:
    """Where CANN would find out when the task runs."""
    x, out = tensors(X, X)
    with pyacl.HostBuffer(X.nbytes) as buffer:
        for host in (X, X.tolist(), X.tobytes(), buffer, 5):
            with pytest.raises(TypeError, match=r"input 1 of Add is a \w+, but .*Tensor.from_numpy"):
                add.launch([x, host], [out], stream)
            with pytest.raises(TypeError, match="output 0 of Add"):
                add.launch([x, x], [host], stream)
    wrong: Any
    for wrong in ((x, [out]), ([x, x], out)):
        with pytest.raises(TypeError, match="sequences"):
            add.launch(wrong[0], wrong[1], stream)
    add.execute([x, x], [out], stream)
    np.testing.assert_array_equal(out.numpy(), X + X)


def test_tensors_of_other_libraries(add: OpHandle, stream: Stream) -> None:
    class Foreign:
        shape, dtype = X.shape, "torch.float32"

        def __init__(self, memory: Tensor) -> None:
            self.memory = memory

        def data_ptr(self) -> int:
            return self.memory.address

    x, y, out = tensors(X, 2 * X, X)
    add.execute([Foreign(x), y], [Foreign(out)], stream)
    np.testing.assert_array_equal(out.numpy(), 3 * X)
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="not on an NPU"):
        add.launch([torch.ones(3, 4), y], [out], stream)


def test_host_memory_by_another_way_fails_the_task(add: OpHandle, stream: Stream) -> None:
    x, out = tensors(X, X)
    source, target = DataBuffer(x), DataBuffer(out)
    inputs = ffi.new("aclDataBuffer *[]", [source.handle, lib.aclCreateDataBuffer(ffi.from_buffer(X), X.nbytes)])
    outputs = ffi.new("aclDataBuffer *[]", [target.handle])
    assert lib.aclopExecWithHandle(add.handle, 2, inputs, 1, outputs, stream.handle) == 0
    with pytest.raises(pyacl.AclError):
        stream.synchronize()
    lib.aclDestroyDataBuffer(inputs[1])


@pytest.mark.parametrize("wrong", ["Add\0x", ""])
def test_names_of_types_are_whole(wrong: str) -> None:
    desc = TensorDesc((3, 4), np.float32)
    with pytest.raises(ValueError, match="an operator's type is"):
        OpHandle(wrong, [desc, desc], [desc])
    with pytest.raises(TypeError, match="an operator's type is a str"):
        OpHandle(None, [desc, desc], [desc])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="attributes are a dict"):
        OpHandle("Adds", [desc], [desc], [("value", 1.0)])  # type: ignore[arg-type]


def test_arguments_in_c(add: OpHandle, stream: Stream) -> None:
    """NULL and negative counts, as the C function answers them."""
    x, = tensors(X)
    buffer = pyacl.DataBuffer(x)
    two = ffi.new("aclDataBuffer *[]", [buffer.handle] * 2)
    one = ffi.new("aclDataBuffer *[]", [buffer.handle])
    invalid = lib.ACL_ERROR_INVALID_PARAM
    execute = lib.aclopExecWithHandle
    assert execute(NULL, 2, two, 1, one, stream.handle) == invalid
    assert execute(add.handle, 2, NULL, 1, one, stream.handle) == invalid
    assert execute(add.handle, 2, two, 1, NULL, stream.handle) == invalid
    assert execute(add.handle, -1, two, 1, one, stream.handle) == invalid
    assert execute(add.handle, 2, two, -1, one, stream.handle) == invalid
    assert execute(add.handle, 2, ffi.new("aclDataBuffer *[2]"), 1, one, stream.handle) == invalid
    assert execute(ffi.cast("aclopHandle *", buffer.handle), 2, two, 1, one, stream.handle) != 0
    assert execute(add.handle, 2, two, 1, one, ffi.cast("aclrtStream", buffer.handle)) != 0
    out = ffi.new("aclopHandle **")
    desc = TensorDesc.of(x)
    pair = [desc.handle] * 2
    create = lib.aclopCreateHandle
    assert create(NULL, 2, pair, 1, pair, NULL, out) == invalid
    assert create(b"Add", 2, pair, 1, pair, NULL, NULL) == invalid
    assert create(b"Add", -1, pair, 1, pair, NULL, out) == invalid
    assert create(b"Add", 2, NULL, 1, pair, NULL, out) == invalid
    assert create(b"Add", 2, [NULL, NULL], 1, pair, NULL, out) == invalid
    lib.aclopDestroyHandle(NULL)
    lib.aclGetRecentErrMsg()


def test_a_destroyed_handle_is_recognised(stream: Stream) -> None:
    x, = tensors(X)
    desc = TensorDesc.of(x)
    handle = ffi.new("aclopHandle **")
    OpHandle("Relu", [x], [x]).close()
    assert lib.aclopCreateHandle(b"Relu", 1, [desc.handle], 1, [desc.handle], NULL, handle) == 0
    lib.aclopDestroyHandle(handle[0])
    buffer = pyacl.DataBuffer(x)
    assert lib.aclopExecWithHandle(handle[0], 1, [buffer.handle], 1, [buffer.handle], stream.handle) != 0
    assert b"already destroyed" in ffi.string(lib.aclGetRecentErrMsg())


def test_empty_outputs_are_success_without_work(stream: Stream) -> None:
    desc = TensorDesc((0, 4), np.float32)
    with OpHandle("Relu", [desc], [desc]) as relu:
        empty = pyacl.DataBuffer()
        array = ffi.new("aclDataBuffer *[]", [empty.handle])
        assert lib.aclopExecWithHandle(relu.handle, 1, array, 1, array, stream.handle) == 0


# Threads

def in_thread(action: Callable[[], Any]) -> list[BaseException]:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return errors


@pytest.mark.parametrize("default", [False, True])
def test_two_threads_on_one_stream_are_refused(add: OpHandle, stream: Stream, device: Any, default: bool) -> None:
    x, out, other = tensors(X, X * 0, X * 0)
    used = Stream.default() if default else stream
    add.launch([x, x], [out], used)

    def second() -> None:
        device.set_current()
        add.launch([x, x], [other], used)

    error, = in_thread(second)
    assert isinstance(error, RuntimeError)
    assert "two threads" in str(error)
    used.synchronize()
    np.testing.assert_array_equal(out.numpy(), X * 2)
    np.testing.assert_array_equal(other.numpy(), X * 0)
    assert in_thread(second) == []  # now that the stream has nothing left to do
    used.synchronize()
    np.testing.assert_array_equal(other.numpy(), X * 2)


@pytest.mark.parametrize("default", [False, True])
def test_two_threads_on_one_stream_in_c(add: OpHandle, stream: Stream, device: Any, default: bool) -> None:
    """CANN's page forbids it; here the second thread is told, where on an NPU the task may go wrong."""
    if os.environ.get("PYACL_EMULATOR_SCHEDULE", "deferred") != "deferred":
        pytest.skip("only what is still queued is in the way")
    x, out = tensors(X, X)
    source, target = DataBuffer(x), DataBuffer(out)
    inputs = ffi.new("aclDataBuffer *[]", [source.handle] * 2)
    outputs = ffi.new("aclDataBuffer *[]", [target.handle])
    handle = NULL if default else stream.handle
    codes: list[int] = []

    def launch() -> None:
        device.set_current()
        codes.append(lib.aclopExecWithHandle(add.handle, 2, inputs, 1, outputs, handle))

    def elsewhere() -> None:
        thread = threading.Thread(target=launch)
        thread.start()
        thread.join()

    launch()
    elsewhere()
    assert lib.aclrtSynchronizeStream(handle) == 0
    elsewhere()  # nothing of this thread is in flight any more
    assert codes == [0, lib.ACL_ERROR_RESOURCE_NOT_MATCH, 0]
    assert lib.aclrtSynchronizeStream(handle) == 0
    np.testing.assert_array_equal(out.numpy(), X + X)


def test_two_threads_with_streams_of_their_own(add: OpHandle, device: Any) -> None:
    def work() -> None:
        device.set_current()
        x, out = tensors(X, X * 0)
        with Stream() as own:
            for _ in range(20):
                add.launch([x, x], [out], own)
            own.synchronize()
        np.testing.assert_array_equal(out.numpy(), X * 2)

    errors: list[BaseException] = []
    threads = [threading.Thread(target=lambda: errors.extend(in_thread(work))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


# Casts

def test_cast_by_handle(stream: Stream) -> None:
    x, = tensors(X + 0.7)
    out = Tensor.empty(X.shape, np.int32)
    with OpHandle.for_cast(x, out) as cast:
        cast.execute([x], [out], stream)
    np.testing.assert_array_equal(out.numpy(), X.astype(np.int32))


def test_no_model_of_the_cast() -> None:
    x, y = TensorDesc((9, 9), np.float32), TensorDesc((9, 9), np.int8)
    assert code_of(lambda: OpHandle.for_cast(x, y, compile=False)) == lib.ACL_ERROR_OP_NOT_FOUND


def test_repr(add: OpHandle) -> None:
    assert repr(add) == "<pyacl.OpHandle Add (3, 4), (3, 4) -> (3, 4)>"


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    example = importlib.util.spec_from_file_location("add_by_handle", EXAMPLES / "add_by_handle.py")
    assert example is not None
    assert example.loader is not None
    module = importlib.util.module_from_spec(example)
    example.loader.exec_module(module)
    module.main(["--runs", "1000", "--size", "64"])
    assert "1000 sums of 64 numbers, all right" in capsys.readouterr().out
