"""Drive Huawei Ascend NPUs through CANN's own C libraries, or the same program through an emulator without one.

Everything here is loaded at its first use, so that importing pyacl is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Module -> what it gives to the package.
_EXPORTS = {
    "capi": ("MissingSymbolError", "ForkError", "BackendError", "EmulatorWarning", "declare_op", "ffi", "lib",
             "use_backend"),
    "errors": ("AclError", "ClosedError", "check"),
    "resource": ("Resource",),
    "device": ("Device", "MemInfo", "device_count", "finalize", "init", "mem_info", "soc_name"),
    "context": ("Context",),
    "stream": ("Stream",),
    "event": ("Event",),
    "memory": ("DeviceBuffer", "HostBuffer", "is_pinned", "memcpy", "memcpy_2d", "memcpy_async", "memset"),
    "dtypes": ("Format",),
    "tensor": ("Tensor", "TensorList"),
    "scalar": ("Scalar", "ScalarList"),
    "arrays": ("BoolArray", "FloatArray", "IntArray"),
    "executor": ("Executor",),
    "model": ("Binding", "ExecConfig", "LoadConfig", "Model", "ModelDesc", "ModelDump"),
    "model_bundle": ("ModelBundle",),
    "model_pool": ("ModelPool",),
    "aipp": ("Aipp",),
    "binary": ("Binary", "KernelException"),
    "kernel": ("Kernel",),
    "args_handle": ("ArgsHandle",),
    "launch_config": ("LaunchConfig",),
    "tensor_desc": ("TensorDesc",),
    "data_buffer": ("DataBuffer",),
    "op_attr": ("OpAttr",),
    "op_handle": ("OpHandle",),
    "single_op": ("op",),
    "graph": ("Graph",),
}
_MODULES = ("bench", "blas", "capi", "dtypes", "emulator", "errors", "ops", "single_op")
_HOME = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = ["__version__", *sorted(_HOME), *(m for m in _MODULES if m != "capi")]


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOME:
        value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    elif name in _MODULES:
        value = importlib.import_module(f".{name}", __name__)
    else:
        from . import errors

        # The exception classes, by their names: pyacl.OutOfMemoryError and so on.
        value = getattr(errors, name, None) if name in errors.__all__ else None
        if value is None:
            raise AttributeError(f"module 'pyacl' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if TYPE_CHECKING:
    from . import blas as blas
    from . import dtypes as dtypes
    from . import emulator as emulator
    from . import errors as errors
    from . import ops as ops
    from . import single_op as single_op
    from .aipp import Aipp as Aipp
    from .args_handle import ArgsHandle as ArgsHandle
    from .arrays import BoolArray as BoolArray
    from .arrays import FloatArray as FloatArray
    from .arrays import IntArray as IntArray
    from .binary import Binary as Binary
    from .binary import KernelException as KernelException
    from .capi import BackendError as BackendError
    from .capi import EmulatorWarning as EmulatorWarning
    from .capi import ForkError as ForkError
    from .capi import MissingSymbolError as MissingSymbolError
    from .capi import declare_op as declare_op
    from .capi import ffi as ffi
    from .capi import lib as lib
    from .capi import use_backend as use_backend
    from .context import Context as Context
    from .data_buffer import DataBuffer as DataBuffer
    from .device import Device as Device
    from .device import MemInfo as MemInfo
    from .device import device_count as device_count
    from .device import finalize as finalize
    from .device import init as init
    from .device import mem_info as mem_info
    from .device import soc_name as soc_name
    from .dtypes import Format as Format
    from .errors import AclError as AclError
    from .errors import ClosedError as ClosedError
    from .errors import check as check
    from .event import Event as Event
    from .executor import Executor as Executor
    from .graph import Graph as Graph
    from .kernel import Kernel as Kernel
    from .launch_config import LaunchConfig as LaunchConfig
    from .memory import DeviceBuffer as DeviceBuffer
    from .memory import HostBuffer as HostBuffer
    from .memory import is_pinned as is_pinned
    from .memory import memcpy as memcpy
    from .memory import memcpy_2d as memcpy_2d
    from .memory import memcpy_async as memcpy_async
    from .memory import memset as memset
    from .model import Binding as Binding
    from .model import ExecConfig as ExecConfig
    from .model import LoadConfig as LoadConfig
    from .model import Model as Model
    from .model import ModelDesc as ModelDesc
    from .model import ModelDump as ModelDump
    from .model_bundle import ModelBundle as ModelBundle
    from .model_pool import ModelPool as ModelPool
    from .op_attr import OpAttr as OpAttr
    from .op_handle import OpHandle as OpHandle
    from .resource import Resource as Resource
    from .scalar import Scalar as Scalar
    from .scalar import ScalarList as ScalarList
    from .single_op import op as op
    from .stream import Stream as Stream
    from .tensor import Tensor as Tensor
    from .tensor import TensorList as TensorList
    from .tensor_desc import TensorDesc as TensorDesc
