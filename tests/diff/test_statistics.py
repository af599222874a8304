"""Statistics of columns in two versions."""

from __future__ import annotations

import datetime as dt
import decimal
import math

import numpy as np
import pyarrow as pa
import pytest

import datasnap
from datasnap.diff.statistics import Drift, Statistics
from datasnap.errors import UnknownName
from datasnap.repository import Repository
from tests.conftest import write
from tests.values import EVERY_TYPE, table_of


def drift(repo: Repository, *columns: str) -> dict[str, Drift]:
    found = repo.diff("main~1", "main").table("t").statistics(columns or None)
    return {one.column: one for one in found}


def test_numbers_are_described_as_numpy_describes_them(repo: Repository, rides: pa.Table) -> None:
    write(repo, "t", rides, key="ride_id")
    with repo.transaction() as tx:
        tx.update("t", {"fare": "fare * 2"}, "ride_id % 2 = 0")
        tx.update("t", {"km": "NULL"}, "ride_id % 10 = 0")
    found = drift(repo)
    for ref, side in (("main~1", "before"), ("main", "after")):
        table = repo.snapshot(ref).table("t").to_arrow()
        for name in ("fare", "km", "ride_id"):
            statistics: Statistics = getattr(found[name], side)
            column = table[name]
            values = column.drop_null().to_numpy().astype(float)
            assert (statistics.count, statistics.nulls) == (len(values), column.null_count)
            assert statistics.mean == pytest.approx(values.mean())
            assert statistics.std == pytest.approx(values.std(ddof=1))
            assert (statistics.min, statistics.max) == (values.min(), values.max())
            quartiles = np.quantile(values, [0.25, 0.5, 0.75])
            found_ = [statistics.q25, statistics.median, statistics.q75]
            assert found_ == pytest.approx(quartiles, rel=0.02)
            assert statistics.distinct == pytest.approx(len(np.unique(values)), rel=0.2)
    assert found["place"].before == found["place"].after
    assert found["ride_id"].shift == {}
    assert found["fare"].shift["mean"] == pytest.approx(
        found["fare"].after.mean - found["fare"].before.mean  # type: ignore[union-attr, operator]
    )


def test_only_what_changed_is_read_twice(
    repo: Repository, rides: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repo, "t", rides, key="ride_id")
    with repo.transaction() as tx:
        tx.update("t", {"fare": "fare * 2"}, "ride_id = 1")
    asked = []
    original = datasnap.diff.statistics.measure

    def noting(scanner: object, table: object, fields: list[int]) -> object:
        asked.append(len(fields))
        return original(scanner, table, fields)  # type: ignore[arg-type]

    monkeypatch.setattr(datasnap.diff.statistics, "measure", noting)
    drift(repo)
    assert asked == [6, 1]


def test_columns_come_go_and_are_renamed(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [1, 2], "a": [1, 2], "gone": [1.0, 2.0]}), key="id")
    with repo.transaction() as tx:
        tx.rename_columns("t", {"a": "b"})
        tx.drop_columns("t", "gone")
        tx.add_columns("t", {"new": "id * 2"})
    found = drift(repo)
    assert list(found) == ["id", "b", "new", "gone"]
    assert (found["b"].was, found["b"].before) == ("a", found["b"].after)
    assert found["new"].before is None
    assert found["gone"].after is None
    assert found["gone"].before.mean == 1.5  # type: ignore[union-attr]
    assert found["gone"].shift == {}
    assert list(drift(repo, "a", "gone")) == ["b", "gone"]
    with pytest.raises(UnknownName, match="nope"):
        drift(repo, "nope")


def test_a_table_that_came_has_no_before(repo: Repository) -> None:
    write(repo, "u", pa.table({"x": [1]}))
    write(repo, "t", pa.table({"x": [1, 2, 3]}))
    after = drift(repo)["x"].after
    assert after is not None
    assert (after.count, after.mean, after.median) == (3, 2, 2)


def test_times_are_times(repo: Repository) -> None:
    day, hour = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC), dt.timedelta(hours=1)
    table = pa.table(
        {
            "id": [1, 2, 3],
            "at": pa.array([day, day + hour, day + 2 * hour], pa.timestamp("ns", "UTC")),
            "on": [day.date(), day.date(), dt.date(2026, 2, 3)],
            "clock": pa.array([dt.time(1), dt.time(2), dt.time(3)], pa.time32("s")),
            "took": [hour, 2 * hour, 3 * hour],
        }
    )
    write(repo, "t", table, key="id")
    with repo.transaction() as tx:
        tx.delete("t", "id = 3")
    found = drift(repo)
    before, after = found["at"].before, found["at"].after
    assert before is not None
    assert after is not None
    assert (before.min, before.mean, before.max) == (day, day + hour, day + 2 * hour)
    assert found["at"].shift["max"] == -hour
    assert found["on"].before.max == dt.date(2026, 2, 3)  # type: ignore[union-attr]
    assert found["clock"].before.median == dt.time(2)  # type: ignore[union-attr]
    assert found["took"].shift["mean"] == -hour / 2
    assert before.std is None


def test_what_is_no_number_does_not_spoil_the_others(repo: Repository) -> None:
    values = [1.0, math.nan, 3.0, math.inf, None]
    write(repo, "t", pa.table({"id": range(5), "x": values}), key="id")
    with repo.transaction() as tx:
        tx.update("t", {"x": "1e308"}, "id = 0")
        tx.update("t", {"x": "-1e308"}, "id = 2")
    x = drift(repo)["x"]
    assert (x.before.count, x.before.nulls, x.before.mean) == (4, 1, 2)  # type: ignore[union-attr]
    assert x.before.max == math.inf  # type: ignore[union-attr]
    assert x.after.min == -1e308  # type: ignore[union-attr]


def test_booleans_and_texts(repo: Repository) -> None:
    table = pa.table({"id": range(4), "b": [True, True, False, None], "t": ["b", "ä", None, "a"]})
    write(repo, "t", table, key="id")
    with repo.transaction() as tx:
        tx.update("t", {"b": "false"}, "id = 0")
    found = drift(repo)
    assert found["b"].shift["mean"] == pytest.approx(-1 / 3)
    text = found["t"].after
    assert text == Statistics(3, 1, 3, min="a", max="ä")


@pytest.mark.parametrize("field, values", EVERY_TYPE, ids=[f.name for f, _ in EVERY_TYPE])
def test_every_type_has_statistics(repo: Repository, field: pa.Field, values: list) -> None:
    write(repo, "t", table_of(field, values), key="id")
    with repo.transaction() as tx:
        tx.delete("t", "id = 0")
    one = drift(repo)[field.name]
    assert one.before is not None
    nulls = table_of(field, values)[field.name].null_count
    assert (one.before.count, one.before.nulls) == (len(values) - nulls, nulls)
    for value in (one.before.min, one.before.max):
        assert value is None or isinstance(
            value, int | float | decimal.Decimal | str | dt.date | dt.time | dt.timedelta
        )
