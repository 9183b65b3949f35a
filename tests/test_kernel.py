"""Custom kernels through the classes: a vector add compiled for this machine, every launch call, arguments, misuse.

These run on the emulator, in-process or exported; a real NPU would need the kernel compiled for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import weakref
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest
from helpers import alive, python
from kernels import ADD_CUSTOM, Vectors, compile_kernels, only_emulated

import pyacl
from pyacl.capi import ffi, lib

pytestmark = only_emulated

MORE = """
#include "pyacl_kernel.h"
struct all { uint8_t *out; uint8_t a; };
/* Each block writes its number; nothing is declared about the arguments. */
PYACL_KERNEL numbers(const struct { int32_t *out; } *args, const pyacl_block *block) { args->out[block->index] = (int32_t)(block->index * 1000 + block->count); }
/* 128 arguments added up. */
PYACL_KERNEL sum(const struct { int64_t *out; int64_t values[127]; } *args, const pyacl_block *block) {
    int64_t total = 0;
    for (int i = 0; i < 127; i++) total += args->values[i];
    if (block->index == 0) args->out[0] = total;
}
PYACL_KERNEL crash(const void *args, const pyacl_block *block) { *(volatile int *)8 = 1; }
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_kernels(tmp_path_factory.mktemp("kernels"), "add_custom", ADD_CUSTOM)


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_kernels(tmp_path_factory.mktemp("kernels"), "more", MORE)


@pytest.fixture
def kernel(library: Path, device: Any) -> Iterator[pyacl.Kernel]:
    with pyacl.Binary.from_file(library) as binary:
        yield binary.function("add_custom")


@pytest.mark.parametrize("blocks", [1, 7, 64])
@pytest.mark.parametrize("memory", ["user", "runtime"])
def test_launch_with_both_kinds_of_memory(kernel: Any, stream: Any, blocks: int, memory: str) -> None:
    v = Vectors()
    args, index = v.args(kernel, memory=memory)
    kernel.launch(args, blocks, stream)
    stream.synchronize()
    assert (v.out == v.expected(1)).all()
    args.update(index, np.float32(0.25))
    args.finalize()
    kernel.launch(args, blocks, stream, pyacl.LaunchConfig(schem_mode="batch", timeout=30))
    stream.synchronize()
    assert (v.out == v.expected(0.25)).all()


def test_all_four_launch_calls_for_every_number_of_blocks(kernel: Any, stream: Any) -> None:
    v = Vectors()
    for blocks in range(1, 65):
        v.launch_all(kernel, stream, blocks, scale=blocks / 4)


@pytest.mark.parametrize(("compiler", "options"), [("gcc", ["-std=c99", "-pedantic"]), ("g++", ["-x", "c++"])])
def test_the_header_compiles_without_a_warning(tmp_path: Path, device: Any, compiler: str, options: list[str]) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"needs {compiler}")
    source, library = tmp_path / "add_custom.c", tmp_path / "add_custom.so"
    source.write_text(ADD_CUSTOM)
    subprocess.run([compiler, *options, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror",
                    f"-I{Path(pyacl.__file__).parent}/emulator/kernels", source, "-o", library], check=True)
    with pyacl.Binary.from_file(library) as binary:
        assert [size for _, size in binary.function("add_custom").params or ()] == [8, 8, 8, 8, 4]


def test_a_declared_signature_makes_it_one_call(kernel: Any, stream: Any) -> None:
    v = Vectors()
    kernel.signature("pointer", pyacl.Tensor, "pointer", "placeholder", np.float32)
    kernel.launch_args(stream, 8, *v.tensors, 2.0, placeholder=np.array([v.n], np.uint32))
    stream.synchronize()
    assert (v.out == v.expected(2)).all()
    with pytest.raises(TypeError, match="takes 4 arguments and 1 placeholders"):
        kernel.launch_args(stream, 8, *v.tensors, 2.0)
    with pytest.raises(TypeError, match="argument 4 is float32, not float64"):
        kernel.launch_args(stream, 8, *v.tensors, np.float64(2), placeholder=np.array([v.n], np.uint32))
    with pytest.raises(TypeError, match="argument 0 is a pointer"):
        kernel.launch_args(stream, 8, np.uint64(3), *v.tensors[1:], 2.0, placeholder=np.array([v.n], np.uint32))
    with pytest.raises(ValueError, match="takes 5 arguments, not 4"):
        kernel.signature("pointer", "pointer", "pointer", np.float32)
    with pytest.raises(ValueError, match="argument 4"):
        kernel.signature("pointer", "pointer", "pointer", "placeholder", np.float64)
    with pytest.raises(TypeError, match="is no argument type"):
        kernel.signature("pointer", "nothing")


