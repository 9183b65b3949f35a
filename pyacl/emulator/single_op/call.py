"""A call of an operator by its GE type: what the C arguments describe, compiling it, matching it, running it."""

from __future__ import annotations

import weakref
from _thread import get_ident
from typing import Any

from ...capi import ffi, lib
from .. import handles
from ..api.arguments import invalid, text
from ..api.data_buffer import DataBuffer
from ..api.tensor_desc import TensorDesc
from ..failure import Failure
from ..machine import memory
from ..machine import stream as streams
from ..machine.stream import Stream
from . import bind
from .attr import Attr, attributes
from .model import OpModel, registry, signature

_HOST = (lib.ACL_MEMTYPE_HOST, lib.ACL_MEMTYPE_HOST_COMPILE_INDEPENDENT)


def _array(count: int, array: Any, kind: Any, what: str) -> list[Any]:
    if count < 0:
        raise invalid(f"the number of {what}s is {count}")
    if count and not array:
        raise invalid(f"the array of {what}s is NULL")
    return [handles.get(array[i], kind, f"{what} {i}") for i in range(count)]


def buffers(count: int, array: Any, what: str) -> list[DataBuffer]:
    """The data buffers of an array; Failure for NULL, and for no data with a size."""
    found = _array(count, array, DataBuffer, what)
    for i, buffer in enumerate(found):
        if buffer.size and not buffer.address:
            raise invalid(f"{what} {i}: data is NULL, but size is {buffer.size}")
    return found


# Which thread used a stream for operators by name or handle; another may only when the stream has nothing left to do.
_users: weakref.WeakKeyDictionary[Stream, int] = weakref.WeakKeyDictionary()


def claim(pointer: Any) -> Stream:
    """The stream to launch on. Fails with ACL_ERROR_RESOURCE_NOT_MATCH while another thread's operators are queued."""
    stream = streams.resolve(pointer)
    me = get_ident()
    user = _users.get(stream)
    if user != me:
        if user is not None and stream.queue:
            which = "the default stream" if stream.default else repr(stream)
            raise Failure(lib.ACL_ERROR_RESOURCE_NOT_MATCH, f"two threads launch operators on {which}: give each a "
                                                            "stream of its own, or synchronise it in between")
        _users[stream] = me
    return stream


class Call:
    """The arguments of one call."""

    def __init__(self, type: str, inputs: list[TensorDesc], outputs: list[TensorDesc], attrs: dict[str, Attr]) -> None:
        self.type = type
        self.inputs = inputs
        self.outputs = outputs
        self.attrs = attrs
        self.sources: list[DataBuffer] = []
        self.targets: list[DataBuffer] = []

    def take_buffers(self, inputs: Any, outputs: Any) -> None:
        """The tensors' data, one buffer for each description."""
        self.sources = buffers(len(self.inputs), inputs, "input")
        self.targets = buffers(len(self.outputs), outputs, "output")
        for i, desc in enumerate(self.outputs):
            if desc.placement in _HOST:
                raise Failure(lib.ACL_ERROR_API_NOT_SUPPORT, f"output {i} is placed on the host: outputs are device "
                                                             "memory")

    def all_outputs_empty(self) -> bool:
        """Whether there is nothing to do: every output has a dimension of 0."""
        return bool(self.outputs) and all(0 in desc.shape for desc in self.outputs)

    def refuse_host_placement(self, function: str) -> None:
        for what, descs in (("input", self.inputs), ("output", self.outputs)):
            for i, desc in enumerate(descs):
                if desc.placement in _HOST and desc.const is None:
                    raise Failure(lib.ACL_ERROR_API_NOT_SUPPORT, f"{function}: {what} {i} is placed on the host; set "
                                                                 "its data with aclSetTensorConst instead")

    def model(self, source: str, constants: bool) -> OpModel:
        """The call as a model; with `constants`, inputs in host memory count as constants."""
        inputs = []
        for i, desc in enumerate(self.inputs):
            host = constants and desc.const is None and desc.placement == lib.ACL_MEMTYPE_HOST and self.sources
            inputs.append(signature(desc, self.host_bytes(i) if host else None))
        return OpModel(self.type, inputs, map(signature, self.outputs), self.attrs, source)

    def host_bytes(self, i: int) -> bytes:
        buffer = self.sources[i]
        if not buffer.address:
            return b""
        region = memory.find(buffer.address)
        if region is not None and region.kind == "device":
            raise invalid(f"input {i} is placed on the host, but lies in device memory")
        return bytes(ffi.buffer(ffi.cast("char *", buffer.address), buffer.size))

    def compile(self) -> None:
        """Adds a model of this call, checked as far as shapes are known."""
        for what, descs in (("input", self.inputs), ("output", self.outputs)):
            for i, desc in enumerate(descs):
                if -1 in desc.shape and len(desc.shape_range) != len(desc.shape):
                    raise invalid(f"{what} {i} has the shape {list(desc.shape)} and ranges of {len(desc.shape_range)} "
                                  "dimensions: call aclSetTensorShapeRange")
        made = self.model("the model compiled in this process", constants=True)
        bind.check(made)
        if all(made.difference(m) or m.dynamic != made.dynamic for m in registry.models(self.type)):
            registry.add_compiled(made)

    def match(self) -> OpModel:
        """The model this call means."""
        try:
            return registry.match(self.model("this call", constants=True))
        except Failure:
            if not any(desc.placement in _HOST for desc in self.inputs):
                raise
        return registry.match(self.model("this call", constants=False))

    def execute(self, pointer: Any, writes_shape: bool) -> None:
        """Queues the operator; where its output shapes follow from data, waits, writes them to the descriptions."""
        for what, descs in (("input", self.inputs), ("output", self.outputs)):
            for i, desc in enumerate(descs):
                if desc.dynamic:
                    raise invalid(f"{what} {i} has the shape {list(desc.shape)}: shapes must be known "
                                  "when an operator is executed")
        stream = claim(pointer)
        found = self.match()
        bound = bind.Bound(found, self.model(found.source, constants=False))
        host = {i: self.host_bytes(i) for i, desc in enumerate(self.inputs)
                if desc.placement in _HOST and desc.const is None}
        waits = bound.dynamic and writes_shape
        if waits and stream.capture is not None:
            stream.refuse_synchronisation()
        task = bound.task(self.sources, self.targets, host, stream.device)
        stream.submit(task, f"operator {self.type}")
        if waits:
            stream.drain(what=f"operator {self.type}, whose output shape follows from its data,")
            for desc, shape in zip(self.outputs, bound.shapes()):
                desc.shape = shape


