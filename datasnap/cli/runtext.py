"""A run, and two runs side by side, in a terminal."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from datasnap.cli.diffsummary import counts
from datasnap.cli.output import SHORT, hint, plain, plural, print_table, say, size, when
from datasnap.cli.readtext import show_reads
from datasnap.cli.runs import as_json, number, numbers_json, status, took
from datasnap.errors import DatasnapError

if TYPE_CHECKING:
    import pyarrow as pa

    from datasnap.ml.runs.records import RunRecord
    from datasnap.ml.tracing.comparing import Pair, RunComparison, TablePair
    from datasnap.repository import Repository

_MAX_FILES = 20


def show_run(repository: Repository, run: RunRecord) -> None:
    """All that is known of a run."""
    from datasnap.ml.tracing.comparing import flat

    say(f"[yellow]{run.id}[/] [bold]{plain(run.name)}[/] {status(run)}")
    if run.error:
        say(f"[red]{plain(run.error)}[/]")
    length = took(run)
    _lines(
        ("started", when(run.started) + (f", took {length}" if length else "")),
        ("command", shlex.join(run.command)),
        ("in", run.folder),
        ("again", run.reproduces and f"does {run.reproduces} again"),
        ("by", f"{run.user} on {run.host}"),
        ("code", code_of(run)),
        ("python", _environment(repository, run)),
    )
    params = {name: _or_null(value) for name, value in flat(run.params).items()}
    _section("parameters", [""], [[name, number(value)] for name, value in params.items()])
    _section("metrics", [""], [[name, number(value)] for name, value in run.metrics.items()])
    if run.reads:
        say("")
        show_reads(run.reads)
    files = [[a.name, a.hash[:SHORT], size(a.size)] for a in run.artifacts]
    _section("artifacts", ["=hash", ">size"], files)
    if run.artifacts:
        hint(f"Next: datasnap runs save {run.id} {plain(run.artifacts[0].name)} FILE")


def show_metrics(values: pa.Table) -> None:
    """Values of metrics, by step: a line for each step, and for each time that it came again."""
    lines: dict[tuple[int | None, int], dict[str, str]] = {}
    times: Counter[tuple[int | None, str]] = Counter()
    names: dict[str, None] = {}
    for name, step, value in zip(
        *(values[each].to_pylist() for each in ("name", "step", "value")), strict=True
    ):
        names[name] = None
        lines.setdefault((step, times[step, name]), {})[name] = number(value)
        times[step, name] += 1
    rows = [
        ["" if step is None else str(step), *(line.get(name, "") for name in names)]
        for (step, _), line in lines.items()
    ]
    if rows:
        print_table([">step", *(f">{name}" for name in names)], rows)


def show_comparison(found: RunComparison, *, everything: bool) -> None:
    """Two runs side by side: what differs, or everything."""
    from datasnap.ml.tracing.comparing import flat

    def chosen(pairs: Iterable[Pair]) -> list[Pair]:
        return [pair for pair in pairs if everything or not pair.same]

    for letter, run in (("a", found.a), ("b", found.b)):
        said = f"[dim]{letter}[/]  [yellow]{run.id}[/]  {status(run)}  {when(run.started)}"
        say(f"{said}  [bold]{plain(run.name)}[/]")
    a, b = flat(found.a.params), flat(found.b.params)
    params = [
        replace(
            pair,
            a=_or_null(pair.a) if pair.name in a else None,
            b=_or_null(pair.b) if pair.name in b else None,
        )
        for pair in chosen(found.params)
    ]
    _pairs("parameters", params)
    _pairs("metrics", chosen(found.metrics), _gain)
    _data([table for table in found.data if everything or not table.same])
    _pairs("code", chosen(found.code), show=_shown_code)
    _listed(plural(len(found.commits), "commit"), found.commits)
    _listed(plural(len(found.files), "file"), [file.replace("\t", " ") for file in found.files])
    _pairs("environment", chosen(found.environment))
    if not everything:
        hint("Only what differs is shown; --all: everything")


def comparison_json(found: RunComparison) -> dict[str, object]:
    """The same for programs: everything, and whether it is the same."""
    return {
        "a": as_json(found.a),
        "b": as_json(found.b),
        "params": found.params,
        "metrics": numbers_json(found.metrics),
        "data": found.data,
        "code": found.code,
        "commits": found.commits,
        "files": found.files,
        "environment": found.environment,
    }


def _or_null(value: object) -> object:
    """A parameter that is there; None is a value, too."""
    return "null" if value is None else value


def _lines(*lines: tuple[str, str]) -> None:
    for name, value in lines:
        if value:
            say(f"  [dim]{name:<8}[/] {plain(value)}")


def _section(name: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if rows:
        say("")
        print_table([name, *heads], rows)


def code_of(run: RunRecord) -> str:
    """Its commit, branch, and how much differed from that."""
    code = run.code
    if not code.commit:
        return ""
    said = code.commit[:SHORT] + (f" on {code.branch}" if code.branch else "")
    changed = code.diff.count(b"\ndiff --git ") + code.diff.startswith(b"diff --git ")
    if changed:
        said += f", {plural(changed, 'file')} changed"
    if code.untracked:
        said += f", {len(code.untracked):,}{'+' * code.unlisted} untracked"
    if code.cut:
        said += ", not all of it is recorded"
    return said


def _environment(repository: Repository, run: RunRecord) -> str:
    from datasnap.ml.runs.records import environment_of

    try:
        found = environment_of(repository, run)
    except DatasnapError:
        return ""
    packages = plural(len(found.packages), "package")
    return f"{found.python}, {packages}, {found.platform} ({run.environment[:SHORT]})"


def _pairs(
    name: str,
    pairs: Sequence[Pair],
    more: Callable[[Pair], str] = lambda pair: "",
    show: Callable[[Pair, object], str] = lambda pair, value: number(value),
) -> None:
    rows = [[p.name, show(p, p.a) or "–", show(p, p.b) or "–", more(p)] for p in pairs]
    _section(name, ["a", "b", ""], rows)


def _gain(pair: Pair) -> str:
    if isinstance(pair.a, float) and isinstance(pair.b, float):
        return f"{pair.b - pair.a:+.4g}".replace("-", "−")
    return ""


def _shown_code(pair: Pair, value: object) -> str:
    if value is None:
        return ""
    if pair.name == "commit":
        return str(value)[:SHORT]
    if pair.name == "changes":
        return plural(str(value).count("\n"), "line") + " of diff"
    return plural(len(value), "file") if isinstance(value, list) else str(value)


def _data(tables: Sequence[TablePair]) -> None:
    if not tables:
        return
    say("\n[dim]data[/]")
    for table in tables:
        a, b = (", ".join(id[:SHORT] for id in ids) or "not read" for ids in (table.a, table.b))
        say(f"  {plain(table.name)}  {a} → {b}  {_changes(table)}")
        for line in _columns(table):
            say(f"    {line}")


def _changes(table: TablePair) -> str:
    if table.same:
        return "[dim]the same[/]"
    kinds = ("added", "removed", "changed")
    if table.changes is None:
        said = f"[dim]{plain(table.why)}[/]"
    else:
        said = counts({kind: getattr(table.changes, kind) for kind in kinds})
    return f"{said}  [yellow]rows were erased since[/]" if table.erased else said


def _columns(table: TablePair) -> list[str]:
    if table.changes is None:
        return []
    found = table.changes
    columns = [f"[green]+{plain(name)}[/]" for name in found.columns_added]
    columns += [f"[red]−{plain(name)}[/]" for name in found.columns_removed]
    columns += [f"{plain(a)} → {plain(b)}" for a, b in found.columns_renamed]
    columns += [f"{plain(n)} {plain(a)} → {plain(b)}" for n, a, b in found.columns_retyped]
    cells = [f"{plain(name)} [yellow]{count:,}[/]" for name, count in found.cells.items()]
    lines = [f"[dim]columns[/]  {'   '.join(columns)}"] if columns else []
    return lines + ([f"[dim]cells[/]    {'   '.join(cells)}"] if cells else [])


def _listed(what: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    say(f"  [dim]{what}[/]")
    for line in lines[:_MAX_FILES]:
        say(f"    {plain(line)}")
    if len(lines) > _MAX_FILES:
        say(f"    [dim]… and {len(lines) - _MAX_FILES:,} more[/]")
