"""Every aclnn operator as a function, by its C name: ``pyacl.ops.aclnnAdd(x, y, 1.0, out, stream=stream)``.

``help(pyacl.ops.aclnnAdd)`` shows the prototype; ``dir(pyacl.ops)`` lists them, users' own included
(``pyacl.declare_op``). ``pyacl.ops.cache(size)`` keeps repeatable executors behind these calls.
"""

from __future__ import annotations

from typing import Any

from .capi import operators
from .op_call import Cache, Operator, cache

__all__ = ["Cache", "Operator", "cache"]


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        try:
            found = globals()[name] = Operator(name)
            return found
        except LookupError as unknown:
            raise AttributeError(str(unknown)) from None
    raise AttributeError(name)


def __dir__() -> list[str]:
    return sorted({*__all__, *operators()})
