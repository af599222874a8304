"""The reasons why chunks are new: of a table's rows, and of the values of each column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import numpy as np

from datasnap.diff.rows import common_key
from datasnap.lifecycle.aligning import Aligned, align
from datasnap.lifecycle.values import ValueKind, compare_values
from datasnap.snapshots.objects import FieldId
from datasnap.tables.manifest import fields_by_name, key_names

if TYPE_CHECKING:
    from datasnap.diff.columns import Pair
    from datasnap.lifecycle.explain import Change

#: Of a table: its key or its order is another, rows came or went, the same rows are cut at other
#: places, or there are edits that are kept as such.
RowKind = Literal[
    "key", "order", "layout", "rows at end", "rows between", "other rows", "cut anew", "edited rows"
]
#: Of a column as well: it is new, was cast, or has other values.
Kind = Literal["new column", "cast", "edited cells", "folded", RowKind, ValueKind]

#: The share of rows to be found before, for a version not to be of other rows altogether.
_FEW = 0.05


class Reason(msgspec.Struct, frozen=True):
    """Why something was stored anew.

    Attributes:
        text: the same in words.
    """

    kind: Kind
    text: str


class Reasons(NamedTuple):
    """Of all columns of which something is new, and of single ones by field."""

    table: list[Reason]
    columns: dict[FieldId, list[Reason]]
    sampled: bool


def find_reasons(change: Change) -> Reasons:
    """Why chunks and edits of the new version are not those of the version before."""
    alike = _same_key(change) and change.before.sorted == change.after.sorted
    aligned = align(change) if alike else None
    table = [*_of_rows(change, aligned), *_of_edited_rows(change)]
    columns = dict(_of_columns(change, aligned))
    return Reasons(table, columns, aligned is not None and aligned.sampled)


def _of_rows(change: Change, aligned: Aligned | None) -> Iterator[Reason]:
    before, after = change.before, change.after
    compared = {pair.new for pair in change.pairs}
    if not any(fields & compared for fields in change.fresh.values()):
        return
    if not _same_key(change):
        was, now = (", ".join(key_names(table)) or "none" for table in (before, after))
        yield Reason("key", f"another key ({was} → {now}): rows are ordered and cut by it")
    elif before.sorted != after.sorted and after.key:
        what = "in the order of the key" if after.sorted else "as they come, not in key order"
        yield Reason("order", f"rows are kept {what} now")
    elif aligned is not None and aligned.found.mean() > _FEW and not aligned.in_order:
        hint = "they are kept as they come (--keep-order)"
        if not after.key:
            hint = "the table has no key, give it one with --key"
        whole = before.rows == after.rows and aligned.found.all()
        yield Reason("order", f"{'the same' if whole else 'most'} rows in another order: {hint}")
    elif change.cut_anew:
        yield _of_cuts(change, aligned)


def _same_key(change: Change) -> bool:
    before, after = change.before, change.after
    if not before.key and not after.key:
        return True
    return bool(common_key(before, after, change.pairs))


def _of_cuts(change: Change, aligned: Aligned | None) -> Reason:
    """Why segments hold other rows than any did before."""
    cut, segments = change.cut_anew, len(change.new.views)
    many = f"{len(cut):,} of {segments:,} segments" if segments > 1 else "its only segment"
    came = change.after.rows - change.before.rows
    if not change.before.rows:
        return Reason("rows at end", f"{_plural(came, 'new row')}: the table was empty")
    if aligned is None:
        return Reason("other rows", f"the rows of {many} are others")
    found = aligned.found
    if came > 0 and _only_at_end(change, found):
        return Reason("rows at end", f"{_plural(came, 'new row')} at the end")
    if found.mean() <= _FEW:
        return Reason("other rows", f"{_share(1 - found.mean())} of the rows were not there before")
    if came == 0 and found.all():
        if change.before.profile != change.after.profile:
            return Reason("layout", "the same rows, cut by other columns than before")
        boundary = _changed_boundary(change, aligned)
        if boundary:
            hint = "give the table a key with --key"
            return Reason(
                "cut anew", f"rows are cut where '{boundary}' says, which changed: {hint}"
            )
        return Reason("cut anew", f"the same rows, cut or folded anew in {many}")
    where = f"between: boundaries moved in {many}" if segments > 1 else f"in {many}"
    return Reason("rows between", f"rows came or went {where}")


def _only_at_end(change: Change, found: np.ndarray) -> bool:
    """Whether new rows stand behind all others, and none went."""
    cut, segments = change.cut_anew, len(change.new.views)
    if cut != list(range(cut[0], segments)) or found[: found.sum()].sum() < found.sum():
        return False
    looked = sum(change.new.views[number].segment.rows for number in change.fresh)
    came = change.after.rows - change.before.rows
    return bool((1 - found.mean()) * looked <= 1.01 * came)


def _changed_boundary(change: Change, aligned: Aligned) -> str | None:
    """A column without a key's stability that cuts the rows, and has other values."""
    if change.after.key:
        return None
    names = {id: name for name, id in fields_by_name(change.after).items()}
    for pair in change.pairs:
        if pair.new in change.after.profile.boundary:
            (before,) = change.old.fetch(aligned.old, [pair.old])
            (after,) = change.new.fetch(aligned.new, [pair.new])
            if compare_values(pair, before, after) is not None:
                return names[pair.new]
    return None


