"""Every verb as a user runs it: what it prints, and its exit code."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datasnap
from datasnap.cli import run


class Shell:
    """Runs `datasnap` in a folder, as its entry point does; in this process, because a new one
    takes half a second to begin. (`tests/test_readme.py` runs the real command.)"""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: object, code: int = 0, stdin: str | None = None) -> str:
        out, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
        exited = 0
        with (
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(errors),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "argv", ["datasnap", *map(str, words)])
            patch.setattr(sys, "stdin", io.StringIO(stdin or ""))
            try:
                run()
            except SystemExit as left:
                exited = left.code if isinstance(left.code, int) else int(left.code is not None)
        said, self.errors = (_text(stream) for stream in (out, errors))
        assert exited == code, said + self.errors
        assert "Traceback" not in self.errors
        return said

    def fails(self, *words: object, code: int = 1) -> str:
        self(*words, code=code)
        return self.errors


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two commits on main and one on exp, and the files that they are of."""
    shell = Shell(tmp_path_factory.mktemp("template"))
    pq.write_table(pa.table({"id": [1, 2, 3], "x": [0.5, 1.5, 2.5]}), shell.folder / "a.parquet")
    wider = pa.table({"id": [1, 2, 3, 4], "x": [0.5, 1.5, 2.5, 9.0], "y": ["a", "b", None, "d"]})
    pq.write_table(wider, shell.folder / "b.parquet")
    (shell.folder / "c.csv").write_text("name,n\nä,1\nb,2\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATASNAP_AUTHOR", "Ada <ada@example.org>")
        shell("init")
        shell("import", "rides", "a.parquet", "--key", "id", "-m", "first rides")
        shell("import", "names", "c.csv", "-m", "names")
        shell("branch", "exp")
        shell("import", "rides", "b.parquet", "-b", "exp", "-m", "wider\n\nwith y")
    return shell.folder


@pytest.fixture
def full(shell: Shell, template: Path) -> Shell:
    """A copy of it."""
    shutil.copytree(template, shell.folder, dirs_exist_ok=True)
    return shell


def test_import_tells_what_it_did(full: Shell) -> None:
    pq.write_table(pa.table({"id": [1, 2], "z": [1, 2]}), full.folder / "d.parquet")
    said = full("import", "rides", "d.parquet")
    assert "rides: −1 row, 1 new column, 1 dropped column" in said
    assert re.search(r"Committed [0-9a-f]{12} to main, [\d.]+ k?B added", said)
    assert "Nothing changed" in full("import", "rides", "d.parquet")
    made = json.loads(full("import", "new", "d.parquet", "--json"))
    assert made["changes"][0]["rows"] == 2
    assert made["snapshot"] == json.loads(full("log", "--json"))[0]["snapshot"]


def test_log_lists_newest_first(full: Shell) -> None:
    said = full("log", "exp")
    assert said.index("wider") < said.index("names") < said.index("first rides")
    assert "Author:  Ada <ada@example.org>" in said
    assert len(full("log", "--oneline", "-n", "1").splitlines()) == 1
    entries = json.loads(full("log", "exp", "--json"))
    assert [e["message"] for e in entries] == ["wider\n\nwith y", "names", "first rides"]
    assert entries[0]["refs"] == ["exp"]
    assert entries[0]["parents"] == [entries[1]["snapshot"]]


def test_show_a_snapshot_and_a_table(full: Shell) -> None:
    said = full("show", "exp")
    assert "wider" in said
    assert re.search(r"~\s+rides\s+4\s+\+1", said)
    assert json.loads(full("show", "exp", "--json"))["changes"] == [
        {"table": "rides", "rows_before": 3, "rows": 4}
    ]
    assert re.search(r"y\s+string", full("show", "rides@exp"))
    assert json.loads(full("show", "rides", "--json"))["key"] == ["id"]
    assert "3 rows, 2 columns" in full("show", "rides")
    assert "first rides" in full("show", "main~1")


def test_branch_switch_and_tag(full: Shell) -> None:
    assert re.search(r"\*\s+main .*\n\s+exp|exp .*\n\*\s+main", full("branch"))
    assert "Made branch feature/x" in full("branch", "feature/x", "exp~1")
    assert "Renamed" in full("branch", "--rename", "feature/x", "feature/y")
    assert "Deleted" in full("branch", "-d", "feature/y")
    names = [b["name"] for b in json.loads(full("branch", "--json"))]
    assert names == ["exp", "main"]
    assert full("switch", "exp") == "On branch exp\n"
    assert "On branch new" in full("switch", "-c", "new")
    assert "On branch new" in full("status")
    full("tag", "v1.0", "main~1")
    assert "v1.0" in full("tag")
    assert json.loads(full("tag", "--json"))[0]["name"] == "v1.0"
    full("tag", "--delete", "v1.0")
    assert full("tag") == ""


def test_ls_and_status(full: Shell) -> None:
    assert [line.split()[:2] for line in full("ls", "exp").splitlines()[1:]] == [
        ["names", "2"],
        ["rides", "4"],
    ]
    assert json.loads(full("ls", "--json"))[1]["columns"] == 2
    status = json.loads(full("status", "--json"))
    assert (status["branch"], status["tables"]) == ("main", ["names", "rides"])
    assert "2 tables, 5 rows" in full("status")


