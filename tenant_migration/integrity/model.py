"""What a check is and what it says. Values only; the JSON of reports is made from them in `report.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

Phase = Literal["pre-migration", "post-migration", "post-rollback"]
SeverityLevel = Literal["critical", "warning", "info"]

SAMPLE_LIMIT = 10
"""Sample keys a result carries; counts are exact."""


class Outcome(str, Enum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"
    """It could not run; never counts as passed."""
    SKIPPED = "skipped"
    """It was told not to run, or had nothing to say; `reason` says why."""


@dataclass(frozen=True)
class CheckResult:
    """One check on one table, for all tenants or for one."""

    name: str
    """Stable: `tenants_have_mapping`, `orphans`, `organization_matches_mapping`, ..."""
    phase: Phase
    table: str | None
    """`schema.table`, or None for a check of the whole database (mapping, hierarchy)."""
    outcome: Outcome
    severity: SeverityLevel
    description: str
    """What is wrong when it failed, for a person: `Tenant IDs without organization mapping`."""
    rows_checked: int
    """Rows, tenants or objects that were looked at."""
    count: int
    """How many rows, tenants or objects are wrong: exact. 0 when passed."""
    duration_ms: float
    column: str | None = None
    about: str | None = None
    """Of a check of the whole database: the table that it looks at."""
    tenant_id: str | None = None
    """Set when the check was run for one tenant."""
    examples: tuple[str, ...] = ()
    """At most ten keys."""
    examples_are_names: bool = False
    """They are tenants, organizations or objects of the schema, and not keys of rows."""
    reason: str | None = None
    """Why it errored or was skipped."""
    sqlstate: str | None = None
    """Of the error."""
    recommendation: str | None = None
    reproduce: str | None = None
    """A query that finds the rows."""
    expected: int | None = None
    """How many had to be there to look at; None: not known beforehand. Nothing checked while something was
    expected is no pass."""
    details: dict[str, Any] = field(default_factory=dict)
    """Further exact counts. `tenants` {tenant id: wrong rows} names every tenant with a wrong row, and is
    there only when each wrong row could be given to a tenant."""

    @property
    def blocks(self) -> bool:
        """Whether a migration must not go on: a critical failure, or any check that could not run."""
        return self.outcome is Outcome.ERRORED or (
            self.outcome is Outcome.FAILED and self.severity == "critical"
        )
