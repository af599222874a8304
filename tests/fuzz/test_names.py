"""Names that are SQL, paths, patterns or markup: they name what they name, and do nothing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import datasnap
from datasnap.errors import DatasnapError
from datasnap.query.session import literal, quote
from datasnap.repository import Repository
from tests.fuzz.hostile import Workshop

#: Names that mean something to SQL, DuckDB, a shell, a path, a pattern, a URL, or rich.
HOSTILE = [
    'a"; DROP TABLE bystander; --',
    "'||(SELECT 1)||'",
    "read_csv('/etc/passwd')",
    '"."bystander',
    'x" AS SELECT 1; --',
    "a'b''c",
    'q"q""q',
    "`tick` $$dollar$$ $1 ?1",
    "/* comment */ -- x",
    "(SELECT max(id) FROM bystander)",
    "main.bystander",
    "row\nline\r\ttab",
    "* EXCLUDE (id)",
    "COLUMNS(*)",
    "'ＤＲＯＰ' ‘’ “” ʼ ＇ ＂ ؛",
    "İıſK",
    "a\u202eb\u200bc",
    "\x1b[31mred\x1b[0m",
    "[bold]b[/]",
    "select",
    "file_row_number2",
    "%s %(x)s {x} {0}",
    "year=2024",
    " ",
    "..",
]
names = st.sampled_from(HOSTILE) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20
)


def _distinct(given: list[str]) -> bool:
    """Whether SQL can tell names apart, and from the test's own."""
    seen = {name.lower() for name in given}
    return len(seen) == len(given) and not seen & {"id", "file_row_number", "bystander"}


columns = st.lists(names, min_size=2, max_size=6).filter(_distinct)


def _in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A repository, with a table that nobody may touch, in a folder where nothing may appear."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    repo = datasnap.init(tmp_path / "repo")
    with repo.transaction("main") as tx:
        tx.write("bystander", pa.table({"id": [1, 2]}), key="id")
    yield repo
    assert _in(here) == set()
    assert repo.snapshot().table("bystander").to_arrow().to_pydict() == {"id": [1, 2]}
    assert _in(tmp_path) <= {"here", "repo", "cache", "no-config"}


@settings(max_examples=8)
@example(HOSTILE)
@given(columns)
def test_columns_of_any_name_are_written_edited_compared_and_queried(
    guarded: Repository, chosen: list[str]
) -> None:
    repo, texts, numbers = guarded, chosen[::2], chosen[1::2]
    with repo.transaction("main") as tx:
        written = {"id": [1, 2, 3], "n": [1.0, 2.0, 3.0]} | {a: ["x", "y", "z"] for a in texts}
        tx.write("t", pa.table(written), key="id")
    first = tx.snapshot
    with repo.transaction("main") as tx:
        tx.update("t", {a: f"{quote(a)} || '!'" for a in texts}, where="n = 2")
        tx.delete("t", " AND ".join(f"{quote(a)} = 'z'" for a in texts))
        tx.add_columns("t", {b: f"n * 10 + length({quote(texts[0])})" for b in numbers})
    second = tx.snapshot
    model = {"id": [1, 2], "n": [1.0, 2.0]}
    model |= {a: ["x", "y!"] for a in texts} | {b: [11.0, 22.0] for b in numbers}
    assert repo.snapshot().table("t").to_arrow().to_pydict() == model
    assert repo.sql("FROM t").to_arrow_table().to_pydict() == model
    listed = ", ".join(map(quote, chosen))
    for table in ("t", "main.t", "snapshot('t')"):
        found = repo.sql(f"SELECT {listed} FROM {table} WHERE {quote(texts[-1])} = 'y!'")
        assert found.fetchall() == [tuple(model[name][1] for name in chosen)]
    assert repo.sql(f"FROM diff('t', '{first}', '{second}')").to_arrow_table().num_rows == 2
    assert repo.sql("FROM history('t', 2)").to_arrow_table().num_rows >= 2
    assert {cell.column for cell in repo.blame("t", 2)} >= set(chosen)
    assert repo.diff(first, second).table("t").cells == dict.fromkeys(texts, 1)
    repo.diff(first, second).table("t").statistics()
    with repo.transaction("main") as tx:
        tx.drop_columns("t", numbers[1:])
        tx.rename_columns("t", {numbers[0]: "spare"})
        tx.rename_columns("t", {texts[0]: numbers[0]})
        tx.execute(f"UPDATE t SET {quote(numbers[0])} = 'w' WHERE spare > 20")
        tx.execute(f"ALTER TABLE t RENAME spare TO {quote(texts[0])}")
    model = {"id": [1, 2], "n": [1.0, 2.0]} | {a: ["x", "y!"] for a in texts}
    model |= {numbers[0]: ["x", "w"], texts[0]: [11.0, 22.0]}
    assert repo.snapshot().table("t").to_arrow().to_pydict() == model


