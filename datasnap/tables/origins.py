"""Which files rows came from, as the snapshot that brought them says in its metadata.

source.rides = "/data/rides-2026-01.parquet"      one name a line, files whole, URLs as given
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_SOURCE = "source."
#: Names that are kept of a longer list.
_MAX_NAMES = 100


def source_metadata(table: str, data: object) -> dict[str, str]:
    """What to keep of data that a table is given; nothing, if they are no files."""
    if isinstance(data, str | os.PathLike):
        data = [data]
    if not isinstance(data, list) or not all(isinstance(p, str | os.PathLike) for p in data):
        return {}
    names = [_whole(os.fspath(path)) for path in data[:_MAX_NAMES]]
    if len(data) > _MAX_NAMES:
        names.append(f"… and {len(data) - _MAX_NAMES:,} more")
    return {_SOURCE + table: "\n".join(names)} if names else {}


def sources(metadata: Mapping[str, str], table: str) -> list[str]:
    """The files that a snapshot's rows of a table came from; none, if it does not say."""
    return metadata.get(_SOURCE + table, "").splitlines()


def _whole(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())
