"""What a kernel binary holds: its kernels under the names by which the runtime finds them, and what is known of each.

An AI Core object (ELF machine 0x1029) has one function for each kernel, ``Name_<key>``; kernels that run on cube and
vector cores have two, ``Name_<key>_mix_aic`` and ``Name_<key>_mix_aiv``, found as ``Name_<key>``. A note
``.ascend.meta.<symbol>`` beside each gives core type, ratio and arguments. A host object is a shared library for this
machine whose exported functions are kernels (see docs/kernel-abi.md).
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import struct
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Iterator, Optional

from . import elf

HOST = {"x86_64": elf.X86_64, "aarch64": elf.AARCH64, "arm64": elf.AARCH64}.get(platform.machine(), 0)

# Core types, numbered as aclrtKernelType.
AI_CORE, CUBE, VECTOR, MIX, AI_CPU = 0, 1, 2, 3, 100
CORE_NAMES = {AI_CORE: "AI Core", CUBE: "cube", VECTOR: "vector", MIX: "mix", AI_CPU: "AI CPU"}
_SUFFIXES = ("_mix_aic", "_mix_aiv")
_NOTE = ".ascend.meta."

# Types of the records in a kernel's note: 16 bits type, 16 bits length, then the value.
_KERNEL_TYPE, _CROSS_CORE, _RATIO, _ARGUMENTS, _ARGUMENT = 1, 2, 3, 4, 5
_ENTRY, _PARAM_SUMMARY, _PARAM, _SCHED_MODE = 14, 16, 17, 18
_PARAM_BODY = struct.Struct("<IIIIHHIIII")  # index, ordinal, offset, size, align, type, and spaces
# Kinds of argument records. Others exist; they are shown by number.
_ARGUMENT_KINDS = {2: "input", 3: "output", 4: "workspace", 7: "tiling", 11: "sync address"}
_NO_ENTRY = 0x80

MAX_ARGUMENTS = 128


class ObjectError(ValueError):
    """A file that is no kernel binary; the message says why."""


@dataclass(frozen=True)
class Argument:
    """One argument as the note describes it; `count` pointers, `nbytes` of placeholder data (tiling)."""

    kind: str
    count: int = 1
    nbytes: int = 0


@dataclass
class KernelInfo:
    """A kernel of a binary."""

    name: str
    symbols: dict[str, elf.Symbol]  # "" or "aic" and "aiv": the functions that it runs
    core_type: int = AI_CORE
    key: Optional[int] = None  # what aclrtBinaryGetFunctionByEntry takes
    ratio: tuple[int, int] = (0, 0)  # cube cores to vector cores, of a mix kernel
    cross_core_sync: bool = False
    sched_mode: int = 0
    max_arguments: int = MAX_ARGUMENTS
    arguments: tuple[Argument, ...] = ()
    params: Optional[tuple[tuple[int, int], ...]] = None  # (offset, size) of each parameter, where the binary has them
    argument_bytes: Optional[int] = None  # of the whole block, system slots included, where the binary says
    needs_sync_address: bool = False  # whether slot 0 of its argument block belongs to the runtime
    signature: Optional[str] = None  # of a host kernel that declares its arguments

    @property
    def mixed(self) -> bool:
        return "" not in self.symbols

    @property
    def core(self) -> str:
        return CORE_NAMES[self.core_type]

    @property
    def size(self) -> tuple[int, int]:
        """Bytes of code for the cube core (or the only one) and for the vector core."""
        first = self.symbols.get("aic") or self.symbols.get("")
        second = self.symbols.get("aiv")
        if second is None and first is not None and self.core_type == VECTOR:
            first, second = None, first
        return (first.size if first else 0, second.size if second else 0)


@dataclass
class KernelObject:
    """A kernel binary, read."""

    elf: elf.Elf
    host: bool
    kernels: dict[str, KernelInfo]
    description: Optional[dict[str, Any]] = None  # the JSON beside an AI Core object
    problems: list[str] = field(default_factory=list)  # where the JSON disagrees with the object

    def by_entry(self, key: int) -> Optional[KernelInfo]:
        """The kernel whose name ends in ``_<key>`` (several without a number share 0: the first by name)."""
        return next((self.kernels[n] for n in sorted(self.kernels) if self.kernels[n].key == key), None)


def read(data: bytes, description: Optional[str] = None, name: str = "") -> KernelObject:
    """Reads a kernel binary. `description` is the text of the JSON beside it, `name` the file's name, both optional.

    Raises `ObjectError` for what no runtime could load: a file that is not sound, or is for another machine.
    """
    try:
        file = elf.parse(data)
    except elf.ElfError as error:
        raise ObjectError(str(error)) from None
    if file.machine == elf.AI_CORE:
        found = _ai_core(file)
        if description is not None:
            _compare(found, description, name)
        return found
    if file.machine != HOST:
        raise ObjectError(f"it is for {file.machine_name}; kernels are for AI Core (machine {elf.AI_CORE:#x}) or, on "
                          f"the emulator, for this {elf.machine_name(HOST)}")
    if file.type != elf.DYN:
        raise ObjectError(f"it is a {elf.machine_name(HOST)} file but no shared library: link it with -shared -fPIC")
    return KernelObject(file, True, _host(file))


def read_file(path: str) -> KernelObject:
    """Reads the binary at `path` with the JSON of the same name beside it, where there is one."""
    description = Path(path).with_suffix(".json")
    text: Optional[str] = None
    if description.is_file():
        text = description.read_bytes().decode("utf-8", "replace")
    return read(Path(path).read_bytes(), text, Path(path).name)


@cache
def base_names(name: str) -> tuple[str, ...]:
    """The names under which a kernel may be known, most exact first: ``Add_0f3c..._12`` is also ``Add_0f3c...`` (its
    key left out) and ``Add`` (the hash, too)."""
    names = [name]
    for ending in (r"_\d+$", r"_relocatable$", r"_[0-9a-f]{32}$"):
        shorter = re.sub(ending, "", names[-1])
        if shorter and shorter != names[-1]:
            names.append(shorter)
    return tuple(names)


# Reading AI Core objects ------------------------------------------------------------------------------------------

def _functions(file: elf.Elf) -> Iterator[elf.Symbol]:
    for symbol in file.symbols:
        if symbol.type == elf.FUNC and symbol.visible and symbol.section and symbol.bind in (elf.GLOBAL, elf.WEAK):
            yield symbol


def _ai_core(file: elf.Elf) -> KernelObject:
    notes = {s.name[len(_NOTE):]: file.bytes_of(s) for s in file.sections if s.name.startswith(_NOTE)}
    sizes = _argument_sizes(file)
    kernels: dict[str, KernelInfo] = {}
    for symbol in _functions(file):
        if symbol.bind != elf.GLOBAL:
            continue
        name, core = symbol.name, ""
        for suffix in _SUFFIXES:
            if name.endswith(suffix):
                name, core = name[:-len(suffix)], suffix[-3:]
        if not name:
            raise ObjectError(f"its function {symbol.name} has no name before the suffix")
        kernel = kernels.get(name)
        if kernel is None:
            kernel = kernels[name] = KernelInfo(name, {}, key=_key(name))
        if core in kernel.symbols or (kernel.symbols and "" in (core, *kernel.symbols)):
            raise ObjectError(f"it defines kernel {name} twice")
        kernel.symbols[core] = symbol
        if symbol.name in notes:
            _read_note(kernel, core, notes[symbol.name])
        elif core and kernel.core_type == AI_CORE:
            kernel.core_type = {"aic": CUBE, "aiv": VECTOR}[core]
        if symbol.name in sizes:
            kernel.argument_bytes = sizes[symbol.name]
    if not kernels:
        raise ObjectError("it has no kernel: no global function is defined in it")
    for kernel in kernels.values():
        if len(kernel.symbols) == 2:
            kernel.core_type = MIX
            if not all(kernel.ratio):
                kernel.ratio = (1, 2)
        # Kernels that synchronise cores find the address for it in slot 0 of their arguments.
        kernel.needs_sync_address = kernel.mixed or kernel.cross_core_sync
        if kernel.core_type != MIX:
            alone = {CUBE: (1, 0), VECTOR: (0, 1)}.get(kernel.core_type, (0, 0))
            kernel.ratio = alone if kernel.needs_sync_address else (0, 0)
    return KernelObject(file, False, kernels)


def _key(name: str) -> int:
    """The number at the name's end; 0 for a name without one."""
    digits = re.search(r"_(\d{1,20})$", name)
    return int(digits[1]) if digits and int(digits[1]) < 2**64 else 0


