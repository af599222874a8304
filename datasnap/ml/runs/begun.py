"""What is known of a run when it begins: its first row."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from datasnap.errors import RepositoryNotFound
from datasnap.ml.runs.code import Code, this_code, working_folder
from datasnap.ml.runs.environment import Environment
from datasnap.ml.runs.journal import place_of
from datasnap.ml.runs.masking import masked_command
from datasnap.ml.runs.params import plain_text
from datasnap.ml.runs.processes import host, this_process, user
from datasnap.places import default_place
from datasnap.snapshots.held import held

if TYPE_CHECKING:
    from datasnap.ml.runs.recording import Row
    from datasnap.repository import Repository


def first_row(
    repository: Repository,
    name: str,
    params: Mapping[str, object],
    environment: Environment,
    journal: Path,
    *,
    command: Sequence[str] | None = None,
    code: Code | None = None,
) -> Row:
    """What the table of runs has of a run that begins here and now.

    Args:
        journal: the folder of its notes.
        command: what it runs; None: this program.
        code: what it runs; None: what is in the working directory.
    """
    folder, again = working_folder(), held()
    words = [plain_text(word) for word in masked_command(command or sys.orig_argv)]
    return {
        "name": name,
        "started": datetime.now(UTC),
        "user": user(),
        "host": host(),
        "process": this_process(),
        "folder": plain_text(folder),
        "journal": str(journal),
        "default_repository": _default_repository(repository),
        "environment": environment.hash,
        "reproduces": again.run if again else None,
        "command": _json(words),
        "params": _json(params),
        "code": _json(code or this_code(folder)),
    }


def _default_repository(repository: Repository) -> str | None:
    """The place of the one that $DATASNAP_REPO names; "": this one; None: it names none."""
    named = os.environ.get("DATASNAP_REPO")
    if not named:
        return None
    try:
        place = place_of(default_place())
    except RepositoryNotFound:  # which is no matter to a run that names its own
        place = plain_text(named)
    return "" if place == place_of(repository.url) else place


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
