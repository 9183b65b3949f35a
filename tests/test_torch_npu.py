"""An unmodified torch_npu on the exported libraries.

Needs a Python that has torch and torch_npu: this one, or the one that PYACL_TORCH_NPU_PYTHON names. It need not have
pyacl: the libraries bring it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest

HERE = Path(__file__).resolve().parent


def _python() -> Optional[str]:
    named = os.environ.get("PYACL_TORCH_NPU_PYTHON")
    if named:
        return named
    try:
        importlib.metadata.version("torch_npu")
    except importlib.metadata.PackageNotFoundError:
        return None
    return sys.executable


PYTHON = _python()
pytestmark = [
    pytest.mark.skipif(PYTHON is None, reason="no torch_npu: install it, or set PYACL_TORCH_NPU_PYTHON"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc builds the libraries"),
    pytest.mark.skipif(os.environ.get("PYACL_BACKEND") == "native", reason="starts its own programs"),
    pytest.mark.timeout(600),
]


QUEUES = pytest.mark.parametrize("queue", ["0", "1"])  # without and with torch_npu's own task queue


def run(*command: object, queue: str = "0") -> subprocess.CompletedProcess[str]:
    assert PYTHON is not None
    return subprocess.run(
        [sys.executable, "-m", "pyacl", "emulator", "run", "--", PYTHON, *map(str, command)], capture_output=True,
        text=True, cwd=HERE.parent, timeout=500,
        env={**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "TASK_QUEUE_ENABLE": queue})


@QUEUES
def test_features_give_what_the_cpu_gives(queue: str) -> None:
    done = run(HERE / "torch_npu" / "features.py", queue=queue)
    assert done.returncode == 0, done.stderr[-4000:]
    results = json.loads(done.stdout.splitlines()[-1])
    assert len(results) > 200
    assert {name: result for name, result in results.items() if result != "ok"} == {}, done.stderr[-4000:]


@QUEUES
def test_training_reaches_the_cpus_losses(queue: str) -> None:
    done = run(HERE.parent / "examples" / "torch_npu_train.py", queue=queue)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.count("step") == 10
    assert "not emulated" not in done.stderr


def test_operators_that_are_missing_are_printed_by_name() -> None:
    done = run("-c", """
import torch, torch_npu
ones = torch.ones(2, 3).npu()
from pyacl.emulator.ops import registry  # pyacl came with the first call
registry.load()
del registry._operators["aclnnErf"]
try:
    ones.erf()
except RuntimeError as error:
    print("RuntimeError")
""")
    assert done.stdout.strip().endswith("RuntimeError"), done.stdout + done.stderr[-4000:]
    assert "not emulated: aclnnErf" in done.stderr
