"""Timing side by side: candidates take turns, so that what disturbs the machine disturbs them all."""

from __future__ import annotations

import statistics
import timeit
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping, Optional

from pyacl.bench.stats import compare


@dataclass
class Candidate:
    """One way to do something: a statement with its names, or a function of n that returns nanoseconds."""

    statement: str = "pass"
    names: Mapping[str, Any] = field(default_factory=dict)
    after: Optional[Callable[[], Any]] = None
    run: Optional[Callable[[int], float]] = None

    def __post_init__(self) -> None:
        self._timer = timeit.Timer(self.statement, globals=dict(self.names))

    def time(self, number: int, repeats: int = 1) -> float:
        """Nanoseconds per call; `after` (a synchronise, say) follows every `number` calls and is not timed."""
        took = 0.0
        for _ in range(repeats):
            took += self.run(number) if self.run else self._timer.timeit(number) * 1e9
            if self.after:
                self.after()
        return took / number / repeats


def side_by_side(candidates: Mapping[str, Candidate], number: int = 100, rounds: int = 300,
                 overhead: bool = True) -> dict[str, list[float]]:
    """Nanoseconds per call of every candidate, one sample a round; the empty loop's time is taken off.

    A sample is five times `number` calls (once for slow ones, so that seldom another process comes between), after as
    many that only warm caches up: users launch in loops. `number` stays below the number of calls after which a stream
    counts as full.
    """
    empty = Candidate()

    def sample(candidate: Candidate) -> float:
        slow = candidate.time(number) > 1000
        return candidate.time(number, 1 if slow else 5)

    samples: dict[str, list[float]] = {name: [] for name in candidates}
    loop: list[float] = []
    for _ in range(rounds):
        loop.append(sample(empty))
        for name, candidate in candidates.items():
            samples[name].append(sample(candidate))
    idle = statistics.median(loop) if overhead else 0.0
    return {name: [max(t - (0 if candidates[name].run else idle), 0.1) for t in times]
            for name, times in samples.items()}


def ratio(times: list[float], base: list[float]) -> tuple[float, float, float]:
    """The ratio of the medians with its 95 % interval."""
    found = compare(base, times)
    return found.ratio, found.low, found.high
