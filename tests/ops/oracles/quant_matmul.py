"""Quantised products: integer matmul in int64, block scales element by element in float64."""

from __future__ import annotations

import struct
from typing import Any

import ml_dtypes
import numpy as np

from pyacl.emulator.ops.types import BF16, DTYPES, F16, F32, INT4

from ..oracle import Draw, Fractal, Oracle, torch
from .mx import NAMES, along
from .quantise import by_row, draw_matmul, functional, given, matmul, named, rounded

CODES = {name: code for code, name in NAMES.items()}


def swap(x: Any, when: bool) -> Any:
    return np.ascontiguousarray(np.swapaxes(x, -1, -2)) if when else x


def numpy(x: Any) -> Any:
    return None if x is None else x.numpy().astype(np.float64)


def sums(x: Any, y: Any) -> Any:
    """Integers as they are, exactly; floats in float64."""
    return numpy(x) @ numpy(y)


def int8(d: Draw, *shape: int) -> Any:
    return d.array(shape, np.int8, -128, 127)


def sizes(d: Draw) -> tuple[int, int, int]:
    return d.integer(1, 6), d.integer(1, 6), d.integer(1, 6)


# ---- one scale

def draw_plain(d: Draw) -> list[Any]:
    m, k, n = sizes(d)
    batch = (2,) if d.flag() else ()
    return [int8(d, *batch, m, k), int8(d, *batch, k, n), d.array((n,), np.int32, -99, 99) if d.flag() else None,
            float(d.rng.uniform(1e-4, 1e-3))]


def plain(x: Any, y: Any, bias: Any, scale: float) -> Any:
    found = x.int() @ y.int()
    return ((found if bias is None else found + bias).float() * np.float32(scale)).half()


def hardware(scales: Any, offsets: Any = None) -> Any:
    """Bits of scales as the matrix unit reads them."""
    words = [struct.unpack("<I", struct.pack("<f", v))[0] for v in scales]
    low = [0] * len(words) if offsets is None else [int(o) & 0x1FF for o in offsets]
    return np.array([w | 1 << 46 | o << 37 for w, o in zip(words, low)], np.uint64)


def word(v: Any) -> Any:
    """Scales as float32, whatever they come as."""
    return v if v.is_floating_point() else torch.from_numpy(
        (v.numpy() & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.float32).reshape(v.shape))


def draw_vector(d: Draw) -> list[Any]:
    m, k, n = sizes(d)
    left, right = d.flag(), d.flag()
    batch = (2,) if d.flag() else ()
    return [swap(int8(d, *batch, m, k), left), swap(int8(d, *batch, k, n), right),
            d.array((n,), np.int32, -99, 99) if d.flag() else None, hardware(d.rng.uniform(1e-4, 1e-3, 16)), left, right]


def vector(x: Any, y: Any, bias: Any, scale: Any, left: bool, right: bool) -> Any:
    x, y = (t.transpose(-1, -2) if turn else t for t, turn in ((x, left), (y, right)))
    found = (x.int() @ y.int()).double() + (0 if bias is None else bias)
    words = [struct.unpack("<f", struct.pack("<I", int(s) & 0xFFFFFFFF))[0] for s in scale.tolist()]
    return (found * torch.tensor(words[:y.shape[-1]])).half()


def draw_float(d: Draw) -> list[Any]:
    m, k, n = sizes(d)
    left, right, each = d.flag(), d.flag(), d.choice([1, 16])
    return [swap(d.array((m, k), F16), left), swap(d.array((k, n), F16), right),
            hardware(d.rng.uniform(1, 4, each), d.rng.integers(-30, 30, each)),
            d.array((n,), F16) if d.flag() else None, left, right]


def float_quant(x: Any, y: Any, parameters: Any, bias: Any, left: bool, right: bool) -> Any:
    x, y = (t.transpose(-1, -2) if turn else t for t, turn in ((x, left), (y, right)))
    found = x @ y + (0 if bias is None else bias)
    for j in range(found.shape[1]):
        whole = int(parameters[j if len(parameters) > 1 else 0])
        offset = whole >> 37 & 0x1FF
        scale = struct.unpack("<f", struct.pack("<I", whole & 0xFFFFFFFF))[0]
        found[:, j] = found[:, j] * scale + (offset - 512 if offset > 255 else offset)
    return rounded(found)


