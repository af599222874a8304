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


def test_a_run_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shell, repo = Shell(tmp_path), datasnap.init(tmp_path)
    write(repo, "rides", pa.table({"id": [1, 2]}), key="id")
    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "nothing"]):
        subprocess.run([*git, *words], check=True, cwd=shell.folder)
    code = (
        "import os, datasnap\n"
        "with datasnap.run('twice') as run:\n"
        "    run.log({'rows': datasnap.open().table('rides').to_arrow().num_rows})\n"
        "    run.log({'again': len(os.environ.get('DATASNAP_REPRODUCE', ''))})\n"
    )
    shell("run", "--", sys.executable, "-c", code)
    shell("sql", "DELETE FROM rides WHERE id = 1")
    said = shell("reproduce", "twice", code=1)
    assert re.search(r"rows +2 +2 +same", said)
    assert re.search(r"again +0 +\d+ +differs", said)
    assert "Something else came of it." in said
    again = repo.runs()[0]
    assert f"does {repo.runs()[1].id} again" in shell("runs", "show", again.id)
    assert "unknown run" in shell.fails("reproduce", "nobody")
