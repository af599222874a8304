"""Finding edits in a version given whole: what is looked at, and what is not."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap.tables.differ as differ
from datasnap.tables.differ import align_keys
from datasnap.tables.keys import equal_at, lower_bound
from tests.conftest import write
from tests.edits.model import same, tiny


def test_rows_that_only_came_or_went_need_no_comparison_of_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = tiny(tmp_path)
    ids = list(range(0, 4000, 10))
    table = pa.table(
        {
            "id": ids,
            "x": [i / 7 for i in ids],
            "text": [None if i % 3 else f"{i % 11}" for i in ids],
            "list": [[i, None] if i % 4 else None for i in ids],
        }
    )
    write(repo, "t", table, key="id")

    def compared(*_: object) -> None:
        raise AssertionError("columns were compared row by row")

    monkeypatch.setattr(differ, "rows_differ", compared)
    places = range(7, 400, 44)
    new = table.take(pa.array(places)).set_column(0, "id", pa.array([i * 10 + 5 for i in places]))
    kept = [i for i in range(len(ids)) if i not in (0, 8, 77, 78, 140, 301, 399)]
    given = pa.concat_tables([table.take(pa.array(kept)), new]).sort_by("id")
    with repo.transaction() as tx:
        change = tx.write("t", given)
    assert (change.inserted, change.deleted, change.updated) == (9, 7, 0)
    assert tx.stats.chunks == 0
    same(repo.snapshot().table("t").to_arrow(), given)


@pytest.mark.parametrize("stride", [1, 3, 256])
def test_keys_are_aligned_as_a_search_for_each_would(
    stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(differ, "_STRIDE", stride)
    for seed in range(60):
        rng = random.Random(seed)
        old = sorted(rng.sample(range(400), rng.randint(1, 300)))
        new = sorted({i for i in old if rng.random() > 0.1} | set(rng.sample(range(400), 9)))
        for keys in (_numbers, _pairs):
            a, b = keys(old), keys(new)
            at = lower_bound(a, b)
            kept, stayed, before = align_keys(a, b)
            assert (stayed == equal_at(a, b, at)).all()
            assert before.tolist() == at[~stayed].tolist()
            assert kept.tolist() == [i in new for i in old]


def _numbers(values: list[int]) -> list[pa.Array]:
    return [pa.array(values, pa.int64())]


def _pairs(values: list[int]) -> list[pa.Array]:
    return [
        pa.array([i // 7 for i in values], pa.int32()),
        pa.array([str(i % 7) for i in values], pa.string()),
    ]
