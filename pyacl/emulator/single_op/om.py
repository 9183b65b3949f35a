"""Single-operator models as .om files: reading any, writing those of the emulator's own compiler, model folders.

Beside what every offline model holds, a single operator's definition has its type, its tensors and its attributes as
attributes of the model; they are what calls are matched with.
"""

from __future__ import annotations

import os
import struct
import sys
from typing import Any, Iterator, Optional

from ...capi import lib
from ..failure import Failure
from ..models import container, modeldef, wire
from .attr import Attr
from .model import OpModel, Signature, registry

_PREFIX = "ATTR_MODEL_"
_TYPE, _INPUTS, _OUTPUTS = _PREFIX + "OP_TYPE", _PREFIX + "TENSOR_INPUTS", _PREFIX + "TENSOR_OUTPUTS"
_DEPTH = 3  # levels of a model folder that are looked at

# Layouts by their aclFormat, for files.
_LAYOUTS = {getattr(lib, n): n[len("ACL_FORMAT_"):] for n in dir(lib) if n.startswith("ACL_FORMAT_")}
_LAYOUTS[lib.ACL_FORMAT_UNDEFINED] = "RESERVED"
_FORMATS = {layout: code for code, layout in _LAYOUTS.items()}
# AttrDef.ListValue.ListValueType, by the field that holds the elements.
_LIST_TYPES = {"string": 1, "int": 2, "float": 3, "bool": 4, "data_type": 10}


# Folders

def set_directory(path: str) -> None:
    """aclopSetModelDir: all .om files of a folder and of the two levels below it, once in a process."""
    if not os.path.isdir(path):
        raise Failure(lib.ACL_ERROR_READ_MODEL_FAILURE, f"the model folder {path!r} does not exist")
    if registry.directory is not None:
        raise Failure(lib.ACL_ERROR_REPEAT_INITIALIZE, f"the model folder is {registry.directory!r} already and can be "
                                                       "set only once; use aclopLoad for more")
    found = []
    for file in _files(os.path.realpath(path), _DEPTH):
        try:
            found.append(read(container.read(file), file))
        except Failure as failure:  # as CANN does: a file that is no single operator does not spoil the others
            sys.stderr.write(f"pyacl emulator: {file} is not loaded: {failure.text}\n")
    registry.add_loaded(found)
    registry.directory = path


def _files(folder: str, depth: int) -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if entry.is_dir():
            if depth > 1:
                yield from _files(entry.path, depth - 1)
        elif entry.name.endswith(".om"):
            yield entry.path


# Reading

def read(data: bytes, source: str) -> OpModel:
    """The model of a single operator in an .om. Fails with 100013 if it cannot be parsed, 100016 if it is a whole
    network."""
    parsed = container.parse(data)
    definition = parsed.find(container.MODEL_DEF)
    if definition is None:
        raise Failure(lib.ACL_ERROR_PARSE_MODEL, f"{source} holds no model definition")
    try:
        attributes = modeldef.parse(definition).attributes
        missing = [n for n in (_TYPE, _INPUTS, _OUTPUTS) if n not in attributes]
        if missing:
            raise Failure(lib.ACL_ERROR_MODEL_MISSING_ATTR, f"{source} is not a single operator (atc --singleop): it "
                                                            f"lacks {', '.join(missing)}")
        inputs, outputs = ([_signature(memoryview(raw), attributes.nested()) for raw in attributes.get(n)]
                           for n in (_INPUTS, _OUTPUTS))
        attrs = {n[len(_PREFIX):]: _attr(attributes.raw(n)) for n in attributes
                 if n.startswith(_PREFIX) and n not in (_TYPE, _INPUTS, _OUTPUTS)
                 and not n[len(_PREFIX):].startswith("_")}
        return OpModel(attributes.get(_TYPE), inputs, outputs, attrs, source)
    except (wire.WireError, struct.error, AttributeError, IndexError, TypeError, ValueError) as error:
        raise Failure(lib.ACL_ERROR_PARSE_MODEL, f"{source} cannot be parsed: {error}") from None


def _signature(raw: memoryview, attributes: modeldef.Attributes) -> Signature:
    """A TensorDef as what models are matched by; its attributes go into `attributes`."""
    described: Any = b""
    for number, content in wire.fields(raw):
        if number == 1:
            described = wire.view(content)
    dtype, layout, name = 0, "", ""
    shape: list[int] = []
    for number, content in wire.fields(memoryview(described)):
        if number == 1:
            name = wire.text(content)
        elif number == 2:
            dtype = wire.signed(content)
        elif number == 3:
            for inner, value in wire.fields(wire.view(content)):
                if inner == 1:
                    shape += wire.integers(value)
        elif number == 4:
            layout = wire.text(content)
        elif number == 5:
            attributes.add(wire.view(content))
    code = modeldef.ACL_OF_GE.get(dtype, lib.ACL_DT_UNDEFINED)
    format = _FORMATS.get(layout, lib.ACL_FORMAT_UNDEFINED)
    storage = attributes.integer("storage_format", format)
    ranges = _pairs(attributes.raw("shape_range")) if "shape_range" in attributes else ()
    return Signature(code, format, None if storage == format else storage, tuple(shape), ranges, _constant(attributes),
                     name)


def _constant(attributes: modeldef.Attributes) -> Optional[bytes]:
    if not attributes.get("is_const", False):
        return None
    value = attributes.get("value", b"")
    for number, content in wire.fields(memoryview(value)):
        if number == 2:
            return bytes(wire.view(content))
    return b""


