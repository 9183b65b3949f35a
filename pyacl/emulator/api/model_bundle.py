"""Bundles: several models in one file, loaded together or one by one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, Optional

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure
from ..machine import context as contexts
from ..machine import memory
from ..machine.context import Context
from ..machine.memory import Region
from ..models import container, describe, loaded
from .model_load import configured, finish, host_bytes, some, text


@dataclass
class Parts:
    """A bundle's content."""

    variables: int = 0  # bytes
    models: list[bytes] = field(default_factory=list)


@dataclass
class Bundle:
    id: int
    parts: Parts
    context: Context
    variables: Optional[Region]
    loaded: list[int] = field(default_factory=list)


_ids = itertools.count(1)
_bundles: dict[int, Bundle] = {}


def _parse(data: bytes) -> Parts:
    parsed = container.parse(data)
    models = parsed.models()
    if not models:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"{parsed.name or 'the file'} is no bundle: load it with "
                      "aclmdlLoadFromFile")
    variables = parsed.find(container.BUNDLE_VARIABLES)
    size = int.from_bytes(variables[:8], "little") if variables is not None else 0
    parts = Parts(size, [bytes(m) for m in models])
    for model in parts.models:
        describe.describe(model)
    return parts


def _get(bundle_id: int) -> Bundle:
    context = contexts.current()
    bundle = _bundles.get(bundle_id)
    if bundle is None:
        raise Failure(lib.ACL_ERROR_INVALID_BUNDLE_MODEL_ID, f"no bundle has id {bundle_id}")
    if bundle.context is not context:
        raise Failure(lib.ACL_ERROR_RT_MODEL_CONTEXT, f"bundle {bundle_id} was loaded in another context")
    return bundle


def _init(data: bytes, var_weight: Any, size: int) -> Bundle:
    context = contexts.current()
    parts = _parse(data)
    region = None
    address = handles.address(var_weight)
    if address:
        if size < parts.variables:
            raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"{size} bytes for the bundle's variables: {parts.variables} "
                          "are needed")
        memory.device_bytes(address, parts.variables, "the bundle's variables", lib.ACL_ERROR_INVALID_PARAM)
    elif parts.variables:
        region = memory.malloc(context.device, parts.variables, "the variables of aclmdlBundleInit")
    bundle = Bundle(next(_ids), parts, context, region)
    _bundles[bundle.id] = bundle
    return bundle


def _load(bundle: Bundle, index: int, **memory_of: Any) -> loaded.Loaded:
    if not 0 <= index < len(bundle.parts.models):
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"bundle {bundle.id} has {len(bundle.parts.models)} models, no "
                      f"model {index}")
    model = loaded.load(bundle.parts.models[index], **memory_of)
    model.bundle = bundle.id
    bundle.loaded.append(model.id)
    return model


def aclmdlBundleInitFromFile(modelPath: Any, varWeightPtr: Any, varWeightSize: int, bundleId: Any) -> None:
    data = container.read(text(modelPath, "modelPath"))
    some(bundleId, "bundleId")
    bundleId[0] = _init(data, varWeightPtr, varWeightSize).id


def aclmdlBundleInitFromMem(model: Any, modelSize: int, varWeightPtr: Any, varWeightSize: int, bundleId: Any) -> None:
    some(bundleId, "bundleId")
    bundleId[0] = _init(host_bytes(model, modelSize), varWeightPtr, varWeightSize).id


def _all(data: bytes) -> int:
    bundle = _init(data, ffi.NULL, 0)
    try:
        for index in range(len(bundle.parts.models)):
            _load(bundle, index)
    except Failure:
        aclmdlBundleUnload(bundle.id)
        raise
    return bundle.id


def aclmdlBundleLoadFromFile(modelPath: Any, bundleId: Any) -> None:
    some(bundleId, "bundleId")
    bundleId[0] = _all(container.read(text(modelPath, "modelPath")))


