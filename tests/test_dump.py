"""Dumps: of what models compute, to files and to a callback, and of the user's own tensors."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import models
import numpy as np
import pytest

import pyacl
from pyacl import Model, ModelDump, Tensor, ffi, lib

X = np.random.default_rng(3).integers(-9, 9, (4, 64)).astype(np.float32)
Y, TOP = models.dense_reference(X)


@pytest.fixture(autouse=True)
def _device(device: Any) -> None:
    device.set_current()


@pytest.fixture
def om(tmp_path: Path) -> Path:
    return models.compiled(models.dense(), tmp_path / "dense.om")


def configuration(folder: Path, **options: Any) -> Path:
    path = folder / "acl.json"
    path.write_text(json.dumps({"dump": options}))
    return path


@pytest.fixture
def initialised() -> Iterator[None]:
    assert lib.aclmdlInitDump() == 0
    yield
    assert lib.aclmdlFinalizeDump() == 0


# Models

def test_models_loaded_while_it_is_open(om: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dumps"
    folder.mkdir()
    with Model.from_file(om) as earlier:
        with ModelDump(configuration(tmp_path, dump_path=str(folder), dump_mode="all")):
            earlier(X)
            assert not list(folder.rglob("*.npy"))
            with Model.from_file(om) as model:
                model(X)
            with pytest.raises(pyacl.AclError, match="100044"):
                ModelDump(tmp_path / "acl.json")
            later = Model.from_file(om)
        dumped = {p.name: np.load(p) for p in folder.rglob("*.npy")}
        assert set(dumped) == {"Node_Output.input.0.npy", "Node_Output.output.0.npy", "Node_Output.output.1.npy"}
        np.testing.assert_array_equal(dumped["Node_Output.input.0.npy"], X)
        np.testing.assert_array_equal(dumped["Node_Output.output.0.npy"], Y)
        with later:
            later(X)
        assert len(list(folder.rglob("*.npy"))) == 3
    assert lib.aclmdlFinalizeDump() == lib.ACL_ERROR_DUMP_NOT_RUN


@pytest.mark.parametrize(("options", "dumps"), [
    ({"dump_list": [{"model_name": "dense"}]}, True), ({"dump_list": [{"model_name": "other"}]}, False),
    ({"dump_list": [{}]}, True), ({"dump_debug": "on"}, False), ({"dump_scene": "aic_err_brief_dump"}, False)])
def test_which_models(om: Path, tmp_path: Path, options: dict[str, Any], dumps: bool) -> None:
    with ModelDump(configuration(tmp_path, dump_path=str(tmp_path), **options)), Model.from_file(om) as model:
        model(X)
    assert bool(list(tmp_path.rglob("*.npy"))) == dumps


@pytest.mark.parametrize(("content", "code"), [
    ("{", 100006), ("{}", 100009), ('{"dump": {"dump_path": "/nowhere"}}', 100009),
    ('{"dump": {"dump_path": "/tmp", "dump_list": {}}}', 100009),
    ('{"dump": {"dump_path": "/tmp", "dump_list": [{}], "dump_debug": "on"}}', 100009)])
def test_bad_configuration(tmp_path: Path, content: str, code: int) -> None:
    (tmp_path / "acl.json").write_text(content)
    with pytest.raises(pyacl.AclError, match=str(code)):
        ModelDump(tmp_path / "acl.json")


def test_configuration_of_aclinit(om: Path, tmp_path: Path) -> None:
    code = f"""
import numpy as np, pyacl
pyacl.init({str(configuration(tmp_path, dump_path=str(tmp_path), dump_list=[{}]))!r})
with pyacl.Device(0), pyacl.Model.from_file({str(om)!r}) as model:
    model(np.load({str(tmp_path / "x.npy")!r}))
    assert pyacl.lib.aclmdlInitDump() == pyacl.lib.ACL_ERROR_DUMP_ALREADY_RUN
    print(pyacl.ffi.string(pyacl.lib.acldumpGetPath(pyacl.lib.DATA_DUMP)).decode())
