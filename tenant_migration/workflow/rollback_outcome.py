"""What became of one table in a rollback: the values that the command line, Dagster and the API show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tenant_migration.integrity.model import CheckResult
from tenant_migration.recovery.results import RollbackResult


@dataclass(frozen=True)
class RollbackOutcome:
    """One table, for all tenants of the rollback's scope."""

    table: str
    state: Literal["rolled_back", "failed", "blocked"]
    """`rolled_back` only when every tenant in scope is, nothing open is left and no check stands against it.
    Rows that the application changed or deleted since are no failure: `result` counts and lists them."""
    reason: str | None = None
    """Why it is not rolled back, as a sentence; None when it is."""
    result: RollbackResult | None = None
    """What the engine did; None when it did not start, or had nothing to do."""
    checks: tuple[CheckResult, ...] = ()
    """The verification: compared with the journal always, with a backup where one covers the tenants."""
    tenant_states: dict[str, str] = field(default_factory=dict)
    """State of every tenant in scope that this table was migrated for."""
    dropped: tuple[str, ...] = ()
    """Objects that were dropped, as sentences: `column organization_id on public.claims`."""

    @property
    def rows_restored(self) -> int:
        """Rows that have their earlier value again by this rollback."""
        return self.result.rows_restored if self.result else 0

    @property
    def failed_checks(self) -> tuple[CheckResult, ...]:
        """The checks that stand against the table: critical failures and those that could not run."""
        return tuple(check for check in self.checks if check.blocks)
