"""What is stored of each column: its chunks, and its share of the values of edits.

The edits of a segment keep the new values of all columns together, in one record. Its bytes are
shared out by what the values of each take before they are compressed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from datasnap.lifecycle.inventory import Inventory
from datasnap.lifecycle.owners import OBJECT, Graph, flat
from datasnap.snapshots.objects import FieldId, ObjectId, Overlay, Table, TableId, Values, ValuesId
from datasnap.storage.catalog import Rows
from datasnap.tables.manifest import fields_by_name

_AT_ONCE = 512

#: A column of a table, by the table's name and its field there.
Column = tuple[str, FieldId]


@dataclass
class Pieces:
    """Chunks by their rows in the catalogue; behind these, pieces of records of values.

    Attributes:
        sizes: bytes of all of them.
    """

    inventory: Inventory
    sizes: list[npt.NDArray[np.int64]] = field(init=False)
    _starts: dict[ValuesId, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sizes = [self.inventory.graph.sizes]
        self._next = len(self.inventory.graph.sizes)

    @property
    def graph(self) -> Graph:
        """All of them; they refer to nothing."""
        return flat(np.concatenate(self.sizes))

    def by_column(self, tables: Mapping[str, Iterable[TableId]]) -> dict[Column, Rows]:
        """The chunks and pieces of each column of some versions of tables, each once."""
        found: dict[Column, list[Rows]] = {}
        for name, versions in tables.items():
            for fields, rows in self._of_table(self.inventory.rows(versions)):
                for id in np.unique(fields).tolist():
                    found.setdefault((name, FieldId(id)), []).append(rows[fields == id])
        return {column: np.unique(np.concatenate(rows)) for column, rows in found.items()}

    def _of_table(self, versions: Rows) -> Iterable[tuple[npt.NDArray[np.int64], Rows]]:
        graph = self.inventory.graph
        parts = np.unique(graph.below(versions))
        inner = np.unique(graph.below(parts))  # column groups and overlays
        edges = graph.references(inner)
        of_chunks = graph.fields[edges] != OBJECT
        chunks = edges[of_chunks]
        yield graph.fields[chunks], graph.targets[chunks]
        leading = inner[graph.starts[inner] < graph.starts[inner + 1]]
        # Groups refer to chunks. Overlays do not; those without values are of no interest.
        overlays = leading[graph.fields[graph.starts[leading]] == OBJECT]
        yield self._of_overlays([self.inventory.catalog.id(row) for row in overlays.tolist()])

    def _of_overlays(self, ids: list[bytes]) -> tuple[npt.NDArray[np.int64], Rows]:
        fields: list[int] = []
        rows: list[int] = []
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            for overlay in self.inventory.objects.get_many([ObjectId(id) for id in some], Overlay):
                if overlay.values is not None:
                    first = self._piece(overlay.values)
                    fields += [patch.field for patch in overlay.patches]
                    rows += range(first, first + len(overlay.patches))
        return np.array(fields, np.int64), np.array(rows, np.int64)

    def _piece(self, id: ValuesId) -> int:
        """The first piece of a record of values; the others follow."""
        if id not in self._starts:
            lengths = [len(column) for column in self.inventory.objects.peek(id, Values).columns]
            (row,) = self.inventory.rows([id])
            ends = np.cumsum([0, *lengths]) * int(self.inventory.graph.sizes[row])
            self.sizes.append(np.diff(ends // max(1, sum(lengths))))
            self._starts[id], self._next = self._next, self._next + len(lengths)
        return self._starts[id]


def column_names(inventory: Inventory) -> dict[Column, tuple[str, ...]]:
    """All names that each column has had, the newest first."""
    found: dict[Column, dict[str, None]] = {}
    seen: set[tuple[str, TableId]] = set()
    read: dict[tuple[bytes, object], Mapping[str, FieldId]] = {}
    for kept in inventory.kept.values():
        for name, id in kept.tables.items():
            if (name, id) in seen:
                continue
            seen.add((name, id))
            table = inventory.objects.get(id, Table)
            alike = table.schema, tuple(one.id for one in table.fields)
            if alike not in read:
                read[alike] = fields_by_name(table)
            for column, number in read[alike].items():
                found.setdefault((name, number), {})[column] = None
    return {column: tuple(names) for column, names in found.items()}
