"""Running ONNX graphs through onnxruntime, on emulated device memory in place.

Inputs and outputs are bound by address, so that onnxruntime reads and writes device memory itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Callable, NamedTuple, Optional, Sequence, Union

import numpy as np

from ...capi import lib
from ..failure import Failure
from . import container, onnx_graph

if TYPE_CHECKING:
    from onnx import ModelProto


class Slot(NamedTuple):
    """Where a tensor is: an address and its shape. Address 0, or an unknown shape, is an output that is returned."""

    address: int
    shape: Optional[tuple[int, ...]]


# Computes a model once, on the slots it was made for. An output with an address and a shape is written there; others
# are returned.
Run = Callable[[], list[Optional[np.ndarray]]]


def require() -> Any:
    """onnxruntime; explains what to install without it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise Failure(lib.ACL_ERROR_GE_INTERNAL_ERROR, f"the emulator runs models through onnxruntime, which does not "
                      f"import ({error}): pip install 'pyacl-ascend[onnx]'") from None
    return onnxruntime


def open_model(model: Union[ModelProto, bytes, memoryview], weights: Any = b"") -> Any:
    """An `onnxruntime.InferenceSession` of a graph whose large weights are in a block of bytes."""
    ort, onnx = require(), onnx_graph.require()
    if isinstance(model, (bytes, memoryview)):
        try:
            model = onnx.load_model_from_string(bytes(model))
        except Exception as error:
            raise Failure(lib.ACL_ERROR_GE_EXEC_LOAD_MODEL_PARTITION_FAILED,
                          f"the model's ONNX graph cannot be decoded: {error}") from None
    options = ort.SessionOptions()
    options.log_severity_level = 3
    block = np.frombuffer(weights, np.uint8)
    if block.ctypes.data % container.ALIGNMENT:  # onnxruntime reads weights where they are, as numbers of their type
        block = block.copy()
    names, values = [], []
    for name, (kind, shape, raw) in onnx_graph.externals(model.graph, block).items():
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
        names.append(name)
        if dtype.kind == "V" or dtype.type.__module__ == "ml_dtypes":  # onnxruntime knows these by number only
            array = raw.view(f"u{dtype.itemsize}").reshape(shape)
            values.append(ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, kind))
        else:
            values.append(ort.OrtValue.ortvalue_from_numpy(raw.view(dtype).reshape(shape)))
    if names:
        options.add_external_initializers(names, values)
    try:
        found = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found._pyacl_weights = (weights, values)  # whether onnxruntime copies them is its own business
        return found
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise Failure(lib.ACL_ERROR_GE_LOAD_MODEL, f"onnxruntime does not take the model: {error}") from None


class OperatorFailure(Failure):
    """onnxruntime failed; `operator` is the node's name, "" where it does not tell."""

    def __init__(self, text: str) -> None:
        super().__init__(lib.ACL_ERROR_GE_INTERNAL_ERROR, f"onnxruntime failed: {text}")
        found = re.search(r"while running \w+ node\. Name:'([^']*)'", text)
        self.operator = found[1] if found else ""


class OnnxRunner:
    """Runs a session on device memory."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = [(v.name, _onnx_type(v.type)) for v in session.get_inputs()]
        self.outputs = [(v.name, _onnx_type(v.type)) for v in session.get_outputs()]

    def prepare(self, inputs: Sequence[Slot], outputs: Sequence[Slot]) -> Run:
        """What executes the session on these slots, any number of times."""
        binding = self._bind(inputs, outputs)
        execute = self._session.run_with_iobinding
        returned = [not (slot.address and slot.shape is not None) for slot in outputs]
        nothing: list[Optional[np.ndarray]] = [None] * len(outputs)

        def run() -> list[Optional[np.ndarray]]:
            try:
                execute(binding)
            except Exception as error:
                raise OperatorFailure(str(error)) from None
            if True not in returned:
                return nothing
            return [_array(value) if new else None for new, value in zip(returned, binding.get_outputs())]

        return run

    def _bind(self, inputs: Sequence[Slot], outputs: Sequence[Slot]) -> Any:
        binding = self._session.io_binding()
        for (name, kind), slot in zip(self.inputs, inputs):
            # A tensor of no elements has no memory; onnxruntime still wants an address.
            binding.bind_input(name, "cpu", 0, kind, list(slot.shape or ()), slot.address or _NOTHING.ctypes.data)
        for (name, kind), slot in zip(self.outputs, outputs):
            if slot.address and slot.shape is not None:
                binding.bind_output(name, "cpu", 0, kind, list(slot.shape), slot.address)
            else:
                binding.bind_output(name, "cpu")
        return binding


_NOTHING = np.zeros(64, np.uint8)

_NUMPY = {"float": np.float32, "double": np.float64, "float16": np.float16, "bool": np.bool_}
_NUMBERS = {"bfloat16": 16, "float8e4m3fn": 17, "float8e5m2": 19}


def _onnx_type(text: str) -> Any:
    """``tensor(float)`` as what `bind_input` takes: a numpy type, or ONNX's number."""
    inner = text[len("tensor("):-1] if text.startswith("tensor(") else ""
    if inner in _NUMBERS:
        return _NUMBERS[inner]
    if inner in _NUMPY:
        return _NUMPY[inner]
    try:
        return np.dtype(inner).type
    except TypeError:
        raise Failure(lib.ACL_ERROR_GE_DATATYPE_INVALID, f"the model has an input or output of type {text}, which is "
                      "not a tensor of numbers") from None


def _array(value: Any) -> np.ndarray:
    """An output that onnxruntime allocated, as an array of its bytes and shape."""
    return np.ascontiguousarray(value.numpy())