"""
    np.save(tmp_path / "x.npy", X)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(tmp_path), done.stderr
    np.testing.assert_array_equal(np.load(next(tmp_path.rglob("*output.0.npy"))), Y)


def test_a_folder_that_is_gone(om: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dumps"
    folder.mkdir()
    with ModelDump(configuration(tmp_path, dump_path=str(folder))), Model.from_file(om) as model:
        folder.rmdir()
        folder.write_text("a file in its place")
        with pytest.raises(pyacl.AclError, match="cannot be written: Not a directory"):
            model(X)


@pytest.mark.parametrize("configured", [False, True])
def test_callback(tmp_path: Path, initialised: None, configured: bool) -> None:
    """It gets what would be the files, in pieces, with and without a configuration."""
    files: dict[str, bytes] = {}
    done = []

    @ffi.callback("int32_t(acldumpChunk *, int32_t)")
    def take(chunk: Any, size: int) -> int:
        name = Path(ffi.string(chunk.fileName).decode())
        assert name.is_absolute()
        assert size == ffi.sizeof("acldumpChunk") + chunk.bufLen
        content = files.setdefault(name.name, b"")
        assert chunk.offset == len(content)
        files[name.name] = content + bytes(ffi.buffer(chunk.dataBuf, chunk.bufLen))
        done.extend([name.name] * chunk.isLastChunk)
        return 0

    wide = models.graph([models.node("Identity", ["x"], ["y"])], [("x", [300, 1000])], [("y", [300, 1000])])
    om, x = models.compiled(wide, tmp_path / "wide.om"), np.arange(300_000, dtype=np.float32).reshape(300, 1000)
    if configured:
        path = os.fsencode(configuration(tmp_path, dump_path=str(tmp_path), dump_mode="all"))
        assert lib.aclmdlSetDump(path) == 0
    assert lib.acldumpRegCallback(take, 0) == 0
    with Model.from_file(om) as model:
        model(x)
        assert sorted(files) == sorted(done) == ["Node_Output.input.0.npy"] * configured + ["Node_Output.output.0.npy"]
        for content in files.values():
            np.testing.assert_array_equal(np.load(io.BytesIO(content)), x)
        assert not list(tmp_path.rglob("*.npy"))
        lib.acldumpUnregCallback()
        if configured:
            model(x)
            assert len(list(tmp_path.rglob("*.npy"))) == 2
    assert lib.acldumpRegCallback(ffi.NULL, 0) == lib.acldumpRegCallback(take, 1) == lib.ACL_ERROR_FAILURE


# Failing operators, and dumps of one's own

def test_paths(tmp_path: Path, initialised: None) -> None:
    out = ffi.new("char[]", 4096)
    assert lib.acldumpGetPath(lib.DATA_DUMP) == ffi.NULL
    assert lib.acldumpGetExceptionInfoPath(out, 4096) == lib.ACL_ERROR_FAILURE
    config = configuration(tmp_path, dump_path=str(tmp_path), dump_scene="aic_err_brief_dump")
    assert lib.aclmdlSetDump(os.fsencode(config)) == 0
    assert lib.acldumpGetExceptionInfoPath(out, 4096) == 0
    assert Path(os.fsdecode(ffi.string(out))) == tmp_path / "extra-info" / "data-dump" / "0"
    assert ffi.string(out).endswith(b"/0/")
    assert ffi.string(lib.acldumpGetPath(lib.AIC_ERR_NORM_DUMP)) == os.fsencode(tmp_path / "extra-info" / "data-dump")
    assert ffi.string(lib.acldumpGetPath(lib.DATA_DUMP)) == os.fsencode(tmp_path)
    for wrong in ((ffi.NULL, 4096), (out, 1), (out, len(ffi.string(out)))):
        assert lib.acldumpGetExceptionInfoPath(*wrong) == lib.ACL_ERROR_INVALID_PARAM


def header(content: bytes) -> Any:
    """The header of a dump, as Google's protobuf reads it."""
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    from google.protobuf import descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="dump.proto", package="d", syntax="proto3")
    kinds = {"u": 4, "s": 9}  # uint64, string
    for message, fields in {
            "Shape": [("dim", 1, "u", True)], "Attr": [("name", 1, "s", False), ("value", 2, "s", False)],
            "Output": [("type", 1, "u", False), ("format", 2, "u", False), ("shape", 3, "Shape", False),
                       ("size", 6, "u", False)],
            "Input": [("type", 1, "u", False), ("format", 2, "u", False), ("shape", 3, "Shape", False),
                      ("size", 5, "u", False)],
            "Data": [("version", 1, "s", False), ("time", 2, "u", False), ("output", 3, "Output", True),
                     ("input", 4, "Input", True), ("name", 6, "s", False), ("attr", 7, "Attr", True)]}.items():
        made = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            made.field.add(name=name, number=number, label=3 if repeated else 1, type=kinds.get(kind, 11),
                           type_name=None if kind in kinds else f".d.{kind}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("d.Data")).FromString(content)


def test_saving_tensors(tmp_path: Path, initialised: None) -> None:
    infos = ffi.new("acldumpTensorInfo[2]")
    with Tensor.from_numpy(X) as x, Tensor.from_numpy(TOP.astype(np.int32)) as top:
        for info, tensor, kind in zip(infos, (top, x), (lib.ACL_DUMP_TENSOR_OUTPUT, lib.ACL_DUMP_TENSOR_INPUT)):
            info.type, info.tensorSize, info.format = kind, tensor.nbytes, lib.ACL_FORMAT_ND
            info.dataType = lib.ACL_FLOAT if tensor is x else lib.ACL_INT32
            info.tensorAddr = ffi.cast("int64_t *", tensor.address)
            info.addrType, info.placement = lib.ACL_DUMP_ADDR_RAW, lib.ACL_DUMP_PLACEMENT_DEVICE
            info.shapeNum = len(tensor.shape)
            for i, size in enumerate(tensor.shape):
                info.shape[i] = size
        save = lib.acldumpSaveExceptionInfo
        assert save(b"mine", b"tag", infos, 2) == lib.ACL_ERROR_FAILURE  # not asked for
        assert lib.aclmdlSetDump(os.fsencode(configuration(
            tmp_path, dump_path=str(tmp_path), dump_scene="aic_err_norm_dump"))) == 0
        assert save(b"sub/mine", b"tag", infos, 2) == 0
        (path,) = tmp_path.rglob("mine.custom.*")
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        about = header(content[8:8 + length])
        assert (about.version, about.name, path.parent.name) == ("2.0", path.name, "sub")
        assert [(a.name, a.value) for a in about.attr] == [("user_tag", "tag")]
        assert [(t.type, t.format, list(t.shape.dim), t.size) for t in about.input] == [(1, 2, [4, 64], 1024)]
        assert [(t.type, t.format, list(t.shape.dim), t.size) for t in about.output] == [(7, 2, [4], 16)]
        assert content[8 + length:] == X.tobytes() + TOP.astype(np.int32).tobytes()
        for name, tensors, count in ((b"", infos, 2), (b"../x", infos, 2), (b"/x", infos, 2), (ffi.NULL, infos, 2),
                                     (b"x", ffi.NULL, 2), (b"x", infos, 0)):
            assert save(name, ffi.NULL, tensors, count) == lib.ACL_ERROR_INVALID_PARAM
        for field, wrong in (("addrType", lib.ACL_DUMP_ADDR_PTR), ("placement", lib.ACL_DUMP_PLACEMENT_HOST),
                             ("shapeNum", 26), ("tensorSize", 0), ("tensorAddr", ffi.NULL)):
            right = getattr(infos[0], field)
            setattr(infos[0], field, wrong)
            assert save(b"x", ffi.NULL, infos, 1) == lib.ACL_ERROR_INVALID_PARAM
            setattr(infos[0], field, right)
