"""A second implementation of CANN's C functions, for machines without an NPU."""

from typing import Any

from .table import symbol

__all__ = ["op", "symbol"]


def __getattr__(name: str) -> Any:
    if name == "op":  # brings numpy's operators along, so not before somebody asks
        from .ops import op

        return op
    raise AttributeError(name)
