"""The model definition inside an .om: graphs, operators, tensors and attributes, by their documented field numbers.

Attributes are decoded when they are asked for: most of a real definition is never looked at. Newer files keep attribute
names and repeated strings in tables of the model (`Names`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, Iterator, Optional

from ...capi import lib
from . import wire
from .wire import Value, WireError

_MAX_OPERATORS = 1_000_000

# The graph engine numbers data types in its files differently from ACL.
_GE_TYPES = {
    1: "FLOAT", 2: "FLOAT16", 3: "INT8", 4: "UINT8", 5: "INT16", 6: "UINT16", 7: "INT32", 8: "INT64", 9: "UINT32",
    10: "UINT64", 11: "BOOL", 12: "DOUBLE", 13: "STRING", 16: "COMPLEX64", 17: "COMPLEX128", 27: "BF16", 28: "INT4",
    29: "UINT1", 32: "COMPLEX32", 33: "HIFLOAT8", 34: "FLOAT8_E5M2", 35: "FLOAT8_E4M3FN", 36: "FLOAT8_E8M0",
    37: "FLOAT6_E3M2", 38: "FLOAT6_E2M3", 39: "FLOAT4_E2M1", 40: "FLOAT4_E1M2",
}
ACL_OF_GE: dict[int, int] = {ge: getattr(lib, f"ACL_{name}") for ge, name in _GE_TYPES.items()}
GE_OF_ACL: dict[int, int] = {acl: ge for ge, acl in ACL_OF_GE.items()}


def format_code(layout: str) -> int:
    """The aclFormat of a layout's name; ACL_FORMAT_UNDEFINED for one that ACL does not have."""
    return int(getattr(lib, f"ACL_FORMAT_{layout}", lib.ACL_FORMAT_UNDEFINED)) if layout else lib.ACL_FORMAT_ND


@dataclass
class Names:
    """What compressed attributes refer to."""

    keys: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    uses_value: list[bool] = field(default_factory=list)


class Attributes:
    """The attributes of a model, graph, operator or tensor, decoded one by one."""

    def __init__(self, names: Optional[Names] = None) -> None:
        self._names = names
        self._raw: dict[str, tuple[memoryview, bool]] = {}

    def add(self, entry: memoryview) -> None:
        """One map entry: key and AttrDef."""
        key, value = b"", memoryview(b"")
        for number, content in wire.fields(entry):
            if number == 1:
                key = bytes(wire.view(content))
            elif number == 2:
                value = wire.view(content)
        name, strings = self._name(key)
        self._raw[name] = (value, strings)

    def _name(self, key: bytes) -> tuple[str, bool]:
        names = self._names
        if key[:1] != b"\0" or names is None or len(key) > 8:
            return key.decode("utf-8", "replace"), False
        index = 0
        for digit in reversed(key[1:]):
            index = index * 127 + digit - 1
        if not 0 <= index < len(names.keys):
            raise WireError(f"attribute name {index} is not in the model's table of {len(names.keys)}")
        return names.keys[index], index < len(names.uses_value) and names.uses_value[index]

    def __contains__(self, name: str) -> bool:
        return name in self._raw

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute as a Python value: int, float, bool, str, a list of these, or raw bytes for the rest."""
        if name not in self._raw:
            return default
        raw, strings = self._raw[name]
        value = _value(raw)
        return self._looked_up(value) if strings else value

    def raw(self, name: str) -> memoryview:
        """An attribute's AttrDef, as the file has it."""
        return self._raw[name][0]

    def nested(self) -> Attributes:
        """Empty attributes that share these ones' tables of names."""
        return Attributes(self._names)

    def integer(self, name: str, default: int = 0) -> int:
        value = self.get(name, default)
        return value if isinstance(value, int) else default

    def strings(self, name: str) -> list[str]:
        value = self.get(name, [])
        return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str)]

    def integers(self, name: str) -> list[int]:
        value = self.get(name, [])
        return [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, int)]

    def _looked_up(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._looked_up(v) for v in value]
        if isinstance(value, int) and not isinstance(value, bool):
            values = self._names.values if self._names else []
            if not 0 <= value < len(values):
                raise WireError(f"string {value} is not in the model's table of {len(values)}")
            return values[value]
        return value


def _value(raw: memoryview) -> Any:
    for number, content in wire.fields(raw):
        if number == 1:
            return _list(wire.view(content))
        if number == 2:
            return wire.text(content)
        if number in (3, 15):
            return wire.signed(content)
        if number == 4:
            return _float(content)
        if number == 5:
            return bool(wire.signed(content))
        return bytes(wire.view(content)) if not isinstance(content, int) else content
    return None


def _float(content: Value) -> float:
    data = wire.view(content)
    if len(data) != 4:
        raise WireError("a float has four bytes")
    return float(struct.unpack("<f", data)[0])


def _list(raw: memoryview) -> list[Any]:
    found: list[Any] = []
    for number, content in wire.fields(raw):
        if number == 2:
            found.append(wire.text(content))
        elif number in (3, 12):
            found += wire.integers(content)
        elif number == 4:
            found += wire.floats(content)
        elif number == 5:
            found += [bool(v) for v in wire.integers(content)]
        elif number != 20:
            found.append(bytes(wire.view(content)) if not isinstance(content, int) else content)
    return found


@dataclass
class Tensor:
    """A TensorDescriptor."""

    dtype: int  # ACL's
    shape: tuple[int, ...]
    layout: str
    attributes: Attributes = field(repr=False)


