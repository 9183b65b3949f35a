"""What every measuring command opens: a device, a stream, the environment's record and a progress bar."""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Optional

from .environment import environment
from .measure import Interrupted, measure
from .record import Result
from .text import Progress, progress

if TYPE_CHECKING:
    from ..stream import Stream


class Session:
    """An open device and what to measure with on it; made by `session`."""

    def __init__(self, args: argparse.Namespace, stream: Stream, bar: Progress) -> None:
        self.stream = stream
        self.environment = environment()
        self.results: list[Result] = []
        self.interrupted = False
        self._args = args
        self._bar = bar

    def measure(self, call: Callable[[], Any], name: str, *, group: str = "", kind: str = "call", iters: int = 1000,
                batch: int = 10, warmup: Optional[int] = None, **about: Any) -> Result:
        """`measure` on this session's stream; the command line's --iters, --batch and --warmup go first.

        The result's name is `group` and `name`. `about` are further fields of the result, which joins `results`.
        """
        args = self._args
        iters = args.iters or iters
        batch = min(args.batch or batch, iters)
        full = f"{group} {name}".strip()
        self._bar.start(full, iters)
        try:
            result = measure(call, self.stream, iters=iters, batch=batch, name=full, kind=kind,
                             warmup=warmup if args.warmup is None else args.warmup, progress=self._bar.advance)
        except Interrupted as stop:
            self._add(stop.result, group, about)
            raise
        return self._add(result, group, about)

    def _add(self, result: Result, group: str, about: Mapping[str, Any]) -> Result:
        result.group = group
        for key, value in about.items():
            setattr(result, key, value)
        same = sum(r.name == result.name or r.name.startswith(f"{result.name} #") for r in self.results)
        if same:  # a comparison finds results by their names
            result.name += f" #{same + 1}"
        self.results.append(result)
        return result

    @contextmanager
    def until_interrupted(self) -> Iterator[None]:
        """Ctrl-C inside the block ends it, and what was measured until then is kept; without any result it goes on."""
        try:
            yield
        except KeyboardInterrupt:
            if not self.results:
                raise
            self.interrupted = True


@contextmanager
def session(args: argparse.Namespace) -> Iterator[Session]:
    """A `Session` on device ``args.device``, with the options of `report.add_output_options`."""
    from ..device import Device
    from ..stream import Stream

    with Device(args.device), Stream() as stream, progress(args.quiet) as bar:
        yield Session(args, stream, bar)
