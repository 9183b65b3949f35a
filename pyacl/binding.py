"""Bindings: a model's inputs and outputs tied to memory, once, for many executions (aclmdlDataset)."""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Iterable, Mapping, Optional, Sequence, Union

import numpy as np

from . import errors
from .capi import ffi, lib
from .context import Context
from .memory import DeviceBuffer, HostBuffer, memcpy, memcpy_async
from .model_desc import TensorInfo
from .resource import Resource, bind, settle, uses_changed
from .tensor import Tensor

if TYPE_CHECKING:
    from .model import Model
    from .stream import Stream

Array = np.ndarray[Any, Any]
Value = Union[Tensor, DeviceBuffer, Array]
Key = Union[int, str]
_NULL = ffi.NULL


class _Slot:
    """One aclDataBuffer, and what it points to."""

    __slots__ = ("info", "buffer", "memory", "array", "staging", "given")

    def __init__(self, info: Optional[TensorInfo]) -> None:
        self.info = info
        self.buffer: Any = _NULL  # aclDataBuffer *
        self.memory: Optional[Resource] = None  # the DeviceBuffer or Tensor it points to; None for a runtime's output
        self.array: Optional[Array] = None  # of the user, copied at every execution
        self.staging: Optional[HostBuffer] = None
        self.given = False  # whether the memory is the user's


