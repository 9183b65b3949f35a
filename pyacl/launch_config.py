"""How a kernel is launched, beyond its arguments and the number of blocks."""

from __future__ import annotations

import operator
from dataclasses import dataclass, fields
from typing import Any, Optional, Union

from .capi import ffi, lib
from .device import _constant

_PREFIX = "ACL_RT_LAUNCH_KERNEL_ATTR_"


@dataclass(frozen=True)
class LaunchConfig:
    """Attributes of a launch (aclrtLaunchKernelCfg); those that are None are not passed.

    ``schem_mode``           "normal" (start when any core is free) or "batch" (when all are), or the number
    ``dyn_ubuf_size``        bytes of dynamic unified buffer
    ``engine_type``          "aic" or "aiv", or the number; Atlas inference series (310P) only
    ``blockdim_offset``      where the block numbers begin; 310P only
    ``block_task_prefetch``  whether block tasks are prefetched
    ``data_dump``            whether the kernel is dumped
    ``timeout``              whole seconds, up to 65535; 0 is for ever
    ``timeout_us``           microseconds; 0 is for ever. Not together with ``timeout``
    ``enable_profiling``     whether the kernel is profiled

    Raises ValueError for values that the attributes cannot hold.
    """

    schem_mode: Union[int, str, None] = None
    dyn_ubuf_size: Optional[int] = None
    engine_type: Union[int, str, None] = None
    blockdim_offset: Optional[int] = None
    block_task_prefetch: Optional[bool] = None
    data_dump: Optional[bool] = None
    timeout: Optional[int] = None
    timeout_us: Optional[int] = None
    enable_profiling: Optional[bool] = None

    def __post_init__(self) -> None:
        if self.timeout is not None and self.timeout_us is not None:
            raise ValueError("timeout and timeout_us exclude each other: give one of them")
        attributes = [(f.name, getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) is not None]
        array = ffi.new("aclrtLaunchKernelAttr[]", len(attributes) or 1)
        for attribute, (name, value) in zip(array, attributes):
            attribute.id = getattr(lib, _PREFIX + name.upper())
            _set(attribute.value, name, value)
        config = ffi.new("aclrtLaunchKernelCfg *", {"attrs": array, "numAttrs": len(attributes)})
        object.__setattr__(self, "_cdata", (config, array))

    @property
    def pointer(self) -> Any:
        """The ``aclrtLaunchKernelCfg *``; valid while this object lives."""
        cdata: tuple[Any, Any] = self._cdata  # type: ignore[attr-defined]
        return cdata[0]

    def __reduce__(self) -> Any:
        return type(self), tuple(getattr(self, f.name) for f in fields(self))


_SCHEM_MODES = {"normal": 0, "batch": 1}
_ENGINES = "ACL_RT_ENGINE_TYPE_"


def _set(value: Any, name: str, given: Any) -> None:
    """Writes one attribute into its union."""
    if isinstance(given, str):
        if name == "schem_mode":
            if given not in _SCHEM_MODES:
                raise ValueError(f"schem_mode {given!r}: give 'normal' or 'batch'")
            given = _SCHEM_MODES[given]
        elif name == "engine_type":
            given = _constant(_ENGINES, given)
    try:
        given = operator.index(given)
    except TypeError:
        raise TypeError(f"{name} is an int, not {given!r}") from None
    limits = {"timeout": 16, "timeout_us": 64, "dyn_ubuf_size": 32, "blockdim_offset": 32}
    top = (1 << limits[name]) - 1 if name in limits else 1
    if not 0 <= given <= top:
        raise ValueError(f"{name} is {given}: give 0 to {top}")
    if name == "timeout":
        value.timeout = given
    elif name == "timeout_us":
        value.timeoutUs.timeoutLow, value.timeoutUs.timeoutHigh = given & 0xFFFFFFFF, given >> 32
    elif name in ("dyn_ubuf_size", "blockdim_offset", "engine_type"):
        value.rsv[0] = given
    else:  # one byte
        value.schemMode = given
