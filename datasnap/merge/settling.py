"""How a table's conflicts are settled: one side, or a query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec


class Settled(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one table's conflicts are settled.

    Attributes:
        take: whose side.
        sql: or a query whose rows take the place of those in conflict.
        decided: digest of the conflicts that were looked at: others are not settled by this.
            Empty: whatever they are.
    """

    take: Literal["ours", "theirs"] | None = None
    sql: str | None = None
    decided: str = ""


#: By table.
Settlement = Mapping[str, Settled]
