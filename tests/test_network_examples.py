"""The networks among the examples agree with PyTorch; they exit with an error where they do not."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is the oracle")

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", ["small_cnn", "transformer_block"])
def test_agrees_with_pytorch(name: str, dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](["--batch", "2", "--dtype", dtype])
    assert "furthest from PyTorch" in capsys.readouterr().out
