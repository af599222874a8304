"""Overlays: composed edits against a list of rows, for every type."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasnap.errors import CorruptData
from datasnap.parquet import stored_type, to_stored
from datasnap.snapshots.objects import FieldId, ValuesId
from datasnap.tables.compare import rows_differ
from datasnap.tables.overlay import Cells, Change, Edits, small_cells, small_rows
from datasnap.tables.stored_edits import decode_edits, encode_edits, encode_values
from tests.values import EVERY_TYPE, column

A, B = FieldId(1), FieldId(2)
Rows = list[tuple[int, str | None]]


def positions(draw: st.DrawFn, rows: int) -> list[int]:
    return sorted(draw(st.sets(st.integers(0, rows - 1), max_size=4))) if rows else []


@st.composite
def changes(draw: st.DrawFn, rows: int) -> tuple[Change, dict]:
    """A change of a table of so many rows, and what it is made of."""
    deleted = positions(draw, rows)
    before = sorted(draw(st.lists(st.integers(0, rows), max_size=4)))
    new = [(draw(st.integers(100, 999)), draw(st.sampled_from(["n", None]))) for _ in before]
    cells = {f: {p: f"{draw(st.integers(0, 9))}" for p in positions(draw, rows)} for f in (A, B)}
    change = Change(
        np.array(deleted, np.int64),
        np.array(before, np.int64),
        {
            A: pa.array([a for a, _ in new], pa.int64()),
            B: pa.array([b for _, b in new], pa.string()),
        }
        if new
        else {},
        {
            f: Cells(
                np.array(list(of), np.int64),
                pa.array([int(v) if f == A else v for v in of.values()], T[f]),
            )
            for f, of in cells.items()
            if of
        },
    )
    return change, {"deleted": deleted, "before": before, "new": new, "cells": cells}


T = {A: pa.int64(), B: pa.string()}


def model(rows: Rows, what: dict) -> Rows:
    """The same done to a list."""
    result: Rows = []
    for i in range(len(rows) + 1):
        result += [n for b, n in zip(what["before"], what["new"], strict=True) if b == i]
        if i < len(rows) and i not in what["deleted"]:
            a, b = rows[i]
            cells = what["cells"]
            result.append((int(cells[A].get(i, a)), cells[B].get(i, b)))
    return result


@given(st.data())
def test_any_changes_compose_and_survive_storage(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 12))
    rows: Rows = [(i, f"s{i}") for i in range(count)]
    stored = {A: pa.array([a for a, _ in rows], T[A]), B: pa.array([b for _, b in rows], T[B])}
    edits = Edits(count)
    for _ in range(data.draw(st.integers(1, 5))):
        change, what = data.draw(changes(len(rows)))
        edits, rows = edits.then(change), model(rows, what)
        values = encode_values(edits)
        overlay = encode_edits(edits, ValuesId(b"x" * 32) if values else None, 0)
        edits = decode_edits(overlay, values, T)
        assert edits.rows == len(rows)
        for f, seen in zip((A, B), ([a for a, _ in rows], [b for _, b in rows]), strict=True):
            assert edits.apply(f, stored[f]).to_pylist() == seen
            chunk, inserted = edits.unapply(pa.array(seen, T[f]))
            again = Edits(count, edits.deleted, edits.anchors, {f: inserted}, {})
            assert again.apply(f, chunk).to_pylist() == seen


@pytest.mark.parametrize(("field", "values"), EVERY_TYPE, ids=[f.name for f, _ in EVERY_TYPE])
def test_every_type_goes_through_an_overlay(field: pa.Field, values: list) -> None:
    array = to_stored(column(field, values * 2))
    half = len(array) // 2
    old, new = array.slice(0, half), array.slice(half)
    at = np.arange(half)
    edits = Edits(half).then(Change(np.array([0]), at, {A: new}, {A: Cells(at, new)}))
    overlay = encode_edits(edits, ValuesId(b"x" * 32), 0)
    read = decode_edits(overlay, encode_values(edits), {A: stored_type(field.type)})
    order = [half, *[i for j in range(1, half) for i in (half + j, j)]]
    assert not rows_differ(read.apply(A, old), array.take(pa.array(order))).any()


def test_an_overlay_that_does_not_fit_itself_is_refused() -> None:
    edits = Edits(5).then(
        Change(deleted=np.array([4]), cells={A: Cells(np.array([1]), pa.array([7]))})
    )
    overlay, values = encode_edits(edits, ValuesId(b"x" * 32), 0), encode_values(edits)
    for broken in (
        {"base_rows": 4},
        {"deleted": b"123"},
        {"deleted": b"\0\0\0\0\0\0\0\0"},
        {"inserted": b"\0\0\0\1"},
        {"values": None},
    ):
        other = type(overlay)(
            **{f: getattr(overlay, f) for f in overlay.__struct_fields__} | broken
        )
        given_values = values if other.values else None
        with pytest.raises(CorruptData):
            decode_edits(other, given_values, {A: pa.int64()})
    with pytest.raises(CorruptData):
        decode_edits(overlay, values, {A: pa.string()})


@pytest.mark.parametrize(("field", "values"), EVERY_TYPE, ids=[f.name for f, _ in EVERY_TYPE])
def test_rows_differ_for_every_type(field: pa.Field, values: list) -> None:
    array = to_stored(column(field, values))
    turned = array.take(pa.array(np.roll(np.arange(len(array)), 1)))
    expected = [x != y for x, y in zip(array.to_pylist(), turned.to_pylist(), strict=True)]
    assert rows_differ(array, turned).tolist() == expected
    assert not rows_differ(pa.concat_arrays([turned, array]).slice(len(array)), array).any()


def test_nan_equals_nan_and_zeros_differ_by_sign() -> None:
    a = pa.array([float("nan"), 0.0, 1.0, None])
    b = pa.array([-float("nan"), -0.0, 1.0, 2.0])
    assert rows_differ(a, b).tolist() == [False, True, False, True]


def test_the_fold_rule() -> None:
    def deleting(rows: int, of: int) -> Edits:
        return Edits(of).then(Change(deleted=np.arange(rows)))

    assert small_rows(deleting(100, 1600)) and not small_rows(deleting(101, 1600))
    assert small_rows(deleting(16, 32)) and not small_rows(deleting(17, 32))
    assert small_cells(0, 0) and small_cells(1, 2) and not small_cells(2, 2)
