"""The operators that are emulated: one numpy function and a few rules each. See the package's docstring."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import threading
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Callable, Iterable, Optional

from ...capi import cdefs
from . import rules
from .signature import Signature, documented_dtypes, signature
from .types import parse

Rule = Callable[..., Any]

# Modules of this package that define no operators. All others do, and are loaded when one is first looked up.
_FRAMEWORK = frozenset(("types", "tensor", "rules", "signature", "registry", "executor", "pieces", "special",
                        "choice", "sums", "scores", "places", "cli", "ge", "ge_layout", "ge_networks", "ge_table"))


@dataclass
class Operator:
    """How one operator is emulated. `define` and `elementwise` say what the fields mean."""

    name: str
    compute: Callable[..., Any]
    shape: Optional[Rule] = None
    result: Optional[Rule] = None
    meet: Optional[Rule] = None
    promote: Optional[tuple[int, ...]] = None
    elementwise: bool = False
    rows: Optional[Rule] = None
    along: tuple[int, ...] = (0,)
    raw: bool = False
    one_pass: bool = False
    exact: bool = False
    dynamic: bool = False
    private_formats: bool = False
    repeatable: bool = True
    rehearsed: bool = True
    check: Optional[Rule] = None
    reformat: Optional[Rule] = None
    dtypes: dict[str, str] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    roles: dict[str, str] = field(default_factory=dict)
    workspace: int = 0
    oracle: str = ""
    deviations: str = ""

    def __post_init__(self) -> None:
        try:
            parameters: Any = inspect.signature(self.compute).parameters
        except (TypeError, ValueError):  # numpy's ufuncs
            parameters = ("out",)
        self.takes_out = "out" in parameters
        self.takes_outs = "outs" in parameters

    @cached_property
    def signature(self) -> Signature:
        return _signature(self.name, tuple(sorted(self.roles.items())))

    def allowed(self, parameter: str) -> Any:
        """The types a tensor parameter may have; empty for any."""
        return parse(self.dtypes[parameter]) if parameter in self.dtypes else _allowed(self.name, parameter)


@cache
def _signature(name: str, roles: tuple[tuple[str, str], ...]) -> Signature:
    found = signature(name, dict(roles))
    if found is None:  # raised, so not cached: it may be declared later
        raise LookupError(f"{name} is not declared: declare it with pyacl.declare_op first")
    return found


@cache
def _allowed(name: str, parameter: str) -> Any:
    return next((p.dtypes for p in _signature(name, ()).parameters if p.name == parameter), frozenset())


_operators: dict[str, Operator] = {}
_lock = threading.RLock()
_loaded = False


def define(names: str, compute: Callable[..., Any], shape: Optional[Rule] = None, *, result: Optional[Rule] = None,
           inplace: bool = False, optional: str = "", **rest: Any) -> None:
    """Defines one operator under each of `names` (``"Cat Concat"``; ``aclnn`` is put in front).

    compute         gets the inputs in the order of the prototype and returns one array, or a tuple of one for each
                    output (None: leave that output alone). With a parameter ``out`` it is given the output's own array
                    where types allow it and may write there; with ``outs`` it is given the outputs' descriptions.
    shape, result   rules (see `rules`) for the outputs' shapes and types; without them it is seen on zeros, or when
                    the task runs, whether a result fits
    meet            rule for the type to which the inputs `promote` are converted before `compute`
    promote         positions of these inputs; with `elementwise` the default is all tensors and scalars. A scalar that
                    is not among them is converted all the same.
    rows            rule for the number of leading dimensions that are independent of each other, where all outputs and
                    the inputs at the positions `along` (default the first) have them in common: large tensors are
                    then computed piece by piece, like all elementwise ones
    raw             hand over float16 and bfloat16 as they are; otherwise they arrive as float32
    one_pass        `compute` goes over its inputs once, so large ones are better not cut into pieces
    exact           outputs must have the type of `result`; otherwise any it can be cast to
    dynamic         outputs may come out smaller than their tensors; their view shapes then change when it has run
    check           called with the inputs before anything else, to refuse them
    reformat        changes the description of an in-place tensor in phase one, as the operator changes its layout
    dtypes          ``{"self": "f32 f16"}`` overrules the types of the reference page
    optional        names of parameters that may be NULL (those that are called ...Optional may anyway); ``name[]``:
                    members of that list
    roles           ``{"runningMean": "io"}`` overrules input and output
    inplace         define aclnnInplaceX too, where it is declared
    private_formats whether tensors may have fractal formats
    repeatable      False for those that copy host memory to the device on their way, which executors cannot repeat
    rehearsed       False where the contents of tensors decide what `compute` can do: phase one then does not try it on
                    zeros, and what the rules do not refuse fails when it runs
    workspace       bytes of workspace it asks for
    oracle          the function that tests compare with (``"torch.abs"``), or how
    deviations      what is known to differ from the device
    """
    for name in names.split():
        full = name if name.startswith("acl") else f"aclnn{name}"
        _operators[full] = Operator(full, compute, shape, result, optional=frozenset(optional.split()), **rest)
        twin = full.replace("aclnn", "aclnnInplace", 1)
        if inplace and cdefs.operator(twin) is not None:
            _operators[twin] = Operator(twin, compute, shape, result, optional=frozenset(optional.split()), **rest)


def elementwise(names: str, compute: Callable[..., Any], *, meet: Rule = rules.common, inplace: bool = True,
                **rest: Any) -> None:
    """Like `define`: tensors broadcast and meet in one type, which is the result's too unless `result` says more."""
    define(names, compute, shape=rest.pop("shape", rules.broadcast), result=rest.pop("result", meet), meet=meet,
           elementwise=True, inplace=inplace, **rest)


