"""What a call costs through the exported libraries, beside the same calls in the in-process emulator.

    python benchmarks/exported.py [--calls 20000]

Prints microseconds per call: a getter, a stream's wait, a tensor's creation and end, and a repeatable aclnnAdd of 16
elements with its wait. "C" is a C program, "pyacl native" is pyacl on the libraries, "pyacl emulator" pyacl without.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pyacl.emulator.export.build import build
from pyacl.emulator.export.cli import settings

PROGRAM = r"""
#include "pyacl_acl.h"
#include "pyacl_aclnn.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int failures;

#define TIME(name, call)                                                                                               \
    do {                                                                                                               \
        for (int i = 0; i < 200; i++) { call; }                                                                        \
        double begin = now();                                                                                          \
        for (int i = 0; i < calls; i++) { call; }                                                                      \
        printf("%s%s: %.3f", separator, "\"" name "\"", (now() - begin) / calls);                                      \
        separator = ", ";                                                                                              \
    } while (0)

int main(int count, char **arguments) {
    int calls = atoi(arguments[count - 1]), device;
    const char *separator = "{";
    int64_t shape[1] = {16};
    float one = 1;
    void *data[3];
    aclTensor *tensors[3];
    uint64_t size;
    aclOpExecutor *executor;
    aclrtStream stream;

    failures += aclInit(NULL) != 0;
    failures += aclrtSetDevice(0) != 0;
    failures += aclrtCreateStream(&stream) != 0;
    for (int i = 0; i < 3; i++) {
        failures += aclrtMalloc(&data[i], 64, ACL_MEM_MALLOC_HUGE_FIRST) != 0;
        tensors[i] = aclCreateTensor(shape, 1, ACL_FLOAT, NULL, 0, ACL_FORMAT_ND, shape, 1, data[i]);
    }
    aclScalar *alpha = aclCreateScalar(&one, ACL_FLOAT);
    failures += aclnnAddGetWorkspaceSize(tensors[0], tensors[1], alpha, tensors[2], &size, &executor) != 0;
    failures += aclSetAclOpExecutorRepeatable(executor) != 0;

    TIME("aclrtGetDevice", failures += aclrtGetDevice(&device) != 0);
    TIME("aclrtSynchronizeStream", failures += aclrtSynchronizeStream(stream) != 0);
    TIME("aclCreateTensor + aclDestroyTensor",
         failures += aclDestroyTensor(aclCreateTensor(shape, 1, ACL_FLOAT, NULL, 0, ACL_FORMAT_ND, shape, 1,
                                                      data[0])) != 0);
    TIME("aclnnAdd + aclrtSynchronizeStream",
         failures += aclnnAdd(NULL, 0, executor, stream) != 0 || aclrtSynchronizeStream(stream) != 0);
    puts("}");
    return failures != 0;
}
"""

PYTHON = r"""
import json, sys, time
from pyacl.capi import ffi, lib

calls = int(sys.argv[1])

def check(code):
    assert code == 0, code

def timed(call):
    for _ in range(200):
        call()
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - begin) / calls * 1e6

check(lib.aclInit(ffi.NULL))
check(lib.aclrtSetDevice(0))
stream_out = ffi.new("aclrtStream *")
check(lib.aclrtCreateStream(stream_out))
stream = stream_out[0]
shape = ffi.new("int64_t[1]", [16])
data, tensors = [], []
for _ in range(3):
    out = ffi.new("void **")
    check(lib.aclrtMalloc(out, 64, lib.ACL_MEM_MALLOC_HUGE_FIRST))
    data.append(out[0])

def tensor(address):
    return lib.aclCreateTensor(shape, 1, lib.ACL_FLOAT, ffi.NULL, 0, lib.ACL_FORMAT_ND, shape, 1, address)

tensors = [tensor(d) for d in data]
alpha = lib.aclCreateScalar(ffi.new("float *", 1), lib.ACL_FLOAT)
size, executor = ffi.new("uint64_t *"), ffi.new("aclOpExecutor **")
check(lib.aclnnAddGetWorkspaceSize(tensors[0], tensors[1], alpha, tensors[2], size, executor))
check(lib.aclSetAclOpExecutorRepeatable(executor[0]))
device = ffi.new("int32_t *")

def add():
    lib.launch(phase_two, ffi.NULL, 0, executor[0], stream)
    lib.aclrtSynchronizeStream(stream)

phase_two = lib.aclnnAdd
print(json.dumps({
    "aclrtGetDevice": timed(lambda: lib.aclrtGetDevice(device)),
    "aclrtSynchronizeStream": timed(lambda: lib.aclrtSynchronizeStream(stream)),
    "aclCreateTensor + aclDestroyTensor": timed(lambda: lib.aclDestroyTensor(tensor(data[0]))),
    "aclnnAdd + aclrtSynchronizeStream": timed(add),
}))
"""


def run(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=20000)
    calls = str(parser.parse_args().calls)
    exported = build()
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "calls")
        program.with_suffix(".c").write_text(PROGRAM)
        subprocess.run(["gcc", "-O2", f"-I{exported / 'include'}", program.with_suffix(".c"), "-o", program,
                        f"-L{exported / 'lib64'}", "-lopapi", "-lascendcl"], check=True)
        native = settings(exported)
        columns = {
            "C": run([str(program), calls], native),
            "pyacl native": run([sys.executable, "-c", PYTHON, calls], native),
            "pyacl emulator": run([sys.executable, "-c", PYTHON, calls], {"PYACL_BACKEND": "emulator"}),
        }
    print(f"{'us per call':38}" + "".join(f"{name:>16}" for name in columns))
    for call in columns["C"]:
        print(f"{call:38}" + "".join(f"{column[call]:16.3f}" for column in columns.values()))


if __name__ == "__main__":
    main()
