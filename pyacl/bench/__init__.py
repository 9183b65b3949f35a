"""Latency measurement: the library behind ``pyacl bench``.

``pyacl.bench.measure(call, stream=stream)`` times anything; the result carries its samples and their statistics.
"""

from .measure import Interrupted, measure
from .record import RecordError, Result, read_json, write_csv, write_json
from .stats import Comparison, Summary, compare, summarise

__all__ = [
    "Comparison", "Interrupted", "RecordError", "Result", "Summary", "compare", "measure", "read_json", "summarise",
    "write_csv", "write_json",
]
