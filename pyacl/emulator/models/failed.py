"""Which operator of a model failed: what aclmdlCreateAndGetOpDesc tells an exception callback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

from ...capi import lib
from ..api.tensor_desc import TensorDesc
from ..machine.stream import Stream
from . import container, onnx_graph
from .describe import ModelInfo

_KEPT = 64
_failures: dict[tuple[int, int, int], Failed] = {}  # by device, stream and task


@dataclass
class Failed:
    """An operator of a model that onnxruntime could not compute, and where the model's inputs and outputs were."""

    info: ModelInfo
    operator: str
    shapes: dict[str, tuple[int, ...]]  # of the model's inputs
    addresses: dict[str, int]  # of its inputs and outputs

    def describe(self) -> Optional[tuple[list[TensorDesc], list[TensorDesc]]]:
        """Its inputs and outputs; None where the file does not have the operator, or no shape of its tensors."""
        graph = self.info.container.find(container.ONNX_GRAPH)
        if graph is None or self.info.unbounded:
            return None
        model = onnx_graph.with_shapes(onnx_graph.require().load_model_from_string(bytes(graph)), self.shapes)
        node = next((n for n in model.graph.node if n.name == self.operator), None)
        tensors: dict[str, TensorDesc] = {}
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
            shape, dtype = onnx_graph.shape_of(value), onnx_graph.ACL_OF_ONNX.get(value.type.tensor_type.elem_type)
            if shape is not None and dtype is not None:
                tensors[value.name] = TensorDesc(dtype, shape, lib.ACL_FORMAT_ND, value.name)
                tensors[value.name].address = self.addresses.get(value.name, 0)
        for weight in model.graph.initializer:
            tensors[weight.name] = TensorDesc(onnx_graph.ACL_OF_ONNX[weight.data_type], tuple(weight.dims),
                                              lib.ACL_FORMAT_ND, weight.name)
        if node is None or any(name and name not in tensors for name in (*node.input, *node.output)):
            return None
        return [tensors[n] for n in node.input if n], [tensors[n] for n in node.output if n]


def note(stream: Stream, found: Any) -> None:
    """Remembers a failure of the task that the stream runs now."""
    _failures[(stream.device.id, stream.id, stream.done)] = found
    if len(_failures) > _KEPT:
        _failures.pop(next(iter(_failures)), None)


def find(device: int, stream: int, task: int) -> Optional[Failed]:
    return _failures.get((device, stream, task))
