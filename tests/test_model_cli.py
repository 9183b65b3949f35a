"""``pyacl model``, ``pyacl bench model``, ``pyacl emulator compile`` and the example, as a user runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import models
import numpy as np
import pytest

from pyacl.cli import main

pytest.importorskip("onnxruntime")

X = np.random.default_rng(5).integers(-9, 9, (4, 64)).astype(np.float32)


@pytest.fixture
def om(tmp_path: Path) -> Path:
    return models.compiled(models.dense(), tmp_path / "dense.om", soc="")


def run(*args: object) -> int:
    return main([str(a) for a in args])


def test_inspect_needs_no_backend() -> None:
    path = models.shared("anenet_lane.om")
    code = f"""
import sys
import textwrap
from pyacl.cli import main
from pyacl.capi import backend
assert main(["model", "inspect", {str(path)!r}]) == 0
assert backend._active is None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYACL_BACKEND": "native"})
    for text in ("input_image  float32  1x3x256x512  NCHW    1,572,864", "SoC       Ascend310B4", "kernels   129",
                 "127 Conv2D", "WEIGHTS_DATA 2,203,648", "from Onnx by 7.6.0.1.220",
                 "instance_embedding  float32  1x4x256x512  NCHW    2,097,152"):
        assert text in done.stdout
    assert max(map(len, done.stdout.splitlines()[1:])) <= 100


def test_inspect_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("model", "inspect", models.shared("a3c_pong_a.om"), "--json") == 0
    about = json.loads(capsys.readouterr().out)
    assert about["inputs"] == [
        {"name": "s", "dtype": "float32", "shape": [1, 42, 42, 1], "format": "NHWC", "bytes": 7056}]
    assert (about["work_bytes"], about["weight_bytes"]) == (90624, 320000)
    assert about["operators"]["Conv2D"] == 3
    assert sum(about["operators"].values()) == 26


def test_inspect_shows_gears(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = models.compiled(models.dense("n"), tmp_path / "g.om", dynamic_batch=(1, 2, 4))
    assert run("model", "inspect", path) == 0
    assert "gears     batch: 1, 2, 4" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"IMOD", b"\x08\x01" * 200])
def test_inspect_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    (tmp_path / "bad.om").write_bytes(content)
    assert run("model", "inspect", tmp_path / "bad.om") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "bad.om" in error
    assert run("model", "inspect", tmp_path / "none.om") == 2


