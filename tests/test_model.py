"""Loading, describing and executing models."""

from __future__ import annotations

import gc
import threading
import warnings
from pathlib import Path
from typing import Any, Iterator

import models
import numpy as np
import pytest
from helpers import free_memory

import pyacl
from pyacl import DeviceBuffer, ExecConfig, LoadConfig, Model, ModelDesc, Stream, Tensor, ffi, lib

pytest.importorskip("onnxruntime")

X = np.random.default_rng(3).integers(-9, 9, (4, 64)).astype(np.float32)
Y, TOP = models.dense_reference(X)


@pytest.fixture(autouse=True)
def _device(device: Any) -> None:
    device.set_current()


@pytest.fixture(scope="module")
def om(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.compiled(models.dense(), tmp_path_factory.mktemp("om") / "dense.om")


@pytest.fixture
def model(om: Path) -> Iterator[Model]:
    with Model.from_file(om) as found:
        yield found


def outputs() -> list[Tensor]:
    return [Tensor.zeros((4, 8)), Tensor.zeros((4,))]


# Real networks, in every way.

@pytest.mark.parametrize("name", ["resnet50", "shufflenet", "squeezenet"])
def test_real_networks(name: str, tmp_path: Path, stream: Stream) -> None:
    path, expected = models.light(name)
    with Model.from_file(models.compiled(path, tmp_path / f"{name}.om")) as model:
        shape = model.inputs[0].shape
        size = int(np.prod(shape))
        x = (np.arange(size).reshape(shape) / size).astype(np.float32)  # the input the package's output is of

        def agrees(found: np.ndarray) -> None:
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)

        agrees(model(x)[0])
        image, out = Tensor.from_numpy(x), Tensor.empty(model.outputs[0].shape)
        with model.bind([image], [out]) as binding:
            model.execute(binding)
            agrees(out.numpy())
            pyacl.memset(out, 0)
            model.execute(binding, stream=stream, config=ExecConfig(stream_sync_timeout=60000))
            agrees(out.numpy())
            pyacl.memset(out, 0)
            model.execute_async(binding, stream)
            stream.synchronize()
            agrees(out.numpy())
            pyacl.memset(out, 0)
            model.execute_async(binding, stream, ExecConfig())
            stream.synchronize()
            agrees(out.numpy())


# Description.

def test_description(model: Model, om: Path) -> None:
    with ModelDesc.from_file(om) as of_file, ModelDesc.from_bytes(om.read_bytes()) as of_bytes:
        assert model.inputs == of_file.inputs == of_bytes.inputs
        assert model.outputs == of_file.outputs == of_bytes.outputs
    (x,) = model.inputs
    y, top = model.outputs
    assert (x.name, x.shape, x.dtype, x.nbytes, x.index) == ("x", (4, 64), np.dtype(np.float32), 1024, 0)
    assert (y.name, y.full_name, y.shape) == ("y", "n_y:0:y", (4, 8))
    assert model.desc.output("top") is top is model.desc.output("n_top:0:top")
    assert not model.desc.dynamic
    with pytest.raises(KeyError, match="it has y, top"):
        model.desc.output("z")
    assert "dense.om (x float32 [4, 64]" in repr(model)


def test_a_description_of_a_file_knows_no_current_shape(om: Path) -> None:
    with ModelDesc.from_file(om) as desc, pytest.raises(ValueError, match="taken from a file"):
        desc.current_shape(0)


# Memory.

def test_query_size_and_user_memory(om: Path) -> None:
    size = Model.query_size(om)
    assert Model.query_size(om.read_bytes()) == size
    assert size.weights == models.WEIGHT.nbytes
    with DeviceBuffer(size.work) as work, DeviceBuffer(size.weights) as weights:
        for load in (lambda: Model.from_file(om, work=work, weights=weights),
                     lambda: Model.from_bytes(om.read_bytes(), work=work, weights=weights),
                     lambda: Model.from_file(om, work=work, weights=weights, config=LoadConfig(priority=2))):
            with load() as model:
                np.testing.assert_array_equal(model(X)[0], Y)
        content = np.empty(size.weights, np.uint8)
        weights.copy_to(content)
        assert content.tobytes() == models.WEIGHT.tobytes()


