"""Hooks: real programs and functions, asked before a branch moves and told after."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
import datasnap.gates.hooks as hooks
from datasnap.errors import Refused
from datasnap.gates.watch import Gate
from datasnap.repository import Repository
from datasnap.snapshots.refs import RefChange
from tests.conftest import write

RIDES = pa.table({"id": [1, 2, 3], "fare": [5.0, 7.5, 9.0]})
#: Writes down what it is told, beside itself.
RECORDER = '#!/bin/sh\ncat >> "$(dirname "$0")/told"; echo >> "$(dirname "$0")/told"\n'


def hook(repo: Repository, name: str, text: str) -> Path:
    path = Path(repo.url) / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def told(repo: Repository) -> list[dict[str, str]]:
    path = Path(repo.url) / "hooks" / "told"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


@pytest.fixture
def filled(repo: Repository) -> Repository:
    write(repo, "rides", RIDES, key="id")
    repo.branch("exp")
    return repo


def change(repo: Repository, branch: str = "main", fare: str = "fare + 1") -> str:
    with repo.transaction(branch, message="dearer\n\nby one") as tx:
        tx.update("rides", {"fare": fare}, "id = 1")
    assert tx.snapshot is not None
    return tx.snapshot


def test_a_program_is_told_of_a_commit_before_and_after(filled: Repository) -> None:
    hook(filled, "pre-commit", RECORDER)
    hook(filled, "post-commit", RECORDER)
    before = filled.branches()["main"]
    after = change(filled)
    first, second = told(filled)
    assert (first.pop("hook"), second.pop("hook")) == ("pre-commit", "post-commit")
    assert first == second
    assert first == {
        "repository": filled.url,
        "branch": "main",
        "before": before,
        "after": after,
        "verb": "commit",
        "message": "dearer\n\nby one",
        "who": "Ada <ada@example.org>",
    }


def test_which_verbs_call_which_hooks(filled: Repository) -> None:
    for name in ("pre-commit", "pre-merge", "post-commit", "post-merge"):
        hook(filled, name, RECORDER)

    def called() -> list[str]:
        lines = told(filled)
        (Path(filled.url) / "hooks" / "told").unlink(missing_ok=True)
        return [f"{line['hook']} {line['verb']}" for line in lines]

    change(filled, "exp")
    assert called() == ["pre-commit commit", "post-commit commit"]
    filled.merge("exp", "main")
    assert called() == ["pre-merge fast-forward", "post-merge fast-forward"]
    change(filled, "exp")
    with filled.transaction() as tx:
        tx.write("zones", RIDES)
    called()
    filled.merge("exp", "main")
    assert called() == ["pre-merge merge", "post-merge merge"]
    filled.revert("main~1")
    assert called() == ["pre-commit revert", "post-commit revert"]
    filled.cherry_pick("main~2")
    assert called() == ["pre-commit cherry-pick", "post-commit cherry-pick"]
    filled.restore("rides@main~3")
    assert called() == ["pre-commit restore", "post-commit restore"]
    change(filled, "exp")
    called()
    filled.rebase("main", "exp", on_conflict="theirs")
    assert called() == ["pre-commit rebase", "post-commit rebase"]
    filled.reset("main~1", "exp")
    filled.undo("exp")
    filled.branch("more")
    filled.rename_branch("more", "less")
    filled.delete_branch("less")
    filled.tag("v1")
    filled.pin("run")
    assert called() == []


def test_a_hook_before_can_forbid_a_change(filled: Repository) -> None:
    path = hook(filled, "pre-commit", "#!/bin/sh\necho one\necho 'no \033[31m fares' >&2\nexit 3\n")
    before = filled.branches()
    with pytest.raises(Refused) as error:
        change(filled)
    assert error.value.message == (
        "the hook pre-commit forbids it (exit code 3)\none\nno  [31m fares"
    )
    assert str(path) in error.value.hint
    assert "--no-hooks" in error.value.hint
    assert filled.branches() == before


def test_only_the_last_lines_of_a_hook_are_shown(filled: Repository) -> None:
    hook(filled, "pre-commit", "#!/bin/sh\nseq 100000\nexit 1\n")
    with pytest.raises(Refused) as error:
        change(filled)
    assert error.value.message.splitlines()[1:] == [str(n) for n in range(99_993, 100_001)]


def test_a_hook_after_cannot_undo_and_is_a_warning(
    filled: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    hook(filled, "post-commit", "#!/bin/sh\necho the mail server is down\nexit 1\n")
    with caplog.at_level(logging.WARNING, "datasnap"):
        after = change(filled)
    assert filled.branches()["main"] == after
    assert caplog.messages == [
        "warning: the hook post-commit failed (exit code 1)\nthe mail server is down"
    ]


def test_a_hook_can_open_the_repository_and_read_the_new_snapshot(filled: Repository) -> None:
    hook(
        filled,
        "pre-commit",
        f"#!{sys.executable}\n"
        "import datasnap, os, sys\n"
        "repo = datasnap.open()  # by DATASNAP_REPO\n"
        "new = repo.snapshot(os.environ['DATASNAP_SNAPSHOT']).table('rides').to_arrow()\n"
        "old = repo.snapshot(os.environ['DATASNAP_PARENT']).table('rides').to_arrow()\n"
        "assert repo.branches()[os.environ['DATASNAP_BRANCH']] == os.environ['DATASNAP_PARENT']\n"
        "repo.tag('seen', os.environ['DATASNAP_SNAPSHOT'])\n"
        "sys.exit(max(new['fare'].to_pylist()) > 100)\n",
    )
    seen = change(filled)
    assert filled.tags()["seen"] == seen
    filled.delete_tag("seen")
    with pytest.raises(Refused, match="exit code 1"):
        change(filled, fare="101")
    assert filled.branches()["main"] == seen


def test_what_a_hook_commits_calls_no_hooks(filled: Repository) -> None:
    hook(
        filled,
        "post-commit",
        f"#!{sys.executable}\n"
        "import datasnap\n"
        "with datasnap.open().transaction('exp') as tx:\n"
        "    tx.update('rides', {'fare': 'fare + 1'}, 'id = 2')\n",
    )
    before = filled.branches()["exp"]
    change(filled)
    assert filled.snapshot("exp").parents == [before]


def test_the_command_line_checks_in_a_hook(filled: Repository) -> None:
    filled.set_checks('[[check]]\nname = "cheap"\nsql = "FROM rides WHERE fare > 100"')
    command = f"{sys.executable} -m datasnap check $DATASNAP_SNAPSHOT"
    hook(filled, "pre-commit", f"#!/bin/sh\nexec {command}\n")
    change(filled)
    with pytest.raises(Refused) as error:
        change(filled, fare="101")
    assert "✗ cheap  1 row" in error.value.message


def test_a_hook_that_leaves_something_running_is_not_waited_for(filled: Repository) -> None:
    pid = Path(filled.url) / "pid"
    hook(filled, "post-commit", f"#!/bin/sh\nsleep 300 &\necho $! > {pid}\n")
    change(filled)
    os.kill(int(pid.read_text()), 15)  # it still runs


def test_a_hook_need_not_read_what_it_is_told(filled: Repository) -> None:
    hook(filled, "pre-commit", "#!/bin/sh\nexit 0\n")
    with filled.transaction(message="x" * 1_000_000) as tx:
        tx.update("rides", {"fare": "1"}, "id = 1")


def test_hooks_of_the_user_hold_for_all_repositories(
    filled: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = hook(filled, "pre-commit", "#!/bin/sh\necho $DATASNAP_REPO\nexit 1\n")
    mine = tmp_path / "config" / "datasnap" / "hooks"
    mine.mkdir(parents=True)
    shutil.move(path, mine / "pre-commit")
    shared = datasnap.init("memory://hooks")
    for repo in (filled, shared):
        with pytest.raises(Refused, match=repo.url):
            write(repo, "more", RIDES)


def test_hooks_of_an_object_store_are_never_run(s3: str, tmp_path: Path) -> None:
    repo = datasnap.init(f"{s3}/hooked")
    repo.backend.write("hooks/pre-commit", [f"#!/bin/sh\ntouch {tmp_path}/run\nexit 1\n".encode()])
    write(repo, "rides", RIDES)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_hooks_of_other_users_are_not_run(filled: Repository, tmp_path: Path) -> None:
    path = hook(filled, "pre-commit", f"#!/bin/sh\ntouch {tmp_path}/run\n")
    os.chown(path, 12345, 12345)
    with pytest.raises(Refused, match="belongs to another user"):
        change(filled)
    assert not (tmp_path / "run").exists()


def test_a_hook_that_cannot_be_run_forbids_the_change(filled: Repository) -> None:
    hook(filled, "pre-commit", "#!/no/such/program\n")
    with pytest.raises(Refused, match="cannot be run: No such file"):
        change(filled)
    hook(filled, "pre-commit", "exit 0\n")
    with pytest.raises(Refused, match="cannot be run: Exec format error"):
        change(filled)
    hook(filled, "pre-commit", "#!/bin/sh\nkill -9 $$\n")
    with pytest.raises(Refused, match="killed by signal 9"):
        change(filled)


def test_a_file_that_is_not_executable_is_no_hook_and_is_said(
    filled: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    hook(filled, "pre-commit", "#!/bin/sh\nexit 1\n").chmod(0o644)
    change(filled)
    assert "is not executable" in caplog.messages[0]


def test_hooks_can_be_turned_off(filled: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    hook(filled, "pre-commit", "#!/bin/sh\nexit 1\n")
    filled.refs.watcher = Gate(filled, hooks=False)
    change(filled)
    filled.refs.watcher = Gate(filled)
    monkeypatch.setenv("DATASNAP_HOOKS", "off")
    change(filled)
    monkeypatch.delenv("DATASNAP_HOOKS")
    with pytest.raises(Refused):
        change(filled)


def test_a_hook_is_asked_last_on_a_protected_branch(filled: Repository) -> None:
    """Programs run only for what would be taken."""
    hook(filled, "pre-merge", RECORDER)
    filled.set_checks('[[check]]\nname = "cheap"\nsql = "FROM rides WHERE fare > 100"')
    filled.protect("main")
    change(filled, "exp", "101")
    with pytest.raises(Refused):
        filled.merge("exp", "main")
    assert told(filled) == []


calls: list[tuple[RefChange, Repository]] = []


def note(change: RefChange, repository: Repository) -> None:
    calls.append((change, repository))


def refuse(change: RefChange, repository: Repository) -> None:
    table = repository.snapshot(change.after.hex()).table("rides")  # type: ignore[union-attr]
    raise ValueError(f"{change.name} may not have {table.row_count} rows")


def commits(change: RefChange, repository: Repository) -> None:
    with repository.transaction("exp") as tx:
        tx.update("rides", {"fare": "fare + 1"}, "id = 2")


def install(monkeypatch: pytest.MonkeyPatch, folder: Path, **functions: str) -> None:
    """Install a package with entry points, as pip leaves it."""
    info = folder / "somehooks-1.0.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: somehooks\nVersion: 1.0\n")
    lines = [f"{name.replace('_', '-')} = {where}" for name, where in functions.items()]
    info.joinpath("entry_points.txt").write_text("\n".join(["[datasnap.hooks]", *lines]))
    monkeypatch.syspath_prepend(str(folder))
    hooks._entry_points.cache_clear()


@pytest.fixture(autouse=True)
def _no_entry_points_are_left() -> object:
    yield
    hooks._entry_points.cache_clear()
    calls.clear()


def test_functions_of_packages_are_hooks(
    filled: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(
        monkeypatch,
        tmp_path / "site",
        pre_commit=f"{__name__}:note",
        post_commit=f"{__name__}:note",
        pre_merge=f"{__name__}:refuse",
    )
    after = change(filled, "exp")
    assert [(one.after.hex(), of) for one, of in calls if one.after] == [(after, filled)] * 2
    with pytest.raises(Refused) as error:
        filled.merge("exp", "main")
    assert error.value.message == "the hook pre-merge forbids it: main may not have 3 rows"
    assert f"{__name__}:refuse" in error.value.hint


def test_a_function_that_fails_after_or_is_missing(
    filled: Repository,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    install(
        monkeypatch,
        tmp_path / "site",
        post_commit=f"{__name__}:refuse",
        pre_merge="no_such_module:function",
    )
    change(filled, "exp")
    assert caplog.messages == ["warning: the hook post-commit failed: exp may not have 3 rows"]
    with pytest.raises(Refused, match="no_such_module"):
        filled.merge("exp", "main")


def test_what_a_function_commits_calls_no_hooks(
    filled: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, tmp_path / "site", post_commit=f"{__name__}:commits")
    before = filled.branches()["exp"]
    change(filled)
    assert filled.snapshot("exp").parents == [before]


def test_warnings_come_out_of_the_command(filled: Repository) -> None:
    hook(filled, "post-commit", "#!/bin/sh\necho sorry\nexit 1\n")
    command = [sys.executable, "-m", "datasnap", "-C", filled.url]
    words = ["update", "rides", "fare = 1", "--where", "id = 1"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=True)
    assert "Committed" in done.stdout
    assert done.stderr == "warning: the hook post-commit failed (exit code 1)\nsorry\n"
    words[2] = "fare = 2"
    quiet = subprocess.run(
        [*command, "--no-hooks", *words], capture_output=True, text=True, check=True
    )
    assert quiet.stderr == ""


def test_looking_for_entry_points_is_done_once(filled: Repository) -> None:
    change(filled)
    change(filled)
    assert hooks._entry_points.cache_info().misses == 1
    assert all(isinstance(one, EntryPoint) for of in hooks._entry_points().values() for one in of)
