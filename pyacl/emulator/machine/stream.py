"""Streams: queues of tasks, and what becomes of their faults."""

from __future__ import annotations

import _thread
import itertools
import sys
import traceback
from collections import deque
from typing import Any, Callable, Optional, Tuple

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure
from . import context as _context
from . import scheduler, settings
from .clock import monotonic
from .context import Context
from .scheduler import Gate

# What to run, what it is called, the gate before it, the thread that queued it, the code of a fault that has none.
Task = Tuple[Callable[[], None], str, Optional[Gate], int, int]

_ident = _thread.get_ident
_deferred = settings.schedule == "deferred"
_streams: dict[Any, Stream] = {}  # by handle, as cdata: five times faster than by number
_numbers = itertools.count(1)
_newest: dict[int, int] = {}  # by thread, the number of the task that it queued last
_state_callbacks: dict[str, Callable[[Any, int], None]] = {}


class Stream:
    """A queue of one context. Tasks come in through `submit` and leave through `run_next`."""

    def __init__(self, context: Context, flags: int = 0, priority: int = 0, default: bool = False) -> None:
        self.context = context
        self.device = context.device
        self.id = self.device.stream_ids.take()
        self.flags = flags
        self.priority = priority
        self.default = default
        self.alive = True
        self.queue: deque[Task] = deque()
        self.done = 0  # tasks that ran
        self.idle = _thread.allocate_lock()  # held by the thread that runs a task
        self.intercept: Optional[Callable[[Task], None]] = None if _deferred else self._append
        # Work of these waits for something that only a model instance does.
        self.parked = bool(flags & (lib.ACL_STREAM_PERSISTENT | lib.ACL_STREAM_DEVICE_USE_ONLY
                                    | lib.ACL_STREAM_CPU_SCHEDULE))
        self.last_error: Optional[Failure] = None  # the first fault that no synchronisation has reported yet
        self.stop_on_failure = False
        self.failure_mode: Optional[int] = None
        self.overflow_switch = 0
        self.tag = 0
        self.cache_op_info = 0
        self.core_limits: dict[int, int] = {}
        self.worker: Any = None
        self.aborted = False  # until the next synchronisation says so
        self.capture: Any = None  # the graph capture it belongs to
        self.model: Any = None  # the model instance it is bound to
        if context.failed is not None:
            self.intercept = self._refuse
        self.number = handles.new(self)
        self.pointer = handles.pointer(self.number)
        _streams[self.pointer] = self
        context.streams.append(self)
        for callback in list(_state_callbacks.values()):
            callback(self.pointer, lib.ACL_RT_STREAM_STATE_CREATE_POST)

    # Queueing

    def submit(self, run: Callable[[], None], name: str, gate: Optional[Gate] = None, fault: int = 0) -> None:
        """Queues a task. What it raises becomes the stream's fault.

        `gate` must open first. `fault` is the code for what it raises without a code of a device's fault (default
        ACL_ERROR_RT_AICORE_EXCEPTION).
        """
        me = _ident()
        _newest[me] = next(_numbers)
        task = (run, name, gate, me, fault)
        if self.intercept is None:
            self.queue.append(task)
        else:
            self.intercept(task)

    def _append(self, task: Task) -> None:
        self.queue.append(task)
        scheduler.queued(self)

    def _refuse(self, task: Task) -> None:
        failed = self.context.failed
        assert failed is not None
        raise Failure(failed.code, f"{task[1]}: an earlier fault stopped the context's streams: {failed.text}")

    # Running

    def run_next(self) -> bool:
        """Runs the task at the head, whose gate is open; False if another thread was faster."""
        if not self.idle.acquire(False):
            return False
        try:
            if not self.queue:
                return False
            task = self.queue[0]
            gate = task[2]
            if gate is not None and not scheduler.passes(gate):
                return False
            try:
                task[0]()
            except Exception as error:
                self._fault(task, error)
            except BaseException as error:  # Ctrl-C; a task that was begun is not begun again
                self._fault(task, error)
                self._finished()
                raise
            self._finished()
        finally:
            self.idle.release()
        scheduler.announce()
        return True

    def run_all(self) -> None:
        """Runs plain tasks until the queue is empty or something needs the slow way."""
        queue = self.queue
        if not self.idle.acquire(False):
            return
        try:
            while queue and not self.parked:
                task = queue[0]
                if task[2] is not None:
                    break
                try:
                    task[0]()
                except Exception as error:
                    self._fault(task, error)
                except BaseException as error:
                    self._fault(task, error)
                    self._finished()
                    raise
                self.done += 1
                try:
                    queue.popleft()
                except IndexError:
                    pass
                if scheduler._waiters:  # what ran may be what another thread waits for
                    scheduler.announce()
        finally:
            self.idle.release()
        scheduler.announce()

    def _finished(self) -> None:
        self.done += 1
        try:
            self.queue.popleft()
        except IndexError:  # an abort emptied it meanwhile
            pass

    def _fault(self, task: Task, error: BaseException) -> None:
        if isinstance(error, Failure):
            code, text = error.code, error.text
            # A task cannot fail with what only a call can: a wrong parameter met by a kernel is the kernel's fault.
            if code < 200000 and code not in _TASK_CODES:
                code = task[4] or lib.ACL_ERROR_RT_AICORE_EXCEPTION
        elif isinstance(error, KeyboardInterrupt):
            code, text = task[4] or lib.ACL_ERROR_RT_AICORE_EXCEPTION, "interrupted"
        else:
            code = task[4] or lib.ACL_ERROR_RT_AICORE_EXCEPTION
            text = f"{type(error).__name__}: {error}"
            trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            sys.stderr.write(f"pyacl emulator: {task[1]} raised on {self!r}\n{trace}")
        failure = Failure(code, f"{task[1]} failed on {self!r}: {text}")
        if self.last_error is None:
            self.last_error = failure
        if self.stop_on_failure:
            self.context.failed = failure
            for stream in self.context.streams:
                stream.intercept = stream._refuse
                if stream is not self:
                    stream.queue.clear()
                else:
                    while len(stream.queue) > 1:
                        stream.queue.pop()
        from .exception import report

        report(self, task[3], failure.code, error)

    # Waiting

    def finish(self, deadline: Optional[float] = None, what: str = "a synchronisation") -> bool:
        """Waits until all that is queued now has run; False when the deadline came first."""
        queue = self.queue
        if not queue:
            return True
        if self.parked:
            return True
        if deadline is None and _deferred:
            self.run_all()
            if not queue:
                return True
        target = self.done + len(queue)
        return scheduler.wait(lambda: not queue or self.done >= target, self, deadline, what)

    def settle(self) -> None:
        """Runs what can run now, and leaves what waits for something else."""
        if settings.schedule == "threaded":
            self.finish(monotonic() + 1)
        while self.queue and not self.parked and (scheduler.step(self) or scheduler.running):
            scheduler.wait(lambda: not self.queue or not scheduler.running, self, None, "the end of a stream")

    def take_fault(self) -> None:
        """Raises the fault that was not reported yet, if there is one."""
        fault = self.last_error
        if fault is not None:
            self.last_error = None
            raise fault

    def drain(self, deadline: Optional[float] = None, what: str = "a synchronisation") -> None:
        """Waits for the stream's work and raises its fault."""
        if self.queue and not self.finish(deadline, what):
            raise Failure(lib.ACL_ERROR_RT_STREAM_SYNC_TIMEOUT,
                          f"{what} timed out: {scheduler.explain(self)}; its tasks stay queued")
        if self.last_error is not None:
            self.take_fault()

    def poll(self) -> bool:
        """Whether all work was done when asked; the asking itself lets one more task run."""
        if not self.queue:
            return True
        if settings.schedule != "threaded":
            scheduler.step(self)
        return False

    def refuse_synchronisation(self) -> None:
        """Raises what waiting for or asking about the stream is answered with while it is captured or was aborted."""
        if self.capture is not None:
            raise self.capture.broken(lib.ACL_ERROR_RT_STREAM_CAPTURED, f"{self!r} is being captured: it cannot be "
                                      "synchronised or queried before aclmdlRICaptureEnd")
        if self.aborted:
            self.aborted = False
            raise Failure(lib.ACL_ERROR_RT_STREAM_ABORT, f"{self!r} was aborted: its queued tasks were dropped")

    # Ending

    def abort(self) -> None:
        """aclrtStreamAbort: drops what is queued."""
        self.aborted = True
        self.last_error = None
        self.discard()

    def stop(self) -> None:
        """aclrtStreamStop: drops the task that stands at the head, and keeps the others."""
        if self.idle.acquire(False):
            try:
                if self.queue:
                    self.done += 1
                    self.queue.popleft()
            finally:
                self.idle.release()
            scheduler.announce()

    def discard(self) -> None:
        """Drops queued tasks, all but one that runs right now."""
        self.queue.clear()
        scheduler.announce()

    def release(self, wait: bool = True) -> None:
        """Destroys the stream after its work, or without it."""
        if not self.alive:
            return
        if wait and not self.parked:
            self.finish(what="destroying a stream")
        else:
            self.discard()
        for callback in list(_state_callbacks.values()):
            callback(self.pointer, lib.ACL_RT_STREAM_STATE_DESTROY_PRE)
        self.alive = False
        self.queue.clear()
        _streams.pop(self.pointer, None)
        handles.drop(self.number)
        if self in self.context.streams:
            self.context.streams.remove(self)
        self.device.stream_ids.give(self.id)
        scheduler.announce()

    def __repr__(self) -> str:
        return f"{'default ' * self.default}stream {self.id} of device {self.device.id}"