def _tensor(raw: memoryview, names: Optional[Names]) -> Tensor:
    dtype, layout, shape = 0, "", []
    attributes = Attributes(names)
    for number, content in wire.fields(raw):
        if number == 2:
            dtype = wire.signed(content)
        elif number == 3:
            for inner, value in wire.fields(wire.view(content)):
                if inner == 1:
                    shape += wire.integers(value)
        elif number == 4:
            layout = wire.text(content)
        elif number == 5:
            attributes.add(wire.view(content))
    return Tensor(ACL_OF_GE.get(dtype, lib.ACL_DT_UNDEFINED), tuple(shape), layout, attributes)


@dataclass
class Operator:
    """An OpDef; `attributes`, `inputs` and `outputs` are decoded by `detail` alone."""

    name: str
    type: str
    raw: memoryview = field(repr=False)
    names: Optional[Names] = field(repr=False, default=None)

    def detail(self) -> tuple[Attributes, list[Tensor], list[Tensor]]:
        """Attributes, input tensors, output tensors."""
        attributes = Attributes(self.names)
        inputs: list[Tensor] = []
        outputs: list[Tensor] = []
        for number, content in wire.fields(self.raw):
            if number == 10:
                attributes.add(wire.view(content))
            elif number == 33:
                inputs.append(_tensor(wire.view(content), self.names))
            elif number == 34:
                outputs.append(_tensor(wire.view(content), self.names))
        return attributes, inputs, outputs

    def sources(self) -> list[str]:
        """The names of the operators whose outputs are this one's inputs."""
        return [wire.text(content) for number, content in wire.fields(self.raw) if number == 24]


@dataclass
class ModelDef:
    """A model definition; `operators` are those of its first graph, the one that is run."""

    name: str
    custom_version: str
    attributes: Attributes
    operators: list[Operator]
    graphs: int


def parse(data: memoryview) -> ModelDef:
    """Decodes a MODEL_DEF partition; WireError if it is none."""
    name = version = ""
    attributes = Attributes()
    graphs: list[memoryview] = []
    for number, content in wire.fields(data):
        if number == 1:
            name = wire.text(content)
        elif number == 3:
            version = wire.text(content)
        elif number == 7:
            graphs.append(wire.view(content))
        elif number == 11:
            attributes.add(wire.view(content))
    names = None
    if attributes.integer("om_compress_version"):
        names = Names(attributes.strings("attr_name_enum"), attributes.strings("attr_value_enum"),
                      [bool(v) for v in attributes.get("attrs_use_string_value", [])])
    operators: list[Operator] = []
    for graph in graphs[:1]:
        for number, content in wire.fields(graph):
            if number == 6:
                operators.append(_operator(wire.view(content), names))
                if len(operators) > _MAX_OPERATORS:
                    raise WireError("the graph has more than a million operators")
    return ModelDef(name, version, attributes, operators, len(graphs))


def _operator(raw: memoryview, names: Optional[Names]) -> Operator:
    name = kind = ""
    for number, content in wire.fields(raw):
        if number == 1:
            name = wire.text(content)
        elif number == 2:
            kind = wire.text(content)
            break  # names come first; the rest is long
    return Operator(name, kind, raw, names)


# Writing, without the compression of names.

def encode_attribute(value: Any) -> bytes:
    """A Python value as an AttrDef."""
    if isinstance(value, bool):
        return wire.message((5, value))
    if isinstance(value, int):
        return wire.message((3, value))
    if isinstance(value, float):
        return wire.message((4, value))
    if isinstance(value, (list, tuple)):
        number, kind = (2, 1) if value and isinstance(value[0], str) else (3, 2)
        return wire.message((1, wire.message((number, list(value)), (20, kind))))
    return wire.message((2, value))


def encode_attributes(number: int, attributes: dict[str, Any]) -> bytes:
    return b"".join(wire.message((number, wire.message((1, key), (2, encode_attribute(value)))))
                    for key, value in attributes.items())


def encode_tensor(dtype: int, shape: tuple[int, ...], layout: str, nbytes: int,
                  attributes: Optional[dict[str, Any]] = None) -> bytes:
    dims = wire.message((1, list(shape))) if shape else b""
    return wire.message((2, GE_OF_ACL.get(dtype, 0)), (3, dims), (4, layout)) + \
        encode_attributes(5, attributes or {}) + wire.message((10, nbytes), (14, "NPU"))


def encode_operator(name: str, kind: str, inputs: list[str], *, attributes: Optional[dict[str, Any]] = None,
                    input_tensors: tuple[bytes, ...] = (), output_tensors: tuple[bytes, ...] = (),
                    sources: tuple[tuple[str, int], ...] = (), number: int = 0) -> bytes:
    return wire.message((1, name), (2, kind), (5, inputs)) + encode_attributes(10, attributes or {}) + wire.message(
        (20, True), (21, number), (24, [s for s, _ in sources]), (25, [i for _, i in sources]),
        (33, list(input_tensors)), (34, list(output_tensors)))


def encode_model(name: str, operators: list[bytes], inputs: list[str], attributes: dict[str, Any]) -> bytes:
    graph = wire.message((1, f"{name}_0"), (4, inputs), (6, operators))
    return wire.message((1, name), (2, 2), (7, graph)) + encode_attributes(11, attributes)
