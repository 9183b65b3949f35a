"""A second implementation of CANN's C functions, for machines without an NPU."""

from typing import Any

from .table import symbol

__all__ = ["Block", "kernel", "kernel_object", "op", "symbol", "unregister_kernel"]


def __getattr__(name: str) -> Any:
    if name == "op":  # brings numpy's operators along, so not before somebody asks
        from .ops import op

        return op
    if name in ("kernel", "unregister_kernel", "Block", "kernel_object"):
        from . import kernels

        return getattr(kernels, name)
    if name in ("model", "pair_model"):
        from .models import sources

        return getattr(sources, name)
    if name == "compile_model":
        from .models.compile import compile_file

        return compile_file
    raise AttributeError(name)
