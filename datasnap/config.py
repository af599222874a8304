"""Settings: the defaults of `config/datasnap.toml`, then the user's, then the repository's."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import msgspec

from datasnap.errors import BadInput


class AuthorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who commits."""

    name: str


class StorageSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes in MiB, and whether files on a local disk are synced."""

    pack_mib: int
    cache_mib: int
    edited_mib: int
    edited_disk_mib: int
    expanded_disk_mib: int
    fsync: bool


class TableSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The layout that new tables get."""

    segment_rows: int
    segment_mib: int
    page_kib: int
    compression_level: int


class ImportSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Resources that an import may use."""

    sort_memory_mib: int
    threads: int


class GcSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long what nothing leads to is kept, in days."""

    grace_days: Annotated[float, msgspec.Meta(ge=0)]
    reflog_days: Annotated[float, msgspec.Meta(ge=0)]


class RetentionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which snapshots `prune` keeps; see `datasnap.lifecycle.policy`."""

    keep_last: Annotated[int, msgspec.Meta(ge=0)]
    keep_within: str
    keep_daily: Annotated[int, msgspec.Meta(ge=0)]
    keep_weekly: Annotated[int, msgspec.Meta(ge=0)]
    keep_monthly: Annotated[int, msgspec.Meta(ge=0)]
    keep_yearly: Annotated[int, msgspec.Meta(ge=0)]


class SigningSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who signs snapshots."""

    always: bool
    key: str


class SqlSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a connection offers."""

    ref_schemas: int


class Settings(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"imports": "import"},
):
    """All settings; what each means stands in `config/datasnap.toml`."""

    author: AuthorSettings
    storage: StorageSettings
    tables: TableSettings
    imports: ImportSettings
    signing: SigningSettings
    sql: SqlSettings
    gc: GcSettings
    retention: RetentionSettings


def load_settings(repository_toml: bytes | None = None) -> Settings:
    """The settings in force.

    Args:
        repository_toml: the repository's own `config.toml`, if it has one.

    Raises:
        BadInput: a file is not TOML, or sets something that does not exist.
    """
    merged = tomllib.loads(_default_file().read_text("utf-8"))
    user = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    user_file = user / "datasnap" / "config.toml"
    if user_file.is_file():
        _merge(merged, _parse(user_file.read_bytes(), str(user_file)))
    if repository_toml is not None:
        _merge(merged, _parse(repository_toml, "the repository's config.toml"))
    try:
        return msgspec.convert(merged, Settings)
    except msgspec.ValidationError as error:
        raise BadInput(
            f"a setting is not valid: {error}",
            hint="The settings and their meaning: config/datasnap.toml",
        ) from error


@lru_cache(maxsize=1)
def default_author() -> str:
    """Who commits when no setting says so: $DATASNAP_AUTHOR, git's user, the login name."""
    if author := os.environ.get("DATASNAP_AUTHOR"):
        return author
    if git := shutil.which("git"):
        name, email = _git(git, "user.name"), _git(git, "user.email")
        if name:
            return f"{name} <{email}>" if email else name
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}@{socket.gethostname()}"


def cache_folder() -> Path:
    """Where what can be made again is kept: $XDG_CACHE_HOME/datasnap, ~/.cache/datasnap."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "datasnap"


def _git(program: str, key: str) -> str:
    done = subprocess.run([program, "config", key], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _default_file() -> Path:
    """In a wheel the file lies beside this module; in a checkout, in `config/`."""
    here = Path(__file__).parent
    packaged = here / "datasnap.toml"
    return packaged if packaged.is_file() else here.parent / "config" / "datasnap.toml"


def _parse(data: bytes, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{name} is not valid TOML: {error}") from error


def _merge(into: dict[str, Any], extra: dict[str, Any]) -> None:
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
