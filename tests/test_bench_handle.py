"""``pyacl bench op --handle``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyacl.cli import main


@pytest.mark.parametrize(("operator", "shape", "more"), [
    ("Add", "8x16", []), ("MatMulV2", "8x16,16x4", []), ("ConcatD", "3*8x4", ["--set", "concat_dim=1"]),
    ("SoftmaxV2", "8x16", ["--set", "axes=1,"]),
])
def test_both_ways_are_measured(tmp_path: Path, operator: str, shape: str, more: list[str]) -> None:
    target = tmp_path / "result.json"
    arguments = ["bench", "op", "--handle", operator, "--shape", shape, "--iters", "3", "--quiet", "--json",
                 str(target)]
    assert main([*arguments, *more]) == 0
    data: Any = json.loads(target.read_text())
    names = [r["name"] for r in data["results"]]
    assert len(names) == 2
    assert {n.split()[-1] for n in names} == {"handle", "description"}


def test_what_does_not_fit_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "op", "--handle", "MatMul", "--shape", "2x3,4x5", "--iters", "2", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "MatMul" in error
