"""Microscaling, block by block and value by value: scales by logarithms, casts by looking for the nearest value."""

from __future__ import annotations

import math
from functools import cache
from typing import Any, Callable, Optional

import numpy as np

from pyacl.emulator.ops.types import BF16, DTYPES, F16, F32

from ..oracle import Draw, Oracle
from .quantise import given, named

NAMES = {35: "f8e5m2", 36: "f8e4m3", 40: "f4e2m1"}
EXPONENT = {"f8e5m2": 15, "f8e4m3": 8, "f4e2m1": 2}


@cache
def values_of(name: str) -> tuple[Any, Any]:
    """All finite values of a type in rising order, and whether each one's bits are even."""
    codes = np.arange(16 if name == "f4e2m1" else 256, dtype=np.uint8)
    values = codes.view(DTYPES[name]).astype(np.float64)
    keep = np.isfinite(values) & ~((values == 0) & (codes > 0))
    order = np.argsort(values[keep])
    return values[keep][order], (codes[keep] % 2 == 0)[order]


def nearest(x: float, name: str, mode: str) -> float:
    values, is_even = values_of(name)
    below = max(int(np.searchsorted(values, x, side="right")) - 1, 0)
    above = min(below + 1, len(values) - 1)
    if mode == "floor" or values[below] == x or above == below or x < values[0]:
        return float(values[below])
    low, high = x - values[below], values[above] - x
    if low != high:
        return float(values[below] if low < high else values[above])
    if mode == "round":
        return float(values[above] if x > 0 else values[below])
    return float(values[below] if is_even[below] else values[above])


def exponent(top: float, name: str, algorithm: int, largest: float) -> int:
    if top == 0:
        return -127
    if algorithm == 0:
        return max(math.floor(math.log2(top)) - EXPONENT[name], -127)
    scale = float(np.float32(top) / np.float32(largest or values_of(name)[0][-1]))
    return max(math.ceil(math.log2(scale)), -127)


def block(part: Any, name: str, mode: str, algorithm: int, largest: float, low: float = 0) -> tuple[Any, int]:
    e = exponent(max(float(np.abs(part).max()), low), name, algorithm, largest)
    cast = [nearest(float(v) / 2.0 ** e, name, mode) for v in part.reshape(-1)]
    return np.array(cast).reshape(part.shape), e + 127


