"""Graph capture: recording one stream and several, what is illegal meanwhile, replaying."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path
from typing import Any, Callable, Iterator

import numpy as np
import pytest

import pyacl
from pyacl import Executor, Graph, HostBuffer, OpHandle, Stream, Tensor, lib
from pyacl.capi import ffi

NULL = ffi.NULL
X = np.arange(8, dtype=np.float32)
GLOBAL, LOCAL, RELAXED = range(3)


@pytest.fixture(autouse=True)
def _current(device: Any) -> None:
    device.set_current()


def add(x: Tensor, out: Tensor) -> Executor:
    return Executor("aclnnAdd", x, x, 1.0, out, repeatable=True)


def code_of(action: Callable[[], Any]) -> int:
    with pytest.raises(pyacl.AclError) as caught:
        action()
    return caught.value.code


def event() -> Any:
    out = ffi.new("aclrtEvent *")
    assert lib.aclrtCreateEventExWithFlag(out, lib.ACL_EVENT_SYNC) == 0
    return out[0]


def test_captured_work_runs_only_when_replayed(stream: Stream) -> None:
    x, out = Tensor.from_numpy(X), Tensor.zeros((8,))
    with add(x, out) as work:
        with Graph.capture(stream) as graph:
            work.launch(stream)
        stream.synchronize()
        assert (out.numpy() == 0).all()
        graph.launch(stream)
        stream.synchronize()
        np.testing.assert_array_equal(out.numpy(), X * 2)
        graph.close()


def test_a_replay_reads_what_is_in_memory_then(stream: Stream) -> None:
    x, out = Tensor.from_numpy(X), Tensor.zeros((8,))
    with add(x, out) as work:
        with Graph.capture(stream) as graph:
            work.launch(stream)
        for factor in (3, 5):
            x.copy_(X * factor)
            graph.execute(stream)
            np.testing.assert_array_equal(out.numpy(), X * factor * 2)
        graph.close()


def test_several_tasks_keep_their_order(stream: Stream) -> None:
    x, out = Tensor.from_numpy(X), Tensor.zeros((8,))
    source, target = HostBuffer.from_numpy(X + 1), HostBuffer(X.nbytes)
    with OpHandle("Add", [x, x], [out]) as handle, add(out, x) as work:
        with Graph.capture(stream) as graph:
            pyacl.memcpy_async(x, source, stream)
            handle.launch([x, x], [out], stream)
            work.launch(stream)
            pyacl.memcpy_async(target, x, stream)
        graph.execute(stream)
        np.testing.assert_array_equal(target.numpy.view(np.float32), (X + 1) * 4)
    assert graph.closed  # with what it uses, it is of no use any more
    source.close()
    target.close()


def test_another_stream_replays_it(stream: Stream) -> None:
    x, out = Tensor.from_numpy(X), Tensor.zeros((8,))
    with add(x, out) as work, Stream() as other:
        with Graph.capture(stream) as graph:
            work.launch(stream)
        graph.execute(other)
        np.testing.assert_array_equal(out.numpy(), X * 2)
        graph.execute()
        graph.close()


def test_what_it_uses_is_kept(stream: Stream) -> None:
    out = Tensor.zeros((8,))
    with Graph.capture(stream) as graph:
        Executor("aclnnAdd", SOURCE[0], SOURCE[0], 1.0, out).launch(stream)
    SOURCE.clear()
    gc.collect()
    keep = [Tensor.from_numpy(X * 9) for _ in range(4)]
    graph.execute(stream)
    np.testing.assert_array_equal(out.numpy(), X * 2)
    graph.close()
    assert keep


SOURCE: list[Any] = []


@pytest.fixture(autouse=True)
def _source(device: Any) -> Iterator[None]:
    SOURCE[:] = [Tensor.from_numpy(X)]
    yield
    SOURCE.clear()


def test_tasks_from_before_the_capture_run_at_once(stream: Stream) -> None:
    x, out, other = Tensor.from_numpy(X), Tensor.zeros((8,)), Tensor.zeros((8,))
    with add(x, out) as first, add(x, other) as second:
        first.launch(stream)
        with Graph.capture(stream) as graph:
            second.launch(stream)
        stream.synchronize()
        np.testing.assert_array_equal(out.numpy(), X * 2)
        assert (other.numpy() == 0).all()
        graph.close()


# Several streams

class Fork:
    """Two operators, the second of which needs the first one's result."""

    def __init__(self) -> None:
        self.begin, self.end = event(), event()
        self.x, self.out, self.last = Tensor.from_numpy(X), Tensor.zeros((8,)), Tensor.zeros((8,))
        self.one, self.two = add(self.x, self.out), add(self.out, self.last)

    def __call__(self, stream: Stream, side: Stream, come_back: bool = True) -> None:
        """The first on another stream, the second on this one."""
        assert lib.aclrtRecordEvent(self.begin, stream.handle) == 0
        assert lib.aclrtStreamWaitEvent(side.handle, self.begin) == 0
        self.one.launch(side)
        if come_back:
            assert lib.aclrtRecordEvent(self.end, side.handle) == 0
            assert lib.aclrtStreamWaitEvent(stream.handle, self.end) == 0
        self.two.launch(stream)

    def close(self) -> None:
        self.one.close()
        self.two.close()


