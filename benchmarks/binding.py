"""What a binding costs: the same calls of one library of no-op functions through C, ctypes, cffi, nanobind and pyacl.

Runs in a process of its own, with pyacl's native backend on that library (see ``noop``).
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import statistics
import threading
import time
import tracemalloc
from typing import Any, Callable

import numpy as np

from . import rivals
from .timing import Candidate, side_by_side

_C = {"void *": ctypes.c_void_p, "const void *": ctypes.c_void_p, "uint64_t": ctypes.c_uint64,
      "size_t": ctypes.c_size_t, "int": ctypes.c_int, "int32_t": ctypes.c_int32, "uint32_t": ctypes.c_uint32,
      "int32_t *": ctypes.POINTER(ctypes.c_int32)}


def _ctypes(path: Any) -> Any:
    library = ctypes.CDLL(str(path))
    for name, params in rivals.CALLS.items():
        function = getattr(library, name)
        kinds = [p[:p.rindex("*") + 1] if "*" in p else p.split()[0] for p in params.split(", ")]
        function.argtypes, function.restype = [_C[k] for k in kinds], ctypes.c_int
    return library


class Setup:
    """pyacl's objects on the no-op library, and the rivals' handles."""

    def __init__(self) -> None:
        import pyacl

        self.pyacl = pyacl
        self.path = rivals.noop()
        self.device = pyacl.Device(0)
        self.stream = pyacl.Stream()
        self.tensors = [pyacl.Tensor.empty((8,), np.float32) for _ in range(3)]
        self.a, self.b = pyacl.DeviceBuffer(4096), pyacl.DeviceBuffer(4096)
        self.executor = pyacl.Executor("aclnnAdd", self.tensors[0], self.tensors[1], 1.0, self.tensors[2],
                                       repeatable=True)
        self.event = pyacl.Event()
        self.ctypes = _ctypes(self.path)
        self.api = rivals.cffi_api(self.path)
        self.abi_ffi, self.abi = rivals.cffi_abi(self.path)
        self.nanobind = rivals.nanobind(self.path)
        self.loop = rivals.c_loop(self.path)

    def rivals(self, statement: str, pointers: int) -> dict[str, Candidate]:
        """The same raw calls for every rival; `statement` has ``f.`` before functions and p0, p1, ... for pointers."""
        numbers = {f"p{i}": 64 * (i + 1) for i in range(pointers)}
        found = {"ctypes": Candidate(statement, {"f": self.ctypes, **numbers})}
        for name, ffi, lib in (("cffi ABI", self.abi_ffi, self.abi), ("cffi API", self.api.ffi, self.api.lib)):
            found[name] = Candidate(statement, {"f": lib, **{k: ffi.cast("void *", v) for k, v in numbers.items()}})
        if self.nanobind is not None:
            found["nanobind"] = Candidate(statement, {"f": self.nanobind, **numbers})
        return found


def _raw(s: Setup) -> dict[str, Candidate]:
    lib, ffi = s.pyacl.lib, s.pyacl.ffi
    pointers = {f"p{i}": ffi.cast("void *", 64 * (i + 1)) for i in range(2)}
    pointers["executor"] = ffi.cast("aclOpExecutor *", 128)
    found = {"C loop": Candidate(run=s.loop), **s.rivals("f.aclnnAdd(p0, 0, p1, p2)", 3)}
    found["pyacl"] = Candidate("lib.launch(lib.aclnnAdd, p0, 0, executor, stream)",
                               {"lib": lib, **pointers, "stream": s.stream.handle}, s.stream.synchronize)
    return found


def _four(s: Setup) -> dict[str, Candidate]:
    pointer = s.pyacl.ffi.cast("void *", 64)
    return {**s.rivals("f.aclrtMemset(p0, 64, 0, 64)", 1),
            "pyacl": Candidate("lib.aclrtMemset(p0, 64, 0, 64)", {"lib": s.pyacl.lib, "p0": pointer})}


def _executor(s: Setup) -> dict[str, Candidate]:
    return {**s.rivals("f.aclnnAdd(p0, 0, p1, p2)", 3),
            "pyacl": Candidate("executor.launch(stream)", {"executor": s.executor, "stream": s.stream},
                               s.stream.synchronize)}


def _cached(s: Setup) -> dict[str, Candidate]:
    s.pyacl.ops.cache()
    x, y, out = s.tensors
    return {**s.rivals("f.aclnnAdd(p0, 0, p1, p2)", 3),
            "pyacl": Candidate("add(x, y, 1.0, out, stream=stream)",
                               {"add": s.pyacl.ops.aclnnAdd, "x": x, "y": y, "out": out, "stream": s.stream},
                               s.stream.synchronize)}


def _others(s: Setup) -> dict[str, Candidate]:
    calls = itertools.cycle([(x, y, 1.0, out) for x, y, out in (
        s.tensors, [s.pyacl.Tensor.empty((8,), np.float32) for _ in range(3)])])
    refresh = "; ".join(f"f.aclSetTensorAddr(p0, {i}, p1, p2)" for i in range(3))
    return {**s.rivals(f"{refresh}; f.aclnnAdd(p0, 0, p1, p2)", 3),
            "pyacl": Candidate("add(*next(calls), stream=stream)",
                               {"add": s.pyacl.ops.aclnnAdd, "calls": calls, "stream": s.stream},
                               s.stream.synchronize)}


def _arguments(s: Setup) -> dict[str, Any]:
    """A kernel's finalized arguments."""
    kernel = s.pyacl.Binary.from_bytes(bytes(64)).function("add_custom")
    args = s.pyacl.ArgsHandle(kernel)
    n = args.append(np.uint32(8))
    args.finalize()
    return {"args": args, "kernel": kernel, "n": n, "value": np.uint32(4), "stream": s.stream}


