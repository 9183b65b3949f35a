"""Scalars, lists of them, and the arrays that operators take as attributes."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyacl
from pyacl.capi import ffi, lib


@pytest.mark.parametrize(("value", "kind"), [
    (True, np.bool_), (3, np.int64), (-(2**63), np.int64), (2**63, np.uint64), (1.5, np.float32), (1j, np.complex64),
    (np.int8(3), np.int8), (np.float64(1.5), np.float64), (ml_dtypes.bfloat16(1.5), ml_dtypes.bfloat16),
    (np.array(4, np.int16), np.int16),
])
def test_the_type_follows_the_value(device: Any, value: Any, kind: Any) -> None:
    with pyacl.Scalar(value) as scalar:
        assert scalar.dtype == np.dtype(kind)
        assert scalar.value == value
        assert scalar.handle
        assert repr(scalar) == f"<pyacl.Scalar {scalar.value} {scalar.dtype}>"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64", "int8", "uint64", "bool", "complex128"])
def test_a_type_can_be_given(device: Any, dtype: str) -> None:
    with pyacl.Scalar(1, dtype) as scalar:
        assert scalar.dtype.name == dtype
        assert scalar.value == 1


@pytest.mark.parametrize(("value", "dtype", "error", "words"), [
    (300, "int8", ValueError, "does not fit int8"), (-1, "uint8", ValueError, "does not fit uint8"),
    (1.5, "int32", ValueError, "not an integer"), (1j, "int32", ValueError, "complex"),
    (1j, "float32", ValueError, "complex"), (float("inf"), "int32", ValueError, "not an integer"),
    (float("nan"), "int8", ValueError, "not an integer"), (10**400, "float64", ValueError, "1329 bits is too large"),
    (2**64, None, ValueError, "does not fit"), ("1", None, TypeError, "not of a str"),
    (None, None, TypeError, "NoneType"), ([1], None, TypeError, "list"), (np.arange(2), None, TypeError, "ndarray"),
    (1, "int4", TypeError, "no byte of its own"), (1, "float23", TypeError, "not a data type"),
])
def test_what_is_refused(value: Any, dtype: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        pyacl.Scalar(value, dtype)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.0, 1e300])
def test_special_values(device: Any, value: float) -> None:
    with pyacl.Scalar(value, "float64") as scalar:
        assert np.float64(scalar.value).tobytes() == np.float64(value).tobytes()


@pytest.mark.parametrize(("value", "tensor", "kind"), [
    (1, "float32", "float32"), (1, "int32", "int64"), (1, "bfloat16", "float32"), (1.5, "int32", "float32"),
    (1.5, "float64", "float64"), (1, "float64", "float64"), (True, "float32", "bool"), (1j, "float32", "complex64"),
    (1j, "complex128", "complex128"), (2.0, "complex64", "complex64"), (2**24 + 1, "float32", "int64"),
    (np.int8(2), "float32", "int8"), (2**63, "uint64", "uint64"), (1, None, "int64"), (0.1, None, "float32"),
])
def test_numbers_fit_the_tensor_they_go_with(value: Any, tensor: Any, kind: str) -> None:
    scalar = pyacl.Scalar.for_tensor(value, None if tensor is None else pyacl.dtypes.to_dtype(tensor))
    assert scalar.dtype.name == kind
    if kind != "float32":
        assert scalar.value == value


@settings(deadline=None)
@given(st.one_of(st.integers(-(2**62), 2**62), st.floats(width=32), st.booleans()))
def test_an_operator_sees_the_value(device: Any, value: Any) -> None:
    device.set_current()
    kind = np.float64 if isinstance(value, float) else np.int64
    out = pyacl.Tensor.zeros(2, kind)
    pyacl.ops.aclnnAdds(out, pyacl.Scalar(value, kind), 1, out)
    pyacl.Stream.default().synchronize()
    assert np.array_equal(out.numpy(), np.full(2, value, kind), equal_nan=isinstance(value, float))


def test_a_list(device: Any) -> None:
    with pyacl.ScalarList([1.5, pyacl.Scalar(2, "int8")]) as scalars:
        assert len(scalars) == 2
        assert [s.value for s in scalars] == [1.5, 2]
        assert scalars[1].dtype == np.int8
        size = ffi.new("uint64_t *")
        assert lib.aclGetScalarListSize(scalars.handle, size) == 0
        assert size[0] == 2
    assert [s.dtype.name for s in pyacl.ScalarList([1, 2], "float16")] == ["float16"] * 2
    with pytest.raises(TypeError):
        pyacl.ScalarList(["a"])


SIZES = {"IntArray": "aclGetIntArraySize", "FloatArray": "aclGetFloatArraySize", "BoolArray": "aclGetBoolArraySize"}


@pytest.mark.parametrize(("name", "given", "values"), [
    ("IntArray", [1, np.int8(-2), 2**62], [1, -2, 2**62]), ("IntArray", (), []), ("IntArray", np.arange(3), [0, 1, 2]),
    ("IntArray", range(2), [0, 1]), ("FloatArray", [1, 0.5, np.float64(2)], [1, 0.5, 2]), ("FloatArray", (), []),
    ("BoolArray", [True, 0, np.bool_(1)], [True, False, True]), ("BoolArray", (), []),
])
def test_arrays(device: Any, name: str, given: Any, values: Any) -> None:
    with getattr(pyacl, name)(given) as array:
        assert list(array) == values
        assert len(array) == len(values)
        if values:
            assert array[0] == values[0]
        assert repr(array) == f"<pyacl.{name} {list(array)}>"
        size = ffi.new("uint64_t *")
        assert getattr(lib, SIZES[name])(array.handle, size) == 0
        assert size[0] == len(values)


@pytest.mark.parametrize(("name", "given", "error"), [
    ("IntArray", [1.5], TypeError), ("IntArray", ["1"], TypeError), ("IntArray", [2**63], ValueError),
    ("IntArray", "12", TypeError), ("IntArray", 5, TypeError), ("FloatArray", ["x"], TypeError),
    ("FloatArray", [None], TypeError), ("FloatArray", b"12", TypeError), ("BoolArray", [2], ValueError),
    ("BoolArray", ["yes"], ValueError), ("BoolArray", None, TypeError),
])
def test_wrong_arrays(name: str, given: Any, error: Any) -> None:
    with pytest.raises(error):
        getattr(pyacl, name)(given)
