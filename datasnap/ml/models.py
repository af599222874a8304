"""Models and their stages: names for runs, as refs with a log and nothing more.

    refs/runs/runs   …, run k3f9, run m7aa, …         what was recorded
    model NAME       version 1 ← version 2 ← …        each a snapshot that names a run
    model NAME/STAGE a version: what is in production

A version is a snapshot: it holds the tables of runs as they were when it was registered, and names
its run. Record and bytes are read from these, so a version stays what it is, whatever becomes of
the run. Before it comes the version before it, so versions are numbered by how many there are.

To promote a version moves the ref of a stage; to roll back moves that to where it was before. Who
did so, when and why, is in the log of the ref (`datasnap reflog model:NAME/STAGE`), and `datasnap
undo` takes it back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from datasnap.errors import InvalidName, NothingToDo, UnknownName, UsageError
from datasnap.snapshots.objects import Snapshot, SnapshotId, snapshot_id
from datasnap.snapshots.reflog import Why
from datasnap.snapshots.refs import Ref, check_name

if TYPE_CHECKING:
    from datasnap.ml.runs.artifacts import Artifact
    from datasnap.ml.runs.records import RunRecord
    from datasnap.repository import Repository

#: The stage that is meant where none is named.
PRODUCTION = "production"
#: What a version's snapshot calls its run.
_RUN = "datasnap.run"
_VERSION = re.compile(r"v?([0-9]{1,5})")


@dataclass(frozen=True)
class ModelVersion:
    """A run's model under a name.

    Attributes:
        version: 1 for the first that was registered.
        run: its ID.
        snapshot: that holds it, 64 hex digits.
        who, time: who registered it, and when.
    """

    name: str
    version: int
    run: str
    snapshot: str
    who: str
    time: datetime
    _repository: Repository = field(repr=False, compare=False)

    @property
    def record(self) -> RunRecord:
        """The run as it was registered: its data, code, parameters and metrics."""
        return self._repository.run_record(self.run, at=snapshot_id(self.snapshot))

    @property
    def artifact(self) -> Artifact:
        """The file or folder that the run had saved as its model."""
        found = self.record.model
        if found is None:
            raise UnknownName("artifact", "model", where=f"of run {self.run}")
        return found

    def save_to(self, path: str | os.PathLike[str]) -> Path:
        """Write the model to a file or folder of that path, and give that back. A file that is
        there is replaced; a folder that is there must be empty.

        Raises:
            CorruptData. StorageError: there is something already, or it cannot be written.
        """
        from datasnap.ml.runs.artifacts import write_artifact

        to = Path(path)
        write_artifact(self._repository, self.artifact, to, at=snapshot_id(self.snapshot))
        return to


@dataclass(frozen=True)
class Model:
    """A name, with all that was registered under it.

    Attributes:
        versions: newest first.
        stages: where each is.
    """

    name: str
    versions: tuple[ModelVersion, ...]
    stages: dict[str, ModelVersion]


@dataclass(frozen=True)
class StageMove:
    """What a promotion or a rollback did.

    Attributes:
        before: None: the stage is new.
    """

    name: str
    stage: str
    before: ModelVersion | None
    after: ModelVersion


class _Spec(NamedTuple):
    """A model as it was asked for; at: a stage or a version, "": neither was said."""

    name: str
    at: str

    @property
    def ref(self) -> str:
        """The ref of its stage."""
        return f"{self.name}/{self.at or PRODUCTION}"


def models(repository: Repository) -> list[Model]:
    """All models, by name."""
    found: dict[str, Model] = {}
    for name, id in repository.refs.all("model").items():
        model, _, stage = name.partition("/")
        if not stage:
            found[model] = Model(model, tuple(_versions(repository, model, id)), {})
        elif model in found:  # a name stands before its stages
            found[model].stages[stage] = _version(repository, model, id)
    return list(found.values())


def model(repository: Repository, spec: str) -> ModelVersion:
    """A version of a model.

    Args:
        spec: `rides-gbm@production`; `rides-gbm@3`, by number; `rides-gbm`: the newest.

    Raises:
        UnknownName: there is no such model, stage or version.
    """
    name, at = _parsed(spec)
    versions = _versions_of(repository, name)
    if not at:
        return versions[0]
    if _VERSION.fullmatch(at):
        return _chosen(repository, versions, at)
    ref = repository.refs.read("model", f"{name}/{at}")
    if ref is None:
        raise UnknownName("stage", at, _stages(repository, name), where=f"of {name}")
    return _version(repository, name, ref.snapshot)


def register_model(
    repository: Repository, name: str, run: str, *, force: bool = False
) -> ModelVersion:
    """Make a run's model the next version under a name.

    Args:
        run: its ID, the beginning of that, or its name: the newest run called so.
        force: also a run that has not ended, as far as anybody here can tell. The version is
            then what was recorded so far.

    Raises:
        UnknownName, AmbiguousId: of the run. InvalidName. UsageError: the run saved no model, or
            has not ended. NothingToDo: it is registered. Conflict: another writer registered one
            meanwhile.
    """
    from datasnap.ml.runs import tables
    from datasnap.snapshots.commit import commit

    refs, name = repository.refs, _check_part(name, "model")
    before, recorded = refs.read("model", name), refs.read("run", tables.REF)
    if recorded is None:
        raise UnknownName("run", run)
    record = repository.run_record(run, at=recorded.snapshot)
    _check_model(record, force=force)
    for each in _versions(repository, name, before.snapshot) if before else ():
        if each.run == record.id and each.artifact == record.model:
            raise NothingToDo(f"run {record.id} is version {each.version} of {name} already")
    sign = repository.signer.begin()
    with repository.store.session() as session:
        id = commit(
            session,
            repository.objects,
            refs,
            name,
            before.snapshot if before else None,
            dict(repository.tree(recorded.snapshot).entries),
            author=refs.who(),
            message=f"run {record.id}",
            metadata={_RUN: record.id},
            other_parents=(recorded.snapshot,),
            allow_empty=True,
            verb="register",
            kind="model",
            sign=sign,
        )
    assert id is not None
    return _version(repository, name, id)


def promote_model(repository: Repository, spec: str, to: str | int = "") -> StageMove:
    """Bring a version to a stage.

    Args:
        spec: `rides-gbm@production`; `rides-gbm` means the same.
        to: a version or its run; "": the newest.

    Raises:
        UnknownName: there is no such model or version. UsageError: the run is not registered.
        NothingToDo: the stage is there. Conflict: another writer moved it meanwhile.
    """
    asked = _stage(spec)
    after = _chosen(repository, _versions_of(repository, asked.name), str(to))
    return _move(repository, asked, repository.refs.read("model", asked.ref), after, "promote")


def rollback_model(repository: Repository, spec: str) -> StageMove:
    """Bring a stage back to the version that it was at before. Doing it again goes one more step
    back.

    Args:
        spec: as for `promote_model`.

    Raises:
        UnknownName: there is no such model or stage. NothingToDo: it was never at another.
        Conflict: another writer moved it meanwhile.
    """
    asked = _stage(spec)
    model(repository, f"{asked.name}@{asked.at}")
    ref = repository.refs.read("model", asked.ref)
    been = _path(repository, asked.ref)
    if len(been) < 2:
        raise NothingToDo(f"{asked.name}@{asked.at} was at no other version before")
    after = _version(repository, asked.name, snapshot_id(been[-2]))
    return _move(repository, asked, ref, after, "rollback")


def version_ids(repository: Repository, newest: SnapshotId) -> list[SnapshotId]:
    """The snapshots that a model's ref holds: all its versions, for none is to be pruned."""
    return [id for id, _ in _chain(repository, newest)]


