"""The verb for runs that were recorded: runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from datasnap.cli.options import Json, the_repository
from datasnap.cli.output import (
    console,
    hint,
    json_number,
    plain,
    plural,
    print_json,
    print_table,
    say,
    size,
)
from datasnap.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from datasnap.ml.runs.records import RunRecord
    from datasnap.ml.tracing.comparing import Pair
    from datasnap.repository import Repository

#: A terminal of so many columns has room for further metrics in the list of runs.
_WIDE = 100
_LISTED = 20
#: Letters of a name in a list.
_LONGEST = 40
_COLOURS = {"running": "blue", "finished": "green", "failed": "red", "killed": "magenta"}


def runs(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ACTION]",
            help="show ID; metrics ID; compare A B; best --metric NAME; save ID ARTIFACT FILE; "
            "rm ID. None: list the runs, newest first. An ID may be cut short; a name means its "
            "newest run.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            "--metric", "-m", metavar="NAME", help="Best: by which metric. Metrics: only this one."
        ),
    ] = "",
    min: Annotated[bool, typer.Option("--min", help="The lowest is the best.")] = False,
    all: Annotated[
        bool, typer.Option("--all", help="Compare: also what is the same in both.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Remove: also one that runs, or is a model's.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", metavar="N", min=1, help="Runs to list; 20."),
    ] = None,
    json: Json = False,
) -> None:
    """List the runs that were recorded; show, compare or remove some, find the best.

    In SQL, runs() has a row for each run, and runs_metrics() each value of each metric by step:
    SELECT params.lr, metrics.auc, snapshot FROM runs() ORDER BY 2 DESC.
    """
    verb, *rest = words or ["list"]
    if verb not in _ACTIONS:
        raise UnknownName("action", verb, [name for name in _ACTIONS if name != "list"])
    action, expected, options = _ACTIONS[verb]
    if len(rest) != len(expected):
        raise UsageError(f"say: datasnap runs {' '.join([verb, *expected])}")
    given = {"--metric": metric, "--min": min, "--all": all, "--force": force, "--limit": limit}
    for name, value in given.items():
        if value and name not in options:
            said = " ".join(["runs", *(words or ())[:1]])
            raise UsageError(f"{said} takes no {name}", hint="See: datasnap runs --help")
    if verb == "best" and not metric:
        raise UsageError("say by which metric", hint="As in: datasnap runs best --metric auc")
    action(the_repository(), rest, _Wanted(metric, min, all, force, limit or _LISTED, json))


class _Wanted(msgspec.Struct, frozen=True):
    """What the options said."""

    metric: str
    lowest: bool
    everything: bool
    force: bool
    limit: int
    json: bool


def as_json(run: RunRecord) -> dict[str, object]:
    """A run for programs."""
    made: dict[str, object] = msgspec.to_builtins(run, enc_hook=str)
    took = run.duration
    return {
        **made,
        "metrics": {name: json_number(value) for name, value in run.metrics.items()},
        "seconds": took.total_seconds() if took else None,
        "snapshot": run.snapshot,
        "snapshots": run.snapshots,
    }


def numbers_json(pairs: Sequence[Pair]) -> list[Pair]:
    """Metrics of two runs for programs."""
    return [replace(pair, a=json_number(pair.a), b=json_number(pair.b)) for pair in pairs]


def took(run: RunRecord) -> str:
    """How long it took: 0.4 s, 3 min 20 s, 2 h 05 min."""
    length = run.duration
    return "" if length is None else _length(length)


def status(run: RunRecord) -> str:
    """Its status, coloured; as markup."""
    return f"[{_COLOURS[run.status]}]{run.status}[/]"


def number(value: object) -> str:
    """A value in a table; numbers to six digits."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()


def _length(length: timedelta) -> str:
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def _list(repository: Repository, rest: Sequence[str], wanted: _Wanted) -> None:
    found = repository.runs()
    _print_list(found, wanted)
    if not wanted.json and not found:
        say("No run was recorded yet")
        hint("Next: datasnap run -- python train.py")


def _best(repository: Repository, rest: Sequence[str], wanted: _Wanted) -> None:
    from datasnap.ml.runs.records import ranked_runs

    found = ranked_runs(repository, wanted.metric, lowest=wanted.lowest)
    _print_list(found, wanted, wanted.metric)
    if not wanted.json:
        hint(f"Next: datasnap runs show {found[0].id}")


