"""Verbs that bring in what other snapshots did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from datasnap.diff.tables import TableDiff
from datasnap.edits.columns import ColumnVerbs
from datasnap.edits.unit import TableChange
from datasnap.errors import UnknownName
from datasnap.merge.columns import Side
from datasnap.merge.conflicts import SCHEMA, CellConflicts, as_table, digest
from datasnap.merge.settling import Settled, Settlement
from datasnap.snapshots import objects
from datasnap.snapshots.objects import Entry, SnapshotId
from datasnap.tables.manifest import key_names

if TYPE_CHECKING:
    from datasnap.merge.tables import Merged

#: A table in the base, in ours and in theirs; None where it is not there.
Versions = tuple[objects.Table | None, objects.Table | None, objects.Table | None]

_NOT_THERE: dict[str, Entry] = {}


class MergeVerbs(ColumnVerbs):
    """What brings in tables and changes of other snapshots."""

    def restore(self, table: str, revision: str, *, to: str | None = None) -> TableChange:
        """Make a table what it was in another version; it shares everything with that.

        Args:
            to: another name for it here.

        Raises:
            UnknownName: there is no such revision, or it has no such table. RefExists: there is
            a table of the other name; InvalidName: it cannot be one.
        """
        self._check_open()
        if to not in (None, table):
            self._check_new(to)
        id = self._repository.resolve(revision)
        found = self._entries_of(id).get(table)
        if found is None:
            known = self._entries_of(id)
            raise UnknownName("table", table, known, where=f"at {revision}")
        since = self._session.added_bytes
        after = self._objects.get(found.id, objects.Table)
        return self._take(to or table, after, since)

    def bring_in(
        self,
        theirs: SnapshotId,
        *,
        base: SnapshotId | None,
        settle: Side = None,
        settled: Settlement | None = None,
    ) -> pa.Table:
        """Do to the tables here what was done from `base` to `theirs`: a three-way merge.

        Args:
            base: None: nothing is in common.
            settle: whose side is taken in conflicts.
            settled: by table, instead.

        Returns:
            The conflicts that were not settled (see `datasnap.merge.conflicts.SCHEMA`). The
            tables that have some are left as they are here.

        Raises:
            BadQuery, BadInput: a query that is to settle conflicts does not.
        """
        self._check_open()
        before = self._entries_of(base) if base else _NOT_THERE
        after = self._entries_of(theirs)
        conflicts = [SCHEMA.empty_table()]
        for name in sorted({*before, *after}):
            ours = self._entry(name)
            was, now = before.get(name), after.get(name)
            if now in (was, ours):
                continue
            since = self._session.added_bytes
            if ours == was:
                self._take(name, self._version(now), since)
                continue
            versions = self._version(was), self._version(ours), self._version(now)
            how = (settled or {}).get(name, Settled(settle))
            found = self._merged(versions, None if how.decided else how.take)
            shown = as_table(name, key_names(versions[1]) if versions[1] else [], found.conflicts)
            # What was decided holds for the conflicts that were looked at, and for no others.
            decided = shown.num_rows and how.decided in ("", digest(shown))
            if decided and how.sql is not None:
                snapshots = {"base": base, "ours": self._base, "theirs": theirs}
                rows = self._asked(how.sql, shown, snapshots)
                self._settle_by_query(name, versions, found, rows)
                continue
            if decided and how.take is not None:
                found = self._merged(versions, how.take)
            if found.conflicts:
                conflicts.append(shown)
                continue
            self._put(name, versions[1], found.table, since=since, rows=found.rows)
        return pa.concat_tables(conflicts)

    def _merged(
        self,
        versions: Versions,
        settle: Side,
    ) -> Merged:
        from datasnap.merge.tables import merge_tables, settled_whole

        base, ours, theirs = versions
        if ours is None or theirs is None:
            why = "one side dropped it and the other changed it"
            return settled_whole(why, base, ours, theirs, settle)
        return merge_tables(self._editor(ours), base, ours, theirs, settle)

    def _settle_by_query(
        self, name: str, versions: Versions, found: Merged, rows: pa.Table
    ) -> None:
        """Let the rows of a query take the place of those in conflict; or of the whole table, where
        that cannot be merged by rows.

        Raises:
            BadInput: see `settling.answer`.
        """
        from datasnap.edits.settling import answer

        _, ours, theirs = versions
        by_row = [c for c in found.conflicts if isinstance(c, CellConflicts)]
        if ours is None or len(by_row) < len(found.conflicts):
            known = ours or theirs
            key = key_names(known) if known else []
            self.write(name, rows, key=key if set(key) <= set(rows.schema.names) else None)
            return
        settled = answer(name, ours, by_row, rows)
        merged = self._merged(versions, "ours")
        since = self._session.added_bytes
        self._put(name, ours, merged.table, since=since, rows=merged.rows)
        if settled.rows.num_rows:
            self.upsert(name, settled.rows)
        if settled.gone.num_rows:
            self.delete_keys(name, settled.gone)

    def _asked(
        self,
        query: str,
        conflicts: pa.Table,
        snapshots: Mapping[str, SnapshotId | None],
    ) -> pa.Table:
        """The rows of a query over `base`, `ours` and `theirs` (schemas) and `conflicts`."""
        from datasnap.query.expressions import check_query
        from datasnap.query.locking import lock
        from datasnap.query.session import add_schema, run_sql

        check_query(query)
        connection = self.connect(query)  # type: ignore[attr-defined]
        for schema, id in snapshots.items():
            tables = {n: e.id for n, e in self._entries_of(id).items()} if id else {}
            add_schema(connection, schema, tables)
        connection.register("conflicts", conflicts)
        # It was kept beside the refs until now, where others may have written it.
        lock(connection)
        return run_sql(connection, query).to_arrow_table()

    def _take(self, name: str, after: objects.Table | None, since: int) -> TableChange:
        """Let a version from elsewhere be the table's next one."""
        before = self._find(name)
        rows: tuple[int | None, int | None, int | None] = (0, 0, 0)
        if before is not None and after is not None:
            found = TableDiff(name, before, after, self._scanner)
            rows = (found.added, found.removed, found.changed)
        return self._put(name, before, after, since=since, rows=rows)

    def _version(self, entry: Entry | None) -> objects.Table | None:
        return self._objects.get(entry.id, objects.Table) if entry else None

    def _entries_of(self, id: SnapshotId) -> Mapping[str, Entry]:
        return self._objects.tree(id).entries
