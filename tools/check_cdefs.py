"""Prove that ``cdefs/`` agrees with real headers, and say which symbols a real library lacks.

    python tools/check_cdefs.py --headers /usr/local/Ascend/ascend-toolkit/latest/include
    python tools/check_cdefs.py --headers torch_npu/include --library libascendcl.so --library libopapi.so

The proof is a compiler's: one C++ file includes the headers, declares every function and typedef of ``cdefs/`` again
(a difference is an error), and asserts every constant, enumerator, struct size, field offset and field size. What the
headers do not have is counted, not checked, and what only they have is named. Exit code 1 on any disagreement.
"""

from __future__ import annotations

import argparse
import importlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "pyacl" / "capi"))
# Not through the package, which may not be built yet.
cdefs: Any = importlib.import_module("cdefs")

_LEFT_OUT = ("acl_dvpp.h", "acl_fv.h", "acl_rt_api.h")
_TYPE = re.compile(
    r"^typedef (?P<kind>enum|struct|union) (?P<tag>\w+) (?:\{\n(?P<body>.*?)^\} )?(?P<name>\w+);$", re.M | re.S)


def types_text() -> str:
    """Everything of ``cdefs/`` but functions and constants."""
    text = "\n".join(cdefs._FUNCTION.sub("", cdefs.text(c)) for c in cdefs.order())
    return re.sub(r"^#define .*\n", "", text, flags=re.M)


def field_names(body: str) -> list[str]:
    """The names of a struct's direct fields; those of an unnamed union's members too, as C++ sees them."""
    names: list[str] = []
    unnamed: list[int] = []
    for line in body.splitlines():
        line = line.strip()
        if line.endswith("{"):
            unnamed.append(len(names))
        elif line.startswith("}"):
            start = unnamed.pop()
            own = line.lstrip("} ").rstrip(";")
            if own:
                names[start:] = [own]
        else:
            match = re.search(r"(\w+)(?:\[\w*\])*;$", line)
            if match:
                names.append(match[1])
    return names


class Proof:
    """The lines of the C++ file, each with what it proves."""

    def __init__(self, known: set[str], scoped: set[str], headers: list[Path], root: Path) -> None:
        self.known = known
        self.scoped = scoped
        self.lines: list[str] = ["#include <cstddef>", "#include <cstdint>"]
        self.lines += [f'#include "{h.relative_to(root)}"' for h in headers]
        self.about: dict[int, str] = {}
        self.count: Counter[str] = Counter()
        self.absent: Counter[str] = Counter()

    def add(self, kind: str, name: str, line: str) -> None:
        self.lines.append(line)
        self.about[len(self.lines)] = f"{kind} {name}"
        self.count[kind] += 1

    def has(self, kind: str, name: str) -> bool:
        if name in self.known:
            return True
        self.absent[kind] += 1
        return False

    def write(self) -> str:
        types = types_text()
        self.lines += ["namespace cd {", *types.splitlines(), "}"]
        for concept in cdefs.order():
            for name, value in re.findall(r"^#define (\w+) (.*)$", cdefs.text(concept), re.M):
                if name.startswith("ACLNN_"):  # documented, in no header
                    self.absent["constant"] += 1
                elif self.has("constant", name):
                    test = (f"__builtin_strcmp({name}, {value}) == 0" if value.startswith('"')
                            else f"(unsigned long long)({name}) == (unsigned long long)({value})")
                    self.add("constant", name, f"static_assert({test}, \"\");")
        for match in _TYPE.finditer(types):
            self.type(match["kind"], match["name"], match["body"])
        for line in re.findall(r"^typedef (?!enum|struct|union).*;$", types, re.M):
            pointer = re.search(r"\(\*(\w+)\)", line)
            name = pointer[1] if pointer else line.rstrip(";").split()[-1].lstrip("*")
            if self.has("typedef", name):
                self.add("typedef", name, line)
        self.lines.append('extern "C" {')
        for concept in cdefs.order():
            for match in cdefs._FUNCTION.finditer(cdefs.text(concept)):
                if self.has("function", match["name"]):
                    self.add("function", match["name"], match[0])
        self.lines.append("}")
        return "\n".join(self.lines) + "\n"

    def type(self, kind: str, name: str, body: str | None) -> None:
        if not self.has("opaque type" if body is None else kind, name):
            return
        if body is None:
            self.add("opaque type", name, f"static_assert(sizeof(::{name} *) == sizeof(cd::{name} *), \"\");")
        elif kind == "enum":
            self.add("enum", name, f"static_assert(sizeof(::{name}) == sizeof(cd::{name}), \"\");")
            for value in re.findall(r"(\w+) = ", body):
                real = f"{name}::{value[len(name) + 1:]}" if name in self.scoped else value
                if self.has("enumerator", real.split("::")[-1]):
                    test = f"(long long)::{real} == (long long)cd::{value}"
                    self.add("enumerator", value, f"static_assert({test}, \"\");")
        else:
            self.add(kind, name, f"static_assert(sizeof(::{name}) == sizeof(cd::{name}), \"\");")
            for field in field_names(body):
                if re.search(rf"\b{field}\[0\]", body):
                    continue  # a flexible array has no size
                self.add("field", f"{name}.{field}",
                         f"static_assert(offsetof(::{name}, {field}) == offsetof(cd::{name}, {field}) && "
                         f"sizeof(((::{name} *)0)->{field}) == sizeof(((cd::{name} *)0)->{field}), \"\");")