def test_user_memory_that_is_too_small(om: Path) -> None:
    with DeviceBuffer(100) as weights, pytest.raises(pyacl.AclError, match="too small"):
        Model.from_file(om, weights=weights)


def test_user_memory_outlives_nothing(om: Path) -> None:
    """Closing memory that a model uses closes the model first."""
    size = Model.query_size(om)
    weights = DeviceBuffer(size.weights)
    model = Model.from_file(om, weights=weights)
    weights.close()
    assert model.closed


def test_load_config(om: Path) -> None:
    config = LoadConfig(priority=3, without_graph=True, workspace_mem_optimize=1)
    with Model.from_file(om, config=config) as model:
        assert model.priority == 3
        model.priority = 5
        assert model.priority == 5
        np.testing.assert_array_equal(model(X)[0], Y)
    data = om.read_bytes()
    with Model.from_config(LoadConfig(load_type="from_mem", mem_addr=data)) as model:
        np.testing.assert_array_equal(model(X)[1], TOP)


@pytest.mark.parametrize(("options", "error"), [
    ({"priority": 9}, "ACL_MDL_PRIORITY_INT32 is 9"), ({"kernel": b"x"}, "not available"),
    ({"nonsense": 1}, "no option 'nonsense'"), ({"load_type": "from_nowhere"}, "no load type"),
    ({"path": 5}, "the path is a str, not 5"), ({"path": "a\0b"}, "first NUL"),
    ({"priority": 2.5}, "priority is an int"), ({"weight_addr": b"x"}, "weight_addr is a DeviceBuffer"),
    ({"external_weights": {"w.bin": b"x"}}, "w.bin are a DeviceBuffer")])
def test_bad_load_options(options: dict[str, Any], error: str) -> None:
    with pytest.raises((ValueError, TypeError), match=error):
        LoadConfig(**options)


