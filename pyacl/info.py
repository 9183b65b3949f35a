"""``pyacl info``: the backend in use and why, versions, devices and their memory."""

from __future__ import annotations

import argparse
import json
import platform
import warnings
from typing import Any, Callable

from . import __version__, capi, errors

_GIB = 1 << 30


def add_parser(subparsers: Any) -> None:
    """Adds ``info``."""
    parser = subparsers.add_parser("info", help="the backend in use, why, versions, devices and their memory",
                                   description="Shows what pyacl runs on. Asks every device for its memory.")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the information; 1 when the backend or a device does not work."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", capi.EmulatorWarning)  # the reason is printed anyway
        found = collect()
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        _show(found)
    return 1 if any("error" in device for device in found["devices"]) else 0


def collect() -> dict[str, Any]:
    """What ``pyacl info --json`` prints; chooses the backend if none is in use yet.

    Stands on aclrtGetDeviceCount, aclrtGetSocName, aclrtGetMemInfo, aclrtGetDeviceInfo and aclsysGetVersionNum. Raises
    BackendError when the native backend was asked for and cannot serve.
    """
    from .capi import library
    from .device import device_count, soc_name

    active = capi.active()
    found: dict[str, Any] = {
        "pyacl": __version__, "python": platform.python_version(), "system": platform.platform(),
        "backend": active.name, "reason": active.reason, "libraries": list(active.libraries), "cann": active.version,
        "compiled": capi.compiled, "keeps_gil": library._hot is not None,
        "driver": _version(b"driver"), "runtime": _version(b"runtime"), "soc": None, "devices": [],
    }
    count = device_count()
    found["soc"] = _or_none(soc_name)
    for number in range(count):
        found["devices"].append(_device(number))
    return found


def _version(package: bytes) -> Any:
    def ask() -> Any:
        value = capi.ffi.new("int32_t *")
        if capi.lib.aclsysGetVersionNum(package, value) != 0:
            errors.recent_text()  # of a failure that nobody needs to hear of
            return None
        # major * 10000000 + minor * 100000 + patch * 1000
        number = int(value[0])
        return f"{number // 10_000_000}.{number // 100_000 % 100}.{number // 1000 % 100}"

    return _or_none(ask)


def _or_none(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except (capi.MissingSymbolError, errors.AclError):
        return None


def _device(number: int) -> dict[str, Any]:
    from .device import Device, mem_info

    found: dict[str, Any] = {"id": number}
    try:
        with Device(number):
            memory = mem_info()
            found.update(memory_free=memory.free, memory_total=memory.total)
            for key, attribute in (("ai_cores", "AICORE"), ("cube_cores", "CUBE"), ("vector_cores", "VECTOR")):
                value = _attribute(number, f"ACL_DEV_ATTR_{attribute}_CORE_NUM")
                if value is not None:
                    found[key] = value
    except errors.AclError as error:
        found["error"] = " ".join(str(error).split())
    return found


def _attribute(device: int, name: str) -> Any:
    def ask() -> Any:
        value = capi.ffi.new("int64_t *")
        if capi.lib.aclrtGetDeviceInfo(device, getattr(capi.lib, name), value) != 0:
            errors.recent_text()
            return None
        return int(value[0])

    return _or_none(ask)


def _show(found: dict[str, Any]) -> None:
    calls = "compiled" if found["compiled"] else "pure Python (no compiler when pyacl was installed)"
    if found["keeps_gil"]:
        calls += ", short ones keep the GIL"
    rows = [("pyacl", f"{found['pyacl']} (Python {found['python']}, {found['system']})"),
            ("backend", f"{found['backend']}: {found['reason']}"), ("calls", calls),
            *(("library", path) for path in found["libraries"]),
            *((name, found[key]) for name, key in (("CANN", "cann"), ("driver", "driver"), ("runtime", "runtime"),
                                                   ("chip", "soc")) if found[key])]
    for device in found["devices"]:
        if "error" in device:
            text = device["error"]
        else:
            cores = ", ".join(f"{device[k]} {k.replace('_', ' ')}" for k in ("ai_cores", "cube_cores", "vector_cores")
                              if k in device)
            text = (f"{device['memory_free'] / _GIB:.1f} GiB free of {device['memory_total'] / _GIB:.1f} GiB"
                    + (f", {cores}" if cores else ""))
        rows.append((f"device {device['id']}", text))
    for name, text in rows:
        print(f"{name:<9} {text}")
