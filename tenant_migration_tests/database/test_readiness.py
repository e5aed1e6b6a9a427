"""validate_migration_readiness(): PASS, WARN or FAIL, over every managed table and relation."""

from __future__ import annotations

import time
import uuid

import pytest

from tenant_migration_tests.database.application import MIXED_KEYS, UNMAPPED, create_mixed_keys
from tenant_migration_tests.database.scene import Scene

READINESS = "SELECT * FROM public.validate_migration_readiness()"

UNION = """
CREATE TABLE profiles (id int PRIMARY KEY, tenant_id text);
CREATE TABLE claims (tenant_id text, id int, user_id int, PRIMARY KEY (tenant_id, id));
CREATE TABLE clause_library (id int PRIMARY KEY, tenant_id text,
                             claim_tenant text, claim_id int, parent_id int,
                             profile_id int REFERENCES profiles,
                             FOREIGN KEY (claim_tenant, claim_id) REFERENCES claims (tenant_id, id),
                             FOREIGN KEY (parent_id) REFERENCES clause_library);
INSERT INTO profiles SELECT g, 'acme' FROM generate_series(1, 10) g;
INSERT INTO claims SELECT 'acme', g, g FROM generate_series(1, 15) g;
INSERT INTO claims VALUES ('acme', 99, NULL);
ALTER TABLE claims ADD CONSTRAINT claims_user_fk FOREIGN KEY (user_id) REFERENCES profiles NOT VALID;
"""


def readiness(scene: Scene) -> dict[tuple[str, str], str]:
    """Return {(check, details): status}."""
    return {(row[0], row[2]): row[1] for row in scene.rows(READINESS)}


@pytest.fixture
def union(scene: Scene) -> Scene:
    scene.connection.execute(UNION.encode())
    scene.map("acme")
    return scene


def test_the_guides_own_output(union: Scene) -> None:
    assert readiness(union) == {
        ("Tenant Mappings", "Tenants without organization mapping: 0"): "PASS",
        (
            "Orphaned Claims",
            "Claims with invalid user_id: 5",
        ): "WARN",  # 11 to 15; NOT VALID, and NULL is no orphan
        ("Orphaned Clause Library", "Clause Library with invalid claim_tenant, claim_id: 0"): "PASS",
        ("Orphaned Clause Library", "Clause Library with invalid parent_id: 0"): "PASS",
        ("Orphaned Clause Library", "Clause Library with invalid profile_id: 0"): "PASS",
        ("Circular References", "Organizations with circular references: 0"): "PASS",
    }
    assert [row[0] for row in union.rows(READINESS)][0::5] == ["Tenant Mappings", "Circular References"]


def test_an_unmapped_tenant_in_any_table_fails(union: Scene) -> None:
    for table in ("profiles", "claims", "clause_library"):
        with union.connection.transaction(force_rollback=True):
            union.execute(f"INSERT INTO {table} (id, tenant_id) VALUES (1000, 'ghost'), (1001, 'ghost')")
            checked = readiness(union)
        assert checked["Tenant Mappings", "Tenants without organization mapping: 1"] == "FAIL", table


def test_a_tenant_in_several_tables_is_one(union: Scene) -> None:
    for table in ("profiles", "claims"):
        union.execute(f"INSERT INTO {table} (id, tenant_id) VALUES (1000, 'ghost')")
    union.execute("INSERT INTO claims (id, tenant_id) VALUES (1001, 'other')")
    assert readiness(union)["Tenant Mappings", "Tenants without organization mapping: 2"] == "FAIL"


def test_null_and_allowed_tenants_are_no_failure(union: Scene) -> None:
    union.execute("INSERT INTO profiles VALUES (1000, NULL), (1001, 'system')")
    union.execute("UPDATE tenant_migration.settings SET allowed_unmapped_tenants = '{system}'")
    assert readiness(union)["Tenant Mappings", "Tenants without organization mapping: 0"] == "PASS"


def test_every_type_of_key_is_compared_in_its_own_form(scene: Scene) -> None:
    create_mixed_keys(scene)
    assert readiness(scene)["Tenant Mappings", f"Tenants without organization mapping: {UNMAPPED}"] == "FAIL"
    scene.map("ACME", "ghost", "08", "lead", "C0EEBC999C0B4EF8BB6D6BB9BD380A33")
    assert readiness(scene)["Tenant Mappings", "Tenants without organization mapping: 0"] == "PASS"


def test_a_database_without_the_key_is_not_called_ready(scene: Scene) -> None:
    assert scene.rows(READINESS)[0] == (
        "Tenant Mappings",
        "WARN",
        "Tenants without organization mapping: 0 (no table with a tenant key was found)",
    )


