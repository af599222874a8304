"""Optimising a table: the same rows, laid out as if they had been written at once.

Segments with overlays are folded into new chunks, short ones are joined with their neighbours and
cut by content again, and the column groups of the others become one. Chunks that need no change
are shared with the versions before, as they are: a chunk has one stored form, which the manifests
of all its versions describe, so it cannot be compressed anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

import msgspec
import pyarrow as pa

from datasnap.snapshots.objects import Table
from datasnap.tables.edit import Prepared, TableEditor
from datasnap.tables.manifest import View, stored_types, table_views
from datasnap.tables.scan import ahead


def optimize_table(editor: TableEditor, level: int) -> tuple[Table, int]:
    """The table laid out anew where that is worth it.

    Args:
        level: zstd level of the chunks that are written, 1 to 22.

    Returns:
        The new version, and how many of the segments before were written anew.
    """
    table = editor.table
    views = list(table_views(editor.scanner.objects, table))
    loose = _loose(views, table.profile.min_rows)
    if not any(loose) and all(len(view.segment.groups) == 1 for view in views):
        return table, 0
    pages = msgspec.structs.replace(table.profile.pages, compression_level=level)
    dense = msgspec.structs.replace(
        table, profile=msgspec.structs.replace(table.profile, pages=pages)
    )
    made = _made(replace(editor, table=dense), views, loose)
    return msgspec.structs.replace(table, parts=editor.list_parts(made)), sum(loose)


def _loose(views: Sequence[View], min_rows: int) -> list[bool]:
    """Which segments are to be written anew: those with overlays, and runs of short ones."""
    short = [view.segment.rows < min_rows for view in views]
    loose = [view.overlay is not None for view in views]
    for i in range(len(views)):
        beside = loose[i - 1] if i else False
        beside |= i + 1 < len(views) and (loose[i + 1] or short[i + 1])
        # The last is short because the table ends there.
        loose[i] |= short[i] and (beside or i + 1 < len(views))
    for i in range(1, len(views)):
        # What is left of a run may be short again: the one before it takes it in.
        if loose[i] and not loose[i - 1]:
            run = next((j for j in range(i, len(views)) if not loose[j]), len(views))
            if sum(view.segment.rows for view in views[i:run]) < min_rows:
                loose[i - 1] = True
    return loose


def _made(editor: TableEditor, views: Sequence[View], loose: Sequence[bool]) -> Iterator[Prepared]:
    for anew, run in groupby(zip(views, loose, strict=True), key=lambda pair: pair[1]):
        if anew:
            yield from ahead(editor.fresh, editor.cut(_rows(editor, (view for view, _ in run))))
        else:
            yield from (editor.regrouped(view) for view, _ in run)


def _rows(editor: TableEditor, views: Iterable[View]) -> Iterator[pa.RecordBatch]:
    types = stored_types(editor.table)

    def read(view: View) -> list[pa.RecordBatch]:
        columns = editor.scanner.edited.columns(view, types)
        batches: list[pa.RecordBatch] = editor.as_rows(list(columns.values())).to_batches()
        return batches

    for batches in ahead(read, views):
        yield from batches
