"""Loading and unloading offline models, how much memory they need, their attributes, and the dump switch."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Optional

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure, not_emulated
from ..machine import memory
from ..models import describe, dump, loaded
from ..models.loaded import Loaded


def text(pointer: Any, what: str) -> str:
    """A C string argument; 100000 for NULL."""
    if pointer == ffi.NULL:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"{what} is NULL")
    return os.fsdecode(ffi.string(pointer))


def some(pointer: Any, what: str) -> Any:
    """A pointer argument that must not be NULL."""
    if pointer == ffi.NULL:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"{what} is NULL")
    return pointer


def host_bytes(pointer: Any, size: int, what: str = "the model's memory") -> bytes:
    """A copy of the bytes that the caller gives."""
    some(pointer, what)
    if not size:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"{what} has size 0")
    return bytes(ffi.buffer(ffi.cast("char *", pointer), size))


def _block(pointer: Any, size: int) -> tuple[int, int]:
    return handles.address(pointer), size


def aclmdlLoadFromFile(modelPath: Any, modelId: Any) -> None:
    path = text(modelPath, "modelPath")
    some(modelId, "modelId")
    modelId[0] = loaded.load(loaded.read(path), path).id


def aclmdlLoadFromFileWithMem(modelPath: Any, modelId: Any, workPtr: Any, workSize: int, weightPtr: Any,
                              weightSize: int) -> None:
    path = text(modelPath, "modelPath")
    some(modelId, "modelId")
    modelId[0] = loaded.load(loaded.read(path), path, work=_block(workPtr, workSize),
                             weight=_block(weightPtr, weightSize), user_memory=True).id


def aclmdlLoadFromMem(model: Any, modelSize: int, modelId: Any) -> None:
    some(modelId, "modelId")
    modelId[0] = loaded.load(host_bytes(model, modelSize)).id


def aclmdlLoadFromMemWithMem(model: Any, modelSize: int, modelId: Any, workPtr: Any, workSize: int, weightPtr: Any,
                             weightSize: int) -> None:
    some(modelId, "modelId")
    modelId[0] = loaded.load(host_bytes(model, modelSize), work=_block(workPtr, workSize),
                             weight=_block(weightPtr, weightSize), user_memory=True).id


def aclmdlLoadFromFileWithQ(modelPath: Any, modelId: Any, inputQ: Any, inputQNum: int, outputQ: Any,
                            outputQNum: int) -> None:
    text(modelPath, "modelPath")
    some(inputQ, "inputQ"), some(outputQ, "outputQ")
    raise not_emulated("aclmdlLoadFromFileWithQ")


def aclmdlLoadFromMemWithQ(model: Any, modelSize: int, modelId: Any, inputQ: Any, inputQNum: int, outputQ: Any,
                           outputQNum: int) -> None:
    some(model, "model"), some(inputQ, "inputQ"), some(outputQ, "outputQ")
    raise not_emulated("aclmdlLoadFromMemWithQ")


def aclmdlUnload(modelId: int) -> None:
    loaded.unload(modelId)


def _sizes(data: Any, workSize: Any, weightSize: Any) -> None:
    some(workSize, "workSize"), some(weightSize, "weightSize")
    info = describe.describe(data)
    if info.unbounded:
        raise Failure(lib.ACL_ERROR_GE_PARAM_INVALID, f"the shapes of {info.name} are known at run time only, and so "
                      "is the memory it needs: load it without memory of your own")
    workSize[0], weightSize[0] = info.work_bytes, info.weight_bytes


def aclmdlQuerySize(fileName: Any, workSize: Any, weightSize: Any) -> None:
    _sizes(loaded.read(text(fileName, "fileName")), workSize, weightSize)


def aclmdlQuerySizeFromMem(model: Any, modelSize: int, workSize: Any, weightSize: Any) -> None:
    _sizes(host_bytes(model, modelSize), workSize, weightSize)


# The load configuration.

def _attributes() -> dict[int, tuple[str, str]]:
    """What every accepted aclmdlConfigAttr's value is: int32_t, size_t or pointer."""
    found = {}
    for name in ("PRIORITY_INT32", "LOAD_TYPE_SIZET", "PATH_PTR", "MEM_ADDR_PTR", "MEM_SIZET", "WEIGHT_ADDR_PTR",
                 "WEIGHT_SIZET", "WORKSPACE_ADDR_PTR", "WORKSPACE_SIZET", "INPUTQ_NUM_SIZET", "INPUTQ_ADDR_PTR",
                 "OUTPUTQ_NUM_SIZET", "OUTPUTQ_ADDR_PTR", "WORKSPACE_MEM_OPTIMIZE", "WEIGHT_PATH_PTR",
                 "WITHOUT_GRAPH_INT32"):
        kind = "int32_t" if name.endswith("INT32") else "void *" if name.endswith("PTR") else "size_t"
        found[getattr(lib, f"ACL_MDL_{name}")] = (name, kind)
    return found


_CONFIG = _attributes()


@dataclass
class ConfigHandle:
    """What an ``aclmdlConfigHandle *`` stands for; values by attribute."""

    values: dict[int, Any] = field(default_factory=dict)
    external: dict[str, tuple[int, int]] = field(default_factory=dict)


def scalar(attrValue: Any, valueSize: int, kind: str, name: str) -> Any:
    """The value behind `attrValue`, whose size must be exactly its type's."""
    some(attrValue, f"the value of {name}")
    if valueSize != ffi.sizeof(kind):
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"{name} is a {kind.strip()} of {ffi.sizeof(kind)} bytes, not of "
                      f"{valueSize}" + (": pass the address of the pointer" if kind == "void *" else ""))
    value = ffi.cast(f"{kind}*", attrValue)[0]
    return handles.address(value) if kind == "void *" else int(value)


