"""aclopAttr: named values, each with the kind that its setter gave it."""

from __future__ import annotations

from typing import Any, NamedTuple

from .. import handles

# The kinds, as the single-operator json names them.
KINDS = ("bool", "int", "float", "string", "data_type", "list_bool", "list_int", "list_float", "list_string",
         "list_data_type", "list_list_int")


class Attr(NamedTuple):
    """A value and its kind; lists are tuples."""

    kind: str
    value: Any

    def __str__(self) -> str:
        return f"{self.kind} {self.value!r}"


class OpAttr:
    """What an ``aclopAttr *`` stands for. Setting a name twice keeps the later value."""

    def __init__(self) -> None:
        self.values: dict[str, Attr] = {}


def attributes(pointer: Any) -> dict[str, Attr]:
    """The values behind an ``aclopAttr *`` as they are now; NULL stands for none."""
    return dict(handles.get(pointer, OpAttr, "attr").values) if pointer else {}
