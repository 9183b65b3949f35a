"""Names, paths and texts as the C strings that functions take."""

from __future__ import annotations

import os
from typing import Any


def c_string(text: Any, what: str, *, empty: bool = False) -> bytes:
    """A str, bytes or path in the file system's encoding, which is UTF-8.

    Raises TypeError for anything else, ValueError for a NUL inside, where C would stop reading, and where it is empty
    though it may not be. `what` is what the messages call it.
    """
    try:
        raw = os.fsencode(text)
    except TypeError:
        raise TypeError(f"{what} is a str, not {text!r}") from None
    if b"\0" in raw:
        raise ValueError(f"{what} is {text!r}, but a C string ends at its first NUL")
    if not raw and not empty:
        raise ValueError(f"{what} is empty")
    return raw
