"""Runs an operator of your own by one repeatable executor, whose tensors are refreshed between the launches.

    python examples/add_custom.py
    PYACL_BACKEND=emulator python examples/add_custom.py --batches 10

AddCustom has two inputs, a list of two tensors and a tensor, and one output: ``out = x[0] + x[1] + y``. On an NPU it is
a custom operator that you built and installed (libcust_opapi.so). The emulator runs the Python function below instead.
"""

from __future__ import annotations

import argparse
from typing import Any, Optional, Sequence

import numpy as np

import pyacl

pyacl.declare_op("aclnnAddCustom", "const aclTensorList *x, const aclTensor *y, aclTensor *out")


@pyacl.emulator.op("aclnnAddCustom")
def add_custom(x: list[Any], y: Any) -> Any:
    """What the emulator computes, with numpy arrays; an NPU does not ask for it."""
    return x[0] + x[1] + y


def run(batches: int, size: int) -> None:
    """Launches once for each batch and checks all sums at the end."""
    ramp = np.arange(size, dtype=np.float32)
    y = pyacl.Tensor.from_numpy(ramp)
    inputs = [[pyacl.Tensor.full((size,), sign * (i + 1)) for sign in (1, 100)] for i in range(batches)]
    outputs = [pyacl.Tensor.empty((size,)) for _ in range(batches)]
    # The first phase plans for shapes, strides and types. Later launches differ in nothing but addresses.
    with pyacl.Stream() as stream, \
            pyacl.Executor("aclnnAddCustom", inputs[0], y, outputs[0], repeatable=True) as add:
        for (first, second), out in zip(inputs, outputs):
            add.set_dynamic_input(0, 0, first)   # member 0 of the list, which is input 0 of the prototype
            add.set_dynamic_input(0, 1, second)  # member 1
            add.set_output(0, out)
            add.launch(stream)
        stream.synchronize()
    for i, out in enumerate(outputs):
        sums = out.numpy()
        if not np.array_equal(sums, ramp + 101 * (i + 1)):
            raise SystemExit(f"batch {i} is wrong: {sums[:4]} ...")


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=100, help="launches (%(default)s)")
    parser.add_argument("--size", type=int, default=4096, help="numbers in each tensor (%(default)s)")
    parser.add_argument("--device", type=int, default=0, help="device id (%(default)s)")
    options = parser.parse_args(arguments)
    with pyacl.Device(options.device) as device:
        run(options.batches, options.size)
        print(f"{options.batches} batches of {options.size} numbers are right on {device.soc_name}: one executor, "
              "refreshed for each")


if __name__ == "__main__":
    main()
