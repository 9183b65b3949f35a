"""Text for a terminal of 100 columns: numbers, tables, progress. Prettier with rich, the same without it."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import Any, Iterator, Optional, Sequence, TextIO

WIDTH = 100


def number(value: float) -> str:
    """Four digits that matter: 0.1234, 12.34, 1234, 123400."""
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1000:
        return f"{value:.0f}"
    return f"{value:.{3 if size < 1 else 2 if size < 100 else 1}f}"


def quantity(value: float, unit: str) -> str:
    """A value with the decimal prefix that fits: ``quantity(1.2e9, "B/s")`` is ``1.2 GB/s``."""
    for prefix, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def size(nbytes: int) -> str:
    """A size in memory, with binary prefixes: 64 KiB, 16 MiB, 1000 B."""
    for prefix, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if nbytes >= 1 << shift:
            return f"{nbytes / (1 << shift):.4g} {prefix}"
    return f"{nbytes} B"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, out: Optional[TextIO] = None) -> None:
    """Prints a table: the first `left` columns to the left, numbers to the right. A row of one cell is a heading."""
    out = out or sys.stdout
    rich = _rich() if out.isatty() else None
    if rich is not None:
        _rich_table(columns, rows, left, out)
        return
    out.writelines(line + "\n" for line in lines(columns, rows, left))


def lines(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """The table as plain lines."""
    full = [row for row in rows if len(row) == len(columns)]
    widths = [max([len(columns[i]), *(len(row[i]) for row in full)]) for i in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(c.ljust(w) if i < left else c.rjust(w)
                         for i, (c, w) in enumerate(zip(cells, widths))).rstrip()

    rule = "-" * min(WIDTH, sum(widths) + 2 * (len(widths) - 1))
    return [line(columns), rule, *(line(r) if len(r) == len(columns) else (r[0] if r else "") for r in rows)]


def _rich() -> Any:
    try:
        import rich
    except ImportError:
        return None
    return rich


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int, out: TextIO) -> None:
    from rich.console import Console
    from rich.markup import escape

    # The plain layout, with colour: rich's own tables have no rows that span all columns.
    console = Console(file=out, width=WIDTH, highlight=False)
    text = lines(columns, rows, left)
    console.print(f"[bold]{escape(text[0])}[/]\n[dim]{escape(text[1])}[/]", soft_wrap=True)
    for row, line in zip(rows, text[2:]):
        heading = len(row) != len(columns)
        console.print(f"[bold cyan]{escape(line)}[/]" if heading else escape(line), soft_wrap=True)


class Progress:
    """One bar over several tasks; silent where nobody looks."""

    def start(self, text: str, total: int) -> None:
        """A new task of `total` steps."""

    def advance(self, done: int) -> None:
        """How many steps are done."""


class _RichProgress(Progress):
    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=1)
        self._shown = 0.0

    def start(self, text: str, total: int) -> None:
        self._bar.reset(self._task, description=text[:58], total=total)

    def advance(self, done: int) -> None:
        now = time.monotonic()
        if now - self._shown > 0.1:  # drawing must not disturb what is measured
            self._shown = now
            self._bar.update(self._task, completed=done)
            self._bar.refresh()


class _PlainProgress(Progress):
    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._text, self._total, self._shown = "", 1, 0.0

    def start(self, text: str, total: int) -> None:
        self._text, self._total, self._shown = text[:70], total, 0.0

    def advance(self, done: int) -> None:
        now = time.monotonic()
        if now - self._shown > 0.2:
            self._shown = now
            self._out.write(f"\r{self._text:<70} {min(100, 100 * done // self._total):3d} %")
            self._out.flush()


@contextmanager
def progress(quiet: bool = False, out: Optional[TextIO] = None) -> Iterator[Progress]:
    """A progress bar on a terminal's standard error; with `quiet`, or elsewhere, one that shows nothing."""
    out = out or sys.stderr
    if quiet or not out.isatty():
        yield Progress()
        return
    if _rich() is None:
        yield _PlainProgress(out)
        out.write("\r" + " " * 80 + "\r")
        out.flush()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    # No refresh thread: another Python thread would take the GIL from what is measured.
    with Bar(TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(),
             console=Console(file=out), transient=True, auto_refresh=False) as bar:
        yield _RichProgress(bar)
