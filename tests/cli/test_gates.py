"""check, checks, protect and publish as a user runs them."""

from __future__ import annotations

import json
import re
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datasnap
from tests.cli.test_verbs import Shell

CHECKS = """
[[check]]
name = "x is small"
sql = "SELECT x, id FROM rides WHERE x > 5"
[[contract]]
table = "rides"
[contract.columns.x]
max = 8
min = 0
[contract.columns.y]
optional = true
values = ["a", "b"]
severity = "warning"
[[contract]]
table = "names"
rows = { min = 1 }
"""


@pytest.fixture
def full(tmp_path: Path) -> Shell:
    """A repository with two tables on main, and one row and column more on exp."""
    rides = pa.table({"id": [1, 2, 3], "x": [0.5, 1.5, 2.5]})
    pq.write_table(rides, tmp_path / "a.parquet")
    repo = datasnap.init(tmp_path)
    for name, table in (("rides", rides), ("names", pa.table({"name": ["ä", "b"]}))):
        with repo.transaction(message=name) as tx:
            tx.write(name, table, key=table.column_names[0])
    repo.branch("exp")
    with repo.transaction("exp") as tx:
        more = {"id": [1, 2, 3, 4], "x": [0.5, 1.5, 2.5, 9.0], "y": ["a", "b", None, "d"]}
        tx.write("rides", pa.table(more), key="id")
    return Shell(tmp_path)


@pytest.fixture
def checked(full: Shell) -> Shell:
    """In it `exp` has a row that breaks these checks."""
    (full.folder / "checks.toml").write_text(CHECKS)
    full("checks", "--set", "checks.toml")
    return full


def test_checks_are_set_listed_printed_and_removed(full: Shell) -> None:
    assert "There are no checks" in full("checks")
    assert "There are no checks" in full("check")
    (full.folder / "checks.toml").write_text(CHECKS)
    assert full("checks", "--set", "checks.toml") == "Set 1 check, 2 contracts\n"
    listed = full("checks").splitlines()
    assert listed[1].split()[:4] == ["x", "is", "small", "error"]
    assert "contract of rides: 2 columns" in listed[2]
    assert full("checks", "--toml") == CHECKS
    assert [one["table"] for one in json.loads(full("checks", "--json"))["contract"]] == [
        "rides",
        "names",
    ]
    assert full("checks", "--set", "-", stdin=CHECKS.replace("small", "tiny")).startswith("Set")
    assert "x is tiny" in full("checks")
    full("checks", "--unset")
    assert "There are no checks" in full("checks")
    assert "error: there are no checks to remove" in full.fails("checks", "--unset", code=2)


def test_checks_that_are_wrong_are_named(full: Shell) -> None:
    (full.folder / "checks.toml").write_text('[[check]]\nname = "it"\nsql = "SELEC"')
    assert "error: the check 'it': Parser Error" in full.fails("checks", "--set", "checks.toml")
    assert "error: cannot read none.toml" in full.fails("checks", "--set", "none.toml")
    full.fails("checks", "--unset", "--json", code=2)


def test_check_passes_and_says_what_it_skipped(checked: Shell) -> None:
    said = checked("check", "main")
    before = r"unchanged since [0-9a-f]{12}"
    assert re.search(rf"– x is small  {before}\n– rides       {before}\n✓ names       1 rule", said)
    assert re.search(r"[0-9a-f]{12}, against [0-9a-f]{12}: 1 passed, 2 skipped", said)
    assert "✓ rides       2 rules" in checked("check", "main", "--all")


def test_check_shows_what_fails(checked: Shell) -> None:
    said = checked("check", "exp", code=1).splitlines()
    assert [line.rstrip() for line in said[:3]] == [
        "✗ x is small  1 row",
        "    id  x",
        "    4   9.0",
    ]
    assert said[3] == "✗ rides       2 of 3 rules broken"
    assert "  ✗ x ≤ 8                 1 row" in said
    assert "  ! y is one of 'a', 'b'  1 row" in said
    assert said[-1].endswith(": 1 passed, 2 failed, 1 warning, 1 skipped")
    assert "error: 2 checks failed at" in checked.errors
    assert "x is small, rides" in checked.errors


def test_check_can_be_strict_and_against_another_version(checked: Shell) -> None:
    checked("checks", "--set", "-", stdin=CHECKS.replace("max = 8", "").replace("> 5", "> 50"))
    checked("check", "exp")
    assert "error: 1 check failed" in checked.fails("check", "exp", "--strict")
    assert "3 skipped" in checked("check", "exp", "--against", "exp")


