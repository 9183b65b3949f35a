"""The parameter objects of aclnn calls, and numpy views of the device memory that tensors describe."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from ...capi import lib
from ..failure import Failure
from ..machine import memory
from .types import PACKED, Dtype, from_code, name

_FAULT = lib.ACL_ERROR_RT_AICORE_EXCEPTION  # what a kernel gets that leaves its memory


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides, in elements, of a dense row-major array."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


class Tensor:
    """An aclTensor: a strided view of device memory.

    ``shape``, ``ndim``, ``size``, ``dtype`` mean what they mean for a numpy array, so the shape and dtype rules of
    operators work on either. `strides` and `offset` count elements; `dtype` is None for types that are not emulated.
    """

    __slots__ = ("shape", "strides", "offset", "code", "dtype", "format", "storage_shape", "address")

    def __init__(self, shape: tuple[int, ...], code: int, strides: Optional[tuple[int, ...]] = None, offset: int = 0,
                 format: int = 2, storage_shape: Optional[tuple[int, ...]] = None, address: int = 0) -> None:
        self.set(shape, code, strides, offset, format, storage_shape, address)

    def set(self, shape: tuple[int, ...], code: int, strides: Optional[tuple[int, ...]], offset: int, format: int,
            storage_shape: Optional[tuple[int, ...]], address: int) -> None:
        self.shape = shape
        self.strides = contiguous(shape) if strides is None else strides
        self.offset = offset
        self.code = code
        self.dtype: Dtype = from_code(code)
        self.format = format
        self.storage_shape = shape if storage_shape is None else storage_shape
        self.address = address

    def copy(self) -> Tensor:
        """The description as it is now; the executor keeps this, so later changes of the object do not reach it."""
        return Tensor(self.shape, self.code, self.strides, self.offset, self.format, self.storage_shape, self.address)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        n = 1
        for d in self.shape:
            n *= d
        return n

    @property
    def is_contiguous(self) -> bool:
        return self.size <= 1 or all(d == 1 or s == t
                                     for d, s, t in zip(self.shape, self.strides, contiguous(self.shape)))

    def __repr__(self) -> str:
        return f"aclTensor{list(self.shape)} {name(self.dtype) if self.dtype is not None else self.code}"


class TensorList:
    """An aclTensorList. It owns its members' handles; `tensors` are the members, None for a NULL member."""

    __slots__ = ("handles", "tensors")

    def __init__(self, handles: tuple[int, ...], tensors: tuple[Optional[Tensor], ...]) -> None:
        self.handles = handles
        self.tensors = tensors


class Scalar:
    """An aclScalar: `value` is a numpy scalar of its own dtype."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class ScalarList:
    """An aclScalarList, owner of its members' handles."""

    __slots__ = ("handles", "scalars")

    def __init__(self, handles: tuple[int, ...], scalars: tuple[Scalar, ...]) -> None:
        self.handles = handles
        self.scalars = scalars


class _Values:
    __slots__ = ("values",)

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.values = values


class IntArray(_Values):
    """An aclIntArray."""


class FloatArray(_Values):
    """An aclFloatArray."""


class BoolArray(_Values):
    """An aclBoolArray."""


def view(tensor: Tensor, address: int, what: str) -> Any:
    """The elements of `tensor` at `address` as a numpy array over the device memory itself.

    Fails as the memory does when they are not wholly inside one live allocation. Types of half a byte come as a copy;
    `store` packs them back.
    """
    dtype = tensor.dtype
    if 0 in tensor.shape:
        return np.empty(tensor.shape, dtype)
    last = tensor.offset + sum((d - 1) * s for d, s in zip(tensor.shape, tensor.strides))
    if dtype in PACKED:
        if not tensor.is_contiguous:
            raise Failure(lib.ACLNN_ERR_PARAM_INVALID, f"{what}: {name(dtype)} tensors must be contiguous")
        packed = memory.device_bytes(address + tensor.offset // 2, (tensor.size + 1) // 2, what, _FAULT)
        pairs = np.stack((packed & 15, packed >> 4), axis=-1).reshape(-1)[:tensor.size]
        return pairs.view(dtype).reshape(tensor.shape) if dtype.itemsize == 1 else pairs.astype(dtype)
    size = dtype.itemsize
    # From the view's own first element: what lies before a slice may belong to somebody else.
    raw = memory.device_bytes(address + tensor.offset * size, (last - tensor.offset + 1) * size, what, _FAULT)
    return np.ndarray(tensor.shape, dtype, raw, 0, tuple(s * size for s in tensor.strides))


def store_packed(tensor: Tensor, address: int, array: Any, what: str) -> None:
    """Writes elements of half a byte, two a byte, the first in the low bits."""
    flat = array.reshape(-1).view(np.uint8) & 15
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    raw = memory.device_bytes(address + tensor.offset // 2, (tensor.size + 1) // 2, what, _FAULT)
    raw[:] = flat[0::2] | flat[1::2] << 4
