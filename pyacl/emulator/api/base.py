"""Initialisation, versions, error text, data types."""

from __future__ import annotations

import os
import sys
from typing import Any, Callable

import numpy as np

from ...capi import ffi, lib
from .. import failure
from ..failure import Failure
from ..machine import device, process
from . import arguments

VERSION = "8.5.0"  # the release of CANN whose behaviour is emulated
_PARTS = tuple(int(part) for part in VERSION.split("."))
_PACKAGES = ("runtime", "driver", "compiler", "hccl", "toolkit", "opp", "opp_kernel", "cann")

_BITS = {
    lib.ACL_FLOAT: 32, lib.ACL_FLOAT16: 16, lib.ACL_INT8: 8, lib.ACL_INT32: 32, lib.ACL_UINT8: 8, lib.ACL_INT16: 16,
    lib.ACL_UINT16: 16, lib.ACL_UINT32: 32, lib.ACL_INT64: 64, lib.ACL_UINT64: 64, lib.ACL_DOUBLE: 64,
    lib.ACL_BOOL: 8, lib.ACL_COMPLEX64: 64, lib.ACL_COMPLEX128: 128, lib.ACL_BF16: 16, lib.ACL_COMPLEX32: 32,
    lib.ACL_HIFLOAT8: 8, lib.ACL_FLOAT8_E5M2: 8, lib.ACL_FLOAT8_E4M3FN: 8, lib.ACL_FLOAT8_E8M0: 8,
    lib.ACL_FLOAT6_E3M2: 8, lib.ACL_FLOAT6_E2M3: 8, lib.ACL_FLOAT4_E2M1: 8, lib.ACL_FLOAT4_E1M2: 8, lib.ACL_INT4: 8,
    lib.ACL_UINT1: 8,
}


def aclInit(configPath: Any) -> None:
    process.init(None if configPath == ffi.NULL else arguments.text(configPath, "configPath"))


def aclFinalize() -> None:
    process.finalize(all_references=True)


def aclFinalizeReference(refCount: Any) -> None:
    left = process.finalize(all_references=False)
    if refCount != ffi.NULL:
        refCount[0] = left


def _key(kind: int, function: Any) -> tuple[int, int]:
    arguments.not_null(function, "the callback")
    return kind, int(ffi.cast("uintptr_t", function))


def aclInitCallbackRegister(type: int, cbFunc: Any, userData: Any) -> None:
    def call(config: str) -> int:
        text = config.encode()
        return int(cbFunc(ffi.from_buffer(text + b"\0"), len(text), userData))

    key = _key(type, cbFunc)
    if process.initialised():  # too late to fire inside aclInit
        code = call(process.config())
        if code:
            raise Failure(code, f"the callback failed with {code}")
    process.init_hooks[key] = call


def aclInitCallbackUnRegister(type: int, cbFunc: Any) -> None:
    process.init_hooks.pop(_key(type, cbFunc), None)


def aclFinalizeCallbackRegister(type: int, cbFunc: Any, userData: Any) -> None:
    call: Callable[[], int] = lambda: int(cbFunc(userData))  # noqa: E731
    process.finalize_hooks[_key(type, cbFunc)] = call


def aclFinalizeCallbackUnRegister(type: int, cbFunc: Any) -> None:
    process.finalize_hooks.pop(_key(type, cbFunc), None)


def aclGetRecentErrMsg() -> Any:
    return failure.take_message()


def aclAppLog(logLevel: int, func: Any, file: Any, line: int, fmt: Any) -> None:
    # CANN writes to its log files, and to stdout when told so. What the format's arguments are is not known here.
    if os.environ.get("ASCEND_SLOG_PRINT_TO_STDOUT") == "1" and fmt != ffi.NULL:
        level = ("DEBUG", "INFO", "WARNING", "ERROR")[logLevel] if 0 <= logLevel <= 3 else str(logLevel)
        where = ffi.string(file).decode(errors="replace") if file != ffi.NULL else ""
        sys.stdout.write(f"[{level}] {where}:{line} {ffi.string(fmt).decode(errors='replace')}\n")


def aclDataTypeSize(dataType: int) -> int:
    return _BITS.get(dataType, 0) // 8


def aclFloat16ToFloat(value: int) -> float:
    return float(np.uint16(value).view(np.float16))


def aclFloatToFloat16(value: float) -> int:
    with np.errstate(over="ignore"):
        return int(np.float32(value).astype(np.float16).view(np.uint16))


_attributes = {lib.ACL_CANN_ATTR_INF_NAN: 1, lib.ACL_CANN_ATTR_BF16: 1, lib.ACL_CANN_ATTR_JIT_COMPILE: 0}
_attribute_list = ffi.new("aclCannAttr[]", sorted(_attributes))


def aclGetCannAttribute(cannAttr: int, value: Any) -> None:
    arguments.not_null(value, "value")
    if cannAttr not in _attributes:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"there is no attribute {cannAttr}")
    value[0] = _attributes[cannAttr]


def aclGetCannAttributeList(cannAttrList: Any, num: Any) -> None:
    arguments.not_null(cannAttrList, "cannAttrList")
    arguments.not_null(num, "num")
    cannAttrList[0] = _attribute_list
    num[0] = len(_attributes)


def aclGetDeviceCapability(deviceId: int, deviceInfo: int, value: Any) -> None:
    arguments.not_null(value, "value")
    soc = device.get(deviceId).soc
    values = {
        lib.ACL_DEVICE_INFO_AI_CORE_NUM: soc.aicores, lib.ACL_DEVICE_INFO_VECTOR_CORE_NUM: soc.vector_cores,
        lib.ACL_DEVICE_INFO_L2_SIZE: soc.l2_bytes,
    }
    if deviceInfo not in values:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"there is no device information {deviceInfo}")
    value[0] = values[deviceInfo]


def aclsysGetCANNVersion(name: int, version: Any) -> None:
    arguments.not_null(version, "version")
    if not 0 <= name <= lib.ACL_PKG_NAME_DRIVER:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"there is no package {name}")
    ffi.memmove(version, bytes(ffi.sizeof("aclCANNPackageVersion")), ffi.sizeof("aclCANNPackageVersion"))
    version.version = VERSION.encode()
    version.majorVersion, version.minorVersion, version.releaseVersion = (str(p).encode() for p in _PARTS)


def _package(pkgName: Any) -> str:
    arguments.not_null(pkgName, "pkgName")
    name: str = ffi.string(pkgName).decode(errors="replace")
    if name not in _PACKAGES:
        raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"there is no package {name!r}: one of {', '.join(_PACKAGES)}")
    return name


def aclsysGetVersionNum(pkgName: Any, versionNum: Any) -> None:
    _package(pkgName)
    arguments.not_null(versionNum, "versionNum")
    versionNum[0] = _PARTS[0] * 10_000_000 + _PARTS[1] * 100_000 + _PARTS[2] * 1000


def aclsysGetVersionStr(pkgName: Any, versionStr: Any) -> None:
    _package(pkgName)
    arguments.not_null(versionStr, "versionStr")
    text = VERSION.encode() + b"\0"
    ffi.memmove(versionStr, text, len(text))
