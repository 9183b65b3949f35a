"""Data types of operators: ACL codes, numpy dtypes, and the two tables that say what goes with what.

`promote` is the type in which two tensors meet, `promote_scalar` that of a tensor and an aclScalar, `castable` whether
a result may be stored as another type. All three are the documented relations, not numpy's.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Optional

import ml_dtypes
import numpy as np

from ...capi import lib
from .. import half

Dtype = Any  # np.dtype; ml_dtypes registers types that numpy's stubs do not know

_NAMES: dict[str, tuple[str, Any]] = {
    "f32": ("ACL_FLOAT", np.float32), "f16": ("ACL_FLOAT16", np.float16), "f64": ("ACL_DOUBLE", np.float64),
    "bf16": ("ACL_BF16", ml_dtypes.bfloat16), "s8": ("ACL_INT8", np.int8), "u8": ("ACL_UINT8", np.uint8),
    "s16": ("ACL_INT16", np.int16), "u16": ("ACL_UINT16", np.uint16), "s32": ("ACL_INT32", np.int32),
    "u32": ("ACL_UINT32", np.uint32), "s64": ("ACL_INT64", np.int64), "u64": ("ACL_UINT64", np.uint64),
    "bool": ("ACL_BOOL", np.bool_), "c64": ("ACL_COMPLEX64", np.complex64), "c128": ("ACL_COMPLEX128", np.complex128),
    "s4": ("ACL_INT4", ml_dtypes.int4), "f8e5m2": ("ACL_FLOAT8_E5M2", ml_dtypes.float8_e5m2),
    "f8e4m3": ("ACL_FLOAT8_E4M3FN", ml_dtypes.float8_e4m3fn),
}
for _name, _code, _type in (
    ("f8e8m0", "ACL_FLOAT8_E8M0", "float8_e8m0fnu"), ("f6e3m2", "ACL_FLOAT6_E3M2", "float6_e3m2fn"),
    ("f6e2m3", "ACL_FLOAT6_E2M3", "float6_e2m3fn"), ("f4e2m1", "ACL_FLOAT4_E2M1", "float4_e2m1fn"),
):
    if hasattr(ml_dtypes, _type):  # newer releases of ml_dtypes have them
        _NAMES[_name] = (_code, getattr(ml_dtypes, _type))

DTYPES: dict[str, Dtype] = {name: np.dtype(kind) for name, (_, kind) in _NAMES.items()}
NAMES: dict[Dtype, str] = {dtype: name for name, dtype in DTYPES.items()}
_BY_CODE: dict[int, Dtype] = {getattr(lib, code): DTYPES[name] for name, (code, _) in _NAMES.items()}
_CODES: dict[Dtype, int] = {dtype: code for code, dtype in _BY_CODE.items()}

F16, BF16, F32, F64 = DTYPES["f16"], DTYPES["bf16"], DTYPES["f32"], DTYPES["f64"]
S8, U8, S16, S32, S64, BOOL = (DTYPES[n] for n in ("s8", "u8", "s16", "s32", "s64", "bool"))
C64, C128, INT4 = DTYPES["c64"], DTYPES["c128"], DTYPES["s4"]

HALF = frozenset((F16, BF16))  # computed in float32
FLOATS = frozenset((F16, BF16, F32, F64))
INTEGERS = frozenset(DTYPES[n] for n in ("s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64"))
COMPLEXES = frozenset((C64, C128))
_LONERS = frozenset(DTYPES[n] for n in ("u16", "u32", "u64"))  # these meet nothing but themselves
PACKED = frozenset(DTYPES[n] for n in ("s4", "f4e2m1") if n in DTYPES)  # two elements a byte


def from_code(code: int) -> Optional[Dtype]:
    """The numpy dtype of an aclDataType; None for ACL_DT_UNDEFINED and for types that are not emulated."""
    return _BY_CODE.get(code)


def to_code(dtype: Dtype) -> int:
    """The aclDataType of a numpy dtype."""
    return _CODES[dtype]


def name(dtype: Dtype) -> str:
    """``ACL_FLOAT16`` for float16: how messages call a type."""
    return _NAMES[NAMES[dtype]][0] if dtype in NAMES else str(dtype)


@cache
def parse(names: str) -> frozenset[Dtype]:
    """``"f32 f16 bool"`` -> the set of dtypes."""
    return frozenset(DTYPES[n] for n in names.split() if n in DTYPES)


def category(dtype: Dtype) -> int:
    """0 bool, 1 integer, 2 floating, 3 complex; -1 for types outside of promotion."""
    return (0 if dtype == BOOL else 1 if dtype in INTEGERS else 2 if dtype in FLOATS else 3 if dtype in COMPLEXES
            else -1)


@cache
def promote(a: Dtype, b: Dtype) -> Optional[Dtype]:
    """The type in which two tensors' elements meet; None where there is none."""
    if a == b:
        return a
    if category(a) > category(b):
        a, b = b, a
    low, high = category(a), category(b)
    if low < 0 or a in _LONERS or b in _LONERS:
        return None
    if high == 3:
        return C128 if C128 in (a, b) or F64 in (a, b) else C64
    if low < high:
        return b
    if {a, b} == {F16, BF16}:
        return F32
    if {a, b} == {S8, U8}:
        return S16
    return max(a, b, key=lambda d: (d.itemsize, d == S16))


