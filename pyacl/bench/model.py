"""``pyacl bench model``: copies to the device, computing, and copies back, apart, on one or several devices.

Options that mean the same as those of ais_bench are accepted under its names, too.
"""

from __future__ import annotations

import argparse
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, Sequence

import numpy as np

from ..cli import CommandError
from ..model_cli import load_inputs, model_file, parse_shapes, some_shape
from . import text
from .environment import environment
from .record import Result
from .report import add_result_options, check_outputs, deliver, natural, positive

if TYPE_CHECKING:
    from ..binding import Binding
    from ..model import Model


def add_parser(subparsers: Any) -> None:
    """Adds ``model``."""
    parser = subparsers.add_parser(
        "model", help="offline models",
        description="Times a model's executions. H2D is the copy of all inputs from pinned memory, compute the "
                    "execution (aclmdlExecute), D2H the copy of all outputs.")
    parser.add_argument("file", nargs="?", metavar="FILE.om")
    parser.add_argument("--model", "-m", metavar="FILE.om", help="the same")
    parser.add_argument("--input", "-i", nargs="+", default=[], metavar="[NAME=]FILE",
                        help="inputs, as for pyacl model run (default: random)")
    parser.add_argument("--pure-data-type", "--pure_data_type", choices=("random", "zero"), default="random",
                        help="what inputs without a file hold")
    parser.add_argument("--loop", "--iters", type=positive, default=100, metavar="N", help="executions (default 100)")
    parser.add_argument("--warmup", "--warmup-count", "--warmup_count", type=natural, default=5, metavar="N",
                        help="executions before that (default 5)")
    parser.add_argument("--device", default="0", metavar="ID[,ID]", help="devices, measured together (default 0)")
    parser.add_argument("--batch", nargs="+", type=positive, default=[], metavar="N",
                        help="which batches of a model with dynamic batch (default: all)")
    parser.add_argument("--dymBatch", type=positive, metavar="N", help="one batch, as ais_bench names it")
    parser.add_argument("--dymHW", "--size", metavar="H,W", help="the resolution of a model with dynamic resolution")
    parser.add_argument("--dymDims", "--dymShape", "--shape", action="append", default=[], metavar="NAME:D,D;...",
                        help="the shapes of a model with dynamic dims or shapes")
    parser.add_argument("--batchsize", type=positive, metavar="N",
                        help="rows of one execution, for the throughput (default: the first dimension)")
    add_result_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measures every batch on every device; the exit code."""
    path = args.model or args.file
    if not path:
        raise CommandError("name the model to measure")
    model_file(path)
    check_outputs(args)
    try:
        devices = [int(d) for d in args.device.split(",")]
    except ValueError:
        raise CommandError(f"--device {args.device}: write ids such as 0 or 0,1") from None
    start = threading.Barrier(len(devices))
    stop = threading.Event()
    with text.progress(args.quiet) as bar:
        workers = [_Worker(path, device, args, start, stop, text.Progress() if i else bar)
                   for i, device in enumerate(devices)]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                worker.done.wait()  # not join(): before Python 3.13 that takes an interrupted thread for a finished one
        except KeyboardInterrupt:
            stop.set()
            start.abort()
        for worker in workers:
            worker.join()
    if stop.is_set() and not all(w.results for w in workers):
        raise KeyboardInterrupt
    failures = [w.failure for w in workers if w.failure]
    if failures and not stop.is_set():  # the first cause, not those whom it stopped
        raise next((f for f in failures if not isinstance(f, threading.BrokenBarrierError)), failures[0])
    results = [r for found in zip(*(w.results for w in workers)) for r in found]
    if len(devices) > 1:
        for found in zip(*(w.results for w in workers)):
            total = sum(r.parameters["throughput"] for r in found)
            found[-1].notes.append(f"all {len(devices)} devices: {text.number(total)} rows/s")
    about = next(w.environment for w in workers)
    if not args.quiet:
        for result in results:
            print(_summary(result))
    return deliver(results, about, args, interrupted=stop.is_set())


class _Worker(threading.Thread):
    """One device's measurement."""

    def __init__(self, path: str, device: int, args: argparse.Namespace, start: threading.Barrier,
                 stop: threading.Event, bar: text.Progress) -> None:
        super().__init__(name=f"bench-{device}")
        self.results: list[Result] = []
        self.environment: dict[str, Any] = {}
        self.failure: Optional[BaseException] = None
        self.done = threading.Event()
        self._path, self._device, self._args = path, device, args
        self._start, self._stop_asked, self._bar = start, stop, bar

    def run(self) -> None:
        from ..device import Device
        from ..model import Model

        try:
            with Device(self._device), Model.from_file(self._path) as model:
                self.environment = environment()
                cases = _cases(model, self._args)
                for case in cases:
                    self._start.wait(600)
                    self.results.append(_measure(model, case, self._device, self._args, self._stop_asked, self._bar))
        except BaseException as error:
            self.failure = error
            self._start.abort()
        finally:
            self.done.set()


