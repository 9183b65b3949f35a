"""Every emulated function of the runtime is called by some test, through `pyacl.lib` or through a class.

Read off the sources: ``lib.aclrtFoo``, or the name as a string where the call goes through a helper.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from pyacl.capi import cdefs
from pyacl.emulator.table import functions

TESTS = Path(__file__).resolve().parent
CLASSES = TESTS.parent / "pyacl"
FILES = ("base", "device", "context", "stream", "event", "notify", "label", "callback", "memory", "allocator", "model",
         "dump", "aclnn")


def declared(file: str) -> set[str]:
    return {n for n in re.findall(r"\b(acl\w+)\(", (cdefs.FOLDER / f"{file}.h").read_text())
            if cdefs.prototype(n) is not None}


def called(paths: list[Path]) -> set[str]:
    found = set()
    for path in paths:
        if path == Path(__file__).resolve():
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] == "lib":
                found.add(node.attr)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                # A name by itself, or a program for a process of its own.
                found.update(re.findall(r"\blib\.(acl\w+)", node.value))
                if re.fullmatch(r"acl\w+", node.value):
                    found.add(node.value)
    return found


CALLED = called(sorted(TESTS.rglob("*.py"))) | called(sorted(CLASSES.glob("*.py")))


@pytest.mark.parametrize("file", FILES)
def test_every_emulated_function_is_called(file: str) -> None:
    emulated = declared(file) & set(functions())
    missing = sorted(emulated - CALLED)
    assert not missing, f"no test calls {', '.join(missing)}"


def test_the_scan_finds_calls() -> None:
    assert {"aclrtMalloc", "aclrtMemcpy", "aclrtStreamGetId"} <= CALLED
    assert len(set().union(*map(declared, FILES)) & set(functions())) > 150
