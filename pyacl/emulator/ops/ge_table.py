"""Which aclnn operator computes each graph-engine type, and with which arguments."""

from __future__ import annotations

from .ge import ge

ge("Add", "aclnnAdd", lambda x1, x2: (x1, x2, 1))
ge("Sub", "aclnnSub", lambda x1, x2: (x1, x2, 1))
ge("Mul", "aclnnMul", lambda x1, x2: (x1, x2))
