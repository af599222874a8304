"""What goes wrong is one line and what to do about it, whatever is underneath."""

from __future__ import annotations

import pytest

from tests.cli.test_verbs import Shell


@pytest.fixture
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    shell = Shell(tmp_path_factory.mktemp("refusals"))
    (shell.folder / "t.csv").write_text("id,v\n" + "".join(f"{i},{i}\n" for i in range(50_000)))
    (shell.folder / "u.csv").write_text("id,w\n1,2\n")
    shell("init")
    shell("import", "rides", "t.csv", "--key", "id")
    return shell


def test_csv_whose_lines_do_not_agree_is_refused(shell: Shell) -> None:
    for text in ("a,b\n1,2\n3,4,5\n6,7\n", "a,b\n1,2\n3\n", "a,b\n1,2,3\n4,5,6\n"):
        (shell.folder / "bad.csv").write_text(text)
        assert "different numbers of values" in shell.fails("import", "bad", "bad.csv")
    for text in ("column0,b\n1,2\n", "1,2\n3,4\n", "a b\nc\n", "# note\na,b\nx,1\n"):
        (shell.folder / "good.csv").write_text(text)
        shell("import", "good", "good.csv")


def test_a_file_that_cannot_be_written_is_an_error_of_ours(shell: Shell) -> None:
    missing = shell.folder / "nowhere" / "out.csv"
    for verb in (("sql", "FROM rides", "-f", "csv", "-o", missing), ("export", "rides", missing)):
        error = shell.fails(*verb)
        assert error.startswith(f"error: cannot write {missing}: ")
        assert "bug" not in error


def test_what_is_given_twice_is_wrong_usage(shell: Shell) -> None:
    for verb in (
        ("add-column", "rides", "1 AS a", "2 AS a"),
        ("update", "rides", "v=1", "v=2"),
        ("cast-column", "rides", "v=INT", "v=VARCHAR"),
        ("rename-column", "rides", "v=a", "v=b"),
    ):
        assert "given twice" in shell.fails(*verb, code=2)
    assert "not both" in shell.fails("add-column", "rides", "1 AS q", "--from", "u.csv", code=2)


def test_a_damaged_table_is_called_so_and_stops_no_other(shell: Shell) -> None:
    packs = (shell.folder / ".datasnap" / "packs").iterdir()
    pack = max(packs, key=lambda file: file.stat().st_size)
    shell("import", "u", "u.csv")
    data = bytearray(pack.read_bytes())
    data[10:200] = bytes(190)
    pack.write_bytes(data)
    for verb in (
        ("sql", "SELECT sum(v) FROM rides"),
        ("sql", "FROM rides", "-f", "csv"),
        ("sql", "INSERT INTO rides VALUES (1000, 1)"),
        ("update", "rides", "v = v + 1"),
        ("cast-column", "rides", "v=VARCHAR"),
        ("transform", "new", "FROM rides"),
    ):
        assert "damaged" in shell.fails(*verb).splitlines()[0]
    shell("sql", "INSERT INTO u VALUES (2, 3)")
    assert "2,3" in shell("sql", "FROM u", "-f", "csv")


def test_unknown_names_and_aggregates_say_what_was_meant(shell: Shell) -> None:
    assert "pg_" not in shell.fails("sql", "FROM nosuch")
    assert "OVER ()" in shell.fails("add-column", "rides", "max(v) AS high")
    assert "length(string VARCHAR)" in shell.fails("sql", "SELECT length(1, 2, 3) FROM rides")


def test_a_key_that_changes_is_said(shell: Shell) -> None:
    assert "rides: key: none" in shell("set-key", "rides")
    assert "rides: key: v" in shell("set-key", "rides", "v")
    done = shell(
        "sql",
        "MERGE INTO rides USING (SELECT 5 AS id UNION SELECT 6) s ON rides.id = s.id "
        "WHEN MATCHED AND s.id = 5 THEN UPDATE SET id = 0 WHEN MATCHED THEN DELETE",
    )
    assert done.splitlines()[0].startswith("rides: −1 ~1 rows")
