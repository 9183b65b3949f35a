"""Builds the exported libraries with gcc and keeps them, one folder for each source that they can have."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Optional

from . import source

REAL = "libascendcl.so"
# They hold nothing: whoever links with, opens or searches one finds everything in the library that it needs.
THIN = (
    "libopapi.so", "libnnopbase.so", "libacl_op_compiler.so", "libacl_tdt_channel.so", "libacl_cblas.so",
    "libruntime.so", "libprofapi.so", "libhccl.so", "libge_runner.so", "libgraph.so",
)
# Folders of an installation whose absence torch_npu takes for a broken one.
PARTS = ("compiler", "opp", "runtime")


class BuildError(RuntimeError):
    """The libraries cannot be built; the message says why."""


def cache() -> Path:
    """Where builds are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "pyacl" / "export"


def _gcc(*arguments: str, folder: Path) -> None:
    try:
        done = subprocess.run(["gcc", *arguments], cwd=folder, capture_output=True, text=True)
    except FileNotFoundError:
        raise BuildError("gcc is not installed; it builds the emulator's libraries") from None
    if done.returncode:
        raise BuildError(f"gcc failed:\n{done.stderr[-4000:]}")


def _compile(folder: Path, text: str, headers: dict[str, str]) -> None:
    libraries, include = folder / "lib64", folder / "include"
    libraries.mkdir(parents=True)
    include.mkdir()
    for part in PARTS:
        (folder / part).mkdir()
    for name, header in headers.items():
        (include / name).write_text(header)
    (folder / "export.c").write_text(text)
    (folder / "nothing.c").write_text("")
    shared = ("-shared", "-fPIC", "-O1", "-w")
    _gcc(*shared, "-fvisibility=hidden", "-Iinclude", "export.c", "-o", f"lib64/{REAL}", f"-Wl,-soname,{REAL}",
         "-Wl,-z,nodelete", "-Wl,-Bsymbolic", "-ldl", "-lpthread", folder=folder)
    for name in THIN:
        _gcc(*shared, "nothing.c", "-o", f"lib64/{name}", f"-Wl,-soname,{name}", "-Wl,--no-as-needed", "-Llib64",
             f"-l:{REAL}", "-Wl,-rpath,$ORIGIN", folder=folder)
    (folder / "export.c").unlink()
    (folder / "nothing.c").unlink()


def build(folder: Optional[Path] = None) -> Path:
    """A folder with ``lib64/*.so`` and ``include/*.h``, laid out as CANN's own, built if it is not there yet.

    `folder` is filled anew; without it the cached one of this Python, these declarations and this source is used.
    Raises BuildError.
    """
    text, headers = source.library(), source.headers()
    # The texts name the Python, its folders, every declaration that is exported, and how all that is built.
    texts = [text, *headers.values(), Path(__file__).read_text()]
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    made = cache() / digest
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=made.parent, prefix=".building-"))
        try:
            temporary.chmod(0o755)
            _compile(temporary, text, headers)
            try:
                temporary.rename(made)
            except OSError:
                if not made.exists():  # else another process was faster
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    if folder is None:
        return made
    shutil.copytree(made, folder, dirs_exist_ok=True, copy_function=_replace)
    return folder


def _replace(source: str, target: str) -> str:
    """Copies into a new file that takes the old one's place: a process that has the old one open goes on with it."""
    partial = f"{target}.{os.getpid()}"
    shutil.copy2(source, partial)
    os.replace(partial, target)
    return target
