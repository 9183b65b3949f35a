"""What single pages refuse beyond the rules that all operators share, and results at the edges of their domains."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from pyacl.capi import lib
from pyacl.emulator import ops

from .caller import Call, Rejected

NULL, INVALID, FAULT = lib.ACLNN_ERR_PARAM_NULLPTR, lib.ACLNN_ERR_PARAM_INVALID, lib.ACL_ERROR_RT_AICORE_EXCEPTION
F16, F32, BF16, S8, S32, S64, BOOL = (np.dtype(t) for t in (
    np.float16, np.float32, ml_dtypes.bfloat16, np.int8, np.int32, np.int64, np.bool_))
ONE = np.float32(1)
TILING, INNER_NULL = lib.ACLNN_ERR_INNER_TILING_ERROR, lib.ACLNN_ERR_INNER_NULLPTR


def z(*shape: int, t: Any = F32) -> Any:
    return np.zeros(shape, t)


def run(name: str, *values: Any) -> Any:
    operator = ops.find(f"aclnn{name}")
    assert operator is not None
    call = Call(operator.signature, list(values))
    try:
        results = call.run()
    except Rejected as failure:
        return failure.code
    finally:
        call.close()
    return results[0] if len(results) == 1 else results


REFUSED: dict[str, tuple[int, tuple[Any, ...]]] = {
    "Clamp": (NULL, (z(2), None, None, z(2))),
    "DivMod": (INVALID, (z(2), z(2), 3, z(2))),
    "DivMod of complex": (INVALID, (z(2, t=np.complex64), z(2), 1, z(2, t=np.complex64))),
    "Matmul in 7-D": (INVALID, (z(*[1] * 7), z(*[1] * 7), z(*[1] * 7), 1)),
    "Matmul of both halves": (INVALID, (z(2, 3, t=F16), z(3, 2, t=BF16), z(2, 2), 1)),
    "Matmul of bfloat16": (INVALID, (z(2, 3), z(3, 2, t=BF16), z(2, 2), 1)),
    "Mm with cubeMathType": (INVALID, (z(2, 3), z(3, 2), z(2, 2), 5)),
    "InplaceNormal": (INVALID, (z(2), 0.0, -1.0, 0, 0)),
    "InplaceUniform": (INVALID, (z(2), 2.0, 1.0, 0, 0)),
    "InplaceUniform of int8": (INVALID, (z(2, t=S8), 0.0, 1000.0, 0, 0)),
    "Embedding in 3-D": (INVALID, (z(2, 3, 1), z(1, t=S64), z(1, 3, 1))),
    "Embedding from the back": (FAULT, (z(2, 3), z(1, t=S64) - 1, z(1, 3))),
    "IndexSelect from the back": (FAULT, (z(2, 3), 0, z(1, t=S64) - 1, z(1, 3))),
    "LayerNorm": (INVALID, (z(2, 3, t=BF16), (3,), z(3, t=BF16), z(3), 1e-5, z(2, 3, t=BF16), None, None)),
    "RmsNorm": (INVALID, (z(2, 3, t=F16), z(3, t=BF16), 1e-6, z(2, 3, t=F16), z(2, 1))),
    "RmsNorm with gamma too long": (TILING, (z(2, 3), z(4), 1e-6, z(2, 3), z(2, 1))),
    "GemmaRmsNorm into another shape": (TILING, (z(2, 3), z(3), 1e-6, z(3, 3), z(2, 1))),
    "RmsNorm without x": (NULL, (None, z(3), 1e-6, z(2, 3), z(2, 1))),
    "Stack of nothing": (INNER_NULL, (None, 0, z(1, 2))),
    "Stack of two shapes": (INVALID, ([z(2), z(3)], 0, z(2, 2))),
    "ForeachAbs": (TILING, ([z(2), z(3)], [z(2), z(4)])),
    "ForeachAbs of int8": (INVALID, ([z(2, t=S8)], [z(2, t=S8)])),
    "IsInf in 9-D": (TILING, (z(*[1] * 9), z(*[1] * 9, t=BOOL))),
    "IsInf into another shape": (INVALID, (z(2), z(3, t=BOOL))),
    **{f"{name} of complex": (INVALID, (z(2, t=np.complex64), z(2))) for name in ("Log", "Log2", "Log10", "Sqrt")},
    "Flip": (INVALID, (z(2, 3), (0, -2), z(2, 3))),
    "Linspace": (INVALID, (ONE, ONE, 3, z(2))),
    "Arange": (INVALID, (np.float32(np.nan), ONE, ONE, z(2))),
    "ReduceSum": (INVALID, (z(0, 3, t=np.complex64), (0,), False, np.complex64, z(3, t=np.complex64))),
    "ReduceSum into another type": (INVALID, (z(2, 3), (0,), False, F16, z(3))),
    "Triu of a vector": (INVALID, (z(3), 0, z(3))),
    "Triu of complex": (INVALID, (z(3, 3, t=np.complex64), 0, z(3, 3, t=np.complex64))),
    "EqTensor of uint32": (INVALID, (z(2, t=np.uint32), z(2, t=np.uint32), z(2, t=BOOL))),
    "GtScalar": (INVALID, (z(2), np.complex64(1), z(2, t=BOOL))),
    "BitwiseAndScalar": (INVALID, (z(2, t=S32), ONE, z(2))),
    "PowTensorScalar": (INVALID, (z(2, t=S32), np.int32(-1), z(2, t=S32))),
    "PowTensorScalar of int8": (INVALID, (z(2, t=S8), np.int32(300), z(2, t=S8))),
    "Index": (INVALID, (z(3, 4), [z(2, t=S64)] * 3, z(2))),
    "Index by masks": (INVALID, (z(3, 4), [z(2, t=BOOL)], z(0, 4))),
    "IndexPutImpl": (INVALID, (z(3, 4), [z(1, t=S64)], z(1, 3), False, False)),
    "InplaceMaskedFillTensor": (INVALID, (z(2), z(2, t=BOOL), z(2))),
    "BernoulliTensor": (INVALID, (z(2), z(3), 0, 0, z(2))),
    "Muls of float16": (INVALID, (z(2, t=F16), np.complex64(1), z(2, t=np.complex64))),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, npu: None) -> None:
    code, values = REFUSED[case]
    assert run(case.split()[0], *values) == code


INF, NAN = np.inf, np.nan
GIVEN: dict[str, tuple[tuple[Any, ...], Any]] = {
    "Triu of a number": ((np.float32(3).reshape(()), 0, z()), 3),
    "Triu far away": ((np.ones((2, 3), F32), 1 << 40, z(2, 3)), np.zeros((2, 3))),
    "Mean of nothing": ((z(0, 3), (0,), False, F32, z(3)), [NAN] * 3),
    "ReduceSum of nothing": ((z(0, 3), (0,), False, F32, z(3) + 1), [0] * 3),
    "ProdDim of nothing": ((z(0, 3), 0, False, F32, z(3)), [1] * 3),
    "ReduceSum that overflows": ((np.full(3, 100, S8), (0,), False, S8, z(t=S8)), 44),
    "Matmul over nothing": ((z(2, 0), z(0, 3), z(2, 3) + 1, 1), np.zeros((2, 3))),
    "Clamp between crossed bounds": ((np.arange(3, dtype=F32), np.float32(5), np.float32(2), z(3)), [2] * 3),
    "Clamp of NaN": ((np.array([NAN], F32), np.float32(0), None, z(1)), [NAN]),
    "Maximum of NaN": ((np.array([NAN, 1], F32), np.array([1, NAN], F32), z(2)), [NAN, NAN]),
    "Relu of NaN": ((np.array([NAN, -1], F32), z(2)), [NAN, 0]),
    "Cast to int8": ((np.array([NAN, 3.9, -3.9, 300, 1e20], F32), S8, z(5, t=S8)), [0, 3, -3, 127, 127]),
    "Cast to bool": ((np.array([0, 0.5, NAN], F32), BOOL, z(3, t=BOOL)), [0, 1, 1]),
    "PowTensorTensor": ((np.array([2, -1, 0, 3], S32), np.array([-1, -3, -1, 2], S32), z(4, t=S32)), [0, -1, 0, 9]),
    "DivMod towards zero": ((np.array([-7, 7], S32), np.array([2, 2], S32), 1, z(2, t=S32)), [-3, 3]),
    "DivMod down": ((np.array([-7, 7], S32), np.array([2, 2], S32), 2, z(2, t=S32)), [-4, 3]),
    "Div by zero": ((np.array([1, -1, 0], F32), z(3), z(3)), [INF, -INF, NAN]),
    "RemainderTensorTensor by zero": ((np.array([7, -7], S32), z(2, t=S32), z(2, t=S32)), [7, -7]),
    "RemainderTensorTensor": ((np.array([7, -7, 7, -7], F32), np.array([3, 3, -3, -3], F32), z(4)), [1, 2, -2, -1]),
    "Muls of bfloat16": ((np.array([3], BF16), np.float32(0.1), z(1, t=BF16)), np.array([np.float32(0.3)], BF16)),
    "Muls of float16": ((np.array([3], F16), np.float32(0.1), z(1, t=F16)), np.array([3], F16) * F16.type(0.1)),
    "Amax of NaN": ((np.array([1, NAN], F32), (0,), False, z()), NAN),
    "Norm counts": ((np.array([3, -4, 0], F32), np.float32(0), (0,), False, z()), 2),
    "Norm least": ((np.array([3, -4, 0], F32), np.float32(-INF), (0,), False, z()), 0),
    "Cat of an empty vector": (([z(0), np.ones((2, 3), F32)], 0, z(2, 3)), np.ones((2, 3))),
    "IndexSelect of a number": ((np.float32(4).reshape(()), 0, z(1, t=S64), z()), 4),
    "IndexPutImpl twice": ((z(3), [np.array([0, 0, 1])], np.array([1, 2, 3], F32), True, False), [3, 3, 0]),
    "Index apart": ((np.arange(24, dtype=F32).reshape(2, 3, 4), [np.array([1]), None, np.array([2])], z(1, 3)),
                    [[14, 18, 22]]),
    "Index by a mask": ((np.arange(3, dtype=F32), [np.array([True, False, True])], z(2)), [0, 2]),
}


@pytest.mark.parametrize("case", GIVEN)
def test_given(case: str, npu: None) -> None:
    values, wanted = GIVEN[case]
    np.testing.assert_array_equal(run(case.split()[0], *values), wanted)


def test_sorting_ties_and_nan(npu: None) -> None:
    x = np.array([NAN, 1, 1, 0, NAN], F32)
    for descending, order in ((False, [3, 1, 2, 0, 4]), (True, [0, 4, 1, 2, 3])):
        values, indices = run("Sort", x, True, 0, descending, z(5), z(5, t=S64))
        assert indices.tolist() == order
        np.testing.assert_array_equal(values, x[order])
