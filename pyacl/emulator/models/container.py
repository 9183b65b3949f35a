"""The .om file: a header of 256 bytes (``IMOD``), a table of partitions, the partitions. Reading and writing.

Both layouts of the table are read: 12-byte entries of 32-bit numbers, and 24-byte entries of 64-bit ones, which a
non-zero model length in the header announces.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from ...capi import lib
from ..failure import Failure

MAGIC = b"IMOD"
HEADER_SIZE = 256
# magic, header size, version, checksum, length, encrypted, checksummed, type, mode, name, operators, user's text,
# IR version, number of models, platform version, platform type, (padding), length as 64 bits
_HEADER = struct.Struct("<4sII64sIBBBB32sI32sII20sB3xQ")

MODEL_DEF, WEIGHTS_DATA, TASK_INFO, TBE_KERNELS, INOUT_INFO = 0, 1, 2, 3, 8
# A number that CANN does not use, so that every other reader skips it: the ONNX graph of the emulator's own compiler.
ONNX_GRAPH = 0x584E_4E4F
# The same for what a bundle holds: the size of its shared variables, and whole models.
BUNDLE_VARIABLES, BUNDLE_MODEL = 0x5241_5642, 0x444D_4442
BUNDLE = 4  # the header's model type

_NAMES = {MODEL_DEF: "MODEL_DEF", WEIGHTS_DATA: "WEIGHTS_DATA", TASK_INFO: "TASK_INFO", TBE_KERNELS: "TBE_KERNELS",
          4: "CUST_AICPU_KERNELS", 5: "SO_BINS", 6: "FLOW_MODEL", 7: "FLOW_SUBMODEL", INOUT_INFO: "INOUT_INFO",
          ONNX_GRAPH: "ONNX_GRAPH", BUNDLE_VARIABLES: "BUNDLE_VARIABLES", BUNDLE_MODEL: "BUNDLE_MODEL"}

ALIGNMENT = 16  # of partitions that are written, so that numbers in them can be used where they are
_MAX_PARTITIONS = 4096  # of a bundle; more is a broken count


@dataclass
class Partition:
    """A part of the file; `data` is a view of it, not a copy."""

    type: int
    offset: int
    data: memoryview = field(repr=False)

    @property
    def name(self) -> str:
        return _NAMES.get(self.type, f"TYPE_{self.type}")

    @property
    def size(self) -> int:
        return len(self.data)


@dataclass
class Container:
    """A parsed .om: what its header says, and its partitions."""

    version: int
    name: str
    model_type: int
    platform_version: str
    ir_version: int
    model_num: int
    partitions: list[Partition]

    def find(self, type: int) -> Optional[memoryview]:
        """The first partition of a type."""
        return next((p.data for p in self.partitions if p.type == type), None)

    def models(self) -> list[memoryview]:
        """The models of a bundle: its partitions that are containers themselves. None for an ordinary model."""
        if self.model_type == 0:
            return []
        return [p.data for p in self.partitions if bytes(p.data[:4]) == MAGIC]


def broken(text: str) -> Failure:
    """The failure for a file whose sizes do not fit."""
    return Failure(lib.ACL_ERROR_GE_EXEC_MODEL_DATA_SIZE_INVALID, f"not a whole .om: {text}")


def _string(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def parse(data: Union[bytes, bytearray, memoryview, mmap.mmap]) -> Container:
    """Reads header and table. Fails with 145006 where a size does not fit, with 145000 for what is no .om at all or is
    encrypted."""
    whole = memoryview(data)
    if len(whole) < HEADER_SIZE + 4:
        raise broken(f"it has {len(whole)} bytes, and the header alone has {HEADER_SIZE}")
    (magic, header_size, version, _, length32, encrypted, _, model_type, _, name, _, _, ir_version, model_num,
     platform, _, length64) = _HEADER.unpack_from(whole)
    if magic != MAGIC:
        hint = "it is an ONNX file; compile it first (atc, or pyacl emulator compile)" if magic[:1] == b"\x08" else \
            "an offline model begins with IMOD"
        raise Failure(lib.ACL_ERROR_GE_PARAM_INVALID, f"not an .om: it begins with {magic!r}; {hint}")
    if header_size != HEADER_SIZE:
        raise broken(f"its header says {header_size} bytes instead of {HEADER_SIZE}")
    if encrypted:
        raise Failure(lib.ACL_ERROR_GE_PARAM_INVALID, "the .om is encrypted: decrypt it before loading")
    length = length64 or length32
    if length and length not in (len(whole), len(whole) - HEADER_SIZE):
        raise broken(f"its header announces {length} bytes, {len(whole) - HEADER_SIZE} follow")
    if version < 0x2000_0000:  # no number of models yet; the platform begins in its place
        model_num, platform = 1, bytes(whole[156:180])
    return Container(version, _string(name), model_type, _string(platform), ir_version, model_num,
                     _table(whole[HEADER_SIZE:], length64 != 0))


def _table(body: memoryview, wide: bool) -> list[Partition]:
    (count,) = struct.unpack_from("<I", body)
    start, entry = (8, 24) if wide else (4, 12)
    if count > _MAX_PARTITIONS or start + count * entry > len(body):
        raise broken(f"it announces {count} partitions, and the file ends before their table does")
    base = start + count * entry
    partitions = []
    for position in range(start, base, entry):
        if wide:
            kind, _, offset, size = struct.unpack_from("<IIQQ", body, position)
        else:
            kind, offset, size = struct.unpack_from("<III", body, position)
        if offset > len(body) - base or size > len(body) - base - offset:
            raise broken(f"partition {_NAMES.get(kind, kind)} ({size} bytes at {offset}) goes past the end of the file")
        partitions.append(Partition(kind, offset, body[base + offset:base + offset + size]))
    return partitions


def read(path: Union[str, os.PathLike[str]]) -> bytes:
    """A model file's bytes; 145002 if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise Failure(lib.ACL_ERROR_GE_EXEC_MODEL_PATH_INVALID, f"the model file cannot be read: {error}") from None


def open_mapped(path: Union[str, os.PathLike[str]]) -> Any:
    """A model file mapped into memory, for looking at files of any size; 145002 if it cannot be read."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return b""
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise Failure(lib.ACL_ERROR_GE_EXEC_MODEL_PATH_INVALID, f"the model file cannot be read: {error}") from None


def build(name: str, partitions: list[tuple[int, Any]], *, operators: int = 0, model_type: int = 0,
          model_num: int = 1, platform: str = "") -> list[Any]:
    """An .om of the newer layout as a list of byte strings to be written one after another."""
    table = bytearray(struct.pack("<II", len(partitions), 0))
    first = HEADER_SIZE + len(table) + 24 * len(partitions)
    offset, contents = 0, []
    for kind, data in partitions:
        gap = -(first + offset) % ALIGNMENT
        table += struct.pack("<IIQQ", kind, 0, offset + gap, len(data))
        offset += gap + len(data)
        contents += [bytes(gap), data]
    # The newer header leaves the 32-bit length 0.
    header = _HEADER.pack(MAGIC, HEADER_SIZE, 0x2000_0000, b"", 0, 0, 0, model_type, 0, name.encode()[:31], operators,
                          b"", 2, model_num, platform.encode()[:19], 0, len(table) + offset)
    return [header.ljust(HEADER_SIZE, b"\0"), bytes(table), *contents]
