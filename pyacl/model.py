"""Offline models: loading, describing and executing them in every way that CANN offers."""

from __future__ import annotations

import os
import threading
from typing import Any, Iterator, Mapping, NamedTuple, Optional, Sequence, Union

import numpy as np

from . import errors
from .binding import Array, Binding, CallBinding, _ordered
from .c_string import c_string
from .capi import ffi, lib
from .context import Context, flight_on, switched
from .memory import DeviceBuffer, host_bytes
from .model_config import ExecConfig, LoadConfig
from .model_desc import ModelDesc, Path, TensorInfo
from .resource import Resource
from .stream import Stream

__all__ = ["Binding", "ExecConfig", "LoadConfig", "Model", "ModelDesc", "ModelDump", "TensorInfo"]

_NULL = ffi.NULL


class ModelSize(NamedTuple):
    """Bytes that a model needs on the device."""

    work: int
    weights: int


class Model(Resource):
    """An offline model (.om), loaded in this thread's context.

    ``inputs``, ``outputs``  `TensorInfo` of what it takes and gives
    ``desc``                 its `ModelDesc`
    ``id``                   CANN's modelId

    One model runs one execution at a time: on one stream, and where several threads use it, under `locked`. Closing it
    waits for its executions, then unloads it.
    """

    __slots__ = ("desc", "path", "_kept", "_lock", "_config", "_calls", "_last")

    _composite = True

    def __init__(self) -> None:
        raise TypeError("make a Model with Model.from_file(path) or Model.from_bytes(data)")

    @classmethod
    def from_file(cls, path: Path, *, work: Optional[DeviceBuffer] = None, weights: Optional[DeviceBuffer] = None,
                  config: Optional[LoadConfig] = None) -> Model:
        """Loads a file (aclmdlLoadFromFile).

        `work`, `weights`: memory of yours instead of the runtime's (aclmdlLoadFromFileWithMem); `query_size` says how
        much. `config`: a LoadConfig that lacks only the file (aclmdlLoadWithConfig). Raises ModelError or
        FileNotFoundError.
        """
        name = os.fspath(path)
        if config is not None:
            config.set("path", name)
            return cls.from_config(_completed(config, "FILE", work, weights))
        encoded = c_string(name, "the path")
        model = cls.__new__(cls)
        if work is None and weights is None:
            model._load("aclmdlLoadFromFile", lambda out: (encoded, out))
        else:
            model._load("aclmdlLoadFromFileWithMem", lambda out: (encoded, out, *_block(work), *_block(weights)),
                        work, weights)
        model.path = name
        return model

    @classmethod
    def from_bytes(cls, data: Any, *, work: Optional[DeviceBuffer] = None, weights: Optional[DeviceBuffer] = None,
                   config: Optional[LoadConfig] = None) -> Model:
        """Loads a model's bytes, which are kept as long as the model (aclmdlLoadFromMem, aclmdlLoadFromMemWithMem)."""
        if config is not None:
            config.set("mem_addr", data)
            return cls.from_config(_completed(config, "MEM", work, weights))
        view = host_bytes(data)
        model = cls.__new__(cls)
        if work is None and weights is None:
            model._load("aclmdlLoadFromMem", lambda out: (view, len(view), out), view)
        else:
            model._load("aclmdlLoadFromMemWithMem", lambda out: (view, len(view), out, *_block(work), *_block(weights)),
                        view, work, weights)
        return model

    @classmethod
    def from_config(cls, config: LoadConfig) -> Model:
        """Loads what a LoadConfig says (aclmdlLoadWithConfig)."""
        model = cls.__new__(cls)
        model._load("aclmdlLoadWithConfig", lambda out: (config.handle, out), config)
        path = config.options.get("path")
        model.path = None if path is None else os.fspath(path)
        return model

    @staticmethod
    def query_size(source: Any) -> ModelSize:
        """Work and weight bytes of a file (a path) or of a model's bytes (aclmdlQuerySize, aclmdlQuerySizeFromMem)."""
        work, weights = ffi.new("size_t *"), ffi.new("size_t *")
        if isinstance(source, (str, os.PathLike)):
            errors.check(lib.aclmdlQuerySize(c_string(source, "the path"), work, weights), "aclmdlQuerySize")
        else:
            view = host_bytes(source)
            errors.check(lib.aclmdlQuerySizeFromMem(view, len(view), work, weights), "aclmdlQuerySizeFromMem")
        return ModelSize(int(work[0]), int(weights[0]))

    def _load(self, function: str, args: Any, *kept: Any) -> None:
        context = Context.current()
        out = ffi.new("uint32_t *")
        errors.check(getattr(lib, function)(*args(out)), function)
        self._adopt(out[0], context, *kept)

    def _adopt(self, model_id: int, parent: Resource, *kept: Any) -> None:
        self.path: Optional[str] = None
        self._kept = [k for k in kept if k is not None]
        self._lock = threading.RLock()
        self._config: Optional[ExecConfig] = None
        self._calls: dict[Any, Binding] = {}
        self._last: Any = None
        try:
            self.desc = ModelDesc(model_id, parent)
        except BaseException:
            lib.aclmdlUnload(model_id)
            raise
        self._own(model_id, parent)

    # What it is

    @property
    def id(self) -> int:
        """CANN's modelId."""
        return int(self.handle)

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """What it takes."""
        return self.desc.inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """What it gives."""
        return self.desc.outputs

    @property
    def priority(self) -> int:
        """0 (highest, the default) to 7 (aclmdlGetAttribute, aclmdlSetAttribute)."""
        value = ffi.new("aclmdlAttrValue_t *")
        code = lib.aclmdlGetAttribute(self.handle, lib.ACL_MDL_ATTR_PRIORITY_INT32, value)
        if code:
            self._again(code, "aclmdlGetAttribute", self.handle, lib.ACL_MDL_ATTR_PRIORITY_INT32, value)
        return int(value.mdlPriority)

    @priority.setter
    def priority(self, value: int) -> None:
        wanted = ffi.new("aclmdlAttrValue_t *")
        try:
            wanted.mdlPriority = value
        except OverflowError:
            raise ValueError(f"priority {value}: give 0 (highest) to 7") from None
        code = lib.aclmdlSetAttribute(self.handle, lib.ACL_MDL_ATTR_PRIORITY_INT32, wanted)
        if code:
            self._again(code, "aclmdlSetAttribute", self.handle, lib.ACL_MDL_ATTR_PRIORITY_INT32, wanted)

    def aipp_type(self, key: Union[int, str]) -> str:
        """How AIPP feeds an input: "without", "static" or "dynamic" (aclmdlGetAippType)."""
        kind, attached = ffi.new("aclmdlInputAippType *"), ffi.new("size_t *")
        args = (self.handle, self.desc.input(key).index, kind, attached)
        code = lib.aclmdlGetAippType(*args)
        if code:
            self._again(code, "aclmdlGetAippType", *args)
        return {lib.ACL_DATA_WITHOUT_AIPP: "without", lib.ACL_DATA_WITH_STATIC_AIPP: "static",
                lib.ACL_DATA_WITH_DYNAMIC_AIPP: "dynamic"}.get(kind[0], "node")

    def aipp_info(self, key: Union[int, str]) -> dict[str, Any]:
        """The settings of an input's static AIPP by their C names (aclmdlGetFirstAippInfo)."""
        info = ffi.new("aclAippInfo *")
        args = (self.handle, self.desc.input(key).index, info)
        code = lib.aclmdlGetFirstAippInfo(*args)
        if code:
            self._again(code, "aclmdlGetFirstAippInfo", *args)
        return {name: getattr(info, name) for name, field in ffi.typeof("aclAippInfo").fields
                if field.type.kind in ("primitive", "enum")}

    # Executing

    def bind(self, inputs: Any = (), outputs: Any = None) -> Binding:
        """Ties inputs and outputs to memory, for many executions.

        Both are in the model's order or by name. Tensor, DeviceBuffer: used in place; numpy array: copied at every
        execution; None, for outputs: allocated by the runtime at every execution, which then gives it to you. Without
        `outputs` the binding allocates them once. Raises ValueError, TypeError or KeyError for what does not fit.
        """
        return Binding(self, inputs, outputs)

    def execute(self, binding: Binding, *, stream: Optional[Stream] = None,
                config: Optional[ExecConfig] = None) -> list[Any]:
        """Runs it and returns when the outputs are there: what each output is bound to.

        Without stream and config this is aclmdlExecute, which is not ordered with work on streams; otherwise
        aclmdlExecuteV2, where the options of `config` hold only with a stream. An output that the runtime allocated is
        a new Tensor, which is yours.
        """
        output = self._checked(binding)
        copies = binding._copies
        if copies:
            binding.upload(None)
        args: tuple[Any, ...]
        if stream is None and config is None:
            args = (self.handle, binding.handle, output)
            code, function = lib.aclmdlExecute(*args), "aclmdlExecute"
        else:
            args = (self.handle, binding.handle, output, _NULL if stream is None else flight_on(stream).handle,
                    self._default_config() if config is None else _options(config))
            code, function = lib.aclmdlExecuteV2(*args), "aclmdlExecuteV2"
        if code:
            try:
                self._again(code, function, *args)
            except Exception:
                if code == lib.ACL_ERROR_RT_STREAM_SYNC_TIMEOUT and stream is not None:
                    stream.flight.held[binding] = None  # it still runs
                elif copies:
                    binding.drop_results()
                raise
        if copies:
            binding.download(None)
        return binding.results()

    def execute_async(self, binding: Binding, stream: Stream, config: Optional[ExecConfig] = None) -> None:
        """Queues it on `stream` and returns (aclmdlExecuteAsync, or aclmdlExecuteAsyncV2 with a `config`).

        Everything bound stays alive until the stream is synchronised. The outputs must have memory. The model must not
        have work on another stream at the same time.
        """
        try:
            flight = stream.flight
            plain = binding.model is self and not binding._copies and config is None
        except AttributeError:
            if isinstance(binding, Binding) and not isinstance(stream, Stream):
                raise TypeError(f"a stream is a pyacl.Stream, not {stream!r}") from None
            raise _no_binding(binding) from None
        if not plain:
            return self._execute_async(binding, stream, config)
        code = lib.aclmdlExecuteAsync(self.handle, binding.handle, binding._output, stream.handle)
        if code:
            self._again(code, "aclmdlExecuteAsync", self.handle, binding.handle, binding._output, stream.handle)
        flight.held[binding] = None

    def _execute_async(self, binding: Binding, stream: Stream, config: Optional[ExecConfig]) -> None:
        output = self._checked(binding)
        if binding.allocates:
            raise ValueError("the runtime allocates outputs only while one waits for them: bind memory to every "
                             "output, or use execute")
        binding.upload(stream)
        args: tuple[Any, ...] = (self.handle, binding.handle, output, stream.handle)
        function = "aclmdlExecuteAsync"
        if config is not None:
            args, function = (*args, _options(config)), "aclmdlExecuteAsyncV2"
        code = getattr(lib, function)(*args)
        if code:
            self._again(code, function, *args)
        stream.flight.held[binding] = None
        if config is not None:
            stream.flight.hold(config)
        binding.download(stream)

    def _checked(self, binding: Binding) -> Any:
        """The output dataset of a binding of this model."""
        if not isinstance(binding, Binding):
            raise _no_binding(binding)
        self.handle  # noqa: B018 - closed?
        if binding.model is not self:
            raise ValueError(f"the binding is of {binding.model!r}, not of {self!r}")
        binding.handle  # noqa: B018
        return binding._output

    def _default_config(self) -> Any:
        if self._config is None:
            self._config = ExecConfig()
        return self._config.handle

    def locked(self) -> Any:
        """``with model.locked():`` - the lock that threads which share a model must hold around filling inputs,
        executing and, where other threads write the same outputs, reading these. Calling the model takes it as well."""
        self.handle  # noqa: B018
        return self._lock

    def __call__(self, *inputs: Any, progress: bool = False, **named: Any) -> Any:
        """numpy in, numpy out: a list in the model's order; a dict by name if the inputs came by name.

        Gears and dynamic shapes follow the arrays. More rows than the model's batch are run in several executions, the
        last of them padded, and joined again. Threads may call it at the same time. `progress` shows a bar.
        """
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            named, inputs = {**inputs[0], **named}, ()
        if inputs and named:
            raise TypeError("give the inputs either in order or by name")
        arrays = [_as_array(v) for v in _ordered(named or inputs, self.inputs, "input")]
        from .batching import run

        with self._lock:
            results = run(self, arrays, progress)
        return {t.name: r for t, r in zip(self.outputs, results)} if named else results

    def _call_binding(self, key: Any, arrays: Sequence[Array]) -> Binding:
        """The binding that calls with these shapes use."""
        binding = self._calls.get(key)
        if binding is None or binding.closed:
            if len(self._calls) >= 8:
                self._calls.pop(next(iter(self._calls))).close()
            binding = self._calls[key] = CallBinding(self, list(arrays))
        return binding

    # As a resource

    def _uses(self) -> Iterator[Resource]:
        return (k for k in self._kept if isinstance(k, Resource))

    def close(self) -> None:
        """Waits for executions, also of threads that hold its lock, then unloads it (aclmdlUnload); a second time does
        nothing."""
        with self._lock:
            if not self.closed:
                for binding in self._calls.values():
                    binding.close()
                self._calls.clear()
                self.desc.close()
                if self._config is not None:
                    self._config.close()
            super().close()

    def _release(self) -> None:
        with switched(self._parent):
            self._unload()
        self._kept = []

    def _unload(self) -> None:
        errors.check(lib.aclmdlUnload(self.handle), "aclmdlUnload")

    def _describe(self) -> str:
        name = f"{os.path.basename(self.path)} " if self.path else ""
        return f"{name}({', '.join(map(str, self.inputs))}) -> ({', '.join(map(str, self.outputs))})"


