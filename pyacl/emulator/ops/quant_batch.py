"""Batches of products whose dimensions are permuted on the way in and out, of quantised matrices or to int8."""

from __future__ import annotations

from typing import Any

from . import rules
from .matmul import nz_weight, transpose_batch_matmul
from .quant_matmul import E8M0, WORKSPACE, check_vector, multiplied, product_shape, unused
from .quantise import plain_scale, quantised
from .registry import by_name, define
from .types import BF16, DTYPES, F16, S8

Array = Any


class Turned:
    """A tensor's description with its dimensions permuted."""

    def __init__(self, tensor: Any, perm: Any) -> None:
        self.dtype, self.ndim = tensor.dtype, tensor.ndim
        self.shape = tuple(tensor.shape[p] for p in perm)


def quantised_products(given: dict[str, Any]) -> Any:
    x, y = given["x1"].transpose(given["permX1"]), given["x2"].transpose(given["permX2"])
    scales = [given["x1Scale"], given["x2Scale"]]
    if scales[0].dtype == E8M0:  # they lie as x1 and x2 do
        scales = [s.transpose(*given[p], 3) for s, p in zip(scales, ("permX1", "permX2"))]
    return multiplied(x, y, *scales).transpose(given["permY"])


def quantised_shape(given: dict[str, Any]) -> Any:
    x, y, factor = given["x1"], given["x2"], given["batchSplitFactor"]
    unused(given, "bias")
    if x.ndim != 3 or y.ndim != 3 or factor != 1:
        rules.reject(f"x1 has {x.ndim} dimensions, x2 {y.ndim}, not 3; or batchSplitFactor is {factor}, not 1")
    perms = {"permX1": ((1, 0, 2),), "permX2": ((0, 1, 2), (0, 2, 1)), "permY": ((1, 0, 2),)}
    for name, allowed in perms.items():
        if tuple(given[name]) not in allowed:
            rules.reject(f"{name} is {list(given[name])}, none of {allowed}")
    a, b = Turned(x, given["permX1"]), Turned(y, given["permX2"])
    batch, m, n = product_shape(a, b)
    inner, first, second = a.shape[-1], given["x1Scale"], given["x2Scale"]
    if first.dtype == E8M0 or second.dtype == E8M0:
        wanted = (m, batch, inner // 64, 2), tuple([(batch, inner // 64, n), (batch, n, inner // 64)][
            tuple(given["permX2"]) == (0, 2, 1)]) + (2,)
        if inner % 64 or (tuple(first.shape), tuple(second.shape)) != wanted or first.dtype != second.dtype:
            rules.reject(f"x1Scale and x2Scale have the shapes {list(first.shape)} and {list(second.shape)}, not "
                         f"{list(wanted[0])} and {list(wanted[1])}, or K, {inner}, is no multiple of 64")
        if given["groupSize"] & 0xFFFF not in (0, 32):
            rules.reject(f"groupSize is {given['groupSize']}: blocks have 32 elements")
    else:
        if inner != 512 or n != 128:
            rules.reject(f"with scales by row and column K is 512 and N 128, not {inner} and {n}")
        check_vector("x1Scale", first, m)
        check_vector("x2Scale", second, n)
    return m, batch, n


def quantised_nz_shape(given: dict[str, Any]) -> Any:
    nz_weight(given["x2"])
    return quantised_shape(given)


def quantised_type(given: dict[str, Any]) -> Any:
    if given["dtype"] not in (1, 27):
        rules.reject(f"dtype is {given['dtype']}: choose 1 or 27")
    return F16 if given["dtype"] == 1 else BF16


# ---- float16 and bfloat16, perhaps to int8

def products(x: Any, y: Any, bias: Any, scale: Any, perm_x: Any, perm_y: Any, perm_out: Any, cube_math_type: int,
             split: int) -> Any:
    found = transpose_batch_matmul(x, y, None, None, perm_x, perm_y, perm_out or (1, 0, 2), cube_math_type, split)
    if scale is None:
        return found
    return quantised(found.reshape(found.shape[0], 1, -1) * plain_scale(scale), S8)


def products_shape(x: Any, y: Any, bias: Any, scale: Any, perm_x: Any, perm_y: Any, perm_out: Any,
                   cube_math_type: int, split: int) -> Any:
    nz_weight(y)
    unused({"bias": bias}, "bias")
    if x.ndim != 3 or y.ndim != 3 or x.dtype != y.dtype:
        rules.reject(f"x1 has {x.ndim} dimensions, x2 {y.ndim}, not 3, or their types differ")
    perm_x, perm_y, perm_out = perm_x or (0, 1, 2), perm_y or (0, 1, 2), perm_out or (1, 0, 2)
    if tuple(perm_x) not in ((0, 1, 2), (1, 0, 2)) or tuple(perm_y) not in ((0, 1, 2), (0, 2, 1)) or \
            tuple(perm_out) != (1, 0, 2):
        rules.reject(f"permX1 is {list(perm_x)}, permX2 {list(perm_y)}, permY {list(perm_out)}: choose [0, 1, 2] or "
                     "[1, 0, 2]; [0, 1, 2] or [0, 2, 1]; [1, 0, 2]")
    a, b = Turned(x, perm_x), Turned(y, perm_y)
    if a.shape[0] != b.shape[0]:
        rules.reject(f"batches of {a.shape[0]} and {b.shape[0]}")
    batch, m, n = product_shape(a, b)
    if not 1 <= split <= batch or batch % split or (scale is not None and split != 1):
        rules.reject(f"batchSplitFactor is {split}: it divides the batch of {batch}, and is 1 with a scale")
    check_vector("scale", scale, batch * n)
    if scale is not None and x.dtype != F16:
        rules.reject("a scale goes with float16")
    if scale is not None:
        return m, 1, batch * n
    return (m, batch, n) if split == 1 else (split, m, batch * n // split)


_HALVES = {"x1": "f16 bf16", "x2": "f16 bf16", "scale": "s64 u64", "out": "f16 bf16 s8"}
define("TransposeBatchMatMulWeightNz", products, products_shape, private_formats=True, workspace=WORKSPACE, exact=True,
       result=lambda x, y, bias, scale, *_: x.dtype if scale is None else S8, dtypes=_HALVES,
       optional="bias scale permX1 permX2 permY", oracle="torch.matmul of permuted tensors")
if "f8e8m0" in DTYPES:
    _COMMON: dict[str, Any] = {"raw": True, "exact": True, "result": quantised_type, "optional": "bias",
                               "workspace": WORKSPACE, "oracle": "torch.matmul of permuted tensors",
                               "deviations": "no hifloat8"}
    by_name("TransposeQuantBatchMatMul", quantised_products, quantised_shape, dtypes={
        "x1": "f8e4m3 f8e5m2", "x2": "f8e4m3 f8e5m2", "x1Scale": "f32 f8e8m0", "x2Scale": "f32 f8e8m0",
        "out": "f16 bf16"}, **_COMMON)
    by_name("TransposeQuantBatchMatMulWeightNz", quantised_products, quantised_nz_shape, private_formats=True,
            **_COMMON)
