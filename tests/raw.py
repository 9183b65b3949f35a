"""Helpers for tests that call the C functions as C programs do: `pyacl.lib` and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import Any, Callable, Iterator

import numpy as np
import pytest

from pyacl.capi import ffi, lib

NULL = ffi.NULL


def ok(code: int) -> None:
    """Fails with the driver's own words."""
    if code:
        text = lib.aclGetRecentErrMsg()
        raise AssertionError(f"{code}: {ffi.string(text).decode().splitlines()[0] if text != NULL else 'no text'}")


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[None]:
    """Device 0 is set while a module's tests run, whatever other modules do with it."""
    assert lib.aclInit(NULL) in (0, lib.ACL_ERROR_REPEAT_INITIALIZE)
    ok(lib.aclrtSetDevice(0))
    yield
    ok(lib.aclrtSetDevice(0))
    ok(lib.aclrtResetDevice(0))
    ok(lib.aclrtResetDevice(0))


@pytest.fixture(autouse=True)
def current() -> None:
    """Every test begins in the device's default context."""
    ok(lib.aclrtSetDevice(0))
    ok(lib.aclrtResetDevice(0))


def out(kind: str, function: Callable[..., int], *args: Any, first: bool = True) -> Any:
    """What `function` writes through its first (or last) parameter."""
    cell = ffi.new(kind)
    ok(function(cell, *args) if first else function(*args, cell))
    return cell[0]


@pytest.fixture
def make() -> Iterator[Callable[..., Any]]:
    """make("Stream"), make("Event") ...: an object that the fixture destroys, if it still exists."""
    made: list[tuple[Callable[[Any], int], Any]] = []

    def create(name: str, *args: Any) -> Any:
        kind, function, destroy = {
            "stream": ("aclrtStream *", lib.aclrtCreateStream, lib.aclrtDestroyStreamForce),
            "stream with": ("aclrtStream *", lib.aclrtCreateStreamWithConfig, lib.aclrtDestroyStreamForce),
            "event": ("aclrtEvent *", lib.aclrtCreateEvent, lib.aclrtDestroyEvent),
            "role event": ("aclrtEvent *", lib.aclrtCreateEventWithFlag, lib.aclrtDestroyEvent),
            "extended event": ("aclrtEvent *", lib.aclrtCreateEventExWithFlag, lib.aclrtDestroyEvent),
            "notify": ("aclrtNotify *", lib.aclrtCreateNotify, lib.aclrtDestroyNotify),
            "counting": ("aclrtCntNotify *", lib.aclrtCntNotifyCreate, lib.aclrtCntNotifyDestroy),
            "device": ("void **", lib.aclrtMalloc, lib.aclrtFree),
            "host": ("void **", lib.aclrtMallocHost, lib.aclrtFreeHost),
        }[name]
        found = out(kind, function, *args)
        made.append((destroy, found))
        return found

    yield create
    for destroy, found in reversed(made):
        destroy(found)


@pytest.fixture
def stream(make: Any) -> Any:
    return make("stream")


def device_memory(make: Any, data: np.ndarray) -> Any:
    """Device memory with the contents of an array."""
    pointer = make("device", data.nbytes, 0)
    ok(lib.aclrtMemcpy(pointer, data.nbytes, at(data), data.nbytes, lib.ACL_MEMCPY_HOST_TO_DEVICE))
    return pointer


def at(array: np.ndarray) -> Any:
    return ffi.cast("void *", array.ctypes.data)


def number(pointer: Any) -> int:
    return int(ffi.cast("uintptr_t", pointer))


def read(pointer: Any, count: int, dtype: Any = np.uint8) -> np.ndarray:
    found = np.empty(count, dtype)
    ok(lib.aclrtMemcpy(at(found), found.nbytes, pointer, found.nbytes, lib.ACL_MEMCPY_DEVICE_TO_HOST))
    return found


def program(text: str, **environment: str) -> str:
    """What a program prints that has the runtime for itself."""
    head = textwrap.dedent("""
        from pyacl.capi import ffi, lib
        NULL = ffi.NULL
        def out(kind, function, *args):
            cell = ffi.new(kind)
            code = function(*args, cell) if kind.startswith("last ") else function(cell, *args)
            assert code == 0, (function, code, ffi.string(lib.aclGetRecentErrMsg()))
            return cell[0]
    """)
    done = subprocess.run([sys.executable, "-c", head + textwrap.dedent(text)], capture_output=True, text=True,
                          env={**os.environ, **environment}, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocked(make: Any, stream: Any) -> Any:
    """Makes a stream wait for an event that nobody has recorded; returns the event."""
    event = make("event")
    ok(lib.aclrtStreamWaitEvent(stream, event))
    return event


def release(event: Any) -> None:
    ok(lib.aclrtRecordEvent(event, NULL))
    ok(lib.aclrtSynchronizeStream(NULL))
