"""Where a pinned table is, as MLflow keeps it with a run.

MLflow finds this by an entry point (`mlflow.dataset_source`), in the middle of its own import: so
no more of it is imported here than the base class, and nothing is registered.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mlflow.data.dataset_source import DatasetSource

if TYPE_CHECKING:
    from datasnap.versions import TableVersion

#: What `TableVersion.url` gives.
_URL = re.compile(r"datasnap://([0-9a-f]{64})/(.+)\.parquet::(.+)", re.DOTALL)


class TableSource(DatasetSource):
    """Where a pinned table is.

    Attributes:
        repository: its place.
        snapshot, table_id: 64 hex digits each; table_id "": any table of that name is taken.
        table: the table's name.
    """

    def __init__(self, repository: str, snapshot: str, table: str, table_id: str = "") -> None:
        self.repository, self.snapshot = repository, snapshot
        self.table, self.table_id = table, table_id

    @property
    def uri(self) -> str:
        """A path for whoever reads Parquet by fsspec."""
        return f"datasnap://{self.snapshot}/{self.table}.parquet::{self.repository}"

    def load(self) -> TableVersion:
        """The table, verified to be the one that was logged.

        Raises:
            BrokenPin, UnknownName, PrunedSnapshot, RepositoryNotFound.
        """
        from datasnap.ml.pins.load import load

        return load(
            repo=self.repository,
            snapshot=self.snapshot,
            table=self.table,
            table_id=self.table_id or None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Itself as plain values."""
        return {
            "uri": self.uri,
            "repository": self.repository,
            "snapshot": self.snapshot,
            "table": self.table,
            "table_id": self.table_id,
        }

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> TableSource:
        """The reverse of `to_dict`."""
        names = ("repository", "snapshot", "table", "table_id")
        return cls(*(str(source_dict[name]) for name in names))

    @staticmethod
    def _get_source_type() -> str:
        return "datasnap"

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return _is_table(raw_source) or bool(
            isinstance(raw_source, str) and _URL.fullmatch(raw_source)
        )

    @classmethod
    def _resolve(cls, raw_source: Any) -> TableSource:
        if not isinstance(raw_source, str):
            return source_of(raw_source)
        found = _URL.fullmatch(raw_source)
        assert found is not None  # as _can_resolve saw
        snapshot, table, place = found.groups()
        return cls(place, snapshot, table)


def source_of(table: TableVersion) -> TableSource:
    """Where a table is, as MLflow keeps it."""
    from datasnap.snapshots.held import real_place

    place = real_place(table.repository.url)
    return TableSource(place, table.snapshot, table.name, table.id)


def _is_table(value: object) -> bool:
    from datasnap.versions import TableVersion

    return isinstance(value, TableVersion)
