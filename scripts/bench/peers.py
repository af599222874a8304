"""datasnap beside plain Parquet, Lance and DuckLake: same data, same machine, same run.

    python scripts/bench/peers.py [--quick] [--data mixed,lineitem] [--only lance,ducklake]

Each contestant has a process and an environment of its own, and they take turns step by step.
Queries and full reads are shown as multiples of a plain Parquet file, read by the DuckDB and
pyarrow of the same environment. Prints a table; writes JSON, and Markdown for the README.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import datasets
import machine
import plain
from bench import DATA, RESULTS, names
from contestants import NAMES
from data import cache
from environments import NoEnvironment, python_for, script
from measure import say, scratch
from peertable import Cell, Row, markdown, text

#: Steps of a round, and the label of each.
STEPS = {
    "again": "identical table again",
    "wider": "new column: whole table given",
    "add_column": "new column: its own way",
    "longer": "1 % more rows: whole table given",
    "append": "1 % more rows: its own way",
}
REFS = {"branch": "new branch", "tag": "new tag"}
QUERY_REPEATS = 9


class Peer:
    """A contestant's process, as a context manager."""

    def __init__(self, name: str, python: str, arguments: list[str], folder: Path) -> None:
        self.name, self._folder = name, folder
        self._command = [python, script("worker.py"), name, *arguments, str(folder)]
        self._own = python != sys.executable

    def __enter__(self) -> Self:
        self._folder.mkdir()
        environment = dict(os.environ)
        if self._own:
            environment.pop("PYTHONPATH", None)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        if kind is not None:
            self._process.terminate()
        self._process.wait()

    def ask(self, do: str, **order: object) -> dict[str, Any]:
        """Send an order and wait for its answer; a dead process answers with an error."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **order}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError as error:
            return {"error": str(error)}
        answer: dict[str, Any] = json.loads(line) if line else {"error": "its process ended"}
        if problem := answer.get("error"):
            say(f"{self.name} · {do} · {problem}")
        return answer


class Match:
    """One data set, and all who could start."""

    def __init__(self, name: str, options: argparse.Namespace, work: Path, stack: ExitStack):
        self.dataset = datasets.load(name, options.rows, options.scale)
        say(self.dataset.about)
        self._file = work / f"{name}.parquet"
        plain.write(self.dataset.rows, self._file)
        self._repeat = options.repeat
        arguments = [name, str(options.rows), str(options.scale)]
        self.peers: list[Peer] = []
        self.titles: dict[str, str] = {}
        self.versions: dict[str, dict[str, str]] = {}
        for who in options.only:
            try:
                python = python_for(who)
            except NoEnvironment as error:
                say(f"left out: {error}")
                continue
            peer = stack.enter_context(Peer(who, python, arguments, work / f"{name}-{who}"))
            hello = peer.ask("hello")
            if "error" not in hello:
                self.peers.append(peer)
                self.titles[who], self.versions[who] = hello["title"], hello["versions"]

    def play(self) -> list[Row]:
        """All rounds of writing, then refs, then reading."""
        rows = {"create": Row("import")} | {key: Row(label) for key, label in STEPS.items()}
        for number in range(self._repeat):
            for key, row in rows.items():
                for peer in self.peers:
                    self._say(f"{row.label} · round {number + 1} of {self._repeat}", peer)
                    order = {"do": "create"} if key == "create" else {"do": "step", "name": key}
                    _note(row, peer, peer.ask(**order))
        for kind, label in REFS.items():
            row = rows[kind] = Row(label)
            for peer in self.peers:
                self._say(label, peer)
                _note(row, peer, peer.ask("name", kind=kind))
        return [*rows.values(), *self._reads()]

    def _reads(self) -> list[Row]:
        rows = {name: Row(name) for name, _ in self.dataset.queries(1)}
        read = Row("full read to Arrow")
        for peer in self.peers:
            self._say("queries", peer)
            repeats = max(self._repeat, QUERY_REPEATS)
            answer = peer.ask("queries", file=str(self._file), repeats=repeats)
            for name, row in rows.items():
                row.cells[peer.name] = _ratio(answer, answer.get("pairs", {}).get(name, []))
            self._say("full read", peer)
            answer = peer.ask("read", file=str(self._file), repeats=self._repeat)
            read.cells[peer.name] = _ratio(answer, answer.get("pairs", []))
        return [*rows.values(), read]

    def _say(self, what: str, peer: Peer) -> None:
        say(f"{self.dataset.name} · {what} · {self.titles[peer.name]}")


def main() -> int:
    """Play, print, write; the exit code is 1 when anything failed."""
    options = _options()
    start = time.perf_counter()
    results: dict[str, Any] = {"machine": machine.facts(cache()), "data": {}}
    report, complete = [], True
    for name in options.data:
        with scratch(cache(), "peers-run") as work, ExitStack() as stack:
            match = Match(name, options, work, stack)
            rows = match.play()
        complete &= len(match.peers) == len(options.only)
        complete &= not any(cell.error for row in rows for cell in row.cells.values())
        print(f"\n{match.dataset.about}\n{text(rows, match.titles)}")
        report.append(f"{match.dataset.about}\n\n{markdown(rows, match.titles)}\n")
        results["data"][name] = {
            row.label: {who: cell.as_json() for who, cell in row.cells.items()} for row in rows
        }
        results["versions"] = match.versions
    report.append(_versions(results["versions"]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
    options.markdown.write_text("\n".join(report) + "\n", "utf-8")
    print(f"\n{_versions(results['versions'])}")
    seconds = time.perf_counter() - start
    say(f"{seconds:.0f} s in all; numbers in {options.json}, table in {options.markdown}")
    return 0 if complete else 1


def _note(row: Row, peer: Peer, answer: dict[str, Any]) -> None:
    cell = row.cells.setdefault(peer.name, Cell())
    cell.error = cell.error or answer.get("error", "")
    if "seconds" in answer:
        cell.seconds.append(answer["seconds"])
        cell.bytes.append(answer["bytes"])


def _ratio(answer: dict[str, Any], pairs: list[tuple[float, float]]) -> Cell:
    return Cell(
        seconds=[ours for _, ours in pairs],
        plain=[baseline for baseline, _ in pairs],
        error=answer.get("error", ""),
    )


def _versions(versions: dict[str, dict[str, str]]) -> str:
    """What took part, in a line each."""
    return "\n".join(
        f"{who}: " + ", ".join(f"{name} {number}" for name, number in found.items())
        for who, found in versions.items()
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="peers.py", description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, help="rows of the mixed table (5,000,000)")
    parser.add_argument("--scale", type=float, help="TPC-H scale factor of lineitem (1)")
    parser.add_argument("--repeat", type=int, default=3, help="rounds (3)")
    parser.add_argument("--quick", action="store_true", help="300,000 rows: does it run?")
    parser.add_argument("--only", type=names(NAMES), default=NAMES, help=", ".join(NAMES))
    parser.add_argument("--data", type=names(DATA), default=DATA, help=", ".join(DATA))
    parser.add_argument("--json", type=Path, default=RESULTS.with_name("peers.json"))
    parser.add_argument("--markdown", type=Path, help="default: beside the JSON")
    options = parser.parse_args()
    options.rows = options.rows or (300_000 if options.quick else 5_000_000)
    options.scale = options.scale or (0.05 if options.quick else 1)
    options.markdown = options.markdown or options.json.with_suffix(".md")
    return options


if __name__ == "__main__":
    sys.exit(main())
