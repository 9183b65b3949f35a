"""``pyacl bench compare OLD.json NEW.json``: a verdict that respects noise, and an exit code for CI."""

from __future__ import annotations

import argparse
import statistics
from typing import Any, Mapping, Sequence

from ..cli import CommandError
from . import text
from .record import RecordError, Result, read_json
from .report import above_zero
from .stats import Comparison, compare

_FEW = 20  # batches, below which the interval is too narrow where neighbouring times resemble each other
# What must agree for two files to tell about the code alone.
_SAME = ("backend", "soc", "cann", "driver", "cpu", "machine", "python", "numpy", "governor")


def add_parser(subparsers: Any) -> None:
    """Adds ``compare``."""
    parser = subparsers.add_parser(
        "compare", help="two result files",
        description="Compares the medians of NEW with those of OLD. The interval comes from a bootstrap that allows "
                    "for neighbouring samples being alike; only an interval wholly on one side of 1 is a verdict.")
    parser.add_argument("old", metavar="OLD.json")
    parser.add_argument("new", metavar="NEW.json")
    parser.add_argument("--fail-above", type=above_zero("ratio such as 1.10"), metavar="RATIO",
                        help="exit with 1 when a result is surely slower than RATIO times the old one (1.10: by 10 %%)")
    parser.add_argument("--series", choices=("main", "host", "device", "total", "all"), default="main",
                        help="which times to compare (default: the device's where there are, else the host's)")
    parser.add_argument("--confidence", type=_share, default=0.95, metavar="P", help="of the interval (default 0.95)")
    parser.add_argument("--quiet", action="store_true", help="print only what fails")
    parser.set_defaults(run=run)


def _share(value: str) -> float:
    share = above_zero("share such as 0.95")(value)
    if share >= 1:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 1")
    return share


def run(args: argparse.Namespace) -> int:
    """Prints the comparison; 1 when --fail-above finds a regression."""
    try:
        old, old_environment = read_json(args.old)
        new, new_environment = read_json(args.new)
    except RecordError as error:
        raise CommandError(str(error)) from None
    pairs = _pairs(old, new, args.series)
    if not pairs:
        raise CommandError(f"{args.old} and {args.new} have no result in common")
    rows: list[Sequence[str]] = []
    failed: list[str] = []
    unsure = False
    for name, series, before, after in pairs:
        try:
            c = compare(before, after, args.confidence)
        except ValueError as error:
            raise CommandError(f"{name}, {series}: {error}") from None
        verdict = c.verdict
        if args.fail_above is not None and c.above(args.fail_above):
            verdict = "REGRESSION"
            failed.append(f"{name} ({series}) is {_ratio_text(c)} of the old time")
        elif args.fail_above is not None and c.ratio > args.fail_above:
            verdict, unsure = "unsure", True
        rows.append([name, series, _median(before), _median(after), f"{c.ratio:.3f}", f"{c.low:.3f} .. {c.high:.3f}",
                     verdict])
    if not args.quiet:
        _print_table(rows, old, new, old_environment, new_environment)
        few = min(len(times) for pair in pairs for times in pair[2:])
        if few < _FEW:
            print(f"note: some results have {few} batches only, and neighbouring ones are alike: measure more calls")
        if unsure:
            print(f"unsure: the median is above {args.fail_above:g} but the interval is not; measure more calls")
    for line in failed:
        print(f"REGRESSION: {line}")
    return 1 if failed else 0


def _ratio_text(c: Comparison) -> str:
    return f"{c.ratio:.3f} ({c.low:.3f} .. {c.high:.3f})"


def _median(samples: Sequence[float]) -> str:
    return text.number(statistics.median(samples))


def _pairs(old: Sequence[Result], new: Sequence[Result],
           series: str) -> list[tuple[str, str, list[float], list[float]]]:
    """What both files have, in the new one's order: name, series, old samples, new samples."""
    known = {r.name: r for r in old}
    pairs = []
    for result in new:
        before = known.get(result.name)
        if before is None:
            continue
        wanted = [result.main] if series == "main" else list(result.series) if series == "all" else [series]
        pairs += [(result.name, s, before.series[s], result.series[s])
                  for s in wanted if s in before.series and s in result.series]
    return pairs


def _print_table(rows: Sequence[Sequence[str]], old: Sequence[Result], new: Sequence[Result],
                 old_environment: Mapping[str, Any], new_environment: Mapping[str, Any]) -> None:
    # Long names get a line of their own, so that the table fits.
    wide = max(len(r[0]) for r in rows) > 34
    shown: list[Sequence[str]] = []
    last = ""
    for row in rows:
        if wide and row[0] != last:
            shown.append([row[0]])
        last = row[0]
        shown.append(["" if wide else row[0], *row[1:]])
    text.table(("", "time", "old us", "new us", "new/old", "interval", "verdict"), shown, left=2)
    for what, names in (("only in the old file", {r.name for r in old} - {r.name for r in new}),
                        ("only in the new file", {r.name for r in new} - {r.name for r in old})):
        if names:
            print(f"{what}: {', '.join(sorted(names))}")
    for key in _SAME:
        if old_environment.get(key) != new_environment.get(key):
            print(f"note: {key} differs: {old_environment.get(key, 'unknown')} and "
                  f"{new_environment.get(key, 'unknown')}")
