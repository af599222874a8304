"""Arrow arrays as tensors, without a copy where both lay values out alike.

integers, floats             as they are
bool                         bool (Arrow keeps bits, torch bytes: copied)
date, time, timestamp,       their integers, in the column's unit
duration
decimal                      float64, rounded
fixed-size list of these     one more dimension: [rows, size]
dictionary of these          the values
text, binary, lists, others  no tensor: refused, left out, or a Python list, as one asks for
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pt

from datasnap.errors import BadInput, UsageError
from datasnap.tables.scan import selected_schema

if TYPE_CHECKING:
    import torch

    from datasnap.ml.splits import Split
    from datasnap.versions import TableVersion

#: What becomes of nulls, and of columns of which no tensor can be made.
Nulls = Literal["error", "nan", "mask"]
Others = Literal["error", "skip", "list"]

#: What is put behind a column's name for the tensor that says where it has values.
VALID = ".valid"

Values = npt.NDArray[Any]
Valid = npt.NDArray[np.bool_]


class _Plain(NamedTuple):
    """Values as NumPy has them, and which of them are values; None: all."""

    values: Values
    valid: Valid | None


@dataclass(frozen=True)
class Tensors:
    """Makes tensors of the columns of a schema.

    Attributes:
        nulls: of columns of numbers: an "error"; "nan" in columns of floats, an error in others;
            "mask": 0 stands for null, and a tensor `NAME.valid` beside each tells which are not.
        others: what is done with columns of which no tensor can be made: an "error" at once,
            "skip" them, or hand out a "list" of Python values.

    Raises:
        UsageError: there is a column of which no tensor can be made.
    """

    schema: pa.Schema
    nulls: Nulls = "error"
    others: Others = "error"

    @classmethod
    def of_table(
        cls,
        table: TableVersion | Split,
        columns: Sequence[str] | None,
        *,
        nulls: Nulls,
        others: Others,
    ) -> Self:
        """Of some columns of a table.

        Raises:
            UnknownName: it has no such column. UsageError: this is no table, or no columns.
        """
        return cls(_selected(table, columns), nulls, others)

    def __post_init__(self) -> None:
        if self.nulls not in ("error", "nan", "mask"):
            raise UsageError(f"nulls is 'error', 'nan' or 'mask', not '{self.nulls}'")
        if self.others not in ("error", "skip", "list"):
            raise UsageError(f"others is 'error', 'skip' or 'list', not '{self.others}'")
        refused = [field for field in self.schema if not _has_tensor(field.type)]
        if refused and self.others == "error":
            field = refused[0]
            raise UsageError(
                f"no tensor can be made of column '{field.name}' of type {field.type}",
                hint="Name the columns that are wanted; or give others='skip' to leave such out, "
                "others='list' for lists of Python values.",
            )

    @property
    def names(self) -> list[str]:
        """The columns that are to be read."""
        kept = (f for f in self.schema if self.others == "list" or _has_tensor(f.type))
        return [field.name for field in kept]

    def of(self, rows: pa.RecordBatch) -> dict[str, torch.Tensor | list[Any]]:
        """Tensors of some rows, by the names of the columns.

        Raises:
            BadInput: a column has nulls that there is no value for.
        """
        import torch

        made: dict[str, torch.Tensor | list[Any]] = {}
        for name, column in zip(rows.schema.names, rows.columns, strict=True):
            if not _has_tensor(column.type):
                made[name] = column.to_pylist()
                continue
            values, valid = _plain(column)
            if self.nulls == "mask":
                full = np.ones(values.shape, bool) if valid is None else valid
                made[name + VALID] = torch.from_numpy(_writable(full))
                values = values if valid is None else np.where(valid, values, values.dtype.type(0))
            elif valid is not None:
                values = self._with_nan(name, values, valid)
            made[name] = torch.from_numpy(_writable(values))
        return made

    def _with_nan(self, name: str, values: Values, valid: Valid) -> Values:
        if self.nulls == "nan" and values.dtype.kind == "f":
            return np.where(valid, values, values.dtype.type(np.nan))
        what = "and no NaN" if self.nulls == "nan" else "which tensors have not"
        raise BadInput(
            f"column '{name}' of type {self.schema.field(name).type} has nulls, {what}",
            hint="Give nulls='mask' for a tensor beside each column that tells where it has "
            "values, nulls='nan' for NaN in columns of floats, or leave the rows out by `where`.",
        )


def check_transform(transform: Callable[[dict[str, Any]], Any] | None) -> None:
    """Refuse what cannot be called."""
    if transform is not None and not callable(transform):
        raise UsageError(f"transform is called with what was read: not {transform!r}")


def _selected(table: TableVersion | Split, columns: Sequence[str] | None) -> pa.Schema:
    """The schema of some columns; one that is named alone is one, too."""
    from datasnap.ml.splits import Split
    from datasnap.versions import TableVersion

    if not isinstance(table, TableVersion | Split):
        raise UsageError(
            f"a dataset is of a table or a split, not of {type(table).__name__}",
            hint='As in: TableDataset(datasnap.open().table("rides"))',
        )
    names = [columns] if isinstance(columns, str) else columns
    try:
        named = None if names is None else msgspec.convert(list(names), list[str])
    except (TypeError, msgspec.ValidationError):
        raise UsageError(f"columns are named by a list of text, not {columns!r}") from None
    if named == []:
        raise UsageError("columns names no column", hint="Leave it out for all of them.")
    return selected_schema(table.manifest, named)


def _writable(values: Values) -> Values:
    """Memory that may be written, as a tensor's always may."""
    return values if values.flags.writeable else values.copy()


