"""Gears and dynamic shapes, batches of any size, and AIPP."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import models
import numpy as np
import pytest

import pyacl
from pyacl import Aipp, DeviceBuffer, Model, Stream, Tensor, ffi, lib

pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(11)


@pytest.fixture(autouse=True)
def _device(device: Any) -> None:
    device.set_current()


def rows(count: int) -> np.ndarray:
    return RNG.integers(-9, 9, (count, 64)).astype(np.float32)


def room(nbytes: int) -> DeviceBuffer:
    """Memory that goes with the test."""
    return Tensor.empty((nbytes,), np.uint8).buffer


def check(model: Model, count: int) -> None:
    x = rows(count)
    y, top = model(x)
    expected = models.dense_reference(x)
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(top, expected[1])


# Calls with any number of rows.

@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("om")


@pytest.fixture(scope="module")
def fixed(folder: Path) -> Path:
    return models.compiled(models.dense(), folder / "fixed.om")


@pytest.fixture
def gears(folder: Path) -> Iterator[Model]:
    path = folder / "gears.om"
    if not path.exists():
        models.compiled(models.dense("n"), path, dynamic_batch=(1, 2, 8))
    with Model.from_file(path) as model:
        yield model


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 11])
def test_batches_are_split_and_padded(fixed: Path, count: int) -> None:
    with Model.from_file(fixed) as model:
        check(model, count)


def test_by_name_and_with_a_bar(fixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Model.from_file(fixed) as model:
        x = rows(9)
        for found in (model(x=x), model({"x": x}, progress=True)):
            assert list(found) == ["y", "top"]
            np.testing.assert_array_equal(found["y"], models.dense_reference(x)[0])
        assert "3/3" in capsys.readouterr().err


def test_only_the_batch_is_split(fixed: Path) -> None:
    with Model.from_file(fixed) as model, pytest.raises(ValueError, match="the model takes"):
        model(np.zeros((8, 65), np.float32))


def test_a_model_whose_outputs_have_no_batch(tmp_path: Path) -> None:
    total = models.graph([models.node("ReduceSum", ["x"], ["s"], keepdims=0)], [("x", [4, 2])], [("s", [])])
    with Model.from_file(models.compiled(total, tmp_path / "sum.om")) as model:
        assert model(np.ones((4, 2), np.float32))[0] == 8
        with pytest.raises(ValueError, match="the model takes"):
            model(np.ones((5, 2), np.float32))


# Gears.

@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 20])
def test_dynamic_batch(gears: Model, count: int) -> None:
    assert gears.desc.batches == (1, 2, 8)
    assert gears.inputs[0].shape == (-1, 64)
    assert [t.name for t in gears.inputs] == ["x"]  # the shape's own input is not the user's business
    check(gears, count)


def test_a_gear_is_chosen_on_the_binding(gears: Model, stream: Stream) -> None:
    x, y = room(8 * 64 * 4), room(8 * 8 * 4)
    with gears.bind([x], [y, room(32)]) as binding:
        for count in (2, 8):
            data = rows(count)
            x.copy_from(data)
            binding.set_batch(count)
            assert binding.output_shape("y") == (count, 8)
            gears.execute_async(binding, stream)
            stream.synchronize()
            found = np.empty((count, 8), np.float32)
            y.copy_to(found)
            np.testing.assert_array_equal(found, models.dense_reference(data)[0])


def test_a_gear_that_changes_in_flight_waits(gears: Model, stream: Stream) -> None:
    x, y = room(8 * 64 * 4), Tensor.zeros((8, 8))
    data = rows(8)
    x.copy_from(data)
    with gears.bind([x], [room(y.nbytes), room(32)]) as binding:
        binding.set_batch(8)
        gears.execute_async(binding, stream)
        binding.set_batch(1)
        found = np.empty((8, 8), np.float32)
        binding.memory(0).copy_to(found)  # type: ignore[union-attr]
        np.testing.assert_array_equal(found, models.dense_reference(data)[0])


def test_gears_that_were_not_compiled(gears: Model) -> None:
    with gears.bind([room(8 * 64 * 4)]) as binding:
        with pytest.raises(pyacl.AclError, match="145013"):
            binding.set_batch(3)
        with pytest.raises(ValueError, match="batchSize is 0"):
            binding.set_batch(0)
        with pytest.raises(ValueError, match="-1 is no gear"):
            binding.set_batch(-1)
        with pytest.raises(pyacl.AclError, match="other gears"):
            binding.set_size(2, 2)


def test_a_gear_cannot_be_set_while_a_stream_is_captured(gears: Model, stream: Stream) -> None:
    with gears.bind([room(8 * 64 * 4)]) as binding, pytest.raises(pyacl.AclError, match="507903"), \
            pyacl.Graph.capture(stream), pytest.raises(pyacl.AclError, match="107030"):
        binding.set_batch(2)


def test_a_gear_that_was_never_set(gears: Model) -> None:
    with gears.bind([room(8 * 64 * 4)]) as binding, pytest.raises(pyacl.AclError, match="no gear was set"):
        gears.execute(binding)


def test_a_fixed_model_has_no_gears(fixed: Path) -> None:
    with Model.from_file(fixed) as model, model.bind([room(1024)]) as binding, \
            pytest.raises(ValueError, match="has no gears"):
        binding.set_batch(4)


def _picture_model() -> Any:
    """Means over the picture, by channel; sizes vary."""
    return models.graph([models.node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
                         models.node("Neg", ["image"], ["negative"])],
                        [("image", [1, 3, "h", "w"])], [("mean", [1, 3]), ("negative", [1, 3, "h", "w"])])


def test_dynamic_resolution(tmp_path: Path) -> None:
    path = models.compiled(_picture_model(), tmp_path / "hw.om", dynamic_image_size=((4, 6), (8, 8)))
    with Model.from_file(path) as model:
        assert model.desc.sizes == ((4, 6), (8, 8))
        for shape in ((1, 3, 4, 6), (1, 3, 8, 8)):
            x = RNG.integers(-9, 9, shape).astype(np.float32)
            mean, negative = model(x)
            np.testing.assert_allclose(mean, x.mean((2, 3)), rtol=1e-6)
            np.testing.assert_array_equal(negative, -x)
        with pytest.raises(ValueError, match="no gear of the model"):
            model(np.zeros((1, 3, 4, 4), np.float32))


def test_dynamic_dims(tmp_path: Path) -> None:
    two = models.graph([models.node("MatMul", ["a", "b"], ["c"])], [("a", ["n", "k"]), ("b", ["k", 3])],
                       [("c", ["n", 3])])
    path = models.compiled(two, tmp_path / "dims.om", dynamic_dims=((2, 4, 4), (5, 8, 8)))
    with Model.from_file(path) as model:
        assert model.desc.dims == ((2, 4, 4, 3), (5, 8, 8, 3))
        for n, k in ((2, 4), (5, 8)):
            a, b = (RNG.integers(-9, 9, s).astype(np.float32) for s in ((n, k), (k, 3)))
            np.testing.assert_array_equal(model(a, b)[0], a @ b)
        with model.bind([room(5 * 8 * 4), room(8 * 3 * 4)]) as binding:
            binding.set_shapes({"a": (2, 4), "b": (4, 3)})
            assert binding.output_shape(0) == (2, 3)
            with pytest.raises(pyacl.AclError, match="145013"):
                binding.set_shapes({"a": (5, 4), "b": (4, 3)})
            with pytest.raises(KeyError, match="no shape is given for b"):
                binding.set_shapes({"a": (2, 4)})


def test_dynamic_shapes(tmp_path: Path, stream: Stream) -> None:
    path = models.compiled(models.dense("n"), tmp_path / "free.om",
                           input_shape={"x": ((1, 50), 64)})
    with Model.from_file(path) as model:
        (x,) = model.inputs
        assert (x.shape, x.ranges) == ((-1, 64), ((1, 50), (64, 64)))
        with pytest.raises(pyacl.AclError, match="run time only"):
            Model.query_size(path)
        for count in (1, 7, 50):
            check(model, count)
        with pytest.raises(ValueError, match="within"):
            model(rows(51))
        data, y, top = Tensor.from_numpy(rows(7)), room(4096), room(4096)
        with model.bind([data], [y, top]) as binding:
            with pytest.raises(pyacl.AclError, match="which shape it has"):
                model.execute(binding)
            binding.set_shapes({"x": (7, 64)})
            model.execute_async(binding, stream)
            stream.synchronize()
            assert binding.output_shape("y") == (7, 8)
        with model.bind([data], [room(16), top]) as binding:
            binding.set_shapes({"x": (7, 64)})
            with pytest.raises(pyacl.AclError, match="has 16 bytes, the result needs 224"):
                model.execute(binding)


def test_work_memory_of_a_streams_allocator(tmp_path: Path, stream: Stream) -> None:
    """Models of dynamic shape that are queued on the stream take it, and nothing else does."""
    log: list[Any] = []
    memory = room(1 << 16)

    @ffi.callback("aclrtAllocatorAllocFunc")
    def alloc(allocator: Any, size: int) -> Any:
        log.append(size)
        return ffi.cast("void *", 0 if full else 77)

    @ffi.callback("aclrtAllocatorFreeFunc")
    def free(allocator: Any, block: Any) -> None:
        log.append(int(ffi.cast("uintptr_t", block)))

    @ffi.callback("aclrtAllocatorGetAddrFromBlockFunc")
    def address(block: Any) -> Any:
        return ffi.cast("void *", place)

    full, place = False, memory.address
    with Model.from_file(models.compiled(models.dense("n"), tmp_path / "free.om")) as model, \
            Model.from_file(models.compiled(models.dense(), tmp_path / "fixed.om")) as fixed, Stream() as other, \
            model.bind([Tensor.from_numpy(rows(7))], [room(4096), room(4096)]) as binding, \
            fixed.bind([Tensor.from_numpy(rows(4))]) as plain:
        binding.set_shapes({"x": (7, 64)})
        desc = lib.aclrtAllocatorCreateDesc()
        for function, value in ((lib.aclrtAllocatorSetObjToDesc, ffi.cast("void *", 1)),
                                (lib.aclrtAllocatorSetAllocFuncToDesc, alloc),
                                (lib.aclrtAllocatorSetFreeFuncToDesc, free),
                                (lib.aclrtAllocatorSetGetAddrFromBlockFuncToDesc, address)):
            assert function(desc, value) == 0
        assert lib.aclrtAllocatorRegister(stream.handle, desc) == lib.aclrtAllocatorDestroyDesc(desc) == 0
        fixed.execute_async(plain, stream)
        model.execute(binding, stream=stream)
        model.execute_async(binding, other)
        other.synchronize()
        assert log == []
        model.execute_async(binding, stream)
        stream.synchronize()
        assert binding.output_shape("y") == (7, 8)
        size, block = log
        assert size >= 7 * 64 * 4
        assert block == 77
        full = True
        with pytest.raises(pyacl.AclError, match="245000"):
            model.execute_async(binding, stream)
        full, place = False, memory.address + (1 << 20)  # what the allocator has given back to the device
        model.execute_async(binding, stream)
        with pytest.raises(pyacl.AclError, match="is not device memory"):
            stream.synchronize()
        assert lib.aclrtAllocatorUnregister(stream.handle) == 0
        log.clear()
        model.execute_async(binding, stream)
        stream.synchronize()
        assert log == []


def test_output_shapes_that_depend_on_values(tmp_path: Path) -> None:
    found = models.graph([models.node("NonZero", ["x"], ["where"])], [("x", [10])], [("where", [1, "n"], np.int64)])
    with Model.from_file(models.compiled(found, tmp_path / "nonzero.om")) as model:
        for nonzero in ([1, 5], [], [0, 2, 9]):
            x = np.zeros(10, np.float32)
            x[nonzero] = 1
            (where,) = model.execute(model.bind([x], [None]))
            assert where.numpy().tolist() == [nonzero]


# AIPP.

def _identity(layout: str = "NCHW", batch: int = 1) -> Any:
    shape = [batch, 3, 4, 6] if layout == "NCHW" else [batch, 4, 6, 3]
    return models.graph([models.node("Identity", ["image"], ["out"])], [("image", shape)], [("out", shape)])


def test_static_aipp(tmp_path: Path) -> None:
    """RGB pictures of 8 x 6: cropped to 6 x 4, normalised."""
    config = {"aipp_mode": "static", "input_format": "RGB888_U8", "src_image_size_w": 8, "src_image_size_h": 6,
              "crop": True, "load_start_pos_w": 1, "load_start_pos_h": 2, "mean_chn_0": 10, "mean_chn_1": 20,
              "mean_chn_2": 30, "var_reci_chn_0": 0.5, "var_reci_chn_1": 0.25, "var_reci_chn_2": 2.0}
    with Model.from_file(models.compiled(_identity(), tmp_path / "a.om", aipp={"": config})) as model:
        assert model.aipp_type("image") == "static"
        assert (model.inputs[0].shape, model.inputs[0].dtype) == ((1, 6, 8, 3), np.dtype(np.uint8))
        info = model.aipp_info(0)
        assert (info["srcImageSizeW"], info["cropSwitch"], info["meanChn2"]) == (8, 1, 30)
        picture = RNG.integers(0, 256, (1, 6, 8, 3), dtype=np.uint8)
        cut = picture[:, 2:6, 1:7].astype(np.float32)
        expected = (cut - [10, 20, 30]) * [0.5, 0.25, 2]
        np.testing.assert_allclose(model(picture)[0], expected.transpose(0, 3, 1, 2), rtol=1e-6)


def test_static_aipp_from_yuv(tmp_path: Path) -> None:
    """Grey YUV420SP pictures come out grey through the usual matrix."""
    config = {"aipp_mode": "static", "input_format": "YUV420SP_U8", "csc_switch": True, "matrix_r0c0": 256,
              "matrix_r0c2": 359, "matrix_r1c0": 256, "matrix_r1c1": -88, "matrix_r1c2": -183, "matrix_r2c0": 256,
              "matrix_r2c1": 454, "input_bias_1": 128, "input_bias_2": 128}
    with Model.from_file(models.compiled(_identity(), tmp_path / "yuv.om", aipp={"": config})) as model:
        info = model.inputs[0]
        assert (info.nbytes, info.shape) == (4 * 6 * 3 // 2, (1, 6, 6, 1))
        raw = np.full((1, 6, 6, 1), 128, np.uint8)
        raw[0, :4, :, 0] = luma = RNG.integers(0, 256, (4, 6))
        np.testing.assert_array_equal(model(raw)[0], np.broadcast_to(luma, (1, 3, 4, 6)))


def test_dynamic_aipp(tmp_path: Path, stream: Stream) -> None:
    settings = {"aipp_mode": "dynamic", "max_src_image_size": 4096}
    path = models.compiled(_identity(), tmp_path / "d.om", aipp={"": settings})
    with Model.from_file(path) as model:
        assert model.aipp_type(0) == "dynamic"
        assert len(model.inputs) == 1
        picture = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        out = Tensor.empty((1, 3, 4, 6))
        with model.bind([picture.reshape(-1)], [out]) as binding, Aipp("RGB888_U8", (30, 20)) as aipp:
            with pytest.raises(pyacl.AclError, match="no AIPP parameters were set"):
                model.execute(binding)
            with pytest.raises(ValueError, match="comes out of AIPP as 30x20, the model takes 6x4"):
                binding.set_aipp(aipp)
            aipp.crop(5, 7, 4, 3)
            aipp.pad(1, 0, 2, 0)
            aipp.normalize(mean=(1, 2, 3), reciprocal=(1, 1, 0.5))
            aipp.swap(rb_uv=True)
            for binder in (lambda: binding.set_aipp(aipp), lambda: binding.set_aipp(aipp, "image")):
                binder()
                model.execute_async(binding, stream)
                stream.synchronize()
                cut = (picture[7:10, 5:9, ::-1].astype(np.float32) - [1, 2, 3]) * [1, 1, 0.5]
                expected = np.pad(cut, ((1, 0), (2, 0), (0, 0))).transpose(2, 0, 1)[None]
                np.testing.assert_array_equal(out.numpy(), expected)


@pytest.mark.parametrize(("call", "text"), [
    (lambda a: a.crop(29, 0, 2, 2), "do not fit"), (lambda a: a.pad(40, 0, 0, 0), "0 to 32"),
    (lambda a: a.csc([[1, 2], [3, 4]]), "three rows"), (lambda a: a.crop(0, 0, 2, 2, picture=1), "no picture 1"), (lambda a: a.scale((2, 2), (4, 4)), "not available")])
def test_bad_aipp(call: Any, text: str) -> None:
    with Aipp("YUV420SP_U8", (30, 20)) as aipp, pytest.raises((ValueError, pyacl.AclError), match=text):
        call(aipp)


def test_bad_pictures() -> None:
    for arguments in (("RGB888_U8", (1, 4)), ("RGB888_U8", (4, 5000)), ("YUV420SP_U8", (5, 4)), ("NONSENSE", (4, 4))):
        with pytest.raises(ValueError):
            Aipp(*arguments)


def test_a_model_without_aipp(fixed: Path) -> None:
    with Model.from_file(fixed) as model, Aipp("RGB888_U8", (4, 4)) as aipp:
        assert model.aipp_type(0) == "without"
        with pytest.raises(ValueError, match="no dynamic AIPP"):
            model.bind([room(1024)]).set_aipp(aipp)
        with pytest.raises(pyacl.AclError, match="has no static AIPP"):
            model.aipp_info(0)
