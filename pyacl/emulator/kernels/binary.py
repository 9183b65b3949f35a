"""Loaded kernel binaries, and the functions that come from them."""

from __future__ import annotations

import _ctypes
import ctypes
import hashlib
import json
import os
import tempfile
import warnings
import weakref
from functools import partial
from pathlib import Path
from typing import Any, Optional

from ...capi import lib
from .. import handles
from ..failure import Failure
from ..machine import context, memory
from ..machine.device import Device
from . import elf, isolation, objects, registry
from .objects import KernelInfo, KernelObject

_NOW = os.RTLD_NOW | os.RTLD_LOCAL
_LOADING = 30.0  # seconds that loading a library may take
_JSON_ONLY, _JSON_AND_LIBRARY, _FROM_MEMORY = 0, 1, 2  # CPU_KERNEL_MODE


class Function:
    """A kernel of a loaded binary: what an aclrtFuncHandle stands for."""

    def __init__(self, binary: Binary, info: KernelInfo, cpu_function: str = "") -> None:
        self.binary = binary
        self.info = info
        self.name = info.name
        self.cpu_function = cpu_function  # of an AI CPU kernel: the name of its C function
        self.ai_cpu = info.core_type == objects.AI_CPU
        self.needs_sync_address = info.needs_sync_address and not self.ai_cpu
        self.system_bytes = 8 * self.needs_sync_address
        try:
            self.signature = registry.parse(info.signature) if info.signature else None
        except ValueError as error:
            raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"the declared arguments of {info.name}: {error}") from None
        self.max_arguments = info.max_arguments if self.signature is None else len(self.signature)
        self.number = handles.new(self)

    @property
    def fault(self) -> int:
        """The code with which a fault of this kernel surfaces."""
        if self.ai_cpu:
            return int(lib.ACL_ERROR_RT_AICPU_EXCEPTION)
        vector = self.info.core_type == objects.VECTOR
        return int(lib.ACL_ERROR_RT_VECTOR_CORE_EXCEPTION if vector else lib.ACL_ERROR_RT_AICORE_EXCEPTION)

    @property
    def timeout(self) -> int:
        if self.ai_cpu:
            return int(lib.ACL_ERROR_RT_AICPU_TIMEOUT)
        vector = self.info.core_type == objects.VECTOR
        return int(lib.ACL_ERROR_RT_VECTOR_CORE_TIMEOUT if vector else lib.ACL_ERROR_RT_AICORE_TIMEOUT)

    @property
    def params(self) -> Optional[tuple[tuple[int, int], ...]]:
        """(offset, size) of each parameter, where the binary tells it."""
        if self.info.params is not None:
            return self.info.params
        if self.signature is not None:
            return registry.layout(self.signature, self.system_bytes)
        return None


    def known_params(self) -> tuple[tuple[int, int], ...]:
        """The same; fails where the binary does not tell."""
        if self.ai_cpu:
            raise Failure(lib.ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "AI CPU kernels have no parameter information")
        if self.params is None:
            raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"the binary has no parameter information for kernel "
                                                          f"{self.name}")
        return self.params


