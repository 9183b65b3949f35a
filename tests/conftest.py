"""Fixtures for every test: one device for the session, a stream for each test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Iterator

import pytest

os.environ.setdefault("PYACL_BACKEND", "emulator")

NATIVE = os.environ["PYACL_BACKEND"] == "native"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """tests/emulator looks into the in-process emulator, which the native backend does not have."""
    folder = Path(__file__).parent / "emulator"
    skip = pytest.mark.skip(reason="needs the in-process emulator")
    for item in items:
        if NATIVE and folder in item.path.parents:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def device() -> Iterator[Any]:
    import pyacl

    with pyacl.Device(0) as found:
        yield found


@pytest.fixture
def stream(device: Any) -> Iterator[Any]:
    import pyacl

    device.set_current()
    with pyacl.Stream() as found:
        yield found
