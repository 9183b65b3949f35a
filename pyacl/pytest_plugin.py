"""A pytest fixture for latency, loaded by pytest where pyacl is installed.

``acl_benchmark(call, stream=stream)`` measures as `pyacl.bench.measure` does, returns its result, and adds it to a
table at the end of the run; ``--acl-benchmark-json FILE`` writes all of them for ``pyacl bench compare``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

import pytest

if TYPE_CHECKING:
    from .bench import Result

_results: pytest.StashKey[list[Result]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--acl-benchmark-json``."""
    parser.getgroup("pyacl").addoption("--acl-benchmark-json", metavar="FILE",
                                       help="write what acl_benchmark measured, for pyacl bench compare")


@pytest.fixture
def acl_benchmark(request: pytest.FixtureRequest) -> Callable[..., Result]:
    """``acl_benchmark(call, stream=None, **options)``: measures `call`; options are those of `pyacl.bench.measure`."""
    from .bench import measure

    found = request.config.stash.setdefault(_results, [])
    node = request.node.nodeid

    def run(call: Callable[[], Any], stream: Any = None, **options: Any) -> Result:
        again = sum(r.name == node or r.name.startswith(f"{node} #") for r in found)
        options.setdefault("name", f"{node} #{again + 1}" if again else node)
        result = measure(call, stream, **options)
        found.append(result)
        return result

    return run


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Shows the table, and writes the file."""
    found = config.stash.get(_results, [])
    if not found:
        return
    import io

    from .bench import write_json
    from .bench.environment import environment
    from .bench.report import show

    # A test may have measured host code alone: a backend that nobody chose is not chosen for the record's sake.
    from .capi import backend

    where = environment(device=backend._active is not None)
    text = io.StringIO()
    show(found, where, out=text)
    terminalreporter.section("acl_benchmark")
    terminalreporter.write(text.getvalue())
    path = config.getoption("--acl-benchmark-json")
    if path:
        write_json(path, found, where)
        terminalreporter.write_line(f"written to {path}")
