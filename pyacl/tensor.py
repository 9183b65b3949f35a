"""Tensors: shape, strides, offset, dtype and format over device memory, as aclTensor has them."""

from __future__ import annotations

import operator
import sys
from typing import Any, Iterable, Iterator, Optional, Sequence, Union

import numpy as np

from . import dtypes, errors, tensor_state
from .capi import ffi, lib
from .dtypes import DTypeLike, Format, to_acl, to_dtype, to_format
from .memory import DeviceBuffer, memcpy, memcpy_async
from .resource import Resource
from .stream import Stream

Shape = tuple[int, ...]
Array = np.ndarray[Any, Any]

_FAR = 1 << 40  # where the views that only compute shapes pretend to lie


def _strides(shape: Sequence[int]) -> Shape:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def _shape(shape: Union[int, Iterable[int]]) -> Shape:
    dims = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    found = tuple(operator.index(n) for n in dims)
    if any(n < 0 for n in found):
        raise ValueError(f"a shape has no negative sizes: {found}")
    return found


def _count(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


class _Layout:
    """Lets numpy compute a view: one byte an element, at an address that is never touched."""

    __slots__ = ("__array_interface__",)

    def __init__(self, tensor: Tensor) -> None:
        self.__array_interface__ = {
            "data": (_FAR + tensor.offset, True), "shape": tensor.shape, "strides": tensor.strides, "typestr": "|u1",
            "version": 3}


class Tensor(Resource):
    """A view of device memory, with the handle (aclTensor) that operators take.

    Make one with `from_numpy`, `empty`, `zeros`, `full`, `from_buffer`, `from_dlpack` or `from_data_ptr`. Slicing,
    transposing, reshaping and expanding make views of the same memory. A tensor that made its memory frees it when it
    and its views are gone, or at `close`, which makes the views unusable.

    ``shape``          the view's sizes
    ``strides``        steps between elements, counted in elements
    ``offset``         the first element, counted in elements from the start of `buffer`
    ``dtype``          numpy dtype
    ``format``         `Format`
    ``storage_shape``  how the memory is laid out
    ``buffer``         the DeviceBuffer
    """

    __slots__ = ("shape", "strides", "offset", "dtype", "format", "storage_shape", "buffer", "acl_dtype", "_owns",
                 "_layout", "_start")

    _warns = False

    def __init__(self, buffer: DeviceBuffer, shape: Union[int, Iterable[int]], dtype: DTypeLike, *,
                 strides: Optional[Sequence[int]] = None, offset: int = 0, format: Union[str, int] = Format.ND,
                 storage_shape: Optional[Sequence[int]] = None) -> None:
        dims = _shape(shape)
        steps = _strides(dims) if strides is None else tuple(operator.index(n) for n in strides)
        if len(steps) != len(dims):
            raise ValueError(f"{len(steps)} strides do not fit a shape of {len(dims)} dimensions")
        if offset < 0 or any(n < 0 for n in steps):
            raise ValueError("strides and offset must not be negative: an aclTensor has no reversed views")
        kind = to_dtype(dtype)
        span = offset + _span(dims, steps)
        if dtypes.nbytes(kind, span) > buffer.nbytes:
            raise ValueError(f"a {kind} tensor of shape {dims}, strides {steps} and offset {offset} needs "
                             f"{dtypes.nbytes(kind, span)} bytes, but its buffer has {buffer.nbytes}")
        # Without one given, the storage is what the strides walk over: all of it for a dense tensor, else a flat range.
        storage = _shape(storage_shape) if storage_shape is not None else (
            dims if strides is None and not offset else (max(span, 1),))
        buffer.handle  # noqa: B018 - raises when closed
        self._set(buffer, dims, steps, offset, kind, to_format(format), storage, False)

    def _set(self, buffer: DeviceBuffer, shape: Shape, strides: Shape, offset: int, dtype: np.dtype[Any],
             format: Format, storage_shape: Shape, owns: bool) -> None:
        self.buffer = buffer
        self.shape, self.strides, self.offset = shape, strides, offset
        self.dtype, self.format, self.storage_shape = dtype, format, storage_shape
        self.acl_dtype = to_acl(dtype)
        self._owns = owns
        self._layout = ""  # see `layout`
        self._own_later(buffer)

    # Making one

    @classmethod
    def empty(cls, shape: Union[int, Iterable[int]], dtype: DTypeLike = np.float32, *,
              format: Union[str, int] = Format.ND) -> Tensor:
        """A dense tensor with new memory, not initialised."""
        dims, kind, layout = _shape(shape), to_dtype(dtype), to_format(format)
        tensor = cls.__new__(cls)
        buffer = DeviceBuffer._for_pyacl(dtypes.nbytes(kind, _count(dims)))
        tensor._set(buffer, dims, _strides(dims), 0, kind, layout, dims, True)
        return tensor

    @classmethod
    def zeros(cls, shape: Union[int, Iterable[int]], dtype: DTypeLike = np.float32, *,
              format: Union[str, int] = Format.ND, stream: Optional[Stream] = None) -> Tensor:
        """A dense tensor of zeros."""
        from .memory import memset

        tensor = cls.empty(shape, dtype, format=format)
        memset(tensor, 0, stream=stream)
        return tensor

    @classmethod
    def full(cls, shape: Union[int, Iterable[int]], value: Any, dtype: DTypeLike = np.float32, *,
             format: Union[str, int] = Format.ND) -> Tensor:
        """A dense tensor that has `value` everywhere."""
        return cls.from_numpy(np.full(_shape(shape), value, to_dtype(dtype)), format=format)

    @classmethod
    def from_numpy(cls, array: Any, *, dtype: Optional[DTypeLike] = None, format: Union[str, int] = Format.ND,
                   stream: Optional[Stream] = None) -> Tensor:
        """A dense tensor with a copy of any numpy array, whatever its strides and byte order.

        With a stream the copy is queued there, and is only beside the host when `array` is pinned (see HostBuffer).
        """
        source = np.asarray(array)
        if dtype is not None:
            source = source.astype(to_dtype(dtype), copy=False)
        elif not source.dtype.isnative:
            source = source.astype(source.dtype.newbyteorder("="))
        tensor = cls.empty(source.shape, source.dtype, format=format)
        tensor._fill(source, stream)
        return tensor

    @classmethod
    def from_buffer(cls, buffer: DeviceBuffer, shape: Union[int, Iterable[int]], dtype: DTypeLike,
                    **layout: Any) -> Tensor:
        """A tensor over memory that is there already; the same as ``Tensor(buffer, shape, dtype, ...)``."""
        return cls(buffer, shape, dtype, **layout)

    @classmethod
    def from_data_ptr(cls, obj: Any) -> Tensor:
        """A view of another library's tensor on an NPU (torch_npu): ``data_ptr``, ``shape``, ``stride()``, ``dtype``.

        `obj` is kept alive. A view's address is seldom aligned as operators want it, so where `obj` tells its storage
        (``untyped_storage()``, ``storage_offset()``) this is a view of that. Raises ValueError for a tensor that is not
        on an NPU.
        """
        where = str(getattr(getattr(obj, "device", None), "type", "npu"))
        if where not in ("npu", "privateuseone"):
            raise ValueError(f"the tensor is on {where!r}, not on an NPU: move it with .npu(), or use from_numpy")
        shape = _shape(obj.shape)
        strides = tuple(int(n) for n in obj.stride()) if hasattr(obj, "stride") else _strides(shape)
        kind = to_dtype(str(obj.dtype).rpartition(".")[2])
        if hasattr(obj, "untyped_storage") and hasattr(obj, "storage_offset"):
            storage, offset = obj.untyped_storage(), int(obj.storage_offset())
            address, size = storage.data_ptr(), storage.nbytes()
        else:
            address, size, offset = obj.data_ptr(), dtypes.nbytes(kind, _span(shape, strides)), 0
        buffer = DeviceBuffer.from_address(address, size, owner=obj)
        return cls(buffer, shape, kind, strides=strides, offset=offset)

    @classmethod
    def from_dlpack(cls, obj: Any) -> Tensor:
        """A tensor from another library by DLPack: a view of memory on an NPU, a copy of an array on the host."""
        from .dlpack import take

        return take(cls, obj)

    def __dlpack_device__(self) -> tuple[int, int]:
        """The host: that is where a consumer that asks for nothing else gets a copy."""
        from .dlpack import HOST_DEVICE

        return HOST_DEVICE, 0

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Optional[tuple[int, int]] = None,
                   copy: Optional[bool] = None) -> Any:
        """A DLPack capsule of a copy on the host; with ``dl_device=(12, device_id)`` of this memory itself.

        Like `numpy` it does not wait for queued work: synchronise first. Raises BufferError where DLPack cannot.
        """
        from .dlpack import give

        return give(self, dl_device, copy)

    # What it is

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return _count(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of one element; of types that share bytes, such as int4, as numpy keeps them."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, were they dense."""
        return dtypes.nbytes(self.dtype, self.size)

    @property
    def address(self) -> int:
        """The device address of the first element."""
        self.buffer.handle  # noqa: B018
        return self.buffer.address + dtypes.nbytes(self.dtype, self.offset)

    @property
    def device_id(self) -> int:
        """The device that its memory is on."""
        return int(getattr(self.buffer._context(), "device_id", 0))

    @property
    def contiguous(self) -> bool:
        """Whether its elements lie in C order without gaps."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides)):
            if size != 1 and stride != step:
                return self.size == 0
            step *= size
        return True

    # Views

    def _view(self, layout: Array) -> Tensor:
        offset = layout.__array_interface__["data"][0] - _FAR if layout.size else self.offset
        if any(n < 0 for n in layout.strides):
            raise ValueError("an aclTensor has no reversed views: copy with aclnnFlip instead")
        tensor = type(self).__new__(type(self))
        # The storage is the whole memory that views share; a dense view of all of it may as well name it by its shape.
        dense = not offset and layout.strides == _strides(layout.shape) and layout.size == _count(self.storage_shape)
        storage = layout.shape if dense and self.format in _PLAIN else self.storage_shape
        # A layout with names for its dimensions is lost when their number changes.
        format = self.format if layout.ndim == self.ndim or self.format not in _PLAIN else Format.ND
        tensor._set(self.buffer, layout.shape, layout.strides, offset, self.dtype, format, storage, False)
        return tensor

    def handle_check(self) -> None:
        """Raises ClosedError when the tensor or its memory was closed."""
        if self.closed:
            self.handle  # noqa: B018 - raises, also ForkError
        self.buffer.handle  # noqa: B018

    def _numpy_view(self) -> Array:
        self.handle_check()
        if self.format not in _PLAIN:
            raise ValueError(f"a tensor of format {self.format} has a private layout: convert it before taking views")
        return np.asarray(_Layout(self))

    def __getitem__(self, key: Any) -> Tensor:
        """A view: integers, slices with positive steps, ``...`` and None."""
        for part in key if isinstance(key, tuple) else (key,):
            if part is None or part is Ellipsis or isinstance(part, slice):
                continue
            if isinstance(part, (bool, np.bool_)) or not isinstance(part, (int, np.integer)):
                raise TypeError(f"cannot take {part!r} as an index: views are made by integers, slices, ... and None; "
                                "for others use an operator such as aclnnIndex or aclnnGather")
        parts = key if isinstance(key, tuple) else (key,)
        # With an ellipsis numpy gives a view even of one element, and does not read it.
        return self._view(self._numpy_view()[parts if Ellipsis in parts else (*parts, Ellipsis)])

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a tensor without dimensions has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        raise TypeError("a tensor's truth is on the device: fetch it with .numpy() first")

    def transpose(self, *axes: int) -> Tensor:
        """A view with the dimensions in the order of `axes`, reversed without."""
        order = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
        return self._view(self._numpy_view().transpose(*order) if order else self._numpy_view().transpose())

    permute = transpose

    @property
    def T(self) -> Tensor:
        """A view with the dimensions reversed."""
        return self.transpose()

    def swapaxes(self, first: int, second: int) -> Tensor:
        """A view with two dimensions exchanged."""
        return self._view(self._numpy_view().swapaxes(first, second))

    def reshape(self, *shape: Any) -> Tensor:
        """A view with another shape; one size may be -1. Raises ValueError where that would need a copy."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        view = _reshape(self._numpy_view(), _wanted(wanted, self.size))
        if view is None:
            raise ValueError(f"a tensor of shape {self.shape} and strides {self.strides} cannot be seen as {wanted} "
                             "without a copy: copy it to a dense tensor first")
        return self._view(view)

    def expand(self, *shape: Any) -> Tensor:
        """A view that repeats dimensions of size 1, and new ones in front, with stride 0."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
        return self._view(np.broadcast_to(self._numpy_view(), _shape(wanted)))

    def squeeze(self, axis: Optional[int] = None) -> Tensor:
        """A view without dimensions of size 1."""
        return self._view(self._numpy_view().squeeze(axis))

    def unsqueeze(self, axis: int) -> Tensor:
        """A view with a dimension of size 1 at `axis`."""
        return self._view(np.expand_dims(self._numpy_view(), axis))

    # Content

    __array_ufunc__ = None  # numpy does not compute with device memory unasked

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> Array:
        """``numpy.asarray(tensor)`` is ``tensor.numpy()``."""
        if copy is False:
            raise ValueError("device memory is copied to the host: numpy cannot have it without a copy")
        array = self.numpy()
        return array if dtype is None else array.astype(dtype, copy=False)

    def numpy(self, *, stream: Optional[Stream] = None) -> Array:
        """A copy on the host, in C order.

        It does not wait for work queued on streams: synchronise first, or give the stream, which queues the copy there
        and synchronises it.
        """
        if dtypes.packed(self.dtype):
            self._need_dense("packed types are copied whole")
            raw = np.empty(self.nbytes, np.uint8)
            self._fetch(raw, self._memory()[0], stream)
            return dtypes.unpack(raw, self.dtype, self.size).reshape(self.shape)
        if self.contiguous:
            out = np.empty(self.shape, self.dtype)
            self._fetch(out.reshape(-1).view(np.uint8), self._memory()[0], stream)
            return out
        raw = np.empty(_span(self.shape, self.strides) * self.itemsize, np.uint8)
        self._fetch(raw, ffi.cast("void *", self.address), stream)
        return np.array(self._over(raw))

    def _over(self, raw: Array) -> Array:
        """This view's elements in a host copy of the range that it walks over."""
        return np.ndarray(self.shape, self.dtype, raw.data, 0, [n * self.itemsize for n in self.strides])

    def _fetch(self, out: Array, pointer: Any, stream: Optional[Stream]) -> None:
        self.handle_check()
        if not out.nbytes:
            return
        source = _Raw(self, pointer, out.nbytes)
        if stream is None:
            memcpy(out, source)
        else:
            memcpy_async(out, source, stream)
            stream.synchronize()

    def copy_(self, source: Any, *, stream: Optional[Stream] = None) -> Tensor:
        """Fills it with `source`, a Tensor or array of the same shape and dtype (arrays are cast); gives itself back.

        Ordered with a stream's work only when that stream is given, which dense tensors alone can do.
        """
        if isinstance(source, Tensor):
            if source.shape != self.shape or source.dtype != self.dtype:
                raise ValueError(f"cannot copy a {source.dtype} tensor of shape {source.shape} into a {self.dtype} one "
                                 f"of shape {self.shape}")
            if self.contiguous and source.contiguous:
                if stream is None:
                    memcpy(self, source)
                else:
                    memcpy_async(self, source, stream)
                return self
            source = source.numpy(stream=stream)
        array = np.asarray(source).astype(self.dtype, copy=False)
        if array.shape != self.shape:
            raise ValueError(f"cannot copy an array of shape {array.shape} into a tensor of shape {self.shape}")
        self._fill(array, stream)
        return self

    def _fill(self, array: Array, stream: Optional[Stream]) -> None:
        self.handle_check()
        if not array.size:
            return
        if dtypes.packed(self.dtype):
            self._need_dense("packed types are copied whole")
            raw = dtypes.pack(array)
        elif self.contiguous:
            raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        else:  # what lies between the elements is written back as it was
            raw = np.empty(_span(self.shape, self.strides) * self.itemsize, np.uint8)
            self._fetch(raw, ffi.cast("void *", self.address), stream)
            self._over(raw)[...] = array
        target = _Raw(self, ffi.cast("void *", self.address), raw.nbytes)
        if stream is None:
            memcpy(target, raw)
        else:
            memcpy_async(target, raw, stream)

    def _need_dense(self, why: str) -> None:
        if not self.contiguous or (dtypes.packed(self.dtype) and self.offset % 2):
            raise ValueError(f"the tensor of shape {self.shape} and strides {self.strides} is not dense: {why}")

    def _memory(self) -> tuple[Any, int]:
        """What `memcpy` copies."""
        self.handle_check()
        self._need_dense("take a dense tensor, or use .numpy() and .copy_(), which copy any view")
        return ffi.cast("void *", self.address), self.nbytes

    # Handles

    def layout(self) -> str:
        """All but the address that a plan may depend on, as a text; "" for memory that no executor can be given later.

        An executor takes another tensor of the same layout in this one's place (aclSetTensorAddr).
        """
        if not self._layout:
            self._start = self.address
            if self.buffer.address % 32 == 0:
                self._layout = sys.intern(f"{self.shape}{self.strides}{self.offset}{self.storage_shape}"
                                          f"{self.acl_dtype} {int(self.format)}")
        return self._layout

    def refresh(self) -> Tensor:
        """Takes over shape, strides, storage shape and format from the aclTensor, and returns the tensor.

        Some operators change it: those whose results decide how large they are (aclnnNonzero, aclnnUnique2,
        aclnnMaskedSelect), which is known when the stream is synchronised, and those that bring a matrix into another
        layout (aclnnTransMatmulWeight). Repeatable executors have aclTensors of their own, so take a one-shot call.
        Stands on aclGetViewShape, aclGetViewStrides, aclGetStorageShape and aclGetFormat.
        """
        self.shape, self.strides, self.storage_shape, kind = tensor_state.read(self.handle)
        self.format = to_format(kind)
        self._layout = ""
        return self

    def descriptor(self) -> Any:
        """A new aclTensor for this view (aclCreateTensor); whoever asks for it destroys it."""
        self.handle_check()
        pointer = lib.aclCreateTensor(self.shape, len(self.shape), self.acl_dtype, self.strides, self.offset,
                                      self.format, self.storage_shape, len(self.storage_shape), self.buffer.handle)
        if not pointer:
            raise errors.error(lib.ACLNN_ERR_PARAM_INVALID, "aclCreateTensor")
        return pointer

    def _make_handle(self) -> Any:
        self.handle = self.descriptor()
        return self.handle

    def _uses(self) -> Iterable[Resource]:
        return (self.buffer,)

    def _release(self) -> None:
        made = self._made
        if made is not None:
            errors.check(lib.aclDestroyTensor(made), "aclDestroyTensor")

    def close(self) -> None:
        """Releases the handle, and the memory if this tensor made it; views of it are unusable then."""
        super().close()
        if self._owns:
            self.buffer.close()

    def _describe(self) -> str:
        text = f"{self.shape} {self.dtype}"
        if self.format != Format.ND:
            text += f" {self.format}"
        if not self.contiguous:
            text += f" strides {self.strides}"
        if self.offset:
            text += f" offset {self.offset}"
        return text


class _Raw(Resource):
    """A range of a tensor's memory as one side of a copy; owns nothing."""

    __slots__ = ("tensor", "side")

    def __init__(self, tensor: Tensor, pointer: Any, nbytes: int) -> None:
        self.tensor = tensor
        self._parent = tensor
        self.side = (pointer, nbytes)

    def _memory(self) -> tuple[Any, int]:
        return self.side

    def _uses(self) -> Iterable[Resource]:
        return (self.tensor,)


_PLAIN = frozenset((Format.ND, Format.NCHW, Format.NHWC, Format.HWCN, Format.NDHWC, Format.NCDHW, Format.NC, Format.NCL,
                    Format.UNDEFINED))


def _reshape(layout: Array, shape: Shape) -> Optional[Array]:
    """`layout` with another shape of as many elements, or None where that needs a copy. Not by numpy's reshape: before
    2.1 that tries the copy, and so reads memory that is not there."""
    runs: list[tuple[int, int]] = []  # elements and step of neighbouring dimensions that are walked as one
    for n, step in zip(layout.shape, layout.strides):
        if runs and runs[-1][1] == n * step:
            runs[-1] = (runs[-1][0] * n, step)
        elif n != 1:
            runs.append((n, step))
    strides = []
    left, step = 1, layout.itemsize
    for n in reversed(shape):
        if left == 1 and n > 1 and layout.size:
            left, step = runs.pop()
        if n and left % n and layout.size:
            return None
        strides.append(step)
        left, step = left // max(n, 1), step * max(n, 1)
    return np.lib.stride_tricks.as_strided(layout, shape, strides[::-1])


def _wanted(shape: Iterable[int], size: int) -> Shape:
    dims = [operator.index(n) for n in shape]
    if dims.count(-1) > 1:
        raise ValueError("only one size can be -1")
    if -1 in dims:
        rest = _count([n for n in dims if n != -1])
        if not rest or size % rest:
            raise ValueError(f"{size} elements do not fit the shape {tuple(dims)}")
        dims[dims.index(-1)] = size // rest
    if any(n < 0 for n in dims) or _count(dims) != size:
        raise ValueError(f"{size} elements do not fit the shape {tuple(dims)}")
    return tuple(dims)


def _span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Elements from the first to the last that a view touches, both included."""
    if not _count(shape):
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides))


class TensorList(Resource):
    """Several tensors as one argument (aclTensorList).

    The C list owns handles of its own, so the tensors stay usable apart from it and are kept alive by it.
    """

    __slots__ = ("tensors",)

    _warns = False
    _composite = True

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self.tensors = list(tensors)
        for tensor in self.tensors:
            if not isinstance(tensor, Tensor):
                raise TypeError(f"a TensorList has Tensors, not a {type(tensor).__name__}")
            tensor.handle_check()
        self._own_later()

    def __len__(self) -> int:
        return len(self.tensors)

    def __getitem__(self, index: int) -> Tensor:
        return self.tensors[index]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensors)

    def descriptor(self) -> tuple[Any, list[Any]]:
        """A new aclTensorList and its members; destroying the list destroys them."""
        members: list[Any] = []
        try:
            for tensor in self.tensors:
                members.append(tensor.descriptor())
            pointer = lib.aclCreateTensorList(members, len(members))
            if not pointer:
                raise errors.error(lib.ACLNN_ERR_PARAM_INVALID, "aclCreateTensorList")
        except Exception:
            for member in members:
                lib.aclDestroyTensor(member)
            raise
        return pointer, members

    def _make_handle(self) -> Any:
        self.handle, _ = self.descriptor()
        return self.handle

    def _uses(self) -> Iterable[Resource]:
        return self.tensors

    def _release(self) -> None:
        made = self._made
        if made is not None:
            errors.check(lib.aclDestroyTensorList(made), "aclDestroyTensorList")

    def _describe(self) -> str:
        return f"of {len(self.tensors)}"
