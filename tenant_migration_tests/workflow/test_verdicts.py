"""Each tenant's verdict, kept by a run's own verification, `verify` and a rollback; shown by the status."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tenant_migration.cli.status import status_as_json
from tenant_migration.config import MigrationConfig
from tenant_migration.planning.model import Plan
from tenant_migration.workflow.migrate import migrate
from tenant_migration.workflow.prepare import stored_or_new_plan
from tenant_migration.workflow.rollback import rollback
from tenant_migration.workflow.status import read_status
from tenant_migration.workflow.validate import verify

pytestmark = pytest.mark.newest_server_by_default

_KEPT = """
SELECT t.table_name::text, n.tenant_id, v.phase, v.outcome, v.failed_checks, v.checks_passed > 0,
       v.run_id IS NOT NULL, v.report_id IS NOT NULL
FROM tenant_migration.verdicts v JOIN tenant_migration.managed_tables t USING (table_id)
JOIN tenant_migration.tenants n USING (tenant_number) ORDER BY 1, 2
"""


def _kept(connection: psycopg.Connection, table: str | None = None) -> dict[tuple[str, str], tuple[Any, ...]]:
    rows = connection.execute(_KEPT).fetchall()
    return {(row[0], row[1]): row[2:] for row in rows if table in (None, row[0])}


def _shown(connection: psycopg.Connection, config: MigrationConfig) -> dict[str, dict[str, Any]]:
    status = status_as_json(read_status(connection, config))
    return {verdict["tenant_id"]: verdict for verdict in status["verdicts"]}


@pytest.fixture
def plan(application: psycopg.Connection, config: MigrationConfig) -> Plan:
    return stored_or_new_plan(application, config, actor="test")


def test_every_tenant_has_the_verdict_of_the_newest_verification(
    application: psycopg.Connection, config: MigrationConfig, plan: Plan
) -> None:
    assert _shown(application, config) == {}
    migrate(application, config, plan, actor="test")
    kept = _kept(application)
    assert len(kept) == 9
    assert set(map(str, kept.values())) == {str(("post-migration", "passed", [], True, True, False))}
    shown = _shown(application, config)
    assert {(v["outcome"], v["tables_judged"], v["findings"]) for v in map(_hashable, shown.values())} == {
        ("passed", 3, ())
    }

    application.execute("UPDATE claims SET organization_id = NULL WHERE id = 1")  # of O'Brien Local
    application.execute("REVOKE SELECT ON notes FROM CURRENT_USER")
    assert verify(application, config, plan, actor="test")["status"] == "fail"
    kept = _kept(application)
    assert kept["claims", "O'Brien Local"][:3] == ("post-migration", "failed", ["rows_have_organization"])
    assert kept["claims", "acme"] == ("post-migration", "passed", [], True, False, True)
    assert kept["notes", "acme"][1] == "errored"
    assert "rows_have_organization" in kept["notes", "acme"][2]
    application.execute("GRANT SELECT ON notes TO CURRENT_USER")
    shown = _shown(application, config)
    assert {tenant: verdict["outcome"] for tenant, verdict in shown.items()} == dict.fromkeys(
        shown, "errored"
    )
    findings = {finding["table_name"]: finding for finding in shown["O'Brien Local"]["findings"]}
    assert findings["claims"]["failed_checks"] == ("rows_have_organization",)
    assert findings["claims"]["report_id"] is not None

    application.execute(
        "UPDATE claims SET organization_id = (SELECT organization_id FROM claims WHERE id = 4) WHERE id = 1"
    )
    assert (
        verify(application, config, plan, tables=["claims", "notes"], tenants=["zeta"], actor="test")[
            "status"
        ]
        == "pass"
    )
    kept = _kept(application)
    assert kept["notes", "zeta"][1] == "passed"
    assert kept["notes", "acme"][1] == "errored", "it was not asked again"
    assert kept["claims", "O'Brien Local"][1] == "failed"


def test_a_run_keeps_why_it_failed_a_tenant_and_a_rollback_what_it_left(
    application: psycopg.Connection,
) -> None:
    application.execute(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " NEW.organization_id := '00000000-0000-0000-0000-0000000000a1'; RETURN NEW; END $$;"
        "CREATE TRIGGER spoil BEFORE UPDATE ON notes FOR EACH ROW"
        " WHEN (NEW.tenant_id = 'zeta') EXECUTE FUNCTION spoil()"
    )
    config = MigrationConfig.model_validate({"tables": {"notes": {"on_triggers": "fire"}}})
    plan = stored_or_new_plan(application, config, actor="test")
    (outcome,) = migrate(application, config, plan, actor="test", tables=["notes"])
    assert outcome.state == "failed"
    kept = _kept(application, "notes")
    assert kept["notes", "zeta"][:3] == ("post-migration", "failed", ["organization_matches_mapping"])
    assert kept["notes", "acme"][1] == "passed"
    assert _shown(application, config)["zeta"]["outcome"] == "failed"

    application.execute("DROP TRIGGER spoil ON notes")
    rollback(application, config, plan, actor="test", tables=["notes"], tenants=["acme"])
    assert _kept(application)["notes", "acme"][:2] == ("post-rollback", "passed")


def _hashable(verdict: dict[str, Any]) -> dict[str, Any]:
    return {**verdict, "findings": tuple(verdict["findings"])}
