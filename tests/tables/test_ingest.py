"""Import: what a new version shares with the one before, and what is refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import datasnap
from datasnap.errors import BadInput, BadKey, InvalidName
from datasnap.repository import Repository
from datasnap.snapshots.objects import ColumnGroup, Part
from tests.conftest import write


def added(repo: Repository, data: object, **options: object) -> datasnap.Transaction:
    with repo.transaction("main", message="again") as tx:
        tx.write("rides", data, **options)  # type: ignore[arg-type]
    return tx


def segments(repo: Repository, ref: str = "main") -> list[int]:
    manifest = repo.snapshot(ref).table("rides").manifest
    parts = repo.objects.get_many([part.id for part in manifest.parts], Part)
    return [segment.rows for part in parts for segment in part.segments]


def groups(repo: Repository) -> list[int]:
    """How many column groups each segment has."""
    manifest = repo.snapshot().table("rides").manifest
    parts = repo.objects.get_many([part.id for part in manifest.parts], Part)
    return [len(segment.groups) for part in parts for segment in part.segments]


def test_the_same_table_again_adds_nothing_and_commits_nothing(
    repo: Repository, rides: pa.Table
) -> None:
    first = write(repo, "rides", rides, key="ride_id")
    tx = added(repo, rides)
    assert tx.snapshot == first
    assert tx.stats == (0, 0, 0)
    assert not tx.changes[0].changed


def test_the_same_rows_in_any_order_are_the_same_table(repo: Repository, rides: pa.Table) -> None:
    write(repo, "rides", rides, key="ride_id")
    shuffled = rides.take(pa.array(np.random.default_rng(3).permutation(len(rides))))
    assert not added(repo, shuffled).changes[0].changed


def test_two_repositories_give_one_table_one_id(
    repo: Repository, rides: pa.Table, tmp_path: object
) -> None:
    other = datasnap.init(f"{tmp_path}/other")
    write(repo, "rides", rides, key="ride_id")
    write(other, "rides", rides.combine_chunks().to_reader(max_chunksize=777), key="ride_id")
    assert repo.snapshot().table("rides").id == other.snapshot().table("rides").id


def test_a_new_column_adds_that_column_and_leaves_the_rest(
    repo: Repository, rides: pa.Table
) -> None:
    write(repo, "rides", rides, key="ride_id")
    wider = rides.append_column("per_km", pc.divide(rides["fare"], rides["km"]))
    tx = added(repo, wider)
    assert tx.stats.chunks == len(segments(repo))
    assert tx.changes[0].added == ("per_km",)
    assert set(groups(repo)) == {2}
    assert repo.snapshot().table("rides").to_arrow().equals(wider)


def test_a_column_that_changes_again_and_again_does_not_pile_up_groups(
    repo: Repository, rides: pa.Table
) -> None:
    write(repo, "rides", rides, key="ride_id")
    for factor in (2, 3, 4):
        index = rides.schema.get_field_index("km")
        changed = rides.set_column(index, "km", pc.multiply(rides["km"], factor))
        added(repo, changed)
        assert repo.snapshot().table("rides").to_arrow().equals(changed)
    assert set(groups(repo)) == {2}
    added(repo, rides)
    assert repo.snapshot().table("rides").to_arrow().equals(rides)


def test_a_dropped_column_adds_no_chunk(repo: Repository, rides: pa.Table) -> None:
    write(repo, "rides", rides, key="ride_id")
    tx = added(repo, rides.drop_columns(["place"]))
    assert tx.stats.chunks == 0
    assert tx.changes[0].removed == ("place",)
    assert repo.snapshot().table("rides").to_arrow().equals(rides.drop_columns(["place"]))
    returned = added(repo, rides)
    assert returned.stats.chunks == 0
    assert repo.snapshot().table("rides").to_arrow().equals(rides)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.4])
def test_appended_rows_cost_about_themselves(
    repo: Repository, rides: pa.Table, share: float
) -> None:
    cut = round(len(rides) * (1 - share))
    write(repo, "rides", rides.slice(0, cut), key="ride_id")
    before = segments(repo)
    added(repo, rides)
    kept = [a == b for a, b in zip(before, segments(repo), strict=False)]
    assert all(kept[:-1])
    new_rows = sum(segments(repo)) - sum(before)
    rewritten = sum(segments(repo)[sum(kept) :])
    assert rewritten <= 2 * new_rows
    assert repo.snapshot().table("rides").to_arrow().equals(rides)


def test_many_small_appends_leave_few_segments(repo: Repository, rides: pa.Table) -> None:
    for rows in range(500, 20_001, 500):
        added(repo, rides.slice(0, rows), key="ride_id")
    assert len(segments(repo)) <= 7
    assert repo.snapshot().table("rides").to_arrow().equals(rides.slice(0, 20_000))
    assert repo.verify(deep=True).ok


def test_a_changed_row_costs_its_segment_and_not_the_table(
    repo: Repository, rides: pa.Table
) -> None:
    write(repo, "rides", rides, key="ride_id")
    fares = rides["fare"].to_numpy().copy()
    fares[150_000] += 1
    changed = rides.set_column(2, "fare", pa.array(fares))
    assert added(repo, changed).stats.chunks == 0


def test_a_deleted_row_costs_its_segment_and_not_the_table(
    repo: Repository, rides: pa.Table
) -> None:
    write(repo, "rides", rides, key="ride_id")
    keep = pc.not_equal(rides["ride_id"], rides["ride_id"][150_000])
    assert added(repo, rides.filter(keep)).stats.chunks <= 2 * rides.num_columns


def test_a_retyped_column_is_told_by_name(repo: Repository, rides: pa.Table) -> None:
    write(repo, "rides", rides, key="ride_id")
    retyped = rides.set_column(3, "km", rides["km"].cast(pa.float32()))
    assert added(repo, retyped).changes[0].retyped == ("km",)
    assert repo.snapshot().table("rides").to_arrow().equals(retyped)


def test_equal_columns_are_stored_once(repo: Repository) -> None:
    values = np.random.default_rng(1).normal(size=50_000)
    table = pa.table({"id": range(50_000), "a": values, "b": values})
    assert added(repo, table, key="id").stats.chunks == 2
    assert repo.snapshot().table("rides").to_arrow().equals(table)


def test_a_table_under_another_name_shares_its_chunks(repo: Repository, rides: pa.Table) -> None:
    write(repo, "rides", rides, key="ride_id")
    with repo.transaction("main") as tx:
        tx.write("copy", rides, key="ride_id")
    assert tx.stats.chunks == 0
    assert repo.snapshot().table("copy").to_arrow().equals(rides)


def test_a_new_key_sorts_the_table_by_it(repo: Repository) -> None:
    table = pa.table({"a": [1, 2, 3], "b": ["z", "x", "y"]})
    write(repo, "rides", table, key="a")
    write(repo, "rides", table, key="b")
    assert repo.snapshot().table("rides").key == ["b"]
    assert repo.snapshot().table("rides").to_arrow()["b"].to_pylist() == ["x", "y", "z"]


def test_a_key_can_be_given_up_and_order_kept(repo: Repository) -> None:
    table = pa.table({"a": [3, 1, 2]})
    write(repo, "rides", table, key="a")
    write(repo, "rides", table, key=())
    assert repo.snapshot().table("rides").key == []
    assert repo.snapshot().table("rides").to_arrow().equals(table)
    write(repo, "rides", table, key="a", keep_order=True)
    assert repo.snapshot().table("rides").to_arrow().equals(table)


def test_composite_and_text_keys_sort_by_all_their_columns(repo: Repository) -> None:
    random = np.random.default_rng(5)
    names = pa.array([f"größe {i}" for i in random.permutation(300)]).take(
        pa.array(random.integers(0, 300, 5000))
    )
    table = pa.table(
        {"name": names, "day": random.permutation(5000), "x": random.normal(size=5000)}
    )
    write(repo, "rides", table, key=["name", "day"])
    expected = table.sort_by([("name", "ascending"), ("day", "ascending")])
    assert repo.snapshot().table("rides").to_arrow().equals(expected)


@pytest.mark.parametrize(
    ("table", "key", "says"),
    [
        (pa.table({"a": [1]}), "id", "'id' is not in the data"),
        (pa.table({"id": [1, None, 2]}), "id", "1 null"),
        (pa.table({"id": [1.0, float("nan")]}), "id", "1 null or NaN"),
        (pa.table({"id": [7, 3, 7, 3, 1]}), "id", "3; 7"),
        (pa.table({"a": [1, 1], "b": ["x", "x"]}), ["a", "b"], "1, x"),
        (pa.table({"id": [[1], [2]]}), "id", "cannot be a key"),
        (pa.table({"id": [1, 2]}), ["id", "id"], "twice"),
    ],
)
def test_a_bad_key_says_which_values(
    repo: Repository, table: pa.Table, key: object, says: str
) -> None:
    write(repo, "kept", pa.table({"x": [1]}))
    before = repo.branches(), repo.size()
    with pytest.raises(BadKey, match=says):
        write(repo, "rides", table, key=key)
    assert (repo.branches(), repo.size()) == before


def test_a_key_column_that_goes_missing_is_refused(repo: Repository) -> None:
    write(repo, "rides", pa.table({"id": [1], "a": [2]}), key="id")
    with pytest.raises(BadKey, match="lacks 'id'"):
        write(repo, "rides", pa.table({"a": [2]}))


@pytest.mark.parametrize(
    "data",
    [
        pa.table({}),
        pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
        42,
        None,
    ],
)
def test_what_is_no_table_is_refused(repo: Repository, data: object) -> None:
    with pytest.raises(BadInput):
        write(repo, "t", data)


@pytest.mark.parametrize("name", ["", "/x", "x/", "a//b", "../up", "a@b", "a*", "x\n", "a" * 300])
def test_bad_table_names_are_refused(repo: Repository, name: str) -> None:
    with pytest.raises(InvalidName):
        write(repo, name, pa.table({"a": [1]}))


rows = st.dictionaries(
    st.integers(0, 60), st.tuples(st.none() | st.text(max_size=5), st.floats()), max_size=40
)


@given(versions=st.lists(rows, min_size=1, max_size=5))
def test_any_series_of_versions_reads_back_and_verifies(
    tmp_path_factory: pytest.TempPathFactory, versions: list[dict]
) -> None:
    """Tiny segments, so that small tables have many boundaries."""
    root = tmp_path_factory.mktemp("series")
    repo = datasnap.init(root)
    (root / ".datasnap" / "config.toml").write_text("[tables]\nsegment_rows = 4\n")
    repo = datasnap.open(root)
    written = []
    for version in versions:
        table = pa.table(
            {
                "id": pa.array(list(version), pa.int64()),
                "text": pa.array([v[0] for v in version.values()], pa.string()),
                "number": pa.array([v[1] for v in version.values()], pa.float64()),
            }
        )
        with repo.transaction("main", allow_empty=True) as tx:
            tx.write("t", table, key="id")
        written.append((tx.snapshot, table.sort_by("id")))
    for id, table in written:
        back = repo.snapshot(id).table("t").to_arrow()
        assert repr(back.to_pylist()) == repr(table.to_pylist())
    assert repo.verify(deep=True).ok
    assert repo.objects.get_many([], ColumnGroup) == []
