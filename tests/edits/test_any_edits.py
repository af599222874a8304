"""Any sequence of edits: the table read back equals a plain model, by every reader."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasnap.repository import Repository
from datasnap.snapshots.objects import Part
from datasnap.tables.keys import is_less
from datasnap.tables.manifest import first_keys, key_types, part_views
from tests.edits.model import VERBS, Model, check, new_rows, same, tiny


@pytest.mark.parametrize("key", [["region", "id"], []], ids=["keyed", "keyless"])
@settings(max_examples=32)
@given(data=st.data())
def test_the_table_equals_the_model_after_every_step(
    tmp_path_factory: pytest.TempPathFactory, key: list[str], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("edits")
    repo, model = tiny(folder), Model(key)
    model.rows = data.draw(new_rows(40), label="first rows")
    given = model.table()
    model.settle()
    with repo.transaction() as tx:
        tx.write("t", given, key=key)
    for _ in range(data.draw(st.integers(1, 6), label="commits")):
        with repo.transaction(allow_empty=True) as tx:
            for _ in range(data.draw(st.integers(1, 2), label="verbs")):
                verb = data.draw(st.sampled_from(VERBS))
                if len(model.types) > 3 or verb.__name__ != "do_drop_column":
                    verb(data, tx, model)
                same(tx.sql("FROM t").to_arrow_table(), model.table())
        check(repo, model, folder)
        firsts_are_lower_bounds(repo)
    repo.optimize(["t"])
    check(repo, model, folder)
    firsts_are_lower_bounds(repo)
    parts = repo.objects.get_many(
        [part.id for part in repo.snapshot().table("t").manifest.parts], Part
    )
    assert all(s.overlay is None and len(s.groups) == 1 for part in parts for s in part.segments)
    assert repo.optimize(["t"]).stats.objects == 0
    assert repo.verify(deep=True).ok


def firsts_are_lower_bounds(repo: Repository) -> None:
    """No row of the segments before reaches a segment's first key, and all its own do."""
    table = repo.snapshot().table("t").manifest
    types = key_types(table)
    last: list[pa.Array] | None = None
    for part in repo.objects.get_many([part.id for part in table.parts], Part):
        firsts = first_keys(table, part)
        assert (firsts is not None) == (table.sorted and bool(table.key))
        if firsts is None:
            continue
        numbers = range(len(part.segments))
        for view in part_views(repo.objects, part, firsts, numbers):
            assert view.first is not None
            first = view.first.columns
            own = list(repo.scanner.edited.columns(view, types).values())
            assert last is None or is_less(last, first).all()
            assert not is_less(own, [pa.repeat(key[0], len(own[0])) for key in first]).any()
            last = [column.slice(len(column) - 1) for column in own]
