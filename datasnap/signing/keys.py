"""Ed25519 keys as OpenSSH keeps them; the only place that knows `cryptography`.

A public key is a text, as in a `.pub` file but for its comment: `ssh-ed25519 AAAAC3Nza…`. The same
key always has the same text here, so that texts can be compared.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datasnap.errors import BadInput, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

#: Asks for the passphrase of a key file.
Ask = Callable[[Path], str]

PASSPHRASE = "DATASNAP_KEY_PASSPHRASE"
#: No key file is larger.
_MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class SigningKey:
    """A private key that has been read.

    Attributes:
        public: its public half.
        sign: the signature over a message.
    """

    public: str
    sign: Callable[[bytes], bytes]


def read_signing_key(path: Path, ask: Ask | None = None) -> SigningKey:
    """A private key from its file.

    Args:
        ask: for a passphrase, where the key has one and $DATASNAP_KEY_PASSPHRASE is not set.

    Raises:
        BadInput: it cannot be read, is no OpenSSH key, of another type, or locked.
        UsageError: `cryptography` is not installed.
    """
    _check_installed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    data = _read(path)
    passphrase: str | None = None
    try:
        try:
            key = load_ssh_private_key(data, password=None)
        except TypeError:  # it has a passphrase
            passphrase = _passphrase(path, ask)
            key = load_ssh_private_key(data, password=passphrase.encode())
    except UnsupportedAlgorithm as error:
        raise BadInput(
            f"{path} cannot be opened: {error}",
            hint="A key with a passphrase needs: pip install 'datasnap[signing]'",
        ) from error
    except ValueError as error:
        if passphrase is not None:
            raise BadInput(f"the passphrase does not open {path}") from error
        raise BadInput(
            f"{path} is no private key of OpenSSH", hint="Make one: ssh-keygen -t ed25519"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _other_type(path)
    return SigningKey(_text(key.public_key()), key.sign)


def read_public_key(path: Path) -> str:
    """A public key from its `.pub` file.

    Raises:
        BadInput: it cannot be read, is no OpenSSH key, or of another type.
        UsageError: `cryptography` is not installed.
    """
    data = _read(path)
    if b"PRIVATE KEY" in data:
        raise BadInput(
            f"{path} is a private key, which nobody else should see",
            hint=f"Give its public half: {path}.pub",
        )
    try:
        return parse_public_key(data.decode())
    except ValueError as error:
        if b"ssh-" in data or b"ecdsa-" in data:
            raise _other_type(path) from error
        raise BadInput(
            f"{path} is no public key of OpenSSH", hint="It should begin with: ssh-ed25519"
        ) from error


def parse_public_key(text: str) -> str:
    """A public key, from a line as in a `.pub` file.

    Raises:
        ValueError: it is none of this type.
        UsageError: `cryptography` is not installed.
    """
    return _text(_load(text))


def is_signed(message: bytes, signature: bytes, key: str) -> bool:
    """Whether a signature over a message was made with the private half of a key.

    Raises:
        ValueError: that is no key.
        UsageError: `cryptography` is not installed.
    """
    loaded = _load(key)
    from cryptography.exceptions import InvalidSignature

    try:
        loaded.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def fingerprint(key: str) -> str:
    """What `ssh-keygen -l` shows of a public key."""
    digest = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def _load(text: str) -> Ed25519PublicKey:
    _check_installed()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key

    try:
        key = load_ssh_public_key(text.encode())
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("it is of another type than Ed25519")
    return key


def _text(key: Ed25519PublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _passphrase(path: Path, ask: Ask | None) -> str:
    passphrase = os.environ.get(PASSPHRASE)
    if passphrase is None and ask is not None:
        passphrase = ask(path)
    if passphrase is None:
        raise BadInput(
            f"{path} has a passphrase, and there is no terminal to ask for it",
            hint=f"Set {PASSPHRASE}, or sign with a key that has none.",
        )
    return passphrase


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error


def _other_type(path: Path) -> BadInput:
    return BadInput(
        f"{path} is a key of another type: only Ed25519 is understood",
        hint="Make one: ssh-keygen -t ed25519",
    )


def _check_installed() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "signatures need the package 'cryptography'",
            hint="Install it: pip install 'datasnap[signing]'",
        ) from error
