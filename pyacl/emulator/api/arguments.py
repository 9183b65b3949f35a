"""Checks that many functions begin with."""

from __future__ import annotations

from typing import Any

from ...capi import ffi, lib
from ..failure import Failure

_NULL = ffi.NULL


def not_null(pointer: Any, name: str) -> None:
    """Fails with ACL_ERROR_INVALID_PARAM for NULL."""
    if pointer == _NULL:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"{name} is NULL")


def address(pointer: Any, name: str) -> int:
    """A pointer as a number. Fails with ACL_ERROR_INVALID_PARAM for NULL."""
    number = int(ffi.cast("uintptr_t", pointer))
    if not number:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"{name} is NULL")
    return number


def invalid(text: str) -> Failure:
    """A parameter that the acl layer refuses."""
    return Failure(lib.ACL_ERROR_INVALID_PARAM, text)


def refused(text: str) -> Failure:
    """A parameter that the runtime below refuses."""
    return Failure(lib.ACL_ERROR_RT_PARAM_INVALID, text)


def text(pointer: Any, name: str) -> str:
    """A C string. Fails with ACL_ERROR_INVALID_PARAM for NULL."""
    not_null(pointer, name)
    value: str = ffi.string(pointer).decode(errors="surrogateescape")  # paths may have any bytes
    return value
