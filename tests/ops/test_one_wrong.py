"""Calls that are right but for one argument are refused in phase one, with the code that the operator's page gives."""

from __future__ import annotations

from typing import Any, Callable

import ml_dtypes
import numpy as np
import pytest

from pyacl.capi import lib

from .caller import Call, Rejected
from .test_operators import prepare

NULL, INVALID, TILING = lib.ACLNN_ERR_PARAM_NULLPTR, lib.ACLNN_ERR_PARAM_INVALID, lib.ACLNN_ERR_INNER_TILING_ERROR


def longer(axis: int) -> Callable[[Any], Any]:
    """The tensor with one more row along an axis."""
    return lambda x: np.concatenate((x, np.take(x, [0], axis)), axis)


def flat(x: Any) -> Any:
    return x.reshape(-1)


def other_float(x: Any) -> Any:
    return x.astype(ml_dtypes.bfloat16 if x.dtype == np.float16 else np.float16)


WRONG: list[tuple[str, str, Any, int]] = [
    ("MoeInitRoutingV3", "expertIdx", longer(0), TILING),
    ("MoeInitRoutingV3", "quantMode", 7, TILING),
    ("MoeInitRoutingV3", "activeExpertRangeOptional", (3, 2), TILING),
    ("MoeInitRoutingV3", "rowIdxType", 2, TILING),
    ("MoeInitRoutingQuantV2", "quantMode", 2, TILING),
    ("MoeInitRoutingV2Grad", "dropPadMode", 2, TILING),
    ("MoeInitRoutingV2Grad", "topK", 0, TILING),
    ("MoeFinalizeRoutingV2Grad", "expandedRowIdx", longer(0), TILING),
    ("MoeTokenPermuteWithRoutingMap", "routingMap", longer(0), INVALID),
    ("MoeTokenPermuteWithRoutingMap", "numOutTokens", -1, INVALID),
    ("MoeTokenUnpermuteWithRoutingMap", "permutedTokens", flat, INVALID),
    ("MoeUpdateExpert", "eplbTable", flat, TILING),
    ("MoeUpdateExpert", "localRankId", 6, TILING),
    ("AdvanceStepV2", "seqLens", longer(0), TILING),
    ("TopKTopPSampleV2", "topP", longer(0), INVALID),
    ("RingAttentionUpdate", "curAttnOut", longer(0), TILING),
    ("RingAttentionUpdate", "inputLayoutOptional", "BSH", TILING),
    ("MaskedSoftmaxWithRelPosBias", "relativePosBias", longer(2), TILING),
    ("Sinkhorn", "cost", flat, INVALID),
    ("PrecisionCompare", "realdata", longer(0), INVALID),
    ("GRUBackward", "hx", longer(0), INVALID),
    ("ThnnFusedLstmCell", "cx", longer(0), INVALID),
    ("ThnnFusedLstmCell", "hiddenBiasOptional", None, INVALID),
    ("BidirectionLSTM", "wHh", longer(0), TILING),
    ("BidirectionLSTM", "batchFirst", True, TILING),
    ("DeformableConv2d", "modulated", False, INVALID),
    ("DeformableConv2d", "kernelSize", (2, 2), INVALID),
    ("DeformableConv2d", "padding", (0, 0), INVALID),
    ("DeformableConv2dBackward", "gradOutput", longer(2), INVALID),
    ("MultiScaleDeformableAttnFunction", "levelStartIndex", longer(0), INVALID),
    ("MultiScaleDeformableAttnFunction", "attnWeight", other_float, INVALID),
    ("ThreeInterpolateBackward", "idx", longer(1), INVALID),
    ("ChamferDistanceBackward", "idx1", longer(1), INVALID),
    ("RoiAlign", "mode", "min", INVALID),
    ("RoiAlign", "batchIndices", longer(0), INVALID),
    ("RoiAlign", "samplingRatio", -1, INVALID),
    ("RoiAlignV2Backward", "inputShape", (2, 2, 8), INVALID),
    ("RoiAlignV2Backward", "spatialScale", 0.0, INVALID),
    ("RoiPoolingWithArgMax", "rois", longer(0), INVALID),
    ("RoiPoolingGradWithArgMax", "argmax", longer(0), INVALID),
    ("CIoU", "isCross", True, INVALID),
    ("CIoU", "gtBoxes", longer(1), INVALID),
    ("Resize", "mode", "cubic", INVALID),
    ("Resize", "scales", (1.0, 1.0), INVALID),
    ("MaxPool3D", "padding", "FULL", INVALID),
    ("MaxPool3D", "ksize", (1, 2), INVALID),
    ("BackgroundReplace", "mask", longer(0), INVALID),
    ("BlendImagesCustom", "alpha", longer(2), INVALID),
    ("MrgbaCustom", "rgb", longer(2), INVALID),
    ("Rgb2yuv422", "dataFormatOptional", "NDHWC", INVALID),
    ("Rasterizer", "f", longer(1), TILING),
    ("FusedMulAddN", "x3", longer(0), INVALID),
    ("DataFormatDimMap", "dstFormat", "NHWD", INVALID),
    ("aclRfft1D", "norm", 4, INVALID),
    ("aclRfft1D", "n", 0, INVALID),
    ("aclStft", "nFft", 6, INVALID),
    ("aclStft", "windowOptional", np.zeros(2), INVALID),
    ("ApplyAdamax", "m", longer(0), INVALID),
    ("ApplyAdamax", "epsilon", np.float32(-1), INVALID),
    ("ApplyFtrl", "useLocking", True, INVALID),
    ("ApplyFtrl", "l1", longer(0), INVALID),
    ("ExpandIntoJaggedPermute", "inputOffset", longer(0), TILING),
    ("GroupedBiasAddGradV2", "groupIdxType", 2, INVALID),
    ("GroupedBiasAddGradV2", "groupIdxOptional", None, INVALID),
    ("ExpSegsumBackward", "gradSelf", longer(3), INVALID),
    ("FusedCrossEntropyLossWithMaxSum", "labelSmoothing", 0.1, INVALID),
    ("CrossEntropySumExpAndIndexLogit", "vocabEndIndex", 21, INVALID),
    ("FusedLinearOnlineMaxSum", "vocabStartIndex", -1, INVALID),
    ("FusedLinearCrossEntropyLossGrad", "sumExpLogitsOptional", None, NULL),
    ("NsaCompress", "compressStride", 48, INVALID),
    ("NsaCompress", "actSeqLenType", 1, INVALID),
    ("NsaCompressWithCache", "pageBlockSize", 32, TILING),
    ("NsaCompressAttention", "headNum", 3, INVALID),
    ("NsaSelectedAttention", "topkIndices", longer(2), INVALID),
    ("NsaSelectedAttentionInfer", "selectBlockSize", 24, INVALID),
    ("MlaPrologV2WeightNz", "cacheModeOptional", "BNSD", TILING),
    ("MlaPrologV2WeightNz", "ropeCos", longer(0), TILING),
    ("MlaPrologV2WeightNz", "kvCacheRef", lambda x: x.astype(np.int8), TILING),
    ("MlaPrologV2WeightNz", "smoothScalesCqOptional", np.ones((1, 1536), np.float32), TILING),
]


@pytest.mark.parametrize(("name", "parameter", "value", "code"), WRONG, ids=[f"{n}-{p}" for n, p, *_ in WRONG])
def test_refused(name: str, parameter: str, value: Any, code: int, npu: None) -> None:
    full = name if name.startswith("acl") else f"aclnn{name}"
    operator, _, _, values, _ = prepare(full, 0)
    at = [p.name for p in operator.signature.parameters].index(parameter)
    values[at] = value(values[at]) if callable(value) else value
    call = Call(operator.signature, values)
    with pytest.raises(Rejected) as caught:
        call.phase_one()
    call.close()
    assert caught.value.code == code, caught.value.text
