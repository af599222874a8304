"""Refs that are held where they were, for a run that is done again.

`datasnap reproduce` names a file in `$DATASNAP_REPRODUCE`. In processes that have it, `main` and
HEAD mean what they meant when the run was first done, wherever the branch is by now; all that
reads goes by it (`Revisions`, SQL). And they change no branch and no tag (`gates.watch`): what was
written the first time is there, and is not to be written twice.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from datasnap.errors import UsageError

#: Names the file.
VARIABLE = "DATASNAP_REPRODUCE"


class HeldRefs(msgspec.Struct, frozen=True):
    """The refs of a repository as they were.

    Attributes:
        head: the branch that was the current one.
        refs: branches and tags, and their snapshots as 64 hex digits.
    """

    head: str
    refs: dict[str, str]


class Held(msgspec.Struct, frozen=True):
    """What the file holds.

    Attributes:
        run: the one that is done again.
        repositories: by their places; see `real_place`.
    """

    run: str
    repositories: dict[str, HeldRefs]


def held() -> Held | None:
    """What is held in this process; None: nothing is.

    Raises:
        UsageError: the file is not there: the variable was left from another time.
    """
    name = os.environ.get(VARIABLE)
    if not name:
        return None
    try:
        return msgspec.json.decode(Path(name).read_bytes(), type=Held)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"${VARIABLE} names no file of `datasnap reproduce`: {name}", hint="Unset it."
        ) from error


def held_refs(url: str) -> HeldRefs | None:
    """What is held of a repository; None: its refs are where they are."""
    found = held()
    return found.repositories.get(real_place(url)) if found else None


def real_place(url: str) -> str:
    """The place of a repository, whatever links lead there."""
    return url if "://" in url else os.path.realpath(url)
