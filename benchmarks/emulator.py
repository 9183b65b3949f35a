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
    """A convolutional network through Model.execute, and onnxruntime's own session with the same threads."""
    import onnx
    import onnxruntime

    from pyacl.emulator.models.compile import compile_file

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "net.onnx", Path(folder) / "net.om"
        onnx.save(_network(), str(source))
        compile_file(source, target)
        options = onnxruntime.SessionOptions()
        session = onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        image = np.random.default_rng(0).standard_normal((1, 3, 64, 64), np.float32)
        with pyacl.Model.from_file(str(target)) as loaded:
            x = pyacl.Tensor.from_numpy(image)
            y = pyacl.Tensor.empty(loaded.outputs[0].shape, np.float32)
            binding = loaded.bind(inputs=[x], outputs=[y])
            return _turns({"onnxruntime": lambda: session.run(None, {"x": image}),
                           "emulator": lambda: loaded.execute(binding)}, max(20, rounds // 3))


def _network() -> Any:
    """Eight 3 x 3 convolutions with 32 channels."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, weights, name, channels = [], [], "x", 3
    for i in range(8):
        weights.append(numpy_helper.from_array(rng.standard_normal((32, channels, 3, 3)).astype(np.float32) / 10,
                                               f"w{i}"))
        nodes.append(helper.make_node("Conv", [name, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        name, channels = f"r{i}", 32
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 32, 64, 64])], weights)
    found = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    found.ir_version = 9
    return found


def main(rounds: int) -> dict[str, Any]:
    """Microseconds per call of each comparison; a text where one cannot be made."""
    import pyacl

    found: dict[str, Any] = {}
    with pyacl.Device(0), pyacl.Stream() as stream:
        for part in (small, elementwise, matmul, model):
            try:
                found[part.__name__] = part(pyacl, stream, rounds)
            except (ImportError, pyacl.errors.NotEmulatedError) as error:
                found[part.__name__] = f"not measured: {str(error).splitlines()[0]}"
    return found


def beyond(times: dict[str, list[float]]) -> float:
    """Microseconds of the emulator beyond numpy's, by the medians."""
    return statistics.median(times["emulator"]) - statistics.median(times["numpy"])
