"""Parameters of a run: from whatever holds them to plain values, as JSON has them."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasnap.errors import BadInput, UsageError


def plain_params(params: object) -> dict[str, object]:
    """Parameters as nested dicts, lists, texts and numbers.

    Args:
        params: a mapping, a dataclass, an argparse Namespace, a pydantic model, an OmegaConf
            config; or the path of a YAML, TOML or JSON file.

    Raises:
        UsageError: it has no names, or one twice, or no end. BadInput: of a file.
    """
    if isinstance(params, str | Path):
        return read_params(Path(params))
    try:
        made = _plain(params)
    except RecursionError:
        raise UsageError(
            "the parameters are nested too deep: one of them may hold itself"
        ) from None
    if not isinstance(made, dict):
        raise UsageError(f"parameters have names: give a dict, not {type(params).__name__}")
    return made


def read_params(path: Path) -> dict[str, object]:
    """The parameters in a YAML, TOML or JSON file, by its name's ending.

    Raises:
        BadInput: it cannot be read, or holds something else.
    """
    try:
        made = _plain(_parsed(path, path.read_text("utf-8")))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BadInput(f"{path} is not valid: {' '.join(str(error).split())}") from error
    if not isinstance(made, dict):
        raise BadInput(f"{path} holds no parameters: they have names")
    return made


def _parsed(path: Path, text: str) -> object:
    ending = path.suffix.lower()
    if ending == ".toml":
        return tomllib.loads(text)
    if ending == ".json":
        return json.loads(text)
    if ending not in (".yaml", ".yml"):
        raise BadInput(
            f"cannot read parameters from '{path.name}': unknown format",
            hint="Name a file that ends in .yaml, .toml or .json.",
        )
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ImportError as error:
        raise BadInput(
            "YAML needs ruamel.yaml", hint="Install it with: pip install ruamel.yaml"
        ) from error
    try:
        return YAML(typ="safe", pure=True).load(text) or {}
    except YAMLError as error:
        raise ValueError(str(error)) from error


def plain_text(text: str) -> str:
    """A text that can be written down: what is none, in the name of a file, becomes visible."""
    return str.__str__(text).encode("utf-8", "backslashreplace").decode()


def _plain(value: Any) -> object:
    """A value as JSON has it; what it has no form for as its text."""
    if value is None or isinstance(value, bool):
        return value
    # Those of numpy and of enumerations are more than that.
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return _plain_mapping(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, set | frozenset):  # whose order is another in each process
        return sorted(map(_plain, value), key=json.dumps)
    return _plain_object(value)


def _plain_mapping(value: Mapping[Any, Any]) -> dict[str, object]:
    made: dict[str, object] = {}
    for name, inner in value.items():
        known = plain_text(str(name))
        if known in made:
            raise UsageError(f"two parameters are called '{known}'", hint="Rename one of them.")
        made[known] = _plain(inner)
    return made


def _plain_object(value: Any) -> object:
    """An object of somebody's library."""
    kind = type(value)
    if kind.__module__.startswith("omegaconf"):
        from omegaconf import OmegaConf

        return _plain(OmegaConf.to_container(value, resolve=True))
    if callable(getattr(value, "model_dump", None)):  # pydantic
        return _plain(value.model_dump(mode="json"))
    if kind.__name__ == "Namespace":  # argparse
        return _plain(vars(value))
    if callable(getattr(value, "item", None)) and getattr(value, "shape", None) == ():
        return _plain(value.item())  # a number of numpy or torch
    return plain_text(str(value))
