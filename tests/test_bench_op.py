"""pyacl bench op and copy: cases from prototypes, checked results, every way to launch, files."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyacl
import pyacl.bench as bench
from pyacl import cli
from pyacl.bench import case as cases
from pyacl.bench import operators, peaks, report, session
from pyacl.bench.kernel import parse_argument
from pyacl.bench.text import Progress
from pyacl.capi import cdefs
from pyacl.cli import CommandError

QUICK = ("--iters", "2", "--batch", "1", "--warmup", "0")


def run(capsys: pytest.CaptureFixture[str], *argv: Any) -> tuple[int, str, str]:
    code = cli.main([str(a) for a in argv])
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys: pytest.CaptureFixture[str], *argv: Any) -> str:
    code, out, err = run(capsys, "bench", "op", *argv)
    assert code == 2, (out, err)
    assert (out, err.count("\n")) == ("", 1), (out, err)
    return err


# Cases


def test_an_operator_gets_inputs_from_its_prototype() -> None:
    case = cases.build("aclnnAdd", "4x8", "float16", {})
    assert {n: (a.shape, a.dtype) for n, a in case.inputs.items()} == {
        "self": ((4, 8), np.float16), "other": ((4, 8), np.float16)}
    assert case.values == {"alpha": 1.0}
    assert case.outputs == {"out": [((4, 8), np.float16)]}
    assert case.bytes == 3 * 4 * 8 * 2
    assert case.flops == 2 * 4 * 8


def test_shapes_are_given_in_order_or_by_name() -> None:
    for text in ("8x16,16x4", "self=8x16,mat2=16x4", "mat2=16x4,self=8x16"):
        case = cases.build("aclnnMatmul", text, "float32", {})
        assert case.outputs["out"][0][0] == (8, 4)
        assert case.flops == 2 * 8 * 16 * 4
    assert cases.build("aclnnMatmul", "8x16", "float32", {}).inputs["mat2"].shape == (16, 8)
    assert cases.build("aclnnAdd", "4x1,8", "float32", {}).outputs["out"][0][0] == (4, 8)
    assert cases.build("aclnnAdd", "scalar", "float32", {}).outputs["out"][0][0] == ()


def test_lists_of_tensors() -> None:
    case = cases.build("aclnnCat", "3*2x4", "float32", {"dim": "0"})
    assert [a.shape for a in case.inputs["tensors"]] == [(2, 4)] * 3
    assert case.outputs["out"][0][0] == (6, 4)
    assert cases.build("aclnnCat", "2x4+5x4", "float32", {"dim": 0}).outputs["out"][0][0] == (7, 4)


def test_dtypes_follow_the_first_unless_they_are_of_another_nature() -> None:
    case = cases.build("aclnnIndexSelect", "8x4", "bfloat16", {})
    assert {n: str(a.dtype) for n, a in case.inputs.items()} == {"self": "bfloat16", "index": "int64"}
    case = cases.build("aclnnIndexSelect", "8x4", "self=float16,index=int32", {})
    assert {n: str(a.dtype) for n, a in case.inputs.items()} == {"self": "float16", "index": "int32"}
    assert cases.build("aclnnEqTensor", "8", "float32", {}).outputs["out"][0][1] == np.bool_
    assert cases.build("aclnnSWhere", "8", "float16", {}).inputs["condition"].dtype == np.bool_


def test_values_are_read_as_their_c_type() -> None:
    case = cases.build("aclnnReduceSum", "4x8", "float32", {"dims": "0,1", "keepDims": "true"})
    assert case.values["dims"] == (0, 1)
    assert case.values["keepDims"] is True
    assert case.outputs["out"][0][0] == (1, 1)
    assert cases.build("aclnnAdd", "4", "int32", {"alpha": "2"}).values["alpha"] == 2
    for wanted in ("int32", "float16"):
        assert cases.build("aclnnCast", "4", "float32", {"dtype": wanted}).outputs["out"][0][1] == np.dtype(wanted)


def test_every_reference_is_of_a_declared_operator_and_can_be_built() -> None:
    for name in operators.names():
        assert cdefs.operator(name) is not None, name
        case = cases.build(name, "1x2x8x8" if "Convolution" in name else "4x8", "float32", {})
        assert case.expected, name
        assert case.outputs, name


def test_most_declared_operators_get_a_case() -> None:
    built = 0
    for name in cdefs.operators()[::10]:
        with contextlib.suppress(CommandError):  # a text that nobody can guess, and the like
            built += bool(cases.build(name, "4x8", "float16", {}).parameters)
    assert built > 80


# The command


@pytest.mark.parametrize("argv", [
    [], ["aclnnAdd"], ["aclnnNope", "--shape", "4"], ["aclnnAdd", "--shape", "4by4"], ["aclnnAdd", "--shape", "a=4"],
    ["aclnnAdd", "--shape", "4,4,4,4"], ["aclnnAdd", "--shape", "4", "--dtype", "float17"],
    ["aclnnAdd", "--shape", "4", "--set", "alpha"], ["aclnnAdd", "--shape", "4", "--set", "beta=1"],
    ["aclnnAdd", "--shape", "4", "--set", "alpha=big"], ["aclnnMatmul", "--shape", "4x8,4x8"],
    ["aclnnMatmul", "--shape", "8"], ["aclnnAdd", "--shape", "2*4"], ["--config", "/nowhere.yaml"],
    ["aclnnAdd", "--shape", "4", "--json", "/nowhere/x.json"], ["aclnnAdd", "--shape", "4", "--plot", "x.txt"],
    ["aclnnAdd", "--shape", "4", "--csv", "/proc/x.csv"], ["aclnnAdd", "--shape", "4", "--dtype", "object"],
])
def test_bad_input_is_one_clear_line(capsys: pytest.CaptureFixture[str], device: Any, argv: list[str]) -> None:
    assert refused(capsys, *argv).startswith("pyacl: ")


def test_a_misspelt_operator_is_corrected(capsys: pytest.CaptureFixture[str]) -> None:
    assert "aclnnSoftmax" in refused(capsys, "aclnnSoftMax", "--shape", "4")


def test_one_operator_all_outputs(capsys: pytest.CaptureFixture[str], device: Any, tmp_path: Path) -> None:
    files = [tmp_path / n for n in ("r.json", "r.csv", "r.png")]
    code, out, err = run(capsys, "bench", "op", "aclnnAdd", "--shape", "16x16", "--dtype", "float16", "--iters", "40",
                         "--warmup", "10", "--way", "one-shot", "repeatable", "--json", files[0], "--csv", files[1],
                         "--plot", files[2])
    assert (code, err) == (0, "")
    assert "agrees with the reference" in out
    assert max(map(len, out.splitlines())) <= 100
    assert ("emulator's figures" in out) == (pyacl.capi.active().name == "emulator")
    results, environment = bench.read_json(files[0])
    assert [r.label for r in results] == ["one-shot", "repeatable"]
    for result in results:
        assert (result.check, result.batch, len(result.series["device"])) == ("ok", 10, 4)
        assert result.bytes == 3 * 16 * 16 * 2
        assert set(result.series) == {"host", "device", "total"}
    assert environment["backend"] == pyacl.capi.active().name
    assert environment["soc"] == pyacl.soc_name()
    assert len(list(csv.DictReader(files[1].read_text().splitlines()))) == 6
    assert files[2].read_bytes()[:4] == b"\x89PNG"


def test_every_way_to_launch_is_measured(capsys: pytest.CaptureFixture[str], device: Any, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
    path, replays, caches = tmp_path / "r.json", [], []
    launch, cache = pyacl.Graph.launch, pyacl.ops.cache

    def replay(graph: pyacl.Graph, stream: pyacl.Stream) -> None:
        replays.append(graph)
        launch(graph, stream)

    def make() -> pyacl.ops.Cache:
        caches.append(cache())
        return caches[-1]

    monkeypatch.setattr(pyacl.Graph, "launch", replay)
    monkeypatch.setattr(pyacl.ops, "cache", make)
    code, _, err = run(capsys, "bench", "op", "aclnnAdd", "--shape", "16", "--iters", "6", "--batch", "2", "--warmup",
                       "2", "--quiet", "--json", path)
    assert (code, err) == (0, "")
    assert [(r.label, r.notes) for r in bench.read_json(path)[0]] == [
        ("one-shot", []), ("repeatable", []), ("cached", []), ("graph", [])]
    assert len(replays) == 8
    assert [(c.misses, c.hits) for c in caches] == [(1, 7)]


def test_several_operators_shapes_and_dtypes(capsys: pytest.CaptureFixture[str], device: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    code, out, _ = run(capsys, "bench", "op", "aclnnAdd", "aclnnMul", "--shape", "4x4", "--shape", "8,1", "--dtype",
                       "float32", "--dtype", "int32", *QUICK, "--way", "repeatable", "--quiet", "--json", path)
    assert (code, out) == (0, "")
    results, _ = bench.read_json(path)
    assert len({r.name for r in results}) == 8
    assert {r.check for r in results} == {"ok"}


@pytest.mark.parametrize("name", ["ops.yaml", "ops.json", "ops.toml"])
def test_a_file_of_operators(capsys: pytest.CaptureFixture[str], device: Any, tmp_path: Path, name: str) -> None:
    path, out = tmp_path / name, tmp_path / "r.json"
    path.write_text({
        "ops.json": json.dumps({"iters": 3, "warmup": 0, "batch": 1, "way": ["repeatable"], "ops": [
            {"op": ["aclnnAdd", "aclnnSub"], "shape": "4x4", "dtype": ["float32"], "set": {"alpha": 2}}]}),
        "ops.yaml": "iters: 3\nwarmup: 0\nbatch: 1\nway: repeatable\nops:\n"
                    "  - {op: [aclnnAdd, aclnnSub], shape: 4x4, dtype: float32, set: {alpha: 2}}\n",
        "ops.toml": 'iters = 3\nwarmup = 0\nbatch = 1\nway = "repeatable"\n[[ops]]\nop = ["aclnnAdd", "aclnnSub"]\n'
                    'shape = "4x4"\nset = {alpha = 2}\n'}[name])
    assert run(capsys, "bench", "op", "--config", path, "--quiet", "--json", out)[0] == 0
    results, _ = bench.read_json(out)
    assert [r.parameters["op"] for r in results] == ["aclnnAdd", "aclnnSub"]
    assert [r.parameters["values"]["alpha"] for r in results] == [2, 2]
    assert len(results[0].series["host"]) == 3


@pytest.mark.parametrize("data", [
    {"ops": []}, {"iter": 3, "ops": [{"op": "aclnnAdd", "shape": "4"}]}, {"ops": ["aclnnAdd"]},
    {"ops": [{"op": "aclnnAdd"}]}, {"ops": [{"op": "aclnnAdd", "shape": "4", "shapes": "4"}]},
    {"iters": 0, "ops": [{"op": "aclnnAdd", "shape": "4"}]}, {"ops": [{"op": "aclnnAdd", "shape": "4", "set": 3}]},
    {"way": "fast", "ops": [{"op": "aclnnAdd", "shape": "4"}]}])
def test_a_wrong_file_is_one_clear_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Any) -> None:
    path = tmp_path / "ops.json"
    path.write_text(json.dumps(data))
    assert "ops.json" in refused(capsys, "--config", path)


def test_an_empty_file_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("ops.yaml", "ops.toml", "ops.json"):
        (tmp_path / name).write_text("{}" if name.endswith("json") else "")
        assert name in refused(capsys, "--config", tmp_path / name)


def test_results_are_told_apart_by_what_a_file_sets(capsys: pytest.CaptureFixture[str], device: Any,
                                                    tmp_path: Path) -> None:
    path, out = tmp_path / "ops.json", tmp_path / "r.json"
    path.write_text(json.dumps({"way": "repeatable", "ops": [
        {"op": "aclnnReduceSum", "shape": "4x4", "set": {"dims": [0]}},
        {"op": "aclnnReduceSum", "shape": [[4, 4]], "set": {"dims": [1], "keepDims": True}},
        {"op": "aclnnAdd", "shape": ["4", "4", []]}]}))
    assert run(capsys, "bench", "op", "--config", path, "--quiet", "--json", out, *QUICK)[0] == 0
    assert [r.name for r in bench.read_json(out)[0]] == [
        "aclnnReduceSum 4x4 float32 dims=0 repeatable", "aclnnReduceSum 4x4 float32 dims=1 keepDims=True repeatable",
        "aclnnAdd 4 float32 repeatable", "aclnnAdd 4 float32 repeatable #2", "aclnnAdd scalar float32 repeatable"]


class Impatient(Progress):
    """A user who presses Ctrl-C during the second task."""

    def __init__(self) -> None:
        self.tasks = 0

    def start(self, name: str, total: int) -> None:
        self.tasks += 1

    def advance(self, done: int) -> None:
        if self.tasks == 2 and done >= 4:
            raise KeyboardInterrupt


@pytest.mark.parametrize("command", [["op", "aclnnAdd", "--shape", "4", "--shape", "8"], ["copy", "--size", "64"]])
def test_ctrl_c_keeps_what_was_measured(capsys: pytest.CaptureFixture[str], device: Any, tmp_path: Path,
                                        monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    path = tmp_path / "r.json"
    monkeypatch.setattr(session, "progress", lambda quiet: contextlib.nullcontext(Impatient()))
    code, out, err = run(capsys, "bench", *command, "--iters", "8", "--batch", "2", "--json", path)
    assert code == 130
    assert "pyacl: interrupted" in err
    first, second = bench.read_json(path)[0]
    assert (len(first.series["host"]), len(second.series["host"])) == (4, 2)
    assert second.notes == ["interrupted after 4 of 8 calls"]
    assert all(r.check == "ok" for r in (first, second)) or command[0] == "copy"
    assert "interrupted after 4 of 8 calls" in out


def test_one_that_fails_does_not_lose_the_others(capsys: pytest.CaptureFixture[str], device: Any) -> None:
    code, out, err = run(capsys, "bench", "op", "aclnnAdd", "--shape", "4", "--shape", "4,5", *QUICK)
    assert code == 1
    assert "aclnnAdd 4 float32" in out
    complaint, = [line for line in err.splitlines() if line.startswith("pyacl: ")]
    assert "4,5" in complaint


def test_a_wrong_result_is_found(capsys: pytest.CaptureFixture[str], device: Any,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    def slightly_wrong(a: Any, b: Any, alpha: float) -> Any:
        out = a + alpha * b
        out[2, 1] += 0.05
        return out

    monkeypatch.setitem(operators._TABLE, "aclnnAdd", operators.Operator(slightly_wrong))
    code, out, _ = run(capsys, "bench", "op", "aclnnAdd", "--shape", "4x4", *QUICK)
    assert code == 1
    assert "WRONG RESULT: out[2, 1] is" in out
    code, out, err = run(capsys, "bench", "op", "aclnnAdd", "--shape", "4x4", *QUICK, "--quiet")
    assert (code, out) == (1, "")
    assert "wrong result" in err
    assert run(capsys, "bench", "op", "aclnnAdd", "--shape", "4x4", *QUICK, "--no-check")[0] == 0


def test_an_operator_without_a_reference_is_measured_and_says_so(capsys: pytest.CaptureFixture[str], device: Any,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(operators._TABLE, "aclnnAdd")
    code, out, _ = run(capsys, "bench", "op", "aclnnAdd", "--shape", "4x4", *QUICK)
    assert code == 0
    assert "no reference" in out


def test_in_place_operators_are_checked_on_their_first_result(capsys: pytest.CaptureFixture[str], device: Any) -> None:
    assert run(capsys, "bench", "op", "aclnnInplaceMuls", "--shape", "4x4", "--set", "other=3", *QUICK)[0] == 0


def test_throughput_is_held_against_the_peak_that_was_given(capsys: pytest.CaptureFixture[str], device: Any) -> None:
    _, out, _ = run(capsys, "bench", "op", "aclnnAdd", "--shape", "64x64", *QUICK, "--peak-bytes", "1e12")
    assert "% of 1 TB/s" in out


# Operators that must be right on every backend: each against its own numpy reference.
COMMON = ("Add", "Sub", "Mul", "Div", "Exp", "Sqrt", "Relu", "Sigmoid", "Tanh", "Maximum", "Muls", "EqTensor",
          "LogicalAnd", "Abs")


@pytest.mark.parametrize(("environment", "flops", "rate"), [
    ({"soc": "Ascend910B3"}, 20 * 1.8e9 * 8192, 1.6e12), ({"soc": "Ascend310P3"}, 69.5e12, 204.8e9),
    ({"soc": "Ascend910B3", "cube_cores": 10, "cube_clock": "1000"}, 10 * 1e9 * 8192, 1.6e12),
    ({"soc": "Ascend910B3", "backend": "emulator"}, None, None), ({"soc": "Ascend1"}, None, None), ({}, None, None)])
def test_peaks_are_those_of_the_chip(capsys: pytest.CaptureFixture[str], environment: dict[str, Any], flops: Any,
                                     rate: Any) -> None:
    args = argparse.Namespace(peak_flops=None, peak_bytes=None)
    found = peaks.of(environment, args)
    assert {k: p.rate for k, p in found.items()} == {k: pytest.approx(v, rel=1e-3) for k, v in
                                                     (("flops", flops), ("bytes", rate)) if v}
    assert all(p.about for p in found.values())
    result = bench.Result("add", {"device": [1.0] * 3}, bytes=1e5, flops=1e6)
    report.show([result], environment, found)
    shown = capsys.readouterr().out
    assert (" % of about " in shown) == bool(flops)
    assert max(map(len, shown.splitlines())) <= 100
    args.peak_flops = 2e12
    assert peaks.of(environment, args)["flops"] == (2e12, False)
    report.show([result], environment, peaks.of(environment, args))
    assert "(50.0 % of 2 TFLOP/s)" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_common_operators_agree_with_the_references(capsys: pytest.CaptureFixture[str], device: Any, tmp_path: Path,
                                                    dtype: str) -> None:
    path = tmp_path / "r.json"
    code, _, err = run(capsys, "bench", "op", *(f"aclnn{n}" for n in COMMON), "--shape", "8x16", "--dtype", dtype,
                       *QUICK, "--way", "repeatable", "--quiet", "--json", path)
    assert (code, err) == (0, "")
    assert {r.check for r in bench.read_json(path)[0]} == {"ok"}


# Arguments of kernels


def test_arguments_of_kernels() -> None:
    tensor, small = parse_argument("float32[4x2]"), parse_argument("bfloat16[3]")
    assert (tensor.shape, tensor.dtype, small.shape, str(small.dtype)) == ((4, 2), np.float32, (3,), "bfloat16")
    assert parse_argument("uint32=8") == np.uint32(8)
    assert parse_argument("bfloat16=1.5").tobytes() == b"\xc0\x3f"
    assert parse_argument("placeholder=4") == bytes(4)
    assert parse_argument("placeholder:int32=1,2") == b"\1\0\0\0\2\0\0\0"


@pytest.mark.parametrize("text", ["uint32=-1", "uint32=1.5", "float99[4]", "float32[0x]", "x", "float32=", "int8=none"])
def test_a_wrong_argument_of_a_kernel_is_named(text: str) -> None:
    with pytest.raises(CommandError, match=f"--args {re.escape(text)}: "):
        parse_argument(text)


# Copies


def test_copies_are_measured_and_checked(capsys: pytest.CaptureFixture[str], device: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    code, out, _ = run(capsys, "bench", "copy", "--size", "1000", "64KiB", "--iters", "4", "--batch", "2", "--warmup",
                       "0", "--json", path)
    assert code == 0
    assert "H2D 64 KiB" in out
    results, _ = bench.read_json(path)
    assert len(results) == 2 * 5
    assert {r.check for r in results} == {"ok"}
    assert {r.bytes for r in results} == {1000.0, 65536.0}


def test_a_copy_that_does_not_fit_is_one_line(capsys: pytest.CaptureFixture[str], device: Any) -> None:
    code, _, err = run(capsys, "bench", "copy", "--size", "100000GiB", "--direction", "d2d", "--iters", "1")
    assert code in (1, 2)
    assert err.count("\n") == 1
