"""Policies: which snapshots of a history are to stay, by their number and age.

As restic's `forget`: for each period the newest snapshot of it is kept, for as many periods as are
asked for, and only those count in which there is one. While a count is not used up, the oldest
snapshot of all is kept too. Days, weeks (of ISO 8601), months and years are those of UTC, so that
it does not matter who prunes where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from datasnap.durations import parse_duration, write_duration
from datasnap.snapshots.objects import Snapshot, SnapshotId
from datasnap.snapshots.reader import ObjectReader

if TYPE_CHECKING:
    from datasnap.config import RetentionSettings

#: Snapshots by ID, with all that lead to them.
History = Mapping[SnapshotId, Snapshot]

_PERIODS: dict[str, Callable[[datetime], str]] = {
    "daily": lambda day: f"{day:%Y-%m-%d}",
    "weekly": lambda day: "{}-W{:02}".format(*day.isocalendar()),
    "monthly": lambda day: f"{day:%Y-%m}",
    "yearly": lambda day: f"{day:%Y}",
}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What to keep: what any of these says.

    Attributes:
        last: so many of the newest.
        within: all that are not older than this, seen from the newest.
        daily, weekly, monthly, yearly: the newest of each of so many days and so on.
    """

    last: int = 0
    within: timedelta = timedelta(0)
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    def __bool__(self) -> bool:
        return self != Policy()

    def __str__(self) -> str:
        said = [f"last {self.last}"] if self.last else []
        said += [f"within {write_duration(self.within)}"] if self.within else []
        said += [f"{period} {count}" for period, count in self.counts.items() if count]
        return ", ".join(said) or "nothing"

    @property
    def counts(self) -> dict[str, int]:
        """How many of each period."""
        return {period: getattr(self, period) for period in _PERIODS}


def policy_of(settings: RetentionSettings) -> Policy:
    """The policy that settings name.

    Raises:
        UsageError: `keep_within` is no duration.
    """
    return Policy(
        last=settings.keep_last,
        within=parse_duration(settings.keep_within or "0"),
        daily=settings.keep_daily,
        weekly=settings.keep_weekly,
        monthly=settings.keep_monthly,
        yearly=settings.keep_yearly,
    )


def kept_of_branch(
    history: History, head: SnapshotId, policy: Policy, now: int
) -> Iterator[tuple[SnapshotId, str]]:
    """The snapshots that a policy keeps for a branch, and why: one for each reason.

    What is counted is the line of first parents: what the branch itself was, one version after
    the other. `within` holds whatever leads to the head, merged branches too.

    Args:
        now: by the store's clock. A head that claims to be later (its writer's clock was off)
            counts as from now, so that its time alone makes nothing old. Nor can such be told
            apart by days: since a snapshot is later than its parents, all that followed one of a
            clock that is years ahead are of the same day. They stay.
    """
    if policy.last or any(policy.counts.values()):
        line = line_times(history, head)
        yield from kept_of_line(line, policy)
        if any(policy.counts.values()):
            yield from ((id, "dated later than now") for id, time in line if time > now)
    if policy.within:
        reason = f"within {write_duration(policy.within)}"
        limit = min(history[head].time, now) - policy.within // timedelta(microseconds=1)
        yield from ((id, reason) for id in since(history, head, limit))


def kept_of_line(
    line: Sequence[tuple[SnapshotId, int]], policy: Policy
) -> Iterator[tuple[SnapshotId, str]]:
    """The snapshots of a line that a policy keeps by number, and why.

    Args:
        line: snapshots with their times, newest first.
    """
    yield from ((id, f"last {number}") for number, (id, _) in enumerate(line[: policy.last], 1))
    for period, count in policy.counts.items():
        before = ""
        for number, (id, time) in enumerate(line, 1):
            if not count:
                break
            name = _PERIODS[period](datetime.fromtimestamp(time / 1_000_000, UTC))
            if name != before:
                yield id, f"{period} {name}"
                before, count = name, count - 1
            elif number == len(line):
                yield id, f"{period} {name} (oldest)"


def line_times(history: History, head: SnapshotId) -> list[tuple[SnapshotId, int]]:
    """A snapshot, its first parent, and so on, with their times."""
    line = []
    id: SnapshotId | None = head
    while id is not None:
        snapshot = history[id]
        line.append((id, snapshot.time))
        id = snapshot.parents[0] if snapshot.parents else None
    return line


def since(history: History, head: SnapshotId, limit: int) -> Iterator[SnapshotId]:
    """A snapshot and those before it that are not older than a time. (A snapshot is always later
    than its parents.)"""
    seen, waiting = {head}, [head]
    while waiting:
        id = waiting.pop()
        if history[id].time >= limit:
            yield id
            fresh = [parent for parent in history[id].parents if parent not in seen]
            seen.update(fresh)
            waiting += fresh


def read_history(objects: ObjectReader, heads: Iterable[SnapshotId]) -> History:
    """All snapshots that lead to some, those themselves among them."""
    found: dict[SnapshotId, Snapshot] = {}
    waiting = list(heads)
    while waiting:
        id = waiting.pop()
        if id not in found:
            found[id] = objects.get(id, Snapshot)
            waiting += found[id].parents
    return found
