"""Results for people: tables and notes on the terminal, JSON and CSV files, plots."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any, Callable, Mapping, Optional, Sequence, TextIO

from ..cli import CommandError
from . import text
from .record import Result, write_csv, write_json

if TYPE_CHECKING:
    from .peaks import Peak

EMULATOR_NOTE = "These are the emulator's figures on this machine's CPU; they say nothing about an NPU."
_COLUMNS = ("", "time", "min", "mean", "median", "p90", "p99", "max", "+-", "outliers")
_SERIES = ("host", "device", "h2d", "compute", "d2h", "total")


def show(results: Sequence[Result], environment: Mapping[str, Any], peaks: Optional[Mapping[str, Peak]] = None,
         out: Optional[TextIO] = None) -> None:
    """Prints the results, in microseconds per call, with what they mean in bytes and operations per second.

    `peaks` has the chip's ``bytes`` and ``flops`` per second, where they are known.
    """
    out = out or sys.stdout
    rows: list[Sequence[str]] = []
    group = None
    for i, result in enumerate(results):
        if result.group and result.group != group:
            rows.append([result.group + ("   (result agrees with the reference)" if result.check == "ok" else "")])
        group = result.group
        label = result.label
        for series in sorted(result.series, key=lambda s: (_SERIES.index(s) if s in _SERIES else 9, s)):
            s = result.summary(series)
            rows.append([label, series, *(text.number(v) for v in (s.min, s.mean, s.median, s.p90, s.p99, s.max)),
                         text.number(s.stderr), f"{s.outliers}/{s.count}"])
            label = ""
        rows.extend([f"  {line}"] for line in _remarks(result, peaks or {}))
        last = i + 1 == len(results)
        if not last and (results[i + 1].group != group or not group):
            rows.append([""])
    text.table(_COLUMNS, rows, left=2, out=out)
    print(f"\nMicroseconds per call; +- is the mean's standard error.\n{_where(environment)}", file=out)
    if environment.get("backend") == "emulator":
        print(EMULATOR_NOTE, file=out)


def _remarks(result: Result, peaks: Mapping[str, Peak]) -> list[str]:
    lines = []
    rates = []
    for per_second, unit, peak in ((result.bytes_per_second, "B/s", peaks.get("bytes")),
                                   (result.flops_per_second, "FLOP/s", peaks.get("flops"))):
        if per_second:
            rates.append(text.quantity(per_second, unit) + (f" ({_share(per_second, peak, unit)})" if peak else ""))
    for line in rates if peaks else [", ".join(rates)] if rates else []:  # with shares they fill a line each
        lines.append(f"{line} by the {result.main} median")
    if result.check and result.check != "ok":
        lines.append(f"WRONG RESULT: {result.check}")
    return lines + result.notes


def _share(rate: float, peak: Peak, unit: str) -> str:
    about = "about " if peak.about else ""
    products = " of float16 products" if peak.about and unit == "FLOP/s" else ""
    return f"{100 * rate / peak.rate:.1f} % of {about}{text.quantity(peak.rate, unit)}{products}"


def _where(environment: Mapping[str, Any]) -> str:
    parts = [f"{environment['soc']}" if "soc" in environment else "",
             f"{environment['backend']} backend" if "backend" in environment else "",
             f"CANN {environment['cann']}" if "cann" in environment else "",
             f"Python {environment.get('python', '?')}"]
    return ", ".join(p for p in parts if p) + "."


def add_output_options(parser: argparse.ArgumentParser, iters: int = 1000, batch: int = 10) -> None:
    """The options that every measuring command has: where results go, and how many calls are made."""
    group = parser.add_argument_group("measuring")
    group.add_argument("--iters", type=positive, metavar="N", help=f"calls to time (default {iters})")
    group.add_argument("--warmup", type=natural, metavar="N",
                       help="calls before that; by default until times are stable")
    group.add_argument("--batch", type=positive, metavar="N",
                       help=f"calls for each synchronise; every sample is one batch's mean (default {batch})")
    group.add_argument("--device", type=natural, default=0, metavar="ID", help="which device (default 0)")
    add_result_options(parser)


def add_result_options(parser: argparse.ArgumentParser) -> None:
    """Where results go: the part of `add_output_options` that a command with other counts takes."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", metavar="FILE", help="write results with all samples and the environment")
    group.add_argument("--csv", metavar="FILE", help="write the summaries")
    group.add_argument("--plot", metavar="FILE.png", help="draw histograms and per-iteration lines (.png, .pdf, .svg)")
    group.add_argument("--quiet", action="store_true", help="no progress bar and no table")