def describe(type: Any, input_count: int, inputs: Any, output_count: int, outputs: Any, attr: Any) -> Call:
    """A call from its C arguments."""
    name = text(type, "opType")
    return Call(name, _array(input_count, inputs, TensorDesc, "input description"),
                _array(output_count, outputs, TensorDesc, "output description"), attributes(attr))


class Handle:
    """What an ``aclopHandle *`` stands for: an operator whose model is resolved."""

    def __init__(self, call: Call) -> None:
        for what, descs in (("input", call.inputs), ("output", call.outputs)):
            for i, desc in enumerate(descs):
                if desc.dynamic:
                    raise Failure(lib.ACL_ERROR_OP_UNSUPPORTED_DYNAMIC, f"{what} {i} of {call.type} has the shape "
                                  f"{list(desc.shape)}: a handle takes static shapes only; use aclopExecuteV2")
        model = call.match()
        if model.dynamic:
            raise Failure(lib.ACL_ERROR_OP_UNSUPPORTED_DYNAMIC, f"{model.source} of {call.type} has dynamic shapes: a "
                                                                "handle takes static shapes only; use aclopExecuteV2")
        self.type = call.type
        self.name = f"operator {call.type}"
        self.bound = bind.Bound(model, model)
        if self.bound.dynamic:
            raise Failure(lib.ACL_ERROR_OP_UNSUPPORTED_DYNAMIC, f"the output shape of {call.type} follows from its "
                          "data: a handle takes static shapes only; use aclopExecuteV2")

    def execute(self, input_count: int, inputs: Any, output_count: int, outputs: Any, pointer: Any) -> None:
        """Queues the operator on these buffers."""
        sources = _array(input_count, inputs, DataBuffer, "input")
        targets = _array(output_count, outputs, DataBuffer, "output")
        if targets and not any(t.size for t in targets):
            return
        if input_count != len(self.bound.inputs):
            raise Failure(lib.ACL_ERROR_OP_INPUT_NOT_MATCH, f"{input_count} inputs, but the handle of {self.type} was "
                                                            f"created with {len(self.bound.inputs)}")
        if output_count != len(self.bound.outputs):
            raise Failure(lib.ACL_ERROR_OP_OUTPUT_NOT_MATCH, f"{output_count} outputs, but the handle of {self.type} "
                                                             f"was created with {len(self.bound.outputs)}")
        stream = claim(pointer)
        stream.submit(self.bound.task(sources, targets, {}, stream.device), self.name)
