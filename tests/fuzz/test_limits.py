"""Sizes that are claimed, and sizes that come true: refused before room is made for them, by
readers; by writers before they are kept where no reader would take them back."""

from __future__ import annotations

import resource
import tracemalloc

import blake3
import numpy as np
import pyarrow as pa
import pytest
import zstandard

from datasnap.errors import BadInput, CorruptData, UnsupportedFormat
from datasnap.repository import Repository
from datasnap.snapshots import objects
from datasnap.snapshots.objects import (
    Entry,
    ObjectId,
    Overlay,
    Part,
    Tree,
    decode_object,
    encode_object,
)
from datasnap.storage import read_entries
from datasnap.storage.index import _parse as parse_index
from datasnap.storage.pack import ENTRY
from datasnap.tables import overlay
from tests.conftest import write
from tests.fuzz.targets import OneFile


def test_a_bomb_of_an_object_is_refused_by_its_header() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 28))
    assert len(bomb) < 20_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind in (Tree, Part, Overlay):
        with pytest.raises(CorruptData, match="impossible size"):
            decode_object(ObjectId(bytes(32)), bomb, kind)
    endless = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 20))
    with pytest.raises(CorruptData, match="impossible size"):
        decode_object(ObjectId(bytes(32)), endless, Tree)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_nesting_without_end_is_refused() -> None:
    for data in (b"\x91" * 100_000, b"\x92\xa4tree" + b"\x81\xa1a" * 100_000):
        id = ObjectId(blake3.blake3(data).digest())
        with pytest.raises(Exception, match="object") as caught:
            decode_object(id, zstandard.ZstdCompressor().compress(data), Tree)
        assert isinstance(caught.value, CorruptData | UnsupportedFormat)


def test_a_tree_of_half_a_million_names_can_be_kept() -> None:
    tree = Tree({f"{i:07}": Entry("table", bytes(32)) for i in range(500_000)})  # type: ignore[arg-type]
    id, record = encode_object(tree)
    assert len(decode_object(id, record, Tree).entries) == 500_000


def test_what_no_reader_would_take_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "MAX_OBJECT_BYTES", 1000)
    with pytest.raises(BadInput, match="too large"):
        encode_object(Tree({"x" * 2000: Entry("table", bytes(32))}))  # type: ignore[arg-type]


def test_values_too_large_for_an_overlay_are_written_as_chunks(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repo, "t", pa.table({"id": np.arange(1000), "x": ["a"] * 1000}), key="id")
    for limit, edited in ((1 << 20, True), (100, False)):
        monkeypatch.setattr(overlay, "_MAX_VALUE_BYTES", limit)
        with repo.transaction("main") as tx:
            tx.update("t", {"x": "x || repeat('y', 500)"}, where="id = 3")
        part = repo.objects.get(repo.snapshot().table("t").manifest.parts[0].id, Part)
        assert (part.segments[0].overlay is not None) == edited
    assert len(repo.snapshot().table("t").to_arrow()["x"][3].as_py()) == 1001


def test_a_pack_that_claims_more_entries_than_it_has_is_refused() -> None:
    for start, count in ((0, 2**58), (2**64 - 64, 1), (8, 2**63), (72, 0)):
        numbers = start.to_bytes(8, "little") + count.to_bytes(8, "little")
        data = b"DSPACK01" + numbers + bytes(32) + bytes(8) + b"DSPACKND"
        with pytest.raises(CorruptData):
            read_entries(OneFile(data), bytes(32).hex())  # type: ignore[arg-type]


def test_an_index_that_points_far_reserves_no_memory(repo: Repository) -> None:
    entry = np.zeros(1, ENTRY)
    entry["offset"], entry["length"] = 8, 2**60
    data = b"DSINDX01" + (1).to_bytes(8, "little") * 2 + bytes(32) + entry.tobytes() + bytes(4)
    with pytest.raises(CorruptData):
        parse_index(blake3.blake3(data).hexdigest(), data)
    write(repo, "t", pa.table({"a": [1]}))
    (name, *_), *_ = repo.backend.list("packs/")
    tracemalloc.start()
    with pytest.raises(CorruptData, match="truncated"):
        repo.backend.read_range(f"packs/{name}", 8, 1 << 40)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_compressed_values_are_refused_before_they_are_unpacked() -> None:
    from datasnap.tables.messages import read_batch
    from tests.fuzz.cases import _compressed_message

    schema = pa.schema([("", pa.int64())])
    with pytest.raises(CorruptData, match="plain"):
        read_batch(_compressed_message(), schema, "values")
    assert read_batch(bytes(pa.record_batch({"": [1]}).serialize()), schema, "values").num_rows
