"""The start of latent attention: in float64 with the device's roundings, caches element by element of their memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyacl.emulator.ops.types import BF16, F32

from ..oracle import Draw, Fractal, Oracle, torch
from .quantise import given, named

CQ, CKV, NOPE, ROPE = 1536, 512, 128, 64


def draw(d: Draw) -> list[Any]:
    """No int8, the queries' product, the cache too, all products, these with the cache: case by case."""
    v1, v3 = "V" not in d.name, "V3" in d.name
    everything, part, cache = [(0, 0, 0), (0, 1, 0), (0, 1, 1), (1, 1, 0), (1, 1, 1)][d.seed % (3 if v1 else 5)]
    width, heads = d.choice([7168, 7680] + [6144] * v3), d.choice([1, 2])
    lead = (2, d.integer(1, 2)) if d.flag() else (d.integer(1, 4),)
    tokens, blocks, size = int(np.prod(lead)), 3, 16

    def weight(small: int, *shape: int) -> Any:
        return d.rng.integers(-4, 5, shape, np.int8).astype(np.int8 if small else BF16)

    def scale(used: Any, *shape: int, low: float = 0.5, high: float = 2) -> Any:
        return d.array(shape, F32, low, high) if used else None

    slots = d.rng.permutation(blocks * size)[:tokens].reshape(lead).astype(np.int64)
    if tokens > 2:
        slots.reshape(-1)[1] = -1
    return given(
        d, tokenX=weight(everything, *lead, width), weightDq=Fractal(weight(everything, width, CQ)),
        weightUqQr=Fractal(weight(part, CQ, heads * (NOPE + ROPE))), weightUk=weight(0, heads, NOPE, CKV),
        weightDkvKr=Fractal(weight(everything, width, CKV + ROPE)), rmsnormGammaCq=d.array((CQ,), BF16, 0.5, 2),
        rmsnormGammaCkv=d.array((CKV,), BF16, 0.5, 2), ropeSin=d.array((*lead, ROPE), BF16, -1, 1),
        ropeCos=d.array((*lead, ROPE), BF16, -1, 1), **{"cacheIndexOptional" if v3 else "cacheIndex": slots},
        kvCacheRef=weight(cache, blocks, size, 1, CKV), krCacheRef=weight(cache and not everything, blocks, size, 1, ROPE),
        dequantScaleXOptional=scale(everything, tokens, 1), dequantScaleWDqOptional=scale(everything, 1, CQ),
        dequantScaleWDkvKrOptional=scale(everything, 1, CKV + ROPE),
        dequantScaleWUqQrOptional=scale(part, 1, heads * (NOPE + ROPE)),
        quantScaleCkvOptional=scale(cache, 1, CKV, low=20, high=40),
        quantScaleCkrOptional=scale(cache and not everything, 1, ROPE, low=0.2, high=0.4),
        smoothScalesCqOptional=scale(part and d.flag(), 1, CQ), rmsnormEpsilonCq=1e-5, rmsnormEpsilonCkv=3e3,
        cacheModeOptional=d.choice(["PA_BSND", "PA_NZ"]), **({} if not v3 else dict(
            queryNormFlag=False, weightQuantMode=0, kvCacheQuantMode=0, queryQuantMode=0, ckvkrRepoMode=0,
            quantScaleRepoMode=0, tileSize=128, kNopeClipAlpha=1.0, qcQrScale=0.7, kcScale=1.3)))


def half(x: Any) -> Any:
    return x.float().bfloat16().double()


def product(x: Any, weight: Any, rows: Any, columns: Any) -> Any:
    found = x.double() @ weight.double()
    return half(found) if rows is None else found * rows.double() * columns.double()


def norm(x: Any, gamma: Any, epsilon: float) -> Any:
    return x / torch.sqrt((x ** 2).mean(-1, keepdim=True) + epsilon) * gamma.double()


