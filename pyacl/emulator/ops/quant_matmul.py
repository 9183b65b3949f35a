"""Products of quantised matrices: scales by column, by row, for all, or for blocks along the inner dimension.

Integers are multiplied exactly; what has scales for blocks is multiplied with them first, in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...capi import lib
from . import glu, mx, rules
from .grouped_quant import bounds
from .matmul import nz_weight
from .quantise import (
    f32,
    opened,
    packed_int4,
    plain_scale,
    product,
    quantised,
    stored,
    symmetric,
    turned,
    weight_quant_matmul,
)
from .registry import by_name, define
from .types import DTYPES, F16, INT4, INTEGERS, S8, S32

Array = Any
WORKSPACE = 4096
E8M0: Any = DTYPES.get("f8e8m0", object())  # not in old releases of ml_dtypes


# ---- the product

def logical(t: Any, transposed: bool = False) -> tuple[int, ...]:
    """The shape of a matrix that an int32 tensor may hold eight int4 an element, with the last two turned."""
    shape = (*t.shape[:-1], t.shape[-1] * 8) if t.dtype == S32 else tuple(t.shape)
    return (*shape[:-2], shape[-1], shape[-2]) if transposed else shape


def product_shape(x: Any, y: Any, turn_x: bool = False, turn_y: bool = False) -> tuple[int, ...]:
    if min(x.ndim, y.ndim) < 2:
        rules.reject("x1 and x2 have at least 2 dimensions")
    a, b = logical(x, turn_x), logical(y, turn_y)
    if a[-1] != b[-2]:
        rules.reject(f"x1 of shape {list(x.shape)} and x2 of {list(y.shape)} do not fit: {a[-1]} and {b[-2]}")
    return (*rules.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])


def block_sizes(group: int) -> tuple[int, int, int]:
    """(rows, columns, inner) of the blocks; 0 is left to the shapes."""
    return group >> 32 & 0xFFFF, group >> 16 & 0xFFFF, group & 0xFFFF


def spread(scale: Array, shape: tuple[int, ...], transposed: bool, sizes: tuple[int, int]) -> Array:
    """Block scales as one for each element of a matrix whose inner dimension is the last one of `shape`.

    float8_e8m0 comes with the pair last, `transposed` swaps the two dimensions before it.
    """
    if scale.dtype == E8M0:
        values = mx.powers(scale)
        values = np.swapaxes(values, -3, -2) if transposed else values
        return mx.spread(values.reshape(*values.shape[:-2], -1), values.ndim - 2, sizes[1] or 32, shape[-1])
    values = turned(f32(scale), transposed)
    for axis, size in ((-2, sizes[0]), (-1, sizes[1])):
        size = size or max(shape[axis] // values.shape[axis], 1)
        values = mx.spread(values, values.ndim + axis, size, shape[axis])
    return values


def in_blocks(scale: Any) -> bool:
    return scale is not None and (scale.ndim > 1 and scale.size > 1 or scale.dtype == E8M0)


def multiplied(x: Array, y: Array, x_scale: Any = None, y_scale: Any = None, bias: Any = None, *, turn_x: bool = False,
               turn_y: bool = False, offset: Any = None, group: int = 0) -> Array:
    """float32: an integer bias goes before the scales, another one behind them."""
    a, b = turned(opened(x), turn_x), turned(opened(y), turn_y)
    if in_blocks(x_scale) or in_blocks(y_scale):
        rows, columns, inner = block_sizes(group)
        a = f32(a) * spread(x_scale, a.shape, turn_x, (rows, inner))
        b = f32(b) * np.swapaxes(spread(y_scale, np.swapaxes(b, -1, -2).shape, not turn_y, (columns, inner)), -1, -2)
        found = np.matmul(a, b)
        return found if bias is None else found + f32(bias)
    found = product(a, b)
    if bias is not None and bias.dtype in INTEGERS:
        found = found + bias
    found = found.astype(np.float32)
    if y_scale is not None:
        found = found * plain_scale(y_scale).reshape(-1)
    if x_scale is not None:
        found = found * f32(x_scale).reshape(-1, 1)
    if offset is not None:
        found = found + offset
    return found if bias is None or bias.dtype in INTEGERS else found + f32(bias)


def check_bias(bias: Any, shape: tuple[int, ...]) -> None:
    if bias is not None and tuple(bias.shape) not in ((shape[-1],), (*shape[:-2], 1, shape[-1])):
        rules.reject(f"bias has the shape {list(bias.shape)}, neither {[shape[-1]]} nor one row a batch")


def check_vector(name: str, v: Any, *sizes: int) -> None:
    if v is not None and (v.ndim != 1 or v.size not in sizes):
        rules.reject(f"{name} has the shape {list(v.shape)}, not one of {', '.join(str([n]) for n in sizes)}")


def unused(given: dict[str, Any], *names: str) -> None:
    for name in names:
        if given.get(name) is not None and given[name].size:
            rules.reject(f"{name} is given; it must be NULL")


# ---- out = (x1 @ x2 + bias) * scale

def plain(x: Any, y: Any, bias: Any, scale: float) -> Any:
    return multiplied(x, y, bias=bias, y_scale=np.full(1, scale, np.float32))


def plain_shape(x: Any, y: Any, bias: Any, scale: Any, turn_x: bool = False, turn_y: bool = False) -> Any:
    shape = product_shape(x, y, turn_x, turn_y)
    if not 2 <= x.ndim <= 3 or not 2 <= y.ndim <= 3:
        rules.reject(f"x1 has {x.ndim} dimensions, x2 {y.ndim}: they have 2 or 3")
    check_vector("bias", bias, shape[-1])
    if bias is not None and not x.size and shape[-1] and shape[-2]:
        rules.reject("with a bias the inner dimension is not 0")
    return shape


def with_scales(x: Any, y: Any, bias: Any, scale: Any, turn_x: bool, turn_y: bool) -> Any:
    n = logical(y, turn_y)[-1]
    return multiplied(x, y, bias=bias, y_scale=scale[:n], turn_x=turn_x, turn_y=turn_y)


def with_scales_shape(x: Any, y: Any, bias: Any, scale: Any, turn_x: bool, turn_y: bool) -> Any:
    shape = plain_shape(x, y, bias, scale, turn_x, turn_y)
    check_vector("deqScale", scale, -(-shape[-1] // 16) * 16)
    return shape


def float_quant(x: Any, y: Any, parameters: Any, bias: Any, turn_x: bool, turn_y: bool) -> Any:
    """float16 in, int8 out: the hardware's parameters hold a scale and an offset of 9 bits."""
    found = np.matmul(turned(f32(x), turn_x), turned(f32(y), turn_y))
    if bias is not None:
        found = found + f32(bias)
    bits = np.ascontiguousarray(parameters if parameters.size == 1 else parameters[:found.shape[-1]])
    offset = ((bits >> np.uint64(37)) & np.uint64(0x1FF)).astype(np.int32)
    offset -= (offset >> 8) * 512
    return quantised(found * plain_scale(bits) + offset.astype(np.float32), S8)


