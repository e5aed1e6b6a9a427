"""The report: its form, its status, and that it is written whole or not at all."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tenant_migration.integrity.model import CheckResult, Outcome, Phase
from tenant_migration.integrity.report import build_report, store_report
from tenant_migration.integrity.report_file import write_report
from tenant_migration.integrity.report_text import report_as_text
from tenant_migration_tests.integrity.world import World, organization_of

_PASSED = CheckResult(
    name="tenants_have_mapping",
    phase="pre-migration",
    table="public.claims",
    outcome=Outcome.PASSED,
    severity="critical",
    description="Tenant IDs without organization mapping",
    rows_checked=7,
    count=0,
    duration_ms=1.5,
    column="tenant_id",
    recommendation="Map them.",
)
_FAILED = replace(_PASSED, outcome=Outcome.FAILED, count=2, examples=("ghost", "<b>[red]O'Brien"))
_OF_FAILED = {"description", "about", "exampleIds", "reproduce"}
_ERRORED = replace(_PASSED, outcome=Outcome.ERRORED, severity="info", reason="too slow", sqlstate="57014")


def _status(*results: CheckResult, phase: Phase = "pre-migration") -> str:
    return str(build_report(results, phase)["status"])


def test_the_golden_case_of_one_ghost(before: World) -> None:
    """One unmapped tenant, in one claim only: what the users' own tool reported, and every check besides."""
    before.execute("INSERT INTO claims VALUES (1, 'ghost', NULL, NULL, '')")
    moment = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
    report = build_report(before.check("pre-migration"), "pre-migration", now=moment)
    checks = report.pop("checks")
    assert report == {
        "timestamp": "2026-11-23T12:00:00+00:00",
        "phase": "pre-migration",
        "status": "fail",
        "totalIssues": 1,
        "criticalIssues": 1,
        "warningIssues": 0,
        "infoIssues": 0,
        "issues": [
            {
                "severity": "critical",
                "table": "public.claims",
                "column": "tenant_id",
                "description": "Tenant IDs without organization mapping",
                "count": 1,
                "exampleIds": ["ghost"],
            }
        ],
        "recommendations": [
            "Map these tenants (`mappings --import`, `mappings --suggest`), or list those that may have no "
            "organization in validation.allowed_unmapped_tenants."
        ],
    }
    assert [check["name"] for check in checks if check["outcome"] == "failed"] == ["tenants_have_mapping"]
    required = {"name", "table", "outcome", "severity", "rows_checked", "count", "duration_ms"}
    for check in checks:
        assert required <= set(check) <= required | {"column", "reason", "tenant"} | _OF_FAILED
        assert (check.keys() & _OF_FAILED >= {"description"}) == (check["outcome"] == "failed")
        assert check["outcome"] in {"passed", "failed", "skipped"}
        assert ("reason" in check) == (check["outcome"] == "skipped")


def test_status_follows_the_worst() -> None:
    warning, info = replace(_FAILED, severity="warning"), replace(_FAILED, severity="info")
    assert _status(_PASSED) == "pass"
    assert _status(_PASSED, info) == "pass"
    assert _status(_PASSED, info, warning) == "warning"
    assert _status(warning, _FAILED) == "fail"
    assert _status(_PASSED, replace(_PASSED, outcome=Outcome.SKIPPED, reason="no")) == "pass"


def test_an_errored_check_fails_the_report_however_lenient_it_is() -> None:
    report = build_report([_PASSED, _ERRORED], "pre-migration")
    assert report["status"] == "fail"
    assert report["issues"][0]["severity"] == "critical"
    assert report["issues"][0]["description"] == (
        "Check tenants_have_mapping could not run: too slow (SQLSTATE 57014)"
    )
    assert report["checks"][1]["outcome"] == "errored"
    assert report["checks"][1]["reason"] == "too slow (SQLSTATE 57014)"


def test_no_results_are_no_pass() -> None:
    assert _status() == "fail"


