"""Runs the single operator Add a thousand times by one handle, on buffers that are refreshed in between.

    python examples/add_by_handle.py
    PYACL_BACKEND=emulator python examples/add_by_handle.py --runs 100 --size 65536

Two pairs of buffers take turns: while the device works on one pair, the host fills the other. Only the handle, which
holds the resolved operator, stays the same.
"""

from __future__ import annotations

import argparse
import time
from typing import Optional, Sequence

import numpy as np

import pyacl


def run(runs: int, size: int) -> float:
    """Adds `runs` times `size` numbers and checks every sum; returns the seconds it took."""
    desc = pyacl.TensorDesc((size,), np.float32)
    step = np.arange(size, dtype=np.float32)
    with pyacl.Stream() as stream, pyacl.OpHandle("Add", inputs=[desc, desc], outputs=[desc]) as add:
        host = [pyacl.HostBuffer(step.nbytes) for _ in range(2)]
        result = [pyacl.HostBuffer(step.nbytes) for _ in range(2)]
        x = [pyacl.Tensor.empty((size,)) for _ in range(2)]
        out = [pyacl.Tensor.empty((size,)) for _ in range(2)]
        done = [stream.record() for _ in range(2)]
        offset = pyacl.Tensor.from_numpy(step)
        began = time.perf_counter()
        for i in range(runs + 2):
            turn = i % 2
            done[turn].synchronize()  # what was queued two rounds ago
            if i >= 2:
                sums = result[turn].numpy.view(np.float32)
                if not np.array_equal(sums, step + (i - 2)):
                    raise SystemExit(f"run {i - 2} is wrong: {sums[:4]} ...")
            if i < runs:
                host[turn].numpy.view(np.float32)[:] = i
                pyacl.memcpy_async(x[turn], host[turn], stream)
                add.launch([x[turn], offset], [out[turn]], stream)
                pyacl.memcpy_async(result[turn], out[turn], stream)
                done[turn].record(stream)
        seconds = time.perf_counter() - began
        for resource in (*host, *result, *done):
            resource.close()
    return seconds


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(description="Adds by handle, again and again.")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--size", type=int, default=4096, help="numbers in each tensor")
    args = parser.parse_args(argv)
    with pyacl.Device(0):
        seconds = run(args.runs, args.size)
    print(f"{args.runs} sums of {args.size} numbers, all right, {seconds / args.runs * 1e6:.1f} us each")


if __name__ == "__main__":
    main()
