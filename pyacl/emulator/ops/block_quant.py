"""Quantisation with one float32 scale for a block of rows and columns, or one for a group of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import mx, rules
from .quantise import f32, group_rows, limits, quantised
from .registry import by_name, define
from .types import DTYPES

Array = Any
TYPES = {2: "s8", 35: "f8e5m2", 36: "f8e4m3"}  # by aclDataType


def kind_of(code: int, allowed: tuple[int, ...]) -> Any:
    """The type for `dstType`; 34 would be HIFLOAT8."""
    if code not in (*allowed, 34):
        rules.reject(f"dstType is {code}: choose one of {', '.join(map(str, sorted((*allowed, 34))))}")
    if code == 34:
        raise NotImplementedError("HIFLOAT8")
    return DTYPES[TYPES[code]]


def blockwise(x: Array, dtype: Any, least: float, rows: int, columns: int) -> tuple[Array, Array]:
    """(values, scales) for blocks of the last two dimensions; scales do not exceed 1 / least."""
    a, b = x.ndim - 2, x.ndim - 1
    scale = mx.largest_of(mx.largest_of(x, a, rows), b, columns) / np.float32(limits(dtype)[1])
    scale = np.minimum(scale, np.float32(1) / np.float32(least))
    divisor = np.where(scale == 0, np.float32(1), scale)
    spread = mx.spread(mx.spread(divisor, a, rows, x.shape[a]), b, columns, x.shape[b])
    return quantised(x / spread, dtype), scale


def dynamic(given: dict[str, Any]) -> Any:
    return blockwise(f32(given["x"]), DTYPES[TYPES[given["dstType"]]], given["minScale"], given["rowBlockSize"],
                     given["colBlockSize"])


def grouped(given: dict[str, Any]) -> Any:
    """Blocks begin anew in each group of rows; those of group i from start / rowBlockSize + i on."""
    x, size, dtype = f32(given["x"]), given["rowBlockSize"], DTYPES[TYPES[given["dstType"]]]
    ends, columns = given["groupList"].tolist(), given["colBlockSize"]
    y = np.empty(x.shape, dtype)
    scale = np.zeros((*x.shape[:-2], x.shape[-2] // size + len(ends), -(-x.shape[-1] // columns)), np.float32)
    start = 0
    for i, end in enumerate(ends):
        if end > start:
            y[..., start:end, :], found = blockwise(x[..., start:end, :], dtype, given["minScale"], size, columns)
            first = start // size + i
            scale[..., first:first + found.shape[-2], :] = found
        start = end
    return y, scale


def check(given: dict[str, Any], allowed: tuple[int, ...], columns: tuple[int, ...]) -> None:
    x = given["x"]
    kind_of(given["dstType"], allowed)
    if given["roundModeOptional"] not in (None, "rint"):
        rules.reject(f"roundModeOptional is {given['roundModeOptional']!r}, not rint")
    if x.ndim not in (2, 3) or not x.size or given["minScale"] < 0 or given.get("dstTypeMax", 0.0):
        rules.reject(f"x of shape {list(x.shape)} is empty or has not 2 or 3 dimensions, minScale, "
                     f"{given['minScale']}, is negative, or dstTypeMax not 0")
    if given["rowBlockSize"] not in (1, 128, 256, 512) or given["colBlockSize"] not in columns:
        rules.reject(f"a block of {given['rowBlockSize']} rows, {given['colBlockSize']} columns: choose 1, 128, 256 or "
                     f"512, and one of {', '.join(map(str, columns))}")


def dynamic_shape(given: dict[str, Any]) -> Any:
    check(given, (2, 35, 36), (1, 64, 128, 192, 256))
    *lead, m, n = given["x"].shape
    return (*lead, m, n), (*lead, -(-m // given["rowBlockSize"]), -(-n // given["colBlockSize"]))


def grouped_shape(given: dict[str, Any]) -> Any:
    check(given, (35, 36), (64, 128, 192, 256))
    groups = given["groupList"]
    if groups.ndim != 1 or not groups.size or given["groupListType"] != 0:
        rules.reject(f"groupList of shape {list(groups.shape)} is empty or no vector, or groupListType is not 0")
    *lead, m, n = given["x"].shape
    return (*lead, m, n), (*lead, m // given["rowBlockSize"] + groups.size, -(-n // given["colBlockSize"]))


# ---- a scale that is given for each group of rows

def group_max(x: Any, scale: Any, ends: Any, mode: str, code: int) -> Any:
    groups = group_rows(ends, x.shape[0])
    rows = f32(x).reshape(x.shape[0], -1)
    top = np.zeros(ends.size, np.float32)
    np.maximum.at(top, groups, np.abs(rows).max(axis=1, initial=0))
    return quantised((rows * scale[groups][:, None]).reshape(x.shape), DTYPES[TYPES[code]]), top


def group_max_shape(x: Any, scale: Any, ends: Any, mode: str, code: int) -> Any:
    kind_of(code, (35, 36))
    if mode != "rint":
        rules.reject(f"roundMode is {mode!r}, not rint")
    if not 2 <= x.ndim <= 8 or ends.ndim != 1 or not 1 <= ends.size <= 384 or tuple(scale.shape) != tuple(ends.shape):
        rules.reject(f"x has {x.ndim} dimensions, not 2 to 8; or scale of shape {list(scale.shape)} and groupList of "
                     f"{list(ends.shape)} have not one element for each of 1 to 384 groups")
    return tuple(x.shape), tuple(scale.shape)


_COMMON: dict[str, Any] = {"raw": True, "exact": True, "workspace": 1024, "deviations": "no hifloat8"}
by_name("DynamicBlockQuant DynamicBlockQuantV2", dynamic, dynamic_shape, oracle="numpy, block by block",
        result=lambda given: (DTYPES[TYPES[given["dstType"]]], DTYPES["f32"]), **_COMMON)
by_name("GroupedDynamicBlockQuant GroupedDynamicBlockQuantV2", grouped, grouped_shape, oracle="numpy, block by block",
        result=lambda given: (DTYPES[TYPES[given["dstType"]]], DTYPES["f32"]), **_COMMON)
define("GroupedQuantMax", group_max, group_max_shape, result=lambda *v: (DTYPES[TYPES[v[4]]], v[0].dtype),
       oracle="torch, group by group", **_COMMON)
