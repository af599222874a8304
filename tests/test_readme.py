"""The README's tour, command by command, in a fresh folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def tour() -> list[tuple[str, str]]:
    """The code blocks of the section "Five minutes", with their languages."""
    section = README.split("## Five minutes")[1].split("\n## ")[0]
    return re.findall(r"```(sh|python)\n(.*?)```", section, re.DOTALL)


def test_the_tour_runs_as_written(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    said = []
    for language, code in tour():
        command = ["bash", "-euo", "pipefail"] if language == "sh" else [sys.executable, "-"]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            input=code,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, code + done.stdout + done.stderr
        said.append(done.stdout)
    assert len(said) >= 6
    whole = "".join(said)
    assert "rides: 1 new column" in whole
    assert "feature: fare per km" in whole
    assert "new tariff" in whole
    assert "Merged exp/per-km into main" in whole
    assert "no ride is free" in whole
    assert "oops" in whole
    assert "erased" in whole
    assert "hash to their IDs" in whole
