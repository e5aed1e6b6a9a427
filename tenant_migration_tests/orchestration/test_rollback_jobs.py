"""The jobs `rollback`, `rollback_all`, `emergency_rollback`: what they take back, what Dagster then shows."""

from __future__ import annotations

import dagster as dg
import psycopg
import pytest

from tenant_migration.database.connection import connect
from tenant_migration.orchestration.launch import run_migrate, run_rollback
from tenant_migration.orchestration.reconcile import reconcile
from tenant_migration.workflow.rollback import rollback
from tenant_migration_tests.orchestration.conftest import SKIP_BACKUP, App, Dagster, failure_messages
from tenant_migration_tests.orchestration.test_backup_jobs import metadata_of
from tenant_migration_tests.orchestration.test_migrate_all import hold_lease
from tenant_migration_tests.orchestration.versions import newest_server_only

pytestmark = newest_server_only


def database_name(app: App) -> str:
    [(name,)] = app.query("SELECT current_database()")
    return str(name)


def test_one_tenant_goes_back_and_shows_as_not_migrated(app: App, migrated: Dagster) -> None:
    tenant, others = app.tenants[-1], set(app.tenants[:-1])
    before = {table.table_name: app.rows_by_tenant(table.table_name) for table in app.plan.tables}
    result = migrated.run("rollback", tenant=tenant)

    assert result.success, failure_messages(result)
    for table in app.plan.tables:
        name = table.table_name
        assert app.rows_by_tenant(name) == {t: n for t, n in before[name].items() if t != tenant}
        verification = migrated.check_results(name, "verification")
        assert verification[tenant] == (False, True)
        assert {verification[other] for other in others} == {(True, True)}
        assert migrated.check_results(name, "validation")[tenant] == (True, True)
        observed = migrated.observed(name)[tenant]
        assert observed["rows_restored"] == before[name].get(tenant, 0)
        assert observed["state"] == "rolled_back"
    shown = metadata_of(result, "roll_back_tenant")
    assert shown["rows_restored"] == sum(rows.get(tenant, 0) for rows in before.values()) > 0
    for name, rows in before.items():
        assert f"| public.{name} | rolled_back | {rows.get(tenant, 0):,} | 0 | 0 | 0 |" in str(
            shown["tables"]
        )
    assert "left_alone" not in shown


def test_a_second_time_there_is_nothing_left_to_do(app: App, migrated: Dagster) -> None:
    tenant = app.tenants[0]
    assert migrated.run("rollback", tenant=tenant).success
    before = app.fingerprint()
    again = migrated.run("rollback", tenant=tenant)
    assert again.success, failure_messages(again)
    assert app.fingerprint() == before
    logs = migrated.instance.all_logs(again.run_id)
    assert any("nothing is left to roll back" in entry.user_message for entry in logs)


def test_migrated_again_it_is_green_again(app: App, migrated: Dagster) -> None:
    tenant = app.tenants[0]
    before = {table.table_name: app.rows_by_tenant(table.table_name) for table in app.plan.tables}
    assert migrated.run("rollback", tenant=tenant).success
    again = migrated.run("migrate", tenant=tenant)
    assert again.success, failure_messages(again)
    for name, rows in before.items():
        assert app.rows_by_tenant(name) == rows
        assert migrated.check_results(name, "verification") == dict.fromkeys(app.tenants, (True, True))


