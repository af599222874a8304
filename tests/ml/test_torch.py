"""Pinned tables as tensors: what is handed out, in which order, and where one goes on."""

from __future__ import annotations

import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler

import datasnap
from datasnap.errors import BadQuery, UnknownName, UsageError
from datasnap.ml.torch import RowDataset, TableDataset, TableLoader, collate
from datasnap.repository import Repository
from datasnap.versions import TableVersion
from tests.conftest import write

COLUMNS = ["ride_id", "fare"]
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, rides: pa.Table) -> Path:
    """A repository with the rides: three segments."""
    folder = tmp_path_factory.mktemp("torch")
    write(datasnap.init(folder), "rides", rides, key="ride_id")
    return folder


@pytest.fixture
def table(place: Path) -> TableVersion:
    return datasnap.open(place).table("rides")


def dataset(table: TableVersion, **options: Any) -> TableDataset:
    given = {"columns": COLUMNS, "batch_size": 7_000, "shuffle": True, "seed": 3, "lanes": 4}
    return TableDataset(table, **{**given, "window": 20_000, **options})


def ids(batches: Any) -> list[list[int]]:
    return [batch["ride_id"].tolist() for batch in batches]


def test_stored_order_gives_the_rows_of_the_table(table: TableVersion, rides: pa.Table) -> None:
    names = ["ride_id", "started", "fare", "km", "shared"]
    batches = list(TableDataset(table, columns=names, batch_size=70_000))
    assert [len(batch["fare"]) for batch in batches] == [70_000] * 4 + [20_000]
    got = {name: torch.cat([batch[name] for batch in batches]).numpy() for name in names}
    assert list(got) == names
    for name in ("ride_id", "fare", "km", "shared"):
        np.testing.assert_array_equal(got[name], rides[name].to_numpy())
    np.testing.assert_array_equal(got["started"], rides["started"].cast(pa.int64()).to_numpy())
    assert [batches[0][n].dtype for n in ("started", "fare", "shared")] == [
        torch.int64,
        torch.float64,
        torch.bool,
    ]


def test_a_batch_is_a_slice_of_what_was_decoded(table: TableVersion) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch's, of memory that must not be written
        first, second, *_ = TableDataset(table, columns=["fare"], batch_size=1000)
    assert second["fare"].data_ptr() - first["fare"].data_ptr() == 8 * 1000
    first["fare"] += 1


def test_a_shuffled_epoch_has_every_row_once_and_mixes_them(table: TableVersion) -> None:
    batches = ids(dataset(table))
    seen = np.concatenate(batches)
    assert len(np.unique(seen)) == len(seen) == table.row_count
    assert all(len(batch) == 7_000 for batch in batches[:-1])
    # A batch of 7,000 of the rows in stored order spans about 14,000 IDs.
    assert all(max(batch) - min(batch) > 60_000 for batch in batches[:-1])


def test_an_epoch_is_the_same_for_any_number_of_workers(table: TableVersion) -> None:
    expected = ids(dataset(table))
    for workers in (3, 4):
        loader = DataLoader(dataset(table), batch_size=None, num_workers=workers)
        assert ids(loader) == expected


def test_epochs_are_counted_by_the_loader_and_differ(table: TableVersion) -> None:
    data = dataset(table, columns=["ride_id"])
    loader = TableLoader(data, num_workers=2, persistent_workers=True)
    epochs = [ids(loader) for _ in range(2)]
    assert epochs[0] != epochs[1]
    loader.set_epoch(0)
    assert ids(loader) == epochs[0]
    data.set_epoch(1)
    assert ids(data) == epochs[1]


