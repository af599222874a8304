"""Branches, tags and pins: the only names in a repository that change, and HEAD.

Layout, below the repository:

    refs/heads/NAME     a branch       refs/tags/NAME     a tag       HEAD     the current branch
    refs/pins/NAME      a pin: what holds a snapshot for a config or a run

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
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol
from urllib.parse import quote, unquote

import msgspec

from datasnap.errors import Conflict, CorruptData, InvalidName, RefExists, UnknownName
from datasnap.snapshots.objects import ObjectId, SnapshotId
from datasnap.snapshots.reflog import LogEntry, RefFile, Why, entries, with_entry
from datasnap.storage import Backend

Kind = Literal["branch", "tag", "pin"]
FOLDERS: dict[Kind, str] = {"branch": "refs/heads/", "tag": "refs/tags/", "pin": "refs/pins/"}
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
    """A change of a ref; before or after None: it does not exist then."""

    kind: Kind
    name: str
    before: SnapshotId | None
    after: SnapshotId | None
    why: Why


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

    Attributes:
        watcher: told of every change.
    """

    def __init__(self, backend: Backend, who: Callable[[], str] = lambda: "") -> None:
        self._backend, self._who = backend, who
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
        found = self._file(kind, name)
        if found is None or found[0].snapshot is None:
            return None
        file, version, modified = found
        return Ref(name, _snapshot(name, file), version, file, modified)

    def create(self, kind: Kind, name: str, snapshot: SnapshotId, why: Why) -> None:
        """Make a ref.

        Raises:
            RefExists, InvalidName.
        """
        check_name(name, kind)
        try:
            self._swap(kind, name, None, snapshot, why)
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
        self._swap(kind, name, expected, to, why)

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
        self._swap(kind, name, ref, None, why)
        return ref

    def log(self, kind: Kind, name: str) -> Iterator[LogEntry]:
        """The changes of a ref, also of one that was deleted, newest first.

        Raises:
            CorruptData.
        """
        found = self._file(kind, name)
        if found is not None:
            yield from entries(self._backend, found[0], found[2])

    def logged(self) -> Iterator[tuple[Kind, str]]:
        """All refs that have a log, whether they exist or were deleted."""
        for kind in FOLDERS:
            for name in self._names(kind):
                yield kind, name

    def forget(self, kind: Kind, name: str) -> None:
        """Remove what is left of a ref that was deleted: its log."""
        found = self._file(kind, name)
        if found is not None and found[0].snapshot is None:
            self._backend.delete_ref(_path(kind, name), found[1])

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

    def _file(self, kind: Kind, name: str) -> tuple[RefFile, str, int] | None:
        """A ref's file as it is, its version and its time; None: there is none."""
        # A name that no ref may have is not asked for: it could point outside the folder.
        try:
            check_name(name)
        except InvalidName:
            return None
        found = self._backend.read_ref(_path(kind, name))
        if found is None:
            return None
        try:
            return msgspec.json.decode(found.data, type=RefFile), found.version, found.modified
        except msgspec.MsgspecError as error:
            raise CorruptData(f"the ref '{name}' is unreadable: {error}") from error

    def _swap(
        self, kind: Kind, name: str, expected: Ref | None, to: SnapshotId | None, why: Why
    ) -> None:
        if expected is not None:
            found: tuple[RefFile, str, int] | None = expected[3], expected[2], expected[4]
        else:
            found = self._file(kind, name)
            if found is not None and found[0].snapshot is not None:
                raise Conflict(f"the {kind} '{name}' was made by another writer")
        file, version, modified = found or (None, None, 0)
        change = RefChange(kind, name, expected.snapshot if expected else None, to, why)
        if self.watcher is not None:
            self.watcher.before(change)
        entry = self._entry(change, file)
        after = with_entry(self._backend, file, modified, entry)
        self._backend.write_ref(_path(kind, name), msgspec.json.encode(after), version)
        if self.watcher is not None:
            self.watcher.after(change)

    def _entry(self, change: RefChange, file: RefFile | None) -> LogEntry:
        why, newest = change.why, file.log[0].time if file and file.log else 0
        return LogEntry(
            before=change.before.hex() if change.before else None,
            after=change.after.hex() if change.after else None,
            verb=why.verb,
            message=why.message.strip().partition("\n")[0],
            who=why.who if why.who is not None else self._who(),
            time=max(time.time_ns() // 1000, newest + 1),
            operation=why.operation or secrets.token_hex(8),
            undoes=why.undoes,
        )


def _path(kind: Kind, name: str) -> str:
    return FOLDERS[kind] + quote(name, safe="")


def _snapshot(name: str, file: RefFile) -> SnapshotId:
    try:
        snapshot = bytes.fromhex(file.snapshot or "")
    except ValueError as error:
        raise CorruptData(f"the ref '{name}' is unreadable: {error}") from error
    if len(snapshot) != 32:
        raise CorruptData(f"the ref '{name}' is unreadable: it holds no snapshot ID")
    return SnapshotId(ObjectId(snapshot))
