"""Data buffers (``aclDataBuffer``): where the data of an operator's or a model's tensor lies."""

from __future__ import annotations

from typing import Any

from . import errors
from .capi import ffi, lib
from .memory import DeviceBuffer, _operand
from .resource import Resource
from .tensor import Tensor
from .tensor_desc import TensorDesc


class DataBuffer(Resource):
    """Address and size of memory that stays its owner's: a dense Tensor, a DeviceBuffer, a HostBuffer, an array.

    Without memory it is the empty buffer that stands for an optional tensor which is not used. The memory's owner is
    kept alive. aclCreateDataBuffer, aclUpdateDataBuffer, aclDestroyDataBuffer.
    """

    __slots__ = ("_memory", "_keep")

    _warns = False

    def __init__(self, memory: Any = None) -> None:
        pointer, nbytes, keep = locate(memory)
        handle = lib.aclCreateDataBuffer(pointer, nbytes)
        if handle == ffi.NULL:
            raise errors.error(lib.ACL_ERROR_BAD_ALLOC, "aclCreateDataBuffer")
        self._memory, self._keep = memory, keep
        self._own(handle)

    def update(self, memory: Any) -> None:
        """Points it to other memory; work that is queued keeps what it was given."""
        pointer, nbytes, keep = locate(memory)
        errors.check(lib.aclUpdateDataBuffer(self.handle, pointer, nbytes), "aclUpdateDataBuffer")
        self._memory, self._keep = memory, keep

    @property
    def memory(self) -> Any:
        """What it was given; None for an empty one."""
        return self._memory

    @property
    def address(self) -> int:
        """The memory's address (aclGetDataBufferAddr)."""
        return int(ffi.cast("uintptr_t", lib.aclGetDataBufferAddr(self.handle)))

    @property
    def nbytes(self) -> int:
        """The memory's size (aclGetDataBufferSizeV2)."""
        return int(lib.aclGetDataBufferSizeV2(self.handle))

    def _release(self) -> None:
        self._memory = self._keep = None
        errors.check(lib.aclDestroyDataBuffer(self.handle), "aclDestroyDataBuffer")

    def _describe(self) -> str:
        return f"{self.nbytes} bytes at {self.address:#x}"


def on_device(memory: Any, what: str) -> Any:
    """Memory of the device as it is, another library's tensor on an NPU as a Tensor; None and a constant's description
    stand for no memory. Raises TypeError for host memory, which the message calls `what`.
    """
    if memory is None or isinstance(memory, (Tensor, DeviceBuffer, TensorDesc)):
        return memory
    if hasattr(memory, "data_ptr"):
        return Tensor.from_data_ptr(memory)
    raise TypeError(f"{what} is a {type(memory).__name__}, but the operator works on device memory: give a Tensor "
                    "(Tensor.from_numpy(array)) or a DeviceBuffer")


def locate(memory: Any) -> tuple[Any, int, Any]:
    """Pointer, bytes and what to keep alive; NULL and 0 for None, and for a constant's description."""
    if memory is None or isinstance(memory, TensorDesc):
        return ffi.NULL, 0, None
    found = _operand(memory, False)
    return found.pointer, found.nbytes, found.keep
