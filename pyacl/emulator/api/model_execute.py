"""Executing models: at once, with options, and on a stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure
from ..machine import stream as streams
from ..models import execute, loaded
from ..models.dataset import Dataset
from .model_load import scalar


@dataclass
class ExecConfig:
    """What an ``aclmdlExecConfigHandle *`` stands for; milliseconds, -1 for ever."""

    stream_timeout: int = -1
    event_timeout: int = -1


def aclmdlCreateExecConfigHandle() -> Any:
    return ffi.cast("aclmdlExecConfigHandle *", handles.new(ExecConfig()))


def aclmdlDestroyExecConfigHandle(handle: Any) -> None:
    handles.get(handle, ExecConfig, "execution config handle")
    handles.drop(handle)


def aclmdlSetExecConfigOpt(handle: Any, attr: int, attrValue: Any, valueSize: int) -> None:
    config = handles.get(handle, ExecConfig, "execution config handle")
    if attr not in (lib.ACL_MDL_STREAM_SYNC_TIMEOUT, lib.ACL_MDL_EVENT_SYNC_TIMEOUT):
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"aclmdlExecConfigAttr {attr} is not available on this product: "
                      "only ACL_MDL_STREAM_SYNC_TIMEOUT and ACL_MDL_EVENT_SYNC_TIMEOUT are")
    value = scalar(attrValue, valueSize, "int32_t", f"aclmdlExecConfigAttr {attr}")
    if value < -1:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"the timeout is {value}: give -1 (for ever) or milliseconds")
    if attr == lib.ACL_MDL_STREAM_SYNC_TIMEOUT:
        config.stream_timeout = value
    else:
        config.event_timeout = value


def _config(handle: Any) -> ExecConfig:
    return handles.get(handle, ExecConfig, "execution config handle")


def _datasets(input: Any, output: Any) -> tuple[Dataset, Dataset]:
    return handles.get(input, Dataset, "input dataset"), handles.get(output, Dataset, "output dataset")


def aclmdlExecute(modelId: int, input: Any, output: Any) -> None:
    execute.now(loaded.get(modelId), *_datasets(input, output))


def aclmdlExecuteV2(modelId: int, input: Any, output: Any, stream: Any, handle: Any) -> None:
    config = _config(handle)
    model = loaded.get(modelId)
    if stream == ffi.NULL:  # the options have no effect then
        execute.now(model, *_datasets(input, output))
    else:
        execute.on_stream(model, *_datasets(input, output), streams.resolve(stream), config.stream_timeout)


def aclmdlExecuteAsync(modelId: int, input: Any, output: Any, stream: Any) -> None:
    execute.queued(loaded.get(modelId), *_datasets(input, output), streams.resolve(stream), "aclmdlExecuteAsync")


def aclmdlExecuteAsyncV2(modelId: int, input: Any, output: Any, stream: Any, handle: Any) -> None:
    _config(handle)
    execute.queued(loaded.get(modelId), *_datasets(input, output), streams.named(stream), "aclmdlExecuteAsyncV2")
