"""Single operators by handle: an operator resolved once for given descriptions, run any number of times."""

from __future__ import annotations

import threading
from typing import Any, Callable, Iterable, Mapping, Optional, Sequence, Union

from . import errors
from .c_string import c_string
from .capi import MissingSymbolError, ffi, lib
from .context import Context, flight_on
from .data_buffer import DataBuffer, on_device
from .dtypes import to_numpy
from .op_attr import OpAttr
from .resource import Flight, Resource
from .stream import Stream
from .tensor import Tensor
from .tensor_desc import describe

Attributes = Union[OpAttr, Mapping[str, Any], None]

_NULL = ffi.NULL


class Arguments:
    """An operator's type, descriptions and attributes as the C functions take them."""

    __slots__ = ("type", "name", "inputs", "outputs", "attrs", "input_array", "output_array")

    def __init__(self, type: str, inputs: Iterable[Any], outputs: Iterable[Any], attrs: Attributes) -> None:
        if isinstance(inputs, Resource) or isinstance(outputs, Resource):
            raise TypeError("inputs and outputs are sequences, even of one tensor: [x]")
        self.type = type
        self.name = c_string(type, "an operator's type")
        self.inputs = [describe(i) for i in inputs]
        self.outputs = [describe(o) for o in outputs]
        if attrs is not None and not isinstance(attrs, (OpAttr, Mapping)):
            raise TypeError(f"attributes are a dict by name or an OpAttr, not {attrs!r}")
        self.attrs = attrs if isinstance(attrs, OpAttr) else OpAttr(attrs) if attrs else None
        self.input_array = ffi.new("aclTensorDesc *[]", [d.handle for d in self.inputs])
        self.output_array = ffi.new("aclTensorDesc *[]", [d.handle for d in self.outputs])

    @property
    def attr(self) -> Any:
        return _NULL if self.attrs is None else self.attrs.handle

    def compile(self) -> None:
        """aclopCompile, with the only engine, flag and path that it takes."""
        code = lib.aclopCompile(self.name, len(self.inputs), self.input_array, len(self.outputs), self.output_array,
                                self.attr, lib.ACL_ENGINE_SYS, lib.ACL_COMPILE_SYS, _NULL)
        errors.check(code, "aclopCompile")


def with_model(call: Callable[[], int], function: str, compile: Optional[Callable[[], None]]) -> None:
    """Calls; where no model of the operator is there, compiles one, unless `compile` is None, and calls again."""
    code = call()
    if code == lib.ACL_ERROR_OP_NOT_FOUND and compile is not None:
        missing = errors.error(code, function)
        try:
            compile()
        except MissingSymbolError:  # an installation that only runs models
            raise missing from None
        code = call()
    errors.check(code, function)


