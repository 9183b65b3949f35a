"""Options for compiling operators and models, for the whole process (``aclSetCompileopt``)."""

from __future__ import annotations

from typing import Iterator, MutableMapping

from . import errors
from .c_string import c_string
from .capi import ffi, lib

# Option -> its value in C; ACL_AUTO_TUNE_MODE is no longer one that can be used.
_CODES: dict[str, int] = {name[4:].lower(): code for name, code in ffi.typeof("aclCompileOpt").relements.items()
                          if name != "ACL_AUTO_TUNE_MODE"}


class CompileOptions(MutableMapping[str, str]):
    """The options by their names in aclCompileOpt: ``compile_options["op_jit_compile"] = "enable"``.

    Until it is set an option has its default. Raises KeyError for a name that does not exist; setting raises
    InvalidArgumentError or UnsupportedError for a value or option that CANN refuses. Options cannot be deleted.
    """

    def _code(self, name: str) -> int:
        lower = name.lower()
        lower = lower[4:] if lower.startswith("acl_") else lower
        if lower not in _CODES:
            raise KeyError(f"no compile option {name!r}: choose one of {', '.join(_CODES)}")
        return _CODES[lower]

    def __getitem__(self, name: str) -> str:
        code = self._code(name)
        # The size that CANN gives is 0 for an option without a value.
        size = max(int(lib.aclGetCompileoptSize(code)), 256)
        value = ffi.new("char[]", size)
        errors.check(lib.aclGetCompileopt(code, value, size), "aclGetCompileopt")
        text: bytes = ffi.string(value)
        return text.decode()

    def __setitem__(self, name: str, value: str) -> None:
        text = c_string(str(value), f"option {name}", empty=True)
        errors.check(lib.aclSetCompileopt(self._code(name), text), "aclSetCompileopt")

    def __delitem__(self, name: str) -> None:
        raise TypeError("a compile option cannot be unset: set it to its default")

    def __iter__(self) -> Iterator[str]:
        return iter(_CODES)

    def __len__(self) -> int:
        return len(_CODES)


compile_options = CompileOptions()