def models_of(repository: Repository, run: str) -> list[str]:
    """The models that a run is a version of."""
    return [m.name for m in models(repository) if run in {each.run for each in m.versions}]


def _check_model(record: RunRecord, *, force: bool) -> None:
    if record.model is None:
        raise UsageError(
            f"run {record.id} saved no model", hint="Save it in the run: run.save_model(path)"
        )
    if record.status == "running" and not force:
        raise UsageError(
            f"run {record.id} is running on {record.host}, and may save another model",
            hint="Register it when it has ended; if it is gone with its machine: --force.",
        )


def _move(
    repository: Repository, asked: _Spec, ref: Ref | None, after: ModelVersion, verb: str
) -> StageMove:
    """Move a stage from where it was seen."""
    before = _version(repository, asked.name, ref.snapshot) if ref else None
    if before == after:
        raise NothingToDo(f"{asked.name}@{asked.at} is at version {after.version} already")
    why = Why(verb, f"version {after.version}, run {after.run}")
    repository.refs.move("model", asked.ref, snapshot_id(after.snapshot), expected=ref, why=why)
    return StageMove(asked.name, asked.at, before, after)


def _path(repository: Repository, ref: str) -> list[str]:
    """The snapshots that a stage went by to get where it is, without the ways that it came back."""
    path: list[str] = []
    before: dict[str, list[str]] = {}  # by operation
    for entry in reversed(list(repository.refs.log("model", ref))):
        before[entry.operation] = path
        if entry.undoes:
            path = before.get(entry.undoes, [])
        elif entry.verb == "rollback":
            path = path[:-1]
        if entry.after and path[-1:] != [entry.after]:
            path = [*path, entry.after]
    return path


