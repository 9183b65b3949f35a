"""Which backend is chosen and why, and how libraries are found: with tiny real libraries, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc to build the libraries it looks for")

RUNTIME = """
#include <stdint.h>
#include <stddef.h>
int aclrtGetDeviceCount(uint32_t *count) { *count = DEVICES; return 0; }
int aclInit(const char *path) { return 100002; }
size_t aclDataTypeSize(int kind) { return 40 + kind; }
int aclsysGetCANNVersion(int name, char *version) { version[0] = '8'; version[1] = '.'; version[2] = '0'; version[3] = 0; return 0; }
"""
OPERATORS = """
#include <stdint.h>
int aclnnAddGetWorkspaceSize(void *self, void *other, void *alpha, void *out, uint64_t *size, void **executor) {
    *size = 77; *executor = (void *)0x1234; return 0;
}
int aclnnAdd(void *workspace, uint64_t size, void *executor, void *stream) { return executor == (void *)0x1234 ? (int)size : -1; }
int aclnnMineGetWorkspaceSize(const void *x, double eps, uint64_t *size, void **executor) { *size = (uint64_t)(eps * 10); return 0; }
"""


def build(folder: Path, name: str, source: str, *flags: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "source.c").write_text(source)
    subprocess.run(["gcc", "-shared", "-fPIC", *flags, "-o", str(folder / name), str(folder / "source.c")], check=True)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as CANN's installer leaves it, with a runtime and operators."""
    root = tmp_path_factory.mktemp("cann")
    build(root / "lib64", "libascendcl.so", RUNTIME, "-DDEVICES=2")
    build(root / "lib64", "libopapi.so", OPERATORS)
    return root


def run(code: str, **variables: object) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ASCEND", "PYACL", "LD_LIBRARY"))}
    if "PYACL_CFFI" in os.environ:
        environment["PYACL_CFFI"] = os.environ["PYACL_CFFI"]
    environment.update({k: str(v) for k, v in variables.items()})
    return subprocess.run([sys.executable, "-c", "import pyacl\nfrom pyacl import lib, ffi\nfrom pyacl.capi import active\n" + code],
                          capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("variable", ["PYACL_LIBRARY_PATH", "ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME", "LD_LIBRARY_PATH"])
@pytest.mark.parametrize("module", ["auto", "abi"])
def test_auto_takes_real_libraries_wherever_they_are_found(installed: Path, variable: str, module: str) -> None:
    folder = installed / "lib64" if variable.endswith("LIBRARY_PATH") else installed
    done = run("print(active().name, active().version, lib.aclDataTypeSize(2))", PYACL_CFFI=module, **{variable: folder})
    assert done.stdout == "native 8.0 42\n", done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.parametrize("module", ["auto", "abi"])
def test_operators_come_from_their_own_library_and_share_one_launch(installed: Path, module: str) -> None:
    code = """
size, executor = ffi.new("uint64_t *"), ffi.new("aclOpExecutor **")
assert lib.aclnnAddGetWorkspaceSize(ffi.NULL, ffi.NULL, ffi.NULL, ffi.NULL, size, executor) == 0
print(size[0], lib.launch(lib.aclnnAdd, ffi.NULL, size[0], executor[0], ffi.NULL),
      lib.aclnnAdd(ffi.NULL, 5, executor[0], ffi.NULL))
pyacl.declare_op("aclnnMine", "const aclTensor *x, double eps")
lib.aclnnMineGetWorkspaceSize(ffi.NULL, 1.5, size, executor)
print(size[0])
"""
    done = run(code, PYACL_CFFI=module, PYACL_BACKEND="native", PYACL_LIBRARY_PATH=installed / "lib64")
    assert done.stdout == "77 77 5\n15\n", done.stderr


def test_a_missing_symbol_names_library_version_and_release(installed: Path) -> None:
    done = run("try: lib.aclrtStreamWaitEventWithFlag\nexcept pyacl.MissingSymbolError as e: print(e)",
               PYACL_LIBRARY_PATH=installed / "lib64")
    assert done.stdout == ("aclrtStreamWaitEventWithFlag is not in libascendcl.so, libopapi.so of CANN 8.0; "
                           "known from CANN 2026-08\n"), done.stderr


def test_a_missing_symbol_is_an_error_only_when_it_is_used(installed: Path) -> None:
    done = run("print(hasattr(lib, 'aclrtMalloc'), lib.aclDataTypeSize(0))", PYACL_LIBRARY_PATH=installed / "lib64")
    assert done.stdout == "False 40\n", done.stderr


def reasons(tmp_path: Path, installed: Path) -> dict[str, tuple[Path, str]]:
    return {
        "nothing there": (tmp_path / "empty", f"no libascendcl.so in {tmp_path / 'empty'}"),
        "no device": (build(tmp_path / "none", "libascendcl.so", RUNTIME, "-DDEVICES=0"), "0 devices answer"),
        "undefined symbol": (build(tmp_path / "broken", "libascendcl.so", RUNTIME + "int g(void); int f(void) { return g(); }",
                                   "-DDEVICES=1"), "undefined symbol: g"),
        "not a library": (tmp_path / "text", "does not load"),
        "another library": (build(tmp_path / "other", "libascendcl.so", "int x;"), "has no aclrtGetDeviceCount"),
    }


@pytest.mark.parametrize("module", ["auto", "abi"])
def test_auto_falls_back_once_and_says_why_and_native_never_does(tmp_path: Path, installed: Path, module: str) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "libascendcl.so").write_text("not a library")
    for folder, reason in reasons(tmp_path, installed).values():
        done = run("print(active().name); active()", PYACL_LIBRARY_PATH=folder, PYACL_CFFI=module)
        assert done.stdout == "emulator\n", done.stderr
        assert done.stderr.count("EmulatorWarning") == 1
        assert reason in done.stderr
        done = run("try: active()\nexcept pyacl.BackendError as e: print(e)", PYACL_LIBRARY_PATH=folder, PYACL_CFFI=module,
                   PYACL_BACKEND="native")
        assert reason in done.stdout, done.stderr
        assert "asked for by PYACL_BACKEND" in done.stdout


