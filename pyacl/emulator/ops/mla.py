"""What precedes multi-head latent attention: tokens go down to latent queries and keys, queries up again; keys' cache.

Tensors that the device keeps in bfloat16 between its steps are rounded to it here too.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Optional

import numpy as np

from ...capi import lib
from .quantise import product, quantised, symmetric
from .registry import by_name
from .rms_norm import normalise
from .rotary import INTERLEAVE_HALF, rotate
from .rules import reject
from .types import BF16, F32, S8, cast

TILING = lib.ACLNN_ERR_INNER_TILING_ERROR
Given = dict[str, Any]
_CQ, _CKV, _NOPE, _ROPE = 1536, 512, 128, 64  # the sizes that the device is built for
_SCALES = tuple(n + "Optional" for n in (
    "dequantScaleX", "dequantScaleWDq", "dequantScaleWDkvKr", "dequantScaleWUqQr", "quantScaleCkv", "quantScaleCkr",
    "smoothScalesCq"))


def stored(x: Any) -> Any:
    return cast(cast(x, BF16), F32)


def projected(x: Any, weight: Any, rows: Any, columns: Any) -> Any:
    """x @ weight; of integers times the scales of rows and columns, of floats as bfloat16 holds it."""
    if x.dtype != S8:
        return stored(np.matmul(x, weight))
    return product(x, weight).astype(np.float32) * rows * columns


def turned(x: Any, given: Given) -> Any:
    """[token, head, channel], rotated by the token's position."""
    cos, sin = (given[n].reshape(x.shape[0], 1, _ROPE) for n in ("ropeCos", "ropeSin"))
    return rotate(x, cos, sin, INTERLEAVE_HALF)