@pytest.fixture
def fork(device: Any) -> Any:
    made = Fork()
    yield made
    made.close()


def test_a_stream_that_waits_is_captured_along(stream: Stream, fork: Fork) -> None:
    with Stream() as side:
        with Graph.capture(stream) as graph:
            fork(stream, side)
        for factor in (1, 3):
            fork.x.copy_(X * factor)
            graph.execute(stream)
            np.testing.assert_array_equal(fork.last.numpy(), X * factor * 4)
        graph.close()


def test_a_stream_that_does_not_come_back(stream: Stream, fork: Fork) -> None:
    def capture() -> None:
        with Graph.capture(stream):
            fork(stream, side, come_back=False)

    with Stream() as side:
        assert code_of(capture) == lib.ACL_ERROR_RT_STREAM_UNJOINED
        side.synchronize()
        stream.synchronize()
    assert (fork.last.numpy() == 0).all()


def test_work_after_coming_back_is_refused_at_the_end(stream: Stream, fork: Fork) -> None:
    def capture() -> None:
        with Graph.capture(stream):
            fork(stream, side)
            fork.one.launch(side)

    with Stream() as side:
        assert code_of(capture) == lib.ACL_ERROR_RT_STREAM_UNJOINED


def test_events_of_another_kind_cannot_join(stream: Stream) -> None:
    plain, out = ffi.new("aclrtEvent *"), ffi.new("aclmdlRI *")
    assert lib.aclrtCreateEvent(plain) == 0
    with Stream() as side:
        assert lib.aclmdlRICaptureBegin(stream.handle, GLOBAL) == 0
        assert lib.aclrtRecordEvent(plain[0], stream.handle) == 0
        assert lib.aclrtStreamWaitEvent(side.handle, plain[0]) == lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT
        assert lib.aclmdlRICaptureEnd(stream.handle, out) == lib.ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED
    assert lib.aclrtDestroyEvent(plain[0]) == 0
    lib.aclGetRecentErrMsg()


def test_an_event_from_outside_is_refused(stream: Stream) -> None:
    outside = event()
    with Stream() as other:
        assert lib.aclrtRecordEvent(outside, other.handle) == 0
        assert lib.aclmdlRICaptureBegin(stream.handle, GLOBAL) == 0
        assert lib.aclrtStreamWaitEvent(stream.handle, outside) == lib.ACL_ERROR_RT_CAPTURE_DEPENDENCY
        out = ffi.new("aclmdlRI *")
        assert lib.aclmdlRICaptureEnd(stream.handle, out) == lib.ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED
    lib.aclGetRecentErrMsg()


# What is not allowed

def spoilt(stream: Stream, action: Callable[[], int], mode: int = GLOBAL) -> int:
    """The status of a call during a capture, which breaks the capture when it is refused."""
    out = ffi.new("aclmdlRI *")
    assert lib.aclmdlRICaptureBegin(stream.handle, mode) == 0
    status = ffi.new("aclmdlRICaptureStatus *")
    code = action()
    assert lib.aclmdlRICaptureGetInfo(stream.handle, status, NULL) == 0
    ended = lib.aclmdlRICaptureEnd(stream.handle, out)
    if code:
        assert status[0] == lib.ACL_MODEL_RI_CAPTURE_STATUS_INVALIDATED
        assert ended == lib.ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED
    else:
        assert status[0] == lib.ACL_MODEL_RI_CAPTURE_STATUS_ACTIVE
        assert ended == 0
        assert lib.aclmdlRIDestroy(out[0]) == 0
    lib.aclGetRecentErrMsg()
    return int(code)


