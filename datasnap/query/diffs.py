"""Diffs as files: what `diff(table, from, to)` reads in SQL.

    .diff/rides:main...exp.parquet      the rows of `rides` that differ between two revisions

The name has one reading: no table's name holds a colon, and no revision three dots.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

from datasnap.errors import UnknownName
from datasnap.snapshots.objects import SnapshotId, Table, Tree

if TYPE_CHECKING:
    from datasnap.tables.scan import Scanner

FOLDER = ".diff"
_ENDING = ".parquet"
#: Bytes of made files that are kept: older ones go first, the newest never.
_KEPT = 256 << 20


class DiffFiles:
    """Makes the files below `.diff`, each at its first use; safe to share between threads.

    Memory: the files, which are compressed, up to `_KEPT` or the largest one; a batch of rows.

    Args:
        resolve: what snapshot a revision is.
        tree: the tables of a snapshot.
    """

    def __init__(
        self, resolve: Callable[[str], SnapshotId], tree: Callable[[SnapshotId], Tree]
    ) -> None:
        self._resolve, self._tree = resolve, tree
        self._made: dict[tuple[str, SnapshotId, SnapshotId], bytes] = {}
        self._lock = Lock()

    def read(self, path: str, scanner: Scanner) -> bytes:
        """The bytes of the file at a path.

        Raises:
            UnknownName: of a revision, or of a table that neither version has.
            FileNotFoundError: the path is no name of a diff.
        """
        # By snapshots, not by path: what a ref means may change while a file system lives.
        wanted = self.versions(path)
        with self._lock:
            made = self._made.pop(wanted, None)
            if made is None:
                made = self._make(scanner, *wanted)
            while self._made and len(made) + sum(map(len, self._made.values())) > _KEPT:
                del self._made[next(iter(self._made))]
            self._made[wanted] = made
        return made

    def versions(self, path: str) -> tuple[str, SnapshotId, SnapshotId]:
        """The table and the two snapshots that a path names.

        Raises:
            UnknownName, FileNotFoundError: as `read`.
        """
        name, colon, revisions = path.removeprefix(FOLDER + "/").partition(":")
        old, dots, new = revisions.removesuffix(_ENDING).partition("...")
        if not (colon and dots):
            raise FileNotFoundError(path)
        a, b = self._resolve(old), self._resolve(new)
        known = {*self._tree(a).entries, *self._tree(b).entries}
        if name not in known:
            raise UnknownName("table", name, known, where=f"at {old} or {new[:12]}")
        return name, a, b

    def _make(self, scanner: Scanner, name: str, a: SnapshotId, b: SnapshotId) -> bytes:
        from datasnap.diff.tables import TableDiff, fields_in_common

        objects = scanner.objects
        entries = (self._tree(id).entries.get(name) for id in (a, b))
        old, new = (objects.get(entry.id, Table) if entry else None for entry in entries)
        sink = io.BytesIO()
        found = TableDiff(name, old, new, scanner, fields_in_common(objects, a, b, name))
        # All columns: what a query can ask for must not depend on what happened to change.
        found.rows("all").write_parquet(sink)
        return sink.getvalue()


def diff_path(table: str, old: str, new: str) -> str:
    """The SQL expression of a path, of the SQL expressions of its parts."""
    return f"'{FOLDER}/' || {table} || ':' || {old} || '...' || {new} || '{_ENDING}'"
