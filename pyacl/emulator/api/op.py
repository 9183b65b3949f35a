"""Single operators by GE type: attributes, handles, one-shot execution, models from files, shape inference."""

from __future__ import annotations

from typing import Any

from ...capi import ffi, lib
from .. import handles
from ..single_op import call, infer, kernels, om
from ..single_op.attr import Attr, OpAttr
from ..single_op.call import Handle, describe
from ..single_op.model import registry
from .arguments import invalid, text
from .data_buffer import get as get_buffer
from .tensor_desc import TensorDesc
from .tensor_desc import get as get_desc

# Attributes


def aclopCreateAttr() -> Any:
    return ffi.cast("aclopAttr *", handles.new(OpAttr()))


def aclopDestroyAttr(attr: Any) -> None:
    if attr:
        handles.get(attr, OpAttr, "attr")
        handles.drop(attr)


def _set(attr: Any, name: Any, kind: str, value: Any) -> None:
    handles.get(attr, OpAttr, "attr").values[text(name, "attrName")] = Attr(kind, value)


def aclopSetAttrBool(attr: Any, attrName: Any, attrValue: int) -> None:
    _set(attr, attrName, "bool", bool(attrValue))


def aclopSetAttrInt(attr: Any, attrName: Any, attrValue: int) -> None:
    _set(attr, attrName, "int", attrValue)


def aclopSetAttrFloat(attr: Any, attrName: Any, attrValue: float) -> None:
    _set(attr, attrName, "float", attrValue)


def aclopSetAttrString(attr: Any, attrName: Any, attrValue: Any) -> None:
    _set(attr, attrName, "string", text(attrValue, "attrValue"))


def aclopSetAttrDataType(attr: Any, attrName: Any, attrValue: int) -> None:
    _set(attr, attrName, "data_type", attrValue)


def _list(count: int, values: Any) -> Any:
    if count < 0:
        raise invalid(f"numValues is {count}")
    if count and not values:
        raise invalid(f"values is NULL, but numValues is {count}")
    return (values[i] for i in range(count))


def aclopSetAttrListBool(attr: Any, attrName: Any, numValues: int, values: Any) -> None:
    _set(attr, attrName, "list_bool", tuple(bool(v) for v in _list(numValues, values)))


def aclopSetAttrListInt(attr: Any, attrName: Any, numValues: int, values: Any) -> None:
    _set(attr, attrName, "list_int", tuple(_list(numValues, values)))


def aclopSetAttrListFloat(attr: Any, attrName: Any, numValues: int, values: Any) -> None:
    _set(attr, attrName, "list_float", tuple(_list(numValues, values)))


def aclopSetAttrListString(attr: Any, attrName: Any, numValues: int, values: Any) -> None:
    _set(attr, attrName, "list_string", tuple(text(v, "a value") for v in _list(numValues, values)))


def aclopSetAttrListDataType(attr: Any, attrName: Any, numValues: int, values: Any) -> None:
    _set(attr, attrName, "list_data_type", tuple(_list(numValues, values)))


def aclopSetAttrListListInt(attr: Any, attrName: Any, numLists: int, numValues: Any, values: Any) -> None:
    sizes = list(_list(numLists, numValues))
    rows = list(_list(numLists, values))
    _set(attr, attrName, "list_list_int", tuple(tuple(_list(n, row)) for n, row in zip(sizes, rows)))


# Handles


def aclopCreateHandle(opType: Any, numInputs: int, inputDesc: Any, numOutputs: int, outputDesc: Any, opAttr: Any,
                      handle: Any) -> None:
    if not handle:
        raise invalid("aclopCreateHandle: handle is NULL")
    made = describe(opType, numInputs, inputDesc, numOutputs, outputDesc, opAttr)
    made.refuse_host_placement("aclopCreateHandle")
    handle[0] = ffi.cast("aclopHandle *", handles.new(Handle(made)))


def aclopDestroyHandle(handle: Any) -> None:
    if handle:
        handles.get(handle, Handle, "handle")
        handles.drop(handle)


def aclopExecWithHandle(handle: Any, numInputs: int, inputs: Any, numOutputs: int, outputs: Any, stream: Any) -> None:
    handles.get(handle, Handle, "handle").execute(numInputs, inputs, numOutputs, outputs, stream)


# By description


def _execute(opType: Any, numInputs: int, inputDesc: Any, inputs: Any, numOutputs: int, outputDesc: Any, outputs: Any,
             attr: Any, stream: Any, writes_shape: bool) -> None:
    made = describe(opType, numInputs, inputDesc, numOutputs, outputDesc, attr)
    if made.all_outputs_empty():
        return
    made.take_buffers(inputs, outputs)
    made.execute(stream, writes_shape)


def aclopExecute(opType: Any, numInputs: int, inputDesc: Any, inputs: Any, numOutputs: int, outputDesc: Any,
                 outputs: Any, attr: Any, stream: Any) -> None:
    _execute(opType, numInputs, inputDesc, inputs, numOutputs, outputDesc, outputs, attr, stream, False)


