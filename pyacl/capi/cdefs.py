"""The declarations of ``cdefs/``, looked up one at a time.

cffi needs them only when the package is built (`build`). At run time this module answers what a compiled module cannot:
parameter names, string constants, and which release has a function.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple, Optional

_HERE = Path(__file__).resolve().parent
# An installed package carries the folder; a source tree has it at its top.
FOLDER = _HERE / "cdefs" if (_HERE / "cdefs").is_dir() else _HERE.parent.parent / "cdefs"

_FUNCTION = re.compile(r"^(?!typedef|\s|\})(?P<returns>[\w ]+?[ *]+)(?P<name>\w+)\((?P<params>.*)\);$", re.M)
_OPERATOR = "GetWorkspaceSize"


class Parameter(NamedTuple):
    """One parameter: its C type without the name, and the name."""

    type: str
    name: str

    def __str__(self) -> str:
        if "(*" in self.type or "[" in self.type:
            return f"{self.type} /* {self.name} */"
        return f"{self.type}{'' if self.type.endswith('*') else ' '}{self.name}"


class Prototype(NamedTuple):
    """A C function: return type, name, parameters. ``str()`` is the declaration."""

    returns: str
    name: str
    params: tuple[Parameter, ...]
    variadic: bool = False

    @property
    def pointer_type(self) -> str:
        """The type of a pointer to it, as ``ffi.typeof`` and ``ffi.cast`` take it."""
        types = [p.type for p in self.params] + ["..."] * self.variadic
        return f"{self.returns}(*)({', '.join(types) or 'void'})"

    def __str__(self) -> str:
        params = ", ".join([str(p) for p in self.params] + ["..."] * self.variadic)
        return f"{self.returns}{'' if self.returns.endswith('*') else ' '}{self.name}({params})"


def parse_parameters(text: str) -> tuple[tuple[Parameter, ...], bool]:
    """``"const aclTensor *x, double eps"`` -> parameters, and whether ``...`` ends them.

    Raises ValueError for a parameter without a name.
    """
    params: list[Parameter] = []
    variadic = False
    for part in re.split(r",(?![^()]*\))", text):
        part = part.strip()
        if part in ("void", ""):
            continue
        if part == "...":
            variadic = True
            continue
        pointer = re.match(r"(.*\(\*\s*(?:const\s)?\s*)(\w+)(\).*)$", part)
        plain = re.match(r"(.*?[\s*])(\w+)\s*((?:\[\w*\])*)$", part)
        if pointer:
            params.append(Parameter(pointer[1].rstrip() + pointer[3], pointer[2]))
        elif plain:
            params.append(Parameter((plain[1].rstrip() + (f" {plain[3]}" if plain[3] else "")).strip(), plain[2]))
        else:
            raise ValueError(f"parameter {part!r} has no name: write it as in C, type and name")
    return tuple(params), variadic


def text(name: str) -> str:
    """The text of ``cdefs/<name>.h``."""
    return (FOLDER / f"{name}.h").read_text()


def order() -> list[str]:
    """The concepts, in the order in which their declarations build on each other."""
    return (FOLDER / "ORDER").read_text().split()


@cache
def _functions() -> dict[str, tuple[str, str]]:
    found = {}
    for concept in order():
        for line in text(concept).splitlines():  # what _FUNCTION matches, in a third of the time
            if line.endswith(");") and not line.startswith(("typedef", " ", "}")):
                head, _, params = line[:-2].partition("(")
                start = max(head.rfind(" "), head.rfind("*")) + 1
                found[head[start:]] = head[:start].strip(), params
    return found


def functions() -> list[str]:
    """Every declared function's name; of an operator the first phase alone (see `operators`)."""
    return list(_functions())


@cache
def prototype(name: str) -> Optional[Prototype]:
    """The declaration of function `name`, or None."""
    try:
        returns, params = _functions()[name]
    except KeyError:
        return None
    return Prototype(returns, name, *parse_parameters(params))


