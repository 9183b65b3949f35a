"""Notifies (one record lets one wait through) and counting notifies."""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterable
from typing import Callable

from ...capi import lib
from .. import handles
from ..failure import Failure
from .device import Device
from .scheduler import Gate
from .stream import Stream

_lock = threading.Lock()


class Signal:
    """What both have in common: an id, a value, and the streams that still have work which changes it."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.id = device.notify_ids.take()
        self.value = 0
        self.changers: list[Stream] = []
        self.handle = handles.new(self)

    def change(self, stream: Stream, to: Callable[[int], int], name: str) -> None:
        """Queues a change of the value."""
        self.changers.append(stream)

        def run() -> None:
            self.changers.remove(stream)
            with _lock:
                self.value = to(self.value) & 0xFFFFFFFF

        stream.submit(run, name)

    def wait(self, stream: Stream, gate: SignalGate, name: str) -> None:
        stream.submit(gate.passed, name, gate, lib.ACL_ERROR_RT_WAIT_TIMEOUT)

    def destroy(self) -> None:
        handles.drop(self.handle)
        self.device.notify_ids.give(self.id)


class Notify(Signal):
    """aclrtCreateNotify."""


class CountingNotify(Signal):
    """aclrtCntNotifyCreate."""


class SignalGate(Gate):
    """Opens when the value is as wanted, and takes it away in the same moment where it should."""

    def __init__(self, signal: Signal, wanted: Callable[[int], bool], clear: bool, seconds: float) -> None:
        self.signal, self.wanted, self.clear, self.seconds = signal, wanted, clear, seconds
        self.claimed = False

    def open(self) -> bool:
        with _lock:
            if not self.claimed and self.wanted(self.signal.value):
                self.claimed = True
                if self.clear:
                    self.signal.value = 0
            return self.claimed

    def sources(self) -> Iterable[Stream]:
        return list(self.signal.changers)

    def passed(self) -> None:
        if not self.open():
            raise Failure(lib.ACL_ERROR_RT_WAIT_TIMEOUT, f"waited {self.seconds:g} s in vain for {self}")

    def __str__(self) -> str:
        return f"{type(self.signal).__name__} {self.signal.id}, which no queued work records"


RECORDS: dict[int, Callable[[int, int], int]] = {
    lib.ACL_RT_CNT_NOTIFY_RECORD_SET_VALUE_MODE: lambda old, new: new,
    lib.ACL_RT_CNT_NOTIFY_RECORD_ADD_MODE: operator.add,
    lib.ACL_RT_CNT_NOTIFY_RECORD_BIT_OR_MODE: operator.or_,
    lib.ACL_RT_CNT_NOTIFY_RECORD_BIT_AND_MODE: operator.and_,
}

WAITS: dict[int, Callable[[int, int], bool]] = {
    lib.ACL_RT_CNT_NOTIFY_WAIT_LESS_MODE: operator.lt,
    lib.ACL_RT_CNT_NOTIFY_WAIT_EQUAL_MODE: operator.eq,
    lib.ACL_RT_CNT_NOTIFY_WAIT_BIGGER_MODE: operator.gt,
    lib.ACL_RT_CNT_NOTIFY_WAIT_BIGGER_OR_EQUAL_MODE: operator.ge,
    lib.ACL_RT_CNT_NOTIFY_WAIT_EQUAL_WITH_BITMASK_MODE: lambda value, mask: value & mask == mask,
}
