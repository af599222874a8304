"""datasnap: a data versioning layer for machine learning.

    import datasnap

    repo = datasnap.init("rides")
    with repo.transaction("main", message="rides of January") as tx:
        tx.write("rides", "rides-2026-01.parquet", key="ride_id")
    repo.snapshot("main").sql("SELECT count(*) FROM rides")

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasnap.diff.tables import Diff, TableDiff
    from datasnap.errors import DatasnapError, MergeConflict
    from datasnap.merges import Merge
    from datasnap.ml.pins.load import load
    from datasnap.ml.runs.records import RunRecord
    from datasnap.ml.runs.run import Run, run
    from datasnap.places import init_repository as init
    from datasnap.places import open_repository as open  # noqa: A004
    from datasnap.repository import Repository
    from datasnap.transaction import TableChange, Transaction
    from datasnap.versions import Snapshot, TableVersion

__version__ = "0.1.0"

_PUBLIC = {
    "DatasnapError": ("datasnap.errors", "DatasnapError"),
    "Diff": ("datasnap.diff.tables", "Diff"),
    "Merge": ("datasnap.merges", "Merge"),
    "MergeConflict": ("datasnap.errors", "MergeConflict"),
    "Repository": ("datasnap.repository", "Repository"),
    "Run": ("datasnap.ml.runs.run", "Run"),
    "RunRecord": ("datasnap.ml.runs.records", "RunRecord"),
    "Snapshot": ("datasnap.versions", "Snapshot"),
    "TableChange": ("datasnap.transaction", "TableChange"),
    "TableDiff": ("datasnap.diff.tables", "TableDiff"),
    "TableVersion": ("datasnap.versions", "TableVersion"),
    "Transaction": ("datasnap.transaction", "Transaction"),
    "init": ("datasnap.places", "init_repository"),
    "load": ("datasnap.ml.pins.load", "load"),
    "open": ("datasnap.places", "open_repository"),
    "run": ("datasnap.ml.runs.run", "run"),
}
#: Modules that need no import of their own, but their extra.
_MODULES = {"mlflow"}

__all__ = [
    "DatasnapError",
    "Diff",
    "Merge",
    "MergeConflict",
    "Repository",
    "Run",
    "RunRecord",
    "Snapshot",
    "TableChange",
    "TableDiff",
    "TableVersion",
    "Transaction",
    "init",
    "load",
    "open",
    "run",
]


def __getattr__(name: str) -> Any:
    """Public names, imported when they are first asked for (PEP 562)."""
    if name in _MODULES:
        return importlib.import_module(f"datasnap.{name}")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'datasnap' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
