"""The oracles, one module a family; each has ``ORACLES = {"Softmax": Oracle(...)}``, by operator name or oracle name.

Looked up in this order: the operator's name without ``aclnn``; that without ``Inplace``; the `oracle` of its
definition. An oracle that is the name of a function (``"torch.abs"``) and has no entry is called as it is, with the
default draw.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Optional

from pyacl.emulator.ops.registry import Operator

from ..oracle import Oracle, resolve

ORACLES: dict[str, Oracle] = {}
for _module in pkgutil.iter_modules(__path__):
    _found = importlib.import_module(f"{__name__}.{_module.name}").ORACLES
    _twice = set(_found) & set(ORACLES)
    assert not _twice, f"two oracles for {sorted(_twice)}"
    ORACLES.update(_found)


def find(operator: Operator) -> Optional[Oracle]:
    """The oracle of an operator, None if it has none."""
    short = operator.name.replace("aclnn", "", 1)
    for name in (short, short.replace("Inplace", "", 1), operator.oracle):
        if name in ORACLES:
            return ORACLES[name]
    try:
        return Oracle(resolve(operator.oracle))
    except (ImportError, AttributeError, ValueError, IndexError):
        return None
