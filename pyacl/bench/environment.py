"""What a measurement depends on and must be kept with it: chip, CANN, driver, machine, Python, pyacl."""

from __future__ import annotations

import os
import platform
from typing import Any, Callable

import numpy as np

from .. import __version__


def environment(device: bool = True) -> dict[str, Any]:
    """The environment as JSON takes it; what cannot be found out is left out.

    With `device` the backend in use is asked for the chip of the current device; it must have been initialised.
    Stands on aclrtGetSocName, aclsysGetVersionNum, aclrtGetDeviceInfo and, for clocks, aclplatformGetDeviceInfo.
    """
    found: dict[str, Any] = {"pyacl": __version__, "python": platform.python_version(), "numpy": np.__version__,
                             "machine": platform.machine(), "system": platform.platform(), "cpus": os.cpu_count()}
    found.update(_cpu())
    if device:
        found.update(_device())
    return found


def _cpu() -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith(("model name", "Model name", "CPU part")):
                    found["cpu"] = line.split(":", 1)[1].strip()
                    break
    except OSError:
        pass
    try:
        with open("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") as file:
            found["governor"] = file.read().strip()
    except OSError:
        pass
    return found


def _device() -> dict[str, Any]:
    from .. import capi, errors

    lib, ffi = capi.lib, capi.ffi
    active = capi.active()
    found: dict[str, Any] = {"backend": active.name}
    if active.version:
        found["cann"] = active.version

    def ask(key: str, question: Callable[[], Any]) -> None:
        try:
            answer = question()
        except AttributeError:  # a function that this release lacks
            return
        if answer is not None:
            found[key] = answer

    def works(code: int) -> bool:
        if code:
            errors.recent_text()  # nobody needs to hear of it
        return not code

    def number(package: bytes) -> Any:
        value = ffi.new("int32_t *")
        return int(value[0]) if works(lib.aclsysGetVersionNum(package, value)) else None

    def attribute(name: str) -> Any:
        value, device = ffi.new("int64_t *"), ffi.new("int32_t *")
        if not works(lib.aclrtGetDevice(device)):
            return None
        return int(value[0]) if works(lib.aclrtGetDeviceInfo(device[0], getattr(lib, name), value)) else None

    def platform_text(name: str) -> Any:
        text = ffi.new("char[128]")
        if not works(lib.aclplatformGetDeviceInfo(getattr(lib, name), text, 128)):
            return None
        return ffi.string(text).decode(errors="replace") or None

    ask("soc", lambda: ffi.string(name).decode() if (name := lib.aclrtGetSocName()) != ffi.NULL else None)
    ask("driver", lambda: number(b"driver"))
    ask("runtime", lambda: number(b"runtime"))
    ask("ai_cores", lambda: attribute("ACL_DEV_ATTR_AICORE_CORE_NUM"))
    ask("cube_cores", lambda: attribute("ACL_DEV_ATTR_CUBE_CORE_NUM"))
    ask("vector_cores", lambda: attribute("ACL_DEV_ATTR_VECTOR_CORE_NUM"))
    ask("cube_clock", lambda: platform_text("ACL_PLATFORM_CUBE_FREQ"))
    ask("vector_clock", lambda: platform_text("ACL_PLATFORM_VEC_FREQ"))
    return found
