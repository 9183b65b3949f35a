"""Quantisation behind rotations: Kronecker products of two small matrices, or blocks of columns turned by one."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import mx, rules
from .quantise import ROUND, f32, stored
from .registry import by_name, define
from .types import BF16, DTYPES, S8, S32

Array = Any
FP4 = DTYPES.get("f4e2m1", object())


def fits(name: str, tensor: Any, shape: tuple[int, ...]) -> None:
    """Outputs whose shapes depend on their types."""
    if tuple(tensor.shape) != shape:
        rules.reject(f"{name} has the shape {list(tensor.shape)}; the result has {list(shape)}")


def used_rows(given: dict[str, Any], rows: int) -> int:
    """Up to the groups' total: groupListType 0 are cumulative ends, 1 counts, 2 pairs of a group and its count."""
    groups = given.get("groupListOptional")
    if groups is None:
        return rows
    kind = given["groupListType"]
    return min(int(groups[-1] if kind == 0 else groups.sum() if kind == 1 else groups[:, 1].sum()), rows)


def flat(given: dict[str, Any]) -> Any:
    """P1 x P2 for each token; an int4 scale for each, or scales for blocks of 32. Rows that are not used become 0."""
    x, (out, scale) = given["x"], given["outs"]
    m, n1, n2 = x.shape
    y = f32(x) if not given["kroneckerP2"].size else np.matmul(f32(x), f32(given["kroneckerP2"]))
    y = np.matmul(f32(given["kroneckerP1"]), y)
    y[used_rows(given, m):] = 0
    if out.dtype == FP4:
        fits("out", out, (m, n1 * n2))
        fits("quantScale", scale, mx.scale_shape((m, n1 * n2), 1))
        largest = given.get("dstTypeMax", 0.0)
        values, biased = mx.quantised(y.reshape(m, -1), 1, "f4e2m1", algorithm=2 if largest else 0, largest=largest)
        return values, mx.paired(biased, 1)
    fits("out", out, (m, n1, n2 // 8 if out.dtype == S32 else n2))
    fits("quantScale", scale, (m,))
    if not given["kroneckerP2"].size:
        rules.reject("kroneckerP2 is empty, which goes with float4 only")
    top = np.abs(y).max(axis=(1, 2)) / (np.float32(7) / np.float32(given["clipRatio"]))
    return stored(y / np.where(top == 0, np.float32(1), top)[:, None, None], out), top


def check_flat(given: dict[str, Any]) -> None:
    """The outputs' shapes depend on their types: `flat` checks them."""
    x, p1, p2, groups = given["x"], given["kroneckerP1"], given["kroneckerP2"], given.get("groupListOptional")
    if x.ndim != 3 or not 1 <= x.shape[0] <= 262144 or not all(1 <= n <= 256 for n in x.shape[1:]) or x.shape[2] % 2:
        rules.reject(f"x has the shape {list(x.shape)}: 3 dimensions, up to 262144, 256 and 256, the last one even")
    if tuple(p1.shape) != (x.shape[1],) * 2 or tuple(p2.shape) not in ((x.shape[2],) * 2, (0, 0)) or \
            p1.dtype != x.dtype or p2.dtype != x.dtype:
        rules.reject(f"kroneckerP1 of shape {list(p1.shape)} and kroneckerP2 of {list(p2.shape)} do not fit x of "
                     f"{list(x.shape)}, or differ in type")
    largest = given.get("dstTypeMax", 0.0)
    if not 0 < given["clipRatio"] <= 1 or (largest and not 6 <= largest <= 12):
        rules.reject(f"clipRatio is {given['clipRatio']}, not above 0 up to 1; or dstTypeMax {largest}, not 0 or from "
                     "6 to 12")
    if groups is not None:
        kind = given["groupListType"]
        if kind not in (0, 1, 2) or not 1 <= groups.shape[0] <= 1024 or tuple(groups.shape[1:]) != ((2,) * (kind == 2)):
            rules.reject(f"groupListType is {kind}, none of 0, 1, 2; or groupListOptional of shape "
                         f"{list(groups.shape)} does not go with it")


# ---- blocks of columns

def rotate(x: Any, rotation: Any, alpha: Any, axis: int, mode: Any, algorithm: int, largest: float, trans: bool, *,
           outs: Any) -> Any:
    """int8 and int4 (eight in an int32) by row, float8 and float4 in blocks of 32."""
    k, (out, scale) = rotation.shape[-1], outs
    blocks = f32(x).reshape(*x.shape[:-1], -1, 1, k)
    y = np.matmul(blocks, f32(rotation)).reshape(x.shape)
    last, rounding = x.ndim - 1, mode or "rint"
    if out.dtype in (S8, S32):
        fits("yOut", out, (*x.shape[:-1], x.shape[-1] // (8 if out.dtype == S32 else 1)))
        fits("scaleOut", scale, tuple(x.shape[:-1]))
        if alpha is not None or algorithm or largest or rounding not in ROUND or x.ndim != 2 or rotation.ndim != 2:
            rules.reject("for integers alpha is NULL, scaleAlg and dstTypeMax are 0, x and rotation are matrices")
        top = np.abs(y).max(axis=-1) / np.float32(127 if out.dtype == S8 else 7)
        return stored(y / np.where(top == 0, np.float32(1), top)[:, None], out, rounding), top
    fits("yOut", out, tuple(x.shape))
    fits("scaleOut", scale, mx.scale_shape(x.shape, last))
    kind = next(n for n in ("f4e2m1", "f8e4m3", "f8e5m2") if DTYPES[n] == out.dtype)
    mx.settings(kind, mode, algorithm, largest=largest)
    if algorithm == 2 and not largest:
        rules.reject("scaleAlg 2 needs a dstTypeMax from 6 to 12")
    if alpha is not None and 0 < float(alpha[0]) < 1:
        limit = mx.spread(mx.largest_of(y, last, 32) * np.float32(alpha[0]), last, 32, x.shape[-1])
        y = np.clip(y, -limit, limit)
    values, biased = mx.quantised(y, last, kind, rounding, algorithm, largest)
    return values, mx.paired(biased, last)


def check_rotate(x: Any, rotation: Any, alpha: Any, axis: int, mode: Any, algorithm: int, largest: float,
                 trans: bool) -> None:
    if not 1 <= x.ndim <= 7 or not x.size or rotation.ndim not in (2, 3) or rotation.dtype != x.dtype:
        rules.reject(f"x of shape {list(x.shape)} and rotation of {list(rotation.shape)}: 1 to 7 and 2 or 3 "
                     "dimensions, of one type")
    k, n = rotation.shape[-1], x.shape[-1]
    if rotation.shape[-2] != k or n % k or (rotation.ndim == 3 and rotation.shape[0] != n // k):
        rules.reject(f"rotation of shape {list(rotation.shape)} is not square, or does not cut {n} columns")
    if axis not in (-1, x.ndim - 1) or trans or (alpha is not None and (tuple(alpha.shape) != (1,)
                                                                        or alpha.dtype != BF16)):
        rules.reject(f"axis is {axis}, not the last; or trans is true; or alpha has not one element")


if mx.SUPPORTED:
    by_name("FlatQuant FlatQuantV2 FlatQuantV3", flat, check_flat, raw=True, workspace=1024,
            oracle="torch.matmul, token by token", deviations="rows behind the groups' total become 0")
    define("RotateQuant", rotate, raw=True, check=check_rotate, optional="alpha roundMode", workspace=1024,
           oracle="torch.matmul, block by block")
