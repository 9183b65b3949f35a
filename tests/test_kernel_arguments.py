"""Arguments of kernels: what each launch sees, memory of the runtime's and of one's own, and what is refused before a
kernel could go wrong with it."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import pytest
from helpers import alive, python
from kernels import ADD_CUSTOM, Vectors, compile_kernels, only_emulated

import pyacl
from pyacl.capi import ffi, lib

pytestmark = only_emulated

PLAIN = """
#include "pyacl_kernel.h"
PYACL_KERNEL plain(const struct { int32_t *out; } *args, const pyacl_block *block) { args->out[block->index] += 1; }
PYACL_KERNEL shift(const struct { int32_t *out; int32_t by; } *args, const pyacl_block *block) { args->out[0] += args->by; }
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kernels")
    compile_kernels(folder, "add_custom", ADD_CUSTOM)
    compile_kernels(folder, "plain", PLAIN)
    return folder


@pytest.fixture
def kernel(libraries: Path, device: Any) -> Iterator[pyacl.Kernel]:
    """add_custom, which declares its arguments."""
    with pyacl.Binary.from_file(libraries / "add_custom.so") as binary:
        yield binary.function("add_custom")


@pytest.fixture
def plain(libraries: Path, device: Any) -> Iterator[pyacl.Kernel]:
    """A kernel of which nothing is known."""
    with pyacl.Binary.from_file(libraries / "plain.so") as binary:
        yield binary.function("plain")


# What a launch sees

@pytest.mark.parametrize("memory", ["user", "runtime"])
def test_a_queued_launch_keeps_what_it_was_launched_with(kernel: Any, stream: Any, memory: str) -> None:
    v = Vectors()
    args, scale = v.args(kernel, 1, memory=memory)
    outputs = [pyacl.Tensor.zeros((v.n,)) for _ in range(4)]
    for i, out in enumerate(outputs):  # nothing is waited for in between
        args.update(2, out)
        args.update(scale, np.float32(i + 1))
        args.placeholder_buffer(3)[:] = np.uint32(10 * (i + 1)).tobytes()
        args.finalize()
        kernel.launch(args, 2, stream)
    args.update(scale, np.float32(-1))
    args.placeholder_buffer(3)[:] = bytes(4)
    stream.synchronize()
    for i, out in enumerate(outputs):
        expected = v.expected(i + 1)
        expected[10 * (i + 1):] = 0
        assert (out.numpy() == expected).all()


def test_a_queued_raw_block_keeps_what_it_was_launched_with(kernel: Any, stream: Any) -> None:
    v = Vectors()
    block = bytearray(v.block(3, 0))
    kernel.launch_host(block, 2, stream, placeholders=[(24, 40)], uses=v.tensors)
    block[:] = bytes(len(block))
    stream.synchronize()
    assert (v.out == v.expected(3)).all()


def test_a_block_on_the_device_is_read_when_the_kernel_runs(kernel: Any, stream: Any) -> None:
    v = Vectors()
    device = pyacl.Tensor.zeros((48,), np.uint8)
    pyacl.memcpy_async(device, np.frombuffer(v.block(3, device.address + 40), np.uint8).copy(), stream)
    kernel.launch_device(device, 2, stream, uses=v.tensors)  # its block is still on the way
    stream.synchronize()
    assert (v.out == v.expected(3)).all()


def test_threads_with_lists_of_their_own(kernel: Any, device: Any) -> None:
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        device.set_current()
        v = Vectors()
        with pyacl.Stream() as own:
            for memory in ("user", "runtime"):
                args, scale = v.args(kernel, 0, memory=memory)
                for i in range(20):
                    args.update(scale, np.float32(number + i))
                    args.finalize()
                    kernel.launch(args, 3, own)
                own.synchronize()
                found[number] = found.get(number, True) and (v.out == v.expected(number + 19)).all()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: True, 1: True, 2: True, 3: True}


