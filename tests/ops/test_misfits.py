"""Calls that do not fit together are refused in phase one, with a documented code; what passes runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is the oracle")

from pyacl.capi import ffi, lib
from pyacl.emulator import ops
from pyacl.emulator.ops.types import PACKED

from .caller import Call, Rejected
from .test_operators import NAMES, prepare

LARGE = 1 << 40
# What is in the tensors may not fit either, which only the run can tell: an index, a class, more results than room.
CONTENTS = ("index", "class", "outside", "negative", "out of bounds", "does not fit into", "leaves its storage")


def misfits(operator: Any, values: list[Any]) -> Iterator[tuple[int, Any]]:
    """A parameter's position and a value that may not fit: another shape, a large or negative number, a short list."""
    for i, (p, v) in enumerate(zip(operator.signature.parameters, values)):
        if p.kind == "tensor" and isinstance(v, np.ndarray) and v.dtype not in PACKED and "o" not in p.role:
            for shape in ((), (0,), (*v.shape, 2), (*v.shape[:-1], 77)):
                if v.ndim < 8 and shape != v.shape:
                    yield i, np.resize(v, shape).astype(v.dtype) if v.size else np.zeros(shape, v.dtype)
        elif p.kind == "tensors" and v:
            yield i, v[:-1]
        elif p.kind == "ints" and v:
            yield from ((i, bad) for bad in ((), v[:-1], (*v, v[-1]), (LARGE, *v[1:]), (-LARGE, *v[1:])))
        elif p.kind == "text" and v:
            yield i, "no such text"
        elif p.kind == "plain" and type(v) is int:
            yield from ((i, bad) for bad in (-100, 100))


def ran(call: Call) -> str:
    """Why it failed, empty where it did not."""
    try:
        call.run()
    except Rejected as failure:
        return str(failure.text)
    return ""


@pytest.mark.parametrize("name", [n for n in NAMES if ops.find(n).rehearsed])  # type: ignore[union-attr]
def test_misfits(name: str, npu: None) -> None:
    operator, _, _, values, _ = prepare(name, 1)
    for i, bad in misfits(operator, values):
        call = Call(operator.signature, [*values[:i], bad, *values[i + 1:]])
        size, executor = ffi.new("uint64_t *"), ffi.new("aclOpExecutor **")
        try:
            code = getattr(lib, name + "GetWorkspaceSize")(*call.arguments, size, executor)
        except OverflowError:  # an unsigned parameter
            call.close()
            continue
        assert code != lib.ACL_ERROR_INTERNAL_ERROR, (operator.signature.parameters[i].name, bad)
        if code == 0:
            lib.aclDestroyAclOpExecutor(executor[0])
            text = ran(call)
            assert not text or any(word in text for word in CONTENTS), (operator.signature.parameters[i].name, bad, text)
        with contextlib.suppress(Rejected):
            call.close()