def test_a_plans_relations_are_checked_configured_ones_too(union: Scene) -> None:
    union.execute("CREATE SCHEMA hr")
    union.execute('CREATE TABLE hr."Notes" (id int, tenant_id text, "claimRef" text, profile uuid)')
    union.execute("ALTER TABLE profiles ADD COLUMN external uuid UNIQUE")
    known = uuid.uuid4()
    union.execute("UPDATE profiles SET external = %s WHERE id = 1", known)
    union.execute(
        'INSERT INTO hr."Notes" VALUES (1, \'acme\', %s, %s), (2, \'acme\', %s, NULL), (3, \'acme\', '
        '\'rubbish\', %s)',
        str(known).upper(), known, str(uuid.uuid4()), uuid.uuid4(),
    )  # fmt: skip
    profiles, notes = union.manage("profiles", "hr.Notes")
    for name, columns in (("by_text", ["claimRef"]), ("by_uuid", ["profile"])):
        union.execute(
            "INSERT INTO tenant_migration.managed_relations "
            "(name, child_table_id, child_columns, parent_table_id, parent_columns, source, validated) "
            "VALUES (%s, %s, %s, %s, '{external}', 'configuration', true)",
            name, notes, columns, profiles,
        )  # fmt: skip
    rows = union.rows(READINESS)
    assert rows[1:-1] == [  # of the plan's tables alone: claims is not in it
        ("Orphaned hr.Notes", "WARN", "hr.Notes with invalid claimRef: 2"),  # text against uuid does not fail
        ("Orphaned hr.Notes", "WARN", "hr.Notes with invalid profile: 1"),
    ]


def test_references_of_a_partitioned_table_are_one_relation(scene: Scene) -> None:
    scene.connection.execute(MIXED_KEYS.encode())
    scene.execute("CREATE TABLE pieces (id int, tenant_id text, whole int REFERENCES parted)")
    scene.execute("ALTER TABLE parted ADD COLUMN up int REFERENCES parted")
    assert [row[0] for row in scene.rows(READINESS)] == [
        "Tenant Mappings",
        "Orphaned Parted",
        "Orphaned Pieces",
        "Circular References",
    ]


# --- circles ----------------------------------------------------------------------------------------------


def circles(scene: Scene) -> int:
    return int(scene.value("SELECT tenant_migration.count_circular_organizations()"))


def test_a_circle_of_two_fails_with_both(scene: Scene) -> None:
    first = scene.organization()
    second = scene.organization(first)
    scene.organization(second)  # below the circle, not in it
    scene.execute("UPDATE organizations SET parent_id = %s WHERE id = %s", second, first)
    assert readiness(scene)["Circular References", "Organizations with circular references: 2"] == "FAIL"


def test_a_forest_has_none_and_a_missing_parent_is_no_circle(scene: Scene) -> None:
    roots = [scene.organization() for _ in range(3)]
    children = [scene.organization(root) for root in roots]
    for child in children:
        scene.organization(child)
    scene.organization(uuid.uuid4())
    assert circles(scene) == 0


def test_its_own_parent_is_a_circle_of_one(scene: Scene) -> None:
    own = scene.organization()
    scene.execute("UPDATE organizations SET parent_id = id WHERE id = %s", own)
    assert circles(scene) == 1


def test_an_organizations_parent_of_another_type_is_no_error(scene: Scene) -> None:
    first = scene.organization()
    scene.execute("ALTER TABLE organizations ALTER COLUMN parent_id TYPE text")
    scene.execute("UPDATE organizations SET parent_id = id::text WHERE id = %s", first)
    assert circles(scene) == 1


CHAIN = """
INSERT INTO organizations (id, parent_id)
SELECT md5(g::text)::uuid, CASE WHEN g > 1 THEN md5((g - 1)::text)::uuid END FROM generate_series(1, %s) g
"""


def test_a_chain_of_ten_thousand_takes_seconds(scene: Scene) -> None:
    scene.execute(CHAIN, 10_000)
    started = time.monotonic()
    assert circles(scene) == 0
    scene.execute("UPDATE organizations SET parent_id = md5('9000')::uuid WHERE id = md5('1')::uuid")
    assert circles(scene) == 9_000
    assert time.monotonic() - started < 8


def test_large_and_small_circles_with_tails_are_counted_together(scene: Scene) -> None:
    scene.execute(CHAIN, 500)
    scene.execute("UPDATE organizations SET parent_id = md5('7')::uuid WHERE id = md5('5')::uuid")  # 5, 6, 7
    scene.execute(
        "UPDATE organizations SET parent_id = md5('120')::uuid WHERE id = md5('100')::uuid"
    )  # 100..120
    scene.execute("UPDATE organizations SET parent_id = id WHERE id = md5('300')::uuid")
    assert circles(scene) == 3 + 21 + 1
