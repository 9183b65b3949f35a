"""The C boundary: ``lib`` and ``ffi`` are CANN's whole C API, on whichever backend is in use."""

from .backend import Backend, BackendError, EmulatorWarning, active, use_backend
from .cdefs import Parameter, Prototype, declare_op, operator, operators, prototype
from .library import ForkError, Library, MissingSymbolError, lib
from .module import compiled, ffi

__all__ = [
    "Backend", "BackendError", "EmulatorWarning", "ForkError", "Library", "MissingSymbolError", "Parameter",
    "Prototype", "active", "compiled", "declare_op", "ffi", "lib", "operator", "operators", "prototype", "use_backend",
]
