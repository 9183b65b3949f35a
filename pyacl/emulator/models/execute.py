"""Executing a loaded model on the buffers of two datasets: checks, shapes, gears, outputs, and the streams' rules."""

from __future__ import annotations

import itertools
from typing import Any, Optional

import numpy as np

from ...capi import lib
from .. import handles
from ..api import allocator
from ..failure import Failure
from ..machine import capture, memory
from ..machine.memory import device_bytes
from ..machine.stream import Stream, deadline_after
from . import aipp, failed
from .dataset import Dataset
from .describe import AIPP_INPUT, GEAR_INPUT, TensorInfo, nbytes
from .loaded import Loaded
from .session import OperatorFailure, Run, Slot

_KEPT_READY = 16
_USED = 0xCD  # what a model leaves in work memory


class Execution:
    """One execution: the buffers as they were when it was asked for."""

    __slots__ = ("_spans", "allocate", "descs", "input_descs", "inputs", "model", "outputs")

    def __init__(self, model: Loaded, inputs: Dataset, outputs: Dataset, allocate: bool) -> None:
        info = model.info
        self.model = model
        self.allocate = allocate
        self.inputs = inputs.get(len(info.inputs), "input")
        self.outputs = outputs.get(len(info.outputs), "output")
        self.input_descs = inputs.shapes(len(info.inputs)) if info.unbounded else None
        self.descs = outputs
        # Buffers may be pointed elsewhere before an asynchronous run; what counts is where they point now.
        self._spans = [(b.address, b.size) for b in self.inputs + self.outputs]
        self._check()

    def _check(self) -> None:
        """Every buffer has memory, or is an output that is allocated."""
        info = self.model.info
        first = len(info.inputs)
        for i, (address, size) in enumerate(self._spans):
            region = memory.find(address)
            if region is not None and region.mapped and address + size <= region.address + region.size:
                continue
            tensor = info.inputs[i] if i < first else info.outputs[i - first]
            what = f"input {i} ({tensor.name})" if i < first else f"output {i - first} ({tensor.name})"
            if address:
                device_bytes(address, size, f"{what}:")
            elif i < first:
                if tensor.nbytes or size:
                    raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"{what} has no memory")
            elif size or not self.allocate:
                raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"{what} has no memory" + (
                    f", but {size} bytes" if size else ": only a synchronous execution allocates outputs"))

    def run(self, later: bool = False) -> None:
        """Reads gears and shapes, computes, writes outputs. `later`: the buffers may have been freed meanwhile."""
        model = self.model
        if later:
            self._check()
        model.work.check("work memory")
        model.weight.check("weight memory")
        gear = self._gear()
        ready = model.ready.get((gear, *self._spans)) if model.dump is None else None
        if ready is None:
            self._first(gear)
        else:
            compute, shapes = ready
            compute()
            if model.info.dynamic:
                self.descs.set_results(model.info.outputs, shapes)
        model.runs += 1

    def _first(self, gear: Optional[int]) -> None:
        """A run on memory on which the model has not run before, or for which nothing can be prepared."""
        info = self.model.info
        slots: list[Slot] = []
        kept: list[Any] = []  # pictures that AIPP prepared
        for i, tensor in enumerate(info.inputs):
            if tensor.name in (GEAR_INPUT, AIPP_INPUT):
                continue
            address, size = self._spans[i]
            pictures = tensor.name in info.aipp
            shape = self._shape(i, tensor, gear)
            needed = tensor.nbytes if pictures else nbytes(shape, tensor.dtype)
            if size < needed:
                raise Failure(lib.ACL_ERROR_GE_PARAM_INVALID, f"input {i} ({tensor.name}) has {size} bytes, the model "
                              f"reads {needed}")
            if pictures:
                array = aipp.prepare(info.aipp[tensor.name], memory.view(address, needed), self._parameters())
                kept.append(array)
                slots.append(Slot(array.ctypes.data, array.shape))
            else:
                _aligned(address, tensor, f"input {i}")
                slots.append(Slot(address, shape))
        outputs = self._output_slots(len(info.inputs), gear)
        again = not (kept or info.unbounded) and all(s.address and s.shape is not None for s in outputs)
        compute = self._finish(slots, outputs)
        if again:
            ready = self.model.ready
            ready[(gear, *self._spans)] = compute, [s.shape or () for s in outputs]
            if len(ready) > _KEPT_READY:
                ready.pop(next(iter(ready)), None)

    def _parameters(self) -> Optional[aipp.Parameters]:
        """The parameters that were set for dynamic AIPP, from the model's extra input in device memory."""
        for i, tensor in enumerate(self.model.info.inputs):
            if tensor.name == AIPP_INPUT:
                address, size = self._spans[i]
                return aipp.decode(device_bytes(address, size, "the AIPP input:"))
        return None

    def _gear(self) -> Optional[int]:
        """Which gear the shape input asks for; None for a model without gears."""
        gears = self.model.info.gears
        if not gears.kind:
            return None
        index = next(i for i, t in enumerate(self.model.info.inputs) if t.name == GEAR_INPUT)
        address, size = self._spans[index]
        count = len(gears.values[0])
        width = 8 if size >= 8 * count else 4
        if size < 4 * count:
            raise Failure(lib.ACL_ERROR_GE_DYNAMIC_INPUT_LENGTH_INVALID, f"the input {GEAR_INPUT} has {size} bytes "
                          f"instead of {4 * count}")
        numbers = device_bytes(address, width * count, f"input {GEAR_INPUT}:").view(f"u{width}")
        wanted = tuple(int(n) for n in numbers)
        if wanted not in gears.values:
            raise Failure(lib.ACL_ERROR_GE_DYNAMIC_BATCH_SIZE_INVALID, f"no gear was set, or its memory was "
                          f"overwritten: input {GEAR_INPUT} holds {wanted}, the model has {gears.values}; call "
                          "aclmdlSetDynamicBatchSize, aclmdlSetDynamicHWSize or aclmdlSetInputDynamicDims before")
        return gears.values.index(wanted)

    def _shape(self, index: int, tensor: TensorInfo, gear: Optional[int]) -> tuple[int, ...]:
        if gear is not None:
            return gear_shape(self.model, tensor, gear)
        if self.input_descs is None or all(d >= 0 for d in tensor.shape):
            return tensor.shape
        desc = self.input_descs[index]
        if desc is None:
            raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"input {index} ({tensor.name}) is {list(tensor.shape)}: say "
                          "with aclmdlSetDatasetTensorDesc which shape it has")
        ranges = tensor.shape_range or tuple((1, -1) if d < 0 else (d, d) for d in tensor.shape)
        if len(desc) != len(tensor.shape) or any(
                d < low or (high >= 0 and d > high) for d, (low, high) in zip(desc, ranges)):
            raise Failure(lib.ACL_ERROR_INVALID_PARAM, f"input {index} ({tensor.name}) cannot have shape "
                          f"{list(desc)}: the model takes {list(tensor.shape)}"
                          + (f" within {list(tensor.shape_range)}" if tensor.shape_range else ""))
        return desc

    def _output_slots(self, first: int, gear: Optional[int]) -> list[Slot]:
        slots = []
        for i, tensor in enumerate(self.model.info.outputs):
            address, size = self._spans[first + i]
            shape: Optional[tuple[int, ...]] = tensor.shape
            if gear is not None:
                shape = output_shape(self.model, i, gear)
            if self.input_descs is not None or shape is None or min(shape, default=0) < 0:
                shape = None
            if address and shape is not None:
                self._fits(i, tensor, nbytes(shape, tensor.dtype), size)
            _aligned(address, tensor, f"output {i}")
            slots.append(Slot(address, shape))
        return slots

    def _fits(self, index: int, tensor: TensorInfo, needed: int, size: int) -> None:
        if size < needed:
            raise Failure(lib.ACL_ERROR_GE_PARAM_INVALID, f"output {index} ({tensor.name}) has {size} bytes, the "
                          f"result needs {needed}")

    def _finish(self, inputs: list[Slot], slots: list[Slot]) -> Run:
        """Allocates, computes, delivers and describes; what computed it."""
        model = self.model
        fresh: list[memory.Region] = []
        try:
            for i, slot in enumerate(slots):
                if not slot.address and slot.shape is not None:
                    region = self._allocate(nbytes(slot.shape, model.info.outputs[i].dtype))
                    fresh.append(region)
                    slots[i] = Slot(region.address, slot.shape)
            compute = model.runner.prepare(inputs, slots)
            results = compute()
            shapes: list[tuple[int, ...]] = []
            for i, (slot, result) in enumerate(zip(slots, results)):
                tensor = model.info.outputs[i]
                if result is None:
                    assert slot.shape is not None
                    address, size, shape = slot.address, nbytes(slot.shape, tensor.dtype), slot.shape
                else:
                    address, size, shape = self._deliver(i, tensor, slot.address, result, fresh)
                shapes.append(shape)
                buffer = self.outputs[i]
                if not buffer.address:
                    buffer.address, buffer.size = address, size
        except BaseException:
            for region in fresh:
                memory.release(region)
            raise
        if model.info.dynamic:
            self.descs.set_results(model.info.outputs, shapes)
        if model.dump is not None and model.dump.active:
            model.dump.write(model, inputs, [Slot(b.address, s) for b, s in zip(self.outputs, shapes)])
        return compute

    def at_failure(self, operator: str) -> failed.Failed:
        """What is known when an operator fails."""
        info, gear = self.model.info, self._gear()
        tensors = info.inputs + info.outputs
        return failed.Failed(info, operator, {t.name: self._shape(i, t, gear) for i, t in enumerate(info.inputs)},
                             {t.name.rpartition(":")[2]: address for t, (address, _) in zip(tensors, self._spans)})

    def _allocate(self, size: int) -> memory.Region:
        return memory.malloc(self.model.context.device, max(size, 1), "aclrtMalloc")

    def _deliver(self, index: int, tensor: TensorInfo, address: int, result: np.ndarray,
                 fresh: list[memory.Region]) -> tuple[int, int, tuple[int, ...]]:
        """Copies a result whose size only the run could tell."""
        size = result.nbytes
        if address:
            self._fits(index, tensor, size, self._spans[len(self.inputs) + index][1])
        else:
            region = self._allocate(size)
            fresh.append(region)
            address = region.address
        if size:
            device_bytes(address, size, f"output {index} ({tensor.name}):")[:] = result.reshape(-1).view(np.uint8)
        return address, size, result.shape