def test_a_captured_launch_keeps_its_arguments(libraries: Path, device: Any, stream: Any) -> None:
    out = pyacl.Tensor.zeros((1,), np.int32)
    with pyacl.Binary.from_file(libraries / "plain.so") as binary:
        shift = binary.function("shift")
        args = pyacl.ArgsHandle(shift)
        args.append(out)
        by = args.append(np.int32(3))
        args.finalize()
        with pyacl.Graph.capture(stream) as graph:
            shift.launch(args, 1, stream)
        args.update(by, np.int32(100))
        args.finalize()
        graph.launch(stream)
        graph.launch(stream)
        shift.launch(args, 1, stream)
        stream.synchronize()
        assert out.numpy()[0] == 3 + 3 + 100
        del args
        gc.collect()
        graph.launch(stream)
        stream.synchronize()
        assert out.numpy()[0] == 109
    with pytest.raises(pyacl.ClosedError):  # it went with the binary
        graph.launch(stream)


def test_what_an_update_lets_go_stays_until_it_was_used(plain: Any, stream: Any) -> None:
    class Foreign:
        """Another library's tensor, which frees its memory when it goes."""

        device = "npu:0"

        def __init__(self) -> None:
            self.memory = pyacl.Tensor.zeros((4,), np.int32)

        def data_ptr(self) -> int:
            return self.memory.address

    first, second = Foreign(), Foreign()
    args = pyacl.ArgsHandle(plain)
    index = args.append(first)
    args.finalize()
    plain.launch(args, 4, stream)
    args.update(index, second)
    watched = weakref.ref(first)
    del first
    assert alive(watched)
    stream.synchronize()
    assert not alive(watched)
    args.finalize()
    plain.launch(args, 4, stream)
    stream.synchronize()
    assert second.memory.numpy().tolist() == [1, 1, 1, 1]


# The runtime's own list

def test_a_wiped_list_does_not_touch_the_one_that_took_it_over(kernel: Any, stream: Any) -> None:
    v = Vectors()
    old, scale = v.args(kernel, 9, memory="runtime")
    view = old.placeholder_buffer(3)
    new = pyacl.ArgsHandle(kernel, memory="runtime")
    for tensor in v.tensors:
        new.append(tensor)
    attempts: list[Callable[[], Any]] = [
        old.finalize, lambda: old.append(None), lambda: old.append_placeholder(4), lambda: old.placeholder_buffer(3),
        lambda: old.update(scale, np.float32(3)), lambda: kernel.launch(old, 1, stream)]
    for attempt in attempts:
        with pytest.raises(RuntimeError, match="this list is gone"):
            attempt()
    with pytest.raises(ValueError, match="released"):
        view[:] = b"9999"
    assert "wiped" in repr(old)
    tiling = new.append_placeholder(4)  # it is still open: nothing above finalized it
    new.append(np.float32(2))
    new.placeholder_buffer(tiling)[:] = np.uint32(v.n).tobytes()
    new.finalize()
    old.close()
    kernel.launch(new, 1, stream)
    stream.synchronize()
    assert (v.out == v.expected(2)).all()


def test_the_runtimes_list_has_its_own_limit(plain: Any) -> None:
    args = pyacl.ArgsHandle(plain, memory="runtime")
    big = args.append_placeholder(1 << 20)
    with pytest.raises(ValueError, match="does not fit"):
        args.placeholder_buffer(big)


# What is refused

def test_a_list_is_not_finalized_before_it_is_whole(kernel: Any) -> None:
    args = pyacl.ArgsHandle(kernel)
    with pytest.raises(RuntimeError, match="0 of the 5 arguments"):
        args.finalize()
    args.append(None)
    with pytest.raises(RuntimeError, match="1 of the 5 arguments"):
        args.finalize()


def test_a_list_without_arguments_cannot_be_launched(plain: Any, stream: Any) -> None:
    args = pyacl.ArgsHandle(plain)
    args.finalize()
    with pytest.raises(ValueError, match="no arguments"):
        plain.launch(args, 1, stream)


