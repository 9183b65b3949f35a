"""Operators by graph-engine type against torch and numpy."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Callable

import numpy as np
import pytest

import pyacl
from pyacl.emulator import ops
from pyacl.emulator.ops import ge

torch: Any = pytest.importorskip("torch", reason="PyTorch is the oracle")
F = torch.nn.functional
rng = np.random.default_rng(5)


def r(*shape: int, low: float = -2, high: float = 2, dtype: Any = np.float32) -> Any:
    return rng.uniform(low, high, shape).astype(dtype)


def i(*shape: int, low: int = 0, high: int = 5, dtype: Any = np.int32) -> Any:
    return rng.integers(low, high, shape).astype(dtype)


def t(array: Any) -> Any:
    return torch.from_numpy(np.ascontiguousarray(array))


def half(*shape: int) -> Any:
    return r(*shape, dtype=np.float16)


@dataclass
class Case:
    """An operator with its inputs; `h` ones stay in host memory. `want` gives the outputs from the arrays."""

    type: str
    inputs: list[Any]
    want: Callable[..., Any]
    attrs: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 2e-6

    def __str__(self) -> str:
        return self.type


@dataclass
class h:
    """Values that the operator takes from host memory."""

    array: Any


def H(*values: int, dtype: Any = np.int64) -> h:
    return h(np.array(values, dtype))


def torched(function: Callable[..., Any]) -> Callable[..., Any]:
    def want(*arrays: Any) -> Any:
        found = function(*(t(a) for a in arrays))
        return tuple(f.numpy() for f in found) if isinstance(found, tuple) else found.numpy()

    return want


def unary(type: str, function: Callable[..., Any], low: float = -2, high: float = 2, **attrs: Any) -> Case:
    return Case(type, [r(3, 5, low=low, high=high)], torched(function), attrs)


def binary(type: str, function: Callable[..., Any], make: Callable[..., Any] = r, **options: Any) -> Case:
    return Case(type, [make(3, 1, 4, **options), make(2, 4, **options)], torched(function))


x, image, image_hwc = r(3, 4, 5), r(2, 6, 9, 8), r(2, 9, 8, 6)
square = r(4, 5), r(5, 3)
mask = rng.random((3, 4)) < 0.5
nchw, nhwc = {"data_format": "NCHW"}, {"data_format": "NHWC"}


def conv(x: Any, w: Any, **k: Any) -> Any:
    return F.conv2d(t(x), t(w), **k).numpy()


def grad_of(function: Any, at: Any, grad: Any) -> Any:
    x = t(at).requires_grad_()
    function(x).backward(t(grad))
    return x.grad.numpy()


def transposed(array: Any, *order: int) -> Any:
    return np.ascontiguousarray(np.transpose(array, order))


def pooled(pool: Any, a: Any) -> Any:
    """Arguments of a gradient of 2 x 2 pooling: the input, a gradient, the indices."""
    values, index = pool(t(a), 2, return_indices=True)
    return a, r(*values.shape), index.numpy()


def gradient(pool: Any, a: Any, g: Any) -> Any:
    x = t(a).requires_grad_()
    pool(x, 2).backward(t(g))
    return x.grad.numpy()


volume = r(2, 3, 6, 5, 7)

CASES = [
    binary("Add", torch.add), binary("AddV2", torch.add), binary("Sub", torch.sub), binary("Mul", torch.mul),
    binary("RealDiv", torch.div), binary("Maximum", torch.maximum), binary("Minimum", torch.minimum),
    binary("Equal", torch.eq, i), binary("NotEqual", torch.ne, i), binary("Greater", torch.gt),
    binary("GreaterEqual", torch.ge), binary("Less", torch.lt), binary("LessEqual", torch.le),
    binary("Atan2", torch.atan2), binary("FloorDiv", torch.floor_divide, i, low=1, high=9),
    binary("FloorMod", torch.remainder, i, low=1, high=9), binary("Mod", torch.fmod),
    binary("BitwiseAnd", torch.bitwise_and, i), binary("BitwiseOr", torch.bitwise_or, i),
    binary("BitwiseXor", torch.bitwise_xor, i), binary("Div", torch.div), binary("Pow", torch.pow, low=0.1),
    binary("Xlogy", torch.xlogy, low=0.1), binary("SquaredDifference", lambda a, b: (a - b) ** 2),
    Case("TruncateDiv", [i(4, low=-9, high=9), i(4, low=1, high=4)],
         torched(lambda a, b: torch.div(a, b, rounding_mode="trunc"))),
    Case("DivNoNan", [np.array([1, 2, 3], np.float32), np.array([2, 0, 4], np.float32)], lambda a, b: np.array([0.5, 0, 0.75], np.float32)),
    Case("LogicalAnd", [mask, ~mask], np.logical_and), Case("LogicalOr", [mask, mask], np.logical_or),
    Case("LogicalNot", [mask], np.logical_not), Case("Invert", [i(5)], np.invert),
    Case("Axpy", [x, x], lambda a, b: a + np.float32(0.5) * b, {"alpha": 0.5}),
    Case("Adds", [x], lambda a: a + np.float32(1.5), {"value": 1.5}),
    Case("Muls", [x], lambda a: a * np.float32(1.5), {"value": 1.5}),
    Case("AddN", [x, x, x], lambda *a: a[0] + a[1] + a[2], {"N": 3}),
    Case("BiasAdd", [r(2, 3, 4, 4), r(3)], lambda a, b: a + b.reshape(3, 1, 1), nchw),
    Case("Power", [r(5, low=0)], lambda a: (a * np.float32(2) + np.float32(1)) ** np.float32(3),
         {"power": 3.0, "scale": 2.0, "shift": 1.0}),
    Case("Lerp", [x, x + 1, r(3, 4, 5)], torched(torch.lerp)),
    Case("Addcmul", [x, x, x, np.array([0.5], np.float32)], lambda a, b, c, v: a + v * b * c),
    Case("Addcdiv", [x, x, np.abs(x) + 1, np.array([0.5], np.float32)], lambda a, b, c, v: a + v * b / c),
    unary("Abs", torch.abs), unary("Neg", torch.neg), unary("Sign", torch.sign), unary("Exp", torch.exp),
    unary("Expm1", torch.expm1), unary("Log", torch.log, 0.1), unary("Log1p", torch.log1p, -0.5),
    unary("Log", torch.log2, 0.1, base=2.0), unary("Exp", lambda a: torch.pow(2, a * 3 + 1), base=2.0, scale=3.0,
                                                   shift=1.0),
    unary("Sqrt", torch.sqrt, 0), unary("Rsqrt", torch.rsqrt, 0.1), unary("Square", torch.square),
    unary("Reciprocal", torch.reciprocal, 0.1), unary("Inv", torch.reciprocal, 0.1), unary("Floor", torch.floor),
    unary("Ceil", torch.ceil), unary("Rint", torch.round), unary("Round", torch.round), unary("Trunc", torch.trunc),
    unary("Sin", torch.sin), unary("Cos", torch.cos), unary("Tan", torch.tan, -1, 1), unary("Asin", torch.asin, -1, 1),
    unary("Acos", torch.acos, -1, 1), unary("Atan", torch.atan), unary("Sinh", torch.sinh), unary("Cosh", torch.cosh),
    unary("Tanh", torch.tanh), unary("Asinh", torch.asinh), unary("Acosh", torch.acosh, 1, 3),
    unary("Atanh", torch.atanh, -0.9, 0.9), unary("Erf", torch.erf), unary("Erfc", torch.erfc),
    unary("Sigmoid", torch.sigmoid), unary("Relu", torch.relu), unary("Relu6", F.relu6, -3, 9),
    unary("LeakyRelu", lambda a: F.leaky_relu(a, 0.1), negative_slope=0.1), unary("Elu", F.elu),
    unary("Selu", F.selu), unary("Gelu", lambda a: F.gelu(a, approximate="tanh")), unary("Swish", F.silu),
    unary("GeluV2", lambda a: F.gelu(a, approximate="tanh"), approximate="tanh"),
    unary("FastGelu", lambda a: a * torch.exp(0.851 * (a - a.abs())) / (1 + torch.exp(-1.702 * a.abs()))),
    unary("HardSwish", F.hardswish, -5, 5), unary("HardSigmoid", F.hardsigmoid, -5, 5), unary("Softplus", F.softplus),
    unary("SoftplusV2", lambda a: F.softplus(a, 2, 1), beta=2.0, threshold=1.0), unary("Softsign", F.softsign),
    unary("Mish", F.mish), Case("PRelu", [r(2, 3, 4), r(3)], torched(F.prelu)),
    Case("IsNan", [np.array([1, np.nan], np.float32)], np.isnan), Case("IsInf", [np.array([1, -np.inf], np.float32)], np.isinf),
    Case("IsFinite", [np.array([1, np.inf], np.float32)], np.isfinite),
    Case("NanToNum", [np.array([1, np.nan, np.inf], np.float32)], lambda a: np.array([1, 7, 8], np.float32),
         {"nan": 7.0, "posinf": 8.0, "neginf": 9.0}),
    Case("Cast", [x * 3], lambda a: np.trunc(a).astype(np.int32), {"dst_type": pyacl.lib.ACL_INT32}),
    Case("Identity", [x], lambda a: a), Case("TensorMove", [i(7)], lambda a: a),
    Case("ZerosLike", [x], np.zeros_like), Case("OnesLike", [x], np.ones_like),
    Case("Fills", [x], lambda a: np.full_like(a, 2.5), {"value": 2.5}),
    Case("Fill", [H(2, 3), np.float32(1.5)], lambda d, v: np.full(d, v)),
    Case("ClipByValue", [x, np.float32(-1), np.float32(1)], np.clip),
    Case("ClipByValueV2", [x, np.float32(-1), np.float32(1)], np.clip),
    Case("Select", [mask, r(3, 4), r(3, 4)], np.where), Case("SelectV2", [mask, r(3, 4), r(4)], np.where),
    Case("MaskedFill", [r(3, 4), mask, np.float32(9)], lambda a, m, v: np.where(m, v, a)),
    Case("MaskedScatter", [r(3, 4), mask, r(12)], torched(torch.masked_scatter)),

    Case("MatMul", [*square], np.matmul), Case("MatMulV2", [*square, r(3)], lambda a, b, c: a @ b + c),
    Case("MatMulV2", [r(5, 4), r(3, 5), None, None], lambda a, b: a.T @ b.T,
         {"transpose_x1": True, "transpose_x2": True}),
    Case("MatMulV3", [*square], np.matmul), Case("BatchMatMul", [r(2, 4, 5), r(2, 5, 3)], np.matmul),
    Case("BatchMatMulV2", [r(2, 5, 4), r(2, 3, 5)], lambda a, b: np.matmul(a.swapaxes(1, 2), b.swapaxes(1, 2)),
         {"adj_x1": True, "adj_x2": True}),
    Case("BatchMatMulV3", [r(2, 1, 4, 5), r(3, 5, 3)], np.matmul), Case("Dot", [r(6), r(6)], np.dot),
    Case("GEMM", [*square, r(4, 3), np.float32(2), np.float32(0.5)], lambda a, b, c, p, q: p * (a @ b) + q * c),

    Case("ReduceSum", [x, H(0, 2)], lambda a, d: a.sum((0, 2)), {"noop_with_empty_axes": False}),
    Case("ReduceSum", [x, H()], lambda a, d: a), Case("ReduceSumD", [x], lambda a: a.sum(1, keepdims=True),
                                                       {"axes": [1], "keep_dims": True}),
    Case("ReduceMean", [x, H(-1)], lambda a, d: a.mean(-1)),
    Case("ReduceMeanD", [x], lambda a: a.mean(0), {"axes": [0]}),
    Case("ReduceMax", [x, H(1)], lambda a, d: a.max(1)), Case("ReduceMaxD", [x], lambda a: a.max(1), {"axes": [1]}),
    Case("ReduceMin", [x, H(1)], lambda a, d: a.min(1)), Case("ReduceMinD", [x], lambda a: a.min(1), {"axes": [1]}),
    Case("ReduceProd", [x, H(1)], lambda a, d: a.prod(1)), Case("ReduceProdD", [x], lambda a: a.prod(1), {"axes": [1]}),
    Case("ReduceAll", [mask, H(1)], lambda a, d: a.all(1)), Case("ReduceAny", [mask, H(0)], lambda a, d: a.any(0)),
    Case("ReduceAllD", [mask], lambda a: a.all(1), {"axes": [1]}),
    Case("ReduceAnyD", [mask], lambda a: a.any(0), {"axes": [0]}),
    Case("ReduceLogSumExp", [x, H(1)], lambda a, d: torch.logsumexp(t(a), 1).numpy()),
    Case("ReduceStdV2", [x], lambda a: (a.std(1, ddof=1), a.mean(1)), {"dim": [1]}),
    Case("ReduceVar", [x], lambda a: (a.var(1, ddof=1), a.mean(1)), {"dim": [1]}),
    Case("ArgMaxV2", [x, H(1)], lambda a, d: a.argmax(1)),
    Case("ArgMaxD", [x], lambda a: a.argmax(1).astype(np.int32), {"dimension": 1}),
    Case("ArgMin", [x, H(1)], lambda a, d: a.argmin(1)),
    Case("Cumsum", [x, H(1)], lambda a, d: a.cumsum(1)),
    Case("Cumsum", [np.array([1, 2, 3], np.float32), H(0)], lambda a, d: np.array([5, 3, 0], np.float32), {"exclusive": True,
                                                                                     "reverse": True}),
    Case("Cumprod", [x, H(1)], lambda a, d: a.cumprod(1)),
    Case("Cumprod", [np.array([2, 3, 4], np.float32), H(0)], lambda a, d: np.array([12, 4, 1], np.float32), {"exclusive": True,
                                                                                      "reverse": True}),
    Case("LpNormV2", [x], lambda a: np.linalg.norm(a, axis=1), {"axes": [1]}),
    Case("L2Normalize", [x], torched(lambda a: F.normalize(a, dim=1)), {"axis": [1]}),

    Case("SoftmaxV2", [x], torched(lambda a: torch.softmax(a, 1)), {"axes": [1]}),
    Case("LogSoftmaxV2", [x], torched(lambda a: torch.log_softmax(a, -1))),
    Case("SoftmaxGrad", [torch.softmax(t(x), -1).numpy(), x], lambda s, g: s * (g - (s * g).sum(-1, keepdims=True))),
    Case("LayerNorm", [x, r(5), r(5)], lambda a, g, b: (
        F.layer_norm(t(a), (5,), t(g), t(b), 1e-5).numpy(), a.mean(-1, keepdims=True), a.var(-1, keepdims=True)),
        {"begin_norm_axis": 2, "begin_params_axis": 2, "epsilon": 1e-5}),
    Case("LayerNormV3", [x, r(5), r(5)], lambda a, g, b: (
        F.layer_norm(t(a), (5,), t(g), t(b), 1e-5).numpy(), a.mean(-1, keepdims=True),
        1 / np.sqrt(a.var(-1, keepdims=True) + 1e-5)), {"begin_norm_axis": 2, "begin_params_axis": 2}, 1e-5),
    Case("LayerNormV4", [x, H(4, 5), r(4, 5), r(4, 5)], lambda a, s, g, b: (
        F.layer_norm(t(a), (4, 5), t(g), t(b), 1e-5).numpy(), a.mean((1, 2), keepdims=True),
        1 / np.sqrt(a.var((1, 2), keepdims=True) + 1e-5)), {}, 1e-5),
    Case("RmsNorm", [x, r(5)], lambda a, g: (
        a / np.sqrt((a * a).mean(-1, keepdims=True) + 1e-6) * g, 1 / np.sqrt((a * a).mean(-1, keepdims=True) + 1e-6))),
    Case("BatchNorm", [image, r(6), r(6), r(6), r(6, low=1)], lambda a, s, o, m, v: (
        F.batch_norm(t(a), t(m), t(v), t(s), t(o), False, eps=1e-4).numpy(), m, v, m, v, np.zeros(1, np.float32)),
        {"is_training": False, **nchw}, 1e-5),
    Case("BatchNorm", [image_hwc, r(6), r(6), None, None], lambda a, s, o: (
        transposed(F.batch_norm(t(transposed(a, 0, 3, 1, 2)), None, None, t(s), t(o), True, eps=1e-4).numpy(), 0, 2, 3, 1),
        a.mean((0, 1, 2)), a.var((0, 1, 2), ddof=1), a.mean((0, 1, 2)), 1 / np.sqrt(a.var((0, 1, 2)) + 1e-4),
        np.zeros(1, np.float32)), {}, 1e-5),
    Case("InstanceNorm", [image, r(6), r(6)], lambda a, g, b: (
        F.instance_norm(t(a), weight=t(g), bias=t(b), eps=1e-6).numpy(), a.mean((2, 3), keepdims=True),
        a.var((2, 3), keepdims=True)), {"data_format": "NCHW"}, 1e-5),
    Case("BiasAdd", [r(2, 4, 4, 3), r(3)], np.add), Case("BiasAdd", [r(2, 3), r(3)], np.add, nchw),
    Case("AvgPoolV2", [image], torched(lambda a: a.mean((2, 3), keepdim=True)),
         {"ksize": [1, 1, 1, 1], "strides": [1, 1, 1, 1], "global_pooling": True}),
    Case("MaxPoolV3", [r(2, 3, 8, 8)], torched(lambda a: F.max_pool2d(a, 3, 1, 1)),
         {"ksize": [1, 1, 3, 3], "strides": [1, 1, 1, 1], "padding_mode": "SAME"}),
    Case("AvgPoolV2", [r(2, 3, 8, 8)], torched(lambda a: F.avg_pool2d(a, 2, 2)),
         {"ksize": [1, 1, 2, 2], "strides": [1, 1, 2, 2], "padding_mode": "VALID"}),
    Case("BNInfer", [image, r(6), r(6), r(6), r(6, low=1)], lambda a, s, o, m, v: F.batch_norm(
        t(a), t(m), t(v), t(s), t(o), False, eps=1e-5).numpy(), {"epsilon": 1e-5}, 1e-5),
    Case("GroupNorm", [image, r(6), r(6)], lambda a, g, b: (
        F.group_norm(t(a), 3, t(g), t(b), 1e-4).numpy(), a.reshape(2, 3, -1).mean(2), a.reshape(2, 3, -1).var(2)),
        {"num_groups": 3}, 1e-5),
    Case("SwiGlu", [r(3, 8)], lambda a: F.silu(t(a[:, :4])).numpy() * a[:, 4:]),

    Case("Concat", [H(1), r(2, 3), r(2, 2)], lambda d, a, b: np.concatenate((a, b), 1), {"N": 2}),
    Case("ConcatD", [r(2, 3), r(2, 2)], lambda a, b: np.concatenate((a, b), 1), {"concat_dim": 1, "N": 2}),
    Case("ConcatV2", [r(2, 3), r(2, 2), H(1)], lambda a, b, d: np.concatenate((a, b), 1), {"N": 2}),
    Case("ConcatV2D", [r(2, 3), r(2, 2)], lambda a, b: np.concatenate((a, b), 1), {"concat_dim": 1}),
    Case("Pack", [r(2, 3), r(2, 3)], lambda a, b: np.stack((a, b), 1), {"axis": 1, "N": 2}),
    Case("Unpack", [r(2, 3)], lambda a: tuple(a), {"num": 2}),
    Case("SplitD", [r(2, 6)], lambda a: tuple(np.split(a, 3, 1)), {"split_dim": 1, "num_split": 3}),
    Case("Split", [H(1, dtype=np.int32), r(2, 6)], lambda d, a: tuple(np.split(a, 3, 1)), {"num_split": 3}),
    Case("SplitV", [r(2, 6), H(1, 2, 3), H(1)], lambda a, s, d: tuple(np.split(a, [1, 3], 1)), {"num_split": 3}),
    Case("Transpose", [x, H(2, 0, 1)], lambda a, p: a.transpose(2, 0, 1)),
    Case("TransposeD", [x], lambda a: a.transpose(2, 0, 1), {"perm": [2, 0, 1]}),
    Case("Reshape", [x, H(0, -1)], lambda a, s: a.reshape(3, 20)),
    Case("Squeeze", [r(3, 1, 2)], lambda a: a.reshape(3, 2), {"axis": [1]}),
    Case("Unsqueeze", [r(3, 2)], lambda a: a.reshape(1, 3, 2), {"axes": [0]}),
    Case("ExpandDims", [r(3, 2), H(-1)], lambda a, d: a.reshape(3, 2, 1)),
    Case("Flatten", [x], lambda a: a.reshape(3, 20)),
    Case("BroadcastTo", [r(3, 1), H(2, 3, 4)], lambda a, s: np.broadcast_to(a, (2, 3, 4))),
    Case("Expand", [r(3, 1), H(2, 3, 4)], lambda a, s: np.broadcast_to(a, (2, 3, 4))),
    Case("ExpandD", [r(3, 1)], lambda a: np.broadcast_to(a, (2, 3, 4)), {"shape": [2, 3, 4]}),
    Case("Tile", [r(3, 2), H(2, 2)], lambda a, m: np.tile(a, (2, 2))),
    Case("TileD", [r(3, 2)], lambda a: np.tile(a, (2, 2)), {"multiples": [2, 2]}),
    Case("Slice", [x, H(1, 0, 2), H(2, -1, 3)], lambda a, o, s: a[1:3, :, 2:5]),
    Case("SliceD", [x], lambda a: a[1:3, :, 2:5], {"offsets": [1, 0, 2], "size": [2, 4, 3]}),
    Case("StridedSlice", [x, H(2, 0, 0), H(0, 4, 5), H(-1, 2, 1)], lambda a, b, e, s: a[2:0:-1, 0:4:2]),
    Case("StridedSliceD", [x], lambda a: a[1, :2], {"begin": [1, 0], "end": [2, 2], "strides": [1, 1],
                                                    "shrink_axis_mask": 1}),
    Case("StridedSliceV2", [x, H(1), H(4), H(2), H(2)], lambda a, *_: a[:, :, 1:4:2]),
    Case("Pad", [r(2, 3), H(1, 0, 2, 1)], lambda a, p: np.pad(a, ((1, 0), (2, 1)))),
    Case("PadV3", [r(2, 3), H(1, 0, 2, 1), h(np.array([7], np.float32))], lambda a, p, c: np.pad(a, ((1, 0), (2, 1)),
                                                                                     constant_values=7)),
    Case("MirrorPad", [r(3, 3), h(np.array([[1, 1], [0, 2]], np.int64))], lambda a, p: np.pad(a, p, "reflect"),
         {"mode": "REFLECT"}),
    Case("ReverseV2", [x, H(0, 2)], lambda a, d: np.flip(a, (0, 2))),
    Case("Roll", [x], lambda a: np.roll(a, (1, 2), (0, 1)), {"shifts": [1, 2], "dims": [0, 1]}),
    Case("Triu", [r(4, 4)], lambda a: np.triu(a, 1), {"diagonal": 1}), Case("Tril", [r(4, 4)], np.tril),
    Case("Diag", [r(4)], np.diag), Case("Eye", [], lambda: np.eye(3, 4, dtype=np.float32), {"num_rows": 3,
                                                                                          "num_columns": 4}),
    Case("Range", [H(2, dtype=np.int32), H(9, dtype=np.int32), H(3, dtype=np.int32)], lambda *_: np.array([2, 5, 8], np.int32)),
    Case("LinSpace", [h(np.float32(0)), h(np.float32(2)), H(5, dtype=np.int32)],
         lambda *_: np.linspace(0, 2, 5, dtype=np.float32)),
    Case("OneHot", [i(4, high=3), H(3, dtype=np.int32), np.array([5], np.float32), np.array([-1], np.float32)],
         lambda a, d, on, off: np.where(np.arange(3) == a[:, None], on, off)),
    Case("OneHotD", [i(4, high=3), np.array([5], np.float32), np.array([-1], np.float32)],
         lambda a, on, off: np.where(np.arange(3) == a[:, None], on, off), {"depth": 3}),
    Case("Shape", [x], lambda a: np.int32(a.shape)), Case("Size", [x], lambda a: np.int32(60)),
    Case("Rank", [x], lambda a: np.int32(3)),

    Case("GatherV2", [x, i(2, 3, high=4), H(1)], lambda a, n, d: np.take(a, n, 1)),
    Case("Gather", [x, i(2, 3, high=3)], lambda a, n: np.take(a, n, 0)),
    Case("Embedding", [r(6, 4), i(2, 3, dtype=np.int64)], lambda a, n: a[n]),
    Case("GatherElements", [x, i(3, 2, 5, high=4, dtype=np.int64)], lambda a, n: np.take_along_axis(a, n, 1),
         {"dim": 1}),
    Case("GatherNd", [x, i(2, 2, high=3)], lambda a, n: a[n[:, 0], n[:, 1]]),
    Case("ScatterElements", [np.zeros((3, 4), np.float32), i(2, 4, high=3, dtype=np.int64), r(2, 4)],
         torched(lambda a, n, u: a.scatter(0, n, u))),
    Case("ScatterNdUpdate", [r(5, 2), np.array([[0], [3]], np.int32), r(2, 2)],
         lambda a, n, u: np.stack([u[0], a[1], a[2], u[1], a[4]])),
    Case("ScatterNdAdd", [np.zeros(3, np.float32), np.array([[0], [2], [0]], np.int32), np.array([1, 2, 3], np.float32)],
         lambda a, n, u: np.array([4, 0, 2], np.float32)),
    Case("TensorScatterUpdate", [np.zeros(3, np.float32), np.array([[1]], np.int32), np.array([2], np.float32)],
         lambda a, n, u: np.array([0, 2, 0], np.float32)),
    Case("ScatterUpdate", [np.zeros((3, 2), np.float32), np.array([1], np.int32), np.array([[2, 3]], np.float32)],
         lambda a, n, u: np.array([[0, 0], [2, 3], [0, 0]], np.float32)),
    Case("ScatterAdd", [np.ones(3, np.float32), np.array([1, 1], np.int32), np.array([2, 3], np.float32)],
         lambda a, n, u: np.array([1, 6, 1], np.float32)),
    Case("ScatterNd", [np.array([[1], [1]], np.int32), np.array([2, 3], np.float32), H(3, dtype=np.int32)],
         lambda n, u, s: np.array([0, 5, 0], np.float32)),
    Case("Index", [x, H(1, 0, 1), H(1, 1, 1), i(4, high=3, dtype=np.int64), i(4, high=5, dtype=np.int64)],
         lambda a, m, s, p, q: t(a)[t(p), :, t(q)].numpy()),
    Case("IndexPutV2", [np.zeros((3, 4), np.float32), r(2), H(1, 1), H(1, 1), np.array([0, 2], np.int64), np.array([1, 3], np.int64)],
         lambda a, v, m, s, p, q: t(a).index_put((t(p), t(q)), t(v)).numpy()),
    Case("SearchSorted", [np.array([1, 3, 5], np.float32), np.array([0, 3, 6], np.float32)], lambda a, v: np.array([0, 1, 3], np.int64)),
    Case("Histogram", [np.array([0.5, 1.5, 1.6, 3], np.float32)], lambda a: np.array([1, 2, 0, 1], np.float32),
         {"bins": 4, "min": 0.0, "max": 4.0}),
    Case("TopKV2", [x, H(2, dtype=np.int32)], lambda a, k: (
        -np.sort(-a, -1)[..., :2], np.argsort(-a, -1)[..., :2].astype(np.int32))),
    Case("TopK", [x, H(2, dtype=np.int32)], lambda a, k: (
        -np.sort(-a, -1)[..., :2], np.argsort(-a, -1)[..., :2].astype(np.int32))),
    Case("Sort", [x], lambda a: (np.sort(a, 1), np.argsort(a, 1).astype(np.int32)), {"axis": 1}),

    Case("SigmoidGrad", [r(4, low=0, high=1), r(4)], lambda y, g: g * y * (1 - y)),
    Case("TanhGrad", [r(4, low=-1, high=1), r(4)], lambda y, g: g * (1 - y * y)),
    Case("GeluGrad", [r(9), r(9), r(9)], lambda g, a, y: grad_of(lambda v: F.gelu(v, approximate="tanh"), a, g), {},
         1e-5),
    Case("SwishGrad", [r(9), r(9), r(9)], lambda g, a, y: grad_of(F.silu, a, g), {}, 1e-5),
    Case("ReluGrad", [r(4), r(4)], lambda g, f: g * (f > 0)),
    Case("SqrtGrad", [r(4, low=1), r(4)], lambda y, g: g / 2 / y),
    Case("RsqrtGrad", [r(4, low=1), r(4)], lambda y, g: g * y ** 3 / -2),
    Case("MseLoss", [r(4), r(4)], lambda a, b: np.mean((a - b) ** 2)),
    Case("SmoothL1Loss", [r(4), r(4)], torched(lambda a, b: F.smooth_l1_loss(a, b, reduction="none"))),
    Case("L2Loss", [r(4)], lambda a: np.sum(a * a) / 2),

    Case("Conv2D", [image, r(4, 6, 3, 3), r(4)], lambda a, w, b: conv(a, w, bias=t(b), stride=2, padding=1),
         {"strides": [1, 1, 2, 2], "pads": [1, 1, 1, 1], **nchw}, 1e-5),
    Case("Conv2D", [image_hwc, transposed(r(4, 3, 3, 3), 0, 2, 3, 1)], lambda a, w: transposed(
        conv(transposed(a, 0, 3, 1, 2), transposed(w, 0, 3, 1, 2), groups=2), 0, 2, 3, 1),
        {"strides": [1, 1, 1, 1], "pads": [0, 0, 0, 0], "groups": 2, **nhwc}, 1e-5),
    Case("Conv2DTranspose", [H(2, 3, 17, 15, dtype=np.int32), half(2, 6, 9, 8), half(6, 3, 3, 3)],
         lambda s, a, w: F.conv_transpose2d(t(a).float(), t(w).float(), stride=2, padding=1).numpy().astype(np.float16),
         {"strides": [1, 1, 2, 2], "pads": [1, 1, 1, 1], **nchw}, 4e-3),
    Case("Conv2DBackpropInputD", [half(4, 6, 3, 3), half(2, 4, 5, 4)], lambda w, g: torch.nn.grad.conv2d_input(
        (2, 6, 9, 8), t(w).float(), t(g).float(), 2, 1).numpy().astype(np.float16),
        {"input_size": [2, 6, 9, 8], "strides": [1, 1, 2, 2], "pads": [1, 1, 1, 1], **nchw}, 2e-3),
    Case("Conv2DBackpropFilterD", [half(2, 6, 9, 8), half(2, 4, 5, 4)], lambda a, g: torch.nn.grad.conv2d_weight(
        t(a).float(), (4, 6, 3, 3), t(g).float(), 2, 1).numpy(),
        {"filter_size": [4, 6, 3, 3], "strides": [1, 1, 2, 2], "pads": [1, 1, 1, 1], **nchw}, 2e-3),
    Case("AvgPoolV2", [image], torched(lambda a: F.avg_pool2d(a, 3, 2, 1, count_include_pad=False)),
         {"ksize": [1, 1, 3, 3], "strides": [1, 1, 2, 2], "pads": [1, 1, 1, 1]}),
    Case("AvgPool", [image_hwc], lambda a: transposed(
        F.avg_pool2d(t(transposed(a, 0, 3, 1, 2)), 2).numpy(), 0, 2, 3, 1),
         {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": "VALID"}),
    Case("MaxPoolV3", [image], torched(lambda a: F.max_pool2d(a, 3, 2, 1)),
         {"ksize": [1, 1, 3, 3], "strides": [1, 1, 2, 2], "pads": [1, 1, 1, 1]}),
    Case("MaxPoolWithArgmaxV3", [image], lambda a: tuple(
        v.numpy() for v in F.max_pool2d(t(a), 3, 2, 1, return_indices=True)), {
            "ksize": [3, 3], "strides": [2, 2], "pads": [1, 1]}),
    Case("MaxPool3DWithArgmaxV2", [volume], lambda a: tuple(
        v.numpy() for v in F.max_pool3d(t(a), 2, 2, 0, 2, return_indices=True)), {
            "ksize": [2, 2, 2], "strides": [2, 2, 2], "pads": [0, 0, 0], "dilation": [2, 2, 2]}),
    Case("MaxPoolGradWithArgmaxV3", list(pooled(F.max_pool2d, image)), lambda a, g, i: gradient(F.max_pool2d, a, g), {
        "ksize": [2, 2], "strides": [2, 2], "pads": [0, 0]}),
    Case("MaxPool3DGradWithArgmax", list(pooled(F.max_pool3d, volume)), lambda a, g, i: gradient(F.max_pool3d, a, g), {
        "ksize": [2, 2, 2], "strides": [2, 2, 2], "pads": [0, 0, 0]}),
    Case("MaxPool", [image_hwc], lambda a: transposed(
        F.max_pool2d(t(transposed(a, 0, 3, 1, 2)), 2).numpy(), 0, 2, 3, 1),
         {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": "VALID"}),
    Case("ResizeNearestNeighborV2", [image, H(17, 5, dtype=np.int32)],
         lambda a, s: F.interpolate(t(a), (17, 5), mode="nearest").numpy()),
    Case("ResizeNearestNeighborV2", [image, H(17, 5, dtype=np.int32)],
         lambda a, s: F.interpolate(t(a), (17, 5), mode="nearest-exact").numpy(), {"half_pixel_centers": True}),
    Case("ResizeNearestNeighborV2", [image, H(17, 5, dtype=np.int32)],  # each second one lies between two: the later
         lambda a, s: a[:, :, (np.arange(17) + 1) // 2][..., [0, 2, 4, 5, 7]],
         {"align_corners": True}),
    Case("ResizeBilinearV2", [image, H(18, 4, dtype=np.int32)],
         lambda a, s: F.interpolate(t(a), (18, 4), mode="bilinear").numpy(), {"half_pixel_centers": True}, 1e-5),
    Case("ResizeBilinearV2", [image, H(17, 5, dtype=np.int32)],
         lambda a, s: F.interpolate(t(a), (17, 5), mode="bilinear", align_corners=True).numpy(),
         {"align_corners": True}, 1e-5),
    Case("ResizeBilinearV2", [np.array([[[[0, 4, 8]]]], np.float16), H(1, 6, dtype=np.int32)],  # from the left of each sample
         lambda a, s: np.array([[[[0, 2, 4, 6, 8, 8]]]], np.float32)),
    Case("TransData", [image.astype(np.float16)], lambda a: np.pad(a, ((0, 0), (0, 10), (0, 0), (0, 0))).reshape(
        2, 1, 16, 9, 8).transpose(0, 1, 3, 4, 2), {"src_format": "NCHW", "dst_format": "NC1HWC0"}),
    Case("TransData", [r(20, 33, dtype=np.float16)], lambda a: np.pad(a, ((0, 12), (0, 15))).reshape(
        2, 16, 3, 16).transpose(2, 0, 1, 3), {"src_format": "ND", "dst_format": "FRACTAL_NZ"}),
    Case("TransData", [half(2, 6, 9, 8)], lambda a: transposed(a, 0, 2, 3, 1),
         {"src_format": "NCHW", "dst_format": "NHWC"}),
    Case("TransData", [half(2, 2, 9, 8, 16)], lambda a: a.transpose(0, 1, 4, 2, 3).reshape(2, 32, 9, 8)[:, :20],
         {"src_format": "NC1HWC0", "dst_format": "NCHW"}),
    Case("TransData", [half(3, 2, 16, 16)], lambda a: a.transpose(1, 2, 0, 3).reshape(32, 48)[:20, :33],
         {"src_format": "FRACTAL_NZ", "dst_format": "ND"}),
    Case("TransData", [half(20, 6, 3, 2)], lambda a: np.pad(a, ((0, 12), (0, 10), (0, 0), (0, 0))).reshape(
        2, 16, 1, 16, 3, 2).transpose(2, 4, 5, 0, 1, 3).reshape(6, 2, 16, 16),
         {"src_format": "NCHW", "dst_format": "FRACTAL_Z"}),
    Case("TransData", [half(6, 2, 16, 16)], lambda a: a.reshape(1, 3, 2, 2, 16, 16).transpose(3, 4, 0, 5, 1, 2).reshape(
        32, 16, 3, 2)[:20, :6], {"src_format": "FRACTAL_Z", "dst_format": "NCHW"}),
]

# Types whose results are not compared element by element above.
APART = {"NonZero", "Where", "MaskedSelect", "Unique", "StatelessRandomUniformV2", "StatelessRandomNormalV2",
         "Multinomial", "DequantSwigluQuant"}


def run(case: Case) -> tuple[Any, list[Any]]:
    arrays = [a.array if isinstance(a, h) else a for a in case.inputs]
    want = case.want(*[a for a in arrays if a is not None])
    want = [np.asarray(w) for w in (want if isinstance(want, tuple) else (want,))]
    inputs = [a.array if isinstance(a, h) else None if a is None else pyacl.Tensor.from_numpy(a) for a in case.inputs]
    outputs = [pyacl.Tensor.empty(w.shape, w.dtype) for w in want]
    pyacl.op(case.type, inputs, outputs, case.attrs)
    pyacl.Stream.default().synchronize()
    return want, [o.numpy() for o in outputs]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_oracle(device: Any, case: Case) -> None:
    want, got = run(case)
    for w, g in zip(want, got):
        np.testing.assert_allclose(g.astype(np.float64), w.astype(np.float64), case.tolerance, case.tolerance)


def unheeded() -> list[tuple[Case, str, Any]]:
    """Each attribute that the emulation does not look at, with a value that is not the default."""
    found = []
    for case in {case.type: case for case in CASES}.values():
        operator = ge.find(case.type)
        assert operator is not None
        for a in operator._unheeded:
            other = {"bool": not a.default, "int": 77, "data_type": 77, "string": "other", "float": 0.75,
                     "list_int": [2, 3], "list_float": [0.5, 0.5]}[a.kind]
            if a.name not in ge._HARMLESS:
                found.append((case, a.name, other))
    return found


@pytest.mark.parametrize(("case", "attribute", "value"), unheeded(), ids=str)
def test_no_attribute_is_ignored(device: Any, case: Case, attribute: str, value: Any) -> None:
    with pytest.raises(pyacl.AclError) as caught:
        run(replace(case, attrs={**case.attrs, attribute: value}))
    assert caught.value.code in (pyacl.lib.ACL_ERROR_API_NOT_SUPPORT, pyacl.lib.ACL_ERROR_OP_ATTR_NOT_MATCH)


def test_no_optional_input_is_ignored(device: Any) -> None:
    out = pyacl.Tensor.zeros((4, 3))
    offset = pyacl.Tensor.zeros((3,), np.int8)
    inputs = [*(pyacl.Tensor.from_numpy(a) for a in square), None, offset]
    with pytest.raises(pyacl.errors.NotEmulatedError, match="with the input offset_w"):
        pyacl.op("MatMulV2", inputs, [out])


@pytest.mark.parametrize(("type", "inputs", "shape", "attrs"), [
    ("Reshape", [r(6), H(2, 3)], (3, 2), {}), ("Reshape", [r(2, 6), H(2, 3)], (2, 2, 3), {}),
    ("Squeeze", [r(1, 6, 1)], (6,), {"axis": [0]}), ("Squeeze", [r(1, 6)], (1,), {"axis": [1]}),
    ("Unsqueeze", [r(6)], (6, 1), {"axes": [0]}), ("ExpandDims", [r(6), H(0)], (6, 1), {}),
    ("Flatten", [r(2, 3, 2)], (3, 4), {}), ("Identity", [r(2, 3)], (3, 2), {}),
    ("ReduceSum", [r(2, 3), H()], (3, 2), {}),
    ("LayerNormV3", [r(3, 4), r(4), r(4)], (3, 4), {"begin_norm_axis": 1, "begin_params_axis": -2})])
def test_outputs_have_the_shape_that_follows(device: Any, type: str, inputs: Any, shape: Any, attrs: Any) -> None:
    """Where the output is the input's elements, too."""
    given = [a.array if isinstance(a, h) else pyacl.Tensor.from_numpy(a) for a in inputs]
    outputs = [pyacl.Tensor.zeros(shape) for _ in range(3 if type == "LayerNormV3" else 1)]
    with pytest.raises(pyacl.AclError) as caught:
        pyacl.op(type, given, outputs, attrs)
    assert caught.value.code == pyacl.lib.ACL_ERROR_GE_FAILURE


