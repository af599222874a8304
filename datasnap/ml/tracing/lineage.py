"""Runs as OpenLineage events, for Marquez, DataHub and others that draw lineage.

A run is a START and, once it has ended, a COMPLETE, FAIL or ABORT. Tables that it read are inputs,
each with its snapshot as its version; what it saved are outputs. An import that is known to have
read files is a job too. By the specification 2-0-2: https://openlineage.io/spec/2-0-2/OpenLineage.json
"""

from __future__ import annotations

import re
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from datasnap.errors import DatasnapError
from datasnap.places import open_repository
from datasnap.snapshots.held import real_place

if TYPE_CHECKING:
    from datasnap.ml.runs.artifacts import Artifact
    from datasnap.ml.runs.records import RunRecord
    from datasnap.ml.tracing.trace import Change, TracedRun, TracedTable
    from datasnap.repository import Repository

PRODUCER = "https://pypi.org/project/datasnap/"
SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = "https://openlineage.io/spec/facets/"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)
_ENDINGS = {"finished": "COMPLETE", "failed": "FAIL", "killed": "ABORT"}
#: git@github.com:ada/rides.git
_SCP = re.compile(r"(?:[^@/:]+@)?([^/:]+):(?!//)(.+)")

Json = dict[str, object]


def run_events(repository: Repository, traced: Iterable[TracedRun]) -> list[Json]:
    """Runs, and the imports of what they read, as RunEvents in the order of their times."""
    imports: dict[str, Json] = {}
    events: list[Json] = []
    for each in traced:
        for table in each.tables:
            place = table.repository or repository.url
            for change in table.changes:
                if change.sources:
                    imports[f"{change.snapshot}/{table.name}"] = _import(place, table, change)
        events += _events(repository, each)
    return sorted([*imports.values(), *events], key=lambda event: str(event["eventTime"]))


def run_uuid(id: str) -> str:
    """A run's ID as OpenLineage wants it: always the same UUID."""
    return str(uuid.uuid5(_NAMESPACE, id))


def _events(repository: Repository, traced: TracedRun) -> Iterator[Json]:
    run = traced.run
    job: Json = {
        "namespace": namespace(repository.url),
        "name": run.name or "run",
        "facets": _job_facets(run),
    }
    inputs = [_input(repository, table) for table in traced.tables]
    saved = [_output(repository, run, artifact) for artifact in run.artifacts]
    yield _event("START", run.started, run.id, _run_facets(run), job, inputs, [])
    kind = _ENDINGS.get(run.status)
    if kind:
        ended = run.ended or run.started  # when it was killed nobody knows
        yield _event(kind, ended, run.id, _run_facets(run), job, inputs, saved)


def _event(
    kind: str,
    time: datetime,
    id: str,
    facets: Json,
    job: Json,
    inputs: list[Json],
    outputs: list[Json],
) -> Json:
    return {
        "eventType": kind,
        "eventTime": f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
        "producer": PRODUCER,
        "schemaURL": SCHEMA,
        "run": {"runId": run_uuid(id), "facets": facets},
        "job": job,
        "inputs": inputs,
        "outputs": outputs,
    }


def namespace(place: str) -> str:
    """A repository as a namespace of data sets: its URL."""
    return place if "://" in place else f"file://{socket.gethostname()}{real_place(place)}"


def _run_facets(run: RunRecord) -> Json:
    facets: Json = {
        "datasnap_run": {
            "_producer": PRODUCER,
            "_schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunFacet",
            "id": run.id,
            "status": run.status,
            "command": list(run.command),
            "parameters": run.params,
            # JSON has no nan and no inf.
            "metrics": {n: v if abs(v) < float("inf") else str(v) for n, v in run.metrics.items()},
            "environment": run.environment,
            "reproduces": run.reproduces or None,
        }
    }
    if run.error:
        said = {"message": run.error, "programmingLanguage": "Python"}
        facets["errorMessage"] = _facet("1-0-1", "ErrorMessageRunFacet", said)
    return facets


def _job_facets(run: RunRecord) -> Json:
    kind = {"processingType": "BATCH", "integration": "DATASNAP", "jobType": "RUN"}
    facets: Json = {"jobType": _facet("2-0-3", "JobTypeJobFacet", kind)}
    code = run.code
    if code.commit:
        url = _git_url(code.remote) or Path(code.root).as_uri()
        where: Json = {"type": "git", "url": url, "repoUrl": url, "version": code.commit}
        if code.branch:
            where["branch"] = code.branch
        # Not of the specification, which has no word for it; it allows others.
        where["datasnap_dirty"] = code.dirty
        facets["sourceCodeLocation"] = _facet("1-0-1", "SourceCodeLocationJobFacet", where)
    return facets


def _git_url(remote: str) -> str:
    """The URL of a remote, which git may also write as `git@host:path`."""
    if match := _SCP.fullmatch(remote):
        return f"ssh://{match[1]}/{match[2]}"
    return remote if "://" in remote else Path(remote).as_uri() if remote[:1] == "/" else ""


def _input(repository: Repository, table: TracedTable) -> Json:
    place = table.repository or repository.url
    fields = _schema(repository, table)
    return _dataset(place, table.name, table.snapshot, fields)


def _output(repository: Repository, run: RunRecord, artifact: Artifact) -> Json:
    name = f"artifacts/{run.name or run.id}/{artifact.name}"
    return _dataset(repository.url, name, artifact.hash, None)


def _dataset(place: str, name: str, version: str, fields: list[Json] | None) -> Json:
    url = namespace(place)
    facets: Json = {
        "version": _facet("1-0-1", "DatasetVersionDatasetFacet", {"datasetVersion": version}),
        "dataSource": _facet("1-0-1", "DatasourceDatasetFacet", {"name": url, "uri": url}),
    }
    if fields is not None:
        facets["schema"] = _facet("1-1-1", "SchemaDatasetFacet", {"fields": fields})
    return {"namespace": url, "name": name, "facets": facets}


def _schema(repository: Repository, table: TracedTable) -> list[Json] | None:
    """The columns that were read; None: nobody can tell any more."""
    try:
        place = open_repository(table.repository) if table.repository else repository
        schema: pa.Schema = place.snapshot(table.snapshot).table(table.name).schema
    except DatasnapError:
        return None
    return [
        {"name": field.name, "type": str(field.type)}
        for field in schema
        if table.columns is None or field.name in table.columns
    ]


def _import(place: str, table: TracedTable, change: Change) -> Json:
    job: Json = {"namespace": namespace(place), "name": f"import {table.name}", "facets": {}}
    inputs = [{**_named(source), "facets": {}} for source in change.sources]
    made = _dataset(place, table.name, change.snapshot, None)
    id = f"{change.snapshot}/{table.name}"
    return _event("COMPLETE", change.time, id, {}, job, inputs, [made])


def _named(source: str) -> Json:
    """A file by OpenLineage's naming: the place, and the path in it."""
    if match := re.fullmatch(r"([^:]+://[^/]+)/(.+)", source):
        return {"namespace": match[1], "name": match[2]}
    return {"namespace": f"file://{socket.gethostname()}", "name": source}


def _facet(version: str, name: str, values: Mapping[str, object]) -> Json:
    url = f"{_FACETS}{version}/{name}.json#/$defs/{name}"
    return {"_producer": PRODUCER, "_schemaURL": url, **values}
