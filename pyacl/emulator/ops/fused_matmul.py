"""Products with what is fused to them: activations, sums, experts' feed-forward nets, low-rank additions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...capi import lib
from . import glu, rules
from .activations import fast_gelu
from .grouped_quant import bounds
from .matmul import matmul_shape
from .quantise import f32, plain_scale, product, quantised
from .registry import by_name, define
from .types import F16, F32, HALF, INT4, S8
from .unary import sigmoid

Array = Any
WORKSPACE = 4096


# ---- FusedMatmul

FUSED: dict[str, Any] = {
    "": lambda y, x3: y, "16cast32": lambda y, x3: y, "add": lambda y, x3: y + x3, "mul": lambda y, x3: y * x3,
    "gelu_tanh": lambda y, x3: glu.gelu(y, True), "gelu_erf": lambda y, x3: glu.gelu(y, False),
    "relu": lambda y, x3: np.maximum(y, np.float32(0)),
}


def fused(x: Any, y: Any, bias: Any, x3: Any, kind: str, cube_math_type: int) -> Array:
    found = np.matmul(x, y)
    return FUSED[kind](found if bias is None else found + bias, x3)


def fused_shape(x: Any, y: Any, bias: Any, x3: Any, kind: str, cube_math_type: int) -> Any:
    if kind not in FUSED:
        rules.reject(f"fusedOpType is {kind!r}: choose one of {', '.join(map(repr, FUSED))}")
    if kind in ("add", "mul") and x3 is None:
        rules.reject(f"x3 is NULL; {kind} needs it", lib.ACLNN_ERR_PARAM_NULLPTR)
    if kind in ("gelu_tanh", "gelu_erf") and bias is not None:
        rules.reject(f"bias is given, which {kind} does not take", lib.ACLNN_ERR_PARAM_NULLPTR)
    most = 6 if kind in ("", "relu") else 3 if kind in ("add", "mul") else 2
    if not 2 <= x.ndim <= most or x.ndim != y.ndim or x.shape[:-2] != y.shape[:-2]:
        rules.reject(f"x1 of shape {list(x.shape)} and x2 of {list(y.shape)} have not the same 2 to {most} dimensions "
                     "and batches")
    if x.dtype != y.dtype or (x3 is not None and x3.dtype != x.dtype):
        rules.reject("x1, x2 and x3 have one type")
    if x.dtype == F32 and (kind not in ("", "add", "mul", "relu") or cube_math_type != 3):
        rules.reject(f"float32 with fusedOpType {kind!r} and cubeMathType {cube_math_type}: it takes '', add, mul, "
                     "relu, and 3")
    shape = matmul_shape(x, y)
    if bias is not None and (not 1 <= bias.ndim <= 2 or rules.broadcast_shapes(tuple(bias.shape), shape) != shape):
        rules.reject(f"bias of shape {list(bias.shape)} does not broadcast to {list(shape)}")
    if kind in ("add", "mul") and (x3.ndim not in (2, 3) or x3.ndim > len(shape) or tuple(x3.shape[-2:]) != shape[-2:]
                                   or (x3.ndim == 3 and x3.shape[0] not in (1, shape[0]))):
        rules.reject(f"x3 has the shape {list(x3.shape)}, y {list(shape)}")
    return shape


def gelu(x: Any, weight: Any, bias: Any, approximate: int) -> Array:
    found = np.matmul(x, weight.T)
    return glu.gelu(found if bias is None else found + bias, True)


def gelu_shape(x: Any, weight: Any, bias: Any, approximate: int) -> Any:
    if approximate != 1:
        rules.reject(f"approximate is {approximate}; only 1, tanh, is supported")
    if not x.ndim or weight.ndim != 2 or x.shape[-1] != weight.shape[1]:
        rules.reject(f"x of shape {list(x.shape)} and weight of {list(weight.shape)} do not fit")
    if weight.dtype != x.dtype or (bias is not None and (bias.dtype != x.dtype or
                                                         tuple(bias.shape) != (weight.shape[0],))):
        rules.reject("weight and bias have x's type, bias one element for each row of weight")
    return (*x.shape[:-1], weight.shape[0])


# ---- AddLora

def add_lora(y: Any, x: Any, b: Any, indices: Any, a: Any, layer: int, scale: float, offset: int, size: int) -> Array:
    """Rows of one index have one pair of weights."""
    found = y.copy()
    for i in np.unique(indices):
        if 0 <= i < b.shape[0]:
            rows = indices == i
            inner = x[rows] if a is None else x[rows] @ a[i, layer].T
            found[rows, offset:offset + size] += inner @ b[i, layer].T * np.float32(scale)
    return found


def add_lora_shape(y: Any, x: Any, b: Any, indices: Any, a: Any, layer: int, scale: float, offset: int,
                   size: int) -> Any:
    with rules.refusing(lib.ACLNN_ERR_INNER_TILING_ERROR):
        if y.ndim != 2 or x.ndim != 2 or b.ndim != 4 or tuple(indices.shape) != (y.shape[0],) or \
                x.shape[0] != y.shape[0]:
            rules.reject(f"y of shape {list(y.shape)}, x of {list(x.shape)}, indices of {list(indices.shape)} and "
                         f"weightB of {list(b.shape)} do not fit")
        wide, rank = b.shape[2:]
        if (rank != x.shape[1]) if a is None else (tuple(a.shape) != (*b.shape[:2], rank, x.shape[1])):
            rules.reject(f"weightA and weightB, of {list(b.shape)}, do not fit x of shape {list(x.shape)}")
        if any(n % 16 for n in (*y.shape[1:], *x.shape[1:], wide, rank)) or rank > 128 or wide > 131072:
            rules.reject("H1, H2, H3 and R are multiples of 16, R at most 128, H2 at most 131072")
        if not 0 <= layer < b.shape[1] or not 0 <= offset < y.shape[1] or offset + size > y.shape[1] or size != wide:
            rules.reject(f"layerIdx is {layer} of {b.shape[1]} layers; yOffset {offset} and ySliceSize {size} name "
                         f"columns of {y.shape[1]}, as many as weightB's {wide}")
    return tuple(y.shape)


# ---- feed-forward nets

ACTIVATIONS: dict[str, Any] = {
    "gelu": lambda x: glu.gelu(x, True), "fastgelu": fast_gelu, "relu": lambda x: np.maximum(x, np.float32(0)),
    "silu": lambda x: x * sigmoid(x),
}


def ffn(given: dict[str, Any]) -> Array:
    """activation(x W1 + b1) W2 + b2, expert by expert; int8 in between where x is, dequantised weights elsewhere."""
    def of(name: str, i: int) -> Any:
        """Expert i's part of a parameter."""
        value = next((given[n] for n in (name, f"{name}Optional") if given.get(n) is not None), None)
        return value if value is None or tokens is None else value[i]

    def weight(i: int, which: str) -> Array:
        value, scale, offset = (of(f"{name}{which}", i) for name in ("weight", "antiquantScale", "antiquantOffset"))
        if scale is None:
            return f32(value)
        scale, offset = (np.repeat(f32(v), value.shape[0] // v.shape[0], axis=0) if v is not None and v.ndim == 2 else
                         f32(v) for v in (scale, offset))
        return (f32(value) if offset is None else f32(value) + offset) * scale

    def floating(x: Array, i: int) -> Array:
        for which in "12":
            x = x @ weight(i, which)
            if of(f"bias{which}", i) is not None:
                x = x + f32(of(f"bias{which}", i))
            x = activate(x) if which == "1" else x
        return x

    def integers(x: Array, i: int) -> Array:
        found: Any = None
        for which in "12":
            sums = product(x, of(f"weight{which}", i))
            if of(f"bias{which}", i) is not None:
                sums = sums + of(f"bias{which}", i)
            found = sums.astype(np.float32) * plain_scale(of(f"deqScale{which}", i))
            if which == "1":
                found = activate(found) * of("scale", i)
                x = quantised(found if of("offset", i) is None else found + of("offset", i), S8)
        return found

    tokens = given.get("expertTokens", given.get("expertTokensOptional"))
    activate, rows = ACTIVATIONS[given["activation"]], given["x"].reshape(-1, given["x"].shape[-1])
    run, rows = (integers, rows) if rows.dtype == S8 else (floating, f32(rows))
    parts = [(0, len(rows))] if tokens is None else bounds(np.asarray(tokens), not given.get("tokensIndexFlag"))
    y = np.zeros((len(rows), given["weight2"].shape[-1]), np.float32)
    for i, (a, b) in enumerate(parts):
        y[a:b] = run(rows[a:b], i)
    return y.reshape(given["x"].shape)


def ffn_shape(given: dict[str, Any]) -> Any:
    x, first, second = given["x"], given["weight1"], given["weight2"]
    tokens = given.get("expertTokens", given.get("expertTokensOptional"))
    if given["activation"] in ("geglu", "swiglu", "reglu"):
        raise NotImplementedError(f"{given['activation']}: which half it activates is not documented")
    if given["activation"] not in ACTIVATIONS:
        rules.reject(f"activation is {given['activation']!r}: choose one of {', '.join(ACTIVATIONS)}, geglu, swiglu, "
                     "reglu")
    wanted = 2 if tokens is None else 3
    if x.ndim < 2 or first.ndim != wanted or second.ndim != wanted or first.shape[:-2] != second.shape[:-2]:
        rules.reject(f"x of shape {list(x.shape)}, weight1 of {list(first.shape)} and weight2 of {list(second.shape)}: "
                     f"weights have {wanted} dimensions {'without' if tokens is None else 'with'} experts")
    (k1, n1), (k2, n2) = first.shape[-2:], second.shape[-2:]
    if x.shape[-1] != k1 or n1 != k2 or k1 != n2:
        rules.reject(f"K1, N1, K2, N2 are {k1}, {n1}, {k2}, {n2} for x of {x.shape[-1]} columns: N1 = K2, K1 = N2")
    if x.dtype == S8 and not all(given.get(n, given.get(f"{n}Optional")) is not None
                                 for n in ("deqScale1", "deqScale2", "scale")):
        rules.reject("int8 x needs scale, deqScale1 and deqScale2", lib.ACLNN_ERR_PARAM_NULLPTR)
    if x.dtype in HALF and first.dtype in (S8, INT4) and \
            given.get("antiquantScale1", given.get("antiquantScale1Optional")) is None:
        rules.reject("an integer weight needs antiquantScale1 and antiquantScale2", lib.ACLNN_ERR_PARAM_NULLPTR)
    return tuple(x.shape)


_MANY = "expertTokens bias1 bias2 scale offset deqScale1 deqScale2 antiquantScale1 antiquantScale2 antiquantOffset1 " \
        "antiquantOffset2"
define("FusedMatmul", fused, fused_shape, optional="bias x3", workspace=WORKSPACE, exact=True, oracle="torch.matmul",
       result=lambda x, y, bias, x3, kind, _: F32 if kind == "16cast32" else x.dtype)
define("FusedMatmulGelu", gelu, gelu_shape, optional="bias", workspace=WORKSPACE, exact=True, result=rules.first,
       dtypes=dict.fromkeys(("x", "weight", "bias", "y"), "f16 bf16"), oracle="torch gelu of torch.matmul")
define("AddLora", add_lora, add_lora_shape, workspace=WORKSPACE, result=lambda *_: F16,
       oracle="torch.matmul, row by row")
by_name("FFN FFNV2 FFNV3", ffn, ffn_shape, raw=True, optional=_MANY, workspace=WORKSPACE, dtypes={
    "x": "f16 bf16 s8", "weight1": "f16 bf16 s8 s4", "weight2": "f16 bf16 s8 s4", "y": "f16 bf16"},
    oracle="torch.matmul, expert by expert", deviations="no geglu, swiglu, reglu; gelu by tanh")
