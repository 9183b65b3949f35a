"""Reads and writes the little of ELF that kernels need: 64-bit little-endian headers, sections and symbols.

Nothing in a file is trusted: whatever does not fit raises `ElfError`, never IndexError, MemoryError or a hang.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

AI_CORE = 0x1029
X86_64 = 62
AARCH64 = 183
MACHINES = {AI_CORE: "AI Core", X86_64: "x86_64", AARCH64: "aarch64", 3: "i386", 40: "ARM", 243: "RISC-V"}

REL, EXEC, DYN = 1, 2, 3
OBJECT, FUNC = 1, 2
LOCAL, GLOBAL, WEAK = 0, 1, 2
_HIDDEN = (1, 2)  # internal, hidden

_SYMTAB, _STRTAB, _NOBITS, _DYNSYM = 2, 3, 8, 11
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")


class ElfError(ValueError):
    """A file that is not a sound ELF object; the message says what is wrong with it."""


@dataclass(frozen=True)
class Section:
    name: str
    type: int
    address: int
    offset: int
    size: int
    link: int
    entry_size: int


@dataclass(frozen=True)
class Symbol:
    """A defined or undefined symbol. ``section`` is the index of its section, 0 when it is undefined."""

    name: str
    value: int
    size: int
    type: int
    bind: int
    section: int
    visible: bool


@dataclass(frozen=True)
class Elf:
    """An ELF file, parsed."""

    data: bytes
    type: int
    machine: int
    flags: int
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]

    @property
    def machine_name(self) -> str:
        return machine_name(self.machine)

    def section(self, name: str) -> bytes:
        """The bytes of section `name`; empty when there is none."""
        for section in self.sections:
            if section.name == name:
                return self.bytes_of(section)
        return b""

    def bytes_of(self, section: Section) -> bytes:
        return b"" if section.type == _NOBITS else self.data[section.offset:section.offset + section.size]

    def bytes_at(self, symbol: Symbol) -> bytes:
        """What the file holds for an OBJECT symbol; empty for one without contents (bss)."""
        section = self.sections[symbol.section]
        contents = self.bytes_of(section)
        # In relocatable files a value is an offset into the section, in others an address.
        start = symbol.value if self.type == REL else symbol.value - section.address
        if start < 0:  # AI Core objects keep offsets in sections that are not loaded
            start = symbol.value
        return contents[start:start + symbol.size]


def machine_name(machine: int) -> str:
    return MACHINES.get(machine, f"machine {machine:#x}")


def parse(data: bytes) -> Elf:
    """Parses `data`; raises `ElfError` for anything that is not a sound 64-bit little-endian ELF file."""
    if len(data) < 4 or data[:4] != b"\x7fELF":
        raise ElfError("it is not an ELF file" if data else "it is empty")
    if len(data) < _HEADER.size:
        raise ElfError(f"it is cut off in its header ({len(data)} bytes)")
    ident, kind, machine, _, _, _, section_offset, flags, _, _, _, entry_size, count, names_index = \
        _HEADER.unpack_from(data)
    if ident[4] != 2 or ident[5] != 1:
        raise ElfError("it is not a 64-bit little-endian ELF file")
    if section_offset == 0 or count == 0:
        raise ElfError("it has no section headers, so no symbols")
    if entry_size != _SECTION.size:
        raise ElfError(f"its section headers have {entry_size} bytes, not {_SECTION.size}")
    if section_offset + count * entry_size > len(data):
        raise ElfError(f"it is cut off: {count} section headers at {section_offset} in {len(data)} bytes")
    raw = [_SECTION.unpack_from(data, section_offset + i * entry_size) for i in range(count)]
    for i, (_, stype, _, _, offset, size, link, *_rest) in enumerate(raw):
        if i and stype != _NOBITS and offset + size > len(data):
            raise ElfError(f"it is cut off: section {i} lies at {offset}..{offset + size} in {len(data)} bytes")
        if link >= count:
            raise ElfError(f"section {i} links to section {link} of {count}")
    if names_index >= count:
        raise ElfError(f"section {names_index} should hold the sections' names, but there are {count}")
    names = data[raw[names_index][4]:raw[names_index][4] + raw[names_index][5]] if names_index else b""
    sections = tuple(Section(_string(names, name) if names else "", stype, address, offset, size, link, esize)
                     for name, stype, _, address, offset, size, link, _, _, esize in raw)
    return Elf(data, kind, machine, flags, sections, _symbols(data, sections))


def _string(table: bytes, offset: int) -> str:
    end = table.find(b"\0", offset)
    if offset >= len(table) or end < 0:
        raise ElfError(f"a name lies at {offset} of a string table of {len(table)} bytes")
    return table[offset:end].decode("utf-8", "replace")


def _symbols(data: bytes, sections: tuple[Section, ...]) -> tuple[Symbol, ...]:
    """Those of .symtab, or of .dynsym where the file is stripped."""
    tables = [s for s in sections if s.type == _SYMTAB] or [s for s in sections if s.type == _DYNSYM]
    found = []
    for table in tables:
        if table.entry_size != _SYMBOL.size or table.size % _SYMBOL.size:
            raise ElfError(f"its symbol table of {table.size} bytes has entries of {table.entry_size} bytes, "
                           f"not {_SYMBOL.size}")
        strings = sections[table.link]
        if strings.type != _STRTAB:
            raise ElfError(f"its symbols' names are said to lie in section {table.link}, which is no string table")
        names = data[strings.offset:strings.offset + strings.size]
        for name, info, other, index, value, size in _SYMBOL.iter_unpack(
                data[table.offset:table.offset + table.size]):
            if not name:
                continue
            if 0 < index < 0xFF00 and index >= len(sections):
                raise ElfError(f"a symbol is in section {index} of {len(sections)}")
            found.append(Symbol(_string(names, name), value, size, info & 15, info >> 4, index if index < 0xFF00 else 0,
                                (other & 3) not in _HIDDEN))
    return tuple(found)


@dataclass(frozen=True)
class Code:
    """A function for `write`: its symbol, and the contents of its ``.ascend.meta`` note."""

    symbol: str
    note: bytes = b""
    size: int = 64


def write(functions: list[Code], machine: int = AI_CORE, variables: dict[str, bytes] | None = None) -> bytes:
    """A small object with empty functions, a note for each that has one, and global variables: what tests, and kernels
    that exist only in Python, need."""
    names = bytearray(b"\0")
    strings = bytearray(b"\0")

    def add(table: bytearray, text: str) -> int:
        at = len(table)
        table += text.encode() + b"\0"
        return at

    text = b"\0" * sum(f.size for f in functions)
    parts: list[tuple[str, int, bytes, int, int]] = [(".text", 1, text, 0, 0)]
    parts += [(f".ascend.meta.{f.symbol}", 7, f.note, 0, 0) for f in functions if f.note]
    symbols = bytearray(_SYMBOL.size)
    for name, contents in (variables or {}).items():  # each in a section of its own
        parts.append((f".data.{name}", 1, contents, 0, 0))
        symbols += _SYMBOL.pack(add(strings, name), GLOBAL << 4 | OBJECT, 0, len(parts), 0, len(contents))
    at = 0
    for function in functions:
        symbols += _SYMBOL.pack(add(strings, function.symbol), GLOBAL << 4 | FUNC, 0, 1, at, function.size)
        at += function.size
    parts.append((".symtab", _SYMTAB, bytes(symbols), len(parts) + 2, _SYMBOL.size))
    parts.append((".strtab", _STRTAB, bytes(strings), 0, 0))
    headers = [_SECTION.pack(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]
    body = bytearray()
    parts.append((".shstrtab", _STRTAB, b"", 0, 0))
    offsets = [add(names, part[0]) for part in parts]
    parts[-1] = (".shstrtab", _STRTAB, bytes(names), 0, 0)
    for offset, (_, kind, contents, link, entry_size) in zip(offsets, parts):
        body += b"\0" * (-len(body) % 8)
        place = _HEADER.size + len(body)
        headers.append(_SECTION.pack(offset, kind, 0, 0, place, len(contents), link, 1, 8, entry_size))
        body += contents
    body += b"\0" * (-len(body) % 8)
    header = _HEADER.pack(b"\x7fELF\x02\x01\x01" + b"\0" * 9, EXEC, machine, 1, 0, 0, _HEADER.size + len(body), 0,
                          _HEADER.size, 0, 0, _SECTION.size, len(headers), len(headers) - 1)
    return header + bytes(body) + b"".join(headers)
