"""Repositories made by hand by someone who means harm: objects with the right hashes and any
contents, chunks that are not what their IDs say."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec.structs import replace

import datasnap
from datasnap.repository import Repository
from datasnap.snapshots.objects import (
    Column,
    ColumnGroup,
    Entry,
    Object,
    Overlay,
    Part,
    Patch,
    Segment,
    Snapshot,
    Table,
    Tree,
    Values,
    encode_object,
)
from datasnap.storage import CHUNK, OBJECT

ROWS = 3000
#: Fields of the honest table, by their numbers in the manifest.
ID, PLACE, NOTE, SEATS = range(1, 5)

#: What becomes of an object on its way into the manifest.
Twist = Callable[[Any], Any]


def honest() -> pa.Table:
    """The table that is to be spoilt."""
    return pa.table(
        {
            "id": np.arange(ROWS),
            "place": [f"place {i % 7}" for i in range(ROWS)],
            "note": [None if i % 5 else f"note {i}" for i in range(ROWS)],
            "seats": [[i % 3] * (i % 4) for i in range(ROWS)],
        }
    )


@dataclass(frozen=True)
class Pieces:
    """The objects of a table of one part and one segment."""

    table: Table
    part: Part
    group: ColumnGroup
    overlay: Overlay | None
    values: Values | None


@dataclass
class Workshop:
    """A repository with an honest table, plain and edited, and a way to spoil it."""

    repository: Repository = field(
        default_factory=lambda: datasnap.init(f"memory://{secrets.token_hex(8)}")
    )

    def __post_init__(self) -> None:
        with self.repository.transaction("main") as tx:
            tx.write("t", honest(), key="id")
        self.plain = self._pieces()
        with self.repository.transaction("main") as tx:
            tx.update("t", {"place": "'new'"}, where="id % 500 = 0")
            tx.delete("t", "id in (7, 8)")
            tx.append("t", honest().slice(8, 1).set_column(1, "place", [["back"]]))
        self.edited = self._pieces()

    def _pieces(self) -> Pieces:
        get = self.repository.objects.get
        table = self.repository.snapshot("main").table("t").manifest
        part = get(table.parts[0].id, Part)
        (segment,) = part.segments
        overlay = get(segment.overlay, Overlay) if segment.overlay else None
        values = get(overlay.values, Values) if overlay and overlay.values else None
        return Pieces(table, part, get(segment.groups[0], ColumnGroup), overlay, values)

    def chunk(self, record: bytes) -> bytes:
        """Store any bytes as a chunk."""
        id = secrets.token_bytes(32)
        self._add([(id, CHUNK, record)])
        return id

    def record(self, number: int) -> bytes:
        """The honest record of a field's chunk."""
        return self.repository.store.read(self.plain.group.columns[number - 1].chunk)

    def snapshot(
        self, *, edited: bool = False, name: str = "t", **twists: Twist | Mapping[str, Any]
    ) -> str:
        """The ID of a snapshot whose objects are twisted: by functions, or by fields that change.

        Args:
            twists: of `values`, `overlay`, `column` (each), `group`, `segment`, `part`, `ref` (a
                `PartRef`), `table`, `tree`, `snapshot`.
        """

        def twist(kind: str, made: Any) -> Any:
            how = twists.get(kind, {})
            return how(made) if callable(how) else replace(made, **how)

        pieces = self.edited if edited else self.plain
        (segment,), overlay = pieces.part.segments, None
        if pieces.overlay is not None and pieces.values is not None:
            values = self.put(twist("values", pieces.values))
            overlay = self.put(twist("overlay", replace(pieces.overlay, values=values)))
        columns = tuple(twist("column", column) for column in pieces.group.columns)
        group = self.put(twist("group", replace(pieces.group, columns=columns)))
        segment = twist("segment", replace(segment, groups=(group,), overlay=overlay))
        part = twist("part", replace(pieces.part, segments=(segment,)))
        ref = replace(pieces.table.parts[0], id=self.put(part), rows=rows_of(part.segments))
        table = twist("table", replace(pieces.table, parts=(twist("ref", ref),)))
        tree = twist("tree", Tree({name: Entry("table", self.put(table))}))
        return self.commit(twist("snapshot", _snapshot(self.put(tree)))).hex()

    def commit(self, snapshot: Snapshot) -> bytes:
        """Store a snapshot; no ref leads to it."""
        return self.put(snapshot)

    def put(self, made: Object) -> bytes:
        """Store an object, whatever stands in it."""
        id, record = encode_object(made)
        self._add([(id, OBJECT, record)])
        return id

    def _add(self, records: Iterable[tuple[bytes, int, bytes]]) -> None:
        with self.repository.store.session() as session:
            for id, kind, record in records:
                session.add(id, kind, [record])
            session.commit()


def rows_of(segments: Iterable[Segment]) -> int:
    """Rows of segments."""
    return sum(segment.rows for segment in segments)


def _snapshot(tree: bytes) -> Snapshot:
    return Snapshot((), tree, "Eve", 1_700_000_000_000_000, "hostile", {}, bytes(8))  # type: ignore[arg-type]


def of_field(number: int, **changes: Any) -> Twist:
    """A twist of one column's leaf."""

    def twist(column: Column) -> Column:
        if column.field != number:
            return column
        first, *others = column.leaves
        return replace(column, leaves=(replace(first, **changes), *others))

    return twist


def patched(number: int, **changes: Any) -> Twist:
    """A twist of what an overlay does to one field."""

    def one(patch: Patch) -> Patch:
        return replace(patch, **changes) if patch.field == number else patch

    return lambda overlay: replace(overlay, patches=tuple(map(one, overlay.patches)))
