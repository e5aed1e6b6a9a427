"""What a rollback does when something is in its way: rows, locks, connections, people."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tenant_migration.backfill.results import Progress, Selection
from tenant_migration.errors import LeaseHeld, Refused, RunStopped, TableStopped, UnknownTenant
from tenant_migration.recovery.rollback.engine import roll_back_table
from tenant_migration.recovery.runs import start_rollback
from tenant_migration_tests.backfill.conftest import ACTOR, World, table_of
from tenant_migration_tests.recovery.conftest import roll_back

TABLE = "public.claims"


@pytest.fixture
def application(world: World) -> Iterator[psycopg.Connection]:
    with psycopg.connect(world.url, autocommit=True) as connection:
        yield connection


def with_organization(world: World) -> list[int]:
    return [row[0] for row in world.sql("SELECT id FROM claims WHERE organization_id IS NOT NULL ORDER BY 1")]


def once(act: Callable[[], object]) -> Callable[[Progress], None]:
    """Return a progress callback that acts at the first event."""
    done: list[bool] = []

    def callback(event: Progress) -> None:
        if not done:
            done.append(True)
            act()

    return callback


def test_a_row_that_the_database_refuses_is_left_and_listed_and_the_others_go_on(
    claims: Callable[[int], World],
) -> None:
    world = claims(500)
    world.migrate(TABLE)
    world.sql(
        "CREATE FUNCTION seal() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'claim % is sealed', OLD.id; END $$"
    )
    world.sql(
        "CREATE TRIGGER seal BEFORE UPDATE ON claims FOR EACH ROW WHEN (OLD.id IN (77, 78))"
        " EXECUTE FUNCTION seal()"
    )
    result = roll_back(world, TABLE, on_triggers="fire")
    assert (result.rows_expected, result.rows_restored, result.rows_failed) == (480, 478, 2)
    assert {(row.row_key["id"], row.reason, row.message) for row in result.left_alone} == {
        ("77", "failed", "claim 77 is sealed"),
        ("78", "failed", "claim 78 is sealed"),
    }
    assert with_organization(world) == [77, 78]
    failed = {row[0] for row in world.sql("SELECT tenant_id FROM claims WHERE id IN (77, 78)")}
    assert {tenant for tenant, state in world.states(TABLE).items() if state == "failed"} == failed
    assert world.sql(
        "SELECT DISTINCT migration_status, record_count FROM tenant_org_mappings WHERE tenant_id = ANY (%s)",
        list(failed),
    ) == [("failed", 1)]
    world.sql("DROP TRIGGER seal ON claims")
    assert roll_back(world, TABLE).rows_restored == 2
    assert set(world.states(TABLE).values()) == {"rolled_back"}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("RETURN NULL;", "kept the row from being written"),
        ("NEW.organization_id := OLD.organization_id; RETURN NEW;", "wrote another organization"),
    ],
)
def test_a_trigger_that_silently_keeps_the_value_is_found_out(
    claims: Callable[[int], World], body: str, message: str
) -> None:
    world = claims(100)
    world.migrate(TABLE)
    world.sql(f"CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
    world.sql(
        "CREATE TRIGGER keep BEFORE UPDATE ON claims FOR EACH ROW WHEN (OLD.id = 42) EXECUTE FUNCTION keep()"
    )
    result = roll_back(world, TABLE, on_triggers="fire")
    assert (result.rows_restored, result.rows_failed) == (95, 1)
    assert message in str(result.left_alone[0].message)
    assert with_organization(world) == [42]


def test_a_value_that_cannot_come_back_because_its_organization_is_gone_is_listed(
    claims: Callable[[int], World],
) -> None:
    world = claims(100)
    world.sql("ALTER TABLE claims ADD COLUMN organization_id uuid")
    world.sql("INSERT INTO organizations (id, name) VALUES (gen_random_uuid(), 'short-lived')")
    world.sql(
        "UPDATE claims SET organization_id = o.id FROM organizations o"
        " WHERE o.name = 'short-lived' AND claims.id IN (10, 11)"
    )
    world.migrate(TABLE, on_existing_value="overwrite")
    world.sql("DELETE FROM organizations WHERE name = 'short-lived'")
    result = roll_back(world, TABLE, on_existing_value="overwrite")
    assert (result.rows_restored, result.rows_failed) == (94, 2)
    assert "foreign key" in str(result.left_alone[0].message)


def test_a_row_that_stays_locked_is_left_and_the_others_go_on(
    claims: Callable[[int], World], application: psycopg.Connection
) -> None:
    world = claims(300)
    world.migrate(TABLE)
    application.autocommit = False
    application.execute("SELECT FROM claims WHERE id = 42 FOR UPDATE")
    result = roll_back(world, TABLE, lock_timeout_ms=20, retry_attempts=4)
    assert (result.rows_restored, result.rows_failed) == (287, 1)
    assert "another transaction held the row" in str(result.left_alone[0].message)
    assert with_organization(world) == [42]
    application.rollback()
    assert roll_back(world, TABLE).rows_restored == 1


def test_what_the_application_changes_while_we_wait_for_it_is_left_alone(
    claims: Callable[[int], World], application: psycopg.Connection
) -> None:
    world = claims(300)
    world.migrate(TABLE)
    other = world.one("SELECT organization_id FROM tenant_org_mappings WHERE tenant_id = 'ALPHA'")
    application.autocommit = False
    application.execute("UPDATE claims SET organization_id = %s WHERE id = 10", (other,))
    application.execute("DELETE FROM claims WHERE id = 11")
    application.execute("UPDATE claims SET title = 'paid' WHERE id = 12")
    result = roll_back(world, TABLE, lock_timeout_ms=100, progress=once(application.commit))
    assert (result.rows_restored, result.rows_changed, result.rows_deleted) == (286, 1, 1)
    assert with_organization(world) == [10]


def test_a_connection_that_is_lost_is_made_anew(
    claims: Callable[[int], World], application: psycopg.Connection
) -> None:
    world = claims(1_000)
    world.migrate(TABLE)
    pid = world.connection.info.backend_pid
    result = roll_back(
        world,
        TABLE,
        batch_size=100,
        adaptive=False,
        progress=once(lambda: application.execute("SELECT pg_terminate_backend(%s)", (pid,))),
    )
    assert (result.rows_expected, result.rows_restored) == (960, 960)
    assert application.execute(
        "SELECT count(*) FROM claims WHERE organization_id IS NOT NULL"
    ).fetchone() == (0,)


@pytest.mark.parametrize("table", ["runs", "table_runs"])
def test_cancel_stops_within_a_step_and_the_next_rollback_goes_on(
    claims: Callable[[int], World], application: psycopg.Connection, table: str
) -> None:
    world = claims(1_000)
    world.migrate(TABLE)
    cancel = f"UPDATE tenant_migration.{table} SET state = 'cancelled' WHERE state = 'rolling_back'"
    steps: list[int] = []

    def progress(event: Progress) -> None:
        steps.append(event.batch_rows)
        if len(steps) == 2:
            application.execute(cancel.encode())

    with pytest.raises(RunStopped if table == "runs" else TableStopped, match="cancelled"):
        roll_back(world, TABLE, batch_size=100, adaptive=False, progress=progress)
    assert len(steps) == 2
    left = len(with_organization(world))
    assert left == 960 - sum(steps)
    assert set(world.states(TABLE).values()) == {"cancelled"}
    assert world.one("SELECT sum(rows_migrated) FROM tenant_migration.table_states") == left
    assert world.one("SELECT count(*) FROM tenant_migration.leases") == 0
    assert roll_back(world, TABLE).rows_restored == left


def test_the_emergency_switch_stops_a_rollback_but_not_its_own(
    claims: Callable[[int], World], application: psycopg.Connection
) -> None:
    world = claims(1_000)
    world.migrate(TABLE)
    switch = "UPDATE tenant_migration.settings SET emergency_stop = true"
    with pytest.raises(RunStopped, match="emergency switch"):
        roll_back(
            world, TABLE, batch_size=100, adaptive=False, progress=once(lambda: application.execute(switch))
        )
    with pytest.raises(Refused, match="emergency switch is set"):
        roll_back(world, TABLE)
    left = len(with_organization(world))
    assert left > 0
    assert roll_back(world, TABLE, emergency=True).rows_restored == left


def test_a_migration_and_a_rollback_of_one_tenant_exclude_each_other(
    claims: Callable[[int], World],
) -> None:
    world = claims(500)
    world.migrate(TABLE)
    held: list[str] = []

    def migrate_meanwhile() -> None:
        with psycopg.connect(world.url, autocommit=True) as connection:
            other = World(world.url, connection)
            with pytest.raises(LeaseHeld) as refused:
                other.migrate(TABLE, tenants=["beta"], lease_wait_s=0)
            held.append(str(refused.value))

    roll_back(world, TABLE, tenants=["beta"], progress=once(migrate_meanwhile))
    assert held
    assert "is being worked on by run" in held[0]


def test_one_tenant_is_migrated_while_another_is_rolled_back(claims: Callable[[int], World]) -> None:
    world = claims(1_000)
    migrated = world.migrate(TABLE, tenants=["beta"], batch_size=10, adaptive=False)

    def migrate_meanwhile() -> None:
        with psycopg.connect(world.url, autocommit=True) as connection:
            World(world.url, connection).migrate(TABLE, tenants=["alpha"], batch_size=10, adaptive=False)

    result = roll_back(
        world, TABLE, tenants=["beta"], batch_size=10, adaptive=False, progress=once(migrate_meanwhile)
    )
    assert result.rows_restored == migrated.rows_migrated
    assert world.sql("SELECT DISTINCT tenant_id FROM claims WHERE organization_id IS NOT NULL") == [
        ("alpha",)
    ]


def test_two_tenants_rolled_back_at_once_divide_the_same_batches(claims: Callable[[int], World]) -> None:
    world = claims(2_000)
    migrated = world.migrate(TABLE, batch_size=1_000, adaptive=False).rows_by_tenant
    others: list[int] = []

    def roll_back_meanwhile() -> None:
        with psycopg.connect(world.url, autocommit=True) as connection:
            other = World(world.url, connection)
            done = roll_back(other, TABLE, tenants=["alpha"], batch_size=7, adaptive=False)
            others.append(done.rows_restored)

    result = roll_back(
        world, TABLE, tenants=["beta"], batch_size=20, adaptive=False, progress=once(roll_back_meanwhile)
    )
    assert (result.rows_restored, result.rows_changed) == (migrated["beta"], 0)
    assert others == [migrated["alpha"]]
    journal = f"tenant_migration.journal_{world.table_id(TABLE)}"
    assert world.one(f"SELECT sum(row_count - closed_rows) FROM {journal}") == sum(migrated.values()) - (
        migrated["alpha"] + migrated["beta"]
    )
    assert roll_back(world, TABLE).rows_changed == 0
    assert with_organization(world) == []


def test_a_tenant_that_the_run_was_not_started_for_is_refused(claims: Callable[[int], World]) -> None:
    world = claims(100)
    world.migrate(TABLE, tenants=["beta"])
    plan = world.plan()
    run = start_rollback(world.connection, plan, selection=Selection(tenants=["beta", "alpha"]), actor=ACTOR)
    assert set(run.tenants) == {"beta"}
    with pytest.raises(UnknownTenant, match="'alpha'"):
        roll_back_table(world.connection, plan, table_of(plan, TABLE), run, tenants=["alpha"])


def test_rows_hidden_by_row_security_are_refused_and_not_counted_as_deleted(
    claims: Callable[[int], World],
) -> None:
    world = claims(100)
    world.migrate(TABLE)
    world.sql("ALTER TABLE claims ENABLE ROW LEVEL SECURITY; ALTER TABLE claims FORCE ROW LEVEL SECURITY")
    with pytest.raises(Refused, match="row security"):
        roll_back(world, TABLE)
    world.sql("ALTER TABLE claims NO FORCE ROW LEVEL SECURITY")
    assert roll_back(world, TABLE).rows_restored == 96


def test_a_column_that_is_gone_stops_the_rollback_and_loses_nothing(claims: Callable[[int], World]) -> None:
    world = claims(100)
    world.migrate(TABLE)
    plan = world.plan()
    run = start_rollback(world.connection, plan, actor=ACTOR)
    world.sql("ALTER TABLE claims RENAME COLUMN organization_id TO elsewhere")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        roll_back_table(world.connection, plan, table_of(plan, TABLE), run)
    assert set(world.states(TABLE).values()) == {"failed"}
    world.sql("ALTER TABLE claims RENAME COLUMN elsewhere TO organization_id")
    assert roll_back(world, TABLE).rows_restored == 96


@pytest.mark.parametrize("in_a_subtransaction", [False, True])
def test_a_trigger_that_writes_the_row_and_its_siblings_spoils_no_count(
    claims: Callable[[int], World], in_a_subtransaction: bool
) -> None:
    """Who wrote a row last does not say then whether it was reset."""
    world = claims(100)
    world.migrate(TABLE)
    world.sql("UPDATE claims SET organization_id = NULL WHERE id = 12")
    body = "UPDATE public.claims SET title = title || '+' WHERE id / 10 = NEW.id / 10;"
    if in_a_subtransaction:
        body = f"BEGIN {body} EXCEPTION WHEN division_by_zero THEN RAISE; END;"
    world.sql(
        f"CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NULL; END $$"
    )
    world.sql(
        "CREATE TRIGGER touch AFTER UPDATE OF organization_id ON claims FOR EACH ROW EXECUTE FUNCTION touch()"
    )
    result = roll_back(world, TABLE)
    assert (result.rows_restored, result.rows_changed, result.rows_failed) == (95, 1, 0)
    assert [row.row_key for row in result.left_alone] == [{"id": "12"}]
    assert with_organization(world) == []
