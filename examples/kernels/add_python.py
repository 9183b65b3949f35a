"""A kernel written in Python, for CI without an NPU: the program below runs unchanged on a device's compiled kernel."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import pyacl


@pyacl.emulator.kernel("add_custom", args=["float32*", "float32*", "float32*", ("placeholder", "uint32"), "float32"])
def add_custom(x, y, z, tiling, scale, block):  # type: ignore[no-untyped-def]
    share = -(-int(tiling[0]) // block.count)
    part = slice(block.index * share, min((block.index + 1) * share, int(tiling[0])))
    z[part] = scale * (x[part] + y[part])


def add(path: str, x: np.ndarray, y: np.ndarray, blocks: int) -> np.ndarray:
    """x + y by the kernel `add_custom` of the binary at `path`."""
    with pyacl.Device(0), pyacl.Stream() as stream, pyacl.Binary.from_file(path) as binary:
        a, b, out = pyacl.Tensor.from_numpy(x), pyacl.Tensor.from_numpy(y), pyacl.Tensor.empty(x.shape, x.dtype)
        kernel = binary.function("add_custom").signature("pointer", "pointer", "pointer", "placeholder", "float32")
        kernel.launch_args(stream, blocks, a, b, out, 1.0, placeholder=np.array([x.size], np.uint32))
        stream.synchronize()
        return out.numpy()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "add_custom.o"
        binary.write_bytes(pyacl.emulator.kernel_object("add_custom"))  # stands for the compiled one
        left, right = np.arange(100, dtype=np.float32), np.ones(100, np.float32)
        assert (add(str(binary), left, right, 8) == left + right).all()
    print("add_custom agrees with numpy")
