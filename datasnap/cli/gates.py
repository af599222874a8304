"""Verbs about what data must pass: check, checks, protect, publish."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datasnap.cli.checktext import show_report
from datasnap.cli.options import (
    Author,
    Json,
    Message,
    Revision,
    complete_branches,
    complete_refs,
    the_repository,
)
from datasnap.cli.outcome import tell, telling_conflicts
from datasnap.cli.output import (
    hint,
    plain,
    plural,
    print_json,
    print_table,
    progress_bar,
    say,
)
from datasnap.errors import BadInput, ChecksFailed, StorageError, UsageError

if TYPE_CHECKING:
    from datasnap.gates.protection import Protection
    from datasnap.gates.report import CheckReport
    from datasnap.gates.rules import Contract, Rules

_Strict = Annotated[bool, typer.Option("--strict", help="Warnings are as bad as errors.")]


def check(
    ref: Revision = "HEAD",
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="REF",
            help="Check only what differs from this version  [default: the first parent]",
            autocompletion=complete_refs,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also check tables that do not differ.")
    ] = False,
    strict: _Strict = False,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="Run the checks of a file instead."),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option("--junit", metavar="FILE", help="Also write a report as JUnit XML."),
    ] = None,
    json: Json = False,
) -> None:
    """Run the repository's checks on a version: exit code 1 if one fails.

    Only checks whose tables differ from the version before are run. See checks.
    """
    from datasnap.gates.sqltext import valid_rules

    repository = the_repository()
    rules = repository.checks() if file is None else valid_rules(_text(file), source=str(file))
    report = repository.check(
        ref, against=against, rules=rules, everything=everything, strict=strict
    )
    if junit is not None:
        _write_junit(report, junit)
    if json:
        print_json(_as_json(report))
    elif not rules.names:
        say("There are no checks")
        hint("Next: datasnap checks --set FILE")
    else:
        show_report(report)
    if not report.ok:
        failed = ChecksFailed(report)
        failed.hint = ""  # they are above
        raise failed


def checks(
    set_: Annotated[
        Path | None,
        typer.Option(
            "--set", metavar="FILE", help="Make those of a TOML file the checks; -: stdin."
        ),
    ] = None,
    unset: Annotated[bool, typer.Option("--unset", help="Remove all checks.")] = False,
    toml: Annotated[bool, typer.Option("--toml", help="Print them as they were written.")] = False,
    json: Json = False,
) -> None:
    """List the repository's checks, set or remove them.

    They are SQL that must return no rows, and contracts of tables; config/checks.toml in
    datasnap's sources has an example of each.
    """
    if sum((set_ is not None, unset, toml, json)) > 1:
        raise UsageError("--set, --unset, --toml and --json exclude each other")
    repository = the_repository()
    if set_ is not None:
        rules = repository.set_checks(_text(set_))
        say(f"Set {_count(rules)}")
        hint("Next: datasnap check --all")
    elif unset:
        repository.unset_checks()
        say("Removed all checks")
    elif toml:
        sys.stdout.write(repository.checks_text())
    elif json:
        import tomllib

        print_json(tomllib.loads(repository.checks_text()))
    else:
        _list(repository.checks())


def protect(
    branch: Annotated[
        str | None,
        typer.Argument(
            metavar="[BRANCH]",
            help="The branch; none: list those that are protected.",
            autocompletion=complete_branches,
        ),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Let it take anything again.")] = False,
    signed: Annotated[bool, typer.Option("--signed", help="Take signed snapshots only.")] = False,
    json: Json = False,
) -> None:
    """Let a branch take only merges whose checks pass; or list such branches."""
    repository = the_repository()
    if branch is None:
        if off or signed:
            raise UsageError("say which branch")
        found = repository.protections()
        if json:
            print_json([{"branch": name, "signed": how.signed} for name, how in found.items()])
        elif found:
            print_table(["=branch", "takes"], [[name, _takes(how)] for name, how in found.items()])
        else:
            say("No branch is protected")
            hint("Next: datasnap protect BRANCH")
    elif off:
        if signed:
            raise UsageError("--off and --signed exclude each other")
        repository.unprotect(branch)
        say(f"[bold]{plain(branch)}[/] takes anything again")
    else:
        repository.protect(branch, signed=signed)
        taken = _takes(repository.protections()[branch])
        say(f"[bold]{plain(branch)}[/] now takes {taken}, and nothing else")
        hint(f"To bring something in: datasnap publish BRANCH --into {plain(branch)}")


def publish(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="What to bring in.", autocompletion=complete_refs),
    ],
    into: Annotated[
        str | None,
        typer.Option(
            "--into",
            "-b",
            metavar="NAME",
            help="The branch to publish it to  [default: the current one]",
            autocompletion=complete_branches,
        ),
    ] = None,
    message: Message = "",
    ff: Annotated[
        bool, typer.Option("--ff", help="Where moving the branch will do, commit no merge.")
    ] = False,
    strict: _Strict = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the branch SOURCE afterwards.")
    ] = False,
    author: Author = None,
    json: Json = False,
) -> None:
    """Merge a branch into another if what that gives passes the checks; else nothing changes.

    Write, audit, publish: nobody who reads the branch sees data that was not checked.
    """
    repository = the_repository()
    target = into or repository.head
    try:
        with telling_conflicts(target, json), progress_bar() as progress:
            done = repository.publish(
                source,
                target,
                message=message,
                ff=ff,
                strict=strict,
                delete=delete,
                author=author,
                progress=progress,
            )
    except ChecksFailed as error:
        if json:
            print_json({"outcome": "refused", "branch": target, "report": _as_json(error.report)})
        else:
            show_report(error.report)
        error.hint = ""
        raise
    if json:
        report = _as_json(done.report) if done.report else None
        fields = {name: getattr(done.merge, name) for name in ("outcome", "branch", "snapshot")}
        print_json({**fields, "report": report, "deleted": done.deleted})
        return
    if done.report and done.report.results:
        show_report(done.report)
    tell(done.merge, "merge", source, dry=False, json=False)
    if delete:
        kept = f"Kept branch {plain(source)}: it has moved on meanwhile"
        say(f"Deleted branch {plain(source)}" if done.deleted else kept)


def _takes(how: Protection) -> str:
    return f"merges{' of signed snapshots' if how.signed else ''} that pass the checks"


def _text(file: Path) -> str:
    """What a file, or standard input, holds."""
    if str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not text: {error}") from error


def _write_junit(report: CheckReport, file: Path) -> None:
    from datasnap.gates.junit import junit_xml

    try:
        file.write_bytes(junit_xml(report))
    except OSError as error:
        raise StorageError(f"cannot write {file}: {error.strerror}") from error


def _as_json(report: CheckReport) -> dict[str, Any]:
    import msgspec

    results = []
    for one in report.results:
        fields = {name: getattr(one, name) for name in one.__dataclass_fields__}
        fields["examples"] = one.examples.to_pylist() if one.examples is not None else []
        results.append(fields)
    head = {"snapshot": report.snapshot, "against": report.against, "ok": report.ok}
    return {**head, "results": msgspec.to_builtins(results, enc_hook=str)}


def _count(rules: Rules) -> str:
    return f"{plural(len(rules.checks), 'check')}, {plural(len(rules.contracts), 'contract')}"


def _list(rules: Rules) -> None:
    rows = [[one.name, one.severity, " ".join(one.sql.split())] for one in rules.checks]
    rows += [[one.called, one.severity, _terms(one)] for one in rules.contracts]
    if rows:
        print_table(["=check", "=severity", "what"], rows)
        return
    say("There are no checks")
    hint("Next: datasnap checks --set FILE")


def _terms(contract: Contract) -> str:
    """What a contract is about, in short."""
    limits = len(contract.drift)
    columns = plural(len(contract.columns), "column") + ("" if contract.extra_columns else " only")
    return ", ".join(
        [f"contract of {contract.table}: {columns}", *([plural(limits, "drift")] if limits else [])]
    )