def aclmdlBundleLoadFromMem(model: Any, modelSize: int, bundleId: Any) -> None:
    some(bundleId, "bundleId")
    bundleId[0] = _all(host_bytes(model, modelSize))


def aclmdlBundleLoadModel(bundleId: int, index: int, modelId: Any) -> None:
    some(modelId, "modelId")
    modelId[0] = _load(_get(bundleId), index).id


def aclmdlBundleLoadModelWithMem(bundleId: int, index: int, workPtr: Any, workSize: int, weightPtr: Any,
                                 weightSize: int, modelId: Any) -> None:
    some(modelId, "modelId")
    modelId[0] = _load(_get(bundleId), index, work=(handles.address(workPtr), workSize),
                       weight=(handles.address(weightPtr), weightSize), user_memory=True).id


def aclmdlBundleLoadModelWithConfig(bundleId: int, index: int, handle: Any, modelId: Any) -> None:
    config, memory_of = configured(handle)
    some(modelId, "modelId")
    modelId[0] = finish(_load(_get(bundleId), index, **memory_of), config)


def aclmdlBundleGetModelNum(bundleId: int, modelNum: Any) -> None:
    some(modelNum, "modelNum")
    modelNum[0] = len(_get(bundleId).loaded)


def aclmdlBundleGetModelId(bundleId: int, index: int, modelId: Any) -> None:
    ids = _get(bundleId).loaded
    if not 0 <= index < len(ids):
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"bundle {bundleId} has loaded {len(ids)} models, no model {index}")
    some(modelId, "modelId")
    modelId[0] = ids[index]


def aclmdlBundleUnloadModel(bundleId: int, modelId: int) -> None:
    bundle = _get(bundleId)
    if modelId not in bundle.loaded:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"model {modelId} is not one of bundle {bundleId}")
    loaded.unload(modelId, by_bundle=True)
    bundle.loaded.remove(modelId)


def aclmdlBundleUnload(bundleId: int) -> None:
    bundle = _get(bundleId)
    for model_id in list(bundle.loaded):
        aclmdlBundleUnloadModel(bundleId, model_id)
    if bundle.variables is not None and not bundle.variables.freed:
        memory.release(bundle.variables)
    del _bundles[bundleId]


# What a bundle needs, without loading it.

def aclmdlBundleCreateQueryInfo() -> Any:
    return ffi.cast("aclmdlBundleQueryInfo *", handles.new(Parts()))


def aclmdlBundleDestroyQueryInfo(queryInfo: Any) -> None:
    handles.get(queryInfo, Parts, "query info")
    handles.drop(queryInfo)


def _query(queryInfo: Any, data: bytes) -> None:
    info, parts = handles.get(queryInfo, Parts, "query info"), _parse(data)
    info.variables, info.models = parts.variables, parts.models


def aclmdlBundleQueryInfoFromFile(fileName: Any, queryInfo: Any) -> None:
    _query(queryInfo, container.read(text(fileName, "fileName")))


def aclmdlBundleQueryInfoFromMem(model: Any, modelSize: int, queryInfo: Any) -> None:
    _query(queryInfo, host_bytes(model, modelSize))


def aclmdlBundleGetQueryModelNum(queryInfo: Any, modelNum: Any) -> None:
    some(modelNum, "modelNum")
    modelNum[0] = len(handles.get(queryInfo, Parts, "query info").models)


def aclmdlBundleGetVarWeightSize(queryInfo: Any, variableWeightSize: Any) -> None:
    some(variableWeightSize, "variableWeightSize")
    variableWeightSize[0] = handles.get(queryInfo, Parts, "query info").variables


def aclmdlBundleGetSize(queryInfo: Any, index: int, workSize: Any, constWeightSize: Any) -> None:
    models = handles.get(queryInfo, Parts, "query info").models
    if not 0 <= index < len(models):
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"the bundle has {len(models)} models, no model {index}")
    info = describe.describe(models[index])
    some(workSize, "workSize"), some(constWeightSize, "constWeightSize")
    workSize[0], constWeightSize[0] = info.work_bytes, info.weight_bytes
