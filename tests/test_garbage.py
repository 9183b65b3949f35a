"""Memory of the user's that is lent to C, caught in a garbage cycle: the collector must not crash on it."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import gc, sys
import numpy as np
import pyacl

def lend(call):
    data = memoryview(bytearray(b"no model at all" * 100))
    try:
        call(data)
    except (pyacl.AclError, ValueError) as error:
        kept = error  # error -> traceback -> frame -> error

with pyacl.Device(0):
    buffer = pyacl.DeviceBuffer(10)
    gc.disable()
    for _ in range(5):
        lend({call})
    gc.collect()
print("alive")
"""


@pytest.mark.parametrize("call", [
    "lambda data: pyacl.memcpy(buffer, data, 900)",
    "lambda data: buffer.copy_from(data)",
    "pyacl.Model.from_bytes",
    "lambda data: pyacl.Model.from_bytes(data, config=pyacl.LoadConfig())",
    "pyacl.Model.query_size",
    "pyacl.ModelDesc.from_bytes",
    "pyacl.ModelBundle.from_bytes",
    "pyacl.ModelBundle.query_size",
    "pyacl.single_op.load",
    "pyacl.Binary.from_bytes"])
def test_a_memoryview_in_a_cycle(call: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT.replace("{call}", call)], capture_output=True, text=True)
    assert done.stdout.strip().endswith("alive"), done.stderr
