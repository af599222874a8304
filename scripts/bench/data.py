"""The data of the benchmarks: made once from a fixed seed, kept in a cache folder.

    table(5_000_000)      20 mixed columns as an Arrow table
    parquet(20_000_000)   the same as a Parquet file, written in bounded memory
    lineitem(1)           TPC-H lineitem, by tpchgen-cli

The cache is $DATASNAP_BENCH_DIR, else ~/.cache/datasnap-bench; it may be deleted at any time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from measure import say

#: Rows that are made at a time. Each block has random numbers of its own, so that a longer table
#: begins with the rows of a shorter one.
BLOCK = 500_000
#: Part of every file name: change it with the generator, and old files are left alone.
_LAYOUT = "v1"


def cache() -> Path:
    """The folder that generated data and the peers' environments are kept in."""
    folder = Path(os.environ.get("DATASNAP_BENCH_DIR") or Path.home() / ".cache/datasnap-bench")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def table(rows: int, *, seed: int = 7) -> pa.Table:
    """The mixed table, sorted by its key `id`, in memory (not memory-mapped)."""
    path = cache() / f"mixed-{_LAYOUT}-{seed}-{rows}.arrow"
    if not path.exists():
        say(f"making {path.name}")
        with _whole(path) as new, ipc.new_file(new, _block(0, 1, seed).schema) as writer:
            for batch in _blocks(rows, seed):
                writer.write_batch(batch)
    return _load(path)


def parquet(rows: int, *, seed: int = 7) -> Path:
    """The mixed table as a zstd Parquet file; memory: one block."""
    path = cache() / f"mixed-{_LAYOUT}-{seed}-{rows}.parquet"
    if not path.exists():
        say(f"making {path.name}")
        schema = _block(0, 1, seed).schema
        with _whole(path) as new, pq.ParquetWriter(new, schema, compression="zstd") as writer:
            for batch in _blocks(rows, seed):
                writer.write_batch(batch)
    return path


def lineitem(scale: float) -> pa.Table:
    """TPC-H lineitem in memory, sorted by (l_orderkey, l_linenumber)."""
    path = cache() / f"lineitem-{_LAYOUT}-{scale:g}.arrow"
    if not path.exists():
        say(f"making {path.name}")
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            _tpchgen(scale, folder)
            rows = _plain_types(pq.read_table(Path(folder) / "lineitem.parquet"))
        with _whole(path) as new, ipc.new_file(new, rows.schema) as writer:
            writer.write_table(rows, max_chunksize=BLOCK)
    return _load(path)


def shuffled(rows: pa.Table, name: str, *, seed: int = 7) -> Path:
    """The rows in random order, as a zstd Parquet file called `name`."""
    path = cache() / f"{name}-{_LAYOUT}-{rows.num_rows}-shuffled.parquet"
    if not path.exists():
        say(f"making {path.name}")
        order = np.random.default_rng(seed).permutation(rows.num_rows)
        with _whole(path) as new:
            pq.write_table(rows.take(pa.array(order)), new, compression="zstd")
    return path


def _blocks(rows: int, seed: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, rows, BLOCK):
        yield _block(start // BLOCK, BLOCK, seed).slice(0, rows - start)


def _block(index: int, rows: int, seed: int) -> pa.RecordBatch:
    """One block of the mixed table: 1 + 1 + 6 + 4 + 4 + 3 + 1 columns."""
    random = np.random.default_rng([seed, index])
    row = np.arange(index * BLOCK, index * BLOCK + rows, dtype=np.int64)
    columns: dict[str, pa.Array] = {
        "id": pa.array(4 * row + random.integers(0, 4, rows)),  # gaps of 1 to 7
        "time": pa.array(
            1_700_000_000_000_000 + 1_000_000 * row + random.integers(0, 1_000_000, rows),
            pa.timestamp("us", "UTC"),
        ),
        "exact_1": pa.array(random.normal(0, 1, rows)),
        "exact_2": pa.array(random.uniform(-180, 180, rows)),
        "exact_3": pa.array(random.exponential(5, rows)),
        "rounded_1": pa.array(random.lognormal(2.5, 0.8, rows).round(2)),
        "rounded_2": pa.array(random.gamma(2, 3, rows).round(2)),
        "rounded_3": pa.array(random.normal(100, 25, rows).round(2)),
    }
    for number in range(1, 5):
        values = random.normal(0, number, rows).astype(np.float32)
        columns[f"single_{number}"] = pa.array(values)
    for number, exponent in enumerate((1.5, 1.8, 2.2, 3.0), start=1):
        counts = np.minimum(random.zipf(exponent, rows), 2**31 - 1)
        columns[f"count_{number}"] = pa.array(counts.astype(np.int32))
    columns["zone"] = _words([f"zone-{n:02d}" for n in range(50)], rows, random)
    columns["vendor"] = _words([f"vendor/{n * 7919 % 2000:04d}" for n in range(2000)], rows, random)
    columns["token"] = _tokens(row)
    columns["flag"] = pa.array(random.random(rows) < 0.2)
    return pa.record_batch(columns)


def _words(words: list[str], rows: int, random: np.random.Generator) -> pa.Array:
    """Words of a vocabulary, the n-th with a frequency of 1 / (n + 10)."""
    weights = np.cumsum(1 / (np.arange(len(words)) + 10))
    picked = np.searchsorted(weights, random.random(rows) * weights[-1])
    return pa.array(words).take(pa.array(picked))


def _tokens(row: npt.NDArray[np.int64]) -> pa.Array:
    """16 hex digits for each row, no two alike: SplitMix64 of its number, which is a bijection."""
    mixed = row.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    digits = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint16)
    text = digits[mixed.view(np.uint8)]
    ends = np.arange(len(row) + 1, dtype=np.int32) * 16
    return pa.StringArray.from_buffers(len(row), pa.py_buffer(ends), pa.py_buffer(text))


def _tpchgen(scale: float, folder: str) -> None:
    beside = Path(sys.executable).with_name("tpchgen-cli")
    program = str(beside) if beside.exists() else shutil.which("tpchgen-cli")
    if program is None:
        raise SystemExit("tpchgen-cli is missing; get it with: pip install tpchgen-cli")
    options = ["-s", f"{scale:g}", "-T", "lineitem", "-o", folder, "--quiet"]
    subprocess.run([program, "parquet", *options], check=True)


def _plain_types(rows: pa.Table) -> pa.Table:
    """String views as strings and no metadata of the generator's: what most tables look like."""
    fields = [
        pa.field(f.name, pa.string() if pa.types.is_string_view(f.type) else f.type)
        for f in rows.schema
    ]
    return rows.cast(pa.schema(fields))


def _load(path: Path) -> pa.Table:
    # IPC aligns buffers to 8 bytes; Lance (arrow-rs) insists on 16 for decimals.
    options = ipc.IpcReadOptions(ensure_alignment=ipc.Alignment.At64Byte)
    with pa.OSFile(str(path)) as file:
        return ipc.open_file(file, options=options).read_all()


@contextmanager
def _whole(path: Path) -> Iterator[str]:
    """A name to write to, which becomes `path` when all went well."""
    new = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield str(new)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
