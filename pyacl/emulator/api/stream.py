"""Streams."""

from __future__ import annotations

from typing import Any, Callable

from ...capi import ffi, lib
from .. import handles
from ..failure import not_emulated
from ..machine import context as _context
from ..machine import cores, model_streams
from ..machine import stream as _stream
from ..machine.stream import Stream
from . import arguments

_FLAGS = (lib.ACL_STREAM_FAST_LAUNCH | lib.ACL_STREAM_FAST_SYNC | lib.ACL_STREAM_PERSISTENT | lib.ACL_STREAM_HUGE
          | lib.ACL_STREAM_CPU_SCHEDULE | lib.ACL_STREAM_DEVICE_USE_ONLY)
_LEAST_PRIORITY = 7

resolve, named = _stream.resolve, _stream.named


class StreamConfig:
    """An aclrtStreamConfigHandle."""

    def __init__(self) -> None:
        self.flag = 0
        self.priority = 0


def _create(out: Any, priority: int, flag: int) -> None:
    arguments.not_null(out, "stream")
    context = _context.current()
    if not 0 <= priority <= _LEAST_PRIORITY:
        raise arguments.refused(f"priority {priority}: give 0 (highest) to {_LEAST_PRIORITY}")
    out[0] = Stream(context, flag & _FLAGS, priority).pointer


def aclrtCreateStream(stream: Any) -> None:
    _create(stream, 0, 0)


def aclrtCreateStreamWithConfig(stream: Any, priority: int, flag: int) -> None:
    _create(stream, priority, flag)


def aclrtCreateStreamConfigHandle() -> Any:
    return ffi.cast("aclrtStreamConfigHandle *", handles.new(StreamConfig()))


def aclrtSetStreamConfigOpt(handle: Any, attr: int, attrValue: Any, valueSize: int) -> None:
    config = handles.get(handle, StreamConfig, "the stream configuration")
    arguments.not_null(attrValue, "attrValue")
    types = {
        lib.ACL_RT_STREAM_WORK_ADDR_PTR: "void *", lib.ACL_RT_STREAM_WORK_SIZE: "size_t",
        lib.ACL_RT_STREAM_FLAG: "size_t", lib.ACL_RT_STREAM_PRIORITY: "uint32_t",
    }
    if attr not in types:
        raise arguments.invalid(f"there is no stream attribute {attr}")
    if valueSize != ffi.sizeof(types[attr]):
        raise arguments.invalid(f"attribute {attr} has {ffi.sizeof(types[attr])} bytes, not {valueSize}")
    value = ffi.cast(f"{types[attr]} *", attrValue)[0]
    if attr == lib.ACL_RT_STREAM_FLAG:
        config.flag = int(value)
    elif attr == lib.ACL_RT_STREAM_PRIORITY:
        config.priority = int(value)


def aclrtDestroyStreamConfigHandle(handle: Any) -> None:
    handles.get(handle, StreamConfig, "the stream configuration")
    handles.drop(handle)


def aclrtCreateStreamV2(stream: Any, handle: Any) -> None:
    if handle == ffi.NULL:
        _create(stream, 0, 0)
        return
    config = handles.get(handle, StreamConfig, "the stream configuration")
    _create(stream, config.priority, config.flag)


def _destroyable(pointer: Any) -> Stream:
    stream = named(pointer)
    if stream.default:
        raise arguments.refused(f"the {stream!r} goes with its context: destroy or reset that")
    model_streams.refuse_bound(stream, "destroyed")
    return stream


def aclrtDestroyStream(stream: Any) -> None:
    _destroyable(stream).release()


def aclrtDestroyStreamForce(stream: Any) -> None:
    _destroyable(stream).release(wait=False)


def aclrtSynchronizeStream(stream: Any) -> None:
    found = resolve(stream)
    if found.aborted or found.capture is not None:
        found.refuse_synchronisation()
    found.drain(None, "aclrtSynchronizeStream")


