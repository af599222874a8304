"""Where checks are kept: in `checks.toml`, beside the refs of a repository.

There is one for all branches, and it is not versioned with the data: a check that is added holds
for what is published from then on, and a branch cannot take away the checks that it must pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datasnap.errors import BadInput, UsageError
from datasnap.gates.rules import Rules, parse_rules

if TYPE_CHECKING:
    from datasnap.repository import Repository

_FILE = "checks.toml"


def checks(repository: Repository) -> Rules:
    """The checks of the repository.

    Raises:
        BadInput: a newer datasnap wrote some that this one does not know.
    """
    return parse_rules(checks_text(repository), source="the repository's checks.toml")


def checks_text(repository: Repository) -> str:
    """The checks as they were written; "": there are none."""
    found = repository.backend.read_ref(_FILE)
    return _decoded(found.data) if found else ""


def set_checks(repository: Repository, text: str) -> Rules:
    """Make the checks in a text those of the repository, in place of those before.

    Raises:
        BadInput: one of them is not valid; the message names it. Nothing is changed then.
        Conflict: somebody else changed them meanwhile.
    """
    from datasnap.gates.sqltext import valid_rules

    rules = valid_rules(text, source="the text")
    found = repository.backend.read_ref(_FILE)
    repository.backend.write_ref(_FILE, text.encode(), found.version if found else None)
    return rules


def unset_checks(repository: Repository) -> None:
    """Remove all checks.

    Raises:
        UsageError: there are none. Conflict: somebody else changed them meanwhile.
    """
    found = repository.backend.read_ref(_FILE)
    if found is None:
        raise UsageError("there are no checks to remove")
    repository.backend.delete_ref(_FILE, found.version)


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"the repository's checks.toml is not text: {error}") from error
