"""Matrix products: each is the operator GEMM, of which a model must be loaded or compiled."""

from __future__ import annotations

from typing import Any

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure
from ..single_op.attr import Attr
from ..single_op.call import Call, Handle
from .arguments import invalid
from .data_buffer import DataBuffer
from .tensor_desc import TensorDesc

_FACTOR_BYTES = 4  # alpha and beta, whatever their type
_BLOCK = 16


def _matrix(dtype: int, rows: int, columns: int, trans: int, right: bool = False) -> TensorDesc:
    """A matrix as it lies in memory."""
    if trans == lib.ACL_TRANS_T:
        return TensorDesc(dtype, (columns, rows), lib.ACL_FORMAT_ND)
    if trans != lib.ACL_TRANS_NZ:
        return TensorDesc(dtype, (rows, columns), lib.ACL_FORMAT_ND)
    raise Failure(lib.ACL_ERROR_API_NOT_SUPPORT, "not emulated: aclblas with ACL_TRANS_NZ")


def _call(trans: tuple[int, int, int], m: int, n: int, k: int, dtypes: tuple[int, int, int], type: int) -> Call:
    if m <= 0 or n <= 0 or k <= 0:
        raise invalid(f"m, n, k must be positive, not {m}, {n}, {k}")
    for what, value in zip("AB", trans):
        if value not in (lib.ACL_TRANS_N, lib.ACL_TRANS_T, lib.ACL_TRANS_NZ):
            raise invalid(f"trans{what} is {value}: only ACL_TRANS_N, ACL_TRANS_T and ACL_TRANS_NZ are supported")
    if trans[2] not in (lib.ACL_TRANS_N, lib.ACL_TRANS_NZ):
        raise invalid(f"transC is {trans[2]}: only ACL_TRANS_N and ACL_TRANS_NZ are supported")
    if type != lib.ACL_COMPUTE_HIGH_PRECISION:
        raise invalid(f"type is {type}: only ACL_COMPUTE_HIGH_PRECISION is supported")
    a, b, c = (_matrix(dtype, *size, flag) for dtype, size, flag in zip(dtypes, ((m, k), (k, n), (m, n)), trans))
    factor = TensorDesc(dtypes[2], (), lib.ACL_FORMAT_ND)
    attrs = {f"transpose_{what}": Attr("bool", flag == lib.ACL_TRANS_T) for what, flag in zip("ab", trans)}
    return Call("GEMM", [a, b, c, factor, factor], [c], attrs)


def _execute(made: Call, leading: tuple[int, ...], names: str, pointers: dict[str, Any], stream: Any) -> None:
    if any(value != -1 for value in leading):
        raise invalid(f"{names} are {', '.join(map(str, leading))}: only -1 is supported")
    for name, pointer in pointers.items():
        if not pointer:
            raise invalid(f"{name} is NULL")
    a, b, c, alpha, beta = (handles.address(p) for p in pointers.values())
    sizes = [desc.nbytes for desc in made.inputs[:3]]
    made.sources = [DataBuffer(a, sizes[0]), DataBuffer(b, sizes[1]), DataBuffer(c, sizes[2]),
                    DataBuffer(alpha, _FACTOR_BYTES), DataBuffer(beta, _FACTOR_BYTES)]
    made.targets = [made.sources[2]]
    made.execute(stream, False)


def _create(made: Call, handle: Any) -> None:
    if not handle:
        raise invalid("handle is NULL")
    handle[0] = ffi.cast("aclopHandle *", handles.new(Handle(made)))


def aclblasGemmEx(transA: int, transB: int, transC: int, m: int, n: int, k: int, alpha: Any, matrixA: Any, lda: int,
                  dataTypeA: int, matrixB: Any, ldb: int, dataTypeB: int, beta: Any, matrixC: Any, ldc: int,
                  dataTypeC: int, type: int, stream: Any) -> None:
    made = _call((transA, transB, transC), m, n, k, (dataTypeA, dataTypeB, dataTypeC), type)
    _execute(made, (lda, ldb, ldc), "lda, ldb, ldc",
             {"matrixA": matrixA, "matrixB": matrixB, "matrixC": matrixC, "alpha": alpha, "beta": beta}, stream)


