"""What a run keeps of what loaders handed out: exactly which rows, in few notes."""

from __future__ import annotations

import gc
import multiprocessing
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from torch.utils.data import DataLoader

import datasnap
from datasnap.ml.loaders import handed
from datasnap.ml.loaders.handed import Handed, Stretch, handed_out
from datasnap.ml.runs import tables
from datasnap.ml.runs.launch import launch
from datasnap.ml.torch import RowDataset, TableDataset, TableLoader, collate
from datasnap.ml.tracing.sightings import trace_row
from datasnap.repository import Repository
from tests.conftest import write

ROWS = 1_000


@pytest.fixture
def repo(repo: Repository) -> Repository:
    write(repo, "t", pa.table({"id": range(ROWS), "x": [0.5] * ROWS}), key="id")
    return repo


def data(repo: Repository, part: Any = None, **options: Any) -> TableDataset:
    given = {"columns": ["id"], "batch_size": 64, "shuffle": True, "window": 200, "lanes": 2}
    return TableDataset(repo.table("t") if part is None else part, **{**given, **options})


def verdicts(repo: Repository, key: int) -> dict[str, bool]:
    """Whether it is certain, by run, that those that may have seen a row did."""
    return {each.run.name: each.certain for each in trace_row(repo, "t", key).sightings}


def in_run(repo: Repository, name: str, batches: Callable[[], Any]) -> set[int]:
    """The rows that something hands out in a run."""
    with datasnap.run(name, repo=repo):
        return {id for batch in batches() for id in batch["id"].tolist()}


def first(batches: Any, count: int) -> list[Any]:
    return list(islice(batches, count))


def test_a_row_was_seen_by_a_run_whose_loader_handed_it_out_and_by_no_other(
    repo: Repository,
) -> None:
    split = repo.table("t").split("train", 0.5)
    gone_on = TableLoader(data(repo))
    gone_on.load_state_dict({**gone_on.state_dict(), "epoch": 2, "batch": 9})
    some = {
        "whole": lambda: TableLoader(data(repo)),
        "stopped": lambda: first(TableLoader(data(repo), num_workers=1), 3),
        "dataset": lambda: first(DataLoader(data(repo), batch_size=None), 3),
        "drop last": lambda: TableLoader(data(repo, batch_size=700, drop_last=True)),
        "rank": lambda: TableLoader(data(repo, rank=1, ranks=3)),
        "filter": lambda: first(TableLoader(data(repo, where="id % 3 = 0")), 2),
        "split": lambda: first(TableLoader(data(repo, split, where="id > 100")), 4),
        "gone on": lambda: gone_on,
        "stored": lambda: first(TableLoader(data(repo, shuffle=False)), 2),
    }
    seen = {name: in_run(repo, name, batches) for name, batches in some.items()}
    assert 0 < len(seen["split"]) < ROWS / 2 < len(seen["drop last"]) < ROWS
    for key in range(0, ROWS, 190):
        assert verdicts(repo, key) == {name: True for name, ids in seen.items() if key in ids}


def test_nobody_knows_which_rows_others_took_of_what_was_made(repo: Repository) -> None:
    made = DataLoader(data(repo), batch_size=None, num_workers=1)
    in_run(repo, "workers", lambda: first(made, 1))
    rows = DataLoader(RowDataset(repo.table("t")), batch_size=9, collate_fn=collate)
    in_run(repo, "by number", lambda: first(rows, 1))
    assert verdicts(repo, ROWS - 1) == {"workers": False, "by number": False}
    with datasnap.run("running", repo=repo) as run:
        batches = iter(TableLoader(data(repo)))
        seen = next(batches)["id"].tolist()
        run._recorder.write()  # type: ignore[union-attr]
        # As a process that is killed leaves it.
        assert verdicts(repo, seen[0])["running"] is False
    other = next(id for id in range(ROWS) if id not in seen)
    assert verdicts(repo, seen[0])["running"] is True
    assert "running" not in verdicts(repo, other)


def test_any_number_of_epochs_makes_few_notes(repo: Repository) -> None:
    with datasnap.run(repo=repo) as run:
        train = TableLoader(data(repo, drop_last=True))
        for _ in range(20):
            for _ in train:
                pass
            for _ in TableLoader(data(repo, where="id < 99")):  # another one in each epoch
                pass
    notes = tables.read(repo, tables.READS).num_rows
    assert notes <= 2 * 7
    trained, tested = map(said, repo.run_record(run.id).reads)
    assert trained.stretches == (Stretch(0, 20, 0, 15),)
    assert (trained.rows, trained.ended) == (20 * 15 * 64, True)
    assert tested.stretches == (Stretch(0, 1, 0, 2),)
    assert (tested.rows, tested.whole) == (20 * 99, True)


def test_a_loader_that_is_gone_leaves_its_account_and_the_run_none(repo: Repository) -> None:
    with datasnap.run(repo=repo) as run:
        for _ in range(3):  # each keeps a receipt of its own
            for _ in TableLoader(data(repo), receipt=True):
                pass
        gc.collect()
        kept = TableLoader(data(repo), receipt=True)
        first(kept, 1)
        assert handed._known is not None
        assert len(handed._known.accounts) == 1
    assert handed._known.accounts == {}
    reads = list(map(said, repo.run_record(run.id).reads))
    assert [(read.rows, read.ended) for read in reads] == [(ROWS, True)] * 3 + [(64, True)]


def said(read: Any) -> Handed:
    found = handed_out(read)
    assert found is not None
    return found


def share(place: str, rank: int) -> None:
    repo = datasnap.open(place)
    for number, _ in enumerate(TableLoader(data(repo, rank=rank, ranks=2))):
        if number == 2 * rank:
            break


def test_processes_say_for_themselves_what_they_handed_out(repo: Repository) -> None:
    with datasnap.run("ranks", repo=repo) as run:
        for rank in range(2):
            child = multiprocessing.get_context("fork").Process(target=share, args=(repo.url, rank))
            child.start()
            child.join()
    reads = map(said, repo.run_record(run.id).reads)
    assert {(r.share.rank, r.stretches[0].count, r.ended) for r in reads} == {
        (0, 1, True),
        (1, 3, True),
    }


def test_a_script_without_a_run_of_its_own_says_it_when_it_ends(
    repo: Repository, tmp_path: Path
) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import datasnap\n"
        "from datasnap.ml.loaders.handed import account, iteration\n"
        "from datasnap.ml.loaders.order import Order, Share\n"
        "from datasnap.ml.loaders.receipts import Origin\n"
        "from datasnap.ml.loaders.source import Source\n"
        f"source = Source(datasnap.open({repo.url!r}).table('t'))\n"
        "origin = Origin(source.pinned, Order(batch_size=300), Share())\n"
        "with iteration(account(source, origin, 4), 0, 0) as count:\n"
        "    count(300)\n"
        "unfinished = iteration(account(source, origin, 4), 1, 0)\n"
        "unfinished.__enter__()(300)\n"
    )
    assert launch([sys.executable, str(script)], repo=repo.url).exit_code == 0
    (read,) = repo.runs()[0].reads
    assert (said(read).stretches, said(read).rows) == ((Stretch(0, 2, 0, 1),), 600)
    assert said(read).ended
