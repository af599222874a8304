"""Receipts: proof of the rows that a loader handed out, and refusal of any others."""

from __future__ import annotations

import base64
import hashlib
import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blake3
import msgspec
import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import BadInput, DatasnapError, ReceiptMismatch, StorageError, UsageError
from datasnap.ml.loaders.merkle import Merkle
from datasnap.ml.loaders.receipts import (
    Receipt,
    Stretch,
    parse_receipt,
    read_receipt,
    verify_receipt,
)
from datasnap.ml.torch import TableDataset, TableLoader
from datasnap.repository import Repository
from tests.cli.test_verbs import Shell
from tests.conftest import write


def test_a_tree_that_grows_has_the_root_of_one_built_at_once() -> None:
    leaves = [hashlib.sha256(bytes([n])).digest() for n in range(40)]

    def root(some: list[bytes]) -> bytes:
        if len(some) < 2:
            return blake3.blake3(b"\0" + some[0] if some else b"").digest()
        half = 1 << (len(some) - 1).bit_length() - 1
        return blake3.blake3(b"\1" + root(some[:half]) + root(some[half:])).digest()

    tree = Merkle()
    for count, leaf in enumerate(leaves):
        assert tree.root == root(leaves[:count])
        assert Merkle(tree.peaks, tree.count).root == tree.root
        tree.add(leaf)


@pytest.fixture
def repo(tmp_path: Path, rides: pa.Table) -> Repository:
    repo = datasnap.init(tmp_path / "repo")
    write(repo, "rides", rides.slice(0, 40_000), key="ride_id")
    return repo


def loader(repo: Repository, workers: int = 0, **options: Any) -> TableLoader:
    given = {"columns": ["fare", "place"], "others": "list", "shuffle": True, "seed": 5}
    receipt = options.pop("receipt", True)
    pinned = repo.table(options.pop("at", "rides"))
    data = TableDataset(pinned, **{**given, "batch_size": 3_000, "window": 10_000, **options})
    return TableLoader(data, num_workers=workers, receipt=receipt)


def test_a_receipt_is_the_same_for_any_number_of_workers_and_is_verified(repo: Repository) -> None:
    made = loader(repo, 2)
    for _ in range(2):
        assert sum(len(batch["fare"]) for batch in made) == 40_000
    receipt = made.receipt()
    assert receipt.stretches == (Stretch(0, 0, 14), Stretch(1, 0, 14))
    assert (receipt.batches, receipt.rows) == (28, 80_000)
    alone = loader(repo)
    for _ in range(2):
        list(alone)
    assert alone.receipt() == receipt
    assert verify_receipt(repo, receipt).ok


def test_parts_of_epochs_are_proved_too(repo: Repository) -> None:
    made = loader(repo, where="fare > 10", rank=1, ranks=2)
    batches = iter(made)
    next(batches), next(batches)
    state = msgspec.json.decode(msgspec.json.encode(made.state_dict()))
    other = loader(repo, 1, where="fare > 10", rank=1, ranks=2)
    other.load_state_dict(state)
    list(other)
    receipt = other.receipt()
    assert receipt.stretches[:2] == (Stretch(0, 0, 2), Stretch(0, 4, receipt.batches - 2))
    whole = loader(repo, where="fare > 10", rank=1, ranks=2)
    list(whole)
    assert whole.receipt().root == receipt.root
    assert verify_receipt(repo, receipt).ok
    with pytest.raises(UsageError, match="has a receipt, which this loader would not go on with"):
        loader(repo, where="fare > 10", rank=1, ranks=2, receipt=False).load_state_dict(state)
    state["receipt"]["peaks"][0] = "0" * 64
    with pytest.raises(BadInput, match="the receipt of the state is damaged"):
        other.load_state_dict(state)


