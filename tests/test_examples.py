"""Every example runs on the emulator, in a process of its own; those that need more than that have tests elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
ELSEWHERE = {"small_cnn.py", "transformer_block.py", "torch_npu_train.py", "classify.py"}
HERE = sorted(p for p in EXAMPLES.rglob("*.py") if p.name not in ELSEWHERE)


def run(path: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYACL_BACKEND": "emulator"}
    environment.pop("PYACL_LIBRARY_PATH", None)
    done = subprocess.run([sys.executable, "-X", "dev", "-W", "error::ResourceWarning", str(path), *arguments],
                          capture_output=True, text=True, env=environment, timeout=100, cwd=EXAMPLES)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", HERE, ids=lambda p: str(p.relative_to(EXAMPLES)))
def test_it_runs(path: Path) -> None:
    text = path.read_text()
    if "gcc" in text and shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    for package in re.findall(r"^(?:import|from) (\w+)", text, re.M):
        if package != "__future__":
            pytest.importorskip(package)
    assert run(path, *(["--runs", "20"] if "--runs" in text else [])).strip()


def test_what_is_not_run_here_is_run_elsewhere() -> None:
    others = "".join(p.read_text() for p in ROOT.joinpath("tests").rglob("*.py") if p.name != Path(__file__).name)
    for name in ELSEWHERE:
        assert (EXAMPLES / name).exists(), name
        assert Path(name).stem in others, name


def test_the_users_operator_sees_the_refreshed_members() -> None:
    found = run(EXAMPLES / "add_custom.py").splitlines()
    assert found == ["1 + 2 + 3 = 6.0", *(f"{10 * k} + {100 * k} + 3 = {110 * k + 3}.0" for k in (1, 2, 3))]
