"""Graph capture: streams say that they are not being captured, because capturing itself is not emulated."""

from __future__ import annotations

from typing import Any

from ...capi import lib
from ..failure import Failure, not_emulated
from ..machine.stream import resolve


def aclmdlRICaptureGetInfo(stream: Any, status: Any, modelRI: Any) -> None:
    if not status and not modelRI:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, "aclmdlRICaptureGetInfo: status and modelRI are both NULL")
    if resolve(stream).capture is not None:
        raise not_emulated("aclmdlRICaptureGetInfo")
    if status:
        status[0] = lib.ACL_MODEL_RI_CAPTURE_STATUS_NONE
