"""A custom kernel, step by step: load, find, build its arguments, launch, update, launch again.

    python examples/kernels/launch.py [BINARY]

BINARY is a kernel ``add_custom`` compiled for an NPU, or for this machine from add_custom.c beside this file (done here
when there is gcc and no BINARY is given).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import pyacl

HERE = Path(__file__).resolve().parent


def compiled(folder: str) -> str:
    """add_custom.c for this machine, as the emulator loads it."""
    include = subprocess.run([sys.executable, "-m", "pyacl", "kernel", "include"], stdout=subprocess.PIPE, text=True,
                             check=True).stdout.strip()
    library = f"{folder}/add_custom.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", f"-I{include}", str(HERE / "add_custom.c"), "-o", library],
                   check=True)
    return library


def main(path: str) -> None:
    n = 1000
    # 1, 2: aclInit, a device and a stream
    with pyacl.Device(0), pyacl.Stream() as stream:
        x = pyacl.Tensor.from_numpy(np.arange(n, dtype=np.float32))
        y = pyacl.Tensor.from_numpy(np.ones(n, np.float32))
        out = pyacl.Tensor.zeros((n,), np.float32)
        # 3, 4: load the binary, find the kernel
        with pyacl.Binary.from_file(path) as binary:
            kernel = binary.function("add_custom")
            # 5: its arguments, from left to right
            args = pyacl.ArgsHandle(kernel)
            for tensor in (x, y, out):
                args.append(tensor)
            tiling = args.append_placeholder(nbytes=4)      # small data that travels with the launch
            scale = args.append(np.float32(1))
            args.placeholder_buffer(tiling)[:] = np.uint32(n).tobytes()
            args.finalize()
            # 6: launch, as often as wanted
            for blocks in (1, 8, 64):
                kernel.launch(args, num_blocks=blocks, stream=stream)
            stream.synchronize()
            assert (out.numpy() == np.arange(n) + 1).all()
            args.update(scale, np.float32(0.5))
            args.finalize()
            kernel.launch(args, num_blocks=8, stream=stream)
            stream.synchronize()
            assert (out.numpy() == (np.arange(n) + 1) / 2).all()
            # the same in one call
            kernel.signature("pointer", "pointer", "pointer", "placeholder", np.float32)
            kernel.launch_args(stream, 8, x, y, out, 2.0, placeholder=np.array([n], np.uint32),
                               config=pyacl.LaunchConfig(schem_mode="batch", timeout=10))
            stream.synchronize()
            assert (out.numpy() == (np.arange(n) + 1) * 2).all()
    # 7, 8, 9: leaving the blocks unloads the binary and resets the device
    print("add_custom ran on", pyacl.capi.active().name)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as made:
            main(compiled(made))
