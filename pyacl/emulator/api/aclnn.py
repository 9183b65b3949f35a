"""The aclnn layer: parameter objects, executors, and the two phases of every operator."""

from __future__ import annotations

import ctypes
from typing import Any, Callable, Optional

import numpy as np

from ...capi import cdefs, ffi, lib
from .. import handles
from ..failure import Failure, not_emulated
from ..machine import memory, stream
from ..ops import registry
from ..ops.executor import Executor, Plan
from ..ops.tensor import NZ, BoolArray, FloatArray, IntArray, Scalar, ScalarList, Tensor, TensorList, nz_shape
from ..ops.types import BF16, F16, S8, from_code

_FIRST = "GetWorkspaceSize"
_NULL, _INVALID = lib.ACLNN_ERR_PARAM_NULLPTR, lib.ACLNN_ERR_PARAM_INVALID
_INNER, _INNER_NULL = lib.ACLNN_ERR_INNER, lib.ACLNN_ERR_INNER_NULLPTR


def _get(pointer: Any, kind: Any, what: str = "") -> Any:
    return handles.get(pointer, kind, what or f"the acl{kind.__name__}", _NULL, _INVALID)


def _executor(pointer: Any) -> Executor:
    return handles.get(pointer, Executor, "the executor", _INNER_NULL, _INNER)


def _out(pointer: Any, what: str) -> Any:
    if pointer == ffi.NULL:
        raise Failure(_NULL, f"{what} is NULL")
    return pointer


def _dims(pointer: Any, n: int, what: str) -> tuple[int, ...]:
    if n and pointer == ffi.NULL:
        raise Failure(_NULL, f"{what} is NULL, but {n} of them are announced")
    found = tuple(ffi.unpack(pointer, n)) if n else ()
    if any(d < 0 for d in found):
        raise Failure(_INVALID, f"{what} has a negative member: {list(found)}")
    return found


def _describe(view_dims: Any, n: int, data_type: int, stride: Any, offset: int, format: int, storage_dims: Any, m: int,
              data: Any) -> tuple[Any, ...]:
    if offset < 0:
        raise Failure(_INVALID, f"offset is negative: {offset}")
    strides = None if stride == ffi.NULL else _dims(stride, n, "stride")
    storage = None if storage_dims == ffi.NULL and not m else _dims(storage_dims, m, "storageDims")
    return (_dims(view_dims, n, "viewDims"), data_type, strides, offset, format, storage, handles.address(data))


# ---- tensors

def aclCreateTensor(viewDims: Any, viewDimsNum: int, dataType: int, stride: Any, offset: int, format: int,
                    storageDims: Any, storageDimsNum: int, tensorData: Any) -> Any:
    found = Tensor(*_describe(viewDims, viewDimsNum, dataType, stride, offset, format, storageDims, storageDimsNum,
                              tensorData))
    return ffi.cast("aclTensor *", handles.new(found))


def aclInitTensor(tensor: Any, viewDims: Any, viewDimsNum: int, dataType: int, stride: Any, offset: int, format: int,
                  storageDims: Any, storageDimsNum: int, tensorDataAddr: Any) -> None:
    _get(tensor, Tensor).set(*_describe(viewDims, viewDimsNum, dataType, stride, offset, format, storageDims,
                                        storageDimsNum, tensorDataAddr))


def _library() -> Any:
    c = ctypes.CDLL(None)
    c.malloc.restype, c.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    return c


def _give(values: tuple[int, ...], array: Any, count: Any) -> None:
    """The caller releases the array with delete[], which is free() for plain integers."""
    block = ffi.cast("int64_t *", _library().malloc(max(len(values), 1) * 8))
    block[0:len(values)] = values
    _out(array, "the array's address")[0] = block
    _out(count, "the count's address")[0] = len(values)


def aclGetViewShape(tensor: Any, viewDims: Any, viewDimsNum: Any) -> None:
    _give(_get(tensor, Tensor).shape, viewDims, viewDimsNum)


def aclGetStorageShape(tensor: Any, storageDims: Any, storageDimsNum: Any) -> None:
    _give(_get(tensor, Tensor).storage_shape, storageDims, storageDimsNum)


def aclGetViewStrides(tensor: Any, stridesValue: Any, stridesNum: Any) -> None:
    _give(_get(tensor, Tensor).strides, stridesValue, stridesNum)


def aclGetViewOffset(tensor: Any, offset: Any) -> None:
    _out(offset, "offset")[0] = _get(tensor, Tensor).offset


def aclGetFormat(tensor: Any, format: Any) -> None:
    _out(format, "format")[0] = _get(tensor, Tensor).format


