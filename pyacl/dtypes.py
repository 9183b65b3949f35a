"""aclDataType and aclFormat against numpy's types and names.

bfloat16, float8, float6, float4 and int4 are those of ml_dtypes, which is imported when one of them is met.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import Any, Union

import numpy as np

from .capi import lib

# CANN's name after ACL_ -> numpy's name; names that numpy lacks are looked up in ml_dtypes.
_NAMES = {
    "FLOAT": "float32", "FLOAT16": "float16", "INT8": "int8", "INT32": "int32", "UINT8": "uint8", "INT16": "int16",
    "UINT16": "uint16", "UINT32": "uint32", "INT64": "int64", "UINT64": "uint64", "DOUBLE": "float64", "BOOL": "bool",
    "COMPLEX64": "complex64", "COMPLEX128": "complex128", "BF16": "bfloat16", "INT4": "int4",
    "FLOAT8_E5M2": "float8_e5m2", "FLOAT8_E4M3FN": "float8_e4m3fn", "FLOAT8_E8M0": "float8_e8m0fnu",
    "FLOAT6_E3M2": "float6_e3m2fn", "FLOAT6_E2M3": "float6_e2m3fn", "FLOAT4_E2M1": "float4_e2m1fn",
}
_WITHOUT_NUMPY = ("STRING", "UINT1", "COMPLEX32", "HIFLOAT8", "FLOAT4_E1M2")
# Two of these share a byte on the device, the first in the low half; numpy keeps each in its own byte.
_PACKED = ("int4", "float4_e2m1fn")

DTypeLike = Any  # what numpy.dtype() takes, an ml_dtypes name such as "bfloat16", or an aclDataType


class Format(IntEnum):
    """aclFormat. Compares equal to the C value."""

    UNDEFINED = lib.ACL_FORMAT_UNDEFINED
    NCHW = lib.ACL_FORMAT_NCHW
    NHWC = lib.ACL_FORMAT_NHWC
    ND = lib.ACL_FORMAT_ND
    NC1HWC0 = lib.ACL_FORMAT_NC1HWC0
    FRACTAL_Z = lib.ACL_FORMAT_FRACTAL_Z
    NC1HWC0_C04 = lib.ACL_FORMAT_NC1HWC0_C04
    HWCN = lib.ACL_FORMAT_HWCN
    NDHWC = lib.ACL_FORMAT_NDHWC
    FRACTAL_NZ = lib.ACL_FORMAT_FRACTAL_NZ
    NCDHW = lib.ACL_FORMAT_NCDHW
    NDC1HWC0 = lib.ACL_FORMAT_NDC1HWC0
    FRACTAL_Z_3D = lib.ACL_FRACTAL_Z_3D
    NC = lib.ACL_FORMAT_NC
    NCL = lib.ACL_FORMAT_NCL
    FRACTAL_NZ_C0_16 = lib.ACL_FORMAT_FRACTAL_NZ_C0_16
    FRACTAL_NZ_C0_32 = lib.ACL_FORMAT_FRACTAL_NZ_C0_32
    FRACTAL_NZ_C0_2 = lib.ACL_FORMAT_FRACTAL_NZ_C0_2
    FRACTAL_NZ_C0_4 = lib.ACL_FORMAT_FRACTAL_NZ_C0_4
    FRACTAL_NZ_C0_8 = lib.ACL_FORMAT_FRACTAL_NZ_C0_8

    def __str__(self) -> str:
        return self.name


def to_format(value: Union[str, int]) -> Format:
    """``"NCHW"``, ``Format.NCHW`` or the C value as a `Format`. Raises ValueError for anything else."""
    if isinstance(value, str):
        name = value.upper()
        if name.startswith("ACL_"):
            name = name[4:]
        if name.startswith("FORMAT_"):
            name = name[7:]
        if name in Format.__members__:
            return Format[name]
    else:
        try:
            return Format(value)
        except ValueError:
            pass
    raise ValueError(f"no tensor format {value!r}: choose one of {', '.join(Format.__members__)}")


def _numpy(name: str) -> np.dtype[Any]:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return found


_codes: dict[Any, int] = {}  # what was asked before -> aclDataType


def to_acl(dtype: DTypeLike) -> int:
    """The aclDataType for a numpy dtype, its name or an aclDataType. Raises TypeError where there is none."""
    try:
        return _codes[dtype]
    except (KeyError, TypeError):
        code = _find(dtype)
    if isinstance(dtype, (np.dtype, str, type)):  # never numbers: True and 1.0 equal 1, and are no types
        _codes[dtype] = code
    return code


def _find(dtype: DTypeLike) -> int:
    if isinstance(dtype, (int, np.integer)) and not isinstance(dtype, bool):
        return _checked(int(dtype))
    if isinstance(dtype, str):
        upper = dtype.upper()
        short = upper[4:] if upper.startswith("ACL_") else upper
        if short in _NAMES or short in _WITHOUT_NUMPY:
            return int(getattr(lib, "ACL_" + short))
        if dtype in _NAMES.values():
            dtype = _numpy(dtype)
    try:
        found = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"{dtype!r} is not a data type: give a numpy dtype, a name such as 'bfloat16', or an "
                        "aclDataType") from None
    if not found.isnative:
        raise TypeError(f"{found!r} is not of this machine's byte order: convert with array.astype({found.name!r})")
    for name, numpy_name in _NAMES.items():
        if found.name == numpy_name:
            return int(getattr(lib, "ACL_" + name))
    raise TypeError(f"numpy's {found} has no counterpart on the device: convert to one of "
                    f"{', '.join(_NAMES.values())}")


def _checked(code: int) -> int:
    name(code)
    return code


@cache
def _by_code() -> dict[int, str]:
    return {getattr(lib, "ACL_" + n): n for n in (*_NAMES, *_WITHOUT_NUMPY)}


def name(code: int) -> str:
    """CANN's name of an aclDataType, without ``ACL_``. Raises TypeError for an unknown one."""
    try:
        return _by_code()[code]
    except KeyError:
        raise TypeError(f"{code} is not an aclDataType") from None


