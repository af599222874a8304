"""log --table, history, blame and bisect, as a user runs them."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datasnap
from datasnap.cli.past import parse_key
from datasnap.errors import UsageError
from tests.cli.test_verbs import Shell


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A repository whose table was edited, renamed and widened."""
    folder = tmp_path_factory.mktemp("past")
    repo = datasnap.init(folder)

    def commit(message: str) -> datasnap.Transaction:
        return repo.transaction("main", message=message, author="Ada <ada@x>")

    with commit("first rides") as tx:
        keys = {"region": ["x", "x", "y, z"], "id": [1, 2, 1]}
        tx.write("rides", pa.table({**keys, "fare": [5.5, 6.0, 7.0]}), key=["region", "id"])
        tx.write("names", pa.table({"name": ["a=b", "c"], "n": [1, None]}), key="name")
        tx.write("loose", pa.table({"n": [1]}))
    with commit("double\n\nas agreed") as tx:
        tx.update("rides", {"fare": "fare * 2"}, "id = 1")
    with commit("rename") as tx:
        tx.rename_columns("rides", {"fare": "price"})
    with commit("tips") as tx:
        tx.add_columns("rides", {"tip": "price / 10"})
    with commit("[red]oops") as tx:
        tx.update("rides", {"tip": "-1"}, "region = 'x' AND id = 2")
    with commit("fewer") as tx:
        tx.delete("rides", "region <> 'x'")
    return Shell(folder)


def ids(past: Shell) -> dict[str, str]:
    return {e["message"].split("\n")[0]: e["snapshot"] for e in json.loads(past("log", "--json"))}


def test_log_of_a_table(past: Shell) -> None:
    said = past("log", "--table", "rides")
    assert said.count("snapshot ") == 6
    assert "Rows:    3 → 2  +0 −1 ~0" in said
    assert "Columns: fare → price" in said
    assert "Columns: +tip" in said
    assert "Rows:    none → 3  +3 −0 ~0" in said
    lines = past("log", "main~1", "--table", "rides", "--oneline", "-n", "2").splitlines()
    assert re.fullmatch(r"[0-9a-f]{12} \[red\]oops \+0 −0 ~1", lines[0])
    assert len(lines) == 2
    assert past("log", "--table", "loose").count("snapshot ") == 1


def test_log_of_a_column(past: Shell) -> None:
    entries = json.loads(past("log", "--table", "rides", "--column", "price", "--json"))
    assert [e["message"][:6] for e in entries] == ["rename", "double", "first "]
    assert [e["changed"] for e in entries] == [0, 2, 0]
    assert entries[0]["columns_renamed"] == [["fare", "price"]]
    assert (entries[2]["rows_before"], entries[2]["rows"], entries[2]["added"]) == (None, 3, 3)
    assert past("log", "--table", "rides", "--column", "tip", "--oneline").count("\n") == 2


def test_history_of_a_table(past: Shell) -> None:
    lines = past("history", "rides").splitlines()
    assert lines[0].split() == [
        "snapshot",
        "date",
        "rows",
        "added",
        "removed",
        "changed",
        "author",
        "message",
    ]
    assert len(lines) == 7
    assert lines[2].rstrip().endswith("1  Ada     [red]oops")
    rows = json.loads(past("history", "rides@main~1", "--json"))
    assert [row["changed"] for row in rows] == [1, 0, 0, 2, 0]
    assert rows[-1]["rows_before"] is None


def test_history_of_a_row(past: Shell) -> None:
    said = past("history", "rides", "--key", "x,2")
    assert re.search(r"changed  tip=-1\.0 +\[red\]oops", said)
    rows = json.loads(past("history", "rides", "--key", "region=y, z,id=1", "--json"))
    assert [row["change"] for row in rows] == ["removed", "changed", "changed", "added"]
    assert rows[0]["row"] is None
    assert rows[1]["row"] == {"region": "y, z", "id": 1, "price": 14.0, "tip": 1.4}
    assert rows[2]["changed_columns"] == ["fare"]


def test_blame(past: Shell) -> None:
    lines = past("blame", "rides", "--key", "region=x,id=2").splitlines()
    assert lines[0].split() == ["column", "value", "snapshot", "date", "author", "message"]
    oops, first = (ids(past)[m][:12] for m in ("[red]oops", "first rides"))
    assert [line.split()[:3] for line in lines[1:]] == [
        ["region", "x", first],
        ["id", "2", first],
        ["price", "6", first],
        ["tip", "-1", oops],
    ]
    assert "Ada  " in lines[1]
    assert "ada@x" not in lines[1]
    cells = json.loads(past("blame", "rides@main~3", "-k", "region=x", "-k", "id=1", "--json"))
    assert [(c["column"], c["value"]) for c in cells] == [
        ("region", "x"),
        ("id", 1),
        ("price", 11.0),
    ]
    assert cells[2]["message"] == "double\n\nas agreed"
    assert "∅" in past("blame", "names", "--key", "c")
    assert past("blame", "names", "-k", "a=b") == past("blame", "names", "-k", "name=a=b")