def test_sql_in_every_format(full: Shell) -> None:
    query = "SELECT id, x FROM rides ORDER BY id LIMIT 2"
    assert "│" in full("sql", query)
    assert full("sql", query, "--format", "csv") == "id,x\n1,0.5\n2,1.5\n"
    expected = [{"id": 1, "x": 0.5}, {"id": 2, "x": 1.5}]
    assert json.loads(full("sql", query, "--json")) == expected
    lines = full("sql", query, "-f", "jsonl").splitlines()
    assert [json.loads(line) for line in lines] == expected
    full("sql", query, "-f", "parquet", "-o", "out.parquet")
    assert pq.read_table(full.folder / "out.parquet").to_pylist() == expected
    assert full("sql", "-", "-f", "csv", stdin="SELECT count(*) AS n FROM exp.rides;") == "n\n4\n"
    assert full("sql", "SELECT count(*) n FROM rides", "--at", "exp", "-f", "csv") == "n\n4\n"


def test_sql_sees_every_version(full: Shell) -> None:
    query = "SELECT (SELECT count(*) FROM snapshot('rides', 'exp')) - count(*) AS n FROM rides"
    assert full("sql", query, "-f", "csv") == "n\n1\n"
    assert json.loads(full("sql", "SELECT message FROM log('exp') LIMIT 1", "--json")) == [
        {"message": "wider\n\nwith y"}
    ]


@pytest.mark.parametrize("ending", ["parquet", "arrow", "feather", "csv", "tsv", "jsonl"])
def test_export_and_import_again(full: Shell, ending: str) -> None:
    assert "4 rows" in full("export", "rides@exp", f"out.{ending}")
    full("import", "again", f"out.{ending}", "--key", "id")
    repo = datasnap.open(full.folder)
    assert repo.table("again").to_arrow().equals(repo.table("rides@exp").to_arrow())


def test_export_to_json_is_lines(full: Shell) -> None:
    full("export", "rides", "out.json")
    assert len((full.folder / "out.json").read_text().splitlines()) == 3


def test_drop(full: Shell) -> None:
    assert "names: dropped" in full("drop", "names", "-m", "no names")
    assert "names" not in full("ls")
    assert "names" in full("ls", "main~1")
    full("drop", "rides")
    assert full("ls") == "No tables\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["import", "t", "missing.parquet"], "no such file: missing.parquet"),
        (["import", "t", "a.parquet", "--key", "nope"], "'nope' is not in the data"),
        (["import", "t@x", "a.parquet"], "cannot be a table name"),
        (["log", "mian"], "unknown ref 'mian'"),
        (["show", "nothing@exp"], "unknown table 'nothing'"),
        (["branch", "a b"], "cannot be a branch name"),
        (["branch", "exp"], "exists already"),
        (["switch", "nope"], "unknown branch 'nope'"),
        (["sql", "SELECT * FROM nope"], "nope"),
        (["export", "rides@exp", "out.xlsx"], "unknown format"),
        (["export", "rides@exp", "no/such/folder.csv"], "cannot write"),
        (["drop", "nope"], "unknown table 'nope'"),
        (["init"], "already"),
        (["-C", "elsewhere", "log"], "no repository"),
    ],
)
def test_an_error_is_one_line_with_a_hint(full: Shell, words: list[str], says: str) -> None:
    before = full("log", "exp", "--json")
    said = full.fails(*words).splitlines()
    assert says in said[0]
    assert said[0].startswith("error: ")
    assert len(said) <= 2
    assert all(line.startswith("hint:") for line in said[1:])
    assert full("log", "exp", "--json") == before


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["log", "--nope"], ["import"], ["branch", "x", "--delete", "y"],
     ["branch", "--delete", "main"], ["sql", "SELECT 1", "-f", "xml"]],
)  # fmt: skip
def test_wrong_usage_exits_with_2(full: Shell, words: list[str]) -> None:
    full.fails(*words, code=2)


def test_near_names_are_suggested(full: Shell) -> None:
    assert "Did you mean main?" in full.fails("log", "mian")
    assert "Did you mean rides?" in full.fails("show", "ride@main")
    assert "rides" in full.fails("sql", "SELECT * FROM ridess")


def test_the_repository_can_be_named_in_three_ways(
    full: Shell, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Shell(tmp_path_factory.mktemp("elsewhere"))
    assert "no repository here" in elsewhere.fails("ls")
    assert "rides" in elsewhere("-C", full.folder, "ls")
    monkeypatch.setenv("DATASNAP_REPO", str(full.folder))
    assert "rides" in elsewhere("ls")


def test_help_and_version(shell: Shell) -> None:
    said = shell("--help")
    for verb in [
        "init",
        "import",
        "status",
        "ls",
        "log",
        "show",
        "branch",
        "switch",
        "tag",
        "sql",
        "export",
        "drop",
        "verify",
    ]:
        assert f"\n  {verb} " in said
        assert "Usage: datasnap" in shell(verb, "--help")
    assert shell("--version") == f"datasnap {datasnap.__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom datasnap.cli import run\nsys.argv = ['datasnap', '--help']\n"
        "try: run()\nexcept SystemExit: pass\n"
        "print(sorted({'pyarrow', 'duckdb', 'numpy', 'obstore', 'fsspec'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_output_to_a_closed_pipe_is_no_error(full: Shell) -> None:
    line = f"{sys.executable} -m datasnap log exp | head -n 1"
    done = subprocess.run(
        line, shell=True, cwd=full.folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("snapshot ")
    assert done.stderr == ""
