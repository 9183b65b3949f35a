"""The emulator as real libraries: what they export, how they fail, and that programs in C and C++ run on them."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import textwrap
from functools import cache
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
from wheels import unpacked

from pyacl.capi import cdefs
from pyacl.emulator.export.build import REAL, THIN, BuildError, build
from pyacl.emulator.export.cli import settings

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
Arguments = Callable[[str], "list[Path]"]
PROGRAMS = sorted(p.stem for p in (HERE / "c").glob("*.c"))

pytestmark = [
    pytest.mark.skipif(os.environ.get("PYACL_BACKEND") == "native", reason="these tests start their own programs"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc builds the libraries"),
]


@pytest.fixture(scope="session")
def exported() -> Path:
    # By the command, in a process of its own: this one may have declared operators, which then belong to the libraries.
    done = subprocess.run([sys.executable, "-m", "pyacl", "emulator", "build"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.split()[-1])


def run(exported: Path, *command: object, timeout: float = 100, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program on the exported libraries."""
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, **settings(exported), **environment})


def python(exported: Path, text: str, **environment: str) -> str:
    """Runs Python code in a process of its own, on the native backend; its output."""
    done = run(exported, sys.executable, "-c", textwrap.dedent(text), timeout=100, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def compile_c(exported: Path, tmp_path: Path, program: str, *options: str, compiler: str = "gcc") -> Path:
    language = ["-x", "c++"] if compiler == "g++" else []
    binary = tmp_path / f"{program}-{compiler}"
    done = subprocess.run(
        [compiler, *language, "-g", "-Wall", "-Wextra", "-Werror", *options, f"-I{exported / 'include'}",
         str(HERE / "c" / f"{program}.c"), "-o", str(binary), f"-L{exported / 'lib64'}",
         "-lopapi", "-lnnopbase", "-lacl_op_compiler", "-lacl_cblas", "-lruntime", "-lascendcl", "-lpthread"],
        capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return binary


@pytest.fixture(scope="session")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> Arguments:
    """What a program of tests/c is called with."""
    folder = tmp_path_factory.mktemp("made")

    @cache
    def made(program: str) -> list[Path]:
        if program == "kernels":
            kernel = folder / "add_custom.so"
            subprocess.run(["gcc", "-shared", "-fPIC", f"-I{ROOT / 'pyacl/emulator/kernels'}",
                            ROOT / "examples/kernels/add_custom.c", "-o", kernel], check=True)
            return [kernel]
        if program == "models":
            return [plus_one(folder)]
        return []

    return made


def plus_one(folder: Path) -> Path:
    """A compiled model: y = x + 1."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from pyacl.emulator.models.compile import compile_file

    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 3]) for name in "xy"]
    one = onnx.numpy_helper.from_array(np.ones(1, np.float32), "one")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "one"], ["y"])], "plus_one", values[:1],
                                   values[1:], [one])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8),
              folder / "plus_one.onnx")
    return Path(compile_file(folder / "plus_one.onnx", folder / "plus_one"))


# The libraries.


def test_every_declared_function_is_exported(exported: Path) -> None:
    listed = subprocess.run(["nm", "-D", "--defined-only", exported / "lib64" / REAL], capture_output=True, text=True)
    symbols = {line.split()[-1] for line in listed.stdout.splitlines()}
    wanted = {*cdefs.functions(), *cdefs.operators(own=False)}
    assert len(wanted) > 2500
    assert wanted <= symbols
    # Nothing else leaks out, but for what torch_npu needs from below the public interface.
    assert {s for s in symbols - wanted if not s.startswith(("rt", "Msprof"))} == set()


def test_thin_libraries_have_their_names_and_need_the_real_one(exported: Path) -> None:
    for name in (REAL, *THIN):
        dynamic = subprocess.run(["readelf", "-d", exported / "lib64" / name], capture_output=True, text=True).stdout
        assert f"Library soname: [{name}]" in dynamic
        assert (f"Shared library: [{REAL}]" in dynamic) == (name != REAL)
        assert "libpython" not in dynamic  # or a process would have two


def test_build_is_cached_and_can_be_placed(exported: Path, tmp_path: Path) -> None:
    before = (exported / "lib64" / REAL).stat().st_mtime_ns
    assert build() == exported
    assert (exported / "lib64" / REAL).stat().st_mtime_ns == before
    placed = build(tmp_path / "home")
    assert placed == tmp_path / "home"
    assert {p.name for p in (placed / "lib64").iterdir()} == {REAL, *THIN}


def test_a_process_survives_that_its_libraries_are_built_anew(exported: Path, tmp_path: Path) -> None:
    placed = build(tmp_path / "home")
    assert python(placed, f"""
        from pathlib import Path
        import pyacl
        from pyacl.emulator.export.build import build
        with pyacl.Device(0):
            build(Path({str(placed)!r}))
            with pyacl.Stream() as stream:
                stream.synchronize()
            print("alive", pyacl.Tensor.from_numpy(__import__("numpy").arange(3)).numpy())
        """) == "alive [0 1 2]\n"
    assert sorted(p.name for p in (placed / "lib64").iterdir()) == sorted({REAL, *THIN})


def test_build_without_gcc_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="gcc is not installed"):
        build()
    assert list((tmp_path / "cache" / "pyacl" / "export").iterdir()) == []  # no half-made build stays behind


# The command line.


def test_env_prints_what_a_shell_can_take(exported: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pyacl", "emulator", "env"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    shell = subprocess.run(["sh", "-c", f'{done.stdout}\necho "$PYACL_BACKEND:$PYACL_LIBRARY_PATH"'],
                           capture_output=True, text=True)
    assert shell.stdout.strip() == f"native:{exported / 'lib64'}"


def test_run_starts_a_program_and_keeps_its_exit_code(exported: Path) -> None:
    command = [sys.executable, "-m", "pyacl", "emulator", "run", "--"]
    done = subprocess.run([*command, "sh", "-c", 'echo "$LD_LIBRARY_PATH"; exit 7'], capture_output=True, text=True,
                          cwd=ROOT)
    assert done.returncode == 7
    assert done.stdout.startswith(str(exported / "lib64"))
    done = subprocess.run([*command, "/no/such/program"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "/no/such/program" in done.stderr


# Programs in C and C++.


@pytest.mark.parametrize("compiler", ["gcc", "g++"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_program(exported: Path, arguments: Arguments, tmp_path: Path, program: str, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    done = run(exported, compile_c(exported, tmp_path, program, compiler=compiler), *arguments(program))
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["done"]), done.stderr


@pytest.mark.parametrize("schedule", ["threaded", "inline"])
@pytest.mark.parametrize("program", ["callbacks", "events", "operators", "threads"])
def test_program_under_other_schedules(exported: Path, tmp_path: Path, program: str, schedule: str) -> None:
    done = run(exported, compile_c(exported, tmp_path, program), PYACL_EMULATOR_SCHEDULE=schedule)
    assert done.returncode == 0, done.stderr


def test_log_lines_are_formatted(exported: Path, tmp_path: Path) -> None:
    done = run(exported, compile_c(exported, tmp_path, "log"), ASCEND_SLOG_PRINT_TO_STDOUT="1")
    assert "[ERROR] log.c:7 4 of them, 0.5 %\n" in done.stdout


@pytest.mark.parametrize("compiler", ["gcc", "g++"])
def test_programs_compile_against_real_headers(exported: Path, arguments: Arguments, tmp_path: Path,
                                               compiler: str) -> None:
    include = unpacked("torch_npu==2.14.0", "torch_npu/include") / "torch_npu" / "include"
    for program in PROGRAMS:
        binary = compile_c(exported, tmp_path, program, "-DREAL_HEADERS", "-isystem", str(include), compiler=compiler)
        done = run(exported, binary, *arguments(program))
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_under_address_sanitizer(exported: Path, arguments: Arguments, tmp_path: Path, program: str) -> None:
    binary = compile_c(exported, tmp_path, program, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    # Python keeps what it allocated until the process ends; leaks are valgrind's business.
    done = run(exported, binary, *arguments(program), ASAN_OPTIONS="detect_leaks=0", PYTHONMALLOC="malloc")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not os.environ.get("PYACL_VALGRIND"), reason="takes a minute: PYACL_VALGRIND=1 runs it")
@pytest.mark.timeout(600)
def test_program_under_valgrind(exported: Path, tmp_path: Path) -> None:
    binary = compile_c(exported, tmp_path, "operators")
    # Python's small integers are "uninitialised" by construction: only accesses count.
    done = run(exported, "valgrind", "-q", "--error-exitcode=9", "--undef-value-errors=no",
               f"--suppressions={HERE / 'c' / 'python.supp'}", binary, timeout=500, PYTHONMALLOC="malloc")
    assert done.returncode == 0, done.stderr[-8000:]


# Failure is never success.


def test_without_its_python_calls_fail_and_say_why(exported: Path, tmp_path: Path) -> None:
    binary = compile_c(exported, tmp_path, "missing")
    done = run(exported, binary, "500000", PYTHONHOME="/no/such/place")
    assert done.returncode == 0, done.stderr
    assert "PYTHONHOME" in done.stdout
    assert "PYTHONHOME" in done.stderr


def test_not_emulated_is_printed_by_name(exported: Path, tmp_path: Path) -> None:
    done = run(exported, compile_c(exported, tmp_path, "missing"))
    assert done.stdout.splitlines()[0] == "not emulated: rtKernelLaunch"
    assert done.stderr == "pyacl emulator: not emulated: rtKernelLaunch\n"


def test_every_function_that_is_not_emulated_fails_by_name(exported: Path) -> None:
    output = python(exported, """

        from pyacl.capi import backend, cdefs, ffi, lib
        from pyacl.emulator import table

        checked = 0
        for name in [*cdefs.functions(), *cdefs.operators()]:
            prototype = cdefs.callable_prototype(name)
            if prototype.returns not in ("aclError", "aclnnStatus") or table.emulated(name):
                continue
            # Zeros for whatever the parameters are; nobody reads them.
            code = ffi.cast(f"int(*)({', '.join(['long'] * 200)})", backend.active().symbol(name))(*[0] * 200)
            text = lib.aclGetRecentErrMsg()
            if cdefs.prototype(name) is None:  # a second phase: it has no executor to run
                assert code != 0, name
                assert text != ffi.NULL, name
                continue
            assert code == lib.ACL_ERROR_API_NOT_SUPPORT, (name, code)
            # Of an operator's first phase the operator's name is enough.
            operator = name[:-len("GetWorkspaceSize")] if name.endswith("GetWorkspaceSize") else name
            assert ffi.string(text).decode() in (f"not emulated: {name}", f"not emulated: {operator}"), name
            checked += 1
        print(backend.active().name, checked)
    """)
    name, checked = output.split()
    assert name == "native"
    assert int(checked) > 100


def test_an_exception_inside_is_an_error_code(exported: Path) -> None:
    assert python(exported, """

        from pyacl.emulator.api import device

        def broken(count):
            raise ZeroDivisionError("surprise")

        device.aclrtGetDeviceCount = broken
        from pyacl.capi import ffi
        import ctypes, os
        library = ctypes.CDLL(os.path.join(os.environ["PYACL_LIBRARY_PATH"], "libascendcl.so"))
        library.aclGetRecentErrMsg.restype = ctypes.c_char_p
        print(library.aclrtGetDeviceCount(None), library.aclGetRecentErrMsg().decode())
    """) == "500000 aclrtGetDeviceCount: ZeroDivisionError: surprise\n"


# Python processes share their interpreter.


def test_calls_with_the_gil_held_from_many_threads(exported: Path) -> None:
    # ctypes.PyDLL keeps the GIL, as torch_npu does; half of the threads release it.
    assert python(exported, """
        import ctypes, os, threading
        path = os.path.join(os.environ["PYACL_LIBRARY_PATH"], "libascendcl.so")
        kinds = [ctypes.PyDLL(path), ctypes.CDLL(path)]
        assert kinds[0].aclInit(None) == 0
        done = []
        def work(acl):
            assert acl.aclrtSetDevice(0) == 0
            stream = ctypes.c_void_p()
            assert acl.aclrtCreateStream(ctypes.byref(stream)) == 0
            for _ in range(50):
                memory = ctypes.c_void_p()
                assert acl.aclrtMalloc(ctypes.byref(memory), ctypes.c_size_t(4096), 0) == 0
                assert acl.aclrtMemsetAsync(memory, ctypes.c_size_t(4096), 1, ctypes.c_size_t(4096), stream) == 0
                assert acl.aclrtSynchronizeStream(stream) == 0
                assert acl.aclrtFree(memory) == 0
            done.append(1)
        threads = [threading.Thread(target=work, args=(kinds[i % 2],)) for i in range(6)]
        for t in threads: t.start()
        for t in threads: t.join()
        print(len(done))
    """) == "6\n"


QUEUE = """
    #include "pyacl_acl.h"
    #include <pthread.h>
    #include <semaphore.h>

    static sem_t asked, answered;
    static int (*job)(void);
    static int result;
    static void *memory;
    static aclrtStream stream;

    static void *worker(void *unused) {
        (void)unused;
        result = aclrtSetDevice(0);
        for (;;) {
            sem_post(&answered);
            sem_wait(&asked);
            result = job();
        }
        return NULL;
    }

    int start(void) {
        pthread_t thread;
        aclInit(NULL);
        aclrtSetDevice(0);
        aclrtCreateStream(&stream);
        aclrtMalloc(&memory, 64, ACL_MEM_MALLOC_HUGE_FIRST);
        sem_init(&asked, 0, 0);
        sem_init(&answered, 0, 0);
        pthread_create(&thread, NULL, worker, NULL);
        sem_wait(&answered);
        return result;
    }

    static int fill(void) {
        int failed = 0;
        for (int i = 0; i < 5000; i++) failed += aclrtMemsetAsync(memory, 64, i % 256, 64, stream) != 0;
        return failed;
    }

    static int fail(void) { return aclrtRecordEvent((aclrtEvent)0x10, stream); }

    static int ask(int (*what)(void)) {
        job = what;
        sem_post(&asked);
        sem_wait(&answered);
        return result;
    }

    int ask_fill(void) { return ask(fill); }
    int ask_fail(void) { return ask(fail); }
    int synchronize(void) { return aclrtSynchronizeStream(stream); }
    int byte(void) {
        unsigned char value = 0;
        return aclrtMemcpy(&value, 1, memory, 1, ACL_MEMCPY_DEVICE_TO_HOST) ? -1 : value;
    }
"""


def test_a_queue_whose_filler_waits_with_the_gil_held(exported: Path, tmp_path: Path) -> None:
    # As torch_npu's: a C++ thread calls, and the thread that waits for it holds the GIL.
    (tmp_path / "queue.c").write_text(QUEUE)
    subprocess.run(["gcc", "-shared", "-fPIC", f"-I{exported / 'include'}", tmp_path / "queue.c", "-o",
                    tmp_path / "queue.so", f"-L{exported / 'lib64'}", "-lascendcl", "-lpthread"], check=True)
    text = f"""
        import ctypes
        client = ctypes.PyDLL({str(tmp_path / "queue.so")!r})
        assert ctypes.CDLL({str(tmp_path / "queue.so")!r}).start() == 0
        print(client.ask_fill(), client.synchronize(), client.byte())
        acl = ctypes.CDLL("libascendcl.so")
        acl.aclGetRecentErrMsg.restype = ctypes.c_char_p
        print(client.ask_fail(), client.synchronize() != 0, b"aclrtRecordEvent" in acl.aclGetRecentErrMsg())
        print(client.synchronize())
    """
    done = run(exported, sys.executable, "-c", textwrap.dedent(text), timeout=30, TASK_QUEUE_ENABLE="1")
    # The last of 5000 fills is 4999 % 256; a failure is told once.
    assert done.stdout == "0 0 135\n0 True True\n0\n", done.stderr


def test_a_queue_that_can_hang_is_not_used(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted, set_ in (("", "0"), ("0", "0"), ("1", "1"), ("2", "1")):
        monkeypatch.setenv("TASK_QUEUE_ENABLE", wanted)
        assert settings(exported)["TASK_QUEUE_ENABLE"] == set_
    text = "import ctypes; print(ctypes.CDLL('libascendcl.so').aclInit(None))"
    for mode, warned in (("1", False), ("2", True)):
        done = run(exported, sys.executable, "-c", text, TASK_QUEUE_ENABLE=mode)
        assert done.stdout == "0\n"
        assert ("TASK_QUEUE_ENABLE=2 can hang" in done.stderr) == warned


def test_an_exception_on_its_way_survives_calls(exported: Path, tmp_path: Path) -> None:
    # Objects of C extensions that an exception takes down call while the exception is set.
    (tmp_path / "dying.c").write_text("""
        extern void *PyExc_KeyError;
        void PyErr_SetString(void *, const char *);
        int aclInit(const char *);
        int aclrtDestroyEvent(void *);
        int codes[2];
        void dying(void) {
            PyErr_SetString(PyExc_KeyError, "mine");
            codes[0] = aclInit(0);
            codes[1] = aclrtDestroyEvent(0);
        }
    """)
    subprocess.run(["gcc", "-shared", "-fPIC", tmp_path / "dying.c", "-o", tmp_path / "dying.so",
                    f"-L{exported / 'lib64'}", "-lascendcl"], check=True)
    assert python(exported, f"""
        import ctypes
        client = ctypes.PyDLL({str(tmp_path / "dying.so")!r})
        try:
            client.dying()
        except KeyError as error:
            print(repr(error), list((ctypes.c_int * 2).in_dll(client, "codes")))
    """) == "KeyError('mine') [0, 100000]\n"


def test_calls_after_the_interpreter_has_ended_fail(exported: Path) -> None:
    # C++ objects that live longer than Python, as torch_npu's, call the libraries when they are destroyed.
    done = run(exported, sys.executable, "-c", textwrap.dedent("""
        import ctypes, os
        acl = ctypes.CDLL(os.path.join(os.environ["PYACL_LIBRARY_PATH"], "libascendcl.so"))
        assert acl.aclInit(None) == 0
        ctypes.CDLL(None).on_exit(acl.aclFinalize, None)
    """))
    assert done.returncode == 0
    assert "aclFinalize: the emulator ended with the interpreter" in done.stderr


def test_a_forked_child_gets_an_error_not_a_hang(exported: Path) -> None:
    assert python(exported, """
        import ctypes, os
        acl = ctypes.CDLL(os.path.join(os.environ["PYACL_LIBRARY_PATH"], "libascendcl.so"))
        assert acl.aclInit(None) == 0
        child = os.fork()
        if not child:
            os._exit(3 if acl.aclrtSetDevice(0) == 500000 else 4)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """) == "3\n"


def test_a_client_may_open_and_close_the_libraries_again_and_again(exported: Path) -> None:
    assert python(exported, """
        import ctypes, os, _ctypes
        for i in range(6):
            name = ("libascendcl.so", "libopapi.so")[i % 2]
            library = ctypes.CDLL(os.path.join(os.environ["PYACL_LIBRARY_PATH"], name))
            assert [library.aclInit(None), library.aclrtSetDevice(0), library.aclFinalize()] == [0, 0, 0]
            _ctypes.dlclose(library._handle)
        print("done")
    """) == "done\n"


def test_the_client_keeps_its_main_module(exported: Path) -> None:
    assert python(exported, """
        import ctypes, os
        acl = ctypes.CDLL(os.path.join(os.environ["PYACL_LIBRARY_PATH"], "libascendcl.so"))
        before = set(globals())
        acl.aclInit(None)
        print(set(globals()) - before - {"before"})
    """) == "set()\n"


def test_the_emulator_calls_no_exported_function() -> None:
    """With the native backend on the exported libraries `lib` leads back here: the emulator may only read constants."""
    calls = []
    for path in (ROOT / "pyacl" / "emulator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lib" \
                    and (node.attr == "launch" or cdefs.callable_prototype(node.attr) is not None):
                calls.append(f"{path.relative_to(ROOT)}:{node.lineno}: lib.{node.attr}")
    assert calls == []
