"""First keys of segments: kept right, not needed, and never those of another key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from msgspec.structs import replace

from datasnap.errors import CorruptData
from datasnap.repository import Repository
from datasnap.snapshots import objects
from datasnap.snapshots.commit import put, table_entry
from datasnap.snapshots.objects import (
    ColumnGroup,
    GroupId,
    ObjectId,
    OverlayId,
    Part,
    PartId,
    Segment,
    TableId,
)
from datasnap.snapshots.reader import ObjectReader
from datasnap.tables.firsts import decode_firsts, encode_firsts, keys_of
from datasnap.tables.manifest import fields_by_name, key_types, read_parts
from tests.conftest import write
from tests.edits.model import tiny
from tests.edits.test_any_edits import firsts_are_lower_bounds

OLD = Part(
    (
        Segment(5, 7, (GroupId(b"g" * 32),)),
        Segment(3, 0, (), OverlayId(b"o" * 32)),
    )
)
#: As the version that had no first keys wrote it.
OLD_ID = "670f5996f68b6646874d507a9d573e9ec0904abb7e0d5f1f074f6e84ff169a77"
OLD_BYTES = "92a4706172749294050791c420" + "67" * 32 + "c094030090c420" + "6f" * 32


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    """500 rows in many segments of a few, some of their columns in order."""
    repo = tiny(tmp_path / "tiny")
    ids = list(range(0, 5000, 10))
    data = {"id": ids, "other": [-1000 + i for i in ids], "text": [f"{i:05}" for i in ids]}
    write(repo, "t", pa.table(data), key="id")
    return repo


def test_parts_of_older_versions_keep_their_ids_and_are_read() -> None:
    id, record = objects.encode_object(OLD)
    assert id.hex() == OLD_ID
    assert zstandard.ZstdDecompressor().decompress(record).hex() == OLD_BYTES
    assert objects.decode_object(id, record, Part) == OLD
    old = zstandard.ZstdCompressor().compress(bytes.fromhex(OLD_BYTES))
    assert objects.decode_object(ObjectId(bytes.fromhex(OLD_ID)), old, Part).firsts == b""


def test_firsts_survive_storage_and_are_a_part_of_its_identity() -> None:
    keys = keys_of([pa.array([1, 2]), pa.array(["a", "b"])])
    part = Part(OLD.segments, encode_firsts([keys.slice(0, 1), keys.slice(1, 1)]))
    id, record = objects.encode_object(part)
    assert id.hex() != OLD_ID
    assert objects.decode_object(id, record, Part) == part
    fields = dict(zip((4, 2), (pa.int64(), pa.string()), strict=True))
    assert decode_firsts(part, fields).equals(keys)  # type: ignore[arg-type]
    assert encode_firsts([keys.slice(0, 1), None]) == b""


@pytest.mark.parametrize(
    "firsts",
    [
        b"damaged",
        encode_firsts([keys_of([pa.array([1])])]),
        encode_firsts([keys_of([pa.array([1, None])])]),
        encode_firsts([keys_of([pa.array(["a", "b"])])]),
    ],
    ids=["no message", "too few", "null", "of another type"],
)
def test_firsts_that_do_not_fit_are_refused(firsts: bytes) -> None:
    with pytest.raises(CorruptData):
        decode_firsts(Part(OLD.segments, firsts), {1: pa.int64()})  # type: ignore[dict-item]


def parts(repo: Repository) -> list[Part]:
    return read_parts(repo.objects, repo.snapshot().table("t").manifest)


def ids(repo: Repository) -> list[int]:
    found: list[int] = repo.snapshot().table("t").to_arrow(["id"])["id"].to_pylist()
    return found


def as_older_versions_wrote_it(repo: Repository) -> None:
    """The same table without first keys."""
    with repo.transaction() as tx:
        table = tx._existing("t")
        refs = tuple(
            replace(ref, id=PartId(put(tx._session, Part(part.segments))))
            for ref, part in zip(table.parts, parts(repo), strict=True)
        )
        made = put(tx._session, replace(table, parts=refs))
        tx._entries["t"] = table_entry(TableId(made))


def test_tables_of_older_versions_are_edited_and_get_first_keys_where_they_are(
    repo: Repository,
) -> None:
    as_older_versions_wrote_it(repo)
    assert not any(part.firsts for part in parts(repo))
    with repo.transaction() as tx:
        tx.upsert("t", pa.table({"id": [15, 20], "other": [1, 2]}))
        tx.delete_keys("t", pa.table({"id": [0, 100]}))
    expected = sorted({*range(0, 5000, 10), 15} - {0, 100})
    assert ids(repo) == expected
    assert parts(repo)[0].firsts and not parts(repo)[-1].firsts
    with repo.transaction() as tx:
        tx.update("t", {"other": "other + 1"})
    firsts_are_lower_bounds(repo)


def test_another_key_never_meets_the_first_keys_of_the_last(repo: Repository) -> None:
    with repo.transaction() as tx:
        tx.set_key("t", "other")
    firsts_are_lower_bounds(repo)
    assert key_types(repo.snapshot().table("t").manifest) == {
        fields_by_name(repo.snapshot().table("t").manifest)["other"]: pa.int64()
    }
    with repo.transaction() as tx:
        tx.upsert("t", pa.table({"other": [-1000, 3990, 7], "text": ["x", "y", "z"]}))
    assert repo.snapshot().table("t").manifest.rows == 501
    firsts_are_lower_bounds(repo)


def test_a_time_without_order_leaves_no_first_keys_that_mislead(repo: Repository) -> None:
    """A segment's first row goes, and one before takes the place of its key."""
    second = len_of_first_segment(repo)
    with repo.transaction() as tx:
        tx.delete("t", f"id = {second * 10}")
        tx.set_key("t", ())
        tx.update("t", {"id": f"{second * 10} + 1"}, f"id = {second * 10 - 10}")
        tx.set_key("t", "id")
        tx.upsert("t", pa.table({"id": [second * 10 + 1], "other": [5]}))
    assert tx.changes[-1].updated == 1 and tx.changes[-1].inserted == 0
    firsts_are_lower_bounds(repo)


