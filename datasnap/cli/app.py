"""The application: all verbs, in the order in which a newcomer meets them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from datasnap.cli import (
    data,
    diff,
    du,
    edit,
    gates,
    gc,
    history,
    launch,
    leaks,
    merge,
    past,
    pin,
    purge,
    receipts,
    refs,
    replay,
    retention,
    runs,
    signing,
    store,
    trace,
    undo,
    verify,
)
from datasnap.cli.options import remember_repository
from datasnap.cli.signing import signable

# Plain help, not rich's panels: those take longer to draw than all else together.
app = typer.Typer(
    name="datasnap",
    help="Version tables as git versions code: branch, query and pin any version.",
    epilog="A table at a version is written TABLE@REF: rides@main~2. "
    "REF is a branch, a tag, an ID or its prefix, with ~N, ^N, @{N} and @{DATE}.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        from datasnap import __version__

        typer.echo(f"datasnap {__version__}")
        raise typer.Exit


@app.callback()
def main(
    repo: Annotated[
        str | None,
        typer.Option(
            "--repo",
            "-C",
            metavar="PLACE",
            help="The repository: a folder, s3://…, gs://…, az://…  [env: DATASNAP_REPO; "
            "default: .datasnap/ here or above]",
        ),
    ] = None,
    no_hooks: Annotated[bool, typer.Option("--no-hooks", help="Call no hooks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Version tables as git versions code: branch, query and pin any version."""
    remember_repository(repo, hooks=not no_hooks)


_VERBS: dict[str, Callable[..., None]] = {
    "init": store.init,
    "import": data.import_,
    "status": store.status,
    "ls": store.ls,
    "log": history.log,
    "show": history.show,
    "diff": diff.diff,
    "history": past.history,
    "blame": past.blame,
    "bisect": past.bisect,
    "branch": refs.branch,
    "switch": refs.switch,
    "tag": refs.tag,
    "pin": pin.pin,
    "pins": refs.pins,
    "merge": merge.merge,
    "conflicts": merge.conflicts,
    "resolve": merge.resolve,
    "revert": replay.revert,
    "cherry-pick": replay.cherry_pick,
    "rebase": replay.rebase,
    "reset": replay.reset,
    "restore": replay.restore,
    "reflog": undo.reflog,
    "undo": undo.undo,
    "sql": data.sql,
    "export": data.export,
    "append": edit.append,
    "upsert": edit.upsert,
    "delete": edit.delete,
    "update": edit.update,
    "add-column": edit.add_column,
    "drop-column": edit.drop_column,
    "rename-column": edit.rename_column,
    "cast-column": edit.cast_column,
    "transform": edit.transform,
    "filter": edit.filter_,
    "sample": edit.sample,
    "copy": edit.copy,
    "set-key": edit.set_key,
    "drop": edit.drop,
    "run": launch.run,
    "runs": runs.runs,
    "trace": trace.trace,
    "reproduce": trace.reproduce,
    "leaks": leaks.leaks,
    "check": gates.check,
    "checks": gates.checks,
    "publish": gates.publish,
    "protect": gates.protect,
    "sign": signing.sign,
    "signatures": signing.signatures,
    "signers": signing.signers,
    "optimize": edit.optimize,
    "gc": gc.gc,
    "prune": retention.prune,
    "archive": retention.archive,
    "purge": purge.purge,
    "du": du.du,
    "verify": verify.verify,
    "verify-receipt": receipts.verify_receipt,
}
#: Verbs that commit: their snapshots can be signed.
_COMMITS = {
    *("import", "merge", "revert", "cherry-pick", "rebase", "restore", "sql", "publish"),
    *("append", "upsert", "delete", "update", "add-column", "drop-column", "rename-column"),
    *("cast-column", "transform", "filter", "sample", "copy", "set-key", "drop", "optimize"),
}
#: Verbs whose last words are another program's, options too.
_PASSES_ON = {"run"}
for _verb, _function in _VERBS.items():
    _settings = {"allow_interspersed_args": False} if _verb in _PASSES_ON else {}
    app.command(_verb, context_settings=_settings)(
        signable(_function) if _verb in _COMMITS else _function
    )
