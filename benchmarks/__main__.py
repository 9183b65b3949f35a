"""``python -m benchmarks``: every claim of the project about speed, in one run, as tables of ratios.

``python -m benchmarks operators`` is a table of its own: the emulator's operators beside numpy's and PyTorch's.
Needs gcc. Each part runs in a process of its own, because a process has one backend.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Sequence

from pyacl.bench import text
from pyacl.bench.environment import environment

from . import emulator, noop, operators, rivals
from .timing import ratio

PARTS = ("binding", "emulator", "import")
WAYS = ("C loop", "ctypes", "cffi ABI", "cffi API", "nanobind", "pyacl")


def main() -> int:
    """Runs the parts that were asked for; 0 when all budgets hold, 1 when one does not."""
    if sys.argv[1:2] == ["operators"]:
        return operators.main(sys.argv[2:])
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="which parts (default all)")
    parser.add_argument("--rounds", type=int, default=300, help="samples of each short call (default 300)")
    parser.add_argument("--json", metavar="FILE", help="write everything that was measured")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the calls")
    parser.add_argument("--child", choices=PARTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return _child(args)
    found: dict[str, Any] = {"environment": environment(device=False)}
    for part in args.only:
        found[part] = _spawn(part, args.rounds)
    missed = show(found)
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1) + "\n")
    if args.plot:
        plot(found, args.plot)
    return 1 if missed else 0


def _spawn(part: str, rounds: int) -> Any:
    print(f"measuring: {part} ...", file=sys.stderr, flush=True)
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYACL_")}
    variables["PYACL_BACKEND"] = "emulator"
    if part == "binding":
        variables = noop.environment(rivals.noop())
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        subprocess.run([sys.executable, "-m", "benchmarks", "--child", part, "--rounds", str(rounds),
                        "--json", str(out)], check=True, env=variables)
        return json.loads(out.read_text())


def _child(args: argparse.Namespace) -> int:
    if args.child == "import":
        result: Any = imports(max(2, args.rounds // 15))
    elif args.child == "emulator":
        result = emulator.main(args.rounds)
    else:
        from . import binding

        result = binding.main(args.rounds)
    Path(args.json).write_text(json.dumps(result))
    return 0


_IMPORTS = {
    "import pyacl": "import pyacl",
    "import pyacl, and load the C functions": "import pyacl; pyacl.lib.ACL_FLOAT",
    "import pyacl, and load Device, Stream, Tensor, Executor":
        "import pyacl; pyacl.Device, pyacl.Stream, pyacl.Tensor, pyacl.Executor",
}


def imports(rounds: int) -> dict[str, list[float]]:
    """Milliseconds of the processor beyond importing numpy, each time in a new process."""
    found: dict[str, list[float]] = {name: [] for name in _IMPORTS}
    # An installed package has its bytecode; the first round writes it and does not count.
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for turn in range(rounds + 1):
        for name, statement in _IMPORTS.items():
            code = (f"import numpy, time; t = time.process_time()\n{statement}\n"
                    "print((time.process_time() - t) * 1e3)")
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                                  env=variables)
            if turn:
                found[name].append(float(done.stdout))
    return found


Row = tuple[str, float, float, float, str]


def budgets(found: dict[str, Any]) -> list[Row]:
    """What is promised: text, measured, the low end of its 95 % interval, limit, unit."""
    rows: list[Row] = []
    if "binding" in found:
        calls = found["binding"]["calls"]
        for name, action, base, limit in (
                ("raw call with 4 arguments through pyacl.lib / ctypes", "raw call, 4 arguments", "ctypes", 0.40),
                ("Executor.launch / raw ctypes call", "Executor.launch", "ctypes", 0.60),
                ("Executor.launch / raw cffi call", "Executor.launch", "cffi API", 1.7)):
            value, low, _ = ratio(calls[action]["pyacl"], calls[action][base])
            rows.append((name, value, low, limit, "x"))
        cached = [t / 1e3 for t in calls["pyacl.ops, cached"]["pyacl"]]
        rows.append(("pyacl.ops.aclnnAdd(x, y, 1.0, out), cached", statistics.median(cached), min(cached), 5.0, "us"))
    if "import" in found:
        rows += [(f"{name}, beyond numpy", statistics.median(times), min(times), 25.0, "ms")
                 for name, times in found["import"].items()]
    if "emulator" in found:
        parts = found["emulator"]
        extra = emulator.beyond(parts["small"])
        rows.append(("emulator: launch + synchronise of a small operator, beyond numpy", extra, extra, 10.0, "us"))
        for key, name, base, limit in (
                ("elementwise", "emulator: 16 MB elementwise / numpy", "numpy", 1.15),
                ("matmul", "emulator: 1024^3 float32 matmul / numpy", "numpy", 1.05),
                ("model", "emulator: Model.execute / onnxruntime", "onnxruntime", 1.05)):
            if isinstance(parts[key], dict):
                value, low, _ = ratio(parts[key]["emulator"], parts[key][base])
                rows.append((name, value, low, limit, "x"))
        if isinstance(parts["small_model"], dict):
            extra = emulator.beyond(parts["small_model"], "onnxruntime")
            rows.append(("emulator: Model.execute of a small model, beyond onnxruntime", extra, extra, 10.0, "us"))
    return rows


def show(found: dict[str, Any]) -> bool:
    """Prints the tables; whether a budget was missed beyond doubt."""
    rows = budgets(found)
    text.table(("budget", "measured", "limit", ""),
               [(name, f"{value:.2f} {unit}", f"{limit:.2f} {unit}",
                 "ok" if value <= limit else "unsure" if low <= limit else "MISSED")
                for name, value, low, limit, unit in rows])
    for part, result in found.get("emulator", {}).items():
        if isinstance(result, str):
            print(f"{part}: {result}")
    if "binding" in found:
        _show_binding(found["binding"])
    return any(low > limit for _, _, low, limit, _ in rows)


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _show_binding(binding: dict[str, Any]) -> None:
    calls = binding["calls"]
    ways = [w for w in WAYS if any(w in times for times in calls.values())]
    print("\nNanoseconds per call (ratio to ctypes), side by side:\n")
    rows: list[Sequence[str]] = []
    for action, times in calls.items():
        medians = {w: statistics.median(t) for w, t in times.items()}
        rows.append([action, *(f"{medians[w]:.0f} ({_ratio(medians[w] / medians['ctypes'])})" if w in medians else ""
                               for w in ways)])
    text.table(["", *ways], rows)
    print("\nLatency of one launch, alone and beside a thread that runs Python, in microseconds:\n")
    rows = []
    for way, states in binding["busy"].items():
        cells = []
        for state in ("alone", "busy"):
            times = sorted(states[state])
            cells += [f"{statistics.mean(times) / 1e3:.2f}", f"{times[int(len(times) * 0.99)] / 1e3:.1f}",
                      f"{times[-1] / 1e3:.0f}"]
        rows.append([way, *cells])
    text.table(["", "alone: mean", "p99", "max", "busy: mean", "p99", "max"], rows)
    print("\nResource classes: microseconds to create and to close one, bytes of Python memory each:\n")
    text.table(["", "create", "close", "bytes"],
               [[name, text.number(r["create_us"]), text.number(r["close_us"]), f"{r['bytes']:.0f}"]
                for name, r in binding["resources"].items()])


def plot(found: dict[str, Any], path: str) -> None:
    """Bars of the calls, one group for each action."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    if "binding" not in found:
        raise SystemExit("--plot draws the binding part: do not leave it out")
    calls = found["binding"]["calls"]
    ways = [w for w in WAYS if any(w in times for times in calls.values())]
    figure, axes = pyplot.subplots(figsize=(12, 5), layout="constrained")
    for i, way in enumerate(ways):
        at = [j + (i - len(ways) / 2) * 0.14 for j, times in enumerate(calls.values()) if way in times]
        axes.bar(at, [statistics.median(times[way]) for times in calls.values() if way in times], 0.13, label=way)
    axes.set_xticks(range(len(calls)), list(calls), fontsize=8)
    axes.set_ylabel("nanoseconds per call")
    axes.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