# ---- scales of both

def draw_both(d: Draw) -> list[Any]:
    m, k, n = d.integer(1, 5), d.integer(2, 40), d.integer(2, 40)
    int4, left, right = d.flag(), d.flag(), d.flag()
    values: dict[str, Any] = {"transposeX1": left, "transposeX2": right, "groupSize": 0}
    if int4:
        x, y = (d.array(s, np.int32, -8, 7).astype(INT4) for s in ((m, k), (k, n)))
        values["transposeX1"] = left = False
    else:
        x, y = int8(d, m, k), int8(d, k, n)
    values["x1"], values["x2"] = swap(x, left), Fractal(swap(y, right))
    way = d.integer(0, 2)
    if way == 0:  # to int8
        values["x2Scale"], values["x2Offset"] = hardware(d.rng.uniform(1e-4, 1e-3, n)), d.array((1,), F32, -9, 9)
    else:
        values["x2Scale"] = d.array((d.choice([1, n]),), BF16, 0.001, 0.01)
        values["x1Scale"] = d.array((m,), F32, 0.5, 1) if way == 2 else None
    values["bias"] = d.choice([None, d.array((n,), np.int32, -99, 99)])
    if values["bias"] is None and way:
        values["bias"] = d.choice([None, d.array((n,), BF16)])
    return given(d, **values)


def both(g: dict[str, Any]) -> Any:
    x, y, bias = numpy(g["x1"]), numpy(g["x2"]), g["bias"]
    found = swap(x, g["transposeX1"]) @ swap(y, g["transposeX2"])
    whole = bias is not None and not bias.is_floating_point()
    found = torch.from_numpy(found + numpy(bias) if whole else found)
    scale = g["x2Scale"]
    if g["x2Offset"] is not None:
        words = [struct.unpack("<f", struct.pack("<I", int(s) & 0xFFFFFFFF))[0] for s in scale.tolist()]
        return rounded(found * torch.tensor(words) + g["x2Offset"])
    found = found * scale
    if g["x1Scale"] is not None:
        found = found * g["x1Scale"][:, None]
    return (found if bias is None or whole else found + bias).bfloat16()


def draw_fused(d: Draw) -> list[Any]:
    m, k, n = d.integer(1, 5), d.integer(2, 20), d.integer(2, 20)
    batch = (2,) if d.flag() else ()
    y = int8(d, *batch, k, n)
    bias = d.choice([None, d.array((n,), np.int32, -99, 99), d.array((*batch, 1, n) if batch else (n,), F32)])
    return given(d, x1=int8(d, *batch, m, k), x2=Fractal(y) if d.name.endswith("Nz") else y,
                 x1Scale=d.array((m,), F32, 0.5, 1), x2Scale=d.array((d.choice([1, n]),), F32, 1e-4, 1e-3),
                 biasOptional=bias, fusedOpType=d.choice(["gelu_erf", "gelu_tanh"]), groupSizeOptional=0)


def fused(g: dict[str, Any]) -> Any:
    bias = g["biasOptional"]
    whole = bias is not None and not bias.is_floating_point()
    found = (g["x1"].int() @ g["x2"].int() + (bias if whole else 0)).double() * g["x2Scale"] * g["x1Scale"][:, None]
    found = found if bias is None or whole else found + bias
    return functional.gelu(found, approximate="tanh" if g["fusedOpType"] == "gelu_tanh" else "none").half()


def draw_reduced(d: Draw) -> list[Any]:
    b, m, k, n = d.integer(1, 3), d.integer(1, 5), d.integer(2, 20), d.integer(2, 20)
    return given(d, x1=int8(d, b, m, k), x2=Fractal(int8(d, b, k, n)), x1Scale=d.array((b, m), F32, 0.5, 1),
                 x2Scale=d.array((n,), BF16, 1e-4, 1e-3), transposeX1=False, transposeX2=False, groupSize=0, dims=(0,),
                 keepDims=False)


