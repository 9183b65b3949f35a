"""An operator bound to descriptions: checked as far as these say, and the tasks that run it on given memory."""

from __future__ import annotations

from typing import Any, Callable, Optional

import numpy as np

from ...capi import lib
from ..api.data_buffer import DataBuffer
from ..failure import Failure, not_emulated
from ..machine import memory
from ..machine.device import Device
from ..ops import ge
from ..ops.executor import Plan, Run
from ..ops.tensor import Tensor, view
from .model import OpModel, Signature

_CACHED = 16  # runs that a handle keeps, by addresses


def _operator(type: str) -> ge.GeOperator:
    found = ge.find(type)
    if found is None:
        raise not_emulated(f"operator {type}")
    return found


def check(model: OpModel) -> None:
    """Refuses a model that the operator cannot have; what is not known yet is checked when it runs."""
    if model.dynamic:
        operator = _operator(model.type)
        operator.attribute_values(model.attrs)
        _distribute(operator, model)
    else:
        Bound(model, model)


def _distribute(operator: ge.GeOperator, model: OpModel) -> list[tuple[ge.Slot, list[int]]]:
    """Which of the call's inputs belong to which declared one."""
    count = len(model.inputs)
    many = [s for s in operator.inputs if s.many]
    least = sum(not (s.optional or s.many) for s in operator.inputs)
    most = len(operator.inputs)
    if count < least or (count > most and not many):
        raise Failure(lib.ACL_ERROR_OP_INPUT_NOT_MATCH, f"{model.type} takes {least}{f' to {most}' * (most > least)} "
                                                        f"inputs, not {count}")
    if len(model.outputs) != len(operator.outputs) and not any(s.many for s in operator.outputs):
        raise Failure(lib.ACL_ERROR_OP_OUTPUT_NOT_MATCH, f"{model.type} has {len(operator.outputs)} outputs, not "
                                                         f"{len(model.outputs)}")
    found = []
    position = 0
    for slot in operator.inputs:
        # No type that is emulated has more than one group of inputs.
        size = count - (len(operator.inputs) - 1) if slot.many else 1 if position < count else 0
        found.append((slot, list(range(position, position + size))))
        position += size
    return found


def _values(signature: Signature, data: Any) -> Any:
    """A constant's elements as an array."""
    found = ge.tensor(signature.dtype, signature.shape, signature.format)
    size = found.size * found.dtype.itemsize
    if len(data) < size:
        raise Failure(lib.ACL_ERROR_GE_PARAM_INVALID, f"a constant of shape {list(signature.shape)} has {len(data)} "
                                                      f"bytes; it needs {size}")
    return np.frombuffer(data, found.dtype, found.size).reshape(signature.shape)


