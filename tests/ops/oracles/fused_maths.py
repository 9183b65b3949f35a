"""Formulas of several tensors; Fresnel integrals by scipy; rows in groups; spectra."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special

from ..oracle import Draw, Oracle, torch
from .moe import TYPES


def fresnel_inputs(d: Draw) -> list[Any]:
    x = d.array(d.shape(0, 4), d.choice(TYPES), *d.choice([(-3, 3), (-12, 12), (4, 40)]))
    if x.size and d.flag():
        x.reshape(-1)[0] = d.choice([np.nan, np.inf, -np.inf, 0.0, 6.0])
    return [x]


def fresnel(which: int) -> Any:
    return lambda x: torch.from_numpy(np.asarray(scipy.special.fresnel(x.double().numpy())[which], np.float32))


def arccos_inputs(d: Draw) -> list[Any]:
    shape, dtype = d.shape(0, 4), d.choice(TYPES)
    return [d.array(shape, dtype, -1.1, 1.1), d.array(shape, dtype)]


def arccos_back(y: Any, dy: Any) -> Any:
    y = y.clone().requires_grad_()
    torch.acos(y).backward(dy)
    return y.grad


def multiply_inputs(d: Draw) -> list[Any]:
    shape, dtype = d.shape(0, 4), d.dtype("f32 f16 bf16 s16 s32")
    return [d.array(shape, dtype), d.array(shape, dtype), d.array(d.choice([(1,), (1, 1), ()]), dtype)]


def product_inputs(d: Draw) -> list[Any]:
    shape, dtype = d.shape(0, 4), d.choice(TYPES)
    return [*(d.array(shape, dtype) for _ in range(3)), d.scalar("f32"), d.scalar("f32")]


def plus_inputs(d: Draw) -> list[Any]:
    shape, dtype = d.shape(1, 4), d.choice(TYPES)
    tensors = [d.array(tuple(1 if d.flag() else n for n in shape), dtype) for _ in range(3)]
    return [*tensors, d.array((1,), dtype), d.array((1,), dtype)]


def format_inputs(d: Draw) -> list[Any]:
    source, target = d.choice([("NHWC", "NCHW"), ("NCHW", "NHWC"), ("NDHWC", "NCDHW"), ("AB", "BA")])
    return [d.array(d.shape(1, 3), d.choice([np.int32, np.int64]), -len(source), len(source) - 1), source, target]


def formats(x: Any, source: str, target: str) -> Any:
    return torch.tensor([target.index(source[i]) for i in x.reshape(-1).tolist()]).reshape(x.shape).to(x.dtype)


# ---- groups

def ends(d: Draw, groups: int) -> Any:
    return np.cumsum([0, *(d.integer(1, 4) for _ in range(groups))]).astype(np.int32)


def permute_inputs(d: Draw) -> list[Any]:
    n = d.integer(1, 5)
    starts, order = ends(d, n), d.rng.permutation(n).astype(np.int32)
    lengths = np.diff(starts)[order]
    found = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return [order, starts, found, int(found[-1])]


def permute(order: Any, starts: Any, found: Any, size: int) -> Any:
    return torch.cat([torch.arange(int(starts[g]), int(starts[g]) + int(found[i + 1] - found[i]))
                      for i, g in enumerate(order.tolist())])


def bias_inputs(d: Draw) -> list[Any]:
    dtype, kind, h = d.choice(TYPES), d.integer(0, 1), d.integer(1, 4)
    rest = [kind] if d.name.endswith("V2") else []
    if d.flag():
        return [d.array((d.integer(1, 3), d.integer(1, 4), h), dtype), None, *rest]
    borders = ends(d, d.integer(1, 4))
    groups = np.diff(borders) if rest == [1] else borders[1:]
    grad = d.array((int(borders[-1]), h), dtype)
    grad[:1, 0] = np.inf  # must not reach other groups
    return [grad, groups.astype(d.choice([np.int32, np.int64])), *rest]


def bias(grad: Any, groups: Any, kind: int = 0) -> Any:
    if groups is None:
        return grad.sum(1)
    sizes = groups.long() if kind == 1 else torch.diff(groups.long(), prepend=torch.zeros(1, dtype=torch.int64))
    return torch.segment_reduce(grad, "sum", lengths=sizes)


def segsum_inputs(d: Draw) -> list[Any]:
    n, lead, dtype = d.integer(1, 5), d.shape(2, 3, 3), d.choice(TYPES)
    x = np.tril(np.exp(d.array((*lead, n, n), np.float32, -1, 1)))
    return [d.array((*lead, n, n), dtype), x.astype(dtype)]


def segsum_back(grad: Any, y: Any) -> Any:
    """Each place (i, j) below the diagonal has the inputs j + 1 to i in its exponent."""
    found = torch.zeros(grad.shape[:-1])
    for i in range(y.shape[-1]):
        for j in range(i):
            for k in range(j + 1, i + 1):
                found[..., k] += grad[..., i, j] * y[..., i, j]
    return found


# ---- spectra

def rfft_inputs(d: Draw) -> list[Any]:
    x = d.array(d.shape(1, 4, 6), np.float32)
    return [x, d.integer(1, 9), d.axis(x.ndim), d.integer(1, 3)]


def rfft(x: Any, n: int, dim: int, norm: int) -> Any:
    """By the sum itself."""
    x = x.movedim(dim, -1).double()[..., :n]
    angle = -2j * np.pi / n * torch.outer(torch.arange(x.shape[-1]), torch.arange(n // 2 + 1)).to(torch.complex128)
    found = (x.to(torch.complex128) @ torch.exp(angle)) / [1, n, n ** 0.5][norm - 1]
    return torch.view_as_real(found.movedim(-1, dim)).float()


def stft_inputs(d: Draw) -> list[Any]:
    dtype = np.dtype(d.choice([np.float32, np.float64, np.complex64, np.complex128]))
    n = d.integer(2, 8)
    width, hop = d.integer(1, n), d.integer(1, 4)
    x = d.array((*([2] if d.flag() else []), n + d.integer(0, 9)), dtype)
    window = d.array((width,), dtype) if d.flag() else None
    return [x, window, n, hop, width, d.flag(), d.flag() and dtype.kind != "c", d.flag()]


def stft(x: Any, window: Any, n: int, hop: int, width: int, normalized: bool, onesided: bool, split: bool) -> Any:
    """torch multiplies by the window's conjugate where it is complex, so the pieces are taken by hand."""
    window = torch.ones(width, dtype=x.dtype) if window is None else window
    pieces = x.unfold(-1, n, hop) * torch.nn.functional.pad(window, ((n - width) // 2, n - width - (n - width) // 2))
    pieces = torch.fft.rfft(pieces) if onesided else torch.fft.fft(pieces)
    found = pieces.transpose(-1, -2) / (n ** 0.5 if normalized else 1)
    return found if split else torch.view_as_real(found.contiguous())


ORACLES = {
    "FresnelSin": Oracle(fresnel(0), fresnel_inputs, atol=1e-6, cases=12),
    "FresnelCos": Oracle(fresnel(1), fresnel_inputs, atol=1e-6, cases=12),
    "AcosGradV2": Oracle(arccos_back, arccos_inputs, rtol=1e-4, atol=1e-4),
    "FusedMulAddN": Oracle(lambda a, b, c: a * c.reshape(-1)[0] + b, multiply_inputs),
    "AddMatMatElements": Oracle(lambda a, b, c, alpha, beta: torch.addcmul(c * beta, a, b, value=alpha),
                                product_inputs, atol=1e-5),
    "AddMatMatElementsPlus": Oracle(lambda c, a, b, beta, alpha: torch.addcmul(c * beta, a, b, value=float(alpha)),
                                    plus_inputs, atol=1e-5),
    "DataFormatDimMap": Oracle(formats, format_inputs, exact=True),
    "ExpandIntoJaggedPermute": Oracle(permute, permute_inputs, exact=True),
    "GroupedBiasAddGrad": Oracle(bias, bias_inputs, atol=1e-5),
    "GroupedBiasAddGradV2": Oracle(bias, bias_inputs, atol=1e-5, cases=12),
    "ExpSegsumBackward": Oracle(segsum_back, segsum_inputs, atol=1e-4, rtol=1e-4),
    "aclRfft1D": Oracle(rfft, rfft_inputs, atol=1e-5, cases=10),
    "aclStft": Oracle(stft, stft_inputs, atol=1e-4, rtol=1e-4, cases=16),
}
