"""A pin as a field of pydantic models and settings.

    from pydantic_settings import BaseSettings, SettingsConfigDict
    from datasnap.ml.settings import PinnedTable

    class Training(BaseSettings):
        datasnap: PinnedTable                 # or dict[str, PinnedTable], of several
        lr: float = 0.1

        model_config = SettingsConfigDict(yaml_file="train.yaml")
        …

    rides = Training().datasnap.load()

pydantic is imported here, so this module is for those who have it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

from datasnap.ml.pins.load import open_pin
from datasnap.ml.pins.pins import Pin, Pinned

if TYPE_CHECKING:
    from datasnap.versions import TableVersion

_Id = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{64}\z")]
_Name = Annotated[str, StringConstraints(min_length=1)]


class PinnedTable(BaseModel):
    """The block that `datasnap pin` writes; see `datasnap.ml.pins.pins`."""

    model_config = ConfigDict(frozen=True)

    repo: str = ""
    ref: str = ""
    snapshot: _Id
    table: _Name
    table_id: _Id | None = None

    def load(self, *, file: str | os.PathLike[str] | None = None) -> TableVersion:
        """The table that is pinned, as `datasnap.load` gives it.

        Args:
            file: the config that it is from, where a relative `repo` begins; None: at the working
                directory.

        Raises:
            As `datasnap.load`.
        """
        pin = Pin(self.repo, self.ref, self.snapshot, self.table, self.table_id or "")
        pinned = Pinned(None if file is None else Path(file), None, pin)
        return open_pin(pinned, pinned.open())
