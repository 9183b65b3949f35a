"""aclmdlAIPP: parameters of the picture preprocessing that a model was compiled with."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure
from ..machine import capture, memory
from ..models import aipp, describe
from ..models.aipp import Batch, Parameters
from ..models.dataset import Dataset
from ..models.loaded import Loaded
from .model_desc import aippinfo
from .model_load import some

_MAX_BATCH = 255  # what the parameters' own count can hold


def _bad(text: str) -> Failure:
    return Failure(lib.ACL_ERROR_INVALID_PARAM, text)


def _get(pointer: Any) -> Parameters:
    return handles.get(pointer, Parameters, "AIPP parameters")


def _switch(value: int, what: str) -> bool:
    if value not in (0, 1):
        raise _bad(f"{what} is {value}: give 0 or 1")
    return bool(value)


def _batch(p: Parameters, index: int) -> Batch:
    if not 0 <= index < len(p.batches):
        raise _bad(f"the parameters are for {len(p.batches)} pictures, there is no picture {index}")
    return p.batches[index]


def aclmdlCreateAIPP(batchSize: int) -> Any:
    if not 1 <= batchSize <= _MAX_BATCH:
        raise _bad(f"batchSize is {batchSize}: give 1 to {_MAX_BATCH}")
    return ffi.cast("aclmdlAIPP *", handles.new(Parameters(batches=[Batch() for _ in range(batchSize)])))


def aclmdlDestroyAIPP(aippParmsSet: Any) -> None:
    _get(aippParmsSet)
    handles.drop(aippParmsSet)


def aclmdlGetAippDataSize(batchSize: int, size: Any) -> None:
    if not 1 <= batchSize <= _MAX_BATCH:
        raise _bad(f"batchSize is {batchSize}: give 1 to {_MAX_BATCH}")
    some(size, "size")
    size[0] = aipp.data_size(batchSize)


def aclmdlSetAIPPInputFormat(aippParmsSet: Any, inputFormat: int) -> None:
    p = _get(aippParmsSet)
    if inputFormat not in aipp.FORMATS:
        raise _bad(f"input format {inputFormat} is not available: choose one of {', '.join(aipp.FORMATS.values())}")
    p.format = inputFormat


def aclmdlSetAIPPSrcImageSize(aippParmsSet: Any, srcImageSizeW: int, srcImageSizeH: int) -> None:
    p = _get(aippParmsSet)
    w, h = srcImageSizeW, srcImageSizeH
    if not 2 <= w <= 4096 or not 1 <= h <= 4096:
        raise _bad(f"a picture of {w}x{h}: the width goes from 2 to 4096, the height from 1 to 4096")
    name = aipp.FORMATS.get(p.format, "")
    if name in ("YUV420SP_U8", "YUV422SP_U8", "YUYV_U8") and w % 2 or name == "YUV420SP_U8" and h % 2:
        raise _bad(f"a picture of {w}x{h}: {name} wants even sizes")
    p.width, p.height = w, h


def aclmdlSetAIPPCscParams(aippParmsSet: Any, cscSwitch: int, *numbers: int) -> None:
    p = _get(aippParmsSet)
    p.csc = _switch(cscSwitch, "cscSwitch")
    p.matrix, p.output_bias, p.input_bias = tuple(numbers[:9]), tuple(numbers[9:12]), tuple(numbers[12:15])


def aclmdlSetAIPPRbuvSwapSwitch(aippParmsSet: Any, rbuvSwapSwitch: int) -> None:
    _get(aippParmsSet).swap_rb = _switch(rbuvSwapSwitch, "rbuvSwapSwitch")


def aclmdlSetAIPPAxSwapSwitch(aippParmsSet: Any, axSwapSwitch: int) -> None:
    _get(aippParmsSet).swap_ax = _switch(axSwapSwitch, "axSwapSwitch")


def aclmdlSetAIPPScfParams(aippParmsSet: Any, scfSwitch: int, scfInputSizeW: int, scfInputSizeH: int,
                           scfOutputSizeW: int, scfOutputSizeH: int, batchIndex: int) -> None:
    batch = _batch(_get(aippParmsSet), batchIndex)
    if _switch(scfSwitch, "scfSwitch"):
        raise Failure(lib.ACL_ERROR_API_NOT_SUPPORT, "AIPP scaling is not available on this product")
    batch.scaled = False


def aclmdlSetAIPPCropParams(aippParmsSet: Any, cropSwitch: int, cropStartPosW: int, cropStartPosH: int, cropSizeW: int,
                            cropSizeH: int, batchIndex: int) -> None:
    p = _get(aippParmsSet)
    batch = _batch(p, batchIndex)
    if not _switch(cropSwitch, "cropSwitch"):
        batch.crop = None
        return
    for start, size, source, side in ((cropStartPosW, cropSizeW, p.width, "W"),
                                      (cropStartPosH, cropSizeH, p.height, "H")):
        if not 0 <= start <= 4095 or not 1 <= size <= 4096 or source and start + size > source:
            raise _bad(f"crop {side}: {size} pixels from {start} on do not fit the picture's {source or 4096}")
    batch.crop = (cropStartPosW, cropStartPosH, cropSizeW, cropSizeH)


def aclmdlSetAIPPPaddingParams(aippParmsSet: Any, paddingSwitch: int, paddingSizeTop: int, paddingSizeBottom: int,
                               paddingSizeLeft: int, paddingSizeRight: int, batchIndex: int) -> None:
    batch = _batch(_get(aippParmsSet), batchIndex)
    sizes = (paddingSizeTop, paddingSizeBottom, paddingSizeLeft, paddingSizeRight)
    if _switch(paddingSwitch, "paddingSwitch"):
        if any(not 0 <= size <= 32 for size in sizes):
            raise _bad(f"padding {sizes}: give 0 to 32 pixels")
        batch.padding = sizes
    else:
        batch.padding = None


def aclmdlSetAIPPDtcPixelMean(aippParmsSet: Any, c0: int, c1: int, c2: int, c3: int, batchIndex: int) -> None:
    _batch(_get(aippParmsSet), batchIndex).mean = (c0, c1, c2, c3)


def aclmdlSetAIPPDtcPixelMin(aippParmsSet: Any, c0: float, c1: float, c2: float, c3: float, batchIndex: int) -> None:
    _batch(_get(aippParmsSet), batchIndex).minimum = _halves(c0, c1, c2, c3)


def aclmdlSetAIPPPixelVarReci(aippParmsSet: Any, c0: float, c1: float, c2: float, c3: float, batchIndex: int) -> None:
    _batch(_get(aippParmsSet), batchIndex).reciprocal = _halves(c0, c1, c2, c3)


def _halves(*values: float) -> tuple[float, ...]:
    if any(not -65504 <= value <= 65504 for value in values):
        raise _bad(f"{values}: the parameters are kept as float16")
    return values


def _set(model: Loaded, index: int, dataset: Any, aippParmsSet: Any, target: int) -> None:
    """Checks parameters against the input that AIPP feeds and puts them into the parameters' input."""
    p = _get(aippParmsSet)
    settings = model.info.aipp.get(model.info.inputs[target].name)
    if settings is None or settings["mode"] != "dynamic":
        raise Failure(lib.ACL_ERROR_GE_AIPP_NOT_EXIST, f"input {target} of model {model.id} has no dynamic AIPP")
    shape = settings["shape"]
    height, width = shape[1:3] if settings["layout"] == "NHWC" else shape[2:4]
    aipp.check(p, shape[0], height, width, target)
    buffers = handles.get(dataset, Dataset, "dataset")
    buffer = buffers.get(index + 1, "input")[index]
    data = aipp.encode(p)
    if not buffer.address:
        raise Failure(lib.ACL_ERROR_GE_DYNAMIC_INPUT_ADDR_INVALID, "the buffer of the AIPP input has no device memory")
    if buffer.size < len(data):
        raise Failure(lib.ACL_ERROR_GE_DYNAMIC_INPUT_LENGTH_INVALID, f"the buffer of the AIPP input has {buffer.size} "
                      f"bytes, {len(data)} are needed (aclmdlGetAippDataSize)")
    capture.forbid("setting AIPP parameters")  # a copy to the device
    memory.device_bytes(buffer.address, len(data), "the AIPP input")[:] = np.frombuffer(data, np.uint8)


