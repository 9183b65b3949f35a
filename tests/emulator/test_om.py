"""The .om container: reading real files exactly, writing, and surviving broken ones."""

from __future__ import annotations

import random
import struct
import tracemalloc

import models
import numpy as np
import pytest

import pyacl
from pyacl.emulator.failure import Failure
from pyacl.emulator.models import compile as compiler
from pyacl.emulator.models import container, describe, modeldef, wire

# What a file that cannot be loaded may end with.
LOAD_ERRORS = {pyacl.lib.ACL_ERROR_GE_PARAM_INVALID, pyacl.lib.ACL_ERROR_GE_EXEC_MODEL_DATA_SIZE_INVALID,
               pyacl.lib.ACL_ERROR_GE_FAILURE}


@pytest.fixture(scope="module")
def small() -> bytes:
    return b"".join(compiler.compile_model(models.dense()))


# Real files.

def test_older_table() -> None:
    info = describe.describe_file(models.shared("a3c_pong_a.om"))
    assert info.container.version == 0x1000_0000
    assert [(p.name, p.size) for p in info.container.partitions] == [
        ("MODEL_DEF", 30191), ("WEIGHTS_DATA", 320000), ("TBE_KERNELS", 21433), ("TASK_INFO", 5351)]
    assert info.container.platform_version == "1.11.z.0"
    (s,), (out,) = info.inputs, info.outputs
    assert (s.name, s.shape, s.dtype, s.format) == ("s", (1, 42, 42, 1), pyacl.lib.ACL_FLOAT, pyacl.lib.ACL_FORMAT_NHWC)
    assert (out.name, out.shape, out.format, out.nbytes) == ("out_a:0", (1,), pyacl.lib.ACL_FORMAT_NHWC, 4)
    assert (info.work_bytes, info.weight_bytes, len(info.definition.operators)) == (90624, 320000, 26)
    assert info.operators()["Conv2D"] == 3


@pytest.mark.parametrize("from_definition", [False, True])
def test_newer_table_and_compressed_names(from_definition: bool) -> None:
    """The description is the same from INOUT_INFO and from the graph, whose attribute names are compressed."""
    parsed = container.parse(container.read(models.shared("anenet_lane.om")))
    assert parsed.version == 0x2000_0000
    assert [(p.name, p.size) for p in parsed.partitions] == [
        ("INOUT_INFO", 507), ("MODEL_DEF", 1297461), ("WEIGHTS_DATA", 2203648), ("TBE_KERNELS", 378946),
        ("TASK_INFO", 79616)]
    if from_definition:
        parsed.partitions = [p for p in parsed.partitions if p.type != container.INOUT_INFO]
    info = describe.of_container(parsed)
    (x,), (logits, embedding) = info.inputs, info.outputs
    assert (x.name, x.shape, x.nbytes) == ("input_image", (1, 3, 256, 512), 1572864)
    assert x.format == pyacl.lib.ACL_FORMAT_NCHW
    assert logits.name == "PartitionedCall_/binary_transposed_conv/ConvTranspose_Conv2DTranspose_53:0:binary_logits"
    assert (logits.shape, embedding.shape) == ((1, 2, 256, 512), (1, 4, 256, 512))
    assert info.soc == "Ascend310B4"
    assert "--input_shape=input_image:1,3,256,512" in info.definition.attributes.get("atc_cmdline")
    kernels = info.kernels()
    assert len(kernels) == 129
    assert all(k.name.endswith("__kernel0") for k in kernels)


def test_every_attribute_of_a_compressed_file_decodes() -> None:
    info = describe.describe_file(models.shared("anenet_lane.om"))
    data = next(op for op in info.definition.operators if op.type == "Data")
    attributes, _, outputs = data.detail()
    # Both tables were used: for the name, and for the string that an integer stands for.
    assert attributes.get("OUTPUT_IS_VAR") == [False]
    assert attributes.get("_ge_attr_op_kernel_lib_name") == "DNN_VM_GE_LOCAL_OP_STORE"
    assert outputs[0].attributes.get("origin_shape") == [1, 3, 256, 512]
    for op in info.definition.operators:
        found = op.detail()
        for attribute in found[0]:
            found[0].get(attribute)


# Writing.

def test_what_is_written_can_be_read(small: bytes) -> None:
    parsed = container.parse(small)
    assert [p.name for p in parsed.partitions] == [
        "INOUT_INFO", "MODEL_DEF", "WEIGHTS_DATA", "TBE_KERNELS", "TASK_INFO", "ONNX_GRAPH"]
    info = describe.describe(small)
    assert [(t.name, t.shape) for t in info.inputs] == [("x", (4, 64))]
    assert [(t.name, t.shape) for t in info.outputs] == [("n_y:0:y", (4, 8)), ("n_top:0:top", (4,))]
    assert info.weight_bytes == models.WEIGHT.nbytes
    assert bytes(parsed.find(container.WEIGHTS_DATA) or b"") == models.WEIGHT.tobytes()
    # The graph says the same as INOUT_INFO.
    parsed.partitions = [p for p in parsed.partitions if p.type != container.INOUT_INFO]
    again = describe.of_container(parsed)
    assert [(t.name, t.shape, t.nbytes) for t in again.inputs + again.outputs] == \
        [(t.name, t.shape, t.nbytes) for t in info.inputs + info.outputs]