class OpHandle(Resource):
    """Operator `type` of the graph engine ("Add", "MatMulV2", ...) for given inputs and outputs (aclopCreateHandle).

    `inputs` and `outputs` are descriptions: TensorDesc objects, or Tensors that are alike; None for an optional one
    that is not used. `attrs` are the operator's attributes, see OpAttr. Shapes must be known: for others there is
    `pyacl.op`, which stands on aclopExecuteV2.

    A model of the operator must be loaded (`set_model_dir`, `load`) or compiled. Where none is, it is compiled now
    (aclopCompile), unless `compile` is False: then OperatorNotFoundError (100024) is raised.

    >>> with pyacl.OpHandle("Add", [x, y], [out]) as add:
    ...     add.launch([x, y], [out], stream)
    """

    __slots__ = ("type", "inputs", "outputs", "attrs", "_expected", "_buffers", "_arrays", "_lock")

    def __init__(self, type: str, inputs: Iterable[Any], outputs: Iterable[Any], attrs: Attributes = None, *,
                 compile: bool = True) -> None:
        arguments = Arguments(type, inputs, outputs, attrs)
        for what, descs in (("input", arguments.inputs), ("output", arguments.outputs)):
            for i, desc in enumerate(descs):
                if desc.dynamic:
                    raise ValueError(f"{what} {i} of {type} has the shape {desc.shape}: a handle takes static shapes "
                                     "only; pyacl.op (aclopExecuteV2) takes the others")
        out = ffi.new("aclopHandle **")
        found = (arguments.name, len(arguments.inputs), arguments.input_array, len(arguments.outputs),
                 arguments.output_array, arguments.attr, out)
        with_model(lambda: lib.aclopCreateHandle(*found), "aclopCreateHandle", arguments.compile if compile else None)
        self._set(out[0], arguments)

    def _set(self, handle: Any, arguments: Arguments) -> None:
        self.type, self.attrs = arguments.type, arguments.attrs
        self.inputs, self.outputs = tuple(arguments.inputs), tuple(arguments.outputs)
        self._expected = [[(d.acl_dtype, None if d.stored else d.shape) for d in group]
                          for group in (self.inputs, self.outputs)]
        # One data buffer for each tensor, pointed to whatever a launch gives.
        self._buffers = [[DataBuffer() for _ in group] for group in (self.inputs, self.outputs)]
        self._arrays = [ffi.new("aclDataBuffer *[]", [b.handle for b in group]) for group in self._buffers]
        self._lock = threading.Lock()
        self._own(handle, Context.current())

    @classmethod
    def for_cast(cls, source: Any, target: Any, *, compile: bool = True) -> OpHandle:
        """The handle that casts a tensor described by `source` to one by `target` (aclopCreateHandleForCast)."""
        arguments = Arguments("Cast", [source], [target], None)
        wanted, given = arguments.outputs[0], arguments.inputs[0]
        out = ffi.new("aclopHandle **")
        compiled = Arguments("Cast", [given], [wanted], {"dst_type": wanted.acl_dtype})
        with_model(lambda: lib.aclopCreateHandleForCast(given.handle, wanted.handle, 0, out),
                   "aclopCreateHandleForCast", compiled.compile if compile else None)
        return cls._adopt(out[0], arguments)

    @classmethod
    def _adopt(cls, pointer: Any, arguments: Arguments) -> OpHandle:
        """A handle that another function created."""
        handle = cls.__new__(cls)
        handle._set(pointer, arguments)
        return handle

    def launch(self, inputs: Sequence[Any], outputs: Sequence[Any], stream: Optional[Stream] = None) -> None:
        """Queues the operator on `stream` and returns (aclopExecWithHandle); None is the context's default stream.

        Inputs and outputs are dense Tensors or DeviceBuffers, in the order of the descriptions; None for an optional
        input that is not used, and for a constant. They are kept until the stream is synchronised.

        Raises TypeError for host memory, TypeError or ValueError for a Tensor of another dtype or shape than its
        description has, AclError for a number of inputs (100021) or outputs (100022) other than the handle's, and
        RuntimeError when another thread's operators are still in flight on this stream: CANN does not allow two threads
        to launch operators on one stream, nor on the default stream.
        """
        if isinstance(inputs, Resource) or isinstance(outputs, Resource):
            raise TypeError("inputs and outputs are sequences, even of one tensor: [x]")
        flight = flight_on(stream, self)
        handle = self.handle
        with self._lock:
            first, second = self._buffers
            if len(inputs) == len(first) and len(outputs) == len(second):
                for buffers, given, expected, what in zip(self._buffers, (inputs, outputs), self._expected,
                                                          ("input", "output")):
                    for i, (buffer, memory, fitting) in enumerate(zip(buffers, given, expected)):
                        if memory is buffer._memory and type(memory) is Tensor:
                            memory.handle_check()
                        else:
                            buffer.update(_fitting(memory, *fitting, f"{what} {i} of {self.type}"))
                sources, targets = self._arrays
            else:  # the driver refuses that
                extra = [[DataBuffer(on_device(m, f"memory of {self.type}")) for m in group]
                         for group in (inputs, outputs)]
                sources, targets = (ffi.new("aclDataBuffer *[]", [b.handle for b in group]) for group in extra)
            with claim(flight):
                code = lib.aclopExecWithHandle(handle, len(inputs), sources, len(outputs), targets, flight.handle)
                if code:
                    self._again(code, "aclopExecWithHandle", handle, len(inputs), sources, len(outputs), targets,
                                flight.handle)
                flight.hold(self)
                for memory in (*inputs, *outputs):
                    if memory is not None:
                        flight.hold(memory)

    def execute(self, inputs: Sequence[Any], outputs: Sequence[Any], stream: Optional[Stream] = None) -> None:
        """Launches, and waits for the stream."""
        if stream is None:
            stream = Stream.default()
        self.launch(inputs, outputs, stream)
        stream.synchronize()

    def _release(self) -> None:
        lib.aclopDestroyHandle(self.handle)
        for group in self._buffers:
            for buffer in group:
                buffer.close()

    def _describe(self) -> str:
        return f"{self.type} {', '.join(str(d.shape) for d in self.inputs)} -> " \
               f"{', '.join(str(d.shape) for d in self.outputs)}"


def _fitting(memory: Any, acl_dtype: int, shape: Optional[tuple[int, ...]], what: str) -> Any:
    """Memory for a tensor. Refuses what C would take without looking: host memory, a tensor that is not as described,
    no memory for an output."""
    memory = on_device(memory, what)
    if memory is None and what.startswith("output") and acl_dtype != lib.ACL_DT_UNDEFINED:
        raise TypeError(f"{what} is None: every output needs memory")
    if acl_dtype == lib.ACL_DT_UNDEFINED or not isinstance(memory, Tensor):
        return memory
    if memory.acl_dtype != acl_dtype:
        raise TypeError(f"{what}: {memory!r} is given where the handle was made for {to_numpy(acl_dtype)}")
    if shape and memory.shape != shape:  # a scalar may be the first element of anything
        raise ValueError(f"{what}: {memory!r} is given where the handle was made for the shape {shape}")
    return memory


# Launching from threads

class _Use:
    """Which thread launches operators on a stream; `calling` while it does."""

    __slots__ = ("thread", "calling")

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.calling = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: Any) -> None:
        self.calling = False


_uses: dict[int, _Use] = {}  # by the stream's address
_uses_lock = threading.Lock()


def claim(flight: Flight) -> _Use:
    """``with``: a stream for a launch of this thread. Raises RuntimeError while another thread's operators use it."""
    me = threading.get_ident()
    with _uses_lock:
        use = _uses.get(flight.address)
        if use is None:
            use = _uses[flight.address] = _Use(me)
        elif use.thread != me:
            if use.calling or flight.busy:
                raise RuntimeError("two threads launch operators on one stream, or on the default stream, which CANN "
                                   "does not allow: give each a Stream of its own, or synchronise in between")
            use.thread = me
        use.calling = True
    return use
