"""reset_migration(): refused unless asked for twice, and then complete."""

from __future__ import annotations

import psycopg
import pytest

from tenant_migration_tests.database.scene import Scene

REFUSED = "TM004"
RESET = "SELECT public.reset_migration()"


@pytest.fixture
def migrated(scene: Scene) -> Scene:
    """Two tables in the middle of a migration, and one of the application's own that is not managed."""
    scene.execute("CREATE TABLE claims (id int, tenant_id text, organization_id uuid)")
    scene.execute("CREATE TABLE profiles (id int, tenant_id text)")
    scene.execute("CREATE TABLE bookings (id int, organization_id uuid)")
    claims, profiles = scene.manage("claims", "profiles")
    number = scene.map("acme")["acme"]
    organization = scene.value("SELECT organization_id FROM tenant_org_mappings")
    for table in ("claims (id, tenant_id, organization_id)", "bookings (id, organization_id)"):
        tenant = "'acme', " if "claims" in table else ""
        scene.execute(
            f"INSERT INTO {table} SELECT g, {tenant} %s FROM generate_series(1, 30) g", organization
        )
    scene.execute("INSERT INTO claims VALUES (31, 'acme', NULL)")
    run_id = scene.run()
    scene.execute("UPDATE tenant_migration.runs SET state = 'running'")
    scene.execute(
        "INSERT INTO tenant_migration.table_runs (run_id, table_id, state, actor) VALUES (%s, %s, "
        "'running', 'anna')",
        run_id,
        claims,
    )
    scene.pair(claims, number, "running", rows=30)
    scene.pair(profiles, number, "running", "verifying", "completed")
    scene.execute("SELECT tenant_migration.refresh_mapping_status(ARRAY[%s::int])", number)
    scene.execute(f"CREATE TABLE tenant_migration.journal_{claims} (batch_id int, closed_at timestamptz)")
    scene.execute(
        f"INSERT INTO tenant_migration.journal_{claims} VALUES (1, '2001-01-01'), (2, NULL), (3, NULL)"
    )
    scene.execute(
        "INSERT INTO tenant_migration.cursors (table_id, leaf, leaf_name, relfilenode, "
        "mapping_checksum, end_page, run_id) "
        "VALUES (%s, 1, 'claims', 1, 'x', 9, %s)",
        claims,
        run_id,
    )
    scene.execute("SELECT tenant_migration.append_audit('migrate', 'anna', 'succeeded')")
    return scene


def picture(scene: Scene) -> list[object]:
    return [
        scene.rows(f"SELECT * FROM {table} ORDER BY 1")
        for table in (
            "claims", "bookings", "tenant_org_mappings", "migration_audit_log",
            "tenant_migration.table_states", "tenant_migration.journal_1",
            "tenant_migration.cursors", "tenant_migration.runs",
        )
    ]  # fmt: skip


def test_without_permission_nothing_changes_and_the_way_is_named(migrated: Scene) -> None:
    before = picture(migrated)
    for allowed in (None, "", "off", "true"):
        if allowed is not None:
            migrated.execute("SELECT set_config('tenant_migration.allow_reset', %s, false)", allowed)
        with pytest.raises(psycopg.DatabaseError) as raised:
            migrated.execute(RESET)
        assert raised.value.sqlstate == REFUSED
        assert "SET tenant_migration.allow_reset = 'on'" in str(raised.value)
    assert picture(migrated) == before


