"""Executor.launch in its compiled form: the same as the Python method in every case."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from pyacl.capi import hot

pytestmark = pytest.mark.skipif(hot.module() is None, reason="needs the compiled module")


def _add(pyacl: Any, **options: Any) -> Any:
    x, y, out = (pyacl.Tensor.from_numpy(np.full(4, v, np.float32)) for v in (1, 2, 0))
    return pyacl.Executor("aclnnAdd", x, y, 1.0, out, **options), out


def test_launch_is_a_c_function_that_keeps_its_documentation() -> None:
    import pyacl

    assert type(pyacl.Executor.launch).__name__ == "method_descriptor"
    assert "stream" in (pyacl.Executor.launch.__doc__ or "")


def test_launch_takes_its_stream_in_every_way(device: Any, stream: Any) -> None:
    import pyacl

    executor, out = _add(pyacl, repeatable=True)
    with executor:
        for launch in (lambda: executor.launch(stream), lambda: executor.launch(stream=stream), executor.launch,
                       lambda: executor.launch(None)):
            out.copy_(np.zeros(4, np.float32))
            launch()
            pyacl.Stream.default().synchronize()
            stream.synchronize()
            assert out.numpy().tolist() == [3.0] * 4
        for wrong in (1, "stream", out):
            with pytest.raises((TypeError, AttributeError)):
                executor.launch(wrong)
        with pytest.raises(TypeError):
            executor.launch(stream, stream)
        with pytest.raises(TypeError):
            pyacl.Executor.launch(stream, stream)


def test_launch_of_what_is_closed_or_used_up_says_so(device: Any, stream: Any) -> None:
    import pyacl

    executor, _ = _add(pyacl, repeatable=True)
    executor.close()
    with pytest.raises(pyacl.ClosedError):
        executor.launch(stream)
    once, out = _add(pyacl)
    once.launch(stream)
    stream.synchronize()
    assert out.numpy().tolist() == [3.0] * 4
    with pytest.raises(pyacl.ClosedError, match="one-shot"):
        once.launch(stream)


def test_launch_keeps_what_it_uses_until_the_stream_is_synchronised(device: Any, stream: Any) -> None:
    import pyacl

    executor, out = _add(pyacl, repeatable=True)
    before = sys.getrefcount(executor)
    executor.launch(stream)
    executor.launch(stream)
    assert sys.getrefcount(executor) == before + 1
    stream.synchronize()
    assert sys.getrefcount(executor) == before
    executor.close()


def test_a_launch_that_fails_raises_as_elsewhere(device: Any) -> None:
    import pyacl

    executor, _ = _add(pyacl, repeatable=True)
    with pyacl.Stream() as closed:
        pass
    with executor, pytest.raises((pyacl.AclError, pyacl.ClosedError)):
        executor.launch(closed)