def _as_array(value: Any) -> Array:
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, np.generic):
        return np.asarray(value)
    raise TypeError(f"a model is called with numpy arrays, not with a {type(value).__name__}; for device memory use "
                    "bind and execute")


def _no_binding(value: Any) -> Exception:
    return TypeError(f"a {type(value).__name__} is no binding: make one with model.bind(inputs, outputs)") \
        if not isinstance(value, Binding) else errors.ClosedError("this Binding is closed")


def _options(config: ExecConfig) -> Any:
    if not isinstance(config, ExecConfig):
        raise TypeError(f"the options of an execution are an ExecConfig, not a {type(config).__name__}")
    return config.handle


def _block(buffer: Optional[DeviceBuffer]) -> tuple[Any, int]:
    if buffer is None:
        return _NULL, 0
    if not isinstance(buffer, DeviceBuffer):
        raise TypeError(f"a model's memory is a DeviceBuffer, not a {type(buffer).__name__}")
    return buffer.handle, buffer.nbytes


def _completed(config: LoadConfig, source: str, work: Optional[DeviceBuffer],
               weights: Optional[DeviceBuffer]) -> LoadConfig:
    """With the memory given, and the way to load that follows from `source` ("FILE", "MEM") and that."""
    if "load_type" not in config.options:
        with_mem = "" if work is None and weights is None else "_WITH_MEM"
        config.set("load_type", getattr(lib, f"ACL_MDL_LOAD_FROM_{source}{with_mem}"))
    for name, buffer in (("workspace", work), ("weight", weights)):
        if buffer is not None:
            config.set(f"{name}_addr", buffer)
    return config


class ModelDump:
    """Models that are loaded while it is open dump what they read and write, until it is closed (aclmdlInitDump,
    aclmdlSetDump, aclmdlFinalizeDump).

    `config` is the path of a JSON file with an object ``dump``.
    """

    def __init__(self, config: Path) -> None:
        self._open = False
        if not os.path.isfile(config):
            raise FileNotFoundError(f"no dump configuration {os.fspath(config)}")
        errors.check(lib.aclmdlInitDump(), "aclmdlInitDump")
        self._open = True
        try:
            errors.check(lib.aclmdlSetDump(c_string(config, "the path")), "aclmdlSetDump")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends dumping; a second time does nothing."""
        if self._open:
            self._open = False
            errors.check(lib.aclmdlFinalizeDump(), "aclmdlFinalizeDump")

    def __enter__(self) -> ModelDump:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
