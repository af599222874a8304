"""Settings: defaults, the user's, the repository's."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

import datasnap
from datasnap import config
from datasnap.errors import BadInput
from datasnap.repository import Repository
from tests.conftest import write


def test_the_defaults_are_those_of_the_commented_file() -> None:
    settings = config.load_settings()
    assert settings.storage.pack_mib == 32
    assert settings.tables.segment_rows == 131072
    text = Path("config/datasnap.toml").read_text("utf-8")
    assert text.count("#") > 15


def test_a_repository_overrides_the_user_who_overrides_the_defaults(
    repo: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "datasnap").mkdir()
    (tmp_path / "datasnap" / "config.toml").write_text(
        '[author]\nname = "Grace"\n[storage]\npack_mib = 7\n'
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (Path(repo.url) / "config.toml").write_text("[storage]\npack_mib = 9\n")
    found = datasnap.open(repo.url)
    assert (found.settings.storage.pack_mib, found.settings.author.name) == (9, "Grace")
    write(found, "t", pa.table({"a": [1]}))
    assert found.snapshot().author == "Grace"


@pytest.mark.parametrize(
    ("text", "says"),
    [("[storage\n", "not valid TOML"), ("[storage]\npacks = 1\n", "packs"),
     ('[storage]\npack_mib = "big"\n', "int")],
)  # fmt: skip
def test_a_bad_setting_is_said(repo: Repository, text: str, says: str) -> None:
    (Path(repo.url) / "config.toml").write_text(text)
    with pytest.raises(BadInput, match=says):
        datasnap.open(repo.url)


def test_the_author_comes_from_git_else_the_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATASNAP_AUTHOR")
    config.default_author.cache_clear()
    monkeypatch.setattr(config, "_git", lambda program, key: {"user.name": "Lin"}.get(key, ""))
    assert config.default_author() == "Lin"
    config.default_author.cache_clear()
    monkeypatch.setattr(config, "_git", lambda program, key: "")
    assert "@" in config.default_author()
    config.default_author.cache_clear()
