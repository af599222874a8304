"""Fuzz the parsers of stored bytes, guided by coverage, for as long as you like.

atheris is no dependency of the project: give it a venv of its own, beside which libraries the
project needs.

    python3.11 -m venv /tmp/fuzz
    /tmp/fuzz/bin/pip install atheris -e .
    /tmp/fuzz/bin/python scripts/fuzz.py                       the targets there are
    /tmp/fuzz/bin/python scripts/fuzz.py thrift                until it finds something, or ^C
    /tmp/fuzz/bin/python scripts/fuzz.py chunk -max_total_time=60 -rss_limit_mb=1500

Everything behind the target's name goes to libFuzzer (https://llvm.org/docs/LibFuzzer.html). What
it finds it writes to `crash-…`; give that file as an argument to see it again. The corpus starts
with real bytes and is kept in a folder of the system's temporary one.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1]))

with atheris.instrument_imports(include=["datasnap"]):
    from tests.fuzz.targets import TARGETS, seeds


def main() -> None:
    """Fuzz the target that the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: fuzz.py TARGET [libFuzzer options]\ntargets: {', '.join(TARGETS)}")
    name = sys.argv.pop(1)
    corpus = Path(tempfile.gettempdir()) / "datasnap-fuzz" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds()[name]):
        (corpus / f"seed-{number}").write_bytes(data)
    # Without a limit of its own libFuzzer would keep to the length of the longest seed.
    atheris.Setup([*sys.argv, str(corpus), "-max_len=65536"], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
