"""`emergency_rollback`: whatever migrates stops, everything is taken back, and what is left is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from tenant_migration.backfill import failpoints
from tenant_migration.backfill.stop import EmergencySwitch, read_switch
from tenant_migration.database.connection import connect
from tenant_migration.database.install import install
from tenant_migration.errors import NotInstalled, Refused
from tenant_migration.planning.storage import load_plan
from tenant_migration.workflow.cancel import cancel
from tenant_migration.workflow.emergency import EmergencyOutcome, emergency_rollback
from tenant_migration.workflow.migrate import migrate, resolve_scope
from tenant_migration.workflow.resume import resume
from tenant_migration_tests.backfill.conftest import ACTOR, World
from tenant_migration_tests.recovery.slow_worker import CONFIG, DEFAULTS
from tenant_migration_tests.recovery.working import filled, working
from tenant_migration_tests.servers import Server

pytestmark = pytest.mark.newest_server_by_default

TABLE = "public.claims"
CONTENT = (
    "SELECT sum(hashtextextended((id, tenant_id, title, updated_at)::text, 0)), count(*) FROM public.claims"
)


@pytest.fixture
def planned(claims: Callable[[int], World]) -> World:
    world = claims(6_000)
    world.settings |= CONFIG
    world.plan(**DEFAULTS)
    return world


def press(world: World, **arguments: object) -> EmergencyOutcome:
    return emergency_rollback(world.connection, world.config, actor=ACTOR, reason="a test", **arguments)


def migrated(world: World) -> World:
    outcomes = migrate(world.connection, world.config, load_plan(world.connection), actor=ACTOR)
    assert [outcome.state for outcome in outcomes] == ["completed"]
    return world


def steps(outcome: EmergencyOutcome) -> dict[str, str]:
    return {step.name: step.outcome for step in outcome.steps}


def audited(world: World) -> list[tuple[str, str]]:
    rows = world.sql("SELECT operation, outcome FROM migration_audit_log ORDER BY seq")
    return [row for row in rows if row[0] in {"emergency stop", "resume", "cancel"}]


def test_a_migration_in_full_run_in_another_process(planned: World) -> None:
    before = planned.sql(CONTENT)
    with working(planned, pace_s=0.02) as worker:
        worker.wait_until(lambda: filled(planned) > 500, "rows are written")
        outcome = press(planned, stop_dagster=lambda: ["cancelled a run"])
        assert worker.end() == ["RunStopped"]
    assert outcome.left == []
    assert steps(outcome) == dict.fromkeys(
        ("switch", "runs", "INVALID indexes", "Dagster", "rollback", "what is where"), "done"
    )
    assert outcome.stopped is not None
    assert outcome.stopped.seconds < 2
    assert outcome.rows_restored > 500
    assert filled(planned) == 0
    assert planned.sql(CONTENT) == before
    assert [(table.table, table.rows_ours, table.pairs_left) for table in outcome.tables] == [(TABLE, 0, 0)]
    assert audited(planned) == [("emergency stop", "started"), ("emergency stop", "completed")]


def test_nothing_starts_until_it_is_resumed(planned: World) -> None:
    press(migrated(planned))
    with pytest.raises(Refused, match=r"set, by tester at .* \(a test\).*tenant-migration resume"):
        migrate(planned.connection, planned.config, load_plan(planned.connection), actor=ACTOR)
    with pytest.raises(Refused, match="emergency switch"):
        planned.run(load_plan(planned.connection))
    with pytest.raises(Refused, match="emergency switch"):
        resolve_scope(planned.connection, planned.config, load_plan(planned.connection), dry_run=True)
    resumed = resume(planned.connection, actor="boss")
    assert (resumed.switch.is_set, resumed.switch.set_by, resumed.switch.reason) == (True, ACTOR, "a test")
    assert not resume(planned.connection, actor="boss").switch.is_set
    migrated(planned)
    assert audited(planned)[2:] == [("resume", "completed")] * 2


def test_pressed_twice_it_has_nothing_more_to_do(planned: World) -> None:
    first = press(migrated(planned))
    assert (first.left, first.rows_restored) == ([], 5_760)
    second = emergency_rollback(planned.connection, planned.config, actor="another", reason=None)
    assert (second.left, second.rows_restored) == ([], 0)
    assert second.switch is not None
    assert second.switch.set_by == ACTOR, "who set it first"


@pytest.mark.parametrize(
    "freeze_at",
    [
        f"{failpoints.BATCH_BEFORE_COMMIT}:8",
        f"{failpoints.STATE_BEFORE_COMMIT}:1",
        f"{failpoints.STATE_BEFORE_COMMIT}:3",
        f"{failpoints.PAIRS_VERIFYING}:1",
        f"{failpoints.INDEX_VALID}:1",
    ],
)
def test_a_frozen_process_comes_back_and_changes_nothing(planned: World, freeze_at: str) -> None:
    with working(planned, freeze_at=freeze_at) as worker:
        worker.wait_frozen()
        outcome = press(planned)
        assert outcome.left == []
        assert filled(planned) == 0
        states = planned.states(TABLE)
        assert set(states.values()) <= {"rolled_back"}
        resume(planned.connection, actor=ACTOR)
        worker.thaw()
    assert filled(planned) == 0
    assert planned.states(TABLE) == states, "it called something its own that is not"
    assert migrated(planned).missing(TABLE) == 0


def test_what_a_cancelled_build_left_is_dropped_though_an_old_transaction_goes_on(planned: World) -> None:
    def waits() -> object:
        return planned.sql("SELECT pid FROM pg_stat_activity WHERE wait_event = 'virtualxid'")

    with psycopg.connect(planned.url) as old, working(planned) as worker:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT count(*) FROM public.organizations")
        worker.wait_until(waits, "the build waits")
        worker.freeze()
        outcome = press(planned)
    assert outcome.left == []
    assert planned.one("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0
    assert filled(planned) == 0


def test_an_invalid_index_that_cannot_be_dropped_is_left_and_told(planned: World) -> None:
    def waits() -> object:
        return planned.sql("SELECT pid FROM pg_stat_activity WHERE wait_event = 'virtualxid'")

    with psycopg.connect(planned.url) as old, working(planned, pace_s=0.01) as worker:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        worker.wait_until(lambda: filled(planned) > 0, "rows are written")
        old.execute("SELECT count(*) FROM public.claims")  # its lock on the table keeps the drop waiting too
        worker.wait_until(waits, "the build waits")
        worker.freeze()
        outcome = press(planned)
    assert [
        line for line in outcome.left if "INVALID index claims_organization_id_idx on public.claims" in line
    ]
    assert filled(planned) == 0, "the rows are taken back all the same"


def test_dagster_that_cannot_be_reached_is_told_and_everything_else_is_done(planned: World) -> None:
    def down() -> list[str]:
        raise ConnectionError("no route to Dagster's storage")

    outcome = press(migrated(planned), stop_dagster=down)
    assert steps(outcome)["Dagster"] == "failed"
    assert "no route to Dagster's storage" in " ".join(outcome.failed_steps[0].lines)
    [left] = outcome.left
    assert "no route to Dagster's storage" in left
    assert "cancel them before `tenant-migration resume`" in left
    assert filled(planned) == 0
    assert "no route to Dagster's storage" in (read_switch(planned.connection).unstopped or "")
    assert press(planned, stop_dagster=list).left == []
    assert read_switch(planned.connection).unstopped is None


def test_who_asks_without_dagster_leaves_word_for_resume(planned: World) -> None:
    assert press(migrated(planned)).left == []
    assert read_switch(planned.connection).unstopped == "Dagster was not asked to cancel what it has queued"
    assert resume(planned.connection, actor="anna").switch.unstopped is not None
    assert read_switch(planned.connection) == EmergencySwitch(False)


def test_an_open_transaction_that_changes_mappings_delays_the_switch_only(planned: World) -> None:
    with psycopg.connect(planned.url) as editor, working(planned, pace_s=0.02) as worker:
        worker.wait_until(lambda: filled(planned) > 500, "rows are written")
        editor.execute(
            "INSERT INTO tenant_org_mappings (tenant_id, organization_id)"
            " SELECT 'new', id FROM organizations LIMIT 1"
        )
        outcome = press(planned)
        assert worker.end() == ["RunStopped"]
    assert outcome.stopped is not None
    assert outcome.stopped.seconds < 2
    assert filled(planned) == 0
    assert outcome.left == ["the emergency switch is not set: migrations may start"]


def test_a_row_that_cannot_be_taken_back_is_left_and_told(planned: World) -> None:
    migrated(planned)
    planned.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.organization_id IS NULL AND NEW.id = 4002 THEN RAISE EXCEPTION 'row 4002 stays'; END IF;"
        " RETURN NEW; END $$"
    )
    planned.sql("CREATE TRIGGER refuse BEFORE UPDATE ON public.claims FOR EACH ROW EXECUTE FUNCTION refuse()")
    outcome = press(planned)
    assert filled(planned) == 1
    assert f"{TABLE}: 1 row with a value of ours" in outcome.left
    assert audited(planned)[-1] == ("emergency stop", "failed")
    planned.sql("DROP TRIGGER refuse ON public.claims")
    assert press(planned).left == []
    assert filled(planned) == 0


def test_a_table_that_left_the_plan_is_told(planned: World) -> None:
    migrated(planned)
    planned.sql("UPDATE tenant_migration.managed_tables SET retired_at = now()")
    outcome = press(planned)
    assert any("not in the newest plan" in line for line in outcome.left)


def test_without_a_plan_it_stops_and_says_that_there_is_nothing(world: World) -> None:
    outcome = press(world)
    assert outcome.left == []
    assert steps(outcome)["rollback"] == "skipped"
    assert world.one("SELECT emergency_stop FROM tenant_migration.settings")


def test_without_the_tool_it_says_so(connection: psycopg.Connection) -> None:
    with pytest.raises(NotInstalled, match=r"not installed in database .* Is it the right database"):
        emergency_rollback(connection, World("", connection).config, actor=ACTOR)


def test_resume_waits_for_the_rollback_of_the_emergency(planned: World) -> None:
    migrated(planned)
    refused: list[str] = []

    def try_to_resume(_: object) -> None:
        if not refused:
            with connect(planned.url) as other, pytest.raises(Refused, match="still works") as error:
                resume(other, actor="hasty")
            refused.append(str(error.value))

    assert press(planned, progress=try_to_resume).left == []
    assert "rollback" in refused[0]
    assert filled(planned) == 0


@pytest.fixture
def operator(server: Server, planned: World) -> Iterator[str]:
    """URL of a role in the group `tenant_migration_operator`, and of nothing else."""
    database = planned.connection.info.dbname
    with psycopg.connect(server.superuser_url(database), autocommit=True) as superuser:
        superuser.execute("CREATE ROLE tenant_migration_operator NOLOGIN")
        superuser.execute("CREATE ROLE otto LOGIN NOSUPERUSER NOBYPASSRLS IN ROLE tenant_migration_operator")
        install(planned.connection, planned.config)  # grants the group what it is for
        yield server.url(database, "otto")
        superuser.execute("DROP OWNED BY otto, tenant_migration_operator CASCADE")
        superuser.execute("DROP ROLE otto, tenant_migration_operator")


def test_an_operator_stops_everything_and_is_told_what_he_may_not(planned: World, operator: str) -> None:
    with working(planned, pace_s=0.02) as worker:
        worker.wait_until(lambda: filled(planned) > 500, "rows are written")
        with connect(operator) as connection:
            outcome = emergency_rollback(connection, planned.config, actor="otto")
        assert worker.end() == ["RunStopped"]
    assert planned.sql("SELECT emergency_stop, emergency_stopped_by FROM tenant_migration.settings") == [
        (True, "otto")
    ]
    assert planned.sql("SELECT state, actor FROM tenant_migration.runs")[0] == ("cancelled", "otto")
    assert steps(outcome)["switch"] == steps(outcome)["runs"] == "done"
    assert steps(outcome)["rollback"] == "failed"
    assert outcome.left
    assert press(planned).left == []
    assert filled(planned) == 0


def test_an_operator_cancels_and_resumes(planned: World, operator: str) -> None:
    with connect(operator) as connection, working(planned, pace_s=0.02) as worker:
        worker.wait_until(lambda: filled(planned) > 500, "rows are written")
        cancelled = cancel(connection, actor="otto")
        assert cancelled.stopped.problems == []
        assert worker.end() == ["RunStopped"]
        planned.sql(
            "UPDATE tenant_migration.settings SET emergency_stop = true, emergency_stopped_by = 'anna'"
        )
        assert resume(connection, actor="otto").switch.set_by == "anna"
    assert not planned.one("SELECT emergency_stop FROM tenant_migration.settings")
    assert audited(planned) == [("cancel", "completed"), ("resume", "completed")]


def test_cancel_of_one_table_lets_the_run_go_on_with_the_others(planned: World) -> None:
    planned.sql("CREATE TABLE public.aaa_documents AS SELECT id, tenant_id FROM public.claims LIMIT 2000")
    planned.sql("ALTER TABLE public.aaa_documents ADD PRIMARY KEY (id)")
    planned.plan(**DEFAULTS)
    first = load_plan(planned.connection).tables[0].qualified_name
    other = ({TABLE, "public.aaa_documents"} - {first}).pop()
    with working(planned, pace_s=0.02) as worker:
        worker.wait_until(lambda: filled(planned, first) > 200, "rows are written")
        cancelled = cancel(planned.connection, actor=ACTOR, tables=[first])
        assert cancelled.stopped.problems == []
        assert worker.end() == [f"{first} failed", f"{other} completed"]
    assert set(planned.states(first).values()) == {"cancelled"}
    assert set(planned.states(other).values()) == {"completed"}


def test_cancel_of_a_table_that_the_run_has_not_come_to(planned: World) -> None:
    planned.sql("CREATE TABLE public.aaa_documents AS SELECT id, tenant_id FROM public.claims LIMIT 2000")
    planned.sql("ALTER TABLE public.aaa_documents ADD PRIMARY KEY (id)")
    planned.plan(**DEFAULTS)
    first, second = (table.qualified_name for table in load_plan(planned.connection).tables)
    with working(planned, pace_s=0.02) as worker:
        worker.wait_until(lambda: filled(planned, first) > 200, "rows are written")
        cancel(planned.connection, actor=ACTOR, tables=[second])
        assert worker.end() == [f"{first} completed", f"{second} failed"]
    assert filled(planned, second) == 0
