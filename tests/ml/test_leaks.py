"""Leaks: rows that a model is tested on and was trained on, in whatever form they stand there."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datasnap
import datasnap.ml.leaks.equalrows as equalrows
from datasnap.errors import UnknownName, UsageError
from datasnap.lifecycle.policy import Policy
from datasnap.ml.leaks.leaks import Leaks, find_leaks
from datasnap.ml.leaks.seen import trained_on, versions_of
from datasnap.ml.runs.records import release
from datasnap.ml.splits import Split
from datasnap.repository import Repository
from datasnap.versions import TableVersion

from ..conftest import write


def leaks(repo: Repository, train: str, test: str, **options: object) -> Leaks:
    return find_leaks(repo.table(train), repo.table(test), **options)  # type: ignore[arg-type]


def pairs(found: Leaks) -> list[tuple[int, int]]:
    (leak,) = found.found
    return list(zip(leak.test_rows.tolist(), leak.train_rows.tolist(), strict=True))


def test_copied_rows_are_found_under_other_keys_and_in_another_order(
    repo: Repository, rides: pa.Table
) -> None:
    write(repo, "train", rides, key="ride_id")
    copied = np.array([5, 123_456, 299_999, 70_000])
    test = rides.slice(0, 3000).set_column(
        2, "fare", pa.array(np.asarray(rides["fare"])[:3000] + 0.001)
    )
    test = pa.concat_tables([test, rides.take(pa.array(copied))])
    test = test.set_column(0, "ride_id", pa.array(np.arange(3004) + 9_000_000))
    write(repo, "test", test.select(["place", "km", "shared", "ride_id", "started", "fare"]))
    found = leaks(repo, "train", "test")
    assert pairs(found) == list(zip([3000, 3001, 3002, 3003], copied.tolist(), strict=True))
    assert found.found[0].on == ("place", "km", "shared", "started", "fare")
    assert (found.tested, found.rows.tolist()) == (3004, [3000, 3001, 3002, 3003])
    ((_, example), *rest) = found.examples(2)
    assert len(rest) == 1
    assert example.train_key == {"ride_id": rides["ride_id"][5].as_py()}
    assert example.values["fare"] == rides["fare"][5].as_py()
    assert len(leaks(repo, "train", "test", on=["place"]).rows) == 3004
    assert leaks(repo, "train", "test", on=["ride_id"]).found == ()


def test_nulls_and_nans_are_equal_and_zeros_of_two_signs_are_not(repo: Repository) -> None:
    nan = float("nan")
    write(repo, "train", pa.table({"x": [None, nan, 0.0, 1.5], "l": [[1], None, [2], [3, None]]}))
    write(
        repo,
        "test",
        pa.table(
            {"x": [-0.0, nan, None, 1.5, 1.5, None], "l": [[2], None, [1], [3, None], [3], None]}
        ),
    )
    assert pairs(leaks(repo, "train", "test")) == [(1, 1), (2, 0), (3, 3)]


@pytest.mark.parametrize(
    ("train", "test", "equal"),
    [
        (pa.array([1, 2, -3], pa.int8()), pa.array([-3, 200, 1]), [(0, 2), (2, 0)]),
        (pa.array([1, 2**64 - 1], pa.uint64()), pa.array([-1, 1]), [(1, 0)]),
        (pa.array([2**53 + 1, 4]), pa.array([2.0**53, 4.0, 4.5]), [(1, 1)]),
        (pa.array([0.5, 0.1], pa.float32()), pa.array([0.1, 0.5]), [(1, 0)]),
        (pa.array([Decimal("1.00"), Decimal("2.50")]), pa.array([1, 2]), [(0, 0)]),
        (pa.array([Decimal("0.70"), Decimal("2.50")]), pa.array([0.1, 2.5, 0.7]), [(1, 1), (2, 0)]),
        # One float is nearest to both of these, and written as one of them.
        (
            pa.array([Decimal(9007199254740993), Decimal(9007199254740992)]),
            pa.array([2.0**53, float("inf")]),
            [(0, 1)],
        ),
        (
            pa.array([datetime(2026, 1, 1)], pa.timestamp("s")),
            pa.array([datetime(2026, 1, 1), datetime(2026, 1, 1, 0, 0, 0, 7)]),
            [(0, 0)],
        ),
        (pa.array(["a", "b"]).dictionary_encode(), pa.array(["b"], pa.large_string()), [(0, 1)]),
    ],
    ids=[
        "integers",
        "unsigned",
        "float and integer",
        "floats",
        "decimal",
        "decimal and float",
        "long decimals",
        "times",
        "text",
    ],
)
def test_values_of_different_types_are_equal_where_they_mean_the_same(
    repo: Repository, train: pa.Array, test: pa.Array, equal: list[tuple[int, int]]
) -> None:
    write(repo, "train", pa.table({"x": train}))
    write(repo, "test", pa.table({"x": test}))
    assert pairs(leaks(repo, "train", "test")) == equal


@given(st.lists(st.integers(0, 30)), st.lists(st.integers(0, 30)), st.integers(1, 4))
@settings(max_examples=8)
def test_rows_that_share_a_hash_are_neither_confused_nor_missed(
    tmp_path_factory: pytest.TempPathFactory, train: list[int], test: list[int], hashes: int
) -> None:
    repo = datasnap.init(tmp_path_factory.mktemp("repo"))
    write(repo, "train", pa.table({"x": pa.array(train, pa.int64())}))
    write(repo, "test", pa.table({"x": pa.array(test, pa.int64())}))
    real = equalrows.row_hashes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(equalrows, "row_hashes", lambda columns: real(columns) % np.uint64(hashes))
        found = leaks(repo, "train", "test")
    expected = [(at, train.index(x)) for at, x in enumerate(test) if x in train]
    assert (pairs(found) if expected else list(found.found)) == expected


def test_a_row_that_was_ever_there_is_found_in_the_version_that_had_it(repo: Repository) -> None:
    ids = np.arange(1000)
    first = write(repo, "rides", pa.table({"id": ids, "x": ids * 2}), key="id")
    with repo.transaction("main") as tx:
        tx.delete("rides", "id < 10")
    second = tx.snapshot
    with repo.transaction("main") as tx:
        tx.add_columns("rides", {"y": "x + 1"})
        tx.update("rides", {"x": "-5"}, "id = 500")
    third = tx.snapshot
    write(repo, "test", pa.table({"x": [4, 1000, -5, 3]}))
    assert leaks(repo, "rides", "test").rows.tolist() == [2]
    found = find_leaks(versions_of(repo, "rides"), repo.table("test"))
    assert (found.searched, found.rows.tolist()) == (3, [0, 1, 2])
    where = {leak.seen.table.snapshot: leak.test_rows.tolist() for leak in found.found}
    assert where == {first: [0, 1], second: [1], third: [2]}


def test_a_segment_that_many_versions_have_is_read_once(
    repo: Repository, rides: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repo, "rides", rides, key="ride_id")
    for _ in range(3):
        with repo.transaction("main") as tx:
            tx.delete("rides", "ride_id = (SELECT max(ride_id) FROM rides)")
    write(repo, "test", rides.slice(7, 1))
    rows: list[int] = []
    real = equalrows.Reader.hashes

    def hashes(self: equalrows.Reader, number: int) -> np.ndarray:
        rows.append(len(real(self, number)))
        return real(self, number)

    monkeypatch.setattr(equalrows.Reader, "hashes", hashes)
    found = find_leaks(versions_of(repo, "rides"), repo.table("test"))
    assert len(found.found) == found.searched == 4
    assert sum(rows) < 2 * len(rides)


def test_the_runs_that_saw_a_row_of_the_test_are_named(repo: Repository) -> None:
    ids = np.arange(1000)
    write(repo, "rides", pa.table({"id": ids, "x": ids * 2}), key="id")
    write(repo, "test", pa.table({"id": [0, 1, 2], "x": [8, 1990, 3]}), key="id")
    table, test = repo.table("rides"), repo.table("test")
    with datasnap.run("all", repo=repo):
        table.to_arrow()
    with datasnap.run("few", repo=repo):
        table.to_arrow(["x"], where="id < 10")
        test.to_arrow()
    with datasnap.run("none", repo=repo):
        table.to_arrow(rows=(10, 900))
        table.split("test", 0.9).to_arrow()
    with repo.transaction("main") as tx:
        tx.delete("rides", "id = 4")
    assert leaks(repo, "rides", "test").rows.tolist() == [1]
    assert told(repo, test) == [
        ("few", [0], False),
        ("all", [0, 1], False),
        ("none", [0, 1], True),
        ("few", [0, 1, 2], True),  # the test's own table: it may have been trained on
    ]
    assert trained_on(repo, test, tables=["other"]) == []


def told(repo: Repository, test: TableVersion | Split) -> list[tuple[str, list[int], bool]]:
    """Of each run and table that it read the rows that the test has, too; whether it may have been
    for testing."""
    found = find_leaks(trained_on(repo, test), test).found
    return [
        (run.name, leak.test_rows.tolist(), leak.seen.for_testing)
        for leak in found
        for run in leak.seen.runs
    ]


def test_a_copy_of_the_test_that_was_trained_on_is_found(repo: Repository) -> None:
    data = pa.table({"id": [1, 2, 3], "x": [1.0, 2.0, 3.0]})
    write(repo, "train", data, key="id")
    write(repo, "test", data, key="id")
    assert repo.table("train").id == repo.table("test").id
    with datasnap.run("gbm", repo=repo):
        repo.table("train").to_arrow()
    assert told(repo, repo.table("test")) == [("gbm", [0, 1, 2], False)]


def test_who_read_all_of_a_table_trained_on_its_test_split(repo: Repository) -> None:
    write(repo, "rides", pa.table({"id": np.arange(200)}), key="id")
    table = repo.table("rides")
    parts = table.split({"train": 0.8, "validation": 0.1, "test": 0.1})
    rows = parts["test"].to_arrow()["id"].to_pylist()
    with datasnap.run("right", repo=repo):
        parts["train"].to_arrow()
        parts["test"].to_arrow()
    with datasnap.run("by hand", repo=repo):
        parts["train"].to_arrow()
        table.to_arrow(where="id > 10")
    with datasnap.run("only", repo=repo):
        parts["test"].to_arrow()
    with datasnap.run("other seed", repo=repo):
        table.split("train", 0.9, seed=1).to_arrow()
        table.split("test", 0.1, seed=1).to_arrow()
    other = table.split({"train": 0.9, "test": 0.1}, seed=1)
    seeds = [set(part.to_arrow()["id"].to_pylist()) for part in other.values()]
    assert told(repo, parts["test"]) == [
        ("other seed", [row for row in rows if row in seeds[0]], False),
        ("by hand", [row for row in rows if row > 10], False),
        ("other seed", [row for row in rows if row in seeds[1]], True),
        ("only", rows, True),  # it may have tested a model of another run
    ]


def test_a_model_was_trained_on_something_that_its_run_read(
    repo: Repository, tmp_path: Path
) -> None:
    write(repo, "t", pa.table({"id": np.arange(50)}), key="id")
    (tmp_path / "model").write_bytes(b"weights")
    test = repo.table("t").split("test", 0.3)
    with datasnap.run("wrong", repo=repo) as run:
        test.to_arrow()
        run.save_model(tmp_path / "model")
    assert [(name, sure) for name, _, sure in told(repo, test)] == [("wrong", False)]


def test_splits_for_testing_are_known_by_a_word_in_their_names(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [1, 2, 3]}), key="id")
    write(repo, "test", pa.table({"id": [2]}), key="id")
    names = {
        "for tests": ["Test", "test_set", "evalSet", "hold-out", "VAL2"],
        "to train": ["train", "latest", "fold1", "train_dev"],
    }
    for run, splits in names.items():
        with datasnap.run(run, repo=repo):
            for name in splits:
                repo.table("t").split({name: 1.0})[name].to_arrow()
    marked = [(run, is_one) for run, _, is_one in told(repo, repo.table("test"))]
    assert marked == [("to train", False), ("for tests", True)]


def test_what_was_read_of_another_repository_counts_while_it_is_there(
    repo: Repository, tmp_path: Path
) -> None:
    other = datasnap.init(tmp_path / "other")
    for each in (repo, other):
        write(each, "test", pa.table({"x": [5, 6]}))
    write(other, "data", pa.table({"x": [6]}))
    with datasnap.run("far", repo=repo):
        other.table("data").to_arrow()
    test = repo.table("test")
    assert told(repo, test) == [("far", [1], False)]
    (tmp_path / "other").rename(tmp_path / "elsewhere")
    found = find_leaks(trained_on(repo, test), test)
    assert [(seen.table.name, seen.gone) for seen, _ in found.skipped] == [("data", True)]


def test_a_filter_by_chance_may_have_kept_any_row(repo: Repository) -> None:
    write(repo, "t", pa.table({"x": np.arange(40)}))
    write(repo, "test", pa.table({"x": np.arange(40)}))
    with datasnap.run("some", repo=repo):
        repo.table("t").to_arrow(where="random() < 0.5")
    ((_, rows, _),) = told(repo, repo.table("test"))
    assert rows == list(range(40))


def test_splits_of_one_table_are_compared_by_their_rows(repo: Repository) -> None:
    ids = np.arange(2000)
    write(repo, "t", pa.table({"id": ids, "x": ids // 2}), key="id")
    parts = repo.table("t").split({"train": 0.5, "test": 0.5})
    found = find_leaks(parts["train"], parts["test"])
    train, test = (set(part.to_arrow(["x"])["x"].to_pylist()) for part in parts.values())
    assert found.tested == parts["test"].count()
    assert len(found.rows) == len(train & test) > 0
    together = repo.table("t").split({"train": 0.5, "test": 0.5}, by="x")
    assert find_leaks(together["train"], together["test"]).found == ()


def test_what_cannot_be_compared_is_refused_or_named(repo: Repository) -> None:
    write(repo, "a", pa.table({"x": [1], "s": ["1"]}))
    write(repo, "b", pa.table({"x": [1], "s": [1], "z": [0]}))
    (leak,) = leaks(repo, "a", "b").found
    assert (leak.on, leak.left_out) == (("x",), ("s",))
    # A key alone says nothing of rows whose values cannot be compared.
    write(repo, "k", pa.table({"id": [1], "s": ["1"]}), key="id")
    write(repo, "l", pa.table({"id": [1], "s": [1]}), key="id")
    with pytest.raises(UsageError, match="'s' is string in one and int64 in the other"):
        leaks(repo, "k", "l")
    assert leaks(repo, "k", "l", on=["id"]).rows.tolist() == [0]
    with pytest.raises(UsageError, match="'s' is string in one and int64 in the other"):
        leaks(repo, "a", "b", on=["x", "s"])
    with pytest.raises(UnknownName, match="unknown column 'z'"):
        leaks(repo, "a", "b", on=["z"])
    with pytest.raises(UnknownName, match="unknown column 'q'"):
        leaks(repo, "a", "b", on=["q"])
    write(repo, "c", pa.table({"other": [1]}))
    with pytest.raises(UsageError, match="no columns to compare"):
        leaks(repo, "a", "c")
    write(repo, "m", pa.table({"id": pa.array([1], pa.int8()), "y": [1]}))
    with pytest.raises(UsageError, match="nothing in common but keys: id"):
        leaks(repo, "m", "l")
    write(repo, "none", pa.table({"x": pa.array([], pa.int64())}))
    assert leaks(repo, "none", "b").found == leaks(repo, "b", "none").found == ()


def test_of_what_runs_read_a_shared_label_is_no_leak(repo: Repository) -> None:
    write(repo, "test", pa.table({"id": [1, 2], "text": ["a", "b"], "label": [0, 1]}), key="id")
    write(repo, "corpus", pa.table({"text": ["b"]}), key="text")
    write(repo, "other", pa.table({"id": [1, 2], "x": [5, 6], "label": [0, 1]}), key="id")
    write(repo, "older", pa.table({"id": [7], "label": [1], "text": ["b"]}), key="id")
    with datasnap.run("first", repo=repo):
        for name in ("corpus", "other", "older"):
            repo.table(name).to_arrow()
    test = repo.table("test")
    found = find_leaks(trained_on(repo, test), test)
    assert [leak.seen.table.name for leak in found.found] == ["older"]
    assert {(seen.table.name, shared) for seen, shared in found.skipped} == {
        ("corpus", ("text",)),
        ("other", ("id", "label")),
    }
    found = find_leaks(trained_on(repo, test), test, on=["text"])
    assert {leak.seen.table.name for leak in found.found} == {"corpus", "older"}


def test_what_a_run_read_and_is_gone_is_named_as_not_looked_at(repo: Repository) -> None:
    write(repo, "rides", pa.table({"id": [1, 2, 3], "x": [5, 6, 7]}), key="id")
    write(repo, "test", pa.table({"id": [8, 9], "x": [6, 7]}), key="id")
    with datasnap.run("first", repo=repo) as run:
        repo.table("rides").to_arrow()
    # Of rows that were purged, nobody can say any more that they were seen.
    repo.purge("rides", "id = 2")
    test = repo.table("test")
    found = find_leaks(trained_on(repo, test), test)
    assert (found.rows.tolist(), found.skipped) == ([1], ())

    write(repo, "rides", pa.table({"id": [1], "x": [0]}), key="id")
    release(repo, run.id)
    repo.prune(Policy(last=1))
    found = find_leaks(trained_on(repo, test), test)
    assert (found.searched, found.found) == (0, ())
    assert [[each.name for each in seen.runs] for seen, _ in found.skipped] == [["first"]]
