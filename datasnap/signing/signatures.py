"""Signatures of snapshots: made, kept, checked, and asked for.

    signatures/SNAPSHOT     {"signatures": [{"signer": …, "key": …, "signature": …}, …]}

SNAPSHOT is an ID in hex, `key` a public key of OpenSSH, `signature` (in base64) Ed25519's over

    "datasnap snapshot v1" 00 ID

with the ID's 32 bytes, so that nothing else that the key signs can be taken for it. `signer` is
what the signer calls themselves, and proves nothing. Each key signs a snapshot once; the file
changes by compare-and-swap, so that several people can sign at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from datasnap.errors import Conflict, Refused
from datasnap.signing.keys import SigningKey, fingerprint, is_signed, parse_public_key
from datasnap.signing.trusted import signers
from datasnap.snapshots.history import added
from datasnap.snapshots.objects import SnapshotId
from datasnap.snapshots.refs import RefChange
from datasnap.storage import Backend, MissingFile

if TYPE_CHECKING:
    from datasnap.repository import Repository

FOLDER = "signatures/"
_NAME = re.compile(r"[0-9a-f]{64}")
#: Larger files are not read: nobody has so many signers.
_MAX_BYTES = 1 << 18
_MAX_TRIES = 50
#: Files that are read at once.
_AT_ONCE = 16

Status = Literal["good", "unsigned", "untrusted", "bad"]


@dataclass(frozen=True)
class SignatureStatus:
    """What a snapshot's signatures are worth.

    Attributes:
        snapshot: as 64 hex digits.
        status: "good": at least one is right, and by a trusted signer; "untrusted": they are
            right, but nobody's who is trusted; "bad": one is wrong, and none is good;
            "unsigned": there is none.
        signers: those of the good ones, by the names under which they are trusted.
        why: what is wrong.
    """

    snapshot: str
    status: Status
    signers: tuple[str, ...] = ()
    why: str = ""


class _Signature(msgspec.Struct, frozen=True):
    signer: str
    key: str
    signature: bytes


class _Signatures(msgspec.Struct, frozen=True):
    signatures: tuple[_Signature, ...]


class _Judged(NamedTuple):
    """One signature: its worth, whose it is, or what is wrong with it."""

    status: Status
    told: str


def add_signature(backend: Backend, id: SnapshotId, key: SigningKey, signer: str) -> None:
    """Sign a snapshot, and keep that beside the signatures of others, but for wrong ones.

    Args:
        signer: what the signer calls themselves.
    """
    path, made = _path(id), _Signature(signer, key.public, key.sign(_message(id)))
    for _ in range(_MAX_TRIES):
        found = backend.read_ref(path)
        others = (found and _decode(found.data)) or ()
        kept = (s for s in others if s.key != made.key and _judge(id, s, {}).status != "bad")
        data = msgspec.json.encode(_Signatures((*kept, made)))
        if found is not None and found.data == data:
            return
        try:
            backend.write_ref(path, data, found.version if found else None)
        except Conflict:
            continue
        return
    raise Conflict(f"gave up on signing {id.hex()[:12]}: others keep signing it")


def check_signatures(repository: Repository, ids: Iterable[SnapshotId]) -> list[SignatureStatus]:
    """What the signatures of snapshots are worth, in their order.

    Raises:
        CorruptData: the list of signers is unreadable. UsageError: `cryptography` is not
        installed, and there are signers or signatures.
    """
    wanted = list(ids)
    names = {signer.key: signer.name for signer in signers(repository)}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        files = pool.map(partial(_read, repository.backend), wanted)
        return [_judge_all(id, file, names) for id, file in zip(wanted, files, strict=True)]


def require(repository: Repository, change: RefChange) -> None:
    """Refuse a change of a ref that brings in a snapshot without a good signature.

    Raises:
        Refused: one that leads to it after the change, and did not before, is not signed by a
        trusted signer.
    """
    if change.after is None:
        return
    new = [id for id, _ in added(repository.objects, change.before, change.after)]
    lacking = [s for s in check_signatures(repository, new) if s.status != "good"]
    if lacking:
        first = lacking[-1]
        others = f", and {len(lacking) - 1:,} more," * (len(lacking) > 1)
        why = f" ({first.why})" if first.why else ""
        raise Refused(
            f"'{change.name}' takes only snapshots that a trusted signer has signed: "
            f"{first.snapshot[:12]}{others} is {first.status}{why}",
            hint=f"Commit with --sign; what is there already, `datasnap sign "
            f"{first.snapshot[:12]}` signs. See `datasnap signers`.",
        )


def drop_stale(backend: Backend, is_stored: Callable[[bytes], bool], *, before: int) -> int:
    """Remove the signatures of snapshots that are no longer stored; how many there were.

    Args:
        is_stored: whether there is an object of this ID.
        before: only files older than this, by the store's clock, are looked at: a snapshot is
            signed right after it is stored, and who looks may not know of it yet.
    """
    old = [file.name for file in backend.list(FOLDER) if file.modified < before]
    # Others leave files there, too.
    of_snapshots = [name for name in old if _NAME.fullmatch(name)]
    stale = [name for name in of_snapshots if not is_stored(bytes.fromhex(name))]
    for name in stale:
        backend.delete(FOLDER + name)
    return len(stale)


def _judge_all(
    id: SnapshotId, found: Sequence[_Signature] | None, names: Mapping[str, str]
) -> SignatureStatus:
    if found is None:
        return SignatureStatus(id.hex(), "bad", why="the file of its signatures is unreadable")
    judged = [_judge(id, signature, names) for signature in found]
    for status in ("good", "bad", "untrusted"):
        told = tuple(dict.fromkeys(each.told for each in judged if each.status == status))
        if told and status == "good":
            return SignatureStatus(id.hex(), "good", told)
        if told:
            return SignatureStatus(id.hex(), status, why="; ".join(told))
    return SignatureStatus(id.hex(), "unsigned")


def _judge(id: SnapshotId, signature: _Signature, names: Mapping[str, str]) -> _Judged:
    called = "".join(c if c.isprintable() else "�" for c in signature.signer[:80])
    try:
        key = parse_public_key(signature.key)
        right = is_signed(_message(id), signature.signature, key)
    except ValueError:
        return _Judged("bad", f"of one that says '{called}', the key is none")
    if not right:
        return _Judged(
            "bad", f"one that says '{called}' is not of this snapshot, or not by that key"
        )
    if key not in names:
        return _Judged("untrusted", f"by {fingerprint(key)}, who says '{called}'")
    return _Judged("good", names[key])


def _read(backend: Backend, id: SnapshotId) -> Sequence[_Signature] | None:
    """The signatures of a snapshot; None: the file is none of signatures."""
    path = _path(id)
    size = backend.size(path)
    if size is None:
        return ()
    if size > _MAX_BYTES:
        return None
    try:
        return _decode(backend.read(path))
    except MissingFile:
        return ()


def _decode(data: bytes) -> tuple[_Signature, ...] | None:
    try:
        return msgspec.json.decode(data, type=_Signatures).signatures
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _message(id: SnapshotId) -> bytes:
    return b"datasnap snapshot v1\0" + id


def _path(id: SnapshotId) -> str:
    return FOLDER + id.hex()
