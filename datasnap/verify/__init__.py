"""Verify: is everything that the refs reach present, intact, and what its ID says?

roots       what must be whole: branches, tags, pins, and what their logs name
survey      the files of the store: packs, index files, and whether they fit each other
walk        all objects that the roots reach, each read once, and the chunks they name
chunks      one chunk: its bytes, its layout, its values
losses      what a lost record means: tables, columns, rows, snapshots, refs
check       these together
repair      what can be mended: from the packs themselves, and from copies
"""

from datasnap.verify.check import verify
from datasnap.verify.repair import repair
from datasnap.verify.report import Loss, Problem, Repairs, Report

__all__ = ["Loss", "Problem", "Repairs", "Report", "repair", "verify"]