def aclGetDataType(tensor: Any, dataType: Any) -> None:
    _out(dataType, "dataType")[0] = _get(tensor, Tensor).code


def aclSetRawTensorAddr(tensor: Any, addr: Any) -> None:
    found = _get(tensor, Tensor)
    found.address = handles.address(_out(addr, "addr"))


def aclGetRawTensorAddr(tensor: Any, addr: Any) -> None:
    found = _get(tensor, Tensor)
    _out(addr, "addr")[0] = ffi.cast("void *", found.address)


# ---- scalars, arrays, lists

def aclCreateScalar(value: Any, dataType: int) -> Any:
    dtype = from_code(dataType)
    if value == ffi.NULL:
        raise Failure(_NULL, "aclCreateScalar: value is NULL")
    if dtype is None:
        raise Failure(_INVALID, f"aclCreateScalar: aclDataType {dataType} is not emulated")
    raw = bytes(ffi.buffer(ffi.cast("char *", value), dtype.itemsize))
    return ffi.cast("aclScalar *", handles.new(Scalar(np.frombuffer(raw, dtype)[0])))


def _array(value: Any, size: int, kind: Any, cast: Callable[[Any], Any]) -> int:
    if value == ffi.NULL and size:
        raise Failure(_NULL, "value is NULL")
    return handles.new(kind(tuple(cast(v) for v in ffi.unpack(value, size)) if size else ()))


def aclCreateIntArray(value: Any, size: int) -> Any:
    return ffi.cast("aclIntArray *", _array(value, size, IntArray, int))


def aclCreateFloatArray(value: Any, size: int) -> Any:
    return ffi.cast("aclFloatArray *", _array(value, size, FloatArray, float))


def aclCreateBoolArray(value: Any, size: int) -> Any:
    return ffi.cast("aclBoolArray *", _array(value, size, BoolArray, bool))


def _members(value: Any, size: int, kind: Any) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    if value == ffi.NULL and size:
        raise Failure(_NULL, "value is NULL")
    numbers = tuple(handles.address(value[i]) for i in range(size))
    return numbers, tuple(_get(n, kind, f"member {i}") if n else None for i, n in enumerate(numbers))


def aclCreateTensorList(value: Any, size: int) -> Any:
    return ffi.cast("aclTensorList *", handles.new(TensorList(*_members(value, size, Tensor))))


def aclCreateScalarList(value: Any, size: int) -> Any:
    return ffi.cast("aclScalarList *", handles.new(ScalarList(*_members(value, size, Scalar))))


def _size(pointer: Any, kind: Any, size: Any, of: Callable[[Any], Any]) -> None:
    found = _get(pointer, kind)
    _out(size, "size")[0] = len(of(found))


def aclGetIntArraySize(array: Any, size: Any) -> None:
    _size(array, IntArray, size, lambda a: a.values)


def aclGetFloatArraySize(array: Any, size: Any) -> None:
    _size(array, FloatArray, size, lambda a: a.values)


def aclGetBoolArraySize(array: Any, size: Any) -> None:
    _size(array, BoolArray, size, lambda a: a.values)


def aclGetTensorListSize(tensorList: Any, size: Any) -> None:
    _size(tensorList, TensorList, size, lambda a: a.tensors)


def aclGetScalarListSize(scalarList: Any, size: Any) -> None:
    _size(scalarList, ScalarList, size, lambda a: a.scalars)


def _destroy(pointer: Any, kind: Any) -> Any:
    """Forgets an object; NULL is allowed. What was destroyed before, here or by the list that owned it, is refused."""
    if pointer == ffi.NULL:
        return None
    found = _get(pointer, kind)
    handles.drop(pointer)
    return found


def aclDestroyTensor(tensor: Any) -> None:
    _destroy(tensor, Tensor)


def aclDestroyScalar(scalar: Any) -> None:
    _destroy(scalar, Scalar)


def aclDestroyIntArray(array: Any) -> None:
    _destroy(array, IntArray)


def aclDestroyFloatArray(array: Any) -> None:
    _destroy(array, FloatArray)


def aclDestroyBoolArray(array: Any) -> None:
    _destroy(array, BoolArray)


def _destroy_list(pointer: Any, kind: Any, member: Any) -> None:
    found = _destroy(pointer, kind)
    if found is not None:
        for number in dict.fromkeys(n for n in found.handles if n):
            _get(number, member, "a member of the list, which owns it,")
            handles.drop(number)


def aclDestroyTensorList(array: Any) -> None:
    _destroy_list(array, TensorList, Tensor)


def aclDestroyScalarList(array: Any) -> None:
    _destroy_list(array, ScalarList, Scalar)


