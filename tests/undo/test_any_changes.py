"""Any sequence of changes, undos and redos, against a plain model with two stacks."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from datasnap.errors import DatasnapError
from datasnap.repository import Repository
from datasnap.storage import open_backend
from tests.conftest import write

BRANCHES = ("main", "a", "b")
State = dict[str, str]
#: What an operation did, by ref: from what to what.
Operation = dict[str, tuple[str | None, str | None]]


@dataclass
class Model:
    """Refs as a dict; operations that can be undone, and undone ones that can be redone."""

    state: State
    done: list[Operation] = field(default_factory=list)
    undone: list[Operation] = field(default_factory=list)

    def did(self, after: State) -> None:
        names = self.state.keys() | after.keys()
        changed = {
            n: (self.state.get(n), after.get(n)) for n in names if self.state.get(n) != after.get(n)
        }
        if changed:
            self.done.append(changed)
        self.state = dict(after)

    def undo(self, ref: str | None) -> bool:
        return self._take_back(self.done, self.undone, ref, 1)

    def redo(self, ref: str | None) -> bool:
        return self._take_back(self.undone, self.done, ref, 0)

    def _take_back(
        self, source: list[Operation], target: list[Operation], ref: str | None, left: int
    ) -> bool:
        number = next((n for n, o in reversed(tuple(enumerate(source))) if ref in (None, *o)), None)
        if number is None:
            return False
        found = source[number]
        if any(self.state.get(n) != found[n][left] for n in found):
            return False
        after = {**self.state, **{n: sides[1 - left] for n, sides in found.items()}}
        if "main" not in {n for n, id in after.items() if id}:  # the current branch stays
            return False
        self.state = {n: id for n, id in after.items() if id}
        target.append(source.pop(number))
        return True


names = st.sampled_from(BRANCHES)
steps = st.one_of(
    st.tuples(st.just("reset"), names, st.integers(0, 3)),
    st.tuples(st.just("create"), names, st.integers(0, 3)),
    st.tuples(st.just("delete"), names),
    st.tuples(st.just("rename"), names, names),
    st.tuples(st.just("tag"), st.integers(0, 3)),
    st.tuples(st.just("untag")),
    st.tuples(st.sampled_from(["undo", "undo", "redo"]), st.none() | names),
)
_made: dict[str, list[str]] = {}


def a_repository() -> tuple[Repository, list[str]]:
    """A repository with four snapshots, whose only ref is main, at the first; as after `init`,
    since no log tells how it came there."""
    repo = Repository(open_backend(f"memory://{uuid.uuid4().hex}"))
    ids = [write(repo, "t", pa.table({"a": [n]})) for n in range(4)]
    found = repo.backend.read_ref("refs/heads/main")
    assert found
    bare = b'{"snapshot": "%s", "nonce": "0"}' % ids[0].encode()
    repo.backend.write_ref("refs/heads/main", bare, found.version)
    return repo, ids


def carry_out(repo: Repository, ids: list[str], step: tuple[object, ...]) -> None:
    match step:
        case ("reset", str(name), int(n)):
            repo.reset(ids[n], name)
        case ("create", str(name), int(n)):
            repo.branch(name, ids[n])
        case ("delete", str(name)):
            repo.delete_branch(name)
        case ("rename", str(name), str(to)) if name != "main":  # HEAD stays on main
            repo.rename_branch(name, to)
        case ("tag", int(n)):
            repo.tag("v", ids[n])
        case ("untag",):
            repo.delete_tag("v")


def state(repo: Repository) -> State:
    return {**repo.branches(), **{f"tag:{name}": id for name, id in repo.tags().items()}}


@given(st.lists(steps, max_size=25))
def test_undo_and_redo_do_as_two_stacks_would(script: list[tuple[object, ...]]) -> None:
    repo, ids = a_repository()
    model = Model(state(repo))
    for step in script:
        if step[0] in ("undo", "redo"):
            ref = step[1]
            known = ref is None or any(True for _ in repo.refs.log("branch", str(ref)))
            moved = known and getattr(model, str(step[0]))(ref)
            try:
                getattr(repo, str(step[0]))(ref)
            except DatasnapError:
                assert not moved, step
            else:
                assert moved, step
            assert state(repo) == model.state
        else:
            try:
                carry_out(repo, ids, step)
            except DatasnapError:
                assert state(repo) == model.state
            model.did(state(repo))
    assert repo.head == "main"
    for kind, name in repo.refs.logged():
        log = list(repo.refs.log(kind, name))
        assert [later.before for later in log[:-1]] == [earlier.after for earlier in log[1:]]
