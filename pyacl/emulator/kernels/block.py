"""The argument block of a launch: copied from the host when it was queued, or lying in device memory."""

from __future__ import annotations

from typing import NamedTuple, Optional

import numpy as np

from ...capi import lib
from ..failure import Failure
from ..machine import memory
from ..machine.device import Device


class Argument(NamedTuple):
    """An argument in a block; a placeholder's own slot points to `data_size` bytes at `data_offset`."""

    offset: int
    size: int
    placeholder: bool = False
    data_offset: int = 0
    data_size: int = 0


class HostBlock(NamedTuple):
    """A block that the launch copied."""

    content: bytes
    placeholders: tuple[tuple[int, int], ...] = ()  # where each slot lies, and where its data
    arguments: Optional[tuple[Argument, ...]] = None  # where they were appended one by one

    def read(self, device: Device) -> memory.Bytes:
        """The block, writable and with the placeholders' addresses in place."""
        owner = np.empty((len(self.content) + 7) // 8 or 1, np.uint64)
        return self._write(owner.view(np.uint8)[:len(self.content)], int(owner.ctypes.data))

    def on_device(self, device: Device) -> tuple[int, int]:
        """Address and size of a copy on the device; 0 where there is no room. The next call frees it."""
        old = _copies.pop(device.id, None)
        if old is not None and not old.freed:
            memory.release(old)
        try:
            region = memory.malloc(device, max(len(self.content), 1), "a fault's arguments")
        except Failure:
            return 0, 0
        _copies[device.id] = region
        self._write(region.bytes[:len(self.content)], region.address)
        return region.address, len(self.content)

    def _write(self, block: memory.Bytes, base: int) -> memory.Bytes:
        block[:] = np.frombuffer(self.content, np.uint8)
        for slot, data in self.placeholders:
            block[slot:slot + 8] = np.frombuffer((base + data).to_bytes(8, "little"), np.uint8)
        return block


_copies: dict[int, memory.Region] = {}  # of the last fault on each device


class DeviceBlock(NamedTuple):
    """A block in device memory, which is read when the kernel runs."""

    address: int
    size: int
    arguments: Optional[tuple[Argument, ...]] = None  # nobody knows them

    def read(self, device: Device) -> memory.Bytes:
        """The memory itself. Fails where the device cannot read it."""
        block = device_view(self.address, device, "the argument block")
        if len(block) < self.size:
            raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"the argument block of {self.size} bytes at "
                          f"{self.address:#x} ends behind its memory, of which {len(block)} bytes are left there")
        return block[:self.size]

    def on_device(self, device: Device) -> tuple[int, int]:
        return self.address, self.size


def device_view(address: int, device: Device, what: str) -> memory.Bytes:
    """The memory from `address` to the end of its allocation. Fails for what `device` may not access."""
    memory.device_bytes(address, 1, what)
    region = memory.find(address)
    assert region is not None
    if region.device is not None and region.device is not device and region.device.id not in device.peers:
        raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{what} {address:#x} is memory of device {region.device.id}, "
                      f"which device {device.id} may not access (aclrtDeviceEnablePeerAccess)")
    start = address - region.address
    return region.bytes[start:max(region.requested, start + 1)]
