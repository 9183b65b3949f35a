"""What only the emulator has: its environment, its schedules, and its own bookkeeping."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pytest
from raw import current, make, ok, out, program, runtime, stream

from pyacl.capi import ffi, lib
from pyacl.emulator.failure import Failure
from pyacl.emulator.machine import arena, device, memory, scheduler, settings
from pyacl.emulator.machine import stream as streams

__all__ = ["current", "make", "runtime", "stream"]

TESTS = Path(__file__).parent.parent
DEFERRED = settings.schedule == "deferred"
deferred = pytest.mark.skipif(not DEFERRED, reason="asks about the deferred schedule")


# The environment

@pytest.mark.parametrize(("text", "nbytes"), [
    ("1000", 1000), ("512M", 512 << 20), ("64G", 64 << 30), ("2GiB", 2 << 30), ("1tb", 1 << 40), (" 3K ", 3 << 10),
    ("", 64 << 30),
])
def test_sizes(monkeypatch: pytest.MonkeyPatch, text: str, nbytes: int) -> None:
    monkeypatch.setenv("PYACL_EMULATOR_MEMORY", text)
    assert settings._size("PYACL_EMULATOR_MEMORY", "64G") == nbytes


@pytest.mark.parametrize(("visible", "count", "expected"), [
    (None, 3, (0, 1, 2)), ("2,0", 3, (2, 0)), ("1", 3, (1,)), ("", 3, ()), ("0,9,1", 3, (0,)), ("1,1", 3, (1,)),
    ("x", 3, ()), ("0, 2", 3, (0, 2)),
])
def test_visible_devices(monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int,
                         expected: tuple[int, ...]) -> None:
    if visible is None:
        monkeypatch.delenv("ASCEND_RT_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", visible)
    assert settings._visible(count) == expected


def test_the_machine_of_the_environment() -> None:
    assert program("""
        lib.aclInit(NULL)
        count = out("uint32_t *", lib.aclrtGetDeviceCount)
        lib.aclrtSetDevice(1)
        free, total, cores = ffi.new("size_t *"), ffi.new("size_t *"), ffi.new("int64_t *")
        lib.aclrtGetMemInfo(lib.ACL_HBM_MEM, free, total)
        lib.aclrtGetDeviceInfo(1, lib.ACL_DEV_ATTR_AICORE_CORE_NUM, cores)
        physical = ffi.new("int32_t *"); lib.aclrtGetPhyDevIdByUserDevId(0, physical)
        print(count, total[0], ffi.string(lib.aclrtGetSocName()).decode(), cores[0],
              out("uint32_t *", lib.aclrtGetStreamAvailableNum), physical[0], lib.aclrtSetDevice(2))
    """, PYACL_EMULATOR_DEVICES="4", ASCEND_RT_VISIBLE_DEVICES="3,1", PYACL_EMULATOR_MEMORY="1G",
                   PYACL_EMULATOR_SOC="Ascend310P3").split() == [
        "2", str(1 << 30), "Ascend310P3", "8", "1023", "3", "107001"]


@pytest.mark.parametrize(("function", "variable", "text"), [
    (lambda: settings._size("PYACL_EMULATOR_MEMORY", "1"), "PYACL_EMULATOR_MEMORY", "lots"),
    (lambda: settings._size("PYACL_EMULATOR_MEMORY", "1"), "PYACL_EMULATOR_MEMORY", "0"),
    (lambda: settings._number("PYACL_EMULATOR_DEVICES", 1, 0, 64), "PYACL_EMULATOR_DEVICES", "-1"),
    (settings._schedule, "PYACL_EMULATOR_SCHEDULE", "later"),
    (lambda: settings._soc(os.environ["PYACL_EMULATOR_SOC"]), "PYACL_EMULATOR_SOC", "H100"),
])
def test_wrong_values_are_named(monkeypatch: pytest.MonkeyPatch, function: Callable[[], Any], variable: str,
                                text: str) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(ValueError, match=f"{variable}='{text}'"):
        function()


# Schedules

@pytest.mark.parametrize("schedule", [s for s in settings.SCHEDULES if s != settings.schedule])
def test_the_runtime_on_the_other_schedules(schedule: str) -> None:
    files = [str(TESTS / f"test_raw_{name}.py") for name in ("stream", "event", "callback", "memory")]
    files += [str(TESTS / f"test_{name}.py") for name in ("stream", "event")]
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *files],
                          env={**os.environ, "PYACL_EMULATOR_SCHEDULE": schedule}, capture_output=True, text=True,
                          timeout=100, cwd=TESTS.parent)
    assert done.returncode == 0, done.stdout[-4000:]


@deferred
def test_a_wait_runs_what_it_needs_and_no_more(make: Any) -> None:
    pointers = [make("stream") for _ in range(3)]
    first, second, third = (streams.resolve(p) for p in pointers)
    event = make("event")
    ran: list[str] = []

    def task(name: str) -> Callable[[], None]:
        return lambda: ran.append(name)

    first.submit(task("a"), "a")
    ok(lib.aclrtRecordEvent(event, pointers[0]))
    first.submit(task("b"), "b")
    second.submit(task("c"), "c")
    ok(lib.aclrtStreamWaitEvent(pointers[1], event))
    second.submit(task("d"), "d")
    third.submit(task("e"), "e")
    assert ran == []
    ok(lib.aclrtSynchronizeStream(pointers[1]))
    assert ran == ["c", "a", "d"]
    status = ffi.new("aclrtStreamStatus *")
    ok(lib.aclrtStreamQuery(pointers[2], status))  # a poll lets one task run, and says how it was before
    assert (status[0], ran[3:]) == (lib.ACL_STREAM_STATUS_NOT_READY, ["e"])
    ok(lib.aclrtSynchronizeDevice())
    assert ran[4:] == ["b"]


@deferred
def test_long_chains_of_streams(make: Any) -> None:
    pointers = [make("stream") for _ in range(300)]
    ran: list[int] = []
    for i, (before, after) in enumerate(zip(pointers, pointers[1:])):
        event = make("event")
        streams.resolve(before).submit(lambda i=i: ran.append(i), "task")  # type: ignore[misc]
        ok(lib.aclrtRecordEvent(event, before))
        ok(lib.aclrtStreamWaitEvent(after, event))
    ok(lib.aclrtSynchronizeStream(pointers[-1]))
    assert ran == list(range(299))


def test_a_long_wait_says_what_it_waits_for(make: Any, stream: Any, monkeypatch: pytest.MonkeyPatch,
                                            capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(scheduler, "PATIENCE", 0.05)
    event = make("event")
    ok(lib.aclrtStreamWaitEvent(stream, event))
    context = out("aclrtContext *", lib.aclrtGetCurrentContext)

    def help_out() -> None:
        lib.aclrtSetCurrentContext(context)
        lib.aclrtRecordEvent(event, ffi.NULL)
        lib.aclrtSynchronizeStream(ffi.NULL)

    timer = threading.Timer(0.5, help_out)
    timer.start()
    ok(lib.aclrtSynchronizeStream(stream))
    timer.join()
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "aclrtSynchronizeStream" in said
    assert "nothing has recorded" in said


def test_what_a_task_raises_is_the_streams_fault(stream: Any, capfd: pytest.CaptureFixture[str]) -> None:
    found = streams.resolve(stream)
    ran: list[int] = []
    cases = [
        (ZeroDivisionError(), lib.ACL_ERROR_RT_AICORE_EXCEPTION),
        (Failure(lib.ACL_ERROR_RT_AICPU_EXCEPTION, "x"), lib.ACL_ERROR_RT_AICPU_EXCEPTION),
        (Failure(lib.ACL_ERROR_RT_PARAM_INVALID, "x"), lib.ACL_ERROR_RT_AICORE_EXCEPTION),
        (Failure(lib.ACL_ERROR_RT_TASK_TIMEOUT, "x"), lib.ACL_ERROR_RT_TASK_TIMEOUT),
    ]
    for error, code in cases:
        def fail(error: Exception = error) -> None:
            raise error

        found.submit(fail, "aclnnThing")
        found.submit(lambda: ran.append(1), "after")  # the stream goes on
        assert lib.aclrtSynchronizeStream(stream) == code
        assert b"aclnnThing" in ffi.string(lib.aclGetRecentErrMsg())
        assert lib.aclrtSynchronizeStream(stream) == 0
    assert len(ran) == len(cases)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_ctrl_c_reaches_whoever_waits() -> None:
    assert program(f"""
        import os, signal, threading
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored
        lib.aclInit(NULL); lib.aclrtSetDevice(0)
        stream, event = out("aclrtStream *", lib.aclrtCreateStream), out("aclrtEvent *", lib.aclrtCreateEvent)
        lib.aclrtStreamWaitEvent(stream, event)
        threading.Timer(0.2, os.kill, (os.getpid(), {int(signal.SIGINT)})).start()
        try:
            print("returned", lib.aclrtSynchronizeStream(stream))
        except KeyboardInterrupt:
            print("interrupted")
        lib.aclrtRecordEvent(event, NULL)
        print(lib.aclrtSynchronizeStream(stream))
    """).split() == ["interrupted", "0"]


def test_finalize_does_not_hang_on_what_cannot_run() -> None:
    assert program("""
        lib.aclInit(NULL); lib.aclrtSetDevice(0)
        stream, event = out("aclrtStream *", lib.aclrtCreateStream), out("aclrtEvent *", lib.aclrtCreateEvent)
        lib.aclrtStreamWaitEvent(stream, event)
        print(lib.aclFinalize())
    """).split() == ["0"]


# Memory

def test_looking_up_addresses() -> None:
    """Against a search through all allocations, while they come and go."""
    rng = random.Random(5)
    where = device.devices[0]
    live: list[memory.Region] = []
    for _ in range(3000):
        if live and rng.random() < 0.45:
            memory.release(live.pop(rng.randrange(len(live))))
        else:
            live.append(memory.malloc(where, rng.choice([1, 60, 500, 5000, 40_000, 200_000, 5 << 20])))
        if not live:
            continue
        base = rng.choice(live)
        address = base.address + rng.randrange(-100, base.size + 100)
        expected: list[Any] = [r for r in live if r.address <= address < r.address + r.size]
        found = memory.find(address)
        if found is not None and found not in live:
            continue  # an earlier test's
        assert [found] == (expected or [None])
        count = rng.randrange(0, 200)
        inside = bool(expected) and address + count <= expected[0].address + expected[0].size
        try:
            view = memory.device_bytes(address, count)
        except Failure:
            assert not inside
        else:
            assert inside
            assert (view.ctypes.data, view.size) == (address, count) or count == 0
    spans = sorted((r.address, r.address + r.size) for r in live)
    assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:]))
    for region in live:
        memory.release(region)


def test_threads_allocate_and_free_at_once() -> None:
    where = device.devices[0]
    gc.collect()  # what other tests left would be freed in between
    used, mine = where.used, threading.local()
    failures: list[str] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        mine.live = []
        for _ in range(400):
            if mine.live and rng.random() < 0.5:
                memory.free(mine.live.pop(rng.randrange(len(mine.live))).address)
            else:
                mine.live.append(memory.malloc(where, rng.choice([64, 900, 70_000])))
            for region in mine.live:
                if memory.find(region.address + region.size - 1) is not region:
                    failures.append(repr(region))
        for region in mine.live:
            memory.free(region.address)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []
    assert where.used == used


def test_one_of_two_who_free_the_same_fails() -> None:
    codes = []
    region = memory.malloc(device.devices[0], 64)
    found = memory.allocation(region.address, memory.DEVICE_SOURCES, "aclrtFree")
    for _ in range(2):  # as if both had looked the address up before either freed it
        try:
            memory.release(found)
        except Failure as failure:
            codes.append(failure.code)
    assert codes == [lib.ACL_ERROR_RT_MEMORY_FREE]


def test_a_full_arena_uses_addresses_again() -> None:
    small = arena.Arena(16 << 20)
    taken = []
    while (address := small.take(1 << 20)) is not None:
        taken.append(address)
    assert len(taken) >= 8
    for address in taken[::2]:
        small.give(address, 1 << 20)
    again = {small.take(1 << 20) for _ in taken[::2]}
    assert again == set(taken[::2])
    assert small.take(2 << 20) is None
    little = []
    for address in again:
        assert address is not None
        small.give(address, 1 << 20)
    while (address := small.take(100)) is not None:
        little.append(address)
        if len(little) > 200_000:
            raise AssertionError("the arena never ends")
    assert len(set(little)) == len(little)
    for address in little:
        small.give(address, 100)
    assert small.take(100) in little


def test_memory_is_committed_when_it_is_touched() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    before = resident()
    region = memory.malloc(device.devices[0], 40 << 30)
    assert resident() - before < 64 << 20
    region.bytes[20 << 30] = 1
    memory.release(region)
    assert region.freed
    assert not region.bytes[20 << 30]
    assert resident() - before < 64 << 20


def test_freed_memory_stays_readable(stream: Any) -> None:
    """A stale view shows rubbish; it does not end the process."""
    views = []
    for size in (64, 1 << 20, 8 << 20):
        region = memory.malloc(device.devices[0], size)
        region.bytes[:] = 1
        memory.release(region)
        views.append(region.bytes)
    assert all(not np.any(view == 1) for view in views)


@pytest.mark.parametrize("lock", ["memory", "stream ids"])
def test_garbage_may_be_collected_at_any_moment(lock: str) -> None:
    """What frees something may run while its own thread allocates."""
    done = []

    def collect() -> None:
        ok(lib.aclrtSetDevice(0))
        host, made = out("void **", lib.aclrtMallocHost, 64), out("aclrtStream *", lib.aclrtCreateStream)
        with memory._lock if lock == "memory" else device.get(0).stream_ids._lock:
            ok(lib.aclrtFreeHost(host))
            ok(lib.aclrtDestroyStream(made))
        ok(lib.aclrtResetDevice(0))
        done.append(True)

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    thread.join(30)
    assert done