def test_the_format_says_how_an_image_lies(device: Any) -> None:
    """Where it is NCHW or NHWC; data_format, whose default is NHWC, is for tensors that do not say it."""
    w = r(4, 6, 3, 3)
    want = conv(image, w, stride=2, padding=1)
    for order, strides in (("NCHW", [1, 1, 2, 2]), ("NHWC", [1, 2, 2, 1])):
        axes = ["NCHW".index(c) for c in order]
        x, filter = (pyacl.Tensor.from_numpy(transposed(a, *axes), format=order) for a in (image, w))
        out = pyacl.Tensor.empty(tuple(want.shape[i] for i in axes), format=order)
        pyacl.op("Conv2D", [x, filter], [out], {"strides": strides, "pads": [1] * 4})
        y = pyacl.Tensor.empty(tuple((2, 6, 17, 5)[i] for i in axes), format=order)
        pyacl.op("ResizeNearestNeighborV2", [x, np.array([17, 5], np.int32)], [y])
        pyacl.Stream.default().synchronize()
        np.testing.assert_allclose(out.numpy(), transposed(want, *axes), 1e-5, 1e-5)
        resized = F.interpolate(t(image), (17, 5), mode="nearest").numpy()
        np.testing.assert_array_equal(y.numpy(), transposed(resized, *axes))