@pytest.mark.parametrize("options", [
    compiler.Options(dynamic_batch=(1, 2, 4)), compiler.Options(dynamic_dims=((1,), (3,)))])
def test_gears_survive_both_ways(options: compiler.Options) -> None:
    data = b"".join(compiler.compile_model(models.dense("n"), options))
    parsed = container.parse(data)
    info = describe.of_container(parsed)
    parsed.partitions = [p for p in parsed.partitions if p.type != container.INOUT_INFO]
    again = describe.of_container(parsed)
    for found in (info, again):
        assert (found.gears.batch, found.gears.dims) == (list(options.dynamic_batch), list(options.dynamic_dims))
        assert [(t.name, t.shape) for t in found.inputs][0] == ("x", (-1, 64))
        assert found.inputs[-1].name == "ascend_mbatch_shape_data"
    assert info.outputs[0].nbytes == max(g[0] for g in info.gears.values) * 8 * 4


def test_protobuf_agrees_with_the_reader() -> None:
    """What this writer writes, Google's protobuf reads (a message of the same field numbers), and the reverse."""
    onnx = pytest.importorskip("onnx")
    tensor = onnx.numpy_helper.from_array(np.arange(-3, 5, dtype=np.int64), "t")
    found = list(wire.fields(memoryview(tensor.SerializeToString())))
    assert [n for n, _ in found] == [1, 2, 8, 9]
    assert (wire.integers(found[0][1]), found[1][1], wire.text(found[2][1])) == ([8], onnx.TensorProto.INT64, "t")
    written = wire.message((1, [8, 300]), (2, onnx.TensorProto.INT64), (7, [-1, 2 ** 40]), (8, "näme"))
    read = onnx.TensorProto.FromString(written)
    assert (list(read.dims), list(read.int64_data), read.name) == ([8, 300], [-1, 2 ** 40], "näme")


def test_attribute_values() -> None:
    values = {"i": -5, "b": True, "s": "text", "f": 0.5, "ints": [1, -2, 3], "strings": ["a", "b"]}
    attributes = modeldef.Attributes()
    for key, value in values.items():
        attributes.add(memoryview(wire.message((1, key), (2, modeldef.encode_attribute(value)))))
    assert {key: attributes.get(key) for key in values} == values


# Broken files.

def _code(data: bytes) -> int:
    try:
        describe.describe(data)
    except Failure as failure:
        return failure.code if failure.text else -1
    return 0


@pytest.mark.parametrize(("change", "code"), [
    (lambda d: b"", "ACL_ERROR_GE_EXEC_MODEL_DATA_SIZE_INVALID"),
    (lambda d: d[:100], "ACL_ERROR_GE_EXEC_MODEL_DATA_SIZE_INVALID"),
    (lambda d: d[:-1], "ACL_ERROR_GE_EXEC_MODEL_DATA_SIZE_INVALID"),
    (lambda d: d + b"x", "ACL_ERROR_GE_EXEC_MODEL_DATA_SIZE_INVALID"),
    (lambda d: b"PK\3\4" + d[4:], "ACL_ERROR_GE_PARAM_INVALID"),
    (lambda d: d[:80] + b"\1" + d[81:], "ACL_ERROR_GE_PARAM_INVALID"),
    (lambda d: d[:256] + struct.pack("<I", 0xFFFFFFFF) + d[260:], "ACL_ERROR_GE_EXEC_MODEL_DATA_SIZE_INVALID"),
    (lambda d: d[:272] + struct.pack("<QQ", 1 << 62, 16) + d[288:], "ACL_ERROR_GE_EXEC_MODEL_DATA_SIZE_INVALID"),
    (lambda d: d[:264] + struct.pack("<I", 99) + d[268:288] + struct.pack("<I", 98) + d[292:], "ACL_ERROR_GE_FAILURE"),
], ids=["empty", "half a header", "cut off", "too long", "foreign", "encrypted", "many partitions", "huge offset",
        "no definition"])
def test_codes_of_broken_files(small: bytes, change: object, code: str) -> None:
    assert _code(change(small)) == getattr(pyacl.lib, code)  # type: ignore[operator]


def test_onnx_file_is_recognised() -> None:
    with pytest.raises(Failure, match="compile it first"):
        describe.describe(models.dense().SerializeToString().ljust(400, b"\0"))


