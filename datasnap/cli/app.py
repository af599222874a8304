"""The application: what `datasnap` itself takes, before a verb."""

from __future__ import annotations

from typing import Annotated

import typer

from datasnap.cli.options import remember_repository
from datasnap.cli.verbs import Verbs

# Plain help, not rich's panels: those take longer to draw than all else together.
app = typer.Typer(
    name="datasnap",
    cls=Verbs,
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
