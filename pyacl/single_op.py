"""Single operators by description: one call each, compiling, models from files, shape inference, casts."""

from __future__ import annotations

import os
from typing import Any, Iterable, Optional, Sequence, Union

import numpy as np

from . import errors
from .c_string import c_string
from .capi import MissingSymbolError, ffi, lib
from .compile_options import compile_options
from .context import flight_on
from .data_buffer import DataBuffer, on_device
from .op_handle import Arguments, Attributes, claim, with_model
from .resource import Resource
from .stream import Stream
from .tensor import Tensor
from .tensor_desc import TensorDesc

__all__ = ["cast", "compile_op", "compile_options", "infer_shape", "load", "op", "set_max_op_queue_num",
           "set_model_dir"]


def op(type: str, inputs: Sequence[Any], outputs: Sequence[Any], attrs: Attributes = None, *,
       input_descs: Optional[Sequence[Any]] = None, output_descs: Optional[Sequence[Any]] = None,
       stream: Optional[Stream] = None, compile: bool = True) -> tuple[Any, ...]:
    """Runs operator `type` of the graph engine once (aclopExecuteV2) and gives back its outputs.

    An input is a dense Tensor; a numpy array, for what the operator takes from host memory (a shape, axes), which is
    copied by the call; a TensorDesc with `const`; or None for an optional one that is not used. An output is a Tensor.
    `input_descs` and `output_descs` describe them where that does not follow, such as for a DeviceBuffer.

    The work is queued on `stream` (None: the context's default stream), and all is kept until that is synchronised.
    Where the output's shape follows from the data, as with NonZero, the outputs given are the largest possible; then
    the call waits, and gives back views of the real shape.

    Without a loaded or compiled model of the operator it is compiled first (aclopCompileAndExecuteV2), unless `compile`
    is False: then OperatorNotFoundError (100024) is raised. Raises RuntimeError as `OpHandle.launch` does when two
    threads use one stream.
    """
    arguments = Arguments(type, inputs if input_descs is None else input_descs,
                          outputs if output_descs is None else output_descs, attrs)
    if len(inputs) != len(arguments.inputs) or len(outputs) != len(arguments.outputs):
        raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs, but descriptions of "
                         f"{len(arguments.inputs)} and {len(arguments.outputs)}")
    sources, targets = (
        [DataBuffer(_placed(m, desc, f"{what} {i} of {type}")) for i, (m, desc) in enumerate(zip(given, descs))]
        for what, given, descs in (("input", inputs, arguments.inputs), ("output", outputs, arguments.outputs)))
    flight = flight_on(stream)
    call = (arguments.name, len(sources), arguments.input_array,
            ffi.new("aclDataBuffer *[]", [b.handle for b in sources]), len(targets), arguments.output_array,
            ffi.new("aclDataBuffer *[]", [b.handle for b in targets]), arguments.attr)
    before = [d.shape for d in arguments.outputs]
    with claim(flight):
        code = lib.aclopExecuteV2(*call, flight.handle)
        if code == lib.ACL_ERROR_OP_NOT_FOUND and compile:
            missing = errors.error(code, "aclopExecuteV2")
            try:
                code = lib.aclopCompileAndExecuteV2(*call, lib.ACL_ENGINE_SYS, lib.ACL_COMPILE_SYS, ffi.NULL,
                                                    flight.handle)
            except MissingSymbolError:  # an installation that only runs models
                raise missing from None
            errors.check(code, "aclopCompileAndExecuteV2")
        errors.check(code, "aclopExecuteV2")
        for item in (*sources, *targets, *inputs, *outputs, arguments):
            if item is not None:
                flight.hold(item)
    return tuple(_exact(m, old, d) for m, old, d in zip(outputs, before, arguments.outputs))


def _placed(memory: Any, desc: TensorDesc, what: str) -> Any:
    """Memory where its description says that it is. Refuses host memory that is not described as such."""
    if desc.placement == "device":
        return on_device(memory, what)
    return np.ascontiguousarray(memory) if isinstance(memory, np.ndarray) else memory


