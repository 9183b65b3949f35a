"""The walls between the parts of the package, read off its sources.

The thin classes do not know the emulator, the emulator does not know them, and one module knows that there are two
backends. What the emulator takes from `lib` are constants: its functions are what `lib` calls.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Iterator

import pytest

from pyacl.capi import cdefs

ROOT = Path(__file__).resolve().parent.parent / "pyacl"
EMULATOR = ROOT / "emulator"
# The command line's parts are no classes.
THIN = sorted(p for p in ROOT.glob("*.py") if p.name != "__main__.py" and not p.name.endswith("cli.py"))
CAPI = sorted((ROOT / "capi").glob("*.py"))
EMULATED = sorted(EMULATOR.rglob("*.py"))
GENERATED = {"_acl_abi.py"}

# Whoever writes ``import pyacl`` can ask for the emulator by name; the package itself imports it only here.
LAZY = {"__init__.py"}


def modules(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Every module that a file imports at any place, by its full name, without what only type checkers see."""
    tree = ast.parse(path.read_text(), str(path))
    package = ("pyacl", *path.relative_to(ROOT).parent.parts)
    unseen = {id(node) for block in ast.walk(tree) if isinstance(block, ast.If)
              and ast.unparse(block.test).endswith("TYPE_CHECKING") for part in block.body for node in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:len(package) - node.level + 1]) if node.level else ""
            full = ".".join(p for p in (base, node.module or "") if p)
            yield full, node
            for alias in node.names:
                yield f"{full}.{alias.name}", node
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")) \
                and node.args and isinstance(node.args[0], ast.Constant):
            name = str(node.args[0].value)
            yield (".".join(package) + name if name.startswith(".") else name), node


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT.parent)}:{getattr(node, 'lineno', 0)}"


def test_the_sources_are_found() -> None:
    names = {p.name for p in THIN}
    assert {"device.py", "stream.py", "tensor.py", "executor.py", "model.py", "kernel.py"} <= names
    assert len(EMULATED) > 50
    assert any(name == "pyacl.capi.lib" for name, _ in modules(ROOT / "stream.py"))
    assert any(name == "pyacl.emulator" for name, _ in modules(ROOT / "capi" / "backend.py"))
    for name in ("aclrtMalloc", "aclnnAdd", "aclnnAddGetWorkspaceSize"):
        assert cdefs.callable_prototype(name) is not None
    assert cdefs.callable_prototype("ACL_FLOAT") is None


@pytest.mark.parametrize("path", THIN, ids=lambda p: p.name)
def test_thin_classes_do_not_know_the_emulator(path: Path) -> None:
    found = [where(path, node) for name, node in modules(path)
             if name == "pyacl.emulator" or name.startswith("pyacl.emulator.")]
    assert not found


@pytest.mark.parametrize("path", [p for p in THIN if p.name not in {"info.py", *LAZY}], ids=lambda p: p.name)
def test_thin_classes_do_not_ask_which_backend_they_run_on(path: Path) -> None:
    tree = ast.parse(path.read_text())
    # The word may stand in prose and in names that are re-exported, but nothing is decided by it.
    for node in ast.walk(tree):
        if isinstance(node, (ast.If, ast.IfExp, ast.While)):
            assert "emulator" not in ast.unparse(node.test).lower(), where(path, node)
            assert "PYACL_BACKEND" not in ast.unparse(node.test), where(path, node)


@pytest.mark.parametrize("path", EMULATED, ids=lambda p: str(p.relative_to(EMULATOR)))
def test_the_emulator_knows_only_capi_and_itself(path: Path) -> None:
    found = [f"{where(path, node)}: {name}" for name, node in modules(path)
             if name.split(".")[0] == "pyacl" and name != "pyacl"
             and not name.startswith(("pyacl.capi", "pyacl.emulator"))]
    assert not found


def test_only_one_module_knows_that_there_are_two_backends() -> None:
    knowing = {path.name for path in [*THIN, *CAPI] if path.name not in GENERATED | LAZY
               for name, _ in modules(path) if name.startswith("pyacl.emulator")}
    assert knowing == {"backend.py"}


@pytest.mark.parametrize("path", EMULATED, ids=lambda p: str(p.relative_to(EMULATOR)))
def test_the_emulator_calls_no_c_function(path: Path) -> None:
    """Its functions are the C functions: through `lib` they would be called from outside, with its locks and checks."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "lib" \
                and cdefs.callable_prototype(node.attr) is not None:
            found.append(f"{where(path, node)}: lib.{node.attr}")
    assert not found


def test_constants_are_not_typed_twice() -> None:
    """A status is written by its name; the numbers are in cdefs/ alone."""
    import re

    codes = {int(v) for v in re.findall(r"^#define (?:ACL_ERROR|ACLNN_ERR)\w* (\d+)$",
                                        (cdefs.FOLDER / "errors.h").read_text(), re.M)} - {0}
    found = []
    for path in [*THIN, *EMULATED]:
        for node in ast.walk(ast.parse(path.read_text())):
            # A round number is a range of codes, or no code at all.
            if isinstance(node, ast.Constant) and type(node.value) is int and node.value in codes \
                    and node.value % 10000:
                found.append(f"{where(path, node)}: {node.value}")
    assert not found
