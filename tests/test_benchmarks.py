"""The project's own benchmarks run, and what they compare is the same work."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyacl.capi import compiled

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [
    pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="benchmarks/ is not beside the tests"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc"),
    pytest.mark.skipif(not compiled, reason="the claims are about the compiled module"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A short run of all parts: exit code, output, JSON."""
    out = tmp_path_factory.mktemp("benchmarks") / "out.json"
    done = subprocess.run([sys.executable, "-m", "benchmarks", "--rounds", "4", "--json", str(out)], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    assert out.exists(), done.stderr
    return done, json.loads(out.read_text())


def test_one_command_prints_every_claim(run: Any) -> None:
    done, _ = run
    assert done.returncode in (0, 1)  # a budget may be missed on a machine that is busy
    for claim in ("Executor.launch / raw ctypes call", "import pyacl, beyond numpy", "16 MB elementwise / numpy",
                  "Model.execute / onnxruntime", "memcpy_async", "Event.record", "Kernel.launch", "update, finalize, launch"):
        assert claim in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 100


def test_every_way_was_measured(run: Any) -> None:
    _, found = run
    for action, ways in found["binding"]["calls"].items():
        assert {"ctypes", "cffi ABI", "cffi API", "pyacl"} <= set(ways), action
        assert all(t > 0 for times in ways.values() for t in times)
    assert set(found["binding"]["busy"]["Executor.launch"]) == {"alone", "busy"}
    assert all(r["bytes"] > 0 for r in found["binding"]["resources"].values())


def test_the_library_of_no_ops_has_every_declared_function() -> None:
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks import noop, rivals
    finally:
        sys.path.remove(str(ROOT))
    import ctypes

    from pyacl.capi import cdefs

    library = ctypes.CDLL(str(rivals.noop()))
    names = [*cdefs.functions(), *cdefs.operators()]
    prototypes = {n: cdefs.callable_prototype(n) for n in names}
    assert not [n for n, p in prototypes.items() if p is not None and not p.variadic and not hasattr(library, n)]
    assert all(name in prototypes for name in noop.BODIES)