@pytest.mark.parametrize("use", ["pyacl.Device(0).close()", "lib.aclrtGetDevice(ffi.NULL)", "hasattr(lib, 'aclInit')",
                                 "pyacl.Tensor.from_numpy(np.zeros(3))"])
def test_warnings_point_to_the_line_that_called_pyacl(tmp_path: Path, use: str) -> None:
    program = tmp_path / "program.py"
    program.write_text(f"import numpy as np, pyacl\nfrom pyacl import ffi, lib\ndef work():\n    {use}\ntry: work()\nexcept Exception: pass\n")
    done = run(f"import runpy; runpy.run_path({str(program)!r})", PYACL_LIBRARY_PATH=tmp_path)
    assert f"{program}:4: EmulatorWarning" in done.stderr
    build(tmp_path, "libascendcl.so", RUNTIME, "-DDEVICES=1")
    build(tmp_path, "libopapi.so", "int g(void); int f(void) { return g(); }")
    program.write_text("from pyacl import lib\n\nhasattr(lib, 'aclnnAdd')\n")
    done = run(f"import runpy; runpy.run_path({str(program)!r})", PYACL_LIBRARY_PATH=tmp_path)
    assert f"{program}:3: RuntimeWarning" in done.stderr


def test_use_backend_decides_before_the_first_call_only(installed: Path) -> None:
    code = """
pyacl.use_backend("emulator")
print(active().name, active().reason)
try: pyacl.use_backend("native")
except RuntimeError as e: print(e)
try: pyacl.use_backend("cuda")
except ValueError as e: print(e)
"""
    done = run(code, PYACL_LIBRARY_PATH=installed / "lib64", PYACL_BACKEND="native")
    assert done.stdout.splitlines() == [
        "emulator asked for by use_backend",
        "the emulator backend is already in use (asked for by use_backend): choose before the first use of pyacl",
        "no backend 'cuda': choose one of auto, native, emulator"], done.stderr
    assert not done.stderr


def test_a_wrong_environment_is_refused() -> None:
    done = run("try: active()\nexcept pyacl.BackendError as e: print(e)", PYACL_BACKEND="gpu")
    assert done.stdout == "PYACL_BACKEND='gpu': choose one of auto, native, emulator\n", done.stderr


def test_a_broken_operator_library_is_reported_and_the_rest_works(tmp_path: Path) -> None:
    build(tmp_path, "libascendcl.so", RUNTIME, "-DDEVICES=1")
    build(tmp_path, "libopapi.so", "int g(void); int f(void) { return g(); }")
    done = run("print(hasattr(lib, 'aclnnAdd'), lib.aclDataTypeSize(1))", PYACL_LIBRARY_PATH=tmp_path)
    assert done.stdout == "False 41\n"
    assert "libopapi.so does not load" in done.stderr
    assert "undefined symbol: g" in done.stderr


def test_a_vendors_operators_are_found(tmp_path: Path, installed: Path) -> None:
    build(tmp_path / "op_api" / "lib", "libcust_opapi.so",
          "int aclnnVendorGetWorkspaceSize(void *x, unsigned long *size, void **executor) { *size = 9; return 0; }")
    code = """
pyacl.declare_op("aclnnVendor", "const aclTensor *x")
size = ffi.new("uint64_t *")
lib.aclnnVendorGetWorkspaceSize(ffi.NULL, size, ffi.new("aclOpExecutor **"))
print(size[0])
"""
    done = run(code, PYACL_LIBRARY_PATH=installed / "lib64", ASCEND_CUSTOM_OPP_PATH=tmp_path)
    assert done.stdout == "9\n", done.stderr


def test_a_forked_child_gets_an_error_not_a_hang() -> None:
    code = """
import os
kept = lib.aclDataTypeSize
lib.aclDataTypeSize(0)
pid = os.fork()
if pid == 0:
    try: lib.aclDataTypeSize(0)
    except pyacl.ForkError as e: print("spawn" in str(e), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(lib.aclDataTypeSize(0))
"""
    done = run(code, PYACL_BACKEND="emulator")
    assert done.stdout == "True\n4\n", done.stderr


def test_a_fork_before_the_first_use_is_fine() -> None:
    code = """
import os
pid = os.fork()
if pid == 0:
    print(lib.aclDataTypeSize(0), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""
    done = run(code, PYACL_BACKEND="emulator")
    assert done.stdout == "4\n", done.stderr


def test_a_declared_operator_keeps_its_declaration() -> None:
    code = """
pyacl.declare_op("aclnnMine", "const aclTensor *x, aclTensor *out")
pyacl.declare_op("aclnnMine", "const aclTensor *x, aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor")
for name, params in (("aclnnMine", "aclTensor *out"), ("aclnnAdd", "double x"), ("a b", ""), ("aclnnX", "int64_t"), ("aclnnX", "...")):
    try: pyacl.declare_op(name, params)
    except ValueError as e: print(e)
"""
    done = run(code, PYACL_BACKEND="emulator")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["aclnnMine", "aclnnAdd", "'a", "parameter", "aclnnX:"]
