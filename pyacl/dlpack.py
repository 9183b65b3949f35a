"""DLPack: tensors from other libraries and for them.

On an NPU memory is shared; its DLPack device is kDLExtDev, as PyTorch has it for devices that it does not build itself.
Between device and host everything is a copy, so consumers that only know the host (numpy, PyTorch without torch_npu)
work as well.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from . import dtypes
from .context import Context
from .memory import DeviceBuffer

if TYPE_CHECKING:
    from .tensor import Tensor

HOST_DEVICE = 1  # kDLCPU
EXTENSION_DEVICE = 12  # kDLExtDev
_ON_HOST = (HOST_DEVICE, 3, 11)  # also memory that CUDA or ROCm pinned

# DLDataTypeCode of numpy's kinds, and of the types of ml_dtypes, which numpy cannot exchange by itself.
_KINDS = {"i": 0, "u": 1, "f": 2, "c": 5, "b": 6}
_NAMED = {"bfloat16": 4, "float8_e4m3fn": 10, "float8_e5m2": 12, "float8_e8m0fnu": 14}


class _Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
                ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
                ("lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64)),
                ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Plain(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned, since DLPack 1.0."""

    _fields_ = [("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
                ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", _Tensor)]


# Capsule names are kept by pointer, so these bytes must stay alive.
_CAPSULES: tuple[tuple[bytes, bytes, Any], ...] = (
    (b"dltensor_versioned", b"used_dltensor_versioned", _Versioned), (b"dltensor", b"used_dltensor", _Plain))

_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.argtypes = (ctypes.py_object, ctypes.c_char_p)
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_set_name = ctypes.pythonapi.PyCapsule_SetName
_set_name.argtypes = (ctypes.py_object, ctypes.c_char_p)


class _Taken:
    """The content of a capsule, which is ours now; given back to its maker when nobody needs it any more."""

    __slots__ = ("tensor", "_managed", "_address")

    def __init__(self, capsule: Any) -> None:
        for name, used, kind in _CAPSULES:
            if _is_valid(capsule, name):
                self._address = _pointer(capsule, name)
                self._managed = kind.from_address(self._address)
                self.tensor = self._managed.tensor
                _set_name(capsule, used)
                return
        raise TypeError(f"no DLPack capsule, or one that was used before: {capsule!r}")

    def __del__(self) -> None:
        managed = getattr(self, "_managed", None)
        if managed is not None and managed.deleter:
            _Deleter(managed.deleter)(self._address)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape[: self.tensor.ndim])

    @property
    def strides(self) -> Optional[tuple[int, ...]]:
        """In elements; None for a dense tensor."""
        return tuple(self.tensor.strides[: self.tensor.ndim]) if self.tensor.strides else None

    @property
    def dtype(self) -> np.dtype[Any]:
        code, bits, lanes = self.tensor.code, self.tensor.bits, self.tensor.lanes
        if lanes == 1 and bits % 8 == 0:
            for name, known in _NAMED.items():
                if code == known:
                    return dtypes.to_dtype(name)
            for kind, known in _KINDS.items():
                if code == known:
                    return dtypes.to_dtype(np.dtype(f"{kind}{bits // 8}"))
        raise BufferError(f"DLPack's type with code {code}, {bits} bits and {lanes} lanes has no counterpart here")


class _Memory:
    """Memory at an address as numpy takes it; numpy does not read it."""

    __slots__ = ("__array_interface__", "_owner")

    def __init__(self, address: int, shape: tuple[int, ...], strides: Optional[tuple[int, ...]],
                 dtype: np.dtype[Any], owner: Any) -> None:
        size = dtype.itemsize
        self._owner = owner
        self.__array_interface__ = {
            "data": (address, False), "shape": shape, "typestr": _plain(dtype).str, "version": 3,
            "strides": None if strides is None else tuple(n * size for n in strides)}


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type itself, or for those of ml_dtypes an integer of that size."""
    return np.dtype(f"u{dtype.itemsize}") if dtype.name in _NAMED else dtype


def take(cls: type[Tensor], obj: Any) -> Tensor:
    """A `cls` from an object with ``__dlpack__``: a view of memory on an NPU, a copy of what is on the host.

    Raises TypeError for other objects, BufferError for memory or types that cannot be taken.
    """
    if isinstance(obj, cls):
        return obj[...]
    if not hasattr(obj, "__dlpack__") or not hasattr(obj, "__dlpack_device__"):
        raise TypeError(f"a {type(obj).__name__} does not speak DLPack: it has no __dlpack__ and __dlpack_device__")
    kind, index = (int(n) for n in obj.__dlpack_device__())
    if kind not in (*_ON_HOST, EXTENSION_DEVICE):
        raise BufferError(f"DLPack's device type {kind} is neither the host nor an NPU: copy it to the host first")
    try:
        capsule = obj.__dlpack__(max_version=(1, 0))
    except TypeError:  # from before DLPack 1.0
        capsule = obj.__dlpack__()
    taken = _Taken(capsule)
    dtype, shape, strides = taken.dtype, taken.shape, taken.strides
    address = (taken.tensor.data or 0) + taken.tensor.byte_offset
    if kind != EXTENSION_DEVICE:
        if 0 in shape:
            return cls.empty(shape, dtype)
        return cls.from_numpy(np.asarray(_Memory(address, shape, strides, dtype, taken)).view(dtype))
    here = Context.current().device_id
    if index != here:
        raise BufferError(f"the memory is on device {index}, but this thread uses device {here}: make device {index} "
                          "this thread's with set_current() first")
    if strides is not None and any(n < 0 for n in strides):
        raise BufferError("an aclTensor has no reversed views: copy it first")
    span = 0 if 0 in shape else 1 + sum((n - 1) * step for n, step in zip(shape, strides or _dense(shape)))
    buffer = DeviceBuffer.from_address(address, span * dtype.itemsize, owner=taken)
    return cls(buffer, shape, dtype, strides=strides)


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps = [1]
    for size in reversed(shape[1:]):
        steps.append(steps[-1] * size)
    return tuple(reversed(steps))


def give(tensor: Tensor, dl_device: Optional[tuple[int, int]], copy: Optional[bool]) -> Any:
    """A capsule of a copy on the host, or with ``dl_device=(12, device id)`` of the tensor's own memory.

    Raises BufferError where that is not possible.
    """
    tensor.handle_check()
    kind, index = (int(n) for n in dl_device) if dl_device is not None else (HOST_DEVICE, 0)
    dtype = tensor.dtype
    code = _KINDS.get(dtype.kind) if dtype.isbuiltin == 1 else _NAMED.get(dtype.name)
    if code is None:
        raise BufferError(f"DLPack cannot carry {dtype}: use .numpy()")
    if kind == HOST_DEVICE:
        if copy is False:
            raise BufferError("the tensor is on an NPU, so it reaches the host as a copy only: leave copy=False out, "
                              f"or ask for dl_device=({EXTENSION_DEVICE}, {tensor.device_id})")
        array = tensor.numpy().view(_plain(dtype))
    elif kind == EXTENSION_DEVICE and index == tensor.device_id:
        if copy:
            raise BufferError("DLPack gives the memory itself on the NPU: make the copy with copy_ first")
        array = np.asarray(_Memory(tensor.address, tensor.shape, tensor.strides, dtype, tensor))
    else:
        raise BufferError(f"the tensor is on device {tensor.device_id}, and DLPack's device ({kind}, {index}) is "
                          f"neither that ({EXTENSION_DEVICE}, {tensor.device_id}) nor the host ({HOST_DEVICE}, 0)")
    # numpy makes a capsule that keeps the array; what it cannot know is put right in it.
    capsule = array.__dlpack__()
    found = _Plain.from_address(_pointer(capsule, b"dltensor")).tensor
    found.code, found.device_type, found.device_id = code, kind, index
    return capsule