@pytest.mark.parametrize("mode", [GLOBAL, LOCAL, RELAXED])
def test_synchronising_is_never_allowed(stream: Stream, mode: int) -> None:
    status = ffi.new("aclrtStreamStatus *")
    handle = stream.handle
    assert spoilt(stream, lambda: lib.aclrtSynchronizeStream(handle), mode) == lib.ACL_ERROR_RT_STREAM_CAPTURED
    assert spoilt(stream, lambda: lib.aclrtStreamQuery(handle, status), mode) == lib.ACL_ERROR_RT_STREAM_CAPTURED


@pytest.mark.parametrize(("mode", "code"), [(GLOBAL, lib.ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT),
                                            (LOCAL, lib.ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT), (RELAXED, 0)])
def test_unsafe_functions(stream: Stream, mode: int, code: int) -> None:
    x = Tensor.from_numpy(X)
    host = ffi.from_buffer(X)
    pointer = ffi.cast("void *", x.address)
    assert spoilt(stream, lambda: lib.aclrtMemcpy(pointer, 32, host, 32, lib.ACL_MEMCPY_HOST_TO_DEVICE), mode) == code
    assert spoilt(stream, lambda: lib.aclrtMemset(pointer, 32, 0, 32), mode) == code


def test_copies_of_pageable_memory(stream: Stream) -> None:
    x = Tensor.from_numpy(X)
    host, pointer = ffi.from_buffer(X), ffi.cast("void *", x.address)
    assert spoilt(stream, lambda: lib.aclrtMemcpyAsync(pointer, 32, host, 32, lib.ACL_MEMCPY_HOST_TO_DEVICE,
                                                       stream.handle)) == lib.ACL_ERROR_RT_CAPTURE_MODE_BLOCK_ASYNC


def in_thread(device: Any, action: Callable[[], Any]) -> Any:
    found: list[Any] = []

    def run() -> None:
        device.set_current()
        found.append(action())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize(("mode", "thread_mode", "allowed"), [
    (GLOBAL, GLOBAL, False), (GLOBAL, LOCAL, True), (GLOBAL, RELAXED, True), (LOCAL, GLOBAL, True),
    (RELAXED, GLOBAL, True),
])
def test_other_threads(stream: Stream, device: Any, mode: int, thread_mode: int, allowed: bool) -> None:
    x = Tensor.from_numpy(X)
    pointer = ffi.cast("void *", x.address)

    def other() -> int:
        value = ffi.new("aclmdlRICaptureMode *", thread_mode)
        assert lib.aclmdlRICaptureThreadExchangeMode(value) == 0
        assert value[0] == GLOBAL
        return int(lib.aclrtMemset(pointer, 32, 0, 32))

    code = spoilt(stream, lambda: in_thread(device, other), mode)
    assert code == (0 if allowed else lib.ACL_ERROR_RT_CAPTURE_MODE_NOT_SUPPORT)


def test_begin_and_end(stream: Stream, device: Any) -> None:
    out = ffi.new("aclmdlRI *")
    begin, end = lib.aclmdlRICaptureBegin, lib.aclmdlRICaptureEnd
    assert begin(NULL, GLOBAL) == lib.ACL_ERROR_INVALID_PARAM
    assert begin(stream.handle, 7) == lib.ACL_ERROR_INVALID_PARAM
    assert begin(Stream.default().handle, GLOBAL) == lib.ACL_ERROR_RT_STREAM_CAPTURE_IMPLICIT
    assert end(stream.handle, out) == lib.ACL_ERROR_RT_STREAM_CAPTURE_UNMATCHED
    assert begin(stream.handle, GLOBAL) == 0
    assert begin(stream.handle, GLOBAL) == lib.ACL_ERROR_RT_STREAM_CAPTURED
    assert end(stream.handle, NULL) == lib.ACL_ERROR_INVALID_PARAM
    assert in_thread(device, lambda: end(stream.handle, out)) == lib.ACL_ERROR_RT_STREAM_CAPTURE_WRONG_THREAD
    assert end(stream.handle, out) == 0
    assert lib.aclmdlRIDestroy(out[0]) == 0
    assert lib.aclmdlRIDestroy(out[0]) != 0
    assert lib.aclmdlRIDestroy(NULL) == lib.ACL_ERROR_INVALID_PARAM
    assert begin(stream.handle, RELAXED) == 0
    assert in_thread(device, lambda: end(stream.handle, out)) == 0
    assert lib.aclmdlRIDestroy(out[0]) == 0
    assert lib.aclmdlRICaptureGetInfo(stream.handle, NULL, NULL) == lib.ACL_ERROR_INVALID_PARAM
    lib.aclGetRecentErrMsg()


