"""`datasnap diff` as a user runs it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.cli.diffsummary import _bar
from datasnap.diff.tables import Summary
from tests.cli.test_verbs import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Three tables; on exp, 1,000 rides were changed in several ways, and a table came."""
    repo = datasnap.init(tmp_path)
    rides = pa.table(
        {
            "id": range(1000),
            "fare": [float(i % 50) for i in range(1000)],
            "place": [f"place {i % 7}" for i in range(1000)],
            "tags": [[i, None] for i in range(1000)],
        }
    )
    with repo.transaction(message="first") as tx:
        tx.write("rides", rides, key="id")
        tx.write("zones", pa.table({"zone": ["a", "b", None]}))
        tx.write("same", pa.table({"x": [1]}))
    repo.branch("exp")
    with repo.transaction("exp", message="second") as tx:
        tx.update("rides", {"fare": "fare + 0.5"}, "id < 40")
        tx.update("rides", {"place": "'nowhere\x1b[31m'"}, "id = 3")
        tx.update("rides", {"place": "NULL"}, "id = 4")
        tx.delete("rides", "id >= 990")
        tx.append("rides", pa.table({"id": [5000], "fare": [1.5], "place": ["x"], "tags": [[1]]}))
        tx.rename_columns("rides", {"place": "where_to"})
        tx.add_columns("rides", {"double": "fare * 2"})
        tx.write("zones", pa.table({"zone": ["a", "c", None]}))
        tx.write("raw/new", pa.table({"x": [1, 2]}))
    return Shell(tmp_path)


def test_a_summary_has_a_bar_for_each_table(shell: Shell) -> None:
    lines = shell("diff", "main", "exp").splitlines()
    assert " → " in lines[0]
    assert [line.split() for line in lines[1:]] == [
        ["+", "raw/new", "+2", "+"],
        ["rides", "+1", "−10", "~40", "+−−−−−−" + "~" * 24],
        ["columns", "+double", "place", "→", "where_to"],
        ["cells", "fare", "40", "where_to", "2"],
        ["zones", "+1", "−1", "+−"],
        ["3", "tables:", "+4", "−11", "~40", "rows"],
    ]
    assert all(len(line) <= 80 for line in lines)


def test_a_bar_shows_every_kind_however_rare() -> None:
    rare = Summary("t", "changed", 1, 1, 1, 1, 10**9, {}, (), (), (), ())
    assert _bar(rare, 10**9 + 2) == "[green]+[/][red]−[/][yellow]" + "~" * 30 + "[/]"
    few = Summary("t", "changed", 1, 1, 0, 2, 1, {}, (), (), (), ())
    assert _bar(few, 3) == "[red]−−[/][yellow]~[/]"


def test_versions_are_named_as_git_names_them(shell: Shell) -> None:
    said = shell("diff", "main", "exp", "rides")
    assert shell("diff", "main..exp", "rides") == said
    assert shell("diff", "main...exp", "rides") == said
    shell("switch", "exp")
    assert shell("diff", "main", "rides") == said
    assert shell("diff", "main..", "rides") == said
    assert shell("diff", "rides") == said
    everything = shell("diff")
    assert everything == shell("diff", "HEAD~1", "HEAD")
    assert everything == shell("diff", "exp~", "exp")
    assert shell("diff", "exp...main") == "No differences\n"
    back = shell("diff", "exp..main", "rides")
    assert "−double" in back
    assert "where_to → place" in back


def test_the_first_snapshot_added_all_it_holds(shell: Shell) -> None:
    said = json.loads(shell("diff", "--json"))
    assert [table["status"] for table in said["tables"]] == ["added"] * 3
    assert "+ same" in shell("diff")
    assert "zones  +3 rows" in shell("diff", "zones", "--rows")


def test_a_ref_wins_over_a_table_of_its_name(shell: Shell) -> None:
    shell("branch", "rides", "exp")
    assert "raw/new" in shell("diff", "main", "rides")
    assert "raw/new" not in shell("diff", "main", "exp", "rides")


