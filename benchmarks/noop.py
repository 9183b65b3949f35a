"""A libascendcl.so whose functions do nothing, with the real signatures of all declared ones.

With it the native backend runs on any machine with gcc, and what is measured is the way to C and back alone.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from pyacl.capi import Prototype, cdefs

# Functions that must say something for pyacl's classes to go on.
BODIES = {
    "aclrtGetDeviceCount": "*p0 = 1; return 0;",
    "aclrtGetDevice": "*p0 = 0; return 0;",
    "aclrtGetRunMode": "*p0 = ACL_HOST; return 0;",
    "aclrtGetSocName": 'return "Ascend910B3";',
    "aclrtGetMemInfo": "*p1 = *p2 = (size_t)64 << 30; return 0;",
    "aclrtMalloc": "*p0 = aligned_alloc(64, (p1 + 127) / 64 * 64); return *p0 ? 0 : 207001;",
    "aclrtMallocHost": "*p0 = aligned_alloc(64, (p1 + 127) / 64 * 64); return *p0 ? 0 : 207001;",
    "aclrtFree": "free(p0); return 0;",
    "aclrtFreeHost": "free(p0); return 0;",
    "aclrtGetCurrentContext": "*p0 = (void *)&pyacl_context; return 0;",
    "aclrtCtxGetCurrentDefaultStream": "*p0 = (void *)&pyacl_default_stream; return 0;",
    "aclrtEventElapsedTime": "*p0 = 1; return 0;",
    "aclrtQueryEventStatus": "*p1 = ACL_EVENT_RECORDED_STATUS_COMPLETE; return 0;",
    "aclrtStreamQuery": "*p1 = ACL_STREAM_STATUS_COMPLETE; return 0;",
    "aclGetRecentErrMsg": "return NULL;",
    # A model with one input and one output of 16 floats.
    "aclmdlLoadFromFile": "*p1 = 1; return 0;",
    "aclmdlLoadFromMem": "*p2 = 1; return 0;",
    "aclmdlLoadFromFileWithMem": "*p1 = 1; return 0;",
    "aclmdlLoadFromMemWithMem": "*p2 = 1; return 0;",
    "aclmdlLoadWithConfig": "*p1 = 1; return 0;",
    "aclmdlQuerySize": "*p1 = *p2 = 64; return 0;",
    "aclmdlQuerySizeFromMem": "*p2 = *p3 = 64; return 0;",
    "aclmdlGetNumInputs": "return 1;",
    "aclmdlGetNumOutputs": "return 1;",
    "aclmdlGetInputSizeByIndex": "return 64;",
    "aclmdlGetOutputSizeByIndex": "return 64;",
    "aclmdlGetInputNameByIndex": 'return "x";',
    "aclmdlGetOutputNameByIndex": 'return "y";',
    "aclmdlGetInputDataType": "return ACL_FLOAT;",
    "aclmdlGetOutputDataType": "return ACL_FLOAT;",
    "aclmdlGetInputFormat": "return ACL_FORMAT_ND;",
    "aclmdlGetOutputFormat": "return ACL_FORMAT_ND;",
    "aclmdlGetInputDims": "return pyacl_dims(p2);",
    "aclmdlGetInputDimsV2": "return pyacl_dims(p2);",
    "aclmdlGetOutputDims": "return pyacl_dims(p2);",
    "aclmdlGetCurOutputDims": "return pyacl_dims(p2);",
    "aclmdlGetDynamicBatch": "p1->batchCount = 0; return 0;",
    "aclmdlGetDynamicHW": "p2->hwCount = 0; return 0;",
    "aclmdlGetInputDynamicGearCount": "*p2 = 0; return 0;",
    "aclmdlGetInputIndexByName": "if (p1[0] != 'x') return 100000; *p2 = 0; return 0;",
    "aclmdlGetDatasetNumBuffers": "return pyacl_buffers;",
    "aclmdlAddDatasetBuffer": "return 0;",
    "aclmdlGetDatasetBuffer": "return (void *)&pyacl_context;",
    "aclGetDataBufferSizeV2": "return 64;",
    "aclGetDataBufferAddr": "return (void *)&pyacl_context;",
    "aclrtFunctionGetParamCount": "return 207000;",  # this product does not tell
    # This one takes 5 us, as launches do; see binding.busy.
    "aclnnInplaceOne": "return pyacl_spin();",
    # Room for the arguments of a kernel.
    "aclrtKernelArgsGetPlaceHolderBuffer": "static char room[4096]; *p3 = room; return 0;",
    "aclrtKernelArgsGetHandleMemSize": "*p1 = 1024; return 0;",
    "aclrtKernelArgsGetMemSize": "*p2 = 1024; return 0;",
}

_HELP = """
static long long pyacl_context, pyacl_default_stream;
static const int pyacl_buffers = 1;
/* A handle that no other object has; never dereferenced. */
static void *pyacl_handle(void) {
    static uintptr_t next = 0x700000000000;
    return (void *)(next += 64);
}
static int pyacl_spin(void) {
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - begin.tv_sec) * 1000000000L + now.tv_nsec - begin.tv_nsec < 5000);
    return 0;
}
static int pyacl_dims(aclmdlIODims *dims) {
    memset(dims->name, 0, sizeof dims->name);
    dims->dimCount = 1;
    dims->dims[0] = 16;
    return 0;
}
"""


def source() -> str:
    """The library's C source."""
    types = "\n".join(cdefs._FUNCTION.sub("", cdefs.text(concept)) for concept in cdefs.order())
    types = re.sub(r'^#define \w+ ".*"\n', "", types, flags=re.M)
    handles = set(re.findall(r"typedef void \*\s*(\w+);", types))
    prototypes = [p for name in cdefs.functions() if (p := cdefs.prototype(name)) is not None and not p.variadic]
    second = [Prototype("aclnnStatus", name, cdefs.LAUNCH.params) for name in cdefs.operators()
              if cdefs.prototype(name) is None]
    includes = "".join(f"#include <{name}.h>\n" for name in ("stdbool", "stddef", "stdint", "stdlib", "string", "time"))
    return includes + types + _HELP + "\n".join(_function(p, handles) for p in [*prototypes, *second]) + "\n"


