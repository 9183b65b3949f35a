"""What an .om says about itself: inputs, outputs, gears, versions, memory.

Newer files carry that in a partition of their own (INOUT_INFO, a row of type-length-value records); in older ones it
is gathered from the model definition.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Optional, Union

from ...capi import lib
from ..api.tensor_desc import TensorDesc
from ..failure import Failure
from . import container, modeldef, wire
from .container import Container
from .modeldef import ModelDef, Operator

GEAR_INPUT: str = lib.ACL_DYNAMIC_TENSOR_NAME
AIPP_INPUT: str = lib.ACL_DYNAMIC_AIPP_NAME

# Record types of INOUT_INFO.
_INPUTS, _OUTPUTS, _BATCH, _HW, _DIMS, _OUTPUT_SHAPES, _ORDER = range(7)
# The graph engine's numbers for the ways a model can be dynamic (mbatch_dynamic_type).
FIXED, DYNAMIC_BATCH, DYNAMIC_HW, DYNAMIC_DIMS = range(4)


@dataclass
class TensorInfo:
    """An input or output of a model. `dtype` and `format` are ACL's numbers; -1 in `shape` is a dimension that varies;
    `nbytes` is of the largest gear, 0 where a dimension has no bound."""

    name: str
    shape: tuple[int, ...]
    dtype: int
    format: int
    nbytes: int
    shape_v2: tuple[int, ...] = ()  # with static AIPP: the shape of the picture, in bytes
    shape_range: tuple[tuple[int, int], ...] = ()


@dataclass
class Gears:
    """The sizes that a model was compiled for; at most one list is filled."""

    batch: list[int] = field(default_factory=list)
    hw: list[tuple[int, int]] = field(default_factory=list)
    dims: list[tuple[int, ...]] = field(default_factory=list)  # of the inputs' varying dimensions only, in `order`
    order: list[str] = field(default_factory=list)
    outputs: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)  # gear, output, shape

    @property
    def kind(self) -> int:
        return DYNAMIC_BATCH if self.batch else DYNAMIC_HW if self.hw else DYNAMIC_DIMS if self.dims else FIXED

    @property
    def values(self) -> list[tuple[int, ...]]:
        """Every gear as the numbers that the shape input carries for it."""
        return [(b,) for b in self.batch] or [tuple(g) for g in self.hw] or self.dims


@dataclass
class Kernel:
    name: str
    nbytes: int


@dataclass
class ModelInfo:
    """A model's description."""

    container: Container = field(repr=False)
    definition: ModelDef = field(repr=False)
    name: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    gears: Gears
    work_bytes: int
    weight_bytes: int
    soc: str
    aipp: dict[str, dict[str, Any]] = field(default_factory=dict)  # by input, what the compiler was told

    @cached_property
    def unbounded(self) -> bool:
        """Whether the shapes are known at run time only."""
        return any(d < 0 for t in self.inputs for d in t.shape) and self.gears.kind == FIXED

    @cached_property
    def dynamic(self) -> bool:
        return self.gears.kind != FIXED or any(d < 0 for t in self.inputs + self.outputs for d in t.shape)

    def operators(self) -> Counter[str]:
        return Counter(op.type for op in self.definition.operators)

    def kernels(self) -> list[Kernel]:
        """The AI Core kernels in the file."""
        data = self.container.find(container.TBE_KERNELS)
        found: list[Kernel] = []
        position = 0
        while data is not None and position + 12 <= len(data):
            magic, name, size = struct.unpack_from("<III", data, position)
            if magic != 0x5D776EFD or name + size > len(data) - position - 12:
                break
            found.append(Kernel(bytes(data[position + 12:position + 12 + name]).decode("utf-8", "replace"), size))
            position += 12 + name + size
        return found


@lru_cache(maxsize=4096)
def nbytes(shape: tuple[int, ...], dtype: int) -> int:
    """The bytes of a tensor; 0 if a dimension is unknown."""
    return 0 if any(d < 0 for d in shape) else TensorDesc(dtype, shape, lib.ACL_FORMAT_ND).nbytes


