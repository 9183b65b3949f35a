"""The command line: commands, exit codes, one clear line for what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Sequence

import numpy as np
import pytest

import pyacl
import pyacl.bench as bench
from pyacl import cli
from pyacl.bench.record import Result


def run(capsys: pytest.CaptureFixture[str], *argv: Any) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command in this process."""
    code = cli.main([str(a) for a in argv])
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys: pytest.CaptureFixture[str], *argv: Any) -> str:
    """The one line that a wrong command prints."""
    code, out, err = run(capsys, *argv)
    assert code == 2, (out, err)
    assert out == ""
    assert "Traceback" not in err
    assert err.count("\n") == 1, err
    return err.rstrip()


def test_the_command_is_installed() -> None:
    done = subprocess.run([sys.executable, "-m", "pyacl", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"pyacl {pyacl.__version__}\n"


def test_help_names_the_commands_and_loads_none(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for command in cli.COMMANDS:
        assert command in out
    code, out, _ = run(capsys, "bench", "--help")
    assert code == 0
    for command in ("op", "model", "kernel", "copy", "compare"):
        assert command in out
    heavy = ("numpy", "pyacl.bench", "pyacl.emulator", "cffi")
    script = ("import sys; from pyacl import cli; cli.main(['--help']); "
              f"print([m for m in {heavy} if m in sys.modules], file=sys.stderr)")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("argv", [[], ["frobnicate"], ["bench"], ["bench", "frobnicate"], ["--backend", "gpu", "info"],
                                  ["bench", "op", "--iters", "-1"], ["bench", "copy", "--size", "12parsec"]])
def test_a_wrong_command_is_told_in_a_line(capsys: pytest.CaptureFixture[str], argv: Sequence[str]) -> None:
    assert refused(capsys, *argv).startswith("pyacl")


def test_a_command_that_is_not_installed_says_so(capsys: pytest.CaptureFixture[str],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "model", ("pyacl.nothing", "text"))
    for rest in ([], ["--help"], ["x.om"]):
        assert refused(capsys, "model", *rest) == "pyacl: model: this installation has no pyacl.nothing"


def test_every_listed_command_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    for command in cli.COMMANDS:
        if cli._exists(cli.COMMANDS[command][0]):
            assert run(capsys, command, "--help")[0] == 0


def test_an_error_is_one_line_and_a_traceback_on_request(capsys: pytest.CaptureFixture[str],
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> int:
        raise RuntimeError("no\nluck")

    monkeypatch.setattr("pyacl.info.run", fail)
    code, out, err = run(capsys, "info")
    assert (code, out, err) == (1, "", "pyacl: RuntimeError: no luck\n")
    with pytest.raises(RuntimeError):
        cli.main(["--traceback", "info"])

    def stop(_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("pyacl.info.run", stop)
    assert run(capsys, "info")[0] == 130


# info


def test_info_tells_the_backend_and_the_devices(capsys: pytest.CaptureFixture[str], device: Any) -> None:
    code, out, _ = run(capsys, "info", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["backend"] == pyacl.capi.active().name
    assert found["reason"] == pyacl.capi.active().reason
    assert found["soc"] == pyacl.soc_name()
    assert len(found["devices"]) == pyacl.device_count()
    assert found["devices"][0]["memory_total"] == pyacl.mem_info().total
    code, out, _ = run(capsys, "info")
    assert code == 0
    assert found["backend"] in out
    assert f"{found['devices'][0]['memory_total'] / 2**30:.1f} GiB" in out
    assert max(len(line) for line in out.splitlines() if not line.startswith(("backend", "library"))) <= 100


def test_info_without_the_backend_that_was_asked_for(tmp_path: Path) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYACL_", "ASCEND_"))}
    broken = tmp_path / "libascendcl.so"
    broken.write_text("not a library")
    done = subprocess.run([sys.executable, "-m", "pyacl", "--backend", "native", "info"], capture_output=True,
                          text=True, env={**clean, "PYACL_LIBRARY_PATH": str(tmp_path)}, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert str(broken) in done.stderr


def test_info_says_why_it_took_the_emulator() -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYACL_", "ASCEND_"))}
    done = subprocess.run([sys.executable, "-m", "pyacl", "info", "--json"], capture_output=True, text=True, env=clean,
                          check=True)
    found = json.loads(done.stdout)
    if found["backend"] == "emulator":
        assert "libascendcl.so" in found["reason"]
        assert done.stderr == ""


# bench compare


@pytest.fixture
def files(tmp_path: Path) -> Any:
    """Writes a result file whose times are `factor` times others'."""
    def write(name: str, factor: float = 1.0, names: Sequence[str] = ("add", "mul"), **environment: Any) -> Path:
        rng = np.random.default_rng(list(name.encode()))
        results = []
        for n in names:
            times = (10 * factor * rng.lognormal(0, 0.05, 300)).tolist()
            results.append(Result(n, {"host": times, "device": times}))
        bench.write_json(tmp_path / name, results, {"backend": "emulator", **environment})
        return tmp_path / name

    return write


def test_compare_finds_no_difference_where_there_is_none(capsys: pytest.CaptureFixture[str], files: Any) -> None:
    code, out, _ = run(capsys, "bench", "compare", files("a.json"), files("b.json"), "--fail-above", "1.1")
    assert code == 0
    assert "add" in out
    assert "REGRESSION" not in out


def test_compare_fails_on_a_regression(capsys: pytest.CaptureFixture[str], files: Any) -> None:
    old, new = files("a.json"), files("b.json", 1.3)
    code, out, _ = run(capsys, "bench", "compare", old, new, "--fail-above", "1.10")
    assert code == 1
    assert out.count("REGRESSION: ") == 2
    assert run(capsys, "bench", "compare", old, new)[0] == 0
    assert run(capsys, "bench", "compare", new, old, "--fail-above", "1.10")[0] == 0
    code, out, _ = run(capsys, "bench", "compare", old, new, "--fail-above", "1.10", "--quiet")
    assert code == 1
    assert len(out.splitlines()) == 2
    assert run(capsys, "bench", "compare", old, new, "--fail-above", "1.5")[0] == 0


def test_compare_does_not_fail_on_noise(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, factor in (("a.json", 1.0), ("b.json", 1.25)):
        noisy = (10 * factor * rng.lognormal(0, 1.0, 8)).tolist()
        bench.write_json(tmp_path / name, [Result("add", {"host": noisy})], {})
    code, out, _ = run(capsys, "bench", "compare", tmp_path / "a.json", tmp_path / "b.json", "--fail-above", "1.05")
    assert code == 0
    assert "REGRESSION" not in out


def test_compare_tells_that_few_batches_say_little(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, times in (("a.json", [1.0, 3.0, 2.0, 4.0]), ("b.json", [1.0] * 40)):
        bench.write_json(tmp_path / name, [Result("add", {"host": times})], {})
    _, out, _ = run(capsys, "bench", "compare", tmp_path / "a.json", tmp_path / "b.json")
    assert "4 batches only" in out
    assert out.splitlines()[2].split()[:5] == ["add", "host", "2.50", "1.00", "0.400"]
    _, out, _ = run(capsys, "bench", "compare", tmp_path / "b.json", tmp_path / "b.json")
    assert "batches only" not in out


def test_compare_tells_what_is_not_comparable(capsys: pytest.CaptureFixture[str], files: Any) -> None:
    old = files("a.json", names=("add", "gone"), soc="Ascend910B3")
    new = files("b.json", names=("add", "new"), soc="Ascend910B4")
    _, out, _ = run(capsys, "bench", "compare", old, new)
    assert "only in the old file: gone" in out
    assert "only in the new file: new" in out
    assert "soc differs: Ascend910B3 and Ascend910B4" in out
    assert "in common" in refused(capsys, "bench", "compare", old, files("c.json", names=("other",)))


def test_compare_refuses_bad_files(capsys: pytest.CaptureFixture[str], files: Any, tmp_path: Path) -> None:
    good = files("a.json")
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    assert "bad.json" in refused(capsys, "bench", "compare", good, bad)
    code, _, err = run(capsys, "bench", "compare", good, tmp_path / "none.json")
    assert code == 1
    assert err == f"pyacl: {tmp_path / 'none.json'}: No such file or directory\n"
    for wrong in ("0", "fast", "-1"):
        refused(capsys, "bench", "compare", good, good, "--fail-above", wrong)
