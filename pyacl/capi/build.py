"""Builds the two cffi modules from ``cdefs/`` (called by ``setup.py``, never at run time).

``_acl_api`` is compiled: a table of function pointers, one small C wrapper for each function, filled as symbols are
looked up. It needs no CANN to build and links to none. ``_acl_abi`` is pure Python, for machines without a compiler:
it holds types and constants, and functions are called through pointers of the right type.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import cffi

_HERE = Path(__file__).resolve().parent


def _load_cdefs() -> Any:
    # pyacl itself cannot be imported before its modules are built.
    spec = importlib.util.spec_from_file_location("_pyacl_cdefs", _HERE / "cdefs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


cdefs = _load_cdefs()

_LOADER = """
void *dlopen(const char *path, int mode);
void *dlsym(void *library, const char *name);
char *dlerror(void);
"""
_BIND = """
aclnnStatus launch(void *phase_two, void *workspace, uint64_t workspaceSize, aclOpExecutor *executor,
                   aclrtStream stream);
int pyacl_bind(const char *name, void *address);
"""


def _split() -> tuple[str, list[Any]]:
    """The types and constants of all cdefs, and the prototypes of all functions."""
    types = "\n".join(cdefs._FUNCTION.sub("", cdefs.text(concept)) for concept in cdefs.order())
    types = re.sub(r'^#define \w+ ".*"\n', "", types, flags=re.M)
    prototypes = [cdefs.prototype(name) for name in cdefs.functions()]
    return types, [p for p in prototypes if not p.variadic]


def _declaration(prototype: Any) -> str:
    """The prototype with positional parameter names (`str(prototype)` is for people)."""
    params = []
    for i, p in enumerate(prototype.params):
        pointer = re.match(r"(.*\(\*\s*(?:const)?)(\).*)$", p.type)
        head, bracket, tail = p.type.partition("[")
        params.append(f"{pointer[1]} p{i}{pointer[2]}" if pointer else f"{head} p{i}{bracket}{tail}")
    return f"{prototype.returns} {prototype.name}({', '.join(params) or 'void'})"


def _wrapper(index: int, prototype: Any) -> str:
    arguments = ", ".join(f"p{i}" for i in range(len(prototype.params)))
    keyword = "" if prototype.returns == "void" else "return "
    return (f"static {_declaration(prototype)} "
            f"{{ {keyword}((__typeof__({prototype.name}) *)pyacl_table[{index}])({arguments}); }}")


def api() -> cffi.FFI:
    types, prototypes = _split()
    prototypes.sort(key=lambda p: p.name)
    ffi = cffi.FFI()
    ffi.cdef(types + _LOADER + _BIND + "".join(f"{_declaration(p)};\n" for p in prototypes))
    source = f"""
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
{types}
static void *pyacl_table[{len(prototypes)}];
static const char *const pyacl_names[] = {{
{"".join(f'    "{p.name}",{chr(10)}' for p in prototypes)}}};

static int pyacl_compare(const void *name, const void *entry) {{
    return strcmp((const char *)name, *(const char *const *)entry);
}}

/* Puts a symbol's address into the table: 0, or -1 for a name that is not in it. */
static int pyacl_bind(const char *name, void *address) {{
    const char *const *entry = bsearch(name, pyacl_names, {len(prototypes)}, sizeof *pyacl_names, pyacl_compare);
    if (entry == NULL) return -1;
    pyacl_table[entry - pyacl_names] = address;
    return 0;
}}

/* One wrapper for every second phase: they all have one signature. */
static aclnnStatus launch(void *phase_two, void *workspace, uint64_t workspaceSize, aclOpExecutor *executor,
                          aclrtStream stream) {{
    return ((aclnnStatus (*)(void *, uint64_t, aclOpExecutor *, aclrtStream))phase_two)(
        workspace, workspaceSize, executor, stream);
}}

{chr(10).join(_wrapper(i, p) for i, p in enumerate(prototypes))}
"""
    # Without a compiler setuptools goes on, and the ABI module serves.
    ffi.set_source("pyacl.capi._acl_api", source, optional=True, extra_compile_args=["-O1", "-g0", "-w"])
    return ffi


def abi() -> cffi.FFI:
    types, _ = _split()
    ffi = cffi.FFI()
    ffi.cdef(types + _LOADER)
    ffi.set_source("pyacl.capi._acl_abi", None)
    return ffi
