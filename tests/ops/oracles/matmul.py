"""Matrix products."""

from __future__ import annotations

from typing import Any, Callable

from ..oracle import Draw, Fractal, Oracle, torch

NAMES = "f32 f32 f16 bf16"


def product(call: Callable[..., Any], draw: Callable[[Draw], list[Any]]) -> Oracle:
    return Oracle(call, draw, rtol=1e-4, atol=1e-4)


def sizes(d: Draw, n: int = 3) -> list[int]:
    return [d.integer(1, 7) for _ in range(n)]


def two(a: str, b: str, *rest: Any) -> Callable[[Draw], list[Any]]:
    """Two tensors with named dimensions: ``two("mk", "kn")``; the same letter is the same size."""
    def draw(d: Draw) -> list[Any]:
        size = {c: d.integer(1, 7) for c in sorted(set(a + b))}
        dtype = d.dtype(NAMES, 0, 1)
        return [d.array(tuple(size[c] for c in s), dtype) for s in (a, b)] + list(rest)

    return draw


def matrices(d: Draw) -> list[Any]:
    m, k, n = sizes(d)
    dtype = d.dtype(NAMES, 0, 1)
    lead = d.shape(0, 2, 3)
    left = (k,) if d.rng.random() < 0.2 else (*lead, m, k)
    right = (k,) if d.rng.random() < 0.2 else (*(1 if d.flag() else x for x in lead), k, n)
    return [d.array(left, dtype), d.array(right, dtype), 0]


def added(x: str, a: str, b: str, *, swapped: bool = False, cube: bool = True) -> Callable[[Draw], list[Any]]:
    """(self, a, b, beta, alpha[, cubeMathType])"""
    def draw(d: Draw) -> list[Any]:
        size = {c: d.integer(1, 6) for c in sorted(set(x + a + b))}
        dtype = d.dtype(NAMES, 0, 1, 2)
        own = tuple(size[c] for c in x)
        if not d.inplace and d.rng.random() < 0.3:
            own = own[-1:]
        factors = [d.scalar("f32"), d.scalar("f32")]
        return [d.array(own, dtype), *(d.array(tuple(size[c] for c in s), dtype) for s in (a, b)), *factors,
                *([1] if cube else [])]

    return draw


def plus(function: Any, swapped: bool = False) -> Callable[..., Any]:
    def call(x: Any, a: Any, b: Any, beta: float, alpha: float, cube: int = 0) -> Any:
        if swapped:
            beta, alpha = alpha, beta
        return beta * x + alpha * function(a, b)

    return call


def gemms(d: Draw) -> list[Any]:
    m, k, n = sizes(d)
    dtype = d.dtype("f32 f16", 0, 1, 2)
    ta, tb = d.flag(), d.flag()
    return [d.array((k, m) if ta else (m, k), dtype), d.array((n, k) if tb else (k, n), dtype), d.array((m, n), dtype),
            0.5, 2.0, int(ta), int(tb), 0]


def einsums(d: Draw) -> list[Any]:
    x, y = two("bij", "bjk")(d)
    return [[x, y], "abc,acd->abd"]


def transposed(d: Draw) -> list[Any]:
    m, k, n = sizes(d)
    b, dtype = d.integer(1, 3), d.dtype("f32 f16 bf16", 0, 1)
    return [d.array((m, b, k), dtype), d.array((b, k, n), dtype), None, None, (1, 0, 2), (0, 1, 2), (1, 0, 2), 0, 1]


def fractal(d: Draw, count: int = 2) -> list[Any]:
    """(k, n) weights as they lie in memory: NZ, described by its storage shape."""
    values = two("mk", "kn", 0)(d) if count == 2 else added("mn", "mk", "kn")(d)
    values[count - 1] = Fractal(values[count - 1])
    return values


ORACLES = {
    "MatmulWeightNz": product(lambda x, y, c: torch.matmul(x, y), fractal),
    "BatchMatMulWeightNz": product(lambda x, y, c: torch.bmm(x, y), lambda d: [
        (v := two("bmk", "bkn", 0)(d))[0], Fractal(v[1]), v[2]]),
    "AddmmWeightNz": product(plus(torch.mm), lambda d: fractal(d, 3)),
    "NpuFormatCast": Oracle(lambda x: x, lambda d: [Fractal(d.array(d.shape(2, 3, 20), d.dtype("f16 bf16 s8")))],
                            exact=True),
    "TransMatmulWeight": Oracle(lambda x: torch.stack(x.split(16, 1)).reshape(x.shape),
                                lambda d: [d.array((16 * d.integer(1, 3), 16 * d.integer(1, 3)), d.dtype("f16 bf16"))],
                                exact=True, dense=True),
    "Matmul": product(lambda x, y, c: torch.matmul(x, y), matrices),
    "Mm": product(lambda x, y, c: torch.mm(x, y), two("mk", "kn", 0)),
    "BatchMatMul": product(lambda x, y, c: torch.bmm(x, y), two("bmk", "bkn", 0)),
    "Mv": product(lambda x, y, c: torch.mv(x, y), two("mk", "k", 0)),
    "Dot": product(torch.dot, two("k", "k")),
    "Ger": product(torch.ger, two("m", "n")),
    "Addmm": product(plus(torch.mm), added("mn", "mk", "kn")),
    "Baddbmm": product(plus(torch.bmm), added("bmn", "bmk", "bkn")),
    "Addbmm": product(plus(lambda a, b: torch.bmm(a, b).sum(0)), added("mn", "bmk", "bkn")),
    "Addmv": product(plus(torch.mv, swapped=True), added("m", "mk", "k")),
    "Addr": product(plus(torch.ger), added("mn", "m", "n", cube=False)),
    "AddrV2": product(plus(torch.ger), added("mn", "m", "n", cube=False)),
    "Gemm": product(lambda a, b, c, alpha, beta, ta, tb, _: alpha * (a.T if ta else a) @ (b.T if tb else b) + beta * c,
                    gemms),
    "Einsum": product(lambda tensors, equation: torch.einsum(equation, *tensors), einsums),
    "TransposeBatchMatMul": product(lambda x, y, *_: torch.bmm(x.permute(1, 0, 2), y).permute(1, 0, 2), transposed),
}
