"""Scalars: single values on the host, with a dtype, as operators take them."""

from __future__ import annotations

import math
import struct
from typing import Any, Iterable, Iterator, Optional, Union

import numpy as np

from . import dtypes, errors
from .capi import ffi, lib
from .dtypes import DTypeLike, to_acl, to_dtype
from .resource import Resource


class Scalar(Resource):
    """A value of a dtype (aclScalar); it never changes.

    Without a dtype it follows the value: bool, int64, float32, complex64, or that of a numpy scalar. A number given
    straight to an operator becomes one that fits the operator's first tensor (see `for_tensor`).
    """

    __slots__ = ("value", "dtype")

    _warns = False

    def __init__(self, value: Union[bool, int, float, complex, np.generic], dtype: Optional[DTypeLike] = None) -> None:
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        if not isinstance(value, (bool, int, float, complex, np.generic)):
            raise TypeError(f"a Scalar is made of a number, not of a {type(value).__name__}")
        self.dtype = _natural(value) if dtype is None else to_dtype(dtype)
        if dtypes.packed(self.dtype):
            raise TypeError(f"a Scalar cannot be {self.dtype}: it has no byte of its own")
        self.value = _cast(value, self.dtype)
        self._own_later()

    @classmethod
    def for_tensor(cls, value: Any, dtype: Optional[np.dtype[Any]]) -> Scalar:
        """`value` in the dtype that goes with a tensor of `dtype`; without loss where a common one exists.

        A bool stays bool. An int goes with integers as int64, with floats as their scalar type. A float makes float32,
        of float64 tensors float64. A complex number makes complex64, or complex128 where the tensor is as wide.
        """
        if isinstance(value, np.ndarray):
            value = value[()]  # refused below where it has more than one element
        if isinstance(value, np.generic):
            return cls(value)
        wide = dtype is not None and dtype.name in ("float64", "complex128")
        if isinstance(value, bool) or not isinstance(value, (int, float, complex)):
            return cls(value)
        if isinstance(value, complex) or (dtype is not None and dtype.kind == "c"):
            return cls(value, np.complex128 if wide else np.complex64)
        floating = dtype is not None and (dtype.kind == "f" or "float" in dtype.name)
        if isinstance(value, float) or floating:
            if isinstance(value, int) and not wide and not _exact(value):
                return cls(value, np.int64 if abs(value) < 2**63 else np.float64)
            return cls(value, np.float64 if wide else np.float32)
        return cls(value, dtype if dtype is not None and dtype.name == "uint64" and value >= 2**63 else np.int64)

    def descriptor(self) -> Any:
        """A new aclScalar (aclCreateScalar copies the value); whoever asks for it destroys it."""
        raw = np.array(self.value, self.dtype)
        pointer = lib.aclCreateScalar(ffi.from_buffer(raw.reshape(1).view(np.uint8)), to_acl(self.dtype))
        if not pointer:
            raise errors.error(lib.ACLNN_ERR_PARAM_INVALID, "aclCreateScalar")
        return pointer

    def _make_handle(self) -> Any:
        self.handle = self.descriptor()
        return self.handle

    def _release(self) -> None:
        made = self._made
        if made is not None:
            errors.check(lib.aclDestroyScalar(made), "aclDestroyScalar")

    def _describe(self) -> str:
        return f"{self.value} {self.dtype}"


def _natural(value: Any) -> np.dtype[Any]:
    if isinstance(value, np.generic):
        return to_dtype(value.dtype)
    if isinstance(value, bool):
        return np.dtype(np.bool_)
    if isinstance(value, int):
        return np.dtype(np.int64 if -2**63 <= value < 2**63 else np.uint64)
    return np.dtype(np.complex64 if isinstance(value, complex) else np.float32)


def _exact(value: int) -> bool:
    """Whether float32 has this integer."""
    try:
        return bool(struct.unpack("f", struct.pack("f", value))[0] == value)
    except (OverflowError, struct.error):
        return False


def _cast(value: Any, dtype: np.dtype[Any]) -> Any:
    """`value` as a scalar of `dtype`. Raises ValueError where an integer does not fit, or a part would be lost."""
    number = value.item() if isinstance(value, np.generic) else value
    if isinstance(number, complex) and dtype.kind != "c":
        raise ValueError(f"{value!r} is complex, so it cannot be a {dtype} Scalar")
    if dtype.kind in "iu":
        if not math.isfinite(number) or int(number) != number:
            raise ValueError(f"{value!r} is not an integer, so it cannot be a {dtype} Scalar")
        limits = np.iinfo(dtype)
        if not limits.min <= number <= limits.max:
            raise ValueError(f"{value!r} does not fit {dtype} ({limits.min} to {limits.max})")
        value = int(number)
    elif type(value) is int and not -2**63 <= value < 2**64:  # numpy has no type for it
        try:
            value = float(value)
        except OverflowError:
            raise ValueError(f"an integer of {value.bit_length()} bits is too large for {dtype}") from None
    with np.errstate(over="ignore"):
        return np.array(value).astype(dtype)[()] if dtype.kind not in "iu" else np.array(value, dtype)[()]


class ScalarList(Resource):
    """Several scalars as one argument (aclScalarList); the C list owns handles of its own."""

    __slots__ = ("scalars",)

    _warns = False

    def __init__(self, scalars: Iterable[Any], dtype: Optional[DTypeLike] = None) -> None:
        self.scalars = [s if isinstance(s, Scalar) else Scalar(s, dtype) for s in scalars]
        self._own_later()

    def __len__(self) -> int:
        return len(self.scalars)

    def __getitem__(self, index: int) -> Scalar:
        return self.scalars[index]

    def __iter__(self) -> Iterator[Scalar]:
        return iter(self.scalars)

    def _make_handle(self) -> Any:
        members: list[Any] = []
        try:
            for scalar in self.scalars:
                members.append(scalar.descriptor())
            pointer = lib.aclCreateScalarList(members, len(members))
            if not pointer:
                raise errors.error(lib.ACLNN_ERR_PARAM_INVALID, "aclCreateScalarList")
        except Exception:
            for member in members:
                lib.aclDestroyScalar(member)
            raise
        self.handle = pointer
        return pointer

    def _uses(self) -> Iterable[Resource]:
        return self.scalars

    def _release(self) -> None:
        made = self._made
        if made is not None:
            errors.check(lib.aclDestroyScalarList(made), "aclDestroyScalarList")

    def _describe(self) -> str:
        return f"of {len(self.scalars)}"
