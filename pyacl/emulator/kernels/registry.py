"""Kernels written in Python, and the argument types they declare.

``@kernel("add_custom", args=["float32*", "float32*", "placeholder", "uint32"])`` stands for the kernel of that name in
every binary. A type is

``"float32*"``     a device address: a numpy view of the memory from there to the end of its allocation; None for NULL
``"uint32"``       a scalar; also a numpy dtype, a structured one included
``"placeholder"``  the placeholder's data as uint8; ``("placeholder", dtype)`` as an array of that type

The function gets the arguments and, last, a `Block`. It is called once for each block, or with ``vectorized=True`` once
for all of them: then ``block.index`` is the array 0 ... count - 1.
"""

from __future__ import annotations

import inspect
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Iterator, Optional, Sequence, Union

import numpy as np

from ...capi import lib
from ..failure import Failure
from ..machine import memory
from ..machine.device import Device
from . import objects
from .block import Argument, device_view

if TYPE_CHECKING:
    from .binary import Function

TypeSpec = Union[str, "tuple[str, Any]", Any]
POINTER, SCALAR, PLACEHOLDER = "pointer", "scalar", "placeholder"


@dataclass(frozen=True)
class Slot:
    """One declared argument."""

    kind: str
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        return self.dtype.itemsize if self.kind == SCALAR else 8

    def __str__(self) -> str:
        if self.kind == SCALAR:
            return f"{self.dtype} of {self.size} bytes"
        return f"a {self.kind}" + (f" to {self.dtype}" if self.kind == POINTER else "")


@dataclass
class Block:
    """Which block runs: `index` of `count`; the kernel's full `name`, and its `key` (the number at the name's end)."""

    index: Any
    count: int
    name: str = ""
    key: int = 0


@dataclass(frozen=True)
class PythonKernel:
    function: Callable[..., Any]
    slots: Optional[tuple[Slot, ...]]
    vectorized: bool


_kernels: dict[str, PythonKernel] = {}
_lock = threading.Lock()


def _dtype(name: Any) -> np.dtype[Any]:
    if isinstance(name, str) and name.strip() == "void":
        return np.dtype(np.uint8)
    if isinstance(name, str):
        import ml_dtypes  # noqa: F401  (so that numpy knows bfloat16 and the like by name)
    try:
        found = np.dtype(name.strip() if isinstance(name, str) else name)
        if name is not None and found.itemsize and not found.hasobject:
            return found
    except TypeError:
        pass
    raise ValueError(f"{name!r} is no type of a kernel's argument: give a numpy type, a pointer to one such as "
                     "'float32*', or 'placeholder'")


def _slot(spec: TypeSpec) -> Slot:
    if isinstance(spec, tuple) and len(spec) == 2 and spec[0] == PLACEHOLDER:
        return Slot(PLACEHOLDER, _dtype(spec[1]))
    if isinstance(spec, str):
        text = spec.strip()
        if text == PLACEHOLDER:
            return Slot(PLACEHOLDER, np.dtype(np.uint8))
        if text.endswith("*"):
            return Slot(POINTER, _dtype(text[:-1]))
    return Slot(SCALAR, _dtype(spec))


def parse(declaration: str) -> tuple[Slot, ...]:
    """The slots of a host kernel's declaration: ``"float32*, float32*, placeholder, uint32"``."""
    return tuple(_slot(part) for part in re.split(r"\s*,\s*", declaration.strip()) if part)


def kernel(name: str, args: Optional[Sequence[TypeSpec]] = None, *, vectorized: bool = False) \
        -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a Python function as the kernel `name`, which may leave out the hash and key of a compiled name.

    `args` are the argument types; without them the function gets the raw argument block as a uint8 array. A later
    registration of the same name replaces the first. Raises ValueError for a type that does not exist.
    """
    if not isinstance(name, str) or not name:
        raise ValueError("a kernel needs a name: @kernel('add_custom', args=[...])")
    if isinstance(args, (str, bytes)):
        raise TypeError(f"args={args!r}: give a list of types, one for each argument")
    slots = None if args is None else tuple(_slot(a) for a in args)

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(function) or inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
            raise TypeError(f"a kernel is a function that runs when it is called, not {function!r}")
        with _lock:
            _kernels[name] = PythonKernel(function, slots, vectorized)
        return function

    return register


def unregister(name: str) -> None:
    """Forgets a kernel; nothing happens when there is none of that name."""
    _kernels.pop(name, None)


def find(function: Function) -> Optional[PythonKernel]:
    """The Python function that stands for a kernel: under its full name, or without its key, or without its hash."""
    for name in (*objects.base_names(function.name), function.cpu_function):
        found = _kernels.get(name)
        if found is not None:
            return found
    return None


def layout(slots: Sequence[Slot], start: int, packed: bool = False) -> tuple[tuple[int, int], ...]:
    """(offset, size) of each argument in a block whose system slots end at `start`."""
    found = []
    for slot in slots:
        if not packed:
            start = -(-start // 8) * 8
        found.append((start, slot.size))
        start += slot.size
    return tuple(found)


def compare(slots: Sequence[Slot], appended: Sequence[Argument]) -> None:
    """Refuses arguments that were appended one by one, but are not those that the kernel takes."""
    if len(slots) != len(appended):
        raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"the kernel takes {len(slots)} arguments, but {len(appended)} "
                                                      "were appended")
    for i, (slot, argument) in enumerate(zip(slots, appended)):
        if slot.size != argument.size or (argument.placeholder and slot.kind == SCALAR):
            given = "a placeholder was" if argument.placeholder else f"{argument.size} bytes were"
            raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID,
                          f"argument {i} is {slot} for the kernel, but {given} appended")


def values(slots: Sequence[Slot], block: memory.Bytes, start: int, device: Device, packed: bool,
           appended: Sequence[Argument]) -> Iterator[Any]:
    """The arguments that lie in a block, as Python kernels get them. Fails for addresses that are not device memory.

    `appended` tells how long the data of placeholders is; of others it ends where the next one's begins.
    """
    base = int(block.ctypes.data)
    ends = {a.data_offset: a.data_offset + a.data_size for a in appended if a.placeholder}
    starts = [*sorted(_placeholder_starts(slots, block, start, packed, base)), len(block)]
    for i, (slot, (offset, size)) in enumerate(zip(slots, layout(slots, start, packed))):
        if offset + size > len(block):
            raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"the kernel takes {len(slots)} arguments, but argument {i} "
                          f"({slot}) would end at {offset + size} in a block of {len(block)} bytes")
        raw = block[offset:offset + size]
        if slot.kind == SCALAR:
            yield raw.copy().view(slot.dtype)[0]
            continue
        address = int(raw.copy().view(np.uint64)[0])
        if base <= address < base + len(block):
            begin = address - base
            yield _typed(block[begin:ends.get(begin) or next(e for e in starts if e > begin)], slot.dtype)
        elif not address and slot.kind == POINTER:
            yield None
        else:
            yield _typed(device_view(address, device, f"argument {i}"), slot.dtype)


def _placeholder_starts(slots: Sequence[Slot], block: memory.Bytes, start: int, packed: bool,
                        base: int) -> Iterator[int]:
    for slot, (offset, size) in zip(slots, layout(slots, start, packed)):
        if slot.kind != SCALAR and offset + size <= len(block):
            address = int(block[offset:offset + 8].copy().view(np.uint64)[0]) - base
            if 0 <= address < len(block):
                yield address


def _typed(data: memory.Bytes, dtype: np.dtype[Any]) -> Any:
    return data[:len(data) // dtype.itemsize * dtype.itemsize].view(dtype)
