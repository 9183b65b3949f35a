"""Pools from which streams allocate. Freed memory stays in the pool for the next one who asks, up to a threshold."""

from __future__ import annotations

from typing import Optional

from ...capi import lib
from .. import handles
from ..failure import Failure
from . import memory
from .arena import HUGE_PAGE, round_up
from .device import Device
from .memory import Region

SOURCE = "aclrtMemPoolMallocAsync"
GRAIN = HUGE_PAGE


class Pool:
    """An aclrtMemPool. `reserved` counts what it holds of the device's memory, `used` what is handed out."""

    def __init__(self, device: Device, most: int) -> None:
        self.device, self.most = device, most
        self.threshold = 0
        self.switches = {lib.ACL_RT_MEM_POOL_REUSE_FOLLOW_EVENT_DEPENDENCIES: 1,
                         lib.ACL_RT_MEM_POOL_REUSE_ALLOW_OPPORTUNISTIC: 1,
                         lib.ACL_RT_MEM_POOL_REUSE_ALLOW_INTERNAL_DEPENDENCIES: 1}
        self.used = self.used_high = self.reserved = self.reserved_high = 0
        self.handle = handles.new(self)

    def take(self, nbytes: int) -> Region:
        if self.most and self.used + nbytes > self.most:
            raise Failure(lib.ACL_ERROR_RT_MEMORY_ALLOCATION, f"{SOURCE}: {nbytes} bytes asked for, but the pool has "
                          f"{self.most - self.used} of {self.most} bytes left")
        # Idle memory serves first: the device is charged only for what the pool must grow.
        growth = max(0, self.used + round_up(nbytes, 64) - self.reserved)
        if growth:
            memory.charge(self.device, round_up(growth, GRAIN), SOURCE)
            self.reserved += round_up(growth, GRAIN)
            self.reserved_high = max(self.reserved, self.reserved_high)
        region = memory.malloc(self.device, nbytes, SOURCE, charged=False)
        region.owner = self
        self.used += round_up(nbytes, 64)
        self.used_high = max(self.used, self.used_high)
        return region

    def give(self, region: Region) -> None:
        memory.release(region)
        self.used -= round_up(region.requested, 64)
        self.trim(self.threshold)

    def trim(self, keep: int) -> None:
        """Gives idle memory back to the device, down to `keep` bytes."""
        target = max(round_up(self.used, GRAIN), min(self.reserved, round_up(keep, GRAIN)))
        if target < self.reserved:
            with self.device.lock:
                self.device.used = max(0, self.device.used - (self.reserved - target))
            self.reserved = target

    def destroy(self) -> None:
        if self.used:
            raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{self.used} bytes of the pool are still allocated")
        self.trim(0)
        handles.drop(self.handle)


def owner(address: int) -> Optional[Pool]:
    """The pool an address was allocated from."""
    region = memory.find(address)
    found = region.owner if region is not None and region.address == address else None
    return found if isinstance(found, Pool) else None
