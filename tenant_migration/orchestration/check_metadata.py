"""Results of checks as Dagster metadata: counts that the UI plots, tables of checks, queries that find rows.

In full: one line a check. In short, for runs over very many tenants, whose every partition stores it: what
did not pass, and the names of the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import dagster as dg

from tenant_migration.integrity.model import CheckResult, Outcome
from tenant_migration.orchestration.metadata import Metadata, markdown_table
from tenant_migration.planning.counted import counted

LINES_MOST = 300
"""Lines of a table: a report over 1,000 tables has 26,000 checks, and those that did not pass come first."""
QUERIES_MOST = 20
_ORDER = (Outcome.ERRORED, Outcome.FAILED, Outcome.PASSED, Outcome.SKIPPED)
_SEVERITIES = ("critical", "warning", "info")


def of_checks(checks: Sequence[CheckResult], *, in_full: bool = True) -> Metadata:
    """Describe a gate: how many checks ran, how many stand against the table, how to find the rows.

    Args:
        checks: as they concern whom it is about.
        in_full: every check; else those that did not pass, without queries.
    """
    return {
        "checks": dg.MetadataValue.int(len(checks)),
        **{
            outcome.value: dg.MetadataValue.int(sum(check.outcome is outcome for check in checks))
            for outcome in _ORDER
        },
        "blocking": dg.MetadataValue.int(sum(check.blocks for check in checks)),
        "rows_checked": dg.MetadataValue.int(max((check.rows_checked for check in checks), default=0)),
        "findings": dg.MetadataValue.int(sum(check.count for check in checks)),
        **(check_table(checks) if in_full else _in_short(checks)),
    }


def check_table(checks: Sequence[CheckResult]) -> Metadata:
    """Describe every check, worst first, and how to find what they found."""
    ordered = sorted(checks, key=_rank)
    lines = [_line(check) for check in ordered[:LINES_MOST]]
    left_out = len(ordered) - len(lines)
    if left_out:
        lines.append((f"... {left_out:,} more in the report", *[""] * 6))
    head = ("check", "table", "outcome", "severity", "rows checked", "count", "what")
    metadata: Metadata = {"results": markdown_table(head, lines)}
    found = [check for check in ordered if check.reproduce and check.outcome is Outcome.FAILED]
    if found:
        queries = [_query(check) for check in found[:QUERIES_MOST]]
        if len(found) > QUERIES_MOST:
            queries.append(f"{len(found) - QUERIES_MOST:,} more in the report")
        metadata["reproduce"] = dg.MetadataValue.md("\n\n".join(queries))
    return metadata


def of_report(report: Mapping[str, object], checks: Sequence[CheckResult]) -> Metadata:
    """Describe a report of all tables: its verdict, what is wrong, what to do, every check."""
    issues = report["issues"]
    recommendations = report["recommendations"]
    assert isinstance(issues, list)  # noqa: S101 - the report's own form
    assert isinstance(recommendations, list)  # noqa: S101
    return {
        "status": dg.MetadataValue.text(str(report["status"])),
        **{
            key: dg.MetadataValue.int(int(str(report[name])))
            for key, name in (
                ("issues", "totalIssues"),
                ("critical", "criticalIssues"),
                ("warnings", "warningIssues"),
            )
        },
        "issue_list": markdown_table(
            ("severity", "table", "what", "count", "for example"),
            [
                (
                    issue["severity"],
                    issue.get("table") or "",
                    issue["description"],
                    f"{issue['count']:,}",
                    ", ".join(issue.get("exampleIds", ())),
                )
                for issue in issues[:LINES_MOST]
            ],
        ),
        "recommendations": markdown_table(
            ("what to do",), [(recommendation,) for recommendation in recommendations]
        ),
        **of_checks(checks),
    }


def _rank(check: CheckResult) -> tuple[int, int]:
    return _ORDER.index(check.outcome), _SEVERITIES.index(check.severity)


def _line(check: CheckResult) -> tuple[str, ...]:
    return (
        check.name,
        check.table or check.about or "",
        check.outcome.value,
        check.severity,
        f"{check.rows_checked:,}",
        f"{check.count:,}",
        _explain(check),
    )


def _explain(check: CheckResult) -> str:
    """Say what is wrong, with keys; what passed says nothing, and what did not run says why."""
    if check.outcome is Outcome.PASSED:
        return ""
    if check.outcome is not Outcome.FAILED:
        return check.reason or ""
    return f"{check.description} ({', '.join(check.examples)})" if check.examples else check.description


def _in_short(checks: Sequence[CheckResult]) -> Metadata:
    noted = sorted((check for check in checks if check.outcome in _ORDER[:2]), key=_rank)
    lines: list[tuple[str, ...]] = [
        (check.outcome.value, check.name, check.severity, f"{check.count:,}", _explain(check))
        for check in noted
    ]
    for outcome in _ORDER[2:]:
        names = list(dict.fromkeys(check.name for check in checks if check.outcome is outcome))
        if names:
            lines.append((outcome.value, ", ".join(names), "", "", ""))
    return {"results": markdown_table(("outcome", "check", "severity", "count", "what"), lines)}


def _query(check: CheckResult) -> str:
    where = f" on `{check.table}`" if check.table else ""
    query = check.reproduce or ""
    longest = max((len(run) for run in re.findall("`+", query)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"**{check.name}**{where}: {counted(check.count, 'finding')}\n\n{fence}sql\n{query}\n{fence}"
