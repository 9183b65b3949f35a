"""Linear algebra beyond products: factorisations, determinants, distances."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .registry import define
from .rules import axis, broadcast_shapes, reject

Shape = tuple[int, ...]
WORKSPACE = 8192
_MODES: Any = ("reduced", "complete", "r")


def square(x: Any, *_: Any) -> None:
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        reject(f"self of shape {list(x.shape)} is not square")


def at_least_2d(x: Any, *_: Any) -> None:
    if x.ndim < 2:
        reject(f"self has {x.ndim} dimensions, fewer than 2")


# ---- factorisations

def qr(x: Any, mode: int) -> Any:
    found = np.linalg.qr(x, _MODES[mode])
    return (None, found) if mode == 2 else (found[0], found[1])


def qr_shapes(x: Any, mode: int) -> Any:
    at_least_2d(x)
    if mode not in (0, 1, 2):
        reject(f"mode is {mode}, not 0, 1 or 2")
    (m, n), lead = x.shape[-2:], tuple(x.shape[:-2])
    k = m if mode == 1 else min(m, n)
    return None if mode == 2 else (*lead, m, k), (*lead, k, n)


def cholesky(x: Any, upper: bool) -> Any:
    found = np.linalg.cholesky(x)
    return found.swapaxes(-1, -2) if upper else found


def svd(x: Any, full: bool, vectors: bool) -> Any:
    if not vectors:
        return np.linalg.svd(x, compute_uv=False), None, None
    u, sigma, v = np.linalg.svd(x, full)
    v = v.conj().swapaxes(-1, -2)
    # A pair of vectors may change its sign together; each left one's largest element is made positive.
    k = sigma.shape[-1]
    peak = np.take_along_axis(u[..., :k], np.abs(u[..., :k]).argmax(-2, keepdims=True), -2)
    sign = peak / np.abs(peak)
    return sigma, np.concatenate([u[..., :k] / sign, u[..., k:]], -1), np.concatenate([v[..., :k] / sign, v[..., k:]],
                                                                                     -1)


def svd_shapes(x: Any, full: bool, vectors: bool) -> Any:
    at_least_2d(x)
    (m, n), lead = x.shape[-2:], tuple(x.shape[:-2])
    k = min(m, n)
    if not vectors:
        return (*lead, k), None, None
    return (*lead, k), (*lead, m, m if full else k), (*lead, n, n if full else k)


def triangular_solve(b: Any, a: Any, upper: bool, transpose: bool, unit: bool) -> Any:
    part = np.triu(a) if upper else np.tril(a)
    matrix = part.copy()
    if unit:
        diagonal = np.arange(a.shape[-1])
        matrix[..., diagonal, diagonal] = 1
    solved = np.linalg.solve(matrix.swapaxes(-1, -2) if transpose else matrix, b)
    return solved, np.broadcast_to(part, (*solved.shape[:-2], *a.shape[-2:]))


def solve_shapes(b: Any, a: Any, *_: Any) -> Any:
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != a.shape[-2] or a.shape[-2] != b.shape[-2]:
        reject(f"A of shape {list(a.shape)} is not square or does not fit self of {list(b.shape)}")
    lead = broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
    return (*lead, *b.shape[-2:]), (*lead, *a.shape[-2:])


# ---- determinants and products of vectors

def slogdet(x: Any) -> Any:
    sign, log = np.linalg.slogdet(x)
    return sign, log


def logdet(x: Any) -> Any:
    sign, log = np.linalg.slogdet(x)
    return np.where(sign < 0, np.nan, log).astype(x.dtype) if x.dtype.kind == "f" else np.log(sign) + log


def batch(x: Any) -> Shape:
    return tuple(x.shape[:-2])


def cross(x: Any, y: Any, dim: int) -> Any:
    x, y = np.broadcast_arrays(x, y)
    a = axis(dim, x.ndim)
    return np.cross(x, y, axisa=a, axisb=a, axisc=a).astype(x.dtype)


def check_cross(x: Any, y: Any, dim: int) -> None:
    shape = broadcast_shapes(tuple(x.shape), tuple(y.shape))
    if shape[axis(dim, len(shape))] != 3:
        reject(f"dimension {dim} of {list(shape)} is not 3")


# ---- distances

def norm(x: Any, p: float) -> Any:
    """Over the last dimension."""
    x = np.abs(x)
    if p == 0:
        return np.sum(x != 0, -1).astype(x.dtype)
    if p == np.inf:
        return np.max(x, -1, initial=0)
    if p == 1:
        return np.sum(x, -1)
    if p == 2:
        return np.sqrt(np.sum(x * x, -1))
    return np.power(np.sum(np.power(x, p), -1), 1 / p).astype(x.dtype)


def cdist(x: Any, y: Any, p: float, mode: int = 0) -> Any:
    return norm(x[..., :, None, :] - y[..., None, :, :], p)


def cdist_shape(x: Any, y: Any, p: float, mode: int = 0) -> Shape:
    at_least_2d(x)
    at_least_2d(y)
    if x.shape[-1] != y.shape[-1] or p < 0:
        reject(f"x1 of shape {list(x.shape)} and x2 of {list(y.shape)} do not fit, or p is negative: {p}")
    lead = broadcast_shapes(tuple(x.shape[:-2]), tuple(y.shape[:-2]))
    return (*lead, x.shape[-2], y.shape[-2])


def cdist_backward(grad: Any, x: Any, y: Any, distance: Any, p: float) -> Any:
    """The gradient of x1; 0 where two points coincide."""
    difference = x[..., :, None, :] - y[..., None, :, :]
    away, g = distance[..., None], grad[..., None]
    if p == 0:
        slope = np.zeros_like(difference)
    elif p == 1:
        slope = np.sign(difference)
    elif p == np.inf:
        slope = np.sign(difference) * (np.abs(difference) == away)
    else:
        slope = np.sign(difference) * np.power(np.abs(difference), p - 1) / np.power(away, p - 1)
        slope = np.where(away == 0, 0, slope)
    return np.sum(g * slope, -2).astype(x.dtype)


def pdist(x: Any, p: Any) -> Any:
    i, j = np.triu_indices(x.shape[0], 1)
    return norm(x[i] - x[j], float(p))


def pdist_shape(x: Any, p: Any) -> Shape:
    if x.ndim != 2 or p < 0:
        reject(f"self has {x.ndim} dimensions, not 2, or p is negative: {p}")
    n = x.shape[0]
    return (n * (n - 1) // 2,)


def renorm(x: Any, p: Any, dim: int, most: Any) -> Any:
    """Scales down the slices along `dim` whose p-norm exceeds `most`."""
    moved = np.moveaxis(x, axis(dim, x.ndim), 0)
    lengths = norm(moved.reshape(moved.shape[0], -1), float(p))
    factor = np.where(lengths > float(most), float(most) / (lengths + 1e-7), 1).astype(x.dtype)
    return np.moveaxis(moved * factor.reshape(-1, *[1] * (x.ndim - 1)), 0, axis(dim, x.ndim))


def check_renorm(x: Any, p: Any, dim: int, most: Any) -> None:
    if x.ndim < 2 or float(p) <= 0 or float(most) < 0:
        reject(f"self has {x.ndim} dimensions, p is {p} or maxNorm {most}")
    axis(dim, x.ndim)


define("LinalgQr", qr, shape=qr_shapes, result=rules.first, workspace=WORKSPACE, oracle="torch.linalg.qr")
define("Qr", lambda x, some: qr(x, 0 if some else 1), shape=lambda x, some: qr_shapes(x, 0 if some else 1),
       result=rules.first, workspace=WORKSPACE, oracle="torch.linalg.qr")
define("LinalgCholesky", cholesky, shape=rules.same, result=rules.first, check=square, workspace=WORKSPACE,
       rehearsed=False, oracle="torch.linalg.cholesky")
define("Svd", svd, shape=svd_shapes, result=rules.first, workspace=WORKSPACE, oracle="torch.linalg.svd")
define("TriangularSolve", triangular_solve, shape=solve_shapes, result=rules.first, workspace=WORKSPACE,
       rehearsed=False, oracle="torch.triangular_solve")
define("Inverse", np.linalg.inv, shape=rules.same, result=rules.first, check=square, workspace=WORKSPACE,
       rehearsed=False, oracle="torch.linalg.inv")
define("Slogdet", slogdet, shape=lambda x: (batch(x), batch(x)), result=rules.first, check=square, workspace=WORKSPACE,
       oracle="torch.linalg.slogdet")
define("Logdet", logdet, shape=batch, result=rules.first, check=square, workspace=WORKSPACE, oracle="torch.logdet")
define("LinalgCross", cross, shape=rules.broadcast, result=rules.common, meet=rules.common, check=check_cross,
       oracle="torch.linalg.cross")
define("Cdist", cdist, shape=cdist_shape, result=rules.common, meet=rules.common, workspace=WORKSPACE,
       oracle="torch.cdist")
define("CdistBackward", cdist_backward, shape=rules.like(1), result=rules.common, meet=rules.common,
       workspace=WORKSPACE, oracle="gradient of torch.cdist")
define("Pdist PdistForward", pdist, shape=pdist_shape, result=rules.first, workspace=WORKSPACE, oracle="torch.pdist")
define("Renorm", renorm, shape=rules.same, result=rules.first, inplace=True, check=check_renorm, workspace=WORKSPACE,
       oracle="torch.renorm")
