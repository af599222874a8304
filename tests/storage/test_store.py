"""Packs, index and sessions."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import blake3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasnap.errors import CorruptData, StorageError
from datasnap.storage import CHUNK, OBJECT, MissingRecord, Store, open_backend, read_entries
from datasnap.storage.index import MAX_FILES
from datasnap.storage.pack import PackBuilder
from tests.faults import FaultyBackend


def name(data: bytes) -> bytes:
    return blake3.blake3(data).digest()


def put(store: Store, *records: bytes, kind: int = CHUNK) -> list[bytes]:
    with store.session() as session:
        for record in records:
            session.add(name(record), kind, [record[:1], record[1:]])
        session.commit()
    return [name(record) for record in records]


def some_records(count: int, seed: int = 1) -> list[bytes]:
    source = random.Random(seed)
    return [source.randbytes(source.randrange(1, 3000)) for _ in range(count)]


def test_records_read_back_here_and_in_another_process(store: Store) -> None:
    records = some_records(50)
    ids = put(store, *records)
    for reader in (store, Store(store.backend)):
        assert [reader.read(id) for id in ids] == records
        assert [bytes(r) for r in reader.read_many(ids[::-1])] == records[::-1]
        assert reader.read_range(ids[3], 1, 2) == records[3][1:3]


def test_a_record_is_stored_once(store: Store) -> None:
    put(store, b"same")
    with store.session() as session:
        assert session.has(name(b"same"))
        assert not session.add(name(b"same"), CHUNK, [b"same"])
        session.commit()
        assert session.stats == (0, 0, 0)
    assert len(store.backend.list("packs/")) == 1


def test_chunks_are_durable_before_objects_and_those_before_the_index(tmp_path: Path) -> None:
    backend = FaultyBackend(open_backend(str(tmp_path)))
    store = Store(backend)
    with store.session() as session:
        session.add(name(b"object"), OBJECT, [b"object"])
        session.add(name(b"chunk"), CHUNK, [b"chunk"])
        session.commit()
    written = [path for method, path in backend.calls if method == "write"]
    kinds = [
        "index" if path.startswith("index/") else int(read_entries(backend, path[6:])["kind"][0])
        for path in written
    ]
    assert kinds == [CHUNK, OBJECT, "index"]


def test_an_aborted_session_leaves_nothing(store: Store) -> None:
    with store.session() as session:
        for record in some_records(20):
            session.add(name(record), CHUNK, [record])
    assert store.backend.list("packs/") == []
    small = Store(store.backend, pack_bytes=1000)
    with pytest.raises(RuntimeError), small.session() as session:
        for record in some_records(20):
            session.add(name(record), CHUNK, [record])
        raise RuntimeError("changed my mind")
    assert store.backend.list("packs/") == []
    assert store.backend.list("index/") == []


def test_two_sessions_with_the_same_records_do_not_share_a_pack(store: Store) -> None:
    """Else one that gives up would take the other's data with it."""
    with store.session() as one, Store(store.backend).session() as other:
        for session in (one, other):
            session.add(name(b"x"), CHUNK, [b"x"])
        other.commit()
    assert Store(store.backend).read(name(b"x")) == b"x"


@pytest.mark.parametrize("fail_at", range(3))
def test_a_failure_at_any_write_leaves_the_store_as_it_was(tmp_path: Path, fail_at: int) -> None:
    inner = open_backend(str(tmp_path))
    (kept,) = put(Store(inner), b"kept")
    before = inner.list("packs/"), inner.list("index/")
    faulty = Store(FaultyBackend(inner, fail_at=fail_at, methods=("write",)), pack_bytes=4000)
    records = some_records(5)
    try:
        with faulty.session() as session:
            for record in records:
                session.add(name(record), CHUNK, [record])
            session.add(name(b"object"), OBJECT, [b"object"])
            session.commit()
    except StorageError:
        assert (inner.list("packs/"), inner.list("index/")) == before
    else:
        pytest.fail("the failure was not reported")
    assert Store(inner).read(kept) == b"kept"


def test_the_index_is_made_anew_from_the_packs(store: Store) -> None:
    records = some_records(30)
    ids = put(store, *records[:10]) + put(store, *records[10:], kind=OBJECT)
    for file, *_ in store.backend.list("index/"):
        store.backend.delete(f"index/{file}")
    reopened = Store(store.backend)
    assert [reopened.read(id) for id in ids] == records
    assert store.backend.list("index/")