def test_no_differences(shell: Shell) -> None:
    assert shell("diff", "main", "main") == "No differences\n"
    assert shell("diff", "main", "exp", "same") == "No differences\n"
    assert shell("diff", "main", "exp", "same", "--rows") == "No differences\n"
    assert shell("diff", "main", "exp", "same", "--stats") == "No differences\n"
    assert json.loads(shell("diff", "main", "main", "--json"))["tables"] == []
    assert json.loads(shell("diff", "main", "main", "--json", "--rows")) == []
    assert shell("diff", "main", "main", "--csv") == ""


def test_a_table_that_is_only_laid_out_anew(shell: Shell) -> None:
    repo = datasnap.open(shell.folder)
    with repo.transaction() as tx:
        tx.set_key("same", "x")
    assert "rows and columns as before" in shell("diff")


def test_rows_are_shown_with_what_changed_in_them(shell: Shell) -> None:
    lines = shell("diff", "main", "exp", "rides", "--rows").splitlines()
    assert lines[0] == "rides  +1 −10 ~40 rows"
    assert lines[1].split() == ["id", "fare", "where_to", "tags", "double"]
    assert lines[2].split() == ["~", "0", "0.0", "→", "0.5"]
    assert "place 3 → nowhere�[31m" in lines[5]
    assert "place 4 → null" in lines[6]
    assert lines[-1].split() == ["+", "5000", "1.5", "x", "[1]", "3.0"]
    assert lines[-2].split() == ["−", "999", "49.0", "place", "5", "[999,", "NULL]"]
    assert len(lines) == 53


def test_rows_can_be_limited(shell: Shell) -> None:
    lines = shell("diff", "main", "exp", "rides", "--limit", "3").splitlines()
    assert len(lines) == 6
    assert lines[-1] == "… 48 more rows"
    assert "more" not in shell("diff", "main", "exp", "zones", "--limit", "2")


def test_columns_can_be_chosen(shell: Shell) -> None:
    lines = shell("diff", "main", "exp", "rides", "--columns", "place,tags").splitlines()
    assert lines[0] == "rides  +1 −10 ~2 rows"
    assert lines[1].split() == ["id", "where_to", "tags"]
    assert lines[2].endswith("[3, NULL]")
    by_new_name = shell(
        "diff", "main", "exp", "rides", "--columns", "where_to", "--columns", "tags"
    )
    assert by_new_name.splitlines() == lines


def test_rows_are_chosen_by_sql(shell: Shell) -> None:
    def where(condition: str) -> list[str]:
        return shell("diff", "main", "exp", "rides", "--where", condition).splitlines()

    assert where("change = 'added'")[0] == "rides  +1 row"
    assert where("list_contains(changed_columns, 'where_to')")[0] == "rides  ~2 rows"
    assert where("after.fare > before.fare AND id < 3")[0] == "rides  ~3 rows"
    assert where("before.tags[1] = 995 -- a column that did not change")[0] == "rides  −1 row"
    assert where("false") == ["rides  no rows"]


def test_a_summary_as_json(shell: Shell) -> None:
    said = json.loads(shell("diff", "main", "exp", "--json"))
    assert (len(said["old"]), len(said["new"])) == (64, 64)
    (rides,) = [table for table in said["tables"] if table["table"] == "rides"]
    assert rides == {
        "table": "rides", "status": "changed", "rows_before": 1000, "rows_after": 991,
        "added": 1, "removed": 10, "changed": 40, "cells": {"fare": 40, "where_to": 2},
        "columns_added": ["double"], "columns_removed": [],
        "columns_renamed": [["place", "where_to"]], "columns_retyped": [],
    }  # fmt: skip


def test_rows_as_json(shell: Shell) -> None:
    said = json.loads(shell("diff", "main", "exp", "--json", "--rows"))
    assert [(t["table"], len(t["rows"])) for t in said] == [
        ("raw/new", 2), ("rides", 51), ("zones", 2),
    ]  # fmt: skip
    assert said[1]["rows"][3] == {
        "change": "changed",
        "id": 3,
        "before": {"fare": 3.0, "place": "place 3", "tags": [3, None]},
        "after": {"fare": 3.5, "where_to": "nowhere\x1b[31m", "tags": [3, None], "double": 7.0},
        "changed_columns": ["fare", "where_to"],
    }
    words = ["--columns", "fare", "--where", "after.tags[1] = 3", "--limit", "1"]
    (table,) = json.loads(shell("diff", "main", "exp", "rides", "--json", *words))
    assert [row["after"] for row in table["rows"]] == [{"fare": 3.5}]


