"""The compiled cffi module, or the pure-Python one where it was not compiled.

``ffi``       types, allocation, casts
``raw``       constants, dlopen/dlsym and, when compiled, one wrapper for each declared function
``compiled``  whether `raw` has those wrappers

``PYACL_CFFI=abi`` takes the pure-Python module although the compiled one is there.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

_wanted = os.environ.get("PYACL_CFFI", "auto")
if _wanted not in ("auto", "api", "abi"):
    raise ImportError(f"PYACL_CFFI={_wanted!r}: give api (compiled), abi (pure Python) or auto")

ffi: Any
raw: Any
compiled: bool
_module: Any

try:
    if _wanted == "abi":
        raise ImportError("PYACL_CFFI=abi")
    _module = importlib.import_module("._acl_api", __package__)
    ffi, raw, compiled = _module.ffi, _module.lib, True
except ImportError as _reason:
    if _wanted == "api":
        raise ImportError(f"PYACL_CFFI=api, but the compiled module does not load: {_reason}") from _reason
    try:
        _module = importlib.import_module("._acl_abi", __package__)
    except ImportError:
        raise ImportError(
            "pyacl's cffi modules are not built: install the package (pip install .) instead of importing its sources"
        ) from None
    ffi, raw, compiled = _module.ffi, _module.ffi.dlopen(None), False
