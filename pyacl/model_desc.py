"""What a model takes and gives: tensors, gears, AIPP (aclmdlDesc)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import prod
from typing import Any, Optional, Sequence, Union

import numpy as np

from . import errors
from .c_string import c_string
from .capi import ffi, lib
from .dtypes import Format, nbytes, to_numpy
from .memory import host_bytes
from .resource import Resource

Path = Union[str, "os.PathLike[str]"]


_HIDDEN = (lib.ACL_DYNAMIC_TENSOR_NAME, lib.ACL_DYNAMIC_AIPP_NAME)


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a model.

    ``name``        how pyacl calls it: of ``node:0:scores`` the last part, where that is unique
    ``full_name``   how CANN calls it
    ``index``       its place in the model
    ``shape``       -1 for a dimension that varies; where static AIPP feeds an input, that of the picture's bytes
    ``dtype``       numpy dtype; None for an aclDataType that numpy lacks
    ``acl_dtype``   aclDataType
    ``format``      `Format`
    ``nbytes``      of the largest gear; 0 where a dimension has no bound
    ``ranges``      (low, high) of each dimension of a model with dynamic shapes, high -1 without bound; else empty
    """

    name: str
    full_name: str
    index: int
    shape: tuple[int, ...]
    dtype: Optional[np.dtype[Any]]
    acl_dtype: int
    format: Format
    nbytes: int
    ranges: tuple[tuple[int, int], ...] = ()

    @property
    def dynamic(self) -> bool:
        """Whether a dimension varies."""
        return any(n < 0 for n in self.shape)

    def nbytes_of(self, shape: Sequence[int]) -> int:
        """The bytes of such a tensor with a given shape."""
        if self.dtype is None:
            raise TypeError(f"{self.name} has aclDataType {self.acl_dtype}, which numpy lacks: give a DeviceBuffer")
        size = 1
        for n in shape:
            size *= n
        return nbytes(self.dtype, size)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype or self.acl_dtype} {list(self.shape)} {self.format}"


class ModelDesc(Resource):
    """A model's description, of a file or bytes (aclmdlGetDescFromFile, aclmdlGetDescFromMem), or of a loaded model.

    ``inputs``, ``outputs``  `TensorInfo` of what the user gives and gets
    ``batches``              gears of a model with dynamic batch, else empty
    ``sizes``                (height, width) gears of a model with dynamic resolution
    ``dims``                 gears of a model with dynamic dims: all inputs' dimensions, one after another
    """

    __slots__ = ("inputs", "outputs", "batches", "sizes", "dims", "num_inputs", "gear_index", "aipp_index")

    _warns = False

    def __init__(self, model_id: int, parent: Optional[Resource] = None) -> None:
        self._fill("aclmdlGetDesc", (model_id,), parent)

    @classmethod
    def from_file(cls, path: Path) -> ModelDesc:
        """Describes a model file without loading it."""
        desc = cls.__new__(cls)
        desc._fill("aclmdlGetDescFromFile", (c_string(path, "the path"),), None)
        return desc

    @classmethod
    def from_bytes(cls, data: Any) -> ModelDesc:
        """Describes a model's bytes without loading it."""
        desc = cls.__new__(cls)
        view = host_bytes(data)
        desc._fill("aclmdlGetDescFromMem", (view, len(view)), None)
        return desc

    def _fill(self, function: str, args: tuple[Any, ...], parent: Optional[Resource]) -> None:
        if parent is None:
            from .device import init

            init()
        handle = lib.aclmdlCreateDesc()
        if handle == ffi.NULL:
            raise errors.error(lib.ACL_ERROR_FAILURE, "aclmdlCreateDesc")
        try:
            errors.check(getattr(lib, function)(handle, *args), function)
            self._read(handle)
        except BaseException:
            lib.aclmdlDestroyDesc(handle)
            raise
        self._own(handle, parent)

    def _read(self, handle: Any) -> None:
        self.num_inputs = lib.aclmdlGetNumInputs(handle)
        every = [_tensor(handle, i, True) for i in range(self.num_inputs)]
        self.gear_index = next((t.index for t in every if t.full_name == lib.ACL_DYNAMIC_TENSOR_NAME), None)
        self.aipp_index = next((t.index for t in every if t.full_name == lib.ACL_DYNAMIC_AIPP_NAME), None)
        self.inputs = _named([t for t in every if t.full_name not in _HIDDEN])
        self.outputs = _named([_tensor(handle, i, False) for i in range(lib.aclmdlGetNumOutputs(handle))])
        self.batches: tuple[int, ...] = ()
        self.sizes: tuple[tuple[int, int], ...] = ()
        self.dims: tuple[tuple[int, ...], ...] = ()
        if self.gear_index is not None:
            self._read_gears(handle)

    def _read_gears(self, handle: Any) -> None:
        batch = ffi.new("aclmdlBatch *")
        errors.check(lib.aclmdlGetDynamicBatch(handle, batch), "aclmdlGetDynamicBatch")
        self.batches = tuple(int(batch.batch[i]) for i in range(batch.batchCount))
        hw = ffi.new("aclmdlHW *")
        errors.check(lib.aclmdlGetDynamicHW(handle, _ANY, hw), "aclmdlGetDynamicHW")
        self.sizes = tuple((int(hw.hw[i][0]), int(hw.hw[i][1])) for i in range(hw.hwCount))
        count = ffi.new("size_t *")
        errors.check(lib.aclmdlGetInputDynamicGearCount(handle, _ANY, count), "aclmdlGetInputDynamicGearCount")
        if count[0]:
            rows = ffi.new("aclmdlIODims[]", count[0])
            errors.check(lib.aclmdlGetInputDynamicDims(handle, _ANY, rows, count[0]), "aclmdlGetInputDynamicDims")
            self.dims = tuple(_dims(row) for row in rows)

    @property
    def dynamic(self) -> bool:
        """Whether shapes vary, by gears or freely."""
        return self.gear_index is not None or any(t.dynamic for t in self.inputs)

    def input(self, key: Union[int, str]) -> TensorInfo:
        """An input by its place or either of its names. Raises KeyError or IndexError."""
        return _find(self.inputs, key, "input")

    def output(self, key: Union[int, str]) -> TensorInfo:
        """An output by its place or either of its names. Raises KeyError or IndexError."""
        return _find(self.outputs, key, "output")

    def current_shape(self, key: Union[int, str]) -> tuple[int, ...]:
        """An output's shape in the gear that was set last (aclmdlGetCurOutputDims); of a loaded model only."""
        dims = ffi.new("aclmdlIODims *")
        errors.check(lib.aclmdlGetCurOutputDims(self.handle, self.output(key).index, dims), "aclmdlGetCurOutputDims")
        return _dims(dims)

    def origin_names(self, operator: str) -> str:
        """The source model's operators that were fused into `operator` (aclmdlGetOpAttr); of a loaded model only."""
        text = lib.aclmdlGetOpAttr(self.handle, c_string(operator, "an operator's name"),
                                   lib.ACL_ATTR_NAME_DATA_DUMP_ORIGIN_OP_NAMES.encode())
        if text == ffi.NULL:
            raise errors.error(lib.ACL_ERROR_INVALID_PARAM, "aclmdlGetOpAttr")
        return str(ffi.string(text).decode())

    def _release(self) -> None:
        errors.check(lib.aclmdlDestroyDesc(self.handle), "aclmdlDestroyDesc")

    def _describe(self) -> str:
        return f"({', '.join(map(str, self.inputs))}) -> ({', '.join(map(str, self.outputs))})"