def float_quant_shape(x: Any, y: Any, parameters: Any, bias: Any, turn_x: bool, turn_y: bool) -> Any:
    shape = product_shape(x, y, turn_x, turn_y)
    if x.ndim != 2 or y.ndim != 2 or not x.size or not y.size:
        rules.reject(f"x1 of shape {list(x.shape)} and x2 of {list(y.shape)} are matrices that are not empty")
    check_vector("quantParam", parameters, 1, -(-shape[-1] // 16) * 16)
    check_vector("bias", bias, shape[-1])
    return shape


# ---- scales of both

def both(given: dict[str, Any]) -> Any:
    """x2Scale by column, x1Scale by row, or both for blocks; where the output is int32 there are no scales."""
    x, y, bias, out = given["x1"], given["x2"], given.get("bias"), given["outs"][0]
    turns = {"turn_x": given.get("transposeX1", False), "turn_y": given.get("transposeX2", False)}
    if out.dtype == S32:
        found = product(turned(opened(x), turns["turn_x"]), turned(opened(y), turns["turn_y"]))
        return (found if bias is None else found + bias).astype(np.int64).astype(np.int32)
    found = multiplied(x, y, given["x1Scale"], given["x2Scale"], bias, offset=given.get("x2Offset"),
                       group=given.get("groupSize", 0), **turns)
    return stored(found, out) if out.dtype == S8 else found


def both_shape(given: dict[str, Any]) -> Any:
    x, y = given["x1"], given["x2"]
    nz_weight(y)
    if x.dtype in (S8, INT4) and y.dtype == S32:
        raise NotImplementedError("int8 times packed int4, which needs the weight's sums beside it")
    if given["yScale"] is not None or (y.dtype != x.dtype and S8 in (x.dtype, y.dtype)) or y.dtype == DTYPES["f32"]:
        raise NotImplementedError("products of float8 and float4")
    unused(given, "x1Offset", "yOffset")
    shape = product_shape(x, y, given["transposeX1"], given["transposeX2"])
    check_scales(given, shape)
    check_bias(given["bias"], shape)
    return shape


def check_scales(given: dict[str, Any], shape: tuple[int, ...]) -> None:
    a, b = given["x1Scale"], given["x2Scale"]
    if in_blocks(a) or in_blocks(b):
        if a is None or a.dtype != b.dtype:
            rules.reject("x1Scale and x2Scale are for blocks both, of one type")
        inner = logical(given["x1"], given["transposeX1"])[-1]
        wanted: Any
        if a.dtype == E8M0:
            wanted = ((shape[-2], -(-inner // 64), 2), (-(-inner // 64), shape[-1], 2))
        else:
            rows, columns, size = (g or s for g, s in zip(block_sizes(given["groupSize"]), (1, 128, 128)))
            wanted = ((-(-shape[-2] // rows), -(-inner // size)), (-(-inner // size), -(-shape[-1] // columns)))
        for name, scale, want, turn in (("x1Scale", a, wanted[0], given["transposeX1"]),
                                        ("x2Scale", b, wanted[1], given["transposeX2"])):
            want = (want[1], want[0], *want[2:]) if turn else want
            if tuple(scale.shape[-len(want):]) != want:
                rules.reject(f"{name} has the shape {list(scale.shape)}; its last dimensions are {list(want)}")
        return
    if given["groupSize"]:
        rules.reject(f"groupSize is {given['groupSize']}, not 0, without scales for blocks")
    check_vector("x1Scale", a, shape[-2])
    check_vector("x2Scale", b, 1, shape[-1])


def newer(given: dict[str, Any]) -> dict[str, Any]:
    """The parameters of V3 and V4 by V5's names."""
    renamed = {"x1Scale": "pertokenScaleOptional", "x2Scale": "scale", "x2Offset": "offset"}
    return {**given, **{new: given.get(old) for new, old in renamed.items() if new not in given}}


def by_parts(given: dict[str, Any]) -> bool:
    """Whether int4 weights have a scale and an offset for each 256 of the inner dimension, tokens one scale each."""
    scale = given["x2Scale"]
    return scale is not None and scale.ndim == 2 and given["x1"].dtype in (INT4, S32) and scale.dtype == DTYPES["f32"]


def versions(given: dict[str, Any]) -> Any:
    given = newer(given)
    if not by_parts(given):
        return both(given)
    x, y = turned(opened(given["x1"]), given["transposeX1"]), turned(opened(given["x2"]), given["transposeX2"])
    rows = np.arange(y.shape[-2]) // 256
    y = f32(y) if given["x2Offset"] is None else f32(y) - f32(given["x2Offset"])[rows]
    return np.matmul(f32(x), y * given["x2Scale"][rows]) * given["x1Scale"]


def versions_shape(given: dict[str, Any]) -> Any:
    given = newer(given)
    missing = [n for n in ("x1Offset", "yOffset", "yScale") if given.get(n) is not None]
    if missing or given["x1"].dtype != given["x2"].dtype and S8 in (given["x1"].dtype, given["x2"].dtype):
        raise NotImplementedError(f"quantised matmul with {', '.join(missing) or 'int8 times int4'}")
    shape = product_shape(given["x1"], given["x2"], given["transposeX1"], given["transposeX2"])
    if by_parts(given):
        inner = logical(given["x1"], given["transposeX1"])[-1]
        wanted, token = (-(-inner // 256), shape[-1]), given["x1Scale"]
        if given["groupSize"] & 0xFFFF not in (0, 256) or token is None or tuple(token.shape) != (shape[-2], 1) or \
                any(v is not None and tuple(v.shape) != wanted for v in (given["x2Scale"], given["x2Offset"])):
            rules.reject(f"x2Scale and x2Offset have the shape {list(wanted)}, x1Scale {[shape[-2], 1]}, groups are of "
                         f"256; not {list(given['x2Scale'].shape)} and groupSize {given['groupSize']}")
    elif in_blocks(given["x1Scale"]) or in_blocks(given["x2Scale"]):
        check_scales(given, shape)
    return shape


def fused(given: dict[str, Any]) -> Any:
    found = multiplied(given["x1"], given["x2"], given["x1Scale"], given["x2Scale"], given["biasOptional"])
    return glu.gelu(found, given["fusedOpType"] == "gelu_tanh")


def fused_shape(given: dict[str, Any]) -> Any:
    if given["fusedOpType"] not in ("gelu_erf", "gelu_tanh"):
        rules.reject(f"fusedOpType is {given['fusedOpType']!r}: choose gelu_erf or gelu_tanh")
    unused(given, "yScaleOptional", "x1OffsetOptional", "x2OffsetOptional", "yOffsetOptional", "x3Optional")
    if given["groupSizeOptional"] or not given["x1"].size or not given["x2"].size:
        rules.reject(f"groupSizeOptional is {given['groupSizeOptional']}, not 0, or x1 or x2 is empty")
    shape = product_shape(given["x1"], given["x2"])
    check_vector("x1Scale", given["x1Scale"], shape[-2])
    check_vector("x2Scale", given["x2Scale"], 1, shape[-1])
    check_bias(given["biasOptional"], shape)
    return shape


def fused_nz_shape(given: dict[str, Any]) -> Any:
    nz_weight(given["x2"])
    return fused_shape(given)


def reduced(given: dict[str, Any]) -> Any:
    x, y = given["x1"], given["x2"]
    found = product(x, y).astype(np.float32) * f32(given["x2Scale"]) * given["x1Scale"][..., None]
    return found.sum(axis=0)


def reduced_shape(given: dict[str, Any]) -> Any:
    x, y = given["x1"], given["x2"]
    nz_weight(y)
    unused(given, "yScale", "x1Offset", "x2Offset", "yOffset", "bias")
    if given["transposeX1"] or given["transposeX2"] or given["groupSize"] or tuple(given["dims"]) != (0,) or \
            given["keepDims"]:
        rules.reject("transposeX1, transposeX2 and keepDims are false, groupSize is 0, dims is [0]")
    shape = product_shape(x, y)
    if x.ndim != 3 or y.ndim != 3 or x.shape[0] != y.shape[0] or not x.size or not y.size:
        rules.reject(f"x1 of shape {list(x.shape)} and x2 of {list(y.shape)} are batches of one size, not empty")
    if tuple(given["x1Scale"].shape) != shape[:2] or tuple(given["x2Scale"].shape) != shape[2:]:
        rules.reject(f"x1Scale has the shape {list(given['x1Scale'].shape)}, not {list(shape[:2])}, or x2Scale not "
                     f"{list(shape[2:])}")
    return shape[1:]


# ---- quantised on the way

def dequant(given: dict[str, Any]) -> Any:
    """x is quantised, multiplied with the transposed weight, each group of rows with its own, and scaled back."""
    x, weight, scale = f32(given["x"]), given["weight"], given["xScaleOptional"]
    factor = plain_scale(given["weightScale"])
    if given["smoothScaleOptional"] is not None:
        x = x * f32(given["smoothScaleOptional"])
    if scale is None:
        values, scale = symmetric(x, S8)
        values = quantised(values, S8)
    else:
        scale = f32(scale).reshape(-1, 1)
        values = quantised(x / scale, S8)
    if "groupList" in given:
        found = np.zeros((len(x), weight.shape[1]), np.float32)
        for i, (a, b) in enumerate(bounds(given["groupList"])):
            found[a:b] = product(values[a:b], weight[i].T).astype(np.float32) * factor[i]
    else:
        found = product(values, weight.T).astype(np.float32) * factor
    return found if given["weightScale"].dtype == DTYPES["s64"] else found * scale


def dequant_shape(given: dict[str, Any]) -> Any:
    x, weight, scale, mode = given["x"], given["weight"], given["xScaleOptional"], given["xQuantMode"]
    unused(given, "biasOptional", "xOffsetOptional")
    if mode not in ("pertoken", "pertensor") or (scale is None and mode != "pertoken") or not given["transposeWeight"]:
        rules.reject(f"xQuantMode is {mode!r}: pertoken, or with xScaleOptional pertensor; transposeWeight is true")
    grouped = "groupList" in given
    if x.ndim != 2 or weight.ndim != 2 + grouped or weight.shape[-2] % 16 or weight.shape[-1] % 16 or \
            x.shape[1] != weight.shape[-1]:
        rules.reject(f"x of shape {list(x.shape)} and weight of {list(weight.shape)} do not fit, or the weight's sides "
                     "are no multiples of 16")
    shape = (x.shape[0], weight.shape[-2])
    folded = given["weightScale"].dtype == DTYPES["s64"]
    if folded != (scale is not None and scale.dtype == F16) or (folded and mode != "pertensor"):
        rules.reject("an int64 weightScale goes with a float16 xScaleOptional and pertensor, and only with them")
    if tuple(given["weightScale"].shape) != tuple(weight.shape[:-1]) or \
            (grouped and tuple(given["groupList"].shape) != tuple(weight.shape[:1])):
        rules.reject(f"weightScale has the shape {list(given['weightScale'].shape)}, not {list(weight.shape[:-1])}, or "
                     "groupList not one element for each weight")
    check_vector("xScaleOptional", scale, 1 if mode == "pertensor" else shape[0])
    check_vector("smoothScaleOptional", given["smoothScaleOptional"], x.shape[1])
    return shape


def activated(given: dict[str, Any]) -> Any:
    """MX product, gelu, MX quantisation along the last dimension."""
    found = multiplied(given["x1"], given["x2"], given["x1ScaleOptional"], given["x2Scale"], given["biasOptional"],
                       turn_x=given["transposeX1"], turn_y=given["transposeX2"])
    found = glu.gelu(found, given["activationType"] == "gelu_tanh")
    kind = next(n for n, d in DTYPES.items() if d == given["outs"][0].dtype)
    values, biased = mx.quantised(found, found.ndim - 1, kind, algorithm=given["scaleAlg"])
    return values, mx.paired(biased, found.ndim - 1)


def activated_shape(given: dict[str, Any]) -> Any:
    nz_weight(given["x2"])
    if given["activationType"] not in ("gelu_tanh", "gelu_erf") or given["quantMode"] != "mx" or \
            given["roundMode"] not in (None, "rint") or given["scaleAlg"] not in (0, 1):
        rules.reject(f"activationType is {given['activationType']!r}, quantMode {given['quantMode']!r}, roundMode "
                     f"{given['roundMode']!r}, scaleAlg {given['scaleAlg']}: choose gelu_tanh or gelu_erf, mx, rint, 0 "
                     "or 1")
    if given["groupSize"] not in (0, 1 << 32 | 1 << 16 | 32) or given["dstTypeMax"]:
        rules.reject(f"groupSize is {given['groupSize']}: blocks are of 1, 1, 32; or dstTypeMax is not 0")
    if given["x1ScaleOptional"] is None:
        rules.reject("x1ScaleOptional is NULL", lib.ACLNN_ERR_PARAM_NULLPTR)
    shape = product_shape(given["x1"], given["x2"], given["transposeX1"], given["transposeX2"])
    check_scales({**given, "x1Scale": given["x1ScaleOptional"], "groupSize": 0}, shape)
    check_bias(given["biasOptional"], shape)
    return shape, mx.scale_shape(shape, len(shape) - 1)


def added(given: dict[str, Any]) -> Any:
    scale = given["x1ScaleOptional"]
    return given["yRef"] + multiplied(given["x1"], given["x2"], scale, given["x2Scale"], turn_x=given["transposeX1"],
                                      turn_y=given["transposeX2"], group=given["groupSize"])


def added_shape(given: dict[str, Any]) -> Any:
    if not given["transposeX1"] or given["transposeX2"] or given["groupSize"] not in (0, 32, 1 << 32 | 1 << 16 | 32):
        rules.reject("transposeX1 is true, transposeX2 false, groupSize stands for blocks of 1, 1, 32")
    if given["x1ScaleOptional"] is None:
        rules.reject("x1ScaleOptional is NULL", lib.ACLNN_ERR_PARAM_NULLPTR)
    shape = product_shape(given["x1"], given["x2"], True)
    check_scales({**given, "x1Scale": given["x1ScaleOptional"]}, shape)
    return shape


def split_weight(x: Any, high: Any, low: Any, scale: float, kind: int) -> Any:
    """A float32 weight as two bfloat16, the second one the rest divided by `scale`."""
    return np.matmul(x, high) + np.float32(scale) * np.matmul(x, low)


def split_weight_shape(x: Any, high: Any, low: Any, scale: float, kind: int) -> Any:
    if scale != 1 / 256 or kind != 0:
        rules.reject(f"wLowScale is {scale}, not 1/256, or yDtype, {kind}, not 0")
    shape = product_shape(x, high)
    if x.ndim != 2 or tuple(high.shape) != tuple(low.shape) or high.ndim != 2 or not x.size or not high.size:
        rules.reject(f"x of shape {list(x.shape)}, wHigh of {list(high.shape)} and wLow of {list(low.shape)} are "
                     "matrices that are not empty, the last two of one shape")
    return shape


def two_levels(given: dict[str, Any]) -> Any:
    """float32 scales for blocks of 512 along the inner dimension, times powers of two for blocks of 32."""
    x, y = f32(given["x1"]), f32(given["x2"])
    x = x * spread(given["x1Level1Scale"], x.shape, False, (1, 32)) * spread(given["x1Level0Scale"], x.shape, False,
                                                                             (1, 512))
    y = y * spread(given["x2Level1Scale"], y.shape, False, (1, 32)) * spread(given["x2Level0Scale"], y.shape, True,
                                                                             (1, 512))
    found = np.matmul(x, y.T)
    return found if given["optionalBias"] is None else found + given["optionalBias"]


def two_levels_shape(given: dict[str, Any]) -> Any:
    nz_weight(given["x2"])
    x, y = given["x1"], given["x2"]
    sizes = given["level0GroupSize"], given["level1GroupSize"]
    if given["transposeX1"] or not given["transposeX2"] or sizes != (512, 32):
        rules.reject("transposeX1 is false, transposeX2 true, level0GroupSize 512, level1GroupSize 32")
    shape = product_shape(x, y, False, True)
    m, n, k = *shape, x.shape[-1]
    wanted = {"x1Level0Scale": (m, -(-k // 512)), "x1Level1Scale": (m, -(-k // 64), 2),
              "x2Level0Scale": (-(-k // 512), n), "x2Level1Scale": (n, -(-k // 64), 2)}
    for name, want in wanted.items():
        if tuple(given[name].shape) != want:
            rules.reject(f"{name} has the shape {list(given[name].shape)}, not {list(want)}")
    check_vector("optionalBias", given["optionalBias"], n)
    return shape


# ---- weights

def packed(weight: Any, *, outs: Any) -> Array:
    """int32 that hold one int4 each as int4, or as int32 of eight; the output's format is the layout's."""
    return packed_int4(weight) if outs[0].dtype == S32 else weight.astype(np.int8).astype(INT4)


def packed_shape(weight: Any) -> Any:
    if weight.ndim not in (2, 3) or not weight.size or weight.shape[-1] % 2:
        rules.reject(f"weight of shape {list(weight.shape)} is empty, has not 2 or 3 dimensions, or an odd last one")
    return (*weight.shape[:-1], None)


def nz_antiquant_shape(given: dict[str, Any]) -> Any:
    weight, x, group = given["weight"], given["x"], given["antiquantGroupSize"]
    nz_weight(weight)
    unused(given, "quantScaleOptional", "quantOffsetOptional")
    if weight.dtype == DTYPES["f32"]:
        raise NotImplementedError("float4 packed in float32")
    shape = product_shape(x, weight)
    if x.ndim != 2 or weight.ndim != 2 or not x.size or not weight.size:
        rules.reject(f"x of shape {list(x.shape)} and weight of {list(weight.shape)} are matrices that are not empty")
    blocks, inner = given["antiquantScale"].dtype == E8M0, x.shape[1]
    if group and (group % 32 or group < 32 or (group != 32 if blocks else group > inner - 1)):
        rules.reject(f"antiquantGroupSize is {group}: 0, or a multiple of 32 below {inner}; 32 for float8_e8m0")
    wanted = [(-(-inner // group), shape[1])] if group else [(1, shape[1]), (shape[1],)]
    for name in ("antiquantScale", "antiquantOffsetOptional"):
        if given[name] is not None and tuple(given[name].shape) not in wanted:
            rules.reject(f"{name} has the shape {list(given[name].shape)}, not one of {wanted}")
    bias = given["biasOptional"]
    if bias is not None and tuple(bias.shape) not in ((shape[1],), (1, shape[1])):
        rules.reject(f"biasOptional has the shape {list(bias.shape)}, not {[shape[1]]}")
    return shape


_COMMON: dict[str, Any] = {"raw": True, "workspace": WORKSPACE, "oracle": "torch.matmul"}
define("QuantMatmul", plain, plain_shape, optional="bias", **_COMMON)
define("QuantMatmulV2", with_scales, with_scales_shape, optional="bias", **_COMMON)
define("BatchMatmulQuant", float_quant, float_quant_shape, optional="bias", private_formats=True, **_COMMON)
by_name("QuantMatmulV3 QuantMatmulV4", versions, versions_shape, optional="offset bias", **_COMMON)
by_name("QuantMatmulV5", versions, versions_shape, private_formats=True,
        optional="bias x1Scale yScale x1Offset x2Offset yOffset",
        deviations="no products of int8 and int4, or of float8 and float4", **_COMMON)
by_name("QuantMatmulWeightNz", both, both_shape, private_formats=True,
        optional="x1Scale yScale x1Offset x2Offset yOffset bias",
        deviations="no products of int8 and int4, or of float8 and float4", **_COMMON)
by_name("FusedQuantMatmul", fused, fused_shape, **_COMMON)
by_name("FusedQuantMatmulWeightNz", fused, fused_nz_shape, private_formats=True, **_COMMON)
by_name("QuantMatmulReduceSumWeightNz", reduced, reduced_shape, private_formats=True,
        optional="yScale x1Offset x2Offset yOffset bias", **_COMMON)
by_name("QuantMatmulDequant", dequant, dequant_shape, private_formats=True, **_COMMON)
by_name("QuantGroupedMatmulDequant", dequant, dequant_shape, private_formats=True, dtypes={
    "x": "f16", "weight": "s8", "weightScale": "f32 s64", "groupList": "s64", "xScaleOptional": "f32 f16",
    "smoothScaleOptional": "f16", "out": "f16"}, deviations="one row of smooth scales for all groups", **_COMMON)
by_name("WeightQuantBatchMatmulNz", weight_quant_matmul, nz_antiquant_shape, private_formats=True,
        deviations="no float4 packed in float32", **_COMMON)
define("ConvertWeightToINT4Pack", packed, packed_shape, raw=True, private_formats=True, exact=True,
       oracle="nibbles, one by one", deviations="int32 weights only")
define("MatmulEmuSplitWeight", split_weight, split_weight_shape, result=lambda *_: DTYPES["f32"], exact=True,
       workspace=WORKSPACE, oracle="torch.matmul")
if mx.SUPPORTED:
    by_name("QuantBatchMatmulInplaceAdd", added, added_shape, deviations="no hifloat8", **_COMMON)
    by_name("DualLevelQuantMatmulWeightNz", two_levels, two_levels_shape, private_formats=True, **_COMMON)
    by_name("QuantMatmulActivationQuantWeightNz", activated, activated_shape, private_formats=True, **_COMMON)
