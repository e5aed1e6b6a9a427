"""What is done outside Dagster shows on the assets; what Dagster did is not told twice."""

from __future__ import annotations

from datetime import datetime
from unittest.mock import ANY

import dagster as dg
import psycopg

from tenant_migration import migrate_tenant
from tenant_migration.database.connection import connect
from tenant_migration.orchestration.reconcile import Reconciled, reconcile
from tenant_migration_tests.orchestration.conftest import App, Dagster
from tenant_migration_tests.orchestration.test_partitions import tick
from tenant_migration_tests.orchestration.versions import newest_server_only

pytestmark = newest_server_only


def run_once(app: App, instance: dg.DagsterInstance, cursor: str | None = None) -> Reconciled:
    with connect(app.url) as connection:
        return reconcile(instance, connection, app.plan, cursor)


def undo(app: App, tenant: str) -> None:
    """Take one tenant's part of a table back by SQL, as a rollback would leave it."""
    app.execute(
        "UPDATE tenant_migration.table_states s SET state = %s, reason = 'by hand', actor = 'psql',"
        " run_id = NULL, updated_at = clock_timestamp()"
        " FROM tenant_migration.managed_tables t, tenant_migration.tenants n"
        " WHERE t.table_id = s.table_id AND n.tenant_number = s.tenant_number"
        " AND t.table_name = 'profiles' AND n.tenant_id = %s",
        "rolling_back",
        tenant,
    )
    app.execute(
        "UPDATE tenant_migration.table_states SET state = 'rolled_back', updated_at = clock_timestamp()"
        " WHERE state = 'rolling_back'"
    )


def test_work_of_the_python_api_shows_on_the_assets(app: App, dagster: Dagster) -> None:
    tenant = app.tenants[0]
    migrate_tenant(tenant, database_url=app.url, config=app.config)
    assert dagster.materialized("claims") == set()

    reported = run_once(app, dagster.instance)

    assert (reported.completed, reported.undone) == (len(app.plan.tables), 0)
    for table in app.plan.tables:
        assert dagster.materialized(table.table_name) == {tenant}
        assert dagster.check_results(table.table_name, "verification") == {tenant: (True, True)}
    rows = app.rows_by_tenant("profiles")
    assert dagster.materialization("profiles", tenant)["rows_migrated"] == rows[tenant]


def test_what_is_reported_is_not_reported_again(app: App, dagster: Dagster) -> None:
    migrate_tenant(app.tenants[0], database_url=app.url, config=app.config)
    first = run_once(app, dagster.instance)
    for cursor in (first.cursor, None):
        again = run_once(app, dagster.instance, cursor)
        assert (again.completed, again.undone) == (0, 0)


def test_what_a_dagster_run_recorded_is_not_reported(app: App, dagster: Dagster) -> None:
    assert dagster.run("migrate", tenant=app.tenants[0]).success
    reported = run_once(app, dagster.instance)
    assert (reported.completed, reported.undone) == (0, 0)


def test_a_dagster_run_that_died_before_it_recorded_is_made_up_for(app: App, dagster: Dagster) -> None:
    tenant = app.tenants[0]
    migrate_tenant(tenant, database_url=app.url, config=app.config)
    app.execute("UPDATE tenant_migration.runs SET dagster_run_id = 'a run that this instance never knew'")
    assert run_once(app, dagster.instance).completed == len(app.plan.tables)
    assert dagster.materialized("profiles") == {tenant}


def test_a_run_that_is_still_going_reports_itself(app: App, dagster: Dagster) -> None:
    tenant = app.tenants[0]
    going = dagster.instance.create_run_for_job(
        dagster.definitions.resolve_job_def("migrate_all"), status=dg.DagsterRunStatus.STARTED
    )
    migrate_tenant(tenant, database_url=app.url, config=app.config)
    app.execute("UPDATE tenant_migration.runs SET dagster_run_id = %s", going.run_id)

    waiting = run_once(app, dagster.instance)
    assert waiting.completed == 0
    dagster.instance.report_run_failed(going)
    assert run_once(app, dagster.instance, waiting.cursor).completed == len(app.plan.tables)


def test_what_was_taken_back_outside_fails_its_verification(app: App, dagster: Dagster) -> None:
    tenant, other = app.tenants[:2]
    for each in (tenant, other):
        assert dagster.run("migrate", tenant=each, tables=["profiles"]).success
    undo(app, tenant)

    reported = run_once(app, dagster.instance)

    assert (reported.completed, reported.undone) == (0, 1)
    assert dagster.check_results("profiles", "verification") == {tenant: (False, True), other: (True, True)}
    assert run_once(app, dagster.instance).undone == 0


def test_a_reset_by_sql_fails_the_verification_of_what_was_materialized(app: App, dagster: Dagster) -> None:
    tenant = app.tenants[0]
    assert dagster.run("migrate", tenant=tenant, tables=["profiles", "claims"]).success
    before = run_once(app, dagster.instance)
    with psycopg.connect(app.url, autocommit=True) as connection:
        connection.execute("SET tenant_migration.allow_reset = 'on'")
        connection.execute("SELECT reset_migration()")

    assert run_once(app, dagster.instance, before.cursor).undone == 2
    for table in ("profiles", "claims"):
        assert dagster.check_results(table, "verification") == {tenant: (False, True)}
    assert run_once(app, dagster.instance, before.cursor).undone == 0
    assert dagster.run("migrate", tenant=tenant, tables=["profiles", "claims"]).success
    assert run_once(app, dagster.instance, before.cursor) == Reconciled(0, 0, cursor=ANY)
    assert dagster.check_results("claims", "verification") == {tenant: (True, True)}


def test_a_tick_moves_on_also_when_nothing_changed(app: App, dagster: Dagster) -> None:
    """Otherwise the last minutes of a migration would be looked at again for ever."""
    migrate_tenant(app.tenants[0], database_url=app.url, config=app.config)
    first = run_once(app, dagster.instance)
    [[newest]] = app.query("SELECT max(updated_at) FROM tenant_migration.table_states")
    assert isinstance(newest, datetime)
    assert newest < datetime.fromisoformat(first.cursor)
    second = run_once(app, dagster.instance, first.cursor)
    assert datetime.fromisoformat(first.cursor) < datetime.fromisoformat(second.cursor)


def test_the_sensor_keeps_its_place(app: App, dagster: Dagster) -> None:
    migrate_tenant(app.tenants[0], database_url=app.url, config=app.config)
    said = tick(dagster.definitions, "reconcile", dagster.instance)
    assert said == f"{len(app.plan.tables)} completed and 0 undone pairs reported"