def _of_edited_rows(change: Change) -> Iterator[Reason]:
    inserted = sum(each.inserted for each in change.edits)
    deleted = sum(each.deleted for each in change.edits)
    said = [f"{n:,} {what}" for n, what in ((inserted, "inserted"), (deleted, "deleted")) if n]
    if said:
        rows = "row" if inserted + deleted == 1 else "rows"
        yield Reason("edited rows", f"{' and '.join(said)} {rows}, kept as edits")


def _of_columns(change: Change, aligned: Aligned | None) -> Iterator[tuple[FieldId, list[Reason]]]:
    pairs = {pair.new: pair for pair in change.pairs}
    fresh = {id for fields in change.fresh.values() for id in fields}
    edited = _edited_cells(change)
    for field in change.after.fields:
        pair = pairs.get(field.id)
        found: list[Reason] = []
        if pair is None:
            found.append(Reason("new column", "a new column"))
        elif not pair.same_type:
            found.append(Reason("cast", f"a cast, {pair.before.type} → {pair.after.type}"))
        elif field.id in fresh and aligned is not None and aligned.new.size:
            found += _of_values(change, aligned, pair)
        if field.id in edited:
            cells, segments = edited[field.id]
            found.append(_edits(cells, segments, change))
        yield field.id, found


def _of_values(change: Change, aligned: Aligned, pair: Pair) -> Iterator[Reason]:
    (before,) = change.old.fetch(aligned.old, [pair.old])
    (after,) = change.new.fetch(aligned.new, [pair.new])
    found = compare_values(pair, before, after)
    if found is None:
        if not change.cut_anew:
            yield Reason("folded", "edits were folded into its chunks")
        return
    about = "about " if aligned.sampled else ""
    cells = f"{about}{_share(found.share)} of its cells differ"
    yield Reason(found.kind, f"{found.text} ({cells})" if found.text else cells)


def _edited_cells(change: Change) -> dict[FieldId, tuple[int, int]]:
    """Cells that new edits replace, and in how many segments, by field."""
    found: dict[FieldId, tuple[int, int]] = {}
    for each in change.edits:
        for field, count in each.cells.items():
            cells, segments = found.get(field, (0, 0))
            found[field] = cells + count, segments + 1
    return found


def _edits(cells: int, segments: int, change: Change) -> Reason:
    all = len(change.new.views)
    where = "all segments" if segments == all else f"{segments:,} of {all:,} segments"
    share = _share(cells / max(1, change.after.rows))
    spread = f", spread over {where}" if segments > 1 else ""
    return Reason("edited cells", f"{share} of its cells differ{spread}: kept as edits")


def _plural(count: int, words: str) -> str:
    return f"{count:,} {words}{'' if count == 1 else 's'}"


def _share(part: float) -> str:
    """A share in words: all, 1.8 %; never 0 % of something, nor 100 % of less than all."""
    if part == 1:
        return "all"
    if part < 0.001:
        return "under 0.1 %"
    if part > 0.99:
        return f"{min(part, 0.999) * 100:.1f} %"
    return f"{part * 100:.2g} %"