def aclblasGemvEx(transA: int, m: int, n: int, alpha: Any, a: Any, lda: int, dataTypeA: int, x: Any, incx: int,
                  dataTypeX: int, beta: Any, y: Any, incy: int, dataTypeY: int, type: int, stream: Any) -> None:
    made = _call((transA, lib.ACL_TRANS_N, lib.ACL_TRANS_N), m, 1, n, (dataTypeA, dataTypeX, dataTypeY), type)
    _execute(made, (lda, incx, incy), "lda, incx, incy", {"a": a, "x": x, "y": y, "alpha": alpha, "beta": beta}, stream)


def aclblasHgemm(transA: int, transB: int, transC: int, m: int, n: int, k: int, alpha: Any, matrixA: Any, lda: int,
                 matrixB: Any, ldb: int, beta: Any, matrixC: Any, ldc: int, type: int, stream: Any) -> None:
    half = lib.ACL_FLOAT16
    aclblasGemmEx(transA, transB, transC, m, n, k, alpha, matrixA, lda, half, matrixB, ldb, half, beta, matrixC, ldc,
                  half, type, stream)


def aclblasS8gemm(transA: int, transB: int, transC: int, m: int, n: int, k: int, alpha: Any, matrixA: Any, lda: int,
                  matrixB: Any, ldb: int, beta: Any, matrixC: Any, ldc: int, type: int, stream: Any) -> None:
    aclblasGemmEx(transA, transB, transC, m, n, k, alpha, matrixA, lda, lib.ACL_INT8, matrixB, ldb, lib.ACL_INT8, beta,
                  matrixC, ldc, lib.ACL_INT32, type, stream)


def aclblasHgemv(transA: int, m: int, n: int, alpha: Any, a: Any, lda: int, x: Any, incx: int, beta: Any, y: Any,
                 incy: int, type: int, stream: Any) -> None:
    half = lib.ACL_FLOAT16
    aclblasGemvEx(transA, m, n, alpha, a, lda, half, x, incx, half, beta, y, incy, half, type, stream)


def aclblasS8gemv(transA: int, m: int, n: int, alpha: Any, a: Any, lda: int, x: Any, incx: int, beta: Any, y: Any,
                  incy: int, type: int, stream: Any) -> None:
    aclblasGemvEx(transA, m, n, alpha, a, lda, lib.ACL_INT8, x, incx, lib.ACL_INT8, beta, y, incy, lib.ACL_INT32, type,
                  stream)


def aclblasCreateHandleForGemmEx(transA: int, transB: int, transC: int, m: int, n: int, k: int, dataTypeA: int,
                                 dataTypeB: int, dataTypeC: int, type: int, handle: Any) -> None:
    _create(_call((transA, transB, transC), m, n, k, (dataTypeA, dataTypeB, dataTypeC), type), handle)


def aclblasCreateHandleForGemvEx(transA: int, m: int, n: int, dataTypeA: int, dataTypeX: int, dataTypeY: int,
                                 type: int, handle: Any) -> None:
    _create(_call((transA, lib.ACL_TRANS_N, lib.ACL_TRANS_N), m, 1, n, (dataTypeA, dataTypeX, dataTypeY), type), handle)


def aclblasCreateHandleForHgemm(transA: int, transB: int, transC: int, m: int, n: int, k: int, type: int,
                                handle: Any) -> None:
    half = lib.ACL_FLOAT16
    aclblasCreateHandleForGemmEx(transA, transB, transC, m, n, k, half, half, half, type, handle)


def aclblasCreateHandleForS8gemm(transA: int, transB: int, transC: int, m: int, n: int, k: int, type: int,
                                 handle: Any) -> None:
    aclblasCreateHandleForGemmEx(transA, transB, transC, m, n, k, lib.ACL_INT8, lib.ACL_INT8, lib.ACL_INT32, type,
                                 handle)


def aclblasCreateHandleForHgemv(transA: int, m: int, n: int, type: int, handle: Any) -> None:
    half = lib.ACL_FLOAT16
    aclblasCreateHandleForGemvEx(transA, m, n, half, half, half, type, handle)


def aclblasCreateHandleForS8gemv(transA: int, m: int, n: int, type: int, handle: Any) -> None:
    aclblasCreateHandleForGemvEx(transA, m, n, lib.ACL_INT8, lib.ACL_INT8, lib.ACL_INT32, type, handle)