def test_no_field_of_a_receipt_can_be_edited(repo: Repository) -> None:
    """Any other value is refused, or other rows follow from it."""
    write(repo, "t", pa.table({"x": list(range(50))}))
    data = TableDataset(
        repo.table("t"), where="x > 3", batch_size=4, shuffle=True, seed=2, rank=1, ranks=2
    )
    made = TableLoader(data, receipt=True)
    list(made), list(made)
    said = msgspec.json.decode(msgspec.json.encode(made.receipt()))
    # Where the repository is says nothing about rows; and these are all in one window and lane.
    free = {("origin", "pinned", "url"), ("origin", "order", "window"), ("leaves",)}
    tried = 0
    for path in set(_paths(said)) - free:
        for value in (-1, 0, 10**30, 1 << 62, 1.5, "text", "", None, [], {}):
            if path[-1] == "lanes" and value == 1 << 62:
                continue
            edited = json.dumps(_edited(said, path, value)).encode()
            tried += 1
            try:
                found = verify_receipt(repo, parse_receipt(edited))
            except DatasnapError:
                continue
            assert not found.ok or _edited(said, path, value) == said, (path, value)
    assert tried > 200


def _paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in items:
        yield (*at, name)
        if isinstance(inner, dict | list):
            yield from _paths(inner, (*at, name))


def _edited(value: Any, path: tuple[Any, ...], new: object) -> Any:
    made = json.loads(json.dumps(value))
    inner = made
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = new
    return made


def test_other_rows_columns_or_orders_have_other_roots(repo: Repository) -> None:
    def root(**options: Any) -> str:
        made = loader(repo, **options)
        list(made)
        return made.receipt().root

    others = [{}, {"seed": 6}, {"where": "fare > 1"}, {"columns": ["place"]}, {"shuffle": False}]
    roots = [root(**options) for options in others]
    assert len(set(roots)) == len(roots)
    with repo.transaction("main") as tx:
        tx.update("rides", {"fare": "fare + 1"}, "ride_id = (SELECT max(ride_id) FROM rides)")
    assert root() not in roots


def test_what_a_receipt_does_not_say_is_not_proved(repo: Repository) -> None:
    made = loader(repo)
    list(made)
    receipt = made.receipt()

    def problem(**changes: Any) -> str:
        return verify_receipt(repo, msgspec.structs.replace(receipt, **changes)).problem

    assert problem(root="0" * 64) == "the root is another"
    assert "the receipt says 14 batches of 1 rows" in problem(rows=1)
    fewer = (Stretch(0, 0, 13),)
    assert problem(stretches=fewer, leaves="") == "the receipt says 14 batches of 40,000 rows"
    assert "batch 0 of epoch 1 has other rows" in problem(stretches=(Stretch(1, 0, 14),))
    order = msgspec.structs.replace(receipt.origin, order=loader(repo, seed=9)._table.order)
    assert "batch 0 of epoch 0 has other rows" in problem(origin=order)
    pinned = msgspec.structs.replace(
        receipt.origin,
        pinned=type(receipt.origin.pinned)(
            **{**vars(receipt.origin.pinned), "columns": ("place", "fare")}
        ),
    )
    assert "has other rows" in problem(origin=pinned)
    assert problem(origin=pinned, leaves="") == "the root is another"


def test_a_loader_refuses_what_is_not_of_its_receipt(repo: Repository) -> None:
    made = loader(repo)
    list(made)
    receipt = made.receipt()
    again = loader(repo, 1, receipt=receipt)
    assert len(list(again)) == 14
    assert again.receipt() == receipt
    with pytest.raises(ReceiptMismatch, match="the receipt ends here"):
        next(iter(again))
    with pytest.raises(ReceiptMismatch, match="another dataset: seed 5, not 6"):
        loader(repo, seed=6, receipt=receipt)
    with pytest.raises(
        ReceiptMismatch, match="columns fare, place, not fare; where none, not fare > 2"
    ):
        loader(repo, columns=["fare"], where="fare > 2", receipt=receipt)
    later = loader(repo, receipt=receipt)
    later.set_epoch(1)
    with pytest.raises(ReceiptMismatch, match="batch 0 of epoch 1 is next"):
        next(iter(later))
    with repo.transaction("main") as tx:
        tx.update("rides", {"fare": "0"}, "ride_id = (SELECT max(ride_id) FROM rides)")
    with pytest.raises(ReceiptMismatch, match="another dataset: table 'rides'"):
        loader(repo, receipt=receipt)


