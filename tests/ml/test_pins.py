"""Pins of configs: made, moved, checked, and held in the repository."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import BrokenPin, UsageError
from datasnap.lifecycle.policy import Policy
from datasnap.ml.pins.configs import ConfigFile
from datasnap.ml.pins.pincheck import Checked, check_pins
from datasnap.ml.pins.pinning import Move, carry_out, pin_table, plan_updates
from datasnap.ml.pins.pins import Pinned, find_configs, read_pins
from datasnap.repository import Repository
from datasnap.versions import Snapshot

from ..conftest import write

FIRST = pa.table({"id": [1, 2, 3], "fare": [0.5, 1.5, 2.5]})
SECOND = pa.table({"id": [1, 2, 4], "fare": [0.5, 9.0, 4.5], "km": [1, 2, 4]})


@pytest.fixture
def file(repo: Repository, tmp_path: Path) -> Path:
    write(repo, "rides", FIRST, key="id")
    write(repo, "zones", pa.table({"zone": ["a"]}))
    return tmp_path / "project" / "train.yaml"


@pytest.fixture(autouse=True)
def _project(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


def update(*files: Path) -> list[Move]:
    moves = plan_updates(files, Pinned.open)
    carry_out(moves)
    return moves


def check(*files: Path) -> list[tuple[str, str]]:
    found: list[Checked] = list(check_pins(files, Pinned.open))
    return [(checked.status, checked.reason) for checked in found]


def test_a_pin_names_the_snapshot_the_table_and_the_branch_that_it_follows(
    repo: Repository, file: Path
) -> None:
    pin_table(repo, file, "rides")
    (pinned,) = read_pins(file)
    snapshot = repo.snapshot("main")
    assert pinned.name is None
    assert (pinned.pin.ref, pinned.pin.table) == ("main", "rides")
    assert pinned.pin.snapshot == snapshot.id
    assert pinned.pin.table_id == snapshot.table("rides").id
    assert pinned.open().url == repo.url


def test_an_update_moves_to_the_newest_and_says_what_changed(repo: Repository, file: Path) -> None:
    pin_table(repo, file, "rides")
    assert not update(file)[0].moves
    write(repo, "rides", SECOND, key="id")
    (move,) = update(file)
    assert move.changes is not None
    assert (move.changes.added, move.changes.removed, move.changes.changed) == (1, 1, 1)
    assert move.changes.columns_added == ("km",)
    assert datasnap.load(file).to_arrow().equals(SECOND)
    # Another table changes: the snapshot is another one, the data are not.
    write(repo, "zones", pa.table({"zone": ["b"]}))
    (move,) = update(file)
    assert move.moves and move.changes is None


def test_pins_of_one_branch_move_to_one_snapshot_and_are_written_together(
    repo: Repository, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = file.with_name("test.toml")
    for config in (file, other):
        pin_table(repo, config, "rides", name="train")
        pin_table(repo, config, "zones", name="test")
    write(repo, "rides", SECOND, key="id")
    newest = repo.snapshot("main").id
    asked = Repository.snapshot

    def snapshot(self: Repository, revision: str = "HEAD") -> Snapshot:
        found = asked(self, revision)
        write(repo, "zones", pa.table({"zone": [revision]}))  # the branch moves on
        return found

    writes: list[ConfigFile] = []
    save = ConfigFile.save
    with monkeypatch.context() as patch:
        patch.setattr(Repository, "snapshot", snapshot)
        patch.setattr(ConfigFile, "save", lambda self: (writes.append(self), save(self)))
        update(file, other)
    assert {p.pin.snapshot for config in (file, other) for p in read_pins(config)} == {newest}
    assert [config.path for config in writes] == [file, other]


def test_an_update_that_cannot_be_planned_changes_nothing(repo: Repository, file: Path) -> None:
    repo.branch("exp")
    pin_table(repo, file, "zones", ref="exp")
    pin_table(repo, file, "rides")
    before = file.read_text()
    write(repo, "rides", SECOND, key="id")
    repo.delete_branch("exp")
    with pytest.raises(BrokenPin, match=f"zones of {file} pins: unknown ref 'exp'"):
        update(file)
    assert file.read_text() == before


def test_a_second_table_gives_the_first_its_name(repo: Repository, file: Path) -> None:
    pin_table(repo, file, "rides")
    pin_table(repo, file, "zones")
    pin_table(repo, file, "rides", ref="main~1")
    assert [(p.name, p.pin.table, p.pin.ref) for p in read_pins(file)] == [
        ("rides", "rides", "main~1"),
        ("zones", "zones", "main"),
    ]


def test_names_that_are_taken_are_refused(repo: Repository, file: Path) -> None:
    pin_table(repo, file, "rides")
    before = file.read_text()
    for name in ("rides", "repo", "table_id"):
        with pytest.raises(UsageError, match=f"'{name}'"):
            pin_table(repo, file, "zones", name=name)
    assert file.read_text() == before
    pin_table(repo, file, "rides", name="rides")
    assert [pinned.name for pinned in read_pins(file)] == ["rides"]


def test_what_a_check_finds(repo: Repository, file: Path) -> None:
    pin_table(repo, file, "rides")
    pin_table(repo, file, "zones")
    assert check(file) == [("ok", ""), ("ok", "")]
    write(repo, "rides", SECOND, key="id")
    newest = repo.snapshot().id[:12]
    assert check(file) == [
        ("behind", f"1 snapshot behind main, which has other data ({newest})"),
        ("behind", f"1 snapshot behind main, which has the same data ({newest})"),
    ]
    text = file.read_text()
    for name in ("rides", "zones"):
        text = text.replace(repo.table(f"{name}@main~1").id, "ab" * 32)
    file.write_text(text)
    assert {status for status, _ in check(file)} == {"different"}
    with repo.transaction("main") as tx:
        tx.drop("rides")
    pin_table(repo, file, "rides", ref="main~1")
    file.write_text(file.read_text().replace("main~1", "main"))
    assert ("missing", f"main has no table rides any more ({repo.snapshot().id[:12]})") in check(
        file
    )


def test_a_pin_that_its_branch_does_not_lead_to_is_apart(repo: Repository, file: Path) -> None:
    repo.branch("exp")
    with repo.transaction("exp") as tx:
        tx.write("rides", SECOND)
    pin_table(repo, file, "rides", ref="exp")
    file.write_text(file.read_text().replace("ref: exp", "ref: main"))
    ((status, reason),) = check(file)
    assert status == "apart" and "does not come from it" in reason
    file.write_text(file.read_text().replace("ref: main", "ref: mian"))
    ((status, reason),) = check(file)
    assert status == "missing" and "unknown ref 'mian'" in reason


def test_what_is_gone_is_found(repo: Repository, file: Path) -> None:
    pin_table(repo, file, "rides", register=False)
    pinned = read_pins(file)[0].pin
    file.write_text(file.read_text().replace("table: rides", "table: riders"))
    assert check(file)[0][0] == "missing"
    file.write_text(file.read_text().replace("riders", "rides"))
    write(repo, "rides", SECOND, key="id")
    repo.prune(Policy(last=1))
    assert check(file)[0][0] == "pruned"
    file.write_text(file.read_text().replace(pinned.snapshot, "cd" * 32))
    ((status, reason),) = check(file)
    assert status == "missing" and "is not in" in reason
    file.write_text(file.read_text().replace(pinned.repo, "elsewhere"))
    ((status, reason),) = check(file)
    assert status == "missing" and "no repository" in reason
    file.write_text(file.read_text().replace("elsewhere", pinned.repo))
    (move,) = update(file)
    assert move.moves and datasnap.load(file).to_arrow().equals(SECOND)


def test_after_a_purge_a_check_says_so_and_an_update_writes_the_new_id(
    repo: Repository, file: Path
) -> None:
    pin_table(repo, file, "rides")
    repo.purge("rides", "id = 2")
    ((status, reason),) = check(file)
    assert status == "purged" and "rows of 'rides' were erased" in reason
    (move,) = update(file)
    assert move.moves
    assert check(file) == [("ok", "")]
    assert datasnap.load(file).to_arrow()["id"].to_pylist() == [1, 3]


def test_what_is_pinned_outlives_its_branch_and_gc(repo: Repository, file: Path) -> None:
    repo.branch("exp")
    with repo.transaction("exp") as tx:
        tx.write("rides", SECOND)
    pin_table(repo, file, "rides", ref="exp")
    repo.delete_branch("exp")
    repo.gc(grace=timedelta(0), reflog=timedelta(0))
    assert datasnap.load(file).to_arrow().equals(SECOND)
    assert repo.verify().ok


def test_the_pin_that_is_held_moves_with_the_config(repo: Repository, file: Path) -> None:
    pin_table(repo, file, "rides")
    write(repo, "rides", SECOND, key="id")
    update(file)
    assert list(repo.pins().values()) == [repo.snapshot().id]
    pin_table(repo, file, "zones")
    names = [name.rpartition("/")[2] for name in repo.pins()]
    assert names == ["rides", "zones"]
    pin_table(repo, file, "zones", ref="main~1")
    assert repo.pins()[next(n for n in repo.pins() if n.endswith("zones"))] != repo.snapshot().id


@pytest.mark.parametrize(
    "remote",
    [
        "git@github.com:acme/ml.git",
        "https://ada:secret@github.com/acme/ml.git",
        "ssh://git@github.com:22/acme/ml",
    ],
)
def test_a_pin_has_one_name_in_all_checkouts_of_a_project(
    repo: Repository, file: Path, tmp_path: Path, remote: str
) -> None:
    for name in ("one", "two"):
        checkout = tmp_path / name
        (checkout / "conf").mkdir(parents=True)
        git(checkout, "init", "-q")
        git(checkout, "remote", "add", "origin", remote)
        pin_table(repo, checkout / "conf" / "train.yaml", "rides")
    assert list(repo.pins()) == ["file/github.com/acme/ml/conf/train.yaml"]


def test_names_that_a_ref_may_not_have_are_made_fit_and_stay_apart(
    repo: Repository, file: Path, tmp_path: Path
) -> None:
    odd = [tmp_path / "project" / name for name in ("a b.yaml", "a~b.yaml", "..x.yaml")]
    deep = tmp_path / "project" / "/".join(["folder"] * 30)
    deep.mkdir(parents=True)
    for path in [*odd, deep / "train.yaml", deep / "test.yaml"]:
        pin_table(repo, path, "rides")
    assert len(repo.pins()) == 5


def test_a_repository_inside_the_project_is_named_from_the_config_on(tmp_path: Path) -> None:
    project = tmp_path / "project"
    git(project, "init", "-q")
    inside = datasnap.init(project / "data")
    around = datasnap.init(project)
    apart = datasnap.init(tmp_path / "apart")
    (project / "conf").mkdir()
    written = []
    for number, repo in enumerate((inside, around, apart)):
        write(repo, "rides", FIRST)
        config = project / "conf" / f"{number}.toml"
        pin_table(repo, config, "rides")
        written.append(read_pins(config)[0].pin.repo)
        assert datasnap.load(config).to_arrow().equals(FIRST)
    assert written == ["../data", "..", str(tmp_path / "apart")]


def test_a_place_that_is_written_another_way_stays_as_it_is(repo: Repository, file: Path) -> None:
    pin_table(repo, file, "rides")
    relative = os.path.relpath(repo.url, file.parent)
    file.write_text(file.read_text().replace(read_pins(file)[0].pin.repo, relative))
    write(repo, "rides", SECOND, key="id")
    update(file)
    pin_table(repo, file, "rides", ref="main~1")
    assert read_pins(file)[0].pin.repo == relative


def test_configs_that_pin_are_found_below_a_folder(repo: Repository, file: Path) -> None:
    project = file.parent
    for name in ("b/c.json", "a.toml", ".hidden/x.yaml", "env/x.yaml"):
        (project / name).parent.mkdir(exist_ok=True)
        pin_table(repo, project / name, "rides")
    (project / "env" / "pyvenv.cfg").touch()
    (project / "other.yaml").write_text("datasnap:\n  snapshot: later\n")
    (project / "broken.yaml").write_text("<<<<<<<\ndatasnap:\n snapshot: x\n table_id: y\n")
    (project / "plain.yaml").write_text("lr: 1\n")
    found = [str(path.relative_to(project)) for path in find_configs(project)]
    assert found == ["a.toml", "broken.yaml", "b/c.json"]
