"""Usage, help and errors of verbs, in plain words."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
import typer
from typer.testing import CliRunner

from datasnap.cli.command import Verb


def _verb(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="The table.")],
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Files.")],
    ref: Annotated[str, typer.Argument(metavar="[REF]", help="A version.")] = "HEAD",
    number: Annotated[int, typer.Option("-n", "--number", min=1, help="So many.")] = 1,
    side: Annotated[Literal["ours", "theirs"], typer.Option("--side")] = "ours",
) -> None:
    """Do it."""


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command("verb", cls=Verb)(_verb)
    return app


def test_help_names_arguments_as_they_are_written(app: typer.Typer) -> None:
    said = CliRunner().invoke(app, ["--help"]).output
    assert "[OPTIONS] TABLE FILE… [REF]\n" in said
    assert "\n  TABLE  The table.\n" in said
    assert "\n  REF    A version.  [default: HEAD]\n" in said
    assert "--number N " in said
    assert "--side ours|theirs " in said
    assert not any(noise in said for noise in ("{", "[[", "<str>", "<", "[required]", "x>="))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-n", "0"], "it must be 1 or more"),
        (["-n", "x"], "it must be a whole number"),
        (["--side", "both"], "'both' is not one of 'ours', 'theirs'"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(
    app: typer.Typer, words: list[str], says: str
) -> None:
    done = CliRunner().invoke(app, ["t", "f", "HEAD", *words])
    assert done.exit_code == 2
    assert says in done.output
    assert "Input should" not in done.output
    assert "Value error" not in done.output
