"""What pages say of several arguments together, for every operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is the oracle")

from pyacl.capi import lib
from pyacl.emulator import ops
from pyacl.emulator.ops.signature import documented, refusal
from pyacl.emulator.ops.types import PACKED

from .test_operators import NAMES, prepare, refused


def grouped(part: str) -> dict[str, list[list[str]]]:
    return {name: [group.split() for group in groups.split(",")] for name, groups in documented(part).items()
            if name in NAMES}


def members(operator: Any, values: list[Any], part: str) -> list[int]:
    """The positions of tensors that have another one to agree with."""
    found = []
    for group in grouped(part)[operator.name]:
        there = [i for i, p in enumerate(operator.signature.parameters) if p.name in group and values[i] is not None]
        found += [i for i in there if len(there) > 1 and isinstance(values[i], np.ndarray)]
    return found


@pytest.mark.parametrize("name", list(grouped("one type")))
def test_types_that_must_agree(name: str, npu: None) -> None:
    operator, _, _, values, _ = prepare(name, 0)
    for i in members(operator, values, "one type"):
        what = operator.signature.parameters[i].name
        for other in sorted(operator.allowed(what) - {values[i].dtype} - PACKED, key=str)[:2]:
            bad = list(values)
            bad[i] = np.zeros(values[i].shape, other)
            problem = refused(operator, bad)
            assert problem.code == lib.ACLNN_ERR_PARAM_INVALID
            assert what in problem.text


@pytest.mark.parametrize("name", list(grouped("one shape")))
def test_shapes_that_must_agree(name: str, npu: None) -> None:
    operator, _, _, values, _ = prepare(name, 0)
    for i in members(operator, values, "one shape"):
        bad = list(values)
        bad[i] = np.zeros((*values[i].shape[:-1], 77), values[i].dtype)
        assert refused(operator, bad).code == (refusal(name, "shape") or lib.ACLNN_ERR_PARAM_INVALID)


MASKED = [n for n in NAMES if any(p.name == "outputMask" for p in ops.find(n).signature.parameters)]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", MASKED)
def test_null_outputs_that_the_mask_asks_for(name: str, npu: None) -> None:
    tried = 0
    for seed in range(6):
        operator, _, _, values, _ = prepare(name, seed)
        names = [p.name for p in operator.signature.parameters]
        outputs = [i for i, p in enumerate(operator.signature.parameters) if p.role == "o"]
        mask = names.index("outputMask")
        values[mask] = values[mask] or (True,) * len(outputs)
        for asked, i in zip(values[mask], outputs):
            if asked and values[i] is not None:
                problem = refused(operator, [*values[:i], None, *values[i + 1:]])
                assert problem.code == lib.ACLNN_ERR_PARAM_NULLPTR
                assert names[i] in problem.text
                tried += 1
    assert tried


LISTS = [n for n in NAMES if any(p.kind == "tensors" for p in ops.find(n).signature.parameters)]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", LISTS)
def test_null_members_of_lists(name: str, npu: None) -> None:
    operator, _, _, values, _ = prepare(name, 0)
    for i, p in enumerate(operator.signature.parameters):
        if p.kind == "tensors" and values[i] and not p.optional and f"{p.name}[]" not in operator.optional:
            bad = list(values)
            bad[i] = [*values[i][:-1], None]
            problem = refused(operator, bad)
            assert problem.code == (refusal(name, "null") or lib.ACLNN_ERR_PARAM_NULLPTR)
            assert p.name in problem.text
