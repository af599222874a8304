"""Everything that can go wrong, as one small tree.

Each error carries what is needed to print one helpful line: the message says what
is wrong, `hint` (where there is one) says what to do next. The command line prints
both and exits with 1; nothing below it prints or exits.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from datasnap.gates.report import CheckReport


class DatasnapError(Exception):
    """Base of every error that datasnap raises on purpose.

    Args:
        message: what is wrong, in one line.
        hint: what the user can do about it, in one line; empty when there is nothing to add.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(DatasnapError):
    """A call that cannot mean anything: options that exclude each other, a bad name."""


class NoSuchRow(UsageError, IndexError):
    """A table has no row of that number."""


class NothingToDo(DatasnapError):
    """There is nothing, or nothing any more, to be undone or brought back."""


class RepositoryNotFound(DatasnapError):
    """There is no repository at the place named, nor (for the CLI) above it."""


class RepositoryExists(DatasnapError):
    """`init` was asked for a place that already holds a repository."""


class UnsupportedFormat(DatasnapError):
    """The repository or object was written by a newer datasnap."""


class UnknownName(DatasnapError):
    """A ref, table or column that does not exist; suggests the nearest that do.

    Args:
        kind: what was looked for ("ref", "table", "column").
        name: what was given.
        known: the names that exist, to suggest from.
        where: where it was looked for, as in "at main"; empty when obvious.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str] = (), *, where: str = "") -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        if near:
            hint = f"Did you mean {' or '.join(near)}?"
        elif 0 < len(known) <= 8:
            hint = f"There is: {', '.join(known)}"
        else:
            hint = ""
        super().__init__(f"unknown {kind} '{name}'{' ' + where if where else ''}", hint=hint)
        self.kind, self.name, self.near = kind, name, near


class AmbiguousId(DatasnapError):
    """A snapshot ID prefix that several snapshots share."""


class InvalidName(DatasnapError):
    """A branch, tag or table name that the format does not allow."""


class RefExists(DatasnapError):
    """A branch or tag of that name exists already."""


class Conflict(DatasnapError):
    """Another writer changed what this one was about to change; nothing was committed."""


class MergeConflict(Conflict):
    """Both sides changed the same, each in its own way; nothing was committed.

    Args:
        source, branch: what was to be merged into what.
        conflicts: see `datasnap.merge.conflicts.SCHEMA`.
        waits: the merge can be gone on with once they are settled.
    """

    def __init__(
        self, source: str, branch: str, conflicts: pa.Table, *, waits: bool = True
    ) -> None:
        tables = sorted(set(conflicts["table"].to_pylist()))
        count = conflicts.num_rows
        super().__init__(
            f"{count:,} conflict{'s' * (count != 1)} between '{source}' and '{branch}' in "
            f"{', '.join(tables)}; nothing was committed",
            hint="See them with `datasnap conflicts`, settle them with `datasnap resolve`, then "
            "`datasnap merge --continue`; or give up with `datasnap merge --abort`."
            if waits
            else "Choose a side with --on-conflict ours or theirs, or use `datasnap merge`.",
        )
        self.source, self.branch, self.conflicts = source, branch, conflicts
        self.waits = waits


class Refused(DatasnapError):
    """A branch does not take a change: it is protected, or a hook says no. Nothing was changed."""


class ChecksFailed(Refused):
    """Data does not pass its checks.

    Args:
        report: what failed.
        consequence: what follows from that.
    """

    def __init__(self, report: CheckReport, consequence: str = "") -> None:
        names = report.failed_checks
        named = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        end = f"; {consequence}" if consequence else ""
        super().__init__(
            f"{len(names):,} check{'s' * (len(names) != 1)} failed at {report.snapshot[:12]}: "
            f"{named}{end}",
            hint=f"See them with `datasnap check {report.snapshot[:12]}"
            + (f" --against {report.against[:12]}`" if report.against else "`"),
        )
        self.report = report


class BadInput(DatasnapError):
    """Data that cannot be imported: unreadable, of an unknown format, or not what was promised."""


class BadKey(BadInput):
    """A key that is missing, null, repeated, or of a type that has no order."""


class BadQuery(DatasnapError):
    """A SQL statement that DuckDB refuses; carries DuckDB's own words."""


class BadRange(DatasnapError):
    """Two snapshots between which a bisection cannot search."""


class UnsupportedType(BadInput):
    """An Arrow type that Parquet cannot hold and give back equal."""


def _name(author: str) -> str:
    """Who that is, without the mail."""
    return author.partition(" <")[0]


class RunIncomplete(UserWarning):
    """Something of a run is not recorded, or what it read is not held."""


class SnapshotReplaced(UserWarning):
    """A snapshot that a purge replaced was asked for, and its successor is given instead.

    Args:
        old, new: as 64 hex digits.
        table, who, when: from what rows were erased, by whom, and on which day.
    """

    def __init__(self, old: str, new: str, table: str, who: str, when: str) -> None:
        super().__init__(
            f"{old[:12]} was purged on {when} by {_name(who)} (rows of '{table}' were erased): "
            f"using {new[:12]}"
        )
        self.old, self.new = old, new


class CorruptData(DatasnapError):
    """Stored bytes that are not what was written: truncated, flipped, missing or hostile."""


class PrunedSnapshot(DatasnapError):
    """A snapshot whose data were let go on purpose: it is only a line of the log now.

    Args:
        snapshot: its ID, 64 hex digits.
        who, when, policy: of the prune: what was to be kept.
    """

    def __init__(self, snapshot: str, who: str, when: str, policy: str) -> None:
        super().__init__(
            f"snapshot {snapshot[:12]} was pruned on {when} by {_name(who)} (to keep {policy}); "
            "its data were let go",
            hint="`datasnap log` marks such snapshots; take the nearest other one. If no garbage "
            "was collected since: `datasnap prune --undo`.",
        )
        self.snapshot, self.who, self.when = snapshot, who, when


class ReceiptMismatch(DatasnapError):
    """Rows that are not those of a receipt; they are not handed out."""


class BrokenPin(DatasnapError):
    """What a config pins is not there, or is not what was pinned."""


class StorageError(DatasnapError):
    """The store below could not do what was asked: disk full, no permission, network down."""


class ArchiveUnreachable(StorageError):
    """What is needed lies in an archive that cannot be read.

    Args:
        place: of the archive.
        reason: why not.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(
            f"the archive at {place} cannot be read: {reason}",
            hint="Old versions lie there; what is not archived can be read all the same. If it "
            f"was moved: datasnap archive NEW_PLACE --moved-from {place}",
        )
        self.place = place
