"""Environments of the peers: a venv each in the cache folder, filled from PyPI once.

They are kept until deleted; delete one to get its newest packages.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from data import cache
from measure import say

PACKAGES = {
    "lance": ("pylance", "duckdb", "pyarrow", "numpy"),
    # The extension's wheel pins the version of DuckDB that it is made for, and brings the binary.
    "ducklake": ("duckdb-extension-ducklake", "duckdb", "pyarrow", "numpy"),
}


class NoEnvironment(Exception):
    """A peer's packages cannot be installed."""


def python_for(name: str) -> str:
    """The Python that a contestant runs with: its own environment's, or this one.

    Raises:
        NoEnvironment: pip failed; with its last line.
    """
    packages = PACKAGES.get(name)
    if packages is None:
        return sys.executable
    folder = cache() / "peers" / f"{name}-py{sys.version_info.major}.{sys.version_info.minor}"
    python, ready = folder / "bin" / "python", folder / ".ready"
    if not ready.exists() or ready.read_text() != " ".join(packages):
        say(f"installing {', '.join(packages)} (once)")
        _run(name, sys.executable, "-m", "venv", "--clear", str(folder))
        pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        _run(name, *pip, *packages)
        ready.write_text(" ".join(packages))
    return str(python)


def _run(name: str, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise NoEnvironment(f"{name}: {lines[-1]}")


def script(name: str) -> str:
    """The path of a script of this folder."""
    return str(Path(__file__).with_name(name))
