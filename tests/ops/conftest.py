"""One device for all operator tests: they are many and small."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pyacl.capi import ffi, lib


@pytest.fixture(scope="session", autouse=True)
def _npu() -> Iterator[None]:
    code = lib.aclInit(ffi.NULL)
    assert code in (0, lib.ACL_ERROR_REPEAT_INITIALIZE)
    yield
    if code == 0:
        lib.aclFinalize()


@pytest.fixture
def npu(_npu: None) -> None:
    assert lib.aclrtSetDevice(0) == 0