def describe(data: Any) -> ModelInfo:
    """Describes a model file's bytes. Fails as `container.parse` does, and with 500002 where the definition cannot be
    decoded."""
    return of_container(container.parse(data))


def describe_file(path: Union[str, os.PathLike[str]]) -> ModelInfo:
    return describe(container.read(path))


def of_container(parsed: Container) -> ModelInfo:
    raw = parsed.find(container.MODEL_DEF)
    if raw is None:
        what = "it is a bundle; load it with aclmdlBundleLoadFromFile" if parsed.models() else "it is incomplete"
        raise Failure(lib.ACL_ERROR_GE_FAILURE, f"the .om has no model definition: {what}")
    try:
        return _describe(parsed, modeldef.parse(raw))
    except (struct.error, OverflowError) as error:
        raise wire.WireError(str(error)) from None


def _describe(parsed: Container, definition: ModelDef) -> ModelInfo:
    attributes = definition.attributes
    data_ops, net_output, case = _ends(definition)
    info = parsed.find(container.INOUT_INFO)
    inputs, outputs, gears = _records(info) if info is not None else ([], [], Gears())
    if not inputs and not outputs:
        inputs = _inputs(data_ops)
        outputs = _outputs(net_output, attributes.strings("attr_model_out_nodes_name"))
        gears = _gears(case)
    weights = parsed.find(container.WEIGHTS_DATA)
    model = ModelInfo(parsed, definition, definition.name or parsed.name, inputs, outputs, gears,
                      max(attributes.integer("memory_size"), 0),
                      max(attributes.integer("weight_size"), 0) or (len(weights) if weights is not None else 0),
                      str(attributes.get("soc_version") or ""))
    for op in data_ops:
        mode = op.detail()[0].get("_pyacl_aipp")
        if isinstance(mode, str):
            import json

            try:
                model.aipp[op.name] = json.loads(mode)
            except ValueError as error:
                raise wire.WireError(f"the AIPP settings of {op.name} are no JSON: {error}") from None
    _check(model)
    return model


def _check(model: ModelInfo) -> None:
    """That C can tell of it, and that every gear has a number for each dimension that varies."""
    tensors, gears = model.inputs + model.outputs, model.gears
    if any(not 0 <= n < 1 << 63 for n in (*(t.nbytes for t in tensors), *(n for gear in gears.values for n in gear))):
        raise wire.WireError("a tensor or a gear is larger than any memory")
    varying = [sum(d < 0 for d in t.shape) for t in model.inputs]
    if any(len(g) != sum(varying) for g in gears.dims) or gears.hw and max(varying, default=0) > 2:
        raise wire.WireError("its gears do not have a size for each dimension that varies")
    limit = int(lib.ACL_MAX_DIM_CNT)
    counts = [len(gears.batch), len(gears.hw), *(max(len(t.shape), len(t.shape_range)) for t in tensors)]
    if gears.dims:  # they are told as all inputs' dimensions in one row
        counts.append(sum(len(t.shape) for t in model.inputs))
    if max(counts) > limit:
        raise wire.WireError(f"a tensor has more than {limit} dimensions, or the model more gears")


def _ends(definition: ModelDef) -> tuple[list[Operator], Optional[Operator], Optional[Operator]]:
    """The Data operators in order, the NetOutput, and the Case that chooses a gear."""
    data: list[tuple[int, Operator]] = []
    output = case = None
    for op in definition.operators:
        if op.type == "Data":
            data.append((op.detail()[0].integer("index", len(data)), op))
        elif op.type == "NetOutput":
            output = op
        elif op.type in ("Case", "SwitchN") and case is None and "_batch_num" in op.detail()[0]:
            case = op
    return [op for _, op in sorted(data, key=lambda pair: pair[0])], output, case


