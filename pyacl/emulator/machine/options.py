"""aclSysParamOpt: which options there are, and the process's values."""

from __future__ import annotations

from typing import Optional

from ...capi import lib
from ..failure import Failure

_HIGHEST = {
    lib.ACL_OPT_DETERMINISTIC: 3, lib.ACL_OPT_ENABLE_DEBUG_KERNEL: 1, lib.ACL_OPT_STRONG_CONSISTENCY: 1,
    lib.ACL_OPT_ENABLE_KERNEL_EARLY_START: 1,
}

process: dict[int, int] = {}


def check(option: int, value: Optional[int] = None) -> None:
    """Fails for an option, or a value of it, that does not exist."""
    if option not in _HIGHEST:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"there is no system parameter option {option}")
    if value is not None and not 0 <= value <= _HIGHEST[option]:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM,
                      f"option {option} cannot be {value}: give a value from 0 to {_HIGHEST[option]}")
