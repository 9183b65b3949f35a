"""Compile options, and operators compiled in the process, which then run by description or handle."""

from __future__ import annotations

import os
from typing import Any

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure
from ..single_op import call, kernels
from .arguments import invalid, text

# Option: the values it takes (empty: any text), and its default.
_MODES = ("force_fp16", "force_fp32", "cube_fp16in_fp32out", "allow_fp32_to_fp16", "must_keep_origin_dtype",
          "allow_mix_precision", "allow_mix_precision_fp16", "allow_mix_precision_bf16", "allow_fp32_to_bf16")
_OPTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "ACL_PRECISION_MODE": (_MODES, "allow_fp32_to_fp16"),
    "ACL_AICORE_NUM": ((), ""),
    "ACL_OP_SELECT_IMPL_MODE": (("high_precision", "high_performance", "high_precision_for_all",
                                 "high_performance_for_all"), "high_precision"),
    "ACL_OPTYPELIST_FOR_IMPLMODE": ((), ""),
    "ACL_OP_DEBUG_LEVEL": (("0", "1", "2", "3", "4"), "0"),
    "ACL_DEBUG_DIR": ((), "kernel_meta"),
    "ACL_OP_COMPILER_CACHE_MODE": (("enable", "disable", "force"), "disable"),
    "ACL_OP_COMPILER_CACHE_DIR": ((), "~/atc_data"),
    "ACL_OP_PERFORMANCE_MODE": (("normal", "high"), "normal"),
    "ACL_OP_JIT_COMPILE": (("enable", "disable"), "disable"),
    "ACL_OP_DETERMINISTIC": (("0", "1"), "0"),
    "ACL_CUSTOMIZE_DTYPES": ((), ""),
    "ACL_OP_PRECISION_MODE": ((), ""),
    "ACL_ALLOW_HF32": (("true", "false"), ""),
    "ACL_PRECISION_MODE_V2": (("fp16", "origin", "cube_fp16in_fp32out", "mixed_float16", "mixed_bfloat16", "mixed_hif8",
                               "cube_hif8"), "fp16"),
    "ACL_OP_DEBUG_OPTION": (("oom", ""), ""),
}
_NAMES: dict[int, str] = {getattr(lib, name): name for name in _OPTIONS}
_set: dict[str, str] = {}


def _option(opt: int) -> str:
    if opt not in _NAMES:
        raise Failure(lib.ACL_ERROR_INTERNAL_ERROR, f"compile option {opt} does not exist")
    return _NAMES[opt]


def _value(name: str) -> str:
    if name in _set:
        return _set[name]
    default = os.path.expanduser(_OPTIONS[name][1])
    return os.path.abspath(default) if name == "ACL_DEBUG_DIR" else default


def aclSetCompileopt(opt: int, value: Any) -> None:
    if not value:
        raise invalid("aclSetCompileopt: value is NULL")
    if opt == lib.ACL_AUTO_TUNE_MODE:
        raise Failure(lib.ACL_ERROR_FEATURE_UNSUPPORTED, "ACL_AUTO_TUNE_MODE is no longer supported")
    name, wanted = _option(opt), text(value, "value")
    allowed = _OPTIONS[name][0]
    if allowed and wanted not in allowed:
        raise invalid(f"{name} is one of {', '.join(allowed)}, not {wanted!r}")
    _set[name] = wanted


def aclGetCompileoptSize(opt: int) -> int:
    return len(_value(_option(opt)).encode()) + 1


def aclGetCompileopt(opt: int, value: Any, length: int) -> None:
    if not value:
        raise invalid("aclGetCompileopt: value is NULL")
    found = _value(_option(opt)).encode() + b"\0"
    if length < len(found):
        raise Failure(lib.ACL_ERROR_FAILURE, f"aclGetCompileopt: {length} bytes are too few for {len(found)}")
    ffi.memmove(value, found, len(found))


def aclopSetCompileFlag(flag: int) -> None:
    # Fuzzy compilation is only a matter of speed here: every model is exact.
    if flag not in (lib.ACL_OP_COMPILE_DEFAULT, lib.ACL_OP_COMPILE_FUZZ):
        raise invalid(f"aclopSetCompileFlag: {flag} is not an aclOpCompileFlag")


def _check_compile(engine: int, flag: int, path: Any) -> None:
    if flag != lib.ACL_COMPILE_SYS:
        raise Failure(lib.ACL_ERROR_API_NOT_SUPPORT, f"compileFlag {flag}: only ACL_COMPILE_SYS is supported")
    if engine != lib.ACL_ENGINE_SYS:
        raise invalid(f"engineType {engine}: only ACL_ENGINE_SYS is supported")
    if path:
        raise invalid("opPath is reserved: give NULL")


def aclopCompile(opType: Any, numInputs: int, inputDesc: Any, numOutputs: int, outputDesc: Any, attr: Any,
                 engineType: int, compileFlag: int, opPath: Any) -> None:
    _check_compile(engineType, compileFlag, opPath)
    made = call.describe(opType, numInputs, inputDesc, numOutputs, outputDesc, attr)
    made.refuse_host_placement("aclopCompile")
    made.compile()


def aclopCompileAndExecute(opType: Any, numInputs: int, inputDesc: Any, inputs: Any, numOutputs: int, outputDesc: Any,
                           outputs: Any, attr: Any, engineType: int, compileFlag: int, opPath: Any,
                           stream: Any) -> None:
    _compile_and_execute(opType, numInputs, inputDesc, inputs, numOutputs, outputDesc, outputs, attr, engineType,
                         compileFlag, opPath, stream, False)


def aclopCompileAndExecuteV2(opType: Any, numInputs: int, inputDesc: Any, inputs: Any, numOutputs: int,
                             outputDesc: Any, outputs: Any, attr: Any, engineType: int, compileFlag: int, opPath: Any,
                             stream: Any) -> None:
    _compile_and_execute(opType, numInputs, inputDesc, inputs, numOutputs, outputDesc, outputs, attr, engineType,
                         compileFlag, opPath, stream, True)


def _compile_and_execute(opType: Any, numInputs: int, inputDesc: Any, inputs: Any, numOutputs: int, outputDesc: Any,
                         outputs: Any, attr: Any, engineType: int, compileFlag: int, opPath: Any, stream: Any,
                         writes_shape: bool) -> None:
    _check_compile(engineType, compileFlag, opPath)
    made = call.describe(opType, numInputs, inputDesc, numOutputs, outputDesc, attr)
    made.take_buffers(inputs, outputs)
    if made.all_outputs_empty():
        return
    made.compile()
    made.execute(stream, writes_shape)


def aclopRegisterCompileFunc(opType: Any, func: Any) -> None:
    kernels.register_selector(text(opType, "opType"), func)


def aclopUnregisterCompileFunc(opType: Any) -> None:
    kernels.unregister_selector(text(opType, "opType"))


class GraphDumpOption:
    """What an ``aclGraphDumpOption *`` stands for; it has no settings."""


def aclCreateGraphDumpOpt() -> Any:
    return ffi.cast("aclGraphDumpOption *", handles.new(GraphDumpOption()))


def aclDestroyGraphDumpOpt(graphDumpOpt: Any) -> None:
    handles.get(graphDumpOpt, GraphDumpOption, "graphDumpOpt")
    handles.drop(graphDumpOpt)