class Bound:
    """An operator with its tensors. `model` is the one that was matched (its constants count), `call` what was asked
    for. Fails with ACL_ERROR_GE_FAILURE for what the operator refuses."""

    def __init__(self, model: OpModel, call: OpModel, plan: bool = True) -> None:
        self.type = model.type
        self.inputs = call.inputs
        self.outputs = call.outputs
        self.constants = [t.const for t in model.inputs]
        self.operator = _operator(model.type)
        self.slots = _distribute(self.operator, call)
        self.attributes = self.operator.attribute_values(model.attrs)
        self.plan: Optional[Plan] = None
        self.tensors: list[Optional[Tensor]] = []
        self.results: list[Optional[Tensor]] = []
        self._runs: dict[tuple[int, ...], Run] = {}
        self._prepare()
        self._late = [i for slot, members in self.slots if slot.value for i in members
                      if self.constants[i] is None and not self.inputs[i].unused]
        values = {i for slot, members in self.slots if slot.value for i in members}
        # Constants that are tensors get device memory when it runs; those that are values are in the plan.
        self._constant_tensors = {i: c for i, c in enumerate(self.constants) if c is not None and i not in values}
        # Bytes that each buffer must have; 0 for one that is not used.
        self._needs = [0 if t is None or c is not None else _nbytes(t) for t, c in zip(self.tensors, self.constants)]
        self._needs += [0 if t is None else _nbytes(t) for t in self.results]
        if plan and not self._late:
            self.plan = self._plan({})

    def _prepare(self) -> None:
        typed: list[tuple[ge.Slot, Tensor]] = []
        self.tensors = [None] * len(self.inputs)
        for slot, members in self.slots:
            for i in members:
                signature = self.inputs[i]
                if signature.unused:
                    if not slot.optional:
                        raise Failure(lib.ACL_ERROR_OP_INPUT_NOT_MATCH,
                                      f"{self.type}: input {slot.name} is not optional")
                    continue
                found = self.tensors[i] = _tensor(signature)
                typed.append((slot, found))
        self.results = [None if t.unused else _tensor(t) for t in self.outputs]
        for i, made in enumerate(self.results):
            if made is not None:
                typed.append((self.operator.outputs[min(i, len(self.operator.outputs) - 1)], made))
        ge.check_types(self.operator, typed)

    def _plan(self, late: dict[int, Any]) -> Plan:
        return self._ask(self.operator.plan, late)  # type: ignore[no-any-return]

    def infer(self) -> tuple[list[Any], list[Any]]:
        """The outputs' shapes and types, as `GeOperator.infer` has them."""
        return self._ask(self.operator.infer, {})  # type: ignore[no-any-return]

    def _ask(self, question: Callable[..., Any], late: dict[int, Any]) -> Any:
        """Asks the operator about these tensors; `late` are values that are known only now."""
        inputs: dict[str, Any] = {}
        for slot, members in self.slots:
            given: list[Any] = []
            for i in members:
                data = self.constants[i]
                if slot.value and self.tensors[i] is not None:
                    given.append(late[i] if data is None else _values(self.inputs[i], data))
                else:
                    given.append(self.tensors[i])
            inputs[slot.name] = given if slot.many else given[0] if given else None
        outputs: dict[str, Any] = {slot.name: t for slot, t in zip(self.operator.outputs, self.results)}
        if self.operator.outputs[-1].many:
            outputs[self.operator.outputs[-1].name] = self.results[len(self.operator.outputs) - 1:]
        try:
            return question(inputs, outputs, self.attributes)
        except Failure as failure:
            if failure.code in (lib.ACLNN_ERR_PARAM_INVALID, lib.ACLNN_ERR_PARAM_NULLPTR):
                raise Failure(lib.ACL_ERROR_GE_FAILURE, f"{self.type}: {failure.text}") from None
            raise

    @property
    def dynamic(self) -> bool:
        """Whether the output's shape follows from the data."""
        return self.operator.operator().dynamic

    def shapes(self) -> list[tuple[int, ...]]:
        """The outputs' shapes; of a dynamic operator those of its last run."""
        return [t.shape if t is not None else () for t in self.results]

    def task(self, sources: list[DataBuffer], targets: list[DataBuffer], host: dict[int, bytes],
             device: Device) -> Callable[[], None]:
        """The work on these buffers; `host` holds what was in host memory.

        Fails with ACL_ERROR_GE_PARAM_INVALID for a buffer that is too small.
        """
        for i, (needed, buffer) in enumerate(zip(self._needs, (*sources, *targets))):
            size = buffer.size if i not in host else len(host[i])
            if size < needed:
                what, n = ("input", i) if i < len(self.inputs) else ("output", i - len(self.inputs))
                shape = (*self.inputs, *self.outputs)[i].shape
                raise Failure(lib.ACL_ERROR_GE_PARAM_INVALID,
                              f"{what} {n} of {self.type} has {size} bytes; shape {list(shape)} needs {needed}")
        given = tuple([b.address for b in sources] + [b.address for b in targets])
        if self.plan is not None and not host and not self._constant_tensors and not self.dynamic:
            return self._run(given)
        data = {**self._constant_tensors, **host}
        return lambda: self._run_with(list(given), data, device)

    def _run(self, given: tuple[int, ...]) -> Run:
        run = self._runs.get(given)
        if run is None:
            assert self.plan is not None
            if len(self._runs) >= _CACHED:
                self._runs.pop(next(iter(self._runs)))
            run = self._runs[given] = Run(self.plan, self._addresses(self.plan, given))
        return run

    def _addresses(self, plan: Plan, given: Any) -> list[int]:
        """The plan's slots' addresses: a slot's tensor is one of ours."""
        place = {id(t): a for t, a in zip((*self.tensors, *self.results), given) if t is not None}
        return [place.get(id(getattr(t, "base", t)), 0) for t in plan.objects]

    def _run_with(self, given: list[int], data: dict[int, bytes], device: Device) -> None:
        """Runs with constants and host data in device memory of their own, and with values read from device memory."""
        for tensor, signature in zip(self.results, self.outputs):
            if tensor is not None and tensor.shape != signature.shape:  # a dynamic operator ran before
                tensor.set(signature.shape, signature.dtype, None, 0, signature.format, None, 0)
        late = {i: self._read(i, given[i], data) for i in self._late}
        plan = self.plan if self.plan is not None and not self.dynamic else self._plan(late)
        borrowed = []
        try:
            for i, content in data.items():
                if content:
                    region = memory.malloc(device, len(content), "an operator's constant")
                    borrowed.append(region)
                    region.bytes[:len(content)] = np.frombuffer(content, np.uint8)
                    given[i] = region.address
            Run(plan, self._addresses(plan, given))()
        finally:
            for region in borrowed:
                memory.release(region)

    def _read(self, i: int, address: int, data: dict[int, bytes]) -> Any:
        if i in data:
            return _values(self.inputs[i], data[i])
        tensor = self.tensors[i]
        assert tensor is not None
        return np.array(view(tensor, address, f"{self.type}'s input {i}"))


def _tensor(signature: Signature) -> Tensor:
    return ge.tensor(signature.dtype, signature.shape,
                     signature.format if signature.storage_format is None else signature.storage_format)


def _nbytes(tensor: Tensor) -> int:
    bits = 4 if tensor.dtype.name in ("int4", "float4_e2m1fn") else tensor.dtype.itemsize * 8
    return (tensor.size * bits + 7) // 8
