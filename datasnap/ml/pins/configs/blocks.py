"""The block of a config file that is ours: `datasnap:`, in YAML, TOML or JSON.

What is written is read again before it replaces the file: if anything but the block changed by it,
or the block is not what was meant, the file stays as it is.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeAlias

from datasnap.errors import BadInput, StorageError, UsageError

#: The name of the block, at the top of the file.
KEY = "datasnap"
#: What a mapping of a config holds: texts, and mappings of them. Other values are left out.
Block: TypeAlias = "dict[str, str | Block]"

_ENDINGS = {".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".json": "json"}
_BOM = b"\xef\xbb\xbf"


class Format(Protocol):
    """How a format is read and written. All raise ValueError where a text cannot be."""

    def read(self, text: str) -> Block | None:
        """The block; None: there is none."""
        ...

    def put(self, text: str, path: tuple[str, ...], values: Mapping[str, str]) -> str:
        """The text with values in the mapping at a path, which is made where it is missing."""
        ...

    def nest(self, text: str, name: str) -> str:
        """The text with what the block holds under a name in it."""
        ...

    def outside(self, text: str) -> object:
        """All but the block's value, to compare."""
        ...


class ConfigFile:
    """A config file, as it was read.

    Attributes:
        block: ours; None: there is none, or no file.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            UsageError: its name does not end as one of a format that is known.
            BadInput: it cannot be read. StorageError: it is there, and cannot be opened.
        """
        self.path, self._format = path, _format(path)
        self._before = self._mark, self._text = _read(path)
        try:
            self.block = self._format.read(self._text)
        except ValueError as error:
            raise BadInput(f"{path} cannot be read: {_reason(error)}") from error

    def put(self, path: tuple[str, ...], values: Mapping[str, str]) -> None:
        """Set texts in the block, or in a mapping of it. `save` writes them.

        Raises:
            BadInput: the file is laid out so that nothing can be put there.
        """
        if values:
            expected = _with(self.block or {}, path, values)
            self._change(lambda: self._format.put(self._text, (KEY, *path), values), expected)

    def nest(self, name: str) -> None:
        """Put what the block holds under a name in it. `save` writes that.

        Raises:
            BadInput: as `put`.
        """
        self._change(lambda: self._format.nest(self._text, name), {name: self.block or {}})

    def save(self) -> None:
        """Write the file: whole or not at all, with the mode and the owner that it had.

        Raises:
            StorageError: it cannot be written, or somebody else changed it since it was read.
        """
        if _read(self.path) != self._before:
            raise StorageError(f"{self.path} was changed meanwhile", hint="Try again.")
        path = self.path.resolve()  # a link stays one
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with suppress(FileNotFoundError):
                before = path.stat()
                temporary.touch(stat.S_IMODE(before.st_mode))
                with suppress(PermissionError):  # it is of somebody else, and we are not root
                    os.chown(temporary, before.st_uid, before.st_gid)
                temporary.chmod(stat.S_IMODE(before.st_mode))
            with temporary.open("wb") as out:
                out.write(self._mark + self._text.encode())
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(path)
            self._before = self._mark, self._text
        except OSError as error:
            raise StorageError(f"cannot write {self.path}: {error.strerror or error}") from error
        finally:
            with suppress(OSError):
                temporary.unlink()

    def _change(self, change: Callable[[], str], expected: Block) -> None:
        try:
            text = change()
            same = self._format.outside(text) == self._format.outside(self._text)
            block = self._format.read(text)
            reason = "" if same and block == expected else "more than that would change"
        except ValueError as error:
            reason = _reason(error)
        if reason:
            raise BadInput(
                f"{self.path} is laid out so that its block '{KEY}' cannot be written: {reason}",
                hint="Write by hand what `datasnap pin` prints with --json.",
            )
        self._text, self.block = text, block


def is_config(name: str) -> bool:
    """Whether a file of that name is a config of a format that is known."""
    return Path(name).suffix.lower() in _ENDINGS


def _reason(error: ValueError) -> str:
    return " ".join(str(error).split())


def _format(path: Path) -> Format:
    ending = path.suffix.lower()
    if ending not in _ENDINGS:
        raise UsageError(
            f"'{path.name}' is no config whose format is known",
            hint=f"Name a file that ends in {', '.join(_ENDINGS)}.",
        )
    if _ENDINGS[ending] == "yaml":
        from datasnap.ml.pins.configs.yaml_text import YamlText

        return YamlText()
    if _ENDINGS[ending] == "toml":
        from datasnap.ml.pins.configs.toml_text import TomlText

        return TomlText()
    from datasnap.ml.pins.configs.json_text import JsonText

    return JsonText()


def _read(path: Path) -> tuple[bytes, str]:
    """The byte order mark, if there is one, and the text; none of a file that is not there."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return b"", ""
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    mark = _BOM if data.startswith(_BOM) else b""
    try:
        return mark, data[len(mark) :].decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is no text in UTF-8") from error


def _with(block: Block, path: tuple[str, ...], values: Mapping[str, str]) -> Block:
    """A block with values in the mapping at a path."""
    if not path:
        return {**block, **values}
    below = block.get(path[0], {})
    inner = _with(below if isinstance(below, dict) else {}, path[1:], values)
    return {**block, path[0]: inner}