@dataclass
class _Case:
    """One choice of shapes."""

    name: str
    shapes: dict[str, tuple[int, ...]]
    batch: Optional[int] = None
    size: Optional[tuple[int, int]] = None


def _cases(model: Model, args: argparse.Namespace) -> list[_Case]:
    desc = model.desc
    batches = args.batch or ([args.dymBatch] if args.dymBatch else [])
    shapes = parse_shapes(args.dymDims)
    _check_options(model, {"--batch": bool(batches), "--dymHW": bool(args.dymHW), "--dymDims": bool(shapes)})
    if not desc.batches and batches and not any(t.dynamic for t in model.inputs):
        fixed = {t.shape[0] for t in model.inputs if t.shape}
        if set(batches) - fixed:
            raise CommandError(f"the model's batch is {', '.join(map(str, sorted(fixed)))}, and cannot be changed")
    if desc.batches:
        if set(batches) - set(desc.batches):
            raise CommandError(f"--batch {' '.join(map(str, batches))}: the model was compiled for "
                               f"{', '.join(map(str, desc.batches))}")
        return [_Case(f"batch {b}", {t.name: tuple(b if n < 0 else n for n in t.shape) for t in model.inputs}, batch=b)
                for b in batches or desc.batches]
    if desc.sizes:
        if args.dymHW:
            try:
                height, width = (int(n) for n in args.dymHW.replace("x", ",").split(","))
            except ValueError:
                raise CommandError(f"--dymHW {args.dymHW}: write height,width") from None
            if (height, width) not in desc.sizes:
                raise CommandError(f"--dymHW {args.dymHW}: the model was compiled for "
                                   f"{', '.join('{},{}'.format(*size) for size in desc.sizes)}")
            sizes: Sequence[tuple[int, int]] = [(height, width)]
        else:
            sizes = desc.sizes
        found = []
        for size in sizes:
            filled = {}
            for t in model.inputs:
                numbers = iter(size)
                filled[t.name] = tuple(next(numbers) if n < 0 else n for n in t.shape)
            found.append(_Case(f"{size[0]}x{size[1]}", filled, size=size))
        return found
    if any(t.dynamic for t in model.inputs):
        if not shapes and not batches:
            shapes = {t.name: some_shape(model, t) for t in model.inputs}
        if batches:
            return [_Case(f"batch {b}", {t.name: tuple(b if n < 0 else n for n in t.shape) for t in model.inputs})
                    for b in batches]
        return [_Case("; ".join(f"{n} {'x'.join(map(str, s))}" for n, s in shapes.items()), shapes)]
    return [_Case("", {t.name: t.shape for t in model.inputs})]


def _check_options(model: Model, given: dict[str, bool]) -> None:
    """Refuses options that choose what the model has no choice of."""
    desc = model.desc
    kind, fitting = ("dynamic batch", {"--batch"}) if desc.batches else \
        ("dynamic resolution", {"--dymHW"}) if desc.sizes else \
        ("dynamic dims", {"--dymDims"}) if desc.dims else \
        ("dynamic shapes", {"--dymDims", "--batch"}) if desc.dynamic else ("fixed shapes", {"--batch"})
    wrong = [option for option, present in given.items() if present and option not in fitting]
    if wrong:
        use = f": use {' or '.join(sorted(fitting))}" if desc.dynamic else ""
        raise CommandError(f"{' and '.join(wrong)} cannot be set, the model has {kind}{use}")


def _inputs(model: Model, case: _Case, args: argparse.Namespace) -> list[Any]:
    arrays = load_inputs(model, args.input, case.shapes)
    for array, info in zip(arrays, model.inputs):
        wanted = case.shapes.get(info.name, info.shape)
        if info.dtype not in (None, array.dtype) or array.shape != tuple(wanted):
            raise CommandError(f"the file for {info.name} holds {array.dtype} {list(array.shape)}, what is measured "
                               f"takes {info.dtype} {list(wanted)}")
    if args.pure_data_type == "zero" and not args.input:
        arrays = [np.zeros_like(a) for a in arrays]
    return arrays


