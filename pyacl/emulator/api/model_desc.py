"""aclmdlDesc: what a loaded model, a file or bytes say about inputs, outputs and gears."""

from __future__ import annotations

import random
from typing import Any, Optional

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure, record
from ..machine import capture, memory
from ..models import describe, execute, failed, loaded
from ..models.dataset import Dataset
from ..models.describe import GEAR_INPUT, ModelInfo, TensorInfo
from ..models.loaded import Loaded
from . import tensor_desc
from .model_load import host_bytes, some, text

_MAX_NAME = int(lib.ACL_MAX_TENSOR_NAME_LEN) - 1


class Desc:
    """What an ``aclmdlDesc *`` stands for."""

    def __init__(self) -> None:
        self.info: Optional[ModelInfo] = None
        self.model: Optional[Loaded] = None  # None when taken from a file or bytes
        self.strings: dict[str, Any] = {}  # C strings handed out, alive as long as the description
        self.aliases: dict[str, str] = {}  # short names for those that do not fit aclmdlIODims

    def fill(self, info: ModelInfo, model: Optional[Loaded]) -> None:
        self.info, self.model = info, model
        self.aliases = {}
        for what, tensors in (("input", info.inputs), ("output", info.outputs)):
            for i, tensor in enumerate(tensors):
                if len(tensor.name.encode()) > _MAX_NAME:
                    number = model.id if model else 0
                    self.aliases[tensor.name] = f"acl_modelId_{number}_{what}_{i}_{random.randrange(10 ** 6)}"

    def string(self, value: str) -> Any:
        if value not in self.strings:
            self.strings[value] = ffi.new("char[]", value.encode())
        return self.strings[value]

    def write(self, tensor: TensorInfo, shape: tuple[int, ...], dims: Any) -> None:
        """Fills an aclmdlIODims."""
        if len(shape) > lib.ACL_MAX_DIM_CNT:
            raise Failure(lib.ACL_ERROR_GE_SHAPE_INVALID, f"{tensor.name} has {len(shape)} dimensions")
        name = self.aliases.get(tensor.name, tensor.name).encode()
        some(dims, "dims")
        ffi.memmove(dims.name, name + b"\0", len(name) + 1)
        dims.dimCount = len(shape)
        for i, size in enumerate(shape):
            dims.dims[i] = size


def _get(pointer: Any) -> tuple[Desc, ModelInfo]:
    desc = handles.get(pointer, Desc, "model description")
    if desc.info is None:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, "the model description is empty: fill it with aclmdlGetDesc")
    return desc, desc.info


def _peek(pointer: Any) -> Optional[tuple[Desc, ModelInfo]]:
    """As `_get` for getters that cannot fail: they leave an error text."""
    try:
        return _get(pointer)
    except Failure as failure:
        record(failure)
        return None


def _pick(tensors: list[TensorInfo], index: int, what: str) -> TensorInfo:
    if not 0 <= index < len(tensors):
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"the model has {len(tensors)} {what}s, no {what} {index}")
    return tensors[index]


def _peek_tensor(pointer: Any, index: int, inputs: bool) -> Optional[tuple[Desc, TensorInfo]]:
    found = _peek(pointer)
    if found is None:
        return None
    tensors = found[1].inputs if inputs else found[1].outputs
    try:
        return found[0], _pick(tensors, index, "input" if inputs else "output")
    except Failure as failure:
        record(failure)
        return None


def aclmdlCreateDesc() -> Any:
    return ffi.cast("aclmdlDesc *", handles.new(Desc()))


def aclmdlDestroyDesc(modelDesc: Any) -> None:
    handles.get(modelDesc, Desc, "model description")
    handles.drop(modelDesc)


def aclmdlGetDesc(modelDesc: Any, modelId: int) -> None:
    desc = handles.get(modelDesc, Desc, "model description")
    model = loaded.get(modelId)
    desc.fill(model.info, model)


def aclmdlGetDescFromFile(modelDesc: Any, modelPath: Any) -> None:
    desc = handles.get(modelDesc, Desc, "model description")
    desc.fill(describe.describe(loaded.read(text(modelPath, "modelPath"))), None)


def aclmdlGetDescFromMem(modelDesc: Any, model: Any, modelSize: int) -> None:
    desc = handles.get(modelDesc, Desc, "model description")
    desc.fill(describe.describe(host_bytes(model, modelSize)), None)


