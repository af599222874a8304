"""Verbs about data that are old: prune, archive."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from datasnap.cli.options import Json, the_repository
from datasnap.cli.output import (
    SHORT,
    first_line,
    hint,
    plain,
    plural,
    print_json,
    print_table,
    progress_bar,
    say,
    size,
    when,
)
from datasnap.durations import parse_duration, write_duration
from datasnap.errors import UsageError

if TYPE_CHECKING:
    from datasnap.lifecycle.archive import Archived, ArchivePlan
    from datasnap.lifecycle.gc import GcPlan
    from datasnap.lifecycle.policy import Policy
    from datasnap.lifecycle.prune import PrunePlan
    from datasnap.snapshots.objects import Snapshot

_Last = Annotated[
    int | None, typer.Option("--keep-last", metavar="N", min=1, help="Keep the newest N.")
]
_Within = Annotated[
    str | None,
    typer.Option(
        "--keep-within", metavar="TIME", help="… all of that time before the newest: 30d."
    ),
]
_Daily = Annotated[
    int | None,
    typer.Option("--keep-daily", metavar="N", min=1, help="… the newest of each of N days."),
]
_Weekly = Annotated[
    int | None, typer.Option("--keep-weekly", metavar="N", min=1, help="… of each of N weeks.")
]
_Monthly = Annotated[
    int | None, typer.Option("--keep-monthly", metavar="N", min=1, help="… of each of N months.")
]
_Yearly = Annotated[
    int | None, typer.Option("--keep-yearly", metavar="N", min=1, help="… of each of N years.")
]


def prune(
    keep_last: _Last = None,
    keep_within: _Within = None,
    keep_daily: _Daily = None,
    keep_weekly: _Weekly = None,
    keep_monthly: _Monthly = None,
    keep_yearly: _Yearly = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be kept, why, and what not.")
    ] = False,
    gc: Annotated[bool, typer.Option("--gc", help="Then collect garbage.")] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take the newest prune back, if all is still there.")
    ] = False,
    json: Json = False,
) -> None:
    """Let go of the data of old snapshots; the log keeps them.

    What is kept is said for each branch; days, weeks and so on count that have any snapshot, in
    UTC. Branches, tags, pins and what merges need are always kept. Without options it is what the
    section [retention] of the settings says.
    """
    policy = _policy(keep_last, keep_within, keep_daily, keep_weekly, keep_monthly, keep_yearly)
    if undo:
        if policy or dry_run or gc:
            raise UsageError("--undo goes with no other option")
        _undo(json)
        return
    if dry_run and gc:
        raise UsageError("--dry-run and --gc exclude each other")
    repository = the_repository()
    with progress_bar() as progress:
        plan = repository.prune(policy or None, dry_run=dry_run, progress=progress)
        collected = repository.gc(progress=progress) if gc else None
    if json:
        print_json(_as_json(plan, dry_run, collected))
    else:
        _show(plan, dry_run, collected)


def archive(
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="[PLACE]",
            help="A folder, s3://…, gs://… or az://…  [default: where the archive is]",
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="TIME", help="What is older is old: 90d."),
    ] = None,
    keep_last: _Last = None,
    keep_within: _Within = None,
    keep_daily: _Daily = None,
    keep_weekly: _Weekly = None,
    keep_monthly: _Monthly = None,
    keep_yearly: _Yearly = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would move.")] = False,
    moved_from: Annotated[
        str | None,
        typer.Option(
            "--moved-from",
            metavar="PLACE",
            help="The archive that was there was moved to the new PLACE: read it from there.",
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say where what is archived.")] = False,
    restore: Annotated[bool, typer.Option("--restore", help="Bring everything back.")] = False,
    json: Json = False,
) -> None:
    """Move data that only old snapshots need elsewhere, and read it from there.

    What is not old is said as for prune; the heads of branches never are.
    """
    policy = _policy(keep_last, keep_within, keep_daily, keep_weekly, keep_monthly, keep_yearly)
    if moved_from is not None:
        if place is None or older_than or policy or dry_run or list_ or restore:
            raise UsageError("it is: datasnap archive NEW_PLACE --moved-from OLD_PLACE")
        _read_from(place, moved_from, json)
        return
    if list_ or restore:
        if place or older_than or policy or dry_run or (list_ and restore):
            raise UsageError("--list and --restore go with no other option")
        _show_archives(json) if list_ else _restore(json)
        return
    repository = the_repository()
    place = place or _only_archive(repository.archives())
    age = None if older_than is None else parse_duration(older_than)
    with progress_bar() as progress:
        plan = repository.archive(place, policy, older_than=age, dry_run=dry_run, progress=progress)
    if json:
        print_json(_archive_as_json(plan, dry_run))
        return
    count = plural(len(plan.of("move", "split")), "pack")
    of = f"that only {plural(plan.old, 'old snapshot')} of {plan.old + plan.recent:,} need"
    would = "would move" if dry_run else "moved"
    if plan.bytes:
        say(f"[bold]{size(plan.bytes)}[/] in {count}, {of}, {would} to {plain(plan.place)}")
    else:
        say(f"Nothing to move: {_why_nothing(plan)}")
    left = sum(pack.old for pack in plan.of("stay"))
    if left:
        stays = plural(len(plan.of("stay")), "pack")
        more = f"{size(left)} more" if plan.bytes else f"The {size(left)} that only they need"
        say(f"{more} stay in {stays} that recent snapshots need for the greater part")
    if plan.bytes:
        hint("Next: the same without --dry-run" if dry_run else "Next: datasnap archive --list")


def _why_nothing(plan: ArchivePlan) -> str:
    if not plan.old:
        return "no snapshot is old"
    old = f"{plan.old:,} of {plural(plan.old + plan.recent, 'snapshot')} are old"
    if plan.of("stay"):
        return f"{old}, but no pack is mostly theirs"
    return f"{old}, but what they need here, recent ones need too"


def _only_archive(found: Sequence[Archived]) -> str:
    if len(found) != 1:
        raise UsageError("the place of the archive is missing: datasnap archive PLACE")
    return found[0].place


def _show_archives(json: bool) -> None:
    found = the_repository().archives()
    if json:
        print_json([each._asdict() for each in found])
    elif found:
        rows = [[each.place, f"{each.packs:,}", size(each.bytes)] for each in found]
        print_table(["archive", ">packs", ">bytes"], rows)
    else:
        say("Nothing is archived")


def _read_from(place: str, old: str, json: bool) -> None:
    found = the_repository().archive_moved(old, place)
    if json:
        print_json(found._asdict())
        return
    count = plural(found.packs, "pack")
    say(f"{count}, {size(found.bytes)}, are read from {plain(found.place)} now")


def _restore(json: bool) -> None:
    with progress_bar() as progress:
        found = the_repository().unarchive(progress=progress)
    if json:
        print_json([each._asdict() for each in found])
    for each in found if not json else ():
        count = plural(each.packs, "pack")
        say(f"Brought back {count}, {size(each.bytes)}, from {plain(each.place)}")
    if not found and not json:
        say("Nothing is archived")


def _archive_as_json(plan: ArchivePlan, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "place": plan.place,
        "recent": plan.recent,
        "old": plan.old,
        "bytes": plan.bytes,
        "packs": [
            {"name": pack.file.name, "bytes": pack.file.size, "old": pack.old, "fate": pack.fate}
            for pack in plan.packs
        ],
    }


def _undo(json: bool) -> None:
    undone = the_repository().undo_prune()
    if json:
        print_json(
            {
                "who": undone.who,
                "time": _time(undone.time),
                "snapshots": [id.hex() for id in undone.ids],
            }
        )
        return
    count = plural(len(undone.ids), "snapshot")
    made = when(_time(undone.time))
    say(f"{count} can be read again, pruned on {made} by {plain(undone.who.partition(' <')[0])}")


def _policy(
    last: int | None,
    within: str | None,
    daily: int | None,
    weekly: int | None,
    monthly: int | None,
    yearly: int | None,
) -> Policy:
    from datasnap.lifecycle.policy import Policy

    return Policy(
        last=last or 0,
        within=parse_duration(within or "0"),
        daily=daily or 0,
        weekly=weekly or 0,
        monthly=monthly or 0,
        yearly=yearly or 0,
    )


def _show(plan: PrunePlan, dry_run: bool, collected: GcPlan | None) -> None:
    rows = [
        [
            kept.id.hex()[:SHORT],
            when(_time(kept.snapshot.time)),
            ", ".join(kept.reasons),
            first_line(kept.snapshot.message),
        ]
        for kept in plan.kept
    ]
    print_table(["=kept", "=time", "why", "message"], rows)
    say("")
    before = f", {plan.before:,} were before" if plan.before else ""
    if not plan.pruned:
        say(f"{plural(len(plan.kept), 'snapshot')} kept, nothing to prune{before}")
        return
    freed = "" if plan.freed is None else f", which alone hold {size(plan.freed)}"
    would = "would be pruned" if dry_run else "pruned"
    count = plural(len(plan.pruned), "snapshot")
    say(f"{len(plan.kept):,} kept, [bold]{count} {would}[/]{freed}{before}")
    if collected is not None:
        say(_took(collected))
    elif dry_run:
        hint("Next: the same without --dry-run")
    else:
        hint("Next: datasnap gc, to free the bytes; or datasnap prune --undo")


def _took(collected: GcPlan) -> str:
    """What garbage collection took, and why not more."""
    said = f"Garbage collection took {size(collected.taken)}" if collected.taken else ""
    young = sum(pack.dead for pack in collected.of("young"))
    if not young:
        return said or "Garbage collection found nothing to take"
    grace = f"younger than the grace period of {write_duration(collected.grace)}"
    if said:
        return f"{said}; {size(young)} more are {grace}"
    return f"Garbage collection took nothing yet: {size(young)} that nothing needs are {grace}"


def _as_json(plan: PrunePlan, dry_run: bool, collected: GcPlan | None) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "policy": str(plan.policy),
        "kept": [
            {**_snapshot_as_json(*kept[:2]), "reasons": list(kept.reasons)} for kept in plan.kept
        ],
        "pruned": [_snapshot_as_json(*each) for each in plan.pruned],
        "pruned_before": plan.before,
        "bytes": plan.freed,
        "gc": None if collected is None else {"garbage": collected.taken},
    }


def _snapshot_as_json(id: bytes, snapshot: Snapshot) -> dict[str, object]:
    return {"snapshot": id.hex(), "time": _time(snapshot.time), "message": snapshot.message}


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)
