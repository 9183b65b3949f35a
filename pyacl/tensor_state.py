"""What an aclTensor says of itself: operators may change it, where their results decide the shape or the layout."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from . import errors
from .capi import ffi, lib


@cache
def _delete() -> Any:
    """C++'s ``delete[]``, by which the getters' arrays are released; they were made by the library's ``new[]``."""
    for name in (None, "libstdc++.so.6"):
        try:
            found = ctypes.CDLL(name)._ZdaPv
        except (OSError, AttributeError):
            continue
        found.argtypes, found.restype = [ctypes.c_void_p], None
        return found
    return lambda pointer: None  # no C++ runtime of this name: the few bytes stay


def _sizes(function: str, handle: Any) -> tuple[int, ...]:
    array, count = ffi.new("int64_t **"), ffi.new("uint64_t *")
    errors.check(getattr(lib, function)(handle, array, count), function)
    found = tuple(ffi.unpack(array[0], count[0]))
    _delete()(int(ffi.cast("uintptr_t", array[0])))
    return found


def read(handle: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]:
    """View shape, strides, storage shape and format of an aclTensor."""
    kind = ffi.new("aclFormat *")
    errors.check(lib.aclGetFormat(handle, kind), "aclGetFormat")
    return (_sizes("aclGetViewShape", handle), _sizes("aclGetViewStrides", handle),
            _sizes("aclGetStorageShape", handle), int(kind[0]))
