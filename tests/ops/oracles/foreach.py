"""aclnnForeach*: the function of one tensor, member by member."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from pyacl.emulator.ops.types import DTYPES, F32, INTEGERS, S64

from ..oracle import Draw, Oracle, resolve, torch

F = "f32 f32 f16 bf16 s32"
RANGES = {"Log": (0.1, 9), "Sqrt": (0.1, 9), "Reciprocal": (0.5, 9), "Div": (1, 9), "Addcdiv": (1, 9), "Acos": (-1, 1),
          "ACos": (-1, 1), "Asin": (-1, 1), "Pow": (0.5, 3), "Tan": (-1.4, 1.4)}


def draw(d: Draw) -> list[Any]:
    name = d.name.replace("aclnnForeach", "")
    low, high = next((r for n, r in RANGES.items() if name.startswith(n)), (-4, 4))
    inputs = d.signature.inputs
    lists = [i for i, p in enumerate(inputs) if p.kind == "tensors"]
    dtype = d.dtype(F, *lists)
    shapes = [d.shape(1, 3) for _ in range(d.integer(1, 3))]
    values: list[Any] = []
    for i, p in enumerate(inputs):
        if p.kind == "tensors":
            values.append([d.array(s, dtype, low, high) for s in shapes])
        elif p.name == "roundMode":
            values.append(d.array((1,), np.int8, 1, 6) if p.kind == "tensor" else np.int8(d.integer(1, 6)))
        else:
            count = len(shapes) if name.endswith("List") and p.name == "scalars" else 1
            own = dtype if dtype in d.allowed(i) or not d.allowed(i) else DTYPES["f32" if dtype.kind != "i" else "s32"]
            if p.kind == "tensor":
                values.append(d.array((count,), own, max(low, 1), min(high, 3)))
            else:
                wide = S64 if dtype in INTEGERS else F32
                made = [d.scalar(wide, max(low, 1), min(high, 3)) for _ in range(count)]
                values.append(tuple(made) if p.kind == "scalars" else made[0])
    return values


def each(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Any, *operands: Any) -> Any:
        found = []
        for i, member in enumerate(x):
            values = []
            for o in operands:
                value = o[i] if isinstance(o, (list, tuple)) else o
                if isinstance(o, torch.Tensor):
                    value = o.reshape(-1)[min(i, o.numel() - 1)]
                value = value.item() if isinstance(value, np.generic) else value
                values.append(torch.as_tensor(value, dtype=member.dtype))
            found.append(function(member, *values))
        return found

    return call


def round_off(x: Any, mode: Any) -> Any:
    if not x.is_floating_point():
        return x
    away = torch.where(x < 0, torch.ceil(x - 0.5), torch.floor(x + 0.5))
    odd = torch.where(torch.frac(x).abs() == 0.5, 2 * torch.floor(x / 2) + 1, torch.round(x))
    return {1: torch.round(x), 2: torch.floor(x), 3: torch.ceil(x), 4: away, 5: torch.trunc(x), 6: odd}[int(mode)]


def unscale(grads: Any, found: Any, inverse: Any) -> Any:
    grads, found = [g.clone() for g in grads], found.clone()
    torch._amp_foreach_non_finite_check_and_unscale_(grads, found.reshape(()), inverse.reshape(()))
    return grads, found


def draw_unscale(d: Draw) -> list[Any]:
    grads = [d.array(d.shape(1, 3), F32, special=d.flag()) for _ in range(2)]
    return [grads, np.zeros(1, np.float32), np.full(1, 0.25, np.float32)]


def entry(path: str, function: Any = None, **rest: Any) -> tuple[str, Oracle]:
    return f"each {path}", Oracle(each(function or resolve(path)), draw, **rest)


ORACLES = dict([
    *(entry(f"torch.{n}") for n in (
        "abs acos asin atan clone cos cosh erf erfc exp expm1 log log10 log1p log2 neg reciprocal sigmoid sign sin "
        "sinh sqrt tan tanh zeros_like maximum minimum").split()),
    entry("torch.add", lambda x, y, alpha=1: x + y * alpha), entry("torch.sub", lambda x, y, alpha=1: x - y * alpha),
    entry("torch.mul", torch.mul), entry("torch.pow", torch.pow, rtol=1e-4),
    entry("torch.div", lambda x, y: torch.div(x, y, rounding_mode=None if x.is_floating_point() else "trunc")),
    entry("torch.lerp", lambda x, y, w: x + w * (y - x)),
    entry("torch.addcdiv", lambda x, y, z, s: x + y / z * s), entry("torch.addcmul", lambda x, y, z, s: x + y * z * s),
    entry("torch.round", round_off, exact=True),
    entry("torch.linalg.vector_norm", lambda x, p: torch.linalg.vector_norm(x.float(), float(p)).reshape(1), rtol=1e-4),
])
ORACLES["each torch.pow, scalar first"] = Oracle(
    lambda base, x: [torch.pow(torch.as_tensor(base, dtype=m.dtype), m) for m in x], draw, rtol=1e-4)
ORACLES["torch._amp_foreach_non_finite_check_and_unscale_"] = Oracle(unscale, draw_unscale)
