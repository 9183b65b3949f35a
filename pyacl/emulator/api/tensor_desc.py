"""aclTensorDesc: a tensor's type, shape and layout without its data."""

from __future__ import annotations

from math import prod
from typing import Any, Optional

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure, record
from .arguments import invalid

UNKNOWN_DIM = -1
UNKNOWN_RANK = -2

# Bits of one element; ACL_STRING and ACL_DT_UNDEFINED have none.
_BITS = {
    64: "ACL_INT64 ACL_UINT64 ACL_DOUBLE ACL_COMPLEX64",
    32: "ACL_FLOAT ACL_INT32 ACL_UINT32 ACL_COMPLEX32",
    16: "ACL_FLOAT16 ACL_BF16 ACL_INT16 ACL_UINT16",
    8: "ACL_INT8 ACL_UINT8 ACL_BOOL ACL_HIFLOAT8 ACL_FLOAT8_E5M2 ACL_FLOAT8_E4M3FN ACL_FLOAT8_E8M0",
    128: "ACL_COMPLEX128",
    6: "ACL_FLOAT6_E3M2 ACL_FLOAT6_E2M3",
    4: "ACL_INT4 ACL_FLOAT4_E2M1 ACL_FLOAT4_E1M2",
    1: "ACL_UINT1",
    0: "ACL_STRING ACL_DT_UNDEFINED",
}
_BITS_OF: dict[int, int] = {getattr(lib, name): bits for bits, names in _BITS.items() for name in names.split()}


class TensorDesc:
    """What an ``aclTensorDesc *`` stands for.

    `shape` and `format` are the original ones; `storage_shape` and `storage_format`, where set, those of the memory.
    A shape may hold -1 (unknown dimension, bounded by `shape_range`) and is ``(-2,)`` for an unknown rank.
    """

    __slots__ = ("dtype", "shape", "format", "storage_shape", "storage_format", "name", "dynamic_input", "shape_range",
                 "value_range", "placement", "const", "address", "members")

    def __init__(self, dtype: int, shape: tuple[int, ...], format: int, name: str = "",
                 shape_range: tuple[tuple[int, int], ...] = ()) -> None:
        self.dtype = dtype
        self.shape = shape
        self.format = format
        self.storage_shape: Optional[tuple[int, ...]] = None
        self.storage_format: Optional[int] = None
        self.name = name
        self.dynamic_input = ""
        self.shape_range = shape_range
        self.value_range: tuple[tuple[int, int], ...] = ()
        self.placement: int = lib.ACL_MEMTYPE_DEVICE
        self.const: Optional[bytes] = None
        self.address = 0  # set for the descriptions of a failed operator
        self.members: list[int] = []  # handles of an array, on its head

    @property
    def dynamic(self) -> bool:
        return any(dim < 0 for dim in self.shape)

    @property
    def unused(self) -> bool:
        """Whether it stands for an optional tensor that is not used."""
        return bool(self.dtype == lib.ACL_DT_UNDEFINED and self.format == lib.ACL_FORMAT_UNDEFINED)

    @property
    def count(self) -> int:
        """Elements; 0 while a dimension is unknown."""
        return 0 if self.dynamic else prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of a dense tensor of `shape`; 0 while a dimension is unknown."""
        return (self.count * _BITS_OF.get(self.dtype, 0) + 7) // 8

    @property
    def device_format(self) -> int:
        """The layout of the memory."""
        return self.format if self.storage_format is None else self.storage_format

    @property
    def device_shape(self) -> tuple[int, ...]:
        """The shape of the memory."""
        if self.device_format == self.format or self.storage_shape is None:
            return self.shape
        return self.storage_shape


def get(pointer: Any, what: str = "aclTensorDesc") -> TensorDesc:
    """The description behind a handle; Failure for anything else."""
    return handles.get(pointer, TensorDesc, what)


def new_array(descs: list[TensorDesc]) -> int:
    """Handles for descriptions that C walks with ``aclGetTensorDescByIndex``: the head's, which destroys all."""
    if not descs:
        return 0
    members = [handles.new(desc) for desc in descs]
    descs[0].members = members
    return members[0]