def cached(cache: Any, slots: Any, rows: Any, fractal: bool) -> Any:
    """The cache with a row in each slot that is not negative."""
    cache = cache.copy()
    if cache.size:
        rows, slots = rows[slots >= 0], slots[slots >= 0]
        if fractal:
            count, size, _, columns = cache.shape
            width = 32 if cache.dtype == S8 else 16
            places = cache.reshape(count, columns // width, size, width)
            places[slots // size, :, slots % size] = rows.reshape(len(rows), columns // width, width)
        else:
            cache.reshape(-1, cache.shape[-1])[slots] = rows
    return cache


def prolog(given: Given) -> Any:
    x, up, wide = given["tokenX"], given["weightUqQr"], given["weightUk"]
    lead, (heads, nope, _) = x.shape[:-1], wide.shape
    x = x.reshape(math.prod(lead), x.shape[-1])
    slots = (given["cacheIndexOptional"] if "cacheIndexOptional" in given else given["cacheIndex"]).reshape(-1)
    of_x, of_dq, of_keys, of_up, to_kv, to_kr, smooth = (given[n] for n in _SCALES)
    kv, kr = given["kvCacheRef"], given["krCacheRef"]
    to_int = x.dtype == kv.dtype == S8  # the query too

    low = normalise(projected(x, given["weightDq"], of_x, of_dq), given["rmsnormGammaCq"], given["rmsnormEpsilonCq"])[0]
    low *= np.float32(given.get("qcQrScale", 1))
    own = None
    if up.dtype == S8:
        low, own = symmetric(low if smooth is None else low * smooth, S8)
        low = quantised(low, S8)
    q = projected(low if own is not None else stored(low), up, own, of_up).reshape(len(x), heads, nope + _ROPE)
    query = stored(np.matmul(stored(q[..., :nope]).swapaxes(0, 1), wide)).swapaxes(0, 1)
    rope, scale = turned(q[..., nope:], given), None

    keys = projected(x, given["weightDkvKr"], of_x, of_keys)
    latent = normalise(keys[:, :kv.shape[-1]], given["rmsnormGammaCkv"], given["rmsnormEpsilonCkv"])[0]
    latent *= np.float32(given.get("kcScale", 1))
    turned_keys = turned(keys[:, None, kv.shape[-1]:], given)[:, 0]
    if kv.dtype == S8:
        latent = quantised(latent * (to_kv[0, 0] if to_int else to_kv), S8)
    if kr.dtype == S8:
        turned_keys = quantised(stored(turned_keys) * to_kr, S8)
    if to_int:  # what multiplies the cache of keys has its scale
        query, scale = symmetric(query, S8)
        query, rope = quantised(query, S8), stored(rope) * (to_kv[0, 0] / scale)
    fractal = given["cacheModeOptional"] == "PA_NZ"
    found = (cached(kv, slots, latent, fractal), cached(kr, slots, turned_keys, fractal),
             query.reshape(*lead, *query.shape[1:]), rope.reshape(*lead, *rope.shape[1:]), scale)
    return (*found, None, None)[:len(given["names"])]


def scenario(given: Given) -> tuple[bool, bool, bool]:
    """Whether all products, the queries' second one, the cache of keys are int8."""
    return given["tokenX"].dtype == S8, given["weightUqQr"].dtype == S8, given["kvCacheRef"].dtype == S8


def prolog_shape(given: Given, outputs: int) -> Any:
    x, wide, kv, mode = given["tokenX"], given["weightUk"], given["kvCacheRef"], given["cacheModeOptional"]
    everything, part, cache = scenario(given)
    third = "kcScale" in given
    if x.ndim not in (2, 3) or wide.ndim != 3 or kv.ndim != 4:
        reject("tokenX must have 2 or 3 dimensions, weightUk 3, kvCacheRef 4", TILING)
    lead, width, heads = tuple(x.shape[:-1]), x.shape[-1], wide.shape[0]
    if width not in (7168, 7680, 6144)[:3 if third else 2] or heads not in [1 << i for i in range(8)] \
            or kv.shape[1] not in (16, 128) or mode not in (None, "", "PA_BSND", "PA_NZ") \
            or any(n > most for n, most in zip(lead, (1 << 20,) if len(lead) == 1 else (65536, 16))):
        reject(f"tokenX {list(x.shape)}, {heads} heads, blocks of {kv.shape[1]} or cacheMode {mode} are not supported",
               TILING)
    if everything and (outputs == 4 or not part) or cache and not part:
        reject("the combination of int8 and bfloat16 is none of the documented ones", TILING)
    tokens = math.prod(lead)
    wanted = {"weightDq": (width, _CQ), "weightUqQr": (_CQ, heads * (_NOPE + _ROPE)), "weightUk": (heads, _NOPE, _CKV),
              "weightDkvKr": (width, _CKV + _ROPE), "rmsnormGammaCq": (_CQ,), "rmsnormGammaCkv": (_CKV,),
              "ropeSin": (*lead, _ROPE), "ropeCos": (*lead, _ROPE), "kvCacheRef": (*kv.shape[:2], 1, _CKV),
              "cacheIndexOptional" if third else "cacheIndex": lead, "krCacheRef": (*kv.shape[:2], 1, _ROPE)}
    scales: dict[str, Optional[tuple[int, ...]]] = dict.fromkeys(_SCALES)
    if part:
        scales.update(dequantScaleWUqQrOptional=(1, heads * (_NOPE + _ROPE)))
        if given["smoothScalesCqOptional"] is not None:
            scales.update(smoothScalesCqOptional=(1, _CQ))
    if everything:
        scales.update(dequantScaleXOptional=(tokens, 1), dequantScaleWDqOptional=(1, _CQ),
                      dequantScaleWDkvKrOptional=(1, _CKV + _ROPE))
    if cache:
        scales.update(quantScaleCkvOptional=(1, _CKV))
        if not everything:
            scales.update(quantScaleCkrOptional=(1, _ROPE))
    for name, shape in {**wanted, **scales}.items():
        have = None if given[name] is None else tuple(given[name].shape)
        if have != shape:
            reject(f"{name} is {have}; it must be {shape}", TILING)
    types = {"weightDq": everything, "weightDkvKr": everything, "krCacheRef": cache and not everything}
    for name, small in types.items():
        if (given[name].dtype == S8) is not small:
            reject(f"{name} must be {'int8' if small else 'bfloat16'}", TILING)
    return (tuple(kv.shape), tuple(given["krCacheRef"].shape), (*lead, heads, _CKV), (*lead, heads, _ROPE),
            (tokens, heads, 1) if everything and cache else None, None, None)[:outputs]


def prolog_types(given: Given, outputs: int) -> Any:
    everything, _, cache = scenario(given)
    return (given["kvCacheRef"].dtype, given["krCacheRef"].dtype, S8 if everything and cache else BF16, BF16, F32, BF16,
            F32)[:outputs]


_EITHER, _HALF = ("tokenX", "weightDq", "weightUqQr", "weightDkvKr", "kvCacheRef", "krCacheRef", "queryOut"), (
    "weightUk", "rmsnormGammaCq", "rmsnormGammaCkv", "ropeSin", "ropeCos", "queryRopeOut", "queryNormOutOptional")
for _name, _count in (("MlaProlog", 4), ("MlaPrologV2WeightNz", 5), ("MlaPrologV3WeightNz", 7)):
    by_name(_name, prolog, partial(prolog_shape, outputs=_count), partial(prolog_types, outputs=_count), exact=True,
            private_formats=True, workspace=8192, oracle="torch, token by token",
            dtypes={**dict.fromkeys(_EITHER, "bf16 s8"), **dict.fromkeys(_HALF, "bf16"), "cacheIndex": "s64",
                    "cacheIndexOptional": "s64", **dict.fromkeys(_SCALES, "f32"), "dequantScaleQNopeOutOptional": "f32",
                    "dequantScaleQNormOutOptional": "f32"},
            deviations="parameters that the page reserves are not looked at")
