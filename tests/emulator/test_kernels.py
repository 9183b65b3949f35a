"""The emulator's kernels: real AI Core objects, damaged ones, Python functions, the command line."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wheels import unpacked

import pyacl
from pyacl import emulator
from pyacl.capi import lib
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
            kernel.launch_args(stream, blocks, x, np.array((3, 4.5), point)[()], None, out, placeholder=np.int32([1, 5]))
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
