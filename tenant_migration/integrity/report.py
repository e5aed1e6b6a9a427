"""The report of a phase as JSON: what was checked, what is wrong, what to do.

Belongs here: the report's form and its keeping. How it looks is `report_text` (a terminal), `page` (a
browser) and `report_csv` (a data frame); `report_file` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tenant_migration.integrity.checks.pending_pairs import NAME as PENDING_PAIRS
from tenant_migration.integrity.model import SAMPLE_LIMIT, CheckResult, Outcome, Phase

Report = dict[str, Any]

_SEVERITIES = ("critical", "warning", "info")

VERDICTS: Mapping[Phase, Mapping[str, str]] = {
    "pre-migration": {
        "pass": "Validation PASSED - Ready to migrate",
        "warning": "Validation PASSED with warnings",
        "fail": "Validation FAILED - Fix issues before migrating",
    },
    "post-migration": {
        "pass": "Post-migration verification PASSED",
        "warning": "Post-migration verification PASSED with warnings",
        "fail": "Post-migration verification FAILED",
    },
    "post-rollback": {
        "pass": "Verification of the rollback PASSED",
        "warning": "Verification of the rollback PASSED with warnings",
        "fail": "Verification of the rollback FAILED",
    },
}
"""Phase and status in words; the users know the first three."""


def build_report(results: Sequence[CheckResult], phase: Phase, *, now: datetime | None = None) -> Report:
    """Return the report of these results.

    Its status is `fail` when something critical was found or a check could not run; `warning` when a
    warning was found or anything is not migrated yet; else `pass`. No results at all are no pass.

    Args:
        results: of one phase, in order.
        phase: which.
        now: default the present.
    """
    results = _with_one_pending_result(results)
    found = [result for result in results if result.outcome in (Outcome.FAILED, Outcome.ERRORED)]
    found.sort(key=lambda result: _SEVERITIES.index(_severity(result)))
    counts = {level: sum(_severity(result) == level for result in found) for level in _SEVERITIES}
    return {
        "timestamp": (now or datetime.now(timezone.utc)).isoformat(),
        "phase": phase,
        "status": _status(results, counts),
        "totalIssues": len(found),
        "criticalIssues": counts["critical"],
        "warningIssues": counts["warning"],
        "infoIssues": counts["info"],
        "issues": [_issue(result) for result in found],
        "recommendations": list(dict.fromkeys(filter(None, (_recommendation(result) for result in found)))),
        "checks": [_check(result) for result in results],
    }


def store_report(connection: psycopg.Connection[Any], report: Report, run_id: int | None) -> int:
    """Keep the report in the private schema; return its number."""
    row = connection.execute(
        "INSERT INTO tenant_migration.reports (run_id, phase, status, report) VALUES (%s, %s, %s, %s) "
        "RETURNING report_id",
        [run_id, report["phase"], report["status"], Jsonb(report)],
    ).fetchone()
    if row is None:
        raise RuntimeError("INSERT ... RETURNING gave no row")
    return int(row[0])


def _severity(result: CheckResult) -> str:
    """A check that could not run stands against the migration however lenient its own severity."""
    return "critical" if result.outcome is Outcome.ERRORED else result.severity


def _status(results: Sequence[CheckResult], counts: dict[str, int]) -> str:
    if counts["critical"] or not results:
        return "fail"
    is_pending = any(result.name == PENDING_PAIRS and result.outcome is Outcome.FAILED for result in results)
    return "warning" if counts["warning"] or is_pending else "pass"


def _with_one_pending_result(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Merge what is pending into one result: checks that were run table by table bring one for each table."""
    pending = [
        result for result in results if result.name == PENDING_PAIRS and result.outcome is Outcome.FAILED
    ]
    if not pending:
        return list(results)
    pairs: dict[str, dict[str, int]] = {}
    for result in pending:
        pairs.update(result.details["pairs"])
    by_table = {table: sum(states.values()) for table, states in pairs.items()}
    merged = replace(
        pending[0],
        rows_checked=sum(result.rows_checked for result in results if result.name == PENDING_PAIRS),
        count=sum(by_table.values()),
        examples=tuple(f"{table}: {count}" for table, count in by_table.items())[:SAMPLE_LIMIT],
        details={"pairs": pairs},
    )
    is_merged = (Outcome.FAILED, Outcome.PASSED)
    others = [r for r in results if r.name != PENDING_PAIRS or r.outcome not in is_merged]
    return [merged, *others]


def _issue(result: CheckResult) -> dict[str, Any]:
    issue: dict[str, Any] = {
        "severity": _severity(result),
        "table": result.table or result.about or "database",
    }
    if result.column is not None:
        issue["column"] = result.column
    if result.outcome is Outcome.ERRORED:
        issue["description"] = f"Check {result.name} could not run: {_reason(result)}"
    else:
        issue["description"] = result.description
    issue["count"] = result.count
    if result.examples:
        issue["exampleIds"] = list(result.examples)
    return issue


def _recommendation(result: CheckResult) -> str | None:
    if result.outcome is Outcome.ERRORED:
        return f"Find out why {result.name} could not run, and run it again: an errored check proves nothing."
    return result.recommendation


def _check(result: CheckResult) -> dict[str, Any]:
    check: dict[str, Any] = {"name": result.name, "table": result.table}
    if result.column is not None:
        check["column"] = result.column
    if result.tenant_id is not None:
        check["tenant"] = result.tenant_id
    check |= {
        "outcome": result.outcome.value,
        "severity": result.severity,
        "rows_checked": result.rows_checked,
        "count": result.count,
        "duration_ms": result.duration_ms,
    }
    if result.reason is not None:
        check["reason"] = _reason(result)
    if result.outcome is Outcome.FAILED:
        check["description"] = result.description
        if result.about is not None:
            check["about"] = result.about
        if result.examples:
            check["exampleIds"] = list(result.examples)
        if result.reproduce is not None:
            check["reproduce"] = result.reproduce
    return check


def _reason(result: CheckResult) -> str:
    return f"{result.reason} (SQLSTATE {result.sqlstate})" if result.sqlstate else str(result.reason)
