"""Configuration files of ``pyacl bench``: YAML, TOML or JSON, told apart by the file's ending."""

from __future__ import annotations

import json
import os
from typing import Any, Mapping, Sequence

from ..cli import CommandError


def load(path: str) -> dict[str, Any]:
    """The file as a mapping; raises CommandError for one that cannot be read or is not a mapping."""
    ending = os.path.splitext(path)[1].lower()
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not a text file") from None
    if ending == ".json":
        data = _json(path, text)
    elif ending in (".yaml", ".yml"):
        data = _yaml(path, text)
    elif ending == ".toml":
        data = _toml(path, text)
    else:
        raise CommandError(f"{path}: name a configuration .yaml, .toml or .json")
    if not isinstance(data, dict):
        raise CommandError(f"{path} is empty" if data is None else f"{path} is not a mapping of options")
    return data


def _json(path: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise CommandError(f"{path} is not JSON: {error}") from None


def _yaml(path: str, text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise CommandError("YAML files need pyyaml: pip install 'pyacl-ascend[bench]'; or write JSON") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CommandError(f"{path} is not YAML: {' '.join(str(error).split())}") from None


def _toml(path: str, text: str) -> Any:
    try:
        import tomllib
    except ImportError:  # before Python 3.11
        try:
            import tomli as tomllib  # type: ignore[no-redef]
        except ImportError:
            raise CommandError("TOML files need tomli: pip install 'pyacl-ascend[bench]'; or write JSON") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{path} is not TOML: {error}") from None


def only(data: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    """Fails for a key that means nothing, so that a misspelt option is not silently ignored."""
    for key in data:
        if key not in keys:
            raise CommandError(f"{where}: no option {key!r}; there are {', '.join(keys)}")


def count(data: Mapping[str, Any], key: str, where: str, least: int = 1) -> Any:
    """An optional whole number of at least `least`."""
    value = data.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise CommandError(f"{where}: {key} is {value!r}, not a whole number from {least}")
    return value


def listed(value: Any) -> list[Any]:
    """One thing or several."""
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]
