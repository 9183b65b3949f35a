"""Builds the cffi modules from ``cdefs/`` (called by ``setup.py``, never at run time).

``_acl_api`` is compiled: a table of function pointers, one small C wrapper for each function, filled as symbols are
looked up. It needs no CANN to build and links to none. ``_acl_hot`` has the few calls that keep the GIL. ``_acl_abi``
is pure Python, for machines without a compiler: it holds types and constants, and functions are called through pointers
of the right type.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import cffi

_HERE = Path(__file__).resolve().parent


def _load(name: str) -> Any:
    # pyacl itself cannot be imported before its modules are built.
    spec = importlib.util.spec_from_file_location(f"_pyacl_{name}", _HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


cdefs = _load("cdefs")

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


_INCLUDES = "\n".join(f"#include <{name}.h>" for name in ("dlfcn", "stdbool", "stddef", "stdint", "stdlib", "string"))


def _table(names: list[str]) -> str:
    """The table of function pointers, for sorted names, and what fills it."""
    quoted = "".join(f'    "{name}",\n' for name in names)
    return f"""
static void *pyacl_table[{len(names)}];
static const char *const pyacl_names[] = {{
{quoted}}};

static int pyacl_compare(const void *name, const void *entry) {{
    return strcmp((const char *)name, *(const char *const *)entry);
}}

/* Puts a symbol's address into the table: 0, or -1 for a name that is not in it. */
static int pyacl_bind(const char *name, void *address) {{
    const char *const *entry = bsearch(name, pyacl_names, {len(names)}, sizeof *pyacl_names, pyacl_compare);
    if (entry == NULL) return -1;
    pyacl_table[entry - pyacl_names] = address;
    return 0;
}}
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
{_INCLUDES}
{types}
{_table([p.name for p in prototypes])}
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


def _hot_wrapper(index: int, prototype: Any, names: Any) -> str:
    """A wrapper that is entered with the GIL held, and gives it up where it may wait."""
    name, types = prototype.name, [p.type for p in prototype.params]
    arguments = [f"p{i}" for i in range(len(types))]
    if name == "launch":
        pointer, arguments = "((aclnnStatus (*)(void *, uint64_t, aclOpExecutor *, aclrtStream))p0)", arguments[1:]
    else:
        pointer = f"((__typeof__({name}) *)pyacl_table[{index}])"
    call = f"{pointer}({', '.join(arguments)})"
    plain = (f"PyThreadState *saved = PyEval_SaveThread(); {prototype.returns} result = {call}; "
             "PyEval_RestoreThread(saved);")
    if name in names.GETTERS:
        body = f"return {call};"
    elif name == "aclrtStreamQuery":
        body = (f"uint64_t until = pyacl_find(p0)->queued; {prototype.returns} result = {call}; "
                "if (result == 0 && *p1 == ACL_STREAM_STATUS_COMPLETE) pyacl_drained(p0, until); return result;")
    elif name in names.DRAINING and types[0] == "aclrtStream *":
        body = f"{plain} if (result == 0) pyacl_drained(*p0, pyacl_find(*p0)->queued); return result;"
    elif name in names.DRAINING:
        body = (f"uint64_t until = pyacl_find(p0)->queued; {plain} if (result == 0) pyacl_drained(p0, until); "
                "return result;")
    else:
        waits = f"pyacl_may_wait(p{types.index('aclrtStream')})"
        if name == "aclrtMemcpyAsync":
            waits += f" || p{types.index('aclrtMemcpyKind')} != ACL_MEMCPY_DEVICE_TO_DEVICE"
        body = f"if (!({waits})) return {call}; {plain} return result;"
    return f"static {_declaration(prototype)} {{ {body} }}"


def hot() -> cffi.FFI:
    """The second compiled module: the few calls that keep the GIL, for `hot`. Types are the first module's."""
    names = _load("hot")
    types, _ = _split()
    launch = cdefs.Prototype("aclnnStatus", "launch", (cdefs.Parameter("void *", "phase_two"), *cdefs.LAUNCH.params))
    wanted = sorted(names.QUEUEING + names.DRAINING + names.GETTERS)
    prototypes = [launch if n == "launch" else cdefs.prototype(n) for n in wanted]
    declarations = "".join(f"{_declaration(p)};\n" for p in prototypes)
    # cffi shares structs between modules but not enums: a pointer to one would be of another type.
    for enum in re.findall(r"^typedef enum (\w+)", types, re.M):
        declarations = re.sub(rf"\b{enum} \*", "void *", declarations)
    ffi = cffi.FFI()
    ffi.include(api())
    ffi.cdef("int pyacl_bind(const char *name, void *address);\n"
             "int pyacl_accelerate(void *executor, void *stream, void *flight, void *pointer);\n" + declarations)
    source = f"""
{_INCLUDES}
#define PYACL_LIMIT {names.LIMIT}
{types}
{_table([p.name for p in prototypes])}
{(_HERE / "hot.c").read_text()}
{chr(10).join(_hot_wrapper(i, p, names) for i, p in enumerate(prototypes))}
"""
    # Not for the limited API: it reads the slots of Python objects.
    ffi.set_source("pyacl.capi._acl_hot", source, optional=True, py_limited_api=False,
                   define_macros=[("_CFFI_NO_LIMITED_API", None)],
                   extra_compile_args=["-O2", "-g0", "-w"])
    return ffi


def abi() -> cffi.FFI:
    types, _ = _split()
    ffi = cffi.FFI()
    ffi.cdef(types + _LOADER)
    ffi.set_source("pyacl.capi._acl_abi", None)
    return ffi
