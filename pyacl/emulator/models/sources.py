"""Where the emulator finds something that computes what a model file describes.

In this order: a Python function registered under the file's name, an ONNX file paired with it, the ONNX graph that the
emulator's compiler put into the file, an ONNX file of its name in the folders of ``PYACL_EMULATOR_MODELS`` (separated
as in PATH; ``name=file.onnx`` names one model), or beside it.
"""

from __future__ import annotations

import hashlib
import inspect
import os
from dataclasses import dataclass
from typing import Any, Callable, Optional, Protocol, Sequence, Union

import numpy as np

from ...capi import lib
from ..failure import Failure
from . import container, describe, modeldef, onnx_graph, session
from .describe import AIPP_INPUT, GEAR_INPUT, ModelInfo, TensorInfo
from .session import Run, Slot


class Runner(Protocol):
    """Prepares computing a model on given memory."""

    def prepare(self, inputs: Sequence[Slot], outputs: Sequence[Slot]) -> Run: ...


# Model attribute with the digest of the graph that the emulator's compiler put into the file.
GRAPH_DIGEST = "_pyacl_graph_digest"


def digest(data: Any) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


# Pairs of real models and their sources.

_pairs: dict[bytes, str] = {}


def pair_model(om: Union[str, os.PathLike[str], bytes], onnx: Union[str, os.PathLike[str]]) -> None:
    """Lets the emulator run a real ``.om`` through the ONNX file that it was compiled from.

    `om` is a path or the file's bytes. Raises ValueError where inputs or outputs of the two do not agree.
    """
    data = om if isinstance(om, bytes) else container.read(om)
    try:
        _through_onnx(describe.describe(data), os.fspath(onnx))
    except Failure as failure:
        raise ValueError(failure.text) from None
    _pairs[digest(data)] = os.fspath(onnx)


def find(info: ModelInfo, data: Any, path: Optional[str]) -> Runner:
    """The runner for a described model; one that explains itself where there is none."""
    registered = function_for(path)
    if registered is not None:
        registered.check(info)
        return registered
    if _pairs:
        paired = _pairs.get(digest(data))
        if paired is not None:
            return _through_onnx(info, paired)
    graph = info.container.find(container.ONNX_GRAPH)
    if graph is not None:
        if info.definition.attributes.get(GRAPH_DIGEST) != digest(graph).hex():
            raise Failure(lib.ACL_ERROR_GE_FAILURE, f"the graph of {info.name} is damaged: compile the model again")
        weights = info.container.find(container.WEIGHTS_DATA)
        return session.OnnxRunner(session.open_model(graph, b"" if weights is None else weights))
    source = _on_disk(info, path)
    return _through_onnx(info, source) if source else Unrunnable(info, path)


def _on_disk(info: ModelInfo, path: Optional[str]) -> Optional[str]:
    stem = os.path.splitext(os.path.basename(path))[0] if path else info.name
    names = list(dict.fromkeys((stem, info.name)))
    for entry in filter(None, os.environ.get("PYACL_EMULATOR_MODELS", "").split(os.pathsep)):
        name, equals, file = entry.partition("=")
        if equals:
            if os.path.splitext(name)[0] in names:
                return file
            continue
        for candidate in names:
            file = os.path.join(entry, f"{candidate}.onnx")
            if os.path.exists(file):
                return file
    if path:
        file = f"{os.path.splitext(path)[0]}.onnx"
        if os.path.exists(file):
            return file
    return None


class Unrunnable:
    """Stands for a model that can only be described."""

    def __init__(self, info: ModelInfo, path: Optional[str]) -> None:
        self._name = path or info.name
        self._info = info

    def prepare(self, inputs: Sequence[Slot], outputs: Sequence[Slot]) -> Run:
        command = self._info.definition.attributes.get("atc_cmdline") or ""
        source = next((part.partition("=")[2] for part in str(command).split() if part.startswith("--model=")), "")
        raise Failure(lib.ACL_ERROR_API_NOT_SUPPORT,
                      f"{self._name} was compiled for an NPU, and the emulator cannot run its kernels. Put the ONNX "
                      f"file it was compiled from{f' ({source})' if source else ''} beside it under the same name, "
                      "name its folder in PYACL_EMULATOR_MODELS, or call pyacl.emulator.pair_model(om, onnx)")


