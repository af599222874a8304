"""Where repositories are: making one, finding one, opening one."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import msgspec

from datasnap.errors import Conflict, RepositoryExists, RepositoryNotFound, UnsupportedFormat
from datasnap.repository import Repository
from datasnap.storage import Backend, open_backend

FORMAT = 1
FOLDER = ".datasnap"
_FORMAT_FILE = "format.json"


class _Format(msgspec.Struct):
    format: int
    id: str


def init_repository(location: str | os.PathLike[str] = ".") -> Repository:
    """Make a repository, and open it.

    Args:
        location: a folder (the repository is its `.datasnap/`), or `s3://`, `gs://`, `az://` or
            `memory://` with a path.

    Raises:
        RepositoryExists: there is one already.
        StorageError: the place cannot be written.
    """
    place = _inside(os.fspath(location))
    backend = open_backend(place)
    data = msgspec.json.encode(_Format(FORMAT, uuid.uuid4().hex))
    try:
        backend.write_ref(_FORMAT_FILE, data, None)
    except Conflict:
        raise RepositoryExists(
            f"there is a repository at {place} already", hint="Open it, or name another place."
        ) from None
    return Repository(backend)


def open_repository(location: str | os.PathLike[str] | None = None) -> Repository:
    """Open a repository.

    Args:
        location: as for `init`; None: see `default_place`.

    Raises:
        RepositoryNotFound: there is none.
        UnsupportedFormat: it was made by a newer datasnap.
    """
    place = _inside(os.fspath(location)) if location else default_place()
    backend = open_backend(place)
    _check_format(backend)
    return Repository(backend)


def default_place() -> str:
    """The place of the repository that is meant where none is named: $DATASNAP_REPO, else the
    nearest `.datasnap/` from the working directory upward.

    Raises:
        RepositoryNotFound: there is none.
    """
    location = os.environ.get("DATASNAP_REPO")
    return _inside(location) if location else _search()


def _inside(location: str) -> str:
    """The repository's own folder, for a path that names it or the folder around it."""
    path = location.removeprefix("file://")
    if "://" in path:
        return path
    try:
        folder = Path(path).expanduser()
        if folder.name == FOLDER or (folder / _FORMAT_FILE).is_file():
            return str(folder)
    except (OSError, RuntimeError) as error:  # a name that is too long; a user that is not there
        raise RepositoryNotFound(f"there can be no repository at {location}: {error}") from error
    return str(folder / FOLDER)


def _search() -> str:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / FOLDER / _FORMAT_FILE).is_file():
            return str(folder / FOLDER)
    raise RepositoryNotFound(
        f"no repository here ({here}) or above",
        hint="Make one with `datasnap init`, or name one with -C or DATASNAP_REPO.",
    )


def _check_format(backend: Backend) -> None:
    found = backend.read_ref(_FORMAT_FILE)
    if found is None:
        raise RepositoryNotFound(
            f"there is no repository at {backend.url}", hint="Make one with `datasnap init`."
        )
    try:
        stored = msgspec.json.decode(found[0], type=_Format)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnsupportedFormat(
            f"{backend.url} has an unreadable format file: {error}",
            hint=f"Put {_FORMAT_FILE} back from a backup of the repository; any copy has the same.",
        ) from error
    if stored.format > FORMAT:
        raise UnsupportedFormat(
            f"{backend.url} has format {stored.format}; this datasnap knows up to {FORMAT}",
            hint="Upgrade with `pip install -U datasnap`.",
        )