_TASK_CODES = frozenset((lib.ACL_ERROR_RT_WAIT_TIMEOUT, lib.ACL_ERROR_RT_TASK_TIMEOUT, lib.ACL_ERROR_RT_STREAM_ABORT))
_NULL = ffi.NULL


def resolve(pointer: Any) -> Stream:
    """The stream behind a handle of the calling thread's context; NULL is its default stream.

    Fails with ACL_ERROR_RT_CONTEXT_NULL in a thread without context, ACL_ERROR_RT_STREAM_CONTEXT for a stream of
    another context, ACL_ERROR_RT_INVALID_HANDLE for what is no live stream.
    """
    context = _context._thread.context
    if context is None or not context.alive:
        context = _context.current()
    stream = _streams.get(pointer)
    if stream is not None and stream.context is context:
        return stream
    return _resolve(pointer, context)


def _resolve(pointer: Any, context: Context) -> Stream:
    number = handles.address(pointer)
    if not number:
        return context.default_stream
    stream = handles.get(number, Stream, "stream", wrong=lib.ACL_ERROR_RT_INVALID_HANDLE)
    if stream.context is not context:
        raise Failure(lib.ACL_ERROR_RT_STREAM_CONTEXT, f"{stream!r} belongs to another context than this thread's "
                      "current one: call aclrtSetCurrentContext first")
    return stream


def named(pointer: Any) -> Stream:
    """`resolve` for functions that do not take the default stream as NULL."""
    if handles.address(pointer):
        return resolve(pointer)
    _context.current()
    raise Failure(lib.ACL_ERROR_INVALID_PARAM, "the stream is NULL")


def all_streams() -> list[Stream]:
    return list(_streams.values())


def deadline_after(milliseconds: int) -> Optional[float]:
    """When a time-out argument ends: -1 never, and less is an error."""
    if milliseconds < -1:
        raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"the timeout is {milliseconds}: give -1 (for ever) or "
                      "milliseconds")
    return None if milliseconds == -1 else monotonic() + milliseconds / 1000


def last_task() -> int:
    """The number of the task that this thread queued last, or 0."""
    return _newest.get(_ident(), 0)


def state_callbacks() -> dict[str, Callable[[Any, int], None]]:
    """What aclrtRegStreamStateCallback registered, by name."""
    return _state_callbacks
