"""aclDataType and aclFormat against numpy's types."""

from __future__ import annotations

import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyacl import dtypes
from pyacl.capi import cdefs, lib

# The oracle: CANN's names, and what each must be for numpy.
PAIRS = {
    "ACL_FLOAT": np.float32, "ACL_FLOAT16": np.float16, "ACL_DOUBLE": np.float64, "ACL_BF16": ml_dtypes.bfloat16,
    "ACL_INT8": np.int8, "ACL_INT16": np.int16, "ACL_INT32": np.int32, "ACL_INT64": np.int64,
    "ACL_UINT8": np.uint8, "ACL_UINT16": np.uint16, "ACL_UINT32": np.uint32, "ACL_UINT64": np.uint64,
    "ACL_BOOL": np.bool_, "ACL_COMPLEX64": np.complex64, "ACL_COMPLEX128": np.complex128, "ACL_INT4": ml_dtypes.int4,
    "ACL_FLOAT8_E5M2": ml_dtypes.float8_e5m2, "ACL_FLOAT8_E4M3FN": ml_dtypes.float8_e4m3fn,
    "ACL_FLOAT8_E8M0": ml_dtypes.float8_e8m0fnu, "ACL_FLOAT4_E2M1": ml_dtypes.float4_e2m1fn,
    "ACL_FLOAT6_E3M2": ml_dtypes.float6_e3m2fn, "ACL_FLOAT6_E2M3": ml_dtypes.float6_e2m3fn,
}
WITHOUT = ("ACL_STRING", "ACL_UINT1", "ACL_COMPLEX32", "ACL_HIFLOAT8", "ACL_FLOAT4_E1M2")


@pytest.mark.parametrize("name", PAIRS)
def test_a_type_in_all_its_spellings(name: str) -> None:
    code, kind = getattr(lib, name), np.dtype(PAIRS[name])
    for spelling in (kind, kind.type, kind.name, name, name[4:], name[4:].lower(), code, np.int64(code)):
        assert dtypes.to_acl(spelling) == code
        assert dtypes.to_dtype(spelling) == kind
    assert dtypes.to_numpy(code) == kind
    assert dtypes.name(code) == name[4:]


def test_every_c_type_is_paired_or_left_out_on_purpose() -> None:
    text = (cdefs.FOLDER / "base.h").read_text() + "".join(p.read_text() for p in cdefs.FOLDER.glob("*.h"))
    body = re.search(r"typedef enum \w* ?\{([^}]*\bACL_FLOAT16\b[^}]*)\} aclDataType;", text)
    assert body is not None
    names = set(re.findall(r"\b(ACL_\w+)", body.group(1)))
    assert names - {"ACL_DT_UNDEFINED"} == {*PAIRS, *WITHOUT}


@pytest.mark.parametrize("name", WITHOUT)
def test_types_that_numpy_lacks_say_so(name: str) -> None:
    assert dtypes.to_acl(name) == getattr(lib, name)
    with pytest.raises(TypeError, match=f"no counterpart of {name}"):
        dtypes.to_numpy(getattr(lib, name))


@pytest.mark.parametrize("wrong", ["U3", "datetime64[s]", object, "float23", 12345, -7, None.__class__, True,
                                   np.dtype([("a", "i4")]), "longdouble", "V4"])
def test_what_is_no_type_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError):
        dtypes.to_acl(wrong)


def test_another_byte_order_says_how_to_convert() -> None:
    swapped = np.dtype(np.int32).newbyteorder()
    with pytest.raises(TypeError, match="byte order"):
        dtypes.to_acl(swapped)


def test_python_types() -> None:
    assert dtypes.to_acl(float) == lib.ACL_DOUBLE
    assert dtypes.to_acl(bool) == lib.ACL_BOOL
    assert dtypes.to_acl(int) == lib.ACL_INT64


@given(st.sampled_from(["int4", "float4_e2m1fn"]), st.lists(st.integers(0, 15), max_size=33))
def test_packed_types_keep_two_elements_in_a_byte(name: str, bits: list[int]) -> None:
    kind = dtypes.to_dtype(name)
    array = np.array(bits, np.uint8)
    if name == "int4":
        array = (array.astype(np.int8) - 8).astype(kind)
    else:
        array = array.view(kind)
    raw = dtypes.pack(array)
    assert raw.size == dtypes.nbytes(kind, array.size) == (array.size + 1) // 2
    low = array.view(np.uint8) & 15
    for i, value in enumerate(low):  # the first of a pair is in the low half
        assert (raw[i // 2] >> (4 * (i % 2))) & 15 == value
    again = dtypes.unpack(raw, kind, array.size)
    assert again.dtype == kind
    assert np.array_equal(again.astype(np.float32), array.astype(np.float32))


def test_sizes() -> None:
    for name, kind in PAIRS.items():
        if not dtypes.packed(np.dtype(kind)):
            assert dtypes.nbytes(np.dtype(kind), 3) == 3 * np.dtype(kind).itemsize
            if "FLOAT6" not in name:
                assert lib.aclDataTypeSize(getattr(lib, name)) == np.dtype(kind).itemsize


@pytest.mark.parametrize("format", list(dtypes.Format))
def test_formats(format: dtypes.Format) -> None:
    c_name = f"ACL_FORMAT_{format.name}" if hasattr(lib, f"ACL_FORMAT_{format.name}") else f"ACL_{format.name}"
    assert format == getattr(lib, c_name)
    for spelling in (format, int(format), format.name, format.name.lower(), c_name):
        assert dtypes.to_format(spelling) is format
    assert str(format) == format.name


def test_every_c_format_is_there() -> None:
    text = "".join(p.read_text() for p in cdefs.FOLDER.glob("*.h"))
    body = re.search(r"typedef enum \w* ?\{([^}]*\bACL_FORMAT_NCHW\b[^}]*)\} aclFormat;", text)
    assert body is not None
    assert set(re.findall(r"\b(ACL_F\w+)", body.group(1))) == {
        n for f in dtypes.Format for n in (f"ACL_FORMAT_{f.name}", f"ACL_{f.name}") if hasattr(lib, n)}


@pytest.mark.parametrize("wrong", ["NHCW", 1234, ""])
def test_what_is_no_format_is_refused_with_the_list(wrong: Any) -> None:
    with pytest.raises(ValueError, match="NCHW"):
        dtypes.to_format(wrong)
