"""Streams that are bound to a model instance obey it, not the host."""

from __future__ import annotations

from ...capi import lib
from ..failure import Failure
from .stream import Stream


def refuse_bound(stream: Stream, what: str) -> None:
    if stream.model is not None:
        raise Failure(lib.ACL_ERROR_RT_PARAM_INVALID, f"{stream!r} is bound to a model instance and cannot be {what}")


def require_bound(stream: Stream, function: str) -> None:
    if stream.model is None:
        raise Failure(lib.ACL_ERROR_RT_STREAM_MODEL, f"{function}: {stream!r} is not bound to a model instance")
