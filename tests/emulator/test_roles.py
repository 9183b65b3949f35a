"""Executors and the emulator agree on which tensors of an operator are inputs and which are outputs."""

from __future__ import annotations

from pyacl.arguments import plan
from pyacl.capi import operators
from pyacl.emulator import ops
from pyacl.emulator.ops.signature import signature


def test_roles_of_every_declared_operator() -> None:
    differ = []
    for name in operators():
        ours, found = plan(name), ops.find(name)
        theirs = found.signature if found is not None else signature(name)
        assert theirs is not None
        for i, parameter in enumerate(theirs.parameters):
            if parameter.kind in ("tensor", "tensors"):
                role = "i" * (i in ours.inputs) + "o" * (i in ours.outputs)
                if role != parameter.role:
                    differ.append((name, parameter.name, role, parameter.role))
    assert not differ
