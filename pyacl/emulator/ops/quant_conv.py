"""Convolution of quantised tensors."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from . import conv, rules
from .quant_matmul import WORKSPACE, check_vector
from .quantise import ROUND, f32, plain_scale, quantised
from .registry import define
from .types import DTYPES, S8


def convolve(x: Any, weight: Any, bias: Any, scale: Any, offset: Any, stride: Any, padding: Any, dilation: Any,
             transposed: bool, extra: Any, groups: int, offset_x: int, mode: Optional[str], *, outs: Any) -> Any:
    """Sums are exact; the scale of each channel, then its bias, float32."""
    wide = np.float64 if x.dtype == S8 else np.float32
    channel = (-1, *(1,) * (x.ndim - 2))
    sums = conv.convolution(x.astype(wide), weight.astype(wide), None, stride, padding, dilation, False, (), groups)
    found = sums.astype(np.float32) * plain_scale(scale).reshape(channel)
    if bias is not None:
        found = found + f32(bias).reshape(channel)
    return found if outs[0].dtype not in (DTYPES["f8e4m3"],) else quantised(found, outs[0].dtype)


def convolve_shape(x: Any, weight: Any, bias: Any, scale: Any, offset: Any, stride: Any, padding: Any, dilation: Any,
                   transposed: bool, extra: Any, groups: int, offset_x: int, mode: Optional[str]) -> Any:
    if offset is not None or transposed or offset_x or (mode is not None and mode not in ROUND):
        rules.reject("offset must be NULL, transposed false, offsetx 0, roundMode rint, round or NULL")
    if x.ndim not in (4, 5) or x.dtype != weight.dtype or not x.size or not weight.size:
        rules.reject(f"input of shape {list(x.shape)} and weight of {list(weight.shape)} are empty, have not 4 or 5 "
                     "dimensions, or differ in type")
    conv.check_convolution(x, weight, bias, stride, padding, dilation, False, (), groups)
    check_vector("scale", scale, weight.shape[0])
    return conv.convolution_shape(x, weight, bias, stride, padding, dilation, False, (), groups)


define("QuantConvolution", convolve, convolve_shape, raw=True, workspace=WORKSPACE,
       optional="bias offset outputPadding roundMode", oracle="torch convolution")
