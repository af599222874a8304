"""Protected branches: they take merges whose checks pass, and nothing else.

Which are protected is kept in `protected.json`, beside the refs. datasnap keeps to it; whoever may
write to the store with other tools can do as they like there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from datasnap.errors import Conflict, CorruptData, Refused, UnknownName, UsageError
from datasnap.snapshots.refs import RefChange, check_name
from datasnap.storage import Backend

if TYPE_CHECKING:
    from datasnap.repository import Repository

_FILE = "protected.json"
_TRIES = 10

#: What a merge is called in the log of a branch.
MERGES = frozenset({"merge", "fast-forward"})
#: Erasing rows from every version is not done by halves.
_ALWAYS = frozenset({"purge"})
#: What verbs do, where they are no nouns.
_NOUNS = {"delete": "deleting", "rename": "renaming", "undo": "undoing", "redo": "redoing"}


class Protection(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a branch is protected.

    Attributes:
        signed: it takes signed snapshots only.
    """

    signed: bool = False


_Protections = dict[str, Protection]


def protections(repository: Repository) -> dict[str, Protection]:
    """The branches that are protected, by name, and how."""
    return _read(repository.backend)[0]


def protect(repository: Repository, branch: str, *, signed: bool = False) -> None:
    """Let a branch take only merges whose checks pass: no commits, resets or rebases, and it
    cannot be renamed or deleted. A branch that has no snapshot yet takes its first one, if that
    passes.

    Args:
        signed: and only of signed snapshots.

    Raises:
        UnknownName: there is no such branch, nor is it the current one.
    """
    check_name(branch)
    refs = repository.refs
    if branch != refs.head() and refs.branch(branch) is None:
        raise UnknownName("branch", branch, refs.branches())
    _change(repository.backend, lambda found: {**found, branch: Protection(signed)})


def unprotect(repository: Repository, branch: str) -> None:
    """Let a branch take anything again.

    Raises:
        UsageError: it is not protected.
    """

    def without(found: _Protections) -> _Protections:
        if branch not in found:
            listed = ", ".join(found)
            hint = f"Protected: {listed}" if found else "No branch is."
            raise UsageError(f"'{branch}' is not protected", hint=hint)
        return {name: how for name, how in found.items() if name != branch}

    _change(repository.backend, without)


def protection_of(backend: Backend, branch: str) -> Protection | None:
    """How a branch is protected; None: it is not."""
    return _read(backend)[0].get(branch)


def check_direct(repository: Repository, branch: str, verb: str) -> None:
    """Refuse, before there is any work, what a protected branch would refuse after it.

    Raises:
        Refused.
    """
    if verb in MERGES or verb in _ALWAYS or protection_of(repository.backend, branch) is None:
        return
    if repository.refs.branch(branch) is not None:
        raise _refused(branch, verb)


def check_verb(change: RefChange) -> None:
    """Refuse a change of a protected branch that is not a merge, nor its beginning.

    Raises:
        Refused.
    """
    begins = change.before is None and change.after is not None
    if not (begins or change.why.verb in MERGES or change.why.verb in _ALWAYS):
        raise _refused(change.name, change.why.verb)


def is_checked(change: RefChange) -> bool:
    """Whether a change of a protected branch must pass the checks."""
    return change.after is not None and change.why.verb not in _ALWAYS


def _refused(branch: str, verb: str) -> Refused:
    what = _NOUNS.get(verb, f"{verb}s")
    return Refused(
        f"the branch '{branch}' is protected: it takes merges, no {what}",
        hint=f"Commit to another branch, then: `datasnap publish BRANCH --into {branch}`.",
    )


def _read(backend: Backend) -> tuple[_Protections, str | None]:
    found = backend.read_ref(_FILE)
    if found is None:
        return {}, None
    try:
        return msgspec.json.decode(found.data, type=_Protections), found.version
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        # Not to know what is protected is no reason to let everything pass.
        raise CorruptData(
            f"which branches are protected is unreadable ({_FILE}): {error}",
            hint=f"Remove {_FILE} from the repository, and protect them again.",
        ) from error


def _change(backend: Backend, change: Callable[[_Protections], _Protections]) -> None:
    """Swap the file; tried again when others change it, since what they did stays."""
    for attempt in range(_TRIES):
        found, version = _read(backend)
        data = msgspec.json.encode(dict(sorted(change(found).items())))
        try:
            backend.write_ref(_FILE, data, version)
            return
        except Conflict:
            if attempt == _TRIES - 1:
                raise