def _pairs(raw: memoryview) -> tuple[tuple[int, int], ...]:
    rows = _attr(raw).value
    return tuple((row[0], row[1]) for row in rows)


def _attr(raw: memoryview) -> Attr:
    """An AttrDef with its kind."""
    for number, content in wire.fields(raw):
        if number == 1:
            return _list(wire.view(content))
        if number == 2:
            return Attr("string", wire.text(content))
        if number == 3:
            return Attr("int", wire.signed(content))
        if number == 4:
            return Attr("float", struct.unpack("<f", wire.view(content))[0])
        if number == 5:
            return Attr("bool", bool(wire.signed(content)))
        if number == 14:
            rows = [wire.view(row) for inner, row in wire.fields(wire.view(content)) if inner == 1]
            return Attr("list_list_int", tuple(tuple(v for _, value in wire.fields(row) for v in wire.integers(value))
                                               for row in rows))
        if number == 15:
            return Attr("data_type", modeldef.ACL_OF_GE.get(wire.signed(content), lib.ACL_DT_UNDEFINED))
    raise wire.WireError("an attribute has no value")


def _list(raw: memoryview) -> Attr:
    values: list[Any] = []
    kind = 0
    for number, content in wire.fields(raw):
        if number == 2:
            values.append(wire.text(content))
            kind = 1
        elif number == 3:
            values += wire.integers(content)
            kind = 2
        elif number == 4:
            values += wire.floats(content)
            kind = 3
        elif number == 5:
            values += [bool(v) for v in wire.integers(content)]
            kind = 4
        elif number == 12:
            values += [modeldef.ACL_OF_GE.get(v, lib.ACL_DT_UNDEFINED) for v in wire.integers(content)]
            kind = 10
        elif number == 20:
            kind = wire.signed(content)
    names = {code: name for name, code in _LIST_TYPES.items()}
    return Attr("list_" + names.get(kind, "int"), tuple(values))


# Writing

def write(model: OpModel, name: str, soc: str) -> bytes:
    """A model as an .om, with the attributes that calls are matched with and a graph for those who describe it."""
    attributes: list[tuple[str, bytes]] = [
        (_TYPE, wire.message((2, model.type))),
        (_INPUTS, _tensors(model.inputs)),
        (_OUTPUTS, _tensors(model.outputs)),
        *((_PREFIX + n, _encode(a)) for n, a in sorted(model.attrs.items())),
        ("soc_version", wire.message((2, soc))),
        ("memory_size", wire.message((3, 0))),
        ("weight_size", wire.message((3, 0))),
    ]
    descriptors = [[_descriptor(t) for t in tensors] for tensors in (model.inputs, model.outputs)]
    operator = modeldef.encode_operator(name, model.type, [f"input{i}:0" for i in range(len(model.inputs))],
                                        input_tensors=tuple(descriptors[0]), output_tensors=tuple(descriptors[1]),
                                        sources=tuple((f"input{i}", 0) for i in range(len(model.inputs))))
    graph = wire.message((1, name), (6, [operator]))
    definition = wire.message((1, name), (2, 2), (7, graph)) + b"".join(
        wire.message((11, wire.message((1, key), (2, value)))) for key, value in attributes)
    return b"".join(container.build(name, [(container.MODEL_DEF, definition)], operators=1))


def _tensors(signatures: tuple[Signature, ...]) -> bytes:
    """A list of TensorDefs as an AttrDef."""
    tensors = [wire.message((1, _descriptor(t))) for t in signatures]
    return wire.message((1, b"".join(wire.message((9, t)) for t in tensors) + wire.message((20, 6))))


def _descriptor(t: Signature) -> bytes:
    attributes: list[tuple[str, bytes]] = []
    if t.storage_format is not None:
        attributes.append(("storage_format", wire.message((3, t.storage_format))))
    if t.shape_range:
        attributes.append(("shape_range", _encode(Attr("list_list_int", t.shape_range))))
    if t.const is not None:
        attributes.append(("is_const", wire.message((5, True))))
        attributes.append(("value", wire.message((12, wire.message((2, t.const))))))
    dims = wire.message((1, list(t.shape))) if t.shape else b""
    encoded = b"".join(wire.message((5, wire.message((1, key), (2, value)))) for key, value in attributes)
    return wire.message((1, t.name), (2, modeldef.GE_OF_ACL.get(t.dtype, 0)), (3, dims),
                        (4, _LAYOUTS.get(t.format, "ND"))) + encoded


def _encode(attr: Attr) -> bytes:
    kind, value = attr
    if kind == "list_list_int":
        return wire.message((14, b"".join(wire.message((1, wire.message((1, list(row)))) if row else (1, b""))
                                          for row in value)))
    if kind.startswith("list_"):
        field = {"string": 2, "int": 3, "float": 4, "bool": 5, "data_type": 12}[kind[5:]]
        values = [modeldef.GE_OF_ACL.get(v, 0) for v in value] if kind == "list_data_type" else list(value)
        if kind == "list_float":
            data = struct.pack(f"<{len(values)}f", *values)
            body = wire.message((4, data)) if values else b""
        else:
            body = wire.message((field, values)) if values else b""
        return wire.message((1, body + wire.message((20, _LIST_TYPES[kind[5:]]))))
    if kind == "data_type":
        return wire.message((15, modeldef.GE_OF_ACL.get(value, 0)))
    return wire.message(({"string": 2, "int": 3, "float": 4, "bool": 5}[kind], value))
