"""The measuring loop: calls, in batches, on the host's clock and on the device's.

Stands on aclrtCreateEventWithFlag, aclrtRecordEvent, aclrtEventElapsedTime and aclrtSynchronizeStream.
"""

from __future__ import annotations

import gc
import statistics
import time
from contextlib import contextmanager, suppress
from itertools import repeat
from typing import Any, Callable, Iterator, Optional

from .record import Result

_now = time.perf_counter_ns

# A batch of host calls is worth timing when it takes this long: the clock itself costs some 0.05 us.
_AUTO_BATCH_US = 20.0
_WARM_WINDOW = 5
_WARM_CHANGE = 0.05
_WARM_SECONDS = 2.0
_WARM_CALLS = 2000


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of a measurement; `result` has what was measured until then."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


def measure(call: Callable[[], Any], stream: Any = None, *, iters: int = 1000, warmup: Optional[int] = None,
            batch: Optional[int] = None, name: str = "", kind: str = "call",
            progress: Optional[Callable[[int], None]] = None) -> Result:
    """Times `call` and returns microseconds per call, one sample for each batch.

    With a `stream` (pyacl.Stream), `call` queues work on it; after each batch of `batch` calls (default 1) the stream
    is synchronised. The result's series are then ``host`` (queueing alone), ``total`` (queueing and waiting) and
    ``device`` (between two events around the batch). With one call to a batch the device's time includes the gap
    between the first event and the launch; ten calls or more show the operator itself.

    Without a stream there is one series, ``host``, and by default as many calls to a batch as the clock needs.

    `iters` counts calls, rounded up to whole batches. `warmup` is a number of calls that are not counted; by default
    batches are thrown away until the median of five differs by less than 5 % from the five before (at most 2 s).
    `progress` is called after each batch with the number of calls done. Python's garbage collector rests meanwhile.
    Raises ValueError for counts below one, and `Interrupted`, a KeyboardInterrupt, with the samples until then;
    whatever `call` raises passes through.
    """
    if iters < 1:
        raise ValueError(f"iters is {iters}: at least one call is needed")
    if batch is not None and batch < 1:
        raise ValueError(f"batch is {batch}: at least one call is needed")
    if warmup is not None and warmup < 0:
        raise ValueError(f"warmup is {warmup}: give 0 or more calls")
    with _quiet_collector():
        if stream is None:
            size = batch or _host_batch(call, iters)
            return _measure(_host_run(call, size), size, iters, warmup, name, kind, progress)
        size = batch or 1
        with _device_run(call, stream, size) as run:
            return _measure(run, size, iters, warmup, name, kind, progress)


_Run = Callable[[], "dict[str, float]"]


def _measure(run: _Run, batch: int, iters: int, warmup: Optional[int], name: str, kind: str,
             progress: Optional[Callable[[int], None]]) -> Result:
    warmed = _warm_up(run, batch, warmup)
    samples: list[dict[str, float]] = []
    try:
        for done in range(batch, iters + batch, batch):
            samples.append(run())
            if progress is not None:
                progress(done)
    except KeyboardInterrupt:
        if not samples:
            raise
        result = _result(samples, name, kind, batch, warmed)
        result.notes.append(f"interrupted after {len(samples) * batch} of {iters} calls")
        raise Interrupted(result) from None
    return _result(samples, name, kind, batch, warmed)


def _result(samples: list[dict[str, float]], name: str, kind: str, batch: int, warmed: int) -> Result:
    return Result(name, {key: [s[key] for s in samples] for key in samples[0]}, kind=kind, batch=batch, warmup=warmed)


def _warm_up(run: _Run, batch: int, warmup: Optional[int]) -> int:
    """Runs batches that do not count; how many calls that were."""
    if warmup is not None:
        batches = -(-warmup // batch)
        for _ in range(batches):
            run()
        return batches * batch
    times: list[float] = []
    deadline = time.monotonic() + _WARM_SECONDS
    while True:
        times.append(next(reversed(run().values())))
        if len(times) >= 2 * _WARM_WINDOW:
            last = statistics.median(times[-_WARM_WINDOW:])
            before = statistics.median(times[-2 * _WARM_WINDOW:-_WARM_WINDOW])
            if abs(last - before) <= _WARM_CHANGE * before:
                break
        if time.monotonic() > deadline or len(times) * batch >= max(_WARM_CALLS, 4 * _WARM_WINDOW * batch):
            break
    return len(times) * batch


def _host_run(call: Callable[[], Any], batch: int) -> _Run:
    def run() -> dict[str, float]:
        calls = repeat(None, batch)
        start = _now()
        for _ in calls:
            call()
        return {"host": (_now() - start) * 1e-3 / batch}
    return run


def _host_batch(call: Callable[[], Any], iters: int) -> int:
    batch = 1
    while batch * 2 <= iters // 20:
        took = min(_host_run(call, batch)()["host"] for _ in range(3)) * batch
        if took >= _AUTO_BATCH_US:
            break
        batch *= 2
    return batch


@contextmanager
def _device_run(call: Callable[[], Any], stream: Any, batch: int) -> Iterator[_Run]:
    from ..capi import ffi, lib
    from ..errors import check

    handle, synchronize = stream.handle, stream.synchronize
    milliseconds = ffi.new("float *")
    events: list[Any] = []

    def run() -> dict[str, float]:
        calls = repeat(None, batch)
        check(lib.aclrtRecordEvent(events[0], handle), "aclrtRecordEvent")
        begin = _now()
        for _ in calls:
            call()
        queued = _now()
        check(lib.aclrtRecordEvent(events[1], handle), "aclrtRecordEvent")
        synchronize()
        end = _now()
        check(lib.aclrtEventElapsedTime(milliseconds, events[0], events[1]), "aclrtEventElapsedTime")
        return {"host": (queued - begin) * 1e-3 / batch, "device": milliseconds[0] * 1e3 / batch,
                "total": (end - begin) * 1e-3 / batch}

    try:
        for _ in range(2):
            event = ffi.new("aclrtEvent *")
            check(lib.aclrtCreateEventWithFlag(event, lib.ACL_EVENT_TIME_LINE), "aclrtCreateEventWithFlag")
            events.append(event[0])
        yield run
    except BaseException:
        with suppress(Exception):  # the call that failed left work behind; its error matters more than this one's
            synchronize()
        raise
    finally:
        for event in events:
            lib.aclrtDestroyEvent(event)


@contextmanager
def _quiet_collector() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