def test_run(om: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", X)
    X.tofile(tmp_path / "x.bin")
    np.savez(tmp_path / "x.npz", x=X)
    for given in ("x.npy", "x.bin", "x.npz"):
        out = tmp_path / given.replace(".", "_")
        assert run("model", "run", om, "--input", tmp_path / given, "--output", out) == 0
        np.testing.assert_array_equal(np.load(out / "y.npy"), models.dense_reference(X)[0])
        np.testing.assert_array_equal(np.load(out / "top.npy"), models.dense_reference(X)[1])
    assert run("model", "run", om, "--input", f"x={tmp_path / 'x.npy'}") == 0
    assert run("model", "run", om) == 0  # random
    assert "y float32 [4, 8]: " in capsys.readouterr().out


def test_run_of_wrong_input(om: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", X[:, :3])
    assert run("model", "run", om, "--input", tmp_path / "x.npy") == 1
    assert "the model takes [4, 64]" in capsys.readouterr().err
    assert run("model", "run", om, "--shape", "z:4") == 2
    (tmp_path / "x.npy").write_bytes(b"nothing of numpy's")
    assert run("model", "run", om, "--input", tmp_path / "x.npy") == 2
    np.savez(tmp_path / "x.npz", q=X)
    assert run("model", "run", om, "--input", tmp_path / "x.npz") == 2
    found = capsys.readouterr().err
    assert "x.npy is not a file of numpy's" in found
    assert "x.npz has q, the model takes x" in found
    (tmp_path / "x.bin").write_bytes(b"abc")
    for given, text in ((("--input", tmp_path / "x.bin"), "x.bin has 3 bytes, x takes 1024: float32 [4, 64]"),
                        (("--input", tmp_path / "none.npy"), "none.npy: there is no such file"),
                        (("--input", "z=none.npy"), "z=none.npy: there is no such file; the model's inputs are x"),
                        (("--inputs", "x.npy"), "see pyacl model run --help")):
        assert run("model", "run", om, *given) == 2
        assert text in capsys.readouterr().err
    assert run("model", "run", tmp_path / "none.om") == run("model", "run", tmp_path) == 2


def test_bench(om: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "model", om, "--loop", 4, "--warmup_count", 1, "--json", tmp_path / "r.json") == 0
    text = capsys.readouterr().out
    for line in ("NPU_compute_time (ms): min = ", "percentile(99%) = ", "H2D_latency", "D2H_latency", "throughput"):
        assert line in text
    (result,) = json.loads((tmp_path / "r.json").read_text())["results"]
    samples = {name: len(series["samples"]) for name, series in result["series"].items()}
    assert samples == {"compute": 4, "h2d": 4, "d2h": 4, "total": 4}
    assert result["parameters"]["rows"] == 4


def test_ctrl_c_keeps_the_executions_until_then(om: Path, tmp_path: Path) -> None:
    code = textwrap.dedent("""
        import contextlib, os, signal, sys
        from pyacl import cli
        from pyacl.bench import text

        class Bar(text.Progress):
            def advance(self, done):
                if done == 5:
                    os.kill(os.getpid(), signal.SIGINT)

        text.progress = lambda quiet: contextlib.nullcontext(Bar())
        sys.exit(cli.main(sys.argv[1:]))
    """)
    done = subprocess.run([sys.executable, "-c", code, "bench", "model", om, "--loop", "10000000", "--json",
                           tmp_path / "r.json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130, done.stderr
    assert "pyacl: interrupted" in done.stderr
    (result,) = json.loads((tmp_path / "r.json").read_text())["results"]
    count = len(result["series"]["compute"]["samples"])
    assert 5 <= count < 10000000
    assert result["notes"] == [f"interrupted after {count} of 10000000 executions"]


def test_bench_of_gears(tmp_path: Path) -> None:
    path = models.compiled(models.dense("n"), tmp_path / "g.om", dynamic_batch=(1, 2, 8))
    for options, rows in (((), [1, 2, 8]), (("--batch", 2, 8), [2, 8]), (("--dymBatch", 1), [1])):
        assert run("bench", "model", path, "--loop", 2, "--quiet", "--json", tmp_path / "r.json", *options) == 0
        results = json.loads((tmp_path / "r.json").read_text())["results"]
        assert [r["parameters"]["rows"] for r in results] == rows
    free = models.compiled(models.dense("n"), tmp_path / "f.om")
    assert run("bench", "model", free, "--loop", 2, "--dymShape", "x:3,64", "--quiet") == 0


def test_bench_of_nothing(om: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "model") == 2
    assert run("bench", "model", om, "--device", "x") == 2
    assert run("bench", "model", om, "--batch", 3) == 2
    assert run("bench", "model", tmp_path / "none.om") == 2
    assert run("bench", "model", om, "--device", "0,77") == 1
    assert "there is no device 77" in capsys.readouterr().err


def test_bench_refuses_what_does_not_fit(om: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gears = models.compiled(models.dense("n"), tmp_path / "g.om", dynamic_batch=(1, 2, 8))
    np.save(tmp_path / "rows.npy", X[:3])
    np.save(tmp_path / "double.npy", X.astype(float))
    for model, options, text in (
            (gears, ("--batch", 3), "--batch 3: the model was compiled for 1, 2, 8"),
            (gears, ("--dymHW", "3,4"), "--dymHW cannot be set, the model has dynamic batch: use --batch"),
            (om, ("--dymDims", "x:4,64"), "--dymDims cannot be set, the model has fixed shapes"),
            (om, ("-i", tmp_path / "rows.npy"), "holds float32 [3, 64], what is measured takes float32 [4, 64]"),
            (om, ("-i", tmp_path / "double.npy"), "holds float64 [4, 64]")):
        assert run("bench", "model", model, "--loop", 2, *options) == 2
        captured = capsys.readouterr()
        assert text in captured.err
        assert not captured.out


@pytest.mark.parametrize("style", ["ours", "atc"])
def test_compile(tmp_path: Path, style: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same model by our spellings and by those of atc, which adds the suffix itself."""
    source = tmp_path / "m.onnx"
    source.write_bytes(models.dense("n").SerializeToString())
    out = tmp_path / "out"
    if style == "ours":
        command = ["emulator", "compile", source, "-o", f"{out}.om", "--input-shape", "x:-1,64",
                   "--dynamic-batch", "1,2,4", "--soc", "Ascend910B3"]
    else:
        command = ["emulator", "compile", f"--model={source}", "--framework=5", f"--output={out}",
                   "--input_shape=x:-1,64", "--dynamic_batch_size=1,2,4", "--soc_version=Ascend910B3", "--log=error",
                   "--precision_mode=allow_mix_precision", "--input_format=ND"]
    assert run(*command) == 0
    capsys.readouterr()
    assert run("model", "inspect", f"{out}.om", "--json") == 0
    about = json.loads(capsys.readouterr().out)
    assert about["gears"] == {"batch": [1, 2, 4]}
    assert about["soc"] == "Ascend910B3"
    assert about["inputs"][0]["shape"] == [-1, 64]


@pytest.mark.parametrize(("options", "text"), [
    (["--input-shape", "x:1"], "but the model says"), (["--input-shape", "nonsense"], "is not name:dim"),
    (["--framework", "3"], "compiles ONNX"), (["--dynamic-dims", "a,b"], "is not a row of gears"),
    (["--soc_version", "910B"], "such as Ascend910B3"), (["-o", "/nowhere/m.om"], "there is no folder /nowhere")])
def test_compile_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], text: str) -> None:
    source = tmp_path / "m.onnx"
    source.write_bytes(models.dense("n").SerializeToString())
    assert run("emulator", "compile", source, *options) == 2
    assert text in capsys.readouterr().err
    assert not (tmp_path / "m.om").exists()


def test_compile_of_something_else(om: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.onnx").write_text("nothing of ONNX")
    for path, text in ((om, "is already an .om"), (tmp_path / "none.onnx", "No such file"),
                       (tmp_path / "text.onnx", "is no readable ONNX file")):
        assert run("emulator", "compile", path, "-o", tmp_path / "x.om") == 2
        assert text in capsys.readouterr().err


def test_compile_with_aipp(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = models.graph([models.node("Identity", ["image"], ["out"])], [("image", [1, 3, 4, 6])],
                           [("out", [1, 3, 4, 6])])
    (tmp_path / "m.onnx").write_bytes(picture.SerializeToString())
    (tmp_path / "aipp.cfg").write_text("""
        aipp_op {  # pictures as cameras give them
            aipp_mode: static
            input_format : RGB888_U8
            mean_chn_0 : 104
            var_reci_chn_0: 0.5
            related_input_rank : 0
        }""")
    assert run("emulator", "compile", tmp_path / "m.onnx", "--insert_op_conf", tmp_path / "aipp.cfg") == 0
    assert run("model", "inspect", tmp_path / "m.om") == 0
    assert "AIPP      static, in front of image" in capsys.readouterr().out


def test_example_classifies_a_picture(tmp_path: Path) -> None:
    """The picture is of one colour, and so is what the model looks for in each of its classes."""
    colours = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], np.float32)
    network = models.graph([
        models.node("GlobalAveragePool", ["image"], ["mean"]), models.node("Flatten", ["mean"], ["flat"]),
        models.node("MatMul", ["flat", "w"], ["scores"]), models.node("Softmax", ["scores"], ["probabilities"])],
        [("image", [1, 3, 8, 8])], [("probabilities", [1, 4])], [("w", colours.T.copy())], "colours")
    om = models.compiled(network, tmp_path / "colours.om")
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\nwhite\n")
    example = Path(__file__).resolve().parents[1] / "examples" / "classify.py"
    for place, name in enumerate(("red", "green", "blue")):
        pixel = bytes(250 if i == place else 5 for i in range(3))
        picture = tmp_path / f"{name}.ppm"
        picture.write_bytes(b"P6\n# a comment\n20 10\n255\n" + pixel * 200)
        done = subprocess.run([sys.executable, str(example), str(om), str(picture), "--labels",
                               str(tmp_path / "labels.txt"), "--top", "2"], capture_output=True, text=True, check=True,
                              env={**os.environ})
        assert name in done.stdout.splitlines()[0]