def test_what_the_application_wrote_is_left_alone_and_listed_by_its_key(app: App, migrated: Dagster) -> None:
    tenant = app.tenants[-1]
    [(number, elsewhere)] = app.query(
        "UPDATE documents SET organization_id ="
        " (SELECT organization_id FROM tenant_org_mappings WHERE tenant_id <> %s LIMIT 1)"
        " WHERE id = (SELECT min(id) FROM documents WHERE tenant_id = %s) RETURNING id, organization_id",
        tenant,
        tenant,
    )
    [(deleted,)] = app.query(
        "DELETE FROM strike_votes WHERE id = (SELECT min(id) FROM strike_votes WHERE tenant_id = %s)"
        " RETURNING id",
        tenant,
    )
    result = migrated.run("rollback", tenant=tenant)

    assert result.success, failure_messages(result)
    shown = metadata_of(result, "roll_back_tenant")
    assert (shown["rows_changed"], shown["rows_deleted"], shown["rows_failed"]) == (1, 1, 0)
    listed = str(shown["left_alone"])
    assert f"| public.documents | {tenant} | id={number} | changed | {elsewhere} |" in listed
    assert f"| public.strike_votes | {tenant} | id={deleted} | deleted |" in listed
    observed = migrated.observed("documents")[tenant]
    assert observed["rows_changed"] == 1
    assert f"| public.documents | {tenant} | id={number} | changed |" in str(observed["left_alone"])
    assert f"id={deleted} | deleted |" in str(migrated.observed("strike_votes")[tenant]["left_alone"])
    assert "left_alone" not in migrated.observed("claims")[tenant]
    assert app.rows_by_tenant("documents")[tenant] == 1


def test_a_tenant_that_was_never_migrated_fails_with_its_name(app: App, dagster: Dagster) -> None:
    one, other = app.tenants[:2]
    assert dagster.run("migrate_all", ops={"start": {"tenants": [one], "skip_backup": True}}).success
    result = dagster.run("rollback", tenant=other)
    assert not result.success
    assert f"tenant {other!r} was never migrated" in failure_messages(result)[0]
    assert dagster.check_results("profiles", "verification") == {one: (True, True)}


def test_some_tables_of_a_tenant(app: App, migrated: Dagster) -> None:
    tenant = app.tenants[0]
    refused = migrated.run("rollback", tenant=tenant, ops={"roll_back_tenant": {"tables": ["claims"]}})
    assert not refused.success
    assert "its child public.documents is migrated" in failure_messages(refused)[0]

    result = migrated.run(
        "rollback", tenant=tenant, ops={"roll_back_tenant": {"tables": ["claims"], "with_children": True}}
    )
    assert result.success, failure_messages(result)
    gone = {table for (table, of), state in app.states().items() if of == tenant and state == "rolled_back"}
    assert gone == {"public.claims", "public.documents", "public.grievances"}
    assert migrated.check_results("profiles", "verification")[tenant] == (True, True)


@pytest.mark.parametrize("confirm", ["yes", "another"])
def test_everything_needs_the_name_of_the_database(app: App, migrated: Dagster, confirm: str) -> None:
    before = app.fingerprint()
    result = migrated.run("rollback_all", ops={"start_rollback": {"confirm": confirm}})
    assert not result.success
    assert (
        f"`confirm` is {confirm!r}, and this database is {database_name(app)!r}"
        in failure_messages(result)[0]
    )
    assert app.fingerprint() == before
    assert set(app.states().values()) == {"completed"}


def test_without_a_confirmation_it_cannot_even_be_launched(dagster: Dagster) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="confirm"):
        dagster.run("rollback_all")


def test_everything_goes_back_and_nothing_stays_green(app: App, dagster: Dagster) -> None:
    before = app.fingerprint()
    assert dagster.run("migrate_all", ops=SKIP_BACKUP).success
    result = dagster.run(
        "rollback_all", ops={"start_rollback": {"confirm": database_name(app), "drop_created": True}}
    )
    assert result.success, failure_messages(result)
    assert app.fingerprint() == before  # bit for bit, with the column gone too
    assert set(app.states().values()) == {"rolled_back"}
    for table in app.plan.tables:
        results = dagster.check_results(table.table_name, "verification")
        assert results == dict.fromkeys(app.tenants, (False, True))
    assert app.query("SELECT state FROM tenant_migration.runs WHERE dagster_run_id = %s", result.run_id) == [
        ("rolled_back",)
    ]
    shown = metadata_of(result, "roll_back__public__claims")
    assert shown["rows_restored"] == shown["rows_expected"]
    assert "column organization_id" in str(shown["dropped"])

    again = dagster.run("rollback_all", ops={"start_rollback": {"confirm": database_name(app)}})
    assert again.success, failure_messages(again)
    assert app.fingerprint() == before


