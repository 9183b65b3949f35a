"""Calls that keep the GIL: only while they cannot wait for another Python thread."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Iterator

import pytest

from pyacl.capi import cdefs, ffi, hot
from pyacl.capi.module import raw

keeps: Any = hot.module()
pytestmark = pytest.mark.skipif(keeps is None or shutil.which("gcc") is None,
                                reason="needs the compiled module and gcc")

# Every function waits up to 0.3 s for a flag that another Python thread sets at once, if it gets the GIL.
SOURCE = """
#include <stdint.h>
#include <time.h>
int32_t flag;
static int wait_for_flag(void) {
    struct timespec pause = {0, 1000000};
    for (int i = 0; i < 300 && !__atomic_load_n(&flag, __ATOMIC_SEQ_CST); i++) nanosleep(&pause, 0);
    return flag ? 0 : 7;
}
static int waits;
void arm(int on) { waits = on; flag = 0; }
#define RUN return waits ? wait_for_flag() : 0
int phase(void *w, uint64_t n, void *e, void *s) { RUN; }
int aclrtRecordEvent(void *e, void *s) { RUN; }
int aclrtMemcpyAsync(void *d, uint64_t m, void *s, uint64_t n, int k, void *stream) { RUN; }
int aclrtSynchronizeStream(void *s) { RUN; }
int aclrtStreamQuery(void *s, uint32_t *status) { *status = 0; RUN; }
int aclrtCreateStream(void **s) { RUN; }
int aclrtGetDevice(int *device) { *device = 3; RUN; }
"""


class Calls:
    """The C functions above, called through the compiled module."""

    def __init__(self, path: Path) -> None:
        self.handle = raw.dlopen(str(path).encode(), 2)
        assert self.handle != ffi.NULL, ffi.string(raw.dlerror())
        self.phase = raw.dlsym(self.handle, b"phase")
        self.flag = ffi.cast("int32_t *", raw.dlsym(self.handle, b"flag"))
        self.arm = ffi.cast("void (*)(int)", raw.dlsym(self.handle, b"arm"))
        self.kept = {n: raw.dlsym(self.handle, n.encode()) for n in (
            "aclrtRecordEvent", "aclrtMemcpyAsync", "aclrtSynchronizeStream", "aclrtStreamQuery", "aclrtGetDevice")}

    def lets_others_run(self, call: Any, *args: Any) -> bool:
        """Whether another Python thread runs while `call` waits."""
        ready, go = threading.Event(), threading.Event()

        def other() -> None:
            ready.set()
            go.wait()
            self.flag[0] = 1

        thread = threading.Thread(target=other)
        thread.start()
        ready.wait()
        interval = sys.getswitchinterval()
        sys.setswitchinterval(10)  # only a call that gives the GIL away lets the other thread run
        try:
            self.arm(1)
            go.set()
            return bool(call(*args) == 0)
        finally:
            sys.setswitchinterval(interval)
            self.arm(0)
            self.flag[0] = 1
            thread.join()


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    folder = tmp_path_factory.mktemp("hot")
    (folder / "waits.c").write_text(SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", "libwaits.so", "waits.c"], cwd=folder, check=True)
    found = Calls(folder / "libwaits.so")
    # The module's table is the process's: what stood there comes back at the next look-up.
    from pyacl.capi import lib

    for name, address in found.kept.items():
        assert keeps is not None
        assert keeps.pyacl_bind(name.encode(), address) == 0
        lib.__dict__.pop(name, None)
    yield found
    for name in {*hot.QUEUEING, *hot.DRAINING, *hot.GETTERS} - {"launch"}:
        lib.__dict__.pop(name, None)
        getattr(lib, name)


def _stream(number: int) -> Any:
    return ffi.cast("aclrtStream", 0x7000_0000_0000 + (number << 4))


@pytest.fixture
def stream(request: pytest.FixtureRequest, calls: Calls) -> Any:
    """A stream known to be empty."""
    found = _stream(abs(hash(request.node.name)) % 200)
    assert keeps is not None
    assert keeps.aclrtSynchronizeStream(found) == 0
    return found


def launch(calls: Calls, stream: Any) -> tuple[Any, ...]:
    assert keeps is not None
    return keeps.launch, calls.phase, ffi.NULL, 0, ffi.NULL, stream


def test_a_launch_on_an_empty_queue_keeps_the_gil(calls: Calls, stream: Any) -> None:
    assert not calls.lets_others_run(*launch(calls, stream))


def test_a_launch_on_a_queue_that_may_be_full_releases_it(calls: Calls, stream: Any) -> None:
    call, *args = launch(calls, stream)
    for _ in range(hot.LIMIT):
        call(*args)
    assert calls.lets_others_run(call, *args)
    keeps.aclrtSynchronizeStream(stream)
    assert not calls.lets_others_run(call, *args)


def test_all_kinds_of_calls_count(calls: Calls, stream: Any) -> None:
    for _ in range(hot.LIMIT):
        keeps.aclrtRecordEvent(ffi.NULL, stream)
    assert calls.lets_others_run(*launch(calls, stream))


def test_an_unknown_stream_and_the_default_one_release_it(calls: Calls) -> None:
    assert calls.lets_others_run(*launch(calls, _stream(5000)))
    assert calls.lets_others_run(*launch(calls, ffi.NULL))


def test_a_stream_found_complete_is_empty(calls: Calls) -> None:
    stream = _stream(6000)
    call, *args = launch(calls, stream)
    call(*args)
    assert calls.lets_others_run(call, *args)
    status = ffi.new("aclrtStreamStatus *")
    assert keeps.aclrtStreamQuery(stream, status) == 0
    assert not calls.lets_others_run(call, *args)


def test_a_stream_whose_place_was_taken_is_unknown(calls: Calls, stream: Any) -> None:
    for other in range(0x1000, 0x1400):  # more streams than there are places
        keeps.aclrtSynchronizeStream(_stream(other))
    assert calls.lets_others_run(*launch(calls, stream))


def test_waiting_always_releases_it(calls: Calls, stream: Any) -> None:
    assert calls.lets_others_run(keeps.aclrtSynchronizeStream, stream)


def test_a_copy_of_host_memory_releases_it_and_one_on_the_device_does_not(calls: Calls, stream: Any) -> None:
    def copy(kind: int) -> tuple[Any, ...]:
        return keeps.aclrtMemcpyAsync, ffi.NULL, 0, ffi.NULL, 0, kind, stream

    assert calls.lets_others_run(*copy(raw.ACL_MEMCPY_HOST_TO_DEVICE))
    assert calls.lets_others_run(*copy(raw.ACL_MEMCPY_DEVICE_TO_HOST))
    assert not calls.lets_others_run(*copy(raw.ACL_MEMCPY_DEVICE_TO_DEVICE))


def test_getters_keep_it(calls: Calls) -> None:
    assert not calls.lets_others_run(keeps.aclrtGetDevice, ffi.new("int32_t *"))


def test_types_are_checked_as_everywhere() -> None:
    with pytest.raises(TypeError):
        keeps.aclrtRecordEvent("event", ffi.NULL)
    with pytest.raises(TypeError):
        keeps.aclrtGetDevice(ffi.new("int64_t *"))
    with pytest.raises(OverflowError):
        keeps.launch(ffi.NULL, ffi.NULL, -1, ffi.NULL, ffi.NULL)


def test_they_take_the_types_of_the_first_module(calls: Calls) -> None:
    for name in {*hot.QUEUEING, *hot.DRAINING, *hot.GETTERS} - {"launch"}:
        prototype = cdefs.prototype(name)
        assert prototype is not None
        assert keeps.pyacl_bind(name.encode(), calls.phase) == 0
        kinds = [ffi.typeof(p.type) for p in prototype.params]
        if not any(out.kind == "pointer" and out.item.kind == "pointer" for out in kinds[:1]):  # one that is written to
            getattr(keeps, name)(*[ffi.new(k) if k.kind == "pointer" and k.item.kind in ("primitive", "enum")
                                   else ffi.cast(k, 0) if k.kind != "primitive" else 0 for k in kinds])


def test_nothing_that_calls_back_or_loads_is_among_them() -> None:
    wanted = set(hot.QUEUEING + hot.DRAINING + hot.GETTERS) - {"launch"}
    for name in wanted:
        prototype = cdefs.prototype(name)
        assert prototype is not None, name
        assert not any(word in p.type for p in prototype.params for word in ("Callback", "Func ", "(*")), name
    for word in ("Load", "Malloc", "Free", "Execute", "GetWorkspaceSize", "Process", "Init"):
        assert not [n for n in wanted if word in n and not n.startswith("aclrtKernelArgs")]


def test_a_python_function_may_stand_behind_such_a_call(calls: Calls) -> None:
    """As in the emulator: the call holds the GIL, and the function it reaches is Python."""
    seen: list[Any] = []

    @ffi.callback("aclnnStatus(void *, uint64_t, aclOpExecutor *, aclrtStream)")
    def phase(workspace: Any, size: int, executor: Any, stream: Any) -> int:
        other = threading.Thread(target=seen.append, args=(size,))
        other.start()
        other.join(10)  # waiting in Python gives the GIL up
        return 5

    stream = _stream(1)
    keeps.aclrtSynchronizeStream(stream)
    assert keeps.launch(phase, ffi.NULL, 42, ffi.NULL, stream) == 5
    assert seen == [42]


@pytest.mark.parametrize("value", ["0", "1"])
def test_the_environment_turns_it_off(value: str) -> None:
    code = "from pyacl.capi import library; print(library._hot is not None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={"PYACL_KEEP_GIL": value, "PATH": "/usr/bin"})
    assert done.stdout.strip() == str(value == "1")
