"""Streams: queues of work that runs in order, beside the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterable, Optional, Union

from . import errors
from .capi import ffi, lib
from .context import Context, switched
from .device import _constant, milliseconds, raise_failures
from .resource import Flight, Resource, flight_of

if TYPE_CHECKING:
    from .event import Event

Flags = Union[int, str, Iterable[str]]


def combine(prefix: str, flags: Flags) -> int:
    """Flags as names after `prefix` (one, or several) or as a number."""
    if isinstance(flags, (int, str)):
        return _constant(prefix, flags)
    value = 0
    for flag in flags:
        value |= _constant(prefix, flag)
    return value


class Stream(Resource):
    """A stream of this thread's context (aclrtCreateStream, aclrtCreateStreamWithConfig).

    `flags`: names after ACL_STREAM_, such as ``("fast_launch", "fast_sync")``. `priority`: smaller is higher. What is
    queued here is kept alive until the stream is next synchronised. Closing waits for the queued work.
    """

    __slots__ = ("flight", "owned", "_address")

    flight: Flight

    def __init__(self, *, flags: Flags = 0, priority: int = 0) -> None:
        context = Context.current()
        out = ffi.new("aclrtStream *")
        value = combine("ACL_STREAM_", flags)
        if value or priority:
            errors.check(lib.aclrtCreateStreamWithConfig(out, priority, value), "aclrtCreateStreamWithConfig")
        else:
            errors.check(lib.aclrtCreateStream(out), "aclrtCreateStream")
        self._set(out[0], context, True)

    def _set(self, handle: Any, context: Context, owned: bool) -> None:
        self._address = int(ffi.cast("uintptr_t", handle))
        self.flight = flight_of(handle, context)
        self.owned = owned
        self._own(handle, context)

    @property
    def _warns(self) -> bool:  # type: ignore[override]
        return self.owned

    @classmethod
    def _borrow(cls, handle: Any, context: Context) -> Stream:
        stream = cls.__new__(cls)
        stream._set(handle, context, False)
        return stream

    @classmethod
    def from_handle(cls, address: int) -> Stream:
        """A stream that another library made in this thread's context, by its handle's address; not destroyed here."""
        if not address:
            raise ValueError("a stream's handle is not 0: use Stream.default() for the default stream")
        return cls._borrow(ffi.cast("aclrtStream", address), Context.current())

    @classmethod
    def default(cls) -> Stream:
        """The default stream of this thread's context."""
        return Context.current().default_stream

    @property
    def address(self) -> int:
        """The handle as a number, for other libraries."""
        self.handle  # noqa: B018
        return self._address

    @property
    def context(self) -> Context:
        """The context it was made in."""
        self.handle  # noqa: B018
        assert isinstance(self._parent, Context)
        return self._parent

    def hold(self, obj: Any) -> None:
        """Keeps `obj` alive, and unreleased if it is a resource, until what is queued now is done and synchronised.

        Call it after queueing the work that uses `obj`.
        """
        self.handle  # noqa: B018
        self.flight.hold(obj)

    def synchronize(self, timeout: Optional[float] = None) -> None:
        """Waits for all queued work (aclrtSynchronizeStream); `timeout` in seconds.

        Raises SyncTimeoutError when that is not enough (the work goes on and keeps what it uses), the error of a task
        that failed, or the exception of a function given to `call`. CANN's waits are in C: there Ctrl-C takes effect
        when they end, so give a timeout where that could be never.
        """
        self.handle  # noqa: B018
        code, function = self.flight.synchronize(-1 if timeout is None else milliseconds(timeout))
        if code:
            raise errors.error(code, function)
        if self.flight.failures:
            raise_failures(self.flight)

    def query(self) -> bool:
        """Whether all queued work is done (aclrtStreamQuery); does not wait."""
        out = ffi.new("aclrtStreamStatus *")
        batches = self.flight.begin()
        code = lib.aclrtStreamQuery(self.handle, out)
        if code:
            self._again(code, "aclrtStreamQuery", self.handle, out)
        done = bool(out[0] == lib.ACL_STREAM_STATUS_COMPLETE)
        if done:
            self.flight.end(batches, 0)
        return done

    def wait(self, event: Event, timeout: Optional[float] = None) -> None:
        """Work queued later here starts only after `event` (aclrtStreamWaitEvent); the host does not wait.

        `timeout` in whole seconds at least 1; when it passes, the next `synchronize` reports it.
        """
        from .event import Event

        if not isinstance(event, Event):  # its handle would go to C as it is
            raise TypeError(f"wait() takes an Event, not {event!r}")
        if timeout is None:
            code, function = lib.aclrtStreamWaitEvent(self.handle, event.handle), "aclrtStreamWaitEvent"
            rest: tuple[Any, ...] = ()
        else:
            function = "aclrtStreamWaitEventWithTimeout"
            rest = (max(1, -(-milliseconds(timeout) // 1000)),)
            code = lib.aclrtStreamWaitEventWithTimeout(self.handle, event.handle, *rest)
        if code:
            self._again(code, function, self.handle, event.handle, *rest)
        self.flight.hold(event)

    def record(self, event: Optional[Event] = None) -> Event:
        """Records `event`, or a new one, after the work queued so far, and gives it back."""
        if event is None:
            from .event import Event

            event = Event()
        try:
            record = event.record
        except AttributeError:
            raise TypeError(f"record() takes an Event, not {event!r}") from None
        record(self)
        return event

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Queues ``function(*args)`` on the host, in order with the work here (aclrtLaunchHostFunc).

        It runs on a thread of CANN's, and later work waits for it. It must not call pyacl. An exception is raised by
        the next `synchronize`.
        """
        if not callable(function):
            raise TypeError(f"call() takes a function, not {function!r}")
        task = _HostCall(self.flight, function, args)
        handle = ffi.new_handle(task)
        code = lib.aclrtLaunchHostFunc(self.handle, _run, handle)
        if code:
            self._again(code, "aclrtLaunchHostFunc", self.handle, _run, handle)
        self.flight.hold(handle)

    def abort(self) -> None:
        """Stops what runs here and drops what is queued (aclrtStreamAbort)."""
        code = lib.aclrtStreamAbort(self.handle)
        if code:
            self._again(code, "aclrtStreamAbort", self.handle)

    @property
    def id(self) -> int:
        """Its number on the device (aclrtStreamGetId)."""
        return self._number("int32_t *", "aclrtStreamGetId")

    @property
    def flags(self) -> int:
        """The flags it was made with (aclrtStreamGetFlags)."""
        return self._number("uint32_t *", "aclrtStreamGetFlags")

    @property
    def priority(self) -> int:
        """Its priority; smaller is higher (aclrtStreamGetPriority)."""
        return self._number("uint32_t *", "aclrtStreamGetPriority")

    def _number(self, kind: str, function: str) -> int:
        out = ffi.new(kind)
        code = getattr(lib, function)(self.handle, out)
        if code:
            self._again(code, function, self.handle, out)
        return int(out[0])

    def stop_on_failure(self) -> None:
        """After a task failed nothing more runs here (aclrtSetStreamFailureMode); once for each stream."""
        errors.check(lib.aclrtSetStreamFailureMode(self.handle, lib.ACL_STOP_ON_FAILURE), "aclrtSetStreamFailureMode")

    def resource_limit(self, kind: str) -> int:
        """How many cores work here may use (aclrtGetStreamResLimit); `kind` is "cube_core" or "vector_core"."""
        out = ffi.new("uint32_t *")
        code = lib.aclrtGetStreamResLimit(self.handle, _constant("ACL_RT_DEV_RES_", kind), out)
        errors.check(code, "aclrtGetStreamResLimit")
        return int(out[0])

    def set_resource_limit(self, kind: str, value: int) -> None:
        """Restricts work here to `value` cores (aclrtSetStreamResLimit, aclrtUseStreamResInCurrentThread)."""
        code = lib.aclrtSetStreamResLimit(self.handle, _constant("ACL_RT_DEV_RES_", kind), value)
        errors.check(code, "aclrtSetStreamResLimit")
        errors.check(lib.aclrtUseStreamResInCurrentThread(self.handle), "aclrtUseStreamResInCurrentThread")

    def reset_resource_limit(self) -> None:
        """Lifts the restrictions (aclrtResetStreamResLimit)."""
        errors.check(lib.aclrtResetStreamResLimit(self.handle), "aclrtResetStreamResLimit")

    def _release(self) -> None:
        flight = self.flight
        if not self.owned:
            return  # what is in flight stays held: whoever owns the stream goes on
        flight.begin()
        with switched(self._parent):  # a stream is destroyed in its own context only
            errors.check(lib.aclrtDestroyStream(self.handle), "aclrtDestroyStream")
            flight.forget()

    def _describe(self) -> str:
        where = self._parent.device_id if isinstance(self._parent, Context) else "?"
        return f"{self._address:#x} on device {where}{'' if self.owned else ' (not owned)'}"


class _HostCall:
    """One function queued by `Stream.call`."""

    __slots__ = ("flight", "function", "args")

    def __init__(self, flight: Flight, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.flight, self.function, self.args = flight, function, args


@ffi.callback("void(void *)")  # type: ignore[untyped-decorator, unused-ignore]
def _run(data: Any) -> None:
    call: _HostCall = ffi.from_handle(data)
    try:
        call.function(*call.args)
    except BaseException as error:
        call.flight.failures.append(error)
