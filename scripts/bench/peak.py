"""The child whose memory is measured: imports one file, and prints its peak in bytes.

Use: python peak.py FOLDER FILE KEY…
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import datasnap


def main(folder: str, source: str, *key: str) -> None:
    """Import, then print."""
    with datasnap.init(folder).transaction("main", message="bench") as tx:
        tx.write("t", source, key=list(key))
    print(peak())


def peak() -> int:
    """The most memory that this process ever held.

    Not Linux's `ru_maxrss`: that begins with the size of the parent at the fork, here gigabytes.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(*sys.argv[1:])