def test_the_batch_that_differs_is_not_handed_out(repo: Repository) -> None:
    made = loader(repo)
    list(made)
    receipt = made.receipt()
    wrong = bytearray(b"".join(receipt.all_leaves()))
    wrong[5 * 32] ^= 1
    damaged = msgspec.structs.replace(receipt, leaves=base64.b64encode(wrong).decode())
    batches = iter(loader(repo, receipt=damaged))
    for _ in range(5):
        next(batches)
    with pytest.raises(ReceiptMismatch, match="batch 5 of epoch 0 of 'rides' has other rows"):
        next(batches)
    rootless = msgspec.structs.replace(receipt, leaves="", root="0" * 64)
    with pytest.raises(ReceiptMismatch, match="are not those of the receipt"):
        list(loader(repo, receipt=rootless))


def test_the_verb_proves_a_receipt(repo: Repository, tmp_path: Path) -> None:
    made = loader(repo, where="place <> 'place 3'")
    list(made)
    file = tmp_path / "receipt.json"
    made.receipt().save(file)
    assert read_receipt(file) == made.receipt()
    shell = Shell(tmp_path)
    said = shell("verify-receipt", "receipt.json")
    assert "where    place <> 'place 3'" in said
    assert "✓ exactly these" in said
    told = json.loads(shell("verify-receipt", "receipt.json", "--json"))
    assert (told["ok"], told["pinned"]["table"]) == (True, "rides")
    stored = msgspec.json.decode(file.read_bytes())
    stored["stretches"][0]["count"] -= 1
    file.write_bytes(msgspec.json.encode(stored))
    assert "not the rows of the receipt" in shell.fails("verify-receipt", "receipt.json")
    assert json.loads(shell("verify-receipt", "receipt.json", "--json", code=1))["ok"] is False
    file.write_text("{}")
    assert "is no receipt" in shell.fails("verify-receipt", "receipt.json")
    assert "cannot read" in shell.fails("verify-receipt", "missing.json")
    msgspec.structs.replace(made.receipt(), format=2).save(file)
    with pytest.raises(BadInput, match="newer datasnap"):
        read_receipt(file)


def test_the_verb_names_the_runs_that_kept_a_receipt(repo: Repository, tmp_path: Path) -> None:
    with datasnap.run("one", repo=repo) as run:
        made = loader(repo, batch_size=30_000)
        next(iter(made))
        made.receipt().save(tmp_path / "part.json")
        list(made)
    made.receipt().save(tmp_path / "whole.json")
    with datasnap.run("other", repo=repo):
        list(loader(repo, batch_size=30_000, seed=6))
    shell = Shell(tmp_path)
    for file in ("part.json", "whole.json"):
        assert json.loads(shell("verify-receipt", file, "--json"))["runs"] == [run.id]
    said = f"70,000 rows, receipt {made.receipt().root[:12]}"
    assert said in shell("-C", "repo", "runs", "show", "one")
    assert f"run {run.id} kept this receipt" in shell("verify-receipt", "whole.json")
    list(made)
    made.receipt().save(tmp_path / "later.json")
    assert json.loads(shell("verify-receipt", "later.json", "--json"))["runs"] == []


def test_a_receipt_is_written_whole_or_not_at_all(repo: Repository, tmp_path: Path) -> None:
    made, file = loader(repo), tmp_path / "receipt.json"
    made.receipt().save(file)
    before = file.read_bytes()
    list(made)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        with pytest.raises(StorageError, match="cannot write"):
            made.receipt().save(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.glob("*rec*")] == ["receipt.json"]


def test_a_receipt_that_was_saved_is_one(repo: Repository, tmp_path: Path) -> None:
    receipt = loader(repo).receipt()
    receipt.save(tmp_path / "empty.json")
    assert isinstance(read_receipt(tmp_path / "empty.json"), Receipt)
    assert verify_receipt(repo, receipt).ok
