"""What the emulator adds to numpy and onnxruntime. Runs in a process of its own, on the emulator."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np


def _turns(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Microseconds per call, the ways taking turns; warmed up."""
    for call in ways.values():
        call()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, call in ways.items():
            begin = time.perf_counter_ns()
            call()
            found[name].append((time.perf_counter_ns() - begin) / 1e3)
    return found


def small(pyacl: Any, stream: Any, rounds: int) -> dict[str, list[float]]:
    """A launch with its synchronise, and numpy's own time for the same operator."""
    a, b, out = (np.ones(8, np.float32) for _ in range(3))
    x, y, z = (pyacl.Tensor.from_numpy(t) for t in (a, b, out))
    executor = pyacl.Executor("aclnnAdd", x, y, 1.0, z, repeatable=True)

    def emulated() -> None:
        executor.launch(stream)
        stream.synchronize()

    return _turns({"numpy": lambda: np.add(a, b, out=out), "emulator": emulated}, rounds * 20)


def elementwise(pyacl: Any, stream: Any, rounds: int) -> dict[str, list[float]]:
    """16 MB of float32, added."""
    a, b, out = (np.ones((4 << 20,), np.float32) for _ in range(3))
    x, y, z = (pyacl.Tensor.from_numpy(t) for t in (a, b, out))
    executor = pyacl.Executor("aclnnAdd", x, y, 1.0, z, repeatable=True)

    def emulated() -> None:
        executor.launch(stream)
        stream.synchronize()

    return _turns({"numpy": lambda: np.add(a, b, out=out), "emulator": emulated}, max(20, rounds // 3))


def matmul(pyacl: Any, stream: Any, rounds: int) -> dict[str, list[float]]:
    """1024 x 1024 x 1024 in float32."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((1024, 1024), np.float32) for _ in range(2))
    out = np.empty((1024, 1024), np.float32)
    x, y, z = (pyacl.Tensor.from_numpy(t) for t in (a, b, out))
    executor = pyacl.Executor("aclnnMatmul", x, y, z, 0, repeatable=True)

    def emulated() -> None:
        executor.launch(stream)
        stream.synchronize()

    return _turns({"numpy": lambda: np.matmul(a, b, out=out), "emulator": emulated}, max(10, rounds // 10))


def model(pyacl: Any, stream: Any, rounds: int) -> dict[str, list[float]]:
    """A convolutional network through Model.execute, and onnxruntime's own session."""
    return _executed(pyacl, _network(8, 64), max(20, rounds // 3))


def small_model(pyacl: Any, stream: Any, rounds: int) -> dict[str, list[float]]:
    """One convolution of 4 x 4 pixels: what an execution costs besides computing."""
    return _executed(pyacl, _network(1, 4), rounds * 20)


def _executed(pyacl: Any, network: Any, rounds: int) -> dict[str, list[float]]:
    """Model.execute, and onnxruntime's session with the same threads and bound buffers."""
    import onnxruntime

    from pyacl.emulator.models.compile import compile_file

    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    bound = session.io_binding()
    image = np.random.default_rng(0).standard_normal(session.get_inputs()[0].shape, np.float32)
    out = np.empty(session.get_outputs()[0].shape, np.float32)
    bound.bind_input("x", "cpu", 0, np.float32, image.shape, image.ctypes.data)
    bound.bind_output("y", "cpu", 0, np.float32, out.shape, out.ctypes.data)
    with tempfile.TemporaryDirectory() as folder:
        path = compile_file(network, Path(folder) / "net.om")
        with pyacl.Model.from_file(path) as loaded, pyacl.Tensor.from_numpy(image) as x, \
                pyacl.Tensor.empty(out.shape, np.float32) as y, loaded.bind(inputs=[x], outputs=[y]) as binding:
            return _turns({"onnxruntime": lambda: session.run_with_iobinding(bound),
                           "emulator": lambda: loaded.execute(binding)}, rounds)


def _network(depth: int, side: int) -> Any:
    """3 x 3 convolutions with 32 channels, of a square picture."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, weights, name, channels = [], [], "x", 3
    for i in range(depth):
        weights.append(numpy_helper.from_array(rng.standard_normal((32, channels, 3, 3)).astype(np.float32) / 10,
                                               f"w{i}"))
        nodes.append(helper.make_node("Conv", [name, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1]))
        name, channels = f"r{i}" if i + 1 < depth else "y", 32
        nodes.append(helper.make_node("Relu", [f"c{i}"], [name]))
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 32, side, side])], weights)
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    found.ir_version = 9
    return found


def main(rounds: int) -> dict[str, Any]:
    """Microseconds per call of each comparison; a text where one cannot be made."""
    import pyacl

    found: dict[str, Any] = {}
    with pyacl.Device(0), pyacl.Stream() as stream:
        for part in (small, elementwise, matmul, model, small_model):
            try:
                found[part.__name__] = part(pyacl, stream, rounds)
            except (ImportError, pyacl.errors.NotEmulatedError) as error:
                found[part.__name__] = f"not measured: {str(error).splitlines()[0]}"
    return found


def beyond(times: dict[str, list[float]], base: str = "numpy") -> float:
    """Microseconds of the emulator beyond those of what computes, by the medians."""
    return statistics.median(times["emulator"]) - statistics.median(times[base])
