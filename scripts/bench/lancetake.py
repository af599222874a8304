"""Rows by number from a Lance dataset, in Lance's own environment; orders come from `loaders.py`.

Use: python lancetake.py ROWS.arrow DATASET

Each line of stdin is a JSON list of row numbers; each answer the seconds that taking them took.
"""

from __future__ import annotations

import json
import sys
import time

import lance
import pyarrow as pa


def main() -> None:
    """Write the dataset, then serve."""
    given, place = sys.argv[1:]
    with pa.memory_map(given) as file:
        lance.write_dataset(pa.ipc.open_file(file).read_all(), place)
    dataset = lance.dataset(place)
    for line in sys.stdin:
        numbers = json.loads(line)
        start = time.perf_counter()
        taken = dataset.take(numbers)
        seconds = time.perf_counter() - start
        assert taken.num_rows == len(numbers)
        print(seconds, flush=True)


if __name__ == "__main__":
    main()
