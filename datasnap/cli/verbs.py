"""The verbs, in the order in which a newcomer meets them.

A verb's options are made only when it is used: to make those of all takes longer than most verbs.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from datasnap.cli.command import Verb

#: Where each is, below `datasnap.cli`.
_VERBS = {
    "init": "store.init",
    "import": "data.import_",
    "status": "store.status",
    "ls": "store.ls",
    "log": "history.log",
    "show": "history.show",
    "diff": "diff.diff",
    "history": "past.history",
    "blame": "past.blame",
    "bisect": "past.bisect",
    "branch": "refs.branch",
    "switch": "refs.switch",
    "tag": "refs.tag",
    "pin": "pin.pin",
    "pins": "refs.pins",
    "merge": "merge.merge",
    "conflicts": "merge.conflicts",
    "resolve": "merge.resolve",
    "revert": "replay.revert",
    "cherry-pick": "replay.cherry_pick",
    "rebase": "replay.rebase",
    "reset": "replay.reset",
    "restore": "replay.restore",
    "reflog": "undo.reflog",
    "undo": "undo.undo",
    "sql": "data.sql",
    "export": "data.export",
    "append": "edit.append",
    "upsert": "edit.upsert",
    "delete": "edit.delete",
    "update": "edit.update",
    "add-column": "edit.add_column",
    "drop-column": "edit.drop_column",
    "rename-column": "edit.rename_column",
    "cast-column": "edit.cast_column",
    "transform": "edit.transform",
    "filter": "edit.filter_",
    "sample": "edit.sample",
    "copy": "edit.copy",
    "set-key": "edit.set_key",
    "drop": "edit.drop",
    "run": "launch.run",
    "runs": "runs.runs",
    "model": "models.model",
    "trace": "trace.trace",
    "reproduce": "reproduce.reproduce",
    "leaks": "leaks.leaks",
    "check": "gates.check",
    "checks": "gates.checks",
    "publish": "gates.publish",
    "protect": "gates.protect",
    "sign": "signing.sign",
    "signatures": "signing.signatures",
    "signers": "signing.signers",
    "optimize": "edit.optimize",
    "gc": "gc.gc",
    "prune": "retention.prune",
    "archive": "retention.archive",
    "purge": "purge.purge",
    "du": "du.du",
    "verify": "verify.verify",
    "verify-receipt": "receipts.verify_receipt",
}
_COMMITS = {
    *("import", "merge", "revert", "cherry-pick", "rebase", "restore", "sql", "publish"),
    *("append", "upsert", "delete", "update", "add-column", "drop-column", "rename-column"),
    *("cast-column", "transform", "filter", "sample", "copy", "set-key", "drop", "optimize"),
}
#: Verbs whose last words are another program's, options too.
_PASSES_ON = {"run"}


class Verbs(TyperGroup):
    """Finds a verb when it is asked for."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        names: dict[str, Any] = dict.fromkeys(_VERBS)
        self.commands = names  # for lists and suggestions

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A verb with its options; None: there is no such verb."""
        if cmd_name not in _VERBS:
            return None
        settings = {"allow_interspersed_args": False} if cmd_name in _PASSES_ON else {}
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(cmd_name, cls=Verb, context_settings=settings)(_options_and_all(cmd_name))
        return typer.main.get_command(alone)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of verbs in the help, each with what it does in a line."""
        width = formatter.width - 6 - max(map(len, _VERBS))
        with formatter.section("Commands"):
            formatter.write_dl([(verb, _in_short(_function(verb), width)) for verb in _VERBS])


def _function(verb: str) -> Callable[..., None]:
    module, _, name = _VERBS[verb].partition(".")
    function: Callable[..., None] = getattr(importlib.import_module(f"datasnap.cli.{module}"), name)
    return function


def _options_and_all(verb: str) -> Callable[..., None]:
    from datasnap.cli.signing import signable

    return signable(_function(verb)) if verb in _COMMITS else _function(verb)


def _in_short(function: Callable[..., None], width: int) -> str:
    """The first sentence of a docstring, cut between words."""
    text = " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())
    sentence = text.partition(". ")[0].removesuffix(".") + "."
    if len(sentence) <= width:
        return sentence
    return sentence[: width - 3].rpartition(" ")[0].rstrip(":,;") + "..."