# ---- executors

def aclSetAclOpExecutorRepeatable(executor: Any) -> None:
    found = _executor(executor)
    operator = found.plan.operator
    if not operator.repeatable:
        raise Failure(_INNER, f"{operator.name} cannot be repeated: it copies host memory to the device on its way")
    if operator.dynamic or operator.reformat is not None:
        raise Failure(_INNER, f"{operator.name} cannot be repeated: it changes the tensors that phase one was given")
    if found.launched:
        raise Failure(_INNER, f"{operator.name}: set repeatable right after phase one, not after a launch")
    found.repeatable = True


def aclDestroyAclOpExecutor(executor: Any) -> None:
    _executor(executor)
    handles.drop(executor)


def _set(kind: str, executor: Any, index: int, tensor: Any, addr: Any) -> None:
    found = handles.get(tensor, Tensor, "the tensor", _INNER_NULL, _INVALID)
    found.address = handles.address(addr)
    target = _executor(executor)
    slots = target.flattened(kind)
    if index >= len(slots):
        raise Failure(_INVALID, f"{target.plan.operator.name}: index {index}, but it has {len(slots)} {_called(kind)}")
    target.set_address(slots[index], found.address, f"{target.plan.operator.name}: index {index}")


def _set_member(kind: str, executor: Any, index: int, relative: int, tensors: Any, addr: Any) -> None:
    members = handles.get(tensors, TensorList, "the tensor list", _INNER_NULL, _INVALID).tensors
    member = members[relative] if relative < len(members) else None
    if member is not None:
        member.address = handles.address(addr)
    target = _executor(executor)
    name, groups = target.plan.operator.name, target.prototype(kind)
    if index >= len(groups):
        raise Failure(_INVALID, f"{name}: irIndex {index}, but its prototype has {len(groups)} {_called(kind)}")
    slots = groups[index] if isinstance(groups[index], tuple) else (groups[index],)
    if relative >= len(slots):
        raise Failure(_INVALID, f"{name}: relativeIndex {relative}, but the list has {len(slots)} members")
    target.set_address(slots[relative], handles.address(addr), f"{name}: irIndex {index}, relativeIndex {relative}")


def _called(kind: str) -> str:
    return "inputs and outputs" if kind == "both" else kind


def aclSetInputTensorAddr(executor: Any, index: int, tensor: Any, addr: Any) -> None:
    _set("inputs", executor, index, tensor, addr)


def aclSetOutputTensorAddr(executor: Any, index: int, tensor: Any, addr: Any) -> None:
    _set("outputs", executor, index, tensor, addr)


def aclSetTensorAddr(executor: Any, index: int, tensor: Any, addr: Any) -> None:
    _set("both", executor, index, tensor, addr)


def aclSetDynamicInputTensorAddr(executor: Any, irIndex: int, relativeIndex: int, tensors: Any, addr: Any) -> None:
    _set_member("inputs", executor, irIndex, relativeIndex, tensors, addr)


def aclSetDynamicOutputTensorAddr(executor: Any, irIndex: int, relativeIndex: int, tensors: Any, addr: Any) -> None:
    _set_member("outputs", executor, irIndex, relativeIndex, tensors, addr)


def aclSetDynamicTensorAddr(executor: Any, irIndex: int, relativeIndex: int, tensors: Any, addr: Any) -> None:
    _set_member("both", executor, irIndex, relativeIndex, tensors, addr)


AclSetInputTensorAddr = aclSetInputTensorAddr
AclSetOutputTensorAddr = aclSetOutputTensorAddr
AclSetTensorAddr = aclSetTensorAddr
AclSetDynamicInputTensorAddr = aclSetDynamicInputTensorAddr
AclSetDynamicOutputTensorAddr = aclSetDynamicOutputTensorAddr
AclSetDynamicTensorAddr = aclSetDynamicTensorAddr


# ---- the library

def aclnnInit(configPath: Any) -> None:
    """Nothing to prepare; a file that is missing or bad is no error."""


def aclnnFinalize() -> None:
    """Nothing to give back."""


def aclDumpOpTensors(opType: Any, opName: Any, tensors: Any, inputTensorNum: int, outputTensorNum: int,
                     stream: Any) -> None:
    for pointer, what in ((opType, "opType"), (opName, "opName"), (tensors, "tensors"), (stream, "stream")):
        _out(pointer, what)
    for i in range(inputTensorNum + outputTensorNum):
        _get(tensors[i], Tensor, f"tensors[{i}]")
    # Dumping is off unless it was configured, and the emulator has no dump of operators.


# ---- sizes of weights

