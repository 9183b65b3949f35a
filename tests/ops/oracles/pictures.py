"""Pictures: formulas in float64, pixel by pixel where they are not plain products."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np

from ..oracle import Draw, Oracle, torch

F16 = np.dtype(np.float16)


def layers(d: Draw) -> list[Any]:
    height, width, channels, dtype = d.integer(1, 4), d.integer(1, 4), d.choice([1, 3]), d.choice([np.uint8, F16])
    mask = d.rng.choice([0, 0.25, 0.5, 0.75, 1], (height, width, 1)).astype(F16)  # products that float16 has
    pictures = [d.array((height, width, channels), np.uint8, 0, 255).astype(dtype) for _ in range(2)]
    return [*pictures, mask]


def background(below: Any, above: Any, mask: Any) -> Any:
    found = torch.lerp(below.float(), above.float(), mask)
    return found.round().to(torch.uint8) if below.dtype == torch.uint8 else found


def coloured(d: Draw) -> list[Any]:
    size = d.integer(1, 4), d.integer(1, 4)
    values = [d.array((*size, 3), np.uint8, 0, 255), d.array((*size, 1), np.uint8, 0, 255)]
    return [*values, d.array((*size, 3), np.uint8, 0, 255)] if d.name == "aclnnBlendImagesCustom" else values


def nearly(exact: Callable[..., Any], edge: float) -> Callable[[list[Any], list[Any]], None]:
    """Right to the bit, except where float16 may go over the edge at which values are rounded."""
    def accept(inputs: list[Any], outputs: list[Any]) -> None:
        wanted = exact(*(t.astype(np.float64) for t in inputs))
        rounded = np.floor(wanted + 1 - edge)
        sure = np.abs((wanted + 1 - edge) % 1 - 0.5) < 0.2
        assert (outputs[0][sure] == rounded[sure]).all()
        assert (np.abs(outputs[0] - wanted) <= 1.3).all()

    return accept


def yuv_inputs(d: Draw) -> list[Any]:
    layout, lead = d.choice(["NHWC", "NCHW"]), d.shape(0, 2)
    size = d.integer(1, 3), d.integer(1, 5)
    dtype = d.choice([np.uint8, np.float32, F16])
    return [d.array((*lead, *size, 3) if layout == "NHWC" else (*lead, 3, *size), dtype, 0, 255), layout]


def yuv(x: Any, layout: str) -> Any:
    small = x.dtype == torch.uint8
    pixels = (x if layout == "NHWC" else x.movedim(-3, -1)).double().reshape(-1, x.shape[-2 if layout == "NHWC" else -1], 3)
    found = []
    for row in pixels.tolist():
        for i, (r, g, b) in enumerate(row):
            found.append(0.299 * r + 0.587 * g + 0.114 * b)
            r, g, b = row[i - i % 2]
            shift = 128 if small else 0
            found.append(0.5 * r - 0.41869 * g - 0.08131 * b + shift if i % 2
                         else -0.16874 * r - 0.33126 * g + 0.5 * b + shift)
    lead = x.shape[:-1] if layout == "NHWC" else (*x.shape[:-3], *x.shape[-2:])
    out = torch.tensor(found, dtype=torch.float64).reshape(*lead, 2)
    out = out if layout == "NHWC" else out.movedim(-1, -3)
    return out.round().clamp(0, 255).to(torch.uint8) if small else out.float()


def screen(d: Draw) -> list[Any]:
    n = d.integer(3, 8)
    v = d.array((n, 4), np.float32, -1.2, 1.2)
    v[:, 3] = d.rng.uniform(0.5, 2, n)
    return [v, d.rng.integers(0, n, (d.integer(1, 6), 3)).astype(np.int32), None, d.integer(1, 12), d.integer(1, 12), 0.0, 0]


def rasterize(v: Any, f: Any, depth: Any, width: int, height: int, truncation: float, prior: int) -> Any:
    def cross(a: Any, b: Any, c: Any) -> float:
        return float((c[0] - a[0]) * (b[1] - a[1]) - (b[0] - a[0]) * (c[1] - a[1]))

    v = v.double().numpy()
    points = [((x / w * 0.5 + 0.5) * (width - 1) + 0.5, (0.5 + 0.5 * y / w) * (height - 1) + 0.5, z / w * 0.49999 + 0.5)
              for x, y, z, w in v.tolist()]
    faces, shares = np.zeros((height, width), np.int32), np.zeros((height, width, 3))
    for row, column in np.ndindex(height, width):
        best: Any = None
        for number, face in enumerate(f.tolist(), 1):
            a, b, c = (points[i] for i in face)
            whole, at = cross(a, b, c), (column + 0.5, row + 0.5)
            if len(set(face)) < 3 or whole == 0:
                continue
            beta, gamma = cross(a, at, c) / whole, cross(a, b, at) / whole
            weights = (1 - beta - gamma, beta, gamma)
            far = int(sum(s * p[2] for s, p in zip(weights, (a, b, c))) * 2**18)
            if min(weights) >= 0 and (best is None or far < best[0]):
                best = (far, number, np.array(weights) / v[face, 3])
        if best is not None:
            faces[row, column], shares[row, column] = best[1], best[2] / best[2].sum()
    return torch.from_numpy(faces), torch.from_numpy(shares).float()


ORACLES = {
    "BackgroundReplace": Oracle(background, layers, exact=True, cases=8),
    "BlendImagesCustom": Oracle(lambda rgb, alpha, frame: frame, coloured, accept=nearly(
        lambda rgb, alpha, frame: rgb * (alpha / 255) + frame * (1 - alpha / 255), 0.5)),
    "MrgbaCustom": Oracle(lambda rgb, alpha: rgb, coloured, accept=nearly(lambda rgb, alpha: rgb * (alpha / 255), 1)),
    "Rgb2yuv422": Oracle(yuv, yuv_inputs, atol=1e-3, rtol=1e-4, cases=12),
    "Rasterizer": Oracle(rasterize, screen, atol=1e-4, rtol=1e-3, cases=12),
}
