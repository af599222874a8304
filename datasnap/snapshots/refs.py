"""Branches, tags, pins, runs and models: the only names in a repository that change, and HEAD.

Layout, below the repository:

    refs/heads/NAME     a branch       refs/tags/NAME     a tag       HEAD     the current branch
    refs/pins/NAME      a pin: what holds a snapshot for a config or a run
    refs/runs/runs      the tables in which runs are recorded; see `datasnap.ml.runs.tables`
    refs/models/NAME    a model, or a stage of one; see `datasnap.ml.models`

A ref is a small JSON file, `datasnap.snapshots.reflog.RefFile`: its snapshot, and the log of its
changes. A slash in its name is written %2F, so that `a` and `a/b` can stand beside each other on a
disk. Each changes only by compare-and-swap (see `storage.Backend.write_ref`); the nonce makes
every write differ, so a writer whose answer was lost can tell its own value from another's. A ref
that is deleted leaves its file, without a snapshot, as long as its log is kept: so deleting is a
swap too, and can be undone.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Literal, NamedTuple, Protocol
from urllib.parse import quote, unquote

import msgspec

from datasnap.errors import (
    Conflict,
    CorruptData,
    InvalidName,
    RefExists,
    StorageError,
    UnknownName,
)
from datasnap.snapshots.objects import SnapshotId, snapshot_id
from datasnap.snapshots.pruned import Pruned
from datasnap.snapshots.reflog import (
    LogEntry,
    RefFile,
    Why,
    entries,
    older_files,
    with_entry,
    written_anew,
)
from datasnap.storage import Backend, LostAnswer

Kind = Literal["branch", "tag", "pin", "run", "model"]
FOLDERS: dict[Kind, str] = {
    "branch": "refs/heads/",
    "tag": "refs/tags/",
    "pin": "refs/pins/",
    "run": "refs/runs/",
    "model": "refs/models/",
}
#: Refs that writers commit to.
WRITTEN: tuple[Kind, ...] = ("branch", "run", "model")
HEAD = "HEAD"
#: Of a name as its file has it, which file systems limit.
MAX_NAME = 200

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\]\\@{}\"'`$;|<>%!#&()]|\.\.|//|/\.|\.lock(/|$)")
_LOOKS_LIKE_ID = re.compile(r"[0-9a-f]{8,64}")


class Ref(NamedTuple):
    """A ref as it was read: its snapshot, the version to swap against, and its file."""

    name: str
    snapshot: SnapshotId
    version: str
    file: RefFile
    modified: int


class RefChange(NamedTuple):
    """A change of a ref; before or after None: it does not exist then. Who makes it, and which
    operation it is part of, is known by the time that a watcher is told."""

    kind: Kind
    name: str
    before: SnapshotId | None
    after: SnapshotId | None
    why: Why


class _Found(NamedTuple):
    """The file of a ref, also of one that was deleted, as it was read."""

    file: RefFile
    version: str
    modified: int


class Watcher(Protocol):
    """Who is told of every change of every ref."""

    def before(self, change: RefChange) -> None:
        """It is about to be made, all that it leads to is stored. Whatever is raised forbids it."""
        ...

    def after(self, change: RefChange) -> None:
        """It has been made."""
        ...


def check_name(name: str, kind: str = "branch") -> str:
    """Return `name` if a branch or tag may have it.

    The rules are git's (`git check-ref-format`), made stricter where a shell, a URL or SQL
    would need quoting; a name must not read as a snapshot ID either.

    Raises:
        InvalidName: it may not.
    """
    why = ""
    if not name:
        why = "it is empty"
    elif len(quote(name, safe="")) > MAX_NAME:
        why = f"it is longer than {MAX_NAME} characters, counting %XX for special ones"
    elif bad := _FORBIDDEN.search(name):
        why = f"it contains {bad.group()!r}"
    elif name[0] in "-./" or name[-1] in "./":
        why = "it begins or ends with '-', '.' or '/'"
    elif name == HEAD or _LOOKS_LIKE_ID.fullmatch(name):
        why = "it reads as something else: a snapshot ID or HEAD"
    if why:
        raise InvalidName(
            f"'{name}' cannot be a {kind} name: {why}",
            hint="Use letters, digits, '-', '_', '.' and '/': for example exp/fare-per-km",
        )
    return name


class Refs:
    """The refs of one repository.

    Args:
        who: says who works with it; asked when a change does not say.
        secure: sees that a snapshot that a ref is about to lead to is not about to go.

    Attributes:
        who: the same.
        watcher: told of every change.
    """

    def __init__(
        self,
        backend: Backend,
        who: Callable[[], str] = lambda: "",
        secure: Callable[[SnapshotId], None] = lambda _: None,
    ) -> None:
        self._backend, self.who, self._secure = backend, who, secure
        self.watcher: Watcher | None = None

    def branches(self) -> dict[str, SnapshotId]:
        """All branches, by name, sorted."""
        return self.all("branch")

    def tags(self) -> dict[str, SnapshotId]:
        """All tags, by name, sorted."""
        return self.all("tag")

    def all(self, kind: Kind) -> dict[str, SnapshotId]:
        """All refs of a kind, by name, sorted."""
        found = ((name, self.read(kind, name)) for name in self._names(kind))
        return {name: ref.snapshot for name, ref in found if ref}

    def branch(self, name: str) -> Ref | None:
        """A branch, or None."""
        return self.read("branch", name)

    def tag(self, name: str) -> Ref | None:
        """A tag, or None."""
        return self.read("tag", name)

    def read(self, kind: Kind, name: str) -> Ref | None:
        """A ref, or None.

        Raises:
            CorruptData: its file is unreadable.
        """
        found = self._find(kind, name)
        if found is None or found.file.snapshot is None:
            return None
        snapshot = snapshot_id(found.file.snapshot)
        return Ref(name, snapshot, found.version, found.file, found.modified)

    def create(self, kind: Kind, name: str, snapshot: SnapshotId, why: Why) -> None:
        """Make a ref.

        Raises:
            RefExists, InvalidName.
        """
        check_name(name, kind)
        try:
            self.swap(kind, name, snapshot, expected=None, why=why)
        except Conflict:
            raise RefExists(
                f"a {kind} named '{name}' exists already",
                hint=f"Delete it first with `datasnap {kind} --delete {name}`, or pick another.",
            ) from None

    def move(
        self, kind: Kind, name: str, to: SnapshotId, *, expected: Ref | None, why: Why
    ) -> None:
        """Swap a ref from what it was (None: it did not exist) to another snapshot.

        Raises:
            Conflict: another writer moved it first.
        """
        self.swap(kind, name, to, expected=expected, why=why)

    def move_branch(self, name: str, to: SnapshotId, *, expected: Ref | None, why: Why) -> None:
        """`move` of a branch."""
        self.move("branch", name, to, expected=expected, why=why)

    def delete(self, kind: Kind, name: str, why: Why) -> Ref:
        """Remove a ref; its snapshots stay, and so does its log.

        Raises:
            UnknownName; Conflict: another writer moved it meanwhile.
        """
        ref = self.read(kind, name)
        if ref is None:
            raise UnknownName(kind, name, self.all(kind))
        self.swap(kind, name, None, expected=ref, why=why)
        return ref

    def swap(
        self, kind: Kind, name: str, to: SnapshotId | None, *, expected: Ref | None, why: Why
    ) -> None:
        """Change a ref from what it was to what it becomes, where None is: it does not exist.
        Every change of every ref is made here.

        Raises:
            Conflict: another writer changed it first. PrunedSnapshot: it would lead to one.
        """
        if to is not None and why.verb != "commit":  # which makes its snapshot
            Pruned(self._backend).check(to)
            self._secure(to)
        if expected is not None:
            found: _Found | None = _Found(expected.file, expected.version, expected.modified)
        else:
            found = self._find(kind, name)
            if found is not None and found.file.snapshot is not None:
                raise Conflict(f"the {kind} '{name}' was made by another writer")
        why = why._replace(
            who=self.who() if why.who is None else why.who,
            operation=why.operation or secrets.token_hex(8),
        )
        change = RefChange(kind, name, expected.snapshot if expected else None, to, why)
        if self.watcher is not None:
            self.watcher.before(change)
        entry = _entry(change, found.file if found else None)
        self._write(kind, name, found, entry)
        if self.watcher is not None:
            self.watcher.after(change)

    def touch(self, kind: Kind, name: str) -> None:
        """Write a ref anew as it is: a swap of it that is on its way fails, and looks again."""
        found = self._find(kind, name)
        if found is not None:
            file = written_anew(found.file, found.modified)
            # Whoever was quicker has done the same.
            with suppress(Conflict):
                self._backend.write_ref(
                    ref_path(kind, name), msgspec.json.encode(file), found.version
                )

    def log(self, kind: Kind, name: str) -> Iterator[LogEntry]:
        """The changes of a ref, also of one that was deleted, newest first.

        Raises:
            CorruptData.
        """
        found = self._find(kind, name)
        if found is not None:
            yield from entries(self._backend, found.file, found.modified)

    def logged(self) -> Iterator[tuple[Kind, str]]:
        """All refs that have a log, whether they exist or were deleted."""
        for kind in FOLDERS:
            for name in self._names(kind):
                yield kind, name

    def kind_of(self, name: str, kinds: Iterable[Kind] = FOLDERS) -> Kind | None:
        """What a name is, or was if it is nothing any more: a branch before a tag, that before a
        pin, that before the record of runs, and a model last. None: there was never such a ref,
        or nothing is left of its log."""
        found = {kind: next(self.log(kind, name), None) for kind in kinds}
        existing = (kind for kind in found if self.read(kind, name))
        return next(existing, next((kind for kind, newest in found.items() if newest), None))

    def put_away(self, kind: Kind, name: str) -> Iterator[tuple[str, int]]:
        """The files in `logs/` with older changes of a ref, and when the newest of each was made,
        by the store's clock.

        Raises:
            CorruptData.
        """
        found = self._find(kind, name)
        if found is not None:
            yield from older_files(self._backend, found.file)

    def forget(self, kind: Kind, name: str) -> None:
        """Remove what is left of a ref that was deleted: its log."""
        found = self._find(kind, name)
        if found is not None and found.file.snapshot is None:
            self._backend.delete_ref(ref_path(kind, name), found.version)

    def head(self) -> str:
        """The current branch: where the command line commits unless told otherwise."""
        found = self._backend.read_ref(HEAD)
        if found is None:
            return "main"
        name = found.data.decode(errors="replace").strip()
        return name.removeprefix("ref: ")

    def set_head(self, name: str) -> None:
        """Make `name` the current branch; it need not exist yet."""
        found = self._backend.read_ref(HEAD)
        data = f"ref: {check_name(name)}\n".encode()
        if found is None or found.data != data:
            self._backend.write_ref(HEAD, data, found.version if found else None)

    def _names(self, kind: Kind) -> list[str]:
        return sorted(unquote(file.name) for file in self._backend.list(FOLDERS[kind]))

    def _find(self, kind: Kind, name: str) -> _Found | None:
        """A ref's file as it is; None: there is none."""
        # A name that no ref may have is not asked for: it could point outside the folder.
        try:
            check_name(name)
        except InvalidName:
            return None
        found = self._backend.read_ref(ref_path(kind, name))
        if found is None:
            return None
        try:
            file = msgspec.json.decode(found.data, type=RefFile)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise CorruptData(f"the ref '{name}' is unreadable: {error}") from error
        return _Found(file, found.version, found.modified)

    def _write(self, kind: Kind, name: str, found: _Found | None, entry: LogEntry) -> None:
        """Make a change, provided that the file is still what was found (None: there was none).

        Raises:
            Conflict: it is not. LostAnswer: nor is it known whether the change was made.
        """
        file, version, modified = found or (None, None, 0)
        after = with_entry(self._backend, file, modified, entry)
        try:
            self._backend.write_ref(ref_path(kind, name), msgspec.json.encode(after), version)
        except (Conflict, LostAnswer) as error:
            with suppress(StorageError):
                if self._landed(kind, name, file, entry):
                    return
            raise error

    def _landed(self, kind: Kind, name: str, before: RefFile | None, entry: LogEntry) -> bool:
        """Whether a write that seemed to fail was made after all: its answer was lost, it was
        sent again, and then met itself, or what another writer made of it since. The log tells.
        """
        for found in self.log(kind, name):
            if before is not None and before.log and found.operation == before.log[0].operation:
                return False
            if msgspec.structs.replace(found, stored=0) == entry:
                return True
        return False


def _entry(change: RefChange, file: RefFile | None) -> LogEntry:
    why, newest = change.why, file.log[0].time if file and file.log else 0
    return LogEntry(
        before=change.before.hex() if change.before else None,
        after=change.after.hex() if change.after else None,
        verb=why.verb,
        message=why.message.strip().partition("\n")[0],
        who=why.who or "",
        time=max(time.time_ns() // 1000, newest + 1),
        operation=why.operation,
        undoes=why.undoes,
    )


def ref_path(kind: Kind, name: str) -> str:
    """Where a ref's file is, below the repository."""
    return FOLDERS[kind] + quote(name, safe="")