class Binding(Resource):
    """Inputs and outputs of one model, made by `Model.bind`; use it for as many executions as you like.

    Tensors and DeviceBuffers are used in place. numpy inputs are copied to the device at every execution and numpy
    outputs filled after it. An output of None is allocated by the runtime at every execution and then yours. Closing it
    waits for the streams on which it was executed; it frees what it allocated itself.
    """

    __slots__ = ("model", "_output", "_inputs", "_outputs", "_copies", "_hidden", "shapes")

    _warns = False
    _composite = True

    def __init__(self, model: Model, inputs: Any = (), outputs: Any = None) -> None:
        model.handle  # noqa: B018 - closed?
        _in_context(model)
        desc = model.desc
        self.model = model
        self._inputs = [_Slot(t) for t in desc.inputs]
        self._outputs = [_Slot(t) for t in desc.outputs]
        self._hidden: list[_Slot] = []
        self._copies = False  # whether numpy arrays have to be copied
        self.shapes: dict[str, tuple[int, ...]] = {}  # of inputs whose dimensions vary
        given = _ordered(inputs, desc.inputs, "input")
        wanted: Sequence[Any] = [_OWN] * len(desc.outputs) if outputs is None else _ordered(
            outputs, desc.outputs, "output")
        self._output = _NULL
        handle = lib.aclmdlCreateDataset()
        try:
            self._output = lib.aclmdlCreateDataset()
            if _NULL in (handle, self._output):
                raise errors.error(lib.ACL_ERROR_BAD_ALLOC, "aclmdlCreateDataset")
            for slot, value in zip(self._inputs, given):
                self._point(slot, value, False)
            for slot, value in zip(self._outputs, wanted):
                self._point(slot, value, True)
            self._add_hidden()
            self._fill(handle)
        except BaseException:
            self._destroy(handle)
            raise
        self._own(handle, model)
        self._note_copies()

    # Memory

    def _point(self, slot: _Slot, value: Any, output: bool) -> None:
        """Makes a slot point to `value`; checks it first."""
        info = slot.info
        assert info is not None
        array: Optional[Array] = None
        memory: Optional[Resource]
        given = True
        if value is None and not output:
            raise TypeError(f"input {info.name} is None: every input needs a value")
        if value is None or (value is _OWN and not info.nbytes):
            memory = None
        elif isinstance(value, Tensor):
            memory = _checked_tensor(info, value)
        elif isinstance(value, DeviceBuffer):
            _fits(info, value.nbytes, info.nbytes, output)
            memory = value
        elif value is _OWN:
            memory, given = DeviceBuffer._for_pyacl(info.nbytes), False
        else:
            array = _checked_array(info, value, output)
            size = max(info.nbytes, array.nbytes)
            own = slot.memory if not slot.given else None
            if isinstance(own, DeviceBuffer) and own.nbytes >= size and not own.closed:
                memory, given = own, False
            else:
                memory, given = DeviceBuffer._for_pyacl(size), False
        address, nbytes = _span(memory)
        if slot.buffer == _NULL:
            slot.buffer = lib.aclCreateDataBuffer(address, nbytes)
            if slot.buffer == _NULL:
                raise errors.error(lib.ACL_ERROR_BAD_ALLOC, "aclCreateDataBuffer")
        else:
            errors.check(lib.aclUpdateDataBuffer(slot.buffer, address, nbytes), "aclUpdateDataBuffer")
        slot.memory, slot.array, slot.given = memory, array, given
        if slot.staging is not None and (array is None or slot.staging.nbytes != array.nbytes):
            slot.staging = None

    def _add_hidden(self) -> None:
        """The inputs through which gears and AIPP parameters go."""
        model = self.model
        for index in (model.desc.gear_index, model.desc.aipp_index):
            if index is None:
                continue
            slot = _Slot(None)
            slot.memory = DeviceBuffer._for_pyacl(max(lib.aclmdlGetInputSizeByIndex(model.desc.handle, index), 1))
            address, nbytes = _span(slot.memory)
            slot.buffer = lib.aclCreateDataBuffer(address, nbytes)
            self._hidden.append(slot)

    def _fill(self, handle: Any) -> None:
        desc = self.model.desc
        places: dict[int, _Slot] = {s.info.index: s for s in self._inputs if s.info is not None}
        places.update(zip([i for i in (desc.gear_index, desc.aipp_index) if i is not None], self._hidden))
        for i in range(desc.num_inputs):
            errors.check(lib.aclmdlAddDatasetBuffer(handle, places[i].buffer), "aclmdlAddDatasetBuffer")
        for slot in self._outputs:
            errors.check(lib.aclmdlAddDatasetBuffer(self._output, slot.buffer), "aclmdlAddDatasetBuffer")

    def _note_copies(self) -> None:
        self._copies = any(s.array is not None or s.memory is None for s in (*self._inputs, *self._outputs))

    def set_input(self, key: Key, value: Value) -> None:
        """Binds an input to other memory; waits first for executions that still use the old one."""
        self._rebind(self._inputs[_place(self.model.desc.input(key), self._inputs)], value, False)

    def set_output(self, key: Key, value: Optional[Value]) -> None:
        """Binds an output to other memory, or with None lets the runtime allocate it."""
        self._rebind(self._outputs[_place(self.model.desc.output(key), self._outputs)], value, True)

    def _rebind(self, slot: _Slot, value: Any, output: bool) -> None:
        self.handle  # noqa: B018
        settle(self)
        old = slot.memory if not slot.given else None
        self._point(slot, value, output)
        uses_changed(self)
        self._note_copies()
        if old is not None and old is not slot.memory:
            old.close()

    def memory(self, key: Key) -> Optional[Resource]:
        """What an output is bound to: a Tensor, a DeviceBuffer, or None where the runtime allocates it."""
        return self._outputs[_place(self.model.desc.output(key), self._outputs)].memory

    # Gears and shapes

    def set_batch(self, batch: int) -> None:
        """Chooses a gear of a model with dynamic batch (aclmdlSetDynamicBatchSize)."""
        self._gear("aclmdlSetDynamicBatchSize", batch)
        self._shaped({t.name: tuple(batch if n < 0 else n for n in t.shape) for t in self.model.desc.inputs})

    def set_size(self, height: int, width: int) -> None:
        """Chooses a gear of a model with dynamic resolution (aclmdlSetDynamicHWSize)."""
        self._gear("aclmdlSetDynamicHWSize", height, width)
        found = {}
        for t in self.model.desc.inputs:
            numbers = iter((height, width))
            found[t.name] = tuple(next(numbers) if n < 0 else n for n in t.shape)
        self._shaped(found)

    def set_shapes(self, shapes: Mapping[str, Sequence[int]]) -> None:
        """Says which shapes the inputs have: a gear of a model with dynamic dims (aclmdlSetInputDynamicDims), or any
        shape of a model with dynamic shapes (aclmdlSetDatasetTensorDesc)."""
        desc = self.model.desc
        found = {}
        for tensor in desc.inputs:
            given = shapes.get(tensor.name, shapes.get(tensor.full_name))
            if given is None:
                if tensor.dynamic:
                    raise KeyError(f"no shape is given for {tensor.name}, which is {list(tensor.shape)}")
                given = tensor.shape
            found[tensor.name] = _checked_shape(tensor, tuple(int(n) for n in given))
        unknown = set(shapes) - {n for t in desc.inputs for n in (t.name, t.full_name)}
        if unknown:
            raise KeyError(f"the model has no input {', '.join(map(repr, unknown))}")
        if desc.gear_index is None:
            self._tensor_descs(found)
        else:
            dims = ffi.new("aclmdlIODims *")
            sizes = [n for shape in found.values() for n in shape]
            dims.dimCount = len(sizes)
            for i, n in enumerate(sizes):
                dims.dims[i] = n
            self._gear("aclmdlSetInputDynamicDims", dims)
        self._shaped(found)

    def _gear(self, function: str, *args: Any) -> None:
        index = self.model.desc.gear_index
        if index is None:
            raise ValueError(f"{self.model!r} has no gears: {function} needs a model compiled with them")
        settle(self)  # what is queued reads the gear when it runs
        call = (self.model.handle, self.handle, index, *args)
        try:
            code = getattr(lib, function)(*call)
        except OverflowError:
            raise ValueError(f"{', '.join(map(str, args))} is no gear of {self.model!r}") from None
        if code:
            self._again(code, function, *call)

    def _tensor_descs(self, shapes: dict[str, tuple[int, ...]]) -> None:
        settle(self)
        for slot in self._inputs:
            info = slot.info
            assert info is not None
            shape = shapes[info.name]
            dims = ffi.new("int64_t[]", list(shape) or 1)
            desc = lib.aclCreateTensorDesc(info.acl_dtype, len(shape), dims, info.format)
            if desc == _NULL:
                raise errors.error(lib.ACL_ERROR_BAD_ALLOC, "aclCreateTensorDesc")
            try:
                code = lib.aclmdlSetDatasetTensorDesc(self.handle, desc, info.index)
                errors.check(code, "aclmdlSetDatasetTensorDesc")
            finally:
                lib.aclDestroyTensorDesc(desc)

    def _shaped(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self.shapes = {name: shape for name, shape in shapes.items() if self.model.desc.input(name).dynamic}

    def set_aipp(self, parameters: Any, input: Optional[Key] = None) -> None:
        """Sets the parameters of dynamic AIPP (aclmdlSetInputAIPP, or aclmdlSetAIPPByInputIndex with an `input`)."""
        desc = self.model.desc
        if desc.aipp_index is None:
            raise ValueError(f"{self.model!r} has no dynamic AIPP")
        settle(self)
        if input is None:
            function, index = "aclmdlSetInputAIPP", desc.aipp_index
        else:
            function, index = "aclmdlSetAIPPByInputIndex", desc.input(input).index
        call = (self.model.handle, self.handle, index, parameters.handle)
        code = getattr(lib, function)(*call)
        if code:
            self._again(code, function, *call)

    def output_shape(self, key: Key) -> tuple[int, ...]:
        """An output's shape: that of the gear chosen, or after an execution with dynamic shapes the real one."""
        info = self.model.desc.output(key)
        if self.model.desc.gear_index is not None:
            return self.model.desc.current_shape(key)
        if not self.model.desc.dynamic and not info.dynamic:
            return info.shape
        desc = lib.aclmdlGetDatasetTensorDesc(self._output, info.index)
        if desc == _NULL:
            return info.shape
        out = ffi.new("int64_t *")
        shape = []
        for i in range(lib.aclGetTensorDescNumDims(desc)):
            errors.check(lib.aclGetTensorDescDimV2(desc, i, out), "aclGetTensorDescDimV2")
            shape.append(int(out[0]))
        return tuple(shape)

    # Around an execution

    def upload(self, stream: Optional[Stream]) -> None:
        """Copies numpy inputs to the device; queued on `stream` from pinned memory if there is one."""
        settle(self)  # what is queued may still read the memory that is filled here
        for slot in self._inputs:
            if slot.array is None:
                continue
            if stream is None:
                memcpy(slot.memory, raw_bytes(np.ascontiguousarray(slot.array)))
                continue
            if slot.staging is None:
                slot.staging = HostBuffer._for_pyacl(slot.array.nbytes)
            slot.staging.numpy[:] = raw_bytes(np.ascontiguousarray(slot.array))
            memcpy_async(slot.memory, slot.staging, stream)

    def download(self, stream: Optional[Stream]) -> None:
        """Fills numpy outputs; queued on `stream` by pinned memory if there is one."""
        for i, slot in enumerate(self._outputs):
            array = slot.array
            if array is None:
                continue
            if stream is None:
                _copy_out(array, slot.memory, self.output_shape(i))
                continue
            if slot.staging is None:
                slot.staging = HostBuffer._for_pyacl(array.nbytes)
            memcpy_async(slot.staging, slot.memory, stream, array.nbytes)
            stream.call(_unstage, array, slot.staging)

    @property
    def allocates(self) -> bool:
        """Whether the runtime allocates an output."""
        return any(slot.memory is None for slot in self._outputs)

    def results(self) -> list[Any]:
        """After an execution: what each output is bound to; a new Tensor for one that the runtime allocated."""
        return [self._take(i, slot) if slot.memory is None else slot.array if slot.array is not None else slot.memory
                for i, slot in enumerate(self._outputs)]

    def _take(self, index: int, slot: _Slot) -> Any:
        """Takes over the memory that the runtime allocated, and empties the aclDataBuffer for the next execution."""
        address = lib.aclGetDataBufferAddr(slot.buffer)
        if address == _NULL:
            return None
        nbytes = lib.aclGetDataBufferSizeV2(slot.buffer)
        buffer = _adopted(address, nbytes, self._context())
        errors.check(lib.aclUpdateDataBuffer(slot.buffer, _NULL, 0), "aclUpdateDataBuffer")
        info = slot.info
        assert info is not None
        if info.dtype is None:
            return buffer
        tensor = Tensor(buffer, self.output_shape(index), info.dtype, format=info.format)
        tensor._owns = True
        return tensor

    def drop_results(self) -> None:
        """After an execution whose results nobody gets: frees what the runtime had allocated already."""
        for slot in self._outputs:
            if slot.memory is None and lib.aclGetDataBufferAddr(slot.buffer) != _NULL:
                lib.aclrtFree(lib.aclGetDataBufferAddr(slot.buffer))
                lib.aclUpdateDataBuffer(slot.buffer, _NULL, 0)

    # As a resource

    def _uses(self) -> Iterable[Resource]:
        slots = (*self._inputs, *self._outputs, *self._hidden)
        return [self.model, *(s.memory for s in slots if s.memory is not None)]

    def _destroy(self, handle: Any) -> None:
        """Datasets first, then buffers, then memory of our own."""
        for dataset in (handle, self._output):
            if dataset != _NULL:
                lib.aclmdlDestroyDataset(dataset)
        for slot in (*self._inputs, *self._outputs, *self._hidden):
            if slot.buffer != _NULL:
                lib.aclDestroyDataBuffer(slot.buffer)
                slot.buffer = _NULL
            if slot.memory is not None and not slot.given:
                slot.memory.close()
            slot.memory = slot.array = slot.staging = None

    def _release(self) -> None:
        self.drop_results()  # of an execution that nobody waited for to the end
        self._destroy(self.handle)
        self._output = _NULL

    def _describe(self) -> str:
        return f"of {self.model!r}"


def _adopted(address: Any, nbytes: int, context: Optional[Resource]) -> DeviceBuffer:
    """Memory that the runtime allocated for us, and that is ours to free."""
    buffer = DeviceBuffer.__new__(DeviceBuffer)
    buffer.nbytes, buffer.address = int(nbytes), int(ffi.cast("uintptr_t", address))
    buffer.owned, buffer._owner, buffer._explicit = True, None, False
    buffer._own(address, context)
    return buffer


def _in_context(model: Model) -> None:
    """Gives a thread without context the model's."""
    try:
        Context.current()
    except errors.ContextError:
        if not bind(model._context()):
            raise


class CallBinding(Binding):
    """One that its model keeps for calls, and that so must not keep its model."""

    __slots__ = ("_model",)

    def __init__(self, model: Model, inputs: Any) -> None:
        super().__init__(model, inputs)
        self._parent = model._parent

    if not TYPE_CHECKING:
        @property
        def model(self) -> Any:
            return self._model()

        @model.setter
        def model(self, model: Any) -> None:
            self._model = weakref.ref(model)

    def _uses(self) -> Iterable[Resource]:
        return [used for used in super()._uses() if used is not None]

    def close(self) -> None:
        model = self.model
        with nullcontext() if model is None else model._lock:  # another thread may be calling the model
            super().close()


class _Own:
    """Stands for an output whose memory the binding allocates."""


_OWN = _Own()


def _ordered(values: Any, tensors: Sequence[TensorInfo], what: str) -> list[Any]:
    """Values by place or by name, in the model's order."""
    names = ", ".join(t.name for t in tensors)
    if isinstance(values, Mapping):
        left = dict(values)
        found = []
        for tensor in tensors:
            key = next((k for k in (tensor.name, tensor.full_name) if k in left), None)
            if key is None:
                raise KeyError(f"{what} {tensor.name} is missing; the model has {names}")
            found.append(left.pop(key))
        if left:
            raise KeyError(f"the model has no {what} {', '.join(map(repr, left))}; it has {names}")
        return found
    if isinstance(values, (np.ndarray, Tensor, DeviceBuffer)):
        values = [values]
    found = list(values)
    if len(found) != len(tensors):
        raise ValueError(f"{len(found)} {what}s are given, the model has {len(tensors)}: {names}")
    return found


def _place(info: TensorInfo, slots: Sequence[_Slot]) -> int:
    return next(i for i, slot in enumerate(slots) if slot.info is info)


def _span(memory: Optional[Resource]) -> tuple[Any, int]:
    """Address and size for an aclDataBuffer."""
    if memory is None:
        return _NULL, 0
    if isinstance(memory, Tensor):
        return ffi.cast("void *", memory.address), max(memory.nbytes, 1)
    assert isinstance(memory, DeviceBuffer)
    return memory.handle, memory.nbytes


def _fits(info: TensorInfo, size: int, needed: int, output: bool) -> None:
    if size < needed:
        raise ValueError(f"{'output' if output else 'input'} {info.name} needs {needed} bytes, the memory has {size}")


def _checked_shape(info: TensorInfo, shape: tuple[int, ...]) -> tuple[int, ...]:
    ranges = info.ranges or ((0, -1),) * len(info.shape)
    if len(shape) != len(info.shape) or any(
            n >= 0 and n != given or n < 0 and (given < low or 0 <= high < given)
            for n, given, (low, high) in zip(info.shape, shape, ranges)):
        limits = f" within {list(info.ranges)}" if info.ranges else ""
        raise ValueError(f"{info.name} has shape {list(shape)}, the model takes {list(info.shape)}{limits}")
    return shape


def _checked_dtype(info: TensorInfo, dtype: np.dtype[Any]) -> None:
    if info.dtype is not None and dtype != info.dtype:
        raise TypeError(f"{info.name} has dtype {dtype}, the model has {info.dtype}: convert with "
                        f"array.astype({info.dtype.name!r})")


def _checked_tensor(info: TensorInfo, tensor: Tensor) -> Tensor:
    _checked_dtype(info, tensor.dtype)
    _checked_shape(info, tensor.shape)
    if not tensor.contiguous:
        raise ValueError(f"{info.name}: the tensor's elements do not lie one after another; a model reads dense memory")
    return tensor


def _checked_array(info: TensorInfo, value: Any, output: bool) -> Array:
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{info.name} is a {type(value).__name__}: give a Tensor, a DeviceBuffer or a numpy array"
                        f"{', or None' if output else ''}")
    if value.ndim != 1 or value.dtype != np.uint8 or info.acl_dtype != lib.ACL_UINT8 and info.dtype is not None \
            or not 0 < value.nbytes <= info.nbytes:  # else the bytes of a picture for AIPP
        _checked_dtype(info, value.dtype)
        _checked_shape(info, value.shape)
    if output and not value.flags.writeable:
        raise ValueError(f"{info.name}: the array is read-only")
    return value


def raw_bytes(array: Array) -> Array:
    """A contiguous array's bytes as a view: numpy does not give out buffers of ml_dtypes' types."""
    return array.reshape(-1).view(np.uint8)


def _copy_out(array: Array, memory: Any, shape: tuple[int, ...]) -> None:
    if array.shape == shape and array.flags.c_contiguous:
        memcpy(raw_bytes(array), memory, array.nbytes)
        return
    if array.shape != shape:
        raise ValueError(f"the output has shape {list(shape)}, its array {list(array.shape)}")
    dense = np.empty(shape, array.dtype)
    memcpy(raw_bytes(dense), memory, dense.nbytes)
    array[...] = dense


def _unstage(array: Array, staging: HostBuffer) -> None:
    array[...] = staging.numpy.view(array.dtype).reshape(array.shape)
