"""Refs that are lost, taken from copies: of the same repository, as it was when it was copied."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from datasnap.errors import CorruptData
from datasnap.snapshots.refs import Kind, ref_path

if TYPE_CHECKING:
    from datasnap.repository import Repository


def restore_refs(repository: Repository, copies: Sequence[Repository]) -> list[str]:
    """Take refs from copies: those whose files are unreadable here, and such as are not here at
    all, though the snapshot that they lead to is. (A ref that was deleted leaves its log.)

    Returns:
        Their names.
    """
    same = [copy for copy in copies if _is_copy(repository, copy)]
    restored = []
    for copy in same:
        for kind, name in copy.refs.logged():
            if _is_lost(repository, copy, kind, name) and _take(repository, copy, kind, name):
                restored.append(name)
    return restored


def _is_copy(repository: Repository, copy: Repository) -> bool:
    found = [each.backend.read_ref("format.json") for each in (repository, copy)]
    return None not in found and len({kept.data for kept in found if kept}) == 1


def _is_lost(repository: Repository, copy: Repository, kind: Kind, name: str) -> bool:
    if repository.backend.read_ref(ref_path(kind, name)) is None:
        with suppress(CorruptData):
            ref = copy.refs.read(kind, name)
            return ref is not None and repository.store.find(ref.snapshot) is not None
        return False
    try:
        repository.refs.read(kind, name)
    except CorruptData:
        return True
    return False


def _take(repository: Repository, copy: Repository, kind: Kind, name: str) -> bool:
    """Write a ref as a copy has it; but what was purged since does not come back."""
    try:
        ref = copy.refs.read(kind, name)
    except CorruptData:
        return False
    if ref is None:
        return False
    snapshot = repository.replaced.current(ref.snapshot)
    file = msgspec.structs.replace(ref.file, snapshot=snapshot.hex())
    here = repository.backend.read_ref(ref_path(kind, name))
    repository.backend.write_ref(
        ref_path(kind, name), msgspec.json.encode(file), here.version if here else None
    )
    return True