def rope(x: Any, cos: Any, sin: Any) -> Any:
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    n = even.shape[-1]
    return torch.cat((even * cos[..., :n] - odd * sin[..., :n], odd * cos[..., n:] + even * sin[..., n:]), -1)


def int8(x: Any) -> Any:
    return torch.clamp(torch.round(x), -128, 127).to(torch.int8)


def put(cache: Any, slots: Any, rows: Any, fractal: bool) -> Any:
    blocks, size, _, columns = cache.shape
    memory, width = cache.clone().reshape(-1), 32 if cache.dtype == torch.int8 else 16
    for slot, row in zip(slots.reshape(-1).tolist(), rows):
        for c in range(columns if slot >= 0 else 0):
            inside = c // width * size * width + slot % size * width + c % width if fractal else slot % size * columns + c
            memory[slot // size * size * columns + inside] = row[c]
    return memory.reshape(cache.shape)


def prolog(g: dict[str, Any]) -> Any:
    heads, lead, x = g["weightUk"].shape[0], g["tokenX"].shape[:-1], g["tokenX"].flatten(0, -2)
    slots = g.get("cacheIndex", g.get("cacheIndexOptional"))
    sin, cos = (g[n].reshape(-1, ROPE).double() for n in ("ropeSin", "ropeCos"))
    everything, cache = x.dtype == torch.int8, g["kvCacheRef"].dtype == torch.int8
    low = norm(product(x, g["weightDq"], g["dequantScaleXOptional"], g["dequantScaleWDqOptional"]), g["rmsnormGammaCq"],
               g["rmsnormEpsilonCq"]) * g.get("qcQrScale", 1)
    own = None
    if g["weightUqQr"].dtype == torch.int8:
        smooth = g["smoothScalesCqOptional"]
        low = low if smooth is None else low * smooth.double()
        own = low.abs().amax(-1, keepdim=True) / 127
        low = int8(low / own)
    q = product(low if own is not None else half(low), g["weightUqQr"], own, g["dequantScaleWUqQrOptional"])
    q = q.unflatten(-1, (heads, NOPE + ROPE))
    query = half(torch.einsum("tnd,ndc->tnc", half(q[..., :NOPE]), g["weightUk"].double()))
    turned, scale = rope(q[..., NOPE:], cos[:, None], sin[:, None]), None

    keys = product(x, g["weightDkvKr"], g["dequantScaleXOptional"], g["dequantScaleWDkvKrOptional"])
    latent = norm(keys[:, :CKV], g["rmsnormGammaCkv"], g["rmsnormEpsilonCkv"]) * g.get("kcScale", 1)
    rotated = rope(keys[:, CKV:], cos, sin)
    to_kv, to_kr = g["quantScaleCkvOptional"], g["quantScaleCkrOptional"]
    if cache and everything:
        latent = int8(latent * to_kv[0, 0].double())
        scale = query.abs().amax(-1, keepdim=True) / 127
        query, turned = int8(query / scale), half(turned) * to_kv[0, 0].double() / scale
    elif cache:
        latent, rotated = int8(latent * to_kv.double()), int8(half(rotated) * to_kr.double())
    fractal = g["cacheModeOptional"] == "PA_NZ"
    kv, kr = put(g["kvCacheRef"], slots, latent, fractal), put(g["krCacheRef"], slots, rotated, fractal)
    query = query if query.dtype == torch.int8 else query.float()
    found = (kv, kr, query.reshape(*lead, heads, -1), turned.float().reshape(*lead, heads, -1),
             None if scale is None else scale.float(), None, None)
    return found[:4 if "V" not in g["name"] else 5 if "V2" in g["name"] else 7]


ORACLES = {name: Oracle(lambda *values, name=name: named(lambda g: prolog({**g, "name": name}))(name)(*values), draw,
                        cases=cases)
           for name, cases in (("MlaProlog", 3), ("MlaPrologV2WeightNz", 5), ("MlaPrologV3WeightNz", 5))}
