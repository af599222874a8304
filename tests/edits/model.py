"""A table as a plain dict of rows, and each verb done to both it and the real one."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

import datasnap
from datasnap.repository import Repository
from datasnap.transaction import Transaction

Row = dict[str, Any]

TYPES = {
    "region": pa.string(),
    "id": pa.int32(),
    "n": pa.int64(),
    "text": pa.string(),
    "x": pa.float64(),
    "list": pa.list_(pa.int32()),
}
VALUES: dict[str, st.SearchStrategy] = {
    "n": st.none() | st.integers(-5, 5),
    "text": st.none() | st.text(max_size=3),
    "x": st.none() | st.sampled_from([0.0, -0.0, 1.5, float("nan"), float("inf")]),
    "list": st.none() | st.lists(st.none() | st.integers(0, 3), max_size=2),
}
#: A long common start, so that statistics cut short would show.
REGIONS = ["", "a", "p" * 90 + "a", "p" * 90 + "b"]


class Model:
    """What a table should be: rows in order, columns with types, and its key."""

    def __init__(self, key: list[str]) -> None:
        self.key = key
        self.types = dict(TYPES)
        self.rows: list[Row] = []

    def table(self, rows: list[Row] | None = None, names: list[str] | None = None) -> pa.Table:
        """Rows (all, unless given) as Arrow."""
        rows = self.rows if rows is None else rows
        chosen = names or list(self.types)
        schema = pa.schema({name: self.types[name] for name in chosen})
        columns = [pa.array([row.get(n) for row in rows], schema.field(n).type) for n in chosen]
        return pa.Table.from_arrays(columns, schema=schema)

    def key_of(self, row: Row) -> tuple:
        return tuple(row[name] for name in self.key)

    def settle(self) -> None:
        """Put the rows in order."""
        if self.key:
            self.rows.sort(key=lambda row: tuple(_ordered(row[name]) for name in self.key))

    def find(self, key: tuple) -> Row | None:
        return next((row for row in self.rows if self.key_of(row) == key), None)


def _ordered(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


@st.composite
def new_rows(draw: st.DrawFn, most: int = 30) -> list[Row]:
    """Rows with keys that are all different."""
    keys = draw(
        st.lists(
            st.tuples(st.sampled_from(REGIONS), st.integers(0, 40)), max_size=most, unique=True
        )
    )
    return [
        {"region": region, "id": id, **{name: draw(value) for name, value in VALUES.items()}}
        for region, id in keys
    ]


def tiny(root: Path) -> Repository:
    """A repository whose segments hold a few rows, so that small tables have many."""
    datasnap.init(root)
    (root / ".datasnap" / "config.toml").write_text("[tables]\nsegment_rows = 8\n")
    return datasnap.open(root)


def same(a: pa.Table, b: pa.Table) -> None:
    """Equal, NaN and the signs of zeros included."""
    assert a.schema.types == b.schema.types
    assert repr(a.to_pylist()) == repr(b.to_pylist())


def check(repo: Repository, model: Model, folder: Path) -> None:
    """The table as every reader sees it is the model's."""
    version, wanted = repo.snapshot().table("t"), model.table()
    assert version.row_count == wanted.num_rows
    assert version.schema.names == wanted.schema.names
    same(version.to_arrow(), wanted)
    batches = list(version.to_batches(batch_rows=5))
    same(pa.Table.from_batches(batches, version.schema), wanted)
    plain = io.BytesIO()
    pq.write_table(wanted, plain)
    with fsspec.filesystem("datasnap", repository=repo, skip_instance_cache=True).open(
        "main/t.parquet"
    ) as file:
        data = file.read()
    same(pq.read_table(io.BytesIO(data)), pq.read_table(plain))
    assert polars.read_parquet(data).equals(polars.read_parquet(plain.getvalue()), null_equal=True)
    pandas.testing.assert_frame_equal(
        pandas.read_parquet(io.BytesIO(data)), pandas.read_parquet(plain)
    )
    same(repo.sql("FROM t").to_arrow_table(), wanted)
    version.export(folder / "t.parquet")
    same(pq.read_table(folder / "t.parquet"), wanted)


