"""What is lost is named: the table, its columns and rows, the snapshots, and what leads to them."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pytest

import datasnap
from datasnap.repository import Repository
from datasnap.snapshots import objects
from datasnap.snapshots.objects import ObjectId, SnapshotId
from datasnap.verify import Loss, Problem, Report
from tests.conftest import write
from tests.verify.damage import damage_record


@dataclass
class Anatomy:
    """The objects that the newest version of rides on main consists of."""

    snapshot: SnapshotId
    tree: ObjectId
    table: ObjectId
    part: ObjectId
    group: ObjectId
    overlay: ObjectId
    values: ObjectId
    fare: bytes


def anatomy(repo: Repository) -> Anatomy:
    snapshot = repo.refs.branches()["main"]
    tree = repo.objects.get(snapshot, objects.Snapshot).tree
    table = repo.objects.get(tree, objects.Tree).entries["rides"].id
    (part,) = repo.objects.get(table, objects.Table).parts
    (segment,) = repo.objects.get(part.id, objects.Part).segments
    (group,) = segment.groups
    assert segment.overlay is not None
    values = repo.objects.get(segment.overlay, objects.Overlay).values
    assert values is not None
    fare = repo.objects.get(group, objects.ColumnGroup).columns[1].chunk
    return Anatomy(snapshot, tree, table, part.id, group, segment.overlay, values, fare)


def only(report: Report) -> Problem:
    (problem,) = report.problems
    return problem


def of(problem: Problem, table: str, column: str | None = None) -> Loss:
    """The newest loss of a table."""
    wanted = (loss for loss in problem.losses if loss.table == table)
    return next(loss for loss in wanted if column is None or column in loss.columns)


def ids(repo: Repository, ref: str) -> list[str]:
    return [snapshot.id for snapshot in repo.log(ref)]


def test_a_sound_repository_has_no_problem(sound: Repository) -> None:
    for deep in (False, True):
        report = sound.verify(deep=deep)
        assert report.ok and not report.warnings
        assert (report.snapshots, report.tables) == (4, 4)
    assert report.bytes > 3000


def test_a_quick_look_reads_no_chunk(sound: Repository) -> None:
    damage_record(sound, anatomy(sound).fare)
    report = sound.verify()
    assert report.ok and report.bytes == 0 and report.chunks == sound.verify(deep=True).chunks + 1


def test_a_damaged_chunk_is_named_by_table_column_rows_and_snapshots(sound: Repository) -> None:
    chunk = anatomy(sound).fare
    damage_record(sound, chunk)
    problem = only(sound.verify(deep=True))
    assert problem.record == chunk.hex()
    assert "is damaged in pack" in problem.message
    edited, first = problem.losses
    assert (edited.table, edited.columns) == ("rides", ("fare",))
    assert (edited.first_row, edited.last_row) == (0, 598)  # a row was deleted
    assert edited.snapshots == (*ids(sound, "exp")[:1], *ids(sound, "main")[:2])
    assert edited.refs == ("exp", "main", "pin run")
    assert edited.newest is not None and edited.oldest is not None
    assert edited.newest > edited.oldest
    assert (first.first_row, first.last_row) == (0, 599)
    assert first.snapshots == tuple(ids(sound, "first"))
    assert first.refs == ("exp", "main", "pin run", "tag first")
    assert "rides@" in problem.where and "column 'fare' rows 0 to 598" in problem.where
    assert "in 4 snapshots" in problem.where


def test_many_snapshots_that_share_a_chunk_have_one_problem(repo: Repository) -> None:
    write(repo, "t", pa.table({"id": [1, 2], "x": [0.5, 1.5]}), key="id")
    for number in range(30):
        write(repo, "other", pa.table({"n": [number]}))
    snapshot = repo.refs.branches()["main"]
    table = repo.objects.get(repo.tree(snapshot).entries["t"].id, objects.Table)
    part = repo.objects.get(table.parts[0].id, objects.Part)
    group = repo.objects.get(part.segments[0].groups[0], objects.ColumnGroup)
    damage_record(repo, group.columns[1].chunk)
    (loss,) = only(repo.verify(deep=True)).losses
    assert list(loss.snapshots) == ids(repo, "main")
    assert len(loss.snapshots) == 31


def test_a_column_is_called_what_each_snapshot_calls_it(sound: Repository) -> None:
    group = sound.objects.get(anatomy(sound).group, objects.ColumnGroup)
    damage_record(sound, group.columns[2].chunk)
    problem = only(sound.verify(deep=True))
    assert of(problem, "rides", "area").snapshots == tuple(ids(sound, "exp")[:1])
    assert of(problem, "rides", "zone").snapshots == tuple(ids(sound, "main")[:2])


def test_a_chunk_in_two_tables_is_lost_to_both(sound: Repository) -> None:
    with sound.transaction("main") as tx:
        tx.copy("rides", "again/rides")
    damage_record(sound, anatomy(sound).fare)
    problem = only(sound.verify(deep=True))
    assert of(problem, "again/rides").snapshots == tuple(ids(sound, "main")[:1])
    assert len(of(problem, "rides").snapshots) == 4


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("part", "columns", "rows"),
    [
        ("table", (), (None, None)),
        ("part", (), (0, 598)),
        ("group", ("id", "fare", "zone"), (0, 598)),
        ("overlay", (), (0, 598)),
        ("values", ("fare",), (0, 598)),
    ],
)
def test_a_lost_manifest_is_named_by_what_it_held(
    sound: Repository, part: str, columns: tuple[str, ...], rows: tuple, deep: bool
) -> None:
    id = getattr(anatomy(sound), part)
    damage_record(sound, id)
    problem = only(sound.verify(deep=deep))
    assert problem.record == id.hex()
    loss = next(loss for loss in problem.losses if "main" in loss.refs)
    assert loss.table == "rides"
    assert loss.columns == columns
    assert (loss.first_row, loss.last_row) == rows
    assert set(loss.snapshots) >= set(ids(sound, "main")[:2])


def test_a_lost_tree_takes_all_tables_of_its_snapshots(sound: Repository) -> None:
    damage_record(sound, anatomy(sound).tree)
    (loss,) = only(sound.verify()).losses
    assert (loss.table, loss.columns, loss.first_row) == ("", (), None)
    assert loss.snapshots == tuple(ids(sound, "main")[:1])
    assert loss.refs == ("exp", "main", "pin run")


def test_a_lost_snapshot_is_named_by_the_refs_that_need_it(sound: Repository) -> None:
    middle = sound.snapshot("main~1").id
    damage_record(sound, bytes.fromhex(middle))
    report = sound.verify()
    problem = only(report)
    (loss,) = problem.losses
    assert problem.record == middle
    assert (loss.snapshots, loss.refs) == ((), ("exp", "main", "pin run"))
    assert report.snapshots == 3  # the tag still leads to the first


def test_what_another_ref_leads_to_is_not_affected(sound: Repository) -> None:
    before = sound.snapshot("first").table("rides").to_arrow()
    damage_record(sound, anatomy(sound).overlay)
    losses = only(sound.verify(deep=True)).losses
    assert losses and not any("tag first" in loss.refs for loss in losses)
    assert datasnap.open(sound.url).snapshot("first").table("rides").to_arrow().equals(before)


def test_what_only_a_log_leads_to_is_checked_too(sound: Repository) -> None:
    last = sound.refs.branches()["exp"]
    sound.delete_branch("exp")
    sound.unpin("run")
    assert sound.verify(deep=True).ok
    damage_record(sound, sound.objects.get(last, objects.Snapshot).tree)
    (loss,) = only(sound.verify()).losses
    assert loss.refs == ("the log of exp", "the log of pin run")


def test_what_only_a_log_leads_to_may_have_been_collected(sound: Repository) -> None:
    last = sound.refs.branches()["exp"]
    sound.delete_branch("exp")
    sound.unpin("run")
    found = sound.store.find(sound.objects.get(last, objects.Snapshot).tree)
    assert found is not None
    sound.backend.delete(f"packs/{found.pack}")
    report = datasnap.open(sound.url).verify(deep=True)
    assert report.ok
    assert "gone" in report.warnings[0].message
