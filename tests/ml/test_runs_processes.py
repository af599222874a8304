"""Runs of several processes: subprocesses, workers, kills, many at once."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import RunIncomplete, StorageError
from datasnap.lifecycle.policy import Policy
from datasnap.ml.runs import launch as launching
from datasnap.ml.runs import processes, reads, tables
from datasnap.ml.runs.holding import pin_name
from datasnap.ml.runs.journal import (
    Collector,
    Elsewhere,
    Failure,
    Journal,
    Metric,
    Read,
    Which,
    nobody_writes,
)
from datasnap.ml.runs.launch import launch
from datasnap.ml.runs.processes import this_process
from datasnap.repository import Repository
from tests.conftest import write

#: Reads in itself, in a worker, and in a subprocess; logs; has a second run of its own.
SCRIPT = """
import multiprocessing, os, subprocess, sys, time
import datasnap

def zones(name):
    return datasnap.open(sys.argv[1]).table(name).to_arrow().num_rows

if __name__ == "__main__":
    repo = datasnap.open(sys.argv[1])
    with datasnap.run("recorded elsewhere", repo=datasnap.init("elsewhere")):
        pass
    with datasnap.run("from the script", {"depth": 3}) as run:
        assert run.params == {"lr": 0.1, "depth": 3}
        repo.sql("SELECT * FROM rides").fetchall()
        with multiprocessing.get_context("fork").Pool(1) as pool:
            pool.map(zones, ["forked"])
        code = "import datasnap, sys; datasnap.open(sys.argv[1]).table('child').to_arrow(['z'])"
        subprocess.run([sys.executable, "-c", code, sys.argv[1]], check=True)
        run.log({"auc": 0.9}, step=1)
        with open("model.bin", "wb") as file:
            file.write(b"weights")
        run.save_model("model.bin")
    with datasnap.run("of its own") as second:
        repo.table("zones").to_arrow()
    sys.exit(7)