def test_placeholder_buffers_are_writable_views(kernel: Any, stream: Any) -> None:
    v = Vectors()
    args = pyacl.ArgsHandle(kernel)
    for tensor in v.tensors:
        args.append(tensor)
    tiling = args.append_placeholder(4)
    args.append(np.float32(1))
    np.frombuffer(args.placeholder_buffer(tiling), np.uint32)[:] = v.n
    assert bytes(args.placeholder_buffer(tiling)) == np.uint32(v.n).tobytes()
    args.finalize()
    kernel.launch(args, 3, stream)
    stream.synchronize()
    assert (v.out == v.expected(1)).all()


def test_closing_a_tensor_closes_the_arguments_that_have_it_now(kernel: Any) -> None:
    v, (first, second) = Vectors(), (pyacl.Tensor.zeros((4,)) for _ in range(2))
    pyacl.DeviceBuffer(64).close()
    args = pyacl.ArgsHandle(kernel)
    args.append(first)
    first.close()
    assert args.closed
    args, _ = v.args(kernel)
    pyacl.DeviceBuffer(64).close()
    args.update(0, second)
    v.tensors[0].close()
    assert not args.closed
    second.close()
    assert args.closed


def test_every_wrong_order_says_the_right_one(kernel: Any, stream: Any) -> None:
    v = Vectors()
    order = "append all arguments, fill the placeholders, finalize, launch"
    args = pyacl.ArgsHandle(kernel)
    for tensor in v.tensors:
        args.append(tensor)
    with pytest.raises(RuntimeError, match=order):
        kernel.launch(args, 1, stream)
    tiling = args.append_placeholder(4)
    with pytest.raises(ValueError, match="no placeholder"):
        args.placeholder_buffer(0)
    args.placeholder_buffer(tiling)[:] = np.uint32(v.n).tobytes()
    with pytest.raises(RuntimeError, match=order):
        args.append(np.float32(1))
    args, index = v.args(kernel)
    with pytest.raises(RuntimeError, match=order):
        args.append(np.float32(1))
    late = pyacl.ArgsHandle(kernel)
    for tensor in v.tensors:
        late.append(tensor)
    late.append_placeholder(4)
    late.append(np.float32(1))
    with pytest.raises(RuntimeError, match="placeholder 3 was filled"):
        late.finalize()
    with pytest.raises((ValueError, TypeError)):
        args.update(index, np.float64(1))
    args.update(index, np.float32(2))
    with pytest.raises(RuntimeError, match="finalize"):
        kernel.launch(args, 1, stream)
    args.finalize()
    kernel.launch(args, 1, stream)
    stream.synchronize()
    assert (v.out == v.expected(2)).all()
    with pytest.raises(IndexError):
        args.update(9, np.float32(1))


@pytest.mark.parametrize(("value", "message"), [
    (1.5, "np.uint32"), (np.zeros(3), "host memory"), ("text", "cannot be a kernel's argument")])