def _peek(pointer: Any) -> Optional[TensorDesc]:
    """As `get` for the getters, which cannot fail: a wrong handle leaves an error text."""
    try:
        return get(pointer)
    except Failure as failure:
        record(failure)
        return None


def _dims(count: int, dims: Any, what: str) -> tuple[int, ...]:
    if count < 0 or count > lib.ACL_MAX_DIM_CNT:
        raise invalid(f"{what}: numDims {count} is not in 0..{lib.ACL_MAX_DIM_CNT}")
    if count and not dims:
        raise invalid(f"{what}: dims is NULL, but numDims is {count}")
    shape = tuple(dims[i] for i in range(count))
    if any(dim < UNKNOWN_RANK for dim in shape) or (UNKNOWN_RANK in shape and count != 1):
        raise invalid(f"{what}: shape {shape} has a dimension that is neither a size, -1 (unknown) "
                      "nor -2 alone (unknown rank)")
    return shape


def _ranges(count: int, ranges: Any, what: str) -> tuple[tuple[int, int], ...]:
    if count and not ranges:
        raise invalid(f"{what}: the ranges are NULL, but their count is {count}")
    return tuple((ranges[i][0], ranges[i][1]) for i in range(count))


def aclCreateTensorDesc(dataType: int, numDims: int, dims: Any, format: int) -> Any:
    if dataType not in _BITS_OF:
        raise invalid(f"aclCreateTensorDesc: {dataType} is not an aclDataType")
    shape = _dims(numDims, dims, "aclCreateTensorDesc")
    return ffi.cast("aclTensorDesc *", handles.new(TensorDesc(dataType, shape, format)))


def aclDestroyTensorDesc(desc: Any) -> None:
    if not desc:
        return
    number = handles.address(desc)
    members = get(desc).members or [number]
    for member in members:
        if handles.find(member, TensorDesc) is not None:
            handles.drop(member)
    _names.pop(number, None)


def aclGetTensorDescType(desc: Any) -> int:
    found = _peek(desc)
    return lib.ACL_DT_UNDEFINED if found is None else found.dtype


def aclGetTensorDescFormat(desc: Any) -> int:
    found = _peek(desc)
    return lib.ACL_FORMAT_UNDEFINED if found is None else found.format


def aclGetTensorDescSize(desc: Any) -> int:
    return _size(get(desc).nbytes, "bytes")


def aclGetTensorDescElementCount(desc: Any) -> int:
    return _size(get(desc).count, "elements")


def _size(found: int, what: str) -> int:
    if found >> 64:
        raise invalid(f"the description has {found} {what}: 64 bits do not hold that")
    return found


def aclGetTensorDescNumDims(desc: Any) -> int:
    shape = get(desc).shape
    return lib.ACL_UNKNOWN_RANK if shape == (UNKNOWN_RANK,) else len(shape)


def _dim(desc: TensorDesc, index: int, function: str) -> int:
    if desc.shape == (UNKNOWN_RANK,):
        raise invalid(f"{function}: the rank is unknown")
    if index >= len(desc.shape):
        raise invalid(f"{function}: index {index}, but the shape is {desc.shape}")
    return desc.shape[index]


def aclGetTensorDescDim(desc: Any, index: int) -> int:
    try:
        return _dim(get(desc), index, "aclGetTensorDescDim")
    except Failure as failure:
        record(failure)
        return -1


def aclGetTensorDescDimV2(desc: Any, index: int, dimSize: Any) -> None:
    found = get(desc)
    if not dimSize:
        raise invalid("aclGetTensorDescDimV2: dimSize is NULL")
    dimSize[0] = _dim(found, index, "aclGetTensorDescDimV2")


