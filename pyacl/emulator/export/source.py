"""The C source of the exported libraries, generated from ``cdefs/``."""

from __future__ import annotations

import json
import os
import re
import sys
import sysconfig
from functools import cache
from pathlib import Path

from ...capi import cdefs

_SYSTEM = ("stdarg.h", "stdbool.h", "stddef.h", "stdint.h")
_INCLUDED = ("dlfcn.h", "pthread.h", "stdio.h", "stdlib.h", "string.h", "time.h", "unistd.h", "wchar.h")
# Functions that deferred.c calls.
_USED = {"GET_CURRENT_CONTEXT": "aclrtGetCurrentContext", "SET_CURRENT_CONTEXT": "aclrtSetCurrentContext",
         "GET_RECENT_ERR_MSG": "aclGetRecentErrMsg"}
_OPERATORS = "aclnn"  # concepts of this prefix make the second header

_DEFERRABLE = (
    "aclDestroyAclOpExecutor", "aclDestroyBoolArray", "aclDestroyFloatArray", "aclDestroyIntArray", "aclDestroyScalar",
    "aclDestroyScalarList", "aclDestroyTensor", "aclDestroyTensorList", "aclrtDestroyEvent", "aclrtMemcpyAsync",
    "aclrtMemsetAsync", "aclrtRecordEvent", "aclrtResetEvent", "aclrtStreamWaitEvent",
)
# After them a thread may have another context.
_CONTEXT_CHANGES = (
    "aclrtCreateContext", "aclrtDestroyContext", "aclrtResetDevice", "aclrtResetDeviceForce", "aclrtSetCurrentContext",
    "aclrtSetDevice", "aclFinalize",
)

# Functions of libruntime.so and libprofapi.so, below the public interface, that torch_npu needs to load. They are not
# emulated, and say so when called.
UNDECLARED = (
    "MsprofRegisterCallback", "MsprofReportAdditionalInfo", "MsprofReportApi", "MsprofReportCompactInfo",
    "rtDevBinaryRegister", "rtFunctionRegister", "rtGetC2cCtrlAddr", "rtKernelLaunch",
)


def _header(guard: str, includes: str, concepts: list[str], more: str = "") -> str:
    declarations = "\n".join(cdefs.text(concept) for concept in concepts)
    return (f'#ifndef {guard}\n#define {guard}\n{includes}\n#ifdef __cplusplus\nextern "C" {{\n#endif\n\n'
            f"{declarations}{more}\n#ifdef __cplusplus\n}}\n#endif\n#endif\n")


def headers() -> dict[str, str]:
    """File name -> text: ``pyacl_acl.h`` declares the runtime, ``pyacl_aclnn.h`` the operators on top of any acl.h."""
    system = "".join(f"#include <{name}>\n" for name in _SYSTEM)
    runtime = [c for c in cdefs.order() if not c.startswith(_OPERATORS)]
    operators = [c for c in cdefs.order() if c.startswith(_OPERATORS)]
    phases = "".join(f"{cdefs.callable_prototype(name)};\n" for name in second_phases())
    return {"pyacl_acl.h": _header("PYACL_ACL_H", system, runtime),
            "pyacl_aclnn.h": _header("PYACL_ACLNN_H", "", operators, phases)}


def second_phases() -> list[str]:
    """The operators whose second phase has no declaration of its own."""
    return [name for name in cdefs.operators(own=False) if cdefs.prototype(name) is None]


@cache
def deferrable() -> set[str]:
    """The calls that start work or drop a description, and answer nothing but that they did: see `deferred.c`."""
    return {*second_phases(), *_DEFERRABLE}


def names() -> list[str]:
    """Every exported function, sorted."""
    return sorted({*cdefs.functions(), *cdefs.operators(own=False), *UNDECLARED})


def _parameter(kind: str, name: str) -> str:
    """A parameter's declaration; function pointers and arrays have the name inside."""
    pointer = re.match(r"(.*\(\*\s*(?:const)?)\s*(\).*)$", kind)
    if pointer:
        return f"{pointer[1]} {name}{pointer[2]}"
    head, bracket, tail = kind.partition("[")
    return f"{head} {name}{bracket}{tail}"


def _failure(returns: str) -> str:
    """What a function returns when Python cannot be reached."""
    return {"aclError": "FAILED", "aclnnStatus": "FAILED", "void": ""}.get(returns, "0")


