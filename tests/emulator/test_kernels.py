"""The emulator's kernels: real AI Core objects, damaged ones, Python functions, the command line."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import pytest
from kernels import Vectors
from wheels import unpacked

import pyacl
from pyacl import emulator
from pyacl.capi import ffi, lib
from pyacl.cli import main
from pyacl.emulator.kernels import objects
from pyacl.emulator.kernels.elf import Code, write

REAL = "vllm_ascend==0.18.0", "vllm_ascend/"


@pytest.fixture(scope="module")
def real() -> list[Path]:
    found = sorted(unpacked(*REAL).rglob("*.o"))
    if not found:
        pytest.skip("the wheel has no AI Core objects")
    return found


def test_real_ai_core_objects_list_their_kernels(real: list[Path]) -> None:
    assert len(real) == 44
    for path in real:
        found = objects.read_file(str(path))
        assert found.kernels, path
        description = json.loads(path.with_suffix(".json").read_text())
        for kernel in found.kernels.values():
            assert kernel.name.startswith(description["kernelName"]), path
            assert sum(kernel.size) > 0


def test_a_kernel_of_a_real_object_runs_as_a_python_function(real: list[Path], device: Any, stream: Any) -> None:
    name = next(iter(objects.read_file(str(real[0])).kernels))
    seen: list[tuple[int, int, str]] = []

    @emulator.kernel(name)
    def stand_in(block_of_arguments: Any, block: Any) -> None:
        seen.append((block.index, block.count, block.name))

    try:
        with pyacl.Binary.from_file(real[0]) as binary:
            kernel = binary.function(name)
            kernel.launch_host(bytes(256), 3, stream)
            stream.synchronize()
            assert seen == [(i, 3, name) for i in range(3)]
            with pytest.raises(pyacl.AclError, match="no kernel"):
                binary.function("add_custom")
    finally:
        emulator.unregister_kernel(name)


def test_an_object_whose_kernel_is_not_registered_explains_what_to_do(tmp_path: Path, device: Any, stream: Any) -> None:
    path = tmp_path / "gelu.o"
    path.write_bytes(emulator.kernel_object("gelu_custom"))
    with pyacl.Binary.from_file(path) as binary:
        binary.function("gelu_custom").launch_args(stream, 1, np.uint32(1))
        with pytest.raises(pyacl.DeviceFaultError, match=r"@pyacl.emulator.kernel\('gelu_custom'") as caught:
            stream.synchronize()
        assert caught.value.code == lib.ACL_ERROR_RT_AICORE_EXCEPTION


def test_damaged_files_are_refused_not_crashed_on(device: Any, tmp_path: Path) -> None:
    good = write([Code("add_custom_1"), Code("mul_custom_0_mix_aic"), Code("mul_custom_0_mix_aiv")])
    rng = random.Random(1)
    path = tmp_path / "damaged.o"
    read = refused = 0
    for _ in range(1000):
        data = bytearray(good)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)):]
        try:
            objects.read(bytes(data))
            read += 1
        except objects.ObjectError:
            refused += 1
    assert read
    assert refused
    path.write_bytes(good[:60])
    with pytest.raises((pyacl.AclError, ValueError)):
        pyacl.Binary.from_file(path)


def test_mix_kernels_are_found_without_their_parts(tmp_path: Path, device: Any) -> None:
    path = tmp_path / "mix.o"
    path.write_bytes(emulator.kernel_object("mul_custom_0_mix_aic", "mul_custom_0_mix_aiv", "plain_7"))
    with pyacl.Binary.from_file(path) as binary:
        assert binary.function("mul_custom_0").core_type == "mix"
        assert binary.function_by_entry(7).name == "plain_7"
        with pytest.raises(pyacl.AclError, match="without _mix_aic"):
            binary.function("mul_custom_0_mix_aic")


@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("blocks", [1, 5, 64])
def test_python_kernels_get_typed_arguments(tmp_path: Path, device: Any, stream: Any, vectorized: bool, blocks: int) -> None:
    point = np.dtype([("a", np.int16), ("b", np.float64)])

    @emulator.kernel("typed", args=["float16*", point, ("placeholder", "int32"), "uint8*", "int32*"], vectorized=vectorized)
    def typed(x: Any, p: Any, table: Any, null: Any, out: Any, block: Any) -> None:
        assert x.dtype == np.float16
        assert null is None
        assert block.count == blocks
        out[block.index] = int(x[0]) + p["a"] + int(p["b"]) + table[1] + block.index

    path = tmp_path / "typed.o"
    path.write_bytes(emulator.kernel_object("typed"))
    try:
        with pyacl.Binary.from_file(path) as binary:
            x, out = pyacl.Tensor.from_numpy(np.full(4, 2, np.float16)), pyacl.Tensor.zeros((64,), np.int32)
            kernel = binary.function("typed").signature("pointer", point, "placeholder", "pointer", "pointer")
            kernel.launch_args(stream, blocks, x, np.array((3, 4.5), point)[()], None, out, placeholder=np.array([1, 5], np.int32))
            stream.synchronize()
            expected = np.zeros(64, np.int32)
            expected[:blocks] = 2 + 3 + 4 + 5 + np.arange(blocks)
            assert (out.numpy() == expected).all()
    finally:
        emulator.unregister_kernel("typed")


def test_an_exception_in_a_python_kernel_surfaces_at_the_synchronise(tmp_path: Path, device: Any, stream: Any, capfd: Any) -> None:
    @emulator.kernel("broken", args=["int32*"])
    def broken(x: Any, block: Any) -> None:
        raise ZeroDivisionError("by design")

    path = tmp_path / "broken.o"
    path.write_bytes(emulator.kernel_object("broken"))
    with pyacl.Binary.from_file(path) as binary:
        binary.function("broken").launch_args(stream, 1, pyacl.Tensor.zeros((1,), np.int32))
        with pytest.raises(pyacl.DeviceFaultError, match="by design"):
            stream.synchronize()
    emulator.unregister_kernel("broken")
    assert "Traceback" in capfd.readouterr().err


@pytest.fixture
def registered(device: Any) -> Iterator[Callable[..., pyacl.Kernel]]:
    """Registers a Python function with its argument types, and gives the kernel of an object with that name."""
    binary = pyacl.Binary.from_bytes(emulator.kernel_object("under_test"))

    def register(function: Any, args: Any) -> pyacl.Kernel:
        emulator.kernel("under_test", args=args)(function)
        return binary.function("under_test")

    yield register
    emulator.unregister_kernel("under_test")
    binary.close()


@pytest.mark.parametrize("vectorized", [False, True])
def test_a_python_kernel_through_all_four_launch_calls(device: Any, stream: Any, vectorized: bool) -> None:
    @emulator.kernel("add_custom", args=["float32*", "float32*", "float32*", ("placeholder", "uint32"), "float32"],
                     vectorized=vectorized)
    def add_custom(x: Any, y: Any, z: Any, tiling: Any, scale: Any, block: Any) -> None:
        share = -(-int(tiling[0]) // block.count)
        for index in np.atleast_1d(block.index):
            part = slice(index * share, min((index + 1) * share, int(tiling[0])))
            z[part] = scale * (x[part] + y[part])

    v = Vectors()
    try:
        with pyacl.Binary.from_bytes(emulator.kernel_object("add_custom")) as binary:
            for blocks in range(1, 65):
                v.launch_all(binary.function("add_custom"), stream, blocks, scale=blocks / 4)
    finally:
        emulator.unregister_kernel("add_custom")


def test_placeholders_are_as_long_as_they_were_appended(registered: Any, stream: Any) -> None:
    seen: list[Any] = []
    kernel = registered(lambda a, b, c, block: seen.append((a.tolist(), b.tolist(), c.tolist())),
                        [("placeholder", "uint8"), ("placeholder", "uint16"), "placeholder"])
    kernel.launch_args(stream, 1, placeholder=[b"\1\2\3", np.array([7], np.uint16), b"\4" * 9])
    stream.synchronize()
    assert seen == [([1, 2, 3], [7], [4] * 9)]


@pytest.mark.parametrize(("values", "placeholder", "message"), [
    ([None], None, "takes 2 arguments, but 1 were appended"),
    ([None, np.uint32(1), np.uint32(2)], None, "takes 2 arguments, but 3 were appended"),
    ([None, np.float64(1)], None, "argument 1 is uint32 of 4 bytes for the kernel, but 8 bytes were"),
    ([np.uint32(1), np.uint32(1)], None, "argument 0 is a pointer to float32 for the kernel, but 4 bytes were"),
    ([None], b"1234", "argument 1 is uint32 of 4 bytes for the kernel, but a placeholder was")])
def test_arguments_that_the_kernel_does_not_take_are_a_fault(
        registered: Any, stream: Any, values: list[Any], placeholder: Any, message: str) -> None:
    kernel = registered(lambda x, n, block: None, ["float32*", "uint32"])
    kernel.launch_args(stream, 1, *values, placeholder=placeholder)
    with pytest.raises(pyacl.DeviceFaultError, match=message):
        stream.synchronize()


def test_leaving_the_program_inside_a_kernel_is_a_fault(registered: Any, stream: Any, capfd: Any) -> None:
    def leave(block: Any) -> None:
        sys.exit("enough")

    kernel = registered(leave, [])
    kernel.launch_host(bytes(8), 1, stream)
    with pytest.raises(pyacl.DeviceFaultError, match="SystemExit: enough") as caught:
        stream.synchronize()
    assert caught.value.code == lib.ACL_ERROR_RT_AICORE_EXCEPTION
    stream.synchronize()


def test_what_is_no_kernel_cannot_be_registered() -> None:
    async def later(block: Any) -> None: ...

    def some(block: Any) -> Any:
        yield 1

    for wrong in (5, later, some):
        with pytest.raises(TypeError, match="runs when it is called"):
            emulator.kernel("wrong")(wrong)
    with pytest.raises(TypeError, match="a list of types"):
        emulator.kernel("wrong", args="float32*")
    for unknown in ("float33*", "object", "str", "", None, ("placeholder", "float33")):
        with pytest.raises(ValueError, match="is no type of a kernel's argument"):
            emulator.kernel("wrong", args=[unknown])
    with pytest.raises(ValueError, match="needs a name"):
        emulator.kernel(later)


def test_only_a_kernels_fault_has_a_kernel(registered: Any, stream: Any) -> None:
    """Callbacks for all faults hear of kernels and of operators; what they may ask about each is its own."""
    told: list[int] = []
    function, size, address = ffi.new("aclrtFuncHandle *"), ffi.new("uint32_t *"), ffi.new("void **")

    @ffi.callback("void(aclrtExceptionInfo *)")
    def called(info: Any) -> None:
        told.append(lib.aclrtGetFuncHandleFromExceptionInfo(info, function))
        told.append(lib.aclrtGetArgsFromExceptionInfo(info, address, size))

    x, gone = pyacl.Tensor.zeros((4,)), pyacl.Tensor.zeros((4,))
    negate = pyacl.Executor("aclnnNeg", gone, x)
    kernel = registered(lambda x, block: x.nothing, ["float32*"])
    assert lib.aclrtSetExceptionInfoCallback(called) == 0
    try:
        kernel.launch_args(stream, 1, x)
        with pytest.raises(pyacl.DeviceFaultError):
            stream.synchronize()
        assert told == [0, 0]
        assert function[0] == kernel.handle
        assert lib.aclrtFree(gone.buffer.handle) == 0  # behind pyacl's back
        negate.launch(stream)
        with pytest.raises(pyacl.DeviceFaultError):
            stream.synchronize()
        assert told[2:] == [lib.ACL_ERROR_RT_PARAM_INVALID] * 2
    finally:
        lib.aclrtSetExceptionInfoCallback(ffi.NULL)
        gone.buffer._let_go()


def test_an_argument_block_of_another_device_is_a_fault() -> None:
    code = """