def _aligned(address: int, tensor: TensorInfo, what: str) -> None:
    """CANN wants every block to begin at a multiple of 64; what numbers cannot be read from is refused."""
    if address % max(nbytes((1,), tensor.dtype), 1):
        raise Failure(lib.ACL_ERROR_GE_EXEC_MODEL_ADDR_INVALID, f"{what} ({tensor.name}) is at {address:#x}, which is "
                      "not aligned: pieces of a block must begin at multiples of 64")


def gear_shape(model: Loaded, tensor: TensorInfo, gear: int) -> tuple[int, ...]:
    """The shape of an input in a gear."""
    gears = model.info.gears
    numbers = gears.values[gear]
    if gears.batch:
        return tuple(numbers[0] if d < 0 else d for d in tensor.shape)
    if gears.hw:
        rest = iter(numbers)
        return tuple(next(rest) if d < 0 else d for d in tensor.shape)
    position = 0
    for other in model.info.inputs:
        count = sum(d < 0 for d in other.shape)
        if other is tensor:
            rest = iter(numbers[position:position + count])
            return tuple(next(rest) if d < 0 else d for d in tensor.shape)
        position += count
    raise AssertionError(tensor.name)


def output_shape(model: Loaded, index: int, gear: int) -> Optional[tuple[int, ...]]:
    """The shape of an output in a gear; None where the file does not tell."""
    return next((s for g, o, s in model.info.gears.outputs if g == gear and o == index), None)