def test_check_as_json_and_junit(checked: Shell) -> None:
    found = json.loads(checked("check", "exp", "--json", "--junit", "report.xml", code=1))
    assert (found["ok"], len(found["results"])) == (False, 5)
    first = found["results"][0]
    assert (first["check"], first["outcome"], first["rows"]) == ("x is small", "failed", 1)
    assert first["examples"] == [{"id": 4, "x": 9.0}]
    root = ET.parse(checked.folder / "report.xml").getroot()
    assert (root.get("failures"), root.get("skipped")) == ("2", "1")
    assert "error: cannot write" in checked.fails("check", "main", "--junit", "no/where.xml")


def test_check_a_file_before_it_is_set(full: Shell) -> None:
    (full.folder / "new.toml").write_text(CHECKS)
    full("check", "exp", "--file", "new.toml", code=1)
    assert "There are no checks" in full("checks")


def test_protect_and_publish(checked: Shell) -> None:
    assert "No branch is protected" in checked("protect")
    assert "main now takes merges that pass the checks" in checked("protect", "main")
    assert re.search(r"main +merges that pass the checks", checked("protect"))
    assert json.loads(checked("protect", "--json")) == [{"branch": "main", "signed": False}]
    refused = checked.fails("import", "rides", "a.parquet")
    assert "error: the branch 'main' is protected: it takes merges, no commits" in refused
    assert "hint:  Commit to another branch, then: `datasnap publish BRANCH" in refused
    before = json.loads(checked("branch", "--json"))
    said = checked("publish", "exp", "--into", "main", code=1)
    assert "✗ x is small" in said
    assert "2 checks failed" in checked.errors
    assert "'main' stays as it was" in checked.errors
    found = json.loads(checked("publish", "exp", "--into", "main", "--json", code=1))
    assert (found["outcome"], found["report"]["ok"]) == ("refused", False)
    assert json.loads(checked("branch", "--json")) == before
    checked("update", "rides", "x = 1", "--where", "id = 4", "-b", "exp")
    said = checked("publish", "exp", "--into", "main", "--delete")
    assert "✓ x is small" in said
    assert re.search(r"Merged exp into main as [0-9a-f]{12}", said)
    assert "Deleted branch exp" in said
    assert "Already up to date" in checked("publish", "main~1")
    checked("protect", "main", "--off")
    checked("import", "rides", "a.parquet")


def test_publish_as_json(checked: Shell) -> None:
    checked("update", "rides", "x = 1", "--where", "id = 4", "-b", "exp")
    found = json.loads(checked("publish", "exp", "--ff", "--json"))
    assert (found["outcome"], found["branch"], found["deleted"]) == ("fast-forward", "main", False)
    assert found["report"]["ok"]
    assert found["snapshot"] == found["report"]["snapshot"]


def test_publish_shows_conflicts(checked: Shell) -> None:
    checked("update", "rides", "x = 1", "--where", "id = 1")
    checked("update", "rides", "x = 2", "--where", "id = 1", "-b", "exp")
    said = checked("publish", "exp", code=1)
    assert "rides: 1 conflict" in said
    assert "datasnap merge main --into exp" in checked.errors
    assert json.loads(checked("status", "--json"))["merge"] is None


def test_protect_is_told_what_makes_no_sense(checked: Shell) -> None:
    assert "unknown branch 'mian'" in checked.fails("protect", "mian")
    assert "is not protected" in checked.fails("protect", "exp", "--off", code=2)
    checked.fails("protect", "--off", code=2)
    checked.fails("protect", "exp", "--off", "--signed", code=2)


def test_hooks_and_the_way_around_them(full: Shell) -> None:
    hook = full.folder / ".datasnap" / "hooks" / "pre-commit"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\necho Not on a Friday.\nexit 1\n")
    hook.chmod(0o755)
    words = ["update", "rides", "x = 1", "--where", "id = 1"]
    said = full.fails(*words)
    assert "error: the hook pre-commit forbids it (exit code 1)\n       Not on a Friday." in said
    assert f"hint:  It is {hook}; `datasnap --no-hooks …` does without." in said
    full("--no-hooks", *words)


def test_the_example_workflow_runs(checked: Shell) -> None:
    """Each datasnap command in it, as CI would run it."""
    checked("update", "rides", "x = 1", "--where", "id = 4", "-b", "exp")
    lines = Path("config/github-workflow.yml").read_text("utf-8").splitlines()
    commands = [line.partition("- run: ")[2] for line in lines if "- run: datasnap" in line]
    assert len(commands) == 2
    for command in commands:
        checked(*shlex.split(command.replace("$BRANCH", "exp"))[1:])
    assert (checked.folder / "checks.xml").exists()
    assert [one["name"] for one in json.loads(checked("branch", "--json"))] == ["main"]
