"""reflog and undo on the command line."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.test_verbs import Shell, full, shell, template  # noqa: F401


def test_reflog_shows_what_was_done_to_all_refs(full: Shell) -> None:  # noqa: F811
    full("tag", "v1", "main~1")
    full("tag", "--delete", "v1")
    lines = full("reflog").splitlines()
    assert re.match(r"when +ref +from → to +what +who", lines[0])
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d +tag:v1 +[0-9a-f]{8} → — +delete +Ada", lines[1])
    assert re.search(r"exp +[0-9a-f]{8} → [0-9a-f]{8} +commit: wider +Ada", lines[3])
    assert len(lines) == 7
    assert len(full("reflog", "-n", "2").splitlines()) == 3
    rows = json.loads(full("reflog", "--json"))
    assert [row["ref"] for row in rows] == ["tag:v1", "tag:v1", "exp", "exp", "main", "main"]
    assert rows[0]["after"] is None
    assert rows[0]["time"].endswith("Z")


def test_reflog_of_one_ref_numbers_its_places(full: Shell) -> None:  # noqa: F811
    lines = full("reflog", "main").splitlines()
    assert re.match(r"at +when +from → to", lines[0])
    assert [line.split()[0] for line in lines[1:]] == ["@{0}", "@{1}"]
    was = json.loads(full("log", "main@{1}", "--json"))[0]["snapshot"]
    assert f"→ {was[:8]} " in lines[2]
    assert "unknown ref 'mian'" in full.fails("reflog", "mian")


def test_reflog_of_an_empty_repository(shell: Shell) -> None:  # noqa: F811
    shell("init")
    assert shell("reflog") == "No changes yet\n"
    assert json.loads(shell("reflog", "--json")) == []
    assert "nothing to undo" in shell.fails("undo")


def test_undo_says_in_one_line_what_it_did(full: Shell) -> None:  # noqa: F811
    wider = json.loads(full("log", "exp", "--json"))[0]["snapshot"][:12]
    names = json.loads(full("log", "main", "--json"))[0]["snapshot"][:12]
    said = f'undo "commit: wider": exp is at {names}, without {wider}\n'
    assert full("undo", "--dry-run") == f"Would {said}"
    assert full("undo") == f"Undid {said[5:]}"
    assert full("undo") == f'Undid "create branch exp at HEAD": exp is deleted, it was at {names}\n'
    assert full("undo", "--redo") == f'Did again "create branch exp at HEAD": exp is at {names}\n'
    done = json.loads(full("undo", "--redo", "--json"))
    assert (done["way"], done["what"], done["dry_run"]) == ("redo", "commit: wider", False)
    assert done["steps"][0]["after"][:12] == wider


def test_undo_of_one_ref_and_of_what_cannot_be(full: Shell) -> None:  # noqa: F811
    assert "main is at" in full("undo", "main")
    assert "'main', which is the current branch" in full.fails("undo", "main", code=2)
    full("import", "names", "c.csv", "--key", "name", "-m", "[red]\x1b[31mtable")
    assert "commit: [red]�[31mtable" in full("reflog", "main")
    assert "is no longer where commit: names left it" in full.fails("undo", "main", "--redo")
    assert 'Undid "commit: [red]�[31mtable": main' in full("undo", "main")


def test_undo_names_the_tag_or_pin_that_it_is_about(full: Shell) -> None:  # noqa: F811
    full("tag", "v1")
    assert 'Undid "create tag v1 at HEAD": tag v1 is deleted' in full("undo")
    full("undo", "--redo")
    full("tag", "--delete", "v1")
    assert 'Undid "delete tag v1": tag v1 is at' in full("undo")


@pytest.fixture
def renamed(full: Shell) -> Shell:  # noqa: F811
    full("branch", "--rename", "main", "trunk")
    return full


def test_undo_of_a_rename_is_one_line(renamed: Shell) -> None:
    said = renamed("undo")
    assert re.fullmatch(
        r'Undid "rename: main to trunk": main is at (\w+); trunk is deleted, it was at \1\n', said
    )
    assert json.loads(renamed("status", "--json"))["branch"] == "main"