def test_children_are_taken_back_before_their_parents(app: App, migrated: Dagster) -> None:
    result = migrated.run("rollback_all", ops={"start_rollback": {"confirm": database_name(app)}})
    order = [
        event.node_name.removeprefix("roll_back__public__")
        for event in result.all_events
        if event.is_step_success
    ]
    for table in app.plan.tables:
        for parent in table.depends_on:
            assert order.index(table.table_name) < order.index(parent.removeprefix("public."))
    assert (order[0], order[-1]) == ("start_rollback", "finish_rollback")


def test_a_table_that_is_held_blocks_its_parents_alone(app: App, migrated: Dagster) -> None:
    hold_lease(app, "documents")
    result = migrated.run("rollback_all", ops={"start_rollback": {"confirm": database_name(app)}})

    assert not result.success
    [message] = failure_messages(result)
    assert "public.documents: failed: table public.documents is being worked on by" in message
    assert "public.claims: blocked: children public.documents are not rolled back" in message
    states = app.states()
    assert {states["public.grievances", tenant] for tenant in app.tenants} == {"rolled_back"}
    assert app.rows_by_tenant("grievances") == {}
    assert app.rows_by_tenant("documents") != {}
    assert app.rows_by_tenant("claims") != {}

    app.execute("DELETE FROM tenant_migration.leases")
    rest = migrated.run("rollback_all", ops={"start_rollback": {"confirm": database_name(app)}})
    assert rest.success, failure_messages(rest)
    assert set(app.states().values()) == {"rolled_back"}


def test_a_lease_keeps_one_tenant_from_being_migrated_and_rolled_back_at_once(
    app: App, migrated: Dagster
) -> None:
    """Without the queue: runs of the command line, of another machine."""
    tenant = app.tenants[0]
    hold_lease(app, "strike_votes")
    result = migrated.run("rollback", tenant=tenant, ops={"roll_back_tenant": {"tables": ["strike_votes"]}})
    assert not result.success
    assert "is being worked on by" in failure_messages(result)[0]
    assert app.rows_by_tenant("strike_votes")[tenant] > 0


def test_a_row_that_refuses_fails_its_tenant_and_is_listed(app: App, migrated: Dagster) -> None:
    bad = app.tenants[1]
    app.execute(
        "CREATE FUNCTION stubborn() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'not this one'; END $$"
    )
    app.execute(
        "CREATE TRIGGER stubborn BEFORE UPDATE ON strike_votes FOR EACH ROW"
        f" WHEN (OLD.tenant_id = '{bad}') EXECUTE FUNCTION stubborn()"
    )
    result = migrated.run("rollback_all", ops={"start_rollback": {"confirm": database_name(app)}})
    assert not result.success
    assert "public.strike_votes: failed: " in failure_messages(result)[0]
    states = app.states()
    assert states["public.strike_votes", bad] == "failed"
    assert {states["public.strike_votes", other] for other in set(app.tenants) - {bad}} == {"rolled_back"}
    results = migrated.check_results("strike_votes", "verification")
    assert results == dict.fromkeys(app.tenants, (False, True))
    shown = metadata_of(result, "roll_back__public__strike_votes")
    assert "not this one" in str(shown["left_alone"])


def test_a_rollback_from_a_backup(app: App, dagster: Dagster) -> None:
    tenant = app.tenants[-1]
    assert dagster.run("migrate", tenant=tenant).success  # takes backup 1 first
    result = dagster.run("rollback", tenant=tenant, ops={"roll_back_tenant": {"from_backup": 1}})
    assert result.success, failure_messages(result)
    assert all(tenant not in app.rows_by_tenant(table.table_name) for table in app.plan.tables)
    unknown = dagster.run("rollback", tenant=tenant, ops={"roll_back_tenant": {"from_backup": 0}})
    assert not unknown.success