Verb = Callable[[st.DataObject, Transaction, Model], None]


def do_write(data: st.DataObject, tx: Transaction, model: Model) -> None:
    """The whole table, with rows taken out, put in and changed."""
    rows = [dict(row) for row in model.rows]
    for _ in range(data.draw(st.integers(0, 3), label="rows out")):
        if rows:
            rows.pop(data.draw(st.integers(0, len(rows) - 1)))
    for row in rows:
        if data.draw(st.integers(0, 9)) == 0:
            name = data.draw(st.sampled_from(_values(model)))
            row[name] = data.draw(_strategy(model, name))
    for row in data.draw(new_rows(6), label="rows in"):
        if not model.key or model.key_of(row) not in {model.key_of(r) for r in rows}:
            rows.insert(data.draw(st.integers(0, len(rows))), _known(row, model))
    before = list(model.rows)
    model.rows = rows
    given = model.table()
    model.settle()
    change = tx.write("t", given)
    if model.key and change.inserted is not None:
        old = {model.key_of(row): repr(row) for row in before}
        new = {model.key_of(row): repr(_full(row, model)) for row in model.rows}
        old = {key: repr(_full(row, model)) for key, row in zip(old, before, strict=True)}
        assert change.inserted == len(new.keys() - old.keys())
        assert change.deleted == len(old.keys() - new.keys())
        assert change.updated == sum(old[key] != new[key] for key in old.keys() & new.keys())


def do_append(data: st.DataObject, tx: Transaction, model: Model) -> None:
    rows = [_known(row, model) for row in data.draw(new_rows(8))]
    if model.key:
        rows = [row for row in rows if model.find(model.key_of(row)) is None]
    change = tx.append("t", model.table(rows))
    assert change.inserted == len(rows)
    model.rows += rows
    model.settle()


def do_upsert(data: st.DataObject, tx: Transaction, model: Model) -> None:
    if not model.key:
        return
    rows = [_known(row, model) for row in data.draw(new_rows(8))]
    names = [*model.key, *data.draw(st.lists(st.sampled_from(_values(model)), unique=True))]
    tx.upsert("t", model.table(rows, names))
    for row in rows:
        part = {name: row.get(name) for name in names}
        found = model.find(model.key_of(row))
        if found is None:
            model.rows.append({name: part.get(name) for name in model.types})
        else:
            found.update(part)
    model.settle()


def do_delete(data: st.DataObject, tx: Transaction, model: Model) -> None:
    low = data.draw(st.integers(0, 40))
    high = low + data.draw(st.sampled_from([1, 3, 30]))
    change = tx.delete("t", f"id >= {low} AND id < {high}")
    kept = [row for row in model.rows if not low <= row["id"] < high]
    assert change.deleted == len(model.rows) - len(kept)
    model.rows = kept


def do_update(data: st.DataObject, tx: Transaction, model: Model) -> None:
    if "n" not in model.types or "text" not in model.types:
        return
    rest, by = data.draw(st.integers(0, 4)), data.draw(st.integers(1, 3))
    tx.update("t", {"n": f"n + {by}", "text": "'é' || id"}, f"id % 5 = {rest}")
    for row in model.rows:
        if row["id"] % 5 == rest:
            row["n"] = None if row.get("n") is None else row["n"] + by
            row["text"] = f"é{row['id']}"


def do_update_key(data: st.DataObject, tx: Transaction, model: Model) -> None:
    low = data.draw(st.integers(0, 40))
    tx.update("t", {"id": "id + 1000"}, f"id = {low}")
    moved = [row for row in model.rows if row["id"] == low]
    for row in moved:
        row["id"] += 1000
    tx.update("t", {"id": "id - 1000"}, "id >= 1000")
    for row in moved:
        row["id"] -= 1000
    model.settle()