def _ends(model: Loaded) -> tuple[int, int]:
    """The indexes of the parameters' input and of the input that AIPP feeds."""
    names = [t.name for t in model.info.inputs]
    fed = next((i for i, n in enumerate(names) if model.info.aipp.get(n, {}).get("mode") == "dynamic"), None)
    if describe.AIPP_INPUT not in names or fed is None:
        raise Failure(lib.ACL_ERROR_GE_AIPP_NOT_EXIST, f"model {model.id} has no dynamic AIPP")
    return names.index(describe.AIPP_INPUT), fed


def aclmdlSetInputAIPP(modelId: int, dataset: Any, index: int, aippParmsSet: Any) -> None:
    model, tensor, _ = aippinfo(modelId, index)
    parameters, fed = _ends(model)
    if index != parameters:
        raise _bad(f"input {index} ({tensor.name}) is not the one for AIPP parameters: ask aclmdlGetInputIndexByName "
                   f"for {describe.AIPP_INPUT}")
    _set(model, index, dataset, aippParmsSet, fed)


def aclmdlSetAIPPByInputIndex(modelId: int, dataset: Any, index: int, aippParmsSet: Any) -> None:
    model, tensor, settings = aippinfo(modelId, index)
    if settings is None:
        raise Failure(lib.ACL_ERROR_GE_AIPP_NOT_EXIST, f"input {index} ({tensor.name}) has no AIPP")
    _set(model, _ends(model)[0], dataset, aippParmsSet, index)


