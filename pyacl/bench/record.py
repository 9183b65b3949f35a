"""Results as data: what one measurement gave, and files of them (JSON and CSV).

A JSON file is ``{"schema": "pyacl.bench/1", "created": ISO time, "environment": {...}, "results": [...]}``; a result is
`Result.as_dict`. All times are in microseconds per call.
"""

from __future__ import annotations

import csv
import datetime
import json
import os
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Mapping, Sequence

from .stats import Summary, summarise

SCHEMA = "pyacl.bench/1"


class RecordError(ValueError):
    """A file that does not hold pyacl's results."""


@dataclass
class Result:
    """One measurement.

    ``series`` holds lists of microseconds per call, one entry for each batch: ``host`` (until the call returned),
    ``total`` (until the work was done; with a stream, including one synchronise for each batch) and, with a stream,
    ``device`` (between two events around the batch). ``bytes`` and ``flops`` are what one call moves and computes,
    where it is known. ``check`` says how the result compares with a reference: ``""`` where there is none, ``ok``, or
    what differs.
    """

    name: str
    series: dict[str, list[float]]
    kind: str = "call"
    group: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    batch: int = 1
    warmup: int = 0
    bytes: float = 0.0
    flops: float = 0.0
    check: str = ""
    notes: list[str] = field(default_factory=list)

    def summary(self, series: str = "") -> Summary:
        """The summary of a series; of the main one by default."""
        return summarise(self.series[series or self.main])

    @property
    def main(self) -> str:
        """The series that says most: the device's time where there is one, else the host's."""
        return "device" if "device" in self.series else "host" if "host" in self.series else next(iter(self.series))

    @property
    def label(self) -> str:
        """The name without the group it is shown under."""
        return self.name[len(self.group):].strip() if self.group and self.name.startswith(self.group) else self.name

    @property
    def bytes_per_second(self) -> float:
        """Throughput by the main series' median; 0 where the bytes are not known."""
        return self.bytes / (self.summary().median * 1e-6) if self.bytes else 0.0

    @property
    def flops_per_second(self) -> float:
        """Arithmetic by the main series' median; 0 where the operations are not known."""
        return self.flops / (self.summary().median * 1e-6) if self.flops else 0.0

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON takes it: the fields, and each series as samples with their summary."""
        data = asdict(self)
        data["series"] = {name: {"unit": "us", "samples": [round(s, 4) for s in samples],
                                 "summary": asdict(summarise(samples))} for name, samples in self.series.items()}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Result:
        """The inverse of `as_dict`; fields that this version does not know are left out."""
        known = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        known["series"] = {str(n): [float(x) for x in s["samples"]] for n, s in data["series"].items()}
        return cls(**known)


def write_json(path: str | os.PathLike[str], results: Sequence[Result], environment: Mapping[str, Any]) -> None:
    """Writes results with the environment they were measured in."""
    document = {"schema": SCHEMA, "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "environment": dict(environment), "results": [r.as_dict() for r in results]}
    with open(path, "w") as file:
        json.dump(document, file, indent=1)
        file.write("\n")


def read_json(path: str | os.PathLike[str]) -> tuple[list[Result], dict[str, Any]]:
    """The results and the environment of a file; raises OSError, or RecordError for anything but such a file."""
    with open(path) as file:
        try:
            document = json.load(file)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise RecordError(f"{path} is not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise RecordError(f"{path} holds no results of pyacl bench (its schema is not {SCHEMA})")
    try:
        results = [Result.from_dict(r) for r in document["results"]]
        for result in results:
            for name in result.series:
                result.summary(name)
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise RecordError(f"{path}: a result is damaged ({type(error).__name__}: {error})") from None
    return results, dict(document.get("environment") or {})


def write_csv(path: str | os.PathLike[str], results: Sequence[Result]) -> None:
    """One line for each series of each result: what it is, and its summary in microseconds."""
    columns = ["name", "kind", "series", "batch", *(f.name for f in fields(Summary)),
               "bytes_per_call", "flops_per_call", "check", "parameters"]
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for result in results:
            for series in result.series:
                summary = asdict(result.summary(series))
                writer.writerow([result.name, result.kind, series, result.batch, *(f"{v:g}" for v in summary.values()),
                                 f"{result.bytes:g}", f"{result.flops:g}", result.check,
                                 json.dumps(result.parameters, default=str)])