import pyacl
with pyacl.Device(0) as first:
    binary = pyacl.Binary.from_bytes(pyacl.emulator.kernel_object("any"))
    pyacl.emulator.kernel("any")(lambda block_of_arguments, block: print("ran", len(block_of_arguments)))
    kernel, stream = binary.function("any"), pyacl.Stream()
    with pyacl.Device(1):
        there = pyacl.DeviceBuffer(64)
        first.set_current()
        kernel.launch_device(pyacl.DeviceBuffer(64), 1, stream)
        stream.synchronize()
        kernel.launch_device(there, 1, stream)
        try: stream.synchronize()
        except pyacl.DeviceFaultError as error: print("is memory of device 1, which device 0 may not access" in str(error))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True,
                          env={**os.environ, "PYACL_EMULATOR_DEVICES": "2"})
    assert done.stdout.splitlines() == ["ran 64", "True"], done.stderr


def test_inspect_lists_kernels_on_any_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "two.o"
    path.write_bytes(emulator.kernel_object("add_custom_1", "mul_custom_0_mix_aic", "mul_custom_0_mix_aiv"))
    assert main(["kernel", "inspect", str(path)]) == 0
    assert "2 kernels" in capsys.readouterr().out
    assert main(["kernel", "inspect", "--json", str(path)]) == 0
    assert [k["name"] for k in json.loads(capsys.readouterr().out)["kernels"]] == ["add_custom_1", "mul_custom_0"]
    path.write_bytes(b"nothing")
    assert main(["kernel", "inspect", str(path)]) == 2
    assert str(path) in capsys.readouterr().err


def test_bench_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, script = tmp_path / "scale.o", tmp_path / "scale.py"
    path.write_bytes(emulator.kernel_object("scale"))
    script.write_text("import pyacl\n@pyacl.emulator.kernel('scale', args=['float32*', 'float32'])\n"
                      "def scale(x, factor, block):\n    x *= factor\n")
    results = tmp_path / "results.json"
    assert main(["bench", "kernel", str(path), "scale", "--args", "float32[16x4]", "float32=0.5", "--blocks", "1", "4",
                 "--iters", "20", "--register", str(script), "--json", str(results), "--quiet"]) == 0
    names = [r["name"] for r in json.loads(results.read_text())["results"]]
    assert [n.split("blocks ")[1] for n in names] == ["prepared", "updated", "built anew"] * 2
    emulator.unregister_kernel("scale")
    for bad in ("float32[", "int32=x", "text"):
        assert main(["bench", "kernel", str(path), "scale", "--args", bad]) == 2
        assert bad in capsys.readouterr().err
