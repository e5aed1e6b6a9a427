"""get_migration_progress(): exact, over the tables of this database, whatever the type of their key."""

from __future__ import annotations

from decimal import Decimal

import psycopg
import pytest

from tenant_migration.database.connection import connect
from tenant_migration_tests.database.application import EXPECTED_TOTALS, create_mixed_keys
from tenant_migration_tests.database.scene import Scene

PROGRESS = "SELECT * FROM public.get_migration_progress()"


@pytest.fixture
def mixed(scene: Scene) -> Scene:
    create_mixed_keys(scene)
    return scene


def test_every_type_of_key_is_counted_exactly(mixed: Scene) -> None:
    assert {row[0]: row[1:] for row in mixed.rows(PROGRESS)} == {
        table: (total, 0, Decimal("0.00") if total else Decimal("100.00"))
        for table, total in EXPECTED_TOTALS.items()
    }


def test_the_users_columns_come_in_the_users_order(mixed: Scene) -> None:
    cursor = mixed.connection.execute(PROGRESS)
    assert [column.name for column in cursor.description or ()] == [
        "table_name",
        "total_rows",
        "migrated_rows",
        "percentage",
    ]


def test_only_mapped_rows_count_as_migrated(mixed: Scene) -> None:
    organization = mixed.organization()
    mixed.execute("UPDATE texts SET organization_id = %s WHERE tenant_id IN ('acme', 'ghost')", organization)
    mixed.execute("UPDATE uuids SET organization_id = %s", organization)
    mixed.execute("UPDATE parted SET organization_id = %s WHERE id <= 3", organization)
    progress = {row[0]: row[1:] for row in mixed.rows(PROGRESS)}
    assert progress["texts"] == (30, 10, Decimal("33.33"))
    assert progress["uuids"] == (20, 20, Decimal("100.00"))
    assert progress["parted"] == (10, 3, Decimal("30.00"))
    assert progress["other_meaning"] == (10, 0, Decimal("0.00"))  # a text column of that name is not ours


def test_nearly_done_is_not_shown_as_done(scene: Scene) -> None:
    scene.execute("CREATE TABLE big (id int, tenant_id text, organization_id uuid)")
    scene.map("acme")
    organization = scene.organization()
    scene.execute(
        "INSERT INTO big SELECT g, 'acme', CASE WHEN g > 1 THEN %s::uuid END FROM generate_series(1, "
        "30000) g",
        organization,
    )
    assert scene.rows(PROGRESS) == [("big", 30_000, 29_999, Decimal("99.99"))]


def test_without_mappings_nothing_is_expected(scene: Scene) -> None:
    scene.execute("CREATE TABLE claims (id int, tenant_id text)")
    scene.execute("INSERT INTO claims VALUES (1, 'acme')")
    assert scene.rows(PROGRESS) == [("claims", 0, 0, Decimal("100.00"))]


def test_the_plans_tables_come_in_the_plans_order_and_no_others(mixed: Scene) -> None:
    mixed.manage("hr.plans", "uuids", "texts")
    mixed.manage('Odd Schema.Mixed "Case"', tenant_column="tenantId")
    mixed.execute("UPDATE tenant_migration.managed_tables SET retired_at = now() WHERE table_name = 'uuids'")
    mixed.execute("UPDATE tenant_migration.managed_tables SET position = 9 WHERE table_name LIKE 'Mixed%'")
    assert [row[:2] for row in mixed.rows(PROGRESS)] == [
        ("hr.plans", 5),
        ("texts", 30),
        ('Odd Schema.Mixed "Case"', 10),
    ]


def test_a_managed_table_that_is_gone_is_named(mixed: Scene) -> None:
    mixed.manage("texts", "numbers")
    mixed.execute("DROP TABLE numbers")
    with pytest.raises(
        psycopg.errors.UndefinedTable, match=r"managed table public\.numbers.*(?s:.*)plan --write"
    ):
        mixed.rows(PROGRESS)


def test_it_runs_read_only_and_on_our_own_connections(mixed: Scene, database: str) -> None:
    with connect(database, read_only=True) as connection:
        assert len(connection.execute(PROGRESS).fetchall()) == len(EXPECTED_TOTALS)


def test_rows_that_a_policy_would_hide_are_an_error_and_not_missing(mixed: Scene) -> None:
    mixed.execute("ALTER TABLE texts ENABLE ROW LEVEL SECURITY")
    assert len(mixed.rows(PROGRESS)) == len(EXPECTED_TOTALS)  # the owner is not filtered
    mixed.execute("ALTER TABLE texts FORCE ROW LEVEL SECURITY")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="texts"):
        mixed.rows(PROGRESS)


def test_each_table_is_scanned_once(scene: Scene) -> None:
    scene.execute("CREATE TABLE big (id int PRIMARY KEY, tenant_id uuid, organization_id uuid)")
    scene.execute("CREATE INDEX ON big (tenant_id)")
    scene.execute(
        "INSERT INTO tenant_org_mappings (tenant_id, organization_id) SELECT md5(g::text), %s FROM "
        "generate_series(1, 5000) g",
        scene.organization(),
    )
    scene.execute("INSERT INTO big SELECT g, md5((g % 6000)::text)::uuid FROM generate_series(1, 200000) g")
    scene.execute("VACUUM ANALYZE big")
    scene.execute("SET stats_fetch_consistency = none")
    scans = (
        "SELECT seq_scan + coalesce(idx_scan, 0), seq_tup_read + coalesce(idx_tup_fetch, 0) "
        "FROM pg_stat_xact_user_tables WHERE relname = 'big'"
    )
    with scene.connection.transaction():
        assert scene.rows(PROGRESS)[0][1] == 33 * 5_000 + 2_000  # 1..5000 of 0..5999, 33 times, and 1..2000
        scanned, read = scene.rows(scans)[0]
    assert read <= 200_000
    assert scanned <= 5  # one, or one for each parallel worker
