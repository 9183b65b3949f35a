"""``pyacl emulator ops [NAME ...]``: what the emulator knows of each operator."""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
from dataclasses import asdict
from typing import Any

from . import ge
from .registry import Row, table
from .types import name


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("ops", help="which operators are emulated, with their types and oracles")
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help="operator or graph-engine type, with or without aclnn; * and ? match (default: all)")
    parser.add_argument("--missing", action="store_true", help="those that are not emulated")
    parser.add_argument("--json", action="store_true", help="machine-readable")
    parser.set_defaults(run=run)


def own_types() -> list[Row]:
    """One row for each graph-engine type that no operator of the table computes."""
    return [Row(o.type, str(o), True, " ".join(sorted({name(d) for s in o.inputs for d in s.dtypes})), "", "")
            for o in ge.own()]


def select(rows: list[Row], names: list[str]) -> list[Row]:
    """The rows that one of the patterns names; raises LookupError for a pattern that matches none."""
    found: list[Row] = []
    for pattern in names:
        wanted = [p.lower() for p in (pattern, f"aclnn{pattern}")]
        hits = [r for r in rows if any(fnmatch.fnmatchcase(name, p) for p in wanted for name in
                                       (r.name.lower(), *(g.split(":")[0].lower() for g in r.ge)))]
        if not hits:
            raise LookupError(f"no declared operator is called {pattern}")
        found += [r for r in hits if r not in found]
    return found


def describe(row: Row) -> str:
    lines = [row.prototype, f"  emulated    {'yes' if row.emulated else 'no: phase one fails with its name'}"]
    for title, text in (("types", row.dtypes), ("oracle", row.oracle), ("deviations", row.deviations)):
        if text:
            lines.append(f"  {title:<11} {text}")
    lines += [f"  {'graph type' if i == 0 else '':<11} {text}" for i, text in enumerate(row.ge)]
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> int:
    rows, own = table(), own_types()
    if arguments.names:
        try:
            rows, own = select(rows + own, arguments.names), []
        except LookupError as unknown:
            print(f"pyacl: {unknown}; `pyacl emulator ops` lists all", file=sys.stderr)
            return 2
    if arguments.missing:
        rows, own = [r for r in rows if not r.emulated], []
    if arguments.json:
        print(json.dumps([asdict(r) for r in rows + own], indent=1))
    elif arguments.names:
        print("\n\n".join(describe(r) for r in rows))
    else:
        for row in rows + own:
            mark = "+" if row.emulated else "-"
            print(f"{mark} {row.name:<44} {row.dtypes}".rstrip())
        more = f", and {len(own)} graph-engine types of their own" if own else ""
        print(f"\n{sum(r.emulated for r in rows)} of {len(rows)} operators are emulated (+){more}")
    return 0