def test_a_part_of_the_dimensions_is_reshaped(device: Any) -> None:
    out = pyacl.Tensor.zeros((2, 3, 2, 5))
    x = r(2, 6, 5)
    pyacl.op("Reshape", [pyacl.Tensor.from_numpy(x), np.array([3, -1], np.int64)], [out], {"axis": 1, "num_axes": 1})
    pyacl.Stream.default().synchronize()
    np.testing.assert_array_equal(out.numpy(), x.reshape(2, 3, 2, 5))
    desc, = pyacl.single_op.infer_shape("Reshape", [x, np.array([-1, 0], np.int64)], 1, {"axis": 1})
    assert desc.shape == (2, 6, 5)


def test_every_type_is_tested() -> None:
    assert set(ge.types()) == {case.type for case in CASES} | APART


def test_shapes_that_follow_from_the_data(device: Any) -> None:
    data = np.array([[0, 3, 0], [5, 0, 3]], np.float32)
    for type, inputs, shape, dtype, want in (
            ("NonZero", [data], (6, 2), np.int64, np.argwhere(data)),
            ("Where", [data], (6, 2), np.int64, np.argwhere(data)),
            ("MaskedSelect", [data, data > 0], (6,), np.float32, data[data > 0])):
        out = pyacl.Tensor.zeros(shape, dtype)
        found, = pyacl.op(type, [pyacl.Tensor.from_numpy(a) for a in inputs], [out])
        np.testing.assert_array_equal(found.numpy(), want)
    values, positions = pyacl.Tensor.zeros((6,)), pyacl.Tensor.zeros((6,), np.int32)
    found, places = pyacl.op("Unique", [pyacl.Tensor.from_numpy(data.reshape(-1))], [values, positions])
    np.testing.assert_array_equal(found.numpy(), [0, 3, 5])
    np.testing.assert_array_equal(places.numpy(), [0, 1, 0, 2, 0, 1])


