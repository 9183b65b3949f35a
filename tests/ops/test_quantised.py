"""What random cases do not reach: types of outputs, layouts, and the codes that pages name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="what the oracles use")

from pyacl.capi import lib
from pyacl.emulator import ops
from pyacl.emulator.ops.types import DTYPES, INT4

from .caller import Call, Rejected, bf16
from .oracle import Fractal


def call(name: str, **values: Any) -> Call:
    """A call by parameter names; what is not given is NULL, or 0."""
    operator = ops.find(f"aclnn{name}")
    assert operator is not None
    parameters = operator.signature.parameters
    assert set(values) <= {p.name for p in parameters}
    return Call(operator.signature, [values.get(p.name, 0 if p.kind == "plain" else None) for p in parameters])


def run(name: str, **values: Any) -> list[Any]:
    made = call(name, **values)
    found = made.run()
    made.close()
    return found


def refused(name: str, **values: Any) -> int:
    made = call(name, **values)
    with pytest.raises(Rejected) as caught:
        made.phase_one()
    made.close()
    return int(caught.value.code)


def test_grouped_products_to_int8_are_rounded_to_even(npu: None) -> None:
    scale = (np.full((1, 4), 0.5, np.float32).view(np.uint32)).astype(np.uint64)
    x, weight = np.array([[3], [5], [127]], np.int8), np.array([[[1, -1, 2, 127]]], np.int8)
    out, *_ = run("GroupedMatmulV4", x=[x], weight=[weight], scaleOptional=[scale], groupListOptional=np.array([3]),
                  splitItem=3, out=[np.zeros((3, 4), np.int8)])
    assert out[0].tolist() == [[2, -2, 3, 127], [2, -2, 5, 127], [64, -64, 127, 127]]


def test_fused_matmul_to_float32_is_not_rounded(npu: None) -> None:
    x, y = bf16([[1, 1]]), bf16([[256], [1 / 256]])
    found, = run("FusedMatmul", x1=x, x2=y, fusedOpType="16cast32", y=np.zeros((1, 1), np.float32))
    assert found[0, 0] == np.float32(256 + 1 / 256)
    assert refused("FusedMatmul", x1=x, x2=y, fusedOpType="16cast32",
                   y=bf16([[0]])) == lib.ACLNN_ERR_PARAM_INVALID
    assert refused("FusedMatmul", x1=x, x2=y, fusedOpType="mul", y=bf16([[0]])) == lib.ACLNN_ERR_PARAM_NULLPTR


@pytest.mark.parametrize("fractal", [False, True])
def test_int4_weights_packed_into_int32(fractal: bool, npu: None) -> None:
    """The first of eight has the lowest bits; NZ tiles have 16 rows and 8 words."""
    weight = np.random.default_rng(1).integers(-8, 8, (20, 80)).astype(np.int32)
    words = np.array([[sum((int(v) & 15) << 4 * i for i, v in enumerate(row[j:j + 8])) for j in range(0, 80, 8)]
                      for row in weight], np.uint64).astype(np.uint32).view(np.int32)
    out = np.zeros_like(words)
    found, = run("ConvertWeightToINT4Pack", weight=weight, weightInt4Pack=Fractal(out) if fractal else out)
    wanted = Fractal(words).stored() if fractal else words
    assert (found == wanted).all()


def test_int4_weights_packed_are_what_products_take(npu: None) -> None:
    rng = np.random.default_rng(2)
    weight, x = rng.integers(-8, 8, (16, 24)).astype(np.int32), rng.integers(-8, 8, (3, 16)).astype(INT4)
    words, = run("ConvertWeightToINT4Pack", weight=weight, weightInt4Pack=np.zeros((16, 3), np.int32))
    found, = run("FusedQuantMatmul", x1=x, x2=words, x1Scale=np.ones(3, np.float32), x2Scale=np.ones(1, np.float32),
                 fusedOpType="gelu_tanh", out=np.zeros((3, 24), np.float16))
    sums = x.astype(int) @ weight
    assert np.allclose(found, np.where(sums > 5, sums, found), rtol=1e-3)
    assert (np.abs(found[sums < -5]) < 1e-2).all()


def test_codes_of_pages(npu: None) -> None:
    odd = np.zeros((2, 3), np.float32)
    assert refused("SwigluGroup", x=odd, clampLimit=-1.0, out=odd) == lib.ACLNN_ERR_INNER_TILING_ERROR
    assert refused("DequantSituQuant", x=np.zeros((2, 4), np.int8), weightScaleOptional=np.ones(1, np.float32), beta=4.0,
                   quantTypeOptional="static", yOut=np.zeros((2, 2), np.int8),
                   yScaleOut=np.zeros(2, np.float32)) == lib.ACLNN_ERR_PARAM_NULLPTR
    lora = np.zeros((1, 1, 16, 16), np.float16)
    assert refused("AddLora", y=np.zeros((2, 16), np.float16), x=np.zeros((2, 16), np.float16), weightB=lora,
                   indices=np.zeros(3, np.int32), ySliceSize=16,
                   out=np.zeros((2, 16), np.float16)) == lib.ACLNN_ERR_INNER_TILING_ERROR


@pytest.mark.skipif("f8e8m0" not in DTYPES, reason="ml_dtypes is too old for float8_e8m0")
def test_the_code_of_a_wrong_rounding_mode(npu: None) -> None:
    row = np.zeros((2, 4), np.float16)
    wrong = {"x": row, "gamma": row[0], "epsilon": 1e-6, "dstType": 36, "yOut": np.zeros((2, 4), DTYPES["f8e4m3"]),
             "mxscaleOut": np.zeros((2, 1, 2), DTYPES["f8e8m0"])}
    assert refused("RmsNormDynamicMxQuant", roundMode="floor", **wrong) == lib.ACLNN_ERR_INNER_NULLPTR


def test_what_is_not_known_says_so(npu: None) -> None:
    """HIFLOAT8, and formulas that pages leave open."""
    x = np.zeros((2, 4), np.float16)
    assert refused("DynamicBlockQuant", x=x, dstType=34, rowBlockSize=1, colBlockSize=64, yOut=x.astype(np.int8),
                   scaleOut=np.zeros((2, 1), np.float32)) == lib.ACL_ERROR_API_NOT_SUPPORT
    weight = np.zeros((4, 4), np.float16)
    assert refused("FFN", x=x, weight1=weight, weight2=weight, activation="geglu", y=x) == lib.ACL_ERROR_API_NOT_SUPPORT
