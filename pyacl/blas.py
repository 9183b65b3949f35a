"""Matrix products of CANN's BLAS (``aclblas*``): C = alpha op(A) op(B) + beta C, and y = alpha op(A) x + beta y.

Matrices are dense, row by row. The dtypes are those that CANN has: float16 with a float16 or float32 result, int8 with
a float32 or int32 result; alpha and beta have the result's. The functions with fixed dtypes (aclblasHgemm,
aclblasS8gemm, ...) are `gemm` and `gemv` of tensors of these dtypes.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

import numpy as np

from .capi import ffi, lib
from .context import flight_on
from .dtypes import DTypeLike, to_acl, to_dtype
from .op_handle import Arguments, OpHandle, claim, with_model
from .stream import Stream
from .tensor import Tensor
from .tensor_desc import TensorDesc


def _transposed(flag: bool) -> int:
    return int(lib.ACL_TRANS_T if flag else lib.ACL_TRANS_N)


def _gemm_arguments(m: int, n: int, k: int, a: DTypeLike, b: DTypeLike, c: DTypeLike, transpose_a: bool,
                    transpose_b: bool) -> Arguments:
    """The operator that CANN's BLAS stands on, for compiling it."""
    left = TensorDesc((k, m) if transpose_a else (m, k), a)
    right = TensorDesc((n, k) if transpose_b else (k, n), b)
    result = TensorDesc((m, n), c)
    factor = TensorDesc((), c)
    return Arguments("GEMM", [left, right, result, factor, factor], [result],
                     {"transpose_a": transpose_a, "transpose_b": transpose_b})


def gemm(a: Tensor, b: Tensor, c: Tensor, alpha: Any = 1, beta: Any = 0, *, transpose_a: bool = False,
         transpose_b: bool = False, stream: Optional[Stream] = None, compile: bool = True) -> None:
    """Queues ``c = alpha * op(a) @ op(b) + beta * c`` (aclblasGemmEx).

    `a` is (m, k), or (k, m) where it is taken transposed; `b` (k, n) or (n, k); `c` (m, n). `alpha` and `beta` are
    numbers, or Tensors of one element on the device. Everything is kept until the stream is synchronised. A model of
    the product is compiled where none is loaded, unless `compile` is False. Raises ValueError for shapes that do not
    fit.
    """
    m, k = _two(a, "a", transpose_a)
    rows, n = _two(b, "b", transpose_b)
    if rows != k or _two(c, "c") != (m, n):
        raise ValueError(f"({m}, {k}) @ ({rows}, {n}) does not fit a result of shape {c.shape}")
    factors = [_factor(f, c.dtype) for f in (alpha, beta)]

    def call(handle: Any) -> int:
        return int(lib.aclblasGemmEx(_transposed(transpose_a), _transposed(transpose_b), lib.ACL_TRANS_N, m, n, k,
                                     _pointer(factors[0]), _pointer(a), -1, a.acl_dtype, _pointer(b), -1, b.acl_dtype,
                                     _pointer(factors[1]), _pointer(c), -1, c.acl_dtype,
                                     lib.ACL_COMPUTE_HIGH_PRECISION, handle))

    _run(call, "aclblasGemmEx", lambda: _gemm_arguments(m, n, k, a.dtype, b.dtype, c.dtype, transpose_a, transpose_b),
         stream, compile, (a, b, c, *factors))