def test_the_room_that_was_asked_for_is_the_limit(plain: Any) -> None:
    args = pyacl.ArgsHandle(plain, nbytes=24)
    args.append(np.uint8(1))
    with pytest.raises(ValueError, match="nbytes=32"):
        args.append_placeholder(9)
    big = args.append_placeholder(8)
    with pytest.raises(ValueError, match="room for 24 bytes"):
        args.append(np.uint8(1))
    assert len(args.placeholder_buffer(big)) == 8
    wrong: Any
    for wrong, error in ((0, ValueError), (-8, ValueError), (8.0, TypeError), ("8", TypeError)):
        with pytest.raises(error):
            pyacl.ArgsHandle(plain, nbytes=wrong)


def test_buffers_and_null_pointers(plain: Any, stream: Any) -> None:
    with pyacl.DeviceBuffer(16) as buffer:
        pyacl.memset(buffer, 0)
        args = pyacl.ArgsHandle(plain)
        index = args.append(buffer)
        args.finalize()
        plain.launch(args, 4, stream)
        args.update(index, None)
        args.update(index, buffer)
        args.finalize()
        plain.launch(args, 2, stream)
        stream.synchronize()
        found = np.empty(4, np.int32)
        buffer.copy_to(found)
        assert found.tolist() == [2, 2, 1, 1]
        assert len(args) == 1


def test_what_is_no_kernel_has_no_arguments(kernel: Any) -> None:
    with pytest.raises(TypeError, match="is of a Kernel"):
        pyacl.ArgsHandle(kernel.binary)
    with pytest.raises(ValueError, match="'user' or 'runtime'"):
        pyacl.ArgsHandle(kernel, memory="device")


def test_sizes_of_arguments(kernel: Any, plain: Any) -> None:
    with pytest.raises(ValueError, match="8 bytes in C, not 4"):
        pyacl.ArgsHandle(kernel).append(np.float32(1))
    with pytest.raises(ValueError, match="at least 1 byte"):
        pyacl.ArgsHandle(plain).append(b"")
    wrong: Any
    for wrong in (0, -1, 4.0, True):
        with pytest.raises(ValueError, match="placeholder has at least 1 byte"):
            pyacl.ArgsHandle(plain).append_placeholder(wrong)
    v = Vectors()
    with pytest.raises(TypeError, match="HostBuffer"), pyacl.HostBuffer(8) as host:
        pyacl.ArgsHandle(plain).append(host)
    v.tensors[0].close()
    with pytest.raises(pyacl.ClosedError):
        pyacl.ArgsHandle(plain).append(v.tensors[0])


@pytest.mark.parametrize(("declared", "value", "error"), [
    (np.uint32, 2.7, TypeError), (np.int8, 200, OverflowError), (np.uint32, -1, OverflowError),
    (np.float16, 70000, OverflowError), (np.float32, 1e39, OverflowError), (np.uint32, 1 << 70, OverflowError),
    (np.bool_, 2, OverflowError), (np.int32, np.int64(3), TypeError), (np.int32, b"12345", TypeError)])
def test_a_number_is_never_changed_to_fit(plain: Any, stream: Any, declared: Any, value: Any, error: Any) -> None:
    plain.signature("pointer", declared)
    with pytest.raises(error, match="argument 1"):
        plain.launch_args(stream, 1, None, value)


def test_numbers_that_fit_become_the_declared_type(libraries: Path, device: Any, stream: Any) -> None:
    out = pyacl.Tensor.zeros((1,), np.int32)
    with pyacl.Binary.from_file(libraries / "plain.so") as binary:
        shift = binary.function("shift").signature("pointer", np.int32)
        for value in (5, True, np.int32(-2), np.int32(10).tobytes()):
            shift.launch_args(stream, 1, out, value)
        stream.synchronize()
    assert out.numpy()[0] == 5 + 1 - 2 + 10