def _through_onnx(info: ModelInfo, path: str) -> Runner:
    """A real model run by its source, after checking that the two agree."""
    proto = onnx_graph.load(path)
    values = onnx_graph.real_inputs(proto.graph)
    wanted = [t for t in info.inputs if t.name not in (GEAR_INPUT, AIPP_INPUT)]

    def differ(what: str) -> Failure:
        return Failure(lib.ACL_ERROR_GE_PARAM_INVALID, f"{path} is not the source of {info.name}: {what}")

    if len(values) != len(wanted):
        raise differ(f"it has {len(values)} inputs, the .om {len(wanted)}")
    by_name = {v.name: v for v in values}
    ordered = [by_name[t.name] for t in wanted] if all(t.name in by_name for t in wanted) else list(values)
    for value, tensor in zip(ordered, wanted):
        _agree(tensor.name, onnx_graph.shape_of(value), onnx_graph.dtype_of(value), tensor, differ)
    fixed = onnx_graph.with_shapes(proto, {v.name: t.shape for v, t in zip(ordered, wanted)})
    if len(fixed.graph.output) != len(info.outputs):
        raise differ(f"it has {len(fixed.graph.output)} outputs, the .om {len(info.outputs)}")
    for value, tensor in zip(fixed.graph.output, info.outputs):
        _agree(tensor.name, onnx_graph.shape_of(value), onnx_graph.dtype_of(value), tensor, differ)
    graph, weights = onnx_graph.split(fixed)
    runner = session.OnnxRunner(session.open_model(graph, weights))
    order = [next(i for i, (name, _) in enumerate(runner.inputs) if name == v.name) for v in ordered]
    return runner if order == sorted(order) else _Reordered(runner, order)


def _agree(name: str, shape: Optional[tuple[int, ...]], dtype: int, tensor: TensorInfo,
           differ: Callable[[str], Failure]) -> None:
    if dtype != tensor.dtype:
        raise differ(f"{name} has data type {dtype} (aclDataType) there, {tensor.dtype} in the .om")
    if shape is not None and (len(shape) != len(tensor.shape) or any(
            a >= 0 and b >= 0 and a != b for a, b in zip(shape, tensor.shape))):
        raise differ(f"{name} is {list(shape)} there, {list(tensor.shape)} in the .om")


class _Reordered:
    """A runner whose inputs come in another order."""

    def __init__(self, runner: Runner, order: list[int]) -> None:
        self._runner = runner
        self._order = order

    def prepare(self, inputs: Sequence[Slot], outputs: Sequence[Slot]) -> Run:
        placed: list[Slot] = list(inputs)
        for slot, position in zip(inputs, self._order):
            placed[position] = slot
        return self._runner.prepare(placed, outputs)


# Python functions as models.

Described = Union[dict[str, tuple[Sequence[int], Any]], Sequence[tuple[str, Sequence[int], Any]]]


@dataclass
class FunctionModel:
    """A Python function that stands for a model file."""

    name: str
    function: Callable[..., Any]
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]

    def file(self) -> bytes:
        """The .om that describes it, for when there is no file of that name."""
        operators = [modeldef.encode_operator(t.name, "Data", [], attributes={"index": i}, output_tensors=(
            modeldef.encode_tensor(t.dtype, t.shape, "ND", t.nbytes),)) for i, t in enumerate(self.inputs)]
        operators.append(modeldef.encode_operator("Node_Output", "NetOutput", [], input_tensors=tuple(
            modeldef.encode_tensor(t.dtype, t.shape, "ND", t.nbytes) for t in self.outputs)))
        definition = modeldef.encode_model(self.name, operators, [t.name for t in self.inputs],
                                           {"attr_model_out_nodes_name": [t.name for t in self.outputs]})
        records = describe.encode_records(self.inputs, self.outputs, describe.Gears())
        return b"".join(container.build(self.name, [(container.INOUT_INFO, records),
                                                    (container.MODEL_DEF, definition)]))

    def check(self, info: ModelInfo) -> None:
        """Fails where the file of that name describes something else."""
        for what, mine, theirs in (("inputs", self.inputs, info.inputs), ("outputs", self.outputs, info.outputs)):
            if [(t.shape, t.dtype) for t in mine] != [(t.shape, t.dtype) for t in theirs]:
                raise Failure(lib.ACL_ERROR_GE_PARAM_INVALID, f"the Python function registered for {self.name} has "
                              f"other {what} than the file: {_signature(mine)} against {_signature(theirs)}")

    def prepare(self, inputs: Sequence[Slot], outputs: Sequence[Slot]) -> Run:
        return lambda: self._run(inputs, outputs)

    def _run(self, inputs: Sequence[Slot], outputs: Sequence[Slot]) -> list[Optional[np.ndarray]]:
        arrays = [_numpy(slot, info.dtype) for slot, info in zip(inputs, self.inputs)]
        for array in arrays:
            array.flags.writeable = False
        results = self.function(*arrays)
        results = results if isinstance(results, (tuple, list)) else (results,)
        if len(results) != len(self.outputs):
            raise Failure(lib.ACL_ERROR_GE_INTERNAL_ERROR, f"the Python function for {self.name} returned "
                          f"{len(results)} arrays instead of {len(self.outputs)}")
        returned: list[Optional[np.ndarray]] = []
        for result, slot, info in zip(results, outputs, self.outputs):
            array = np.asarray(result, dtype_to_numpy(info.dtype))
            if slot.address and slot.shape is not None:
                if array.shape != slot.shape:
                    raise Failure(lib.ACL_ERROR_GE_INTERNAL_ERROR, f"the Python function for {self.name} returned "
                                  f"{list(array.shape)} for {info.name}, which is {list(slot.shape)}")
                _numpy(slot, info.dtype)[...] = array
                returned.append(None)
            else:
                returned.append(np.ascontiguousarray(array))
        return returned


