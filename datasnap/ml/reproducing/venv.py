"""A virtual environment with the packages of a run, at their versions."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from datasnap.errors import DatasnapError
from datasnap.ml.runs.environment import Environment

_SELF = "datasnap"
#: A venv brings the first; the others are of no use without their sources.
_LEFT_OUT = {"pip", _SELF}
#: A record may come from others: what begins with a dash would be an option to pip.
_PACKAGE = re.compile(r"[A-Za-z0-9][\w.-]*==[\w.!+-]+")
#: The folder that this datasnap is in.
SOURCES = Path(__file__).parents[3]
_MINOR = re.compile(r"(\d+\.\d+)\b.*")


def create_venv(environment: Environment, folder: Path) -> Path:
    """Make one with pip, and return its Python. The version of Python is the nearest that is
    installed: the same minor one, or else this process's.

    Raises:
        DatasnapError: a package cannot be installed.
    """
    python = folder / "bin" / "python"
    left_out = _LEFT_OUT if _from_sources() else _LEFT_OUT - {_SELF}
    wanted = [_package(n, v) for n, v in environment.packages.items() if n not in left_out]
    bare = [] if wanted else ["--without-pip"]  # pip takes seconds
    _run([_interpreter(environment.python), "-m", "venv", *bare, str(folder)], "make a venv")
    if wanted:
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--no-deps", *wanted], "install the packages of the run")
    if _SELF in environment.packages and _from_sources():
        _link_datasnap(python)
    return python


def with_venv(python: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Environment variables, as if a venv were active."""
    path = f"{python.parent}:{variables.get('PATH', '')}"
    rest = {name: v for name, v in variables.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    return {**rest, "PATH": path, "VIRTUAL_ENV": str(python.parent.parent)}


def _interpreter(version: str) -> str:
    from shutil import which

    minor = _MINOR.fullmatch(version)
    if not minor or minor[1] == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    return which(f"python{minor[1]}") or sys.executable


def _package(name: str, version: str) -> str:
    package = f"{name}=={version}"
    if not _PACKAGE.fullmatch(package):
        raise DatasnapError(f"cannot install the packages of the run: {package} is none")
    return package


def _from_sources() -> bool:
    """Whether this datasnap runs from its sources, which no index has."""
    return (SOURCES / "pyproject.toml").exists()


def _link_datasnap(python: Path) -> None:
    """Let a venv have this datasnap, listed as if pip had installed it."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    packages = Path(done.stdout.strip())
    (packages / f"{_SELF}.pth").write_text(f"{SOURCES}\n", "utf-8")
    own = metadata.version(_SELF)
    listed = packages / f"{_SELF}-{own}.dist-info"
    listed.mkdir()
    text = f"Metadata-Version: 2.1\nName: {_SELF}\nVersion: {own}\n"
    (listed / "METADATA").write_text(text, "utf-8")


def _run(command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")]
        said = (errors or lines or [""])[0].removeprefix("ERROR: ").partition(" (from versions")[0]
        raise DatasnapError(f"cannot {what}: {said}")