# The ways to execute.

_numbers = itertools.count()


def now(model: Loaded, inputs: Dataset, outputs: Dataset) -> None:
    """aclmdlExecute: computes before returning, in no stream's order."""
    capture.forbid("a synchronous execution of a model")
    execution = Execution(model, inputs, outputs, allocate=True)
    stream = model.busy_elsewhere(None)
    if stream is not None:
        raise _concurrent(model, stream, "a synchronous execution")
    model.enter()
    try:
        execution.run()
    finally:
        model.leave()


def queued(model: Loaded, inputs: Dataset, outputs: Dataset, stream: Stream, name: str, *,
           allocate: bool = False) -> None:
    """aclmdlExecuteAsync: queues the execution."""
    execution = Execution(model, inputs, outputs, allocate)
    other = model.busy_elsewhere(stream)
    # Work behind an event may well run after that of the other stream; whether it does shows when it runs.
    if other is not None and all(task[2] is None for task in stream.queue):
        raise _concurrent(model, other, repr(stream))
    work = None if allocate else _borrowed(execution, stream)
    number = next(_numbers)

    def run() -> None:
        try:
            other = model.busy_elsewhere(stream, number)
            if other is not None:
                raise _concurrent(model, other, repr(stream))
            model.enter()
            try:
                if work is not None:
                    device_bytes(*work, "the work memory of the stream's allocator")[:] = _USED
                execution.run(later=True)
            except OperatorFailure as failure:
                failed.note(stream, execution.at_failure(failure.operator))
                raise
            finally:
                model.leave()
        finally:
            model.in_flight.pop(number, None)  # a captured task runs again at every replay

    model.in_flight[number] = (stream, run)
    try:
        stream.submit(run, name, fault=lib.ACL_ERROR_RT_MODEL_EXECUTE)
    except BaseException:
        model.in_flight.pop(number, None)
        raise