def reduced(g: dict[str, Any]) -> Any:
    total: Any = 0
    for x, y, scale in zip(g["x1"], g["x2"], g["x1Scale"]):
        total = total + (x.int() @ y.int()).double() * scale[:, None] * g["x2Scale"]
    return total.bfloat16()


def draw_dequant(d: Draw) -> list[Any]:
    m, k, n = d.integer(1, 5), 16 * d.integer(1, 2), 16 * d.integer(1, 2)
    groups = d.integer(1, 3) if "Grouped" in d.name else 0
    lead, way = (groups,) * (groups > 0), d.integer(0, 3)
    weight = int8(d, *lead, n, k)
    values: dict[str, Any] = {"xQuantMode": "pertensor" if way > 1 else "pertoken"}
    values["weightScale"] = d.array((*lead, n), F32, 0.001, 0.01)
    if groups:
        values["groupList"] = np.sort(d.rng.integers(0, m + 1, groups))
    if way == 1:
        values["xScaleOptional"] = d.array((m,), F32, 0.02, 0.04)
    if way == 2:
        values["xScaleOptional"] = d.array((1,), F32, 0.02, 0.04)
    if way == 3:
        values["xScaleOptional"] = np.full(1, 0.03125, F16)
        values["weightScale"] = values["weightScale"].view(np.int32).astype(np.int64)
    smooth = d.array((k,), F16, 0.5, 2) if d.flag() else None
    return given(d, x=d.array((m, k), F16), weight=Fractal(weight) if d.flag() else weight, smoothScaleOptional=smooth,
                 transposeWeight=True, **values)


def dequant(g: dict[str, Any]) -> Any:
    x = g["x"] if g["smoothScaleOptional"] is None else g["x"] * g["smoothScaleOptional"]
    scale, weight = g["xScaleOptional"], g["weightScale"]
    if scale is None:
        values, scale = by_row(x)
    else:
        values = rounded(x / scale.reshape(-1, 1))
    wide = torch.from_numpy(weight.numpy().astype(np.int32).view(np.float32)) if weight.dtype == torch.int64 else weight
    if "groupList" in g:
        found, ends = torch.zeros((len(x), wide.shape[1]), dtype=torch.float64), g["groupList"].tolist()
        for i, (a, b) in enumerate(zip([0, *ends], ends)):
            found[a:b] = (values[a:b].int() @ g["weight"][i].int().T).double() * wide[i]
    else:
        found = (values.int() @ g["weight"].int().T).double() * wide
    return (found if weight.dtype == torch.int64 else found * scale.reshape(-1, 1)).half()


# ---- blocks

def powers(d: Draw, *shape: int) -> Any:
    return d.rng.integers(123, 130, shape).astype(np.uint8).view(DTYPES["f8e8m0"])