def positive(value: str) -> int:
    """An argparse type: a whole number from one."""
    number = natural(value)
    if not number:
        raise argparse.ArgumentTypeError(f"{value} is not a whole number above zero")
    return number


def above_zero(what: str) -> Callable[[str], float]:
    """An argparse type: a finite number above zero; `what` says what it is, with an example."""
    def parse(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            raise argparse.ArgumentTypeError(f"{value} is not a {what}")
        return number
    return parse


def natural(value: str) -> int:
    """An argparse type: a whole number from zero."""
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"{value} is not a whole number")
    return int(value)


def check_outputs(args: argparse.Namespace) -> None:
    """Fails before anything is measured when a result file could not be written."""
    for path in (args.json, args.csv, args.plot):
        folder = os.path.dirname(os.path.abspath(path)) if path else None
        if folder and not os.path.isdir(folder):
            raise CommandError(f"cannot write {path}: there is no folder {folder}")
        if path and os.path.isdir(path):
            raise CommandError(f"cannot write {path}: it is a folder")
        if path:
            _try_writing(path)
    if args.plot:
        _pyplot()
        known = (".png", ".pdf", ".svg")
        if not args.plot.endswith(known):
            raise CommandError(f"--plot {args.plot}: end the name in {', '.join(known)}")


def _try_writing(path: str) -> None:
    there = os.path.lexists(path)
    try:
        with open(path, "a"):
            pass
        if not there:
            os.remove(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None


def deliver(results: Sequence[Result], environment: Mapping[str, Any], args: argparse.Namespace,
            peaks: Optional[Mapping[str, Peak]] = None, interrupted: bool = False) -> int:
    """Prints and writes results as the output options ask; the exit code: 130 when the user stopped the measuring, 1
    when a result was wrong."""
    if not args.quiet:
        show(results, environment, peaks)
    if args.json:
        write_json(args.json, results, environment)
    if args.csv:
        write_csv(args.csv, results)
    if args.plot:
        plot(args.plot, results, environment)
    wrong = [r for r in results if r.check not in ("", "ok")]
    for result in wrong if args.quiet else []:
        print(f"pyacl: {result.name}: wrong result: {result.check}", file=sys.stderr)
    if interrupted:
        print("pyacl: interrupted: the results are those until then", file=sys.stderr)
        return 130
    return 1 if wrong else 0


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise CommandError("plots need matplotlib: pip install 'pyacl-ascend[bench]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def plot(path: str, results: Sequence[Result], environment: Mapping[str, Any]) -> None:
    """Draws, for each group of results, a histogram and the samples in order, by each result's main series."""
    pyplot = _pyplot()
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.group or result.name, []).append(result)
    figure, axes = pyplot.subplots(len(groups), 2, figsize=(13, 3.2 * len(groups) + 0.6), squeeze=False,
                                   layout="constrained")
    for (left, right), (name, members) in zip(axes, groups.items()):
        limit = max(r.summary().p99 for r in members) * 1.1
        low = min(r.summary().min for r in members)
        for result in members:
            samples = result.series[result.main]
            label = f"{result.label} ({result.main})"
            left.hist(samples, bins=60, range=(low, max(limit, low * 1.001)), histtype="step", label=label)
            right.plot(samples, linewidth=0.7, label=label)
        left.set_title(name, fontsize=9, loc="left")
        left.set_xlabel("us per call")
        left.set_ylabel("batches")
        right.set_xlabel("batch")
        right.set_ylabel("us per call")
        left.legend(fontsize=7)
    note = f"  {EMULATOR_NOTE}" if environment.get("backend") == "emulator" else ""
    figure.suptitle(_where(environment) + note, fontsize=9)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
