"""Made `tests/data/format-1/`: a repository of format 1, and what it reads as. Kept as a record.

    git worktree add /tmp/datasnap-38eb519 38eb519
    export PYTHONPATH=/tmp/datasnap-38eb519:.
    .venv/bin/python tests/data/make_format_1.py tests/data/format-1

Never to be run again for this format: the point is that what code of that day wrote stays readable.
For the next format make a script like it, with a folder of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

import datasnap
from datasnap.repository import Repository
from tests.values import EVERY_TYPE, table_of

_SETTINGS = "[storage]\npack_mib = 1\n[tables]\nsegment_rows = 256\n"


def main(to: Path) -> None:
    """Write the repository and what it must read as."""
    os.environ["DATASNAP_AUTHOR"] = "Ada <ada@example.org>"
    with tempfile.TemporaryDirectory() as work:
        root = Path(work) / "repository"
        datasnap.init(root)
        (root / ".datasnap" / "config.toml").write_text(_SETTINGS)
        repo = datasnap.open(root)
        write_history(repo)
        assert repo.verify(deep=True).ok
        to.mkdir(parents=True, exist_ok=True)
        with tarfile.open(to / "repository.tar.gz", "w:gz") as tar:
            tar.add(root / ".datasnap", arcname=".datasnap")
        expected = json.dumps(describe(repo), indent=1)
        (to / "expected.json").write_text(expected + "\n")


def write_history(repo: Repository) -> None:
    """Something of every kind that the format has."""
    random = np.random.default_rng(1)
    rides = pa.table(
        {
            "ride_id": np.arange(0, 3000, 2),
            "fare": np.round(random.gamma(2.0, 9.0, 1500), 2),
            "km": random.integers(0, 400, 1500),
            "place": pa.array(["north", "south", None, "east"]).take(
                pa.array(random.integers(0, 4, 1500))
            ),
        }
    )
    with repo.transaction("main", message="rides, and stops without a key") as tx:
        tx.write("raw/rides", rides, key="ride_id")
        tx.write("stops", rides.select(["place", "km"]).slice(0, 1500))
        tx.write("empty", rides.schema.empty_table(), key="ride_id")
    with repo.transaction("main", message="overlays") as tx:
        tx.delete("raw/rides", "ride_id % 1000 = 2")
        tx.update("raw/rides", {"fare": "fare + 1", "place": "'west'"}, "ride_id % 700 = 4")
        tx.upsert("raw/rides", rides.slice(100, 3).set_column(2, "km", pa.array([1, 2, 3])))
        tx.append("raw/rides", rides.slice(0, 2).set_column(0, "ride_id", pa.array([1, 5999])))
        tx.delete("stops", "km = 7")
        tx.update("stops", {"km": "-1"}, "km = 8")
    repo.tag("jan")
    repo.branch("exp/columns")
    with repo.transaction("exp/columns", message="columns", metadata={"run": "7"}) as tx:
        tx.add_columns("raw/rides", {"per_km": "fare / km"})
        tx.rename_columns("raw/rides", {"place": "region"})
        tx.update("raw/rides", {"per_km": "0"}, "km = 0")
        tx.cast_columns("raw/rides", {"km": "DOUBLE"})
        tx.drop_columns("stops", "km")
        tx.filter("raw/rides", "fare > 30", "dear")
    with repo.transaction("main", message="every type") as tx:
        for field, values in EVERY_TYPE:
            tx.write(f"types/{field.name}", table_of(field, values), key="id")
        tx.update("raw/rides", {"fare": "0"}, "ride_id = 4000")
    repo.merge("exp/columns", message="columns, please")
    with repo.transaction("main", message="folded") as tx:
        tx.drop("empty")
        tx.optimize("raw/rides")
    with repo.transaction("exp/columns", message="on its own") as tx:
        tx.delete("dear", "ride_id < 100")


def describe(repo: Repository) -> dict[str, object]:
    """What refs name, and what each snapshot that they lead to reads as."""
    heads = [*repo.branches(), *repo.tags()]
    snapshots = {snapshot.id: snapshot for head in heads for snapshot in repo.log(head)}
    return {
        "head": repo.head,
        "branches": repo.branches(),
        "tags": repo.tags(),
        "snapshots": {
            id: {
                "message": snapshot.message,
                "author": snapshot.author,
                "parents": snapshot.parents,
                "metadata": dict(snapshot.metadata),
                "tables": {
                    name: fingerprint(snapshot.table(name).to_arrow(), snapshot.table(name).key)
                    for name in snapshot.tables
                },
            }
            for id, snapshot in snapshots.items()
        },
    }


def fingerprint(table: pa.Table, key: list[str]) -> str:
    """Names a table's content; the same for equal tables, whatever version of Arrow holds them."""
    columns = [
        (field.name, str(field.type), field.nullable, table[field.name].to_pylist())
        for field in table.schema
    ]
    digest = hashlib.sha256(repr((key, columns)).encode()).hexdigest()
    return f"{table.num_rows} rows, {digest[:32]}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
