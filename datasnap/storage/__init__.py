"""Bytes: where they lie, and how they are found again.

Format version 1. All integers are little endian. A repository is a folder or prefix with

    format.json         {"format": 1, "id": "<32 hex>"}
    config.toml         settings of this repository, if there are any
    HEAD, refs/…        names: see `datasnap.snapshots.refs`
    packs/<64 hex>      packs: the data
    index/<64 hex>      index files: a cache; deleting all of them loses nothing
    quarantine/<64 hex> packs that will go: see `datasnap.storage.quarantine`
    replaced            snapshots that a purge replaced: see `datasnap.snapshots.replaced`
    damaged/<64 hex>    packs that a repair took out with what nobody could restore: never read
    tmp/, lock          on a local disk: files being written, and the lock for refs

**Pack.** An append-only file of records, named by its content.

    "DSPACK01" | record, record, … | entries | trailer

    entry (64 bytes):    id 32 | offset u64 | length u64 | checksum u64 | kind u8 | 7 × 00
    trailer (64 bytes):  offset of the entries u64 | their number u64
                         | BLAKE3 of entries and nonce, 32 bytes | nonce, 8 | "DSPACKND"

`checksum` is the XXH3 (64 bits, seed 0) of the record's bytes; `kind` is 1 for a chunk, 2 for an
object. The pack's name is that BLAKE3 in hex: as the entries hold the checksums, it stands for
every byte of the records too. (The random nonce keeps apart two packs of the same content that
two writers make at once, so that one can give up and remove its own.) The records' own formats:
`datasnap.parquet.columns` (chunks), `datasnap.snapshots.objects` (objects).

**Index file.** The entries of some packs, sorted by the first eight bytes of their IDs.

    "DSINDX01" | packs u64 | entries u64 | pack names, 32 bytes each | entries, as in packs
    | for each entry, u32: the number of its pack in this file

Its name is the BLAKE3 of its bytes.

**Durability.** Packs of chunks are durable before packs of objects, those before the index file,
and that before the ref. A folder is durable before what is in it, and a new index file before those
that it stands for go; they are gone for good before a pack goes that only they name: an index that
names what is not there would have the next writer take it for stored. (tests/crash plays through
what a disk may hold after a power cut at any moment.) A pack is known to others once it is in an
index file. Why checksums and
not only IDs: an ID is of logical values, so checking it means decoding; XXH3 runs at 20 GB/s, and
every record is checked when it is first read (measured: 17 ms for a 340 MB table).
"""

from datasnap.storage.backend import Backend, Kept, Listed, LostAnswer, MissingFile, open_backend
from datasnap.storage.cache import EDITED, EXPANDED, ByteCache, DiskCache
from datasnap.storage.catalog import Catalog, make_catalog
from datasnap.storage.index import Location
from datasnap.storage.pack import CHUNK, OBJECT, PACKS, read_entries, readable_entries
from datasnap.storage.repack import Repacked, repack
from datasnap.storage.store import MissingRecord, Session, SessionStats, Store

__all__ = [
    "CHUNK",
    "EDITED",
    "EXPANDED",
    "OBJECT",
    "PACKS",
    "Backend",
    "ByteCache",
    "Catalog",
    "DiskCache",
    "Kept",
    "Listed",
    "Location",
    "LostAnswer",
    "MissingFile",
    "MissingRecord",
    "Repacked",
    "Session",
    "SessionStats",
    "Store",
    "make_catalog",
    "open_backend",
    "read_entries",
    "readable_entries",
    "repack",
]