def _inputs(data: list[Operator]) -> list[TensorInfo]:
    found = []
    for op in data:
        attributes, inputs, outputs = op.detail()
        tensors = outputs or inputs
        if not tensors:
            raise wire.WireError(f"input {op.name} has no tensor")
        tensor = tensors[0]
        # A model of gears keeps the shape with its varying dimensions apart from that of the largest gear.
        shape = tuple(attributes.integers("_mbatch_origin_input_dims")) or tensor.shape
        found.append(TensorInfo(op.name, shape, tensor.dtype, modeldef.format_code(tensor.layout),
                                nbytes(tensor.shape, tensor.dtype), shape,
                                _ranges(tensor.attributes.get("shape_range"))))
    return found


def _outputs(op: Optional[Operator], names: list[str]) -> list[TensorInfo]:
    if op is None:
        return []
    tensors = op.detail()[1]
    sources = op.sources()
    found = []
    for i, tensor in enumerate(tensors):
        name = names[i] if i < len(names) else f"{sources[i]}:0" if i < len(sources) else f"output_{i}"
        found.append(TensorInfo(name, tensor.shape, tensor.dtype, modeldef.format_code(tensor.layout),
                                nbytes(tensor.shape, tensor.dtype), tensor.shape))
    return found


def _ranges(value: Any) -> tuple[tuple[int, int], ...]:
    """The shape_range attribute: list_list_int { list_i { packed } }."""
    if not isinstance(value, bytes) or not value:
        return ()
    found = []
    for number, content in wire.fields(memoryview(value)):
        if number == 1:
            pair = [v for n, c in wire.fields(wire.view(content)) if n == 1 for v in wire.integers(c)]
            if len(pair) == 2:
                found.append((pair[0], pair[1]))
    return tuple(found)


def _gears(case: Optional[Operator]) -> Gears:
    gears = Gears()
    if case is None:
        return gears
    attributes = case.detail()[0]
    gears.order = attributes.strings("user_designate_shape_order")
    kind = attributes.integer("mbatch_dynamic_type")
    for i in range(min(max(attributes.integer("_batch_num"), 0), 1024)):
        sizes = tuple(attributes.integers(f"_pred_value_{i}"))
        if kind == DYNAMIC_BATCH and len(sizes) >= 1:
            gears.batch.append(sizes[0])
        elif kind == DYNAMIC_HW and len(sizes) >= 2:
            gears.hw.append((sizes[0], sizes[1]))
        elif kind == DYNAMIC_DIMS:
            gears.dims.append(sizes)
    return gears


# INOUT_INFO

_TENSOR = struct.Struct("<QiiIIII")  # size, format, data type, then the lengths of name, dims, dimsV2, ranges


def _records(data: memoryview) -> tuple[list[TensorInfo], list[TensorInfo], Gears]:
    inputs: list[TensorInfo] = []
    outputs: list[TensorInfo] = []
    gears = Gears()
    position = 0
    while position + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, position)
        position += 8
        if size > len(data) - position:
            raise wire.WireError(f"record {kind} of INOUT_INFO goes past its end")
        record = data[position:position + size]
        position += size
        if kind in (_INPUTS, _OUTPUTS):
            (inputs if kind == _INPUTS else outputs).extend(_tensors(record))
        elif kind == _BATCH:
            (count,) = struct.unpack_from("<I", record)
            gears.batch = [n for (n,) in struct.iter_unpack("<Q", _exactly(record[4:], count * 8))]
        elif kind == _HW:
            gears.hw = [(g[0], g[1]) for g in _number_lists(record) if len(g) == 2]
        elif kind == _DIMS:
            gears.dims = _number_lists(record)
        elif kind == _OUTPUT_SHAPES:
            gears.outputs = [shape for text in _strings(record) if (shape := _output_shape(text))]
        elif kind == _ORDER:
            gears.order = _strings(record)
    return inputs, outputs, gears


