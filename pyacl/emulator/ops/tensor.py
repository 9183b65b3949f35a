"""The parameter objects of aclnn calls, and numpy views of the device memory that tensors describe."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from ...capi import lib
from ..failure import Failure
from ..machine import memory
from .types import PACKED, Dtype, from_code, name

NZ = lib.ACL_FORMAT_FRACTAL_NZ
FAULT = lib.ACL_ERROR_RT_AICORE_EXCEPTION  # what a kernel gets that leaves its memory


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

    @property
    def indirect(self) -> bool:
        """Whether no numpy view can show the elements: half bytes, or fractal layout. They are read as a copy."""
        return self.dtype in PACKED or (self.format == NZ and len(self.storage_shape) >= 4)

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


def nz_shape(shape: tuple[int, ...], dtype: Dtype) -> tuple[int, ...]:
    """The storage shape of a matrix (or a batch) in the fractal format NZ: blocks of 16 rows and 32 bytes."""
    *lead, rows, columns = shape
    width = 32 // max(dtype.itemsize, 2) if dtype.itemsize > 1 else 32
    return (*lead, -(-columns // width), -(-rows // 16), 16, width)


def _transposed(tensor: Tensor) -> bool:
    """Whether the view is that of the stored matrix's transpose."""
    return tensor.ndim >= 2 and tensor.strides[-2] == 1 and tensor.strides[-1] != 1


def _from_nz(tensor: Tensor, storage: Any) -> Any:
    *lead, columns, rows, height, width = storage.shape
    dense = np.moveaxis(storage, -4, -2).reshape(*lead, rows * height, columns * width)
    if _transposed(tensor):
        dense = dense.swapaxes(-1, -2)
    return dense[..., :tensor.shape[-2], :tensor.shape[-1]].reshape(tensor.shape)


def _to_nz(tensor: Tensor, array: Any) -> Any:
    *lead, columns, rows, height, width = tensor.storage_shape
    if _transposed(tensor):
        array = array.swapaxes(-1, -2)
    padded = np.zeros((*lead, rows * height, columns * width), array.dtype)
    padded[..., :array.shape[-2], :array.shape[-1]] = array.reshape(*lead, *array.shape[-2:])
    return np.moveaxis(padded.reshape(*lead, rows, height, columns, width), -2, -4)


def _load(tensor: Tensor, address: int, what: str) -> Any:
    dtype = tensor.dtype
    size, shape = tensor.size, tensor.shape
    if tensor.format == NZ and len(tensor.storage_shape) >= 4:
        shape = tensor.storage_shape
        size = int(np.prod(shape))
    if dtype in PACKED:
        raw = memory.device_bytes(address + tensor.offset // 2, (size + 1) // 2, what, FAULT)
        found = np.stack((raw & 15, raw >> 4), axis=-1).reshape(-1)[:size].view(dtype).reshape(shape)
    else:
        raw = memory.device_bytes(address + tensor.offset * dtype.itemsize, size * dtype.itemsize, what, FAULT)
        found = raw.view(dtype).reshape(shape)
    return found if shape is tensor.shape else _from_nz(tensor, found)


def store(tensor: Tensor, address: int, array: Any, what: str) -> None:
    """Writes an `indirect` tensor. Of two elements in a byte the first has the low bits."""
    if tensor.format == NZ and len(tensor.storage_shape) >= 4:
        array = _to_nz(tensor, array)
    if tensor.dtype in PACKED:
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8) & 15
        if flat.size % 2:
            flat = np.append(flat, np.uint8(0))
        raw = memory.device_bytes(address + tensor.offset // 2, flat.size // 2, what, FAULT)
        raw[:] = flat[0::2] | flat[1::2] << 4
    else:
        size = tensor.dtype.itemsize
        raw = memory.device_bytes(address + tensor.offset * size, array.size * size, what, FAULT)
        raw[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def view(tensor: Tensor, address: int, what: str) -> Any:
    """The elements of `tensor` at `address` as a numpy array over the device memory itself.

    Fails as the memory does when they are not wholly inside one live allocation. What is `indirect` comes as a copy;
    `store` writes it back.
    """
    dtype = tensor.dtype
    if 0 in tensor.shape:
        return np.empty(tensor.shape, dtype)
    if tensor.indirect:
        if dtype in PACKED and not tensor.is_contiguous:
            raise Failure(lib.ACLNN_ERR_PARAM_INVALID, f"{what}: {name(dtype)} tensors must be contiguous")
        return _load(tensor, address, what)
    last = tensor.offset + sum((d - 1) * s for d, s in zip(tensor.shape, tensor.strides))
    size = dtype.itemsize
    # From the view's own first element: what lies before a slice may belong to somebody else.
    raw = memory.device_bytes(address + tensor.offset * size, (last - tensor.offset + 1) * size, what, FAULT)
    return np.ndarray(tensor.shape, dtype, raw, 0, tuple(s * size for s in tensor.strides))