def _mutated(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    kind = rng.randrange(5)
    if kind == 0:  # single bytes
        for _ in range(rng.randint(1, 20)):
            out[rng.randrange(len(out))] = rng.randrange(256)
    elif kind == 1:  # a cut
        del out[rng.randrange(len(out)):]
    elif kind == 2:  # a number of the header or the table
        at = rng.choice([4, 8, 76, 80, 156, 184, 256, 260, *range(264, 400, 4)])
        struct.pack_into("<I", out, at, rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)]))
    elif kind == 3:  # a block moved
        start, size = rng.randrange(len(out)), rng.randrange(1, 200)
        block = out[start:start + size]
        del out[start:start + size]
        at = rng.randrange(len(out) or 1)
        out[at:at] = block
    else:  # a run of one byte, such as endless varints
        start = rng.randrange(256, len(out))
        size = min(rng.randrange(1, 64), len(out) - start)
        out[start:start + size] = bytes([rng.choice([0, 0x0A, 0x80, 0xFF])]) * size
    return bytes(out)


@pytest.mark.parametrize("gears", [
    describe.Gears(dims=[(1, 2), (3, 4)]), describe.Gears(dims=[(), (1,)]), describe.Gears(hw=[(1, 2)] * 129),
    describe.Gears(batch=list(range(1, 200))), describe.Gears(dims=[(1,), (1 << 63,)])],
    ids=["more", "fewer", "many sizes", "many batches", "huge"])
def test_gears_that_do_not_fit(gears: describe.Gears) -> None:
    parsed = container.parse(b"".join(compiler.compile_model(models.dense("n"), compiler.Options(
        dynamic_dims=((1,), (3,))))))
    info = describe.of_container(parsed)
    records = describe.encode_records(info.inputs, info.outputs, gears)
    parts = [(p.type, records if p.type == container.INOUT_INFO else p.data) for p in parsed.partitions]
    assert _code(b"".join(container.build("dense", parts))) == pyacl.lib.ACL_ERROR_GE_FAILURE


def test_tensors_larger_than_memory() -> None:
    huge = describe.TensorInfo("x", (1 << 62, 1 << 62), pyacl.lib.ACL_FLOAT, pyacl.lib.ACL_FORMAT_ND, 0)
    definition = modeldef.encode_model("huge", [modeldef.encode_operator("x", "Data", [], output_tensors=(
        modeldef.encode_tensor(huge.dtype, huge.shape, "ND", 0),))], ["x"], {})
    assert _code(b"".join(container.build("huge", [(container.MODEL_DEF, definition)]))) == \
        pyacl.lib.ACL_ERROR_GE_FAILURE


@pytest.mark.parametrize("source", ["compiled", "gears", "dims", "real"])
def test_thousand_mutations(small: bytes, source: str) -> None:
    """No mutation crashes the reader, ends in an undocumented code, or makes it allocate more than a few file sizes."""
    if source == "real":
        data = container.read(models.shared("a3c_pong_a.om"))
        data = data[:256] + data[256:]
    else:
        data = small if source == "compiled" else b"".join(compiler.compile_model(
            models.dense("n"), compiler.Options(dynamic_batch=(1, 2)) if source == "gears" else
            compiler.Options(dynamic_dims=((1,), (2,)))))
    rng = random.Random(f"om {source}")
    codes = set()
    tracemalloc.start()
    try:
        for _ in range(300 if source == "dims" else 1000):
            mutated = _mutated(data, rng)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            code = _code(mutated)
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < 8 * len(data) + (1 << 20)
            codes.add(code)
            if not code:  # what still reads can be looked at
                info = describe.describe(mutated)
                info.operators(), info.kernels()
                if source in ("gears", "dims"):  # what C asks most about
                    pyacl.ModelDesc.from_bytes(mutated).close()
    finally:
        tracemalloc.stop()
    assert codes <= LOAD_ERRORS | {0}
    assert len(codes) == 4  # the mutations reached every kind of failure


def test_loading_mutations(small: bytes, device: pyacl.Device) -> None:
    """Through the C function: what does not load fails with a documented code, and what loads runs."""
    device.set_current()
    rng = random.Random("load")
    documented = LOAD_ERRORS | {0, pyacl.lib.ACL_ERROR_GE_EXEC_LOAD_WEIGHT_PARTITION_FAILED}
    out = pyacl.ffi.new("uint32_t *")
    for _ in range(300):
        mutated = _mutated(small, rng)
        code = pyacl.lib.aclmdlLoadFromMem(mutated, len(mutated), out)
        assert code in documented, pyacl.ffi.string(pyacl.lib.aclGetRecentErrMsg())
        if code == 0:
            assert pyacl.lib.aclmdlUnload(out[0]) == 0
    pyacl.lib.aclGetRecentErrMsg()


def test_a_damaged_graph_is_not_run(small: bytes, device: pyacl.Device) -> None:
    device.set_current()
    at = small.rindex(b"MatMul")
    with pytest.raises(pyacl.AclError, match="is damaged"):
        pyacl.Model.from_bytes(small[:at] + b"MaxMul" + small[at + 6:])