class Binary:
    """A loaded binary: an AI Core object, a host library, or AI CPU kernels."""

    def __init__(self, description: str, home: Optional[Device]) -> None:
        self.description = description  # for messages
        self.home = home  # the only device it may run on, when it came from memory
        self.object: Optional[KernelObject] = None
        self.ai_cpu = False
        self.library: Optional[ctypes.CDLL] = None
        self.functions: dict[str, Function] = {}
        self.callback: Any = None  # of aclrtBinarySetExceptionCallback
        self.user_data: Any = None
        self.loaded = True
        self.lazy = False
        self.images: dict[int, memory.Region] = {}  # its copy on each device
        self.variables: dict[tuple[int, str], memory.Region] = {}
        self.number = handles.new(self)

    def function(self, name: str) -> Function:
        """The function of kernel `name`."""
        known = self.functions.get(name)
        if known is None:
            if self.object is None or name not in self.object.kernels:
                raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"there is no kernel {name!r} in {self.description}: "
                              + self._hint(name))
            known = self.functions[name] = Function(self, self.object.kernels[name])
        self.image(context.current().device)
        return known

    def by_entry(self, key: int) -> Function:
        """The function of the kernel whose name ends in ``_<key>``."""
        if self.ai_cpu or self.object is None:
            raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, "AI CPU kernels are found by name, not by entry")
        info = self.object.by_entry(key)
        if info is None:
            keys = sorted({k.key for k in self.object.kernels.values() if k.key is not None})
            raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{self.description} has no kernel with entry {key}; it has "
                          + (", ".join(map(str, keys[:8])) or "none"))
        return self.function(info.name)

    def _hint(self, name: str) -> str:
        names = list(self.object.kernels) if self.object is not None else list(self.functions)
        for suffix in ("_mix_aic", "_mix_aiv"):
            if name.endswith(suffix) and name[:-len(suffix)] in names:
                return f"ask for {name[:-len(suffix)]!r}, without {suffix}"
        if self.ai_cpu and not names:
            return "register it with aclrtRegisterCpuFunc"
        below = [n for n in names if name in objects.base_names(n)]
        if below:
            return f"its kernels carry a key: {', '.join(below[:5])}"
        return f"it has {', '.join(names[:8]) or 'none'}{' ...' if len(names) > 8 else ''}"

    def register_cpu(self, function: str, kernel: str) -> Function:
        """An AI CPU kernel of a library that was loaded from memory; the same one when it is known already."""
        if not self.ai_cpu:
            raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, "only AI CPU binaries have functions to register: load it "
                          "with ACL_RT_BINARY_LOAD_OPT_CPU_KERNEL_MODE")
        known = self.functions.get(kernel)
        if known is None:
            if self.library is not None and not _has(self.library, function):
                raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{self.description} exports no function {function!r}")
            known = self.functions[kernel] = self._cpu_function(function, kernel)
        return known

    def _cpu_function(self, function: str, kernel: str) -> Function:
        return Function(self, KernelInfo(kernel, {}, objects.AI_CPU), function)

    def image(self, device: Device) -> memory.Region:
        """Its copy on a device."""
        region = self.images.get(device.id)
        if region is None or region.freed:
            text = self.object.elf.section(".text") if self.object is not None else b""
            region = memory.malloc(device, max(len(text), 64), "loading a kernel binary")
            region.bytes[:len(text)] = memoryview(text)
            self.images[device.id] = region
        return region

    def variable(self, name: str, device: Device) -> tuple[int, int]:
        """Address on the device and size of a global variable."""
        if self.object is None:
            raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, "AI CPU binaries have no global variables")
        file = self.object.elf
        for symbol in file.symbols:
            if symbol.name == name and symbol.type == elf.OBJECT and symbol.section and symbol.bind == elf.GLOBAL:
                break
        else:
            raise Failure(lib.ACL_ERROR_RT_SYMBOL_NOT_FOUND, f"{self.description} has no global variable {name!r}")
        if self.object.host:
            raise NotImplementedError("aclrtBinaryGetGlobal of a library for the host")
        region = self.variables.get((device.id, name))
        if region is None or region.freed:
            contents = file.bytes_at(symbol)
            region = memory.malloc(device, max(symbol.size, 1), "a kernel binary's variable")
            region.bytes[:symbol.size] = 0
            region.bytes[:len(contents)] = memoryview(contents)
            self.variables[device.id, name] = region
        return region.address, symbol.size

    def entry(self, symbol: str) -> int:
        """The address of an exported function of a host library."""
        assert self.library is not None
        return ctypes.cast(self.library[symbol], ctypes.c_void_p).value or 0

    def unload(self) -> None:
        from . import arguments

        self.loaded = False
        for function in self.functions.values():
            arguments.forget(function)
            handles.drop(function.number)
        for region in (*self.images.values(), *self.variables.values()):
            if not region.freed:
                memory.release(region)
        handles.drop(self.number)
        if self.library is not None:
            # Queued launches hold the library through their entry; it goes when they have failed or run.
            weakref.finalize(self, _ctypes.dlclose, self.library._handle)
            self.library = None


def get_binary(handle: Any) -> Binary:
    """The binary behind an aclrtBinHandle."""
    return handles.get(handle, Binary, "the binary handle", wrong=lib.ACL_ERROR_RT_INVALID_HANDLE)


def get_function(handle: Any) -> Function:
    """The function behind an aclrtFuncHandle."""
    return handles.get(handle, Function, "the function handle", wrong=lib.ACL_ERROR_RT_INVALID_HANDLE)


def _has(library: ctypes.CDLL, symbol: str) -> bool:
    try:
        library[symbol]
    except AttributeError:
        return False
    return True


def _refuse(description: str, why: str) -> Failure:
    return Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{description} cannot be loaded: {why}")


