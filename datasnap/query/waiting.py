"""The conflicts of a merge that waits as a file: what `conflicts(branch)` reads in SQL.

    .conflicts/main.parquet         those of the merge into `main` that are still to be settled
    .conflicts/.<digest>.parquet    the same, named by content (no branch begins with a dot)

They change as they are settled, so a path by branch becomes one by content before it is opened.
"""

from __future__ import annotations

import io
from threading import Lock
from typing import TYPE_CHECKING

from blake3 import blake3

if TYPE_CHECKING:
    import pyarrow as pa

    from datasnap.repository import Repository

FOLDER = ".conflicts"
_ENDING = ".parquet"
#: What is bound to a query may be read later.
_MAX_FILES = 64


class ConflictFiles:
    """Makes the files below `.conflicts`; safe to share between threads."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._made: dict[str, bytes] = {}
        #: What the last one was made of, and its path: DuckDB asks for it several times a query.
        self._last: tuple[object, str] = (None, "")
        self._lock = Lock()

    def by_content(self, path: str) -> str:
        """The path by content of what a path means now.

        Raises:
            UnknownName: of a branch.
        """
        return self._find(path)[0]

    def read(self, path: str) -> bytes:
        """The bytes of the file at a path.

        Raises:
            UnknownName: of a branch.
        """
        return self._find(path)[1]

    def _find(self, path: str) -> tuple[str, bytes]:
        with self._lock:
            if path not in self._made:
                path = self._now(path.removeprefix(FOLDER + "/").removesuffix(_ENDING))
            return path, self._made[path]

    def _now(self, branch: str) -> str:
        """Make the file of a branch as it is now."""
        waiting = self._repository.pending_merge(branch)
        state = (branch, self._repository.refs.branch(branch), waiting)
        if self._last[0] != state:
            made = _as_parquet(self._repository.conflicts(branch))
            path = f"{FOLDER}/.{blake3(made).hexdigest()}{_ENDING}"
            while len(self._made) >= _MAX_FILES:
                del self._made[next(iter(self._made))]
            self._made.pop(path, None)
            self._made[path] = made
            self._last = (state, path)
        return self._last[1]


def conflicts_path(branch: str) -> str:
    """The SQL expression of a path, of that of a branch."""
    return f"'{FOLDER}/' || {branch} || '{_ENDING}'"


def _as_parquet(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()
