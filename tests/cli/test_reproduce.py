"""The verb reproduce."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from tests.cli.test_verbs import Shell
from tests.conftest import write


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """In a repository of data that is in one of git."""
    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "nothing"]):
        subprocess.run([*git, *words], check=True)
    write(datasnap.init(tmp_path), "rides", pa.table({"id": [1, 2, 3]}), key="id")
    return Shell(tmp_path)


def test_a_run_is_done_again_with_what_a_purge_has_left(
    shell: Shell, capfd: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    code = (
        "import datasnap\n"
        "with datasnap.run('twice') as run:\n"
        "    run.log({'rows': datasnap.open().table('rides').to_arrow().num_rows, 'one': 1})\n"
    )
    shell("run", "--", sys.executable, "-c", code)
    run = datasnap.open().runs()[0]
    shell("sql", "DELETE FROM rides WHERE id = 1")
    shell("purge", "rides", "--where", "id = 2", "--yes")
    said = shell("reproduce", "twice", code=1)
    assert "data: rows of rides were erased since" in shell.errors
    assert "SnapshotReplaced" not in capfd.readouterr().err
    assert re.search(r"rows +3 +2 +differs", said)
    assert re.search(r"one +1 +1 +same", said)
    assert "rows were erased since: rides" in said
    assert "Something else came of it." in said
    again = datasnap.open().runs()[0]
    assert f"does {run.id} again" in shell("runs", "show", again.id)
    compared = shell("runs", "compare", run.id, again.id)
    assert re.search(r"rides .*what is left is the same  rows were erased since", compared)
    # A reproduction is not meant by name. It is itself done again as the run was, from wherever.
    assert run.id in shell("runs", "show", "twice").splitlines()[0]
    elsewhere = Shell(tmp_path_factory.mktemp("elsewhere"))
    assert "The same came of it." in elsewhere("-C", shell.folder, "reproduce", again.id)
    assert datasnap.open().runs()[0].reproduces == run.id
    assert "unknown run" in shell.fails("reproduce", "nobody")
    shell("runs", "rm", run.id)
    assert f"does {run.id} again, which was removed" in shell.fails("reproduce", "twice", code=2)


def test_a_run_that_fails_again_is_not_said_to_give_the_same(shell: Shell) -> None:
    script = shell.folder / "fails.sh"
    script.write_text("#!/bin/sh\nexit 3\n")
    script.chmod(0o755)
    shell("run", "--", "./fails.sh", code=3)
    said = shell("reproduce", datasnap.open().runs()[0].id)
    assert said.count("exit code 3") == 2
    assert "It failed again, as it did then." in said