def len_of_first_segment(repo: Repository) -> int:
    return parts(repo)[0].segments[0].rows


def test_a_table_that_goes_back_to_how_it_was_has_its_old_parts(repo: Repository) -> None:
    before = repo.snapshot().table("t")
    data = before.to_arrow()
    with repo.transaction() as tx:
        tx.append("t", pa.table({"id": [-7, 4999]}))
        tx.delete_keys("t", pa.table({"id": [0, 10]}))
    firsts_are_lower_bounds(repo)
    write(repo, "t", data)
    assert repo.snapshot().table("t").manifest.parts == before.manifest.parts


def test_only_segments_that_an_edit_touches_are_read(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sum(len(part.segments) for part in parts(repo)) > 50
    read: list[ObjectId] = []
    get_many = ObjectReader.get_many

    def counting(self: ObjectReader, wanted: Sequence[ObjectId], kind: type) -> list:
        read.extend(wanted if kind is ColumnGroup else ())
        return get_many(self, wanted, kind)

    monkeypatch.setattr(ObjectReader, "get_many", counting)
    edits = {
        "upsert": (pa.table({"id": [1005, 4000], "other": [1, 2]}),),
        "delete_keys": (pa.table({"id": [20, 3000]}),),
        "append": (pa.table({"id": range(6000, 6020)}),),
    }
    for verb, arguments in edits.items():
        read.clear()
        with repo.transaction() as tx:
            getattr(tx, verb)("t", *arguments)
        assert tx.changes[0].changed
        # Those it edits, the last of each part that changes, and the short ones at the end.
        assert len(set(read)) <= 6, verb