def aclGetTensorDescDimRange(desc: Any, index: int, dimRangeNum: int, dimRange: Any) -> None:
    found = get(desc)
    if dimRangeNum < 2 or not dimRange:
        raise invalid(f"aclGetTensorDescDimRange: room for {dimRangeNum} values, but a range has 2")
    _dim(found, index, "aclGetTensorDescDimRange")
    if index >= len(found.shape_range):
        raise invalid(f"aclGetTensorDescDimRange: index {index}, but the description has ranges of "
                      f"{len(found.shape_range)} dimensions")
    dimRange[0], dimRange[1] = found.shape_range[index]


_names: dict[int, Any] = {}  # what aclGetTensorDescName handed out, alive as long as its description


def aclGetTensorDescName(desc: Any) -> Any:
    found = _peek(desc)
    name = ffi.new("char[]", b"" if found is None else found.name.encode())
    _names[handles.address(desc)] = name
    return name


def aclGetTensorDescAddress(desc: Any) -> Any:
    return ffi.cast("void *", get(desc).address)


def aclGetTensorDescByIndex(desc: Any, index: int) -> Any:
    members = get(desc).members or [handles.address(desc)]
    if index >= len(members):
        raise invalid(f"aclGetTensorDescByIndex: index {index}, but there are {len(members)}")
    return ffi.cast("aclTensorDesc *", members[index])


def aclSetTensorDescName(desc: Any, name: Any) -> None:
    get(desc).name = ffi.string(name).decode(errors="replace") if name else ""


def aclSetTensorDynamicInput(desc: Any, dynamicInputName: Any) -> None:
    found = get(desc)
    if not dynamicInputName:
        raise invalid("aclSetTensorDynamicInput: dynamicInputName is NULL")
    found.dynamic_input = ffi.string(dynamicInputName).decode(errors="replace")


def aclSetTensorFormat(desc: Any, format: int) -> None:
    get(desc).storage_format = format


def aclSetTensorShape(desc: Any, numDims: int, dims: Any) -> None:
    get(desc).storage_shape = _dims(numDims, dims, "aclSetTensorShape")


def aclSetTensorOriginFormat(desc: Any, format: int) -> None:
    get(desc).format = format


def aclSetTensorOriginShape(desc: Any, numDims: int, dims: Any) -> None:
    get(desc).shape = _dims(numDims, dims, "aclSetTensorOriginShape")


# The deprecated spellings.
aclSetTensorStorageFormat = aclSetTensorFormat
aclSetTensorStorageShape = aclSetTensorShape


def aclSetTensorShapeRange(desc: Any, dimsCount: int, dimsRange: Any) -> None:
    get(desc).shape_range = _ranges(dimsCount, dimsRange, "aclSetTensorShapeRange")


def aclSetTensorValueRange(desc: Any, valueCount: int, valueRange: Any) -> None:
    get(desc).value_range = _ranges(valueCount, valueRange, "aclSetTensorValueRange")


def aclSetTensorConst(desc: Any, dataBuffer: Any, length: int) -> None:
    found = get(desc)
    if not dataBuffer or not length:
        raise invalid("aclSetTensorConst: a constant needs data and a length")
    found.const = bytes(ffi.buffer(ffi.cast("char *", dataBuffer), length))


def aclSetTensorPlaceMent(desc: Any, memType: int) -> None:
    found = get(desc)
    if memType not in (lib.ACL_MEMTYPE_DEVICE, lib.ACL_MEMTYPE_HOST, lib.ACL_MEMTYPE_HOST_COMPILE_INDEPENDENT):
        raise invalid(f"aclSetTensorPlaceMent: {memType} is not an aclMemType")
    found.placement = memType


def aclTransTensorDescFormat(srcDesc: Any, dstFormat: int, dstDesc: Any) -> None:
    get(srcDesc)
    raise Failure(lib.ACL_ERROR_API_NOT_SUPPORT, "aclTransTensorDescFormat is reserved: use the operator TransData")