@pytest.mark.skipif(os.environ.get("PYACL_EMULATOR_SCHEDULE") == "inline", reason="work runs at once")
def test_an_instance_that_is_captured_or_runs_cannot_be_used(stream: Stream) -> None:
    out, made = ffi.new("aclmdlRI *"), ffi.new("aclmdlRI *")
    assert lib.aclmdlRICaptureBegin(stream.handle, GLOBAL) == 0
    assert lib.aclmdlRICaptureGetInfo(stream.handle, NULL, made) == 0
    assert lib.aclmdlRIDestroy(made[0]) == lib.ACL_ERROR_RT_MODEL_CAPTURED
    assert lib.aclmdlRICaptureEnd(stream.handle, out) == 0
    assert made[0] == out[0]
    gate = threading.Event()
    stream.call(lambda: gate.wait(10))
    assert lib.aclmdlRIExecuteAsync(out[0], stream.handle) == 0
    assert lib.aclmdlRIDestroy(out[0]) == lib.ACL_ERROR_RT_MODEL_RUNNING
    gate.set()
    stream.synchronize()
    assert lib.aclmdlRIExecute(out[0], -1) == 0
    assert lib.aclmdlRIExecute(out[0], 1000) == 0
    assert lib.aclmdlRIExecute(out[0], 0) == lib.ACL_ERROR_INVALID_PARAM
    assert lib.aclmdlRIDestroy(out[0]) == 0
    lib.aclGetRecentErrMsg()


def test_an_exception_in_the_block_ends_the_capture(stream: Stream) -> None:
    with pytest.raises(KeyError), Graph.capture(stream):
        raise KeyError("mine")
    stream.synchronize()
    with Graph.capture(stream) as graph:
        pass
    graph.close()


def test_default_stream_by_class() -> None:
    with pytest.raises(pyacl.errors.CaptureError), Graph.capture(Stream.default()):
        pass


def test_name_and_callback(stream: Stream, tmp_path: Path) -> None:
    with Graph.capture(stream) as graph:
        pass
    assert graph.name == ""
    graph.name = "mine"
    assert graph.name == "mine"
    seen: list[bool] = []

    @ffi.callback("void(void *)")
    def gone(data: Any) -> None:
        seen.append(data == NULL)

    assert lib.aclmdlRIDestroyRegisterCallback(graph.handle, gone, NULL) == 0
    assert lib.aclmdlRIDebugJsonPrint(graph.handle, str(tmp_path / "graph.json").encode(), 0) == 0
    assert (tmp_path / "graph.json").exists()
    graph.close()
    assert seen == [True]


def test_closing_an_executor_closes_the_graph_that_would_run_it(stream: pyacl.Stream) -> None:
    x, out = pyacl.Tensor.full((4,), 1), pyacl.Tensor.zeros((4,))
    add = pyacl.Executor("aclnnAdd", x, x, 1.0, out, repeatable=True)
    with pyacl.Graph.capture(stream) as graph:
        add.launch(stream)
    others = [pyacl.Executor("aclnnNeg", x, out, repeatable=True) for _ in range(3)]
    add.close()
    assert graph.closed
    assert not any(o.closed for o in others)
    for other in others:
        other.close()


@pytest.mark.parametrize("way", ["an executor that is refreshed", "a cached operator"])
def test_it_keeps_what_its_executor_let_go(stream: Stream, way: str) -> None:
    x, out, other, later = Tensor.from_numpy(X), Tensor.zeros((8,)), Tensor.from_numpy(X * 5), Tensor.zeros((8,))
    with pyacl.ops.cache():
        work = add(x, out) if way.startswith("an") else None
        with Graph.capture(stream) as graph:
            work.launch(stream) if work else pyacl.ops.aclnnAdd(x, x, 1.0, out, stream=stream)
        if work:
            work.set_input(0, other)
            work.set_input(1, other)
            work.set_output(0, later)
            work.launch(stream)
        else:
            pyacl.ops.aclnnAdd(other, other, 1.0, later, stream=stream)
        stream.synchronize()
        del x
        gc.collect()
        keep = [Tensor.from_numpy(X * 9) for _ in range(4)]
        graph.execute(stream)
        np.testing.assert_array_equal(out.numpy(), X * 2)
        np.testing.assert_array_equal(later.numpy(), X * 10)
        assert keep
        out.close()
        assert graph.closed
        if work:
            work.close()
