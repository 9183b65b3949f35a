"""Unary and binary operators."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..oracle import Draw, Oracle, elementwise, torch

F = "f32 f32 f16 bf16 f64"


def nan_to_num(d: Draw) -> list[Any]:
    return [d.array(d.shape(), d.dtype(F), special=True), 0.5, 100.0, -100.0]


NUMBERS = "f32 f16 bf16 f64 s32 s64 s16 s8 u8"


def powers(d: Draw) -> list[Any]:
    """Integers to powers of 0 or more (torch refuses others); no bool."""
    values = elementwise(names="f32 f16 bf16 f64 s32 s64 s16 s8 u8", scalar="f32 s32 s64", mixed=False)(d)
    if not any(v.dtype.kind in "fV" for v in values):
        values[1] = np.abs(values[1])
    return values


ORACLES = {
    "torch.abs": Oracle(lambda x: x if x.dtype == torch.bool else torch.abs(x)),
    "torch.sign": Oracle(lambda x: x if x.dtype == torch.bool else torch.sign(x)),
    "torch.frac": Oracle(lambda x: x - torch.trunc(x), elementwise(names=NUMBERS)),
    "torch.pow": Oracle(torch.pow, powers),
    "torch.bitwise_and": Oracle(torch.bitwise_and, elementwise(names="s32 s64 s16 s8 u8 bool", scalar="s32 s64 bool")),
    "torch.bitwise_or": Oracle(torch.bitwise_or, elementwise(names="s32 s64 s16 s8 u8 bool", scalar="s32 s64 bool")),
    "torch.bitwise_xor": Oracle(torch.bitwise_xor, elementwise(names="s32 s64 s16 s8 u8 bool", scalar="s32 s64 bool")),
    "torch.asin": Oracle(torch.asin, elementwise(-1, 1)),
    "torch.acos": Oracle(torch.acos, elementwise(-1, 1)),
    "torch.atanh": Oracle(torch.atanh, elementwise(-0.9, 0.9)),
    "torch.acosh": Oracle(torch.acosh, elementwise(1, 9)),
    "torch.add": Oracle(lambda x, y, alpha: x + y * alpha, elementwise()),
    "torch.sub": Oracle(lambda x, y, alpha: x - y * alpha, elementwise(names=NUMBERS)),
    "torch.rsub": Oracle(lambda x, y, alpha: torch.rsub(x, y, alpha=alpha), elementwise(names=NUMBERS)),
    "torch.nan_to_num": Oracle(torch.nan_to_num, nan_to_num),
}
