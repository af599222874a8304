"""What a terminal would obey, in names, messages, authors and errors: no verb prints it raw."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from tests.cli.test_verbs import Shell
from tests.fuzz.hostile import Workshop

ESCAPE = "\x1b[31m\x1b]0;title\x07\x9b2J\u202e"
NAME = f"t{ESCAPE}"

#: By their exit codes.
VERBS = {
    0: [
        ("status",),
        ("ls", "{id}"),
        ("log", "{id}"),
        ("log", "{id}", "--oneline"),
        ("show", "{id}"),
        ("diff", "{parent}", "{id}"),
        ("diff", "{parent}", "{id}", "--stats"),
        ("diff", "{parent}", "{id}", "--rows"),
        ("history", NAME + "@{id}"),
        ("history", NAME + "@{id}", "-k", "5"),
        ("blame", NAME + "@{id}", "-k", "5"),
        ("export", NAME + "@{id}", "out.parquet"),
        ("sql", "FROM log()", "--at", "{id}"),
        ("branch",),
        ("tag",),
        ("reflog",),
    ],
    1: [
        ("branch", "new" + ESCAPE),
        ("switch", ESCAPE),
        ("show", ESCAPE),
        ("sql", f'FROM "{NAME}"'),
        ("ls", NAME),
    ],
}


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A repository whose newest snapshot is full of escapes: names, message and author."""
    folder = tmp_path_factory.mktemp("terminal")
    workshop = Workshop(datasnap.init(folder))
    said = {"author": f"Eve{ESCAPE}", "message": f"look{ESCAPE}\n\nmore{ESCAPE}"}
    said["metadata"] = {f"k{ESCAPE}": f"v{ESCAPE}"}  # type: ignore[assignment]

    def forge(table: object) -> object:
        from msgspec.structs import replace

        schema = pa.ipc.read_schema(pa.BufferReader(table.schema))  # type: ignore[attr-defined]
        schema = schema.set(1, schema.field(1).with_name(f"place{ESCAPE}"))
        return replace(table, schema=bytes(schema.serialize()))

    parent = workshop.snapshot(name=NAME)
    said["parents"] = (bytes.fromhex(parent),)  # type: ignore[assignment]
    id = workshop.snapshot(name=NAME, edited=True, snapshot=said, table=forge)
    workshop.repository.branch("forged", at=id)
    workshop.repository.tag("v1", at=id)
    return folder, {"id": id, "parent": parent}


@pytest.mark.parametrize("code", VERBS)
def test_no_verb_lets_others_speak_to_the_terminal(
    forged: tuple[Path, dict[str, str]], code: int
) -> None:
    folder, ids = forged
    shell = Shell(folder)
    for verb in VERBS[code]:
        words = [word.format(**ids) for word in verb]
        said = shell(*words, code=code)
        # (The JSON of rows is data: DuckDB's, who escapes no more than JSON asks for.)
        if code == 0 and verb[0] not in ("export", "sql") and "--rows" not in verb:
            said += shell(*words, "--json")
        said += shell.errors
        assert said, verb
        assert not {c for c in said if c in ESCAPE and not c.isprintable()}, said
