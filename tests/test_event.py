"""Events: recording, waiting, timing, and the errors that explain what was forgotten."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import Gate, upload, waits_for_work

import pyacl


def work(stream: Any) -> Any:
    x = upload(np.ones(4096, np.float32))
    for _ in range(3):
        pyacl.ops.aclnnAdd(x, x, 1, x, stream=stream)
    return x


def test_time_between_two_events(stream: Any) -> None:
    with pyacl.Event() as start, pyacl.Event() as end:
        start.record(stream)
        work(stream)
        end.record(stream)
        stream.synchronize()
        taken = start.elapsed_time(end)
        assert taken > 0
        assert end - start == taken
        assert end.timestamp >= start.timestamp > 0


def test_an_event_is_passed_when_its_stream_gets_there(stream: Any) -> None:
    with pyacl.Event() as event:
        gate = Gate(stream)
        event.record(stream)
        assert event.query() is False
        gate.open()
        event.synchronize()
        assert event.query() is True
        stream.synchronize()
        gate.close()


def test_synchronize_with_a_timeout(stream: Any) -> None:
    with pyacl.Event() as event:
        gate = Gate(stream)
        event.record(stream)
        with pytest.raises(TimeoutError) as caught:
            event.synchronize(timeout=0.02)
        assert isinstance(caught.value, pyacl.AclTimeoutError)
        gate.open()
        event.synchronize(timeout=5)
        stream.synchronize()
        gate.close()


def test_recording_again_moves_it(stream: Any) -> None:
    with pyacl.Event() as event:
        event.record(stream)
        stream.synchronize()
        gate = Gate(stream)
        event.record(stream)
        assert not event.query()
        gate.open()
        stream.synchronize()
        assert event.query()
        gate.close()


def test_one_that_was_never_recorded_is_passed(device: Any, stream: Any) -> None:
    with pyacl.Event() as event:
        assert event.query() is True
        event.synchronize()
        event.wait(stream)
        stream.synchronize()


def test_wait_is_the_streams_wait(device: Any, stream: Any) -> None:
    with pyacl.Stream() as other, pyacl.Event() as event:
        gate = Gate(other)
        event.record(other)
        event.wait(stream)
        assert not stream.query()
        gate.open()
        stream.synchronize()
        other.synchronize()
        gate.close()


def test_the_default_stream(device: Any) -> None:
    with pyacl.Event() as event:
        event.record()
        event.wait()
        pyacl.Stream.default().synchronize()
        assert event.query()


def test_a_resettable_event(device: Any, stream: Any) -> None:
    with pyacl.Event(resettable=True) as event:
        assert "resettable" in repr(event)
        event.record(stream)
        event.wait(stream)
        event.reset(stream)
        stream.synchronize()
        event.record(stream)
        stream.synchronize()
        assert event.query()
    with pyacl.Event() as plain, pytest.raises(pyacl.UnsupportedError) as caught:
        plain.reset(stream)
    assert "resettable=True" in str(caught.value)


def test_ids(device: Any, stream: Any) -> None:
    with pyacl.Event(resettable=True) as one, pyacl.Event(resettable=True) as two:
        assert one.id != two.id


def test_roles(device: Any) -> None:
    with pyacl.Event(timing=False) as event:
        assert event.sync
        assert not event.timing
        assert "timing" not in repr(event)
    with pyacl.Event(sync=False) as event:
        assert event.timing
    with pytest.raises(ValueError, match="needs a role"):
        pyacl.Event(sync=False, timing=False)
    with pytest.raises(ValueError, match="not known"):
        pyacl.Event(flags="nothing")


def test_a_role_by_flags(device: Any) -> None:
    with pyacl.Event(flags="capture_stream_progress") as event:
        assert event.query() in (True, False)


def pitfalls() -> list[Any]:
    def never_recorded(a: Any, b: Any, stream: Any) -> str:
        b.record(stream)
        stream.synchronize()
        return "the start event was never recorded"

    def end_never_recorded(a: Any, b: Any, stream: Any) -> str:
        a.record(stream)
        stream.synchronize()
        return "the end event was never recorded"

    def not_passed(a: Any, b: Any, stream: Any) -> str:
        a.record(stream)
        stream.synchronize()
        gates.append(Gate(stream))
        b.record(stream)
        return "the end event is not passed yet"

    def swapped(a: Any, b: Any, stream: Any) -> str:
        b.record(stream)
        work(stream)
        a.record(stream)
        stream.synchronize()
        return "swap them"

    return [never_recorded, end_never_recorded, not_passed, swapped]


gates: list[Any] = []


@pytest.mark.parametrize("pitfall", pitfalls(), ids=lambda f: f.__name__)
def test_why_there_is_no_time(stream: Any, pitfall: Any) -> None:
    with pyacl.Event() as a, pyacl.Event() as b:
        words = pitfall(a, b, stream)
        with pytest.raises(pyacl.AclError) as caught:
            a.elapsed_time(b)
        assert words in caught.value.remedy
        assert caught.value.function == "aclrtEventElapsedTime"
        while gates:
            gate = gates.pop()
            gate.open()
            stream.synchronize()
            gate.close()


def test_events_without_timing_have_no_time(stream: Any) -> None:
    with pyacl.Event(timing=False) as a, pyacl.Event() as b:
        a.record(stream)
        b.record(stream)
        stream.synchronize()
        for pair in ((a, b), (b, a)):
            with pytest.raises(pyacl.AclError) as caught:
                pair[0].elapsed_time(pair[1])
            assert "timing=True" in caught.value.remedy
        with pytest.raises(pyacl.AclError):
            a.timestamp  # noqa: B018


def test_only_events_are_subtracted(device: Any) -> None:
    with pyacl.Event() as event, pytest.raises(TypeError):
        event - 3  # type: ignore[operator]


def test_closed_events(stream: Any) -> None:
    event = pyacl.Event()
    event.close()
    for use in (lambda: event.record(stream), event.query, event.synchronize, lambda: stream.wait(event),
                lambda: event.elapsed_time(event), lambda: event.id, lambda: event.reset(stream)):
        with pytest.raises(pyacl.ClosedError, match="this Event is closed"):
            use()


def test_closing_one_that_is_queued_waits(device: Any, stream: Any) -> None:
    event = pyacl.Event()
    gate = Gate(stream)
    event.record(stream)
    assert waits_for_work(gate, event.close)