def _records(note: bytes, order: str = "<", unit: int = 1) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 < len(note):
        kind, length = struct.unpack_from(order + "HH", note, at)
        end = at + 4 + length * unit
        if end > len(note):
            return
        yield kind, note[at + 4:end]
        at = end


def _number(value: bytes) -> int:
    return int.from_bytes(value[:8], "little")


def _read_note(kernel: KernelInfo, core: str, note: bytes) -> None:
    params: dict[int, tuple[int, int]] = {}
    count: Optional[int] = None
    for kind, value in _records(note):
        if kind == _KERNEL_TYPE:
            number = _number(value)
            if number in (4, 5):  # a part of a mix kernel: which one, its symbol says
                if not core:
                    raise ObjectError(f"kernel {kernel.name} is a mix kernel, but its function's name does not end in "
                                      "_mix_aic or _mix_aiv")
                kernel.core_type = {"aic": CUBE, "aiv": VECTOR}[core]
            else:
                kernel.core_type = {2: CUBE, 3: VECTOR, 6: CUBE, 7: VECTOR}.get(number, AI_CORE)
        elif kind == _CROSS_CORE:
            kernel.cross_core_sync = _number(value) == 1
        elif kind == _RATIO and len(value) >= 4:
            kernel.ratio = struct.unpack_from("<HH", value)
        elif kind == _ARGUMENTS:
            kernel.arguments = tuple(_arguments(value))
            kernel.max_arguments = min(len(kernel.arguments) + 1, MAX_ARGUMENTS)
        elif kind == _ENTRY and len(value) >= 12:
            kernel.key = None if value[0] == _NO_ENTRY else _number(value[4:12])
        elif kind == _SCHED_MODE:
            kernel.sched_mode = _number(value)
        elif kind == _PARAM_SUMMARY and len(value) >= 4:
            count = _number(value[:4])
        elif kind == _PARAM and len(value) >= _PARAM_BODY.size:
            _, ordinal, offset, size, *_ = _PARAM_BODY.unpack_from(value)
            params[ordinal] = (offset, size)
    if count is not None:
        if len(params) != count or sorted(params) != list(range(count)):
            raise ObjectError(f"kernel {kernel.name} has {count} parameters, but describes {sorted(params)}")
        kernel.params = tuple(params[i] for i in range(count))


