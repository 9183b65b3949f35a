"""Executors: one call of an aclnn operator, planned once and launched once, or again and again."""

from __future__ import annotations

from typing import Any, Iterable, Optional, Sequence

from . import errors, resource
from .arguments import Plan, Text, bind, plan, raw, wrap
from .capi import declare_op, ffi, hot, lib
from .context import Context, flight_on
from .resource import Flight, Resource
from .stream import Stream
from .tensor import Tensor, TensorList

__all__ = ["Executor", "declare_op"]

_NULL = ffi.NULL


class Executor(Resource):
    """A planned call of an operator (its first phase, ``aclnnXxxGetWorkspaceSize``).

    ``Executor("aclnnAdd", x, y, 1.0, out)`` or by the prototype's names: ``self=x, other=y, alpha=1.0, out=out``.
    Numbers, sequences, strings, dtypes and None become scalars, arrays, C strings, aclDataTypes and NULL.

    Without `repeatable` it is launched once and is used up then. With it (aclSetAclOpExecutorRepeatable) it is launched
    any number of times, on any stream, and the ``set_`` methods give it other tensors of the same description. Use one
    executor from one thread at a time.

    Raises TypeError or ValueError for an argument that does not fit the prototype, and what the first phase returns.
    OperatorError (561000) says that this operator cannot be repeated.
    """

    __slots__ = ("name", "repeatable", "_plan", "_values", "_phase_two", "_size", "_tensors", "_members", "_launched",
                 "_explicit", "_places", "_flat")

    _composite = True

    def __init__(self, operator: str, /, *args: Any, repeatable: bool = False, **named: Any) -> None:
        self._set(plan(operator), args, named, repeatable, True)

    @classmethod
    def _for_cache(cls, found: Plan, values: Sequence[Any]) -> Executor:
        """A repeatable one that `rebind` can change, and that nobody is told to close."""
        executor = cls.__new__(cls)
        executor._set(found, values, {}, True, False)
        executor._note_places()
        return executor

    def _set(self, found: Plan, args: Sequence[Any], named: dict[str, Any], repeatable: bool, explicit: bool) -> None:
        self._plan = found
        self._explicit = explicit
        self.name = found.prototype.name
        self.repeatable = repeatable
        self._values = wrap(found, bind(found, args, named))
        self._launched = False
        # The tensors behind each parameter: a list of its members for a tensor list.
        self._tensors: dict[int, Any] = {}
        # The descriptions that only this executor uses: refreshing an address must not change the user's tensors.
        self._members: dict[int, Any] = {}
        context = context_for(self._values)
        self._phase_one()
        try:
            self._own(self.handle, context)
        except BaseException:
            self._release()
            raise

    @property
    def _warns(self) -> bool:  # type: ignore[override]
        return self.repeatable and self._explicit

    def _phase_one(self) -> None:
        values, members = self._values, self._members
        for i in {*self._plan.inputs, *self._plan.outputs}:
            value = values[i]
            if value is None:
                continue
            self._tensors[i] = list(value) if isinstance(value, TensorList) else value
            if self.repeatable:
                members[i] = value.descriptor()
        try:
            arguments = [self._c(i) for i in range(len(values))]
            size, out = ffi.new("uint64_t *"), ffi.new("aclOpExecutor **")
            function = self.name + "GetWorkspaceSize"
            code = getattr(lib, function)(*arguments, size, out)
            if code:
                failure = errors.error(code, function)
                errors.add_note(failure, f"{self._plan}\n  called with {self._summary()}")
                raise failure
            self.handle, self._size = out[0], size[0]
            self._phase_two = getattr(lib, self.name)
            if self.name == "aclnnTransMatmulWeight":  # its first phase gave the aclTensor another layout
                for tensor in self._tensors.values():
                    tensor.refresh()
            if self.repeatable:
                code = lib.aclSetAclOpExecutorRepeatable(self.handle)
                if code:
                    failure = errors.error(code, "aclSetAclOpExecutorRepeatable")
                    self._discard()
                    raise failure
        except BaseException:
            self._drop_members()
            raise

    def _c(self, i: int) -> Any:
        own = self._members.get(i)
        if own is None:
            return raw(self._values[i])
        return own[0] if isinstance(own, tuple) else own

    def _summary(self) -> str:
        shown = []
        for name, value in zip(self._plan.names, self._values):
            text = value.value.decode(errors="replace") if isinstance(value, Text) else \
                f"[{', '.join(map(_brief, value))}]" if isinstance(value, (TensorList, list)) else _brief(value)
            shown.append(f"{name}={text}")
        return ", ".join(shown)

    @property
    def workspace_size(self) -> int:
        """Bytes of device memory that a launch needs; the stream keeps them for all executors."""
        return int(self._size)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by name, as they were converted."""
        return {n: v.value.decode(errors="replace") if isinstance(v, Text) else v
                for n, v in zip(self._plan.names, self._values)}

    def launch(self, stream: Optional[Stream] = None) -> None:
        """Queues the work on `stream` (its second phase) and returns; None is the context's default stream.

        The tensors and the workspace are kept until the stream is synchronised.
        """
        flight = flight_on(stream, self)
        size = self._size
        if size:
            if size > flight.room:
                flight.grow(size)
            code = lib.launch(self._phase_two, flight.workspace, size, self.handle, flight.handle)
        else:
            code = lib.launch(self._phase_two, _NULL, 0, self.handle, flight.handle)
        flight.held[self] = None
        if code or not self.repeatable:
            self._after(code, flight)

    def execute(self, stream: Optional[Stream] = None) -> None:
        """Launches, and waits for the stream."""
        self.launch(stream)
        (stream or Stream.default()).synchronize()

    def _after(self, code: int, flight: Any) -> None:
        """What a launch does not always need: the end of a one-shot executor, an error, a thread without context."""
        if not self.repeatable:
            self._used_up()  # phase two freed it, also when it failed
        if not code:
            return
        if code == lib.ACL_ERROR_RT_CONTEXT_NULL and resource.bind(self._parent):
            if not self.repeatable:
                self._phase_one()
            code = lib.launch(self._phase_two, flight.workspace if self._size else _NULL, self._size, self.handle,
                              flight.handle)
            if not self.repeatable:
                del self.handle
            if not code:
                return
        failure = errors.error(code, self.name)
        errors.add_note(failure, f"{self._plan}\n  called with {self._summary()}")
        raise failure

    def _used_up(self) -> None:
        self._launched = True
        resource._forget(self)
        self._let_go()

    def _why_closed(self) -> str:
        if self._launched:
            return (f"this Executor of {self.name} was launched, and a one-shot executor is used up then: make it with "
                    "repeatable=True to launch it again")
        return f"this Executor of {self.name} is closed, or something that it uses was"

    # Other addresses

    def set_input(self, index: int, tensor: Tensor) -> None:
        """Another tensor for input `index`, counted over the inputs with each member of a tensor list by itself.

        aclSetInputTensorAddr. The new one must have the shape, strides, dtype and format of the old one; launches that
        are queued keep the old one. Raises InvalidArgumentError (161002) for an index out of range or a tensor that was
        None.
        """
        self._flattened("aclSetInputTensorAddr", index, tensor, self._plan.inputs)

    def set_output(self, index: int, tensor: Tensor) -> None:
        """The same for output `index` (aclSetOutputTensorAddr)."""
        self._flattened("aclSetOutputTensorAddr", index, tensor, self._plan.outputs)

    def set_tensor(self, index: int, tensor: Tensor) -> None:
        """The same with the inputs counted first and then the outputs (aclSetTensorAddr)."""
        self._flattened("aclSetTensorAddr", index, tensor, (*self._plan.inputs, *self._plan.outputs))

    def set_dynamic_input(self, index: int, member: int, tensor: Tensor) -> None:
        """Another tensor for a member of the tensor list that is input `index` of the prototype.

        aclSetDynamicInputTensorAddr: a list counts as one input here.
        """
        self._member("aclSetDynamicInputTensorAddr", index, member, tensor, self._plan.inputs)

    def set_dynamic_output(self, index: int, member: int, tensor: Tensor) -> None:
        """The same for the tensor list that is output `index` (aclSetDynamicOutputTensorAddr)."""
        self._member("aclSetDynamicOutputTensorAddr", index, member, tensor, self._plan.outputs)

    def set_dynamic_tensor(self, index: int, member: int, tensor: Tensor) -> None:
        """The same with the inputs counted first and then the outputs (aclSetDynamicTensorAddr)."""
        self._member("aclSetDynamicTensorAddr", index, member, tensor, (*self._plan.inputs, *self._plan.outputs))

    def _flattened(self, function: str, index: int, tensor: Tensor, positions: Iterable[int]) -> None:
        self._need_open()
        slots: list[tuple[int, Optional[int]]] = []
        for i in positions:
            if self._plan.kinds[i] == "tensors":
                slots.extend((i, m) for m in range(len(self._values[i] or ())))
            else:
                slots.append((i, None))
        if not 0 <= index < len(slots):
            raise self._refused(function, f"index {index} is out of range: there are {len(slots)}")
        position, member = slots[index]
        self._refresh(function, (index,), position, member, tensor)

    def _member(self, function: str, index: int, member: int, tensor: Tensor, positions: Sequence[int]) -> None:
        self._need_open()
        if not 0 <= index < len(positions):
            raise self._refused(function, f"index {index} is out of range: there are {len(positions)}")
        position = positions[index]
        if self._plan.kinds[position] != "tensors":
            raise self._refused(function, f"{self._plan.names[position]} is not a tensor list")
        count = len(self._values[position] or ())
        if not 0 <= member < count:
            raise self._refused(function, f"member {member} is out of range: {self._plan.names[position]} has {count}")
        self._refresh(function, (index, member), position, member, tensor)

    def _need_open(self) -> None:
        if self.repeatable and self.closed:
            self.handle  # noqa: B018 - raises

    def _refused(self, function: str, text: str) -> errors.AclError:
        return errors.error(lib.ACLNN_ERR_PARAM_INVALID, function, f"{text}\n  {self._plan}")

    def _refresh(self, function: str, indexes: tuple[int, ...], position: int, member: Optional[int],
                 tensor: Tensor) -> None:
        name = self._plan.names[position] + ("" if member is None else f"[{member}]")
        if not self.repeatable:
            raise errors.error(lib.ACLNN_ERR_INNER, function, f"{self.name} is planned for one launch",
                               "make the executor with repeatable=True")
        executor = self.handle
        if self._values[position] is None:
            raise self._refused(function, f"{name} was None when this was planned")
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{self.name}: {name} takes a Tensor, not a {type(tensor).__name__}")
        tensor.handle_check()
        old = self._tensors[position] if member is None else self._tensors[position][member]
        address = _same_plan(name, old, tensor)
        own = self._members[position]
        if member is None:
            handle = own
        else:
            handle = own[0] if len(indexes) == 2 else own[1][member]
        code = getattr(lib, function)(executor, *indexes, handle, ffi.cast("void *", address))
        if code:
            raise errors.error(code, function)
        if old is not tensor:
            resource.keep_while_in_flight(self, old)
            if member is None:
                self._tensors[position] = tensor
            else:
                self._tensors[position][member] = tensor
            self._values[position] = self._tensors[position]
            resource.uses_changed(self)

    def _note_places(self) -> None:
        """Where each tensor stands for aclSetTensorAddr: one that is updated in place stands in two places."""
        self._flat: list[Tensor] = []
        first: dict[int, int] = {}
        for position in sorted(self._tensors):
            first[position] = len(self._flat)
            found = self._tensors[position]
            self._flat += found if isinstance(found, list) else [found]
        self._places: list[tuple[int, Any, int, int, Optional[int]]] = []
        index = 0
        for position in (*self._plan.inputs, *self._plan.outputs):
            found = self._tensors.get(position)
            own: Any = self._members.get(position)
            if isinstance(found, list):
                self._places += [(index + m, own[1][m], first[position] + m, position, m) for m in range(len(found))]
                index += len(found)
            else:
                if found is not None:
                    self._places.append((index, own, first[position], position, None))
                index += self._plan.kinds[position] == "tensor"

    def rebind(self, tensors: list[Tensor]) -> None:
        """Other tensors everywhere at once, in the prototype's order, those of lists one by one.

        For the cache, which knows that they have the layouts of those before.
        """
        before = self._flat
        if tensors == before:
            return
        executor, refresh = self.handle, lib.aclSetTensorAddr
        resource.keep_while_in_flight(self, *[old for old, new in zip(before, tensors) if old is not new])
        for index, descriptor, n, position, member in self._places:
            tensor = tensors[n]
            if tensor is before[n]:
                continue
            tensor.handle_check()
            code = refresh(executor, index, descriptor, tensor.buffer.handle)
            if code:
                raise errors.error(code, "aclSetTensorAddr")
            if member is None:
                self._tensors[position] = self._values[position] = tensor
            else:
                self._tensors[position][member] = tensor
                self._values[position] = self._tensors[position]
        self._flat = tensors
        resource.uses_changed(self)

    # Life

    def _uses(self) -> Iterable[Resource]:
        for tensor in self._tensors.values():
            if isinstance(tensor, list):
                yield from tensor
            else:
                yield tensor
        for value in self._values:
            if isinstance(value, Resource) and not isinstance(value, (Tensor, TensorList)):
                yield value

    def _drop_members(self) -> None:
        for own in self._members.values():
            if isinstance(own, tuple):
                lib.aclDestroyTensorList(own[0])
            else:
                lib.aclDestroyTensor(own)
        self._members = {}

    def _discard(self) -> None:
        """Frees an executor that will not be launched."""
        handle = self.handle
        if not self.repeatable and lib.aclSetAclOpExecutorRepeatable(handle):
            errors.recent_text()  # not repeatable; aclDestroyAclOpExecutor frees most of these all the same
        if lib.aclDestroyAclOpExecutor(handle) and self.repeatable:
            errors.recent_text()

    def _release(self) -> None:
        handle = self.handle
        try:
            if self.repeatable:
                errors.check(lib.aclDestroyAclOpExecutor(handle), "aclDestroyAclOpExecutor")
            else:
                self._discard()
        finally:
            self._drop_members()
            # Whoever keeps a closed executor does not keep their memory.
            self._values, self._tensors, self._flat = [], {}, []

    def _describe(self) -> str:
        return f"{self.name} {'repeatable' if self.repeatable else 'one-shot'}"


def context_for(values: Iterable[Any]) -> Context:
    """This thread's context; a thread without one gets that of the first tensor among `values`."""
    try:
        return Context.current()
    except errors.ContextError:
        for value in values:
            for tensor in value if isinstance(value, (TensorList, list, tuple)) else (value,):
                if isinstance(tensor, Tensor) and resource.bind(tensor.buffer._context()):
                    return Context.current()
        raise


def _brief(value: Any) -> str:
    if isinstance(value, Resource):
        return repr(value)[len("<pyacl."):-1]
    return repr(value)


def _same_plan(name: str, old: Tensor, new: Tensor) -> int:
    """The address that makes the old description the new tensor. Raises ValueError where it cannot."""
    for what in ("shape", "strides", "dtype", "format"):
        before, after = getattr(old, what), getattr(new, what)
        if before != after and not (what == "strides" and 0 in old.shape):
            raise ValueError(f"{name}: only the address can change, but the {what} was {before} and is {after}: make "
                             "another executor")
    address = new.address - (old.address - old.buffer.address)
    if address % 32:
        raise ValueError(f"{name}: the new tensor starts at {new.address:#x}; less the old one's offset that is not "
                         "aligned to 32 bytes: take a tensor with the same offset")
    return address


hot.accelerate(Executor, Stream, Flight)  # `launch`, where there is a compiled module
