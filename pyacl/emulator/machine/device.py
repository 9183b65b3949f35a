"""Devices: what each has, how often it was set, and what hangs on it."""

from __future__ import annotations

import heapq
import threading
from typing import TYPE_CHECKING, Callable, Optional

from ...capi import lib
from ..failure import Failure
from . import settings
from .arena import Arena
from .memory import Region, add_window, release

if TYPE_CHECKING:
    from .context import Context


class Numbers:
    """Small ids, the lowest free one first, of which there is a limited number."""

    def __init__(self, limit: int, code: int, what: str) -> None:
        self.limit, self.used = limit, 0
        self._code, self._what = code, what
        self._next = 0
        self._free: list[int] = []
        self._lock = threading.RLock()  # collected garbage may give ids back while its thread is inside

    def take(self) -> int:
        with self._lock:
            if self.used >= self.limit:
                raise Failure(self._code, f"all {self.limit} {self._what} of the device are in use")
            self.used += 1
            if self._free:
                return heapq.heappop(self._free)
            self._next += 1
            return self._next - 1

    def give(self, number: int) -> None:
        with self._lock:
            self.used -= 1
            heapq.heappush(self._free, number)


class Device:
    """One NPU as this process sees it: `id` is the user's id, `physical_id` the machine's."""

    def __init__(self, index: int, physical: int) -> None:
        self.id = index
        self.physical_id = physical
        self.soc = settings.soc
        self.capacity = settings.memory
        self.lock = threading.RLock()
        self._arena: Optional[Arena] = None
        self.forget()

    def forget(self) -> None:
        """Everything as it is before the first aclrtSetDevice."""
        self.references = 0
        self.primary: Optional[Context] = None
        self.contexts: list[Context] = []
        self.used = self.peak = 0
        self.regions: dict[int, Region] = {}
        soc = self.soc
        self.stream_ids = Numbers(soc.max_streams, lib.ACL_ERROR_RT_NO_STREAM_RESOURCE, "streams")
        self.event_ids = Numbers(soc.max_events, lib.ACL_ERROR_RT_NO_EVENT_RESOURCE, "events")
        self.notify_ids = Numbers(soc.max_notifies, lib.ACL_ERROR_RT_NO_NOTIFY_RESOURCE, "notifies")
        self.peers: set[int] = set()
        self.sat_mode = int(lib.ACL_RT_OVERFLOW_MODE_INFNAN)
        self.overflowed = False
        self.limits: dict[int, int] = {}
        self.core_limits: dict[int, int] = {}

    def reaches(self, region: Region) -> bool:
        """Whether it may access a region: its own, what belongs to no device or to all, and its peers'."""
        owner = region.device
        return owner is None or owner is self or owner.id in self.peers or region.source == "aclrtMemAllocManaged"

    def arena(self) -> Arena:
        """Where its memory comes from; reserved at first use, twice the capacity so that addresses age before reuse."""
        if self._arena is None:
            self._arena = Arena(2 * self.capacity + (1 << 30))
            add_window(self._arena.base, self._arena.end, f"device {self.id}'s memory")
        return self._arena

    def cores(self, kind: int) -> int:
        """How many cores of an aclrtDevResLimitType the hardware has."""
        return self.soc.aicores if kind == lib.ACL_RT_DEV_RES_CUBE_CORE else self.soc.vector_cores

    def finish(self) -> None:
        """Waits for the work of all streams; faults stay for whoever synchronises."""
        for context in list(self.contexts):
            for stream in list(context.streams):
                stream.finish(what=f"a wait for device {self.id}")

    def settle(self) -> None:
        """Runs what can run now, and leaves what waits for something else."""
        for context in list(self.contexts):
            for stream in list(context.streams):
                stream.settle()

    def release(self) -> None:
        """Drops everything that hangs on the device: contexts and their streams, and all memory."""
        for context in list(self.contexts):
            context.release()
        for region in list(self.regions.values()):
            if not region.freed:
                release(region)
        self.forget()

    def __repr__(self) -> str:
        return f"<device {self.id}, {settings.soc_name}>"


devices = [Device(i, physical) for i, physical in enumerate(settings.visible)]


def get(device_id: int, code: int = 0) -> Device:
    """The device with the user's id `device_id`."""
    if 0 <= device_id < len(devices):
        return devices[device_id]
    raise Failure(code or lib.ACL_ERROR_RT_INVALID_DEVICEID, f"there is no device {device_id}: "
                  + (f"ids go from 0 to {len(devices) - 1}" if devices else "the process sees no device"))


_state_callbacks: dict[str, Callable[[int, int], None]] = {}


def state_callbacks() -> dict[str, Callable[[int, int], None]]:
    """What aclrtRegDeviceStateCallback registered, by name."""
    return _state_callbacks


def announce(device: Device, state: int) -> None:
    for callback in list(_state_callbacks.values()):
        callback(device.id, state)
