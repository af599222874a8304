"""Fixtures that tests of every floor use."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings

import datasnap
from datasnap.repository import Repository
from datasnap.storage import Backend, Store, open_backend

settings.register_profile(
    "suite",
    deadline=None,
    max_examples=40,
    # The same examples in every CI run, so that it fails for the change; others at each desk.
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("suite")

#: Also for fixtures of whole modules, which no other fixture precedes: who commits is asked once.
os.environ["DATASNAP_AUTHOR"] = "Ada <ada@example.org>"

#: Processes that tests start find the modules compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test first, so that no worker waits for the other at the end."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")


@pytest.fixture(autouse=True)
def _a_known_author(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATASNAP_AUTHOR", "Ada <ada@example.org>")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DATASNAP_REPO", raising=False)


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A real S3 server over HTTP (moto's), and the URL of a bucket in it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "NO_PROXY": "127.0.0.1",
    }
    before = dict(os.environ)
    os.environ.update(environment)
    boto3.client("s3").create_bucket(Bucket="datasnap")
    yield "s3://datasnap"
    os.environ.clear()
    os.environ.update(before)
    server.stop()


@pytest.fixture(params=["local", "memory", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new repository can be made: on each kind of backend."""
    if request.param == "local":
        return str(tmp_path / "repo")
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    return f"{request.getfixturevalue('s3')}/{uuid.uuid4().hex}"


@pytest.fixture
def backend(location: str) -> Backend:
    return open_backend(location)


@pytest.fixture
def store(backend: Backend) -> Store:
    return Store(backend)


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    """An empty repository on the local disk."""
    return datasnap.init(tmp_path / "repo")


@pytest.fixture(scope="session")
def rides() -> pa.Table:
    """300,000 rides by ascending key: a few segments of mixed columns."""
    random = np.random.default_rng(20260131)
    rows = 300_000
    places = pa.array([f"place {i}" for i in range(200)])
    return pa.table(
        {
            "ride_id": np.cumsum(random.integers(1, 4, rows)),
            "started": pa.array(np.cumsum(random.integers(0, 9_000_000, rows))).cast(
                pa.timestamp("us", "UTC")
            ),
            "fare": np.round(random.gamma(2.0, 9.0, rows), 2),
            "km": random.gamma(2.0, 3.0, rows),
            "place": places.take(pa.array(random.integers(0, 200, rows))),
            "shared": random.random(rows) < 0.2,
        }
    )


def write(repo: Repository, name: str, data: object, **options: object) -> str:
    """Commit one table to main; returns the snapshot's ID."""
    with repo.transaction("main", message=f"write {name}") as tx:
        tx.write(name, data, **options)  # type: ignore[arg-type]
    assert tx.snapshot is not None
    return tx.snapshot