def _function(prototype: Prototype, handles: set[str]) -> str:
    body = BODIES.get(prototype.name)
    if body is None:
        writes = ""
        for i, p in enumerate(prototype.params):
            if p.type == "uint64_t *" and p.name == "workspaceSize":
                writes += f"*p{i} = 0; "
            elif not p.type.startswith("const") and "[" not in p.type and "(*" not in p.type and (
                    p.type.endswith("**") or (p.type.endswith(" *") and p.type[:-2] in handles)):
                writes += f"*p{i} = pyacl_handle(); "
        returns = ("" if prototype.returns == "void" else "return pyacl_handle();" if prototype.returns.endswith("*")
                   else "return 0;")
        body = writes + returns
    params = []
    for i, p in enumerate(prototype.params):
        pointer = re.match(r"(.*\(\*\s*(?:const)?)(\).*)$", p.type)
        head, bracket, tail = p.type.partition("[")
        params.append(f"{pointer[1]} p{i}{pointer[2]}" if pointer else f"{head} p{i}{bracket}{tail}")
    return f"{prototype.returns} {prototype.name}({', '.join(params) or 'void'}) {{ {body} }}"


def build(folder: Path) -> Path:
    """Builds the library in `folder`; returns its path. Needs gcc."""
    path, code = folder / "libascendcl.so", folder / "noop.c"
    code.write_text(source())
    subprocess.run(["gcc", "-O2", "-w", "-shared", "-fPIC", "-Wl,-soname,libascendcl.so", "-o", str(path), str(code)],
                   check=True)
    return path


def environment(path: Path) -> dict[str, str]:
    """The environment in which pyacl's native backend runs on the library."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYACL_", "ASCEND_"))}
    return {**kept, "PYACL_BACKEND": "native", "PYACL_LIBRARY_PATH": str(path.parent)}