def _versions_of(repository: Repository, name: str) -> list[ModelVersion]:
    ref = repository.refs.read("model", name)
    if ref is None or "/" in name:
        known = [each for each in repository.refs.all("model") if "/" not in each]
        raise UnknownName("model", name, known)
    return list(_versions(repository, name, ref.snapshot))


def _versions(repository: Repository, name: str, newest: SnapshotId) -> Iterator[ModelVersion]:
    """A version and those before it, newest first."""
    chain = _chain(repository, newest)
    for number, (id, stored) in zip(range(len(chain), 0, -1), chain, strict=True):
        time = datetime.fromtimestamp(stored.time / 1_000_000, UTC)
        run, who = stored.metadata[_RUN], stored.author
        yield ModelVersion(name, number, run, id.hex(), who, time, repository)


def _chain(repository: Repository, newest: SnapshotId) -> list[tuple[SnapshotId, Snapshot]]:
    """The snapshots of a version and those before it; what they come from was no version."""
    past = repository.revisions.first_parents(newest)
    return list(takewhile(lambda each: _RUN in each[1].metadata, past))


def _version(repository: Repository, name: str, id: SnapshotId) -> ModelVersion:
    return next(_versions(repository, name, id))


def _chosen(repository: Repository, versions: list[ModelVersion], to: str) -> ModelVersion:
    """One of the versions, by number or run; "": the newest."""
    from datasnap.ml.runs.records import resolve_run

    if not to:
        return versions[0]
    name, number = versions[0].name, _VERSION.fullmatch(to)
    if number:
        found = [each for each in versions if each.version == int(number[1])]
        if not found:
            known = [str(each.version) for each in versions]
            raise UnknownName("version", to, known, where=f"of {name}")
        return found[0]
    by_run = {each.run: each for each in reversed(versions)}
    run = to if to in by_run else resolve_run(repository, to)  # which may be removed
    if run in by_run:
        return by_run[run]
    raise UsageError(
        f"run {run} is no version of {name}", hint=f"First: datasnap model register {name} {run}"
    )


def _stages(repository: Repository, name: str) -> list[str]:
    refs = repository.refs.all("model")
    return [each.partition("/")[2] for each in refs if each.startswith(name + "/")]


def _stage(spec: str) -> _Spec:
    """A stage of a model: production, where none is named."""
    name, at = _parsed(spec)
    if _VERSION.fullmatch(at):
        raise InvalidName(f"'{at}' cannot be a stage name: it reads as a version")
    return _Spec(name, _check_part(at or PRODUCTION, "stage"))


def _parsed(spec: str) -> _Spec:
    name, at_sign, at = spec.partition("@")
    if at_sign and not at:
        raise InvalidName(f"'{spec}' names no stage", hint=f"As {name}@{PRODUCTION}.")
    return _Spec(name, at)


def _check_part(name: str, kind: str) -> str:
    try:
        if "/" not in name:
            return check_name(name, kind)
        why = f"'{name}' cannot be a {kind} name: it contains '/'"
    except InvalidName as error:
        why = error.message
    raise InvalidName(why, hint="Use letters, digits, '-', '_' and '.': for example tips-v2")
