"""A conditional put arrives at the object store, and its answer does not come back."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pyarrow as pa
import pytest

import datasnap
from datasnap.storage import LostAnswer
from tests.concurrency.proxy import Proxy, Request, proxy_to


@pytest.fixture
def proxy(s3: str) -> Iterator[Proxy]:
    with proxy_to(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        yield proxy


@pytest.fixture
def location(s3: str) -> str:
    location = f"{s3}/{uuid.uuid4().hex}"
    repo = datasnap.init(location)
    with repo.transaction("main", message="first") as tx:
        tx.write("a", pa.table({"x": [0]}))
    return location


def is_swap(request: Request) -> bool:
    return request.method == "PUT" and "refs/heads" in request.path


def through(proxy: Proxy, location: str, monkeypatch: pytest.MonkeyPatch) -> datasnap.Repository:
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        return datasnap.open(location)


def messages(location: str, ref: str = "main") -> list[str]:
    return [snapshot.message for snapshot in datasnap.open(location).log(ref)]


@pytest.mark.parametrize("losses", [1, 3, 1000])
def test_a_commit_whose_answer_is_lost_is_done_once(
    proxy: Proxy, location: str, monkeypatch: pytest.MonkeyPatch, losses: int
) -> None:
    repo = through(proxy, location, monkeypatch)
    left = [losses]

    def lose(request: Request) -> bool:
        left[0] -= is_swap(request)
        return is_swap(request) and left[0] >= 0

    proxy.lose = lose
    with repo.transaction("main", message="second") as tx:
        tx.write("a", pa.table({"x": [1]}))
    assert left[0] < losses
    assert messages(location) == ["second", "first"]
    assert datasnap.open(location).snapshot("main").id == tx.snapshot


@pytest.mark.parametrize("others", [1, 40])
def test_a_commit_whose_answer_is_lost_and_that_others_built_upon_is_done_once(
    proxy: Proxy, location: str, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """The branch holds another snapshot when the answer is missed: that of a commit on ours."""
    repo, other = through(proxy, location, monkeypatch), datasnap.open(location)
    lost = []

    def lose(request: Request) -> bool:
        if not is_swap(request) or lost:
            return False
        lost.append(request)
        for turn in range(others):
            with other.transaction("main", message=f"other {turn}", allow_empty=True):
                pass
        return True

    proxy.lose = lose
    with repo.transaction("main", message="second") as tx:
        tx.write("a", pa.table({"x": [1]}))
    assert lost
    theirs = [f"other {turn}" for turn in reversed(range(others))]
    assert messages(location) == [*theirs, "second", "first"]
    assert tx.snapshot in [snapshot.id for snapshot in datasnap.open(location).log("main")]


def test_what_cannot_be_known_is_said(
    proxy: Proxy, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network goes with the answer, and does not come back."""
    repo = through(proxy, location, monkeypatch)
    gone = []

    def lose(request: Request) -> bool:
        if is_swap(request):
            gone.append(request)
        return bool(gone)

    proxy.lose = lose
    with (
        pytest.raises(LostAnswer) as caught,
        repo.transaction("main", message="second") as tx,
    ):
        tx.write("a", pa.table({"x": [1]}))
    assert "may have been done" in caught.value.hint
    assert messages(location) == ["second", "first"]


def test_a_commit_that_lost_against_another_is_done_once_after_it(
    proxy: Proxy, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was refused, that answer was lost, and the next try is told the same."""
    repo, other = through(proxy, location, monkeypatch), datasnap.open(location)
    lost = []

    def lose(request: Request) -> bool:
        if is_swap(request) and len(lost) < 2:
            lost.append(request)
            return True
        return False

    with repo.transaction("main", message="second") as tx:
        tx.write("a", pa.table({"x": [1]}))
        with other.transaction("main", message="other") as quick:
            quick.write("b", pa.table({"x": [1]}))
        proxy.lose = lose
    assert len(lost) == 2
    assert messages(location) == ["second", "other", "first"]


def test_a_new_branch_and_a_tag_whose_answers_are_lost_are_made(
    proxy: Proxy, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = through(proxy, location, monkeypatch)
    lost = []

    def lose(request: Request) -> bool:
        first = request.method == "PUT" and "refs/" in request.path and request not in lost
        lost.append(request)
        return first

    proxy.lose = lose
    repo.branch("exp")
    repo.tag("v1")
    repo.delete_branch("exp")
    again = datasnap.open(location)
    assert (list(again.branches()), list(again.tags())) == (["main"], ["v1"])
