"""The graph-engine types of networks: normalisation, convolution, pooling, resizing. See `ge_table`."""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from ...capi import lib
from . import rules
from .ge import Use, View, ge, ge_compute
from .ge_layout import image, pads_of, pair
from .ge_table import ints
from .rules import reject
from .tensor import Tensor

# Activations over an axis, and normalisation


def one_axis(axes: tuple[int, ...]) -> int:
    if len(axes) != 1:
        raise NotImplementedError(f"softmax over {len(axes)} axes")
    return axes[0]


ge("SoftmaxV2", "aclnnSoftmax", lambda x, axes: (x, one_axis(axes)), loose=True)
ge("LogSoftmaxV2", "aclnnLogSoftmax", lambda logits, axes: (logits, one_axis(axes)), loose=True)
ge("SoftmaxGrad", "aclnnSoftmaxBackward", lambda softmax, grad_softmax, axes: (grad_softmax, softmax, one_axis(axes)),
   loose=True)


def beside(x: Tensor, gamma: Tensor, begin_params_axis: int) -> Tensor:
    """gamma, which has the dimensions of x from an axis on; 0 leaves that to its own shape."""
    if begin_params_axis and gamma.shape != x.shape[rules.axis(begin_params_axis, x.ndim):]:
        reject(f"gamma has the shape {list(gamma.shape)}, which is not that of {list(x.shape)} from axis "
               f"{begin_params_axis} on")
    return gamma


ge("LayerNormV3", "aclnnLayerNorm", lambda x, gamma, beta, begin_norm_axis, begin_params_axis, epsilon: (
    x, x.shape[rules.axis(begin_norm_axis, x.ndim):], beside(x, gamma, begin_params_axis), beta, epsilon), mixed=True,
   loose=True)
ge("LayerNormV4", "aclnnLayerNorm", lambda x, normalized_shape, gamma, beta, epsilon: (
    x, ints(normalized_shape), gamma, beta, epsilon), mixed=True, loose=True)
ge("RmsNorm", "aclnnRmsNorm", lambda x, gamma, epsilon: (x, gamma, epsilon), mixed=True)
ge("InstanceNorm", "aclnnInstanceNorm", lambda x, gamma, beta, data_format, epsilon: (
    x, gamma, beta, data_format, epsilon), mixed=True, loose=True)
ge("SwiGlu", "aclnnSwiGlu", lambda x, dim: (x, dim), loose=True)


def layer_norm(x: Any, gamma: Any, beta: Any, axis: int, eps: float) -> tuple[Any, ...]:
    axes = tuple(range(axis, x.ndim))
    mean = np.mean(x, axis=axes, keepdims=True, dtype=x.dtype)
    variance = np.var(x, axis=axes, keepdims=True, dtype=x.dtype)
    return (x - mean) / np.sqrt(variance + x.dtype.type(eps)) * gamma + beta, mean, variance


def layer_norm_shape(x: Any, gamma: Any, beta: Any, axis: int, eps: float) -> tuple[Any, ...]:
    kept = x.shape[:axis] + (1,) * (x.ndim - axis)
    return x.shape, kept, kept


ge_compute("LayerNorm", layer_norm, "tensor tensor tensor plain plain -> tensor tensor tensor",
           lambda x, gamma, beta, begin_norm_axis, begin_params_axis, epsilon: (
               x, beside(x, gamma, begin_params_axis), beta, rules.axis(begin_norm_axis, x.ndim), epsilon),
           mixed=True, shape=layer_norm_shape)


