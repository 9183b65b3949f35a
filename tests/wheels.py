"""Wheels from PyPI that tests read real headers, kernels and models from. Cached; a test skips where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("PYACL_TEST_CACHE", Path.home() / ".cache" / "pyacl-tests"))


@cache
def _find(requirement: str, python: str) -> Path | str:
    """The wheel's file, or why there is none."""
    name, version = requirement.replace("-", "_").split("==")
    CACHE.mkdir(parents=True, exist_ok=True)
    if not list(CACHE.glob(f"{name}-{version}-*.whl")):
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--python-version", python,
             "-d", str(CACHE), requirement], capture_output=True, text=True)
        if done.returncode:
            return f"{requirement} cannot be downloaded: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
    found = sorted(CACHE.glob(f"{name}-{version}-*.whl"))
    return found[0] if found else f"{requirement}: pip left no wheel in {CACHE}"


def wheel(requirement: str, python: str = "3.11") -> Path:
    """The file of a wheel, ``"torch_npu==2.14.0"``; skips the test when it cannot be had."""
    found = _find(requirement, python)
    if isinstance(found, str):
        pytest.skip(found)
    return found


def unpacked(requirement: str, under: str, python: str = "3.11") -> Path:
    """A folder that holds the wheel's files below `under`; skips the test when it cannot be had."""
    path = wheel(requirement, python)
    folder = path.with_suffix("")
    if not (folder / under).exists():
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder, [n for n in archive.namelist() if n.startswith(under)])
    return folder
