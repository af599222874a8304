"""The first snapshot of a line at which something does not hold any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from datasnap.errors import BadRange
from datasnap.snapshots.objects import Snapshot, SnapshotId

Verdict = Literal["good", "bad", "skipped"]


class Answer(NamedTuple):
    """Whether something holds at a snapshot; None: that cannot be told, and why."""

    holds: bool | None
    reason: str = ""


class Step(NamedTuple):
    """A snapshot that was tried.

    Attributes:
        snapshot: its ID, 64 hex digits.
        left: snapshots among which the first bad one is now known to be.
        reason: why it was skipped.
    """

    snapshot: str
    verdict: Verdict
    left: int
    reason: str = ""


@dataclass(frozen=True)
class Bisection:
    """What a bisection found.

    Attributes:
        first_bad: the first snapshot at which the predicate is not true.
        last_good: the last before it of which is known that there it is.
        untold: snapshots between the two, oldest first, where it cannot be evaluated: the first
            bad one may be one of them.
        steps: the snapshots tried, in turn.
    """

    first_bad: str
    last_good: str
    untold: tuple[str, ...]
    steps: tuple[Step, ...]


_VERDICTS: dict[bool | None, Verdict] = {True: "good", False: "bad", None: "skipped"}

Test = Callable[[SnapshotId], Answer]
Report = Callable[[Step], None]


def bisect(line: Sequence[SnapshotId], test: Test, report: Report) -> Bisection:
    """Search a line of snapshots for the first bad one, by halves.

    Args:
        line: oldest first, from a good one to a bad one.
        test: whether the predicate holds at a snapshot.
        report: is told each step.

    Raises:
        BadRange: the first is not good, the last is not bad, or there is only one.
    """
    if len(line) < 2:
        raise BadRange(
            "good and bad are the same snapshot",
            hint="Name an older good one, or a newer bad one.",
        )
    low, high = 0, len(line) - 1
    steps: list[Step] = []

    def note(number: int, answer: Answer) -> None:
        said = _VERDICTS[answer.holds]
        steps.append(Step(line[number].hex(), said, high - low, answer.reason))
        report(steps[-1])

    for number, wanted in ((low, True), (high, False)):
        answer = test(line[number])
        _check_end(line[number], answer, wanted)
        note(number, answer)
    skipped: set[int] = set()
    while candidates := [n for n in range(low + 1, high) if n not in skipped]:
        middle = candidates[len(candidates) // 2]
        answer = test(line[middle])
        if answer.holds is None:
            skipped.add(middle)
        elif answer.holds:
            low = middle
        else:
            high = middle
        note(middle, answer)
    untold = tuple(line[n].hex() for n in range(low + 1, high))
    return Bisection(line[high].hex(), line[low].hex(), untold, tuple(steps))


def line_of(
    snapshots: Iterable[tuple[SnapshotId, Snapshot]], good: SnapshotId | None
) -> list[SnapshotId]:
    """A line of first parents from a good snapshot (None: its first) on, oldest first.

    Args:
        snapshots: the line, newest first.

    Raises:
        BadRange: the good snapshot is not on it.
    """
    line: list[SnapshotId] = []
    for id, _ in snapshots:
        line.append(id)
        if id == good:
            break
    if good is not None and line[-1] != good:
        raise BadRange(
            f"{good.hex()[:12]} is not on the line of first parents of {line[0].hex()[:12]}",
            hint="Name a snapshot that `datasnap log` lists before it on the same branch.",
        )
    return line[::-1]


def _check_end(id: SnapshotId, answer: Answer, wanted: bool) -> None:
    end = f"the {_VERDICTS[wanted]} end, {id.hex()[:12]}"
    if answer.holds is None:
        raise BadRange(
            f"the predicate cannot be evaluated at {end}: {answer.reason}",
            hint="Name a snapshot that has what it asks for.",
        )
    if answer.holds != wanted:
        raise BadRange(
            f"the predicate is {'not true' if wanted else 'true'} at {end}",
            hint="It must be true at the good end and false at the bad one.",
        )
