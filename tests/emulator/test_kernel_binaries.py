"""Kernel binaries as the runtime sees them: AI CPU kernels, options, JSON files that disagree, notes of AI Core objects,
binaries that go too early, and what no machine can load."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import python
from wheels import unpacked

import pyacl
from pyacl import emulator
from pyacl.capi import ffi, lib
from pyacl.emulator.kernels import elf, objects
from pyacl.emulator.kernels.elf import Code, write

needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc to compile a kernel")

CPU = """
#include <stdint.h>
/* AI CPU kernels get their arguments packed: an address, a byte, a word. */
uint32_t fill(void *args) {
    char *at = args;
    int32_t *out = *(int32_t **)at;
    out[0] = *(uint8_t *)(at + 8);
    out[1] = *(int32_t *)(at + 9);
    return 0;
}
uint32_t fail(void *args) { return 7; }
"""


def compiled(folder: Path, name: str, text: str) -> Path:
    source, library = folder / f"{name}.c", folder / f"{name}.so"
    source.write_text(text)
    include = Path(objects.__file__).parent
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-w", f"-I{include}", source, "-o", library], check=True)
    return library


def description(function: str) -> dict[str, Any]:
    return {"opInfo": {"functionName": function, "kernelSo": "libcpu.so", "opKernelLib": "AICPUKernel"}}


# AI CPU

@needs_gcc
@pytest.mark.parametrize("from_memory", [False, True])
def test_ai_cpu_kernels(tmp_path: Path, device: Any, stream: Any, from_memory: bool) -> None:
    library = compiled(tmp_path, "cpu", CPU)
    library.with_suffix(".json").write_text(json.dumps({"Fill": description("fill"), "Fail": description("fail")}))
    if from_memory:
        binary = pyacl.Binary.from_bytes(library.read_bytes(), cpu_kernel_mode=2)
    else:
        binary = pyacl.Binary.from_file(library.with_suffix(".json"), cpu_kernel_mode=1)
    out = pyacl.Tensor.zeros((2,), np.int32)
    with binary:
        if from_memory:
            fill, fail = binary.register_cpu_func("fill", "Fill"), binary.register_cpu_func("fail", "Fail")
            with pytest.raises(ValueError, match="nothing"):
                binary.register_cpu_func("nothing", "Nothing")
        else:
            fill, fail = binary.function("Fill"), binary.function("Fail")
        assert fill.core_type == "aicpu"
        assert fill.params is None
        fill.launch_args(stream, 1, out, np.uint8(200), np.int32(-5))
        stream.synchronize()
        assert out.numpy().tolist() == [200, -5]
        fail.launch_args(stream, 1, np.int64(0))
        with pytest.raises(pyacl.DeviceFaultError, match="returned 7") as caught:
            stream.synchronize()
        assert caught.value.code == lib.ACL_ERROR_RT_AICPU_EXCEPTION
        with pytest.raises(ValueError, match="by name"):
            binary.function_by_entry(0)


def test_built_in_ai_cpu_kernels_are_python_functions(tmp_path: Path, device: Any, stream: Any) -> None:
    path = tmp_path / "aicpu.json"
    path.write_text(json.dumps({"CastCpu": description("RunCast")}))
    out = pyacl.Tensor.zeros((3,), np.float32)

    @emulator.kernel("RunCast", args=["float32*", "uint8", "float32"])
    def run_cast(target: Any, count: Any, value: Any, block: Any) -> None:
        target[:count] = value

    try:
        with pyacl.Binary.from_file(path, cpu_kernel_mode=0) as binary:
            binary.function("CastCpu").launch_args(stream, 1, out, np.uint8(2), np.float32(1.5))
            stream.synchronize()
            assert out.numpy().tolist() == [1.5, 1.5, 0]
            with pytest.raises(ValueError, match="no kernel 'Other'"):
                binary.function("Other")
    finally:
        emulator.unregister_kernel("RunCast")


def test_cpu_functions_are_for_ai_cpu_binaries(device: Any) -> None:
    with pyacl.Binary.from_bytes(emulator.kernel_object("add_custom")) as binary, \
            pytest.raises(pyacl.AclError) as caught:
        binary.register_cpu_func("add", "Add")
    assert caught.value.code == lib.ACL_ERROR_RT_PARAM_INVALID


# Options

@pytest.mark.parametrize(("kind", "value", "from_file"), [
    (lib.ACL_RT_BINARY_LOAD_OPT_LAZY_LOAD, 2, True),
    (lib.ACL_RT_BINARY_LOAD_OPT_MAGIC, 1, False),
    (lib.ACL_RT_BINARY_LOAD_OPT_MAGIC, lib.ACL_RT_BINARY_MAGIC_ELF_AICORE, True),
    (lib.ACL_RT_BINARY_LOAD_OPT_CPU_KERNEL_MODE, 2, True),
    (lib.ACL_RT_BINARY_LOAD_OPT_CPU_KERNEL_MODE, 0, False),
    (9, 0, True)])
def test_load_options_are_checked(tmp_path: Path, device: Any, kind: int, value: int, from_file: bool) -> None:
    data = emulator.kernel_object("add_custom")
    path = tmp_path / "add_custom.o"
    path.write_bytes(data)
    option = ffi.new("aclrtBinaryLoadOption *")
    option.type, option.value.magic = kind, value
    options = ffi.new("aclrtBinaryLoadOptions *", {"options": option, "numOpt": 1})
    out = ffi.new("aclrtBinHandle *")
    if from_file:
        code = lib.aclrtBinaryLoadFromFile(str(path).encode(), options, out)
    else:
        code = lib.aclrtBinaryLoadFromData(data, len(data), options, out)
    assert code == lib.ACL_ERROR_RT_PARAM_INVALID


def test_lazy_binaries_have_no_address_until_a_kernel_is_asked_for(device: Any) -> None:
    with pyacl.Binary.from_bytes(emulator.kernel_object("add_custom"), lazy=True, magic="aicore") as binary:
        assert binary.device_address == (0, 0)
        kernel = binary.function("add_custom")
        address, size = binary.device_address
        assert size
        assert address <= kernel.address[0] < address + size


def test_a_relative_path_and_a_missing_file(tmp_path: Path, device: Any) -> None:
    out = ffi.new("aclrtBinHandle *")
    assert lib.aclrtBinaryLoadFromFile(b"add_custom.o", ffi.NULL, out) == lib.ACL_ERROR_RT_PARAM_INVALID
    missing = str(tmp_path / "missing.o").encode()
    assert lib.aclrtBinaryLoadFromFile(missing, ffi.NULL, out) == lib.ACL_ERROR_RT_FILE_OPEN


# What cannot be loaded, and what disagrees

@pytest.mark.parametrize("machine", [3, 40, 243, elf.AARCH64 if objects.HOST == elf.X86_64 else 62])
def test_objects_for_another_machine(tmp_path: Path, device: Any, machine: int) -> None:
    path = tmp_path / "foreign.o"
    path.write_bytes(write([Code("add_custom")], machine=machine))
    with pytest.raises(ValueError, match=elf.machine_name(machine)) as caught:
        pyacl.Binary.from_file(path)
    assert isinstance(caught.value, pyacl.AclError)
    assert caught.value.code == lib.ACL_ERROR_RT_PARAM_INVALID


def test_a_json_that_disagrees_is_told_and_does_not_count(tmp_path: Path, device: Any) -> None:
    path = tmp_path / "Add_1.o"
    path.write_bytes(emulator.kernel_object("Add_1"))
    beside = path.with_suffix(".json")
    for wrong, message in (({"kernelList": [{"kernelName": "Sub_2"}]}, "Sub_2"), ({"binFileName": "Mul"}, "about Mul"),
                           ({"sha256": "0" * 64}, "sha256")):
        beside.write_text(json.dumps(wrong))
        with pytest.warns(RuntimeWarning, match=message):
            opened = pyacl.Binary.from_file(path)
        with opened as binary:
            assert binary.function("Add_1").name == "Add_1"
            with pytest.raises(ValueError, match="it has Add_1"):
                binary.function("Sub_2")
    for damaged in ("{", "[]", "nonsense"):
        beside.write_text(damaged)
        with pytest.warns(RuntimeWarning, match="JSON"), pyacl.Binary.from_file(path) as binary:
            binary.function("Add_1")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    beside.write_text(json.dumps({"kernelList": [{"kernelName": "Add_1"}], "binFileName": "Add_1", "sha256": digest}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pyacl.Binary.from_file(path).close()


def anything(rng: random.Random, depth: int = 0) -> Any:
    """Any value that JSON has."""
    kind = rng.randrange(7 if depth < 3 else 5)
    if kind == 5:
        return [anything(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 6:
        keys = ("kernelName", "kernelList", "tilingKey", "x")
        return {rng.choice(keys): anything(rng, depth + 1) for _ in range(rng.randrange(4))}
    return (None, rng.random() < 0.5, rng.choice((0, -1, 1 << 70)), rng.choice((0.5, float("nan"))),
            rng.choice(("", "Add_1", "\0", "x" * 300)))[kind]


def test_descriptions_of_any_content_are_told_of_at_most() -> None:
    rng = random.Random(3)
    data = emulator.kernel_object("Add_1")
    for _ in range(500):
        keys = ("kernelName", "binFileName", "sha256", "kernelList", "intercoreSync", "coreType")
        text = json.dumps({key: anything(rng) for key in keys if rng.random() < 0.7})
        assert list(objects.read(data, text[:rng.randrange(2 * len(text))], "Add_1.o").kernels) == ["Add_1"]


def test_global_variables(device: Any) -> None:
    data = write([Code("add_custom")], variables={"limits": np.array([3, 4, 5], np.int32).tobytes(), "nothing": b""})
    with pyacl.Binary.from_bytes(data) as binary:
        address, size = binary.variable("limits")
        assert size == 12
        found = np.empty(3, np.int32)
        pyacl.DeviceBuffer.from_address(address, size).copy_to(found)
        assert found.tolist() == [3, 4, 5]
        assert binary.variable("limits") == (address, size)
        assert binary.variable("nothing")[1] == 0
        for name in ("limit", "add_custom"):
            with pytest.raises(LookupError, match=f"no global variable '{name}'"):
                binary.variable(name)


def test_two_kernels_of_one_name_are_refused(device: Any) -> None:
    with pytest.raises(ValueError, match="twice"):
        pyacl.Binary.from_bytes(write([Code("add"), Code("add")]))


# Notes

def record(kind: int, value: bytes) -> bytes:
    return struct.pack("<HH", kind, len(value)) + value


def parameters(*sizes: int) -> bytes:
    note = record(16, struct.pack("<IQ", len(sizes), sum(sizes)))
    offset = 0
    for i, size in enumerate(sizes):
        note += record(17, struct.pack("<IIIIHHIIII", i, i, offset, size, 8, 0, 0, 0, 0, 0))
        offset += 8
    return note


def test_parameters_that_a_note_tells_are_checked(device: Any, stream: Any) -> None:
    seen: list[Any] = []
    data = write([Code("scale_0", record(1, struct.pack("<I", 3)) + parameters(8, 4))])

    @emulator.kernel("scale", args=["float32*", "uint32"])
    def scale(values: Any, factor: Any, block: Any) -> None:
        values *= np.float32(factor)
        seen.append(block.key)

    x = pyacl.Tensor.from_numpy(np.arange(4, dtype=np.float32))
    try:
        with pyacl.Binary.from_bytes(data) as binary:
            kernel = binary.function("scale_0")
            assert kernel.params == ((0, 8), (8, 4))
            assert kernel.core_type == "vector"
            args = pyacl.ArgsHandle(kernel)
            args.append(x)
            with pytest.raises(ValueError, match="4 bytes in C, not 8"):
                args.append(np.uint64(3))
            args.append(np.uint32(3))
            with pytest.raises(ValueError, match="takes 2"):
                args.append(np.uint32(3))
            with pytest.raises(ValueError, match="2 arguments"):
                kernel.signature("pointer")
            with pytest.raises(ValueError, match="4 bytes"):
                kernel.signature("pointer", np.uint64)
            # One pointer for each parameter, in C.
            address, factor = ffi.new("uint64_t *", x.address), ffi.new("uint32_t *", 3)
            array = ffi.new("void *[]", [address, factor])
            assert lib.aclrtLaunchKernelWithArgsArray(kernel.handle, 1, stream.handle, ffi.NULL, array) == 0
            stream.synchronize()
            assert x.numpy().tolist() == [0, 3, 6, 9]
            assert seen == [0]
    finally:
        emulator.unregister_kernel("scale")


def test_notes_that_contradict_themselves_are_refused(device: Any) -> None:
    note = record(16, struct.pack("<IQ", 3, 24)) + parameters(8)[16:]
    with pytest.raises(ValueError, match="3 parameters"):
        pyacl.Binary.from_bytes(write([Code("add", note)]))


def test_notes_of_any_content_are_read_or_refused() -> None:
    for count in (2, 1 << 31, (1 << 32) - 1):  # and no memory is taken for what is only said to be there
        with pytest.raises(ValueError, match=f"{count} parameters"):
            objects.read(write([Code("add", record(16, struct.pack("<IQ", count, 8)) + parameters(8)[16:])]))
    rng = random.Random(4)
    read = refused = 0
    for _ in range(1000):
        note = b"".join(record(rng.choice((1, 2, 3, 4, 5, 14, 16, 17, 18, rng.randrange(65536))),
                               rng.getrandbits(800).to_bytes(100, "little")[:rng.choice((0, 1, 3, 4, 8, 12, 40, 100))])
                        for _ in range(rng.randrange(6)))
        try:
            objects.read(write([Code(rng.choice(("a_1", "a_mix_aic", "a")), note[:rng.randrange(2 * len(note) + 1)])]))
            read += 1
        except objects.ObjectError:
            refused += 1
    assert read
    assert refused


def test_mix_kernels_have_the_synchronisation_address_in_slot_0(device: Any, stream: Any) -> None:
    seen: list[Any] = []

    @emulator.kernel("mixed", args=["uint32"])
    def mixed(value: Any, block: Any) -> None:
        seen.append(int(value))

    out = ffi.new("void **")
    assert lib.aclrtGetHardwareSyncAddr(out) == 0
    address = int(ffi.cast("uintptr_t", out[0]))
    try:
        with pyacl.Binary.from_bytes(emulator.kernel_object("mixed_mix_aic", "mixed_mix_aiv")) as binary:
            kernel = binary.function("mixed")
            assert kernel.ratio == (1, 2)
            kernel.launch_args(stream, 1, np.uint32(5))
            kernel.launch_host(struct.pack("<QI", address, 6), 1, stream)  # assembled by hand: the slot is the user's
            stream.synchronize()
            assert seen == [5, 6]
            args = pyacl.ArgsHandle(kernel)
            args.append(np.uint32(7))
            args.finalize()
            assert args._memory is not None
            assert ffi.cast("uint64_t *", args._memory[1])[0] == address
    finally:
        emulator.unregister_kernel("mixed")


# Faults

def test_codes_of_faults_by_core(device: Any, stream: Any) -> None:
    names = {"a": (b"", lib.ACL_ERROR_RT_AICORE_EXCEPTION),
             "c": (record(1, struct.pack("<I", 2)), lib.ACL_ERROR_RT_AICORE_EXCEPTION),
             "v": (record(1, struct.pack("<I", 3)), lib.ACL_ERROR_RT_VECTOR_CORE_EXCEPTION)}
    with pyacl.Binary.from_bytes(write([Code(n, note) for n, (note, _) in names.items()])) as binary:
        for name, (_, code) in names.items():
            binary.function(name).launch_args(stream, 1, np.uint32(0))
            with pytest.raises(pyacl.DeviceFaultError) as caught:
                stream.synchronize()
            assert caught.value.code == code


def test_a_binary_that_is_unloaded_too_early_is_a_fault(device: Any, stream: Any) -> None:
    if os.environ.get("PYACL_EMULATOR_SCHEDULE", "deferred") != "deferred":
        pytest.skip("the deferred schedule shows it for certain")
    data = emulator.kernel_object("gone")
    binary, function = ffi.new("aclrtBinHandle *"), ffi.new("aclrtFuncHandle *")
    assert lib.aclrtBinaryLoadFromData(data, len(data), ffi.NULL, binary) == 0
    assert lib.aclrtBinaryGetFunction(binary[0], b"gone", function) == 0
    block = ffi.new("uint64_t *", 1)
    launch = (function[0], 1, stream.handle, ffi.NULL, block, 8, ffi.NULL, 0)
    assert lib.aclrtLaunchKernelWithHostArgs(*launch) == 0
    assert lib.aclrtBinaryUnLoad(binary[0]) == 0
    with pytest.raises(pyacl.DeviceFaultError, match="unloaded before it ran"):
        stream.synchronize()
    assert lib.aclrtLaunchKernelWithHostArgs(*launch) == lib.ACL_ERROR_RT_INVALID_HANDLE
    assert lib.aclrtBinaryUnLoad(binary[0]) == lib.ACL_ERROR_RT_INVALID_HANDLE
    assert lib.aclrtBinaryGetFunction(binary[0], b"gone", function) == lib.ACL_ERROR_RT_INVALID_HANDLE


@pytest.mark.parametrize(("slot", "data"), [(9, 0), (0, 16), (16, 0)])
def test_placeholders_of_a_raw_block_lie_in_it(device: Any, stream: Any, slot: int, data: int) -> None:
    with pyacl.Binary.from_bytes(emulator.kernel_object("add")) as binary:
        kernel = binary.function("add")
        info = ffi.new("aclrtPlaceHolderInfo *", {"addrOffset": slot, "dataOffset": data})
        code = lib.aclrtLaunchKernelWithHostArgs(kernel.handle, 1, stream.handle, ffi.NULL, bytes(16), 16, info, 1)
        assert code == lib.ACL_ERROR_RT_PARAM_INVALID


def test_the_arguments_of_a_fault_are_on_the_device(device: Any, stream: Any) -> None:
    told: list[Any] = []

    @emulator.kernel("broken", args=["uint32", ("placeholder", "uint32")])
    def broken(value: Any, data: Any, block: Any) -> None:
        raise IndexError("out of range")

    try:
        with pyacl.Binary.from_bytes(emulator.kernel_object("broken")) as binary:
            binary.on_exception(told.append)
            binary.function("broken").launch_args(stream, 2, np.uint32(77), placeholder=np.uint32(88))
            with pytest.raises(pyacl.DeviceFaultError, match="IndexError: out of range"):
                stream.synchronize()
            assert len(told) == 1
            assert told[0].args_nbytes >= 20
            words = np.empty(told[0].args_nbytes // 4, np.uint32)
            block = pyacl.DeviceBuffer.from_address(told[0].args_address, 4 * len(words))
            block.copy_to(words)
            assert words[0] == 77
            pointer = int(words[2]) | int(words[3]) << 32
            assert words[(pointer - told[0].args_address) // 4] == 88
    finally:
        emulator.unregister_kernel("broken")


@needs_gcc
def test_an_endless_kernel_in_isolation_runs_out_of_time(tmp_path: Path) -> None:
    library = compiled(tmp_path, "endless", '#include "pyacl_kernel.h"\n'
                       "PYACL_KERNEL endless(const void *args, const pyacl_block *block) { for (volatile int i = 0;; i++); }")
    printed = python(f"""
