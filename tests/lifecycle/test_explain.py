"""Each reason why something did not deduplicate is found where it is one, and not elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import datasnap
from datasnap.errors import UsageError
from datasnap.lifecycle.explain import ColumnExplanation, Explanation, explain
from datasnap.repository import Repository
from datasnap.transaction import Transaction
from tests.cli.test_verbs import Shell

KEY = "ride_id"


@pytest.fixture(scope="module")
def few(rides: pa.Table) -> pa.Table:
    """100,000 of the rides."""
    return rides.slice(0, 100_000)


@pytest.fixture
def small(tmp_path: Path) -> Repository:
    """A repository with segments of about 4,000 rows, so that there are many."""
    repo = datasnap.init(tmp_path / "repo")
    (tmp_path / "repo" / ".datasnap" / "config.toml").write_text("[tables]\nsegment_rows = 4096\n")
    return datasnap.open(repo.url)


def changed(
    repo: Repository,
    before: pa.Table,
    after: pa.Table | Callable[[Transaction], Any],
    key: str | None = KEY,
    **options: Any,
) -> Explanation:
    """What is said of a table when it is written anew, or edited."""
    with repo.transaction("main") as tx:
        tx.write("rides", before, key=key)
    with repo.transaction("main") as tx:
        if isinstance(after, pa.Table):
            tx.write("rides", after, **options)
        else:
            after(tx)
    (found,) = tx.explain()
    assert found.table == "rides"
    return found


def of(found: Explanation, column: str) -> ColumnExplanation:
    return next(one for one in found.columns if one.column == column)


def kinds(found: Explanation) -> tuple[list[str], dict[str, list[str]]]:
    """The kinds of reasons of the table, and of the columns that have some."""
    columns = {c.column: [r.kind for r in c.reasons] for c in found.columns if c.reasons}
    return [reason.kind for reason in found.reasons], columns


def replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.schema.names.index(name), name, pa.array(values))


def floats(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table[name].combine_chunks())


def test_a_new_table_has_new_chunks_and_no_reasons(repo: Repository, few: pa.Table) -> None:
    with repo.transaction("main") as tx:
        tx.write("rides", few, key=KEY)
    (found,) = tx.explain()
    assert (found.status, found.stored.new, found.reasons) == ("new", found.stored.chunks, ())
    assert found.stored.new_bytes == found.stored.bytes > 0
    with repo.transaction("main") as tx:
        tx.copy("rides", "twin")
    (found,) = tx.explain()
    assert (found.stored.new, found.stored.elsewhere) == (0, found.stored.chunks)


def test_a_new_column_is_all_that_is_new(repo: Repository, few: pa.Table) -> None:
    wider = few.append_column("per_km", pa.array(floats(few, "fare") / floats(few, "km")))
    found = changed(repo, few, wider)
    assert kinds(found) == ([], {"per_km": ["new column"]})
    column = of(found, "per_km").stored
    assert column.new == column.chunks
    assert found.stored.new_bytes == column.bytes


def test_a_cast_is_named_with_both_types(repo: Repository, few: pa.Table) -> None:
    found = changed(repo, few, replaced(few, "fare", floats(few, "fare").astype(np.float32)))
    assert kinds(found) == ([], {"fare": ["cast"]})
    assert "double → float" in of(found, "fare").reasons[0].text


def test_a_type_that_is_stored_the_same_is_no_reason(repo: Repository, few: pa.Table) -> None:
    with repo.transaction("main") as tx:
        tx.write("rides", few, key=KEY)
    with repo.transaction("main") as tx:
        tx.write("rides", few.set_column(4, "place", few["place"].cast(pa.large_string())))
    (found,) = tx.explain()
    assert (found.stored.new, kinds(found)) == (0, ([], {}))


def test_another_unit_of_times_is_a_cast(repo: Repository, few: pa.Table) -> None:
    other = few["started"].cast(pa.timestamp("ms", "UTC"), safe=False).combine_chunks()
    found = changed(repo, few, replaced(few, "started", other))
    assert kinds(found) == ([], {"started": ["cast"]})


def test_times_moved_to_another_zone(repo: Repository, few: pa.Table) -> None:
    moved = pc.add(few["started"], pa.scalar(2 * 3600 * 10**6, pa.duration("us")))
    found = changed(repo, few, replaced(few, "started", moved.combine_chunks()))
    assert kinds(found) == ([], {"started": ["time"]})
    assert "+2 h: another time zone" in of(found, "started").reasons[0].text


def test_days_moved(repo: Repository, few: pa.Table) -> None:
    rows = few.slice(0, 10_000)
    days = pa.array((np.arange(rows.num_rows) // 7).astype(np.int32)).cast(pa.date32())
    moved = pc.subtract(days.cast(pa.int32()), pa.scalar(3, pa.int32())).cast(pa.date32())
    found = changed(repo, rows.append_column("day", days), rows.append_column("day", moved))
    assert kinds(found) == ([], {"day": ["time"]})
    assert "−3 days" in of(found, "day").reasons[0].text


def test_rows_of_types_that_cannot_be_told_apart_are_others(repo: Repository) -> None:
    lists = pa.table({"l": [[n, n + 1] for n in range(1000)]})
    found = changed(repo, lists, pa.table({"l": [[n, n + 2] for n in range(1000)]}), key=None)
    assert kinds(found) == (["other rows"], {})


def test_a_table_that_was_empty(repo: Repository, few: pa.Table) -> None:
    found = changed(repo, few.slice(0, 0), few.slice(0, 1000))
    assert kinds(found) == (["rows at end"], {})
    assert found.reasons[0].text == "1,000 new rows: the table was empty"


def test_floating_noise_is_called_rounding(repo: Repository, few: pa.Table) -> None:
    noisy = floats(few, "km") * (1 + 1e-13 * np.random.default_rng(1).normal(size=few.num_rows))
    found = changed(repo, few, replaced(few, "km", noisy))
    assert kinds(found) == ([], {"km": ["rounding"]})
    assert "equal within 1e-9" in of(found, "km").reasons[0].text


def test_values_that_were_rounded_are_called_so(repo: Repository, few: pa.Table) -> None:
    found = changed(repo, few, replaced(few, "km", np.round(floats(few, "km"), 3)))
    assert kinds(found) == ([], {"km": ["rounding"]})
    assert "were rounded (3 decimals)" in of(found, "km").reasons[0].text


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda text: pc.utf8_upper(text), "case"),
        (lambda text: pc.binary_join_element_wise(text, "", " "), "blanks"),
        (lambda text: pc.binary_join_element_wise(text, "!", " "), "values"),
    ],
)
def test_text_in_another_case_or_with_blanks(
    repo: Repository, few: pa.Table, change: Callable[[Any], Any], kind: str
) -> None:
    after = replaced(few, "place", change(few["place"]).combine_chunks())
    assert kinds(changed(repo, few, after)) == ([], {"place": [kind]})


def test_nulls_that_became_nan(repo: Repository, few: pa.Table) -> None:
    km = floats(few, "km")
    before = replaced(few, "km", pa.array(km, mask=km < 4))
    found = changed(repo, before, replaced(few, "km", np.where(km < 4, np.nan, km)))
    assert kinds(found) == ([], {"km": ["nulls"]})
    assert "nulls became NaN" in of(found, "km").reasons[0].text


def test_other_values_are_just_counted(repo: Repository, few: pa.Table) -> None:
    km = floats(few, "km")
    found = changed(repo, few, replaced(few, "km", np.where(np.arange(len(km)) % 3, km * 1.6, km)))
    assert kinds(found) == ([], {"km": ["values"]})
    assert of(found, "km").reasons[0].text == "67 % of its cells differ"


def test_few_cells_are_kept_as_edits(small: Repository, few: pa.Table) -> None:
    found = changed(small, few, lambda tx: tx.update("rides", {"km": "0"}, "ride_id % 150 = 7"))
    assert kinds(found) == ([], {"km": ["edited cells"]})
    (reason,) = of(found, "km").reasons
    assert "0.67 % of its cells differ, spread over all segments" in reason.text
    assert found.stored.new == 0 < found.edits
    with small.transaction("main") as tx:
        tx.optimize("rides")
    (folded,) = tx.explain()
    assert kinds(folded) == ([], {"km": ["folded"]})


def test_rows_that_came_and_went_one_by_one(repo: Repository, few: pa.Table) -> None:
    def edit(tx: Transaction) -> None:
        tx.delete("rides", "ride_id % 20000 = 8 OR ride_id % 20000 = 9")
        tx.upsert("rides", few.slice(0, 1).set_column(0, KEY, pa.array([0])))

    found = changed(repo, few, edit)
    (reason,) = found.reasons
    assert reason.kind == "edited rows"
    assert found.stored.new == 0


def test_rows_at_the_end(small: Repository, few: pa.Table) -> None:
    found = changed(small, few.slice(0, 90_000), few)
    assert kinds(found) == (["rows at end"], {})
    assert found.reasons[0].text == "10,000 new rows at the end"
    assert found.stored.new < found.stored.chunks / 3


def test_rows_at_the_end_of_a_table_without_key(small: Repository, few: pa.Table) -> None:
    found = changed(small, few.slice(0, 90_000), few, key=None)
    assert kinds(found) == (["rows at end"], {})


def test_rows_between(small: Repository, few: pa.Table) -> None:
    there = np.ones(few.num_rows, bool)
    there[30_000:34_000] = False
    found = changed(small, few.filter(pa.array(there)), few)
    assert kinds(found) == (["rows between"], {})
    assert "segments" in found.reasons[0].text
    assert found.stored.new < found.stored.chunks / 3


def test_other_rows_altogether(small: Repository, few: pa.Table) -> None:
    found = changed(small, few.slice(0, 50_000), few.slice(50_000))
    assert kinds(found) == (["other rows"], {})


def test_the_same_rows_in_another_order(small: Repository, few: pa.Table, tmp_path: Path) -> None:
    order = pa.array(np.random.default_rng(3).permutation(few.num_rows))
    found = changed(small, few, few.take(order), key=None)
    assert kinds(found) == (["order"], {})
    assert found.reasons[0].text.startswith("the same rows in another order")
    assert "--key" in found.reasons[0].text
    # With a key their order is the key's, so it is no reason.
    with small.transaction("main") as tx:
        tx.write("keyed", few, key=KEY)
    with small.transaction("main") as tx:
        tx.write("keyed", few.take(order))
    assert tx.explain() == []
    with small.transaction("main") as tx:
        tx.write("keyed", few.take(order), keep_order=True)
    assert kinds(tx.explain()[0]) == (["order"], {})


def test_another_key(small: Repository, few: pa.Table) -> None:
    with small.transaction("main") as tx:
        tx.write("rides", few, key=KEY)
    with small.transaction("main") as tx:
        tx.write("rides", few, key=["place", KEY])
    (found,) = tx.explain()
    assert kinds(found) == (["key"], {})
    assert f"({KEY} → place, {KEY})" in found.reasons[0].text


def test_noise_in_the_column_that_cuts_a_table_without_key(
    small: Repository, few: pa.Table
) -> None:
    found = changed(small, few, replaced(few, "km", floats(few, "km") * (1 + 1e-13)), key=None)
    assert kinds(found) == (["cut anew"], {"km": ["rounding"]})
    assert "'km'" in found.reasons[0].text
    assert "--key" in found.reasons[0].text


def test_several_reasons_at_once(small: Repository, few: pa.Table) -> None:
    after = replaced(few, "km", np.round(floats(few, "km"), 1)).append_column(
        "twice", pa.array(floats(few, "fare") * 2)
    )
    after = after.set_column(2, "fare", pa.array(floats(few, "fare").astype(np.float32)))
    found = changed(small, few.slice(0, 90_000), after)
    assert kinds(found) == (
        ["rows at end"],
        {"fare": ["cast"], "km": ["rounding"], "twice": ["new column"]},
    )


def test_another_encoding_of_a_file_is_no_reason(
    repo: Repository, few: pa.Table, tmp_path: Path
) -> None:
    rows = few.slice(0, 20_000)
    pq.write_table(rows, tmp_path / "a.parquet", compression="snappy")
    pq.write_table(
        rows, tmp_path / "b.parquet", compression="gzip", use_dictionary=False, row_group_size=7777
    )
    with repo.transaction("main") as tx:
        tx.write("rides", tmp_path / "a.parquet", key=KEY)
    with repo.transaction("main") as tx:
        tx.write("rides", tmp_path / "b.parquet")
    assert tx.explain() == []


def test_it_can_be_asked_later_of_any_two_revisions(repo: Repository, few: pa.Table) -> None:
    changed(repo, few, replaced(few, "km", np.round(floats(few, "km"), 3)))
    (found,) = explain(repo, "main~1", "main")
    assert kinds(found) == ([], {"km": ["rounding"]})
    assert explain(repo, "main", "main") == []
    (first,) = explain(repo, None, "main")
    assert first.stored.new == first.stored.chunks


def test_a_transaction_is_explained_when_it_is_done(repo: Repository, few: pa.Table) -> None:
    with repo.transaction("main") as tx:
        tx.write("rides", few, key=KEY)
        with pytest.raises(UsageError, match="nothing is committed"):
            tx.explain()


def test_explain_on_the_command_line(tmp_path: Path, few: pa.Table) -> None:
    shell = Shell(tmp_path)
    pq.write_table(few, tmp_path / "a.parquet")
    noisy = replaced(few, "km", floats(few, "km") * (1 + 1e-13))
    pq.write_table(noisy, tmp_path / "b.parquet")
    shell("init")
    said = shell("import", "rides", "a.parquet", "--key", KEY, "--explain")
    assert "a new table, all its" in said
    assert "does not matter" in shell("import", "rides", "a.parquet", "--explain")
    said = shell("import", "rides", "b.parquet", "--explain")
    assert "1 of 6 chunks are new" in said
    assert "differ by rounding" in said
    assert "differ by rounding" not in shell("import", "rides", "a.parquet")
    said = shell("update", "rides", "fare = 1", "--where", f"{KEY} % 20000 = 7", "--explain")
    assert "kept as edits" in said
    made = json.loads(shell("add-column", "rides", "fare * 2 AS more", "--explain", "--json"))
    (found,) = made["explanations"]
    assert found["columns"][0]["reasons"][0] == {"kind": "new column", "text": "a new column"}


def test_edits_of_earlier_commits_are_not_told_again(repo: Repository, few: pa.Table) -> None:
    edited = next(id for id in few.slice(0, 5000)[KEY].to_pylist() if id % 1000 == 7)
    with repo.transaction("main") as tx:
        tx.write("rides", few.slice(0, 5000), key=KEY)
    with repo.transaction("main") as tx:
        tx.update("rides", {"fare": "1"}, f"{KEY} % 1000 = 7")
    assert kinds(tx.explain()[0]) == ([], {"fare": ["edited cells"]})
    with repo.transaction("main") as tx:
        tx.delete("rides", f"{KEY} % 1000 = 9")
    assert kinds(tx.explain()[0]) == (["edited rows"], {})
    with repo.transaction("main") as tx:
        tx.add_columns("rides", {"twice": "fare * 2"})
    assert kinds(tx.explain()[0]) == ([], {"twice": ["new column"]})
    with repo.transaction("main") as tx:
        tx.update("rides", {"fare": "2"}, f"{KEY} = {edited}")
    (found,) = tx.explain()
    assert kinds(found) == ([], {"fare": ["edited cells"]})
    assert of(found, "fare").stored.edited == 1


def test_a_new_table_says_what_others_had_already(tmp_path: Path, few: pa.Table) -> None:
    shell = Shell(tmp_path)
    pq.write_table(few, tmp_path / "a.parquet")
    pq.write_table(replaced(few, "km", floats(few, "km") + 1), tmp_path / "b.parquet")
    shell("init")
    shell("import", "rides", "a.parquet", "--key", KEY)
    said = shell("import", "other", "b.parquet", "--key", KEY, "--explain")
    assert "; the other 5 were there already, in other tables or versions\n" in said
    said += shell("delete", "other", "--where", f"{KEY} % 1000 = 7", "--explain")
    said += shell("update", "other", "fare = 1", "--where", f"{KEY} % 1000 = 9", "--explain")
    assert said.count("kept as edits") == 2
    assert not any(line.endswith(" ") for line in said.splitlines())