_sound: set[bytes] = set()  # digests of libraries that were loaded before


def _open_library(data: bytes, description: str) -> ctypes.CDLL:
    """A host library. Every load is a library of its own, with its own variables, as on a device."""
    try:
        # A name of its own: the loader takes a name that it knows for the library that it has.
        with tempfile.NamedTemporaryFile(prefix="pyacl-kernel-", suffix=".so") as file:
            file.write(data)
            file.flush()
            digest = hashlib.sha256(data).digest()
            if digest not in _sound:  # the loader trusts what it loads: a damaged library may end the process
                outcome = isolation.rehearse(partial(ctypes.CDLL, file.name, _NOW), _LOADING)
                if outcome.died:
                    raise _refuse(description, f"it is damaged: {outcome.text} while it was loaded")
                _sound.add(digest)
            return ctypes.CDLL(file.name, _NOW)
    except OSError as error:
        text = f"loading it takes longer than {_LOADING} s" if isinstance(error, TimeoutError) else str(error)
        raise _refuse(description, text) from None


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Failure(lib.ACL_ERROR_RT_FILE_OPEN, f"{path} cannot be read: {error.strerror}") from None


def _load(binary: Binary, data: bytes, json_text: Optional[str], name: str) -> Binary:
    try:
        found = binary.object = objects.read(data, json_text, name)
    except objects.ObjectError as error:
        handles.drop(binary.number)
        raise _refuse(binary.description, str(error)) from None
    if found.host:
        try:
            binary.library = _open_library(data, binary.description)
        except Failure:
            handles.drop(binary.number)
            raise
    for problem in found.problems:
        warnings.warn(f"{binary.description}: {problem}; the object counts", RuntimeWarning, stacklevel=2)
    return binary


def load_file(path: str, cpu_mode: Optional[int], lazy: bool) -> Binary:
    """aclrtBinaryLoadFromFile."""
    context.current()
    if not os.path.isabs(path):
        raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{path!r} is a relative path: give an absolute one")
    if cpu_mode is not None:
        return _load_cpu_file(path, cpu_mode)
    data = _read(path)
    beside = Path(path).with_suffix(".json")
    text = beside.read_bytes().decode("utf-8", "replace") if beside.is_file() and beside != Path(path) else None
    if path.endswith(".json"):
        raise _refuse(path, "it is a JSON file, which describes AI CPU kernels: load it with "
                      "ACL_RT_BINARY_LOAD_OPT_CPU_KERNEL_MODE")
    binary = Binary(path, None)
    binary.lazy = lazy
    return _load(binary, data, text, os.path.basename(path))


def load_data(data: bytes, cpu_mode: Optional[int], lazy: bool) -> Binary:
    """aclrtBinaryLoadFromData."""
    binary = Binary(f"a binary of {len(data)} bytes", context.current().device)
    binary.lazy = lazy
    if cpu_mode is None:
        return _load(binary, data, None, "")
    binary.ai_cpu = True
    if data[:4] != b"\x7fELF":
        handles.drop(binary.number)
        raise _refuse(binary.description, "AI CPU kernels come in a shared library")
    binary.library = _cpu_library(data, binary.description)
    return binary


def _cpu_library(data: bytes, description: str) -> Optional[ctypes.CDLL]:
    """An AI CPU library if it is for this machine; those for a device's CPU are known by their names alone."""
    try:
        found = objects.read(data)
    except objects.ObjectError:
        return None
    try:
        return _open_library(data, description) if found.host else None
    except Failure:  # it needs the device's libraries
        return None


def _load_cpu_file(path: str, mode: int) -> Binary:
    description = Path(path).with_suffix(".json")
    try:
        kernels = json.loads(_read(str(description)))
        if not isinstance(kernels, dict):
            raise ValueError("it is no object")
    except (ValueError, RecursionError) as error:
        raise _refuse(str(description), f"it is no description of AI CPU kernels: {error}") from None
    library = None
    if mode == _JSON_AND_LIBRARY:
        so = str(Path(path).with_suffix(".so"))
        library = _cpu_library(_read(so), so)
    binary = Binary(str(description), None)
    binary.ai_cpu = True
    binary.library = library
    for name, entry in kernels.items():
        info = entry.get("opInfo") if isinstance(entry, dict) else None
        if isinstance(info, dict):
            binary.functions[name] = binary._cpu_function(str(info.get("functionName") or name), name)
    return binary
