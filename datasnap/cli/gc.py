"""The verb that collects garbage: gc."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from datasnap.cli.options import Json, the_repository
from datasnap.cli.output import (
    hint,
    plain,
    plural,
    print_json,
    print_table,
    progress_bar,
    say,
    size,
)
from datasnap.durations import parse_duration, write_duration
from datasnap.errors import UsageError

if TYPE_CHECKING:
    from datasnap.lifecycle.gc import GcPlan, PackPlan


def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go and what holds the rest.")
    ] = False,
    grace: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How long garbage must have lain, and then stays in quarantine (7d, 12h); 0: it "
            "goes at once, and commits under way may fail  [default: gc.grace_days]",
        ),
    ] = None,
    reflog: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How long a change of a ref holds what was before it  [default: gc.reflog_days]",
        ),
    ] = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Bring back all that is in quarantine.")
    ] = False,
    json: Json = False,
) -> None:
    """Free what no branch, tag, pin or recent change leads to.

    It goes to quarantine first, from where --undo brings it back.
    """
    if undo and (dry_run or grace is not None or reflog is not None):
        raise UsageError("--undo goes with no other option")
    repository = the_repository()
    if undo:
        back = repository.undo_gc()
        if json:
            print_json(back)
        else:
            say(f"Brought back {plural(back.packs, 'pack')}, {size(back.bytes)}")
            hint("Next: datasnap branch NAME ID, to hold what must stay")
        return
    with progress_bar() as progress:
        plan = repository.gc(
            grace=_duration(grace), reflog=_duration(reflog), dry_run=dry_run, progress=progress
        )
    if json:
        print_json(_summary(plan, dry_run))
        return
    if dry_run:
        _show_holders(plan)
    _show(plan, dry_run)


def _duration(text: str | None) -> timedelta | None:
    return None if text is None else parse_duration(text)


def _show_holders(plan: GcPlan) -> None:
    held = [holder for holder in plan.holders if holder.snapshots or holder.kind != "reflog"]
    if held:
        rows = [[h.kind, h.name, f"{h.snapshots:,}", size(h.bytes)] for h in held]
        print_table(["held by", "=", ">snapshots", ">bytes"], rows)
        say("")


def _show(plan: GcPlan, dry_run: bool) -> None:
    taken, copied = plan.of("take"), plan.of("copy")
    where = f"to quarantine, for {write_duration(plan.grace)}" if plan.grace else "for good"
    would = "would go" if dry_run else "went"
    lines = [
        (size(plan.live), "is held by branches, tags, pins and recent changes"),
        *_line(taken + copied, plan.taken, f"of garbage {would} {where}"),
        *_line(plan.of("remove"), plan.removed, f"of what was in quarantine {would} for good"),
        *_line(plan.of("bring back"), None, "in quarantine turned out to be needed"),
        *_line(plan.of("wait"), None, "is in quarantine; bring it back with --undo"),
        *_line(
            plan.of("keep"), _dead(plan.of("keep")), "of garbage stays, each pack's lesser part"
        ),
        *_line(
            plan.of("young"),
            _dead(plan.of("young")),
            f"that nothing leads to is younger than {write_duration(plan.grace)}",
        ),
        *_line(plan.of("damaged"), None, "cannot be read: run `datasnap verify`"),
    ]
    width = max(len(amount) for amount, _ in lines)
    for amount, text in lines:
        say(f"[bold]{amount:>{width}}[/]  {plain(text)}")
    if dry_run and (taken or copied or plan.of("remove")):
        hint("Next: datasnap gc")


def _line(packs: list[PackPlan], bytes: int | None, text: str) -> list[tuple[str, str]]:
    """A line about packs; none where there are no bytes to speak of."""
    count = sum(pack.size for pack in packs) if bytes is None else bytes
    return [(size(count), f"{text} ({plural(len(packs), 'pack')})")] if count else []


def _dead(packs: list[PackPlan]) -> int:
    return sum(pack.dead for pack in packs)


def _summary(plan: GcPlan, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "grace_seconds": plan.grace.total_seconds(),
        "held": plan.live,
        "garbage": plan.taken,
        "removed": plan.removed + (0 if plan.grace else plan.taken),
        "holders": [holder._asdict() for holder in plan.holders],
        "packs": [
            {"name": pack.name, "bytes": pack.size, "dead": pack.dead, "fate": pack.fate}
            for pack in plan.packs
        ],
    }