def blockwise(x: Any, y: Any, x_scale: Any, y_scale: Any) -> Any:
    """x (m, k), y (k, n), scales (m, k / 64, 2) and (k / 64, n, 2)."""
    x, y, a, b = numpy(x), numpy(y), numpy(x_scale), numpy(y_scale)
    found = np.zeros((x.shape[0], y.shape[1]))
    for j in range(-(-x.shape[1] // 32)):
        part = x[:, 32 * j:32 * j + 32] @ y[32 * j:32 * j + 32]
        found += part * a[:, j // 2, j % 2][:, None] * b[j // 2, :, j % 2][None]
    return found


def draw_newest(d: Draw) -> list[Any]:
    way = d.choice(["plain", "parts", "squares", "powers", "offset"])
    if way == "plain":
        return draw_matmul(d)
    m, k, n, left, right = d.integer(1, 4), 2 * d.integer(1, 150), 2 * d.integer(1, 70), d.flag(), d.flag()
    values: dict[str, Any] = {"transposeX1": False, "transposeX2": True, "groupSize": 0}
    if way == "parts":
        shape = (-(-k // 256), n)
        values.update(x1=d.array((m, k), np.int32, -8, 7).astype(INT4), x2=d.array((n, k), np.int32, -8, 7).astype(INT4),
                      x1Scale=d.array((m, 1), F32, 0.01, 0.1), x2Scale=d.array(shape, F32, 0.01, 0.1),
                      x2Offset=d.array(shape, F16), groupSize=256)
    elif way == "squares":
        n = d.integer(100, 200)
        values.update(x1=int8(d, m, k), x2=int8(d, n, k), x1Scale=d.array((m, -(-k // 128)), F32, 0.001, 0.01),
                      x2Scale=d.array((-(-n // 128), -(-k // 128)), F32, 0.001, 0.01),
                      bias=d.array((n,), F32) if d.flag() else None, groupSize=4303356032)
    elif way == "powers":
        pairs, kinds = -(-k // 64), [DTYPES["f8e4m3"], DTYPES["f8e5m2"]]
        a, b = powers(d, m, pairs, 2), powers(d, pairs, n, 2)
        values.update(x1=swap(d.array((m, k), d.choice(kinds)), left), x2=swap(d.array((k, n), d.choice(kinds)), right),
                      x1Scale=np.ascontiguousarray(a.swapaxes(0, 1)) if left else a, transposeX1=left,
                      x2Scale=np.ascontiguousarray(b.swapaxes(0, 1)) if right else b, transposeX2=right,
                      bias=d.array((n,), F32) if d.flag() else None, groupSize=4295032864)
    else:
        values.update(x1=int8(d, m, k), x2=int8(d, n, k), x2Scale=hardware(d.rng.uniform(1e-4, 1e-3, n)),
                      x2Offset=d.array((n,), F32, -9, 9))
    return given(d, **values)


def newest(g: dict[str, Any]) -> Any:
    x, y, a, b = g["x1"], g["x2"], g["x1Scale"], g["x2Scale"]
    if b.ndim == 1:
        if g["x2Offset"] is None:
            return matmul(g)
        return rounded((x.int() @ y.int().T).float() * word(b) + g["x2Offset"])
    if b.ndim == 3:
        x, a = (x.T, a.transpose(0, 1)) if g["transposeX1"] else (x, a)
        y, b = (y.T, b.transpose(0, 1)) if g["transposeX2"] else (y, b)
        found = blockwise(x, y, a, b)
    else:
        size = 256 if g["x2Offset"] is not None else 128
        found = np.zeros((x.shape[0], y.shape[0]))
        for j in range(-(-x.shape[1] // size)):
            part, weight = numpy(x)[:, size * j:size * (j + 1)], numpy(y)[:, size * j:size * (j + 1)].T
            if size == 256:
                found += part @ (weight - numpy(g["x2Offset"])[j]) * numpy(b)[j] * numpy(a)
            else:
                found += part @ weight * numpy(a)[:, j:j + 1] * np.repeat(numpy(b)[:, j], 128)[:y.shape[0]]
    return torch.from_numpy(found + (0 if g["bias"] is None else numpy(g["bias"]))).float().half()


def draw_activated(d: Draw) -> list[Any]:
    m, k, n, right, left = d.integer(1, 5), d.integer(2, 100), d.integer(2, 80), d.flag(), d.flag()
    pairs, kind = -(-k // 64), DTYPES["f8e4m3"]
    b, a = powers(d, pairs, n, 2), powers(d, m, pairs, 2)
    x, y = swap(d.array((m, k), d.choice([kind, DTYPES["f8e5m2"]])), left), swap(d.array((k, n), kind), right)
    return given(d, x1=x, x2=Fractal(y), x1ScaleOptional=np.ascontiguousarray(a.swapaxes(0, 1)) if left else a,
                 x2Scale=np.ascontiguousarray(b.swapaxes(0, 1)) if right else b,
                 biasOptional=d.array((n,), F32) if d.flag() else None, transposeX1=left, transposeX2=right,
                 groupSize=d.choice([0, 4295032864]), activationType=d.choice(["gelu_tanh", "gelu_erf"]),
                 quantMode="mx", roundMode="rint", scaleAlg=d.integer(0, 1), dstTypeMax=0.0)


def activated(g: dict[str, Any]) -> Any:
    x, y, a, b = g["x1"], g["x2"], g["x1ScaleOptional"], g["x2Scale"]
    x, a = (x.T, a.transpose(0, 1)) if g["transposeX1"] else (x, a)
    y, b = (y.T, b.transpose(0, 1)) if g["transposeX2"] else (y, b)
    found = torch.from_numpy(blockwise(x, y, a, b)).float() + (0 if g["biasOptional"] is None else g["biasOptional"])
    found = functional.gelu(found, approximate="tanh" if g["activationType"] == "gelu_tanh" else "none")
    return along(found.numpy(), 1, "f8e4m3", algorithm=g["scaleAlg"])


def draw_added(d: Draw) -> list[Any]:
    m, k, n, pairs = d.integer(1, 5), d.integer(1, 100), d.integer(1, 6), 0
    pairs = -(-k // 64)
    kinds = [DTYPES["f8e4m3"], DTYPES["f8e5m2"]]
    return given(d, x1=d.array((k, m), d.choice(kinds)), x2=d.array((k, n), d.choice(kinds)),
                 x1ScaleOptional=powers(d, pairs, m, 2), x2Scale=powers(d, pairs, n, 2), yRef=d.array((m, n), F32),
                 transposeX1=True, transposeX2=False, groupSize=d.choice([0, 32]))


def added(g: dict[str, Any]) -> Any:
    found = blockwise(g["x1"].T, g["x2"], g["x1ScaleOptional"].transpose(0, 1), g["x2Scale"])
    return g["yRef"] + torch.from_numpy(found).float()


def draw_levels(d: Draw) -> list[Any]:
    m, n, k = d.integer(1, 4), 2 * d.integer(1, 20), 2 * d.integer(1, 400)
    pairs, parts, kind = -(-k // 64), -(-k // 512), DTYPES["f4e2m1"]
    return given(d, x1=d.array((m, k), kind), x2=Fractal(d.array((n, k), kind)), x1Level0Scale=d.array((m, parts), F32, 0.1, 1),
                 x2Level0Scale=d.array((parts, n), F32, 0.1, 1), x1Level1Scale=powers(d, m, pairs, 2),
                 x2Level1Scale=powers(d, n, pairs, 2), optionalBias=d.array((n,), F32) if d.flag() else None,
                 transposeX1=False, transposeX2=True, level0GroupSize=512, level1GroupSize=32)


def levels(g: dict[str, Any]) -> Any:
    x, y, found = numpy(g["x1"]), numpy(g["x2"]), np.zeros((g["x1"].shape[0], g["x2"].shape[0]))
    for j in range(-(-x.shape[1] // 32)):
        part = x[:, 32 * j:32 * j + 32] @ y[:, 32 * j:32 * j + 32].T
        a = numpy(g["x1Level1Scale"])[:, j // 2, j % 2] * numpy(g["x1Level0Scale"])[:, j // 16]
        b = numpy(g["x2Level1Scale"])[:, j // 2, j % 2] * numpy(g["x2Level0Scale"])[j // 16]
        found += part * a[:, None] * b
    return torch.from_numpy(found + (0 if g["optionalBias"] is None else numpy(g["optionalBias"]))).half()


# ---- weights

def draw_antiquant(d: Draw) -> list[Any]:
    m, k, n, group = d.integer(1, 5), d.integer(2, 80), d.integer(2, 20), 0
    dtype = d.choice([F16, BF16])
    if k > 33 and d.flag():
        group = 32
    shape = (-(-k // 32), n) if group else d.choice([(n,), (1, n)])
    weight = int8(d, k, n) if group == 0 and d.flag() else d.array((k, n), np.int32, -8, 7).astype(INT4)
    bias = d.choice([None, d.array(d.choice([(n,), (1, n)]), F16 if dtype == F16 else F32)])
    return given(d, x=d.array((m, k), dtype, -1, 1), weight=Fractal(weight),
                 antiquantScale=d.array(shape, dtype, 0.01, 0.1),
                 antiquantOffsetOptional=d.array(shape, dtype, -1, 1) if d.flag() else None, biasOptional=bias,
                 antiquantGroupSize=group)


def antiquant(g: dict[str, Any]) -> Any:
    weight, scale, offset = g["weight"].double(), g["antiquantScale"], g["antiquantOffsetOptional"]
    rows = []
    for i, row in enumerate(weight):
        at = i // 32 if g["antiquantGroupSize"] else 0
        s, o = (None if v is None else v.reshape(-1, weight.shape[1])[at] for v in (scale, offset))
        rows.append((row if o is None else row + o) * s)
    found = g["x"].double() @ torch.stack(rows)
    return (found if g["biasOptional"] is None else found + g["biasOptional"]).float()


def pack(weight: Any) -> Any:
    return weight.numpy().astype(np.int8).astype(ml_dtypes.int4)


def draw_split(d: Draw) -> list[Any]:
    m, k, n = sizes(d)
    return [d.array((m, k), BF16), d.array((k, n), BF16), d.array((k, n), BF16), 1 / 256, 0]


def draw_convolution(d: Draw) -> list[Any]:
    k = d.integer(2, 3)
    groups, kernel = d.integer(1, 2), tuple(d.integer(1, 3) for _ in range(k))
    channels, outs = groups * d.integer(1, 3), groups * d.integer(1, 3)
    x = int8(d, d.integer(1, 2), channels, *(d.integer(4, 6) for _ in range(k)))
    return [x, int8(d, outs, channels // groups, *kernel), d.choice([None, d.array((outs,), F16)]),
            d.array((outs,), F32, 1e-3, 1e-2), None, tuple(d.integer(1, 2) for _ in range(k)),
            tuple(d.integer(0, 1) for _ in range(k)), (1,) * k, False, None, groups, 0, None]


def convolution(x: Any, weight: Any, bias: Any, scale: Any, offset: Any, stride: Any, padding: Any, dilation: Any,
                transposed: bool, extra: Any, groups: int, offset_x: int, mode: Any) -> Any:
    run = functional.conv2d if x.ndim == 4 else functional.conv3d
    found = run(x.double(), weight.double(), None, stride, padding, dilation, groups)
    shape = (-1, *[1] * (x.ndim - 2))
    return (found * scale.reshape(shape) + (0 if bias is None else bias.reshape(shape))).half()


ORACLES = {
    "QuantMatmul": Oracle(plain, draw_plain), "QuantMatmulV2": Oracle(vector, draw_vector),
    "BatchMatmulQuant": Oracle(float_quant, draw_float),
    "QuantMatmulWeightNz": Oracle(named(both)("QuantMatmulWeightNz"), draw_both, cases=14),
    "QuantMatmulV5": Oracle(named(newest)("QuantMatmulV5"), draw_newest, rtol=1e-3, atol=1e-2, cases=16),
    "FusedQuantMatmul": Oracle(named(fused)("FusedQuantMatmul"), draw_fused),
    "FusedQuantMatmulWeightNz": Oracle(named(fused)("FusedQuantMatmulWeightNz"), draw_fused),
    "QuantMatmulReduceSumWeightNz": Oracle(named(reduced)("QuantMatmulReduceSumWeightNz"), draw_reduced),
    **{n: Oracle(named(dequant)(n), draw_dequant, cases=10)
       for n in ("QuantMatmulDequant", "QuantGroupedMatmulDequant")},
    "DualLevelQuantMatmulWeightNz": Oracle(named(levels)("DualLevelQuantMatmulWeightNz"), draw_levels, rtol=1e-3,
                                           atol=1e-2),
    "QuantMatmulActivationQuantWeightNz": Oracle(named(activated)("QuantMatmulActivationQuantWeightNz"), draw_activated),
    "QuantBatchMatmulInplaceAdd": Oracle(named(added)("QuantBatchMatmulInplaceAdd"), draw_added, rtol=1e-4, atol=1e-4),
    "WeightQuantBatchMatmulNz": Oracle(named(antiquant)("WeightQuantBatchMatmulNz"), draw_antiquant, atol=1e-2),
    "ConvertWeightToINT4Pack": Oracle(pack, lambda d: [
        d.array((*d.shape(1, 2, 4), 8 * d.integer(1, 3)), np.int32, -8, 7)]),
    "MatmulEmuSplitWeight": Oracle(lambda x, high, low, scale, kind: x @ (high.double() + scale * low).float(),
                                   draw_split, rtol=1e-4, atol=1e-4),
    "QuantConvolution": Oracle(convolution, draw_convolution),
}
