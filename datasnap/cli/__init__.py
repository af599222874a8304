"""The command line: parsing and printing, nothing else. One module per group of verbs."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

#: The width of "error: " and "hint:  ".
_INDENT = 7


def run() -> None:
    """The `datasnap` command.

    Exit codes: 0 done; 1 it could not be done, and why is on standard error; 2 wrong usage;
    130 interrupted.
    """
    from datasnap.cli.app import app
    from datasnap.errors import DatasnapError, UsageError

    try:
        with _noting():
            app(prog_name="datasnap")
    except DatasnapError as error:
        _complain(error.message, error.hint)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        _complain("interrupted; nothing was committed", "")
        sys.exit(130)
    except BrokenPipeError:  # the reader, `head` say, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except MemoryError:
        _complain("out of memory", "Import in smaller pieces, or set [import] threads = 1.")
        sys.exit(1)
    except Exception as error:
        if os.environ.get("DATASNAP_DEBUG"):
            raise
        reason = next(iter(str(error).splitlines()), "")
        _complain(
            f"unexpected {type(error).__name__}: {reason}",
            "This is a bug in datasnap: please report it with what DATASNAP_DEBUG=1 shows.",
        )
        sys.exit(1)


@contextmanager
def _noting() -> Iterator[None]:
    """Print what a user should know, of a snapshot that was replaced or a run, each once."""
    from datasnap.errors import RunIncomplete, SnapshotReplaced

    others, said = warnings.showwarning, set[str]()

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if not issubclass(category, (SnapshotReplaced, RunIncomplete)):
            others(message, category, filename, lineno, file, line)
        elif str(message) not in said:
            said.add(str(message))
            print(f"note: {_wrapped(str(message))}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", SnapshotReplaced)
        warnings.simplefilter("always", RunIncomplete)
        warnings.showwarning = show
        yield


def _complain(message: str, hint: str) -> None:
    colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    red, dim, off = ("\033[31m", "\033[2m", "\033[0m") if colour else ("", "", "")
    print(f"{red}error:{off} {_wrapped(message)}", file=sys.stderr)
    if hint:
        print(f"{dim}hint:  {_wrapped(hint)}{off}", file=sys.stderr)


def _wrapped(text: str) -> str:
    """Lines, indented; on a terminal broken between words."""
    from datasnap.cli.output import printable

    lines = list(map(printable, text.split("\n")))
    if sys.stderr.isatty():
        width = max(shutil.get_terminal_size().columns - _INDENT, _INDENT)
        wrap = textwrap.TextWrapper(width, break_on_hyphens=False, break_long_words=False)
        lines = [part for line in lines for part in wrap.wrap(line)]
    return ("\n" + " " * _INDENT).join(lines)
