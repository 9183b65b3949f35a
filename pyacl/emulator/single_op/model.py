"""Single-operator models: what was loaded from files or compiled in this process, and which one a call means.

A call is described by operator type, tensor descriptions and attributes, and runs only if a model of just these exists:
a static one whose shapes are equal, or a dynamic one whose ranges hold the call's shapes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Iterable, NamedTuple, Optional

from ...capi import lib
from ..api.tensor_desc import UNKNOWN_RANK, TensorDesc
from ..failure import Failure
from .attr import Attr


class Signature(NamedTuple):
    """What models are told apart by in one tensor."""

    dtype: int
    format: int
    storage_format: Optional[int]
    shape: tuple[int, ...]
    shape_range: tuple[tuple[int, int], ...] = ()
    const: Optional[bytes] = None
    name: str = ""  # not compared

    @property
    def dynamic(self) -> bool:
        return any(dim < 0 for dim in self.shape)

    @property
    def unused(self) -> bool:
        return bool(self.dtype == lib.ACL_DT_UNDEFINED)

    def holds(self, other: Signature) -> bool:
        """Whether a call's tensor `other` fits this tensor of a model."""
        if (self.dtype, self.format, self.storage_format, self.const) != \
                (other.dtype, other.format, other.storage_format, other.const):
            return False
        if self.shape == other.shape or self.shape == (UNKNOWN_RANK,):
            return True
        if len(self.shape) != len(other.shape):
            return False
        return all(mine == dim if mine >= 0 else self._in_range(i, dim)
                   for i, (mine, dim) in enumerate(zip(self.shape, other.shape)))

    def _in_range(self, i: int, dim: int) -> bool:
        low, high = self.shape_range[i] if i < len(self.shape_range) else (0, -1)
        return low <= dim and (high == -1 or dim <= high)


def signature(desc: TensorDesc, const: Optional[bytes] = None) -> Signature:
    """What `desc` says now; `const` is the data of an input whose host memory counts as a constant."""
    storage = None if desc.storage_format in (None, desc.format) else desc.storage_format
    return Signature(desc.dtype, desc.format, storage, desc.shape, desc.shape_range,
                     desc.const if const is None else const, desc.dynamic_input or desc.name)


class OpModel:
    """An operator for given tensors and attributes. `source` is a file's path, or how it was made."""

    def __init__(self, type: str, inputs: Iterable[Signature], outputs: Iterable[Signature], attrs: dict[str, Attr],
                 source: str) -> None:
        self.type = type
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.attrs = attrs
        self.source = source

    @property
    def dynamic(self) -> bool:
        return any(t.dynamic for t in (*self.inputs, *self.outputs))

    def difference(self, other: OpModel) -> str:
        """Why a call described by `other` is not this model's; "" if it is."""
        if len(self.inputs) != len(other.inputs) or len(self.outputs) != len(other.outputs):
            return (f"{len(self.inputs)} inputs and {len(self.outputs)} outputs, not {len(other.inputs)} and "
                    f"{len(other.outputs)}")
        for what, mine, theirs in (("input", self.inputs, other.inputs), ("output", self.outputs, other.outputs)):
            for i, (a, b) in enumerate(zip(mine, theirs)):
                if not a.holds(b):
                    return f"{what} {i} is {_describe(a)}, not {_describe(b)}"
        if self.attrs != other.attrs:
            return f"attributes {_list(self.attrs)}, not {_list(other.attrs)}"
        return ""


def _describe(t: Signature) -> str:
    constant = "" if t.const is None else f", a constant of {len(t.const)} bytes"
    bounds = f" in {list(t.shape_range)}" if t.dynamic and t.shape_range else ""
    storage = "" if t.storage_format is None else f" stored as {t.storage_format}"
    return f"dtype {t.dtype} format {t.format}{storage} shape {list(t.shape)}{bounds}{constant}"


def _list(attrs: dict[str, Attr]) -> str:
    return ", ".join(f"{n}={a}" for n, a in sorted(attrs.items())) or "none"


class Registry:
    """The models of this process. Compiled ones age: beyond `limit` the one not used for longest is forgotten."""

    def __init__(self) -> None:
        self.limit = 20000
        self.directory: Optional[str] = None
        self._lock = threading.RLock()
        self._loaded: list[OpModel] = []
        self._compiled: OrderedDict[int, OpModel] = OrderedDict()

    def add_loaded(self, models: Iterable[OpModel]) -> None:
        with self._lock:
            self._loaded[:0] = models

    def add_compiled(self, model: OpModel) -> None:
        with self._lock:
            self._compiled[id(model)] = model
            while len(self._compiled) > self.limit:
                self._compiled.popitem(last=False)

    def models(self, type: str) -> list[OpModel]:
        """All models of an operator type, static ones first."""
        with self._lock:
            found = [m for m in (*self._loaded, *reversed(self._compiled.values())) if m.type == type]
        return sorted(found, key=lambda m: m.dynamic)

    def match(self, call: OpModel) -> OpModel:
        """The model that a call means. Fails with ACL_ERROR_OP_NOT_FOUND and says what each candidate differs in."""
        models = self.models(call.type)
        reasons = []
        for model in models:
            reason = model.difference(call)
            if not reason:
                with self._lock:
                    if id(model) in self._compiled:
                        self._compiled.move_to_end(id(model))
                return model
            reasons.append(f"{model.source} has {reason}")
        if not models:
            raise Failure(lib.ACL_ERROR_OP_NOT_FOUND, f"no model of operator {call.type} is loaded or compiled: call "
                                                      "aclopSetModelDir, aclopLoad or aclopCompile first")
        more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
        text = f"no model of operator {call.type} fits: {'; '.join(reasons[:3])}{more}"
        raise Failure(lib.ACL_ERROR_OP_NOT_FOUND, text)


registry = Registry()
