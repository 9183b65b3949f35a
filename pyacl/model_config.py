"""Options of loading and executing models (aclmdlConfigHandle, aclmdlExecConfigHandle)."""

from __future__ import annotations

import re
from functools import cache
from operator import index
from typing import Any, Mapping, Optional

from . import errors
from .c_string import c_string
from .capi import ffi, lib
from .memory import DeviceBuffer, host_bytes
from .resource import Resource


@cache
def _attributes(enum: str) -> dict[str, str]:
    """Option -> C name: in lower case without prefix and type; the size of what an address is given for is x_size."""
    names = set(ffi.typeof(enum).relements)
    found = {}
    for name in sorted(names):
        short = re.sub(r"^ACL_(MDL_)?", "", name)
        stem = re.sub(r"_(INT32|SIZET|PTR)$", "", short)
        if name.endswith("_SIZET") and names & {f"ACL_MDL_{stem}_PTR", f"ACL_MDL_{stem}_ADDR_PTR"}:
            stem += "_size"
        if stem != "RESERVED":
            found[stem.lower()] = name
    return found


class _Config(Resource):
    """Options by name; each has a C type, which its attribute's name tells."""

    __slots__ = ("options", "_kept")

    _warns = False
    _enum = ""
    _create = ""
    _destroy = ""
    _setter = ""

    def _make(self) -> None:
        handle = getattr(lib, self._create)()
        if handle == ffi.NULL:
            raise errors.error(lib.ACL_ERROR_FAILURE, self._create)
        self.options: dict[str, Any] = {}
        self._kept: list[Any] = []
        self._own(handle)

    @classmethod
    def _attributes(cls) -> dict[str, str]:
        """Our names of all options, with CANN's."""
        return _attributes(cls._enum)

    def set(self, option: str, value: Any) -> None:
        """Sets one option by its name in lower case without prefix and type, such as ``"priority"``."""
        attributes = self._attributes()
        if option not in attributes:
            raise ValueError(f"no option {option!r}: choose one of {', '.join(sorted(attributes))}")
        name = attributes[option]
        if name.endswith("_PTR"):
            pointer = self._pointer(option, value)
            holder, kind = ffi.new("void **", pointer), "void *"
        else:
            kind = "size_t" if name.endswith(("_SIZET", "MEM_OPTIMIZE")) else "int32_t"
            try:
                holder = ffi.new(f"{kind} *", index(value))
            except TypeError:
                raise TypeError(f"{option} is an int, not {value!r}") from None
            except OverflowError:
                raise ValueError(f"{option}={value} does not fit a {kind}") from None
        code = getattr(lib, self._setter)(self.handle, getattr(lib, name), holder, ffi.sizeof(kind))
        errors.check(code, self._setter)
        self.options[option] = value

    def _pointer(self, option: str, value: Any) -> Any:
        """An address for an option, whose owner is kept as long as this."""
        if option in ("path", "weight_path"):
            value = c_string(value, "the path") + b"\0"
        if isinstance(value, DeviceBuffer):
            self._kept.append(value)
            return value.handle
        if isinstance(value, int):
            return ffi.cast("void *", value)
        if option in ("weight_addr", "workspace_addr", "work_addr"):
            raise TypeError(f"{option} is a DeviceBuffer, not a {type(value).__name__}")
        view = host_bytes(value)
        self._kept.append(view)
        return ffi.cast("void *", view)

    def _release(self) -> None:
        errors.check(getattr(lib, self._destroy)(self.handle), self._destroy)
        self._kept = []

    def _describe(self) -> str:
        return ", ".join(f"{k}={v!r}" for k, v in self.options.items())


class ExecConfig(_Config):
    """Options of one execution (aclmdlExecConfigHandle), each named as its aclmdlExecConfigAttr.

    ``stream_sync_timeout``, ``event_sync_timeout``: milliseconds, -1 for ever. The others (``work_addr`` with
    ``work_size``, ``mpaimid``, ...) exist on special products only. They have no effect without a stream.
    """

    __slots__ = ()

    _enum = "aclmdlExecConfigAttr"
    _create, _destroy = "aclmdlCreateExecConfigHandle", "aclmdlDestroyExecConfigHandle"
    _setter = "aclmdlSetExecConfigOpt"

    def __init__(self, *, stream_sync_timeout: Optional[int] = None, event_sync_timeout: Optional[int] = None,
                 **others: Any) -> None:
        self._make()
        given = {"stream_sync_timeout": stream_sync_timeout, "event_sync_timeout": event_sync_timeout, **others}
        for option, value in given.items():
            if value is not None:
                self.set(option, value)


_LOAD_TYPES = ("from_file", "from_file_with_mem", "from_mem", "from_mem_with_mem", "from_file_with_q",
               "from_mem_with_q")


class LoadConfig(_Config):
    """Options of loading a model (aclmdlConfigHandle), each named as its aclmdlConfigAttr.

    ``load_type`` is one of "from_file", "from_file_with_mem", "from_mem", "from_mem_with_mem", "from_file_with_q",
    "from_mem_with_q". With ``mem_addr`` (bytes), ``weight_addr`` and ``workspace_addr`` (DeviceBuffer) the sizes
    follow. `external_weights`: DeviceBuffers by the name of the weight file. The model keeps its LoadConfig, and so
    what is given here.
    """

    __slots__ = ("external_weights",)

    _enum = "aclmdlConfigAttr"
    _create, _destroy = "aclmdlCreateConfigHandle", "aclmdlDestroyConfigHandle"
    _setter = "aclmdlSetConfigOpt"
    _sized = {"mem_addr": "mem_size", "weight_addr": "weight_size", "workspace_addr": "workspace_size"}

    def __init__(self, *, external_weights: Optional[Mapping[str, DeviceBuffer]] = None, **options: Any) -> None:
        self._make()
        self.external_weights = dict(external_weights or {})
        for option in sorted(options, key=lambda o: o.endswith("_size")):  # what is given counts, not what follows
            if options[option] is not None:
                self.set(option, options[option])
        for name, buffer in self.external_weights.items():
            if not isinstance(buffer, DeviceBuffer):
                raise TypeError(f"the weights {name} are a DeviceBuffer, not a {type(buffer).__name__}")
            code = lib.aclmdlSetExternalWeightAddress(self.handle, c_string(name, "the name of weights"), buffer.handle,
                                                      buffer.nbytes)
            errors.check(code, "aclmdlSetExternalWeightAddress")

    def set(self, option: str, value: Any) -> None:
        """Sets one option, and with memory its size."""
        if option == "load_type" and isinstance(value, str):
            if value not in _LOAD_TYPES:
                raise ValueError(f"no load type {value!r}: choose one of {', '.join(_LOAD_TYPES)}")
            value = getattr(lib, f"ACL_MDL_LOAD_{value.upper()}")
        super().set(option, value)
        size = self._sized.get(option)
        if size is not None and not isinstance(value, int):
            self.set(size, value.nbytes if isinstance(value, DeviceBuffer) else memoryview(value).nbytes)
