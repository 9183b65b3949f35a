"""Dumping: the callback that takes the files' place, where dumps go, and dumps of the user's own."""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import Any, Optional

from ...capi import ffi, lib
from ..failure import Failure
from ..machine import context, memory
from ..models import dump, wire
from ..models.modeldef import GE_OF_ACL
from . import arguments

_paths: dict[int, Any] = {}  # C strings handed out, by type


def acldumpRegCallback(messageCallback: Any, flag: int) -> None:
    if messageCallback == ffi.NULL or flag:
        raise Failure(lib.ACL_ERROR_FAILURE, "the callback is NULL" if not flag else f"flag is {flag}: give 0")
    dump.callback = messageCallback


def acldumpUnregCallback() -> None:
    dump.callback = None


def _folder(device: Optional[int] = None) -> str:
    """Where dumps of operators that fail go; fails when they are not asked for."""
    found = dump.config()
    if found is None or not dump.catches_exceptions(found):
        raise Failure(lib.ACL_ERROR_FAILURE, "dumping of exceptions is not enabled: set dump_scene to "
                      "aic_err_brief_dump in the configuration of aclmdlSetDump or aclInit")
    root = os.environ.get("NPU_COLLECT_PATH") or os.environ.get("ASCEND_WORK_PATH") or found.get("dump_path") or "."
    path = os.path.realpath(os.path.join(root, "extra-info", "data-dump", "" if device is None else str(device)))
    os.makedirs(path, exist_ok=True)
    return path


def acldumpGetPath(dumpType: int) -> Any:
    if dumpType in (lib.AIC_ERR_BRIEF_DUMP, lib.AIC_ERR_NORM_DUMP, lib.AIC_ERR_DETAIL_DUMP):
        path = _folder()
    elif dumpType in (lib.DATA_DUMP, lib.OVERFLOW_DUMP):
        path = str((dump.config() or {}).get("dump_path") or "")
    else:
        path = ""
    if not path:
        raise Failure(lib.ACL_ERROR_FAILURE, f"no path is configured for acldumpType {dumpType}")
    _paths[dumpType] = ffi.new("char[]", os.fsencode(path))
    return _paths[dumpType]


def acldumpGetExceptionInfoPath(path: Any, maxLen: int) -> None:
    arguments.not_null(path, "path")
    if maxLen <= 1:
        raise arguments.invalid(f"maxLen is {maxLen}")
    found = os.fsencode(os.path.join(_folder(context.current().device.id), ""))
    if len(found) + 1 > maxLen:
        raise arguments.invalid(f"the path needs {len(found) + 1} bytes, maxLen is {maxLen}")
    ffi.memmove(path, found + b"\0", len(found) + 1)


def acldumpSaveExceptionInfo(fileName: Any, userTag: Any, tensors: Any, tensorCount: int) -> None:
    name = arguments.text(fileName, "fileName")
    if not name or os.path.isabs(name) or ".." in name.split("/"):
        raise arguments.invalid(f"fileName {name!r}: give a relative path without ..")
    arguments.not_null(tensors, "tensors")
    if not tensorCount:
        raise arguments.invalid("tensorCount is 0")
    folder = _folder(context.current().device.id)
    parts = [_tensor(tensors[i], i) for i in range(tensorCount)]
    parts.sort(key=lambda part: part[0])  # inputs, outputs, workspaces, as the header has them
    path = f"{os.path.join(folder, name)}.custom.{datetime.now():%Y%m%d%H%M%S%f}"[:-3]
    header = wire.message((1, "2.0"), (2, time.time_ns() // 1000), (6, os.path.basename(path)))
    header += b"".join(wire.message((number, content)) for _, number, content, _ in parts)
    if userTag != ffi.NULL:
        header += wire.message((7, wire.message((1, "user_tag"), (2, ffi.string(userTag)))))
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for *_, data in parts:
                file.write(data)
    except OSError as error:
        raise Failure(lib.ACL_ERROR_FAILURE, f"{path} cannot be written: {error.strerror}") from None


# By acldumpTensorType: the field of the header, and those of type, format, shape, size and argument in it.
_FIELDS = {lib.ACL_DUMP_TENSOR_INPUT: (4, (1, 2, 3, 5, 10)), lib.ACL_DUMP_TENSOR_OUTPUT: (3, (1, 2, 3, 6, 12)),
           lib.ACL_DUMP_TENSOR_WORKSPACE: (8, (0, 0, 0, 3, 4))}


def _tensor(info: Any, index: int) -> tuple[int, int, bytes, Any]:
    """A tensor's order in the file, its field of the header, that field's content, and its bytes."""
    limit = int(lib.ACL_DUMP_MAX_SHAPE_NUM)
    if info.tensorAddr == ffi.NULL or not info.tensorSize or max(info.shapeNum, info.originShapeNum) > limit or \
            info.type not in _FIELDS:
        raise arguments.invalid(f"tensor {index} has no memory, no size, a wrong type, or more than {limit} dimensions")
    if (info.addrType, info.placement) != (lib.ACL_DUMP_ADDR_RAW, lib.ACL_DUMP_PLACEMENT_DEVICE):
        raise arguments.invalid(f"tensor {index}: only ACL_DUMP_ADDR_RAW on ACL_DUMP_PLACEMENT_DEVICE is supported")
    data = memory.device_bytes(int(ffi.cast("uintptr_t", info.tensorAddr)), info.tensorSize, f"tensor {index}:",
                               lib.ACL_ERROR_INVALID_PARAM)
    field, (dtype, layout, shape, size, argument) = _FIELDS[info.type]
    content = wire.message((size, info.tensorSize), (argument, info.argsOffset))
    if dtype:
        content += wire.message((dtype, GE_OF_ACL.get(info.dataType, 0)), (layout, info.format), (shape, wire.message(
            (1, [int(info.shape[i]) for i in range(info.shapeNum)]))))
    return int(info.type), field, content, data
