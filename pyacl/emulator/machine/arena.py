"""Address space with lazily committed memory, and the blocks in it.

A window several times the device's memory is reserved once; pages are committed when they are touched. A freed block's
addresses are not used again for as long as possible, so that a stale pointer is still recognised as freed, and stays
mapped, so that a kernel that follows it reads rubbish instead of killing the process.
"""

from __future__ import annotations

import bisect
import mmap
from collections import deque
from typing import Optional

import numpy as np

PAGE = 4096
HUGE_PAGE = 2 << 20
_NORESERVE = 0x4000  # MAP_NORESERVE; the mmap module has the name from Python 3.13 on
_SMALL = 32 << 10
_CHUNK = 1 << 20
_QUARANTINE = 256  # freed small blocks of one class that wait before the oldest is used again

FRESH, STALE = 0xCD, 0xDD  # as float32 -4.3e8 and -2.0e18: nobody takes them for a result


def round_up(n: int, unit: int) -> int:
    return -(-n // unit) * unit


class Arena:
    """One window. Not locked: the caller is."""

    def __init__(self, nbytes: int) -> None:
        while True:
            try:
                self._map = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NORESERVE)
                break
            except (OSError, OverflowError):  # an address space limit
                if nbytes <= HUGE_PAGE:
                    raise MemoryError("the emulator cannot reserve address space for device memory") from None
                nbytes //= 2
        self.bytes = np.frombuffer(self._map, np.uint8)
        self.base = int(self.bytes.ctypes.data)
        self.end = self.base + nbytes
        self._starts: list[int] = []  # live big blocks, sorted
        self._ends: dict[int, int] = {}
        # Big blocks have the upper part, which the kernel may back with huge pages: ten times faster to touch first.
        self._middle = round_up(self.base + nbytes // 4, HUGE_PAGE)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            try:
                self._map.madvise(mmap.MADV_HUGEPAGE, round_up(self._middle - self.base, PAGE))
            except OSError:  # a kernel without them
                pass
        self._cursors = [self.base, self._middle]
        self._chunk = self._chunk_end = 0
        self._freed: dict[int, deque[int]] = {}

    def take(self, nbytes: int) -> Optional[int]:
        """The address of a block for `nbytes`, 64-byte aligned, filled so that nobody takes it for zeros; or None."""
        if nbytes > _SMALL:
            address = self._take_big(nbytes)
            if address is not None:
                offset = address - self.base
                edge = min(nbytes, PAGE)
                self.bytes[offset:offset + edge] = FRESH
                self.bytes[offset + nbytes - edge:offset + nbytes] = FRESH
            return address
        size = self._class(nbytes)
        freed = self._freed.get(size)
        if freed and len(freed) > _QUARANTINE:
            address = freed.popleft()
        else:
            if self._chunk + size > self._chunk_end:
                chunk = self._take_big(_CHUNK)
                if chunk is None:
                    return freed.popleft() if freed else None
                self._chunk, self._chunk_end = chunk, chunk + _CHUNK
            address = self._chunk
            self._chunk += size
        offset = address - self.base
        self.bytes[offset:offset + size] = FRESH
        return address

    def give(self, address: int, nbytes: int) -> None:
        """Takes a block back."""
        offset = address - self.base
        if nbytes > _SMALL:
            end = self._ends.pop(address)
            del self._starts[bisect.bisect_left(self._starts, address)]
            self._map.madvise(mmap.MADV_DONTNEED, offset, end - address)  # the kernel has its pages back
            return
        size = self._class(nbytes)
        self.bytes[offset:offset + size] = STALE
        self._freed.setdefault(size, deque()).append(address)

    @staticmethod
    def _class(nbytes: int) -> int:
        return round_up(nbytes, 64 if nbytes <= 1024 else 1024)

    def _take_big(self, nbytes: int) -> Optional[int]:
        huge = nbytes > 2 * HUGE_PAGE
        unit = HUGE_PAGE if huge else PAGE
        size = round_up(nbytes, unit)
        start, end = (self._middle, self.end) if huge else (self.base, self._middle)
        # From where the last one ended; then where the oldest were freed; then wherever there is room.
        for low, high in ((self._cursors[huge], end), (start, end), (self.base, self.end)):
            address = self._gap(round_up(low, unit), high, size, unit)
            if address is not None:
                bisect.insort(self._starts, address)
                self._ends[address] = address + size
                if start <= address < end:
                    self._cursors[huge] = address + size
                return address
        return None

    def _gap(self, address: int, end: int, size: int, unit: int) -> Optional[int]:
        """The first free place for `size` bytes at or after `address` and before `end`."""
        i = bisect.bisect_right(self._starts, address)
        if i and self._ends[self._starts[i - 1]] > address:
            address = round_up(self._ends[self._starts[i - 1]], unit)
        while address + size <= end:
            if i == len(self._starts) or address + size <= self._starts[i]:
                return address
            address = round_up(self._ends[self._starts[i]], unit)
            i += 1
        return None
