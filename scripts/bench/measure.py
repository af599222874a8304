"""How things are measured: clocks, sizes, and the same start for everyone."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def say(text: str) -> None:
    """A line of progress, for a user who waits."""
    print(f"  {text}", file=sys.stderr, flush=True)


def timed(action: Callable[[], object]) -> float:
    """Seconds that `action` takes, from a settled machine; what it returns is dropped after."""
    settle()
    start = time.perf_counter()
    result = action()
    seconds = time.perf_counter() - start
    del result
    return seconds


def settle() -> None:
    """Leave no garbage and no unwritten pages of the step before to the next one."""
    gc.collect()
    os.sync()


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; of hard links, each counts."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def warm(*paths: Path) -> None:
    """Bring files (or all files of folders) into the page cache."""
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                with file.open("rb") as handle:
                    while handle.read(1 << 22):
                        pass


@contextmanager
def scratch(parent: Path, name: str) -> Iterator[Path]:
    """An empty folder that is gone after the block."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