def test_random_numbers_follow_from_key_and_counter(device: Any) -> None:
    def draw(type: str, key: int, counter: int) -> Any:
        out = pyacl.Tensor.empty((20000,))
        pyacl.op(type, [np.array([20000], np.int64), np.array([key], np.uint64), np.array([counter, 0], np.uint64), np.int32(1)], [out])
        pyacl.Stream.default().synchronize()
        return out.numpy()

    uniform, normal = draw("StatelessRandomUniformV2", 7, 0), draw("StatelessRandomNormalV2", 7, 0)
    assert 0 <= uniform.min() < 0.01
    assert 0.99 < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    np.testing.assert_array_equal(uniform, draw("StatelessRandomUniformV2", 7, 0))
    assert (uniform != draw("StatelessRandomUniformV2", 8, 0)).any()
    assert (uniform != draw("StatelessRandomUniformV2", 7, 9)).any()


def test_multinomial_draws_as_often_as_the_weights_say(device: Any) -> None:
    out = pyacl.Tensor.zeros((1, 20000), np.int64)
    logits = pyacl.Tensor.from_numpy(np.log(np.array([[1, 3, 4]], np.float32)))
    pyacl.op("Multinomial", [logits, np.int32(20000)], [out], {"seed": 5})
    pyacl.Stream.default().synchronize()
    share = np.bincount(out.numpy()[0], minlength=3) / 20000
    np.testing.assert_allclose(share, [1 / 8, 3 / 8, 4 / 8], atol=0.015)


