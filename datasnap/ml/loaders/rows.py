"""Rows of a pinned table by their numbers, for PyTorch's samplers."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from torch.utils.data import Dataset

from datasnap.errors import NoSuchRow, UsageError
from datasnap.ml.loaders.source import Source
from datasnap.ml.loaders.tensors import Nulls, Others, Tensors, check_transform

if TYPE_CHECKING:
    from datasnap.ml.splits import Split
    from datasnap.versions import TableVersion


class RowDataset(Dataset[Any]):
    """A pinned table's rows by number, each a dict of tensors by column.

    Only the pages that hold the rows asked for are decoded, those of a batch together. With
    PyTorch's own `collate_fn` rows are put together one by one; with `collate` they stay what they
    were read as:

        DataLoader(RowDataset(table), batch_size=512, shuffle=True, collate_fn=collate)

    Args:
        columns, where, nulls, others: as `TableDataset` has them.
        transform: called with each row; with `collate`, with each batch.
    """

    def __init__(
        self,
        table: TableVersion | Split,
        *,
        columns: Sequence[str] | None = None,
        where: str | None = None,
        nulls: Nulls = "error",
        others: Others = "error",
        transform: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        check_transform(transform)
        self._tensors = Tensors.of_table(table, columns, nulls=nulls, others=others)
        self._source = Source(table, self._tensors.names, where)
        self._transform = transform

    def __len__(self) -> int:
        return int(self._source.counts.sum())

    def __getitem__(self, number: int) -> Any:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> Taken:
        """Rows by their numbers, in any order; PyTorch calls this with those of a batch.

        Raises:
            NoSuchRow, an IndexError too. UsageError: this is no number of a row.
        """
        try:
            asked = np.array([operator.index(number) for number in numbers], np.int64)
        except TypeError as error:
            raise UsageError(f"rows are asked for by whole numbers: {error}") from error
        except OverflowError as error:
            raise NoSuchRow(f"there are {len(self):,} rows") from error
        self._source.note(**{"row numbers": True})
        rows = self._source.take_rows(asked)
        return Taken(self._tensors.of(rows), len(numbers), self._transform)


class Taken(Sequence[Any]):
    """Rows that were read together: handed out one by one, or as the batch that they are."""

    def __init__(
        self,
        batch: dict[str, Any],
        count: int,
        transform: Callable[[dict[str, Any]], Any] | None,
    ) -> None:
        self._batch, self._count, self._transform = batch, count, transform

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> Any: ...
    @overload
    def __getitem__(self, number: slice) -> list[Any]: ...
    def __getitem__(self, number: int | slice) -> Any:
        if isinstance(number, slice):
            return [self[at] for at in range(self._count)[number]]
        return self._transformed({name: values[number] for name, values in self._batch.items()})

    def whole(self) -> Any:
        """All of them, as one dict of tensors."""
        return self._transformed(self._batch)

    def _transformed(self, rows: dict[str, Any]) -> Any:
        return rows if self._transform is None else self._transform(rows)


def collate(rows: Taken) -> Any:
    """For `DataLoader(RowDataset(…), collate_fn=collate)`: the batch as it was read."""
    if not isinstance(rows, Taken):
        raise UsageError("collate is for the rows of a RowDataset, in batches")
    return rows.whole()
