"""``pyacl bench op --handle``: single operators of the graph engine, by handle and by description side by side."""

from __future__ import annotations

import ast
from contextlib import ExitStack
from typing import Any, Mapping

import numpy as np

from ..cli import CommandError
from .case import parse_dtype, parse_shape
from .session import Session

_MOST = 4  # inputs that are tried where only one shape is given


def measure(bench: Session, type: str, shape: str, dtype: str, values: Mapping[str, Any]) -> None:
    """Times `OpHandle.launch` and `pyacl.op` of operator `type`; the outputs' shapes are inferred."""
    from .. import single_op
    from ..op_handle import OpHandle
    from ..tensor import Tensor

    attrs = {name: _attribute(value) for name, value in values.items()}
    arrays, descs = _inputs(type, shape, dtype, attrs)
    with ExitStack() as stack:
        inputs = [stack.enter_context(Tensor.from_numpy(a)) for a in arrays]
        outputs = [stack.enter_context(Tensor.empty(d.shape or (), d.dtype)) for d in descs]
        handle = stack.enter_context(OpHandle(type, inputs, outputs, attrs))
        about: dict[str, Any] = {
            "group": f"{type} {shape} {dtype}", "kind": "op", "bytes": sum(t.nbytes for t in (*inputs, *outputs)),
            "parameters": {"op": type, "shape": shape, "dtype": dtype, **attrs}}
        bench.measure(lambda: handle.launch(inputs, outputs, bench.stream), "handle", **about)
        bench.measure(lambda: single_op.op(type, inputs, outputs, attrs, stream=bench.stream), "description", **about)
        bench.stream.synchronize()


def _inputs(type: str, shape: str, dtype: str, attrs: Mapping[str, Any]) -> tuple[list[Any], Any]:
    """Random inputs, and the descriptions of the outputs; one shape stands for as many inputs as the operator takes."""
    from ..errors import AclError, NotEmulatedError
    from ..single_op import infer_shape
    from ..tensor_desc import TensorDesc

    shapes = []
    for part in shape.split(","):
        count, star, one = part.strip().rpartition("*")
        if star and not count.isdecimal():
            raise CommandError(f"{part!r} is not a list of shapes: write 2*8x16")
        shapes += [parse_shape(one)] * (int(count) if star else 1)
    generator = np.random.default_rng(0)
    made = [(generator.random(s, np.float32) * 8 + 1).astype(parse_dtype(dtype)) for s in shapes]
    tries = [made * n for n in range(1, _MOST + 1)] if len(made) == 1 and "*" not in shape else [made]
    refused: Any = None
    for arrays in tries:
        named = [TensorDesc.of(a, name=f"x{i}") for i, a in enumerate(arrays)] if "*" in shape else None
        for outputs in (1, 2, 3):
            try:
                results = [TensorDesc((), np.float32, name="y")] if named else None
                return arrays, infer_shape(type, arrays, outputs, attrs, input_descs=named, output_descs=results)
            except NotEmulatedError:
                raise
            except AclError as error:
                refused = refused or error
    raise CommandError(f"{type} does not take {shape}: {' '.join(str(refused).split())}")


def _attribute(value: Any) -> Any:
    """``true``, ``3``, ``0.5``, ``1,2`` or a string, as an attribute."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value
    return list(found) if isinstance(found, tuple) else found
