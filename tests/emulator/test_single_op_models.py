"""Single operators as model files: the compiler of ``--singleop``, what it writes, and running it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyacl
from pyacl import OpHandle, Tensor, TensorDesc, lib, single_op
from pyacl.cli import main
from pyacl.emulator.failure import Failure
from pyacl.emulator.single_op import om
from pyacl.emulator.single_op.attr import Attr
from pyacl.emulator.single_op.compile import compile_file
from pyacl.emulator.single_op.model import OpModel, Signature

ND, F32 = lib.ACL_FORMAT_ND, lib.ACL_FLOAT


@pytest.fixture(autouse=True)
def _current(device: Any) -> None:
    device.set_current()


def tensor(*shape: int, type: str = "float32", **more: Any) -> dict[str, Any]:
    return {"format": "ND", "shape": list(shape), "type": type, **more}


def write(path: Path, *operators: dict[str, Any]) -> str:
    path.write_text(json.dumps(operators))
    return str(path)


def add(*shape: int, **more: Any) -> dict[str, Any]:
    return {"op": "Add", "input_desc": [tensor(*shape)] * 2, "output_desc": [tensor(*shape)], **more}


def test_the_documented_example(tmp_path: Path) -> None:
    entry = {"op": "Add", "input_desc": [tensor(3, 3, type="int32")] * 2, "output_desc": [tensor(3, 3, type="int32")]}
    assert compile_file(write(tmp_path / "add.json", entry), str(tmp_path / "out")) == [
        str(tmp_path / "out" / "0_Add_3_2_3_3_3_2_3_3_3_2_3_3.om")]


def test_a_compiled_operator_runs(tmp_path: Path) -> None:
    path, = compile_file(write(tmp_path / "a.json", add(17, 3, name="add")), str(tmp_path))
    assert path == str(tmp_path / "add.om")
    desc = TensorDesc((17, 3), np.float32)
    with pytest.raises(pyacl.errors.OperatorNotFoundError):
        OpHandle("Add", [desc, desc], [desc], compile=False)
    single_op.load(path)
    x, out = Tensor.from_numpy(np.ones((17, 3), np.float32)), Tensor.zeros((17, 3))
    with OpHandle("Add", [desc, desc], [desc], compile=False) as handle:
        handle.execute([x, x], [out])
    assert (out.numpy() == 2).all()


def test_attributes_and_constants(tmp_path: Path) -> None:
    entry = {"op": "ReduceSum", "input_desc": [tensor(19, 3), tensor(1, type="int64", is_const=True, const_value=[1])],
             "output_desc": [tensor(19, 1)], "attr": [{"name": "keep_dims", "type": "bool", "value": True}]}
    single_op.load(compile_file(write(tmp_path / "r.json", entry), str(tmp_path))[0])
    x, out = Tensor.from_numpy(np.ones((19, 3), np.float32)), Tensor.zeros((19, 1))
    axes = TensorDesc((1,), np.int64, const=[1])
    pyacl.op("ReduceSum", [x, axes], [out], {"keep_dims": True}, compile=False)
    pyacl.Stream.default().synchronize()
    assert (out.numpy() == 3).all()
    with pytest.raises(pyacl.errors.OperatorNotFoundError):  # other attributes are another model
        pyacl.op("ReduceSum", [x, axes], [out], compile=False)


def test_attributes_of_every_type_in_json(tmp_path: Path) -> None:
    entry = {"op": "Cast", "input_desc": [tensor(43, 2)], "output_desc": [tensor(43, 2, type="int32")],
             "attr": [{"name": "dst_type", "type": "data_type", "value": "DT_INT32"}]}
    single_op.load(compile_file(write(tmp_path / "c.json", entry), str(tmp_path))[0])
    x, out = Tensor.full((43, 2), 2.7), Tensor.zeros((43, 2), np.int32)
    with OpHandle("Cast", [x], [out], {"dst_type": np.int32}, compile=False) as handle:
        handle.execute([x], [out])
    assert (out.numpy() == 2).all()
    given = [("a", "list_list_int", [[1], []]), ("b", "list_string", ["x"]), ("c", "list_data_type", ["DT_FLOAT16", 3]),
             ("d", "list_bool", [True]), ("e", "string", "y"), ("f", "list_float", [1, 0.5]), ("g", "data_type", 9)]
    attrs = [{"name": n, "type": kind, "value": value} for n, kind, value in given]
    for attr in attrs:  # each is read; Abs has none of them
        with pytest.raises(Failure, match="has no attribute") as caught:
            compile_file(write(tmp_path / "a.json", {"op": "Abs", "input_desc": [tensor(1)], "output_desc": [tensor(1)],
                                                     "attr": [attr]}), str(tmp_path))
        assert caught.value.code == lib.ACL_ERROR_OP_ATTR_NOT_MATCH
    for kind, value in (("list_list_int", [1]), ("data_type", "DT_NOTHING"), ("list_string", [1]), ("complex", 1)):
        with pytest.raises(Failure) as caught:
            compile_file(write(tmp_path / "a.json", add(1, attr=[{"name": "a", "type": kind, "value": value}])),
                         str(tmp_path))
        assert caught.value.code == lib.ACL_ERROR_PARSE_FILE


def test_dynamic_shapes(tmp_path: Path) -> None:
    t = tensor(-1, 23, shape_range=[[2, 4]])
    entry = {"op": "Exp", "input_desc": [t], "output_desc": [t]}
    single_op.load(compile_file(write(tmp_path / "d.json", entry), str(tmp_path))[0])
    for rows, code in ((2, 0), (4, 0), (5, lib.ACL_ERROR_OP_NOT_FOUND)):
        x = Tensor.zeros((rows, 23))
        try:
            pyacl.op("Exp", [x], [x], compile=False)
            found = 0
        except pyacl.AclError as error:
            found = error.code
        assert found == code
    pyacl.Stream.default().synchronize()


def test_an_optional_input_that_is_not_used(tmp_path: Path) -> None:
    unused = {"format": "RESERVED", "shape": [], "type": "UNDEFINED"}
    entry = {"op": "MatMul", "input_desc": [tensor(2, 29), tensor(29, 2), unused], "output_desc": [tensor(2, 2)]}
    single_op.load(compile_file(write(tmp_path / "m.json", entry), str(tmp_path))[0])
    a, b, out = Tensor.full((2, 29), 1), Tensor.full((29, 2), 1), Tensor.zeros((2, 2))
    with OpHandle("MatMul", [a, b, None], [out], compile=False) as handle:
        handle.execute([a, b, None], [out])
    assert (out.numpy() == 29).all()


@pytest.mark.parametrize(("operators", "code"), [
    ({}, lib.ACL_ERROR_PARSE_FILE), ([], lib.ACL_ERROR_PARSE_FILE), ([{"op": 1}], lib.ACL_ERROR_PARSE_FILE),
    ([{"op": "Add", "inputs": []}], lib.ACL_ERROR_PARSE_FILE),
    ([{"op": "Add", "input_desc": [{"shape": [1], "type": "int8"}]}], lib.ACL_ERROR_PARSE_FILE),
    ([{"op": "Abs", "input_desc": [tensor(1, type="int99")]}], lib.ACL_ERROR_PARSE_FILE),
    ([{"op": "Abs", "input_desc": [tensor(-1)]}], lib.ACL_ERROR_PARSE_FILE),
    ([{"op": "Abs", "input_desc": [tensor(2, is_const=True, const_value=[1])]}], lib.ACL_ERROR_PARSE_FILE),
    ([{"op": "Abs", "input_desc": [tensor(-1, shape_range=[None])]}], lib.ACL_ERROR_PARSE_FILE),
    ([{"op": "Abs", "input_desc": [tensor(-1, shape_range=[[1, "2"]])]}], lib.ACL_ERROR_PARSE_FILE),
    ([{"op": "Abs", "input_desc": [tensor(1, is_const=True, const_value=[[1]])]}], lib.ACL_ERROR_PARSE_FILE),
    ([{"op": "Abs", "input_desc": [tensor(1, type="int32", is_const=True, const_value=[1 << 70])]}],
     lib.ACL_ERROR_PARSE_FILE),
    ([{"op": "Abs", "input_desc": 3}], lib.ACL_ERROR_PARSE_FILE),
    ([{"op": "Abs", "attr": {"x": 1}}], lib.ACL_ERROR_PARSE_FILE),
    ([add(2) | {"attr": [{"name": "x", "type": "int", "value": True}]}], lib.ACL_ERROR_PARSE_FILE),
    ([add(2) | {"attr": [{"name": "x", "type": "int", "value": 1}]}], lib.ACL_ERROR_OP_ATTR_NOT_MATCH),
    ([add(2) | {"output_desc": [tensor(3)]}], lib.ACL_ERROR_GE_FAILURE),
], ids=str)
def test_what_cannot_be_compiled(tmp_path: Path, operators: Any, code: int) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(operators))
    with pytest.raises(Failure) as caught:
        compile_file(str(path), str(tmp_path))
    assert caught.value.code == code


def test_command(tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path / "op.json", add(2, name="one"), add(3, name="two"))
    assert main(["emulator", "compile", "--singleop", path, "-o", str(tmp_path / "out")]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["one.om", "two.om"]
    assert "one.om" in capsys.readouterr().out
    assert main(["emulator", "compile", "--singleop", str(tmp_path / "nothing.json")]) == 1


def test_every_attribute_survives_the_file() -> None:
    attrs = {"b": Attr("bool", True), "i": Attr("int", -5), "f": Attr("float", 0.5), "s": Attr("string", "NCHW"),
             "d": Attr("data_type", lib.ACL_BF16), "lb": Attr("list_bool", (True, False)),
             "li": Attr("list_int", (1, -2)), "lf": Attr("list_float", (1.0, 0.25)),
             "ls": Attr("list_string", ("a", "bc")), "none": Attr("list_float", ()),
             "ld": Attr("list_data_type", (lib.ACL_INT8, F32)), "lli": Attr("list_list_int", ((1, 2), (), (-3,)))}
    model = OpModel("Any", [
        Signature(F32, lib.ACL_FORMAT_NCHW, lib.ACL_FORMAT_NC1HWC0, (1, 2, 3, 4), (), None, "x"),
        Signature(lib.ACL_INT64, ND, None, (2,), (), b"0123456789abcdef"),
        Signature(F32, ND, None, (-1, 4), ((1, -1), (4, 4))),
        Signature(lib.ACL_DT_UNDEFINED, lib.ACL_FORMAT_UNDEFINED, None, ()),
    ], [Signature(F32, ND, None, ())], attrs, "here")
    found = om.read(om.write(model, "any", "Ascend910B3"), "there")
    assert (found.type, found.inputs, found.outputs, found.attrs) == (model.type, model.inputs, model.outputs, attrs)


def test_a_whole_network_is_no_single_operator() -> None:
    from pyacl.emulator.models import container, modeldef

    definition = modeldef.encode_model("net", [], [], {})
    data = b"".join(container.build("net", [(container.MODEL_DEF, definition)]))
    with pytest.raises(Failure) as caught:
        om.read(data, "net.om")
    assert caught.value.code == lib.ACL_ERROR_MODEL_MISSING_ATTR


def test_every_cut_of_a_model_fails_cleanly() -> None:
    model = OpModel("Add", [Signature(F32, ND, None, (2,))] * 2, [Signature(F32, ND, None, (2,))],
                    {"axes": Attr("list_int", (1, 2))}, "here")
    data = om.write(model, "add", "")
    for size in range(0, len(data), 7):
        with pytest.raises(Failure):
            om.read(data[:size], "cut")


def test_damaged_models_fail_cleanly_or_are_read() -> None:
    model = OpModel("Any", [Signature(F32, ND, None, (-1, 4), ((1, -1), (4, 4))),
                            Signature(lib.ACL_INT64, ND, None, (2,), (), b"0123456789abcdef")],
                    [Signature(F32, ND, None, ())],
                    {"lf": Attr("list_float", (1.0, 0.25)), "lli": Attr("list_list_int", ((1, 2), (), (-3,)))}, "here")
    good = om.write(model, "any", "")
    rng = random.Random(6)
    refused = 0
    for _ in range(1500):
        data = bytearray(good)
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(data))] = rng.choice((0, 255, rng.randrange(256)))
        try:
            om.read(bytes(data), "damaged")
        except Failure:
            refused += 1
    assert 0 < refused < 1500


def test_a_model_folder_has_three_levels(tmp_path: Path) -> None:
    """Models in a folder and two levels below it are loaded; deeper ones, and what is no model, are not."""
    place = tmp_path
    for level in range(4):
        compile_file(write(tmp_path / "op.json", add(level + 1, 41, name=f"level{level}")), str(place))
        place = place / f"deeper{level}"
    (tmp_path / "broken.om").write_bytes(b"IMOD, but broken")
    (tmp_path / "readme.txt").write_text("not a model")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent("""
        import sys
        import numpy as np
        import pyacl
        with pyacl.Device(0):
            pyacl.single_op.set_model_dir(sys.argv[1])
            for rows in (1, 2, 3, 4):
                desc = pyacl.TensorDesc((rows, 41), np.float32)
                try:
                    pyacl.OpHandle("Add", [desc, desc], [desc], compile=False).close()
                    print(rows, "found")
                except pyacl.AclError as error:
                    print(rows, error.code)
    """), str(tmp_path)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["1 found", "2 found", "3 found", f"4 {lib.ACL_ERROR_OP_NOT_FOUND}"]
    assert "broken.om is not loaded" in done.stderr