def aclmdlGetNumInputs(modelDesc: Any) -> int:
    found = _peek(modelDesc)
    return len(found[1].inputs) if found else 0


def aclmdlGetNumOutputs(modelDesc: Any) -> int:
    found = _peek(modelDesc)
    return len(found[1].outputs) if found else 0


def aclmdlGetInputSizeByIndex(modelDesc: Any, index: int) -> int:
    found = _peek_tensor(modelDesc, index, True)
    return found[1].nbytes if found else 0


def aclmdlGetOutputSizeByIndex(modelDesc: Any, index: int) -> int:
    found = _peek_tensor(modelDesc, index, False)
    return found[1].nbytes if found else 0


def aclmdlGetInputNameByIndex(modelDesc: Any, index: int) -> Any:
    found = _peek_tensor(modelDesc, index, True)
    return found[0].string(found[1].name) if found else ffi.NULL


def aclmdlGetOutputNameByIndex(modelDesc: Any, index: int) -> Any:
    found = _peek_tensor(modelDesc, index, False)
    return found[0].string(found[1].name) if found else ffi.NULL


def aclmdlGetInputDataType(modelDesc: Any, index: int) -> int:
    found = _peek_tensor(modelDesc, index, True)
    return found[1].dtype if found else int(lib.ACL_DT_UNDEFINED)


def aclmdlGetOutputDataType(modelDesc: Any, index: int) -> int:
    found = _peek_tensor(modelDesc, index, False)
    return found[1].dtype if found else int(lib.ACL_DT_UNDEFINED)


def aclmdlGetInputFormat(modelDesc: Any, index: int) -> int:
    found = _peek_tensor(modelDesc, index, True)
    return found[1].format if found else int(lib.ACL_FORMAT_UNDEFINED)


def aclmdlGetOutputFormat(modelDesc: Any, index: int) -> int:
    found = _peek_tensor(modelDesc, index, False)
    return found[1].format if found else int(lib.ACL_FORMAT_UNDEFINED)


def _index(tensors: list[TensorInfo], name: Any, index: Any, what: str) -> None:
    wanted = text(name, "name")
    some(index, "index")
    for i, tensor in enumerate(tensors):
        if tensor.name == wanted:
            index[0] = i
            return
    raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"the model has no {what} {wanted!r}; it has "
                  f"{', '.join(t.name for t in tensors)}")


def aclmdlGetInputIndexByName(modelDesc: Any, name: Any, index: Any) -> None:
    _index(_get(modelDesc)[1].inputs, name, index, "input")


def aclmdlGetOutputIndexByName(modelDesc: Any, name: Any, index: Any) -> None:
    _index(_get(modelDesc)[1].outputs, name, index, "output")


def aclmdlGetTensorRealName(modelDesc: Any, name: Any) -> Any:
    desc, info = _get(modelDesc)
    wanted = text(name, "name")
    for tensor in info.inputs + info.outputs:
        if wanted in (tensor.name, desc.aliases.get(tensor.name)):
            return desc.string(tensor.name)
    raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"the model has no tensor {wanted!r}")


# Shapes.

def aclmdlGetInputDims(modelDesc: Any, index: int, dims: Any) -> None:
    desc, info = _get(modelDesc)
    tensor = _pick(info.inputs, index, "input")
    desc.write(tensor, tensor.shape, some(dims, "dims"))


def aclmdlGetInputDimsV2(modelDesc: Any, index: int, dims: Any) -> None:
    desc, info = _get(modelDesc)
    tensor = _pick(info.inputs, index, "input")
    static = info.aipp.get(tensor.name, {}).get("mode") == "static"
    desc.write(tensor, tensor.shape_v2 if static else tensor.shape, some(dims, "dims"))


def aclmdlGetOutputDims(modelDesc: Any, index: int, dims: Any) -> None:
    desc, info = _get(modelDesc)
    tensor = _pick(info.outputs, index, "output")
    desc.write(tensor, tensor.shape, some(dims, "dims"))


def aclmdlGetCurOutputDims(modelDesc: Any, index: int, dims: Any) -> None:
    desc, info = _get(modelDesc)
    tensor = _pick(info.outputs, index, "output")
    if desc.model is None:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, "the description was taken from a file or from memory: take it from "
                      "the loaded model to ask for current dimensions")
    if info.unbounded:
        raise Failure(lib.ACL_ERROR_API_NOT_SUPPORT, f"the outputs of {info.name} are known after a run only: see the "
                      "output dataset's aclTensorDesc")
    shape = tensor.shape
    if desc.model.gear is not None:
        shape = execute.output_shape(desc.model, index, desc.model.gear) or shape
    desc.write(tensor, shape, some(dims, "dims"))


