"""Convolutions of 1 to 3 dimensions and their gradients: columns of windows and BLAS, in float32.

`columns` gathers the windows of a padded tensor, `scatter` adds them back; both are views and slices, one step for
each tap of the kernel at most. A transposed convolution is the gradient of a plain one by its input.
"""

from __future__ import annotations

from typing import Any, Iterator

import numpy as np

from ...capi import lib
from .activations import tensors_meet
from .registry import define
from .rules import reject
from .types import F32, F64

WORKSPACE = 8192
Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]
_CHUNK = 1 << 22  # elements of columns made at once

_THREE = "f32 f16 bf16"
_CHANNELS_LAST = (lib.ACL_FORMAT_NHWC, lib.ACL_FORMAT_NDHWC)


def window_count(size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int]) -> int:
    """How many windows fit into one dimension."""
    return (size + sum(pads) - dilation * (kernel - 1) - 1) // stride + 1


def windows(x: Any, kernel: Ints, stride: Ints, dilation: Ints, counts: Ints) -> Any:
    """A view of x's last dimensions as (..., *counts, *kernel)."""
    k = len(kernel)
    steps = x.strides[x.ndim - k:]
    return np.lib.stride_tricks.as_strided(
        x, (*x.shape[:x.ndim - k], *counts, *kernel),
        (*x.strides[:x.ndim - k], *(s * t for s, t in zip(steps, stride)), *(s * t for s, t in zip(steps, dilation))),
        writeable=False)


def padded(x: Any, pads: Pads, value: Any = 0) -> Any:
    if not any(map(any, pads)):
        return x
    return np.pad(x, ((0, 0),) * (x.ndim - len(pads)) + pads, constant_values=value)


def taps(kernel: Ints, stride: Ints, dilation: Ints, counts: Ints) -> Iterator[tuple[Ints, tuple[slice, ...]]]:
    """For each element of the kernel: its index and the places it falls on, as slices of the padded tensor."""
    for index in np.ndindex(*kernel):
        yield index, tuple(slice(i * d, i * d + s * (n - 1) + 1, s) if n else slice(0, 0)
                           for i, d, s, n in zip(index, dilation, stride, counts))


def scatter(values: Any, size: Ints, kernel: Ints, stride: Ints, dilation: Ints, pads: Pads) -> Any:
    """Adds (..., *kernel, *counts) to where the windows came from: (..., *size)."""
    k = len(kernel)
    lead, counts = values.shape[:values.ndim - 2 * k], values.shape[values.ndim - k:]
    whole: Any = np.zeros((*lead, *(n + a + b for n, (a, b) in zip(size, pads))), values.dtype)
    for index, places in taps(kernel, stride, dilation, counts):
        whole[(..., *places)] += values[(..., *index, *(slice(None),) * k)]
    return whole[(..., *(slice(a, a + n) for n, (a, _) in zip(size, pads)))]


def columns(x: Any, groups: int, kernel: Ints, stride: Ints, dilation: Ints, counts: Ints) -> Any:
    """Windows of a padded (N, C, *size) as matrices (N, groups, C / groups * taps, places)."""
    k = len(kernel)
    view = windows(x, kernel, stride, dilation, counts)
    view = view.transpose(0, 1, *range(2 + k, 2 + 2 * k), *range(2, 2 + k))
    return view.reshape(x.shape[0], groups, -1, int(np.prod(counts, dtype=np.int64)))


def _real(x: Any) -> Any:
    return x if x.dtype in (F32, F64) else x.astype(np.float32)


def _batches(n: int, each: int) -> Iterator[slice]:
    step = max(1, _CHUNK // max(each, 1))
    return (slice(i, i + step) for i in range(0, n, step))


def forward(x: Any, weight: Any, stride: Ints, pads: Pads, dilation: Ints, groups: int) -> Any:
    """(N, C, *size) by (O, C / groups, *kernel): (N, O, *counts)."""
    x, weight = padded(_real(x), pads), _real(weight)
    n, kernel = x.shape[0], weight.shape[2:]
    counts = tuple(window_count(*a, (0, 0)) for a in zip(x.shape[2:], kernel, stride, dilation))
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1)
    out = np.empty((n, *matrix.shape[:2], int(np.prod(counts, dtype=np.int64))), np.result_type(x, weight))
    for part in _batches(n, x.shape[1] * int(np.prod(kernel)) * out.shape[-1]):
        np.matmul(matrix, columns(x[part], groups, kernel, stride, dilation, counts), out=out[part])
    return out.reshape(n, weight.shape[0], *counts)


