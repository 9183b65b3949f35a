"""Kernel binaries: loading them, and finding their kernels."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any, Callable, NamedTuple, Optional, Union

from . import errors
from .c_string import c_string
from .capi import ffi, lib
from .context import Context, switched
from .device import _constant
from .kernel import Kernel
from .resource import Resource

_MAGIC = "ACL_RT_BINARY_MAGIC_ELF_"


class KernelException(NamedTuple):
    """A kernel's fault, as `Binary.on_exception` tells it. An id of 0xFFFFFFFF means that the whole device failed."""

    code: int
    kernel: str
    args_address: int  # of the argument block on the device; 0 when it is not known
    args_nbytes: int
    task_id: int
    stream_id: int
    thread_id: int
    device_id: int


class Binary(Resource):
    """A loaded kernel binary; made by `from_file` or `from_bytes`. Closing unloads it, after what is queued from it.

    Kernels and their arguments go with it.
    """

    __slots__ = ("name", "_data", "_callback")

    _has_children = True
    name: str
    _data: Optional[bytes]
    _callback: Any

    def __init__(self) -> None:
        raise TypeError("make a Binary with Binary.from_file(path) or Binary.from_bytes(data)")

    @classmethod
    def from_file(cls, path: Union[str, os.PathLike[str]], *, lazy: bool = False,
                  cpu_kernel_mode: Optional[int] = None) -> Binary:
        """Loads an AI Core object, or with `cpu_kernel_mode` AI CPU kernels (aclrtBinaryLoadFromFile).

        `cpu_kernel_mode`: 0 for a JSON file of built-in kernels, 1 for a JSON file with a library of the same name
        beside it. `lazy` loads to the device when it is first needed. Raises OSError when the file cannot be read,
        ValueError for one that is not sound or is for another machine.
        """
        absolute = os.path.abspath(c_string(path, "the path of a kernel binary"))
        out = ffi.new("aclrtBinHandle *")
        options = _options(lazy, None, cpu_kernel_mode)
        errors.check(lib.aclrtBinaryLoadFromFile(absolute, options[0], out), "aclrtBinaryLoadFromFile")
        return cls._loaded(out[0], os.path.basename(os.fsdecode(absolute)), None)

    @classmethod
    def from_bytes(cls, data: Any, *, lazy: bool = False, magic: Union[int, str, None] = None,
                   cpu_kernel_mode: Optional[int] = None) -> Binary:
        """Loads a binary from memory, for this thread's device alone (aclrtBinaryLoadFromData).

        `magic` says what it is: "aicore", "cube_core", "vector_core", or the number. ``cpu_kernel_mode=2`` is for the
        library of AI CPU kernels, which `register_cpu_func` then names.
        """
        kept = bytes(memoryview(data))
        out = ffi.new("aclrtBinHandle *")
        options = _options(lazy, None if magic is None else _constant(_MAGIC, magic), cpu_kernel_mode)
        code = lib.aclrtBinaryLoadFromData(ffi.from_buffer(kept), len(kept), options[0], out)
        errors.check(code, "aclrtBinaryLoadFromData")
        return cls._loaded(out[0], f"{len(kept)} bytes", kept)

    @classmethod
    def _loaded(cls, handle: Any, name: str, data: Optional[bytes]) -> Binary:
        binary = cls.__new__(cls)
        binary.name = name
        binary._data = data  # CANN does not say whether it copies it, so it lives until the unload
        binary._callback = None
        binary._own(handle, Context.current())
        return binary

    def function(self, name: str) -> Kernel:
        """The kernel `name`, without ``_mix_aic`` or ``_mix_aiv`` (aclrtBinaryGetFunction).

        Raises ValueError when the binary has none of that name.
        """
        out = ffi.new("aclrtFuncHandle *")
        self._call("aclrtBinaryGetFunction", self.handle, c_string(name, "a kernel's name"), out)
        return Kernel(out[0], name, self)

    def function_by_entry(self, entry: int) -> Kernel:
        """The kernel whose name ends in ``_<entry>`` (aclrtBinaryGetFunctionByEntry)."""
        out = ffi.new("aclrtFuncHandle *")
        self._call("aclrtBinaryGetFunctionByEntry", self.handle, entry, out)
        return Kernel(out[0], _name(out[0]) or f"entry {entry}", self)

    def register_cpu_func(self, function: str, kernel: str) -> Kernel:
        """The AI CPU kernel of operator type `kernel`, whose code is `function` (aclrtRegisterCpuFunc).

        For binaries from memory, loaded with ``cpu_kernel_mode=2``.
        """
        out = ffi.new("aclrtFuncHandle *")
        self._call("aclrtRegisterCpuFunc", self.handle, c_string(function, "a function's name"),
                   c_string(kernel, "a kernel's name"), out)
        return Kernel(out[0], kernel, self)

    def variable(self, name: str) -> tuple[int, int]:
        """Address on this thread's device and size in bytes of a global variable (aclrtBinaryGetGlobal)."""
        address, size = ffi.new("void **"), ffi.new("size_t *")
        self._call("aclrtBinaryGetGlobal", self.handle, c_string(name, "a variable's name"), address, size)
        return int(ffi.cast("uintptr_t", address[0])), int(size[0])

    @property
    def device_address(self) -> tuple[int, int]:
        """Where it lies on this thread's device, and its size; 0 while it is put off (aclrtBinaryGetDevAddress)."""
        address, size = ffi.new("void **"), ffi.new("size_t *")
        self._call("aclrtBinaryGetDevAddress", self.handle, address, size)
        return int(ffi.cast("uintptr_t", address[0])), int(size[0])

    def on_exception(self, callback: Callable[[KernelException], Any]) -> None:
        """Has `callback` called when one of its kernels fails (aclrtBinarySetExceptionCallback); the last one counts.

        It is called on a thread of CANN's while somebody waits for the stream, and must not call pyacl.
        """
        name = self.name
        if not callable(callback):
            raise TypeError(f"a callback is a function, not {callback!r}")

        @ffi.callback("void(aclrtExceptionInfo *, void *)")  # type: ignore[untyped-decorator, unused-ignore]
        def called(info: Any, _: Any) -> None:
            try:
                callback(_exception(info))
            except Exception:  # nothing may escape into C
                sys.stderr.write(f"pyacl: the exception callback of {name} raised\n{traceback.format_exc(chain=False)}")

        self._call("aclrtBinarySetExceptionCallback", self.handle, called, ffi.NULL)
        self._callback = called

    def _call(self, function: str, *args: Any) -> None:
        code = getattr(lib, function)(*args)
        if code:
            self._again(code, function, *args)

    def _release(self) -> None:
        with switched(self._parent):  # it must be unloaded in the context in which it was loaded
            code = lib.aclrtBinaryUnLoad(self.handle)
        errors.check(code, "aclrtBinaryUnLoad")
        self._data = None
        self._callback = None

    def _describe(self) -> str:
        return self.name