@pytest.mark.parametrize("declared", [None, "number", object()])
def test_what_is_no_type_of_an_argument(plain: Any, declared: Any) -> None:
    with pytest.raises(TypeError, match="no argument type"):
        plain.signature(declared)


def test_other_arguments_of_a_launch(kernel: Any, stream: Any) -> None:
    v = Vectors()
    for wrong in ("1234", [1, 2], 5):
        with pytest.raises(TypeError, match="a placeholder's data is bytes or a numpy array"):
            kernel.launch_args(stream, 1, *v.tensors, placeholder=wrong)
    args, _ = v.args(kernel)
    blocks: Any
    for blocks in (-1, 1 << 32):
        with pytest.raises(ValueError, match="num_blocks"):
            kernel.launch(args, blocks, stream)
    for blocks in (2.0, None, "8"):
        with pytest.raises(TypeError, match="num_blocks"):
            kernel.launch(args, blocks, stream)
        with pytest.raises(TypeError, match="num_blocks"):
            kernel.launch_host(v.block(1, 0), blocks, stream)
    for launch in (lambda: kernel.launch(args, 1, stream, {"timeout": 1}),
                   lambda: kernel.launch_host(v.block(1, 0), 1, stream, 5),
                   lambda: kernel.launch_device(v.tensors[0], 1, stream, 5)):
        with pytest.raises(TypeError, match=r"pyacl\.LaunchConfig"):
            launch()
    with pytest.raises(TypeError, match="launch_device"):
        kernel.launch_host(v.tensors[0], 1, stream)
    with pytest.raises(TypeError, match="launch_host"):
        kernel.launch_device(v.block(1, 0), 1, stream)
    for place in ((41, 0), (0, 48), (-8, 0)):
        with pytest.raises(ValueError, match="lies outside"):
            kernel.launch_host(v.block(1, 0), 1, stream, placeholders=[place])
    kernel.launch(args, np.int64(2), stream)
    stream.synchronize()
    assert (v.out == v.expected(1)).all()


def test_names_with_a_nul_inside_are_not_cut_off(libraries: Path, device: Any) -> None:
    path = str(libraries / "plain.so")
    with pytest.raises(ValueError, match="NUL"):
        pyacl.Binary.from_file(path + "\0.o")
    with pyacl.Binary.from_file(path.encode()) as binary:  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="NUL"):
            binary.function("plain\0er")
        with pytest.raises(ValueError, match="empty"):
            binary.function("")
        with pytest.raises(TypeError, match="a kernel's name is a str, not 5"):
            binary.function(5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="callback"):
            binary.on_exception("print")  # type: ignore[arg-type]
    for wrong in (5, "text"):
        with pytest.raises(TypeError):
            pyacl.Binary.from_bytes(wrong)


def test_launch_configs_reach_c_as_they_are() -> None:
    config = pyacl.LaunchConfig(schem_mode="batch", dyn_ubuf_size=1 << 20, engine_type="aiv", blockdim_offset=7,
                                block_task_prefetch=True, data_dump=False, timeout_us=(3 << 32) + 5, enable_profiling=True)
    values = {int(a.id): a.value for a in config.pointer.attrs[0:config.pointer.numAttrs]}
    of = {name: values[getattr(lib, f"ACL_RT_LAUNCH_KERNEL_ATTR_{name}")] for name in (
        "SCHEM_MODE", "DYN_UBUF_SIZE", "ENGINE_TYPE", "BLOCKDIM_OFFSET", "BLOCK_TASK_PREFETCH", "DATA_DUMP", "TIMEOUT_US",
        "ENABLE_PROFILING")}
    assert len(values) == 8
    assert of["SCHEM_MODE"].schemMode == 1
    assert of["DYN_UBUF_SIZE"].dynUBufSize == 1 << 20
    assert of["ENGINE_TYPE"].engineType == lib.ACL_RT_ENGINE_TYPE_AIV
    assert of["BLOCKDIM_OFFSET"].blockDimOffset == 7
    assert of["BLOCK_TASK_PREFETCH"].isBlockTaskPrefetch == 1
    assert of["DATA_DUMP"].isDataDump == 0
    assert (of["TIMEOUT_US"].timeoutUs.timeoutLow, of["TIMEOUT_US"].timeoutUs.timeoutHigh) == (5, 3)
    alone = pyacl.LaunchConfig(timeout=np.int64(9)).pointer  # type: ignore[arg-type]
    assert (alone.numAttrs, alone.attrs[0].id, alone.attrs[0].value.timeout) == (1, lib.ACL_RT_LAUNCH_KERNEL_ATTR_TIMEOUT, 9)
    with pytest.raises(TypeError, match="timeout"):
        pyacl.LaunchConfig(timeout=0.5)  # type: ignore[arg-type]