@cache
def promote_scalar(tensor: Dtype, scalar: Dtype) -> Optional[Dtype]:
    """The type in which a tensor and an aclScalar meet: the tensor's, unless the scalar's category is higher."""
    have, want = category(tensor), category(scalar)
    if have < 0 or want < 0:
        return None
    if want <= have:
        return tensor
    if have == 0 and want == 1:
        return None if scalar in _LONERS else scalar
    if want == 3:  # beside float16 it would be a complex type of two float16
        return None if tensor == F16 else C128 if tensor in (F64, C128) else C64
    return None if tensor in _LONERS else F32


@cache
def castable(have: Dtype, want: Dtype) -> bool:
    """Whether a result of type `have` may be stored as `want`."""
    if have == want:
        return True
    a, b = category(have), category(want)
    if a < 0 or b < 0:
        return False
    return b > 0 if a < 3 else b >= 2


def wide(dtype: Dtype) -> Dtype:
    """The type the device computes in."""
    return F32 if dtype in HALF else dtype


def cast(array: Any, dtype: Dtype, out: Any = None) -> Any:
    """`array` as `dtype`: to integers towards zero, clamped to the range, NaN to 0; floats rounded to nearest even.

    Written to `out`, of that type, if that is given, except where nothing need be done.
    """
    if array.dtype == dtype:
        return array
    if dtype in INTEGERS and array.dtype in FLOATS:
        return to_integer(array, dtype, out)
    if array.dtype in COMPLEXES and dtype not in COMPLEXES:
        array = array.real
    if array.dtype == F32 and dtype in HALF:
        return half.narrow(array, dtype, out)
    if array.dtype in HALF and dtype == F32:
        return half.widen(array)
    if out is None:
        return array.astype(dtype)
    np.copyto(out, array, casting="unsafe")
    return out


def to_integer(array: Any, dtype: Dtype, out: Any = None) -> Any:
    """Floats as integers: the fraction cut off, out of range clamped, NaN 0."""
    info = np.iinfo(dtype)
    values = half.widen(array) if array.dtype in HALF else array
    result = np.empty(values.shape, dtype) if out is None else out
    with np.errstate(all="ignore"):
        # Where all are in range, and none is NaN, numpy's conversion is the device's.
        if values.size > 64 and values.min() > float(info.min) and values.max() < float(info.max):
            np.copyto(result, values, casting="unsafe")
            return result
        # The largest integers of 4 and 8 bytes have no exact float; comparing against the power of two above is exact.
        high, low = values >= float(info.max) + (info.bits <= 16), values <= float(info.min)
        nothing = np.isnan(values)
        np.copyto(result, values, casting="unsafe")
    np.copyto(result, info.max, where=high)
    np.copyto(result, info.min, where=low)
    np.copyto(result, 0, where=nothing)
    return result