def test_with_permission_everything_is_as_before_the_migration(migrated: Scene) -> None:
    past = migrated.rows("SELECT * FROM migration_audit_log ORDER BY seq")
    others = migrated.rows("SELECT * FROM bookings ORDER BY 1")
    migrated.execute("SET tenant_migration.allow_reset = 'on'")
    assert migrated.value(RESET) == "30 rows in 1 tables cleared, 1 mappings pending again"
    assert migrated.rows("SELECT count(*), count(organization_id) FROM claims") == [(31, 0)]
    assert migrated.rows("SELECT * FROM bookings ORDER BY 1") == others
    assert migrated.rows(
        "SELECT migration_status, migrated_at, migrated_by, record_count, error_log FROM tenant_org_mappings"
    ) == [("pending", None, None, 0, None)]
    assert migrated.rows(
        "SELECT batch_id, closed_at < '2002-01-01' FROM tenant_migration.journal_1 ORDER BY 1"
    ) == [
        (1, True),
        (2, False),
        (3, False),
    ]
    assert migrated.rows("SELECT * FROM tenant_migration.table_states") == []
    assert migrated.rows("SELECT * FROM tenant_migration.cursors") == []
    assert migrated.rows("SELECT state, reason FROM tenant_migration.runs") == [
        ("cancelled", "reset_migration()")
    ]
    log = migrated.rows("SELECT * FROM migration_audit_log ORDER BY seq")
    assert log[:-1] == past
    assert migrated.rows("SELECT operation, counts FROM migration_audit_log ORDER BY seq DESC LIMIT 1") == [
        ("reset_migration", {"rows": 30, "mappings": 1})
    ]
    assert migrated.value("SELECT first_bad_seq FROM tenant_migration.verify_audit_chain()") is None
    migrated.execute("DELETE FROM tenant_org_mappings")  # nothing is live any more
    assert migrated.value(RESET) == "0 rows in 1 tables cleared, 0 mappings pending again"


def test_the_permission_of_the_reset_does_not_outlive_it(migrated: Scene) -> None:
    migrated.execute("SET tenant_migration.allow_reset = 'on'")
    with migrated.connection.transaction():
        migrated.execute(RESET)
        claims = migrated.value("SELECT min(table_id) FROM tenant_migration.managed_tables")
        number = migrated.value("SELECT tenant_number FROM tenant_migration.tenants")
        migrated.pair(claims, number, "running", rows=1)
        with pytest.raises(psycopg.DatabaseError, match="rows carry"), migrated.connection.transaction():
            migrated.execute("DELETE FROM tenant_migration.table_states")


def test_a_run_that_works_is_not_reset_under_its_feet(migrated: Scene) -> None:
    claims = migrated.value("SELECT min(table_id) FROM tenant_migration.managed_tables")
    migrated.lease(
        claims, None, migrated.value("SELECT run_id FROM tenant_migration.runs"), holder="anna on host a"
    )
    migrated.execute("SET tenant_migration.allow_reset = 'on'")
    before = picture(migrated)
    with pytest.raises(psycopg.DatabaseError, match="refused: anna on host a is working"):
        migrated.execute(RESET)
    assert picture(migrated) == before


def test_an_error_in_one_table_leaves_all_as_they_were(migrated: Scene) -> None:
    migrated.execute("DELETE FROM claims WHERE organization_id IS NULL")
    migrated.execute("ALTER TABLE claims ALTER COLUMN organization_id SET NOT NULL")
    migrated.execute("SET tenant_migration.allow_reset = 'on'")
    before = picture(migrated)
    with pytest.raises(psycopg.errors.NotNullViolation):
        migrated.execute(RESET)
    assert picture(migrated) == before


def test_without_a_plan_the_tables_with_the_key_are_reset(scene: Scene) -> None:
    scene.execute("CREATE TABLE claims (id int, tenant_id text, organization_id uuid)")
    scene.execute("CREATE TABLE other_meaning (id int, tenant_id text, organization_id text)")
    scene.map("acme")
    scene.execute("INSERT INTO claims SELECT 1, 'acme', organization_id FROM tenant_org_mappings")
    scene.execute("INSERT INTO other_meaning VALUES (1, 'acme', 'theirs')")
    scene.execute("SET tenant_migration.allow_reset = 'on'")
    assert scene.value(RESET) == "1 rows in 1 tables cleared, 0 mappings pending again"
    assert scene.rows("SELECT organization_id FROM other_meaning") == [("theirs",)]