def _arguments(value: bytes) -> Iterator[Argument]:
    for kind, body in _records(value, ">", 8):
        if kind != _ARGUMENT or len(body) < 8:
            continue
        words = struct.unpack_from(f">{len(body) // 8}Q", body)
        name = _ARGUMENT_KINDS.get(words[0] & 0xFFFF, f"kind {words[0] & 0xFFFF}")
        if name == "tiling":
            yield Argument(name, 1, words[1] if len(words) > 1 else 0)
        else:
            yield Argument(name, words[2] if len(words) > 2 else 1)


def _argument_sizes(file: elf.Elf) -> dict[str, int]:
    """Bytes of each function's arguments: the compiler leaves a word ``<symbol>__`` for it."""
    found = {}
    for symbol in file.symbols:
        if symbol.type == elf.OBJECT and symbol.size == 4 and symbol.name.endswith("__") and \
                symbol.section and file.sections[symbol.section].name == "__CCE_KernelArgSize":
            word = file.bytes_at(symbol)
            if len(word) == 4:
                found[symbol.name[:-2]] = int.from_bytes(word, "little")
    return found


def _compare(found: KernelObject, text: str, name: str) -> None:
    """Takes from the JSON what the runtime takes, and notes where it describes another object than this one."""
    try:
        description = json.loads(text)
    except (ValueError, RecursionError) as error:
        found.problems.append(f"the JSON beside it cannot be read: {error}")
        return
    if not isinstance(description, dict):
        found.problems.append("the JSON beside it is no object")
        return
    found.description = description
    if description.get("intercoreSync") == 1:
        for kernel in found.kernels.values():
            kernel.needs_sync_address = True
    listed = description.get("kernelList")
    if isinstance(listed, list):
        names = {str(k.get("kernelName") or "") for k in listed if isinstance(k, dict)}
        missing = sorted(names - {"", *found.kernels})
        if missing:
            found.problems.append(f"the JSON lists kernels that the object lacks: {', '.join(missing[:5])}"
                                  + (f" and {len(missing) - 5} more" if len(missing) > 5 else ""))
    file = description.get("binFileName")
    if isinstance(file, str) and name and not name.startswith(file):
        found.problems.append(f"the JSON is about {file}, not {name}")
    digest = description.get("sha256")
    if isinstance(digest, str) and digest and hashlib.sha256(found.elf.data).hexdigest() != digest.lower():
        found.problems.append("the JSON's sha256 is of another object")


# Reading host objects ---------------------------------------------------------------------------------------------

_NOT_KERNELS = {"_init", "_fini", "_start", "main"}
_DECLARATION = "pyacl_args_"


def _host(file: elf.Elf) -> dict[str, KernelInfo]:
    kernels: dict[str, KernelInfo] = {}
    for symbol in _functions(file):
        if symbol.name in _NOT_KERNELS or symbol.name.startswith(("_", "pyacl_")):
            continue
        name, core = symbol.name, ""
        for suffix in _SUFFIXES:
            if name.endswith(suffix):
                name, core = name[:-len(suffix)], suffix[-3:]
        kernel = kernels.setdefault(name, KernelInfo(name, {}, key=_key(name)))
        kernel.symbols[core] = symbol
    for symbol in file.symbols:
        if symbol.type == elf.OBJECT and symbol.name.startswith(_DECLARATION) and symbol.section:
            declared = kernels.get(symbol.name[len(_DECLARATION):])
            if declared is not None:
                text = file.bytes_at(symbol).split(b"\0")[0].decode("ascii", "replace")
                declared.signature = text
    for kernel in kernels.values():
        if kernel.mixed:
            kernel.core_type = MIX if len(kernel.symbols) == 2 else CUBE if "aic" in kernel.symbols else VECTOR
            kernel.ratio = {MIX: (1, 2), CUBE: (1, 0), VECTOR: (0, 1)}[kernel.core_type]
            kernel.needs_sync_address = True
    return kernels
