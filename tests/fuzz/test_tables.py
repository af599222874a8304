"""Hostile tables, read in every way in a process of its own: it neither crashes nor hangs, raises
errors of ours (or DuckDB's, where DuckDB reads), and takes no more memory than it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: What reading a table of 3,000 rows may take on top of the libraries, whatever the table says.
MOST_BYTES = 1 << 30


@pytest.mark.parametrize("cases", ["claims", "chunks", "bombs"])
def test_hostile_tables_are_read_or_refused(cases: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.trial", cases, str(MOST_BYTES)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    said = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert done.returncode == 0 and done.stdout.endswith("done\n"), said
    assert "UNEXPECTED" not in done.stdout, said
