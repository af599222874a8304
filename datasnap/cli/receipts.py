"""Verbs about receipts: whether a model saw the rows that a loader says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datasnap.cli.options import Json, the_repository
from datasnap.cli.output import SHORT, plain, plural, print_json, progress_bar, say

if TYPE_CHECKING:
    from datasnap.ml.loaders.receipts import Receipt, Verified


def verify_receipt(
    file: Annotated[Path, typer.Argument(help="What `loader.receipt().save(FILE)` wrote.")],
    json: Json = False,
) -> None:
    """Prove which rows a loader handed out: derive them anew, and compare with its receipt.

    The repository is the one that the receipt names, unless -C names another. Runs of it that kept
    this receipt are named.
    """
    from datasnap.errors import ReceiptMismatch
    from datasnap.ml.loaders.handed import runs_with_receipt
    from datasnap.ml.loaders.receipts import read_receipt
    from datasnap.ml.loaders.receipts import verify_receipt as derive

    receipt = read_receipt(file)
    repository = the_repository(receipt.origin.pinned.url)
    with progress_bar() as progress:
        found = derive(repository, receipt, progress=progress)
    kept = runs_with_receipt(repository, receipt) if found.ok else []
    if json:
        print_json({**_as_json(receipt, found), "runs": kept})
    else:
        _say(receipt)
    if not found.ok:
        raise ReceiptMismatch(f"these are not the rows of the receipt: {found.problem}")
    if not json:
        rows = plural(receipt.rows, "row")
        say(f"[green]✓[/] exactly these {rows}, in this order; root {receipt.root[:SHORT]}")
        for run in kept:
            say(f"  run {run} kept this receipt")


def _say(receipt: Receipt) -> None:
    pinned, order = receipt.origin.pinned, receipt.origin.order
    say(
        f"[bold]{plain(pinned.table)}[/]@{pinned.snapshot[:SHORT]}  table {pinned.table_id[:SHORT]}"
    )
    say(f"  columns  {plain(', '.join(pinned.columns))}")
    if pinned.where is not None:
        say(f"  where    {plain(pinned.where)}")
    how = f"shuffled, seed {order.seed}" if order.shuffle else "as stored"
    say(f"  order    {how}; batches of {plural(order.batch_size, 'row')}")
    share = receipt.origin.share
    if share.ranks > 1:
        say(f"  rank     {share.rank} of {share.ranks}")
    for stretch in receipt.stretches:
        begun = f", from batch {stretch.first:,} on" if stretch.first else ""
        say(f"  epoch    {stretch.epoch}: {plural(stretch.count, 'batch')}{begun}")


def _as_json(receipt: Receipt, found: Verified) -> dict[str, object]:
    import msgspec

    origin = msgspec.to_builtins(receipt.origin)
    return {
        "ok": found.ok,
        "problem": found.problem,
        "batches": receipt.batches,
        "rows": receipt.rows,
        "root": receipt.root,
        "stretches": msgspec.to_builtins(receipt.stretches),
        **origin,
    }
