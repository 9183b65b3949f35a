"""How many cores kernels may use: a stream's limit beats the device's, and that the hardware."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Optional

from ...capi import lib
from ..failure import Failure
from .device import Device

if TYPE_CHECKING:
    from .stream import Stream


class _Thread(threading.local):
    stream: Optional[Stream] = None


_thread = _Thread()


def check(device: Device, kind: int, value: Optional[int] = None) -> None:
    """Fails for a kind of core that does not exist, or more of them than the device has."""
    if kind not in (lib.ACL_RT_DEV_RES_CUBE_CORE, lib.ACL_RT_DEV_RES_VECTOR_CORE):
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"there is no resource {kind}")
    if value is not None and not 1 <= value <= device.cores(kind):
        raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"a limit of {value} cores: device {device.id} has "
                      f"{device.cores(kind)}")


def of_device(device: Device, kind: int) -> int:
    return device.core_limits.get(kind, device.cores(kind))


def of_stream(stream: Stream, kind: int) -> int:
    return stream.core_limits.get(kind, of_device(stream.device, kind))


def of_thread(device: Device, kind: int) -> int:
    """What a launch of this thread may use."""
    stream = _thread.stream
    return of_stream(stream, kind) if stream is not None and stream.alive else of_device(device, kind)


def use(stream: Optional[Stream]) -> None:
    """Makes a stream's limits count in this thread."""
    _thread.stream = stream
