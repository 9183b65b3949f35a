"""``pyacl.lib``: every C function, constant and enumerator by its C name, on whichever backend is in use.

A name is looked up at its first use and is a plain attribute from then on. Functions of the compiled module are bound
into its table; without it they are called through pointers of the declared type.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from . import cdefs, hot
from .module import compiled, ffi, raw

if TYPE_CHECKING:
    from .backend import Backend


_hot = hot.module() if compiled else None


class MissingSymbolError(AttributeError):
    """The opened libraries lack a declared function: it belongs to another release of CANN."""


class ForkError(RuntimeError):
    """CANN's state does not survive fork(): the child must not use what the parent initialised."""


def _bind(name: str, address: int) -> Any:
    """The callable for the function `name` at `address`."""
    pointer = ffi.cast("void *", address)
    if _hot is not None and _hot.pyacl_bind(name.encode(), pointer) == 0:
        return getattr(_hot, name)
    if compiled and raw.pyacl_bind(name.encode(), pointer) == 0:
        return getattr(raw, name)
    prototype = cdefs.callable_prototype(name)
    assert prototype is not None
    return ffi.cast(prototype.pointer_type, pointer)


def _launch(phase_two: Any, workspace: Any, size: int, executor: Any, stream: Any) -> int:
    return int(phase_two(workspace, size, executor, stream))


class Library:
    """The raw C API. Functions take and give what cffi does: ints, ``bytes``, cdata pointers; statuses are ints.

    ``launch(phase_two, workspace, size, executor, stream)`` calls the second phase of any aclnn operator, where
    `phase_two` is its pointer: ``lib.launch(lib.aclnnAdd, ...)`` equals ``lib.aclnnAdd(...)`` at a third of its cost.
    """

    def __getattr__(self, name: str) -> Any:
        value = self._find(name)
        self.__dict__[name] = value
        return value

    def _find(self, name: str) -> Any:
        if name == "launch":
            return (_hot or raw).launch if compiled else _launch
        if name.startswith("_"):
            raise AttributeError(name)
        if name.isupper() and hasattr(raw, name):  # a constant: no need to read the declarations
            return getattr(raw, name)
        prototype = cdefs.callable_prototype(name)
        if prototype is None:
            try:
                return getattr(raw, name)
            except AttributeError:
                pass
            if name in cdefs.strings():
                return cdefs.strings()[name]
            raise AttributeError(f"pyacl.lib has no {name}: neither a function nor a constant of CANN that pyacl "
                                 "knows; declare your own operators with pyacl.declare_op")
        from . import backend

        active = backend.active()
        address = active.symbol(name)
        if not address:
            raise MissingSymbolError(_missing(name, active))
        return _bind(name, address)

    def __dir__(self) -> list[str]:
        constants = [n for n in dir(raw) if not n.startswith(("pyacl_", "dl"))]
        return sorted({*constants, *cdefs.functions(), *cdefs.operators(), *cdefs.strings(), "launch"})


def _missing(name: str, active: Backend) -> str:
    places = ", ".join(os.path.basename(path) for path in active.libraries) or "no library"
    version = f" of CANN {active.version}" if active.version else ""
    known = cdefs.releases(name)
    hint = f"; known from CANN {', '.join(known)}" if known else ""
    return f"{name} is not in {places}{version}{hint}"


lib = Library()


def _after_fork_in_child() -> None:
    from . import backend

    backend.forget_after_fork()
    # Nothing that was bound in the parent may be called here.
    for name in [n for n in lib.__dict__ if cdefs.callable_prototype(n) is not None]:
        del lib.__dict__[name]


os.register_at_fork(after_in_child=_after_fork_in_child)
