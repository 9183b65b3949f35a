"""Every emulated operator against its oracle: random shapes, strides, offsets, types and values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is the oracle")

from pyacl.capi import lib, operators
from pyacl.emulator import ops
from pyacl.emulator.ops import choice, pieces
from pyacl.emulator.ops.signature import refusal
from pyacl.emulator.ops.types import DTYPES, F32, PACKED, castable

from . import oracles
from .caller import Call, Rejected, Room
from .oracle import Draw, Oracle, close, half_of, to_numpy, to_torch, told_type

NAMES = [row.name for row in ops.table() if row.emulated]


def test_every_emulated_operator_has_an_oracle() -> None:
    missing = [n for n in NAMES if (found := ops.find(n)) is None or oracles.find(found) is None]
    assert not missing


def test_the_table_has_a_row_for_every_declared_operator() -> None:
    rows = ops.table()
    assert [r.name for r in rows] == operators()
    assert sum(r.emulated for r in rows) >= 400
    assert not [r.name for r in rows if r.emulated and not r.oracle]
    assert not [r.name for r in rows if not r.emulated and (r.oracle or r.deviations)]


def cast(array: Any, dtype: Any) -> Any:
    """To integers towards zero, clamped, NaN to 0, as the device casts."""
    if dtype.kind in "iu" and array.dtype.kind == "f":
        info = np.iinfo(dtype)
        return np.array([0 if v != v else int(min(max(v, info.min), info.max)) for v in array.reshape(-1).tolist()],
                        dtype).reshape(array.shape)
    return array.astype(dtype)


def expectation(operator: Any, oracle: Oracle, inputs: list[Any]) -> list[Any]:
    """What the oracle gives, in the types in which the operator stores it."""
    half, told = half_of(inputs), told_type(operator, inputs)
    results = oracle.call(*[to_torch(v) for v in inputs])
    parameters = operator.signature.outputs
    if not isinstance(results, (tuple, list)) or parameters[0].kind == "tensors" and len(parameters) == 1 \
            and not isinstance(results[0], (tuple, list)):
        results = [results]
    assert len(results) == len(parameters), f"the oracle gives {len(results)} outputs, not {len(parameters)}"
    by_name = dict(zip((p.name for p in operator.signature.inputs), inputs))

    def convert(result: Any, parameter: Any, old: Any) -> Any:
        if result is None:
            return old
        if isinstance(result, (list, tuple)):
            return [convert(r, parameter, None if old is None else old[i]) for i, r in enumerate(result)]
        found, allowed = to_numpy(result), operator.allowed(parameter.name)
        if told is not None:
            return cast(found, told)
        if old is not None:
            return cast(np.broadcast_to(found, old.shape), old.dtype)
        if half is not None and found.dtype == F32 and (not allowed or half in allowed):
            found = found.astype(half)
        if allowed and found.dtype not in allowed:
            options = [d for d in allowed if castable(found.dtype, d) and d not in PACKED]
            assert options, f"{parameter.name} cannot be {found.dtype}"
            found = found.astype(min(options, key=lambda d: (d.kind != found.dtype.kind, str(d))))
        return found

    return [convert(r, p, by_name.get(p.name)) for r, p in zip(results, parameters)]


def blank(value: Any) -> Any:
    if isinstance(value, list):
        return [blank(v) for v in value]
    return None if value is None else np.full(value.shape, 3, value.dtype)


def prepare(name: str, seed: int) -> tuple[Any, Oracle, Draw, list[Any], list[Any]]:
    """Operator, oracle, the random source, all of the prototype's values, the expected outputs."""
    operator = ops.find(name)
    assert operator is not None
    oracle = oracles.find(operator)
    assert oracle is not None
    d = Draw(operator, seed)
    with np.errstate(all="ignore"):
        inputs = oracle.draw(d)
        expected = expectation(operator, oracle, inputs)
    rooms = iter(oracle.room(*inputs) if oracle.room else [])
    given, wanted = iter(inputs), iter(expected)
    values = []
    for p in operator.signature.parameters:
        output: Any = next(wanted) if "o" in p.role else None
        values.append(next(given) if "i" in p.role else Room(np.zeros(next(rooms), output.dtype)) if oracle.room
                      else blank(output))
    return operator, oracle, d, values, expected


