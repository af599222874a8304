"""`${datasnap:…}` in configs of OmegaConf and Hydra.

    from datasnap.ml import resolvers

    resolvers.register()            # once, before a config is read

    data: ${datasnap:train.yaml}                what train.yaml pins, as a path for pandas, Polars,
                                                or anyone else who knows fsspec
    data: ${datasnap:rides@train.yaml}          … the pin of that name, or of that table
    data: ${datasnap:rides@v1.0}                a table at a branch, tag or ID of the repository
    run:  ${datasnap:rides@main,snapshot}       its snapshot's ID; and so: table_id, table, rows,
                                                path
    old:  ${datasnap:'rides@main~2'}            what OmegaConf's grammar does not know is quoted

What is after the @ is a config if its name ends as one. What a config pins is verified as
`datasnap.load` does. A ref is resolved once for each config object, so that a run never sees two
versions; and to an ID, so that what Hydra saves of a resolved config is pinned. Paths of configs
begin at the working directory, or where Hydra was started.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from datasnap.errors import UsageError
from datasnap.extras import require
from datasnap.ml.pins.configs import is_config
from datasnap.ml.pins.load import load

if TYPE_CHECKING:
    from datasnap.versions import TableVersion

NAME = "datasnap"
_FORMS = ("path", "snapshot", "table_id", "table", "rows")


def register() -> None:
    """Let OmegaConf, and so Hydra, know `${datasnap:…}`. May be called again.

    Raises:
        UsageError: omegaconf is not installed.
    """
    require("omegaconf")
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver(NAME, resolve, replace=True, use_cache=True)


def resolve(source: str, form: str = "path") -> str | int:
    """What `${datasnap:source,form}` stands for.

    Raises:
        UsageError: there is no such form. As `datasnap.load`.
    """
    if form not in _FORMS:
        raise UsageError(f"'{form}' is nothing to ask of a table", hint=f"Ask {', '.join(_FORMS)}.")
    table = _table(source)
    forms: dict[str, str | int] = {
        "path": table.url,
        "snapshot": table.snapshot,
        "table_id": table.id,
        "table": table.name,
        "rows": table.row_count,
    }
    return forms[form]


def _table(source: str) -> TableVersion:
    name, at, where = source.rpartition("@")
    if is_config(where):
        return load(_started_in() / where, table=name if at else None)
    from datasnap.places import open_repository

    return open_repository(os.environ.get("DATASNAP_REPO")).table(source)


def _started_in() -> Path:
    """The working directory; that where Hydra was started, should it have changed it since."""
    if "hydra" in sys.modules:
        from hydra.core.hydra_config import HydraConfig
        from hydra.utils import get_original_cwd

        if HydraConfig.initialized():
            return Path(get_original_cwd())
    return Path()