def by_name(names: str, compute: Callable[[dict[str, Any]], Any],
            shape: Optional[Callable[[dict[str, Any]], Any]] = None,
            result: Optional[Callable[[dict[str, Any]], Any]] = None, **rest: Any) -> None:
    """`define` for versions of an operator whose parameters differ: functions get the inputs by their names.

    `compute` finds the outputs' descriptions under ``"outs"`` and their names under ``"names"``.
    """
    def bind(name: str, inputs: list[str], outputs: list[str]) -> None:
        def call(*values: Any, outs: Any) -> Any:
            return compute({**dict(zip(inputs, values)), "outs": outs, "names": outputs})

        define(name, call, None if shape is None else lambda *values: shape(dict(zip(inputs, values))),
               result=None if result is None else lambda *values: result(dict(zip(inputs, values))), **rest)

    for name in names.split():
        found = signature(f"aclnn{name}", rest.get("roles"))
        assert found is not None
        bind(name, [p.name for p in found.inputs], [p.name for p in found.outputs])


def family(how: Callable[..., None], members: Iterable[tuple[str, Any, str]], **rest: Any) -> None:
    """Operators that share their rules: `how` is `define` or `elementwise`, a member (names, compute, oracle)."""
    for names, compute, oracle in members:
        how(names, compute, oracle=oracle, **rest)


def load() -> None:
    """Imports all families."""
    global _loaded
    if not _loaded:
        with _lock:
            if not _loaded:
                for module in pkgutil.iter_modules([os.path.dirname(__file__)]):
                    if module.name not in _FRAMEWORK:
                        importlib.import_module(f"{__package__}.{module.name}")
                _loaded = True


def find(name: str) -> Optional[Operator]:
    """The emulation of an operator, None if there is none."""
    load()
    return _operators.get(name)


def op(name: str, **rules: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Emulates an operator of your own: ``@pyacl.emulator.op("aclnnAddCustom")``.

    The function gets the inputs in the order of the prototype that ``pyacl.declare_op`` was given: numpy arrays, lists
    of arrays, numbers, tuples, str, None; it returns one array, or a tuple of one for each output (a list of them for a
    tensor list). `rules` are those of ``pyacl.emulator.ops.define``; without them the arrays arrive in their own types,
    and a result is stored in the output's type.
    """
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        load()
        own = {"raw": True, "rehearsed": False, "oracle": "its author's", **rules}
        _operators[name] = Operator(name, function, **own)
        return function

    return decorate


@dataclass(frozen=True)
class Row:
    """What is known of one declared operator; `oracle` is empty where it is not emulated.

    `ge` are the single operators by graph-engine type that the same function computes, with inputs, outputs and
    attributes.
    """

    name: str
    prototype: str
    emulated: bool
    dtypes: str
    oracle: str
    deviations: str
    ge: tuple[str, ...] = ()


def table() -> list[Row]:
    """One row for every declared operator, by name."""
    from . import ge

    rows = []
    for name in cdefs.operators():
        found = find(name)
        dtypes = " ".join(dict.fromkeys(" ".join(found.dtypes.values()).split())) if found and found.dtypes else ""
        rows.append(Row(name, str(cdefs.operator(name)), found is not None, dtypes or documented_dtypes(name),
                        found.oracle if found else "", found.deviations if found else "",
                        tuple(str(ge.find(type)) for type in ge.types_of(name))))
    return rows
