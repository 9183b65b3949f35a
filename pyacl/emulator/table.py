"""Which Python function stands behind which C name, and its address.

The modules of ``pyacl/emulator/api`` hold functions named as in C; operators' phases come from ``api.aclnn``. A
function becomes a C function pointer at its first use. Declared functions that nobody wrote fail and say so.
"""

from __future__ import annotations

import importlib
import importlib.util
import threading
from typing import Any, Callable, Optional

from ..capi import cdefs, ffi, lib
from .failure import guard, not_emulated

# The modules of api/: one for each file of cdefs/ that is emulated, and more where one would be long.
MODULES = (
    "base", "device", "context", "stream", "event", "notify", "label", "callback", "memory", "memory_copy",
    "memory_virtual", "memory_pool", "data_buffer", "tensor_desc", "allocator", "kernel", "kernel_args",
    "kernel_launch", "model", "graph", "op", "op_compiler", "cblas", "dump", "prof", "platform", "aclnn",
)

_lock = threading.RLock()
_functions: Optional[dict[str, Callable[..., Any]]] = None
_pointers: dict[str, Any] = {}  # the callbacks, alive for the life of the process


def functions() -> dict[str, Callable[..., Any]]:
    """Every emulated C function that is not an operator's phase, by name."""
    global _functions
    if _functions is None:
        with _lock:
            if _functions is None:
                found: dict[str, Callable[..., Any]] = {}
                for name in MODULES:
                    if importlib.util.find_spec(f"pyacl.emulator.api.{name}") is None:
                        continue
                    module = importlib.import_module(f"pyacl.emulator.api.{name}")
                    found.update((n, f) for n, f in vars(module).items()
                                 if callable(f) and cdefs.prototype(n) is not None)
                _functions = found
    return _functions


def function(name: str) -> Callable[..., Any]:
    """The guarded Python function behind a declared C name."""
    prototype = cdefs.callable_prototype(name)
    if prototype is None:
        raise KeyError(name)
    found = functions().get(name)
    if found is None:
        from .api import aclnn

        found = aclnn.phase(name)
    if found is None:
        def found(*_: Any) -> None:
            raise not_emulated(name)
    return guard(name, found, prototype.returns)


def emulated(name: str) -> bool:
    """Whether a declared C function has an emulation."""
    from .api import aclnn

    return name in functions() or aclnn.emulated(name)


def symbol(name: str) -> int:
    """The address of the emulated C function `name`; 0 if it is not declared."""
    prototype = cdefs.callable_prototype(name)
    if prototype is None:
        return 0
    if name not in _pointers:
        with _lock:
            if name not in _pointers:
                # A callback cannot be variadic; the fixed arguments arrive all the same.
                kind = prototype.pointer_type.replace(", ...)", ")")
                # What cffi returns when not even the guard could: a failure, where 0 would be success.
                status = prototype.returns in ("aclError", "aclnnStatus")
                _pointers[name] = ffi.callback(kind, function(name), lib.ACL_ERROR_INTERNAL_ERROR if status else None)
    return int(ffi.cast("uintptr_t", _pointers[name]))
