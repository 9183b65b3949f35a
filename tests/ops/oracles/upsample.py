"""Interpolation and grids, by PyTorch's functions and its autograd."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from ..oracle import Draw, Oracle, torch

functional = torch.nn.functional
aten = torch.ops.aten
CALLS = {
    "Nearest1d": aten.upsample_nearest1d, "Nearest2d": aten.upsample_nearest2d, "Nearest3d": aten.upsample_nearest3d,
    "NearestExact1d": aten._upsample_nearest_exact1d, "NearestExact2d": aten._upsample_nearest_exact2d,
    "NearestExact3d": aten._upsample_nearest_exact3d, "Linear1d": aten.upsample_linear1d,
    "Bilinear2d": aten.upsample_bilinear2d, "Bicubic2d": aten.upsample_bicubic2d,
    "Trilinear3d": aten.upsample_trilinear3d, "Bilinear2dAA": aten._upsample_bilinear2d_aa,
    "Bicubic2dAA": aten._upsample_bicubic2d_aa,
}


def sizes(d: Draw, k: int, scaled: bool) -> tuple[Any, Any, Any]:
    """Input, output, and the factors: 0 where there is none, else the output is floor(input * factor)."""
    whole = tuple(d.integer(2, 7) for _ in range(k))
    if scaled and d.flag():
        factors = tuple(d.choice([0.5, 1.5, 2.0, 2.5]) for _ in whole)
        return whole, tuple(int(n * f) for n, f in zip(whole, factors)), factors
    return whole, tuple(d.integer(1, 9) for _ in whole), (0.0,) * k


def inputs(k: int, align: bool, scaled: bool) -> Callable[[Draw], list[Any]]:
    def draw(d: Draw) -> list[Any]:
        whole, size, factors = sizes(d, k, scaled)
        while "AA" in d.name and 1 in size:  # PyTorch takes the strides of its intermediate result for others
            whole, size, factors = sizes(d, k, scaled)
        lead = (d.integer(1, 2), d.integer(1, 2))
        rest = [*([d.flag()] if align else []), *(factors if scaled else ())]
        back = "Backward" in d.name or "Grad" in d.name
        dtype = d.dtype("f32 f16 bf16 f64" if back or "Nearest" not in d.name else "f32 f16 bf16 f64 u8")
        if back:
            return [d.array((*lead, *size), dtype), size, (*lead, *whole), *rest]
        return [d.array((*lead, *whole), dtype), size, *rest]

    return draw


def forward(name: str, k: int, align: bool, scaled: bool) -> Callable[..., Any]:
    def call(x: Any, size: Any, *rest: Any) -> Any:
        factors = rest[int(align):] if scaled else (0,) * k
        return CALLS[name](x.contiguous(), size, *rest[:int(align)], *(f or None for f in factors))

    return call


def backward(name: str, k: int, align: bool, scaled: bool) -> Callable[..., Any]:
    def call(dy: Any, size: Any, whole: Any, *rest: Any) -> Any:
        x = torch.zeros(whole, dtype=dy.dtype, requires_grad=True)
        forward(name, k, align, scaled)(x, size, *rest).backward(dy)
        return x.grad

    return call


def grid_inputs(k: int) -> Callable[[Draw], list[Any]]:
    def draw(d: Draw) -> list[Any]:
        back = "Backward" in d.name
        lead = (d.integer(1, 2), d.integer(1, 3))
        x = d.array((*lead, *(d.integer(2, 5) for _ in range(k))), np.float32)
        places = tuple(d.integer(1, 4) for _ in range(k))
        grid = d.array((lead[0], *places, k), np.float32, -1.7, 1.7)
        found = [x, grid, d.integer(0, 2 if k == 2 else 1), d.integer(0, 2), d.flag()]
        return [d.array((*lead, *places), np.float32), *found, (True, d.flag())] if back else found

    return draw


def grid_sample(x: Any, grid: Any, mode: int, padding: int, align: bool) -> Any:
    return functional.grid_sample(x, grid, ("bilinear", "nearest", "bicubic")[mode],
                                  ("zeros", "border", "reflection")[padding], align)


def grid_backward(dy: Any, x: Any, grid: Any, mode: int, padding: int, align: bool, mask: Any) -> Any:
    x, grid = x.clone().requires_grad_(), grid.clone().requires_grad_()
    grid_sample(x, grid, mode, padding, align).backward(dy)
    return x.grad, grid.grad if mask[1] else None


def affine_inputs(d: Draw) -> list[Any]:
    k, n = d.integer(2, 3), d.integer(1, 2)
    return [d.array((n, k, k + 1), d.dtype("f32 f16 bf16")), (n, 2, *(d.integer(2, 4) for _ in range(k))), d.flag()]


def resize_inputs(d: Draw) -> list[Any]:
    x = d.array((d.integer(1, 2), d.integer(1, 2), d.integer(2, 7), d.integer(2, 7)), d.dtype("f32 f16 bf16"))
    return [x, (1.0, 1.0, d.choice([0.5, 1.0, 1.5, 2.0]), d.choice([0.5, 1.0, 1.5, 2.5])),
            d.choice(["nearest", "bilinear"])]


def resize(x: Any, scales: Any, mode: str) -> Any:
    return functional.interpolate(x, size=[int(n * s) for n, s in zip(x.shape[2:], scales[2:])], mode=mode)


ORACLES = {
    "Resize": Oracle(resize, resize_inputs, atol=1e-5, cases=10),
    "AffineGrid": Oracle(functional.affine_grid, affine_inputs, atol=1e-5),
    "GridSampler2D": Oracle(grid_sample, grid_inputs(2), rtol=1e-4, atol=1e-4, cases=16),
    "GridSampler3D": Oracle(grid_sample, grid_inputs(3), rtol=1e-4, atol=1e-4, cases=10),
    "GridSampler2DBackward": Oracle(grid_backward, grid_inputs(2), rtol=1e-3, atol=1e-3, cases=16),
    "GridSampler3DBackward": Oracle(grid_backward, grid_inputs(3), rtol=1e-3, atol=1e-3, cases=10),
}


def add(operator: str, back: str, name: str, k: int, align: bool, scaled: bool = True) -> None:
    ORACLES[f"Upsample{operator}"] = Oracle(forward(name, k, align, scaled), inputs(k, align, scaled), atol=1e-5)
    if back:
        ORACLES[f"Upsample{back}"] = Oracle(backward(name, k, align, True), inputs(k, align, True), atol=2e-5)


for _k in (1, 2, 3):
    add(f"Nearest{_k}d", f"Nearest{_k}dBackward", f"Nearest{_k}d", _k, False, _k == 3)
    add(f"NearestExact{_k}d", f"NearestExact{_k}dBackward", f"NearestExact{_k}d", _k, False)
for _k in (1, 2):
    add(f"Nearest{_k}dV2", "", f"Nearest{_k}d", _k, False)
for _name, _k in (("Linear1d", 1), ("Bilinear2d", 2), ("Bicubic2d", 2), ("Trilinear3d", 3)):
    add(_name, f"{_name}Backward", _name, _k, True)
add("Bilinear2dAA", "Bilinear2dAABackward", "Bilinear2dAA", 2, True)
add("Bicubic2dAA", "Bicubic2dAAGrad", "Bicubic2dAA", 2, True)
ORACLES["UpsampleBilinear2dBackwardV2"] = ORACLES["UpsampleBilinear2dBackward"]