def _kernel(s: Setup) -> dict[str, Candidate]:
    return {**s.rivals("f.aclrtLaunchKernelWithConfig(p0, 8, p1, p2, p3, p3)", 4),
            "pyacl": Candidate("kernel.launch(args, 8, stream)", _arguments(s), s.stream.synchronize)}


def _updated(s: Setup) -> dict[str, Candidate]:
    statement = "f.aclrtKernelArgsParaUpdate(p0, p1, p2, 4); f.aclrtKernelArgsFinalize(p0); " \
                "f.aclrtLaunchKernelWithConfig(p0, 8, p1, p2, p3, p3)"
    return {**s.rivals(statement, 4),
            "pyacl": Candidate("args.update(n, value); args.finalize(); kernel.launch(args, 8, stream)", _arguments(s),
                               s.stream.synchronize)}


def _model(s: Setup) -> dict[str, Candidate]:
    model = s.pyacl.Model.from_bytes(bytes(4096))
    x, y = (s.pyacl.Tensor.empty((16,), np.float32) for _ in range(2))
    binding = model.bind(inputs=[x], outputs=[y])
    return {**s.rivals("f.aclmdlExecuteAsync(1, p0, p1, p2)", 3),
            "pyacl": Candidate("model.execute_async(binding, stream)",
                               {"model": model, "binding": binding, "stream": s.stream}, s.stream.synchronize)}


def _memcpy(s: Setup) -> dict[str, Candidate]:
    return {**s.rivals("f.aclrtMemcpyAsync(p0, 4096, p1, 4096, 3, p2)", 3),
            "pyacl": Candidate("memcpy_async(a, b, stream)",
                               {"memcpy_async": s.pyacl.memcpy_async, "a": s.a, "b": s.b, "stream": s.stream},
                               s.stream.synchronize)}


def _record(s: Setup) -> dict[str, Candidate]:
    return {**s.rivals("f.aclrtRecordEvent(p0, p1)", 2),
            "pyacl": Candidate("event.record(stream)", {"event": s.event, "stream": s.stream}, s.stream.synchronize)}


CALLS: dict[str, Callable[[Setup], dict[str, Candidate]]] = {
    "raw call, 4 arguments": _four, "raw call of an operator": _raw, "Executor.launch": _executor,
    "pyacl.ops, cached": _cached, "  with other tensors": _others,
    "Kernel.launch": _kernel, "  update, finalize, launch": _updated, "Model.execute_async": _model,
    "memcpy_async": _memcpy, "Event.record": _record,
}