def test_a_damaged_index_file_is_passed_over(store: Store) -> None:
    ids = put(store, b"one") + put(store, b"two")
    for file, *_ in store.backend.list("index/"):
        store.backend.write(f"index/{file}", [b"DSINDX01 but not really"])
    assert [Store(store.backend).read(id) for id in ids] == [b"one", b"two"]


def test_many_commits_keep_few_index_files(tmp_path: Path) -> None:
    store, early = Store(open_backend(str(tmp_path))), Store(open_backend(str(tmp_path)))
    records = some_records(60)
    ids = [put(store, record)[0] for record in records]
    assert len(store.backend.list("index/")) <= MAX_FILES + 1
    for reader in (store, early, Store(store.backend)):
        assert [reader.read(id) for id in ids] == records


def test_stores_see_what_others_commit(location: str) -> None:
    one, other = Store(open_backend(location)), Store(open_backend(location))
    (id,) = put(one, b"news")
    assert other.read(id) == b"news"


def test_an_unknown_id_is_a_missing_record(store: Store) -> None:
    with pytest.raises(MissingRecord, match=name(b"never").hex()[:16]):
        store.read(name(b"never"))


def test_neighbours_are_read_together(tmp_path: Path) -> None:
    backend = FaultyBackend(open_backend(str(tmp_path)))
    ids = put(Store(backend), *some_records(40))
    backend.calls.clear()
    Store(backend).read_many(ids)
    assert sum(method == "read_range" for method, _ in backend.calls) == 1


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x40
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_flipped_byte_is_found_at_the_first_partial_read(tmp_path: Path) -> None:
    store = Store(open_backend(str(tmp_path)))
    (id,) = put(store, bytes(5000))
    (pack,) = (tmp_path / "packs").iterdir()
    flip(pack, 4000)
    with pytest.raises(CorruptData, match=id.hex()[:16]):
        store.read_range(id, 0, 10)
    with pytest.raises(CorruptData, match="verify"):
        try:
            store.read_many([id])
        except CorruptData as error:
            raise CorruptData(error.hint) from error


@given(position=st.integers(0, 10**6), cut=st.booleans())
def test_any_damage_to_a_pack_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, position: int, cut: bool
) -> None:
    root = tmp_path_factory.mktemp("damage")
    records = some_records(8)
    ids = put(Store(open_backend(str(root))), *records)
    (pack,) = (root / "packs").iterdir()
    position %= pack.stat().st_size
    if cut:
        pack.write_bytes(pack.read_bytes()[:position])
    else:
        flip(pack, position)
    backend = open_backend(str(root))
    found = 0
    try:
        read_entries(backend, pack.name)
    except CorruptData:
        found += 1
    for id, record in zip(ids, records, strict=True):
        try:
            assert Store(backend).read(id) == record
        except CorruptData:
            found += 1
    # The eight bytes of magic at the head hold nothing, and nothing depends on them.
    assert found or position < 8


@pytest.mark.parametrize("field", [slice(0, 8), slice(8, 16)])
def test_a_hostile_trailer_is_refused_without_believing_it(tmp_path: Path, field: slice) -> None:
    builder = PackBuilder()
    builder.add(name(b"x"), CHUNK, [b"x"])
    pack, buffers, _ = builder.seal()
    data = bytearray(b"".join(buffers))
    trailer = bytearray(data[-64:])
    trailer[field] = (1 << 62).to_bytes(8, "little")
    backend = open_backend(str(tmp_path))
    backend.write(f"packs/{pack}", [bytes(data[:-64]), bytes(trailer)])
    with pytest.raises(CorruptData, match=pack[:16]):
        read_entries(backend, pack)


def test_many_threads_read_at_once(tmp_path: Path) -> None:
    records = some_records(100)
    ids = put(Store(open_backend(str(tmp_path))), *records)
    store = Store(open_backend(str(tmp_path)), cache_bytes=20_000)

    def read(seed: int) -> bool:
        order = random.Random(seed).sample(range(100), 100)
        return all(store.read_range(ids[i], 0, 3000) == records[i] for i in order)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(16)))


@given(st.lists(st.lists(st.binary(min_size=1, max_size=400), max_size=6), max_size=6))
def test_whatever_is_put_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, sessions: list[list[bytes]]
) -> None:
    root = str(tmp_path_factory.mktemp("any"))
    for records in sessions:
        put(Store(open_backend(root), pack_bytes=500), *records)
    store = Store(open_backend(root))
    for record in (r for records in sessions for r in records):
        assert store.read(name(record)) == record
    assert len(store.kinds()) == len({r for records in sessions for r in records})
