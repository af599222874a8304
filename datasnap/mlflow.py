"""Pinned tables as inputs of MLflow's runs.

    import datasnap.mlflow, mlflow

    rides = datasnap.load("train.yaml")
    with mlflow.start_run():
        mlflow.log_input(datasnap.mlflow.from_table(rides), context="training")

MLflow shows the table as `rides@3f0a91c2`, with its schema, its size, its snapshot and a digest,
which is the beginning of the table's ID: equal digests, equal data. Its source names the
repository, the snapshot and the table, so that the same rows are read again from a run of MLflow:

    run = mlflow.get_run(ID)
    mlflow.data.get_source(run.inputs.dataset_inputs[0]).load().to_pandas()
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa

from datasnap.extras import require

require("mlflow")

from mlflow.data import dataset_source_registry as registry  # noqa: E402
from mlflow.data.dataset import Dataset  # noqa: E402
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema  # noqa: E402

from datasnap.ml.mlflowsource import TableSource, source_of  # noqa: E402

if TYPE_CHECKING:
    from datasnap.versions import TableVersion

__all__ = ["TableDataset", "TableSource", "from_table"]

#: MLflow asks for no more digits than this.
_DIGEST = 10
#: Of a snapshot's ID, in the name of a dataset.
_SHORT = 8


class TableDataset(Dataset):
    """A pinned table, for `mlflow.log_input`; `from_table` makes it."""

    def __init__(self, table: TableVersion, name: str | None = None) -> None:
        """`from_table` makes one.

        Args:
            name: None: the table's name and the beginning of its snapshot's ID. (MLflow takes
                datasets of the same name and digest for one, whatever their sources.)
        """
        self.table = table
        name = name or f"{table.name}@{table.snapshot[:_SHORT]}"
        source = source_of(table)
        self._place = source.repository
        super().__init__(source, name)

    @property
    def profile(self) -> dict[str, int | str]:
        """Its size, and where it is: MLflow's pages show a profile line by line, and a source only
        of the kinds that they know."""
        rows, columns = self.table.row_count, len(self.table.schema)
        size = {"num_rows": rows, "num_elements": rows * columns}
        return {**size, "snapshot": self.table.snapshot, "repository": self._place}

    @property
    def schema(self) -> Schema:
        """Its columns, as MLflow names their types."""
        return Schema([_column(each) for each in self.table.schema])

    def to_dict(self) -> dict[str, str]:
        """Itself as MLflow keeps it."""
        schema = json.dumps({"mlflow_colspec": self.schema.to_dict()})
        return {**super().to_dict(), "schema": schema, "profile": json.dumps(self.profile)}

    def _compute_digest(self) -> str:
        return self.table.id[:_DIGEST]


def from_table(table: TableVersion, name: str | None = None) -> TableDataset:
    """A pinned table as an input of a run: `mlflow.log_input(from_table(table))`.

    Args:
        name: what MLflow calls it; None: as in rides@3f0a91c2.
    """
    return TableDataset(table, name)


def _column(field: pa.Field) -> ColSpec:
    return ColSpec(_type(field.type), name=field.name, required=not field.nullable)


def _type(type: pa.DataType) -> DataType | Array | AnyType:
    """What MLflow calls a type; Any: it has no name for it."""
    is_a = pa.types
    if is_a.is_dictionary(type):
        return _type(type.value_type)
    if is_a.is_list(type) or is_a.is_large_list(type) or is_a.is_fixed_size_list(type):
        inner = _type(type.value_type)
        return inner if isinstance(inner, AnyType) else Array(inner)
    checks = [
        (is_a.is_boolean, DataType.boolean),
        (_fits_integer, DataType.integer),
        (is_a.is_integer, DataType.long),
        (lambda each: each in (pa.float16(), pa.float32()), DataType.float),
        (is_a.is_float64, DataType.double),
        (lambda each: is_a.is_string(each) or is_a.is_large_string(each), DataType.string),
        (lambda each: is_a.is_date(each) or is_a.is_timestamp(each), DataType.datetime),
        (lambda each: is_a.is_binary(each) or is_a.is_large_binary(each), DataType.binary),
    ]
    return next((name for check, name in checks if check(type)), _any())


def _fits_integer(type: pa.DataType) -> bool:
    """Whether 32 bits with a sign hold it."""
    return type in (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint16())


def _any() -> AnyType:
    return AnyType()  # type: ignore[no-untyped-call]


def _register() -> None:
    """Tell MLflow of the source, unless it knows by the entry point. (It keeps classes, and its
    annotations say that they are objects.)"""
    known: list[object] = list(registry.get_registered_sources())
    if TableSource not in known:
        registry.register_dataset_source(TableSource)  # type: ignore[arg-type]


_register()
