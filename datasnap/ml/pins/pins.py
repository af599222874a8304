"""Pins: which table of which snapshot a config means, as it says so itself.

    datasnap:                    one table …            datasnap:             … or several, by name
      repo: ../data                                       train:
      ref: main                                             repo: ../data
      snapshot: 3f0a9c12…  (64 digits)                      ref: main
      table: rides                                          …
      table_id: 9e41c07b…  (64 digits)                    test:
                                                            …

`snapshot` says what is read; `table_id`, the ID of the table in it, is a second lock: it finds out
that one of the two was changed alone, as a merge of two versions of a config may do. `ref` is what
`datasnap pin --update` follows. `repo` is where it was pinned, from the config's own folder on; on
another machine `$DATASNAP_REPO` says where else the repository is, and goes before it. With several
tables, a `repo` that all share may stand above them, once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from datasnap.errors import BadInput, RepositoryNotFound, UnknownName, UsageError
from datasnap.ml.pins.configs import Block, ConfigFile, is_config
from datasnap.places import FOLDER, open_repository

if TYPE_CHECKING:
    from datasnap.repository import Repository

_ID = re.compile(r"[0-9a-f]{64}")
_MARKS = ("snapshot", "table")
_MAX_CONFIG = 1 << 20


class Pin(msgspec.Struct, frozen=True):
    """One table of one snapshot.

    Attributes:
        repo: where its repository is; "": wherever one is found from the working directory.
        snapshot, table_id: 64 hex digits; table_id "": it is not checked.
        table: its name in the snapshot.
        ref: what moves the pin: a branch or tag; "": nothing does.
    """

    repo: str
    ref: str
    snapshot: str
    table: str
    table_id: str = ""


class Pinned(NamedTuple):
    """A pin, and where it stands.

    Attributes:
        file: the config; None: it was given by itself.
        name: what the config calls it; None: it has only this one.
    """

    file: Path | None
    name: str | None
    pin: Pin

    @property
    def where(self) -> str:
        """How to name it in a message."""
        named = [self.name] if self.name else []
        return " of ".join([*named, *([str(self.file)] if self.file else [])]) or "the pin"

    @property
    def place(self) -> str | None:
        """Where its repository is; None: look for one from the working directory upward."""
        return os.environ.get("DATASNAP_REPO") or self.written_place

    @property
    def written_place(self) -> str | None:
        """The same, as the config says."""
        if not self.pin.repo or "://" in self.pin.repo:
            return self.pin.repo or None
        folder = self.file.resolve().parent if self.file else Path.cwd()
        return os.path.normpath(folder / Path(self.pin.repo).expanduser())

    def open(self) -> Repository:
        """Its repository.

        Raises:
            RepositoryNotFound: it is not there.
        """
        return self.opened(open_repository)

    def opened(self, open_: Callable[[str | None], Repository]) -> Repository:
        """The same, opened in another way, which may know better where it is."""
        try:
            return open_(self.place)
        except RepositoryNotFound as error:
            if self.place is None:
                raise
            by = "DATASNAP_REPO" if os.environ.get("DATASNAP_REPO") else f"repo of {self.where}"
            raise RepositoryNotFound(
                error.message,
                hint=f"Correct {by}; or name another for now: DATASNAP_REPO=PLACE",
            ) from error


def read_pins(file: Path) -> list[Pinned]:
    """The pins of a config.

    Raises:
        UsageError: the format is unknown. BadInput: it cannot be read, or it pins nothing.
    """
    found = pins_in(file)
    if not found:
        why = f"{file} pins nothing" if file.exists() else f"there is no file {file}"
        raise BadInput(why, hint=f"Pin a table: datasnap pin {file} --table NAME")
    return found


def pins_in(file: Path) -> list[Pinned]:
    """The same, of a config that may have none, and need not be there yet."""
    return list(pins_of(ConfigFile(file).block or {}, file))


def find_configs(folder: Path) -> Iterator[Path]:
    """The configs in a folder and below that pin something, sorted; hidden folders and those of
    virtual environments are passed over."""
    for path, folders, files in os.walk(folder):
        inside = Path(path)
        skipped = {n for n in folders if n[0] == "." or (inside / n / "pyvenv.cfg").exists()}
        folders[:] = sorted(set(folders) - skipped - {"node_modules"})
        yield from (inside / n for n in sorted(files) if is_config(n) and _pins(inside / n))


def _pins(file: Path) -> bool:
    """Whether a file is a config that pins something, or would if it could be read."""
    try:
        data = file.read_bytes() if file.stat().st_size < _MAX_CONFIG else b""
    except FileNotFoundError:  # a link that leads nowhere
        return False
    except OSError:  # nobody knows what is in it
        return True
    if b"datasnap" not in data or b"snapshot" not in data:
        return False
    try:
        return bool(pins_in(file))
    except BadInput:  # conflicts of a merge in it, say: whoever reads it will tell
        return b"table_id" in data


def pins_of(block: Mapping[str, object], file: Path | None = None) -> Iterator[Pinned]:
    """The pins of a block of that name.

    Raises:
        BadInput: one lacks something, or an ID is none.
    """
    if is_single(block):
        yield Pinned(file, None, _pin(block, str(file or "the pin")))
        return
    shared = {"repo": block["repo"]} if isinstance(block.get("repo"), str) else {}
    for name, inner in block.items():
        if isinstance(inner, Mapping):
            where = f"{name} of {file}" if file else name
            yield Pinned(file, name, _pin({**shared, **inner}, where))


def is_single(block: Mapping[str, object]) -> bool:
    """Whether a block is one pin, and not several by name."""
    return any(isinstance(block.get(mark), str) for mark in _MARKS)


def chosen(pins: list[Pinned], table: str | None) -> Pinned:
    """The pin that is called so, or the only one of that table; None: the only one.

    Raises:
        UnknownName: there is none, or more than one.
    """
    found = [pin for pin in pins if table in (None, pin.name)]
    found = found or [pin for pin in pins if pin.pin.table == table]
    if len(found) == 1:
        return found[0]
    names = [pin.name or pin.pin.table for pin in pins]
    where = f"in {pins[0].file}" if pins and pins[0].file else "among the pins"
    if not found:
        raise UnknownName("table", table or "", names, where=where)
    raise BadInput(f"which table is meant {where}?", hint=f"Name one: {', '.join(names)}")


def write_pin(file: Path, name: str | None, pin: Pin) -> Pinned:
    """Write a pin into a config, in place of the one of that name; what it says already stays as it
    is written. A config with one pin that has no name gives it that of its table, when another
    comes.

    Raises:
        UsageError: the format is unknown, or the name is taken. BadInput: nothing can be written
        there.
        StorageError: the file cannot be written.
    """
    config = ConfigFile(file)
    before = list(pins_of(config.block or {}, file))
    name = name or _name_for(pin, before)
    if name in Pin.__struct_fields__:
        raise UsageError(f"a pin cannot be called '{name}'", hint="Give it a --name.")
    if name is not None and before and before[0].name is None:
        table = before[0].pin.table
        if name == table != pin.table:
            raise UsageError(f"'{name}' is what the pin of {table} is called", hint="Take another.")
        config.nest(table)
    config.put(() if name is None else (name,), _new_values(config, name, pin))
    config.save()
    return Pinned(file, name, pin)


def move_pins(file: Path, moved: Iterable[Pinned]) -> None:
    """Write pins that a config has already as they are now: all of them, or none.

    Raises:
        BadInput: nothing can be written there. StorageError: the file cannot be written.
    """
    config = ConfigFile(file)
    for _, name, pin in moved:
        config.put(() if name is None else (name,), _new_values(config, name, pin))
    config.save()


def _name_for(pin: Pin, before: list[Pinned]) -> str | None:
    """What a config with some pins calls another by itself; None: it needs no name."""
    same = [pinned.name for pinned in before if pinned.pin.table == pin.table]
    if len(same) == 1:
        return same[0]
    return pin.table if before else None


def place_in_config(repository: Repository, file: Path, root: str) -> str:
    """How a config names a repository: from its own folder on where they move together, which is
    when one lies around the other or both in one project; else by its whole path.

    Args:
        root: of the project that the config belongs to; "": there is none.
    """
    if "://" in repository.url:
        return repository.url
    own = file.resolve().parent
    place = Path(repository.url).resolve()
    place = place.parent if place.name == FOLDER else place
    project = Path(root) if root else own
    together = own.is_relative_to(place) or place.is_relative_to(project)
    return Path(os.path.relpath(place, own) if together else place).as_posix()


def _new_values(config: ConfigFile, name: str | None, pin: Pin) -> dict[str, str]:
    """What is to be written of a pin: all that the config does not say."""
    block: Block = config.block or {}
    inner = block if name is None else block.get(name, {})
    said = dict(inner) if isinstance(inner, dict) else {}
    if name is not None and isinstance(block.get("repo"), str):
        said.setdefault("repo", block["repo"])
    values: dict[str, str] = msgspec.structs.asdict(pin)
    return {key: value for key, value in values.items() if value and said.get(key) != value}


def _pin(block: Mapping[str, object], where: str) -> Pin:
    values = {key: block.get(key) or "" for key in Pin.__struct_fields__}
    pin = msgspec.convert(values, Pin) if all(isinstance(v, str) for v in values.values()) else None
    if pin is None or not pin.table or not pin.snapshot:
        lacks = next((k for k in ("table", "snapshot") if not values[k]), "a text")
        raise BadInput(f"{where} is no pin: it lacks {lacks}", hint="Write it by `datasnap pin`.")
    for key, value in (("snapshot", pin.snapshot), ("table_id", pin.table_id)):
        if value and not _ID.fullmatch(value):
            raise BadInput(
                f"{where}: {key} is no full ID: {value[:64]}",
                hint="It has 64 hex digits; `datasnap pin` writes it.",
            )
    return pin