def aclmdlCreateConfigHandle() -> Any:
    return ffi.cast("aclmdlConfigHandle *", handles.new(ConfigHandle()))


def aclmdlDestroyConfigHandle(handle: Any) -> None:
    handles.get(handle, ConfigHandle, "config handle")
    handles.drop(handle)


def aclmdlSetConfigOpt(handle: Any, attr: int, attrValue: Any, valueSize: int) -> None:
    config = handles.get(handle, ConfigHandle, "config handle")
    if attr not in _CONFIG:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"aclmdlConfigAttr {attr} is not available on this product")
    name, kind = _CONFIG[attr]
    value = scalar(attrValue, valueSize, kind, f"ACL_MDL_{name}")
    limits = {"PRIORITY_INT32": (0, 7), "LOAD_TYPE_SIZET": (1, 6), "WORKSPACE_MEM_OPTIMIZE": (0, 1),
              "WITHOUT_GRAPH_INT32": (0, 1)}
    low, high = limits.get(name, (None, None))
    if low is not None and high is not None and not low <= value <= high:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"ACL_MDL_{name} is {value}: give {low} to {high}")
    if name in ("PATH_PTR", "WEIGHT_PATH_PTR"):
        value = text(ffi.cast("char *", value), f"ACL_MDL_{name}")
    config.values[attr] = value


def aclmdlSetExternalWeightAddress(handle: Any, weightFileName: Any, devPtr: Any, size: int) -> None:
    config = handles.get(handle, ConfigHandle, "config handle")
    name = text(weightFileName, "weightFileName")
    if os.path.basename(name) != name or not name:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"weightFileName {name!r}: give the file's name without its folder")
    if not size or size % 32:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"{size} bytes for {name}: give a multiple of 32")
    memory.device_bytes(handles.address(some(devPtr, "devPtr")), size, f"the memory for {name}",
                        lib.ACL_ERROR_INVALID_PARAM)
    config.external[name] = (handles.address(devPtr), size)


def _wanted(config: ConfigHandle, name: str) -> Any:
    value = config.values.get(getattr(lib, f"ACL_MDL_{name}"))
    if not value:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"the load configuration lacks ACL_MDL_{name}")
    return value


def configured(handle: Any) -> tuple[ConfigHandle, dict[str, Any]]:
    """A configuration and what it says about memory, for `loaded.load`."""
    config = handles.get(handle, ConfigHandle, "config handle")
    given = config.values.get

    def block(name: str) -> tuple[int, int]:
        return given(getattr(lib, f"ACL_MDL_{name}_ADDR_PTR"), 0), given(getattr(lib, f"ACL_MDL_{name}_SIZET"), 0)

    return config, {"work": block("WORKSPACE"), "weight": block("WEIGHT"), "user_memory": True}


def finish(model: Loaded, config: ConfigHandle) -> int:
    """Applies what a configuration says about a loaded model."""
    model.priority = config.values.get(lib.ACL_MDL_PRIORITY_INT32, 0)
    model.without_graph = bool(config.values.get(lib.ACL_MDL_WITHOUT_GRAPH_INT32, 0))
    return model.id


def aclmdlLoadWithConfig(handle: Any, modelId: Any) -> None:
    config, memory_of = configured(handle)
    some(modelId, "modelId")
    kind = _wanted(config, "LOAD_TYPE_SIZET")
    path: Optional[str] = None
    if kind in (lib.ACL_MDL_LOAD_FROM_FILE_WITH_Q, lib.ACL_MDL_LOAD_FROM_MEM_WITH_Q):
        raise not_emulated("aclmdlLoadWithConfig with queues")
    if kind in (lib.ACL_MDL_LOAD_FROM_FILE, lib.ACL_MDL_LOAD_FROM_FILE_WITH_MEM):
        path = _wanted(config, "PATH_PTR")
        data = loaded.read(path)
    else:
        data = host_bytes(ffi.cast("char *", _wanted(config, "MEM_ADDR_PTR")), _wanted(config, "MEM_SIZET"))
    if kind in (lib.ACL_MDL_LOAD_FROM_FILE, lib.ACL_MDL_LOAD_FROM_MEM):
        memory_of = {}
    modelId[0] = finish(loaded.load(data, path, **memory_of), config)


# Attributes of a loaded model.

def aclmdlSetAttribute(modelId: int, attr: int, attrValue: Any) -> None:
    some(attrValue, "attrValue")
    model = loaded.get(modelId)
    if attr != lib.ACL_MDL_ATTR_PRIORITY_INT32:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"aclmdlAttr {attr} does not exist")
    if attrValue.mdlPriority > 7:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"priority {attrValue.mdlPriority}: give 0 (highest) to 7")
    model.priority = attrValue.mdlPriority


def aclmdlGetAttribute(modelId: int, attr: int, attrValue: Any) -> None:
    some(attrValue, "attrValue")
    model = loaded.get(modelId)
    if attr != lib.ACL_MDL_ATTR_PRIORITY_INT32:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"aclmdlAttr {attr} does not exist")
    attrValue.mdlPriority = model.priority


# Dump.

def aclmdlInitDump() -> None:
    dump.start()


def aclmdlSetDump(dumpCfgPath: Any) -> None:
    dump.configure(text(dumpCfgPath, "dumpCfgPath"))


def aclmdlFinalizeDump() -> None:
    dump.stop()