def _signature(tensors: list[TensorInfo]) -> str:
    return ", ".join(f"{t.name} {list(t.shape)} of type {t.dtype}" for t in tensors)


def dtype_to_numpy(dtype: int) -> np.dtype[Any]:
    """The numpy type of an ACL data type, as onnx and ml_dtypes have it."""
    number = onnx_graph.ONNX_OF_ACL.get(dtype)
    if number == 16:
        import ml_dtypes

        kind: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return kind
    if number is None or number in (8, 17, 19):
        raise Failure(lib.ACL_ERROR_GE_DATATYPE_INVALID, f"aclDataType {dtype} has no numpy type here")
    return np.dtype(_NUMPY[number])


_NUMPY = {1: "f4", 2: "u1", 3: "i1", 4: "u2", 5: "i2", 6: "i4", 7: "i8", 9: "?", 10: "f2", 11: "f8", 12: "u4",
          13: "u8", 14: "c8", 15: "c16"}


def _numpy(slot: Slot, dtype: int) -> np.ndarray:
    from ..machine import memory

    kind, shape = dtype_to_numpy(dtype), slot.shape or ()
    return memory.view(slot.address, describe.nbytes(shape, dtype)).view(kind).reshape(shape)


_functions: dict[str, FunctionModel] = {}


def model(path: Union[str, os.PathLike[str]], *, inputs: Optional[Described] = None,
          outputs: Optional[Described] = None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a Python function as the model that programs load under `path`.

    The function gets the inputs as numpy arrays and returns the outputs. `inputs` and `outputs` are
    ``{name: (shape, dtype)}`` or ``[(name, shape, dtype), ...]``; they may be left out where the file exists and says
    so itself. A bare file name stands for that name in any folder.
    """
    name = os.fspath(path)

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        ins, outs = inputs, outputs
        if ins is None or outs is None:
            try:
                info = describe.describe_file(name)
            except Failure as failure:
                raise ValueError(f"give inputs and outputs of {name}, or a file that describes them "
                                 f"({failure.text})") from None
            tensors = (info.inputs, info.outputs)
        else:
            tensors = (_tensors(ins), _tensors(outs))
        if inspect.iscoroutinefunction(function):
            raise TypeError("a model is a plain function, not a coroutine")
        _functions[name] = FunctionModel(name, function, *tensors)
        return function

    return register


def _tensors(described: Described) -> list[TensorInfo]:
    rows = [(n, *sd) for n, sd in described.items()] if isinstance(described, dict) else list(described)
    found = []
    for name, shape, dtype in rows:
        kind = np.dtype(dtype)
        acl = next((a for a in onnx_graph.ONNX_OF_ACL if a not in (lib.ACL_STRING, lib.ACL_FLOAT8_E4M3FN,
                                                                   lib.ACL_FLOAT8_E5M2)
                    and dtype_to_numpy(a) == kind), None)
        if acl is None:
            raise ValueError(f"{name}: a model cannot have tensors of {kind}")
        dims = tuple(int(d) for d in shape)
        found.append(TensorInfo(str(name), dims, acl, lib.ACL_FORMAT_ND, describe.nbytes(dims, acl), dims))
    return found


def function_for(path: Optional[str]) -> Optional[FunctionModel]:
    """The function registered for a path: under the path itself, or under its file name."""
    if path is None or not _functions:
        return None
    return _functions.get(path) or _functions.get(os.path.basename(path))
