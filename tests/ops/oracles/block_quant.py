"""Blocks with a float32 scale, one block after the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.types import BF16, DTYPES, F16, F32

from ..oracle import Draw, Oracle
from .mx import ends_of, magnitudes, nearest
from .quantise import given, named

TOPS = {"s8": 127.0, "f8e5m2": 57344.0, "f8e4m3": 448.0}
NAMES = {2: "s8", 35: "f8e5m2", 36: "f8e4m3"}


def cast(values: Any, name: str) -> Any:
    if name == "s8":
        return np.clip(np.rint(values), -128, 127)
    top = TOPS[name]
    return np.array([nearest(float(np.clip(v, -top, top)), name, "rint") for v in values.reshape(-1)]).reshape(
        values.shape)


def blocks(x: Any, g: dict[str, Any], y: Any, scale: Any) -> None:
    """Writes one matrix's values and scales."""
    name, rows, columns = NAMES[g["dstType"]], g["rowBlockSize"], g["colBlockSize"]
    for i in range(0, x.shape[0], rows):
        for j in range(0, x.shape[1], columns):
            part = x[i:i + rows, j:j + columns]
            s = np.abs(part).max() / np.float32(TOPS[name])
            if g["minScale"]:
                s = min(s, np.float32(1) / np.float32(g["minScale"]))
            scale[i // rows, j // columns] = s
            y[i:i + rows, j:j + columns] = cast(part / s, name) if s else 0


def draw_dynamic(d: Draw) -> list[Any]:
    x = magnitudes(d, (*d.shape(0, 1, 2), d.integer(1, 140), d.integer(1, 140)), d.choice([F32, F16, BF16]))
    newer = {"dstTypeMax": 0.0} if d.name.endswith("V2") else {}
    return given(d, x=x, minScale=d.choice([0.0, 1e-3, 50.0]), roundModeOptional=d.choice([None, "rint"]),
                 dstType=d.choice([2, 35, 36]), rowBlockSize=d.choice([1, 128]), colBlockSize=d.choice([64, 128]),
                 **newer)


def dynamic(g: dict[str, Any]) -> Any:
    x = g["x"].numpy()
    *lead, m, n = x.shape
    y = np.zeros(x.shape)
    scale = np.zeros((*lead, -(-m // g["rowBlockSize"]), -(-n // g["colBlockSize"])), np.float32)
    for index in np.ndindex(*lead):
        blocks(x[index], g, y[index], scale[index])
    return y.astype(DTYPES[NAMES[g["dstType"]]]), scale


def draw_grouped(d: Draw) -> list[Any]:
    ends = ends_of(d, d.integer(1, 3), 150)
    newer = {"dstTypeMax": 0.0} if d.name.endswith("V2") else {}
    return given(d, x=magnitudes(d, (*d.shape(0, 1, 2), int(ends[-1]), d.integer(1, 70)), d.choice([F16, BF16])),
                 groupList=ends.astype(np.int32), minScale=d.choice([0.0, 50.0]), roundModeOptional="rint",
                 dstType=d.choice([35, 36]), rowBlockSize=d.choice([1, 128]), colBlockSize=64, groupListType=0, **newer)


def grouped(g: dict[str, Any]) -> Any:
    x, ends, size = g["x"].numpy(), g["groupList"].tolist(), g["rowBlockSize"]
    *lead, m, n = x.shape
    y, scale = np.zeros(x.shape), np.zeros((*lead, m // size + len(ends), -(-n // 64)), np.float32)
    for index in np.ndindex(*lead):
        for i, (start, end) in enumerate(zip([0, *ends], ends)):
            if end > start:
                blocks(x[index][start:end], g, y[index][start:end], scale[index][start // size + i:])
    return y.astype(DTYPES[NAMES[g["dstType"]]]), scale


def draw_max(d: Draw) -> list[Any]:
    ends = np.cumsum(d.rng.integers(1, 4, d.integer(1, 3)))
    x = d.array((int(ends[-1]), *d.shape(1, 2, 4)), d.choice([F32, F16, BF16]), -9, 9)
    return [x, d.array((len(ends),), F32, 0.5, 60), ends, "rint", d.choice([35, 36])]


def group_max(x: Any, scale: Any, ends: Any, mode: str, code: int) -> Any:
    x, bounds = x.numpy(), ends.tolist()
    y, top = np.zeros(x.shape), np.zeros(len(bounds), np.float32)
    for i, (start, end) in enumerate(zip([0, *bounds], bounds)):
        part = x[start:end]
        y[start:end], top[i] = cast(part * np.float32(scale[i]), NAMES[code]), np.abs(part).max()
    return y.astype(DTYPES[NAMES[code]]), top


ORACLES = {
    **{n: Oracle(named(dynamic)(n), draw_dynamic, rtol=1e-6) for n in ("DynamicBlockQuant", "DynamicBlockQuantV2")},
    **{n: Oracle(named(grouped)(n), draw_grouped, rtol=1e-6)
       for n in ("GroupedDynamicBlockQuant", "GroupedDynamicBlockQuantV2")},
    "GroupedQuantMax": Oracle(group_max, draw_max),
}
