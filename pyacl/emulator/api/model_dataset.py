"""aclmdlDataset: the buffers of all inputs, or of all outputs."""

from __future__ import annotations

from typing import Any

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure, record
from ..models.dataset import Dataset
from . import data_buffer, tensor_desc


def _peek(pointer: Any) -> Dataset:
    """As for getters that cannot fail: NULL has nothing in it, a wrong handle leaves an error text."""
    if pointer == ffi.NULL:
        return Dataset()
    try:
        return handles.get(pointer, Dataset, "dataset")
    except Failure as failure:
        record(failure)
        return Dataset()


def aclmdlCreateDataset() -> Any:
    return ffi.cast("aclmdlDataset *", handles.new(Dataset()))


def aclmdlDestroyDataset(dataset: Any) -> None:
    handles.get(dataset, Dataset, "dataset").release()
    handles.drop(dataset)


def aclmdlAddDatasetBuffer(dataset: Any, dataBuffer: Any) -> None:
    found = handles.get(dataset, Dataset, "dataset")
    data_buffer.get(dataBuffer)
    found.buffers.append(handles.address(dataBuffer))


def aclmdlGetDatasetNumBuffers(dataset: Any) -> int:
    return len(_peek(dataset).buffers)


def aclmdlGetDatasetBuffer(dataset: Any, index: int) -> Any:
    buffers = _peek(dataset).buffers
    return ffi.cast("aclDataBuffer *", buffers[index]) if 0 <= index < len(buffers) else ffi.NULL


def aclmdlSetDatasetTensorDesc(dataset: Any, tensorDesc: Any, index: int) -> None:
    found = handles.get(dataset, Dataset, "dataset")
    if not 0 <= index < len(found.buffers):
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"the dataset has {len(found.buffers)} buffers, no buffer {index}")
    found.set_desc(index, None if tensorDesc == ffi.NULL else tensor_desc.get(tensorDesc))


def aclmdlGetDatasetTensorDesc(dataset: Any, index: int) -> Any:
    return ffi.cast("aclTensorDesc *", _peek(dataset).descs.get(index, 0))
