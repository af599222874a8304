"""What checks found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from datasnap.gates.rules import Severity

if TYPE_CHECKING:
    import pyarrow as pa

#: "error": it cannot be told whether the rule holds; that is as bad as if it did not.
Outcome = Literal["passed", "failed", "error", "skipped"]


@dataclass(frozen=True)
class CheckResult:
    """Whether one rule holds.

    Attributes:
        check: the check or contract that it is of.
        rule: which of a contract's; "": it is an SQL check, or the whole contract.
        tables: what it is about.
        message: why it was skipped, or what is wrong; "" where `rows` says it all.
        rows: how many are wrong; None: it is not about single rows.
        examples: a few of those, the key first.
    """

    check: str
    rule: str
    severity: Severity
    tables: tuple[str, ...]
    outcome: Outcome
    message: str = ""
    rows: int | None = None
    examples: pa.Table | None = None

    @property
    def bad(self) -> bool:
        """Whether it failed, or could not be told."""
        return self.outcome in ("failed", "error")


@dataclass(frozen=True)
class CheckReport:
    """What all checks found at a snapshot.

    Attributes:
        snapshot: its ID, in hex.
        against: that of the version before, in hex; None: there is none.
        strict: warnings are as bad as errors.
    """

    snapshot: str
    against: str | None
    results: tuple[CheckResult, ...]
    strict: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing failed that must not."""
        return not self.failed

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """What must not fail, and did."""
        return tuple(
            one for one in self.results if one.bad and (self.strict or one.severity == "error")
        )

    @property
    def warnings(self) -> tuple[CheckResult, ...]:
        """What failed, and may."""
        return tuple(one for one in self.results if one.bad and one not in self.failed)

    @property
    def failed_checks(self) -> list[str]:
        """The names of the checks and contracts that failed, each once."""
        return list(dict.fromkeys(one.check for one in self.failed))
