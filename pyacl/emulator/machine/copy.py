"""Copies: what two addresses allow, and doing it.

The kind that a program names is not trusted, as on the device: the addresses say where they lie.
"""

from __future__ import annotations

from typing import Optional

from ...capi import ffi, lib
from ..failure import Failure
from . import memory
from .device import Device

PAGEABLE, PINNED, DEVICE = "pageable host memory", "pinned host memory", "device memory"
_move, _cast = ffi.memmove, ffi.cast


class Place:
    """Where a range of addresses lies."""

    __slots__ = ("address", "device", "kind", "nbytes", "what")

    def __init__(self, address: int, nbytes: int, what: str, kind: str, device: Optional[Device]) -> None:
        self.address, self.nbytes, self.what, self.kind, self.device = address, nbytes, what, kind, device

    def check(self) -> None:
        """Fails if what was known memory when the range was located is gone."""
        if self.kind != PAGEABLE:
            region = memory.find(self.address)
            if region is None or self.address + self.nbytes > region.address + region.size:
                raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{self.what} {self.address:#x}: the memory was freed "
                              f"while work that uses it was queued; {memory.describe(self.address)}")


def locate(address: int, nbytes: int, what: str) -> Place:
    """Where a range lies. Fails when it is not wholly in one allocation, or in none although it should be."""
    region = memory.find(address)
    if region is None:
        if not memory.may_be_pageable(address):
            raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{what} {address:#x} is not valid memory: "
                          f"{memory.describe(address)}")
        if not memory.is_there(address, nbytes):
            raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{what} {address:#x}: the process has no memory for "
                          f"{nbytes} bytes there")
        return Place(address, nbytes, what, PAGEABLE, None)
    if address + nbytes > region.address + region.size:
        raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{what} {address:#x}: {nbytes} bytes from there on end behind "
                      f"{region!r}")
    if region.kind == "device":
        if not region.mapped:
            raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{what} {address:#x} has no access yet: call "
                          "aclrtMemSetAccess first")
        return Place(address, nbytes, what, DEVICE, region.device)
    return Place(address, nbytes, what, PINNED, None)


def pair(dst: Place, src: Place) -> None:
    """Fails for a copy between two devices of which neither may access the other."""
    if (dst.kind == src.kind == DEVICE and dst.device is not src.device and dst.device is not None
            and src.device is not None
            and src.device.id not in dst.device.peers and dst.device.id not in src.device.peers):
        raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"device {dst.device.id} and device {src.device.id} have no "
                      "access to each other: call aclrtDeviceEnablePeerAccess first")


def move(dst: int, src: int, nbytes: int) -> None:
    _move(_cast("char *", dst), _cast("char *", src), nbytes)


def move_rows(dst: int, dpitch: int, src: int, spitch: int, width: int, height: int) -> None:
    """`height` rows of `width` bytes."""
    if dpitch == spitch == width:
        move(dst, src, width * height)
        return
    target = memory.view(dst, dpitch * (height - 1) + width)
    source = memory.view(src, spitch * (height - 1) + width)
    if height > 1:
        rows = height - 1
        head = target[:dpitch * rows].reshape(rows, dpitch)[:, :width]
        head[...] = source[:spitch * rows].reshape(rows, spitch)[:, :width]
    target[dpitch * (height - 1):] = source[spitch * (height - 1):]
