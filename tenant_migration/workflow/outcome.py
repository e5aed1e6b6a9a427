"""What became of one table in a run: the values that the command line, Dagster and the API show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tenant_migration.backfill.results import TableResult
from tenant_migration.integrity.model import CheckResult, Outcome
from tenant_migration.workflow.selection import shortened


@dataclass(frozen=True)
class TableOutcome:
    """One table, for all tenants of the run's scope."""

    table: str
    state: Literal["completed", "failed", "blocked"]
    """`completed` only when every tenant in scope is completed and verified."""
    reason: str | None = None
    result: TableResult | None = None
    """What the engine did; None when it did not start."""
    before: tuple[CheckResult, ...] = ()
    after: tuple[CheckResult, ...] = ()
    tenant_states: dict[str, str] = field(default_factory=dict)
    tenant_rows: dict[str, int] = field(default_factory=dict)
    """Rows written by this run for each tenant."""

    @property
    def failed_checks(self) -> tuple[CheckResult, ...]:
        """The checks that stand against the table: critical failures and those that could not run."""
        return tuple(check for check in (*self.before, *self.after) if check.blocks)


def describe_blocking(checks: tuple[CheckResult, ...], tenant: str | None = None) -> str:
    """Return one sentence for each check that blocks: what, how many, which, or why it could not run.

    Keys of rows are left out: reasons are stored where operators and readers see them, who need not be able
    to read the table. Its owner finds them in the report and in the check's metadata.

    Args:
        checks: results of one table; of several, each sentence names its own.
        tenant: count this tenant's part only, where the check names its tenants.
    """
    sentences = []
    of_several = len({check.table for check in checks}) > 1
    for check in checks:
        if not check.blocks:
            continue
        where = f"{check.table}: " if of_several and check.table is not None else ""
        if check.outcome is Outcome.ERRORED:
            sentences.append(f"{where}check {check.name} could not run: {check.reason}")
            continue
        by_tenant = check.details.get("tenants") or {}
        if tenant is not None and by_tenant:
            if tenant in by_tenant:
                sentences.append(f"{where}{check.description}: {by_tenant[tenant]:,}")
            continue
        examples = f" ({', '.join(check.examples)})" if check.examples_are_names and check.examples else ""
        sentences.append(f"{where}{check.description}: {check.count:,}{examples}")
    return "; ".join(sentences)


def describe_waiting(waiting: dict[str, list[str]]) -> str:
    """Return which parents are not completed for which tenants; empty when none waits."""
    if not waiting:
        return ""
    parents = sorted({parent for missing in waiting.values() for parent in missing})
    return f"parents {', '.join(parents)} are not completed for {shortened(sorted(waiting))}"
