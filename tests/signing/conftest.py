"""Keys as OpenSSH makes them, and a repository that trusts one."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from datasnap.repository import Repository


def make_key(file: Path, *, passphrase: str = "", kind: str = "ed25519") -> Path:
    """What `ssh-keygen` makes: the private key at `file`, the public one beside it."""
    key = (
        ed25519.Ed25519PrivateKey.generate()
        if kind == "ed25519"
        else ec.generate_private_key(ec.SECP256R1())
    )
    lock = s.BestAvailableEncryption(passphrase.encode()) if passphrase else s.NoEncryption()
    file.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.OpenSSH, lock))
    public = key.public_key().public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH)
    file.with_name(file.name + ".pub").write_bytes(public + b" somebody@somewhere\n")
    return file


@pytest.fixture(autouse=True)
def _no_key_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("DATASNAP_SIGNING_KEY", "DATASNAP_KEY_PASSPHRASE", "DATASNAP_SIGNERS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ada(tmp_path: Path) -> Path:
    """Ada's key."""
    return make_key(tmp_path / "ada")


@pytest.fixture
def eve(tmp_path: Path) -> Path:
    """The key of somebody who is not trusted."""
    return make_key(tmp_path / "eve")


@pytest.fixture
def trusting(repo: Repository, ada: Path) -> Repository:
    """A repository in which Ada is trusted, opened by Ada, who signs."""
    repo.add_signer("ada", f"{ada}.pub")
    repo.sign_with(ada)
    return repo