def _borrowed(execution: Execution, stream: Stream) -> Optional[tuple[int, int]]:
    """Work memory of the allocator that is registered for the stream: for models of dynamic shape.

    The allocator has it back before the work has run; until then the stream's order keeps others from it.
    """
    model, found = execution.model, allocator.registered(stream)
    if found is None or not model.info.unbounded:
        return None
    size = max(model.info.work_bytes, sum(b.size for b in execution.inputs), 512)
    block = found.alloc(found.object, size)
    if not block:
        raise Failure(lib.ACL_ERROR_GE_MEMORY_ALLOCATION, f"the allocator of {stream!r} has no {size} bytes of work "
                      f"memory for model {model.id} ({model.info.name})")
    address = handles.address(found.address(block))
    found.free(found.object, block)
    return address, size


def _concurrent(model: Loaded, busy: Stream, other: str) -> Failure:
    return Failure(lib.ACL_ERROR_RT_MODEL_EXECUTE, f"model {model.id} ({model.info.name}) still has to run on "
                   f"{busy!r} and cannot run on {other} at the same time: synchronise the first, let the second wait "
                   "for an event of it, or load the model once for each stream")


def on_stream(model: Loaded, inputs: Dataset, outputs: Dataset, stream: Stream, timeout: int) -> None:
    """aclmdlExecuteV2 with a stream: queues and waits; 507046 when `timeout` (ms, -1 for ever) comes first."""
    capture.forbid("a synchronous execution of a model")
    if stream.capture is not None:
        stream.refuse_synchronisation()
    queued(model, inputs, outputs, stream, "aclmdlExecuteV2", allocate=True)
    stream.drain(deadline_after(timeout), "aclmdlExecuteV2")
