"""Branches and tags: the only names in a repository that change, and HEAD.

Layout, below the repository:

    refs/heads/NAME     a branch       refs/tags/NAME     a tag       HEAD     the current branch

A ref is a small JSON file `{"snapshot": "<64 hex>", "nonce": "<16 hex>"}`; a slash in its name
is written %2F, so that `a` and `a/b` can stand beside each other on a disk. Each changes only by
compare-and-swap (see `storage.Backend.write_ref`); the nonce makes every write differ, so a
writer whose answer was lost can tell its own value from another's.
"""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple
from urllib.parse import quote, unquote

import msgspec

from datasnap.errors import Conflict, CorruptData, InvalidName, RefExists, UnknownName
from datasnap.snapshots.objects import ObjectId, SnapshotId
from datasnap.storage import Backend

BRANCHES, TAGS = "refs/heads/", "refs/tags/"
HEAD = "HEAD"
MAX_NAME = 200

_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\]\\@{}\"'`$;|<>%!#&()]|\.\.|//|/\.|\.lock(/|$)")
_LOOKS_LIKE_ID = re.compile(r"[0-9a-f]{8,64}")


class Ref(NamedTuple):
    """A branch or tag as it was read: its snapshot, and the version to swap against."""

    name: str
    snapshot: SnapshotId
    version: str


class _Stored(msgspec.Struct):
    snapshot: str
    nonce: str


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
    elif len(name.encode()) > MAX_NAME:
        why = f"it is longer than {MAX_NAME} bytes"
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
    """The refs of one repository."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def branches(self) -> dict[str, SnapshotId]:
        """All branches, by name, sorted."""
        return self._all(BRANCHES)

    def tags(self) -> dict[str, SnapshotId]:
        """All tags, by name, sorted."""
        return self._all(TAGS)

    def branch(self, name: str) -> Ref | None:
        """A branch, or None."""
        return self._read(BRANCHES, name)

    def tag(self, name: str) -> Ref | None:
        """A tag, or None."""
        return self._read(TAGS, name)

    def create_branch(self, name: str, snapshot: SnapshotId) -> None:
        """Make a branch.

        Raises:
            RefExists, InvalidName.
        """
        self._create(BRANCHES, check_name(name), snapshot, "branch")

    def create_tag(self, name: str, snapshot: SnapshotId) -> None:
        """Make a tag.

        Raises:
            RefExists, InvalidName.
        """
        self._create(TAGS, check_name(name, "tag"), snapshot, "tag")

    def move_branch(self, name: str, to: SnapshotId, *, expected: Ref | None) -> None:
        """Swap a branch from what it was (None: it did not exist) to another snapshot.

        Raises:
            Conflict: another writer moved it first.
        """
        version = expected.version if expected else None
        self._backend.write_ref(_path(BRANCHES, name), _encode(to), version)

    def delete_branch(self, name: str) -> Ref:
        """Remove a branch; its snapshots stay.

        Raises:
            UnknownName.
        """
        return self._delete(BRANCHES, name, "branch")

    def delete_tag(self, name: str) -> Ref:
        """Remove a tag; its snapshot stays.

        Raises:
            UnknownName.
        """
        return self._delete(TAGS, name, "tag")

    def head(self) -> str:
        """The current branch: where the command line commits unless told otherwise."""
        found = self._backend.read_ref(HEAD)
        if found is None:
            return "main"
        name = found[0].decode(errors="replace").strip()
        return name.removeprefix("ref: ")

    def set_head(self, name: str) -> None:
        """Make `name` the current branch; it need not exist yet."""
        found = self._backend.read_ref(HEAD)
        data = f"ref: {check_name(name)}\n".encode()
        if found is None or found[0] != data:
            self._backend.write_ref(HEAD, data, found[1] if found else None)

    def _all(self, folder: str) -> dict[str, SnapshotId]:
        names = sorted(unquote(name) for name, _ in self._backend.list(folder))
        read = ((name, self._read(folder, name)) for name in names)
        return {name: ref.snapshot for name, ref in read if ref}

    def _read(self, folder: str, name: str) -> Ref | None:
        # A name that no ref may have is not asked for: it could point outside the folder.
        try:
            check_name(name)
        except InvalidName:
            return None
        found = self._backend.read_ref(_path(folder, name))
        if found is None:
            return None
        data, version = found
        try:
            stored = msgspec.json.decode(data, type=_Stored)
            snapshot = bytes.fromhex(stored.snapshot)
        except (msgspec.MsgspecError, ValueError) as error:
            raise CorruptData(f"the ref '{name}' is unreadable: {error}") from error
        if len(snapshot) != 32:
            raise CorruptData(f"the ref '{name}' is unreadable: it holds no snapshot ID")
        return Ref(name, SnapshotId(ObjectId(snapshot)), version)

    def _create(self, folder: str, name: str, snapshot: SnapshotId, kind: str) -> None:
        try:
            self._backend.write_ref(_path(folder, name), _encode(snapshot), None)
        except Conflict:
            raise RefExists(
                f"a {kind} named '{name}' exists already",
                hint=f"Delete it first with `datasnap {kind} --delete {name}`, or pick another.",
            ) from None

    def _delete(self, folder: str, name: str, kind: str) -> Ref:
        ref = self._read(folder, name)
        if ref is None:
            raise UnknownName(kind, name, self._all(folder))
        self._backend.delete_ref(_path(folder, name), ref.version)
        return ref


def _path(folder: str, name: str) -> str:
    return folder + quote(name, safe="")


def _encode(snapshot: SnapshotId) -> bytes:
    return msgspec.json.encode(_Stored(snapshot.hex(), secrets.token_hex(8)))
