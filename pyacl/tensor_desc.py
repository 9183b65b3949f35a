"""Descriptions of tensors for single operators (``aclTensorDesc``): everything but the data."""

from __future__ import annotations

from typing import Any, Iterable, Optional, Sequence, Union

import numpy as np

from . import dtypes, errors
from .c_string import c_string
from .capi import ffi, lib
from .dtypes import DTypeLike, Format, to_acl, to_format
from .resource import Resource
from .tensor import Tensor

Range = Iterable[Sequence[int]]

PLACEMENTS = {"device": lib.ACL_MEMTYPE_DEVICE, "host": lib.ACL_MEMTYPE_HOST,
              "host_compile_independent": lib.ACL_MEMTYPE_HOST_COMPILE_INDEPENDENT}


class TensorDesc(Resource):
    """Shape, dtype and layout of an operator's input or output.

    ``shape``          sizes; -1 for one that is not known when compiling (bounded by `shape_range`), None for an
                       unknown rank, () for a scalar
    ``shape_range``    (smallest, largest) of every dimension; largest -1 is unbounded
    ``value_range``    (smallest, largest) of the values, where the input is itself a shape
    ``storage_format``, ``storage_shape``   the memory's layout where it differs, such as "NC1HWC0"
    ``placement``      "device"; "host" for an input whose data is given in host memory and copied by the call;
                       "host_compile_independent" if that data does not matter when compiling
    ``const``          the data of a constant input; then its buffer is not used
    ``name``           needed by `infer_shape` for operators with any number of inputs: "x", "y0", "y1"
    ``dynamic_input``  the group it belongs to among any number of inputs

    aclCreateTensorDesc and aclSetTensor*. Raises ValueError for a shape, format or placement that does not exist.
    """

    __slots__ = ("acl_dtype", "stored", "placement", "_kept")

    _warns = False

    def __init__(self, shape: Union[int, Iterable[int], None], dtype: DTypeLike, format: Union[str, int] = Format.ND, *,
                 shape_range: Optional[Range] = None, value_range: Optional[Range] = None,
                 storage_format: Union[str, int, None] = None, storage_shape: Optional[Iterable[int]] = None,
                 placement: str = "device", const: Any = None, name: str = "", dynamic_input: str = "") -> None:
        dims = [-2] if shape is None else [shape] if isinstance(shape, (int, np.integer)) else list(shape)
        if placement not in PLACEMENTS:
            raise ValueError(f"no placement {placement!r}: choose one of {', '.join(PLACEMENTS)}")
        if any(n < -1 for n in dims) and shape is not None:
            raise ValueError(f"the shape {tuple(dims)} has sizes below -1")
        self._create(to_acl(dtype), dims, to_format(format))
        self.stored = storage_format is not None or storage_shape is not None
        if shape_range is not None:
            self._ranges("aclSetTensorShapeRange", shape_range, len(dims))
        if value_range is not None:
            self._ranges("aclSetTensorValueRange", value_range)
        if storage_format is not None:
            self._set("aclSetTensorFormat", to_format(storage_format))
        if storage_shape is not None:
            stored = list(storage_shape)
            self._set("aclSetTensorShape", len(stored), stored)
        if placement != "device":
            self._set("aclSetTensorPlaceMent", PLACEMENTS[placement])
            self.placement = placement
        if const is not None:
            self._constant(const, dims)
        if name:
            lib.aclSetTensorDescName(self.handle, c_string(name, "a description's name"))
        if dynamic_input:
            self._set("aclSetTensorDynamicInput", c_string(dynamic_input, "a group of inputs"))

    def _create(self, dtype: int, dims: Sequence[int], format: int) -> None:
        handle = lib.aclCreateTensorDesc(dtype, len(dims), dims or ffi.NULL, format)
        if handle == ffi.NULL:
            raise errors.error(lib.ACL_ERROR_INVALID_PARAM, "aclCreateTensorDesc")
        self.acl_dtype = dtype
        self.stored = False  # whether the memory has another layout than the original one
        self.placement = "device"
        self._kept: Any = None
        self._own(handle)

    @classmethod
    def of(cls, obj: Any, **more: Any) -> TensorDesc:
        """The description of a dense Tensor, or of a numpy array (placed on the host); `more` as in the constructor."""
        if isinstance(obj, Tensor):
            return cls(obj.shape, obj.dtype, obj.format, **more)
        if isinstance(obj, Resource):
            raise TypeError(f"a {type(obj).__name__} does not say what lies in it: describe it with a TensorDesc")
        array = np.asarray(obj)
        return cls(array.shape, array.dtype, **{"placement": "host", **more})

    @classmethod
    def unused(cls) -> TensorDesc:
        """The description of an optional tensor that is not used."""
        desc = cls.__new__(cls)
        desc._create(lib.ACL_DT_UNDEFINED, (), lib.ACL_FORMAT_UNDEFINED)
        return desc

    def _set(self, function: str, *args: Any) -> None:
        errors.check(getattr(lib, function)(self.handle, *args), function)

    def _ranges(self, function: str, ranges: Range, count: Optional[int] = None) -> None:
        pairs = [list(pair) for pair in ranges]
        if any(len(pair) != 2 or -1 < pair[1] < pair[0] for pair in pairs):
            raise ValueError(f"a range is (smallest, largest): {pairs}")
        if count is not None and (len(pairs) != count or any(low < 0 for low, _ in pairs)):
            raise ValueError(f"{count} dimensions need as many ranges (smallest, largest), and largest -1 is without "
                             f"bound: {pairs}")
        self._set(function, len(pairs), ffi.new("int64_t[][2]", pairs))

    def _constant(self, const: Any, dims: Sequence[int]) -> None:
        given, wanted = np.asarray(const), dtypes.to_numpy(self.acl_dtype)
        with np.errstate(invalid="ignore"):
            array = np.ascontiguousarray(given, wanted)
        if wanted.kind in "iub" and not np.array_equal(array, given):
            raise ValueError(f"the constant {const!r} is not one of {wanted}")
        if array.shape != tuple(dims) and -1 not in dims:
            try:
                array = np.ascontiguousarray(np.broadcast_to(array, dims))
            except ValueError:
                raise ValueError(f"a constant of shape {array.shape} for a description of {tuple(dims)}") from None
        raw = dtypes.pack(array) if dtypes.packed(array.dtype) else array.reshape(-1).view(np.uint8)
        self._kept = ffi.from_buffer(raw)  # CANN may keep the pointer only
        self._set("aclSetTensorConst", self._kept, raw.nbytes)

    # What it says now: executing and inferring write exact shapes into the descriptions of outputs.

    @property
    def shape(self) -> Optional[tuple[int, ...]]:
        """The sizes; -1 for one that is not known, None for an unknown rank (aclGetTensorDescDimV2)."""
        rank = lib.aclGetTensorDescNumDims(self.handle)
        if rank == lib.ACL_UNKNOWN_RANK:
            return None
        out = ffi.new("int64_t *")
        dims = []
        for i in range(rank):
            errors.check(lib.aclGetTensorDescDimV2(self.handle, i, out), "aclGetTensorDescDimV2")
            dims.append(int(out[0]))
        return tuple(dims)

    @property
    def shape_range(self) -> Optional[tuple[tuple[int, int], ...]]:
        """The bounds of every dimension (aclGetTensorDescDimRange); None where none are set."""
        shape = self.shape
        if shape is None:
            return None
        out = ffi.new("int64_t[2]")
        found = []
        for i in range(len(shape)):
            if lib.aclGetTensorDescDimRange(self.handle, i, 2, out):
                errors.recent_text()
                return None
            found.append((int(out[0]), int(out[1])))
        return tuple(found)

    @property
    def dynamic(self) -> bool:
        """Whether its shape is not wholly known."""
        shape = self.shape
        return shape is None or -1 in shape

    @property
    def dtype(self) -> Optional[np.dtype[Any]]:
        """The numpy dtype (aclGetTensorDescType); None for an unused tensor."""
        code = lib.aclGetTensorDescType(self.handle)
        return None if code == lib.ACL_DT_UNDEFINED else dtypes.to_numpy(code)

    @property
    def format(self) -> Format:
        """The original format (aclGetTensorDescFormat)."""
        return Format(lib.aclGetTensorDescFormat(self.handle))

    @property
    def name(self) -> str:
        """Its name (aclGetTensorDescName), or ""."""
        text: bytes = ffi.string(lib.aclGetTensorDescName(self.handle))
        return text.decode()

    @property
    def nbytes(self) -> int:
        """Bytes of a dense tensor (aclGetTensorDescSize); 0 while the shape is not known."""
        return int(lib.aclGetTensorDescSize(self.handle))

    @property
    def size(self) -> int:
        """Elements (aclGetTensorDescElementCount); 0 while the shape is not known."""
        return int(lib.aclGetTensorDescElementCount(self.handle))

    def _release(self) -> None:
        lib.aclDestroyTensorDesc(self.handle)
        self._kept = None

    def _describe(self) -> str:
        return f"{self.dtype or 'unused'} {self.shape} {self.format}"


def describe(obj: Any) -> TensorDesc:
    """A description of whatever stands for an input or output: a TensorDesc itself, a Tensor, an array, None."""
    if isinstance(obj, TensorDesc):
        return obj
    return TensorDesc.unused() if obj is None else TensorDesc.of(obj)
