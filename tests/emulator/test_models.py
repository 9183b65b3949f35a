"""What only the emulator has: where models come from, SoCs, bundles, dumps, and the C functions misused."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterator

import models
import numpy as np
import pytest
from helpers import free_memory

import pyacl
from pyacl import Model, ModelBundle, ModelDesc, ModelPool, Tensor, ffi, lib
from pyacl.emulator.failure import Failure
from pyacl.emulator.models import compile as compiler
from pyacl.emulator.models import container, session, sources
from pyacl.resource import live

pytest.importorskip("onnxruntime")

X = np.random.default_rng(3).integers(-9, 9, (4, 64)).astype(np.float32)
Y, TOP = models.dense_reference(X)


@pytest.fixture(autouse=True)
def _device(device: Any) -> None:
    device.set_current()


@pytest.fixture(autouse=True)
def _registries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_pairs", {})
    monkeypatch.setattr(sources, "_functions", {})
    monkeypatch.delenv("PYACL_EMULATOR_MODELS", raising=False)


@pytest.fixture
def om(tmp_path: Path) -> Path:
    return models.compiled(models.dense(), tmp_path / "dense.om")


@pytest.fixture
def stripped(tmp_path: Path) -> Path:
    """As from CANN's compiler: described, but without anything that this machine could run."""
    info = container.parse(b"".join(compiler.compile_model(models.dense())))
    parts = [(p.type, bytes(p.data)) for p in info.partitions if p.type != container.ONNX_GRAPH]
    path = tmp_path / "real" / "dense.om"
    path.parent.mkdir()
    path.write_bytes(b"".join(container.build("dense", parts)))
    return path


def save(model: Any, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


# Models that need a source.

def test_without_a_source_it_is_described_and_says_what_to_do(stripped: Path) -> None:
    with Model.from_file(stripped) as model:
        assert model.inputs[0].shape == (4, 64)
        with pytest.raises(NotImplementedError, match="PYACL_EMULATOR_MODELS, or call pyacl.emulator.pair_model"):
            model(X)


def test_source_beside_the_file(stripped: Path) -> None:
    save(models.dense("n"), stripped.with_suffix(".onnx"))
    with Model.from_file(stripped) as model:
        np.testing.assert_array_equal(model(X)[0], Y)


@pytest.mark.parametrize("entry", ["{folder}", "dense.om={folder}/dense.onnx", "/nowhere:{folder}"])
def test_source_from_the_environment(stripped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                     entry: str) -> None:
    save(models.dense(), tmp_path / "dense.onnx")
    monkeypatch.setenv("PYACL_EMULATOR_MODELS", entry.format(folder=tmp_path))
    for load in (lambda: Model.from_file(stripped), lambda: Model.from_bytes(stripped.read_bytes())):
        with load() as model:
            np.testing.assert_array_equal(model(X)[1], TOP)


def test_pair_model(stripped: Path, tmp_path: Path) -> None:
    pyacl.emulator.pair_model(stripped, save(models.dense(), tmp_path / "source.onnx"))
    for load in (lambda: Model.from_file(stripped), lambda: Model.from_bytes(stripped.read_bytes())):
        with load() as model:
            np.testing.assert_array_equal(model(X)[0], Y)


@pytest.mark.parametrize(("change", "text"), [
    (lambda m: m.graph.input[0].type.tensor_type.shape.dim[1].__setattr__("dim_value", 65), r"\[4, 65\] there"),
    (lambda m: m.graph.output.pop(), "it has 1 outputs, the .om 2"),
    (lambda m: m.graph.input[0].type.tensor_type.__setattr__("elem_type", 11), "data type"),
])
def test_a_source_that_is_another_model(stripped: Path, tmp_path: Path, change: Any, text: str) -> None:
    wrong = models.dense()
    change(wrong)
    path = save(wrong, tmp_path / "wrong.onnx")
    with pytest.raises(ValueError, match=text):
        pyacl.emulator.pair_model(stripped, path)
    path.rename(stripped.with_suffix(".onnx"))
    with pytest.raises(ValueError, match="is not the source of dense"):
        Model.from_file(stripped)


def test_inputs_in_another_order(tmp_path: Path) -> None:
    def subtract(*order: str) -> Any:
        return models.graph([models.node("Sub", ["a", "b"], ["c"])], [(n, [3]) for n in order], [("c", [3])])

    parsed = container.parse(b"".join(compiler.compile_model(subtract("a", "b"))))
    parts = [(p.type, bytes(p.data)) for p in parsed.partitions if p.type != container.ONNX_GRAPH]
    (tmp_path / "sub.om").write_bytes(b"".join(container.build("sub", parts)))
    save(subtract("b", "a"), tmp_path / "sub.onnx")
    with Model.from_file(tmp_path / "sub.om") as model:
        a, b = np.arange(3, dtype=np.float32), np.full(3, 10, np.float32)
        np.testing.assert_array_equal(model(a, b)[0], a - b)


# A real file of a real NPU, by its source. Its SoC is another one than the emulator's default.

def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False,
                          env={**os.environ, "PYACL_BACKEND": "emulator", **environment})


