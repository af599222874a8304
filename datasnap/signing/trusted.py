"""Trusted signers: whose keys count, and under which name.

    signers.json    {"signers": [{"name": "Ada", "key": "ssh-ed25519 AAAAC3Nza…"}, …]}

It changes by compare-and-swap. A name may have several keys, of several machines or of earlier
years; a key has one name. Signatures by a key that is removed are no longer trusted, old ones
neither: a retired key whose old signatures shall count stays.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from datasnap.errors import BadInput, Conflict, CorruptData, InvalidName, RefExists, UnknownName
from datasnap.signing.keys import fingerprint, parse_public_key, read_public_key
from datasnap.storage import Backend

if TYPE_CHECKING:
    from datasnap.repository import Repository

FILE = "signers.json"
#: Names a file that is asked instead of the repository's.
OWN_FILE = "DATASNAP_SIGNERS"
_MAX_TRIES = 50


class TrustedSigner(msgspec.Struct, frozen=True):
    """A key that counts, and whose it is."""

    name: str
    key: str

    @property
    def fingerprint(self) -> str:
        """The key as `ssh-keygen -l` shows it."""
        return fingerprint(self.key)


class _Signers(msgspec.Struct, frozen=True):
    signers: tuple[TrustedSigner, ...] = ()


def signers(repository: Repository) -> list[TrustedSigner]:
    """The trusted signers, by name: the repository's, or those of the file that $DATASNAP_SIGNERS
    names.

    Raises:
        CorruptData, BadInput: the file is no list of signers.
    """
    own = os.environ.get(OWN_FILE)
    if not own:
        return list(_read(repository.backend)[0])
    try:
        return list(_decode(Path(own).expanduser().read_bytes()))
    except OSError as error:
        raise BadInput(f"${OWN_FILE}: {own} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"${OWN_FILE}: {own} is no list of signers: {error}") from error


def add_signer(repository: Repository, name: str, public_key: str | os.PathLike[str]) -> str:
    """Trust a key in the repository, and return its fingerprint.

    Args:
        public_key: its file: `ada.pub`.

    Raises:
        BadInput: that is no Ed25519 key of OpenSSH. InvalidName. RefExists: the key is another's.
    """
    if not name.strip() or not name.isprintable() or len(name) > 200:
        raise InvalidName(
            f"'{name}' cannot be the name of a signer",
            hint="Up to 200 letters: the name that commits carry, say.",
        )
    added = TrustedSigner(name, read_public_key(Path(public_key).expanduser()))

    def change(before: tuple[TrustedSigner, ...]) -> tuple[TrustedSigner, ...]:
        owner = next((signer.name for signer in before if signer.key == added.key), name)
        if owner != name:
            raise RefExists(
                f"that key is trusted already, as that of '{owner}'",
                hint=f"Remove it first: datasnap signers --remove '{owner}'",
            )
        return tuple(sorted({*before, added}, key=lambda signer: (signer.name, signer.key)))

    _swap(repository.backend, change)
    return added.fingerprint


def remove_signer(repository: Repository, name: str) -> int:
    """Trust no key of a signer any more, and return how many there were.

    Raises:
        UnknownName.
    """
    removed = 0

    def change(before: tuple[TrustedSigner, ...]) -> tuple[TrustedSigner, ...]:
        nonlocal removed
        left = tuple(signer for signer in before if signer.name != name)
        removed = len(before) - len(left)
        if not removed:
            raise UnknownName("signer", name, {signer.name for signer in before})
        return left

    _swap(repository.backend, change)
    return removed


def _swap(
    backend: Backend,
    change: Callable[[tuple[TrustedSigner, ...]], tuple[TrustedSigner, ...]],
) -> None:
    for _ in range(_MAX_TRIES):
        before, version = _read(backend)
        after = change(before)
        if after == before:
            return
        try:
            backend.write_ref(FILE, msgspec.json.encode(_Signers(after)), version)
        except Conflict:
            continue
        return
    raise Conflict("gave up on the list of signers: others keep changing it")


def _read(backend: Backend) -> tuple[tuple[TrustedSigner, ...], str | None]:
    found = backend.read_ref(FILE)
    if found is None:
        return (), None
    try:
        return _decode(found.data), found.version
    except ValueError as error:
        raise CorruptData(
            f"{FILE}, the list of signers, is unreadable: {error}",
            hint="Nothing is trusted until it is put right.",
        ) from error


def _decode(data: bytes) -> tuple[TrustedSigner, ...]:
    """Raises:
    ValueError: that is no list of signers.
    """
    found = msgspec.json.decode(data, type=_Signers).signers
    return tuple(TrustedSigner(signer.name, parse_public_key(signer.key)) for signer in found)
