"""aclopInferShape: the outputs' shapes and types from the inputs' shapes and data."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...capi import lib
from ..api.arguments import invalid
from ..api.tensor_desc import TensorDesc
from ..machine import memory
from ..ops import ge
from ..ops.types import to_code
from .bind import Bound
from .call import Call
from .model import OpModel, signature


def infer(call: Call) -> None:
    """Writes what is known into the output descriptions: exact shapes, or -1 with a range where data decides."""
    for i, (desc, buffer) in enumerate(zip(call.inputs, call.sources)):
        if desc.unused:
            continue
        region = memory.find(buffer.address) if buffer.address else None
        if not buffer.size:
            raise invalid(f"aclopInferShape: input {i} has no data")
        if region is not None and region.kind == "device":
            raise invalid(f"aclopInferShape: input {i} is device memory; its data must be in host memory")
    inputs = [signature(desc, None if desc.unused else call.host_bytes(i)) for i, desc in enumerate(call.inputs)]
    outputs = [signature(TensorDesc(lib.ACL_DT_UNDEFINED, (), lib.ACL_FORMAT_UNDEFINED)) for _ in call.outputs]
    model = OpModel(call.type, inputs, outputs, call.attrs, "aclopInferShape")
    _check_names(ge.find(call.type), call)
    shapes, dtypes = Bound(model, model, plan=False).infer()
    for desc, shape, dtype in zip(call.outputs, shapes, dtypes):
        desc.shape = tuple(-1 if isinstance(n, tuple) else n for n in shape)
        desc.shape_range = tuple(n if isinstance(n, tuple) else (n, n) for n in shape) if -1 in desc.shape else ()
        if dtype is not None:
            desc.dtype = to_code(np.dtype(dtype))
        if desc.format == lib.ACL_FORMAT_UNDEFINED:
            desc.format = next((d.format for d in call.inputs if not d.unused), lib.ACL_FORMAT_ND)


def _check_names(operator: Any, call: Call) -> None:
    """With any number of inputs or outputs, every description needs its declared name, numbered for these."""
    if operator is None or not any(s.many for s in (*operator.inputs, *operator.outputs)):
        return
    for what, slots, descs in (("input", operator.inputs, call.inputs), ("output", operator.outputs, call.outputs)):
        allowed = {s.name for s in slots if not s.many}
        numbered = [s.name for s in slots if s.many]
        for i, desc in enumerate(descs):
            stem = desc.name.rstrip("0123456789")
            if desc.name in allowed or (stem in numbered and stem != desc.name) or desc.unused:
                continue
            want = ", ".join([*allowed, *(f"{n}0" for n in numbered)])
            raise invalid(f"aclopInferShape: {what} {i} of {call.type} has the name "
                          f"{desc.name!r}: call aclSetTensorDescName with {want}")
