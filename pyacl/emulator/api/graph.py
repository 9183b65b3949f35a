"""Graph capture: model instances recorded from streams, and their replay."""

from __future__ import annotations

import json
import os
from _thread import get_ident
from typing import Any

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure
from ..machine import capture as captures
from ..machine import stream as streams
from ..machine.capture import Capture, Instance

_MODES = (lib.ACL_MODEL_RI_CAPTURE_MODE_GLOBAL, lib.ACL_MODEL_RI_CAPTURE_MODE_THREAD_LOCAL,
          lib.ACL_MODEL_RI_CAPTURE_MODE_RELAXED)
_NAME_BYTES = 512


def _instance(modelRI: Any) -> Instance:
    found = handles.get(modelRI, Instance, "modelRI")
    if found.capture is not None:
        raise Failure(lib.ACL_ERROR_RT_MODEL_CAPTURED, "the model instance is still being captured: call "
                                                       "aclmdlRICaptureEnd first")
    return found


def _mode(mode: int) -> int:
    if mode not in _MODES:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"{mode} is not an aclmdlRICaptureMode")
    return mode


def _not_null(pointer: Any, what: str) -> None:
    if not pointer:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"{what} is NULL")


def aclmdlRICaptureBegin(stream: Any, mode: int) -> None:
    found = streams.named(stream)
    _mode(mode)
    if found.default:
        raise Failure(lib.ACL_ERROR_RT_STREAM_CAPTURE_IMPLICIT, "the default stream cannot be captured: create one")
    if found.capture is not None:
        raise Failure(lib.ACL_ERROR_RT_STREAM_CAPTURED, f"{found!r} is being captured already")
    Capture(found, mode)


def aclmdlRICaptureEnd(stream: Any, modelRI: Any) -> None:
    found = streams.named(stream)
    _not_null(modelRI, "modelRI")
    capture = found.capture
    if capture is None or capture.origin is not found:
        raise Failure(lib.ACL_ERROR_RT_STREAM_CAPTURE_UNMATCHED, f"no capture was begun on {found!r}")
    relaxed = capture.mode == lib.ACL_MODEL_RI_CAPTURE_MODE_RELAXED
    if capture.thread != get_ident() and not relaxed:
        raise Failure(lib.ACL_ERROR_RT_STREAM_CAPTURE_WRONG_THREAD, "another thread began the capture, and has to end "
                                                                    "it")
    modelRI[0] = handles.pointer(capture.end().handle)


def aclmdlRICaptureGetInfo(stream: Any, status: Any, modelRI: Any) -> None:
    if not status and not modelRI:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, "aclmdlRICaptureGetInfo: status and modelRI are both NULL")
    capture = streams.resolve(stream).capture
    if status:
        status[0] = lib.ACL_MODEL_RI_CAPTURE_STATUS_NONE if capture is None else \
            lib.ACL_MODEL_RI_CAPTURE_STATUS_INVALIDATED if capture.invalid else \
            lib.ACL_MODEL_RI_CAPTURE_STATUS_ACTIVE
    if modelRI:
        modelRI[0] = ffi.NULL if capture is None else handles.pointer(capture.instance.handle)


def aclmdlRICaptureThreadExchangeMode(mode: Any) -> None:
    _not_null(mode, "mode")
    mode[0] = captures.exchange(_mode(mode[0]))


def aclmdlRIExecuteAsync(modelRI: Any, stream: Any) -> None:
    _instance(modelRI).launch(streams.resolve(stream))


def aclmdlRIExecute(modelRI: Any, timeout: int) -> None:
    found = _instance(modelRI)
    if timeout == 0 or timeout < -1:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"the timeout is {timeout}: give -1 (for ever) or milliseconds")
    stream = streams.resolve(ffi.NULL)
    found.launch(stream)
    stream.drain(streams.deadline_after(timeout), "aclmdlRIExecute")


def aclmdlRIDestroy(modelRI: Any) -> None:
    found = _instance(modelRI)
    if found.running:
        raise Failure(lib.ACL_ERROR_RT_MODEL_RUNNING, "the model instance is running: synchronise its stream first")
    handles.drop(modelRI)
    for function, data in found.callbacks:
        function(data)


def aclmdlRISetName(modelRI: Any, name: Any) -> None:
    found = handles.get(modelRI, Instance, "modelRI")
    _not_null(name, "name")
    found.name = ffi.string(name)[:_NAME_BYTES]


def aclmdlRIGetName(modelRI: Any, maxLen: int, name: Any) -> None:
    found = handles.get(modelRI, Instance, "modelRI")
    _not_null(name, "name")
    if not maxLen:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, "aclmdlRIGetName: maxLen is 0")
    text = found.name[:maxLen - 1] + b"\0"
    ffi.memmove(name, text, len(text))


def aclmdlRIDestroyRegisterCallback(modelRI: Any, func: Any, userData: Any) -> None:
    found = handles.get(modelRI, Instance, "modelRI")
    _not_null(func, "func")
    found.callbacks.append((func, userData))


def aclmdlRIDestroyUnregisterCallback(modelRI: Any, func: Any) -> None:
    found = handles.get(modelRI, Instance, "modelRI")
    _not_null(func, "func")
    found.callbacks = [c for c in found.callbacks if c[0] != func]


def aclmdlRIDebugPrint(modelRI: Any) -> None:
    found = _instance(modelRI)
    print(f"model instance {found.name.decode(errors='replace') or hex(found.handle)}: {len(found.tasks)} tasks")
    for i, task in enumerate(found.tasks):
        print(f"  {i} {task[1]}")


def aclmdlRIDebugJsonPrint(modelRI: Any, path: Any, flags: int) -> None:
    found = _instance(modelRI)
    _not_null(path, "path")
    target = os.fsdecode(ffi.string(path))
    try:
        with open(target, "w", encoding="utf-8") as file:
            json.dump([{"id": i, "name": task[1]} for i, task in enumerate(found.tasks)], file)
    except OSError as error:
        raise Failure(lib.ACL_ERROR_WRITE_FILE, f"{os.path.basename(target)} cannot be written: {error}") from None
