"""The baseline of loaders: a PyTorch loader over a plain Parquet file, as one would write it well.

Row groups are shuffled and dealt out to the workers; each decodes them ahead in a thread with
pyarrow, shuffles the rows of a window, and sends batches as one piece of shared memory, by the
same code as ours. It promises less: another number of workers gives another order.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasnap.ml.loaders.packed import Packed
from torch.utils.data import IterableDataset, get_worker_info

#: About the rows of our segments: of pyarrow's own million, five would be too few for two workers.
ROW_GROUP = 1 << 17


def write(rows: pa.Table, path: Path) -> None:
    """The file."""
    pq.write_table(rows, path, compression="zstd", row_group_size=ROW_GROUP)


class ParquetDataset(IterableDataset[Any]):
    """Batches of float columns, shuffled in two levels."""

    def __init__(self, path: Path, columns: list[str], batch: int, window: int) -> None:
        self._path, self._columns = path, columns
        self._batch, self._window, self._epoch = batch, window, 0

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        random = np.random.default_rng([7, self._epoch])
        file = pq.ParquetFile(self._path, memory_map=True)
        groups = random.permutation(file.num_row_groups)[worker::workers].tolist()
        held: list[pa.Table] = []
        rows = 0
        for group in _ahead(file, groups, self._columns):
            held.append(group)
            rows += group.num_rows
            if rows >= self._window:
                batches, rest = self._shuffled(held, random)
                yield from batches
                held, rows = [rest], rest.num_rows
        if rows:
            yield from self._batches(held, random)

    def _shuffled(
        self, held: list[pa.Table], random: np.random.Generator
    ) -> tuple[Iterator[Any], pa.Table]:
        """Whole batches of a window, and the rows that are left."""
        table = pa.concat_tables(held).combine_chunks()
        order = random.permutation(table.num_rows)
        whole = table.num_rows // self._batch * self._batch
        return self._made(table, order[:whole]), table.take(pa.array(order[whole:]))

    def _batches(self, held: list[pa.Table], random: np.random.Generator) -> Iterator[Any]:
        table = pa.concat_tables(held).combine_chunks()
        return self._made(table, random.permutation(table.num_rows))

    def _made(self, table: pa.Table, order: np.ndarray[Any, np.dtype[np.int64]]) -> Iterator[Any]:
        columns = {name: table[name].chunk(0).to_numpy() for name in self._columns}
        for start in range(0, len(order), self._batch):
            picked = order[start : start + self._batch]
            batch = {name: torch.from_numpy(v.take(picked)) for name, v in columns.items()}
            yield Packed(batch) if get_worker_info() else batch


def _ahead(file: pq.ParquetFile, groups: list[int], columns: list[str]) -> Iterator[pa.Table]:
    """Row groups, one decoded ahead in a thread."""

    def read(group: int) -> pa.Table:
        return file.read_row_group(group, columns=columns, use_threads=False)

    with ThreadPoolExecutor(1) as pool:
        waiting: Future[pa.Table] | None = None
        for group in groups:
            next_one = pool.submit(read, group)
            if waiting is not None:
                yield waiting.result()
            waiting = next_one
        if waiting is not None:
            yield waiting.result()