@pytest.mark.parametrize("name", NAMES)
def test_oracle(name: str, npu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other case runs as large tensors do: piece by piece, and choosing without branches."""
    whole = pieces.SIZE
    cases = oracles.find(ops.find(name)).cases  # type: ignore[union-attr,arg-type]
    for seed in range(cases):
        monkeypatch.setattr(pieces, "SIZE", 1 + seed if seed % 2 else whole)
        monkeypatch.setattr(choice, "SMALL", 2 if seed % 2 else 1 << 12)
        operator, oracle, d, values, expected = prepare(name, seed)
        call = Call(operator.signature, values, None if oracle.dense else d.rng)
        results = call.run()
        if oracle.accept is not None:
            oracle.accept([v for p, v in zip(operator.signature.parameters, values) if "i" in p.role], results)
        for parameter, found, want in zip(operator.signature.outputs, results, expected):
            if oracle.accept is not None:
                assert found.shape == want.shape
                continue
            for a, b in zip(found, want) if isinstance(found, list) else [(found, want)]:
                if a is None:
                    continue
                assert a.shape == b.shape
                right = close(a, b, oracle)
                assert right.all(), difference(f"{name} case {seed}, {parameter.name}", a, b, right, values)
        call.close()


def difference(what: str, found: Any, expected: Any, right: Any, values: list[Any]) -> str:
    wrong = np.argwhere(~right)
    first = tuple(wrong[0])
    called = ", ".join(f"{v.dtype}{list(v.shape)}" if isinstance(v, np.ndarray) else repr(v)[:80] for v in values)
    here = ", ".join(str(v[first]) for v in values if isinstance(v, np.ndarray) and v.shape == found.shape)
    return (f"{what} {found.dtype}: {len(wrong)} of {found.size} differ, first at {list(first)}: {found[first]}, "
            f"expected {expected[first]} ({here}); called with {called}")


def refused(operator: Any, values: list[Any]) -> Rejected:
    call = Call(operator.signature, values)
    with pytest.raises(Rejected) as caught:
        call.phase_one()
    call.close()
    assert operator.name in caught.value.text
    return caught.value


@pytest.mark.parametrize("name", NAMES)
def test_bad_arguments(name: str, npu: None) -> None:
    """NULL for what must be there is 161001; a type the page does not name and more than 8 dimensions are 161002."""
    operator, _, _, values, _ = prepare(name, 0)
    for i, p in enumerate(operator.signature.parameters):
        bad = list(values)
        if p.kind not in ("plain", "dtype") and values[i] is not None and not p.optional \
                and p.name not in operator.optional:
            bad[i] = None
            problem = refused(operator, bad)
            assert problem.code == (refusal(name, "null") or lib.ACLNN_ERR_PARAM_NULLPTR)
            assert p.name in problem.text
        if p.kind == "tensor" and values[i] is not None:
            bad[i] = np.zeros((1,) * 9, values[i].dtype)
            assert refused(operator, bad).code == (refusal(name, "ndim") or lib.ACLNN_ERR_PARAM_INVALID)
            others = [t for t in DTYPES.values() if t not in operator.allowed(p.name) and t not in PACKED]
            if operator.allowed(p.name) and others:
                bad[i] = np.zeros(values[i].shape, others[0])
                problem = refused(operator, bad)
                assert problem.code == lib.ACLNN_ERR_PARAM_INVALID
                assert p.name in problem.text


@pytest.mark.parametrize("name", [n for n in NAMES if ops.find(n).shape is not None])  # type: ignore[union-attr]
def test_outputs_of_another_shape_are_refused(name: str, npu: None) -> None:
    operator, _, _, values, _ = prepare(name, 0)
    for i, p in enumerate(operator.signature.parameters):
        if p.role == "o" and p.kind == "tensor" and isinstance(values[i], np.ndarray) and values[i].ndim < 8:
            bad = list(values)
            bad[i] = np.zeros((*values[i].shape, 2), values[i].dtype)
            problem = refused(operator, bad)
            assert problem.code == (refusal(name, "shape") or lib.ACLNN_ERR_PARAM_INVALID)
            assert p.name in problem.text
