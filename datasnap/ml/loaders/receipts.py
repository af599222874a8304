"""Receipts: proof of which rows a loader handed out, in which order.

Each batch has a leaf: the BLAKE3 of

    "datasnap receipt leaf 1" 00 | u64 number of rows | for each column, 32 bytes: the chunk ID
                                                        of its values (`datasnap.tables.identity`)

and a receipt holds the root of the Merkle tree over the leaves in the order in which the batches
were handed out, beside all that they followed from: table, columns, condition, order, and which
batches of which epochs. Whoever has the data derives the batches anew and compares: other values,
other rows, another order, one batch more or less give another root. (What `transform` makes of a
batch is not in it, nor what the training loop did with it.)
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import blake3
import msgspec

from datasnap.errors import BadInput, ReceiptMismatch, StorageError, UsageError
from datasnap.ml.loaders.batches import read_batches
from datasnap.ml.loaders.merkle import Merkle
from datasnap.ml.loaders.order import Count, Epoch
from datasnap.ml.loaders.origin import Origin, differences
from datasnap.ml.loaders.source import Source, open_pinned
from datasnap.progress import Progress, silent

if TYPE_CHECKING:
    import pyarrow as pa

    from datasnap.repository import Repository

FORMAT = 1
_DOMAIN = b"datasnap receipt leaf 1\0"
#: Leaves of so many batches are kept in a receipt, to say which batch differs; beyond, only the
#: root is.
MAX_LEAVES = 1 << 16
_LEAF_BYTES = 32


#: The root of a tree or of a part of it, as files say it.
_Root = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Stretch(msgspec.Struct, frozen=True):
    """Batches of one epoch that were handed out one after the other.

    Attributes:
        epoch: its number.
        first: the batch at which it was begun, or gone on with: 0, or what ranks had seen before.
        count: how many were handed out, to this rank.
    """

    epoch: Count
    first: Count
    count: Count


class Receipt(msgspec.Struct, frozen=True):
    """What a loader handed out.

    Attributes:
        stretches: which batches, in the order in which they were handed out.
        batches, rows: how many in all.
        root: of the Merkle tree over their leaves, 64 hex digits.
        leaves: of each batch, end to end in base64; "" when there are too many.
    """

    origin: Origin
    stretches: tuple[Stretch, ...]
    batches: Count
    rows: Count
    root: _Root
    leaves: str = ""
    format: Annotated[int, msgspec.Meta(ge=1)] = FORMAT

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, as JSON; whole, or not at all.

        Raises:
            StorageError: the file cannot be written.
        """
        file = Path(path).resolve()  # a link stays one
        temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        try:
            with temporary.open("wb") as out:
                out.write(msgspec.json.format(msgspec.json.encode(self)) + b"\n")
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(file)
        except OSError as error:
            raise StorageError(f"cannot write {os.fspath(path)}: {error.strerror}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def all_leaves(self) -> list[bytes]:
        """The leaf of each batch; none where they were not kept."""
        data = base64.b64decode(self.leaves)
        return [data[at : at + _LEAF_BYTES] for at in range(0, len(data), _LEAF_BYTES)]

    def places(self) -> Iterator[tuple[int, int]]:
        """Epoch and number of each batch."""
        share = self.origin.share
        for stretch in self.stretches:
            for place in range(stretch.count):
                yield stretch.epoch, stretch.first + share.rank + place * share.ranks


def read_receipt(path: str | os.PathLike[str]) -> Receipt:
    """A receipt that was saved.

    Raises:
        BadInput: the file cannot be read, or is no receipt.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {os.fspath(path)}: {error.strerror}") from error
    return parse_receipt(data, os.fspath(path))


def parse_receipt(data: bytes, name: str = "this") -> Receipt:
    """A receipt from its JSON.

    Raises:
        BadInput: it is none.
    """
    try:
        found = msgspec.json.decode(data, type=Receipt)
        kept = len(base64.b64decode(found.leaves, validate=True))
    except (msgspec.MsgspecError, ValueError, UsageError, RecursionError) as error:
        raise BadInput(f"{name} is no receipt: {error}") from error
    if found.format > FORMAT:
        raise BadInput(
            f"{name} is a receipt of a newer datasnap", hint="Upgrade with pip install -U datasnap."
        )
    if kept not in (0, found.batches * _LEAF_BYTES):
        raise BadInput(f"{name} is no receipt: it has not a leaf for each batch")
    return found


def leaf_of(rows: pa.RecordBatch) -> bytes:
    """The leaf of a batch."""
    from datasnap.parquet import to_stored
    from datasnap.tables.identity import chunk_id

    hasher = blake3.blake3(_DOMAIN + rows.num_rows.to_bytes(8, "little"))
    for column in rows.columns:
        hasher.update(chunk_id(to_stored(column)))
    return hasher.digest()


class Ledger:
    """Keeps a receipt of batches as they are handed out, and compares them with an earlier one.

    Args:
        expected: what must be handed out, and nothing else.

    Raises:
        ReceiptMismatch: it is of other rows, or of another order.
    """

    def __init__(self, origin: Origin, expected: Receipt | None = None) -> None:
        self._origin, self._expected = origin, expected
        if expected is not None:
            _compare(origin, expected.origin)
        self._wanted = iter(()) if expected is None else _wanted(expected)
        self._stretches: list[Stretch] = []
        self._tree, self._rows, self._leaves = Merkle(), 0, bytearray()

    def begin(self, epoch: int, first: int) -> None:
        """An epoch is begun, or gone on with, at a batch."""
        self._stretches.append(Stretch(epoch, first, 0))

    def add(self, leaf: bytes, rows: int) -> None:
        """A batch is about to be handed out.

        Raises:
            ReceiptMismatch: it is not the one that is expected.
        """
        epoch, first, count = msgspec.structs.astuple(self._stretches[-1])
        share = self._origin.share
        if self._expected is not None:
            self._check(leaf, (epoch, first + share.rank + count * share.ranks))
        self._stretches[-1] = Stretch(epoch, first, count + 1)
        self._tree.add(leaf)
        self._rows += rows
        if self._tree.count <= MAX_LEAVES:
            self._leaves += leaf
        self._check_root()

    @property
    def root(self) -> str:
        """Of the receipt of what was handed out so far."""
        return self._tree.root.hex()

    def receipt(self) -> Receipt:
        """What was handed out so far."""
        count = self._tree.count
        return Receipt(
            self._origin,
            tuple(stretch for stretch in self._stretches if stretch.count),
            count,
            self._rows,
            self.root,
            base64.b64encode(self._leaves).decode() if count <= MAX_LEAVES else "",
        )

    def state(self) -> LedgerState:
        """What `restore` needs."""
        return LedgerState(self.receipt(), tuple(peak.hex() for peak in self._tree.peaks))

    def restore(self, state: LedgerState) -> None:
        """Go on where another one was.

        Raises:
            BadInput: the state was damaged.
            ReceiptMismatch: that was of other rows, or of another order; or what was handed out
                then is not what is expected.
        """
        kept = parse_receipt(msgspec.json.encode(state.receipt), "the receipt of the state")
        tree = Merkle([bytes.fromhex(peak) for peak in state.peaks], kept.batches)
        if len(state.peaks) != kept.batches.bit_count() or tree.root.hex() != kept.root:
            raise BadInput("the receipt of the state is damaged: its root is another")
        _compare(self._origin, kept.origin)
        self._stretches = list(kept.stretches)
        self._tree, self._rows = tree, kept.rows
        self._leaves = bytearray(base64.b64decode(kept.leaves))
        if self._expected is not None:
            self._wanted = _wanted(self._expected)
            for place, leaf in _wanted(kept):
                self._check(leaf, place)

    def _check(self, leaf: bytes | None, place: tuple[int, int]) -> None:
        """Compare the next batch with the one that is expected."""
        wanted, kept = next(self._wanted, (None, None))
        if wanted is None:
            raise ReceiptMismatch(
                "the receipt ends here: no other rows may be handed out",
                hint="Stop there, or give no receipt to compare with.",
            )
        if wanted != place:
            raise ReceiptMismatch(
                f"batch {place[1]:,} of epoch {place[0]} is next, but the receipt has batch "
                f"{wanted[1]:,} of epoch {wanted[0]}"
            )
        if kept is not None and leaf is not None and kept != leaf:
            raise ReceiptMismatch(
                f"batch {place[1]:,} of epoch {place[0]} of '{self._origin.pinned.table}' has "
                "other rows than the receipt says",
                hint="Give no receipt, if other rows are meant.",
            )

    def _check_root(self) -> None:
        """At the end of an earlier receipt, whether all was the same: its leaves may be lost."""
        wanted = self._expected
        if wanted is None or wanted.batches != self._tree.count:
            return
        if wanted.root != self.root or wanted.rows != self._rows:
            raise ReceiptMismatch("the rows that were handed out are not those of the receipt")


class LedgerState(msgspec.Struct, frozen=True):
    """A receipt that goes on.

    Attributes:
        peaks: of its tree, see `Merkle`.
    """

    receipt: Receipt
    peaks: tuple[_Root, ...]


class Verified(msgspec.Struct, frozen=True):
    """Whether the batches derived anew are those of a receipt.

    Attributes:
        batches, rows: that were derived.
        problem: what differs; "": nothing does.
    """

    batches: int
    rows: int
    problem: str = ""

    @property
    def ok(self) -> bool:
        """Nothing differs."""
        return not self.problem


def verify_receipt(
    repository: Repository, receipt: Receipt, *, progress: Progress = silent
) -> Verified:
    """Derive all batches of a receipt anew from the repository, and compare.

    Raises:
        UnknownName, PrunedSnapshot, CorruptData: the data are not there any more, or are damaged.
    """
    origin = receipt.origin
    pinned, share = origin.pinned, origin.share
    found = repository.snapshot(pinned.snapshot)
    if (there := found.table(pinned.table).id) != pinned.table_id:
        return Verified(
            0, 0, f"table '{pinned.table}' of {found.id[:12]} is {there[:12]}, not "
            f"{pinned.table_id[:12]}"
        )  # fmt: skip
    source = Source(open_pinned(repository, pinned), pinned.columns, pinned.where)
    ledger, leaves, done = Ledger(origin), receipt.all_leaves(), 0
    for stretch in receipt.stretches:
        epoch = Epoch(source.counts, origin.order, stretch.epoch)
        numbers = share.numbers(epoch.batches, stretch.first)[: stretch.count]
        ledger.begin(stretch.epoch, stretch.first)
        for batch in read_batches(source, epoch, numbers, os.cpu_count() or 1):
            leaf = leaf_of(batch.rows)
            if leaves and (done >= len(leaves) or leaves[done] != leaf):
                where = f"batch {batch.number:,} of epoch {stretch.epoch} has other rows"
                return _verified(ledger, where)
            ledger.add(leaf, batch.rows.num_rows)
            done += 1
            progress("receipt", done, receipt.batches)
    derived = ledger.receipt()
    if derived.stretches != receipt.stretches:
        return _verified(ledger, "it says of some epoch that more batches were handed out")
    if (derived.batches, derived.rows) != (receipt.batches, receipt.rows):
        return _verified(
            ledger, f"the receipt says {receipt.batches:,} batches of {receipt.rows:,} rows"
        )
    return _verified(ledger, "" if derived.root == receipt.root else "the root is another")


def _verified(ledger: Ledger, problem: str) -> Verified:
    derived = ledger.receipt()
    return Verified(derived.batches, derived.rows, problem)


def _compare(own: Origin, expected: Origin) -> None:
    """Refuse rows that cannot be those of a receipt."""
    differs = differences(own, expected)
    if differs:
        raise ReceiptMismatch(
            f"the receipt is of another dataset: {differs}",
            hint="Make the dataset as the receipt says, or give no receipt to compare with.",
        )


def _wanted(receipt: Receipt) -> Iterator[tuple[tuple[int, int], bytes | None]]:
    """Epoch, number and leaf of each batch; None where leaves were not kept."""
    return zip_longest(receipt.places(), receipt.all_leaves())