def _has_tensor(type: pa.DataType) -> bool:
    if isinstance(type, pa.BaseExtensionType):
        return _has_tensor(type.storage_type)
    if pt.is_fixed_size_list(type) or pt.is_dictionary(type):
        return _has_tensor(type.value_type)
    return bool(
        pt.is_boolean(type)
        or pt.is_integer(type)
        or pt.is_floating(type)
        or (pt.is_temporal(type) and not pt.is_interval(type))
        or pt.is_decimal(type)
    )


def _plain(array: pa.Array) -> _Plain:
    """A column as NumPy has it: no copy where it has no nulls and is no bits."""
    type = array.type
    if isinstance(type, pa.BaseExtensionType):
        return _plain(array.storage)
    if pt.is_dictionary(type):
        return _plain(array.dictionary_decode())
    if pt.is_decimal(type):
        return _plain(array.cast(pa.float64()))
    if pt.is_fixed_size_list(type):
        return _nested(array)
    valid = _bits(array, array.buffers()[0]) if array.null_count else None
    if pt.is_boolean(type):
        return _Plain(_bits(array, array.buffers()[1]), valid)
    data, dtype = array.buffers()[1], _dtype(type)
    if data is None:
        return _Plain(np.zeros(len(array), dtype), valid)
    return _Plain(np.frombuffer(data, dtype, len(array), array.offset * dtype.itemsize), valid)


def _nested(array: pa.Array) -> _Plain:
    size, count = array.type.list_size, len(array)
    inner = _plain(array.values.slice(array.offset * size, count * size))
    shape = (count, size, *inner.values.shape[1:])
    valid = None if inner.valid is None else inner.valid.reshape(shape)
    if array.null_count:
        own = _bits(array, array.buffers()[0]).reshape(count, *[1] * (len(shape) - 1))
        valid = np.broadcast_to(own, shape) if valid is None else own & valid
    return _Plain(inner.values.reshape(shape), valid)


def _bits(array: pa.Array, data: pa.Buffer | None) -> Valid:
    """Bits of an array, a byte each."""
    if data is None:
        return np.ones(len(array), bool)
    first, end = array.offset // 8, array.offset + len(array)
    bits = np.frombuffer(data, np.uint8)[first : -(-end // 8)]
    whole = np.unpackbits(bits, count=end - 8 * first, bitorder="little")
    return whole[array.offset - 8 * first :].view(np.bool_)


def _dtype(type: pa.DataType) -> np.dtype[Any]:
    kind = "f" if pt.is_floating(type) else "u" if pt.is_unsigned_integer(type) else "i"
    return np.dtype(f"<{kind}{type.bit_width // 8}")