def test_sizes_of_memory_are_in_bytes(om: Path) -> None:
    data = om.read_bytes()
    words = np.frombuffer(data.ljust(-(-len(data) // 4) * 4, b"\0"), np.uint32)
    assert LoadConfig(mem_addr=words).options["mem_size"] == words.nbytes
    config = LoadConfig(mem_size=len(data), mem_addr=words)
    config.set("load_type", "from_mem")
    with Model.from_config(config) as model:
        np.testing.assert_array_equal(model(X)[0], Y)


def test_what_is_no_memory_or_path(om: Path, model: Model) -> None:
    with pytest.raises(TypeError, match="memory is a DeviceBuffer, not a int"):
        Model.from_file(om, work=5)  # type: ignore[arg-type]
    for call in (Model.from_file, Model.query_size, ModelDesc.from_file, pyacl.ModelBundle.from_file):
        with pytest.raises(ValueError, match="first NUL"):
            call(f"{om}\0x")
    for take in (Model.from_bytes, ModelDesc.from_bytes, pyacl.ModelBundle.from_bytes):
        with pytest.raises(TypeError, match="what takes a path"):
            take(str(om))
    for priority in (-1, 8):
        with pytest.raises(ValueError, match="give 0"):
            model.priority = priority


def test_a_load_config_that_lacks_something(om: Path) -> None:
    for config, lacks in ((LoadConfig(path=str(om)), "LOAD_TYPE"), (LoadConfig(load_type="from_file"), "PATH")):
        with pytest.raises(ValueError, match=lacks):
            Model.from_config(config)


def test_external_weights() -> None:
    with DeviceBuffer(64) as buffer:
        assert LoadConfig(external_weights={"w.bin": buffer}).external_weights == {"w.bin": buffer}
        with pytest.raises(ValueError, match="without its folder"):
            LoadConfig(external_weights={"a/w.bin": buffer})
    with DeviceBuffer(33) as odd, pytest.raises(ValueError, match="multiple of 32"):
        LoadConfig(external_weights={"w.bin": odd})


# Bindings.

def test_reused_binding(model: Model) -> None:
    x, (y, top) = Tensor.from_numpy(X), outputs()
    with model.bind({"x": x}, {"top": top, "y": y}) as binding:
        assert model.execute(binding) == [y, top]
        np.testing.assert_array_equal(y.numpy(), Y)
        pyacl.memcpy(x, X[::-1].copy())
        model.execute(binding)
        np.testing.assert_array_equal(y.numpy(), Y[::-1])
        np.testing.assert_array_equal(top.numpy(), TOP[::-1])


def test_numpy_is_copied_at_every_execution(model: Model, stream: Stream) -> None:
    x, y, top = X.copy(), np.zeros((4, 8), np.float32), np.zeros(4, np.float32)
    with model.bind([x], [y, top]) as binding:
        model.execute(binding)
        np.testing.assert_array_equal(y, Y)
        x[:] = X[::-1]
        model.execute_async(binding, stream)
        x[:] = 0  # it was staged when the execution was queued
        stream.synchronize()
        np.testing.assert_array_equal(y, Y[::-1])
        np.testing.assert_array_equal(top, TOP[::-1])
        for rows in (X, X[::-1]):  # the staging memory must not be filled again while it is read
            x[:] = rows
            model.execute_async(binding, stream)
        stream.synchronize()
        np.testing.assert_array_equal(y, Y[::-1])


def test_numpy_of_a_queued_execution_stays_what_it_was(model: Model, stream: Stream) -> None:
    first = np.zeros((4, 8), np.float32)
    x = X.copy()
    with model.bind([x], [first, np.zeros(4, np.float32)]) as binding:
        model.execute_async(binding, stream)
        x[:] = X[::-1]
        later = model.execute(binding, stream=stream)[0].copy()
    np.testing.assert_array_equal(later, Y[::-1])
    seen: list[np.ndarray] = []
    x[:] = X
    with model.bind([x], [first, np.zeros(4, np.float32)]) as binding:
        model.execute_async(binding, stream)
        stream.call(lambda: seen.append(first.copy()))
        x[:] = X[::-1]
        model.execute(binding)
    np.testing.assert_array_equal(seen[0], Y)
    np.testing.assert_array_equal(first, Y[::-1])


def test_a_binding_does_not_ask_to_close_what_is_its_own(model: Model, stream: Stream) -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", ResourceWarning)
        with model.bind([X], [np.zeros((4, 8), np.float32), np.zeros(4, np.float32)]) as binding:
            model.execute_async(binding, stream)
            stream.synchronize()
        del binding
        gc.collect()
    assert not found


def test_strided_numpy(model: Model) -> None:
    x = np.asfortranarray(X)
    y = np.zeros((8, 4), np.float32).T
    with model.bind([x], [y, np.zeros(4, np.float32)]) as binding:
        model.execute(binding)
    np.testing.assert_array_equal(y, Y)


def test_outputs_of_the_runtime(model: Model, stream: Stream) -> None:
    free = free_memory()
    with model.bind([Tensor.from_numpy(X)], [None, None]) as binding:
        first, top = model.execute(binding)
        second, _ = model.execute(binding, stream=stream)
        assert first.address != second.address  # the first one is still ours
        assert (first.shape, first.dtype) == ((4, 8), np.dtype(np.float32))
        np.testing.assert_array_equal(first.numpy(), Y)
        np.testing.assert_array_equal(second.numpy(), Y)
        np.testing.assert_array_equal(top.numpy(), TOP)
        with pytest.raises(ValueError, match="allocates outputs only while one waits"):
            model.execute_async(binding, stream)
        first.close(), second.close(), top.close()
        del _
    assert free_memory() == free


def test_set_input_and_output(model: Model, stream: Stream) -> None:
    with model.bind([X]) as binding:
        model.execute(binding)
        other = Tensor.from_numpy(X[::-1].copy())
        y = Tensor.zeros((4, 8))
        binding.set_input("x", other)
        binding.set_output(0, y)
        model.execute_async(binding, stream)
        pending = Tensor.from_numpy(X)
        binding.set_input("x", pending)  # waits for the execution that reads the old one
        np.testing.assert_array_equal(y.numpy(), Y[::-1])
        other.close()
        assert not binding.closed
        pending.close()
        assert binding.closed


@pytest.mark.parametrize(("inputs", "error", "text"), [
    ([X.astype(np.float64)], TypeError, "astype\\('float32'\\)"),
    ([X[:3]], ValueError, r"\[3, 64\], the model takes \[4, 64\]"),
    ([X[0]], ValueError, "the model takes"),
    ([X, X], ValueError, "2 inputs are given, the model has 1: x"),
    ([], ValueError, "0 inputs are given"),
    ({"y": X}, KeyError, "x is missing"),
    ({"x": X, "z": X}, KeyError, "no input 'z'"),
    ([[1.0, 2.0]], TypeError, "is a list"),
    ([None], TypeError, "every input needs a value"),
])
def test_what_does_not_fit_is_refused_before_the_device_sees_it(model: Model, inputs: Any, error: type[Exception],
                                                                text: str) -> None:
    with pytest.raises(error, match=text):
        model.bind(inputs)


def test_buffers_that_are_too_small(model: Model) -> None:
    with DeviceBuffer(1000) as small:
        with pytest.raises(ValueError, match="input x needs 1024 bytes, the memory has 1000"):
            model.bind([small])
        with DeviceBuffer(10) as tiny, pytest.raises(ValueError, match="output y needs 128 bytes"):
            model.bind([X], [tiny, None])


def test_views_must_be_dense(model: Model) -> None:
    with Tensor.zeros((4, 128)) as wide, pytest.raises(ValueError, match="do not lie one after another"):
        model.bind([wide[:, ::2]])


def test_binding_of_another_model(model: Model, om: Path, stream: Stream) -> None:
    with Model.from_file(om) as other, other.bind([X]) as binding:
        for run in (lambda: model.execute(binding), lambda: model.execute_async(binding, stream)):
            with pytest.raises(ValueError, match="not of"):
                run()
    with model.bind([X]) as binding:
        for wrong in (None, "s"):
            with pytest.raises(TypeError, match="a stream is a pyacl.Stream"):
                model.execute_async(binding, wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a stream is a pyacl.Stream"):
            model.execute(binding, stream="s")  # type: ignore[arg-type]
        for call in (model.execute, model.execute_async):
            with pytest.raises(TypeError, match="are an ExecConfig, not a dict"):
                call(binding, stream=stream, config={})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no binding"):
        model.execute_async([X], stream)  # type: ignore[arg-type]


# Executing.

def test_nothing_runs_before_the_stream_is_waited_for(model: Model, stream: Stream) -> None:
    """The wrong program: it reads before it synchronises. Only the deferred schedule makes that certain to show."""
    y, top = outputs()
    with model.bind([Tensor.from_numpy(X)], [y, top]) as binding:
        model.execute_async(binding, stream)
        stream.synchronize()
        np.testing.assert_array_equal(y.numpy(), Y)


def test_what_is_bound_lives_until_it_has_run(model: Model, stream: Stream) -> None:
    y, top = outputs()
    model.execute_async(model.bind([Tensor.from_numpy(X)], [y, top]), stream)  # nobody else keeps binding and input
    stream.synchronize()
    np.testing.assert_array_equal(y.numpy(), Y)


def test_closing_a_buffer_in_flight_waits(model: Model, stream: Stream) -> None:
    x, (y, top) = Tensor.from_numpy(X), outputs()
    binding = model.bind([x], [y, top])
    model.execute_async(binding, stream)
    x.close()
    np.testing.assert_array_equal(y.numpy(), Y)
    assert binding.closed  # it could not run again


def test_closing_the_model_in_flight_waits(om: Path, stream: Stream) -> None:
    model = Model.from_file(om)
    y, top = outputs()
    model.execute_async(model.bind([Tensor.from_numpy(X)], [y, top]), stream)
    model.close()
    np.testing.assert_array_equal(y.numpy(), Y)


def test_unloading_in_flight_is_an_error_in_c(model: Model, stream: Stream) -> None:
    with model.bind([X]) as binding, models.blocked(stream):
        model.execute_async(binding, stream)
        assert pyacl.lib.aclmdlUnload(model.id) == pyacl.lib.ACL_ERROR_GE_UNLOAD_MODEL


def test_one_model_on_two_streams(model: Model, stream: Stream) -> None:
    with Stream() as other, model.bind([Tensor.from_numpy(X)], outputs()) as one, \
            model.bind([Tensor.from_numpy(X)], outputs()) as two:
        with models.blocked(stream):
            model.execute_async(one, stream)
            with pytest.raises(pyacl.AclError, match="cannot run on .* at the same time"):
                model.execute_async(two, other)
            with pytest.raises(pyacl.AclError, match="at the same time"):
                model.execute(two)
        model.execute_async(two, other)  # the first one is done
        other.synchronize()


def test_two_streams_in_turn_by_an_event(model: Model, stream: Stream) -> None:
    first, second = outputs(), outputs()
    with Stream() as other, pyacl.Event() as event, model.bind([Tensor.from_numpy(X)], first) as one, \
            model.bind([Tensor.from_numpy(X)], second) as two:
        model.execute_async(one, stream)
        event.record(stream)
        other.wait(event)
        model.execute_async(two, other)
        other.synchronize()
        stream.synchronize()
        np.testing.assert_array_equal(second[0].numpy(), Y)


def test_timeout_of_an_execution(model: Model, stream: Stream) -> None:
    with model.bind([X], [np.empty((4, 8), np.float32), None]) as binding, models.blocked(stream), \
            pytest.raises(TimeoutError):
        model.execute(binding, stream=stream, config=ExecConfig(stream_sync_timeout=20))


def test_outputs_of_an_execution_that_timed_out_are_not_lost(model: Model, stream: Stream) -> None:
    x = Tensor.from_numpy(X)
    before = free_memory()
    for _ in range(3):
        with model.bind([x], [None, None]) as binding, models.blocked(stream), pytest.raises(TimeoutError):
            model.execute(binding, stream=stream, config=ExecConfig(stream_sync_timeout=20))
    assert free_memory() == before


def test_an_aborted_execution_does_not_keep_the_model_busy(model: Model) -> None:
    with Stream() as stopped, Stream() as other, pyacl.Event(resettable=True) as event, \
            model.bind([Tensor.from_numpy(X)], outputs()) as binding:
        stopped.wait(event)
        model.execute_async(binding, stopped)
        stopped.abort()
        model.execute_async(binding, other)
        other.synchronize()
        event.record(Stream.default())


@pytest.mark.parametrize(("options", "error"), [
    ({"stream_sync_timeout": -2}, ValueError), ({"work_size": 5}, ValueError), ({"nonsense": 5}, ValueError),
    ({"stream_sync_timeout": 1 << 40}, ValueError), ({"stream_sync_timeout": 5.5}, TypeError)])
def test_bad_exec_options(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        ExecConfig(**options)


def test_options_without_a_stream_have_no_effect(model: Model) -> None:
    with model.bind([X]) as binding:
        model.execute(binding, config=ExecConfig(stream_sync_timeout=0))


def test_execute_does_not_wait_for_streams(model: Model, stream: Stream) -> None:
    """aclmdlExecute has a stream of its own: what is queued elsewhere is not its business."""
    with Tensor.zeros((4, 64)) as x, model.bind([x], outputs()) as binding:
        model.execute(binding)
        np.testing.assert_array_equal(binding.memory(0).numpy(), np.ones((4, 8)))  # type: ignore[union-attr]


def test_only_queued_executions_can_be_captured(model: Model, stream: Stream) -> None:
    with model.bind([Tensor.from_numpy(X)], outputs()) as binding:
        for call, code in ((lambda: model.execute(binding), "107030"),
                           (lambda: model.execute(binding, config=ExecConfig()), "107030"),
                           (lambda: model.execute(binding, stream=stream), "1070(27|30)")):
            with pytest.raises(pyacl.AclError, match="507903"), pyacl.Graph.capture(stream), \
                    pytest.raises(pyacl.AclError, match=code):
                call()
        with pyacl.Graph.capture(stream, mode="relaxed") as graph:
            model.execute(binding)
        graph.close()
        with pytest.raises(pyacl.AclError, match="507903"), pyacl.Graph.capture(stream, mode="relaxed"), \
                pytest.raises(pyacl.AclError, match="107027"):
            model.execute(binding, stream=stream)
        with pyacl.Graph.capture(stream) as graph:
            model.execute_async(binding, stream)
        y, top = binding.memory("y"), binding.memory("top")
        for tensor in (y, top):
            pyacl.memset(tensor, 0)
        stream.synchronize()
        assert not y.numpy().any()  # type: ignore[union-attr]
        for _ in range(2):
            graph.launch(stream)
        stream.synchronize()
        np.testing.assert_array_equal(y.numpy(), Y)  # type: ignore[union-attr]
        graph.close()


def test_closed(om: Path, stream: Stream) -> None:
    model = Model.from_file(om)
    binding = model.bind([X])
    model.close()
    model.close()
    assert binding.closed
    for use in (lambda: model(X), lambda: model.bind([X]), lambda: model.execute_async(binding, stream),
                lambda: model.id, model.locked):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_forgotten_models_warn_and_unload(om: Path) -> None:
    free = free_memory()
    held = [Model.from_file(om)]
    held[0](X)
    with pytest.warns(ResourceWarning, match=r"pyacl.Model dense.om \(x .* was never closed"):
        held.clear()
    assert free_memory() == free


# Threads and contexts.

def test_locked_threads_share_a_model(model: Model, stream: Stream) -> None:
    """Several threads, one model, one stream: fill, execute and read under the lock."""
    x, (y, top) = Tensor.zeros((4, 64)), outputs()
    binding = model.bind([x], [y, top])
    wrong: list[int] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(25):
            rows = rng.integers(-9, 9, (4, 64)).astype(np.float32)
            with model.locked():
                pyacl.memcpy_async(x, rows, stream)
                model.execute_async(binding, stream)
                stream.synchronize()
                found = y.numpy()
            if not np.array_equal(found, models.dense_reference(rows)[0]):
                wrong.append(seed)

    _in_threads(work, 4)
    assert not wrong
    binding.close()


def test_calling_from_threads(model: Model) -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(20):
            rows = rng.integers(-9, 9, (4, 64)).astype(np.float32)
            if not np.array_equal(model(rows)[0], models.dense_reference(rows)[0]):
                wrong.append(seed)

    _in_threads(work, 4)
    assert not wrong


def _in_threads(work: Any, count: int) -> None:
    failures: list[BaseException] = []

    def run(seed: int) -> None:
        try:
            work(seed)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_model_of_another_context(model: Model, device: Any) -> None:
    with pyacl.Context(0):
        code = pyacl.lib.aclmdlUnload(model.id)
        assert code == pyacl.lib.ACL_ERROR_RT_MODEL_CONTEXT
        with pytest.raises(RuntimeError, match="107004"):
            model.priority  # noqa: B018
    device.set_current()
    assert model.priority == 0


def test_the_operator_that_failed(tmp_path: Path, stream: Stream) -> None:
    """An exception callback learns its name, and what it had to compute."""
    network = models.graph([models.node("Gather", ["table", "places"], ["rows"], "look_up"),
                            models.node("Relu", ["rows"], ["y"])],
                           [("places", [3], np.int64)], [("y", [3, 5])],
                           [("table", np.arange(20, dtype=np.float32).reshape(4, 5))])
    found: list[Any] = []

    @ffi.callback("aclrtExceptionInfoCallback")
    def failed(info: Any) -> None:
        ids = [f(info) for f in (lib.aclrtGetDeviceIdFromExceptionInfo, lib.aclrtGetStreamIdFromExceptionInfo,
                                 lib.aclrtGetTaskIdFromExceptionInfo)]
        name, counts = ffi.new("char[]", 64), [ffi.new("size_t *"), ffi.new("size_t *")]
        descs = [ffi.new("aclTensorDesc **"), ffi.new("aclTensorDesc **")]
        rest = (descs[0], counts[0], descs[1], counts[1])
        assert lib.aclmdlCreateAndGetOpDesc(*ids, name, 7, *rest) == lib.ACL_ERROR_INVALID_PARAM
        assert lib.aclmdlCreateAndGetOpDesc(ids[0], ids[1], ids[2] + 1, name, 64, *rest) != 0
        assert lib.aclmdlCreateAndGetOpDesc(*ids, name, 64, *rest) == 0
        out = ffi.new("int64_t *")
        for desc, count in zip(descs, counts):
            for i in range(count[0]):
                one, shape = lib.aclGetTensorDescByIndex(desc[0], i), []
                for axis in range(lib.aclGetTensorDescNumDims(one)):
                    assert lib.aclGetTensorDescDimV2(one, axis, out) == 0
                    shape.append(out[0])
                found.append((lib.aclGetTensorDescType(one), shape, lib.aclGetTensorDescAddress(one) != ffi.NULL))
            lib.aclDestroyTensorDesc(desc[0])
        found.append(ffi.string(name))

    with Model.from_file(models.compiled(network, tmp_path / "look_up.om")) as model, \
            Tensor.from_numpy(np.array([1, 9, 0])) as places, \
            model.bind([places], [Tensor.empty((3, 5), np.float32)]) as binding:
        assert lib.aclrtSetExceptionInfoCallback(failed) == 0
        try:
            model.execute_async(binding, stream)
            with pytest.raises(pyacl.AclError, match="look_up"):
                stream.synchronize()
        finally:
            assert lib.aclrtSetExceptionInfoCallback(ffi.NULL) == 0
    assert found == [(lib.ACL_FLOAT, [4, 5], False), (lib.ACL_INT64, [3], True), (lib.ACL_FLOAT, [3, 5], False),
                     b"look_up"]


def test_unknown_model() -> None:
    assert pyacl.lib.aclmdlUnload(99999) == pyacl.lib.ACL_ERROR_GE_EXEC_MODEL_ID_INVALID


# Bad files.

def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(pyacl.AclError, match="145002"):
        Model.from_file(tmp_path / "none.om")


def test_foreign_file(tmp_path: Path) -> None:
    (tmp_path / "a.om").write_bytes(b"not a model" * 100)
    with pytest.raises(pyacl.AclError, match="begins with IMOD"):
        Model.from_file(tmp_path / "a.om")
    with pytest.raises(pyacl.AclError, match="145006"):
        Model.from_bytes(b"IMOD")


# Values.

def test_nan(model: Model) -> None:
    x = X.copy()
    x[1, 5] = np.nan
    y, top = model(x)
    assert np.isnan(y[1]).all()
    assert not np.isnan(y[[0, 2, 3]]).any()


def test_zero_rows(model: Model) -> None:
    with pytest.raises(ValueError, match="nothing in it"):
        model(np.empty((0, 64), np.float32))


# More real networks, where their packages are installed: openwakeword, silero-vad, rapidocr-onnxruntime.

@pytest.mark.parametrize(("package", "file", "shapes"), [
    ("openwakeword", "resources/models/hey_jarvis_v0.1.onnx", {}),
    ("openwakeword", "resources/models/melspectrogram.onnx", {"input": (1, 1280)}),
    ("silero_vad", "data/silero_vad.onnx", {"input": (1, 512), "state": (2, 1, 128)}),
    ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx", {"x": (1, 3, 48, 64)}),
])
def test_networks_of_other_packages(package: str, file: str, shapes: dict[str, Any], tmp_path: Path) -> None:
    import onnxruntime

    path = models.of_package(package, file)
    session = onnxruntime.InferenceSession(str(path))
    rng = np.random.default_rng(0)
    with Model.from_file(models.compiled(path, tmp_path / "network.om")) as model:
        feeds = {t.name: np.asarray(16000) if t.name == "sr" else
                 rng.random(shapes.get(t.name, t.shape), np.float32) for t in model.inputs}
        for found, expected in zip(model(*feeds.values()), session.run(None, feeds)):
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
