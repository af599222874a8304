"""Verbs of signatures: sign, signatures, signers; and --sign, for every verb that commits."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datasnap.cli.options import Json, Revision, remember_signing, the_repository
from datasnap.cli.output import SHORT, first_line, hint, plain, plural, print_json, print_table, say
from datasnap.errors import CorruptData, UsageError

if TYPE_CHECKING:
    from datasnap.signing import SignatureStatus
    from datasnap.signing.signatures import Status

Sign = Annotated[
    bool, typer.Option("--sign", help="Sign the snapshot.  [key: the setting signing.key]")
]
_COLOURS: dict[Status, str] = {
    "good": "green",
    "unsigned": "dim",
    "untrusted": "yellow",
    "bad": "red",
}
#: Signatures of no worth that `verify` shows; `signatures` has all.
_SHOWN = 20


def signable(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb that commits, with the option --sign."""

    @wraps(verb)
    def with_sign(*arguments: Any, sign: bool, **options: Any) -> None:
        if sign:
            remember_signing()
        verb(*arguments, **options)

    # What typer makes the command line of.
    taken = inspect.signature(verb, eval_str=True)
    option = inspect.Parameter(
        "sign", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Sign
    )
    parameters = [*taken.parameters.values(), option]
    vars(with_sign)["__signature__"] = taken.replace(parameters=parameters)
    with_sign.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_sign


def sign(
    ref: Revision = "HEAD",
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            metavar="FILE",
            help="A private Ed25519 key of OpenSSH  [default: the setting signing.key, "
            "$DATASNAP_SIGNING_KEY, ~/.ssh/id_ed25519]",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Sign a snapshot: say that it is as it should be. Several people can sign one.

    What leads to it is in its ID, and so signed with it; but a protected branch may want a
    signature of each.
    """
    repository = the_repository()
    status = repository.sign(ref, key=key)
    if json:
        print_json(status)
        return
    say(f"Signed [yellow]{status.snapshot[:SHORT]}[/]")
    if status.status != "good":
        hint("Nobody trusts that key yet: datasnap signers --add NAME FILE.pub")


def signatures(ref: Revision = "HEAD", json: Json = False) -> None:
    """Show who signed a version and those that lead to it, newest first."""
    repository = the_repository()
    found = repository.signatures(ref)
    if json:
        print_json(found)
        return
    rows = []
    for each in found:
        message = first_line(repository.snapshot(each.snapshot).message)
        rows.append([each.snapshot[:SHORT], each.status, _told(each), message])
    print_table(["=snapshot", "=signed", "by", "message"], rows)


def signers(
    add: Annotated[
        tuple[str, str] | None,
        typer.Option("--add", metavar="NAME FILE.pub", help="Trust a public key."),
    ] = None,
    remove: Annotated[
        str | None,
        typer.Option("--remove", metavar="NAME", help="Trust none of somebody's keys any more."),
    ] = None,
    json: Json = False,
) -> None:
    """List whose signatures are trusted; add or remove somebody.

    The list is kept in the repository: who may write there decides. $DATASNAP_SIGNERS names a
    file (as --json prints it) that is asked instead.
    """
    repository = the_repository()
    if add and remove is not None:
        raise UsageError("--add and --remove exclude each other")
    if add:
        fingerprint = repository.add_signer(*add)
        say(f"Trusting [bold]{plain(add[0])}[/] by {fingerprint}")
    elif remove is not None:
        count = repository.remove_signer(remove)
        say(f"Trusting {plural(count, 'key')} of {plain(remove)} no more")
    elif json:
        print_json({"signers": repository.signers()})
    elif trusted := repository.signers():
        print_table(["signer", "=key"], [[each.name, each.fingerprint] for each in trusted])
    else:
        say("Nobody's signatures are trusted")
        hint("Next: datasnap signers --add NAME ~/.ssh/id_ed25519.pub")


def say_signatures(found: Sequence[SignatureStatus]) -> None:
    """Print what signatures are worth, in short, and those that are worth nothing."""
    counts = Counter(each.status for each in found)
    said = [f"[{_COLOURS[s]}]{counts[s]:,} {s}[/]" for s in _COLOURS if counts[s]]
    say(f"Signatures: {', '.join(said) or 'none'}")
    worthless = [each for each in found if each.status in ("bad", "untrusted")]
    for each in worthless[:_SHOWN]:
        colour = _COLOURS[each.status]
        say(f"[{colour}]![/] {each.snapshot[:SHORT]} {each.status}: {plain(each.why)}")
    if len(worthless) > _SHOWN:
        say(f"… and {len(worthless) - _SHOWN:,} more: datasnap signatures")


def check_none_bad(found: Sequence[SignatureStatus]) -> None:
    """Raises:
    CorruptData: a signature is wrong.
    """
    count = sum(each.status == "bad" for each in found)
    if count:
        raise CorruptData(
            f"{plural(count, 'snapshot')} with a bad signature",
            hint="Somebody changed it. Its signers can sign again: datasnap sign REF",
        )


def _told(status: SignatureStatus) -> str:
    return ", ".join(status.signers) or status.why
