"""The assets: one table for one tenant, with its gate inside, however it is started."""

from __future__ import annotations

import dagster as dg

from tenant_migration.orchestration.build import build_definitions
from tenant_migration_tests.orchestration.conftest import (
    App,
    Dagster,
    failure_messages,
    store_new_plan,
)
from tenant_migration_tests.orchestration.versions import newest_server_only

pytestmark = newest_server_only

GATE = ("validation", "verification")


def test_one_table_for_one_tenant(app: App, dagster: Dagster) -> None:
    tenant = app.tenants[0]
    result = dagster.run("migrate", tenant=tenant, tables=["profiles"])

    assert result.success, failure_messages(result)
    assert app.states() == {("public.profiles", tenant): "completed"}
    rows = app.rows_by_tenant("profiles")
    assert set(rows) == {tenant}
    assert dagster.materialized("profiles") == {tenant}
    for check in GATE:
        assert dagster.check_results("profiles", check) == {tenant: (True, True)}
    described = dagster.materialization("profiles", tenant)
    assert described["rows_migrated"] == rows[tenant]
    numbers = {"rows_per_second", "batches", "hot_share", "rows_remaining", "rows_quarantined", "seconds"}
    assert numbers <= described.keys()
    assert described["rows_remaining"] == described["rows_quarantined"] == 0


def test_all_tables_for_one_tenant_parents_first(app: App, dagster: Dagster) -> None:
    tenant = app.tenants[1]
    result = dagster.run("migrate", tenant=tenant)

    assert result.success, failure_messages(result)
    assert app.states() == {(table.qualified_name, tenant): "completed" for table in app.plan.tables}
    for table in app.plan.tables:
        assert dagster.materialized(table.table_name) == {tenant}
        assert set(app.rows_by_tenant(table.table_name)) <= {tenant}


def test_a_backfill_over_two_tenants_leaves_the_others_alone(app: App, dagster: Dagster) -> None:
    chosen = app.tenants[:2]
    for tenant in chosen:  # a backfill is one run a partition
        assert dagster.run("migrate", tenant=tenant).success

    for table in app.plan.tables:
        assert dagster.materialized(table.table_name) == set(chosen)
        assert set(app.rows_by_tenant(table.table_name)) <= set(chosen)
    assert {tenant for _, tenant in app.states()} == set(chosen)


def test_materialize_on_one_table_does_not_go_around_its_parents(app: App, dagster: Dagster) -> None:
    tenant = app.tenants[0]
    before = app.fingerprint()
    result = dagster.run("migrate", tenant=tenant, tables=["claims"])

    assert not result.success
    [message] = failure_messages(result)
    assert "public.claims: parents public.profiles are not completed" in message
    assert repr(tenant) in message
    assert dagster.materialized("claims") == set()
    assert app.states() == {}
    assert app.fingerprint() == before


def test_the_parents_of_another_tenant_do_not_count(app: App, dagster: Dagster) -> None:
    assert dagster.run("migrate", tenant=app.tenants[0], tables=["profiles"]).success
    assert not dagster.run("migrate", tenant=app.tenants[1], tables=["claims"]).success
    assert dagster.run("migrate", tenant=app.tenants[0], tables=["claims"]).success


def test_a_failed_validation_writes_nothing_and_shows_on_the_partition(
    app: App, instance: dg.DagsterInstance
) -> None:
    tenant = app.tenants[0]
    dagster = disagreeing(app, instance, tenant)
    before = app.fingerprint()
    result = dagster.run("migrate", tenant=tenant, tables=["profiles"])

    assert not result.success
    [message] = failure_messages(result)
    assert "validation" in message
    assert dagster.materialized("profiles") == set()
    results = dagster.check_results("profiles", "validation")
    assert {partition: passed for partition, (passed, _) in results.items()} == {tenant: False}
    assert app.fingerprint() == before
    assert app.states() == {("public.profiles", tenant): "failed"}