def aclrtSynchronizeStreamWithTimeout(stream: Any, timeout: int) -> None:
    deadline = _stream.deadline_after(timeout)
    found = resolve(stream)
    if found.aborted or found.capture is not None:
        found.refuse_synchronisation()
    found.drain(deadline, "aclrtSynchronizeStreamWithTimeout")


def aclrtStreamQuery(stream: Any, status: Any) -> None:
    arguments.not_null(status, "status")
    found = resolve(stream)
    if found.capture is not None:
        found.refuse_synchronisation()
    status[0] = lib.ACL_STREAM_STATUS_COMPLETE if found.poll() else lib.ACL_STREAM_STATUS_NOT_READY


def aclrtStreamAbort(stream: Any) -> None:
    found = named(stream)
    model_streams.refuse_bound(found, "aborted")
    found.abort()


def aclrtStreamStop(stream: Any) -> None:
    found = named(stream)
    if found.default:
        raise arguments.refused("the default stream cannot be stopped")
    model_streams.refuse_bound(found, "stopped")
    found.stop()


def aclrtSetStreamFailureMode(stream: Any, mode: int) -> None:
    _set_failure_mode(resolve(stream), mode)


def _set_failure_mode(stream: Stream, mode: int) -> None:
    if mode not in (lib.ACL_CONTINUE_ON_FAILURE, lib.ACL_STOP_ON_FAILURE):
        raise arguments.refused(f"there is no failure mode {mode}")
    if stream.failure_mode is not None:
        raise arguments.refused(f"the failure mode of {stream!r} was already set: that can be done once")
    stream.failure_mode = mode
    stream.stop_on_failure = mode == lib.ACL_STOP_ON_FAILURE


def aclrtSetStreamOverflowSwitch(stream: Any, flag: int) -> None:
    if flag not in (0, 1):
        raise arguments.refused(f"the overflow switch is 0 or 1, not {flag}")
    resolve(stream).overflow_switch = flag


def aclrtGetStreamOverflowSwitch(stream: Any, flag: Any) -> None:
    arguments.not_null(flag, "flag")
    flag[0] = resolve(stream).overflow_switch


def _set_overflow(stream: Stream, value: int) -> None:
    if value not in (0, 1):
        raise arguments.refused(f"the overflow switch is 0 or 1, not {value}")
    stream.overflow_switch = value


def _set_priority(stream: Stream, value: int) -> None:
    if not 0 <= value <= _LEAST_PRIORITY:
        raise arguments.refused(f"priority {value}: give 0 (highest) to {_LEAST_PRIORITY}")
    stream.priority = value


# Attribute -> the member of aclrtStreamAttrValue, how to read it from a stream, how to set it.
_ATTRIBUTES: dict[int, tuple[str, Callable[[Stream], int], Callable[[Stream, int], None]]] = {
    lib.ACL_STREAM_ATTR_FAILURE_MODE: ("failureMode", lambda s: s.failure_mode or 0, _set_failure_mode),
    lib.ACL_STREAM_ATTR_FLOAT_OVERFLOW_CHECK: ("overflowSwitch", lambda s: s.overflow_switch, _set_overflow),
    lib.ACL_STREAM_ATTR_USER_CUSTOM_TAG: ("userCustomTag", lambda s: s.tag, lambda s, v: setattr(s, "tag", v)),
    lib.ACL_STREAM_ATTR_CACHE_OP_INFO:
        ("cacheOpInfoSwitch", lambda s: s.cache_op_info, lambda s, v: setattr(s, "cache_op_info", v)),
    lib.ACL_STREAM_ATTR_PRIORITY: ("streamPriority", lambda s: s.priority, _set_priority),
}


def _attribute(
    kind: int, value: Any,
) -> tuple[str, Callable[[Stream], int], Callable[[Stream, int], None]]:
    arguments.not_null(value, "value")
    if kind not in _ATTRIBUTES:
        raise arguments.invalid(f"there is no stream attribute {kind}")
    return _ATTRIBUTES[kind]


