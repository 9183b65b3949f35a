"""Notifies and counting notifies. Sharing them between processes is not emulated."""

from __future__ import annotations

from typing import Any

from ...capi import lib
from .. import handles
from ..machine import context as _context
from ..machine import stream as _stream
from ..machine.notify import RECORDS, WAITS, CountingNotify, Notify, SignalGate
from . import arguments

_INVALID = lib.ACL_ERROR_RT_INVALID_HANDLE


def _resolve(pointer: Any) -> Notify:
    return handles.get(pointer, Notify, "notify", wrong=_INVALID)


def aclrtCreateNotify(notify: Any, flag: int) -> None:
    arguments.not_null(notify, "notify")
    if flag not in (lib.ACL_NOTIFY_DEFAULT, lib.ACL_NOTIFY_DEVICE_USE_ONLY):
        raise arguments.refused(f"there is no notify flag {flag:#x}")
    notify[0] = handles.pointer(Notify(_context.current().device).handle)


def aclrtDestroyNotify(notify: Any) -> None:
    _resolve(notify).destroy()


def aclrtRecordNotify(notify: Any, stream: Any) -> None:
    found = _resolve(notify)
    found.change(_stream.resolve(stream), lambda _: 1, "aclrtRecordNotify")


def aclrtWaitAndResetNotify(notify: Any, stream: Any, timeout: int) -> None:
    found = _resolve(notify)
    found.wait(_stream.resolve(stream), SignalGate(found, bool, True, timeout), "aclrtWaitAndResetNotify")


def aclrtGetNotifyId(notify: Any, notifyId: Any) -> None:
    arguments.not_null(notifyId, "notifyId")
    notifyId[0] = _resolve(notify).id


def aclrtNotifyBatchReset(notifies: Any, num: int) -> None:
    arguments.not_null(notifies, "notifies")
    if not num:
        raise arguments.invalid("num is 0")
    for found in [_resolve(notifies[i]) for i in range(num)]:
        found.value = 0


def _counting(pointer: Any) -> CountingNotify:
    return handles.get(pointer, CountingNotify, "cntNotify", wrong=_INVALID)


def aclrtCntNotifyCreate(cntNotify: Any, flag: int) -> None:
    arguments.not_null(cntNotify, "cntNotify")
    if flag:
        raise arguments.refused(f"the flag is {flag:#x}: only 0 is supported")
    cntNotify[0] = handles.pointer(CountingNotify(_context.current().device).handle)


def aclrtCntNotifyDestroy(cntNotify: Any) -> None:
    _counting(cntNotify).destroy()


def aclrtCntNotifyRecord(cntNotify: Any, stream: Any, info: Any) -> None:
    found = _counting(cntNotify)
    arguments.not_null(info, "info")
    change = RECORDS.get(info.mode)
    if change is None:
        raise arguments.refused(f"there is no record mode {info.mode}")
    value = int(info.value)
    found.change(_stream.resolve(stream), lambda old: change(old, value), "aclrtCntNotifyRecord")


def aclrtCntNotifyWaitWithTimeout(cntNotify: Any, stream: Any, info: Any) -> None:
    found = _counting(cntNotify)
    arguments.not_null(info, "info")
    compare = WAITS.get(info.mode)
    if compare is None:
        raise arguments.refused(f"there is no wait mode {info.mode}")
    value = int(info.value)
    gate = SignalGate(found, lambda now: compare(now, value), bool(info.isClear), info.timeout)
    found.wait(_stream.resolve(stream), gate, "aclrtCntNotifyWaitWithTimeout")


def aclrtCntNotifyReset(cntNotify: Any, stream: Any) -> None:
    found = _counting(cntNotify)
    found.change(_stream.resolve(stream), lambda _: 0, "aclrtCntNotifyReset")


def aclrtCntNotifyGetId(cntNotify: Any, notifyId: Any) -> None:
    arguments.not_null(notifyId, "notifyId")
    notifyId[0] = _counting(cntNotify).id
