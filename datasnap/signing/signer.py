"""The signer of a repository that is open: signs what is committed, where that is wanted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from datasnap.config import SigningSettings
from datasnap.errors import BadInput
from datasnap.signing.keys import Ask, SigningKey, read_signing_key
from datasnap.signing.signatures import SignatureStatus, add_signature, check_signatures
from datasnap.snapshots.history import log
from datasnap.snapshots.objects import SnapshotId
from datasnap.snapshots.refs import FOLDERS
from datasnap.storage import Backend

if TYPE_CHECKING:
    from datasnap.repository import Repository

#: Names the key file where no setting does.
KEY = "DATASNAP_SIGNING_KEY"
_USUAL = "~/.ssh/id_ed25519"


class Signer:
    """Signs snapshots as they are made.

    Args:
        who: says what the signer is called.

    Attributes:
        on: whether what is committed is signed: the setting `signing.always`, or --sign.
        ask: for the passphrase of a key; None: nobody can be asked.
    """

    def __init__(self, backend: Backend, settings: SigningSettings, who: Callable[[], str]) -> None:
        self._backend, self._who = backend, who
        self._file = settings.key or os.environ.get(KEY) or _USUAL
        self._key: SigningKey | None = None
        self.on = settings.always
        self.ask: Ask | None = None

    def use(self, file: str | os.PathLike[str] | None) -> None:
        """Read the key (None: of the settings), and sign with it from now on."""
        if file is not None:
            self._file, self._key = os.fspath(file), None
        self._read()

    def begin(self) -> Callable[[SnapshotId], None] | None:
        """What signs a snapshot that is to be committed; None: it is not to be signed.

        The key is read now: a commit that cannot be signed fails before its work is done.

        Raises:
            BadInput: of the key.
        """
        if not self.on:
            return None
        self._read()
        return self.sign

    def sign(self, id: SnapshotId) -> None:
        """Sign a snapshot."""
        add_signature(self._backend, id, self._read(), self._who())

    def _read(self) -> SigningKey:
        if self._key is None:
            path = Path(self._file).expanduser()
            if not path.is_file():
                raise BadInput(
                    f"there is no key to sign with at {path}",
                    hint=f"Name it by the setting signing.key or by {KEY}; ssh-keygen -t ed25519 "
                    "makes one.",
                )
            self._key = read_signing_key(path, self.ask)
        return self._key


def sign_with(repository: Repository, key: str | os.PathLike[str] | None = None) -> None:
    """Sign, from now on, every snapshot that is committed through this object.

    Args:
        key: a private Ed25519 key of OpenSSH; None: the setting `signing.key`, else
            $DATASNAP_SIGNING_KEY, else ~/.ssh/id_ed25519.

    Raises:
        BadInput: it cannot be read, or is of another type.
    """
    repository.signer.use(key)
    repository.signer.on = True


def sign(
    repository: Repository,
    revision: str = "HEAD",
    *,
    key: str | os.PathLike[str] | None = None,
) -> SignatureStatus:
    """Sign one snapshot, beside whoever signed it before.

    Args:
        key: as for `sign_with`.

    Returns:
        What its signatures are worth now.

    Raises:
        UnknownName; BadInput: of the key.
    """
    id = repository.resolve(revision)
    repository.signer.use(key)
    repository.signer.sign(id)
    return check_signatures(repository, [id])[0]


def signatures(repository: Repository, revision: str | None = "HEAD") -> list[SignatureStatus]:
    """What the signatures are worth of a snapshot and all that lead to it, newest first.

    Args:
        revision: None: all branches, tags and pins.

    Raises:
        UnknownName; CorruptData: the list of signers is unreadable.
    """
    if revision is not None:
        starts = [repository.resolve(revision)]
    else:
        starts = [id for kind in FOLDERS for id in repository.refs.all(kind).values()]
    ids = (id for id, _ in log(repository.objects, *starts))
    return check_signatures(repository, ids)
