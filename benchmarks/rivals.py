"""Other ways to call the same library, built at run time: a loop in C, cffi's two modes, nanobind."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any, Callable

FOLDER = Path(__file__).resolve().parent.parent / "build" / "benchmarks"

# The calls that are compared: name, C parameters.
CALLS = {
    "aclnnAdd": "void *workspace, uint64_t size, void *executor, void *stream",
    "aclnnInplaceOne": "void *workspace, uint64_t size, void *executor, void *stream",
    "aclSetTensorAddr": "void *executor, size_t index, void *tensor, void *address",
    "aclrtRecordEvent": "void *event, void *stream",
    "aclrtMemcpyAsync": "void *dst, size_t max, const void *src, size_t count, int kind, void *stream",
    "aclrtMemset": "void *address, size_t max, int32_t value, size_t count",
    "aclrtGetDevice": "int32_t *device",
    "aclmdlExecuteAsync": "uint32_t model, void *input, void *output, void *stream",
    "aclrtKernelArgsParaUpdate": "void *args, void *param, void *value, size_t size",
    "aclrtKernelArgsFinalize": "void *args",
    "aclrtLaunchKernelWithConfig":
        "void *function, uint32_t blocks, void *stream, void *config, void *args, void *reserved",
}
DECLARATIONS = "".join(f"int {name}({params});\n" for name, params in CALLS.items())


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join([sys.version, *parts]).encode()).hexdigest()[:12]


def _cached(name: str, build: Callable[[Path], None], *parts: str) -> Path:
    """The folder in which `build` has put `name` for these inputs."""
    folder = FOLDER / f"{name}-{_key(*parts)}"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        build(folder)
        (folder / "done").touch()
    return folder


def noop() -> Path:
    """The library of functions that do nothing."""
    from . import noop as module

    return _cached("noop", lambda folder: void(module.build(folder)), module.source()) / "libascendcl.so"


def void(_: object) -> None:
    """For lambdas that return nothing."""


def load(name: str, path: Path) -> Any:
    """An extension module from its file."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cffi_api(library: Path) -> Any:
    """cffi's API mode, linked to the library as a binding of its own would be: the module with ``ffi`` and ``lib``."""
    def build(folder: Path) -> None:
        import cffi

        ffi = cffi.FFI()
        ffi.cdef(DECLARATIONS)
        ffi.set_source("_rival_cffi", f"#include <stdint.h>\n#include <stddef.h>\n{DECLARATIONS}",
                       libraries=["ascendcl"], library_dirs=[str(library.parent)],
                       runtime_library_dirs=[str(library.parent)], extra_compile_args=["-O2"])
        ffi.compile(tmpdir=str(folder))

    folder = _cached("cffi", build, DECLARATIONS, str(library))
    return load("_rival_cffi", next(folder.glob("_rival_cffi*.so")))


def cffi_abi(library: Path) -> tuple[Any, Any]:
    """cffi's ABI mode: ffi and lib."""
    import cffi

    ffi = cffi.FFI()
    ffi.cdef(DECLARATIONS)
    return ffi, ffi.dlopen(str(library))


_LOOP = """
#include <stdint.h>
#include <time.h>
typedef int (*phase)(void *, uint64_t, void *, void *);
/* Nanoseconds for n calls through a pointer, as any binding must make them. */
double loop(phase function, long n) {
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (long i = 0; i < n; i++) {
        __asm__ volatile("" : "+r"(function));
        function((void *)64, 0, (void *)128, (void *)256);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    return (b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec);
}
"""


def c_loop(library: Path) -> Callable[[int], float]:
    """A function of n: nanoseconds for n calls of aclnnAdd in C."""
    import ctypes

    def build(folder: Path) -> None:
        (folder / "loop.c").write_text(_LOOP)
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", "libloop.so", "loop.c"], cwd=folder, check=True)

    loop = ctypes.CDLL(str(_cached("loop", build, _LOOP) / "libloop.so")).loop
    loop.restype, loop.argtypes = ctypes.c_double, [ctypes.c_void_p, ctypes.c_long]
    function = ctypes.cast(ctypes.CDLL(str(library)).aclnnAdd, ctypes.c_void_p)
    return lambda n: float(loop(function, n))


def _nanobind_source() -> str:
    pointers = "".join(f"    m.def(\"{name}\", []({_as_integers(params)}) {{ return {name}({_casts(params)}); }});\n"
                       for name, params in CALLS.items())
    return (f"#include <nanobind/nanobind.h>\n#include <cstdint>\nextern \"C\" {{\n{DECLARATIONS}}}\n"
            f"NB_MODULE(_rival_nanobind, m) {{\n{pointers}}}\n")


def _as_integers(params: str) -> str:
    return ", ".join(f"uintptr_t {p.split('*')[-1].strip()}" if "*" in p else p for p in params.split(", "))


def _casts(params: str) -> str:
    return ", ".join(f"({p[:p.rindex('*') + 1]}){p.split('*')[-1]}" if "*" in p else p.split()[-1]
                     for p in params.split(", "))


def nanobind(library: Path) -> Any:
    """A nanobind module that takes addresses as integers; None where nanobind or g++ is not there."""
    try:
        import nanobind as package
    except ImportError:
        return None
    code = _nanobind_source()

    def build(folder: Path) -> None:
        (folder / "module.cpp").write_text(code)
        sources = Path(package.source_dir())
        subprocess.run(
            ["g++", "-std=c++17", "-O2", "-DNDEBUG", "-fvisibility=hidden", "-fno-strict-aliasing", "-shared", "-fPIC",
             "-w", f"-I{package.include_dir()}", f"-I{sources.parent / 'ext' / 'robin_map' / 'include'}",
             f"-I{sysconfig.get_paths()['include']}", "module.cpp", str(sources / "nb_combined.cpp"),
             f"-L{library.parent}", "-lascendcl", f"-Wl,-rpath,{library.parent}",
             "-o", f"_rival_nanobind{sysconfig.get_config_var('EXT_SUFFIX')}"], cwd=folder, check=True)

    try:
        folder = _cached("nanobind", build, code, package.__version__, str(library))
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"no nanobind: {error}", file=sys.stderr)
        return None
    return load("_rival_nanobind", next(folder.glob("_rival_nanobind*.so")))