def aclmdlGetInputDimsRange(modelDesc: Any, index: int, dimsRange: Any) -> None:
    _, info = _get(modelDesc)
    tensor = _pick(info.inputs, index, "input")
    some(dimsRange, "dimsRange")
    if info.gears.kind:
        dimsRange.rangeCount = 0
        return
    ranges = tensor.shape_range or tuple((d, d) if d >= 0 else (1, -1) for d in tensor.shape)
    dimsRange.rangeCount = len(ranges)
    for i, (low, high) in enumerate(ranges):
        dimsRange.range[i][0], dimsRange.range[i][1] = low, high


# Gears.

def aclmdlGetDynamicBatch(modelDesc: Any, batch: Any) -> None:
    gears = _get(modelDesc)[1].gears
    some(batch, "batch").batchCount = len(gears.batch)
    for i, size in enumerate(gears.batch):
        batch.batch[i] = size


def aclmdlGetDynamicHW(modelDesc: Any, index: int, hw: Any) -> None:
    gears = _get(modelDesc)[1].gears
    some(hw, "hw").hwCount = len(gears.hw)
    for i, (height, width) in enumerate(gears.hw):
        hw.hw[i][0], hw.hw[i][1] = height, width


def aclmdlGetInputDynamicGearCount(modelDesc: Any, index: int, gearCount: Any) -> None:
    gears = _get(modelDesc)[1].gears
    some(gearCount, "gearCount")
    gearCount[0] = len(gears.dims)


def _concatenated(info: ModelInfo, gear: int) -> list[int]:
    """All inputs' dimensions in a gear, one after another."""
    numbers = iter(info.gears.dims[gear])
    return [next(numbers) if d < 0 else d for t in info.inputs if t.name != GEAR_INPUT for d in t.shape]


def aclmdlGetInputDynamicDims(modelDesc: Any, index: int, dims: Any, gearCount: int) -> None:
    _, info = _get(modelDesc)
    some(dims, "dims")
    if gearCount < len(info.gears.dims):
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"gearCount is {gearCount}, of {len(info.gears.dims)} gears")
    for i in range(len(info.gears.dims)):
        sizes = _concatenated(info, i)
        dims[i].dimCount = len(sizes)
        for j, size in enumerate(sizes):
            dims[i].dims[j] = size


def _gear_memory(modelId: int, dataset: Any, index: int, what: str) -> tuple[Loaded, Any, int]:
    """The model, and address and size of its shape input's buffer."""
    model = loaded.get(modelId)
    buffers = handles.get(dataset, Dataset, "dataset")
    inputs = model.info.inputs
    if not model.info.gears.kind:
        raise Failure(lib.ACL_ERROR_MODEL_NOT_DYNAMIC, f"model {modelId} ({model.info.name}) was compiled without "
                      f"gears: it has no {what} to set")
    if not 0 <= index < len(inputs) or inputs[index].name != GEAR_INPUT:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"input {index} is not the one for gears: ask "
                      f"aclmdlGetInputIndexByName for {GEAR_INPUT}")
    if index >= len(buffers.buffers):
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"the dataset has {len(buffers.buffers)} buffers, none for "
                      f"{GEAR_INPUT}")
    buffer = buffers.get(index + 1, "input")[index]
    if not buffer.address:
        raise Failure(lib.ACL_ERROR_GE_DYNAMIC_INPUT_ADDR_INVALID, f"the buffer of {GEAR_INPUT} has no device memory")
    return model, buffer.address, buffer.size


def _set_gear(model: Loaded, address: int, size: int, wanted: tuple[int, ...]) -> None:
    capture.forbid("setting a model's gear")  # a copy to the device
    gears = model.info.gears.values
    if wanted not in gears:
        raise Failure(lib.ACL_ERROR_GE_DYNAMIC_BATCH_SIZE_INVALID, f"the model was not compiled for {wanted}; it has "
                      f"{gears}")
    width = 8 if size >= 8 * len(wanted) else 4
    if size < 4 * len(wanted):
        raise Failure(lib.ACL_ERROR_GE_DYNAMIC_INPUT_LENGTH_INVALID, f"the buffer of {GEAR_INPUT} has {size} bytes, "
                      f"{4 * len(wanted)} are needed")
    memory.device_bytes(address, width * len(wanted), f"the buffer of {GEAR_INPUT}").view(f"u{width}")[:] = wanted
    model.gear = gears.index(wanted)


