"""Every example runs, quickly and quietly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"
NATIVE = os.environ.get("PYACL_BACKEND") == "native"

# How each is started, and words that it then says. ``--help``: other tests run it, with what it needs.
ARGUMENTS = {
    "add_by_handle.py": (["--runs", "5", "--size", "1000"], ""),
    "add_custom.py": (["--batches", "5", "--size", "100"], "5 batches of 100 numbers are right"),
    "classify.py": (["--help"], "show this help"),
    "kernels/add_python.py": ([], ""),
    "kernels/launch.py": ([], "add_custom ran on"),
    "small_cnn.py": (["--help"], "show this help"),
    "transformer_block.py": (["--help"], "show this help"),
}
ELSEWHERE = {"torch_npu_train.py"}  # test_torch_npu.py, in an environment of its own
# What it registers with the emulator is unknown to real libraries.
EMULATOR_ONLY = {"add_custom.py", "kernels/add_python.py"}
PROGRAMS = {"kernels/launch.py": "gcc"}
PACKAGES = {"small_cnn.py": "torch", "transformer_block.py": "torch"}


def test_none_is_forgotten() -> None:
    found = {str(p.relative_to(FOLDER)) for p in FOLDER.rglob("*.py")}
    assert found == {*ARGUMENTS, *ELSEWHERE}


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_it_runs(name: str, tmp_path: Path) -> None:
    if NATIVE and name in EMULATOR_ONLY:
        pytest.skip("its operator or kernel is known to the emulator of its own process only")
    if name in PROGRAMS and shutil.which(PROGRAMS[name]) is None:
        pytest.skip(f"needs {PROGRAMS[name]}")
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    arguments, words = ARGUMENTS[name]
    done = subprocess.run([sys.executable, "-X", "dev", "-W", "error::ResourceWarning", str(FOLDER / name), *arguments],
                          capture_output=True, text=True, cwd=tmp_path, timeout=100, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    assert words in done.stdout