def test_values_without_a_size_in_c_are_refused(kernel: Any, value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        pyacl.ArgsHandle(kernel).append(value)


def test_at_most_128_arguments(more: Path, device: Any, stream: Any) -> None:
    with pyacl.Binary.from_file(more) as binary:
        kernel = binary.function("sum")
        out = pyacl.Tensor.zeros((1,), np.int64)
        args = pyacl.ArgsHandle(kernel)
        args.append(out)
        for i in range(127):
            args.append(np.int64(i))
        with pytest.raises(ValueError, match="at most 128"):
            args.append(np.int64(0))
        with pytest.raises(ValueError, match="at most 128"):
            args.append_placeholder(8)
        args.finalize()
        kernel.launch(args, 2, stream)
        stream.synchronize()
        assert out.numpy()[0] == sum(range(127))


def test_a_placeholder_bigger_than_the_memory_given(kernel: Any) -> None:
    v = Vectors()
    args = pyacl.ArgsHandle(kernel, nbytes=64)
    for tensor in v.tensors:
        args.append(tensor)
    with pytest.raises(ValueError, match="room for 64 bytes"):
        args.append_placeholder(100)


def test_the_runtimes_own_list_is_one_for_each_thread(kernel: Any, stream: Any) -> None:
    v = Vectors()
    first, _ = v.args(kernel, memory="runtime")
    second, _ = v.args(kernel, 5, memory="runtime")
    with pytest.raises(RuntimeError, match="memory='user'"):
        kernel.launch(first, 1, stream)
    kernel.launch(second, 1, stream)
    stream.synchronize()
    assert (v.out == v.expected(5)).all()


def test_unknown_names_and_broken_files(library: Path, tmp_path: Path, device: Any) -> None:
    with pyacl.Binary.from_file(library) as binary:
        with pytest.raises(pyacl.AclError, match="add_custom"):
            binary.function("add_costum")
        assert repr(binary.function("add_custom"))
    with pytest.raises(OSError):
        pyacl.Binary.from_file(tmp_path / "nothing.o")
    data = library.read_bytes()
    for broken in (b"", b"text", data[:100], data[:4000], b"\x7fELF" + bytes(200)):
        path = tmp_path / "broken.o"
        path.write_bytes(broken)
        with pytest.raises((pyacl.AclError, ValueError)):
            pyacl.Binary.from_file(path)


def test_from_memory_and_by_entry(library: Path, device: Any, stream: Any) -> None:
    v = Vectors()
    with pyacl.Binary.from_bytes(library.read_bytes()) as binary:
        for kernel in (binary.function("add_custom"), binary.function_by_entry(0)):
            args, _ = v.args(kernel, 2)
            kernel.launch(args, 3, stream)
            stream.synchronize()
            assert (v.out == v.expected(2)).all()
            pyacl.memset(v.tensors[2].buffer, 0)
        assert kernel.params is not None
        assert [size for _, size in kernel.params] == [8, 8, 8, 8, 4]
        assert kernel.core_type == "aicore"
        assert sum(kernel.size) > 0


def test_everything_stays_alive_until_it_has_run(library: Path, device: Any, stream: Any) -> None:
    v = Vectors()
    binary = pyacl.Binary.from_file(library)
    kernel = binary.function("add_custom")
    args, _ = v.args(kernel, 2)
    kernel.launch(args, 8, stream)
    watched = weakref.ref(args)
    out, expected = v.tensors[2], v.expected(2)
    del args
    assert alive(watched)
    binary.close()  # waits for what is queued
    stream.synchronize()
    assert (out.numpy() == expected).all()
    with pytest.raises(pyacl.ClosedError):
        kernel.launch_args(stream, 1, *v.tensors, np.float32(1), placeholder=b"1234")
    assert not alive(watched)


def test_launches_are_asynchronous(kernel: Any, stream: Any) -> None:
    if os.environ.get("PYACL_EMULATOR_SCHEDULE", "deferred") != "deferred":
        pytest.skip("the deferred schedule shows it for certain")
    v = Vectors()
    args, _ = v.args(kernel)
    kernel.launch(args, 8, stream)
    assert not v.out.any()
    stream.synchronize()
    assert (v.out == v.expected(1)).all()


def test_a_bad_address_is_a_fault_and_tells_the_callback(kernel: Any, stream: Any) -> None:
    v = Vectors()
    told: list[Any] = []
    kernel.binary.on_exception(told.append)
    args = pyacl.ArgsHandle(kernel)
    args.append(v.tensors[0])
    args.append(np.uint64(0xDEAD0000))
    args.append(v.tensors[2])
    tiling = args.append_placeholder(4)
    args.append(np.float32(1))
    args.placeholder_buffer(tiling)[:] = np.uint32(v.n).tobytes()
    args.finalize()
    kernel.launch(args, 1, stream)
    with pytest.raises(pyacl.DeviceFaultError) as caught:
        stream.synchronize()
    assert caught.value.code == lib.ACL_ERROR_RT_AICORE_EXCEPTION
    assert [e.kernel for e in told] == ["add_custom"]
    assert told[0].code == caught.value.code
    good, _ = v.args(kernel)
    kernel.launch(good, 1, stream)  # the stream goes on
    stream.synchronize()
    assert (v.out == v.expected(1)).all()


def test_a_crash_in_isolation_is_a_fault(more: Path) -> None:
    printed = python(f"""
with pyacl.Device(0), pyacl.Stream() as stream, pyacl.Binary.from_file({str(more)!r}) as binary:
    kernel = binary.function("crash")
    kernel.launch_args(stream, 1, np.int64(0))
    try: stream.synchronize()
    except pyacl.DeviceFaultError as e: print(e.code, "SIGSEGV" in str(e) or "SIGSEGV" in (e.text or ""))
    out = pyacl.Tensor.zeros((4,), np.int32)
    binary.function("numbers").launch_args(stream, 4, out)
    stream.synchronize()
    print(out.numpy().tolist())
""", PYACL_EMULATOR_KERNEL_ISOLATE="1")
    assert printed.splitlines() == ["507015 True", "[4, 1004, 2004, 3004]"]


@pytest.mark.parametrize(("options", "message"), [
    ({"timeout": 1, "timeout_us": 2}, "exclude"), ({"timeout": 70000}, "65535"), ({"schem_mode": "fast"}, "schem_mode"),
    ({"dyn_ubuf_size": -1}, "dyn_ubuf_size")])
def test_launch_configs_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pyacl.LaunchConfig(**options)


def test_zero_blocks_and_foreign_arguments(kernel: Any, more: Path, stream: Any) -> None:
    v = Vectors()
    args, _ = v.args(kernel)
    with pytest.raises(ValueError):
        kernel.launch(args, 0, stream)
    with pyacl.Binary.from_file(more) as other:
        with pytest.raises(ValueError, match="not of"):
            other.function("numbers").launch(args, 1, stream)
        with pytest.raises(TypeError, match="ArgsHandle"):
            kernel.launch([1, 2], 1, stream)


# ---- the C functions themselves

def test_states_of_an_argument_list_in_c(kernel: Any) -> None:
    unsupported, invalid = lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT, lib.ACL_ERROR_RT_PARAM_INVALID
    handle, param = ffi.new("aclrtArgsHandle *"), ffi.new("aclrtParamHandle *")
    address = ffi.new("uint64_t *", 0)
    assert lib.aclrtKernelArgsInit(kernel.handle, ffi.NULL) == lib.ACL_ERROR_INVALID_PARAM
    assert lib.aclrtKernelArgsInit(kernel.handle, handle) == 0
    assert lib.aclrtKernelArgsAppend(handle[0], ffi.NULL, 8, param) == lib.ACL_ERROR_INVALID_PARAM
    assert lib.aclrtKernelArgsAppend(handle[0], address, 0, param) == lib.ACL_ERROR_INVALID_PARAM
    for _ in range(3):
        assert lib.aclrtKernelArgsAppend(handle[0], address, 8, param) == 0
    plain = param[0]
    assert lib.aclrtKernelArgsAppendPlaceHolder(handle[0], param) == 0
    buffer = ffi.new("void **")
    assert lib.aclrtKernelArgsGetPlaceHolderBuffer(handle[0], plain, 4, buffer) == invalid
    assert lib.aclrtKernelArgsGetPlaceHolderBuffer(handle[0], param[0], 4, buffer) == 0
    assert lib.aclrtKernelArgsAppend(handle[0], address, 8, param) == unsupported
    assert lib.aclrtLaunchKernelWithConfig(kernel.handle, 1, ffi.NULL, ffi.NULL, handle[0], ffi.NULL) == invalid
    assert lib.aclrtKernelArgsFinalize(handle[0]) == 0
    assert lib.aclrtKernelArgsAppend(handle[0], address, 8, param) == unsupported
    assert lib.aclrtKernelArgsParaUpdate(handle[0], plain, address, 4) == invalid
    assert lib.aclrtKernelArgsParaUpdate(handle[0], plain, address, 8) == 0
    assert lib.aclrtLaunchKernelWithConfig(kernel.handle, 1, ffi.NULL, ffi.NULL, handle[0], ffi.NULL) == invalid
    assert lib.aclrtKernelArgsFinalize(handle[0]) == 0
    assert lib.aclrtLaunchKernelWithConfig(kernel.handle, 0, ffi.NULL, ffi.NULL, handle[0], ffi.NULL) == lib.ACL_ERROR_INVALID_PARAM


def test_sizes_and_names_in_c(kernel: Any) -> None:
    size, name = ffi.new("size_t *"), ffi.new("char[]", 64)
    assert lib.aclrtKernelArgsGetHandleMemSize(kernel.handle, size) == 0
    assert size[0] > 0
    assert lib.aclrtKernelArgsGetMemSize(kernel.handle, 40, size) == 0
    assert size[0] == 40 + 8 * 8 + 8 * 5  # the data, eight system slots, a slot for each parameter
    assert lib.aclrtGetFunctionName(kernel.handle, 64, name) == 0
    assert ffi.string(name) == b"add_custom"
    out = ffi.new("aclrtFuncHandle *")
    assert lib.aclrtBinaryGetFunction(kernel.binary.handle, b"nothing", out) != 0
    assert b"nothing" in ffi.string(lib.aclGetRecentErrMsg())
