"""Functions of the host that streams call: on a thread of the runtime, or on one that subscribed to the stream."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterable
from time import sleep
from typing import Callable, Optional

from ...capi import lib
from ..failure import Failure
from . import context, scheduler, settings
from .clock import monotonic
from .stream import Stream

MOST_THREADS = 1024

abort_callbacks: dict[str, Callable[[int, int, int], int]] = {}  # aclrtSetDeviceTaskAbortCallback, by name


class Call:
    """One call of a host function."""

    def __init__(self, function: Callable[[], None], stream: Stream) -> None:
        self.function, self.stream = function, stream
        self.done = False
        self.due = 0.0

    def run(self, what: str) -> None:
        try:
            with context.inside(what):
                self.function()
        except Exception as error:
            sys.stderr.write(f"pyacl emulator: {what} on {self.stream!r} raised {error!r}\n")
        finally:
            self.done = True
            scheduler.running.discard(self)
            scheduler.announce()


class CallGate(scheduler.Gate):
    """Opens when another thread has made the call."""

    def __init__(self, call: Call, what: str) -> None:
        self.call, self.what = call, what

    def open(self) -> bool:
        return self.call.done

    def sources(self) -> Iterable[Stream]:
        return ()

    def __str__(self) -> str:
        return self.what


class Subscriptions:
    """Which thread serves which streams, of one of the two families."""

    def __init__(self, what: str, process: str) -> None:
        self.what, self.process = what, process
        self.by_stream: dict[Stream, int] = {}
        self.mail: dict[int, deque[Call]] = {}
        self.coming: dict[Stream, int] = {}  # calls that are queued on a stream and not yet delivered
        self._lock = threading.Lock()

    def subscribe(self, thread: int, stream: Stream) -> None:
        with self._lock:
            self._forget_dead()
            if stream in self.by_stream:
                raise Failure(lib.ACL_ERROR_RT_STREAM_SUBSCRIBE, f"thread {self.by_stream[stream]} already serves "
                              f"{stream!r}")
            if any(t == thread and s.device is not stream.device for s, t in self.by_stream.items()):
                raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"thread {thread} already serves another device")
            if thread not in self.mail and len(self.mail) >= MOST_THREADS:
                raise Failure(lib.ACL_ERROR_RT_RESOURCE_ALLOC_FAIL, f"at most {MOST_THREADS} threads can subscribe")
            self.by_stream[stream] = thread
            self.mail.setdefault(thread, deque())

    def unsubscribe(self, thread: int, stream: Stream) -> None:
        with self._lock:
            if stream not in self.by_stream:
                raise Failure(lib.ACL_ERROR_RT_STREAM_SUBSCRIBE, f"no thread serves {stream!r}")
            if self.by_stream[stream] != thread:
                raise Failure(lib.ACL_ERROR_RT_THREAD_SUBSCRIBE, f"thread {thread} does not serve {stream!r}")
            del self.by_stream[stream]
            if thread not in self.by_stream.values():
                self.mail.pop(thread, None)
        scheduler.announce()

    def _forget_dead(self) -> None:
        for stream in [s for s in self.by_stream if not s.alive]:
            del self.by_stream[stream]
        for thread in [t for t in self.mail if t not in self.by_stream.values()]:
            del self.mail[thread]

    def queue(self, call: Call, block: bool, name: str) -> None:
        """Queues the delivery of a call to the stream's thread; with `block` later tasks wait until it was made."""
        stream = call.stream
        thread = self.by_stream[stream]
        self.coming[stream] = self.coming.get(stream, 0) + 1

        def deliver() -> None:
            self.coming[stream] -= 1
            mail = self.mail.get(thread)
            if mail is None:
                raise Failure(lib.ACL_ERROR_RT_STREAM_NO_CB_REG, f"thread {thread} unsubscribed before {name} ran")
            mail.append(call)

        stream.submit(deliver, name)
        if block:
            stream.submit(lambda: None, name, CallGate(call, f"{self.what} by the subscribed thread"))

    def serve(self, timeout: int) -> None:
        """aclrtProcessReport: waits for one call and makes it."""
        me = threading.get_ident()
        if timeout == 0 or timeout < -1:
            raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"the timeout is {timeout}: give -1 (for ever) or milliseconds")
        mail = self.mail.get(me)
        if mail is None:
            raise Failure(lib.ACL_ERROR_RT_THREAD_SUBSCRIBE, f"thread {me} serves no stream")
        deadline = None if timeout == -1 else monotonic() + timeout / 1000

        def ready() -> bool:
            return bool(mail) or me not in self.mail

        def streams() -> list[Stream]:
            return [s for s, t in list(self.by_stream.items()) if t == me and self.coming.get(s)]

        if not scheduler.wait_for(ready, streams, deadline, self.process, f"no {self.what} was queued"):
            raise Failure(lib.ACL_ERROR_RT_REPORT_TIMEOUT, f"no {self.what} arrived within {timeout} ms")
        if not mail:
            raise Failure(lib.ACL_ERROR_RT_THREAD_SUBSCRIBE, f"thread {me} was unsubscribed while it waited")
        mail.popleft().run(self.what)


reports = Subscriptions("a callback", "aclrtProcessReport")
host_functions = Subscriptions("a host function", "aclrtProcessHostFunc")

_watched: list[Call] = []
_watcher: Optional[threading.Thread] = None
_lock = threading.Lock()


def launch(function: Callable[[], None], stream: Stream) -> None:
    """aclrtLaunchHostFunc: later tasks of the stream wait until a thread of the runtime has called `function`."""
    call = Call(function, stream)
    if stream in host_functions.by_stream:
        host_functions.queue(call, True, "aclrtLaunchHostFunc")
        return

    def begin() -> None:
        thread = threading.Thread(target=call.run, args=("a host function",), name="pyacl host function", daemon=True)
        call.done = False  # a graph may call it again
        scheduler.running.add(call)
        try:
            thread.start()
        except BaseException:
            call.done = True
            scheduler.running.discard(call)
            raise
        if settings.schedule == "inline":
            thread.join()

    stream.submit(begin, "aclrtLaunchHostFunc")
    # Whoever waits for the stream waits for the call here, and can stop waiting.
    stream.submit(lambda: None, "aclrtLaunchHostFunc", CallGate(call, "a host function that still runs"))
    if settings.schedule == "deferred":
        _watch(call)


def _watch(call: Call) -> None:
    """Sees to it that a host function runs although nobody waits for its stream: it may be what somebody waits for."""
    global _watcher
    call.due = monotonic() + scheduler.GRACE
    with _lock:
        _watched.append(call)
        if _watcher is None:
            _watcher = threading.Thread(target=_watching, name="pyacl host functions", daemon=True)
            _watcher.start()


def _watching() -> None:
    global _watcher
    while True:
        sleep(0.1)
        now = monotonic()
        for call in list(_watched):
            while not call.done and call.stream.queue and now >= call.due and scheduler.step(call.stream):
                pass
        with _lock:
            _watched[:] = [c for c in _watched if not c.done and c.stream.alive and c.stream.queue]
            if not _watched:
                _watcher = None
                return