def _exactly(data: memoryview, size: int) -> memoryview:
    if size > len(data):
        raise wire.WireError("a record of INOUT_INFO is cut off")
    return data[:size]


def _tensors(record: memoryview) -> list[TensorInfo]:
    (count,) = struct.unpack_from("<I", record)
    position, found = 4, []
    for _ in range(count):
        size, layout, dtype, *lengths = _TENSOR.unpack_from(record, position)
        position += _TENSOR.size
        parts = []
        for length in lengths:
            parts.append(_exactly(record[position:], length))
            position += length
        dims, dims_v2, ranges = ([n for (n,) in struct.iter_unpack("<q", p[:len(p) // 8 * 8])] for p in parts[1:])
        found.append(TensorInfo(bytes(parts[0]).decode("utf-8", "replace"), tuple(dims), dtype, layout, size,
                                tuple(dims_v2), tuple(zip(ranges[::2], ranges[1::2]))))
    return found


def _lengths(record: memoryview) -> tuple[list[int], memoryview]:
    (count,) = struct.unpack_from("<I", record)
    return [n for (n,) in struct.iter_unpack("<I", _exactly(record[4:], count * 4))], record[4 + count * 4:]


def _number_lists(record: memoryview) -> list[tuple[int, ...]]:
    lengths, rest = _lengths(record)
    found, position = [], 0
    for length in lengths:
        found.append(tuple(n for (n,) in struct.iter_unpack("<Q", _exactly(rest[position:], length * 8))))
        position += length * 8
    return found


def _strings(record: memoryview) -> list[str]:
    lengths, rest = _lengths(record)
    found, position = [], 0
    for length in lengths:
        found.append(bytes(_exactly(rest[position:], length)).decode("utf-8", "replace"))
        position += length
    return found


def _output_shape(text: str) -> Optional[tuple[int, int, tuple[int, ...]]]:
    """``gear,output,dim,dim,...``; None for anything else."""
    try:
        gear, output, *dims = (int(part) for part in text.split(","))
    except ValueError:
        return None
    return gear, output, tuple(dims)


# Writing INOUT_INFO.

def encode_records(inputs: list[TensorInfo], outputs: list[TensorInfo], gears: Gears) -> bytes:
    out = _block(_INPUTS, _encode_tensors(inputs)) + _block(_OUTPUTS, _encode_tensors(outputs))
    if gears.batch:
        out += _block(_BATCH, struct.pack(f"<I{len(gears.batch)}Q", len(gears.batch), *gears.batch))
    if gears.hw:
        out += _block(_HW, _encode_lists([struct.pack("<2Q", *g) for g in gears.hw], 8))
    if gears.dims:
        out += _block(_DIMS, _encode_lists([struct.pack(f"<{len(g)}Q", *g) for g in gears.dims], 8))
    if gears.outputs:
        texts = [",".join(map(str, (gear, output, *shape))) for gear, output, shape in gears.outputs]
        out += _block(_OUTPUT_SHAPES, _encode_lists([t.encode() for t in texts], 1))
    if gears.order:
        out += _block(_ORDER, _encode_lists([n.encode() for n in gears.order], 1))
    return out


def _block(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content


def _encode_lists(parts: list[bytes], unit: int) -> bytes:
    return struct.pack(f"<I{len(parts)}I", len(parts), *(len(p) // unit for p in parts)) + b"".join(parts)


def _encode_tensors(tensors: list[TensorInfo]) -> bytes:
    out = struct.pack("<I", len(tensors))
    for t in tensors:
        name = t.name.encode()
        dims, dims_v2 = (struct.pack(f"<{len(s)}q", *s) for s in (t.shape, t.shape_v2 or t.shape))
        ranges = b"".join(struct.pack("<2q", *r) for r in t.shape_range)
        out += _TENSOR.pack(t.nbytes, t.format, t.dtype, len(name), len(dims), len(dims_v2), len(ranges))
        out += name + dims + dims_v2 + ranges
    return out
