"""Signing snapshots, and what signatures are worth: also those that somebody tampered with."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datasnap
from datasnap.errors import CorruptData, MergeConflict, Refused
from datasnap.repository import Repository
from datasnap.signing import check_signatures, require
from datasnap.signing.keys import read_signing_key
from datasnap.signing.signatures import drop_stale
from datasnap.snapshots.reflog import Why
from datasnap.snapshots.refs import RefChange
from tests.conftest import write
from tests.signing.conftest import make_key


def table(number: int = 1) -> pa.Table:
    return pa.table({"k": [1, 2], "a": [number, 0]})


def statuses(repo: Repository, revision: str | None = "HEAD") -> list[str]:
    return [each.status for each in repo.signatures(revision)]


def rewrite(repo: Repository, id: str, data: bytes) -> None:
    path = f"signatures/{id}"
    found = repo.backend.read_ref(path)
    repo.backend.write_ref(path, data, found.version if found else None)


def test_what_is_committed_is_signed_when_that_is_wanted(
    repo: Repository, ada: Path, eve: Path
) -> None:
    repo.add_signer("ada", f"{ada}.pub")
    write(repo, "t", table())
    repo.sign_with(ada)
    id = write(repo, "t", table(2))
    good, unsigned = repo.signatures()
    assert (good.snapshot, good.status, good.signers) == (id, "good", ("ada",))
    assert unsigned.status == "unsigned"
    repo.sign_with(eve)
    write(repo, "t", table(3))
    assert statuses(repo) == ["untrusted", "good", "unsigned"]
    assert "who says 'Ada <ada@example.org>'" in repo.signatures()[0].why


def test_several_people_sign_one_snapshot(trusting: Repository, tmp_path: Path, eve: Path) -> None:
    bob = make_key(tmp_path / "bob")
    trusting.add_signer("bob", f"{bob}.pub")
    write(trusting, "t", table())
    assert trusting.sign("main", key=bob).signers == ("ada", "bob")
    assert trusting.sign("main", key=eve).signers == ("ada", "bob")
    assert trusting.sign("main", key=bob).signers == ("ada", "bob")
    (file,) = trusting.backend.list("signatures/")
    assert len(json.loads(trusting.backend.read(f"signatures/{file.name}"))["signatures"]) == 3


def test_people_who_sign_at_once_all_have_signed(location: str, tmp_path: Path) -> None:
    repo = datasnap.init(location)
    write(repo, "t", table())
    keys = [make_key(tmp_path / name) for name in "abcd"]
    for key in keys:
        repo.add_signer(key.name, f"{key}.pub")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda key: datasnap.open(location).sign("main", key=key), keys))
    assert sorted(repo.signatures()[0].signers) == ["a", "b", "c", "d"]


def test_all_verbs_that_make_snapshots_sign_them(trusting: Repository) -> None:
    write(trusting, "t", table(), key="k")
    write(trusting, "t", table(5), key="k")
    trusting.branch("exp", "main~1")
    with trusting.transaction("exp") as tx:
        tx.update("t", {"a": "7"}, "k = 2")
    trusting.merge("exp", message="merged")
    trusting.revert("main~1", "main")
    trusting.branch("side", "main~2")
    with trusting.transaction("side") as tx:
        tx.write("u", table())
    trusting.rebase("main", "side")
    trusting.optimize(["t"])
    trusting.restore("t@main~3")
    assert set(statuses(trusting, None)) == {"good"}
    assert len(statuses(trusting, None)) >= 7


def test_a_merge_that_was_settled_is_signed(trusting: Repository) -> None:
    write(trusting, "t", table(), key="k")
    trusting.branch("exp")
    for branch, value in (("main", "3"), ("exp", "4")):
        with trusting.transaction(branch) as tx:
            tx.update("t", {"a": value})
    with pytest.raises(MergeConflict):
        trusting.merge("exp")
    trusting.resolve_conflicts("t", take="ours")
    trusting.continue_merge()
    assert statuses(trusting)[0] == "good"


def test_the_signature_is_there_before_the_branch_moves(trusting: Repository) -> None:
    seen = []

    class Watcher:
        def before(self, change: RefChange) -> None:
            assert change.after is not None
            seen.append(check_signatures(trusting, [change.after])[0].status)

        def after(self, change: RefChange) -> None: ...

    trusting.refs.watcher = Watcher()
    write(trusting, "t", table())
    assert seen == ["good"]


def test_a_signature_of_another_snapshot_is_bad(trusting: Repository) -> None:
    one, two = write(trusting, "t", table(1)), write(trusting, "t", table(2))
    rewrite(trusting, two, trusting.backend.read(f"signatures/{one}"))
    bad, good = trusting.signatures()
    assert (bad.status, good.status) == ("bad", "good")
    assert "is not of this snapshot" in bad.why


def test_only_a_signature_that_was_meant_for_a_snapshot_counts(
    trusting: Repository, ada: Path
) -> None:
    id, key = write(trusting, "t", table()), read_signing_key(ada)
    file = json.loads(trusting.backend.read(f"signatures/{id}"))
    worth = {}
    for domain in (b"datasnap snapshot v1\0", b"", b"datasnap snapshot v1", b"another v1\0"):
        signature = base64.b64encode(key.sign(domain + bytes.fromhex(id))).decode()
        file["signatures"][0]["signature"] = signature
        rewrite(trusting, id, json.dumps(file).encode())
        worth[domain] = trusting.signatures()[0].status
    assert list(worth.values()) == ["good", "bad", "bad", "bad"]


def test_a_trusted_key_in_the_place_of_ones_own_is_bad(
    trusting: Repository, ada: Path, eve: Path
) -> None:
    trusting.sign_with(eve)
    id = write(trusting, "t", table())
    file = json.loads(trusting.backend.read(f"signatures/{id}"))
    file["signatures"][0]["key"] = Path(f"{ada}.pub").read_text()
    rewrite(trusting, id, json.dumps(file).encode())
    assert statuses(trusting) == ["bad"]


def test_ones_own_key_under_a_trusted_name_is_not_trusted(
    trusting: Repository, eve: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trusting.signer, "_who", lambda: "ada")
    trusting.sign_with(eve)
    id = write(trusting, "t", table())
    (status,) = trusting.signatures()
    assert (status.status, status.signers) == ("untrusted", ())
    assert "who says 'ada'" in status.why
    with pytest.raises(Refused):
        require(trusting, adding(trusting, None, id))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"rubbish", b"[]", b"{}", b'{"signatures": 3}', b"\xff\xfe", b"[" * 100_000,
        b'{"signatures": [{"signer": "ada", "key": "ssh-ed25519 AAAA", "signature": ""}]}',
        b'{"signatures": [{"signer": "ada", "key": "", "signature": "AAAA"}]}',
        b'{"signatures": [{"signer": "ada", "key": "ssh-dss \xc3\xa4", "signature": "*"}]}',
        b" " * 300_000,
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_signatures_is_bad_and_can_be_signed_over(
    trusting: Repository, data: bytes
) -> None:
    id = write(trusting, "t", table())
    rewrite(trusting, id, data)
    assert statuses(trusting) == ["bad"]
    with pytest.raises(Refused, match="is bad"):
        require(trusting, adding(trusting, None, id))
    assert trusting.sign().status == "good"


def test_no_signatures_is_unsigned(trusting: Repository) -> None:
    rewrite(trusting, write(trusting, "t", table()), b'{"signatures": []}')
    assert statuses(trusting) == ["unsigned"]


def test_rubbish_beside_a_good_signature_takes_nothing_from_it(trusting: Repository) -> None:
    id = write(trusting, "t", table())
    file = json.loads(trusting.backend.read(f"signatures/{id}"))
    file["signatures"].insert(0, {"signer": "\x1b[31m", "key": "y", "signature": "AAAA"})
    rewrite(trusting, id, json.dumps(file).encode())
    assert statuses(trusting) == ["good"]
    del file["signatures"][1]
    rewrite(trusting, id, json.dumps(file).encode())
    (bad,) = trusting.signatures()
    assert (bad.status, "says '�[31m'" in bad.why) == ("bad", True)


def test_a_signer_who_is_removed_is_trusted_no_more(trusting: Repository) -> None:
    write(trusting, "t", table())
    assert trusting.remove_signer("ada") == 1
    assert statuses(trusting) == ["untrusted"]


def test_an_unreadable_list_of_signers_trusts_nobody(trusting: Repository) -> None:
    write(trusting, "t", table())
    found = trusting.backend.read_ref("signers.json")
    assert found
    trusting.backend.write_ref("signers.json", b'{"signers": [{"name": "eve"}]}', found.version)
    with pytest.raises(CorruptData, match="list of signers"):
        trusting.signatures()


def adding(repo: Repository, before: str | None, after: str) -> RefChange:
    ids = [repo.resolve(r) if r else None for r in (before, after)]
    return RefChange("branch", "main", *ids, Why("merge"))


def test_each_snapshot_that_a_change_adds_must_be_signed(trusting: Repository, ada: Path) -> None:
    trusting.signer.on = False
    write(trusting, "t", table(0))
    trusting.branch("exp")
    trusting.signer.on = True
    with trusting.transaction("exp", message="signed") as tx:
        tx.write("u", table(1))
    require(trusting, adding(trusting, "main", "exp"))
    with pytest.raises(Refused, match=r"is unsigned"):
        require(trusting, adding(trusting, None, "exp"))
    trusting.signer.on = False
    with trusting.transaction("exp") as tx:
        tx.write("u", table(2))
    unsigned = tx.snapshot
    assert unsigned
    trusting.signer.on = True
    with trusting.transaction("exp") as tx:
        tx.write("u", table(3))
    with pytest.raises(Refused, match=f"{unsigned[:12]} is unsigned") as caught:
        require(trusting, adding(trusting, "main", "exp"))
    assert f"datasnap sign {unsigned[:12]}" in caught.value.hint
    trusting.sign(unsigned)
    require(trusting, adding(trusting, "main", "exp"))


def test_what_only_leaves_a_branch_need_not_be_signed(trusting: Repository) -> None:
    trusting.signer.on = False
    write(trusting, "t", table(1))
    write(trusting, "t", table(2))
    require(trusting, adding(trusting, "main", "main~1"))
    deleted = adding(trusting, "main", "main")._replace(after=None)
    require(trusting, deleted)


def test_a_parent_by_the_second_line_must_be_signed_too(trusting: Repository) -> None:
    write(trusting, "t", table(), key="k")
    base = trusting.snapshot().id
    trusting.branch("exp")
    trusting.signer.on = False
    with trusting.transaction("exp") as tx:
        tx.write("u", table())
    trusting.signer.on = True
    write(trusting, "v", table())
    trusting.merge("exp")
    with pytest.raises(Refused, match=f"{tx.snapshot[:12]} is unsigned"):  # type: ignore[index]
        require(trusting, adding(trusting, base, "main"))


def test_signatures_of_what_is_no_longer_stored_can_be_dropped(trusting: Repository) -> None:
    _, two = (write(trusting, "t", table(n)) for n in (1, 2))
    later, stored = trusting.backend.now() + 10_000_000, {bytes.fromhex(two)}
    assert drop_stale(trusting.backend, stored.__contains__, before=0) == 0
    assert drop_stale(trusting.backend, stored.__contains__, before=later) == 1
    assert [file.name for file in trusting.backend.list("signatures/")] == [two]


def test_a_repository_can_be_opened_and_read_without_cryptography(trusting: Repository) -> None:
    write(trusting, "t", table())
    script = """
import sys
sys.modules["cryptography"] = None
import datasnap
from datasnap.errors import UsageError
repo = datasnap.open(sys.argv[1])
assert repo.snapshot().table("t").row_count == 2
with repo.transaction() as tx:
    tx.write("u", sys.argv[2])
for call in (repo.sign_with, repo.sign, repo.signatures):
    try:
        call(*([sys.argv[3]] if call == repo.sign_with else []))
    except UsageError as error:
        assert "datasnap[signing]" in error.hint, error
    else:
        raise AssertionError(call)
"""
    folder = Path(trusting.url).parent
    pq.write_table(table(), folder / "u.parquet")
    key = make_key(folder / "key")
    done = subprocess.run(
        [sys.executable, "-c", script, trusting.url, str(folder / "u.parquet"), str(key)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DATASNAP_SIGNING_KEY": str(key)},
    )
    assert done.returncode == 0, done.stderr