def aclrtSetStreamAttribute(stream: Any, stmAttrType: int, value: Any) -> None:
    member, _, setter = _attribute(stmAttrType, value)
    setter(resolve(stream), getattr(value[0], member))


def aclrtGetStreamAttribute(stream: Any, stmAttrType: int, value: Any) -> None:
    member, getter, _ = _attribute(stmAttrType, value)
    setattr(value[0], member, getter(resolve(stream)))


def aclrtStreamGetId(stream: Any, streamId: Any) -> None:
    arguments.not_null(streamId, "streamId")
    streamId[0] = resolve(stream).id


def aclrtStreamGetPriority(stream: Any, priority: Any) -> None:
    arguments.not_null(priority, "priority")
    priority[0] = resolve(stream).priority


def aclrtStreamGetFlags(stream: Any, flags: Any) -> None:
    arguments.not_null(flags, "flags")
    flags[0] = resolve(stream).flags


def aclrtDeviceGetStreamPriorityRange(leastPriority: Any, greatestPriority: Any) -> None:
    if leastPriority != ffi.NULL:
        leastPriority[0] = _LEAST_PRIORITY
    if greatestPriority != ffi.NULL:
        greatestPriority[0] = 0


def aclrtGetStreamAvailableNum(streamCount: Any) -> None:
    arguments.not_null(streamCount, "streamCount")
    ids = _context.current().device.stream_ids
    streamCount[0] = ids.limit - ids.used


def aclrtCtxGetCurrentDefaultStream(stream: Any) -> None:
    arguments.not_null(stream, "stream")
    stream[0] = _context.current().default_stream.pointer


def aclrtRegStreamStateCallback(regName: Any, callback: Any, args: Any) -> None:
    name = arguments.text(regName, "regName")
    registered = _stream.state_callbacks()
    if callback == ffi.NULL:
        registered.pop(name, None)
        return
    if name in registered:
        raise arguments.refused(f"a stream state callback {name!r} is already registered")
    registered[name] = lambda stream, state: callback(stream, state, args)


def aclrtPersistentTaskClean(stream: Any) -> None:
    found = named(stream)
    if not found.flags & lib.ACL_STREAM_PERSISTENT:
        raise arguments.refused(f"{found!r} is not persistent")
    found.discard()


def aclrtActiveStream(activeStream: Any, stream: Any) -> None:
    active, own = named(activeStream), named(stream)
    for each in (active, own):
        model_streams.require_bound(each, "aclrtActiveStream")
    raise not_emulated("aclrtActiveStream")


def aclrtSwitchStream(leftValue: Any, cond: int, rightValue: Any, dataType: int, trueStream: Any, falseStream: Any,
                      stream: Any) -> None:
    if falseStream != ffi.NULL:
        raise arguments.refused("falseStream must be NULL")
    for each in (named(trueStream), named(stream)):
        model_streams.require_bound(each, "aclrtSwitchStream")
    raise not_emulated("aclrtSwitchStream")


def aclrtSetStreamResLimit(stream: Any, type: int, value: int) -> None:
    found = resolve(stream)
    cores.check(found.device, type, value)
    found.core_limits[type] = value


def aclrtGetStreamResLimit(stream: Any, type: int, value: Any) -> None:
    arguments.not_null(value, "value")
    found = resolve(stream)
    cores.check(found.device, type)
    value[0] = cores.of_stream(found, type)


def aclrtResetStreamResLimit(stream: Any) -> None:
    resolve(stream).core_limits.clear()


def aclrtUseStreamResInCurrentThread(stream: Any) -> None:
    cores.use(resolve(stream))


def aclrtUnuseStreamResInCurrentThread(stream: Any) -> None:
    resolve(stream)
    cores.use(None)
