"""Any edits on both sides: a merge is what a plain model of it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasnap.errors import MergeConflict
from datasnap.repository import Repository
from tests.conftest import write
from tests.edits.model import TYPES, VALUES, Model, Row, new_rows, same, tiny

KEY = ["region", "id"]
_VALUES = list(VALUES)

Rows = dict[tuple, Row]


def rows_of(table: pa.Table) -> Rows:
    return {tuple(row[name] for name in KEY): row for row in table.to_pylist()}


def table_of(rows: Rows) -> pa.Table:
    model = Model(KEY)
    model.rows = [dict(row) for row in rows.values()]
    model.settle()
    return model.table()


def edited(data: st.DataObject, rows: Rows) -> Rows:
    """A side: rows removed, changed and added."""
    made = {key: dict(row) for key, row in rows.items()}
    for key in list(made):
        fate = data.draw(st.sampled_from(["keep", "keep", "keep", "change", "change", "remove"]))
        if fate == "remove":
            del made[key]
        elif fate == "change":
            name = data.draw(st.sampled_from(_VALUES))
            made[key][name] = data.draw(VALUES[name])
    for row in data.draw(new_rows(4)):
        made.setdefault((row["region"], row["id"]), row)
    return made


def merged(base: Rows, ours: Rows, theirs: Rows, side: str | None) -> Rows | None:
    """The plain model: by row, then by cell. None: there are conflicts, and no side is given."""
    made: Rows = {}
    for key in base.keys() | ours.keys() | theirs.keys():
        was, mine, other = (rows.get(key) for rows in (base, ours, theirs))
        if repr(other) == repr(was) or repr(mine) == repr(other):
            row = mine
        elif repr(mine) == repr(was):
            row = other
        elif mine is None or other is None:
            if side is None:
                return None
            row = mine if side == "ours" else other
        else:
            cells = {n: _cell(was and was[n], mine[n], other[n], side, was) for n in TYPES}
            if any(cell is _CONFLICT for cell in cells.values()):
                return None
            row = cells
        if row is not None:
            made[key] = row
    return made


_CONFLICT = object()


def _cell(was: Any, mine: Any, other: Any, side: str | None, row: Row | None) -> Any:
    if repr(mine) == repr(other) or (row is not None and repr(other) == repr(was)):
        return mine
    if row is not None and repr(mine) == repr(was):
        return other
    return _CONFLICT if side is None else mine if side == "ours" else other


def two_sides(repo: Repository, base: Rows, ours: Rows, theirs: Rows) -> None:
    write(repo, "t", table_of(base), key=KEY)
    repo.branch("theirs")
    for branch, rows in (("main", ours), ("theirs", theirs)):
        with repo.transaction(branch, allow_empty=True) as tx:
            tx.write("t", table_of(rows))


def current(repo: Repository, branch: str = "main") -> pa.Table:
    return repo.snapshot(branch).table("t").to_arrow()


@given(data=st.data())
def test_a_merge_is_what_the_model_says(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    repo = tiny(tmp_path_factory.mktemp("merge"))
    base = {(row["region"], row["id"]): row for row in data.draw(new_rows(25), label="base")}
    ours, theirs = edited(data, base), edited(data, base)
    two_sides(repo, base, ours, theirs)
    before = repo.snapshot("main").id
    wanted = merged(base, ours, theirs, None)
    if wanted is None:
        with pytest.raises(MergeConflict) as caught:
            repo.merge("theirs", ff=False)
        assert repo.snapshot("main").id == before
        assert caught.value.conflicts.num_rows == repo.conflicts().num_rows > 0
        side = data.draw(st.sampled_from(["ours", "theirs"]))
        wanted = merged(base, ours, theirs, side)
        if data.draw(st.booleans(), label="settled at once"):
            repo.merge("theirs", on_conflict=side)
        else:
            assert repo.resolve_conflicts("t", take=side).num_rows == 0
            repo.continue_merge()
        assert repo.conflicts().num_rows == 0
    else:
        repo.merge("theirs", ff=False)
    assert wanted is not None
    same(current(repo), table_of(wanted))
    assert len(repo.snapshot("main").parents) == 2
    assert repo.merge("theirs").outcome == "up to date"
    assert repo.verify(deep=True).ok


@given(data=st.data())
def test_a_merge_is_the_same_from_either_side(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    repo = tiny(tmp_path_factory.mktemp("merge"))
    base = {(row["region"], row["id"]): row for row in data.draw(new_rows(25), label="base")}
    two_sides(repo, base, edited(data, base), edited(data, base))
    repo.branch("other", at="theirs")
    repo.merge("theirs", "main", on_conflict="ours")
    repo.merge("main~1", "other", on_conflict="theirs")
    same(current(repo, "main"), current(repo, "other"))


@given(data=st.data())
def test_reverting_a_change_and_its_revert_gives_what_was(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    repo = tiny(tmp_path_factory.mktemp("merge"))
    base = {(row["region"], row["id"]): row for row in data.draw(new_rows(25), label="base")}
    write(repo, "t", table_of(base), key=KEY)
    changed = table_of(edited(data, base))
    with repo.transaction(allow_empty=True) as tx:
        tx.write("t", changed)
    repo.revert("HEAD")
    same(current(repo), table_of(base))
    repo.revert("HEAD", message="again")
    if repo.snapshot().message == "again":  # else the change was none
        same(current(repo), changed)


@given(data=st.data())
def test_replaying_changes_one_by_one_gives_what_merging_gives(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    repo = tiny(tmp_path_factory.mktemp("merge"))
    base = {(row["region"], row["id"]): row for row in data.draw(new_rows(20), label="base")}
    two_sides(repo, base, edited(data, base), edited(data, base))
    later = edited(data, rows_of(current(repo, "theirs")))
    with repo.transaction("theirs", allow_empty=True) as tx:
        tx.write("t", table_of(later))
    for name in ("picked", "rebased"):
        repo.branch(name, at="main" if name == "picked" else "theirs")
    try:
        for step in ("theirs~1", "theirs"):
            repo.cherry_pick(step, "picked")
        moved = repo.rebase("main", "rebased")
    except MergeConflict:
        return
    assert moved.before == repo.snapshot("theirs").id
    same(current(repo, "picked"), current(repo, "rebased"))
    assert repo.merge("main", "rebased").outcome == "up to date"


def test_merging_a_branch_with_itself_does_nothing(tmp_path: Path) -> None:
    repo = tiny(tmp_path)
    write(repo, "t", pa.table({"region": ["a"], "id": [1]}), key=KEY)
    before = repo.snapshot().id
    assert repo.merge("main").outcome == "up to date"
    assert repo.snapshot().id == before
