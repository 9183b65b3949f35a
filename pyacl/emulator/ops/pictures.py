"""Pictures: layers laid over one another, colours."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .quantise import quantised
from .registry import define
from .rules import reject
from .types import F16, U8

# Rows are Y, U, V of red, green, blue (ITU-R BT.601).
_YUV = np.array(((0.299, 0.587, 0.114), (-0.16874, -0.33126, 0.5), (0.5, -0.41869, -0.08131)), np.float32)


def laid(below: Any, above: Any, mask: Any) -> Any:
    """`above` where the mask is 1 and `below` where it is 0, step by step in float16 as the device does."""
    below, above, mask = (t.astype(F16) for t in (below, above, mask))
    return below - below * mask + above * mask


def background(below: Any, above: Any, mask: Any) -> Any:
    found = laid(below, above, mask)
    return found if below.dtype == F16 else quantised(found, U8)


def background_shape(below: Any, above: Any, mask: Any) -> Any:
    if below.ndim != 3 or below.shape[2] not in (1, 3) or above.shape != below.shape or above.dtype != below.dtype \
            or tuple(mask.shape) != (*below.shape[:2], 1):
        reject(f"bkg {list(below.shape)} and src {list(above.shape)} must be (H, W, 1 or 3) of one type, mask "
               f"{list(mask.shape)} (H, W, 1)")
    return tuple(below.shape)


def opacity(alpha: Any) -> Any:
    return alpha.astype(F16) * F16.type(1 / 255)


def blend(rgb: Any, alpha: Any, frame: Any) -> Any:
    return quantised(laid(frame, rgb, opacity(alpha)), U8)


def dim(rgb: Any, alpha: Any) -> Any:
    return np.floor(rgb.astype(F16) * opacity(alpha))


def coloured(rgb: Any, alpha: Any, frame: Any = None) -> Any:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or tuple(alpha.shape) != (*rgb.shape[:2], 1) \
            or frame is not None and frame.shape != rgb.shape:
        reject(f"rgb {list(rgb.shape)} must be (H, W, 3), as the frame, alpha {list(alpha.shape)} (H, W, 1)")
    return tuple(rgb.shape)


def yuv(x: Any, layout: str) -> Any:
    """Y of each pixel, then U of the even and V of the odd columns, both from the even one of a pair."""
    rgb = np.moveaxis(x, -3, -1) if layout == "NCHW" else x
    found = rgb.astype(np.float32) @ _YUV.T
    if x.dtype == U8:
        found[..., 1:] += np.float32(128)
    odd = np.arange(found.shape[-2]) % 2
    pair = np.arange(found.shape[-2]) - odd
    out = np.stack((found[..., 0], np.where(odd, found[..., pair, 2], found[..., pair, 1])), axis=-1)
    out = np.moveaxis(out, -1, -3) if layout == "NCHW" else out
    return quantised(out, U8) if x.dtype == U8 else out


def yuv_shape(x: Any, layout: str) -> Any:
    if layout not in ("NHWC", "NCHW") or x.ndim < 3 or x.shape[-1 if layout == "NHWC" else -3] != 3:
        reject(f'dataFormat "{layout}" must be "NHWC" or "NCHW", x {list(x.shape)} have 3 colours there')
    return (*x.shape[:-1], 2) if layout == "NHWC" else (*x.shape[:-3], 2, *x.shape[-2:])


define("BackgroundReplace", background, raw=True, shape=background_shape, result=rules.first, exact=True,
       oracle="torch.lerp")
define("BlendImagesCustom", blend, shape=coloured, result=rules.first, exact=True, oracle="torch.lerp")
define("MrgbaCustom", dim, shape=coloured, result=rules.first, exact=True, oracle="torch.floor of a product")
define("Rgb2yuv422", yuv, raw=True, shape=yuv_shape, result=rules.first, exact=True, oracle="pixel by pixel",
       dtypes={"x": "u8 f16 f32", "y": "u8 f16 f32"})
