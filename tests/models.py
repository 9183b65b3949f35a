"""Models for the tests: small ones made here, and real ones where they are at hand."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Iterator, Sequence

import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "models"


def shared(name: str) -> Path:
    """A real model that lies beside the repository."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not beside the repository")
    return path


def graph(nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], initializers: Sequence[Any] = (),
          name: str = "small") -> Any:
    """An ONNX model; inputs and outputs are (name, shape) or (name, shape, numpy dtype)."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper

    def value(name: str, shape: Sequence[Any], dtype: Any = np.float32) -> Any:
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)

    made = helper.make_graph(list(nodes), name, [value(*v) for v in inputs], [value(*v) for v in outputs],
                             [onnx.numpy_helper.from_array(a, n) for n, a in initializers])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], name: str = "", **attributes: Any) -> Any:
    onnx = pytest.importorskip("onnx")
    return onnx.helper.make_node(kind, list(inputs), list(outputs), name=name or f"n_{outputs[0]}", **attributes)


# Small integers: every order of summation gives the same.
WEIGHT = np.random.default_rng(7).integers(-9, 9, (64, 8)).astype(np.float32)



def dense(batch: Any = 4) -> Any:
    """y = relu(x @ w) + 1, and y's largest element by row; x is [batch, 64]."""
    return graph([node("MatMul", ["x", "w"], ["h"]), node("Relu", ["h"], ["r"]), node("Add", ["r", "one"], ["y"]),
                  node("ReduceMax", ["y"], ["top"], axes=[1], keepdims=0)],
                 [("x", [batch, 64])], [("y", [batch, 8]), ("top", [batch])],
                 [("w", WEIGHT), ("one", np.ones(1, np.float32))], "dense")


def dense_reference(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y = np.maximum(x @ WEIGHT, 0) + 1
    return y, y.max(1)


def light(name: str) -> tuple[Path, np.ndarray]:
    """A real network of the onnx package, and the output that it ships with for an input of the recipe there."""
    onnx = pytest.importorskip("onnx")
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    path = folder / f"light_{name}.onnx"
    if not path.exists():
        pytest.skip(f"this onnx has no {path.name}")
    tensor = onnx.TensorProto.FromString((folder / f"light_{name}_output_0.pb").read_bytes())
    return path, onnx.numpy_helper.to_array(tensor)


@contextmanager
def blocked(stream: Any) -> Iterator[None]:
    """What is queued on the stream does not run before the end, whatever the emulator's schedule."""
    import pyacl

    with pyacl.Event(resettable=True) as event:
        stream.wait(event)  # which nobody has recorded yet
        try:
            yield
        finally:
            event.record(pyacl.Stream.default())
            stream.synchronize()


@cache
def on_hardware() -> bool:
    """Whether the native backend's libraries are CANN's own, and not the emulator's exported ones."""
    from pyacl.capi.backend import active

    found = active()
    return found.name == "native" and not any(b"pyacl.emulator" in Path(p).read_bytes() for p in found.libraries)


def compiled(model: Any, path: Path, **options: Any) -> Path:
    """An ONNX model or file as an .om, which only the emulator runs: in this process, or as exported libraries."""
    pytest.importorskip("onnxruntime")
    if on_hardware():
        pytest.skip("models of the emulator's compiler do not run on an NPU")
    from pyacl.emulator.models.compile import Options, compile_file

    return Path(compile_file(model, path, Options(**options)))


def of_package(package: str, file: str) -> Path:
    """A network that lies inside an installed package."""
    import importlib.util

    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed")
    path = Path(spec.origin).parent / file
    if not path.exists():
        pytest.skip(f"this {package} has no {file}")
    return path
