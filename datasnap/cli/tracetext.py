"""Where things come from, in a terminal: a tree, a row's readers."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datasnap.cli.output import (
    SHORT,
    console,
    first_line,
    hint,
    plain,
    plural,
    print_table,
    say,
    size,
    when,
)
from datasnap.cli.runs import number, status
from datasnap.cli.runtext import code_of

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from datasnap.ml.tracing.sightings import RowTrace, Sighting
    from datasnap.ml.tracing.trace import Change, TracedRun, TracedTable
    from datasnap.repository import Repository

_MAX_SOURCES = 5
_MAX_METRICS = 6


def show_traces(repository: Repository, found: Sequence[TracedRun]) -> None:
    """Each run as a tree, below what it saved."""
    for traced in found:
        console().print(_tree(traced), soft_wrap=False)
    tables = [table for traced in found for table in traced.tables if table.changes]
    if tables:
        first = tables[0]
        hint(f"More: datasnap history {plain(first.name)}@{first.snapshot[:SHORT]}")


def show_row(found: RowTrace, spec: str) -> None:
    """The runs that saw a row."""
    there = "" if found.present else "  [dim]it is not there now[/]"
    say(f"[bold]{plain(spec)}[/]  {plain(found.key)}{there}")
    if not found.sightings:
        say("No run read a version of it that has this row")
        return
    say("")
    rows = [_sighting(each) for each in found.sightings]
    print_table(["=run", "=saw it", "=snapshot", "row since", "=model", "name"], rows)
    doubts = dict.fromkeys(each.why for each in found.sightings if each.why)
    for why in doubts:
        say(f"[dim]may have: {plain(why)}[/]")


def _tree(traced: TracedRun) -> Tree:
    from rich.tree import Tree

    run = traced.run
    top = _run_line(traced)
    if traced.artifacts:
        each = traced.artifacts[-1]
        tree = Tree(_line(f"[bold]{plain(each.name)}[/]  {each.hash[:SHORT]}  {size(each.size)}"))
        branch = tree.add(top)
    else:
        tree = branch = Tree(top)
    tree.guide_style = "dim"
    code = code_of(run)
    if code:
        branch.add(_line(f"[dim]code[/] {plain(code)}"))
    branch.add(_line(f"[dim]command[/] {plain(shlex.join(run.command))}"))
    if run.reproduces:
        branch.add(_line(f"[dim]does again[/] {run.reproduces}"))
    metrics = [f"{plain(n)} {number(v)}" for n, v in [*run.metrics.items()][:_MAX_METRICS]]
    if metrics:
        branch.add(_line(f"[dim]metrics[/] {'  '.join(metrics)}"))
    for table in traced.tables:
        _add_table(branch, table)
    return tree


def _run_line(traced: TracedRun) -> Text:
    run = traced.run
    return _line(f"[yellow]{run.id}[/] {status(run)} {when(run.started)}  {plain(run.name)}")


def _add_table(branch: Tree, table: TracedTable) -> None:
    said = f"[bold cyan]{plain(table.name)}[/]@{table.snapshot[:SHORT]}"
    if table.rows is not None:
        said += f"  {plural(table.rows, 'row')}"
    if table.erased:
        said += " left, [yellow]rows erased since[/]"
    if table.splits:
        said += f"  [dim]split[/] {plain(', '.join(table.splits))}"
    if table.columns is not None:
        said += f"  [dim]columns[/] {plain(', '.join(table.columns))}"
    if table.repository:
        said += f"  [dim]in[/] {plain(table.repository)}"
    below = branch.add(_line(said))
    if table.why:
        below.add(_line(f"[dim]{plain(table.why)}[/]"))
    for change in table.changes:
        _add_change(below, change)
    if table.more:
        below.add(_line("[dim]… older changes[/]"))


def _add_change(branch: Tree, change: Change) -> None:
    message = plain(first_line(change.message))
    below = branch.add(_line(f"{when(change.time)}  [dim]{change.snapshot[:SHORT]}[/]  {message}"))
    for source in change.sources[:_MAX_SOURCES]:
        below.add(_line(f"[green]{plain(source)}[/]"))
    if len(change.sources) > _MAX_SOURCES:
        below.add(_line(f"[dim]… and {len(change.sources) - _MAX_SOURCES:,} more[/]"))


def _line(markup: str) -> Text:
    """A line of a tree, that ends in "…" where the terminal does."""
    from rich.text import Text

    text = Text.from_markup(markup)
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _sighting(each: Sighting) -> list[str]:
    model = each.run.model
    if each.changed is None:
        since = "gone" if not each.why or each.certain else "?"
    else:
        since = f"changed: {', '.join(each.changed)}" if each.changed else "the same"
    saw = "yes" if each.certain else "may have"
    return [
        each.run.id,
        f"{saw}, {', '.join(each.splits)}" if each.splits else saw,
        each.snapshot[:8],
        since,
        model.hash[:8] if model else "–",
        each.run.name,
    ]
