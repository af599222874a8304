"""What verify found, as it is told: problems, what each of them costs, and what was repaired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

SHORT = 16


@dataclass(frozen=True)
class Loss:
    """Rows of a table that cannot be read as they should be, and the snapshots that have them so.

    Attributes:
        table: its name; "": every table of these snapshots.
        columns: names of the columns; none: all of them.
        first_row, last_row: the rows, counted from 0; None: all of them.
        snapshots: their IDs in hex, newest first; none: the snapshot itself is what is lost, and
            with it the way to those before.
        oldest, newest: when the first and the last of them were committed.
        refs: what leads to them: branches by their names, the others as "tag v1".
    """

    table: str
    columns: tuple[str, ...]
    first_row: int | None
    last_row: int | None
    snapshots: tuple[str, ...]
    oldest: datetime | None
    newest: datetime | None
    refs: tuple[str, ...]

    def __str__(self) -> str:
        if not self.snapshots:
            return "a snapshot and the history before it"
        what = [self.table or "all tables"]
        if self.columns:
            what.append("column " + ", ".join(f"'{name}'" for name in self.columns))
        if self.first_row is not None:
            what.append(f"rows {self.first_row:,} to {self.last_row:,}")
        if self.table:
            what[0] += f"@{self.snapshots[0][:SHORT]}"
        return " ".join(what)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: what needs it: a ref, or a table, column and rows; else the file that it is in.
        message: what is wrong with it.
        record: ID of the chunk or object that is lost, in hex; "" where it is none.
        losses: all that needs it.
    """

    where: str
    message: str
    record: str = ""
    losses: tuple[Loss, ...] = ()


@dataclass
class Repairs:
    """What a repair did.

    Attributes:
        restored: chunks and objects that were taken from a copy.
        given_up: damaged ones that no copy had. They are missing now, no longer damaged: writing
            the same data again stores them anew.
        packs: packs that were written anew without what was damaged in them, or taken out.
        set_aside: where such packs are kept as they were, when something in them was given up.
        index_files: damaged ones that were removed.
        indexed: packs that no index file listed.
        forgotten: packs that one listed, and that are gone.
        refs: branches, tags and pins that were taken from a copy.
    """

    restored: int = 0
    given_up: int = 0
    packs: int = 0
    set_aside: list[str] = field(default_factory=list)
    index_files: int = 0
    indexed: int = 0
    forgotten: int = 0
    refs: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self != Repairs()


@dataclass
class Report:
    """What was looked at, and what was found.

    Attributes:
        bytes: stored bytes of chunks, and of what nothing needs, that were read and checked.
        problems: what is wrong, newest data first. After a repair: what still is.
        warnings: what harms nothing yet.
        repairs: None: nothing was to be repaired.
    """

    deep: bool
    snapshots: int = 0
    tables: int = 0
    chunks: int = 0
    bytes: int = 0
    packs: int = 0
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    repairs: Repairs | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def in_words(losses: Sequence[Loss], otherwise: str) -> str:
    """The first of some losses, which is the newest, and how many snapshots share it."""
    if not losses:
        return otherwise
    count = len({id for loss in losses for id in loss.snapshots})
    more = f", in {count:,} snapshots" if count > 1 else ""
    return f"{losses[0]}{more}"