with pyacl.Device(0), pyacl.Stream() as stream, pyacl.Binary.from_file({str(library)!r}) as binary:
    binary.function("endless").launch_args(stream, 1, np.int64(0), config=pyacl.LaunchConfig(timeout_us=1000))
    try: stream.synchronize()
    except pyacl.AclError as e: print(e.code)
""", PYACL_EMULATOR_KERNEL_ISOLATE="1")
    assert printed.split() == [str(lib.ACL_ERROR_RT_AICORE_TIMEOUT)]


@needs_gcc
@pytest.mark.parametrize(("kind", "field", "value"), [
    (1, 8, 1 << 24), (2, 16, 1 << 40), (1, 16, 1 << 46)], ids=str)
def test_damage_that_the_loader_does_not_survive(tmp_path: Path, device: Any, kind: int, field: int, value: int) -> None:
    """A library whose sections are sound, but whose segments (type `kind`) are not."""
    data = bytearray(compiled(tmp_path, "cpu", CPU).read_bytes())
    objects.read(bytes(data))
    table, size, count = *struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)
    for at in range(table, table + size * count, size):
        if struct.unpack_from("<I", data, at)[0] == kind:
            struct.pack_into("<Q", data, at + field, value)
    assert objects.read(bytes(data)).kernels
    with pytest.raises(ValueError, match="cannot be loaded"):
        pyacl.Binary.from_bytes(bytes(data))


@needs_gcc
def test_a_declaration_of_unknown_types_is_refused(tmp_path: Path, device: Any) -> None:
    library = compiled(tmp_path, "odd", '#include "pyacl_kernel.h"\nPYACL_KERNEL_ARGS(odd, "float32*, float33");\n'
                       "PYACL_KERNEL odd(const void *args, const pyacl_block *block) {}")
    with pyacl.Binary.from_file(library) as binary, pytest.raises(ValueError, match="declared arguments of odd: 'float33'"):
        binary.function("odd")


@needs_gcc
def test_a_constructor_that_ends_the_process_does_not_end_this_one(tmp_path: Path, device: Any) -> None:
    library = compiled(tmp_path, "leaves", "#include <stdlib.h>\n__attribute__((constructor)) void leave(void) { _Exit(3); }\n"
                                           "void kernel(void *a, void *b) {}")
    with pytest.raises(ValueError, match="damaged: it ended its process with status 3"):
        pyacl.Binary.from_file(library)


# Real objects

@pytest.fixture(scope="module")
def real() -> list[Path]:
    found = sorted(unpacked("vllm_ascend==0.18.0", "vllm_ascend/").rglob("*.o"))
    if not found:
        pytest.skip("the wheel has no AI Core objects")
    return found


def test_real_objects_agree_with_their_json(real: list[Path], device: Any) -> None:
    cores = {"AIC": {"cube"}, "AIV": {"vector"}, "MIX": {"mix", "vector"}, "VectorCore": {"vector"}}
    halves = 0
    for path in real:
        described = json.loads(path.with_suffix(".json").read_text())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            binary = pyacl.Binary.from_file(path)
        with binary:
            for entry in described["kernelList"]:
                kernel = binary.function(entry["kernelName"])
                if "tilingKey" in entry:
                    assert binary.function_by_entry(entry["tilingKey"]).name == kernel.name
                kind = described.get("core_type", described["coreType"])
                assert kernel.core_type in cores[kind], path
            for mixed in [k for k in objects.read_file(str(path)).kernels.values() if k.mixed]:
                with pytest.raises(ValueError, match="without _mix"):
                    binary.function(mixed.name + "_mix_aiv")
                halves += 1
    assert halves


def test_damaged_real_objects_are_refused_or_read(real: list[Path]) -> None:
    rng = random.Random(5)
    refused = 0
    small = [p for p in real if p.stat().st_size < 60_000]
    for path in small[::4]:
        good = path.read_bytes()
        start = int.from_bytes(good[40:48], "little")  # of the section headers, behind which everything is found
        for cut in (0, 10, 64, 1000, len(good) // 2, start + 64, len(good) - 1):
            with pytest.raises(objects.ObjectError):
                objects.read(good[:cut])
        for _ in range(60):
            data = bytearray(good)
            for _ in range(4):
                data[rng.choice((rng.randrange(64), rng.randrange(start, len(data))))] = rng.randrange(256)
            try:
                objects.read(bytes(data), "{}")
            except objects.ObjectError:
                refused += 1
    assert refused
