"""aclDataBuffer: an address and a size, nothing more. The memory stays its owner's."""

from __future__ import annotations

from typing import Any

from ...capi import ffi
from .. import handles
from ..failure import Failure, record
from .arguments import invalid

_UINT32_MAX = 0xFFFFFFFF


class DataBuffer:
    """What an ``aclDataBuffer *`` stands for; address and size 0 are an optional tensor that is not used."""

    __slots__ = ("address", "size")

    def __init__(self, address: int, size: int) -> None:
        self.address = address
        self.size = size

    @property
    def empty(self) -> bool:
        return not self.address


def get(pointer: Any, what: str = "aclDataBuffer") -> DataBuffer:
    """The data buffer behind a handle; Failure for anything else."""
    return handles.get(pointer, DataBuffer, what)


def _peek(pointer: Any) -> DataBuffer:
    """As `get` for the getters, which cannot fail: NULL is an empty buffer, a wrong handle leaves an error text."""
    if not pointer:
        return DataBuffer(0, 0)
    try:
        return get(pointer)
    except Failure as failure:
        record(failure)
        return DataBuffer(0, 0)


def aclCreateDataBuffer(data: Any, size: int) -> Any:
    return ffi.cast("aclDataBuffer *", handles.new(DataBuffer(handles.address(data), size)))


def aclDestroyDataBuffer(dataBuffer: Any) -> None:
    get(dataBuffer)
    handles.drop(dataBuffer)


def aclGetDataBufferAddr(dataBuffer: Any) -> Any:
    return ffi.cast("void *", _peek(dataBuffer).address)


def aclGetDataBufferSizeV2(dataBuffer: Any) -> int:
    return _peek(dataBuffer).size


def aclGetDataBufferSize(dataBuffer: Any) -> int:
    # The older function has 32 bits; what does not fit is cut off, as in C.
    return _peek(dataBuffer).size & _UINT32_MAX


def aclUpdateDataBuffer(dataBuffer: Any, data: Any, size: int) -> None:
    buffer = get(dataBuffer)
    if not data and size:
        raise invalid(f"aclUpdateDataBuffer: data is NULL, but size is {size}")
    buffer.address = handles.address(data)
    buffer.size = size
