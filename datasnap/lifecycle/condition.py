"""What a condition on the rows of a table means in each of the table's versions.

A column is meant by its name. A version in which the column has another name, or in which it was
dropped while its values are still stored, is told by what it shares: a column group that lists the
same field in a version that has the name. Only what is stored once can be taken for the same, so
a field ID that two histories gave out each on its own never is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from datasnap.errors import BadQuery
from datasnap.query.parsed import nodes, parsed_condition, volatile_functions
from datasnap.snapshots.objects import ColumnGroup, FieldId, GroupId, Table, TableId
from datasnap.tables.manifest import arrow_schema, fields_by_name, read_parts

if TYPE_CHECKING:
    from datasnap.snapshots.reader import ObjectReader


class Meant(NamedTuple):
    """A column that a condition is about: its name there, and the field that this is."""

    name: str
    field: FieldId
    type: pa.DataType


#: All of them, as one version has them.
Meaning = tuple[Meant, ...]


@dataclass(frozen=True)
class Condition:
    """A condition on rows of one table.

    Attributes:
        names: of the columns that it may be about, in lower case.
    """

    table: str
    where: str
    names: frozenset[str]


def read_condition(table: str, where: str) -> Condition:
    """A condition, checked to be about one row of a table at a time.

    Raises:
        BadQuery, UsageError.
    """
    from datasnap.query.expressions import check_expression

    check_expression(where)
    names, volatile = set(), volatile_functions()
    for node in nodes(parsed_condition(where)):
        if node.get("class") in ("STAR", "POSITIONAL_REFERENCE"):
            raise BadQuery("the condition names no columns", hint="Name each that it is about.")
        if str(node.get("table_name", "")).lower() == table.lower():
            raise BadQuery(
                f"the condition asks '{table}' itself",
                hint="It is asked of every row that was ever there: name the values instead.",
            )
        if node.get("class") == "FUNCTION" and node.get("function_name") in volatile:
            raise BadQuery(
                f"the condition says another thing each time: {node['function_name']}()",
                hint="What is erased must be the same rows in every version.",
            )
        if node.get("class") == "COLUMN_REF":
            first, *rest = (str(part).lower() for part in node["column_names"])
            names.add(rest[0] if rest and first == table.lower() else first)
    return Condition(table, where, frozenset(names))


class Meanings(NamedTuple):
    """What a condition means in one version.

    Attributes:
        rows: of which rows it is true.
        hidden: the same of columns by those names that were dropped, and are still stored.
    """

    rows: Meaning
    hidden: tuple[Meaning, ...]


def meanings(
    condition: Condition, versions: Mapping[TableId, Table], objects: ObjectReader
) -> dict[TableId, Meanings | str]:
    """What a condition means in each version; or why it means nothing there."""
    named = {id: _columns(table) for id, table in versions.items()}
    known = {name for columns in named.values() for name in columns}
    groups = _Groups(versions, objects)
    fields = [_fields_meant(name, named, groups) for name in sorted(condition.names & known)]
    found: dict[TableId, Meanings | str] = {}
    for id, columns in named.items():
        if missing := [name for name, meant in fields if not meant[id]]:
            found[id] = f"there is no column '{missing[0]}'"
            continue
        # A file has columns, even where a condition needs none.
        rows = tuple(meant[id][0] for _, meant in fields) or tuple(columns.values())[:1]
        others = [(n, other) for n, (_, meant) in enumerate(fields) for other in meant[id][1:]]
        hidden = tuple((*rows[:n], other, *rows[n + 1 :]) for n, other in others)
        found[id] = Meanings(rows, hidden)
    return found


def _fields_meant(
    name: str, named: Mapping[TableId, Mapping[str, Meant]], groups: _Groups
) -> tuple[str, dict[TableId, list[Meant]]]:
    """For each version the fields that a name means: its own column's first."""
    found = {id: [columns[name]] if name in columns else [] for id, columns in named.items()}
    if all(found.values()) and len({meant.field for (meant,) in found.values()}) == 1:
        return name, found
    holding: dict[GroupId, set[Meant]] = {}
    fresh = [id for id, meant in found.items() if meant]
    while fresh:
        for id in fresh:
            for group, fields in groups.of(id).items():
                of_group = (meant for meant in found[id] if meant.field in fields)
                holding.setdefault(group, set()).update(of_group)
        fresh = []
        for id, meant in found.items():
            shared = {one for group in groups.of(id) for one in holding.get(group, ())}
            own = {column.field: column for column in named[id].values()}
            more = {one.field: one for one in shared}.keys() - {one.field for one in meant}
            if meant:
                more -= own.keys()  # seen there, by another name
            by_field = {one.field: one for one in shared}
            for field in sorted(more, key=lambda f: (f in own, f), reverse=True):
                type = own[field].type if field in own else by_field[field].type
                meant.append(Meant(name, field, type))
            if more:
                fresh.append(id)
    return name, found


class _Groups:
    """The column groups of versions, and the fields that each lists; read once."""

    def __init__(self, versions: Mapping[TableId, Table], objects: ObjectReader) -> None:
        self._versions, self._objects = versions, objects
        self._known: dict[TableId, dict[GroupId, frozenset[FieldId]]] = {}

    def of(self, id: TableId) -> dict[GroupId, frozenset[FieldId]]:
        """Those of one version."""
        if id not in self._known:
            parts = read_parts(self._objects, self._versions[id])
            ids = list({g for part in parts for s in part.segments for g in s.groups})
            read = self._objects.get_many(ids, ColumnGroup)
            self._known[id] = {
                group: frozenset(column.field for column in held.columns)
                for group, held in zip(ids, read, strict=True)
            }
        return self._known[id]


def _columns(table: Table) -> dict[str, Meant]:
    """The columns of a version by their names in lower case, as SQL takes them."""
    types = dict(zip(arrow_schema(table).names, arrow_schema(table).types, strict=True))
    fields = fields_by_name(table).items()
    return {name.lower(): Meant(name.lower(), id, types[name]) for name, id in fields}
