"""Which process a run belongs to, and whether that is still there."""

from __future__ import annotations

import getpass
import os
import socket
from contextlib import suppress
from pathlib import Path


def this_process() -> str:
    """A name for this process that no other has, on any machine: boot, namespace, number and
    start. A number alone would come again."""
    return "/".join([*_machine(), str(os.getpid()), _started(os.getpid())])


def is_gone(process: str) -> bool:
    """Whether a process is known to be gone. Of one on another machine, or in another container,
    nobody here can tell."""
    *machine, number, started = ["", "", *process.split("/")][-4:]
    if machine != _machine() or not all(machine) or not number.isdecimal():
        return False
    return _started(int(number)) != started


def host() -> str:
    """The name of this machine."""
    return socket.gethostname()


def user() -> str:
    """Who this process runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}"


def _machine() -> list[str]:
    boot = namespace = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    if not boot:  # no Linux: by name
        boot = namespace = host().replace("/", " ")
    return [boot, namespace]


def _started(number: int) -> str:
    """When a process began, in the kernel's ticks; "": there is none of that number."""
    try:
        # The name, in parentheses, may hold anything.
        fields = (
            Path(f"/proc/{number}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        )
    except OSError:
        return "" if Path("/proc/self/stat").exists() or not _exists(number) else "?"
    return "" if fields[0] in "ZX" else fields[19]


def _exists(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