_ANY = 0xFFFF_FFFF_FFFF_FFFF  # the index -1 that the queries about gears want


def _dims(dims: Any) -> tuple[int, ...]:
    return tuple(int(dims.dims[i]) for i in range(dims.dimCount))


def _tensor(handle: Any, index: int, is_input: bool) -> TensorInfo:
    kind = "Input" if is_input else "Output"

    def ask(what: str) -> Any:
        return getattr(lib, what.format(kind))(handle, index)

    dims = ffi.new("aclmdlIODims *")
    function = f"aclmdlGet{kind}Dims"
    errors.check(getattr(lib, function)(handle, index, dims), function)
    pointer = ask("aclmdlGet{}NameByIndex")
    if pointer == ffi.NULL:
        raise errors.error(lib.ACL_ERROR_FAILURE, f"aclmdlGet{kind}NameByIndex")
    name = ffi.string(pointer).decode(errors="replace")
    code, layout = ask("aclmdlGet{}DataType"), ask("aclmdlGet{}Format")
    try:
        dtype: Optional[np.dtype[Any]] = to_numpy(code)
    except (TypeError, ValueError):
        dtype = None
    try:
        format = Format(layout)
    except ValueError:
        format = Format.UNDEFINED
    shape = _dims(dims)
    size = ask("aclmdlGet{}SizeByIndex")
    if is_input and dtype is not None and nbytes(dtype, max(prod(shape), 0)) != size:
        shape = _byte_shape(handle, index, shape, size)
    ranges = _ranges(handle, index) if is_input and any(n < 0 for n in shape) else ()
    return TensorInfo(name, name, index, shape, dtype, code, format, size, ranges)


def _byte_shape(handle: Any, index: int, shape: tuple[int, ...], size: int) -> tuple[int, ...]:
    """The shape of a picture's bytes, where static AIPP feeds the input, else `shape`."""
    dims = ffi.new("aclmdlIODims *")
    if lib.aclmdlGetInputDimsV2(handle, index, dims):
        errors.recent_text()
        return shape
    found = _dims(dims)
    return found if prod(found) == size else shape


def _ranges(handle: Any, index: int) -> tuple[tuple[int, int], ...]:
    """Empty for gears, and where the library is too old to tell."""
    out = ffi.new("aclmdlIODimsRange *")
    try:
        code = lib.aclmdlGetInputDimsRange(handle, index, out)
    except errors.MissingSymbolError:
        return ()
    if code:
        errors.recent_text()
        return ()
    return tuple((int(out.range[i][0]), int(out.range[i][1])) for i in range(out.rangeCount))


def _named(tensors: list[TensorInfo]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(**{**t.__dict__, "name": name})
                 for t, name in zip(tensors, short_names([t.full_name for t in tensors])))


def short_names(names: Sequence[str]) -> list[str]:
    """Tensors' own names instead of ``node:index:name``, where these are unique."""
    short = [_short(name) for name in names]
    return [s if short.count(s) == 1 else name for s, name in zip(short, names)]


def _short(name: str) -> str:
    parts = name.split(":")
    for i in range(1, len(parts) - 1):
        if parts[i].isdigit():
            return ":".join(parts[i + 1:])
    return name


def _find(tensors: Sequence[TensorInfo], key: Union[int, str], what: str) -> TensorInfo:
    if isinstance(key, str):
        for tensor in tensors:
            if key in (tensor.name, tensor.full_name):
                return tensor
        raise KeyError(f"the model has no {what} {key!r}; it has {', '.join(t.name for t in tensors)}")
    try:
        return tensors[key]
    except IndexError:
        raise IndexError(f"the model has {len(tensors)} {what}s, no {what} {key}") from None
