"""`datasnap://` for everyone who speaks fsspec: refs are folders, tables are Parquet files.

    datasnap://main/rides.parquet                       in the repository found from here upward
    datasnap://v1.0/raw/rides.parquet::file:///data/repo          in a repository named by chaining
    datasnap://main~2/rides.parquet::s3://bucket/repo     (fsspec asks for s3fs, or for
                                        `obstore.fsspec.register("s3")`, to take this apart)

Reading is all there is: data come in by transactions. A name is resolved when it is opened, to
files named by content (`.table/<table ID>/<part>.parquet`), which never change; so no cache, of
DuckDB's or anyone's, can serve a stale version. Source of the interface:
https://filesystem-spec.readthedocs.io/en/latest/developer.html
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from fsspec import AbstractFileSystem

from datasnap.errors import BadKey, DatasnapError, UnknownName
from datasnap.ml.runs.reads import is_active, note_read
from datasnap.parquet import VirtualFile, VirtualReader
from datasnap.query.diffs import FOLDER as _DIFF
from datasnap.query.diffs import DiffFiles
from datasnap.query.leaving import lend
from datasnap.query.past import FOLDER as _HISTORY
from datasnap.query.past import HistoryFiles
from datasnap.query.runs import FOLDER as _RUNS
from datasnap.query.runs import RunFiles
from datasnap.query.waiting import FOLDER as _CONFLICTS
from datasnap.query.waiting import ConflictFiles
from datasnap.snapshots.objects import ObjectId, SnapshotId, Table, TableId
from datasnap.tables.manifest import read_parts

if TYPE_CHECKING:
    import pyarrow as pa

    from datasnap.repository import Repository
    from datasnap.tables.scan import Scanner

PROTOCOL = "datasnap"
_ENDING = ".parquet"
_CONTENT = ".table"
_LOG = ".log"
_EPOCH = datetime.fromtimestamp(0, UTC)
_MAX_FILES = 256


class _Found(NamedTuple):
    """The table that a path names, and at which snapshot."""

    name: str
    id: TableId
    snapshot: SnapshotId


class DatasnapFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """A read-only file system over one repository.

    Args:
        fo: where the repository is, without protocol, as fsspec's URL chaining passes it; None:
            the one found from the working directory upward, or $DATASNAP_REPO.
        target_protocol: the protocol of `fo`.
        repository: an open repository or the place of one, instead of `fo`; as storage options:
            `pandas.read_parquet(path, storage_options={"repository": "s3://bucket/repo"})`.
        resolve: how refs become snapshots; None: as they are when a file is opened. A DuckDB
            connection passes a frozen view here.
        scanner: what reads tables; None: the repository's. A transaction passes its own.

    Attributes:
        notes_reads: whether what is read by the name of a version counts as read by a run.
    """

    protocol = PROTOCOL
    async_impl = False

    def __init__(
        self,
        fo: str | None = None,
        target_protocol: str | None = None,
        target_options: dict[str, Any] | None = None,
        repository: Repository | str | None = None,
        resolve: Callable[[str], SnapshotId] | None = None,
        scanner: Scanner | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if repository is None or isinstance(repository, str):
            from datasnap.places import open_repository

            repository = open_repository(repository or _location(fo, target_protocol))
        self._repository = repository
        self._resolve = resolve or repository.resolve
        self._scanner = scanner or repository.scanner
        self.notes_reads = True
        self._files: dict[str, tuple[VirtualFile, str]] = {}
        self._diffs = DiffFiles(self._resolve, repository.tree)
        self._histories = HistoryFiles(self._resolve)
        self._conflicts = ConflictFiles(repository)
        self._runs = RunFiles(repository)

    def read_through(self, scanner: Scanner) -> None:
        """Read tables through another scanner from here on."""
        self._scanner = scanner
        self._files.clear()

    @classmethod
    def _strip_protocol(cls, path: str | list[str]) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(p) for p in path]
        return str(path).removeprefix(f"{PROTOCOL}://").strip("/")

    def glob(self, path: str, maxdepth: int | None = None, **options: Any) -> Any:
        """The files that a path stands for; the path of a table becomes those of its parts.

        DuckDB asks this of every path, patterned or not, before it opens anything. Who asks for
        `detail`, as Hugging Face `datasets` does, gets names as they were asked for.
        """
        path = self._strip_protocol(path)
        if options.pop("detail", False):
            return super().glob(path, maxdepth=maxdepth, detail=True, **options)
        if path.startswith((_CONTENT, _LOG, _DIFF, _HISTORY)):
            return [path]
        if path.startswith(_CONFLICTS):
            with _as_missing_file():
                return [self._conflicts.by_content(path)]
        if path.startswith(_RUNS):
            return [self._runs.by_content(path)]
        try:
            found = self._find(path)
        except FileNotFoundError:
            if "*" not in path:
                raise
            return list(super().glob(path, maxdepth=maxdepth, **options))
        self._note(found)
        count = len(self._scanner.objects.get(found.id, Table).parts)
        return [_content_path(found, i) for i in range(count)] or [_content_path(found, None)]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Size and type of a file or folder."""
        path = self._strip_protocol(path)
        if self._is_folder(path):
            return {"name": path, "size": 0, "type": "directory"}
        found = {"name": path, "type": "file", "mtime": 0, "created": 0}
        made = self._made_file(path)
        if made is not None:
            return {**found, "size": len(made)}
        content = self._by_content(path)
        # By its ETag `datasets` knows whether what it keeps of the path is still the same.
        return {**found, "size": self._file(content)[0].size, "ETag": content}

    def modified(self, path: str) -> datetime:
        """Always the same: what a path resolves to never changes."""
        return _EPOCH

    def exists(self, path: str, **options: Any) -> bool:
        """Whether there is a file or folder of that name."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        """What is in a folder: the refs at the top, tables (and folders of them) below."""
        path = self._strip_protocol(path)
        names = self._children(path)
        if names is None:
            names = [path] if self.exists(path) else []
            if not names:
                raise FileNotFoundError(path)
        return [self.info(name) for name in names] if detail else names

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> io.RawIOBase | io.BytesIO:
        if mode != "rb":
            raise PermissionError("datasnap:// is read only; write with a transaction")
        path = self._strip_protocol(path)
        made = self._made_file(path)
        if made is not None:
            if is_active() and path.startswith(_DIFF):
                self._note_diff(path)
            return io.BytesIO(made)
        if is_active() and not path.startswith(_CONTENT):
            self._note(self._find(path))
        file, name = self._file(path)
        return lend(VirtualReader(file, self._scanner.fetcher(name)))

    def _file(self, path: str) -> tuple[VirtualFile, str]:
        """The layout of the file at a path, and the table's name for messages."""
        path = self._by_content(path)
        if path not in self._files:
            while len(self._files) >= _MAX_FILES:
                self._files.pop(next(iter(self._files)), None)
            self._files[path] = self._build(path)
        return self._files[path]

    def _by_content(self, path: str) -> str:
        """The path of a table's file that means the same for ever."""
        return path if path.startswith(_CONTENT) else _content_path(self._find(path), None)

    def _build(self, path: str) -> tuple[VirtualFile, str]:
        try:
            _, digest, *names, which = path.split("/")
            id = TableId(ObjectId(bytes.fromhex(digest)))
            number = which.removesuffix(_ENDING)
            index = None if number == "all" else int(number)
        except ValueError as error:
            raise FileNotFoundError(path) from error
        objects = self._scanner.objects
        table = objects.get(id, Table)
        if index is None:
            parts = read_parts(objects, table)
        elif index < len(table.parts):
            parts = [read_parts(objects, table)[index]]
        else:
            raise FileNotFoundError(path)
        return self._scanner.virtual_file(table, parts), "/".join(names)

    def _note(self, found: _Found, through: str = "file") -> None:
        """Tell the run that is active, if one is."""
        if self.notes_reads and is_active():
            digits = found.snapshot.hex(), found.name, found.id.hex()
            # Which of the rows whoever reads the file makes use of, nobody knows.
            note_read(self._repository, *digits, details={"through": through})

    def _note_diff(self, path: str) -> None:
        """The same of both versions: rows of either are handed out."""
        name, *snapshots = self._diffs.versions(path)
        for snapshot in snapshots:
            entry = self._repository.tree(snapshot).entries.get(name)
            if entry is not None:
                self._note(_Found(name, entry.id, snapshot), "diff")

    def _find(self, path: str) -> _Found:
        """The table that `<ref>/<table>.parquet` names. Both may hold slashes."""
        pieces = path.removesuffix(_ENDING).split("/")
        for cut in range(1, len(pieces)):
            ref, name = "/".join(pieces[:cut]), "/".join(pieces[cut:])
            try:
                snapshot = self._resolve(ref)
                entries = self._repository.tree(snapshot).entries
            except UnknownName:
                continue
            if name in entries:
                return _Found(name, entries[name].id, snapshot)
        raise FileNotFoundError(self._explain(path))

    def _explain(self, path: str) -> str:
        """What is wrong with a path that names no table."""
        ref, _, name = path.removesuffix(_ENDING).partition("/")
        try:
            entries = self._repository.tree(self._resolve(ref)).entries
            error: DatasnapError = UnknownName("table", name, entries, where=f"at {ref}")
        except UnknownName as unknown:
            error = unknown
        return f"{error.message}. {error.hint}".strip()

    def _is_folder(self, path: str) -> bool:
        return not path.endswith(_ENDING) and self._children(path) is not None

    def _children(self, path: str) -> list[str] | None:
        """What stands directly below a folder; None when the path is no folder."""
        if not path:
            refs = self._repository.refs
            return sorted({*refs.branches(), *refs.tags()})
        pieces = path.split("/")
        for cut in range(1, len(pieces) + 1):
            ref, prefix = "/".join(pieces[:cut]), "/".join(pieces[cut:])
            try:
                names = self._repository.tree(self._resolve(ref)).entries
            except UnknownName:
                continue
            below = [name for name in names if not prefix or name.startswith(prefix + "/")]
            if below or not prefix:
                rest = (name[len(prefix) + 1 if prefix else 0 :] for name in below)
                return sorted({f"{path}/{_first(name)}" for name in rest})
        return None

    def _made_file(self, path: str) -> bytes | None:
        """The bytes of a file that is no table; None: the path is not of one."""
        with _as_missing_file():
            if path.startswith(_DIFF):
                return self._diffs.read(path, self._scanner)
            if path.startswith(_HISTORY):
                return self._histories.read(path, self._scanner)
            if path.startswith(_CONFLICTS):
                return self._conflicts.read(path)
            if path.startswith(_RUNS):
                return self._runs.read(path)
            if path.startswith(_LOG):
                ref = path.removeprefix(_LOG + "/").removesuffix(_ENDING)
                return _parquet_bytes(self._repository.log_table(self._resolve(ref)))
        return None


@contextmanager
def _as_missing_file() -> Iterator[None]:
    """What is not there, in the file system's own kind of error."""
    try:
        yield
    except (UnknownName, BadKey) as error:
        raise FileNotFoundError(f"{error.message}. {error.hint}".strip()) from error


def _first(name: str) -> str:
    head, slash, _ = name.partition("/")
    return head if slash else head + _ENDING


def content_url(id: TableId, name: str) -> str:
    """The whole of a table, by its content: a URL that means the same for ever."""
    return f"{PROTOCOL}://{_path(id, name, None)}"


def _content_path(found: _Found, part: int | None) -> str:
    return _path(found.id, found.name, part)


def _path(id: TableId, name: str, part: int | None) -> str:
    return f"{_CONTENT}/{id.hex()}/{name}/{'all' if part is None else f'{part:05d}'}{_ENDING}"


def _location(fo: str | None, target_protocol: str | None) -> str | None:
    if fo is None:
        return os.environ.get("DATASNAP_REPO")
    if target_protocol in (None, "file", "local") or "://" in fo:
        return fo
    return f"{target_protocol}://{fo.lstrip('/')}"


def _parquet_bytes(table: pa.Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())
