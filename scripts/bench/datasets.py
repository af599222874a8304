"""The two data sets: the rows, the changes made to them, and the questions asked of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

import data

#: The column that "a new column" adds.
NEW = "score"


@dataclass(frozen=True)
class Dataset:
    """Rows sorted by `key`, and the 1 % of rows that come after them."""

    name: str
    key: list[str]
    rows: pa.Table
    more: pa.Table
    aggregate: str
    group_by: str

    @cached_property
    def longer(self) -> pa.Table:
        """The table with 1 % of rows appended."""
        return pa.concat_tables([self.rows, self.more])

    @cached_property
    def column(self) -> pa.Table:
        """A new float64 column, alone."""
        values = np.random.default_rng(11).normal(size=self.rows.num_rows)
        return pa.table({NEW: pa.chunked_array([pa.array(values)])})

    @cached_property
    def wider(self) -> pa.Table:
        """The table with that column."""
        return self.rows.append_column(NEW, self.column.column(0))

    @property
    def about(self) -> str:
        """What it is, in a line."""
        rows, columns = self.rows.shape
        return f"{self.name}: {rows:,} rows × {columns} columns, {self.rows.nbytes / 1e6:,.0f} MB"

    def queries(self, repeats: int) -> Iterator[tuple[str, list[str]]]:
        """Each kind of question, and its SQL over a table `t` for each repetition."""
        places = np.random.default_rng(5).integers(0, self.rows.num_rows - 1_000, repeats)
        yield "count, avg", [self.aggregate] * repeats
        yield "group by", [self.group_by] * repeats
        yield "1,000-row range by key", [self._range(int(place)) for place in places]
        yield "point look-up by key", [self._point(int(place)) for place in places]

    def _range(self, place: int) -> str:
        first, last = (self.rows[self.key[0]][at].as_py() for at in (place, place + 999))
        return f"SELECT * FROM t WHERE {self.key[0]} BETWEEN {first} AND {last}"

    def _point(self, place: int) -> str:
        where = " AND ".join(f"{name} = {self.rows[name][place].as_py()}" for name in self.key)
        return f"SELECT * FROM t WHERE {where}"


def mixed(rows: int) -> Dataset:
    """20 columns of many kinds; see `data.table`."""
    whole = data.table(rows + max(rows // 100, 1))
    return Dataset(
        "mixed",
        ["id"],
        whole.slice(0, rows),
        whole.slice(rows),
        "SELECT count(*), avg(exact_1), avg(rounded_1), avg(single_1) FROM t",
        "SELECT zone, count(*), avg(rounded_2), max(count_1) FROM t GROUP BY zone ORDER BY zone",
    )


def lineitem(scale: float) -> Dataset:
    """TPC-H lineitem; its last 1 % of rows are the ones appended."""
    whole = data.lineitem(scale)
    rows = whole.num_rows - whole.num_rows // 101
    return Dataset(
        "lineitem",
        ["l_orderkey", "l_linenumber"],
        whole.slice(0, rows),
        whole.slice(rows),
        "SELECT count(*), avg(l_quantity), avg(l_extendedprice), avg(l_discount) FROM t",
        "SELECT l_returnflag, l_linestatus, count(*), sum(l_quantity), avg(l_extendedprice) "
        "FROM t GROUP BY ALL ORDER BY ALL",
    )


def load(name: str, rows: int, scale: float) -> Dataset:
    """A data set by its name."""
    return mixed(rows) if name == "mixed" else lineitem(scale)
