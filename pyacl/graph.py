"""Graphs: work captured from streams once, and replayed with one call (``aclmdlRI*``)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Iterable, Iterator, Optional

from . import errors, resource
from .c_string import c_string
from .capi import ffi, lib
from .context import Context, flight_on
from .device import _constant
from .resource import Resource
from .stream import Stream


class Graph(Resource):
    """Work that was captured from a stream, and can be replayed any number of times.

    >>> with pyacl.Graph.capture(stream) as graph:
    ...     add.launch(stream)              # recorded, not run
    >>> graph.launch(stream)                # runs it
    >>> graph.close()

    A replay reads and writes the same memory as what was captured, so everything that the captured work uses is kept
    until the graph is closed.
    """

    __slots__ = ("_kept",)

    _kept: list[Any]  # what the captured work uses

    _composite = True

    def __init__(self) -> None:
        raise TypeError("make a Graph with Graph.capture(stream)")

    @classmethod
    @contextmanager
    def capture(cls, stream: Stream, mode: str = "global") -> Iterator[Graph]:
        """What is queued on `stream` inside the block is recorded (aclmdlRICaptureBegin, aclmdlRICaptureEnd).

        Other streams that wait for an event recorded on it are captured along, and must come back: an event recorded
        there, and a wait for it here. Synchronising or querying what is captured is an error, and so are memcpy, memset
        and copies of pageable memory: in mode "global" from any thread, "thread_local" from this one, "relaxed" from
        none.

        The graph can be used after the block. Raises CaptureError for the default stream (107031), for a stream that is
        captured already (107027), and at the end of the block for a capture that was broken (507903) or that a stream
        has not come back to (107025).
        """
        graph = cls.__new__(cls)
        flight = stream.flight
        before = {id(f): dict(f.held) for f in resource.flights.values()}
        errors.check(lib.aclmdlRICaptureBegin(stream.handle, _constant("ACL_MODEL_RI_CAPTURE_MODE_", mode)),
                     "aclmdlRICaptureBegin")
        out = ffi.new("aclmdlRI *")
        try:
            yield graph
        except BaseException:
            if lib.aclmdlRICaptureEnd(flight.handle, out):
                errors.recent_text()
            else:
                lib.aclmdlRIDestroy(out[0])
            raise
        captured = [f for f in resource.flights.values() if f is flight or _captured(f.handle)]
        errors.check(lib.aclmdlRICaptureEnd(flight.handle, out), "aclmdlRICaptureEnd")
        kept: list[Any] = []
        for each in captured:
            known = before.get(id(each), {})
            new = [item for item in each.held if item not in known]
            kept += new  # and what these use now: an executor may be given other tensors later
            kept += [used for item in new if isinstance(item, Resource) for used in item._uses()]
            if each._buffer is not None:  # the workspace of its operators
                kept.append(each._buffer)
            for item in new:  # it was recorded, so nothing of it is in flight
                del each.held[item]
        graph._kept = kept
        graph._own(out[0], Context.current())

    def launch(self, stream: Optional[Stream] = None) -> None:
        """Queues one replay on `stream` (aclmdlRIExecuteAsync); None is the context's default stream."""
        flight = flight_on(stream, self)
        code = lib.aclmdlRIExecuteAsync(self.handle, flight.handle)
        if code:
            self._again(code, "aclmdlRIExecuteAsync", self.handle, flight.handle)
        flight.hold(self)

    def execute(self, stream: Optional[Stream] = None) -> None:
        """Launches, and waits for the stream."""
        self.launch(stream)
        (stream or Stream.default()).synchronize()

    @property
    def name(self) -> str:
        """Its name, at most 512 bytes (aclmdlRIGetName, aclmdlRISetName); "" until it is set."""
        text = ffi.new("char[513]")
        errors.check(lib.aclmdlRIGetName(self.handle, 513, text), "aclmdlRIGetName")
        found: bytes = ffi.string(text)
        return found.decode(errors="replace")

    @name.setter
    def name(self, value: str) -> None:
        errors.check(lib.aclmdlRISetName(self.handle, c_string(value, "a graph's name", empty=True)), "aclmdlRISetName")

    def _uses(self) -> Iterable[Resource]:
        return [item for item in self._kept if isinstance(item, Resource)]

    def _release(self) -> None:
        try:
            errors.check(lib.aclmdlRIDestroy(self.handle), "aclmdlRIDestroy")
        finally:
            self._kept.clear()


def _captured(handle: Any) -> bool:
    status = ffi.new("aclmdlRICaptureStatus *")
    if lib.aclmdlRICaptureGetInfo(handle, status, ffi.NULL):
        errors.recent_text()  # a stream of another context
        return False
    return bool(status[0] != lib.ACL_MODEL_RI_CAPTURE_STATUS_NONE)