def test_an_isolated_kernel_changes_memory_once(libraries: Path) -> None:
    printed = python(f"""
with pyacl.Device(0), pyacl.Stream() as stream, pyacl.Binary.from_file({str(libraries / 'plain.so')!r}) as binary:
    out = pyacl.Tensor.zeros((2,), np.int32)
    binary.function("plain").launch_args(stream, 2, out)
    stream.synchronize()
    print(out.numpy().tolist())
""", PYACL_EMULATOR_KERNEL_ISOLATE="1")
    assert printed == "[1, 1]\n"


def test_a_callback_that_raises_is_told_of_and_does_no_harm(kernel: Any, stream: Any, capfd: Any) -> None:
    def wrong(error: Any) -> None:
        raise LookupError("in the callback")

    v = Vectors()
    kernel.binary.on_exception(wrong)
    kernel.launch_args(stream, 1, v.tensors[0], np.uint64(16), v.tensors[2], np.uint64(0), np.float32(1))
    with pytest.raises(pyacl.DeviceFaultError):
        stream.synchronize()
    told = capfd.readouterr().err
    assert "the exception callback of add_custom.so raised" in told
    assert "LookupError: in the callback" in told


def test_a_mix_kernel_runs_its_cube_part_and_its_vector_parts(tmp_path: Path, device: Any, stream: Any) -> None:
    """As docs/kernel-abi.md has it: slot 0 is the system's, and each block runs one cube part, then two vector parts."""
    source = """
    #include "pyacl_kernel.h"
    struct arguments { uint64_t sync; int32_t *cube, *vector; const int32_t *factor; };
    PYACL_KERNEL mixed_mix_aic(const struct arguments *a, const pyacl_block *b) {
        a->cube[b->index] = a->sync && b->system_size == 8 && b->parts == 1 ? *a->factor : -1;
    }
    PYACL_KERNEL mixed_mix_aiv(const struct arguments *a, const pyacl_block *b) {
        a->vector[b->index * b->parts + b->part] = a->cube[b->index] * (int)(b->part + 1);
    }
    """
    cube, vector = pyacl.Tensor.zeros((3,), np.int32), pyacl.Tensor.zeros((6,), np.int32)
    with pyacl.Binary.from_file(compile_kernels(tmp_path, "mixed", source)) as binary:
        kernel = binary.function("mixed")
        assert (kernel.core_type, kernel.ratio) == ("mix", (1, 2))
        kernel.launch_args(stream, 3, cube, vector, placeholder=np.array([7], np.int32))
        stream.synchronize()
    assert cube.numpy().tolist() == [7, 7, 7]
    assert vector.numpy().tolist() == [7, 14] * 3


# The C functions themselves

