"""The path of operators that users bring themselves: a selector chooses, per shape, one of the registered kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

from ...capi import ffi, lib
from .. import handles
from ..api.arguments import invalid
from ..failure import Failure


@dataclass
class Kernel:
    """What ``aclopCreateKernel`` registered."""

    id: str
    name: str
    binary: bytes


@dataclass
class KernelDesc:
    """What an ``aclopKernelDesc *`` stands for: a selector's choice."""

    kernel_id: str = ""
    blocks: int = 0
    args: bytes = b""
    workspaces: list[int] = field(default_factory=list)


_selectors: dict[str, Any] = {}
_kernels: dict[tuple[str, str], Kernel] = {}


def register_selector(type: str, function: Any) -> None:
    if not function:
        raise invalid("aclopRegisterCompileFunc: func is NULL")
    if type in _selectors:
        raise Failure(lib.ACL_ERROR_BIN_SELECTOR_ALREADY_REGISTERED, f"operator {type} has a selector already: call "
                                                                     "aclopUnregisterCompileFunc first")
    _selectors[type] = function


def unregister_selector(type: str) -> None:
    _selectors.pop(type, None)


def register_kernel(type: str, kernel: Kernel) -> None:
    if (type, kernel.id) in _kernels:
        raise Failure(lib.ACL_ERROR_KERNEL_ALREADY_REGISTERED, f"operator {type} has a kernel {kernel.id} already")
    _kernels[type, kernel.id] = kernel


def select(type: str, inputs: list[Any], outputs: list[Any], attr: Any) -> tuple[Kernel, KernelDesc]:
    """Asks the selector of `type`; fails with 100028 where there is none, with 100029 for an unknown kernel."""
    function: Optional[Any] = _selectors.get(type)
    if function is None:
        raise Failure(lib.ACL_ERROR_BIN_SELECTOR_NOT_REGISTERED, f"operator {type} has no selector: call "
                                                                 "aclopRegisterCompileFunc first")
    desc = KernelDesc()
    number = handles.new(desc)
    try:
        code = function(len(inputs), inputs, len(outputs), outputs, attr, ffi.cast("aclopKernelDesc *", number))
    finally:
        handles.drop(number)
    if code:
        raise Failure(code, f"the selector of operator {type} returned {code}")
    kernel = _kernels.get((type, desc.kernel_id))
    if kernel is None:
        raise Failure(lib.ACL_ERROR_KERNEL_NOT_FOUND, f"operator {type} has no kernel {desc.kernel_id!r}: call "
                                                      "aclopCreateKernel first")
    return kernel, desc
