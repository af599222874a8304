"""Giving a table another key, in whose order its rows stand already."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from datasnap.snapshots.commit import put
from datasnap.snapshots.objects import FieldId, Part, PartId, PartRef, Table
from datasnap.storage import Session
from datasnap.tables.firsts import encode_firsts
from datasnap.tables.keys import exact_firsts
from datasnap.tables.manifest import key_types, read_parts, read_views
from datasnap.tables.scan import Scanner


def with_key(scanner: Scanner, session: Session, table: Table, key: tuple[FieldId, ...]) -> Table:
    """The table with a key that its rows are in order of.

    The parts are listed anew, with the first keys of their segments: those that they keep may be
    of another key, or from before a time when rows were in no order.
    """
    if table.key == key and table.sorted:
        return table
    keyed = replace(table, key=key, sorted=True)

    def listed() -> Iterator[PartRef]:
        for ref, part in zip(table.parts, read_parts(scanner.objects, table), strict=True):
            views = list(read_views(scanner.objects, part.segments))
            firsts = encode_firsts([exact_firsts(scanner, views, key_types(keyed))])
            yield replace(ref, id=PartId(put(session, Part(part.segments, firsts))))

    return replace(keyed, parts=tuple(listed()))