def test_more_than_128_arguments_and_a_placeholder_beyond_the_memory_in_c(plain: Any) -> None:
    handle, param, buffer = ffi.new("aclrtArgsHandle *"), ffi.new("aclrtParamHandle *"), ffi.new("void **")
    value = ffi.new("uint64_t *", 1)
    invalid = lib.ACL_ERROR_RT_PARAM_INVALID
    assert lib.aclrtKernelArgsInit(plain.handle, handle) == 0
    for _ in range(128):
        assert lib.aclrtKernelArgsAppend(handle[0], value, 1, param) == 0
    assert lib.aclrtKernelArgsAppend(handle[0], value, 1, param) == invalid
    assert lib.aclrtKernelArgsAppendPlaceHolder(handle[0], param) == invalid
    size = ffi.new("size_t *")
    assert lib.aclrtKernelArgsGetHandleMemSize(plain.handle, size) == 0
    own = ffi.new("uint64_t[]", size[0] // 8 + 1)
    memory = ffi.new("uint64_t[]", 4)
    assert lib.aclrtKernelArgsInitByUserMem(plain.handle, own, memory, 32) == 0
    assert lib.aclrtKernelArgsInitByUserMem(plain.handle, own, memory, 0) == lib.ACL_ERROR_INVALID_PARAM
    assert lib.aclrtKernelArgsInitByUserMem(plain.handle, own, ffi.NULL, 32) == lib.ACL_ERROR_INVALID_PARAM
    assert lib.aclrtKernelArgsInitByUserMem(plain.handle, ffi.NULL, memory, 32) == lib.ACL_ERROR_INVALID_PARAM
    assert lib.aclrtKernelArgsAppendPlaceHolder(own, param) == 0
    assert lib.aclrtKernelArgsGetPlaceHolderBuffer(own, param[0], 25, buffer) == invalid
    assert lib.aclrtKernelArgsGetPlaceHolderBuffer(own, param[0], 24, buffer) == 0
    assert ffi.cast("uint64_t *", buffer[0]) == memory + 1
    # Handles of other things.
    wrong = lib.ACL_ERROR_RT_INVALID_HANDLE
    assert lib.aclrtKernelArgsFinalize(plain.handle) == wrong
    assert lib.aclrtKernelArgsInit(plain.binary.handle, handle) == wrong
    assert lib.aclrtKernelArgsInit(own, handle) == wrong
    assert lib.aclrtKernelArgsParaUpdate(own, plain.handle, value, 8) == wrong
    assert lib.aclrtLaunchKernelWithConfig(plain.binary.handle, 1, ffi.NULL, ffi.NULL, own, ffi.NULL) == wrong


@pytest.mark.parametrize(("number", "value"), [
    (0, 0), (10, 0), (lib.ACL_RT_LAUNCH_KERNEL_ATTR_SCHEM_MODE, 2), (lib.ACL_RT_LAUNCH_KERNEL_ATTR_DATA_DUMP, 2),
    (lib.ACL_RT_LAUNCH_KERNEL_ATTR_BLOCK_TASK_PREFETCH, 2), (lib.ACL_RT_LAUNCH_KERNEL_ATTR_ENABLE_PROFILING, 2)])
def test_attributes_of_a_launch_in_c(plain: Any, stream: Any, number: int, value: int) -> None:
    out = pyacl.Tensor.zeros((4,), np.int32)
    block = ffi.new("uint64_t *", out.address)
    attribute = ffi.new("aclrtLaunchKernelAttr *")
    attribute.id, attribute.value.rsv[0] = number, value
    config = ffi.new("aclrtLaunchKernelCfg *", {"attrs": attribute, "numAttrs": 1})

    def launch() -> int:
        return int(lib.aclrtLaunchKernelWithHostArgs(plain.handle, 2, stream.handle, config, block, 8, ffi.NULL, 0))

    assert launch() == lib.ACL_ERROR_RT_PARAM_INVALID
    config.attrs = ffi.NULL
    assert launch() == lib.ACL_ERROR_RT_PARAM_INVALID
    config.attrs, config.numAttrs = attribute, 0
    assert launch() == 0
    stream.synchronize()
    assert out.numpy().tolist() == [1, 1, 0, 0]


def test_what_is_known_of_a_kernel_in_c(kernel: Any, plain: Any) -> None:
    invalid, wrong = lib.ACL_ERROR_INVALID_PARAM, lib.ACL_ERROR_RT_INVALID_HANDLE
    size, name, attribute = ffi.new("size_t *"), ffi.new("char[]", 16), ffi.new("int64_t *")
    assert lib.aclrtFunctionGetParamCount(kernel.handle, size) == 0
    assert size[0] == 5
    assert lib.aclrtFunctionGetParamCount(plain.handle, size) == lib.ACL_ERROR_RT_PARAM_INVALID
    assert lib.aclrtFunctionGetParamInfo(kernel.handle, 4, ffi.NULL, size) == 0
    assert size[0] == 4
    assert lib.aclrtFunctionGetParamInfo(kernel.handle, 4, ffi.NULL, ffi.NULL) == invalid
    assert lib.aclrtFunctionGetParamInfo(kernel.handle, 5, size, size) == lib.ACL_ERROR_RT_PARAM_INVALID
    assert lib.aclrtGetFunctionName(kernel.handle, 10, name) == lib.ACL_ERROR_RT_PARAM_INVALID  # no room for its end
    assert lib.aclrtGetFunctionName(kernel.handle, 11, name) == 0
    assert ffi.string(name) == b"add_custom"
    assert lib.aclrtGetFunctionAttribute(kernel.handle, 99, attribute) == lib.ACL_ERROR_RT_PARAM_INVALID
    assert lib.aclrtGetFunctionAttribute(kernel.binary.handle, lib.ACL_FUNC_ATTR_KERNEL_TYPE, attribute) == wrong
    binary = ffi.new("aclrtBinHandle *")
    assert lib.aclrtFunctionGetBinary(kernel.handle, binary) == 0
    assert binary[0] == kernel.binary.handle
    assert lib.aclrtBinaryGetGlobal(kernel.binary.handle, b"nothing", ffi.NULL, ffi.NULL) == invalid
    assert lib.aclrtBinaryGetGlobal(kernel.binary.handle, b"nothing", ffi.NULL, size) == lib.ACL_ERROR_RT_SYMBOL_NOT_FOUND
    assert lib.aclrtBinarySetExceptionCallback(kernel.binary.handle, ffi.NULL, ffi.NULL) == invalid
    assert lib.aclrtBinaryUnLoad(kernel.handle) == wrong


def test_binaries_of_memory_in_c(libraries: Path, device: Any) -> None:
    """The older way: a description of the memory first, which stays the user's."""
    data = (libraries / "plain.so").read_bytes()
    kept = ffi.from_buffer(data)
    source = lib.aclrtCreateBinary(kept, len(data))
    assert source != ffi.NULL
    binary, function = ffi.new("aclrtBinHandle *"), ffi.new("aclrtFuncHandle *")
    assert lib.aclrtBinaryLoad(source, ffi.NULL) == lib.ACL_ERROR_INVALID_PARAM
    assert lib.aclrtBinaryLoad(source, binary) == 0
    assert lib.aclrtDestroyBinary(source) == 0
    assert lib.aclrtDestroyBinary(source) == lib.ACL_ERROR_RT_PARAM_INVALID
    assert lib.aclrtBinaryLoad(source, binary) == lib.ACL_ERROR_RT_PARAM_INVALID
    assert lib.aclrtBinaryGetFunction(binary[0], b"plain", function) == 0
    assert lib.aclrtBinaryUnLoad(binary[0]) == 0
    assert lib.aclrtCreateBinary(ffi.NULL, 8) == ffi.NULL
    empty = lib.aclrtCreateBinary(kept, 0)
    assert lib.aclrtBinaryLoad(empty, binary) == lib.ACL_ERROR_RT_PARAM_INVALID
    lib.aclrtDestroyBinary(empty)
