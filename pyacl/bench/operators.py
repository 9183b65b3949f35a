"""What is known of operators: a numpy reference, what it costs, and inputs that make sense.

The references are written from the operators' documented meaning, apart from the emulator's own functions: they are
what its results, and an NPU's, are checked against. A reference takes the operator's inputs in the order of its
prototype, outputs left out (float tensors as float64, attributes as Python values), and returns the outputs in order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping, Optional, Sequence

import numpy as np

Array = Any
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Operator:
    """One operator's reference and customs.

    ``flops`` counts operations for each output element; as a function it takes the input arrays and the outputs.
    ``shapes`` derives the shapes of all inputs from the first one's. ``data`` says what inputs hold: ``normal``
    (default for floats), ``positive``, ``unit`` (inside -1 .. 1), ``nonzero``, ``index:NAME`` (indices into the first
    axis of input NAME; ``index:NAME:last`` into the last). ``absent`` inputs are NULL unless a shape is given.
    ``dtypes`` fixes the dtypes of inputs and outputs that do not follow the one asked for. ``traffic`` counts bytes
    where that is not all inputs and outputs once.
    """

    compute: Callable[..., Any]
    flops: Any = 1.0
    shapes: Optional[Callable[[Shape], Mapping[str, Shape]]] = None
    dtypes: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    absent: Sequence[str] = ()
    traffic: Optional[Callable[..., float]] = None


def _erf(x: Array) -> Array:
    try:
        from scipy.special import erf
    except ImportError:
        return np.vectorize(math.erf, otypes=[np.float64])(x)
    return erf(x)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _log_softmax(x: Array, axis: int) -> Array:
    shifted = x - x.max(axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


def _axes(dims: Any) -> Any:
    """An empty list of axes means all of them."""
    return tuple(dims) if dims is not None and len(dims) else None


def _layer_norm(x: Array, normalized: Sequence[int], weight: Array, bias: Array, eps: float) -> Any:
    axes = tuple(range(x.ndim - len(normalized), x.ndim))
    mean = x.mean(axes, keepdims=True)
    rstd = 1 / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + eps)
    out = (x - mean) * rstd
    if weight is not None:
        out = out * weight
    return (out if bias is None else out + bias), mean, rstd


def _rms_norm(x: Array, gamma: Array, eps: float) -> Any:
    axes = tuple(range(x.ndim - gamma.ndim, x.ndim))
    rstd = 1 / np.sqrt((x * x).mean(axes, keepdims=True) + eps)
    return x * rstd * gamma, rstd


def _convolution(x: Array, weight: Array, bias: Array, stride: Sequence[int], padding: Sequence[int],
                 dilation: Sequence[int], transposed: bool, _: Any, groups: int, *__: Any) -> Array:
    """A plain 2-D convolution; None (no reference) for the other kinds."""
    if transposed or x.ndim != 4:
        return None
    (sh, sw), (dh, dw) = _pair(stride), _pair(dilation)
    ph, pw = _pair(padding)
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    kh, kw = weight.shape[2:]
    oh, ow = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1, (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    parts = []
    for xg, wg in zip(np.split(x, groups, 1), np.split(weight, groups, 0)):
        out = np.zeros((len(x), len(wg), oh, ow))
        for i in range(kh):
            for j in range(kw):
                patch = xg[:, :, i * dh:i * dh + sh * (oh - 1) + 1:sh, j * dw:j * dw + sw * (ow - 1) + 1:sw]
                out += np.einsum("nchw,kc->nkhw", patch, wg[:, :, i, j], optimize=True)
        parts.append(out)
    out = np.concatenate(parts, 1)
    return out if bias is None else out + bias.reshape(1, -1, 1, 1)


def _pair(values: Sequence[int]) -> tuple[int, int]:
    return (int(values[0]), int(values[-1]))


def _top_k(x: Array, k: int, dim: int, largest: bool, ordered: bool) -> Any:
    order = np.argsort(-x if largest else x, axis=dim, kind="stable")
    chosen = np.take(order, range(k), axis=dim)
    return np.take_along_axis(x, chosen, dim), chosen


def _sort(x: Array, _: bool, dim: int, descending: bool) -> Any:
    order = np.argsort(-x if descending else x, axis=dim, kind="stable")
    return np.take_along_axis(x, order, dim), order


def _index_put(x: Array, indices: Sequence[Array], values: Array, accumulate: bool, *_: Any) -> Array:
    out = x.copy()
    if accumulate:
        np.add.at(out, tuple(indices), values)
    else:
        out[tuple(indices)] = values
    return out


def _matmul_flops(inputs: Sequence[Array], outputs: Sequence[Array]) -> float:
    return float(2 * outputs[0].size * inputs[0].shape[-1])


def _convolution_flops(inputs: Sequence[Array], outputs: Sequence[Array]) -> float:
    return float(2 * outputs[0].size * inputs[1][0].size)


def _each_input(per_element: float) -> Callable[[Sequence[Array], Sequence[Array]], float]:
    """Operations for each element of the first input."""
    return lambda inputs, outputs: per_element * inputs[0].size


def _square(first: str, second: str) -> Callable[[Shape], Mapping[str, Shape]]:
    """A second matrix that the first can be multiplied with, giving a square."""
    return lambda s: {first: s, second: (*s[:-2], s[-1], s[-2])}


def _fill(value: float) -> Callable[..., Array]:
    return lambda x, *_: np.full_like(x, value)


_COMPARISONS = {"Eq": np.equal, "Ne": np.not_equal, "Gt": np.greater, "Ge": np.greater_equal, "Lt": np.less,
                "Le": np.less_equal}


def _table() -> dict[str, Operator]:
    op = Operator
    found: dict[str, Operator] = {
        "Add": op(lambda a, b, alpha: a + alpha * b, 2), "Sub": op(lambda a, b, alpha: a - alpha * b, 2),
        "Adds": op(lambda a, b, alpha: a + alpha * b, 2), "Subs": op(lambda a, b, alpha: a - alpha * b, 2),
        "Mul": op(np.multiply), "Muls": op(np.multiply),
        "Div": op(np.true_divide, data={"other": "nonzero"}), "Divs": op(np.true_divide, values={"other": 2.0}),
        "Maximum": op(np.maximum), "Minimum": op(np.minimum),
        "PowTensorTensor": op(np.power, data={"self": "positive"}),
        "PowTensorScalar": op(np.power, data={"self": "positive"}, values={"exponent": 2.0}),
        "PowScalarTensor": op(np.power, values={"self": 2.0}),
        "LogicalAnd": op(np.logical_and), "LogicalOr": op(np.logical_or), "LogicalNot": op(np.logical_not),
        "Addcmul": op(lambda a, b, c, v: a + v * b * c, 3),
        "Addcdiv": op(lambda a, b, c, v: a + v * b / c, 3, data={"tensor2": "nonzero"}),
        "Clamp": op(np.clip, 2, values={"clipValueMin": -0.5, "clipValueMax": 0.5}),
        "ClampMin": op(np.maximum, values={"clipValueMin": 0.0}),
        "LeakyRelu": op(lambda x, slope: np.where(x > 0, x, slope * x), 2, values={"negativeSlope": 0.01}),
        "NanToNum": op(lambda x, nan, pos, neg: np.nan_to_num(x, nan=nan, posinf=pos, neginf=neg),
                       values={"nan": 0.0, "posinf": 1.0, "neginf": -1.0}),
        "Matmul": op(lambda a, b, *_: a @ b, _matmul_flops, _square("self", "mat2")),
        "Mm": op(lambda a, b, *_: a @ b, _matmul_flops, _square("self", "mat2")),
        "BatchMatMul": op(lambda a, b, *_: a @ b, _matmul_flops, _square("self", "mat2")),
        "Softmax": op(_softmax, 5), "LogSoftmax": op(_log_softmax, 5),
        "ReduceSum": op(lambda x, dims, keep, *_: x.sum(_axes(dims), keepdims=keep), _each_input(1)),
        "Mean": op(lambda x, dims, keep, *_: x.mean(_axes(dims), keepdims=keep), _each_input(1)),
        "Amax": op(lambda x, dims, keep: x.max(_axes(dims), keepdims=keep), _each_input(1)),
        "Amin": op(lambda x, dims, keep: x.min(_axes(dims), keepdims=keep), _each_input(1)),
        "Any": op(lambda x, dims, keep: x.any(_axes(dims), keepdims=keep), _each_input(1), dtypes={"self": "bool"}),
        "All": op(lambda x, dims, keep: x.all(_axes(dims), keepdims=keep), _each_input(1), dtypes={"self": "bool"}),
        "ProdDim": op(lambda x, dim, keep, *_: x.prod(dim, keepdims=keep), _each_input(1), data={"self": "nonzero"}),
        "ArgMax": op(lambda x, dim, keep: x.argmax(dim, keepdims=keep), _each_input(1)),
        "Norm": op(lambda x, p, dims, keep: (np.abs(x) ** p).sum(_axes(dims), keepdims=keep) ** (1 / p),
                   _each_input(2), values={"pScalar": 2.0}),
        "Cumsum": op(lambda x, dim, *_: x.cumsum(dim)),
        "LayerNorm": op(_layer_norm, 8, lambda s: {"input": s, "weightOptional": s[-1:], "biasOptional": s[-1:]}),
        "RmsNorm": op(_rms_norm, 4, lambda s: {"x": s, "gamma": s[-1:]}, {"rstdOut": "float32"}),
        "Convolution": op(_convolution, _convolution_flops,
                          lambda s: {"input": s, "weight": (s[1], s[1], *(3 for _ in s[2:]))},
                          absent=("bias",)),
        "Cat": op(lambda tensors, dim: np.concatenate(tensors, dim), 0),
        "Stack": op(lambda tensors, dim: np.stack(tensors, dim), 0),
        "Permute": op(lambda x, dims: np.transpose(x, dims), 0),
        "Flip": op(lambda x, dims: np.flip(x, _axes(dims)), 0),
        "Triu": op(lambda x, k: np.triu(x, k), 0), "Tril": op(lambda x, k: np.tril(x, k), 0),
        "Cast": op(lambda x, dtype: x.astype(dtype), 1),
        "SWhere": op(lambda c, a, b: np.where(c, a, b), 0, dtypes={"condition": "bool"}),
        "Gather": op(lambda x, dim, index: np.take_along_axis(x, index, dim), 0, dtypes={"index": "int64"},
                     data={"index": "index:self:last"}),
        "IndexSelect": op(lambda x, dim, index: np.take(x, index, dim), 0,
                          lambda s: {"self": s, "index": (s[0],)}, {"index": "int64"}, {"index": "index:self"},
                          {"dim": 0}),
        "Embedding": op(lambda weight, indices: weight[indices], 0,
                        lambda s: {"weight": s, "indices": (s[0],)}, {"indices": "int64"},
                        {"indices": "index:weight"},
                        traffic=lambda inputs, outputs: 2.0 * outputs[0].nbytes + inputs[1].nbytes),
        "IndexPutImpl": op(_index_put, 0, lambda s: {"selfRef": s, "indices": (s[0],), "values": s},
                           {"indices": "int64"}, {"indices": "permutation:selfRef"}),
        "Sort": op(_sort, lambda i, o: i[0].size * max(1.0, math.log2(max(2, i[0].shape[-1]))),
                   data={"self": "distinct"}),
        "Topk": op(_top_k, _each_input(1), data={"self": "distinct"}),
        "InplaceZero": op(_fill(0), 0), "InplaceOne": op(_fill(1), 0),
        "InplaceFillScalar": op(lambda x, v: np.full_like(x, v), 0),
        "InplaceCopy": op(lambda x, src: np.broadcast_to(src, x.shape), 0),
    }
    unary: dict[str, tuple[Callable[[Any], Any], float, str]] = {
        "Abs": (np.abs, 1, "normal"), "Neg": (np.negative, 1, "normal"), "Exp": (np.exp, 1, "normal"),
        "Log": (np.log, 1, "positive"), "Sqrt": (np.sqrt, 1, "positive"), "Sin": (np.sin, 1, "normal"),
        "Rsqrt": (lambda x: 1 / np.sqrt(x), 2, "positive"), "Reciprocal": (lambda x: 1 / x, 1, "nonzero"),
        "Cos": (np.cos, 1, "normal"), "Tan": (np.tan, 1, "unit"), "Atan": (np.arctan, 1, "normal"),
        "Asin": (np.arcsin, 1, "unit"), "Acos": (np.arccos, 1, "unit"), "Tanh": (np.tanh, 1, "normal"),
        "Sigmoid": (_sigmoid, 3, "normal"), "Relu": (lambda x: np.maximum(x, 0), 1, "normal"),
        "Silu": (lambda x: x * _sigmoid(x), 4, "normal"), "Erf": (_erf, 1, "normal"),
        "Gelu": (lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))), 8, "normal"),
        "Floor": (np.floor, 1, "normal"), "Ceil": (np.ceil, 1, "normal"), "Sign": (np.sign, 1, "normal"),
        "Square": (np.square, 1, "normal"),
    }
    found.update({name: op(f, flops, data={"self": data, "input": data}) for name, (f, flops, data) in unary.items()})
    for name, function in _COMPARISONS.items():
        found[f"{name}Tensor"] = found[f"{name}Scalar"] = op(function)
    for name in ("Add", "Sub", "Mul", "Div", "Adds", "Subs", "Muls", "Divs", "Relu", "Exp", "Sigmoid", "Addcmul"):
        known = found[name]
        found[f"Inplace{name}"] = known
    return {f"aclnn{name}": known for name, known in found.items()}


_TABLE = _table()


def known(name: str) -> Optional[Operator]:
    """What is known of operator `name`, or None."""
    return _TABLE.get(name)


def names() -> list[str]:
    """The operators that have a reference."""
    return sorted(_TABLE)


# Attributes that the operator's entry does not give, by the names that CANN uses for them.
DEFAULTS: dict[str, Any] = {
    "alpha": 1.0, "beta": 1.0, "value": 1.0, "other": 2.0, "exponent": 2.0, "dim": -1, "dims": (-1,), "axis": -1,
    "axes": (-1,), "keepDim": False, "keepdim": False, "keepDims": False, "eps": 1e-5, "epsilon": 1e-5,
    "stride": (1, 1), "strides": (1, 1), "padding": (0, 0), "dilation": (1, 1), "outputPadding": (0, 0),
    "kernelSize": (2, 2), "groups": 1, "transposed": False, "cubeMathType": 0, "descending": False, "stable": False,
    "largest": True, "sorted": True, "k": 8, "seed": 0, "offset": 0, "from": 0.0, "to": 1.0, "mean": 0.0, "std": 1.0,
    "start": 0, "end": 1024, "step": 1, "diagonal": 0, "p": 2.0, "scale": 1.0, "scaleValue": 1.0, "keepProb": 1.0,
    "accumulate": False, "unsafe": False, "approximate": 0, "lambd": 0.5, "threshold": 1.0, "reduction": 1,
    "ignoreIndex": -100, "transposeX1": False, "transposeX2": False,
}