def _options(lazy: bool, magic: Optional[int], cpu_kernel_mode: Optional[int]) -> tuple[Any, Any]:
    """The load options and what they point to; NULL when all are left to CANN."""
    count = bool(lazy) + (magic is not None) + (cpu_kernel_mode is not None)
    if not count:
        return ffi.NULL, None
    array = ffi.new("aclrtBinaryLoadOption[]", count)
    rest = iter(array)
    if lazy:
        option = next(rest)
        option.type, option.value.isLazyLoad = lib.ACL_RT_BINARY_LOAD_OPT_LAZY_LOAD, 1
    if magic is not None:
        option = next(rest)
        option.type, option.value.magic = lib.ACL_RT_BINARY_LOAD_OPT_MAGIC, magic
    if cpu_kernel_mode is not None:
        option = next(rest)
        option.type, option.value.cpuKernelMode = lib.ACL_RT_BINARY_LOAD_OPT_CPU_KERNEL_MODE, cpu_kernel_mode
    return ffi.new("aclrtBinaryLoadOptions *", {"options": array, "numOpt": count}), array


def _name(function: Any) -> str:
    """A function handle's name, or "" when CANN does not tell it."""
    buffer = ffi.new("char[]", 4096)
    try:
        code = lib.aclrtGetFunctionName(function, 4096, buffer)
    except errors.MissingSymbolError:
        return ""
    if code:
        errors.recent_text()
        return ""
    text: str = ffi.string(buffer).decode(errors="replace")
    return text


def _exception(info: Any) -> KernelException:
    address, size, function = ffi.new("void **"), ffi.new("uint32_t *"), ffi.new("aclrtFuncHandle *")
    try:
        known = lib.aclrtGetArgsFromExceptionInfo(info, address, size) == 0
    except errors.MissingSymbolError:
        known = False
    try:
        kernel = _name(function[0]) if lib.aclrtGetFuncHandleFromExceptionInfo(info, function) == 0 else ""
    except errors.MissingSymbolError:
        kernel = ""
    return KernelException(
        int(lib.aclrtGetErrorCodeFromExceptionInfo(info)), kernel,
        int(ffi.cast("uintptr_t", address[0])) if known else 0, int(size[0]) if known else 0,
        int(lib.aclrtGetTaskIdFromExceptionInfo(info)), int(lib.aclrtGetStreamIdFromExceptionInfo(info)),
        int(lib.aclrtGetThreadIdFromExceptionInfo(info)), int(lib.aclrtGetDeviceIdFromExceptionInfo(info)))
