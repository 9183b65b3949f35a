"""GroupedMatmul: one product a group, of listed tensors, or of one tensor's rows (or inner dimension) cut in groups."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from . import glu, rules
from .activations import fast_gelu
from .matmul import nz_weight
from .quantise import f32, opened, plain_scale, product, stored
from .registry import by_name
from .types import FLOATS, INT4, INTEGERS, S8, S32
from .unary import sigmoid

Array = Any
ACTIVATIONS: dict[int, Any] = {
    1: lambda y: np.maximum(y, np.float32(0)), 2: lambda y: glu.gelu(y, True), 3: lambda y: glu.gelu(y, False),
    4: fast_gelu, 5: lambda y: y * sigmoid(y),
}


def antiquantised(weight: Array, scale: Any, offset: Any) -> Array:
    """(weight + offset) * scale, each for a column, or for a column in each of some parts of the inner dimension."""
    def rows(v: Any) -> Any:
        return f32(v) if v is None or v.ndim < 2 else np.repeat(f32(v), weight.shape[0] // v.shape[0], axis=0)

    weight = f32(weight)
    return (weight if offset is None else weight + rows(offset)) * rows(scale)


def group(x: Array, weight: Array, out: Any, bias: Any, scale: Any, token: Any, anti: Any, anti_offset: Any,
          activate: Optional[Any]) -> Array:
    narrow, x, weight = weight.dtype in (INT4, S32), opened(x), opened(weight)
    if x.dtype == S8 and narrow:
        # x comes as two halves of bytes on the device, and the bias makes up for the 8 taken off the lower one.
        scales = plain_scale(scale).reshape(-1, weight.shape[1])
        y = (f32(x) - 8) @ (f32(weight) * np.repeat(scales, weight.shape[0] // len(scales), axis=0)) + f32(bias)
    elif x.dtype in FLOATS:
        y = f32(x) @ (f32(weight) if anti is None else antiquantised(weight, anti, anti_offset))
        y = y if bias is None else y + f32(bias)
    else:
        sums = product(x, weight)
        sums = sums if bias is None else sums + bias
        if out.dtype == S32:
            return sums.astype(np.int64).astype(np.int32)
        y = sums.astype(np.float32) * plain_scale(scale)
    y = y if token is None else y * token[:, None]
    y = y if activate is None else activate(y)
    return stored(y, out) if out.dtype == S8 else y


def grouped_matmul(given: dict[str, Any]) -> Any:
    xs, weights, outs, sizes = given["x"], given["weight"], given["outs"], given["groupListOptional"]
    kind = given.get("groupType", -1 if sizes is None else 0)
    stacked = len(weights) == 1 and weights[0].ndim == 3
    cuts: list[tuple[int, int]] = []
    if sizes is not None and len(xs) == 1:
        ends = np.asarray(sizes, np.int64)
        if given.get("groupListType", 0) == 2:  # pairs of a group's number and its rows
            ends, order = np.cumsum(ends[:, 1]), ends[:, 0].tolist()
        else:
            ends = np.cumsum(ends) if given.get("groupListType", 0) == 1 else ends
            order = list(range(ends.size))
        cuts = list(zip([0, *ends[:-1].tolist()], ends.tolist()))
        if kind == 2:
            return [np.stack([f32(xs[0][:, a:b]) @ f32(weights[0][a:b]) for a, b in cuts])]
    else:
        order = list(range(weights[0].shape[0] if stacked else len(weights)))

    def member(name: str, i: int) -> Any:
        values = given.get(name)
        return None if not values else values[i] if len(values) > 1 else values[0][i] if stacked else values[0]

    tokens = given.get("perTokenScaleOptional") or []
    results, start = [], 0
    for n, i in enumerate(order):
        x = xs[0][slice(*cuts[n])] if cuts else xs[i if len(xs) > 1 else 0]
        token = None if not tokens else tokens[i].reshape(-1) if len(tokens) > 1 else \
            tokens[0].reshape(-1)[start:start + len(x)]
        start += len(x)
        results.append(group(x, weights[0][i] if stacked else weights[i], outs[0], member("biasOptional", i),
                             member("scaleOptional", i), token, member("antiquantScaleOptional", i),
                             member("antiquantOffsetOptional", i), ACTIVATIONS.get(given.get("actType", 0))))
    results = results if len(outs) > 1 else [np.concatenate(results)]
    return [padded(y, out.shape[0]) if cuts else y for y, out in zip(results, outs)]


def padded(y: Array, rows: int) -> Array:
    """Rows that belong to no group are 0."""
    return y if len(y) >= rows else np.concatenate([y, np.zeros((rows - len(y), y.shape[1]), y.dtype)])


def check(given: dict[str, Any]) -> None:
    xs, weights = given["x"], given["weight"]
    if given.get("activationInputOptional") or given.get("offsetOptional"):
        raise NotImplementedError("offsets, and inputs of activations")
    for t in (*xs, *weights):
        if t.dtype not in FLOATS and t.dtype not in INTEGERS and t.dtype != INT4:
            raise NotImplementedError("float8 and smaller floats in groups")
    if given.get("actType", 0) not in (0, *ACTIVATIONS):
        rules.reject(f"actType is {given['actType']}, outside of [0, 5]")
    narrow = weights[0].dtype in (INT4, S32)
    if xs[0].dtype == S8 and narrow and not (given.get("scaleOptional") and given["biasOptional"]):
        rules.reject("int8 x and int4 weights need scaleOptional, and biasOptional for what x loses on its way")
    if xs[0].dtype in FLOATS and weights[0].dtype in (S8, INT4, S32) and not given.get("antiquantScaleOptional"):
        rules.reject("integer weights need antiquantScaleOptional")


def check_nz(given: dict[str, Any]) -> None:
    for weight in given["weight"]:
        nz_weight(weight)
    check(given)


_COMMON: dict[str, Any] = {"raw": True, "workspace": 4096, "oracle": "torch.matmul",
                           "deviations": "no float8, no asymmetric int4 weights"}
by_name("GroupedMatmul GroupedMatmulV2 GroupedMatmulV3 GroupedMatmulV4 GroupedMatmulV5", grouped_matmul, check,
        **_COMMON)
by_name("GroupedMatmulWeightNz", grouped_matmul, check_nz, private_formats=True, **_COMMON)