def _weight_size(shape: Any, dtype: Any) -> int:
    dims = _get(shape, IntArray).values
    if not 2 <= len(dims) <= 6 or 0 in dims:
        raise Failure(_INVALID, f"tensorShape {list(dims)} has not 2 to 6 dimensions, or one of 0")
    return int(np.prod(nz_shape(dims, dtype)))


def aclnnCalculateMatmulWeightSize(tensorShape: Any, weightTensorSize: Any) -> None:
    _out(weightTensorSize, "weightTensorSize")[0] = _weight_size(tensorShape, F16)


def aclnnCalculateMatmulWeightSizeV2(tensorShape: Any, dataType: int, weightTensorSize: Any) -> None:
    dtype = from_code(dataType)
    if dtype not in (F16, BF16, S8):
        raise Failure(_INVALID, f"aclDataType {dataType} is neither ACL_FLOAT16, ACL_BF16 nor ACL_INT8")
    _out(weightTensorSize, "weightTensorSize")[0] = _weight_size(tensorShape, dtype)


def aclnnNpuFormatCastCalculateSizeAndFormat(srcTensor: Any, dstFormat: int, additionalDtype: int, dstShape: Any,
                                             dstShapeSize: Any, actualFormat: Any) -> None:
    source = _get(srcTensor, Tensor)
    dtype = source.dtype if additionalDtype == -1 else from_code(additionalDtype)
    if dtype is None or not source.size or not 2 <= source.ndim <= 6:
        raise Failure(_INVALID, f"additionalDtype {additionalDtype} is not emulated, or srcTensor {source!r} is empty "
                                "or has not 2 to 6 dimensions")
    if dstFormat not in (NZ, lib.ACL_FORMAT_ND):
        raise Failure(_INVALID, f"dstFormat {dstFormat}: only ACL_FORMAT_ND and ACL_FORMAT_FRACTAL_NZ are emulated")
    _give(nz_shape(source.shape, dtype) if dstFormat == NZ else source.shape, dstShape, dstShapeSize)
    _out(actualFormat, "actualFormat")[0] = dstFormat


# ---- operators

def _phase_one(name: str) -> Callable[..., None]:
    def call(*arguments: Any) -> None:
        operator = registry.find(name)
        if operator is None:
            raise not_emulated(name)
        size, executor = arguments[-2:]
        if size == ffi.NULL or executor == ffi.NULL:
            raise Failure(_NULL, f"{name}: workspaceSize or executor is NULL")
        plan = Plan(operator, arguments[:-2])
        executor[0] = ffi.cast("aclOpExecutor *", handles.new(Executor(plan)))
        size[0] = plan.workspace

    return call


def _phase_two(workspace: Any, size: int, executor: Any, stream_pointer: Any) -> None:
    found = handles.get(executor, Executor, "the executor", _NULL, _INNER)
    plan = found.plan
    name = plan.operator.name
    found.launched = True
    if not found.repeatable:
        handles.drop(executor)
    if workspace == ffi.NULL and (size or plan.workspace):
        if found.repeatable:
            handles.drop(executor)
        raise Failure(_NULL, f"{name}: workspaceSize is {max(size, plan.workspace)}, but workspace is NULL")
    if size < plan.workspace:
        raise Failure(_INVALID, f"{name}: phase one asked for a workspace of {plan.workspace} bytes, "
                                f"phase two got {size}")
    where = stream.resolve(stream_pointer)
    task = found.task(where.device)
    if plan.workspace:
        task = _with_workspace(task, handles.address(workspace), plan.workspace, name)
    where.submit(task, name)


def _with_workspace(task: Callable[[], None], address: int, nbytes: int, name: str) -> Callable[[], None]:
    """The device writes into the workspace, so one that is freed, too small or in use elsewhere does not go unseen."""
    def run() -> None:
        memory.device_bytes(address, nbytes, f"{name}: workspace", lib.ACL_ERROR_RT_AICORE_EXCEPTION)[:] = 0xA5
        task()

    return run


def phase(name: str) -> Optional[Callable[..., Any]]:
    """The function behind ``aclnnFooGetWorkspaceSize`` or ``aclnnFoo``; None if that is no phase of an operator."""
    if cdefs.operator(name) is not None:
        # A second phase that is declared itself has parameters of its own.
        return _phase_two if cdefs.prototype(name) is None else None
    if name.endswith(_FIRST) and cdefs.operator(name[:-len(_FIRST)]) is not None:
        return _phase_one(name[:-len(_FIRST)])
    return None


def emulated(name: str) -> bool:
    """Whether `name` is a phase of an operator that is emulated."""
    return registry.find(name[:-len(_FIRST)] if name.endswith(_FIRST) else name) is not None
