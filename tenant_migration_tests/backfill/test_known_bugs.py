"""Bugs of the tool that this one replaces, each once. The numbers are those of its list of bugs."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
import pytest

from tenant_migration.backfill.dry_run import dry_run_table
from tenant_migration.backfill.engine import backfill_table
from tenant_migration.errors import OperationFailed
from tenant_migration_tests.backfill.conftest import TENANTS, World, table_of


def test_bug_1_uuid_organization_column_is_compared_as_uuid(claims: Callable[[int], World]) -> None:
    """`organization_id = ''` raised on a uuid column, was swallowed, and 0 rows were a success."""
    world = claims(300)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    assert world.migrate("public.claims").rows_migrated == 288


def test_bug_2_many_tenants_at_once_are_one_array(claims: Callable[[int], World]) -> None:
    """An array was expanded into a record, so no list of tenants could be looked up."""
    world = claims(300)
    assert world.migrate("public.claims", tenants=list(TENANTS)).rows_migrated == 288


def test_bug_3_a_pending_mapping_is_enough(claims: Callable[[int], World]) -> None:
    """The mapping was only found once the tenant was completed, which needed the mapping."""
    world = claims(300)
    assert world.sql("SELECT DISTINCT migration_status FROM public.tenant_org_mappings") == [("pending",)]
    assert world.migrate("public.claims").rows_remaining == 0


@pytest.mark.parametrize("rows", [9_999, 10_000, 10_001])
@pytest.mark.parametrize("batch_size", [1_000, 5_000])
def test_bug_4_never_half_of_the_rows(claims: Callable[[int], World], rows: int, batch_size: int) -> None:
    """OFFSET over a shrinking set left every second batch, and called it done."""
    world = claims(rows)
    result = world.migrate("public.claims", batch_size=batch_size, adaptive=False)
    mapped = world.one("SELECT count(*) FROM public.claims WHERE tenant_id = ANY (%s)", list(TENANTS))
    assert result.rows_migrated == mapped
    assert world.missing("public.claims") == 0


def test_bug_5_done_means_that_no_row_is_left(claims: Callable[[int], World]) -> None:
    """Success was "no row failed"; here it is a count of what is left."""
    world = claims(200)
    with psycopg.connect(world.url, autocommit=True) as application:
        turn = iter(range(1_000_000))

        def insert(_: object) -> None:
            application.execute(
                "INSERT INTO public.claims (id, tenant_id) VALUES (%s, 'beta')", (10_000 + next(turn),)
            )

        result = world.migrate("public.claims", progress=insert)
    assert result.rows_remaining > 0
    assert set(world.states("public.claims").values()) == {"failed"}
    reason = world.one("SELECT DISTINCT reason FROM tenant_migration.table_states")
    assert "sweeps" in reason
    assert "Let it write the organization itself" in reason
    assert world.migrate("public.claims").rows_remaining == 0


def test_bug_6_a_tenant_is_not_completed_while_a_table_failed(claims: Callable[[int], World]) -> None:
    """A lock on one table timed out, was swallowed, and the tenant was `completed`."""
    world = claims(100)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    with psycopg.connect(world.url) as application:
        application.execute("LOCK TABLE public.claims IN SHARE MODE")
        with pytest.raises(OperationFailed):
            world.migrate("public.claims", tenants=["beta"], lock_timeout_ms=50, retry_attempts=2)
    assert world.states("public.claims") == {"beta": "failed"}
    status, error = world.sql(
        "SELECT migration_status, error_log FROM public.tenant_org_mappings WHERE tenant_id = 'beta'"
    )[0]
    assert status == "failed"
    assert "public.claims" in error


def test_bug_7_a_run_over_all_tenants_updates_their_mappings(claims: Callable[[int], World]) -> None:
    """`migrate` of everything left every mapping `pending` with 0 records."""
    world = claims(300)
    world.migrate("public.claims")
    rows = dict(world.sql("SELECT tenant_id, record_count FROM public.tenant_org_mappings"))
    assert rows == dict(
        world.sql(
            "SELECT tenant_id, count(*) FROM public.claims WHERE tenant_id = ANY (%s) GROUP BY 1",
            list(TENANTS),
        )
    )
    assert world.sql("SELECT DISTINCT migration_status FROM public.tenant_org_mappings") == [("in_progress",)]


def test_bug_9_an_error_is_raised_with_its_cause(claims: Callable[[int], World]) -> None:
    """26 of 35 error handlers threw the error away."""
    world = claims(100)
    plan = world.plan()
    run = world.run(plan)
    world.sql("ALTER TABLE public.claims DROP COLUMN tenant_id")
    with pytest.raises(psycopg.errors.UndefinedColumn, match="tenant_id"):
        backfill_table(world.connection, plan, table_of(plan, "public.claims"), run)
    assert "tenant_id" in world.one("SELECT reason FROM tenant_migration.table_runs")


def test_bug_13_rows_and_journal_are_one_transaction_and_a_second_run_is_kept_out(
    claims: Callable[[int], World],
) -> None:
    """One commit for each row, no journal, no lock against a second run."""
    world = claims(500)
    world.migrate("public.claims", batch_size=50, adaptive=False)
    journal = f"tenant_migration.journal_{world.table_id('public.claims')}"
    strays = world.one(
        f"SELECT count(*) FROM {journal} j, unnest(j.key_1) AS k JOIN public.claims t ON t.id = k"
        " WHERE t.xmin::text::bigint <> (j.xid::text::bigint % 4294967296)"
    )
    assert strays == 0, "each row's version carries the transaction that journaled it"
    holders = world.one("SELECT count(*) FROM tenant_migration.leases")
    assert holders == 0


def test_bug_14_a_dry_run_is_dry(claims: Callable[[int], World]) -> None:
    """The dry run added a column and an index."""
    world = claims(500)
    plan = world.plan()
    snapshot = (
        "SELECT (SELECT count(*) FROM pg_attribute), (SELECT count(*) FROM pg_class),"
        " (SELECT pg_relation_size('public.claims')), (SELECT md5(string_agg(t::text, '' ORDER BY"
        " id)) FROM public.claims t),"
        " (SELECT count(*) FROM tenant_migration.runs)"
    )
    before = world.sql(snapshot)
    locked: list[str] = []
    with psycopg.connect(world.url) as application:
        application.execute("UPDATE public.claims SET title = 'busy' WHERE id = 1")
        timer = threading.Timer(0, lambda: None)
        timer.start()
        dry = dry_run_table(world.connection, plan, table_of(plan, "public.claims"))
        locked += [
            row[0] for row in application.execute("SELECT mode FROM pg_locks WHERE NOT granted").fetchall()
        ]
        application.rollback()
    assert dry.rows_to_migrate == 480
    assert locked == []
    assert world.sql(snapshot) == before


def test_bug_15_updated_at_stays_what_it_was(claims: Callable[[int], World]) -> None:
    """`updated_at = NOW()` on each row destroyed business timestamps."""
    world = claims(500)
    before = world.sql("SELECT id, tenant_id, title, updated_at FROM public.claims ORDER BY id")
    world.migrate("public.claims")
    assert world.sql("SELECT id, tenant_id, title, updated_at FROM public.claims ORDER BY id") == before


def test_bug_16_failed_rows_are_stored_and_at_most_ten_are_returned(claims: Callable[[int], World]) -> None:
    """Every failed row stayed in memory, was never shown and never stored."""
    world = claims(500)
    world.sql("ALTER TABLE public.claims ADD COLUMN organization_id uuid")
    world.sql("ALTER TABLE public.claims ADD CHECK (organization_id IS NULL OR id % 20 <> 3)")
    result = world.migrate("public.claims", quarantine_max_share=1.0)
    stored = world.one(
        "SELECT count(*) FROM tenant_migration.quarantine WHERE message LIKE '%%check constraint%%' AND %s",
        True,
    )
    assert stored == result.rows_quarantined > 10
    assert len(result.quarantined) == 10
    assert world.one("SELECT count(*) FROM public.tenant_org_mappings WHERE error_log IS NOT NULL") > 0


def test_bug_27_a_tenant_with_a_quote_in_its_name(claims: Callable[[int], World]) -> None:
    """`O'Brien Local` could never migrate: 0 records, status pending, exit 0."""
    world = claims(300)
    result = world.migrate("public.claims", tenants=["O'Brien Local"])
    assert (
        result.rows_migrated
        == world.one("SELECT count(*) FROM public.claims WHERE tenant_id = 'O''Brien Local'")
        > 0
    )
