"""What holds for every change of a mapping, also by hand in psql."""

from __future__ import annotations

import psycopg
import pytest

from tenant_migration_tests.database.scene import Scene

LIVE = "TM002"


def generation(scene: Scene) -> int:
    return int(scene.value("SELECT mapping_generation FROM tenant_migration.settings"))


def test_a_mapping_needs_an_organization_that_exists(scene: Scene) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        scene.execute(
            "INSERT INTO tenant_org_mappings (tenant_id, organization_id) VALUES ('a', gen_random_uuid())"
        )
    assert scene.rows("SELECT * FROM tenant_migration.tenants") == []
    assert generation(scene) == 1


def test_every_new_tenant_gets_a_number_that_it_keeps(scene: Scene) -> None:
    numbers = scene.map("acme", "ACME", "o'brien", 't,"quoted"', "café 東京")
    assert len(set(numbers.values())) == 5
    scene.execute("DELETE FROM tenant_org_mappings")
    assert scene.map("o'brien")["o'brien"] == numbers["o'brien"]
    scene.execute("UPDATE tenant_org_mappings SET tenant_id = 'renamed'")
    assert scene.value("SELECT count(*) FROM tenant_migration.tenants WHERE tenant_id = 'renamed'") == 1
    assert scene.value("SELECT count(*) FROM tenant_migration.tenants") == 6


def test_a_change_raises_the_generation_and_a_new_status_does_not(scene: Scene) -> None:
    before = generation(scene)
    scene.map("acme")
    inserted = generation(scene)
    scene.execute("UPDATE tenant_org_mappings SET migration_status = 'in_progress', record_count = 5")
    scene.execute("UPDATE tenant_org_mappings SET organization_id = organization_id")
    scene.execute("DELETE FROM tenant_org_mappings WHERE false")
    assert (before < inserted, generation(scene)) == (True, inserted)
    for change in (
        f"UPDATE tenant_org_mappings SET organization_id = '{scene.organization()}'",
        "UPDATE tenant_org_mappings SET tenant_id = 'other'",
        "DELETE FROM tenant_org_mappings",
        "TRUNCATE tenant_org_mappings",
    ):
        last = generation(scene)
        scene.execute(change)
        assert generation(scene) > last, change


@pytest.fixture
def live(scene: Scene) -> Scene:
    """Tenant o'brien has rows that carry its organization, globex has not."""
    table_ids = scene.manage("claims", "hr.Profiles")
    numbers = scene.map("o'brien", "globex")
    scene.pair(table_ids[0], numbers["o'brien"], "running", rows=3)
    scene.pair(table_ids[1], numbers["o'brien"], "running", rows=4)
    scene.pair(table_ids[0], numbers["globex"], "running")
    return scene


def test_the_mapping_of_live_rows_cannot_change(live: Scene) -> None:
    live.execute("INSERT INTO organizations (id) VALUES ('ffffffff-ffff-ffff-ffff-ffffffffffff')")
    before = live.rows("SELECT * FROM tenant_org_mappings ORDER BY 1")
    for change in (
        (
            "UPDATE tenant_org_mappings SET organization_id = (SELECT id FROM organizations ORDER BY id "
            "DESC LIMIT 1)"
        ),
        "UPDATE tenant_org_mappings SET tenant_id = 'x' || tenant_id",
        "DELETE FROM tenant_org_mappings",
        "DELETE FROM tenant_org_mappings WHERE tenant_id LIKE 'o%'",
        "TRUNCATE tenant_org_mappings",
    ):
        with pytest.raises(psycopg.DatabaseError) as raised:
            live.execute(change)
        assert raised.value.sqlstate == LIVE
        message = str(raised.value)
        assert "tenant 'o''brien' cannot change: 7 rows in public.claims, hr.Profiles" in message
        assert "rollback --tenant 'o''brien'" in message
    assert live.rows("SELECT * FROM tenant_org_mappings ORDER BY 1") == before


def test_the_others_may_change(live: Scene) -> None:
    organization = live.organization()
    assert (
        live.execute(
            "UPDATE tenant_org_mappings SET organization_id = %s WHERE tenant_id = 'globex'", organization
        )
        == 1
    )
    assert live.execute("DELETE FROM tenant_org_mappings WHERE tenant_id = 'globex'") == 1


def test_after_a_rollback_it_may_change_again(live: Scene) -> None:
    live.execute("UPDATE tenant_migration.table_states SET rows_migrated = 0")
    assert live.execute("DELETE FROM tenant_org_mappings") == 2


def test_it_cannot_change_under_a_run_that_froze_it(scene: Scene) -> None:
    (table_id,) = scene.manage("claims")
    numbers = scene.map("acme", "globex")
    run_id = scene.run()
    scene.execute(
        "INSERT INTO tenant_migration.run_tenants SELECT %s, 'text', %s, 'acme', organization_id "
        "FROM tenant_org_mappings WHERE tenant_id = 'acme'",
        run_id,
        numbers["acme"],
    )
    scene.lease(table_id, None, run_id, holder="anna on host a")
    with pytest.raises(
        psycopg.DatabaseError, match="tenant 'acme' cannot change: anna on host a is working on it"
    ):
        scene.execute("DELETE FROM tenant_org_mappings WHERE tenant_id = 'acme'")
    assert scene.execute("DELETE FROM tenant_org_mappings WHERE tenant_id = 'globex'") == 1  # not in that run
    scene.execute("UPDATE tenant_migration.leases SET expires_at = now() - interval '1 second'")
    assert scene.execute("DELETE FROM tenant_org_mappings WHERE tenant_id = 'acme'") == 1


def test_updated_at_follows_every_change(scene: Scene) -> None:
    scene.map("acme")
    scene.execute("ALTER TABLE tenant_org_mappings DISABLE TRIGGER touched")
    scene.execute("UPDATE tenant_org_mappings SET updated_at = '2001-01-01'")
    scene.execute("ALTER TABLE tenant_org_mappings ENABLE TRIGGER touched")
    scene.execute("UPDATE tenant_org_mappings SET record_count = record_count")
    assert scene.value("SELECT updated_at < '2002-01-01' FROM tenant_org_mappings")
    scene.execute("UPDATE tenant_org_mappings SET error_log = 'x'")
    assert scene.value("SELECT updated_at > now() - interval '1 minute' FROM tenant_org_mappings")