def test_what_is_pending_keeps_the_report_from_passing(after: World) -> None:
    assert build_report(after.check("post-migration"), "post-migration")["status"] == "pass"
    after.execute(
        "INSERT INTO tenant_org_mappings (tenant_id, organization_id) VALUES ('new', %s)",
        organization_of("beta"),
    )
    report = build_report(after.check("post-migration"), "post-migration")
    assert report["status"] == "warning"
    assert [(issue["severity"], issue["count"]) for issue in report["issues"]] == [("info", 6)]
    table_by_table = [
        result
        for table in ("public.claims", "public.ledger", "public.profiles")
        for result in after.check("post-migration", tables=[table])
    ]
    report = build_report(table_by_table, "post-migration")
    assert [(issue["severity"], issue["count"]) for issue in report["issues"]] == [("info", 3)]
    assert report["issues"][0]["exampleIds"] == ["public.claims: 1", "public.ledger: 1", "public.profiles: 1"]


def test_issues_come_worst_first_and_recommendations_once() -> None:
    results = [replace(_FAILED, severity="info"), replace(_FAILED, table="public.profiles"), _FAILED]
    report = build_report(results, "pre-migration")
    assert [issue["severity"] for issue in report["issues"]] == ["critical", "critical", "info"]
    assert report["recommendations"] == ["Map them."]
    assert (report["totalIssues"], report["criticalIssues"], report["infoIssues"]) == (3, 2, 1)


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report = build_report([_FAILED], "pre-migration")
    write_report(report, path)
    assert json.loads(path.read_text(encoding="utf-8")) == report

    unwritable: dict[str, Any] = {**report, "issues": [object()]}
    with pytest.raises(TypeError):
        write_report(unwritable, path)
    assert json.loads(path.read_text(encoding="utf-8")) == report
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_a_report_is_kept_in_the_database(before: World) -> None:
    report = build_report([_FAILED], "pre-migration")
    number = store_report(before.connection, report, None)
    stored = before.execute(
        "SELECT report, phase, status FROM tenant_migration.reports WHERE report_id = %s", number
    )
    assert stored == [(report, "pre-migration", "fail")]


def test_the_text_names_issues_counts_examples_and_what_was_skipped() -> None:
    skipped = replace(_PASSED, name="orphans", outcome=Outcome.SKIPPED, reason="by configuration: known")
    nothing = replace(_PASSED, name="identical_rows", outcome=Outcome.SKIPPED, reason="the table has a key")
    report = build_report([_FAILED, _ERRORED, skipped, nothing], "pre-migration")
    console = Console(file=io.StringIO(), width=200)
    console.print(report_as_text(report))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Pre-migration checks: FAIL" in text
    assert "2 critical, 0 warnings, 0 info; checks: 0 passed, 1 failed, 1 errored, 2 skipped" in text
    assert "public.claims (tenant_id)" in text
    assert "for example ghost, <b>[red]O'Brien" in text, "an id is shown as it is, not as markup"
    assert "could not run: too slow" in text
    assert "orphans public.claims: by configuration: known" in text
    assert "the table has a key" not in text
    assert "Map them." in text


def test_what_is_pending_in_one_table_hides_no_check_that_could_not_run_in_another() -> None:
    pending = replace(
        _FAILED,
        name="pending_pairs",
        phase="post-migration",
        table=None,
        severity="info",
        details={"pairs": {"public.claims": {"pending": 2}}},
    )
    errored = replace(_ERRORED, name="pending_pairs", phase="post-migration", table=None)
    assert _status(pending, phase="post-migration") == "warning"
    assert _status(pending, errored, phase="post-migration") == "fail"
    assert _status(errored, pending, phase="post-migration") == "fail"


def test_one_warning_and_what_was_not_asked_read_well() -> None:
    skipped = replace(
        _PASSED, table=None, name="duplicate_slugs", outcome=Outcome.SKIPPED, reason="by configuration: known"
    )
    report = build_report([replace(_FAILED, severity="warning"), skipped], "pre-migration")
    stream = io.StringIO()
    Console(file=stream, width=160).print(report_as_text(report))
    assert "0 critical, 1 warning, 0 info" in stream.getvalue()
    assert "- duplicate_slugs: by configuration: known" in stream.getvalue()
