"""Layouts: images as views in the order NCHW, and the conversions to and from the device's private formats."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from ...capi import lib
from .ge import View
from .rules import reject
from .tensor import Tensor


def image(tensor: Optional[Tensor], layout: str) -> Any:
    """A tensor of four dimensions as a view in the order NCHW."""
    if tensor is None:
        return None
    if tensor.ndim != len(layout):
        reject(f"a tensor of shape {list(tensor.shape)} is not {layout}")
    order = [layout.index(c) for c in "NCHW"]
    return View(tensor, tuple(tensor.shape[i] for i in order), tuple(tensor.strides[i] for i in order),
                lib.ACL_FORMAT_NCHW)


def pair(values: tuple[int, ...], layout: str) -> tuple[int, int]:
    """Height and width of values that are given for all dimensions, for these two, or once for both."""
    if len(values) == len(layout):
        return values[layout.index("H")], values[layout.index("W")]
    if len(values) in (1, 2):
        return values[0], values[-1]
    return reject(f"{list(values)} does not fit {layout}")


def pads_of(pads: tuple[int, ...]) -> tuple[int, ...]:
    """Top, bottom, left, right as height and width where these are symmetrical."""
    if len(pads) == 4 and pads[0] == pads[1] and pads[2] == pads[3]:
        return pads[0], pads[2]
    return tuple(pads)


# Private formats: 16 elements of 16 bits, 32 of 8 bits, 8 of 32 bits are one unit of 32 bytes along an axis.

def _unit(dtype: Any) -> int:
    return max(32 // int(dtype.itemsize), 1) if dtype.itemsize != 4 else 16


def _up(n: int, unit: int) -> int:
    return -(-n // unit)


def _order(layout: str, wanted: str) -> list[int]:
    return [layout.index(c) for c in wanted]


def trans_data_shape(src: Any, src_format: str, dst_format: str, shape: Any) -> Any:
    """The shape after a conversion, where it follows from the source alone."""
    unit = _unit(src.dtype)
    if dst_format == "NC1HWC0":
        n, c, h, w = (src.shape[i] for i in _order(src_format, "NCHW"))
        return n, _up(c, unit), h, w, unit
    if dst_format == "FRACTAL_NZ":
        *batch, rows, columns = src.shape
        return (*batch, _up(columns, unit), _up(rows, 16), 16, unit)
    if dst_format == "FRACTAL_Z":
        n, c, h, w = (src.shape[i] for i in _order(src_format, "NCHW"))
        return _up(c, unit) * h * w, _up(n, 16), 16, unit
    return tuple(shape)


def trans_data(src: Any, src_format: str, dst_format: str, shape: tuple[int, ...]) -> Any:
    """The same elements in another layout; what a private format has beyond them is zero."""
    if src_format in ("NC1HWC0", "FRACTAL_NZ", "FRACTAL_Z"):
        return _out_of(src, src_format, dst_format, shape)
    if dst_format in ("NC1HWC0", "FRACTAL_NZ", "FRACTAL_Z"):
        return _into(src, src_format, dst_format)
    return src.transpose(_order(src_format, dst_format))


def _into(src: Any, src_format: str, dst_format: str) -> Any:
    unit = _unit(src.dtype)
    if dst_format == "FRACTAL_NZ":
        *batch, rows, columns = src.shape
        m, n = _up(rows, 16), _up(columns, unit)
        out = np.zeros((*batch, m * 16, n * unit), src.dtype)
        out[..., :rows, :columns] = src
        return np.moveaxis(out.reshape(*batch, m, 16, n, unit), -2, -4)
    nchw = src.transpose(_order(src_format, "NCHW"))
    n, c, h, w = nchw.shape
    c1 = _up(c, unit)
    if dst_format == "NC1HWC0":
        out = np.zeros((n, c1 * unit, h, w), src.dtype)
        out[:, :c] = nchw
        return out.reshape(n, c1, unit, h, w).transpose(0, 1, 3, 4, 2)
    n1 = _up(n, 16)
    out = np.zeros((n1 * 16, c1 * unit, h, w), src.dtype)
    out[:n, :c] = nchw
    return out.reshape(n1, 16, c1, unit, h, w).transpose(2, 4, 5, 0, 1, 3).reshape(c1 * h * w, n1, 16, unit)


def _out_of(src: Any, src_format: str, dst_format: str, shape: tuple[int, ...]) -> Any:
    if src_format == "FRACTAL_NZ":
        *batch, n, m, rows, unit = src.shape
        flat = np.moveaxis(src, -4, -2).reshape(*batch, m * rows, n * unit)
        return flat[..., :shape[-2], :shape[-1]]
    sizes = {c: shape[dst_format.index(c)] for c in "NCHW"}
    if src_format == "NC1HWC0":
        n, c1, h, w, unit = src.shape
        nchw = src.transpose(0, 1, 4, 2, 3).reshape(n, c1 * unit, h, w)[:, :sizes["C"]]
    else:
        h, w = sizes["H"], sizes["W"]
        first, n1, rows, unit = src.shape
        c1 = first // (h * w)
        nchw = src.reshape(c1, h, w, n1, rows, unit).transpose(3, 4, 0, 5, 1, 2)
        nchw = nchw.reshape(n1 * rows, c1 * unit, h, w)[:sizes["N"], :sizes["C"]]
    return nchw.transpose([("NCHW").index(c) for c in dst_format])
