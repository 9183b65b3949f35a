"""Linear algebra beyond products."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from ..oracle import Draw, Oracle, torch


def near(call: Callable[..., Any], draw: Callable[[Draw], list[Any]]) -> Oracle:
    return Oracle(call, draw, rtol=1e-3, atol=1e-4)


def matrix(d: Draw, *rest: Any) -> list[Any]:
    return [d.array((*d.shape(0, 2, 3), d.integer(1, 5), d.integer(1, 5)), d.dtype("f32 f64")), *rest]


def well_conditioned(names: str, positive: bool = False) -> Callable[[Draw], list[Any]]:
    def draw(d: Draw) -> list[Any]:
        n = d.integer(1, 5)
        x = d.array((*d.shape(0, 2, 3), n, n), np.float64, -1, 1)
        x = x @ x.swapaxes(-1, -2) + np.eye(n) if positive else x + 3 * np.eye(n)
        return [x.astype(d.dtype(names))]

    return draw


def singular(d: Draw) -> list[Any]:
    """Full matrices only for square ones: the others' remaining vectors are anybody's choice."""
    values = matrix(d, False, True)
    values[1] = values[0].shape[-1] == values[0].shape[-2]
    return values


def svd(x: Any, full: bool, vectors: bool) -> Any:
    u, s, v = torch.linalg.svd(x, full_matrices=full)
    peak = torch.gather(u, -2, u.abs().argmax(-2, keepdim=True))
    return s, u * peak.sign(), v.mT * peak.sign()


def triangles(d: Draw) -> list[Any]:
    n, dtype = d.integer(1, 5), d.dtype("f32 f64", 0, 1)
    a = d.array((n, n), np.float64, -1, 1) + 3 * np.eye(n)
    return [d.array((*d.shape(0, 1, 3), n, d.integer(1, 3)), dtype), a.astype(dtype), d.flag(), d.flag(), d.flag()]


def solve(b: Any, a: Any, upper: bool, transpose: bool, unit: bool) -> Any:
    found = torch.triangular_solve(b, a, upper, transpose, unit)
    part = torch.triu(a) if upper else torch.tril(a)
    return found[0], part.expand(*b.shape[:-2], *a.shape)


def crosses(d: Draw) -> list[Any]:
    dtype = d.dtype("f32 f16 s32", 0, 1)
    shape = (*d.shape(0, 2), 3, *d.shape(0, 1))
    dim = next(i for i in range(len(shape)) if shape[i] == 3)
    return [d.array(shape, dtype), d.array(shape, dtype), dim]


def points(d: Draw) -> list[Any]:
    m, dtype, lead = d.integer(1, 4), d.dtype("f32 f16", 0, 1), d.shape(0, 1, 3)
    return [d.array((*lead, d.integer(1, 4), m), dtype), d.array((*lead, d.integer(1, 4), m), dtype),
            d.choice([0.0, 1.0, 2.0, 3.0, float("inf")]), 2]


def gradients(d: Draw) -> list[Any]:
    p, q, m = d.integer(1, 4), d.integer(1, 4), d.integer(1, 4)
    x, y = d.array((p, m), np.float32), d.array((q, m), np.float32)
    order = d.choice([1.0, 2.0, 3.0])
    distance = torch.cdist(torch.from_numpy(x), torch.from_numpy(y), order).numpy()
    return [d.array((p, q), np.float32), x, y, distance, order]


def cdist_gradient(grad: Any, x: Any, y: Any, distance: Any, p: float) -> Any:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(torch.cdist(x, y, p, compute_mode="donot_use_mm_for_euclid_dist"), x, grad)[0]


def rows(d: Draw) -> list[Any]:
    order = d.choice([1.0, 2.0, 3.0])
    scalar = d.signature.inputs[1].kind == "scalar"
    return [d.array((d.integer(2, 5), d.integer(1, 4)), d.dtype("f32 f16")), np.float32(order) if scalar else order]


ORACLES = {
    "LinalgQr": near(lambda x, mode: tuple(torch.linalg.qr(x, ("reduced", "complete")[mode])),
                     lambda d: matrix(d, d.integer(0, 1))),
    "Qr": near(lambda x, some: tuple(torch.linalg.qr(x, "reduced" if some else "complete")),
               lambda d: matrix(d, d.flag())),
    "LinalgCholesky": near(lambda x, upper: torch.linalg.cholesky(x, upper=upper),
                           lambda d: [*well_conditioned("f32", True)(d), d.flag()]),
    "Svd": near(svd, singular),
    "TriangularSolve": near(solve, triangles),
    "Inverse": near(torch.linalg.inv, well_conditioned("f32 f64")),
    "Slogdet": near(lambda x: tuple(torch.linalg.slogdet(x)), well_conditioned("f32 f64")),
    "Logdet": near(torch.logdet, well_conditioned("f32 f64")),
    "LinalgCross": near(lambda x, y, dim: torch.linalg.cross(x, y, dim=dim), crosses),
    "Cdist": near(lambda x, y, p, mode: torch.cdist(x, y, p, compute_mode="donot_use_mm_for_euclid_dist"), points),
    "CdistBackward": near(cdist_gradient, gradients),
    "Pdist": near(torch.pdist, rows),
    "PdistForward": near(torch.pdist, rows),
    "Renorm": near(torch.renorm, lambda d: [
        x := d.array(d.shape(2, 3), d.dtype("f32 f16")), np.float32(d.choice([1, 2, 3])), d.axis(x.ndim),
        np.float32(2)]),
}
