"""The tests of crashes and concurrency, with more of everything: for an hour, not for a commit.

    python scripts/stress.py [--only disk,s3,kills,lives] [--writers 8] [--commits 50]

disk, s3    processes commit at once, on one branch and on many; every acknowledged commit is in
            the history once (S3: moto's server, in a process of its own)
kills       a process is killed at every step, each time that it comes there
lives       a model and a repository live through random changes and crashes (--examples)
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.concurrency.servers import s3_server  # noqa: E402
from tests.concurrency.writers import run_writers  # noqa: E402


def main() -> int:
    """Run what was asked for; the exit code is 1 when something failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="disk,s3,kills,lives", help="disk, s3, kills, lives")
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--commits", type=int, default=50, help="of each writer")
    parser.add_argument("--examples", type=int, default=300, help="lives to try")
    options = parser.parse_args()
    os.environ.setdefault("DATASNAP_AUTHOR", "stress")
    parts: dict[str, Callable[[argparse.Namespace], int]] = {
        "disk": _disk,
        "s3": _s3,
        "kills": lambda _: _pytest("test_kills.py", DATASNAP_EVERY_TURN="1"),
        "lives": lambda asked: _pytest("test_any_life.py", DATASNAP_EXAMPLES=str(asked.examples)),
    }
    return max(parts[name](options) for name in options.only.split(","))


def _disk(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as work:
        for branches in (1, options.writers):
            _write(f"{work}/{branches}", "disk", branches, options)
    return 0


def _s3(options: argparse.Namespace) -> int:
    with s3_server() as server:
        for branches in (1, options.writers):
            _write(f"{server}/{uuid.uuid4().hex}", "s3", branches, options)
    return 0


def _write(location: str, kind: str, branches: int, options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as notes:
        outcome = run_writers(
            location,
            Path(notes),
            writers=options.writers,
            commits=options.commits,
            branches=branches,
        )
    on = "one branch" if branches == 1 else f"{branches} branches"
    print(
        f"{kind}, {on}: {outcome.commits} commits by {options.writers} processes in "
        f"{outcome.seconds:.1f} s, {outcome.again} done again after a conflict; none lost",
        flush=True,
    )


def _pytest(file: str, **environment: str) -> int:
    command = [sys.executable, "-m", "pytest", f"tests/crash/{file}", "-n", "2"]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}).returncode


if __name__ == "__main__":
    sys.exit(main())
