"""What a small commit asks of an object store: each request takes tens of milliseconds there."""

from __future__ import annotations

import os
import uuid

import pyarrow as pa
import pytest

import datasnap
from tests.concurrency.proxy import Request, proxy_to


def test_a_commit_after_ones_own_takes_few_requests(
    s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy_to(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        location = f"{s3}/{uuid.uuid4().hex}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        repo = datasnap.init(location)
        with repo.transaction("main") as tx:
            tx.write("a", pa.table({"x": [0]}), key="x")
        for turn in range(2):
            proxy.seen.clear()
            with repo.transaction("main") as tx:
                tx.upsert("a", pa.table({"x": [turn + 1]}))
        writes = [request for request in proxy.seen if request.method != "GET"]
        assert [kind_of(request) for request in writes] == ["packs", "packs", "index", "refs"]
        read = [r for r in proxy.seen if r.method == "GET" and kind_of(r) == "packs"]
        assert len(read) <= 2  # the chunk that is edited; manifests are known
        assert len(proxy.seen) <= 13


def kind_of(request: Request) -> str:
    return request.path.split("/")[3] if request.path.count("/") > 3 else ""
