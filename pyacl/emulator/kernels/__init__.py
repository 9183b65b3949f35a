"""Kernels on the emulator: host libraries, Python functions, and the symbols of real AI Core objects."""

from __future__ import annotations

from .elf import Code, write
from .registry import Block, kernel
from .registry import unregister as unregister_kernel

__all__ = ["Block", "kernel", "kernel_object", "unregister_kernel"]


def kernel_object(*names: str) -> bytes:
    """An AI Core object with kernels of these names and no code, for kernels that are Python functions.

    It loads as a compiled one does. A name that ends in ``_mix_aic`` or ``_mix_aiv`` is that part of a mix kernel.
    """
    if not names:
        raise ValueError("a kernel object needs the name of a kernel")
    return write([Code(name) for name in names])