def aclmdlGetAippType(modelId: int, index: int, type: Any, dynamicAttachedDataIndex: Any) -> None:
    model, tensor, settings = aippinfo(modelId, index)
    some(type, "type"), some(dynamicAttachedDataIndex, "dynamicAttachedDataIndex")
    dynamicAttachedDataIndex[0] = 0xFFFFFFFF
    if tensor.name == describe.AIPP_INPUT:
        type[0] = lib.ACL_DYNAMIC_AIPP_NODE
    elif settings is None:
        type[0] = lib.ACL_DATA_WITHOUT_AIPP
    elif settings["mode"] == "static":
        type[0] = lib.ACL_DATA_WITH_STATIC_AIPP
    else:
        type[0] = lib.ACL_DATA_WITH_DYNAMIC_AIPP
        dynamicAttachedDataIndex[0] = _ends(model)[0]


def aclmdlGetFirstAippInfo(modelId: int, index: int, aippInfo: Any) -> None:
    _, tensor, settings = aippinfo(modelId, index)
    some(aippInfo, "aippInfo")
    if settings is None or settings["mode"] != "static":
        raise Failure(lib.ACL_ERROR_GE_AIPP_NOT_EXIST, f"input {index} ({tensor.name}) has no static AIPP")
    p, info = aipp.static_parameters(settings), aippInfo
    b = p.batches[0]
    info.inputFormat, info.srcImageSizeW, info.srcImageSizeH = p.format, p.width, p.height
    info.cropSwitch = b.crop is not None
    info.loadStartPosW, info.loadStartPosH, info.cropSizeW, info.cropSizeH = b.crop or (0, 0, 0, 0)
    info.paddingSwitch = b.padding is not None
    info.topPaddingSize, info.bottomPaddingSize, info.leftPaddingSize, info.rightPaddingSize = b.padding or (0, 0, 0, 0)
    info.cscSwitch, info.rbuvSwapSwitch, info.axSwapSwitch = p.csc, p.swap_rb, p.swap_ax
    for i, value in enumerate(p.matrix):
        setattr(info, f"matrixR{i // 3}C{i % 3}", value)
    for i in range(3):
        setattr(info, f"outputBias{i}", p.output_bias[i])
        setattr(info, f"inputBias{i}", p.input_bias[i])
    for i in range(4):
        setattr(info, f"meanChn{i}", b.mean[i])
        setattr(info, f"minChn{i}", b.minimum[i])
        setattr(info, f"varReciChn{i}", b.reciprocal[i])
    info.srcFormat, info.srcDatatype, info.srcDimNum = tensor.format, tensor.dtype, len(tensor.shape)
    info.shapeCount = 1
    dims = info.outDims[0]
    for target, shape in ((dims.srcDims, tensor.shape), (dims.aippOutdims, tuple(settings["shape"]))):
        target.dimCount = len(shape)
        for i, size in enumerate(shape):
            target.dims[i] = size
    dims.srcSize = tensor.nbytes
    dims.aippOutSize = describe.nbytes(tuple(settings["shape"]), settings["dtype"])
