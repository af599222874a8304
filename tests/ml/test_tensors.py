"""Tensors of columns of many types, with and without nulls."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest
import torch

from datasnap.errors import BadInput, UsageError
from datasnap.ml.torch import TableDataset, TableLoader
from datasnap.repository import Repository
from datasnap.versions import TableVersion
from tests.conftest import write

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture
def mixed(repo: Repository) -> TableVersion:
    """A few rows of many types, with nulls."""
    pairs = [[1.0, 2.0], [3.0, 4.0], None, [7.0, None]]
    rows = pa.table(
        {
            "whole": pa.array([1, None, 3, 4], pa.int32()),
            "half": pa.array([0.5, 1.5, None, 2.5], pa.float32()),
            "price": pa.array([Decimal("1.25"), *map(Decimal, (2, 3, 4))], pa.decimal128(10, 2)),
            "day": pa.array([1, 2, 3, 4], pa.date32()),
            "vector": pa.array(pairs, pa.list_(pa.float32(), 2)),
            "grid": pa.array([[[1], [2]]] * 4, pa.list_(pa.list_(pa.int8(), 1), 2)),
            "coded": pa.array([7, 8, 7, 8]).dictionary_encode(),
            "word": ["a", "b", None, "d"],
        }
    )
    write(repo, "t", rows)
    return repo.table("t")


def test_types_have_tensors_of_their_own(mixed: TableVersion) -> None:
    columns = ["price", "day", "grid", "coded"]
    (batch,) = TableDataset(mixed, columns=columns)
    assert batch["price"].tolist() == [1.25, 2.0, 3.0, 4.0]
    assert (batch["day"].dtype, batch["day"].tolist()) == (torch.int32, [1, 2, 3, 4])
    assert (batch["grid"].shape, batch["grid"].dtype) == ((4, 2, 1), torch.int8)
    assert batch["coded"].tolist() == [7, 8, 7, 8]


@pytest.mark.filterwarnings("error")
def test_nulls_are_refused_or_nan_or_masked(mixed: TableVersion) -> None:
    with pytest.raises(BadInput, match="column 'half' of type float has nulls"):
        list(TableDataset(mixed, columns=["half"]))
    columns = ["half", "vector"]
    (batch,) = TableDataset(mixed, columns=columns, nulls="nan")
    assert torch.isnan(batch["half"]).tolist() == [False, False, True, False]
    assert torch.isnan(batch["vector"]).tolist() == [[False] * 2] * 2 + [[True] * 2, [False, True]]
    with pytest.raises(BadInput, match="'whole' of type int32 has nulls, and no NaN"):
        list(TableDataset(mixed, columns=["whole"], nulls="nan"))
    (batch,) = TableDataset(mixed, columns=["whole", "day", "vector"], nulls="mask")
    assert batch["whole"].tolist() == [1, 0, 3, 4]
    assert batch["whole.valid"].tolist() == [True, False, True, True]
    assert batch["day.valid"].all()
    assert batch["vector.valid"].tolist() == [[True] * 2] * 2 + [[False] * 2, [True, False]]


def test_text_is_refused_left_out_or_listed(mixed: TableVersion) -> None:
    with pytest.raises(UsageError, match="no tensor can be made of column 'word'") as error:
        TableDataset(mixed)
    assert "others='skip'" in error.value.hint
    (batch,) = TableDataset(mixed, others="skip", nulls="mask")
    assert "word" not in batch and len(batch["coded"]) == 4
    data = TableDataset(mixed, columns=["word", "day"], others="list", nulls="mask")
    (batch,) = TableLoader(data, num_workers=1)
    assert batch["word"] == ["a", "b", None, "d"]