def _stub(index: int, name: str) -> str:
    prototype = cdefs.callable_prototype(name)
    if prototype is None:
        return (f"EXPORT int {name}(void) {{\n    FIND_CALLBACK({index}, FAILED);\n"
                "    return ((int (*)(void))callback)();\n}\n")
    arguments = [f"p{i}" for i in range(len(prototype.params))]
    params = [_parameter(p.type, a) for p, a in zip(prototype.params, arguments)] + ["..."] * prototype.variadic
    head = f"EXPORT {prototype.returns} {name}({', '.join(params) or 'void'}) {{\n"
    if prototype.variadic:
        # aclAppLog is the only one.
        return (f"{head}    va_list more;\n    va_start(more, {arguments[-1]});\n"
                f"    app_log({index}, {', '.join(arguments)}, more);\n    va_end(more);\n}}\n")
    failure = "*reason ? reason : NULL" if name == "aclGetRecentErrMsg" else _failure(prototype.returns)
    keyword = "" if prototype.returns == "void" else "return "
    if name in deferrable():
        words = ", ".join(f"(long){a}" for a in arguments)
        head += f"    if (deferring()) return defer({index}, (long[6]){{{words}}});\n"
    settle = "    settle();\n"
    if "Synchronize" in name:
        settle += "    int deferred = deferred_failure();\n    if (deferred) return deferred;\n"
    call = f"((__typeof__(&{name}))callback)({', '.join(arguments)});"
    if name in _CONTEXT_CHANGES:
        call = f"int code = {call}\n    look_at_context();\n    return code;"
        keyword = ""
    return f"{head}    FIND_CALLBACK({index}, {failure});\n{settle}    {keyword}{call}\n}}\n"


def _libpython() -> str:
    """This Python's shared library; "" where it has none, and then only Python processes can use the export."""
    variables = sysconfig.get_config_vars()
    for folder in (variables.get("LIBDIR"), Path(sys.base_prefix, "lib")):
        for name in (variables.get("INSTSONAME"), variables.get("LDLIBRARY")):
            if folder and name and ".so" in name and (path := Path(folder, name)).exists():
                return str(path)
    return ""


_BOOTSTRAP = """
import os
import sys
try:
    import pyacl.emulator.export.entry
except ImportError:
    # A process of the same Python without pyacl borrows it, and what it needs, from where the library was built.
    if sys.version_info[:2] != {version}:
        raise
    sys.path += [path for path in {paths} if path not in sys.path]
    import pyacl.emulator.export.entry
"""


def bootstrap() -> str:
    """The Python text that makes the emulator importable."""
    package = str(Path(__file__).resolve().parents[3])
    paths = [package, *(p for p in sys.path if p.endswith(("site-packages", "dist-packages")) and p != package)]
    text = _BOOTSTRAP.format(version=tuple(sys.version_info[:2]), paths=paths)
    return f"exec({text!r}, {{}})"  # not in __main__, which is the program's


def library() -> str:
    """The source of ``libascendcl.so``, which has everything."""
    exported = names()
    constants = {
        "LIBPYTHON": _libpython() or "(this Python has no shared library)", "PROGRAM": os.path.normpath(sys.executable),
        "STDLIB": sysconfig.get_path("stdlib"), "PYTHON_FOLDER": Path(sysconfig.get_path("stdlib")).name,
        "BOOTSTRAP": bootstrap(),
    }
    return "\n".join([
        "#define _GNU_SOURCE",
        *(f"#include <{name}>" for name in _INCLUDED),
        '#include "pyacl_acl.h"\n#include "pyacl_aclnn.h"',
        '#define EXPORT __attribute__((visibility("default")))',
        *(f"#define {name} {json.dumps(value)}" for name, value in constants.items()),
        f"#define COUNT {len(exported)}\nstatic const char *const names[COUNT] = {{",
        *(f'    "{name}",' for name in exported),
        "};",
        Path(__file__).with_name("start.c").read_text(),
        *(f"#define {macro} {exported.index(name)}" for macro, name in _USED.items()),
        Path(__file__).with_name("deferred.c").read_text(),
        Path(__file__).with_name("native.c").read_text(),
        *(_stub(i, name) for i, name in enumerate(exported)),
    ])