def test_a_condition_chooses_rows_and_columns_come_in_the_order_named(
    table: TableVersion, rides: pa.Table
) -> None:
    data = dataset(table, columns=["km", "ride_id"], where="fare > 30 AND place <> 'place 7'")
    fare, places = rides["fare"].to_numpy(), np.array(rides["place"].to_pylist())
    wanted = rides["ride_id"].to_numpy()[(fare > 30) & (places != "place 7")]
    batches = list(data)
    assert list(batches[0]) == ["km", "ride_id"]
    assert sorted(np.concatenate(ids(batches)).tolist()) == wanted.tolist()
    assert len(data) == len(batches) == -(-len(wanted) // 7_000)
    few = np.concatenate(ids(dataset(table, where="ride_id % 1000 = 0")))
    all_ids = rides["ride_id"].to_numpy()
    assert sorted(few.tolist()) == all_ids[all_ids % 1000 == 0].tolist()
    assert list(dataset(table, where="fare < -1")) == []


def test_ranks_share_an_epoch(table: TableVersion) -> None:
    whole = ids(dataset(table))
    assert len(whole) == 43
    ranks = [ids(dataset(table, rank=rank, ranks=2)) for rank in range(2)]
    assert ranks == [whole[0::2], [*whole[1::2], whole[0]]]
    dropped = [ids(dataset(table, rank=r, ranks=2, uneven="drop")) for r in range(2)]
    assert dropped == [whole[0:42:2], whole[1::2]]
    assert len(dataset(table, rank=1, ranks=2, uneven="keep")) == 21


def test_a_loader_goes_on_where_it_was_with_any_number_of_workers(table: TableVersion) -> None:
    alone = TableLoader(dataset(table))
    whole, after = [ids(alone) for _ in range(2)]
    loader = TableLoader(dataset(table), num_workers=2)
    batches = iter(loader)
    seen = ids(next(batches) for _ in range(10))
    state = pickle.loads(pickle.dumps(loader.state_dict()))
    del batches
    for workers in (0, 3):
        other = TableLoader(dataset(table), num_workers=workers)
        other.load_state_dict(state)
        assert seen + ids(other) == whole
        assert ids(other) == after
    assert loader.state_dict()["batch"] == 10


def test_going_on_does_not_decode_what_was_passed(
    table: TableVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    data = dataset(table, shuffle=False, threads=1)
    original = data._source.read
    monkeypatch.setattr(data._source, "read", lambda *a: read.append(a) or original(*a))
    loader = TableLoader(data)
    loader.load_state_dict({**loader.state_dict(), "batch": 41})
    assert len(list(loader)) == 2
    passed = int(np.searchsorted(data._source.starts, 41 * 7_000, side="right")) - 1
    assert passed > 0
    assert {segment for segment, *_ in read} == set(range(passed, len(data._source.counts)))


def test_a_state_is_gone_on_from_once_by_the_process_that_loaded_it(table: TableVersion) -> None:
    data = dataset(table, columns=["ride_id"])
    whole = ids(data)
    batches = iter(data)
    for _ in range(5):
        next(batches)
    state, other = data.state_dict(), dataset(table, columns=["ride_id"])
    other.load_state_dict(state)
    other.set_epoch(0)  # as one does for each epoch
    assert ids(other) == whole[5:]
    assert ids(other) == whole
    other.load_state_dict(state)
    with (
        ProcessPoolExecutor(1, mp_context=get_context("fork")) as worker,
        pytest.raises(UsageError, match="cannot be gone on from in another"),
    ):
        worker.submit(list, other).result()
    other.set_epoch(1)
    assert ids(other) != whole


def test_a_state_of_another_dataset_is_refused_and_says_what_differs(table: TableVersion) -> None:
    loader = TableLoader(dataset(table, where="km > 0"))
    state, own = loader.state_dict(), dataset(table, where="km > 0").state_dict()
    others = {
        "seed 3, not 4": {"seed": 4},
        "batch_size 7000, not 10": {"batch_size": 10},
        "columns ride_id, fare, not fare; .*shuffle True, not False": {
            "columns": ["fare"],
            "shuffle": False,
        },
        "where km > 0, not none": {"where": None},
    }
    for said, options in others.items():
        other = dataset(table, **{"where": "km > 0", **options})
        for each, kept in ((TableLoader(other), state), (other, own)):
            with pytest.raises(UsageError, match=f"the state is of another dataset: {said}"):
                each.load_state_dict(kept)
    shared = dataset(table, where="km > 0", rank=1, ranks=2)
    TableLoader(shared).load_state_dict(state)  # a batch is counted over all ranks
    with pytest.raises(UsageError, match="the state is of another dataset: ranks 1, not 2"):
        shared.load_state_dict(own)
    for wrong in (None, 3, {}, {**state, "batch": -1}, {**state, "epoch": "x"}):
        with pytest.raises(UsageError, match="this is no state of such a loader or dataset"):
            loader.load_state_dict(wrong)  # type: ignore[arg-type]
    for old in (state, own):
        nameless = {name: value for name, value in old.items() if name != "dataset"}
        with pytest.raises(UsageError, match="an older datasnap made the state, and does not say"):
            loader.load_state_dict(nameless)
    with pytest.raises(UsageError, match="the state is of batch 1,000, and an epoch has 4"):
        loader.load_state_dict({**state, "batch": 1000})
    with pytest.raises(UsageError, match="the state is of batch 1,000"):
        dataset(table, where="km > 0").load_state_dict({**own, "given": 1000})


def test_a_state_whose_condition_keeps_other_rows_now_is_refused(repo: Repository) -> None:
    write(repo, "t", pa.table({"x": [1, 2, 3, 4]}))

    def loader() -> TableLoader:
        return TableLoader(TableDataset(repo.table("t"), where="x IN (SELECT x FROM good)"))

    write(repo, "good", pa.table({"x": [1, 2]}))
    state = loader().state_dict()
    loader().load_state_dict(state)
    write(repo, "good", pa.table({"x": [1, 3]}))
    with pytest.raises(UsageError, match="its condition kept other rows then"):
        loader().load_state_dict(state)


def test_the_state_of_an_epoch_that_was_padded_is_at_its_end(table: TableVersion) -> None:
    loader = TableLoader(dataset(table, batch_size=100_000, rank=0, ranks=2))
    batches = iter(loader)
    next(batches), next(batches)
    state = loader.state_dict()
    assert (state["batch"], loader._table.batches) == (3, 3)
    other = TableLoader(dataset(table, batch_size=100_000, rank=1, ranks=2))
    other.load_state_dict(state)
    assert list(other) == []
    assert other.state_dict()["epoch"] == 1


def test_loaders_of_one_dataset_count_epochs_for_themselves(table: TableVersion) -> None:
    data = dataset(table, columns=["ride_id"], batch_size=100_000)
    one, two = TableLoader(data), TableLoader(data)
    one.set_epoch(5)
    pairs = list(zip(one, two, strict=True))
    data.set_epoch(5)
    assert ids(data) == ids(a for a, _ in pairs)
    data.set_epoch(0)
    assert ids(data) == ids(b for _, b in pairs)
    first = iter(one)
    next(first)
    next(iter(one))
    with pytest.raises(UsageError, match="another iteration of this loader was begun"):
        next(first)


@pytest.mark.parametrize("workers", [0, 2])
def test_torchdata_goes_on_in_the_middle(table: TableVersion, workers: int) -> None:
    from torchdata import stateful_dataloader as stateful

    def loader() -> Any:
        return stateful.StatefulDataLoader(
            dataset(table), batch_size=None, num_workers=workers, snapshot_every_n_steps=1
        )

    first = loader()
    batches = iter(first)
    for _ in range(7):
        next(batches)
    state = first.state_dict()
    left = ids(batches)
    second = loader()
    second.load_state_dict(state)
    assert ids(second) == left
    assert ids(second) == ids(dataset(table))


def test_a_dataset_travels_small_and_opens_the_repository_anew(table: TableVersion) -> None:
    data = dataset(table, where="shared")
    sent = pickle.dumps(data)
    # A bit a row says which are wanted.
    assert len(sent) < table.row_count / 8 + 6_000
    assert ids(pickle.loads(sent)) == ids(data)


def test_a_transform_makes_what_is_handed_out(table: TableVersion) -> None:
    data = dataset(table, transform=lambda batch: batch["fare"].float().mean())
    assert [one.shape for one in TableLoader(data, num_workers=1)] == [torch.Size([])] * 43


def test_what_is_wrong_is_said_at_once(table: TableVersion) -> None:
    with pytest.raises(UnknownName, match="unknown column 'fair'"):
        dataset(table, columns=["fair"])
    with pytest.raises(BadQuery):
        dataset(table, where="fair > 1")
    with pytest.raises(UsageError, match="rank and ranks go together"):
        dataset(table, rank=0)
    with pytest.raises(UsageError, match="batch_size is no option of a TableLoader"):
        TableLoader(dataset(table), batch_size=4)
    with pytest.raises(UsageError, match="in_order is no option"):
        TableLoader(dataset(table), in_order=False)
    with pytest.raises(UsageError, match="no receipt is kept"):
        TableLoader(dataset(table)).receipt()
    for name in ("batch_size", "seed", "window", "lanes", "threads", "rank", "ranks"):
        ranks = {"rank": 0, "ranks": 1} if "rank" in name else {}
        for wrong in ("a", 1.5, -1, 10**30):
            with pytest.raises(UsageError, match=f"{name} is a whole number"):
                dataset(table, **{**ranks, name: wrong})
    for options, said in (
        ({"shuffle": "no"}, "shuffle is True or False"),
        ({"transform": "x"}, "transform is called"),
        ({"columns": 3}, "columns are named by a list"),
        ({"columns": [3]}, "columns are named by a list"),
        ({"columns": []}, "columns names no column"),
    ):
        with pytest.raises(UsageError, match=said):
            dataset(table, **options)
    assert ids(dataset(table, columns="ride_id", batch_size=100_000))
    for call in (TableDataset, RowDataset):
        with pytest.raises(UsageError, match="of a table or a split, not of str"):
            call("rides")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="is of a TableDataset, not of list"):
        TableLoader([1, 2])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="receipt is True, False or a receipt") as error:
        TableLoader(dataset(table), receipt="r.json")  # type: ignore[arg-type]
    assert "read_receipt" in error.value.hint
    for each in (dataset(table), TableLoader(dataset(table))):
        with pytest.raises(UsageError, match="epoch is a whole number"):
            each.set_epoch("a")  # type: ignore[arg-type]


