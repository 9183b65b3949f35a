"""Shape and type rules that families share.

A rule gets an operator's inputs in the order of the prototype and reads only ``shape``, ``ndim``, ``size`` and
``dtype`` of tensors, so it works on aclTensors and on numpy arrays. It returns the shape (or dtype) of the output, or a
tuple of them for several outputs; None for one that it leaves open, or for a dimension of a shape. `reject` refuses the
call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, Optional

import numpy as np

from ...capi import lib
from ..failure import Failure
from .types import BOOL, F32, FLOATS, INTEGERS, S64, Dtype, promote, promote_scalar

Shape = tuple[int, ...]


def reject(text: str, code: Optional[int] = None) -> NoReturn:
    """Refuses the call: ACLNN_ERR_PARAM_INVALID (161002) unless another code is given."""
    raise Failure(lib.ACLNN_ERR_PARAM_INVALID if code is None else code, text)


@contextmanager
def refusing(code: int) -> Iterator[None]:
    """What is rejected within gets another status code, for pages that name one."""
    try:
        yield
    except Failure as failure:
        raise Failure(code, failure.text) from None


def is_tensor(value: Any) -> bool:
    """Whether an input is a tensor: a numpy array or an aclTensor, not an aclScalar's value."""
    return hasattr(value, "shape") and not isinstance(value, np.generic)


def axis(dim: int, ndim: int, what: str = "dim") -> int:
    """A dimension's index counted from the front. A 0-d tensor has the dimensions -1 and 0."""
    n = max(ndim, 1)
    if not -n <= dim < n:
        reject(f"{what} is {dim}, outside of [{-n}, {n - 1}]")
    return int(dim) % n


def axes(dims: Optional[tuple[int, ...]], ndim: int, empty_is_all: bool = True) -> tuple[int, ...]:
    """The reduced dimensions' indices; no dims mean all of them. Refuses repeated ones."""
    if not dims:
        return tuple(range(ndim)) if empty_is_all else ()
    found = tuple(axis(d, ndim) for d in dims)
    if len(set(found)) != len(found):
        reject(f"dim {list(dims)} names a dimension twice")
    return found if ndim else ()


def broadcast_shapes(*shapes: Shape) -> Shape:
    """The common shape, or a refusal that shows the shapes."""
    first = shapes[0]
    if all(s == first for s in shapes):
        return first
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        reject(f"shapes {', '.join(str(list(s)) for s in shapes)} do not broadcast")


def broadcast(*inputs: Any) -> Shape:
    """Elementwise: the common shape of all tensor inputs."""
    return broadcast_shapes(*(a.shape for a in inputs if is_tensor(a)))


def like(position: int = 0) -> Any:
    """The shape of input `position`."""
    return lambda *inputs: tuple(inputs[position].shape)


def same(x: Any, *_: Any) -> Shape:
    """The shape of the first input."""
    return tuple(x.shape)


def scalar(*_: Any) -> Shape:
    """0-d; as everywhere, an output of shape [1] is taken for it."""
    return ()


def reduced_shape(shape: Shape, dims: tuple[int, ...], keep: bool) -> Shape:
    """`shape` after a reduction over the dimensions `dims`, all counted from the front."""
    if keep:
        return tuple(1 if i in dims else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in dims)


def reduction(x: Any, dims: Optional[tuple[int, ...]], keep: bool, *_: Any) -> Shape:
    """(self, dim array, keepDim, ...)"""
    return reduced_shape(x.shape, axes(dims, x.ndim), keep)


# ---- rows: how many leading dimensions are independent

def before(position: int) -> Any:
    """Those in front of the dimension that input `position` names."""
    return lambda *inputs: axis(inputs[position], inputs[0].ndim) if inputs[0].ndim else 0


def before_reduced(x: Any, dims: Any = None, *_: Any) -> int:
    """Those in front of all that are reduced: (self, one dimension or an array of them, ...)."""
    return min(axes((dims,) if isinstance(dims, int) else dims, x.ndim), default=0)


# ---- result types

def common(*values: Any) -> Optional[Dtype]:
    """The type in which tensors and aclScalars meet; a refusal where there is none."""
    tensors = [v.dtype for v in values if is_tensor(v)]
    scalars = [v.dtype for v in values if isinstance(v, np.generic)]
    found: Any = None
    for dtype in tensors:
        met = dtype if found is None else promote(found, dtype)
        if met is None:
            reject(f"data types {found} and {dtype} cannot be promoted to a common one")
        found = met
    for dtype in scalars:
        met = dtype if found is None else promote_scalar(found, dtype) if tensors else promote(found, dtype)
        if met is None:
            reject(f"data types {found} and {dtype} of a scalar cannot be promoted to a common one")
        found = met
    return found


def boolean(*_: Any) -> Dtype:
    return BOOL


def int64(*_: Any) -> Dtype:
    return S64


def floating(*values: Any) -> Optional[Dtype]:
    """`common`, with float32 for integers and bool: what division and most mathematical functions give."""
    found = common(*values)
    return F32 if found in INTEGERS or found == BOOL else found


def first(x: Any, *_: Any) -> Dtype:
    """The type of the first input."""
    return x.dtype


def summed(x: Any, *_: Any) -> Dtype:
    """What sums give: int64 for integers and bool."""
    return x.dtype if x.dtype in FLOATS or x.dtype not in INTEGERS and x.dtype != BOOL else S64
