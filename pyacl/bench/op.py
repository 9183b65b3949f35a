"""``pyacl bench op``: operators' launch and device time, each way to launch them side by side."""

from __future__ import annotations

import argparse
import itertools
import sys
from contextlib import ExitStack
from typing import Any, Callable, Iterable, Iterator, Mapping

from ..cli import CommandError
from . import case as cases
from . import config, handle, peaks
from .case import Case
from .record import Result
from .report import add_output_options, check_outputs, deliver
from .session import Session, session

WAYS = ("one-shot", "repeatable", "cached", "graph")
_SETTINGS = ("iters", "warmup", "batch")
_CASE_KEYS = ("op", "shape", "dtype", "set")


_Wanted = tuple[str, str, str, Mapping[str, Any]]  # operator, shape, dtype, values


class _NotHere(Exception):
    """A way to launch that this operator, or this backend, does not have."""


def add_parser(subparsers: Any) -> None:
    """Adds ``op``."""
    parser = subparsers.add_parser(
        "op", help="operators", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Times operators with inputs made from their prototypes, and checks the results against a numpy\n"
                    "reference where there is one.",
        epilog="examples:\n"
               "  pyacl bench op aclnnAdd --shape 1024x1024 --dtype float16 --iters 1000\n"
               "  pyacl bench op aclnnAdd aclnnMul --shape 64x64 --shape 4096 --dtype float16 --dtype float32\n"
               "  pyacl bench op aclnnMatmul --shape self=128x512,mat2=512x64 --set cubeMathType=1\n"
               "  pyacl bench op --handle Add --shape 1024x1024\n"
               "  pyacl bench op --config ops.yaml --json new.json\n\n"
               "A configuration has the measuring options and a list `ops` of mappings with op, shape, dtype and set;\n"
               "op, shape and dtype may be lists, and every combination is measured.")
    parser.add_argument("op", nargs="*", metavar="OPERATOR", help="such as aclnnAdd")
    parser.add_argument("--shape", action="append", metavar="SHAPE",
                        help="1024x1024; for several tensors 8x16,16x4 or self=8x16,mat2=16x4; for a list 3*8x16. "
                             "Give it again for another case")
    parser.add_argument("--dtype", action="append", metavar="DTYPE",
                        help="float16, bfloat16, int32, ...; by tensor: self=float16,index=int32 (default float32)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="a scalar or attribute; arrays as 1,2; none for NULL")
    parser.add_argument("--handle", action="store_true",
                        help="OPERATOR is a type of the graph engine (Add, MatMulV2): by handle and by description")
    parser.add_argument("--way", nargs="+", choices=WAYS, default=WAYS, help="which launches to compare (default all)")
    parser.add_argument("--config", metavar="FILE", help="a .yaml, .toml or .json file of operators")
    parser.add_argument("--no-check", action="store_true", help="do not compare results with the reference")
    add_output_options(parser)
    peaks.add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measures every case; what fails is told at the end, and does not lose the rest."""
    check_outputs(args)
    wanted = list(_wanted(args))
    if not wanted:
        raise CommandError("name an operator, or give a --config file")
    for name, shape, _, __ in [] if args.handle else wanted:  # what is known to be wrong is told before anything runs
        proto = cases.prototype(name)
        inputs, outputs, ___ = cases.roles(proto)
        cases.assign(shape, [*inputs, *dict.fromkeys(outputs)], "--shape")
    failures: list[tuple[str, Exception]] = []
    with session(args) as bench:
        _run(bench, wanted, args, failures)
        if len(wanted) == 1 and failures:
            raise failures[0][1]
    # Not before the progress bar has gone from the terminal.
    code = deliver(bench.results, bench.environment, args, peaks.of(bench.environment, args),
                   bench.interrupted) if bench.results else 1
    for what, failure in failures:
        print(f"pyacl: {what}: {' '.join(str(failure).split())}", file=sys.stderr)
    return 1 if failures and not bench.interrupted else code


def _run(bench: Session, wanted: Iterable[_Wanted], args: argparse.Namespace,
         failures: list[tuple[str, Exception]]) -> None:
    with bench.until_interrupted():
        for name, shape, dtype, values in wanted:
            try:
                if args.handle:
                    handle.measure(bench, name, shape, dtype, values)
                    continue
                _measure(bench, cases.build(name, shape, dtype, values), shape, dtype, values, args)
            except (CommandError, ValueError, TypeError, MemoryError, RuntimeError) as error:
                failures.append((f"{name} {shape} {dtype}", error))


def _wanted(args: argparse.Namespace) -> Iterator[_Wanted]:
    """Operator, shape, dtype and values of every case."""
    values = {}
    for text in args.set:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise CommandError(f"--set {text}: write --set NAME=VALUE")
        values[name] = value
    shapes, dtypes = args.shape or [], args.dtype or ["float32"]
    if args.op and not shapes:
        raise CommandError("give a --shape, such as --shape 1024x1024")
    for name, shape, dtype in itertools.product(args.op, shapes, dtypes):
        yield name, shape, dtype, values
    if args.config:
        yield from _from_file(args, values)


def _from_file(args: argparse.Namespace, values: Mapping[str, Any]) -> Iterator[_Wanted]:
    data = config.load(args.config)
    config.only(data, ("ops", *_SETTINGS, "way"), args.config)
    for key in _SETTINGS:
        given = config.count(data, key, args.config, 0 if key == "warmup" else 1)
        if getattr(args, key) is None:
            setattr(args, key, given)
    if "way" in data and args.way is WAYS:
        args.way = [str(w) for w in config.listed(data["way"])]
        for way in args.way:
            if way not in WAYS:
                raise CommandError(f"{args.config}: no way {way!r}; there are {', '.join(WAYS)}")
    entries = data.get("ops")
    if not isinstance(entries, list) or not entries:
        raise CommandError(f"{args.config}: `ops` is a list of mappings with op and shape")
    for i, entry in enumerate(entries):
        where = f"{args.config}: ops[{i}]"
        if not isinstance(entry, dict):
            raise CommandError(f"{where} is not a mapping")
        config.only(entry, _CASE_KEYS, where)
        names = config.listed(entry.get("op"))
        shapes = config.listed(entry.get("shape")) or args.shape or []
        dtypes = config.listed(entry.get("dtype")) or args.dtype or ["float32"]
        given = entry.get("set") or {}
        if not isinstance(given, dict):
            raise CommandError(f"{where}: set is a mapping of names to values")
        if not names or not shapes:
            raise CommandError(f"{where} needs an op and a shape")
        for name, shape, dtype in itertools.product(names, shapes, dtypes):
            yield str(name), _shape_text(shape), str(dtype), {**given, **values}


def _shape_text(shape: Any) -> str:
    """A configuration may write one shape of several as a list of numbers: ``[[8, 16], [4, 4]]``."""
    return "x".join(map(str, shape)) or "scalar" if isinstance(shape, list) else str(shape)


def _measure(bench: Session, case: Case, shape: str, dtype: str, values: Mapping[str, Any],
             args: argparse.Namespace) -> None:
    results: list[Result] = []
    given = "".join(f" {n}={_brief(v)}" for n, v in case.values.items() if n in values)
    group = f"{case.name} {shape} {dtype}{given}"
    with ExitStack() as stack:
        arguments = _arguments(case, stack)
        check = "" if args.no_check else _check(case, arguments, bench)
        skipped = []
        for way in args.way:
            with ExitStack() as opened:
                try:
                    call = _LAUNCHES[way](case.name, list(arguments.values()), bench.stream, opened)
                except _NotHere as reason:
                    skipped.append(f"{way}: {reason}")
                    continue
                results.append(bench.measure(
                    call, way, group=group, kind="op", bytes=case.bytes, flops=case.flops, check=check,
                    parameters={**case.parameters, "way": way}))
                bench.stream.synchronize()
        if not results:
            raise RuntimeError("; ".join(skipped))
        results[-1].notes += skipped
        if not check and not args.no_check:
            results[-1].notes.append("there is no reference for this operator: its result was not checked")


def _brief(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


_FORMATS = {3: "NCL", 4: "NCHW", 5: "NCDHW"}  # as torch_npu has them: operators on images insist


def _arguments(case: Case, stack: ExitStack) -> dict[str, Any]:
    """The operator's arguments in order, with tensors on the device."""
    from ..tensor import Tensor, TensorList

    found: dict[str, Any] = {}
    for p in case.prototype.params:
        if p.name in case.inputs:
            value = case.inputs[p.name]
            tensors = [stack.enter_context(Tensor.from_numpy(a, format=_FORMATS.get(a.ndim, "ND")))
                       for a in (value if isinstance(value, list) else [] if value is None else [value])]
        elif p.name in case.outputs:
            value = case.outputs[p.name]
            tensors = [stack.enter_context(Tensor.zeros(s, d, format=_FORMATS.get(len(s), "ND"))) for s, d in value]
        elif cases.is_tensor(p.type):
            value, tensors = None, []
        else:
            found[p.name] = case.values[p.name]
            continue
        if value is None:
            found[p.name] = None
        else:
            found[p.name] = stack.enter_context(TensorList(tensors)) if "TensorList" in p.type else tensors[0]
    return found


def _check(case: Case, arguments: Mapping[str, Any], bench: Session) -> str:
    """Runs the operator once and compares; tensors that it changes get their content back."""
    if case.expected is None:
        return ""
    _one_shot(case.name, list(arguments.values()), bench.stream, ExitStack())()
    bench.stream.synchronize()
    results = {name: arguments[name].numpy() for name in case.outputs if not isinstance(case.outputs[name], list)
               or len(case.outputs[name]) == 1 and hasattr(arguments[name], "numpy")}
    for name in case.inplace:
        if hasattr(arguments[name], "copy_"):
            arguments[name].copy_(case.inputs[name])
    return cases.difference(case, results)


def _one_shot(name: str, arguments: list[Any], stream: Any, stack: ExitStack) -> Callable[[], Any]:
    """Planned and launched at each call."""
    from ..executor import Executor

    return lambda: Executor(name, *arguments).launch(stream)


def _repeatable(name: str, arguments: list[Any], stream: Any, stack: ExitStack) -> Callable[[], Any]:
    """Planned once, launched at each call."""
    executor = _executor(name, arguments, stack)
    return lambda: executor.launch(stream)


def _executor(name: str, arguments: list[Any], stack: ExitStack) -> Any:
    from ..errors import AclError
    from ..executor import Executor

    try:
        return stack.enter_context(Executor(name, *arguments, repeatable=True))
    except AclError as error:
        if error.function == "aclSetAclOpExecutorRepeatable":
            raise _NotHere("this operator cannot be repeated") from None
        raise


def _cached(name: str, arguments: list[Any], stream: Any, stack: ExitStack) -> Callable[[], Any]:
    """A call of ``pyacl.ops`` that finds the executor of an earlier one."""
    from .. import ops

    stack.enter_context(ops.cache())
    call = getattr(ops, name)
    return lambda: call(*arguments, stream=stream)


def _graph(name: str, arguments: list[Any], stream: Any, stack: ExitStack) -> Callable[[], Any]:
    """Captured once, replayed at each call."""
    from ..capi import MissingSymbolError
    from ..errors import AclError
    from ..graph import Graph
    from ..stream import Stream

    # Captured on a stream of its own: a capture that fails leaves its stream unusable.
    side = stack.enter_context(Stream())
    executor = _executor(name, arguments, stack)
    try:
        with Graph.capture(side) as graph:
            executor.launch(side)
    except MissingSymbolError as error:
        raise _NotHere(str(error)) from None
    except AclError as error:
        raise _NotHere(f"{error.function} failed with {error.code} ({error.name})") from None
    stack.enter_context(graph)
    return lambda: graph.launch(stream)


_LAUNCHES: dict[str, Callable[[str, list[Any], Any, ExitStack], Callable[[], Any]]] = {
    "one-shot": _one_shot, "repeatable": _repeatable, "cached": _cached, "graph": _graph}