def test_a_failed_table_skips_its_children_in_the_same_run(app: App, instance: dg.DagsterInstance) -> None:
    tenant = app.tenants[0]
    dagster = disagreeing(app, instance, tenant)
    result = dagster.run("migrate", tenant=tenant)

    assert not result.success
    started = {event.node_name for event in result.all_events if event.is_step_start}
    assert not started & {"public__claims", "public__documents", "public__grievances"}
    assert dagster.materialized("claims") == set()
    assert dagster.materialized("precedents") == {tenant}
    states = {table: state for (table, _), state in app.states().items()}
    assert states["public.profiles"] == "failed"
    skipped = ("public.claims", "public.documents", "public.grievances")
    assert [states[table] for table in skipped] == ["blocked"] * 3
    reasons = dict(app.query("SELECT state, min(reason) FROM tenant_migration.table_states GROUP BY state"))
    assert "parents not completed: public.claims" in str(reasons["blocked"])


def test_a_failed_table_blocks_no_child_that_was_not_asked_for(
    app: App, instance: dg.DagsterInstance
) -> None:
    tenant = app.tenants[0]
    dagster = disagreeing(app, instance, tenant)
    assert not dagster.run("migrate", tenant=tenant, tables=["profiles", "claims"]).success
    assert app.states() == {("public.profiles", tenant): "failed", ("public.claims", tenant): "blocked"}


def test_a_table_that_changed_since_its_plan_is_refused_alone(app: App, dagster: Dagster) -> None:
    app.execute("ALTER TABLE precedents ADD COLUMN surprise text")
    result = dagster.run("migrate", tenant=app.tenants[0])

    assert not result.success
    [message] = failure_messages(result)
    assert "precedents" in message
    assert "surprise" in message
    done = {table for table, _ in app.states()}
    assert done == {table.qualified_name for table in app.plan.tables} - {"public.precedents"}


def test_a_partition_without_mapping_is_refused(app: App, dagster: Dagster) -> None:
    dagster.instance.add_dynamic_partitions("tenants", ["nobody"])
    result = dagster.run("migrate", tenant="nobody", tables=["profiles"])
    assert not result.success
    assert "tenant 'nobody' has no mapping" in failure_messages(result)[0]
    assert "nobody" not in dagster.instance.get_dynamic_partitions("tenants")


def test_a_tenant_with_special_characters_keeps_its_own_id(app: App, instance: dg.DagsterInstance) -> None:
    strange = "a,b...c %*[x]\t'; DROP TABLE claims --"
    old = app.tenants[0]
    app.execute("UPDATE tenant_org_mappings SET tenant_id = %s WHERE tenant_id = %s", strange, old)
    app.execute("UPDATE profiles SET tenant_id = %s WHERE tenant_id = %s", strange, old)
    dagster = Dagster(build_definitions(app.plan), instance)
    assert dagster.run("migrate_all", ops={"start": {"tables": ["profiles"]}}).success
    result = dagster.run("migrate", tenant=strange, tables=["profiles"])

    assert result.success, failure_messages(result)
    assert dagster.materialization("profiles", strange)["tenant_id"] == strange
    assert app.rows_by_tenant("profiles")[strange] > 0


def disagreeing(app: App, instance: dg.DagsterInstance, tenant: str) -> Dagster:
    """Give one row of a tenant the organization of somebody else, after the plan was stored."""
    app.execute("ALTER TABLE profiles ADD organization_id uuid")
    plan = store_new_plan(app)
    app.execute(
        "UPDATE profiles SET organization_id ="
        " (SELECT organization_id FROM tenant_org_mappings WHERE tenant_id <> %s LIMIT 1)"
        " WHERE id = (SELECT id FROM profiles WHERE tenant_id = %s LIMIT 1)",
        tenant,
        tenant,
    )
    instance.add_dynamic_partitions("tenants", list(app.tenants))
    return Dagster(build_definitions(plan), instance)
