"""Keys and values that are turned by their position, quantised and written into caches."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...capi import lib
from . import rotary, rules
from .quantise import f32, quantised
from .registry import by_name
from .types import INTEGERS, S8, S32

Array = Any


def dequantised(given: dict[str, Any]) -> Array:
    x, bias = given["x"], given["biasOptional"]
    if x.dtype != S32:
        return f32(x)
    whole = bias is not None and bias.dtype in INTEGERS
    y = f32(x + bias if whole else x) * given["weightScaleOptional"].reshape(-1)
    if given["activationScaleOptional"] is not None:
        y = y * given["activationScaleOptional"].reshape(*x.shape[:-1], 1)
    return y if bias is None or whole else y + f32(bias)


def stored(cache: Array, values: Array, indices: Any, page: bool) -> Array:
    """Row by row of all the cache's places, or for each batch from its index on."""
    found = cache.copy()
    if page:
        found.reshape(-1, *cache.shape[-2:])[indices] = values.reshape(-1, *cache.shape[-2:])
    else:
        for i, start in enumerate(indices.tolist()):
            found[i, start:start + values.shape[1]] = values[i]
    return found


def rope_quant(given: dict[str, Any]) -> Any:
    width, lead = given["kCacheRef"].shape[-1], given["x"].shape[:-1]
    q, k, v = (p.reshape(*lead, -1, width)
               for p in np.split(dequantised(given), np.cumsum(given["sizeSplits"])[:-1], axis=-1))
    cos, sin = (f32(given[n]).reshape(*lead, 1, width) for n in ("cos", "sin"))
    q, k = (rotary.rotate(t, cos, sin, rotary.HALF) for t in (q, k))

    def quantise(x: Array, which: str) -> Array:
        y = x / given[f"scale{which}"].reshape(-1, width)
        zero = given[f"offset{which}Optional"]
        return quantised(y if zero is None else y + zero.reshape(-1, width), S8)

    page = given["cacheModeOptional"] == "page"
    keys = stored(given["kCacheRef"], quantise(k, "K"), given["indices"], page)
    values = stored(given["vCacheRef"], quantise(v, "V"), given["indices"], page)
    return (keys, values, q, *((k, v) if given["kvOutput"] else (None, None)))


def rope_shape(given: dict[str, Any]) -> Any:
    x, cache, splits = given["x"], given["kCacheRef"], given["sizeSplits"]
    if given["quantModeOptional"] not in (None, "static") or given["layoutOptional"] not in (None, "BSND") or \
            given["cacheModeOptional"] not in (None, "contiguous", "page"):
        rules.reject(f"quantModeOptional is {given['quantModeOptional']!r}, layoutOptional "
                     f"{given['layoutOptional']!r}, cacheModeOptional {given['cacheModeOptional']!r}: choose static, "
                     "BSND, contiguous or page")
    width = cache.shape[-1]
    if cache.ndim != 4 or tuple(given["vCacheRef"].shape[-2:]) != tuple(cache.shape[-2:]) or len(splits) != 3 or \
            sum(splits) != x.shape[-1] or any(s % width for s in splits):
        rules.reject(f"sizeSplits {list(splits)} do not cut x of shape {list(x.shape)} into heads of {width}")
    if x.shape[-1] > 4096 or x.shape[-1] % 64 or splits[1] != splits[2] or splits[1] != cache.shape[-2] * width:
        rules.reject(f"x has {x.shape[-1]} columns, not a multiple of 64 up to 4096, or k and v not "
                     f"{cache.shape[-2]} heads")
    if x.dtype == S32 and given["weightScaleOptional"] is None:
        rules.reject("int32 x needs weightScaleOptional", lib.ACLNN_ERR_PARAM_NULLPTR)
    if given["cacheModeOptional"] != "page" and x.ndim != 3:
        rules.reject(f"x has {x.ndim} dimensions, not 3")
    lead = tuple(x.shape[:-1])
    heads = tuple((*lead, s // width, width) for s in splits)
    wanted = heads if given["kvOutput"] else (heads[0], None, None)
    return tuple(cache.shape), tuple(given["vCacheRef"].shape), *wanted


by_name("DequantRopeQuantKvcache", rope_quant, rope_shape, raw=True, optional="kOut vOut", workspace=1024, dtypes={
    "x": "f16 bf16 s32", "cos": "f16 bf16", "sin": "f16 bf16", "kCacheRef": "s8", "vCacheRef": "s8", "indices": "s32",
    "scaleK": "f32", "scaleV": "f32", "qOut": "f16 bf16", "kOut": "f16 bf16", "vOut": "f16 bf16"},
    oracle="torch, token by token")