def over_channels(x: Any, layout: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes beside the channels, and the shape that a vector of channels broadcasts from."""
    channel = layout.index("C")
    return tuple(i for i in range(x.ndim) if i != channel), tuple(-1 if i == channel else 1 for i in range(x.ndim))


def batch_norm(x: Any, scale: Any, offset: Any, mean: Any, variance: Any, eps: float, layout: str,
               training: bool) -> tuple[Any, ...]:
    axes, shape = over_channels(x, layout)
    if training:
        mean, variance = np.mean(x, axis=axes, dtype=x.dtype), np.var(x, axis=axes, dtype=x.dtype)
    inverse = 1 / np.sqrt(variance + variance.dtype.type(eps))
    factor = scale * inverse
    y = x * factor.reshape(shape) + (offset - mean * factor).reshape(shape)
    count = x.size // max(mean.size, 1)
    unbiased = variance * (count / max(count - 1, 1)) if training else variance
    return y, mean, unbiased, mean, inverse if training else variance, np.zeros(1, x.dtype)


def moments(mean: Optional[Tensor], variance: Optional[Tensor], training: bool) -> tuple[Optional[Tensor], ...]:
    """Mean and variance, which only training computes itself."""
    if not training and (mean is None or variance is None):
        reject("mean and variance are needed where is_training is False")
    return mean, variance


ge_compute("BatchNorm", batch_norm,
           "tensor tensor tensor tensor tensor plain plain plain -> tensor tensor tensor tensor tensor tensor",
           lambda x, scale, offset, mean, variance, epsilon, data_format, is_training: (
               x, scale, offset, *moments(mean, variance, is_training), epsilon, data_format, is_training), mixed=True,
           shape=lambda x, scale, *_: (x.shape, *(scale.shape,) * 4, (1,)))
ge_compute("BNInfer", lambda x, scale, offset, mean, variance, eps: batch_norm(
    x, scale, offset, mean, variance, eps, "NCHW", False)[0], "tensor tensor tensor tensor tensor plain -> tensor",
    lambda x, scale, offset, mean, variance, epsilon: (x, scale, offset, mean, variance, epsilon), mixed=True,
    shape=rules.same, result=rules.first)


def group_norm(x: Any, gamma: Any, beta: Any, groups: int, eps: float) -> tuple[Any, ...]:
    split = x.reshape(x.shape[0], groups, -1)
    mean = np.mean(split, axis=2, keepdims=True, dtype=x.dtype)
    variance = np.var(split, axis=2, keepdims=True, dtype=x.dtype)
    normal = ((split - mean) / np.sqrt(variance + x.dtype.type(eps))).reshape(x.shape)
    shape = (-1, *(1,) * (x.ndim - 2))
    return normal * gamma.reshape(shape) + beta.reshape(shape), mean[..., 0], variance[..., 0]


ge_compute("GroupNorm", group_norm, "tensor tensor tensor plain plain -> tensor tensor tensor",
           lambda x, gamma, beta, num_groups, eps: (x, gamma, beta, num_groups, eps), mixed=True,
           shape=lambda x, gamma, beta, groups, eps: (x.shape, *((x.shape[0], groups),) * 2))

# Images

ge("Conv2D", "aclnnConvolution", lambda x, filter, bias, y, strides, pads, dilations, groups, data_format: Use(
    (image(x, data_format), image(filter, _layout(filter, data_format)), bias, pair(strides, data_format),
     pads_of(pads), pair(dilations, data_format), False, (0, 0), groups, 0), outputs=(image(y, data_format),)),
   mixed=True, loose=True)
ge("Conv2DTranspose", "aclnnConvolution",
   lambda input_size, x, filter, bias, y, strides, pads, dilations, groups, data_format, output_padding: Use(
       (image(x, data_format), image(filter, _layout(filter, data_format)), bias, pair(strides, data_format),
        pads_of(pads), pair(dilations, data_format), True, pair(output_padding, data_format), groups, 0),
       outputs=(image(of_size(y, ints(input_size)), data_format),)), mixed=True, loose=True,
   shape=lambda input_size: [ints(input_size)])
ge("Conv2DBackpropInputD", "aclnnConvolutionBackward",
   lambda filter, out_backprop, y, input_size, strides, pads, dilations, groups, data_format: Use(
       (image(out_backprop, data_format), nowhere(filter, image_size(input_size, data_format)),
        image(filter, _layout(filter, data_format)), None, pair(strides, data_format), pads_of(pads),
        pair(dilations, data_format), False, (0, 0), groups, (True, False, False), 0),
       outputs=(image(y, data_format), None, None)), mixed=True, loose=True)
ge("Conv2DBackpropFilterD", "aclnnConvolutionBackward",
   lambda x, out_backprop, y, filter_size, strides, pads, dilations, groups, data_format: Use(
       (image(out_backprop, data_format), image(x, data_format),
        nowhere(x, image_size(filter_size, data_format)), None, pair(strides, data_format), pads_of(pads),
        pair(dilations, data_format), False, (0, 0), groups, (False, True, False), 0),
       outputs=(None, image(y, data_format), None)), mixed=True, loose=True)
ge("DequantSwigluQuant", "aclnnDequantSwigluQuant",
   lambda x, weight_scale, activation_scale, bias, quant_scale, quant_offset, group_index, activate_left, quant_mode: (
       x, weight_scale, activation_scale, bias, quant_scale, quant_offset, group_index, activate_left, quant_mode),
   mixed=True, loose=True)
ge("AvgPoolV2", "aclnnAvgPool2d",
   lambda x, y, ksize, strides, padding_mode, pads, data_format, global_pooling, ceil_mode, exclusive, divisor_override:
   Use((image(x, data_format), *window(x, ksize, strides, padding_mode, pads, data_format, global_pooling), ceil_mode,
        not exclusive, divisor_override, 0), outputs=(image(y, data_format),)), loose=True)
ge("AvgPool", "aclnnAvgPool2d", lambda x, y, ksize, strides, padding, data_format: Use(
    (image(x, data_format), *window(x, ksize, strides, padding, (0, 0, 0, 0), data_format, False), False, False, 0, 0),
    outputs=(image(y, data_format),)), loose=True)
ge("MaxPoolV3", "aclnnMaxPool",
   lambda x, y, ksize, strides, padding_mode, pads, data_format, global_pooling, ceil_mode: max_pool(
       x, y, window(x, ksize, strides, padding_mode, pads, data_format, global_pooling), data_format, ceil_mode),
   loose=True)
ge("MaxPool", "aclnnMaxPool", lambda x, y, ksize, strides, padding, data_format: max_pool(
    x, y, window(x, ksize, strides, padding, (0, 0, 0, 0), data_format, False), data_format, False), loose=True)
for _type, _grad, _operator in (("MaxPoolWithArgmaxV3", "MaxPoolGradWithArgmaxV3", "aclnnMaxPool2dWithIndices"),
                                ("MaxPool3DWithArgmaxV2", "MaxPool3DGradWithArgmax", "aclnnMaxPool3dWithArgmax")):
    ge(_type, _operator, lambda x, ksize, strides, pads, dilation, ceil_mode, data_format: (
        channels_first(x, data_format), ksize, strides, pads, dilation, ceil_mode), mixed=True, loose=True)
    ge(_grad, f"{_operator}Backward", lambda x, grad, argmax, ksize, strides, pads, dilation, ceil_mode, data_format: (
        grad, channels_first(x, data_format), argmax, ksize, strides, pads, dilation, ceil_mode), mixed=True,
       loose=True)


def channels_first(x: Tensor, layout: str) -> Tensor:
    """The input, where it lies as the aclnn operators have it."""
    if layout not in ("NCHW", "NCDHW"):
        raise NotImplementedError(f"pooling with indices in the format {layout}")
    return x


def of_size(y: Optional[Tensor], size: tuple[int, ...]) -> Optional[Tensor]:
    """The output, which must have the size that the input says."""
    if y is not None and y.shape != size:
        reject(f"y has the shape {list(y.shape)}, but input_size is {list(size)}")
    return y


def image_size(size: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """Sizes in the order NCHW."""
    return tuple(size[layout.index(c)] for c in "NCHW")


def nowhere(base: Tensor, shape: tuple[int, ...]) -> View:
    """An image that only its shape matters of."""
    return View(base, shape, (0,) * 4, lib.ACL_FORMAT_NCHW)


def _layout(filter: Tensor, data_format: str) -> str:
    """How a filter lies: by its own format, else as the data does."""
    return {lib.ACL_FORMAT_HWCN: "HWCN", lib.ACL_FORMAT_NCHW: "NCHW", lib.ACL_FORMAT_NHWC: "NHWC"}.get(
        filter.format, data_format)


def window(x: Tensor, ksize: tuple[int, ...], strides: tuple[int, ...], mode: str, pads: tuple[int, ...], layout: str,
           everything: bool) -> tuple[Any, ...]:
    """Kernel size, strides and padding of a pooling as aclnn has them."""
    size = tuple(x.shape[layout.index(c)] for c in "HW")
    kernel, step = pair(ksize, layout), pair(strides, layout)
    if everything:
        return size, size, (0, 0)
    if mode == "VALID":
        return kernel, step, (0, 0)
    if mode == "SAME":
        total = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip(size, step, kernel)]
        if any(t % 2 for t in total):
            raise NotImplementedError("pooling with SAME padding that differs on both sides")
        return kernel, step, tuple(t // 2 for t in total)
    return kernel, step, pads_of(pads)


def max_pool(x: Tensor, y: Optional[Tensor], found: tuple[Any, ...], layout: str, ceil: bool) -> Use:
    kernel, step, pads = found
    both = pads * 2 if len(pads) == 2 else pads
    return Use((image(x, layout), kernel, step, 0, both, (1, 1), int(ceil)), outputs=(image(y, layout),))

