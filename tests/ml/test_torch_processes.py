"""The same pin gives the same tensors in the same order: in another process, with any number of
workers, and after the branch was optimized and garbage collected; and processes that train together
share them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import uuid
import warnings
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import UsageError
from datasnap.ml.loaders.order import Uneven
from datasnap.versions import TableVersion
from tests.conftest import write


def epoch(place: str, pin: str, workers: int) -> str:
    """A hash of every tensor of an epoch."""
    from datasnap.ml.torch import TableDataset, TableLoader

    data = TableDataset(
        datasnap.open(place).snapshot(pin).table("rides"),
        columns=["fare", "ride_id"],
        where="km > 1",
        batch_size=4096,
        shuffle=True,
        seed=11,
        window=30_000,
    )
    digest = hashlib.sha256()
    for batch in TableLoader(data, num_workers=workers):
        for name, tensor in batch.items():
            digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def share(place: str, pin: str, rank: int) -> list[object]:
    """The batches of one of two processes that train together, by `uneven` and workers; and what
    a loader says that was made too early."""
    import torch
    from torch import distributed

    from datasnap.ml.torch import TableDataset, TableLoader

    def data(uneven: Uneven) -> TableDataset:
        table = datasnap.open(place).snapshot(pin).table("t")
        return TableDataset(table, batch_size=100, shuffle=True, seed=3, window=200, uneven=uneven)

    early = TableLoader(data("pad"), receipt=True)
    rendezvous = Path(place).with_name("rendezvous").as_uri()
    wait = timedelta(seconds=60)  # should the other fail
    distributed.init_process_group("gloo", rendezvous, wait, rank=rank, world_size=2)
    with pytest.raises(UsageError, match="initialised after the loader"):
        iter(early)
    found: list[object] = []
    for uneven, workers in (("pad", 0), ("pad", 2), ("drop", 0), ("keep", 2)):
        batches = []
        for batch in TableLoader(data(uneven), num_workers=workers):
            batches.append(batch["x"].tolist())
            if uneven != "keep":  # as gradients are shared: it waits for the other's batch
                distributed.all_reduce(torch.ones(1))
        found.append(batches)
    distributed.destroy_process_group()
    return found


class Trained(NamedTuple):
    """What two processes that train together say: each a hash of an epoch, one without workers and
    one with three, and its share of the batches."""

    before: str
    hashes: list[str]
    shares: list[list[list[list[int]]]]
    table: TableVersion


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, rides: pa.Table) -> Trained:
    """Of a pin whose branch went on: it was optimized and garbage collected."""
    place = tmp_path_factory.mktemp("processes") / "repo"
    repo = datasnap.init(place)
    write(repo, "t", pa.table({"x": list(range(1050))}))
    write(repo, "rides", rides.slice(0, 150_000), key="ride_id")
    with repo.transaction("main") as tx:
        tx.update("rides", {"fare": "fare + 1"}, "ride_id % 1000 = 7")
        tx.delete("rides", "ride_id % 1000 = 8")
    pin = repo.snapshot("main").id
    repo.pin("training", pin)
    before = epoch(str(place), pin, 0)
    repo.optimize(["rides"])
    assert repo.table("rides").id != repo.snapshot(pin).table("rides").id
    repo.gc(grace=timedelta(0), reflog=timedelta(0))
    commands = [[sys.executable, __file__, str(place), pin, str(rank)] for rank in range(2)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for command in commands]
    said = [process.communicate(timeout=200)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    hashes, shares = zip(*map(json.loads, said), strict=True)
    return Trained(before, list(hashes), list(shares), repo.table("t"))


def test_the_same_pin_gives_the_same_tensors(trained: Trained) -> None:
    assert trained.hashes == [trained.before] * 2


def test_processes_that_train_together_share_the_batches(trained: Trained) -> None:
    """In a real process group, which nobody tells of ranks."""
    from datasnap.ml.torch import TableDataset

    alone = TableDataset(trained.table, batch_size=100, shuffle=True, seed=3, window=200)
    whole = [batch["x"].tolist() for batch in alone]
    assert len(whole) == 11
    padded, forked, dropped, kept = zip(*trained.shares, strict=True)
    assert padded == forked == (whole[::2], [*whole[1::2], whole[0]])
    assert dropped == (whole[:10:2], whole[1:10:2])
    assert kept == (whole[::2], whole[1::2])


def test_workers_that_read_from_an_object_store_are_spawned(s3: str) -> None:
    from torch.utils.data import DataLoader

    from datasnap.ml.torch import TableDataset, TableLoader

    repo = datasnap.init(f"{s3}/{uuid.uuid4().hex}")
    write(repo, "t", pa.table({"x": list(range(1000))}))
    data = TableDataset(repo.table("t"), batch_size=100)
    seen = [x for batch in TableLoader(data, num_workers=1) for x in batch["x"].tolist()]
    assert seen == list(range(1000))
    forked = DataLoader(data, batch_size=None, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(UsageError, match="multiprocessing_context='spawn'"):
        next(iter(forked))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    place, pin, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
    print(json.dumps([epoch(place, pin, 3 * rank), share(place, pin, rank)]))
