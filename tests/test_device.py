"""Devices and the initialisation of the library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import Gate, in_thread, python, upload

import pyacl
from pyacl.capi import ffi, lib

TWO = {"PYACL_EMULATOR_DEVICES": "2"}


def test_a_device_says_what_it_is(device: Any) -> None:
    assert device.id == int(device) == 0
    assert [10, 20][device] == 10  # an index, too
    assert repr(device) == "<pyacl.Device 0>"
    assert device.soc_name == pyacl.soc_name()
    assert device.soc_name.startswith("Ascend")
    assert pyacl.device_count() >= 1
    assert device.healthy is True
    assert device.cube_cores == device.info("cube_core_num") > 0
    assert device.vector_cores == device.info("VECTOR_CORE_NUM") > 0
    assert device.l2_cache == device.info(lib.ACL_DEV_ATTR_L2_CACHE_SIZE) > 0
    assert isinstance(device.capability("tscpu_task_update_support_aic_aiv"), bool)
    least, greatest = device.stream_priorities
    assert greatest <= least
    with pytest.raises(ValueError, match="'nothing' is not known"):
        device.info("nothing")


def test_memory_goes_down_and_up(device: Any) -> None:
    before = device.memory
    assert 0 < before.free <= before.total
    with pyacl.DeviceBuffer(1 << 20):
        assert device.memory.free <= before.free - (1 << 20)
        assert pyacl.mem_info().free == device.mem_info("hbm_mem").free
    assert device.memory == before
    free, total = before
    assert (free, total) == (before.free, before.total)


def test_available_streams_go_down(device: Any) -> None:
    before = device.available_streams
    with pyacl.Stream():
        assert device.available_streams == before - 1
    assert device.available_streams == before


@pytest.mark.parametrize("wrong", [99, -1, 2**31 - 1, 2**31, -2**63, 1 << 70])
def test_an_id_out_of_range(device: Any, wrong: int) -> None:
    with pytest.raises(pyacl.InvalidArgumentError) as caught:
        pyacl.Device(wrong)
    assert caught.value.code == lib.ACL_ERROR_RT_INVALID_DEVICEID
    assert "device_count" in caught.value.remedy


@pytest.mark.parametrize("wrong", ["0", 0.0, True, None])
def test_an_id_of_another_type(device: Any, wrong: Any) -> None:
    with pytest.raises(TypeError, match="a device id is an int"):
        pyacl.Device(wrong)


def test_an_id_from_an_array(device: Any) -> None:
    for id in np.arange(pyacl.device_count()):
        with pyacl.Device(id) as found:  # type: ignore[arg-type]
            assert type(found.id) is int


def test_devices_of_one_id_are_counted(device: Any) -> None:
    with pyacl.Device(0) as inner:
        assert inner is not device
        assert inner.context is device.context
        x = upload(np.ones(3))
    assert inner.closed
    assert not device.closed
    assert np.array_equal(x.numpy(), np.ones(3))  # the outer one keeps what was made in the inner
    with pytest.raises(pyacl.ClosedError, match="this Device is closed"):
        inner.context  # noqa: B018


def test_synchronize_waits_for_all_streams(device: Any) -> None:
    with pyacl.Stream() as one, pyacl.Stream() as two, pyacl.DeviceBuffer(4) as a, pyacl.DeviceBuffer(4) as b:
        pyacl.memset(a, 1, stream=one)
        pyacl.memset(b, 2, stream=two)
        device.synchronize()
        assert one.query()
        assert two.query()
        for buffer, value in ((a, 1), (b, 2)):
            out = np.empty(4, np.uint8)
            buffer.copy_to(out)
            assert (out == value).all()


def test_synchronize_with_a_timeout(device: Any) -> None:
    with pyacl.Stream() as stream:
        gate = Gate(stream)
        with pytest.raises(pyacl.SyncTimeoutError) as caught:
            device.synchronize(timeout=0.02)
        assert isinstance(caught.value, TimeoutError)
        gate.open()
        device.synchronize(timeout=5)
        gate.close()
        with pytest.raises(ValueError, match="negative"):
            device.synchronize(timeout=-1)


def test_synchronize_raises_what_a_host_function_raised(device: Any) -> None:
    with pyacl.Stream() as stream:
        stream.call(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            device.synchronize()
        stream.synchronize()


def test_set_current_in_another_thread(device: Any) -> None:
    def work() -> Any:
        device.set_current()
        return upload(np.arange(3)).numpy().sum()

    assert in_thread(work) == 3


def test_resource_limits(device: Any) -> None:
    for kind, cores in (("cube_core", device.cube_cores), ("vector_core", device.vector_cores)):
        assert device.resource_limit(kind) == cores
        device.set_resource_limit(kind, 2)
        assert device.resource_limit(kind) == 2
    device.reset_resource_limit()
    assert device.resource_limit("cube_core") == device.cube_cores
    with pytest.raises(ValueError, match="not known"):
        device.resource_limit("coffee")


def test_overflow_mode(device: Any) -> None:
    first = device.overflow_mode
    assert first in ("saturation", "infnan")
    for mode in ("saturation", "infnan"):
        device.overflow_mode = mode
        assert device.overflow_mode == mode
    device.overflow_mode = first
    with pytest.raises(ValueError, match="not known"):
        device.overflow_mode = "wrap"


def test_peers() -> None:
    assert python("""
    with pyacl.Device(0) as one, pyacl.Device(1) as two:
        print(one.can_access_peer(two), one.can_access_peer(1), one.peer_access(two))
        one.enable_peer_access(two)
        print(one.peer_access(two))
        one.disable_peer_access(two)
        print(one.peer_access(two))
        try: one.enable_peer_access(7)
        except pyacl.AclError as error: print(isinstance(error, (ValueError, NotImplementedError, RuntimeError)))
    """, **TWO) == "True True False\nTrue\nFalse\nTrue\n"


def test_two_devices_have_their_own_memory_and_current_device() -> None:
    assert python("""
    with pyacl.Device(0) as one:
        a = pyacl.Tensor.full(3, 1)
        with pyacl.Device(1) as two:
            b = pyacl.Tensor.full(3, 2)
            print(pyacl.Context.current().device_id, b.device_id, a.device_id)
            print(one.memory.free < one.memory.total, two.memory.free < two.memory.total, pyacl.device_count())
            try: pyacl.memcpy(b, a)
            except pyacl.AclError as error: print("EnablePeerAccess" in str(error))
            one.enable_peer_access(two); two.enable_peer_access(one)
            pyacl.memcpy(b, a)
            print(b.numpy())
        print(pyacl.Context.current().device_id, b.closed or b.buffer.closed, a.numpy())
    """, **TWO) == "1 1 0\nTrue True 2\nTrue\n[1. 1. 1.]\n0 True [1. 1. 1.]\n"


def test_an_operator_does_not_reach_another_devices_memory() -> None:
    assert python("""
    with pyacl.Device(0) as one:
        x = pyacl.Tensor.full(3, 1)
        with pyacl.Device(1) as two:
            y = pyacl.Tensor.full(3, 2)
            out, stream = pyacl.Tensor.zeros(3), pyacl.Stream()
            def add():
                try:
                    pyacl.ops.aclnnAdd(x, y, 1, out, stream=stream)
                    stream.synchronize()
                    print(out.numpy())
                except pyacl.DeviceFaultError as error:
                    print(error.name, "EnablePeerAccess" in str(error))
            add()
            two.enable_peer_access(one)
            add()
    """, **TWO) == "ACL_ERROR_RT_AICORE_EXCEPTION True\n[3. 3. 3.]\n"


def test_visible_devices_renumber() -> None:
    assert python("print(pyacl.device_count()); pyacl.Device(0).close()",
                  ASCEND_RT_VISIBLE_DEVICES="1", **TWO) == "1\n"


def test_abort_stops_what_is_queued() -> None:
    assert python("""
    device = pyacl.Device(0)
    stream, event = pyacl.Stream(), pyacl.Event(resettable=True)
    stream.wait(event)
    device.abort(timeout=1)
    try: stream.synchronize(timeout=1); print("ended")
    except pyacl.AclError as error: print("ended")
    device.close()
    """) == "ended\n"


def test_closing_the_device_closes_all_that_is_on_it() -> None:
    assert python("""
    device = pyacl.Device(0)
    x, stream, buffer = pyacl.Tensor.full(3, 1), pyacl.Stream(), pyacl.DeviceBuffer(8)
    context = pyacl.Context(0)
    inside = pyacl.Event()
    device.close()
    print(device.closed, stream.closed, buffer.closed, context.closed, inside.closed)
    try: x.numpy()
    except pyacl.ClosedError as error: print(error)
    try: pyacl.Stream()
    except pyacl.ContextError as error: print("no context")
    with pyacl.Device(0): print(pyacl.Tensor.full(3, 1).numpy())
    """) == "True True True True True\nthis Tensor is closed\nno context\n[1. 1. 1.]\n"


def test_init_with_a_config(tmp_path: Path) -> None:
    path = tmp_path / "acl.json"
    path.write_text(json.dumps({"defaultDevice": {"default_device": "0"}}))
    out = python(f"""
    pyacl.init({str(path)!r})
    pyacl.init()
    try: pyacl.init({{}})
    except pyacl.StateError as error: print(error.code, error.remedy)
    pyacl.finalize(); pyacl.finalize()
    pyacl.init({{}})
    print(pyacl.device_count())
    """)
    assert out == f"{lib.ACL_ERROR_REPEAT_INITIALIZE} give the config before the first Device is made\n1\n"


def test_init_with_a_file_that_is_missing_or_broken(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert python(f"""
    try: pyacl.init("/nowhere/acl.json")
    except FileNotFoundError as error: print(error)
    try: pyacl.init({str(broken)!r})
    except pyacl.AclError as error: print(error.function, isinstance(error, (ValueError, OSError)))
    print(pyacl.device_count())
    """) == "no configuration file /nowhere/acl.json\naclInit True\n1\n"


def test_another_library_may_have_initialised(device: Any) -> None:
    assert lib.aclInit(ffi.NULL) == lib.ACL_ERROR_REPEAT_INITIALIZE
    pyacl.init()
    assert python("""
    pyacl.lib.aclInit(pyacl.ffi.NULL)
    with pyacl.Device(0) as device: print(device.healthy)
    """) == "True\n"


def test_what_needs_no_device() -> None:
    assert python("print(pyacl.device_count(), pyacl.soc_name()[:6], pyacl.dtypes.to_acl('float32'))") == "1 Ascend 0\n"
