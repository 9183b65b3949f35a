"""What users do wrong, or leave open: a clear error or a correct result, never a crash or a hang."""

from __future__ import annotations

import inspect
import os
import sys
import threading
from typing import Any, Callable

import numpy as np
import pytest

import pyacl

Parts = tuple[pyacl.Tensor, pyacl.Tensor, pyacl.Executor]


@pytest.fixture
def parts(device: pyacl.Device) -> Any:
    """x, out, and the operator ``out = x + x``."""
    with pyacl.Tensor.from_numpy(np.ones(8, np.float32)) as x, pyacl.Tensor.zeros((8,), np.float32) as out, \
            pyacl.Executor("aclnnAdd", x, x, 1.0, out, repeatable=True) as add:
        yield x, out, add


def test_nothing_is_queued_on_a_closed_stream(parts: Parts) -> None:
    x, out, add = parts
    with pyacl.Stream() as stream, pyacl.Event() as event:
        add.launch(stream)
    with pyacl.Event() as event:
        uses: list[Callable[[], Any]] = [
            lambda: add.launch(stream), lambda: add.launch(stream=stream), lambda: add.execute(stream),
            lambda: event.record(stream), lambda: pyacl.memcpy_async(out, x, stream),
            lambda: pyacl.ops.aclnnAdd(x, x, 1.0, out, stream=stream)]
        for use in uses:
            with pytest.raises(pyacl.ClosedError, match="Stream is closed"):
                use()
    assert (out.numpy() == 2).all()


def test_what_is_no_stream_is_a_type_error(parts: Parts) -> None:
    x, out, add = parts
    uses: list[Callable[[Any], Any]] = [
        add.launch, lambda s: pyacl.memcpy_async(out, x, s), lambda s: pyacl.ops.aclnnAdd(x, x, 1.0, out, stream=s)]
    for use in uses:
        for wrong in (5, "stream", object()):
            with pytest.raises(TypeError, match=r"pyacl\.Stream"):
                use(wrong)


def test_what_is_no_event_never_reaches_c(device: pyacl.Device, stream: pyacl.Stream) -> None:
    with pyacl.DeviceBuffer(64) as buffer, pyacl.Event() as event:
        uses: list[Callable[[Any], Any]] = [stream.wait, event.elapsed_time, stream.record]
        for use in uses:
            for wrong in (buffer, 5, threading.Event()):
                with pytest.raises(TypeError, match="Event"):
                    use(wrong)
        with pytest.raises(TypeError, match="Stream"):
            event.wait(event)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [pyacl.Model, pyacl.ModelBundle, pyacl.Graph, pyacl.Binary])
def test_what_only_factories_make(kind: Any) -> None:
    with pytest.raises(TypeError, match=f"make a {kind.__name__} with {kind.__name__}"):
        kind()


def test_a_closed_object_is_of_its_class_still() -> None:
    with pyacl.Device(0):
        stream = pyacl.Stream()
        stream.close()
        stream.close()
        assert isinstance(stream, pyacl.Stream)
        assert (type(stream).__name__, type(stream).__module__) == ("Stream", "pyacl.stream")
        assert repr(stream) == "<pyacl.Stream closed>"
        other = pyacl.Stream()
        other.close()
        assert type(other) is type(stream)
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            stream.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_subclasses_close_too() -> None:
    class Mine(pyacl.Stream):
        pass

    with pyacl.Device(0):
        mine = Mine()
        mine.extra = 3  # type: ignore[attr-defined]
        mine.close()
        assert isinstance(mine, Mine)
        assert mine.extra == 3  # type: ignore[attr-defined]
        with pytest.raises(pyacl.ClosedError):
            mine.synchronize()


def test_closing_waits_for_streams_of_other_contexts(parts: Parts, device: pyacl.Device) -> None:
    x, out, add = parts
    with pyacl.Stream() as stream:
        add.launch(stream)
        with pyacl.Context(0):  # this thread's from now on
            add.close()
            assert not stream.flight.busy
        device.set_current()
        stream.synchronize()  # and no error is left behind
        assert (out.numpy() == 2).all()


def test_launching_from_a_thread_without_context(parts: Parts) -> None:
    _, out, add = parts
    failed: list[BaseException] = []

    def run(use: Callable[[], Any]) -> None:
        try:
            use()
        except BaseException as error:
            failed.append(error)

    with pyacl.Event() as event:
        for use in (add.launch, add.execute, event.record):
            thread = threading.Thread(target=run, args=(use,))
            thread.start()
            thread.join()
    assert not failed
    pyacl.Stream.default().synchronize()
    assert (out.numpy() == 2).all()


@pytest.mark.parametrize(("use", "error"), [
    (lambda _: pyacl.DeviceBuffer(1 << 70), MemoryError),
    (lambda _: pyacl.HostBuffer(1 << 66), MemoryError),
    (lambda _: pyacl.Tensor.empty((1 << 40, 1 << 40), np.float32), MemoryError),
    (lambda _: pyacl.DeviceBuffer(1 << 50), MemoryError),
    (lambda _: pyacl.DeviceBuffer.from_address(-5, 10), ValueError),
    (lambda _: pyacl.DeviceBuffer.from_address(1 << 70, 10), ValueError),
    (lambda _: pyacl.DeviceBuffer.from_address(4096, -1), ValueError),
    (lambda _: pyacl.memcpy_2d(bytearray(64), 8, np.zeros(64, np.uint8), 8, -4, 1), ValueError),
    (lambda stream: stream.call(None), TypeError),
    (lambda _: pyacl.Executor(3), TypeError),  # type: ignore[arg-type]
    (lambda stream: stream.synchronize(float("nan")), ValueError),
])
def test_sizes_and_values_that_cannot_be(stream: pyacl.Stream, use: Callable[[Any], Any], error: type) -> None:
    with pytest.raises(error):
        use(stream)


def test_numpy_gets_a_copy_of_a_tensor_and_does_not_compute_with_it(parts: Parts) -> None:
    x, _, _ = parts
    array = np.asarray(x)
    assert array.dtype == np.float32
    assert array.tolist() == [1.0] * 8
    assert np.asarray(x, np.float64).dtype == np.float64
    assert pyacl.Tensor.from_numpy(np.asarray(x[::2])).shape == (4,)
    with pytest.raises(TypeError):
        np.ones(8) + x
    with pytest.raises(TypeError, match="numpy array"):
        pyacl.HostBuffer.from_numpy(x)  # type: ignore[arg-type]


def test_waiting_for_ever_is_a_timeout_too(stream: pyacl.Stream) -> None:
    stream.synchronize(float("inf"))


@pytest.mark.skipif(not hasattr(os, "fork") or sys.version_info >= (3, 12), reason="fork warns beside threads")
def test_the_childs_errors_speak_of_the_fork(parts: Parts) -> None:
    x, _, add = parts
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        for use in (x.numpy, add.launch, lambda: add.launch(None), lambda: pyacl.ops.aclnnAdd(x, x, 1.0, x)):
            try:
                use()
            except Exception as error:
                os.write(writer, b"fork" if "fork" in str(error) else repr(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answers:
        assert answers.read() == b"fork" * 4


def test_launch_has_a_signature_and_a_text() -> None:
    assert list(inspect.signature(pyacl.Executor.launch).parameters) == ["self", "stream"]
    assert "second phase" in (pyacl.Executor.launch.__doc__ or "")