# The prototype that all second phases share.
LAUNCH = Prototype("aclnnStatus", "launch", *parse_parameters(
    "void *workspace, uint64_t workspaceSize, aclOpExecutor *executor, aclrtStream stream"))

_declared: dict[str, Prototype] = {}


def declare_op(name: str, params: str) -> Prototype:
    """Makes a user's own operator known: ``declare_op("aclnnAddCustom", "const aclTensor *x, aclTensor *out")``.

    `params` are those of ``<name>GetWorkspaceSize`` without the last two (``uint64_t *workspaceSize, aclOpExecutor
    **executor``); giving these too is accepted. Raises ValueError for a text that is not a parameter list, and for a
    name that is already declared with other parameters.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ValueError(f"{name!r} is not a C function name")
    parsed, variadic = parse_parameters(params.strip().rstrip(";"))
    if variadic:
        raise ValueError(f"{name}: an operator cannot be variadic")
    if len(parsed) >= 2 and parsed[-1].type == "aclOpExecutor **":
        parsed = parsed[:-2]
    for parameter in parsed:
        if re.search(r"\bacl(Tensor|TensorList|Scalar|ScalarList|IntArray|FloatArray|BoolArray)$", parameter.type):
            raise ValueError(f"{name}: {parameter.name} is passed by its address: {parameter.type} *{parameter.name}")
    known = operator(name)
    if known is not None and known.params != parsed:
        raise ValueError(f"{name} is already declared as {known}")
    _declared[name] = Prototype("aclnnStatus", name, parsed)
    return _declared[name]


@cache
def _built_in_operator(name: str) -> Optional[Prototype]:
    first = prototype(name + _OPERATOR)
    if first is None or not first.params or first.params[-1].type != "aclOpExecutor **":
        return None
    return Prototype(first.returns, name, first.params[:-2])


def operator(name: str) -> Optional[Prototype]:
    """Operator `name`'s own parameters (its first phase's without the two outputs); None if it is not declared."""
    return _declared.get(name) or _built_in_operator(name)


def operators(own: bool = True) -> list[str]:
    """Every declared operator's name; with `own` users' own, too."""
    end = len(_OPERATOR)
    names = {n[:-end] for n, (_, params) in _functions().items()
             if n.endswith(_OPERATOR) and params.rpartition(",")[2].lstrip().startswith("aclOpExecutor **")}
    return sorted(names | set(_declared) if own else names)


def callable_prototype(name: str) -> Optional[Prototype]:
    """The prototype of whatever C function `name` names: plain ones, first phases, second phases, users' own."""
    found = prototype(name)
    if found is not None:
        return found
    if operator(name) is not None:
        return Prototype(LAUNCH.returns, name, LAUNCH.params)
    if name.endswith(_OPERATOR) and name[:-len(_OPERATOR)] in _declared:
        params = _declared[name[:-len(_OPERATOR)]].params
        return Prototype("aclnnStatus", name,
                         (*params, Parameter("uint64_t *", "workspaceSize"), Parameter("aclOpExecutor **", "executor")))
    return None


@cache
def strings() -> dict[str, str]:
    """String constants, which cffi's ``cdef`` cannot take."""
    import json

    found: dict[str, str] = {}
    for concept in order():
        if not concept.startswith("aclnn_"):
            for m in re.finditer(r'^#define (\w+) (".*")$', text(concept), re.M):
                found[m[1]] = json.loads(m[2])
    return found


@cache
def _releases() -> dict[str, str]:
    import json

    table = json.loads((_HERE / "releases.json").read_text())
    return {name: labels for labels, names in table.items() for name in names.split()}


def releases(name: str) -> list[str]:
    """The releases that are known to have function or operator `name`, oldest first."""
    if name.endswith(_OPERATOR) and name[:-len(_OPERATOR)] in _releases():
        name = name[:-len(_OPERATOR)]
    return [label for label in _releases().get(name, "").split(",") if label]
