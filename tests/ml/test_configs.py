"""Configs of others: a block is written into them, and nothing else changes."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import tomllib
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from datasnap.errors import BadInput, StorageError, UsageError
from datasnap.ml.pins.configs import ConfigFile

ID, OTHER = "3f" * 32, "12345678" * 8  # YAML would take the second for a number
VALUES = {"repo": "../data", "ref": "main", "snapshot": ID, "table": "rides", "table_id": OTHER}

CONFIGS = {
    "new.yaml": "",
    "comments.yaml": "# training\n\nlr: 1e-3   # rate\nlayers: [64,\n   32]\nold: 'x'\n",
    "behind.yaml": "lr: 1\ndatasnap:   # the data\n    repo: ../data # here\n\n"
    "    ref: 'old'\n# end\nz: >\n  a\n  b\n",
    "empty.yaml": "datasnap:\nlr: 0x1F\n",
    "null.yaml": "datasnap: null  # not yet\nlr: !float 3\n",
    "flow.yaml": "{lr: 1, datasnap: {repo: x}, z: [1, 2]}\n",
    "document.yaml": "---\nanchor: &a {x: 1}\nuse: *a\nlit: |\n  one\n\n  two\n",
    "windows.yaml": "lr: 1\r\nopt:\r\n    x: 1\r\n",
    "no-end.yml": "lr: 1",
    "mark.yaml": "\ufefflr: 1\n",
    "merged.yaml": "base: &b {repo: x}\ndatasnap:\n  <<: *b\n  ref: 'old'\nz: 1\n",
    "literal.yaml": "datasnap:\n  ref: |\n    a ref\n  repo: >-\n    a repo\nz: 😀 # ü\n",
    "new.toml": "",
    "comments.toml": "# training\nlr = 1e-3   # rate\n\n[opt]  # more\nlayers = [64,\n  32]\n",
    "behind.toml": "lr = 1\n\n[datasnap] # the data\nrepo = '../data' # here\n"
    'ref = "old"\n\n[opt]\nx = 1979-05-27\n',
    "inline.toml": "datasnap = { repo = 'x' }\n[opt]\nx = 1\n",
    "windows.toml": "lr = 1\r\n[opt]\r\nx = 1\r\n",
    "new.json": "",
    "spread.json": '{\n    "lr": 1e-3, "layers": [64, 32],\n    "opt": {}\n}\n',
    "behind.json": '{\n\t"datasnap": {\n\t\t"repo": "x", "ref": "old"\n\t},\n\t"z": [1,\n2]\n}',
    "inline.json": '{"lr": 1.50, "datasnap": {}}',
}


@pytest.fixture(params=CONFIGS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    path.write_bytes(CONFIGS[request.param].encode())
    return path


def parsed(path: Path) -> dict[str, object]:
    """A config as others read it."""
    text = path.read_text()
    if path.suffix == ".json":
        return json.loads(text)
    if path.suffix == ".toml":
        return tomllib.loads(text)
    tagless = text.replace("!float", "")
    by_two = yaml.safe_load(tagless)["datasnap"], YAML(typ="safe").load(tagless)["datasnap"]
    assert by_two[0] == by_two[1]  # of YAML 1.1 and 1.2
    return {"datasnap": by_two[0]}


def others(text: str) -> list[str]:
    """Lines that have nothing to do with the block."""
    ours = re.compile(r"[{}]*$|.*(datasnap|repo|ref|snapshot|table)")
    return [line.rstrip(",") for line in text.splitlines() if not ours.match(line.strip())]


def test_values_are_put_in_and_all_other_lines_stay(file: Path) -> None:
    before = file.read_bytes().decode()
    config = ConfigFile(file)
    config.put((), VALUES)
    config.save()
    assert parsed(file)["datasnap"] == VALUES == ConfigFile(file).block
    after = file.read_bytes().decode()
    assert others(after) == others(before)
    assert after.count("\r\n") == (after.count("\n") if "\r\n" in before else 0)


def test_what_is_written_again_changes_only_what_differs(file: Path) -> None:
    config = ConfigFile(file)
    config.put((), VALUES)
    config.save()
    before = file.read_bytes()
    config = ConfigFile(file)
    config.put((), {"snapshot": "ab" * 32})
    config.save()
    assert file.read_bytes() == before.replace(ID.encode(), b"ab" * 32)


def test_a_block_is_given_a_name_and_a_second_one_beside_it(file: Path) -> None:
    config = ConfigFile(file)
    config.put((), VALUES)
    config.nest("rides")
    config.put(("raw/zones",), {**VALUES, "table": "zones"})
    config.save()
    assert parsed(file)["datasnap"] == {
        "rides": VALUES,
        "raw/zones": {**VALUES, "table": "zones"},
    }


def test_comments_quotes_and_indentation_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text(CONFIGS["behind.yaml"])
    config = ConfigFile(file)
    config.put((), {"ref": "main", "snapshot": ID})
    config.save()
    assert file.read_text() == (
        "lr: 1\ndatasnap:   # the data\n    repo: ../data # here\n\n"
        f"    ref: 'main'\n    snapshot: {ID}\n# end\nz: >\n  a\n  b\n"
    )


@given(value=st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1))
@example(value="<<")
@pytest.mark.parametrize("ending", ["yaml", "toml", "json"])
def test_any_text_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, ending: str, value: str
) -> None:
    file = tmp_path_factory.mktemp("any") / f"train.{ending}"
    config = ConfigFile(file)
    config.put((), {"ref": value})
    config.put(("a",), {value: value})
    config.save()
    block = parsed(file)["datasnap"]
    assert block["ref"] == value and block["a"] == {value: value}  # type: ignore[index, call-overload]


def test_a_file_keeps_its_mode_and_owner_and_a_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_text("lr: 1\n")
    real.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(real, 1234, 1235)
    before = real.stat()
    link.symlink_to(real)
    config = ConfigFile(link)
    config.put((), VALUES)
    config.save()
    assert link.is_symlink() and ConfigFile(real).block == VALUES
    after = real.stat()
    assert stat.S_IMODE(after.st_mode) == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.yaml", "real.yaml"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "a: [1", "cannot be read"),
        ("a.yaml", "- 1\n", "no mapping"),
        ("a.yaml", "a: 1\n---\nb: 2\n", "cannot be read"),
        ("a.yaml", "<<<<<<< ours\na: 1\n=======\na: 2\n>>>>>>> theirs\n", "cannot be read"),
        ("a.yaml", "other: &o {repo: x}\ndatasnap: *o\n", "cannot be written"),
        ("a.yaml", "datasnap: [1]\n", "no mapping"),
        ("a.yaml", "datasnap: {ref: a}\nlr: 1\ndatasnap: {ref: b}\n", "'datasnap' is in it twice"),
        ("a.yaml", "datasnap:\n  a: {ref: a, ref: b}\n", "'ref' is in it twice"),
        ("a.yaml", "a: &a {ref: x}\ndatasnap: {<<: *a, <<: *a}\n", "'<<' is in it twice"),
        ("a.toml", "a = \n", "cannot be read"),
        ("a.toml", "datasnap = 1\n", "no table"),
        ("a.json", "{'a': 1}", "cannot be read"),
        ("a.json", "[1]", "no object"),
        ("a.json", '{"datasnap": {}, "datasnap": {}}', "'datasnap' is in it twice"),
        ("a.json", '{"datasnap": {"ref": "a", "ref": "b"}}', "'ref' is in it twice"),
        ("a.json", "\xff", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_edited_safely_is_left_as_it_is(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(BadInput, match=said):
        ConfigFile(file).put((), VALUES)
    assert file.read_text() == text


def test_tables_of_toml_that_stand_apart_are_changed_where_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[datasnap.a]\nref = "1"\n\n[opt]\nx = 1\n\n[datasnap.b]\nref = "2"\n')
    config = ConfigFile(file)
    config.put(("b",), {"ref": "3"})
    config.put(("c",), {"ref": "4"})
    config.save()
    assert file.read_text() == (
        '[datasnap.a]\nref = "1"\n\n[datasnap.c]\nref = "4"\n\n'
        '[opt]\nx = 1\n\n[datasnap.b]\nref = "3"\n'
    )


def test_what_somebody_else_wrote_meanwhile_stays(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    for before in ("", "lr: 1\n"):
        config = ConfigFile(file)
        config.put((), VALUES)
        file.write_text(before + "by: hand\n")
        with pytest.raises(StorageError, match="changed meanwhile"):
            config.save()
        assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]
        assert file.read_text() == before + "by: hand\n"


def test_a_write_that_breaks_off_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("lr: 1\n")
    config = ConfigFile(file)
    config.put((), VALUES)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left"):
            config.save()
    assert file.read_text() == "lr: 1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]
    config.save()
    assert ConfigFile(file).block == VALUES


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no config whose format is known"):
        ConfigFile(tmp_path / "train.ini")


def test_a_block_is_read_with_what_is_merged_into_it(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("base: &b {repo: x, ref: main}\ndatasnap:\n  <<: *b\n  ref: v1\n  n: 1.0\n")
    assert ConfigFile(file).block == {"repo": "x", "ref": "v1", "n": "1.0"}
    file.write_text("a: &a {repo: x}\nb: &b {ref: y, repo: z}\ndatasnap: {<<: [*a, *b]}\n")
    assert ConfigFile(file).block == {"repo": "x", "ref": "y"}


def test_aliases_of_aliases_take_no_time(tmp_path: Path) -> None:
    file = tmp_path / "bomb.yaml"
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    file.write_text("\n".join(lines) + "\n")
    config = ConfigFile(file)
    config.put((), VALUES)
    assert config.block == VALUES


def test_where_null_stood_no_space_is_left(tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    file.write_text("datasnap: null \nlr: 1\n")
    config = ConfigFile(file)
    config.put((), {"table": "rides"})
    config.save()
    assert file.read_text() == "datasnap:\n  table: rides\nlr: 1\n"
