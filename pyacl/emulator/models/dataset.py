"""aclmdlDataset: data buffers in order, and the shapes that were said to belong to them."""

from __future__ import annotations

from typing import Optional

from ...capi import lib
from .. import handles
from ..api.data_buffer import DataBuffer
from ..api.tensor_desc import TensorDesc
from ..failure import Failure
from .describe import TensorInfo


class Dataset:
    """What an ``aclmdlDataset *`` stands for. Buffers stay their owner's; descriptions are copies of its own."""

    def __init__(self) -> None:
        self.buffers: list[int] = []  # handles
        self.descs: dict[int, int] = {}  # handles, by index

    def get(self, count: int, what: str) -> list[DataBuffer]:
        """The first `count` buffers."""
        if len(self.buffers) < count:
            raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"the {what} dataset has {len(self.buffers)} buffers, {count} "
                          "are needed")
        name = f"{what} buffer"
        return [handles.get(number, DataBuffer, name) for number in self.buffers[:count]]

    def shapes(self, count: int) -> list[Optional[tuple[int, ...]]]:
        """The shapes of the first `count` descriptions."""
        found: list[Optional[tuple[int, ...]]] = []
        for i in range(count):
            number = self.descs.get(i)
            found.append(None if number is None else tuple(handles.get(number, TensorDesc).shape))
        return found

    def set_desc(self, index: int, desc: Optional[TensorDesc]) -> None:
        """Keeps a description, or removes it with None."""
        old = self.descs.get(index)
        if desc is None:
            if old is not None:
                handles.drop(self.descs.pop(index))
        elif old is not None:
            _assign(handles.get(old, TensorDesc), desc)
        else:
            self.descs[index] = handles.new(_copy(desc))

    def set_results(self, tensors: list[TensorInfo], shapes: list[tuple[int, ...]]) -> None:
        """Describes what an execution really put out."""
        for i, (tensor, shape) in enumerate(zip(tensors, shapes)):
            self.set_desc(i, TensorDesc(tensor.dtype, tuple(shape), tensor.format))

    def release(self) -> None:
        for number in self.descs.values():
            handles.drop(number)
        self.descs.clear()


def _copy(desc: TensorDesc) -> TensorDesc:
    new = TensorDesc(desc.dtype, tuple(desc.shape), desc.format)
    _assign(new, desc)
    return new


def _assign(target: TensorDesc, desc: TensorDesc) -> None:
    for name in TensorDesc.__slots__:
        setattr(target, name, getattr(desc, name))
