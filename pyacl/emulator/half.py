"""float16 and bfloat16 to float32 and back, rounded to nearest even, and polynomials of float32: by the machine's own
instructions where the compiled loops are there (`half_build`), else by numpy."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

try:
    _module: Any = importlib.import_module("pyacl.emulator._half")
    _loops: Any = _module.lib if _module.lib.pyacl_fast() else None
    _from_buffer: Any = _module.ffi.from_buffer
except ImportError:  # built without a compiler
    _loops = None

_BF16, _F32, _BITS = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float32), np.dtype(np.uint16)


@cache
def _every_half() -> Any:
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def widen(array: Any) -> Any:
    """float16 or bfloat16 as float32, in the order the elements lie in."""
    if _loops is None:
        # A look-up takes half of the time of numpy's conversion.
        return array.astype(np.float32) if array.dtype == _BF16 else _every_half().take(array.view(np.uint16))
    dense = _dense(array)
    out = np.empty(dense.shape, _F32) if dense.flags.c_contiguous else np.empty_like(dense, _F32)
    loop = _loops.pyacl_widen_brain if dense.dtype == _BF16 else _loops.pyacl_widen
    loop(_memory(dense.view(_BITS)), _memory(out), out.size)
    return out


def narrow(array: Any, dtype: Any, out: Any = None) -> Any:
    """float32 as float16 or bfloat16, written to `out` if that is given."""
    if _loops is None:
        if out is None:
            return array.astype(dtype)
        np.copyto(out, array, casting="unsafe")
        return out
    if out is not None:
        if not (array.flags.c_contiguous and out.flags.c_contiguous):
            np.copyto(out, narrow(array, dtype))
            return out
    else:
        array = _dense(array)
        out = np.empty(array.shape, dtype) if array.flags.c_contiguous else np.empty_like(array, dtype)
    loop = _loops.pyacl_narrow_brain if out.dtype == _BF16 else _loops.pyacl_narrow
    loop(_memory(array), _memory(out.view(_BITS)), out.size)
    return out


def polynomial(coefficients: Any, x: Any) -> Any:
    """By Horner's rule, in the order of x's elements; the highest of the float32 coefficients comes first."""
    if _loops is None:
        y = np.full(x.shape, coefficients[0])
        for c in coefficients[1:]:
            y *= x
            y += c
        return y
    x = np.ascontiguousarray(x)
    y = np.empty(x.shape, _F32)
    _loops.pyacl_polynomial(_module.ffi.from_buffer("float[]", coefficients), len(coefficients) - 1, _memory(x),
                            _memory(y), y.size)
    return y


def _dense(array: Any) -> Any:
    array = np.asarray(array)
    return array if array.flags.c_contiguous else array.copy(order="K")


def _memory(array: Any) -> Any:
    """Where the elements of a dense array lie. Many times as fast as `array.ctypes`, which matters for small pieces."""
    return _from_buffer(array if array.flags.c_contiguous else array.ravel("K"))
