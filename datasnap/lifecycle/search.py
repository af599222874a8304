"""Searching the past of a table for rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from datasnap.lifecycle.condition import Condition, Meanings, meanings
from datasnap.lifecycle.matching import Matches, find_rows
from datasnap.lifecycle.past import Past
from datasnap.snapshots.objects import Table, TableId
from datasnap.tables.manifest import fields_by_name, read_parts

if TYPE_CHECKING:
    from datasnap.repository import Repository
    from datasnap.snapshots.reader import ObjectReader


@dataclass(frozen=True)
class Search:
    """What was found.

    Attributes:
        meant: what the condition means in each version that could be searched.
        matches: the rows, by segment.
        rows: of the versions that have some, how many are seen; 0: all are hidden.
        failed: versions that could not be searched, and why.
    """

    meant: Mapping[TableId, Meanings]
    matches: Matches
    rows: Mapping[TableId, int]
    failed: Mapping[TableId, str]


@dataclass(frozen=True)
class Unreadable:
    """Snapshots, one after the other, in which a condition cannot be evaluated.

    Attributes:
        first, last: the oldest and the newest, as 64 hex digits.
        why: in words.
    """

    first: str
    last: str
    snapshots: int
    why: str


def search(repository: Repository, condition: Condition, past: Past) -> Search:
    """Find the rows for which a condition is true.

    Raises:
        BadQuery: it can be evaluated in no version.
    """
    objects = repository.objects
    meant = meanings(condition, past.versions, objects)
    matches, failed = find_rows(repository, condition, past.versions, meant)
    searched = {
        id: meaning
        for id, meaning in meant.items()
        if isinstance(meaning, Meanings) and id not in failed
    }
    rows = {}
    for id, meaning in searched.items():
        parts = read_parts(objects, past.versions[id])
        found = (matches.get((meaning, s)) for part in parts for s in part.segments)
        hit = [one for one in found if one is not None]
        if hit:
            rows[id] = sum(len(one.seen) for one in hit)
    return Search(searched, matches, rows, failed)


def unreadable(past: Past, failed: Mapping[TableId, str]) -> Iterator[Unreadable]:
    """The snapshots that could not be searched, in runs of the same reason."""
    having = sorted(past.of.items(), key=lambda item: past.snapshots[item[0]].time)
    for why, run in groupby(having, key=lambda item: failed.get(item[1])):
        if why is not None:
            ids = [id for id, _ in run]
            yield Unreadable(ids[0].hex(), ids[-1].hex(), len(ids), why)


def elsewhere(objects: ObjectReader, condition: Condition, past: Past) -> Iterator[str]:
    """Other tables that have all the columns which a condition names."""
    known = {name.lower() for table in past.versions.values() for name in fields_by_name(table)}
    wanted = condition.names & known
    for name, versions in sorted(past.others.items()):
        tables = objects.get_many(list(versions), Table)
        columns = ({column.lower() for column in fields_by_name(table)} for table in tables)
        if wanted and any(wanted <= names for names in columns):
            yield name
