"""Options that several verbs share, and the repository that they mean."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datasnap.repository import Repository

_given: list[str] = []
_no_hooks: list[bool] = []
_sign: list[bool] = []


def remember_repository(place: str | None, *, hooks: bool = True) -> None:
    """Note what `datasnap -C PLACE --no-hooks …` said."""
    _given[:] = [place] if place else []
    _no_hooks[:] = [] if hooks else [True]
    _sign.clear()


def remember_signing() -> None:
    """Note that a verb was given --sign."""
    _sign[:] = [True]


def names_repository() -> bool:
    """Whether the command line says which repository is meant."""
    return bool(_given)


def the_repository(place: str | None = None) -> Repository:
    """The repository that the command line names; else that at a place; None: that which
    DATASNAP_REPO or the working directory names."""
    from datasnap.places import open_repository

    repository = open_repository(_given[0] if _given else place)
    if _no_hooks:
        from datasnap.gates.watch import Gate

        repository.refs.watcher = Gate(repository, hooks=False)
    repository.signer.on |= bool(_sign)
    repository.signer.ask = _ask_passphrase if sys.stdin.isatty() else None
    return repository


def _ask_passphrase(key: Path) -> str:
    from getpass import getpass

    return getpass(f"Passphrase of {key}: ")


def _names(*kinds: str) -> list[str]:
    """Names to complete from; nothing at all when there is no repository."""
    try:
        repository = the_repository()
        found: list[str] = []
        if "branches" in kinds:
            found += repository.branches()
        if "tags" in kinds:
            found += repository.tags()
        if "tables" in kinds:
            found += repository.snapshot().tables
        return found
    except Exception:  # a shell that completes has nowhere to show an error
        return []


def complete_refs(incomplete: str) -> list[str]:
    """Branches and tags that begin so."""
    return [name for name in _names("branches", "tags") if name.startswith(incomplete)]


def complete_branches(incomplete: str) -> list[str]:
    """Branches that begin so."""
    return [name for name in _names("branches") if name.startswith(incomplete)]


def complete_tables(incomplete: str) -> list[str]:
    """Tables that begin so, and after an @ the refs."""
    table, at, ref = incomplete.partition("@")
    if at:
        return [f"{table}@{name}" for name in complete_refs(ref)]
    return [name for name in _names("tables") if name.startswith(incomplete)]


def complete_diff(incomplete: str) -> list[str]:
    """What `diff` takes: refs, ranges of them, and tables."""
    old, dots, new = incomplete.partition("..")
    if dots:
        return [f"{old}..{name}" for name in complete_refs(new)]
    return complete_refs(incomplete) + complete_tables(incomplete)


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Branch = Annotated[
    str | None,
    typer.Option(
        "--branch",
        "-b",
        metavar="NAME",
        help="The branch to commit to  [default: the current one]",
        autocompletion=complete_branches,
    ),
]
Message = Annotated[
    str, typer.Option("--message", "-m", metavar="TEXT", help="What the change is, for the log.")
]
Author = Annotated[
    str | None,
    typer.Option("--author", metavar="NAME", help="Who made it  [default: git's user.name]"),
]
Revision = Annotated[
    str,
    typer.Argument(metavar="[REF]", help="A version.", autocompletion=complete_refs),
]