def _measure(model: Model, case: _Case, device: int, args: argparse.Namespace, stop: threading.Event,
             bar: text.Progress) -> Result:
    from ..memory import DeviceBuffer, HostBuffer, memcpy

    arrays = _inputs(model, case, args)
    sources = [HostBuffer.from_numpy(np.ascontiguousarray(a)) for a in arrays]
    inputs = [DeviceBuffer(max(s.nbytes, t.nbytes)) for s, t in zip(sources, model.inputs)]
    series: dict[str, list[float]] = {"compute": [], "h2d": [], "d2h": [], "total": []}
    clock = time.perf_counter
    targets: list[Any] = []
    try:
        with model.bind(inputs) as binding:
            _choose(binding, case, model)
            bar.start(f"{Path(args.model or args.file).name} {case.name}", args.loop)
            for i in range(args.warmup + args.loop):
                if stop.is_set() and series["compute"]:
                    break
                begin = clock()
                for target, source in zip(inputs, sources):
                    memcpy(target, source)
                filled = clock()
                outputs = model.execute(binding)
                computed_at = clock()
                sizes = [_nbytes(binding, k, o) for k, o in enumerate(outputs)]
                targets = targets or [HostBuffer(max(n, 1)) for n in sizes]
                copying = clock()
                for output, host, nbytes in zip(outputs, targets, sizes):
                    memcpy(host, output, nbytes)
                end = clock()
                for k, output in enumerate(outputs):
                    if output is not binding.memory(k):
                        output.close()
                if i >= args.warmup:
                    copied, computed, fetched = filled - begin, computed_at - filled, end - copying
                    for name, seconds in (("h2d", copied), ("compute", computed), ("d2h", fetched),
                                          ("total", copied + computed + fetched)):
                        series[name].append(seconds * 1e6)
                    bar.advance(i + 1 - args.warmup)
    finally:
        for buffer in (*sources, *inputs, *targets):
            buffer.close()
    rows = args.batchsize or case.batch or (arrays[0].shape[0] if arrays and arrays[0].ndim else 1)
    done = len(series["compute"])
    mean = sum(series["compute"]) / done
    group = f"{Path(args.model or args.file).stem} {case.name}".strip()
    return Result(
        name=f"{group} device {device}", series=series, kind="model", group=group, warmup=args.warmup,
        notes=[f"interrupted after {done} of {args.loop} executions"] if done < args.loop else [],
        parameters={"model": args.model or args.file, "device": device, "rows": rows, "case": case.name,
                    "shapes": {n: list(s) for n, s in case.shapes.items()}, "throughput": rows / (mean * 1e-6)})


def _choose(binding: Binding, case: _Case, model: Model) -> None:
    if case.batch is not None:
        binding.set_batch(case.batch)
    elif case.size is not None:
        binding.set_size(*case.size)
    elif any(t.dynamic for t in model.inputs):
        binding.set_shapes(case.shapes)


def _nbytes(binding: Binding, index: int, output: Any) -> int:
    """The bytes of an output that a run really made."""
    info = binding.model.outputs[index]
    shape = binding.output_shape(index)
    if info.dtype is None or any(n < 0 for n in shape):
        return int(output.nbytes)
    return min(int(output.nbytes), info.nbytes_of(shape))


def _summary(result: Result) -> str:
    """The lines that ais_bench prints: milliseconds, and rows per second of computing."""
    lines = [f"{result.name}: {result.parameters['rows']} rows per execution"]
    for title, name in (("NPU_compute_time", "compute"), ("H2D_latency", "h2d"), ("D2H_latency", "d2h")):
        s = result.summary(name)
        lines.append(f"  {title} (ms): min = {s.min / 1e3:.4f}, max = {s.max / 1e3:.4f}, mean = {s.mean / 1e3:.4f}, "
                     f"median = {s.median / 1e3:.4f}, percentile(99%) = {s.p99 / 1e3:.4f}")
    lines.append(f"  throughput 1000*batchsize.mean({result.parameters['rows']})/NPU_compute_time.mean"
                 f"({result.summary('compute').mean / 1e3:.4f}): {result.parameters['throughput']:.2f}")
    return "\n".join(lines)
