"""What a reason says: it is stored where people read it who may not read the table."""

from __future__ import annotations

import psycopg
import pytest

from tenant_migration.config import MigrationConfig
from tenant_migration.integrity.model import CheckResult, Outcome
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.storage import store_plan
from tenant_migration.workflow.migrate import migrate
from tenant_migration.workflow.outcome import describe_blocking
from tenant_migration_tests.workflow.conftest import ORGANIZATION


def finding(table: str = "public.claims", **more: object) -> CheckResult:
    values: dict[str, object] = {
        "name": "organization_matches_mapping",
        "phase": "post-migration",
        "table": table,
        "outcome": Outcome.FAILED,
        "severity": "critical",
        "description": "Rows with another organization",
        "rows_checked": 10,
        "count": 2,
        "duration_ms": 1.0,
        "examples": ("k-17", "k-18"),
    }
    return CheckResult(**(values | more))  # type: ignore[arg-type]


def test_keys_of_rows_are_left_out_and_names_are_not() -> None:
    assert describe_blocking((finding(),)) == "Rows with another organization: 2"
    named = finding(examples=("acme", "zeta"), examples_are_names=True)
    assert describe_blocking((named,)) == "Rows with another organization: 2 (acme, zeta)"


def test_findings_of_several_tables_name_theirs() -> None:
    said = describe_blocking((finding(), finding("public.notes", outcome=Outcome.ERRORED, reason="no right")))
    assert said == (
        "public.claims: Rows with another organization: 2; "
        "public.notes: check organization_matches_mapping could not run: no right"
    )


@pytest.mark.newest_server_by_default
def test_no_key_of_a_row_is_stored_beside_the_quarantine_and_the_reports(
    application: psycopg.Connection, config: MigrationConfig
) -> None:
    application.execute("ALTER TABLE claims ADD COLUMN organization_id uuid")
    plan = build_plan(application, config)
    store_plan(application, plan, "test")
    application.execute("INSERT INTO claims VALUES (987654321, 'acme', 1, 0, %s)", [ORGANIZATION.format(3)])
    outcomes = {outcome.table: outcome for outcome in migrate(application, config, plan, actor="test")}
    failed = outcomes["public.claims"]
    assert failed.state == "failed"
    assert any("987654321" in example for check in failed.before for example in check.examples)
    stored = application.execute(
        "SELECT to_jsonb(r)::text FROM tenant_migration.runs AS r"
        " UNION ALL SELECT to_jsonb(t)::text FROM tenant_migration.table_runs AS t"
        " UNION ALL SELECT to_jsonb(s)::text FROM tenant_migration.table_states AS s"
        " UNION ALL SELECT to_jsonb(l)::text FROM tenant_migration.state_log AS l"
        " UNION ALL SELECT to_jsonb(m)::text FROM public.tenant_org_mappings AS m"
        " UNION ALL SELECT to_jsonb(a)::text FROM public.migration_audit_log AS a"
    ).fetchall()
    said = [text for (text,) in stored if "validation: " in text]
    assert said
    assert [text for (text,) in stored if "987654321" in text] == []
