"""Contexts: each thread's, their default streams and options."""

from __future__ import annotations

from typing import Any, Iterator

import numpy as np
import pytest
from helpers import in_thread, upload

import pyacl
from pyacl.capi import ffi, lib


@pytest.fixture(autouse=True)
def default(device: Any) -> Iterator[Any]:
    device.set_current()
    yield device.context
    device.set_current()


def test_the_devices_own_context(device: Any, default: Any) -> None:
    assert pyacl.Context.current() is default
    assert default.device_id == 0
    assert not default.owned
    assert "not owned" in repr(default)


def test_a_new_context_becomes_current_and_set_current_goes_back(default: Any) -> None:
    with pyacl.Context(0) as context:
        assert context.owned
        assert pyacl.Context.current() is context
        default.set_current()
        assert pyacl.Context.current() is default
        context.set_current()
        assert pyacl.Context.current() is context


@pytest.mark.parametrize("wrong", [99, -1, 2**31])
def test_a_device_that_is_not_there(wrong: int) -> None:
    with pytest.raises(pyacl.InvalidArgumentError):
        pyacl.Context(wrong)


def test_a_closed_context_is_no_longer_the_threads(default: Any) -> None:
    pyacl.Context(0).close()
    with pytest.raises(pyacl.ContextError) as caught:
        pyacl.Stream()
    assert "set_current" in caught.value.remedy
    default.set_current()
    pyacl.Stream().close()


def test_objects_of_one_context_used_in_another(device: Any, default: Any) -> None:
    stream = pyacl.Stream()
    with pyacl.Context(0):
        x = upload(np.arange(3))
        # Memory is the device's; streams belong to their context.
        assert np.array_equal(x.numpy(), np.arange(3))
        with pytest.raises(pyacl.AclError) as caught:
            pyacl.memset(x, 0, stream=stream)
        assert isinstance(caught.value, (pyacl.ContextError, pyacl.InvalidArgumentError))
    stream.close()


def test_default_streams(default: Any) -> None:
    stream = pyacl.Stream.default()
    assert stream.address == default.default_stream.address
    assert not stream.owned
    with pyacl.DeviceBuffer(4) as buffer:
        pyacl.memcpy_async(buffer, np.full(4, 7, np.uint8))  # None is the default stream
        stream.synchronize()
        out = np.empty(4, np.uint8)
        buffer.copy_to(out)
        assert (out == 7).all()
    stream.close()  # does not destroy it
    default.default_stream.synchronize()
    with pyacl.Context(0) as other:
        assert other.default_stream.address != stream._address


def test_threads_share_a_context(default: Any) -> None:
    with pyacl.Context(0) as context:
        def work() -> Any:
            context.set_current()
            assert pyacl.Context.current() is context
            with pyacl.Stream() as own:
                return own.context is context

        assert in_thread(work)


def test_a_thread_without_context_says_so() -> None:
    with pytest.raises(pyacl.ContextError) as caught:
        in_thread(pyacl.Context.current)
    assert caught.value.code == lib.ACL_ERROR_RT_CONTEXT_NULL
    assert "set_current" in caught.value.remedy


def test_a_context_that_another_library_made_is_borrowed(default: Any) -> None:
    out = ffi.new("aclrtContext *")
    assert lib.aclrtCreateContext(out, 0) == 0
    found = pyacl.Context.current()
    assert not found.owned
    assert found.device_id == 0
    found.close()
    assert lib.aclrtSetCurrentContext(out[0]) == 0  # still there
    default.set_current()
    assert lib.aclrtDestroyContext(out[0]) == 0


def test_options(default: Any) -> None:
    with pyacl.Context(0) as context:
        context.set_option("deterministic", 1)
        assert context.get_option("deterministic") == 1
        context.set_option("DETERMINISTIC", 0)
        assert context.get_option("deterministic") == 0
        with pytest.raises((ValueError, AttributeError), match="(?i)nothing"):
            context.get_option("nothing")
    with pyacl.Context(0) as fresh, pytest.raises(pyacl.AclError):
        fresh.get_option("deterministic")
