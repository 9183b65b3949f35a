"""Matrix products of the BLAS: every dtype and transpose, by call and by handle, and what the C functions refuse."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import pyacl
from pyacl import Stream, Tensor, blas, lib
from pyacl.capi import ffi

NULL = ffi.NULL
M, N, K = 5, 7, 6
DTYPES = [(np.float16, np.float16), (np.float16, np.float32), (np.int8, np.float32), (np.int8, np.int32)]
rng = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def _current(device: Any) -> None:
    device.set_current()


def matrix(dtype: Any, *shape: int) -> Any:
    return rng.integers(-4, 5, shape).astype(dtype)


def expected(a: Any, b: Any, c: Any, alpha: Any, beta: Any, flip_a: bool, flip_b: bool) -> Any:
    left, right = a.T if flip_a else a, b.T if flip_b else b
    return alpha * (left.astype(np.float64) @ right.astype(np.float64)) + beta * c.astype(np.float64)


@pytest.mark.parametrize(("kind", "result"), DTYPES)
@pytest.mark.parametrize(("flip_a", "flip_b"), list(product((False, True), repeat=2)))
def test_gemm(stream: Stream, kind: Any, result: Any, flip_a: bool, flip_b: bool) -> None:
    a = matrix(kind, *((K, M) if flip_a else (M, K)))
    b = matrix(kind, *((N, K) if flip_b else (K, N)))
    c = matrix(result, M, N)
    x, y, z = (Tensor.from_numpy(v) for v in (a, b, c))
    blas.gemm(x, y, z, 2, 3, transpose_a=flip_a, transpose_b=flip_b, stream=stream)
    stream.synchronize()
    np.testing.assert_array_equal(z.numpy(), expected(a, b, c, 2, 3, flip_a, flip_b))


@pytest.mark.parametrize(("kind", "result"), DTYPES)
@pytest.mark.parametrize("flip", [False, True])
def test_gemv(stream: Stream, kind: Any, result: Any, flip: bool) -> None:
    a = matrix(kind, *((N, M) if flip else (M, N)))
    x, y = matrix(kind, N), matrix(result, M)
    p, q, r = (Tensor.from_numpy(v) for v in (a, x, y))
    blas.gemv(p, q, r, 2, 1, transpose=flip, stream=stream)
    stream.synchronize()
    np.testing.assert_array_equal(r.numpy(), 2 * ((a.T if flip else a).astype(int) @ x.astype(int)) + y)


def test_beta_zero_ignores_what_was_there(stream: Stream) -> None:
    a, b = matrix(np.float16, M, K), matrix(np.float16, K, N)
    x, y, z = Tensor.from_numpy(a), Tensor.from_numpy(b), Tensor.full((M, N), np.nan, np.float32)
    blas.gemm(x, y, z, stream=stream)
    stream.synchronize()
    np.testing.assert_array_equal(z.numpy(), a.astype(np.float32) @ b.astype(np.float32))


def test_products_of_halves_add_up_in_float32(stream: Stream) -> None:
    a = np.full((1, 4096), 1, np.float16)
    x, y, z = Tensor.from_numpy(a), Tensor.from_numpy(a.T), Tensor.zeros((1, 1), np.float32)
    blas.gemm(x, y, z, stream=stream)
    stream.synchronize()
    assert z.numpy()[0, 0] == 4096  # in float16 the sum stops at 2048


@pytest.mark.parametrize("flip", [False, True])
def test_gemm_by_handle(stream: Stream, flip: bool) -> None:
    a, b = matrix(np.float16, *((K, M) if flip else (M, K))), matrix(np.float16, K, N)
    x, y, z = Tensor.from_numpy(a), Tensor.from_numpy(b), Tensor.zeros((M, N), np.float16)
    one, zero = Tensor.from_numpy(np.array([1, 0], np.float16)), Tensor.from_numpy(np.array([0, 0], np.float16))
    with blas.gemm_handle(M, N, K, np.float16, np.float16, np.float16, transpose_a=flip) as handle:
        for _ in range(2):
            handle.launch([x, y, z, one, zero], [z], stream)
            stream.synchronize()
    np.testing.assert_array_equal(z.numpy(), (a.T if flip else a) @ b)


def test_gemv_by_handle(stream: Stream) -> None:
    a, x = matrix(np.int8, M, N), matrix(np.int8, N, 1)
    p, q, r = Tensor.from_numpy(a), Tensor.from_numpy(x), Tensor.zeros((M, 1), np.int32)
    one, zero = Tensor.from_numpy(np.array([1], np.int32)), Tensor.from_numpy(np.array([0], np.int32))
    with blas.gemv_handle(M, N, np.int8, np.int8, np.int32) as handle:
        handle.execute([p, q, r, one, zero], [r], stream)
    np.testing.assert_array_equal(r.numpy(), a.astype(np.int32) @ x.astype(np.int32))


def test_no_model() -> None:
    x, y, z = Tensor.zeros((31, 2), np.float16), Tensor.zeros((2, 3), np.float16), Tensor.zeros((31, 3), np.float16)
    with pytest.raises(pyacl.errors.OperatorNotFoundError):
        blas.gemm(x, y, z, compile=False)
    with pytest.raises(pyacl.errors.OperatorNotFoundError):
        blas.gemm_handle(31, 3, 2, np.float16, np.float16, np.float16, compile=False)
    with pytest.raises(pyacl.errors.OperatorNotFoundError):
        blas.gemv_handle(31, 3, np.float16, np.float16, np.float16, compile=False)


def test_shapes_must_fit() -> None:
    x, y = Tensor.zeros((2, 3), np.float16), Tensor.zeros((4, 5), np.float16)
    with pytest.raises(ValueError, match="does not fit"):
        blas.gemm(x, y, Tensor.zeros((2, 5), np.float16))
    with pytest.raises(ValueError, match="matrix"):
        blas.gemm(Tensor.zeros((2, 3, 4), np.float16), y, y)
    with pytest.raises(ValueError, match="does not fit"):
        blas.gemv(x, Tensor.zeros((2,), np.float16), Tensor.zeros((2,), np.float16))
    with pytest.raises(TypeError, match="a is a Tensor, not a ndarray"):
        blas.gemm(np.ones((2, 3)), y, y)  # type: ignore[arg-type]


def test_dtypes_must_be_supported() -> None:
    x, y, z = Tensor.zeros((2, 3), np.float16), Tensor.zeros((3, 2), np.float16), Tensor.zeros((2, 2), np.int32)
    with pytest.raises(pyacl.AclError):
        blas.gemm(x, y, z)


@pytest.fixture
def half(stream: Stream) -> Any:
    """A product of ones in C: arguments of aclblasHgemm by name, and a call with some of them changed."""
    a, b, c = (Tensor.full((4, 4), 1, np.float16) for _ in range(3))
    factor = Tensor.from_numpy(np.array([1, 1], np.float16))
    blas.gemm(a, b, c, stream=stream)  # compiles it
    stream.synchronize()
    values = dict(ta=lib.ACL_TRANS_N, tb=lib.ACL_TRANS_N, tc=lib.ACL_TRANS_N, m=4, n=4, k=4,
                  alpha=ffi.cast("aclFloat16 *", factor.address), a=ffi.cast("aclFloat16 *", a.address), lda=-1,
                  b=ffi.cast("aclFloat16 *", b.address), ldb=-1, beta=ffi.cast("aclFloat16 *", factor.address),
                  c=ffi.cast("aclFloat16 *", c.address), ldc=-1, type=lib.ACL_COMPUTE_HIGH_PRECISION,
                  stream=stream.handle)

    def call(**changed: Any) -> int:
        return int(lib.aclblasHgemm(*{**values, **changed}.values()))

    call.kept = (a, b, c, factor)  # type: ignore[attr-defined]
    call.result = c  # type: ignore[attr-defined]
    return call


def test_hgemm(half: Any, stream: Stream) -> None:
    half.result.copy_(np.ones((4, 4), np.float16))
    assert half() == 0
    stream.synchronize()
    np.testing.assert_array_equal(half.result.numpy(), np.full((4, 4), 5))


@pytest.mark.parametrize("changed", [
    {"m": 0}, {"n": -1}, {"k": 0}, {"lda": 4}, {"ldb": 0}, {"ldc": 4}, {"alpha": NULL}, {"beta": NULL}, {"a": NULL},
    {"b": NULL}, {"c": NULL}, {"type": lib.ACL_COMPUTE_LOW_PRECISION}, {"ta": lib.ACL_TRANS_NZ_T},
    {"tb": lib.ACL_TRANS_NZ_T}, {"tc": lib.ACL_TRANS_T},
], ids=str)
def test_wrong_arguments(half: Any, changed: dict[str, Any]) -> None:
    assert half(**changed) == lib.ACL_ERROR_INVALID_PARAM


def test_functions_with_fixed_dtypes(stream: Stream) -> None:
    """aclblasS8gemm, aclblasHgemv and aclblasS8gemv, and their handles, do as the general ones."""
    high, none = lib.ACL_COMPUTE_HIGH_PRECISION, lib.ACL_TRANS_N
    a, x = Tensor.full((4, 4), 2, np.int8), Tensor.full((4, 1), 3, np.int8)
    y, z = Tensor.zeros((4, 1), np.int32), Tensor.zeros((4, 4), np.int32)
    one, zero = Tensor.from_numpy(np.array([1], np.int32)), Tensor.from_numpy(np.array([0], np.int32))
    blas.gemm(a, a, z, stream=stream)
    blas.gemv(a, x, y, stream=stream)
    pointer = lambda t, kind: ffi.cast(kind, t.address)  # noqa: E731
    small, wide = "int8_t *", "int32_t *"
    y.copy_(np.zeros((4, 1), np.int32))
    z.copy_(np.zeros((4, 4), np.int32))
    assert lib.aclblasS8gemm(none, none, none, 4, 4, 4, pointer(one, wide), pointer(a, small), -1,
                             pointer(a, small), -1, pointer(zero, wide), pointer(z, wide), -1, high, stream.handle) == 0
    assert lib.aclblasS8gemv(none, 4, 4, pointer(one, wide), pointer(a, small), -1, pointer(x, small), -1,
                             pointer(zero, wide), pointer(y, wide), -1, high, stream.handle) == 0
    stream.synchronize()
    assert (z.numpy() == 16).all()
    assert (y.numpy() == 24).all()
    h, v, w = Tensor.full((4, 4), 2, np.float16), Tensor.full((4, 1), 3, np.float16), Tensor.zeros((4, 1), np.float16)
    halves = Tensor.from_numpy(np.array([1, 0], np.float16))
    blas.gemv(h, v, w, stream=stream)
    half = "aclFloat16 *"
    assert lib.aclblasHgemv(none, 4, 4, pointer(halves, half), pointer(h, half), -1, pointer(v, half), -1,
                            pointer(halves, half), pointer(w, half), -1, high, stream.handle) == 0
    stream.synchronize()
    assert (w.numpy() == 48).all()
    out = ffi.new("aclopHandle **")
    for create in (lambda: lib.aclblasCreateHandleForS8gemm(none, none, none, 4, 4, 4, high, out),
                   lambda: lib.aclblasCreateHandleForS8gemv(none, 4, 4, high, out),
                   lambda: lib.aclblasCreateHandleForHgemv(none, 4, 4, high, out)):
        assert create() == 0
        lib.aclopDestroyHandle(out[0])
    assert lib.aclblasCreateHandleForHgemm(none, none, none, 4, 4, 4, high, NULL) == lib.ACL_ERROR_INVALID_PARAM
    lib.aclGetRecentErrMsg()
