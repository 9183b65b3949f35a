"""The dump switch of models: what an execution read and wrote, as files under the configured path."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from ...capi import lib
from ..failure import Failure
from ..machine import memory
from .describe import AIPP_INPUT, GEAR_INPUT, nbytes
from .session import Slot

if TYPE_CHECKING:
    from .loaded import Loaded

_ready = False
_config: Optional[dict[str, Any]] = None


def active() -> bool:
    return _config is not None


def start() -> None:
    """aclmdlInitDump."""
    global _ready
    if _ready:
        raise Failure(lib.ACL_ERROR_DUMP_ALREADY_RUN, "dumping was already initialised: call aclmdlFinalizeDump before")
    _ready = True


def stop() -> None:
    """aclmdlFinalizeDump."""
    global _ready, _config
    _require()
    _ready, _config = False, None


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
        raise Failure(lib.ACL_ERROR_INVALID_DUMP_CONFIG, f"{path} has no object named dump")
    folder = dump.get("dump_path")
    if not isinstance(folder, str) or not os.path.isdir(folder):
        raise Failure(lib.ACL_ERROR_INVALID_DUMP_CONFIG, f"dump_path {folder!r} is not an existing folder")
    if dump.get("dump_mode", "output") not in ("input", "output", "all"):
        raise Failure(lib.ACL_ERROR_INVALID_DUMP_CONFIG, f"dump_mode {dump['dump_mode']!r}: give input, output or all")
    _config = dump


def _chosen(name: str) -> bool:
    assert _config is not None
    listed = _config.get("dump_list") or []
    models = [m.get("model_name") for m in listed if isinstance(m, dict)]
    return not models or name in models


def write(model: Loaded, inputs: list[tuple[int, Slot]], outputs: list[tuple[int, tuple[int, ...]]]) -> None:
    """Writes one execution's inputs and outputs as .npy files."""
    if _config is None or not _chosen(model.info.name):
        return
    folder = os.path.join(_config["dump_path"], time.strftime("%Y%m%d"), str(model.context.device.id), model.info.name,
                          str(model.id), str(model.runs))
    os.makedirs(folder, exist_ok=True)
    mode = _config.get("dump_mode", "output")
    fed = [t for t in model.info.inputs if t.name not in (GEAR_INPUT, AIPP_INPUT)]
    if mode != "output":
        for (i, slot), tensor in zip(inputs, fed):
            _save(folder, f"input.{i}", slot.address, slot.shape or (), tensor.dtype)
    if mode != "input":
        for i, ((address, shape), tensor) in enumerate(zip(outputs, model.info.outputs)):
            _save(folder, f"output.{i}", address, shape, tensor.dtype)


def _save(folder: str, name: str, address: int, shape: tuple[int, ...], dtype: int) -> None:
    from .sources import dtype_to_numpy

    data = memory.view(address, nbytes(shape, dtype)).view(dtype_to_numpy(dtype)).reshape(shape)
    np.save(os.path.join(folder, f"Node_Output.{name}.npy"), data)