def _print_list(found: Sequence[RunRecord], wanted: _Wanted, metric: str = "") -> None:
    if wanted.json:
        print_json([as_json(run) for run in found[: wanted.limit]])
        return
    if not found:
        return
    from rich.text import Text

    shown = found[: wanted.limit]
    metrics = [metric] if metric else _key_metrics(shown)
    rows = [
        [
            run.id,
            Text.from_markup(status(run)),
            _when(run.started),
            took(run),
            (run.snapshot or "")[:8],
            *(number(run.metrics.get(name)) for name in metrics),
            _cut(run.name),
        ]
        for run in shown
    ]
    heads = ["=run", "=status", "=started", ">took", "=snapshot", *(f">{m}" for m in metrics)]
    print_table([*heads, "name"], rows)  # type: ignore[arg-type]
    if len(found) > len(shown):
        say(f"[dim]… and {plural(len(found) - len(shown), 'older run')}: --limit {len(found)}[/]")


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _key_metrics(found: Sequence[RunRecord]) -> list[str]:
    """The metrics that most runs have; of these the first to be logged."""
    count: dict[str, int] = {}
    for run in found:
        for name in run.metrics:
            count[name] = count.get(name, 0) + 1
    return sorted(count, key=lambda name: -count[name])[: 3 if console().width >= _WIDE else 1]


def _when(time: datetime) -> str:
    """A time in the reader's own zone, in few characters."""
    local = time.astimezone()
    same_year = local.year == datetime.now(local.tzinfo).year
    return f"{local:%m-%d %H:%M}" if same_year else f"{local:%Y-%m-%d}"


def _show(repository: Repository, rest: Sequence[str], wanted: _Wanted) -> None:
    from datasnap.cli.runtext import show_run

    run = repository.run_record(rest[0])
    if wanted.json:
        print_json(as_json(run))
    else:
        show_run(repository, run)


def _metrics(repository: Repository, rest: Sequence[str], wanted: _Wanted) -> None:
    from datasnap.cli.runtext import show_metrics

    found = repository.run_metrics(rest[0])
    if wanted.metric:
        import pyarrow.compute as pc

        names = found["name"].unique().to_pylist()
        if wanted.metric not in names:
            raise UnknownName("metric", wanted.metric, names, where=f"of run {rest[0]}")
        found = found.filter(pc.equal(found["name"], wanted.metric))
    if wanted.json:
        rows = found.drop_columns(["run"]).to_pylist()
        print_json([{**row, "value": json_number(row["value"])} for row in rows])
    elif found.num_rows:
        show_metrics(found)
    else:
        say("The run has logged no metric")


def _compare(repository: Repository, rest: Sequence[str], wanted: _Wanted) -> None:
    from datasnap.cli.runtext import comparison_json, show_comparison

    found = repository.compare_runs(rest[0], rest[1])
    if wanted.json:
        print_json(comparison_json(found))
    else:
        show_comparison(found, everything=wanted.everything)


def _save(repository: Repository, rest: Sequence[str], wanted: _Wanted) -> None:
    run = repository.run_record(rest[0])
    found = {each.name: each for saved in run.artifacts for each in saved.contents}
    if rest[1] not in found:
        raise UnknownName("artifact", rest[1], found, where=f"of run {run.id}")
    repository.write_artifact(found[rest[1]], Path(rest[2]))
    if wanted.json:
        print_json(found[rest[1]])
    else:
        say(f"Wrote {plain(rest[2])}, {size(found[rest[1]].size)}")


def _remove(repository: Repository, rest: Sequence[str], wanted: _Wanted) -> None:
    run = repository.remove_run(rest[0], force=wanted.force)
    if wanted.json:
        print_json(as_json(run))
    else:
        say(f"Removed run {run.id} {plain(run.name)}: its record, artifacts and pins")


_Action = Callable[["Repository", Sequence[str], _Wanted], None]
#: What does it, the words that it needs, and the options that belong to it.
_ACTIONS: dict[str, tuple[_Action, tuple[str, ...], tuple[str, ...]]] = {
    "list": (_list, (), ("--limit",)),
    "show": (_show, ("ID",), ()),
    "metrics": (_metrics, ("ID",), ("--metric",)),
    "compare": (_compare, ("A", "B"), ("--all",)),
    "best": (_best, (), ("--metric", "--min", "--limit")),
    "save": (_save, ("ID", "NAME", "FILE"), ()),
    "rm": (_remove, ("ID",), ("--force",)),
}
