"""Reports say what was found, for everything and for one table, and never pass what failed."""

from __future__ import annotations

from tenant_migration.workflow.migrate import migrate
from tenant_migration.workflow.prepare import stored_or_new_plan
from tenant_migration.workflow.validate import validate, verify


def names(report):
    return {check["name"] for check in report["checks"]}


def test_a_report_on_one_table_has_the_checks_of_the_database_too(application, config):
    plan = stored_or_new_plan(application, config, actor="test")
    everything = names(validate(application, config, plan, actor="test"))
    assert {"circular_organizations", "organizations_exist", "tenants_have_mapping"} <= everything
    assert names(validate(application, config, plan, tables=["members"], actor="test")) <= everything
    assert "circular_organizations" in names(
        validate(application, config, plan, tables=["notes"], actor="test")
    )


def test_a_failed_tenant_fails_the_report_and_a_pending_one_warns(application, config):
    plan = stored_or_new_plan(application, config, actor="test")
    assert verify(application, config, plan, actor="test")["status"] == "warning"
    application.execute("ALTER TABLE public.notes ADD CONSTRAINT no_more CHECK (true)")
    migrate(application, config, plan, actor="test", tables=["members"])
    assert verify(application, config, plan, actor="test")["status"] == "warning"
    outcomes = migrate(application, config, plan, actor="test", tables=["members", "claims"])
    assert {outcome.state for outcome in outcomes} == {"completed"}
    application.execute(
        "UPDATE tenant_migration.table_states SET state = 'failed', reason = 'planted'"
        " WHERE tenant_number = (SELECT min(tenant_number) FROM tenant_migration.tenants)"
    )
    report = verify(application, config, plan, actor="test")
    assert report["status"] == "fail"
    assert [issue["description"] for issue in report["issues"] if issue["severity"] == "critical"] == [
        "Pairs of table and tenant whose migration failed"
    ]
