"""The aclnn layer itself: parameter objects, the one-shot and the repeatable life of executors, their codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pyacl.capi import active, declare_op, ffi, lib
from pyacl.emulator.ops.signature import signature

from .caller import Call, Placed, check, libc

NULL = ffi.NULL


class Device:
    """Tensors, scalars and calls of one test, freed at its end."""

    def __init__(self) -> None:
        self.placed: list[Any] = []

    def __call__(self, *values: float, dtype: Any = np.float32) -> Placed:
        found = Placed(np.array(values, dtype))
        self.placed.append(found)
        return found

    def zeros(self, n: int = 2) -> Placed:
        return self(*[0] * n)

    def close(self) -> None:
        for p in self.placed:
            check(lib.aclrtFree(p.pointer))


@pytest.fixture
def on(npu: None) -> Iterator[Device]:
    device = Device()
    yield device
    device.close()


def scalar(value: float) -> Any:
    return lib.aclCreateScalar(ffi.new("float *", value), lib.ACL_FLOAT)


def prepare(name: str, *arguments: Any) -> tuple[int, Any]:
    size, executor = ffi.new("uint64_t *"), ffi.new("aclOpExecutor **")
    check(getattr(lib, f"{name}GetWorkspaceSize")(*arguments, size, executor))
    return int(size[0]), executor[0]


def launch(name: str, executor: Any, workspace: Any = NULL, size: int = 0) -> int:
    return int(lib.launch(getattr(lib, name), workspace, size, executor, NULL))


def synchronize() -> int:
    return int(lib.aclrtSynchronizeStream(NULL))


def message() -> str:
    text = lib.aclGetRecentErrMsg()
    return "" if text == NULL else ffi.string(text).decode()


def repeatable_add(on: Device) -> tuple[Any, Placed, Placed, Placed]:
    x, y, out = on(1, 2), on(10, 20), on.zeros()
    _, executor = prepare("aclnnAdd", x.handle, y.handle, scalar(1), out.handle)
    check(lib.aclSetAclOpExecutorRepeatable(executor))
    return executor, x, y, out


# ---- executors

def test_one_shot_executor_is_gone_after_phase_two(on: Device) -> None:
    x, y, out = on(1, 2), on(3, 4), on.zeros()
    _, executor = prepare("aclnnAdd", x.handle, y.handle, scalar(2), out.handle)
    assert launch("aclnnAdd", executor) == 0
    assert synchronize() == 0
    assert out.read().tolist() == [7, 10]
    assert launch("aclnnAdd", executor) == lib.ACLNN_ERR_INNER
    assert "already destroyed" in message()
    assert lib.aclDestroyAclOpExecutor(executor) == lib.ACLNN_ERR_INNER
    assert lib.aclSetAclOpExecutorRepeatable(executor) == lib.ACLNN_ERR_INNER


def test_results_are_not_there_before_synchronising(on: Device) -> None:
    x, out = on(4, 9), on.zeros()
    _, executor = prepare("aclnnSqrt", x.handle, out.handle)
    check(launch("aclnnSqrt", executor))
    check(synchronize())
    assert out.read().tolist() == [2, 3]


def test_repeatable_executor_runs_at_refreshed_addresses(on: Device) -> None:
    executor, x, y, out = repeatable_add(on)
    other, second = on(100, 200), on.zeros()
    for _ in range(3):
        assert launch("aclnnAdd", executor) == 0
    assert synchronize() == 0
    assert out.read().tolist() == [11, 22]
    check(lib.aclSetInputTensorAddr(executor, 1, y.handle, other.pointer))
    check(launch("aclnnAdd", executor))
    check(lib.aclSetOutputTensorAddr(executor, 0, out.handle, second.pointer))
    check(lib.aclSetTensorAddr(executor, 0, x.handle, other.pointer))
    check(launch("aclnnAdd", executor))
    check(synchronize())
    assert out.read().tolist() == [101, 202]  # queued before the later refreshes
    assert second.read().tolist() == [200, 400]
    check(lib.aclSetTensorAddr(executor, 2, out.handle, out.pointer))  # inputs first, then outputs
    check(launch("aclnnAdd", executor))
    check(synchronize())
    assert out.read().tolist() == [200, 400]
    assert lib.aclDestroyAclOpExecutor(executor) == 0
    assert lib.aclDestroyAclOpExecutor(executor) == lib.ACLNN_ERR_INNER
    assert launch("aclnnAdd", executor) == lib.ACLNN_ERR_INNER


@pytest.mark.parametrize("prefix", ["acl", "Acl"])
def test_both_spellings_of_address_refresh(on: Device, prefix: str) -> None:
    executor, x, y, out = repeatable_add(on)
    assert getattr(lib, f"{prefix}SetInputTensorAddr")(executor, 0, x.handle, y.pointer) == 0
    assert getattr(lib, f"{prefix}SetOutputTensorAddr")(executor, 0, out.handle, x.pointer) == 0
    assert getattr(lib, f"{prefix}SetTensorAddr")(executor, 2, out.handle, out.pointer) == 0
    check(launch("aclnnAdd", executor))
    check(synchronize())
    assert out.read().tolist() == [20, 40]
    check(lib.aclDestroyAclOpExecutor(executor))


def test_refresh_codes(on: Device) -> None:
    executor, x, y, out = repeatable_add(on)
    inner, invalid = lib.ACLNN_ERR_INNER_NULLPTR, lib.ACLNN_ERR_PARAM_INVALID
    assert lib.aclSetAclOpExecutorRepeatable(NULL) == inner
    assert lib.aclDestroyAclOpExecutor(NULL) == inner
    for refresh, beyond in ((lib.aclSetInputTensorAddr, 2), (lib.aclSetOutputTensorAddr, 1), (lib.aclSetTensorAddr, 3)):
        assert refresh(NULL, 0, x.handle, x.pointer) == inner
        assert refresh(executor, 0, NULL, x.pointer) == inner
        assert refresh(executor, beyond, x.handle, x.pointer) == invalid
        assert "aclnnAdd" in message()
    check(lib.aclDestroyAclOpExecutor(executor))


def test_a_tensor_that_was_null_cannot_be_refreshed(on: Device) -> None:
    x, out = on(1, 2), on(0, 0, dtype=np.int64)
    _, executor = prepare("aclnnBincount", on(0, 1, dtype=np.int64).handle, NULL, 2, out.handle)
    check(lib.aclSetAclOpExecutorRepeatable(executor))
    assert lib.aclSetInputTensorAddr(executor, 1, x.handle, x.pointer) == lib.ACLNN_ERR_PARAM_INVALID
    assert "NULL in phase one" in message()
    check(lib.aclDestroyAclOpExecutor(executor))


def make_list(*members: Placed) -> Any:
    return lib.aclCreateTensorList(ffi.new("aclTensor *[]", [m.handle for m in members]), len(members))


def test_members_of_lists_are_refreshed_by_prototype_index(on: Device) -> None:
    a, b, c, d, out = on(1, 2), on(3, 4), on(5, 6), on(7, 8), on.zeros(4)
    tensors = make_list(a, b)
    _, executor = prepare("aclnnCat", tensors, 0, out.handle)
    check(lib.aclSetAclOpExecutorRepeatable(executor))
    for refresh in (lib.aclSetDynamicInputTensorAddr, lib.aclSetDynamicTensorAddr, lib.AclSetDynamicInputTensorAddr,
                    lib.AclSetDynamicTensorAddr):
        assert refresh(NULL, 0, 0, tensors, c.pointer) == lib.ACLNN_ERR_INNER_NULLPTR
        assert refresh(executor, 0, 0, NULL, c.pointer) == lib.ACLNN_ERR_INNER_NULLPTR
        assert refresh(executor, 0, 2, tensors, c.pointer) == lib.ACLNN_ERR_PARAM_INVALID
        assert refresh(executor, 3, 0, tensors, c.pointer) == lib.ACLNN_ERR_PARAM_INVALID
        check(refresh(executor, 0, 0, tensors, c.pointer))
    check(lib.aclSetInputTensorAddr(executor, 1, b.handle, d.pointer))  # flattened: the list's second member
    check(launch("aclnnCat", executor))
    check(synchronize())
    assert out.read().tolist() == [5, 6, 7, 8]
    check(lib.aclDestroyAclOpExecutor(executor))


def test_members_of_output_lists(on: Device) -> None:
    x, a, b, c = on(1, 2, 3, 4), on.zeros(), on.zeros(), on.zeros()
    tensors = make_list(a, b)
    _, executor = prepare("aclnnSplitTensor", x.handle, 2, 0, tensors)
    check(lib.aclSetAclOpExecutorRepeatable(executor))
    check(lib.aclSetDynamicOutputTensorAddr(executor, 0, 1, tensors, c.pointer))
    check(lib.AclSetDynamicOutputTensorAddr(executor, 0, 0, tensors, a.pointer))
    check(launch("aclnnSplitTensor", executor))
    check(synchronize())
    assert (a.read().tolist(), b.read().tolist(), c.read().tolist()) == ([1, 2], [0, 0], [3, 4])
    check(lib.aclDestroyAclOpExecutor(executor))


def test_operators_that_copy_from_the_host_cannot_be_repeated(on: Device) -> None:
    x, out = on(1, 2), on.zeros()
    where = lib.aclCreateIntArray(ffi.new("int64_t[]", [0]), 1)
    _, executor = prepare("aclnnIndexFillTensor", x.handle, 0, where, scalar(9), out.handle)
    assert lib.aclSetAclOpExecutorRepeatable(executor) == lib.ACLNN_ERR_INNER
    check(launch("aclnnIndexFillTensor", executor))
    check(synchronize())
    assert out.read().tolist() == [9, 2]


def test_the_plan_keeps_what_phase_one_saw(on: Device) -> None:
    x, out, elsewhere = on(1, 2), on.zeros(), on(5, 6)
    alpha = scalar(3)
    _, executor = prepare("aclnnAdds", x.handle, alpha, alpha, out.handle)
    check(lib.aclDestroyScalar(alpha))
    check(lib.aclSetRawTensorAddr(x.handle, elsewhere.pointer))
    check(launch("aclnnAdds", executor))
    check(synchronize())
    assert out.read().tolist() == [10, 11]


# ---- workspace

def test_workspace_protocol(on: Device) -> None:
    x, out = on(1, 2), on(0)
    rank0 = lib.aclCreateTensor(NULL, 0, lib.ACL_FLOAT, NULL, 0, lib.ACL_FORMAT_ND, NULL, 0, out.pointer)
    empty = lib.aclCreateIntArray(NULL, 0)

    def plan() -> tuple[int, Any]:
        size, executor = prepare("aclnnReduceSum", x.handle, empty, False, lib.ACL_FLOAT, rank0)
        check(lib.aclSetAclOpExecutorRepeatable(executor))
        return size, executor

    size, executor = plan()
    assert size > 0
    assert launch("aclnnReduceSum", executor, NULL, size) == lib.ACLNN_ERR_PARAM_NULLPTR
    assert lib.aclDestroyAclOpExecutor(executor) == lib.ACLNN_ERR_INNER, "the failed launch took the executor with it"

    memory = ffi.new("void **")
    check(lib.aclrtMalloc(memory, size, lib.ACL_MEM_MALLOC_HUGE_FIRST))
    size, executor = plan()
    assert launch("aclnnReduceSum", executor, memory[0], size - 1) == lib.ACLNN_ERR_PARAM_INVALID
    assert launch("aclnnReduceSum", executor, memory[0], size) == 0
    assert synchronize() == 0
    assert out.read().tolist() == [3]
    check(lib.aclrtFree(memory[0]))
    assert launch("aclnnReduceSum", executor, memory[0], size) == 0
    assert synchronize() == lib.ACL_ERROR_RT_AICORE_EXCEPTION, "the workspace was freed"
    check(lib.aclDestroyAclOpExecutor(executor))


def test_freed_tensor_memory_is_a_device_fault(on: Device) -> None:
    x, out = Placed(np.ones(2, np.float32)), on.zeros()
    _, executor = prepare("aclnnExp", x.handle, out.handle)
    check(lib.aclSetAclOpExecutorRepeatable(executor))
    check(launch("aclnnExp", executor))
    check(synchronize())
    x.free()
    check(launch("aclnnExp", executor))
    assert synchronize() == lib.ACL_ERROR_RT_AICORE_EXCEPTION
    check(lib.aclDestroyAclOpExecutor(executor))


# ---- phase one

def test_phase_one_needs_its_two_outputs(on: Device) -> None:
    x, out = on(1), on(0)
    assert lib.aclnnExpGetWorkspaceSize(x.handle, out.handle, NULL, NULL) == lib.ACLNN_ERR_PARAM_NULLPTR


def test_not_emulated_operators_say_so_in_phase_one(on: Device) -> None:
    size, executor = ffi.new("uint64_t *"), ffi.new("aclOpExecutor **")
    assert lib.aclnnHansDecodeGetWorkspaceSize(*[NULL] * 4, False, NULL, size, executor) != 0
    assert "not emulated: aclnnHansDecode" in message()


def test_foreign_handles_are_refused(on: Device) -> None:
    x, out = on(1), on(0)
    size, executor = ffi.new("uint64_t *"), ffi.new("aclOpExecutor **")
    wrong = ffi.cast("aclTensor *", scalar(1))
    assert lib.aclnnExpGetWorkspaceSize(wrong, out.handle, size, executor) == lib.ACLNN_ERR_PARAM_INVALID
    assert "self" in message()
    check(lib.aclDestroyTensor(x.handle))
    assert lib.aclnnExpGetWorkspaceSize(x.handle, out.handle, size, executor) == lib.ACLNN_ERR_PARAM_INVALID
    assert "already destroyed" in message()
    assert lib.aclnnExp(NULL, 0, NULL, NULL) == lib.ACLNN_ERR_PARAM_NULLPTR


def test_users_operator(npu: None) -> None:
    if active().name == "native":
        pytest.skip("a real library of a user's would be needed")
    from pyacl import emulator

    declare_op("aclnnScaleAddCustom", "const aclTensorList *x, const aclTensor *y, double scale, aclTensor *out")

    @emulator.op("aclnnScaleAddCustom")
    def scale_add(x: Any, y: Any, scale: float) -> Any:
        return (x[0] + x[1]) * scale + y

    found = signature("aclnnScaleAddCustom")
    assert found is not None
    ones = np.ones((2, 3), np.float32)
    call = Call(found, [[ones, ones], ones, 2.0, np.zeros((2, 3), np.float32)])
    assert call.run()[0].tolist() == [[5.0] * 3] * 2
    call.close()


def test_users_operator_with_a_list_among_its_outputs(npu: None) -> None:
    if active().name == "native":
        pytest.skip("a real library of a user's would be needed")
    from pyacl import emulator

    declare_op("aclnnSumAndPartsCustom", "const aclTensor *x, aclTensor *sum, aclTensorList *parts")

    @emulator.op("aclnnSumAndPartsCustom")
    def sum_and_parts(x: Any) -> Any:
        return x.sum(), [x[:1], x[1:]]

    found = signature("aclnnSumAndPartsCustom")
    assert found is not None
    zeros = np.zeros(3, np.float32)
    call = Call(found, [np.array([1, 2, 4], np.float32), zeros[0], [zeros[:1], zeros[1:]]])
    total, parts = call.run()
    assert (total.tolist(), [p.tolist() for p in parts]) == (7, [[1], [2, 4]])
    call.close()


# ---- parameter objects

def dims_of(function: Any, tensor: Any) -> list[int]:
    dims, count = ffi.new("int64_t **"), ffi.new("uint64_t *")
    check(function(tensor, dims, count))
    found = [dims[0][i] for i in range(count[0])]
    libc.free(int(ffi.cast("uintptr_t", dims[0])))
    return found


def test_tensor_getters(npu: None) -> None:
    view, strides, storage = (ffi.new("int64_t[]", v) for v in ([2, 3], [1, 2], [4, 5]))
    tensor = lib.aclCreateTensor(view, 2, lib.ACL_BF16, strides, 7, lib.ACL_FORMAT_NCHW, storage, 2, NULL)
    assert dims_of(lib.aclGetViewShape, tensor) == [2, 3]
    assert dims_of(lib.aclGetViewStrides, tensor) == [1, 2]
    assert dims_of(lib.aclGetStorageShape, tensor) == [4, 5]
    offset, kind, dtype, address = (ffi.new("int64_t *"), ffi.new("aclFormat *"), ffi.new("aclDataType *"),
                                    ffi.new("void **"))
    check(lib.aclGetViewOffset(tensor, offset))
    check(lib.aclGetFormat(tensor, kind))
    check(lib.aclGetDataType(tensor, dtype))
    assert (offset[0], kind[0], dtype[0]) == (7, lib.ACL_FORMAT_NCHW, lib.ACL_BF16)
    check(lib.aclSetRawTensorAddr(tensor, ffi.cast("void *", 4096)))
    check(lib.aclGetRawTensorAddr(tensor, address))
    assert int(ffi.cast("uintptr_t", address[0])) == 4096
    assert lib.aclSetRawTensorAddr(tensor, NULL) == lib.ACLNN_ERR_PARAM_NULLPTR
    for getter in (lib.aclGetViewOffset, lib.aclGetFormat, lib.aclGetDataType, lib.aclGetRawTensorAddr):
        assert getter(NULL, NULL) == lib.ACLNN_ERR_PARAM_NULLPTR
        assert getter(tensor, NULL) == lib.ACLNN_ERR_PARAM_NULLPTR
    for getter in (lib.aclGetViewShape, lib.aclGetViewStrides, lib.aclGetStorageShape):
        assert getter(NULL, NULL, NULL) == lib.ACLNN_ERR_PARAM_NULLPTR
        assert getter(tensor, NULL, NULL) == lib.ACLNN_ERR_PARAM_NULLPTR
    assert lib.aclInitTensor(NULL, view, 2, lib.ACL_FLOAT, NULL, 0, lib.ACL_FORMAT_ND, storage, 2,
                             NULL) == lib.ACLNN_ERR_PARAM_NULLPTR
    check(lib.aclInitTensor(tensor, view, 2, lib.ACL_FLOAT, NULL, 0, lib.ACL_FORMAT_ND, storage, 2, NULL))
    assert dims_of(lib.aclGetViewStrides, tensor) == [3, 1]
    check(lib.aclDestroyTensor(tensor))


def test_bad_tensors_are_not_created(npu: None) -> None:
    dims = ffi.new("int64_t[]", [2, -1])
    good = ffi.new("int64_t[]", [2, 1])
    assert lib.aclCreateTensor(NULL, 2, lib.ACL_FLOAT, NULL, 0, 2, NULL, 0, NULL) == NULL
    assert lib.aclCreateTensor(dims, 2, lib.ACL_FLOAT, NULL, 0, 2, NULL, 0, NULL) == NULL
    assert lib.aclCreateTensor(good, 2, lib.ACL_FLOAT, dims, 0, 2, NULL, 0, NULL) == NULL
    assert lib.aclCreateTensor(good, 2, lib.ACL_FLOAT, NULL, -1, 2, NULL, 0, NULL) == NULL
    assert lib.aclCreateScalar(NULL, lib.ACL_FLOAT) == NULL


def test_arrays_and_lists_know_their_size(npu: None) -> None:
    size = ffi.new("uint64_t *")
    makers = [
        (lib.aclCreateIntArray(ffi.new("int64_t[]", [1, 2, 3]), 3), lib.aclGetIntArraySize, lib.aclDestroyIntArray),
        (lib.aclCreateFloatArray(ffi.new("float[]", [1, 2, 3]), 3), lib.aclGetFloatArraySize, lib.aclDestroyFloatArray),
        (lib.aclCreateBoolArray(ffi.new("bool[]", [1, 0, 1]), 3), lib.aclGetBoolArraySize, lib.aclDestroyBoolArray),
        (lib.aclCreateScalarList(ffi.new("aclScalar *[]", [scalar(1) for _ in range(3)]), 3),
         lib.aclGetScalarListSize, lib.aclDestroyScalarList),
    ]
    for handle, getter, destroy in makers:
        check(getter(handle, size))
        assert size[0] == 3
        assert getter(NULL, size) == lib.ACLNN_ERR_PARAM_NULLPTR
        assert getter(handle, NULL) == lib.ACLNN_ERR_PARAM_NULLPTR
        assert destroy(handle) == 0
        assert destroy(handle) == lib.ACLNN_ERR_PARAM_INVALID
        assert destroy(NULL) == 0


def test_a_list_owns_its_members(on: Device) -> None:
    a, b = on(1), on(2)
    size = ffi.new("uint64_t *")
    tensors = make_list(a, b)
    check(lib.aclGetTensorListSize(tensors, size))
    assert size[0] == 2
    check(lib.aclDestroyTensorList(tensors))
    assert lib.aclDestroyTensor(a.handle) == lib.ACLNN_ERR_PARAM_INVALID
    assert "already destroyed" in message()


def test_a_member_destroyed_before_its_list_is_noticed(on: Device) -> None:
    a = on(1)
    tensors = make_list(a)
    check(lib.aclDestroyTensor(a.handle))
    assert lib.aclDestroyTensorList(tensors) == lib.ACLNN_ERR_PARAM_INVALID


def test_init_and_finalize(npu: None) -> None:
    assert lib.aclnnInit(NULL) == 0
    assert lib.aclnnInit(b"/nowhere/at_all.json") == 0
    assert lib.aclnnFinalize() == 0


def test_dump_arguments(on: Device) -> None:
    x = on(1)
    tensors = ffi.new("aclTensor *[]", [x.handle])
    for bad in ((NULL, b"n", tensors), (b"t", NULL, tensors), (b"t", b"n", NULL)):
        assert lib.aclDumpOpTensors(*bad, 1, 0, NULL) == lib.ACLNN_ERR_PARAM_NULLPTR


def test_sizes_of_weights(on: Device) -> None:
    size = ffi.new("uint64_t *")
    shape = lib.aclCreateIntArray(ffi.new("int64_t[]", [510, 270]), 2)
    check(lib.aclnnCalculateMatmulWeightSize(shape, size))
    assert size[0] == 512 * 272
    check(lib.aclnnCalculateMatmulWeightSizeV2(shape, lib.ACL_INT8, size))
    assert size[0] == 512 * 288
    assert lib.aclnnCalculateMatmulWeightSizeV2(shape, lib.ACL_FLOAT, size) == lib.ACLNN_ERR_PARAM_INVALID
    assert lib.aclnnCalculateMatmulWeightSize(NULL, size) == lib.ACLNN_ERR_PARAM_NULLPTR
    dims, count, actual = ffi.new("int64_t **"), ffi.new("uint64_t *"), ffi.new("int *")
    x = Placed(np.ones((20, 40), np.float16))
    on.placed.append(x)
    check(lib.aclnnNpuFormatCastCalculateSizeAndFormat(x.handle, lib.ACL_FORMAT_FRACTAL_NZ, -1, dims, count, actual))
    assert [dims[0][i] for i in range(count[0])] == [3, 2, 16, 16]
    assert actual[0] == lib.ACL_FORMAT_FRACTAL_NZ
    libc.free(int(ffi.cast("uintptr_t", dims[0])))


def test_a_weight_is_brought_into_its_layout_and_multiplied(on: Device) -> None:
    x, w = np.arange(40, dtype=np.float16).reshape(2, 20) % 7, np.arange(20 * 24, dtype=np.float16).reshape(20, 24) % 5
    room = Placed(np.zeros(32 * 32, np.float16))  # more than the matrix needs
    check(lib.aclrtMemcpy(room.pointer, w.nbytes, ffi.from_buffer(w), w.nbytes, lib.ACL_MEMCPY_HOST_TO_DEVICE))
    check(lib.aclInitTensor(room.handle, ffi.new("int64_t[]", [20, 24]), 2, lib.ACL_FLOAT16, NULL, 0, lib.ACL_FORMAT_ND,
                            ffi.new("int64_t[]", [480]), 1, room.pointer))
    a, out = Placed(x), Placed(np.zeros((2, 24), np.float16))
    on.placed += [room, a, out]
    assert lib.aclnnMatmulWeightNzGetWorkspaceSize(a.handle, room.handle, out.handle, 0, ffi.new("uint64_t *"),
                                                   ffi.new("aclOpExecutor **")) == lib.ACLNN_ERR_PARAM_INVALID
    _, executor = prepare("aclnnTransMatmulWeight", room.handle)
    check(launch("aclnnTransMatmulWeight", executor))
    size, executor = prepare("aclnnMatmulWeightNz", a.handle, room.handle, out.handle, 0)
    memory = ffi.new("void **")
    check(lib.aclrtMalloc(memory, size, lib.ACL_MEM_MALLOC_HUGE_FIRST))
    check(launch("aclnnMatmulWeightNz", executor, memory[0], size))
    check(synchronize())
    check(lib.aclrtFree(memory[0]))
    assert out.read().tolist() == (x @ w).tolist()
    kind = ffi.new("aclFormat *")
    check(lib.aclGetFormat(room.handle, kind))
    assert kind[0] == lib.ACL_FORMAT_FRACTAL_NZ
    assert dims_of(lib.aclGetViewShape, room.handle) == [20, 24]
    assert dims_of(lib.aclGetStorageShape, room.handle) == [2, 2, 16, 16]


# ---- rules that operators share

@pytest.mark.parametrize(("format", "wanted"), [
    (lib.ACL_FORMAT_NCHW, 0), (lib.ACL_FORMAT_ND, lib.ACLNN_ERR_PARAM_INVALID),
    (lib.ACL_FORMAT_NHWC, lib.ACL_ERROR_API_NOT_SUPPORT)])
def test_operators_on_images_insist_on_a_format(on: Device, format: int, wanted: int) -> None:
    dims = ffi.new("int64_t[]", [1, 1, 2, 2])
    image, out = (lib.aclCreateTensor(dims, 4, lib.ACL_FLOAT, NULL, 0, format, dims, 4, on.zeros(4).pointer)
                  for _ in range(2))
    numbers = [lib.aclCreateIntArray(ffi.new("int64_t[]", [n]), 1) for n in (1, 1, 0)]
    size, executor = ffi.new("uint64_t *"), ffi.new("aclOpExecutor **")
    assert lib.aclnnAvgPool2dGetWorkspaceSize(image, *numbers, False, False, 0, 0, out, size, executor) == wanted


def test_the_common_type_must_be_one_that_the_operator_has(on: Device) -> None:
    x, out = on(1, 2, dtype=np.int32), on(0, 0, dtype=np.int32)
    size, executor = ffi.new("uint64_t *"), ffi.new("aclOpExecutor **")
    assert lib.aclnnBitwiseAndScalarGetWorkspaceSize(x.handle, scalar(1.5), out.handle, size,
                                                     executor) == lib.ACLNN_ERR_PARAM_INVALID
    assert "meet in the type ACL_FLOAT" in message()


def test_arguments_on_which_a_rule_breaks_are_refused(on: Device) -> None:
    """Two 0-d tensors have no dimension along which they could be put together."""
    flat = [lib.aclCreateTensor(NULL, 0, lib.ACL_FLOAT, NULL, 0, lib.ACL_FORMAT_ND, NULL, 0, on(1).pointer)
            for _ in range(2)]
    tensors = lib.aclCreateTensorList(ffi.new("aclTensor *[]", flat), 2)
    size, executor = ffi.new("uint64_t *"), ffi.new("aclOpExecutor **")
    assert lib.aclnnCatGetWorkspaceSize(tensors, 0, on.zeros().handle, size, executor) == lib.ACLNN_ERR_PARAM_INVALID
    assert "aclnnCat" in message()
