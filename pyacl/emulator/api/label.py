"""Labels. Jumping to them belongs to model instances and is not emulated; making and destroying them is."""

from __future__ import annotations

from typing import Any

from ...capi import ffi, lib
from .. import handles
from ..failure import Failure, not_emulated
from ..machine import context as _context
from ..machine import model_streams
from ..machine import stream as _stream
from . import arguments

MOST = 65535


class Label:
    """An aclrtLabel."""

    def __init__(self) -> None:
        self.list: Any = None


class LabelList:
    """An aclrtLabelList."""

    def __init__(self, labels: list[Label]) -> None:
        self.labels = labels


def _label(pointer: Any) -> Label:
    return handles.get(pointer, Label, "label", wrong=lib.ACL_ERROR_RT_INVALID_HANDLE)


def aclrtCreateLabel(label: Any) -> None:
    arguments.not_null(label, "label")
    _context.current()
    if len(handles.live(Label)) >= MOST:
        raise Failure(lib.ACL_ERROR_RT_RESOURCE_ALLOC_FAIL, f"a process has at most {MOST} labels")
    label[0] = handles.pointer(handles.new(Label()))


def aclrtDestroyLabel(label: Any) -> None:
    if _label(label).list is not None:
        raise arguments.refused("the label is in a list: destroy that first")
    handles.drop(label)


def aclrtCreateLabelList(labels: Any, num: int, labelList: Any) -> None:
    arguments.not_null(labels, "labels")
    arguments.not_null(labelList, "labelList")
    if not 0 < num <= MOST:
        raise arguments.invalid(f"a list of {num} labels: give 1 to {MOST}")
    made = LabelList([_label(labels[i]) for i in range(num)])
    for label in made.labels:
        label.list = made
    labelList[0] = handles.pointer(handles.new(made))


def _list(pointer: Any) -> LabelList:
    return handles.get(pointer, LabelList, "labelList", wrong=lib.ACL_ERROR_RT_INVALID_HANDLE)


def aclrtDestroyLabelList(labelList: Any) -> None:
    for label in _list(labelList).labels:
        label.list = None
    handles.drop(labelList)


def aclrtSetLabel(label: Any, stream: Any) -> None:
    _label(label)
    model_streams.require_bound(_stream.named(stream), "aclrtSetLabel")
    raise not_emulated("aclrtSetLabel")


def aclrtSwitchLabelByIndex(ptr: Any, maxValue: int, labelList: Any, stream: Any) -> None:
    if ptr == ffi.NULL:
        raise arguments.invalid("ptr is NULL")
    _list(labelList)
    model_streams.require_bound(_stream.named(stream), "aclrtSwitchLabelByIndex")
    raise not_emulated("aclrtSwitchLabelByIndex")
