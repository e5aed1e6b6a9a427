"""A whole run says what happened, table by table and tenant by tenant, and never more than that."""

from __future__ import annotations

import psycopg
import pytest

from tenant_migration.backfill.results import Progress
from tenant_migration.config import MigrationConfig
from tenant_migration.errors import PlanOutdated, Refused, RunStopped, UnknownTable, UnknownTenant
from tenant_migration.integrity.model import CheckResult
from tenant_migration.planning.builder import build_plan
from tenant_migration.planning.storage import store_plan
from tenant_migration.workflow.migrate import abort, begin, migrate, migrate_table, resolve_scope
from tenant_migration.workflow.outcome import TableOutcome
from tenant_migration.workflow.prepare import stored_or_new_plan
from tenant_migration_tests.workflow.conftest import TENANTS

ALL = ("public.members", "public.claims", "public.notes")


def run(
    connection: psycopg.Connection, config: MigrationConfig, **selection: object
) -> dict[str, TableOutcome]:
    plan = stored_or_new_plan(connection, config, actor="test")
    outcomes = migrate(connection, config, plan, actor="test", **selection)  # type: ignore[arg-type]
    return {outcome.table: outcome for outcome in outcomes}


def mapping_rows(connection: psycopg.Connection) -> dict[str, tuple[object, ...]]:
    rows = connection.execute(
        "SELECT tenant_id, migration_status, record_count, migrated_at IS NOT NULL, migrated_by, error_log"
        " FROM public.tenant_org_mappings"
    )
    return {row[0]: row[1:] for row in rows}