def test_bisect(past: Shell) -> None:
    predicate = "SELECT count(*) = 0 FROM rides WHERE tip < 0"
    said = past("bisect", predicate, "--good", "main~2")
    assert said.startswith(f"snapshot {ids(past)['[red]oops']}")
    assert said.rstrip().endswith("[red]oops")
    found = json.loads(past("bisect", predicate, "--good", "main~2", "--bad", "main", "--json"))
    assert found["first_bad"] == ids(past)["[red]oops"]
    assert found["last_good"] == ids(past)["tips"]
    assert [s["verdict"] for s in found["steps"]][:2] == ["good", "bad"]
    assert "fewer" in past("bisect", "count(*) = 3 FROM rides")


def test_bisect_shows_its_steps_on_a_terminal(past: Shell) -> None:
    words = ["bisect", "min(tip) >= 0 FROM rides", "--good", "main~2"]
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "datasnap", *words], cwd=past.folder, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 1 << 16):
            said += piece
    except OSError:  # Linux says so when the other end has closed
        pass
    assert done.wait() == 0
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said.decode())
    assert re.search(r"good +[0-9a-f]{12} tips", plain)
    assert re.search(r"bad +[0-9a-f]{12} \[red\]oops", plain)
    assert "datasnap show" in plain
    assert "datasnap diff" in plain


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["log", "--table", "rydes"], "unknown table 'rydes'"),
        (["log", "--table", "rides", "--column", "fair"], "unknown column 'fair'"),
        (["history", "rydes"], "unknown table 'rydes'"),
        (["history", "rides@mian"], "unknown ref 'mian'"),
        (["history", "rides", "--key", "1"], "no key of 'rides'"),
        (["history", "rides", "--key", "x,9"], "unknown row 'x,9'"),
        (["history", "loose", "--key", "1"], "has no key"),
        (["blame", "rides", "--key", "x,one"], "no key of 'rides'"),
        (["blame", "rides", "--key", "x,9"], "unknown row 'region=x, id=9'"),
        (["blame", "rydes", "--key", "1"], "unknown table 'rydes'"),
        (["blame", "loose", "--key", "1"], "has no key"),
        (["bisect", "min(fare FROM"], "syntax error"),
        (["bisect", "1"], "no boolean"),
        (["bisect", "true"], "is true at the bad end"),
        (["bisect", "true", "--good", "mian"], "unknown ref 'mian'"),
        (["bisect", "count(*) = 0 FROM rydes"], "cannot be evaluated at the good end"),
        (["bisect", "DROP TABLE rides"], "not one SELECT"),
    ],
)
def test_an_error_is_one_line_with_a_hint(past: Shell, words: list[str], says: str) -> None:
    said = past.fails(*words).splitlines()
    assert says in said[0]
    assert said[0].startswith("error: ")
    assert len(said) <= 2


@pytest.mark.parametrize(
    "words",
    [["log", "--column", "x"], ["blame", "rides"], ["blame"], ["bisect"], ["history"],
     ["blame", "rides", "--key", "region=x", "--key", "1"]],
)  # fmt: skip
def test_wrong_usage_exits_with_2(past: Shell, words: list[str]) -> None:
    past.fails(*words, code=2)


@pytest.mark.parametrize(
    ("texts", "columns", "key"),
    [
        (["42"], ["id"], ["42"]),
        (["id=42"], ["id"], {"id": "42"}),
        (["a,b"], ["id"], ["a,b"]),
        (["no=42"], ["id"], ["no=42"]),
        ([""], ["id"], [""]),
        (["x,4"], ["region", "id"], ["x", "4"]),
        (["x", "4"], ["region", "id"], ["x", "4"]),
        (["x,y", "4"], ["region", "id"], ["x,y", "4"]),
        (["region=x,id=4"], ["region", "id"], {"region": "x", "id": "4"}),
        (["id=4, region=x, or y"], ["region", "id"], {"region": "x, or y", "id": "4"}),
        (["region=x", "id=4"], ["region", "id"], {"region": "x", "id": "4"}),
        (["a.b=1,a=2"], ["a", "a.b"], {"a.b": "1", "a": "2"}),
        (["1"], [], ["1"]),
    ],
)
def test_ways_to_write_a_key(texts: list[str], columns: list[str], key: object) -> None:
    assert parse_key(texts, columns) == key


@pytest.mark.parametrize("texts", [["region=x", "4"], ["region=x", "region=y"]])
def test_a_key_that_names_half_of_itself(texts: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_key(texts, ["region", "id"])


def test_a_dropped_table_has_a_history(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    pq.write_table(pa.table({"id": [1, 2], "x": [1, 2]}), tmp_path / "a.parquet")
    shell("init")
    shell("import", "t", "a.parquet", "--key", "id")
    shell("drop", "t", "-m", "gone")
    assert "Rows:    2 → none  +0 −2 ~0" in shell("log", "--table", "t")
    assert "removed" in shell("history", "t", "--key", "id=1")
    assert "unknown table 't'" in shell.fails("blame", "t", "--key", "1")