def by_input(dy: Any, weight: Any, size: Ints, stride: Ints, pads: Pads, dilation: Ints, groups: int) -> Any:
    """The gradient of `forward` by its input of (N, C, *size)."""
    dy, weight = _real(dy), _real(weight)
    n, counts, kernel = dy.shape[0], dy.shape[2:], weight.shape[2:]
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1).transpose(0, 2, 1)
    dx = np.empty((n, groups * weight.shape[1], *size), np.result_type(dy, weight))
    places = int(np.prod(counts, dtype=np.int64))
    for part in _batches(n, matrix.shape[0] * matrix.shape[1] * places):
        flat = dy[part].reshape(-1, groups, matrix.shape[2], places)
        values = np.matmul(matrix, flat).reshape(flat.shape[0], dx.shape[1], *kernel, *counts)
        dx[part] = scatter(values, size, kernel, stride, dilation, pads)
    return dx


def by_weight(dy: Any, x: Any, shape: Ints, stride: Ints, pads: Pads, dilation: Ints, groups: int) -> Any:
    """The gradient of `forward` by its weight of shape (O, C / groups, *kernel)."""
    dy, x = _real(dy), padded(_real(x), pads)
    n, counts, kernel = dy.shape[0], dy.shape[2:], shape[2:]
    places = int(np.prod(counts, dtype=np.int64))
    total = np.zeros((groups, shape[0] // groups, shape[1] * int(np.prod(kernel))), np.result_type(dy, x))
    for part in _batches(n, x.shape[1] * int(np.prod(kernel)) * places):
        flat = dy[part].reshape(-1, groups, total.shape[1], places)
        found = columns(x[part], groups, kernel, stride, dilation, counts)
        total += np.matmul(flat, found.transpose(0, 1, 3, 2)).sum(axis=0)
    return total.reshape(shape)


def _pads(padding: Ints, k: int) -> Pads:
    """(before, after) for each dimension, of one number each or of two."""
    return tuple(zip(padding[::2], padding[1::2])) if len(padding) == 2 * k else tuple((p, p) for p in padding)


def _out_size(x: Any, weight: Any, stride: Ints, padding: Ints, dilation: Ints, transposed: bool, extra: Ints) -> Ints:
    pads = _pads(padding, x.ndim - 2)
    if transposed:
        return tuple((n - 1) * s - sum(p) + d * (k - 1) + e + 1
                     for n, k, s, d, p, e in zip(x.shape[2:], weight.shape[2:], stride, dilation, pads, extra))
    return tuple(window_count(*a) for a in zip(x.shape[2:], weight.shape[2:], stride, dilation, pads))


def convolution(x: Any, weight: Any, bias: Any, stride: Ints, padding: Ints, dilation: Ints, transposed: bool,
                extra: Ints, groups: int, cube_math_type: int = 0) -> Any:
    pads = _pads(padding, x.ndim - 2)
    if transposed:
        size = _out_size(x, weight, stride, padding, dilation, True, extra)
        y = by_input(x, weight, size, stride, pads, dilation, groups)
    else:
        y = forward(x, weight, stride, pads, dilation, groups)
    return y if bias is None else y + bias.reshape((-1, *(1,) * (x.ndim - 2)))


def convolution_backward(dy: Any, x: Any, weight: Any, sizes: Any, stride: Ints, padding: Ints, dilation: Ints,
                         transposed: bool, extra: Ints, groups: int, mask: Any, cube_math_type: int) -> Any:
    pads = _pads(padding, x.ndim - 2)
    dx = dw = db = None
    if mask[0]:
        dx = forward(dy, weight, stride, pads, dilation, groups) if transposed else \
            by_input(dy, weight, x.shape[2:], stride, pads, dilation, groups)
    if mask[1]:
        a, b = (x, dy) if transposed else (dy, x)
        dw = by_weight(a, b, weight.shape, stride, pads, dilation, groups)
    if mask[2]:
        db = dy.sum(axis=(0, *range(2, dy.ndim)), dtype=np.float32)
    return dx, dw, db


def depthwise(x: Any, weight: Any, kernel: Ints, bias: Any, stride: Ints, padding: Ints, dilation: Ints,
              cube_math_type: int) -> Any:
    return convolution(x, weight, bias, stride, padding, dilation, False, (), x.shape[1])


def conv_tbc(x: Any, weight: Any, bias: Any, pad: int, cube_math_type: int) -> Any:
    """(time, batch, channels) by (kernel, channels in, out)."""
    y = forward(x.transpose(1, 2, 0), weight.transpose(2, 1, 0), (1,), ((pad, pad),), (1,), 1)
    return y.transpose(2, 0, 1) + bias


def conv_tbc_backward(dy: Any, x: Any, weight: Any, bias: Any, pad: int, cube_math_type: int) -> Any:
    turned, inner = dy.transpose(1, 2, 0), x.transpose(1, 2, 0)
    kernel = weight.transpose(2, 1, 0)
    dx = by_input(turned, kernel, inner.shape[2:], (1,), ((pad, pad),), (1,), 1)
    dw = by_weight(turned, inner, kernel.shape, (1,), ((pad, pad),), (1,), 1)
    return dx.transpose(2, 0, 1), dw.transpose(2, 1, 0), dy.sum(axis=(0, 1), dtype=np.float32)


# ---- checks

def _check_windows(k: int, **given: Ints) -> None:
    for name, values in given.items():
        low = 0 if name == "padding" else 1
        lengths = (k, 2 * k) if name == "padding" and k < 3 else (k,)
        if len(values) not in lengths:
            reject(f"{name} {list(values)} has {len(values)} numbers, not {' or '.join(map(str, lengths))}")
        if min(values, default=low) < low:
            reject(f"{name} {list(values)} has a number below {low}")


def channels_first(*tensors: Any) -> None:
    """Refuses tensors whose format has the channels last."""
    for t in tensors:
        if getattr(t, "format", None) in _CHANNELS_LAST:
            reject("a format with the channels last (NHWC, NDHWC) is not emulated: give the tensor as NCHW, NCDHW, ND")


def check_convolution(x: Any, weight: Any, bias: Any, stride: Ints, padding: Ints, dilation: Ints, transposed: bool,
                      extra: Ints, groups: int, cube_math_type: int = 0) -> None:
    channels_first(x, weight)
    k = x.ndim - 2
    if not 1 <= k <= 3 or weight.ndim != x.ndim:
        reject(f"input has {x.ndim} dimensions and weight {weight.ndim}; both have 3, 4 or 5")
    _check_windows(k, stride=stride, padding=padding, dilation=dilation)
    if transposed:
        if len(extra) != k or any(not 0 <= e < max(s, d) for e, s, d in zip(extra, stride, dilation)):
            reject(f"outputPadding {list(extra)} must be {k} numbers of 0 or more, below stride or dilation")
        if len(padding) != k:
            reject(f"padding {list(padding)} of a transposed convolution has {len(padding)} numbers, not {k}")
    if not 1 <= groups <= 65535:
        reject(f"groups is {groups}, outside of [1, 65535]")
    channels = weight.shape[0] if transposed else weight.shape[1] * groups
    if x.shape[1] != channels or weight.shape[0] % groups:
        reject(f"input of shape {list(x.shape)}, weight of {list(weight.shape)} and {groups} groups do not fit")
    outputs = weight.shape[1] * groups if transposed else weight.shape[0]
    if bias is not None and (bias.ndim != 1 or bias.shape[0] != outputs):
        reject(f"bias of shape {list(bias.shape)} must have {[outputs]}")
    if not 0 <= cube_math_type <= 3:
        reject(f"cubeMathType is {cube_math_type}, outside of [0, 3]")


def convolution_shape(x: Any, weight: Any, bias: Any, stride: Ints, padding: Ints, dilation: Ints, transposed: bool,
                      extra: Ints, groups: int, cube_math_type: int = 0) -> Ints:
    size = _out_size(x, weight, stride, padding, dilation, transposed, extra)
    if min(size) < (0 if transposed else 1) and x.size:
        reject(f"the kernel {list(weight.shape[2:])}, dilated, is larger than the padded input {list(x.shape[2:])}")
    return (x.shape[0], weight.shape[1] * groups if transposed else weight.shape[0], *(max(n, 0) for n in size))


def backward_shapes(dy: Any, x: Any, weight: Any, sizes: Any, stride: Ints, padding: Ints, dilation: Ints,
                    transposed: bool, extra: Ints, groups: int, mask: Any, cube_math_type: int) -> Any:
    check_convolution(x, weight, None, stride, padding, dilation, transposed, extra, groups, cube_math_type)
    wanted = convolution_shape(x, weight, None, stride, padding, dilation, transposed, extra, groups)
    if tuple(dy.shape) != wanted:
        reject(f"gradOutput of shape {list(dy.shape)} must have {list(wanted)}")
    if len(mask) != 3:
        reject(f"outputMask has {len(mask)} numbers, not 3")
    return tuple(x.shape), tuple(weight.shape), (wanted[1],)


def check_mask(dy: Any, x: Any, weight: Any, sizes: Any, *rest: Any) -> None:
    if sizes is None and rest[-2][2]:
        reject("biasSizes is NULL, but outputMask asks for the gradient of the bias", lib.ACLNN_ERR_PARAM_NULLPTR)


def depthwise_shape(x: Any, weight: Any, kernel: Ints, bias: Any, stride: Ints, padding: Ints, dilation: Ints,
                    cube_math_type: int) -> Ints:
    if x.ndim != 4 or weight.ndim != 4 or tuple(kernel) != tuple(weight.shape[2:]) or weight.shape[1] != 1:
        reject(f"self {list(x.shape)} and weight {list(weight.shape)} have 4 dimensions, weight [:, 1, *kernelSize]")
    check_convolution(x, weight, bias, stride, padding, dilation, False, (), x.shape[1], cube_math_type)
    return convolution_shape(x, weight, bias, stride, padding, dilation, False, (), x.shape[1])


def tbc_shape(x: Any, weight: Any, bias: Any, pad: int, cube_math_type: int) -> Ints:
    if x.ndim != 3 or weight.ndim != 3 or bias.ndim != 1 or x.shape[2] != weight.shape[1] \
            or bias.shape[0] != weight.shape[2] or not 0 <= pad <= 255:
        reject(f"self {list(x.shape)}, weight {list(weight.shape)}, bias {list(bias.shape)} and pad {pad} do not fit")
    return (x.shape[0] + 2 * pad - weight.shape[0] + 1, x.shape[1], weight.shape[2])


def tbc_backward_shapes(dy: Any, x: Any, weight: Any, bias: Any, pad: int, cube_math_type: int) -> Any:
    if tuple(dy.shape) != tbc_shape(x, weight, bias, pad, cube_math_type):
        reject(f"self of shape {list(dy.shape)} is not the output's gradient")
    return tuple(x.shape), tuple(weight.shape), tuple(bias.shape)


def meets(first: int, second: int) -> Any:
    """The type in which two of the inputs meet."""
    return lambda *inputs: tensors_meet(inputs[first], inputs[second])


define("Convolution", convolution, shape=convolution_shape, result=meets(0, 1), check=check_convolution,
       optional="bias", workspace=WORKSPACE, dtypes=dict.fromkeys(("input", "weight", "bias", "output"), _THREE),
       oracle="torch.convolution", deviations="cubeMathType: computed in float32 always")
define("ConvolutionBackward", convolution_backward, shape=backward_shapes, check=check_mask,
       result=lambda dy, x, w, *_: (x.dtype, w.dtype, dy.dtype), workspace=WORKSPACE,
       optional="biasSizes gradInput gradWeight gradBias", oracle="torch.convolution, backward",
       deviations="cubeMathType: computed in float32 always")
define("ConvDepthwise2d", depthwise, shape=depthwise_shape, result=meets(0, 1), optional="bias", workspace=WORKSPACE,
       oracle="torch.nn.functional.conv2d, grouped")
define("ConvTbc", conv_tbc, shape=tbc_shape, result=meets(0, 1), workspace=WORKSPACE, oracle="torch.conv_tbc",
       dtypes={"output": _THREE})
define("ConvTbcBackward", conv_tbc_backward, shape=tbc_backward_shapes, result=meets(0, 1), workspace=WORKSPACE,
       dtypes={"gradWeight": _THREE}, oracle="torch.conv_tbc, backward")