def wrong_rows(connection: psycopg.Connection, table: str) -> int:
    """Rows whose organization is not exactly the mapped one; by SQL alone."""
    row = connection.execute(
        f"SELECT count(*) FROM {table} t LEFT JOIN public.tenant_org_mappings m USING (tenant_id)"
        " WHERE t.organization_id IS DISTINCT FROM m.organization_id"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_every_row_of_every_table_goes_to_its_organization(application, config):
    outcomes = run(application, config)
    assert {name: outcome.state for name, outcome in outcomes.items()} == dict.fromkeys(ALL, "completed")
    assert [wrong_rows(application, table) for table in ALL] == [0, 0, 0]
    assert sum(outcome.result.rows_migrated for outcome in outcomes.values()) == 630


def test_mapping_status_counts_and_date_follow_from_the_tables(application, config):
    run(application, config)
    rows = mapping_rows(application)
    assert rows == dict.fromkeys(TENANTS, ("completed", 210, True, "test", None))


def test_a_tenant_with_a_quote_is_migrated_alone_and_no_other(application, config):
    run(application, config, tenants=["O'Brien Local"])
    rows = application.execute(
        "SELECT tenant_id, count(*) FROM public.members WHERE organization_id IS NOT NULL GROUP BY 1"
    ).fetchall()
    assert rows == [("O'Brien Local", 100)]
    assert mapping_rows(application)["O'Brien Local"][:2] == ("completed", 210)
    assert mapping_rows(application)["acme"][:2] == ("pending", 0)


def test_one_table_of_all_leaves_the_mapping_in_progress(application, config):
    run(application, config, tables=["members"])
    assert {row[:2] for row in mapping_rows(application).values()} == {("in_progress", 100)}


def test_a_table_whose_parents_are_pending_is_refused_naming_them(application, config):
    with pytest.raises(Refused, match=r"public\.claims: parents public\.members are not completed"):
        run(application, config, tables=["claims"])
    assert application.execute("SELECT count(*) FROM tenant_migration.runs").fetchone() == (0,)


def test_with_parents_does_the_parents_first(application, config):
    outcomes = run(application, config, tables=["claims"], with_parents=True)
    assert list(outcomes) == ["public.members", "public.claims"]
    assert all(outcome.state == "completed" for outcome in outcomes.values())


@pytest.mark.parametrize(
    ("selection", "error", "message"),
    [
        ({"tables": ["claimz"]}, UnknownTable, "did you mean 'claims'"),
        ({"tenants": ["acmee"]}, UnknownTenant, "did you mean 'acme'"),
        ({"tenants": ["' OR ''='"]}, UnknownTenant, "has no mapping"),
    ],
)
def test_unknown_names_are_refused_before_anything_changes(application, config, selection, error, message):
    with pytest.raises(error, match=message):
        run(application, config, **selection)
    assert application.execute(
        "SELECT count(*) FROM information_schema.columns"
        " WHERE table_name = 'members' AND column_name = 'organization_id'"
    ).fetchone() == (0,)


def test_an_unmapped_tenant_refuses_the_whole_run_but_not_a_single_tenant(application, config):
    application.execute("INSERT INTO public.notes VALUES (1000, 'ghost')")
    with pytest.raises(Refused, match=r"public\.notes: .*1 \(ghost\)"):
        run(application, config)
    outcomes = run(application, config, tenants=["acme"])
    assert {outcome.state for outcome in outcomes.values()} == {"completed"}


def test_a_tenant_that_is_allowed_since_the_plan_was_stored_needs_no_new_plan(application):
    stored_or_new_plan(application, MigrationConfig(), actor="test")
    config = MigrationConfig.model_validate({"validation": {"allowed_unmapped_tenants": ["system"]}})
    plan = stored_or_new_plan(application, config, actor="test")
    assert plan.allowed_unmapped_tenants == ("system",)
    resolve_scope(application, config, plan, dry_run=True)
    run = begin(application, config, plan, resolve_scope(application, config, plan), actor="test")
    abort(application, run, RuntimeError("enough"))
    assert application.execute(
        "SELECT allowed_unmapped_tenants FROM tenant_migration.settings"
    ).fetchone() == (["system"],)


def test_an_allowed_unmapped_tenant_is_left_alone(application):
    application.execute("INSERT INTO public.notes VALUES (1000, 'system')")
    config = MigrationConfig.model_validate({"validation": {"allowed_unmapped_tenants": ["system"]}})
    outcomes = run(application, config)
    assert {outcome.state for outcome in outcomes.values()} == {"completed"}
    assert application.execute(
        "SELECT count(*) FROM public.notes WHERE tenant_id = 'system' AND organization_id IS NULL"
    ).fetchone() == (1,)


def test_a_bad_row_fails_its_tenant_blocks_its_children_and_nobody_else(application, config):
    """A row that the database refuses: its tenant fails, its claims wait, all others are completed."""
    application.execute("ALTER TABLE public.members ADD COLUMN organization_id uuid")
    application.execute(
        "ALTER TABLE public.members ADD CONSTRAINT refuses_one CHECK (id <> 3 OR organization_id IS NULL)"
    )
    outcomes = run(application, config)
    members, claims, notes = (outcomes[table] for table in ALL)
    assert members.state == "failed"
    assert members.tenant_states == {"acme": "failed", "O'Brien Local": "completed", "zeta": "completed"}
    assert members.result.rows_quarantined == 1
    assert members.result.rows_migrated == 299
    assert claims.tenant_states == {"acme": "blocked", "O'Brien Local": "completed", "zeta": "completed"}
    assert notes.state == "completed"
    statuses = {tenant: row[0] for tenant, row in mapping_rows(application).items()}
    assert statuses == {"acme": "failed", "O'Brien Local": "completed", "zeta": "completed"}
    assert "in quarantine" in str(mapping_rows(application)["acme"][4])

    application.execute("ALTER TABLE public.members DROP CONSTRAINT refuses_one")
    assert "gone: constraint refuses_one" in str(run(application, config)["public.members"].reason)
    store_plan(application, build_plan(application, config), "test")
    again = run(application, config)
    assert {outcome.state for outcome in again.values()} == {"completed"}
    assert [wrong_rows(application, table) for table in ALL] == [0, 0, 0]
    assert {row[:2] for row in mapping_rows(application).values()} == {("completed", 210)}


def test_running_again_writes_nothing_and_stays_completed(application, config):
    run(application, config)
    before = application.execute("SELECT sum(xmin::text::bigint) FROM public.members").fetchone()
    outcomes = run(application, config)
    assert {outcome.state for outcome in outcomes.values()} == {"completed"}
    assert sum(outcome.result.rows_migrated for outcome in outcomes.values()) == 0
    assert application.execute("SELECT sum(xmin::text::bigint) FROM public.members").fetchone() == before


def test_rows_that_came_after_a_migration_are_done_by_the_next(application, config):
    run(application, config)
    application.execute("INSERT INTO public.notes (id, tenant_id) VALUES (1000, 'acme')")
    outcomes = run(application, config, tables=["notes"])
    assert outcomes["public.notes"].result.rows_migrated == 1
    assert mapping_rows(application)["acme"][:2] == ("completed", 211)


def test_business_timestamps_are_not_touched(application, config):
    run(application, config)
    assert application.execute("SELECT DISTINCT updated_at::date::text FROM public.members").fetchall() == [
        ("2020-01-01",)
    ]


def test_a_table_that_changed_since_its_plan_is_refused_alone(application, config):
    plan = stored_or_new_plan(application, config, actor="test")
    application.execute("ALTER TABLE public.notes ADD COLUMN extra integer")
    with pytest.raises(PlanOutdated, match=r"public\.notes"):
        resolve_scope(application, config, plan, tables=["notes"])
    with pytest.raises(PlanOutdated, match=r"public\.notes"):
        resolve_scope(application, config, plan, dry_run=True)
    outcomes = run(application, config)
    assert {name: outcome.state for name, outcome in outcomes.items()} == {
        "public.members": "completed",
        "public.claims": "completed",
        "public.notes": "failed",
    }
    assert "extra" in str(outcomes["public.notes"].reason)


def states_of_members(connection: psycopg.Connection) -> set[str]:
    rows = connection.execute(
        "SELECT DISTINCT s.state FROM tenant_migration.table_states s"
        " JOIN tenant_migration.managed_tables t USING (table_id) WHERE t.table_name = 'members'"
    )
    return {row[0] for row in rows}


def test_whoever_had_to_wait_in_vain_leaves_no_state_of_work_behind(application):
    """Nobody works on these tenants after the run that found the table taken: no state may say so."""
    config = MigrationConfig.model_validate({"defaults": {"lease_wait_s": 0}})
    take_lease(application, config)
    run(application, config)
    assert states_of_members(application) == {"blocked"}
    [(reason,)] = application.execute(
        "SELECT DISTINCT reason FROM tenant_migration.table_states WHERE state = 'blocked'"
        " AND reason NOT LIKE 'parents%'"
    )
    assert "run 1 of somebody" in reason


def test_what_is_completed_stays_so_when_a_further_run_finds_the_table_taken(application):
    config = MigrationConfig.model_validate({"defaults": {"lease_wait_s": 0}})
    run(application, config)
    take_lease(application, config)
    assert run(application, config, tables=["members"])["public.members"].state == "failed"
    assert states_of_members(application) == {"completed"}


def test_what_is_completed_stays_so_when_the_checks_before_a_further_run_fail(application, config):
    run(application, config)
    application.execute(
        "UPDATE members SET organization_id = (SELECT organization_id FROM tenant_org_mappings"
        " WHERE tenant_id = 'zeta') WHERE id = (SELECT min(id) FROM members WHERE tenant_id = 'acme')"
    )
    [outcome] = run(application, config, tables=["members"]).values()
    assert outcome.state == "failed"
    assert outcome.reason.startswith("validation: ")
    assert outcome.result is None
    assert states_of_members(application) == {"completed"}
    assert set(outcome.tenant_states.values()) == {"completed"}


def test_an_error_in_the_checks_before_leaves_no_state_of_work_behind(application, config, monkeypatch):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    plan = stored_or_new_plan(application, config, actor="test")
    scope = resolve_scope(application, config, plan, tenants=["acme"], tables=["members"])
    opened = begin(application, config, plan, scope, actor="test")
    monkeypatch.setattr("tenant_migration.workflow.migrate.run_checks_before", interrupted)
    with pytest.raises(KeyboardInterrupt):
        migrate_table(application, config, plan, scope.tables[0], run=opened, tenants=scope.tenants)
    assert states_of_members(application) == {"cancelled"}


@pytest.mark.parametrize("how", ["interrupted", "cancelled"])
def test_a_stop_in_the_checks_after_leaves_no_state_of_work_behind(application, config, monkeypatch, how):
    def stopped(*_: object, **__: object) -> tuple[CheckResult, ...]:
        assert states_of_members(application) == {"verifying"}
        if how == "interrupted":
            raise KeyboardInterrupt
        application.execute("UPDATE tenant_migration.runs SET state = 'cancelled', reason = 'enough'")
        return ()

    plan = stored_or_new_plan(application, config, actor="test")
    scope = resolve_scope(application, config, plan, tenants=["acme"], tables=["members"])
    opened = begin(application, config, plan, scope, actor="test")
    with monkeypatch.context() as patch:
        patch.setattr("tenant_migration.workflow.migrate.run_checks_after", stopped)
        with pytest.raises((KeyboardInterrupt, RunStopped)):
            migrate_table(application, config, plan, scope.tables[0], run=opened, tenants=scope.tenants)
    assert states_of_members(application) == {"cancelled"}
    assert mapping_rows(application)["acme"][0] == "in_progress"
    [outcome] = run(application, config, tenants=["acme"], tables=["members"]).values()
    assert outcome.state == "completed"
    assert states_of_members(application) == {"completed"}


def test_a_stopped_run_leaves_the_pairs_of_another_run_alone(application, config, monkeypatch):
    plan = stored_or_new_plan(application, config, actor="test")
    scope = resolve_scope(application, config, plan, tables=["members"])
    ours, other = (begin(application, config, plan, scope, actor="test") for _ in range(2))

    def stopped(*_: object, **__: object) -> None:
        application.execute(
            "UPDATE tenant_migration.table_states SET run_id = %s WHERE tenant_number ="
            " (SELECT min(tenant_number) FROM tenant_migration.tenants)",
            [other.run_id],
        )
        raise KeyboardInterrupt

    monkeypatch.setattr("tenant_migration.workflow.migrate.run_checks_after", stopped)
    with pytest.raises(KeyboardInterrupt):
        migrate_table(application, config, plan, scope.tables[0], run=ours)
    assert states_of_members(application) == {"cancelled", "verifying"}


def take_lease(connection: psycopg.Connection, config: MigrationConfig) -> None:
    """Let somebody else work on the members, for a minute."""
    plan = stored_or_new_plan(connection, config, actor="test")
    scope = resolve_scope(connection, config, plan)
    other = begin(connection, config, plan, scope, actor="somebody else")
    connection.execute(
        "SELECT tenant_migration.acquire_lease(gen_random_uuid(), table_id, NULL, %s, 'run 1 of somebody',"
        " '1 min') FROM tenant_migration.managed_tables WHERE table_name = 'members'",
        [other.run_id],
    )


def test_a_table_that_somebody_else_works_on_fails_alone(application):
    config = MigrationConfig.model_validate({"defaults": {"lease_wait_s": 0}})
    take_lease(application, config)
    outcomes = run(application, config)
    assert outcomes["public.members"].state == "failed"
    assert "run 1 of somebody" in str(outcomes["public.members"].reason)
    assert outcomes["public.claims"].state == "blocked"
    assert outcomes["public.notes"].state == "completed"


def test_every_operation_is_in_the_audit_log_with_counts_also_when_refused_tables_fail(application, config):
    run(application, config)
    rows = application.execute(
        "SELECT operation, outcome, table_name, counts->>'rows_migrated', actor"
        " FROM public.migration_audit_log WHERE operation LIKE 'migrate%' ORDER BY 1, 2, 3"
    ).fetchall()
    assert ("migrate", "completed", None, "630", "test") in rows
    assert ("migrate table", "completed", "public.claims", "300", "test") in rows
    assert [row for row in rows if row[1] == "started"]


def test_progress_never_lies(application, config):
    events: list[Progress] = []
    run(application, config, progress=events.append)
    assert events
    assert all(0 <= event.percent <= 100 for event in events)
    last = {event.table: event for event in events}
    assert {name: event.percent for name, event in last.items()} == dict.fromkeys(ALL, 100.0)
    for name in ALL:
        done = [event.rows_done for event in events if event.table == name]
        assert done == sorted(done)


def test_a_connection_that_is_lost_in_the_middle_costs_nothing(application, config, server):
    """The server ends our connection during a table; the run goes on with another and ends completed."""
    killed: list[int] = []

    def terminate_once(event: Progress) -> None:
        if event.rows_done and not killed:
            killed.append(application.info.backend_pid)
            with psycopg.connect(
                server.superuser_url(application.info.dbname), autocommit=True
            ) as administrator:
                administrator.execute("SELECT pg_terminate_backend(%s)", killed)

    url = server.url(application.info.dbname)
    outcomes = run(application, config, progress=terminate_once)
    assert killed
    assert application.closed
    assert {outcome.state for outcome in outcomes.values()} == {"completed"}
    with psycopg.connect(url) as judge:
        assert [wrong_rows(judge, table) for table in ALL] == [0, 0, 0]
        assert {row[:2] for row in mapping_rows(judge).values()} == {("completed", 210)}


def test_a_run_that_is_interrupted_says_cancelled_and_the_next_one_finishes(application, config):
    def interrupt(event: Progress) -> None:
        if event.rows_done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(application, config, progress=interrupt)
    assert application.execute("SELECT state FROM tenant_migration.runs").fetchall() == [("cancelled",)]
    assert application.execute("SELECT count(*) FROM tenant_migration.leases").fetchone() == (0,)
    outcomes = run(application, config)
    assert {outcome.state for outcome in outcomes.values()} == {"completed"}
    assert {row[:2] for row in mapping_rows(application).values()} == {("completed", 210)}


def test_functions_of_the_application_find_their_tables_by_its_own_search_path(application, config):
    """A CHECK whose function names a table without its schema works in a batch as for the application."""
    application.execute(
        "CREATE FUNCTION public.known_member(wanted integer) RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN EXISTS (SELECT FROM members WHERE id = wanted); END $$"
    )
    application.execute("ALTER TABLE public.claims ADD CHECK (public.known_member(member_id))")
    outcomes = run(application, config)
    assert {outcome.state for outcome in outcomes.values()} == {"completed"}
    assert wrong_rows(application, "public.claims") == 0


def test_a_circle_of_organizations_refuses_the_run_before_anything_changes(application, config):
    application.execute(
        "UPDATE public.organizations SET parent_id = '00000000-0000-0000-0000-0000000000a2'"
        " WHERE slug = 'org-1'"
    )
    with pytest.raises(Refused, match=r"(?i)circular|circle"):
        run(application, config)
    assert application.execute("SELECT count(*) FROM tenant_migration.runs").fetchone() == (0,)