"""

#: What each would else import by itself is imported before it forks.
MANY = """
import os, sys
import datasnap, datasnap.ml.runs.run, datasnap.query.session
import datasnap.tables.incoming, datasnap.tables.ingest, datasnap.tables.sources
pids = []
for number in range(int(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        repo = datasnap.open(sys.argv[1])
        with datasnap.run(f"number {number}", {"n": number}, repo=repo) as run:
            repo.table("rides").to_arrow()
            run.log({"n": number})
        os._exit(0)
    pids.append(pid)
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids))
"""


@pytest.fixture
def tables_repo(repo: Repository) -> Repository:
    write(repo, "rides", pa.table({"id": [1, 2], "x": [0.5, 1.5]}))
    for name in ("zones", "forked", "child"):
        write(repo, name, pa.table({"z": [1, 2]}))
    return repo


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT)
    return [sys.executable, "train.py"]


def test_a_command_is_recorded_with_what_its_subprocesses_read(
    tables_repo: Repository, script: list[str]
) -> None:
    command = [*script, tables_repo.url]
    done = launch(command, params={"lr": 0.1}, repo=tables_repo)
    assert done.exit_code == 7
    own, run = tables_repo.runs()
    assert run.id == done.run
    assert (run.name, run.status, run.error) == ("from the script", "failed", "exit code 7")
    assert run.command == tuple(command)
    assert run.params == {"lr": 0.1, "depth": 3}
    assert run.metrics == {"auc": 0.9}
    assert {read.table for read in run.reads} == {"rides", "forked", "child"}
    assert {read.columns for read in run.reads if read.table == "child"} == {("z",)}
    assert run.snapshots == [tables_repo.snapshot().id]
    assert run.model is not None
    # Only the first block of the script that is recorded here joined the run.
    assert [(run.name, run.status) for run in datasnap.open("elsewhere").runs()] == [
        ("recorded elsewhere", "finished")
    ]
    assert (own.name, own.status) == ("of its own", "finished")
    assert {read.table for read in own.reads} == {"zones"}
    head = tables_repo.snapshot().id
    assert set(tables_repo.pins()) == {pin_name(each.id, head) for each in (own, run)}


def test_a_script_that_fails_says_why_in_its_run(repo: Repository) -> None:
    code = (
        "import datasnap\nwith datasnap.run() as run: run.log({'a': 1}); raise ValueError('boom')"
    )
    done = launch([sys.executable, "-c", code], repo=repo)
    run = repo.run_record(done.run)
    assert (done.exit_code, run.status, run.error) == (1, "failed", "ValueError: boom")
    assert run.metrics == {"a": 1}


@pytest.mark.parametrize(
    ("number", "status", "error"),
    [
        (signal.SIGKILL, "killed", "signal SIGKILL"),
        (signal.SIGINT, "failed", "KeyboardInterrupt"),
        (signal.SIGSEGV, "failed", "signal SIGSEGV"),
    ],
)
def test_a_signal_is_recorded_and_passed_on(
    repo: Repository, number: signal.Signals, status: str, error: str
) -> None:
    done = launch(["sh", "-c", f"kill -{number.name[3:]} $$"], repo=repo)
    run = repo.run_record(done.run)
    assert (done.exit_code, run.status, run.error) == (128 + number, status, error)
    assert run.exit_code == 128 + number


def test_a_command_is_called_by_its_script_or_else_its_program(repo: Repository) -> None:
    for command in (["true", "--nodes", "4", "a/train.py", "b.py"], ["sh", "-c", "print(1)"]):
        launch(command, repo=repo)
    assert {run.name for run in repo.runs()} == {"train", "sh"}


def test_a_command_is_waited_for_whatever_becomes_of_its_record(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(launching, "_LOOK", 0.01)
    monkeypatch.setattr(launching.Run, "collect", fail)
    done = tmp_path / "done"
    with pytest.raises(ZeroDivisionError):
        launch(["sh", "-c", f"sleep 0.2; touch {done}"], repo=repo)
    assert done.exists()
    assert [run.status for run in repo.runs()] == ["failed"]


def test_a_command_in_a_command_is_a_run_of_its_own(repo: Repository) -> None:
    inner = [sys.executable, "-m", "datasnap", "-C", repo.url, "run", "-n", "inner", "--", "true"]
    launch(inner, name="outer", repo=repo)
    assert {(run.name, run.status) for run in repo.runs()} == {
        ("inner", "finished"),
        ("outer", "finished"),
    }


def test_an_interruption_of_datasnap_reaches_the_command_and_the_record(
    repo: Repository,
) -> None:
    command = [sys.executable, "-m", "datasnap", "-C", repo.url, "run", "--", "sleep", "60"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    _until(lambda: repo.runs() and _children(process.pid))
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    (run,) = repo.runs()
    assert (run.status, run.error) == ("failed", "KeyboardInterrupt")


def test_what_a_killed_run_noted_last_is_recorded_by_the_next_process(
    tables_repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = (
        "import datasnap, sys, os, signal\n"
        "repo = datasnap.open(sys.argv[1])\n"
        "run = datasnap.run('doomed', {'lr': 1}, repo=repo).start()\n"
        "run.log({'auc': 0.0}, step=0)\n"
        "run.log({'auc': 0.0}, step=0)\n"
        "repo.table('rides').to_arrow()\n"
        "repo.table('rides@main~1').to_arrow()\n"  # recorded at once, with what was before
        "run.log({'auc': 0.5}, step=1)\n"
        "repo.table('zones').to_arrow()\n"
        "run.log_params({'depth': 3})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tables_repo.url], check=False)
    assert done.returncode == -signal.SIGKILL
    assert tables.read(tables_repo, tables.METRICS).num_rows == 2
    assert tables.read(tables_repo, tables.READS).num_rows == 2
    held = {tables_repo.snapshot(at).id for at in ("main", "main~1")}
    assert set(tables_repo.pins().values()) == held
    with ThreadPoolExecutor(3) as pool:  # several look at once
        found = list(pool.map(lambda _: datasnap.open(tables_repo.url).runs(), range(3)))
    (run,) = tables_repo.runs()
    assert {(each.name, each.status) for (each,) in found} == {("doomed", "killed")}
    assert (run.name, run.status, run.ended, run.duration) == ("doomed", "killed", None, None)
    assert tables_repo.run_metrics(run.id)["value"].to_pylist() == [0.0, 0.0, 0.5]
    assert run.params == {"lr": 1, "depth": 3}
    assert [read.table for read in run.reads] == ["rides", "rides", "zones"]
    assert set(tables_repo.pins().values()) == held
    assert list(tmp_path.glob("datasnap-run-*")) == []
    # It was said once that it ended, and is not said again.
    head = tables_repo.snapshot("runs").id
    assert tables_repo.runs() == [run]
    assert tables_repo.snapshot("runs").id == head
    assert tables_repo.remove_run(run.id).id == run.id


def test_what_any_process_of_a_run_reads_is_safe_from_prune_and_gc_at_once(
    repo: Repository,
) -> None:
    for number in range(5):
        write(repo, "rides", pa.table({"n": [number]}))
    *read, never = [repo.snapshot(f"main~{back}").id for back in (1, 2, 3, 4)]
    code = "import datasnap, sys; datasnap.open(sys.argv[1]).table(sys.argv[2]).to_arrow()"
    with datasnap.run(repo=repo) as run:
        repo.table("rides").to_arrow()
        repo.table(f"rides@{read[0]}").to_arrow()
        pid = os.fork()  # as a worker of a DataLoader is
        if pid == 0:
            repo.table(f"rides@{read[1]}").to_arrow()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        command = [sys.executable, "-c", code, repo.url, f"rides@{read[2]}"]
        subprocess.run(command, check=True)
        elsewhere = datasnap.open(repo.url)
        elsewhere.prune(Policy(last=1))
        elsewhere.gc(grace=timedelta(0), reflog=timedelta(0))
    again = datasnap.open(repo.url)
    assert again.snapshot(never).pruned
    found = [again.table(f"rides@{id}").to_arrow()["n"].to_pylist() for id in read]
    assert found == [[3], [2], [1]]
    assert set(again.run_record(run.id).snapshots) == {again.snapshot().id, *read}


def test_what_cannot_be_pinned_is_said_and_recorded(
    tables_repo: Repository, tmp_path: Path
) -> None:
    diary = datasnap.init(tmp_path / "diary")
    # Not even root can write pins there.
    Path(tables_repo.url, "refs/pins").write_text("a file")
    said = r"read rides@\w+ in /.*, which cannot be pinned, so it may be lost"
    with pytest.warns(RunIncomplete, match=said) as warned, datasnap.run(repo=diary) as run:
        assert tables_repo.table("rides").to_arrow().num_rows == 2
        assert tables_repo.table("zones").to_arrow().num_rows == 2
    assert len(warned) == 1
    assert all(read.unpinned for read in diary.run_record(run.id).reads)


def test_an_end_that_could_not_be_recorded_is_recorded_later(
    repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: object) -> None:
        raise StorageError("the disk is full")

    with (
        monkeypatch.context() as broken,
        pytest.raises(StorageError),
        datasnap.run(repo=repo) as run,
    ):
        run.log({"auc": 0.5})
        broken.setattr(tables, "add", refuse)
    assert [(r.status, r.metrics) for r in repo.runs()] == [("running", {})]
    monkeypatch.setattr(processes, "is_gone", lambda process: True)
    (record,) = repo.runs()
    assert (record.status, record.metrics) == ("finished", {"auc": 0.5})
    assert record.ended is not None


def test_notes_are_left_alone_as_long_as_somebody_adds_to_them(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.note(Failure("x"))
    pid = os.fork()
    if pid == 0:
        time.sleep(0.2)
        os._exit(0)
    journal.close()
    with nobody_writes(tmp_path) as alone:
        assert not alone  # what was forked may go on
    os.waitpid(pid, 0)
    with nobody_writes(tmp_path) as alone, nobody_writes(tmp_path) as second:
        assert alone
        assert not second


def test_notes_may_be_in_more_files_than_a_process_may_open(tmp_path: Path) -> None:
    Journal(tmp_path).begin(Which("r", "place", ""))
    line = msgspec.json.encode(Metric("a", 1.0, None, 5)) + b"\n"
    for number in range(60):  # of workers
        (tmp_path / f"{number}.jsonl").write_bytes(line)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (tmp_path / "run.json").open() as file:
        resource.setrlimit(resource.RLIMIT_NOFILE, (file.fileno() + 20, hard))
    try:
        with nobody_writes(tmp_path) as alone:
            assert alone
            assert len(Collector(tmp_path).new()[0]) == 60
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_record_cannot_name_somebody_elses_folder(repo: Repository, tmp_path: Path) -> None:
    *machine, number, started = this_process().split("/")
    gone = "/".join([*machine, number, str(int(started) - 1)])
    folder = tmp_path / "mine"
    folder.mkdir()
    Journal(folder).begin(Which("another", repo.url, ""))
    (folder / "notes.jsonl").touch()
    row = {"run": "r", "seq": 0, "status": "running", "started": datetime.now(UTC)}
    rows = [{**row, "process": gone, "journal": str(folder)}]
    tables.add(repo, lambda tx: {tables.RUNS: tables.table_of(tables.RUNS, rows)}, "forged")
    assert [run.status for run in repo.runs()] == ["killed"]
    assert sorted(path.name for path in folder.iterdir()) == ["notes.jsonl", "run.json"]


def test_the_last_value_of_a_metric_is_that_of_the_last_moment(
    repo: Repository,
) -> None:
    with datasnap.run("two", repo=repo) as run:
        run.log({"loss": 1.0})
        folder = Path(os.environ[reads.VARIABLE])
        later = Metric("loss", 0.1, 9, time.time_ns() // 1000)
        (folder / "0-of-another-process.jsonl").write_bytes(msgspec.json.encode(later) + b"\n")
        assert run.metrics == {"loss": 0.1}
    assert repo.run_record(run.id).metrics == {"loss": 0.1}


def test_every_environment_that_processes_ran_in_is_kept(repo: Repository) -> None:
    with datasnap.run(repo=repo) as run:
        for number in range(2):
            reads.current().note(Elsewhere(f"hash {number}", "{}"))
    found = tables.read(repo, tables.ENVIRONMENTS)["environment"].to_pylist()
    assert found[1:] == ["hash 0", "hash 1"]
    assert repo.run_record(run.id).environment == "hash 1"


def test_a_note_that_cannot_be_recorded_hinders_nothing(
    repo: Repository,
) -> None:
    with pytest.raises(RuntimeError, match="out of memory"), datasnap.run("x", repo=repo) as run:
        run.log({"auc": 0.5})
        folder = Path(os.environ[reads.VARIABLE])
        notes = [Metric("auc", 1.0, 2**63, 5), Metric("auc", "much", None, 5)]  # type: ignore[arg-type]
        lines = b"\n".join(map(msgspec.json.encode, notes))
        (folder / "0.jsonl").write_bytes(lines + b"\n")
        raise RuntimeError("out of memory")
    record = repo.run_record(run.id)
    assert (record.status, record.metrics) == ("failed", {"auc": 0.5})


@pytest.mark.parametrize(("location", "count"), [("local", 6), ("s3", 3)], indirect=["location"])
def test_all_runs_of_many_processes_are_there(
    location: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    repo = datasnap.init(location)
    write(repo, "rides", pa.table({"id": [1, 2]}))
    command = [sys.executable, "-c", MANY, location, str(count)]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    runs = datasnap.open(location).runs()
    assert {run.name for run in runs} == {f"number {n}" for n in range(count)}
    head = repo.snapshot().id
    for run in runs:
        number = int(run.name.removeprefix("number "))
        assert run.status == "finished"
        assert run.metrics == {"n": number}
        assert run.params == {"n": number}
        assert run.snapshots == [head]
    assert len(repo.pins()) == count


def test_a_run_that_cannot_be_recorded_goes_on_with_a_warning(
    tables_repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*words: object) -> None:
        raise StorageError("the disk is full")

    with datasnap.run(repo=tables_repo) as run, monkeypatch.context() as broken:
        broken.setattr(tables, "add", refuse)
        with pytest.warns(UserWarning, match="cannot be recorded now: the disk is full"):
            tables_repo.table("rides").to_arrow()
        run.log({"auc": 0.5})
    record = tables_repo.run_record(run.id)
    assert record.metrics == {"auc": 0.5}
    assert [read.table for read in record.reads] == ["rides"]


def test_a_line_that_is_not_whole_yet_is_left_for_later(tmp_path: Path) -> None:
    journal, collector = Journal(tmp_path), Collector(tmp_path)
    journal.note(Metric("a", 1.0, None, 5))
    (file,) = tmp_path.glob("*.jsonl")
    whole = file.read_bytes()
    with file.open("ab") as more:
        more.write(whole[:9])
    notes, ends = collector.new()
    assert notes == [Metric("a", 1.0, None, 5)]
    collector.done(ends)
    assert collector.new()[0] == []
    with file.open("ab") as more:
        more.write(whole[9:] + b"no JSON\n")
    assert collector.new()[0] == notes
    # What was not kept is given again.
    assert collector.new()[0] == notes


def test_the_same_read_is_noted_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    read = Read("place", "a" * 64, "rides", "b" * 64, ("x",))
    assert journal.note(read)
    assert not journal.note(read)
    assert journal.note(Read("place", "a" * 64, "rides", "b" * 64, ("y",)))


def test_a_worker_that_outlives_its_run_reads_on(tables_repo: Repository, tmp_path: Path) -> None:
    reads.activate(Journal(tmp_path / "gone"))
    try:
        assert tables_repo.table("rides").to_arrow().num_rows == 2
    finally:
        reads.activate(None)


def _children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")


def _until(what: object) -> None:
    assert callable(what)
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)