def test_what_the_api_took_back_is_shown_by_the_reconciling_sensor(app: App, migrated: Dagster) -> None:
    tenant = app.tenants[0]
    connection = connect(app.url)
    try:
        start = reconcile(migrated.instance, connection, app.plan, None)
        assert (start.completed, start.undone) == (0, 0)
        rollback(connection, app.config, app.plan, actor="somebody", tenants=[tenant])
        told = reconcile(migrated.instance, connection, app.plan, start.cursor)
        assert told.undone == len(app.plan.tables)
        again = reconcile(migrated.instance, connection, app.plan, told.cursor)
        assert (again.completed, again.undone) == (0, 0)
    finally:
        connection.close()
    for table in app.plan.tables:
        assert migrated.check_results(table.table_name, "verification")[tenant] == (False, True)


def test_what_a_job_took_back_is_not_told_twice(app: App, migrated: Dagster) -> None:
    assert migrated.run("rollback", tenant=app.tenants[0]).success
    connection = connect(app.url)
    try:
        told = reconcile(migrated.instance, connection, app.plan, None)
    finally:
        connection.close()
    assert (told.completed, told.undone) == (0, 0)


def test_the_emergency_stops_takes_back_and_says_what_is_where(app: App, migrated: Dagster) -> None:
    result = migrated.run("emergency_rollback", ops={"stop_and_take_back": {"reason": "a wrong mapping"}})

    assert result.success, failure_messages(result)
    assert set(app.states().values()) == {"rolled_back"}
    shown = metadata_of(result, "stop_and_take_back")
    assert shown["left"] == 0
    assert "| public.claims | 0 | 0 |" in str(shown["what_is_where"])
    assert "the emergency switch is set" in str(shown["steps"])
    for table in app.plan.tables:
        results = migrated.check_results(table.table_name, "verification")
        assert results == dict.fromkeys(app.tenants, (False, True))

    refused = migrated.run("migrate_all", ops=SKIP_BACKUP)
    assert not refused.success
    assert "a wrong mapping" in failure_messages(refused)[0]


def test_an_emergency_that_leaves_something_is_no_success(app: App, migrated: Dagster) -> None:
    app.execute(
        "CREATE FUNCTION stubborn() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'not this one'; END $$"
    )
    app.execute(
        "CREATE TRIGGER stubborn BEFORE UPDATE ON precedents FOR EACH ROW EXECUTE FUNCTION stubborn()"
    )
    result = migrated.run("emergency_rollback")
    assert not result.success
    assert "public.precedents: " in failure_messages(result)[0]
    assert app.rows_by_tenant("claims") == {}


def test_the_command_line_s_way_in(app: App) -> None:
    run_migrate(app.url, app.config, skip_backup=True)
    heard: list[str] = []
    outcomes = run_rollback(
        app.url,
        app.config,
        database=database_name(app),
        tables=["strike_votes"],
        progress=lambda event: heard.append(event.table),
    )
    assert [(outcome.table, outcome.state) for outcome in outcomes] == [
        ("public.strike_votes", "rolled_back")
    ]
    assert set(heard) == {"public.strike_votes"}
    assert app.rows_by_tenant("strike_votes") == {}


def test_a_run_that_was_stopped_between_its_ops_is_closed_in_the_database(
    app: App, migrated: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise psycopg.OperationalError("the storage of the events is gone")

    monkeypatch.setattr("tenant_migration.orchestration.rollback_all.record_rollback", gone)
    result = migrated.run("rollback_all", ops={"start_rollback": {"confirm": database_name(app)}})
    assert not result.success
    assert app.query("SELECT state FROM tenant_migration.runs WHERE dagster_run_id = %s", result.run_id) == [
        ("failed",)
    ]