_LANE = """
import numpy as np, onnxruntime, pyacl
folder = {folder!r}
with pyacl.Device(0), pyacl.Model.from_file(folder + "/anenet_lane.om") as model:
    assert [t.name for t in model.outputs] == ["binary_logits", "instance_embedding"], model
    x = np.random.default_rng(0).random(model.inputs[0].shape, np.float32)
    session = onnxruntime.InferenceSession(folder + "/anenet_lane.onnx")
    expected = session.run([t.name for t in model.outputs], {{model.inputs[0].name: x}})
    for found, wanted in zip(model(x), expected):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    print("agrees", model.desc.origin_names("/initial_block/Concat") != "")
"""


def test_real_model_through_its_source() -> None:
    folder = str(models.shared("anenet_lane.onnx").parent)
    done = _python(_LANE.format(folder=folder), PYACL_EMULATOR_SOC="Ascend310B4")
    assert "agrees" in done.stdout, done.stderr


def test_wrong_soc(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="compiled for Ascend310B4, and the device is a Ascend910B"):
        Model.from_file(models.shared("anenet_lane.om"))
    with pytest.raises(pyacl.AclError, match="507008"):
        Model.from_file(models.compiled(models.dense(), tmp_path / "p.om", soc="Ascend310P3"))
    models.compiled(models.dense(), tmp_path / "b.om", soc="Ascend910B1")
    Model.from_file(tmp_path / "b.om").close()  # of the same family


def test_real_model_without_source() -> None:
    with Model.from_file(models.shared("a3c_pong_a.om")) as model:
        assert model.outputs[0].full_name == "out_a:0"
        with pytest.raises(NotImplementedError, match="was compiled for an NPU"):
            model(np.zeros((1, 42, 42, 1), np.float32))


# Python functions as models.

def test_python_function(tmp_path: Path) -> None:
    @pyacl.emulator.model("twice.om", inputs={"x": ((2, 3), np.float32)}, outputs={"y": ((2, 3), "float32")})
    def _(x: np.ndarray) -> np.ndarray:
        assert not x.flags.writeable
        return 2 * x

    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    with Model.from_file(tmp_path / "twice.om") as model, pyacl.Stream() as stream:
        assert [t.name for t in model.outputs] == ["y"]
        np.testing.assert_array_equal(model(x)[0], 2 * x)
        y = Tensor.zeros((2, 3))
        with model.bind([Tensor.from_numpy(x)], [y]) as binding:
            model.execute_async(binding, stream)
            stream.synchronize()
            np.testing.assert_array_equal(y.numpy(), 2 * x)


def test_python_function_for_a_file(stripped: Path) -> None:
    @pyacl.emulator.model(stripped)
    def dense(x: np.ndarray) -> Any:
        return models.dense_reference(x)

    with Model.from_file(stripped) as model:
        np.testing.assert_array_equal(model(X)[1], TOP)


def test_a_function_that_fails(tmp_path: Path) -> None:
    @pyacl.emulator.model("bad.om", inputs=[("x", (2,), np.float32)], outputs=[("y", (2,), np.float32)])
    def bad(x: np.ndarray) -> Any:
        if x[0] == 0:
            return np.zeros(3, np.float32)
        raise ZeroDivisionError("on purpose")

    with Model.from_file("bad.om") as model, pyacl.Stream() as stream:
        with pytest.raises(pyacl.AclError, match=r"returned \[3\] for y, which is \[2\]"):
            model(np.zeros(2, np.float32))
        with pytest.raises(pyacl.AclError, match="on purpose"):
            model(np.ones(2, np.float32))
        with model.bind([np.ones(2, np.float32)]) as binding:
            model.execute_async(binding, stream)
            with pytest.raises(pyacl.AclError, match="on purpose"):
                stream.synchronize()
        with pytest.raises(pyacl.AclError, match="on purpose"):  # a failure leaves the model usable
            model(np.ones(2, np.float32))


