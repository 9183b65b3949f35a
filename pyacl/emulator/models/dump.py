"""Dumping: what executions of models read and write, as files under the configured path or in pieces to a callback.

A configuration holds for models that are loaded while it does. It comes from aclInit, or from aclmdlSetDump.
"""

from __future__ import annotations

import io
import json
import os
import time
from typing import TYPE_CHECKING, Any, Optional, Sequence

import numpy as np

from ...capi import ffi, lib
from ..failure import Failure
from ..machine import memory, process
from .describe import AIPP_INPUT, GEAR_INPUT, nbytes
from .session import Slot

if TYPE_CHECKING:
    from .loaded import Loaded

Config = dict[str, Any]  # the object ``dump`` of a configuration

_EXCEPTIONS = ("aic_err_brief_dump", "aic_err_norm_dump", "aic_err_detail_dump", "lite_exception")
_CHUNK = 1 << 20

_ready = False  # between aclmdlInitDump and aclmdlFinalizeDump
_ended = 0  # how often that was over
_config: Optional[Config] = None  # aclmdlSetDump's
callback: Any = None  # acldumpRegCallback's


def _of_process() -> Optional[Config]:
    """aclInit's configuration."""
    found = json.loads(process.config() or "{}").get("dump")
    return found or None


def config() -> Optional[Config]:
    """The configuration that holds now."""
    return _config if _ready else _of_process()


def start() -> None:
    """aclmdlInitDump."""
    global _ready
    process.require()
    if _ready or _of_process() is not None:
        raise Failure(lib.ACL_ERROR_DUMP_ALREADY_RUN, "dumping was already initialised: " + (
            "call aclmdlFinalizeDump before" if _ready else "by the configuration of aclInit"))
    _ready = True


def stop() -> None:
    """aclmdlFinalizeDump."""
    global _ready, _config, _ended
    _require()
    _ready, _config = False, None
    _ended += 1


def _require() -> None:
    if not _ready:
        raise Failure(lib.ACL_ERROR_DUMP_NOT_RUN, "dumping is not initialised: call aclmdlInitDump before")


def configure(path: str) -> None:
    """aclmdlSetDump: the key ``dump`` of a JSON file."""
    global _config
    _require()
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except OSError as error:
        raise Failure(lib.ACL_ERROR_INVALID_FILE, f"the dump configuration cannot be read: {error}") from None
    except ValueError as error:
        raise Failure(lib.ACL_ERROR_PARSE_FILE, f"{path} is no JSON: {error}") from None
    dump = found.get("dump") if isinstance(found, dict) else None
    if not isinstance(dump, dict):
        raise _invalid(f"{path} has no object named dump")
    listed = dump.get("dump_list", [])
    if not isinstance(listed, list) or not all(isinstance(m, dict) for m in listed):
        raise _invalid("dump_list is not an array of objects")
    if dump.get("dump_debug", "off") not in ("on", "off"):
        raise _invalid(f"dump_debug {dump['dump_debug']!r}: give on or off")
    if dump.get("dump_debug") == "on" and listed:
        raise _invalid("dump_debug cannot be on together with a dump_list")
    folder = dump.get("dump_path")
    if not catches_exceptions(dump) and (not isinstance(folder, str) or not os.path.isdir(folder)):
        raise _invalid(f"dump_path {folder!r} is not an existing folder")
    if dump.get("dump_mode", "output") not in ("input", "output", "all"):
        raise _invalid(f"dump_mode {dump['dump_mode']!r}: give input, output or all")
    _config = dump


def _invalid(text: str) -> Failure:
    return Failure(lib.ACL_ERROR_INVALID_DUMP_CONFIG, text)


def catches_exceptions(found: Optional[Config]) -> bool:
    """Whether a configuration asks for dumps of operators that fail, and so for none of those that do not."""
    return found is not None and found.get("dump_scene") in _EXCEPTIONS


class Dump:
    """What a loaded model dumps."""

    def __init__(self, found: Config) -> None:
        self._folder = os.path.abspath(found.get("dump_path") or ".")
        self._mode = found.get("dump_mode", "output")
        self._until = _ended if _ready else None

    @property
    def active(self) -> bool:
        """Whether dumping is not over since the model was loaded."""
        return self._until is None or self._until == _ended

    def write(self, model: Loaded, inputs: Sequence[Slot], outputs: Sequence[Slot]) -> None:
        """Puts out one execution's inputs and outputs in numpy's format."""
        folder = os.path.join(self._folder, time.strftime("%Y%m%d"), str(model.context.device.id), model.info.name,
                              str(model.id), str(model.runs))
        fed = [t for t in model.info.inputs if t.name not in (GEAR_INPUT, AIPP_INPUT)]
        if self._mode != "output":
            for i, (slot, tensor) in enumerate(zip(inputs, fed)):
                _save(os.path.join(folder, f"Node_Output.input.{i}.npy"), slot, tensor.dtype)
        if self._mode != "input":
            for i, (slot, tensor) in enumerate(zip(outputs, model.info.outputs)):
                _save(os.path.join(folder, f"Node_Output.output.{i}.npy"), slot, tensor.dtype)


def for_model(name: str) -> Optional[Dump]:
    """What a model that is loaded now dumps."""
    found = config()
    if found is None:
        return Dump({}) if _ready and callback is not None else None
    names = [m.get("model_name") for m in found.get("dump_list") or []]
    if catches_exceptions(found) or found.get("dump_debug") == "on" or any(names) and name not in names:
        return None
    return Dump(found)


def _save(path: str, slot: Slot, dtype: int) -> None:
    from .sources import dtype_to_numpy

    shape = slot.shape or ()
    array = memory.view(slot.address, nbytes(shape, dtype)).view(dtype_to_numpy(dtype)).reshape(shape)
    if callback is None:
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            np.save(path, array)
        except OSError as error:
            raise Failure(lib.ACL_ERROR_WRITE_FILE, f"the dump {path} cannot be written: {error.strerror}") from None
        return
    content = io.BytesIO()
    np.save(content, array)
    data = content.getbuffer()
    for offset in range(0, len(data), _CHUNK):
        part = data[offset:offset + _CHUNK]
        size = ffi.sizeof("acldumpChunk") + len(part)
        held = ffi.new("char[]", size)
        chunk = ffi.cast("acldumpChunk *", held)
        name = os.fsencode(path)[:lib.ACL_DUMP_MAX_FILE_PATH_LENGTH - 1]
        ffi.memmove(chunk.fileName, name, len(name))
        chunk.bufLen, chunk.offset = len(part), offset
        chunk.isLastChunk = offset + len(part) == len(data)
        ffi.memmove(chunk.dataBuf, part, len(part))
        callback(chunk, size)
