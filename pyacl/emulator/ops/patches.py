"""Sliding windows: im2col and the gradients of unfolding."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import rules
from .registry import define
from .rules import axis, reject

Shape = tuple[int, ...]


def counts(size: Shape, kernel: Shape, dilation: Shape, padding: Shape, stride: Shape) -> Shape:
    """How many windows fit, by dimension."""
    found = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1
                  for n, k, d, p, s in zip(size, kernel, dilation, padding, stride))
    if any(n < 1 for n in found):
        reject(f"no window of {list(kernel)} fits into {list(size)}")
    return found


def check_window(*arrays: Shape) -> None:
    for array in arrays:
        if len(array) != 2:
            reject(f"{list(array)} has not 2 members: one for height, one for width")
    if any(n <= 0 for array in (arrays[0], arrays[1], arrays[3]) for n in array) or min(arrays[2]) < 0:
        reject("kernelSize, dilation and stride must be positive, padding not negative")


def im2col(x: Any, kernel: Shape, dilation: Shape, padding: Shape, stride: Shape) -> Any:
    """(N, C, H, W) or (C, H, W) -> (..., C kh kw, windows)."""
    (ph, pw), (kh, kw), (dh, dw), (sh, sw) = padding, kernel, dilation, stride
    rows, columns = counts(x.shape[-2:], kernel, dilation, padding, stride)
    padded = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(ph, ph), (pw, pw)])
    *lead, a, b = padded.strides
    windows = np.lib.stride_tricks.as_strided(padded, (*x.shape[:-2], kh, kw, rows, columns),
                                              (*lead, a * dh, b * dw, a * sh, b * sw), writeable=False)
    return windows.reshape(*x.shape[:-3], x.shape[-3] * kh * kw, rows * columns)


def im2col_shape(x: Any, kernel: Shape, dilation: Shape, padding: Shape, stride: Shape) -> Shape:
    check_window(kernel, dilation, padding, stride)
    if x.ndim not in (3, 4):
        reject(f"self has {x.ndim} dimensions, not 3 or 4")
    rows, columns = counts(x.shape[-2:], kernel, dilation, padding, stride)
    return (*x.shape[:-3], x.shape[-3] * kernel[0] * kernel[1], rows * columns)


def im2col_backward(grad: Any, size: Shape, kernel: Shape, dilation: Shape, padding: Shape, stride: Shape) -> Any:
    """Adds every window back to where it came from."""
    (ph, pw), (kh, kw), (dh, dw), (sh, sw) = padding, kernel, dilation, stride
    rows, columns = counts(size, kernel, dilation, padding, stride)
    lead, channels = grad.shape[:-2], grad.shape[-2] // (kh * kw)
    windows = grad.reshape(*lead, channels, kh, kw, rows, columns)
    found = np.zeros((*lead, channels, size[0] + 2 * ph, size[1] + 2 * pw), grad.dtype)
    for i in range(kh):  # one addition for each element of the kernel
        for j in range(kw):
            found[..., i * dh:i * dh + sh * rows:sh, j * dw:j * dw + sw * columns:sw] += windows[..., i, j, :, :]
    return found[..., ph:ph + size[0], pw:pw + size[1]]


def im2col_backward_shape(grad: Any, size: Shape, kernel: Shape, dilation: Shape, padding: Shape,
                          stride: Shape) -> Shape:
    check_window(kernel, dilation, padding, stride)
    rows, columns = counts(size, kernel, dilation, padding, stride)
    if grad.ndim not in (2, 3) or grad.shape[-1] != rows * columns or grad.shape[-2] % (kernel[0] * kernel[1]):
        reject(f"gradOutput of shape {list(grad.shape)} does not fit inputSize {list(size)}")
    return (*grad.shape[:-2], grad.shape[-2] // (kernel[0] * kernel[1]), *size)


def unfold_grad(grad: Any, sizes: Shape, dim: int, size: int, step: int) -> Any:
    found = np.zeros(sizes, grad.dtype)
    a = axis(dim, len(sizes))
    into, parts = np.moveaxis(found, a, 0), np.moveaxis(grad, a, 0)
    for i in range(size):  # one addition for each position in the window
        into[i:i + step * len(parts):step] += parts[..., i]
    return found


def check_unfold(grad: Any, sizes: Shape, dim: int, size: int, step: int) -> None:
    a = axis(dim, len(sizes))
    if not 0 < size <= sizes[a] or step <= 0:
        reject(f"size is {size}, step {step}")
    if tuple(grad.shape) != (*sizes[:a], (sizes[a] - size) // step + 1, *sizes[a + 1:], size):
        reject(f"gradOut of shape {list(grad.shape)} does not fit inputSizes {list(sizes)}")


define("Im2col", im2col, shape=im2col_shape, result=rules.first, raw=True, exact=True,
       oracle="torch.nn.functional.unfold")
define("Im2colBackward", im2col_backward, shape=im2col_backward_shape, result=rules.first,
       oracle="torch.nn.functional.fold")
define("UnfoldGrad", unfold_grad, shape=lambda grad, sizes, *_: tuple(sizes), result=rules.first, check=check_unfold,
       oracle="torch.ops.aten.unfold_backward")