def test_a_function_needs_a_description() -> None:
    with pytest.raises(ValueError, match="give inputs and outputs"):
        pyacl.emulator.model("nowhere.om")(lambda x: x)


# Compiling.

def test_types(tmp_path: Path) -> None:
    for dtype in (np.float16, np.float64, np.int8, np.uint8, np.int16, np.int32, np.int64, np.bool_):
        copy = models.graph([models.node("Identity", ["x"], ["y"])], [("x", [3], dtype)], [("y", [3], dtype)])
        with Model.from_file(models.compiled(copy, tmp_path / "t.om")) as model:
            x = np.array([0, 1, 2]).astype(dtype)
            (y,) = model(x)
            assert y.dtype == x.dtype == model.inputs[0].dtype
            np.testing.assert_array_equal(y, x)


def test_bfloat16(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = np.dtype(ml_dtypes.bfloat16)
    there = models.graph([models.node("Cast", ["x"], ["y"], to=16), models.node("Identity", ["b"], ["c"])],
                         [("x", [3]), ("b", [2], kind)], [("y", [3], kind), ("c", [2], kind)])
    with Model.from_file(models.compiled(there, tmp_path / "b.om")) as model:
        x, b = np.array([1, 2.5, -3], np.float32), np.array([7, 8]).astype(kind)
        y, c = model(x, b)
        assert y.dtype == c.dtype == kind
        np.testing.assert_array_equal(y, x.astype(kind))
        np.testing.assert_array_equal(c, b)
        first, _ = model.execute(model.bind([x, b], [None, None]))
        np.testing.assert_array_equal(first.numpy(), x.astype(kind))


def test_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    source = tmp_path / "dense.onnx"
    onnx.save(models.dense(), str(source), save_as_external_data=True, location="dense.bin", size_threshold=16)
    assert (tmp_path / "dense.bin").stat().st_size >= models.WEIGHT.nbytes
    om = models.compiled(source, tmp_path / "out.om")
    (tmp_path / "dense.bin").unlink()
    with Model.from_file(om) as model:
        np.testing.assert_array_equal(model(X)[0], Y)


@pytest.mark.parametrize(("options", "text"), [
    ({"input_shape": {"z": (1,)}}, "the model's inputs are x"),
    ({"input_shape": {"x": (4, 65)}}, "but the model says"),
    ({"dynamic_batch": (1, 2), "dynamic_dims": ((1,), (2,))}, "exclude each other"),
    ({"dynamic_batch": (1,)}, "2 to 100 gears"), ({"dynamic_batch": (1, 1)}, "given twice"),
    ({"dynamic_dims": ((1, 2), (2, 3))}, "1 dimensions vary"),
    ({"dynamic_image_size": ((1, 2), (2, 3))}, "height and width"),
    ({"input_format": "NHCW"}, "choose one of"), ({"out_nodes": ("nothing:0",)}, "neither node:index"),
])
def test_bad_compile_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(Failure, match=text):
        compiler.compile_model(models.dense("n"), compiler.Options(**options))


def test_out_nodes(tmp_path: Path) -> None:
    with Model.from_file(models.compiled(models.dense(), tmp_path / "cut.om", out_nodes=("n_r:0",))) as model:
        assert [t.name for t in model.outputs] == ["r"]
        np.testing.assert_array_equal(model(X)[0], Y - 1)


def test_an_operator_that_onnxruntime_lacks() -> None:
    unknown = models.graph([models.node("NoSuchOperator", ["x"], ["y"])], [("x", [3])], [("y", [3])])
    with pytest.raises(Failure, match="NoSuchOperator"):
        compiler.compile_model(unknown)


@pytest.mark.parametrize("shift", range(4))
def test_weights_are_aligned(shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime takes them where they lie: in our own files without a copy, in others by one."""
    import onnxruntime

    given: list[np.ndarray] = []
    value = onnxruntime.OrtValue

    class Spy:
        @staticmethod
        def ortvalue_from_numpy(array: np.ndarray) -> Any:
            given.append(array)
            return value.ortvalue_from_numpy(array)

    monkeypatch.setattr(onnxruntime, "OrtValue", Spy)
    data = b"".join(compiler.compile_model(models.dense(), compiler.Options(name="n" * shift, command="c" * 9 * shift)))
    weights = container.parse(data).find(container.WEIGHTS_DATA)
    assert weights is not None
    content = np.frombuffer(weights, np.uint8)
    assert content.ctypes.data % 16 == np.frombuffer(data, np.uint8).ctypes.data % 16
    moved = memoryview(bytes(shift) + data)[shift:]
    parsed = container.parse(moved)
    session.open_model(parsed.find(container.ONNX_GRAPH), parsed.find(container.WEIGHTS_DATA))
    assert given
    assert all(array.flags.aligned and array.ctypes.data % 16 == 0 for array in given)
    np.testing.assert_array_equal(given[-1].reshape(-1), models.WEIGHT.reshape(-1))


def test_weights_that_were_tampered_with(om: Path) -> None:
    parsed = container.parse(om.read_bytes())
    parts = [(p.type, bytes(p.data) if p.type != container.WEIGHTS_DATA else bytes(p.data)[:100])
             for p in parsed.partitions]
    with pytest.raises(pyacl.AclError, match="not inside the model's 100 bytes of weights"):
        Model.from_bytes(b"".join(container.build("dense", parts)))


# Bundles.

@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    parts = [b"".join(compiler.compile_model(m)) for m in (models.dense(), models.dense(2))]
    (tmp_path / "bundle.om").write_bytes(b"".join(compiler.bundle(parts, variables=1 << 16)))
    return tmp_path / "bundle.om"


def test_bundle(bundle: Path) -> None:
    free = free_memory()
    size = ModelBundle.query_size(bundle)
    assert (size.variables, len(size.models), size.models[0].weights) == (1 << 16, 2, models.WEIGHT.nbytes)
    for open_ in (lambda: ModelBundle.from_file(bundle), lambda: ModelBundle.from_bytes(bundle.read_bytes())):
        with open_() as found:
            four, two = found.models
            np.testing.assert_array_equal(four(X)[0], Y)
            np.testing.assert_array_equal(two(X[:2])[0], Y[:2])
            assert lib.aclmdlUnload(four.id) == lib.ACL_ERROR_INVALID_PARAM  # only the bundle may
            four.close()
            assert found.models == [two]
            kept = two
        assert kept.closed
    assert free_memory() == free


def test_bundle_model_by_model(bundle: Path) -> None:
    with pyacl.DeviceBuffer(1 << 16) as memory, ModelBundle.from_file(bundle, load=False, variables=memory) as found:
        assert found.models == []
        second = found.load(1, config=pyacl.LoadConfig(priority=1))
        assert second.priority == 1
        np.testing.assert_array_equal(second(X[:2])[0], Y[:2])
        with pytest.raises(ValueError, match="no model 2"):
            found.load(2)


def test_a_bundle_that_loads_in_part_is_closed(tmp_path: Path) -> None:
    parts = [b"".join(compiler.compile_model(models.dense(), compiler.Options(soc=soc))) for soc in ("", "Ascend310P3")]
    (tmp_path / "bundle.om").write_bytes(b"".join(compiler.bundle(parts, variables=1 << 16)))
    with pyacl.DeviceBuffer(1 << 16) as memory, warnings.catch_warnings():
        warnings.simplefilter("error")
        free = free_memory()
        with pytest.raises(pyacl.AclError, match="was compiled for Ascend310P3"):
            ModelBundle.from_file(tmp_path / "bundle.om", variables=memory)
        assert free_memory() == free
        assert not live(ModelBundle)


def test_a_bundle_is_no_model_and_a_model_no_bundle(bundle: Path, om: Path) -> None:
    with pytest.raises(pyacl.AclError, match="is a bundle"):
        Model.from_file(bundle)
    with pytest.raises(ValueError, match="is no bundle"):
        ModelBundle.from_file(om)
    assert lib.aclmdlBundleUnload(999) == lib.ACL_ERROR_INVALID_BUNDLE_MODEL_ID


# Pools.

def test_pool(om: Path) -> None:
    rng = np.random.default_rng(1)
    batches = [rng.integers(-9, 9, (rng.integers(1, 9), 64)).astype(np.float32) for _ in range(40)]
    with ModelPool(om, copies=3) as pool:
        assert len(pool) == 3
        for x, (y, _) in zip(batches, pool.map(batches)):
            np.testing.assert_array_equal(y, models.dense_reference(x)[0])
        named = pool.submit(x=X).result()
        np.testing.assert_array_equal(named["top"], TOP)
        with pytest.raises(ValueError, match="the model takes"):
            pool.submit(np.zeros((4, 65), np.float32)).result()
        np.testing.assert_array_equal(pool.submit(X).result()[0], Y)  # a failure stops nobody
    for use in (pool.submit, lambda _: pool.__enter__()):
        with pytest.raises(RuntimeError, match="closed"):
            use(X)


def test_pool_takes_no_more_than_it_needs(om: Path) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield X

    with ModelPool(om) as pool:
        results = pool.map(endless(), in_flight=2)
        for _ in range(5):
            next(results)
        assert taken <= 7
        results.close()  # type: ignore[attr-defined]


def test_pool_that_cannot_load(tmp_path: Path) -> None:
    with pytest.raises(pyacl.AclError, match="145002"):
        ModelPool(tmp_path / "none.om", copies=2)
    with pytest.raises(ValueError, match="at least one"):
        ModelPool(tmp_path / "none.om", copies=0)
    with pytest.raises(ValueError, match="at least one call"):
        ModelPool(tmp_path / "none.om", queue_size=0)


def test_pools_that_are_left_early(om: Path) -> None:
    """An error in the body, in the source of the items or in one item ends the pool, and the threads with it."""
    def failing() -> Iterator[np.ndarray]:
        yield X
        raise KeyError("source")

    def use(items: Iterator[np.ndarray], error: type[Exception]) -> None:
        with ModelPool(om, copies=2, queue_size=1) as pool:
            threads.extend(pool._threads)
            for _ in pool.map(items):
                if error is OSError:
                    raise OSError("body")

    threads: list[threading.Thread] = []
    for items, error in ((iter([X] * 50), OSError), (failing(), KeyError), (iter([X, X[:, :3], X]), ValueError)):
        with pytest.raises(error):
            use(items, error)
    assert len(threads) == 6
    assert not any(thread.is_alive() for thread in threads)


def test_a_pool_closed_while_others_submit(om: Path) -> None:
    """What was taken is computed, what was not is refused, and nobody waits for ever."""
    taken: list[Any] = []

    def submit() -> None:
        while True:
            taken.append(pool.submit(X))

    pool = ModelPool(om, queue_size=1)
    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(submit) for _ in range(3)]
        while len(taken) < 20:
            time.sleep(0.001)
        pool.close()
        for one in running:
            with pytest.raises(RuntimeError, match="closed"):
                one.result(30)
    assert all(np.array_equal(future.result(30)[0], Y) for future in taken)


def test_closing_a_model_waits_for_calls_of_other_threads() -> None:
    begun, ended, closing = threading.Event(), threading.Event(), threading.Event()

    @pyacl.emulator.model("slow.om", inputs={"x": ((1,), "float32")}, outputs={"y": ((1,), "float32")})
    def slow(x: np.ndarray) -> np.ndarray:
        begun.set()
        assert closing.wait(30)
        time.sleep(0.05)  # for a close that does not wait to get through
        ended.set()
        return x + 1

    def close() -> None:
        closing.set()
        model.close()
        assert ended.is_set()

    model = Model.from_file("slow.om")
    with ThreadPoolExecutor(2) as threads:
        called = threads.submit(model, np.ones(1, np.float32))
        assert begun.wait(30)
        threads.submit(close).result()
        assert called.result()[0].tolist() == [2]
    with pytest.raises(pyacl.ClosedError):
        model(np.ones(1, np.float32))


def test_a_pool_that_is_never_closed_ends_its_threads(om: Path) -> None:
    """Python would end them inside onnxruntime, which ends the process in an error."""
    done = _python(f"""
import atexit, threading
atexit.register(lambda: print([t.name for t in threading.enumerate() if t.name.startswith("pyacl-model")]))
import numpy as np, pyacl
pool = pyacl.ModelPool({str(om)!r}, copies=2)
first = pool.submit(np.zeros((40, 64), np.float32))
later = [pool.submit(np.zeros((40, 64), np.float32)) for _ in range(4)]
atexit.register(lambda: print(first.result()[0].shape))
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(40, 8)\n[]\n"


# The C functions, misused.

def test_null_and_foreign_handles() -> None:
    invalid, wrong = lib.ACL_ERROR_INVALID_PARAM, lib.ACL_ERROR_RT_PARAM_INVALID
    out = ffi.new("uint32_t *")
    assert lib.aclmdlLoadFromFile(ffi.NULL, out) == invalid
    assert lib.aclmdlLoadFromFile(b"x.om", ffi.NULL) == invalid
    assert lib.aclmdlLoadFromMem(b"x", 0, out) == invalid
    assert lib.aclmdlDestroyDataset(ffi.NULL) == invalid
    desc, dataset = lib.aclmdlCreateDesc(), lib.aclmdlCreateDataset()
    assert lib.aclmdlGetDesc(ffi.cast("aclmdlDesc *", dataset), 1) == wrong
    assert lib.aclmdlGetInputDims(desc, 0, ffi.new("aclmdlIODims *")) == invalid  # empty
    assert lib.aclmdlGetNumInputs(desc) == 0
    assert lib.aclmdlDestroyDesc(desc) == 0
    assert lib.aclmdlDestroyDesc(desc) == wrong
    assert lib.aclmdlGetDatasetBuffer(dataset, 0) == ffi.NULL
    assert lib.aclmdlGetDatasetNumBuffers(ffi.NULL) == 0
    assert lib.aclmdlDestroyDataset(dataset) == 0


def test_exact_value_sizes() -> None:
    invalid = lib.ACL_ERROR_INVALID_PARAM
    config, execution = lib.aclmdlCreateConfigHandle(), lib.aclmdlCreateExecConfigHandle()
    value = ffi.new("uint64_t *", 1)
    for name, size in (("ACL_MDL_PRIORITY_INT32", 4), ("ACL_MDL_LOAD_TYPE_SIZET", 8), ("ACL_MDL_MEM_SIZET", 8),
                       ("ACL_MDL_MEM_ADDR_PTR", 8), ("ACL_MDL_WORKSPACE_MEM_OPTIMIZE", 8),
                       ("ACL_MDL_WITHOUT_GRAPH_INT32", 4)):
        assert lib.aclmdlSetConfigOpt(config, getattr(lib, name), value, size) == 0, name
        assert lib.aclmdlSetConfigOpt(config, getattr(lib, name), value, 12 - size) == invalid, name
    assert lib.aclmdlSetConfigOpt(config, lib.ACL_MDL_PRIORITY_INT32, ffi.NULL, 4) == invalid
    for attr in range(lib.ACL_MDL_MODEL_DESC_PTR, lib.ACL_MDL_FIFO_SIZET + 1):
        assert lib.aclmdlSetConfigOpt(config, attr, value, 8) == invalid
    for attr, size in ((0, 4), (1, 4)):
        assert lib.aclmdlSetExecConfigOpt(execution, attr, value, size) == 0
        assert lib.aclmdlSetExecConfigOpt(execution, attr, value, 8) == invalid
    for attr in range(2, 10):
        assert lib.aclmdlSetExecConfigOpt(execution, attr, value, 8) == invalid
    assert lib.aclmdlDestroyConfigHandle(config) == lib.aclmdlDestroyExecConfigHandle(execution) == 0


def test_datasets_that_do_not_fit(om: Path) -> None:
    with Model.from_file(om) as model, model.bind([X]) as binding, pyacl.Stream() as stream:
        empty = lib.aclmdlCreateDataset()
        config = lib.aclmdlCreateExecConfigHandle()
        invalid = lib.ACL_ERROR_INVALID_PARAM
        assert lib.aclmdlExecute(model.id, empty, binding._output) == invalid
        assert lib.aclmdlExecute(model.id, binding.handle, empty) == invalid
        assert lib.aclmdlExecuteV2(model.id, binding.handle, binding._output, stream.handle, ffi.NULL) == invalid
        assert lib.aclmdlExecuteAsyncV2(model.id, binding.handle, binding._output, ffi.NULL, config) == invalid
        assert lib.aclmdlExecute(9999, binding.handle, binding._output) == lib.ACL_ERROR_GE_EXEC_MODEL_ID_INVALID
        buffer = lib.aclmdlGetDatasetBuffer(binding.handle, 0)
        size = lib.aclGetDataBufferSizeV2(buffer)
        address = lib.aclGetDataBufferAddr(buffer)
        assert lib.aclUpdateDataBuffer(buffer, address, size - 1) == 0
        assert lib.aclmdlExecute(model.id, binding.handle, binding._output) == lib.ACL_ERROR_GE_PARAM_INVALID
        assert lib.aclUpdateDataBuffer(buffer, ffi.from_buffer(X), size) == 0  # host memory
        assert lib.aclmdlExecute(model.id, binding.handle, binding._output) != 0
        assert lib.aclUpdateDataBuffer(buffer, ffi.NULL, 0) == 0
        assert lib.aclmdlExecute(model.id, binding.handle, binding._output) == invalid
        lib.aclUpdateDataBuffer(buffer, address, size)
        lib.aclmdlDestroyDataset(empty), lib.aclmdlDestroyExecConfigHandle(config)


def test_an_execution_like_the_one_before_is_checked_like_it(om: Path) -> None:
    """The same datasets again, after what they point to changed."""
    def execute() -> int:
        return int(lib.aclmdlExecute(model.id, binding.handle, binding._output))

    def allocate(content: np.ndarray) -> Any:
        assert lib.aclrtMalloc(out, content.nbytes, 0) == 0
        pyacl.memcpy(pyacl.DeviceBuffer.from_address(int(ffi.cast("uintptr_t", out[0])), content.nbytes), content)
        return out[0]

    out = ffi.new("void **")
    y = Tensor.empty((4, 8), np.float32)
    with Model.from_file(om) as model, model.bind([X], [y, np.empty(4, np.float32)]) as binding:
        buffer = lib.aclmdlGetDatasetBuffer(binding.handle, 0)
        places = [allocate(X + i) for i in range(40)]  # more than are kept ready
        for _ in range(2):
            for i, place in enumerate(places):
                assert lib.aclUpdateDataBuffer(buffer, place, X.nbytes) == 0
                assert execute() == execute() == 0
                np.testing.assert_array_equal(y.numpy(), models.dense_reference(X + i)[0])
        assert lib.aclrtFree(places.pop()) == 0
        assert execute() == lib.ACL_ERROR_RT_PARAM_INVALID
        again = allocate(X)  # most likely at the same address
        assert lib.aclUpdateDataBuffer(buffer, again, X.nbytes) == execute() == 0
        np.testing.assert_array_equal(y.numpy(), Y)
        assert lib.aclUpdateDataBuffer(buffer, again, X.nbytes - 1) == 0
        assert execute() == lib.ACL_ERROR_GE_PARAM_INVALID
        assert lib.aclUpdateDataBuffer(buffer, again, X.nbytes + 4096) == 0  # past the allocation
        assert execute() == lib.ACL_ERROR_RT_PARAM_INVALID
        for place in (*places, again):
            assert lib.aclrtFree(place) == 0


def test_memory_freed_in_flight_is_a_fault(om: Path) -> None:
    """The C program that frees an input before its stream is synchronised."""
    def free_in_flight() -> None:
        with models.blocked(stream):
            model.execute_async(binding, stream)
            assert lib.aclrtFree(x[0]) == 0

    with Model.from_file(om) as model, pyacl.Stream() as stream:
        x = ffi.new("void **")
        assert lib.aclrtMalloc(x, 1024, 0) == 0
        with model.bind([pyacl.DeviceBuffer.from_address(int(ffi.cast("uintptr_t", x[0])), 1024)]) as binding, \
                pytest.raises(pyacl.AclError, match="already freed"):
            free_in_flight()


def test_long_names(tmp_path: Path) -> None:
    """Names that do not fit aclmdlIODims get an alias, which can be resolved."""
    long = "n" * 200
    copy = models.graph([models.node("Identity", [long], ["y"])], [(long, [3])], [("y", [3])])
    with ModelDesc.from_file(models.compiled(copy, tmp_path / "long.om")) as desc:
        dims = ffi.new("aclmdlIODims *")
        assert lib.aclmdlGetInputDims(desc.handle, 0, dims) == 0
        alias = ffi.string(dims.name)
        assert alias.startswith(b"acl_modelId_")
        assert ffi.string(lib.aclmdlGetTensorRealName(desc.handle, alias)).decode() == long == desc.inputs[0].name


def test_device_memory_limits_models(om: Path) -> None:
    code = """
import pyacl
with pyacl.Device(0):
    try: pyacl.Model.from_file({om!r})
    except MemoryError as error: print("no memory", error.code)
"""
    done = _python(code.format(om=str(om)), PYACL_EMULATOR_MEMORY="1K")
    assert "no memory" in done.stdout, done.stderr
