"""Microscaling (MX): blocks of float4 or float8 values that share a scale which is a power of two.

Scales are float8_e8m0: a byte b means 2**(b - 127). Along the axis of the blocks they lie in pairs, so an axis of n
elements has ceil(n / 64) pairs for blocks of 32, and the pair is a last dimension of its own; a missing one is 0.
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from . import rules
from .quantise import f32
from .registry import by_name, define
from .types import DTYPES

Array = Any
BLOCK = 32
TYPES = {35: "f8e5m2", 36: "f8e4m3", 40: "f4e2m1"}  # by aclDataType
LARGEST = {"f8e5m2": 57344.0, "f8e4m3": 448.0, "f4e2m1": 6.0}
EMAX = {"f8e5m2": 15, "f8e4m3": 8, "f4e2m1": 2}
FP4 = np.array([-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
SUPPORTED = all(n in DTYPES for n in ("f8e8m0", "f4e2m1"))  # not in old releases of ml_dtypes
NAN = 255


def bytes_of(top: Array, kind: str, algorithm: int, largest: float = 0) -> Array:
    """The scales' bytes for blocks whose largest magnitudes are `top`.

    Algorithm 0 takes the exponent of the largest value, less that of the type's largest; 1 and 2 divide by the type's
    largest value (or by `largest`) and round up to a power of two, of what is below the normal numbers 1 only the upper
    half.
    """
    top = f32(top)
    if algorithm == 0:
        biased = np.where(top > 0, np.frexp(top)[1] - 1 - EMAX[kind] + 127, 0)
    else:
        bits = (top / np.float32(largest or LARGEST[kind])).view(np.uint32)
        biased, fraction = (bits >> 23).astype(np.int32), bits & 0x7FFFFF
        up = (biased > 0) & (biased < 254) & (fraction > 0)
        if algorithm == 1:
            up |= (biased == 0) & (fraction > 0x400000)
        biased = biased + up
    biased = np.where(np.isfinite(top), np.clip(biased, 0, 254), NAN)
    return biased.astype(np.uint8)


def scaled(x: Array, biased: Array) -> Array:
    """x / 2**(biased - 127); 0 where the scale is no number, as it is for a block with infinities or NaN."""
    return np.where(biased == NAN, np.float32(0), np.ldexp(x, 127 - biased.astype(np.int32)))


def powers(scale: Array) -> Array:
    """float8_e8m0 as float32."""
    return scale.astype(np.float32)


def cast(x: Array, kind: str, mode: str = "rint") -> Array:
    """float32 as float4 or float8, out of range clamped; float4 also rounded down ("floor") or ties away ("round")."""
    x = np.clip(x, -LARGEST[kind], LARGEST[kind])
    if kind == "f4e2m1" and mode == "floor":
        x = FP4[np.searchsorted(FP4, x, side="right") - 1]
    elif kind == "f4e2m1" and mode == "round":
        middles = (FP4[7:-1] + FP4[8:]) / 2
        x = np.copysign(FP4[7:][np.searchsorted(middles, np.abs(x), side="right")], x)
    return x.astype(DTYPES[kind])


def paired(biased: Array, axis: int) -> Array:
    """Bytes along `axis` as float8_e8m0 in pairs, the pair last."""
    found = np.moveaxis(biased, axis, -1)
    if found.shape[-1] % 2:
        found = np.concatenate([found, np.zeros((*found.shape[:-1], 1), np.uint8)], axis=-1)
    found = np.moveaxis(found.reshape(*found.shape[:-1], -1, 2), -2, axis)
    return np.ascontiguousarray(found).view(DTYPES["f8e8m0"])


def unpaired(scale: Array, axis: int) -> Array:
    """The scales along `axis` one by one, as float32; `axis` counts without the pair."""
    found = np.moveaxis(powers(scale), axis, -2)
    return np.moveaxis(found.reshape(*found.shape[:-2], -1), -1, axis)


def blocks(x: Array, axis: int, size: int) -> Array:
    """`axis` last, in blocks, zeros behind its end."""
    rows = np.moveaxis(x, axis, -1)
    missing = -rows.shape[-1] % size
    if missing:
        rows = np.concatenate([rows, np.zeros((*rows.shape[:-1], missing), rows.dtype)], axis=-1)
    return rows.reshape(*rows.shape[:-1], -1, size)


def largest_of(x: Array, axis: int, size: int) -> Array:
    return np.moveaxis(np.abs(blocks(x, axis, size)).max(axis=-1), -1, axis)


def spread(values: Array, axis: int, size: int, length: int) -> Array:
    """One value a block for each element of the axis."""
    return np.take(values, np.arange(length) // size, axis=axis)


def quantised(x: Array, axis: int, kind: str, mode: str = "rint", algorithm: int = 0, largest: float = 0,
              low: float = 0, size: int = BLOCK) -> tuple[Array, Array]:
    """(values, scales' bytes one a block) along `axis`, which counts from the front."""
    biased = bytes_of(np.maximum(largest_of(x, axis, size), np.float32(low)), kind, algorithm, largest)
    return cast(scaled(x, spread(biased, axis, size, x.shape[axis])), kind, mode), biased


# ---- what families share: checks and shapes

def kind_of(code: int, what: str = "dstType", allowed: tuple[int, ...] = (35, 36, 40, 41)) -> str:
    if code not in allowed:
        rules.reject(f"{what} is {code}: choose one of {', '.join(map(str, allowed))}")
    if code == 41:
        raise NotImplementedError("FLOAT4_E1M2")
    return TYPES[code]


def settings(kind: str, mode: Optional[str], algorithm: int, algorithms: tuple[int, ...] = (0, 1, 2),
             largest: float = 0) -> str:
    """Refuses what does not go with the type; gives the rounding mode."""
    mode = "rint" if mode is None else mode
    modes = ("rint", "floor", "round") if kind == "f4e2m1" else ("rint",)
    if mode not in modes:
        rules.reject(f"the rounding mode for {kind} is {mode!r}: choose one of {', '.join(modes)}")
    fitting = [a for a in algorithms if a != (1 if kind == "f4e2m1" else 2)]
    if algorithm not in fitting:
        rules.reject(f"scaleAlg for {kind} is {algorithm}: choose one of {fitting}")
    if largest and not (kind == "f4e2m1" and algorithm == 2 and 6 <= largest <= 12):
        rules.reject(f"dstTypeMax is {largest}: it is 0, or with scaleAlg 2 and float4 from 6 to 12")
    return mode


def even(x: Any, kind: str) -> None:
    if kind == "f4e2m1" and x.shape[-1] % 2:
        rules.reject(f"the last dimension of {list(x.shape)} is odd; two float4 share a byte")


def scale_shape(shape: Any, axis: int, size: int = BLOCK) -> tuple[int, ...]:
    return (*shape[:axis], -(-shape[axis] // (2 * size)), *shape[axis + 1:], 2)


# ---- one axis

def _kind(given: dict[str, Any]) -> str:
    return kind_of(given["dstType"]) if "dstType" in given else kind_of(given["dstDtype"], "dstDtype")


def _given(given: dict[str, Any], algorithms: tuple[int, ...]) -> tuple[str, str, int, float]:
    kind = _kind(given)
    algorithm = given.get("scaleAlg", 0)
    largest = given.get("dstTypeMax", given.get("maxDtypeValue", 0.0))
    mode = given["roundModeOptional"] if "roundModeOptional" in given else given["roundMode"]
    return kind, settings(kind, mode, algorithm, algorithms, largest), algorithm, largest


def types(given: dict[str, Any]) -> Any:
    kind = DTYPES[_kind(given)]
    return kind, DTYPES["f8e8m0"], kind, DTYPES["f8e8m0"]


def dynamic(given: dict[str, Any]) -> Any:
    kind, mode, algorithm, largest = _given(given, (0, 1, 2))
    x, axis = f32(given["x"]), rules.axis(given["axis"], given["x"].ndim, "axis")
    y, biased = quantised(x, axis, kind, mode, algorithm, largest, given.get("maxLowBound", 0.0), given["blocksize"])
    return y, paired(biased, axis)


def dynamic_shape(given: dict[str, Any]) -> Any:
    x, size = given["x"], given["blocksize"]
    kind, _, algorithm, _ = _given(given, (0, 1, 2) if "dstTypeMax" in given else (0, 1))
    axis, low = rules.axis(given["axis"], x.ndim, "axis"), given.get("maxLowBound", 0.0)
    even(x, kind)
    if size % 32 or not 0 < size <= 1024 or (size != 32 and (algorithm == 2 or x.dtype == DTYPES["f32"])):
        rules.reject(f"blocksize is {size}: a multiple of 32 up to 1024; for float32, or scaleAlg 2, 32")
    if x.dtype == DTYPES["f32"] and x.shape[axis] < 32:
        rules.reject(f"the quantised axis of a float32 x has {x.shape[axis]} elements, fewer than 32")
    if low < 0 or (low and algorithm != 1):
        rules.reject(f"maxLowBound is {low}: it is not negative, and 0 unless scaleAlg is 1")
    return tuple(x.shape), scale_shape(x.shape, axis, size)


def anti(x: Any, scale: Any, axis: int, code: int) -> Any:
    axis = rules.axis(axis, x.ndim, "axis")
    return f32(x) * spread(unpaired(scale, axis), axis, BLOCK, x.shape[axis])


def anti_shape(x: Any, scale: Any, axis: int, code: int) -> Any:
    wanted = scale_shape(x.shape, rules.axis(axis, x.ndim, "axis"))
    if tuple(scale.shape) != wanted:
        rules.reject(f"mxscale has the shape {list(scale.shape)}, not {list(wanted)}")
    even(x, "f4e2m1" if x.dtype == DTYPES.get("f4e2m1") else "")
    return tuple(x.shape)


def anti_type(x: Any, scale: Any, axis: int, code: int) -> Any:
    if code not in (0, 1, 27):
        rules.reject(f"dstType is {code}: choose 0, 1 or 27")
    return DTYPES[{0: "f32", 1: "f16", 27: "bf16"}[code]]


# ---- two axes

def two_axes(x: Array, kind: str, mode: str, algorithm: int, largest: float = 0) -> tuple[Array, ...]:
    """Quantised along the last axis, and along the one before it."""
    found: list[Array] = []
    for axis in (x.ndim - 1, x.ndim - 2):
        y, biased = quantised(x, axis, kind, mode, algorithm, largest)
        found += [y, paired(biased, axis)]
    return tuple(found)


def dual(given: dict[str, Any]) -> Any:
    return two_axes(f32(given["x"]), *_given(given, (0, 1, 2)))


def two_shapes(shape: Any) -> tuple[Any, ...]:
    shape, n = tuple(shape), len(shape)
    return shape, scale_shape(shape, n - 1), shape, scale_shape(shape, n - 2)


def dual_shape(given: dict[str, Any]) -> Any:
    x = given["x"]
    kind, *_ = _given(given, (0, 1, 2) if "dstTypeMax" in given else (0, 1))
    if x.ndim < 2:
        rules.reject("x has fewer than 2 dimensions")
    even(x, kind)
    return two_shapes(x.shape)


def squares(x: Any, mode: Any, code: int, algorithm: int, largest: float) -> Any:
    """Blocks of 32 by 32; their scales once for each row, once for each column."""
    kind, a, b = kind_of(code), x.ndim - 2, x.ndim - 1
    x = f32(x)
    biased = bytes_of(largest_of(largest_of(x, a, BLOCK), b, BLOCK), kind, algorithm, largest)
    rows = spread(biased, a, BLOCK, x.shape[a])
    y = cast(scaled(x, spread(rows, b, BLOCK, x.shape[b])), kind, mode or "rint")
    return y, paired(rows, b), paired(spread(biased, b, BLOCK, x.shape[b]), a)


def squares_shape(x: Any, mode: Any, code: int, algorithm: int, largest: float) -> Any:
    kind = kind_of(code)
    settings(kind, mode, algorithm, (0, 2))
    if largest not in (0, 6, 7) or x.ndim not in (2, 3) or not x.size:
        rules.reject(f"x of shape {list(x.shape)} is empty or has not 2 or 3 dimensions, or dstTypeMax, {largest}, is "
                     "none of 0, 6, 7")
    even(x, kind)
    shape, rows, _, columns = two_shapes(x.shape)
    return shape, rows, columns


def squares_type(x: Any, mode: Any, code: int, *_: Any) -> Any:
    return DTYPES[kind_of(code)], DTYPES["f8e8m0"], DTYPES["f8e8m0"]


# ---- groups of rows

def by_rows(x: Array, ends: Any, kind: str, mode: str, algorithm: int, largest: float = 0) -> tuple[Array, Array]:
    """Along dimension 0, blocks begin anew in each group; group i's scales lie from pair start / 64 + i on."""
    y = np.empty(x.shape, DTYPES[kind])
    scale = np.zeros((x.shape[0] // 64 + len(ends), x.shape[1], 2), np.uint8)
    start = 0
    for i, end in enumerate(ends):
        if end > start:
            y[start:end], biased = quantised(x[start:end], 0, kind, mode, algorithm, largest)
            found = paired(biased, 0).view(np.uint8)
            scale[start // 64 + i:][:len(found)] = found
        start = end
    return y, scale.view(DTYPES["f8e8m0"])


def grouped(given: dict[str, Any]) -> Any:
    return by_rows(f32(given["x"]), given["groupIndex"].tolist(), *_given(given, (0, 1, 2)))


def grouped_shape(given: dict[str, Any]) -> Any:
    x, groups = given["x"], given["groupIndex"]
    kind, *_ = _given(given, (0, 1, 2) if "dstTypeMax" in given else (0,))
    if kind == "f4e2m1" and "dstTypeMax" not in given:
        rules.reject("dstType is 40: choose 35 or 36")
    if x.ndim != 2 or groups.ndim != 1 or not groups.size or given["blocksize"] != 32:
        rules.reject(f"x of shape {list(x.shape)} has not 2 dimensions, groupIndex of {list(groups.shape)} not one, or "
                     f"blocksize, {given['blocksize']}, is not 32")
    even(x, kind)
    return tuple(x.shape), (x.shape[0] // 64 + groups.size, x.shape[1], 2)


def grouped_dual(given: dict[str, Any]) -> Any:
    x = f32(given["x"])
    y, biased = quantised(x, 1, *_given(given, (1,)))
    return y, paired(biased, 1), *by_rows(x, given["groupIndex"].tolist(), *_given(given, (1,)))


def grouped_dual_shape(given: dict[str, Any]) -> Any:
    x, groups = given["x"], given["groupIndex"]
    kind_of(given["dstDtype"], "dstDtype", (35, 36))
    _given(given, (1,))
    if x.ndim != 2 or not x.shape[1] or x.shape[1] % 64 or groups.ndim != 1 or not groups.size:
        rules.reject(f"x of shape {list(x.shape)} is no matrix of a multiple of 64 columns, or groupIndex of "
                     f"{list(groups.shape)} no vector")
    shape = tuple(x.shape)
    return shape, scale_shape(shape, 1), shape, (shape[0] // 64 + groups.size, shape[1], 2)


if SUPPORTED:
    _COMMON: dict[str, Any] = {"raw": True, "exact": True, "workspace": 1024}
    by_name("DynamicMxQuant DynamicMxQuantV2 DynamicMxQuantV3", dynamic, dynamic_shape, result=types,
            oracle="numpy, block by block", deviations="no float4_e1m2", **_COMMON)
    by_name("DynamicMxQuantWithDualAxis DynamicMxQuantWithDualAxisV2", dual, dual_shape, result=types,
            oracle="numpy, block by block", deviations="no float4_e1m2", **_COMMON)
    define("DynamicBlockMxQuant", squares, squares_shape, result=squares_type, oracle="numpy, block by block",
           deviations="no float4_e1m2", **_COMMON)
    define("AntiMxQuant", anti, anti_shape, result=anti_type, raw=True, exact=True, oracle="numpy, block by block",
           deviations="no float4_e1m2")
    by_name("GroupedDynamicMxQuant GroupedDynamicMxQuantV2", grouped, grouped_shape, result=types,
            oracle="numpy, block by block", deviations="no float4_e1m2", **_COMMON)
    by_name("GroupedDynamicMxQuantWithDualAxis", grouped_dual, grouped_dual_shape, result=types,
            oracle="numpy, block by block", **_COMMON)
