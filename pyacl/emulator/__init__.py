"""A second implementation of CANN's C functions, for machines without an NPU."""

from .table import symbol

__all__ = ["symbol"]