@cache
def to_numpy(code: int) -> np.dtype[Any]:
    """The numpy dtype of an aclDataType. Raises TypeError where numpy has none (such as HIFLOAT8)."""
    cann = name(code)
    if cann not in _NAMES:
        raise TypeError(f"numpy has no counterpart of ACL_{cann}: use its bytes (uint8)")
    return _numpy(_NAMES[cann])


def to_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """The numpy dtype of anything that `to_acl` takes."""
    if type(dtype) is np.dtype and dtype in _codes:
        return dtype
    return to_numpy(to_acl(dtype))


def packed(dtype: np.dtype[Any]) -> bool:
    """Whether two elements share a byte on the device."""
    return dtype.name in _PACKED


def nbytes(dtype: np.dtype[Any], count: int) -> int:
    """Bytes on the device of `count` elements."""
    return (count + 1) // 2 if packed(dtype) else count * dtype.itemsize


def pack(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The device's bytes of an array of a packed dtype, as flat uint8."""
    halves = np.ascontiguousarray(array).reshape(-1).view(np.uint8) & 0xF
    if halves.size % 2:
        halves = np.append(halves, np.uint8(0))
    return np.asarray(halves[0::2] | (halves[1::2] << 4), np.uint8)


def unpack(raw: np.ndarray[Any, Any], dtype: np.dtype[Any], count: int) -> np.ndarray[Any, Any]:
    """The inverse of `pack`: `count` elements of `dtype` from flat uint8."""
    halves: np.ndarray[Any, Any] = np.empty(raw.size * 2, np.uint8)
    halves[0::2] = raw & 0xF
    halves[1::2] = raw >> 4
    if dtype.name == "int4":  # ml_dtypes wants the sign in the upper bits
        halves = (halves ^ 8) - np.uint8(8)
    return halves[:count].view(dtype)
