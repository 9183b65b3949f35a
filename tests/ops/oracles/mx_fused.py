"""MX quantisation behind gated activations and norms: PyTorch's, then block by block."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.types import BF16, DTYPES, F16, F32

from ..oracle import Draw, Oracle, torch
from .mx import NAMES, along, block, by_rows, choose, each, magnitudes, two
from .quantise import functional, given, half_silu


def draw_situ(d: Draw) -> list[Any]:
    return given(d, x=d.array((*d.shape(0, 2, 3), 2 * d.integer(1, 70)), d.choice([F16, BF16])),
                 beta=d.choice([1.0, 4.0, -2.0]), linearBeta=d.choice([0.0, 2.0, -1.0]), activateLeft=d.flag(), axis=-1,
                 dstType=d.choice([35, 36]), roundModeOptional=d.choice([None, "rint"]))


def situ(g: dict[str, Any]) -> Any:
    a, b = g["x"].chunk(2, -1)
    gate, up = (a, b) if g["activateLeft"] else (b, a)
    if g["linearBeta"] > 0:
        up = g["linearBeta"] * torch.tanh(up / g["linearBeta"])
    y = g["beta"] * torch.tanh(gate / g["beta"]) * torch.sigmoid(gate) * up
    return along(y.numpy(), y.ndim - 1, NAMES[g["dstType"]])


def draw_swiglu(d: Draw) -> list[Any]:
    settings = choose(d, False)
    shape = [*d.shape(0, 1, 3), 2 * d.integer(1, 40), 4 * d.integer(1, 30)]
    mode, counts = d.integer(0, 1), None
    dim = axis = -1
    if d.flag():
        counts = d.rng.integers(1, 2 + int(np.prod(shape[:-1])) // 3, 2)
        if d.flag():
            counts = np.cumsum(counts)
    elif mode == 0:
        dim, axis = (d.choice([-1, -2, len(shape) - 2, len(shape) - 1]) for _ in range(2))
    kind = int(counts is not None and counts[0] < counts[1] and int(counts.sum()) > np.prod(shape[:-1]))
    return given(d, x=d.array(tuple(shape), d.choice([F16, BF16])), groupIndexOptional=counts, activateDim=dim,
                 activateLeft=d.flag(), swigluMode=mode, clampLimit=2.0, gluAlpha=1.702, gluBias=0.5, groupMode=kind,
                 axis=axis, maxDtypeValue=0.0, **settings)


def swiglu(g: dict[str, Any]) -> Any:
    x, counts = g["x"], g["groupIndexOptional"]
    if g["swigluMode"] == 1:
        a, b = x[..., ::2].clamp(max=2.0), x[..., 1::2].clamp(-2, 2)
        y = a * torch.sigmoid(1.702 * a) * (b + 0.5)
    else:
        dim = g["activateDim"]
        y = half_silu(x.transpose(dim, -1), g["activateLeft"]).transpose(dim, -1)
    if counts is not None:
        total = int(counts[-1] if g["groupMode"] else counts.sum())
        y = y.clone()
        y.reshape(-1, y.shape[-1])[total:] = 0
    return along(y.numpy(), g["axis"] % x.ndim, NAMES[g["dstType"]], g["roundModeOptional"] or "rint", g["scaleAlg"])


def groups(d: Draw) -> Any:
    return np.cumsum(d.rng.integers(1, 80, d.integer(1, 3))) if d.flag() else None


def draw_dual(d: Draw) -> list[Any]:
    ends = groups(d)
    rows = d.integer(1, 70) if ends is None else int(ends[-1])
    return given(d, x=d.array((rows, 4 * d.integer(1, 5)), d.choice([F16, BF16])), groupIndexOptional=ends,
                 activateLeft=d.flag(), maxDtypeValue=0.0, **choose(d, False))


def both(y: Any, g: dict[str, Any], code: int) -> Any:
    settings = NAMES[code], g["roundModeOptional"] or "rint", g["scaleAlg"]
    if g["groupIndexOptional"] is None:
        return two(y.numpy(), *settings)
    return (*along(y.numpy(), 1, *settings), *by_rows(y.numpy(), g["groupIndexOptional"].tolist(), *settings))


def draw_backward(d: Draw) -> list[Any]:
    ends = groups(d)
    rows = d.integer(1, 70) if ends is None else int(ends[-1])
    dtype = d.choice([F16, BF16])
    return given(d, x=d.array((rows, 64), dtype), yGrad=d.array((rows, 32), dtype), groupIndexOptional=ends,
                 activateLeft=True, roundModeOptional=d.choice([None, "rint"]), scaleAlg=1, dstDtype=36,
                 maxDtypeValue=0.0)


def backward(g: dict[str, Any]) -> Any:
    x = g["x"].requires_grad_()
    half_silu(x, True).backward(g["yGrad"])
    return both(x.grad, g, 36)


def draw_norm(d: Draw) -> list[Any]:
    settings = choose(d, False)
    settings["roundMode"] = settings.pop("roundModeOptional") or "rint"
    shape = (*d.shape(0, 2, 3), 2 * d.integer(1, 60))
    dtype = d.choice([F16, BF16])
    weights = dtype if "Add" in d.name else d.choice([dtype, F32])
    x1, x2 = ((d.array(shape, np.int32, -16, 16) / 4).astype(dtype) for _ in range(2))
    tensors = {"x1": x1, "x2": x2} if "Add" in d.name else {"x": x1}
    return given(d, gamma=d.array(shape[-1:], weights, 0.5, 2), epsilon=1e-3, outputRstd=True,
                 beta=d.array(shape[-1:], weights) if d.flag() else None, **tensors, **settings)


def norm(g: dict[str, Any]) -> Any:
    x = g["x1"] + g["x2"] if "x1" in g else g["x"]
    y = functional.rms_norm(x, [x.shape[-1]], g["gamma"], g["epsilon"])
    y = y if g["beta"] is None else y + g["beta"]
    values, scale = along(y.numpy(), y.ndim - 1, NAMES[g["dstType"]], g["roundMode"], g["scaleAlg"])
    rstd = torch.rsqrt(x.square().mean(-1, keepdim=True) + g["epsilon"])
    return (values, x, scale, rstd) if "x1" in g else (values, scale, rstd)


def draw_levels(d: Draw) -> list[Any]:
    shape, dtype = (*d.shape(0, 1, 3), 2 * d.integer(1, 600)), d.choice([F16, BF16])
    smooth = (2.0 ** d.rng.integers(-1, 2, shape[-1])).astype(dtype)
    return [magnitudes(d, shape, dtype), smooth if d.flag() else None, d.choice([None, "rint", "floor", "round"]), 512,
            32]


def levels(dtype: Any) -> Any:
    def call(x: Any, smooth: Any, mode: Any, size0: int, size1: int) -> Any:
        rows = (x if smooth is None else x * smooth).numpy().reshape(-1, x.shape[-1])
        n = x.shape[-1]
        y, first = np.zeros(rows.shape), np.zeros((len(rows), -(-n // 512)), np.float32)
        second = np.zeros((len(rows), -(-n // 64) * 2), np.uint8)
        for r, row in enumerate(rows):
            for i in range(0, n, 512):
                part = row[i:i + 512]
                first[r, i // 512] = np.abs(part).max() / np.float32(6)
                if first[r, i // 512]:
                    part = (part / first[r, i // 512]).astype(dtype).astype(np.float32)
                for j in range(0, len(part), 32):
                    y[r, i + j:i + j + 32], second[r, (i + j) // 32] = block(part[j:j + 32], "f4e2m1", mode or "rint",
                                                                             0, 0)
        lead = x.shape[:-1]
        return (y.reshape(x.shape).astype(DTYPES["f4e2m1"]), first.reshape(*lead, -1),
                second.reshape(*lead, -1, 2).view(DTYPES["f8e8m0"]))

    return call


def draw_half(d: Draw) -> list[Any]:
    values = draw_levels(d)
    return [None if v is None else v.astype(F16) if hasattr(v, "dtype") else v for v in values]


ORACLES = {
    **each(situ, draw_situ, "SituMxQuant"), **each(swiglu, draw_swiglu, "SwigluMxQuant"),
    **each(lambda g: both(half_silu(g["x"], g["activateLeft"]), g, g["dstType"]), draw_dual,
           "SwigluMxQuantWithDualAxis"),
    **each(backward, draw_backward, "SwigluBackwardMxQuantWithDualAxis"),
    "DynamicDualLevelMxQuant": Oracle(levels(np.float16), draw_half, rtol=1e-6),
}
for _name in ("RmsNormDynamicMxQuant", "AddRmsNormDynamicMxQuant"):
    ORACLES.update(each(norm, draw_norm, _name))
    ORACLES[_name].exact = False
