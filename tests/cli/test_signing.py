"""--sign, sign, signatures, signers and verify --signatures on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_verbs import Shell, full, shell, template  # noqa: F401
from tests.signing.conftest import make_key


@pytest.fixture
def signing(full: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:  # noqa: F811
    """A repository of unsigned snapshots that trusts Ada, whose key is at hand."""
    key = make_key(tmp_path / "ada")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATASNAP_SIGNING_KEY", str(key))
    monkeypatch.delenv("DATASNAP_SIGNERS", raising=False)
    assert "Trusting ada by SHA256:" in full("signers", "--add", "ada", f"{key}.pub")
    return full


def test_every_verb_that_commits_takes_sign(signing: Shell) -> None:
    signing("update", "rides", "x = 2", "--sign", "-m", "signed")
    signing("merge", "exp", "--sign", "--on-conflict", "ours")
    signing("sql", "DELETE FROM rides WHERE id = 1", "--sign")
    signing("drop", "names", "-m", "not signed")
    rows = signing("signatures").splitlines()
    signed = [row.split()[1] for row in rows[1:]]
    assert signed == ["unsigned", "good", "good", "good", "unsigned", "unsigned", "unsigned"]
    assert rows[0].split() == ["snapshot", "signed", "by", "message"]
    assert "--sign" not in signing("log", "--help")


def test_sign_one_snapshot_that_is_there(signing: Shell, tmp_path: Path) -> None:
    id = json.loads(signing("log", "--json"))[0]["snapshot"]
    assert signing("sign", "main") == f"Signed {id[:12]}\n"
    bob = make_key(tmp_path / "bob")
    assert json.loads(signing("sign", "main", "--key", bob, "--json"))["status"] == "good"
    (signed, unsigned) = json.loads(signing("signatures", "main", "--json"))
    assert (signed["snapshot"], signed["signers"]) == (id, ["ada"])
    assert unsigned["status"] == "unsigned"


def test_verify_counts_signatures_and_fails_for_bad_ones(signing: Shell) -> None:
    signing("sign", "main")
    assert "Signatures: 1 good, 2 unsigned" in signing("verify", "--quick", "--signatures")
    found = json.loads(signing("verify", "--quick", "--signatures", "--json"))
    assert len(found["signatures"]) == 3
    assert "signatures" not in json.loads(signing("verify", "--quick", "--json"))
    (file,) = (signing.folder / ".datasnap" / "signatures").iterdir()
    file.write_text('{"signatures": [{"signer": "[b]", "key": "?", "signature": ""}]}')
    assert "1 snapshot with a bad signature" in signing.fails("verify", "--quick", "--signatures")
    signing("signers", "--remove", "ada")
    signing("sign", "main")
    said = signing("verify", "--quick", "--signatures")
    assert "Signatures: 2 unsigned, 1 untrusted" in said
    assert "untrusted: by SHA256:" in said


def test_signers_are_listed_added_and_removed(signing: Shell, tmp_path: Path) -> None:
    assert [line.split()[0] for line in signing("signers").splitlines()] == ["signer", "ada"]
    assert json.loads(signing("signers", "--json"))["signers"][0]["name"] == "ada"
    assert signing("signers", "--remove", "ada") == "Trusting 1 key of ada no more\n"
    assert signing("signers") == "Nobody's signatures are trusted\n"
    assert "unknown signer" in signing.fails("signers", "--remove", "ada")
    signing.fails("signers", "--remove", "ada", "--add", "x", "y", code=2)
    assert "another type" in signing.fails(
        "signers", "--add", "x", f"{make_key(tmp_path / 'ec', kind='ecdsa')}.pub"
    )


def test_without_a_key_nothing_is_committed(
    signing: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = signing("log", "--json")
    monkeypatch.delenv("DATASNAP_SIGNING_KEY")
    assert "no key to sign with" in signing.fails("drop", "names", "--sign")
    locked = make_key(tmp_path / "locked", passphrase="secret")
    monkeypatch.setenv("DATASNAP_SIGNING_KEY", str(locked))
    assert "no terminal to ask" in signing.fails("drop", "names", "--sign")
    assert signing("log", "--json") == before
    monkeypatch.setenv("DATASNAP_KEY_PASSPHRASE", "secret")
    signing("drop", "names", "--sign")


def test_a_protected_branch_that_wants_signatures_takes_no_other(signing: Shell) -> None:
    signing("protect", "main", "--signed")
    signing("switch", "-c", "work")
    signing("drop", "names", "-m", "drop")
    said = signing.fails("merge", "work", "-b", "main", "--sign")
    assert "takes only snapshots that a trusted signer has signed" in said
    signing("sign", "work")
    signing("merge", "work", "-b", "main", "--sign")
    assert json.loads(signing("signatures", "main", "--json"))[0]["status"] == "good"