def aclopExecuteV2(opType: Any, numInputs: int, inputDesc: Any, inputs: Any, numOutputs: int, outputDesc: Any,
                   outputs: Any, attr: Any, stream: Any) -> None:
    _execute(opType, numInputs, inputDesc, inputs, numOutputs, outputDesc, outputs, attr, stream, True)


def aclopInferShape(opType: Any, numInputs: int, inputDesc: Any, inputs: Any, numOutputs: int, outputDesc: Any,
                    attr: Any) -> None:
    made = describe(opType, numInputs, inputDesc, numOutputs, outputDesc, attr)
    made.sources = call.buffers(numInputs, inputs, "input")
    infer.infer(made)


# Casts


def _cast_attr(dst: TensorDesc) -> dict[str, Attr]:
    return {"dst_type": Attr("int", dst.dtype)}


def aclopCast(srcDesc: Any, srcBuffer: Any, dstDesc: Any, dstBuffer: Any, truncate: int, stream: Any) -> None:
    source, target = get_desc(srcDesc, "srcDesc"), get_desc(dstDesc, "dstDesc")
    made = call.Call("Cast", [source], [target], _cast_attr(target))
    if made.all_outputs_empty():
        return
    get_buffer(srcBuffer, "srcBuffer")
    get_buffer(dstBuffer, "dstBuffer")
    made.take_buffers([srcBuffer], [dstBuffer])
    made.execute(stream, True)


def aclopCreateHandleForCast(srcDesc: Any, dstDesc: Any, truncate: int, handle: Any) -> None:
    source, target = get_desc(srcDesc, "srcDesc"), get_desc(dstDesc, "dstDesc")
    if not handle:
        raise invalid("aclopCreateHandleForCast: handle is NULL")
    made = call.Call("Cast", [source], [target], _cast_attr(target))
    made.refuse_host_placement("aclopCreateHandleForCast")
    handle[0] = ffi.cast("aclopHandle *", handles.new(Handle(made)))


# Models from files


def aclopSetModelDir(modelDir: Any) -> None:
    om.set_directory(text(modelDir, "modelDir"))


def aclopLoad(model: Any, modelSize: int) -> None:
    if not model:
        raise invalid("aclopLoad: model is NULL")
    if not modelSize:
        raise invalid("aclopLoad: modelSize is 0")
    data = bytes(ffi.buffer(ffi.cast("char *", model), modelSize))
    registry.add_loaded([om.read(data, "a model from memory")])


def aclopSetMaxOpQueueNum(maxOpNum: int) -> None:
    if not maxOpNum:
        raise invalid("aclopSetMaxOpQueueNum: maxOpNum is 0")
    registry.limit = maxOpNum


# Operators that users bring


def aclopCreateKernel(opType: Any, kernelId: Any, kernelName: Any, binData: Any, binSize: int, enginetype: int,
                      deallocator: Any) -> None:
    type, number, name = text(opType, "opType"), text(kernelId, "kernelId"), text(kernelName, "kernelName")
    if not binData or binSize <= 0:
        raise invalid(f"aclopCreateKernel: binData of {binSize} bytes")
    if enginetype not in (lib.ACL_ENGINE_SYS, lib.ACL_ENGINE_AICORE, lib.ACL_ENGINE_VECTOR):
        raise invalid(f"aclopCreateKernel: {enginetype} is not an aclopEngineType")
    kernels.register_kernel(type, kernels.Kernel(number, name, bytes(ffi.buffer(ffi.cast("char *", binData), binSize))))
    if deallocator:
        deallocator(binData, binSize)


def aclopSetKernelArgs(kernelDesc: Any, kernelId: Any, blockDim: int, args: Any, argSize: int) -> None:
    found = handles.get(kernelDesc, kernels.KernelDesc, "kernelDesc")
    if not args:
        raise invalid("aclopSetKernelArgs: args is NULL")
    found.kernel_id, found.blocks = text(kernelId, "kernelId"), blockDim
    found.args = bytes(ffi.buffer(ffi.cast("char *", args), argSize))


def aclopSetKernelWorkspaceSizes(kernelDesc: Any, numWorkspaces: int, workspaceSizes: Any) -> None:
    found = handles.get(kernelDesc, kernels.KernelDesc, "kernelDesc")
    found.workspaces += list(_list(numWorkspaces, workspaceSizes))


def aclopUpdateParams(opType: Any, numInputs: int, inputDesc: Any, numOutputs: int, outputDesc: Any,
                      attr: Any) -> None:
    made = describe(opType, numInputs, inputDesc, numOutputs, outputDesc, attr)
    inputs, outputs = ([array[i] for i in range(count)] for array, count in ((inputDesc, numInputs),
                                                                             (outputDesc, numOutputs)))
    kernels.select(made.type, inputs, outputs, attr)
