"""ONNX graphs as the compiler and the runner need them: fixed shapes, weights apart from the graph.

Needs the extra ``onnx``. Everything works on a `ModelProto`; large initialisers live in one block of bytes that the
graph refers to as external data, so that neither protobuf's 2 GB limit nor a second copy matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Sequence

import numpy as np

from ...capi import lib
from ..failure import Failure

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

WEIGHTS = "weights"  # the name that external data refers to
_INLINE = 1024  # bytes; what shape inference may need stays in the graph
_ALIGN = 64

_ACL_NAMES = {
    1: "FLOAT", 2: "UINT8", 3: "INT8", 4: "UINT16", 5: "INT16", 6: "INT32", 7: "INT64", 8: "STRING", 9: "BOOL",
    10: "FLOAT16", 11: "DOUBLE", 12: "UINT32", 13: "UINT64", 14: "COMPLEX64", 15: "COMPLEX128", 16: "BF16",
    17: "FLOAT8_E4M3FN", 19: "FLOAT8_E5M2",
}
ACL_OF_ONNX: dict[int, int] = {onnx: getattr(lib, f"ACL_{name}") for onnx, name in _ACL_NAMES.items()}
ONNX_OF_ACL: dict[int, int] = {acl: onnx for onnx, acl in ACL_OF_ONNX.items()}


def require() -> Any:
    """The onnx package; explains what to install without it."""
    try:
        import onnx
    except ImportError as error:
        raise Failure(lib.ACL_ERROR_GE_INTERNAL_ERROR, f"the emulator runs models through ONNX, and onnx does not "
                      f"import ({error}): pip install 'pyacl-ascend[onnx]'") from None
    return onnx


def load(path: str) -> ModelProto:
    """An ONNX file with its external data; Failure with the reason otherwise."""
    onnx = require()
    try:
        return onnx.load(path)
    except OSError as error:
        raise Failure(lib.ACL_ERROR_GE_EXEC_MODEL_PATH_INVALID, f"{error.filename or path} cannot be read: "
                      f"{error.strerror or error}") from None
    except Exception as error:  # protobuf's and onnx's own
        with open(path, "rb") as file:
            compiled = file.read(4) == b"IMOD"
        raise Failure(lib.ACL_ERROR_GE_EXEC_MODEL_PATH_INVALID, f"{path} is already an .om" if compiled else
                      f"{path} is no readable ONNX file: {error}") from None


def real_inputs(graph: GraphProto) -> list[ValueInfoProto]:
    """The inputs that the user feeds: older files list the initialisers among the inputs as well."""
    given = {t.name for t in graph.initializer} | {t.values.name for t in graph.sparse_initializer}
    return [v for v in graph.input if v.name not in given]


def shape_of(value: ValueInfoProto) -> Optional[tuple[int, ...]]:
    """A value's shape with -1 for what varies; None where even the rank is unknown."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else -1 for d in tensor.shape.dim)


def dtype_of(value: ValueInfoProto) -> int:
    """A value's ACL data type."""
    found = ACL_OF_ONNX.get(value.type.tensor_type.elem_type)
    if found is None or found == lib.ACL_STRING:
        raise Failure(lib.ACL_ERROR_GE_DATATYPE_INVALID, f"{value.name} is not a tensor of numbers, as CANN wants")
    return found


def set_shape(value: ValueInfoProto, shape: Sequence[int]) -> None:
    """Gives a value a shape; -1 becomes a dimension with a name of its own."""
    dims = value.type.tensor_type.shape
    del dims.dim[:]
    for i, size in enumerate(shape):
        dim = dims.dim.add()
        if size < 0:
            dim.dim_param = f"{value.name}_{i}"
        else:
            dim.dim_value = size


def with_shapes(model: ModelProto, shapes: dict[str, tuple[int, ...]]) -> ModelProto:
    """A copy whose inputs have the given shapes and whose inner shapes are inferred anew."""
    onnx = require()
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for value in real_inputs(copy.graph):
        if value.name in shapes:
            set_shape(value, shapes[value.name])
    for value in copy.graph.output:
        if value.type.tensor_type.HasField("shape"):
            value.type.tensor_type.ClearField("shape")
    try:
        return onnx.shape_inference.infer_shapes(copy, data_prop=True)
    except Exception as error:
        raise Failure(lib.ACL_ERROR_GE_SHAPE_INVALID, f"the shapes {shapes} do not fit the model: {error}") from None


def split(model: ModelProto) -> tuple[bytes, bytes]:
    """The graph without its large initialisers, and these in one block."""
    onnx = require()
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(model)
    block = bytearray()
    used = {name for node in skeleton.graph.node for name in node.input}
    for tensor in skeleton.graph.initializer:
        if tensor.name not in used:  # of an inner graph, or of none: onnxruntime does not let these be replaced
            continue
        if tensor.data_type == onnx.TensorProto.STRING:
            continue
        raw = tensor.raw_data if tensor.HasField("raw_data") else onnx.numpy_helper.to_array(tensor).tobytes()
        if len(raw) <= _INLINE:
            continue
        block += bytes(-len(block) % _ALIGN)
        _make_external(tensor, len(block), len(raw))
        block += raw
    return skeleton.SerializeToString(), bytes(block)


def _make_external(tensor: TensorProto, offset: int, length: int) -> None:
    for name in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(name)
    del tensor.external_data[:]
    tensor.data_location = 1  # EXTERNAL
    for key, value in (("location", WEIGHTS), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def externals(graph: GraphProto, block: np.ndarray) -> dict[str, tuple[int, tuple[int, ...], np.ndarray]]:
    """The initialisers that are kept in `block`: their ONNX type, shape and bytes, by name."""
    found = {}
    for tensor in graph.initializer:
        if tensor.data_location != 1:
            continue
        where = {entry.key: entry.value for entry in tensor.external_data}
        try:
            offset, length = int(where["offset"]), int(where["length"])
        except (KeyError, ValueError):
            offset, length = -1, 0
        if where.get("location") != WEIGHTS or offset < 0 or length < 0 or offset + length > len(block):
            raise Failure(lib.ACL_ERROR_GE_EXEC_LOAD_WEIGHT_PARTITION_FAILED,
                          f"weight {tensor.name} is not inside the model's {len(block)} bytes of weights")
        found[tensor.name] = (tensor.data_type, tuple(tensor.dims), block[offset:offset + length])
    return found


def working_bytes(model: ModelProto) -> int:
    """The most that intermediate results need at one time, where their shapes are known."""
    from ..api.tensor_desc import TensorDesc

    graph = model.graph
    sizes: dict[str, int] = {}
    for value in list(graph.value_info) + list(graph.output):
        shape = shape_of(value)
        dtype = ACL_OF_ONNX.get(value.type.tensor_type.elem_type)
        if shape is not None and dtype is not None and dtype != lib.ACL_STRING:
            sizes[value.name] = TensorDesc(dtype, shape, lib.ACL_FORMAT_ND).nbytes
    last = {name: i for i, node in enumerate(graph.node) for name in node.input}
    ends: dict[int, int] = {}
    now = most = 0
    for i, node in enumerate(graph.node):
        for name in node.output:
            size = sizes.get(name, 0)
            now += size
            end = last.get(name, len(graph.node))
            ends[end] = ends.get(end, 0) + size
        most = max(most, now)
        now -= ends.pop(i, 0)
    return most
