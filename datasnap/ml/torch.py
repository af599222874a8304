"""Pinned tables for PyTorch.

    from datasnap.ml.torch import TableDataset, TableLoader

    rides = datasnap.open().snapshot(PINNED).table("rides")
    dataset = TableDataset(rides, columns=["fare", "km"], where="km > 0",
                           batch_size=8192, shuffle=True, seed=1)
    loader = TableLoader(dataset, num_workers=4, pin_memory=True, receipt=True)
    for epoch in range(10):
        for batch in loader:            # {"fare": tensor, "km": tensor}
            ...
    loader.receipt().save("receipt.json")

The same table, condition, seed and epoch give the same tensors in the same order: in any process,
with any number of workers, next year too (see `datasnap.ml.loaders.order`). `RowDataset` is
for samplers that choose rows by number.
"""

from __future__ import annotations

from datasnap.extras import require

require("torch")

from datasnap.ml.loaders.dataset import TableDataset  # noqa: E402
from datasnap.ml.loaders.loader import TableLoader  # noqa: E402
from datasnap.ml.loaders.rows import RowDataset, collate  # noqa: E402

__all__ = ["RowDataset", "TableDataset", "TableLoader", "collate"]