def test_dynamic_quantisation_of_a_gated_activation(device: Any) -> None:
    x = half(2, 3, 8)
    y, scale = pyacl.Tensor.zeros((2, 3, 4), np.int8), pyacl.Tensor.zeros((2, 3))
    pyacl.op("DequantSwigluQuant", [pyacl.Tensor.from_numpy(x), *[None] * 6], [y, scale], {"quant_mode": "dynamic"})
    pyacl.Stream.default().synchronize()
    left, right = np.split(x.astype(np.float32), 2, -1)  # the right half is activated unless activate_left says otherwise
    want = left * right / (1 + np.exp(-right))
    largest = np.abs(want).max(-1) / 127
    np.testing.assert_allclose(scale.numpy(), largest, 2e-3)
    assert np.abs(y.numpy() - np.rint(want / largest[..., None])).max() <= 1


def test_types_of_an_operator() -> None:
    assert ge.types_of("aclnnAdd") == ["Add", "AddV2", "Axpy", "BiasAdd"]
    assert "MatMulV2" in ge.types_of("aclnnMatmul")
    assert len(ge.types()) > 230


def test_the_table_of_operators_has_the_types() -> None:
    row = next(row for row in ops.table() if row.name == "aclnnReduceSum")
    assert row.ge == ("ReduceSum: x, axes! -> y; keep_dims: bool = False; noop_with_empty_axes: bool = True",
                      "ReduceSumD: x -> y; axes: list_int; keep_dims: bool = False")