def _exact(memory: Any, before: Any, desc: TensorDesc) -> Any:
    """An output with the shape that the call wrote into its description."""
    shape = desc.shape
    if shape is None or shape == before or not isinstance(memory, Tensor):
        return memory
    return Tensor(memory.buffer, shape, memory.dtype, offset=memory.offset, format=memory.format)


def compile_op(type: str, inputs: Iterable[Any], outputs: Iterable[Any], attrs: Attributes = None) -> None:
    """Compiles an operator for descriptions, which may have unknown sizes with a `shape_range` (aclopCompile).

    It is there for `OpHandle` and `op` until the process ends, or until too many others were compiled
    (`set_max_op_queue_num`).
    """
    Arguments(type, inputs, outputs, attrs).compile()


def infer_shape(type: str, inputs: Sequence[Any], outputs: int, attrs: Attributes = None, *,
                input_descs: Optional[Sequence[TensorDesc]] = None,
                output_descs: Optional[Sequence[TensorDesc]] = None) -> tuple[TensorDesc, ...]:
    """Descriptions of an operator's `outputs` for inputs in host memory (aclopInferShape).

    `inputs` are numpy arrays, None for an optional one that is not used. A size that follows from the data is -1 with a
    `shape_range`. For operators with any number of inputs or outputs give descriptions with names: "x0", "x1", "y".
    """
    if any(isinstance(i, Resource) for i in inputs):
        raise TypeError("shapes are inferred from host memory: give numpy arrays")
    arrays = [None if i is None else np.ascontiguousarray(i) for i in inputs]
    results: Sequence[Any] = [TensorDesc((), np.float32) for _ in range(outputs)] if output_descs is None \
        else output_descs
    arguments = Arguments(type, arrays if input_descs is None else input_descs, results, attrs)
    sources = [DataBuffer(a) for a in arrays]
    code = lib.aclopInferShape(arguments.name, len(sources), arguments.input_array,
                               ffi.new("aclDataBuffer *[]", [b.handle for b in sources]), len(arguments.outputs),
                               arguments.output_array, arguments.attr)
    errors.check(code, "aclopInferShape")
    return tuple(arguments.outputs)


def cast(source: Tensor, target: Tensor, *, stream: Optional[Stream] = None, compile: bool = True) -> None:
    """Queues the cast of a dense tensor to the dtype of another of its shape (aclopCast); ValueError for another."""
    for tensor in (source, target):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"a cast is from a Tensor to a Tensor, not {tensor!r}")
    if source.shape != target.shape:
        raise ValueError(f"a tensor of shape {source.shape} cannot be cast into one of {target.shape}")
    described = Arguments("Cast", [source], [target], {"dst_type": target.acl_dtype})
    data, room = DataBuffer(source), DataBuffer(target)
    flight = flight_on(stream)
    call = (described.inputs[0].handle, data.handle, described.outputs[0].handle, room.handle, 0, flight.handle)
    with claim(flight):
        with_model(lambda: lib.aclopCast(*call), "aclopCast", described.compile if compile else None)
        for item in (source, target, data, room, described):
            flight.hold(item)


# Models from files

_loaded: list[Any] = []  # what aclopLoad was given: it stays in use for the life of the process


def set_model_dir(path: Union[str, os.PathLike[str]]) -> None:
    """Loads the single-operator models (.om) of a folder and the two levels below it (aclopSetModelDir).

    Once in a process: a second time raises StateError (100002). A folder that is not there raises
    AclFileNotFoundError (100014).
    """
    errors.check(lib.aclopSetModelDir(c_string(path, "a model folder")), "aclopSetModelDir")


def load(model: Union[bytes, bytearray, memoryview, str, os.PathLike[str]]) -> None:
    """Loads one single-operator model from a file or from its bytes (aclopLoad); any number of times."""
    if isinstance(model, (str, os.PathLike)):
        with open(model, "rb") as file:
            model = file.read()
    kept = ffi.from_buffer(bytes(memoryview(model)))
    errors.check(lib.aclopLoad(kept, len(kept)), "aclopLoad")
    _loaded.append(kept)


def set_max_op_queue_num(count: int) -> None:
    """How many compiled operators are kept, 20000 by default; the oldest go first (aclopSetMaxOpQueueNum)."""
    errors.check(lib.aclopSetMaxOpQueueNum(count), "aclopSetMaxOpQueueNum")