def calls(s: Setup, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Nanoseconds per call: action -> way -> samples."""
    return {action: side_by_side(make(s), rounds=rounds) for action, make in CALLS.items()}


def _resources(s: Setup) -> dict[str, Callable[[], Any]]:
    pyacl, (x, y, out) = s.pyacl, s.tensors
    buffer = x.buffer
    return {
        "Stream": pyacl.Stream, "Event": pyacl.Event, "DeviceBuffer": lambda: pyacl.DeviceBuffer(256),
        "HostBuffer": lambda: pyacl.HostBuffer(256), "Tensor over a buffer": lambda: pyacl.Tensor(buffer, (8,), "f4"),
        "Scalar": lambda: pyacl.Scalar(1.0, np.float32), "IntArray": lambda: pyacl.IntArray([1, 2]),
        "Executor": lambda: pyacl.Executor("aclnnAdd", x, y, 1.0, out, repeatable=True),
        "Binary": lambda: pyacl.Binary.from_bytes(bytes(64)),
        "Model": lambda: pyacl.Model.from_bytes(bytes(4096)),
    }


def resources(s: Setup, rounds: int) -> dict[str, dict[str, float]]:
    """For each class: microseconds to create and to close one, and bytes of memory that one holds."""
    makers = _resources(s)
    many = [makers["Executor"]() for _ in range(1000)]
    crowded = _resource(makers["DeviceBuffer"], rounds)
    for one in many:
        one.close()
    return {**{name: _resource(make, rounds) for name, make in makers.items()},
            "DeviceBuffer, 1000 executors open": crowded}


def _resource(make: Callable[[], Any], rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {"create": [], "close": []}
    count = 100
    for _ in range(max(5, rounds // 20)):
        gc.disable()
        begin = time.thread_time_ns()  # which others on the machine do not disturb
        made = [make() for _ in range(count)]
        middle = time.thread_time_ns()
        for one in made:
            one.close()
        end = time.thread_time_ns()
        gc.enable()
        times["create"].append((middle - begin) / count / 1e3)
        times["close"].append((end - middle) / count / 1e3)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    made = [make() for _ in range(count)]
    held = (tracemalloc.get_traced_memory()[0] - before) / count
    tracemalloc.stop()
    for one in made:
        one.close()
    return {"create_us": statistics.median(times["create"]), "close_us": statistics.median(times["close"]),
            "bytes": held}


def busy(s: Setup, seconds: float = 0.4) -> dict[str, dict[str, list[float]]]:
    """Nanoseconds of one launch that takes 5 us in C: way -> "alone" or "busy" (beside a Python thread) -> samples."""
    from pyacl.capi import hot
    from pyacl.capi.module import raw

    fast = hot.module()
    lib, ffi = s.pyacl.lib, s.pyacl.ffi
    arguments = (lib.aclnnInplaceOne, ffi.NULL, 0, ffi.cast("aclOpExecutor *", 128), s.stream.handle)
    plain, pointer = s.api.lib.aclnnInplaceOne, s.api.ffi.cast("void *", 64)
    executor, target = s.pyacl.Executor("aclnnInplaceOne", s.tensors[0], repeatable=True), s.stream
    ways: dict[str, Callable[[], Any]] = {
        "ctypes": lambda: s.ctypes.aclnnInplaceOne(64, 0, 128, 256),
        "cffi API": lambda: plain(pointer, 0, pointer, pointer),
        "pyacl, GIL released": lambda: raw.launch(*arguments),
        "Executor.launch": lambda: executor.launch(target),
    }
    if fast is not None:
        ways["pyacl, GIL kept"] = lambda: fast.launch(*arguments)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in ways}
    for state in ("alone", "busy"):
        stop = threading.Event()
        other = threading.Thread(target=_spin, args=(stop,), daemon=True)
        if state == "busy":
            other.start()
        for name, call in ways.items():
            samples = found[name][state] = []
            until = time.perf_counter() + seconds
            while time.perf_counter() < until and len(samples) < 20_000:
                if len(samples) % 100 == 0:
                    target.synchronize()
                begin = time.perf_counter_ns()
                call()
                samples.append(float(time.perf_counter_ns() - begin))
        stop.set()
        if state == "busy":
            other.join()
    executor.close()
    return found


def _spin(stop: threading.Event) -> None:
    n = 0
    while not stop.is_set():
        for _ in range(1000):
            n += 1


def main(rounds: int) -> dict[str, Any]:
    """Everything above, as JSON takes it."""
    s = Setup()
    return {"calls": calls(s, rounds), "resources": resources(s, rounds), "busy": busy(s, min(0.4, rounds / 500))}
