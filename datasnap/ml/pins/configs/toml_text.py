"""TOML: tomlkit keeps what it does not change as it was. Reading takes Python's own parser."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from datasnap.ml.pins.configs.blocks import KEY, Block

if TYPE_CHECKING:
    from tomlkit import TOMLDocument
    from tomlkit.items import String


class TomlText:
    """See `blocks.Format`."""

    def read(self, text: str) -> Block | None:
        found = tomllib.loads(text).get(KEY)
        if found is None:
            return None
        if not isinstance(found, dict):
            raise ValueError(f"'{KEY}' is no table")
        return _texts(found)

    def put(self, text: str, path: tuple[str, ...], values: Mapping[str, str]) -> str:
        return _edited(text, lambda document: _put(document, path, values))

    def nest(self, text: str, name: str) -> str:
        import tomlkit

        def move(document: TOMLDocument) -> None:
            around = tomlkit.table(is_super_table=True)
            around.append(name, document[KEY])
            document[KEY] = around

        return _edited(text, move)

    def outside(self, text: str) -> object:
        found = tomllib.loads(text)
        return [(name, repr(value)) for name, value in found.items() if name != KEY]


def _edited(text: str, change: Callable[[TOMLDocument], None]) -> str:
    """A text after a change of what it says. New lines end as those of the text do."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    windows = "\r\n" in text and text.count("\r\n") == text.count("\n")
    text = text.replace("\r\n", "\n") if windows else text
    try:
        document = tomlkit.parse(text if text.endswith("\n") or not text else text + "\n")
        change(document)
        made = tomlkit.dumps(document)
    except TOMLKitError as error:
        raise ValueError(str(error)) from error
    return made.replace("\n", "\r\n") if windows else made


def _put(document: TOMLDocument, path: tuple[str, ...], values: Mapping[str, str]) -> None:
    import tomlkit

    made = False
    table: Any = document
    for depth, name in enumerate(path):
        if name not in table:
            # A table that holds tables only has no head of its own.
            made = depth == len(path) - 1
            table[name] = tomlkit.table(is_super_table=not made)
        table = table[name]
        if not isinstance(table, dict):
            raise ValueError(f"'{'.'.join(path[: depth + 1])}' is no table")
    for key, value in values.items():
        table[key] = _string(value, table.get(key))
    if made and list(document)[-1] != KEY:
        table.add(tomlkit.nl())  # a blank line before what follows


def _string(value: str, before: object) -> String:
    """A text in the quotes that stood there, where that is possible."""
    import tomlkit
    from tomlkit.items import String

    literal = isinstance(before, String) and before.as_string().startswith("'")
    return tomlkit.string(value, literal=literal and value.isprintable() and "'" not in value)


def _texts(table: Mapping[str, Any]) -> Block:
    return {
        key: _texts(value) if isinstance(value, dict) else str(value)
        for key, value in table.items()
        if isinstance(value, (dict, str, int, float))
    }
