"""What aclInit and aclFinalize keep for the whole process."""

from __future__ import annotations

import json
import threading
from typing import Any, Callable, Optional

from ...capi import lib
from .. import failure
from ..failure import Failure
from . import context, settings

_lock = threading.RLock()
_references = 0
_config: Optional[str] = None  # the text all inits must agree on

# Registered hooks: (type, function's address) -> call.
init_hooks: dict[tuple[int, int], Callable[[str], int]] = {}
finalize_hooks: dict[tuple[int, int], Callable[[], int]] = {}

_DEPTH = 10
_DUMP_SCENES = ("aic_err_brief_dump", "aic_err_norm_dump", "aic_err_detail_dump", "lite_exception", "watcher")
_DUMP_LEVELS = ("op", "kernel", "all")


def initialised() -> bool:
    return _references > 0


def config() -> str:
    return _config or ""


def require() -> None:
    if not _references:
        raise Failure(lib.ACL_ERROR_UNINITIALIZE, "the runtime is not initialised: call aclInit first")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(lib.ACL_ERROR_INVALID_FILE, f"aclInit: cannot read {path}: {error}") from None


def _depth(value: Any, kind: type) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, kind) + max((_depth(child, kind) for child in children), default=0)


def _parse(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failure(lib.ACL_ERROR_PARSE_FILE, f"aclInit: the configuration is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Failure(lib.ACL_ERROR_PARSE_FILE, "aclInit: the configuration is not a JSON object")
    if _depth(value, dict) > _DEPTH or _depth(value, list) > _DEPTH:
        raise Failure(lib.ACL_ERROR_PARSE_FILE, "aclInit: the configuration nests more than "
                      f"{_DEPTH} objects or arrays")
    return value


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    section = config.get(name, {})
    if not isinstance(section, dict):
        raise Failure(lib.ACL_ERROR_FILE_ATTR_INVALID, f"aclInit: {name} in the configuration is not an object")
    return section


def _number(value: Any, low: int, high: int, what: str, code: int) -> int:
    if not str(value).isdigit() or not low <= int(value) <= high:
        raise Failure(code, f"aclInit: {what} is {value!r}: give a number from {low} to {high}")
    return int(value)


def _apply(config: dict[str, Any]) -> None:
    """Takes over what the emulator acts on; checks what it does not."""
    mode = str(config.get("err_msg_mode", "0"))
    if mode not in ("0", "1"):
        raise Failure(lib.ACL_ERROR_FILE_ATTR_INVALID, f"aclInit: err_msg_mode is {mode!r}: give \"0\" or \"1\"")
    if "max_opqueue_num" in config:
        _number(config["max_opqueue_num"], 1, 2**63 - 1, "max_opqueue_num",
                lib.ACL_ERROR_INVALID_MAX_OPQUEUE_NUM_CONFIG)
    chosen = _section(config, "defaultDevice").get("default_device")
    if chosen is not None:
        chosen = _number(chosen, 0, max(len(settings.visible) - 1, 0), "default_device",
                         lib.ACL_ERROR_FILE_ATTR_INVALID)
    stack = _section(config, "StackSize").get("aicore_stack_size")
    if stack is not None:
        _number(stack, 1, 192 << 10, "aicore_stack_size", lib.ACL_ERROR_FILE_ATTR_INVALID)
    dump = _section(config, "dump")
    for key, allowed in (("dump_scene", _DUMP_SCENES), ("dump_level", _DUMP_LEVELS)):
        if dump.get(key, allowed[0]) not in allowed:
            raise Failure(lib.ACL_ERROR_INVALID_DUMP_CONFIG,
                          f"aclInit: {key} is {dump[key]!r}: choose one of {', '.join(allowed)}")
    if "dump_list" in dump and not isinstance(dump["dump_list"], list):
        raise Failure(lib.ACL_ERROR_INVALID_DUMP_CONFIG, "aclInit: dump_list is not an array")
    failure.process_wide(mode == "1")
    context.default_device = chosen


def init(path: Optional[str]) -> None:
    """aclInit: counts even when it answers that it was initialised before."""
    global _references, _config
    with _lock:
        text = _read(path) if path is not None else ""
        parsed = _parse(text)
        text = json.dumps(parsed, sort_keys=True)
        if _references:
            if text != _config:
                raise Failure(lib.ACL_ERROR_INVALID_PARAM, "aclInit: the configuration differs from the first one's")
            _references += 1
            raise Failure(lib.ACL_ERROR_REPEAT_INITIALIZE, "aclInit: already initialised; this can be ignored")
        _apply(parsed)
        for hook in list(init_hooks.values()):
            code = hook(text)
            if code:
                raise Failure(code, f"aclInit: a registered callback failed with {code}")
        _references, _config = 1, text


def finalize(all_references: bool) -> int:
    """aclFinalize and aclFinalizeReference; returns the references that are left."""
    global _references, _config
    context.refuse_inside_callback()
    with _lock:
        if not _references:
            raise Failure(lib.ACL_ERROR_REPEAT_FINALIZE, "the runtime is not initialised, or was already finalised")
        if _references > 1 and not all_references:
            _references -= 1
            return _references
        for hook in list(finalize_hooks.values()):
            code = hook()
            if code:
                raise Failure(code, f"a registered finalize callback failed with {code}")
        context.release_all()
        context.default_device = None
        failure.process_wide(False)
        _references, _config = 0, None
        return 0
