"""The figures of the README: datasnap beside plain Parquet, in one run on one machine.

    python scripts/bench/bench.py [--quick] [--only import,query] [--data mixed,lineitem]

Baseline and ours take turns (A B A B …), from a settled disk, with a warm page cache; a ratio is
the median of the ratios of the turns. Prints a table, and writes all numbers as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import datasets
import diffs
import durability
import edits
import figures
import footprint
import garbage
import imports
import lifecycle
import loaders
import machine
import merges
import reads
from data import cache
from datasets import Dataset
from figures import Figure
from measure import say, scratch

RESULTS = Path(__file__).with_name("results") / "latest.json"
DATA = ("mixed", "lineitem")
GROUPS = (
    "import",
    "shuffled",
    "edits",
    "overlaid",
    "commits",
    "fsync",
    "larger",
    "diffs",
    "merges",
    "gc",
    "verify",
    "branch",
    "query",
    "read",
    "export",
    "loaders",
    "take",
    "memory",
    "help",
)


class Bench:
    """One run: what was asked for, and what it needs on the way."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.options, self.work = options, work

    def run(self) -> Iterator[Figure]:
        """Measure all that was asked for; a failure takes the place of its figures."""
        for name in self.options.data:
            stage = Stage(datasets.load(name, self.options.rows, self.options.scale), self.work)
            say(stage.dataset.about)
            for group in self.options.only:
                yield from _guarded(name, group, self._of_data(stage, group))
        if "help" in self.options.only:
            yield from _guarded("", "help", lambda: footprint.help_text(self.work))

    def _of_data(self, stage: Stage, group: str) -> Callable[[], Iterator[Figure]]:
        dataset, work, repeat = stage.dataset, self.work, self.options.repeat
        measures: dict[str, Callable[[], Iterator[Figure]]] = {
            "import": lambda: imports.imports(dataset, work, repeat),
            "shuffled": lambda: imports.shuffled_import(dataset, work, repeat),
            "query": lambda: reads.queries(stage.stand, work, repeat),
            "read": lambda: reads.full_read(stage.stand, work, repeat),
            "export": lambda: reads.export(stage.stand, work, repeat),
            "diffs": lambda: diffs.diffs(dataset, work, repeat),
            "verify": lambda: lifecycle.verify_deep(stage.stand, repeat),
        }
        if dataset.name == "mixed":
            rows = self.options.rows
            measures["edits"] = lambda: edits.edits(dataset, work, repeat)
            measures["overlaid"] = lambda: edits.overlaid(stage.stand, work, repeat)
            measures["commits"] = lambda: edits.many_commits(dataset, work)
            measures["fsync"] = lambda: durability.syncing(dataset, work, repeat)
            measures["larger"] = lambda: edits.larger(dataset, work, repeat)
            measures["diffs"] = lambda: diffs.all_diffs(dataset, work, repeat)
            measures["merges"] = lambda: merges.merges(dataset, work, repeat)
            measures["gc"] = lambda: garbage.collections(dataset, work, repeat)
            measures["branch"] = lambda: footprint.branches(stage.stand, work, repeat)
            measures["loaders"] = lambda: loaders.loaders(stage.stand, work, repeat)
            measures["take"] = lambda: loaders.rows_by_number(stage.stand, work, repeat)
            measures["memory"] = lambda: footprint.peak_memory(rows, 4 * rows, dataset, work)
        return measures.get(group, lambda: iter(()))


class Stage:
    """A data set, and the file and repository that its reading figures share."""

    def __init__(self, dataset: Dataset, work: Path) -> None:
        self.dataset, self._work = dataset, work

    @cached_property
    def stand(self) -> reads.Stand:
        """Written when first asked for."""
        return reads.Stand.set_up(self.dataset, self._work)


def main() -> int:
    """Run, print, write; the exit code is 1 when something could not be measured."""
    options = _options()
    found: list[Figure] = []
    start = time.perf_counter()
    facts = machine.facts(cache())
    with scratch(cache(), "run") as work:
        for figure in Bench(options, work).run():
            found.append(figure)
    _print(found)
    _write(options.json, options, facts, found)
    say(f"{time.perf_counter() - start:.0f} s in all; every number is in {options.json}")
    return 1 if any(figure.error for figure in found) else 0


def _guarded(data: str, group: str, measure: Callable[[], Iterator[Figure]]) -> Iterator[Figure]:
    """The group's figures, and after an error a row that says so: the rest is still measured."""
    try:
        yield from measure()
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        yield figures.failed(data, group, error)


def _print(found: list[Figure]) -> None:
    for data in dict.fromkeys(figure.data for figure in found):
        print(f"\n{data or 'command line'}")
        print(figures.table([figure for figure in found if figure.data == data]))
    barred = [figure.reached for figure in found if figure.reached is not None]
    print(f"\n{sum(barred)} of {len(barred)} bars reached")


def _write(
    path: Path, options: argparse.Namespace, facts: dict[str, object], found: list[Figure]
) -> None:
    content = {
        "machine": facts,
        "options": {"rows": options.rows, "scale": options.scale, "repeat": options.repeat},
        "figures": [figure.as_json() for figure in found],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, help="rows of the mixed table (5,000,000)")
    parser.add_argument("--scale", type=float, help="TPC-H scale factor of lineitem (1)")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of each pair (3)")
    parser.add_argument("--quick", action="store_true", help="300,000 rows: does it run?")
    parser.add_argument("--only", type=names(GROUPS), default=GROUPS, help=", ".join(GROUPS))
    parser.add_argument("--data", type=names(DATA), default=DATA, help=", ".join(DATA))
    parser.add_argument("--json", type=Path, default=RESULTS, help="where to write the numbers")
    options = parser.parse_args()
    options.rows = options.rows or (300_000 if options.quick else 5_000_000)
    options.scale = options.scale or (0.05 if options.quick else 1)
    return options


def names(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """A parser of comma-separated names; they come back in the order of `known`."""

    def parse(text: str) -> tuple[str, ...]:
        asked = text.split(",")
        if unknown := [name for name in asked if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {known}")
        return tuple(name for name in known if name in asked)

    return parse


if __name__ == "__main__":
    sys.exit(main())