def test_rows_by_number(table: TableVersion, rides: pa.Table) -> None:
    rows = RowDataset(table, columns=COLUMNS)
    assert len(rows) == table.row_count
    all_ids, fares = (rides[name].to_numpy() for name in COLUMNS)
    assert rows[123_456]["ride_id"] == all_ids[123_456]
    assert rows[-1]["fare"] == fares[-1]
    for beyond in (len(rows), 10**30):
        with pytest.raises(IndexError):
            rows[beyond]
    with pytest.raises(UsageError, match="rows are asked for by whole numbers"):
        rows["a"]  # type: ignore[index]
    numbers = np.random.default_rng(0).integers(0, len(rows), 500)
    batch = rows.__getitems__(numbers.tolist()).whole()
    np.testing.assert_array_equal(batch["ride_id"].numpy(), all_ids[numbers])
    some = RowDataset(table, columns=COLUMNS, where="fare > 50")
    wanted = all_ids[fares > 50]
    assert len(some) == len(wanted)
    assert some[17]["ride_id"] == wanted[17]


def test_samplers_choose_rows(table: TableVersion, rides: pa.Table) -> None:
    rows = RowDataset(table, columns=COLUMNS)
    known = dict(zip(*(rides[name].to_pylist() for name in COLUMNS), strict=True))
    for options in ({"collate_fn": collate, "num_workers": 1}, {}):
        sampler = RandomSampler(rows, num_samples=256, generator=torch.Generator().manual_seed(0))
        loader = DataLoader(rows, batch_size=128, sampler=sampler, **options)
        batches = list(loader)
        assert [len(batch["fare"]) for batch in batches] == [128, 128]
        for batch in batches:
            pairs = zip(batch["ride_id"].tolist(), batch["fare"].tolist(), strict=True)
            assert all(known[id] == fare for id, fare in pairs)


def test_a_run_knows_what_its_workers_read(place: Path, table: TableVersion) -> None:
    data = dataset(table, where="km > 1")
    with datasnap.run("torch", repo=place) as run:
        for _ in TableLoader(data, num_workers=2):
            pass
    (read,) = datasnap.open(place).run_record(run.id).reads
    assert (read.table, read.table_id, read.snapshot) == ("rides", table.id, table.snapshot)
    assert read.columns == tuple(COLUMNS)
    assert "km > 1" in str(read.details)
