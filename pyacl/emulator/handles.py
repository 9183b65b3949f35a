"""Opaque handles: what C holds instead of a Python object.

A handle is a number that is never used twice, in a range that no pointer of this machine can have. So a handle that
was freed, is of another kind or was made up is always recognised, and dereferencing one faults at once.
"""

from __future__ import annotations

import itertools
from typing import Any, Optional, TypeVar

from ..capi import ffi, lib
from .failure import Failure

T = TypeVar("T")

# Not canonical on x86_64 and beyond the address space of aarch64 user programs.
_numbers = itertools.count(0x0ACE_0000_0000_0000, 16)
_objects: dict[int, Any] = {}
_freed: dict[int, str] = {}  # what a dead handle was, for the message
_cast = ffi.cast


def new(obj: Any) -> int:
    """A handle for `obj`, kept until `drop`."""
    number = next(_numbers)
    _objects[number] = obj
    return number


def address(pointer: Any) -> int:
    """A pointer argument as a number; NULL is 0."""
    return pointer if isinstance(pointer, int) else int(_cast("uintptr_t", pointer))


def find(pointer: Any, kind: type[T]) -> Optional[T]:
    """The live object of type `kind` behind a handle, or None."""
    obj = _objects.get(address(pointer))
    return obj if isinstance(obj, kind) else None


def get(pointer: Any, kind: type[T], what: str = "", null: Optional[int] = None, wrong: Optional[int] = None) -> T:
    """The object of type `kind` behind a handle.

    Fails with code `null` (default ACL_ERROR_INVALID_PARAM) for NULL, and with `wrong` (default
    ACL_ERROR_RT_PARAM_INVALID) for a handle that is unknown, freed or of another kind.
    """
    number = pointer if isinstance(pointer, int) else int(_cast("uintptr_t", pointer))
    obj = _objects.get(number)
    if isinstance(obj, kind):
        return obj
    what = what or kind.__name__
    if not number:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM if null is None else null, f"{what} is NULL")
    if number in _freed:
        text = f"{what} {number:#x} was already destroyed; it was of the kind {_freed[number]}"
    elif obj is not None:
        text = f"{what} {number:#x} is of the kind {type(obj).__name__}, not {kind.__name__}"
    else:
        text = f"{what} {number:#x} is not a handle of this process"
    raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID if wrong is None else wrong, text)


def drop(pointer: Any) -> None:
    """Forgets a handle that `get` accepted."""
    number = address(pointer)
    _freed[number] = type(_objects.pop(number)).__name__
    if len(_freed) > 100_000:
        for old in list(itertools.islice(_freed, 50_000)):
            del _freed[old]


def live(kind: type[T]) -> list[T]:
    """All live objects of a kind, oldest first."""
    return [o for o in list(_objects.values()) if isinstance(o, kind)]


def pointer(number: int) -> Any:
    """A handle as ``void *``."""
    return _cast("void *", number)
