"""The first bad snapshot, against a look at each of them."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasnap.errors import BadQuery, BadRange, DatasnapError, UnknownName
from datasnap.history.bisect import Answer, bisect
from datasnap.repository import Repository
from datasnap.snapshots.objects import ObjectId, SnapshotId
from tests.conftest import write
from tests.history.lines import merge, step


def line(count: int) -> list[SnapshotId]:
    return [SnapshotId(ObjectId(bytes([n]))) for n in range(count)]


@given(st.integers(2, 200), st.data())
def test_it_finds_what_a_look_at_each_finds(count: int, data: st.DataObject) -> None:
    first_bad = data.draw(st.integers(1, count - 1))
    middle = st.integers(1, count - 2) if count > 2 else st.nothing()
    silent = data.draw(st.sets(middle, max_size=count // 3))
    tried = []

    def test(id: SnapshotId) -> Answer:
        tried.append(id[0])
        return Answer(None, "no such table") if id[0] in silent else Answer(id[0] < first_bad)

    found = bisect(line(count), test, lambda step: None)
    told = [n for n in range(count) if n not in silent]
    assert int(found.first_bad, 16) == min(n for n in told if n >= first_bad)
    assert int(found.last_good, 16) == max(n for n in told if n < first_bad)
    between = range(int(found.last_good, 16) + 1, int(found.first_bad, 16))
    assert [int(id, 16) for id in found.untold] == list(between)
    assert set(between) <= silent
    assert len(tried) == len(set(tried)) == len(found.steps)
    assert len(set(tried) - silent) <= 2 + math.ceil(math.log2(count)) + len(silent)
    if not silent:
        assert len(tried) <= 2 + math.ceil(math.log2(count))
        assert found.steps[-1].left == 1 or count == 2


@pytest.fixture
def fares(repo: Repository) -> Repository:
    """A table comes, and a value in it goes wrong; ten snapshots."""
    write(repo, "zones", pa.table({"z": [1]}))
    write(repo, "rides", pa.table({"id": [1, 2], "fare": [1.0, 2.0]}), key="id")
    for number in range(8):
        with step(repo, f"edit {number}") as tx:
            tx.update("rides", {"fare": "-100" if number == 5 else "fare + 1"}, "id = 2")
            if number == 6:
                tx.append("zones", pa.table({"z": [2]}))
    return repo


@pytest.mark.parametrize(
    ("predicate", "message"),
    [
        ("SELECT count(*) = 0 FROM rides WHERE fare < 0", "edit 5"),
        ("FROM rides SELECT min(fare) >= 0;", "edit 5"),
        ("(SELECT max(z) FROM zones) < 2", "edit 6"),
        ("count(*) = 1 FROM zones", "edit 6"),
        ("(SELECT bool_and(fare > 0) FROM rides WHERE id = 2) -- and so on", "edit 5"),
        ("SELECT CASE WHEN min(fare) > 0 THEN true END FROM rides", "edit 5"),
        ("SELECT (SELECT min(fare) FROM rides) > 0 AND count(*) < 9 FROM log()", "edit 5"),
    ],
)
def test_predicates_in_sql(fares: Repository, predicate: str, message: str) -> None:
    good = None if "zones" in predicate else "main~8"
    found = fares.bisect(predicate, good)
    assert fares.snapshot(found.first_bad).message == message
    assert fares.snapshot(found.first_bad).parents == [found.last_good]
    assert found.untold == ()


def test_each_step_is_reported(fares: Repository) -> None:
    told = []
    found = fares.bisect("min(fare) > 0 FROM rides", "main~8", report=told.append)
    assert tuple(told) == found.steps
    assert [s.verdict for s in told[:2]] == ["good", "bad"]


def test_snapshots_that_cannot_tell_are_passed_over(fares: Repository) -> None:
    for message, drop in (("gone", True), ("still", False)):
        with step(fares, message) as tx:
            if drop:
                tx.drop("rides")
    with step(fares, "back") as tx:
        tx.write("rides", pa.table({"id": [1], "fare": [100.0]}), key="id")
    found = fares.bisect("max(fare) < 50 FROM rides", "main~10")
    assert fares.snapshot(found.first_bad).message == "back"
    assert [fares.snapshot(id).message for id in found.untold] == ["gone", "still"]
    skipped = [s for s in found.steps if s.verdict == "skipped"]
    assert "rides" in skipped[0].reason


def test_only_the_line_of_first_parents_is_searched(fares: Repository) -> None:
    fares.branch("exp", "main~1")
    with step(fares, "worse", "exp") as tx:
        tx.append("zones", pa.table({"z": [3]}))
    merge(fares, "merge", ["main", "exp"], {"rides": "main", "zones": "exp"})
    found = fares.bisect("(SELECT count(*) FROM zones) < 3")
    assert fares.snapshot(found.first_bad).message == "merge"
    with pytest.raises(BadRange, match="not on the line"):
        fares.bisect("true", good="exp")


@pytest.mark.parametrize(
    ("predicate", "good", "error", "says"),
    [
        ("true", None, BadRange, "is true at the bad end"),
        ("false", None, BadRange, "is not true at the good end"),
        ("NULL", None, BadRange, "is not true at the good end"),
        ("true", "main", BadRange, "the same snapshot"),
        ("min(fare) > 0 FROM rides", None, BadRange, "cannot be evaluated at the good end"),
        ("min(fare) > 0 FROM rydes", "main~3", BadRange, "rydes"),
        ("min(fare) FROM rides", "main~3", BadQuery, "no boolean"),
        ("fare > 0 FROM rides", "main~3", BadQuery, "2 rows"),
        ("true WHERE false", None, BadQuery, "no rows"),
        ("true, false", None, BadQuery, "2 columns"),
        ("min(fare > 0 FROM", None, BadQuery, "syntax error"),
        ("", None, BadQuery, "not one SELECT"),
        ("true; DROP TABLE rides", None, BadQuery, "not one SELECT"),
        ("DELETE FROM rides", None, BadQuery, "not one SELECT"),
        ("true", "mian", UnknownName, "mian"),
    ],
)
def test_what_cannot_be_searched_is_told(
    fares: Repository, predicate: str, good: str | None, error: type[DatasnapError], says: str
) -> None:
    with pytest.raises(error, match=says) as caught:
        fares.bisect(predicate, good)
    assert "\n" not in caught.value.message


def test_damage_is_no_answer(fares: Repository) -> None:
    from pathlib import Path

    import datasnap

    for pack in (Path(fares.url) / "packs").iterdir():
        data = bytearray(pack.read_bytes())
        data[:120] = bytes(120)
        pack.write_bytes(data)
    with pytest.raises(DatasnapError, match="is damaged in pack"):
        datasnap.open(fares.url).bisect("min(fare) > 0 FROM rides", "main~8")
