"""`pyacl emulator ops` prints the table of operators."""

from __future__ import annotations

import json

import pytest

from pyacl.cli import main


def test_one_operator_with_prototype_types_and_oracle(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emulator", "ops", "Add"]) == 0
    text = capsys.readouterr().out
    assert "aclnnAdd(const aclTensor *self, const aclTensor *other, const aclScalar *alpha, aclTensor *out)" in text
    assert "emulated    yes" in text
    assert "torch.add" in text
    assert "Axpy" in text


def test_patterns_and_graph_engine_types(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emulator", "ops", "--json", "aclnnSoftmax*", "MatMulV2"]) == 0
    names = [row["name"] for row in json.loads(capsys.readouterr().out)]
    assert "aclnnSoftmax" in names
    assert any("Mat" in n or n == "aclnnMm" for n in names)


def test_graph_engine_types_of_their_own_are_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emulator", "ops", "GEMM"]) == 0
    text = capsys.readouterr().out
    assert "GEMM: a, b, c, alpha, beta -> y; transpose_a: bool = False; transpose_b: bool = False" in text
    assert "ACL_INT8" in text
    assert main(["emulator", "ops", "--json", "IsNan", "Log"]) == 0
    assert {"IsNan", "Log"} <= {row["name"] for row in json.loads(capsys.readouterr().out)}


def test_the_whole_table_has_every_declared_operator(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emulator", "ops"]) == 0
    lines = capsys.readouterr().out.splitlines()
    emulated = sum(line.startswith("+ acl") for line in lines)
    assert emulated >= 400
    assert lines[-1].startswith(f"{emulated} of ")
    assert main(["emulator", "ops", "--missing"]) == 0
    assert "+ " not in capsys.readouterr().out.rsplit("\n\n", 1)[0]


def test_an_unknown_name_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emulator", "ops", "NoSuchThing"]) == 2
    assert "no declared operator is called NoSuchThing" in capsys.readouterr().err