def do_add_column(data: st.DataObject, tx: Transaction, model: Model) -> None:
    name = f"c{len(model.types)}"
    if name in model.types:
        return
    tx.add_columns("t", {name: "id::BIGINT * 2"})
    model.types[name] = pa.int64()
    for row in model.rows:
        row[name] = row["id"] * 2


def do_join_column(data: st.DataObject, tx: Transaction, model: Model) -> None:
    name = f"j{len(model.types)}"
    if not model.key or name in model.types:
        return
    chosen = [row for row in model.rows if data.draw(st.booleans())]
    schema = pa.schema([*((n, model.types[n]) for n in model.key), (name, pa.string())])
    rows = [{**{n: row[n] for n in model.key}, name: f"v{row['id']}"} for row in chosen]
    tx.add_columns("t", pa.Table.from_pylist(rows, schema=schema))
    model.types[name] = pa.string()
    for row in model.rows:
        row[name] = f"v{row['id']}" if row in chosen else None


def do_drop_column(data: st.DataObject, tx: Transaction, model: Model) -> None:
    name = data.draw(st.sampled_from(_values(model)))
    tx.drop_columns("t", name)
    del model.types[name]
    for row in model.rows:
        row.pop(name, None)


def do_rename_column(data: st.DataObject, tx: Transaction, model: Model) -> None:
    name = data.draw(st.sampled_from(_values(model)))
    if name in VALUES:
        return
    tx.rename_columns("t", {name: name + "_"})
    model.types = {(n + "_" if n == name else n): t for n, t in model.types.items()}
    for row in model.rows:
        row[name + "_"] = row.pop(name, None)


def do_cast_column(data: st.DataObject, tx: Transaction, model: Model) -> None:
    if model.types.get("n") != pa.int64():
        return
    tx.cast_columns("t", {"n": "DOUBLE"})
    model.types["n"] = pa.float64()
    for row in model.rows:
        row["n"] = None if row.get("n") is None else float(row["n"])


def do_transform(data: st.DataObject, tx: Transaction, model: Model) -> None:
    rest = data.draw(st.integers(0, 4))
    tx.transform("t", f"SELECT * FROM t WHERE id % 5 <> {rest}")
    model.rows = [row for row in model.rows if row["id"] % 5 != rest]


def do_copies(data: st.DataObject, tx: Transaction, model: Model) -> None:
    """Filter, sample and copy leave the table alone, and hold what they say."""
    for name in ("copy", "filter", "sample"):
        if name in tx.tables:
            tx.drop(name)
    tx.copy("t", "copy")
    tx.filter("t", "id % 2 = 0", "filter")
    tx.sample("t", "sample", fraction=0.5, seed=1)
    same(tx.sql("FROM copy").to_arrow_table(), model.table())
    even = [row for row in model.rows if row["id"] % 2 == 0]
    same(tx.sql('FROM "filter"').to_arrow_table(), model.table(even))
    assert tx.sql("FROM sample").to_arrow_table().num_rows == round(len(model.rows) / 2)


VERBS: list[Verb] = [
    do_write,
    do_append,
    do_upsert,
    do_delete,
    do_update,
    do_update_key,
    do_add_column,
    do_join_column,
    do_drop_column,
    do_rename_column,
    do_cast_column,
    do_transform,
    do_copies,
]


def _values(model: Model) -> list[str]:
    return [name for name in model.types if name not in ("region", "id")]


def _strategy(model: Model, name: str) -> st.SearchStrategy:
    if model.types[name] == pa.float64():
        return VALUES["x"]
    if model.types[name] == pa.int64():
        return VALUES["n"]
    return VALUES.get(name, VALUES["text"])


def _known(row: Row, model: Model) -> Row:
    """A row with the model's columns and types."""
    made = {name: row.get(name) for name in model.types}
    if model.types.get("n") == pa.float64() and made["n"] is not None:
        made["n"] = float(made["n"])
    return made


def _full(row: Row, model: Model) -> Row:
    return {name: row.get(name) for name in model.types}
