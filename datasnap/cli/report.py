"""What a commit did, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasnap.cli.explain import print_explanations
from datasnap.cli.output import SHORT, plain, plural, print_json, say, size

if TYPE_CHECKING:
    from datasnap.transaction import TableChange, Transaction


def report(tx: Transaction, json: bool, *, explain: bool = False) -> None:
    """Print what a finished transaction changed and committed.

    Args:
        explain: also what it stored anew, and why.
    """
    if json:
        said: dict[str, object] = {
            "snapshot": tx.snapshot,
            "changes": tx.changes,
            "added": tx.stats._asdict(),
        }
        if explain:
            said["explanations"] = tx.explain()
        print_json(said)
        return
    for change in tx.changes:
        say(f"[bold]{plain(change.table)}[/]: {what(change)}")
    if tx.stats.objects == 0:
        say("Nothing changed, so nothing was committed")
        if explain:
            print_explanations([])
        return
    id = (tx.snapshot or "")[:SHORT]
    say(f"Committed [yellow]{id}[/] to [bold]{plain(tx.branch)}[/], {size(tx.stats.bytes)} added")
    if explain:
        print_explanations(tx.explain())


def what(change: TableChange) -> str:
    """A change in words: +1,000 −500 ~37 rows, 1 new column, 84 kB."""
    if change.rows is None:
        return "dropped"
    # A table taken from another version is stored already.
    stored = [size(change.size)] if change.size else []
    if change.rows_before is None:
        return ", ".join(["new table", plural(change.rows, "row"), *stored])
    if not change.changed:
        return f"{plural(change.rows, 'row')}, as before"
    said = [_rows(change)]
    said += [
        f"{len(names)} {word} {'column' if len(names) == 1 else 'columns'}"
        for word, names in (
            ("new", change.added),
            ("dropped", change.removed),
            ("retyped", change.retyped),
            ("renamed", change.renamed),
        )
        if names
    ]
    if change.key is not None:
        said.append(f"key: {', '.join(map(plain, change.key)) or 'none'}")
    if change.rewritten:
        said.append(f"{plural(change.rewritten, 'segment')} rewritten")
    return ", ".join(([part for part in said if part] or ["schema changed"]) + stored)


def _rows(change: TableChange) -> str:
    if change.inserted is None:
        rows, before = change.rows or 0, change.rows_before or 0
        moved = f" ({rows - before:+,})".replace("-", "−") if rows != before else ""
        return f"{plural(rows, 'row')}{moved}"
    marks = (
        ("green", "+", change.inserted),
        ("red", "−", change.deleted),
        ("yellow", "~", change.updated),
    )
    counts = [f"[{colour}]{sign}{count:,}[/]" for colour, sign, count in marks if count]
    total = sum(count or 0 for _, _, count in marks)
    return f"{' '.join(counts)} {'row' if total == 1 else 'rows'}" if counts else ""