def _wrong_kind(model: Loaded, what: str) -> Failure:
    return Failure(lib.ACL_ERROR_MODEL_NOT_DYNAMIC, f"model {model.id} ({model.info.name}) has other gears than {what}")


def aclmdlSetDynamicBatchSize(modelId: int, dataset: Any, index: int, batchSize: int) -> None:
    if not batchSize:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, "batchSize is 0")
    model, address, size = _gear_memory(modelId, dataset, index, "batch size")
    if not model.info.gears.batch:
        raise _wrong_kind(model, "batch sizes")
    _set_gear(model, address, size, (batchSize,))


def aclmdlSetDynamicHWSize(modelId: int, dataset: Any, index: int, height: int, width: int) -> None:
    if not height or not width:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"the size is {height}x{width}")
    model, address, size = _gear_memory(modelId, dataset, index, "resolution")
    if not model.info.gears.hw:
        raise _wrong_kind(model, "resolutions")
    _set_gear(model, address, size, (height, width))


def aclmdlSetInputDynamicDims(modelId: int, dataset: Any, index: int, dims: Any) -> None:
    some(dims, "dims")
    model, address, size = _gear_memory(modelId, dataset, index, "dimensions")
    if not model.info.gears.dims:
        raise _wrong_kind(model, "dimensions")
    given = [int(dims.dims[i]) for i in range(min(dims.dimCount, int(lib.ACL_MAX_DIM_CNT)))]
    pattern = [d for t in model.info.inputs if t.name != GEAR_INPUT for d in t.shape]
    if len(given) != len(pattern) or any(p >= 0 and p != g for p, g in zip(pattern, given)):
        raise Failure(lib.ACL_ERROR_GE_SHAPE_INVALID, f"{given} are not all inputs' dimensions one after another, "
                      f"which are {pattern}")
    _set_gear(model, address, size, tuple(g for p, g in zip(pattern, given) if p < 0))


# Operators.

def aclmdlCreateAndGetOpDesc(deviceId: int, streamId: int, taskId: int, opName: Any, opNameLen: int, inputDesc: Any,
                             numInputs: Any, outputDesc: Any, numOutputs: Any) -> None:
    for pointer, what in ((opName, "opName"), (inputDesc, "inputDesc"), (numInputs, "numInputs"),
                          (outputDesc, "outputDesc"), (numOutputs, "numOutputs")):
        some(pointer, what)
    found = failed.find(deviceId, streamId, taskId)
    described = found.describe() if found else None
    if found is None or described is None:
        raise Failure(lib.ACL_ERROR_GE_PARAM_INVALID, f"no operator is known that failed as task {taskId} of stream "
                      f"{streamId} on device {deviceId}")
    name = found.operator.encode() + b"\0"
    if opNameLen < len(name):
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"opNameLen is {opNameLen}, the name needs {len(name)} bytes")
    ffi.memmove(opName, name, len(name))
    for descs, out, count in zip(described, (inputDesc, outputDesc), (numInputs, numOutputs)):
        out[0], count[0] = ffi.cast("aclTensorDesc *", tensor_desc.new_array(descs)), len(descs)


def aclmdlGetOpAttr(modelDesc: Any, opName: Any, attr: Any) -> Any:
    desc, info = _get(modelDesc)
    name, wanted = text(opName, "opName"), text(attr, "attr")
    if desc.model is None:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, "the description was taken from a file or from memory: take it from "
                      "the loaded model to ask for operators")
    if wanted != "_datadump_original_op_names":
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"attribute {wanted!r}: only _datadump_original_op_names is known")
    for op in info.definition.operators:
        if op.name == name:
            return desc.string("".join(f"[{len(n)}]{n}" for n in op.detail()[0].strings(wanted)))
    return desc.string("")


def aippinfo(model_id: int, index: int) -> tuple[Loaded, TensorInfo, Optional[dict[str, Any]]]:
    """A model's input and what the compiler was told of its AIPP."""
    model = loaded.get(model_id)
    tensor = _pick(model.info.inputs, index, "input")
    return model, tensor, model.info.aipp.get(tensor.name)


