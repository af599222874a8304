"""`datasnap verify` as a user runs it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from datasnap.storage import open_backend
from tests.cli.test_verbs import Shell, full, shell, template
from tests.verify.damage import largest_pack

__all__ = ["full", "shell", "template"]  # fixtures


def pack_of_chunks(shell: Shell) -> Path:
    root = shell.folder / ".datasnap"
    return root / largest_pack(open_backend(str(root)))


def damage(shell: Shell) -> None:
    pack = pack_of_chunks(shell)
    data = bytearray(pack.read_bytes())
    data[60] ^= 1
    pack.write_bytes(data)


def test_what_is_sound_is_said_so(full: Shell) -> None:
    said = full("verify")
    assert re.search(
        r"3 snapshots, 3 table versions, \d+ chunks in \d+ packs; [\d.]+ k?B read", said
    )
    assert "✓ all are present, intact, and hash to their IDs" in said
    assert "✓ all are present\n" in full("verify", "--quick")
    report = json.loads(full("verify", "--json"))
    assert report["ok"]
    assert (report["snapshots"], report["problems"], report["repairs"]) == (3, [], None)


def test_what_is_damaged_is_named(full: Shell) -> None:
    damage(full)
    said = full("verify", code=1)
    assert re.search(r"✗ chunk [0-9a-f]{16} is damaged in pack [0-9a-f]{16}", said)
    assert re.search(r"table rides, column \w+, rows 0 to \d", said)
    assert re.search(r"in \d snapshots?, [0-9a-f]{12} \(\d{4}-", said)
    assert full.errors.startswith("error: 1 problem found\nhint:")
    (problem,) = json.loads(full("verify", "--json", code=1))["problems"]
    (loss, *_) = problem["losses"]
    assert loss["table"] == "rides"
    assert all(len(id) == 64 for id in loss["snapshots"])


def test_a_pack_that_is_cut_or_missing_is_named(full: Shell) -> None:
    pack = pack_of_chunks(full)
    pack.write_bytes(pack.read_bytes()[:100])
    assert f"✗ pack {pack.name[:16]}: " in full("verify", code=1)
    pack.unlink()
    said = full("verify", "--quick", code=1)
    assert f"! pack {pack.name[:16]}: listed in an index file, but gone" in said
    assert "table rides" in said


def test_a_pack_of_many_columns_is_few_lines_that_are_not_long(shell: Shell) -> None:
    shell("init")
    names = [f"column_{n}" for n in range(40)]
    lines = [",".join(["id", *names])]
    lines += [",".join([str(row), *(str(row * n % 97) for n in range(40))]) for row in range(99)]
    (shell.folder / "wide.csv").write_text("\n".join(lines))
    shell("import", "wide", "wide.csv", "--key", "id")
    for number in range(6):
        shell("tag", f"release-candidate-{number}")
    pack = pack_of_chunks(shell)
    data = pack.read_bytes()
    pack.write_bytes(data[:100])
    said = shell("verify", code=1)
    assert f"✗ pack {pack.name[:16]} is truncated: " in said
    assert "table wide, all columns, rows 0 to 98\n" in said
    pack.unlink()
    said = shell("verify", code=1)
    assert re.search(r"✗ \d+ chunks are in no pack of the store\n", said)
    assert said.count("table wide") == 1
    assert max(map(len, said.splitlines())) <= 100
    assert said.count("\n") < 8


def test_repair_from_a_copy(full: Shell) -> None:
    shutil.copytree(full.folder / ".datasnap", full.folder / "copy" / ".datasnap")
    damage(full)
    said = full("verify", "--repair", "--from", "copy")
    assert "+ took 1 record from a copy" in said
    assert "+ took 1 damaged pack out of use" in said
    assert "✓ all are present" in said
    assert "✓" in full("verify")
    assert not json.loads(full("verify", "--repair", "--json"))["repairs"]["restored"]


def test_repair_without_a_copy_says_what_is_lost(full: Shell) -> None:
    damage(full)
    said = full("verify", "--repair", code=1)
    assert "+ gave up 1 damaged record that no copy has" in said
    assert "  set aside: damaged/" in said
    assert re.search(r"table rides, column \w+", said)


def test_the_hint_fits_what_is_wrong(full: Shell) -> None:
    root = full.folder / ".datasnap"
    (index, *_) = sorted((root / "index").iterdir())
    sound = index.read_bytes()
    index.write_bytes(b"?" + sound[1:])
    said = full("verify", code=1)
    assert f"✗ index file {index.name[:16]}: damaged\n" in said
    assert "verify --repair makes the index anew" in full.errors
    index.write_bytes(sound)
    (root / "refs" / "heads" / "torn").write_text("{")
    full("verify", code=1)
    assert "hint:  Put that file back from a backup" in full.errors
    (root / "refs" / "heads" / "torn").unlink()
    damage(full)
    full("verify", code=1)
    assert "hint:  Take what is lost from another copy" in full.errors
    assert "import the data once more" not in full.errors
    full("verify", "--repair", code=1)
    assert "Or import the data once more" in full.errors


def test_data_that_no_ref_leads_to_is_told(full: Shell) -> None:
    shutil.rmtree(full.folder / ".datasnap" / "refs")
    assert "! refs: no branch, tag or pin leads to any snapshot" in full("verify", "--quick")


def test_many_problems_are_cut_short(full: Shell) -> None:
    for number in range(30):
        (full.folder / ".datasnap" / "refs" / "heads" / f"bad{number}").write_text("{")
    assert "… and 10 more: --json has all" in full("verify", code=1)
    assert len(json.loads(full("verify", "--json", code=1))["problems"]) == 30


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--from", "copy"], 2, "it goes with --repair"),
        (["--repair", "--from", "nowhere"], 1, "no repository at"),
    ],
)
def test_wrong_words_change_nothing(full: Shell, words: list[str], code: int, says: str) -> None:
    damage(full)
    pack = pack_of_chunks(full)
    before = pack.read_bytes()
    assert says in full.fails("verify", *words, code=code)
    assert pack.read_bytes() == before
