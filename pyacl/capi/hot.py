"""Short calls that keep the GIL.

cffi releases the GIL around every call. That costs little by itself, but beside a thread that runs Python each release
may cost a whole switch interval (5 ms). So the short calls on the way of a launch are also compiled into a second cffi
module, ``_acl_hot``, which keeps it; types and type checks are the same. Without that module, or with
``PYACL_KEEP_GIL=0``, all calls go the plain way.

Keeping the GIL is sound only for a call that never waits for another Python thread. `GETTERS` never wait. `QUEUEING`
calls wait when their stream's queue is full, and what it waits for may need Python (a host function, an event that
another thread will record). A queue that was found empty and got fewer than `LIMIT` calls since is not full, so they
keep the GIL for that many calls after a stream was made, synchronised or found complete (`DRAINING`), and release it
from then on. Copies from or to the host release it always: with pageable memory they wait for the copy.
Emulated functions are Python: they are entered with the GIL held, and give it up themselves where they wait.
"""

from __future__ import annotations

import os
from typing import Any, Optional

# Calls that may follow each other on one stream before its queue could be full: a stream has room for 1024 tasks, and
# an operator may queue several.
LIMIT = 128

QUEUEING = (
    "launch", "aclrtRecordEvent", "aclrtRecordEventWithFlag", "aclrtStreamWaitEvent", "aclrtStreamWaitEventWithFlag",
    "aclrtStreamWaitEventWithTimeout", "aclrtMemcpyAsync", "aclrtMemsetAsync", "aclrtLaunchKernel",
    "aclrtLaunchKernelV2", "aclrtLaunchKernelWithArgsArray", "aclrtLaunchKernelWithConfig",
    "aclrtLaunchKernelWithHostArgs",
)
DRAINING = ("aclrtCreateStream", "aclrtCreateStreamWithConfig", "aclrtStreamQuery", "aclrtSynchronizeStream",
            "aclrtSynchronizeStreamWithTimeout")
GETTERS = (
    "aclGetRecentErrMsg", "aclrtGetLastError", "aclrtPeekAtLastError",
    "aclrtGetCurrentContext", "aclrtSetCurrentContext", "aclrtGetDevice", "aclrtGetSysParamOpt",
    "aclrtGetResInCurrentThread",
    "aclrtQueryEvent", "aclrtQueryEventStatus", "aclrtQueryEventWaitStatus", "aclrtEventElapsedTime",
    "aclrtEventGetTimestamp",
    "aclCreateTensor", "aclCreateScalar", "aclCreateIntArray", "aclCreateFloatArray", "aclCreateBoolArray",
    "aclCreateTensorList", "aclCreateScalarList", "aclDestroyTensor", "aclDestroyScalar", "aclDestroyIntArray",
    "aclDestroyFloatArray", "aclDestroyBoolArray", "aclDestroyTensorList", "aclDestroyScalarList",
    "aclSetInputTensorAddr", "aclSetOutputTensorAddr", "aclSetTensorAddr", "aclSetDynamicInputTensorAddr",
    "aclSetDynamicOutputTensorAddr", "aclSetDynamicTensorAddr", "aclSetRawTensorAddr", "aclGetRawTensorAddr",
    "aclrtKernelArgsInit", "aclrtKernelArgsInitByUserMem", "aclrtKernelArgsAppend", "aclrtKernelArgsAppendPlaceHolder",
    "aclrtKernelArgsGetPlaceHolderBuffer", "aclrtKernelArgsParaUpdate", "aclrtKernelArgsFinalize",
)


def module() -> Optional[Any]:
    """The compiled module's functions, or None."""
    if os.environ.get("PYACL_KEEP_GIL", "1") == "0":
        return None
    try:
        from . import _acl_hot  # type: ignore[attr-defined]
    except ImportError:
        return None
    return _acl_hot.lib


def accelerate(executor: type, stream: type, flight: type) -> bool:
    """Puts a C function in the place of ``Executor.launch`` for its usual way; whether that was possible.

    It does what the Python method does, and leaves to it whatever is not a repeatable executor on a Stream with enough
    workspace.
    """
    from .module import ffi

    functions = module()
    if functions is None:
        return False
    objects = (executor, stream, flight, ffi.typeof("void *"))
    return bool(functions.pyacl_accelerate(*(ffi.cast("void *", id(o)) for o in objects)) == 0)
