"""Keys: those of OpenSSH are read, and of all others it is said what they are."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import BadInput, CorruptData, InvalidName, RefExists, UnknownName
from datasnap.repository import Repository
from datasnap.signing.keys import fingerprint, is_signed, read_public_key, read_signing_key
from tests.conftest import write
from tests.signing.conftest import make_key


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="OpenSSH is not installed")
def test_keys_that_ssh_keygen_makes(tmp_path: Path) -> None:
    for name, passphrase in (("plain", ""), ("locked", "secret")):
        file = str(tmp_path / name)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", file]
        subprocess.run(command, check=True)
        key = read_signing_key(tmp_path / name, lambda path, said=passphrase: said)
        assert key.public == read_public_key(tmp_path / f"{name}.pub")
        assert is_signed(b"x", key.sign(b"x"), key.public)
        assert not is_signed(b"y", key.sign(b"x"), key.public)
        command = ["ssh-keygen", "-l", "-f", file]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        assert shown.split()[1] == fingerprint(key.public)


def test_a_locked_key_is_opened_by_whoever_knows_the_passphrase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = make_key(tmp_path / "locked", passphrase="secret")
    with pytest.raises(BadInput, match="no terminal") as caught:
        read_signing_key(locked)
    assert "DATASNAP_KEY_PASSPHRASE" in caught.value.hint
    asked = []
    read_signing_key(locked, lambda path: asked.append(path) or "secret")  # type: ignore[func-returns-value]
    assert asked == [locked]
    with pytest.raises(BadInput, match="does not open"):
        read_signing_key(locked, lambda path: "wrong")
    monkeypatch.setenv("DATASNAP_KEY_PASSPHRASE", "secret")
    assert read_signing_key(locked).public == read_public_key(tmp_path / "locked.pub")


def test_other_files_are_refused_and_named(tmp_path: Path) -> None:
    ed25519 = make_key(tmp_path / "ed25519")
    other = make_key(tmp_path / "ecdsa", kind="ecdsa")
    (tmp_path / "rubbish").write_bytes(b"\x00\xff" * 100)
    refused = {
        "cannot be read": (read_signing_key, tmp_path / "none"),
        "another type": (read_signing_key, other),
        "no private key": (read_signing_key, tmp_path / "ed25519.pub"),
        "no private key of": (read_signing_key, tmp_path / "rubbish"),
        "only Ed25519": (read_public_key, tmp_path / "ecdsa.pub"),
        "is a private key": (read_public_key, ed25519),
        "no public key": (read_public_key, tmp_path / "rubbish"),
        "cannot be read:": (read_public_key, tmp_path),
    }
    for message, (read, path) in refused.items():
        with pytest.raises(BadInput, match=message):
            read(path)


def test_a_key_that_cannot_sign_fails_before_the_work(repo: Repository, tmp_path: Path) -> None:
    repo.signer.on = True
    with pytest.raises(BadInput, match="no key to sign with"), repo.transaction():
        raise AssertionError("the block has begun")


def test_the_key_is_found_by_setting_environment_or_in_its_usual_place(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = tmp_path / "home" / ".ssh" / "id_ed25519"
    usual.parent.mkdir(parents=True)
    keys = [make_key(usual), make_key(tmp_path / "b"), make_key(tmp_path / "c")]
    for name, key in zip("abc", keys, strict=True):
        repo.add_signer(name, f"{key}.pub")
    settings = Path(repo.url) / "config.toml"
    settings.write_text("[signing]\nalways = true\n")
    write(datasnap.open(repo.url), "t", pa.table({"a": [1]}))
    monkeypatch.setenv("DATASNAP_SIGNING_KEY", str(keys[1]))
    write(datasnap.open(repo.url), "t", pa.table({"a": [2]}))
    settings.write_text(f"[signing]\nalways = true\nkey = '{keys[2]}'\n")
    write(datasnap.open(repo.url), "t", pa.table({"a": [3]}))
    assert [each.signers for each in repo.signatures()] == [("c",), ("b",), ("a",)]


def test_signers_come_and_go(repo: Repository, tmp_path: Path, ada: Path, eve: Path) -> None:
    added = repo.add_signer("Ada <ada@example.org>", f"{ada}.pub")
    assert added == fingerprint(read_public_key(Path(f"{ada}.pub")))
    assert repo.add_signer("Ada <ada@example.org>", f"{ada}.pub") == added
    with pytest.raises(RefExists, match="Ada"):
        repo.add_signer("Eve", f"{ada}.pub")
    repo.add_signer("Ada <ada@example.org>", f"{make_key(tmp_path / 'laptop')}.pub")
    assert [signer.name for signer in repo.signers()] == ["Ada <ada@example.org>"] * 2
    for name in ("", " ", "a\nb", "x" * 201):
        with pytest.raises(InvalidName):
            repo.add_signer(name, f"{eve}.pub")
    with pytest.raises(UnknownName):
        repo.remove_signer("Adda")
    assert repo.remove_signer("Ada <ada@example.org>") == 2
    assert repo.signers() == []


def test_ones_own_list_of_signers_is_asked_instead(
    repo: Repository, tmp_path: Path, ada: Path, eve: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "signers.json"
    own.write_text(
        json.dumps({"signers": [{"name": "ada", "key": Path(f"{ada}.pub").read_text()}]})
    )
    monkeypatch.setenv("DATASNAP_SIGNERS", str(own))
    repo.add_signer("ada", f"{eve}.pub")  # by somebody who may write to the repository
    repo.sign_with(eve)
    write(repo, "t", pa.table({"a": [1]}))
    assert repo.signatures()[0].status == "untrusted"
    assert repo.sign(key=ada).signers == ("ada",)
    own.write_text("rubbish")
    with pytest.raises(BadInput, match="no list of signers"):
        repo.signatures()
    monkeypatch.setenv("DATASNAP_SIGNERS", str(tmp_path / "none"))
    with pytest.raises(BadInput, match="cannot be read"):
        repo.signers()


@pytest.mark.parametrize("data", [b"", b"[]", b'{"signers": [{"name": "x", "key": "y"}]}', b"\xff"])
def test_a_damaged_list_of_signers_is_said(repo: Repository, data: bytes) -> None:
    repo.backend.write_ref("signers.json", data, None)
    with pytest.raises(CorruptData, match=r"signers\.json"):
        repo.signers()
