"""The text of a report of `validate` and `verify`. Pure: the report's JSON in, lines out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tenant_migration.cli.output import Glyphs, duration

INDENT = "   "
_LEVELS = ("critical", "warning", "info")


def report_lines(report: dict[str, Any], characters: Glyphs, verdicts: dict[str, str]) -> Iterator[str]:
    """Yield the lines: checks that did not pass, issues with examples, recommendations, the verdict.

    Args:
        report: as `--export` writes it.
        characters: what the output can carry.
        verdicts: the last line for each status: pass, warning, fail.
    """
    checks = report["checks"]
    counts = {
        outcome: sum(1 for check in checks if check["outcome"] == outcome)
        for outcome in ("passed", "failed", "errored", "skipped")
    }
    seconds = sum(check["duration_ms"] for check in checks) / 1000
    yield (
        f"{len(checks):,} checks in {duration(seconds)}: "
        + ", ".join(f"{count:,} {outcome}" for outcome, count in counts.items())
        + f"; {sum(check['rows_checked'] for check in checks):,} rows read"
    )
    yield from _section("Could not run:", checks, "errored")
    yield from _section("Skipped:", checks, "skipped")
    for level in _LEVELS:
        issues = [issue for issue in report["issues"] if issue["severity"] == level]
        if issues:
            yield ""
            yield f"{level.capitalize()}:"
            yield from (f"{INDENT}{_issue(issue)}" for issue in issues)
    if report["recommendations"]:
        yield ""
        yield "Recommendations:"
        yield from (f"{INDENT}{recommendation}" for recommendation in report["recommendations"])
    yield ""
    mark = {"pass": characters.check, "warning": characters.warning, "fail": characters.cross}[
        report["status"]
    ]
    yield f"{mark}{verdicts[report['status']]}"


def _section(title: str, checks: list[dict[str, Any]], outcome: str) -> Iterator[str]:
    found = [check for check in checks if check["outcome"] == outcome]
    if not found:
        return
    yield ""
    yield title
    for check in found:
        where = f" on {check['table']}" if check.get("table") else ""
        yield f"{INDENT}{check['name']}{where}: {check.get('reason') or 'no reason given'}"


def _issue(issue: dict[str, Any]) -> str:
    place = ".".join(filter(None, (issue.get("table"), issue.get("column")))) or "database"
    examples = issue.get("exampleIds") or []
    shown = f" (for example {', '.join(map(repr, examples))})" if examples else ""
    return f"{place}: {issue['description']}: {issue['count']:,}{shown}"
