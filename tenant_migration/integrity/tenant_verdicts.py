"""Each tenant's verdict in each table, from the results of the checks, kept in the private schema.

A check that names tenants stands against these alone; one that failed or could not run without naming any
stands against every tenant of the table. What is only information stands against nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from psycopg.types.json import Jsonb

from tenant_migration.database.connection import transaction
from tenant_migration.integrity.model import CheckResult, Outcome, Phase
from tenant_migration.integrity.scope import MIGRATED_STATES

VerdictOutcome = Literal["passed", "warning", "failed", "errored"]
_WORST_FIRST: tuple[VerdictOutcome, ...] = ("errored", "failed", "warning", "passed")

_KEEP = """
INSERT INTO tenant_migration.verdicts AS v
    (table_id, tenant_number, phase, outcome, checks_passed, failed_checks, run_id, report_id)
SELECT s.table_id, s.tenant_number, %(phase)s, coalesce(g.outcome, %(outcome)s), %(checks_passed)s,
       coalesce(g.failed_checks, %(failed_checks)s::text[]), %(run_id)s, %(report_id)s
FROM tenant_migration.table_states AS s
JOIN tenant_migration.managed_tables AS t USING (table_id)
JOIN tenant_migration.tenants AS n USING (tenant_number)
LEFT JOIN jsonb_to_recordset(%(named)s) AS g(tenant_id text, outcome text, failed_checks text[])
       ON g.tenant_id = n.tenant_id
WHERE t.table_schema || '.' || t.table_name = %(table)s
  AND (%(tenants)s::text[] IS NULL OR n.tenant_id = ANY (%(tenants)s::text[]))
  AND (%(states)s::text[] IS NULL OR s.state = ANY (%(states)s::text[]))
ORDER BY s.tenant_number
ON CONFLICT (table_id, tenant_number) DO UPDATE
SET phase = excluded.phase, outcome = excluded.outcome, checks_passed = excluded.checks_passed,
    failed_checks = excluded.failed_checks, run_id = excluded.run_id, report_id = excluded.report_id,
    judged_at = clock_timestamp()"""


@dataclass(frozen=True)
class Verdict:
    """What the checks of a table say."""

    outcome: VerdictOutcome
    failed_checks: tuple[str, ...] = ()
    """Names, in the order of the results."""


@dataclass(frozen=True)
class TableVerdicts:
    """Of one table."""

    of_table: Verdict
    """Of every tenant that is not named."""
    checks_passed: int
    named: Mapping[str, Verdict] = field(default_factory=dict)
    """Tenants with findings of their own, and what stands against the table."""

    def of(self, tenant: str) -> Verdict:
        """Return a tenant's verdict."""
        return self.named.get(tenant, self.of_table)


def verdicts_of(results: Iterable[CheckResult]) -> dict[str, TableVerdicts]:
    """Return the verdicts by table; a table that no check looked at is in none."""
    by_table: dict[str, list[CheckResult]] = {}
    for result in results:
        if result.table is not None and result.outcome is not Outcome.SKIPPED:
            by_table.setdefault(result.table, []).append(result)
    return {table: _of_table(found) for table, found in by_table.items()}


def keep_verdicts(
    connection: psycopg.Connection[Any],
    results: Sequence[CheckResult],
    phase: Phase,
    *,
    tenants: Sequence[str] | None = None,
    recorded_only: bool = False,
    run_id: int | None = None,
    report_id: int | None = None,
) -> None:
    """Keep what the results say of each tenant that was judged, in place of what was said before.

    Args:
        connection: outside of a transaction.
        results: of one phase.
        phase: after a migration or after a rollback.
        tenants: those that were judged; None: every one.
        recorded_only: of these, only pairs that are recorded as migrated.
        run_id: the run that verified what it did.
        report_id: the report that has the results.
    """
    verdicts = verdicts_of(results)
    with transaction(connection, lock_timeout_ms=10_000, statement_timeout_ms=120_000):
        for table in sorted(verdicts):  # one order for everybody
            of_table = verdicts[table]
            connection.execute(
                _KEEP,
                {
                    "phase": phase,
                    "table": table,
                    "outcome": of_table.of_table.outcome,
                    "failed_checks": list(of_table.of_table.failed_checks),
                    "checks_passed": of_table.checks_passed,
                    "named": Jsonb(
                        [
                            {
                                "tenant_id": tenant,
                                "outcome": verdict.outcome,
                                "failed_checks": list(verdict.failed_checks),
                            }
                            for tenant, verdict in of_table.named.items()
                        ]
                    ),
                    "tenants": None if tenants is None else list(tenants),
                    "states": list(MIGRATED_STATES) if recorded_only else None,
                    "run_id": run_id,
                    "report_id": report_id,
                },
            )


def worst_outcome(outcomes: Iterable[str]) -> VerdictOutcome:
    """Return the worst of them; of none, `passed`."""
    found = set(outcomes)
    return next((outcome for outcome in _WORST_FIRST if outcome in found), "passed")


def _of_table(results: Sequence[CheckResult]) -> TableVerdicts:
    against = [result for result in results if _outcome(result) != "passed"]
    of_all = [result for result in against if not _tenants(result)]
    names = {tenant: None for result in against for tenant in _tenants(result)}
    return TableVerdicts(
        of_table=_verdict(of_all),
        checks_passed=sum(result.outcome is Outcome.PASSED for result in results),
        named={
            tenant: _verdict([result for result in against if result in of_all or tenant in _tenants(result)])
            for tenant in names
        },
    )


def _verdict(against: Sequence[CheckResult]) -> Verdict:
    return Verdict(
        worst_outcome(map(_outcome, against)), tuple(dict.fromkeys(result.name for result in against))
    )


def _outcome(result: CheckResult) -> VerdictOutcome:
    if result.outcome is Outcome.ERRORED:
        return "errored"
    if result.outcome is not Outcome.FAILED or result.severity == "info":
        return "passed"
    return "failed" if result.severity == "critical" else "warning"


def _tenants(result: CheckResult) -> Mapping[str, int]:
    tenants: Mapping[str, int] = result.details.get("tenants") or {}
    return tenants if result.outcome is Outcome.FAILED else {}