def test_rows_as_csv(shell: Shell) -> None:
    text = shell("diff", "main", "exp", "rides", "--csv", "--columns", "fare,place,double")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0]) == [
        "change", "id", "before_fare", "after_fare", "before_place", "after_where_to",
        "after_double",
    ]  # fmt: skip
    assert len(rows) == 51
    assert (rows[0]["before_fare"], rows[0]["after_fare"]) == ("0.0", "0.5")
    assert rows[-1]["before_fare"] == ""


def test_statistics_show_what_drifted(shell: Shell) -> None:
    said = shell("diff", "main", "exp", "zones", "raw/new", "--stats")
    assert "zones  changed, 3 rows\n" in said
    assert "raw/new  added, 2 rows\n" in said
    lines = shell("diff", "main", "exp", "rides", "--stats").splitlines()
    assert lines[0] == "rides  changed, 1,000 rows → 991 rows"
    words = [line.split() for line in lines]
    assert ["max", "999", "5,000", "+400.5", "%"] in words
    assert ["place", "→", "where_to", "nulls", "0", "1", "+1"] in words
    assert all(len(line.rstrip()) <= 80 for line in lines)
    only = shell("diff", "main", "exp", "rides", "--stats", "--columns", "fare")
    assert "fare" in only
    assert "where_to" not in only


def test_columns_without_drift_are_named(shell: Shell) -> None:
    repo = datasnap.open(shell.folder)
    with repo.transaction() as tx:
        tx.update("rides", {"fare": "fare * 2"})
    said = shell("diff", "rides", "--stats")
    assert said.splitlines()[-1] == "No drift: id, place, tags"


def test_statistics_as_json(shell: Shell) -> None:
    said = json.loads(shell("diff", "main", "exp", "rides", "--stats", "--json"))
    (table,) = said["tables"]
    by_name = {one["column"]: one for one in table["statistics"]}
    assert list(by_name) == ["id", "fare", "where_to", "tags", "double"]
    assert by_name["id"]["shift"]["max"] == 4001
    assert by_name["where_to"]["was"] == "place"
    assert by_name["double"]["before"] is None
    assert by_name["double"]["after"]["count"] == 991


@pytest.mark.parametrize(
    ("words", "says", "hint", "code"),
    [
        (["mian"], "unknown ref or table 'mian'", "main", 1),
        (["main", "epx"], "unknown ref or table 'epx'", "exp", 1),
        (["main", "exp", "ride"], "unknown ref or table 'ride'", "rides", 1),
        (["main..epx"], "unknown ref 'epx'", "exp", 1),
        (["main...epx"], "unknown ref 'epx'", "exp", 1),
        (["main", "exp", "--csv"], "CSV is of one table", "rides", 2),
        (["main", "exp", "rides", "--csv", "--json"], "exclude each other", "", 2),
        (["main", "exp", "--stats", "--csv"], "--stats", "", 2),
        (["main", "exp", "rides", "--columns", "fair"], "unknown column 'fair'", "fare", 1),
        (["main", "exp", "rides", "--stats", "--columns", "fair"], "'fair'", "fare", 1),
        (["main", "exp", "rides", "--where", "nope = 1"], "nope", "", 1),
        (["main", "exp", "rides", "--where", "true); SELECT (1"], "semicolon", "", 1),
        (["main", "exp", "rides", "--limit", "0"], "limit", "", 2),
    ],
)
def test_what_is_wrong_is_said(
    shell: Shell, words: list[str], says: str, hint: str, code: int
) -> None:
    said = shell.fails("diff", *words, code=code)
    assert says in said
    assert hint in said


def test_an_empty_repository_has_nothing_to_compare(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    shell("init")
    assert "error: " in shell.fails("diff")
