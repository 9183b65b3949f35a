"""The protobuf wire format: just enough of it to read and write the documented fields of an .om's model definition.

A message is read as an iterator of ``(field number, value)``, where a value is an int (varint) or a `memoryview`
(fixed, length-delimited). Nothing is copied, so a hostile length costs nothing.
"""

from __future__ import annotations

import struct
from typing import Any, Iterator, Union

from ...capi import lib
from ..failure import Failure

Value = Union[int, memoryview]


class WireError(Failure):
    """The bytes are not the message that they should be: 500002."""

    def __init__(self, text: str) -> None:
        super().__init__(lib.ACL_ERROR_GE_FAILURE, f"the model definition cannot be decoded: {text}")


def varint(data: memoryview, position: int) -> tuple[int, int]:
    """A varint and the position after it."""
    result = shift = 0
    end = len(data)
    while position < end:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
        if shift > 63:
            raise WireError("a varint is longer than ten bytes")
    raise WireError("a varint is cut off")


def signed(value: Value) -> int:
    """A varint as the int64 that it stands for."""
    if not isinstance(value, int):
        raise WireError("a number was expected")
    return value - (1 << 64) if value >> 63 else value


def view(value: Value) -> memoryview:
    """A length-delimited field, as such."""
    if isinstance(value, int):
        raise WireError("bytes were expected")
    return value


def text(value: Value) -> str:
    return bytes(view(value)).decode("utf-8", "replace")


def fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """The fields of a message, in order."""
    position, end = 0, len(data)
    while position < end:
        key, position = varint(data, position)
        kind = key & 7
        value: Value
        if kind == 0:
            value, position = varint(data, position)
        else:
            if kind == 2:
                size, position = varint(data, position)
            elif kind == 5:
                size = 4
            elif kind == 1:
                size = 8
            else:
                raise WireError(f"wire type {kind} does not exist")
            if size > end - position:
                raise WireError(f"a field of {size} bytes goes past the end of its message")
            value = data[position:position + size]
            position += size
        yield key >> 3, value


def integers(value: Value) -> list[int]:
    """One element of a repeated int64 field: a single number, or a packed run of them."""
    if isinstance(value, int):
        return [signed(value)]
    found, position = [], 0
    while position < len(value):
        number, position = varint(value, position)
        found.append(signed(number))
    return found


def floats(value: Value) -> list[float]:
    data = view(value)
    if len(data) % 4:
        raise WireError("a run of floats is not a multiple of four bytes")
    return [x[0] for x in struct.iter_unpack("<f", data)]


# Writing.

def encode_varint(number: int) -> bytes:
    number &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(*parts: tuple[int, Any]) -> bytes:
    """A message from ``(field number, value)``: ints and bools are varints, str and bytes length-delimited, floats
    fixed; a list repeats its field (numbers are packed)."""
    out = bytearray()
    for number, value in parts:
        if isinstance(value, (list, tuple)):
            if value and all(isinstance(v, int) for v in value):
                packed = b"".join(map(encode_varint, value))
                out += encode_varint(number << 3 | 2) + encode_varint(len(packed)) + packed
            else:
                for item in value:
                    out += message((number, item))
        elif isinstance(value, float):
            out += encode_varint(number << 3 | 5) + struct.pack("<f", value)
        elif isinstance(value, int):
            out += encode_varint(number << 3) + encode_varint(value)
        else:
            data = value.encode() if isinstance(value, str) else bytes(value)
            out += encode_varint(number << 3 | 2) + encode_varint(len(data)) + data
    return bytes(out)
