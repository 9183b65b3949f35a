"""The measuring library: statistics, comparisons, records, the measuring loop, text."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyacl.bench as bench
from pyacl.bench import config, text
from pyacl.bench.record import RecordError, Result
from pyacl.bench.stats import bootstrap_medians, effective_count
from pyacl.cli import CommandError

pytest_plugins = ["pytester"]
rng = np.random.default_rng(5)


# Statistics


def test_summary_agrees_with_the_standard_library() -> None:
    times = rng.lognormal(1, 0.5, 501).tolist()
    s = bench.summarise(times)
    assert s.count == 501
    assert (s.min, s.max) == (min(times), max(times))
    assert s.mean == pytest.approx(statistics.fmean(times))
    assert s.median == pytest.approx(statistics.median(times))
    assert s.std == pytest.approx(statistics.stdev(times))
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    assert s.p90 == pytest.approx(cuts[89])
    assert s.p99 == pytest.approx(cuts[98])
    assert s.stderr == pytest.approx(s.std / math.sqrt(s.effective))


def test_one_sample_and_equal_samples_have_a_summary() -> None:
    one = bench.summarise([2.0])
    assert (one.median, one.std, one.stderr, one.outliers) == (2.0, 0.0, 0.0, 0)
    same = bench.summarise([3.0] * 50)
    assert (same.p99, same.std, same.outliers, same.effective) == (3.0, 0.0, 0, 50)


@pytest.mark.parametrize("bad", [[], [1.0, float("nan")], [float("inf")], [[1.0]]])
def test_what_has_no_summary_is_refused(bad: Any) -> None:
    with pytest.raises(ValueError):
        bench.summarise(bad)


def test_outliers_are_those_far_off_the_middle() -> None:
    times = [10 + 0.1 * (i % 10) for i in range(100)]
    assert bench.summarise(times).outliers == 0
    assert bench.summarise([*times, 30.0, 1.0]).outliers == 2
    # Times of a coarse clock: one tick off is no outlier.
    assert bench.summarise([100.0] * 99 + [101.0]).outliers == 0


def test_alike_neighbours_count_for_less() -> None:
    independent = rng.normal(10, 1, 2000)
    repeated = np.repeat(rng.normal(10, 1, 200), 10)
    assert effective_count(independent) > 1000
    assert 80 < effective_count(repeated) < 500


def test_the_bootstrap_agrees_with_resampling() -> None:
    times = rng.lognormal(0, 0.4, 151)
    fast = bootstrap_medians(times, 20000, np.random.default_rng(1))
    plain = np.median(np.random.default_rng(2).choice(times, (20000, 151)), axis=1)
    factor = math.sqrt(151 / effective_count(times))
    assert fast.std() == pytest.approx(plain.std() * factor, rel=0.15)
    assert fast.mean() == pytest.approx(plain.mean(), rel=0.02)


def test_the_same_thing_measured_twice_is_seldom_slower_or_faster() -> None:
    wrong = sum(bench.compare(rng.lognormal(0, 0.3, 100), rng.lognormal(0, 0.3, 100)).verdict != "same"
                for _ in range(200))
    assert wrong <= 25  # 5 % are allowed; this is far out


def test_drifting_times_do_not_make_a_verdict() -> None:
    def drifting() -> Any:
        return np.exp(np.cumsum(rng.normal(0, 0.02, 500)) * 0.3) + 1

    wrong = sum(bench.compare(drifting(), drifting()).verdict != "same" for _ in range(60))
    naive = 0
    for _ in range(60):
        a, b = drifting(), drifting()
        error = math.hypot(a.std(), b.std()) / math.sqrt(500)
        naive += abs(a.mean() - b.mean()) > 1.96 * error
    assert wrong < naive / 2


def test_a_real_difference_is_found_with_its_size() -> None:
    old, new = rng.lognormal(0, 0.1, 500), rng.lognormal(0, 0.1, 500) * 1.2
    c = bench.compare(old, new)
    assert c.verdict == "slower"
    assert c.low < 1.2 < c.high
    assert c.above(1.1)
    assert not c.above(1.3)
    assert bench.compare(new, old).verdict == "faster"
    assert bench.compare(old, new) == c  # the same question, the same answer


def test_times_of_zero_have_no_ratio() -> None:
    with pytest.raises(ValueError, match="above zero"):
        bench.compare([0.0, 1.0], [1.0, 1.0])


# Measuring


def test_host_calls_are_counted_and_timed() -> None:
    count = 0

    def call() -> None:
        nonlocal count
        count += 1

    seen: list[int] = []
    result = bench.measure(call, iters=50, batch=5, warmup=7, name="x", progress=seen.append)
    assert list(result.series) == ["host"]
    assert len(result.series["host"]) == 10
    assert (result.batch, result.warmup, count) == (5, 10, 60)
    assert seen == list(range(5, 51, 5))
    assert all(t > 0 for t in result.series["host"])


def test_a_quick_call_gets_batches_that_the_clock_can_tell() -> None:
    assert bench.measure(lambda: None, iters=10_000).batch >= 64


def test_the_time_of_a_call_is_right() -> None:
    import time

    result = bench.measure(lambda: time.sleep(0.002), iters=5, warmup=0)
    assert 2000 <= result.summary().min < 20_000


def test_warm_up_goes_on_until_times_are_stable() -> None:
    import time

    delays = iter([0.03 * 0.7**i for i in range(12)])

    def call() -> None:
        time.sleep(next(delays, 0.0005))

    assert bench.measure(call, iters=5).warmup > 10


def test_garbage_collection_rests_meanwhile_and_comes_back() -> None:
    import gc

    states = []
    bench.measure(lambda: states.append(gc.isenabled()), iters=3, warmup=0, batch=1)
    assert states == [False] * 3
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        bench.measure(lambda: 1 / 0, iters=3)
    assert gc.isenabled()


@pytest.mark.parametrize("options", [{"iters": 0}, {"batch": 0}, {"warmup": -1}])
def test_counts_that_make_no_sense_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        bench.measure(lambda: None, **options)  # type: ignore[arg-type]


def test_work_on_a_stream_has_host_and_device_time(device: Any, stream: Any) -> None:
    import pyacl

    a, b = pyacl.DeviceBuffer(1 << 20), pyacl.DeviceBuffer(1 << 20)
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        pyacl.memcpy_async(a, b, stream)

    with a, b:
        result = bench.measure(call, stream, iters=30, batch=10, warmup=10)
    assert calls == 40
    assert {n: len(s) for n, s in result.series.items()} == {"host": 3, "device": 3, "total": 3}
    assert result.main == "device"
    for host, device_time, total in zip(*(result.series[n] for n in ("host", "device", "total"))):
        assert 0 < host < total
        assert 0 < device_time <= total * 1.01
    assert stream.query()


def test_a_call_that_fails_leaves_the_stream_idle_and_its_error_visible(device: Any, stream: Any) -> None:
    def call() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        bench.measure(call, stream, iters=3)
    assert stream.query()


@pytest.mark.parametrize("at", [4, 20])
def test_what_was_measured_before_ctrl_c_is_not_lost(device: Any, stream: Any, at: int) -> None:
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        bench.measure(call, stream, iters=40, batch=5, warmup=5)
    assert isinstance(caught.value, bench.Interrupted) == (at == 20)
    if isinstance(caught.value, bench.Interrupted):
        result = caught.value.result
        assert {n: len(s) for n, s in result.series.items()} == {"host": 2, "device": 2, "total": 2}
        assert result.notes == ["interrupted after 10 of 40 calls"]
    assert stream.query()


# Records


def _result(name: str = "add", factor: float = 1.0) -> Result:
    times = (rng.lognormal(0, 0.05, 200) * 10 * factor).tolist()
    return Result(name, {"host": [t / 5 for t in times], "device": times}, kind="op", parameters={"op": name},
                  batch=10, bytes=3000.0, flops=1000.0)


def test_a_result_knows_its_throughput() -> None:
    result = Result("x", {"host": [5.0], "device": [2.0]}, bytes=2000.0, flops=100.0)
    assert result.bytes_per_second == pytest.approx(1e9)
    assert result.flops_per_second == pytest.approx(5e7)
    assert Result("x", {"host": [5.0]}).bytes_per_second == 0


def test_json_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    results = [_result("a"), _result("b")]
    bench.write_json(path, results, {"soc": "Ascend910B3"})
    read, environment = bench.read_json(path)
    assert environment == {"soc": "Ascend910B3"}
    assert [r.name for r in read] == ["a", "b"]
    assert read[0].series["device"] == pytest.approx(results[0].series["device"], abs=1e-4)
    assert (read[0].bytes, read[0].batch, read[0].parameters) == (3000.0, 10, {"op": "a"})
    document = json.loads(path.read_text())
    assert document["schema"] == "pyacl.bench/1"
    assert document["results"][0]["series"]["host"]["unit"] == "us"


@pytest.mark.parametrize("content", [
    "", "[]", "{}", '{"schema": "other"}', '{"schema": "pyacl.bench/1"}',
    '{"schema": "pyacl.bench/1", "results": [{"name": "x"}]}',
    '{"schema": "pyacl.bench/1", "results": [{"name": "x", "series": {"host": {"samples": []}}}]}',
    '{"schema": "pyacl.bench/1", "results": [{"name": "x", "series": {"host": {"samples": ["?"]}}}]}',
])
def test_a_file_that_is_no_record_says_so(tmp_path: Path, content: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(RecordError, match=r"r\.json"):
        bench.read_json(path)


def test_csv_has_a_line_for_each_series(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    result = _result()
    bench.write_csv(path, [result])
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [r["series"] for r in rows] == ["host", "device"]
    assert float(rows[1]["median"]) == pytest.approx(statistics.median(result.series["device"]), rel=1e-4)
    assert json.loads(rows[0]["parameters"]) == {"op": "add"}


# Text


@pytest.mark.parametrize(("value", "shown"), [
    (0, "0"), (0.12345, "0.123"), (1.5, "1.50"), (12.345, "12.35"), (123.45, "123.5"), (12345.6, "12346")])
def test_numbers_have_the_digits_that_matter(value: float, shown: str) -> None:
    assert text.number(value) == shown


def test_quantities_and_sizes() -> None:
    assert text.quantity(1.6e12, "B/s") == "1.6 TB/s"
    assert text.quantity(250, "FLOP/s") == "250 FLOP/s"
    assert text.size(64 << 10) == "64 KiB"
    assert text.size(1000) == "1000 B"


def test_a_table_is_aligned_plain_text_where_nobody_looks() -> None:
    out = io.StringIO()
    text.table(["", "a", "bb"], [["heading"], ["x", "1", "22"], ["long", "333", "4"]], out=out)
    assert out.getvalue().splitlines() == [
        "        a  bb", "-------------", "heading", "x       1  22", "long  333   4"]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("rich", [True, False])
def test_a_terminal_gets_progress_with_or_without_rich(rich: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if rich:
        pytest.importorskip("rich")
    else:
        monkeypatch.setattr(text, "_rich", lambda: None)
    out = _Terminal()
    with text.progress(out=out) as bar:
        bar.start("aclnnAdd", 10)
        bar.advance(5)
    assert "aclnnAdd" in out.getvalue()
    quiet = _Terminal()
    with text.progress(quiet=True, out=quiet) as bar:
        bar.start("aclnnAdd", 10)
        bar.advance(5)
    assert quiet.getvalue() == ""
    terminal = _Terminal()
    text.table(["", "a"], [["[bold]", "1"]], out=terminal)
    assert "[bold]" in terminal.getvalue()


# Configuration files


@pytest.mark.parametrize(("name", "content"), [
    ("c.json", '{"iters": 5, "ops": [{"op": "aclnnAdd"}]}'),
    ("c.yaml", "iters: 5\nops:\n  - op: aclnnAdd\n"),
    ("c.toml", 'iters = 5\n[[ops]]\nop = "aclnnAdd"\n')])
def test_three_kinds_of_files_say_the_same(tmp_path: Path, name: str, content: str) -> None:
    if name.endswith("yaml"):
        pytest.importorskip("yaml")
    path = tmp_path / name
    path.write_text(content)
    assert config.load(str(path)) == {"iters": 5, "ops": [{"op": "aclnnAdd"}]}


@pytest.mark.parametrize(("name", "content"), [
    ("c.json", "{"), ("c.yaml", "a: [1"), ("c.toml", "a ="), ("c.txt", ""), ("c.json", "[1]"), ("c.yaml", "\x00"),
    ("c.json", None)])
def test_a_file_that_is_no_configuration_says_so(tmp_path: Path, name: str, content: Any) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(CommandError, match=name.replace(".", r"\.")):
        config.load(str(path))


# The pytest fixture


def test_the_fixture_measures_and_reports(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        def test_sum(acl_benchmark):
            for _ in range(2):
                result = acl_benchmark(lambda: sum(range(10)), iters=100)
                assert result.summary().median > 0

        def test_summary(acl_benchmark):  # begins as the other does
            acl_benchmark(lambda: sum(range(10)), iters=100)

        def test_su(acl_benchmark):
            acl_benchmark(lambda: sum(range(10)), iters=100)
    """)
    installed = any(e.value == "pyacl.pytest_plugin" for e in metadata.distribution("pyacl-ascend").entry_points)
    done = pytester.runpytest_inprocess("--acl-benchmark-json", "out.json",
                                        *(() if installed else ("-p", "pyacl.pytest_plugin")))
    done.assert_outcomes(passed=3)
    done.stdout.fnmatch_lines(["*acl_benchmark*", "*test_sum*host*"])
    results, _ = bench.read_json(pytester.path / "out.json")
    assert [r.name.split("::")[-1] for r in results] == ["test_sum", "test_sum #2", "test_summary", "test_su"]
