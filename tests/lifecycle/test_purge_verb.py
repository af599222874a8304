"""`datasnap purge` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.test_verbs import Shell
from tests.lifecycle.erased import places


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A repository with two commits, and a tag at the first."""
    shell = Shell(tmp_path)
    people = pa.table(
        {"id": range(40), "who": ["~~ann~~" if i % 8 == 3 else "-" for i in range(40)]}
    )
    pq.write_table(people, tmp_path / "people.parquet")
    shell("init")
    (tmp_path / ".datasnap" / "config.toml").write_text("[tables]\ncompression_level = 0\n")
    shell("import", "people", "people.parquet", "--key", "id", "-m", "first")
    shell("tag", "v1")
    shell("copy", "people", "copy")
    return shell


def test_a_dry_run_says_what_would_be_done_and_does_nothing(shell: Shell) -> None:
    before = shell("log", "--json")
    said = shell("purge", "people", "--where", "who = '~~ann~~'", "--dry-run")
    assert "people: 5 rows would be erased from 1 version, in 2 snapshots" in said
    assert "tag v1 would move, −5 rows" in said
    assert "Tables with the same columns, which were not looked at: copy" in said
    assert "1 chunk with such rows would stay: other tables" in said
    assert shell("log", "--json") == before


def test_without_a_terminal_it_wants_to_be_told_yes(shell: Shell) -> None:
    assert "no terminal to ask on" in shell.fails("purge", "people", "-w", "id = 1", code=2)
    assert "unknown table 'x'" in shell.fails("purge", "x", "-w", "id = 1", "--yes")


def test_it_says_what_is_gone_and_old_ids_say_what_they_are(shell: Shell) -> None:
    first = json.loads(shell("log", "--json"))[1]["snapshot"]
    shell("drop", "copy")
    shell("purge", "copy", "--where", "who = '~~ann~~'", "--yes")
    said = shell("purge", "people", "--where", "who = '~~ann~~'", "--yes")
    assert "chunks and " in said
    assert "erased; none of them is in any of the " in said
    assert "The new snapshots are not signed.\nClones, exports" in said
    shown = shell("sql", f"SELECT count(*) AS n FROM snapshot('people', '{first}')")
    assert "35" in shown
    assert shell.errors.count(f"note: {first[:12]} was purged on 2") == 1
    assert "rows of 'people' were erased" in shell.errors
    assert "@" not in shell.errors  # the name of who did it, no mail
    assert shell("show", "people") and not shell.errors
    from datasnap.places import open_repository

    assert places(open_repository(str(shell.folder)), "~~ann~~") == []


def test_json_tells_all_of_it(shell: Shell) -> None:
    done = json.loads(shell("purge", "people", "-w", "who = '~~ann~~'", "-y", "--json"))
    assert (done["rows"], done["versions"], done["snapshots"]) == (5, 1, 2)
    assert done["elsewhere"] == ["copy"]
    assert {ref["name"] for ref in done["refs"]} == {"main", "v1"}
    assert done["erased"]["packs"] > 0
    again = shell("purge", "people", "-w", "who = '~~ann~~'", "-y")
    assert "no version has such rows" in again


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("id", "the condition is no boolean but BIGINT"),
        ("id - 3", "the condition is no boolean but BIGINT"),
        ("id = 1 OR random() < 0.5", "the condition says another thing each time: random()"),
    ],
)
def test_what_might_erase_more_than_was_meant_is_refused(
    shell: Shell, where: str, says: str
) -> None:
    before = shell("log", "--json")
    assert says in shell.fails("purge", "people", "--where", where, "--yes")
    assert shell("log", "--json") == before


def test_a_column_that_there_never_was_is_answered_with_those_there_are(shell: Shell) -> None:
    said = shell.fails("purge", "people", "--where", "nocol = 1", "--dry-run")
    assert "hint:  The columns that it had: id, who.\n" in said