def header_list(root: Path) -> list[Path]:
    """The headers to include: acl's, and aclnn's and the operators' where the folder has them."""
    found = [*root.glob("acl/*.h"), *root.glob("acl/ops/*.h"), *root.glob("acl/error_codes/*.h"),
             *root.glob("aclnn/*.h"), *root.glob("aclnnop/**/*.h")]
    return sorted(h for h in found if h.name not in _LEFT_OUT)


def check_headers(root: Path, compiler: str) -> int:
    headers = header_list(root)
    if not headers:
        print(f"no acl/*.h below {root}", file=sys.stderr)
        return 2
    includes = "".join(f'#include "{h.relative_to(root)}"\n' for h in headers)
    pre = subprocess.run([compiler, "-std=c++14", "-x", "c++", "-E", "-dD", f"-I{root}", "-"],
                         input=includes, capture_output=True, text=True)
    if pre.returncode:
        print(pre.stderr, file=sys.stderr)
        return 2
    known = set(re.findall(r"[A-Za-z_]\w*", pre.stdout))
    scoped = set(re.findall(r"\benum class (\w+)", pre.stdout))
    proof = Proof(known, scoped, headers, root)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "check.cpp"
        source.write_text(proof.write())
        done = subprocess.run(
            [compiler, "-std=c++14", "-fsyntax-only", "-w", "-fmax-errors=0", f"-I{root}", str(source)],
            capture_output=True, text=True)
    disagree = list(_errors(done.stderr, proof))
    for line in disagree:
        print(line)
    checked = ", ".join(f"{n} {k}s" for k, n in sorted(proof.count.items()))
    absent = ", ".join(f"{n} {k}s" for k, n in sorted(proof.absent.items()))
    print(f"checked by {compiler} against {len(headers)} headers: {checked}")
    print(f"not in these headers: {absent or 'nothing'}")
    text = re.sub(r"^#.*", "", pre.stdout, flags=re.M)
    declared = re.findall(r"^[\w\s*]*?\b(acl\w+)\s*\((?!\*)[^;{]*\)\s*;", text, re.M)
    print(f"only in these headers: {', '.join(sorted({*declared} - {*cdefs.functions()})) or 'nothing'}")
    print(f"{len(disagree)} disagree")
    return int(bool(disagree) or done.returncode != 0)


def _errors(text: str, proof: Proof) -> Iterator[str]:
    seen = set()
    for number, message in re.findall(r"check\.cpp:(\d+):\d+: error: (.*)", text):
        about = proof.about.get(int(number), f"line {number}: {proof.lines[int(number) - 1].strip()}")
        if about not in seen:
            seen.add(about)
            yield f"{about}: {message}"


def check_libraries(paths: list[Path]) -> int:
    """Prints the declared symbols that none of the libraries defines."""
    defined: set[str] = set()
    for path in paths:
        out = subprocess.run(["nm", "-D", "--defined-only", str(path)], capture_output=True, text=True)
        if out.returncode:
            print(out.stderr, file=sys.stderr)
            return 2
        defined.update(line.split()[-1].split("@")[0] for line in out.stdout.splitlines() if line)
    declared = set(cdefs.functions()) | set(cdefs.operators())
    missing = sorted(declared - defined)
    for name in missing:
        print(f"lacks {name} (known from {', '.join(cdefs.releases(name)) or 'documents only'})")
    print(f"{len(declared) - len(missing)} of {len(declared)} declared symbols are there, {len(missing)} are not")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--headers", type=Path, help="folder that holds acl/*.h (and aclnn/, aclnnop/)")
    parser.add_argument("--library", type=Path, action="append", default=[], help="a library to look for symbols in")
    parser.add_argument("--compiler", default="g++")
    args = parser.parse_args()
    if not args.headers and not args.library:
        parser.error("give --headers, --library or both")
    status = 0
    if args.headers:
        if not shutil.which(args.compiler):
            parser.error(f"no {args.compiler} on this machine")
        status = check_headers(args.headers.resolve(), args.compiler)
    if args.library:
        status = max(status, check_libraries(args.library))
    return status


if __name__ == "__main__":
    sys.exit(main())
