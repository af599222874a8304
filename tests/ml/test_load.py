"""Loading what is pinned: exactly that, or an error that says what differs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

import datasnap
from datasnap.errors import (
    BadInput,
    BrokenPin,
    PrunedSnapshot,
    RepositoryNotFound,
    SnapshotReplaced,
    UnknownName,
    UsageError,
)
from datasnap.lifecycle.policy import Policy
from datasnap.ml import resolvers
from datasnap.ml.pins.pincheck import check_pins
from datasnap.ml.pins.pinning import pin_table
from datasnap.ml.pins.pins import Pinned
from datasnap.repository import Repository

from ..conftest import write

FIRST = pa.table({"id": [1, 2, 3], "fare": [0.5, 1.5, 2.5]})
SECOND = pa.table({"id": [1, 2, 4], "fare": [0.5, 9.0, 4.5], "km": [1, 2, 4]})


@pytest.fixture
def config(repo: Repository, tmp_path: Path) -> Path:
    """A config that pins the first of two versions of rides."""
    write(repo, "zones", pa.table({"zone": ["a"]}))
    write(repo, "rides", FIRST, key="id")
    file = tmp_path / "conf" / "train.yaml"
    file.parent.mkdir()
    file.write_text("lr: 0.1\n")
    pin_table(repo, file, "rides")
    write(repo, "rides", SECOND, key="id")
    return file


def test_the_pinned_version_is_loaded_whatever_came_since(config: Path, repo: Repository) -> None:
    table = datasnap.load(config)
    assert table.to_arrow().equals(FIRST)
    assert (table.snapshot, table.name) == (repo.snapshot("main~1").id, "rides")
    with pytest.raises(UsageError, match="says itself what snapshot is"):
        datasnap.load(config, snapshot=table.snapshot)


def test_ids_can_be_given_instead_of_a_config(config: Path, repo: Repository) -> None:
    pinned = datasnap.load(config)
    ids = {"repo": repo.url, "snapshot": pinned.snapshot, "table": "rides"}
    assert datasnap.load(**ids).id == pinned.id
    assert datasnap.load(**ids, table_id=pinned.id).id == pinned.id
    with pytest.raises(BrokenPin):
        datasnap.load(**ids, table_id=repo.table("rides").id)
    for wrong in ("main", pinned.snapshot[:12], pinned.snapshot.upper()):
        with pytest.raises(BadInput, match="no full ID"):
            datasnap.load(**{**ids, "snapshot": wrong})
    with pytest.raises(UsageError, match="nothing to load"):
        datasnap.load(repo=repo.url)


def test_relative_places_begin_at_the_config(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(tmp_path / "repo", moved / "repo")
    shutil.move(config.parent, moved / "conf")
    text = (moved / "conf" / "train.yaml").read_text()
    where = next(line for line in text.splitlines() if "repo:" in line)
    (moved / "conf" / "train.yaml").write_text(text.replace(where, "  repo: ../repo"))
    monkeypatch.chdir("/")
    assert datasnap.load(moved / "conf" / "train.yaml").to_arrow().equals(FIRST)
    monkeypatch.setenv("DATASNAP_REPO", str(tmp_path / "nowhere"))
    with pytest.raises(RepositoryNotFound):
        datasnap.load(moved / "conf" / "train.yaml")


def test_the_environment_says_where_else_the_repository_is(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(tmp_path / "repo", tmp_path / "cluster")
    with pytest.raises(RepositoryNotFound):
        datasnap.load(config)
    monkeypatch.setenv("DATASNAP_REPO", str(tmp_path / "cluster"))
    assert datasnap.load(config).to_arrow().equals(FIRST)


def test_one_of_several_tables_is_named(config: Path, repo: Repository) -> None:
    pin_table(repo, config, "zones")
    pin_table(repo, config, "rides", name="newest")
    assert datasnap.load(config, table="zones").to_arrow().to_pydict() == {"zone": ["a"]}
    assert datasnap.load(config, table="rides").to_arrow().equals(FIRST)
    assert datasnap.load(config, table="newest").to_arrow().equals(SECOND)
    with pytest.raises(BadInput, match="which table is meant") as caught:
        datasnap.load(config)
    assert "rides, zones, newest" in caught.value.hint
    with pytest.raises(UnknownName, match="unknown table 'zone'") as unknown:
        datasnap.load(config, table="zone")
    assert unknown.value.near == ["zones"]


def test_an_id_that_was_changed_alone_is_an_error_that_says_what_differs(
    config: Path, repo: Repository
) -> None:
    pinned, newest = datasnap.load(config), repo.table("rides")
    config.write_text(config.read_text().replace(pinned.snapshot, newest.snapshot))
    with pytest.raises(BrokenPin) as caught:
        datasnap.load(config)
    said = caught.value.message
    assert f"table 'rides' of snapshot {newest.snapshot[:12]}" in said and str(config) in said
    assert "differs from it in: +1 −1 ~1 rows; columns +km" in said
    assert "datasnap pin --update" in caught.value.hint


def test_a_table_that_was_never_there_is_told_by_what_is(config: Path) -> None:
    pinned = datasnap.load(config)
    config.write_text(config.read_text().replace(pinned.id, "ab" * 32))
    with pytest.raises(BrokenPin, match="there: 3 rows of id, fare"):
        datasnap.load(config)


def test_a_snapshot_that_is_not_there_is_told_by_what_is(
    config: Path, repo: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pinned = datasnap.load(config)
    config.write_text(config.read_text().replace(pinned.snapshot, "cd" * 32))
    with pytest.raises(BrokenPin) as caught:
        datasnap.load(config)
    newest = repo.snapshot().id[:12]
    assert f"snapshot cdcdcdcdcdcd of {config} is not in {repo.url}" in str(caught.value)
    assert f"main is at {newest} there, with 3 rows of rides" in str(caught.value)
    datasnap.init(tmp_path / "empty")
    monkeypatch.setenv("DATASNAP_REPO", str(tmp_path / "empty"))
    with pytest.raises(BrokenPin) as other:
        datasnap.load(config)
    assert "it has no such branch either" in str(other.value)
    assert "DATASNAP_REPO names it" in other.value.hint


def test_a_snapshot_that_was_pruned_is_told_as_such(config: Path, repo: Repository) -> None:
    for name in repo.pins():
        repo.unpin(name)
    repo.prune(Policy(last=1))
    with pytest.raises(PrunedSnapshot):
        datasnap.load(config)


def test_what_a_purge_left_is_loaded_with_a_notice(config: Path, repo: Repository) -> None:
    repo.purge("rides", "id = 2")
    with pytest.warns(SnapshotReplaced, match="rows of 'rides' were erased"):
        table = datasnap.load(config)
    assert table.to_arrow()["id"].to_pylist() == [1, 3]


def test_a_purge_that_noted_no_tables_leaves_pins_as_they_are(
    config: Path, repo: Repository
) -> None:
    repo.purge("rides", "id = 2")
    found = repo.backend.read_ref("replaced")
    assert found is not None
    steps = [step[:6] for step in msgspec.msgpack.decode(found.data)]  # as once it was written
    repo.backend.write_ref("replaced", msgspec.msgpack.encode(steps), found.version)
    with pytest.warns(SnapshotReplaced):
        assert datasnap.load(config).row_count == 2


def test_what_a_purge_left_is_still_known_by_both_ids(config: Path, repo: Repository) -> None:
    pinned, text = datasnap.load(config), config.read_text()
    pin_table(repo, config, "zones", ref="main~1", name="zones")
    both = config.read_text()
    repo.purge("rides", "id = 2")
    repo.purge("rides", "id = 3")
    config.write_text(text)
    with pytest.warns(SnapshotReplaced):
        left = datasnap.load(config)
    assert left.to_arrow()["id"].to_pylist() == [1]
    wrong = text.replace(pinned.id, "ab" * 32), text.replace("table: rides", "table: zones")
    for edited in wrong:
        config.write_text(edited)
        with pytest.raises(BrokenPin, match="is not that of"):
            datasnap.load(config)
        assert [found.status for found in check_pins([config], Pinned.open)] == ["different"]
    # A table of which nothing was purged has the ID that it had.
    config.write_text(both)
    with pytest.warns(SnapshotReplaced):
        assert datasnap.load(config, table="zones").row_count == 1
    config.write_text(text.replace(pinned.id, left.id))
    with pytest.warns(SnapshotReplaced):
        assert datasnap.load(config).id == left.id


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr: 1\n", "pins nothing"),
        ("datasnap:\n  snapshot: abc\n", "lacks table"),
        ("datasnap:\n  table: rides\n  snapshot: main\n", "no full ID"),
        ("datasnap:\n  a:\n    table: rides\n", "a of .*lacks snapshot"),
        ("<<<<<<<\n", "cannot be read"),
    ],
)
def test_a_config_without_a_pin_is_an_error(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(BadInput, match=said):
        datasnap.load(file)
    with pytest.raises(BadInput, match="there is no file"):
        datasnap.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("config", [3, b"train.yaml", ["train.yaml"], {"datasnap": "x"}])
def test_what_is_no_config_is_refused(config: object) -> None:
    with pytest.raises(UsageError, match="a config is a file, or a mapping"):
        datasnap.load(config)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="pins nothing"):
        datasnap.load({})


def test_several_pins_may_share_a_repository(config: Path, repo: Repository) -> None:
    table = datasnap.load(config)
    pin = f"{{snapshot: {table.snapshot}, table: rides}}"
    config.write_text(f"datasnap:\n  repo: {repo.url}\n  train: {pin}\n  test: {pin}\n")
    assert datasnap.load(config, table="test").id == table.id


def test_omegaconf_resolves_pins(
    config: Path, repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas
    from omegaconf import OmegaConf

    resolvers.register()
    resolvers.register()
    monkeypatch.chdir(config.parent)
    cfg = OmegaConf.create(
        {
            "data": "${datasnap:train.yaml}",
            "named": "${datasnap:rides@train.yaml,snapshot}",
            "rows": "${datasnap:train.yaml,rows}",
            "bad": "${datasnap:train.yaml,colour}",
        }
    )
    table = datasnap.load("train.yaml")
    assert pandas.read_parquet(cfg.data).equals(FIRST.to_pandas())
    assert (cfg.named, cfg.rows) == (table.snapshot, 3)
    with pytest.raises(Exception, match="'colour' is nothing to ask of a table"):
        cfg.bad
    # And the block itself, as a mapping.
    loaded = OmegaConf.load("train.yaml")
    assert datasnap.load(loaded.datasnap).id == datasnap.load(loaded).id == table.id


def test_a_ref_is_resolved_once_for_a_config(
    config: Path, repo: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omegaconf import OmegaConf

    resolvers.register()
    monkeypatch.setenv("DATASNAP_REPO", repo.url)
    text = {"a": "${datasnap:rides@main,snapshot}", "b": "${datasnap:'rides@main~1',table_id}"}
    cfg = OmegaConf.create(text)
    first = cfg.a
    assert (first, cfg.b) == (repo.snapshot().id, datasnap.load(config).id)
    write(repo, "rides", FIRST, key="id")
    assert cfg.a == first != OmegaConf.create(text).a


def test_hydra_composes_a_config_with_pins(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra import compose, initialize_config_dir

    resolvers.register()
    (config.parent / "main.yaml").write_text(
        "defaults: [train, _self_]\nrows: ${datasnap:train.yaml,rows}\n"
    )
    monkeypatch.chdir(config.parent)
    with initialize_config_dir(str(config.parent), version_base=None):
        cfg = compose("main", overrides=["lr=0.5"])
    assert (cfg.rows, cfg.lr) == (3, 0.5)
    assert datasnap.load(cfg).to_arrow().equals(FIRST)


def test_pydantic_settings_validate_and_load_a_pin(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydantic import ValidationError
    from pydantic_settings import (
        BaseSettings,
        PydanticBaseSettingsSource,
        SettingsConfigDict,
        YamlConfigSettingsSource,
    )

    from datasnap.ml.settings import PinnedTable

    class Training(BaseSettings):
        datasnap: PinnedTable
        lr: float
        model_config = SettingsConfigDict(yaml_file=config)

        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], **sources: PydanticBaseSettingsSource
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (YamlConfigSettingsSource(settings_cls),)

    settings = Training()
    assert settings.datasnap.load(file=config).to_arrow().equals(FIRST)
    monkeypatch.chdir(config.parent)
    for given in (settings, settings.datasnap, {"rides": settings.datasnap}):
        assert datasnap.load(given).to_arrow().equals(FIRST)
    assert settings.lr == 0.1
    config.write_text(config.read_text().replace(settings.datasnap.snapshot, "main"))
    with pytest.raises(ValidationError, match="snapshot"):
        Training()


def test_hugging_face_datasets_reads_a_pinned_table(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    import datasets

    datasets.disable_progress_bars()
    table = datasnap.load(config)
    kept = datasets.load_dataset(
        "parquet", data_files={"train": table.url}, cache_dir=str(tmp_path / "cache")
    )["train"]
    assert kept.data.table.select(FIRST.schema.names).to_pylist() == FIRST.to_pylist()
    # The path and the place of the repository apart, and nothing copied.
    streamed = datasets.load_dataset(
        "parquet",
        data_files={"train": f"datasnap://{table.snapshot}/rides.parquet"},
        storage_options={"repository": os.fspath(tmp_path / "repo")},
        streaming=True,
    )["train"]
    assert list(streamed) == FIRST.to_pylist()
    whole = datasets.load_dataset("parquet", data_files={"train": table.url}, streaming=True)
    assert list(whole["train"]) == FIRST.to_pylist()