def along(x: Any, axis: int, name: str, mode: str = "rint", algorithm: int = 0, largest: float = 0, low: float = 0,
          size: int = 32) -> tuple[Any, Any]:
    """(values, scales with their pairs last), all of x in blocks along `axis`."""
    x = np.moveaxis(np.asarray(x, np.float64), axis, 0)
    count = -(-x.shape[0] // size)
    y = np.zeros(x.shape)
    scale = np.zeros((count + count % 2, *x.shape[1:]), np.uint8)
    for index in np.ndindex(*x.shape[1:]):
        for i in range(count):
            where = (slice(i * size, (i + 1) * size), *index)
            y[where], scale[(i, *index)] = block(x[where], name, mode, algorithm, largest, low)
    pairs = np.stack([scale[::2], scale[1::2]], axis=-1)
    return (np.moveaxis(y, 0, axis).astype(DTYPES[name]),
            np.ascontiguousarray(np.moveaxis(pairs, 0, axis)).view(DTYPES["f8e8m0"]))


# ---- draws

def magnitudes(d: Draw, shape: tuple[int, ...], dtype: Any) -> Any:
    """Values of many sizes, some blocks of zeros."""
    x = d.array(shape, F32) * 2.0 ** d.rng.integers(-12, 6, (*shape[:-1], 1)) * (d.rng.random(shape[:-1] + (1,)) < 0.9)
    return x.astype(dtype)


def choose(d: Draw, largest: bool, fp4: bool = True, algorithms: tuple[int, ...] = (0, 1, 2)) -> dict[str, Any]:
    """dstType, rounding and algorithm that go together; with `largest` the newer versions' parameter."""
    code = d.choice([35, 36, 40] if fp4 else [35, 36])
    possible = [a for a in algorithms if a != (1 if code == 40 else 2) and (largest or a != 2)]
    found: dict[str, Any] = {"dstType": code, "scaleAlg": d.choice(possible)}
    found["roundModeOptional"] = d.choice([None, "rint", "floor", "round"] if code == 40 else [None, "rint"])
    if largest:
        found["dstTypeMax"] = d.choice([0.0, 6.0, 7.0, 9.5]) if found["scaleAlg"] == 2 else 0.0
    return found


def draw_dynamic(d: Draw) -> list[Any]:
    settings = choose(d, d.name[-5:] != "Quant")
    shape = [d.integer(1, 3) for _ in range(d.integer(0, 2))]
    axis = d.integer(0, len(shape))
    shape.insert(axis, d.integer(1, 140))
    shape[-1] += shape[-1] % 2
    size = 32 if settings["scaleAlg"] == 2 else d.choice([32, 64])
    dtype = d.choice([F16, BF16, F32]) if size == 32 and shape[axis] >= 32 else d.choice([F16, BF16])
    if d.name[-2:] == "V3":
        settings["maxLowBound"] = 0.5 if settings["scaleAlg"] == 1 and d.flag() else 0.0
    return given(d, x=magnitudes(d, tuple(shape), dtype), axis=axis - len(shape) * d.flag(), blocksize=size, **settings)


def dynamic(g: dict[str, Any]) -> Any:
    return along(g["x"].numpy(), g["axis"] % g["x"].ndim, NAMES[g["dstType"]], g["roundModeOptional"] or "rint",
                 g["scaleAlg"], g.get("dstTypeMax", 0), g.get("maxLowBound", 0), g["blocksize"])


def settings_of(g: dict[str, Any]) -> tuple[str, str, int, float]:
    return (NAMES[g["dstType" if "dstType" in g else "dstDtype"]], g.get("roundModeOptional", g.get("roundMode")) or "rint",
            g.get("scaleAlg", 0), g.get("dstTypeMax", 0))


def matrix(d: Draw, rows: int = 70, columns: int = 70) -> tuple[int, ...]:
    return (*d.shape(0, 1, 2), d.integer(1, rows), 2 * d.integer(1, columns // 2))


def draw_dual(d: Draw) -> list[Any]:
    settings = choose(d, d.name.endswith("V2"))
    return given(d, x=magnitudes(d, matrix(d), d.choice([F16, BF16])), **settings)


def two(x: Any, *settings: Any) -> tuple[Any, ...]:
    return (*along(x, x.ndim - 1, *settings), *along(x, x.ndim - 2, *settings))


def dual(g: dict[str, Any]) -> Any:
    return two(g["x"].numpy(), *settings_of(g))


def draw_squares(d: Draw) -> list[Any]:
    settings = choose(d, True, algorithms=(0, 2))
    settings["dstTypeMax"] = d.choice([0.0, 6.0, 7.0]) if settings["scaleAlg"] == 2 else 0.0
    if settings["dstType"] != 40:
        settings["scaleAlg"] = 0
    return given(d, x=magnitudes(d, matrix(d), d.choice([F16, BF16])), **settings)


def squares(x: Any, mode: Optional[str], code: int, algorithm: int, largest: float) -> Any:
    x = x.numpy().astype(np.float64)
    *lead, m, n = x.shape
    y = np.zeros(x.shape)
    rows = np.zeros((*lead, m, -(-n // 64) * 2), np.uint8)
    columns = np.zeros((*lead, -(-m // 64) * 2, n), np.uint8)
    for index in np.ndindex(*lead):
        for i in range(0, m, 32):
            for j in range(0, n, 32):
                where = (*index, slice(i, i + 32), slice(j, j + 32))
                y[where], e = block(x[where], NAMES[code], mode or "rint", algorithm, largest)
                rows[(*index, slice(i, min(i + 32, m)), j // 32)] = e
                columns[(*index, i // 32, slice(j, j + 32))] = e
    pairs = np.stack([columns[..., ::2, :], columns[..., 1::2, :]], axis=-1)
    return (y.astype(DTYPES[NAMES[code]]), rows.reshape(*lead, m, -1, 2).view(DTYPES["f8e8m0"]),
            pairs.view(DTYPES["f8e8m0"]))


def draw_anti(d: Draw) -> list[Any]:
    shape = [d.integer(1, 3) for _ in range(d.integer(0, 2))]
    axis, name = d.integer(0, len(shape)), d.choice(["f8e5m2", "f8e4m3"])
    shape.insert(axis, d.integer(1, 100))
    pairs = [-(-n // 64) if i == axis else n for i, n in enumerate(shape)]
    scale = d.rng.integers(118, 136, (*pairs, 2)).astype(np.uint8).view(DTYPES["f8e8m0"])
    return [d.array(tuple(shape), DTYPES[name]), scale, axis - len(shape) * d.flag(), 0]


def anti(x: Any, scale: Any, axis: int, code: int) -> Any:
    y, scale = np.zeros(x.shape, np.float32), scale.numpy()
    for index in np.ndindex(*x.shape):
        at = list(index)
        i, at[axis] = index[axis] // 32, index[axis] // 64
        y[index] = float(x[index]) * scale[(*at, i % 2)]
    return y


def ends_of(d: Draw, groups: int, most: int = 80) -> Any:
    ends = np.cumsum(d.rng.integers(0, most, groups))
    ends[-1] += 1
    return ends


def by_rows(x: Any, ends: list[int], *settings: Any) -> tuple[Any, Any]:
    y = np.zeros(x.shape, DTYPES[settings[0]])
    scale, start = np.zeros((x.shape[0] // 64 + len(ends), x.shape[1], 2), np.uint8), 0
    for i, end in enumerate(ends):
        if end > start:
            y[start:end], found = along(x[start:end], 0, *settings)
            scale[start // 64 + i:start // 64 + i + found.shape[0]] = found.view(np.uint8)
        start = end
    return y, scale.view(DTYPES["f8e8m0"])


def draw_grouped(d: Draw) -> list[Any]:
    settings = choose(d, d.name.endswith("V2"), fp4=d.name.endswith("V2"))
    if not d.name.endswith("V2"):
        settings.pop("scaleAlg")
    settings["roundMode"] = settings.pop("roundModeOptional") or "rint"
    ends = ends_of(d, d.integer(1, 3))
    x = magnitudes(d, (int(ends[-1]), 2 * d.integer(1, 2)), d.choice([F16, BF16]))
    return given(d, x=x, groupIndex=ends.astype(np.int32), blocksize=32, **settings)


def grouped(g: dict[str, Any]) -> Any:
    return by_rows(g["x"].numpy(), g["groupIndex"].tolist(), *settings_of(g))


def draw_grouped_dual(d: Draw) -> list[Any]:
    ends = ends_of(d, d.integer(1, 3), 50)
    return given(d, x=magnitudes(d, (int(ends[-1]), 64), d.choice([F16, BF16])), groupIndex=ends,
                 roundModeOptional=d.choice([None, "rint"]), scaleAlg=1, dstDtype=d.choice([35, 36]), maxDtypeValue=0.0)


def grouped_dual(g: dict[str, Any]) -> Any:
    x = g["x"].numpy()
    return (*along(x, 1, *settings_of(g)), *by_rows(x, g["groupIndex"].tolist(), *settings_of(g)))


def each(function: Callable[..., Any], draw: Callable[..., Any], *names: str) -> dict[str, Oracle]:
    return {n: Oracle(named(function)(n), draw, exact=True, cases=6) for n in names}


ORACLES = {
    **each(dynamic, draw_dynamic, "DynamicMxQuant", "DynamicMxQuantV2", "DynamicMxQuantV3"),
    **each(dual, draw_dual, "DynamicMxQuantWithDualAxis", "DynamicMxQuantWithDualAxisV2"),
    **each(grouped, draw_grouped, "GroupedDynamicMxQuant", "GroupedDynamicMxQuantV2"),
    **each(grouped_dual, draw_grouped_dual, "GroupedDynamicMxQuantWithDualAxis"),
    "DynamicBlockMxQuant": Oracle(squares, draw_squares, exact=True, cases=6),
    "AntiMxQuant": Oracle(anti, draw_anti),
}
