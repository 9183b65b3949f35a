"""Kernels for the tests: C for this machine, and the vectors that add_custom adds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyacl

ROOT = Path(__file__).resolve().parent.parent
ADD_CUSTOM = (ROOT / "examples" / "kernels" / "add_custom.c").read_text()
# Kernels compiled for this machine run on the emulator, in-process or exported; a real NPU would need its own.
only_emulated = [
    pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc to compile a kernel"),
    pytest.mark.skipif(os.environ.get("PYACL_BACKEND") == "native" and "pyacl" not in os.environ.get("PYACL_LIBRARY_PATH", ""),
                       reason="kernels are compiled for this machine, which only the emulator runs"),
]


def compile_kernels(folder: Path, name: str, text: str) -> Path:
    source, library = folder / f"{name}.c", folder / f"{name}.so"
    source.write_text(text)
    include = subprocess.run([sys.executable, "-m", "pyacl", "kernel", "include"], capture_output=True, text=True, check=True)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-w", f"-I{include.stdout.strip()}", str(source), "-o", str(library)], check=True)
    return library


class Vectors:
    """x, y and room for the result, on the device."""

    def __init__(self, n: int = 100) -> None:
        rng = np.random.default_rng(n)
        self.n, self.x, self.y = n, rng.random(n, np.float32), rng.random(n, np.float32)
        self.tensors = [pyacl.Tensor.from_numpy(self.x), pyacl.Tensor.from_numpy(self.y), pyacl.Tensor.zeros((n,), np.float32)]

    @property
    def out(self) -> Any:
        return self.tensors[2].numpy()

    def expected(self, scale: float) -> Any:
        return np.float32(scale) * (self.x + self.y)

    def args(self, kernel: pyacl.Kernel, scale: float = 1, **options: Any) -> tuple[pyacl.ArgsHandle, int]:
        args = pyacl.ArgsHandle(kernel, **options)
        for tensor in self.tensors:
            args.append(tensor)
        tiling = args.append_placeholder(4)
        index = args.append(np.float32(scale))
        args.placeholder_buffer(tiling)[:] = np.uint32(self.n).tobytes()
        args.finalize()
        return args, index

    def launch_all(self, kernel: pyacl.Kernel, stream: Any, blocks: int, scale: float) -> None:
        """Through every launch call of C, with a placeholder; checks each result, and one after an update."""
        args, index = self.args(kernel, scale - 1)
        room = len(self.block(scale, 0))
        device = pyacl.Tensor.empty((room,), np.uint8)
        pyacl.memcpy(device.buffer, self.block(scale, device.address + 40), room)

        def updated() -> None:
            args.update(index, np.float32(scale))
            args.finalize()
            kernel.launch(args, blocks, stream)

        launches = {
            "aclrtLaunchKernelWithConfig": updated,
            "aclrtLaunchKernel": lambda: kernel.launch_device(device, blocks, stream, uses=self.tensors),
            "aclrtLaunchKernelV2": lambda: kernel.launch_device(device, blocks, stream, pyacl.LaunchConfig(), uses=self.tensors),
            "aclrtLaunchKernelWithHostArgs": lambda: kernel.launch_host(
                self.block(scale, 0), blocks, stream, placeholders=[(24, 40)], uses=self.tensors),
        }
        for name, launch in launches.items():
            pyacl.memset(self.tensors[2].buffer, 0)
            launch()
            stream.synchronize()
            assert (self.out == self.expected(scale)).all(), (name, blocks)

    def block(self, scale: float, tiling: int) -> bytes:
        """The argument block as the page leaves it to the user: addresses, the placeholder's slot, the scalar, data."""
        addresses = b"".join(t.address.to_bytes(8, "little") for t in self.tensors)
        return addresses + tiling.to_bytes(8, "little") + np.float32(scale).tobytes().ljust(8, b"\0") + \
            np.uint32(self.n).tobytes().ljust(8, b"\0")
