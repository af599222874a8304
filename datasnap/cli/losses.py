"""What verify found to be lost, in few lines: one pack that is gone takes chunks of all columns."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from datasnap.cli.output import SHORT, plain, plural, say, when

if TYPE_CHECKING:
    from datasnap.verify import Loss, Problem

#: How many columns a table has in a snapshot; None: that cannot be told.
CountColumns = Callable[[str, str], int | None]

_WIDTH = 96
#: Lines about what is lost by one cause, and ranges of rows in a line.
_SHOWN, _RANGES = 10, 3
_PACK = re.compile(r"packs/([0-9a-f]{16})[0-9a-f]{48}")
_BYTE = re.compile(r"byte [\d,]+")


def by_cause(problems: Sequence[Problem]) -> list[list[Problem]]:
    """Problems that say the same of different records together; those without losses alone."""
    found: dict[object, list[Problem]] = defaultdict(list)
    for number, problem in enumerate(problems):
        found[_cause(problem) if problem.losses else number].append(problem)
    return list(found.values())


def say_lost(mark: str, problems: Sequence[Problem], count_columns: CountColumns) -> None:
    """What is lost by one cause: a table's rows, and below it who needs them."""
    say(f"{mark} {plain(_heading(problems))}")
    losses = dict.fromkeys(loss for problem in problems for loss in problem.losses)
    lines = list(_lines(losses, count_columns))
    for what, who in lines[:_SHOWN]:
        say(f"    {plain(what)}")
        say(f"    {plain(who)}")
    if len(lines) > _SHOWN:
        say(f"    … and {len(lines) - _SHOWN:,} more: --json has all")


def _message(problem: Problem) -> str:
    return _PACK.sub(r"pack \1", problem.message)


def _cause(problem: Problem) -> str:
    """What is said of a record, whichever it is."""
    said = _message(problem)
    if problem.record:
        said = said.replace(problem.record[:16], "*", 1)
    return _BYTE.sub("byte *", said)


def _heading(problems: Sequence[Problem]) -> str:
    if len(problems) == 1:
        return _message(problems[0])
    kind, of_records, what = _cause(problems[0]).partition(" * is ")
    if of_records:
        return f"{plural(len(problems), kind)} are {what}"
    pack = _message(problems[0]).partition(":")[0]
    return f"{pack}: {plural(len(problems), 'record')} cannot be read"


def _lines(losses: Iterable[Loss], count_columns: CountColumns) -> Iterator[tuple[str, str]]:
    """What is lost, and who needs it: of each table, the columns that share rows in one line."""
    of_rows: dict[object, list[Loss]] = defaultdict(list)
    for loss in losses:
        of_rows[loss.table, loss.first_row, loss.last_row, loss.snapshots, loss.refs].append(loss)
    alike: dict[tuple[str, str, bool], list[Loss]] = defaultdict(list)
    for found in of_rows.values():
        first, columns = found[0], _columns(found, count_columns)
        alike[first.table, columns, bool(first.snapshots)].append(first)
    for (_, columns, _), found in alike.items():
        yield _what(found, columns), _who(found)


def _columns(losses: Sequence[Loss], count_columns: CountColumns) -> str:
    """The columns of which the same rows are lost; "": of all."""
    names = dict.fromkeys(name for loss in losses for name in loss.columns)
    if not all(loss.columns for loss in losses):
        return ""
    first = losses[0]
    if len(names) > 1 and len(names) == count_columns(first.snapshots[0], first.table):
        return ""
    return f"column{'s' * (len(names) > 1)} {_some(list(names), _WIDTH // 2)}"


def _what(losses: Sequence[Loss], columns: str) -> str:
    """What is lost: table rides, column fare, rows 0 to 131,071; of the newest version."""
    newest = losses[0]
    if not newest.snapshots:
        return "the snapshot, and the history before it"
    words = [f"table {newest.table}" if newest.table else "all tables"]
    if newest.table:
        words.append(columns or "all columns")
    same = [loss for loss in losses if loss.snapshots == newest.snapshots]
    ranges = _joined(
        (loss.first_row, loss.last_row)
        for loss in same
        if loss.first_row is not None and loss.last_row is not None
    )
    if ranges:
        said = ", ".join(f"{first:,} to {last:,}" for first, last in ranges[:_RANGES])
        more = len(ranges) - _RANGES
        words.append(f"rows {said}" + (f" and {more:,} more ranges" if more > 0 else ""))
    return ", ".join(words)


def _joined(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges of rows in order; those that touch as one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def _who(losses: Sequence[Loss]) -> str:
    """Who needs it: snapshots, the first and the last of them, and the refs."""
    ids = dict.fromkeys(id for loss in losses for id in loss.snapshots)
    refs = sorted({ref for loss in losses for ref in loss.refs})
    if not ids:
        return f"needed by {_some(refs, _WIDTH - 14)}"
    newest, oldest = losses[0], losses[-1]
    said = f"in {plural(len(ids), 'snapshot')}, {newest.snapshots[0][:SHORT]}"
    said += f" ({when(newest.newest)[:10]})" if newest.newest else ""
    if len(ids) > 1 and oldest.oldest:
        said += f" back to {oldest.snapshots[-1][:SHORT]} ({when(oldest.oldest)[:10]})"
    return f"{said}; {_some(refs, _WIDTH - 6 - len(said))}" if refs else said


def _some(names: Sequence[str], width: int) -> str:
    """The first names, as many as fit; at least one."""
    shown, room = [names[0]], width - len(names[0]) - len(" and 99 more")
    for name in names[1:]:
        room -= len(name) + 2
        if room < 0:
            break
        shown.append(name)
    left = len(names) - len(shown)
    return ", ".join(shown) + (f" and {left:,} more" if left else "")