def gemv(a: Tensor, x: Tensor, y: Tensor, alpha: Any = 1, beta: Any = 0, *, transpose: bool = False,
         stream: Optional[Stream] = None, compile: bool = True) -> None:
    """Queues ``y = alpha * op(a) @ x + beta * y`` (aclblasGemvEx); `a` is (m, n), or (n, m) where it is transposed."""
    m, n = _two(a, "a", transpose)
    for what, vector in (("x", x), ("y", y)):
        _tensor(vector, what)
    if x.size != n or y.size != m:
        raise ValueError(f"({m}, {n}) @ {x.shape} does not fit a result of shape {y.shape}")
    factors = [_factor(f, y.dtype) for f in (alpha, beta)]

    def call(handle: Any) -> int:
        return int(lib.aclblasGemvEx(_transposed(transpose), m, n, _pointer(factors[0]), _pointer(a), -1, a.acl_dtype,
                                     _pointer(x), -1, x.acl_dtype, _pointer(factors[1]), _pointer(y), -1, y.acl_dtype,
                                     lib.ACL_COMPUTE_HIGH_PRECISION, handle))

    _run(call, "aclblasGemvEx", lambda: _gemm_arguments(m, 1, n, a.dtype, x.dtype, y.dtype, transpose, False), stream,
         compile, (a, x, y, *factors))


def gemm_handle(m: int, n: int, k: int, dtype_a: DTypeLike, dtype_b: DTypeLike, dtype_c: DTypeLike, *,
                transpose_a: bool = False, transpose_b: bool = False, compile: bool = True) -> OpHandle:
    """A handle for that product (aclblasCreateHandleForGemmEx): launch it with ``([a, b, c, alpha, beta], [c])``."""
    arguments = _gemm_arguments(m, n, k, dtype_a, dtype_b, dtype_c, transpose_a, transpose_b)
    out = ffi.new("aclopHandle **")
    flags = _transposed(transpose_a), _transposed(transpose_b), lib.ACL_TRANS_N
    codes = to_acl(dtype_a), to_acl(dtype_b), to_acl(dtype_c)
    with_model(lambda: int(lib.aclblasCreateHandleForGemmEx(*flags, m, n, k, *codes,
                                                            lib.ACL_COMPUTE_HIGH_PRECISION, out)),
               "aclblasCreateHandleForGemmEx", arguments.compile if compile else None)
    return OpHandle._adopt(out[0], arguments)


def gemv_handle(m: int, n: int, dtype_a: DTypeLike, dtype_x: DTypeLike, dtype_y: DTypeLike, *, transpose: bool = False,
                compile: bool = True) -> OpHandle:
    """A handle for that product (aclblasCreateHandleForGemvEx): launch it with ``([a, x, y, alpha, beta], [y])``."""
    arguments = _gemm_arguments(m, 1, n, dtype_a, dtype_x, dtype_y, transpose, False)
    out = ffi.new("aclopHandle **")
    codes = to_acl(dtype_a), to_acl(dtype_x), to_acl(dtype_y)
    with_model(lambda: int(lib.aclblasCreateHandleForGemvEx(_transposed(transpose), m, n, *codes,
                                                            lib.ACL_COMPUTE_HIGH_PRECISION, out)),
               "aclblasCreateHandleForGemvEx", arguments.compile if compile else None)
    return OpHandle._adopt(out[0], arguments)


def _two(tensor: Tensor, what: str, transposed: bool = False) -> tuple[int, int]:
    """Rows and columns of a matrix as it is taken."""
    _tensor(tensor, what)
    if len(tensor.shape) != 2:
        raise ValueError(f"{what} is a matrix, not of shape {tensor.shape}")
    rows, columns = tensor.shape
    return (columns, rows) if transposed else (rows, columns)


def _tensor(tensor: Any, what: str) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{what} is a Tensor, not a {type(tensor).__name__}")


def _factor(value: Any, dtype: Any) -> Tensor:
    """alpha or beta in device memory, where CANN reads them; it reads four bytes whatever the dtype."""
    if isinstance(value, Tensor):
        return value
    kind = to_dtype(dtype)
    return Tensor.from_numpy(np.array([value] * (4 // kind.itemsize), kind))


def _pointer(tensor: Tensor) -> Any:
    return tensor._memory()[0]


def _run(call: Callable[[Any], int], function: str, arguments: Callable[[], Arguments], stream: Optional[Stream],
         compile: bool, kept: tuple[Any, ...]) -> None:
    flight = flight_on(stream)
    with claim(flight):
        with_model(lambda: call(flight.handle), function, (lambda: arguments().compile()) if compile else None)
        for item in kept:
            flight.hold(item)