@settings(max_examples=6)
@example("year=2024/rides")
@example("a; DROP TABLE bystander; --")
@example("$1 || (SELECT 1) -- ??")
@given(st.text("aÉſ`$;!|&()<>=+,^~-. ", min_size=1, max_size=12))
def test_tables_of_any_name_that_is_allowed_are_reached_in_every_way(
    guarded: Repository, name: str
) -> None:
    repo, other = guarded, name + "/2"
    data = pa.table({"id": [1, 2], "x": ["a", "b"]})
    try:
        with repo.transaction("main") as tx:
            tx.write(name, data, key="id")
            tx.copy(name, other)
            tx.update(other, {"x": "x || '!'"}, where="id = 1")
    except datasnap.errors.InvalidName:
        assert set(repo.snapshot().tables) == {"bystander"}
        return
    for asked in (
        f"FROM {quote(name)}",
        f"FROM main.{quote(name)}",
        f"FROM snapshot({literal(name)})",
        f"FROM snapshot({literal(name)}, 'HEAD')",
    ):
        assert repo.sql(asked).to_arrow_table().to_pydict() == data.to_pydict(), asked
    assert repo.sql(f"FROM history({literal(name)})").to_arrow_table().num_rows >= 1
    assert repo.sql(f"SELECT x FROM {quote(other)} ORDER BY id").fetchall() == [("a!",), ("b",)]
    with repo.transaction("main") as tx:
        tx.execute(f"INSERT INTO {quote(name)} VALUES (3, 'c')")
        tx.execute(f"DROP TABLE {quote(other)}")
    assert repo.snapshot().table(name).to_arrow()["x"].to_pylist() == ["a", "b", "c"]
    with repo.transaction("main") as tx:
        tx.drop(name)
    assert set(repo.snapshot().tables) == {"bystander"}


@settings(max_examples=20)
@given(names)
def test_refs_of_any_name_stay_in_their_folder(guarded: Repository, name: str) -> None:
    for make, drop in (
        (guarded.branch, guarded.delete_branch),
        (guarded.tag, guarded.delete_tag),
    ):
        try:
            make(name)
        except DatasnapError:
            continue
        assert guarded.resolve(name) == guarded.resolve("main")
        assert guarded.sql(f"FROM {quote(name)}.bystander").fetchall() == [(1,), (2,)]
        drop(name)
    for ask in (guarded.resolve, guarded.switch, guarded.delete_branch, guarded.table):
        with pytest.raises(DatasnapError):
            ask(name + "/../nowhere")


#: Names that the API refuses, which a tree made by hand can hold all the same.
FORGED = [
    *HOSTILE,
    "../../escape",
    "/etc/escape",
    "..\\..\\escape",
    "a/../../escape",
    "nul\0escape",
    "",
    ".",
    "t:main...main",
    "*",
    "[a-z]?{x,y}",
    "x" * 5000,
    "datasnap://main/bystander.parquet",
    "a::file:///etc/escape",
    ".log/main",
]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(datasnap.init(tmp_path_factory.mktemp("forged") / "repo"))


@pytest.mark.parametrize("name", FORGED)
def test_forged_table_names_lead_nowhere(
    workshop: Workshop, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datasnap.query.filesystem import DatasnapFileSystem

    here = tmp_path / "a" / "b" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    repo = workshop.repository
    snapshot = workshop.snapshot(name=name)
    rows = repo.snapshot("main").table("t").to_arrow().num_rows + 1
    table = repo.snapshot(snapshot).table(name)
    assert table.to_arrow().num_rows == rows
    table.export(here / "out.parquet")
    table.export(here / "out.csv")
    assert pq.read_table(here / "out.parquet").num_rows == rows
    files = DatasnapFileSystem(repository=repo, skip_instance_cache=True)
    for ask in (files.ls, files.find, files.exists, files.glob):
        with suppress(FileNotFoundError):
            ask(f"datasnap://{snapshot}")
            ask(f"{snapshot}/{name}.parquet")
    for query in (f"FROM {quote(name)}", f"FROM snapshot({literal(name)})"):
        with suppress(DatasnapError, duckdb.Error):
            assert len(repo.snapshot(snapshot).sql(query).fetchall()) == rows
    with repo.transaction("main", allow_empty=True) as tx:
        assert tx.tables == ["t"]
    assert _in(here) == {"out.csv", "out.parquet"}
    assert [p.name for p in tmp_path.rglob("*escape*")] == []


@pytest.mark.parametrize("name", [n for n in FORGED if "\0" not in n])
def test_forged_column_names_are_columns(
    workshop: Workshop, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from msgspec.structs import replace

    monkeypatch.chdir(tmp_path)

    def forge(table: object) -> object:
        schema = pa.ipc.read_schema(pa.BufferReader(table.schema))  # type: ignore[attr-defined]
        forged = schema.set(1, schema.field(1).with_name(name))
        return replace(table, schema=bytes(forged.serialize()))

    repo = workshop.repository
    snapshot = workshop.snapshot(table=forge)
    plain = repo.snapshot(workshop.snapshot()).table("t").to_arrow()
    assert repo.snapshot(snapshot).table("t").to_arrow()[name].equals(plain["place"])
    try:
        found = repo.snapshot(snapshot).sql(f"SELECT {quote(name)} FROM t ORDER BY id").fetchall()
        assert [value for (value,) in found] == plain["place"].to_pylist()
    except (DatasnapError, duckdb.Error):
        assert name == ""
    assert _in(tmp_path) == set()
