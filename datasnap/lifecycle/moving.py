"""An archive that somebody moved: its packs are read from the new place.

Nothing is copied here. That all packs are there is seen from their names, which are hashes, and
their sizes; that their bytes are what they were is for `verify` to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasnap.errors import StorageError, UsageError
from datasnap.lifecycle.archive import Archived, archive_at, whole
from datasnap.storage import PACKS, Backend
from datasnap.storage.archived import Archive, note_moved, read_archives

if TYPE_CHECKING:
    from datasnap.repository import Repository


def archive_moved(repository: Repository, old: str, new: str) -> Archived:
    """Read from another place what was archived at one, and say how much that is.

    Args:
        old: a place that `archives` names; it need not be there any more.
        new: where its packs are now.

    Raises:
        UsageError: nothing is archived at `old`; there is a repository at `new`.
        StorageError: some packs are not at `new`, or not whole. Nothing is changed then.
    """
    here = repository.backend.here
    moved = _archive(read_archives(here), old)
    there = archive_at(repository, new)
    if there.url == moved.place:
        raise UsageError(f"the archive is at {there.url} already")
    _check_all_there(moved, there)
    note_moved(here, moved.place, there.url, moved.packs)
    return Archived(there.url, len(moved.packs), sum(pack.size for pack in moved.packs.values()))


def _archive(found: tuple[Archive, ...], place: str) -> Archive:
    """The archive that is noted down at a place, as it is written there or from here."""
    by_place = {each.place: each for each in found}
    moved = by_place.get(place) or by_place.get(whole(place))
    if moved is None:
        known = "; ".join(by_place) or "nowhere"
        raise UsageError(f"nothing is archived at {place}", hint=f"Packs are archived: {known}.")
    return moved


def _check_all_there(moved: Archive, there: Backend) -> None:
    sizes = {file.name: file.size for file in there.list(PACKS)}
    wrong = [name for name, pack in moved.packs.items() if sizes.get(name) != pack.size]
    if wrong:
        what = "is not there" if wrong[0] not in sizes else "has another size"
        raise StorageError(
            f"{there.url} lacks {len(wrong):,} of the {len(moved.packs):,} packs of the archive: "
            f"{PACKS}{wrong[0][:16]}… {what}",
            hint=f"Copy them there first, as they were: all files of {moved.place}/{PACKS}",
        )
