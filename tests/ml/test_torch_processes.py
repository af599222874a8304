"""The same pin gives the same tensors in the same order: in another process, with any number of
workers, and after the branch was optimized and garbage collected."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import uuid
import warnings
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import UsageError
from tests.conftest import write


def epoch(place: str, pin: str, workers: int, how: str | None = None) -> str:
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
    for batch in TableLoader(data, num_workers=workers, multiprocessing_context=how):
        for name, tensor in batch.items():
            digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def test_the_same_pin_gives_the_same_tensors(tmp_path: Path, rides: pa.Table) -> None:
    place = tmp_path / "repo"
    repo = datasnap.init(place)
    write(repo, "rides", rides.slice(0, 200_000), key="ride_id")
    with repo.transaction("main") as tx:
        tx.update("rides", {"fare": "fare + 1"}, "ride_id % 1000 = 7")
        tx.delete("rides", "ride_id % 1000 = 8")
    pin = repo.snapshot("main").id
    repo.pin("training", pin)
    before = epoch(str(place), pin, 0)
    repo.optimize(["rides"])
    assert repo.table("rides").id != repo.snapshot(pin).table("rides").id
    repo.gc(grace=timedelta(0), reflog=timedelta(0))
    command = [sys.executable, __file__, str(place), pin]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [before] * 3


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
    made = [epoch(*sys.argv[1:], *how) for how in ((0,), (1, "spawn"), (4, "fork"))]
    print(json.dumps(made))
